// SPDX-License-Identifier: MPL-2.0
//! Converts the settings into a session's configuration: endpoint, recognition, audio and retries.
//! Called by the uplink when a session starts or is updated; reads no file and opens no connection.

use std::time::Duration;

use super::enums::{FailurePolicy, Region, TurnDetection};
use super::properties::Settings;
use crate::audio::{Coding, Format};
use crate::captions::Layout;
use crate::protocol::{
    self, Endpoint, EndpointSettings, Failure, KeySource, Kind, Recognition, Secret, Setup, Target,
    not_decoded, parse_hot_words, parse_phrases,
};
use crate::session::{ClientVad, Config, RetryPolicy};
use crate::timeline::Samples;

/// Related services cut sessions after 120 minutes; this one documents no limit.
const ROTATE_AFTER: Duration = Duration::from_secs(115 * 60);

/// What a session is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// What the model property's model does. One that translates does so into this language, or
    /// into its default one if there is none.
    Model { target: Option<String> },
    /// To translate into this language, by the translation-model property's model.
    Translation { target: String },
}

impl Job {
    /// The language that is translated into.
    pub fn target(&self) -> Option<&str> {
        match self {
            Self::Model { target } => target.as_deref(),
            Self::Translation { target } => Some(target),
        }
    }

    /// Whether a change of this property makes a new connection necessary.
    pub fn is_concerned(&self, changed: &str) -> bool {
        let is_of_model = ["language-code", "context", "vocabulary"].contains(&changed);
        match self {
            Self::Model { target } => target.is_some() || changed != "translation-vocabulary",
            Self::Translation { .. } => !is_of_model,
        }
    }
}

/// The share of connect-timeout that reading a key file may take: less than all of it, so that the
/// error names the file.
const KEY_SHARE: f64 = 0.9;

/// What a pause is longer than the silence that ends an utterance.
const PAUSE_MARGIN: Duration = Duration::from_millis(200);

const KEY_VARIABLE: &str = "DASHSCOPE_API_KEY";

impl Settings {
    /// Whether the pipeline has to keep running despite failures.
    pub fn keeps_going(&self) -> bool {
        self.failure_policy == FailurePolicy::Continue
    }

    /// The endpoints, at least one, in order of preference; checks everything that can be checked
    /// without connecting.
    pub fn endpoints(&self, job: &Job) -> Result<Vec<Endpoint>, Failure> {
        let addresses = self.url.addresses();
        if addresses.is_empty() {
            return Ok(vec![self.endpoint(job, None)?]);
        }
        let protocol = self.protocol(job)?;
        let mut endpoints = Vec::with_capacity(addresses.len());
        for address in addresses {
            let endpoint = self.endpoint(job, Some(address))?;
            let first = endpoints.first().unwrap_or(&endpoint);
            let is_alike = first.is_official() == endpoint.is_official();
            if !is_alike || self.protocol_at(job, Some(address))? != protocol {
                return Err(Failure::new(
                    protocol::Kind::Settings,
                    "The addresses of the url property belong to servers of different kinds.",
                    "Name only addresses of servers that speak the same protocol, and the public \
                     service or one's own servers, not both.",
                ));
            }
            endpoints.push(endpoint);
        }
        Ok(endpoints)
    }

    fn endpoint(&self, job: &Job, url: Option<&str>) -> Result<Endpoint, Failure> {
        let settings = EndpointSettings {
            url: match job {
                Job::Model { .. } => url.map(str::to_owned),
                Job::Translation { .. } => url.map(protocol::beside),
            },
            region: match self.region {
                Region::Singapore => protocol::Region::Singapore,
                Region::Beijing => protocol::Region::Beijing,
            },
            workspace: self.workspace.clone(),
            model: self.model(job).to_owned(),
            key: self.key(),
            key_timeout: Some(
                Duration::from_millis(self.connect_timeout.into()).mul_f64(KEY_SHARE),
            ),
            headers: self.headers.0.clone(),
            allow_insecure: self.allow_insecure,
        };
        Endpoint::new(settings, self.protocol(job)?)
    }

