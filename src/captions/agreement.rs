// SPDX-License-Identifier: MPL-2.0
//! How much of a growing text may be shown for good (the field calls it *LocalAgreement*).
//!
//! The service sends hypotheses of an utterance: a confirmed text that only grows, followed by a
//! tentative one that may change. [`Agreement`] keeps the newest hypothesis, knows how much of it
//! has been shown, and says how much more may be:
//!
//! - Confirmed text. A confirmed text may end within a word, so its final word counts only once it
//!   is surely complete: another word follows it, confirmed or not; white space or the mark of a
//!   clause ends it; or the text did not change for [`SETTLE_TIME`].
//! - Text that successive hypotheses, at least two, have agreed on for [`AGREE_TIME`], except for
//!   its final word, or in scripts without spaces the final two tokens after the latest mark. No
//!   confirmation is needed for that: a word that is wrong for so long is rare, and the first words
//!   stay unconfirmed for many seconds.
//! - Text that is due, as it stands. Only the very last word, which may still grow, must be the
//!   same as in the previous hypothesis: better late than torn.
//!
//! A later hypothesis or the final text may differ from what was shown. It is then aligned with
//! that, and goes on after the place that corresponds to the latest word shown. Marks that arrive
//! after their word was shown are left out.

use std::time::Duration;

use super::text::{ends_clause, normalise};
use super::tokens::{Script, Token, tokens};
use crate::timeline::Timestamp;

/// A confirmed text that has not changed for this much audio ends with a complete word.
const SETTLE_TIME: Duration = Duration::from_millis(500);

/// Text that has not changed for this much audio is agreed on.
const AGREE_TIME: Duration = Duration::from_millis(200);

/// Part of a clause that is worth showing before its deadline, in columns.
const MIN_RUN: usize = 8;

/// The same for scripts in which such a part may end within a word: a whole line.
const MIN_COMPLEX_RUN: usize = 40;

/// Upper bound of the tokens that are aligned; bounds the search.
const MAX_ALIGNED: usize = 200;

const SCORE_MATCH: i32 = 2;
const SCORE_DIFFERENT: i32 = -1;

/// Since when a token and all before it have been unchanged.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// End of the audio sent by then.
    since: Timestamp,
    /// Whether more than one hypothesis contained it.
    again: bool,
}

/// How much of the text of one utterance has been shown, and how much may be.
#[derive(Debug, Default)]
pub(super) struct Agreement {
    /// The newest hypothesis, normalised.
    text: String,
    tokens: Vec<Token>,
    /// One for each token.
    seen: Vec<Seen>,
    /// Number of tokens that have been shown, or stand in the place of those that have.
    done: usize,
    /// Number of tokens that are confirmed and complete.
    confirmed: usize,
    /// End of the audio sent so far.
    audio_end: Timestamp,
    is_final: bool,
    /// Keys of all tokens shown.
    shown: Vec<String>,
}

impl Agreement {
    /// Takes in a hypothesis: the confirmed `text` and the tentative `stash` after it. Audio had been
    /// sent up to `audio_end`.
    pub fn interim(&mut self, text: &str, stash: &str, audio_end: Timestamp) {
        self.audio_end = self.audio_end.max(audio_end);
        self.update(normalise(&[text, stash].concat()));
        self.confirmed = self.count_confirmed(text);
    }

    /// The utterance is being heard again from its start: agreement on its text begins anew. Audio
    /// has been sent up to `audio_end`.
    pub fn restart(&mut self, audio_end: Timestamp) {
        self.audio_end = audio_end;
        self.seen.fill(Seen {
            since: audio_end,
            again: false,
        });
    }

    /// Takes in the final text.
    pub fn finalise(&mut self, text: &str) {
        self.update(normalise(text));
        self.is_final = true;
    }

    /// No final text will come: the newest hypothesis stands for it.
    pub fn give_up(&mut self) {
        self.is_final = true;
    }

    /// The newest hypothesis, normalised.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Columns of the newest hypothesis.
    pub fn columns(&self) -> usize {
        self.tokens.last().map_or(0, |last| last.to)
    }

    /// The first column that has not been shown.
    pub fn next_column(&self) -> usize {
        let next = self.tokens.get(self.done);
        next.map_or_else(|| self.columns(), |next| next.from)
    }

    /// Whether there is any text that has not been shown.
    pub fn has_pending(&self) -> bool {
        self.done < self.tokens.len()
    }

