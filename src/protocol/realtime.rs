// SPDX-License-Identifier: MPL-2.0
//! The realtime protocol (`/api-ws/v1/realtime`) of qwen3-asr-flash-realtime and of servers that
//! are compatible with it: JSON text frames, base64 audio, one session per connection.
//!
//! What is sent follows the service's documentation. What is accepted follows what was seen on
//! the wire, where fields are missing, doubled, late, of another type or in another order.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::items::{Items, Unnamed};
use super::{
    Caps, Codec, Command, Event, Failure, Frame, Incoming, Kind, Recognition, TurnDetection, Words,
};

/// Path of the endpoint on the service's own hosts.
pub const PATH: &str = "/api-ws/v1/realtime";

/// The service closes a connection whose frame passes 262144 bytes (code 1009). Base64 makes
/// four bytes of three.
const MAX_AUDIO_BYTES: usize = 180_000;

/// With server VAD a burst makes the service miss utterances: real time, and a little more so
/// that a live stream catches up with what waited for the connection.
const VAD_SPEED: f64 = 1.25;

/// In manual mode 20 times real time is known to work; at about 80 times the connection is closed.
const MANUAL_SPEED: f64 = 20.0;

/// The documentation allows 60 s of continuous audio between two commits.
const MAX_UTTERANCE_MS: u64 = 58_000;

const APPEND_PREFIX: &str = r#"","type":"input_audio_buffer.append","audio":""#;
const TRANSCRIPTION: &str = "conversation.item.input_audio_transcription.";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Waiting for `session.created`.
    Opened,
    /// Settings sent, waiting for `session.updated`.
    Configuring,
    Running,
    /// Failed or finished.
    Over,
}

/// One connection's codec.
#[derive(Debug)]
pub struct Realtime {
    recognition: Recognition,
    phase: Phase,
    session_id: Option<String>,
    items: Items,
    sent: u64,
}

impl Realtime {
    pub fn new(recognition: Recognition) -> Self {
        Realtime {
            recognition,
            phase: Phase::Opened,
            session_id: None,
            items: Items::default(),
            sent: 0,
        }
    }

    fn event_id(&mut self) -> String {
        self.sent += 1;
        format!("event_{}", self.sent)
    }

    fn configure(&mut self) -> Frame {
        let mut transcription = serde_json::Map::new();
        if let Some(language) = &self.recognition.language {
            transcription.insert("language".into(), json!(language));
        }
        if let Some(context) = &self.recognition.context {
            transcription.insert("corpus".into(), json!({ "text": context }));
        }
        let turn_detection = match self.recognition.turn_detection {
            TurnDetection::ServerVad {
                threshold,
                silence_ms,
            } => json!({
                "type": "server_vad",
                "threshold": threshold,
                "silence_duration_ms": silence_ms,
            }),
            // Explicit null: leaving it out means VAD.
            TurnDetection::Manual => Value::Null,
        };
        let update = json!({
            "event_id": self.event_id(),
            "type": "session.update",
            "session": {
                "modalities": ["text"],
                "input_audio_format": "pcm",
                "sample_rate": self.recognition.rate,
                "input_audio_transcription": transcription,
                "turn_detection": turn_detection,
            },
        });
        Frame::Text(update.to_string())
    }

