// SPDX-License-Identifier: MPL-2.0
//! Patterns of voice, sounds and silence, and where they are segmented.

use super::*;

const MS: u64 = 1_000_000;

fn at(ms: u64) -> Timestamp {
    Timestamp::from_nanos(ms * MS)
}

fn millis(time: Timestamp) -> u64 {
    time.nanos() / MS
}

/// The value of a sample is its class.
const SILENCE: i16 = 0;
const SOUND: i16 = 1;
const VOICE: i16 = 2;
/// A softer voice.
const SOFT: i16 = 3;

struct Told;

impl Detector for Told {
    fn classify(&mut self, frame: &[i16]) -> FrameClass {
        let what = frame.iter().max().copied().unwrap_or_default();
        FrameClass {
            voice: what >= VOICE,
            loud: matches!(what, SOUND | VOICE),
            level: [-80.0, -30.0, -20.0, -45.0][what as usize],
        }
    }
}

/// 1000 samples per second, 16 per frame.
const RATE: u32 = 1000;

fn audio(pattern: &[(i16, usize)]) -> Vec<u8> {
    pattern
        .iter()
        .flat_map(|(what, ms)| std::iter::repeat_n(*what, *ms))
        .flat_map(i16::to_le_bytes)
        .collect()
}

fn turns(silence_ms: u32) -> Segmenter<Told> {
    Segmenter::with(Told, silence_ms, RATE, 60_000)
}

/// The output: `began 300`, `sent 0..900`, `ended 300..800`, in milliseconds.
fn take(turns: &mut Segmenter<impl Detector>) -> Vec<String> {
    let mut sent: Option<(u64, u64)> = None;
    let mut said = Vec::new();
    while let Some(step) = turns.next_step() {
        let line = match step {
            Step::Audio { time, audio } => {
                let until = millis(time) + audio.len() as u64 / 2;
                match &mut sent {
                    Some((_, end)) if *end == millis(time) => *end = until,
                    _ => {
                        said.extend(sent.map(|(from, until)| format!("sent {from}..{until}")));
                        sent = Some((millis(time), until));
                    }
                }
                continue;
            }
            Step::Began { time } => format!("began {}", millis(time)),
            Step::Ended { speech } => {
                format!("ended {}..{}", millis(speech.start), millis(speech.end))
            }
        };
        said.extend(
            sent.take()
                .map(|(from, until)| format!("sent {from}..{until}")),
        );
        said.push(line);
    }
    said.extend(sent.map(|(from, until)| format!("sent {from}..{until}")));
    said
}

/// As `take`, with the whole pattern given at once, and finished.
fn cut(silence_ms: u32, pattern: &[(i16, usize)]) -> Vec<String> {
    let mut turns = turns(silence_ms);
    turns.feed(at(0), &audio(pattern));
    turns.finish();
    take(&mut turns)
}

#[test]
fn an_utterance_comes_with_what_surrounds_it_and_silence_stays_at_home() {
    let said = cut(
        400,
        &[
            (SILENCE, 1600),
            (VOICE, 800),
            (SILENCE, 1600),
            (VOICE, 160),
            (SILENCE, 800),
        ],
    );
    assert_eq!(
        said,
        [
            "began 1600",
            "sent 1296..2656",
            "ended 1600..2400",
            "began 4000",
            "sent 3696..4416",
            "ended 4000..4160",
        ]
    );
    assert_eq!(cut(400, &[(SILENCE, 60_000)]), [""; 0]);
}

#[test]
fn nothing_is_sent_twice_where_there_is_little_silence_between() {
    let said = cut(
        200,
        &[(VOICE, 160), (SILENCE, 208), (VOICE, 160), (SILENCE, 224)],
    );
    assert_eq!(
        said,
        [
            "began 0",
            "sent 0..368",
            "ended 0..160",
            "began 368",
            "sent 368..736",
            "ended 368..528"
        ]
    );
}

