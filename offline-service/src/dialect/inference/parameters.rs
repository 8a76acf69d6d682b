// SPDX-License-Identifier: MPL-2.0

//! Which models there are, and what `run-task` may ask of each.
//!
//! The real service passes over much of what it does not know. This one refuses it, so that a
//! client learns of its mistakes.

use serde_json::{Map, Value};

use crate::core::{Detection, Setup};

/// Formats this service decodes.
const FORMATS: [&str; 2] = ["pcm", "opus"];

/// Rates the recognisers of this service are made for.
const RATES: [u64; 2] = [8000, 16000];

/// What a model can do, and how it reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Results are nested twice, usage is in tokens.
    Streaming31,
    /// Likewise; interim results only on demand.
    Message31,
    Streaming30,
    FunAsr,
    Paraformer,
}

/// A model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    name: &'static str,
    pub family: Family,
    /// The only rate it takes, if it is choosy.
    rate: Option<u64>,
    languages: &'static str,
    /// Whether it heeds a context.
    context: bool,
}

const THIRTY: &str = "zh en ja ko vi th id ms tl hi ar fr de es pt ru it nl sv da fi no el pl cs \
                      hu ro bg hr sk";

#[rustfmt::skip]
const MODELS: [Model; 8] = [
    model("qwen-audio-3.1-asr-flash-streaming", Family::Streaming31, None, THIRTY, true),
    model("qwen-audio-3.1-asr-flash-message", Family::Message31, Some(16000), THIRTY, true),
    model("qwen-audio-3.0-asr-flash-streaming", Family::Streaming30, None, THIRTY, true),
    model("fun-asr-realtime", Family::FunAsr, None, THIRTY, true),
    model("fun-asr-realtime-2026-02-28", Family::FunAsr, None, "zh en ja", false),
    model("fun-asr-flash-8k-realtime", Family::FunAsr, Some(8000), "zh", false),
    model("paraformer-realtime-v2", Family::Paraformer, None, "zh en ja yue ko de fr ru", false),
    model("paraformer-realtime-8k-v2", Family::Paraformer, Some(8000), "zh", false),
];

const fn model(
    name: &'static str,
    family: Family,
    rate: Option<u64>,
    languages: &'static str,
    context: bool,
) -> Model {
    Model {
        name,
        family,
        rate,
        languages,
        context,
    }
}

/// What a parameter may be.
enum Kind {
    Bool,
    Text,
    OneOf(&'static [&'static str]),
    /// An integer within these limits.
    Integer(u64, u64),
    /// A number within these limits.
    Number(f64, f64),
    Languages,
    /// Words and their weights.
    Vocabulary,
    Rate,
}

/// The parameters, and the models that have them: 3.1 streaming, 3.1 message, 3.0 streaming,
/// Fun-ASR and Paraformer.
#[rustfmt::skip]
const PARAMETERS: [(&str, Kind, &str); 17] = [
    ("format", Kind::OneOf(&["pcm", "wav", "mp3", "opus", "speex", "aac", "amr"]), "YYYYY"),
    ("sample_rate", Kind::Rate, "YYYYY"),
    ("vocabulary_id", Kind::Text, "YYYYY"),
    ("vocabulary", Kind::Vocabulary, "YYY--"),
    ("language_hints", Kind::Languages, "Y-YYY"),
    ("semantic_punctuation_enabled", Kind::Bool, "Y-YYY"),
    ("max_sentence_silence", Kind::Integer(200, 6000), "YYYYY"),
    ("multi_threshold_mode_enabled", Kind::Bool, "Y-YYY"),
    ("heartbeat", Kind::Bool, "YYYYY"),
    ("speech_noise_threshold", Kind::Number(-1.0, 1.0), "YYYY-"),
    ("special_word_filter", Kind::Text, "Y-YY-"),
    ("vad_model", Kind::OneOf(&["far_field_meeting_16k", "near_meeting_16k"]), "YY---"),
    ("keep_dialect", Kind::Bool, "YY---"),
    ("disfluency_removal_enabled", Kind::Bool, "-Y--Y"),
    ("intermediate_result_enabled", Kind::Bool, "-Y---"),
    ("punctuation_prediction_enabled", Kind::Bool, "----Y"),
    ("inverse_text_normalization_enabled", Kind::Bool, "----Y"),
];

impl Model {
    /// The model of this name.
    pub fn named(name: &str) -> Option<Self> {
        MODELS.into_iter().find(|model| model.name == name)
    }

    /// Whether interim results are only sent if the client asks for them.
    fn is_terse(&self) -> bool {
        self.family == Family::Message31
    }

    /// Milliseconds of silence that end a sentence, if the client does not care.
    fn silence_ms(&self) -> u32 {
        match self.family {
            Family::Paraformer => 800,
            _ => 1300,
        }
    }

