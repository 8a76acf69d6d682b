// SPDX-License-Identifier: MPL-2.0

//! One realtime session, from the service's side, without any input or output of its own.

use std::{collections::VecDeque, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::Value;

use crate::{
    config::{Config, Language},
    events::{self, Ids},
    recogniser::{Factory, Recogniser},
    record::ClientEvent,
    vad::{FRAME_MS, Vad, VadOptions, Voice, samples},
};

/// Largest frame a client may send, in bytes.
pub const MAX_FRAME: usize = 262_144;

/// Most audio a client may send within a second, in bytes: 80 times as fast as it is spoken.
pub const MAX_BYTES_PER_SECOND: usize = 2_560_000;

/// Parameters of a [`Session`].
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// The model's name, as it is reported.
    pub model: String,
    /// Number of the session; the identifiers it makes depend on it.
    pub number: u64,
    /// Audio between two provisional results.
    pub partial_interval: Duration,
    /// How speech is detected.
    pub vad: VadOptions,
    /// Longest item the detection of speech makes; longer speech is cut.
    pub max_item: Option<Duration>,
    /// Whether [`MAX_BYTES_PER_SECOND`] holds.
    pub rate_limit: bool,
    /// Whether a commit is possible while the service detects speech.
    pub commit_with_vad: bool,
}

/// What a [`Session`] wants to be done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// For information: the client sent this.
    Received(ClientEvent),
    /// For information: so many milliseconds of audio are processed.
    Clock(u64),
    /// Send an event, to which its `event_id` is still to be added.
    Send(Value),
    /// Close the connection. The session takes no more input.
    Close {
        /// Close code.
        code: u16,
        /// Reason for the close frame.
        reason: String,
    },
}

/// Takes the actions of a [`Session`] one by one, as they come up.
pub type Sink<'a> = &'a mut dyn FnMut(Action);

/// The item that is being spoken.
struct Item {
    id: String,
    previous: Option<String>,
    /// Audio clock in milliseconds at which it began, and at which it is partially reported.
    begin_ms: u64,
    partial_ms: u64,
    /// Whether a commit of the client ended it before the speaker did.
    done: bool,
}

/// The service's side of one realtime session.
pub struct Session {
    options: SessionOptions,
    id: String,
    ids: Ids,
    config: Config,
    factory: Factory,
    recogniser: Option<Box<dyn Recogniser>>,
    vad: Option<Vad>,
    /// Audio that does not fill a frame yet.
    rest: Vec<i16>,
    /// The end of the audio without speech, for the recogniser.
    before: VecDeque<i16>,
    /// Audio processed, in samples.
    clock: u64,
    has_audio: bool,
    item: Option<Item>,
    previous: Option<String>,
    failed: bool,
    ended: bool,
    recent: VecDeque<(Duration, usize)>,
}

impl Session {
    /// A session whose audio is recognised by what `factory` makes.
    pub fn new(options: SessionOptions, factory: Factory) -> Self {
        let mut ids = Ids::new(options.number);
        Self {
            id: ids.next("sess"),
            ids,
            options,
            config: Config::default(),
            factory,
            recogniser: None,
            vad: None,
            rest: Vec::new(),
            before: VecDeque::new(),
            clock: 0,
            has_audio: false,
            item: None,
            previous: None,
            failed: false,
            ended: false,
            recent: VecDeque::new(),
        }
    }

    /// Whether the session has ended; it takes no more input then.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Begins the session.
    pub fn open(&mut self, out: Sink) {
        let session = self.config.to_json(&self.id, &self.options.model, false);
        out(Action::Send(events::session_created(session)));
    }

