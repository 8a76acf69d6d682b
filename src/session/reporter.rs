// SPDX-License-Identifier: MPL-2.0
//! Reports utterances to the user: each under one number, each final once and in the order of
//! speech, across all connections. Used by the session only.
//!
//! An utterance that a lost connection left open is *interrupted*. Its audio is sent again, and the
//! utterance that the next connection finds there counts as the same one: it gets the same number.
//! If a later utterance is reported first, the service will not return to it, and the text received
//! before is all there is. So every utterance with interim text has exactly one final, which is
//! blank if its words were reported under another number.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::outbox::Outbox;
use super::utterances::Ended;
use super::{ConnId, Notice};
use crate::timeline::{Span, Timestamp};
use crate::transcript::{Transcript, Utterance};

/// Number of reported utterances remembered, so that none is reported again after a replay. A
/// replay starts with the earliest unreported utterance, so it contains few reported ones.
const MAX_REPORTED: usize = 64;

/// Maximum distance between the starts of the same utterance when it is recognised again: services
/// start afresh with the replay, and do not reproduce a start to the millisecond.
const BEGIN_TOLERANCE: Duration = Duration::from_millis(500);

/// An utterance that a lost connection left open.
#[derive(Debug)]
struct Interrupted {
    /// The longest text received for it.
    transcript: Transcript,
    /// A later connection has found it, and will report it.
    is_resumed: bool,
}

impl Interrupted {
    fn is_awaited(&self) -> bool {
        !self.is_resumed
    }

    /// Whether an utterance with this span is the same one, or the rest of it: it covers the start,
    /// or starts later within it, as happens if audio was lost or the service segments it
    /// differently.
    fn is_heard_in(&self, span: Span) -> bool {
        let own = span_of(&self.transcript);
        span.contains(own.start + BEGIN_TOLERANCE / 2) || own.contains(span.start)
    }
}

/// Assigns numbers to utterances: new ones, except for those that are recognised again.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    next: Utterance,
    /// In the order of their starts.
    interrupted: Vec<Interrupted>,
}

impl Numbers {
    /// The number of an utterance that a connection has found, given its start.
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

    /// Keeps the longer text of the utterance. Returns another utterance that it replaces: the same
    /// one, whose start the two connections placed differently.
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

    /// Removes the first interrupted utterance not found again, given the span of a reported one,
    /// if it is part of that one or precedes it. The flag is true if it is part of it.
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
    /// Utterances with interim text, but no final yet.
    open: BTreeSet<Utterance>,
    /// The most recent finals: the connection that each came from, and its timestamps.
    reported: VecDeque<(Option<ConnId>, Span)>,
    /// Number of transcripts reported so far, including interim ones.
    transcripts: u64,
    /// Timestamp before which everything is final.
    watermark: Timestamp,
}

impl Reporter {
    /// An open utterance has new text.
    pub fn interim(&mut self, id: ConnId, mut transcript: Transcript, out: &mut Outbox) {
        // Text that was already reported before its audio was sent again is not repeated.
        let begin = span_of(&transcript).start;
        if self.was_reported(id, Span::new(begin, begin + BEGIN_TOLERANCE)) {
            return;
        }
        self.open.insert(transcript.utterance);
        self.count(&mut transcript);
        out.notice(Notice::Interim(transcript));
    }

    /// An utterance has ended on this connection. Returns whether it was reported now, rather than
    /// before its audio was sent again.
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

    /// A connection was lost with this utterance open: it will be recognised again.
    pub fn interrupt(&mut self, transcript: Transcript, out: &mut Outbox) {
        if let Some(replaced) = self.numbers.interrupt(transcript) {
            self.close(replaced, out);
        }
    }

    /// No audio will be recognised again: interrupted utterances are reported with the text
    /// received.
    pub fn flush(&mut self, out: &mut Outbox) {
        for interrupted in std::mem::take(&mut self.numbers.interrupted) {
            let mut spans = self.reported.iter().map(|(_, span)| *span);
            let is_heard = spans.any(|span| interrupted.is_heard_in(span));
            self.give_up(interrupted.transcript, is_heard, out);
        }
        debug_assert!(self.open.is_empty(), "without a final: {:?}", self.open);
    }

    /// Everything before this timestamp is final. Returns whether the watermark advanced.
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

    /// Whether this part lies in an utterance that was reported over an earlier connection.
    fn was_reported(&self, id: ConnId, part: Span) -> bool {
        let mut earlier = self.reported.iter().filter(|(other, _)| *other < Some(id));
        earlier.any(|(_, span)| span.start <= part.start && part.end <= span.end)
    }

    /// An interrupted utterance was not recognised again, or only as part of another.
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
