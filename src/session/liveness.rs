// SPDX-License-Identifier: MPL-2.0
//! Watches whether the service is still connected and responds to speech. Used by the session, one
//! for each connection.

use std::time::Duration;

/// Maximum number of times that the patience with an unresponsive service doubles.
const MAX_DOUBLINGS: u32 = 5;

/// Divides the patience with a server that answers speech only with unknown events: unlike a silent
/// one it works, but speaks another protocol.
const FOREIGN_PART: u32 = 3;

/// The action needed to stay connected, or the problem detected.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Send a ping, to check that the peer responds.
    Ping,
    /// Send some silence, so that the connection is not closed for being idle.
    Silence,
    /// The peer no longer responds.
    Dead,
    /// The service responds, but not to the speech it is sent.
    Unresponsive,
    /// It answers speech with events that are unknown to the protocol, and with no text.
    Foreign,
}

/// Watches one connection.
#[derive(Debug)]
pub(super) struct Liveness {
    timeout: Duration,
    keep_alive: Option<Duration>,
    received_at: Duration,
    pinged: bool,
    sent_at: Duration,
    /// Time of the latest result, and length of the loud audio sent since.
    result_at: Duration,
    loud_for: Duration,
    /// Length of the audio sent since the latest loud audio.
    quiet_for: Duration,
    /// How many times in a row the service was found unresponsive.
    unresponsive: u32,
    /// Time of the first unknown event since the latest text, and length of the loud audio sent
    /// since that text.
    foreign_since: Option<Duration>,
    loud_without_text: Duration,
}

impl Liveness {
    /// Audio has to be sent every `keep_alive`. `unresponsive` is how many of the preceding
    /// connections in a row ended because the service was unresponsive.
    pub fn new(
        timeout: Duration,
        keep_alive: Option<Duration>,
        unresponsive: u32,
        now: Duration,
    ) -> Self {
        Liveness {
            timeout,
            keep_alive,
            received_at: now,
            pinged: false,
            sent_at: now,
            result_at: now,
            loud_for: Duration::ZERO,
            quiet_for: Duration::ZERO,
            unresponsive,
            foreign_since: None,
            loud_without_text: Duration::ZERO,
        }
    }

    /// The connection starts serving. `unresponsive` is as in [`Self::new`].
    pub fn restart(&mut self, unresponsive: u32, now: Duration) {
        *self = Liveness::new(self.timeout, self.keep_alive, unresponsive, now);
    }

    pub fn unresponsive(&self) -> u32 {
        self.unresponsive
    }

    /// Anything arrived, including a pong.
    pub fn received(&mut self, now: Duration) {
        self.received_at = now;
        self.pinged = false;
    }

    /// A result arrived.
    pub fn result(&mut self, now: Duration) {
        self.result_at = now;
        self.loud_for = Duration::ZERO;
        self.unresponsive = 0;
    }

    /// Text arrived.
    pub fn text(&mut self) {
        self.foreign_since = None;
        self.loud_without_text = Duration::ZERO;
    }

    /// An event arrived that is unknown to the protocol.
    pub fn unknown(&mut self, now: Duration) {
        self.foreign_since.get_or_insert(now);
    }

    /// When the service counts as speaking another protocol.
    fn foreign_due(&self) -> Option<Duration> {
        let patience = self.timeout / FOREIGN_PART;
        let since = self
            .foreign_since
            .filter(|_| self.loud_without_text >= patience)?;
        Some(since + patience)
    }

    /// Whether a result arrived at or after this time.
    pub fn answered_since(&self, since: Duration) -> bool {
        self.result_at >= since
    }

    /// Audio of this length was sent.
    pub fn sent(&mut self, is_loud: bool, length: Duration, now: Duration) {
        self.sent_at = now;
        if is_loud {
            self.loud_for += length;
            self.loud_without_text += length;
            self.quiet_for = Duration::ZERO;
        } else {
            self.quiet_for += length;
        }
    }

    /// Length of the audio sent since the latest loud audio.
    pub fn quiet_for(&self) -> Duration {
        self.quiet_for
    }

    /// When to call [`Self::need`] again.
    pub fn next(&self) -> Duration {
        let answer = self.received_at
            + if self.pinged {
                self.timeout
            } else {
                self.timeout / 2
            };
        let others = [self.silence_due(), self.foreign_due()];
        let mut next = others.into_iter().flatten().fold(answer, Duration::min);
        if self.loud_for >= self.patience() {
            next = next.min(self.result_at + self.patience());
        }
        next
    }

