// SPDX-License-Identifier: MPL-2.0
//! The protocol of sglang-omni's `/v1/realtime?intent=transcription` for self-hosted Qwen3-ASR, as
//! of sglang-omni 0.1.9 (all of it read in its source).
//!
//! The server detects utterances itself, or is told by commits. It calls them segments, reports
//! where each starts and ends to the sample, and transcribes all of an open segment anew every two
//! seconds: each text replaces the previous one. It cuts a segment after 30 s and continues with
//! the next one without announcing its start. Invariants: segments are numbered and end in order,
//! so one overtaken by the final of a later one was lost; positions count all audio sent, so an
//! audio message refused by the server ends the connection.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::diagnosis::{Peer, error_text};
use super::dialect::Dialect;
use super::incoming::{self, Message};
use super::items::{Items, Unnamed};
use super::json::{count_of, is_set, text_of};
use super::language::{self, QWEN3_ASR_CODES};
use super::texts::{name_of, said};
use super::{
    Codec, Command, Event, Failure, Frame, Incoming, ItemKey, ItemText, Kind, Limits, Profile,
    Quote, Recognition, Refusal, START_INTERVAL, Setup, Statement, TurnDetection, checks, encoding,
};

/// The only sample rate that the server accepts, in Hz.
const RATES: &[u32] = &[16_000];

/// One second; the server has room for 4 s beyond the longest segment.
const MAX_AUDIO_BYTES: usize = 32_000;

/// The server accepts audio faster than it transcribes, without back-pressure: at this speed a busy
/// one keeps up.
const SPEED: f64 = 5.0;

/// Below the 30 s after which the server cuts a segment: a commit right there would end nothing.
const MAX_UTTERANCE_MS: u64 = 28_000;

/// How long before detected speech its segment starts, unless there is less silence than that; and
/// the frame of the detection, which has to fit into the silence as well.
const PREFIX_PADDING_MS: u32 = 300;
const VAD_FRAME_MS: u32 = 32;

/// Maximum segments whose final text is awaited; there are few unless the server has fallen far
/// behind.
const MAX_AWAITED: usize = 64;

/// Errors that concern a single message or segment: the connection continues.
const BEARABLE: [&str; 6] = [
    "transcription_failed",
    "invalid_json",
    "invalid_event",
    "unsupported_event",
    "session_active",
    "input_already_done",
];

pub(super) const PROFILE: Profile = Profile {
    nick: "realtime",
    path: "/v1/realtime",
    query: Some(("intent", "transcription")),
    models: &[],
    self_hosted: true,
    model_in_query: true,
    takes_opus: false,
    rates: |_| RATES,
    beijing_only: |_| false,
    start_interval: |_| START_INTERVAL,
    set_up,
};

fn set_up(mut recognition: Recognition) -> Result<Setup, Failure> {
    checks::rate("sglang-omni", RATES, recognition.rate)?;
    recognition.language = language::hint(recognition.language.as_deref(), &QWEN3_ASR_CODES)?;
    let mut warnings = checks::without_effect(
        "sglang-omni cannot be told of it",
        &[
            ("context", recognition.context.is_some()),
            ("vocabulary", !recognition.vocabulary.is_empty()),
            ("vocabulary-id", recognition.vocabulary_id.is_some()),
        ],
    );
    if let TurnDetection::ServerVad { threshold, .. } = recognition.turn_detection
        && threshold.is_some_and(|threshold| threshold < 0.0)
    {
        let why = "sglang-omni takes thresholds from 0 to 1";
        warnings.push(checks::no_effect(why, "vad-threshold"));
    }
    let codecs = Box::new(move || Box::new(SglangOmni::new(recognition.clone())) as Box<dyn Codec>);
    Ok(Setup {
        codecs,
        warnings,
        lacks_vad: false,
        silence: None,
    })
}

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
struct SglangOmni {
    peer: Peer,
    recognition: Recognition,
    phase: Phase,
    /// The dialect that the greeting announces.
    dialect: Dialect,
    session_id: Option<String>,
    segments: Items,
    /// [`Event::SpeechStarted`] and [`Event::SpeechStopped`] were reported for all segments before
    /// these.
    started: ItemKey,
    stopped: ItemKey,
    /// Ended segments whose final text is awaited, in order.
    awaited: VecDeque<ItemKey>,
    /// The server's message for a failed transcription, which does not name the segment.
    trouble: Quote,
}

