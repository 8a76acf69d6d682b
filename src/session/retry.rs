// SPDX-License-Identifier: MPL-2.0
//! Retry policy: whether and when to try again, as pure functions. Called by
//! [`Outage`](super::outage::Outage).

use std::time::Duration;

use crate::protocol::{Failure, Invitation, Kind};

/// Maximum of the first wait after a failure; doubles with each attempt.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Cap on the back-off while no peer answers at all (DNS, no route, timeout): retries cost the
/// service nothing then, the random part of the waits spreads many sessions, and captions resume
/// seconds after the network does. After `UNANSWERED` the usual cap applies, since a long outage is
/// more likely.
const MAX_UNANSWERED_WAIT: Duration = Duration::from_millis(1500);
const UNANSWERED: Duration = Duration::from_secs(300);

/// Lower bound of every wait, so that a random 0 is never an immediate retry.
pub(super) const MIN_WAIT: Duration = Duration::from_millis(50);

/// Waits for a fleet of servers that has no room, from 200 ms to 2 s: it has room as soon as another
/// connection ends or a server has started.
const MIN_BUSY_WAIT: Duration = Duration::from_millis(200);
const FIRST_BUSY_WINDOW: Duration = Duration::from_millis(400);
const MAX_BUSY_WINDOW: Duration = Duration::from_millis(1800);

/// Attempts after which a fleet that takes no such connection counts as not having the model.
const MAX_BUSY_MISSES: u32 = 10;

/// An account's rate limits recover within about a minute.
const LIMIT_WAIT: Duration = Duration::from_secs(60);

/// Attempts in an outage after which a model or endpoint that existed before counts as gone.
const MAX_MISSES: u32 = 3;

/// First wait, and cap on the back-off, for a failure that needs a person to fix something.
const MENDING_WAIT: Duration = Duration::from_secs(60);
const MAX_MENDING_WAIT: Duration = Duration::from_secs(600);

/// How long a service that was never reached is tried for a source that is not live: it would wait,
/// and whoever started the job with it. In a live pipeline nobody waits.
const MAX_FIRST_CONNECTION: Duration = Duration::from_secs(60);

/// How to react to failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Never give up, not even if a person has to fix something first.
    pub keep_going: bool,
    /// Number of attempts in an outage before giving up; `None` means no limit, once the service was
    /// reached. Ignored with `keep_going`.
    pub max_retries: Option<u32>,
    /// Number of addresses, all of which are tried before it is a failure that there is no such host
    /// or model at one of them.
    pub addresses: u32,
}

/// The reaction to a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    GiveUp,
    RetryAfter(Duration),
    /// Move to another server of the same fleet: no outage unless that fails.
    MoveAfter(Duration),
    /// Ask for the next model, at once.
    NextModel,
}

/// How long a service is tried again, as far as that is known after a failure: the next attempt may
/// fail for another reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// No limit is known.
    Unknown,
    /// Until it works.
    Unlimited,
    /// For [`MAX_FIRST_CONNECTION`], and as long as an attempt takes.
    FirstConnection,
    /// This many times, unless it works before.
    Attempts(u32),
}

/// The state of the outage at the time of the failure.
#[derive(Debug, Clone, Copy)]
pub(super) struct History {
    /// Number of attempts in this outage so far.
    pub retries: u32,
    /// How long this outage has lasted.
    pub lasted: Duration,
    /// Whether the service ever accepted the session.
    pub connected_before: bool,
    /// Whether the source is live.
    pub is_live: bool,
    /// Whether there is another model to ask for.
    pub has_next_model: bool,
}

