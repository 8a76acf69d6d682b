// SPDX-License-Identifier: MPL-2.0
//! How well a text reads when it is broken at a place: costs of breaks, for the cues of `layout` and
//! for the lines of a cue. Text that people read at once belongs together: words of scripts without
//! spaces, which a dictionary knows, and an article and its noun.

use icu_segmenter::WordSegmenter;
use icu_segmenter::options::WordBreakInvariantOptions;
use unicode_linebreak::{BreakClass, break_property};

use super::text::{Boundary, Break, is_unspaced};

const COST_CLAUSE: u64 = 250;
const COST_LINE: u64 = 500;
const COST_TIGHT: u64 = 700;
/// Within a word of Chinese or Japanese.
const COST_WITHIN_WORD: u64 = 1200;
pub(super) const COST_CLUSTER: u64 = 100_000;

/// A break after one of the words below costs so much more.
const COST_AFTER_ARTICLE: u64 = 600;
const COST_AFTER_PREPOSITION: u64 = 150;

/// Of the languages that have articles and are written in Latin letters. What is something else in
/// another language is short there, too, and no good end of a line.
const ARTICLES: &[&str] = &[
    "a", "an", "the", // English
    "der", "die", "das", "den", "dem", "des", "ein", "eine", "einen", "einem",
    "einer", // German
    "le", "la", "les", "un", "une", "du", // French
    "el", "los", "las", "una", "unos", "unas", // Spanish
    "il", "lo", "gli", "uno", // Italian
    "o", "os", "as", "um", "uma", // Portuguese
    "de", "het", "een", // Dutch
    "my", "your", "his", "her", "its", "our", "their",
];

/// Prepositions and conjunctions: the line ends better before them.
const PREPOSITIONS: &[&str] = &[
    "and", "or", "but", "nor", "of", "to", "in", "on", "at", "by", "for", "from", "with", "into",
    "through", "over", "under", "about", "after", "before", "that", "than", "if", "und", "oder",
    "von", "zu", "mit", "et", "ou", "à", "y", "e", "en", "con", "por", "para",
];

/// Costs of a break at each of the `boundaries` of `text`.
pub(super) fn break_costs(text: &str, boundaries: &[Boundary]) -> Vec<u64> {
    let word_ends = word_ends(text);
    let cost = |boundary: &Boundary| {
        let (before, after) = text.split_at_checked(boundary.start).unwrap_or_default();
        let [last, next] = [before.chars().next_back(), after.chars().next()];
        let is_word_end = || word_ends.binary_search(&boundary.start).is_ok();
        let is_within_run = || last.is_some_and(is_unspaced) && next.is_some_and(is_unspaced);
        match boundary.kind {
            Break::Sentence => 0,
            Break::Clause => COST_CLAUSE,
            Break::Line if boundary.start > boundary.end => {
                let before = before.get(..boundary.end).unwrap_or_default();
                COST_LINE + cost_after(before)
            }
            Break::Line if is_within_run() && !is_word_end() => COST_WITHIN_WORD,
            Break::Line => COST_LINE,
            Break::Tight => COST_TIGHT,
            // UAX #14 has no rules for scripts such as Thai.
            Break::Cluster if is_complex(last) && is_complex(next) && is_word_end() => COST_LINE,
            Break::Cluster => COST_CLUSTER,
        }
    };
    boundaries.iter().map(cost).collect()
}

fn is_complex(c: Option<char>) -> bool {
    c.is_some_and(|c| break_property(u32::from(c)) == BreakClass::ComplexContext)
}

/// What a break after the text `before` costs in addition to one after any other word.
fn cost_after(before: &str) -> u64 {
    let word = before.rsplit(char::is_whitespace).next();
    let word = word.unwrap_or_default().to_lowercase();
    let word = word.trim_start_matches(|c: char| !c.is_alphanumeric());
    match word {
        _ if ARTICLES.contains(&word) => COST_AFTER_ARTICLE,
        _ if PREPOSITIONS.contains(&word) => COST_AFTER_PREPOSITION,
        _ => 0,
    }
}

/// Where words end, in bytes, if `text` has any in scripts without spaces.
fn word_ends(text: &str) -> Vec<usize> {
    if !text.chars().any(is_unspaced) {
        return Vec::new();
    }
    let segmenter = WordSegmenter::new_dictionary(WordBreakInvariantOptions::default());
    segmenter.segment_str(text).collect()
}

#[cfg(test)]
mod tests {
    use super::super::text::boundaries;
    use super::*;

    /// The cost of a break at the bar.
    fn cost(text: &str) -> u64 {
        let at = text.find('|').unwrap();
        let text = text.replace('|', "");
        let boundaries = boundaries(&text);
        let index = boundaries.iter().position(|boundary| boundary.start == at);
        break_costs(&text, &boundaries)[index.unwrap()]
    }

    #[test]
    fn costs() {
        for (better, worse) in [
            ("We left. |They stayed", "We left, |they stayed"),
            ("We left, |they stayed", "We |left, they stayed"),
            ("We |left", "The |house"),
            ("We saw |the house", "We saw the |house"),
            ("bread |and butter", "bread and |butter"),
            ("the man |of the house", "the man of |the house"),
            ("The |house", "hou|se"),
            ("Haus |der Kunst", "Haus der |Kunst"),
            ("今天，|天气", "今天|天气"),
            ("今天|天气", "今天天|气"),
            ("我们用|东京大学", "我们用东|京大学"),
            ("東京は|雨です", "東|京は雨です"),
            ("สวัสดี|ครับ", "สวัส|ดีครับ"),
            ("用|GStreamer", "用GStr|eamer"),
        ] {
            let costs = [better, worse].map(cost);
            assert!(costs[0] < costs[1], "{better}, {worse}: {costs:?}");
        }
    }
}