    /// Checks the value of a parameter.
    fn check(&self, name: &str, value: &Value) -> Result<(), String> {
        let parameter = PARAMETERS.iter().find(|(known, _, _)| *known == name);
        let column = self.family as usize;
        let Some((_, kind, _)) = parameter.filter(|(_, _, who)| who.as_bytes()[column] == b'Y')
        else {
            return Err(format!("{} has no parameter '{name}'.", self.name));
        };
        let fine = match kind {
            Kind::Bool => value.is_boolean(),
            Kind::Text => value.is_string(),
            Kind::OneOf(choice) => value.as_str().is_some_and(|value| choice.contains(&value)),
            Kind::Integer(from, to) => value.as_u64().is_some_and(|n| (*from..=*to).contains(&n)),
            Kind::Number(from, to) => value.as_f64().is_some_and(|n| (*from..=*to).contains(&n)),
            Kind::Rate => {
                let rate = value.as_u64();
                rate.is_some() && (self.rate.is_none() || self.rate == rate)
            }
            Kind::Languages => value.as_array().is_some_and(|hints| {
                let known = |hint: &Value| {
                    let code = hint.as_str().unwrap_or_default();
                    self.languages.split(' ').any(|known| known == code)
                };
                (1..=self.most_hints()).contains(&hints.len()) && hints.iter().all(known)
            }),
            Kind::Vocabulary => value.as_object().is_some_and(|words| {
                let weight = |weight: &Value| matches!(weight.as_u64(), Some(1..=5 | 50));
                (1..=2000).contains(&words.len()) && words.values().all(weight)
            }),
        };
        if fine {
            Ok(())
        } else {
            Err(format!(
                "Invalid value of '{name}' for {}: {value}",
                self.name
            ))
        }
    }

    /// Fun-ASR heeds the first hint only, so that a client should not send more.
    fn most_hints(&self) -> usize {
        match self.family {
            Family::FunAsr => 1,
            Family::Paraformer => self.languages.split(' ').count(),
            _ => 4,
        }
    }

    /// Checks the `input` of a task.
    pub fn check_input(&self, input: &Value) -> Result<(), String> {
        let Some(input) = input.as_object() else {
            return Err("'payload.input' has to be an object.".to_owned());
        };
        match input.get("context") {
            None => Ok(()),
            Some(_) if !self.context => Err(format!("{} has no context.", self.name)),
            Some(context) if is_context(context) => Ok(()),
            Some(context) => Err(format!("Invalid value of 'context': {context}")),
        }
    }
}

/// Whether this is a list of what was said by whom, at most five turns of each side.
fn is_context(context: &Value) -> bool {
    let text = |role: &str, content: &Value| {
        let kind = match role {
            "user" => "input_text",
            _ => "text",
        };
        content["type"] == kind && content["text"].is_string()
    };
    let turn = |item: &Value| {
        let role = item["role"].as_str().unwrap_or_default();
        let content = item["content"].as_array();
        matches!(role, "user" | "assistant")
            && content.is_some_and(|content| content.iter().all(|content| text(role, content)))
    };
    context.as_array().is_some_and(|turns| {
        let most = |role: &str| turns.iter().filter(|turn| turn["role"] == role).count() <= 5;
        turns.iter().all(turn) && most("user") && most("assistant")
    })
}

/// What a client asks of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    pub model: Model,
    /// `pcm` or `opus`.
    pub format: String,
    pub heartbeat: bool,
    /// Whether interim results are sent.
    pub partials: bool,
    pub setup: Setup,
}

