// SPDX-License-Identifier: MPL-2.0
//! A list of models: the next one is asked for when the service does not have the one before.

use super::*;

fn asking_for(names: &[&str]) -> Script {
    Script::asking_for(names, PlainCodec::new(false), |config| {
        config.rotate_after = Duration::from_secs(60);
    })
}

impl Script {
    /// The next attempt is made at once.
    fn try_next(&mut self) {
        assert_eq!(self.due(), self.now);
        self.pass(Duration::ZERO);
    }
}

#[test]
fn the_next_model_is_asked_for_at_once_and_stays() {
    let mut s = asking_for(&["a", "b", "c"]);
    s.net(Net::Connected);
    s.receive("gone");
    assert_eq!(
        s.said(),
        ["CONNECT", "hello", "CLOSE", "b INSTEAD OF a"],
        "no outage"
    );
    s.try_next();
    assert_eq!(s.session.model(), 1);
    s.connect();
    s.speak(1000);
    s.receive("partial 0 |half");
    s.receive("gone");
    s.try_next();
    s.net(Net::Connected);
    s.receive("ready");
    s.log.clear();
    s.speak(100);
    let sent: usize = s
        .log
        .iter()
        .filter_map(|said| said.strip_prefix("audio ")?.parse::<usize>().ok())
        .sum();
    assert_eq!(sent, 11 * CHUNK.len(), "all that was said, again");
    assert_eq!(s.session.model(), 2);
    assert_eq!(s.states.last(), Some(&State::Connected));
}

#[test]
fn without_a_further_model_it_is_a_failure() {
    let mut s = asking_for(&["a", "b"]);
    s.net(Net::Connected);
    s.receive("gone");
    s.try_next();
    s.net(Net::Connected);
    s.log.clear();
    s.receive("gone");
    assert_eq!(s.said(), ["CLOSE", "FAILED NoModel"]);
}

#[test]
fn a_model_that_retires_is_replaced_when_the_connection_is() {
    let mut s = asking_for(&["a", "b"]);
    s.connect();
    s.now += Duration::from_secs(60);
    s.speak(100);
    s.net_beside(Net::Connected);
    s.beside_receives("gone");
    let said = s.said();
    assert!(said.contains(&"+CONNECT".into()), "{said:?}");
    assert_eq!(
        said[said.len() - 3..],
        ["+hello", "+CLOSE", "b INSTEAD OF a"]
    );
    s.speak(100);
    let said = s.said();
    assert!(said.contains(&"+CONNECT".into()), "at once: {said:?}");
    s.beside_is_ready();
    s.speak(1000);
    let said = s.said();
    assert!(said.contains(&"+finish".into()), "it takes over: {said:?}");
    assert_eq!(s.session.model(), 1);
}
