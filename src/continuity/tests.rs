// SPDX-License-Identifier: MPL-2.0
//! Jitter, drift, holes and leaps of timestamps, and the resulting plans.

use super::Placement::*;
use super::*;

const RATE: u32 = 16_000;

/// A timestamp in milliseconds.
fn at(ms: u64) -> Timestamp {
    Timestamp::from_nanos(ms * 1_000_000)
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// This many samples of audio, with this timestamp in milliseconds.
fn audio(continuity: &mut Continuity, ms: u64, samples: u64, discont: bool) -> Placement {
    continuity.audio(Some(at(ms)), at(0), Samples(samples), discont)
}

/// The next expected timestamp, in milliseconds.
fn expected(continuity: &Continuity) -> u64 {
    continuity.expected().unwrap().nanos() / 1_000_000
}

/// After one second of audio, from 1 s on.
fn continuity() -> Continuity {
    let mut continuity = Continuity::new(Format::pcm(RATE), millis(800), true);
    let first = audio(&mut continuity, 1000, 16_000, true);
    assert_eq!(first, jump(1000));
    continuity
}

const GOES_ON: Placement = Send(Plan {
    moved: None,
    silence: None,
    jump: None,
});

fn jump(ms: u64) -> Placement {
    Send(Plan {
        jump: Some(at(ms)),
        ..Plan::default()
    })
}

fn silence(begin: u64, ms: u64) -> Option<Silence> {
    let samples = Samples::within(millis(ms), RATE);
    let time = at(begin);
    Some(Silence { time, samples })
}

/// Feeds 20 ms with the expected timestamp, shifted by this many milliseconds.
fn off(continuity: &mut Continuity, ms: i64) -> Placement {
    let time = continuity.expected().unwrap().moved(ms * 1_000_000);
    continuity.audio(Some(time), at(0), Samples(320), false)
}

#[test]
fn jitter_and_short_deviations_mean_nothing() {
    let mut continuity = continuity();
    // The first buffer's own jitter counts twice.
    for jitter in [-40, 40, -80, 80, -80, 80, -60, -60, -60, 10, 400, 400, 0] {
        assert_eq!(off(&mut continuity, jitter), GOES_ON, "{jitter}");
    }
    // Bursts: a stall, and then all audio at once.
    for _ in 0..20 {
        for n in 0..20 {
            assert_eq!(off(&mut continuity, 400 - 20 * n), GOES_ON);
        }
        for _ in 0..45 {
            assert_eq!(off(&mut continuity, 0), GOES_ON);
        }
    }
}

#[test]
fn a_deviation_that_stays_moves_the_timestamps_since_it_began() {
    for by in [400, -400, 45] {
        let mut continuity = continuity();
        let since = continuity.expected().unwrap();
        for _ in 0..49 {
            assert_eq!(off(&mut continuity, by), GOES_ON);
        }
        let expected = continuity.expected().unwrap();
        let by = by * 1_000_000;
        let plan = Plan {
            moved: Some(Moved { since, by }),
            silence: None,
            jump: Some(expected.moved(by)),
        };
        assert_eq!(off(&mut continuity, by / 1_000_000), Send(plan));
        assert_eq!(off(&mut continuity, 0), GOES_ON);
    }
}

#[test]
fn drift_is_followed_without_silence() {
    for ppm in [1000, -1000] {
        let mut continuity = continuity();
        for n in 0..200_000i64 {
            let drift = n * 20 * ppm; // nanoseconds
            let time = at(2000 + n as u64 * 20).moved(drift);
            let Send(plan) = continuity.audio(Some(time), at(0), Samples(320), false) else {
                panic!("{n}: held back")
            };
            assert_eq!(plan.silence, None, "{n}");
            let end = continuity.expected().unwrap();
            let off = end.abs_diff(time + millis(20));
            assert!(off <= millis(62), "{n} {ppm}: {off:?} {plan:?}");
        }
    }
}

#[test]
fn what_is_flagged_counts_at_once() {
    let mut continuity = continuity();
    let plan = audio(&mut continuity, 2300, 1600, true);
    let filled = Plan {
        silence: silence(2000, 300),
        ..Plan::default()
    };
    assert_eq!(plan, Send(filled));
    let plan = audio(&mut continuity, 7400, 1600, true);
    let jumped = Plan {
        silence: silence(2400, 800),
        jump: Some(at(7400)),
        moved: None,
    };
    assert_eq!(plan, Send(jumped));
    assert_eq!(expected(&continuity), 7500);
    // Flagged, but contiguous.
    assert_eq!(audio(&mut continuity, 7520, 320, true), GOES_ON);
    let back = expected(&continuity) - 300;
    assert_eq!(audio(&mut continuity, back, 320, true), jump(back));
}

#[test]
fn a_wild_timestamp_is_borne() {
    for wild in [3_600_000, 5000, -1500] {
        let mut continuity = continuity();
        assert_eq!(off(&mut continuity, wild), Hold { release: false });
        assert_eq!(audio(&mut continuity, 2020, 320, false), GOES_ON);
        assert_eq!(expected(&continuity), 2040, "both");
    }
}

#[test]
fn an_unflagged_hole_counts_when_it_has_stayed() {
    let mut continuity = continuity();
    for n in 0..49 {
        let time = 7000 + n * 20;
        let placed = audio(&mut continuity, time, 320, false);
        assert_eq!(placed, Hold { release: false }, "{n}");
    }
    let plan = audio(&mut continuity, 7980, 320, false);
    let jumped = Plan {
        silence: silence(2000, 800),
        jump: Some(at(7000)),
        moved: None,
    };
    assert_eq!(plan, Send(jumped));
    assert_eq!(expected(&continuity), 8000);
}

#[test]
fn what_is_held_back_at_the_end_is_where_it_says() {
    let mut continuity = continuity();
    assert_eq!(continuity.flush(), GOES_ON);
    off(&mut continuity, 5000);
    let jumped = Plan {
        silence: silence(2000, 800),
        jump: Some(at(7000)),
        moved: None,
    };
    assert_eq!(continuity.flush(), Send(jumped));
    assert_eq!(expected(&continuity), 7020);
}

#[test]
fn one_wild_timestamp_after_another() {
    let mut continuity = continuity();
    assert_eq!(off(&mut continuity, 5000), Hold { release: false });
    assert_eq!(off(&mut continuity, 9000), Hold { release: true });
    assert_eq!(expected(&continuity), 2020, "the first goes on");
    assert_eq!(audio(&mut continuity, 2040, 320, false), GOES_ON);
}

#[test]
fn time_that_goes_back_begins_anew() {
    for discont in [false, true] {
        let mut continuity = continuity();
        let mut time = 0;
        loop {
            match audio(&mut continuity, time, 320, discont) {
                Hold { release } => assert!(!release && !discont),
                placed => break assert_eq!(placed, Restart { back: millis(2000) }),
            }
            time += 20;
        }
        assert_eq!(time, if discont { 0 } else { 980 });
    }
}

#[test]
fn what_is_not_live_is_sent_when_it_is_clear_where_it_belongs() {
    let mut continuity = Continuity::new(Format::pcm(RATE), millis(800), false);
    audio(&mut continuity, 0, 16_000, true);
    for n in 0..3 {
        assert_eq!(off(&mut continuity, 60 + 20 * n), Hold { release: false });
        assert_eq!(expected(&continuity), 1000);
    }
    assert_eq!(audio(&mut continuity, 1060, 320, false), GOES_ON);
    assert_eq!(expected(&continuity), 1080);
    for n in 0..49 {
        let time = 1480 + n * 20;
        let placed = audio(&mut continuity, time, 320, false);
        assert_eq!(placed, Hold { release: false });
    }
    let placed = audio(&mut continuity, 2460, 320, false);
    assert_eq!(placed, jump(1480), "without silence");
    assert_eq!(expected(&continuity), 2480);
}

#[test]
fn buffers_without_timestamps_follow_each_other() {
    let mut continuity = Continuity::new(Format::pcm(8000), millis(1000), true);
    let first = continuity.audio(None, at(5000), Samples(800), false);
    assert_eq!(first, jump(5000));
    assert_eq!(
        continuity.audio(None, at(5000), Samples(800), false),
        GOES_ON
    );
    assert_eq!(expected(&continuity), 5200);
}

#[test]
fn endless_gaps_cost_a_bounded_amount_of_silence() {
    let mut continuity = continuity();
    let mut sent = Samples(0);
    for n in 0..100 {
        let start = 2000 + n * 200;
        let silence = continuity.gap(at(start), at(start + 200));
        sent += silence.map_or(Samples(0), |silence| silence.samples);
    }
    assert_eq!(sent.duration(RATE), millis(2000));
    let plan = audio(&mut continuity, 22000, 1600, true);
    assert_eq!(plan, jump(22000));
}

#[test]
fn a_gap_before_any_audio_starts_the_clock() {
    let mut continuity = Continuity::new(Format::pcm(RATE), millis(1000), true);
    let gap = continuity.gap(at(3000), at(3500));
    assert_eq!(gap, silence(3000, 500));
    let plan = audio(&mut continuity, 3500, 160, false);
    assert_eq!(plan, GOES_ON);
}
