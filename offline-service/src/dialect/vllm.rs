// SPDX-License-Identifier: MPL-2.0

//! The protocol of vLLM, with Qwen3-ASR behind it: the client says where utterances end.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::ids::Ids;
use super::limits::RateLimit;
use super::{Act, Dialect, Frame, Request, pcm};
use crate::core::Setup;
use crate::filter::Wire;
use crate::record::ClientEvent;
use crate::server::Options;
use crate::words;

/// How long it takes to transcribe what is left when an utterance ends. Audio that comes in
/// the meantime is lost.
const FLUSH: Duration = Duration::from_millis(50);

/// Characters of a token. They cut the tags that Qwen3-ASR puts before its text.
const TOKEN: usize = 5;

/// What waits for the model.
enum Queued {
    Audio(Vec<i16>),
    /// There is no more audio in this utterance.
    End,
}

/// A session.
pub struct Vllm {
    id: String,
    known_models: Option<Vec<String>>,
    segment: Duration,
    tags: bool,
    rate_limit: Option<RateLimit>,
    /// Whether the client has named a model that is served.
    validated: bool,
    /// Whether the model is at work.
    generating: bool,
    queue: Vec<Queued>,
    /// Until when the model is busy with the end of an utterance.
    flushing: Option<Duration>,
    /// The text of the utterance that was sent, without tags and with them.
    told: String,
    told_raw: String,
}

impl Vllm {
    /// The session `number`.
    pub fn new(number: u64, options: &Options) -> Self {
        Self {
            id: Ids::new(number).next("sess"),
            known_models: options.known_models.clone(),
            segment: options.segment,
            tags: options.tags,
            rate_limit: options.rate_limit.then(RateLimit::default),
            validated: false,
            generating: false,
            queue: Vec::new(),
            flushing: None,
            told: String::new(),
            told_raw: String::new(),
        }
    }

    fn text(&mut self, frame: String, now: Duration) -> Vec<Request> {
        let Ok(event) = serde_json::from_str::<Value>(&frame) else {
            let answer = refuse("invalid_json", "Invalid JSON");
            return vec![Request::Received(ClientEvent::Garbage(frame)), answer];
        };
        let kind = event["type"].as_str().unwrap_or_default();
        if kind == "input_audio_buffer.append" {
            return self.append(event, now);
        }
        let requests = match kind {
            "session.update" => vec![self.update(&event)],
            "input_audio_buffer.commit" => self.commit(event["final"] == true, now),
            _ => {
                let message = format!("Unknown event type: {kind}");
                vec![refuse("unknown_event", &message)]
            }
        };
        let received = Request::Received(ClientEvent::Event(event));
        [vec![received], requests].concat()
    }

    fn update(&mut self, event: &Value) -> Request {
        let Some(model) = event["model"].as_str() else {
            return refuse("invalid_event", "Missing required field: model");
        };
        let known = self.known_models.as_ref();
        self.validated = known.is_none_or(|known| known.iter().any(|known| known == model));
        if self.validated {
            Request::Tell(Act::Ready(None))
        } else {
            let message = format!("The model `{model}` does not exist.");
            refuse("model_not_found", &message)
        }
    }

    fn append(&mut self, event: Value, now: Duration) -> Vec<Request> {
        let audio = match event["audio"].as_str().map(|text| BASE64.decode(text)) {
            Some(Ok(audio)) if !audio.is_empty() && audio.len().is_multiple_of(2) => audio,
            _ => {
                return vec![
                    Request::Received(ClientEvent::Event(event)),
                    refuse("invalid_audio", "Invalid audio data"),
                ];
            }
        };
        let received = Request::Received(ClientEvent::audio(audio.len()));
        let too_fast = |limit: &mut RateLimit| limit.is_exceeded(now, audio.len());
        if self.rate_limit.as_mut().is_some_and(too_fast) {
            return vec![received, close(1009, "message too big")];
        }
        if self.flushing.is_some_and(|until| now < until) {
            return vec![received];
        }
        self.queue.push(Queued::Audio(pcm(&audio)));
        let mut requests = vec![received];
        if self.generating {
            self.generate(now, &mut requests);
        }
        requests
    }

    fn commit(&mut self, is_final: bool, now: Duration) -> Vec<Request> {
        if !self.validated {
            let message = "Model not validated. Send session.update first.";
            return vec![refuse("model_not_validated", message)];
        }
        if is_final {
            self.queue.push(Queued::End);
        } else {
            self.generating = true;
        }
        let mut requests = Vec::new();
        if self.generating {
            self.generate(now, &mut requests);
        }
        requests
    }

