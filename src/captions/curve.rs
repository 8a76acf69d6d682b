// SPDX-License-Identifier: MPL-2.0
//! When each part of a text was spoken.
//!
//! Either the service says when words were spoken, or all that is known is how much of the text was
//! there when so much of the audio had been sent. Both make a [`Curve`], on which the times of
//! words and cues are interpolated.

use super::text::boundaries;
use crate::transcript::Word;

/// How much audio is sent after a word before the word is in a hypothesis, in nanoseconds.
pub const SERVICE_DELAY: u64 = 300_000_000;

/// No word is shown for less time than this, in nanoseconds.
pub const MIN_WORD_DURATION: u64 = 40_000_000;

/// Upper bound of the points of a curve.
const MAX_POINTS: usize = 256;

/// How the text of an utterance grew: display columns, and the timestamps by which they had been
/// spoken; both non-decreasing.
#[derive(Debug)]
pub(super) struct Curve {
    /// Starts with no column at the start of the utterance.
    points: Vec<(usize, u64)>,
    /// Columns of the final text; `None` while the utterance goes on.
    final_column: Option<usize>,
}

impl Curve {
    pub fn new(start: u64) -> Self {
        Self {
            points: vec![(0, start)],
            final_column: None,
        }
    }

    /// The curve of the normalised `text` by the times that the service gave for its `words`.
    /// `None` if these are not the words of the text.
    ///
    /// Punctuation belongs to the word before it.
    pub fn exact(text: &str, words: &[Word], start: u64) -> Option<Self> {
        let boundaries = boundaries(text);
        let mut curve = Self::new(start);
        let mut before: Option<&Word> = None;
        let mut rest = 0;
        for word in words {
            let spoken = word.text.trim();
            let found = text.get(rest..).and_then(|text| text.find(spoken));
            let Some(at) = found.filter(|_| !spoken.is_empty()).map(|at| rest + at) else {
                continue;
            };
            let Ok(boundary) = boundaries.binary_search_by_key(&at, |boundary| boundary.start)
            else {
                continue;
            };
            let boundary = boundaries.get(boundary)?;
            if let Some(before) = before.replace(word) {
                curve.point(boundary.end_column, before.end);
            }
            curve.point(boundary.column, word.start);
            rest = at + spoken.len();
            if let Ok(end) = boundaries.binary_search_by_key(&rest, |boundary| boundary.end) {
                curve.point(boundaries.get(end)?.end_column, word.end);
            }
        }
        let columns = boundaries.last().map_or(0, |boundary| boundary.end_column);
        curve.point(columns, before?.end);
        Some(curve)
    }

    /// Adds a point, no earlier than the one before.
    fn point(&mut self, column: usize, time: u64) {
        let last = self.points.last().map_or(0, |point| point.1);
        self.points.push((column, time.max(last)));
    }

    /// The text is final and ends at the latest point.
    pub fn close(&mut self) {
        self.final_column = self.points.last().map(|point| point.0);
    }

    /// A hypothesis has `columns` of text; audio had been sent up to the timestamp `audio_end`.
    ///
    /// If the text got shorter, earlier points are taken to be part of it.
    pub fn observe(&mut self, columns: usize, audio_end: u64) {
        if columns == 0 {
            return;
        }
        let last = self.points.last().map_or(0, |point| point.1);
        let time = audio_end.saturating_sub(SERVICE_DELAY).max(last);
        for point in &mut self.points {
            point.0 = point.0.min(columns);
        }
        // Only the start and the end of a pause matter.
        if let [.., before, last] = self.points.as_mut_slice()
            && (before.0, last.0) == (columns, columns)
        {
            last.1 = time;
            return;
        }
        self.points.push((columns, time));
        if self.points.len() > MAX_POINTS {
            self.thin();
        }
    }

    /// Removes the point between the two others that are closest in time.
    fn thin(&mut self) {
        let around = |points: &[(usize, u64)]| match points {
            [before, _, after] => after.1.saturating_sub(before.1),
            _ => u64::MAX,
        };
        let spans = self.points.windows(3).map(around).enumerate();
        if let Some((before, _)) = spans.min_by_key(|(_, span)| *span) {
            self.points.remove(before + 1); // the middle of the window
        }
    }

