// SPDX-License-Identifier: MPL-2.0

//! The protocol of the live translation models: that of [`realtime`](super::realtime) with a
//! response for each item, which is its translation.
//!
//! Models up to 3.5 have flat settings and replace text and stash; 3.8 has nested settings, and its
//! deltas are never taken back.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::ids::Ids;
use super::limits::{MAX_FRAME, RateLimit};
use super::realtime::{config, events};
use super::{Act, Dialect, Final, Frame, Partial, Request, pcm};
use crate::core::{Detection, Setup};
use crate::faults::Faults;
use crate::filter::Wire;
use crate::handshake::OTHER_MODEL;
use crate::record::ClientEvent;
use crate::server::Options;
use crate::translation::Phrases;
use crate::words;

/// The service's defaults for the detection of speech.
const THRESHOLD: f64 = 0.5;
const SILENCE_MS: u32 = 2500;

/// Tokens that a second of audio counts for.
const TOKENS_PER_SECOND: u64 = 7;

/// Whether a model of this name translates.
pub fn is_translator(model: &str) -> bool {
    model.contains("livetranslate")
}

/// An item and its translation, as far as they were told.
#[derive(Debug, Default)]
struct Turn {
    source_id: String,
    response_id: String,
    translation_id: String,
    source: String,
    translation: String,
    is_over: bool,
}

/// A session.
pub struct LiveTranslate {
    model: String,
    is_flat: bool,
    id: String,
    ids: Ids,
    event_ids: Ids,
    turns: Vec<Turn>,
    detection: Value,
    target: String,
    phrases: Phrases,
    settings: Value,
    has_audio: bool,
    rate_limit: Option<RateLimit>,
    speakers: u64,
    /// Audio that is accounted for, in milliseconds.
    billed_ms: u64,
    omit_item_id: bool,
    omit_event_id: bool,
    omit_optional: bool,
}

impl LiveTranslate {
    /// The session `number`, with a model of this name.
    pub fn new(model: &str, number: u64, options: &Options, faults: &Faults) -> Self {
        let model = if faults.wrong_model_echo {
            OTHER_MODEL
        } else {
            model
        };
        let mut ids = Ids::new(number);
        Self {
            model: model.to_owned(),
            is_flat: model.starts_with("qwen3.5") || model.starts_with("qwen3-"),
            id: ids.next("sess"),
            ids,
            event_ids: Ids::new(number),
            turns: Vec::new(),
            detection: json!({"type": "speaker_detection"}),
            target: "en".to_owned(),
            phrases: Phrases::default(),
            settings: json!({}),
            has_audio: false,
            rate_limit: options.rate_limit.then(RateLimit::default),
            speakers: options.speakers.max(1),
            billed_ms: 0,
            omit_item_id: faults.omit_item_id,
            omit_event_id: faults.omit_event_id,
            omit_optional: faults.omit_optional,
        }
    }

    fn session(&self) -> Value {
        let mut session = self.settings.clone();
        session["id"] = json!(self.id);
        session["object"] = json!("realtime.session");
        session["model"] = json!(self.model);
        session["turn_detection"] = self.detection.clone();
        session
    }

    fn setup(&self) -> Setup {
        let threshold = self.detection["threshold"].as_f64().unwrap_or(THRESHOLD);
        let silence_ms = self.detection["silence_duration_ms"].as_u64();
        Setup {
            detection: Some(Detection {
                // Theirs are from 0 to 1. By default they hear what the ASR models hear, so that a
                // translation begins when the captions do.
                threshold: threshold - THRESHOLD + config::THRESHOLD,
                silence_ms: silence_ms.map_or(SILENCE_MS, |ms| ms as u32),
            }),
            ..Setup::default()
        }
    }

