// SPDX-License-Identifier: MPL-2.0
//! Wire protocols as pure data: commands become frames, frames become events.
//!
//! A [`Codec`] translates for one connection. It is pure and stateful: no socket, no clock, nothing
//! of GStreamer. It translates and classifies, and never decides to wait, retry or give up. Its
//! invariants:
//!
//! - whatever the server sends, it does not panic, and its memory is bounded;
//! - items are numbered densely, in the order in which the service first mentioned them;
//! - an item has at most one [`Event::Final`] or [`Event::ItemFailed`], and no event afterwards;
//! - no event follows [`Event::Finished`] or [`Event::Failed`].
//!
//! The element picks a [`Protocol`] by its settings and [sets it up](Protocol::set_up); the session
//! makes a codec for each connection, passes it commands and frames, and sends the frames it
//! returns.
//!
//! | protocol | module | servers |
//! |---|---|---|
//! | realtime | `realtime::qwen` | `/api-ws/v1/realtime` of the service, and compatible servers |
//! | realtime | `realtime::openai` | `/v1/realtime` of sglang |
//! | realtime | `realtime::livetranslate` | `/api-ws/v1/realtime` of the service's translation models |
//! | realtime | `sglang_omni` | `/v1/realtime?intent=transcription` of sglang-omni |
//! | inference | `inference` | `/api-ws/v1/inference` of the service |
//! | vllm | `vllm` | `/v1/realtime` of vLLM |
//!
//! A new protocol needs a module with a [`Profile`] and a codec, and a row in [`choice`].

mod checks;
mod choice;
mod diagnosis;
mod dialect;
mod encoding;
mod endpoint;
mod failure;
mod hotwords;
mod incoming;
mod inference;
mod items;
mod json;
mod key;
mod language;
mod ogg;
mod phrases;
mod realtime;
mod sglang_omni;
mod statement;
mod texts;
mod vllm;

use std::ops::Add;
use std::time::Duration;

use crate::audio::Coding;
use crate::transcript::Translation;

pub use checks::not_decoded;
pub use choice::Protocol;
pub use endpoint::{
    Endpoint, EndpointSettings, Region, beside, is_localhost, names_model, redacted,
};
pub use failure::{Failure, Invitation, Kind};
pub use hotwords::{HotWord, parse as parse_hot_words};
pub use key::{KeyFault, KeyFile, KeySource, Secret};
pub use phrases::{Phrase, parse as parse_phrases};
pub use statement::{Quote, Statement};

/// A frame to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Text(String),
    Binary(Vec<u8>),
}

/// A frame that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incoming<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
}

/// The number of an item of a connection, which the session turns into an utterance. Dense, from 0,
/// in the order in which the service first mentioned the items.
pub type ItemKey = u64;

/// Who decides where an utterance ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TurnDetection {
    /// The service's voice activity detection.
    ServerVad {
        /// Sensitivity in [-1, 1]; lower detects more. `None` is the protocol's default, or the
        /// server's own if that is not the service.
        threshold: Option<f64>,
        /// Silence that ends an utterance, in milliseconds, in [200, 6000].
        silence_ms: u32,
    },
    /// The client, with [`Command::Commit`].
    Manual,
}

/// A response to the WebSocket upgrade with a status other than 101.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Refusal<'a> {
    pub status: u16,
    pub body: &'a str,
    /// When the server wants to see the client again, counted from now.
    pub retry_after: Option<Duration>,
    /// Whether the request had an API key.
    pub has_key: bool,
}

