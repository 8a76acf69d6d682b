// SPDX-License-Identifier: MPL-2.0

//! The protocol of OpenAI's transcription sessions as sglang serves it: without detection of
//! speech, so that the client says where items end.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::ids::Ids;
use super::limits::RateLimit;
use super::realtime::events::{committed, item_created, session_created, session_updated};
use super::{Act, Dialect, Final, Frame, Request, pcm};
use crate::core::Setup;
use crate::faults::Faults;
use crate::filter::Wire;
use crate::record::ClientEvent;
use crate::server::Options;
use crate::words;

/// Samples per second, unless the client says otherwise, and otherwise.
const RATE: u64 = 24_000;
const RATES: [u64; 3] = [16_000, RATE, 48_000];

/// A session.
pub struct OpenAi {
    id: String,
    item_ids: Ids,
    event_ids: Ids,
    /// Identifiers of the items, in their order.
    items: Vec<String>,
    known_models: Option<Vec<String>>,
    rate_limit: Option<RateLimit>,
    updated: bool,
    /// The text of the item that was sent.
    told: String,
    omit_item_id: bool,
    omit_event_id: bool,
}

impl OpenAi {
    /// The session `number`.
    pub fn new(number: u64, options: &Options, faults: &Faults) -> Self {
        let mut item_ids = Ids::new(number);
        Self {
            id: item_ids.next("sess"),
            item_ids,
            event_ids: Ids::new(number),
            items: Vec::new(),
            known_models: options.known_models.clone(),
            rate_limit: options.rate_limit.then(RateLimit::default),
            updated: false,
            told: String::new(),
            omit_item_id: faults.omit_item_id,
            omit_event_id: faults.omit_event_id,
        }
    }

    fn text(&mut self, frame: String, now: Duration) -> Vec<Request> {
        let Ok(event) = serde_json::from_str::<Value>(&frame) else {
            let answer = refuse("invalid_json", "Invalid JSON");
            return vec![Request::Received(ClientEvent::Garbage(frame)), answer];
        };
        let kind = event["type"].as_str().unwrap_or_default();
        let answer = match kind {
            "input_audio_buffer.append" => return self.append(event, now),
            "session.update" => self
                .update(&event["session"])
                .unwrap_or_else(|error| vec![error]),
            "input_audio_buffer.commit" => vec![Request::Commit],
            "input_audio_buffer.clear" => {
                self.told.clear();
                let cleared = json!({"type": "input_audio_buffer.cleared"});
                vec![Request::Clear, Request::Tell(Act::Tell(cleared))]
            }
            _ => vec![refuse(
                "unknown_event",
                &format!("Unknown event type: {kind}"),
            )],
        };
        let received = Request::Received(ClientEvent::Event(event));
        [vec![received], answer].concat()
    }

    fn update(&mut self, session: &Value) -> Result<Vec<Request>, Request> {
        if session["type"] != "transcription" {
            return Err(refuse(
                "invalid_value",
                "'session.type' has to be 'transcription'.",
            ));
        }
        let input = &session["audio"]["input"];
        if !input["turn_detection"].is_null() {
            return Err(refuse("not_supported", "turn_detection is not supported."));
        }
        let format = &input["format"];
        let rate = format["rate"].as_u64().unwrap_or(RATE);
        if !(format.is_null() || format["type"] == "audio/pcm") || !RATES.contains(&rate) {
            return Err(refuse(
                "invalid_value",
                &format!("Invalid format: {format}"),
            ));
        }
        let transcription = &input["transcription"];
        if !transcription["prompt"].is_null() || !input["noise_reduction"].is_null() {
            return Err(refuse(
                "not_supported",
                "There are neither prompts nor noise reduction.",
            ));
        }
        let language = transcription["language"].as_str();
        if let (Some(known), Some(model)) = (&self.known_models, transcription["model"].as_str())
            && !known.iter().any(|known| known == model)
        {
            let message = format!("The model `{model}` does not exist.");
            return Err(refuse("model_not_found", &message));
        }
        self.updated = true;
        let setup = Setup {
            rate: rate as u32,
            language: language.map(str::to_owned),
            ..Setup::default()
        };
        let mut adopted = session.clone();
        adopted["id"] = json!(self.id);
        Ok(vec![
            Request::Start(setup),
            Request::Tell(Act::Ready(Some(session_updated(adopted)))),
        ])
    }

