// SPDX-License-Identifier: MPL-2.0
//! Day-long sessions with many faults.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::service::Service;
use super::*;

/// Number of simulated days, each with faults of its own.
const DAYS: u64 = 100;

/// Length of the pieces in which audio arrives, in milliseconds.
const PIECE: u64 = 500;

/// Audio that may be kept, in bytes; a second has 2000.
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

const LENGTH: Duration = Duration::from_secs(24 * 3600);

/// One day: all audio that was kept is reported, once and in order, and so is every outage.
fn day(seed: u64) {
    let mut day = Day::new(seed);
    while !day.script.session.is_over() {
        day.produce();
        day.break_something();
        day.feed();
        day.pass();
        for line in day.script.take() {
            day.attend(&line);
        }
        assert!(day.script.now < 2 * LENGTH, "seed {seed}: it has no end");
    }
    day.check();
}

struct Day {
    seed: u64,
    random: fastrand::Rng,
    script: Script,
    service: Service,
    /// Number of connection attempts still to be refused.
    refusals: u32,
    /// The service neither processes audio nor sends anything.
    mute: bool,
    /// Audio that waits, by its time in milliseconds, and the amount produced.
    queue: VecDeque<u64>,
    produced: u64,
    /// Times of the faults.
    faults: VecDeque<Duration>,
    broken: u64,
    outages: u64,
    /// Audio reported as lost, in milliseconds.
    lost: Vec<Range<u64>>,
    /// Reported utterances: the session's number, and the service's.
    finals: Vec<(u64, u64)>,
}

impl Day {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut script = Script::with(false, |config| {
            config.retry.keep_going = true;
            config.seed = seed;
            // At this rate a day is less data to copy.
            config.rate = 1000;
            config.backlog = pcm::samples(KEPT);
            config.chunk = Samples(PIECE);
        });
        script.connect();
        let mut faults: Vec<_> = (0..500).map(|_| LENGTH.mul_f64(random.f64())).collect();
        faults.sort();
        Self {
            seed,
            random,
            script,
            service: Service::default(),
            refusals: 0,
            mute: false,
            queue: VecDeque::new(),
            produced: 0,
            faults: faults.into(),
            broken: 0,
            outages: 0,
            lost: Vec::new(),
            finals: Vec::new(),
        }
    }

    fn is_over(&self) -> bool {
        self.produced >= LENGTH.as_millis() as u64
    }

    /// The source is live: audio arrives whether it is wanted or not.
    fn produce(&mut self) {
        while Duration::from_millis(self.produced) <= self.script.now && !self.is_over() {
            self.queue.push_back(self.produced);
            self.produced += PIECE;
        }
        if self.queue.len() as u64 > 30_000 / PIECE {
            let time = self.queue.pop_front().unwrap();
            self.lost.push(time..time + PIECE);
        }
    }

    fn break_something(&mut self) {
        let s = &mut self.script;
        if self.faults.pop_front_if(|at| *at <= s.now).is_some() && !self.mute {
            self.refusals = self.random.u32(..6);
            self.broken += u64::from(s.session.serving().is_some());
            match self.random.u8(..4) {
                0 => self.mute = true,
                1 => s.receive("error"),
                _ => s.lose(),
            }
        }
    }

    /// Hands over audio, and the end of the day after it; the service processes it.
    fn feed(&mut self) {
        let is_over = self.is_over();
        let s = &mut self.script;
        if is_over && s.session.is_down() {
            s.session.handle_end_announced(s.now);
        }
        let sent = |s: &Script| s.session.usage().0.bytes / 2;
        let before = sent(s);
        if let Demand::Chunk { .. } = s.session.poll_audio(s.now) {
            match self.queue.pop_front() {
                Some(time) => {
                    let sound = if time % 3000 < 2000 { LOUD[0] } else { 0 };
                    let audio = [sound; 2 * PIECE as usize];
                    s.session
                        .handle_audio(Timestamp::from_nanos(time * MS), &audio, s.now);
                }
                None if is_over => s.finish(),
                None => {}
            }
        }
        s.drain();
        let Some(serving) = s.session.connections.serving() else {
            return;
        };
        let (timeline, length) = (serving.timeline(), sent(s) - before);
        let kept = serving.kept_bytes() + s.session.replay.kept_bytes();
        assert!(
            kept <= 2 * KEPT,
            "seed {}: {kept} bytes are kept",
            self.seed
        );
        if length > 0 && !self.mute {
            let begin = timeline.clock() - Samples(length);
            let time = millis(timeline.start_time(begin).unwrap());
            self.service.listen(s, time, length, &mut self.random);
        }
    }

    fn pass(&mut self) {
        let s = &mut self.script;
        s.now += Duration::from_millis(PIECE / 2);
        if !self.mute {
            s.net(Net::Alive);
        }
        if s.session
            .poll_timeout()
            .is_some_and(|(due, _)| due <= s.now)
        {
            s.pass(Duration::ZERO);
        }
    }

    /// Acts as the service, and records the session's reports.
    fn attend(&mut self, line: &str) {
        let s = &mut self.script;
        match line.split_once(' ').unwrap_or((line, "")) {
            ("CONNECT", _) if self.refusals > 0 => {
                self.refusals -= 1;
                let failure = Failure::new(Kind::Unreachable, "No.", "Wait.");
                s.net(Net::Unreachable(failure));
            }
            ("CONNECT", _) => {
                self.service = Service::default();
                self.mute = false;
                s.net(Net::Connected);
                s.receive("ready");
            }
            ("finish", _) if !self.mute => self.service.finish(s),
            ("FINAL", rest) => {
                let number = rest.split_once(' ').unwrap().0.parse().unwrap();
                let said = rest.rsplit_once(" u").map(|(_, said)| said);
                // A blank final was reported under another number.
                let said = said.map_or(u64::MAX, |s| s.trim_end_matches('|').parse().unwrap());
                self.finals.push((number, said));
            }
            ("LOST", rest) => {
                let (time, length) = rest.split_once('+').unwrap();
                let time: u64 = time.parse().unwrap();
                self.lost.push(time..time + length.parse::<u64>().unwrap());
            }
            ("OUTAGE", _) => self.outages += 1,
            _ => {}
        }
    }

    fn check(mut self) {
        let seed = self.seed;
        // Audio queued at the end of the session is reported by the owner of the queue.
        self.lost.extend(self.queue.iter().map(|t| *t..*t + PIECE));
        let lost = self.lost;
        let (mut numbers, finals): (Vec<_>, Vec<_>) = self.finals.into_iter().unzip();
        let count = numbers.len();
        numbers.sort();
        numbers.dedup();
        assert_eq!(
            numbers.len(),
            count,
            "seed {seed}: two finals of an utterance"
        );
        let finals: Vec<_> = finals.into_iter().filter(|said| *said < u64::MAX).collect();
        if let Some(at) = finals.windows(2).position(|pair| pair[0] >= pair[1]) {
            let near = &finals[at.saturating_sub(2)..at + 2];
            panic!("seed {seed}: not in order, or twice: {near:?}");
        }
        for number in 0..LENGTH.as_secs() / 3 {
            let said = number * 3000..number * 3000 + 2000;
            let is_lost = |lost: &Range<u64>| lost.start < said.end && said.start < lost.end;
            assert!(
                finals.binary_search(&number).is_ok() || lost.iter().any(is_lost),
                "seed {seed}: utterance {number} is missing, with all of its audio"
            );
        }
        let (outages, broken) = (self.outages, self.broken);
        assert!(
            (300..=broken).contains(&outages),
            "seed {seed}: {outages} of {broken}"
        );
    }
}
