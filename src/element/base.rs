// SPDX-License-Identifier: MPL-2.0
//! The state that both elements share: settings, statistics and the path of the audio into
//! sessions. Each element holds one [`Base`] and calls it from its pad functions.
//!
//! Locks: `settings`, `input` and `gate` are held only briefly, never two at once, and never while
//! waiting, reading files, querying, pushing or posting.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use gst::glib;
use gst::prelude::*;

use super::assignment::{Assignment, MAIN, Stretch};
use super::feeding::Feeding;
use super::input::{Input, Placed};
use super::missing::Missing;
use super::poster::{Gate, Poster};
use super::posts::{post_failure, post_outage, post_without_effect};
use super::properties::Effect;
use super::report::TextOutput;
use super::stats::Stats;
use super::stats_timer::StatsTimer;
use super::uplink::Uplink;
use super::{CAT, Settings, lock};

/// Ends the WARNING about a change that cannot be made.
pub const PREVIOUS: &str = "Until then the previous value counts.";

/// Ends the WARNING about settings that allow no session, when the pipeline keeps running.
const MUTED: &str = "There are no captions until then.";

#[derive(Debug, Default)]
pub struct Base {
    settings: Mutex<Settings>,
    input: Mutex<Input>,
    pub stats: Stats,
    stats_timer: StatsTimer,
    missing: Missing,
    /// Open from READY to PAUSED until the way back.
    gate: Mutex<Arc<Gate>>,
}

impl Base {
    pub fn settings(&self) -> MutexGuard<'_, Settings> {
        lock(&self.settings)
    }

    pub fn input(&self) -> MutexGuard<'_, Input> {
        lock(&self.input)
    }

    /// Sets a property. Recognition settings also apply to a session that is already running.
    pub fn set_property(
        &self,
        element: &gst::Element,
        value: &glib::Value,
        pspec: &glib::ParamSpec,
    ) {
        let effect = self.settings().set(value, pspec);
        let (uplinks, name) = (self.input().running(), pspec.name());
        if uplinks.is_empty() {
            return;
        }
        match effect {
            Effect::AtOnce => {}
            Effect::NextConnection => {
                let settings = self.settings().clone();
                let updated = uplinks
                    .iter()
                    .try_for_each(|uplink| uplink.update(&settings, name));
                if let Err(failure) = updated {
                    post_outage(element, &failure, PREVIOUS, None);
                }
            }
            Effect::NextStart => post_without_effect(
                element,
                &[format!(
                    "The property {name} counts from the next start: set the element to READY, and \
                     then to PLAYING again."
                )],
            ),
        }
    }

    pub fn property(&self, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "connection-state" => self.stats.connection_state().to_value(),
            "stats" => {
                let level = self.input().queue_level(MAIN);
                self.stats.to_structure(level).to_value()
            }
            _ => {
                let value = self.settings().get(pspec);
                value.unwrap_or_else(|| pspec.default_value().clone())
            }
        }
    }

    /// The element starts: posts the counters at intervals from now on, if that is wanted.
    pub fn begin(&self, element: &gst::Element) {
        let gate = Arc::<Gate>::default();
        *lock(&self.gate) = gate.clone();
        let interval = self.settings().stats_interval;
        self.stats_timer.start(Poster::new(element, gate), interval);
    }

    /// The element stops: nothing is posted any more, for which this waits. What it learnt of the
    /// service may be different when it starts again.
    pub fn end(&self) {
        let gate = lock(&self.gate).clone();
        gate.close();
        self.stats_timer.stop();
        self.missing.forget();
    }

    /// Ends the utterance, if the application controls utterance boundaries.
    pub fn commit(&self, element: &gst::Element) {
        let settings = self.settings().clone();
        self.input().commit(element, &settings);
    }

    /// Whether the audio comes backwards: then there is nothing to recognise. Posts the WARNING that
    /// says so.
    pub fn refuses_reversed(&self, element: &gst::Element) -> bool {
        let rate = self.input().segment().rate();
        if rate < 0.0 {
            let text = format!(
                "Playback is reversed (rate {rate}): speech has no words then, and there are no \
                 captions until it goes forwards again."
            );
            gst::warning!(CAT, obj = element, "{text}");
            let message = gst::message::Warning::builder(gst::StreamError::Format, &text)
                .src(element)
                .build();
            let _ = element.post_message(message);
        }
        rate < 0.0
    }

    /// See [`Input::clip`]; posts an ERROR for audio that cannot be taken.
    pub fn clip(
        &self,
        element: &gst::Element,
        buffer: gst::Buffer,
    ) -> Result<Option<(gst::Buffer, Option<gst::ClockTime>)>, gst::FlowError> {
        let clipped = self.input().clip(buffer);
        clipped.map_err(|failure| {
            post_failure(element, &failure, None);
            gst::FlowError::NotNegotiated
        })
    }

    /// What the sessions to be started are for.
    pub fn stretch(&self, live: bool) -> Stretch {
        let input = self.input();
        Stretch {
            format: input.format(),
            segment: input.segment().clone(),
            live,
        }
    }

    /// Starts a session for the audio that follows; it gets it from [`Input::begin_run`] or
    /// [`Input::join`] on. Returns none if the settings allow no session and the pipeline has to
    /// keep running.
    pub fn start_session<T: TextOutput>(
        &self,
        element: &gst::Element,
        settings: &Settings,
        stretch: &Stretch,
        assignment: Assignment<T>,
    ) -> Result<Option<Arc<Uplink>>, gst::FlowError> {
        let target = assignment.target();
        let poster = Poster::new(element, lock(&self.gate).clone());
        let missing = &self.missing;
        match Uplink::start(element, settings, stretch, assignment, missing, poster) {
            Ok((uplink, without_effect)) => {
                post_without_effect(element, &without_effect);
                Ok(Some(Arc::new(uplink)))
            }
            Err(failure) if settings.keeps_going() => {
                post_outage(element, &failure, MUTED, target.as_deref());
                Ok(None)
            }
            Err(failure) => {
                post_failure(element, &failure, target.as_deref());
                Err(gst::FlowError::Error)
            }
        }
    }
}

