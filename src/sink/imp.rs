// SPDX-License-Identifier: MPL-2.0
//! The implementation of `qwenasrsink`: a `GstBaseSink` that waits for all text before EOS.
//!
//! Locks: those of [`Base`] only.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;

use crate::element::{
    Assignment, Base, CAT, Commit, Feed, Feeding, Input, Job, MAIN, Outputs, Refused, RefusedCaps,
    Settings, audio_caps, commit_signal, format_of, is_commit, is_live, message_property_specs,
    post_went_back, property_specs,
};

#[derive(Default)]
pub struct QwenAsrSink {
    base: Base,
    /// Audio comes backwards: the pipeline runs without a session.
    is_reversed: AtomicBool,
    refused_caps: RefusedCaps,
}

impl Commit for QwenAsrSink {
    fn commit(&self) {
        self.base.commit(self.obj().upcast_ref());
    }
}

impl Feed for QwenAsrSink {
    fn base(&self) -> &Base {
        &self.base
    }

    fn start(&self, _first: &gst::BufferRef) -> Result<(), gst::FlowError> {
        let obj = self.obj();
        if self.base.refuses_reversed(obj.upcast_ref()) {
            self.is_reversed.store(true, Ordering::Relaxed);
            let settings = self.base.settings().clone();
            self.base.input().begin_run(Vec::new(), false, &settings);
            return Ok(());
        }
        let live = is_live(obj.sink_pad()).is_some_and(|(live, _)| live);
        if !live {
            self.wait_for_draining()?;
        }
        let (settings, stretch) = (self.base.settings().clone(), self.base.stretch(live));
        let mut uplinks = Vec::new();
        for assignment in self.assignments(&settings) {
            let element = obj.upcast_ref();
            let started = self
                .base
                .start_session(element, &settings, &stretch, assignment)?;
            uplinks.extend(started);
        }
        self.base.input().begin_run(uplinks, live, &settings);
        Ok(())
    }

    fn push(&self, mut feeding: Feeding) -> Result<(), gst::FlowError> {
        let obj = self.obj();
        self.through_pauses(|| feeding.push(obj.upcast_ref()))
    }

    fn went_back(&self, back: Duration, _first: &gst::BufferRef) {
        post_went_back(self.obj().upcast_ref(), back);
    }
}

impl QwenAsrSink {
    /// The sessions: that of what is said, which serves the first translation as well if its model
    /// translates, and those of the others.
    fn assignments(&self, settings: &Settings) -> Vec<Assignment<()>> {
        let mut languages = settings.translation_languages();
        let translates = settings.model_translates() && !languages.is_empty();
        let companion = translates.then(|| languages.remove(0));
        let assignment = |key, job, outputs, stats| Assignment {
            key,
            job,
            outputs,
            stats,
            // The property is about the session of what is said.
            owner: (key == MAIN).then(|| self.obj().clone().upcast()),
        };
        let outputs = Outputs {
            source: Some(()),
            translation: companion.as_ref().map(|_| ()),
        };
        let job = Job::Model { target: companion };
        let main = assignment(MAIN, job, outputs, self.base.stats.clone());
        let translations = languages.into_iter().zip(MAIN + 1..).map(|(target, key)| {
            let outputs = Outputs {
                source: None,
                translation: Some(()),
            };
            let job = Job::Translation { target };
            assignment(key, job, outputs, self.base.stats.part())
        });
        std::iter::once(main).chain(translations).collect()
    }

    /// Waits until every draining session has reported all of its text. Called with the preroll
    /// lock held.
    fn wait_for_draining(&self) -> Result<(), gst::FlowError> {
        let draining = self.base.input().draining();
        self.through_pauses(|| draining.wait())
    }

    /// Pushes the buffers held back, and waits for all text.
    fn drain(&self) -> Result<(), gst::FlowError> {
        self.flush_held()?;
        self.base.input().end_run();
        self.wait_for_draining()
    }

    /// Runs an operation that may block: a pause suspends it, a flush aborts it.
    fn through_pauses(
        &self,
        mut wait: impl FnMut() -> Result<(), Refused>,
    ) -> Result<(), gst::FlowError> {
        loop {
            match wait() {
                Ok(()) => return Ok(()),
                Err(Refused::Interrupted) => {
                    self.obj().wait_preroll()?;
                }
                Err(Refused::Over(error)) => return Err(error),
            }
        }
    }
}

#[glib::object_subclass]
impl ObjectSubclass for QwenAsrSink {
    const NAME: &'static str = "GstQwenAsrSink";
    type Type = super::QwenAsrSink;
    type ParentType = gst_base::BaseSink;
}

