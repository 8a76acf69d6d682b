// SPDX-License-Identifier: MPL-2.0
//! The words of a sentence with their times, if these are useful.
//!
//! Some models and servers give times that are all the same, in another unit or of another
//! sentence. Captions that follow them are seconds off, while captions without word times are
//! hardly half a second off. So useless times count as absent. The codec calls [`timed`] with each
//! result.

use serde_json::Value;

use crate::protocol::WordTime;
use crate::protocol::json::count_of;
use crate::protocol::texts::{MAX_TEXT, said};

/// How far a word may lie outside its sentence, in milliseconds.
const TOLERANCE_MS: u64 = 500;

/// Words that may start at the same time in any sentence; in a long one a third of them may.
const MAX_TOGETHER: usize = 3;

/// The sentence's words with their times, if these are useful; `end` is known of a final sentence
/// only.
pub(super) fn timed(sentence: &Value, begin: Option<u64>, end: Option<u64>) -> Vec<WordTime> {
    let words = words(sentence);
    let length: usize = words.iter().map(|word| word.text.len()).sum();
    if length <= MAX_TEXT && are_useful(&words, begin, end) {
        words
    } else {
        Vec::new()
    }
}

fn words(sentence: &Value) -> Vec<WordTime> {
    let words = sentence["words"].as_array().map_or(&[][..], Vec::as_slice);
    let words = words.iter().filter_map(|word| {
        Some(WordTime {
            text: Some(said(word, "text")).filter(|text| !text.is_empty())?,
            begin_ms: count_of(word, "begin_time")?,
            end_ms: count_of(word, "end_time")?,
        })
    });
    words.take(MAX_TEXT).collect()
}

/// Whether the times never decrease, lie within the sentence and spread over at least half of it.
fn are_useful(words: &[WordTime], begin: Option<u64>, end: Option<u64>) -> bool {
    let (Some(first), Some(last)) = (words.first(), words.last()) else {
        return false;
    };
    let begin = begin.unwrap_or(first.begin_ms);
    let end = end.unwrap_or(last.end_ms);
    let never_fall = words.iter().all(|word| word.begin_ms <= word.end_ms)
        && words
            .windows(2)
            .all(|pair| pair[0].begin_ms <= pair[1].begin_ms && pair[0].end_ms <= pair[1].end_ms);
    let inside = first.begin_ms.saturating_add(TOLERANCE_MS) >= begin
        && last.end_ms <= end.saturating_add(TOLERANCE_MS);
    never_fall && inside && are_spread(words, end.saturating_sub(begin))
}

fn are_spread(words: &[WordTime], length_ms: u64) -> bool {
    let count = words.len();
    let begin = |at: usize| words[at].begin_ms;
    // Of n evenly spread words, the first and the n-th start (n-1)/n of the sentence apart.
    let spread = u128::from(begin(count - 1) - begin(0)) * 2 * count as u128;
    let needed = u128::from(length_ms) * (count as u128 - 1);
    let together = words
        .chunk_by(|a, b| a.begin_ms == b.begin_ms)
        .map(<[_]>::len)
        .max();
    length_ms > 0 && spread >= needed && together <= Some(MAX_TOGETHER.max(count / 3))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const COUNT: u64 = 40;
    const BEGIN: u64 = 500;
    const LENGTH: u64 = 12_000;

    /// The number of words with times in a twelve-second sentence whose n-th word has this start
    /// and end.
    fn kept(end: Option<u64>, time: impl Fn(u64) -> (u64, u64)) -> usize {
        let word = |n| {
            let (begin, end) = time(n);
            json!({"text": format!("n{n}"), "begin_time": begin, "end_time": end})
        };
        let words: Vec<Value> = (0..COUNT).map(word).collect();
        timed(&json!({ "words": words }), Some(BEGIN), end).len()
    }

    /// The start of the n-th of evenly spread words.
    fn at(n: u64) -> u64 {
        BEGIN + n * LENGTH / COUNT
    }

    #[test]
    fn times_count_if_they_tell_something() {
        let useful: [fn(u64) -> (u64, u64); 3] = [
            |n| (at(n), at(n + 1)),
            |n| (at(n - n % 3), at(n + 1)),
            // A pause before the end of the sentence was detected.
            |n| (at(n) * 9 / 10, at(n + 1) * 9 / 10),
        ];
        for (index, time) in useful.iter().enumerate() {
            for end in [Some(BEGIN + LENGTH), None] {
                assert_eq!(kept(end, time), COUNT as usize, "{index} {end:?}");
            }
        }
        let useless: [fn(u64) -> (u64, u64); 9] = [
            |_| (0, 0),
            |_| (BEGIN, BEGIN),
            |n| (at(n) / 1000, at(n + 1) / 1000),
            |n| {
                if n < COUNT / 2 {
                    (0, 0)
                } else {
                    (at(n), at(n + 1))
                }
            },
            |n| {
                if n % 2 == 0 {
                    (0, 0)
                } else {
                    (at(n), at(n + 1))
                }
            },
            |_| (BEGIN, BEGIN + LENGTH),
            |n| (at(n) + 2 * LENGTH, at(n + 1) + 2 * LENGTH),
            |n| (at(COUNT - n), at(COUNT - n)),
            |n| (at(n + 1), at(n)),
        ];
        for (index, time) in useless.iter().enumerate() {
            assert_eq!(kept(Some(BEGIN + LENGTH), time), 0, "{index}");
        }
    }

    #[test]
    fn short_sentences_keep_theirs() {
        for (times, kept) in [
            (&[(160, 520)][..], true),
            (&[(160, 900), (900, 1100)], true),
            (&[(160, 500), (500, 1100)], true),
            (&[(160, 160)], true),
            (&[(160, 1100), (160, 1100)], false),
            (&[], false),
        ] {
            let word = |(begin, end): &(u64, u64)| json!({"text": "x", "begin_time": begin, "end_time": end});
            let words: Vec<Value> = times.iter().map(word).collect();
            let timed = timed(&json!({ "words": words }), Some(160), Some(1100));
            assert_eq!(!timed.is_empty(), kept, "{times:?}");
        }
    }

    #[test]
    fn impossible_numbers_are_borne() {
        let words =
            json!([{"text": "x", "begin_time": 1e300, "end_time": 1e308}, {"text": 7}, null]);
        for (begin, end) in [
            (None, None),
            (Some(u64::MAX), Some(0)),
            (Some(0), Some(u64::MAX)),
        ] {
            timed(&json!({ "words": words }), begin, end);
        }
    }
}