    fn append(&mut self, audio: &[u8]) -> Frame {
        let id = self.event_id();
        let mut text = String::with_capacity(audio.len().div_ceil(3) * 4 + 96);
        text.push_str(r#"{"event_id":""#);
        text.push_str(&id);
        text.push_str(APPEND_PREFIX);
        STANDARD.encode_string(audio, &mut text);
        text.push_str(r#""}"#);
        Frame::Text(text)
    }

    fn bare(&mut self, kind: &str) -> Frame {
        let id = self.event_id();
        Frame::Text(format!(r#"{{"event_id":"{id}","type":"{kind}"}}"#))
    }

    /// Another model than the asked one may answer without any error: a dearer one, that does
    /// not transcribe.
    fn check_model(&self, session: &Value) -> Result<(), Failure> {
        let models = [
            text_of(session, "model"),
            session
                .get("input_audio_transcription")
                .and_then(|t| text_of(t, "model")),
        ];
        for answering in models.into_iter().flatten() {
            if !same_model(&self.recognition.model, answering) {
                return Err(Failure::new(
                    Kind::NotFound,
                    format!(
                        "The service answered with the model '{answering}' where '{}' was asked \
                         for.",
                        self.recognition.model
                    ),
                    "Set the model property to one that this region serves; the asked one may \
                     be misspelt or retired.",
                ));
            }
        }
        Ok(())
    }

    fn fail(&mut self, failure: Failure, events: &mut Vec<Event>) {
        self.phase = Phase::Over;
        events.push(Event::Failed(failure));
    }

    fn session_event(
        &mut self,
        kind: &str,
        event: &Value,
        events: &mut Vec<Event>,
        out: &mut Vec<Frame>,
    ) {
        let session = event.get("session").unwrap_or(&Value::Null);
        if let Some(id) = text_of(session, "id") {
            self.session_id = Some(id.to_owned());
        }
        if let Err(failure) = self.check_model(session) {
            return self.fail(failure, events);
        }
        match (kind, self.phase) {
            ("session.created", Phase::Opened) => {
                self.phase = Phase::Configuring;
                out.push(self.configure());
            }
            ("session.updated", Phase::Configuring) => {
                self.phase = Phase::Running;
                events.push(Event::Ready {
                    session_id: self.session_id.clone(),
                });
            }
            // Late or doubled: what it says is known.
            _ => {}
        }
    }

    fn item_event(&mut self, kind: &str, event: &Value, events: &mut Vec<Event>) {
        let id = text_of(event, "item_id")
            .or_else(|| event.get("item").and_then(|item| text_of(item, "id")));
        let item_id = id.unwrap_or_default().to_owned();
        match kind {
            "input_audio_buffer.speech_started" => {
                if let Some(item) = self.resolve_start(id) {
                    let at_ms = millis(event, "audio_start_ms");
                    events.push(Event::SpeechStarted {
                        item,
                        item_id,
                        at_ms,
                    });
                }
            }
            "input_audio_buffer.speech_stopped" => {
                // Some servers report silence this way, with no item at all.
                if id.is_none() && self.items.open(Unnamed::Newest).is_none() {
                    return;
                }
                if let Some(item) = self.items.resolve(id, Unnamed::Newest) {
                    let at_ms = millis(event, "audio_end_ms");
                    events.push(Event::SpeechStopped {
                        item,
                        item_id,
                        at_ms,
                    });
                }
            }
            "input_audio_buffer.committed" | "conversation.item.created" => {
                // Without an id these say nothing that the item's other events do not.
                if id.is_some()
                    && let Some(item) = self.items.resolve(id, Unnamed::Oldest)
                {
                    events.push(Event::ItemSeen { item });
                }
            }
            _ => self.transcription(kind.strip_prefix(TRANSCRIPTION), id, event, events),
        }
    }

    /// Speech that starts without an id is always a new item.
    fn resolve_start(&mut self, id: Option<&str>) -> Option<super::ItemKey> {
        match id {
            Some(id) => self.items.resolve(Some(id), Unnamed::Newest),
            None => Some(self.items.add_unnamed()),
        }
    }

    fn transcription(
        &mut self,
        kind: Option<&str>,
        id: Option<&str>,
        event: &Value,
        events: &mut Vec<Event>,
    ) {
        let words = |text: &str| Words {
            item_id: id.unwrap_or_default().to_owned(),
            text: text_of(event, text).unwrap_or_default().to_owned(),
            stash: String::new(),
            language: text_of(event, "language").map(str::to_owned),
            emotion: text_of(event, "emotion").map(str::to_owned),
        };
        match kind {
            Some("text") => {
                let Some(item) = self.items.resolve(id, Unnamed::Newest) else {
                    return;
                };
                let stash = text_of(event, "stash").unwrap_or_default().to_owned();
                events.push(Event::Partial {
                    item,
                    words: Words {
                        stash,
                        ..words("text")
                    },
                });
            }
            Some("completed") => {
                if let Some(seconds) = event
                    .get("usage")
                    .and_then(|usage| usage.get("duration"))
                    .and_then(Value::as_f64)
                {
                    events.push(Event::Billed { seconds });
                }
                let Some(item) = self.items.resolve(id, Unnamed::Oldest) else {
                    return;
                };
                self.items.end(item);
                events.push(Event::Final {
                    item,
                    words: words("transcript"),
                });
            }
            Some("failed") => {
                let Some(item) = self.items.resolve(id, Unnamed::Oldest) else {
                    return;
                };
                self.items.end(item);
                let (code, message) = error_text(event.get("error").unwrap_or(&Value::Null));
                let message = if message.is_empty() {
                    code.unwrap_or_default()
                } else {
                    message
                };
                events.push(Event::ItemFailed { item, message });
            }
            _ => {}
        }
    }
}

impl Codec for Realtime {
    fn caps(&self) -> Caps {
        let manual = self.recognition.turn_detection == TurnDetection::Manual;
        Caps {
            max_audio_bytes: MAX_AUDIO_BYTES,
            max_speed: if manual { MANUAL_SPEED } else { VAD_SPEED },
            max_utterance_ms: manual.then_some(MAX_UTTERANCE_MS),
        }
    }

    /// The service speaks first.
    fn open(&mut self, _out: &mut Vec<Frame>) {}

    fn command(&mut self, command: Command<'_>, out: &mut Vec<Frame>) {
        let frame = match command {
            Command::Audio(audio) => self.append(audio),
            Command::Commit => self.bare("input_audio_buffer.commit"),
            Command::Finish => self.bare("session.finish"),
        };
        out.push(frame);
    }

    fn decode(&mut self, frame: Incoming<'_>, events: &mut Vec<Event>, out: &mut Vec<Frame>) {
        if self.phase == Phase::Over {
            return;
        }
        let Incoming::Text(text) = frame else {
            return events.push(Event::Warning("ignored a binary frame".into()));
        };
        let event: Value = match serde_json::from_str(text) {
            Ok(event) => event,
            Err(error) => {
                return events.push(Event::Warning(format!(
                    "ignored a frame that is not JSON: {error}"
                )));
            }
        };
        match text_of(&event, "type") {
            Some(kind @ ("session.created" | "session.updated")) => {
                self.session_event(kind, &event, events, out);
            }
            Some("session.finished") => {
                self.phase = Phase::Over;
                events.push(Event::Finished);
            }
            Some("error") => {
                let failure = self.error(event.get("error").unwrap_or(&Value::Null));
                self.fail(failure, events);
            }
            Some(kind)
                if kind.starts_with("input_audio_buffer.")
                    || kind == "conversation.item.created"
                    || kind
                        .strip_prefix(TRANSCRIPTION)
                        .is_some_and(|rest| matches!(rest, "text" | "completed" | "failed")) =>
            {
                self.item_event(kind, &event, events);
            }
            Some(kind) => {
                events.push(Event::Warning(format!(
                    "ignored an unknown event '{}'",
                    brief(kind)
                )));
            }
            None => events.push(Event::Warning("ignored an event without a type".into())),
        }
    }

    fn closed(&self, code: Option<u16>, reason: &str) -> Failure {
        let reason_text = brief(reason);
        let failure =
            if code == Some(1007) && reason.to_ascii_lowercase().contains("model not found") {
                self.no_such_model(&reason_text)
            } else if reason.to_ascii_lowercase().contains("access denied") {
                account(&reason_text)
            } else if code == Some(1011) && self.phase == Phase::Opened {
                // Hosts that do not have the model close like this before they say anything.
                self.no_such_model(&reason_text)
            } else {
                let code = code.map_or("without a word".to_owned(), |code| {
                    format!("with code {code}")
                });
                let why = if reason.is_empty() {
                    String::new()
                } else {
                    format!(": {reason_text}")
                };
                Failure::new(
                    Kind::Lost,
                    format!("The service closed the connection {code}{why}."),
                    "Check the network and the service's status, then start again.",
                )
            };
        failure.with_close_code(code)
    }

    fn refused(&self, status: u16, body: &str) -> Failure {
        let body_json: Value = serde_json::from_str(body).unwrap_or(Value::Null);
        let (code, message) = error_text(body_json.get("error").unwrap_or(&body_json));
        // An HTML page says nothing to the user.
        let message = if message.is_empty() && !body.trim_start().starts_with('<') {
            brief(body)
        } else {
            message
        };
        let said = if message.is_empty() {
            String::new()
        } else {
            format!(": {message}")
        };
        let (kind, what, remedy) = match status {
            401 => (
                Kind::Unauthorized,
                "The service did not accept the API key",
                "Check api-key (or api-key-file, or DASHSCOPE_API_KEY), and that the key was \
                 made for the region property's region.",
            ),
            403 => (
                Kind::Unauthorized,
                "The account may not use this model or endpoint",
                "Check the key's permissions, the account's quota, and the workspace property.",
            ),
            404 => (
                Kind::NotFound,
                "There is no such endpoint on this server",
                "Check the path in the url property, usually /api-ws/v1/realtime.",
            ),
            429 => (
                Kind::Limit,
                "The service limits the rate of requests",
                "Wait a minute, or open fewer connections at a time.",
            ),
            300..=399 => (
                Kind::Settings,
                "The server redirects to another address, which is not followed so that the API \
                 key stays with the server it was meant for",
                "Set the url property to the final address.",
            ),
            400..=499 => (
                Kind::Settings,
                "The server refused the connection",
                "Check the url property.",
            ),
            _ => (
                Kind::Unreachable,
                "The service is not available",
                "Try again later, or check the service's status.",
            ),
        };
        Failure::new(kind, format!("{what} (HTTP {status}{said})."), remedy)
            .with_http_status(status)
            .with_code(code)
    }
}

impl Realtime {
    fn no_such_model(&self, said: &str) -> Failure {
        let said = if said.is_empty() {
            String::new()
        } else {
            format!(" ({said})")
        };
        Failure::new(
            Kind::NotFound,
            format!(
                "The service does not have the model '{}'{said}.",
                self.recognition.model
            ),
            "Set the model property to one that this region serves.",
        )
    }

    /// What an `error` event means. No live client was seen to go on after one: either the
    /// connection closes or no further result comes.
    fn error(&self, error: &Value) -> Failure {
        let (code, message) = error_text(error);
        let said = match (&code, message.is_empty()) {
            (_, false) => message.clone(),
            (Some(code), true) => code.clone(),
            (None, true) => "no reason given".to_owned(),
        };
        let all = format!("{} {message}", code.as_deref().unwrap_or_default()).to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| all.contains(word));
        let what = format!("The service reports an error: {said}.");
        let failure = if has(&[
            "connections too much",
            "throttling",
            "quota",
            "rate limit",
            "too quickly",
        ]) {
            Failure::new(
                Kind::Limit,
                what,
                "Wait a minute, or open fewer connections at a time.",
            )
        } else if has(&[
            "access denied",
            "accessdenied",
            "apikey",
            "api-key",
            "unauthorized",
            "arrear",
        ]) {
            account(&said)
        } else if has(&["model not found", "model_not_found", "modelnotfound"]) {
            self.no_such_model(&said)
        } else if has(&["<400>", "invalid"])
            || text_of(error, "type") == Some("invalid_request_error")
        {
            Failure::new(
                Kind::Settings,
                what,
                self.settings_remedy(text_of(error, "param")),
            )
        } else {
            Failure::new(
                Kind::Lost,
                what,
                "Start again; if it comes back, check the settings.",
            )
        };
        failure.with_code(code)
    }

    fn settings_remedy(&self, param: Option<&str>) -> String {
        let property = match param.unwrap_or_default() {
            param if param.contains("language") => "language-code",
            param if param.contains("threshold") => "vad-threshold",
            param if param.contains("silence") => "vad-silence-duration",
            param if param.contains("corpus") => "context",
            _ => return "Check the language-code, context and vad properties.".to_owned(),
        };
        format!("Check the {property} property.")
    }
}

fn account(said: &str) -> Failure {
    Failure::new(
        Kind::Unauthorized,
        format!("The service denies access: {said}."),
        "Check in the console that the account is in good standing and the key may use this model.",
    )
}

/// Whether the answering model is the asked one: the same, or one is the other's dated snapshot.
fn same_model(asked: &str, answering: &str) -> bool {
    let snapshot_of = |dated: &str, name: &str| {
        dated
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('-'))
            .is_some_and(|date| {
                date.len() == 10 && date.bytes().all(|b| b.is_ascii_digit() || b == b'-')
            })
    };
    asked == answering || snapshot_of(asked, answering) || snapshot_of(answering, asked)
}

/// A non-empty string member.
fn text_of<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value
        .get(name)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

/// A time in milliseconds, written as an integer or not.
fn millis(value: &Value, name: &str) -> Option<u64> {
    let number = value.get(name)?;
    // `as` saturates, and NaN cannot be written in JSON.
    number
        .as_u64()
        .or_else(|| number.as_f64().filter(|ms| *ms >= 0.0).map(|ms| ms as u64))
}

/// Code and message of an error, which may be an object or just a string.
fn error_text(error: &Value) -> (Option<String>, String) {
    match error {
        Value::String(message) => (None, brief(message)),
        error => {
            let code = text_of(error, "code")
                .or_else(|| text_of(error, "type"))
                .map(brief);
            (
                code,
                text_of(error, "message").map(brief).unwrap_or_default(),
            )
        }
    }
}

/// Foreign text in a form fit for one line of a log: short, without control characters or a
/// full stop at its end.
fn brief(text: &str) -> String {
    const LONGEST: usize = 300;
    let mut short: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LONGEST)
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short.trim().trim_end_matches('.').to_owned()
}

#[cfg(test)]
#[path = "realtime_tests.rs"]
mod tests;