/// Decides how to react. `random` in [0, 1) spreads clients that fail together.
pub(super) fn verdict(
    failure: &Failure,
    history: History,
    policy: RetryPolicy,
    random: f64,
) -> Verdict {
    let (kind, retries) = (failure.kind, history.retries);
    let is_busy = failure.invitation == Invitation::Soon;
    let has_untried = retries.saturating_add(1) < policy.addresses;
    if has_untried && !matches!(kind, Kind::Unauthorized | Kind::Settings) {
        return Verdict::RetryAfter(MIN_WAIT.mul_f64(1.0 + random.clamp(0.0, 1.0)));
    }
    let is_deployed = is_busy && retries < MAX_BUSY_MISSES;
    if kind == Kind::NoModel && history.has_next_model && !is_deployed {
        return Verdict::NextModel;
    }
    let needs_mending = match kind {
        Kind::Unauthorized | Kind::Settings => true,
        Kind::NoModel if is_busy => !is_deployed,
        // A model or endpoint that existed a moment ago may be in the middle of a deployment.
        Kind::NotFound | Kind::NoModel => !history.connected_before || retries >= MAX_MISSES,
        // A host name that never resolved is wrong; one that did means that DNS has failed.
        Kind::UnknownHost => !history.connected_before,
        Kind::Limit | Kind::Unreachable | Kind::Lost => false,
    };
    let exhausted = policy.max_retries.is_some_and(|most| retries >= most);
    let is_impatient = is_impatient(kind, history, policy);
    let left = MAX_FIRST_CONNECTION.saturating_sub(history.lasted);
    let too_long = is_impatient && left.is_zero();
    if !policy.keep_going && (needs_mending || exhausted || too_long) {
        return Verdict::GiveUp;
    }
    let is_recent = history.lasted < UNANSWERED;
    let (floor, first, longest) = if needs_mending && kind != Kind::UnknownHost {
        (MENDING_WAIT, MENDING_WAIT, MAX_MENDING_WAIT)
    } else if is_busy && is_recent {
        (MIN_BUSY_WAIT, FIRST_BUSY_WINDOW, MAX_BUSY_WINDOW)
    } else if kind == Kind::Limit && !is_busy {
        (LIMIT_WAIT, LIMIT_WAIT, MAX_MENDING_WAIT)
    } else if failure.unanswered && is_recent {
        (Duration::ZERO, FIRST_WAIT, MAX_UNANSWERED_WAIT)
    } else {
        (Duration::ZERO, FIRST_WAIT, MAX_WAIT)
    };
    let asked_for = failure.retry_after.unwrap_or_default();
    let floor = floor.max(asked_for.min(MAX_MENDING_WAIT));
    let window = doubled(first, retries, longest);
    let wait = floor + window.mul_f64(random.clamp(0.0, 1.0));
    let wait = if is_impatient && !policy.keep_going {
        wait.min(left)
    } else {
        wait
    };
    Verdict::RetryAfter(wait.max(MIN_WAIT))
}

/// Whether [`MAX_FIRST_CONNECTION`] counts. An account's limit is a queue, in which it is worth
/// waiting.
fn is_impatient(kind: Kind, history: History, policy: RetryPolicy) -> bool {
    !history.is_live
        && !history.connected_before
        && policy.max_retries.is_none()
        && kind != Kind::Limit
}

/// How long the service is tried again after a failure for which [`verdict`] is to do so.
pub(super) fn patience(kind: Kind, history: History, policy: RetryPolicy) -> Patience {
    let is_passing = matches!(kind, Kind::Limit | Kind::Unreachable | Kind::Lost);
    match policy.max_retries {
        _ if policy.keep_going => Patience::Unlimited,
        _ if !is_passing => Patience::Unknown,
        Some(most) => {
            let most = most.max(policy.addresses.saturating_sub(1));
            Patience::Attempts(most.saturating_sub(history.retries))
        }
        None if is_impatient(kind, history, policy) => Patience::FirstConnection,
        None => Patience::Unlimited,
    }
}

fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::*;

    const STRICT: RetryPolicy = RetryPolicy {
        keep_going: false,
        max_retries: None,
        addresses: 1,
    };
    const PATIENT: RetryPolicy = RetryPolicy {
        keep_going: true,
        max_retries: Some(0),
        addresses: 1,
    };

    fn failure(kind: Kind) -> Failure {
        Failure::new(kind, "No.", "Wait.")
    }

    fn history(retries: u32, connected_before: bool) -> History {
        History {
            retries,
            lasted: Duration::ZERO,
            connected_before,
            is_live: true,
            has_next_model: false,
        }
    }

    fn secs(seconds: f64) -> Verdict {
        RetryAfter(Duration::from_secs_f64(seconds))
    }

    #[test]
    fn causes_are_treated_as_they_deserve() {
        for (kind, before, strict, patient) in [
            (Kind::Unauthorized, true, GiveUp, secs(90.0)),
            (Kind::NotFound, false, GiveUp, secs(90.0)),
            (Kind::NoModel, false, GiveUp, secs(90.0)),
            (Kind::NoModel, true, secs(0.25), secs(0.25)),
            (Kind::NotFound, true, secs(0.25), secs(0.25)),
            (Kind::Settings, false, GiveUp, secs(90.0)),
            (Kind::UnknownHost, false, GiveUp, secs(0.25)),
            (Kind::UnknownHost, true, secs(0.25), secs(0.25)),
            (Kind::Limit, false, secs(90.0), secs(90.0)),
            (Kind::Unreachable, false, secs(0.25), secs(0.25)),
            (Kind::Lost, true, secs(0.25), secs(0.25)),
        ] {
            let verdict = |policy| verdict(&failure(kind), history(0, before), policy, 0.5);
            assert_eq!(verdict(STRICT), strict, "{kind:?}");
            assert_eq!(verdict(PATIENT), patient, "{kind:?}");
        }
    }

    #[test]
    fn waits_double_up_to_a_limit_and_are_spread() {
        let lost = failure(Kind::Lost);
        let wait = |retries, random| verdict(&lost, history(retries, true), STRICT, random);
        assert_eq!(wait(0, 1.0), secs(0.5));
        assert_eq!(wait(1, 1.0), secs(1.0));
        assert_eq!(wait(5, 1.0), secs(16.0));
        assert_eq!(wait(6, 1.0), secs(30.0));
        assert_eq!(wait(u32::MAX, 1.0), secs(30.0));
        assert_eq!(wait(6, 0.1), secs(3.0));
        assert_eq!(wait(9, 0.0), secs(0.05), "never at once");
    }

    #[test]
    fn retries_may_be_limited() {
        let policy = RetryPolicy {
            keep_going: false,
            max_retries: Some(2),
            addresses: 1,
        };
        let verdict =
            |kind, retries, policy| verdict(&failure(kind), history(retries, true), policy, 0.5);
        assert_ne!(verdict(Kind::Lost, 1, policy), GiveUp);
        assert_eq!(verdict(Kind::Lost, 2, policy), GiveUp);
        let (strict, patient) = (STRICT, PATIENT);
        assert_ne!(verdict(Kind::NotFound, 2, strict), GiveUp);
        assert_eq!(verdict(Kind::NotFound, 3, strict), GiveUp);
        assert_ne!(verdict(Kind::NotFound, 3, patient), GiveUp);
        let never = RetryPolicy {
            max_retries: Some(0),
            ..policy
        };
        assert_eq!(verdict(Kind::Limit, 0, never), GiveUp);
    }

    #[test]
    fn a_file_does_not_wait_for_ever_for_a_service_that_was_never_there() {
        let file = History {
            lasted: MAX_FIRST_CONNECTION,
            is_live: false,
            ..history(9, false)
        };
        let verdict = |kind, history, policy| verdict(&failure(kind), history, policy, 0.5);
        assert_eq!(verdict(Kind::Unreachable, file, STRICT), GiveUp);
        assert_eq!(verdict(Kind::Lost, file, STRICT), GiveUp);
        let lasted = MAX_FIRST_CONNECTION - Duration::from_millis(1);
        let earlier = History { lasted, ..file };
        let live = History {
            is_live: true,
            ..file
        };
        let reached = History {
            connected_before: true,
            ..file
        };
        let limited = RetryPolicy {
            max_retries: Some(100),
            ..STRICT
        };
        for (kind, history, policy) in [
            (Kind::Limit, file, STRICT),
            (Kind::Unreachable, earlier, STRICT),
            (Kind::Unreachable, live, STRICT),
            (Kind::Unreachable, reached, STRICT),
            (Kind::Unreachable, file, PATIENT),
            (Kind::Unreachable, file, limited),
        ] {
            assert_ne!(verdict(kind, history, policy), GiveUp, "{history:?}");
        }
    }

    #[test]
    fn how_long_it_is_tried_is_known() {
        use Patience::*;
        let limited = RetryPolicy {
            max_retries: Some(3),
            ..STRICT
        };
        let two_addresses = RetryPolicy {
            max_retries: Some(0),
            addresses: 2,
            ..STRICT
        };
        for (kind, is_live, connected_before, policy, expected) in [
            (Kind::Unreachable, false, false, STRICT, FirstConnection),
            (Kind::Unreachable, false, true, STRICT, Unlimited),
            (Kind::Unreachable, true, false, STRICT, Unlimited),
            (Kind::Limit, false, false, STRICT, Unlimited),
            (Kind::NotFound, false, true, STRICT, Unknown),
            (Kind::NotFound, false, true, PATIENT, Unlimited),
            (Kind::Unreachable, false, false, PATIENT, Unlimited),
            (Kind::Lost, true, true, limited, Attempts(3)),
            (Kind::Unreachable, false, false, two_addresses, Attempts(1)),
        ] {
            let history = History {
                is_live,
                ..history(0, connected_before)
            };
            assert_eq!(patience(kind, history, policy), expected, "{kind:?}");
            let verdict = verdict(&failure(kind), history, policy, 0.5);
            assert_ne!(verdict, GiveUp, "{kind:?}");
        }
        assert_eq!(patience(Kind::Lost, history(2, true), limited), Attempts(1));
    }

    #[test]
    fn limits_and_what_needs_mending_are_left_alone_for_minutes() {
        for (kind, retries, random, expected) in [
            (Kind::Limit, 0, 0.0, 60.0),
            (Kind::Limit, 0, 1.0, 120.0),
            (Kind::Limit, 1, 1.0, 180.0),
            (Kind::Limit, 9, 1.0, 660.0),
            (Kind::Unauthorized, 0, 0.0, 60.0),
            (Kind::Settings, 9, 1.0, 660.0),
        ] {
            let verdict = verdict(&failure(kind), history(retries, true), PATIENT, random);
            assert_eq!(verdict, secs(expected), "{kind:?}");
        }
    }

    #[test]
    fn a_fleet_without_room_is_called_on_again_soon() {
        let busy = |kind, retry_after: Option<u64>| {
            failure(kind)
                .inviting(Invitation::Soon)
                .with_retry_after(retry_after.map(Duration::from_secs))
        };
        for (kind, retry_after, retries, shortest, longest) in [
            (Kind::Unreachable, None, 0, 0.2, 0.6),
            (Kind::Limit, Some(1), 1, 1.0, 1.8),
            (Kind::NoModel, None, 2, 0.2, 1.8),
            (Kind::Limit, None, 9, 0.2, 2.0),
            (Kind::Limit, Some(90_000), 0, 600.0, 600.4),
        ] {
            let wait = |random| {
                let failure = busy(kind, retry_after);
                verdict(&failure, history(retries, false), STRICT, random)
            };
            assert_eq!(wait(0.0), secs(shortest), "{kind:?} {retries}");
            assert_eq!(wait(1.0), secs(longest), "{kind:?} {retries}");
        }
        let gone = busy(Kind::NoModel, None);
        let verdict = |retries, has_next_model| {
            let history = History {
                has_next_model,
                ..history(retries, false)
            };
            verdict(&gone, history, STRICT, 0.5)
        };
        assert_eq!(verdict(10, false), GiveUp, "it has no such model");
        assert_eq!(verdict(10, true), NextModel);
        assert_eq!(verdict(9, true), verdict(9, false), "it may come");
    }

    #[test]
    fn the_next_model_is_asked_for_when_no_address_has_the_one_before() {
        let verdict = |kind, retries, before, policy| {
            let history = History {
                has_next_model: true,
                ..history(retries, before)
            };
            verdict(&failure(kind), history, policy, 0.0)
        };
        for before in [false, true] {
            assert_eq!(verdict(Kind::NoModel, 0, before, STRICT), NextModel);
        }
        assert_eq!(verdict(Kind::NotFound, 0, false, STRICT), GiveUp);
        let policy = RetryPolicy {
            addresses: 2,
            max_retries: Some(0),
            ..STRICT
        };
        assert_eq!(verdict(Kind::NoModel, 0, false, policy), secs(0.05));
        assert_eq!(verdict(Kind::NoModel, 1, false, policy), NextModel);
    }

    #[test]
    fn every_address_is_tried_before_that_counts() {
        let policy = RetryPolicy {
            addresses: 3,
            ..STRICT
        };
        let gone = failure(Kind::UnknownHost);
        let verdict =
            |failure: &Failure, retries| verdict(failure, history(retries, false), policy, 0.0);
        assert_eq!(verdict(&gone, 0), secs(0.05));
        assert_eq!(verdict(&gone, 1), secs(0.05));
        assert_eq!(verdict(&gone, 2), GiveUp);
        assert_eq!(verdict(&failure(Kind::Unauthorized), 0), GiveUp);
    }

    #[test]
    fn the_service_is_obeyed_when_it_asks_for_more_time() {
        for (kind, seconds, expected) in [
            (Kind::Unreachable, 7, 7.0),
            (Kind::Limit, 7, 60.0),
            (Kind::Limit, 100, 100.0),
        ] {
            let failure = failure(kind).with_retry_after(Some(Duration::from_secs(seconds)));
            let verdict = verdict(&failure, history(0, true), STRICT, 0.0);
            assert_eq!(verdict, secs(expected), "{kind:?} {seconds}");
        }
    }

    #[test]
    fn where_nobody_answers_the_waits_are_short_for_some_minutes() {
        for (kind, unanswered, retries, lasted, expected) in [
            (Kind::Unreachable, true, 0, 0, 0.5),
            (Kind::Unreachable, true, 1, 1, 1.0),
            (Kind::Unreachable, true, 9, 299, 1.5),
            (Kind::UnknownHost, true, 9, 299, 1.5),
            (Kind::Unreachable, true, 9, 300, 30.0),
            (Kind::Unreachable, false, 9, 20, 30.0),
            (Kind::Limit, true, 0, 0, 120.0),
        ] {
            let failure = Failure {
                unanswered,
                ..failure(kind)
            };
            let history = History {
                lasted: Duration::from_secs(lasted),
                ..history(retries, true)
            };
            let verdict = verdict(&failure, history, STRICT, 1.0);
            assert_eq!(verdict, secs(expected), "{failure:?} {history:?}");
        }
    }
}
