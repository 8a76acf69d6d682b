// SPDX-License-Identifier: MPL-2.0
//! How many times and how soon a session retries.

use super::*;

fn unknown_host() -> Failure {
    Failure::new(Kind::UnknownHost, "No such host.", "Check.").unanswered()
}

/// Follows the session's own timer for this long; each attempt ends as `attempt` has it. Returns
/// the times of the attempts.
fn attempts(
    s: &mut Script,
    length: Duration,
    mut attempt: impl FnMut(&mut Script),
) -> Vec<Duration> {
    let end = s.now + length;
    let mut begun = Vec::new();
    while let Some((due, _)) = s.session.poll_timeout()
        && due < end
    {
        s.now = s.now.max(due);
        s.pass(Duration::ZERO);
        if s.said().contains(&"CONNECT".to_owned()) {
            begun.push(s.now);
            attempt(s);
            s.drain();
        }
    }
    begun
}

#[test]
fn a_service_that_breaks_every_connection_is_not_stormed() {
    let mut s = persistent(false);
    s.lose();
    let minute = Duration::from_secs(60);
    let begun = attempts(&mut s, 20 * minute, |s| {
        s.net(Net::Connected);
        s.receive("ready");
        s.lose();
    });
    let late = begun.iter().filter(|at| **at > 10 * minute).count();
    assert!((5..=80).contains(&late), "{late} in ten minutes");
    assert!(s.states.contains(&State::Connected));
}

#[test]
fn a_network_that_is_gone_is_tried_again_within_seconds() {
    let ways: [fn(&mut Script); 3] = [
        |s| s.net(Net::Unreachable(unknown_host())),
        |s| {
            let failure = Failure::new(Kind::Unreachable, "No route.", "Check.").unanswered();
            s.net(Net::Unreachable(failure));
        },
        // Runs into connect-timeout.
        |_| {},
    ];
    for (n, way) in ways.into_iter().enumerate() {
        let mut s = persistent(false);
        s.lose();
        let begun = attempts(&mut s, Duration::from_secs(240), way);
        let told = s.states.iter().filter(|s| **s == State::Reconnecting);
        assert_eq!(told.count(), 2, "the loss, and why it lasts");
        let longest = begun.windows(2).map(|pair| pair[1] - pair[0]).max();
        let most = if n == 2 { 11_500 } else { 1500 };
        assert!(longest <= Some(Duration::from_millis(most)), "{longest:?}");
        // But not without limit.
        let begun = attempts(&mut s, Duration::from_secs(1200), way);
        let longest = begun.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(longest > Some(Duration::from_secs(10)), "{longest:?}");
    }
}

#[test]
fn a_host_that_was_never_found_is_a_wrong_one() {
    let mut s = Script::with(false, |config| config.retry.max_retries = None);
    s.net(Net::Unreachable(unknown_host()));
    s.drain();
    assert_eq!(s.said().last().unwrap(), "FAILED UnknownHost");
    let mut s = Script::with(false, |config| config.retry.keep_going = true);
    s.net(Net::Unreachable(unknown_host()));
    s.drain();
    assert_eq!(s.said(), ["CONNECT", "CLOSE", "OUTAGE UnknownHost"]);
}

#[test]
fn a_name_service_that_fails_later_costs_no_word() {
    for keep_going in [false, true] {
        for (audio, finishing) in [(1000, false), (2000, false), (1000, true)] {
            let mut s = Script::with(false, |config| {
                config.retry = RetryPolicy {
                    keep_going,
                    max_retries: None,
                    addresses: 1,
                };
            });
            s.connect();
            s.speak(1000);
            s.receive("start 0 0");
            s.speak(audio - 1000);
            if finishing {
                s.finish();
            }
            s.lose();
            for _ in 0..5 {
                s.now = s.due();
                s.pass(Duration::ZERO);
                s.net(Net::Unreachable(unknown_host()));
                s.drain();
            }
            s.said();
            s.reconnect();
            assert_eq!(s.replay(), audio);
            s.finish();
            s.receive("start 0 0");
            s.receive("final 0 One.");
            s.receive("finished");
            let said = s.said();
            let finals = said.iter().filter(|line| line.starts_with("FINAL"));
            assert_eq!(finals.count(), 1, "{said:?}");
            assert!(!said.iter().any(|line| line.starts_with("OUTAGE")));
            assert_eq!(said.last().unwrap(), "DRAINED");
        }
    }
}

