// SPDX-License-Identifier: MPL-2.0
//! `qwenasrsink`: messages only, EOS once everything is recognised.

use super::common::*;
use gst::prelude::*;
use offline_service::Faults;

fn rig(url: &str, properties: &str, wav: &TempFile) -> Rig {
    Rig::launch(&format!(
        "filesrc location={} ! wavparse ! qwenasrsink name=asr url={url} {properties}",
        wav.0.display()
    ))
}

#[test]
fn everything_is_reported_before_eos() {
    let server = server(|_| {});
    let speech = Speech::usual(16_000);
    let wav = speech.wav();
    let mut rig = rig(&server.url(), "max-speed=100", &wav);
    rig.play();
    rig.wait_for_eos();
    assert_eq!(numbers(&rig.finals().join(" ")), speech.numbers());
    let last = rig.messages.iter().rfind(|s| s.has_field("final")).unwrap();
    assert_eq!(
        last.get::<gst::ClockTime>("running-time").unwrap(),
        gst::ClockTime::from_mseconds(5500)
    );
}

/// As a player that loops: a segment, and after it the same again without a flush.
#[test]
fn the_utterances_of_each_segment_that_is_done_are_reported() {
    let server = server(|_| {});
    let speech = Speech::new(16_000)
        .say(0..8)
        .silence(800)
        .say(8..16)
        .silence(9000);
    let wav = speech.wav();
    let mut rig = rig(&server.url(), "max-speed=100", &wav);
    rig.pipeline.set_state(gst::State::Paused).unwrap();
    let prerolled = rig
        .pipeline
        .state(gst::ClockTime::from_seconds(LONG.as_secs()));
    assert_eq!(prerolled.0, Ok(gst::StateChangeSuccess::Success));
    let seek = |rig: &Rig, flags| {
        let (set, end) = (gst::SeekType::Set, gst::ClockTime::from_mseconds(2400));
        let start = gst::ClockTime::ZERO;
        rig.pipeline.seek(1.0, flags, set, start, set, end).unwrap();
    };
    seek(&rig, gst::SeekFlags::FLUSH | gst::SeekFlags::SEGMENT);
    rig.play();
    for round in 0..4 {
        for expected in [0..8, 8..16] {
            let text = rig.wait_for("final", |message| {
                let said = message.structure()?;
                let is_final = said.get::<bool>("final") == Ok(true);
                is_final.then(|| said.get::<String>("text").unwrap())
            });
            assert_eq!(numbers(&text), expected.collect::<Vec<_>>(), "{round}");
        }
        seek(&rig, gst::SeekFlags::SEGMENT);
    }
}

#[test]
fn a_pause_with_a_full_queue_loses_nothing() {
    let server = server(|_| {});
    let speech = Speech::usual(16_000);
    let wav = speech.wav();
    let mut rig = rig(&server.url(), "max-speed=20 max-queue-time=300", &wav);
    rig.play();
    rig.wait_for_message("qwenasr/speech-started");
    for _ in 0..3 {
        rig.pipeline.set_state(gst::State::Paused).unwrap();
        let (result, ..) = rig.pipeline.state(gst::ClockTime::from_seconds(5));
        assert_eq!(result, Ok(gst::StateChangeSuccess::Success));
        rig.play();
    }
    rig.wait_for_eos();
    assert_eq!(numbers(&rig.finals().join(" ")), speech.numbers());
}

#[test]
fn a_flushing_seek_starts_afresh() {
    let server = server(|_| {});
    let speech = Speech::usual(16_000);
    let wav = speech.wav();
    let mut rig = rig(&server.url(), "max-speed=20 max-queue-time=300", &wav);
    rig.play();
    rig.wait_for_message("qwenasr/speech-started");
    rig.pipeline
        .seek_simple(
            gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE,
            gst::ClockTime::from_mseconds(5400),
        )
        .unwrap();
    rig.messages.clear();
    rig.wait_for_eos();
    assert!(rig.finals().last().unwrap().ends_with("w0066"));
    let last = rig.messages.iter().rfind(|s| s.has_field("final")).unwrap();
    assert_eq!(
        last.get::<gst::ClockTime>("stream-time").unwrap(),
        gst::ClockTime::from_mseconds(5500)
    );
}

#[test]
fn eos_does_not_wait_for_ever_and_null_not_at_all() {
    let server = server(|options| {
        options.faults = Faults {
            never_finished: true,
            ..Faults::default()
        }
    });
    let wav = Speech::usual(16_000).wav();
    let mut patient = rig(&server.url(), "max-speed=100 finish-timeout=300", &wav);
    patient.play();
    patient.wait_for_eos();
    assert_eq!(patient.warnings.len(), 1);

    let mut impatient = rig(&server.url(), "max-speed=100", &wav);
    impatient.play();
    impatient.wait_for_state("finishing");
    let start = std::time::Instant::now();
    impatient.stop();
    assert!(start.elapsed() < QUICK, "{:?}", start.elapsed());
}

#[test]
fn failures_are_errors_here_too() {
    let server = server(|options| options.api_key = Some("right".into()));
    let wav = Speech::usual(16_000).wav();
    let mut rig = rig(&server.url(), "api-key=wrong", &wav);
    rig.play();
    let (error, _) = rig.wait_for_error();
    assert!(error.matches(gst::ResourceError::NotAuthorized), "{error}");
}

#[test]
fn eos_before_any_audio_makes_no_connection() {
    let server = server(|_| {});
    let mut rig = Rig::launch(&format!(
        "appsrc name=src format=time caps=audio/x-raw,format=S16LE,rate=8000,channels=1,layout=interleaved \
         ! qwenasrsink name=asr url={}",
        server.url()
    ));
    rig.play();
    rig.push_eos();
    rig.wait_for_eos();
    assert_eq!(server.connections(), 0);
}

#[test]
fn commits_end_utterances() {
    let server = server(|_| {});
    let mut rig = Rig::launch(&format!(
        "appsrc name=src format=time caps=audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved \
         ! qwenasrsink name=asr max-speed=100 turn-detection=manual url={}",
        server.url()
    ));
    let speech = Speech::new(16_000).say(0..20);
    rig.play();
    let buffers = speech.buffers(&[1600], 0);
    rig.push_all(buffers[..10].to_vec());
    rig.wait_for_state("connected");
    while rig.stat("bytes-sent") < 32_000 {
        std::thread::yield_now();
    }
    rig.element.emit_by_name::<()>("commit", &[]);
    rig.push_all(buffers[10..].to_vec());
    rig.push_eos();
    rig.wait_for_eos();
    let finals: Vec<Vec<u32>> = rig.finals().iter().map(|text| numbers(text)).collect();
    assert_eq!(finals, [(0..10).collect::<Vec<_>>(), (10..20).collect()]);
}
