// SPDX-License-Identifier: MPL-2.0
//! How long a service takes to return words, and how fast people speak, learnt from the utterances
//! of a session. Used by `stable` for the times of words that the service does not give.
//!
//! Of a finished utterance the start and the end are known. Near them, where the pace of the speech
//! matters least, hypotheses tell the delay: how much audio had been sent when they came, beyond the
//! audio of their words.

use std::collections::VecDeque;
use std::time::Duration;

use super::layout::scaled;
use crate::timeline::{Span, Timestamp};

/// Assumed until an utterance has told: the delay of a service nearby.
const USUAL_DELAY: Duration = Duration::from_millis(300);

/// The same for a service that translates: 2.3 s are claimed for the whole way.
const USUAL_TRANSLATION_DELAY: Duration = Duration::from_secs(2);

/// The same for the time in which a column is spoken: 15 columns a second.
const USUAL_COLUMN: Duration = Duration::from_millis(65);

/// The latest utterances that count.
const MEMORY: usize = 8;

/// No service is taken to be slower than this; what looks so is something else.
const MAX_DELAY: Duration = Duration::from_secs(5);

/// What is known of a session's service and speakers.
#[derive(Debug, Default)]
pub(super) struct Pace {
    delays: VecDeque<Duration>,
    columns: VecDeque<Duration>,
    is_translation: bool,
}

impl Pace {
    /// The texts are translations, or they are not.
    pub fn expect(&mut self, is_translation: bool) {
        self.is_translation = is_translation;
    }

    /// How much audio is sent after a word before the word is in a hypothesis.
    pub fn delay(&self) -> Duration {
        let usual = if self.is_translation {
            USUAL_TRANSLATION_DELAY
        } else {
            USUAL_DELAY
        };
        median(self.delays.iter().copied()).unwrap_or(usual)
    }

    /// The time in which this many columns of text are spoken.
    pub fn time_for(&self, columns: usize) -> Duration {
        let column = median(self.columns.iter().copied()).unwrap_or(USUAL_COLUMN);
        column.saturating_mul(u32::try_from(columns).unwrap_or(u32::MAX))
    }

    /// The time in which a column of text is spoken; zero until that is known.
    pub fn column(&self) -> Duration {
        median(self.columns.iter().copied()).unwrap_or_default()
    }

    /// Takes in how the text of an utterance grew that was spoken in `span` and has `columns` in the
    /// end: the columns of hypotheses, and the end of the audio sent by then.
    pub fn learn(
        &mut self,
        grown: impl Iterator<Item = (usize, Timestamp)>,
        columns: usize,
        span: Span,
    ) {
        if columns == 0 || span.length().is_zero() {
            return;
        }
        // The whole text may have come any time after the end.
        let mut parts = grown.filter(|(part, _)| *part < columns);
        let Some(first) = parts.next() else { return };
        let latest = parts.last().unwrap_or(first);
        let [first, latest] = [first, latest].map(|(part, audio_end)| {
            let spoken = span.start + scaled(span.length(), part, columns);
            audio_end.since(spoken).min(MAX_DELAY)
        });
        remember(&mut self.delays, (first + latest) / 2);
        remember(&mut self.columns, scaled(span.length(), 1, columns));
    }
}

fn remember(latest: &mut VecDeque<Duration>, new: Duration) {
    if latest.len() == MEMORY {
        latest.pop_front();
    }
    latest.push_back(new);
}

fn median(lengths: impl Iterator<Item = Duration>) -> Option<Duration> {
    let mut lengths: Vec<_> = lengths.collect();
    lengths.sort_unstable();
    let middle = lengths.len().checked_sub(1)? / 2;
    let [lower, upper] = [middle, lengths.len() / 2].map(|at| lengths.get(at).copied());
    Some((lower? + upper?) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn learn(pace: &mut Pace, grown: &[(usize, u64)], columns: usize, end: u64) {
        let grown = grown
            .iter()
            .map(|(columns, time)| (*columns, Timestamp::from_millis(*time)));
        pace.learn(grown, columns, Span::from_millis(1000, end));
    }

    #[test]
    fn the_delay_is_that_of_the_parts() {
        let mut pace = Pace::default();
        assert_eq!((pace.delay(), pace.time_for(10)), (MS(300), MS(650)));
        // A tenth of a second for each column. The parts were late by 800 and 900 ms.
        learn(&mut pace, &[(5, 2300), (10, 2900), (20, 9000)], 20, 3000);
        assert_eq!((pace.delay(), pace.time_for(10)), (MS(850), MS(1000)));
        // What says nothing changes nothing.
        learn(&mut pace, &[], 20, 3000);
        learn(&mut pace, &[(20, 9000)], 20, 3000);
        learn(&mut pace, &[(5, 9000)], 20, 1000);
        learn(&mut pace, &[(0, 9000)], 0, 3000);
        assert_eq!(pace.delay(), MS(850));
    }

    #[test]
    fn the_latest_utterances_count() {
        let mut pace = Pace::default();
        (0..20).for_each(|_| learn(&mut pace, &[(10, 60_000)], 20, 3000));
        assert_eq!(pace.delay(), MAX_DELAY);
        (0..5).for_each(|_| learn(&mut pace, &[(10, 1500)], 20, 3000));
        assert_eq!(pace.delay(), MS(0), "before it was said, evenly spoken");
        assert_eq!(pace.delays.len(), MEMORY);
    }
}