/// The recognition settings of a connection.
#[derive(Debug, Clone, PartialEq)]
pub struct Recognition {
    pub model: String,
    /// The property that names the model, for errors.
    pub model_property: &'static str,
    /// BCP 47 tag, or several, separated by commas, for models that take them; `None` lets the
    /// service detect the language.
    pub language: Option<String>,
    /// Text that biases the recognition, such as names and terms.
    pub context: Option<String>,
    /// Words for the recogniser to prefer.
    pub vocabulary: Vec<HotWord>,
    /// The name of a list of such words stored by the service.
    pub vocabulary_id: Option<String>,
    /// Further parameters of the model, by name. A value that has no counterpart in JSON is null.
    pub parameters: Vec<(String, serde_json::Value)>,
    /// Samples per second: 8000, 16000 or 24000. Of Opus, what the service is told.
    pub rate: u32,
    pub coding: Coding,
    pub turn_detection: TurnDetection,
    /// What to translate into, for the models that do.
    pub translation: Option<Target>,
    /// Whether the host is the service itself, rather than another server that speaks its protocol.
    pub official: bool,
}

/// A translation asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Target {
    /// BCP 47 tag of the language to translate into.
    pub language: String,
    /// How to translate certain terms.
    pub phrases: Vec<Phrase>,
}

/// A command from the session to the codec, to be put on the wire.
#[derive(Debug, Clone, Copy)]
pub enum Command<'a> {
    /// Whole samples, at most [`Limits::max_audio_bytes`], or whole packets, in the coding that was
    /// set up.
    Audio(&'a [u8]),
    /// End the utterance here (manual turn detection only).
    Commit,
    /// Change the context from here on. Protocols that cannot change it ignore this.
    Context(&'a str),
    /// No more audio will come: recognise the rest, then report [`Event::Finished`].
    Finish,
}

/// An event from the service.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The service accepted the settings: audio may be sent.
    Ready { session_id: Option<String> },
    /// The item exists; nothing else is known about it yet.
    ItemSeen { item: ItemKey },
    SpeechStarted {
        item: ItemKey,
        /// The service's id of the item; empty if it gave none.
        item_id: String,
        /// Milliseconds of audio since the connection's first sample.
        at_ms: Option<u64>,
    },
    SpeechStopped {
        item: ItemKey,
        /// The service's id of the item; empty if it gave none.
        item_id: String,
        /// Milliseconds of audio since the connection's first sample.
        at_ms: Option<u64>,
    },
    /// An interim result; replaces the previous one of this item.
    Interim { item: ItemKey, text: ItemText },
    /// The item's final text; no event for it follows.
    Final { item: ItemKey, text: ItemText },
    /// The service could not recognise this item; the connection continues.
    ItemFailed { item: ItemKey, message: Statement },
    /// The usage billed for this connection so far.
    Billed(Usage),
    /// All audio sent has been recognised and reported.
    Finished,
    /// The connection is unusable from here on.
    Failed(Failure),
    /// An event whose name is unknown to this protocol. A server that sends nothing else during
    /// speech uses another protocol.
    Unknown { name: Quote },
    /// An anomaly that does not end the connection.
    Warning(Statement),
}

/// The text of an item and its metadata.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ItemText {
    /// The service's id of the item, verbatim; empty if it gave none.
    pub item_id: String,
    /// Confirmed text (interim), or all of it (final).
    pub text: String,
    /// Tentative continuation of `text`; empty in a final.
    pub stash: String,
    pub language: Option<String>,
    pub emotion: Option<String>,
    /// The words that make up `text` and `stash`, if the service reports their times.
    pub words: Vec<WordTime>,
    /// The number that the service gives the speaker.
    pub speaker: Option<u32>,
    /// The item in another language. Its stash is empty in a final, too.
    pub translation: Option<Box<Translation>>,
}

/// A word and its times, in milliseconds of audio since the connection's first sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WordTime {
    pub text: String,
    pub begin_ms: u64,
    pub end_ms: u64,
}

/// Usage billed. A service counts either seconds or tokens.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Usage {
    /// Seconds of audio.
    pub seconds: f64,
    pub tokens: u64,
}

