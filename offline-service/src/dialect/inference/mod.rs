// SPDX-License-Identifier: MPL-2.0

//! The protocol of tasks, which the successors of Qwen-ASR-Realtime and its elder siblings
//! speak.

mod parameters;
mod results;

use std::time::Duration;

use serde_json::{Value, json};

use super::ids::Ids;
use super::limits::{MAX_FRAME, RateLimit};
use super::upload::Upload;
use super::{Act, Dialect, Final, Frame, Partial, Request};
use crate::faults::Faults;
use crate::filter::Wire;
use crate::record::ClientEvent;
use crate::server::Options;
use crate::words::Word;
use parameters::{Family, Model, Parameters};
use results::{spoken, usage};

/// A connection, on which one task follows the other.
pub struct Inference {
    ids: Ids,
    known_models: Option<Vec<String>>,
    byte_timeout: Duration,
    idle_timeout: Duration,
    silence_timeout: Duration,
    rate_limit: Option<RateLimit>,
    /// Whether the client was told anything yet.
    opened: bool,
    /// Identifiers of the tasks so far.
    used: Vec<String>,
    /// The latest task.
    task: Option<Task>,
    /// Number of the first item of the task.
    first_item: usize,
    omit_item_id: bool,
    omit_optional: bool,
    foreign_results: bool,
}

struct Task {
    id: String,
    parameters: Parameters,
    /// Whether it takes audio.
    runs: bool,
    audio: Upload,
    /// Characters recognised so far.
    characters: usize,
}

