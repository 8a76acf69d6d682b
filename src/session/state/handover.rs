// SPDX-License-Identifier: MPL-2.0
//! The steps of a rotation, see [`rotation`](super::super::rotation): a successor is opened and
//! takes over, and the previous connection retires.

use std::time::Duration;

use super::super::connection::{Connection, Stage};
use super::super::connections::Role;
use super::super::rotation::{MAX_RETIREMENT, NOISE};
use super::super::segmenter::Segmenter;
use super::super::{Notice, Output, Warning};
use super::{Phase, Session};
use crate::protocol::{Command, Failure, Kind};

impl Session {
    /// Takes the next step of a rotation, if it is due. Called before more audio is sent.
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

    /// Makes the next connection take over as soon as possible.
    pub(super) fn demand_rotation(&mut self, now: Duration) {
        // A successor being opened has the old settings.
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

    /// Lets the successor take over, if this is a suitable place.
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

    /// Whether only keep-alive silence was sent since the most recent commit.
    fn is_silent(&self) -> bool {
        self.replay.is_empty() && self.segmenter.as_ref().is_some_and(Segmenter::is_silent)
    }

    /// Makes the successor the serving connection, and returns the previous one.
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
        let Some(old) = self.promote_successor(now) else {
            return;
        };
        if let Some(segmenter) = &mut self.segmenter {
            segmenter.forget_padding();
        }
        let timeout = self.config.finish_timeout.min(MAX_RETIREMENT);
        self.retire(old, timeout, now);
    }

    /// Tells the service that no more audio comes over this connection, and waits for its text.
    fn retire(&mut self, mut old: Connection, timeout: Duration, now: Duration) {
        old.until = now + timeout;
        old.command(Command::Finish, &mut self.events, &mut self.outbox);
        let id = old.id;
        self.connections.retire(old);
        self.handle_events(id, now);
    }

    /// Replaces a connection that had its one utterance: opens the next one while the text of this
    /// one is awaited. One after the other: the connection before has to be done. Returns whether a
    /// connection was replaced.
    pub(super) fn replace_used(&mut self, now: Duration) -> bool {
        let serving = self.connections.serving();
        if self.phase != Phase::Serving || !serving.is_some_and(Connection::is_used) {
            return false;
        }
        match self.connections.second_role() {
            Some(Role::Retiring) => return false,
            Some(_) => self.close_second(),
            None => {}
        }
        let Some(old) = self.connections.take_serving() else {
            return false;
        };
        self.connect(now);
        if let Some(serving) = self.connections.serving_mut() {
            serving.is_planned = true;
        }
        self.retire(old, self.config.response_timeout, now);
        true
    }

    fn replace_in_noise(&mut self, now: Duration) {
        if let Some(old) = self.promote_successor(now) {
            self.leave_to_replay(old);
            self.announce_rotation();
        }
    }

    /// The successor failed, or became ready at the wrong time: another one may follow.
    pub(super) fn postpone_rotation(&mut self, failure: Option<Failure>, now: Duration) {
        if self.connections.second_role() == Some(Role::Successor) {
            if let Some(failure) = failure.filter(|_| self.rotation.is_demanded()) {
                self.outbox.warn(Warning::NotTaken(failure));
            }
            self.rotation.postpone(now);
            self.close_second();
        }
    }

    pub(super) fn close_second(&mut self) {
        if let Some((_, second)) = self.connections.take_second() {
            self.connections.settle_bill(&second);
            self.outbox.push(Output::Close(second.id));
        }
    }

    pub(super) fn handle_second_timeout(&mut self, now: Duration) {
        match self.connections.retiring() {
            None => self.postpone_rotation(None, now),
            Some(retiring) if !retiring.all_reported() => {
                let what = "The service did not finish a connection that was replaced.";
                let remedy = "Check the service's status.";
                self.fail(Failure::new(Kind::Lost, what, remedy), now);
            }
            Some(_) => self.end_retirement(now),
        }
    }

    /// The retiring connection has no more text to deliver.
    pub(super) fn end_retirement(&mut self, now: Duration) {
        let Some(retiring) = self.connections.retiring() else {
            return;
        };
        if retiring.any_open() {
            let what = "The service left an utterance unfinished.";
            self.outbox.warn(Warning::Unfinished(what.into()));
        }
        self.settle_retirement(now);
        if std::mem::take(&mut self.end.all_said) {
            self.end(now);
        }
    }

    /// Reports what is known of the retiring connection's text, and closes it. The caller says why
    /// there is no more.
    pub(super) fn settle_retirement(&mut self, now: Duration) {
        let Some(retiring) = self.connections.retiring() else {
            return;
        };
        retiring.give_up_all(now);
        retiring.end_overtaken();
        let end = retiring.end_time();
        self.report_ended();
        self.advance_watermark(end, now);
        self.close_second();
        if self.limits.one_utterance {
            self.outage.completed();
        } else {
            self.announce_rotation();
        }
    }

    fn announce_rotation(&mut self) {
        let serving = self.connections.serving();
        let session_id = serving.and_then(Connection::session_id).map(str::to_owned);
        self.outbox.notice(Notice::Rotated { session_id });
    }
}
