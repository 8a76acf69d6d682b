// SPDX-License-Identifier: MPL-2.0
//! Whether and when to try again, as pure functions.

use std::time::Duration;

use crate::protocol::Kind;

/// The first wait after a failure is up to this long, and doubles each time.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Nobody is served by a client that hammers.
const SHORTEST_WAIT: Duration = Duration::from_millis(50);

/// Limits of an account recover within about a minute.
const LIMIT_WAIT: Duration = Duration::from_secs(60);

/// What somebody has to mend is looked at again this often, and ever more rarely.
const MENDING_WAIT: Duration = Duration::from_secs(60);
const LONGEST_MENDING_WAIT: Duration = Duration::from_secs(600);

/// What to do about failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Never give up, not even where somebody has to mend something first.
    pub keep_going: bool,
    /// Attempts in an outage before giving up; `None` is no limit. Means nothing with
    /// `keep_going`.
    pub max_retries: Option<u32>,
}

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    GiveUp,
    RetryAfter(Duration),
}

/// Decides. `retries` counts those of this outage so far, `connected_before` is whether the
/// service ever accepted the session, and `random` in [0, 1) spreads clients that fail together.
pub(super) fn verdict(
    kind: Kind,
    retries: u32,
    connected_before: bool,
    policy: RetryPolicy,
    random: f64,
) -> Verdict {
    let needs_mending = match kind {
        Kind::Unauthorized | Kind::NotFound | Kind::Settings => true,
        // A name that was never found is a wrong one; later on the name service has failed.
        Kind::UnknownHost => !connected_before,
        Kind::Limit | Kind::Unreachable | Kind::Lost => false,
    };
    let exhausted = policy.max_retries.is_some_and(|most| retries >= most);
    if !policy.keep_going && (needs_mending || exhausted) {
        return Verdict::GiveUp;
    }
    let (floor, window) = if needs_mending && kind != Kind::UnknownHost {
        (
            MENDING_WAIT,
            doubled(MENDING_WAIT, retries, LONGEST_MENDING_WAIT),
        )
    } else if kind == Kind::Limit {
        (
            LIMIT_WAIT,
            doubled(LIMIT_WAIT, retries, LONGEST_MENDING_WAIT),
        )
    } else {
        (Duration::ZERO, doubled(FIRST_WAIT, retries, LONGEST_WAIT))
    };
    let wait = floor + window.mul_f64(random.clamp(0.0, 1.0));
    Verdict::RetryAfter(wait.max(SHORTEST_WAIT))
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
    };
    const PATIENT: RetryPolicy = RetryPolicy {
        keep_going: true,
        max_retries: Some(0),
    };

    fn secs(seconds: f64) -> Verdict {
        RetryAfter(Duration::from_secs_f64(seconds))
    }

    #[test]
    fn causes_are_treated_as_they_deserve() {
        for (kind, before, strict, patient) in [
            (Kind::Unauthorized, true, GiveUp, secs(90.0)),
            (Kind::NotFound, true, GiveUp, secs(90.0)),
            (Kind::Settings, false, GiveUp, secs(90.0)),
            (Kind::UnknownHost, false, GiveUp, secs(0.25)),
            (Kind::UnknownHost, true, secs(0.25), secs(0.25)),
            (Kind::Limit, false, secs(90.0), secs(90.0)),
            (Kind::Unreachable, false, secs(0.25), secs(0.25)),
            (Kind::Lost, true, secs(0.25), secs(0.25)),
        ] {
            assert_eq!(verdict(kind, 0, before, STRICT, 0.5), strict, "{kind:?}");
            assert_eq!(verdict(kind, 0, before, PATIENT, 0.5), patient, "{kind:?}");
        }
    }

    #[test]
    fn waits_double_up_to_a_limit_and_are_spread() {
        let wait = |retries, random| verdict(Kind::Lost, retries, true, STRICT, random);
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
        };
        assert_ne!(verdict(Kind::Lost, 1, true, policy, 0.5), GiveUp);
        assert_eq!(verdict(Kind::Lost, 2, true, policy, 0.5), GiveUp);
        let never = RetryPolicy {
            max_retries: Some(0),
            ..policy
        };
        assert_eq!(verdict(Kind::Limit, 0, true, never, 0.5), GiveUp);
    }
}
