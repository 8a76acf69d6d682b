// SPDX-License-Identifier: MPL-2.0
//! Maps positions in a connection's audio to timestamps of the stream. Used by everything below the
//! captions.
//!
//! The service counts the samples that it was sent over a connection, and reports positions in
//! them. The stream has timestamps, with gaps, jumps and lost buffers. A [`Timeline`] records, as a
//! table of anchors, which sample of a connection has which timestamp.
//!
//! The types for times and lengths of audio that all code shares are here, too.

use std::collections::VecDeque;
use std::fmt;
use std::ops::{Add, AddAssign, Mul, Sub};
use std::time::Duration;

/// A timestamp: a PTS in the stream's segment, in nanoseconds.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The end of the range of timestamps.
    pub const MAX: Self = Self(u64::MAX);

    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Time since an earlier timestamp; zero if that is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    pub fn abs_diff(self, other: Self) -> Duration {
        Duration::from_nanos(self.0.abs_diff(other.0))
    }

    /// The timestamp shifted by this number of nanoseconds.
    pub fn moved(self, by: i64) -> Self {
        Self(self.0.saturating_add_signed(by))
    }
}

/// Saturates rather than wraps: timestamps come from outside.
impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, length: Duration) -> Self {
        Self(self.0.saturating_add(nanos(length)))
    }
}

/// Saturates, too.
impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, length: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(length)))
    }
}

/// Tests count in milliseconds.
#[cfg(test)]
impl Timestamp {
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    pub const fn millis(self) -> u64 {
        self.0 / 1_000_000
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Duration::from_nanos(self.0), f)
    }
}

/// A span from one timestamp to another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    pub start: Timestamp,
    pub end: Timestamp,
}

impl Span {
    pub const fn new(start: Timestamp, end: Timestamp) -> Self {
        Self { start, end }
    }

    pub fn length(self) -> Duration {
        self.end.since(self.start)
    }

    pub fn middle(self) -> Timestamp {
        self.start + self.length() / 2
    }

    /// The span with both ends in milliseconds.
    #[cfg(test)]
    pub const fn from_millis(start: u64, end: u64) -> Self {
        Self::new(Timestamp::from_millis(start), Timestamp::from_millis(end))
    }

    pub fn contains(self, time: Timestamp) -> bool {
        self.start <= time && time < self.end
    }

    pub fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// The smallest span that contains both.
    pub fn hull(self, other: Self) -> Self {
        Self::new(self.start.min(other.start), self.end.max(other.end))
    }
}

/// A number of samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Samples(pub u64);

impl Samples {
    /// Number of whole samples in a length of time.
    pub fn within(length: Duration, rate: u32) -> Self {
        let samples = length.as_nanos() * u128::from(rate) / 1_000_000_000;
        Self(u64::try_from(samples).unwrap_or(u64::MAX))
    }

