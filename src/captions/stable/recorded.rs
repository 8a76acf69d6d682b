// SPDX-License-Identifier: MPL-2.0
//! Recorded hypotheses, in `hypotheses.txt`: whatever differs, no word is missing, torn or shown
//! twice.

use super::super::text::normalise;
use super::super::tokens::tokens;
use super::*;
use crate::timeline::Span;

/// When the utterance starts, in milliseconds.
const START: u64 = 1000;

/// One utterance of the file.
struct Recording<'a> {
    name: &'a str,
    /// Audio sent, confirmed text, tentative text.
    hypotheses: Vec<(u64, &'a str, &'a str)>,
    end: u64,
    text: &'a str,
    /// What is to be shown without deadlines.
    expected: &'a str,
}

fn recordings() -> Vec<Recording<'static>> {
    let mut recordings: Vec<Recording> = Vec::new();
    for line in include_str!("hypotheses.txt").lines() {
        if let Some(name) = line.strip_prefix("= ") {
            recordings.push(Recording {
                name,
                hypotheses: Vec::new(),
                end: 0,
                text: "",
                expected: "",
            });
            continue;
        }
        let Some(recording) = recordings.last_mut() else {
            continue;
        };
        let (time, rest) = line.split_once(' ').unwrap_or_default();
        let time = time.parse::<u64>();
        if let Some(expected) = line.strip_prefix("> ") {
            recording.expected = expected;
        } else if let Some(text) = rest.strip_prefix("= ") {
            (recording.end, recording.text) = (time.unwrap(), text);
        } else if let Some((text, stash)) = rest.strip_prefix('|').and_then(|r| r.split_once('|')) {
            recording.hypotheses.push((time.unwrap(), text, stash));
        }
    }
    recordings
}

impl Recording<'_> {
    fn transcript(&self, text: &str, stash: &str, end: u64) -> Transcript {
        Transcript {
            text: text.into(),
            stash: stash.into(),
            span: Span::from_millis(START, START + end),
            ..Transcript::default()
        }
    }

    /// What is shown before the final text, and after it, with a deadline this far behind the audio.
    fn shown(&self, deadline: Option<u64>) -> [Vec<String>; 2] {
        let mut stable = Stable::default();
        let none = Timestamp::default();
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (end, text, stash) in &self.hypotheses {
            let transcript = self.transcript(text, stash, *end);
            stable.interim(&transcript, none, &mut before);
            if let Some(deadline) = deadline {
                let due = Timestamp::from_millis((START + end).saturating_sub(deadline));
                stable.due(due, none, &mut before);
            }
        }
        let transcript = self.transcript(self.text, "", self.end);
        stable.finalise(&transcript, none, &mut after);
        [before, after].map(|words| words.into_iter().map(|word| word.text).collect())
    }
}

fn keys(text: &str) -> Vec<String> {
    let tokens = tokens(&normalise(text)).into_iter();
    tokens.map(|token| token.key).collect()
}

/// How many characters of each word of `text` have a counterpart in `shown`, by edit distance, and
/// where in `shown` the latest of them is.
fn counterparts(shown: &str, text: &[String]) -> Vec<(usize, Option<usize>)> {
    let shown: Vec<char> = shown.chars().collect();
    let all: Vec<char> = text.concat().chars().collect();
    let differ = |row: usize, column: usize| usize::from(all[row] != shown[column]);
    // The distances between the ends of both.
    let mut costs = vec![vec![0; shown.len() + 1]; all.len() + 1];
    for row in (0..=all.len()).rev() {
        for column in (0..=shown.len()).rev() {
            let (below, right) = (row < all.len(), column < shown.len());
            let steps = [
                (below && right).then(|| costs[row + 1][column + 1] + differ(row, column)),
                below.then(|| costs[row + 1][column] + 1),
                right.then(|| costs[row][column + 1] + 1),
            ];
            costs[row][column] = steps.into_iter().flatten().min().unwrap_or(0);
        }
    }
    let (mut row, mut column) = (0, 0);
    let mut counterpart = || {
        // Of equal choices the one that leaves out a character shown.
        while column < shown.len() && costs[row][column] == costs[row][column + 1] + 1 {
            column += 1;
        }
        let has_one = column < shown.len()
            && costs[row][column] == costs[row + 1][column + 1] + differ(row, column);
        row += 1;
        column += usize::from(has_one);
        has_one.then(|| column - 1)
    };
    let counterparts = text.iter().map(|word| {
        let found: Vec<_> = word.chars().filter_map(|_| counterpart()).collect();
        (found.len(), found.last().copied())
    });
    counterparts.collect()
}

