// SPDX-License-Identifier: MPL-2.0
//! What holds for any audio with any timestamps.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::property_testing::check;
use crate::timeline::Timeline;

const RATE: u32 = 16_000;
const PAUSE: u64 = 800_000_000;

/// What arrives.
#[derive(Debug, Clone)]
enum Arrival {
    /// How far its timestamp is from what is expected, or none at all; a number of samples, and
    /// whether it is flagged.
    Audio(Option<i64>, u64, bool),
    /// How long, in nanoseconds.
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

/// A session that does as it is told.
struct Sent {
    timeline: Timeline,
    /// Samples that are held back, and that came in all.
    held: u64,
    came: u64,
    silent_for: u64,
    silence: u64,
    sessions: u64,
}

impl Sent {
    fn silence(&mut self, silence: Option<Silence>) {
        if let Some(Silence { time, samples }) = silence {
            if let Some(end) = self.timeline.end_time(self.timeline.clock()) {
                assert!(end.abs_diff(time) <= 200_000, "where the audio before ends");
            }
            self.timeline.append(time, samples);
            self.silence += samples;
            self.silent_for += duration_of(samples, RATE);
            assert!(
                self.silent_for <= PAUSE.max(FILLED_HOLE),
                "too much silence"
            );
        }
    }

    fn send(&mut self, plan: Plan, samples: u64) {
        if let Some(Moved { since, by }) = plan.moved {
            self.timeline.move_since(since, by);
        }
        self.silence(plan.silence);
        let end = self.timeline.end_time(self.timeline.clock());
        let time = plan.jump.or(end).unwrap();
        self.timeline.append(time, samples);
        self.silent_for = 0;
    }

    fn place(&mut self, placement: Placement, samples: u64) {
        match placement {
            Placement::Send(plan) => {
                let all = std::mem::take(&mut self.held) + samples;
                if all > 0 {
                    self.send(plan, all);
                }
            }
            Placement::Hold { release } => {
                if release {
                    let held = std::mem::take(&mut self.held);
                    self.send(Plan::default(), held);
                }
                self.held += samples;
                assert!(duration_of(self.held, RATE) < PATIENCE + SECOND / 2);
            }
            Placement::Restart { back } => {
                assert!(back >= MIN_LEAP_BACK);
                self.came -= self.timeline.clock() - self.silence;
                self.sessions += 1;
                let all = std::mem::take(&mut self.held) + samples;
                self.timeline = Timeline::new(RATE);
                (self.silence, self.silent_for) = (0, 0);
                self.came -= all;
            }
        }
    }
}

#[test]
fn every_sample_is_sent_once_and_silence_is_bounded() {
    check(500, (arrivals(), any::<bool>()), |(arrivals, is_live)| {
        let mut continuity = Continuity::new(RATE, PAUSE, is_live);
        let mut sent = Sent {
            timeline: Timeline::new(RATE),
            held: 0,
            came: 0,
            silent_for: 0,
            silence: 0,
            sessions: 1,
        };
        for arrival in arrivals {
            let expected = continuity.expected().unwrap_or(100 * SECOND);
            let placement = match arrival {
                Arrival::Audio(offset, samples, discont) => {
                    let time = offset.map(|offset| expected.saturating_add_signed(offset));
                    sent.came += samples;
                    let placement = continuity.audio(time, 100 * SECOND, samples, discont);
                    sent.place(placement, samples);
                    placement
                }
                Arrival::Gap(length) => {
                    let placement = continuity.flush();
                    sent.place(placement, 0);
                    if let Placement::Send(_) = placement {
                        let from = continuity.expected().unwrap_or(100 * SECOND);
                        let silence = continuity.gap(from, from + length);
                        sent.silence(silence);
                    }
                    placement
                }
            };
            if let Placement::Restart { .. } = placement {
                continuity = Continuity::new(RATE, PAUSE, is_live);
                continue;
            }
            assert_eq!(sent.came, sent.timeline.clock() - sent.silence + sent.held);
            // Both sides know alike where the audio ends.
            let end = sent.timeline.end_time(sent.timeline.clock());
            if let (Some(end), Some(expected)) = (end, continuity.expected()) {
                assert!(end.abs_diff(expected) <= 500_000, "{end} {expected}");
            }
        }
    });
}
