// SPDX-License-Identifier: MPL-2.0

//! The service over real sockets.

mod client;
mod server;
mod sphinx;
