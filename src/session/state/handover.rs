// SPDX-License-Identifier: MPL-2.0
//! The steps of a rotation, see [`rotation`](super::super::rotation): a successor is opened, takes
//! over, and the connection that served retires.

use std::time::Duration;

use super::super::connection::{Connection, Stage};
use super::super::connections::Role;
use super::super::rotation::{MAX_RETIREMENT, NOISE};
use super::super::segmenter::Segmenter;
use super::super::{Notice, Output, Warning};
use super::Session;
use crate::protocol::{Command, Failure, Kind};

impl Session {
    /// Takes the next step of a rotation, if it is time: before more audio is sent.
    pub(super) fn rotate(&mut self, now: Duration) {
        if !self.is_running() {
            return;
        }
        match self.connections.second_role() {
            None if self.rotation.is_due(now) => self.open_successor(now),
            Some(Role::Successor) => self.take_over(now),
            _ => {}
        }
    }

    /// The next connection is to take over as soon as it can.
    pub(super) fn demand_rotation(&mut self, now: Duration) {
        // One that is under way has the old settings.
        if self.connections.second_role() == Some(Role::Successor) {
            self.close_second();
        }
        self.rotation.demand(now);
    }

    fn open_successor(&mut self, now: Duration) {
        let successor = self.new_connection(0, now);
        self.outbox.push(Output::Connect(successor.id));
        self.connections.add_successor(successor);
    }

    /// The successor takes over, if this is the place for it.
    fn take_over(&mut self, now: Duration) {
        let Some(successor) = self.connections.successor() else {
            return;
        };
        let Stage::Ready { since, .. } = successor.stage else {
            return;
        };
        let serving = self.connections.serving();
        let nothing_open = serving.is_some_and(Connection::has_nothing_open);
        let finds_utterances = self.limits.max_utterance_ms.is_none();
        if self.is_silent() || self.connections.is_between_utterances() {
            self.hand_over(now);
        } else if now >= since + NOISE && finds_utterances && nothing_open {
            self.replace_in_noise(now);
        }
    }

    /// Whether what was sent since the most recent commit is no more than what keeps the connection
    /// open.
    fn is_silent(&self) -> bool {
        self.replay.is_empty() && self.segmenter.as_ref().is_some_and(Segmenter::is_silent)
    }

    /// Puts the successor in the place of the connection that serves, and returns that.
    fn promote_successor(&mut self, now: Duration) -> Option<Connection> {
        let old = self.connections.promote()?;
        if let Some(serving) = self.connections.serving_mut() {
            serving.start_serving(old.liveness.unresponsive(), now);
        }
        self.rotation.schedule(now);
        self.send_context(now);
        Some(old)
    }

    fn hand_over(&mut self, now: Duration) {
        let Some(mut old) = self.promote_successor(now) else {
            return;
        };
        if let Some(segmenter) = &mut self.segmenter {
            segmenter.forget_padding();
        }
        old.until = now + self.config.finish_timeout.min(MAX_RETIREMENT);
        old.command(Command::Finish, &mut self.events, &mut self.outbox);
        let id = old.id;
        self.connections.retire(old);
        self.handle_events(id, now);
    }

    fn replace_in_noise(&mut self, now: Duration) {
        if let Some(old) = self.promote_successor(now) {
            self.leave_to_replay(old);
            self.announce_rotation();
        }
    }

    /// The successor did not come about, or not at the right time: another one may.
    pub(super) fn postpone_rotation(&mut self, failure: Option<Failure>, now: Duration) {
        if self.connections.second_role() == Some(Role::Successor) {
            if let Some(failure) = failure.filter(|_| self.rotation.is_demanded()) {
                self.outbox.warn(Warning::NotTaken(failure));
            }
            self.rotation.postpone(now);
            self.close_second();
        }
    }

    fn close_second(&mut self) {
        if let Some((_, second)) = self.connections.take_second() {
            self.connections.settle_bill(&second);
            self.outbox.push(Output::Close(second.id));
        }
    }

    pub(super) fn handle_second_timeout(&mut self, now: Duration) {
        match self.connections.retiring() {
            None => self.postpone_rotation(None, now),
            Some(retiring) if retiring.any_open() => {
                let what = "The service did not finish a connection that was replaced.";
                let remedy = "Check the service's status.";
                self.fail(Failure::new(Kind::Lost, what, remedy), now);
            }
            Some(_) => self.end_retirement(now),
        }
    }

    /// The retiring connection has nothing more to say.
    pub(super) fn end_retirement(&mut self, now: Duration) {
        let Some(retiring) = self.connections.retiring() else {
            return;
        };
        if retiring.any_open() {
            retiring.give_up_all(now);
            let what = "The service left an utterance unfinished.";
            self.outbox.warn(Warning::Unfinished(what.into()));
        }
        let end = retiring.end_time();
        self.report_ended();
        self.advance_watermark(end, now);
        self.close_second();
        self.announce_rotation();
        if std::mem::take(&mut self.end.all_said) {
            self.end(now);
        }
    }

    fn announce_rotation(&mut self) {
        let serving = self.connections.serving();
        let session_id = serving.and_then(Connection::session_id).map(str::to_owned);
        self.outbox.notice(Notice::Rotated { session_id });
    }
}
