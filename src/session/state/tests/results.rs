// SPDX-License-Identifier: MPL-2.0
//! Reports: the order, times and text of utterances, and the watermark.

use super::*;

#[test]
fn finals_come_in_the_order_of_speech() {
    let mut s = Script::running(false);
    s.speak(3000);
    s.receive("start 0 100");
    s.receive("start 1 1000");
    s.receive("stop 0 900");
    s.receive("stop 1 2000");
    s.log.clear();
    s.receive("final 1 Two.");
    assert!(s.said().is_empty());
    s.receive("final 0 One.");
    assert_eq!(
        s.said(),
        ["FINAL 0 100..900 One.|", "FINAL 1 1000..2000 Two.|"]
    );
}

#[test]
fn a_final_does_not_wait_for_ever_for_an_earlier_one() {
    let mut s = Script::running(false);
    s.speak(3000);
    s.receive("start 0 100");
    s.receive("start 1 1000");
    s.receive("final 1 Two.");
    s.log.clear();
    let wait = s.due().saturating_sub(s.now);
    assert!(wait <= Duration::from_secs(2));
    s.pass(Duration::from_secs(2));
    assert_eq!(s.said(), [OVERTAKEN, "FINAL 1 1000..3000 Two.|"]);
    s.receive("final 0 One.");
    assert_eq!(s.said(), ["FINAL 0 100..3000 One.|"]);
}

const OVERTAKEN: &str = "WARNING NotRecognised(\"it finished later ones, and never this one\")";

#[test]
fn what_was_heard_of_an_overtaken_utterance_stays_in_its_place() {
    let mut s = Script::running(false);
    s.speak(5000);
    for (item, begin) in [(0, 100), (1, 1000), (2, 2000), (3, 4000)] {
        s.receive(&format!("start {item} {begin}"));
    }
    s.receive("partial 0 on|e");
    s.receive("final 2 Three.");
    s.said();
    s.pass(Duration::from_secs(2));
    assert_eq!(
        s.said(),
        [
            OVERTAKEN,
            OVERTAKEN,
            "FINAL 0 100..1000 one|",
            "FINAL 2 2000..4000 Three.|"
        ]
    );
    // It is over: later utterances are not held back, and it is not reported twice.
    s.receive("partial 0 One|");
    s.receive("final 0 One.");
    s.receive("final 3 Four.");
    assert_eq!(s.take(), ["FINAL 3 4000..5000 Four.|", "SETTLED 5000"]);
}

#[test]
fn text_that_comes_late_to_an_overtaken_utterance_has_its_final_at_the_end() {
    let mut s = Script::running(false);
    s.speak(2000);
    s.receive("start 0 0");
    s.receive("start 1 1000");
    s.receive("final 1 Two.");
    s.pass(Duration::from_secs(3));
    s.receive("partial 0 one|");
    s.finish();
    s.receive("finished");
    let said = s.said();
    let finals: Vec<_> = said.iter().filter(|s| s.starts_with("FINAL")).collect();
    assert_eq!(finals, ["FINAL 1 1000..2000 Two.|", "FINAL 0 0..2000 one|"]);
}

#[test]
fn utterances_without_times_get_likely_ones() {
    let mut s = Script::running(false);
    s.speak(2000);
    s.receive("partial 0 |one");
    s.receive("final 0 One.");
    s.speak(500);
    s.receive("final 1 Two.");
    assert_eq!(
        s.said(),
        [
            "INTERIM 0 1000..2000 |one",
            "FINAL 0 1000..2000 One.|",
            "FINAL 1 2000..2500 Two.|"
        ]
    );
}

#[test]
fn times_beyond_the_audio_are_clamped_to_it() {
    let mut s = Script::running(false);
    s.speak(1000);
    s.receive("start 0 18446744073709551615");
    s.receive("stop 0 5");
    s.receive("final 0 x");
    assert_eq!(
        s.said(),
        ["STARTED 1000", "STOPPED 5", "FINAL 0 1000..1000 x|"]
    );
}

#[test]
fn a_context_that_comes_back_is_no_result() {
    let mut s = Script::with(false, |config| {
        config.context = Some("GStreamer, Qwen ".into())
    });
    s.connect();
    s.speak(1000);
    s.receive("final 0 GStreamer, Qwen");
    assert_eq!(s.said(), ["FINAL 0 0..1000 |"]);
}

