// SPDX-License-Identifier: MPL-2.0
//! Every word once, in order, at its time, however the audio comes.

use super::common::*;
use gst::prelude::*;

const FAST: &str = "max-speed=100";

pub fn words_have_their_times_for_any_buffers(protocol: Protocol) {
    words_have_their_times(protocol, 16);
}

pub fn words_have_their_times_at_the_lower_rate(protocol: Protocol) {
    words_have_their_times(protocol, 8);
}

pub fn words_have_their_times_at_the_higher_rate(protocol: Protocol) {
    words_have_their_times(protocol, 24);
}

/// For this many samples per millisecond.
fn words_have_their_times(protocol: Protocol, ms: usize) {
    let server = service(protocol, |_| {});
    let speech = Speech::usual(ms as u32 * 1000);
    for lengths in [
        &[ms][..],
        &[20 * ms],
        &[2000 * ms],
        &[1, 2, 3, 5, 7, 1381, 977],
        &[113 * ms / 10, 50],
    ] {
        for offset in [0, 10_000] {
            let mut rig = Rig::with(&server, speech.rate, FAST);
            rig.run(speech.buffers(lengths, offset));
            server.check_cues(&speech, &rig.texts(), offset);
            let messages = rig.finals().join(" ");
            assert_eq!(numbers(&messages), speech.numbers(), "and in the messages");
        }
    }
    let expected = 5 * 2 * server.connections_for(3);
    assert_eq!(server.connections(), expected, "one session each");
}

pub fn samples_cut_in_two_are_put_together(protocol: Protocol) {
    let server = service(protocol, |_| {});
    let speech = Speech::usual(16_000);
    let mut rig = Rig::with(&server, 16_000, FAST);
    let bytes = speech.bytes();
    let mut pieces = Vec::new();
    for (n, piece) in bytes.chunks(3201).enumerate() {
        let mut buffer = gst::Buffer::from_slice(piece.to_vec());
        let pts = gst::ClockTime::SECOND
            .mul_div_floor(n as u64 * 3201, 32_000)
            .unwrap();
        buffer.get_mut().unwrap().set_pts(pts);
        pieces.push(buffer);
    }
    rig.run(pieces);
    server.check_cues(&speech, &rig.texts(), 0);
    assert_eq!(server.sessions()[0].audio_bytes(), bytes.len());
}

pub fn audio_without_timestamps_is_counted(protocol: Protocol) {
    let server = service(protocol, |_| {});
    let speech = Speech::usual(16_000);
    let mut rig = Rig::with(&server, 16_000, FAST);
    let mut buffers = speech.buffers(&[320], 0);
    for buffer in &mut buffers {
        buffer.get_mut().unwrap().set_pts(None);
    }
    rig.run(buffers);
    server.check_cues(&speech, &rig.texts(), 0);
}

/// Takes away the buffers between two times, and these words with them.
fn with_hole(speech: &mut Speech, buffers: &mut Vec<gst::Buffer>, from: u64, until: u64) {
    buffers.retain(|buffer| !(from..until).contains(&ms(buffer.pts().unwrap())));
    speech
        .truth
        .retain(|(_, begin, _)| !(from..until).contains(begin));
}

pub fn a_small_hole_does_not_shift_what_follows(protocol: Protocol) {
    let server = service(protocol, |_| {});
    let mut speech = Speech::usual(16_000).say(70..82).silence(800).say(90..100);
    let mut buffers = speech.buffers(&[320], 0);
    // In the middle of twelve words, which make one cue.
    with_hole(&mut speech, &mut buffers, 10_000, 10_300);
    let mut rig = Rig::with(&server, 16_000, FAST);
    rig.run(buffers);
    server.check_cues(&speech, &rig.texts(), 0);
    assert_eq!(server.connections(), server.connections_for(5));
}

pub fn a_large_hole_ends_the_utterance_and_time_goes_on(protocol: Protocol) {
    let server = service(protocol, |_| {});
    let mut speech = Speech::new(16_000).say(0..70);
    let mut buffers = speech.buffers(&[320], 0);
    with_hole(&mut speech, &mut buffers, 1000, 6000);
    let mut rig = Rig::with(&server, 16_000, FAST);
    rig.run(buffers);
    let texts = rig.texts();
    server.check_cues(&speech, &texts, 0);
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert_eq!(server.connections(), server.connections_for(2));
    let sent = server.audio_bytes() / 32;
    assert!(sent < 4500, "{sent} ms: the hole itself is not sent");
}