    pub fn need(&mut self, now: Duration) -> Option<Need> {
        let patience = self.patience();
        if self.foreign_due().is_some_and(|due| now >= due) {
            return Some(Need::Foreign);
        }
        if now >= self.received_at + self.timeout && self.pinged {
            return Some(Need::Dead);
        }
        if self.loud_for >= patience && now >= self.result_at + patience {
            self.unresponsive = (self.unresponsive + 1).min(MAX_DOUBLINGS);
            return Some(Need::Unresponsive);
        }
        if !self.pinged && now >= self.received_at + self.timeout / 2 {
            self.pinged = true;
            return Some(Need::Ping);
        }
        self.silence_due()
            .is_some_and(|due| now >= due)
            .then_some(Need::Silence)
    }

    fn silence_due(&self) -> Option<Duration> {
        self.keep_alive.map(|interval| self.sent_at + interval)
    }

    /// Noise is not speech: when a reconnect changed nothing, the next one is less urgent.
    fn patience(&self) -> Duration {
        self.timeout * (1 << self.unresponsive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const KEEP_ALIVE: Option<Duration> = Some(Duration::from_secs(50));

    fn speak(liveness: &mut Liveness, seconds: std::ops::Range<u32>, is_loud: bool) {
        for second in seconds {
            liveness.sent(is_loud, SECOND, SECOND * second);
        }
    }

    #[test]
    fn silence_from_the_other_side_is_met_with_a_ping_and_then_with_despair() {
        let mut liveness = Liveness::new(SECOND * 10, KEEP_ALIVE, 0, Duration::ZERO);
        assert_eq!(liveness.need(SECOND * 4), None);
        assert_eq!(liveness.next(), SECOND * 5);
        assert_eq!(liveness.need(SECOND * 5), Some(Need::Ping));
        assert_eq!(liveness.need(SECOND * 5), None, "once");
        liveness.received(SECOND * 6);
        assert_eq!(liveness.need(SECOND * 11), Some(Need::Ping));
        assert_eq!(liveness.next(), SECOND * 16);
        assert_eq!(liveness.need(SECOND * 16), Some(Need::Dead));
    }

    #[test]
    fn a_connection_is_kept_from_being_idle() {
        let mut liveness = Liveness::new(SECOND * 10, KEEP_ALIVE, 0, Duration::ZERO);
        liveness.received(SECOND * 49);
        assert_eq!(liveness.need(SECOND * 50), Some(Need::Silence));
        liveness.sent(false, SECOND / 10, SECOND * 50);
        liveness.received(SECOND * 51);
        assert_eq!(liveness.need(SECOND * 51), None);
    }

    #[test]
    fn speech_without_any_result_is_noticed_and_noise_is_borne() {
        let mut liveness = Liveness::new(SECOND * 10, KEEP_ALIVE, 0, Duration::ZERO);
        speak(&mut liveness, 0..12, true);
        liveness.received(SECOND * 12);
        assert_eq!(liveness.need(SECOND * 12), Some(Need::Unresponsive));
        let mut again = Liveness::new(
            SECOND * 10,
            KEEP_ALIVE,
            liveness.unresponsive(),
            Duration::ZERO,
        );
        speak(&mut again, 0..12, true);
        again.received(SECOND * 12);
        assert_eq!(again.need(SECOND * 12), None, "twice the patience");
        again.result(SECOND * 13);
        assert_eq!(again.unresponsive(), 0);
    }

    #[test]
    fn a_server_that_speaks_another_protocol_is_recognised_by_its_answers_to_speech() {
        let foreign = |text_at: Option<u32>, loud: bool| {
            let mut liveness = Liveness::new(SECOND * 15, KEEP_ALIVE, 0, Duration::ZERO);
            liveness.unknown(SECOND);
            for second in 0..12 {
                speak(&mut liveness, second..second + 1, loud);
                liveness.received(SECOND * second);
                // Servers of other protocols send these as well.
                liveness.result(SECOND * second);
                if text_at == Some(second) {
                    liveness.text();
                }
            }
            liveness.next() <= SECOND * 12 && liveness.need(SECOND * 12) == Some(Need::Foreign)
        };
        assert!(foreign(None, true));
        assert!(!foreign(None, false), "nobody has spoken");
        assert!(!foreign(Some(4), true), "it is odd, but it understands");
    }

    #[test]
    fn silence_needs_no_result() {
        let mut liveness = Liveness::new(SECOND * 10, KEEP_ALIVE, 0, Duration::ZERO);
        speak(&mut liveness, 0..40, false);
        liveness.received(SECOND * 40);
        assert_eq!(liveness.need(SECOND * 40), None);
    }
}
