// SPDX-License-Identifier: MPL-2.0

//! The protocol of Qwen-ASR-Realtime.

pub mod config;
pub mod events;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::ids::Ids;
use super::limits::{MAX_FRAME, RateLimit};
use super::upload::Upload;
use super::{Act, Dialect, Frame, Request};
use crate::faults::Faults;
use crate::filter::Wire;
use crate::handshake::OTHER_MODEL;
use crate::record::ClientEvent;
use crate::server::Options;
use config::Config;

/// The model to serve a session with, or what to answer instead of serving it.
pub fn admit<'a>(model: Option<&'a str>, options: &Options) -> Result<&'a str, Vec<Wire>> {
    match (&options.known_models, model) {
        (None, model) => Ok(model.unwrap_or(OTHER_MODEL)),
        (Some(known), Some(model)) if known.iter().any(|known| known == model) => Ok(model),
        (Some(_), model) => {
            let model = model.unwrap_or_default();
            let reason = format!("Model not found ({model})!");
            Err(vec![Wire::close(1007, &reason)])
        }
    }
}

/// A session.
pub struct Realtime {
    model: String,
    id: String,
    item_ids: Ids,
    event_ids: Ids,
    /// Identifiers of the items, in their order.
    items: Vec<String>,
    config: Config,
    has_audio: bool,
    audio: Upload,
    /// What the client called its latest event.
    latest_event: Value,
    rate_limit: Option<RateLimit>,
    /// Whether a commit is possible while the service detects speech.
    commit_with_vad: bool,
    omit_item_id: bool,
    omit_event_id: bool,
}

impl Realtime {
    /// The session `number`, with a model of this name.
    pub fn new(model: &str, number: u64, options: &Options, faults: &Faults) -> Self {
        let model = if faults.wrong_model_echo {
            OTHER_MODEL
        } else {
            model
        };
        let mut item_ids = Ids::new(number);
        Self {
            model: model.to_owned(),
            id: item_ids.next("sess"),
            item_ids,
            event_ids: Ids::new(number),
            items: Vec::new(),
            config: Config::default(),
            has_audio: false,
            audio: Upload::default(),
            latest_event: Value::Null,
            rate_limit: options.rate_limit.then(RateLimit::default),
            commit_with_vad: !faults.commit_not_allowed,
            omit_item_id: faults.omit_item_id,
            omit_event_id: faults.omit_event_id,
        }
    }

    fn text(&mut self, frame: String, now: Duration) -> Vec<Request> {
        let too_big = frame.len() > MAX_FRAME;
        let event = match serde_json::from_str::<Value>(&frame) {
            Ok(event) if event["type"].is_string() => event,
            _ => {
                let answer = if too_big {
                    too_big_close()
                } else {
                    let message = "A frame is a JSON object with a 'type'.";
                    tell(events::invalid_request(
                        "invalid_event",
                        message,
                        None,
                        None,
                    ))
                };
                return vec![Request::Received(ClientEvent::Garbage(frame)), answer];
            }
        };
        let kind = event["type"].as_str().unwrap_or_default();
        if !too_big && kind == "input_audio_buffer.append" {
            return self.append(event, now);
        }
        self.latest_event = event["event_id"].clone();
        let mut requests = vec![Request::Received(ClientEvent::Event(event.clone()))];
        match kind {
            _ if too_big => requests.push(too_big_close()),
            "session.update" => requests.extend(self.update(&event)),
            "input_audio_buffer.commit"
                if self.config.detection.is_some() && !self.commit_with_vad =>
            {
                let message = "input_audio_buffer.commit is not allowed with server_vad.";
                requests.push(self.refuse("commit_not_allowed", message, None));
            }
            "input_audio_buffer.commit" => requests.push(Request::Commit),
            "session.finish" => requests.extend(self.finish()),
            _ => {
                let message = format!("Invalid event type: '{kind}'.");
                requests.push(self.refuse("invalid_event", &message, Some("type")));
            }
        }
        requests
    }

    fn update(&mut self, event: &Value) -> Vec<Request> {
        if self.has_audio {
            return vec![close(1007, "session.update is not allowed after audio")];
        }
        let merged = self.config.merged(&event["session"]);
        match merged.and_then(|config| Ok((config.upload()?, config))) {
            Ok((audio, config)) => {
                self.audio = audio;
                self.config = config;
                let session = self.config.to_json(&self.id, &self.model, true);
                let updated = events::session_updated(session);
                vec![
                    self.audio.began(),
                    Request::Start(self.config.setup()),
                    Request::Tell(Act::Ready(Some(updated))),
                ]
            }
            Err(invalid) => {
                vec![self.refuse("invalid_value", &invalid.message, Some(invalid.param))]
            }
        }
    }

