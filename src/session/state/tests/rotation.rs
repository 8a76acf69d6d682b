// SPDX-License-Identifier: MPL-2.0
//! Connections that get too old are replaced in pauses in speech.

use super::service::Service;
use super::*;

const OLD: Duration = Duration::from_secs(60);

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
    pub(super) fn beside_receives(&mut self, frame: &str) {
        self.net_beside(Net::Frame(Incoming::Text(frame)));
    }

    pub(super) fn beside_is_ready(&mut self) {
        self.net_beside(Net::Connected);
        self.beside_receives("ready");
    }

    fn lose_beside(&mut self) {
        self.net_beside(closed(None, ""));
    }
}

/// One utterance was spoken, and the seam is in the silence after it.
fn handed_over() -> Script {
    let mut s = old(false);
    s.shout(1000);
    s.receive("start 0 0");
    s.beside_is_ready();
    s.speak(500);
    s.receive("stop 0 1000");
    s.receive("final 0 One.");
    s.speak(100);
    let said = s.said();
    assert_eq!(said[..3], ["+CONNECT", "STARTED 0", "+hello"]);
    assert_eq!(said[said.len() - 1..], ["+finish"]);
    s
}

#[test]
fn the_next_connection_takes_over_between_two_utterances() {
    let mut s = handed_over();
    s.states.clear();
    let before = s.session.usage().0.bytes;
    s.beside_receives("finished");
    assert_eq!(s.said(), ["+CLOSE", "ROTATED"]);
    s.shout(500);
    s.receive("start 0 100");
    s.speak(500);
    s.receive("stop 0 600");
    s.receive("final 0 Two.");
    // The new connection's clock started at the seam.
    let said = s.said();
    assert_eq!(said[0], "STARTED 1600");
    assert_eq!(said[2], "FINAL 1 1600..2100 Two.|");
    assert_eq!(s.session.usage().0.bytes - before, 32_000, "nothing twice");
    assert!(s.states.is_empty(), "{:?}", s.states);
    s.speak(50_000);
    assert!(s.said().is_empty(), "the new one is young");
}

#[test]
fn no_word_is_torn() {
    let mut s = old(false);
    s.shout(100);
    s.beside_is_ready();
    s.said();
    // There is no result yet, but there was speech.
    s.speak(400);
    assert!(s.said().is_empty());
    s.receive("start 0 0");
    s.speak(2000);
    assert_eq!(s.said(), ["STARTED 0"], "still open");
    s.receive("final 0 One.");
    s.speak(100);
    assert_eq!(s.said()[1..], ["+finish"]);
}

#[test]
fn manual_utterances_are_handed_over_at_their_commits() {
    let mut s = old(true);
    s.shout(100);
    s.beside_is_ready();
    s.said();
    s.speak(800);
    assert!(s.said().is_empty());
    s.session.handle_commit(s.now);
    s.speak(100);
    assert_eq!(s.said(), ["commit", "+finish"]);
    s.session.handle_commit(s.now);
    s.drain();
    s.receive("final 0 Two.");
    assert_eq!(s.said(), ["commit"], "the last one's text comes first");
    assert!(s.due() > s.now, "no busy waiting");
    s.beside_receives("final 0 One.");
    assert_eq!(s.said(), ["FINAL 0 0..900 One.|"]);
    s.beside_receives("finished");
    assert_eq!(s.said(), ["+CLOSE", "ROTATED", "FINAL 1 900..1000 Two.|"]);
}

