// SPDX-License-Identifier: MPL-2.0
//! OpenAI's realtime protocol for transcription, as sglang serves it at `/v1/realtime`.
//!
//! Unlike in Qwen's protocol, the settings are nested, interim results are deltas, only commits
//! make utterances, and the end of the audio has no answer: the session is finished when every
//! commit has been answered.

use serde_json::{Value, json};

use super::conversation::{Conversation, Phase, Told, item_text};
use super::{LANGUAGES, MAX_AUDIO_BYTES};
use crate::protocol::diagnosis::Peer;
use crate::protocol::dialect::Dialect;
use crate::protocol::incoming::{self, Message};
use crate::protocol::json::text_of;
use crate::protocol::{
    Codec, Command, Event, Failure, Frame, Incoming, Kind, Limits, Profile, Recognition, Refusal,
    START_INTERVAL, Setup, checks, language,
};

/// Sample rates in Hz: sglang accepts all of the plugin's but the lowest. OpenAI's own servers, and
/// NVIDIA Dynamo, accept the higher one only, which is for whoever sends audio to them.
const RATES: &[u32] = &[16_000, 24_000];

/// As in the service's own manual mode.
const SPEED: f64 = 20.0;

/// Models handle half a minute of audio well.
const MAX_UTTERANCE_MS: u64 = 30_000;

pub(in crate::protocol) const PROFILE: Profile = Profile {
    nick: "realtime",
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

fn set_up(mut recognition: Recognition) -> Result<Setup, Failure> {
    checks::rate("This protocol", RATES, recognition.rate)?;
    recognition.language = language::hint(recognition.language.as_deref(), LANGUAGES)?;
    let warnings = checks::without_effect(
        "The server cannot be told of it",
        &[
            ("context", recognition.context.is_some()),
            ("vocabulary", !recognition.vocabulary.is_empty()),
            ("vocabulary-id", recognition.vocabulary_id.is_some()),
        ],
    );
    let codecs = Box::new(move || Box::new(OpenAi::new(recognition.clone())) as Box<dyn Codec>);
    Ok(Setup {
        codecs,
        warnings,
        lacks_vad: true,
        silence: None,
    })
}

/// One connection's codec.
#[derive(Debug)]
struct OpenAi {
    peer: Peer,
    recognition: Recognition,
    conversation: Conversation,
    /// The dialect that the greeting announces.
    dialect: Dialect,
    /// Number of commits not yet answered.
    unanswered: usize,
    /// No more audio will come.
    finishing: bool,
}

impl OpenAi {
    fn new(recognition: Recognition) -> Self {
        Self {
            peer: Peer::new(&recognition, &PROFILE),
            recognition,
            conversation: Conversation::new("delta"),
            dialect: Dialect::Unknown,
            unanswered: 0,
            finishing: false,
        }
    }

    fn session_event(
        &mut self,
        kind: &str,
        event: &Value,
        events: &mut Vec<Event>,
        out: &mut Vec<Frame>,
    ) {
        let session = &event["session"];
        if kind == "session.created" && self.conversation.phase == Phase::Opened {
            match Dialect::check(event, Dialect::OpenAi) {
                Ok(dialect) => self.dialect = dialect,
                Err(failure) => return self.conversation.fail(failure, events),
            }
        }
        let settings = || settings(&self.recognition);
        self.conversation
            .session_event(kind, session, settings, events, out);
    }

    fn item_event(&mut self, kind: &str, event: &Value, events: &mut Vec<Event>) {
        match self.conversation.item_event(kind, event, events) {
            Told::Done => {}
            Told::Interim(item) => {
                let mut text = item_text(event, "delta");
                text.text = self.conversation.confirmed.append(item, &text.text);
                events.push(Event::Interim { item, text });
            }
            Told::End => {
                self.unanswered = self.unanswered.saturating_sub(1);
                self.finish_if_answered(events);
            }
            Told::Unknown => match self.dialect.contradicted_by(kind, Dialect::OpenAi) {
                Some(failure) => self.conversation.fail(failure, events),
                None => events.push(incoming::unknown(kind)),
            },
        }
    }

    /// Errors in a running session concern a single message, and the connection continues. Errors
    /// in reply to the settings end it.
    fn error(&mut self, error: &Value, events: &mut Vec<Event>) {
        let mut failure = self.peer.error(error);
        let is_about_message = matches!(failure.kind, Kind::Settings | Kind::Lost)
            && text_of(error, "code") != Some("inference_failed");
        match self.conversation.phase {
            Phase::Running if is_about_message => {
                return events.push(Event::Warning(failure.what));
            }
            Phase::Configuring if is_about_message && is_about_rate(error) => {
                failure = Failure::new(
                    Kind::Settings,
                    failure.what,
                    "Put audioresample ! audio/x-raw,rate=24000 before this element.",
                )
                .with_code(failure.code);
            }
            Phase::Configuring if is_about_message && self.dialect != Dialect::OpenAi => {
                failure = self.dialect.refuses(Dialect::OpenAi, failure);
            }
            _ => {}
        }
        self.conversation.fail(failure, events);
    }

    fn finish_if_answered(&mut self, events: &mut Vec<Event>) {
        if self.finishing && self.unanswered == 0 {
            self.conversation.finish(events);
        }
    }
}

/// Whether the server refuses the rate of the audio, which is 16 kHz unless upstream insists.
fn is_about_rate(error: &Value) -> bool {
    let says = |member, what| text_of(error, member).is_some_and(|said| said.contains(what));
    says("param", "format") || says("message", "sample rate") || says("message", "24000")
}

/// The `session` of `session.update`.
fn settings(recognition: &Recognition) -> Value {
    let Recognition {
        model,
        language,
        rate,
        ..
    } = recognition;
    let mut transcription = json!({ "model": checks::is_own_model(model).then_some(model) });
    if let Some(language) = language {
        transcription["language"] = json!(language);
    }
    json!({
        "type": "transcription",
        "audio": { "input": {
            "format": { "type": "audio/pcm", "rate": rate },
            "transcription": transcription,
            "turn_detection": null,
        }},
    })
}

impl Codec for OpenAi {
    fn limits(&self) -> Limits {
        Limits {
            max_audio_bytes: MAX_AUDIO_BYTES,
            max_speed: SPEED,
            max_utterance_ms: Some(MAX_UTTERANCE_MS),
            keep_alive: None,
            takes_context: false,
            one_utterance: false,
        }
    }

    /// The server speaks first.
    fn open(&mut self, _out: &mut Vec<Frame>) {}

    fn command(&mut self, command: Command<'_>, events: &mut Vec<Event>, out: &mut Vec<Frame>) {
        match command {
            Command::Audio(audio) => out.push(self.conversation.append(audio)),
            Command::Commit => {
                self.unanswered += 1;
                out.push(self.conversation.bare("input_audio_buffer.commit"));
            }
            Command::Context(_) => {}
            Command::Finish => {
                self.finishing = true;
                self.finish_if_answered(events);
            }
        }
    }

    fn decode(&mut self, frame: Incoming<'_>, events: &mut Vec<Event>, out: &mut Vec<Frame>) {
        if self.conversation.phase == Phase::Over {
            return;
        }
        let Some(Message { kind, body: event }) = incoming::message(frame, events) else {
            return;
        };
        match kind.as_str() {
            "session.created" | "session.updated" => {
                self.session_event(&kind, &event, events, out);
            }
            "error" => self.error(&event["error"], events),
            kind => self.item_event(kind, &event, events),
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
