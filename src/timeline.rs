// SPDX-License-Identifier: MPL-2.0
//! Positions in the audio and timestamps of the stream.
//!
//! The service counts the samples that it was sent over a connection and reports positions in them.
//! The stream has timestamps, with gaps, jumps and lost buffers. A [`Timeline`] remembers which
//! sample of a connection has which timestamp, as a table of anchors.
//!
//! Times are in nanoseconds, positions and lengths in samples.

use std::collections::VecDeque;

pub const SECOND: u64 = 1_000_000_000;

/// Duration of a number of samples.
pub fn duration_of(samples: u64, rate: u32) -> u64 {
    (u128::from(samples) * u128::from(SECOND) / u128::from(rate.max(1))) as u64
}

/// Number of whole samples in a duration.
pub fn samples_in(duration: u64, rate: u32) -> u64 {
    (u128::from(duration) * u128::from(rate) / u128::from(SECOND)) as u64
}

/// From this position on, timestamps begin at `time`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Anchor {
    clock: u64,
    time: u64,
    /// Silence that was made up for the service and takes no time in the stream.
    is_padding: bool,
}

/// Audio whose timestamps go on without a break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Timestamp of the first sample, in nanoseconds.
    pub time: u64,
    pub samples: u64,
    /// Made up, see [`Timeline::pad`].
    pub is_padding: bool,
}

/// Which timestamp each sample of a connection has.
#[derive(Debug)]
pub struct Timeline {
    rate: u32,
    /// Ascending by clock; between two of them time runs with the samples, except in padding.
    anchors: VecDeque<Anchor>,
    clock: u64,
}

impl Timeline {
    pub fn new(rate: u32) -> Self {
        Timeline {
            rate,
            anchors: VecDeque::new(),
            clock: 0,
        }
    }

    /// Samples per second.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// Samples noted so far: the service's audio clock.
    pub fn clock(&self) -> u64 {
        self.clock
    }

    /// Notes that `samples` samples were sent, the first of which has the given time.
    pub fn append(&mut self, time: u64, samples: u64) {
        let rounding = SECOND / u64::from(self.rate.max(1)) + 1;
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

    /// Notes that `samples` samples of silence were sent that the stream does not have: all of them
    /// have the timestamp at which the audio before them ends.
    pub fn pad(&mut self, samples: u64) {
        if self.anchors.back().is_none_or(|newest| !newest.is_padding) {
            self.anchors.push_back(Anchor {
                clock: self.clock,
                time: self.end_time(self.clock).unwrap_or_default(),
                is_padding: true,
            });
        }
        self.clock += samples;
    }

    /// The time of the sample at this position: of something that starts there.
    pub fn start_time(&self, clock: u64) -> Option<u64> {
        let after = self.anchors.partition_point(|anchor| anchor.clock <= clock);
        self.at(after, clock)
    }

    /// The time at which the sample before this position ends: of something that ends there.
    pub fn end_time(&self, clock: u64) -> Option<u64> {
        let after = self.anchors.partition_point(|anchor| anchor.clock < clock);
        self.at(after, clock)
    }

    /// What was noted from this position on, in stretches of continuous time.
    pub fn stretches(&self, from: u64) -> Vec<Stretch> {
        let first = self.anchors.partition_point(|anchor| anchor.clock <= from);
        let starts = self.anchors.range(first.saturating_sub(1)..);
        let ends = self.anchors.range(first..).map(|anchor| anchor.clock);
        starts
            .zip(ends.chain([self.clock]))
            .map(|(anchor, end)| {
                let start = anchor.clock.max(from);
                Stretch {
                    time: self.extrapolate(*anchor, start),
                    samples: end.saturating_sub(start),
                    is_padding: anchor.is_padding,
                }
            })
            .filter(|stretch| stretch.samples > 0)
            .collect()
    }

    /// Everything from this timestamp on turns out to be `by` nanoseconds later, or earlier.
    pub fn move_since(&mut self, time: u64, by: i64) {
        let Some(at) = self.anchors.iter().rposition(|anchor| anchor.time <= time) else {
            return;
        };
        let anchor = self.anchors[at];
        let end = self
            .anchors
            .get(at + 1)
            .map_or(self.clock, |next| next.clock);
        let clock = anchor.clock + samples_in(time - anchor.time, self.rate);
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
            anchor.time = anchor.time.saturating_add_signed(by);
        }
    }

    /// Forgets what is only needed for positions before this one.
    pub fn forget_before(&mut self, clock: u64) {
        while self
            .anchors
            .get(1)
            .is_some_and(|second| second.clock <= clock)
        {
            self.anchors.pop_front();
        }
    }

    fn at(&self, after: usize, clock: u64) -> Option<u64> {
        let anchor = self.anchors.get(after.saturating_sub(1))?;
        Some(self.extrapolate(*anchor, clock))
    }

