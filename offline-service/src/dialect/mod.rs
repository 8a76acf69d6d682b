// SPDX-License-Identifier: MPL-2.0

//! The protocols: what frames of a client ask of the core, and what frames tell of its acts.

pub mod ids;
pub mod inference;
pub mod limits;
pub mod livetranslate;
pub mod openai;
pub mod realtime;
pub mod sglang_omni;
pub mod upload;
pub mod vllm;

use std::time::Duration;

use serde_json::Value;

use crate::core::Setup;
use crate::faults::Faults;
use crate::filter::Wire;
use crate::handshake;
use crate::recogniser::Hypothesis;
use crate::record::{ClientEvent, StreamNews};
use crate::server::Options;
use crate::words::Word;
use inference::Inference;
use livetranslate::{LiveTranslate, is_translator};
use openai::OpenAi;
use realtime::Realtime;
use sglang_omni::SglangOmni;
use vllm::Vllm;

/// A protocol of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// That of Qwen-ASR-Realtime.
    Realtime,
    /// That of the live translation models, at the same path.
    LiveTranslate,
    /// That of tasks with binary audio, of Qwen-Audio-ASR, Fun-ASR and Paraformer.
    Inference,
    /// That of vLLM.
    Vllm,
    /// That of OpenAI's transcription sessions, as sglang serves it.
    OpenAi,
    /// That of sglang-omni's transcription sessions, which the query asks for.
    SglangOmni,
}

impl Protocol {
    /// Path of the service, below which there is nothing.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Realtime | Self::LiveTranslate => "/api-ws/v1/realtime",
            Self::Inference => "/api-ws/v1/inference",
            Self::Vllm | Self::OpenAi | Self::SglangOmni => "/v1/realtime",
        }
    }

    /// What has to be in the query, with the question mark.
    pub const fn query(self) -> &'static str {
        match self {
            Self::SglangOmni => "?intent=transcription",
            _ => "",
        }
    }

    /// Whether a request with this query means it, if several protocols have its path.
    pub fn is_meant(self, query: &str) -> bool {
        let model = handshake::model(query);
        match self {
            Self::LiveTranslate => model.is_some_and(is_translator),
            Self::Realtime => !model.is_some_and(is_translator),
            Self::SglangOmni => sglang_omni::is_meant(query),
            Self::Vllm | Self::OpenAi => !sglang_omni::is_meant(query),
            Self::Inference => true,
        }
    }

    /// Begins the session `number`, to which a request with this query led. Otherwise, says
    /// what the client gets instead.
    pub fn begin(
        self,
        number: u64,
        query: &str,
        options: &Options,
        faults: &Faults,
    ) -> Result<Box<dyn Dialect>, Vec<Wire>> {
        Ok(match self {
            Self::Realtime => {
                let model = realtime::admit(handshake::model(query), options)?;
                Box::new(Realtime::new(model, number, options, faults))
            }
            Self::LiveTranslate => {
                let model = realtime::admit(handshake::model(query), options)?;
                Box::new(LiveTranslate::new(model, number, options, faults))
            }
            Self::Inference => Box::new(Inference::new(number, options, faults)),
            Self::Vllm => Box::new(Vllm::new(number, options)),
            Self::OpenAi => Box::new(OpenAi::new(number, options, faults)),
            Self::SglangOmni => Box::new(SglangOmni::begin(number, query, options, faults)?),
        })
    }

    /// What the client is told when there are `limit` sessions already.
    pub fn too_many(self, limit: usize) -> Value {
        match self {
            Self::Realtime | Self::LiveTranslate => realtime::events::capacity_error(limit),
            Self::Inference => inference::too_many(limit),
            Self::Vllm => vllm::error("processing_error", "Too many sessions"),
            Self::OpenAi => openai::error("too_many_sessions", "Too many sessions"),
            Self::SglangOmni => sglang_omni::unavailable(),
        }
    }

    /// Whether that is the body of an answer with status 503, rather than an event.
    pub fn refuses_the_upgrade(self) -> bool {
        self == Self::SglangOmni
    }

    /// Whether a request with this query is refused for the model in it, with status 403, rather than
    /// told so by an event.
    pub fn refuses_model(self, query: &str, options: &Options) -> bool {
        self == Self::SglangOmni && !sglang_omni::serves(query, options)
    }

    /// How long a connection may go without a text frame.
    pub fn idle_timeout(self, options: &Options) -> Option<Duration> {
        // Tasks have timeouts of their own, and the servers to host oneself none.
        matches!(self, Self::Realtime | Self::LiveTranslate).then_some(options.idle_timeout)
    }
}

