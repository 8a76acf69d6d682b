// SPDX-License-Identifier: MPL-2.0
//! Handles connections that break or cannot be opened.

use std::time::Duration;

use super::super::connection::Connection;
use super::super::connections::Role;
use super::super::retry::{Patience, Verdict};
use super::super::{ConnId, Notice, Output, State, Warning};
use super::{Phase, Session};
use crate::protocol::{Failure, Invitation, Kind};

impl Session {
    /// A connection has failed.
    pub(super) fn connection_failed(&mut self, id: ConnId, failure: Failure, now: Duration) {
        let is_for_next_model = self.is_for_next_model(&failure);
        match self.connections.get(id) {
            None => {}
            Some((Role::Serving, serving)) => {
                // Nothing is lost with a connection that has done all that it was made for.
                let is_done = serving.is_used() && !serving.owes_text();
                if !(is_done && self.replace_used(now)) {
                    self.fail(failure, now);
                }
            }
            Some((Role::Successor, _)) if is_for_next_model => {
                // Opened with the next audio: the rotation is still due.
                self.close_second();
                self.take_next_model(failure);
            }
            Some((Role::Successor, _)) => self.postpone_rotation(Some(failure), now),
            // Without the rest of its text, its audio has to be sent again, before that of the
            // serving connection: this is an outage like any other.
            Some((Role::Retiring, retiring)) if retiring.owes_text() => self.fail(failure, now),
            Some((Role::Retiring, _)) => self.end_retirement(now),
        }
    }

    /// The session cannot continue on its present connections.
    pub(super) fn fail(&mut self, failure: Failure, now: Duration) {
        match self.phase {
            Phase::Over | Phase::Waiting { .. } => return,
            Phase::Finishing if !self.connections.owe_text() => {
                return if failure.close_code == Some(1000) {
                    self.end_after_retirement(now)
                } else {
                    self.end_incomplete(&failure, now)
                };
            }
            Phase::Finishing | Phase::Serving => {}
        }
        let serving = self.connections.serving();
        let served = serving.and_then(|serving| serving.served(now));
        let policy = self.config.retry;
        let has_next = self.models.has_next();
        match self.outage.failed(&failure, served, policy, has_next, now) {
            // All audio was sent: only text is missing, so the session has not failed.
            Verdict::GiveUp if self.end.told => self.end_incomplete(&failure, now),
            Verdict::GiveUp => self.give_up(failure, now),
            Verdict::RetryAfter(wait) => {
                let was_up = !self.is_down();
                self.reconnect_after(wait, now);
                self.tell_of_outage(failure, was_up);
            }
            Verdict::MoveAfter(wait) => self.reconnect_after(wait, now),
            Verdict::NextModel => {
                self.reconnect_after(Duration::ZERO, now);
                self.take_next_model(failure);
            }
        }
        self.give_up_vain_waits(now);
    }

    /// Whether the service does not have the model that a successor was to use, and there is
    /// another one. What a busy fleet has is only known from its later answers.
    fn is_for_next_model(&self, failure: &Failure) -> bool {
        let is_gone = failure.kind == Kind::NoModel && failure.invitation == Invitation::None;
        is_gone && self.models.has_next()
    }

    fn take_next_model(&mut self, failure: Failure) {
        if let Some((gone, next)) = self.models.take_next() {
            self.limits = self.models.codec().limits();
            self.outbox.warn(Warning::NextModel {
                failure,
                gone,
                next,
            });
        }
    }

    pub(super) fn give_up(&mut self, failure: Failure, now: Duration) {
        self.give_up_serving(now);
        self.flush(now);
        self.announce(State::Failed, failure.what.clone());
        self.close_all();
        self.outbox.notice(Notice::Failed(failure));
    }

    fn reconnect_after(&mut self, wait: Duration, now: Duration) {
        if let Some(serving) = self.connections.take_serving() {
            self.leave_to_replay(serving);
        }
        match self.connections.take_second() {
            // Its audio precedes that of the other one.
            Some((Role::Retiring, retiring)) => self.leave_to_replay(retiring),
            Some((_, successor)) => self.outbox.push(Output::Close(successor.id)),
            None => {}
        }
        let until = now + wait;
        self.phase = Phase::Waiting { until };
    }

    fn tell_of_outage(&mut self, failure: Failure, was_up: bool) {
        if let Some(patience) = self.outage.report() {
            // After the end of the audio, there is a deadline as well.
            let patience = match self.end.by {
                Some(_) => Patience::Unknown,
                None => patience,
            };
            let failure = failure.clone();
            self.outbox.notice(Notice::Outage { failure, patience });
        }
        let reason = failure.what.clone();
        // A repeated reason is not announced again.
        if self.outage.is_news(failure) || was_up {
            self.announce(State::Reconnecting, reason);
        }
    }

    /// After the end of the audio, an attempt that is due only after the deadline is not worth
    /// waiting for.
    pub(super) fn give_up_vain_waits(&mut self, now: Duration) {
        if let (Phase::Waiting { until }, Some(by)) = (self.phase, self.end.by)
            && until >= by
        {
            self.finish_too_late(now);
        }
    }

    /// Leaves the unfinished part of this connection to the replay, before everything else.
    pub(super) fn leave_to_replay(&mut self, mut connection: Connection) {
        self.connections.settle_bill(&connection);
        let chunk = self.chunk();
        if let Some(lost) = connection.leave_to(&mut self.replay, chunk) {
            self.outbox.notice(Notice::AudioLost {
                time: lost.start,
                duration: lost.length(),
                reason: "more than max-queue-time would have to be sent again",
            });
        }
        for transcript in connection.open_transcripts(&mut self.reporter.numbers) {
            self.reporter.interrupt(transcript, &mut self.outbox);
        }
        self.outbox.push(Output::Close(connection.id));
    }

    /// The time to finish has expired.
    pub(super) fn finish_too_late(&mut self, now: Duration) {
        let within = self.config.finish_timeout.as_millis();
        if self.is_down() && !self.end.told && !self.config.retry.keep_going {
            // There is audio left that was never recognised.
            let failure = self.outage.take_latest().unwrap_or_else(|| {
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
}