    /// Takes a text frame that was received at `now`, measured from any fixed moment.
    pub fn text(&mut self, frame: &str, now: Duration, out: Sink) {
        if self.ended {
            return;
        }
        let event = match serde_json::from_str::<Value>(frame) {
            Ok(event) if event["type"].is_string() => event,
            _ => {
                out(Action::Received(ClientEvent::Garbage(frame.to_owned())));
                if frame.len() > MAX_FRAME {
                    return self.too_big(out);
                }
                let message = "A frame is a JSON object with a 'type'.";
                let error = events::invalid_request("invalid_event", message, None, None);
                return out(Action::Send(error));
            }
        };
        let kind = event["type"].as_str().unwrap_or_default();
        if frame.len() <= MAX_FRAME && kind == "input_audio_buffer.append" {
            return self.append(event, now, out);
        }
        out(Action::Received(ClientEvent::Event(event.clone())));
        if frame.len() > MAX_FRAME {
            return self.too_big(out);
        }
        match kind {
            "session.update" => self.update(&event, out),
            "input_audio_buffer.commit" => self.commit(&event, out),
            "session.finish" => self.finish(out),
            _ => {
                let message = format!("Invalid event type: '{kind}'.");
                refuse(&event, "invalid_event", &message, Some("type"), out);
            }
        }
    }

    /// Takes a binary frame of `length` bytes.
    pub fn binary(&mut self, length: usize, out: Sink) {
        if self.ended {
            return;
        }
        out(Action::Received(ClientEvent::Binary(length)));
        if length > MAX_FRAME {
            return self.too_big(out);
        }
        let message = "Binary frames are not supported; audio is sent as Base64 in JSON.";
        let error = events::invalid_request("invalid_event", message, None, None);
        out(Action::Send(error));
    }

    fn close(&mut self, code: u16, reason: &str, out: Sink) {
        self.ended = true;
        out(Action::Close {
            code,
            reason: reason.to_owned(),
        });
    }

    fn too_big(&mut self, out: Sink) {
        self.close(1009, "Max frame length of 262144 has been exceeded.", out);
    }

    fn update(&mut self, event: &Value, out: Sink) {
        if self.has_audio {
            return self.close(1007, "session.update is not allowed after audio", out);
        }
        match self.config.merged(&event["session"]) {
            Ok(config) => {
                self.config = config;
                let session = self.config.to_json(&self.id, &self.options.model, true);
                out(Action::Send(events::session_updated(session)));
            }
            Err(invalid) => {
                let param = Some(invalid.param);
                refuse(event, "invalid_value", &invalid.message, param, out);
            }
        }
    }

    fn append(&mut self, event: Value, now: Duration, out: Sink) {
        let audio = match event["audio"].as_str().map(|text| BASE64.decode(text)) {
            Some(Ok(audio)) if audio.len().is_multiple_of(2) => audio,
            _ => {
                out(Action::Received(ClientEvent::Event(event.clone())));
                let message = "'audio' has to be whole 16-bit samples in Base64.";
                return refuse(&event, "invalid_audio", message, Some("audio"), out);
            }
        };
        out(Action::Received(ClientEvent::Audio {
            appends: 1,
            bytes: audio.len(),
        }));
        if self.options.rate_limit && self.exceeds_rate(now, audio.len()) {
            return self.close(1007, "Input exceeds 2560 KB/s", out);
        }
        self.has_audio = true;
        let mut pcm = std::mem::take(&mut self.rest);
        pcm.extend(
            audio
                .chunks_exact(2)
                .map(|s| i16::from_le_bytes([s[0], s[1]])),
        );
        let frames = pcm.chunks_exact(samples(FRAME_MS, self.config.rate) as usize);
        self.rest = frames.remainder().to_vec();
        for frame in frames {
            self.frame(frame, out);
        }
    }

    fn exceeds_rate(&mut self, now: Duration, bytes: usize) -> bool {
        self.recent.push_back((now, bytes));
        let window = Duration::from_secs(1);
        while self
            .recent
            .front()
            .is_some_and(|(at, _)| now.saturating_sub(*at) >= window)
        {
            self.recent.pop_front();
        }
        self.recent.iter().map(|(_, bytes)| bytes).sum::<usize>() > MAX_BYTES_PER_SECOND
    }

    /// Processes what does not fill a frame, because nothing is to follow it.
    fn flush(&mut self, out: Sink) {
        let rest = std::mem::take(&mut self.rest);
        if !rest.is_empty() {
            self.frame(&rest, out);
        }
    }

