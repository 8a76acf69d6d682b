// SPDX-License-Identifier: MPL-2.0
//! Tracks an outage for the session: how long it has lasted, how often the connection was retried,
//! and what the user was told. An outage starts when a serving connection is lost (or the first one
//! cannot be opened), and is over when text arrives again.

use std::time::Duration;

use super::retry::{self, History, MIN_WAIT, Patience, RetryPolicy, Verdict, verdict};
use crate::protocol::{Failure, Invitation};

/// A connection that served this long was sound: its failure starts another outage.
const GOOD_CONNECTION: Duration = Duration::from_secs(10);

/// A server that leaves is one of a fleet, and another one takes over: that is no outage. While the
/// fleet looks for that one, its refusals are part of the move.
const MAX_MOVE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Outage {
    /// Number of attempts to reconnect so far.
    retries: u32,
    since: Duration,
    /// Whether the service ever accepted the session.
    connected_before: bool,
    /// Whether the source is live.
    is_live: bool,
    /// Whether the user was told. A connection that breaks at once does not end an outage.
    reported: bool,
    /// When a server left that sends its clients on to another one, until that is ready.
    moving_since: Option<Duration>,
    /// A server has left since a final arrived or a connection proved sound: a fleet whose servers
    /// do nothing but leave is broken.
    moved: bool,
    latest: Option<Failure>,
    /// How long the service is tried again, after the latest failure.
    patience: Patience,
    /// Spreads the waits of clients that fail together.
    random: fastrand::Rng,
}

