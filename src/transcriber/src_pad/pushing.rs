// SPDX-License-Identifier: MPL-2.0
//! What the task of a pad does with text and events that are to leave: buffers, gaps, events, and a
//! look at how late they are.

use std::time::Duration;

use gst::prelude::*;

use super::super::tags;
use super::{MARKUP, PLAIN, SrcPad, TOLERATED, Task, WARNING_STEPS};
use crate::captions::Piece;
use crate::element::{CAT, MAIN, clock_time, post_excessive_delay, post_late_text};
use crate::timeline::{Timestamp, nanos};

impl SrcPad {
    pub(super) fn push_pieces(
        &self,
        task: &mut Task,
        mut pieces: Vec<Piece>,
        element: &gst::Element,
    ) -> Result<(), gst::FlowError> {
        let mut all = pieces.drain(..);
        let result = all.try_for_each(|piece| self.push_piece(task, piece, element));
        drop(all);
        task.pieces = pieces;
        result
    }

    fn push_piece(
        &self,
        task: &mut Task,
        piece: Piece,
        element: &gst::Element,
    ) -> Result<(), gst::FlowError> {
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
                return self.push_text(task, text, start, duration);
            }
            Piece::Gap { start, duration } => self.push_gap(task, start, duration),
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

    /// Says that there is no text, as far as the segment goes: the session's time goes on beyond that
    /// with the silence that stands for sound which does not come.
    fn push_gap(&self, task: &Task, start: Timestamp, duration: Duration) {
        let start = clock_time(start.nanos());
        let stop = start.saturating_add(clock_time(nanos(duration)));
        let Some((Some(start), Some(stop))) = task.segment.clip(start, stop) else {
            return;
        };
        let gap = gst::event::Gap::builder(start)
            .duration(stop.saturating_sub(start))
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

    pub(super) fn push_event(&self, task: &mut Task, event: gst::Event) {
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
