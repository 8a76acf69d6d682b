// SPDX-License-Identifier: MPL-2.0
//! The audio that is sent again over a new connection, and the reports on it.

use super::*;

#[test]
fn an_utterance_that_was_cut_is_heard_again_and_nothing_else() {
    let mut s = persistent(false);
    s.speak(5000);
    s.receive("start 0 500");
    s.receive("stop 0 1500");
    s.receive("final 0 One.");
    s.receive("start 1 3000");
    s.receive("partial 1 |two");
    s.said();
    s.lose();
    assert_eq!(s.said(), ["CLOSE", "OUTAGE Lost"]);
    assert_eq!(s.states.last(), Some(&State::Reconnecting));
    s.reconnect();
    assert_eq!(s.said(), ["CONNECT", "hello"]);
    assert_eq!(s.replay(), 2300, "from a little before the second");
    s.speak(500);
    s.receive("start 0 300");
    s.receive("stop 0 1700");
    s.receive("final 0 Two.");
    assert_eq!(
        s.said(),
        ["STARTED 3000", "STOPPED 4400", "FINAL 1 3000..4400 Two.|"]
    );
}

#[test]
fn a_server_that_leaves_in_the_middle_of_an_utterance_is_no_outage() {
    let mut s = persistent(false);
    s.speak(5000);
    s.receive("start 0 3000");
    s.receive("partial 0 |one");
    s.said();
    let states = s.states.len();
    s.net(closed(Some(1012), "service restart"));
    assert_eq!(s.said(), ["CLOSE"]);
    assert_eq!(s.due(), s.now, "the next connection is opened at once");
    s.reconnect();
    assert_eq!(s.said(), ["CONNECT", "hello"]);
    assert_eq!(s.states[states..], [State::Connected]);
    assert_eq!(s.replay(), 2300, "from a little before the utterance");
    s.receive("start 0 300");
    s.receive("stop 0 1700");
    s.receive("final 0 One.");
    assert_eq!(s.said().last().unwrap(), "FINAL 0 3000..4400 One.|");
    // The next one fails otherwise: then the user is told.
    s.speak(1000);
    s.net(closed(Some(1012), ""));
    s.pass(Duration::ZERO);
    s.lose();
    assert_eq!(s.said(), ["CLOSE", "CONNECT", "CLOSE", "OUTAGE Lost"]);
    assert_eq!(s.states.last(), Some(&State::Reconnecting));
}

#[test]
fn silence_is_not_sent_again() {
    let mut s = persistent(false);
    s.speak(20_000);
    s.said();
    s.lose();
    s.reconnect();
    let replayed = s.replay();
    // Audio for which the service would already have reported speech is not worth repeating.
    assert!(replayed <= 2 * 2000 + 1000, "{replayed}");
}

#[test]
fn a_final_that_comes_twice_is_reported_once() {
    let mut s = persistent(false);
    s.speak(5000);
    s.receive("start 0 1500");
    s.receive("start 1 2500");
    s.receive("stop 1 3500");
    s.receive("final 1 Two.");
    s.pass(Duration::from_secs(2));
    assert!(s.said().contains(&"FINAL 1 2500..3500 Two.|".to_owned()));
    s.lose();
    s.reconnect();
    s.replay();
    s.said();
    // The first one had no result, so all its audio was sent again from its start.
    for frame in [
        "start 0 310",
        "stop 0 1000",
        "final 0 One.",
        "start 1 1300",
        "stop 1 2300",
        "final 1 Two.",
    ] {
        s.receive(frame);
    }
    let finals: Vec<_> = s
        .said()
        .into_iter()
        .filter(|line| line.starts_with("FINAL"))
        .collect();
    assert_eq!(finals.len(), 1, "{finals:?}");
    assert!(finals[0].ends_with("One.|"));
}

