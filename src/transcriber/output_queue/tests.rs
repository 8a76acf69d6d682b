// SPDX-License-Identifier: MPL-2.0
//! What leaves the queue, in which order, and who is woken.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A timestamp; these tests count in nanoseconds.
const AT: fn(u64) -> Timestamp = Timestamp::from_nanos;

/// What takes this long hangs.
const LONG: Duration = Duration::from_secs(60);

fn queue() -> OutputQueue {
    gst::init().unwrap();
    let queue = OutputQueue::default();
    queue.reset();
    queue
}

fn interim(utterance: u64, text: &str) -> Entry {
    Entry::Interim(Transcript {
        utterance,
        text: text.into(),
        ..Transcript::default()
    })
}

/// Everything that leaves the queue, in words.
fn all(queue: &OutputQueue) -> Vec<String> {
    left(queue, None)
}

fn all_settled(queue: &OutputQueue, settled: u64) -> Vec<String> {
    left(queue, Some(AT(settled)))
}

fn left(queue: &OutputQueue, settled: Option<Timestamp>) -> Vec<String> {
    let name = |event: gst::Event| match event.structure() {
        Some(structure) if event.type_() == gst::EventType::CustomDownstream => {
            structure.name().to_string()
        }
        _ => event.type_().name().to_string(),
    };
    let next = || match queue.next(Some(Duration::ZERO), settled) {
        Next::Entry(Entry::Event(event)) => Some(name(event)),
        Next::Entry(Entry::Begin(time)) => Some(format!("begin {}", time.nanos())),
        Next::Entry(Entry::Interim(t)) => Some(format!("{} {}", t.utterance, t.text)),
        Next::Entry(Entry::Final(t)) => Some(format!("final {} {}", t.utterance, t.text)),
        Next::Entry(Entry::Watermark(time)) => Some(format!("before {}", time.nanos())),
        Next::Entry(Entry::End) => Some("end".into()),
        Next::Nothing | Next::Flushing => None,
    };
    std::iter::from_fn(next).collect()
}

#[test]
fn events_wait_for_the_text_of_the_sessions_before_them() {
    let queue = queue();
    let first = queue.open_lane(AT(1));
    queue.event(None, gst::event::Eos::new());
    let second = queue.open_lane(AT(2));
    queue.put(second, interim(7, "later"));
    assert_eq!(all(&queue), ["begin 1"]);
    queue.put(first, interim(3, "words"));
    queue.close_lane(first);
    assert_eq!(all(&queue), ["3 words", "end", "eos", "begin 2", "7 later"]);
}

fn custom(name: &str) -> gst::Event {
    gst::event::CustomDownstream::new(gst::Structure::new_empty(name))
}

#[test]
fn events_in_the_midst_wait_for_the_text_before_them_only() {
    let queue = queue();
    let lane = queue.open_lane(AT(0));
    queue.event(Some(AT(1000)), custom("first"));
    queue.event(Some(AT(2000)), custom("second"));
    queue.event(Some(AT(3000)), custom("third"));
    queue.put(lane, interim(1, "one"));
    assert_eq!(all_settled(&queue, 999), ["begin 0", "1 one"]);
    assert_eq!(all_settled(&queue, 2000), ["first", "second"]);
    queue.close_lane(lane);
    queue.event(None, gst::event::Eos::new());
    assert_eq!(all(&queue), ["end", "third", "eos"]);
    queue.event(Some(AT(1)), custom("without-session"));
    assert_eq!(all(&queue), ["without-session"]);
}

