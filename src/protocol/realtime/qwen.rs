// SPDX-License-Identifier: MPL-2.0
//! Qwen's realtime protocol (`/api-ws/v1/realtime`) of qwen3-asr-flash-realtime and of servers that
//! are compatible with it: JSON text frames, base64 audio, one session per connection.
//!
//! Frames are sent as the service documents them. The service detects utterances itself or is told
//! by commits; interim results come in two parts: `text`, which it promises not to change, and
//! `stash`, which may change.

use serde_json::{Value, json};

use super::conversation::{Conversation, Phase, Told, item_text};
use super::{KEEP_ALIVE, LANGUAGES, MAX_AUDIO_BYTES, MAX_FRAME_BYTES, VAD_SPEED};
use crate::protocol::diagnosis::Peer;
use crate::protocol::incoming::{self, Message};
use crate::protocol::json::text_of;
use crate::protocol::ogg::OggOpus;
use crate::protocol::texts::{MAX_TEXT, said};
use crate::protocol::{
    Codec, Command, Event, Failure, Frame, Incoming, Kind, Limits, Profile, Recognition, Refusal,
    START_INTERVAL, Setup, Statement, TurnDetection, checks, language,
};

/// Sample rates in Hz that the service documents.
const RATES: &[u32] = &[16_000, 8_000];

pub(in crate::protocol) const PROFILE: Profile = Profile {
    nick: "realtime",
    path: "/api-ws/v1/realtime",
    query: None,
    models: &["qwen3-asr-flash-realtime"],
    self_hosted: false,
    model_in_query: true,
    takes_opus: true,
    rates: |_| RATES,
    beijing_only: |_| false,
    start_interval: |_| START_INTERVAL,
    set_up,
};

fn set_up(mut recognition: Recognition) -> Result<Setup, Failure> {
    checks::rate("The realtime protocol", RATES, recognition.rate)?;
    let mut warnings = Vec::new();
    if !recognition.vocabulary.is_empty() || recognition.vocabulary_id.is_some() {
        warnings.push(
            "The realtime protocol has no hot words: vocabulary and vocabulary-id have no effect. \
             Put the words into the context property."
                .to_owned(),
        );
    }
    recognition.language = language::hint(recognition.language.as_deref(), LANGUAGES)?;
    let bytes = settings(&recognition).to_string().len();
    if bytes > MAX_SETTINGS_BYTES {
        return Err(Failure::new(
            Kind::Settings,
            format!(
                "The context is too large: with it the settings take {bytes} bytes, and the \
                 service takes {MAX_SETTINGS_BYTES}."
            ),
            "Shorten the context property: the service uses the first 10000 tokens at most.",
        ));
    }
    let codecs = Box::new(move || Box::new(Qwen::new(recognition.clone())) as Box<dyn Codec>);
    Ok(Setup {
        codecs,
        warnings,
        lacks_vad: false,
        silence: None,
    })
}

/// Maximum settings in bytes: `session.update` has to fit into a frame.
const MAX_SETTINGS_BYTES: usize = MAX_FRAME_BYTES - 128;

/// In manual mode 20 times real time is known to work; at about 80 times the connection is closed.
const MANUAL_SPEED: f64 = 20.0;

/// The documentation allows 60 s of continuous audio between two commits.
const MAX_UTTERANCE_MS: u64 = 58_000;

/// One connection's codec.
#[derive(Debug)]
struct Qwen {
    peer: Peer,
    recognition: Recognition,
    conversation: Conversation,
    ogg: Option<OggOpus>,
}

impl Qwen {
    fn new(recognition: Recognition) -> Self {
        Self {
            peer: Peer::new(&recognition, &PROFILE),
            ogg: OggOpus::wanted(&recognition),
            recognition,
            conversation: Conversation::new("text"),
        }
    }

    /// Checks the answering model: without any error it may be another than the requested one, a
    /// dearer one that does not transcribe.
    fn check_model(&self, session: &Value) -> Result<(), Failure> {
        let models = [
            text_of(session, "model"),
            session
                .get("input_audio_transcription")
                .and_then(|t| text_of(t, "model")),
        ];
        let mut models = models.into_iter().flatten();
        models.try_for_each(|answering| check_model(&self.peer, answering))
    }

    fn session_event(
        &mut self,
        kind: &str,
        session: &Value,
        events: &mut Vec<Event>,
        out: &mut Vec<Frame>,
    ) {
        match self.check_model(session) {
            Err(failure) => self.conversation.fail(failure, events),
            Ok(()) => {
                let settings = || settings(&self.recognition);
                self.conversation
                    .session_event(kind, session, settings, events, out);
            }
        }
    }

    fn item_event(&mut self, kind: &str, event: &Value, events: &mut Vec<Event>) {
        match self.conversation.item_event(kind, event, events) {
            Told::Done | Told::End => {}
            Told::Interim(item) => {
                let mut text = item_text(event, "text");
                self.conversation.confirmed.replace(item, &text.text);
                text.stash = said(event, "stash");
                let room = MAX_TEXT - text.text.len();
                text.stash.truncate(text.stash.floor_char_boundary(room));
                events.push(Event::Interim { item, text });
            }
            Told::Unknown => events.push(incoming::unknown(kind)),
        }
    }
}