/// An utterance with interim text is interrupted at 1.5 s, `outages` times.
fn interrupted(outages: u32) -> Script {
    let mut s = Script::with(false, |config| config.retry.max_retries = None);
    s.connect();
    s.speak(1500);
    for n in 0..outages {
        s.receive(&format!("start 0 {}", if n == 0 { 300 } else { 310 }));
        s.receive("partial 0 n1 n2|n3");
        s.lose();
        s.reconnect();
        s.wait_for_demand();
    }
    s.said();
    s
}

#[test]
fn an_utterance_that_is_heard_again_keeps_its_number_and_has_one_final() {
    for (outages, finals) in [(1, 0), (1, 63), (1, 64), (1, 130), (3, 130)] {
        let mut s = interrupted(outages);
        s.receive("start 0 290");
        s.receive("partial 0 |n1");
        s.speak(500);
        s.receive("stop 0 1700");
        s.receive("final 0 n1 n2 n3 n4");
        for n in 1..=finals {
            s.speak(500);
            s.receive(&format!("start {n} {}", 1300 + 500 * n));
            s.receive(&format!("final {n} u{n}"));
        }
        s.finish();
        s.receive("finished");
        let mut said = s.said();
        said.retain(|line| line.starts_with("FINAL") || line.starts_with("INTERIM"));
        assert_eq!(said.len(), 2 + finals, "{outages}, {finals}: {said:?}");
        assert!(said[0].starts_with("INTERIM 0 "), "{said:?}");
        assert!(said[1].starts_with("FINAL 0 "), "{said:?}");
        assert!(said[1].ends_with("n1 n2 n3 n4|"), "{said:?}");
    }
}

#[test]
fn what_is_not_heard_again_is_final_as_soon_as_something_later_is() {
    let mut s = interrupted(1);
    s.speak(3000);
    s.receive("start 0 2500");
    s.receive("stop 0 3000");
    s.receive("final 0 later");
    let mut said = s.said();
    said.retain(|line| line.starts_with("FINAL"));
    assert!(said[0].starts_with("FINAL 0 300..1500 n1 n2n3"), "{said:?}");
    assert!(said[1].starts_with("FINAL 1 "), "{said:?}");
    s.finish();
    s.receive("finished");
    assert!(!s.said().iter().any(|line| line.starts_with("FINAL")));
}

#[test]
fn what_is_heard_again_with_another_begin_is_closed_without_text() {
    let mut s = interrupted(1);
    s.speak(3000);
    // Off by more than the tolerance: the same speech, segmented differently.
    s.receive("start 0 1000");
    s.receive("stop 0 2000");
    s.receive("final 0 n2 n3");
    let mut said = s.said();
    said.retain(|line| line.starts_with("FINAL"));
    assert_eq!(said[0], "FINAL 0 300..1500 |");
    assert!(
        said[1].starts_with("FINAL 1 ") && said[1].ends_with("n2 n3|"),
        "{said:?}"
    );
}

#[test]
fn a_connection_that_waits_for_its_turn_is_not_late() {
    let mut s = Script::with(false, |config| config.retry.max_retries = None);
    let minute = Duration::from_secs(60);
    s.net(Net::Queued);
    s.said();
    s.pass(minute);
    assert_eq!(s.said(), [""; 0]);
    s.net(Net::Admitted);
    assert_eq!(s.due(), s.now + Duration::from_secs(10));
    s.pass(minute);
    assert_eq!(s.said(), ["CLOSE", "OUTAGE Unreachable"]);
}

#[test]
fn a_file_gives_up_after_a_minute_if_the_service_was_never_there() {
    let mut s = Script::with(false, |config| config.retry.max_retries = None);
    let unreachable = |s: &mut Script| {
        let failure = Failure::new(Kind::Unreachable, "Refused.", "Check.");
        s.net(Net::Unreachable(failure));
    };
    unreachable(&mut s);
    s.drain();
    attempts(&mut s, Duration::from_secs(600), unreachable);
    assert!(s.session.is_over());
    assert!((60..65).contains(&s.now.as_secs()), "{:?}", s.now);
    let mut s = Script::with(false, |config| {
        config.retry.max_retries = None;
        config.is_live = true;
    });
    unreachable(&mut s);
    s.drain();
    attempts(&mut s, Duration::from_secs(600), unreachable);
    assert!(!s.session.is_over(), "a live programme goes on");
}
