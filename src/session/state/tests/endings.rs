// SPDX-License-Identifier: MPL-2.0
//! How a session ends, successfully or not, and what its start waits for.

use super::*;

#[test]
fn a_service_that_is_slow_to_finish_is_waited_for_as_long_as_results_come() {
    let mut s = Script::running(true);
    s.speak(5000);
    s.finish();
    s.said();
    for n in 0..5 {
        for _ in 0..19 {
            s.pass(Duration::from_secs(1));
            s.net(Net::Alive);
        }
        assert!(!s.session.is_over());
        s.receive(&format!("final {n} word"));
    }
    s.receive("finished");
    assert_eq!(s.said()[5..], ["CLOSE", "DRAINED"]);
}

#[test]
fn a_service_that_does_not_finish_is_given_up() {
    let mut s = Script::running(false);
    s.speak(1000);
    s.receive("start 0 200");
    s.receive("partial 0 half a |sen");
    s.finish();
    s.said();
    for _ in 0..19 {
        s.pass(Duration::from_secs(1));
        s.net(Net::Alive);
    }
    assert!(!s.session.is_over());
    s.said();
    s.pass(Duration::from_secs(1));
    let said = s.said();
    assert_eq!(said[1], "FINAL 0 200..1000 half a sen|");
    assert!(said[0].contains("finish-timeout"), "{said:?}");
    assert_eq!(said[2..], ["CLOSE", "DRAINED"]);
}

#[test]
fn every_way_of_finishing_ends_with_the_text_and_then_drained() {
    for (how, warns) in [
        ("finished", true),
        ("close 1000", true),
        ("close", true),
        ("error", true),
    ] {
        let mut s = Script::running(false);
        s.speak(1000);
        s.receive("partial 0 tail|");
        s.finish();
        s.said();
        match how {
            "close" => s.net(closed(None, "")),
            "close 1000" => s.net(closed(Some(1000), "")),
            frame => s.receive(frame),
        }
        s.drain();
        let said = s.said();
        let warned = said.iter().any(|line| line.starts_with("WARNING"));
        assert_eq!(warned, warns, "{how}: {said:?}");
        let rest: Vec<_> = said
            .iter()
            .filter(|line| !line.starts_with("WARNING"))
            .collect();
        assert_eq!(rest, ["FINAL 0 0..1000 tail|", "CLOSE", "DRAINED"], "{how}");
    }
    let mut s = Script::running(false);
    s.speak(1000);
    s.finish();
    s.said();
    s.net(closed(Some(1000), "bye"));
    s.drain();
    assert_eq!(
        s.said(),
        ["CLOSE", "DRAINED"],
        "nothing was missing: no warning"
    );
}

#[test]
fn a_lost_connection_gives_the_text_that_was_there_and_one_failure() {
    let mut s = Script::running(false);
    s.speak(1000);
    s.receive("partial 0 half a |sen");
    s.said();
    s.net(closed(Some(1011), "Internal server error"));
    s.net(closed(None, ""));
    s.session.handle_finish(s.now);
    s.receive("final 0 Too late.");
    s.drain();
    assert_eq!(
        s.said(),
        ["FINAL 0 0..1000 half a sen|", "CLOSE", "FAILED Lost"]
    );
    assert_eq!(s.states.last(), Some(&State::Failed));
}

#[test]
fn each_step_of_the_beginning_has_its_deadline() {
    let mut s = Script::new(false);
    assert_eq!(s.due(), Duration::from_secs(10));
    s.pass(Duration::from_secs(10));
    assert_eq!(s.said(), ["CONNECT", "CLOSE", "FAILED Unreachable"]);

    let mut s = Script::new(false);
    s.net(Net::Connected);
    assert_eq!(s.due(), Duration::from_secs(15));
    s.pass(Duration::from_secs(15));
    assert_eq!(
        s.said(),
        ["CONNECT", "hello", "CLOSE", "FAILED Unreachable"]
    );
}

#[test]
fn a_refusal_and_an_early_error_are_failures() {
    let mut s = Script::new(false);
    s.net(Net::Refused(REFUSAL));
    s.drain();
    assert_eq!(s.said(), ["CONNECT", "CLOSE", "FAILED Unauthorized"]);
    let mut s = Script::running(false);
    s.receive("error");
    assert_eq!(s.said(), ["CLOSE", "FAILED Limit"]);
    let mut s = Script::running(false);
    s.receive("finished");
    assert_eq!(
        s.said(),
        ["CLOSE", "FAILED Lost"],
        "nobody asked it to finish"
    );
}

#[test]
fn odd_frames_cost_a_warning_and_nothing_else() {
    let mut s = Script::running(false);
    s.speak(1000);
    s.receive("what");
    s.receive("failed 3 unintelligible");
    s.receive("stop 9 100");
    s.receive("final 0 Fine.");
    let said = s.said();
    assert!(
        said.contains(&"FINAL 0 0..1000 Fine.|".to_owned()),
        "{said:?}"
    );
    assert!(!said.iter().any(|line| line.starts_with("FAILED")));
}