#[test]
fn a_next_connection_that_does_not_come_about_is_nobodys_trouble() {
    let ways: [fn(&mut Script); 6] = [
        |s| {
            s.net_beside(Net::Unreachable(Failure::new(
                Kind::Unreachable,
                "No.",
                "Wait.",
            )))
        },
        |s| s.lose_beside(),
        |s| s.pass(Duration::from_secs(10)),
        |s| {
            s.net_beside(Net::Connected);
            s.beside_receives("error");
        },
        |s| {
            s.net_beside(Net::Connected);
            s.receive("ready");
            s.pass(Duration::from_secs(15));
        },
        |s| {
            s.beside_is_ready();
            for _ in 0..60 {
                s.pass(Duration::from_secs(1));
                s.net(Net::Alive);
            }
        },
    ];
    for (n, way) in ways.into_iter().enumerate() {
        let mut s = old(false);
        s.shout(100);
        s.receive("start 0 0");
        way(&mut s);
        s.drain();
        let said = s.said();
        assert_eq!(said.first().unwrap(), "+CONNECT", "{n}");
        assert_eq!(said.last().unwrap(), "+CLOSE", "{n}");
        assert!(!said.iter().any(|line| line.starts_with("OUTAGE")), "{n}");
        s.shout(10_000);
        assert!(s.said().is_empty(), "{n}: not at once");
        s.now += Duration::from_secs(120);
        s.net(Net::Alive);
        s.shout(100);
        assert_eq!(s.said(), ["+CONNECT"], "{n}");
    }
}

#[test]
fn a_last_connection_that_breaks_with_nothing_to_say_is_nobodys_trouble() {
    let mut s = handed_over();
    s.lose_beside();
    assert_eq!(s.said(), ["+CLOSE", "ROTATED"]);
    // Nor is one that never confirms that it has finished.
    let mut s = handed_over();
    s.pass(Duration::from_secs(5));
    assert_eq!(s.said(), ["+CLOSE", "ROTATED"]);
}

#[test]
fn what_a_broken_last_connection_owes_is_sent_again_first() {
    let ways: [fn(&mut Script); 3] = [
        |s| s.lose_beside(),
        |s| s.beside_receives("error"),
        |s| s.pass(Duration::from_secs(5)),
    ];
    for way in ways {
        let mut s = old(true);
        s.shout(100);
        s.beside_is_ready();
        s.shout(800);
        s.session.handle_commit(s.now);
        s.shout(300);
        s.beside_receives("seen 0");
        s.said();
        way(&mut s);
        let said = s.said();
        assert_eq!(said[..2], ["CLOSE", "CLOSE"]);
        assert!(said[2].starts_with("OUTAGE"), "{said:?}");
        s.now += Duration::from_secs(200);
        s.pass(Duration::ZERO);
        s.net(Net::Connected);
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
                "FINAL 0 0..900 One.|",
                "commit",
                "FINAL 1 900..1200 Two.|"
            ]
        );
    }
}

#[test]
fn an_outage_ends_a_rotation() {
    let mut s = old(false);
    s.shout(100);
    s.net_beside(Net::Connected);
    s.drain();
    s.said();
    s.lose();
    assert_eq!(s.said(), ["CLOSE", "CLOSE", "OUTAGE Lost"]);
    s.beside_receives("ready");
    s.reconnect();
    assert_eq!(s.said(), ["CONNECT", "hello"]);
    assert_eq!(s.replay(), 100);
}

#[test]
fn the_end_of_the_audio_waits_for_both() {
    let mut s = old(true);
    s.shout(100);
    s.beside_is_ready();
    s.session.handle_commit(s.now);
    s.shout(100);
    s.finish();
    s.receive("final 0 Two.");
    s.receive("finished");
    s.said();
    s.beside_receives("final 0 One.");
    s.beside_receives("finished");
    assert_eq!(
        s.said(),
        [
            "FINAL 0 0..100 One.|",
            "CLOSE",
            "ROTATED",
            "FINAL 1 100..200 Two.|",
            "CLOSE",
            "DRAINED"
        ]
    );
    // Or for as long as the retirement may take.
    let mut s = handed_over();
    s.finish();
    s.pass(Duration::from_secs(20));
    assert_eq!(s.said().last().unwrap(), "DRAINED");
    assert!(s.session.is_over());
}

