// SPDX-License-Identifier: MPL-2.0
//! Cue layout of a finished utterance.
//!
//! A service gives one text per utterance, of any length. [`cues`] makes readable captions of it:
//! it breaks the text where a reader would pause, into cues of about equal width, and estimates
//! when each of them is spoken. The breaks are those of least total cost (dynamic programming over
//! the boundaries of the text), so the effort is linear in its length.

use std::time::Duration;

use super::curve::Curve;
use super::text::{Boundary, Break, boundaries, is_blank, normalise};
use crate::transcript::Word;

/// No cue is made shorter than this where there is time, in nanoseconds: the resolution of SubRip
/// and WebVTT.
const RESOLUTION: u64 = 1_000_000;

/// By how much a cue may begin earlier or later than its first word so that it, or the one before
/// it, is long enough to be read, in nanoseconds.
const MAX_SHIFT: u64 = 1_000_000_000;

/// Time per column assumed for an utterance without a duration, in nanoseconds.
const TIME_PER_COLUMN: u64 = 1_000_000;

/// Upper bound of a cue, in bytes: also without a limit of columns, and for text without width.
pub(super) const MAX_CUE_BYTES: usize = 4096;

/// Upper bound of the grapheme clusters in a cue of a divided text; bounds the search.
const MAX_CLUSTERS: usize = 1024;

// Costs of a cue and of the break after it. A sentence end that leaves cues of 30 % and 70 % of the
// text (an imbalance of 160) is better than a clause end in the middle; one that leaves 20 % and 80
// % (360) is only better than a break between words.
const COST_CUE: u64 = 150;
const COST_CLAUSE: u64 = 250;
const COST_LINE: u64 = 500;
const COST_TIGHT: u64 = 700;
const COST_CLUSTER: u64 = 100_000;
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
    /// A shorter cue is shown for this long if there is time.
    pub min_duration: Duration,
    /// A longer cue is divided, or taken away after this time; `None` is no limit.
    pub max_duration: Option<Duration>,
}

impl Layout {
    /// How long a cue is shown at least, in nanoseconds: the longest showing limits the shortest.
    pub(super) fn min_showing(&self) -> u64 {
        nanos(self.min_duration).min(self.max_showing())
    }

    /// How long a cue is shown at most, in nanoseconds.
    pub(super) fn max_showing(&self) -> u64 {
        self.max_duration.map_or(u64::MAX, nanos)
    }
}

/// In nanoseconds; what does not fit is as good as for ever.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A text, and when it is spoken. Times are timestamps in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cue {
    /// Normalised text, never blank.
    pub text: String,
    pub start: u64,
    /// After `start`.
    pub end: u64,
}

/// Divides the utterance `text`, spoken from `start` to `end` (timestamps in nanoseconds), into
/// cues.
///
/// Together the cues hold the whole text; only punctuation that fits in no cue together with a word
/// is left out. The first cue starts at `start`, the final one ends at `end`, and each one ends
/// where the next one starts, or `max_duration` after its own start. Where there is not time for
/// all to last `min_duration`, what there is is shared out.
///
/// Each cue begins with its first word where the times of the `words` are known, except where that
/// would make one shorter than `min_duration`; otherwise the display columns of the text are taken
/// to be spoken evenly. An utterance whose `end` is not after its `start` is given `min_duration`,
/// or one millisecond per column.
pub(super) fn cues(text: &str, words: &[Word], start: u64, end: u64, layout: &Layout) -> Vec<Cue> {
    let text = normalise(text);
    if is_blank(&text) {
        return Vec::new();
    }
    let curve = Curve::exact(&text, words, start);
    let division = Division::new(&text, curve.as_ref(), start, end, layout);
    let parts = division.parts(&division.cue_ends());
    division.timed(&parts)
}

/// A boundary, and when it is spoken.
#[derive(Debug)]
struct TimedBoundary {
    boundary: Boundary,
    /// When the text before it has been spoken or, where word times are known, when the text after
    /// it begins.
    time: u64,
}

/// The text of a cue, and when the next one begins.
struct Part<'a> {
    text: &'a str,
    end: u64,
}

/// A normalised text and the limits of its cues.
struct Division<'a> {
    text: &'a str,
    /// Start and end of the text and all places in between.
    points: Vec<TimedBoundary>,
    start: u64,
    end: u64,
    max_columns: usize,
    min_duration: u64,
    max_duration: u64,
}

impl<'a> Division<'a> {
    fn new(text: &'a str, curve: Option<&Curve>, start: u64, end: u64, layout: &Layout) -> Self {
        let min_duration = layout.min_showing();
        let boundaries = boundaries(text);
        let columns = boundaries.last().map_or(0, |boundary| boundary.end_column);
        let end = if end > start {
            end
        } else if min_duration > 0 {
            start.saturating_add(min_duration)
        } else {
            start.saturating_add(TIME_PER_COLUMN.saturating_mul(columns as u64))
        };
        let evenly = |column: usize| scaled(end - start, column as u64, columns as u64);
        let timed = |boundary: Boundary| TimedBoundary {
            time: match (boundary.end, curve) {
                (0, _) => start,
                (_, Some(curve)) => curve.time_after(boundary.column).clamp(start, end),
                (_, None) => start.saturating_add(evenly(boundary.end_column)),
            },
            boundary,
        };
        Self {
            text,
            points: boundaries.into_iter().map(timed).collect(),
            start,
            end,
            max_columns: layout.max_chars.unwrap_or(usize::MAX),
            min_duration,
            max_duration: layout.max_showing(),
        }
    }