pub fn a_discont_flag_costs_nothing(protocol: Protocol) {
    let server = service(protocol, |_| {});
    let speech = Speech::usual(16_000);
    let mut rig = Rig::with(&server, 16_000, FAST);
    let mut buffers = speech.buffers(&[320], 0);
    for buffer in buffers.iter_mut().step_by(10) {
        buffer
            .get_mut()
            .unwrap()
            .set_flags(gst::BufferFlags::DISCONT);
    }
    rig.run(buffers);
    server.check_cues(&speech, &rig.texts(), 0);
    assert_eq!(server.connections(), server.connections_for(3));
}

pub fn jitter_is_no_hole(protocol: Protocol) {
    let server = service(protocol, |_| {});
    let speech = Speech::usual(16_000);
    let mut rig = Rig::with(&server, 16_000, FAST);
    let mut buffers = speech.buffers(&[320], 100);
    for (n, buffer) in buffers.iter_mut().enumerate() {
        let pts = buffer.pts().unwrap() + gst::ClockTime::from_mseconds((n as u64 * 7) % 15);
        buffer.get_mut().unwrap().set_pts(pts);
    }
    rig.run(buffers);
    server.check_cues(&speech, &rig.texts(), 100);
    assert_eq!(
        server.sessions()[0].audio_bytes(),
        speech.bytes().len(),
        "no silence put in"
    );
}

pub fn gap_events_are_silence(protocol: Protocol) {
    let server = service(protocol, |_| {});
    let before = Speech::new(16_000).say(0..10);
    let mut rig = Rig::with(&server, 16_000, FAST);
    rig.play();
    rig.push_all(before.buffers(&[1600], 0));
    let sink = rig.element.static_pad("sink").unwrap();
    rig.wait_for_state("connected");
    // Through the pad, as appsrc does not take events in its queue; after all audio was taken.
    let after = Speech::new(16_000).say(10..20);
    while sink.last_flow_result().is_ok() && ms_sent(&rig) < 1000 {
        std::thread::yield_now();
    }
    let gap = gst::event::Gap::builder(gst::ClockTime::from_mseconds(1000))
        .duration(gst::ClockTime::from_mseconds(3000))
        .build();
    assert!(sink.send_event(gap));
    rig.push_all(after.buffers(&[1600], 4000));
    rig.push_eos();
    rig.wait_for_eos();
    let expected = Speech::new(16_000).say(0..10).silence(3000).say(10..20);
    server.check_cues(&expected, &rig.texts(), 0);
}

fn ms_sent(rig: &Rig) -> u64 {
    let stats = rig.element.property::<gst::Structure>("stats");
    stats.get::<u64>("bytes-sent").unwrap() / 32
}

pub fn a_flushing_seek_starts_afresh(protocol: Protocol) {
    let server = service(protocol, |_| {});
    let speech = Speech::usual(16_000);
    let wav = speech.wav();
    let mut rig = Rig::launch(&format!(
        "filesrc location={} ! wavparse ! qwenasr name=asr {} max-speed=20 ! fakesink name=out sync=false",
        wav.0.display(),
        server.properties()
    ));
    rig.play();
    rig.wait_for_message("qwenasr/speech-stopped");
    let at = 3100;
    rig.pipeline
        .seek_simple(
            gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE,
            gst::ClockTime::from_mseconds(at),
        )
        .unwrap();
    rig.wait_for_eos();
    rig.stop();
    let left = rig.left();
    let flush = left
        .iter()
        .rposition(|l| *l == Left::Event("flush-stop".into()))
        .expect("a flush");
    let after: Vec<_> = left[flush..]
        .iter()
        .filter_map(|left| match left {
            Left::Text { text, start, end } => Some((text.clone(), start + at, end + at)),
            _ => None,
        })
        .collect();
    let mut expected = speech.clone();
    expected.truth.retain(|(_, begin, _)| *begin >= 3100);
    server.check_cues(&expected, &after, 0);
    // At the time of the seek one utterance is over, and the next one may have begun.
    let after = server.connections_for(2);
    let sessions = server.connections_for(1) + after..=server.connections_for(2) + after;
    assert!(sessions.contains(&server.connections()), "{sessions:?}");
}

