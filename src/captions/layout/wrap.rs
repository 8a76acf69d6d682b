// SPDX-License-Identifier: MPL-2.0
//! Line breaks within a cue: as few lines as it takes, broken where that reads best and so that they
//! are about equally wide.

use std::collections::BTreeMap;

use super::super::lines::COST_CLUSTER;
use super::super::text::is_blank;
use super::{Division, MAX_CLUSTERS, TimedBoundary, columns_between, cost_of_width};

impl Division<'_> {
    /// How many lines the text between two points takes; `None` if these are too many.
    pub(super) fn lines_needed(&self, from: usize, to: usize) -> Option<usize> {
        let ends = std::iter::successors(Some(from), |at| self.line_ends.get(*at).copied());
        let mut lines = ends.take(self.max_lines).zip(1..);
        lines.find_map(|(at, count)| self.is_line(at, to).then_some(count))
    }

    /// The text between two points, with line breaks.
    pub(super) fn lines(&self, from: usize, to: usize) -> String {
        let count = self.lines_needed(from, to).unwrap_or(1);
        let ends = self.best_breaks(from, to, count);
        let starts = std::iter::once(from).chain(ends.iter().copied());
        let lines = starts
            .zip(ends.iter().copied().chain([to]))
            .map(|(start, end)| self.text_between(start, end));
        let lines: Vec<_> = lines.filter(|line| !is_blank(line)).collect();
        lines.join("\n")
    }

    /// Where to break the text between two points into `count` lines, such that the sum of the costs
    /// of all lines and breaks is least.
    fn best_breaks(&self, from: usize, to: usize, count: usize) -> Vec<usize> {
        let columns = self.columns(from, to);
        let share = (columns / count.max(1)).max(1);
        // For each point where the lines so far may end, their least cost and the breaks between.
        let mut ends = BTreeMap::from([(from, (0, Vec::new()))]);
        for _ in 1..count {
            let mut next: BTreeMap<usize, (u64, Vec<usize>)> = BTreeMap::new();
            for (start, (before, breaks)) in &ends {
                for end in self.possible_ends(*start, to) {
                    let cost = self.line_cost(*start, end, share).saturating_add(*before);
                    let is_better = next.get(&end).is_none_or(|(other, _)| cost < *other);
                    if is_better {
                        let breaks = [breaks.as_slice(), &[end]].concat();
                        next.insert(end, (cost, breaks));
                    }
                }
            }
            ends = next;
        }
        let fitting = ends.into_iter();
        let fitting = fitting.filter(|(start, _)| self.is_line(*start, to));
        let whole = fitting.map(|(start, (before, breaks))| {
            let cost = self.line_cost(start, to, share);
            (cost.saturating_add(before), breaks)
        });
        let best = whole.min_by_key(|(cost, _)| *cost);
        best.map(|(_, breaks)| breaks).unwrap_or_default()
    }

    /// Where a line may end that starts at `start`, before `to`.
    fn possible_ends(&self, start: usize, to: usize) -> impl Iterator<Item = usize> {
        (start + 1..to).take_while(move |end| self.is_line(start, *end))
    }

    /// Whether the text between two points fits on one line. What cannot be divided always does.
    fn is_line(&self, from: usize, to: usize) -> bool {
        to == from + 1 || from < to && self.columns(from, to) <= self.line_columns
    }

    /// Cost of a line and of the break after it.
    fn line_cost(&self, start: usize, end: usize, share: usize) -> u64 {
        let (Some(open), Some(close)) = (self.points.get(start), self.points.get(end)) else {
            return u64::MAX;
        };
        cost_of_width(open, close, share).saturating_add(close.cost)
    }

    fn columns(&self, from: usize, to: usize) -> usize {
        let ends = self.points.get(from).zip(self.points.get(to));
        ends.map_or(0, |(open, close)| columns_between(open, close))
    }

    pub(super) fn text_between(&self, from: usize, to: usize) -> &str {
        let start = self.points.get(from).map_or(0, |open| open.boundary.start);
        let end = self
            .points
            .get(to)
            .map_or(start, |close| close.boundary.end);
        // Starts and ends of boundaries are between characters, in order.
        self.text.get(start..end).unwrap_or_default()
    }
}

/// For each point, where a line of at most this many columns ends that begins there: as late as
/// possible, but not within a word unless that is longer than a line.
pub(super) fn line_ends(points: &[TimedBoundary], columns: usize) -> Vec<usize> {
    if columns == usize::MAX {
        return Vec::new();
    }
    let line_end = |(start, open): (usize, &TimedBoundary)| {
        let later = points.iter().enumerate().skip(start + 1);
        let fitting = later
            .take(MAX_CLUSTERS)
            .take_while(|(_, close)| columns_between(open, close) <= columns);
        let fitting: Vec<_> = fitting.collect();
        let best = fitting.iter().rfind(|(_, close)| close.cost < COST_CLUSTER);
        let end = best.or(fitting.last()).map_or(start + 1, |(end, _)| *end);
        end.min(points.len())
    };
    points.iter().enumerate().map(line_end).collect()
}
