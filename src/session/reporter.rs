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

use super::numbers::{BEGIN_TOLERANCE, Numbers, length};
use super::outbox::Outbox;
use super::utterances::Ended;
use super::{ConnId, Notice};
use crate::timeline::{Span, Timestamp};
use crate::transcript::{Transcript, Translation, Utterance};

/// Number of reported utterances remembered, so that none is reported again after a replay. A
/// replay starts with the earliest unreported utterance, so it contains few reported ones.
const MAX_REPORTED: usize = 64;

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
        let begin = transcript.span.start;
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
            && length(&before.transcript) > length(&transcript)
        {
            transcript = before.transcript;
        }
        let span = transcript.span;
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
        for interrupted in self.numbers.take_interrupted() {
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
        if is_heard || length(&interrupted) == 0 {
            self.close(interrupted, out);
        } else {
            self.finalise(None, interrupted, out);
        }
    }

    fn finalise(&mut self, id: Option<ConnId>, mut transcript: Transcript, out: &mut Outbox) {
        if self.reported.len() == MAX_REPORTED {
            self.reported.pop_front();
        }
        self.reported.push_back((id, transcript.span));
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
                translation: transcript.translation.map(|translation| {
                    Box::new(Translation {
                        text: String::new(),
                        ..*translation
                    })
                }),
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
