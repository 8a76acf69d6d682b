// SPDX-License-Identifier: MPL-2.0

//! The service over real sockets.

mod client;
mod inference;
mod self_hosted;
mod server;
mod sphinx;