    fn append(&mut self, event: Value, now: Duration) -> Vec<Request> {
        let is_pcm = self.audio.is_pcm();
        let audio = match event["audio"].as_str().map(|text| BASE64.decode(text)) {
            Some(Ok(audio)) if !is_pcm || audio.len().is_multiple_of(2) => audio,
            _ => {
                self.latest_event = event["event_id"].clone();
                let message = if is_pcm {
                    "'audio' has to be whole 16-bit samples in Base64."
                } else {
                    "'audio' has to be bytes in Base64."
                };
                return vec![
                    Request::Received(ClientEvent::Event(event)),
                    self.refuse("invalid_audio", message, Some("audio")),
                ];
            }
        };
        self.has_audio = true;
        let received = Request::Received(ClientEvent::audio(audio.len()));
        let too_fast = |limit: &mut RateLimit| limit.is_exceeded(now, audio.len());
        if self.rate_limit.as_mut().is_some_and(too_fast) {
            return vec![received, close(1007, "Input exceeds 2560 KB/s")];
        }
        let (requests, result) = self.audio.take(audio);
        let failure = result.err().map_or_else(Vec::new, |message| {
            self.latest_event = event["event_id"].clone();
            self.undecodable(&message)
        });
        [vec![received], requests, failure].concat()
    }

    fn finish(&self) -> Vec<Request> {
        match self.audio.finish() {
            Ok(()) => vec![Request::Finish, close(1000, "")],
            Err(message) => self.undecodable(&message),
        }
    }

    /// How audio that cannot be decoded is reported here; how the service does it is not known.
    fn undecodable(&self, message: &str) -> Vec<Request> {
        vec![
            self.refuse("invalid_audio", message, Some("audio")),
            close(1007, "Invalid audio"),
        ]
    }

    /// Answers the client's latest event with an error.
    fn refuse(&self, code: &str, message: &str, param: Option<&str>) -> Request {
        tell(self.refusal(code, message, param))
    }

    fn refusal(&self, code: &str, message: &str, param: Option<&str>) -> Value {
        events::invalid_request(code, message, param, self.latest_event.as_str())
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

    fn event(&mut self, act: Act) -> Option<Value> {
        Some(match act {
            Act::Opened(event) | Act::Ready(event) => return event,
            Act::Tell(event) => event,
            Act::SpeechStarted { item, at } => events::speech_started(&self.item(item).0, at),
            Act::SpeechStopped { item, at } => events::speech_stopped(&self.item(item).0, at),
            Act::Committed { item } => {
                let (id, before) = self.item(item);
                self.anonymous(events::committed(&id, before.as_deref()))
            }
            Act::Added { item } => {
                let (id, before) = self.item(item);
                events::item_created(&id, before.as_deref())
            }
            Act::Partial(partial) => {
                let hypothesis = &partial.hypothesis;
                let id = self.item(partial.item).0;
                events::partial(&id, &partial.language, &hypothesis.text, &hypothesis.stash)
            }
            Act::Completed(done) => {
                let id = self.item(done.item).0;
                let seconds = done.audio.div_ceil(1000);
                let completed = events::completed(&id, &done.language, &done.transcript, seconds);
                self.anonymous(completed)
            }
            Act::Failed { item } => events::failed(&self.item(item).0),
            Act::NothingToCommit => {
                let message = "Error committing input audio buffer: the buffer is empty.";
                self.refusal("input_audio_buffer_commit_empty", message, None)
            }
            Act::Unrecognisable(message) => events::inference_error(&message),
            Act::Finished { .. } => events::session_finished(),
            Act::Error { code, message, .. } => events::server_error(&code, &message),
            Act::Clock(_) | Act::Finishing | Act::Silence(_) | Act::Close { .. } => return None,
        })
    }

    /// An event without its item, if that is the fault.
    fn anonymous(&self, mut event: Value) -> Value {
        if self.omit_item_id
            && let Some(event) = event.as_object_mut()
        {
            event.remove("item_id");
        }
        event
    }
}

impl Dialect for Realtime {
    fn open(&mut self) -> Vec<Request> {
        let session = self.config.to_json(&self.id, &self.model, false);
        let created = events::session_created(session);
        vec![
            Request::Start(self.config.setup()),
            Request::Tell(Act::Opened(Some(created))),
        ]
    }

    fn decode(&mut self, frame: Frame, now: Duration) -> Vec<Request> {
        match frame {
            Frame::Text(text) => self.text(text, now),
            Frame::Binary(data) => {
                let message = "Binary frames are not supported; audio is sent as Base64 in JSON.";
                let answer = if data.len() > MAX_FRAME {
                    too_big_close()
                } else {
                    tell(events::invalid_request(
                        "invalid_event",
                        message,
                        None,
                        None,
                    ))
                };
                vec![Request::Received(ClientEvent::Binary(data.len())), answer]
            }
        }
    }

    fn encode(&mut self, act: Act) -> Vec<Wire> {
        let close = match &act {
            Act::Error { close, .. } => close.clone(),
            Act::Close { code, reason } => Some((*code, reason.clone())),
            _ => None,
        };
        let event = self.event(act).map(|mut event| {
            if !self.omit_event_id {
                event["event_id"] = json!(self.event_ids.next("event"));
            }
            Wire::Event(event)
        });
        let close = close.map(|(code, reason)| Wire::Close { code, reason });
        event.into_iter().chain(close).collect()
    }
}

fn tell(event: Value) -> Request {
    Request::Tell(Act::Tell(event))
}

fn close(code: u16, reason: &str) -> Request {
    let reason = reason.to_owned();
    Request::Tell(Act::Close { code, reason })
}

fn too_big_close() -> Request {
    close(1009, "Max frame length of 262144 has been exceeded.")
}

#[cfg(test)]
mod tests;
