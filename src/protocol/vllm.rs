// SPDX-License-Identifier: MPL-2.0
//! The protocol of vLLM's `/v1/realtime` for self-hosted Qwen3-ASR, as of vLLM 0.33: experimental.
//!
//! The server has no utterances, only generations: `commit` starts one, `commit` with `final` ends
//! its audio, and `transcription.done` is its text. A connection that has answered once may answer
//! with its earlier text again (reported by users), drops audio that arrives before an answer, and
//! a generation that is ended without having been started spoils the next one (both read in its
//! source). Invariant: one utterance is one generation on a connection of its own
//! ([`Limits::one_utterance`]); after its commit nothing is sent.

use serde_json::{Value, json};

use super::diagnosis::{Peer, error_text};
use super::dialect::Dialect;
use super::incoming::{self, Message};
use super::json::text_of;
use super::texts::{self, has_words, name_of, said};
use super::{
    Codec, Command, Event, Failure, Frame, Incoming, ItemKey, ItemText, Kind, Limits, Profile,
    Recognition, Refusal, START_INTERVAL, Setup, Statement, checks, encoding, language,
};

/// One second; the server accepts far more.
const MAX_AUDIO_BYTES: usize = 32_000;

/// The session has at most two utterances on their way, so the server cannot fall behind.
const SPEED: f64 = 20.0;

/// On long audio the model repeats its earlier text (observed), as the server feeds it its own
/// output.
const MAX_UTTERANCE_MS: u64 = 15_000;

/// The utterance of a connection; the server has no ids for them.
const ITEM: ItemKey = 0;

/// The only sample rate that the server accepts, in Hz.
const RATES: &[u32] = &[16_000];

/// The tags with which the model opens each part of its text: `language English<asr_text>`.
const TAG_START: &str = "language ";
const TAG_END: &str = "<asr_text>";

pub(super) const PROFILE: Profile = Profile {
    nick: "vllm",
    path: "/v1/realtime",
    query: None,
    models: &[],
    self_hosted: true,
    model_in_query: false,
    takes_opus: false,
    rates: |_| RATES,
    beijing_only: |_| false,
    start_interval: |_| START_INTERVAL,
    set_up,
};

