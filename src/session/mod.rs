// SPDX-License-Identifier: MPL-2.0
//! The state machine of one caption session, free of I/O: it has no sockets and no clock.
//!
//! Audio, frames, connection events and the time come in through `handle_*`; the resulting actions
//! come out of [`Session::poll_output`], which must be drained after every call.
//! [`Session::poll_timeout`] says when [`Session::handle_timeout`] is due. Times are measured from
//! any fixed moment. Called by the network driver, which owns the connections.

mod backlog;
mod connection;
mod connections;
mod liveness;
mod models;
mod numbers;
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

pub use models::{Model, Models};
pub use retry::{Patience, RetryPolicy};
pub use segmenter::ClientVad;
pub use state::Session;

use crate::audio::Coding;
use crate::protocol::{Failure, Frame, Incoming, Refusal, Secret, Statement};
use crate::timeline::{Samples, Timestamp};
use crate::transcript::Transcript;

/// Settings of a session.
#[derive(Debug, Clone)]
pub struct Config {
    pub coding: Coding,
    /// Samples per second, see [`Format::clock_rate`](crate::audio::Format::clock_rate).
    pub rate: u32,
    /// Length of one frame of audio.
    pub chunk: Samples,
    /// Maximum speed at which audio is sent, as a multiple of real time; 0 means the protocol's
    /// limit.
    pub max_speed: f64,
    /// Client VAD: the element finds the utterances, rather than the service or the application.
    /// Needs a protocol with manual turn detection.
    pub client_vad: Option<ClientVad>,
    /// Text that biases recognition. A final that merely echoes it (the service does so on silence)
    /// counts as empty.
    pub context: Option<String>,
    /// Limit for connecting, up to and including the WebSocket upgrade.
    pub connect_timeout: Duration,
    /// Limit for the service's response to the settings, to a ping, and to speech.
    pub response_timeout: Duration,
    /// Limit for each of the remaining results, after the service was told that the audio has
    /// ended.
    pub finish_timeout: Duration,
    /// Maximum amount of audio kept for a replay.
    pub backlog: Samples,
    pub retry: RetryPolicy,
    /// Age from which a connection is replaced, in a pause in speech; shortened by a random amount.
    pub rotate_after: Duration,
    /// The source is live: audio that fails to arrive is missing.
    pub is_live: bool,
    /// Silence after which the service is certain to end an utterance; zero if it never does so.
    pub pause: Duration,
    /// Seeds the random part of the waits between attempts.
    pub seed: u64,
}

/// The state of a session, as reported to the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// No audio has arrived yet, or the session is over.
    #[default]
    Idle,
    Connecting,
    /// The service accepts audio.
    Connected,
    /// The connection was lost or could not be made; another attempt follows.
    Reconnecting,
    /// Waiting for the remaining results.
    Finishing,
    Failed,
}

/// Identifies one of a session's connections. Ids are never reused: events of a connection that the
/// session has closed are recognised by their id and ignored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub(super) u64);

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An event on a connection.
#[derive(Debug, Clone, PartialEq)]
pub enum Net<'a> {
    /// The service takes no more connections at the moment, so that this one waits for its turn.
    Queued,
    /// The wait is over.
    Admitted,
    /// The WebSocket is open.
    Connected,
    /// The server cannot be reached.
    Unreachable(Failure),
    /// A server answered the upgrade with an HTTP status other than 101.
    Refused(Refusal<'a>),
    /// The connection is gone; `code` is that of a close frame, if there was one.
    Closed {
        code: Option<u16>,
        reason: &'a str,
    },
    /// Something without content of its own arrived, such as a pong: the connection is alive.
    Alive,
    Frame(Incoming<'a>),
}

/// An action for the driver.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Open a connection with this id.
    Connect(ConnId),
    Send(ConnId, Frame),
    /// Send a WebSocket ping.
    Ping(ConnId),
    /// Close the connection, or stop opening it. Its later events are ignored.
    Close(ConnId),
    Notice(Notice),
}

/// Audio sent so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SentAudio {
    pub samples: Samples,
    pub bytes: u64,
}

/// The audio that a session accepts, see [`Session::poll_audio`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// No audio: no connection could take it.
    Nothing,
    /// Part of a replay was sent: drain the outputs, then ask again.
    Replayed,
    /// No audio before this time, and then as soon as there are `least` samples; none means that
    /// there is something to send even if no more audio arrives.
    NotBefore { time: Duration, least: Samples },
    /// At most `most` samples, as soon as there are `least`.
    Chunk { least: Samples, most: Samples },
}

/// A report to the user of a session.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    State {
        state: State,
        session_id: Option<String>,
        /// The reason, where it is not obvious.
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
    /// Replaces the utterance's previous interim text.
    Interim(Transcript),
    /// The utterance's final text. Finals come in the order in which the utterances started.
    Final(Transcript),
    /// Everything that started before this timestamp is final: no more text will come for it,
    /// unless it turns out that the service had stopped responding.
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
    Outage {
        failure: Failure,
        patience: Patience,
    },
    /// The connection was replaced before it could get too old; no audio was lost.
    Rotated {
        session_id: Option<String>,
    },
    Warning(Warning),
    /// The session is over, and not everything was recognised.
    Failed(Failure),
    /// The session is over: everything that could be recognised has been reported.
    Drained,
}

impl Notice {
    /// Masks every occurrence of the secrets in text quoted from the server. They are asked for only
    /// if the notice may quote anything: most do not.
    pub fn without(self, secrets: impl FnOnce() -> Vec<Secret>) -> Self {
        fn masked<T>(text: T, secrets: &[Secret], without: fn(T, &str) -> T) -> T {
            let secrets = secrets.iter().map(Secret::reveal);
            secrets.fold(text, without)
        }
        match self {
            Notice::State {
                state,
                session_id,
                reason,
            } => Notice::State {
                state,
                session_id,
                reason: masked(reason, &secrets(), Statement::without),
            },
            Notice::Outage { failure, patience } => Notice::Outage {
                failure: masked(failure, &secrets(), Failure::without),
                patience,
            },
            Notice::Failed(failure) => {
                Notice::Failed(masked(failure, &secrets(), Failure::without))
            }
            Notice::Warning(warning) => Notice::Warning(match warning {
                Warning::Ignored(what) => {
                    Warning::Ignored(masked(what, &secrets(), Statement::without))
                }
                Warning::NotRecognised(why) => {
                    Warning::NotRecognised(masked(why, &secrets(), Statement::without))
                }
                Warning::NotTaken(failure) => {
                    Warning::NotTaken(masked(failure, &secrets(), Failure::without))
                }
                Warning::NextModel {
                    failure,
                    gone,
                    next,
                } => Warning::NextModel {
                    failure: masked(failure, &secrets(), Failure::without),
                    gone,
                    next,
                },
                Warning::Unfinished(what) => {
                    Warning::Unfinished(masked(what, &secrets(), Statement::without))
                }
            }),
            // These quote no error text.
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

/// The reason why audio still queued at the end of a session is lost.
pub const UNSENT: &str = "the session ended before it could be sent";

/// A problem that does not end the session, or that left its end orderly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// The service sent something that was ignored.
    Ignored(Statement),
    /// The service could not recognise an utterance.
    NotRecognised(Statement),
    /// Changed settings were refused: the session continues with the previous ones.
    NotTaken(Failure),
    /// The service does not have the model `gone`: from now on `next` is asked for.
    NextModel {
        failure: Failure,
        gone: String,
        next: String,
    },
    /// The service did not finish in time, or finished out of order: the latest text may be
    /// incomplete.
    Unfinished(Statement),
}
