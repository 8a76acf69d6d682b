// SPDX-License-Identifier: MPL-2.0
//! Tests the queue's guarantees.

use super::*;
use futures_util::FutureExt;
use std::sync::Arc;

const SECOND: Duration = Duration::from_secs(1);

fn at(tenths: u64) -> Timestamp {
    Timestamp::from_nanos(tenths * 100_000_000)
}

/// One second of audio per 100 bytes: 50 samples a second.
fn queue() -> AudioQueue {
    AudioQueue::new(Format::pcm(50), Samples(200), Samples(10))
}

fn take(queue: &AudioQueue) -> (Taken, Vec<u8>) {
    let mut buffer = Vec::new();
    (queue.take(Samples(10), Samples(10), &mut buffer), buffer)
}

#[test]
fn chunks_are_whole_until_the_end() {
    let queue = queue();
    queue.push(Some(at(50)), &[1; 30], Full::Wait).unwrap();
    assert_eq!(take(&queue), (Taken::Audio { time: at(50) }, vec![1; 20]));
    assert_eq!(take(&queue), (Taken::Nothing, vec![]));
    queue.push(None, &[2; 14], Full::Wait).unwrap();
    let mut expected = vec![1; 10];
    expected.extend([2; 10]);
    assert_eq!(take(&queue), (Taken::Audio { time: at(52) }, expected));
    queue.finish();
    assert_eq!(take(&queue), (Taken::Audio { time: at(54) }, vec![2; 4]));
    assert_eq!(take(&queue), (Taken::Finish, vec![]));
    assert_eq!(take(&queue), (Taken::Finish, vec![]));
}

#[test]
fn jumps_and_commits_keep_their_place() {
    let queue = queue();
    queue.push(Some(at(0)), &[1; 6], Full::Wait).unwrap();
    queue.commit();
    queue.push(Some(at(90)), &[2; 30], Full::Wait).unwrap();
    assert_eq!(take(&queue), (Taken::Audio { time: at(0) }, vec![1; 6]));
    assert_eq!(take(&queue), (Taken::Commit, vec![]));
    assert_eq!(take(&queue), (Taken::Audio { time: at(90) }, vec![2; 20]));
    assert_eq!(take(&queue), (Taken::Nothing, vec![]));
}

#[test]
fn the_task_is_woken_for_what_it_can_take_and_for_nothing_less() {
    let woken = |queue: &AudioQueue| queue.woken().now_or_never().is_some();
    let queue = queue();
    queue.push(Some(at(0)), &[1; 10], Full::Wait).unwrap();
    assert!(!woken(&queue) && !queue.has(Samples(10)));
    queue.push(None, &[1; 10], Full::Wait).unwrap();
    assert!(woken(&queue) && queue.has(Samples(10)));
    assert_eq!(take(&queue).0, Taken::Audio { time: at(0) });
    assert!(!queue.has(Samples(10)));
    queue.push(None, &[1; 6], Full::Wait).unwrap();
    assert!(!woken(&queue));
    queue.push(Some(at(90)), &[2; 6], Full::Wait).unwrap();
    assert!(
        woken(&queue) && queue.has(Samples(10)),
        "it ends at the jump"
    );
    assert_eq!(take(&queue).1, [1; 6]);
    assert_eq!(take(&queue).0, Taken::Nothing);
    queue.commit();
    assert!(woken(&queue) && queue.has(Samples(10)));
}

#[test]
fn a_full_live_queue_drops_the_oldest_and_says_what() {
    let queue = queue();
    queue
        .push(Some(at(0)), &[1; 390], Full::DropOldest)
        .unwrap();
    queue.commit();
    let lost = queue
        .push(Some(at(100)), &[2; 100], Full::DropOldest)
        .unwrap();
    assert_eq!(
        lost,
        Some(Lost {
            time: at(0),
            duration: 9 * SECOND / 10
        })
    );
    assert_eq!(queue.level(), 4 * SECOND);
    assert_eq!(take(&queue).0, Taken::Audio { time: at(9) });
    let lost = queue
        .push(None, &[3; 400], Full::DropOldest)
        .unwrap()
        .unwrap();
    assert_eq!(lost.time, at(11));
    assert_eq!(take(&queue).0, Taken::Commit, "survives what it stood in");
    assert_eq!(take(&queue), (Taken::Audio { time: at(110) }, vec![3; 20]));
}

#[test]
fn a_full_queue_holds_the_producer_until_there_is_room() {
    let queue = Arc::new(queue());
    queue.push(Some(at(0)), &[1; 400], Full::Wait).unwrap();
    let producer = {
        let queue = queue.clone();
        std::thread::spawn(move || queue.push(None, &[2; 20], Full::Wait))
    };
    assert_eq!(take(&queue).0, Taken::Audio { time: at(0) });
    assert_eq!(producer.join().unwrap(), Ok(None));
    assert_eq!(queue.level(), 4 * SECOND);
}

#[test]
fn interruption_and_closing_free_the_producer() {
    for (end, expected) in [
        (
            AudioQueue::interrupt as fn(&AudioQueue),
            PushError::Interrupted,
        ),
        (
            |queue| {
                let lost = queue.close().unwrap();
                assert_eq!((lost.time, lost.duration), (at(0), 4 * SECOND));
            },
            PushError::Closed,
        ),
    ] {
        let queue = Arc::new(queue());
        queue.push(Some(at(0)), &[1; 400], Full::Wait).unwrap();
        let producer = {
            let queue = queue.clone();
            std::thread::spawn(move || queue.push(None, &[2; 20], Full::Wait))
        };
        end(&queue);
        assert_eq!(producer.join().unwrap(), Err(expected));
        assert_eq!(queue.push(None, &[3; 2], Full::DropOldest), Err(expected));
    }
}

#[test]
fn an_outage_may_end_the_waiting() {
    let queue = Arc::new(queue());
    queue.push(Some(at(0)), &[1; 400], Full::Wait).unwrap();
    let producer = {
        let queue = queue.clone();
        std::thread::spawn(move || queue.push(None, &[2; 20], Full::Wait))
    };
    queue.set_lossy(true);
    let lost = Lost {
        time: at(0),
        duration: SECOND / 5,
    };
    assert_eq!(producer.join().unwrap(), Ok(Some(lost)));
}

#[test]
fn a_buffer_larger_than_the_queue_passes() {
    let queue = queue();
    assert_eq!(queue.push(Some(at(0)), &[1; 1000], Full::Wait), Ok(None));
    assert_eq!(take(&queue).0, Taken::Audio { time: at(0) });
}
