// SPDX-License-Identifier: MPL-2.0

//! The service over real sockets.

mod client;
mod inference;
mod moonshine;
mod opus;
mod self_hosted;
mod server;
mod sglang_omni;
mod speech;
mod sphinx;