impl Usage {
    /// The later of two totals: they only grow, but may arrive out of order.
    pub fn max(self, other: Self) -> Self {
        Self {
            seconds: self.seconds.max(other.seconds),
            tokens: self.tokens.max(other.tokens),
        }
    }
}

impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            seconds: self.seconds + other.seconds,
            tokens: self.tokens.saturating_add(other.tokens),
        }
    }
}

/// A protocol's limits and requirements, in the mode it was set up for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Maximum audio in one frame, in bytes.
    pub max_audio_bytes: usize,
    /// Maximum sending speed, as a multiple of real time.
    pub max_speed: f64,
    /// Longest utterance between two commits, in milliseconds; `None` where the service segments.
    pub max_utterance_ms: Option<u64>,
    /// Maximum interval between frames, to be filled with silence if need be; `None` if unlimited.
    pub keep_alive: Option<Duration>,
    /// [`Command::Context`] takes effect at once.
    pub takes_context: bool,
    /// A connection takes one utterance: audio after a [`Command::Commit`] needs another one.
    pub one_utterance: bool,
}

/// The usual [`Profile::start_interval`]: 20 a second (documented).
pub(super) const START_INTERVAL: Duration = Duration::from_millis(55);

/// The properties of a protocol that matter before it connects.
pub(super) struct Profile {
    /// The value of the protocol property that selects it.
    pub nick: &'static str,
    /// Path of its endpoints, for a URL that has none.
    pub path: &'static str,
    /// Query parameter of its endpoints, if another protocol uses the same path.
    pub query: Option<(&'static str, &'static str)>,
    /// Prefixes of the names of its models.
    pub models: &'static [&'static str],
    /// Only self-hosted servers use it: it needs a URL.
    pub self_hosted: bool,
    /// The model's name goes into the URL's query.
    pub model_in_query: bool,
    /// Whether it takes Opus besides PCM.
    pub takes_opus: bool,
    /// Sample rates of the PCM that the model accepts, best first, in Hz.
    pub rates: fn(&str) -> &'static [u32],
    /// Whether the service offers the model in Beijing only.
    pub beijing_only: fn(&str) -> bool,
    /// The least time between two starts of sessions with the model that the service allows an
    /// account, and a tenth more, for others who use the account.
    pub start_interval: fn(&str) -> Duration,
    /// Checks the recognition settings, and returns the [`Setup`].
    pub set_up: fn(Recognition) -> Result<Setup, Failure>,
}

/// Makes a codec for each connection.
pub type CodecFactory = Box<dyn Fn() -> Box<dyn Codec> + Send>;

/// A protocol that is ready for use.
pub struct Setup {
    pub codecs: CodecFactory,
    /// Settings that have no effect: full sentences that name the property.
    pub warnings: Vec<String>,
    /// The server does not detect utterances: they have to be committed, whatever [`TurnDetection`]
    /// was requested.
    pub lacks_vad: bool,
    /// Silence after which the server ends an utterance, whatever [`TurnDetection`] was requested.
    pub silence: Option<Duration>,
}

/// Translates for one connection. A new connection needs a new codec.
pub trait Codec: Send {
    fn limits(&self) -> Limits;

    /// The connection is open; appends the frames that the client has to send first, if any.
    fn open(&mut self, out: &mut Vec<Frame>);

    /// Appends the frames of a command. If the server does not answer [`Command::Finish`], the
    /// resulting events are appended to `events`.
    fn command(&mut self, command: Command<'_>, events: &mut Vec<Event>, out: &mut Vec<Frame>);

    /// Translates a frame that arrived; may append frames in reply.
    fn decode(&mut self, frame: Incoming<'_>, events: &mut Vec<Event>, out: &mut Vec<Frame>);

    /// The failure for a connection closed by the service.
    fn closed(&self, code: Option<u16>, reason: &str) -> Failure;

    /// The failure for a WebSocket upgrade refused by the service.
    fn refused(&self, refusal: &Refusal<'_>) -> Failure;
}