impl SglangOmni {
    fn new(recognition: Recognition) -> Self {
        Self {
            peer: Peer::new(&recognition, &PROFILE),
            recognition,
            phase: Phase::Opened,
            dialect: Dialect::Unknown,
            session_id: None,
            segments: Items::default(),
            started: 0,
            stopped: 0,
            awaited: VecDeque::new(),
            trouble: Quote::default(),
        }
    }

    fn created(&mut self, event: &Value, events: &mut Vec<Event>, out: &mut Vec<Frame>) {
        if self.phase != Phase::Opened {
            return;
        }
        match Dialect::check(event, Dialect::SglangOmni) {
            Ok(dialect) => self.dialect = dialect,
            Err(failure) => return self.fail(failure, events),
        }
        self.session_id = name_of(&event["session"], "id");
        self.phase = Phase::Configuring;
        let update = json!({ "type": "session.update", "session": settings(&self.recognition) });
        out.push(Frame::Text(update.to_string()));
    }

    fn updated(&mut self, events: &mut Vec<Event>) {
        if self.phase == Phase::Configuring {
            self.phase = Phase::Running;
            events.push(Event::Ready {
                session_id: self.session_id.clone(),
            });
        }
    }

    /// The segment that an event is about, unless it has ended.
    fn resolve(&mut self, event: &Value, unnamed: Unnamed) -> Option<(ItemKey, String)> {
        let id = count_of(event, "segment_id").map(|id| id.to_string());
        let item = self.segments.resolve(id.as_deref(), unnamed)?;
        Some((item, id.unwrap_or_default()))
    }

    fn speech_started(&mut self, event: &Value, events: &mut Vec<Event>) {
        // Not announced with client commits; an odd one must not name a segment.
        if !self.has_vad() {
            return;
        }
        if let Some((item, item_id)) = self.resolve(event, Unnamed::Newest) {
            self.announce_start(item, &item_id, event, events);
        }
    }

    fn speech_stopped(&mut self, event: &Value, events: &mut Vec<Event>) {
        // For an empty segment the server names the previous one, or none.
        if count_of(event, "segment_id").is_none() || !self.has_vad() {
            return;
        }
        if let Some((item, item_id)) = self.resolve(event, Unnamed::Newest)
            && !self.awaited.contains(&item)
        {
            self.announce_end(item, &item_id, event, events);
        }
    }

    /// Reports once where the segment starts; with client commits the session knows.
    fn announce_start(
        &mut self,
        item: ItemKey,
        item_id: &str,
        event: &Value,
        events: &mut Vec<Event>,
    ) {
        if item >= self.started && self.has_vad() {
            self.started = item + 1;
            events.push(Event::SpeechStarted {
                item,
                item_id: item_id.to_owned(),
                at_ms: count_of(event, "audio_start_ms"),
            });
        }
    }

    /// Reports once where the segment ends.
    fn announce_end(
        &mut self,
        item: ItemKey,
        item_id: &str,
        event: &Value,
        events: &mut Vec<Event>,
    ) {
        if item >= self.stopped && self.has_vad() {
            self.stopped = item + 1;
            events.push(Event::SpeechStopped {
                item,
                item_id: item_id.to_owned(),
                at_ms: count_of(event, "audio_end_ms"),
            });
        }
    }

    fn has_vad(&self) -> bool {
        self.recognition.turn_detection != TurnDetection::Manual
    }

