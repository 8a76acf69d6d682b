// SPDX-License-Identifier: MPL-2.0
//! Spaces out an operation that all sessions share: one start per interval, first come, first
//! served.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// Lets one caller pass in each interval.
#[derive(Debug)]
pub(super) struct Throttle {
    interval: Duration,
    /// When the previous caller passed.
    passed: Mutex<Option<Instant>>,
}

impl Throttle {
    pub const fn every(interval: Duration) -> Self {
        Throttle {
            interval,
            passed: Mutex::const_new(None),
        }
    }

    /// Waits for the caller's turn. A caller that is dropped while it waits costs the others
    /// nothing.
    pub async fn wait(&self) {
        // The lock is the queue, and a fair one: the caller at its head holds it while it waits.
        let mut passed = self.passed.lock().await;
        if let Some(passed) = *passed {
            sleep_until(passed + self.interval).await;
        }
        *passed = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_spaced_out_and_those_that_gave_up_take_no_turn() {
        const INTERVAL: Duration = Duration::from_millis(20);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let throttle = Throttle::every(INTERVAL);
            let start = Instant::now();
            let turn = async || {
                throttle.wait().await;
                start.elapsed()
            };
            let given_up = async {
                tokio::select! {
                    biased;
                    () = throttle.wait() => unreachable!("the first has it"),
                    () = std::future::ready(()) => {}
                }
            };
            let (first, (), second, third) = tokio::join!(turn(), given_up, turn(), turn());
            assert!(second >= first + INTERVAL && third >= second + INTERVAL);
        });
    }
}
