// SPDX-License-Identifier: MPL-2.0
//! What holds for any audio with any timestamps.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::property_testing::check;

const RATES: [u32; 3] = [8000, 11_025, 16_000];

/// Times and numbers of samples; some of the times go on from the last one.
fn pieces() -> impl Strategy<Value = Vec<(Option<u64>, u64)>> {
    let time = prop_oneof![
        3 => Just(None),
        2 => (0..10 * SECOND).prop_map(Some),
        1 => any::<u64>().prop_map(Some),
    ];
    vec((time, 0u64..3000), 1..40)
}

/// A timeline, and what it has to say of each sample: its time.
fn told(rate: u32, pieces: &[(Option<u64>, u64)]) -> (Timeline, Vec<u64>) {
    let mut timeline = Timeline::new(rate);
    let (mut truth, mut next) = (Vec::new(), 0u64);
    for (time, samples) in pieces {
        let time = time.unwrap_or(next);
        timeline.append(time, *samples);
        truth.extend((0..*samples).map(|n| time.saturating_add(duration_of(n, rate))));
        next = time.saturating_add(duration_of(*samples, rate));
    }
    (timeline, truth)
}

#[test]
fn every_sample_has_the_time_it_came_with() {
    let input = (proptest::sample::select(&RATES[..]), pieces());
    check(300, input, |(rate, pieces)| {
        let (timeline, truth) = told(rate, &pieces);
        assert_eq!(timeline.clock(), truth.len() as u64);
        let rounding = 2 * (SECOND / u64::from(rate) + 1);
        for (position, time) in truth.iter().enumerate().step_by(97) {
            let found = timeline.start_time(position as u64).unwrap();
            assert!(
                found.abs_diff(*time) <= rounding,
                "{position}: {found} for {time}"
            );
            // The end of one sample is a sample's length after its begin.
            let end = timeline.end_time(position as u64 + 1).unwrap();
            let length = end.saturating_sub(found);
            assert!(length <= rounding, "{position}: {length} long");
        }
    });
}

#[test]
fn stretches_hold_every_sample_once() {
    let input = (pieces(), any::<prop::sample::Index>());
    check(300, input, |(pieces, from)| {
        let (timeline, truth) = told(16_000, &pieces);
        let from = from.index(truth.len() + 1);
        let mut position = from;
        for Stretch { time, samples, .. } in timeline.stretches(from as u64) {
            assert!(samples > 0);
            assert_eq!(Some(time), timeline.start_time(position as u64));
            position += samples as usize;
        }
        assert_eq!(position, truth.len());
    });
}

#[test]
fn forgetting_the_past_changes_nothing_after_it() {
    let input = (pieces(), any::<prop::sample::Index>());
    check(300, input, |(pieces, from)| {
        let (whole, truth) = told(16_000, &pieces);
        let (mut short, _) = told(16_000, &pieces);
        let from = from.index(truth.len() + 1) as u64;
        short.forget_before(from);
        for position in (from..=whole.clock()).step_by(61) {
            assert_eq!(short.start_time(position), whole.start_time(position));
            assert_eq!(short.end_time(position + 1), whole.end_time(position + 1));
        }
        assert_eq!(short.stretches(from), whole.stretches(from));
    });
}
