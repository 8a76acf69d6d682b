// SPDX-License-Identifier: MPL-2.0
//! Rotation: decides when a connection is replaced by another one, without an outage.
//!
//! Services cut very old connections, and some settings only apply from the next connection. So a
//! successor is opened beside the serving connection and takes over the audio at the end of an
//! utterance, and the old connection retires in good order. All of the audio before the seam is the
//! old connection's, and all of it after is the new one's: none is sent twice, or delayed. The new
//! connection's reports wait for the old one's final text. The steps are taken by the
//! [`Session`](super::Session).

use std::time::Duration;

/// Length of audio without anything loud that makes it safe to switch without cutting a word.
pub(super) const QUIET: Duration = Duration::from_millis(500);

/// Noise is never quiet. A successor that has waited this long takes over while no utterance is
/// open, and audio that may belong to the next utterance is sent again.
pub(super) const NOISE: Duration = Duration::from_secs(10);

/// Maximum time that a successor waits for its audio: longer, and it would need keep-alives.
/// Protocols with a shorter keep-alive interval limit it further.
pub(super) const MAX_STANDBY: Duration = Duration::from_secs(55);

/// Maximum time that the new connection's finals wait for those of the retiring one.
pub(super) const MAX_RETIREMENT: Duration = Duration::from_secs(5);

/// Delay before a failed rotation is tried again; doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const MAX_DOUBLINGS: u32 = 4;

#[derive(Debug)]
pub(super) struct Rotation {
    /// Age at which a connection is replaced.
    after: Duration,
    /// When the serving connection is old enough, or the next attempt is due.
    due: Duration,
    /// Number of failed attempts in a row.
    attempts: u32,
    /// Settings have changed that only apply from the next connection.
    demanded: bool,
    /// Spreads sessions that started together.
    random: fastrand::Rng,
}

impl Rotation {
    pub fn new(after: Duration, seed: u64) -> Self {
        Self {
            after,
            due: Duration::MAX,
            attempts: 0,
            demanded: false,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// A connection has started to serve.
    pub fn schedule(&mut self, now: Duration) {
        let age = 1.0 - self.random.f64() / 10.0;
        self.due = now.saturating_add(self.after.mul_f64(age));
        self.attempts = 0;
        self.demanded = false;
    }

    /// The next connection is needed now.
    pub fn demand(&mut self, now: Duration) {
        self.due = now;
        self.attempts = 0;
        self.demanded = true;
    }

    /// Whether the next connection is needed for changed settings.
    pub fn is_demanded(&self) -> bool {
        self.demanded
    }

    /// The successor failed, or found no seam.
    pub fn postpone(&mut self, now: Duration) {
        let pause = FIRST_PAUSE * (1 << self.attempts.min(MAX_DOUBLINGS));
        self.attempts += 1;
        self.due = now + pause + pause.mul_f64(self.random.f64());
    }

    pub fn is_due(&self, now: Duration) -> bool {
        now >= self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_that_began_together_rotate_apart_and_patience_grows() {
        let hour = Duration::from_secs(3600);
        let due = |seed| {
            let mut rotation = Rotation::new(hour, seed);
            assert!(
                !rotation.is_due(hour * 1000),
                "before there is a connection"
            );
            rotation.schedule(Duration::ZERO);
            assert!(rotation.due >= hour.mul_f64(0.9) && rotation.is_due(hour));
            rotation.due
        };
        assert_ne!(due(1), due(2));
        let mut rotation = Rotation::new(hour, 1);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            rotation.postpone(Duration::ZERO);
            pauses.push(rotation.due.as_secs());
        }
        assert!(pauses[0] >= 60 && pauses[0] < 120, "{pauses:?}");
        assert!(pauses[7] >= 960 && pauses[7] < 1920, "{pauses:?}");
    }
}