    fn model(&self, job: &Job) -> &str {
        let model = match job {
            Job::Model { .. } => &self.model,
            Job::Translation { .. } => &self.translation_model,
        };
        model.as_deref().unwrap_or_default().trim()
    }

    fn protocol(&self, job: &Job) -> Result<protocol::Protocol, Failure> {
        self.protocol_at(job, self.url.addresses().first().copied())
    }

    fn protocol_at(&self, job: &Job, url: Option<&str>) -> Result<protocol::Protocol, Failure> {
        match job {
            Job::Model { .. } => {
                protocol::Protocol::choose(self.protocol.asked(), url, self.model(job))
            }
            Job::Translation { .. } => Ok(protocol::Protocol::LiveTranslate),
        }
    }

    /// Whether the model property's model translates what it transcribes.
    pub fn model_translates(&self) -> bool {
        self.protocol(&Job::Model { target: None }) == Ok(protocol::Protocol::LiveTranslate)
    }

    /// The source of the key. A file is not read here, as that could take long.
    fn key(&self) -> Option<KeySource> {
        let given = self.api_key.clone().map(KeySource::Given);
        given
            .or_else(|| self.api_key_file.clone().map(KeySource::File))
            .or_else(|| key_of_environment().map(KeySource::Given))
    }

    /// A warning if the key from the environment, which is Alibaba Cloud's, would go to another
    /// host.
    fn stray_key(&self, job: &Job) -> Option<String> {
        let is_set = self.api_key.is_some() || self.api_key_file.is_some();
        let endpoints = self.endpoints(job).ok().filter(|_| !is_set)?;
        let mut strangers = endpoints.iter().filter(|endpoint| {
            let is_meant = endpoint.is_official() || endpoint.is_loopback();
            endpoint.key().is_some() && !is_meant
        });
        strangers.next().map(|endpoint| {
            format!(
                "The key in {KEY_VARIABLE} is sent to {}, which is not Alibaba Cloud's: set api-key \
                 or api-key-file to the key of that server.",
                endpoint.authority()
            )
        })
    }

    /// The protocol, set up for this audio; `official` distinguishes the service from other servers.
    pub fn setup(&self, job: &Job, format: Format, official: bool) -> Result<Setup, Failure> {
        if format.coding == Coding::Opus && self.turn_detection == TurnDetection::ClientVad {
            return Err(not_decoded(
                "With turn-detection=client-vad the element listens to the audio itself, and it \
                 does not decode Opus.",
            ));
        }
        let turn_detection = match self.turn_detection {
            TurnDetection::ServerVad => protocol::TurnDetection::ServerVad {
                threshold: self.vad_threshold,
                silence_ms: self.vad_silence_duration,
            },
            TurnDetection::Manual | TurnDetection::ClientVad => protocol::TurnDetection::Manual,
        };
        let recognition = Recognition {
            model: self.model(job).to_owned(),
            language: self.language_code.clone(),
            context: self.context(),
            vocabulary: parse_hot_words(self.vocabulary.as_deref().unwrap_or_default())?,
            vocabulary_id: unless_blank(self.vocabulary_id.as_deref()),
            parameters: self.parameters.values(),
            rate: format.rate,
            coding: format.coding,
            turn_detection,
            translation: self.target(job)?,
            official,
        };
        let protocol = self.protocol(job)?;
        match job {
            Job::Model { .. } => {
                let mut setup = protocol.set_up(recognition)?;
                setup.warnings.extend(self.stray_key(job));
                Ok(setup)
            }
            // The other settings are meant for the model that transcribes.
            Job::Translation { .. } => {
                let setup = protocol.set_up(Recognition {
                    context: None,
                    vocabulary: Vec::new(),
                    vocabulary_id: None,
                    parameters: Vec::new(),
                    ..recognition
                })?;
                Ok(Setup {
                    warnings: Vec::new(),
                    ..setup
                })
            }
        }
    }

