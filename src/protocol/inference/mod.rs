// SPDX-License-Identifier: MPL-2.0
//! The inference protocol (`/api-ws/v1/inference`) of qwen-audio-3.x-asr, fun-asr-realtime and
//! paraformer-realtime: a task per connection, binary audio, sentences with the times of their
//! words.
//!
//! The service always detects the sentences itself. It fails a task that gets no audio for 23 s
//! and, without `heartbeat`, one that gets only silence for a minute (both documented). A sentence
//! is an item; all text of an interim result may change. [`models`] says which parameters each
//! model accepts.

mod models;
mod parameters;
mod words;

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::diagnosis::Peer;
use super::incoming;
use super::items::{Items, Unnamed};
use super::json::{count_of, is_set, text_of};
use super::ogg::OggOpus;
use super::texts::{name_of, said};
use super::{
    Codec, Command, Event, Failure, Frame, Incoming, ItemKey, ItemText, Kind, Limits, Profile,
    Recognition, Refusal, Setup, TurnDetection, Usage, checks, language,
};
use crate::audio::Coding;
use models::Model;

/// Audio per frame in bytes: the documentation asks for 1 to 16 KB.
const MAX_AUDIO_BYTES: usize = 16_000;

/// A burst gets no results at all (observed); slightly faster than real time is enough to catch up.
const SPEED: f64 = 1.25;

/// Well below the 23 s after which a task without audio fails.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Maximum characters of the context that the service uses (documented).
const MAX_CONTEXT: usize = 400;

pub(super) const PROFILE: Profile = Profile {
    nick: "inference",
    path: "/api-ws/v1/inference",
    query: None,
    models: &["qwen-audio-", "fun-asr-", "paraformer-realtime"],
    self_hosted: false,
    model_in_query: false,
    takes_opus: true,
    rates: |model| models::find(model).rates,
    beijing_only: |model| models::find(model).beijing_only,
    start_interval: |model| models::find(model).start_interval,
    set_up,
};

