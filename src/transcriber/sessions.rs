// SPDX-License-Identifier: MPL-2.0
//! Audio into the sessions: one for what is said, and one for each translation, all of which get
//! the same audio. Where the model property's model translates, its session serves the src pad and
//! the first translation, and none is paid for twice.
//!
//! Called by the streaming thread, and by whoever changes the language of a pad.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;

use super::imp::QwenAsr;
use super::lane::Lane;
use super::src_pad::SrcPad;
use super::translate_pad::TranslatePad;
use crate::element::{
    Assignment, Base, CAT, Feed, Feeding, Job, Key, MAIN, Outputs, PREVIOUS, Settings, Stretch,
    Uplink, is_live, post_outage, post_went_back,
};
use crate::timeline::{Timestamp, nanos};

impl Feed for QwenAsr {
    fn base(&self) -> &Base {
        &self.shared.base
    }

    /// The connections open with the first audio, not before.
    fn start(&self, first: &gst::BufferRef) -> Result<(), gst::FlowError> {
        if self.base().refuses_reversed(self.obj().upcast_ref()) {
            self.is_reversed.store(true, Ordering::Relaxed);
            let settings = self.settings().clone();
            self.input().begin_run(Vec::new(), false, &settings);
            return Ok(());
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
        let (settings, stretch) = (self.settings().clone(), self.base().stretch(live));
        let start = self.start_of(first);
        let translations = self.pads.translations();
        let companion = settings
            .model_translates()
            .then(|| translations.iter().find(|pad| language_of(pad).is_some()))
            .flatten();
        self.pads.set_companion(companion.map(|pad| pad.key()));
        let mut uplinks = Vec::new();
        uplinks.extend(self.start_main(&settings, &stretch, start, companion)?);
        for pad in &translations {
            if Some(pad.key()) != companion.map(|pad| pad.key()) {
                uplinks.extend(self.start_translation(&settings, &stretch, start, pad)?);
            }
        }
        self.input().begin_run(uplinks, live, &settings);
        translations
            .iter()
            .for_each(|pad| self.release_if_gone(pad));
        Ok(())
    }

    fn push(&self, mut feeding: Feeding) -> Result<(), gst::FlowError> {
        Ok(feeding.push(self.obj().upcast_ref())?)
    }

    /// The pads get the segment again: its running time goes on where it was, and timestamps begin
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
        let event = gst::event::Segment::new(&segment);
        self.pads.enqueue_segment(None, &event);
    }
}

impl QwenAsr {
    pub(super) fn process(&self, buffer: gst::Buffer) -> Result<(), gst::FlowError> {
        let time = buffer.pts().map(gst::ClockTime::nseconds);
        self.pads.pass(time.map(Timestamp::from_nanos))?;
        self.begin_new_pads();
        if self.is_reversed.load(Ordering::Relaxed) {
            if let Some(pts) = buffer.pts() {
                let gap = gst::event::Gap::builder(pts).duration(buffer.duration());
                self.enqueue(gap.build());
            }
            return Ok(());
        }
        gst::trace!(CAT, imp = self, "{buffer:?}");
        let clipped = self.base().clip(self.obj().upcast_ref(), buffer)?;
        let Some((buffer, said)) = clipped else {
            return Ok(());
        };
        self.note_lag(said);
        if self.pads.take_wishes() && !self.input().needs_run() {
            self.join(&buffer)?;
        }
        self.feed(buffer)
    }

    /// Looks at how late live audio comes, given its running time.
    fn note_lag(&self, said: Option<gst::ClockTime>) {
        let Some(said) = said.filter(|said| self.timing().wants(*said)) else {
            return;
        };
        if let Some(now) = self.obj().current_running_time() {
            self.timing().observe(said, now);
        }
    }

    /// Timestamp of the first audio of a session that begins with this buffer.
    fn start_of(&self, first: &gst::BufferRef) -> Timestamp {
        let start = self.input().segment().start();
        let start = first.pts().or(start).unwrap_or_default();
        Timestamp::from_nanos(start.nseconds())
    }

