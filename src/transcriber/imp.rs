// SPDX-License-Identifier: MPL-2.0
//! The element itself: pads, properties, events and queries.
//!
//! Threads: upstream's streaming thread brings audio and events and never waits for the network in
//! a live pipeline; network threads bring transcripts; the src pad's task makes text of them and
//! pushes.
//!
//! Locks: `input`, `muted` and those of [`Shared`] are held for moments only, never two of them at
//! a time, nor while pushing, querying or posting; those of the output queue and the statistics may
//! be taken inside.

use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_transform::{BaseTransformMode, GenerateOutputSuccess};
use gst_base::subclass::prelude::*;

use super::lane::Lane;
use super::src_pad::{MARKUP, PLAIN, Shared, SrcPad};
use super::tags;
use super::timing::Timing;
use crate::element::{
    Base, CAT, Commit, Feed, Feeding, Input, Results, Settings, TextOutput, audio_caps,
    commit_signal, explain_refused_caps, is_commit, is_live, lock, post_went_back, property_specs,
    text_property_specs,
};
use crate::timeline::{Timestamp, nanos};

#[derive(Default)]
pub struct QwenAsr {
    shared: Arc<Shared>,
    src: OnceLock<Arc<SrcPad>>,
    /// Set while audio gets no session.
    muted: Mutex<Option<Muted>>,
}

/// Why audio gets no session. The pipeline runs on without, and gets GAPs.
enum Muted {
    /// The settings allow none; text would go here.
    Unusable(Lane),
    /// It comes backwards.
    Reversed,
}

impl Commit for QwenAsr {
    fn commit(&self) {
        self.shared.base.commit(self.obj().upcast_ref());
    }
}

impl Feed for QwenAsr {
    fn base(&self) -> &Base {
        &self.shared.base
    }

    /// The connection opens with the first audio, not before.
    fn start(&self, first: &gst::BufferRef) -> Result<bool, gst::FlowError> {
        if self.base().refuses_reversed(self.obj().upcast_ref()) {
            *lock(&self.muted) = Some(Muted::Reversed);
            return Ok(false);
        }
        if let Some((live, upstream)) = is_live(self.obj().sink_pad()) {
            let mut timing = self.timing();
            (timing.live, timing.upstream) = (live, upstream);
        }
        // Before any text could be missed.
        let said = self.input().running_time(first);
        self.note_lag(said);
        let live = self.timing().live;
        let draining = self.input().draining();
        if !live {
            // One session at a time, where there is time.
            draining.wait()?;
        }
        let obj = self.obj();
        let lane = || self.open_lane(first);
        let started = self.base().start_run(obj.upcast_ref(), live, lane)?;
        self.src().ensure_task();
        if !started {
            *lock(&self.muted) = Some(Muted::Unusable(self.open_lane(first)));
        }
        Ok(started)
    }

    fn push(&self, mut feeding: Feeding) -> Result<(), gst::FlowError> {
        Ok(feeding.push(self.obj().upcast_ref(), &self.base().stats)?)
    }

    /// The pad gets the segment again: its running time goes on where it was, and timestamps begin
    /// anew.
    fn went_back(&self, back: Duration, first: &gst::BufferRef) {
        post_went_back(self.obj().upcast_ref(), back);
        let mut segment = self.input().segment().clone();
        if let Some(pts) = first.pts() {
            let reached = pts.saturating_add(gst::ClockTime::from_nseconds(nanos(back)));
            let reached = segment.to_running_time(reached);
            segment.set_time(segment.to_stream_time(pts));
            segment.set_start(pts);
            segment.set_base(reached);
            segment.set_offset(gst::ClockTime::ZERO);
        }
        self.src().enqueue(None, gst::event::Segment::new(&segment));
    }
}