#[test]
fn silence_is_settled_without_any_utterance() {
    let mut s = Script::running(false);
    s.speak(6000);
    let settled: Vec<String> = s.take();
    assert!(settled.iter().all(|line| line.starts_with("SETTLED")) && !settled.is_empty());
    assert_ne!(
        settled.last().unwrap(),
        "SETTLED 6000",
        "it might still be speech"
    );
    // Also when the audio stalls, as it does when upstream waits for our progress.
    let end = s.now + Duration::from_millis(2500);
    while s.due() <= end {
        s.now = s.due();
        s.net(Net::Alive);
        s.pass(Duration::ZERO);
    }
    let last = s.take().pop().unwrap();
    let ms: u64 = last.strip_prefix("SETTLED ").unwrap().parse().unwrap();
    assert!(ms >= 5600, "{last}");
    s.speak(500);
    s.take();
    s.receive("start 0 6300");
    s.speak(6000);
    let said = s.take();
    assert_eq!(said[0], "STARTED 6300");
    assert!(said[1..].iter().all(|line| line.starts_with("SETTLED")));
    assert_eq!(said.last().unwrap(), "SETTLED 6300");
    s.speak(6000);
    assert!(s.take().is_empty(), "an open utterance holds the rest back");
}

#[test]
fn nothing_is_settled_while_a_manual_utterance_may_still_be_committed() {
    let mut s = Script::running(true);
    s.speak(900);
    s.pass(Duration::from_secs(5));
    assert!(s.take().is_empty());
}

#[test]
fn text_of_an_utterance_that_failed_is_kept() {
    let mut s = Script::running(false);
    s.speak(1000);
    s.receive("partial 0 as far |as");
    s.receive("failed 0 boom");
    let said = s.said();
    assert!(
        said.contains(&"FINAL 0 0..1000 as far as|".to_owned()),
        "{said:?}"
    );
}

#[test]
fn one_that_failed_waits_for_the_one_before() {
    let mut s = Script::running(false);
    s.speak(2000);
    s.receive("start 0 100");
    s.receive("partial 0 |o");
    s.receive("start 1 1000");
    s.receive("partial 1 |two");
    s.said();
    s.receive("failed 1 boom");
    s.receive("final 0 One.");
    assert_eq!(
        s.said(),
        [
            "WARNING NotRecognised(\"boom\")",
            "FINAL 0 100..1000 One.|",
            "FINAL 1 1000..2000 two|"
        ]
    );
}

#[test]
fn endless_items_cost_bounded_memory() {
    let mut s = Script::running(false);
    s.speak(1000);
    for item in 0..10_000 {
        s.receive(&format!("partial {item} x|"));
        s.log.clear();
    }
    s.finish();
    s.receive("finished");
    assert!(s.said().len() < 100);
}

#[test]
fn usage_is_counted() {
    let mut s = Script::running(false);
    s.speak(1000);
    s.receive("billed 3");
    s.receive("billed 2");
    let billed = Usage {
        seconds: 3.0,
        tokens: 6,
    };
    let (sent, counted) = s.session.usage();
    assert_eq!((sent.bytes, sent.samples), (32_000, Samples(16_000)));
    assert_eq!(counted, billed, "cumulative: the largest counts");
}

#[test]
fn a_new_context_is_told_at_once_and_again_after_a_reconnect() {
    let mut s = persistent(false);
    s.said();
    s.context(Some("names".into()));
    s.drain();
    assert_eq!(s.said(), ["context names"]);
    s.lose();
    s.reconnect();
    let context = s
        .said()
        .iter()
        .filter(|said| *said == "context names")
        .count();
    assert_eq!(context, 1);
}

#[test]
fn words_have_the_timestamps_of_their_audio() {
    let mut s = Script::running(false);
    s.speak(1000);
    s.time += 5000 * MS;
    s.speak(1000);
    let word = |text: &str, begin_ms, end_ms| WordTime {
        text: text.into(),
        begin_ms,
        end_ms,
    };
    let text = ItemText {
        text: "one two".into(),
        words: vec![word("one", 500, 900), word("two", 1500, 99_000)],
        ..ItemText::default()
    };
    let id = s.session.serving().unwrap();
    s.session
        .handle_event(id, Event::Final { item: 0, text }, s.now);
    s.session.report(s.now);
    let words = std::iter::from_fn(|| s.session.poll_output()).find_map(|output| match output {
        Output::Notice(Notice::Final(transcript)) => Some(transcript.words),
        _ => None,
    });
    let words: Vec<_> = words
        .unwrap()
        .iter()
        .map(|word| {
            (
                word.text.clone(),
                word.span.start.millis(),
                word.span.end.millis(),
            )
        })
        .collect();
    assert_eq!(
        words,
        [("one".into(), 500, 900), ("two".into(), 6500, 7000)],
        "never beyond what was sent"
    );
}