/// What is wrong with a message of the client: a code and a sentence.
type Mistake = (&'static str, String);

impl Inference {
    /// The connection `number`.
    pub fn new(number: u64, options: &Options, faults: &Faults) -> Self {
        Self {
            ids: Ids::new(number),
            known_models: options.known_models.clone(),
            byte_timeout: options.byte_timeout,
            idle_timeout: options.idle_timeout,
            silence_timeout: options.silence_timeout,
            rate_limit: options.rate_limit.then(RateLimit::default),
            opened: false,
            used: Vec::new(),
            task: None,
            first_item: 0,
            omit_item_id: faults.omit_item_id,
            omit_optional: faults.omit_optional,
            foreign_results: faults.foreign_results,
        }
    }

    fn running(&mut self) -> Option<&mut Task> {
        self.task.as_mut().filter(|task| task.runs)
    }

    fn text(&mut self, frame: String) -> Vec<Request> {
        let message = match serde_json::from_str::<Value>(&frame) {
            Ok(message) if message["header"]["action"].is_string() => message,
            _ => {
                let message = "A message has a 'header' with an 'action'.".to_owned();
                let answer = self.fail("", ("InvalidParameter", message));
                return [vec![Request::Received(ClientEvent::Garbage(frame))], answer].concat();
            }
        };
        let id = message["header"]["task_id"].as_str().unwrap_or_default();
        let result = match message["header"]["action"].as_str().unwrap_or_default() {
            "run-task" => self.run(id, &message),
            "continue-task" => self.go_on(id, &message),
            "finish-task" => self.finish(id),
            _ => Err(protocol_mistake(&message)),
        };
        let answer = result.unwrap_or_else(|mistake| self.fail(id, mistake));
        let received = Request::Received(ClientEvent::Event(message));
        [vec![received], answer].concat()
    }

    fn run(&mut self, id: &str, message: &Value) -> Result<Vec<Request>, Mistake> {
        if self.running().is_some() {
            return Err(protocol_mistake(message));
        }
        if id.is_empty() || self.used.iter().any(|used| used == id) {
            let message = "'header.task_id' has to be new for each task.".to_owned();
            return Err(("InvalidParameter", message));
        }
        let payload = &message["payload"];
        for (name, value, expected) in [
            (
                "header.streaming",
                &message["header"]["streaming"],
                "duplex",
            ),
            ("payload.task_group", &payload["task_group"], "audio"),
            ("payload.task", &payload["task"], "asr"),
            ("payload.function", &payload["function"], "recognition"),
        ] {
            if value != expected {
                return Err((
                    "InvalidParameter",
                    format!("'{name}' has to be '{expected}'."),
                ));
            }
        }
        let name = required(payload["model"].as_str(), "payload.model")?;
        let known = self.known_models.as_ref();
        let model = Model::named(name)
            .filter(|_| known.is_none_or(|known| known.iter().any(|known| known == name)))
            .ok_or_else(|| ("ModelNotFound", format!("Model not found ({name})!")))?;
        let invalid = |message| ("InvalidParameter", message);
        let given = required(payload["parameters"].as_object(), "payload.parameters")?;
        let parameters = Parameters::new(model, given).map_err(invalid)?;
        model.check_input(&payload["input"]).map_err(invalid)?;

        let setup = parameters.setup.clone();
        let audio = Upload::new(&parameters.format, setup.rate).map_err(invalid)?;

        let mut requests = vec![audio.began(), Request::Start(setup)];
        if !std::mem::replace(&mut self.opened, true) {
            requests.push(Request::Tell(Act::Opened(None)));
        }
        self.used.push(id.to_owned());
        self.task = Some(Task {
            id: id.to_owned(),
            parameters,
            runs: true,
            audio,
            characters: 0,
        });
        let started = self.event(id, "task-started", json!({}));
        requests.push(Request::Tell(Act::Ready(Some(started))));
        Ok(requests)
    }

    fn go_on(&mut self, id: &str, message: &Value) -> Result<Vec<Request>, Mistake> {
        match self.running() {
            Some(task) if task.id == id => {
                let checked = task
                    .parameters
                    .model
                    .check_input(&message["payload"]["input"]);
                checked.map_err(|message| ("InvalidParameter", message))?;
                Ok(Vec::new())
            }
            _ => Err(protocol_mistake(message)),
        }
    }

    fn finish(&mut self, id: &str) -> Result<Vec<Request>, Mistake> {
        match self.running() {
            Some(task) if task.id == id => {
                task.audio.finish().map_err(undecodable)?;
                task.runs = false;
                Ok(vec![Request::Finish])
            }
            _ => {
                let message = format!("There is no task '{id}' to finish.");
                Err(("InvalidParameter", message))
            }
        }
    }

    fn binary(&mut self, data: Vec<u8>, now: Duration) -> Vec<Request> {
        let length = data.len();
        let too_fast = |limit: &mut RateLimit| limit.is_exceeded(now, length);
        if length > MAX_FRAME {
            let reason = "Max frame length of 262144 has been exceeded.";
            return vec![
                Request::Received(ClientEvent::Binary(length)),
                close(1009, reason),
            ];
        }
        let too_fast = self.rate_limit.as_mut().is_some_and(too_fast);
        // Audio before, between and after tasks belongs to none.
        let Some(task) = self.running() else {
            return vec![Request::Received(ClientEvent::Binary(length))];
        };
        let received = Request::Received(ClientEvent::audio(length));
        if too_fast {
            return vec![received, close(1007, "Input exceeds 2560 KB/s")];
        }
        let id = task.id.clone();
        let (requests, result) = task.audio.take(data);
        let failure = result
            .err()
            .map_or_else(Vec::new, |message| self.fail(&id, undecodable(message)));
        [vec![received], requests, failure].concat()
    }

    /// Ends the task `id`, and with it the connection.
    fn fail(&mut self, id: &str, (code, message): Mistake) -> Vec<Request> {
        let failed = self.failed(id, code, &message);
        vec![Request::Tell(Act::Tell(failed)), close(1000, "")]
    }

    fn failed(&self, id: &str, code: &str, message: &str) -> Value {
        let mut event = self.event(id, "task-failed", json!({}));
        event["header"]["error_code"] = json!(code);
        event["header"]["error_message"] = json!(message);
        event
    }

    fn event(&self, id: &str, name: &str, payload: Value) -> Value {
        let mut header = json!({"task_id": id, "event": name, "attributes": {}});
        if self.omit_optional {
            remove(&mut header, &["attributes"]);
        }
        json!({"header": header, "payload": payload})
    }

    /// An event with a sentence, in all the places where the task's model puts it.
    fn result(&mut self, task: &Task, sentence: Value, usage: Value) -> Value {
        let text = sentence["text"].clone();
        let mut payload = json!({"output": {"sentence": sentence}, "usage": usage});
        match task.parameters.model.family {
            Family::Streaming31 | Family::Message31 if !usage.is_null() => {
                let request = self.ids.next("request");
                payload["output"]["text"] = text;
                payload["output"]["request_id"] = json!(request);
                payload["output"]["output"] = payload["output"].clone();
                payload["output"]["usage"] = usage;
            }
            Family::Streaming31 | Family::Message31 => remove(&mut payload, &["usage"]),
            _ => (),
        }
        if self.omit_optional {
            remove(&mut payload, &["usage"]);
        }
        self.event(&task.id, "result-generated", payload)
    }

    /// The sentence of an item.
    fn sentence(&self, task: &Task, item: usize, text: &str, begin: u64, words: &[Word]) -> Value {
        let mut sentence = json!({
            "sentence_id": item - self.first_item.min(item) + 1,
            "begin_time": begin,
            "end_time": null,
            "text": text,
            "sentence_begin": false,
            "sentence_end": false,
            "words": words.iter().map(|word| spoken(word, false)).collect::<Vec<_>>(),
            "channel_id": 0,
            "speaker_id": null,
        });
        if task.parameters.heartbeat {
            sentence["heartbeat"] = json!(false);
        }
        if self.omit_optional {
            let optional = ["sentence_begin", "sentence_end", "channel_id", "speaker_id"];
            remove(&mut sentence, &optional);
        }
        if self.omit_item_id {
            remove(&mut sentence, &["sentence_id"]);
        }
        sentence
    }

    fn begun(&mut self, task: &Task, item: usize, at: u64) -> Value {
        let mut sentence = self.sentence(task, item, "", at, &[]);
        if !self.omit_optional {
            sentence["sentence_begin"] = json!(true);
        }
        self.result(task, sentence, Value::Null)
    }

    fn partial(&mut self, task: &Task, partial: &Partial) -> Value {
        let text = format!("{}{}", partial.hypothesis.text, partial.hypothesis.stash);
        let sentence = self.sentence(task, partial.item, &text, partial.begin, &partial.words);
        self.result(task, sentence, Value::Null)
    }

    fn completed(&mut self, task: &mut Task, done: &Final) -> Value {
        task.characters += done.transcript.chars().count();
        let mut sentence = self.sentence(task, done.item, &done.transcript, done.begin, &[]);
        let words = done.words.iter().map(|word| spoken(word, true));
        sentence["words"] = words.collect();
        sentence["end_time"] = json!(done.end);
        if !self.omit_optional {
            sentence["sentence_end"] = json!(true);
        }
        // This is how the service does it.
        remove(&mut sentence, &["sentence_begin"]);
        if !matches!(task.parameters.model.family, Family::FunAsr) {
            let next = sentence["sentence_id"].as_u64().map(|id| id + 1);
            sentence["stash"] = json!({
                "sentence_id": next,
                "text": "",
                "begin_time": done.end,
                "current_time": done.audio,
                "words": [],
            });
        }
        let usage = usage(task, done.audio);
        self.result(task, sentence, usage)
    }

    fn finished(&mut self, task: &Task, items: usize, audio: u64) -> Vec<Wire> {
        self.first_item += items;
        let family = task.parameters.model.family;
        if items == 0 {
            let code = match family {
                Family::Streaming31 | Family::Message31 => "EmptyAudio",
                _ => "NO_VALID_AUDIO_ERROR",
            };
            return self.ended(task, code, "There is no valid audio.", None);
        }
        let payload = match family {
            Family::Streaming31 | Family::Message31 => {
                json!({"output": {}, "usage": usage(task, audio)})
            }
            Family::Paraformer => json!({"output": {}}),
            _ => json!({"output": {}, "usage": null}),
        };
        vec![Wire::Event(self.event(&task.id, "task-finished", payload))]
    }

    /// A task that fails, and the close that follows.
    fn ended(
        &self,
        task: &Task,
        code: &str,
        message: &str,
        close: Option<(u16, String)>,
    ) -> Vec<Wire> {
        let (close, reason) = close.unwrap_or((1000, String::new()));
        let failed = self.failed(&task.id, code, message);
        vec![Wire::Event(failed), Wire::close(close, &reason)]
    }

    fn silence(&self, task: &Task, ms: u64) -> Vec<Wire> {
        if task.parameters.heartbeat {
            let sentence = json!({
                "sentence_id": 0,
                "begin_time": ms,
                "end_time": null,
                "text": "",
                "heartbeat": true,
                "sentence_end": false,
                "words": [],
            });
            let payload = json!({"output": {"sentence": sentence}, "usage": null});
            vec![Wire::Event(self.event(
                &task.id,
                "result-generated",
                payload,
            ))]
        } else if u128::from(ms) >= self.silence_timeout.as_millis() {
            vec![Wire::close(1000, "")]
        } else {
            Vec::new()
        }
    }

    /// A result, and before it one of another task, if that is the fault.
    fn results(&self, result: Value) -> Vec<Wire> {
        let foreign = self.foreign_results.then(|| {
            let mut foreign = result.clone();
            foreign["header"]["task_id"] = json!("00000000000000000000000000000000");
            foreign["payload"]["output"]["sentence"]["text"] = json!("foreign");
            Wire::Event(foreign)
        });
        foreign.into_iter().chain([Wire::Event(result)]).collect()
    }

    fn encoded(&mut self, task: &mut Task, act: Act) -> Vec<Wire> {
        match act {
            Act::Silence(ms) => self.silence(task, ms),
            Act::SpeechStarted { item, at } if task.parameters.partials => {
                vec![Wire::Event(self.begun(task, item, at))]
            }
            Act::Partial(partial) if task.parameters.partials => {
                vec![Wire::Event(self.partial(task, &partial))]
            }
            Act::Completed(done) => {
                let result = self.completed(task, &done);
                self.results(result)
            }
            Act::Failed { .. } => self.ended(
                task,
                "SERVER_ERROR",
                "The audio could not be transcribed.",
                None,
            ),
            Act::Unrecognisable(message) => self.ended(task, "SERVER_ERROR", &message, None),
            Act::Finished { items, audio } => self.finished(task, items, audio),
            Act::Error {
                code,
                message,
                close,
            } => self.ended(task, &code, &message, close),
            _ => Vec::new(),
        }
    }
}

impl Dialect for Inference {
    fn open(&mut self) -> Vec<Request> {
        Vec::new()
    }

    fn decode(&mut self, frame: Frame, now: Duration) -> Vec<Request> {
        match frame {
            Frame::Text(text) => self.text(text),
            Frame::Binary(data) => self.binary(data, now),
        }
    }

    fn encode(&mut self, act: Act) -> Vec<Wire> {
        match act {
            Act::Opened(event) | Act::Ready(event) => event.map(Wire::Event).into_iter().collect(),
            Act::Tell(event) => vec![Wire::Event(event)],
            Act::Close { code, reason } => vec![Wire::Close { code, reason }],
            // Everything else belongs to the task.
            act => match self.task.take() {
                Some(mut task) => {
                    let wires = self.encoded(&mut task, act);
                    self.task = Some(task);
                    wires
                }
                None => Vec::new(),
            },
        }
    }

    fn patience(&self) -> Option<Duration> {
        match &self.task {
            Some(task) if task.runs => Some(self.byte_timeout),
            _ => Some(self.idle_timeout),
        }
    }

    fn timed_out(&mut self) -> Vec<Request> {
        let seconds = self.byte_timeout.as_secs();
        match self.running().map(|task| task.id.clone()) {
            Some(id) => {
                let message = format!("request timeout after {seconds} seconds.");
                self.fail(&id, ("CLIENT_ERROR", message))
            }
            None => vec![close(1000, "")],
        }
    }
}

/// The refusal of a connection because there are too many.
pub fn too_many(limit: usize) -> Value {
    json!({
        "header": {
            "task_id": "",
            "event": "task-failed",
            "error_code": "Throttling.AllocationQuota",
            "error_message": format!("connections too much max_connections {limit}"),
            "attributes": {},
        },
        "payload": {},
    })
}

fn remove(object: &mut Value, keys: &[&str]) {
    if let Some(object) = object.as_object_mut() {
        for key in keys {
            object.remove(*key);
        }
    }
}

fn required<'a, T: ?Sized>(value: Option<&'a T>, name: &str) -> Result<&'a T, Mistake> {
    value.ok_or_else(|| {
        let message = format!("Missing required parameter '{name}'! Please follow the protocol!");
        ("InvalidParameter", message)
    })
}

/// How audio that cannot be decoded is reported here; how the service does it is not known.
fn undecodable(message: String) -> Mistake {
    ("CLIENT_ERROR", message)
}

fn protocol_mistake(message: &Value) -> Mistake {
    let action = message["header"]["action"].as_str().unwrap_or_default();
    let message = format!("Invalid action('{action}')! Please follow the protocol!");
    ("InvalidParameter", message)
}

fn close(code: u16, reason: &str) -> Request {
    let reason = reason.to_owned();
    Request::Tell(Act::Close { code, reason })
}
