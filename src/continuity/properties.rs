// SPDX-License-Identifier: MPL-2.0
//! Properties that hold for any audio with any timestamps.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::property_testing::check;
use crate::timeline::Timeline;

const RATE: u32 = 16_000;
const PAUSE: Duration = Duration::from_millis(800);
const SECOND: u64 = 1_000_000_000;
/// Start of the audio.
const BEGIN: Timestamp = Timestamp::from_nanos(100 * SECOND);

/// An input.
#[derive(Debug, Clone)]
enum Arrival {
    /// Deviation of its timestamp from the expected one, or no timestamp; number of samples;
    /// whether it is flagged as discontinuous.
    Audio(Option<i64>, u64, bool),
    /// Its length in nanoseconds.
    Gap(u64),
}

fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    let offset = prop_oneof![
        3 => Just(0),
        3 => -50_000_000..50_000_000i64,
        1 => -5_000_000_000..5_000_000_000i64,
        1 => Just(4_000_000_000i64),
    ];
    let audio = (
        proptest::option::of(offset),
        1..4000u64,
        proptest::bool::weighted(0.1),
    );
    let arrival = prop_oneof![
        6 => audio.prop_map(|(offset, n, discont)| Arrival::Audio(offset, n, discont)),
        1 => (0..4 * SECOND).prop_map(Arrival::Gap),
    ];
    vec(arrival, 1..80)
}

/// A session that follows the plans.
struct Sent {
    timeline: Timeline,
    /// Number of samples held back, and received in total.
    held: Samples,
    came: Samples,
    silent_for: Duration,
    silence: Samples,
    sessions: u64,
}

impl Sent {
    fn silence(&mut self, silence: Option<Silence>) {
        if let Some(Silence { time, samples }) = silence {
            if let Some(end) = self.timeline.end_time(self.timeline.clock()) {
                assert!(
                    end.abs_diff(time) <= Duration::from_micros(200),
                    "where the audio before ends"
                );
            }
            self.timeline.append(time, samples);
            self.silence += samples;
            self.silent_for += samples.duration(RATE);
            assert!(
                self.silent_for <= PAUSE.max(FILLED_HOLE),
                "too much silence"
            );
        }
    }

    fn send(&mut self, plan: Plan, samples: Samples) {
        if let Some(Moved { since, by }) = plan.moved {
            self.timeline.move_since(since, by);
        }
        self.silence(plan.silence);
        let end = self.timeline.end_time(self.timeline.clock());
        let time = plan.jump.or(end).unwrap();
        self.timeline.append(time, samples);
        self.silent_for = Duration::ZERO;
    }

    fn place(&mut self, placement: Placement, samples: Samples) {
        match placement {
            Placement::Send(plan) => {
                let all = std::mem::take(&mut self.held) + samples;
                if !all.is_none() {
                    self.send(plan, all);
                }
            }
            Placement::Hold { release } => {
                if release {
                    let held = std::mem::take(&mut self.held);
                    self.send(Plan::default(), held);
                }
                self.held += samples;
                assert!(self.held.duration(RATE) < PATIENCE * 3 / 2);
            }
            Placement::Restart { back } => {
                assert!(back >= MIN_LEAP_BACK);
                let sent = self.timeline.clock().since(Position::default());
                self.came = self.came - (sent - self.silence);
                self.sessions += 1;
                let all = std::mem::take(&mut self.held) + samples;
                self.timeline = Timeline::new(RATE);
                (self.silence, self.silent_for) = (Samples(0), Duration::ZERO);
                self.came = self.came - all;
            }
        }
    }
}

#[test]
fn every_sample_is_sent_once_and_silence_is_bounded() {
    check(500, (arrivals(), any::<bool>()), |(arrivals, is_live)| {
        let mut continuity = Continuity::new(Format::pcm(RATE), PAUSE, is_live);
        let mut sent = Sent {
            timeline: Timeline::new(RATE),
            held: Samples(0),
            came: Samples(0),
            silent_for: Duration::ZERO,
            silence: Samples(0),
            sessions: 1,
        };
        for arrival in arrivals {
            let expected = continuity.expected().unwrap_or(BEGIN);
            let placement = match arrival {
                Arrival::Audio(offset, samples, discont) => {
                    let samples = Samples(samples);
                    let time = offset.map(|offset| expected.moved(offset));
                    sent.came += samples;
                    let placement = continuity.audio(time, BEGIN, samples, discont);
                    sent.place(placement, samples);
                    placement
                }
                Arrival::Gap(length) => {
                    let placement = continuity.flush();
                    sent.place(placement, Samples(0));
                    if let Placement::Send(_) = placement {
                        let from = continuity.expected().unwrap_or(BEGIN);
                        let silence = continuity.gap(from, from + Duration::from_nanos(length));
                        sent.silence(silence);
                    }
                    placement
                }
            };
            if let Placement::Restart { .. } = placement {
                continuity = Continuity::new(Format::pcm(RATE), PAUSE, is_live);
                continue;
            }
            let noted = sent.timeline.clock().since(Position::default());
            assert_eq!(sent.came, noted - sent.silence + sent.held);
            // Both sides agree on where the audio ends.
            let end = sent.timeline.end_time(sent.timeline.clock());
            if let (Some(end), Some(expected)) = (end, continuity.expected()) {
                let apart = end.abs_diff(expected);
                assert!(apart <= Duration::from_micros(500), "{end:?} {expected:?}");
            }
        }
    });
}
