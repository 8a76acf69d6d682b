// SPDX-License-Identifier: MPL-2.0
//! Decides whether incoming audio is contiguous with the audio before it, and what is sent if not.
//!
//! Timestamps of real sources jitter, come in bursts and drift although no audio is missing: audio
//! counts as contiguous until its timestamps have been off by more than [`THRESHOLD`] for
//! [`PATIENCE`] without interruption, as in `GstAudioStreamAlign`. A flagged discontinuity is
//! trusted at once. Then there are three cases:
//!
//! - The timestamps are off by less than a pause in speech. They are corrected from the point where
//!   the deviation started; no audio is inserted.
//! - Audio is missing. The hole is filled with silence: completely if it is short, or else with as
//!   much as ends an utterance. Audio with timestamps that far off is held back until the case is
//!   clear, since a single stray timestamp would cut an utterance in two. (If the source is not
//!   live, all audio that is off is held back: latency does not matter then.)
//! - Timestamps went back. The session has to end, as at a new segment.
//!
//! Used by the streaming thread, for all sessions that receive its audio.

use std::time::Duration;

use crate::audio::{Coding, Format};
use crate::timeline::{Position, Samples, Timestamp};

/// Tolerated deviation of timestamps: capture clocks jitter, and containers round. The same as in
/// GstAudioBaseSink and the base class of decoders.
const THRESHOLD: Duration = Duration::from_millis(40);

/// How long timestamps have to be off, in audio: a second, as in `GstAudioStreamAlign`.
const PATIENCE: Duration = Duration::from_secs(1);

/// A deviation larger than this, and than the pause that ends an utterance, is a hole.
const MIN_HOLE: Duration = Duration::from_millis(600);

/// Timestamps that go back by less than this are corrected.
const MIN_LEAP_BACK: Duration = Duration::from_secs(1);

/// Holes up to this long are filled with silence, so that a sentence survives a lost packet.
const FILLED_HOLE: Duration = Duration::from_secs(2);

/// Silence to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    pub time: Timestamp,
    pub samples: Samples,
}

/// A correction: audio that was sent is earlier or later than stated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// Where the correction starts, in the original timestamps.
    pub since: Timestamp,
    /// By how much it is later, in nanoseconds; negative if it is earlier.
    pub by: i64,
}

/// How to send audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Plan {
    /// First: a correction of the audio sent so far.
    pub moved: Option<Moved>,
    /// Next: silence to insert.
    pub silence: Option<Silence>,
    /// Timestamp of the first sample, if it is not contiguous with the audio or silence before it.
    pub jump: Option<Timestamp>,
}

/// The action for incoming audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Send it, after the held-back audio: the plan applies to the first of both.
    Send(Plan),
    /// Hold it back. `release` says to send the audio held back before, which is contiguous.
    Hold { release: bool },
    /// Timestamps went back by this much: the held-back audio and this start another session.
    Restart { back: Duration },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Aligned,
    /// The audio is contiguous, but its timestamps have been slightly off.
    Off {
        /// Where the deviation started, in the original timestamps.
        since: Timestamp,
        samples: Samples,
        /// Sum of the deviations in nanoseconds, each times its number of samples.
        weight: i128,
    },
    /// Audio that is far off is held back; it is contiguous in itself.
    Holding {
        time: Timestamp,
        samples: Samples,
    },
}

/// Checks that timestamps and number of samples agree, as audio arrives.
#[derive(Debug)]
pub struct Continuity {
    /// Samples per second.
    rate: u32,
    coding: Coding,
    /// Silence that is certain to end an utterance.
    pause: Duration,
    is_live: bool,
    /// Reference point from which both are counted.
    anchor: Option<(Position, Timestamp)>,
    clock: Position,
    /// Length of the silence inserted since the latest audio.
    silent_for: Duration,
    state: State,
}

impl Continuity {
    /// `pause` is the silence after which the recogniser ends an utterance. Audio that is not live
    /// can be held back until the case is certain.
    pub fn new(format: Format, pause: Duration, is_live: bool) -> Self {
        Self {
            rate: format.clock_rate(),
            coding: format.coding,
            pause,
            is_live,
            anchor: None,
            clock: Position::default(),
            silent_for: Duration::ZERO,
            state: State::Aligned,
        }
    }

    /// Timestamp at which the audio sent so far ends; `None` before the first.
    pub fn expected(&self) -> Option<Timestamp> {
        let (clock, time) = self.anchor?;
        Some(time + self.clock.since(clock).duration(self.rate))
    }

    /// Audio arrived. Without a timestamp it is contiguous, or starts at `default`. `discont` says
    /// that it is flagged as discontinuous.
    pub fn audio(
        &mut self,
        time: Option<Timestamp>,
        default: Timestamp,
        samples: Samples,
        discont: bool,
    ) -> Placement {
        let Some(expected) = self.expected() else {
            let jump = Some(self.start_at(time.unwrap_or(default)));
            self.take(samples);
            return Placement::Send(Plan {
                jump,
                ..Plan::default()
            });
        };
        if let State::Holding {
            time: start,
            samples: held,
        } = self.state
        {
            let held_for = held.duration(self.rate);
            // Without a timestamp it follows whatever came before.
            let time = time.unwrap_or(start + held_for);
            if time.abs_diff(expected + held_for) > THRESHOLD {
                return self.hold(time, expected, samples);
            }
            self.take(held);
        }
        let expected = self.expected().unwrap_or(expected);
        let time = time.unwrap_or(expected);
        if time.abs_diff(expected) <= THRESHOLD {
            self.state = State::Aligned;
            self.take(samples);
            return Placement::Send(Plan::default());
        }
        if discont {
            return self.decide(time, expected, samples, true);
        }
        let leaps_back = expected.since(time) >= MIN_LEAP_BACK;
        if !self.is_live || leaps_back || self.is_hole(time, expected) {
            return self.hold(time, expected, samples);
        }
        Placement::Send(self.bear(time, expected, samples))
    }