    fn text(&mut self, frame: String, now: Duration) -> Vec<Request> {
        if frame.len() > MAX_FRAME {
            let reason = "Max frame length of 262144 has been exceeded.";
            return vec![
                Request::Received(ClientEvent::Garbage(frame)),
                close(1009, reason),
            ];
        }
        let event = match serde_json::from_str::<Value>(&frame) {
            Ok(event) if event["type"].is_string() => event,
            _ => {
                let answer = refuse(
                    "invalid_event",
                    "A frame is a JSON object with a 'type'.",
                    None,
                );
                return vec![Request::Received(ClientEvent::Garbage(frame)), answer];
            }
        };
        let kind = event["type"].as_str().unwrap_or_default();
        let answer = match kind {
            "input_audio_buffer.append" => return self.append(event, now),
            "session.update" if self.has_audio => {
                vec![close(1007, "session.update is not allowed after audio")]
            }
            "session.update" => self
                .update(&event["session"])
                .unwrap_or_else(|error| vec![error]),
            "session.finish" => vec![Request::Finish, close(1000, "")],
            _ => {
                let message = format!("Invalid event type: '{kind}'.");
                vec![refuse("invalid_event", &message, Some("type"))]
            }
        };
        [vec![Request::Received(ClientEvent::Event(event))], answer].concat()
    }

    fn update(&mut self, session: &Value) -> Result<Vec<Request>, Request> {
        let refused = |param: &str| {
            let message = format!("Invalid value: '{param}'.");
            refuse("invalid_value", &message, Some(param))
        };
        let input = &session["audio"]["input"];
        let (outputs, format, rate, detection) = if self.is_flat {
            (
                &session["modalities"],
                &session["input_audio_format"],
                &session["sample_rate"],
                &session["turn_detection"],
            )
        } else {
            (
                &session["output_modalities"],
                &input["format"]["type"],
                &input["format"]["sample_rate"],
                &input["turn_detection"],
            )
        };
        // There is no voice here.
        if *outputs != json!(["text"]) {
            return Err(refused("output_modalities"));
        }
        if !(format.is_null() || format == "pcm") {
            return Err(refused("input_audio_format"));
        }
        if rate.as_u64().is_some_and(|rate| rate != 16_000) {
            return Err(refused("sample_rate"));
        }
        match detection["type"].as_str() {
            Some("server_vad") => self.detection = detection.clone(),
            Some("speaker_detection") if !self.is_flat => self.detection = detection.clone(),
            None if detection.is_null() => {}
            _ => return Err(refused("turn_detection.type")),
        }
        let translation = &session["translation"];
        match translation["language"].as_str() {
            Some(language) if !language.is_empty() => self.target = language.to_owned(),
            _ => return Err(refused("translation.language")),
        }
        self.phrases = Phrases::new(&translation["corpus"]["phrases"]);
        self.settings = session.clone();
        let updated = events::session_updated(self.session());
        Ok(vec![
            Request::Start(self.setup()),
            Request::Tell(Act::Ready(Some(updated))),
        ])
    }

    fn append(&mut self, event: Value, now: Duration) -> Vec<Request> {
        let audio = match event["audio"].as_str().map(|text| BASE64.decode(text)) {
            Some(Ok(audio)) if audio.len().is_multiple_of(2) => audio,
            _ => {
                let message = "'audio' has to be whole 16-bit samples in Base64.";
                let answer = refuse("invalid_audio", message, Some("audio"));
                return vec![Request::Received(ClientEvent::Event(event)), answer];
            }
        };
        self.has_audio = true;
        let too_fast = |limit: &mut RateLimit| limit.is_exceeded(now, audio.len());
        let request = if self.rate_limit.as_mut().is_some_and(too_fast) {
            close(1007, "Input exceeds 2560 KB/s")
        } else {
            Request::Audio(pcm(&audio))
        };
        vec![Request::Received(ClientEvent::audio(audio.len())), request]
    }

    fn turn(&mut self, item: usize) -> &mut Turn {
        while self.turns.len() <= item {
            self.turns.push(Turn {
                source_id: self.ids.next("item"),
                response_id: self.ids.next("resp"),
                translation_id: self.ids.next("item"),
                ..Turn::default()
            });
        }
        &mut self.turns[item]
    }

