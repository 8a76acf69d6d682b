// SPDX-License-Identifier: MPL-2.0
//! What the user learns of utterances: each under one number, each final once and in the order of
//! speech, whatever happens to connections.
//!
//! An utterance that a lost connection left open is *interrupted*. Its audio is sent again, and the
//! utterance that the next connection finds there is the same one: it gets the same number. If a
//! later utterance is reported first, the service will not come back to it, and what was heard of it
//! before is all there is. So every utterance of which there was interim text has exactly one
//! final, which is blank if its words were reported under another number.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::outbox::Outbox;
use super::utterances::Ended;
use super::{ConnId, Notice};
use crate::timeline::{Span, Timestamp};
use crate::transcript::{Transcript, Utterance};

/// Reported utterances remembered, so that none is reported again after a replay. A replay begins
/// with the earliest utterance that is not reported, so that it holds few that are.
const MAX_REPORTED: usize = 64;

/// How far apart the begins of the same utterance may be when it is heard again:
/// services begin anew with the replay, and do not find a begin to the millisecond.
const BEGIN_TOLERANCE: Duration = Duration::from_millis(500);

/// An utterance that a lost connection left open.
#[derive(Debug)]
struct Interrupted {
    /// The most that was heard of it.
    transcript: Transcript,
    /// A later connection has found it, and will report it.
    is_resumed: bool,
}

impl Interrupted {
    fn is_awaited(&self) -> bool {
        !self.is_resumed
    }

    /// Whether an utterance with this span is the same, or the rest of it: it covers the begin, or
    /// begins later in it, as it does if audio was lost or the service divides it otherwise.
    fn is_heard_in(&self, span: Span) -> bool {
        let own = span_of(&self.transcript);
        span.contains(own.start + BEGIN_TOLERANCE / 2) || own.contains(span.start)
    }
}

/// Gives utterances their numbers: new ones, but for those that are heard again.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    next: Utterance,
    /// In the order of their begins.
    interrupted: Vec<Interrupted>,
}

impl Numbers {
    /// The number of an utterance that a connection has found, which begins at this timestamp.
    pub fn give(&mut self, start: Timestamp) -> Utterance {
        let awaited = self.interrupted.iter_mut().filter(|i| i.is_awaited());
        let distance = |i: &Interrupted| span_of(&i.transcript).start.abs_diff(start);
        let nearest = awaited.min_by_key(|i| distance(i));
        match nearest.filter(|i| distance(i) <= BEGIN_TOLERANCE) {
            Some(interrupted) => {
                interrupted.is_resumed = true;
                interrupted.transcript.utterance
            }
            None => {
                self.next += 1;
                self.next - 1
            }
        }
    }

    fn remove(&mut self, number: Utterance) -> Option<Interrupted> {
        let is_it = |i: &Interrupted| i.transcript.utterance == number;
        let at = self.interrupted.iter().position(is_it)?;
        Some(self.interrupted.remove(at))
    }

    /// Keeps the most that was heard of the utterance. Returns another one that it replaces: the
    /// same, but for what two connections made of its begin.
    fn interrupt(&mut self, mut transcript: Transcript) -> Option<Transcript> {
        let most_of = |a: Transcript, b: Transcript| {
            if a.text.len() > b.text.len() {
                (a, b)
            } else {
                (b, a)
            }
        };
        if let Some(before) = self.remove(transcript.utterance) {
            transcript = most_of(before.transcript, transcript).0;
        }
        let span = span_of(&transcript);
        let overlaps = |i: &Interrupted| i.is_awaited() && span_of(&i.transcript).overlaps(span);
        let same = self.interrupted.iter().position(overlaps);
        let mut replaced = None;
        if let Some(at) = same {
            let other = self.interrupted.remove(at).transcript;
            let (most, less) = most_of(other, transcript);
            (transcript, replaced) = (most, Some(less));
        }
        let starts_before = |i: &Interrupted| i.transcript.start <= transcript.start;
        let at = self.interrupted.partition_point(starts_before);
        self.interrupted.insert(
            at,
            Interrupted {
                transcript,
                is_resumed: false,
            },
        );
        replaced
    }

    /// Takes out the first that is not heard again, if an utterance with this span is reported: it
    /// is a part of that, or comes before it. The flag says which.
    fn next_before(&mut self, span: Span) -> Option<(Transcript, bool)> {
        let at = self.interrupted.iter().position(|i| {
            i.is_awaited() && (span_of(&i.transcript).start <= span.start || i.is_heard_in(span))
        })?;
        let interrupted = self.interrupted.remove(at);
        let is_heard = interrupted.is_heard_in(span);
        Some((interrupted.transcript, is_heard))
    }
}

