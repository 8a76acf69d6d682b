// SPDX-License-Identifier: MPL-2.0
//! One stream after another on the same pad.

use super::common::*;
use super::sources::ALL;
use gst::prelude::*;
use offline_service::Faults;

const FAST: &str = "max-speed=100";

/// Streams that follow each other on a pad without anything else between them.
pub struct Streams {
    pub rig: Rig,
    sink: gst::Pad,
}

impl Streams {
    pub fn new(server: &Service, properties: &str) -> Self {
        let rig = Rig::launch(&format!(
            "qwenasr name=asr {} {FAST} {properties} ! fakesink name=out sync=false async=false",
            server.properties()
        ));
        let sink = rig.element.static_pad("sink").unwrap();
        rig.play();
        Self { rig, sink }
    }

    pub fn begin(&self, id: &str) {
        let caps = "audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved";
        let caps: gst::Caps = caps.parse().unwrap();
        assert!(self.sink.send_event(gst::event::StreamStart::new(id)));
        assert!(self.sink.send_event(gst::event::Caps::new(&caps)));
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        assert!(self.sink.send_event(gst::event::Segment::new(&segment)));
    }

    pub fn push(&self, buffers: impl IntoIterator<Item = gst::Buffer>) {
        for buffer in buffers {
            self.sink.chain(buffer).unwrap();
        }
    }

    pub fn end(&mut self) {
        assert!(self.sink.send_event(gst::event::Eos::new()));
        self.rig.wait_for_eos();
    }
}

pub fn another_stream_with_the_same_segment_is_another_session(protocol: Protocol) {
    let server = service(protocol, |_| {});
    let speech = Speech::new(16_000)
        .say(0..5)
        .silence(800)
        .say(5..25)
        .silence(800)
        .say(25..27);
    let mut streams = Streams::new(&server, "min-duration=0");
    for id in ["a", "b"] {
        streams.begin(id);
        streams.push(speech.buffers(&[320], 0));
    }
    streams.end();
    let texts = streams.rig.texts();
    let half = texts.len() / 2;
    server.check_cues(&speech, &texts[..half], 0);
    server.check_cues(&speech, &texts[half..], 0);
    // In order: what is of the one leaves before the other begins.
    let left = streams.rig.left();
    let start = Left::Event("stream-start".into());
    let second = left.iter().rposition(|l| *l == start).unwrap();
    let texts = |left: &[Left]| {
        left.iter()
            .filter(|l| matches!(l, Left::Text { .. }))
            .count()
    };
    assert_eq!(
        (texts(&left[..second]), texts(&left[second..])),
        (half, half),
        "{left:?}"
    );
    assert_eq!(server.connections(), 2 * server.connections_for(3));
}

pub fn a_switched_input_goes_on_in_one_session(protocol: Protocol) {
    let server = service(protocol, |_| {});
    let speech = Speech::usual(16_000);
    let mut streams = Streams::new(&server, "");
    for (n, second) in speech.buffers(&[1600], 0).chunks(10).enumerate() {
        streams.begin(&format!("input {}", n % 2));
        streams.push(second.iter().cloned());
    }
    streams.end();
    server.check_cues(&speech, &streams.rig.texts(), 0);
    assert_eq!(server.connections(), server.connections_for(3));
}