    /// The languages of the translation-languages property.
    pub fn translation_languages(&self) -> Vec<String> {
        let list = self.translation_languages.as_deref().unwrap_or_default();
        let languages = list.split([',', ';']).map(str::trim);
        let languages = languages.filter(|language| !language.is_empty());
        languages.map(str::to_owned).collect()
    }

    /// What to translate into, and how.
    fn target(&self, job: &Job) -> Result<Option<Target>, Failure> {
        let Some(language) = job.target() else {
            return Ok(None);
        };
        if language.trim().is_empty() {
            return Err(Failure::new(
                Kind::Settings,
                "A translate_src pad has no language to translate into.",
                "Set the language-code of each such pad, as in translate_src_0::language-code=fr.",
            ));
        }
        let phrases = self.translation_vocabulary.as_deref().unwrap_or_default();
        Ok(Some(Target {
            language: language.to_owned(),
            phrases: parse_phrases(phrases)?,
        }))
    }

    /// The configuration of the session itself.
    pub fn session(&self, format: Format, is_live: bool, setup: &Setup) -> Config {
        let millis = |ms: u32| Duration::from_millis(ms.into());
        Config {
            coding: format.coding,
            rate: format.clock_rate(),
            chunk: samples(self.chunk_duration, format),
            max_speed: self.max_speed,
            client_vad: self.client_vad(setup),
            context: self.context(),
            connect_timeout: millis(self.connect_timeout),
            response_timeout: millis(self.response_timeout),
            finish_timeout: millis(self.finish_timeout),
            backlog: self.queue_capacity(format),
            retry: RetryPolicy {
                keep_going: self.keeps_going(),
                // Any negative number means the same as -1.
                max_retries: u32::try_from(self.max_retries).ok(),
                addresses: u32::try_from(self.url.addresses().len()).unwrap_or(u32::MAX),
            },
            rotate_after: match self.rotate_after {
                0 => ROTATE_AFTER,
                age => millis(age),
            },
            is_live,
            pause: self.pause(setup),
            seed: fastrand::u64(..),
        }
    }

    /// The client-side voice activity detection, if enabled.
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

    /// Capacity of the queue to the network.
    pub fn queue_capacity(&self, format: Format) -> Samples {
        samples(self.max_queue_time, format)
    }

    /// Silence that certainly ends an utterance; in manual mode there is no such length.
    fn pause(&self, setup: &Setup) -> Duration {
        let asked = Duration::from_millis(self.vad_silence_duration.into());
        match (setup.silence, self.turn_detection) {
            // Slightly more than needed: the detection works in frames of its own.
            (Some(silence), _) => silence + PAUSE_MARGIN,
            (None, TurnDetection::ServerVad | TurnDetection::ClientVad) => asked + PAUSE_MARGIN,
            (None, TurnDetection::Manual) => Duration::ZERO,
        }
    }

    pub fn layout(&self) -> Layout {
        let millis = |ms: u32| Duration::from_millis(ms.into());
        Layout {
            max_chars: Some(self.max_chars as usize).filter(|columns| *columns > 0),
            max_lines: self.max_lines as usize,
            min_duration: millis(self.min_duration),
            max_duration: Some(millis(self.max_duration)).filter(|max| !max.is_zero()),
        }
    }

    /// The context, unless it is blank.
    pub fn context(&self) -> Option<String> {
        unless_blank(self.context.as_deref())
    }
}

/// The length of `ms` milliseconds of audio.
fn samples(ms: u32, format: Format) -> Samples {
    Samples::within(Duration::from_millis(ms.into()), format.clock_rate())
}

fn key_of_environment() -> Option<Secret> {
    let key = std::env::var(KEY_VARIABLE).ok();
    key.as_deref().and_then(Secret::new)
}

fn unless_blank(text: Option<&str>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty())
        .map(str::to_owned)
}
