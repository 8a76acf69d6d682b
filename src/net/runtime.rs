// SPDX-License-Identifier: MPL-2.0
//! The threads that sessions run on, shared by all sessions of the process and started by need.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::protocol::{Failure, Kind};

/// One thread serves so many sessions before another one is started. It bears several times as
/// many; but after an outage all of them want a new connection at once.
const SESSIONS_PER_THREAD: usize = 250;

const MOST_THREADS: usize = 4;

/// From so many sessions on, a thread rests between two looks at what has come for them.
const CROWD: usize = 16;

/// It rests until so much may have come, in sessions times time; that is a frame of the usual
/// length for each of sixteen.
const WORTH_A_LOOK: Duration = Duration::from_millis(1600);

/// How long it rests at most, and so how much later than it could be anything is sent or heard.
const LONGEST_REST: Duration = Duration::from_millis(10);

/// What came for a socket while it rested, is seen after so many tasks. With tokio's own 61, two
/// hundred sessions would have to rest several times before that.
const TASKS_PER_LOOK: u32 = 8;

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
        let sessions = Arc::<()>::default();
        let holders = Arc::downgrade(&sessions);
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("qwenasr-net")
            // Where there is always something to do, it looks at the sockets after so many tasks.
            .event_interval(TASKS_PER_LOOK)
            // Before it waits, and not yet where others would wake it.
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

/// The thread holds one itself.
fn count(holders: usize) -> usize {
    holders.saturating_sub(1)
}

/// How long a thread rests before it waits for more. Falling asleep and being woken costs as much
/// as sending a frame: it is worth it for a few sessions, and for many only once for all of them.
fn rest(sessions: usize) -> Option<Duration> {
    let sessions = u32::try_from(sessions).unwrap_or(u32::MAX);
    (sessions as usize >= CROWD).then(|| (WORTH_A_LOOK / sessions).min(LONGEST_REST))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_crowd_is_made_to_wait_and_never_for_long() {
        assert_eq!(count(1), 0, "the thread's own");
        for few in [0, 1, CROWD - 1] {
            assert_eq!(rest(few), None);
        }
        assert_eq!(rest(CROWD), Some(LONGEST_REST));
        assert_eq!(rest(400), Some(Duration::from_millis(4)));
        assert!(rest(usize::MAX).is_some_and(|rest| rest < LONGEST_REST));
    }
}
