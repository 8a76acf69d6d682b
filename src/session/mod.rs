// SPDX-License-Identifier: MPL-2.0
//! The state machine of one caption session, without sockets or clocks.
//!
//! Audio, frames, the fate of the connection and the time come in through `handle_*`; what is to
//! be done comes out of [`Session::poll_output`], which must be drained after every call, and
//! [`Session::poll_timeout`] says when [`Session::handle_timeout`] wants to be called. The time is
//! the span since any fixed moment.

mod backlog;
mod connection;
mod connections;
mod liveness;
mod outage;
mod outbox;
mod pacer;
mod reporter;
mod retry;
mod rotation;
mod segmenter;
mod stall;
mod state;
mod utterances;
mod vad;

use std::fmt;
use std::time::Duration;

pub use retry::RetryPolicy;
pub use segmenter::ClientVad;
pub use state::Session;

use crate::protocol::{Failure, Frame, Incoming, Refusal, Statement};
use crate::timeline::Timestamp;
use crate::transcript::Transcript;

/// What a session needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Samples per second.
    pub rate: u32,
    /// Audio in one frame, in bytes; whole samples.
    pub chunk_bytes: usize,
    /// How many times real time audio may be sent; 0 is what the protocol bears.
    pub max_speed: f64,
    /// Finds the utterances, where neither the service nor the application does; the protocol has
    /// to be one of manual turn detection.
    pub client_vad: Option<ClientVad>,
    /// Biases the recognition; a result that only repeats it is none.
    pub context: Option<String>,
    /// For the connection, up to the service's agreement to speak WebSocket.
    pub connect_timeout: Duration,
    /// For the service's answer to the settings, to a ping, and to speech.
    pub response_timeout: Duration,
    /// For each of the last results, once the service was told that no more audio comes.
    pub finish_timeout: Duration,
    /// Audio kept to be sent again over a new connection, in bytes.
    pub backlog_bytes: usize,
    pub retry: RetryPolicy,
    /// Age at which a connection is replaced where nobody speaks, or a little less.
    pub rotate_after: Duration,
    /// The source is live: audio that does not come is missing.
    pub is_live: bool,
    /// Silence after which the service ends an utterance for sure; zero where it does not.
    pub pause: Duration,
    /// For the random part of the waits between attempts.
    pub seed: u64,
}

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// No audio came yet, or everything is over.
    #[default]
    Idle,
    Connecting,
    /// Audio flows.
    Connected,
    /// The connection was lost or could not be made; another attempt follows.
    Reconnecting,
    /// The last results are awaited.
    Finishing,
    Failed,
}

/// One of a session's connections. Numbers are never used again: what comes from a connection that
/// the session has closed is recognised by its number, and ignored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub(super) u64);

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What comes from the network, of the connection that it concerns.
#[derive(Debug, Clone, PartialEq)]
pub enum Net<'a> {
    /// The WebSocket is open.
    Connected,
    /// There is no server to speak to.
    Unreachable(Failure),
    /// A server answered the upgrade with an HTTP status other than 101.
    Refused(Refusal<'a>),
    /// The connection is gone; `code` is that of a close frame, if there was one.
    Closed {
        code: Option<u16>,
        reason: &'a str,
    },
    /// Something arrived that says no more than that somebody is there, such as a pong.
    Alive,
    Frame(Incoming<'a>),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Open a connection, which is known by this id from then on.
    Connect(ConnId),
    Send(ConnId, Frame),
    /// Send a WebSocket ping.
    Ping(ConnId),
    /// Close the connection, or give up opening it. Nothing more is wanted from it.
    Close(ConnId),
    Notice(Notice),
}

/// The audio that a session takes, see [`Session::poll_audio`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// None: there is no connection that could take it.
    Nothing,
    /// Some of the audio kept for a replay was sent: ask again, after the outputs.
    Replayed,
    /// None before this time, and then as soon as there are `least` bytes; 0 says that there is
    /// something to be sent even if no more audio comes.
    NotBefore { time: Duration, least: usize },
    /// At most `most` bytes, as soon as there are `least`.
    Chunk { least: usize, most: usize },
}

/// What the user of a session learns.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    State {
        state: State,
        session_id: Option<String>,
        /// Why, where that is not plain.
        reason: Statement,
    },
    SpeechStarted {
        item_id: String,
        time: Timestamp,
    },
    SpeechStopped {
        item_id: String,
        time: Timestamp,
    },
    /// Replaces what was said of this utterance before.
    Interim(Transcript),
    /// The utterance's last word. Finals come in the order in which the utterances began.
    Final(Transcript),
    /// All that began before this timestamp is final: no more text will come for it, unless it turns
    /// out that the service had stopped listening.
    Watermark {
        time: Timestamp,
    },
    /// The audio from this timestamp on will not be recognised.
    AudioLost {
        time: Timestamp,
        duration: Duration,
        reason: &'static str,
    },
    /// The connection was lost or could not be made, and will be tried again.
    Outage(Failure),
    /// The connection was replaced before it could get too old; nothing was lost.
    Rotated {
        session_id: Option<String>,
    },
    Warning(Warning),
    /// The session is over, and not everything was recognised.
    Failed(Failure),
    /// The session is over: what could be recognised has been reported.
    Drained,
}

impl Notice {
    /// The same with every occurrence of the secret masked, wherever the other side is quoted.
    pub fn without(self, secret: &str) -> Self {
        match self {
            Notice::State {
                state,
                session_id,
                reason,
            } => Notice::State {
                state,
                session_id,
                reason: reason.without(secret),
            },
            Notice::Outage(failure) => Notice::Outage(failure.without(secret)),
            Notice::Failed(failure) => Notice::Failed(failure.without(secret)),
            Notice::Warning(warning) => Notice::Warning(match warning {
                Warning::Ignored(what) => Warning::Ignored(what.without(secret)),
                Warning::NotRecognised(why) => Warning::NotRecognised(why.without(secret)),
                Warning::NotTaken(failure) => Warning::NotTaken(failure.without(secret)),
                Warning::Unfinished(what) => Warning::Unfinished(what.without(secret)),
            }),
            // Nothing of an error in these.
            notice @ (Notice::SpeechStarted { .. }
            | Notice::SpeechStopped { .. }
            | Notice::Interim(_)
            | Notice::Final(_)
            | Notice::Watermark { .. }
            | Notice::AudioLost { .. }
            | Notice::Rotated { .. }
            | Notice::Drained) => notice,
        }
    }
}

/// Why audio is lost that waits when a session ends.
pub const UNSENT: &str = "the session ended before it could be sent";

/// Something a user should know of although the session goes on, or has ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// The service sent something that was ignored.
    Ignored(Statement),
    /// The service could not recognise an utterance.
    NotRecognised(Statement),
    /// Settings that were changed could not be taken: the session goes on with those before.
    NotTaken(Failure),
    /// The service did not finish in time, or not in order: the last text may be incomplete.
    Unfinished(Statement),
}