impl Codec for Qwen {
    fn limits(&self) -> Limits {
        let manual = self.recognition.turn_detection == TurnDetection::Manual;
        Limits {
            max_audio_bytes: MAX_AUDIO_BYTES,
            max_speed: if manual { MANUAL_SPEED } else { VAD_SPEED },
            max_utterance_ms: manual.then_some(MAX_UTTERANCE_MS),
            keep_alive: Some(KEEP_ALIVE),
            takes_context: false,
            one_utterance: false,
        }
    }

    /// The service speaks first.
    fn open(&mut self, _out: &mut Vec<Frame>) {}

    fn command(&mut self, command: Command<'_>, _events: &mut Vec<Event>, out: &mut Vec<Frame>) {
        let conversation = &mut self.conversation;
        out.push(match command {
            Command::Audio(audio) => match &mut self.ogg {
                None => conversation.append(audio),
                Some(ogg) => {
                    let pages = ogg.pages(audio);
                    out.extend(pages.iter().map(|page| conversation.append(page)));
                    return;
                }
            },
            Command::Commit => conversation.bare("input_audio_buffer.commit"),
            // A second `session.update` makes the service close the connection (observed).
            Command::Context(_) => return,
            Command::Finish => conversation.bare("session.finish"),
        });
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
                self.session_event(&kind, &event["session"], events, out);
            }
            "session.finished" => self.conversation.finish(events),
            "error" => {
                let failure = self.peer.error(&event["error"]);
                self.conversation.fail(failure, events);
            }
            kind => self.item_event(kind, &event, events),
        }
    }

    fn closed(&self, code: Option<u16>, reason: &str) -> Failure {
        // Only the settings were sent so far, and only the context in them can be large.
        if code == Some(1009)
            && self.conversation.phase == Phase::Configuring
            && self.recognition.context.is_some()
        {
            return Failure::new(
                Kind::Settings,
                Statement::from(
                    "The service closed the connection (code 1009) for a context that is too large",
                )
                .quoting_within(": ", reason, "")
                .then("."),
                "Shorten the context property.",
            )
            .with_close_code(code);
        }
        // Hosts without the model close like this before sending any event (observed).
        if code == Some(1011) && self.conversation.phase == Phase::Opened {
            return self.peer.no_such_model(reason).with_close_code(code);
        }
        self.peer.closed(code, reason)
    }

    fn refused(&self, refusal: &Refusal<'_>) -> Failure {
        self.peer.refused(refusal)
    }
}

/// The `session` of `session.update`.
fn settings(recognition: &Recognition) -> Value {
    let mut transcription = serde_json::Map::new();
    if let Some(language) = &recognition.language {
        transcription.insert("language".into(), json!(language));
    }
    if let Some(context) = &recognition.context {
        transcription.insert("corpus".into(), json!({ "text": context }));
    }
    let turn_detection = match recognition.turn_detection {
        TurnDetection::ServerVad {
            threshold,
            silence_ms,
        } => {
            let mut server_vad = json!({
                "type": "server_vad",
                "silence_duration_ms": silence_ms,
            });
            // The documentation recommends 0 for the service, whose default is 0.2. Other servers
            // have other scales: one that takes probabilities hears speech in everything at 0.
            let recommended = recognition.official.then_some(0.0);
            if let Some(threshold) = threshold.or(recommended) {
                server_vad["threshold"] = json!(threshold);
            }
            server_vad
        }
        // Explicit null: leaving it out means VAD.
        TurnDetection::Manual => Value::Null,
    };
    json!({
        "modalities": ["text"],
        "input_audio_format": recognition.coding.name(),
        "sample_rate": recognition.rate,
        "input_audio_transcription": transcription,
        "turn_detection": turn_detection,
    })
}

/// Checks the model that a server says it is.
///
/// # Errors
///
/// If it is not the requested one.
pub(super) fn check_model(peer: &Peer, answering: &str) -> Result<(), Failure> {
    let asked = &peer.model;
    if same_model(asked, answering) {
        return Ok(());
    }
    Err(Failure::new(
        Kind::NoModel,
        Statement::from("The service answered with the model '")
            .quoting(answering)
            .then(&format!("' where '{asked}' was asked for.")),
        peer.model_remedy(),
    ))
}

/// Whether the answering model is the requested one: the same, or one is the other's dated
/// snapshot.
fn same_model(asked: &str, answering: &str) -> bool {
    let snapshot_of = |dated: &str, name: &str| {
        dated
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('-'))
            .is_some_and(|date| {
                date.len() == 10 && date.bytes().all(|b| b.is_ascii_digit() || b == b'-')
            })
    };
    asked == answering || snapshot_of(asked, answering) || snapshot_of(answering, asked)
}

#[cfg(test)]
mod tests;
