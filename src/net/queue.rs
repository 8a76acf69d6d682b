// SPDX-License-Identifier: MPL-2.0
//! The bounded queue between the streaming thread and the session's task.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::audio::{self, SAMPLE_BYTES, samples};
use crate::continuity::Moved;
use crate::protocol::{CodecFactory, Endpoint};
use crate::timeline::duration_of;

/// What to do with audio that finds the queue full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// Wait for room (back-pressure).
    Wait,
    /// Make room by dropping the oldest audio.
    DropOldest,
}

/// Audio that was dropped, in stream time (nanoseconds).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    pub time: u64,
    pub duration: u64,
}

/// Why audio was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushError {
    /// A flush, a state change or a shutdown interrupted.
    Interrupted,
    /// The session is over.
    Closed,
}

/// What the session's task finds in the queue.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Audio was copied out; its first sample has this stream time.
    Audio { time: u64 },
    /// The utterance ends here.
    Commit,
    /// Audio that was taken before has other timestamps.
    Moved(Moved),
    /// No more audio will come.
    Finish,
    /// Less than a chunk is there yet.
    Nothing,
}

/// Settings of a session that has begun. They count from its next connection, the context at once
/// where the protocol bears that.
pub struct Update {
    pub endpoint: Endpoint,
    pub codecs: CodecFactory,
    pub context: Option<String>,
    /// The next connection is to take over in the next pause.
    pub rotate: bool,
}

impl fmt::Debug for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Update").finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy)]
enum Mark {
    /// The audio from here on starts at this stream time.
    Time(u64),
    Commit,
    Moved(Moved),
}

#[derive(Debug, Default)]
struct State {
    audio: VecDeque<u8>,
    /// Position of the first byte of `audio`, and its stream time.
    position: u64,
    time: u64,
    /// At absolute positions, ascending.
    marks: VecDeque<(u64, Mark)>,
    finished: bool,
    given_up: bool,
    interrupted: bool,
    closed: bool,
    lossy: bool,
    /// Threads that wait for room: telling nobody costs as much as telling somebody.
    waiting: usize,
    /// Settings that the session has not been told of.
    update: Option<Update>,
}

/// Audio on its way to the service, with the stream time of every sample.
#[derive(Debug)]
pub struct AudioQueue {
    state: Mutex<State>,
    room: Condvar,
    work: Notify,
    rate: u32,
    capacity: usize,
    chunk: usize,
}

impl AudioQueue {
    /// `capacity` and `chunk` are in bytes; the task is woken when a chunk is complete.
    pub fn new(rate: u32, capacity: usize, chunk: usize) -> Self {
        AudioQueue {
            state: Mutex::default(),
            room: Condvar::new(),
            work: Notify::new(),
            rate,
            capacity: capacity.max(chunk),
            chunk,
        }
    }