    fn committed(&mut self, event: &Value, events: &mut Vec<Event>) {
        let Some((item, _)) = self.resolve(event, Unnamed::Newest) else {
            return;
        };
        events.push(Event::ItemSeen { item });
        if !self.awaited.contains(&item) {
            self.awaited.push_back(item);
        }
        if self.awaited.len() > MAX_AWAITED
            && let Some(lost) = self.awaited.pop_front()
        {
            self.lost(lost, events);
        }
    }

    fn segment(&mut self, event: &Value, events: &mut Vec<Event>) {
        let Some((item, item_id)) = self.resolve(event, Unnamed::Oldest) else {
            return;
        };
        self.announce_start(item, &item_id, event, events);
        let said = said(event, "text");
        if is_set(event, "is_final") {
            self.announce_end(item, &item_id, event, events);
            self.lost_before(item, events);
            self.segments.end(item);
            let text = ItemText {
                item_id,
                text: said,
                ..ItemText::default()
            };
            events.push(Event::Final { item, text });
        } else if !said.is_empty() {
            // Any of it may be revised.
            let text = ItemText {
                item_id,
                stash: said,
                ..ItemText::default()
            };
            events.push(Event::Interim { item, text });
        } else if !self.has_vad() {
            events.push(Event::ItemSeen { item });
        }
    }

    /// Finals come in order: segments still awaiting theirs before this one were lost.
    fn lost_before(&mut self, item: ItemKey, events: &mut Vec<Event>) {
        while let Some(awaited) = self.awaited.pop_front_if(|awaited| *awaited <= item) {
            if awaited < item {
                self.lost(awaited, events);
            }
        }
    }

    fn lost(&mut self, item: ItemKey, events: &mut Vec<Event>) {
        self.segments.end(item);
        let message = Statement::from("the server gave no final text").quoting_within(
            ": ",
            self.trouble.clone(),
            "",
        );
        events.push(Event::ItemFailed { item, message });
    }

    /// All audio sent is transcribed; the server waits for us to close.
    fn completed(&mut self, events: &mut Vec<Event>) {
        self.lost_before(ItemKey::MAX, events);
        self.phase = Phase::Over;
        events.push(Event::Finished);
    }

    fn error(&mut self, error: &Value, events: &mut Vec<Event>) {
        let code = text_of(error, "code").unwrap_or_default();
        if self.phase != Phase::Running || !BEARABLE.contains(&code) {
            let failure = self.failure(code, error);
            return self.fail(failure, events);
        }
        let (_, message) = error_text(error);
        // The segment is not named: the next final tells.
        if code == "transcription_failed" {
            self.trouble = message.clone();
        }
        let what = Statement::from("the server says: ").quoting(message);
        events.push(Event::Warning(what));
    }

    /// The failure for an error that ends the connection.
    fn failure(&self, code: &str, error: &Value) -> Failure {
        let (named, message) = error_text(error);
        let failure = match code {
            "invalid_audio" | "audio_buffer_overflow" | "internal_error" => Failure::new(
                Kind::Lost,
                Statement::from("The server lost audio")
                    .quoting_within(": ", message, "")
                    .then("."),
                "Look into the server's log, or lower max-speed.",
            ),
            "unsupported_turn_detection" => Failure::new(
                Kind::Settings,
                "The model that the server serves does not detect utterances.",
                "Set turn-detection=client-vad.",
            ),
            "unsupported_realtime_intent" => Failure::new(
                Kind::Settings,
                Statement::from("The model that the server serves does not transcribe live")
                    .quoting_within(" (", message, ")")
                    .then("."),
                "Serve a model that does, such as Qwen3-ASR.",
            ),
            _ if self.phase == Phase::Configuring && self.dialect != Dialect::SglangOmni => {
                let failure = self.peer.error(error);
                self.dialect.refuses(Dialect::SglangOmni, failure)
            }
            _ => self.peer.error(error),
        };
        failure.with_code(named)
    }

