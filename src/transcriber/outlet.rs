// SPDX-License-Identifier: MPL-2.0
//! What waits to leave the src pad, in order.
//!
//! Events from upstream and the text of sessions come from different threads, and text comes long
//! after the events that followed its audio. Each session has a lane; the line moves on when the
//! lane is closed. So EOS and new segments never overtake text.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::transcript::Word;

/// Pieces of text that may wait before the session is told to send no more audio.
pub(super) const CONGESTION: usize = 64;

/// Pieces of text that may wait before results that newer ones replace are passed over.
pub(super) const BEHIND: usize = CONGESTION / 2;

/// One thing to push. Times are stream times in nanoseconds.
#[derive(Debug)]
pub(super) enum Item {
    Event(gst::Event),
    /// The audio begins here.
    Begin(u64),
    Text {
        text: String,
        start: u64,
        end: u64,
    },
    /// What is to be shown of the utterance that goes on, or nothing any more. The last line stays
    /// until the next one comes.
    Interim {
        lines: Vec<String>,
        start: u64,
        end: u64,
        /// The utterance is over.
        last: bool,
    },
    /// What is known of an utterance that goes on; `heard` is the time of the newest audio.
    Hypothesis {
        item: u64,
        text: String,
        stash: String,
        words: Vec<Word>,
        start: u64,
        heard: u64,
    },
    /// All that will be known of an utterance.
    Final {
        item: u64,
        text: String,
        words: Vec<Word>,
        start: u64,
        end: u64,
    },
    /// What is open comes again under other names.
    Cut,
    /// Nothing will come before this time.
    Advance(u64),
}

impl Item {
    /// Whether this says nothing that `next` does not say better.
    pub fn is_replaced_by(&self, next: &Item) -> bool {
        match (self, next) {
            (Item::Interim { last, .. }, Item::Interim { .. }) => !last,
            (Item::Hypothesis { item, .. }, Item::Hypothesis { item: next, .. }) => item == next,
            _ => false,
        }
    }
}

#[derive(Debug)]
enum Entry {
    Item(Item),
    Lane {
        id: u64,
        items: VecDeque<Item>,
        closed: bool,
    },
}

/// How the task waits for something to push. Waking it costs more than what it does then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sleep {
    Awake,
    /// It looks again soon enough for what is not urgent.
    Light,
    Deep,
}

#[derive(Debug)]
struct State {
    line: VecDeque<Entry>,
    next_lane: u64,
    flushing: bool,
    /// The task has taken something that may not have left yet.
    pushing: bool,
    sleep: Sleep,
    flow: Result<(), gst::FlowError>,
}

/// The line in front of the src pad.
#[derive(Debug)]
pub(super) struct Outlet {
    state: Mutex<State>,
    changed: Condvar,
}

impl Default for Outlet {
    fn default() -> Self {
        let state = State {
            line: VecDeque::new(),
            next_lane: 0,
            flushing: true,
            pushing: false,
            sleep: Sleep::Awake,
            flow: Ok(()),
        };
        Outlet {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }
}

/// What [`Outlet::next`] found.
#[derive(Debug)]
pub(super) enum Next {
    Item(Item),
    TimedOut,
    Flushing,
}

impl Outlet {
    /// Nothing leaves any more, whoever waits is freed.
    pub fn flush(&self) {
        let mut state = self.lock();
        state.flushing = true;
        self.wake(state);
    }

    /// Forgets everything and opens up.
    pub fn reset(&self) {
        let mut state = self.lock();
        state.line.clear();
        state.flushing = false;
        state.pushing = false;
        state.flow = Ok(());
    }

    /// What downstream last said to a push.
    pub fn flow(&self) -> Result<(), gst::FlowError> {
        self.lock().flow
    }

    pub fn set_flow(&self, error: gst::FlowError) {
        self.lock().flow = Err(error);
    }

    /// An event, to leave after everything before it.
    pub fn event(&self, event: gst::Event) {
        let mut state = self.lock();
        state.line.push_back(Entry::Item(Item::Event(event)));
        self.wake(state);
    }

    /// Whether everything has left.
    pub fn is_idle(&self) -> bool {
        let state = self.lock();
        state.line.is_empty() && !state.pushing
    }

    pub fn open_lane(&self, first: Item) -> u64 {
        let mut state = self.lock();
        let id = state.next_lane;
        state.next_lane += 1;
        let items = VecDeque::from([first]);
        state.line.push_back(Entry::Lane {
            id,
            items,
            closed: false,
        });
        self.wake(state);
        id
    }

