// SPDX-License-Identifier: MPL-2.0
//! Is the service still there, and does it listen?

use std::time::Duration;

use crate::audio::is_loud;

/// How often patience with a service that hears nothing may double.
const MAX_DOUBLINGS: u32 = 5;

/// A server that answers speech with foreign events only is given this part of the time that a
/// silent one has: it works, and says something else.
const FOREIGN_PART: u32 = 3;

/// What is to be done to stay connected, or to notice that one is not.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// A ping, to see whether anybody answers.
    Ping,
    /// Some silence, so that the connection is not closed for being idle.
    Silence,
    /// Nobody answers any more.
    Dead,
    /// The service answers, but not to the speech it is sent.
    Unresponsive,
    /// It answers speech with events that its protocol does not have, and with no text.
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
    /// Since when, and for how long, something loud was sent without a result.
    result_at: Duration,
    loud_for: Duration,
    /// How much was sent since something loud.
    quiet_for: Duration,
    /// How often the service was found unresponsive in a row.
    unresponsive: u32,
    /// Since when the service says things that its protocol does not have, and no text; and for how
    /// long something loud was sent meanwhile.
    foreign_since: Option<Duration>,
    loud_without_text: Duration,
}

impl Liveness {
    /// Something has to be sent every `keep_alive`. `unresponsive` is how often the connections before
    /// this one ended for that.
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

    /// The connection is taken into use. `unresponsive` is as in [`Self::new`].
    pub fn restart(&mut self, unresponsive: u32, now: Duration) {
        *self = Liveness::new(self.timeout, self.keep_alive, unresponsive, now);
    }

    pub fn unresponsive(&self) -> u32 {
        self.unresponsive
    }

    /// Anything arrived, be it an answer to a ping.
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

    /// An event arrived that the protocol does not have.
    pub fn unknown(&mut self, now: Duration) {
        self.foreign_since.get_or_insert(now);
    }

    /// When it is clear that it speaks another protocol.
    fn foreign_due(&self) -> Option<Duration> {
        let patience = self.timeout / FOREIGN_PART;
        let since = self
            .foreign_since
            .filter(|_| self.loud_without_text >= patience)?;
        Some(since + patience)
    }

    /// Whether a result arrived since then.
    pub fn answered_since(&self, since: Duration) -> bool {
        self.result_at >= since
    }

    /// Audio was sent. Returns whether it is loud.
    pub fn sent(&mut self, audio: &[u8], length: Duration, now: Duration) -> bool {
        self.sent_at = now;
        let loud = is_loud(audio);
        if loud {
            self.loud_for += length;
            self.loud_without_text += length;
            self.quiet_for = Duration::ZERO;
        } else {
            self.quiet_for += length;
        }
        loud
    }

    /// Length of the audio that was sent since something loud.
    pub fn quiet_for(&self) -> Duration {
        self.quiet_for
    }

    /// When [`Self::need`] is to be asked again.
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

    /// Noise is no speech: after a reconnect that changed nothing there is no hurry.
    fn patience(&self) -> Duration {
        self.timeout * (1 << self.unresponsive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const KEEP_ALIVE: Option<Duration> = Some(Duration::from_secs(50));

    fn speak(liveness: &mut Liveness, seconds: std::ops::Range<u32>, sample: i16) {
        for second in seconds {
            let audio: Vec<u8> = (0..16_000).flat_map(|_| sample.to_le_bytes()).collect();
            liveness.sent(&audio, SECOND, SECOND * second);
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
        liveness.sent(&[0; 320], SECOND / 10, SECOND * 50);
        liveness.received(SECOND * 51);
        assert_eq!(liveness.need(SECOND * 51), None);
    }

    #[test]
    fn speech_without_any_result_is_noticed_and_noise_is_borne() {
        let mut liveness = Liveness::new(SECOND * 10, KEEP_ALIVE, 0, Duration::ZERO);
        speak(&mut liveness, 0..12, 3000);
        liveness.received(SECOND * 12);
        assert_eq!(liveness.need(SECOND * 12), Some(Need::Unresponsive));
        let mut again = Liveness::new(
            SECOND * 10,
            KEEP_ALIVE,
            liveness.unresponsive(),
            Duration::ZERO,
        );
        speak(&mut again, 0..12, 3000);
        again.received(SECOND * 12);
        assert_eq!(again.need(SECOND * 12), None, "twice the patience");
        again.result(SECOND * 13);
        assert_eq!(again.unresponsive(), 0);
    }

    #[test]
    fn a_server_that_speaks_another_protocol_is_recognised_by_its_answers_to_speech() {
        let foreign = |text_at: Option<u32>, loud: i16| {
            let mut liveness = Liveness::new(SECOND * 15, KEEP_ALIVE, 0, Duration::ZERO);
            liveness.unknown(SECOND);
            for second in 0..12 {
                speak(&mut liveness, second..second + 1, loud);
                liveness.received(SECOND * second);
                // As other protocols' servers say it, too.
                liveness.result(SECOND * second);
                if text_at == Some(second) {
                    liveness.text();
                }
            }
            liveness.next() <= SECOND * 12 && liveness.need(SECOND * 12) == Some(Need::Foreign)
        };
        assert!(foreign(None, 3000));
        assert!(!foreign(None, 100), "nobody has spoken");
        assert!(!foreign(Some(4), 3000), "it is odd, but it understands");
    }

    #[test]
    fn silence_needs_no_result() {
        let mut liveness = Liveness::new(SECOND * 10, KEEP_ALIVE, 0, Duration::ZERO);
        speak(&mut liveness, 0..40, 100);
        liveness.received(SECOND * 40);
        assert_eq!(liveness.need(SECOND * 40), None);
    }
}