    /// The next tokens that may be shown now.
    pub fn ready(&self) -> &[Token] {
        self.pending(self.count_ready())
    }

    /// The next tokens that may be shown if their deadline has come.
    pub fn ready_if_due(&self) -> &[Token] {
        let count = self.tokens.len();
        let last_may_grow = !self.is_final && self.seen.last().is_some_and(|last| !last.again);
        let due = count.saturating_sub(usize::from(last_may_grow));
        self.pending(due.max(self.count_ready()))
    }

    /// The next `count` tokens have been shown.
    pub fn show(&mut self, count: usize) {
        let end = self.done.saturating_add(count).min(self.tokens.len());
        let shown = self.tokens.get(self.done..end).unwrap_or_default();
        self.shown
            .extend(shown.iter().map(|token| token.key.clone()));
        self.done = end;
    }

    fn pending(&self, end: usize) -> &[Token] {
        self.tokens.get(self.done..end).unwrap_or_default()
    }

    fn update(&mut self, text: String) {
        if text == self.text {
            self.seen.iter_mut().for_each(|seen| seen.again = true);
            return;
        }
        let tokens = tokens(&text);
        let same = |(old, new): &(&Token, &Token)| {
            self.text.get(old.start..old.end) == text.get(new.start..new.end)
        };
        let both = self.tokens.iter().zip(&tokens);
        let common = both.take_while(same).count();
        self.seen.truncate(common);
        self.seen.iter_mut().for_each(|seen| seen.again = true);
        let new = Seen {
            since: self.audio_end,
            again: false,
        };
        self.seen.resize(tokens.len(), new);
        if !self.is_aligned_for(common) {
            let keys: Vec<_> = tokens.iter().map(|token| token.key.as_str()).collect();
            self.done = align(&self.shown, &keys);
        }
        self.tokens = tokens;
        self.text = text;
    }

    /// Whether a text that begins with the same `common` tokens need not be aligned again: what
    /// corresponds to the last word shown is equal to it, and is not just where the text ended.
    fn is_aligned_for(&self, common: usize) -> bool {
        let last = self.done.checked_sub(1).and_then(|at| self.tokens.get(at));
        let equal = last.map(|last| &last.key) == self.shown.last();
        equal && self.done <= common && self.done < self.tokens.len()
    }

    fn count_confirmed(&self, text: &str) -> usize {
        let normal = normalise(text);
        let within = |token: &Token| token.end <= normal.len();
        let count = self.tokens.partition_point(within);
        // A token that is not the last one has a successor.
        let complete = count < self.tokens.len()
            || text.ends_with(char::is_whitespace)
            || ends_clause(&normal)
            || self.unchanged_for(SETTLE_TIME) >= count;
        count.saturating_sub(usize::from(!complete))
    }

    /// Number of tokens that have not changed for this much audio.
    fn unchanged_for(&self, audio: Duration) -> usize {
        self.seen
            .partition_point(|seen| self.audio_end.since(seen.since) >= audio)
    }

    fn count_agreed(&self) -> usize {
        let count = self.unchanged_for(AGREE_TIME);
        let agreed = self.tokens.get(..count).unwrap_or_default();
        let most = match agreed.last() {
            Some(last) if last.in_run() => 2,
            _ => 1,
        };
        let may_change = |token: &&Token| {
            let text = self.text.get(token.start..token.end);
            !(token.in_run() && text.is_some_and(ends_clause))
        };
        let last = agreed.iter().rev().take(most);
        count.saturating_sub(last.take_while(may_change).count())
    }

    fn count_ready(&self) -> usize {
        if self.is_final {
            return self.tokens.len();
        }
        let ready = self.confirmed.max(self.count_agreed()).max(self.done);
        self.without_scrap(ready)
    }

    /// `end`, or the start of the unspaced run that goes on there, if only a scrap of that run
    /// would be shown.
    fn without_scrap(&self, end: usize) -> usize {
        let goes_on = self.tokens.get(end).is_some_and(|next| next.joins);
        let pending = self.pending(end);
        let start = pending.iter().rposition(|token| !token.joins);
        let run = pending.get(start.unwrap_or(0)..).unwrap_or_default();
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            return end;
        };
        let complex = run.iter().any(|token| token.script == Script::Complex);
        let least = if complex { MIN_COMPLEX_RUN } else { MIN_RUN };
        if goes_on && last.to.saturating_sub(first.from) < least {
            end.saturating_sub(run.len())
        } else {
            end
        }
    }
}