fn set_up(recognition: Recognition) -> Result<Setup, Failure> {
    checks::rate("vLLM", RATES, recognition.rate)?;
    let warnings = checks::without_effect(
        "vLLM cannot be told of it",
        &[
            ("language-code", recognition.language.is_some()),
            ("context", recognition.context.is_some()),
            ("vocabulary", !recognition.vocabulary.is_empty()),
            ("vocabulary-id", recognition.vocabulary_id.is_some()),
        ],
    );
    let codecs = Box::new(move || Box::new(Vllm::new(&recognition)) as Box<dyn Codec>);
    Ok(Setup {
        codecs,
        warnings,
        lacks_vad: true,
        silence: None,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Waiting for `session.created`.
    Opened,
    /// The generation has not begun.
    Idle,
    /// A generation is running and takes audio.
    Listening,
    /// The generation's audio has ended; awaiting its text.
    Answering,
    /// Its text is known: the connection is used up.
    Answered,
    /// Failed or finished.
    Over,
}

/// One connection's codec.
#[derive(Debug)]
struct Vllm {
    peer: Peer,
    phase: Phase,
    /// The dialect that the greeting announces.
    dialect: Dialect,
    session_id: Option<String>,
    /// The deltas so far, tags included.
    deltas: String,
    finishing: bool,
}

impl Vllm {
    fn new(recognition: &Recognition) -> Self {
        Self {
            peer: Peer::new(recognition, &PROFILE),
            phase: Phase::Opened,
            dialect: Dialect::Unknown,
            session_id: None,
            deltas: String::new(),
            finishing: false,
        }
    }

    fn created(&mut self, event: &Value, events: &mut Vec<Event>, out: &mut Vec<Frame>) {
        if self.phase != Phase::Opened {
            return;
        }
        match Dialect::check(event, Dialect::Vllm) {
            Ok(dialect) => self.dialect = dialect,
            Err(failure) => return self.fail(failure, events),
        }
        self.phase = Phase::Idle;
        self.session_id = name_of(event, "id");
        let update = json!({ "type": "session.update", "model": self.peer.model });
        out.push(Frame::Text(update.to_string()));
        // The server does not answer unless the model's name is wrong.
        events.push(Event::Ready {
            session_id: self.session_id.clone(),
        });
    }

    fn audio(&mut self, audio: &[u8], out: &mut Vec<Frame>) {
        match self.phase {
            Phase::Idle => {
                self.phase = Phase::Listening;
                out.push(commit(false));
            }
            Phase::Listening => {}
            Phase::Opened | Phase::Answering | Phase::Answered | Phase::Over => return,
        }
        out.push(encoding::audio_event(None, audio));
    }

    fn end_utterance(&mut self, out: &mut Vec<Frame>) {
        if self.phase == Phase::Listening {
            self.phase = Phase::Answering;
            out.push(commit(true));
        }
    }

    fn delta(&mut self, event: &Value, events: &mut Vec<Event>) {
        texts::append(
            &mut self.deltas,
            text_of(event, "delta").unwrap_or_default(),
        );
        let said = untagged(&self.deltas, true);
        if !said.text.is_empty() {
            events.push(Event::Interim {
                item: ITEM,
                text: said,
            });
        }
    }

    fn done(&mut self, event: &Value, events: &mut Vec<Event>) {
        if !matches!(self.phase, Phase::Listening | Phase::Answering) {
            return events.push(Event::Warning("ignored an answer to nothing".into()));
        }
        let deltas = untagged(&std::mem::take(&mut self.deltas), false);
        let mut text = untagged(&said(event, "text"), false);
        // Deltas are never retracted, not even by a blank final.
        if !has_words(&text.text) && has_words(&deltas.text) {
            text = deltas;
        }
        events.push(Event::Final { item: ITEM, text });
        // A generation that ends early leaves the rest of the utterance to another connection.
        self.finishing |= self.phase == Phase::Listening;
        self.phase = Phase::Answered;
        self.finish_if_idle(events);
    }

    /// The server does not answer the end of the audio: all is over with the answer.
    fn finish_if_idle(&mut self, events: &mut Vec<Event>) {
        if self.finishing && matches!(self.phase, Phase::Idle | Phase::Answered) {
            self.phase = Phase::Over;
            events.push(Event::Finished);
        }
    }

    fn error(&mut self, event: &Value, events: &mut Vec<Event>) {
        // The message is a string beside the code, or both are in an object, as with OpenAI.
        let error = match &event["error"] {
            Value::String(message) => json!({ "code": event["code"], "message": message }),
            error => error.clone(),
        };
        let (code, message) = error_text(&error);
        let failure = match text_of(&error, "code") {
            Some("invalid_audio" | "invalid_json" | "unknown_event") => {
                let what = Statement::from("the server says: ").quoting(message);
                return events.push(Event::Warning(what));
            }
            // The generation ended without an answer, and the server would take the rest of its
            // audio for the next one's.
            Some("processing_error") => Failure::new(
                Kind::Lost,
                Statement::from("The server could not process the audio")
                    .quoting_within(": ", message, "")
                    .then("."),
                "Look into the server's log.",
            )
            .with_code(code),
            _ => self.peer.error(&error),
        };
        self.fail(failure, events);
    }

    fn fail(&mut self, failure: Failure, events: &mut Vec<Event>) {
        self.phase = Phase::Over;
        events.push(Event::Failed(failure));
    }
}

fn commit(is_final: bool) -> Frame {
    Frame::Text(format!(
        r#"{{"type":"input_audio_buffer.commit","final":{is_final}}}"#
    ))
}

/// The text without the model's tags, and the language that the latest tag names. While more text
/// is to come, a suffix that may become a tag is left out.
fn untagged(said: &str, more_to_come: bool) -> ItemText {
    let (mut text, mut language) = (String::with_capacity(said.len()), None);
    let mut rest = said;
    while let Some(end) = rest.find(TAG_END) {
        let before = &rest[..end];
        match before.rfind(TAG_START) {
            Some(start) if is_name(&before[start + TAG_START.len()..]) => {
                language = language::code_of(&before[start + TAG_START.len()..]).or(language);
                text.push_str(&before[..start]);
            }
            _ => text.push_str(before),
        }
        rest = &rest[end + TAG_END.len()..];
    }
    if more_to_come {
        rest = &rest[..start_of_tag(rest)];
    }
    text.push_str(rest);
    ItemText {
        text: text.trim().to_owned(),
        language: language.map(str::to_owned),
        ..ItemText::default()
    }
}

/// Where an incomplete tag may start in the text; the text's length if nowhere.
fn start_of_tag(text: &str) -> usize {
    let may_become_tag = |(at, _): &(usize, char)| {
        let tail = &text[*at..];
        if tail.len() <= TAG_START.len() {
            return TAG_START.starts_with(tail);
        }
        tail.strip_prefix(TAG_START)
            .is_some_and(|named| match named.find('<') {
                Some(at) => is_name(&named[..at]) && TAG_END.starts_with(&named[at..]),
                None => named.is_empty() || is_name(named),
            })
    };
    text.char_indices()
        .find(may_become_tag)
        .map_or(text.len(), |(at, _)| at)
}

/// Maximum letters in the name of a language.
const MAX_NAME: usize = 20;

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphabetic())
}

impl Codec for Vllm {
    fn limits(&self) -> Limits {
        Limits {
            max_audio_bytes: MAX_AUDIO_BYTES,
            max_speed: SPEED,
            max_utterance_ms: Some(MAX_UTTERANCE_MS),
            keep_alive: None,
            takes_context: false,
            one_utterance: true,
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
                // Audio that was not committed is an utterance as well.
                self.end_utterance(out);
                self.finishing = true;
                self.finish_if_idle(events);
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
            "transcription.done" => self.done(&event, events),
            "error" => self.error(&event, events),
            kind => match self.dialect.contradicted_by(kind, Dialect::Vllm) {
                Some(failure) => self.fail(failure, events),
                None => events.push(incoming::unknown(kind)),
            },
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
