// SPDX-License-Identifier: MPL-2.0
//! Timestamps of given positions, at jumps, padding and corrections.

use super::*;

/// A timestamp in milliseconds.
fn at(ms: u64) -> Timestamp {
    Timestamp::from_nanos(ms * 1_000_000)
}

/// A timeline of audio, padding (without a time), and audio again: times in milliseconds.
fn timeline(rate: u32, pieces: &[(Option<u64>, u64)]) -> Timeline {
    let mut timeline = Timeline::new(rate);
    for (time, samples) in pieces {
        match time {
            Some(time) => timeline.append(at(*time), Samples(*samples)),
            None => timeline.pad(Samples(*samples)),
        }
    }
    timeline
}

fn start(timeline: &Timeline, position: u64) -> u64 {
    let time = timeline.start_time(Position(position)).unwrap();
    time.nanos() / 1_000_000
}

fn end(timeline: &Timeline, position: u64) -> u64 {
    let time = timeline.end_time(Position(position)).unwrap();
    time.nanos() / 1_000_000
}

#[test]
fn positions_become_times_across_jumps() {
    let none = Timeline::new(16_000);
    assert_eq!(none.start_time(Position(0)), None);
    let pieces = [
        (Some(10_000), 1600),
        (Some(10_100), 1600),
        (Some(20_000), 1600),
    ];
    let timeline = timeline(16_000, &pieces);
    assert_eq!(timeline.clock(), Position(4800));
    assert_eq!(timeline.anchors.len(), 2);
    let starts = [(0, 10_000), (800, 10_050), (3200, 20_000)];
    for (position, time) in starts {
        assert_eq!(start(&timeline, position), time);
    }
    assert_eq!(end(&timeline, 3200), 10_200);
    assert_eq!(end(&timeline, 4800), 20_100);
}

#[test]
fn stretches_cover_what_was_noted() {
    let timeline = timeline(
        1000,
        &[(Some(5000), 100), (Some(7000), 50), (Some(1000), 10)],
    );
    let stretches = |from| -> Vec<_> {
        let stretches = timeline.stretches(Position(from)).into_iter();
        stretches.map(|s| (s.time, s.samples.0)).collect()
    };
    assert_eq!(
        stretches(40),
        [(at(5040), 60), (at(7000), 50), (at(1000), 10)]
    );
    assert_eq!(stretches(100), [(at(7000), 50), (at(1000), 10)]);
    assert_eq!(stretches(155), [(at(1005), 5)]);
    assert_eq!(stretches(160), []);
    assert!(Timeline::new(1000).stretches(Position(0)).is_empty());
}

#[test]
fn what_was_noted_can_be_moved() {
    let moved = |time, by: i64| {
        let mut timeline = timeline(1000, &[(Some(5000), 100), (None, 50), (Some(5100), 100)]);
        timeline.move_since(at(time), by * 1_000_000);
        [0, 99, 120, 150, 249].map(|position| start(&timeline, position))
    };
    assert_eq!(moved(5150, 400), [5000, 5099, 5100, 5100, 5599]);
    assert_eq!(moved(5100, -20), [5000, 5099, 5100, 5080, 5179]);
    assert_eq!(moved(5050, 400), [5000, 5499, 5500, 5500, 5599]);
    assert_eq!(moved(5000, 400), [5400, 5499, 5500, 5500, 5599]);
    let unmoved = [5000, 5099, 5100, 5100, 5199];
    assert_eq!(moved(1000, 400), unmoved, "long gone");
    assert_eq!(moved(9000, 400), unmoved, "not yet");
}

#[test]
fn padding_takes_no_time() {
    let pieces = [(Some(5000), 100), (None, 50), (None, 50), (Some(5100), 100)];
    let timeline = timeline(1000, &pieces);
    assert_eq!(timeline.clock(), Position(300));
    for (position, time) in [
        (0, 5000),
        (100, 5100),
        (150, 5100),
        (200, 5100),
        (250, 5150),
    ] {
        assert_eq!(start(&timeline, position), time, "{position}");
    }
    assert_eq!(end(&timeline, 180), 5100);
    let stretches = timeline.stretches(Position(50)).into_iter();
    let kinds: Vec<_> = stretches.map(|s| (s.samples.0, s.is_padding)).collect();
    assert_eq!(kinds, [(50, false), (100, true), (100, false)]);
}

#[test]
fn rounding_does_not_add_up_over_a_day() {
    let mut timeline = Timeline::new(16_000);
    let mut sent = Samples(0);
    let time = |sent: Samples| at(0) + sent.duration(16_000);
    for _ in 0..1_000_000 {
        timeline.append(time(sent), Samples(1381));
        sent += Samples(1381);
    }
    assert_eq!(timeline.anchors.len(), 1);
    assert_eq!(timeline.end_time(timeline.clock()), Some(time(sent)));
}

#[test]
fn the_past_is_forgotten_and_the_present_kept() {
    let pieces: Vec<_> = (0..100).map(|n| (Some(n * 1000), 800)).collect();
    let mut timeline = timeline(8000, &pieces);
    timeline.forget_before(Position(79_200));
    assert_eq!(timeline.anchors.len(), 1);
    assert_eq!(start(&timeline, 79_200), 99_000);
    assert_eq!(start(&timeline, 0), 99_000, "before the first: the first");
}

#[test]
fn times_and_lengths_stay_within_what_there_is() {
    let end = Timestamp::from_nanos(u64::MAX);
    assert_eq!(end + Duration::MAX, end);
    assert_eq!(at(1).since(at(2)), Duration::ZERO);
    assert_eq!(at(1).moved(i64::MIN), at(0));
    assert_eq!(
        Samples(u64::MAX).duration(0),
        Duration::from_nanos(u64::MAX)
    );
    assert_eq!(Samples::within(Duration::MAX, u32::MAX), Samples(u64::MAX));
    assert_eq!(Position(1) - Samples(2), Position(0));
    let (a, b) = (Span::new(at(0), at(10)), Span::new(at(10), at(20)));
    assert!(!a.overlaps(b) && a.hull(b).overlaps(b) && !a.contains(at(10)));
    assert_eq!(a.hull(b).middle(), at(10));
}

#[test]
fn padding_before_all_audio_has_the_time_at_which_that_begins() {
    let pieces = [(None, 50), (None, 50), (Some(5000), 100), (Some(9000), 100)];
    let timeline = timeline(1000, &pieces);
    for (position, time) in [(0, 5000), (70, 5000), (100, 5000), (150, 5050), (200, 9000)] {
        assert_eq!(start(&timeline, position), time, "{position}");
    }
}