impl Outage {
    pub fn new(is_live: bool, seed: u64) -> Self {
        Self {
            retries: 0,
            since: Duration::ZERO,
            connected_before: false,
            is_live,
            reported: false,
            moving_since: None,
            moved: false,
            latest: None,
            patience: Patience::Unknown,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// The service accepted the session.
    pub fn ready(&mut self) {
        self.connected_before = true;
        self.moving_since = None;
    }

    /// A server has left that sends its clients on to another one, which is not ready yet.
    pub fn is_moving(&self) -> bool {
        self.moving_since.is_some()
    }

    /// A final arrived: any later failure starts another outage.
    pub fn text_came(&mut self) {
        self.reported = false;
        self.moved = false;
    }

    /// A connection has done all that it was made for.
    pub fn completed(&mut self) {
        self.retries = 0;
    }

    /// A connection failed that had `served` for this long, if at all. `has_next_model` says that
    /// there is another model to ask for.
    pub fn failed(
        &mut self,
        failure: &Failure,
        served: Option<Duration>,
        policy: RetryPolicy,
        has_next_model: bool,
        now: Duration,
    ) -> Verdict {
        if served.is_some_and(|served| served >= GOOD_CONNECTION) {
            self.retries = 0;
            self.reported = false;
            self.moved = false;
        }
        if let Some(wait) = self.wait_of_move(failure, served, now) {
            return Verdict::MoveAfter(wait);
        }
        if self.retries == 0 {
            self.since = now;
        }
        let history = History {
            retries: self.retries,
            lasted: now.saturating_sub(self.since),
            connected_before: self.connected_before,
            is_live: self.is_live,
            has_next_model,
        };
        let verdict = verdict(failure, history, policy, self.random.f64());
        self.patience = retry::patience(failure.kind, history, policy);
        match verdict {
            Verdict::RetryAfter(_) => self.retries = self.retries.saturating_add(1),
            // All that was tried was tried with the other one.
            Verdict::NextModel => self.retries = 0,
            Verdict::GiveUp | Verdict::MoveAfter(_) => {}
        }
        verdict
    }

    /// The wait before the next attempt, if the failure is part of a move to another server.
    fn wait_of_move(
        &mut self,
        failure: &Failure,
        served: Option<Duration>,
        now: Duration,
    ) -> Option<Duration> {
        let leaves = failure.invitation == Invitation::AtOnce;
        if leaves && served.is_some() && !std::mem::replace(&mut self.moved, true) {
            self.moving_since = Some(now);
            return Some(Duration::ZERO);
        }
        let began = self.moving_since?;
        let refused = failure.http_status == Some(503) && failure.retry_after.is_none();
        if refused && now < began + MAX_MOVE {
            return Some(MIN_WAIT.mul_f64(1.0 + self.random.f64()));
        }
        self.moving_since = None;
        None
    }

    /// If the user has yet to be told of this outage, how long the service is tried again; marks it
    /// as told.
    pub fn report(&mut self) -> Option<Patience> {
        let is_told = std::mem::replace(&mut self.reported, true);
        (!is_told).then_some(self.patience)
    }

    /// Records the reason of the latest failed attempt. Returns whether it differs from the
    /// previous one.
    pub fn is_news(&mut self, failure: Failure) -> bool {
        let same = |latest: &Failure| latest.is_like(&failure);
        let news = !self.latest.as_ref().is_some_and(same);
        self.latest = Some(failure);
        news
    }

    /// The reason of the latest failed attempt.
    pub fn take_latest(&mut self) -> Option<Failure> {
        self.latest.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Kind, Statement};

    const SECOND: Duration = Duration::from_secs(1);
    const POLICY: RetryPolicy = RetryPolicy {
        keep_going: false,
        max_retries: Some(2),
        addresses: 1,
    };

    fn lost() -> Failure {
        Failure::new(Kind::Lost, "Gone.", "Wait.")
    }

    #[test]
    fn retries_are_those_of_one_outage() {
        let mut outage = Outage::new(false, 1);
        let mut fails = |served, now| outage.failed(&lost(), served, POLICY, false, now);
        assert_ne!(fails(Some(SECOND), SECOND), Verdict::GiveUp);
        assert_ne!(fails(None, 2 * SECOND), Verdict::GiveUp);
        assert_eq!(fails(None, 3 * SECOND), Verdict::GiveUp);
        let served = Some(GOOD_CONNECTION);
        assert_ne!(fails(served, 20 * SECOND), Verdict::GiveUp, "another one");
    }

    #[test]
    fn an_outage_is_news_once_until_text_comes() {
        let mut outage = Outage::new(false, 1);
        assert!(outage.report().is_some() && outage.report().is_none());
        outage.failed(&lost(), Some(SECOND), POLICY, false, SECOND);
        assert_eq!(outage.report(), None, "it broke at once");
        outage.text_came();
        assert_eq!(outage.report(), Some(Patience::Attempts(2)));
        assert!(outage.is_news(lost()) && !outage.is_news(lost()));
        let said = |time: &str| {
            let what = Statement::from("No: ").quoting(time).then(".");
            Failure::new(Kind::Unreachable, what, "Wait.").with_http_status(503)
        };
        assert!(outage.is_news(said("busy at 12:00:01")));
        assert!(!outage.is_news(said("busy at 12:00:02")), "the same");
        assert!(outage.is_news(said("busy").with_http_status(502)));
        assert!(outage.is_news(Failure::new(Kind::Lost, "Full.", "Wait.")));
        assert_eq!(outage.take_latest().unwrap().what.to_string(), "Full.");
    }

    #[test]
    fn a_server_that_leaves_and_one_that_has_no_room_meanwhile_are_no_outage() {
        let leaves = lost().inviting(Invitation::AtOnce);
        let full = Failure::new(Kind::Unreachable, "Full.", "Wait.")
            .inviting(Invitation::Soon)
            .with_http_status(503);
        let moves = |verdict| matches!(verdict, Verdict::MoveAfter(_));
        let mut outage = Outage::new(true, 1);
        outage.ready();
        let mut fails = |failure, served, now| outage.failed(failure, served, POLICY, false, now);
        let at_once = Verdict::MoveAfter(Duration::ZERO);
        assert_eq!(fails(&leaves, Some(SECOND), SECOND), at_once);
        assert!(moves(fails(&full, None, 2 * SECOND)));
        assert!(!moves(fails(&full, None, 3 * SECOND)), "it takes too long");
        assert!(!moves(fails(&full, None, 3 * SECOND)));
        assert!(!moves(fails(&leaves, Some(SECOND), 4 * SECOND)), "a loop");
        outage.text_came();
        let mut fails = |failure, served, now| outage.failed(failure, served, POLICY, false, now);
        assert!(
            !moves(fails(&leaves, None, 9 * SECOND)),
            "it never was there"
        );
        assert_eq!(fails(&leaves, Some(SECOND), 10 * SECOND), at_once);
        let asks_for_time = full.clone().with_retry_after(Some(SECOND));
        assert!(!moves(fails(&asks_for_time, None, 11 * SECOND)));
    }

    #[test]
    fn another_model_is_tried_as_often_as_the_one_before() {
        let gone = Failure::new(Kind::NoModel, "No.", "Wait.");
        let policy = RetryPolicy {
            addresses: 2,
            ..POLICY
        };
        let mut outage = Outage::new(false, 1);
        let mut fails = |has_next, now| outage.failed(&gone, None, policy, has_next, now);
        assert!(matches!(fails(true, SECOND), Verdict::RetryAfter(_)));
        assert_eq!(fails(true, 2 * SECOND), Verdict::NextModel);
        assert!(matches!(fails(false, 3 * SECOND), Verdict::RetryAfter(_)));
        assert_eq!(fails(false, 4 * SECOND), Verdict::GiveUp);
    }

    #[test]
    fn a_model_that_was_there_may_come_back() {
        let gone = Failure::new(Kind::NoModel, "No.", "Wait.");
        let policy = RetryPolicy {
            max_retries: None,
            ..POLICY
        };
        let mut outage = Outage::new(false, 1);
        assert_eq!(
            outage.failed(&gone, None, policy, false, SECOND),
            Verdict::GiveUp
        );
        outage.ready();
        assert_ne!(
            outage.failed(&gone, None, policy, false, SECOND),
            Verdict::GiveUp
        );
    }
}