/// The words of `text` in whose place nothing was shown, although they could have been: nothing
/// that comes after them had been shown.
fn missing(before: &[String], rest: &[String], text: &[String]) -> Vec<String> {
    let shown_before = before.concat().chars().count();
    let shown = before.concat() + &rest.concat();
    let found = counterparts(&shown, text);
    let is_there =
        |(word, (found, _)): &(&String, &(usize, Option<usize>))| found * 2 >= word.chars().count();
    let words: Vec<_> = text.iter().zip(&found).collect();
    let passed = words
        .iter()
        .rposition(|word| is_there(word) && word.1.1 < Some(shown_before));
    let open = words
        .into_iter()
        .skip(passed.map_or(0, |passed| passed + 1));
    let absent = open.filter(|word| !is_there(word));
    absent.map(|(word, _)| word.clone()).collect()
}

/// The words with which the rest repeats what was shown, although they are not said twice.
fn twice(before: &[String], rest: &[String], text: &[String]) -> Vec<String> {
    let longest = before.len().min(rest.len());
    let repeated = (1..=longest).rev().find(|n| before.ends_with(&rest[..*n]));
    let repeated = &rest[..repeated.unwrap_or(0)];
    let is_said_twice = |text: &[String]| {
        let pair = [repeated, repeated].concat();
        text.windows(pair.len()).any(|words| words == pair)
    };
    if repeated.is_empty() || is_said_twice(text) {
        return Vec::new();
    }
    repeated.to_vec()
}

#[test]
fn what_is_shown_without_deadlines() {
    for recording in recordings() {
        let shown = recording.shown(None).map(|words| words.join(" "));
        assert_eq!(shown.join("|"), recording.expected, "{}", recording.name);
    }
}

#[test]
fn nothing_is_missing_torn_or_shown_twice() {
    let recordings = recordings();
    assert!(recordings.len() >= 60);
    for recording in recordings {
        for deadline in [None, Some(1500), Some(900), Some(500), Some(200)] {
            let [before, after] = recording.shown(deadline);
            let what = format!("{}, {deadline:?}: {before:?} + {after:?}", recording.name);
            let text = keys(recording.text);
            let [before, rest] = [before, after].map(|words| keys(&words.join(" ")));
            assert!(text.ends_with(&rest), "{what}: torn");
            let missing = missing(&before, &rest, &text);
            assert!(missing.is_empty(), "{what}: {missing:?} is missing");
            let twice = twice(&before, &rest, &text);
            assert!(twice.is_empty(), "{what}: {twice:?} twice");
        }
    }
}

#[test]
fn a_service_that_changes_confirmed_text_is_not_taken_at_its_word() {
    // What is shown of the next utterance for no other reason.
    let next = |confirmed: [&str; 2], text: &str| {
        let (mut stable, none) = (Stable::default(), Timestamp::default());
        let transcript = |utterance, text: &str, stash: &str| Transcript {
            utterance,
            text: text.into(),
            stash: stash.into(),
            span: Span::from_millis(1000 * utterance, 1000 * utterance + 500),
            ..Transcript::default()
        };
        let mut out = Vec::new();
        for confirmed in confirmed {
            stable.interim(&transcript(1, confirmed, "cat sat"), none, &mut out);
        }
        stable.finalise(&transcript(1, text, ""), none, &mut out);
        out.clear();
        stable.interim(&transcript(2, "then it ", "ran"), none, &mut out);
        let words: Vec<_> = out.iter().map(|word| word.text.as_str()).collect();
        words.join(" ")
    };
    let kept = ["we saw the ", "We saw, the "];
    assert_eq!(next(kept, "We saw the cat sit."), "then it");
    assert_eq!(next(kept, "We saw a cat sit."), "");
    assert_eq!(next(["we saw a ", "we saw the "], "We saw the cat."), "");
    assert_eq!(next(kept, ""), "then it", "it is part of another one");
}
