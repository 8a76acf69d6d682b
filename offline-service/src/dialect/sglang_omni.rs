// SPDX-License-Identifier: MPL-2.0

//! The protocol of sglang-omni's transcription sessions, with Qwen3-ASR behind it: utterances are
//! segments, which the service finds or the client ends, and whose text grows by replacement.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};

use super::ids::Ids;
use super::limits::RateLimit;
use super::{Act, Dialect, Frame, Request, pcm};
use crate::core::{Detection, Setup};
use crate::faults::Faults;
use crate::filter::Wire;
use crate::handshake;
use crate::record::ClientEvent;
use crate::server::Options;

/// Longest segment: the next one goes on where it ends.
const MAX_SEGMENT: Duration = Duration::from_secs(30);

/// What the server takes where the client does not say.
const THRESHOLD: f64 = 0.5;
const PREFIX_PADDING_MS: u32 = 300;
const SILENCE_MS: u32 = 800;

/// What the detection of speech looks at, at once.
const VAD_FRAME_MS: u32 = 32;

/// A session.
pub struct SglangOmni {
    id: String,
    model: String,
    event_ids: Ids,
    event_index: u64,
    /// Audio between two transcriptions of a segment; two seconds, unless a server is told otherwise.
    decode_interval: Duration,
    rate_limit: Option<RateLimit>,
    /// Audio has come: the settings stay as they are.
    active: bool,
    /// The client has no more audio.
    done: bool,
    /// Where the latest segment ended, in milliseconds.
    stopped_at: Option<u64>,
    /// All final texts.
    texts: Vec<String>,
    omit_segment_id: bool,
    omit_event_id: bool,
}

impl SglangOmni {
    /// The session `number`, to which a request with this query led, or what the client gets
    /// instead.
    pub fn begin(
        number: u64,
        query: &str,
        options: &Options,
        faults: &Faults,
    ) -> Result<Self, Vec<Wire>> {
        if !is_meant(query) {
            let message = "Only the intent 'transcription' is supported.";
            let error = error("unsupported_realtime_intent", message);
            return Err(vec![Wire::Event(error), Wire::close(1008, "intent")]);
        }
        let mut ids = Ids::new(number);
        Ok(Self {
            id: ids.next("sess"),
            model: handshake::model(query)
                .unwrap_or("Qwen/Qwen3-ASR-1.7B")
                .to_owned(),
            event_ids: ids,
            event_index: 0,
            decode_interval: options.partial_interval,
            rate_limit: options.rate_limit.then(RateLimit::default),
            active: false,
            done: false,
            stopped_at: None,
            texts: Vec::new(),
            omit_segment_id: faults.omit_item_id,
            omit_event_id: faults.omit_event_id,
        })
    }

    fn text(&mut self, frame: String, now: Duration) -> Vec<Request> {
        let Ok(event) = serde_json::from_str::<Value>(&frame) else {
            let answer = refuse("invalid_json", "Invalid JSON");
            return vec![Request::Received(ClientEvent::Garbage(frame)), answer];
        };
        let kind = event["type"].as_str().unwrap_or_default();
        let answer = match kind {
            _ if self.done => vec![refuse("input_already_done", "The input is already done.")],
            "input_audio_buffer.append" => return self.append(event, now),
            "session.update" => self
                .update(&event["session"])
                .unwrap_or_else(|message| vec![refuse("invalid_event", &message)]),
            "input_audio_buffer.commit" => vec![Request::Commit],
            "input_audio_buffer.clear" => {
                let cleared = json!({"type": "input_audio_buffer.cleared"});
                vec![Request::Clear, Request::Tell(Act::Tell(cleared))]
            }
            "transcription.done" => {
                self.done = true;
                vec![Request::Finish]
            }
            _ => vec![refuse(
                "unsupported_event",
                &format!("Unsupported event: {kind}"),
            )],
        };
        [vec![Request::Received(ClientEvent::Event(event))], answer].concat()
    }