fn set_up(mut recognition: Recognition) -> Result<Setup, Failure> {
    let name = recognition.model.clone();
    let model = models::find(&name);
    let TurnDetection::ServerVad { threshold, .. } = recognition.turn_detection else {
        return Err(Failure::new(
            Kind::Settings,
            format!("The model '{name}' detects the utterances itself: it takes no commits."),
            "Set turn-detection=server-vad, or use a model of the realtime protocol.",
        ));
    };
    match (recognition.coding, model.rates) {
        (Coding::Pcm, rates) => {
            checks::rate(&format!("The model '{name}'"), rates, recognition.rate)?
        }
        // Whatever was encoded is decoded to any rate.
        (Coding::Opus, &[rate]) => recognition.rate = rate,
        (Coding::Opus, _) => {}
    }
    let mut warnings = Vec::new();
    let mut without = |property: &str, what: &str| {
        let why = format!("The model '{name}' {what}");
        warnings.push(checks::no_effect(&why, property));
    };
    parameters::check(&recognition.parameters, &name, model.parameters)?;
    let hints = language::hints(recognition.language.as_deref(), model.languages)?;
    if model.max_hints > 0 && hints.len() > model.max_hints {
        return Err(Failure::new(
            Kind::Settings,
            format!(
                "The language-code property names {} languages, and the model '{name}' takes {}.",
                hints.len(),
                model.max_hints
            ),
            "Name fewer of them.",
        ));
    }
    if !hints.is_empty() && model.max_hints == 0 {
        without("language-code", "always detects the language");
    }
    if recognition.context.is_some() && !model.context {
        without("context", "takes no context");
    }
    if !recognition.vocabulary.is_empty() && !model.vocabulary {
        without(
            "vocabulary",
            "takes no hot words but those of a vocabulary-id",
        );
    }
    if noise_threshold(threshold).is_some() && !model.noise_threshold {
        without("vad-threshold", "has no such threshold");
    }
    let context = recognition.context.as_deref().unwrap_or_default();
    if model.context && context.chars().count() > MAX_CONTEXT {
        warnings.push(format!(
            "The service uses the first {MAX_CONTEXT} characters of the context property only."
        ));
    }
    let codecs = Box::new(move || {
        let task_id = format!("{:032x}", fastrand::u128(..));
        Box::new(Inference::new(&recognition, &hints, model, task_id)) as Box<dyn Codec>
    });
    Ok(Setup {
        codecs,
        warnings,
        lacks_vad: false,
        silence: None,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Waiting for `task-started`.
    Opened,
    Running,
    /// Waiting for `task-finished`.
    Finishing,
    /// Failed or finished.
    Over,
}

/// One connection's codec; a connection has one task.
#[derive(Debug)]
struct Inference {
    peer: Peer,
    takes_context: bool,
    task_id: String,
    /// The payload of `run-task`, until sent.
    task: Value,
    phase: Phase,
    sentences: Items,
    ogg: Option<OggOpus>,
    /// [`Event::SpeechStarted`] was reported for all sentences before this one.
    announced: ItemKey,
}

impl Inference {
    /// `task_id` is 32 hexadecimal digits and unique.
    fn new(recognition: &Recognition, hints: &[String], model: Model, task_id: String) -> Self {
        Self {
            peer: Peer::new(recognition, &PROFILE),
            takes_context: model.context,
            task_id,
            task: task(recognition, hints, model),
            phase: Phase::Opened,
            sentences: Items::default(),
            ogg: OggOpus::wanted(recognition),
            announced: 0,
        }
    }

    fn action(&self, action: &str, payload: Value) -> Frame {
        let message = json!({
            "header": { "action": action, "task_id": self.task_id, "streaming": "duplex" },
            "payload": payload,
        });
        Frame::Text(message.to_string())
    }

    /// Whether a message is about this task; ids come with and without hyphens.
    fn is_ours(&self, header: &Value) -> bool {
        text_of(header, "task_id").is_none_or(|id| {
            let digits = id.bytes().filter(|b| *b != b'-');
            digits.eq(self.task_id.bytes())
        })
    }

    fn result(&mut self, payload: &Value, events: &mut Vec<Event>) {
        events.extend(usage(payload).map(Event::Billed));
        // Some models repeat the sentence elsewhere in the payload.
        let sentence = &payload["output"]["sentence"];
        let id = count_of(sentence, "sentence_id");
        if !sentence.is_object() || is_set(sentence, "heartbeat") || id == Some(0) {
            return;
        }
        let item_id = id.map(|id| id.to_string());
        let item = self.sentences.resolve(item_id.as_deref(), Unnamed::Oldest);
        if let Some(item) = item {
            self.sentence(item, item_id.unwrap_or_default(), sentence, events);
        }
    }

    /// Handles a result for an open sentence.
    fn sentence(
        &mut self,
        item: ItemKey,
        item_id: String,
        sentence: &Value,
        events: &mut Vec<Event>,
    ) {
        let begin = count_of(sentence, "begin_time");
        let end = count_of(sentence, "end_time");
        if item >= self.announced {
            self.announced = item + 1;
            events.push(Event::SpeechStarted {
                item,
                item_id: item_id.clone(),
                at_ms: begin,
            });
        }
        let said = said(sentence, "text");
        let mut text = ItemText {
            item_id: item_id.clone(),
            words: words::timed(sentence, begin, end),
            emotion: name_of(sentence, "emo_tag"),
            ..ItemText::default()
        };
        // Older models have no `sentence_end`: a sentence that has ended has an `end_time`.
        let is_final = sentence["sentence_end"].as_bool().unwrap_or(end.is_some());
        if is_final {
            self.sentences.end(item);
            events.push(Event::SpeechStopped {
                item,
                item_id,
                at_ms: end,
            });
            text.text = said;
            events.push(Event::Final { item, text });
        } else if !said.is_empty() {
            // Any of it may be revised.
            text.stash = said;
            events.push(Event::Interim { item, text });
        }
    }

    fn failed(&mut self, header: &Value) -> Event {
        let finishing = self.phase == Phase::Finishing;
        self.phase = Phase::Over;
        let code = text_of(header, "error_code").unwrap_or_default();
        let message = text_of(header, "error_message").unwrap_or_default();
        let normal: String = code.chars().filter(char::is_ascii_alphanumeric).collect();
        match normal.to_ascii_lowercase().as_str() {
            // There was no speech in the audio.
            "novalidaudioerror" | "novalidaudio" | "emptyaudio" if finishing => Event::Finished,
            "novalidaudioerror" | "novalidaudio" | "emptyaudio" => Event::Failed(
                Failure::new(
                    Kind::Lost,
                    "The service heard nothing and ended the task.",
                    "Check that the audio has speech in it, and the caps before this element.",
                )
                .with_code(Some(code.into())),
            ),
            _ => {
                let error = json!({ "code": code, "message": message });
                Event::Failed(self.peer.error(&error))
            }
        }
    }
}

/// The payload of `run-task`.
fn task(recognition: &Recognition, hints: &[String], model: Model) -> Value {
    let mut parameters = Map::new();
    let mut set = |name: &str, value: Value| parameters.insert(name.into(), value);
    set("format", json!(recognition.coding.name()));
    set("sample_rate", json!(recognition.rate));
    // Silence is sent like any other audio, and must not end the task.
    set("heartbeat", json!(true));
    if let TurnDetection::ServerVad {
        threshold,
        silence_ms,
    } = recognition.turn_detection
    {
        set("max_sentence_silence", json!(silence_ms));
        if let Some(threshold) = noise_threshold(threshold).filter(|_| model.noise_threshold) {
            set("speech_noise_threshold", json!(threshold));
        }
    }
    if model.semantic_punctuation {
        set("semantic_punctuation_enabled", json!(false));
    }
    if model.multi_threshold {
        set("multi_threshold_mode_enabled", json!(true));
    }
    if model.asks_for_interim {
        set("intermediate_result_enabled", json!(true));
    }
    if model.max_hints > 0 && !hints.is_empty() {
        set("language_hints", json!(hints));
    }
    if model.vocabulary && !recognition.vocabulary.is_empty() {
        let words = recognition.vocabulary.iter();
        let words: Map<_, _> = words
            .map(|word| (word.text.clone(), json!(word.weight)))
            .collect();
        set("vocabulary", words.into());
    }
    if let Some(id) = &recognition.vocabulary_id {
        set("vocabulary_id", json!(id));
    }
    for (name, value) in &recognition.parameters {
        set(name, value.clone());
    }
    let context = recognition.context.as_ref().filter(|_| model.context);
    json!({
        "task_group": "audio",
        "task": "asr",
        "function": "recognition",
        "model": recognition.model,
        "parameters": parameters,
        "input": context.map_or(json!({}), |context| input(context)),
    })
}

/// The threshold in the steps of 0.1 that the service documents; 0 is left to the model.
fn noise_threshold(threshold: Option<f64>) -> Option<f64> {
    threshold
        .map(|threshold| (threshold * 10.0).round() / 10.0)
        .filter(|threshold| *threshold != 0.0)
}

/// The part of the payload that carries the context.
fn input(context: &str) -> Value {
    json!({ "context": [{
        "role": "user",
        "content": [{ "type": "input_text", "text": context }],
    }] })
}

fn usage(payload: &Value) -> Option<Usage> {
    let usage = payload.get("usage")?;
    let seconds = usage.get("duration").and_then(Value::as_f64);
    let tokens = count_of(usage, "total_tokens");
    (seconds.is_some() || tokens.is_some()).then(|| Usage {
        seconds: seconds.unwrap_or_default(),
        tokens: tokens.unwrap_or_default(),
    })
}

impl Codec for Inference {
    fn limits(&self) -> Limits {
        Limits {
            max_audio_bytes: MAX_AUDIO_BYTES,
            max_speed: SPEED,
            max_utterance_ms: None,
            keep_alive: Some(KEEP_ALIVE),
            takes_context: self.takes_context,
            one_utterance: false,
        }
    }

    fn open(&mut self, out: &mut Vec<Frame>) {
        let task = std::mem::take(&mut self.task);
        out.push(self.action("run-task", task));
    }

    fn command(&mut self, command: Command<'_>, _events: &mut Vec<Event>, out: &mut Vec<Frame>) {
        match command {
            Command::Audio(audio) => match &mut self.ogg {
                Some(ogg) => out.extend(ogg.pages(audio).into_iter().map(Frame::Binary)),
                None => out.push(Frame::Binary(audio.to_vec())),
            },
            // Refused in `set_up`.
            Command::Commit => {}
            Command::Context(context) if self.takes_context => {
                out.push(self.action("continue-task", json!({ "input": input(context) })));
            }
            Command::Context(_) => {}
            Command::Finish => {
                self.phase = Phase::Finishing;
                out.push(self.action("finish-task", json!({ "input": {} })));
            }
        }
    }

    fn decode(&mut self, frame: Incoming<'_>, events: &mut Vec<Event>, _out: &mut Vec<Frame>) {
        if self.phase == Phase::Over {
            return;
        }
        let Some(message) = incoming::json(frame, events) else {
            return;
        };
        let (header, payload) = (&message["header"], &message["payload"]);
        if !self.is_ours(header) {
            return events.push(Event::Warning("ignored an event of another task".into()));
        }
        match text_of(header, "event") {
            Some("task-started") => {
                if self.phase == Phase::Opened {
                    self.phase = Phase::Running;
                    events.push(Event::Ready {
                        session_id: Some(self.task_id.clone()),
                    });
                }
            }
            Some("result-generated") => self.result(payload, events),
            Some("task-finished") => {
                self.phase = Phase::Over;
                events.extend(usage(payload).map(Event::Billed));
                events.push(Event::Finished);
            }
            Some("task-failed") => {
                let event = self.failed(header);
                events.push(event);
            }
            Some(event) => events.push(incoming::unknown(event)),
            None => events.push(Event::Warning("ignored an event without a name".into())),
        }
    }

    fn closed(&self, code: Option<u16>, reason: &str) -> Failure {
        self.peer.closed(code, reason)
    }

    fn refused(&self, refusal: &Refusal<'_>) -> Failure {
        self.peer.refused(refusal)
    }
}

#[cfg(test)]
mod tests;
