// SPDX-License-Identifier: MPL-2.0
//! Pads are requested, released and set to other languages at any time, and stop at once.

use std::time::{Duration, Instant};

use offline_service::faults::Faults;
use offline_service::{ClientEvent, SessionRecord};

use super::*;

#[test]
fn a_language_can_be_changed_while_it_runs() {
    let server = translating(|_| {});
    let (mut rig, pads) = rig(
        &server,
        true,
        &["fr"],
        &format!("{EXACT} max-speed=50 latency=60000"),
    );
    let speech = Speech::usual(16_000);
    let (first, second) = (
        speech.buffers(&[320], 0),
        speech.buffers(&[320], speech.length_ms()),
    );
    rig.play();
    rig.push_all(first);
    for _ in 0..6 {
        rig.wait_for("a final", |message| {
            let said = message.structure()?;
            (said.name() == "qwenasr/transcript" && said.get("final").unwrap()).then_some(())
        });
    }
    let pad = rig.element.static_pad("translate_src_0").unwrap();
    pad.set_property("language-code", "es-MX");
    let silence = Speech::new(16_000).silence(1500);
    rig.push_all(silence.buffers(&[320], speech.length_ms()));
    let rotated = server.wait_for(
        |sessions| {
            sessions
                .iter()
                .any(|s| s.received.iter().any(|e| is_update(e, "es")))
        },
        LONG,
    );
    assert!(rotated, "another connection is asked for Spanish");
    // It takes over in a pause, once it is ready.
    let mut length = silence.length_ms();
    let begun = Instant::now();
    let takes_over = |sessions: &[SessionRecord]| {
        let mut spanish = sessions
            .iter()
            .filter(|s| s.received.iter().any(|e| is_update(e, "es")));
        spanish.any(|s| {
            s.received
                .iter()
                .any(|e| matches!(e, ClientEvent::Audio { .. }))
        })
    };
    while !server.wait_for(takes_over, Duration::from_millis(20)) {
        assert!(begun.elapsed() < LONG, "the other connection takes over");
        let more = Speech::new(16_000).silence(20);
        rig.push_all(more.buffers(&[320], speech.length_ms() + length));
        length += more.length_ms();
    }
    let offset = gst::ClockTime::from_mseconds(length);
    for mut buffer in second {
        let pts = buffer.pts().unwrap() + offset;
        buffer.get_mut().unwrap().set_pts(pts);
        rig.push(buffer);
    }
    rig.push_eos();
    rig.wait_for_eos();
    rig.stop();
    let texts = pads[0].texts();
    assert_eq!(heard(&texts), [speech.numbers(), speech.numbers()].concat());
    check_language("es", &texts[texts.len() - 1..]);
    assert_eq!(rig.stat("outages"), 0);
}

fn is_update(event: &ClientEvent, language: &str) -> bool {
    match event {
        ClientEvent::Event(event) => event["session"]["translation"]["language"] == language,
        _ => false,
    }
}

/// A sink for a pad that is requested while the pipeline runs.
pub fn branch(element: &gst::Element, language: &str) -> (gst::Pad, gst::Element, Watched) {
    let (pad, sink, watched) = bare_branch(element);
    pad.set_property("language-code", language);
    (pad, sink, watched)
}

/// The same without a language.
fn bare_branch(element: &gst::Element) -> (gst::Pad, gst::Element, Watched) {
    let pad = element.request_pad_simple("translate_src_%u").unwrap();
    let sink = gst::ElementFactory::make("fakesink")
        .property("sync", false)
        .property("async", false)
        .build()
        .unwrap();
    let pipeline = element.parent().and_downcast::<gst::Pipeline>().unwrap();
    pipeline.add(&sink).unwrap();
    let peer = sink.static_pad("sink").unwrap();
    let watched = Watched::new(&peer);
    sink.sync_state_with_parent().unwrap();
    pad.link(&peer).unwrap();
    (pad, sink, watched)
}

fn cut(rig: &Rig, pad: &gst::Pad, sink: &gst::Element) {
    rig.element.release_request_pad(pad);
    sink.set_state(gst::State::Null).unwrap();
    rig.pipeline.remove(sink).unwrap();
}

#[test]
fn a_pad_requested_in_mid_stream_has_what_follows() {
    let server = translating(|_| {});
    let (mut rig, _) = rig(
        &server,
        true,
        &[],
        &format!("{EXACT} max-speed=50 latency=60000"),
    );
    let speech = Speech::usual(16_000);
    let buffers = speech.buffers(&[320], 0);
    // In the pause after the first utterance.
    let (before, after) = buffers.split_at(2800 / 20);
    rig.play();
    rig.push_all(before.iter().cloned());
    rig.wait_for_message("qwenasr/speech-stopped");
    let (pad, _sink, watched) = branch(&rig.element, "fr");
    assert_eq!(pad.name(), "translate_src_0");
    rig.push_all(after.iter().cloned());
    rig.push_eos();
    rig.wait_for_eos();
    rig.stop();
    check_cues(&speech, &rig.texts(), 0);
    let events = watched.events();
    assert_eq!(
        events[..3],
        ["stream-start", "caps", "segment"],
        "{events:?}"
    );
    let rest = Speech {
        truth: speech.truth[20..].to_vec(),
        ..speech
    };
    check_cues(&rest, &watched.texts(), 0);
}

