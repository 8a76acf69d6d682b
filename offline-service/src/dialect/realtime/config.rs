// SPDX-License-Identifier: MPL-2.0

//! The configuration of a session, as `session.update` changes it.

use serde_json::{Map, Value, json};

use crate::core::{Detection, Setup};
use crate::dialect::upload::Upload;

/// The service's defaults for voice activity detection.
pub const THRESHOLD: f64 = 0.2;
const SILENCE_MS: u32 = 800;

/// The language the client asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Language {
    /// None: the service finds out.
    Detect,
    /// A code such as `en`.
    Code(String),
    /// Something that `session.update` accepts, but which makes recognition fail.
    Unusable(Value),
}

impl Language {
    /// The code, if there is one.
    fn code(&self) -> Option<&str> {
        match self {
            Self::Code(code) => Some(code),
            _ => None,
        }
    }
}

/// What a session is configured to.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `pcm` or `opus`.
    pub format: String,
    /// Samples per second.
    pub rate: u32,
    pub language: Language,
    /// `None` is manual mode: the client says where items end.
    pub detection: Option<Detection>,
}

/// A value that `session.update` refuses.
#[derive(Debug, PartialEq)]
pub struct Invalid {
    /// Path of the field.
    pub param: &'static str,
    /// What is wrong with it.
    pub message: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            format: "pcm".to_owned(),
            rate: 16000,
            language: Language::Detect,
            detection: Some(Detection {
                threshold: THRESHOLD,
                silence_ms: SILENCE_MS,
            }),
        }
    }
}

impl Config {
    /// This configuration changed by the `session` object of a `session.update`. What the
    /// object does not name stays; keys unknown to the service are passed over.
    pub fn merged(&self, update: &Value) -> Result<Self, Invalid> {
        let Value::Object(update) = update else {
            return Err(invalid("session", update, "an object"));
        };
        let mut config = self.clone();
        if let Some(format) = given(update, "input_audio_format") {
            config.format = match format.as_str() {
                Some(name @ ("pcm" | "opus")) => name.to_owned(),
                _ => {
                    return Err(invalid(
                        "session.input_audio_format",
                        format,
                        "'pcm', 'opus'",
                    ));
                }
            };
        }
        if let Some(rate) = given(update, "sample_rate") {
            config.rate = match rate.as_u64() {
                Some(8000) => 8000,
                Some(16000) => 16000,
                _ => return Err(invalid("session.sample_rate", rate, "8000, 16000")),
            };
        }
        match update.get("input_audio_transcription") {
            None => (),
            Some(Value::Null) => config.language = Language::Detect,
            Some(Value::Object(transcription)) => {
                config.language = match given(transcription, "language") {
                    None => Language::Detect,
                    Some(Value::String(code)) if code != "auto" => Language::Code(code.clone()),
                    Some(other) => Language::Unusable(other.clone()),
                }
            }
            Some(other) => {
                let param = "session.input_audio_transcription";
                return Err(invalid(param, other, "an object, null"));
            }
        }
        match update.get("turn_detection") {
            None => (),
            Some(Value::Null) => config.detection = None,
            Some(Value::Object(detection)) => {
                config.detection = Some(self::detection(config.detection, detection)?);
            }
            Some(other) => {
                return Err(invalid("session.turn_detection", other, "an object, null"));
            }
        }
        Ok(config)
    }

    /// What takes the audio that it announces.
    pub fn upload(&self) -> Result<Upload, Invalid> {
        Upload::new(&self.format, self.rate).map_err(|message| Invalid {
            param: "session.input_audio_format",
            message,
        })
    }

    /// What is asked of the core.
    pub fn setup(&self) -> Setup {
        let obstacle = match &self.language {
            Language::Unusable(value) => Some(format!("<400> Unsupported language: {value}")),
            _ => None,
        };
        Setup {
            rate: self.rate,
            detection: self.detection.clone(),
            language: self.language.code().map(str::to_owned),
            obstacle,
            ..Setup::default()
        }
    }

    /// The `session` object of `session.created`, or of `session.updated` if `adopted`.
    pub fn to_json(&self, id: &str, model: &str, adopted: bool) -> Value {
        let mut transcription = json!({"model": model});
        match &self.language {
            Language::Detect => (),
            Language::Code(code) => transcription["language"] = json!(code),
            Language::Unusable(value) => transcription["language"] = value.clone(),
        }
        let mut detection = Value::Null;
        if let Some(Detection {
            threshold,
            silence_ms,
        }) = &self.detection
        {
            detection = json!({
                "type": "server_vad",
                "threshold": threshold,
                "silence_duration_ms": silence_ms,
            });
            if adopted {
                detection["create_response"] = json!(true);
                detection["interrupt_response"] = json!(true);
            }
        }
        json!({
            "object": "realtime.session",
            "id": id,
            "model": model,
            "modalities": ["text"],
            "input_audio_format": self.format,
            "sample_rate": self.rate,
            "input_audio_transcription": transcription,
            "turn_detection": detection,
        })
    }
}

