// SPDX-License-Identifier: MPL-2.0
//! Long lives of sessions with many faults.

use std::sync::atomic::{AtomicU64, Ordering};

use super::service::Service;
use super::*;

/// Days that are lived through, each with faults of its own.
const DAYS: u64 = 100;

/// Length of the pieces in which audio comes, in milliseconds.
const PIECE: u64 = 500;

/// Audio that may be kept, in bytes, of which a second has 2000.
const KEPT: usize = 60_000;

#[test]
fn days_with_five_hundred_faults() {
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    match next.fetch_add(1, Ordering::Relaxed) {
                        seed if seed < DAYS => day(seed),
                        _ => return,
                    }
                }
            });
        }
    });
}

/// One day: what was kept is reported, once and in order, and so is every outage.
fn day(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut s = Script::with(false, |config| {
        config.retry.keep_going = true;
        config.seed = seed;
        // A day of this is less to copy.
        config.rate = 1000;
        config.backlog_bytes = KEPT;
        config.chunk_bytes = 2 * PIECE as usize;
    });
    s.connect();
    let mut service = Service::default();
    let (mut queue, mut produced) = (VecDeque::new(), 0u64);
    let day = Duration::from_secs(24 * 3600);
    let mut faults: Vec<Duration> = (0..500).map(|_| day.mul_f64(random.f64())).collect();
    faults.sort();
    let mut faults = VecDeque::from(faults);
    let mut lost: Vec<Range<u64>> = Vec::new();
    let (mut finals, mut broken, mut outages) = (Vec::new(), 0, 0);
    // What is wrong with the service: attempts that it refuses, and whether it is mute.
    let (mut refusals, mut mute) = (0, false);
    while s.now < day {
        // The source is live: audio comes whether it is wanted or not.
        while Duration::from_millis(produced) <= s.now {
            queue.push_back(produced);
            produced += PIECE;
        }
        if queue.len() as u64 > 30_000 / PIECE {
            let time: u64 = queue.pop_front().unwrap();
            lost.push(time..time + PIECE);
        }
        if faults.pop_front_if(|at| *at <= s.now).is_some() && !mute {
            refusals = random.u32(..6);
            broken += u64::from(!s.session.is_cut_off());
            match random.u8(..4) {
                0 => mute = true,
                1 => s.receive("error"),
                _ => s.lose(),
            }
        }
        let before = s.session.connection.timeline.clock();
        if s.session.next_audio().is_some_and(|due| due <= s.now) {
            if !s.session.replay(s.now)
                && let Some(time) = queue.pop_front()
            {
                let sound = if time % 3000 < 2000 { 0x55 } else { 0 };
                let audio = [sound; 2 * PIECE as usize];
                s.session.handle_audio(time * MS, &audio, s.now);
            }
            s.drain();
            let timeline = &s.session.connection.timeline;
            let length = timeline.clock() - before;
            if length > 0 && !mute {
                let time = timeline.start_time(before).unwrap() / MS;
                service.listen(&mut s, time, length, &mut random);
            }
            let kept = s.session.connection.kept_bytes() + s.session.replay.kept_bytes();
            assert!(kept <= 2 * KEPT, "seed {seed}: {kept} bytes are kept");
        }
        s.now += Duration::from_millis(PIECE / 2);
        if !mute {
            s.session.handle_sign_of_life(s.now);
        }
        if s.session.poll_timeout().is_some_and(|due| due <= s.now) {
            s.pass(Duration::ZERO);
        }
        for line in s.take() {
            match line.split_once(' ') {
                _ if line == "CONNECT" => {
                    service = Service::default();
                    mute = false;
                    if refusals > 0 {
                        refusals -= 1;
                        let failure = Failure::new(Kind::Unreachable, "No.", "Wait.");
                        s.session.handle_unreachable(failure, s.now);
                    } else {
                        s.session.handle_connected(s.now);
                        s.receive("ready");
                    }
                }
                Some(("FINAL", rest)) => {
                    let number = rest.rsplit_once('u').unwrap().1.trim_end_matches('|');
                    finals.push(number.parse::<u64>().unwrap());
                }
                Some(("LOST", rest)) => {
                    let (time, length) = rest.split_once('+').unwrap();
                    let time: u64 = time.parse().unwrap();
                    lost.push(time..time + length.parse::<u64>().unwrap());
                }
                Some(("OUTAGE", _)) => outages += 1,
                _ => {}
            }
        }
    }
    if let Some(at) = finals.windows(2).position(|pair| pair[0] >= pair[1]) {
        let near = &finals[at.saturating_sub(2)..at + 2];
        panic!("seed {seed}: not in order, or twice: {near:?}");
    }
    // The last utterances of the day may be on their way still.
    for number in 0..day.as_secs() / 3 - 200 {
        let said = number * 3000..number * 3000 + 2000;
        let is_lost = |lost: &Range<u64>| lost.start < said.end && said.start < lost.end;
        assert!(
            finals.binary_search(&number).is_ok() || lost.iter().any(is_lost),
            "seed {seed}: utterance {number} is missing, with all of its audio"
        );
    }
    assert!(
        (300..=broken).contains(&outages),
        "seed {seed}: {outages} of {broken}"
    );
}
