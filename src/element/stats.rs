// SPDX-License-Identifier: MPL-2.0
//! What is counted of an element's sessions, for its `stats` property and its kin. Filled by the
//! sessions' [reports](super::report) and by the pads, read by applications.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::enums::ConnectionState;
use super::lock;
use crate::net::Lost;
use crate::protocol::Usage;
use crate::timeline::nanos;

/// The statistics of all sessions of an element.
#[derive(Debug, Default)]
pub struct Ledger {
    pub(super) state: ConnectionState,
    /// Number of the newest session.
    newest: u64,
    pub(super) sessions: u64,
    pub(super) bytes_sent: u64,
    pub(super) sent: Duration,
    pub(super) billed: Usage,
    pub(super) interims: u64,
    pub(super) finals: u64,
    pub(super) audio_lost: Duration,
    pub(super) outages: u64,
    pub(super) reconnects: u64,
    pub(super) rotations: u64,
    pub(super) late_texts: u64,
    /// In milliseconds.
    pub(super) max_observed_delay: u32,
}

/// A ledger, shared by the element, or by one of its translations, with its sessions. What a
/// translation counts is counted for the element, too; the state of the connection is its own.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    own: Arc<Mutex<Ledger>>,
    whole: Option<Arc<Mutex<Ledger>>>,
}

impl Stats {
    /// The ledger of a translation.
    pub fn part(&self) -> Self {
        Self {
            own: Arc::default(),
            whole: Some(self.own.clone()),
        }
    }

    pub fn connection_state(&self) -> ConnectionState {
        lock(&self.own).state
    }

    /// Counts a session that begins; its number, for [`set_connection_state`].
    ///
    /// [`set_connection_state`]: Self::set_connection_state
    pub(super) fn begin_session(&self) -> u64 {
        self.count(|ledger| ledger.sessions += 1);
        let ledger = &mut lock(&self.own);
        ledger.newest += 1;
        ledger.newest
    }

    /// Sets the state of a session's connection, and returns whether it is the one that is told: of
    /// sessions that overlap, as the earlier ones have text left to report, that of the newest.
    pub(super) fn set_connection_state(&self, session: u64, state: ConnectionState) -> bool {
        let ledger = &mut lock(&self.own);
        let is_told = session == ledger.newest;
        if is_told {
            ledger.state = state;
        }
        is_told
    }

    /// The longest observed delay, in milliseconds.
    pub fn max_observed_delay(&self) -> u32 {
        lock(&self.own).max_observed_delay
    }

    /// Records the delay from speech to output of some text, in milliseconds, and whether the text
    /// had to be shown later than it was spoken.
    pub fn observe_delay(&self, delay: u32, late: bool) {
        self.count(|ledger| {
            ledger.late_texts += u64::from(late);
            ledger.max_observed_delay = ledger.max_observed_delay.max(delay);
        });
    }

    /// Records audio that was lost, if any was.
    pub(super) fn count_lost(&self, lost: Option<Lost>) {
        if let Some(lost) = lost {
            self.count(|ledger| ledger.audio_lost += lost.duration);
        }
    }

    /// The `stats` property.
    pub fn to_structure(&self, queue_level: Duration) -> gst::Structure {
        let ledger = lock(&self.own);
        gst::Structure::builder("qwenasr/stats")
            .field("sessions", ledger.sessions)
            .field("outages", ledger.outages)
            .field("reconnects", ledger.reconnects)
            .field("rotations", ledger.rotations)
            .field("late-texts", ledger.late_texts)
            .field("bytes-sent", ledger.bytes_sent)
            .field("seconds-sent", ledger.sent.as_secs_f64())
            .field("seconds-billed", ledger.billed.seconds)
            .field("tokens-billed", ledger.billed.tokens)
            .field("interims", ledger.interims)
            .field("finals", ledger.finals)
            .field("audio-lost", nanos(ledger.audio_lost))
            .field("queue-level", nanos(queue_level))
            .build()
    }

    /// The locks are held only during `change`, which merely updates counters, one after the other.
    pub(super) fn count(&self, change: impl Fn(&mut Ledger)) {
        for ledger in [Some(&self.own), self.whole.as_ref()].into_iter().flatten() {
            change(&mut lock(ledger));
        }
    }
}
