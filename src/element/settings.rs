// SPDX-License-Identifier: MPL-2.0
//! The settings behind the properties, and what they make of a session. Defaults live here alone.

use std::time::Duration;

use gst::glib;
use gst::prelude::*;

use super::properties::{FailurePolicy, Protocol, Region, Results, TurnDetection};
use crate::captions::Layout;
use crate::protocol::{
    self, Endpoint, EndpointSettings, Failure, KeyFile, KeySource, Recognition, Secret, Setup,
    parse_hot_words,
};
use crate::session::{ClientVad, Config, RetryPolicy};

/// Related services cut sessions after 120 minutes; this one documents no limit.
const ROTATE_AFTER: Duration = Duration::from_secs(115 * 60);

/// The share of connect-timeout that a key file may take. It fails before the whole attempt does, so
/// that the error names it.
const KEY_SHARE: f64 = 0.9;

const KEY_VARIABLE: &str = "DASHSCOPE_API_KEY";

/// All settings of an element. Times are in milliseconds.
#[derive(Debug, Clone)]
pub struct Settings {
    pub api_key: Option<Secret>,
    pub api_key_file: Option<KeyFile>,
    pub url: Option<String>,
    pub region: Region,
    pub workspace: Option<String>,
    pub model: String,
    pub protocol: Protocol,
    pub language_code: Option<String>,
    pub context: Option<String>,
    pub vocabulary: Option<String>,
    pub vocabulary_id: Option<String>,
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
            protocol: Protocol::default(),
            language_code: None,
            context: None,
            vocabulary: None,
            vocabulary_id: None,
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
            "api-key-file" => {
                let path = get::<Option<String>>(value).filter(|path| !path.is_empty());
                self.api_key_file = path.map(KeyFile::new);
            }
            "url" => self.url = get(value),
            "region" => self.region = get(value),
            "workspace" => self.workspace = get(value),
            "model" => self.model = get::<Option<String>>(value).unwrap_or_default(),
            "protocol" => self.protocol = get(value),
            "language-code" => self.language_code = get(value),
            "context" => self.context = get(value),
            "vocabulary" => self.vocabulary = get(value),
            "vocabulary-id" => self.vocabulary_id = get(value),
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
            "api-key-file" => self.api_key_file.as_ref().map(KeyFile::path).to_value(),
            "url" => self.url.to_value(),
            "region" => self.region.to_value(),
            "workspace" => self.workspace.to_value(),
            "model" => self.model.to_value(),
            "protocol" => self.protocol.to_value(),
            "language-code" => self.language_code.to_value(),
            "context" => self.context.to_value(),
            "vocabulary" => self.vocabulary.to_value(),
            "vocabulary-id" => self.vocabulary_id.to_value(),
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
            key: self.key(),
            key_timeout: Some(
                Duration::from_millis(self.connect_timeout.into()).mul_f64(KEY_SHARE),
            ),
            headers: Vec::new(),
            allow_insecure: self.allow_insecure,
        };
        Endpoint::new(settings, self.protocol()?)
    }

    fn protocol(&self) -> Result<protocol::Protocol, Failure> {
        protocol::Protocol::choose(self.protocol.asked(), self.url.as_deref(), &self.model)
    }

    /// The source of the key. A file is not read here, which could take long.
    fn key(&self) -> Option<KeySource> {
        let given = self.api_key.clone().map(KeySource::Given);
        given
            .or_else(|| self.api_key_file.clone().map(KeySource::File))
            .or_else(|| key_of_environment().map(KeySource::Given))
    }

    /// A warning if the key of the environment, which is Alibaba Cloud's, goes to another host.
    fn stray_key(&self) -> Option<String> {
        let is_set = self.api_key.is_some() || self.api_key_file.is_some();
        let endpoint = self.endpoint().ok().filter(|_| !is_set)?;
        let is_meant = endpoint.is_official() || endpoint.is_loopback();
        (endpoint.key().is_some() && !is_meant).then(|| {
            format!(
                "The key in {KEY_VARIABLE} is sent to {}, which is not Alibaba Cloud's: set api-key \
                 or api-key-file to the key of that server.",
                endpoint.authority()
            )
        })
    }

    /// The protocol, ready to be spoken for audio of this sample rate.
    pub fn setup(&self, rate: u32) -> Result<Setup, Failure> {
        let turn_detection = match self.turn_detection {
            TurnDetection::ServerVad => protocol::TurnDetection::ServerVad {
                threshold: self.vad_threshold,
                silence_ms: self.vad_silence_duration,
            },
            TurnDetection::Manual | TurnDetection::ClientVad => protocol::TurnDetection::Manual,
        };
        let mut setup = self.protocol()?.set_up(Recognition {
            model: self.model.trim().to_owned(),
            language: self.language_code.clone(),
            context: self.context(),
            vocabulary: parse_hot_words(self.vocabulary.as_deref().unwrap_or_default())?,
            vocabulary_id: unless_blank(self.vocabulary_id.as_deref()),
            rate,
            turn_detection,
        })?;
        setup.warnings.extend(self.stray_key());
        Ok(setup)
    }

    /// The session's share of the settings.
    pub fn session(&self, rate: u32, setup: &Setup) -> Config {
        let millis = |ms: u32| Duration::from_millis(ms.into());
        Config {
            rate,
            chunk_bytes: self.bytes(self.chunk_duration, rate),
            max_speed: self.max_speed,
            client_vad: self.client_vad(setup),
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
            rotate_after: ROTATE_AFTER,
            seed: fastrand::u64(..),
        }
    }

    /// How the element finds utterances, if it is to.
    fn client_vad(&self, setup: &Setup) -> Option<ClientVad> {
        let finds_them = match self.turn_detection {
            TurnDetection::ServerVad => setup.lacks_vad,
            TurnDetection::Manual => false,
            TurnDetection::ClientVad => true,
        };
        finds_them.then_some(ClientVad {
            threshold: self.vad_threshold,
            silence_ms: self.vad_silence_duration,
        })
    }

    /// Bytes of audio that the queue to the network may hold.
    pub fn queue_bytes(&self, rate: u32) -> usize {
        self.bytes(self.max_queue_time, rate)
    }

    /// Silence that surely ends an utterance, in nanoseconds; none does in manual mode.
    pub fn pause(&self) -> u64 {
        match self.turn_detection {
            // Some more than is needed: the detection works in frames of its own.
            TurnDetection::ServerVad | TurnDetection::ClientVad => {
                u64::from(self.vad_silence_duration + 200) * 1_000_000
            }
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

    /// The context, unless it is blank.
    pub fn context(&self) -> Option<String> {
        unless_blank(self.context.as_deref())
    }

    /// Whole samples.
    fn bytes(&self, ms: u32, rate: u32) -> usize {
        (u64::from(ms) * u64::from(rate) / 1000 * 2) as usize
    }
}

fn key_of_environment() -> Option<Secret> {
    let key = std::env::var(KEY_VARIABLE).ok();
    key.as_deref().and_then(Secret::new)
}

fn unless_blank(text: Option<&str>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty())
        .map(str::to_owned)
}
