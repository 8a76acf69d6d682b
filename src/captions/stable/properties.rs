// SPDX-License-Identifier: MPL-2.0
//! What holds for whatever a recogniser says.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::super::text::normalise;
use super::*;
use crate::property_testing::check;
use crate::timeline::Span;

/// A timestamp in milliseconds.
const AT: fn(u64) -> Timestamp = Timestamp::from_millis;

/// Words of several scripts, with what is between them.
const WORDS: &[&str] = &[
    "he ",
    "might ",
    "Even, ",
    "made. ",
    "well-known ",
    "it's ",
    "5 ",
    "今天",
    "天气",
    "不错。",
    "，",
    "東京",
    "です",
    "カメラ",
    "สวัสดี",
    "ครับ ",
    "مرحبا ",
    "بكم، ",
    "안녕 ",
    "😀 ",
    "A ",
    "e\u{301} ",
];

/// An utterance, and how its text grew.
#[derive(Debug, Clone)]
struct Said {
    text: String,
    /// How much of the text was confirmed, how much was guessed, and what was guessed instead of
    /// the rest.
    hypotheses: Vec<(usize, usize, String)>,
    /// Whether words that are due are asked for after each of them.
    due: bool,
}

/// `honest` recognisers guess too little, but whole words and never anything else.
fn said(honest: bool) -> impl Strategy<Value = Said> {
    let text = vec(select(WORDS), 1..24);
    let wrong = vec(select(WORDS), 0..3).prop_map(|words| words.concat());
    let steps = vec((any::<Index>(), any::<Index>(), wrong), 0..24);
    (text, steps, any::<bool>()).prop_map(move |(words, steps, due)| {
        let text = words.concat();
        // Where hypotheses may end: between words, or even characters.
        let ends: Vec<usize> = if honest {
            let lengths = words.iter().scan(0, |end, word| {
                *end += word.len();
                Some(*end)
            });
            std::iter::once(0).chain(lengths).collect()
        } else {
            (0..=text.len())
                .filter(|at| text.is_char_boundary(*at))
                .collect()
        };
        // Confirmed text only grows.
        let (mut confirmed, mut guessed) = (0, 0);
        let mut hypotheses = Vec::new();
        for (more, further, wrong) in steps {
            let rest = ends.len() - confirmed;
            confirmed += more.index(rest.min(4));
            guessed = (guessed.max(confirmed) + further.index(6)).min(ends.len() - 1);
            let wrong = if honest { String::new() } else { wrong };
            hypotheses.push((ends[confirmed], ends[guessed], wrong));
        }
        Said {
            text,
            hypotheses,
            due,
        }
    })
}

fn said_so_far(utterance: u64, text: &str, stash: &str, start: u64, end: u64) -> Transcript {
    Transcript {
        utterance,
        text: text.into(),
        stash: stash.into(),
        span: Span::from_millis(start, end),
        ..Transcript::default()
    }
}

/// All words that are shown.
fn show(utterances: &[Said]) -> Vec<Cue> {
    let (mut stable, mut out) = (Stable::default(), Vec::new());
    let mut start = 1000;
    for (utterance, said) in utterances.iter().enumerate() {
        let utterance = utterance as u64;
        let mut heard = start;
        for (confirmed, guessed, wrong) in &said.hypotheses {
            heard += 200;
            let stash = [&said.text[*confirmed..*guessed], wrong].concat();
            stable.interim(
                &said_so_far(utterance, &said.text[..*confirmed], &stash, start, heard),
                AT(0),
                &mut out,
            );
            if said.due {
                stable.due(AT(heard - 100), AT(0), &mut out);
            }
        }
        stable.finalise(
            &said_so_far(utterance, &said.text, "", start, heard + 100),
            AT(0),
            &mut out,
        );
        start = heard + 300;
    }
    assert_eq!(stable.held(), None, "all is shown");
    out
}

fn letters(text: &str) -> String {
    let text = normalise(text);
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

#[test]
fn words_are_in_order_and_each_has_its_time() {
    check(1000, vec(said(false), 1..4), |utterances| {
        let mut end = AT(0);
        for word in show(&utterances) {
            assert!(
                end <= word.span.start,
                "{word:?} overlaps what ends at {end:?}"
            );
            assert!(word.span.start < word.span.end, "{word:?} has no duration");
            assert!(!word.text.trim().is_empty(), "{word:?} is blank");
            end = word.span.end;
        }
    });
}

#[test]
fn what_was_said_honestly_is_shown_once_and_whole() {
    check(1000, vec(said(true), 1..4), |utterances| {
        let words = show(&utterances);
        let shown: String = words.iter().map(|word| letters(&word.text)).collect();
        let expected: String = utterances.iter().map(|said| letters(&said.text)).collect();
        // Marks that nobody reads may be left out where there is nothing else.
        let readable = |text: &str| {
            text.chars()
                .filter(|c| c.is_alphanumeric())
                .collect::<String>()
        };
        assert_eq!(readable(&shown), readable(&expected));
    });
}

#[test]
fn what_was_shown_does_not_depend_on_what_comes_later() {
    check(500, (said(false), any::<Index>()), |(said, end)| {
        let all = show(std::slice::from_ref(&said));
        let (mut stable, mut before) = (Stable::default(), Vec::new());
        let count = end.index(said.hypotheses.len() + 1);
        let mut heard = 1000;
        for (confirmed, guessed, wrong) in &said.hypotheses[..count] {
            heard += 200;
            let stash = [&said.text[*confirmed..*guessed], wrong].concat();
            let text = &said.text[..*confirmed];
            stable.interim(
                &said_so_far(0, text, &stash, 1000, heard),
                AT(0),
                &mut before,
            );
            if said.due {
                stable.due(AT(heard - 100), AT(0), &mut before);
            }
        }
        assert_eq!(all[..before.len()], before);
    });
}
