// SPDX-License-Identifier: MPL-2.0
//! Connections that get too old are replaced where nobody speaks.

use super::service::Service;
use super::*;

const OLD: Duration = Duration::from_secs(60);

/// Loud, as speech is.
const SPEECH: [u8; 3200] = [16; 3200];

fn old(manual: bool) -> Script {
    let mut s = Script::with(manual, |config| {
        config.rotate_after = OLD;
        config.retry.max_retries = None;
    });
    s.connect();
    s.now += OLD;
    s
}

impl Script {
    fn loudly(&mut self, ms: u64) {
        for _ in 0..ms / 100 {
            self.now = self.now.max(self.session.next_audio().expect("running"));
            self.session.handle_audio(self.time, &SPEECH, self.now);
            self.time += 100 * MS;
            self.drain();
        }
    }

    fn spare_receives(&mut self, frame: &str) {
        let frame = Incoming::Text(frame);
        self.session.handle_spare_frame(frame, self.now);
        self.drain();
    }

    fn spare_is_ready(&mut self) {
        self.session.handle_spare_connected(self.now);
        self.spare_receives("ready");
    }

    fn lose_spare(&mut self) {
        self.session.handle_spare_closed(None, "", self.now);
        self.drain();
    }
}

/// One utterance has been said, and in the silence after it the seam was made.
fn handed_over() -> Script {
    let mut s = old(false);
    s.loudly(1000);
    s.receive("start 0 0");
    s.spare_is_ready();
    s.speak(500);
    s.receive("stop 0 1000");
    s.receive("final 0 One.");
    s.speak(100);
    let said = s.said();
    assert_eq!(said[..3], ["SPARE CONNECT", "STARTED 0", "SPARE hello"]);
    assert_eq!(said[said.len() - 2..], ["SWAP", "SPARE finish"]);
    s
}

#[test]
fn the_next_connection_takes_over_between_two_utterances() {
    let mut s = handed_over();
    s.states.clear();
    let before = s.session.usage().0;
    s.spare_receives("finished");
    assert_eq!(s.said(), ["SPARE CLOSE", "ROTATED"]);
    s.loudly(500);
    s.receive("start 0 100");
    s.speak(500);
    s.receive("stop 0 600");
    s.receive("final 0 Two.");
    // The new connection's clock began at the seam.
    let said = s.said();
    assert_eq!(said[0], "STARTED 1600");
    assert_eq!(said[2], "FINAL 4294967296 1600..2100 Two.|");
    assert_eq!(s.session.usage().0 - before, 32_000, "nothing twice");
    assert!(s.states.is_empty(), "{:?}", s.states);
    s.speak(50_000);
    assert!(s.said().is_empty(), "the new one is young");
}

#[test]
fn no_word_is_torn() {
    let mut s = old(false);
    s.loudly(100);
    s.spare_is_ready();
    s.said();
    // Nothing was heard yet, but something was said.
    s.speak(400);
    assert!(s.said().is_empty());
    s.receive("start 0 0");
    s.speak(2000);
    assert_eq!(s.said(), ["STARTED 0"], "still open");
    s.receive("final 0 One.");
    s.speak(100);
    assert_eq!(s.said()[1..], ["SWAP", "SPARE finish"]);
}

#[test]
fn manual_utterances_are_handed_over_at_their_commits() {
    let mut s = old(true);
    s.loudly(100);
    s.spare_is_ready();
    s.said();
    s.speak(800);
    assert!(s.said().is_empty());
    s.session.handle_commit();
    s.speak(100);
    assert_eq!(s.said(), ["commit", "SWAP", "SPARE finish"]);
    s.session.handle_commit();
    s.drain();
    s.receive("final 0 Two.");
    assert_eq!(s.said(), ["commit"], "the last one's text comes first");
    assert!(s.session.poll_timeout().unwrap() > s.now, "no busy waiting");
    s.spare_receives("final 0 One.");
    assert_eq!(s.said(), ["FINAL 0 0..900 One.|"]);
    s.spare_receives("finished");
    assert_eq!(
        s.said(),
        ["SPARE CLOSE", "ROTATED", "FINAL 4294967296 900..1000 Two.|"]
    );
}