    /// Adds whole samples. `jump` is the stream time of the first one where it does not simply
    /// follow what was added before; the first audio needs it.
    pub fn push(
        &self,
        jump: Option<u64>,
        audio: &[u8],
        full: Full,
    ) -> Result<Option<Lost>, PushError> {
        let mut state = self.lock();
        let waits = |state: &State| full == Full::Wait && !state.lossy;
        // A buffer larger than the queue must pass all the same.
        while waits(&state)
            && !state.interrupted
            && !state.closed
            && !state.audio.is_empty()
            && state.audio.len() + audio.len() > self.capacity
        {
            state.waiting += 1;
            state = self
                .room
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
        if state.interrupted {
            return Err(PushError::Interrupted);
        }
        if state.closed {
            return Err(PushError::Closed);
        }
        if let Some(time) = jump {
            let end = state.end();
            state.marks.push_back((end, Mark::Time(time)));
        }
        let before = state.audio.len();
        state.audio.extend(audio);
        let excess = state.audio.len().saturating_sub(self.capacity);
        let lost = (!waits(&state) && excess > 0).then(|| state.drop_oldest(excess, self.rate));
        // At a jump what came before it is to be sent, however little that is.
        let complete = before < self.chunk && state.audio.len() >= self.chunk;
        let wake = complete || (jump.is_some() && before > 0);
        drop(state);
        if wake {
            self.work.notify_one();
        }
        Ok(lost)
    }

    /// Ends the utterance after the audio added so far.
    pub fn commit(&self) {
        let mut state = self.lock();
        let end = state.end();
        state.marks.push_back((end, Mark::Commit));
        drop(state);
        self.work.notify_one();
    }

    /// Other settings from now on.
    pub fn update(&self, update: Update) {
        self.lock().update = Some(update);
        self.work.notify_one();
    }

    /// The audio from a timestamp on, of what was added so far, is earlier or later than it was
    /// told.
    pub fn move_since(&self, moved: Moved) {
        let mut state = self.lock();
        let end = state.end();
        state.marks.push_back((end, Mark::Moved(moved)));
    }

    /// The session is to end at once, with the text that it has.
    pub fn give_up(&self) {
        self.lock().given_up = true;
        self.work.notify_one();
    }

    /// No more audio will be added.
    pub fn finish(&self) {
        self.lock().finished = true;
        self.work.notify_one();
    }

    /// Makes whoever waits in [`Self::push`] return at once, and whoever comes.
    pub fn interrupt(&self) {
        self.lock().interrupted = true;
        self.room.notify_all();
    }

    /// Lets audio in again after [`Self::interrupt`].
    pub fn resume(&self) {
        self.lock().interrupted = false;
    }

    /// Makes the task look at the queue again.
    pub fn wake(&self) {
        self.work.notify_one();
    }

    /// Bytes of audio waiting to be sent.
    pub fn bytes(&self) -> usize {
        self.lock().audio.len()
    }

    /// Audio waiting to be sent, in nanoseconds.
    pub fn level(&self) -> u64 {
        duration_of(samples(self.lock().audio.len()), self.rate)
    }

    /// Nobody waits for room as long as this is set: the oldest audio is dropped instead.
    pub(super) fn set_lossy(&self, lossy: bool) {
        let mut state = self.lock();
        if state.lossy != lossy {
            state.lossy = lossy;
            drop(state);
            self.room.notify_all();
        }
    }

    /// Settings that have changed.
    pub(super) fn take_update(&self) -> Option<Update> {
        self.lock().update.take()
    }

    /// Whether the session is to end at once.
    pub(super) fn is_given_up(&self) -> bool {
        self.lock().given_up
    }

    /// Whether no more audio will be added.
    pub(super) fn is_finished(&self) -> bool {
        self.lock().finished
    }

    /// Nobody takes any more audio. Returns what was left.
    pub(super) fn close(&self) -> Option<Lost> {
        let mut state = self.lock();
        state.closed = true;
        let rest = state.audio.len();
        let lost = (rest > 0).then(|| state.drop_oldest(rest, self.rate));
        drop(state);
        self.room.notify_all();
        lost
    }

    pub(super) async fn woken(&self) {
        self.work.notified().await;
    }

    /// Whether [`Self::take`] would find anything before the next [`Self::woken`].
    pub(super) fn has(&self, chunk: usize) -> bool {
        self.lock().has(chunk)
    }

    /// Takes at most `most` bytes into `buffer`, as soon as there are `least`, or the mark that is
    /// due.
    pub(super) fn take(&self, least: usize, most: usize, buffer: &mut Vec<u8>) -> Taken {
        buffer.clear();
        let mut state = self.lock();
        if !state.has(least) {
            return Taken::Nothing;
        }
        match state.pass_marks() {
            Some(Mark::Commit) => return Taken::Commit,
            Some(Mark::Moved(moved)) => return Taken::Moved(moved),
            Some(Mark::Time(_)) | None => {}
        }
        let until_mark = state
            .marks
            .front()
            .map(|(at, _)| (*at - state.position) as usize);
        let available = until_mark.unwrap_or(state.audio.len());
        if available == 0 {
            return Taken::Finish;
        }
        let length = available.min(most);
        let time = state.time;
        // An iterator over the ring would go byte by byte.
        let (first, second) = state.audio.as_slices();
        let split = length.min(first.len());
        buffer.extend_from_slice(&first[..split]);
        buffer.extend_from_slice(&second[..length - split]);
        state.advance(length, self.rate);
        let waiting = state.waiting > 0;
        drop(state);
        if waiting {
            self.room.notify_all();
        }
        Taken::Audio { time }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change below is complete before anything that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end(&self) -> u64 {
        self.position + self.audio.len() as u64
    }

    /// Whether there is a whole chunk, or something that is to be taken however little it is.
    fn has(&self, chunk: usize) -> bool {
        let due = |(at, mark): &(u64, Mark)| *at > self.position || !matches!(mark, Mark::Time(_));
        self.audio.len() >= chunk || self.finished || self.marks.iter().any(due)
    }

    /// Applies the marks at the front; returns at one that is for the session.
    fn pass_marks(&mut self) -> Option<Mark> {
        while let Some((_, mark)) = self.marks.pop_front_if(|(at, _)| *at <= self.position) {
            match mark {
                Mark::Time(time) => self.time = time,
                Mark::Commit | Mark::Moved(_) => return Some(mark),
            }
        }
        None
    }

    fn advance(&mut self, bytes: usize, rate: u32) {
        self.audio.drain(..bytes);
        self.position += bytes as u64;
        self.time = self.time.saturating_add(duration_of(samples(bytes), rate));
    }

    /// Drops whole samples. What is for the session among them is kept: a commit still ends what is
    /// left of the utterance.
    fn drop_oldest(&mut self, bytes: usize, rate: u32) -> Lost {
        let whole = audio::bytes((bytes as u64).div_ceil(SAMPLE_BYTES as u64));
        let target = self.position + whole as u64;
        let mut lost: Option<Lost> = None;
        let mut kept = Vec::new();
        while self.position < target {
            if let Some(mark) = self.pass_marks() {
                kept.push(mark);
                continue;
            }
            let mark = self
                .marks
                .front()
                .map_or(target, |(at, _)| (*at).min(target));
            let step = (mark - self.position) as usize;
            let start = self.time;
            self.advance(step, rate);
            let first = lost.map_or(start, |lost| lost.time);
            lost = Some(Lost {
                time: first,
                duration: self.time.saturating_sub(first),
            });
        }
        for mark in kept.into_iter().rev() {
            self.marks.push_front((self.position, mark));
        }
        lost.unwrap_or(Lost {
            time: self.time,
            duration: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::sync::Arc;

    const SECOND: u64 = 1_000_000_000;

    /// One second of audio per 100 bytes: 50 samples a second.
    fn queue() -> AudioQueue {
        AudioQueue::new(50, 400, 20)
    }

    fn take(queue: &AudioQueue) -> (Taken, Vec<u8>) {
        let mut buffer = Vec::new();
        (queue.take(20, 20, &mut buffer), buffer)
    }

    #[test]
    fn chunks_are_whole_until_the_end() {
        let queue = queue();
        queue.push(Some(5 * SECOND), &[1; 30], Full::Wait).unwrap();
        assert_eq!(
            take(&queue),
            (Taken::Audio { time: 5 * SECOND }, vec![1; 20])
        );
        assert_eq!(take(&queue), (Taken::Nothing, vec![]));
        queue.push(None, &[2; 14], Full::Wait).unwrap();
        let mut expected = vec![1; 10];
        expected.extend([2; 10]);
        assert_eq!(
            take(&queue),
            (
                Taken::Audio {
                    time: 5 * SECOND + SECOND / 5
                },
                expected
            )
        );
        queue.finish();
        assert_eq!(
            take(&queue),
            (
                Taken::Audio {
                    time: 5 * SECOND + 2 * SECOND / 5
                },
                vec![2; 4]
            )
        );
        assert_eq!(take(&queue), (Taken::Finish, vec![]));
        assert_eq!(take(&queue), (Taken::Finish, vec![]));
    }

    #[test]
    fn jumps_and_commits_keep_their_place() {
        let queue = queue();
        queue.push(Some(0), &[1; 6], Full::Wait).unwrap();
        queue.commit();
        queue.push(Some(9 * SECOND), &[2; 30], Full::Wait).unwrap();
        assert_eq!(take(&queue), (Taken::Audio { time: 0 }, vec![1; 6]));
        assert_eq!(take(&queue), (Taken::Commit, vec![]));
        assert_eq!(
            take(&queue),
            (Taken::Audio { time: 9 * SECOND }, vec![2; 20])
        );
        assert_eq!(take(&queue), (Taken::Nothing, vec![]));
    }

    #[test]
    fn the_task_is_woken_for_what_it_can_take_and_for_nothing_less() {
        let woken = |queue: &AudioQueue| queue.woken().now_or_never().is_some();
        let queue = queue();
        queue.push(Some(0), &[1; 10], Full::Wait).unwrap();
        assert!(!woken(&queue) && !queue.has(20));
        queue.push(None, &[1; 10], Full::Wait).unwrap();
        assert!(woken(&queue) && queue.has(20));
        assert_eq!(take(&queue).0, Taken::Audio { time: 0 });
        assert!(!queue.has(20));
        queue.push(None, &[1; 6], Full::Wait).unwrap();
        assert!(!woken(&queue));
        queue.push(Some(9 * SECOND), &[2; 6], Full::Wait).unwrap();
        assert!(woken(&queue) && queue.has(20), "it ends at the jump");
        assert_eq!(take(&queue).1, [1; 6]);
        assert_eq!(take(&queue).0, Taken::Nothing);
        queue.commit();
        assert!(woken(&queue) && queue.has(20));
    }

    #[test]
    fn a_full_live_queue_drops_the_oldest_and_says_what() {
        let queue = queue();
        queue.push(Some(0), &[1; 390], Full::DropOldest).unwrap();
        queue.commit();
        let lost = queue
            .push(Some(10 * SECOND), &[2; 100], Full::DropOldest)
            .unwrap();
        assert_eq!(
            lost,
            Some(Lost {
                time: 0,
                duration: 9 * SECOND / 10
            })
        );
        assert_eq!(queue.level(), 4 * SECOND);
        assert_eq!(
            take(&queue).0,
            Taken::Audio {
                time: 9 * SECOND / 10
            }
        );
        let lost = queue
            .push(None, &[3; 400], Full::DropOldest)
            .unwrap()
            .unwrap();
        assert_eq!(lost.time, 11 * SECOND / 10);
        assert_eq!(take(&queue).0, Taken::Commit, "survives what it stood in");
        assert_eq!(
            take(&queue),
            (Taken::Audio { time: 11 * SECOND }, vec![3; 20])
        );
    }

    #[test]
    fn a_full_queue_holds_the_producer_until_there_is_room() {
        let queue = Arc::new(queue());
        queue.push(Some(0), &[1; 400], Full::Wait).unwrap();
        let producer = {
            let queue = queue.clone();
            std::thread::spawn(move || queue.push(None, &[2; 20], Full::Wait))
        };
        assert_eq!(take(&queue).0, Taken::Audio { time: 0 });
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
                    assert_eq!((lost.time, lost.duration), (0, 4 * SECOND));
                },
                PushError::Closed,
            ),
        ] {
            let queue = Arc::new(queue());
            queue.push(Some(0), &[1; 400], Full::Wait).unwrap();
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
        queue.push(Some(0), &[1; 400], Full::Wait).unwrap();
        let producer = {
            let queue = queue.clone();
            std::thread::spawn(move || queue.push(None, &[2; 20], Full::Wait))
        };
        queue.set_lossy(true);
        let lost = Lost {
            time: 0,
            duration: SECOND / 5,
        };
        assert_eq!(producer.join().unwrap(), Ok(Some(lost)));
    }

    #[test]
    fn a_buffer_larger_than_the_queue_passes() {
        let queue = queue();
        assert_eq!(queue.push(Some(0), &[1; 1000], Full::Wait), Ok(None));
        assert_eq!(take(&queue).0, Taken::Audio { time: 0 });
    }
}
