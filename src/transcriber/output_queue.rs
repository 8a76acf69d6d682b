// SPDX-License-Identifier: MPL-2.0
//! What waits to leave a src pad, in order.
//!
//! Events from upstream and the transcripts of sessions come from different threads, and
//! transcripts come long after the events that followed their audio. So each session has a lane in
//! the queue, at the place where its audio began, and the queue moves on once the lane is closed.
//! EOS and new segments cannot overtake text, by construction.
//!
//! Events that come in the midst of a session's audio wait in its lane, with their place in the
//! audio, until all text before that place has left or is overdue. That bounds their number in a
//! live pipeline; beyond [`MAX_EVENTS`], TAGs are merged and the oldest events leave early.
//!
//! Transcripts wait as they are, the pad's thread makes text of them. Filled by the streaming
//! thread (events, new lanes) and network threads (lanes); emptied by the pad's thread alone.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::tags;
use crate::element::Waker;
use crate::timeline::Timestamp;
use crate::transcript::{Transcript, Utterance};

/// Entries that may wait in a lane before its session is told to send no more audio.
const CONGESTION: usize = 64;

/// Entries that may wait in a lane before hypotheses are passed over for newer ones.
const BEHIND: usize = CONGESTION / 2;

/// Events that may wait in a lane for their place in the audio.
const MAX_EVENTS: usize = 64;

/// One thing that leaves, or of which text is to be made.
#[derive(Debug)]
pub(super) enum Entry {
    Event(gst::Event),
    /// The audio of a session starts here.
    Begin(Timestamp),
    Interim(Transcript),
    Final(Transcript),
    /// No text will come for what was before this time.
    Watermark(Timestamp),
    /// The session has no more text.
    End,
}

#[derive(Debug)]
enum Slot {
    Event(gst::Event),
    Lane(LaneSlot),
}

/// The lane of a session.
struct LaneSlot {
    id: u64,
    entries: VecDeque<Entry>,
    /// Events in the midst of its audio, and their timestamps.
    events: VecDeque<(Timestamp, gst::Event)>,
    closed: bool,
    /// Lets the session send audio again.
    waker: Option<Arc<Waker>>,
}

impl std::fmt::Debug for LaneSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LaneSlot")
            .field("id", &self.id)
            .field("entries", &self.entries)
            .field("events", &self.events)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

impl LaneSlot {
    fn put(&mut self, entry: Entry) {
        if let (Entry::Watermark(time), Some(Entry::Watermark(before))) =
            (&entry, self.entries.back_mut())
        {
            *before = *time;
            return;
        }
        if let Entry::Interim(newer) = &entry
            && self.entries.len() >= BEHIND
        {
            self.pass_over(newer.utterance);
        }
        self.entries.push_back(entry);
    }

    fn put_event(&mut self, time: Timestamp, event: gst::Event) {
        if self.events.len() >= MAX_EVENTS
            && let Some((_, before)) = self.events.back_mut()
            && let Some(both) = tags::merged(before, &event)
        {
            *before = both;
            return;
        }
        self.events.push_back((time, event));
    }

    /// The next event, if its time has come: all text before `settled` has left or is overdue.
    fn pop_event(&mut self, settled: Option<Timestamp>) -> Option<gst::Event> {
        let is_over = self.closed && self.entries.is_empty();
        let crowded = self.events.len() > MAX_EVENTS;
        let is_due = |(time, _): &mut (Timestamp, gst::Event)| Some(*time) <= settled;
        let next = self
            .events
            .pop_front_if(|event| is_over || crowded || is_due(event));
        next.map(|(_, event)| event)
    }

    /// Drops the latest hypothesis of an utterance of which a newer one has come. Nothing is lost
    /// by that: a hypothesis holds the utterance's whole text.
    fn pass_over(&mut self, utterance: Utterance) {
        let is_older = |entry: &Entry| match entry {
            Entry::Interim(older) => older.utterance == utterance,
            _ => false,
        };
        let Some(index) = self.entries.iter().rposition(is_older) else {
            return;
        };
        self.entries.remove(index);
        let is_watermark = |index| matches!(self.entries.get(index), Some(Entry::Watermark(_)));
        if index > 0 && is_watermark(index - 1) && is_watermark(index) {
            self.entries.remove(index - 1);
        }
    }
}