#[test]
fn commits_are_repeated_with_their_audio() {
    let mut s = persistent(true);
    s.speak(300);
    s.session.handle_commit(s.now);
    s.speak(200);
    s.said();
    s.lose();
    s.reconnect();
    s.said();
    assert_eq!(s.replay(), 500);
    assert_eq!(s.said(), ["commit"]);
    s.receive("final 0 One.");
    s.finish();
    s.receive("final 1 Two.");
    s.receive("finished");
    let finals: Vec<_> = s
        .said()
        .into_iter()
        .filter(|line| line.starts_with("FINAL"))
        .collect();
    assert_eq!(finals, ["FINAL 0 0..300 One.|", "FINAL 1 300..500 Two.|"]);
}

#[test]
fn a_connection_that_breaks_again_and_again_loses_nothing() {
    let mut s = persistent(false);
    s.speak(3000);
    s.receive("start 0 0");
    for _ in 0..20 {
        s.lose();
        s.reconnect();
        s.now += Duration::from_millis(300);
        s.session.poll_audio(s.now);
        s.drain();
    }
    let outages = s
        .said()
        .iter()
        .filter(|line| line.starts_with("OUTAGE"))
        .count();
    assert_eq!(
        outages, 1,
        "a connection that breaks at once ends no outage"
    );
    s.lose();
    s.reconnect();
    assert_eq!(s.replay(), 3000);
}

#[test]
fn what_nobody_listened_to_is_sent_again() {
    // Audio is sent at twice real time, and the latest two seconds are uncertain in any case.
    for (answer, expected) in [(None, 8000..8700), (Some("start 0 7000"), 4000..4700)] {
        let mut s = persistent(false);
        s.speak(6000);
        assert!(
            s.session.connections.serving().unwrap().kept_bytes() < 32 * 4700,
            "silence is not kept"
        );
        s.shout(2000);
        s.speak(6000);
        if let Some(answer) = answer {
            s.receive(answer);
            s.receive("final 0 Hm.");
            s.speak(6000);
        }
        s.lose();
        s.reconnect();
        let replayed = s.replay();
        assert!(expected.contains(&replayed), "{answer:?}: {replayed}");
    }
}

#[test]
fn endless_noise_is_kept_as_far_as_there_is_room_and_no_loss() {
    let mut s = Script::with(false, |config| {
        config.retry.max_retries = None;
        config.backlog = Samples(80_000);
    });
    s.connect();
    s.shout(20_000);
    s.said();
    s.lose();
    assert_eq!(s.said(), ["CLOSE", "OUTAGE Lost"]);
    s.reconnect();
    assert_eq!(s.replay(), 5000);
}

#[test]
fn an_outage_is_reported_once_and_the_waits_grow() {
    let mut s = persistent(false);
    s.speak(1000);
    s.lose();
    let mut longest = Duration::ZERO;
    for _ in 0..30 {
        let due = s.due();
        longest = longest.max(due - s.now);
        s.now = due;
        s.pass(Duration::ZERO);
        let failure = Failure::new(Kind::Unreachable, "No.", "Wait.");
        s.net(Net::Unreachable(failure));
        s.drain();
    }
    let said = s.said();
    assert_eq!(
        said.iter()
            .filter(|line| line.starts_with("OUTAGE"))
            .count(),
        1
    );
    assert_eq!(said.iter().filter(|line| *line == "CONNECT").count(), 30);
    assert!(longest > Duration::from_secs(10) && longest <= Duration::from_secs(30));
}

#[test]
fn what_no_retry_mends_ends_the_session_unless_it_must_go_on() {
    let mut s = persistent(false);
    s.net(closed(None, ""));
    s.now = s.due();
    s.pass(Duration::ZERO);
    s.said();
    s.net(Net::Refused(REFUSAL));
    s.drain();
    assert_eq!(s.said(), ["CLOSE", "FAILED Unauthorized"]);

    let mut s = Script::with(false, |config| config.retry.keep_going = true);
    s.said();
    s.net(Net::Refused(REFUSAL));
    s.drain();
    assert_eq!(s.said(), ["CLOSE", "OUTAGE Unauthorized"]);
    let due = s.due();
    assert!(due >= s.now + Duration::from_secs(60));
}

