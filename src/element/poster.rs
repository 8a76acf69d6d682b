// SPDX-License-Identifier: MPL-2.0
//! Posts on an element's bus from the network's threads and the clock's, as long as the element runs:
//! a change of state waits for none of them by itself. An element that is in READY has to be silent: what is posted goes through the bin around it, which
//! nobody keeps alive for that, and which may be gone as soon as the change of state returns.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, ThreadId};

use gst::glib;
use gst::prelude::*;

use super::lock;

/// What an element's other threads pass while they post; a new one for each time it runs.
///
/// Lock: `state`, for moments.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_closed: bool,
    /// The threads that are posting.
    inside: Vec<ThreadId>,
}

/// Leaves when dropped.
struct Inside<'a>(&'a Gate);

impl Gate {
    fn enter(&self) -> Option<Inside<'_>> {
        let mut state = lock(&self.state);
        if state.is_closed {
            return None;
        }
        state.inside.push(thread::current().id());
        Some(Inside(self))
    }

    /// Lets nobody in any more, and waits for those inside. That may be this thread: an application may
    /// change the state while it handles a message.
    pub fn close(&self) {
        let me = thread::current().id();
        let mut state = lock(&self.state);
        state.is_closed = true;
        let others = |state: &mut State| state.inside.iter().any(|thread| *thread != me);
        let left = self.changed.wait_while(state, others);
        drop(left.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let me = thread::current().id();
        let mut state = lock(&self.0.state);
        if let Some(at) = state.inside.iter().position(|thread| *thread == me) {
            state.inside.swap_remove(at);
        }
        drop(state);
        self.0.changed.notify_all();
    }
}

/// An element, for those who may post on its bus while it runs.
#[derive(Debug)]
pub struct Poster {
    element: glib::WeakRef<gst::Element>,
    gate: Arc<Gate>,
}

impl Poster {
    pub(super) fn new(element: &gst::Element, gate: Arc<Gate>) -> Self {
        Self {
            element: element.downgrade(),
            gate,
        }
    }

    /// For what may be done at any time, such as logging.
    pub(super) fn element(&self) -> &glib::WeakRef<gst::Element> {
        &self.element
    }

    /// Has something posted, if the element still runs.
    pub(super) fn post(&self, post: impl FnOnce(&gst::Element)) {
        // The element is let go of first.
        if let Some(_inside) = self.gate.enter()
            && let Some(element) = self.element.upgrade()
        {
            post(&element);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn whoever_closes_waits_for_the_others_only() {
        let gate = Arc::<Gate>::default();
        let (entered, enters) = mpsc::channel();
        let (leave, leaves) = mpsc::channel::<()>();
        let (closed, closes) = mpsc::channel();
        let other = {
            let gate = gate.clone();
            thread::spawn(move || {
                let inside = gate.enter();
                entered.send(()).unwrap();
                leaves.recv().unwrap();
                drop(inside);
            })
        };
        enters.recv().unwrap();
        let closing = {
            let gate = gate.clone();
            thread::spawn(move || {
                let _mine = gate.enter();
                gate.close();
                closed.send(()).unwrap();
            })
        };
        while gate.enter().is_some() {
            thread::yield_now();
        }
        assert!(closes.try_recv().is_err(), "the other one is inside");
        leave.send(()).unwrap();
        closes.recv().unwrap();
        closing.join().unwrap();
        other.join().unwrap();
        assert!(gate.enter().is_none());
    }
}
