// SPDX-License-Identifier: MPL-2.0
//! The properties that make up a session. Their defaults live in [`Settings`] alone.

use std::time::Duration;

use gst::glib;
use gst::prelude::*;

use crate::captions::Layout;
use crate::protocol::realtime::{self, Realtime};
use crate::protocol::{
    self, Endpoint, EndpointSettings, Failure, Kind, Recognition, Secret, normalise_language,
};
use crate::session::{self, CodecFactory, Config, RetryPolicy};

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

/// All settings of an element. Times are in milliseconds.
#[derive(Debug, Clone)]
pub struct Settings {
    pub api_key: Option<Secret>,
    pub api_key_file: Option<String>,
    pub url: Option<String>,
    pub region: Region,
    pub workspace: Option<String>,
    pub model: String,
    pub language_code: Option<String>,
    pub context: Option<String>,
    pub turn_detection: TurnDetection,
    pub vad_threshold: f64,
    pub vad_silence_duration: u32,
    pub chunk_duration: u32,
    pub max_speed: f64,
    pub allow_insecure: bool,
    pub failure_policy: FailurePolicy,
    pub max_retries: i32,
    pub connect_timeout: u32,
    pub response_timeout: u32,
    pub finish_timeout: u32,
    pub max_queue_time: u32,
    pub results: Results,
    pub max_chars: u32,
    pub min_duration: u32,
    pub max_duration: u32,
    pub latency: u32,
    pub lateness: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            api_key: None,
            api_key_file: None,
            url: None,
            region: Region::default(),
            workspace: None,
            model: "qwen3-asr-flash-realtime".into(),
            language_code: None,
            context: None,
            turn_detection: TurnDetection::default(),
            vad_threshold: 0.0,
            vad_silence_duration: 400,
            chunk_duration: 100,
            max_speed: 0.0,
            allow_insecure: false,
            failure_policy: FailurePolicy::default(),
            max_retries: -1,
            connect_timeout: 10_000,
            response_timeout: 15_000,
            finish_timeout: 20_000,
            max_queue_time: 30_000,
            results: Results::default(),
            max_chars: 84,
            min_duration: 1000,
            max_duration: 7000,
            latency: 4000,
            lateness: 0,
        }
    }
}

/// The longest time a property takes: a day.
const LONGEST: u32 = 86_400_000;

/// What the session-related properties of both elements look like.
pub fn property_specs() -> Vec<glib::ParamSpec> {
    let defaults = Settings::default();
    let string = |name: &'static str, nick: &'static str, blurb: &'static str| {
        glib::ParamSpecString::builder(name)
            .nick(nick)
            .blurb(blurb)
            .mutable_ready()
    };
    let uint = |name: &'static str, nick: &'static str, blurb: &'static str, default: u32| {
        glib::ParamSpecUInt::builder(name)
            .nick(nick)
            .blurb(blurb)
            .maximum(LONGEST)
            .default_value(default)
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
            "Whole endpoint, such as ws://127.0.0.1:8765/api-ws/v1/realtime; overrides region and \
             workspace",
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
            "Text with names and terms that may be spoken",
        )
        .build(),
        glib::ParamSpecEnum::builder_with_default("turn-detection", defaults.turn_detection)
            .nick("Turn detection")
            .blurb("Who decides where an utterance ends")
            .mutable_ready()
            .build(),
        glib::ParamSpecDouble::builder("vad-threshold")
            .nick("VAD threshold")
            .blurb("Sensitivity of the service's voice activity detection; lower hears more")
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
                 what the service bears: 1.25 with server-vad, 20 with manual",
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
            "How long the last results may take at the end of the stream, in milliseconds",
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
                "bytes-sent (audio), seconds-sent, seconds-billed, sessions, outages, reconnects, \
                 finals, interims, audio-lost (nanoseconds), queue-level (nanoseconds)",
            )
            .read_only()
            .build(),
    ]
}

