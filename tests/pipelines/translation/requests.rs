// SPDX-License-Identifier: MPL-2.0
//! Pads are requested at the worst of moments.

use gst::glib;
use gst::subclass::prelude::*;

use super::pads::branch;
use super::*;

/// A clock that does something when it is asked for the time.
mod imp {
    use std::sync::Mutex;
    use std::thread::{self, ThreadId};

    use super::*;

    type Action = Box<dyn FnOnce() + Send>;

    #[derive(Default)]
    pub struct AskedClock {
        pub action: Mutex<Option<(ThreadId, Action)>>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for AskedClock {
        const NAME: &'static str = "TestAskedClock";
        type Type = super::AskedClock;
        type ParentType = gst::SystemClock;
    }

    impl ObjectImpl for AskedClock {}
    impl GstObjectImpl for AskedClock {}
    impl SystemClockImpl for AskedClock {}

    impl ClockImpl for AskedClock {
        fn internal_time(&self) -> gst::ClockTime {
            let is_asked = |(who, _): &mut (ThreadId, Action)| *who == thread::current().id();
            let action = self.action.lock().unwrap().take_if(is_asked);
            if let Some((_, action)) = action {
                action();
            }
            self.parent_internal_time()
        }
    }
}

glib::wrapper! {
    pub struct AskedClock(ObjectSubclass<imp::AskedClock>)
        @extends gst::SystemClock, gst::Clock, gst::Object;
}

impl AskedClock {
    /// The next time that this thread asks.
    fn when_asked(&self, action: impl FnOnce() + Send + 'static) {
        let me = std::thread::current().id();
        *self.imp().action.lock().unwrap() = Some((me, Box::new(action)));
    }
}

/// A live pipeline, audio for which is pushed on the pad by whoever calls this.
fn pushed_rig(server: &Server) -> (Rig, gst::Pad) {
    let rig = Rig::launch(&format!(
        "qwenasr name=asr url={} {EXACT} max-speed=50 latency=60000 ! \
         fakesink name=out sync=false async=false",
        server.url()
    ));
    let upstream = gst::Pad::builder(gst::PadDirection::Src)
        .query_function(|pad, parent, query| match query.view_mut() {
            gst::QueryViewMut::Latency(latency) => {
                latency.set(true, gst::ClockTime::ZERO, gst::ClockTime::NONE);
                true
            }
            _ => gst::Pad::query_default(pad, parent, query),
        })
        .build();
    upstream.set_active(true).unwrap();
    upstream
        .link(&rig.element.static_pad("sink").unwrap())
        .unwrap();
    (rig, upstream)
}

fn begin(rig: &Rig, upstream: &gst::Pad) {
    rig.play();
    rig.pipeline.state(gst::ClockTime::NONE).0.unwrap();
    let caps = gst::Caps::builder("audio/x-raw")
        .field("format", "S16LE")
        .field("rate", 16_000)
        .field("channels", 1)
        .field("layout", "interleaved")
        .build();
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    upstream.push_event(gst::event::StreamStart::new("speech"));
    upstream.push_event(gst::event::Caps::new(&caps));
    upstream.push_event(gst::event::Segment::new(&segment));
}

fn push_all(upstream: &gst::Pad, buffers: impl IntoIterator<Item = gst::Buffer>) {
    for buffer in buffers {
        upstream.push(buffer).unwrap();
    }
}

fn check_beginning(watched: &Watched) {
    let events = watched.events();
    let beginning = ["stream-start", "caps", "segment"];
    assert_eq!(events[..3], beginning, "{events:?}");
}

#[test]
fn a_pad_requested_while_a_buffer_is_taken_begins_like_the_others() {
    // The element looks for new pads, asks for the time, and then starts sessions for its pads.
    for number in [0, 10] {
        let server = translating(|_| {});
        let (mut rig, upstream) = pushed_rig(&server);
        let clock: AskedClock = glib::Object::new();
        rig.pipeline.use_clock(Some(&clock));
        begin(&rig, &upstream);
        let (sender, watched) = std::sync::mpsc::channel();
        let element = rig.element.clone();
        let mut request = Some(move || sender.send(branch(&element, "fr").2).unwrap());
        let speech = Speech::usual(16_000);
        for (n, buffer) in speech.buffers(&[320], 0).into_iter().enumerate() {
            if n == number {
                clock.when_asked(request.take().unwrap());
            }
            upstream.push(buffer).unwrap();
        }
        upstream.push_event(gst::event::Eos::new());
        rig.wait_for_eos();
        rig.stop();
        let watched = watched.try_recv().expect("the element asked for the time");
        check_beginning(&watched);
        check_cues(&speech, &watched.texts(), 0);
        check_cues(&speech, &rig.texts(), 0);
    }
}

#[test]
fn a_pad_requested_after_timestamps_went_back_goes_on_where_the_others_are() {
    let server = translating(|_| {});
    let (mut rig, upstream) = pushed_rig(&server);
    begin(&rig, &upstream);
    let speech = Speech::usual(16_000);
    push_all(&upstream, speech.buffers(&[320], 10_000));
    // Until the pause after the first utterance: by then it is believed.
    let mut buffers = speech.buffers(&[320], 0).into_iter();
    push_all(&upstream, buffers.by_ref().take(2800 / 20));
    let (_, _, watched) = branch(&rig.element, "fr");
    push_all(&upstream, buffers);
    upstream.push_event(gst::event::Eos::new());
    rig.wait_for_eos();
    rig.stop();
    assert_eq!(rig.warnings.len(), 1, "{:?}", rig.warnings);
    let begun_anew = 10_000 + speech.length_ms();
    let rest = Speech {
        truth: speech.truth[20..].to_vec(),
        ..speech
    };
    check_cues(&rest, &watched.texts(), begun_anew);
}

#[test]
fn a_pad_requested_while_the_stream_ends_ends_as_well() {
    let server = translating(|_| {});
    let (mut rig, upstream) = pushed_rig(&server);
    let clock: AskedClock = glib::Object::new();
    rig.pipeline.use_clock(Some(&clock));
    begin(&rig, &upstream);
    let speech = Speech::usual(16_000);
    push_all(&upstream, speech.buffers(&[320], 10_000));
    // What goes back is held until it is believed, or ends: the element asks for the time then.
    let silence = Speech::new(16_000).silence(200);
    push_all(&upstream, silence.buffers(&[320], 0));
    let (sender, watched) = std::sync::mpsc::channel();
    let element = rig.element.clone();
    clock.when_asked(move || sender.send(branch(&element, "fr").2).unwrap());
    upstream.push_event(gst::event::Eos::new());
    let watched = watched.try_recv().expect("the element asked for the time");
    rig.wait_for_eos();
    rig.stop();
    assert_eq!(watched.events(), ["stream-start", "caps", "segment", "eos"]);
}

#[test]
fn a_flush_takes_nothing_from_a_pad_that_was_requested_before_it() {
    let server = translating(|_| {});
    let (mut rig, upstream) = pushed_rig(&server);
    begin(&rig, &upstream);
    let speech = Speech::usual(16_000);
    push_all(&upstream, speech.buffers(&[320], 0).into_iter().take(10));
    let (_, _, watched) = branch(&rig.element, "fr");
    upstream.push_event(gst::event::FlushStart::new());
    upstream.push_event(gst::event::FlushStop::new(true));
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    upstream.push_event(gst::event::Segment::new(&segment));
    push_all(&upstream, speech.buffers(&[320], 0));
    upstream.push_event(gst::event::Eos::new());
    rig.wait_for_eos();
    rig.stop();
    check_beginning(&watched);
    check_cues(&speech, &watched.texts(), 0);
}

#[test]
fn a_pad_requested_after_the_end_ends_and_one_in_ready_waits() {
    let server = translating(|_| {});
    let (mut rig, upstream) = pushed_rig(&server);
    begin(&rig, &upstream);
    upstream.push_event(gst::event::Eos::new());
    rig.wait_for_eos();
    let (pad, _, _) = branch(&rig.element, "fr");
    let begun = std::time::Instant::now();
    while pad.sticky_event::<gst::event::Eos>(0).is_none() {
        assert!(begun.elapsed() < LONG, "it ends");
        std::thread::yield_now();
    }
    rig.pipeline.set_state(gst::State::Ready).unwrap();
    let pad = rig.element.request_pad_simple("translate_src_%u").unwrap();
    assert_eq!(pad.task_state(), gst::TaskState::Stopped);
    rig.stop();
}
