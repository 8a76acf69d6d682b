// SPDX-License-Identifier: MPL-2.0

use super::Placement::*;
use super::*;

const MS: u64 = 1_000_000;
const RATE: u32 = 16_000;

/// One second of audio has come, from 1 s on.
fn continuity() -> Continuity {
    let mut continuity = Continuity::new(RATE, 800 * MS, true);
    let first = continuity.audio(Some(SECOND), 0, 16_000, true);
    assert_eq!(first, jump(SECOND));
    continuity
}

const GOES_ON: Placement = Send(Plan {
    moved: None,
    silence: None,
    jump: None,
});

fn jump(time: u64) -> Placement {
    Send(Plan {
        jump: Some(time),
        ..Plan::default()
    })
}

fn silence(time: u64, ms: u64) -> Option<Silence> {
    let samples = samples_in(ms * MS, RATE);
    Some(Silence { time, samples })
}

/// Feeds 20 ms with the timestamp that is expected, off by so many milliseconds.
fn off(continuity: &mut Continuity, ms: i64) -> Placement {
    let expected = continuity.expected().unwrap();
    let time = expected.checked_add_signed(ms * MS as i64);
    continuity.audio(time, 0, 320, false)
}

#[test]
fn jitter_and_short_deviations_mean_nothing() {
    let mut continuity = continuity();
    // The first buffer's own jitter counts twice.
    for jitter in [-40, 40, -80, 80, -80, 80, -60, -60, -60, 10, 400, 400, 0] {
        assert_eq!(off(&mut continuity, jitter), GOES_ON, "{jitter}");
    }
    // Bursts: a stall, and then everything at once.
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
        let by = by * MS as i64;
        let plan = Plan {
            moved: Some(Moved { since, by }),
            silence: None,
            jump: expected.checked_add_signed(by),
        };
        assert_eq!(off(&mut continuity, by / MS as i64), Send(plan));
        assert_eq!(off(&mut continuity, 0), GOES_ON);
    }
}

#[test]
fn drift_is_followed_without_silence() {
    for ppm in [1000, -1000] {
        let mut continuity = continuity();
        for n in 0..200_000i64 {
            let drift = n * 20 * ppm; // nanoseconds
            let time = (2 * SECOND + n as u64 * 20 * MS).checked_add_signed(drift);
            let Send(plan) = continuity.audio(time, 0, 320, false) else {
                panic!("{n}: held back")
            };
            assert_eq!(plan.silence, None, "{n}");
            let end = continuity.expected().unwrap();
            let off = end as i64 - (time.unwrap() + 20 * MS) as i64;
            assert!(off.abs() <= 62_000_000, "{n} {ppm}: {off} {plan:?}");
        }
    }
}

#[test]
fn what_is_flagged_counts_at_once() {
    let mut continuity = continuity();
    let plan = continuity.audio(Some(2300 * MS), 0, 1600, true);
    let filled = Plan {
        silence: silence(2 * SECOND, 300),
        ..Plan::default()
    };
    assert_eq!(plan, Send(filled));
    let plan = continuity.audio(Some(7400 * MS), 0, 1600, true);
    let jumped = Plan {
        silence: silence(2400 * MS, 800),
        jump: Some(7400 * MS),
        moved: None,
    };
    assert_eq!(plan, Send(jumped));
    assert_eq!(continuity.expected(), Some(7500 * MS));
    // Flagged, but where it belongs.
    assert_eq!(continuity.audio(Some(7520 * MS), 0, 320, true), GOES_ON);
    let back = continuity.expected().unwrap() - 300 * MS;
    assert_eq!(continuity.audio(Some(back), 0, 320, true), jump(back));
}

#[test]
fn a_wild_timestamp_is_borne() {
    for wild in [3_600_000, 5000, -1500] {
        let mut continuity = continuity();
        assert_eq!(off(&mut continuity, wild), Hold { release: false });
        assert_eq!(continuity.audio(Some(2020 * MS), 0, 320, false), GOES_ON);
        assert_eq!(continuity.expected(), Some(2040 * MS), "both");
    }
}

