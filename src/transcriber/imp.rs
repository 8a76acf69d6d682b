// SPDX-License-Identifier: MPL-2.0
//! The element itself: pads, properties and queries. How audio gets into sessions is in
//! [`sessions`](super::sessions), how events get to the pads in [`events`](super::events).
//!
//! Threads: upstream's streaming thread brings audio and events and never waits for the network in
//! a live pipeline; network threads bring transcripts; each src pad's task makes text of them and
//! pushes.
//!
//! Locks: `input` and those of [`Shared`] and [`TextPads`] are held for moments only, never two of
//! them at a time, nor while pushing, querying or posting; those of the output queues and the
//! statistics may be taken inside.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock, MutexGuard};
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_transform::{BaseTransformMode, GenerateOutputSuccess};
use gst_base::subclass::prelude::*;

use super::src_pad::{MARKUP, PLAIN, Shared, SrcPad};
use super::text_pads::TextPads;
use super::timing::Timing;
use super::translate_pad::TranslatePad;
use crate::element::{
    CAT, Commit, Feed, Input, Key, RefusedCaps, Settings, audio_caps, commit_signal, format_of,
    property_specs, text_property_specs,
};

/// How the names of the request pads begin.
const TRANSLATIONS: &str = "translate_src_";

#[derive(Default)]
pub struct QwenAsr {
    pub(super) shared: Arc<Shared>,
    pub(super) pads: TextPads,
    /// Audio comes backwards, and gets no session: the pipeline runs on without, and gets GAPs.
    pub(super) is_reversed: AtomicBool,
    refused_caps: RefusedCaps,
}

impl Commit for QwenAsr {
    fn commit(&self) {
        self.shared.base.commit(self.obj().upcast_ref());
    }
}

impl QwenAsr {
    pub(super) fn settings(&self) -> MutexGuard<'_, Settings> {
        self.shared.base.settings()
    }

    pub(super) fn input(&self) -> MutexGuard<'_, Input> {
        self.shared.base.input()
    }

    pub(super) fn timing(&self) -> MutexGuard<'_, Timing> {
        self.shared.timing()
    }

    /// The pad of the text in the language that is spoken.
    pub(super) fn src(&self) -> &Arc<SrcPad> {
        let pad = || SrcPad::new(self.obj().src_pad().clone(), self.shared.clone());
        self.pads.src(pad)
    }

    /// Audio that waits to be sent for one of the purposes.
    pub(super) fn queue_level(&self, key: Key) -> Duration {
        self.input().queue_level(key)
    }

    /// Frees every thread that waits in here.
    pub(super) fn interrupt(&self) {
        for pad in self.pads.all() {
            pad.queue().flush();
        }
        self.input().interrupt();
    }

    fn post_latency(&self) {
        let obj = self.obj();
        let _ = obj.post_message(gst::message::Latency::builder().src(&*obj).build());
    }

    /// A name for another translation's pad, as wished if it is free.
    fn pad_name(&self, wish: Option<&str>) -> Option<String> {
        let is_free = |name: &str| self.obj().static_pad(name).is_none();
        match wish {
            Some(name) if name.starts_with(TRANSLATIONS) => is_free(name).then(|| name.to_owned()),
            _ => (0..=u32::MAX)
                .map(|number| format!("{TRANSLATIONS}{number}"))
                .find(|name| is_free(name)),
        }
    }

    fn new_translation(&self, template: &gst::PadTemplate, name: &str) -> Arc<SrcPad> {
        let pad = gst::PadBuilder::<TranslatePad>::from_template(template)
            .name(name)
            .query_function(|pad, parent, query| {
                Self::catch_panic_pad_function(
                    parent,
                    || false,
                    |this| match query.view_mut() {
                        gst::QueryViewMut::Latency(latency) => this.answer_latency(latency),
                        _ => gst::Pad::query_default(pad, parent, query),
                    },
                )
            })
            .event_function(|_, parent, event| {
                Self::catch_panic_pad_function(parent, || false, |this| this.src_event(event))
            })
            .build();
        let (key, stats) = (self.pads.next_key(), self.shared.base.stats.part());
        let _ = pad.imp().identity.set((key, stats.clone()));
        Arc::new(SrcPad::with_key(
            key,
            pad.upcast(),
            self.shared.clone(),
            stats,
        ))
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
    type Interfaces = (gst::ChildProxy,);
}

/// Its children are its pads, so that `translate_src_0::language-code=fr` works.
impl ChildProxyImpl for QwenAsr {
    fn children_count(&self) -> u32 {
        u32::from(self.obj().num_pads())
    }