    /// The final text has this many `columns` and ends at the timestamp `end`.
    pub fn finish(&mut self, columns: usize, end: u64) {
        let end = end.max(self.start());
        self.points
            .retain(|point| point.0 <= columns && point.1 <= end);
        self.points.push((columns, end));
        self.final_column = Some(columns);
    }

    /// Start and end of the words in the ranges of columns `spans`: none before `floor`, none
    /// shorter than [`MIN_WORD_DURATION`], none overlapping.
    ///
    /// Words without enough time of their own take some of what follows; if that would exceed the
    /// end of the utterance, of what precedes. If even that is too short, they do exceed it.
    pub fn times(&self, spans: &[(usize, usize)], floor: u64) -> Vec<(u64, u64)> {
        let mut times = Vec::with_capacity(spans.len());
        let floor = floor.max(self.start());
        let mut least = floor;
        let last = self.points.last().map_or(floor, |point| point.1);
        for &(from, to) in spans {
            let start = self.time_after(from).max(least);
            let end = match self.final_column {
                Some(column) if to >= column => last,
                _ => self.time_before(to),
            };
            let end = end.max(start.saturating_add(MIN_WORD_DURATION));
            times.push((start, end));
            least = end;
        }
        let needed = MIN_WORD_DURATION.saturating_mul(spans.len() as u64);
        let mut latest = match self.final_column {
            Some(_) => last.max(floor.saturating_add(needed)),
            None => u64::MAX,
        };
        for (start, end) in times.iter_mut().rev() {
            *end = latest.min(*end);
            // At the very end of the range of timestamps there may be no time left.
            *start = end.saturating_sub(MIN_WORD_DURATION).max(floor).min(*start);
            latest = *start;
        }
        times
    }

    /// When the text after `column` begins to be spoken: after the pause, if there is one.
    pub fn time_after(&self, column: usize) -> u64 {
        let next = self.points.partition_point(|point| point.0 <= column);
        self.interpolate(next, column)
    }

    /// When the text before `column` has been spoken: before the pause, if there is one.
    fn time_before(&self, column: usize) -> u64 {
        let next = self.points.partition_point(|point| point.0 < column);
        self.interpolate(next, column)
    }

    /// The time of `column` before the point with the index `next`.
    fn interpolate(&self, next: usize, column: usize) -> u64 {
        let before = next.checked_sub(1).and_then(|index| self.points.get(index));
        match (before, self.points.get(next)) {
            (Some(before), Some(next)) => {
                let part = column.saturating_sub(before.0) as u128;
                let whole = next.0.saturating_sub(before.0).max(1) as u128;
                let time = u128::from(next.1.saturating_sub(before.1)) * part / whole;
                before
                    .1
                    .saturating_add(u64::try_from(time).unwrap_or(u64::MAX))
            }
            (Some(point), None) | (None, Some(point)) => point.1,
            (None, None) => 0,
        }
    }