/// What the properties of an element with a src pad for text look like, besides.
pub fn text_property_specs() -> Vec<glib::ParamSpec> {
    let defaults = Settings::default();
    let uint = |name: &'static str, nick: &'static str, blurb: &'static str, default: u32| {
        glib::ParamSpecUInt::builder(name)
            .nick(nick)
            .blurb(blurb)
            .maximum(LONGEST)
            .default_value(default)
            .mutable_ready()
    };
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
        uint(
            "lateness",
            "Lateness",
            "How much later than the audio the text is shown, in milliseconds",
            defaults.lateness,
        )
        .build(),
    ]
}

impl Settings {
    /// Sets a writable property of those above.
    pub fn set(&mut self, value: &glib::Value, pspec: &glib::ParamSpec) {
        // The value has the type that the pspec names: GObject converts or refuses before.
        fn get<'a, T: glib::value::FromValue<'a>>(value: &'a glib::Value) -> T {
            value
                .get()
                .unwrap_or_else(|_| unreachable!("type checked by GObject"))
        }
        match pspec.name() {
            "api-key" => {
                self.api_key = get::<Option<String>>(value)
                    .as_deref()
                    .and_then(Secret::new);
            }
            "api-key-file" => self.api_key_file = get(value),
            "url" => self.url = get(value),
            "region" => self.region = get(value),
            "workspace" => self.workspace = get(value),
            "model" => self.model = get::<Option<String>>(value).unwrap_or_default(),
            "language-code" => self.language_code = get(value),
            "context" => self.context = get(value),
            "turn-detection" => self.turn_detection = get(value),
            "vad-threshold" => self.vad_threshold = get(value),
            "vad-silence-duration" => self.vad_silence_duration = get(value),
            "chunk-duration" => self.chunk_duration = get(value),
            "max-speed" => self.max_speed = get(value),
            "allow-insecure" => self.allow_insecure = get(value),
            "failure-policy" => self.failure_policy = get(value),
            "max-retries" => self.max_retries = get(value),
            "connect-timeout" => self.connect_timeout = get(value),
            "response-timeout" => self.response_timeout = get(value),
            "finish-timeout" => self.finish_timeout = get(value),
            "max-queue-time" => self.max_queue_time = get(value),
            "results" => self.results = get(value),
            "max-chars" => self.max_chars = get(value),
            "min-duration" => self.min_duration = get(value),
            "max-duration" => self.max_duration = get(value),
            "latency" => self.latency = get(value),
            "lateness" => self.lateness = get(value),
            name => unreachable!("no writable property '{name}' is installed"),
        }
    }

