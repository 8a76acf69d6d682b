// SPDX-License-Identifier: MPL-2.0
//! Detects that a live source has stopped in the middle of an utterance: no silence will end the
//! utterance then, so the session does. A source that is not live may take any time. Used by the
//! session.

use std::time::Duration;

/// A live source whose audio has been missing for this long has stalled, rather than being late.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Stall {
    is_live: bool,
    flow: Flow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// No audio has arrived yet, or none since a stall.
    Dry,
    Flowing {
        latest: Duration,
    },
    /// The source has stalled: the remaining audio is taken, however little it is.
    Draining,
}

impl Stall {
    pub fn new(is_live: bool) -> Self {
        Self {
            is_live,
            flow: Flow::Dry,
        }
    }

    /// Audio arrived: a `whole` chunk, or the remainder of one.
    pub fn flows(&mut self, whole: bool, now: Duration) {
        if whole || !self.is_draining() {
            self.flow = Flow::Flowing { latest: now };
        }
    }

    /// Audio could not be taken until now, so its absence does not indicate a stall.
    pub fn restart(&mut self, now: Duration) {
        if let Flow::Flowing { latest } = &mut self.flow {
            *latest = now;
        }
    }

    /// When the source counts as stalled, if nothing arrives before.
    pub fn deadline(&self) -> Option<Duration> {
        match self.flow {
            Flow::Flowing { latest } if self.is_live => Some(latest + PATIENCE),
            _ => None,
        }
    }

    /// The source has stalled.
    pub fn begin(&mut self) {
        self.flow = Flow::Draining;
    }

    /// Whether the source has stalled, and received audio may be left.
    pub fn is_draining(&self) -> bool {
        self.flow == Flow::Draining
    }

    /// All received audio has been taken.
    pub fn end(&mut self) {
        self.flow = Flow::Dry;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_source_stalls_once_until_it_flows_again() {
        let mut stall = Stall::new(true);
        assert_eq!(stall.deadline(), None, "before any audio");
        stall.flows(true, SECOND);
        stall.flows(false, 2 * SECOND);
        assert_eq!(stall.deadline(), Some(2 * SECOND + PATIENCE));
        stall.restart(9 * SECOND);
        assert_eq!(stall.deadline(), Some(9 * SECOND + PATIENCE));
        stall.begin();
        stall.flows(false, 11 * SECOND);
        assert!(stall.is_draining() && stall.deadline().is_none());
        stall.end();
        assert!(!stall.is_draining() && stall.deadline().is_none());
        stall.flows(true, 20 * SECOND);
        stall.begin();
        stall.flows(true, 22 * SECOND);
        assert!(!stall.is_draining(), "it was late only");
        assert!(stall.deadline().is_some());
    }

    #[test]
    fn a_source_that_is_not_live_never_stalls() {
        let mut stall = Stall::new(false);
        stall.flows(true, SECOND);
        assert_eq!(stall.deadline(), None);
    }
}