#[test]
fn a_flood_of_events_takes_little_room() {
    let queue = queue();
    queue.open_lane(AT(0));
    let tag = |n: u32| {
        let mut tags = gst::TagList::new();
        let mode = gst::TagMergeMode::Append;
        tags.make_mut().add::<gst::tags::TrackNumber>(&n, mode);
        gst::event::Tag::new(tags)
    };
    (0..1000).for_each(|n| queue.event(Some(AT(1000)), tag(n)));
    assert_eq!(all(&queue), ["begin 0"]);
    let left = all_settled(&queue, 1000);
    assert_eq!(left, vec!["tag"; MAX_EVENTS]);
    let count = MAX_EVENTS as u64 + 3;
    (0..count).for_each(|n| queue.event(Some(AT(1000)), custom(&format!("n{n}"))));
    assert_eq!(
        all(&queue),
        ["n0", "n1", "n2"],
        "the oldest ones leave early"
    );
    queue.reset();
    let lane = queue.open_lane(AT(0));
    (0..1000).for_each(|n| queue.event(None, tag(n)));
    queue.close_lane(lane);
    let left = all(&queue);
    assert_eq!(left.len(), 2 + MAX_EVENTS, "behind a session as well");
}

#[test]
fn a_hypothesis_is_passed_over_for_a_newer_one_of_its_utterance_only() {
    let queue = queue();
    let lane = queue.open_lane(AT(0));
    let mut expected = vec!["begin 0".to_owned()];
    queue.put(lane, interim(1, "so"));
    for n in 2..BEHIND - 1 {
        queue.put(lane, interim(2, &n.to_string()));
        expected.push(format!("2 {n}"));
    }
    queue.put(lane, interim(2, "no room"));
    queue.put(lane, Entry::Watermark(AT(5)));
    queue.put(lane, interim(2, "newest but one"));
    queue.put(lane, Entry::Watermark(AT(7)));
    queue.put(lane, interim(2, "newest"));
    queue.put(lane, interim(1, "so far"));
    expected.extend(["before 7", "2 newest", "1 so far"].map(str::to_owned));
    assert_eq!(all(&queue), expected, "kept as long as there is room");
}

#[test]
fn a_session_is_woken_once_its_lane_is_short_enough_again() {
    let queue = queue();
    let lane = queue.open_lane(AT(0));
    let woken = Arc::new(AtomicU32::new(0));
    let counter = woken.clone();
    queue.set_waker(
        lane,
        Box::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        }),
    );
    // There is the beginning, too.
    for n in 0..CONGESTION as u64 {
        assert_eq!(queue.is_congested(lane), n + 1 >= CONGESTION as u64, "{n}");
        queue.put(lane, interim(n, ""));
    }
    queue.next(None, None);
    assert!(queue.is_congested(lane));
    assert_eq!(woken.load(Ordering::Relaxed), 0);
    queue.next(None, None);
    assert!(!queue.is_congested(lane));
    assert_eq!(woken.load(Ordering::Relaxed), 1);
    all(&queue);
    assert_eq!(woken.load(Ordering::Relaxed), 1);
}

#[test]
fn a_light_sleeper_is_not_woken_to_hear_that_there_is_nothing() {
    for (timeout, sleep) in [(Some(LONG), Sleep::Light), (None, Sleep::Deep)] {
        let queue = Arc::new(queue());
        let lane = queue.open_lane(AT(5));
        let begin = queue.next(timeout, None);
        assert!(
            matches!(begin, Next::Entry(Entry::Begin(time)) if time == AT(5)),
            "{begin:?}"
        );
        let thread = {
            let queue = queue.clone();
            std::thread::spawn(move || queue.next(timeout, None))
        };
        while queue.lock().sleep != sleep {
            std::thread::yield_now();
        }
        queue.put(lane, Entry::Watermark(AT(7)));
        if sleep == Sleep::Light {
            queue.put(lane, Entry::Watermark(AT(9)));
            assert_eq!(queue.lock().sleep, sleep);
            queue.event(None, gst::event::Eos::new());
        }
        let next = thread.join().unwrap();
        let Next::Entry(Entry::Watermark(time)) = next else {
            panic!("{next:?}");
        };
        assert_eq!(time, AT(if sleep == Sleep::Light { 9 } else { 7 }));
    }
}