/// A minute of a live input that an `input-selector` switches each second, between streams that carry
/// the same.
#[test]
fn switching_a_live_input_costs_no_word_and_no_session() {
    const SECONDS: u32 = 60;
    let server = service(Protocol::Realtime, |_| {});
    let mut rig = Rig::launch(&format!(
        "input-selector name=sel sync-streams=false ! qwenasr name=asr {} {FAST} {ALL} \
         ! fakesink name=out sync=false async=false \
         appsrc name=src is-live=true format=time \
         caps=audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved ! tee name=t \
         t. ! sel.sink_0 t. ! sel.sink_1",
        server.properties()
    ));
    let selector = rig.pipeline.by_name("sel").unwrap();
    let inputs = ["sink_0", "sink_1"].map(|name| selector.static_pad(name).unwrap());
    // The second one is another stream.
    let second = inputs[1].peer().unwrap();
    second.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, |_, info| {
        if let Some(gst::PadProbeData::Event(event)) = &mut info.data
            && event.type_() == gst::EventType::StreamStart
        {
            *event = gst::event::StreamStart::new("second");
        }
        gst::PadProbeReturn::Ok
    });
    let tee = rig.pipeline.by_name("t").unwrap();
    let sink = tee.static_pad("sink").unwrap();
    sink.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(gst::PadProbeData::Buffer(buffer)) = &info.data {
            let second = buffer.pts().unwrap().seconds() as usize;
            selector.set_property("active-pad", &inputs[(second + 1) % 2]);
        }
        gst::PadProbeReturn::Ok
    });
    let mut speech = Speech::new(16_000);
    while speech.length_ms() < u64::from(SECONDS) * 1000 - 2500 {
        let next = speech.truth.len() as u32;
        speech = speech.silence(700).say(next..next + 17);
    }
    let rest = u64::from(SECONDS) * 1000 - speech.length_ms();
    let speech = speech.silence(rest as u32);
    rig.run(speech.buffers(&[1600], 0));
    server.check_cues(&speech, &rig.texts(), 0);
    assert_eq!(server.connections(), 1);
    let left = rig.left();
    // Each switch is a segment, and text leaves between them: none waits for the end.
    let segment = Left::Event("segment".into());
    let segments: Vec<usize> = (0..left.len()).filter(|n| left[*n] == segment).collect();
    assert!(segments.len() >= SECONDS as usize, "{}", segments.len());
    let texts = |from: usize, until: usize| {
        let texts = left[from..until].iter();
        texts.filter(|l| matches!(l, Left::Text { .. })).count()
    };
    assert!(texts(segments[10], segments[20]) >= 3, "{left:?}");
    assert!(texts(segments[40], segments[50]) >= 3, "{left:?}");
}

/// Takes of a second whose service is away, one after the other, each with a segment of its own.
pub fn short_takes_wait_for_a_service_that_is_away(protocol: Protocol) {
    let away = Faults {
        http_status: Some((503, String::new())),
        ..Faults::default()
    };
    let server = service(protocol, |options| options.first_faults = vec![away; 8]);
    let mut rig = Rig::live(&server, "failure-policy=continue");
    rig.play();
    let sink = rig.element.static_pad("sink").unwrap();
    let mut expected = Vec::new();
    for take in 0..8 {
        let words = take * 10..take * 10 + 8;
        let speech = Speech::new(16_000).say(words.clone()).silence(200);
        rig.push_all(speech.buffers(&[320], 0));
        expected.extend(words);
        // Once all of it was taken.
        let taken = (u64::from(take) + 1) * 1000;
        while rig.stat("queue-level") / 1_000_000 + rig.stat("bytes-sent") / 32 < taken {
            std::thread::yield_now();
        }
        let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
        segment.set_base(gst::ClockTime::from_seconds(u64::from(take) + 1));
        assert!(sink.send_event(gst::event::Segment::new(&segment)));
    }
    rig.push_eos();
    rig.wait_for_eos();
    let lost = rig
        .messages
        .iter()
        .any(|s| s.name() == "qwenasr/audio-lost");
    assert!(!lost, "{:?}", rig.messages);
    assert_eq!(rig.heard(), expected);
}

/// Of sessions that overlap, the property tells of the newest: the end of one that had text left to
/// report is not the end of the connection.
#[test]
fn the_newest_session_tells_the_state() {
    for element in ["qwenasrsink !", "qwenasr ! fakesink async=false"] {
        let server = server(|options| {
            options.faults.only_first = true;
            options.faults.never_finished = true;
        });
        let properties = format!(" name=asr finish-timeout=1000 url={} !", server.url());
        let element = element.replacen(" !", &properties, 1);
        let element = element.trim_end_matches('!');
        let mut rig = Rig::launch(&format!(
            "concat name=both ! {element} \
             audiotestsrc is-live=true num-buffers=20 ! audio/x-raw,rate=16000 ! both. \
             audiotestsrc is-live=true ! audio/x-raw,rate=8000 ! both."
        ));
        rig.play();
        rig.wait_for_state("idle");
        assert_eq!(rig.stat("sessions"), 2, "{element}");
        let state = rig.element.property_value("connection-state");
        let (_, state) = gst::glib::EnumValue::from_value(&state).unwrap();
        assert_eq!(state.nick(), "connected", "{element}");
        rig.stop();
    }
}
