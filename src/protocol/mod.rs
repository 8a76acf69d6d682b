// SPDX-License-Identifier: MPL-2.0
//! The wire as data: commands become frames, frames become events.
//!
//! A [`Codec`] translates for one connection. It is pure and stateful: no socket, no clock, nothing
//! of GStreamer. It never decides to wait, retry or give up; it translates and classifies. Its
//! invariants:
//!
//! - whatever the other side sends, it does not panic, and what it keeps is bounded;
//! - items are numbered densely, in the order in which the service first mentioned them;
//! - an item has one [`Event::Final`] or [`Event::ItemFailed`] at most, and nothing comes of it
//!   afterwards;
//! - nothing comes after [`Event::Finished`] or [`Event::Failed`].
//!
//! The element picks a [`Protocol`] by its settings and lets it [set up](Protocol::set_up); the
//! session makes a codec for each connection, hands it commands and frames, and sends what it
//! answers.
//!
//! | protocol | module | servers |
//! |---|---|---|
//! | realtime | `realtime::qwen` | `/api-ws/v1/realtime` of the service, and what is compatible |
//! | realtime | `realtime::openai` | `/v1/realtime` of sglang |
//! | realtime | `sglang_omni` | `/v1/realtime?intent=transcription` of sglang-omni |
//! | inference | `inference` | `/api-ws/v1/inference` of the service |
//! | vllm | `vllm` | `/v1/realtime` of vLLM |
//!
//! A new one takes a module with a [`Profile`] and a codec, and its row in [`choice`].

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
mod realtime;
mod sglang_omni;
mod statement;
mod texts;
mod vllm;

use std::ops::Add;
use std::time::Duration;

pub use choice::Protocol;
pub use endpoint::{Endpoint, EndpointSettings, Region, is_localhost, redacted};
pub use failure::{Failure, Kind};
pub use hotwords::{HotWord, parse as parse_hot_words};
pub use key::{KeyFault, KeyFile, KeySource, Secret};
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

/// An item of a connection: what the session makes an utterance of. Dense, from 0, in the order in
/// which the service first mentioned them.
pub type ItemKey = u64;

/// Who decides where an utterance ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TurnDetection {
    /// The service's voice activity detection.
    ServerVad {
        /// Sensitivity in [-1, 1]; lower detects more. `None` leaves it to the protocol, and to the
        /// server where that is not the service's own.
        threshold: Option<f64>,
        /// Silence that ends an utterance, in milliseconds, in [200, 6000].
        silence_ms: u32,
    },
    /// The client, with [`Command::Commit`].
    Manual,
}

/// An answer to the WebSocket upgrade with another status than 101.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Refusal<'a> {
    pub status: u16,
    pub body: &'a str,
    /// Whether the request had an API key.
    pub has_key: bool,
}

/// What is asked of the recogniser for the length of a connection.
#[derive(Debug, Clone, PartialEq)]
pub struct Recognition {
    pub model: String,
    /// BCP 47 tag; `None` lets the service detect the language.
    pub language: Option<String>,
    /// Text that biases the recognition, such as names and terms.
    pub context: Option<String>,
    /// Words to be preferred.
    pub vocabulary: Vec<HotWord>,
    /// The name of a list of such words that the service keeps.
    pub vocabulary_id: Option<String>,
    /// Samples per second: 16000 or 8000.
    pub rate: u32,
    pub turn_detection: TurnDetection,
    /// Whether the host is the service's own, and not a server that speaks one of its protocols.
    pub official: bool,
}

/// What the session asks the codec to put on the wire.
#[derive(Debug, Clone, Copy)]
pub enum Command<'a> {
    /// S16LE mono samples, whole ones, at most [`Limits::max_audio_bytes`].
    Audio(&'a [u8]),
    /// End the utterance here (manual turn detection only).
    Commit,
    /// Another context from here on. Protocols that cannot change it ignore this.
    Context(&'a str),
    /// No more audio will come: recognise the rest, then say so.
    Finish,
}

/// What the service said.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The service accepted the settings: audio may flow.
    Ready { session_id: Option<String> },
    /// The item exists; nothing else is known of it yet.
    ItemSeen { item: ItemKey },
    SpeechStarted {
        item: ItemKey,
        /// The service's name of the item; empty when it gave none.
        item_id: String,
        /// Milliseconds of audio since the connection's first sample.
        at_ms: Option<u64>,
    },
    SpeechStopped {
        item: ItemKey,
        /// The service's name of the item; empty when it gave none.
        item_id: String,
        /// Milliseconds of audio since the connection's first sample.
        at_ms: Option<u64>,
    },
    /// Replaces everything said of this item before.
    Interim { item: ItemKey, text: ItemText },
    /// The item's final text; nothing more comes for it.
    Final { item: ItemKey, text: ItemText },
    /// The service could not recognise this item; the connection goes on.
    ItemFailed { item: ItemKey, message: Statement },
    /// What this connection has cost so far.
    Billed(Usage),
    /// Everything sent was recognised and reported.
    Finished,
    /// The connection is of no more use.
    Failed(Failure),
    /// An event of a name that this protocol does not have. A server that says nothing else while
    /// people speak speaks another one.
    Unknown { name: Quote },
    /// Something odd that does not end the connection.
    Warning(Statement),
}

