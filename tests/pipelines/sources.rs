// SPDX-License-Identifier: MPL-2.0
//! Audio as real sources bring it: jittered, in bursts, drifting, stalling, leaping; and streams as
//! players make them.

use super::common::*;
use gst::prelude::*;

use super::pedant;

const FAST: &str = "max-speed=100";

/// For a minute of live audio that comes at once.
pub const ALL: &str = "max-queue-time=60000 latency=60000";

/// Buffers of 64 ms whose timestamps are off as `off` says, in milliseconds, by their number and
/// their own time.
fn stamped(speech: &Speech, off: impl Fn(u64, u64) -> i64) -> Vec<gst::Buffer> {
    let mut buffers = speech.buffers(&[1024], 100);
    for (n, buffer) in buffers.iter_mut().enumerate() {
        let time = ms(buffer.pts().unwrap());
        let off = off(n as u64, time) * 1_000_000;
        let pts = buffer.pts().unwrap().nseconds().saturating_add_signed(off);
        let buffer = buffer.get_mut().unwrap();
        buffer.set_pts(gst::ClockTime::from_nseconds(pts));
    }
    buffers
}

/// Plays it live or as a file.
fn rig(server: &Service, live: bool, properties: &str) -> Rig {
    if live {
        Rig::live(server, properties)
    } else {
        Rig::with(server, 16_000, properties)
    }
}

/// 418 words in 12 utterances, 54.5 s.
fn programme() -> Speech {
    let mut speech = Speech::new(16_000).silence(500);
    for n in 0..12 {
        let words = if n < 2 { 34 } else { 35 };
        let next = speech.truth.len() as u32;
        speech = speech.say(next..next + words).silence(1016);
    }
    assert_eq!((speech.truth.len(), speech.length_ms()), (418, 54_492));
    speech
}

pub fn arrival_timestamps_cut_nothing(protocol: Protocol) {
    cut_nothing(protocol, "");
}

#[test]
fn arrival_timestamps_cut_nothing_where_the_element_finds_utterances() {
    cut_nothing(Protocol::Realtime, "turn-detection=client-vad");
}

