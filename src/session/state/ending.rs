// SPDX-License-Identifier: MPL-2.0
//! Reports results and the watermark as the session runs, and ends the session.

use std::time::Duration;

use super::super::connections::Role;
use super::super::{Notice, Output, State, UNSENT, Warning};
use super::{Phase, Session};
use crate::protocol::{Failure, Kind, Statement};
use crate::timeline::Timestamp;

impl Session {
    /// Reports new finals and the watermark.
    pub(super) fn report(&mut self, now: Duration) {
        if self.is_over() {
            return;
        }
        let overtaken: usize = self
            .connections
            .all()
            .map(|connection| connection.give_up_overtaken(now))
            .sum();
        for _ in 0..overtaken {
            let why = "it finished later ones, and never this one";
            self.outbox.warn(Warning::NotRecognised(why.into()));
        }
        self.report_ended();
        self.settle(now);
    }

    /// Reports the results of the earliest connection: those of others wait for it.
    pub(super) fn report_ended(&mut self) {
        let Some(connection) = self.connections.earliest() else {
            return;
        };
        while let Some(ended) = connection.next_ended(&mut self.reporter.numbers) {
            if self.reporter.ended(connection.id, ended, &mut self.outbox) {
                self.outage.text_came();
            }
        }
    }

    /// Advances the watermark to where no more text can come.
    pub(super) fn settle(&mut self, now: Duration) {
        // Each discards the data that it no longer needs.
        let serving = self.connections.serving_mut();
        let settled = serving.and_then(|serving| serving.settle(now));
        let settled = match self.connections.retiring() {
            Some(retiring) => retiring.settle(now),
            None => settled.max(self.silent_until()),
        };
        self.advance_watermark(settled, now);
    }

    /// Timestamp up to which there is nothing to recognise, if the segmenter knows it.
    fn silent_until(&self) -> Option<Timestamp> {
        let serving = self.connections.serving()?;
        let reported = self.replay.is_empty() && serving.all_reported();
        self.segmenter.as_ref().filter(|_| reported)?.silent_until()
    }

    pub(super) fn advance_watermark(&mut self, time: Option<Timestamp>, now: Duration) {
        if let Some(time) = time
            && self.reporter.advance(time, &mut self.outbox)
            && self.phase == Phase::Finishing
        {
            // A service that is still making progress gets the time it needs.
            self.end.by = Some(now + self.config.finish_timeout);
        }
    }

    /// The service states that everything it was sent is recognised and reported.
    pub(super) fn finished(&mut self, now: Duration) {
        if self.phase != Phase::Finishing {
            let failure = Failure::new(
                Kind::Lost,
                "The service ended the session before the audio ended.",
                "Start again; if it comes back, check the service's limits.",
            );
            return self.fail(failure, now);
        }
        let serving = self.connections.serving();
        if serving.is_some_and(|serving| serving.any_open()) {
            return self.end_unfinished("The service left an utterance unfinished.".into(), now);
        }
        self.end_after_retirement(now);
    }

    /// The serving connection has delivered all its text.
    pub(super) fn end_after_retirement(&mut self, now: Duration) {
        if self.connections.second_role() == Some(Role::Retiring) {
            self.end.all_said = true;
        } else {
            self.end(now);
        }
    }

    /// Ends a session that was not recognised completely.
    pub(super) fn end_unfinished(&mut self, what: Statement, now: Duration) {
        self.give_up_serving(now);
        self.outbox.warn(Warning::Unfinished(what));
        self.end(now);
    }

    /// Gives the session up because later streams cannot wait any longer. Audio that was sent, but
    /// not reported, is lost.
    pub fn handle_give_up(&mut self, now: Duration) {
        if self.is_over() {
            return;
        }
        let serving = self.connections.serving();
        let end = serving.and_then(|serving| serving.end_time());
        let since = self.reporter.watermark();
        if let Some(end) = end.filter(|end| *end > since) {
            self.outbox.notice(Notice::AudioLost {
                time: since,
                duration: end.since(since),
                reason: "it was not recognised before too much came after it",
            });
        }
        let what = "The service did not finish earlier streams in time.";
        self.end_unfinished(what.into(), now);
    }

    pub(super) fn end_incomplete(&mut self, failure: &Failure, now: Duration) {
        let what = Statement::from("The last text may be incomplete: ").and(failure.what.clone());
        self.end_unfinished(what, now);
    }

    pub(super) fn give_up_serving(&mut self, now: Duration) {
        if let Some(serving) = self.connections.serving_mut() {
            serving.give_up_all(now);
        }
    }

    pub(super) fn end(&mut self, now: Duration) {
        self.flush(now);
        self.announce(State::Idle, "");
        self.close_all();
        self.outbox.notice(Notice::Drained);
    }

    /// Reports everything as final, including held-back results: nothing earlier will come.
    pub(super) fn flush(&mut self, now: Duration) {
        self.settle_retirement(now);
        if let Some(serving) = self.connections.serving_mut() {
            serving.end_overtaken();
        }
        self.report_ended();
        // Incomplete text is better than none, where the audio could not be recognised again.
        self.reporter.flush(&mut self.outbox);
        let serving = self.connections.serving();
        let end = serving.and_then(|serving| serving.end_time());
        self.advance_watermark(end, now);
    }

    /// Closes the session and all its connections.
    pub(super) fn close_all(&mut self) {
        self.phase = Phase::Over;
        if let Some(lost) = self.replay.discard(self.config.coding, self.config.rate) {
            self.outbox.notice(Notice::AudioLost {
                time: lost.start,
                duration: lost.length(),
                reason: UNSENT,
            });
        }
        let second = self.connections.take_second().map(|(_, second)| second);
        for connection in self.connections.take_serving().into_iter().chain(second) {
            self.connections.settle_bill(&connection);
            self.outbox.push(Output::Close(connection.id));
        }
    }
}
