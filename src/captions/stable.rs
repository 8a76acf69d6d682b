// SPDX-License-Identifier: MPL-2.0
//! Captions that are never taken back, before an utterance ends.
//!
//! [`Stable`] takes the hypotheses and final texts of utterances and gives out timed words. What it
//! gave out for an utterance is, but for white space, its final text; or where that differs from
//! what was shown already, what was shown and then the rest of the final text.
//!
//! Words come in the order of their times and do not overlap, those of different utterances
//! neither. The words of an utterance wait until the ones before are final, unless they are due.

use std::collections::VecDeque;

use super::agreement::Agreement;
use super::curve::Curve;
use super::tokens::Token;
use crate::transcript::Word;

/// Utterances that are open at the same time, at most.
const MAX_ITEMS: usize = 64;

/// How far apart the begins of the same utterance may be when it is heard again, in nanoseconds.
const BEGIN_TOLERANCE: u64 = 500_000_000;

/// Turns the growing texts of utterances into words. All times are in nanoseconds of stream time.
#[derive(Debug, Default)]
pub struct Stable {
    /// The open utterances, in the order in which they were spoken.
    items: Vec<Item>,
    /// End of the last word that was given out.
    shown: u64,
    /// The last utterances that had to be closed before their final text.
    closed: VecDeque<u64>,
}

impl Stable {
    /// Without any utterance.
    pub fn new() -> Self {
        Self::default()
    }

    /// A hypothesis of the utterance `item`, which began at `start` (what was said first counts):
    /// its confirmed `text` and the tentative `stash` after it, both in full. The newest audio sent
    /// so far was of the time `heard`. Both texts are empty if it is only known that someone began
    /// to speak.
    ///
    /// Adds to `out` the words that need not wait any longer.
    pub fn interim(
        &mut self,
        item: u64,
        text: &str,
        stash: &str,
        start: u64,
        heard: u64,
        out: &mut Vec<Word>,
    ) {
        if let Some(item) = self.open(item, start, out) {
            item.agreement.interim(text, stash, heard);
            match item.exact_curve() {
                Some(curve) => item.curve = curve,
                None => item.curve.observe(item.agreement.columns(), heard),
            }
            self.flush(out);
        }
    }

    /// When the words of the next hypothesis or of the final text of the utterance `item`, which
    /// began at `start`, were spoken, where the service tells: all of them. Without this they are
    /// interpolated.
    pub fn spoken(&mut self, item: u64, start: u64, words: Vec<Word>, out: &mut Vec<Word>) {
        if let Some(item) = self.open(item, start, out) {
            item.spoken = words;
        }
    }

    /// The final text of the utterance `item`, spoken from `start` to `end`; or the last
    /// hypothesis, if no final text will come. The utterance is forgotten.
    ///
    /// Adds to `out` the rest of its words, unless an utterance before is open: then they come
    /// after those, or when they are due.
    pub fn last(&mut self, item: u64, text: &str, start: u64, end: u64, out: &mut Vec<Word>) {
        if let Some(item) = self.open(item, start, out) {
            item.agreement.finalise(text);
            match item.exact_curve() {
                Some(mut curve) => {
                    curve.close();
                    item.curve = curve;
                }
                None => item.curve.finish(item.agreement.columns(), end),
            }
            item.is_final = true;
            self.give_up_cut(start);
            self.flush(out);
        }
    }

    /// The connection broke: what is open is heard again under other names, or gets its final text.
    /// One that begins where an open one did goes on with that, so that no word is shown twice.
    pub fn cut(&mut self) {
        for item in &mut self.items {
            item.is_cut = true;
        }
    }

    /// What starts at `position` or before must be shown now.
    ///
    /// Adds to `out` the words that do, but not one that may still grow. To be called whenever the
    /// deadline moves, and after every hypothesis.
    pub fn due(&mut self, position: u64, out: &mut Vec<Word>) {
        for item in &mut self.items {
            if item.next_start(self.shown) <= position {
                item.show_due(position, &mut self.shown, out);
            }
        }
        self.items
            .retain(|item| !item.is_final || item.agreement.has_pending());
        self.flush(out);
    }

    /// Where the next word may start: no gap may go beyond, unless the deadline of this position
    /// has passed. `None` if no utterance is open.
    ///
    /// It is the start of the first word that is known and was not given out; of an utterance
    /// without one it is the time up to which the text is known, at first its start.
    pub fn held(&self) -> Option<u64> {
        let starts = self.items.iter().map(|item| item.next_start(self.shown));
        starts.min()
    }

