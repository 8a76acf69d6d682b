// SPDX-License-Identifier: MPL-2.0
//! When each part of a text was spoken.
//!
//! Either the service says when words were spoken, or all that is known is how much text it had
//! returned by the time a given amount of audio had been sent. Both make a [`Curve`], on which the
//! times of words and cues are interpolated. Used by `stable` and `layout`.

use std::time::Duration;

use super::layout::scaled;
use super::text::boundaries;
use crate::timeline::{Span, Timestamp};
use crate::transcript::Word;

/// No word is shown for less time than this.
pub const MIN_WORD_DURATION: Duration = Duration::from_millis(40);

/// Upper bound of the points of a curve.
const MAX_POINTS: usize = 256;

/// A part of the text, and when it was there.
#[derive(Debug, Clone, Copy)]
struct Point {
    /// Display columns of the part.
    column: usize,
    /// When it had been spoken, or the end of the audio sent when it was in a hypothesis.
    time: Timestamp,
    in_hypothesis: bool,
}

/// How the text of an utterance grew: columns and times are non-decreasing.
#[derive(Debug)]
pub(super) struct Curve {
    /// Starts with no column at the start of the utterance.
    points: Vec<Point>,
    /// How much audio is sent after a word before the word is in a hypothesis.
    delay: Duration,
    /// The time in which a column is spoken, if that is known.
    column: Duration,
    /// Nothing was spoken after this, however late it was in a hypothesis.
    bound: Timestamp,
    /// Columns of the final text; `None` while the utterance goes on.
    final_column: Option<usize>,
}

impl Curve {
    pub fn new(start: Timestamp) -> Self {
        let start = Point {
            column: 0,
            time: start,
            in_hypothesis: false,
        };
        Self {
            points: vec![start],
            delay: Duration::ZERO,
            column: Duration::ZERO,
            bound: Timestamp::MAX,
            final_column: None,
        }
    }

    /// The curve of the normalised `text` by the times that the service gave for its `words`.
    /// `None` if these are not the words of the text.
    ///
    /// Punctuation belongs to the word before it.
    pub fn exact(text: &str, words: &[Word], start: Timestamp) -> Option<Self> {
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
                curve.point(boundary.end_column, before.span.end);
            }
            curve.point(boundary.column, word.span.start);
            rest = at + spoken.len();
            if let Ok(end) = boundaries.binary_search_by_key(&rest, |boundary| boundary.end) {
                curve.point(boundaries.get(end)?.end_column, word.span.end);
            }
        }
        let columns = boundaries.last().map_or(0, |boundary| boundary.end_column);
        curve.point(columns, before?.span.end);
        Some(curve)
    }

    /// Adds a point, no earlier than the one before.
    fn point(&mut self, column: usize, time: Timestamp) {
        self.points.push(Point {
            column,
            time: time.max(self.latest()),
            in_hypothesis: false,
        });
    }

    /// The text is final and ends at the latest point.
    pub fn close(&mut self) {
        self.final_column = self.points.last().map(|point| point.column);
    }

    /// Sets how much audio is sent after a word before the word is in a hypothesis, and the time in
    /// which a column is spoken, zero if that is not known.
    pub fn set_pace(&mut self, delay: Duration, column: Duration) {
        self.delay = delay;
        self.column = column;
    }

    /// Sets where the utterance ends, as far as that is known.
    pub fn set_bound(&mut self, end: Timestamp) {
        self.bound = end;
    }

    /// A hypothesis has `columns` of text; audio had been sent up to `audio_end`.
    ///
    /// If the text got shorter, earlier points are taken to be part of it.
    pub fn observe(&mut self, columns: usize, audio_end: Timestamp) {
        if columns == 0 {
            return;
        }
        let time = self.points.last().map(|point| point.time);
        let new = Point {
            column: columns,
            time: audio_end.max(time.unwrap_or_default()),
            in_hypothesis: true,
        };
        for point in &mut self.points {
            point.column = point.column.min(columns);
        }
        // Only the start and the end of a pause matter.
        if let [.., before, latest] = self.points.as_mut_slice()
            && (before.column, latest.column) == (columns, columns)
        {
            *latest = new;
            return;
        }
        // Part of what looked like a pause was the next word on its way.
        if let [.., before, latest] = self.points.as_mut_slice()
            && before.column == latest.column
        {
            let columns = u32::try_from(columns - latest.column).unwrap_or(u32::MAX);
            let start = new.time - self.column.saturating_mul(columns);
            latest.time = latest.time.min(start).max(before.time);
        }
        self.points.push(new);
        if self.points.len() > MAX_POINTS {
            self.thin();
        }
    }

    /// The columns of hypotheses when the text grew, and the end of the audio sent by then.
    pub fn grown(&self) -> impl DoubleEndedIterator<Item = (usize, Timestamp)> {
        let steps = self.points.iter().zip(self.points.iter().skip(1));
        steps
            .filter(|(before, point)| point.in_hypothesis && point.column > before.column)
            .map(|(_, point)| (point.column, point.time))
    }

    /// Removes the point between the two others that are closest in time.
    fn thin(&mut self) {
        let around = |points: &[Point]| match points {
            [before, _, after] => after.time.since(before.time),
            _ => Duration::MAX,
        };
        let spans = self.points.windows(3).map(around).enumerate();
        if let Some((before, _)) = spans.min_by_key(|(_, span)| *span) {
            self.points.remove(before + 1); // the middle of the window
        }
    }

    /// The final text has this many `columns` and ends at `end`.
    pub fn finish(&mut self, columns: usize, end: Timestamp) {
        let end = end.max(self.start());
        self.bound = Timestamp::MAX;
        let spoken = self.spoken();
        self.points
            .retain(|point| point.column <= columns && spoken(point) <= end);
        self.points.push(Point {
            column: columns,
            time: end,
            in_hypothesis: false,
        });
        self.final_column = Some(columns);
    }

    /// When the words in the ranges of columns `words` were spoken: none before `floor`, none
    /// shorter than [`MIN_WORD_DURATION`], none overlapping.
    ///
    /// Words without enough time of their own take some of what follows; if that would exceed the
    /// end of the utterance, of what precedes. If even that is too short, they do exceed it.
    pub fn times(&self, words: &[(usize, usize)], floor: Timestamp) -> Vec<Span> {
        let mut times = Vec::with_capacity(words.len());
        let floor = floor.max(self.start());
        let mut earliest = floor;
        for &(from, to) in words {
            let start = self.time_after(from).max(earliest);
            let end = match self.final_column {
                Some(column) if to >= column => self.latest(),
                _ => self.time_before(to),
            };
            let end = end.max(start + MIN_WORD_DURATION);
            times.push(Span::new(start, end));
            earliest = end;
        }
        let mut latest = match self.final_column {
            Some(_) => self.latest().max(floor + shortest_showing(words.len())),
            None => Timestamp::MAX,
        };
        for Span { start, end } in times.iter_mut().rev() {
            *end = latest.min(*end);
            // At the very end of the range of timestamps there may be no time left.
            *start = (*end - MIN_WORD_DURATION).max(floor).min(*start);
            latest = *start;
        }
        times
    }

    /// When the text after `column` begins to be spoken: after the pause, if there is one.
    pub fn time_after(&self, column: usize) -> Timestamp {
        let next = self.points.partition_point(|point| point.column <= column);
        self.interpolate(next, column)
    }

    /// When the text before `column` has been spoken: before the pause, if there is one.
    fn time_before(&self, column: usize) -> Timestamp {
        let next = self.points.partition_point(|point| point.column < column);
        self.interpolate(next, column)
    }

    /// The time of `column` before the point with the index `next`.
    fn interpolate(&self, next: usize, column: usize) -> Timestamp {
        let before = next.checked_sub(1).and_then(|index| self.points.get(index));
        let spoken = self.spoken();
        match (before, self.points.get(next)) {
            (Some(before), Some(next)) => {
                let part = column.saturating_sub(before.column);
                let whole = next.column.saturating_sub(before.column);
                spoken(before) + scaled(spoken(next).since(spoken(before)), part, whole)
            }
            (Some(point), None) | (None, Some(point)) => spoken(point),
            (None, None) => Timestamp::default(),
        }
    }

    fn start(&self) -> Timestamp {
        self.points
            .first()
            .map(|point| point.time)
            .unwrap_or_default()
    }

    /// When all that is known had been spoken.
    fn latest(&self) -> Timestamp {
        self.points.last().map_or(self.start(), self.spoken())
    }

    /// Tells when the part of a point had been spoken.
    fn spoken(&self) -> impl Fn(&Point) -> Timestamp + use<> {
        let (start, delay, bound) = (self.start(), self.delay, self.bound);
        move |point| {
            if point.in_hypothesis {
                (point.time - delay).min(bound).max(start)
            } else {
                point.time
            }
        }
    }
}

