// SPDX-License-Identifier: MPL-2.0
//! The protocol of the live translation models, qwen3.8-livetranslate-flash-realtime and its
//! predecessors, at `/api-ws/v1/realtime`: that of [`qwen`](super::qwen) with a response for each
//! item of the conversation, which is its translation.
//!
//! A session translates into one language, and transcribes as well. It is asked for text alone.
//! Generations differ in their settings and their interim results: 3.8 sends deltas that are never
//! taken back, earlier ones replace text and stash. Items end after 30 s at the latest, and text
//! comes long before. An item and its translation are one item to the session, which ends when both
//! are complete; [`turns`] puts them together.

mod turns;

use std::time::Duration;

use serde_json::{Value, json};

use super::conversation::{Conversation, Phase, TRANSCRIPTION, Told};
use super::qwen::check_model;
use super::{KEEP_ALIVE, MAX_AUDIO_BYTES, MAX_FRAME_BYTES, VAD_SPEED};
use crate::protocol::diagnosis::Peer;
use crate::protocol::incoming::{self, Message};
use crate::protocol::items::Unnamed;
use crate::protocol::json::{count_of, text_of};
use crate::protocol::{
    Codec, Command, Event, Failure, Frame, Incoming, Kind, Limits, Profile, Recognition, Refusal,
    Setup, Target, TurnDetection, checks, language,
};
use turns::Turns;

/// The only sample rate that the service documents for these models, in Hz.
const RATES: &[u32] = &[16_000];

/// The target of a session that was not asked for one: it is there for its transcript. The
/// service's own default, too.
const DEFAULT_TARGET: &str = "en";

/// A voice has to be named even where no speech is asked for, according to some (the service's
/// default).
const VOICE: &str = "Tina";

/// Silence that ends an item unless it is asked for another: as a session is told in its greeting.
const SILENCE: Duration = Duration::from_millis(2500);

/// What transcribes, for the generations before 3.8.
const TRANSCRIBER: &str = "qwen3-asr-flash-realtime";

/// Maximum settings in bytes: `session.update` has to fit into a frame.
const MAX_SETTINGS_BYTES: usize = MAX_FRAME_BYTES - 128;

/// Languages that the service documents, in and out.
const LANGUAGES: &[&str] = &[
    "zh", "en", "ar", "de", "fr", "es", "pt", "id", "it", "ko", "ru", "th", "vi", "ja", "tr", "hi",
    "ms", "nl", "ur", "nb", "sv", "da", "he", "fi", "pl", "is", "cs", "fil", "fa", "yue", "el",
    "af", "ast", "be", "bg", "bn", "bs", "ca", "ceb", "et", "gl", "gu", "hr", "hu", "jv", "kk",
    "kn", "ky", "lv", "mk", "ml", "mr", "pa", "ro", "sk", "sl", "sw", "tg", "az", "uk",
];

pub(in crate::protocol) const PROFILE: Profile = Profile {
    nick: "realtime",
    path: "/api-ws/v1/realtime",
    query: None,
    models: &[
        "qwen3.8-livetranslate",
        "qwen3.5-livetranslate",
        "qwen3-livetranslate",
    ],
    self_hosted: false,
    model_in_query: true,
    takes_opus: false,
    rates: |_| RATES,
    beijing_only: |_| false,
    // 10 a minute (reported).
    start_interval: |_| Duration::from_millis(6600),
    set_up,
};

/// The generations of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Generation {
    /// 3.5 and before.
    Flat,
    /// 3.8, and what comes after.
    Nested,
}

impl Generation {
    fn of(model: &str) -> Self {
        let is_flat = PROFILE.models[1..]
            .iter()
            .any(|name| model.starts_with(name));
        if is_flat { Self::Flat } else { Self::Nested }
    }
}