    fn child_by_name(&self, name: &str) -> Option<glib::Object> {
        self.obj().static_pad(name).map(Cast::upcast)
    }

    fn child_by_index(&self, index: u32) -> Option<glib::Object> {
        let mut pads = self.obj().pads().into_iter();
        pads.nth(usize::try_from(index).ok()?).map(Cast::upcast)
    }
}

impl ObjectImpl for QwenAsr {
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
            self.post_latency();
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
            use gst::PadDirection::{Sink, Src};
            use gst::PadPresence::{Always, Request};
            let translation = format!("{TRANSLATIONS}%u");
            vec![
                gst::PadTemplate::new("sink", Sink, Always, &audio_caps()),
                gst::PadTemplate::new("src", Src, Always, &text_caps()),
                gst::PadTemplate::with_gtype(
                    &translation,
                    Src,
                    Request,
                    &text_caps(),
                    TranslatePad::static_type(),
                ),
            ]
            .into_iter()
            .map(|template| template.expect("valid caps and a name that fits make a template"))
            .collect()
        });
        &TEMPLATES
    }

    fn request_new_pad(
        &self,
        template: &gst::PadTemplate,
        name: Option<&str>,
        _caps: Option<&gst::Caps>,
    ) -> Option<gst::Pad> {
        let obj = self.obj();
        let name = self.pad_name(name)?;
        let src_pad = self.new_translation(template, &name);
        let pad = src_pad.pad().clone();
        let is_running = obj.current_state() >= gst::State::Paused;
        // Also on the way to PAUSED, when the others have been reset already.
        src_pad.reset();
        self.pads.add(src_pad);
        if is_running && pad.set_active(true).is_err() || obj.add_pad(&pad).is_err() {
            self.pads.remove(&pad);
            return None;
        }
        self.pads.announce_pads();
        obj.child_added(&pad, &name);
        self.post_latency();
        self.begin_after_the_end();
        Some(pad)
    }

    /// The session of the pad stops; downstream gets nothing more.
    fn release_pad(&self, pad: &gst::Pad) {
        let Some(src_pad) = self.pads.remove(pad) else {
            return;
        };
        self.input().release(src_pad.key());
        src_pad.release();
        let obj = self.obj();
        if obj.remove_pad(pad).is_ok() {
            obj.child_removed(pad, &pad.name());
        }
        self.post_latency();
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        match transition {
            gst::StateChange::ReadyToPaused => {
                *self.timing() = Timing::default();
                self.src();
                for pad in self.pads.all() {
                    pad.begin();
                    pad.reset();
                }
                self.shared.base.begin(self.obj().upcast_ref());
            }
            gst::StateChange::PlayingToPaused => self.timing().playing = false,
            // Before the base class, which waits for the streaming thread and the task.
            gst::StateChange::PausedToReady => self.interrupt(),
            _ => {}
        }
        let result = self.parent_change_state(transition);
        match transition {
            gst::StateChange::ReadyToPaused if result.is_err() => self.shared.base.end(),
            gst::StateChange::PausedToPlaying => {
                self.timing().playing = true;
                for pad in self.pads.all() {
                    pad.queue().nudge();
                }
            }
            gst::StateChange::PausedToReady => {
                self.pads.set_ended(false);
                self.shared.base.end();
                self.pads.all().iter().for_each(|pad| pad.stop());
                self.unmute();
                *self.input() = Input::default();
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
            // What is linked before it is set up may be set up for anything.
            gst::PadDirection::Src if self.obj().sink_pad().is_active() => {
                return Some(self.settings().wanted_caps(filter));
            }
            gst::PadDirection::Src => audio_caps(),
            _ => text_caps(),
        };
        Some(match filter {
            Some(filter) => filter.intersect_with_mode(&caps, gst::CapsIntersectMode::First),
            None => caps,
        })
    }

    /// Also what was not asked for: the session says what is wrong with it.
    fn accept_caps(&self, direction: gst::PadDirection, caps: &gst::Caps) -> bool {
        match direction {
            gst::PadDirection::Sink => caps.can_intersect(&audio_caps()),
            _ => self.parent_accept_caps(direction, caps),
        }
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
        let format =
            format_of(incaps).ok_or_else(|| gst::loggable_error!(CAT, "not audio: {incaps}"))?;
        if format != self.input().format() {
            // On failure the base class carries on all the same.
            let _ = self.flush_held();
        }
        self.input().set_format(format);
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
        self.take_event(event)
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
            _ => {
                let is_answered = BaseTransformImplExt::parent_query(self, direction, query);
                if direction == gst::PadDirection::Sink {
                    self.refused_caps.answered(self.obj().sink_pad(), query);
                }
                is_answered
            }
        }
    }
}