    fn extrapolate(&self, anchor: Anchor, clock: u64) -> u64 {
        let samples = if anchor.is_padding {
            0
        } else {
            clock.saturating_sub(anchor.clock)
        };
        anchor.time.saturating_add(duration_of(samples, self.rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn positions_become_times_across_jumps() {
        let mut timeline = Timeline::new(16000);
        assert_eq!(timeline.start_time(0), None);
        timeline.append(10 * SECOND, 1600);
        timeline.append(10 * SECOND + 100 * MS, 1600);
        timeline.append(20 * SECOND, 1600);
        assert_eq!(timeline.clock(), 4800);
        assert_eq!(timeline.anchors.len(), 2);
        assert_eq!(timeline.start_time(0), Some(10 * SECOND));
        assert_eq!(timeline.start_time(800), Some(10 * SECOND + 50 * MS));
        assert_eq!(timeline.end_time(3200), Some(10 * SECOND + 200 * MS));
        assert_eq!(timeline.start_time(3200), Some(20 * SECOND));
        assert_eq!(timeline.end_time(4800), Some(20 * SECOND + 100 * MS));
    }

    #[test]
    fn stretches_cover_what_was_noted() {
        let mut timeline = Timeline::new(1000);
        timeline.append(5 * SECOND, 100);
        timeline.append(7 * SECOND, 50);
        timeline.append(SECOND, 10);
        let ms = |ms: u64| ms * MS;
        let stretches = |from| -> Vec<_> {
            let stretches = timeline.stretches(from).into_iter();
            stretches.map(|s| (s.time, s.samples)).collect()
        };
        assert_eq!(
            stretches(40),
            [(ms(5040), 60), (ms(7000), 50), (ms(1000), 10)]
        );
        assert_eq!(stretches(100), [(ms(7000), 50), (ms(1000), 10)]);
        assert_eq!(stretches(155), [(ms(1005), 5)]);
        assert_eq!(stretches(160), []);
        assert_eq!(Timeline::new(1000).stretches(0), []);
    }

    #[test]
    fn what_was_noted_can_be_moved() {
        let timeline = || {
            let mut timeline = Timeline::new(1000);
            timeline.append(5 * SECOND, 100);
            timeline.pad(50);
            timeline.append(5100 * MS, 100);
            timeline
        };
        let moved = |time: u64, by: i64| {
            let mut timeline = timeline();
            timeline.move_since(time * MS, by * MS as i64);
            let time = |position| timeline.start_time(position).unwrap() / MS;
            [0, 99, 120, 150, 249].map(time)
        };
        assert_eq!(moved(5150, 400), [5000, 5099, 5100, 5100, 5599]);
        assert_eq!(moved(5100, -20), [5000, 5099, 5100, 5080, 5179]);
        assert_eq!(moved(5050, 400), [5000, 5499, 5500, 5500, 5599]);
        assert_eq!(moved(5000, 400), [5400, 5499, 5500, 5500, 5599]);
        assert_eq!(
            moved(1000, 400),
            [5000, 5099, 5100, 5100, 5199],
            "long gone"
        );
        assert_eq!(moved(9000, 400), [5000, 5099, 5100, 5100, 5199], "not yet");
    }

    #[test]
    fn padding_takes_no_time() {
        let mut timeline = Timeline::new(1000);
        timeline.append(5 * SECOND, 100);
        timeline.pad(50);
        timeline.pad(50);
        timeline.append(5100 * MS, 100);
        assert_eq!(timeline.clock(), 300);
        let times = [
            (0, 5000),
            (100, 5100),
            (150, 5100),
            (200, 5100),
            (250, 5150),
        ];
        for (position, ms) in times {
            assert_eq!(timeline.start_time(position), Some(ms * MS), "{position}");
        }
        assert_eq!(timeline.end_time(180), Some(5100 * MS));
        let kinds: Vec<_> = timeline
            .stretches(50)
            .iter()
            .map(|s| (s.samples, s.is_padding))
            .collect();
        assert_eq!(kinds, [(50, false), (100, true), (100, false)]);
    }

    #[test]
    fn rounding_does_not_add_up_over_a_day() {
        let mut timeline = Timeline::new(16000);
        let mut samples = 0;
        for _ in 0..1_000_000 {
            timeline.append(duration_of(samples, 16000), 1381);
            samples += 1381;
        }
        assert_eq!(timeline.anchors.len(), 1);
        assert_eq!(
            timeline.end_time(samples),
            Some(duration_of(samples, 16000))
        );
    }

    #[test]
    fn the_past_is_forgotten_and_the_present_kept() {
        let mut timeline = Timeline::new(8000);
        for n in 0..100 {
            timeline.append(n * SECOND, 800);
        }
        timeline.forget_before(79_200);
        assert_eq!(timeline.anchors.len(), 1);
        assert_eq!(timeline.start_time(79_200), Some(99 * SECOND));
        assert_eq!(
            timeline.start_time(0),
            Some(99 * SECOND),
            "before the first: the first"
        );
    }
}

#[cfg(test)]
#[path = "timeline_properties.rs"]
mod properties;