/// How the pad's thread waits. Waking it costs more than what it does then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sleep {
    Awake,
    /// It looks again soon enough for what is not urgent.
    Light,
    Deep,
}

#[derive(Debug)]
struct State {
    slots: VecDeque<Slot>,
    next_lane: u64,
    flushing: bool,
    /// The pad's thread has taken something that may not have left yet.
    pushing: bool,
    /// The pad's thread is to come back although there is nothing.
    nudged: bool,
    sleep: Sleep,
    flow: Result<(), gst::FlowError>,
}

/// The queue in front of a src pad.
#[derive(Debug)]
pub(super) struct OutputQueue {
    state: Mutex<State>,
    changed: Condvar,
}

impl Default for OutputQueue {
    fn default() -> Self {
        let state = State {
            slots: VecDeque::new(),
            next_lane: 0,
            flushing: true,
            pushing: false,
            nudged: false,
            sleep: Sleep::Awake,
            flow: Ok(()),
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }
}

/// What [`OutputQueue::next`] found.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "it is moved once, and never kept"
)]
pub(super) enum Next {
    Entry(Entry),
    /// Nothing, in time or before a nudge.
    Nothing,
    Flushing,
}

impl OutputQueue {
    /// Nothing leaves any more, and the pad's thread does not wait any longer.
    pub fn flush(&self) {
        let mut state = self.lock();
        state.flushing = true;
        self.wake(state);
    }

    /// Drops what waits.
    pub fn clear(&self) {
        let slots = std::mem::take(&mut self.lock().slots);
        // Without the lock: what is in there is not ours.
        drop(slots);
    }

    /// Forgets everything and opens up.
    pub fn reset(&self) {
        let mut state = self.lock();
        state.slots.clear();
        state.flushing = false;
        state.pushing = false;
        state.flow = Ok(());
    }

    /// Makes the pad's thread look at the time again.
    pub fn nudge(&self) {
        let mut state = self.lock();
        state.nudged = true;
        self.wake(state);
    }

    /// What downstream said to the most recent push.
    pub fn flow(&self) -> Result<(), gst::FlowError> {
        self.lock().flow
    }

    pub fn set_flow(&self, error: gst::FlowError) {
        self.lock().flow = Err(error);
    }

    /// An event, to leave after everything before it. In the midst of a session's audio it has a
    /// timestamp, and waits for the text of the audio before that only.
    pub fn event(&self, time: Option<Timestamp>, event: gst::Event) {
        let mut state = self.lock();
        if let (Some(time), Some(Slot::Lane(lane))) = (time, state.slots.back_mut())
            && !lane.closed
        {
            lane.put_event(time, event);
            if lane.events.len() > MAX_EVENTS {
                self.wake(state);
            } else {
                self.wake_some_time(state);
            }
        } else {
            state.put_event(event);
            self.wake(state);
        }
    }

    /// Whether everything has left.
    pub fn is_idle(&self) -> bool {
        let state = self.lock();
        state.slots.is_empty() && !state.pushing
    }

    /// Opens a lane for a session whose audio starts at `start`.
    pub fn open_lane(&self, start: Timestamp) -> u64 {
        let mut state = self.lock();
        let id = state.next_lane;
        state.next_lane += 1;
        state.slots.push_back(Slot::Lane(LaneSlot {
            id,
            entries: VecDeque::from([Entry::Begin(start)]),
            events: VecDeque::new(),
            closed: false,
            waker: None,
        }));
        self.wake(state);
        id
    }

    /// Called when a lane has become short enough for more audio.
    pub fn set_waker(&self, lane: u64, waker: Waker) {
        if let Some(lane) = self.lock().lane(lane) {
            lane.waker = Some(Arc::new(waker));
        }
    }

    /// Puts something into a lane, unless that has been flushed away.
    pub fn put(&self, lane: u64, entry: Entry) {
        let is_urgent = !matches!(entry, Entry::Watermark(_));
        let mut state = self.lock();
        if let Some(lane) = state.lane(lane) {
            lane.put(entry);
        }
        if is_urgent {
            self.wake(state);
        } else {
            self.wake_some_time(state);
        }
    }