#[test]
fn only_a_pause_ends_an_utterance_and_a_long_one_is_shortened() {
    let said = cut(
        400,
        &[(VOICE, 320), (SILENCE, 384), (VOICE, 320), (SILENCE, 400)],
    );
    assert_eq!(said, ["began 0", "sent 0..1280", "ended 0..1024"]);
    let said = cut(
        3200,
        &[(VOICE, 320), (SILENCE, 2880), (VOICE, 320), (SILENCE, 3200)],
    );
    assert_eq!(
        said,
        ["began 0", "sent 0..576", "sent 2784..3776", "ended 0..3520"]
    );
}

#[test]
fn clicks_are_no_speech_and_short_words_are() {
    assert_eq!(
        cut(400, &[(SILENCE, 320), (VOICE, 32), (SILENCE, 320)]),
        [""; 0]
    );
    let said = cut(400, &[(SILENCE, 320), (SOUND, 48), (SILENCE, 800)]);
    assert_eq!(said, ["began 320", "sent 16..624", "ended 320..368"]);
}

#[test]
fn sounds_are_utterances_too() {
    let said = cut(400, &[(SILENCE, 800), (SOUND, 5008), (SILENCE, 800)]);
    assert_eq!(said, ["began 800", "sent 496..6064", "ended 800..5808"]);
}

#[test]
fn a_voice_after_sounds_is_an_utterance_of_its_own() {
    let said = cut(400, &[(SOUND, 3200), (VOICE, 800), (SILENCE, 800)]);
    assert_eq!(
        said,
        [
            "began 0",
            "sent 0..2896",
            "ended 0..2896",
            "began 3200",
            "sent 2896..4256",
            "ended 3200..4000"
        ]
    );
    // But not if they may have been the start of the speech.
    let said = cut(400, &[(SOUND, 320), (VOICE, 800), (SILENCE, 800)]);
    assert_eq!(said, ["began 0", "sent 0..1376", "ended 0..1120"]);
}

#[test]
fn a_voice_that_ends_in_noise_ends_its_utterance() {
    let said = cut(400, &[(VOICE, 800), (SOUND, 4000), (SILENCE, 800)]);
    assert_eq!(
        said,
        [
            "began 0",
            "sent 0..1712",
            "ended 0..800",
            "began 1712",
            "sent 1712..5056",
            "ended 1712..4800"
        ]
    );
}

#[test]
fn a_detector_that_misses_most_of_the_speech_does_not_end_it() {
    let said = cut(
        400,
        &[(VOICE, 160), (SOUND, 800), (VOICE, 48), (SOUND, 4000)],
    );
    assert_eq!(said, ["began 0", "sent 0..5008", "ended 0..5008"]);
}

#[test]
fn the_lengths_of_buffers_mean_nothing() {
    let pattern = [
        (SILENCE, 777),
        (VOICE, 1500),
        (SILENCE, 333),
        (SOFT, 90),
        (SILENCE, 1111),
        (SOUND, 2222),
        (VOICE, 70_000),
        (SILENCE, 2000),
        (SOUND, 45),
        (SILENCE, 500),
    ];
    let audio = audio(&pattern);
    let expected = cut(400, &pattern);
    assert!(expected.len() > 10, "{expected:?}");
    for length in [1, 7, 16, 20, 100, 1000, 2000] {
        let mut turns = turns(400);
        let mut steps = VecDeque::new();
        for (n, piece) in audio.chunks(length * 2).enumerate() {
            turns.feed(at((n * length) as u64), piece);
            steps.extend(std::iter::from_fn(|| turns.next_step()));
        }
        turns.finish();
        steps.append(&mut turns.steps);
        turns.steps = steps;
        assert_eq!(take(&mut turns), expected, "{length}");
    }
}

#[test]
fn long_speech_is_cut_at_a_quiet_place_before_the_limit() {
    let said = cut(
        400,
        &[(VOICE, 52_800), (SOFT, 96), (VOICE, 5000), (SILENCE, 400)],
    );
    assert_eq!(
        said,
        [
            "began 0",
            "sent 0..52848",
            "ended 0..52848",
            "began 52848",
            "sent 52848..58160",
            "ended 52848..57904"
        ]
    );
}

#[test]
fn without_any_it_is_cut_anyway() {
    for what in [VOICE, SOUND] {
        let said = cut(400, &[(what, 100_000)]);
        // The newest part of sounds is only sent once it is certain that no voice followed.
        assert_eq!(
            said,
            [
                "began 0",
                "sent 0..60000",
                "ended 0..60000",
                "began 60000",
                "sent 60000..100000",
                "ended 60000..100000"
            ],
            "{what}"
        );
    }
}

