// SPDX-License-Identifier: MPL-2.0
//! Tracks an outage for the session: how long it has lasted, how often the connection was retried,
//! and what the user was told. An outage starts when a serving connection is lost (or the first one
//! cannot be opened), and is over when text arrives again.

use std::time::Duration;

use super::retry::{History, RetryPolicy, Verdict, verdict};
use crate::protocol::Failure;

/// A connection that served this long was sound: its failure starts another outage.
const GOOD_CONNECTION: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Outage {
    /// Number of attempts to reconnect so far.
    retries: u32,
    since: Duration,
    /// Whether the service ever accepted the session.
    connected_before: bool,
    /// Whether the user was told. A connection that breaks at once does not end an outage.
    reported: bool,
    latest: Option<Failure>,
    /// Spreads the waits of clients that fail together.
    random: fastrand::Rng,
}

impl Outage {
    pub fn new(seed: u64) -> Self {
        Self {
            retries: 0,
            since: Duration::ZERO,
            connected_before: false,
            reported: false,
            latest: None,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// The service accepted the session.
    pub fn ready(&mut self) {
        self.connected_before = true;
    }

    /// A final arrived: any later failure starts another outage.
    pub fn text_came(&mut self) {
        self.reported = false;
    }

    /// A connection failed that had `served` for this long, if at all.
    pub fn failed(
        &mut self,
        failure: &Failure,
        served: Option<Duration>,
        policy: RetryPolicy,
        now: Duration,
    ) -> Verdict {
        if served.is_some_and(|served| served >= GOOD_CONNECTION) {
            self.retries = 0;
            self.reported = false;
        }
        if self.retries == 0 {
            self.since = now;
        }
        let history = History {
            retries: self.retries,
            lasted: now.saturating_sub(self.since),
            connected_before: self.connected_before,
        };
        let verdict = verdict(failure, history, policy, self.random.f64());
        if matches!(verdict, Verdict::RetryAfter(_)) {
            self.retries = self.retries.saturating_add(1);
        }
        verdict
    }

    /// Whether the user has yet to be told of this outage; marks it as told.
    pub fn report(&mut self) -> bool {
        !std::mem::replace(&mut self.reported, true)
    }

    /// Records the reason of the latest failed attempt. Returns whether it differs from the
    /// previous one.
    pub fn is_news(&mut self, failure: Failure) -> bool {
        let same = |latest: &Failure| latest.what == failure.what;
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
    use crate::protocol::Kind;

    const SECOND: Duration = Duration::from_secs(1);
    const POLICY: RetryPolicy = RetryPolicy {
        keep_going: false,
        max_retries: Some(2),
    };

    fn lost() -> Failure {
        Failure::new(Kind::Lost, "Gone.", "Wait.")
    }

    #[test]
    fn retries_are_those_of_one_outage() {
        let mut outage = Outage::new(1);
        let mut fails = |served, now| outage.failed(&lost(), served, POLICY, now);
        assert_ne!(fails(Some(SECOND), SECOND), Verdict::GiveUp);
        assert_ne!(fails(None, 2 * SECOND), Verdict::GiveUp);
        assert_eq!(fails(None, 3 * SECOND), Verdict::GiveUp);
        let served = Some(GOOD_CONNECTION);
        assert_ne!(fails(served, 20 * SECOND), Verdict::GiveUp, "another one");
    }

    #[test]
    fn an_outage_is_news_once_until_text_comes() {
        let mut outage = Outage::new(1);
        assert!(outage.report() && !outage.report());
        outage.failed(&lost(), Some(SECOND), POLICY, SECOND);
        assert!(!outage.report(), "it broke at once");
        outage.text_came();
        assert!(outage.report());
        assert!(outage.is_news(lost()) && !outage.is_news(lost()));
        assert!(outage.is_news(Failure::new(Kind::Lost, "Full.", "Wait.")));
        assert_eq!(outage.take_latest().unwrap().what.to_string(), "Full.");
    }

    #[test]
    fn a_model_that_was_there_may_come_back() {
        let gone = Failure::new(Kind::NotFound, "No.", "Wait.");
        let policy = RetryPolicy {
            max_retries: None,
            ..POLICY
        };
        let mut outage = Outage::new(1);
        assert_eq!(outage.failed(&gone, None, policy, SECOND), Verdict::GiveUp);
        outage.ready();
        assert_ne!(outage.failed(&gone, None, policy, SECOND), Verdict::GiveUp);
    }
}