fn set_up(mut recognition: Recognition) -> Result<Setup, Failure> {
    let who = format!("The model '{}'", recognition.model);
    checks::rate(&who, RATES, recognition.rate)?;
    let generation = Generation::of(&recognition.model);
    let mut target = recognition.translation.take().unwrap_or_default();
    target.language = target_language(&target.language)?;
    let mut warnings = checks::without_effect(
        &format!("{who} cannot be told of it"),
        &[
            ("context", recognition.context.is_some()),
            ("vocabulary", !recognition.vocabulary.is_empty()),
            ("vocabulary-id", recognition.vocabulary_id.is_some()),
        ],
    );
    match generation {
        Generation::Flat => {
            recognition.language = language::hint(recognition.language.as_deref(), LANGUAGES)?;
        }
        Generation::Nested if recognition.language.take().is_some() => {
            let why = format!("{who} detects the language that is spoken");
            warnings.push(checks::no_effect(&why, "language-code"));
        }
        Generation::Nested => {}
    }
    if recognition.turn_detection == TurnDetection::Manual {
        let why = format!("{who} detects utterances itself");
        warnings.push(checks::no_effect(&why, "turn-detection"));
    }
    let (settings, silence) = match generation {
        Generation::Flat => flat_settings(&recognition, &target),
        Generation::Nested => nested_settings(&recognition, &target),
    };
    let bytes = settings.to_string().len();
    if bytes > MAX_SETTINGS_BYTES {
        return Err(Failure::new(
            Kind::Settings,
            format!(
                "The translation vocabulary is too large: with it the settings take {bytes} \
                 bytes, and the service takes {MAX_SETTINGS_BYTES}."
            ),
            "Shorten the translation-vocabulary property.",
        ));
    }
    let codecs = Box::new(move || {
        let peer = Peer::new(&recognition, &PROFILE);
        let codec = LiveTranslate::new(peer, settings.clone(), &target.language);
        Box::new(codec) as Box<dyn Codec>
    });
    Ok(Setup {
        codecs,
        warnings,
        lacks_vad: false,
        silence: Some(silence),
    })
}

/// The service's code of the language to translate into.
fn target_language(tag: &str) -> Result<String, Failure> {
    match language::hint(Some(tag), LANGUAGES) {
        Ok(code) => Ok(code.unwrap_or_else(|| DEFAULT_TARGET.to_owned())),
        Err(failure) => Err(Failure {
            remedy: "Set the language-code of the translate_src pad, or translation-languages, to \
                     one of these."
                .to_owned(),
            ..failure
        }),
    }
}

/// The `session` of `session.update` for 3.8, and the silence that ends an item.
///
/// Only `speaker_detection`, the service's default, tells speakers apart, and only `server_vad` has
/// settings: it is for those who make some.
fn nested_settings(recognition: &Recognition, target: &Target) -> (Value, Duration) {
    let (turn_detection, silence) = match recognition.turn_detection {
        TurnDetection::ServerVad {
            threshold: Some(threshold),
            silence_ms,
        } => (
            json!({
                "type": "server_vad",
                "threshold": threshold,
                "silence_duration_ms": silence_ms,
            }),
            Duration::from_millis(silence_ms.into()),
        ),
        _ => (json!({ "type": "speaker_detection" }), SILENCE),
    };
    let settings = json!({
        "output_modalities": ["text"],
        "audio": {
            "input": {
                "format": { "type": "pcm", "sample_rate": recognition.rate },
                "turn_detection": turn_detection,
            },
            "output": { "voice": VOICE },
        },
        "translation": translation(target),
    });
    (settings, silence)
}

/// The same for 3.5 and before.
fn flat_settings(recognition: &Recognition, target: &Target) -> (Value, Duration) {
    let mut transcription = json!({ "model": TRANSCRIBER });
    if let Some(language) = &recognition.language {
        transcription["language"] = json!(language);
    }
    let mut turn_detection = json!({ "type": "server_vad" });
    let mut silence = SILENCE;
    if let TurnDetection::ServerVad {
        threshold,
        silence_ms,
    } = recognition.turn_detection
    {
        turn_detection["silence_duration_ms"] = json!(silence_ms);
        silence = Duration::from_millis(silence_ms.into());
        if let Some(threshold) = threshold {
            turn_detection["threshold"] = json!(threshold);
        }
    }
    let settings = json!({
        "modalities": ["text"],
        "voice": VOICE,
        "sample_rate": recognition.rate,
        "input_audio_format": "pcm",
        "input_audio_transcription": transcription,
        "turn_detection": turn_detection,
        "translation": translation(target),
    });
    (settings, silence)
}

fn translation(target: &Target) -> Value {
    let mut translation = json!({ "language": target.language });
    if !target.phrases.is_empty() {
        let phrases = target.phrases.iter();
        let phrases: serde_json::Map<_, _> = phrases
            .map(|phrase| (phrase.term.clone(), json!(phrase.translation)))
            .collect();
        translation["corpus"] = json!({ "phrases": phrases });
    }
    translation
}

