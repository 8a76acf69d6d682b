// SPDX-License-Identifier: MPL-2.0
//! The element finds the utterances itself.

use super::common::*;
use gst::prelude::*;
use offline_service::{Faults, Server};

const CLIENT_VAD: &str = "turn-detection=client-vad";

fn commits(server: &Server) -> usize {
    let sessions = server.sessions();
    let commits =
        |s: &offline_service::SessionRecord| s.received_events("input_audio_buffer.commit").count();
    sessions.iter().map(commits).sum()
}

/// Where the messages of this name say that it was, in milliseconds.
fn times(rig: &Rig, name: &str) -> Vec<u64> {
    let named = rig.messages.iter().filter(|s| s.name() == name);
    named
        .map(|s| ms(s.get::<gst::ClockTime>("running-time").unwrap()))
        .collect()
}

#[test]
fn every_word_comes_once_at_its_time_and_silence_is_not_sent() {
    for (rate, lengths) in [
        (16_000, &[1600][..]),
        (8000, &[800]),
        (16_000, &[1, 5000, 333]),
        (8000, &[16_000]),
    ] {
        let server = server(|_| {});
        let speech = Speech::usual(rate).silence(5000).say(67..80).silence(3000);
        let mut rig = Rig::new(rate, &server.url(), CLIENT_VAD);
        rig.run(speech.buffers(lengths, 0));
        check_cues(&speech, &rig.texts(), 0);
        assert_eq!(commits(&server), 4);
        assert!(rig.warnings.is_empty(), "{:?}", rig.warnings);
        let near = |times: Vec<u64>, expected: [u64; 4]| {
            let late = times.iter().zip(expected);
            let ok = late
                .clone()
                .all(|(time, expected)| time.abs_diff(expected) <= 50);
            assert!(ok && times.len() == 4, "{times:?} for {expected:?}");
        };
        near(
            times(&rig, "qwenasr/speech-started"),
            [500, 3300, 5500, 14_600],
        );
        near(
            times(&rig, "qwenasr/speech-stopped"),
            [2500, 4500, 9000, 15_900],
        );
        // 8 s of speech, and what surrounds it.
        let sent_ms = rig.stat("bytes-sent") * 500 / u64::from(rate);
        assert!((8000..=10_500).contains(&sent_ms), "{sent_ms} of 18900 ms");
        let update = server.sessions()[0]
            .received_events("session.update")
            .next()
            .unwrap()
            .clone();
        assert!(update["session"]["turn_detection"].is_null());
    }
}

#[test]
fn live_audio_too() {
    let server = server(|_| {});
    let speech = Speech::usual(16_000);
    let mut rig = Rig::launch(&format!(
        "appsrc name=src is-live=true format=time caps=audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved \
         ! qwenasr name=asr url={} {CLIENT_VAD} latency=60000 ! fakesink name=out sync=false async=false",
        server.url()
    ));
    rig.run(speech.buffers(&[320], 0));
    check_cues(&speech, &rig.texts(), 0);
    assert_eq!(commits(&server), 3);
}

#[test]
fn an_outage_costs_no_word_wherever_it_comes() {
    let speech = Speech::usual(16_000);
    // Of what is sent: in an utterance, between two, and at the end of one.
    for after_ms in [300, 1200, 2300, 2600, 3300, 5000, 6500] {
        let faults = Faults {
            only_first: true,
            reset_after_ms: Some(after_ms),
            ..Faults::default()
        };
        let server = server(|options| options.faults = faults);
        let mut rig = Rig::new(16_000, &server.url(), CLIENT_VAD);
        rig.run(speech.buffers(&[320], 0));
        check_cues(&speech, &rig.texts(), 0);
        assert_eq!(server.connections(), 2, "{after_ms}");
        assert_eq!(rig.warnings.len(), 1, "{after_ms}: {:?}", rig.warnings);
    }
}

/// vLLM may answer with earlier text on a connection that has answered before.
#[test]
fn a_server_that_repeats_itself_is_asked_once_for_each_connection() {
    let server = service(Protocol::Vllm, |options| {
        options.faults.repeat_first = true;
    });
    let mut speech = Speech::new(16_000).silence(500).say(0..15).silence(800);
    // A cough of 300 ms.
    let mut random = fastrand::Rng::with_seed(1);
    let noise = std::iter::repeat_with(|| random.i16(-5600..=5600));
    speech.samples.extend(noise.take(4800));
    let speech = speech.silence(800).say(15..26).silence(800).say(26..36);
    for live in [false, true] {
        let before = server.connections();
        let mut rig = if live {
            Rig::live(&server, "latency=60000 min-duration=0")
        } else {
            Rig::with(&server, 16_000, "min-duration=0")
        };
        rig.run(speech.buffers(&[320], 0));
        server.check_cues(&speech, &rig.texts(), 0);
        assert_eq!(server.connections() - before, 4);
        assert_eq!(
            rig.states(),
            ["connecting", "connected", "finishing", "idle"]
        );
        assert_eq!(rig.stat("rotations"), 0);
        assert!(rig.warnings.is_empty(), "{:?}", rig.warnings);
    }
}

#[test]
fn long_speech_is_cut_where_it_is_quiet() {
    let server = server(|_| {});
    let mut speech = Speech::new(16_000);
    // Too short for the end of an utterance.
    for n in 0..30 {
        speech = speech.say(n * 40..n * 40 + 40).silence(150);
    }
    let mut rig = Rig::new(
        16_000,
        &server.url(),
        &format!("{CLIENT_VAD} max-duration=0 max-chars=0"),
    );
    rig.run(speech.buffers(&[16_000], 0));
    check_cues(&speech, &rig.texts(), 0);
    assert_eq!(commits(&server), 3);
}

