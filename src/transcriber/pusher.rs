// SPDX-License-Identifier: MPL-2.0
//! The src pad's task: the only one that pushes text and serialized events there.

use std::time::Duration;

use gst::prelude::*;
use gst::subclass::prelude::*;

use super::imp::QwenAsr;
use super::outlet::{Item, Next};
use crate::captions::{Layout, Piece, Stable, Track, cues};
use crate::element::{CAT, clock_time};
use crate::transcript::Word;

/// How often a live pipeline hears that there is no text.
const HEARTBEAT: Duration = Duration::from_millis(200);

/// Words are pushed this much before their deadline: until the heart beats again.
const LEAD: Duration = HEARTBEAT.saturating_add(Duration::from_millis(100));

/// Words that come too late to be shown as long as they took follow each other at this distance,
/// in nanoseconds.
const SHORTEST_WORD: u64 = 40_000_000;

/// A longer delay is worth another warning if it is longer by one in so many parts of the last.
const WARNING_STEPS: u32 = 10;

/// What the task knows of the pad. Nobody else looks at it while the task runs.
#[derive(Debug, Default)]
pub(super) struct Pusher {
    track: Track,
    /// As pushed, that is with the lateness.
    segment: gst::FormattedSegment<gst::ClockTime>,
    discont: bool,
    pieces: Vec<Piece>,
    /// The delay of the last warning about one, in milliseconds.
    warned_delay: u32,
    /// For `results=stable`.
    stable: Stable,
    words: Vec<Word>,
}

impl QwenAsr {
    /// One round of the task.
    pub(super) fn push_next(&self) {
        let live = self.timing().live;
        let mut pusher = self.pusher();
        let timeout = (live && pusher.track.position().is_some()).then_some(HEARTBEAT);
        let (next, relieved) = self.outlet.next(timeout);
        if relieved {
            self.input().wake();
        }
        let result = match next {
            Next::Flushing => {
                drop(pusher);
                let _ = self.src_pad().pause_task();
                return;
            }
            Next::TimedOut => self.beat(&mut pusher),
            Next::Item(item) => {
                let result = self.push_item(&mut pusher, item);
                // Also between items: a talkative service must not silence the heart.
                if live {
                    result.and_then(|()| self.beat(&mut pusher))
                } else {
                    result
                }
            }
        };
        if let Err(error) = result {
            gst::debug!(CAT, imp = self, "downstream: {error}");
            self.outlet.set_flow(error);
        }
    }

    fn push_item(&self, pusher: &mut Pusher, item: Item) -> Result<(), gst::FlowError> {
        let Layout {
            min_duration: shortest,
            max_duration: longest,
            ..
        } = self.settings().layout();
        let Pusher {
            track,
            pieces,
            stable,
            words,
            ..
        } = pusher;
        match item {
            Item::Event(event) => return self.push_event(pusher, event),
            Item::Begin(time) => {
                track.begin(time);
                *stable = Stable::new();
            }
            Item::Text { text, start, end } => track.text(text, start, end, shortest, pieces),
            Item::Interim {
                lines,
                start,
                end,
                last,
            } => {
                let shortest = if last { shortest } else { 0 };
                track.interim(lines, start, end, shortest, longest, pieces);
            }
            Item::Hypothesis {
                item,
                text,
                stash,
                words: spoken,
                start,
                heard,
            } => {
                stable.spoken(item, start, spoken, words);
                stable.interim(item, &text, &stash, start, heard, words);
            }
            Item::Final {
                item,
                text,
                words: spoken,
                start,
                end,
            } => {
                stable.spoken(item, start, spoken, words);
                stable.last(item, &text, start, end, words);
            }
            Item::Cut => stable.cut(),
            // Never beyond text that is still held back.
            Item::Advance(time) => {
                let time = stable.held().map_or(time, |held| held.min(time));
                track.advance(time, pieces);
            }
        }
        self.place_words(pusher);
        self.push_pieces(pusher)
    }

    /// Puts words on the track; a long run without spaces in pieces that can be read.
    fn place_words(&self, pusher: &mut Pusher) {
        let layout = Layout {
            max_chars: self.settings().max_chars as usize,
            ..Layout::default()
        };
        let Pusher {
            track,
            pieces,
            words,
            ..
        } = pusher;
        for word in words.drain(..) {
            for cue in cues(&word.text, word.start, word.end, &layout) {
                track.text(cue.text, cue.start, cue.end, SHORTEST_WORD, pieces);
            }
        }
    }