    /// The session of the model property's model, and of the translation that it serves, too.
    fn start_main(
        &self,
        settings: &Settings,
        stretch: &Stretch,
        start: Timestamp,
        companion: Option<&Arc<SrcPad>>,
    ) -> Result<Option<Arc<Uplink>>, gst::FlowError> {
        let src = self.src();
        let assignment = Assignment {
            key: MAIN,
            job: Job::Model {
                target: companion.and_then(|pad| language_of(pad)),
            },
            outputs: Outputs {
                source: Some(src.open_lane(start)),
                translation: companion.map(|pad| pad.open_lane(start)),
            },
            stats: self.base().stats.clone(),
            owner: Some(self.obj().clone().upcast()),
        };
        let element = self.obj();
        let started =
            self.base()
                .start_session(element.upcast_ref(), settings, stretch, assignment)?;
        for pad in [Some(src), companion].into_iter().flatten() {
            pad.ensure_task();
            if started.is_none() {
                pad.mute(pad.open_lane(start));
            }
        }
        Ok(started)
    }

    fn start_translation(
        &self,
        settings: &Settings,
        stretch: &Stretch,
        start: Timestamp,
        pad: &Arc<SrcPad>,
    ) -> Result<Option<Arc<Uplink>>, gst::FlowError> {
        let element = self.obj();
        let assignment = Assignment::<Lane> {
            key: pad.key(),
            job: Job::Translation {
                target: language_of(pad).unwrap_or_default(),
            },
            outputs: Outputs {
                source: None,
                translation: Some(pad.open_lane(start)),
            },
            stats: pad.stats().clone(),
            owner: Some(pad.pad().clone().upcast()),
        };
        let started =
            self.base()
                .start_session(element.upcast_ref(), settings, stretch, assignment)?;
        pad.ensure_task();
        if started.is_none() {
            pad.mute(pad.open_lane(start));
        }
        Ok(started)
    }

    /// Starts sessions for pads that have none yet, with the audio that begins here.
    fn join(&self, first: &gst::BufferRef) -> Result<(), gst::FlowError> {
        let live = self.timing().live;
        let (settings, stretch) = (self.settings().clone(), self.base().stretch(live));
        let start = self.start_of(first);
        for pad in self.pads.translations() {
            let is_served = self.pads.is_companion(pad.key())
                || pad.is_muted()
                || self.input().uplink(pad.key()).is_some();
            if is_served {
                continue;
            }
            if language_of(&pad).is_none() {
                self.await_language(&pad, start);
                continue;
            }
            if let Some(uplink) = self.start_translation(&settings, &stretch, start, &pad)? {
                self.input().join(uplink);
                self.release_if_gone(&pad);
            }
        }
        Ok(())
    }

    /// Whoever requests a pad while audio flows sets its language only then.
    fn await_language(&self, pad: &Arc<SrcPad>, start: Timestamp) {
        pad.mute(pad.open_lane(start));
        pad.ensure_task();
        if language_of(pad).is_some() {
            // It was set just now.
            pad.unmute();
            self.pads.announce_sessions();
        }
    }

    /// Takes the session away from a pad that was released while it was started.
    fn release_if_gone(&self, pad: &SrcPad) {
        if self.pads.translation(pad.key()).is_none() {
            self.input().release(pad.key());
        }
    }

    /// The language of a translation's pad was set.
    pub(super) fn language_changed(&self, key: Key) {
        let Some(pad) = self.pads.translation(key) else {
            return;
        };
        let key = if self.pads.is_companion(key) {
            MAIN
        } else {
            key
        };
        let uplink = self.input().uplink(key);
        let language = language_of(&pad).unwrap_or_default();
        match uplink {
            Some(uplink) => {
                let settings = self.settings().clone();
                if let Err(failure) = uplink.translate_into(&language, &settings) {
                    let element = self.obj();
                    post_outage(element.upcast_ref(), &failure, PREVIOUS, Some(&language));
                }
            }
            None => {
                // What the settings did not allow, they may allow now.
                pad.unmute();
                self.pads.announce_sessions();
            }
        }
    }
}

fn language_of(pad: &SrcPad) -> Option<String> {
    pad.pad().downcast_ref::<TranslatePad>()?.language()
}
