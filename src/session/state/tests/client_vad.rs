// SPDX-License-Identifier: MPL-2.0
//! Sessions with client VAD. Frames of the detector are 16 ms long.

use super::*;

fn running() -> Script {
    running_with(|_| {})
}

fn running_with(change: impl FnOnce(&mut Config)) -> Script {
    let mut script = Script::with(true, |config| {
        change(config);
        config.retry.max_retries = None;
        config.client_vad = Some(ClientVad {
            threshold: 0.0,
            silence_ms: 200,
        });
    });
    script.connect();
    script
}

impl Script {
    fn sent_ms(&self) -> u64 {
        self.session.usage().0.bytes / 32
    }

    /// The watermark, in milliseconds.
    fn settled(&self) -> u64 {
        millis(self.session.reporter.watermark())
    }
}

#[test]
fn utterances_are_committed_with_exact_times_and_silence_is_not_sent() {
    let mut s = running();
    for n in 0..2 {
        s.send(2000, &CHUNK);
        s.send(500, &LOUD);
        s.receive(&format!("partial {n} |one"));
        s.send(1000, &CHUNK);
        s.receive(&format!("final {n} One."));
    }
    s.finish();
    s.receive("finished");
    assert_eq!(
        s.said(),
        [
            "STARTED 2000",
            "INTERIM 0 2000..2080 |one",
            "commit",
            "STOPPED 2512",
            "FINAL 0 2000..2512 One.|",
            "STARTED 5488",
            "INTERIM 1 5488..5584 |one",
            "commit",
            "STOPPED 6000",
            "FINAL 1 5488..6000 One.|",
            "finish",
            "CLOSE",
            "DRAINED",
        ]
    );
    // With 300 ms before each and 200 ms after it.
    assert!((1900..2200).contains(&s.sent_ms()), "{}", s.sent_ms());
}

#[test]
fn what_the_service_says_of_speech_is_not_needed() {
    let mut s = running();
    s.send(500, &LOUD);
    s.receive("start 0 100");
    s.send(500, &CHUNK);
    s.receive("stop 0 200");
    s.receive("final 0 One.");
    assert_eq!(
        s.said(),
        ["STARTED 0", "commit", "STOPPED 512", "FINAL 0 0..512 One.|"]
    );
}

#[test]
fn silence_is_settled_and_takes_no_time_up_to_what_may_still_be_sent() {
    let mut s = running();
    s.send(60_000, &CHUNK);
    assert_eq!((s.now, s.sent_ms()), (Duration::ZERO, 0));
    let settled = s.settled();
    assert!((59_500..=59_700).contains(&settled), "{settled}");
    s.send(500, &LOUD);
    assert_eq!(
        s.settled(),
        60_000 - 304,
        "up to where the utterance is sent from"
    );
    s.send(10_000, &CHUNK);
    assert!(s.settled() < 60_000, "nor before its text");
    s.receive("final 0 One.");
    let settled = s.settled();
    assert!((70_000..=70_200).contains(&settled), "{settled}");
}

#[test]
fn an_utterance_that_was_cut_is_sent_again_and_goes_on() {
    let mut s = running();
    s.send(2000, &CHUNK);
    s.send(200, &LOUD);
    s.send(1000, &CHUNK);
    s.send(600, &LOUD);
    assert_eq!(
        s.said(),
        ["STARTED 2000", "commit", "STOPPED 2208", "STARTED 3200"]
    );
    s.lose();
    s.reconnect();
    s.said();
    assert!(s.replay() > 700);
    s.receive("partial 0 |one");
    s.send(100, &LOUD);
    s.send(1000, &CHUNK);
    s.receive("final 0 One.");
    s.receive("final 1 Two.");
    let said = s.said();
    assert_eq!(said[..2], ["commit", "INTERIM 0 2000..2208 |one"]);
    assert_eq!(
        said[2..],
        [
            "commit",
            "STOPPED 3904",
            "FINAL 0 2000..2208 One.|",
            "FINAL 1 3200..3904 Two.|"
        ]
    );
    assert!(s.settled() > 4000, "{}", s.settled());
}