/// Audio may come between the request for a pad and the setting of its language.
#[test]
fn a_pad_has_gaps_until_its_language_is_set() {
    let server = translating(|_| {});
    let properties = format!("{EXACT} max-speed=50 latency=60000");
    let (mut rig, _) = rig(&server, true, &[], &properties);
    let speech = Speech::usual(16_000);
    let buffers = speech.buffers(&[320], 0);
    let (before, after) = buffers.split_at(2800 / 20);
    rig.play();
    rig.push_all(before[..10].iter().cloned());
    rig.wait_for_state("connected");
    let (pad, _sink, watched) = bare_branch(&rig.element);
    rig.push_all(before[10..].iter().cloned());
    rig.wait_for_message("qwenasr/speech-stopped");
    let begun = Instant::now();
    let is_gap = |left: &Left| matches!(left, Left::Gap { .. });
    while !watched.0.lock().unwrap().iter().any(is_gap) {
        assert!(begun.elapsed() < LONG, "{:?}", watched.events());
        std::thread::yield_now();
    }
    pad.set_property("language-code", "fr");
    rig.push_all(after.iter().cloned());
    rig.push_eos();
    rig.wait_for_eos();
    rig.stop();
    let rest = Speech {
        truth: speech.truth[20..].to_vec(),
        ..speech
    };
    check_cues(&rest, &watched.texts(), 0);
    assert!(rig.warnings.is_empty(), "{:?}", rig.warnings);
}

#[test]
fn pads_come_and_go_and_leave_nothing_behind() {
    let server = translating(|options| options.max_connections = 1000);
    let (mut rig, _) = rig(
        &server,
        true,
        &[],
        &format!("{EXACT} max-speed=50 latency=60000"),
    );
    let speech = Speech::new(16_000).silence(200).say(0..250).silence(700);
    let mut buffers = speech.buffers(&[320], 0).into_iter();
    rig.play();
    rig.push_all(buffers.by_ref().take(10));
    rig.wait_for_state("connected");
    let mut gone = Vec::new();
    for n in 0..50 {
        let (pad, sink, _watched) = branch(&rig.element, ["fr", "de", "es"][n % 3]);
        let child = rig.element.dynamic_cast_ref::<gst::ChildProxy>().unwrap();
        assert_eq!(child.children_count(), 3);
        rig.push_all(buffers.by_ref().take(20));
        if n % 2 == 0 {
            // A session was begun, and perhaps a connection.
            rig.wait_for("a translation's connection", |message| {
                let said = message.structure()?;
                let is_it = said.name() == "qwenasr/connection"
                    && !said.get::<&str>("translation").ok()?.is_empty();
                is_it.then_some(())
            });
        }
        let start = Instant::now();
        cut(&rig, &pad, &sink);
        assert!(start.elapsed() < QUICK, "{:?}", start.elapsed());
        assert!(rig.element.static_pad(&pad.name()).is_none());
        gone.push(pad.downgrade());
    }
    rig.push_all(buffers);
    rig.push_eos();
    rig.wait_for_eos();
    assert_eq!(rig.heard(), speech.numbers());
    rig.stop();
    rig.messages.clear();
    assert!(
        gone.iter().all(|pad| pad.upgrade().is_none()),
        "no pad is kept"
    );
    assert!(
        server.wait_for_connections(|_, open| open == 0, LONG),
        "nor a connection"
    );
    assert!(rig.warnings.is_empty(), "{:?}", rig.warnings);
}

#[test]
fn five_pads_stop_at_once_whatever_the_network_does() {
    for faults in [
        Faults::default(),
        Faults {
            stall_handshake: true,
            ..Faults::default()
        },
        Faults {
            never_finished: true,
            ..Faults::default()
        },
    ] {
        let server = translating(|options| options.faults = faults);
        let languages = ["fr", "de", "es", "it", "ja"];
        let (mut rig, _) = rig(&server, true, &languages, EXACT);
        rig.play();
        rig.push_all(Speech::usual(16_000).buffers(&[320], 0));
        rig.wait_for("a connection", |message| {
            let said = message.structure()?;
            (said.name() == "qwenasr/connection").then_some(())
        });
        let start = Instant::now();
        rig.stop();
        assert!(start.elapsed() < QUICK, "{:?}", start.elapsed());
        // And again.
        rig.play();
        rig.stop();
    }
}

#[test]
fn a_flushing_seek_starts_all_pads_afresh() {
    let server = translating(|_| {});
    let (mut rig, pads) = rig(&server, false, &["fr"], &format!("{EXACT} max-speed=50"));
    let speech = Speech::usual(16_000);
    rig.play();
    rig.push_all(speech.buffers(&[320], 0).into_iter().take(100));
    rig.wait_for_state("connected");
    let sink_pad = rig.element.static_pad("sink").unwrap();
    assert!(sink_pad.send_event(gst::event::FlushStart::new()));
    assert!(sink_pad.send_event(gst::event::FlushStop::new(true)));
    rig.forget();
    pads[0].0.lock().unwrap().clear();
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    assert!(sink_pad.send_event(gst::event::Segment::new(&segment)));
    for buffer in speech.buffers(&[320], 0) {
        sink_pad.chain(buffer).unwrap();
    }
    assert!(sink_pad.send_event(gst::event::Eos::new()));
    rig.wait_for_eos();
    check_cues(&speech, &rig.texts(), 0);
    check_cues(&speech, &pads[0].texts(), 0);
}