/// The time in which this many words can be shown.
fn shortest_showing(words: usize) -> Duration {
    MIN_WORD_DURATION.saturating_mul(u32::try_from(words).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::tokens::tokens;
    use super::*;

    /// A timestamp in milliseconds.
    const AT: fn(u64) -> Timestamp = Timestamp::from_millis;

    fn curve(start: u64, seen: &[(usize, u64)]) -> Curve {
        let mut curve = Curve::new(AT(start));
        curve.set_pace(Duration::from_millis(300), Duration::ZERO);
        for (columns, audio_end) in seen {
            curve.observe(*columns, AT(*audio_end));
        }
        curve
    }

    fn times(curve: &Curve, words: &[(usize, usize)], floor: u64) -> Vec<(u64, u64)> {
        let times = curve.times(words, AT(floor));
        let in_millis = |span: &Span| (span.start.millis(), span.end.millis());
        times.iter().map(in_millis).collect()
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
            span: Span::from_millis(*start, *end),
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
            let mut curve = Curve::exact(text, &spoken(words), AT(0)).unwrap();
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
        assert!(Curve::exact("one", &[], AT(0)).is_none());
        assert!(Curve::exact("one", &spoken(&[("two", 1, 2)]), AT(0)).is_none());
        assert!(Curve::exact("", &spoken(&[("", 1, 2), (" ", 1, 2)]), AT(0)).is_none());
    }

    #[test]
    fn times_that_go_back_do_no_harm() {
        let words = spoken(&[("one", 900, 300), ("two", 100, 200)]);
        let curve = Curve::exact("one two", &words, AT(500)).unwrap();
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
        curve.finish(11, AT(1700));
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
        short.finish(5, AT(1130));
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
        let mut curve = Curve::new(AT(0));
        curve.set_pace(Duration::from_millis(300), Duration::ZERO);
        for n in 0..10_000 {
            curve.observe(n, AT(n as u64));
        }
        assert!(curve.points.len() <= MAX_POINTS);
        assert_eq!(curve.time_after(5000).millis() / 10, 470);
        let mut curve = Curve::new(Timestamp::MAX);
        curve.observe(usize::MAX, AT(0));
        curve.finish(0, AT(0));
        curve.times(&[(0, usize::MAX), (7, 3)], Timestamp::MAX);
    }
}