#[test]
fn a_next_connection_that_does_not_come_about_is_nobodys_trouble() {
    let ways: [fn(&mut Script); 6] = [
        |s| s.session.handle_spare_unreachable(s.now),
        |s| s.lose_spare(),
        |s| s.pass(Duration::from_secs(10)),
        |s| {
            s.session.handle_spare_connected(s.now);
            s.spare_receives("error");
        },
        |s| {
            s.session.handle_spare_connected(s.now);
            s.receive("ready");
            s.pass(Duration::from_secs(15));
        },
        |s| {
            s.spare_is_ready();
            for _ in 0..60 {
                s.pass(Duration::from_secs(1));
                s.session.handle_sign_of_life(s.now);
            }
        },
    ];
    for (n, way) in ways.into_iter().enumerate() {
        let mut s = old(false);
        s.loudly(100);
        s.receive("start 0 0");
        way(&mut s);
        s.drain();
        let said = s.said();
        assert_eq!(said.first().unwrap(), "SPARE CONNECT", "{n}");
        assert_eq!(said.last().unwrap(), "SPARE CLOSE", "{n}");
        assert!(!said.iter().any(|line| line.starts_with("OUTAGE")), "{n}");
        s.loudly(10_000);
        assert!(s.said().is_empty(), "{n}: not at once");
        s.now += Duration::from_secs(120);
        s.session.handle_sign_of_life(s.now);
        s.loudly(100);
        assert_eq!(s.said(), ["SPARE CONNECT"], "{n}");
    }
}

#[test]
fn a_last_connection_that_breaks_with_nothing_to_say_is_nobodys_trouble() {
    let mut s = handed_over();
    s.lose_spare();
    assert_eq!(s.said(), ["SPARE CLOSE", "ROTATED"]);
    // Nor is one that never says that it has finished.
    let mut s = handed_over();
    s.pass(Duration::from_secs(5));
    assert_eq!(s.said(), ["SPARE CLOSE", "ROTATED"]);
}

#[test]
fn what_a_broken_last_connection_owes_is_sent_again_first() {
    let ways: [fn(&mut Script); 3] = [
        |s| s.lose_spare(),
        |s| s.spare_receives("error"),
        |s| s.pass(Duration::from_secs(5)),
    ];
    for way in ways {
        let mut s = old(true);
        s.loudly(100);
        s.spare_is_ready();
        s.loudly(800);
        s.session.handle_commit();
        s.loudly(300);
        s.spare_receives("seen 0");
        s.said();
        way(&mut s);
        let said = s.said();
        assert_eq!(said[..2], ["CLOSE", "SPARE CLOSE"]);
        assert!(said[2].starts_with("OUTAGE"), "{said:?}");
        s.now += Duration::from_secs(200);
        s.pass(Duration::ZERO);
        s.session.handle_connected(s.now);
        s.receive("ready");
        s.said();
        assert_eq!(s.replay(), 1200);
        s.receive("final 0 One.");
        s.finish();
        s.receive("final 1 Two.");
        s.receive("finished");
        let mut said = s.said();
        said.retain(|line| line.starts_with("FINAL") || line == "commit");
        assert_eq!(
            said,
            [
                "commit",
                "FINAL 8589934592 0..900 One.|",
                "commit",
                "FINAL 8589934593 900..1200 Two.|"
            ]
        );
    }
}

#[test]
fn an_outage_ends_a_rotation() {
    let mut s = old(false);
    s.loudly(100);
    s.session.handle_spare_connected(s.now);
    s.drain();
    s.said();
    s.lose();
    assert_eq!(s.said(), ["CLOSE", "SPARE CLOSE", "OUTAGE Lost"]);
    s.spare_receives("ready");
    s.reconnect();
    assert_eq!(s.said(), ["CONNECT", "hello"]);
    assert_eq!(s.replay(), 100);
}

