// SPDX-License-Identifier: MPL-2.0
//! A session's way into the queue of a src pad. Called on network threads: it only puts entries
//! into the session's lane.

use std::sync::Arc;

use super::output_queue::{Entry, OutputQueue};
use crate::element::{TextOutput, Waker};
use crate::timeline::Timestamp;
use crate::transcript::Transcript;

/// A session's lane. It is closed when this is dropped, so that nothing waits behind it for ever,
/// however the session ends.
#[derive(Debug)]
pub(super) struct Lane {
    queue: Arc<OutputQueue>,
    id: u64,
    wants_interims: bool,
}

impl Lane {
    /// For a session whose audio starts at `start`.
    pub fn new(queue: &Arc<OutputQueue>, start: Timestamp, wants_interims: bool) -> Self {
        Self {
            queue: queue.clone(),
            id: queue.open_lane(start),
            wants_interims,
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.end();
    }
}

impl TextOutput for Lane {
    fn interim(&mut self, transcript: Transcript) {
        if self.wants_interims {
            self.queue.put(self.id, Entry::Interim(transcript));
        }
    }

    fn finalise(&mut self, transcript: Transcript) {
        self.queue.put(self.id, Entry::Final(transcript));
    }

    fn watermark(&mut self, time: Timestamp) {
        self.queue.put(self.id, Entry::Watermark(time));
    }

    fn end(&mut self) {
        self.queue.close_lane(self.id);
    }

    fn is_congested(&self) -> bool {
        self.queue.is_congested(self.id)
    }

    fn set_waker(&mut self, waker: Waker) {
        self.queue.set_waker(self.id, waker);
    }
}