    /// The least number of cues that the limits may allow.
    fn least_cues(&self, columns: usize) -> usize {
        let duration = self.end.saturating_sub(self.start);
        let by_time = duration.div_ceil(self.max_duration);
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
        if count <= 1 {
            return vec![last];
        }
        let share = (columns / count).max(1);
        // For each point the least cost of the text before it, and the point where the last cue of
        // that text begins.
        let mut best = vec![(0, 0)];
        for (index, close) in self.points.iter().enumerate().skip(1) {
            let (cost, from) = self.best_cue(index, close, share, &best);
            let after = if index == last { 0 } else { break_cost(close) };
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
            if index - from > 1 && !self.fits(open, close) {
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
            && (!inner || close.time.saturating_sub(open.time) <= self.max_duration)
    }

    /// Cost of showing the text from `open` to `close` as one cue.
    fn cue_cost(&self, open: &TimedBoundary, close: &TimedBoundary, share: usize) -> u64 {
        if open.boundary.readable == close.boundary.readable {
            return COST_BLANK;
        }
        let off = columns_between(open, close).abs_diff(share) as u64;
        let share = share as u64;
        let imbalance = scaled(scaled(COST_IMBALANCE, off, share), off, share);
        let duration = close.time.saturating_sub(open.time);
        let short = match self.min_duration.saturating_sub(duration) {
            0 => 0,
            missing => scaled(COST_SHORT, missing, self.min_duration),
        };
        COST_CUE + imbalance.min(MAX_COST_IMBALANCE) + short
    }

    /// The texts between the points `ends`. The time of one that is blank goes to the one before,
    /// or after if it is the first.
    fn parts(&self, ends: &[usize]) -> Vec<Part<'a>> {
        let mut parts: Vec<Part<'a>> = Vec::with_capacity(ends.len());
        let mut open = self.points.first();
        for close in ends.iter().filter_map(|end| self.points.get(*end)) {
            let start = open.map_or(0, |open| open.boundary.start);
            open = Some(close);
            // Starts and ends of boundaries are between characters, in order.
            let text = self.text.get(start..close.boundary.end).unwrap_or_default();
            let end = close.time;
            match parts.last_mut() {
                _ if !is_blank(text) => parts.push(Part { text, end }),
                Some(before) => before.end = end,
                None => {}
            }
        }
        parts
    }

    /// The cues of `parts`, with times that keep to the limits.
    fn timed(&self, parts: &[Part]) -> Vec<Cue> {
        let count = parts.len() as u64;
        // At the very end of the range of timestamps there is only room before.
        let start = self.start.min(u64::MAX - count);
        let end = self.end.max(start + count); // cannot overflow, see above
        let share = (end - start) / count.max(1); // `end` is not before `start`
        let least = self.min_duration.max(RESOLUTION).min(share);
        let mut ends: Vec<_> = parts.iter().map(|part| part.end).collect();
        lengthen(&mut ends, start, end, least);

        let mut cues = Vec::with_capacity(parts.len());
        let mut begin = start;
        for (part, next) in parts.iter().zip(&ends) {
            cues.push(Cue {
                text: part.text.to_owned(),
                start: begin,
                end: begin.saturating_add(self.max_duration).min(*next),
            });
            begin = *next;
        }
        cues
    }
}

/// Moves `ends`, where cues that touch each other have been spoken, so that every cue between
/// `start` and `end` lasts at least `least`, for which there must be time; but none by more than
/// [`MAX_SHIFT`]. The final cue ends at `end`.
fn lengthen(ends: &mut [u64], start: u64, end: u64, least: u64) {
    let spoken = ends.to_vec();
    space_out(ends, start, end, least);
    for (cue_end, spoken) in ends.iter_mut().zip(spoken) {
        let latest = spoken.saturating_add(MAX_SHIFT);
        *cue_end = latest.min(*cue_end).max(spoken.saturating_sub(MAX_SHIFT));
    }
    space_out(ends, start, end, least.min(RESOLUTION));
}

/// Moves `ends` by as little as leaves `least` between each two of them, `start` and `end`.
fn space_out(ends: &mut [u64], start: u64, end: u64, least: u64) {
    if let Some(last) = ends.last_mut() {
        *last = end;
    }
    let mut begin = start;
    for cue_end in ends.iter_mut() {
        *cue_end = begin.saturating_add(least).max(*cue_end);
        begin = *cue_end;
    }
    let mut latest = end;
    for cue_end in ends.iter_mut().rev() {
        *cue_end = latest.min(*cue_end);
        latest = cue_end.saturating_sub(least);
    }
}

fn break_cost(point: &TimedBoundary) -> u64 {
    match point.boundary.kind {
        Break::Sentence => 0,
        Break::Clause => COST_CLAUSE,
        Break::Line => COST_LINE,
        Break::Tight => COST_TIGHT,
        Break::Cluster => COST_CLUSTER,
    }
}

/// Columns of a cue from `open` to `close`, without the white space around it.
fn columns_between(open: &TimedBoundary, close: &TimedBoundary) -> usize {
    close
        .boundary
        .end_column
        .saturating_sub(open.boundary.column)
}

/// `value * part / whole`, at most `u64::MAX`; `whole` is not 0.
fn scaled(value: u64, part: u64, whole: u64) -> u64 {
    let scaled = u128::from(value) * u128::from(part) / u128::from(whole.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
