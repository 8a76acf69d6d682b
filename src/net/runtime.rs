// SPDX-License-Identifier: MPL-2.0
//! The threads that sessions run on, shared by all sessions of the process and started by need.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::{Builder, Handle, Runtime};

use crate::protocol::{Failure, Kind};

/// One thread serves so many sessions before another one is started. It bears several times as
/// many; but after an outage all of them want a new connection at once.
const SESSIONS_PER_THREAD: usize = 250;

const MOST_THREADS: usize = 4;

/// A runtime of one thread. With more, one that has work wakes others to look for more of it,
/// which costs more than the little that there is to do.
struct Thread {
    runtime: Runtime,
    /// Each session on it holds a clone.
    sessions: Arc<()>,
}

/// A session's place on a thread, taken for as long as this is there.
#[derive(Debug)]
pub(super) struct Place {
    _session: Arc<()>,
}

impl Thread {
    fn start() -> Result<Self, Failure> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("qwenasr-net")
            .enable_all()
            .build()
            .map_err(|error| {
                Failure::new(
                    Kind::Unreachable,
                    format!("The network threads could not be started: {error}."),
                    "Check the limits on threads and open files.",
                )
            })?;
        Ok(Thread {
            runtime,
            sessions: Arc::default(),
        })
    }

    fn sessions(&self) -> usize {
        Arc::strong_count(&self.sessions) - 1
    }
}

/// Where a new session is to run: on the thread that has the fewest.
pub(super) fn place() -> Result<(Handle, Place), Failure> {
    static THREADS: Mutex<Vec<Thread>> = Mutex::new(Vec::new());
    // A thread is added whole or not at all.
    let mut threads = THREADS.lock().unwrap_or_else(PoisonError::into_inner);
    let most = std::thread::available_parallelism().map_or(1, |n| n.get().min(MOST_THREADS));
    let idlest = (0..threads.len()).min_by_key(|&n| threads[n].sessions());
    let chosen = match idlest {
        Some(n) if threads[n].sessions() < SESSIONS_PER_THREAD || threads.len() >= most => n,
        _ => {
            threads.push(Thread::start()?);
            threads.len() - 1
        }
    };
    let Thread { runtime, sessions } = &threads[chosen];
    let place = Place {
        _session: sessions.clone(),
    };
    Ok((runtime.handle().clone(), place))
}