#[test]
fn in_noise_a_little_is_sent_again() {
    let mut s = old(false);
    s.shout(3000);
    s.receive("start 0 0");
    s.receive("stop 0 2500");
    s.receive("final 0 One.");
    s.beside_is_ready();
    s.said();
    s.shout(5000);
    assert!(s.said().is_empty());
    s.now += Duration::from_secs(10);
    s.net(Net::Alive);
    let before = s.session.usage().0.bytes;
    s.shout(100);
    assert_eq!(s.said(), ["+CLOSE", "ROTATED"]);
    let again = s.replay();
    assert!((300..=6000).contains(&again), "{again}");
    assert!(s.session.usage().0.bytes > before);
}

#[test]
fn an_idle_connection_is_replaced_too() {
    let mut s = Script::with(false, |config| config.rotate_after = OLD);
    s.connect();
    s.speak(1000);
    let mut said = Vec::new();
    while !said.contains(&"ROTATED".to_owned()) {
        s.now = s.due();
        assert!(s.now < 3 * OLD, "{said:?}");
        s.pass(Duration::ZERO);
        s.net(Net::Alive);
        let log = s.said();
        if log.contains(&"+CONNECT".to_owned()) {
            s.beside_is_ready();
            s.beside_receives("finished");
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
        s.wait_for_demand();
        s.now += Duration::from_millis(50);
        let (time, loud) = (s.time / MS, s.time / MS % 3000 < 2000);
        let audio = if loud { &LOUD } else { &CHUNK };
        s.session
            .handle_audio(Timestamp::from_nanos(s.time), audio, s.now);
        s.time += 100 * MS;
        s.drain();
        let log = s.said();
        if log.contains(&"+finish".to_owned()) {
            assert!(service.open.is_empty(), "an utterance was torn");
            service = Service::default();
            s.beside_receives("finished");
        }
        if log.contains(&"+CONNECT".to_owned()) {
            s.beside_is_ready();
        }
        said.extend(log);
        service.listen(&mut s, time, 100, &mut random);
    }
    said.extend(s.said());
    let count = |what| said.iter().filter(|line| line.starts_with(what)).count();
    assert!(count("ROTATED") >= 25, "{}", count("ROTATED"));
    assert_eq!(count("OUTAGE") + count("CLOSE") + count("LOST"), 0);
    assert_eq!(s.session.usage().0.bytes, 36_000 * 3200);
    let finals: Vec<u64> = said
        .iter()
        .filter_map(|line| line.strip_prefix("FINAL ")?.split_once(" u"))
        .map(|(_, number)| number.trim_end_matches('|').parse().unwrap())
        .collect();
    assert_eq!(finals, (0..1200).collect::<Vec<_>>());
}

#[test]
fn settings_that_change_count_from_a_connection_that_comes_soon() {
    let change = |s: &mut Script| {
        let models = models(PlainCodec::new(false), &["m"]);
        s.session.handle_settings(models, None, true, s.now);
        s.drain();
    };
    let mut s = persistent(false);
    s.shout(1000);
    s.receive("start 0 0");
    s.said();
    change(&mut s);
    s.shout(100);
    assert_eq!(s.said(), ["+CONNECT"]);
    // A successor being opened has the old settings when they change again.
    change(&mut s);
    s.shout(100);
    assert_eq!(s.said(), ["+CLOSE", "+CONNECT"]);
    s.beside_is_ready();
    s.shout(500);
    assert_eq!(s.said(), ["+hello"], "not in an utterance");
    s.receive("final 0 One.");
    s.speak(600);
    let said = s.said();
    assert_eq!(said.last().unwrap(), "+finish", "{said:?}");
    // If the service refuses them, the user is told, and the session continues.
    let mut s = persistent(false);
    s.speak(100);
    change(&mut s);
    s.speak(100);
    s.said();
    s.net_beside(Net::Refused(REFUSAL));
    let said = s.said();
    assert!(said[0].starts_with("WARNING NotTaken"), "{said:?}");
    assert_eq!(said[1..], ["+CLOSE"]);
    s.speak(1000);
    assert!(s.said().is_empty());
}
