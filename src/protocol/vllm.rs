// SPDX-License-Identifier: MPL-2.0
//! The protocol of vLLM's `/v1/realtime` for self-hosted Qwen3-ASR, as of vLLM 0.33: experimental.
//!
//! The server knows no utterances: a generation is started with `commit`, and ended with
//! `commit` and `final`. What is sent between that and the answer is thrown away, and a
//! generation that was not started must not be ended. So audio is held back meanwhile.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::diagnosis::{self, error_text};
use super::incoming::{self, Message};
use super::json::text_of;
use super::{
    Codec, Command, Event, Failure, Frame, Incoming, ItemKey, ItemText, Kind, Limits, Profile,
    Recognition, Setup, encoding, no_effect,
};

/// A second in a frame is plenty.
const MAX_AUDIO_BYTES: usize = 32_000;

/// Nothing keeps the server from falling behind, so its answers are waited for, one by one.
const SPEED: f64 = 20.0;

/// The longer an utterance, the more the model repeats what it said before.
const MAX_UTTERANCE_MS: u64 = 15_000;

/// The only rate that the server takes.
const RATE: u32 = 16_000;

/// Interim text kept of an utterance, in bytes: a model that loops says more.
const LONGEST_TEXT: usize = 65_536;

/// Ends what the model says of the language before the text.
const TAG_END: &str = "<asr_text>";

pub(super) const PROFILE: Profile = Profile {
    nick: "vllm",
    path: "/v1/realtime",
    models: &[],
    self_hosted: true,
    model_in_query: false,
    beijing_only: |_| false,
    set_up,
};

