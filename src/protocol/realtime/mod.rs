// SPDX-License-Identifier: MPL-2.0
//! The realtime protocol (`/api-ws/v1/realtime`) of qwen3-asr-flash-realtime and of servers that
//! are compatible with it: JSON text frames, base64 audio, one session per connection.
//!
//! What is sent follows the service's documentation. What is accepted follows what was seen on
//! the wire, where fields are missing, doubled, late, of another type or in another order.

pub(super) mod openai;

use std::time::Duration;

use serde_json::{Value, json};

use openai::Flavour;

use super::diagnosis::{self, brief, error_text};
use super::incoming::{self, Message};
use super::items::{Items, Unnamed};
use super::json::{count_of, text_of};
use super::{
    Codec, Command, Event, Failure, Frame, Incoming, ItemKey, ItemText, Kind, Limits, Profile,
    Recognition, Setup, TurnDetection, Usage, encoding, language,
};

/// Languages that the service documents for this protocol.
const LANGUAGES: &[&str] = &[
    "zh", "yue", "en", "ja", "de", "ko", "ru", "fr", "pt", "ar", "it", "es", "hi", "id", "th",
    "tr", "uk", "vi", "cs", "da", "fil", "fi", "is", "ms", "no", "pl", "sv",
];

pub(super) const PROFILE: Profile = Profile {
    nick: "realtime",
    path: "/api-ws/v1/realtime",
    models: &["qwen3-asr-flash-realtime"],
    self_hosted: false,
    model_in_query: true,
    beijing_only: |_| false,
    set_up,
};

fn set_up(mut recognition: Recognition) -> Result<Setup, Failure> {
    let mut warnings = Vec::new();
    if !recognition.vocabulary.is_empty() || recognition.vocabulary_id.is_some() {
        warnings.push(
            "The realtime protocol has no hot words: vocabulary and vocabulary-id have no effect. \
             Put the words into the context property."
                .to_owned(),
        );
    }
    recognition.language = language::hint(recognition.language.as_deref(), LANGUAGES)?;
    let codecs = Box::new(move || Box::new(Realtime::new(recognition.clone())) as Box<dyn Codec>);
    Ok(Setup {
        codecs,
        warnings,
        lacks_vad: false,
    })
}

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

/// Gateways close connections that carry no text for 60 s.
const KEEP_ALIVE: Duration = Duration::from_secs(50);

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
    flavour: Flavour,
}

impl Realtime {
    fn new(recognition: Recognition) -> Self {
        Self::with_flavour(recognition, Flavour::Qwen)
    }