/// The text of an item and what came with it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ItemText {
    /// The service's name of the item, as it wrote it; empty when it gave none.
    pub item_id: String,
    /// Confirmed text (interim), or all of it (final).
    pub text: String,
    /// Tentative continuation of `text`; empty in a final.
    pub stash: String,
    pub language: Option<String>,
    pub emotion: Option<String>,
    /// The words that make up `text` and `stash`, where the service tells their times.
    pub words: Vec<WordTime>,
}

/// A word, and when it was spoken: milliseconds of audio since the connection's first sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WordTime {
    pub text: String,
    pub begin_ms: u64,
    pub end_ms: u64,
}

/// What was billed. Services count one or the other.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Usage {
    /// Seconds of audio.
    pub seconds: f64,
    pub tokens: u64,
}

impl Usage {
    /// Of two totals the later one: they only grow, and may arrive in the wrong order.
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

/// What a protocol bears and needs, in the mode it was set up for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Most audio in one frame, in bytes.
    pub max_audio_bytes: usize,
    /// How many times real time audio may be sent.
    pub max_speed: f64,
    /// Longest utterance between two commits, in milliseconds; `None` where the service segments.
    pub max_utterance_ms: Option<u64>,
    /// Something has to be sent this often, if only silence; `None` where nothing has.
    pub keep_alive: Option<Duration>,
    /// [`Command::Context`] counts at once.
    pub takes_context: bool,
}

/// What sets a protocol apart before anything is said.
pub(super) struct Profile {
    /// The value of the protocol property that asks for it.
    pub nick: &'static str,
    /// Path of its endpoints, for a URL that has none.
    pub path: &'static str,
    /// What the query of its endpoints says, where their path is another protocol's as well.
    pub query: Option<(&'static str, &'static str)>,
    /// What the names of its models begin with.
    pub models: &'static [&'static str],
    /// Only servers of one's own speak it: it needs a URL.
    pub self_hosted: bool,
    /// The model's name goes into the URL's query.
    pub model_in_query: bool,
    /// Whether the service has the model in Beijing only.
    pub beijing_only: fn(&str) -> bool,
    /// Checks what is asked for, and makes the codecs.
    pub set_up: fn(Recognition) -> Result<Setup, Failure>,
}

/// Makes a codec for each connection.
pub type CodecFactory = Box<dyn Fn() -> Box<dyn Codec> + Send>;

/// A protocol that is ready to be spoken.
pub struct Setup {
    pub codecs: CodecFactory,
    /// What was asked for and cannot be had: full sentences that name the property.
    pub warnings: Vec<String>,
    /// The other side does not detect utterances: they have to be committed to it, whatever
    /// [`TurnDetection`] was asked for.
    pub lacks_vad: bool,
}

/// Translates for one connection. A new connection takes a new codec.
pub trait Codec: Send {
    fn limits(&self) -> Limits;

    /// The connection is open; appends what has to be said first, if anything.
    fn open(&mut self, out: &mut Vec<Frame>);

    /// Appends the frames of a command. Where the other side has no answer to
    /// [`Command::Finish`], what it means is appended to the events.
    fn command(&mut self, command: Command<'_>, events: &mut Vec<Event>, out: &mut Vec<Frame>);

    /// Translates a frame that arrived; may answer it with frames of its own.
    fn decode(&mut self, frame: Incoming<'_>, events: &mut Vec<Event>, out: &mut Vec<Frame>);

    /// What it means that the service closed the connection.
    fn closed(&self, code: Option<u16>, reason: &str) -> Failure;

    /// What it means that the service refused the WebSocket upgrade.
    fn refused(&self, refusal: &Refusal<'_>) -> Failure;
}