    /// What begins an item: it is created, and a response to it.
    fn started(&mut self, item: usize, at: u64) -> Vec<Value> {
        let speaker = item as u64 % self.speakers;
        let omits_speaker = self.omit_optional || self.detection["type"] != "speaker_detection";
        let previous = item
            .checked_sub(1)
            .map(|before| self.turn(before).translation_id.clone());
        let turn = self.turn(item);
        let mut started = events::speech_started(&turn.source_id, at);
        if !omits_speaker {
            started["speaker_id"] = json!(speaker);
        }
        let created = |id: &str, previous: Option<&str>, content: Value| {
            json!({
                "type": "conversation.item.created",
                "previous_item_id": previous,
                "item": {"id": id, "object": "realtime.item", "type": "message",
                    "role": "assistant", "content": content},
            })
        };
        let source = created(
            &turn.source_id,
            previous.as_deref(),
            json!([{"type": "input_audio"}]),
        );
        vec![
            started,
            source,
            json!({
                "type": "response.created",
                "response": {"id": turn.response_id, "status": "in_progress"},
            }),
            json!({
                "type": "response.output_item.added",
                "response_id": turn.response_id,
                "output_index": 0,
                "item": {"id": turn.translation_id, "type": "message", "role": "assistant"},
            }),
            created(&turn.translation_id, Some(&turn.source_id), json!([])),
            json!({
                "type": "response.content_part.added",
                "response_id": turn.response_id,
                "item_id": turn.translation_id,
                "part": {"type": "text", "text": ""},
            }),
        ]
    }

    fn partial(&mut self, partial: &Partial) -> Vec<Value> {
        let said = &partial.hypothesis;
        let text = self.translated(&said.text);
        let stash = self.translated(&said.stash);
        let is_flat = self.is_flat;
        let turn = self.turn(partial.item);
        if is_flat {
            return vec![
                json!({
                    "type": "conversation.item.input_audio_transcription.text",
                    "item_id": turn.source_id,
                    "text": said.text,
                    "stash": said.stash,
                    "language": partial.language,
                }),
                json!({
                    "type": "response.text.text",
                    "response_id": turn.response_id,
                    "item_id": turn.translation_id,
                    "text": text,
                    "stash": stash,
                }),
            ];
        }
        turn.deltas(&said.text, &text)
    }

    fn completed(&mut self, done: &Final) -> Vec<Value> {
        let translation = self.translated(&done.transcript);
        let is_flat = self.is_flat;
        let audio_tokens = done.audio.saturating_sub(self.billed_ms) * TOKENS_PER_SECOND / 1000;
        self.billed_ms = self.billed_ms.max(done.audio);
        let text_tokens = translation.chars().count().div_ceil(4);
        let omits = self.omit_optional;
        let turn = self.turn(done.item);
        let mut events = if is_flat || turn.is_over {
            Vec::new()
        } else {
            turn.deltas(&done.transcript, &translation)
        };
        turn.is_over = true;
        let mut response = json!({
            "id": turn.response_id,
            "status": "completed",
            "output": [{"id": turn.translation_id, "type": "message"}],
            "usage": {
                "input_tokens": audio_tokens,
                "output_tokens": text_tokens,
                "total_tokens": audio_tokens + text_tokens as u64,
                "input_tokens_details": {"audio_tokens": audio_tokens},
                "output_tokens_details": {"text_tokens": text_tokens},
            },
        });
        if omits && let Some(response) = response.as_object_mut() {
            response.remove("usage");
            response.remove("output");
        }
        events.extend([
            json!({
                "type": "conversation.item.input_audio_transcription.completed",
                "item_id": turn.source_id,
                "content_index": 0,
                "transcript": done.transcript,
                "language": done.language,
            }),
            json!({
                "type": "response.text.done",
                "response_id": turn.response_id,
                "item_id": turn.translation_id,
                "text": translation,
            }),
            json!({
                "type": "response.content_part.done",
                "response_id": turn.response_id,
                "item_id": turn.translation_id,
            }),
            json!({
                "type": "response.output_item.done",
                "response_id": turn.response_id,
                "item": {"id": turn.translation_id},
            }),
            json!({"type": "response.done", "response": response}),
        ]);
        events
    }