/// A frame from the client.
pub enum Frame {
    Text(String),
    Binary(Vec<u8>),
}

/// What a client's frame asks for.
#[derive(Clone)]
pub enum Request {
    /// To remember what the client sent.
    Received(ClientEvent),
    /// To remember what is known about the audio.
    Note(StreamNews),
    /// To begin a stream of audio, from position 0.
    Start(Setup),
    /// To take samples of the stream.
    Audio(Vec<i16>),
    /// To end the item that is being spoken.
    Commit,
    /// To forget the item that is being spoken.
    Clear,
    /// To end the stream.
    Finish,
    /// To tell the client of an act that is not the core's.
    Tell(Act),
}

/// What the client is told of, in the terms of its protocol.
///
/// Items are counted from 0 in each connection. Times are milliseconds of the stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// For information: milliseconds of audio processed, in all streams.
    Clock(u64),
    /// For information: the client has finished, and the core is about to.
    Finishing,
    /// The session has begun; the event that says so, if the protocol has one.
    Opened(Option<Value>),
    /// The client's settings are taken; the event that says so, if the protocol has one.
    Ready(Option<Value>),
    /// An event of the protocol's own.
    Tell(Value),
    /// Nobody has spoken for so long.
    Silence(u64),
    SpeechStarted {
        item: usize,
        at: u64,
    },
    SpeechStopped {
        item: usize,
        at: u64,
    },
    /// An item has ended.
    Committed {
        item: usize,
    },
    /// An item is about to be transcribed for good.
    Added {
        item: usize,
    },
    Partial(Partial),
    Completed(Final),
    /// An item cannot be transcribed.
    Failed {
        item: usize,
    },
    /// There was no item to commit.
    NothingToCommit,
    /// Nothing can be recognised with the client's settings, as the message says.
    Unrecognisable(String),
    /// The stream has ended; its number of items, and its length in milliseconds.
    Finished {
        items: usize,
        audio: u64,
    },
    /// Something went wrong. After some errors the connection is closed, with this code and
    /// reason.
    Error {
        code: String,
        message: String,
        close: Option<(u16, String)>,
    },
    /// The connection is closed.
    Close {
        code: u16,
        reason: String,
    },
}

/// What is known of an item while it is being spoken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Partial {
    pub item: usize,
    pub language: String,
    pub hypothesis: Hypothesis,
    pub begin: u64,
    pub words: Vec<Word>,
    /// How much of the stream is processed.
    pub audio: u64,
}

/// What an item is transcribed to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Final {
    pub item: usize,
    pub language: String,
    pub transcript: String,
    pub begin: u64,
    pub end: u64,
    pub words: Vec<Word>,
    /// How much of the stream is processed.
    pub audio: u64,
}

/// A protocol, with the state of one connection.
pub trait Dialect: Send {
    /// What to do when the connection is open.
    fn open(&mut self) -> Vec<Request>;

    /// What to do about a frame that was received at `now`, measured from any fixed moment.
    fn decode(&mut self, frame: Frame, now: Duration) -> Vec<Request>;

    /// How the client is told of an act, if the protocol has a way to.
    fn encode(&mut self, act: Act) -> Vec<Wire>;

    /// How long the client may send nothing from now on.
    fn patience(&self) -> Option<Duration> {
        None
    }

    /// What to do when the [`patience`](Self::patience) is over.
    fn timed_out(&mut self) -> Vec<Request> {
        Vec::new()
    }
}

/// Samples from bytes, of which there has to be an even number.
pub fn pcm(bytes: &[u8]) -> Vec<i16> {
    bytes
        .chunks_exact(2)
        .map(|s| i16::from_le_bytes([s[0], s[1]]))
        .collect()
}
