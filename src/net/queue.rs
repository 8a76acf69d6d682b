// SPDX-License-Identifier: MPL-2.0
//! The bounded queue between the streaming thread and the session's task.
//!
//! The streaming thread pushes whole samples or packets and commits; the session's task takes chunks.
//! The timestamp of every sample is known, and marks (jumps, commits) keep their place in the audio,
//! also when audio is dropped. The elements own the queue through their uplink, the driver takes
//! from it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::audio::{Format, Ring};
use crate::continuity::Moved;
use crate::protocol::Endpoint;
use crate::session::Models;
use crate::timeline::{Position, Samples, Timestamp};

/// What to do with audio that finds the queue full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// Wait for room (back-pressure).
    Wait,
    /// Make room by dropping the oldest audio.
    DropOldest,
}

/// Audio that was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    pub time: Timestamp,
    pub duration: Duration,
}

/// Why audio was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushError {
    /// Interrupted by a flush, a state change or a shutdown.
    Interrupted,
    /// The session is over.
    Closed,
}

/// What the session's task finds in the queue.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Audio was copied out; its first sample has this timestamp.
    Audio { time: Timestamp },
    /// The utterance ends here.
    Commit,
    /// The timestamps of audio taken earlier were corrected.
    Moved(Moved),
    /// No more audio will be added, and all of it was taken.
    Finish,
    /// Less than a chunk is available yet.
    Nothing,
}

/// New settings for a running session. They take effect with its next connection; the context does
/// so at once if the protocol supports that.
pub struct Update {
    /// As many as before, for the same models.
    pub addresses: Vec<Vec<Endpoint>>,
    pub models: Models,
    pub context: Option<String>,
    /// Rotate to a new connection in the next pause.
    pub rotate: bool,
}

impl fmt::Debug for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Update").finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy)]
enum Mark {
    /// The audio from here on starts at this timestamp.
    Time(Timestamp),
    Commit,
    Moved(Moved),
}

#[derive(Debug, Default)]
struct State {
    audio: Ring,
    /// Position of the first sample of `audio` among all ever added, and its timestamp.
    position: Position,
    time: Timestamp,
    /// At absolute positions, ascending.
    marks: VecDeque<(Position, Mark)>,
    finished: bool,
    given_up: bool,
    interrupted: bool,
    closed: bool,
    lossy: bool,
    /// Producers blocked in `push`; lets `take` skip `notify_all` when there are none.
    waiting: usize,
    /// New settings that the session has not taken yet.
    update: Option<Update>,
}

/// Audio on its way to the service, with the timestamp of every sample; also carries the other
/// signals from the element to the session.
#[derive(Debug)]
pub struct AudioQueue {
    state: Mutex<State>,
    room: Condvar,
    work: Notify,
    format: Format,
    capacity: Samples,
    chunk: Samples,
}

impl AudioQueue {
    /// The task is woken when a chunk is complete.
    pub fn new(format: Format, capacity: Samples, chunk: Samples) -> Self {
        let state = State {
            audio: Ring::new(format.coding),
            ..State::default()
        };
        AudioQueue {
            state: Mutex::new(state),
            room: Condvar::new(),
            work: Notify::new(),
            format,
            capacity: capacity.max(chunk),
            chunk,
        }
    }