#[test]
fn nothing_is_settled_that_is_still_to_be_sent_again() {
    let mut s = running();
    s.send(500, &LOUD);
    s.send(1000, &CHUNK);
    s.lose();
    s.reconnect();
    s.pass(Duration::from_secs(5));
    assert_eq!(s.settled(), 0);
    s.replay();
    s.send(1000, &CHUNK);
    assert_eq!(s.settled(), 0);
    s.receive("final 0 One.");
    assert!(s.settled() > 2000);
}

#[test]
fn the_end_ends_the_utterance_and_an_end_in_silence_none() {
    let mut s = running();
    s.send(500, &LOUD);
    s.said();
    s.finish();
    assert_eq!(s.said(), ["commit", "STOPPED 496", "finish"]);
    let mut s = running();
    s.send(5000, &CHUNK);
    s.finish();
    assert_eq!(s.said(), ["finish"]);
}

#[test]
fn commits_of_the_application_mean_nothing() {
    let mut s = running();
    s.send(600, &LOUD);
    s.said();
    s.session.handle_commit(s.now);
    s.drain();
    assert!(s.said().is_empty());
}

#[test]
fn keeping_the_connection_open_disturbs_no_utterance() {
    let mut s = running();
    let end = Duration::from_secs(600);
    while s.now < end {
        s.pass(Duration::from_secs(1));
        s.send(1000, &CHUNK);
        s.net(Net::Alive);
    }
    assert_eq!(s.sent_ms(), 1200, "100 ms each 50 s");
    // Padding is committed at half of the maximum length of an utterance.
    let said = s.said();
    let commits = said.iter().filter(|line| *line == "commit");
    assert_eq!(commits.count(), 2, "{said:?}");
    s.receive("final 0 ");
    s.receive("final 1 ");
    s.said();
    let begin = s.time / MS;
    s.send(400, &LOUD);
    s.send(500, &CHUNK);
    s.receive("final 2 One.");
    let (begin, end) = (begin / 16 * 16, (begin + 400).next_multiple_of(16));
    assert_eq!(
        s.said(),
        [
            format!("STARTED {begin}"),
            "commit".into(),
            format!("STOPPED {end}"),
            format!("FINAL 2 {begin}..{end} One.|")
        ]
    );
}

#[test]
fn an_utterance_does_not_wait_for_a_source_that_has_stalled() {
    let mut s = running();
    s.send(500, &LOUD);
    s.said();
    for _ in 0..50 {
        s.pass(Duration::from_secs(1));
        s.net(Net::Alive);
    }
    assert_eq!(s.said(), ["commit", "STOPPED 496"]);
    s.time += 60_000 * MS;
    s.send(500, &LOUD);
    assert_eq!(s.said(), ["STARTED 60500"]);
}

#[test]
fn connections_are_replaced_in_silence_and_where_an_utterance_begins() {
    let mut s = running_with(|config| config.rotate_after = Duration::from_secs(60));
    // Kept open twice: the second time the connection is old.
    for _ in 0..101 {
        s.pass(Duration::from_secs(1));
        s.send(1000, &CHUNK);
        s.net(Net::Alive);
    }
    assert_eq!(s.said(), ["+CONNECT"]);
    s.beside_is_ready();
    assert_eq!(s.said(), ["+hello", "+finish"]);
    s.beside_receives("finished");
    s.said();
    let begin = s.time / MS / 16 * 16;
    s.now += Duration::from_secs(100);
    s.send(500, &LOUD);
    s.beside_is_ready();
    let said = s.said();
    assert!(
        !said.contains(&"+finish".to_owned()),
        "not in an utterance: {said:?}"
    );
    s.send(200, &CHUNK);
    assert!(!s.said().contains(&"+finish".to_owned()));
    s.send(500, &LOUD);
    s.send(500, &CHUNK);
    assert!(s.said().contains(&"+finish".to_owned()));
    s.beside_receives("final 0 One.");
    let said = s.said();
    let one = |line: &String| line.contains(&format!(" {begin}.."));
    assert!(said.iter().any(one), "{said:?}");
}
