// SPDX-License-Identifier: MPL-2.0
//! What a session does when its connection breaks or cannot be made.

use std::time::Duration;

use super::super::connection::Connection;
use super::super::retry::{History, Verdict, verdict};
use super::super::{Notice, Output, State};
use super::{Phase, Session};
use crate::protocol::{Failure, Kind};
use crate::transcript::Transcript;

/// A connection that lasted this long was a good one: the next outage is another one.
const GOOD_CONNECTION: Duration = Duration::from_secs(10);

/// How far apart the begins of the same utterance may be when it is heard again, in nanoseconds.
const BEGIN_TOLERANCE: u64 = 500_000_000;

impl Session {
    /// The time to finish is over.
    pub(super) fn finish_too_late(&mut self, now: Duration) {
        let within = self.config.finish_timeout.as_millis();
        if self.is_down() && !self.finishing && !self.config.retry.keep_going {
            // Audio is left that nobody has listened to.
            let failure = self.last_failure.take().unwrap_or_else(|| {
                Failure::new(
                    Kind::Unreachable,
                    format!("No session came about within {within} ms (finish-timeout)."),
                    "Check the network, a proxy and the url property.",
                )
            });
            return self.give_up(failure, now);
        }
        let what = format!("The service did not finish within {within} ms (finish-timeout).");
        self.end_unfinished(what.into(), now);
    }

    fn give_up(&mut self, failure: Failure, now: Duration) {
        self.connection.utterances.give_up_all(now);
        self.flush_finals(now);
        self.phase = Phase::Over;
        self.outputs.push_back(Output::Close);
        self.announce(State::Failed, failure.what.clone());
        self.notice(Notice::Failed(failure));
    }

    pub(super) fn fail(&mut self, failure: Failure, now: Duration) {
        match self.phase {
            Phase::Over | Phase::Waiting { .. } => return,
            Phase::Finishing { .. }
                if !self.connection.owes_text() && !self.rotation.owes_text() =>
            {
                return if failure.close_code == Some(1000) {
                    self.end_after_last(now)
                } else {
                    self.end_incomplete(&failure, now)
                };
            }
            Phase::Running { since } | Phase::Finishing { since } => {
                if now >= since + GOOD_CONNECTION {
                    self.retries = 0;
                    self.outage_reported = false;
                }
            }
            Phase::Connecting { .. } | Phase::Opening { .. } => {}
        }
        if self.retries == 0 {
            self.outage_since = now;
        }
        let history = History {
            retries: self.retries,
            lasted: now.saturating_sub(self.outage_since),
            connected_before: self.connected_before,
        };
        match verdict(&failure, history, self.config.retry, self.random.f64()) {
            // All audio was sent: what is missing is an end, not a session.
            Verdict::GiveUp if self.finishing => self.end_incomplete(&failure, now),
            Verdict::GiveUp => self.give_up(failure, now),
            Verdict::RetryAfter(wait) => {
                self.retries = self.retries.saturating_add(1);
                self.reconnect_after(wait, failure, now);
            }
        }
    }

    fn reconnect_after(&mut self, wait: Duration, failure: Failure, now: Duration) {
        let deaf = self.connection.liveness.deaf();
        let codec = (self.make_codec)();
        let next = Connection::new(codec, &self.config, self.connections, deaf, now);
        let lost = std::mem::replace(&mut self.connection, next);
        self.leave_to_replay(lost);
        self.outputs.push_back(Output::Close);
        self.give_up_spare();
        let was_up = matches!(self.phase, Phase::Running { .. } | Phase::Finishing { .. });
        self.phase = Phase::Waiting { until: now + wait };
        // Attempts that fail alike are no news.
        let same = |last: &Failure| last.what == failure.what;
        let news = was_up || !self.last_failure.as_ref().is_some_and(same);
        if !std::mem::replace(&mut self.outage_reported, true) {
            self.notice(Notice::Outage(failure.clone()));
        }
        self.session_id = None;
        if news {
            self.announce(State::Reconnecting, failure.what.clone());
        }
        self.last_failure = Some(failure);
    }

    /// What this connection leaves unfinished is to be sent again, before all else.
    pub(super) fn leave_to_replay(&mut self, mut connection: Connection) {
        self.billed_before = self.billed_before + connection.billed;
        let chunk = self.chunk_bytes() as u64 / 2;
        if let Some((time, duration)) = connection.leave_to(&mut self.replay, chunk) {
            self.notice(Notice::AudioLost { time, duration });
        }
        self.remember_cut(connection.open_transcripts());
    }

    /// Whether an utterance that was cut has been reported after all. Of such a one only the
    /// begin is known for sure, and that not to the millisecond.
    pub(super) fn heard_again(&self, cut: &Transcript) -> bool {
        let begin = cut.start..cut.start.saturating_add(BEGIN_TOLERANCE);
        let mut reported = self.reported.iter();
        reported.any(|(_, span)| span.start < begin.end && begin.start < span.end)
    }

    /// Keeps the best of what was heard of each utterance that was cut.
    fn remember_cut(&mut self, transcripts: Vec<Transcript>) {
        let cut = std::mem::take(&mut self.cut);
        self.cut = cut
            .into_iter()
            .filter(|cut| !self.heard_again(cut))
            .collect();
        for transcript in transcripts {
            let Transcript { start, end, .. } = transcript;
            let same = |cut: &Transcript| cut.start < end && start < cut.end;
            let best = self
                .cut
                .iter()
                .filter(|cut| same(cut))
                .map(|cut| cut.text.len())
                .max();
            if best.is_none_or(|best| best <= transcript.text.len()) {
                self.cut.retain(|cut| !same(cut));
                self.cut.push(transcript);
            }
        }
    }
}
