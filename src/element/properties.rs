// SPDX-License-Identifier: MPL-2.0
//! The properties of the elements, one row each: the setting behind it, its default, its limits and
//! its description. Defaults are defined nowhere else.

use gst::glib;
use gst::prelude::*;
use serde_json::Value;

use super::enums::{ConnectionState, FailurePolicy, Protocol, Region, Results, TurnDetection};
use crate::protocol::{KeyFile, Secret, redacted};

/// The longest time a property accepts, in milliseconds: one day.
const DAY: f64 = 86_400_000.0;

/// When a new value of a property takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    AtOnce,
    NextConnection,
    NextStart,
}

/// When a property may be set, and the values it accepts.
#[derive(Debug, Clone, Copy)]
struct Form {
    min: f64,
    max: f64,
    effect: Effect,
    write_only: bool,
}

const READY: Form = Form {
    min: 0.0,
    max: DAY,
    effect: Effect::NextStart,
    write_only: false,
};

/// Takes effect with the next connection, which soon replaces the present one.
const CONNECTION: Form = Form {
    effect: Effect::NextConnection,
    ..READY
};

const PLAYING: Form = Form {
    effect: Effect::AtOnce,
    ..READY
};

impl Form {
    const fn range(self, min: f64, max: f64) -> Self {
        Self { min, max, ..self }
    }

    const fn from(self, min: f64) -> Self {
        Self { min, ..self }
    }

    const fn write_only(self) -> Self {
        Self {
            write_only: true,
            ..self
        }
    }

    fn flags(self) -> glib::ParamFlags {
        let access = if self.write_only {
            glib::ParamFlags::WRITABLE
        } else {
            glib::ParamFlags::READWRITE
        };
        access
            | match self.effect {
                Effect::AtOnce | Effect::NextConnection => gst::PARAM_FLAG_MUTABLE_PLAYING,
                Effect::NextStart => gst::PARAM_FLAG_MUTABLE_READY,
            }
    }
}

/// A setting's property: its pspec, and the conversion of its values.
trait Setting: Sized {
    fn spec(&self, name: &str, nick: &str, blurb: &str, form: Form) -> glib::ParamSpec;
    fn value(&self) -> glib::Value;
    /// `None` for a value of another type, which GObject rejects beforehand.
    fn from_value(value: &glib::Value) -> Option<Self>;
}

macro_rules! plain_setting {
    ($($type:ty: |$name:ident, $form:ident, $default:ident| $spec:expr;)*) => {$(
        impl Setting for $type {
            fn spec(&self, $name: &str, nick: &str, blurb: &str, $form: Form) -> glib::ParamSpec {
                let $default = self.clone();
                $spec.nick(nick).blurb(blurb).flags($form.flags()).build()
            }

            fn value(&self) -> glib::Value {
                ToValue::to_value(self)
            }

            fn from_value(value: &glib::Value) -> Option<Self> {
                value.get().ok()
            }
        }
    )*};
}

plain_setting! {
    u32: |name, form, default| glib::ParamSpecUInt::builder(name)
        .minimum(form.min as u32)
        .maximum(form.max as u32)
        .default_value(default);
    i32: |name, form, default| glib::ParamSpecInt::builder(name)
        .minimum(form.min as i32)
        .default_value(default);
    f64: |name, form, default| glib::ParamSpecDouble::builder(name)
        .minimum(form.min)
        .maximum(form.max)
        .default_value(default);
    bool: |name, _form, default| glib::ParamSpecBoolean::builder(name).default_value(default);
    Option<String>: |name, form, default| glib::ParamSpecString::builder(name)
        .default_value(default.as_deref());
    Region: |name, form, default| glib::ParamSpecEnum::builder_with_default(name, default);
    Protocol: |name, form, default| glib::ParamSpecEnum::builder_with_default(name, default);
    TurnDetection: |name, form, default| glib::ParamSpecEnum::builder_with_default(name, default);
    FailurePolicy: |name, form, default| glib::ParamSpecEnum::builder_with_default(name, default);
    Results: |name, form, default| glib::ParamSpecEnum::builder_with_default(name, default);
}