    /// Moves the track on to where text would come too late, given the latency.
    fn beat(&self, pusher: &mut Pusher) -> Result<(), gst::FlowError> {
        let timing = self.timing();
        let latency = gst::ClockTime::from_mseconds(self.settings().latency.into());
        let due = self
            .obj()
            .current_running_time()
            .and_then(|now| now.checked_sub(latency.saturating_add(timing.delay())))
            .and_then(|due| pusher.segment.position_from_running_time(due));
        let (Some(due), Some(position)) = (due, pusher.track.position()) else {
            return Ok(());
        };
        let due = due.nseconds();
        let lead = LEAD.as_nanos() as u64;
        pusher
            .stable
            .due(due.saturating_add(lead), &mut pusher.words);
        self.place_words(pusher);
        // Small steps would only cost.
        if due >= position.saturating_add(HEARTBEAT.as_nanos() as u64) {
            pusher.track.advance(due, &mut pusher.pieces);
        }
        self.push_pieces(pusher)
    }

    /// Measures how long after it was said live text leaves; too long is worth a warning.
    fn observe_delay(
        &self,
        segment: &gst::FormattedSegment<gst::ClockTime>,
        meant: u64,
        late: bool,
        warned: &mut u32,
    ) {
        let timing = self.timing();
        let (latency, lateness) = {
            let settings = self.settings();
            (settings.latency, settings.lateness)
        };
        let obj = self.obj();
        let now = obj.current_running_time();
        // The segment has the lateness in it, and the audio took its time before.
        let said = segment
            .to_running_time(clock_time(meant))
            .and_then(|said| said.checked_sub(gst::ClockTime::from_mseconds(lateness.into())));
        let (true, Some(now), Some(said)) = (timing.live, now, said) else {
            return;
        };
        let delay = now.saturating_sub(said.saturating_add(timing.delay()));
        let delay = u32::try_from(delay.mseconds()).unwrap_or(u32::MAX);
        let before = self.base.stats.max_observed_delay();
        self.base.stats.observe_delay(delay, late);
        if delay <= before {
            return;
        }
        obj.notify("max-observed-delay");
        // A delay that creeps up says the same again and again.
        let step = *warned / WARNING_STEPS;
        if delay > latency.saturating_add(lateness) && delay > warned.saturating_add(step) {
            *warned = delay;
            let text = format!(
                "Text came {delay} ms after it was said, more than latency and lateness allow."
            );
            gst::warning!(CAT, imp = self, "{text}");
            let details = gst::Structure::builder("qwenasr/excessive-delay")
                .field(
                    "new-observed-max-delay",
                    gst::ClockTime::from_mseconds(delay.into()),
                )
                .build();
            let message = gst::message::Warning::builder(gst::CoreError::Clock, &text)
                .details(details)
                .src(&*obj)
                .build();
            let _ = obj.post_message(message);
        }
    }

    fn push_pieces(&self, pusher: &mut Pusher) -> Result<(), gst::FlowError> {
        let Pusher {
            pieces,
            discont,
            segment,
            warned_delay,
            ..
        } = pusher;
        for piece in pieces.drain(..) {
            match piece {
                Piece::Gap { start, duration } => {
                    let gap = gst::event::Gap::builder(clock_time(start))
                        .duration(clock_time(duration))
                        .build();
                    gst::trace!(CAT, imp = self, "{gap:?}");
                    // Whether downstream wants it says nothing about the stream.
                    self.src_pad().push_event(gap);
                }
                Piece::Text {
                    text,
                    start,
                    duration,
                    meant,
                } => {
                    self.observe_delay(segment, meant, start > meant, warned_delay);
                    self.push_text(text, start, duration, discont)?;
                }
                Piece::Again {
                    text,
                    start,
                    duration,
                } => self.push_text(text, start, duration, discont)?,
            }
        }
        Ok(())
    }

    fn push_text(
        &self,
        text: String,
        start: u64,
        duration: u64,
        discont: &mut bool,
    ) -> Result<(), gst::FlowError> {
        let mut buffer = gst::Buffer::from_slice(text.into_bytes());
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(clock_time(start));
            buffer.set_duration(clock_time(duration));
            if std::mem::take(discont) {
                buffer.set_flags(gst::BufferFlags::DISCONT);
            }
        }
        gst::log!(CAT, imp = self, "pushing {buffer:?}");
        match self.src_pad().push(buffer) {
            // Messages are all that is wanted then.
            Ok(_) | Err(gst::FlowError::NotLinked) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn push_event(&self, pusher: &mut Pusher, event: gst::Event) -> Result<(), gst::FlowError> {
        let event = match event.view() {
            gst::EventView::Segment(segment) => {
                // Only time segments are put into the line.
                let mut time = segment
                    .segment()
                    .downcast_ref::<gst::ClockTime>()
                    .cloned()
                    .unwrap_or_default();
                let lateness = gst::ClockTime::from_mseconds(self.settings().lateness.into());
                time.set_base(time.base().map(|base| base.saturating_add(lateness)));
                pusher.segment = time.clone();
                pusher.track = Track::default();
                pusher.discont = true;
                gst::event::Segment::builder(&time)
                    .seqnum(event.seqnum())
                    .build()
            }
            _ => event,
        };
        gst::debug!(CAT, imp = self, "pushing {event:?}");
        self.src_pad().push_event(event);
        Ok(())
    }
}