#[test]
fn more_than_the_backlog_holds_is_lost_and_said_so() {
    let mut s = Script::with(false, |config| {
        config.retry.max_retries = None;
        config.backlog = Samples(16_000);
    });
    s.connect();
    s.speak(5000);
    s.receive("start 0 1000");
    s.speak(1000);
    s.said();
    s.lose();
    assert_eq!(s.said(), ["LOST 700+4300", "CLOSE", "OUTAGE Lost"]);
    s.reconnect();
    assert_eq!(s.replay(), 1000);
}

#[test]
fn a_tail_that_was_cut_is_finished_over_a_new_connection() {
    let mut s = persistent(false);
    s.speak(2000);
    s.receive("start 0 500");
    s.finish();
    s.said();
    s.lose();
    s.reconnect();
    s.replay();
    s.finish();
    s.receive("start 0 300");
    s.receive("final 0 One.");
    s.receive("finished");
    let said = s.said();
    assert!(
        said.contains(&"FINAL 0 500..2000 One.|".to_owned()),
        "{said:?}"
    );
    assert_eq!(said.last().unwrap(), "DRAINED");
}

#[test]
fn the_end_of_the_audio_limits_an_outage() {
    for (keep_going, expected) in [(false, "FAILED Lost"), (true, "DRAINED")] {
        let mut s = Script::with(false, |config| {
            config.retry = RetryPolicy {
                keep_going,
                max_retries: None,
                addresses: 1,
            };
        });
        s.connect();
        s.speak(1000);
        s.receive("partial 0 |half");
        s.lose();
        s.session.handle_end_announced(s.now);
        let end = s.now + Duration::from_secs(20);
        while !s.session.is_over() {
            s.now = s.due();
            s.pass(Duration::ZERO);
            if s.now < end {
                let failure = Failure::new(Kind::Lost, "No.", "Wait.");
                s.net(Net::Unreachable(failure));
                s.drain();
            }
        }
        // Later attempts are not waited for.
        assert!(s.now <= end && s.now > end / 2, "{:?}", s.now);
        assert_eq!(s.said().last().unwrap(), expected);
    }
}

#[test]
fn a_connection_that_has_died_is_noticed() {
    let mut s = persistent(false);
    let mut heard = Vec::new();
    while !heard.iter().any(|line| line == "OUTAGE Lost") {
        s.now = s.due();
        s.pass(Duration::ZERO);
        heard.extend(s.said());
        assert!(s.now <= Duration::from_secs(15), "{heard:?}");
    }
    assert_eq!(heard, ["PING", "CLOSE", "OUTAGE Lost"]);
}

#[test]
fn an_idle_connection_is_kept_open_at_little_cost() {
    let mut s = persistent(false);
    s.speak(1000);
    let before = s.session.usage().0.bytes;
    let end = s.now + Duration::from_secs(600);
    while s.now < end {
        s.now = s.due();
        s.pass(Duration::ZERO);
        s.net(Net::Alive);
    }
    let said = s.said();
    assert!(
        !said.iter().any(|line| line.starts_with("OUTAGE")),
        "{said:?}"
    );
    let sent_ms = (s.session.usage().0.bytes - before) / 32;
    assert!(
        (1000..=1300).contains(&sent_ms),
        "100 ms each 50 s: {sent_ms}"
    );
    // It does not shift later audio.
    s.time = 700_000 * MS;
    s.speak(1000);
    s.receive(&format!("start 0 {}", 1000 + sent_ms + 500));
    assert_eq!(s.said(), ["STARTED 700500"]);
}

#[test]
fn what_was_heard_of_a_cut_utterance_is_reported_if_nothing_better_comes() {
    let mut s = persistent(false);
    s.speak(3000);
    s.receive("start 0 500");
    s.receive("partial 0 as far |as");
    s.lose();
    s.reconnect();
    s.replay();
    s.receive("start 0 300");
    s.receive("partial 0 as|");
    s.lose();
    s.session.handle_end_announced(s.now);
    s.said();
    s.pass(Duration::from_secs(20));
    assert_eq!(
        s.said(),
        [
            "FINAL 0 500..3000 as far as|",
            "LOST 200+2800",
            "FAILED Lost"
        ]
    );
}