    fn fail(&mut self, failure: Failure, events: &mut Vec<Event>) {
        self.phase = Phase::Over;
        events.push(Event::Failed(failure));
    }
}

/// The `session` of `session.update`: the server refuses any other member.
fn settings(recognition: &Recognition) -> Value {
    let mut settings = json!({
        "input_audio_format": "pcm16",
        // Explicit null: leaving it out means VAD.
        "turn_detection": null,
    });
    if let Some(language) = &recognition.language {
        settings["language"] = json!(language);
    }
    if let TurnDetection::ServerVad {
        threshold,
        silence_ms,
    } = recognition.turn_detection
    {
        // The server refuses padding that would reach into the previous segment.
        let padding = PREFIX_PADDING_MS.min(silence_ms.saturating_sub(VAD_FRAME_MS));
        let mut server_vad = json!({
            "type": "server_vad",
            "prefix_padding_ms": padding,
            "silence_duration_ms": silence_ms,
        });
        // A probability: at 0 everything counts as speech.
        if let Some(threshold) = threshold.filter(|threshold| *threshold > 0.0) {
            server_vad["threshold"] = json!(threshold);
        }
        settings["turn_detection"] = server_vad;
    }
    settings
}

fn bare(kind: &str) -> Frame {
    Frame::Text(format!(r#"{{"type":"{kind}"}}"#))
}

impl Codec for SglangOmni {
    fn limits(&self) -> Limits {
        Limits {
            max_audio_bytes: MAX_AUDIO_BYTES,
            max_speed: SPEED,
            max_utterance_ms: (!self.has_vad()).then_some(MAX_UTTERANCE_MS),
            keep_alive: None,
            takes_context: false,
            one_utterance: false,
        }
    }

    /// The server speaks first.
    fn open(&mut self, _out: &mut Vec<Frame>) {}

    fn command(&mut self, command: Command<'_>, _events: &mut Vec<Event>, out: &mut Vec<Frame>) {
        out.push(match command {
            Command::Audio(audio) => encoding::audio_event(None, audio),
            Command::Commit => bare("input_audio_buffer.commit"),
            Command::Context(_) => return,
            Command::Finish => bare("transcription.done"),
        });
    }

    fn decode(&mut self, frame: Incoming<'_>, events: &mut Vec<Event>, out: &mut Vec<Frame>) {
        if self.phase == Phase::Over {
            return;
        }
        let Some(Message { kind, body: event }) = incoming::message(frame, events) else {
            return;
        };
        match kind.as_str() {
            "session.created" => self.created(&event, events, out),
            "session.updated" => self.updated(events),
            "input_audio_buffer.speech_started" => self.speech_started(&event, events),
            "input_audio_buffer.speech_stopped" => self.speech_stopped(&event, events),
            "input_audio_buffer.committed" => self.committed(&event, events),
            "input_audio_buffer.cleared" => {}
            "transcription.segment" => self.segment(&event, events),
            "transcription.completed" => self.completed(events),
            "error" => self.error(&event["error"], events),
            kind => match self.dialect.contradicted_by(kind, Dialect::SglangOmni) {
                Some(failure) => self.fail(failure, events),
                None => events.push(incoming::unknown(kind)),
            },
        }
    }

    fn closed(&self, code: Option<u16>, reason: &str) -> Failure {
        self.peer.closed(code, reason)
    }

    fn refused(&self, refusal: &Refusal<'_>) -> Failure {
        let failure = self.peer.refused(refusal);
        // So it answers a request for another model, without a word.
        let is_silent = refusal.status == 403 && refusal.body.trim().is_empty();
        if is_silent && checks::is_own_model(&self.peer.model) {
            return Failure {
                kind: Kind::NoModel,
                remedy: format!(
                    "{} It answers like that if it does not serve the model '{}': then set the \
                     model property to the one that it serves.",
                    failure.remedy, self.peer.model
                ),
                ..failure
            };
        }
        failure
    }
}

#[cfg(test)]
mod tests;
