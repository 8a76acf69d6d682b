// SPDX-License-Identifier: MPL-2.0
//! What the settings make of a session: where to connect, what to ask of the recogniser, how to
//! send the audio.

use std::time::Duration;

use super::enums::{FailurePolicy, Region, TurnDetection};
use super::properties::Settings;
use crate::audio;
use crate::captions::Layout;
use crate::protocol::{
    self, Endpoint, EndpointSettings, Failure, Kind, Recognition, Secret, Setup, parse_hot_words,
};
use crate::session::{ClientVad, Config, RetryPolicy};

/// Related services cut sessions after 120 minutes; this one documents no limit.
const ROTATE_AFTER: Duration = Duration::from_secs(115 * 60);

impl Settings {
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
            model: self.model().to_owned(),
            key: self.key()?,
            allow_insecure: self.allow_insecure,
        };
        Endpoint::new(settings, self.protocol()?)
    }

    fn model(&self) -> &str {
        self.model.as_deref().unwrap_or_default()
    }

    fn protocol(&self) -> Result<protocol::Protocol, Failure> {
        protocol::Protocol::choose(self.protocol.asked(), self.url.as_deref(), self.model())
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

    /// The protocol, ready to be spoken for audio of this sample rate, with the service or another
    /// server.
    pub fn setup(&self, rate: u32, official: bool) -> Result<Setup, Failure> {
        let turn_detection = match self.turn_detection {
            TurnDetection::ServerVad => protocol::TurnDetection::ServerVad {
                threshold: self.vad_threshold,
                silence_ms: self.vad_silence_duration,
            },
            TurnDetection::Manual | TurnDetection::ClientVad => protocol::TurnDetection::Manual,
        };
        self.protocol()?.set_up(Recognition {
            model: self.model().trim().to_owned(),
            language: self.language_code.clone(),
            context: self.context(),
            vocabulary: parse_hot_words(self.vocabulary.as_deref().unwrap_or_default())?,
            vocabulary_id: unless_blank(self.vocabulary_id.as_deref()),
            rate,
            turn_detection,
            official,
        })
    }

    /// The session's share of the settings.
    pub fn session(&self, rate: u32, is_live: bool, setup: &Setup) -> Config {
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
            is_live,
            pause: Duration::from_nanos(self.pause()),
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
            threshold: self.vad_threshold.unwrap_or_default(),
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
        let millis = |ms: u32| Duration::from_millis(ms.into());
        Layout {
            max_chars: Some(self.max_chars as usize).filter(|columns| *columns > 0),
            min_duration: millis(self.min_duration),
            max_duration: Some(millis(self.max_duration)).filter(|max| !max.is_zero()),
        }
    }

    /// The context, unless it is blank.
    pub fn context(&self) -> Option<String> {
        unless_blank(self.context.as_deref())
    }

    /// Whole samples.
    fn bytes(&self, ms: u32, rate: u32) -> usize {
        audio::bytes(u64::from(ms) * u64::from(rate) / 1000)
    }
}

fn unless_blank(text: Option<&str>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty())
        .map(str::to_owned)
}