fn set_up(recognition: Recognition) -> Result<Setup, Failure> {
    if recognition.rate != RATE {
        return Err(Failure::new(
            Kind::Settings,
            format!(
                "vLLM takes audio of 16000 Hz, not of {} Hz.",
                recognition.rate
            ),
            "Put audioresample ! audio/x-raw,rate=16000 before this element.",
        ));
    }
    let warnings = no_effect::warnings(
        "vLLM cannot be told of it",
        &[
            ("language-code", recognition.language.is_some()),
            ("context", recognition.context.is_some()),
            ("vocabulary", !recognition.vocabulary.is_empty()),
            ("vocabulary-id", recognition.vocabulary_id.is_some()),
        ],
    );
    let codecs = Box::new(move || Box::new(Vllm::new(recognition.model.clone())) as Box<dyn Codec>);
    Ok(Setup {
        codecs,
        warnings,
        lacks_vad: true,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Waiting for `session.created`.
    Opened,
    /// No generation runs.
    Idle,
    /// A generation runs and takes audio.
    Listening,
    /// The audio of an utterance has ended; its text is awaited.
    Answering,
    /// Failed or finished.
    Over,
}

/// What came while the answer was awaited.
#[derive(Debug)]
enum Held {
    Audio(Vec<u8>),
    Commit,
}

/// One connection's codec.
#[derive(Debug)]
struct Vllm {
    model: String,
    phase: Phase,
    session_id: Option<String>,
    /// The utterance that is being sent or answered.
    item: ItemKey,
    /// What the model said of it so far, tags and all.
    said: String,
    held: VecDeque<Held>,
    finishing: bool,
}

impl Vllm {
    fn new(model: String) -> Self {
        Vllm {
            model,
            phase: Phase::Opened,
            session_id: None,
            item: 0,
            said: String::new(),
            held: VecDeque::new(),
            finishing: false,
        }
    }

    fn created(&mut self, event: &Value, events: &mut Vec<Event>, out: &mut Vec<Frame>) {
        if self.phase != Phase::Opened {
            return;
        }
        if event.get("session").is_some_and(Value::is_object) {
            self.phase = Phase::Over;
            return events.push(Event::Failed(Failure::new(
                Kind::Settings,
                "The server speaks OpenAI's protocol, not that of vLLM.",
                "Set protocol=realtime.",
            )));
        }
        self.phase = Phase::Idle;
        self.session_id = text_of(event, "id").map(str::to_owned);
        let update = json!({ "type": "session.update", "model": self.model });
        out.push(Frame::Text(update.to_string()));
        // Success has no answer.
        events.push(Event::Ready {
            session_id: self.session_id.clone(),
        });
    }

    fn audio(&mut self, audio: &[u8], out: &mut Vec<Frame>) {
        match self.phase {
            Phase::Answering => return self.held.push_back(Held::Audio(audio.to_vec())),
            Phase::Idle => {
                self.phase = Phase::Listening;
                out.push(commit(false));
            }
            Phase::Listening => {}
            Phase::Opened | Phase::Over => return,
        }
        let mut text = String::with_capacity(encoding::length(audio.len()) + 64);
        text.push_str(r#"{"type":"input_audio_buffer.append","audio":""#);
        encoding::append(audio, &mut text);
        text.push_str(r#""}"#);
        out.push(Frame::Text(text));
    }

    fn end_utterance(&mut self, out: &mut Vec<Frame>) {
        match self.phase {
            Phase::Answering => self.held.push_back(Held::Commit),
            Phase::Listening => {
                self.phase = Phase::Answering;
                out.push(commit(true));
            }
            // Nothing to end, and to try would spoil the next one.
            Phase::Opened | Phase::Idle | Phase::Over => {}
        }
    }

    fn delta(&mut self, event: &Value, events: &mut Vec<Event>) {
        let delta = text_of(event, "delta").unwrap_or_default();
        if self.said.len() + delta.len() <= LONGEST_TEXT {
            self.said.push_str(delta);
        }
        let (text, language) = untagged(&self.said, true);
        if !text.is_empty() {
            events.push(Event::Interim {
                item: self.item,
                text: item_text(text, language),
            });
        }
    }

    fn done(&mut self, event: &Value, events: &mut Vec<Event>, out: &mut Vec<Frame>) {
        if !matches!(self.phase, Phase::Listening | Phase::Answering) {
            return events.push(Event::Warning("ignored an answer to nothing".into()));
        }
        let said = std::mem::take(&mut self.said);
        let (text, language) = untagged(text_of(event, "text").unwrap_or(&said), false);
        events.push(Event::Final {
            item: self.item,
            text: item_text(text, language),
        });
        self.item += 1;
        self.phase = Phase::Idle;
        // Another commit among it makes the rest wait again.
        for held in std::mem::take(&mut self.held) {
            match held {
                Held::Audio(audio) => self.audio(&audio, out),
                Held::Commit => self.end_utterance(out),
            }
        }
        self.finish(events);
    }

    /// There is no answer to the end of everything: it is over with the last answer.
    fn finish(&mut self, events: &mut Vec<Event>) {
        if self.finishing && self.phase == Phase::Idle {
            self.phase = Phase::Over;
            events.push(Event::Finished);
        }
    }

    fn error(&mut self, event: &Value, events: &mut Vec<Event>) {
        let (code, message) = error_text(&event["error"]);
        let code = text_of(event, "code").map(str::to_owned).or(code);
        let failure = match code.as_deref() {
            Some("invalid_audio" | "invalid_json" | "unknown_event") => {
                return events.push(Event::Warning(format!("the server says: {message}")));
            }
            // The utterance is over without an answer, and what of its audio is left would be
            // taken for the next one's.
            Some("processing_error") => Failure::new(
                Kind::Lost,
                format!("The server could not process the audio: {message}."),
                "Look into the server's log.",
            )
            .with_code(code),
            _ => diagnosis::error(&self.model, &json!({ "code": code, "message": message })),
        };
        self.phase = Phase::Over;
        events.push(Event::Failed(failure));
    }
}

fn commit(last: bool) -> Frame {
    Frame::Text(format!(
        r#"{{"type":"input_audio_buffer.commit","final":{last}}}"#
    ))
}

fn item_text(text: String, language: Option<&'static str>) -> ItemText {
    ItemText {
        text,
        language: language.map(str::to_owned),
        ..ItemText::default()
    }
}

/// The text without the tags `language English<asr_text>` that the model puts before each of its
/// parts, and the language that the last of them names. Where more is to come, what may turn out
/// to be one is left out.
fn untagged(said: &str, more_to_come: bool) -> (String, Option<&'static str>) {
    const TAG_START: &str = "language ";
    let (mut text, mut language) = (String::with_capacity(said.len()), None);
    let mut rest = said;
    while let Some(end) = rest.find(TAG_END) {
        let before = &rest[..end];
        match before.rfind(TAG_START) {
            Some(start) if is_name(&before[start + TAG_START.len()..]) => {
                language = code_of(&before[start + TAG_START.len()..]).or(language);
                text.push_str(&before[..start]);
            }
            _ => text.push_str(before),
        }
        rest = &rest[end + TAG_END.len()..];
    }
    if more_to_come {
        rest = &rest[..start_of_tag(rest, TAG_START)];
    }
    text.push_str(rest);
    (text.trim().to_owned(), language)
}

/// Where in the text a tag may begin whose end is still to come; the text's length if nowhere.
fn start_of_tag(text: &str, tag_start: &str) -> usize {
    let may_become_tag = |(at, _): &(usize, char)| {
        let tail = &text[*at..];
        if tail.len() <= tag_start.len() {
            return tag_start.starts_with(tail);
        }
        tail.strip_prefix(tag_start)
            .is_some_and(|named| match named.find('<') {
                Some(at) => is_name(&named[..at]) && TAG_END.starts_with(&named[at..]),
                None => named.is_empty() || is_name(named),
            })
    };
    text.char_indices()
        .find(may_become_tag)
        .map_or(text.len(), |(at, _)| at)
}

/// Letters in the name of a language, at most.
const LONGEST_NAME: usize = 20;

fn is_name(text: &str) -> bool {
    (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphabetic())
}

/// ISO 639 code of a language as the model names it.
fn code_of(name: &str) -> Option<&'static str> {
    const NAMES: [(&str, &str); 30] = [
        ("Chinese", "zh"),
        ("Cantonese", "yue"),
        ("English", "en"),
        ("Arabic", "ar"),
        ("German", "de"),
        ("French", "fr"),
        ("Spanish", "es"),
        ("Portuguese", "pt"),
        ("Indonesian", "id"),
        ("Italian", "it"),
        ("Korean", "ko"),
        ("Russian", "ru"),
        ("Thai", "th"),
        ("Vietnamese", "vi"),
        ("Japanese", "ja"),
        ("Turkish", "tr"),
        ("Hindi", "hi"),
        ("Malay", "ms"),
        ("Dutch", "nl"),
        ("Swedish", "sv"),
        ("Danish", "da"),
        ("Finnish", "fi"),
        ("Polish", "pl"),
        ("Czech", "cs"),
        ("Filipino", "fil"),
        ("Persian", "fa"),
        ("Greek", "el"),
        ("Romanian", "ro"),
        ("Hungarian", "hu"),
        ("Macedonian", "mk"),
    ];
    NAMES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, code)| *code)
}

impl Codec for Vllm {
    fn limits(&self) -> Limits {
        Limits {
            max_audio_bytes: MAX_AUDIO_BYTES,
            max_speed: SPEED,
            max_utterance_ms: Some(MAX_UTTERANCE_MS),
            keep_alive: None,
        }
    }

    /// The server speaks first.
    fn open(&mut self, _out: &mut Vec<Frame>) {}

    fn command(&mut self, command: Command<'_>, events: &mut Vec<Event>, out: &mut Vec<Frame>) {
        match command {
            Command::Audio(audio) => self.audio(audio, out),
            Command::Commit => self.end_utterance(out),
            Command::Context(_) => {}
            Command::Finish => {
                // Whatever was not committed is an utterance as well.
                self.end_utterance(out);
                self.finishing = true;
                self.finish(events);
            }
        }
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
            "transcription.delta" => self.delta(&event, events),
            "transcription.done" => self.done(&event, events, out),
            "error" => self.error(&event, events),
            kind => events.push(incoming::unknown(kind)),
        }
    }

    fn closed(&self, code: Option<u16>, reason: &str) -> Failure {
        diagnosis::closed(&self.model, code, reason)
    }

    fn refused(&self, status: u16, body: &str) -> Failure {
        diagnosis::refused(status, body, PROFILE.path)
    }
}

#[cfg(test)]
#[path = "vllm_tests.rs"]
mod tests;
