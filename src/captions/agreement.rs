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
//! A later hypothesis or the final text may differ from what was shown. It is then aligned with the
//! hypothesis before it, and goes on after the place that corresponds to the latest word shown, so
//! a word may come out wrong, but none is missing (see `alignment`). Marks that arrive after their
//! word was shown are left out.
//!
//! A service that changes text that it had confirmed is not taken at its word any more: see
//! [`Agreement::is_contradicted`] and [`Agreement::distrust`].

use std::time::Duration;

use super::alignment::align;
use super::text::{ends_clause, normalise};
use super::tokens::{Script, Token, key, tokens};
use crate::timeline::Timestamp;

/// A confirmed text that has not changed for this much audio ends with a complete word.
const SETTLE_TIME: Duration = Duration::from_millis(500);

/// Text that has not changed for this much audio is agreed on.
const AGREE_TIME: Duration = Duration::from_millis(200);

/// Part of a clause that is worth showing before its deadline, in columns.
const MIN_RUN: usize = 8;

/// The same for scripts in which such a part may end within a word: a whole line.
const MIN_COMPLEX_RUN: usize = 40;

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
    /// Confirmed text counts no more than any other.
    distrusts: bool,
    /// Key of the text confirmed so far.
    promised: String,
    is_contradicted: bool,
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
        self.check_promise();
        self.promised = key(&normalise(text));
        self.confirmed = self.count_confirmed(text);
    }

    /// Whether the service changed text that it had confirmed. Case and punctuation do not count.
    pub fn is_contradicted(&self) -> bool {
        self.is_contradicted
    }

    /// From now on only the agreement of successive hypotheses counts.
    pub fn distrust(&mut self) {
        self.distrusts = true;
    }

    fn check_promise(&mut self) {
        self.is_contradicted |= !key(&self.text).starts_with(&self.promised);
    }

    /// The utterance is being heard again from its start: agreement on its text begins anew. Audio
    /// has been sent up to `audio_end`.
    pub fn restart(&mut self, audio_end: Timestamp) {
        self.audio_end = audio_end;
        self.promised.clear();
        self.seen.fill(Seen {
            since: audio_end,
            again: false,
        });
    }

    /// Takes in the final text.
    pub fn finalise(&mut self, text: &str) {
        self.update(normalise(text));
        // A blank one says that the utterance was reported as part of another.
        if !self.tokens.is_empty() {
            self.check_promise();
        }
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
            let pending = self.tokens.get(self.done..).unwrap_or_default();
            self.done = align(&self.shown, &keys(pending), &keys(&tokens));
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
        let confirmed = if self.distrusts { 0 } else { self.confirmed };
        let ready = confirmed.max(self.count_agreed()).max(self.done);
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

fn keys(tokens: &[Token]) -> Vec<&str> {
    tokens.iter().map(|token| token.key.as_str()).collect()
}

#[cfg(test)]
mod tests;
