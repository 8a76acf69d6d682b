// SPDX-License-Identifier: MPL-2.0
//! One after the other, at a distance: for what must not be done by many at once.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// Gives turns in the order in which they were asked for.
#[derive(Debug)]
pub(super) struct Turns {
    distance: Duration,
    last: Mutex<Option<Instant>>,
}

impl Turns {
    pub const fn every(distance: Duration) -> Self {
        Turns {
            distance,
            last: Mutex::const_new(None),
        }
    }

    /// Whoever stops waiting costs the others nothing.
    pub async fn wait(&self) {
        // The lock is a queue: whoever is next holds it until the time has come.
        let mut last = self.last.lock().await;
        if let Some(last) = *last {
            sleep_until(last + self.distance).await;
        }
        *last = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_have_their_distance_and_go_to_those_who_wait() {
        const DISTANCE: Duration = Duration::from_millis(20);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let turns = Turns::every(DISTANCE);
            let start = Instant::now();
            let turn = async || {
                turns.wait().await;
                start.elapsed()
            };
            let given_up = async {
                tokio::select! {
                    biased;
                    () = turns.wait() => unreachable!("the first has it"),
                    () = std::future::ready(()) => {}
                }
            };
            let (first, (), second, third) = tokio::join!(turn(), given_up, turn(), turn());
            assert!(second >= first + DISTANCE && third >= second + DISTANCE);
        });
    }
}
