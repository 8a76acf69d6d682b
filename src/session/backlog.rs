// SPDX-License-Identifier: MPL-2.0
//! Audio kept to be sent again over a new connection, until it is known to be recognised.
//! [`Backlog`] belongs to a connection, [`Replay`] to the session. Positions are samples into a
//! connection's audio.

use std::collections::VecDeque;

use crate::audio::{Coding, Ring};
use crate::timeline::{Position, Samples, Span, Stretch, Timeline, Timestamp, known};

/// Growth step of the ring, in bytes: what a silent stream at 16 kHz keeps, a little more than two
/// seconds. Doubling from a small size to that would leave as much in gaps between the allocations
/// of other streams.
const STEP: usize = 84 << 10;

/// The audio sent over a connection since some position on its audio clock.
#[derive(Debug)]
pub(super) struct Backlog {
    audio: Ring,
    /// Position of the first sample.
    start: Position,
    /// Positions of the commits, and the span of each utterance's speech, if known.
    commits: VecDeque<(Position, Option<Span>)>,
    capacity: Samples,
}

impl Backlog {
    /// Keeps the newest `capacity` samples.
    pub fn new(capacity: Samples, coding: Coding) -> Self {
        Backlog {
            audio: Ring::growing_by(STEP, coding),
            start: Position::default(),
            commits: VecDeque::new(),
            capacity,
        }
    }

    /// Position of the first sample.
    pub fn start(&self) -> Position {
        self.start
    }

    pub fn push(&mut self, audio: &[u8], samples: Samples) {
        self.audio.push(audio, samples);
        let excess = self.audio.length() - self.capacity;
        self.forget_before(self.start + excess);
    }

    #[cfg(test)]
    pub fn kept_bytes(&self) -> usize {
        self.audio.bytes()
    }

    pub fn commit(&mut self, position: Position, speech: Option<Span>) {
        self.commits.push_back((position, speech));
    }

    /// Whether any of it is loud.
    pub fn is_loud(&self) -> bool {
        self.audio.is_loud()
    }

    /// Forgets the audio before this position; of a packet that lies before and after it, nothing.
    pub fn forget_before(&mut self, position: Position) {
        self.start += self.audio.discard(position.since(self.start));
        // A commit right at the start has nothing left to end.
        let start = self.start;
        while self
            .commits
            .pop_front_if(|(commit, _)| *commit <= start)
            .is_some()
        {}
    }
}

/// An element of a replay.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// `time` is the timestamp of the first sample.
    Audio { time: Timestamp, audio: Vec<u8> },
    /// Silence that is not part of the stream.
    Padding { samples: Samples },
    /// The speech of the next utterance starts at this timestamp.
    Began { time: Timestamp },
    /// With the start and end of the utterance's speech, if known.
    Commit(Option<Span>),
}

/// The audio to send before any new audio: again, or because no connection could take it.
#[derive(Debug, Default)]
pub(super) struct Replay(VecDeque<Piece>);

impl Replay {
    /// Takes over a lost connection's audio from this position on, placing it before that of
    /// earlier connections, in pieces of at most `chunk` samples. Returns the span of the part that
    /// is no longer kept.
    pub fn take_over(
        &mut self,
        mut backlog: Backlog,
        from: Position,
        timeline: &Timeline,
        chunk: Samples,
    ) -> Option<Span> {
        let rate = timeline.rate();
        let missing = backlog.start.since(from);
        let lost = (!missing.is_none()).then(|| {
            let time = known(timeline.start_time(from));
            Span::new(time, time + missing.duration(rate))
        });
        backlog.forget_before(from);
        let mut pieces = VecDeque::new();
        let mut position = backlog.start;
        for Stretch {
            time: begin,
            samples,
            is_padding,
        } in timeline.stretches(backlog.start)
        {
            let mut done = Samples(0);
            while done < samples {
                let commit = backlog.commits.front();
                let commit = commit.map(|(commit, _)| commit.since(position));
                let length = (samples - done).min(chunk.max(Samples(1)));
                let length = commit.map_or(length, |commit| length.min(commit));
                let mut audio = Vec::new();
                let length = match backlog.audio.take(length, &mut audio) {
                    Samples(0) => length,
                    taken => taken,
                };
                pieces.push_back(if is_padding {
                    Piece::Padding { samples: length }
                } else {
                    let time = begin + done.duration(rate);
                    Piece::Audio { time, audio }
                });
                position += length;
                done += length;
                if Some(length) == commit
                    && let Some((_, speech)) = backlog.commits.pop_front()
                {
                    pieces.push_back(Piece::Commit(speech));
                }
            }
        }
        pieces.append(&mut self.0);
        self.0 = pieces;
        lost
    }

    #[cfg(test)]
    pub fn kept_bytes(&self) -> usize {
        let length = |piece: &Piece| match piece {
            Piece::Audio { audio, .. } => audio.len(),
            Piece::Padding { .. } | Piece::Began { .. } | Piece::Commit(_) => 0,
        };
        self.0.iter().map(length).sum()
    }

