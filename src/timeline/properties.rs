// SPDX-License-Identifier: MPL-2.0
//! Properties that hold for any audio with any timestamps.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::property_testing::check;

const SECOND: u64 = 1_000_000_000;

const RATES: [u32; 3] = [8000, 11_025, 16_000];

/// Times and numbers of samples; a piece without a time continues the previous one.
fn pieces() -> impl Strategy<Value = Vec<(Option<u64>, u64)>> {
    let time = prop_oneof![
        3 => Just(None),
        2 => (0..10 * SECOND).prop_map(Some),
        1 => any::<u64>().prop_map(Some),
    ];
    vec((time, 0u64..3000), 1..40)
}

/// A timeline, and the time that it gives for each sample.
fn told(rate: u32, pieces: &[(Option<u64>, u64)]) -> (Timeline, Vec<Timestamp>) {
    let mut timeline = Timeline::new(rate);
    let (mut truth, mut next) = (Vec::new(), Timestamp::default());
    for (time, samples) in pieces {
        let time = time.map_or(next, Timestamp::from_nanos);
        timeline.append(time, Samples(*samples));
        truth.extend((0..*samples).map(|n| time + Samples(n).duration(rate)));
        next = time + Samples(*samples).duration(rate);
    }
    (timeline, truth)
}

#[test]
fn every_sample_has_the_time_it_came_with() {
    let input = (proptest::sample::select(&RATES[..]), pieces());
    check(300, input, |(rate, pieces)| {
        let (timeline, truth) = told(rate, &pieces);
        assert_eq!(timeline.clock(), Position(truth.len() as u64));
        let rounding = 2 * (Samples(1).duration(rate) + Duration::from_nanos(1));
        for (position, time) in truth.iter().enumerate().step_by(97) {
            let found = timeline.start_time(Position(position as u64)).unwrap();
            assert!(
                found.abs_diff(*time) <= rounding,
                "{position}: {found:?} for {time:?}"
            );
            // A sample ends one sample's length after its start.
            let end = timeline.end_time(Position(position as u64 + 1)).unwrap();
            let length = end.since(found);
            assert!(length <= rounding, "{position}: {length:?} long");
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
        for Stretch { time, samples, .. } in timeline.stretches(Position(from as u64)) {
            assert!(!samples.is_none());
            assert_eq!(Some(time), timeline.start_time(Position(position as u64)));
            position += samples.0 as usize;
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
        let from = Position(from.index(truth.len() + 1) as u64);
        short.forget_before(from);
        for position in (from.0..=whole.clock().0).step_by(61).map(Position) {
            assert_eq!(short.start_time(position), whole.start_time(position));
            assert_eq!(
                short.end_time(position + Samples(1)),
                whole.end_time(position + Samples(1))
            );
        }
        assert_eq!(short.stretches(from), whole.stretches(from));
    });
}
