// SPDX-License-Identifier: MPL-2.0
//! What the properties look like from outside.

use gst::glib;
use gst::prelude::*;

use super::settings::Settings;
use crate::captions::Mode;
use crate::{protocol, session};

/// Where the service runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstQwenAsrRegion")]
#[repr(i32)]
pub enum Region {
    #[default]
    #[enum_value(name = "International, Singapore", nick = "singapore")]
    Singapore,
    #[enum_value(name = "China mainland, Beijing", nick = "beijing")]
    Beijing,
}

/// What is spoken with the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstQwenAsrProtocol")]
#[repr(i32)]
pub enum Protocol {
    #[default]
    #[enum_value(name = "What the model and the URL's path call for", nick = "auto")]
    Auto,
    #[enum_value(
        name = "Sessions, as qwen3-asr-flash-realtime has them",
        nick = "realtime"
    )]
    Realtime,
    #[enum_value(
        name = "Tasks, as qwen-audio-…-asr, fun-asr and paraformer have them",
        nick = "inference"
    )]
    Inference,
    #[enum_value(
        name = "vLLM's own, for self-hosted models (experimental)",
        nick = "vllm"
    )]
    Vllm,
}

impl Protocol {
    /// The protocol that was asked for.
    pub fn asked(self) -> Option<protocol::Protocol> {
        match self {
            Protocol::Auto => None,
            Protocol::Realtime => Some(protocol::Protocol::Realtime),
            Protocol::Inference => Some(protocol::Protocol::Inference),
            Protocol::Vllm => Some(protocol::Protocol::Vllm),
        }
    }
}

/// Who decides where an utterance ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstQwenAsrTurnDetection")]
#[repr(i32)]
pub enum TurnDetection {
    #[default]
    #[enum_value(name = "The service's voice activity detection", nick = "server-vad")]
    ServerVad,
    #[enum_value(
        name = "The application, with the commit signal or event",
        nick = "manual"
    )]
    Manual,
    #[enum_value(
        name = "The element's own voice activity detection",
        nick = "client-vad"
    )]
    ClientVad,
}

/// Which text the src pad carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstQwenAsrResults")]
#[repr(i32)]
pub enum Results {
    #[default]
    #[enum_value(name = "Readable cues of finished utterances", nick = "final")]
    Final,
    #[enum_value(
        name = "The current line at every change, then the final cue",
        nick = "interim"
    )]
    Interim,
    #[enum_value(name = "Each word once it will not change any more", nick = "stable")]
    Stable,
}

impl From<Results> for Mode {
    fn from(results: Results) -> Self {
        match results {
            Results::Final => Self::Final,
            Results::Interim => Self::Interim,
            Results::Stable => Self::Stable,
        }
    }
}

/// What happens when the service cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstQwenAsrFailurePolicy")]
#[repr(i32)]
pub enum FailurePolicy {
    #[default]
    #[enum_value(
        name = "Retry what may pass, up to max-retries; else an error",
        nick = "error"
    )]
    Error,
    #[enum_value(
        name = "Warn, run on without captions, and keep trying whatever it is",
        nick = "continue"
    )]
    Continue,
}

/// What the connection to the service is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstQwenAsrConnectionState")]
#[repr(i32)]
pub enum ConnectionState {
    #[default]
    #[enum_value(name = "No audio came yet, or the session has ended", nick = "idle")]
    Idle,
    #[enum_value(name = "The connection is being made", nick = "connecting")]
    Connecting,
    #[enum_value(name = "Audio flows", nick = "connected")]
    Connected,
    #[enum_value(
        name = "The connection is down and will be tried again",
        nick = "reconnecting"
    )]
    Reconnecting,
    #[enum_value(name = "The last results are awaited", nick = "finishing")]
    Finishing,
    #[enum_value(name = "The session has failed", nick = "failed")]
    Failed,
}

impl ConnectionState {
    /// The name that messages use.
    pub fn nick(self) -> &'static str {
        match self {
            ConnectionState::Idle => "idle",
            ConnectionState::Connecting => "connecting",
            ConnectionState::Connected => "connected",
            ConnectionState::Reconnecting => "reconnecting",
            ConnectionState::Finishing => "finishing",
            ConnectionState::Failed => "failed",
        }
    }
}

