// SPDX-License-Identifier: MPL-2.0
//! The driver: runs sessions against sockets, on threads that all of the process share.

mod connect;
mod dial;
mod disk;
mod driver;
mod error;
mod proxy;
mod queue;
mod response;
mod runtime;
mod socks;
mod stream;
mod throttle;
mod tls;
mod upgrade;

pub use driver::{Link, Listener, spawn};
pub use queue::{AudioQueue, Full, Lost, PushError};

#[cfg(test)]
mod scripted;
#[cfg(test)]
mod tests;