    /// Whether the hole is too long for an utterance to have continued.
    fn is_hole(&self, time: Timestamp, expected: Timestamp) -> bool {
        time.since(expected) >= self.pause.max(MIN_HOLE)
    }

    /// Sends audio that is off by less than a pause, and corrects the timestamps if they have been
    /// off long enough.
    fn bear(&mut self, time: Timestamp, expected: Timestamp, samples: Samples) -> Plan {
        let off = i128::from(time.nanos()) - i128::from(expected.nanos());
        let (since, before, weight) = match self.state {
            State::Off {
                since,
                samples,
                weight,
            } => (since, samples, weight),
            State::Aligned | State::Holding { .. } => (expected, Samples(0), 0),
        };
        let all = before + samples;
        let weight = weight + off * i128::from(samples.0);
        self.state = State::Off {
            since,
            samples: all,
            weight,
        };
        self.take(samples);
        if all.duration(self.rate) < PATIENCE {
            return Plan::default();
        }
        let by = (weight / i128::from(all.0.max(1))) as i64;
        self.state = State::Aligned;
        let end = self.expected().unwrap_or(expected);
        self.start_at(end.moved(by));
        Plan {
            moved: Some(Moved { since, by }),
            silence: None,
            jump: Some(expected.moved(by)),
        }
    }

    /// Holds back audio that is far off until it is clear whether the deviation lasts.
    fn hold(&mut self, time: Timestamp, expected: Timestamp, samples: Samples) -> Placement {
        let (start, held) = match self.state {
            State::Holding { time, samples } => (time, samples),
            State::Aligned | State::Off { .. } => (time, Samples(0)),
        };
        let follows = start + held.duration(self.rate);
        // Held-back timestamps may jitter as well.
        if time.abs_diff(follows) > MIN_HOLE {
            // The held-back timestamps were stray.
            self.take(held);
            self.state = State::Holding { time, samples };
            return Placement::Hold { release: true };
        }
        let all = held + samples;
        if all.duration(self.rate) < PATIENCE {
            self.state = State::Holding {
                time: start,
                samples: all,
            };
            return Placement::Hold { release: false };
        }
        self.decide(start, expected, all, false)
    }

    /// Nothing follows the held-back audio, at least not at once: returns the action for it.
    pub fn flush(&mut self) -> Placement {
        match (self.state, self.expected()) {
            (State::Holding { time, samples }, Some(expected)) => {
                self.decide(time, expected, samples, false)
            }
            _ => Placement::Send(Plan::default()),
        }
    }

    /// Accepts the timestamp of the audio. If it is not flagged as discontinuous, a short hole is
    /// not filled, since silence would tear a word.
    fn decide(
        &mut self,
        time: Timestamp,
        expected: Timestamp,
        samples: Samples,
        discont: bool,
    ) -> Placement {
        self.state = State::Aligned;
        let back = expected.since(time);
        if back >= MIN_LEAP_BACK {
            return Placement::Restart { back };
        }
        let plan = if discont || self.is_hole(time, expected) {
            self.reach(time, expected)
        } else {
            Plan {
                jump: Some(self.start_at(time)),
                ..Plan::default()
            }
        };
        self.take(samples);
        Placement::Send(plan)
    }

    /// Upstream announced that there is no audio until `end`. Returns the silence to send for it:
    /// enough to end an utterance, not more. No audio may be held back.
    pub fn gap(&mut self, start: Timestamp, end: Timestamp) -> Option<Silence> {
        let expected = self.expected();
        let expected = expected.unwrap_or_else(|| self.start_at(start));
        self.fill(expected, end.since(expected))
    }

    fn start_at(&mut self, time: Timestamp) -> Timestamp {
        self.anchor = Some((self.clock, time));
        time
    }

    fn take(&mut self, samples: Samples) {
        self.clock += samples;
        self.silent_for = Duration::ZERO;
    }

    fn reach(&mut self, time: Timestamp, expected: Timestamp) -> Plan {
        let silence = self.fill(expected, time.since(expected));
        let reached = self
            .expected()
            .is_some_and(|now| now.abs_diff(time) <= THRESHOLD);
        let jump = !reached || silence.is_none();
        Plan {
            moved: None,
            silence,
            jump: jump.then(|| self.start_at(time)),
        }
    }

    /// Silence for a hole: all of it if it is short, else as much as ends an utterance.
    fn fill(&mut self, from: Timestamp, hole: Duration) -> Option<Silence> {
        let enough = self.pause.max(FILLED_HOLE).saturating_sub(self.silent_for);
        let length = if hole <= enough {
            hole
        } else {
            enough.min(self.pause)
        };
        let step = self.coding.step();
        let samples = Samples::within(length, self.rate);
        let samples = Samples(samples.0 / step.0 * step.0);
        if samples.is_none() {
            return None;
        }
        self.silent_for += length;
        self.clock += samples;
        Some(Silence {
            time: from,
            samples,
        })
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
