// SPDX-License-Identifier: MPL-2.0
//! Cue layout of a finished utterance.
//!
//! A service gives one text per utterance, of any length. [`cues`] makes readable captions of it:
//! it breaks the text where a reader would pause, into cues of about equal width, and estimates
//! when each of them is spoken. The breaks are those of least total cost (dynamic programming over
//! the boundaries of the text), so the effort is linear in its length.

mod wrap;

use std::time::Duration;

use super::curve::Curve;
use super::lines::break_costs;
use super::text::{Boundary, Break, boundaries, is_blank, normalise, reading_time};
use crate::timeline::{Span, Timestamp, nanos};
use crate::transcript::Word;
use wrap::line_ends;

/// No cue is made shorter than this where there is time: the resolution of SubRip and WebVTT.
pub(super) const RESOLUTION: Duration = Duration::from_millis(1);

/// By how much a cue may begin earlier or later than its first word so that it, or the one before
/// it, is long enough to be read.
const MAX_SHIFT: Duration = Duration::from_secs(1);

/// Time per column assumed for an utterance without a duration.
const TIME_PER_COLUMN: Duration = Duration::from_millis(1);

/// Upper bound of a cue, in bytes: also without a limit of columns, and for text without width.
pub(super) const MAX_CUE_BYTES: usize = 4096;

/// Upper bound of the grapheme clusters in a cue of a divided text; bounds the search.
const MAX_CLUSTERS: usize = 1024;

// Costs of a cue or a line, in addition to those of the break after it. A sentence end that leaves cues of 30 % and 70 % of the
// text (an imbalance of 160) is better than a clause end in the middle; one that leaves 20 % and 80
// % (360) is only better than a break between words.
const COST_CUE: u64 = 150;
const COST_BLANK: u64 = 1_000_000_000;
/// Cost of a cue that is empty or twice as wide as its share.
const COST_IMBALANCE: u64 = 500;
const MAX_COST_IMBALANCE: u64 = 2000;
/// Cost of a cue that lasts no time at all.
const COST_SHORT: u64 = 2000;

/// Limits of a cue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Display columns per cue, of which wide characters take two; `None` is no limit.
    pub max_chars: Option<usize>,
    /// Lines of a cue, each of an equal share of its columns; one if there is no limit of those.
    pub max_lines: usize,
    /// A shorter cue is shown for this long if there is time.
    pub min_duration: Duration,
    /// A longer cue is divided, or taken away after this time; `None` is no limit.
    pub max_duration: Option<Duration>,
}

impl Layout {
    /// The longest line, in columns.
    fn line_columns(&self) -> usize {
        let share = self.max_chars.map(|max| max / self.max_lines.max(1));
        share.map_or(usize::MAX, |columns| columns.max(1))
    }

    /// How long a cue has to be shown to be read.
    pub(super) fn reading_time(&self, text: &str) -> Duration {
        reading_time(text).min(self.max_showing())
    }

    /// How long a cue is shown at least: the longest showing limits the shortest.
    pub(super) fn min_showing(&self) -> Duration {
        self.min_duration.min(self.max_showing())
    }

    /// How long a cue is shown at most.
    pub(super) fn max_showing(&self) -> Duration {
        self.max_duration.unwrap_or(Duration::MAX)
    }
}

/// A text, and when it is spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cue {
    /// Normalised text, never blank, with line breaks.
    pub text: String,
    /// Not empty.
    pub span: Span,
}