impl QwenAsr {
    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.shared.base.settings()
    }

    fn input(&self) -> MutexGuard<'_, Input> {
        self.shared.base.input()
    }

    fn timing(&self) -> MutexGuard<'_, Timing> {
        self.shared.timing()
    }

    /// The pad of the text in the language that is spoken.
    fn src(&self) -> &Arc<SrcPad> {
        let new = || {
            Arc::new(SrcPad::new(
                self.obj().src_pad().clone(),
                self.shared.clone(),
            ))
        };
        self.src.get_or_init(new)
    }

    /// A serialized event, to leave after the text of the audio before it.
    fn enqueue(&self, event: gst::Event) {
        let time = self.position();
        self.src().enqueue(time, event);
    }

    /// Where in the audio of a session an event comes; `None` if it is not in the midst of one.
    fn position(&self) -> Option<Timestamp> {
        // Without a session there is no text to wait for.
        let is_muted = lock(&self.muted).is_some();
        let muted = is_muted.then(Timestamp::default);
        muted.or_else(|| self.input().position())
    }

    fn process(&self, buffer: gst::Buffer) -> Result<(), gst::FlowError> {
        self.src().queue().flow()?;
        if let Some(muted) = lock(&self.muted).as_mut() {
            match (muted, buffer.pts()) {
                (Muted::Unusable(lane), Some(pts)) => {
                    lane.watermark(Timestamp::from_nanos(pts.nseconds()));
                }
                (Muted::Reversed, Some(pts)) => {
                    let gap = gst::event::Gap::builder(pts).duration(buffer.duration());
                    self.src().enqueue(None, gap.build());
                }
                (_, None) => {}
            }
            return Ok(());
        }
        gst::trace!(CAT, imp = self, "{buffer:?}");
        let clipped = self.input().clip(buffer);
        let Some((buffer, said)) = clipped else {
            return Ok(());
        };
        self.note_lag(said);
        self.feed(buffer)
    }

    /// Looks at how late live audio comes, given its running time.
    fn note_lag(&self, said: Option<gst::ClockTime>) {
        if !self.timing().has_deadlines() {
            return;
        }
        if let (Some(said), Some(now)) = (said, self.obj().current_running_time()) {
            self.timing().observe(said, now);
        }
    }

    /// A way for the text of a session whose audio begins with this buffer.
    fn open_lane(&self, first: &gst::BufferRef) -> Lane {
        let start = self.input().segment().start();
        let start = first.pts().or(start).unwrap_or_default();
        let start = Timestamp::from_nanos(start.nseconds());
        let wants_interims = self.settings().results != Results::Final;
        Lane::new(self.src().queue(), start, wants_interims)
    }

    /// No more audio comes for the running session.
    fn end_run(&self) {
        if self.flush_held().is_err() {
            gst::debug!(CAT, imp = self, "the rest of the audio is not taken");
        }
        self.input().end_run();
        *lock(&self.muted) = None;
    }

    fn stream_start(&self, event: &gst::event::StreamStart) {
        self.input().begin_stream();
        let id = format!("{}/captions", event.stream_id());
        let mut start = gst::event::StreamStart::builder(&id)
            .flags(gst::StreamFlags::SPARSE)
            .seqnum(event.seqnum());
        if let Some(group) = event.group_id() {
            start = start.group_id(group);
        }
        // The base class pushes caps at once, which must not come first.
        self.src().push_or_enqueue(self.position(), start.build());
    }

    fn new_segment(&self, event: &gst::event::Segment) {
        let _ = self.flush_held();
        *lock(&self.muted) = None;
        self.timing().new_segment();
        let mut input = self.input();
        input.set_segment(event.segment());
        let segment = input.segment().clone();
        drop(input);
        let event = gst::event::Segment::builder(&segment)
            .seqnum(event.seqnum())
            .build();
        self.enqueue(event);
    }

    /// Everything before the flush is void.
    fn flush_stop(&self) {
        self.src().pause();
        self.input().stop();
        *lock(&self.muted) = None;
        self.src().reset();
    }

    /// Frees every thread that waits in here.
    fn interrupt(&self) {
        self.src().queue().flush();
        self.input().interrupt();
    }

    fn answer_latency(&self, query: &mut gst::query::Latency) -> bool {
        let mut peer = gst::query::Latency::new();
        if !self.obj().sink_pad().peer_query(&mut peer) {
            return false;
        }
        let (live, min, max) = peer.result();
        let mut timing = self.timing();
        (timing.live, timing.upstream) = (live, min);
        drop(timing);
        let ours = gst::ClockTime::from_mseconds(self.settings().latency.into());
        if live {
            let max = max.map(|max| max.saturating_add(ours));
            query.set(true, min.saturating_add(ours), max);
        } else {
            query.set(false, min, max);
        }
        gst::debug!(CAT, imp = self, "latency: {:?}", query.result());
        true
    }
}

#[glib::object_subclass]
impl ObjectSubclass for QwenAsr {
    const NAME: &'static str = "GstQwenAsr";
    type Type = super::QwenAsr;
    type ParentType = gst_base::BaseTransform;
}

impl ObjectImpl for QwenAsr {
    fn constructed(&self) {
        self.parent_constructed();
        explain_refused_caps(self.obj().sink_pad());
    }

    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let mut specs = property_specs();
            specs.extend(text_property_specs());
            specs
        });
        &PROPERTIES
    }

    fn signals() -> &'static [glib::subclass::Signal] {
        static SIGNALS: LazyLock<Vec<glib::subclass::Signal>> =
            LazyLock::new(|| vec![commit_signal::<QwenAsr>()]);
        &SIGNALS
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        self.base()
            .set_property(self.obj().upcast_ref(), value, pspec);
        if pspec.name() == "latency" {
            let obj = self.obj();
            let _ = obj.post_message(gst::message::Latency::builder().src(&*obj).build());
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "max-observed-delay" => self.base().stats.max_observed_delay().to_value(),
            _ => self.base().property(pspec),
        }
    }
}

impl GstObjectImpl for QwenAsr {}

