// SPDX-License-Identifier: MPL-2.0

//! Utterances of numbered blocks, with a model that writes like Moonshine: each time it begins with a
//! capital letter, and ends with a full stop.

use super::*;
use crate::blocks::{BlockRecogniser, blocks, silence, words as numbers};
use crate::recogniser::Recogniser;

const RATE: u32 = 16_000;

/// Milliseconds between two interim results.
const INTERVAL: u64 = 500;

/// Recognises blocks, and keeps the lengths of what it was given, in milliseconds.
#[derive(Default)]
struct Model {
    transcribed: Vec<u64>,
}

impl Transcribe for Model {
    fn transcribe(&mut self, audio: Vec<f32>) -> Option<String> {
        self.transcribed.push(audio.len() as u64 / 16);
        let pcm: Vec<i16> = audio.iter().map(|s| (s * 32_768.0) as i16).collect();
        let mut recogniser = BlockRecogniser::default();
        recogniser.start(RATE);
        recogniser.feed(&pcm);
        Some(recogniser.finish().replacen('w', "W", 1) + ".")
    }
}

fn utterance(model: &Arc<PriorityMutex<Model>>) -> Utterance<Model> {
    let loud = |frame: &[i16], _| {
        if frame.iter().any(|s| *s != 0) {
            0.9
        } else {
            0.0
        }
    };
    Utterance::with(model.clone(), RATE, VoiceActivity::with(Box::new(loud)))
}

fn new() -> (Utterance<Model>, Arc<PriorityMutex<Model>>) {
    let model = Arc::new(PriorityMutex::new(Model::default()));
    (utterance(&model), model)
}

/// Feeds audio like the service does, and returns the interim results.
fn speak(utterance: &mut Utterance<Model>, pcm: &[i16]) -> Vec<Hypothesis> {
    let interval = (INTERVAL * 16) as usize;
    let pieces = pcm.chunks(interval).map(|piece| {
        piece.chunks(160).for_each(|frame| utterance.feed(frame));
        utterance.hypothesis()
    });
    pieces
        .flatten()
        .filter(|hypothesis| !hypothesis.is_empty())
        .collect()
}

fn text(words: &str) -> String {
    words.replacen('w', "W", 1)
}

#[test]
fn words_are_confirmed_by_two_transcriptions() {
    let (mut utterance, _) = new();
    let results = speak(&mut utterance, &blocks(0..20, RATE));
    assert_eq!(results[0].text, "");
    assert!(results[0].stash.starts_with("W0000 w0001"), "{results:?}");
    let confirmed: Vec<usize> = results.iter().map(|h| h.text.split(' ').count()).collect();
    assert_eq!(confirmed.len(), 4);
    assert!(confirmed.is_sorted_by(|a, b| a < b), "{results:?}");
    for result in &results {
        assert!(
            text(&numbers(0..20)).starts_with(&result.text),
            "{results:?}"
        );
    }
    assert_eq!(utterance.finish(), text(&numbers(0..20)) + ".");
}

#[test]
fn the_final_result_is_there_when_the_pause_is_long_enough() {
    let (mut utterance, model) = new();
    speak(&mut utterance, &blocks(0..10, RATE));
    assert_eq!(model.lock().transcribed.len(), 2);
    utterance.feed(&blocks(10..12, RATE));
    utterance.feed(&silence(400, RATE));
    assert_eq!(model.lock().transcribed.len(), 3);
    assert_eq!(utterance.finish(), text(&numbers(0..12)) + ".");
    assert_eq!(model.lock().transcribed.len(), 3);
}

#[test]
fn nothing_is_transcribed_while_nobody_speaks() {
    let (mut utterance, model) = new();
    assert_eq!(speak(&mut utterance, &silence(5000, RATE)), []);
    // 40 ms are no word.
    utterance.feed(&blocks([7], RATE)[..640]);
    assert_eq!(speak(&mut utterance, &silence(5000, RATE)), []);
    assert_eq!(utterance.finish(), "");
    assert!(model.lock().transcribed.is_empty());
    assert!(
        utterance.audio.len() < 16_000,
        "what is not needed is forgotten"
    );
}