    /// Discards everything. Returns the span of the audio that was left, from the earliest to the
    /// newest; `rate` is its samples per second.
    pub fn discard(&mut self, coding: Coding, rate: u32) -> Option<Span> {
        let span = |piece: Piece| match piece {
            Piece::Audio { time, audio } => {
                let length = coding.samples(&audio).duration(rate);
                Some(Span::new(time, time + length))
            }
            Piece::Padding { .. } | Piece::Began { .. } | Piece::Commit(_) => None,
        };
        self.0.drain(..).filter_map(span).reduce(Span::hull)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn next(&mut self) -> Option<Piece> {
        self.0.pop_front()
    }

    /// Adds new audio, behind everything else.
    pub fn push(&mut self, piece: Piece) {
        self.0.push_back(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::pcm;

    fn ms(ms: u64) -> Timestamp {
        Timestamp::from_nanos(ms * 1_000_000)
    }

    /// One sample per millisecond, whose low byte is its position.
    fn sent(lengths: &[(u64, u64)], capacity: usize) -> (Timeline, Backlog) {
        let (mut timeline, mut backlog) = (
            Timeline::new(1000),
            Backlog::new(pcm::samples(capacity), Coding::Pcm),
        );
        for (time, samples) in lengths {
            let first = timeline.clock();
            let audio: Vec<u8> = (first.0..first.0 + samples)
                .flat_map(|n| [n as u8, 0])
                .collect();
            timeline.append(ms(*time), Samples(*samples));
            backlog.push(&audio, Samples(*samples));
        }
        (timeline, backlog)
    }

    fn pieces(replay: &mut Replay) -> Vec<(u64, Vec<u8>)> {
        std::iter::from_fn(|| replay.next())
            .map(|piece| match piece {
                Piece::Audio { time, audio } => (
                    time.nanos() / 1_000_000,
                    audio.into_iter().step_by(2).collect(),
                ),
                Piece::Padding { .. } | Piece::Began { .. } | Piece::Commit(_) => (0, vec![]),
            })
            .collect()
    }

    #[test]
    fn memory_goes_with_a_long_utterance() {
        let mut backlog = Backlog::new(pcm::samples(100 * STEP), Coding::Pcm);
        for _ in 0..40 {
            backlog.push(&[0; STEP / 2], pcm::samples(STEP / 2));
        }
        assert!(backlog.audio.capacity() <= 21 * STEP, "not doubled");
        backlog.forget_before(backlog.start + pcm::samples(19 * STEP));
        assert_eq!(backlog.audio.bytes(), STEP);
        assert!(backlog.audio.capacity() <= 2 * STEP, "given back");
    }

    #[test]
    fn what_was_sent_comes_again_with_its_times() {
        let (timeline, backlog) = sent(&[(100, 4), (500, 3)], 1000);
        let mut replay = Replay::default();
        assert_eq!(
            replay.take_over(backlog, Position(1), &timeline, Samples(2)),
            None
        );
        assert_eq!(
            pieces(&mut replay),
            [
                (101, vec![1, 2]),
                (103, vec![3]),
                (500, vec![4, 5]),
                (502, vec![6])
            ]
        );
    }

    #[test]
    fn commits_keep_their_place() {
        let (timeline, mut backlog) = sent(&[(0, 6)], 1000);
        backlog.commit(Position(2), None);
        backlog.commit(Position(4), None);
        backlog.commit(Position(6), None);
        let mut replay = Replay::default();
        replay.take_over(backlog, Position(2), &timeline, Samples(100));
        assert_eq!(
            pieces(&mut replay),
            [(2, vec![2, 3]), (0, vec![]), (4, vec![4, 5]), (0, vec![])]
        );
    }

    #[test]
    fn what_did_not_fit_is_reported() {
        let (timeline, backlog) = sent(&[(100, 10)], 8);
        let mut replay = Replay::default();
        assert_eq!(
            replay.take_over(backlog, Position(2), &timeline, Samples(100)),
            Some(Span::new(ms(102), ms(106)))
        );
        assert_eq!(pieces(&mut replay), [(106, vec![6, 7, 8, 9])]);
    }

    #[test]
    fn a_second_loss_puts_its_audio_before_what_is_left_of_the_first() {
        let (timeline, backlog) = sent(&[(0, 4)], 1000);
        let mut replay = Replay::default();
        replay.take_over(backlog, Position(0), &timeline, Samples(2));
        let Some(Piece::Audio { time, audio }) = replay.next() else {
            panic!()
        };
        let (mut timeline, mut backlog) =
            (Timeline::new(1000), Backlog::new(Samples(500), Coding::Pcm));
        timeline.append(time, Samples(2));
        backlog.push(&audio, Samples(2));
        replay.take_over(backlog, Position(0), &timeline, Samples(2));
        assert_eq!(pieces(&mut replay), [(0, vec![0, 1]), (2, vec![2, 3])]);
    }
}
