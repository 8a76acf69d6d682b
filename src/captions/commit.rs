// SPDX-License-Identifier: MPL-2.0

//! What of a growing text may be shown for good.
//!
//! The service sends hypotheses of an utterance: a confirmed text that only
//! grows, and a tentative one after it that may change. [`CommitTracker`] keeps
//! the newest hypothesis and knows how much of it has been shown. It says how
//! much more may be, by these rules:
//!
//! - What the service confirmed, but its last word only when that is complete
//!   for sure: a confirmed text may end within a word. It is complete if there
//!   is another word after it, confirmed or not, if white space or the mark of
//!   a clause ends it, or if the text did not change for [`SETTLE_TIME`].
//! - What successive hypotheses agree on for [`AGREE_TIME`], which takes at
//!   least two of them, but the last word of that, or in scripts without spaces
//!   the last two segments after the last mark. This is enough without any confirmation: a word
//!   that is wrong for so long is rare, and the first words are not confirmed
//!   for many seconds.
//! - What is due, as it stands. The last word of all may still grow, so it is
//!   due only if it is the same as in the hypothesis before: better late than
//!   torn.
//!
//! A new hypothesis, or the final text, may differ from what was shown. Then it
//! is aligned with that, and goes on after the place that corresponds to the
//! last word shown. Marks that come after their word was shown are left out.

use super::text::{ends_clause, normalise};
use super::words::{Script, Segment, segments};

/// A confirmed text that did not change for this long, in nanoseconds of audio
/// sent, ends with a complete word.
pub const SETTLE_TIME: u64 = 500_000_000;

/// What did not change for this long, in nanoseconds of audio sent, is agreed.
pub const AGREE_TIME: u64 = 200_000_000;

/// Columns of a part of a clause that is worth showing before it must be.
const MIN_RUN: usize = 8;

/// The same for scripts in which that may divide a word: a line.
const MIN_COMPLEX_RUN: usize = 40;

/// Segments that are aligned, at most: bounds the search.
const MAX_ALIGNED: usize = 200;

const SCORE_MATCH: i32 = 2;
const SCORE_DIFFERENT: i32 = -1;

/// Since when a segment and all before it have been as they are.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// Time of the newest audio sent then, in nanoseconds.
    since: u64,
    /// Whether more than one hypothesis had it.
    again: bool,
}

/// How much of the text of one utterance has been shown, and how much may be.
#[derive(Debug, Default)]
pub(super) struct CommitTracker {
    /// The newest hypothesis, normalised.
    text: String,
    segments: Vec<Segment>,
    /// One for each segment.
    seen: Vec<Seen>,
    /// Number of segments that are shown or stand for what is.
    done: usize,
    /// Number of segments that are confirmed and complete.
    confirmed: usize,
    /// Time of the newest audio sent, in nanoseconds.
    heard: u64,
    is_final: bool,
    /// Keys of all that was shown.
    shown: Vec<String>,
}

impl CommitTracker {
    /// Takes in a hypothesis: the confirmed `text` and the tentative `stash`
    /// after it. The newest audio sent was of the time `heard`, in nanoseconds.
    pub fn interim(&mut self, text: &str, stash: &str, heard: u64) {
        self.heard = self.heard.max(heard);
        self.update(normalise(&[text, stash].concat()));
        self.confirmed = self.count_confirmed(text);
    }

    /// Takes in the final text.
    pub fn last(&mut self, text: &str) {
        self.update(normalise(text));
        self.is_final = true;
    }

    /// Takes the newest hypothesis for the final text.
    pub fn give_up(&mut self) {
        self.is_final = true;
    }

    /// The newest hypothesis, normalised.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Columns of the newest hypothesis.
    pub fn columns(&self) -> usize {
        self.segments.last().map_or(0, |last| last.to)
    }

    /// The first column that has not been shown.
    pub fn next_column(&self) -> usize {
        let next = self.segments.get(self.done);
        next.map_or_else(|| self.columns(), |next| next.from)
    }

    /// Whether there is any text that has not been shown.
    pub fn has_pending(&self) -> bool {
        self.done < self.segments.len()
    }

    /// The segments to be shown next that need not wait.
    pub fn ready(&self) -> &[Segment] {
        self.pending(self.count_ready())
    }

    /// The segments to be shown next that may be if they are due.
    pub fn ready_if_due(&self) -> &[Segment] {
        let count = self.segments.len();
        let last_may_grow = !self.is_final && self.seen.last().is_some_and(|last| !last.again);
        let due = count.saturating_sub(usize::from(last_may_grow));
        self.pending(due.max(self.count_ready()))
    }