/// The path of a key file, with the keys read from it.
impl Setting for Option<KeyFile> {
    fn spec(&self, name: &str, nick: &str, blurb: &str, form: Form) -> glib::ParamSpec {
        None::<String>.spec(name, nick, blurb, form)
    }

    fn value(&self) -> glib::Value {
        self.as_ref().map(KeyFile::path).to_value()
    }

    fn from_value(value: &glib::Value) -> Option<Self> {
        let path: Option<String> = value.get().ok()?;
        Some(path.filter(|path| !path.is_empty()).map(KeyFile::new))
    }
}

/// Addresses, separated by spaces, that may contain tokens, which are never shown.
#[derive(Debug, Clone)]
pub struct Addresses(pub Option<String>);

impl Addresses {
    /// The single addresses; none if the property is unset or blank.
    pub fn addresses(&self) -> Vec<&str> {
        let all = self.0.as_deref().unwrap_or_default();
        all.split_whitespace().collect()
    }
}

impl Setting for Addresses {
    fn spec(&self, name: &str, nick: &str, blurb: &str, form: Form) -> glib::ParamSpec {
        None::<String>.spec(name, nick, blurb, form)
    }

    fn value(&self) -> glib::Value {
        let shown = |_| self.addresses().into_iter().map(redacted);
        let shown = self.0.as_ref().map(|all| shown(all).collect::<Vec<_>>());
        shown.map(|shown| shown.join(" ")).to_value()
    }

    fn from_value(value: &glib::Value) -> Option<Self> {
        value.get().ok().map(Self)
    }
}

/// HTTP headers, all of which may be secret.
#[derive(Debug, Clone, Default)]
pub struct Headers(pub Vec<(String, Secret)>);

impl Setting for Headers {
    fn spec(&self, name: &str, nick: &str, blurb: &str, form: Form) -> glib::ParamSpec {
        glib::ParamSpecBoxed::builder::<gst::Structure>(name)
            .nick(nick)
            .blurb(blurb)
            .flags(form.flags())
            .build()
    }

    /// Never called: the property is write-only.
    fn value(&self) -> glib::Value {
        None::<gst::Structure>.to_value()
    }

    fn from_value(value: &glib::Value) -> Option<Self> {
        let structure: Option<gst::Structure> = value.get().ok()?;
        let fields = structure.iter().flat_map(|structure| structure.iter());
        let header = |(name, value): (&glib::GStr, &glib::SendValue)| {
            // Numbers and other types are serialised by GStreamer.
            let text = value.get::<String>().ok().or_else(|| {
                let text = value.transform::<String>().ok()?;
                text.get::<Option<String>>().ok()?
            })?;
            Some((name.to_string(), Secret::new(&text)?))
        };
        Some(Self(fields.filter_map(header).collect()))
    }
}

/// Parameters of the model that have no property.
#[derive(Debug, Clone, Default)]
pub struct Parameters(pub Option<gst::Structure>);

impl Parameters {
    /// Their values in JSON; null where it has none.
    pub fn values(&self) -> Vec<(String, Value)> {
        let fields = self.0.iter().flat_map(|structure| structure.iter());
        let json = |value: &glib::Value| {
            let text = || value.get::<&str>().ok().map(Value::from);
            let number = || value.get::<f64>().ok().map(Value::from);
            let integer = || value.get::<i32>().ok().map(Value::from);
            let boolean = || value.get::<bool>().ok().map(Value::from);
            boolean().or_else(integer).or_else(number).or_else(text)
        };
        fields
            .map(|(name, value)| (name.to_string(), json(value).unwrap_or_default()))
            .collect()
    }
}