pub fn segments_and_rates_follow_each_other_in_order(protocol: Protocol) {
    let server = service(protocol, |_| {});
    let first = Speech::new(16_000).say(0..12);
    let second = Speech::new(8_000).say(12..24);
    let (one, two) = (first.wav(), second.wav());
    let mut rig = Rig::launch(&format!(
        "concat name=c ! qwenasr name=asr {} {FAST} ! fakesink name=out sync=false \
         filesrc location={} ! wavparse ! c. filesrc location={} ! wavparse ! c.",
        server.properties(),
        one.0.display(),
        two.0.display()
    ));
    rig.play();
    rig.wait_for_eos();
    let expected = Speech::new(16_000).say(0..24);
    server.check_cues(&expected, &rig.texts(), 0);
    let left = rig.left();
    let position = |wanted: &dyn Fn(&Left) -> bool| left.iter().rposition(wanted).unwrap();
    let last_segment = position(&|l| *l == Left::Event("segment".into()));
    let first_text = left
        .iter()
        .position(|l| matches!(l, Left::Text { .. }))
        .unwrap();
    assert!(
        first_text < last_segment,
        "text of the first segment before the second: {left:?}"
    );
    assert_eq!(server.connections(), 2, "one per rate");
}

#[test]
fn what_leaves_the_pad_is_complete_and_in_order() {
    let server = server(|_| {});
    let speech = Speech::usual(16_000);
    let mut rig = Rig::new(16_000, &server.url(), FAST);
    rig.run(speech.buffers(&[320], 0));
    let left = rig.left();
    let names: Vec<&str> = left
        .iter()
        .map(|left| match left {
            Left::Text { .. } => "text",
            Left::Gap { .. } => "gap",
            Left::Event(name) => name,
        })
        .collect();
    assert_eq!(names[..3], ["stream-start", "caps", "segment"], "{names:?}");
    assert_eq!(names.last(), Some(&"eos"));
    assert!(names.contains(&"tag"), "the language: {names:?}");
    let finals = names
        .iter()
        .filter(|name| **name == "rstranscribe/final-transcript")
        .count();
    assert_eq!(finals, 3);
    // Text and gaps cover the time without a hole.
    let mut position = 0;
    for entry in &left {
        if let Left::Text { start, end, .. } | Left::Gap { start, end } = entry {
            assert!(start.abs_diff(position) <= 1, "{entry:?} after {position}");
            position = *end;
        }
    }
    assert!(
        position + 1 >= speech.length_ms(),
        "up to the end of the audio: {position}"
    );
}

pub fn interim_results_come_before_the_final_and_never_go_back(protocol: Protocol) {
    let server = service(protocol, |_| {});
    let speech = Speech::new(16_000)
        .silence(300)
        .say(0..40)
        .silence(800)
        .say(40..50);
    let mut rig = Rig::with(&server, 16_000, "max-speed=20 results=interim max-chars=42");
    rig.run(speech.buffers(&[320], 0));
    let texts = rig.texts();
    assert!(texts.len() > 8, "{texts:?}");
    let mut last_end = 0;
    for (text, start, end) in &texts {
        assert!(*start >= last_end && end > start, "{texts:?}");
        assert!(text.len() <= 42 && !text.is_empty(), "{text}");
        last_end = *end;
    }
    let first = &texts[0];
    assert!(
        first.1 >= 300 && first.2 <= 1400,
        "shown while it is spoken: {first:?}"
    );
    // The rolling line ends with the utterance's last words.
    assert!(
        texts.iter().any(|(text, ..)| text.ends_with("w0039")),
        "{texts:?}"
    );
    assert!(texts.last().unwrap().0.ends_with("w0049"));
    let interims = rig
        .messages
        .iter()
        .filter(|s| s.name() == "qwenasr/transcript" && !s.get::<bool>("final").unwrap());
    assert!(interims.count() > 8);
}