impl ObjectImpl for QwenAsrSink {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let mut specs = property_specs();
            specs.extend(message_property_specs());
            specs
        });
        &PROPERTIES
    }

    fn signals() -> &'static [glib::subclass::Signal] {
        static SIGNALS: LazyLock<Vec<glib::subclass::Signal>> =
            LazyLock::new(|| vec![commit_signal::<QwenAsrSink>()]);
        &SIGNALS
    }

    fn constructed(&self) {
        self.parent_constructed();
        // Recognition takes its own time: there is nothing to render in sync with the clock.
        self.obj().set_sync(false);
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        self.base
            .set_property(self.obj().upcast_ref(), value, pspec);
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        self.base.property(pspec)
    }
}

impl GstObjectImpl for QwenAsrSink {}

impl ElementImpl for QwenAsrSink {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Qwen speech recogniser sink",
                "Audio/Text/Sink",
                "Posts messages with what is said, by Alibaba's Qwen-ASR-Realtime service",
                "The gst-plugin-qwenasr developers",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let template = gst::PadTemplate::new(
                "sink",
                gst::PadDirection::Sink,
                gst::PadPresence::Always,
                &audio_caps(),
            );
            vec![template.expect("an always pad with valid caps makes a template")]
        });
        &TEMPLATES
    }

    /// Not in the base class's `start` and `stop`, which are those of NULL: in READY nothing runs,
    /// and what is set counts from there on.
    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        if transition == gst::StateChange::ReadyToPaused {
            self.base.begin(self.obj().upcast_ref());
        }
        let result = self.parent_change_state(transition);
        if transition == gst::StateChange::ReadyToPaused && result.is_err() {
            self.base.end();
        }
        if transition == gst::StateChange::PausedToReady {
            self.base.end();
            *self.base.input() = Input::default();
            self.is_reversed.store(false, Ordering::Relaxed);
        }
        result
    }
}

impl BaseSinkImpl for QwenAsrSink {
    fn set_caps(&self, caps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let format =
            format_of(caps).ok_or_else(|| gst::loggable_error!(CAT, "not audio: {caps}"))?;
        if format != self.base.input().format() {
            // On failure the base class carries on all the same.
            let _ = self.flush_held();
        }
        self.base.input().set_format(format);
        Ok(())
    }

    fn caps(&self, filter: Option<&gst::Caps>) -> Option<gst::Caps> {
        // What is linked before it is set up may be set up for anything.
        if self.obj().sink_pad().is_active() {
            Some(self.base.settings().wanted_caps(filter))
        } else {
            self.parent_caps(filter)
        }
    }

    fn query(&self, query: &mut gst::QueryRef) -> bool {
        let is_answered = match query.view_mut() {
            // Also what was not asked for: the session says what is wrong with it.
            gst::QueryViewMut::AcceptCaps(accept) => {
                let is_taken = accept.caps().can_intersect(&audio_caps());
                accept.set_result(is_taken);
                true
            }
            _ => BaseSinkImplExt::parent_query(self, query),
        };
        self.refused_caps.answered(self.obj().sink_pad(), query);
        is_answered
    }

    /// A pause, a flush or a shutdown: blocked threads must release the preroll lock.
    fn unlock(&self) -> Result<(), gst::ErrorMessage> {
        self.base.input().interrupt();
        Ok(())
    }

    fn unlock_stop(&self) -> Result<(), gst::ErrorMessage> {
        self.base.input().resume();
        Ok(())
    }

    fn render(&self, buffer: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        gst::trace!(CAT, imp = self, "{buffer:?}");
        if self.is_reversed.load(Ordering::Relaxed) {
            return Ok(gst::FlowSuccess::Ok);
        }
        let clipped = self.base.clip(self.obj().upcast_ref(), buffer.clone())?;
        if let Some((buffer, _)) = clipped {
            self.feed(buffer)?;
        }
        Ok(gst::FlowSuccess::Ok)
    }

    fn event(&self, event: gst::Event) -> bool {
        gst::log!(CAT, imp = self, "{event:?}");
        match event.view() {
            gst::EventView::StreamStart(_) => self.base.input().begin_stream(),
            gst::EventView::Segment(segment) => {
                if self.flush_held().is_err() {
                    return false;
                }
                self.base.input().set_segment(segment.segment());
                self.is_reversed.store(false, Ordering::Relaxed);
            }
            gst::EventView::Gap(gap) => {
                // Losing silence does no harm.
                let _ = self.feed_gap(gap);
            }
            // Passed on to the base class, these post EOS and SEGMENT_DONE.
            gst::EventView::Eos(_) | gst::EventView::SegmentDone(_) if self.drain().is_err() => {
                return false;
            }
            gst::EventView::FlushStop(_) => self.base.input().stop(),
            _ if is_commit(&event) => {
                self.commit();
                return true;
            }
            _ => {}
        }
        self.parent_event(event)
    }
}
