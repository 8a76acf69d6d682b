// SPDX-License-Identifier: MPL-2.0
//! What a session tells its user: transcripts in order and once, how far all is settled, and how
//! it ends.

use std::ops::Range;
use std::time::Duration;

use super::super::{Notice, Output, State, Warning};
use super::{Phase, Session};
use crate::protocol::{Failure, Kind, Statement};
use crate::transcript::Transcript;

/// Reported utterances remembered, so that none is reported again after a replay.
const MOST_REPORTED: usize = 64;

impl Session {
    pub(super) fn report_finals(&mut self, now: Duration) {
        if self.is_over() {
            return;
        }
        self.give_up_overtaken(now);
        self.report_finals_of_last();
        while !self.rotation.is_handing_over()
            && let Some(transcript) = self.connection.next_final()
        {
            self.report(self.connection.number(), transcript);
        }
        self.settle(now);
    }

    /// Nobody waits any longer for what was overtaken by later utterances.
    fn give_up_overtaken(&mut self, now: Duration) {
        let last = self.rotation.last().into_iter();
        let connections = last.chain([&mut self.connection]);
        let count: usize = connections
            .map(|connection| connection.utterances.give_up_overtaken(now))
            .sum();
        for _ in 0..count {
            let why = "it finished later ones, and never this one";
            self.notice(Notice::Warning(Warning::NotRecognised(why.into())));
        }
    }

    /// Reports a final of this connection, unless it was reported before its audio was sent
    /// again.
    pub(super) fn report(&mut self, this: u64, transcript: Transcript) {
        let before = self
            .reported
            .iter()
            .filter(|(connection, _)| *connection < this);
        if covers(before, &transcript) {
            return;
        }
        let Transcript { start, end, .. } = transcript;
        if self.reported.len() == MOST_REPORTED {
            self.reported.pop_front();
        }
        self.reported.push_back((this, start..end));
        // Whatever happens next is another outage.
        self.outage_reported = false;
        self.notice(Notice::Final(transcript));
    }

    /// Tells up to when no more text can come.
    pub(super) fn settle(&mut self, now: Duration) {
        let reported = self.connection.settle(now);
        if self.rotation.is_handing_over() {
            let reported = self.rotation.settle(now);
            self.settled_until(reported, now);
        } else {
            self.settled_until(reported.max(self.silent_until()), now);
        }
    }

    pub(super) fn settled_until(&mut self, time: Option<u64>, now: Duration) {
        if let Some(time) = time
            && time > self.settled
        {
            self.settled = time;
            // A service that still works on what it was sent is given the time it needs.
            if matches!(self.phase, Phase::Finishing { .. }) {
                self.finish_by = Some(now + self.config.finish_timeout);
            }
            self.notice(Notice::Settled { time });
        }
    }

    pub(super) fn finished(&mut self, now: Duration) {
        if !matches!(self.phase, Phase::Finishing { .. }) {
            let failure = Failure::new(
                Kind::Lost,
                "The service ended the session before the audio ended.",
                "Start again; if it comes back, check the service's limits.",
            );
            return self.fail(failure, now);
        }
        if self.connection.utterances.any_open() {
            return self.end_unfinished("The service left an utterance unfinished.".into(), now);
        }
        self.end_after_last(now);
    }

    /// Ends a session of which not everything was recognised.
    pub(super) fn end_unfinished(&mut self, what: Statement, now: Duration) {
        self.connection.utterances.give_up_all(now);
        self.notice(Notice::Warning(Warning::Unfinished(what)));
        self.end(now);
    }

    pub(super) fn end_incomplete(&mut self, failure: &Failure, now: Duration) {
        let what = Statement::from("The last text may be incomplete: ").and(failure.what.clone());
        self.end_unfinished(what, now);
    }

    pub(super) fn end(&mut self, now: Duration) {
        self.flush_finals(now);
        self.phase = Phase::Over;
        self.outputs.push_back(Output::Close);
        self.announce(State::Idle, "");
        self.notice(Notice::Drained);
    }

    /// Reports all that is final, held ones included: nothing earlier will come.
    pub(super) fn flush_finals(&mut self, now: Duration) {
        self.end_rotation(now);
        let this = self.connection.number();
        while let Some(transcript) = self.connection.next_final() {
            self.report(this, transcript);
        }
        // Better than nothing, where the audio could not be recognised anew.
        for transcript in std::mem::take(&mut self.cut) {
            if !self.heard_again(&transcript) {
                self.report(this, transcript);
            }
        }
        let end = self.connection.end_time();
        self.settled_until(end, now);
    }

    pub(super) fn announce(&mut self, state: State, reason: impl Into<Statement>) {
        let session_id = self.session_id.clone();
        let reason = reason.into();
        self.notice(Notice::State {
            state,
            session_id,
            reason,
        });
    }

    pub(super) fn notice(&mut self, mut notice: Notice) {
        if let Notice::Interim(transcript) | Notice::Final(transcript) = &mut notice {
            self.transcripts += 1;
            transcript.seq = self.transcripts;
        }
        self.outputs.push_back(Output::Notice(notice));
    }
}

/// Whether the middle of an utterance lies in one of those.
fn covers<'a>(
    spans: impl IntoIterator<Item = &'a (u64, Range<u64>)>,
    transcript: &Transcript,
) -> bool {
    let middle = transcript.start + (transcript.end - transcript.start) / 2;
    spans.into_iter().any(|(_, span)| span.contains(&middle))
}
