// SPDX-License-Identifier: MPL-2.0
//! The threads that sessions run on, shared by all sessions of the process and started on demand.
//!
//! Each thread is a single-worker tokio runtime; a session stays on the thread that [`place`]
//! picked for it. Threads with many sessions coalesce their wake-ups. The driver calls [`place`]
//! once per session.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::protocol::{Failure, Kind};

/// Sessions per thread before another thread is started. A thread can carry several times as many,
/// but after an outage all of them reconnect at once.
const SESSIONS_PER_THREAD: usize = 250;

/// Upper bound of threads; fewer on machines with fewer processors.
const MAX_THREADS: usize = 4;

/// Wake-up coalescing. From this many sessions per thread the worker sleeps before parking.
const COALESCE_FROM: usize = 16;

/// Sleep times number of sessions: enough for one 100 ms audio frame from each of 16 sessions.
const COALESCE_BUDGET: Duration = Duration::from_millis(1600);

/// Upper bound of the sleep, and so the latency it may add to anything sent or received.
const MAX_COALESCE: Duration = Duration::from_millis(10);

/// Task polls between two checks of the sockets (tokio's `event_interval`). With tokio's default of
/// 61, two hundred sessions would take several sleeps to see all socket events.
const TASKS_PER_LOOK: u32 = 8;

/// A single-worker runtime. With more workers, a busy one wakes the others to steal work, which
/// costs more than the little work there is.
struct Thread {
    runtime: Runtime,
    /// Each session on the thread holds a clone.
    sessions: Arc<()>,
}

/// A session's place on a thread, occupied until dropped.
#[derive(Debug)]
pub(super) struct Place {
    _session: Arc<()>,
}

impl Thread {
    fn start() -> Result<Self, Failure> {
        let sessions = Arc::<()>::default();
        let holders = Arc::downgrade(&sessions);
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("qwenasr-net")
            // A worker that never runs out of tasks checks the sockets this often.
            .event_interval(TASKS_PER_LOOK)
            // Runs before the worker parks, while a wake-up still costs nothing.
            .on_thread_park(move || {
                if let Some(rest) = rest(count(holders.strong_count())) {
                    thread::sleep(rest);
                }
            })
            .enable_all()
            .build()
            .map_err(|error| {
                Failure::new(
                    Kind::Unreachable,
                    format!("The network threads could not be started: {error}."),
                    "Check the limits on threads and open files.",
                )
            })?;
        Ok(Thread { runtime, sessions })
    }

    fn sessions(&self) -> usize {
        count(Arc::strong_count(&self.sessions))
    }
}

/// The number of sessions, given the holders: the thread holds one clone itself.
fn count(holders: usize) -> usize {
    holders.saturating_sub(1)
}

/// How long a worker sleeps before it parks; `None` for few sessions. Parking and being woken costs
/// as much as sending a frame: acceptable per frame for a few sessions, but with many one wake-up
/// should serve them all.
fn rest(sessions: usize) -> Option<Duration> {
    let sessions = u32::try_from(sessions).unwrap_or(u32::MAX);
    (sessions as usize >= COALESCE_FROM).then(|| (COALESCE_BUDGET / sessions).min(MAX_COALESCE))
}

/// Picks the thread for a new session: the one with the fewest sessions, or a new one.
pub(super) fn place() -> Result<(Handle, Place), Failure> {
    static THREADS: Mutex<Vec<Thread>> = Mutex::new(Vec::new());
    // Poison is harmless: a thread is added completely or not at all.
    let mut threads = THREADS.lock().unwrap_or_else(PoisonError::into_inner);
    let most = std::thread::available_parallelism().map_or(1, |n| n.get().min(MAX_THREADS));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_crowd_is_made_to_wait_and_never_for_long() {
        assert_eq!(count(1), 0, "the thread's own");
        for few in [0, 1, COALESCE_FROM - 1] {
            assert_eq!(rest(few), None);
        }
        assert_eq!(rest(COALESCE_FROM), Some(MAX_COALESCE));
        assert_eq!(rest(400), Some(Duration::from_millis(4)));
        assert!(rest(usize::MAX).is_some_and(|rest| rest < MAX_COALESCE));
    }
}