    fn failed(&mut self, item: usize) -> Vec<Value> {
        let turn = self.turn(item);
        turn.is_over = true;
        vec![
            events::failed(&turn.source_id),
            json!({
                "type": "response.done",
                "response": {
                    "id": turn.response_id,
                    "status": "failed",
                    "output": [{"id": turn.translation_id}],
                    "status_details": {"error": {"message": "The audio could not be translated."}},
                },
            }),
        ]
    }

    fn translated(&self, text: &str) -> String {
        self.phrases.translate(text, &self.target)
    }

    fn events(&mut self, act: Act) -> Vec<Value> {
        match act {
            Act::Opened(event) | Act::Ready(event) => event.into_iter().collect(),
            Act::Tell(event) => vec![event],
            Act::SpeechStarted { item, at } => self.started(item, at),
            Act::SpeechStopped { item, at } => {
                vec![events::speech_stopped(&self.turn(item).source_id, at)]
            }
            Act::Partial(partial) => self.partial(&partial),
            Act::Completed(done) => self.completed(&done),
            Act::Failed { item } => self.failed(item),
            Act::Unrecognisable(message) => vec![events::inference_error(&message)],
            Act::Finished { .. } => vec![events::session_finished()],
            Act::Error { code, message, .. } => vec![events::server_error(&code, &message)],
            // An item is committed when its speech stops.
            _ => Vec::new(),
        }
    }
}

impl Turn {
    /// More of both texts, if there is more. What was told already stays, even if it was wrong.
    fn deltas(&mut self, source: &str, translation: &str) -> Vec<Value> {
        let mut events = Vec::new();
        let delta = words::beyond(source, &self.source).to_owned();
        if !delta.is_empty() {
            self.source.push_str(&delta);
            events.push(json!({
                "type": "conversation.item.input_audio_transcription.delta",
                "item_id": self.source_id,
                "content_index": 0,
                "delta": delta,
                "obfuscation": "x9Zq",
            }));
        }
        let delta = words::beyond(translation, &self.translation).to_owned();
        if !delta.is_empty() {
            self.translation.push_str(&delta);
            events.push(json!({
                "type": "response.text.delta",
                "response_id": self.response_id,
                "item_id": self.translation_id,
                "delta": delta,
            }));
        }
        events
    }
}

impl Dialect for LiveTranslate {
    fn open(&mut self) -> Vec<Request> {
        let created = events::session_created(self.session());
        vec![
            Request::Start(self.setup()),
            Request::Tell(Act::Opened(Some(created))),
        ]
    }

    fn decode(&mut self, frame: Frame, now: Duration) -> Vec<Request> {
        match frame {
            Frame::Text(text) => self.text(text, now),
            Frame::Binary(data) => {
                let message = "Binary frames are not supported; audio is sent as Base64 in JSON.";
                vec![
                    Request::Received(ClientEvent::Binary(data.len())),
                    refuse("invalid_event", message, None),
                ]
            }
        }
    }

    fn encode(&mut self, act: Act) -> Vec<Wire> {
        let close = match &act {
            Act::Error { close, .. } => close.clone(),
            Act::Close { code, reason } => Some((*code, reason.clone())),
            _ => None,
        };
        let mut events = self.events(act);
        for event in &mut events {
            if !self.omit_event_id {
                event["event_id"] = json!(self.event_ids.next("event"));
            }
            let kind = event["type"].as_str().unwrap_or_default();
            let is_final = kind.ends_with(".completed") || kind == "response.text.done";
            if self.omit_item_id
                && is_final
                && let Some(event) = event.as_object_mut()
            {
                event.remove("item_id");
            }
        }
        let close = close.map(|(code, reason)| Wire::Close { code, reason });
        events.into_iter().map(Wire::Event).chain(close).collect()
    }
}

fn refuse(code: &str, message: &str, param: Option<&str>) -> Request {
    Request::Tell(Act::Tell(events::invalid_request(
        code, message, param, None,
    )))
}

fn close(code: u16, reason: &str) -> Request {
    let reason = reason.to_owned();
    Request::Tell(Act::Close { code, reason })
}

#[cfg(test)]
mod tests;
