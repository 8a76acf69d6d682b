// SPDX-License-Identifier: MPL-2.0
//! A src pad: its queue, the captioner that makes text of what waits there, and the task that
//! pushes.
//!
//! The task is the only one that pushes text and serialized events on the pad, so what leaves is in
//! the order of the queue. Everything that makes text happens on its thread. Of the element a pad
//! needs the clock, the bus and what is in [`Shared`]; an element may have several pads.
//!
//! Locks: `task` is held by the pad's thread for a whole round and may be followed by those of
//! [`Shared`] and of the queue, one at a time. Nobody else takes it while the task runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use gst::prelude::*;

use super::downstream;
use super::lane::Lane;
use super::output_queue::{Entry, Next, OutputQueue};
use super::timing::Timing;
use crate::captions::{Captioner, HEARTBEAT, Piece};
use crate::element::{
    Base, CAT, Key, MAIN, Results, Settings, Stats, TextOutput, lock, post_repeats,
};
use crate::timeline::Timestamp;
use crate::transcript::Transcript;

/// The formats of text: as it is, and with the escapes of markup, which are those of WebVTT, too.
pub(super) const PLAIN: &str = "utf8";
pub(super) const MARKUP: &str = "pango-markup";

/// A delay that has grown by one part in this many since the latest warning is worth another.
const WARNING_STEPS: u32 = 10;

/// By how much text may be late without a warning, in milliseconds: `min-duration` of the text
/// before it makes it so.
const TOLERATED: u32 = 1000;

/// What an element and its pads have in common. The locks are held for moments only, never two at a
/// time, nor while pushing, querying or posting.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub base: Base,
    timing: Mutex<Timing>,
}

impl Shared {
    pub fn settings(&self) -> MutexGuard<'_, Settings> {
        self.base.settings()
    }

    pub fn timing(&self) -> MutexGuard<'_, Timing> {
        lock(&self.timing)
    }
}

/// A src pad and all that is needed to push text on it.
#[derive(Debug)]
pub(super) struct SrcPad {
    /// Of its session.
    key: Key,
    pad: gst::Pad,
    queue: Arc<OutputQueue>,
    shared: Arc<Shared>,
    stats: Stats,
    task: Mutex<Task>,
    /// Where text would go, if the settings allowed a session: the pipeline runs on without.
    muted: Mutex<Option<Lane>>,
    /// It has got what came before it was requested.
    has_begun: AtomicBool,
    /// It was given back: the task must not be started again, as it would outlive the pad. Held
    /// while the task is started.
    is_released: Mutex<bool>,
}

/// What the pad's thread knows.
#[derive(Debug)]
struct Task {
    captioner: Captioner,
    /// As pushed, that is, with the lateness.
    segment: gst::FormattedSegment<gst::ClockTime>,
    /// The lateness in it, in milliseconds: the property may have changed since.
    lateness: u32,
    /// The text of a session is being pushed.
    in_session: bool,
    /// Another stream has begun since the latest session.
    another_stream: bool,
    /// Of the text, as the service says.
    language: Option<String>,
    discont: bool,
    warned: Warned,
    /// Kept, so that making text allocates nothing in the steady state.
    pieces: Vec<Piece>,
}

/// What the latest warnings said, in milliseconds, so that they are not repeated endlessly.
#[derive(Debug, Default, Clone, Copy)]
struct Warned {
    /// How long after it was said text came.
    delay: u32,
    /// How much too late text was shown.
    late: u32,
}

impl Task {
    fn new(settings: &Settings) -> Self {
        Self {
            captioner: Captioner::new(settings.results.into(), settings.layout()),
            segment: gst::FormattedSegment::new(),
            lateness: settings.lateness,
            in_session: false,
            another_stream: false,
            language: None,
            discont: false,
            warned: Warned::default(),
            pieces: Vec::new(),
        }
    }
}