#[test]
fn long_speech_is_divided_at_pauses() {
    let (mut utterance, model) = new();
    let mut pcm = Vec::new();
    for first in (0..160).step_by(20) {
        pcm.extend(blocks(first..first + 20, RATE));
        pcm.extend(silence(150, RATE));
    }
    let results = speak(&mut utterance, &pcm);
    assert!(results.len() > 20, "{}", results.len());
    let expected = text(&numbers(0..160));
    for result in &results {
        let reported = result.text.clone() + &result.stash;
        assert!(
            expected.starts_with(reported.trim_end_matches('.')),
            "{result:?}"
        );
    }
    assert_eq!(
        utterance.finish(),
        expected + ".",
        "no full stop where it was divided"
    );
    let transcribed = &model.lock().transcribed;
    assert!(transcribed.iter().all(|ms| *ms <= 7500), "{transcribed:?}");
}

#[test]
fn speech_without_pauses_is_divided_all_the_same() {
    let (mut utterance, model) = new();
    // Nobody asks for interim results.
    blocks(0..250, RATE)
        .chunks(160)
        .for_each(|frame| utterance.feed(frame));
    let text = utterance.finish();
    // A block is in two halves now and then.
    let count = text.split(' ').count();
    assert!((250..260).contains(&count), "{count}: {text}");
    let transcribed = &model.lock().transcribed;
    assert!(
        transcribed.iter().all(|ms| *ms <= 10_000),
        "{transcribed:?}"
    );
    assert!(utterance.audio.len() <= 160_000);
}

#[test]
fn a_long_silence_settles_what_was_said() {
    let (mut utterance, _) = new();
    speak(&mut utterance, &blocks(0..10, RATE));
    speak(&mut utterance, &silence(20_000, RATE));
    assert!(utterance.audio.len() < 16_000);
    speak(&mut utterance, &blocks(10..20, RATE));
    let expected = text(&numbers(0..10)) + ". " + &text(&numbers(10..20)) + ".";
    assert_eq!(utterance.finish(), expected);
}

#[test]
fn interim_results_wait_for_the_model_and_nothing_is_lost() {
    let (mut utterance, model) = new();
    let turn = model.lock();
    let pcm = blocks(0..10, RATE);
    pcm.chunks(160).for_each(|frame| utterance.feed(frame));
    assert_eq!(utterance.hypothesis(), None);
    drop(turn);
    let hypothesis = utterance.hypothesis().unwrap();
    assert_eq!(hypothesis.stash, text(&numbers(0..9)));
    assert_eq!(utterance.hypothesis(), Some(hypothesis), "once is enough");
    assert_eq!(utterance.finish(), text(&numbers(0..10)) + ".");
}

#[test]
fn words_are_said_while_there_is_a_voice() {
    let (mut utterance, _) = new();
    speak(&mut utterance, &silence(3000, RATE));
    speak(&mut utterance, &blocks(0..70, RATE));
    speak(&mut utterance, &silence(1500, RATE));
    speak(&mut utterance, &blocks(70..80, RATE));
    let words = utterance.finish().split(' ').count();
    let spans = utterance.spans();
    assert_eq!(spans.len(), words);
    assert!(spans.is_sorted());
    for (number, (begin, end)) in spans.into_iter().enumerate() {
        let said = 3000 + number as u64 * 100 + if number < 70 { 0 } else { 1500 };
        assert!(
            begin.abs_diff(said) < 120 && end.abs_diff(said + 100) < 120,
            "{number}: {begin}"
        );
    }
}

#[test]
fn what_the_model_makes_up_is_left_out() {
    for (text, cleaned) in [
        ("♪♪ Hello, world! ♪ ??", "Hello, world!"),
        ("No, no, no, no, no, no!", "No, no, no,"),
        (
            "It is to use the to use the to use the to use the to use the end",
            "It is to use the to use the to use the end",
        ),
        ("", ""),
    ] {
        assert_eq!(clean(text).join(" "), cleaned);
    }
    struct Letter;
    impl Transcribe for Letter {
        fn transcribe(&mut self, _: Vec<f32>) -> Option<String> {
            Some("I.".to_owned())
        }
    }
    let voice = VoiceActivity::with(Box::new(|_, _| 0.9));
    let mut utterance = Utterance::with(Arc::new(PriorityMutex::new(Letter)), RATE, voice);
    utterance.feed(&blocks(0..3, RATE));
    assert_eq!(utterance.finish(), "");
}