impl From<session::State> for ConnectionState {
    fn from(state: session::State) -> Self {
        match state {
            session::State::Idle => ConnectionState::Idle,
            session::State::Connecting => ConnectionState::Connecting,
            session::State::Connected => ConnectionState::Connected,
            session::State::Reconnecting => ConnectionState::Reconnecting,
            session::State::Finishing => ConnectionState::Finishing,
            session::State::Failed => ConnectionState::Failed,
        }
    }
}

/// The longest time a property takes: a day.
const LONGEST: u32 = 86_400_000;

/// A number, of milliseconds mostly, that counts for the sessions to come.
fn uint(
    name: &'static str,
    nick: &'static str,
    blurb: &'static str,
    default: u32,
) -> glib::ParamSpecUIntBuilder<'static> {
    glib::ParamSpecUInt::builder(name)
        .nick(nick)
        .blurb(blurb)
        .maximum(LONGEST)
        .default_value(default)
        .mutable_ready()
}

/// What the session-related properties of both elements look like.
pub fn property_specs() -> Vec<glib::ParamSpec> {
    let defaults = Settings::default();
    let string = |name: &'static str, nick: &'static str, blurb: &'static str| {
        glib::ParamSpecString::builder(name)
            .nick(nick)
            .blurb(blurb)
            .mutable_ready()
    };
    vec![
        string(
            "api-key",
            "API key",
            "Key of the service, write-only; if unset, api-key-file or the environment's \
             DASHSCOPE_API_KEY is used",
        )
        .write_only()
        .build(),
        string(
            "api-key-file",
            "API key file",
            "Path of a file that holds the key, read when a session starts; api-key has precedence",
        )
        .build(),
        string(
            "url",
            "URL",
            "Endpoint, such as ws://127.0.0.1:8765; without a path it gets the protocol's own. \
             Overrides region and workspace",
        )
        .build(),
        glib::ParamSpecEnum::builder_with_default("region", defaults.region)
            .nick("Region")
            .blurb("Where the service runs; keys are valid in one region only")
            .mutable_ready()
            .build(),
        string(
            "workspace",
            "Workspace",
            "Id of a workspace, to use the workspace's own host",
        )
        .build(),
        string("model", "Model", "Model that recognises the speech")
            .default_value(Some(defaults.model.as_str()))
            .build(),
        glib::ParamSpecEnum::builder_with_default("protocol", defaults.protocol)
            .nick("Protocol")
            .blurb("What is spoken with the service")
            .mutable_ready()
            .build(),
        string(
            "language-code",
            "Language code",
            "Language that is spoken, as a BCP 47 tag such as en-US; unset, empty or auto: \
             detected. A wrong one makes the service translate",
        )
        .build(),
        string(
            "context",
            "Context",
            "Text with names and terms that may be spoken. A change counts at once with the models \
             of the inference protocol, with others for the sessions to come",
        )
        .mutable_playing()
        .build(),
        string(
            "vocabulary",
            "Vocabulary",
            "Hot words with weights from 1 to 5, or 50: Lingxi=4,Bailian=5. For the models \
             qwen-audio-…-asr",
        )
        .build(),
        string(
            "vocabulary-id",
            "Vocabulary id",
            "A list of hot words that the service keeps, for the models of the inference protocol",
        )
        .build(),
        glib::ParamSpecEnum::builder_with_default("turn-detection", defaults.turn_detection)
            .nick("Turn detection")
            .blurb("Who decides where an utterance ends")
            .mutable_ready()
            .build(),
        glib::ParamSpecDouble::builder("vad-threshold")
            .nick("VAD threshold")
            .blurb("Sensitivity of the voice activity detection, the service's or the element's; lower \
                 hears more")
            .minimum(-1.0)
            .maximum(1.0)
            .default_value(defaults.vad_threshold)
            .mutable_ready()
            .build(),
        uint(
            "vad-silence-duration",
            "VAD silence duration",
            "Silence that ends an utterance, in milliseconds",
            defaults.vad_silence_duration,
        )
        .minimum(200)
        .maximum(6000)
        .build(),
        uint(
            "chunk-duration",
            "Chunk duration",
            "Audio in one frame to the service, in milliseconds",
            defaults.chunk_duration,
        )
        .minimum(10)
        .maximum(5000)
        .build(),
        glib::ParamSpecDouble::builder("max-speed")
            .nick("Maximum speed")
            .blurb(
                "How many times real time audio may be sent, for files and for catching up; 0 = \
                 what the service bears: 1.25 with server-vad, 20 with manual and client-vad",
            )
            .minimum(0.0)
            .maximum(10_000.0)
            .default_value(defaults.max_speed)
            .mutable_ready()
            .build(),
        glib::ParamSpecBoolean::builder("allow-insecure")
            .nick("Allow insecure")
            .blurb("Let the key travel over ws:// to a host that is not this machine")
            .default_value(defaults.allow_insecure)
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("failure-policy", defaults.failure_policy)
            .nick("Failure policy")
            .blurb("What happens when the service cannot be used")
            .mutable_ready()
            .build(),
        glib::ParamSpecInt::builder("max-retries")
            .nick("Maximum retries")
            .blurb(
                "Attempts to reconnect in an outage before it is an error; -1 = for ever. Means \
                 nothing with failure-policy=continue",
            )
            .minimum(-1)
            .default_value(defaults.max_retries)
            .mutable_ready()
            .build(),
        uint(
            "connect-timeout",
            "Connect timeout",
            "How long making the connection may take, in milliseconds",
            defaults.connect_timeout,
        )
        .minimum(1)
        .build(),
        uint(
            "response-timeout",
            "Response timeout",
            "How long the service may take to accept a session, to answer a ping, and to give \
             results for speech, in milliseconds",
            defaults.response_timeout,
        )
        .minimum(1)
        .build(),
        uint(
            "finish-timeout",
            "Finish timeout",
            "How long each of the last results may take at the end of the stream, in milliseconds",
            defaults.finish_timeout,
        )
        .build(),
        uint(
            "max-queue-time",
            "Maximum queue time",
            "Audio kept for the network, and as much again for sending it anew after an outage, in \
             milliseconds; beyond that a live stream loses its oldest audio and another one waits",
            defaults.max_queue_time,
        )
        .minimum(200)
        .build(),
        glib::ParamSpecEnum::builder_with_default("connection-state", ConnectionState::default())
            .nick("Connection state")
            .blurb("What the connection to the service is doing; changes are notified")
            .read_only()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb(
                "bytes-sent (audio), seconds-sent, seconds-billed, tokens-billed, sessions, outages, reconnects, late-texts, \
                 finals, interims, audio-lost (nanoseconds), queue-level (nanoseconds)",
            )
            .read_only()
            .build(),
    ]
}

