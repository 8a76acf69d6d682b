// SPDX-License-Identifier: MPL-2.0
//! The driver: runs sessions against sockets, on threads shared by the whole process. The elements
//! start a session here and keep its [`Link`], which stops the session when dropped.
//!
//! A connection is opened in this order:
//!
//! | `connect` calls | for | with |
//! |---|---|---|
//! | `proxy` | the proxy named by the environment, if any | |
//! | `key` | the API key, from its file | `disk` |
//! | `throttle` | after a failure, a turn among those who call on the same servers of one's own | |
//! | `dial` or `proxy` | a TCP connection | `socks`, `response` |
//! | `throttle` | a turn among the connections of the same account to the service | |
//! | `tls` | encryption | `disk` |
//! | `upgrade` | the WebSocket | `response` |

mod addresses;
mod allowance;
mod connect;
mod dial;
mod disk;
mod driver;
mod error;
mod key;
mod proxy;
mod queue;
mod remark;
mod response;
mod runtime;
mod socks;
mod stream;
#[cfg(target_os = "linux")]
mod tcp_info;
mod throttle;
mod tls;
mod upgrade;
#[cfg(target_os = "linux")]
mod watched;
mod wires;

pub use driver::{Link, Listener, spawn};
pub use queue::{AudioQueue, Full, Lost, PushError, Update};
pub use remark::{Remark, Remarks};

#[cfg(any(test, fuzzing))]
pub mod answers;
#[cfg(test)]
mod scripted;
#[cfg(test)]
mod tests;