    fn frame(&mut self, pcm: &[i16], out: Sink) {
        if self.ended {
            return;
        }
        self.clock += pcm.len() as u64;
        match &self.config.detection {
            Some(detection) => {
                let vad = self.vad.get_or_insert_with(|| {
                    Vad::new(
                        self.options.vad,
                        self.config.rate,
                        detection.threshold,
                        detection.silence_ms,
                    )
                });
                match vad.frame(pcm) {
                    Voice::Silent => self.remember(pcm),
                    Voice::Started { at } => {
                        self.remember(pcm);
                        self.start_speech(at, out);
                    }
                    Voice::Speaking => {
                        self.feed(pcm, out);
                        self.cut_speech(out);
                    }
                    Voice::Stopped { at } => {
                        self.feed(pcm, out);
                        self.stop_speech(at, out);
                    }
                }
            }
            None => {
                if self.item.is_none() {
                    self.start_item(self.clock - pcm.len() as u64, out);
                }
                self.feed(pcm, out);
            }
        }
        out(Action::Clock(self.ms(self.clock)));
    }

    /// Keeps audio without speech: the beginning of speech is only known in retrospect.
    fn remember(&mut self, pcm: &[i16]) {
        let vad = &self.options.vad;
        let kept = samples(vad.pre_roll_ms + vad.onset_window_ms, self.config.rate) as usize;
        self.before.extend(pcm);
        self.before.drain(..self.before.len().saturating_sub(kept));
    }

    fn start_speech(&mut self, at: u64, out: Sink) {
        let id = self.start_item(at, out);
        if self.ended {
            return;
        }
        out(Action::Send(events::speech_started(&id, self.ms(at))));
        let pre_roll = samples(self.options.vad.pre_roll_ms, self.config.rate);
        let wanted = (self.clock - at + pre_roll) as usize;
        let unwanted = self.before.len().saturating_sub(wanted);
        let mut pcm = std::mem::take(&mut self.before);
        pcm.drain(..unwanted);
        self.feed(pcm.make_contiguous(), out);
    }

    fn stop_speech(&mut self, at: u64, out: Sink) {
        if let Some(item) = &self.item {
            out(Action::Send(events::speech_stopped(&item.id, self.ms(at))));
            self.end_item(out);
        }
    }

    fn cut_speech(&mut self, out: Sink) {
        let now = self.ms(self.clock);
        let limit = self.options.max_item.map(|limit| limit.as_millis() as u64);
        if let Some(limit) = limit
            && self
                .item
                .as_ref()
                .is_some_and(|item| now - item.begin_ms >= limit)
        {
            self.stop_speech(self.clock, out);
            self.start_speech(self.clock, out);
        }
    }

    /// Begins an item at a position in samples and returns its identifier.
    fn start_item(&mut self, at: u64, out: Sink) -> String {
        let id = self.ids.next("item");
        self.item = Some(Item {
            id: id.clone(),
            previous: self.previous.clone(),
            begin_ms: self.ms(at),
            partial_ms: self.ms(at) + self.interval_ms(),
            done: false,
        });
        if self.recogniser.is_none() && self.obstacle().is_none() {
            match (self.factory)() {
                Ok(recogniser) => self.recogniser = Some(recogniser),
                Err(message) => {
                    let error = events::server_error("internal_error", &message);
                    out(Action::Send(error));
                    self.close(1011, "Internal server error", out);
                }
            }
        }
        if let Some(recogniser) = &mut self.recogniser {
            recogniser.start(self.config.rate);
        }
        id
    }