    fn start(&self) -> u64 {
        self.points.first().map_or(0, |point| point.1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tokens::tokens;
    use super::*;

    const MS: u64 = 1_000_000;

    fn curve(start: u64, seen: &[(usize, u64)]) -> Curve {
        let mut curve = Curve::new(start * MS);
        for (columns, audio_end) in seen {
            curve.observe(*columns, audio_end * MS);
        }
        curve
    }

    fn times(curve: &Curve, spans: &[(usize, usize)], floor: u64) -> Vec<(u64, u64)> {
        let times = curve.times(spans, floor * MS);
        times.iter().map(|(s, e)| (s / MS, e / MS)).collect()
    }

    #[test]
    fn columns_are_interpolated() {
        let curve = curve(1000, &[(10, 2300), (20, 2800)]);
        assert_eq!(
            times(&curve, &[(0, 4), (5, 10), (11, 20)], 0),
            [(1000, 1400), (1500, 2000), (2050, 2500)]
        );
        assert_eq!(times(&curve, &[(0, 4)], 1390), [(1390, 1430)]);
    }

    fn spoken(words: &[(&str, u64, u64)]) -> Vec<Word> {
        let word = |(text, start, end): &(&str, u64, u64)| Word {
            text: (*text).to_owned(),
            start: start * MS,
            end: end * MS,
        };
        words.iter().map(word).collect()
    }

    #[test]
    fn known_times_are_kept() {
        for (text, words, expected) in [
            (
                "So, yes. No!",
                &[("So", 100, 300), ("yes", 700, 1000), ("No", 2000, 2500)][..],
                &[(100, 300), (700, 1000), (2000, 2500)][..],
            ),
            (
                "欢迎，阿里云。",
                &[("欢迎", 100, 300), ("阿里云", 700, 1000)],
                &[(100, 200), (200, 300), (700, 800), (800, 900), (900, 1000)],
            ),
            // A word that is not in the text says nothing.
            (
                "one two three",
                &[("one", 100, 300), ("too", 400, 500), ("three", 600, 900)],
                &[(100, 300), (300, 300), (600, 900)],
            ),
            (
                "no no no",
                &[("no", 0, 100), ("no", 200, 300), ("no", 400, 500)],
                &[(0, 100), (200, 300), (400, 500)],
            ),
        ] {
            let mut curve = Curve::exact(text, &spoken(words), 0).unwrap();
            curve.close();
            let spans: Vec<_> = tokens(text).iter().map(|s| (s.from, s.to)).collect();
            let times = times(&curve, &spans, 0);
            for (time, expected) in times.iter().zip(expected) {
                assert_eq!(time.0, expected.0, "{text}: {times:?}");
                assert!(time.1.abs_diff(expected.1) <= 40, "{text}: {times:?}");
            }
            assert_eq!(times.len(), expected.len());
        }
    }

    #[test]
    fn times_of_other_words_are_none() {
        assert!(Curve::exact("one", &[], 0).is_none());
        assert!(Curve::exact("one", &spoken(&[("two", 1, 2)]), 0).is_none());
        assert!(Curve::exact("", &spoken(&[("", 1, 2), (" ", 1, 2)]), 0).is_none());
    }

    #[test]
    fn times_that_go_back_do_no_harm() {
        let words = spoken(&[("one", 900, 300), ("two", 100, 200)]);
        let curve = Curve::exact("one two", &words, 500 * MS).unwrap();
        let times = times(&curve, &[(0, 3), (4, 7)], 0);
        assert!(
            times[0].0 <= times[0].1 && times[0].1 <= times[1].0,
            "{times:?}"
        );
    }

    #[test]
    fn a_pause_is_between_words() {
        let curve = curve(0, &[(5, 800), (5, 1300), (5, 2300), (11, 2900)]);
        assert_eq!(
            times(&curve, &[(0, 5), (5, 11)], 0),
            [(0, 500), (2000, 2600)]
        );
        assert_eq!(curve.points.len(), 4);
    }

    #[test]
    fn the_last_word_ends_with_the_utterance() {
        let mut curve = curve(0, &[(5, 800), (11, 1300), (30, 1400)]);
        curve.finish(11, 1700 * MS);
        assert_eq!(
            times(&curve, &[(0, 5), (6, 11)], 0),
            [(0, 500), (583, 1700)]
        );
    }

    #[test]
    fn text_that_got_shorter_was_heard_before() {
        let curve = curve(0, &[(40, 1300), (10, 1600), (20, 2300)]);
        assert_eq!(times(&curve, &[(0, 10), (10, 20)], 0)[1], (1300, 2000));
    }

    #[test]
    fn crowded_words_keep_their_order_and_length() {
        let spans = [(0, 1), (2, 3), (4, 5)];
        let early = curve(1000, &[(5, 1000)]);
        assert_eq!(
            times(&early, &spans, 0),
            [(1000, 1040), (1040, 1080), (1080, 1120)]
        );
        let mut short = curve(1000, &[]);
        short.finish(5, 1130 * MS);
        assert_eq!(
            times(&short, &spans, 0),
            [(1000, 1040), (1050, 1090), (1090, 1130)]
        );
        assert_eq!(
            times(&short, &spans, 2000),
            [(2000, 2040), (2040, 2080), (2080, 2120)]
        );
    }

    #[test]
    fn the_curve_is_bounded_and_takes_any_number() {
        let mut curve = Curve::new(0);
        for n in 0..10_000 {
            curve.observe(n, n as u64 * MS);
        }
        assert!(curve.points.len() <= MAX_POINTS);
        assert_eq!(curve.time_after(5000) / 10 / MS, 470);
        let mut curve = Curve::new(u64::MAX);
        curve.observe(usize::MAX, 0);
        curve.finish(0, 0);
        curve.times(&[(0, usize::MAX), (7, 3)], u64::MAX);
    }
}