#[test]
fn an_unflagged_hole_counts_when_it_has_stayed() {
    let mut continuity = continuity();
    for n in 0..49 {
        let time = 7 * SECOND + n * 20 * MS;
        let placed = continuity.audio(Some(time), 0, 320, false);
        assert_eq!(placed, Hold { release: false }, "{n}");
    }
    let plan = continuity.audio(Some(7980 * MS), 0, 320, false);
    let jumped = Plan {
        silence: silence(2 * SECOND, 800),
        jump: Some(7 * SECOND),
        moved: None,
    };
    assert_eq!(plan, Send(jumped));
    assert_eq!(continuity.expected(), Some(8 * SECOND));
}

#[test]
fn what_is_held_back_at_the_end_is_where_it_says() {
    let mut continuity = continuity();
    assert_eq!(continuity.flush(), GOES_ON);
    off(&mut continuity, 5000);
    let jumped = Plan {
        silence: silence(2 * SECOND, 800),
        jump: Some(7 * SECOND),
        moved: None,
    };
    assert_eq!(continuity.flush(), Send(jumped));
    assert_eq!(continuity.expected(), Some(7020 * MS));
}

#[test]
fn one_wild_timestamp_after_another() {
    let mut continuity = continuity();
    assert_eq!(off(&mut continuity, 5000), Hold { release: false });
    assert_eq!(off(&mut continuity, 9000), Hold { release: true });
    assert_eq!(continuity.expected(), Some(2020 * MS), "the first goes on");
    assert_eq!(continuity.audio(Some(2040 * MS), 0, 320, false), GOES_ON);
}

#[test]
fn time_that_goes_back_begins_anew() {
    for discont in [false, true] {
        let mut continuity = continuity();
        let mut time = 0;
        loop {
            match continuity.audio(Some(time), 0, 320, discont) {
                Hold { release } => assert!(!release && !discont),
                placed => break assert_eq!(placed, Restart { back: 2 * SECOND }),
            }
            time += 20 * MS;
        }
        assert_eq!(time, if discont { 0 } else { 980 * MS });
    }
}

#[test]
fn what_is_not_live_is_sent_when_it_is_clear_where_it_belongs() {
    let mut continuity = Continuity::new(RATE, 800 * MS, false);
    continuity.audio(Some(0), 0, 16_000, true);
    for n in 0..3 {
        assert_eq!(off(&mut continuity, 60 + 20 * n), Hold { release: false });
        assert_eq!(continuity.expected(), Some(SECOND));
    }
    assert_eq!(continuity.audio(Some(1060 * MS), 0, 320, false), GOES_ON);
    assert_eq!(continuity.expected(), Some(1080 * MS));
    for n in 0..49 {
        let time = 1480 * MS + n * 20 * MS;
        let placed = continuity.audio(Some(time), 0, 320, false);
        assert_eq!(placed, Hold { release: false });
    }
    let placed = continuity.audio(Some(2460 * MS), 0, 320, false);
    assert_eq!(placed, jump(1480 * MS), "without silence");
    assert_eq!(continuity.expected(), Some(2480 * MS));
}

#[test]
fn buffers_without_timestamps_follow_each_other() {
    let mut continuity = Continuity::new(8000, SECOND, true);
    let first = continuity.audio(None, 5 * SECOND, 800, false);
    assert_eq!(first, jump(5 * SECOND));
    assert_eq!(continuity.audio(None, 5 * SECOND, 800, false), GOES_ON);
    assert_eq!(continuity.expected(), Some(5200 * MS));
}

#[test]
fn endless_gaps_cost_a_bounded_amount_of_silence() {
    let mut continuity = continuity();
    let mut sent = 0;
    for n in 0..100 {
        let start = 2 * SECOND + n * 200 * MS;
        let silence = continuity.gap(start, start + 200 * MS);
        sent += silence.map_or(0, |silence| silence.samples);
    }
    assert_eq!(duration_of(sent, RATE), 2 * SECOND);
    let plan = continuity.audio(Some(22 * SECOND), 0, 1600, true);
    assert_eq!(plan, jump(22 * SECOND));
}

#[test]
fn a_gap_before_any_audio_starts_the_clock() {
    let mut continuity = Continuity::new(RATE, SECOND, true);
    let gap = continuity.gap(3 * SECOND, 3500 * MS);
    assert_eq!(gap, silence(3 * SECOND, 500));
    let plan = continuity.audio(Some(3500 * MS), 0, 160, false);
    assert_eq!(plan, GOES_ON);
}