impl Setting for Parameters {
    fn spec(&self, name: &str, nick: &str, blurb: &str, form: Form) -> glib::ParamSpec {
        Headers::default().spec(name, nick, blurb, form)
    }

    fn value(&self) -> glib::Value {
        self.0.to_value()
    }

    fn from_value(value: &glib::Value) -> Option<Self> {
        value.get().ok().map(Self)
    }
}

/// A number whose default is left to the protocol or server while unset.
impl Setting for Option<f64> {
    fn spec(&self, name: &str, nick: &str, blurb: &str, form: Form) -> glib::ParamSpec {
        self.unwrap_or_default().spec(name, nick, blurb, form)
    }

    fn value(&self) -> glib::Value {
        self.unwrap_or_default().value()
    }

    fn from_value(value: &glib::Value) -> Option<Self> {
        Some(value.get().ok())
    }
}

impl Setting for Option<Secret> {
    fn spec(&self, name: &str, nick: &str, blurb: &str, form: Form) -> glib::ParamSpec {
        None::<String>.spec(name, nick, blurb, form)
    }

    /// Never called: the property is write-only.
    fn value(&self) -> glib::Value {
        None::<String>.to_value()
    }

    fn from_value(value: &glib::Value) -> Option<Self> {
        let key: Option<String> = value.get().ok()?;
        Some(key.as_deref().and_then(Secret::new))
    }
}

/// A property: its public side, and the setting behind it.
struct Row {
    name: &'static str,
    form: Form,
    spec: fn(&Settings) -> glib::ParamSpec,
    get: fn(&Settings) -> glib::Value,
    set: fn(&mut Settings, &glib::Value),
}