    /// Takes settings, and says what is wrong with them otherwise.
    fn update(&mut self, session: &Value) -> Result<Vec<Request>, String> {
        if self.active {
            let message = "The session has audio already.";
            return Ok(vec![refuse("session_active", message)]);
        }
        let session = session.as_object().ok_or("'session' has to be an object")?;
        only(
            session,
            &["language", "turn_detection", "input_audio_format"],
        )?;
        if session
            .get("input_audio_format")
            .is_some_and(|f| f != "pcm16")
        {
            return Err("input_audio_format has to be 'pcm16'".into());
        }
        let language = match session.get("language") {
            None | Some(Value::Null) => None,
            Some(Value::String(language)) => Some(language.clone()),
            Some(_) => return Err("language has to be a string".into()),
        };
        let detection = match session.get("turn_detection") {
            Some(Value::Null) => None,
            None => Some(detection(&Map::new())?),
            Some(Value::Object(settings)) => Some(detection(settings)?),
            Some(_) => return Err("turn_detection has to be an object or null".into()),
        };
        let updated = json!({"type": "session.updated", "session": session});
        Ok(vec![
            Request::Start(setup(detection, language)),
            Request::Tell(Act::Ready(Some(updated))),
        ])
    }

    fn append(&mut self, event: Value, now: Duration) -> Vec<Request> {
        let audio = match event["audio"].as_str().map(|text| BASE64.decode(text)) {
            Some(Ok(audio)) if audio.len().is_multiple_of(2) => audio,
            _ => {
                let received = Request::Received(ClientEvent::Event(event));
                return vec![received, refuse("invalid_audio", "Invalid audio data")];
            }
        };
        self.active = true;
        let received = Request::Received(ClientEvent::audio(audio.len()));
        let too_fast = |limit: &mut RateLimit| limit.is_exceeded(now, audio.len());
        if self.rate_limit.as_mut().is_some_and(too_fast) {
            let overflow = refuse("audio_buffer_overflow", "Too much audio is waiting.");
            return vec![received, overflow];
        }
        vec![received, Request::Audio(pcm(&audio))]
    }

    fn event(&mut self, act: Act) -> Option<Value> {
        Some(match act {
            Act::Opened(event) | Act::Ready(event) => event?,
            Act::Tell(event) => event,
            // A segment that goes on where a long one was cut is not announced.
            Act::SpeechStarted { at, .. } if self.stopped_at == Some(at) => return None,
            Act::SpeechStarted { item, at } => json!({
                "type": "input_audio_buffer.speech_started",
                "segment_id": item,
                "audio_start_ms": at,
            }),
            Act::SpeechStopped { item, at } => {
                self.stopped_at = Some(at);
                json!({
                    "type": "input_audio_buffer.speech_stopped",
                    "segment_id": item,
                    "audio_end_ms": at,
                })
            }
            Act::Committed { item } => json!({
                "type": "input_audio_buffer.committed",
                "segment_id": item,
            }),
            Act::Partial(partial) => {
                let text = partial.hypothesis.text + &partial.hypothesis.stash;
                segment(partial.item, (partial.begin, partial.audio), &text, false)
            }
            Act::Completed(done) => {
                self.texts.push(done.transcript.clone());
                segment(done.item, (done.begin, done.end), &done.transcript, true)
            }
            Act::Failed { .. } => error("transcription_failed", "The segment failed."),
            Act::NothingToCommit => error("invalid_event", "The buffer is empty."),
            Act::Finished { .. } => json!({
                "type": "transcription.completed",
                "text": self.texts.join(" "),
            }),
            Act::Error { code, message, .. } => error(&code, &message),
            _ => return None,
        })
    }
}

/// Whether a request with this query means this protocol.
pub fn is_meant(query: &str) -> bool {
    query.split('&').any(|pair| pair == "intent=transcription")
}

/// Whether the model that a request with this query asks for is served.
pub fn serves(query: &str, options: &Options) -> bool {
    let is_known = |model| match &options.known_models {
        Some(known) => known.iter().any(|known| known == model),
        None => true,
    };
    handshake::model(query).is_none_or(is_known)
}