    fn append(&mut self, event: Value, now: Duration) -> Vec<Request> {
        let audio = match event["audio"].as_str().map(|text| BASE64.decode(text)) {
            Some(Ok(audio)) if self.updated && audio.len().is_multiple_of(2) => audio,
            _ => {
                let answer = if self.updated {
                    refuse("invalid_audio", "Invalid audio data")
                } else {
                    refuse("invalid_state", "Send session.update first.")
                };
                return vec![Request::Received(ClientEvent::Event(event)), answer];
            }
        };
        let received = Request::Received(ClientEvent::audio(audio.len()));
        let too_fast = |limit: &mut RateLimit| limit.is_exceeded(now, audio.len());
        if self.rate_limit.as_mut().is_some_and(too_fast) {
            let overflow = refuse("buffer_overflow", "Too much audio is waiting.");
            return vec![received, overflow, close(1009)];
        }
        vec![received, Request::Audio(pcm(&audio))]
    }

    /// The identifier of an item, and that of the one before.
    fn item(&mut self, number: usize) -> (String, Option<String>) {
        while self.items.len() <= number {
            self.items.push(self.item_ids.next("item"));
        }
        let before = number.checked_sub(1);
        let before = before.map(|before| self.items[before].clone());
        (self.items[number].clone(), before)
    }

    /// More of an item's text, if there is more. What was told already stays, even if it was
    /// wrong.
    fn delta(&mut self, item: usize, text: &str) -> Option<Value> {
        let delta = words::beyond(text, &self.told).to_owned();
        if delta.is_empty() {
            return None;
        }
        self.told.push_str(&delta);
        Some(json!({
            "type": "conversation.item.input_audio_transcription.delta",
            "item_id": self.item(item).0,
            "content_index": 0,
            "delta": delta,
        }))
    }

    fn completed(&mut self, done: &Final) -> Vec<Value> {
        let delta = self.delta(done.item, &done.transcript);
        self.told.clear();
        let completed = json!({
            "type": "conversation.item.input_audio_transcription.completed",
            "item_id": self.item(done.item).0,
            "content_index": 0,
            "transcript": done.transcript,
            "usage": {"type": "duration", "seconds": (done.end - done.begin).div_ceil(1000)},
        });
        delta.into_iter().chain([completed]).collect()
    }

    fn events(&mut self, act: Act) -> Vec<Value> {
        match act {
            Act::Opened(event) | Act::Ready(event) => event.into_iter().collect(),
            Act::Tell(event) => vec![event],
            Act::Committed { item } => {
                let (id, before) = self.item(item);
                vec![committed(&id, before.as_deref())]
            }
            Act::Added { item } => {
                let (id, before) = self.item(item);
                vec![item_created(&id, before.as_deref())]
            }
            Act::Partial(partial) => {
                let text = &partial.hypothesis.text;
                self.delta(partial.item, text).into_iter().collect()
            }
            Act::Completed(done) => self.completed(&done),
            Act::Failed { item } => {
                self.told.clear();
                vec![json!({
                    "type": "conversation.item.input_audio_transcription.failed",
                    "item_id": self.item(item).0,
                    "content_index": 0,
                    "error": {
                        "type": "server_error",
                        "code": "inference_failed",
                        "message": "The audio could not be transcribed.",
                    },
                })]
            }
            Act::NothingToCommit => {
                let message = "Error committing input audio buffer: the buffer is empty.";
                vec![error("input_audio_buffer_commit_empty", message)]
            }
            Act::Error { code, message, .. } => vec![error(&code, &message)],
            _ => Vec::new(),
        }
    }
}

impl Dialect for OpenAi {
    fn open(&mut self) -> Vec<Request> {
        let created = session_created(json!({
            "object": "realtime.session",
            "type": "transcription",
            "id": self.id,
            "audio": {"input": {
                "format": {"type": "audio/pcm", "rate": RATE},
                "transcription": null,
                "turn_detection": null,
            }},
        }));
        vec![Request::Tell(Act::Opened(Some(created)))]
    }

    fn decode(&mut self, frame: Frame, now: Duration) -> Vec<Request> {
        match frame {
            Frame::Text(text) => self.text(text, now),
            Frame::Binary(data) => vec![
                Request::Received(ClientEvent::Binary(data.len())),
                refuse("invalid_payload", "Binary frames are not supported."),
            ],
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
            if self.omit_item_id
                && let Some(event) = event.as_object_mut()
            {
                event.remove("item_id");
            }
        }
        let close = close.map(|(code, reason)| Wire::Close { code, reason });
        events.into_iter().map(Wire::Event).chain(close).collect()
    }
}

pub fn error(code: &str, message: &str) -> Value {
    json!({
        "type": "error",
        "error": {"type": "invalid_request_error", "code": code, "message": message},
    })
}

fn refuse(code: &str, message: &str) -> Request {
    Request::Tell(Act::Tell(error(code, message)))
}

fn close(code: u16) -> Request {
    let reason = String::new();
    Request::Tell(Act::Close { code, reason })
}