    /// Changes a lane, if it has not been flushed away.
    pub fn with_lane(&self, id: u64, change: impl FnOnce(&mut VecDeque<Item>, &mut bool)) {
        let state = self.change_lane(id, change);
        self.wake(state);
    }

    fn change_lane(
        &self,
        id: u64,
        change: impl FnOnce(&mut VecDeque<Item>, &mut bool),
    ) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        let lane = state.line.iter_mut().find_map(|entry| match entry {
            Entry::Lane {
                id: this,
                items,
                closed,
            } if *this == id => Some((items, closed)),
            _ => None,
        });
        if let Some((items, closed)) = lane {
            change(items, closed);
        }
        state
    }

    /// Nothing will come into a lane before this time. That can wait until the task looks again,
    /// if it does so at all.
    pub fn advance_lane(&self, id: u64, time: u64) {
        let state = self.change_lane(id, |lane, _| {
            if let Some(Item::Advance(last)) = lane.back_mut() {
                *last = time;
            } else {
                lane.push_back(Item::Advance(time));
            }
        });
        if state.sleep == Sleep::Deep {
            self.wake(state);
        }
    }

    /// Wakes the task, the only one that ever waits here.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let sleep = std::mem::replace(&mut state.sleep, Sleep::Awake);
        drop(state);
        if sleep != Sleep::Awake {
            self.changed.notify_one();
        }
    }

    pub fn lane_length(&self, id: u64) -> usize {
        let state = self.lock();
        state
            .line
            .iter()
            .find_map(|entry| match entry {
                Entry::Lane {
                    id: this, items, ..
                } if *this == id => Some(items.len()),
                _ => None,
            })
            .unwrap_or_default()
    }

    /// The next thing to push; waits for it, up to the timeout if there is one, and then also for
    /// what only says that time has passed. The flag says that a lane has just become short enough
    /// for more audio.
    pub fn next(&self, timeout: Option<Duration>) -> (Next, bool) {
        let mut state = self.lock();
        state.pushing = false;
        let mut timed_out = false;
        loop {
            if state.flushing {
                return (Next::Flushing, false);
            }
            if let Some((item, relieved)) = state.pop() {
                state.pushing = true;
                return (Next::Item(item), relieved);
            }
            if timed_out {
                return (Next::TimedOut, false);
            }
            state = match timeout {
                None => {
                    state.sleep = Sleep::Deep;
                    self.changed
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner)
                }
                Some(timeout) => {
                    state.sleep = Sleep::Light;
                    let (state, result) = self
                        .changed
                        .wait_timeout(state, timeout)
                        .unwrap_or_else(PoisonError::into_inner);
                    timed_out = result.timed_out();
                    state
                }
            };
            state.sleep = Sleep::Awake;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is complete before anything that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn pop(&mut self) -> Option<(Item, bool)> {
        loop {
            match self.line.front_mut()? {
                Entry::Lane { items, closed, .. } => {
                    let length = items.len();
                    if let Some(item) = items.pop_front() {
                        return Some((item, length == CONGESTION));
                    }
                    if !*closed {
                        return None;
                    }
                    self.line.pop_front();
                }
                Entry::Item(_) => match self.line.pop_front() {
                    Some(Entry::Item(item)) => return Some((item, false)),
                    _ => return None,
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// What takes this long hangs.
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_light_sleeper_is_not_woken_to_hear_that_there_is_nothing() {
        gst::init().unwrap();
        for (timeout, sleep) in [(Some(LONG), Sleep::Light), (None, Sleep::Deep)] {
            let outlet = Arc::<Outlet>::default();
            outlet.reset();
            let lane = outlet.open_lane(Item::Begin(5));
            let begin = outlet.next(timeout).0;
            assert!(matches!(begin, Next::Item(Item::Begin(5))), "{begin:?}");
            let task = {
                let outlet = outlet.clone();
                std::thread::spawn(move || outlet.next(timeout).0)
            };
            while outlet.lock().sleep != sleep {
                std::thread::yield_now();
            }
            outlet.advance_lane(lane, 7);
            if sleep == Sleep::Light {
                outlet.advance_lane(lane, 9);
                assert_eq!(outlet.lock().sleep, sleep);
                outlet.event(gst::event::Eos::new());
            }
            let next = task.join().unwrap();
            let Next::Item(Item::Advance(time)) = next else {
                panic!("{next:?}");
            };
            assert_eq!(time, if sleep == Sleep::Light { 9 } else { 7 });
        }
    }
}
