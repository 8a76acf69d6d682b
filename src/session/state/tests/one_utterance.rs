// SPDX-License-Identifier: MPL-2.0
//! Connections that take one utterance each. Outputs for the one whose text is still awaited are
//! marked with a plus.

use super::*;

fn running() -> Script {
    running_with(|_| {})
}

fn running_with(change: impl FnOnce(&mut Config)) -> Script {
    let codec = PlainCodec {
        manual: true,
        one_utterance: true,
    };
    let mut script = Script::speaking(codec, |config| {
        config.retry.max_retries = None;
        change(config);
    });
    script.connect();
    script
}

impl Script {
    fn commit(&mut self) {
        self.session.handle_commit(self.now);
        self.drain();
    }

    /// The connection that was opened is ready for audio.
    fn next_is_ready(&mut self) {
        self.net(Net::Connected);
        self.receive("ready");
    }

    fn demand(&mut self) -> Demand {
        let demand = self.session.poll_audio(self.now);
        self.drain();
        demand
    }
}

#[test]
fn the_next_connection_is_opened_while_the_text_is_awaited() {
    let mut s = running();
    s.states.clear();
    s.shout(300);
    s.commit();
    assert_eq!(s.said(), ["commit"], "nobody has spoken since");
    s.shout(100);
    assert_eq!(s.said(), ["CONNECT", "+finish"]);
    assert_eq!(s.demand(), Demand::Nothing);
    assert!(!s.session.is_down(), "it takes a moment");
    s.beside_receives("partial 0 |one");
    s.next_is_ready();
    s.shout(200);
    s.commit();
    assert_eq!(s.session.usage().0.bytes, 600 * 32, "all of it, once");
    s.receive("final 0 Two.");
    s.beside_receives("final 0 One.");
    s.beside_receives("finished");
    assert_eq!(
        s.said(),
        [
            "INTERIM 0 0..300 |one",
            "hello",
            "commit",
            "FINAL 0 0..300 One.|",
            "+CLOSE",
            "FINAL 1 300..600 Two.|",
        ]
    );
    s.finish();
    s.receive("finished");
    assert_eq!(s.said(), ["finish", "CLOSE", "DRAINED"], "no third one");
    assert_eq!(s.states, [State::Finishing, State::Idle]);
}

#[test]
fn a_third_utterance_waits_for_the_text_of_the_first() {
    let mut s = running();
    s.shout(100);
    s.commit();
    s.shout(100);
    s.next_is_ready();
    s.wait_for_demand();
    s.commit();
    s.said();
    s.shout(100);
    assert_eq!(s.demand(), Demand::Nothing);
    assert!(s.said().is_empty());
    s.beside_receives("final 0 One.");
    s.beside_receives("finished");
    assert_eq!(s.demand(), Demand::Replayed);
    let said = s.said();
    assert_eq!(
        said,
        ["FINAL 0 0..100 One.|", "+CLOSE", "CONNECT", "+finish"]
    );
    s.next_is_ready();
    s.wait_for_demand();
    s.finish();
    s.beside_receives("final 0 Two.");
    s.beside_receives("finished");
    s.receive("final 0 Three.");
    s.receive("finished");
    let mut said = s.said();
    said.retain(|line| line.starts_with("FINAL") || line == "DRAINED");
    assert_eq!(
        said,
        [
            "FINAL 1 100..200 Two.|",
            "FINAL 2 200..300 Three.|",
            "DRAINED"
        ]
    );
}

#[test]
fn found_utterances_keep_their_exact_times() {
    let mut s = running_with(|config| {
        config.client_vad = Some(ClientVad {
            threshold: 0.0,
            silence_ms: 200,
        });
    });
    s.send(1000, &CHUNK);
    s.send(500, &LOUD);
    s.send(1000, &CHUNK);
    s.receive("final 0 One.");
    s.said();
    s.send(1000, &CHUNK);
    assert!(s.said().is_empty(), "no connection for a pause");
    s.session
        .handle_audio(Timestamp::from_nanos(s.time), &LOUD, s.now);
    s.time += 100 * MS;
    s.drain();
    s.beside_receives("finished");
    assert_eq!(s.said(), ["CONNECT", "+finish", "STARTED 3488", "+CLOSE"]);
    s.next_is_ready();
    s.send(400, &LOUD);
    s.receive("partial 0 |two");
    s.send(1000, &CHUNK);
    s.receive("final 0 Two.");
    let said = s.said();
    assert_eq!(said[1], "INTERIM 1 3488..3584 |two", "{said:?}");
    assert_eq!(said[4], "FINAL 1 3488..4000 Two.|", "{said:?}");
}

#[test]
fn what_is_not_answered_is_sent_again_before_the_rest() {
    let ways: [fn(&mut Script); 4] = [
        |s| s.pass(Duration::from_secs(15)),
        |s| s.beside_receives("error"),
        |s| s.net_beside(closed(None, "")),
        // The next connection does not come about.
        |s| s.lose(),
    ];
    for (n, way) in ways.into_iter().enumerate() {
        let mut s = running();
        s.shout(300);
        s.commit();
        s.shout(100);
        if n < 3 {
            s.next_is_ready();
            s.wait_for_demand();
        }
        s.said();
        way(&mut s);
        let said = s.said();
        assert!(said.last().unwrap().starts_with("OUTAGE"), "{n} {said:?}");
        s.now += Duration::from_secs(100);
        s.pass(Duration::ZERO);
        assert_eq!(s.said(), ["CONNECT"], "{n}");
        s.next_is_ready();
        // The first utterance, and then, on a connection of its own, the rest.
        while s.demand() == Demand::Replayed || s.now < s.session.pacer.next() {
            s.now = s.now.max(s.session.pacer.next());
        }
        s.beside_receives("final 0 One.");
        s.beside_receives("finished");
        s.next_is_ready();
        s.wait_for_demand();
        s.finish();
        s.receive("final 0 Two.");
        s.receive("finished");
        let mut said = s.said();
        said.retain(|line| line.starts_with("FINAL") || line == "commit");
        assert_eq!(
            said,
            [
                "commit",
                "FINAL 0 0..300 One.|",
                "commit",
                "FINAL 1 300..400 Two.|"
            ],
            "{n}"
        );
    }
}

#[test]
fn a_connection_that_breaks_after_its_text_is_nobodys_trouble() {
    let mut s = running();
    s.states.clear();
    s.shout(100);
    s.commit();
    s.receive("final 0 One.");
    s.said();
    s.lose();
    s.beside_receives("finished");
    assert_eq!(s.said(), ["CONNECT", "+finish", "+CLOSE"]);
    s.next_is_ready();
    s.shout(100);
    s.finish();
    s.receive("final 0 Two.");
    s.receive("finished");
    let said = s.said();
    assert_eq!(said[3], "FINAL 1 100..200 Two.|", "{said:?}");
    assert_eq!(s.states, [State::Finishing, State::Idle]);
}

#[test]
fn failures_between_completed_connections_are_outages_of_their_own() {
    let mut s = running_with(|config| config.retry.max_retries = Some(1));
    for n in 0..5 {
        s.shout(100);
        s.commit();
        s.receive("final 0 One.");
        s.shout(100);
        s.beside_receives("finished");
        s.lose();
        let said = s.said();
        assert!(
            !said.iter().any(|s| s.starts_with("FAILED")),
            "{n} {said:?}"
        );
        s.reconnect();
        s.wait_for_demand();
        s.said();
        s.commit();
        s.receive("final 0 Two.");
        s.shout(100);
        s.beside_receives("finished");
        s.next_is_ready();
        s.wait_for_demand();
        s.said();
    }
}
