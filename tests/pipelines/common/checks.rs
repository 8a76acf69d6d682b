// SPDX-License-Identifier: MPL-2.0
//! Whether all words are there once, in order, and in their place.

use super::*;

/// The numbers of the words in a text, whatever the language.
pub fn numbers(text: &str) -> Vec<u32> {
    text.split_whitespace()
        .map(|word| {
            word.trim_start_matches(char::is_alphabetic)
                .parse()
                .unwrap()
        })
        .collect()
}

/// When a cue that is shown from `start` on has been read, at 20 characters a second.
pub fn reading_end(text: &str, start: u64) -> u64 {
    start + 50 * text.chars().count() as u64
}

/// Every word once and in order, every cue where its words were said, to 100 ms.
pub fn check_cues(speech: &Speech, cues: &[(String, u64, u64)], offset_ms: u64) {
    check_cues_within(100, speech, cues, offset_ms);
}

/// Likewise, to this many milliseconds.
pub(super) fn check_cues_within(
    tolerance: u64,
    speech: &Speech,
    cues: &[(String, u64, u64)],
    offset_ms: u64,
) {
    let heard: Vec<u32> = cues.iter().flat_map(|(text, ..)| numbers(text)).collect();
    assert_eq!(heard, speech.numbers(), "every word once, in order");
    let mut last_end = 0;
    for (text, start, end) in cues {
        let words = numbers(text);
        let truth = |n: u32| speech.truth.iter().find(|(m, ..)| *m == n).unwrap();
        let begins = truth(words[0]).1 + offset_ms;
        let ends = truth(*words.last().unwrap()).2 + offset_ms;
        assert!(
            start.abs_diff(begins) <= tolerance,
            "'{text}' starts at {start}, said at {begins}"
        );
        // These words are said much faster than they are read.
        let read = reading_end(text, *start);
        assert!(
            end + tolerance >= ends && *end <= ends.max(read) + tolerance,
            "'{text}' ends at {end}, said until {ends}"
        );
        assert!(
            *start >= last_end,
            "'{text}' at {start} overlaps what ends at {last_end}"
        );
        last_end = *end;
    }
}

/// Cues of an SRT file: text, begin and end in milliseconds.
pub fn srt(text: &str) -> Vec<(String, u64, u64)> {
    let time = |text: &str| {
        let numbers: Vec<u64> = text
            .trim()
            .split([':', ','])
            .map(|n| n.parse().unwrap())
            .collect();
        ((numbers[0] * 60 + numbers[1]) * 60 + numbers[2]) * 1000 + numbers[3]
    };
    text.split("\n\n")
        .filter(|block| !block.trim().is_empty())
        .map(|block| {
            let mut lines = block.trim().lines().skip(1);
            let (start, end) = lines.next().unwrap().split_once("-->").unwrap();
            (lines.collect::<Vec<_>>().join(" "), time(start), time(end))
        })
        .collect()
}
