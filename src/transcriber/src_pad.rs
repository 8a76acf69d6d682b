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
use std::time::Duration;

use gst::prelude::*;

use super::downstream;
use super::lane::Lane;
use super::output_queue::{Entry, Next, OutputQueue};
use super::tags;
use super::timing::Timing;
use crate::captions::{Captioner, HEARTBEAT, Piece};
use crate::element::{
    Base, CAT, Key, MAIN, Results, Settings, Stats, TextOutput, clock_time, lock,
    post_excessive_delay, post_late_text, post_repeats,
};
use crate::timeline::{Timestamp, nanos};
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

    /// Moves on without text, if there is none for lack of a session.
    pub fn pass(&self, time: Timestamp) {
        if let Some(lane) = lock(&self.muted).as_mut() {
            lane.watermark(time);
        }
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
        let mut pieces = Vec::new();
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
        let mut pieces = Vec::new();
        let due = Timestamp::from_nanos(due.nseconds());
        task.captioner.due(due, &mut pieces);
        self.push_pieces(task, pieces, element)
    }

    fn push_pieces(
        &self,
        task: &mut Task,
        pieces: Vec<Piece>,
        element: &gst::Element,
    ) -> Result<(), gst::FlowError> {
        for piece in pieces {
            match piece {
                Piece::Text {
                    text,
                    start,
                    duration,
                    intended,
                } => {
                    if let Some(intended) = intended {
                        self.observe_delay(task, start, intended, element);
                    }
                    self.push_text(task, text, start, duration)?;
                }
                Piece::Gap { start, duration } => self.push_gap(start, duration),
                Piece::Language(language) => self.push_language(task, language),
                // Both are understood by textaccumulate, tttocea608 and tttocea708.
                Piece::Speaker(speaker) => {
                    let structure = gst::Structure::builder("rstranscribe/speaker-change");
                    let structure = structure.field("speaker", speaker.to_string()).build();
                    let event = gst::event::CustomDownstream::new(structure);
                    self.pad.push_event(event);
                }
                Piece::UtteranceEnd => {
                    let structure = gst::Structure::new_empty("rstranscribe/final-transcript");
                    let event = gst::event::CustomDownstream::new(structure);
                    self.pad.push_event(event);
                }
            }
        }
        Ok(())
    }

    fn push_text(
        &self,
        task: &mut Task,
        text: String,
        start: Timestamp,
        duration: Duration,
    ) -> Result<(), gst::FlowError> {
        if self.key != MAIN && self.pad.check_reconfigure() {
            self.negotiate();
        }
        let text = if self.wants_markup() {
            escaped(&text)
        } else {
            text
        };
        let mut buffer = gst::Buffer::from_slice(text.into_bytes());
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(clock_time(start.nanos()));
            buffer.set_duration(clock_time(nanos(duration)));
            if std::mem::take(&mut task.discont) {
                buffer.set_flags(gst::BufferFlags::DISCONT);
            }
        }
        gst::log!(CAT, obj = self.pad, "pushing {buffer:?}");
        match self.pad.push(buffer) {
            // Only the messages are wanted then.
            Ok(_) | Err(gst::FlowError::NotLinked) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Plain text, unless downstream takes nothing but markup.
    fn negotiate(&self) {
        let plain = gst::Caps::builder("text/x-raw")
            .field("format", PLAIN)
            .build();
        let template = self.pad.pad_template_caps();
        let wanted = self.pad.peer_query_caps(Some(&template));
        let fitting = wanted.intersect(&plain);
        let mut caps = match (fitting.is_empty(), wanted.is_empty()) {
            (false, _) => fitting,
            (true, false) => wanted,
            // Downstream refuses it, and says so.
            (true, true) => plain,
        };
        caps.fixate();
        if self.pad.current_caps().as_ref() != Some(&caps) {
            self.pad.push_event(gst::event::Caps::new(&caps));
        }
    }

    fn wants_markup(&self) -> bool {
        let caps = self.pad.current_caps();
        let format = caps
            .as_ref()
            .and_then(|caps| caps.structure(0)?.get::<&str>("format").ok());
        format == Some(MARKUP)
    }

    fn push_gap(&self, start: Timestamp, duration: Duration) {
        let gap = gst::event::Gap::builder(clock_time(start.nanos()))
            .duration(clock_time(nanos(duration)))
            .build();
        gst::trace!(CAT, obj = self.pad, "{gap:?}");
        // Whether downstream takes it says nothing about the stream.
        self.pad.push_event(gap);
    }

    fn push_language(&self, task: &mut Task, language: String) {
        if let Some(tags) = tags::in_language(&tags::pushed(&self.pad), &language) {
            self.pad.push_event(gst::event::Tag::new(tags));
        }
        task.language = Some(language);
    }

    fn push_event(&self, task: &mut Task, event: gst::Event) {
        let event = match event.view() {
            gst::EventView::StreamStart(_) => {
                task.another_stream = true;
                event
            }
            gst::EventView::Segment(segment) => {
                // The base class negotiates for its own src pad only.
                if self.key != MAIN && !self.pad.has_current_caps() {
                    self.negotiate();
                }
                self.begin_segment(task, segment)
            }
            gst::EventView::Tag(tag) => match tags_of(task, tag) {
                Some(event) => event,
                None => return,
            },
            _ => event,
        };
        gst::debug!(CAT, obj = self.pad, "pushing {event:?}");
        self.pad.push_event(event);
    }

    /// The segment as it leaves: its text is later than its audio by the lateness.
    fn begin_segment(&self, task: &mut Task, event: &gst::event::Segment) -> gst::Event {
        let settings = self.shared.settings();
        // Only time segments are put into the queue.
        let segment = event.segment().downcast_ref::<gst::ClockTime>();
        let mut segment = segment.cloned().unwrap_or_default();
        let lateness = gst::ClockTime::from_mseconds(settings.lateness.into());
        segment.set_base(segment.base().map(|base| base.saturating_add(lateness)));
        task.segment.set_position(segment.position());
        // In the midst of a session it is the same one again.
        if !task.in_session || task.segment != segment {
            *task = Task {
                segment: segment.clone(),
                language: task.language.take(),
                discont: true,
                warned: task.warned,
                ..Task::new(&settings)
            };
        }
        gst::event::Segment::builder(&segment)
            .seqnum(event.seqnum())
            .build()
    }

    /// Measures how late text leaves and is shown; too late is worth a warning.
    fn observe_delay(
        &self,
        task: &mut Task,
        start: Timestamp,
        intended: Timestamp,
        element: &gst::Element,
    ) {
        let late = to_millis(start.since(intended));
        let (allowed, tolerated) = {
            let settings = self.shared.settings();
            let allowed = settings.latency.saturating_add(task.lateness);
            (allowed, settings.min_duration.max(TOLERATED))
        };
        if let Some(delay) = self.delay(task, intended, element) {
            let whole = &self.shared.base.stats;
            let longest_so_far = whole.max_observed_delay();
            self.stats.observe_delay(delay, late > 0);
            if delay > longest_so_far {
                element.notify("max-observed-delay");
            }
            if delay > allowed && late > 0 {
                // It is shown late because it came late.
                if delay > longest_so_far && is_news(delay, &mut task.warned.delay) {
                    post_excessive_delay(element, delay);
                }
                return;
            }
        }
        if late > tolerated && is_news(late, &mut task.warned.late) {
            post_late_text(element, late);
        }
    }

    /// How long after it was spoken text leaves now, in milliseconds; `None` where text has no
    /// deadlines.
    fn delay(&self, task: &Task, intended: Timestamp, element: &gst::Element) -> Option<u32> {
        let timing = *self.shared.timing();
        let lateness = gst::ClockTime::from_mseconds(task.lateness.into());
        let now = element
            .current_running_time()
            .filter(|_| timing.has_deadlines())?;
        // The segment has the lateness in it, and the audio took its time before.
        let said = task.segment.to_running_time(clock_time(intended.nanos()))?;
        let heard = said.checked_sub(lateness)?.saturating_add(timing.delay());
        Some(to_millis(now.saturating_sub(heard).into()))
    }
}

/// Whether a warning about a delay of `millis` says something new; slow growth does not.
fn is_news(millis: u32, warned: &mut u32) -> bool {
    let is_news = millis > warned.saturating_add(*warned / WARNING_STEPS);
    if is_news {
        *warned = millis;
    }
    is_news
}

/// As markup that reads as the plain text.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

/// Upstream's tags as they leave. The service knows better in which language the text is.
fn tags_of(task: &Task, event: &gst::event::Tag) -> Option<gst::Event> {
    let tags = match &task.language {
        Some(language) => tags::in_language(event.tag(), language)?,
        None => event.tag_owned(),
    };
    let event = gst::event::Tag::builder(tags).seqnum(event.seqnum());
    Some(event.build())
}

fn to_millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
