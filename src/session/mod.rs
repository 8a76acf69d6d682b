// SPDX-License-Identifier: MPL-2.0
//! The state machine of one caption session, without sockets or clocks.
//!
//! Audio, frames, the fate of the connection and the time come in through `handle_*`; what is to
//! be done comes out of [`Session::poll_output`], which must be drained after every call, and
//! [`Session::poll_timeout`] says when [`Session::handle_timeout`] wants to be called. The time is
//! the span since any fixed moment.

mod backlog;
mod connection;
mod engine;
mod hearing;
mod liveness;
mod retry;
mod turns;
mod utterances;

use std::time::Duration;

pub use engine::Session;
pub use retry::RetryPolicy;
pub use turns::ClientVad;

use crate::protocol::{Failure, Frame, Statement};
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

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Open a connection.
    Connect,
    Send(Frame),
    /// Send a WebSocket ping.
    Ping,
    /// Close the connection, or give up opening it.
    Close,
    /// The same for the spare connection: the next one, or the last one.
    Spare(Spare),
    /// The spare connection and the one in use change places.
    Swap,
    Notice(Notice),
}

/// What is to be done with the spare connection. There is one at times only.
#[derive(Debug, Clone, PartialEq)]
pub enum Spare {
    /// Open it.
    Connect,
    Send(Frame),
    /// Close it, or give up opening it.
    Close,
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
        time: u64,
    },
    SpeechStopped {
        item_id: String,
        time: u64,
    },
    /// Replaces what was said of this utterance before.
    Interim(Transcript),
    /// The utterance's last word. Finals come in the order in which the utterances began.
    Final(Transcript),
    /// All that began before this stream time is final: no more text will come for it, unless it
    /// turns out that the service had stopped listening.
    Settled {
        time: u64,
    },
    /// Audio of this stream time will not be recognised.
    AudioLost {
        time: u64,
        duration: u64,
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
                Warning::Unfinished(what) => Warning::Unfinished(what.without(secret)),
            }),
            // Nothing of an error in these.
            notice @ (Notice::SpeechStarted { .. }
            | Notice::SpeechStopped { .. }
            | Notice::Interim(_)
            | Notice::Final(_)
            | Notice::Settled { .. }
            | Notice::AudioLost { .. }
            | Notice::Rotated { .. }
            | Notice::Drained) => notice,
        }
    }
}

/// Something a user should know of although the session goes on, or has ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// The service sent something that was ignored.
    Ignored(Statement),
    /// The service could not recognise an utterance.
    NotRecognised(Statement),
    /// The service did not finish in time, or not in order: the last text may be incomplete.
    Unfinished(Statement),
}
