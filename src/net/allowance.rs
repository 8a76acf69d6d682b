// SPDX-License-Identifier: MPL-2.0
//! How much the driver reads of a connection: no more than a service can have to say about the audio
//! that it gets.
//!
//! Whatever is read becomes messages on the bus and text in a queue, so a peer that sends without
//! end would take all memory of the process, and its time. What is beyond the allowance stays in the
//! system, where TCP makes the peer wait. Sending earns an allowance: so it fits at any speed.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// What may be read at once, in bytes, and the most that may be saved up: the results of hours.
const MAX_SAVED: f64 = (4 << 20) as f64;

/// The most that may be owed after a large message, in bytes: nothing is heard until it is paid, and
/// what is not heard for longer than some seconds counts as dead.
const MAX_DEBT: f64 = (256 << 10) as f64;

/// What may be read in a second of time, in bytes, and for each byte sent. An hour's hypotheses with
/// the times of all words take less; making text of more than that would take a core.
const PER_SECOND: f64 = (64 << 10) as f64;
const PER_BYTE_SENT: f64 = 4.0;

/// What a message costs besides its bytes, empty ones too.
const PER_MESSAGE: f64 = 128.0;

/// How long nothing is read once the allowance is used up.
const REST: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Allowance {
    /// In bytes; negative after a message that was larger than what was left.
    left: f64,
    counted: Instant,
    rest: Option<Pin<Box<Sleep>>>,
}

impl Default for Allowance {
    fn default() -> Self {
        Allowance {
            left: MAX_SAVED,
            counted: Instant::now(),
            rest: None,
        }
    }
}

impl Allowance {
    /// A message of this length was read.
    pub fn spend(&mut self, bytes: usize) {
        self.left = (self.left - PER_MESSAGE - bytes as f64).max(-MAX_DEBT);
    }

    /// This many bytes are sent.
    pub fn earn(&mut self, bytes: usize) {
        self.save(PER_BYTE_SENT * bytes as f64);
    }

    /// Whether something may be read now; if not, the task is woken when it may.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(rest) = &mut self.rest {
                if rest.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.rest = None;
            }
            if self.left >= 0.0 {
                return Poll::Ready(());
            }
            let now = Instant::now();
            self.save(PER_SECOND * (now - self.counted).as_secs_f64());
            self.counted = now;
            if self.left < 0.0 {
                self.rest = Some(Box::pin(sleep(REST)));
            }
        }
    }

    fn save(&mut self, bytes: f64) {
        self.left = (self.left + bytes).min(MAX_SAVED);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// Reads messages of this length for as long as it may, up to a million.
    fn read_all(allowance: &mut Allowance, bytes: usize) -> usize {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let may_read = |_: &usize| {
            let may = allowance.poll(&mut cx).is_ready();
            if may {
                allowance.spend(bytes);
            }
            may
        };
        (0..1_000_000).take_while(may_read).count()
    }

    #[tokio::test]
    async fn a_flood_is_read_as_slowly_as_speech_deserves() {
        let mut allowance = Allowance::default();
        assert!(read_all(&mut allowance, 500) > 5000, "results of hours");
        // It wakes the task.
        poll_fn(|cx| allowance.poll(cx)).await;
        let count = read_all(&mut allowance, 0);
        assert!((1..1000).contains(&count), "{count}");
        // A second of audio in base64, at 100 times real time.
        allowance.earn(4_300_000);
        poll_fn(|cx| allowance.poll(cx)).await;
        assert!(read_all(&mut allowance, 500) > 5000, "as it is sent");
    }

    #[tokio::test]
    async fn nothing_is_saved_up_beyond_a_limit_and_a_debt_is_paid() {
        let mut allowance = Allowance::default();
        allowance.earn(usize::MAX);
        assert!(read_all(&mut allowance, 0) < 1_000_000);
        let mut allowance = Allowance::default();
        allowance.spend(100 << 20);
        assert_eq!(read_all(&mut allowance, 0), 0);
        allowance.earn((MAX_DEBT / PER_BYTE_SENT) as usize);
        poll_fn(|cx| allowance.poll(cx)).await;
        assert!(read_all(&mut allowance, 0) >= 1);
    }
}
