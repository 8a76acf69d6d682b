// SPDX-License-Identifier: MPL-2.0
//! The element itself.
//!
//! Locks: `settings` and `input` are held for moments only and never two at a time, nor while
//! waiting, querying or posting.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex};

use gst::glib;
use gst::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;

use crate::element::{
    CAT, Commit, Input, MUTED, Refused, Settings, Stats, audio_caps, commit_signal, is_commit,
    is_live, lock, post_failure, post_outage, post_without_effect, property_specs,
};

#[derive(Default)]
pub struct QwenAsrSink {
    settings: Mutex<Settings>,
    input: Mutex<Input>,
    stats: Stats,
    /// The settings allow no session: the pipeline runs on without.
    muted: AtomicBool,
}

impl Commit for QwenAsrSink {
    fn commit(&self) {
        let settings = lock(&self.settings).clone();
        lock(&self.input).commit(self.obj().upcast_ref(), &settings);
    }
}

impl QwenAsrSink {
    /// Returns whether there is a session.
    fn start_run(&self) -> Result<bool, gst::FlowError> {
        let live = is_live(self.obj().sink_pad()).is_some_and(|(live, _)| live);
        if !live {
            self.wait_for_draining()?;
        }
        let settings = lock(&self.settings).clone();
        let obj = self.obj();
        let started =
            lock(&self.input).start_run(obj.upcast_ref(), &settings, &self.stats, live, ());
        match started {
            Ok(without_effect) => {
                post_without_effect(obj.upcast_ref(), &without_effect);
                Ok(true)
            }
            Err(failure) if settings.keeps_going() => {
                self.muted.store(true, Ordering::Relaxed);
                post_outage(obj.upcast_ref(), &failure, MUTED);
                Ok(false)
            }
            Err(failure) => {
                post_failure(obj.upcast_ref(), &failure);
                Err(gst::FlowError::Error)
            }
        }
    }

    /// Until every session that gets no more audio has had its last word. Called with the
    /// preroll lock held.
    fn wait_for_draining(&self) -> Result<(), gst::FlowError> {
        let draining = lock(&self.input).draining();
        self.through_pauses(|| draining.wait())
    }

    /// Does what may wait; a pause interrupts it for as long as it lasts, a flush for good.
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
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(property_specs);
        &PROPERTIES
    }

    fn signals() -> &'static [glib::subclass::Signal] {
        static SIGNALS: LazyLock<Vec<glib::subclass::Signal>> =
            LazyLock::new(|| vec![commit_signal::<QwenAsrSink>()]);
        &SIGNALS
    }

    fn constructed(&self) {
        self.parent_constructed();
        // Recognition takes its own time: there is nothing to show in sync with anything.
        self.obj().set_sync(false);
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        lock(&self.settings).set(value, pspec);
        if pspec.name() == "context" {
            let context = lock(&self.settings).context();
            lock(&self.input).set_context(context);
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "connection-state" => self.stats.connection_state().to_value(),
            "stats" => self
                .stats
                .to_structure(lock(&self.input).queue_level())
                .to_value(),
            _ => lock(&self.settings).get(pspec),
        }
    }
}

impl GstObjectImpl for QwenAsrSink {}

impl ElementImpl for QwenAsrSink {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Qwen speech recogniser sink",
                "Sink/Audio",
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
}

impl BaseSinkImpl for QwenAsrSink {
    fn set_caps(&self, caps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let info = gst_audio::AudioInfo::from_caps(caps)
            .map_err(|_| gst::loggable_error!(CAT, "not audio: {caps}"))?;
        lock(&self.input).set_rate(info.rate());
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.input) = Input::default();
        self.muted.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// A pause, a flush or a shutdown: whoever waits must let go of the preroll lock.
    fn unlock(&self) -> Result<(), gst::ErrorMessage> {
        lock(&self.input).interrupt();
        Ok(())
    }

    fn unlock_stop(&self) -> Result<(), gst::ErrorMessage> {
        lock(&self.input).resume();
        Ok(())
    }

    fn render(&self, buffer: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        gst::trace!(CAT, imp = self, "{buffer:?}");
        if self.muted.load(Ordering::Relaxed) {
            return Ok(gst::FlowSuccess::Ok);
        }
        let (clipped, needs_run) = {
            let input = lock(&self.input);
            (input.clip(buffer.clone()), input.needs_run())
        };
        let Some(buffer) = clipped else {
            return Ok(gst::FlowSuccess::Ok);
        };
        if needs_run && !self.start_run()? {
            return Ok(gst::FlowSuccess::Ok);
        }
        let feeding = lock(&self.input).feed_buffer(&buffer);
        let Some(mut feeding) = feeding else {
            return Err(gst::FlowError::Flushing);
        };
        let obj = self.obj();
        self.through_pauses(|| {
            feeding.push(Some(&buffer), &self.input, obj.upcast_ref(), &self.stats)
        })?;
        Ok(gst::FlowSuccess::Ok)
    }

    fn event(&self, event: gst::Event) -> bool {
        gst::log!(CAT, imp = self, "{event:?}");
        match event.view() {
            gst::EventView::Segment(segment) => {
                lock(&self.input).set_segment(segment.segment());
                self.muted.store(false, Ordering::Relaxed);
            }
            gst::EventView::Gap(gap) => {
                let (start, duration) = gap.get();
                let end = start.saturating_add(duration.unwrap_or_default());
                let feeding = lock(&self.input).feed_gap(start, end);
                if let Some(mut feeding) = feeding {
                    let obj = self.obj();
                    // Silence that is not heard does no harm.
                    let _ = feeding.push(None, &self.input, obj.upcast_ref(), &self.stats);
                }
            }
            gst::EventView::Eos(_) => {
                lock(&self.input).end_run();
                if self.wait_for_draining().is_err() {
                    return false;
                }
                // The base class posts EOS for what comes next.
            }
            gst::EventView::FlushStop(_) => lock(&self.input).stop(),
            _ if is_commit(&event) => {
                self.commit();
                return true;
            }
            _ => {}
        }
        self.parent_event(event)
    }
}