    fn with_flavour(recognition: Recognition, flavour: Flavour) -> Self {
        Realtime {
            flavour,
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
        let session = match self.flavour {
            Flavour::Qwen => self.settings(),
            Flavour::OpenAi(_) => openai::settings(&self.recognition),
        };
        let update = json!({
            "event_id": self.event_id(),
            "type": "session.update",
            "session": session,
        });
        Frame::Text(update.to_string())
    }

    /// The `session` of `session.update`.
    fn settings(&self) -> Value {
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
        json!({
            "modalities": ["text"],
            "input_audio_format": "pcm",
            "sample_rate": self.recognition.rate,
            "input_audio_transcription": transcription,
            "turn_detection": turn_detection,
        })
    }

    fn append(&mut self, audio: &[u8]) -> Frame {
        let id = self.event_id();
        let mut text = String::with_capacity(encoding::length(audio.len()) + 96);
        text.push_str(r#"{"event_id":""#);
        text.push_str(&id);
        text.push_str(APPEND_PREFIX);
        encoding::append(audio, &mut text);
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

    fn error(&mut self, error: &Value, events: &mut Vec<Event>) {
        let failure = diagnosis::error(&self.recognition.model, error);
        match &self.flavour {
            Flavour::OpenAi(_) if self.phase == Phase::Running && openai::is_bearable(&failure) => {
                events.push(Event::Warning(failure.what));
            }
            _ => self.fail(failure, events),
        }
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
        let checked = match self.flavour {
            Flavour::Qwen => self.check_model(session),
            Flavour::OpenAi(_) => openai::check(session),
        };
        if let Err(failure) = checked {
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
                    let at_ms = count_of(event, "audio_start_ms");
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
                    let at_ms = count_of(event, "audio_end_ms");
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
    fn resolve_start(&mut self, id: Option<&str>) -> Option<ItemKey> {
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
        let text = |field: &str| ItemText {
            item_id: id.unwrap_or_default().to_owned(),
            text: text_of(event, field).unwrap_or_default().to_owned(),
            stash: String::new(),
            language: text_of(event, "language").map(str::to_owned),
            emotion: text_of(event, "emotion").map(str::to_owned),
            words: Vec::new(),
        };
        match kind {
            Some("text") => {
                let Some(item) = self.items.resolve(id, Unnamed::Newest) else {
                    return;
                };
                let stash = text_of(event, "stash").unwrap_or_default().to_owned();
                events.push(Event::Interim {
                    item,
                    text: ItemText {
                        stash,
                        ..text("text")
                    },
                });
            }
            Some("delta") => {
                if let Flavour::OpenAi(deltas) = &mut self.flavour
                    && let Some(item) = self.items.resolve(id, Unnamed::Newest)
                {
                    let text = deltas.push(item, text_of(event, "delta").unwrap_or_default());
                    let item_id = id.unwrap_or_default().to_owned();
                    events.push(Event::Interim {
                        item,
                        text: ItemText {
                            item_id,
                            text,
                            ..ItemText::default()
                        },
                    });
                }
            }
            Some("completed") => {
                if let Some(seconds) = event
                    .get("usage")
                    .and_then(|usage| usage.get("duration"))
                    .and_then(Value::as_f64)
                {
                    events.push(Event::Billed(Usage { seconds, tokens: 0 }));
                }
                let Some(item) = self.items.resolve(id, Unnamed::Oldest) else {
                    return;
                };
                events.push(Event::Final {
                    item,
                    text: text("transcript"),
                });
                self.ended(item, events);
            }
            Some("failed") => {
                let Some(item) = self.items.resolve(id, Unnamed::Oldest) else {
                    return;
                };
                let (code, message) = error_text(event.get("error").unwrap_or(&Value::Null));
                let message = if message.is_empty() {
                    code.unwrap_or_default()
                } else {
                    message
                };
                events.push(Event::ItemFailed { item, message });
                self.ended(item, events);
            }
            _ => {}
        }
    }

    fn ended(&mut self, item: ItemKey, events: &mut Vec<Event>) {
        self.items.end(item);
        if let Flavour::OpenAi(deltas) = &mut self.flavour {
            deltas.answered(item);
            self.check_finished(events);
        }
    }

    /// In the OpenAI flavour nothing answers to the end.
    fn check_finished(&mut self, events: &mut Vec<Event>) {
        if let Flavour::OpenAi(deltas) = &self.flavour
            && deltas.is_finished()
        {
            self.phase = Phase::Over;
            events.push(Event::Finished);
        }
    }
}

impl Codec for Realtime {
    fn limits(&self) -> Limits {
        if let Flavour::OpenAi(_) = self.flavour {
            return openai::limits();
        }
        let manual = self.recognition.turn_detection == TurnDetection::Manual;
        Limits {
            max_audio_bytes: MAX_AUDIO_BYTES,
            max_speed: if manual { MANUAL_SPEED } else { VAD_SPEED },
            max_utterance_ms: manual.then_some(MAX_UTTERANCE_MS),
            keep_alive: Some(KEEP_ALIVE),
        }
    }

    /// The service speaks first.
    fn open(&mut self, _out: &mut Vec<Frame>) {}

    fn command(&mut self, command: Command<'_>, events: &mut Vec<Event>, out: &mut Vec<Frame>) {
        if let Flavour::OpenAi(deltas) = &mut self.flavour {
            match command {
                Command::Commit => deltas.unanswered += 1,
                Command::Finish => {
                    deltas.finishing = true;
                    return self.check_finished(events);
                }
                Command::Audio(_) | Command::Context(_) => {}
            }
        }
        let frame = match command {
            Command::Audio(audio) => self.append(audio),
            Command::Commit => self.bare("input_audio_buffer.commit"),
            // A second `session.update` makes the service close the connection.
            Command::Context(_) => return,
            Command::Finish => self.bare("session.finish"),
        };
        out.push(frame);
    }

    fn decode(&mut self, frame: Incoming<'_>, events: &mut Vec<Event>, out: &mut Vec<Frame>) {
        if self.phase == Phase::Over {
            return;
        }
        let Some(Message { kind, body: event }) = incoming::message(frame, events) else {
            return;
        };
        match kind.as_str() {
            "session.created" | "session.updated" => {
                self.session_event(&kind, &event, events, out);
            }
            "session.finished" => {
                self.phase = Phase::Over;
                events.push(Event::Finished);
            }
            "error" => self.error(&event["error"], events),
            kind if kind.starts_with("input_audio_buffer.")
                || kind == "conversation.item.created"
                || kind
                    .strip_prefix(TRANSCRIPTION)
                    .is_some_and(|rest| match rest {
                        "delta" => matches!(self.flavour, Flavour::OpenAi(_)),
                        rest => matches!(rest, "text" | "completed" | "failed"),
                    }) =>
            {
                self.item_event(kind, &event, events);
            }
            kind => events.push(incoming::unknown(kind)),
        }
    }

    fn closed(&self, code: Option<u16>, reason: &str) -> Failure {
        // Hosts that do not have the model close like this before they say anything.
        if code == Some(1011) && self.phase == Phase::Opened {
            return diagnosis::no_such_model(&self.recognition.model, &brief(reason))
                .with_close_code(code);
        }
        diagnosis::closed(&self.recognition.model, code, reason)
    }

    fn refused(&self, status: u16, body: &str) -> Failure {
        diagnosis::refused(status, body, PROFILE.path)
    }
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

#[cfg(test)]
mod tests;