#[test]
fn vad_silence_duration_ends_utterances() {
    for (silence, expected) in [(200, 3), (900, 2), (3000, 1)] {
        let server = server(|_| {});
        let properties = format!("{CLIENT_VAD} vad-silence-duration={silence}");
        let mut rig = Rig::new(16_000, &server.url(), &properties);
        rig.run(Speech::usual(16_000).buffers(&[320], 0));
        assert_eq!(rig.finals().len(), expected, "{silence}");
        assert_eq!(rig.heard(), Speech::usual(16_000).numbers());
    }
}

#[test]
fn gaps_and_jumps_end_utterances() {
    let server = server(|_| {});
    let speech = Speech::new(16_000).say(0..20).say(20..40).say(40..60);
    let mut buffers = speech.buffers(&[320], 0);
    for (n, buffer) in buffers.iter_mut().enumerate() {
        // Two seconds of speech, ten of nothing.
        let jump = gst::ClockTime::from_seconds(n as u64 / 100 * 10);
        let buffer = buffer.get_mut().unwrap();
        let pts = buffer.pts().unwrap() + jump;
        buffer.set_pts(pts);
    }
    let mut moved = speech.clone();
    for (n, begin, end) in &mut moved.truth {
        *begin += u64::from(*n / 20) * 10_000;
        *end += u64::from(*n / 20) * 10_000;
    }
    let mut rig = Rig::new(16_000, &server.url(), CLIENT_VAD);
    rig.run(buffers);
    check_cues(&moved, &rig.texts(), 0);
    assert_eq!(commits(&server), 3);
}

#[test]
fn commits_of_the_application_are_left_out() {
    let server = server(|_| {});
    let mut rig = Rig::new(16_000, &server.url(), CLIENT_VAD);
    rig.play();
    let buffers = Speech::usual(16_000).buffers(&[320], 0);
    rig.push_all(buffers[..100].to_vec());
    rig.wait_for_message("qwenasr/speech-started");
    rig.element.emit_by_name::<()>("commit", &[]);
    rig.push_all(buffers[100..].to_vec());
    rig.push_eos();
    rig.wait_for_eos();
    assert_eq!(commits(&server), 3);
}

#[test]
fn endless_silence_is_passed_over_and_can_be_stopped() {
    let server = server(|_| {});
    let mut rig = Rig::launch(&format!(
        "audiotestsrc wave=silence samplesperbuffer=1600 ! audio/x-raw,format=S16LE,rate=16000,channels=1 \
         ! qwenasr name=asr url={} {CLIENT_VAD} ! fakesink name=out sync=false async=false",
        server.url()
    ));
    rig.play();
    rig.wait_for_state("connected");
    while !rig
        .left()
        .iter()
        .any(|left| matches!(left, Left::Gap { end, .. } if *end > 60_000))
    {
        std::thread::yield_now();
    }
    rig.stop();
    let session = &server.sessions()[0];
    assert_eq!(session.audio_bytes(), 0);
    assert!(rig.warnings.is_empty(), "{:?}", rig.warnings);
}

/// Sentences read aloud, from Debian's package pocketsphinx-testdata, with a second between them;
/// and where each begins and ends, in milliseconds.
fn recording(rate: u32, noise: i16) -> (Speech, Vec<(u64, u64)>) {
    const RECORDINGS: &str = "/usr/share/pocketsphinx/test/data/librivox";
    let mut paths: Vec<_> = std::fs::read_dir(RECORDINGS)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wav"))
        .collect();
    paths.sort();
    // Time to get used to the noise.
    let mut speech = Speech::new(rate).silence(6000);
    let mut sentences = Vec::new();
    for path in paths {
        let wav = std::fs::read(path).unwrap();
        let samples = wav[44..]
            .chunks_exact(2)
            .map(|s| i16::from_le_bytes([s[0], s[1]]));
        let begin = speech.length_ms();
        speech
            .samples
            .extend(samples.step_by(16_000 / rate as usize));
        sentences.push((begin, speech.length_ms()));
        speech = speech.silence(1000);
    }
    for (n, sample) in speech.samples.iter_mut().enumerate() {
        // Any numbers without a pattern.
        let mixed = (n as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
        let noise = (mixed % (2 * noise as u64 + 1)) as i16 - noise;
        *sample = sample.saturating_add(noise);
    }
    (speech, sentences)
}

#[test]
fn sentences_are_found_in_a_recording_and_in_noise() {
    for (rate, noise) in [
        (16_000, 0),
        (8000, 0),
        (16_000, 400),
        (8000, 400),
        (16_000, 600),
    ] {
        let server = server(|_| {});
        let (speech, sentences) = recording(rate, noise);
        let properties = format!("{CLIENT_VAD} vad-silence-duration=700");
        let mut rig = Rig::new(rate, &server.url(), &properties);
        rig.run(speech.buffers(&[1600], 0));
        let started = times(&rig, "qwenasr/speech-started");
        let stopped = times(&rig, "qwenasr/speech-stopped");
        // Noise is taken for something until it has lasted for a while.
        let before = started.len() - sentences.len();
        assert!(before <= usize::from(noise > 0), "{started:?}");
        assert_eq!(commits(&server), started.len());
        let found = started.iter().zip(&stopped).skip(before);
        for ((start, stop), (begin, end)) in found.zip(&sentences) {
            assert!(
                start.abs_diff(*begin) <= 500 && stop.abs_diff(*end) <= 500,
                "{rate} Hz, noise {noise}: {start} to {stop}, spoken from {begin} to {end}"
            );
        }
    }
}
