// SPDX-License-Identifier: MPL-2.0

//! How much a client may send.

use std::collections::VecDeque;
use std::time::Duration;

/// Largest frame a client may send, in bytes.
pub const MAX_FRAME: usize = 262_144;

/// Most audio a client may send within a second, in bytes: 80 times as fast as it is spoken.
pub const MAX_BYTES_PER_SECOND: usize = 2_560_000;

/// Watches over [`MAX_BYTES_PER_SECOND`].
#[derive(Debug, Default)]
pub struct RateLimit {
    recent: VecDeque<(Duration, usize)>,
}

impl RateLimit {
    /// Counts bytes received at `now`. Returns whether they are too many.
    pub fn is_exceeded(&mut self, now: Duration, bytes: usize) -> bool {
        self.recent.push_back((now, bytes));
        let window = Duration::from_secs(1);
        while self
            .recent
            .front()
            .is_some_and(|(at, _)| now.saturating_sub(*at) >= window)
        {
            self.recent.pop_front();
        }
        self.recent.iter().map(|(_, bytes)| bytes).sum::<usize>() > MAX_BYTES_PER_SECOND
    }
}
