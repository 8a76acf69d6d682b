// SPDX-License-Identifier: MPL-2.0
//! How upstream's events get to the src pads: serialized ones after the text of the audio before
//! them, on each pad. Called by the streaming thread.

use std::ops::ControlFlow;
use std::sync::MutexGuard;
use std::sync::atomic::Ordering;

use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;

use super::imp::QwenAsr;
use super::src_pad::SrcPad;
use super::tags;
use crate::element::{CAT, Commit, Feed, MAIN, is_commit};
use crate::timeline::Timestamp;

impl QwenAsr {
    pub(super) fn take_event(&self, event: gst::Event) -> bool {
        gst::log!(CAT, imp = self, "{event:?}");
        // A flush would take from a new pad what it begins with.
        if event.is_serialized() && event.type_() != gst::EventType::FlushStop {
            self.begin_new_pads();
        }
        match event.view() {
            gst::EventView::StreamStart(start) => self.stream_start(start),
            gst::EventView::Segment(segment) => self.new_segment(segment),
            // Before any audio there is no session that could hear the silence.
            gst::EventView::Gap(gap) if !self.input().needs_run() => {
                return self.feed_gap(gap).is_ok();
            }
            gst::EventView::Eos(_) => {
                self.end_run();
                self.enqueue(event);
                self.pads.set_ended(true);
                // Those that were requested meanwhile.
                self.begin_new_pads();
            }
            gst::EventView::SegmentDone(_) => {
                self.end_run();
                self.begin_new_pads();
                self.enqueue(event);
            }
            gst::EventView::Tag(tag) => {
                if let Some(tag) = tag_of_text(tag) {
                    self.enqueue(tag);
                }
            }
            gst::EventView::FlushStart(_) => {
                self.interrupt();
                return self.flush(event);
            }
            gst::EventView::FlushStop(_) => {
                self.flush_stop();
                return self.flush(event);
            }
            _ if is_commit(&event) => self.commit(),
            gst::EventView::Caps(_) => return self.parent_sink_event(event),
            _ if event.is_serialized() => self.enqueue(event),
            _ => return self.parent_sink_event(event),
        }
        true
    }

    /// A serialized event, to leave after the text of the audio before it.
    pub(super) fn enqueue(&self, event: gst::Event) {
        self.pads.enqueue(self.position(), &event);
    }

    /// Where in the audio of the sessions an event comes; `None` if it is not in the midst of some.
    fn position(&self) -> Option<Timestamp> {
        self.input().position()
    }

    /// No more audio comes for the running sessions.
    pub(super) fn end_run(&self) {
        if self.flush_held().is_err() {
            gst::debug!(CAT, imp = self, "the rest of the audio is not taken");
        }
        self.input().end_run();
        self.unmute();
    }

    /// What comes next may have sessions.
    pub(super) fn unmute(&self) {
        self.is_reversed.store(false, Ordering::Relaxed);
        for pad in self.pads.all() {
            pad.unmute();
        }
    }

    fn stream_start(&self, event: &gst::event::StreamStart) {
        self.pads.set_ended(false);
        self.input().begin_stream();
        let time = self.position();
        self.src();
        for pad in self.pads.begun() {
            // The base class pushes caps at once, which must not come first.
            pad.push_or_enqueue(time, start_of(&pad, event));
        }
    }

    fn new_segment(&self, event: &gst::event::Segment) {
        let _ = self.flush_held();
        self.unmute();
        self.timing().new_segment();
        let mut input = self.input();
        input.set_segment(event.segment());
        let segment = input.segment().clone();
        drop(input);
        let event = gst::event::Segment::builder(&segment)
            .seqnum(event.seqnum())
            .build();
        self.pads.enqueue_segment(self.position(), &event);
    }

    /// A flush concerns all pads; the base class knows of one.
    fn flush(&self, event: gst::Event) -> bool {
        for pad in self.pads.translations() {
            pad.pad().push_event(event.clone());
        }
        self.parent_sink_event(event)
    }

    /// Everything before the flush is void.
    fn flush_stop(&self) {
        self.pads.set_ended(false);
        let pads = self.pads.all();
        pads.iter().for_each(|pad| pad.pause());
        self.input().stop();
        self.unmute();
        pads.iter().for_each(|pad| pad.reset());
    }

    /// Lets pads that were requested lately begin with what the others have got before. Called by the
    /// streaming thread.
    pub(super) fn begin_new_pads(&self) {
        if self.pads.has_news() {
            self.begin_pads(self.pads.ended());
        }
    }

    /// The same for whoever requests a pad when nothing follows with which it could begin.
    pub(super) fn begin_after_the_end(&self) {
        let ended = self.pads.ended();
        if *ended {
            self.begin_pads(ended);
        }
    }

    fn begin_pads(&self, ended: MutexGuard<'_, bool>) {
        if !self.pads.take_news() {
            return;
        }
        let mut before = Vec::new();
        self.obj().sink_pad().sticky_events_foreach(|event| {
            before.push(event.clone());
            ControlFlow::Continue(gst::EventForeachAction::Keep)
        });
        let is_eos = |event: &gst::Event| event.type_() == gst::EventType::Eos;
        if *ended && !before.iter().any(is_eos) {
            // It becomes sticky only when it has been handled.
            before.push(gst::event::Eos::new());
        }
        let mut begun = self.pads.new_translations();
        begun.retain(|pad| pad.begin());
        for pad in &begun {
            for event in &before {
                if let Some(event) = self.repeated(event, pad) {
                    pad.queue().event(None, event);
                }
            }
        }
        drop(ended);
        begun.iter().for_each(SrcPad::ensure_task);
        // They may want sessions, too.
        self.pads.announce_sessions();
    }

    /// What a pad gets of an event that came before it was requested.
    fn repeated(&self, event: &gst::Event, pad: &SrcPad) -> Option<gst::Event> {
        match event.view() {
            gst::EventView::StreamStart(start) => Some(start_of(pad, start)),
            gst::EventView::Segment(_) => self.pads.segment(),
            gst::EventView::Tag(tag) => tag_of_text(tag),
            gst::EventView::Caps(_) => None,
            _ => Some(event.clone()),
        }
    }
}

/// The beginning of a pad's own stream.
fn start_of(pad: &SrcPad, event: &gst::event::StreamStart) -> gst::Event {
    let name = match pad.key() {
        MAIN => "captions".into(),
        _ => pad.pad().name(),
    };
    let id = format!("{}/{name}", event.stream_id());
    let mut start = gst::event::StreamStart::builder(&id)
        .flags(gst::StreamFlags::SPARSE)
        .seqnum(event.seqnum());
    if let Some(group) = event.group_id() {
        start = start.group_id(group);
    }
    start.build()
}

fn tag_of_text(tag: &gst::event::Tag) -> Option<gst::Event> {
    let tags = tags::of_text(tag.tag())?;
    Some(gst::event::Tag::builder(tags).seqnum(tag.seqnum()).build())
}