impl ElementImpl for QwenAsr {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Qwen speech recogniser",
                "Audio/Text/Filter",
                "Captions speech with Alibaba's Qwen-ASR-Realtime service",
                "The gst-plugin-qwenasr developers",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let template = |name, direction, caps: &gst::Caps| {
                gst::PadTemplate::new(name, direction, gst::PadPresence::Always, caps)
                    .expect("an always pad with valid caps makes a template")
            };
            vec![
                template("sink", gst::PadDirection::Sink, &audio_caps()),
                template("src", gst::PadDirection::Src, &text_caps()),
            ]
        });
        &TEMPLATES
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        match transition {
            gst::StateChange::ReadyToPaused => {
                *self.timing() = Timing::default();
                self.src().reset();
            }
            gst::StateChange::PlayingToPaused => self.timing().playing = false,
            // Before the base class, which waits for the streaming thread and the task.
            gst::StateChange::PausedToReady => self.interrupt(),
            _ => {}
        }
        let result = self.parent_change_state(transition);
        match transition {
            gst::StateChange::PausedToPlaying => {
                self.timing().playing = true;
                self.src().queue().nudge();
            }
            gst::StateChange::PausedToReady => {
                self.src().stop();
                *self.input() = Input::default();
                *lock(&self.muted) = None;
            }
            _ => {}
        }
        result
    }
}

/// Plain text, or with the escapes of markup where that is wanted.
fn text_caps() -> gst::Caps {
    gst::Caps::builder("text/x-raw")
        .field("format", gst::List::new([PLAIN, MARKUP]))
        .build()
}

impl BaseTransformImpl for QwenAsr {
    const MODE: BaseTransformMode = BaseTransformMode::NeverInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn transform_caps(
        &self,
        direction: gst::PadDirection,
        _caps: &gst::Caps,
        filter: Option<&gst::Caps>,
    ) -> Option<gst::Caps> {
        let caps = match direction {
            gst::PadDirection::Src => audio_caps(),
            _ => text_caps(),
        };
        Some(match filter {
            Some(filter) => filter.intersect_with_mode(&caps, gst::CapsIntersectMode::First),
            None => caps,
        })
    }

    /// Plain text, unless downstream takes nothing but markup.
    fn fixate_caps(
        &self,
        direction: gst::PadDirection,
        caps: &gst::Caps,
        othercaps: gst::Caps,
    ) -> gst::Caps {
        let plain = gst::Caps::builder("text/x-raw").field("format", PLAIN);
        let plain = othercaps.intersect(&plain.build());
        let othercaps = if plain.is_empty() { othercaps } else { plain };
        self.parent_fixate_caps(direction, caps, othercaps)
    }

    fn set_caps(&self, incaps: &gst::Caps, _outcaps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let info = gst_audio::AudioInfo::from_caps(incaps)
            .map_err(|_| gst::loggable_error!(CAT, "not audio: {incaps}"))?;
        if info.rate() != self.input().rate() {
            let _ = self.flush_held();
        }
        self.input().set_rate(info.rate());
        Ok(())
    }

    /// The base class negotiates; the audio then goes its own way.
    fn submit_input_buffer(
        &self,
        is_discont: bool,
        inbuf: gst::Buffer,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        self.parent_submit_input_buffer(is_discont, inbuf)?;
        if let Some(buffer) = self.take_queued_buffer() {
            self.process(buffer)?;
        }
        Ok(gst::FlowSuccess::Ok)
    }

    fn generate_output(&self) -> Result<GenerateOutputSuccess, gst::FlowError> {
        Ok(GenerateOutputSuccess::NoOutput)
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        gst::log!(CAT, imp = self, "{event:?}");
        match event.view() {
            gst::EventView::StreamStart(start) => self.stream_start(start),
            gst::EventView::Segment(segment) => self.new_segment(segment),
            // Before any audio there is no session that could hear the silence.
            gst::EventView::Gap(gap) if !self.input().needs_run() => {
                return self.feed_gap(gap).is_ok();
            }
            gst::EventView::Eos(_) | gst::EventView::SegmentDone(_) => {
                self.end_run();
                self.enqueue(event);
            }
            gst::EventView::Tag(tag) => {
                if let Some(tags) = tags::of_text(tag.tag()) {
                    let tag = gst::event::Tag::builder(tags).seqnum(tag.seqnum());
                    self.enqueue(tag.build());
                }
            }
            gst::EventView::FlushStart(_) => {
                self.interrupt();
                return self.parent_sink_event(event);
            }
            gst::EventView::FlushStop(_) => {
                self.flush_stop();
                return self.parent_sink_event(event);
            }
            _ if is_commit(&event) => self.commit(),
            gst::EventView::Caps(_) => return self.parent_sink_event(event),
            _ if event.is_serialized() => self.enqueue(event),
            _ => return self.parent_sink_event(event),
        }
        true
    }

    fn src_event(&self, event: gst::Event) -> bool {
        // A late caption is no reason for upstream to drop audio.
        if event.type_() == gst::EventType::Qos {
            return true;
        }
        self.parent_src_event(event)
    }

    fn query(&self, direction: gst::PadDirection, query: &mut gst::QueryRef) -> bool {
        match (direction, query.view_mut()) {
            (gst::PadDirection::Src, gst::QueryViewMut::Latency(latency)) => {
                self.answer_latency(latency)
            }
            _ => BaseTransformImplExt::parent_query(self, direction, query),
        }
    }
}