/// Divides the utterance `text`, spoken in `span`, into cues.
///
/// Together the cues hold the whole text; only punctuation that fits in no cue together with a word
/// is left out. The first cue starts and the final one ends with the utterance, and each one ends
/// where the next one starts, or `max_duration` after its own start. Where there is not enough time
/// for all to last `min_duration`, the time is shared out; and where there is more, each is shown
/// long enough to be read.
///
/// A cue that is too wide for one line has line breaks where they read best, of lines of about equal
/// width.
///
/// Each cue begins with its first word where the times of the `words` are known, except where that
/// would make one shorter than `min_duration`; otherwise the display columns of the text are taken
/// to be spoken evenly. An utterance without a duration is given `min_duration`, or one millisecond
/// per column.
pub(super) fn cues(text: &str, words: &[Word], span: Span, layout: &Layout) -> Vec<Cue> {
    let text = normalise(text);
    if is_blank(&text) {
        return Vec::new();
    }
    let curve = Curve::exact(&text, words, span.start);
    let division = Division::new(&text, curve.as_ref(), span, layout);
    let parts = division.parts(&division.cue_ends());
    division.timed(parts)
}

/// A boundary, and when it is spoken.
#[derive(Debug)]
struct TimedBoundary {
    boundary: Boundary,
    /// What a break here costs.
    cost: u64,
    /// When the text before it has been spoken or, where word times are known, when the text after
    /// it begins.
    time: Timestamp,
}

/// The text of a cue, and when the next one begins.
struct Part {
    text: String,
    end: Timestamp,
}

/// A normalised text and the limits of its cues.
struct Division<'a> {
    text: &'a str,
    /// Start and end of the text and all places in between.
    points: Vec<TimedBoundary>,
    span: Span,
    max_columns: usize,
    max_lines: usize,
    line_columns: usize,
    /// For each point, where a line that begins there ends at the latest.
    line_ends: Vec<usize>,
    min_duration: Duration,
    max_duration: Duration,
}

impl<'a> Division<'a> {
    fn new(text: &'a str, curve: Option<&Curve>, span: Span, layout: &Layout) -> Self {
        let min_duration = layout.min_showing();
        let boundaries = boundaries(text);
        let columns = boundaries.last().map_or(0, |boundary| boundary.end_column);
        let Span { start, mut end } = span;
        if end <= start {
            let columns = u32::try_from(columns).unwrap_or(u32::MAX);
            let length = Some(min_duration).filter(|length| !length.is_zero());
            end = start + length.unwrap_or(TIME_PER_COLUMN.saturating_mul(columns));
        }
        let span = Span::new(start, end);
        let evenly = |column: usize| start + scaled(span.length(), column, columns);
        let costs = break_costs(text, &boundaries);
        let timed = |(boundary, cost): (Boundary, u64)| TimedBoundary {
            cost,
            time: match (boundary.end, curve) {
                (0, _) => start,
                // `end` is not before `start`.
                (_, Some(curve)) => curve.time_after(boundary.column).clamp(start, end),
                (_, None) => evenly(boundary.end_column),
            },
            boundary,
        };
        let points: Vec<_> = boundaries.into_iter().zip(costs).map(timed).collect();
        let line_columns = layout.line_columns();
        Self {
            text,
            line_ends: line_ends(&points, line_columns),
            points,
            span,
            max_columns: layout.max_chars.unwrap_or(usize::MAX),
            max_lines: layout.max_lines.max(1),
            line_columns,
            min_duration,
            max_duration: layout.max_showing(),
        }
    }

    /// The least number of cues that the limits may allow.
    fn least_cues(&self, columns: usize) -> usize {
        let by_time = nanos(self.span.length()).div_ceil(nanos(self.max_duration).max(1));
        columns
            .div_ceil(self.max_columns)
            .max(usize::try_from(by_time).unwrap_or(usize::MAX))
            .max(self.text.len().div_ceil(MAX_CUE_BYTES))
    }