    /// The value of a readable property of those above that is a setting.
    pub fn get(&self, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "api-key-file" => self.api_key_file.to_value(),
            "url" => self.url.to_value(),
            "region" => self.region.to_value(),
            "workspace" => self.workspace.to_value(),
            "model" => self.model.to_value(),
            "language-code" => self.language_code.to_value(),
            "context" => self.context.to_value(),
            "turn-detection" => self.turn_detection.to_value(),
            "vad-threshold" => self.vad_threshold.to_value(),
            "vad-silence-duration" => self.vad_silence_duration.to_value(),
            "chunk-duration" => self.chunk_duration.to_value(),
            "max-speed" => self.max_speed.to_value(),
            "allow-insecure" => self.allow_insecure.to_value(),
            "failure-policy" => self.failure_policy.to_value(),
            "max-retries" => self.max_retries.to_value(),
            "connect-timeout" => self.connect_timeout.to_value(),
            "response-timeout" => self.response_timeout.to_value(),
            "finish-timeout" => self.finish_timeout.to_value(),
            "max-queue-time" => self.max_queue_time.to_value(),
            "results" => self.results.to_value(),
            "max-chars" => self.max_chars.to_value(),
            "min-duration" => self.min_duration.to_value(),
            "max-duration" => self.max_duration.to_value(),
            "latency" => self.latency.to_value(),
            "lateness" => self.lateness.to_value(),
            name => unreachable!("no readable property '{name}' is installed"),
        }
    }

    /// Whether the pipeline is to run on whatever happens.
    pub fn keeps_going(&self) -> bool {
        self.failure_policy == FailurePolicy::Continue
    }

    /// Where to connect; checks everything that can be checked without connecting.
    pub fn endpoint(&self) -> Result<Endpoint, Failure> {
        let settings = EndpointSettings {
            url: self.url.clone(),
            region: match self.region {
                Region::Singapore => protocol::Region::Singapore,
                Region::Beijing => protocol::Region::Beijing,
            },
            workspace: self.workspace.clone(),
            model: self.model.clone(),
            key: self.key()?,
            allow_insecure: self.allow_insecure,
        };
        Endpoint::new(settings, realtime::PATH)
    }

    fn key(&self) -> Result<Option<Secret>, Failure> {
        if self.api_key.is_some() {
            return Ok(self.api_key.clone());
        }
        if let Some(path) = self.api_key_file.as_deref().filter(|path| !path.is_empty()) {
            let text = std::fs::read_to_string(path).map_err(|error| {
                Failure::new(
                    Kind::Unauthorized,
                    format!("The key file '{path}' cannot be read: {error}."),
                    "Check the api-key-file property and the file's permissions.",
                )
            })?;
            return Secret::new(&text).map(Some).ok_or_else(|| {
                Failure::new(
                    Kind::Unauthorized,
                    format!("The key file '{path}' is empty."),
                    "Put the API key into it, or unset the api-key-file property.",
                )
            });
        }
        Ok(std::env::var("DASHSCOPE_API_KEY")
            .ok()
            .as_deref()
            .and_then(Secret::new))
    }

    /// What makes a codec for each connection at this sample rate.
    pub fn codecs(&self, rate: u32) -> Result<CodecFactory, Failure> {
        let language = normalise_language(self.language_code.as_deref()).map_err(|error| {
            let remedy = "Set language-code to one of these, or leave it empty to have the \
                          language detected.";
            Failure::new(Kind::Settings, error.to_string(), remedy)
        })?;
        let turn_detection = match self.turn_detection {
            TurnDetection::ServerVad => protocol::TurnDetection::ServerVad {
                threshold: self.vad_threshold,
                silence_ms: self.vad_silence_duration,
            },
            TurnDetection::Manual => protocol::TurnDetection::Manual,
        };
        let recognition = Recognition {
            model: self.model.trim().to_owned(),
            language,
            context: self.context(),
            rate,
            turn_detection,
        };
        Ok(Box::new(move || {
            Box::new(Realtime::new(recognition.clone()))
        }))
    }

    /// The session's share of the settings.
    pub fn session(&self, rate: u32) -> Config {
        let millis = |ms: u32| Duration::from_millis(ms.into());
        Config {
            rate,
            chunk_bytes: self.bytes(self.chunk_duration, rate),
            max_speed: self.max_speed,
            context: self.context(),
            connect_timeout: millis(self.connect_timeout),
            response_timeout: millis(self.response_timeout),
            finish_timeout: millis(self.finish_timeout),
            backlog_bytes: self.queue_bytes(rate),
            retry: RetryPolicy {
                keep_going: self.keeps_going(),
                // Any negative number is -1.
                max_retries: u32::try_from(self.max_retries).ok(),
            },
            seed: fastrand::u64(..),
        }
    }

    /// Bytes of audio that the queue to the network may hold.
    pub fn queue_bytes(&self, rate: u32) -> usize {
        self.bytes(self.max_queue_time, rate)
    }

    /// Silence that surely ends an utterance, in nanoseconds; none does in manual mode.
    pub fn pause(&self) -> u64 {
        match self.turn_detection {
            // Some more than the service needs: its detection works in frames of its own.
            TurnDetection::ServerVad => u64::from(self.vad_silence_duration + 200) * 1_000_000,
            TurnDetection::Manual => 0,
        }
    }

    pub fn layout(&self) -> Layout {
        let nanos = |ms: u32| u64::from(ms) * 1_000_000;
        Layout {
            max_chars: self.max_chars as usize,
            min_duration: nanos(self.min_duration),
            max_duration: nanos(self.max_duration),
        }
    }

    fn context(&self) -> Option<String> {
        self.context
            .clone()
            .filter(|context| !context.trim().is_empty())
    }

    /// Whole samples.
    fn bytes(&self, ms: u32, rate: u32) -> usize {
        (u64::from(ms) * u64::from(rate) / 1000 * 2) as usize
    }
}