    /// The next `count` segments have been shown.
    pub fn show(&mut self, count: usize) {
        let end = self.done.saturating_add(count).min(self.segments.len());
        let shown = self.segments.get(self.done..end).unwrap_or_default();
        self.shown.extend(shown.iter().map(|seg| seg.key.clone()));
        self.done = end;
    }

    fn pending(&self, end: usize) -> &[Segment] {
        self.segments.get(self.done..end).unwrap_or_default()
    }

    fn update(&mut self, text: String) {
        if text == self.text {
            self.seen.iter_mut().for_each(|seen| seen.again = true);
            return;
        }
        let segments = segments(&text);
        let same = |(old, new): &(&Segment, &Segment)| {
            self.text.get(old.start..old.end) == text.get(new.start..new.end)
        };
        let both = self.segments.iter().zip(&segments);
        let common = both.take_while(same).count();
        self.seen.truncate(common);
        self.seen.iter_mut().for_each(|seen| seen.again = true);
        let new = Seen {
            since: self.heard,
            again: false,
        };
        self.seen.resize(segments.len(), new);
        if !self.is_aligned_for(common) {
            let keys: Vec<_> = segments.iter().map(|seg| seg.key.as_str()).collect();
            self.done = align(&self.shown, &keys);
        }
        self.segments = segments;
        self.text = text;
    }

    /// Whether a text that begins with the same `common` segments need not be
    /// aligned again: what corresponds to the last word shown is equal to it,
    /// and is not just where the text ended.
    fn is_aligned_for(&self, common: usize) -> bool {
        let last = self
            .done
            .checked_sub(1)
            .and_then(|at| self.segments.get(at));
        let equal = last.map(|last| &last.key) == self.shown.last();
        equal && self.done <= common && self.done < self.segments.len()
    }

    fn count_confirmed(&self, text: &str) -> usize {
        let normal = normalise(text);
        let within = |segment: &Segment| segment.end <= normal.len();
        let count = self.segments.partition_point(within);
        // A segment that is not the last one has a successor.
        let complete = count < self.segments.len()
            || text.ends_with(char::is_whitespace)
            || ends_clause(&normal)
            || self.unchanged_for(SETTLE_TIME) >= count;
        count.saturating_sub(usize::from(!complete))
    }

    /// Number of segments that did not change for `time` nanoseconds.
    fn unchanged_for(&self, time: u64) -> usize {
        self.seen
            .partition_point(|seen| self.heard.saturating_sub(seen.since) >= time)
    }

    fn count_agreed(&self) -> usize {
        let count = self.unchanged_for(AGREE_TIME);
        let agreed = self.segments.get(..count).unwrap_or_default();
        let most = match agreed.last() {
            Some(last) if last.in_run() => 2,
            _ => 1,
        };
        let may_change = |segment: &&Segment| {
            let text = self.text.get(segment.start..segment.end);
            !(segment.in_run() && text.is_some_and(ends_clause))
        };
        let last = agreed.iter().rev().take(most);
        count.saturating_sub(last.take_while(may_change).count())
    }

    fn count_ready(&self) -> usize {
        if self.is_final {
            return self.segments.len();
        }
        let ready = self.confirmed.max(self.count_agreed()).max(self.done);
        self.without_scrap(ready)
    }

    /// `end`, or where the run that goes on there begins, if too little of it
    /// would be shown.
    fn without_scrap(&self, end: usize) -> usize {
        let goes_on = self.segments.get(end).is_some_and(|next| next.joins);
        let pending = self.pending(end);
        let begin = pending.iter().rposition(|segment| !segment.joins);
        let run = pending.get(begin.unwrap_or(0)..).unwrap_or_default();
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            return end;
        };
        let complex = run.iter().any(|segment| segment.script == Script::Complex);
        let least = if complex { MIN_COMPLEX_RUN } else { MIN_RUN };
        if goes_on && last.to.saturating_sub(first.from) < least {
            end.saturating_sub(run.len())
        } else {
            end
        }
    }
}

/// The number of segments of a text with the keys `text` that correspond to
/// what was `shown`.
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

/// The longest common text of `left` and `right` that ends with a word in both,
/// wherever the words before end: how many of each.
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

/// How many words of `text` correspond best to all of `shown`: an edit distance
/// in which equal words also make up for missing ones, so that none is shown
/// twice. Of equally good ones the longest.
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
#[path = "commit_tests.rs"]
mod tests;