    /// Gives what is queued to the model. After the end of an utterance the queue is cleared,
    /// whatever is in it.
    fn generate(&mut self, now: Duration, requests: &mut Vec<Request>) {
        for queued in std::mem::take(&mut self.queue) {
            match queued {
                Queued::Audio(pcm) => requests.push(Request::Audio(pcm)),
                Queued::End => {
                    requests.push(Request::Commit);
                    self.generating = false;
                    self.flushing = Some(now + FLUSH);
                    return;
                }
            }
        }
    }

    /// More of the utterance's text, as the model puts it.
    fn tell(&mut self, language: &str, text: &str) -> Vec<Wire> {
        let tag = match (self.tags, text) {
            (false, _) => String::new(),
            (true, "") => "language None<asr_text>".to_owned(),
            (true, _) => format!("language {}<asr_text>", name(language)),
        };
        let raw = format!("{tag}{text}");
        self.told.push_str(text);
        self.told_raw.push_str(&raw);
        let letters: Vec<char> = raw.chars().collect();
        letters
            .chunks(TOKEN)
            .map(String::from_iter)
            // Some tokens have no text.
            .chain([String::new()])
            .map(|delta| Wire::Event(json!({"type": "transcription.delta", "delta": delta})))
            .collect()
    }

    /// What of a text was not told yet.
    fn news(&self, text: &str) -> String {
        words::beyond(text, &self.told).to_owned()
    }

    /// The end of an utterance. What the model told already stays, even if it was wrong.
    fn done(&mut self, language: &str, transcript: &str, audio: u64) -> Vec<Wire> {
        let rest = self.news(transcript);
        let mut wires = vec![Wire::Pause(FLUSH)];
        if !transcript.is_empty() {
            wires.extend(self.tell(language, &rest));
        }
        self.told.clear();
        let text = std::mem::take(&mut self.told_raw);
        let tokens = text.chars().count().div_ceil(4) as u64;
        let prompt_tokens = 76 + audio / 80;
        wires.push(Wire::Event(json!({
            "type": "transcription.done",
            "text": text,
            "usage": {
                "prompt_tokens": prompt_tokens,
                "total_tokens": prompt_tokens + tokens,
                "completion_tokens": tokens,
                "prompt_tokens_details": null,
            },
        })));
        wires
    }
}

impl Dialect for Vllm {
    fn open(&mut self) -> Vec<Request> {
        let created = json!({"type": "session.created", "id": self.id, "created": 1_763_640_000});
        let setup = Setup {
            partial_interval: Some(self.segment),
            ..Setup::default()
        };
        vec![
            Request::Start(setup),
            Request::Tell(Act::Opened(Some(created))),
        ]
    }

    fn decode(&mut self, frame: Frame, now: Duration) -> Vec<Request> {
        match frame {
            Frame::Text(text) => self.text(text, now),
            // The server fails to read it as text.
            Frame::Binary(data) => vec![
                Request::Received(ClientEvent::Binary(data.len())),
                close(1011, ""),
            ],
        }
    }

    fn encode(&mut self, act: Act) -> Vec<Wire> {
        match act {
            Act::Opened(event) | Act::Ready(event) => event.map(Wire::Event).into_iter().collect(),
            Act::Tell(event) => vec![Wire::Event(event)],
            Act::Close { code, reason } => vec![Wire::Close { code, reason }],
            Act::Partial(partial) => {
                let more = self.news(&partial.hypothesis.text);
                self.tell(&partial.language, &more)
            }
            Act::Completed(done) => self.done(&done.language, &done.transcript, done.audio),
            Act::NothingToCommit => self.done("", "", 0),
            Act::Failed { .. } => {
                self.told.clear();
                self.told_raw.clear();
                vec![Wire::Event(error("processing_error", "Processing error"))]
            }
            Act::Error {
                code,
                message,
                close,
            } => {
                let close = close.map(|(code, reason)| Wire::Close { code, reason });
                let error = Wire::Event(error(&code, &message));
                [error].into_iter().chain(close).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// What the model calls a language.
fn name(code: &str) -> &'static str {
    match code {
        "zh" | "yue" => "Chinese",
        "ja" => "Japanese",
        "ko" => "Korean",
        "th" => "Thai",
        "ar" => "Arabic",
        "de" => "German",
        "fr" => "French",
        "es" => "Spanish",
        _ => "English",
    }
}

pub fn error(code: &str, message: &str) -> Value {
    json!({"type": "error", "error": message, "code": code})
}

fn refuse(code: &str, message: &str) -> Request {
    Request::Tell(Act::Tell(error(code, message)))
}

fn close(code: u16, reason: &str) -> Request {
    let reason = reason.to_owned();
    Request::Tell(Act::Close { code, reason })
}