    /// Adds whole samples or packets. `jump` is the timestamp of the first one if it does not continue
    /// the audio added before; required for the first audio.
    pub fn push(
        &self,
        jump: Option<Timestamp>,
        audio: &[u8],
        full: Full,
    ) -> Result<Option<Lost>, PushError> {
        let samples = self.format.coding.samples(audio);
        let mut state = self.lock();
        let waits = |state: &State| full == Full::Wait && !state.lossy;
        // A buffer larger than the queue has to be accepted all the same.
        while waits(&state)
            && !state.interrupted
            && !state.closed
            && !state.audio.is_empty()
            && state.audio.length() + samples > self.capacity
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
        let before = state.audio.length();
        state.audio.push(audio, samples);
        let excess = state.audio.length() - self.capacity;
        let lost = (!waits(&state) && !excess.is_none())
            .then(|| state.drop_oldest(excess, self.format.clock_rate()));
        // At a jump the audio before it has to be sent, however short.
        let complete = before < self.chunk && state.audio.length() >= self.chunk;
        let wake = complete || (jump.is_some() && !before.is_none());
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

    /// Passes new settings to the session.
    pub fn update(&self, update: Update) {
        self.lock().update = Some(update);
        self.work.notify_one();
    }

    /// Corrects the timestamps of the audio added so far, from a timestamp on.
    pub fn move_since(&self, moved: Moved) {
        let mut state = self.lock();
        let end = state.end();
        state.marks.push_back((end, Mark::Moved(moved)));
    }

    /// Makes the session end at once, with the text it has.
    pub fn give_up(&self) {
        self.lock().given_up = true;
        self.work.notify_one();
    }

    /// Marks the end of the audio: no more will be added.
    pub fn finish(&self) {
        self.lock().finished = true;
        self.work.notify_one();
    }

    /// Makes present and future calls of [`Self::push`] return at once, until [`Self::resume`].
    pub fn interrupt(&self) {
        self.lock().interrupted = true;
        self.room.notify_all();
    }

    /// Accepts audio again after [`Self::interrupt`].
    pub fn resume(&self) {
        self.lock().interrupted = false;
    }

    /// Makes the task check the queue again.
    pub fn wake(&self) {
        self.work.notify_one();
    }

    /// Duration of the audio waiting to be sent.
    pub fn level(&self) -> Duration {
        self.lock()
            .audio
            .length()
            .duration(self.format.clock_rate())
    }

    /// While set, `push` does not block for room: the oldest audio is dropped instead.
    pub(super) fn set_lossy(&self, lossy: bool) {
        let mut state = self.lock();
        if state.lossy != lossy {
            state.lossy = lossy;
            drop(state);
            self.room.notify_all();
        }
    }

    /// Takes the new settings, if any.
    pub(super) fn take_update(&self) -> Option<Update> {
        self.lock().update.take()
    }

    /// Whether [`Self::give_up`] was called.
    pub(super) fn is_given_up(&self) -> bool {
        self.lock().given_up
    }

    /// Whether no more audio will be added.
    pub(super) fn is_finished(&self) -> bool {
        self.lock().finished
    }

    /// Closes the queue: it accepts no more audio. Returns the audio left in it.
    pub(super) fn close(&self) -> Option<Lost> {
        let mut state = self.lock();
        state.closed = true;
        let rest = state.audio.length();
        let lost = (!rest.is_none()).then(|| state.drop_oldest(rest, self.format.clock_rate()));
        drop(state);
        self.room.notify_all();
        lost
    }

    pub(super) async fn woken(&self) {
        self.work.notified().await;
    }

    /// Whether [`Self::take`] would find anything before the next [`Self::woken`].
    pub(super) fn has(&self, chunk: Samples) -> bool {
        self.lock().has(chunk)
    }

    /// Takes at most `most` samples into `buffer`, once there are `least`, or the mark that is due.
    pub(super) fn take(&self, least: Samples, most: Samples, buffer: &mut Vec<u8>) -> Taken {
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
        let until_mark = state.marks.front().map(|(at, _)| at.since(state.position));
        let available = until_mark.unwrap_or(state.audio.length());
        if available.is_none() {
            return Taken::Finish;
        }
        let time = state.time;
        let taken = state.audio.take(available.min(most), buffer);
        state.advance(taken, self.format.clock_rate());
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
    fn end(&self) -> Position {
        self.position + self.audio.length()
    }

    /// Whether there is a whole chunk, or less that has to be taken all the same (before a mark or
    /// the end).
    fn has(&self, chunk: Samples) -> bool {
        let due =
            |(at, mark): &(Position, Mark)| *at > self.position || !matches!(mark, Mark::Time(_));
        self.audio.length() >= chunk || self.finished || self.marks.iter().any(due)
    }

    /// Applies the marks at the front, up to one that concerns the session, which is returned.
    fn pass_marks(&mut self) -> Option<Mark> {
        while let Some((_, mark)) = self.marks.pop_front_if(|(at, _)| *at <= self.position) {
            match mark {
                Mark::Time(time) => self.time = time,
                Mark::Commit | Mark::Moved(_) => return Some(mark),
            }
        }
        None
    }

    /// Audio of this length was removed.
    fn advance(&mut self, samples: Samples, rate: u32) {
        self.position += samples;
        self.time = self.time + samples.duration(rate);
    }

    /// Drops at least this length of audio. Marks for the session among it are kept: a commit still
    /// ends the rest of its utterance.
    fn drop_oldest(&mut self, length: Samples, rate: u32) -> Lost {
        let target = self.position + length;
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
            let start = self.time;
            let dropped = self.audio.skip(mark.since(self.position));
            self.advance(dropped, rate);
            let first = lost.map_or(start, |lost| lost.time);
            lost = Some(Lost {
                time: first,
                duration: self.time.since(first),
            });
        }
        for mark in kept.into_iter().rev() {
            self.marks.push_front((self.position, mark));
        }
        lost.unwrap_or(Lost {
            time: self.time,
            duration: Duration::ZERO,
        })
    }
}

#[cfg(test)]
mod tests;