/// One connection's codec.
#[derive(Debug)]
struct LiveTranslate {
    peer: Peer,
    settings: Value,
    conversation: Conversation,
    turns: Turns,
}

impl LiveTranslate {
    fn new(peer: Peer, settings: Value, target: &str) -> Self {
        Self {
            peer,
            settings,
            // Interim results are decoded here.
            conversation: Conversation::new(""),
            turns: Turns::new(target),
        }
    }

    fn session_event(
        &mut self,
        kind: &str,
        session: &Value,
        events: &mut Vec<Event>,
        out: &mut Vec<Frame>,
    ) {
        let model = text_of(session, "model");
        match model.map_or(Ok(()), |model| check_model(&self.peer, model)) {
            Err(failure) => self.conversation.fail(failure, events),
            Ok(()) => {
                let settings = || self.settings.clone();
                self.conversation
                    .session_event(kind, session, settings, events, out);
            }
        }
    }

    fn item_event(&mut self, kind: &str, event: &Value, events: &mut Vec<Event>) {
        if let Some(rest) = kind.strip_prefix(TRANSCRIPTION) {
            return self.transcription(rest, event, events);
        }
        if let Some(rest) = kind.strip_prefix("response.") {
            return self
                .turns
                .response(rest, event, &mut self.conversation, events);
        }
        if kind == "conversation.item.created" && !is_of_source(event) {
            // Said of the translation, of which it tells whose it is.
            return self.turns.translation_created(event, &self.conversation);
        }
        let before = events.len();
        if self.conversation.item_event(kind, event, events) == Told::Unknown {
            events.push(incoming::unknown(kind));
        }
        for event_of_item in &events[before..] {
            match event_of_item {
                Event::SpeechStarted { item, item_id, .. } => {
                    let speaker = count_of(event, "speaker_id");
                    let speaker = speaker.and_then(|speaker| u32::try_from(speaker).ok());
                    self.turns.begin(*item, item_id, speaker);
                }
                Event::ItemSeen { item } => self.turns.begin(*item, "", None),
                _ => {}
            }
        }
    }

    /// An event of an item's transcript, named by the end of its name.
    fn transcription(&mut self, kind: &str, event: &Value, events: &mut Vec<Event>) {
        let unnamed = match kind {
            "delta" | "text" => Unnamed::Newest,
            "completed" | "failed" => Unnamed::Oldest,
            _ => return events.push(incoming::unknown(&[TRANSCRIPTION, kind].concat())),
        };
        let Some(item) = self.conversation.resolve(event, unnamed) else {
            return;
        };
        let source = &mut self.turns.of(item).source;
        match kind {
            "delta" => source.append(event),
            "text" => source.replace(event),
            "completed" => source.complete(event, "transcript"),
            _ => source.fail(event),
        }
        self.turns.note(item, event);
        self.turns.report(item, &mut self.conversation, events);
    }
}

/// Whether a `conversation.item.created` is about speech, rather than its translation. The roles
/// do not tell: both are the assistant's (observed).
fn is_of_source(event: &Value) -> bool {
    text_of(&event["item"]["content"][0], "type") == Some("input_audio")
}

impl Codec for LiveTranslate {
    fn limits(&self) -> Limits {
        Limits {
            max_audio_bytes: MAX_AUDIO_BYTES,
            max_speed: VAD_SPEED,
            max_utterance_ms: None,
            keep_alive: Some(KEEP_ALIVE),
            takes_context: false,
            one_utterance: false,
        }
    }

    /// The service speaks first.
    fn open(&mut self, _out: &mut Vec<Frame>) {}

    fn command(&mut self, command: Command<'_>, _events: &mut Vec<Event>, out: &mut Vec<Frame>) {
        match command {
            Command::Audio(audio) => out.push(self.conversation.append(audio)),
            Command::Finish => out.push(self.conversation.bare("session.finish")),
            Command::Commit | Command::Context(_) => {}
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
        // As with the ASR models.
        if code == Some(1011) && self.conversation.phase == Phase::Opened {
            return self.peer.no_such_model(reason).with_close_code(code);
        }
        self.peer.closed(code, reason)
    }

    fn refused(&self, refusal: &Refusal<'_>) -> Failure {
        self.peer.refused(refusal)
    }
}

#[cfg(test)]
mod tests;