macro_rules! settings {
    ($($table:ident { $(
        $name:literal $field:ident: $type:ty = $default:expr, $form:expr, $nick:literal, $blurb:expr;
    )* })*) => {
        /// All settings of an element. Times are in milliseconds.
        #[derive(Debug, Clone)]
        pub struct Settings { $($( #[doc = $blurb] pub $field: $type, )*)* }

        impl Default for Settings {
            fn default() -> Self {
                Self { $($( $field: $default, )*)* }
            }
        }

        $(static $table: &[Row] = &[$( Row {
            name: $name,
            form: $form,
            spec: |defaults| defaults.$field.spec($name, $nick, $blurb, $form),
            get: |settings| settings.$field.value(),
            set: |settings, value| {
                if let Some(value) = Setting::from_value(value) {
                    settings.$field = value;
                }
            },
        }, )*];)*
    };
}

settings! {
    SESSION {
        "api-key" api_key: Option<Secret> = None, CONNECTION.write_only(), "API key",
            "Key of the service, write-only; if unset, api-key-file or the environment's \
             DASHSCOPE_API_KEY is used. A change counts from the next connection";
        "api-key-file" api_key_file: Option<KeyFile> = None, CONNECTION, "API key file",
            "Path of a file that holds the key, read at each attempt to connect; api-key has \
             precedence";
        "url" url: Addresses = Addresses(None), READY, "URL",
            "Endpoint, such as ws://127.0.0.1:8765; without a path it gets the protocol's own. \
             Several, separated by spaces, are tried in turn. Overrides region";
        "headers" headers: Headers = Headers::default(), CONNECTION.write_only(), "Headers",
            "Further HTTP headers of the request for a connection, for gateways, write-only: \
             headers,X-Team=captions. Names and values are those of the structure";
        "region" region: Region = Region::default(), READY, "Region",
            "Where the service runs; keys are valid in one region only";
        "workspace" workspace: Option<String> = None, READY, "Workspace",
            "Id of a workspace, to use the workspace's own host, or to tell the service's host of \
             the url";
        "model" model: Option<String> = Some("qwen3-asr-flash-realtime".into()), READY, "Model",
            "Model that recognises the speech. Of several, separated by spaces, the next is used \
             when the service does not have the one before";
        "protocol" protocol: Protocol = Protocol::default(), READY, "Protocol",
            "What is spoken with the service";
        "language-code" language_code: Option<String> = None, CONNECTION, "Language code",
            "Language that is spoken, as a BCP 47 tag such as en-US; unset, empty or auto: \
             detected. A wrong one makes the service translate";
        "context" context: Option<String> = None, CONNECTION, "Context",
            "Text with names and terms that may be spoken. A change counts at once with the models \
             of the inference protocol, with others from the next connection";
        "vocabulary" vocabulary: Option<String> = None, CONNECTION, "Vocabulary",
            "Hot words with weights from 1 to 5, or 50: Lingxi=4,Bailian=5. For the models \
             qwen-audio-…-asr";
        "vocabulary-id" vocabulary_id: Option<String> = None, READY, "Vocabulary id",
            "A list of hot words that the service keeps, for the models of the inference protocol";
        "translation-model" translation_model: Option<String> =
            Some("qwen3.8-livetranslate-flash-realtime".into()), READY, "Translation model",
            "Model that translates, for each language in a session of its own; or several, as with \
             model";
        "translation-vocabulary" translation_vocabulary: Option<String> = None, CONNECTION,
            "Translation vocabulary",
            "How certain terms are to be translated: Model Studio=Model Studio,cloud=nuage";
        "parameters" parameters: Parameters = Parameters::default(), CONNECTION, "Parameters",
            "Settings of the model that have no property: parameters,keep_dialect=true. For the \
             models of the inference protocol, each of which has a list of its own";
        "turn-detection" turn_detection: TurnDetection = TurnDetection::default(), READY,
            "Turn detection", "Who decides where an utterance ends";
        "vad-threshold" vad_threshold: Option<f64> = None, READY.range(-1.0, 1.0), "VAD threshold",
            "Sensitivity of the voice activity detection, the service's or the element's; lower \
             hears more. A server of one's own keeps its default while this is not set, \
             and sglang-omni takes 0 to 1";
        "vad-silence-duration" vad_silence_duration: u32 = 400, READY.range(200.0, 6000.0),
            "VAD silence duration", "Silence that ends an utterance, in milliseconds";
        "chunk-duration" chunk_duration: u32 = 100, READY.range(10.0, 5000.0), "Chunk duration",
            "Audio in one frame to the service, in milliseconds";
        "max-speed" max_speed: f64 = 0.0, READY.range(0.0, 10_000.0), "Maximum speed",
            "How many times real time audio may be sent, for files and for catching up; 0 = what \
             the service bears: 1.25 with server-vad, 20 with manual and client-vad, 5 \
             with sglang-omni";
        "allow-insecure" allow_insecure: bool = false, READY, "Allow insecure",
            "Let the key travel over ws:// to a host that is not this machine";
        "failure-policy" failure_policy: FailurePolicy = FailurePolicy::default(), READY,
            "Failure policy", "What happens when the service cannot be used";
        "max-retries" max_retries: i32 = -1, READY.from(-1.0), "Maximum retries",
            "Attempts to reconnect in an outage before it is an error; -1 = for ever, or for a minute \
             if the source is not live and the service was never reached. Ignored with \
             failure-policy=continue";
        "rotate-after" rotate_after: u32 = 0, READY, "Rotate after",
            "Age at which a connection is replaced in a pause, in milliseconds; 0 = what the \
             service calls for, 115 minutes";
        "connect-timeout" connect_timeout: u32 = 10_000, READY.from(1.0), "Connect timeout",
            "How long making the connection may take, in milliseconds";
        "response-timeout" response_timeout: u32 = 15_000, READY.from(1.0), "Response timeout",
            "How long the service may take to accept a session, to answer a ping, and to give \
             results for speech, in milliseconds";
        "finish-timeout" finish_timeout: u32 = 20_000, READY, "Finish timeout",
            "How long each of the results at the end of the stream may take, in milliseconds";
        "max-queue-time" max_queue_time: u32 = 30_000, READY.from(200.0), "Maximum queue time",
            "Audio kept for the network, and as much again for sending it anew after an outage, in \
             milliseconds; beyond that a live stream loses its oldest audio and another one waits";
        "stats-interval" stats_interval: u32 = 0, READY, "Statistics interval",
            "How often stats is posted on the bus as a message, in milliseconds; 0 = never";
    }
    MESSAGES {
        "translation-languages" translation_languages: Option<String> = None, READY,
            "Translation languages",
            "Languages to translate into, separated by commas, as BCP 47 tags: fr,de";
    }
    TEXT {
        "results" results: Results = Results::default(), READY, "Results",
            "Which text the src pad carries";
        "max-chars" max_chars: u32 = 84, READY, "Maximum characters",
            "Most columns of a cue, where wide characters count 2; 0 = no limit";
        "max-lines" max_lines: u32 = 2, READY.range(1.0, 100.0), "Maximum lines",
            "Most lines of a cue with results=final, each of an equal share of max-chars";
        "min-duration" min_duration: u32 = 1000, READY, "Minimum duration",
            "Shortest showing of a cue, in milliseconds; 0 = no limit";
        "max-duration" max_duration: u32 = 7000, READY, "Maximum duration",
            "Longest showing of a cue, in milliseconds; 0 = no limit";
        "latency" latency: u32 = 4000, PLAYING, "Latency",
            "How long a live pipeline waits for text, in milliseconds";
        "lateness" lateness: u32 = 0, READY, "Lateness",
            "How much later than the audio the text is shown, in milliseconds";
    }
}

impl Settings {
    /// Sets a property. The result says when the value takes effect.
    pub fn set(&mut self, value: &glib::Value, pspec: &glib::ParamSpec) -> Effect {
        match row(pspec.name()) {
            Some(row) => {
                (row.set)(self, value);
                row.form.effect
            }
            // GObject rejects unknown properties beforehand.
            None => Effect::AtOnce,
        }
    }

    pub fn get(&self, pspec: &glib::ParamSpec) -> Option<glib::Value> {
        row(pspec.name()).map(|row| (row.get)(self))
    }
}

fn row(name: &str) -> Option<&'static Row> {
    SESSION
        .iter()
        .chain(MESSAGES)
        .chain(TEXT)
        .find(|row| row.name == name)
}

fn specs(rows: &[Row]) -> impl Iterator<Item = glib::ParamSpec> {
    let defaults = Settings::default();
    rows.iter().map(move |row| (row.spec)(&defaults))
}

/// The properties common to both elements, including the read-only ones.
pub fn property_specs() -> Vec<glib::ParamSpec> {
    let mut all: Vec<_> = specs(SESSION).collect();
    all.push(
        glib::ParamSpecEnum::builder_with_default("connection-state", ConnectionState::default())
            .nick("Connection state")
            .blurb("What the connection to the service is doing; changes are notified")
            .read_only()
            .build(),
    );
    all.push(
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb(
                "sessions, outages, reconnects, rotations, late-texts, bytes-sent (audio), \
                 seconds-sent, seconds-billed, tokens-billed, interims, finals, audio-lost \
                 (nanoseconds), queue-level (nanoseconds)",
            )
            .read_only()
            .build(),
    );
    all
}

/// The additional properties of an element that has nothing but messages.
pub fn message_property_specs() -> Vec<glib::ParamSpec> {
    specs(MESSAGES).collect()
}

/// The additional properties of an element with a text src pad.
pub fn text_property_specs() -> Vec<glib::ParamSpec> {
    let mut all: Vec<_> = specs(TEXT).collect();
    all.push(
        glib::ParamSpecUInt::builder("max-observed-delay")
            .nick("Maximum observed delay")
            .blurb(
                "Longest time from when something was said to when its text left, in a live \
                 pipeline, in milliseconds; changes are notified. Beyond latency + lateness the \
                 text is late",
            )
            .read_only()
            .build(),
    );
    all
}
