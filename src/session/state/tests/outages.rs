// SPDX-License-Identifier: MPL-2.0
//! How often and how soon a session tries again.

use super::*;

fn unknown_host() -> Failure {
    Failure::new(Kind::UnknownHost, "No such host.", "Check.").unanswered()
}

/// Follows the session's own timer for so long; each attempt ends as `attempt` has it. Returns
/// when the attempts began.
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
        // But not for ever.
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
