// SPDX-License-Identifier: MPL-2.0
//! How a session ended. Set once by the session's task, awaited by a streaming thread; a wait can
//! be interrupted.

use std::sync::{Condvar, Mutex, PoisonError};

use super::lock;

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// All audio was recognised, as far as possible.
    Drained,
    /// An error was posted.
    Failed,
    /// It was stopped.
    Stopped,
}

#[derive(Debug, Default)]
struct State {
    ending: Option<Ending>,
    interrupted: bool,
}

/// Set once by the session's task; waited for by a streaming thread.
#[derive(Debug, Default)]
pub struct Completion {
    state: Mutex<State>,
    changed: Condvar,
}

impl Completion {
    /// Sets the ending; later calls have no effect.
    pub(super) fn set(&self, ending: Ending) {
        lock(&self.state).ending.get_or_insert(ending);
        self.changed.notify_all();
    }

    pub(super) fn get(&self) -> Option<Ending> {
        lock(&self.state).ending
    }

    /// Makes present and future waits return at once, until [`Self::resume`].
    pub(super) fn interrupt(&self) {
        lock(&self.state).interrupted = true;
        self.changed.notify_all();
    }

    pub(super) fn resume(&self) {
        lock(&self.state).interrupted = false;
    }

    /// Waits for the ending, which every session reaches within its timeouts. `None` if the wait
    /// was interrupted.
    pub(super) fn wait(&self) -> Option<Ending> {
        self.changed
            .wait_while(lock(&self.state), |state| {
                state.ending.is_none() && !state.interrupted
            })
            .unwrap_or_else(PoisonError::into_inner)
            .ending
    }
}
