// SPDX-License-Identifier: MPL-2.0
//! Converts the settings into a session's configuration: endpoint, recognition, audio and retries.
//! Called by the uplink when a session starts or is updated; reads no file and opens no connection.

use std::time::Duration;

use super::enums::{FailurePolicy, Region, TurnDetection};
use super::format::wanted_caps;
use super::properties::Settings;
use crate::audio::{Coding, Format};
use crate::captions::Layout;
use crate::protocol::{
    self, Endpoint, EndpointSettings, Failure, KeySource, Kind, Recognition, Secret, Setup, Target,
    not_decoded, parse_hot_words, parse_phrases,
};
use crate::session::{ClientVad, Config, Model, Models, RetryPolicy};
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

    /// The property that names the model.
    pub fn model_property(&self) -> &'static str {
        match self {
            Self::Model { .. } => "model",
            Self::Translation { .. } => "translation-model",
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

/// What the settings make of a job: everything that can be known before connecting.
#[derive(Debug)]
pub struct Plan {
    /// For each address, in order of preference, an endpoint for each of the models.
    pub addresses: Vec<Vec<Endpoint>>,
    pub models: Models,
    /// Settings that have no effect: full sentences that name the property.
    pub warnings: Vec<String>,
    /// A change of the context takes effect at once, whichever the model.
    pub takes_context: bool,
    /// See [`Setup::lacks_vad`].
    lacks_vad: bool,
    /// See [`Setup::silence`]; the longest that any of the models needs.
    silence: Option<Duration>,
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

    /// Plans a job for this audio, to be done by one of these models, of which there has to
    /// be at least one, see [`Self::models`]. Checks everything that can be checked without
    /// connecting, for each of the models and addresses.
    pub fn plan(&self, job: &Job, models: &[String], format: Format) -> Result<Plan, Failure> {
        let addresses = self.endpoints(job, models)?;
        let is_official = addresses.iter().flatten().all(Endpoint::is_official);
        let (mut planned, mut warnings) = (Vec::with_capacity(models.len()), Vec::new());
        let (mut takes_context, mut lacks_vad, mut silence) = (true, false, None);
        for model in models {
            let setup = self.setup(job, model, format, is_official)?;
            takes_context &= (setup.codecs)().limits().takes_context;
            lacks_vad |= setup.lacks_vad;
            silence = silence.max(setup.silence);
            for warning in setup.warnings {
                if !warnings.contains(&warning) {
                    warnings.push(warning);
                }
            }
            planned.push(Model {
                name: model.clone(),
                codecs: setup.codecs,
            });
        }
        if matches!(job, Job::Model { .. }) {
            warnings.extend(self.stray_key(&addresses));
        }
        let mut planned = planned.into_iter();
        let Some(first) = planned.next() else {
            return Err(no_model(job));
        };
        Ok(Plan {
            addresses,
            models: Models::new(first, planned.collect()),
            warnings,
            takes_context,
            lacks_vad,
            silence,
        })
    }

    /// For each address an endpoint for each of the models.
    fn endpoints(&self, job: &Job, models: &[String]) -> Result<Vec<Vec<Endpoint>>, Failure> {
        let model = models.first().ok_or_else(|| no_model(job))?;
        let urls = self.urls();
        let protocol = self.protocol_at(job, urls.first().copied().flatten(), model)?;
        self.check_models(job, models, protocol)?;
        let mut addresses = Vec::with_capacity(urls.len());
        let mut first_is_official = None;
        for url in urls {
            let endpoint = |model: &String| self.endpoint(job, url, model);
            let endpoints: Vec<_> = models.iter().map(endpoint).collect::<Result<_, _>>()?;
            let is_official = endpoints.iter().all(Endpoint::is_official);
            let is_alike = *first_is_official.get_or_insert(is_official) == is_official;
            if !is_alike || self.protocol_at(job, url, model)? != protocol {
                return Err(Failure::new(
                    Kind::Settings,
                    "The addresses of the url property belong to servers of different kinds.",
                    "Name only addresses of servers that speak the same protocol, and the public \
                     service or one's own servers, not both.",
                ));
            }
            addresses.push(endpoints);
        }
        Ok(addresses)
    }

    /// The addresses of the url property, or that of the service if there are none.
    fn urls(&self) -> Vec<Option<&str>> {
        let urls: Vec<_> = self.url.addresses().into_iter().map(Some).collect();
        if urls.is_empty() { vec![None] } else { urls }
    }

    /// Checks that all models of a list are spoken with in the protocol of the first, and that the
    /// list is what says which one is used.
    fn check_models(
        &self,
        job: &Job,
        models: &[String],
        protocol: protocol::Protocol,
    ) -> Result<(), Failure> {
        let (Some(first), property) = (models.first(), job.model_property()) else {
            return Ok(());
        };
        for url in self.urls() {
            let is_other = |model: &&String| self.protocol_at(job, url, model) != Ok(protocol);
            if let Some(other) = models[1..].iter().find(is_other) {
                return Err(Failure::new(
                    Kind::Settings,
                    format!(
                        "The models '{first}' and '{other}' of the {property} property are not \
                         spoken with in the same protocol."
                    ),
                    format!("Name only models of one protocol in the {property} property."),
                ));
            }
            let is_fixed = url.is_some_and(protocol::names_model);
            if is_fixed && models.len() > 1 && matches!(job, Job::Model { .. }) {
                return Err(Failure::new(
                    Kind::Settings,
                    "The url property names one model, and the model property several.",
                    "Take the model out of the url property.",
                ));
            }
        }
        Ok(())
    }

    fn endpoint(&self, job: &Job, url: Option<&str>, model: &str) -> Result<Endpoint, Failure> {
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
            model: model.to_owned(),
            key: self.key(),
            key_timeout: Some(
                Duration::from_millis(self.connect_timeout.into()).mul_f64(KEY_SHARE),
            ),
            headers: self.headers.0.clone(),
            allow_insecure: self.allow_insecure,
        };
        Endpoint::new(settings, self.protocol_at(job, url, model)?)
    }

    /// The models that may do the job, in order of preference: at least one, which is blank if none
    /// is set.
    pub fn models(&self, job: &Job) -> Vec<String> {
        let list = match job {
            Job::Model { .. } => &self.model,
            Job::Translation { .. } => &self.translation_model,
        };
        let list = list.as_deref().unwrap_or_default();
        let models: Vec<_> = list.split_whitespace().map(str::to_owned).collect();
        if models.is_empty() {
            vec![String::new()]
        } else {
            models
        }
    }

    fn protocol_at(
        &self,
        job: &Job,
        url: Option<&str>,
        model: &str,
    ) -> Result<protocol::Protocol, Failure> {
        match job {
            Job::Model { .. } => protocol::Protocol::choose(self.protocol.asked(), url, model),
            Job::Translation { .. } => Ok(protocol::Protocol::LiveTranslate),
        }
    }

    /// The protocol for the model property's models, and the first of them. The realtime one if the
    /// settings contradict each other.
    fn protocol_and_model(&self) -> (protocol::Protocol, String) {
        let job = Job::Model { target: None };
        let model = self.models(&job).into_iter().next().unwrap_or_default();
        let url = self.urls().first().copied().flatten();
        let protocol = self.protocol_at(&job, url, &model);
        (protocol.unwrap_or(protocol::Protocol::Realtime), model)
    }

    /// Whether the model property's model translates what it transcribes. All of a list do, or none.
    pub fn model_translates(&self) -> bool {
        self.protocol_and_model().0 == protocol::Protocol::LiveTranslate
    }

    /// The caps to ask upstream for, of those that it names.
    pub fn wanted_caps(&self, filter: Option<&gst::Caps>) -> gst::Caps {
        let (protocol, model) = self.protocol_and_model();
        wanted_caps(protocol.rates(&model), filter)
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
    fn stray_key(&self, addresses: &[Vec<Endpoint>]) -> Option<String> {
        let is_set = self.api_key.is_some() || self.api_key_file.is_some();
        let mut strangers = addresses.iter().flatten().filter(|endpoint| {
            let is_meant = endpoint.is_official() || endpoint.is_loopback();
            !is_set && endpoint.key().is_some() && !is_meant
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
    fn setup(
        &self,
        job: &Job,
        model: &str,
        format: Format,
        official: bool,
    ) -> Result<Setup, Failure> {
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
            model: model.to_owned(),
            model_property: job.model_property(),
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
        let protocol = self.protocol_at(job, self.urls().first().copied().flatten(), model)?;
        match job {
            Job::Model { .. } => protocol.set_up(recognition),
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
    pub fn session(&self, format: Format, is_live: bool, plan: &Plan) -> Config {
        let millis = |ms: u32| Duration::from_millis(ms.into());
        Config {
            coding: format.coding,
            rate: format.clock_rate(),
            chunk: samples(self.chunk_duration, format),
            max_speed: self.max_speed,
            client_vad: self.client_vad(plan),
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
            pause: self.pause(plan),
            seed: fastrand::u64(..),
        }
    }

    /// The client-side voice activity detection, if enabled.
    fn client_vad(&self, plan: &Plan) -> Option<ClientVad> {
        let finds_them = match self.turn_detection {
            TurnDetection::ServerVad => plan.lacks_vad,
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
    fn pause(&self, plan: &Plan) -> Duration {
        let asked = Duration::from_millis(self.vad_silence_duration.into());
        match (plan.silence, self.turn_detection) {
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

fn no_model(job: &Job) -> Failure {
    Failure::new(
        Kind::Settings,
        "No model is set.",
        format!("Set the {} property.", job.model_property()),
    )
}

fn key_of_environment() -> Option<Secret> {
    let key = std::env::var(KEY_VARIABLE).ok();
    key.as_deref().and_then(Secret::new)
}

fn unless_blank(text: Option<&str>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty())
        .map(str::to_owned)
}
