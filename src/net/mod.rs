// SPDX-License-Identifier: MPL-2.0
//! The driver: runs sessions against sockets, on one tokio runtime for the whole process.

mod connect;
mod dial;
mod driver;
mod queue;
mod turns;

pub use driver::{Link, Listener, spawn};
pub use queue::{AudioQueue, Full, Lost, PushError};

use once_cell::sync::OnceCell;
use tokio::runtime::{Builder, Runtime};

use crate::protocol::{Failure, Kind};

/// Sessions do little work each; more threads would only be woken more often.
const MOST_WORKERS: usize = 4;

/// The runtime that all sessions of the process share, started with the first of them.
fn runtime() -> Result<&'static Runtime, Failure> {
    static RUNTIME: OnceCell<Runtime> = OnceCell::new();
    RUNTIME.get_or_try_init(|| {
        let workers = std::thread::available_parallelism().map_or(1, |n| n.get().min(MOST_WORKERS));
        Builder::new_multi_thread()
            .worker_threads(workers)
            .thread_name("qwenasr-net")
            .enable_all()
            .build()
            .map_err(|error| {
                Failure::new(
                    Kind::Unreachable,
                    format!("The network threads could not be started: {error}."),
                    "Check the limits on threads and open files.",
                )
            })
    })
}

#[cfg(test)]
mod tests;