    /// Gives audio of the item to the recogniser and reports what it makes of it, when it is
    /// time to.
    fn feed(&mut self, pcm: &[i16], out: Sink) {
        let now = self.ms(self.clock);
        let interval = self.interval_ms();
        let Some(item) = self.item.as_mut().filter(|item| !item.done) else {
            return;
        };
        if let Some(recogniser) = &mut self.recogniser {
            recogniser.feed(pcm);
        }
        if now < item.partial_ms {
            return;
        }
        while item.partial_ms <= now {
            item.partial_ms += interval;
        }
        let Some(recogniser) = &mut self.recogniser else {
            return self.fail(out);
        };
        let hypothesis = recogniser.hypothesis();
        if !hypothesis.is_empty() {
            let language = self.config.language.code().unwrap_or(recogniser.language());
            let (text, stash) = (&hypothesis.text, &hypothesis.stash);
            let partial = events::partial(&item.id, language, text, stash);
            out(Action::Send(partial));
        }
    }

    /// Ends the item that is open, if there is one.
    fn end_item(&mut self, out: Sink) {
        let Some(item) = self.item.take() else {
            return;
        };
        self.commit_item(&item, out);
        if !item.done {
            self.complete_item(&item, out);
        }
    }

    fn commit_item(&mut self, item: &Item, out: Sink) {
        let previous = item.previous.as_deref();
        out(Action::Send(events::committed(&item.id, previous)));
        self.previous = Some(item.id.clone());
    }

    fn complete_item(&mut self, item: &Item, out: Sink) {
        let previous = item.previous.as_deref();
        out(Action::Send(events::item_created(&item.id, previous)));
        let seconds = self.ms(self.clock).div_ceil(1000);
        let Some(recogniser) = &mut self.recogniser else {
            return self.fail(out);
        };
        let transcript = recogniser.finish();
        let language = self.config.language.code().unwrap_or(recogniser.language());
        let completed = events::completed(&item.id, language, &transcript, seconds);
        out(Action::Send(completed));
    }

    fn commit(&mut self, event: &Value, out: Sink) {
        if self.config.detection.is_none() {
            self.flush(out);
        } else if !self.options.commit_with_vad {
            let message = "input_audio_buffer.commit is not allowed with server_vad.";
            return refuse(event, "commit_not_allowed", message, None, out);
        }
        match self.item.take() {
            Some(mut item) if !item.done => {
                self.commit_item(&item, out);
                self.complete_item(&item, out);
                // The detection of speech does not learn of the commit: it commits the item
                // once more when the speaker pauses, and what is said until then is lost.
                if self.config.detection.is_some() {
                    item.done = true;
                    self.item = Some(item);
                }
            }
            item => {
                self.item = item;
                let message = "Error committing input audio buffer: the buffer is empty.";
                refuse(event, "input_audio_buffer_commit_empty", message, None, out);
            }
        }
    }

    fn finish(&mut self, out: Sink) {
        self.flush(out);
        match self.vad.as_ref().and_then(Vad::spoken_until) {
            Some(at) => self.stop_speech(at, out),
            None => self.end_item(out),
        }
        if !self.ended {
            out(Action::Send(events::session_finished()));
            self.close(1000, "", out);
        }
    }

    /// Why audio cannot be recognised with this configuration, although it was accepted.
    fn obstacle(&self) -> Option<String> {
        match &self.config.language {
            Language::Unusable(value) => Some(format!("<400> Unsupported language: {value}")),
            _ if self.config.format != "pcm" => {
                Some("<400> The offline service only decodes pcm".to_owned())
            }
            _ => None,
        }
    }

    /// Reports, once, that recognition is not possible. There are no transcripts then.
    fn fail(&mut self, out: Sink) {
        if let Some(message) = self.obstacle()
            && !self.failed
        {
            self.failed = true;
            out(Action::Send(events::inference_error(&message)));
        }
    }

    fn interval_ms(&self) -> u64 {
        (self.options.partial_interval.as_millis() as u64).max(FRAME_MS.into())
    }

    fn ms(&self, position: u64) -> u64 {
        position * 1000 / u64::from(self.config.rate)
    }
}

/// Answers `event` with an error.
fn refuse(event: &Value, code: &str, message: &str, param: Option<&str>, out: Sink) {
    let event_id = event["event_id"].as_str();
    out(Action::Send(events::invalid_request(
        code, message, param, event_id,
    )));
}

#[cfg(test)]
mod tests;