    /// Indices of the points where the cues end, such that the sum of the costs of all cues and of
    /// the breaks between them is least.
    fn cue_ends(&self) -> Vec<usize> {
        let last = self.points.len().saturating_sub(1);
        let columns = self
            .points
            .last()
            .map_or(0, |point| point.boundary.end_column);
        let count = self.least_cues(columns);
        if count <= 1 && self.lines_needed(0, last).is_some() {
            return vec![last];
        }
        let share = (columns / count.max(1)).max(1);
        // For each point the least cost of the text before it, and the point where the cue that
        // ends there begins.
        let mut best = vec![(0, 0)];
        for (index, close) in self.points.iter().enumerate().skip(1) {
            let (cost, from) = self.best_cue(index, close, share, &best);
            let after = if index == last { 0 } else { close.cost };
            best.push((cost.saturating_add(after), from));
        }
        let begin_of = |end: &usize| best.get(*end).map(|(_, from)| *from);
        let mut ends: Vec<_> =
            std::iter::successors(Some(last), |end| begin_of(end).filter(|from| *from > 0))
                .collect();
        ends.reverse();
        ends
    }

    /// The cue that ends at `close`, the point at `index`, with the least cost of itself and the
    /// text before: that cost, and the point where it begins.
    fn best_cue(
        &self,
        index: usize,
        close: &TimedBoundary,
        share: usize,
        best: &[(u64, usize)],
    ) -> (u64, usize) {
        let mut least = (u64::MAX, index.saturating_sub(1));
        for from in (index.saturating_sub(MAX_CLUSTERS)..index).rev() {
            let (Some(open), Some((before, _))) = (self.points.get(from), best.get(from)) else {
                break;
            };
            // Text without a boundary inside is a cue even if it exceeds the limits. Otherwise
            // stop: going back further only makes the cue longer.
            let fits = || self.fits(open, close) && self.lines_needed(from, index).is_some();
            if index - from > 1 && !fits() {
                break;
            }
            let cost = before.saturating_add(self.cue_cost(open, close, share));
            if cost < least.0 {
                least = (cost, from);
            }
        }
        least
    }

    /// Whether the text from `open` to `close` may be one cue. A word is not divided because it
    /// lasts too long.
    fn fits(&self, open: &TimedBoundary, close: &TimedBoundary) -> bool {
        // The count at `close` includes `close` itself, unless it is within a word.
        let counted = usize::from(close.boundary.kind != Break::Cluster);
        let inner = close.boundary.opportunities > open.boundary.opportunities + counted;
        let bytes = close.boundary.end.saturating_sub(open.boundary.start);
        bytes <= MAX_CUE_BYTES
            && columns_between(open, close) <= self.max_columns
            && (!inner || close.time.since(open.time) <= self.max_duration)
    }

    /// Cost of showing the text from `open` to `close` as one cue.
    fn cue_cost(&self, open: &TimedBoundary, close: &TimedBoundary, share: usize) -> u64 {
        let duration = close.time.since(open.time);
        let missing = self.min_duration.saturating_sub(duration);
        let short = fraction(COST_SHORT, nanos(missing), nanos(self.min_duration));
        COST_CUE + cost_of_width(open, close, share) + short
    }

    /// The texts between the points `ends`. The time of one that is blank goes to the one before,
    /// or after if it is the first.
    fn parts(&self, ends: &[usize]) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::with_capacity(ends.len());
        let starts = std::iter::once(0).chain(ends.iter().copied());
        for (from, to) in starts.zip(ends.iter().copied()) {
            let Some(close) = self.points.get(to) else {
                break;
            };
            match parts.last_mut() {
                _ if !is_blank(self.text_between(from, to)) => parts.push(Part {
                    text: self.lines(from, to),
                    end: close.time,
                }),
                Some(before) => before.end = close.time,
                None => {}
            }
        }
        parts
    }

    /// The cues of `parts`, with times that keep to the limits.
    fn timed(&self, parts: Vec<Part>) -> Vec<Cue> {
        let count = u32::try_from(parts.len()).unwrap_or(u32::MAX).max(1);
        // At the very end of the range of timestamps there is only room before.
        let least = Duration::from_nanos(count.into());
        let start = self.span.start.min(Timestamp::MAX - least);
        let end = self.span.end.max(start + least);
        let share = end.since(start) / count;
        let least = self.min_duration.max(RESOLUTION).min(share);
        let reading = parts.iter().map(|part| reading_time(&part.text));
        let least = lengths(least, reading.collect(), end.since(start));
        let mut ends: Vec<_> = parts.iter().map(|part| part.end).collect();
        lengthen(&mut ends, start, end, &least);

        let mut cues = Vec::with_capacity(parts.len());
        let mut start = start;
        for (part, next) in parts.into_iter().zip(&ends) {
            let end = *next.min(&(start + self.max_duration));
            cues.push(Cue {
                text: part.text,
                span: Span::new(start, end),
            });
            start = *next;
        }
        cues
    }
}