    /// The open utterance `id`, which is opened if it is new. `None` if its final text has come
    /// already.
    fn open(&mut self, id: u64, start: u64, out: &mut Vec<Word>) -> Option<&mut Item> {
        if let Some(index) = self.items.iter().position(|item| item.id == id) {
            return self.items.get_mut(index).filter(|item| !item.is_final);
        }
        if self.closed.contains(&id) {
            return None;
        }
        if let Some(index) = self.heard_again(start) {
            let item = self.items.get_mut(index)?;
            item.id = id;
            item.is_cut = false;
            item.curve = Curve::new(item.start);
            return Some(item);
        }
        if self.items.len() >= MAX_ITEMS {
            self.close_first(out);
        }
        let index = self.items.partition_point(|item| item.start <= start);
        self.items.insert(
            index,
            Item {
                id,
                start,
                agreement: Agreement::default(),
                curve: Curve::new(start),
                spoken: Vec::new(),
                is_final: false,
                is_cut: false,
            },
        );
        self.items.get_mut(index)
    }

    /// The utterance among those that were cut that begins nearest to `start`.
    fn heard_again(&self, start: u64) -> Option<usize> {
        let cut = self.items.iter().enumerate().filter_map(|(index, item)| {
            let apart = item.start.abs_diff(start);
            (item.is_cut && !item.is_final && apart <= BEGIN_TOLERANCE).then_some((apart, index))
        });
        cut.min().map(|(_, index)| index)
    }

    /// What was cut before `start` is not heard again any more.
    fn give_up_cut(&mut self, start: u64) {
        for item in &mut self.items {
            if item.is_cut && item.start <= start {
                item.agreement.give_up();
                item.is_final = true;
            }
        }
    }

    /// Gives up the first utterance; whatever comes for it is ignored.
    fn close_first(&mut self, out: &mut Vec<Word>) {
        if let Some(item) = self.items.first_mut() {
            item.agreement.give_up();
            item.is_final = true;
            self.closed.push_back(item.id);
            if self.closed.len() > MAX_ITEMS {
                self.closed.pop_front();
            }
            self.flush(out);
        }
    }

    /// Gives out what is ready of the first utterance, and of the next ones as long as those before
    /// are final.
    fn flush(&mut self, out: &mut Vec<Word>) {
        let mut finished = 0;
        for item in &mut self.items {
            item.show_ready(&mut self.shown, out);
            if !item.is_final {
                break;
            }
            finished += 1;
        }
        self.items.drain(..finished);
    }
}

/// An open utterance.
#[derive(Debug)]
struct Item {
    id: u64,
    start: u64,
    agreement: Agreement,
    curve: Curve,
    /// When the words of its newest text were spoken, if that is known.
    spoken: Vec<Word>,
    is_final: bool,
    /// The connection over which it was heard is gone.
    is_cut: bool,
}

impl Item {
    fn exact_curve(&self) -> Option<Curve> {
        Curve::exact(self.agreement.text(), &self.spoken, self.start)
    }

    /// When the next word starts at the earliest; all before `floor` is taken.
    fn next_start(&self, floor: u64) -> u64 {
        self.curve
            .time_after(self.agreement.next_column())
            .max(floor)
    }

    fn show_ready(&mut self, floor: &mut u64, out: &mut Vec<Word>) {
        let count = self.show(self.agreement.ready(), u64::MAX, floor, out);
        self.agreement.show(count);
    }

    fn show_due(&mut self, position: u64, floor: &mut u64, out: &mut Vec<Word>) {
        let count = self.show(self.agreement.ready_if_due(), position, floor, out);
        self.agreement.show(count);
    }

    /// Adds to `out` the words made of `tokens` that start at `latest` or before, from `floor` on:
    /// the number of tokens in them.
    fn show(&self, tokens: &[Token], latest: u64, floor: &mut u64, out: &mut Vec<Word>) -> usize {
        let words: Vec<_> = tokens.chunk_by(|_, next| next.joins).collect();
        let ends = words
            .iter()
            .filter_map(|word| word.first().zip(word.last()));
        let ends: Vec<_> = ends.collect();
        let spans: Vec<_> = ends.iter().map(|(a, b)| (a.from, b.to)).collect();
        let times = self.curve.times(&spans, *floor);
        let mut count = 0;
        for ((word, (first, last)), (start, end)) in words.iter().zip(&ends).zip(times) {
            if start > latest {
                break;
            }
            let text = self.agreement.text().get(first.start..last.end);
            out.push(Word {
                text: text.unwrap_or_default().to_owned(),
                start,
                end,
            });
            *floor = end;
            count += word.len();
        }
        count
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
