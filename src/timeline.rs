// SPDX-License-Identifier: MPL-2.0
//! The audio clock and the stream's time.
//!
//! The service counts the samples it was sent and reports positions on that clock. The stream has
//! timestamps, with gaps, jumps and lost buffers. [`Continuity`] decides what is sent for what
//! arrives; [`Timeline`] remembers which sample belongs to which time, as a table of breakpoints.
//!
//! Times are in nanoseconds, positions and lengths in samples.

use std::collections::VecDeque;

const SECOND: u64 = 1_000_000_000;

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

/// Timestamps may wander this far from the sample count before it means anything: capture clocks
/// jitter, and containers round.
const JITTER: u64 = 20_000_000;

/// Holes up to this long are filled with silence, so that a sentence survives a lost packet.
const FILLED_HOLE: u64 = 2 * SECOND;

/// What to send for a buffer or gap: first silence, then the audio, from the given times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Plan {
    /// Time and number of the silent samples, if any.
    pub silence: Option<(u64, u64)>,
    /// Time of the first sample of the audio itself.
    pub time: u64,
    /// The audio does not continue what was sent before.
    pub jumped: bool,
}

/// Watches that time and samples stay together, as audio comes in.
#[derive(Debug)]
pub struct Continuity {
    rate: u32,
    /// Silence that surely ends an utterance, in nanoseconds.
    pause: u64,
    /// Position and timestamp from which both are counted on.
    anchor: Option<(u64, u64)>,
    clock: u64,
    /// Silence made up since the last audio, in nanoseconds.
    silent_for: u64,
}

impl Continuity {
    /// `pause` is the silence after which the recogniser ends an utterance, in nanoseconds.
    pub fn new(rate: u32, pause: u64) -> Self {
        Continuity {
            rate,
            pause,
            anchor: None,
            clock: 0,
            silent_for: 0,
        }
    }

    /// Time at which the next sample is expected; `None` before the first.
    pub fn expected(&self) -> Option<u64> {
        let (clock, time) = self.anchor?;
        Some(time.saturating_add(duration_of(self.clock - clock, self.rate)))
    }

    /// Audio arrived. Without a timestamp it continues what came before, or starts at `default`.
    pub fn audio(&mut self, time: Option<u64>, default: u64, samples: u64) -> Plan {
        let plan = match (time, self.expected()) {
            (None, None) => self.start_at(default),
            (Some(time), None) => self.start_at(time),
            (None, Some(expected)) => Plan {
                time: expected,
                ..Plan::default()
            },
            (Some(time), Some(expected)) => self.reach(time, expected),
        };
        self.clock += samples;
        self.silent_for = 0;
        plan
    }

    /// Upstream says that nothing is to be heard until `end`. Returns the time and number of
    /// silent samples to send for it: enough to end an utterance, not more.
    pub fn gap(&mut self, start: u64, end: u64) -> Option<(u64, u64)> {
        let expected = match self.expected() {
            Some(expected) => expected,
            None => self.start_at(start).time,
        };
        self.fill(expected, end.saturating_sub(expected))
    }

    fn start_at(&mut self, time: u64) -> Plan {
        self.anchor = Some((self.clock, time));
        Plan {
            time,
            jumped: true,
            ..Plan::default()
        }
    }

    fn reach(&mut self, time: u64, expected: u64) -> Plan {
        if time.abs_diff(expected) <= JITTER {
            return Plan {
                time: expected,
                ..Plan::default()
            };
        }
        let silence = self.fill(expected, time.saturating_sub(expected));
        let reached = self
            .expected()
            .is_some_and(|now| now.abs_diff(time) <= JITTER);
        if reached && silence.is_some() {
            return Plan {
                silence,
                time: self.expected().unwrap_or(time),
                jumped: false,
            };
        }
        Plan {
            silence,
            ..self.start_at(time)
        }
    }

    /// Silence for a hole: all of it if it is small, else as much as ends an utterance.
    fn fill(&mut self, from: u64, hole: u64) -> Option<(u64, u64)> {
        let enough = self.pause.max(FILLED_HOLE).saturating_sub(self.silent_for);
        let length = if hole <= enough {
            hole
        } else {
            enough.min(self.pause)
        };
        let samples = samples_in(length, self.rate);
        if samples == 0 {
            return None;
        }
        self.silent_for += length;
        self.clock += samples;
        Some((from, samples))
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

    fn continuity() -> Continuity {
        let mut continuity = Continuity::new(16000, 800 * MS);
        assert!(continuity.audio(Some(SECOND), 0, 16000).jumped);
        continuity
    }

    #[test]
    fn jitter_is_smoothed() {
        let mut continuity = continuity();
        for jitter in [-19, 15, 0, 20] {
            let expected = continuity.expected().unwrap();
            let plan = continuity.audio(expected.checked_add_signed(jitter * 1_000_000), 0, 320);
            assert_eq!(
                plan,
                Plan {
                    time: expected,
                    silence: None,
                    jumped: false
                }
            );
        }
    }

    #[test]
    fn small_holes_are_filled_and_large_ones_jumped() {
        let mut continuity = continuity();
        let plan = continuity.audio(Some(2300 * MS), 0, 1600);
        assert_eq!(
            plan,
            Plan {
                silence: Some((2 * SECOND, 4800)),
                time: 2300 * MS,
                jumped: false
            }
        );
        let plan = continuity.audio(Some(7400 * MS), 0, 1600);
        assert_eq!(
            plan,
            Plan {
                silence: Some((2400 * MS, 12800)),
                time: 7400 * MS,
                jumped: true
            }
        );
        assert_eq!(continuity.expected(), Some(7500 * MS));
    }

    #[test]
    fn time_that_goes_back_is_a_jump_without_silence() {
        let mut continuity = continuity();
        let plan = continuity.audio(Some(0), 0, 1600);
        assert_eq!(
            plan,
            Plan {
                silence: None,
                time: 0,
                jumped: true
            }
        );
    }

    #[test]
    fn buffers_without_timestamps_follow_each_other() {
        let mut continuity = Continuity::new(8000, SECOND);
        assert_eq!(continuity.audio(None, 5 * SECOND, 800).time, 5 * SECOND);
        let plan = continuity.audio(None, 5 * SECOND, 800);
        assert_eq!(
            plan,
            Plan {
                time: 5100 * MS,
                silence: None,
                jumped: false
            }
        );
    }

    #[test]
    fn endless_gaps_cost_a_bounded_amount_of_silence() {
        let mut continuity = continuity();
        let mut sent = 0;
        for n in 0..100 {
            let start = 2 * SECOND + n * 200 * MS;
            sent += continuity
                .gap(start, start + 200 * MS)
                .map_or(0, |(_, samples)| samples);
        }
        assert_eq!(duration_of(sent, 16000), 2 * SECOND);
        let plan = continuity.audio(Some(22 * SECOND), 0, 1600);
        assert_eq!((plan.time, plan.jumped), (22 * SECOND, true));
    }

    #[test]
    fn a_gap_before_any_audio_starts_the_clock() {
        let mut continuity = Continuity::new(16000, SECOND);
        assert_eq!(
            continuity.gap(3 * SECOND, 3500 * MS),
            Some((3 * SECOND, 8000))
        );
        assert_eq!(continuity.audio(Some(3500 * MS), 0, 160).time, 3500 * MS);
    }
}

#[cfg(test)]
#[path = "timeline_properties.rs"]
mod properties;