/// How long cues are to last in the time `whole`: all of them `least`, for which there must be time,
/// and long enough to be read, if there is time for all of that. If there is not, people speak faster
/// than anybody reads, and cues had better stay with their words.
fn lengths(least: Duration, reading: Vec<Duration>, whole: Duration) -> Vec<Duration> {
    let wanted = reading.iter().map(|reading| least.max(*reading));
    if wanted
        .clone()
        .fold(Duration::ZERO, Duration::saturating_add)
        <= whole
    {
        wanted.collect()
    } else {
        vec![least; reading.len()]
    }
}

/// Moves `ends`, where cues that touch each other have been spoken, so that every cue between
/// `start` and `end` lasts at least as long as `least` says, for which there must be time; but none
/// by more than [`MAX_SHIFT`]. The final cue ends at `end`.
fn lengthen(ends: &mut [Timestamp], start: Timestamp, end: Timestamp, least: &[Duration]) {
    let spoken = ends.to_vec();
    space_out(ends, start, end, least);
    for (cue_end, spoken) in ends.iter_mut().zip(spoken) {
        *cue_end = (spoken + MAX_SHIFT).min(*cue_end).max(spoken - MAX_SHIFT);
    }
    let least: Vec<_> = least.iter().map(|least| RESOLUTION.min(*least)).collect();
    space_out(ends, start, end, &least);
}

/// Moves `ends` by as little as leaves the time `least` to each of them between `start` and `end`.
fn space_out(ends: &mut [Timestamp], start: Timestamp, end: Timestamp, least: &[Duration]) {
    if let Some(last) = ends.last_mut() {
        *last = end;
    }
    let mut cue_start = start;
    for (cue_end, least) in ends.iter_mut().zip(least) {
        *cue_end = (cue_start + *least).max(*cue_end);
        cue_start = *cue_end;
    }
    let mut latest = end;
    for (cue_end, least) in ends.iter_mut().zip(least).rev() {
        *cue_end = latest.min(*cue_end);
        latest = *cue_end - *least;
    }
}

/// Cost of a cue or line from `open` to `close` that is not `share` columns wide, or blank.
fn cost_of_width(open: &TimedBoundary, close: &TimedBoundary, share: usize) -> u64 {
    if open.boundary.readable == close.boundary.readable {
        return COST_BLANK;
    }
    let off = columns_between(open, close).abs_diff(share) as u64;
    let share = share as u64;
    let imbalance = fraction(fraction(COST_IMBALANCE, off, share), off, share);
    imbalance.min(MAX_COST_IMBALANCE)
}

/// Columns of a cue from `open` to `close`, without the white space around it.
fn columns_between(open: &TimedBoundary, close: &TimedBoundary) -> usize {
    close
        .boundary
        .end_column
        .saturating_sub(open.boundary.column)
}

/// `value * part / whole`, at most `u64::MAX`; 0 of nothing.
fn fraction(value: u64, part: u64, whole: u64) -> u64 {
    let fraction = u128::from(value) * u128::from(part) / u128::from(whole.max(1));
    u64::try_from(fraction).unwrap_or(u64::MAX)
}

/// The share of a length of time that falls to `part` columns of `whole`.
pub(super) fn scaled(length: Duration, part: usize, whole: usize) -> Duration {
    Duration::from_nanos(fraction(nanos(length), part as u64, whole as u64))
}

#[cfg(test)]
mod tests;