    /// Their duration.
    pub fn duration(self, rate: u32) -> Duration {
        let nanos = u128::from(self.0) * 1_000_000_000 / u128::from(rate.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl Add for Samples {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Samples {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Samples {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Mul<u64> for Samples {
    type Output = Self;

    fn mul(self, times: u64) -> Self {
        Self(self.0.saturating_mul(times))
    }
}

/// A position in the audio of one connection: the number of samples before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(pub u64);

impl Position {
    /// Number of samples since an earlier position; zero if that is later.
    pub fn since(self, earlier: Self) -> Samples {
        Samples(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Samples> for Position {
    type Output = Self;

    fn add(self, samples: Samples) -> Self {
        Self(self.0.saturating_add(samples.0))
    }
}

impl AddAssign<Samples> for Position {
    fn add_assign(&mut self, samples: Samples) {
        *self = *self + samples;
    }
}

impl Sub<Samples> for Position {
    type Output = Self;

    fn sub(self, samples: Samples) -> Self {
        Self(self.0.saturating_sub(samples.0))
    }
}

/// Nanoseconds, as in GStreamer.
pub fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

/// Timestamp of audio that is known to have arrived.
pub fn known(time: Option<Timestamp>) -> Timestamp {
    debug_assert!(time.is_some(), "audio that came has no time");
    time.unwrap_or_default()
}

/// From this position on, timestamps count from `time`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Anchor {
    clock: Position,
    time: Timestamp,
    /// Silence inserted for the service, which takes no time in the stream.
    is_padding: bool,
}

/// Audio with contiguous timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Timestamp of the first sample.
    pub time: Timestamp,
    pub samples: Samples,
    /// Inserted silence, see [`Timeline::pad`].
    pub is_padding: bool,
}

/// The timestamps of a connection's samples.
#[derive(Debug)]
pub struct Timeline {
    rate: u32,
    /// Ascending by clock; between two of them time advances with the samples, except in padding.
    anchors: VecDeque<Anchor>,
    clock: Position,
}

impl Timeline {
    pub fn new(rate: u32) -> Self {
        Self {
            rate,
            anchors: VecDeque::new(),
            clock: Position::default(),
        }
    }

    /// Samples per second.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// Position after the latest recorded sample: the service's audio clock.
    pub fn clock(&self) -> Position {
        self.clock
    }

    /// Records `samples` samples of sent audio, the first of which has this timestamp.
    pub fn append(&mut self, time: Timestamp, samples: Samples) {
        if self.anchors.len() == 1
            && let Some(leading) = self.anchors.front_mut()
            && leading.is_padding
            && leading.clock == Position::default()
        {
            leading.time = time;
        }
        let rounding = Samples(1).duration(self.rate) + Duration::from_nanos(1);
        let continues = self.anchors.back().is_some_and(|newest| {
            !newest.is_padding && self.extrapolate(*newest, self.clock).abs_diff(time) <= rounding
        });
        if !continues {
            self.anchors.push_back(Anchor {
                clock: self.clock,
                time,
                is_padding: false,
            });
        }
        self.clock += samples;
    }

    /// Records `samples` samples of sent silence that is not part of the stream: all of them have
    /// the timestamp at which the preceding audio ends, or, before any audio, at which the first
    /// starts.
    pub fn pad(&mut self, samples: Samples) {
        if self.anchors.back().is_none_or(|newest| !newest.is_padding) {
            self.anchors.push_back(Anchor {
                clock: self.clock,
                time: self.end_time(self.clock).unwrap_or_default(),
                is_padding: true,
            });
        }
        self.clock += samples;
    }

    /// Timestamp of the sample at this position: for something that starts there.
    pub fn start_time(&self, clock: Position) -> Option<Timestamp> {
        let after = self.anchors.partition_point(|anchor| anchor.clock <= clock);
        self.at(after, clock)
    }

    /// Timestamp at which the sample before this position ends: for something that ends there.
    pub fn end_time(&self, clock: Position) -> Option<Timestamp> {
        let after = self.anchors.partition_point(|anchor| anchor.clock < clock);
        self.at(after, clock)
    }

    /// The audio recorded from this position on, in stretches with contiguous timestamps.
    pub fn stretches(&self, from: Position) -> Vec<Stretch> {
        let first = self.anchors.partition_point(|anchor| anchor.clock <= from);
        let starts = self.anchors.range(first.saturating_sub(1)..);
        let ends = self.anchors.range(first..).map(|anchor| anchor.clock);
        starts
            .zip(ends.chain([self.clock]))
            .map(|(anchor, end)| {
                let start = anchor.clock.max(from);
                Stretch {
                    time: self.extrapolate(*anchor, start),
                    samples: end.since(start),
                    is_padding: anchor.is_padding,
                }
            })
            .filter(|stretch| !stretch.samples.is_none())
            .collect()
    }

    /// Shifts everything from this timestamp on by `by` nanoseconds; negative is earlier.
    pub fn move_since(&mut self, time: Timestamp, by: i64) {
        let Some(at) = self.anchors.iter().rposition(|anchor| anchor.time <= time) else {
            return;
        };
        let anchor = self.anchors[at];
        let end = self
            .anchors
            .get(at + 1)
            .map_or(self.clock, |next| next.clock);
        let clock = anchor.clock + Samples::within(time.since(anchor.time), self.rate);
        let mut moved = at + 1;
        if clock > anchor.clock && clock < end && !anchor.is_padding {
            let time = self.extrapolate(anchor, clock);
            self.anchors.insert(
                moved,
                Anchor {
                    clock,
                    time,
                    ..anchor
                },
            );
        } else if clock == anchor.clock {
            moved = at;
        }
        for anchor in self.anchors.range_mut(moved..) {
            anchor.time = anchor.time.moved(by);
        }
    }

    /// Discards data that is only needed for positions before this one.
    pub fn forget_before(&mut self, clock: Position) {
        while self
            .anchors
            .get(1)
            .is_some_and(|second| second.clock <= clock)
        {
            self.anchors.pop_front();
        }
    }

    fn at(&self, after: usize, clock: Position) -> Option<Timestamp> {
        let anchor = self.anchors.get(after.saturating_sub(1));
        debug_assert!(
            anchor.is_some() || self.clock == Position::default(),
            "what was noted has no time"
        );
        let anchor = anchor?;
        Some(self.extrapolate(*anchor, clock))
    }

    fn extrapolate(&self, anchor: Anchor, clock: Position) -> Timestamp {
        let samples = if anchor.is_padding {
            Samples(0)
        } else {
            clock.since(anchor.clock)
        };
        anchor.time + samples.duration(self.rate)
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