#[test]
fn the_rolling_line_neither_jumps_nor_flickers() {
    let server = server(|_| {});
    let speech = Speech::new(16_000)
        .silence(300)
        .say(0..40)
        .silence(2000)
        .say(40..60)
        .silence(1000);
    let mut rig = Rig::new(
        16_000,
        &server.url(),
        "max-speed=10 results=interim max-chars=42 max-duration=0",
    );
    rig.run(speech.buffers(&[320], 0));
    let texts = rig.texts();
    let seen = |n: u32| texts.iter().any(|(text, ..)| numbers(text).contains(&n));
    assert!((0..60).all(seen), "{texts:?}");
    for pair in texts.windows(2) {
        let [(before, _, end), (text, start, _)] = pair else {
            unreachable!()
        };
        assert_eq!(end, start, "'{text}' after a hole: {texts:?}");
        let next = numbers(before).last().unwrap() + 1;
        assert!(
            text.starts_with(before.as_str()) || numbers(text)[0] == next,
            "'{text}' after '{before}'"
        );
    }
    let (line, _, end) = texts.last().unwrap();
    assert!(line.ends_with("w0059"));
    assert!(*end + 300 >= speech.length_ms(), "{end}");
}

#[test]
fn messages_say_what_and_when() {
    let server = server(|_| {});
    let speech = Speech::new(16_000).silence(500).say(0..10).silence(800);
    let mut rig = Rig::new(16_000, &server.url(), "max-speed=100 language-code=en-US");
    rig.run(speech.buffers(&[320], 10_000));
    let names: Vec<String> = rig.messages.iter().map(|s| s.name().to_string()).collect();
    for name in [
        "qwenasr/connection",
        "qwenasr/speech-started",
        "qwenasr/speech-stopped",
    ] {
        assert!(names.iter().any(|n| n == name), "{name} in {names:?}");
    }
    let last = rig
        .messages
        .iter()
        .rfind(|s| s.name() == "qwenasr/transcript" && s.get::<bool>("final").unwrap())
        .unwrap();
    assert_eq!(
        numbers(&last.get::<String>("text").unwrap()),
        speech.numbers()
    );
    assert_eq!(last.get::<String>("stash").unwrap(), "");
    assert_eq!(last.get::<String>("language").unwrap(), "en");
    assert_eq!(
        last.get::<gst::ClockTime>("timestamp").unwrap(),
        gst::ClockTime::from_mseconds(10_500)
    );
    assert_eq!(
        last.get::<gst::ClockTime>("running-time").unwrap(),
        gst::ClockTime::from_mseconds(10_500)
    );
    assert_eq!(
        last.get::<gst::ClockTime>("stream-time").unwrap(),
        gst::ClockTime::from_mseconds(10_500)
    );
    assert_eq!(
        last.get::<gst::ClockTime>("duration").unwrap(),
        gst::ClockTime::SECOND
    );
    assert!(last.get::<u64>("seq").unwrap() > 0);
    for field in ["item-id", "session-id", "emotion"] {
        assert!(!last.get::<String>(field).unwrap().is_empty(), "{field}");
    }
    let stats = rig.element.property::<gst::Structure>("stats");
    assert_eq!(stats.get::<u64>("sessions").unwrap(), 1);
    assert_eq!(stats.get::<u64>("finals").unwrap(), 1);
    assert!(stats.get::<f64>("seconds-billed").unwrap() >= 2.0);
    assert_eq!(
        stats.get::<u64>("bytes-sent").unwrap(),
        speech.bytes().len() as u64
    );
    assert_eq!(languages_asked(&server)[0], "en");
}

pub fn lateness_moves_the_text_but_not_its_timestamps(protocol: Protocol) {
    let server = service(protocol, |_| {});
    let speech = Speech::new(16_000).silence(500).say(0..10).silence(800);
    let mut rig = Rig::with(&server, 16_000, "max-speed=100 lateness=1500");
    rig.run(speech.buffers(&[320], 0));
    server.check_cues(&speech, &rig.texts(), 1500);
}

#[test]
fn absurd_timestamps_do_no_harm() {
    let server = server(|_| {});
    let speech = Speech::usual(16_000);
    for times in [
        &[u64::MAX - 1, 0, 5_000_000_000][..],
        &[0, u64::MAX - 1],
        &[1 << 63, 0, u64::MAX - 1_000_000_000],
    ] {
        let mut rig = Rig::launch(&format!(
            "appsrc name=src format=time caps=audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved \
             ! qwenasr name=asr {FAST} url={} ! fakesink sync=false async=false",
            server.url()
        ));
        let mut buffers = speech.buffers(&[1600], 0);
        for (buffer, time) in buffers.iter_mut().zip(times.iter().cycle()) {
            let time = gst::ClockTime::from_nseconds(*time);
            buffer.get_mut().unwrap().set_pts(time);
        }
        rig.play();
        rig.push_all(buffers);
        rig.push_eos();
        rig.wait_for_eos();
    }
}
