// SPDX-License-Identifier: MPL-2.0
//! Notices when a live source has stopped in the middle of an utterance: no silence will end it
//! then, so the session does. A source that is not live may take its time.

use std::time::Duration;

/// Audio of a live source that has been missing for this long is not only late.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Stall {
    is_live: bool,
    flow: Flow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// There was no audio yet, or none since a stall.
    Dry,
    Flowing {
        latest: Duration,
    },
    /// It has stopped: what is left is taken, however little it is.
    Draining,
}

impl Stall {
    pub fn new(is_live: bool) -> Self {
        Self {
            is_live,
            flow: Flow::Dry,
        }
    }

    /// Audio came: a `whole` chunk, or a rest of one.
    pub fn flows(&mut self, whole: bool, now: Duration) {
        if whole || !self.is_draining() {
            self.flow = Flow::Flowing { latest: now };
        }
    }

    /// Audio could not be taken before; that it did not come says nothing.
    pub fn restart(&mut self, now: Duration) {
        if let Flow::Flowing { latest } = &mut self.flow {
            *latest = now;
        }
    }

    /// When the source has stopped, if nothing comes before.
    pub fn deadline(&self) -> Option<Duration> {
        match self.flow {
            Flow::Flowing { latest } if self.is_live => Some(latest + PATIENCE),
            _ => None,
        }
    }

    /// The source has stopped.
    pub fn begin(&mut self) {
        self.flow = Flow::Draining;
    }

    /// Whether it has stopped, and there may be something left of what came.
    pub fn is_draining(&self) -> bool {
        self.flow == Flow::Draining
    }

    /// Everything that came has been taken.
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