/// `current` changed by a `turn_detection` object.
fn detection(
    current: Option<Detection>,
    update: &Map<String, Value>,
) -> Result<Detection, Invalid> {
    let mut detection = current.unwrap_or(Detection {
        threshold: THRESHOLD,
        silence_ms: SILENCE_MS,
    });
    let kind = update.get("type").unwrap_or(&Value::Null);
    if kind.as_str() != Some("server_vad") {
        return Err(invalid("session.turn_detection.type", kind, "'server_vad'"));
    }
    if let Some(threshold) = given(update, "threshold") {
        detection.threshold = match threshold.as_f64() {
            Some(number) if (-1.0..=1.0).contains(&number) => number,
            _ => {
                let param = "session.turn_detection.threshold";
                return Err(invalid(param, threshold, "numbers from -1 to 1"));
            }
        };
    }
    if let Some(silence) = given(update, "silence_duration_ms") {
        detection.silence_ms = match silence.as_u64() {
            Some(ms @ 200..=6000) => ms as u32,
            _ => {
                let param = "session.turn_detection.silence_duration_ms";
                return Err(invalid(param, silence, "integers from 200 to 6000"));
            }
        };
    }
    Ok(detection)
}

/// The value of a key that is there and not null: the official clients send null for what
/// they leave to the service.
fn given<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    object.get(key).filter(|value| !value.is_null())
}

fn invalid(param: &'static str, value: &Value, supported: &str) -> Invalid {
    let value = match value {
        Value::String(text) => format!("'{text}'"),
        other => other.to_string(),
    };
    Invalid {
        param,
        message: format!("Invalid value: {value}. Supported values are: {supported}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_what_is_given() {
        let manual = Config::default()
            .merged(&json!({"turn_detection": null, "sample_rate": 8000}))
            .unwrap();
        assert_eq!(manual.detection, None);
        assert_eq!(manual.rate, 8000);
        assert_eq!(manual.merged(&json!({})).unwrap(), manual);
        // What the official Python client sends.
        let config = manual
            .merged(&json!({
                "modalities": ["text"], "voice": null, "input_audio_format": "pcm",
                "output_audio_format": "pcm16", "input_audio_transcription": {"language": "zh"},
                "turn_detection": {"type": "server_vad", "threshold": 0.0,
                    "prefix_padding_ms": 300, "silence_duration_ms": 400},
                "sample_rate": 16000,
            }))
            .unwrap();
        let echo = config.to_json("sess_1", "m", true);
        assert_eq!(echo["turn_detection"]["silence_duration_ms"], 400);
        assert_eq!(echo["turn_detection"]["threshold"], 0.0);
        assert_eq!(echo["turn_detection"]["create_response"], true);
        assert_eq!(echo["input_audio_transcription"]["language"], "zh");
        assert_eq!(echo["sample_rate"], 16000);
    }

    #[test]
    fn refuses_what_the_service_refuses() {
        for (update, param) in [
            (json!(null), "session"),
            (
                json!({"input_audio_format": "pcm16"}),
                "session.input_audio_format",
            ),
            (json!({"sample_rate": 44100}), "session.sample_rate"),
            (json!({"sample_rate": "16000"}), "session.sample_rate"),
            (
                json!({"input_audio_transcription": "zh"}),
                "session.input_audio_transcription",
            ),
            (json!({"turn_detection": true}), "session.turn_detection"),
            (json!({"turn_detection": {}}), "session.turn_detection.type"),
            (
                json!({"turn_detection": {"type": "semantic_vad"}}),
                "session.turn_detection.type",
            ),
            (
                json!({"turn_detection": {"type": "server_vad", "threshold": 1.01}}),
                "session.turn_detection.threshold",
            ),
            (
                json!({"turn_detection": {"type": "server_vad", "silence_duration_ms": 199}}),
                "session.turn_detection.silence_duration_ms",
            ),
            (
                json!({"turn_detection": {"type": "server_vad", "silence_duration_ms": 400.5}}),
                "session.turn_detection.silence_duration_ms",
            ),
        ] {
            assert_eq!(
                Config::default().merged(&update).unwrap_err().param,
                param,
                "{update}"
            );
        }
    }

    #[test]
    fn languages_that_fail_later() {
        for language in [json!("auto"), json!(["en", "zh"])] {
            let update = json!({"input_audio_transcription": {"language": language}});
            let config = Config::default().merged(&update).unwrap();
            assert_eq!(config.language, Language::Unusable(language));
        }
    }
}