/// The number of tokens of a text with the keys `text` that correspond to what was `shown`.
fn align(shown: &[String], text: &[&str]) -> usize {
    let (mut same, mut start) = common_words(shown, text);
    // Far from the end of what was shown, one for one is good enough.
    let excess = shown.len().saturating_sub(same.saturating_add(MAX_ALIGNED));
    same = same.saturating_add(excess);
    start = start.saturating_add(excess).min(text.len());
    let shown = shown.get(same..).unwrap_or_default();
    let text = text.get(start..).unwrap_or_default();
    let reach = shown.len().saturating_mul(2).saturating_add(8);
    let text = text.get(..reach).unwrap_or(text);
    start.saturating_add(best_end(shown, text))
}

/// The longest common text of `left` and `right` that ends with a word in both, wherever the words
/// before end: how many of each.
fn common_words(left: &[String], right: &[&str]) -> (usize, usize) {
    let mut lefts = left.iter().map(String::as_str).enumerate();
    let mut rights = right.iter().copied().enumerate();
    let mut common = (0, 0);
    let (mut counts, mut rest) = ((0, 0), ("", ""));
    loop {
        if rest.0.is_empty() && rest.1.is_empty() {
            common = counts;
        }
        if rest.0.is_empty() {
            let Some((index, key)) = lefts.next() else {
                return common;
            };
            (counts.0, rest.0) = (index + 1, key); // of a list in memory
        }
        if rest.1.is_empty() {
            let Some((index, key)) = rights.next() else {
                return common;
            };
            (counts.1, rest.1) = (index + 1, key); // of a list in memory
        }
        if let Some(more) = rest.0.strip_prefix(rest.1) {
            rest = (more, "");
        } else if let Some(more) = rest.1.strip_prefix(rest.0) {
            rest = ("", more);
        } else {
            return common;
        }
    }
}

/// A score, and the number of equal words in it.
type Score = (i32, u32);

/// How many words of `text` correspond best to all of `shown`: an edit distance in which equal
/// words also make up for missing ones, so that none is shown twice. Of equally good ones the
/// longest.
fn best_end(shown: &[String], text: &[&str]) -> usize {
    let matching = |score: Score| (score.0.saturating_add(SCORE_MATCH), score.1 + 1);
    let differing = |score: Score| (score.0.saturating_add(SCORE_DIFFERENT), score.1);
    let first = std::iter::successors(Some((0, 0)), |score| Some(differing(*score)));
    // Scores of the words shown so far against each beginning of the text.
    let mut row: Vec<Score> = first.take(text.len().saturating_add(1)).collect();
    let mut older: Vec<Score> = Vec::new();
    let mut before = None::<&str>;
    for word in shown {
        let mut next: Vec<Score> = Vec::with_capacity(row.len());
        next.extend(row.first().copied().map(differing));
        let mut previous = None::<&str>;
        for (at, key) in text.iter().copied().enumerate() {
            let diagonal = row.get(at).copied().unwrap_or_default();
            let mut best = match () {
                () if word == key => matching(diagonal),
                // A torn word.
                () if word.starts_with(key) || key.starts_with(word.as_str()) => diagonal,
                () => differing(diagonal),
            };
            let missing = row.get(at + 1).copied().map(differing); // `at` is an index
            let extra = next.last().copied().map(differing);
            // One word that was two, and two that were one.
            let joined = before
                .filter(|before| is_joined(key, before, word))
                .and(older.get(at).copied().map(matching));
            let parted = previous
                .filter(|previous| is_joined(word, previous, key))
                .and(at.checked_sub(1).and_then(|at| row.get(at)))
                .copied()
                .map(matching);
            for other in [missing, extra, joined, parted].into_iter().flatten() {
                best = best.max(other);
            }
            next.push(best);
            previous = Some(key);
        }
        before = Some(word);
        older = std::mem::replace(&mut row, next);
    }
    let best = row.iter().enumerate().max_by_key(|(_, score)| **score);
    best.map_or(0, |(end, _)| end)
}

/// Whether `word` is `first` and `second`.
fn is_joined(word: &str, first: &str, second: &str) -> bool {
    word.strip_prefix(first) == Some(second)
}

#[cfg(test)]
mod tests;