#[test]
fn padding_counts() {
    let mut turns = turns(400);
    turns.pad(Samples(20_000));
    turns.feed(at(0), &audio(&[(VOICE, 60_000)]));
    turns.finish();
    let said = take(&mut turns);
    assert_eq!(said[2], "ended 0..40000");
}

#[test]
fn a_jump_ends_an_utterance_unless_it_is_a_small_one() {
    let speech = audio(&[(VOICE, 800)]);
    for (time, ended) in [(900, false), (1200, true), (100, true)] {
        let mut turns = turns(400);
        turns.feed(at(0), &speech);
        turns.feed(at(time), &speech);
        turns.finish();
        let end = time + 800;
        let expected = if ended {
            vec![
                "began 0".into(),
                "sent 0..800".into(),
                "ended 0..800".into(),
                format!("began {time}"),
                format!("sent {time}..{end}"),
                format!("ended {time}..{end}"),
            ]
        } else {
            vec![
                "began 0".into(),
                "sent 0..800".into(),
                "sent 900..1700".into(),
                "ended 0..1700".into(),
            ]
        };
        assert_eq!(take(&mut turns), expected);
    }
}

#[test]
fn a_small_jump_cuts_nothing_of_a_word_that_begins() {
    for said_before in [0, 10, 30, 300] {
        for jump in [40, 399] {
            let mut turns = turns(400);
            turns.feed(at(0), &audio(&[(SILENCE, 600), (VOICE, said_before)]));
            let time = 600 + said_before as u64 + jump;
            let rest = audio(&[(VOICE, 500 - said_before), (SILENCE, 1000)]);
            turns.feed(at(time), &rest);
            turns.finish();
            let mut words = 0;
            while let Some(step) = turns.next_step() {
                let Step::Audio { time, audio } = step else {
                    continue;
                };
                let values: Vec<_> = pcm::values(audio.iter()).collect();
                let first = values.iter().position(|value| *value == VOICE);
                if let Some(first) = first.filter(|_| words == 0) {
                    let moved = if said_before == 0 { jump } else { 0 };
                    assert_eq!(millis(time) + first as u64, 600 + moved);
                }
                words += values.iter().filter(|value| **value == VOICE).count();
            }
            assert_eq!(words, 500, "{said_before} ms, {jump} ms");
        }
    }
}

#[test]
fn silence_before_a_jump_is_no_pre_roll() {
    let mut turns = turns(400);
    turns.feed(at(0), &audio(&[(SILENCE, 1000)]));
    turns.feed(at(9000), &audio(&[(VOICE, 160)]));
    turns.finish();
    assert_eq!(
        take(&mut turns),
        ["began 9000", "sent 9000..9160", "ended 9000..9160"]
    );
}

#[test]
fn it_is_known_up_to_where_nothing_will_come() {
    let mut turns = turns(400);
    assert_eq!(turns.silent_until(), None);
    turns.feed(at(5000), &audio(&[(SILENCE, 1600)]));
    let until = turns.silent_until().unwrap();
    assert_eq!(until, at(6600 - 416));
    turns.feed(at(6600), &audio(&[(VOICE, 160)]));
    assert_eq!(turns.silent_until(), None);
    let Some(Step::Began { .. }) = turns.next_step() else {
        panic!()
    };
    let Some(Step::Audio { time, .. }) = turns.next_step() else {
        panic!()
    };
    assert!(time >= until);
    turns.feed(at(6760), &audio(&[(SILENCE, 500)]));
    assert!(turns.silent_until().unwrap() > until);
}

#[test]
fn audio_may_go_on_after_the_end_was_announced() {
    let mut turns = turns(400);
    turns.feed(at(0), &audio(&[(VOICE, 170)]));
    turns.finish();
    turns.feed(at(170), &audio(&[(VOICE, 170)]));
    turns.finish();
    assert_eq!(
        take(&mut turns),
        [
            "began 0",
            "sent 0..170",
            "ended 0..160",
            "began 170",
            "sent 170..340",
            "ended 170..330"
        ]
    );
}