    /// Nothing more will come into a lane.
    pub fn close_lane(&self, lane: u64) {
        let mut state = self.lock();
        if let Some(lane) = state.lane(lane) {
            if !lane.closed {
                lane.put(Entry::End);
            }
            lane.closed = true;
            lane.waker = None;
        }
        self.wake(state);
    }

    /// Whether a lane is so full that its session should send no more audio. Its waker is called
    /// when that is over.
    pub fn is_congested(&self, lane: u64) -> bool {
        let mut state = self.lock();
        let lane = state.lane(lane);
        lane.is_some_and(|lane| lane.entries.len() >= CONGESTION)
    }

    /// For what can wait until the pad's thread looks again, if it does so at all.
    fn wake_some_time(&self, state: MutexGuard<'_, State>) {
        if state.sleep == Sleep::Deep {
            self.wake(state);
        }
    }

    /// Wakes the pad's thread, the only one that ever waits here.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let sleep = std::mem::replace(&mut state.sleep, Sleep::Awake);
        drop(state);
        if sleep != Sleep::Awake {
            self.changed.notify_one();
        }
    }

    /// The next entry; waits for it, up to the timeout if there is one, and then also for what is
    /// not urgent. All text before `settled` has left or is overdue, so events before it may leave.
    pub fn next(&self, timeout: Option<Duration>, settled: Option<Timestamp>) -> Next {
        let mut state = self.lock();
        state.pushing = false;
        let mut timed_out = false;
        loop {
            if state.flushing {
                return Next::Flushing;
            }
            if let Some((entry, relieved)) = state.pop(settled) {
                state.pushing = true;
                drop(state);
                if let Some(waker) = relieved {
                    waker();
                }
                return Next::Entry(entry);
            }
            if timed_out || std::mem::take(&mut state.nudged) {
                return Next::Nothing;
            }
            (state, timed_out) = self.sleep(state, timeout);
        }
    }

    /// Waits until woken, and says whether that took too long.
    fn sleep<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        timeout: Option<Duration>,
    ) -> (MutexGuard<'a, State>, bool) {
        let (mut state, timed_out) = match timeout {
            None => {
                state.sleep = Sleep::Deep;
                let state = self.changed.wait(state);
                (state.unwrap_or_else(PoisonError::into_inner), false)
            }
            Some(timeout) => {
                state.sleep = Sleep::Light;
                let state = self.changed.wait_timeout(state, timeout);
                let (state, result) = state.unwrap_or_else(PoisonError::into_inner);
                (state, result.timed_out())
            }
        };
        state.sleep = Sleep::Awake;
        (state, timed_out)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is complete before anything that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn lane(&mut self, id: u64) -> Option<&mut LaneSlot> {
        self.slots.iter_mut().find_map(|slot| match slot {
            Slot::Lane(lane) if lane.id == id => Some(lane),
            _ => None,
        })
    }

    fn put_event(&mut self, event: gst::Event) {
        if self.slots.len() > MAX_EVENTS
            && let Some(Slot::Event(before)) = self.slots.back_mut()
            && let Some(both) = tags::merged(before, &event)
        {
            *before = both;
            return;
        }
        self.slots.push_back(Slot::Event(event));
    }

    /// The next entry, and the waker to call if there is room again.
    fn pop(&mut self, settled: Option<Timestamp>) -> Option<(Entry, Option<Arc<Waker>>)> {
        loop {
            if let Slot::Lane(lane) = self.slots.front_mut()? {
                if let Some(event) = lane.pop_event(settled) {
                    return Some((Entry::Event(event), None));
                }
                let was_congested = lane.entries.len() == CONGESTION;
                if let Some(entry) = lane.entries.pop_front() {
                    let waker = lane.waker.clone().filter(|_| was_congested);
                    return Some((entry, waker));
                }
                if !lane.closed {
                    return None;
                }
            }
            if let Slot::Event(event) = self.slots.pop_front()? {
                return Some((Entry::Event(event), None));
            }
        }
    }
}

#[cfg(test)]
mod tests;