fn setup(detection: Option<Detection>, language: Option<String>) -> Setup {
    Setup {
        detection,
        language,
        max_item: Some(MAX_SEGMENT),
        ..Setup::default()
    }
}

/// Anything but these keys is an error.
fn only(settings: &Map<String, Value>, keys: &[&str]) -> Result<(), String> {
    let unknown = |key: &&String| !keys.contains(&key.as_str());
    let extra: Vec<&String> = settings.keys().filter(unknown).collect();
    if extra.is_empty() {
        Ok(())
    } else {
        Err(format!("Extra inputs are not permitted: {extra:?}"))
    }
}

fn detection(settings: &Map<String, Value>) -> Result<Detection, String> {
    const KEYS: [&str; 4] = [
        "type",
        "threshold",
        "prefix_padding_ms",
        "silence_duration_ms",
    ];
    only(settings, &KEYS)?;
    if settings
        .get("type")
        .is_some_and(|kind| kind != "server_vad")
    {
        return Err("turn_detection.type has to be 'server_vad'".into());
    }
    let number = |key, default: f64| settings.get(key).map_or(Some(default), Value::as_f64);
    let threshold = number("threshold", THRESHOLD).filter(|value| (0.0..=1.0).contains(value));
    let padding = number("prefix_padding_ms", PREFIX_PADDING_MS.into());
    let silence = number("silence_duration_ms", SILENCE_MS.into());
    let (Some(threshold), Some(padding), Some(silence)) = (threshold, padding, silence) else {
        return Err("turn_detection has a value that is not valid".into());
    };
    if padding + f64::from(VAD_FRAME_MS) > silence {
        return Err("prefix_padding_ms reaches into the segment before".into());
    }
    Ok(Detection {
        threshold,
        silence_ms: silence as u32,
    })
}

fn segment(id: usize, span: (u64, u64), text: &str, is_final: bool) -> Value {
    json!({
        "type": "transcription.segment",
        "segment_id": id,
        "audio_start_ms": span.0,
        "audio_end_ms": span.1,
        "text": text,
        "is_final": is_final,
    })
}

impl Dialect for SglangOmni {
    fn open(&mut self) -> Vec<Request> {
        let created = json!({"type": "session.created", "session": {
            "id": self.id,
            "object": "realtime.session",
            "model": self.model,
            "intent": "transcription",
            "input_audio_format": "pcm16",
            "language": null,
            "decode_interval_ms": self.decode_interval.as_millis() as u64,
            "turn_detection": {"type": "server_vad"},
        }});
        let detection = Detection {
            threshold: THRESHOLD,
            silence_ms: SILENCE_MS,
        };
        vec![
            Request::Start(setup(Some(detection), None)),
            Request::Tell(Act::Opened(Some(created))),
        ]
    }

    fn decode(&mut self, frame: Frame, now: Duration) -> Vec<Request> {
        match frame {
            Frame::Text(text) => self.text(text, now),
            Frame::Binary(data) => vec![
                Request::Received(ClientEvent::Binary(data.len())),
                refuse("invalid_event", "Binary frames are not supported."),
            ],
        }
    }

    fn encode(&mut self, act: Act) -> Vec<Wire> {
        let close = match &act {
            Act::Error { close, .. } => close.clone(),
            // The client closes when all is transcribed.
            Act::Close { code, reason } => Some((*code, reason.clone())),
            _ => None,
        };
        let mut event = self.event(act);
        if let Some(event) = event.as_mut().and_then(Value::as_object_mut) {
            self.event_index += 1;
            if !self.omit_event_id {
                event.insert("event_id".into(), json!(self.event_ids.next("evt")));
            }
            event.insert("event_index".into(), json!(self.event_index));
            if self.omit_segment_id {
                event.remove("segment_id");
            }
        }
        let close = close.map(|(code, reason)| Wire::Close { code, reason });
        event.into_iter().map(Wire::Event).chain(close).collect()
    }
}

/// The body of the answer when there are too many sessions.
pub fn unavailable() -> Value {
    json!({"error": {"code": "unavailable", "message": "The server is full."}})
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
