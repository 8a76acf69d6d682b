// SPDX-License-Identifier: MPL-2.0

//! Faults that can be switched on: what the service, or the network in front of it, was seen
//! or is feared to do.
//!
//! Moments are in milliseconds of audio that the service has processed, so that they do not
//! depend on how fast a test runs. Items are counted from 0 in each session.

use std::time::Duration;

/// A choice of items.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Items {
    /// No item.
    #[default]
    None,
    /// Every item.
    All,
    /// The items with these numbers.
    Only(Vec<usize>),
}

impl Items {
    /// Just the item with this number.
    pub fn nth(number: usize) -> Self {
        Self::Only(vec![number])
    }

    pub(super) fn contains(&self, number: usize) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Only(numbers) => numbers.contains(&number),
        }
    }
}

/// Something to send as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawFrame {
    /// A text frame.
    Text(String),
    /// A text message in several WebSocket frames.
    Fragments(Vec<String>),
    /// A binary frame.
    Binary(Vec<u8>),
    /// A WebSocket ping, with a payload of up to 125 bytes.
    Ping(Vec<u8>),
    /// Bytes for the TCP connection that need not be a WebSocket frame.
    Bytes(Vec<u8>),
}

/// An `error` event at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorFault {
    /// The moment.
    pub after_ms: u64,
    /// The error's `code`.
    pub code: String,
    /// The error's `message`.
    pub message: String,
    /// Close code and reason of a close right behind it. Without, the session goes on.
    pub close: Option<(u16, String)>,
}

/// A close at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloseFault {
    /// The moment.
    pub after_ms: u64,
    /// Close code.
    pub code: u16,
    /// Reason for the close frame.
    pub reason: String,
}

/// The faults of a connection. By default there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The faults are for the first connection to the service only.
    pub only_first: bool,

    /// Accepts the TCP connection, but does not answer the request.
    pub stall_handshake: bool,
    /// Answers the request with this HTTP status and body instead of upgrading.
    pub http_status: Option<(u16, String)>,
    /// Names and values of headers for that answer, such as `Location` or `Retry-After`.
    pub http_headers: Vec<(String, String)>,
    /// Sends nothing after the upgrade.
    pub stall_created: bool,
    /// Sends nothing after `session.created`.
    pub stall_updated: bool,
    /// Takes so long to take the client's settings.
    pub ready_delay: Option<Duration>,
    /// Refuses the client's settings with this code and message.
    pub refuse: Option<(String, String)>,
    /// Serves the session with another model, `qwen-omni-turbo-realtime`.
    pub wrong_model_echo: bool,

    /// Leaves the `item_id` out of `committed` and `completed`.
    pub omit_item_id: bool,
    /// Leaves the `event_id` out of all events.
    pub omit_event_id: bool,
    /// Adds fields that no documentation mentions to all events.
    pub extra_fields: bool,
    /// Leaves out what documentation allows to be missing, where it says so: `attributes`,
    /// `sentence_begin`, `sentence_end`, `usage` and the like.
    pub omit_optional: bool,
    /// Sends each final result once more before it is due, with other words, for another task.
    pub foreign_results: bool,
    /// Sends each event in several WebSocket frames.
    pub fragment: bool,

    /// Sends no `speech_started` for these items.
    pub drop_speech_started: Items,
    /// Sends no `speech_stopped` for these items.
    pub drop_speech_stopped: Items,
    /// Sends `committed` twice for these items.
    pub duplicate_committed: Items,
    /// Sends no `completed` for these items.
    pub never_complete: Items,
    /// Sends `completed` twice for these items.
    pub duplicate_completed: Items,
    /// Sends `failed` instead of `completed` for these items.
    pub failed: Items,
    /// Transcribes these items to nothing, without language and emotion.
    pub empty_final: Items,
    /// Transcribes these items to a mere "。".
    pub full_stop_final: Items,
    /// Transcribes all items of a connection to what the first one was transcribed to.
    pub repeat_first: bool,
    /// Sends the `completed` of this item behind that of the next one.
    pub swap_finals: Option<usize>,
    /// Sends every `completed` this many milliseconds of audio late, though before
    /// `session.finished`.
    pub completed_lag_ms: u64,
    /// Sends every interim result this many milliseconds of audio late.
    pub partial_lag_ms: u64,
    /// Refuses commits while the service detects speech.
    pub commit_not_allowed: bool,

    /// Sends an `error` event.
    pub error: Option<ErrorFault>,
    /// Sends a close frame.
    pub close: Option<CloseFault>,
    /// Resets the TCP connection at this moment.
    pub reset_after_ms: Option<u64>,
    /// Reads and sends nothing any more from this moment on, so that the client's output backs
    /// up. What was read ahead by then is lost.
    pub stall_after_ms: Option<u64>,
    /// Sends these frames at these moments. Those due at 0 come before `session.created`.
    pub inject: Vec<(u64, RawFrame)>,

    /// Closes with this code instead of answering `session.finish`.
    pub close_on_finish: Option<u16>,
    /// Holds `session.finished` back for so long.
    pub finished_delay: Option<Duration>,
    /// Neither sends `session.finished` nor closes.
    pub never_finished: bool,
    /// Leaves it to the client to close after `session.finished`.
    pub keep_open: bool,
}