fn cut_nothing(protocol: Protocol, properties: &str) {
    // Jitter that has no pattern, and the first buffer's counts as well.
    let jitter = |n: u64, _: u64| ((n * 7919 + 13) % 81) as i64 - 40;
    // A stall of 400 ms each 1.3 s, and then everything at once.
    let stall = |_: u64, time: u64| 400i64.saturating_sub((time % 1300) as i64).max(0);
    let fast = |_: u64, time: u64| (time / 1000) as i64;
    let slow = |_: u64, time: u64| -((time / 1000) as i64);
    type Off<'a> = &'a dyn Fn(u64, u64) -> i64;
    let kinds: [(&str, Off<'_>); 4] = [
        ("jitter", &jitter),
        ("stalls", &stall),
        ("fast clock", &fast),
        ("slow clock", &slow),
    ];
    let speech = programme();
    for live in [true, false] {
        for (kind, off) in kinds {
            let server = service(protocol, |options| options.recogniser = pedant::factory());
            let mut rig = rig(&server, live, &format!("{FAST} {ALL} {properties}"));
            rig.run(stamped(&speech, off));
            let (texts, what) = (rig.texts(), format!("{kind}, live: {live}"));
            let heard: Vec<u32> = texts.iter().flat_map(|(text, ..)| numbers(text)).collect();
            assert_eq!(heard, speech.numbers(), "{what}");
            assert!(
                (12..=13).contains(&rig.finals().len()),
                "{what}: {:?}",
                rig.finals()
            );
            let sent = server.audio_bytes();
            assert!(
                sent * 100 <= speech.bytes().len() * 102,
                "{what}: {sent} bytes"
            );
            for (text, start, _) in &texts {
                let first = speech.truth.iter().find(|(n, ..)| *n == numbers(text)[0]);
                let said = first.unwrap().1 + 100;
                assert!(
                    start.abs_diff(said) <= 500,
                    "{what}: {text} at {start}, not {said}"
                );
            }
            let connections = server.connections_for(rig.finals().len());
            assert_eq!(server.connections(), connections, "{what}");
        }
    }
}

pub fn one_wild_timestamp_moves_nothing(protocol: Protocol) {
    let server = service(protocol, |_| {});
    let speech = Speech::usual(16_000);
    for live in [true, false] {
        for off in [3_600_000, 5000] {
            let mut rig = rig(&server, live, FAST);
            rig.run(stamped(&speech, |n, _| if n == 23 { off } else { 0 }));
            server.check_cues(&speech, &rig.texts(), 100);
            let far = |left: &Left| matches!(left, Left::Gap { end, .. } if *end > 20_000);
            assert!(!rig.left().iter().any(far), "{:?}", rig.left());
        }
    }
}

pub fn timestamps_that_go_back_begin_anew(protocol: Protocol) {
    let speech = Speech::usual(16_000);
    for live in [true, false] {
        let server = service(protocol, |_| {});
        // In the pause before the third utterance.
        let mut rig = rig(&server, live, FAST);
        rig.run(stamped(
            &speech,
            |_, time| if time > 5000 { -4000 } else { 0 },
        ));
        // Running time goes on, and timestamps are those of the audio.
        server.check_cues(&speech, &rig.texts(), 100);
        let [warning] = &rig.warnings[..] else {
            panic!("one warning: {:?}", rig.warnings)
        };
        assert!(
            warning.contains("went back by 3.9 s") || warning.contains("went back by 4.0 s"),
            "{warning}"
        );
        let third = rig.messages.iter().find(|s| {
            s.name() == "qwenasr/transcript"
                && s.get::<bool>("final").unwrap()
                && s.get::<&str>("text").unwrap().starts_with("w0032")
        });
        let timestamp = third.unwrap().get::<gst::ClockTime>("timestamp").unwrap();
        let said = speech.truth[32].1 + 100 - 4000;
        assert!(
            ms(timestamp).abs_diff(said) <= 150,
            "{timestamp} for {said}"
        );
        let expected = server.connections_for(2) + server.connections_for(1);
        assert_eq!(server.connections(), expected);
    }
}

pub fn a_source_that_stalls_in_mid_utterance_gets_its_text(protocol: Protocol) {
    let server = service(protocol, |_| {});
    // The 21st word is not whole.
    let mut speech = Speech::new(16_000).silence(500).say(0..21);
    speech.samples.truncate(speech.samples.len() - 16 * 50);
    let rest = Speech::new(16_000).silence(6000).say(30..40).silence(1000);
    let mut rig = Rig::live(&server, "");
    rig.play();
    rig.push_all(speech.buffers(&[320], 0));
    rig.wait_for_state("connected");
    let start = std::time::Instant::now();
    let transcript = rig.wait_for("final", |message| {
        let said = message
            .structure()
            .filter(|s| s.name() == "qwenasr/transcript")?;
        said.get::<bool>("final").unwrap().then(|| said.to_owned())
    });
    let waited = start.elapsed();
    // Two seconds, and what a busy machine adds; without the sound's absence noticed, it was 40.
    assert!(waited.as_secs() < 10, "{waited:?} after the last sound");
    let heard = numbers(&transcript.get::<String>("text").unwrap());
    assert_eq!(heard[..20], (0..20).collect::<Vec<_>>(), "{heard:?}");
    let begin = ms(transcript.get("timestamp").unwrap());
    assert!(begin.abs_diff(500) <= 150, "{begin}");
    let length = ms(transcript.get("duration").unwrap());
    assert!((1950..=2200).contains(&length), "{length}");
    assert_eq!(rig.stat("queue-level"), 0, "nothing is left");
    // It comes back, and all of it is there.
    let begin = speech.length_ms();
    let mut buffers = rest.buffers(&[320], begin);
    buffers.retain(|buffer| ms(buffer.pts().unwrap()) >= begin + 6000);
    rig.push_all(buffers);
    rig.push_eos();
    rig.wait_for_eos();
    let texts = rig.texts();
    let (text, start, _) = texts.last().unwrap();
    assert_eq!(numbers(text), (30..40).collect::<Vec<_>>());
    assert!(start.abs_diff(begin + 6000) <= 150, "{start}");
    assert_eq!(server.connections(), server.connections_for(2));
}

/// Plays part of a file as one segment, and waits until SEGMENT_DONE has left.
pub fn a_segment_that_is_done_is_over(protocol: Protocol) {
    let server = service(protocol, |_| {});
    let speech = Speech::new(16_000)
        .say(0..8)
        .silence(800)
        .say(8..16)
        .silence(9000);
    let wav = speech.wav();
    let rig = Rig::launch(&format!(
        "filesrc location={} ! wavparse ! qwenasr name=asr {} {FAST} min-duration=0 \
         ! fakesink name=out sync=false",
        wav.0.display(),
        server.properties()
    ));
    rig.pipeline.set_state(gst::State::Paused).unwrap();
    let seek = |rig: &Rig, flags| {
        let end = gst::ClockTime::from_mseconds(2400);
        rig.pipeline
            .seek(
                1.0,
                flags,
                gst::SeekType::Set,
                gst::ClockTime::ZERO,
                gst::SeekType::Set,
                end,
            )
            .unwrap();
    };
    let prerolled = rig
        .pipeline
        .state(gst::ClockTime::from_seconds(LONG.as_secs()));
    assert_eq!(prerolled.0, Ok(gst::StateChangeSuccess::Success));
    rig.play();
    seek(&rig, gst::SeekFlags::FLUSH | gst::SeekFlags::SEGMENT);
    for round in 1..=2 {
        let done = Left::Event("segment-done".into());
        let start = std::time::Instant::now();
        while rig.left().iter().filter(|left| **left == done).count() < round {
            assert!(start.elapsed() < LONG, "{:?}", rig.left());
            std::thread::yield_now();
        }
        let left = rig.left();
        let flushed = Left::Event("flush-stop".into());
        let since = left.iter().rposition(|left| *left == flushed).unwrap();
        let words = left[since..].iter().filter_map(|left| match left {
            Left::Text { text, .. } => Some(numbers(text)),
            _ => None,
        });
        let expected: Vec<u32> = (0..round).flat_map(|_| 0..16).collect();
        let words: Vec<u32> = words.flatten().collect();
        assert_eq!(words, expected, "all of it, and before the event");
        assert_eq!(left.last(), Some(&done));
        if round == 1 {
            seek(&rig, gst::SeekFlags::SEGMENT);
        }
    }
}

#[test]
fn a_language_that_changes_counts_from_the_next_pause() {
    let server = service(Protocol::Realtime, |_| {});
    let speech = Speech::usual(16_000);
    let mut rig = Rig::with(&server, 16_000, "max-speed=20 language-code=en");
    rig.play();
    let buffers = speech.buffers(&[320], 0);
    rig.push_all(buffers[..150].iter().cloned());
    rig.wait_for_message("qwenasr/speech-stopped");
    rig.element.set_property("language-code", "de");
    rig.push_all(buffers[150..].iter().cloned());
    rig.push_eos();
    rig.wait_for_eos();
    server.check_cues(&speech, &rig.texts(), 0);
    assert_eq!(languages_asked(&server), ["en", "de"]);
    assert_eq!(rig.stat("rotations"), 1);
    // What makes no sense is said so, and the session goes on.
    let mut rig = Rig::with(&server, 16_000, "max-speed=20 language-code=en");
    rig.play();
    rig.push_all(buffers[..150].iter().cloned());
    rig.wait_for_state("connected");
    rig.element.set_property("language-code", "tlh");
    rig.element.set_property("max-speed", 100.0);
    rig.push_all(buffers[150..].iter().cloned());
    rig.push_eos();
    rig.wait_for_eos();
    server.check_cues(&speech, &rig.texts(), 0);
    assert!(rig.warnings[0].contains("'tlh'"), "{:?}", rig.warnings);
    assert!(rig.warnings[1].contains("max-speed"), "{:?}", rig.warnings);
}

#[test]
fn audio_of_another_kind_is_an_error_that_names_the_remedy() {
    init();
    let file = TempFile::new("wav");
    let mut write = Rig::launch(&format!(
        "audiotestsrc num-buffers=5 ! audio/x-raw,format=F32LE,rate=44100,channels=2 ! wavenc \
         ! filesink name=asr location={}",
        file.0.display()
    ));
    write.play();
    write.wait_for_eos();
    write.stop();
    let server = server(|_| {});
    for element in ["qwenasr", "qwenasrsink"] {
        // As a demuxer would, wavparse has caps once it has seen the file.
        let mut rig = Rig::launch(&format!(
            "filesrc location={} ! wavparse ! {element} name=asr url={}",
            file.0.display(),
            server.url()
        ));
        let _ = rig.pipeline.set_state(gst::State::Playing);
        let (error, details) = rig.wait_for_error();
        for says in ["44100", "audioconvert ! audioresample"] {
            assert!(error.message().contains(says), "{element}: {error}");
        }
        assert_eq!(details.get::<&str>("kind").unwrap(), "settings");
    }
    assert_eq!(server.connections(), 0);
}

#[test]
fn audio_that_becomes_another_kind_is_an_error_that_names_the_remedy() {
    let server = server(|_| {});
    let kind = |rate| format!("audio/x-raw,format=S16LE,rate={rate},channels=1,layout=interleaved");
    let others: gst::Caps = kind(48_000).parse().unwrap();
    let speech = Speech::usual(16_000);
    for element in ["qwenasr", "qwenasrsink"] {
        let (caps, url) = (kind(16_000), server.url());
        let mut rig = Rig::launch(&format!(
            "appsrc name=src format=time caps={caps} ! {element} name=asr url={url}"
        ));
        let _ = rig.pipeline.set_state(gst::State::Playing);
        let mut buffers = speech.buffers(&[1600], 0).into_iter();
        rig.push_all(buffers.by_ref().take(5));
        rig.wait_for_state("connected");
        // Those who merely ask get an answer.
        let pad = rig.element.static_pad("sink").unwrap();
        assert!(!pad.query_accept_caps(&others));
        rig.push_all(buffers.by_ref().take(5));
        let source = rig.pipeline.by_name("src").unwrap();
        source.set_property("caps", &others);
        rig.push_all(buffers);
        let (error, _) = rig.wait_for_error();
        for says in ["48000", "audioconvert ! audioresample"] {
            assert!(error.message().contains(says), "{element}: {error}");
        }
    }
}

#[test]
fn speech_backwards_is_neither_sent_nor_captioned() {
    let server = server(|_| {});
    let speech = Speech::usual(16_000);
    let url = server.url();
    let mut rig = Rig::launch(&format!(
        "qwenasr name=asr url={url} max-speed=50 ! fakesink name=out sync=false async=false"
    ));
    let _ = rig.pipeline.set_state(gst::State::Playing);
    let pad = rig.element.static_pad("sink").unwrap();
    let segment = |rate| {
        let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
        segment.set_rate(rate);
        segment.set_stop(gst::ClockTime::from_seconds(10));
        gst::event::Segment::new(&segment)
    };
    let caps = "audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved";
    pad.send_event(gst::event::StreamStart::new("test"));
    pad.send_event(gst::event::Caps::new(&caps.parse().unwrap()));
    pad.send_event(segment(-1.0));
    let mut backwards = speech.buffers(&[320], 0);
    backwards.reverse();
    for mut buffer in backwards {
        let duration = gst::ClockTime::from_mseconds(20);
        buffer.get_mut().unwrap().set_duration(duration);
        pad.chain(buffer).unwrap();
    }
    pad.send_event(segment(1.0));
    assert_eq!(server.connections(), 0);
    for buffer in speech.buffers(&[320], 0) {
        pad.chain(buffer).unwrap();
    }
    pad.send_event(gst::event::Eos::new());
    rig.wait_for_eos();
    let gaps: Vec<_> = rig.left();
    let gaps = gaps
        .iter()
        .take_while(|left| !matches!(left, Left::Text { .. }));
    let count = gaps.filter(|left| matches!(left, Left::Gap { .. })).count();
    assert!(
        count >= speech.samples.len() / 320 - 1,
        "{count} GAPs, so nobody waits"
    );
    assert_eq!(rig.heard(), speech.numbers(), "forwards again");
    let reversed = |warning: &&String| warning.contains("reversed");
    assert_eq!(rig.warnings.iter().filter(reversed).count(), 1);
}