#[test]
fn the_end_of_the_audio_waits_for_both() {
    let mut s = old(true);
    s.loudly(100);
    s.spare_is_ready();
    s.session.handle_commit();
    s.loudly(100);
    s.finish();
    s.receive("final 0 Two.");
    s.receive("finished");
    s.said();
    s.spare_receives("final 0 One.");
    s.spare_receives("finished");
    assert_eq!(
        s.said(),
        [
            "FINAL 0 0..100 One.|",
            "SPARE CLOSE",
            "ROTATED",
            "FINAL 4294967296 100..200 Two.|",
            "CLOSE",
            "DRAINED"
        ]
    );
    // Or for as long as it may take.
    let mut s = handed_over();
    s.finish();
    s.pass(Duration::from_secs(20));
    assert_eq!(s.said().last().unwrap(), "DRAINED");
    assert!(s.session.is_over());
}

#[test]
fn in_noise_a_little_is_sent_again() {
    let mut s = old(false);
    s.loudly(3000);
    s.receive("start 0 0");
    s.receive("stop 0 2500");
    s.receive("final 0 One.");
    s.spare_is_ready();
    s.said();
    s.loudly(5000);
    assert!(s.said().is_empty());
    s.now += Duration::from_secs(10);
    s.session.handle_sign_of_life(s.now);
    let before = s.session.usage().0;
    s.loudly(100);
    assert_eq!(s.said(), ["SWAP", "SPARE CLOSE", "ROTATED"]);
    let again = s.replay();
    assert!((300..=6000).contains(&again), "{again}");
    assert!(s.session.usage().0 > before);
}

#[test]
fn an_idle_connection_is_replaced_too() {
    let mut s = Script::with(false, |config| config.rotate_after = OLD);
    s.connect();
    s.speak(1000);
    let mut said = Vec::new();
    while !said.contains(&"ROTATED".to_owned()) {
        s.now = s.session.poll_timeout().unwrap();
        assert!(s.now < 3 * OLD, "{said:?}");
        s.pass(Duration::ZERO);
        s.session.handle_sign_of_life(s.now);
        let log = s.said();
        if log.contains(&"SPARE CONNECT".to_owned()) {
            s.spare_is_ready();
            s.spare_receives("finished");
        }
        said.extend(log);
        said.extend(s.said());
    }
    assert!(!said.iter().any(|line| line.starts_with("OUTAGE")));
}

#[test]
fn an_hour_of_rotations_loses_and_doubles_nothing() {
    let mut s = Script::with(false, |config| config.rotate_after = OLD);
    s.connect();
    let mut random = fastrand::Rng::with_seed(7);
    let (mut service, mut said) = (Service::default(), Vec::new());
    for _ in 0..36_000 {
        s.now = s.now.max(s.session.next_audio().unwrap());
        s.now += Duration::from_millis(50);
        let (time, loud) = (s.time / MS, s.time / MS % 3000 < 2000);
        let audio = if loud { &SPEECH } else { &CHUNK };
        s.session.handle_audio(s.time, audio, s.now);
        s.time += 100 * MS;
        s.drain();
        let log = s.said();
        if log.contains(&"SWAP".to_owned()) {
            assert!(service.open.is_empty(), "an utterance was torn");
            service = Service::default();
            s.spare_receives("finished");
        }
        if log.contains(&"SPARE CONNECT".to_owned()) {
            s.spare_is_ready();
        }
        said.extend(log);
        service.listen(&mut s, time, 100, &mut random);
    }
    said.extend(s.said());
    let count = |what| said.iter().filter(|line| line.starts_with(what)).count();
    assert!(count("ROTATED") >= 25, "{}", count("ROTATED"));
    assert_eq!(count("OUTAGE") + count("CLOSE") + count("LOST"), 0);
    assert_eq!(s.session.usage().0, 36_000 * 3200);
    let finals: Vec<u64> = said
        .iter()
        .filter_map(|line| line.strip_prefix("FINAL ")?.split_once(" u"))
        .map(|(_, number)| number.trim_end_matches('|').parse().unwrap())
        .collect();
    assert_eq!(finals, (0..1200).collect::<Vec<_>>());
}