impl SrcPad {
    /// The pad of what is said.
    pub fn new(pad: gst::Pad, shared: Arc<Shared>) -> Self {
        let stats = shared.base.stats.clone();
        Self::with_key(MAIN, pad, shared, stats)
    }

    /// The pad of a translation.
    pub fn with_key(key: Key, pad: gst::Pad, shared: Arc<Shared>, stats: Stats) -> Self {
        let task = Mutex::new(Task::new(&shared.settings()));
        Self {
            key,
            pad,
            queue: Arc::default(),
            shared,
            stats,
            task,
            muted: Mutex::default(),
            has_begun: AtomicBool::new(key == MAIN),
            is_released: Mutex::default(),
        }
    }

    pub fn key(&self) -> Key {
        self.key
    }

    pub fn pad(&self) -> &gst::Pad {
        &self.pad
    }

    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Notes that it has got what came before it was requested. Returns whether that is news.
    pub fn begin(&self) -> bool {
        !self.has_begun.swap(true, Ordering::Relaxed)
    }

    pub fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Relaxed)
    }

    /// A way for the text of a session whose audio begins at this timestamp.
    pub fn open_lane(&self, start: Timestamp) -> Lane {
        let wants_interims = self.shared.settings().results != Results::Final;
        Lane::new(&self.queue, start, wants_interims)
    }

    /// There will be no text, for lack of a session.
    pub fn mute(&self, lane: Lane) {
        *lock(&self.muted) = Some(lane);
    }

    pub fn unmute(&self) {
        *lock(&self.muted) = None;
    }

    pub fn is_muted(&self) -> bool {
        lock(&self.muted).is_some()
    }

    /// Audio has come, with this timestamp: moves on without text, if there is none for lack of a
    /// session. Returns what downstream says.
    pub fn pass(&self, time: Option<Timestamp>) -> Result<(), gst::FlowError> {
        if let (Some(lane), Some(time)) = (lock(&self.muted).as_mut(), time) {
            lane.watermark(time);
        }
        self.queue.flow()
    }

    /// What waits to leave the pad.
    pub fn queue(&self) -> &Arc<OutputQueue> {
        &self.queue
    }

    /// Forgets everything and opens up. The task must not be running.
    pub fn reset(&self) {
        let task = Task::new(&self.shared.settings());
        *lock(&self.task) = task;
        self.queue.reset();
    }

    /// Waits until the task has seen a flush.
    pub fn pause(&self) {
        let _ = self.pad.pause_task();
    }

    /// The pad is given back: nothing leaves any more. Waits for the end of the task.
    pub fn release(&self) {
        *lock(&self.is_released) = true;
        self.queue.flush();
        self.unmute();
        let _ = self.pad.set_active(false);
        self.stop();
    }

    /// Waits for the end of the task, and drops what will not leave any more: sessions that say
    /// goodbye to the service still hold the queue.
    pub fn stop(&self) {
        let _ = self.pad.stop_task();
        self.queue.clear();
    }

    /// Pushes an event at once, or as [`Self::enqueue`] does if anything is still to leave.
    pub fn push_or_enqueue(self: &Arc<Self>, time: Option<Timestamp>, event: gst::Event) {
        if self.queue.is_idle() {
            self.pad.push_event(event);
        } else {
            self.enqueue(time, event);
        }
    }

    /// An event, to leave after everything before it; see [`OutputQueue::event`].
    pub fn enqueue(self: &Arc<Self>, time: Option<Timestamp>, event: gst::Event) {
        // Without a session there is no text to wait for.
        let time = if self.is_muted() {
            Some(Timestamp::default())
        } else {
            time
        };
        self.queue.event(time, event);
        self.ensure_task();
    }

    /// Sees to it that what is in the queue gets pushed.
    pub fn ensure_task(self: &Arc<Self>) {
        if self.pad.task_state() == gst::TaskState::Started {
            return;
        }
        let is_released = lock(&self.is_released);
        if *is_released {
            return;
        }
        let this = Arc::downgrade(self);
        let pad = self.pad.downgrade();
        let started = self.pad.start_task(move || match this.upgrade() {
            Some(this) => this.run(),
            // The element is gone, and never was set to NULL: the task is not to spin.
            None => drop(pad.upgrade().map(|pad| pad.pause_task())),
        });
        if started.is_err() {
            gst::error!(CAT, obj = self.pad, "the pad's task could not be started");
        }
    }

    /// One round of the task.
    fn run(&self) {
        let Some(element) = self.pad.parent_element() else {
            let _ = self.pad.pause_task();
            return;
        };
        let mut task = lock(&self.task);
        let has_deadlines = self.shared.timing().has_deadlines();
        let beats = has_deadlines && task.captioner.position().is_some();
        let timeout = beats.then_some(HEARTBEAT);
        let result = match self.queue.next(timeout, task.captioner.settled()) {
            Next::Flushing => {
                drop(task);
                let _ = self.pad.pause_task();
                return;
            }
            Next::Nothing => self.beat(&mut task, &element),
            Next::Entry(entry) => {
                let result = self.take(&mut task, entry, &element);
                // Also between entries: a steady flow of them must not starve the heartbeat.
                result.and_then(|()| self.beat(&mut task, &element))
            }
        };
        if let Err(error) = result {
            gst::debug!(CAT, obj = self.pad, "downstream: {error}");
            self.queue.set_flow(error);
        }
    }

    /// Makes text of an entry, or pushes an event.
    fn take(
        &self,
        task: &mut Task,
        entry: Entry,
        element: &gst::Element,
    ) -> Result<(), gst::FlowError> {
        let mut pieces = std::mem::take(&mut task.pieces);
        if let Entry::Interim(transcript) | Entry::Final(transcript) = &entry {
            self.mind_late_text(task, transcript);
        }
        let captioner = &mut task.captioner;
        match entry {
            Entry::Event(event) => self.push_event(task, event),
            Entry::Begin(time) => {
                // It has the same segment, and begins anew in it.
                let is_anew = std::mem::take(&mut task.another_stream);
                if is_anew && captioner.position() > Some(time) {
                    *captioner = Task::new(&self.shared.settings()).captioner;
                }
                captioner.begin(time);
                task.in_session = true;
            }
            Entry::Interim(transcript) => captioner.interim(&transcript, &mut pieces),
            Entry::Final(transcript) => captioner.finalise(&transcript, &mut pieces),
            Entry::Watermark(time) => captioner.watermark(time, &mut pieces),
            Entry::End => {
                captioner.end(&mut pieces);
                task.in_session = false;
            }
        }
        if let Some(repeats) = task.captioner.take_repeats() {
            post_repeats(element, repeats);
        }
        self.push_pieces(task, pieces, element)
    }

    /// Late text is moved only if something downstream waits for it.
    fn mind_late_text(&self, task: &mut Task, transcript: &Transcript) {
        let captioner = &mut task.captioner;
        if captioner.position() > Some(transcript.span.start) {
            captioner.keep_late_text(!downstream::waits_for(&self.pad));
        }
    }

    /// Moves on to the point before which, given the latency, text would come too late.
    fn beat(&self, task: &mut Task, element: &gst::Element) -> Result<(), gst::FlowError> {
        let timing = *self.shared.timing();
        if !timing.has_deadlines() {
            return Ok(());
        }
        let latency = gst::ClockTime::from_mseconds(self.shared.settings().latency.into());
        let due = element
            .current_running_time()
            .and_then(|now| now.checked_sub(latency.saturating_add(timing.delay())))
            .and_then(|due| task.segment.position_from_running_time(due));
        let Some(due) = due else { return Ok(()) };
        let mut pieces = std::mem::take(&mut task.pieces);
        let due = Timestamp::from_nanos(due.nseconds());
        task.captioner.due(due, &mut pieces);
        self.push_pieces(task, pieces, element)
    }
}

mod pushing;
#[cfg(test)]
mod tests;
