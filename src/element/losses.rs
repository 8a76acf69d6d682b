// SPDX-License-Identifier: MPL-2.0
//! Puts together the audio that the queue to the network has to drop: one message when a loss
//! begins, then at most one in each [`INTERVAL`] with the sum. In an outage of hours every buffer is
//! lost, and a message for each would fill the bus. Filled by the streaming thread; the session's
//! task takes the rest at the end.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::lock;
use crate::net::Lost;

const INTERVAL: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Losses(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Lost, and not reported yet.
    pending: Option<Lost>,
    reported: Option<Instant>,
}

impl Losses {
    /// Adds what was lost for a buffer, if anything was. Returns what to report now.
    pub fn add(&self, lost: Option<Lost>) -> Option<Lost> {
        let mut state = lock(&self.0);
        state.add(lost);
        state.pending?;
        state.due(Instant::now())
    }

    /// What is not reported yet, when nothing more comes.
    pub fn take(&self) -> Option<Lost> {
        lock(&self.0).pending.take()
    }
}

impl State {
    fn add(&mut self, lost: Option<Lost>) {
        let Some(lost) = lost else { return };
        let sum = self.pending.get_or_insert(Lost {
            duration: Duration::ZERO,
            ..lost
        });
        sum.duration += lost.duration;
    }

    fn due(&mut self, now: Instant) -> Option<Lost> {
        let is_early = |reported| now.saturating_duration_since(reported) < INTERVAL;
        if self.pending.is_none() || self.reported.is_some_and(is_early) {
            return None;
        }
        self.reported = Some(now);
        self.pending.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::Timestamp;

    #[test]
    fn a_loss_is_reported_when_it_begins_and_then_in_sums() {
        const BUFFER: Duration = Duration::from_millis(20);
        let start = Instant::now();
        let mut state = State::default();
        let mut reports = Vec::new();
        // A minute in which all is lost, and a minute later a single buffer.
        for n in (0..3000).chain([6000]).chain(6001..6600) {
            let time = Timestamp::from_nanos(u64::from(n * 20) * 1_000_000);
            let is_lost = n < 3000 || n == 6000;
            state.add(is_lost.then_some(Lost {
                time,
                duration: BUFFER,
            }));
            let now = start + n * BUFFER;
            reports.extend(state.due(now).map(|lost| (n, lost.time, lost.duration)));
        }
        let at = |n: u64| Timestamp::from_nanos(n * 20_000_000);
        let second = Duration::from_secs;
        let mut expected = vec![(0, at(0), BUFFER)];
        expected.extend((1..6).map(|n| (500 * n, at(500 * u64::from(n) - 499), second(10))));
        // What is left of the first loss comes with the next one.
        expected.push((6000, at(2501), second(10)));
        assert_eq!(reports, expected);
    }
}
