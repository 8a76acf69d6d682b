// SPDX-License-Identifier: MPL-2.0
//! Spaces out audio, so that audio available all at once (a file, a replay) is sent no faster than
//! the service recognises it. Used by the session.

use std::time::Duration;

/// A busy machine sends late. This much of the delay may be caught up on by sending faster.
const CREDIT: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct Pacer {
    /// Multiple of real time.
    speed: f64,
    next: Duration,
}

impl Pacer {
    /// `speed` is the maximum as a multiple of real time; zero or less means no limit.
    pub fn new(speed: f64, now: Duration) -> Self {
        Self { speed, next: now }
    }

    /// A new connection starts, over which nothing has been sent.
    pub fn restart(&mut self, now: Duration) {
        self.next = now;
    }

    /// Audio of this length was sent.
    pub fn sent(&mut self, length: Duration, now: Duration) {
        let pause = Duration::try_from_secs_f64(length.as_secs_f64() / self.speed);
        let earliest = now.saturating_sub(CREDIT);
        self.next = self.next.max(earliest) + pause.unwrap_or(length);
    }

    /// When the next audio may be sent.
    pub fn next(&self) -> Duration {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn audio_goes_at_its_speed_and_credit_is_small() {
        let mut pacer = Pacer::new(2.0, MS(0));
        let mut now = MS(0);
        for _ in 0..20 {
            now = now.max(pacer.next());
            pacer.sent(MS(100), now);
        }
        assert_eq!(pacer.next(), MS(1000));
        // A pause of the source is not caught up on with a burst.
        now += MS(60_000);
        pacer.sent(MS(100), now);
        assert_eq!(pacer.next(), now, "as much as the credit");
        pacer.sent(MS(100), now);
        assert_eq!(pacer.next(), now + MS(50));
        pacer.restart(now);
        assert_eq!(pacer.next(), now);
    }

    #[test]
    fn speeds_that_are_none_do_no_harm() {
        for speed in [0.0, -1.0, f64::NAN, f64::MIN_POSITIVE] {
            let mut pacer = Pacer::new(speed, MS(0));
            pacer.sent(MS(100), MS(0));
            assert_eq!(pacer.next(), MS(100), "{speed}");
        }
        let mut pacer = Pacer::new(f64::INFINITY, MS(0));
        pacer.sent(MS(100), MS(70));
        assert_eq!(pacer.next(), MS(20));
    }
}