/// What the properties of an element with a src pad for text look like, besides.
pub fn text_property_specs() -> Vec<glib::ParamSpec> {
    let defaults = Settings::default();
    vec![
        glib::ParamSpecEnum::builder_with_default("results", defaults.results)
            .nick("Results")
            .blurb("Which text the src pad carries")
            .mutable_ready()
            .build(),
        uint(
            "max-chars",
            "Maximum characters",
            "Most columns of a cue, where wide characters count 2; 0 = no limit",
            defaults.max_chars,
        )
        .build(),
        uint(
            "min-duration",
            "Minimum duration",
            "Shortest showing of a cue, in milliseconds; 0 = no limit",
            defaults.min_duration,
        )
        .build(),
        uint(
            "max-duration",
            "Maximum duration",
            "Longest showing of a cue, in milliseconds; 0 = no limit",
            defaults.max_duration,
        )
        .build(),
        uint(
            "latency",
            "Latency",
            "How long a live pipeline waits for text, in milliseconds",
            defaults.latency,
        )
        .mutable_playing()
        .build(),
        glib::ParamSpecUInt::builder("max-observed-delay")
            .nick("Maximum observed delay")
            .blurb(
                "Longest time from when something was said to when its text left, in a live \
                 pipeline, in milliseconds; changes are notified. Beyond latency + lateness the \
                 text is late",
            )
            .read_only()
            .build(),
        uint(
            "lateness",
            "Lateness",
            "How much later than the audio the text is shown, in milliseconds",
            defaults.lateness,
        )
        .build(),
    ]
}