/// The path of the audio through an element; each element implements its own way of waiting.
pub trait Feed {
    fn base(&self) -> &Base;

    /// Begins a run for audio whose first buffer is `first`, with a session for each purpose whose
    /// settings allow one.
    fn start(&self, first: &gst::BufferRef) -> Result<(), gst::FlowError>;

    /// Pushes audio; blocks for as long as it takes.
    fn push(&self, feeding: Feeding) -> Result<(), gst::FlowError>;

    /// Timestamps went back by `back` in mid-segment, so the session has been ended; `first` is the
    /// next buffer.
    fn went_back(&self, back: Duration, first: &gst::BufferRef);

    /// Takes a buffer that lies within the segment.
    fn feed(&self, buffer: gst::Buffer) -> Result<(), gst::FlowError> {
        let mut placed = self.base().input().place(buffer);
        if let Placed::Nowhere(buffer) = placed {
            self.start(&buffer)?;
            placed = self.base().input().place(buffer);
        }
        self.follow(placed)
    }

    /// Pushes the buffers held back, before the stream changes or ends.
    fn flush_held(&self) -> Result<(), gst::FlowError> {
        let placed = self.base().input().flush();
        self.follow(placed)
    }

    /// Pushes a gap as silence.
    fn feed_gap(&self, gap: &gst::event::Gap) -> Result<(), gst::FlowError> {
        self.flush_held()?;
        let (start, duration) = gap.get();
        let end = start.saturating_add(duration.unwrap_or_default());
        let feeding = self.base().input().place_gap(start, end);
        feeding.map_or(Ok(()), |feeding| self.push(feeding))
    }

    fn follow(&self, placed: Placed) -> Result<(), gst::FlowError> {
        match placed {
            // A flush has ended the session that was just started.
            Placed::Nowhere(_) => Err(gst::FlowError::Flushing),
            Placed::Held => Ok(()),
            Placed::Fed(feeding) => self.push(feeding),
            Placed::Restart { buffers, back } => {
                self.base().input().end_run();
                if let (Some(back), Some(first)) = (back, buffers.first()) {
                    self.went_back(back, first);
                }
                buffers.into_iter().try_for_each(|buffer| self.feed(buffer))
            }
        }
    }
}

/// The WARNING about timestamps that went back.
pub fn post_went_back(element: &gst::Element, back: Duration) {
    let text = format!(
        "Timestamps went back by {:.1} s in the middle of a segment: captions have the timestamps \
         of their audio, and begin anew. Upstream should send a segment for that.",
        back.as_secs_f64()
    );
    gst::warning!(CAT, obj = element, "{text}");
    let message = gst::message::Warning::builder(gst::StreamError::Format, &text)
        .src(element)
        .build();
    let _ = element.post_message(message);
}