#[derive(Debug, Default)]
pub(super) struct Reporter {
    pub numbers: Numbers,
    /// Utterances of which there was interim text, and no final yet.
    open: BTreeSet<Utterance>,
    /// The most recent finals: the connection each came over, and its timestamps.
    reported: VecDeque<(Option<ConnId>, Span)>,
    /// Transcripts reported so far, interim ones included.
    transcripts: u64,
    /// Timestamp before which everything is final.
    watermark: Timestamp,
}

impl Reporter {
    /// An open utterance has new text.
    pub fn interim(&mut self, id: ConnId, mut transcript: Transcript, out: &mut Outbox) {
        // What was reported before its audio was sent again is no news.
        let begin = span_of(&transcript).start;
        if self.was_reported(id, Span::new(begin, begin + BEGIN_TOLERANCE)) {
            return;
        }
        self.open.insert(transcript.utterance);
        self.count(&mut transcript);
        out.notice(Notice::Interim(transcript));
    }

    /// No more will be heard of an utterance over this connection. Returns whether it was
    /// reported, and not before its audio was sent again.
    pub fn ended(&mut self, id: ConnId, ended: Ended, out: &mut Outbox) -> bool {
        let Ended {
            mut transcript,
            by_service,
        } = ended;
        if let Some(before) = self.numbers.remove(transcript.utterance)
            && !by_service
            && before.transcript.text.len() > transcript.text.len()
        {
            transcript = before.transcript;
        }
        let span = span_of(&transcript);
        if self.was_reported(
            id,
            Span::new(span.middle(), span.middle() + Duration::from_nanos(1)),
        ) {
            self.close(transcript, out);
            return false;
        }
        while let Some((interrupted, is_heard)) = self.numbers.next_before(span) {
            self.give_up(interrupted, is_heard, out);
        }
        self.finalise(Some(id), transcript, out);
        true
    }

    /// A connection was lost that had this open: it will be heard again.
    pub fn interrupt(&mut self, transcript: Transcript, out: &mut Outbox) {
        if let Some(replaced) = self.numbers.interrupt(transcript) {
            self.close(replaced, out);
        }
    }

    /// Nothing will be heard again: what was interrupted is reported as it was heard.
    pub fn flush(&mut self, out: &mut Outbox) {
        for interrupted in std::mem::take(&mut self.numbers.interrupted) {
            let mut spans = self.reported.iter().map(|(_, span)| *span);
            let is_heard = spans.any(|span| interrupted.is_heard_in(span));
            self.give_up(interrupted.transcript, is_heard, out);
        }
        debug_assert!(self.open.is_empty(), "without a final: {:?}", self.open);
    }

    /// Everything before this timestamp is final. Returns whether that is news.
    pub fn advance(&mut self, time: Timestamp, out: &mut Outbox) -> bool {
        let news = time > self.watermark;
        if news {
            self.watermark = time;
            out.notice(Notice::Watermark { time });
        }
        news
    }

    /// Timestamp before which everything is final.
    pub fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// Whether this lies in an utterance that was reported over an earlier connection.
    fn was_reported(&self, id: ConnId, part: Span) -> bool {
        let mut earlier = self.reported.iter().filter(|(other, _)| *other < Some(id));
        earlier.any(|(_, span)| span.start <= part.start && part.end <= span.end)
    }

    /// What was interrupted is not heard again, at least not by itself.
    fn give_up(&mut self, interrupted: Transcript, is_heard: bool, out: &mut Outbox) {
        if is_heard || interrupted.text.is_empty() {
            self.close(interrupted, out);
        } else {
            self.finalise(None, interrupted, out);
        }
    }

    fn finalise(&mut self, id: Option<ConnId>, mut transcript: Transcript, out: &mut Outbox) {
        if self.reported.len() == MAX_REPORTED {
            self.reported.pop_front();
        }
        self.reported.push_back((id, span_of(&transcript)));
        self.open.remove(&transcript.utterance);
        self.count(&mut transcript);
        out.notice(Notice::Final(transcript));
    }

    /// The utterance was reported under another number.
    fn close(&mut self, transcript: Transcript, out: &mut Outbox) {
        if self.open.remove(&transcript.utterance) {
            let mut blank = Transcript {
                text: String::new(),
                words: Vec::new(),
                ..transcript
            };
            self.count(&mut blank);
            out.notice(Notice::Final(blank));
        }
    }

    fn count(&mut self, transcript: &mut Transcript) {
        self.transcripts += 1;
        transcript.seq = self.transcripts;
    }
}

fn span_of(transcript: &Transcript) -> Span {
    let [start, end] = [transcript.start, transcript.end].map(Timestamp::from_nanos);
    Span::new(start, end)
}