impl Parameters {
    /// What the `parameters` of a task mean, or what is wrong with them.
    pub fn new(model: Model, given: &Map<String, Value>) -> Result<Self, String> {
        for required in ["format", "sample_rate"] {
            if !given.contains_key(required) {
                return Err(format!(
                    "Missing required parameter 'payload.parameters.{required}'! Please follow \
                     the protocol!"
                ));
            }
        }
        for (name, value) in given {
            model.check(name, value)?;
        }
        let rate = given["sample_rate"].as_u64().unwrap_or_default();
        let format = given["format"].as_str().unwrap_or_default();
        if !FORMATS.contains(&format) || !RATES.contains(&rate) {
            return Err(
                "The offline service only takes pcm and opus at 8000 or 16000 Hz.".to_owned(),
            );
        }
        let flag = |name: &str| given.get(name).and_then(Value::as_bool).unwrap_or(false);
        let number = |name: &str| given.get(name).and_then(Value::as_f64);
        let silence_ms = given.get("max_sentence_silence").and_then(Value::as_u64);
        let silence_ms = silence_ms.and_then(|ms| u32::try_from(ms).ok());
        Ok(Self {
            format: format.to_owned(),
            heartbeat: flag("heartbeat"),
            partials: !model.is_terse() || flag("intermediate_result_enabled"),
            setup: Setup {
                // Checked above.
                rate: rate as u32,
                detection: Some(Detection {
                    threshold: number("speech_noise_threshold").unwrap_or(0.0),
                    silence_ms: silence_ms.unwrap_or(model.silence_ms()),
                }),
                ..Setup::default()
            },
            model,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(model: &str, mut parameters: Value) -> Result<Parameters, String> {
        let given = parameters.as_object_mut().unwrap();
        given.entry("format").or_insert(json!("pcm"));
        given.entry("sample_rate").or_insert(json!(16000));
        Parameters::new(Model::named(model).unwrap(), given)
    }

    #[test]
    fn parameters_by_model() {
        let streaming = "qwen-audio-3.1-asr-flash-streaming";
        let message = "qwen-audio-3.1-asr-flash-message";
        let paraformer = "paraformer-realtime-v2";
        for (model, parameters, fine) in [
            (streaming, json!({}), true),
            (streaming, json!({"sample_rate": 8000}), true),
            (streaming, json!({"sample_rate": 48000}), false),
            (streaming, json!({"sample_rate": "16000"}), false),
            (streaming, json!({"format": "opus"}), true),
            (streaming, json!({"format": "amr"}), false),
            (streaming, json!({"format": "flac"}), false),
            (message, json!({"format": "opus"}), true),
            (paraformer, json!({"format": "opus"}), true),
            (streaming, json!({"speed": 1}), false),
            (streaming, json!({"language_hints": ["zh", "en"]}), true),
            (
                streaming,
                json!({"language_hints": ["zh", "en", "ja", "ko", "fr"]}),
                false,
            ),
            (streaming, json!({"language_hints": []}), false),
            (streaming, json!({"language_hints": ["xx"]}), false),
            (streaming, json!({"vocabulary": {"a": 5, "b": 50}}), true),
            (streaming, json!({"vocabulary": {"a": 6}}), false),
            (streaming, json!({"max_sentence_silence": 199}), false),
            (streaming, json!({"vad_model": "near_meeting_16k"}), true),
            (streaming, json!({"vad_model": "near"}), false),
            (message, json!({"sample_rate": 8000}), false),
            (message, json!({"language_hints": ["zh"]}), false),
            (message, json!({"intermediate_result_enabled": true}), true),
            ("fun-asr-realtime", json!({"language_hints": ["zh"]}), true),
            ("fun-asr-realtime", json!({"vocabulary": {"a": 5}}), false),
            ("fun-asr-flash-8k-realtime", json!({}), false),
            (
                "fun-asr-flash-8k-realtime",
                json!({"sample_rate": 8000}),
                true,
            ),
            (paraformer, json!({"speech_noise_threshold": 0.1}), false),
            (paraformer, json!({"language_hints": ["yue", "zh"]}), true),
            (
                paraformer,
                json!({"punctuation_prediction_enabled": true}),
                true,
            ),
        ] {
            assert_eq!(
                check(model, parameters.clone()).is_ok(),
                fine,
                "{model} {parameters}"
            );
        }
    }

    #[test]
    fn what_parameters_mean() {
        let meant = check(
            "fun-asr-realtime",
            json!({"heartbeat": true, "max_sentence_silence": 400, "speech_noise_threshold": 0.5}),
        )
        .unwrap();
        assert!(meant.heartbeat && meant.partials);
        let detection = meant.setup.detection.unwrap();
        assert_eq!((detection.threshold, detection.silence_ms), (0.5, 400));
        let meant = check("qwen-audio-3.1-asr-flash-message", json!({})).unwrap();
        assert!(!meant.heartbeat && !meant.partials);
        assert_eq!(meant.setup.detection.unwrap().silence_ms, 1300);
    }

    #[test]
    fn contexts() {
        let said = |role: &str, kind: &str| json!({"role": role, "content": [{"type": kind, "text": "a"}]});
        let user = said("user", "input_text");
        let model = Model::named("qwen-audio-3.0-asr-flash-streaming").unwrap();
        for (context, fine) in [
            (json!([]), true),
            (json!([user, said("assistant", "text")]), true),
            (json!([user, user, user, user, user, user]), false),
            (json!([said("user", "text")]), false),
            (json!([said("system", "text")]), false),
            (json!("a"), false),
        ] {
            let input = json!({"context": context});
            assert_eq!(model.check_input(&input).is_ok(), fine, "{context}");
        }
        let model = Model::named("paraformer-realtime-v2").unwrap();
        assert!(model.check_input(&json!({})).is_ok());
        assert!(model.check_input(&json!({"context": []})).is_err());
        assert!(model.check_input(&Value::Null).is_err());
    }
}
