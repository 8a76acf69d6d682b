// SPDX-License-Identifier: MPL-2.0
//! Times of words with services that lag: from the second utterance on they are about right,
//! whatever the lag is. Times are in milliseconds.

use super::*;
use crate::timeline::Span;

/// Numbers without a pattern.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Silence that ends an utterance.
const PAUSE: u64 = 400;

/// A word, its start and its end.
type Spoken = (String, u64, u64);

/// A sentence: longer words take longer, though not always, and there are pauses.
fn sentence(random: &mut Random, start: u64) -> Vec<Spoken> {
    let mut time = start;
    let words = (0..6 + random.below(14)).map(|n| {
        let letters = 1 + random.below(9);
        let word = format!("{n}{}", "x".repeat(letters as usize));
        let length = 60 + letters * (40 + random.below(30));
        let pause = if random.below(8) == 0 { 300 } else { 0 };
        let spoken = (word, time + pause, time + pause + length);
        time += pause + length;
        spoken
    });
    words.collect()
}

struct Service {
    /// How much audio it has got beyond that of its latest words.
    lag: u64,
    /// Audio between two hypotheses.
    interval: u64,
    /// Whether it says when utterances start and end, from the fourth one on; it does so before.
    has_offsets: bool,
}

/// Errors of the starts of words, from the second utterance on.
fn errors(service: &Service, due_after: Option<u64>) -> Vec<u64> {
    let mut random = Random(service.lag + service.interval);
    let (mut stable, mut errors) = (Stable::default(), Vec::new());
    let none = Timestamp::default();
    let mut start = 1000;
    for utterance in 0..20 {
        let words = sentence(&mut random, start);
        let end = words.last().unwrap().2;
        let is_guessed = !service.has_offsets && utterance >= 4;
        let mut guess = None;
        let mut transcript = |text: String, stash: String, audio_end: u64, is_final: bool| {
            // As a session guesses.
            let first = *guess.get_or_insert(audio_end.saturating_sub(1000));
            let span = match (is_guessed, is_final) {
                (true, _) => Span::from_millis(first, audio_end),
                (false, true) => Span::from_millis(start, end),
                // It has told that the utterance is over.
                (false, false) if audio_end >= end + PAUSE => Span::from_millis(start, end),
                (false, false) => Span::from_millis(start, audio_end),
            };
            Transcript {
                utterance,
                text,
                stash,
                span,
                audio_end: Timestamp::from_millis(audio_end),
                is_guessed,
                ..Transcript::default()
            }
        };
        let mut out = Vec::new();
        let mut audio_end = start + service.interval;
        while audio_end < end + PAUSE + service.lag {
            let heard = words
                .iter()
                .filter(|word| word.2 + service.lag <= audio_end);
            let heard: Vec<_> = heard.map(|word| word.0.as_str()).collect();
            if !heard.is_empty() {
                let sure = heard.len().saturating_sub(3);
                let (sure, stash) = heard.split_at(sure);
                let sure = sure.iter().map(|word| format!("{word} ")).collect();
                let transcript = transcript(sure, stash.join(" "), audio_end, false);
                stable.interim(&transcript, none, &mut out);
            }
            if let Some(after) = due_after {
                let due = Timestamp::from_millis(audio_end.saturating_sub(after));
                stable.due(due, none, &mut out);
            }
            audio_end += service.interval;
        }
        let text: Vec<_> = words.iter().map(|word| word.0.as_str()).collect();
        let last = transcript(
            text.join(" "),
            String::new(),
            end + PAUSE + service.lag,
            true,
        );
        stable.finalise(&last, none, &mut out);
        assert_eq!(out.len(), words.len());
        if utterance > 0 {
            let starts = out.iter().map(|word| word.span.start.millis());
            errors.extend(
                starts
                    .zip(&words)
                    .map(|(start, word)| start.abs_diff(word.1)),
            );
        }
        start = end + 1500 + random.below(1000);
    }
    errors
}

#[test]
fn words_are_in_time_however_slow_the_service_is() {
    for lag in [0, 300, 900, 2000] {
        for interval in [200, 500] {
            for has_offsets in [true, false] {
                for due_after in [None, Some(3500)] {
                    let service = Service {
                        lag,
                        interval,
                        has_offsets,
                    };
                    let mut errors = errors(&service, due_after);
                    errors.sort_unstable();
                    let [median, most] = [50, 95].map(|part| errors[errors.len() * part / 100]);
                    assert!(
                        median <= 150 && most <= 400,
                        "lag {lag}, every {interval}, offsets: {has_offsets}: {median}, {most}"
                    );
                }
            }
        }
    }
}
