// SPDX-License-Identifier: MPL-2.0
//! Whether audio that arrives goes on where the audio before it ended, and what is sent if not.
//!
//! Timestamps of real sources jitter, come in bursts and drift, and the audio is whole all the same:
//! it goes on in samples until its timestamps have been off by more than [`THRESHOLD`] for
//! [`PATIENCE`] in a row, as `GstAudioStreamAlign` does it. What is flagged as discontinuous is
//! believed at once. Then one of three things has happened:
//!
//! - Timestamps are off by less than a pause of speech. They are moved to where they should have
//!   been since; nothing is put into the audio.
//! - Something is missing. The hole is filled with silence: all of it if it is small, or else as
//!   much as ends an utterance. Audio whose timestamps are so far off is held back until it is
//!   clear, since a single wild timestamp would tear an utterance in two. (Where it is not live all
//!   audio that is off is held back: nobody waits for it.)
//! - Timestamps went back. The session has to end, as at a new segment.
//!
//! Used by the streaming thread, for all sessions that its audio goes to.

use std::time::Duration;

use crate::timeline::{Position, Samples, Timestamp};

/// Timestamps may be off by this much before it means anything: capture clocks jitter, and
/// containers round. As in GstAudioBaseSink and the base class of decoders.
const THRESHOLD: Duration = Duration::from_millis(40);

/// How long timestamps have to be off, in audio: a second, as `GstAudioStreamAlign` has it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Timestamps that are further off than this, and than what ends an utterance, mean a hole.
const MIN_HOLE: Duration = Duration::from_millis(600);

/// Timestamps that go back by less than this are moved.
const MIN_LEAP_BACK: Duration = Duration::from_secs(1);

/// Holes up to this long are filled with silence, so that a sentence survives a lost packet.
const FILLED_HOLE: Duration = Duration::from_secs(2);

/// Silence that is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    pub time: Timestamp,
    pub samples: Samples,
}

/// Audio that was sent turns out to be earlier or later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// From where on it is, as it was told.
    pub since: Timestamp,
    /// By how much it is later, in nanoseconds.
    pub by: i64,
}

/// How to send audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Plan {
    /// What comes first.
    pub moved: Option<Moved>,
    /// What comes next.
    pub silence: Option<Silence>,
    /// Timestamp of the first sample, if it is not where the audio or silence before it ends.
    pub jump: Option<Timestamp>,
}

/// What to do with audio that arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Send it, after what is held back: the plan is for the first of both.
    Send(Plan),
    /// Hold it back. `release` says to send what was held back before, which goes on.
    Hold { release: bool },
    /// Timestamps went back by this much: what is held back and this begin another session.
    Restart { back: Duration },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Aligned,
    /// The audio goes on, but its timestamps have been off by a little.
    Off {
        /// Where that began, by the timestamps that were told.
        since: Timestamp,
        samples: Samples,
        /// Sum of deviations, in nanoseconds, times samples.
        weight: i128,
    },
    /// Audio is held back that is far off; there are no holes in it.
    Holding {
        time: Timestamp,
        samples: Samples,
    },
}

/// Watches that timestamps and samples stay together, as audio comes in.
#[derive(Debug)]
pub struct Continuity {
    rate: u32,
    /// Silence that surely ends an utterance.
    pause: Duration,
    is_live: bool,
    /// Position and timestamp from which both are counted on.
    anchor: Option<(Position, Timestamp)>,
    clock: Position,
    /// Silence made up since there was audio.
    silent_for: Duration,
    state: State,
}

impl Continuity {
    /// `pause` is the silence after which the recogniser ends an utterance. Audio that is not
    /// live can be held back for as long as it takes to be sure.
    pub fn new(rate: u32, pause: Duration, is_live: bool) -> Self {
        Self {
            rate,
            pause,
            is_live,
            anchor: None,
            clock: Position::default(),
            silent_for: Duration::ZERO,
            state: State::Aligned,
        }
    }

    /// Timestamp at which the audio that was sent ends; `None` before the first.
    pub fn expected(&self) -> Option<Timestamp> {
        let (clock, time) = self.anchor?;
        Some(time + self.clock.since(clock).duration(self.rate))
    }

    /// Audio arrived. Without a timestamp it goes on, or starts at `default`. `discont` says that
    /// it does not claim to go on where the audio before it ended.
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

    /// Whether so much is missing that an utterance cannot have gone on.
    fn is_hole(&self, time: Timestamp, expected: Timestamp) -> bool {
        time.since(expected) >= self.pause.max(MIN_HOLE)
    }

    /// Sends audio whose timestamp is off by less than a pause, and moves them if it has been.
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

    /// Holds back audio that is far off until it is clear whether it stays there.
    fn hold(&mut self, time: Timestamp, expected: Timestamp, samples: Samples) -> Placement {
        let (start, held) = match self.state {
            State::Holding { time, samples } => (time, samples),
            State::Aligned | State::Off { .. } => (time, Samples(0)),
        };
        let follows = start + held.duration(self.rate);
        // Timestamps may jitter there as well.
        if time.abs_diff(follows) > MIN_HOLE {
            // What was held back was wild.
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

    /// Nothing follows what is held back, at least not at once: what is to be done with it.
    pub fn flush(&mut self) -> Placement {
        match (self.state, self.expected()) {
            (State::Holding { time, samples }, Some(expected)) => {
                self.decide(time, expected, samples, false)
            }
            _ => Placement::Send(Plan::default()),
        }
    }

    /// The audio is where its timestamp says. If it does not say that something is missing, little
    /// may be missing without a word being torn by silence.
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

    /// Nothing is to be heard until `end`, says upstream. Returns the silence to send for it:
    /// enough to end an utterance, not more. Nothing may be held back.
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

    /// Silence for a hole: all of it if it is small, else as much as ends an utterance.
    fn fill(&mut self, from: Timestamp, hole: Duration) -> Option<Silence> {
        let enough = self.pause.max(FILLED_HOLE).saturating_sub(self.silent_for);
        let length = if hole <= enough {
            hole
        } else {
            enough.min(self.pause)
        };
        let samples = Samples::within(length, self.rate);
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
