// SPDX-License-Identifier: MPL-2.0
//! The OpenAI flavour of the realtime protocol, as sglang serves it at `/v1/realtime`.
//!
//! It differs in the settings, in interim results, which are appended, in that there are no
//! utterances but those that are committed, and in that nothing answers to the end.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{LANGUAGES, MAX_AUDIO_BYTES, Realtime};
use crate::protocol::{
    Codec, Failure, ItemKey, Kind, Limits, Profile, Recognition, Setup, language, no_effect,
};

/// The rate of the plugin's two that such servers take.
const RATE: u32 = 16_000;

/// As with the service's own manual mode.
const SPEED: f64 = 20.0;

/// Models take half a minute of audio well.
const MAX_UTTERANCE_MS: u64 = 30_000;

/// Interim text kept of an item, in bytes, and items it is kept of. More is made up by a server
/// that has lost its mind.
const LONGEST_TEXT: usize = 65_536;
const MOST_TEXTS: usize = 64;

pub(in crate::protocol) const PROFILE: Profile = Profile {
    nick: "realtime",
    path: "/v1/realtime",
    models: &[],
    self_hosted: true,
    model_in_query: false,
    beijing_only: |_| false,
    set_up,
};

fn set_up(mut recognition: Recognition) -> Result<Setup, Failure> {
    if recognition.rate != RATE {
        return Err(Failure::new(
            Kind::Settings,
            format!(
                "This protocol takes audio of 16000 Hz, not of {} Hz.",
                recognition.rate
            ),
            "Put audioresample ! audio/x-raw,rate=16000 before this element.",
        ));
    }
    recognition.language = language::hint(recognition.language.as_deref(), LANGUAGES)?;
    let warnings = no_effect::warnings(
        "The server cannot be told of it",
        &[
            ("context", recognition.context.is_some()),
            ("vocabulary", !recognition.vocabulary.is_empty()),
            ("vocabulary-id", recognition.vocabulary_id.is_some()),
        ],
    );
    let codecs = Box::new(move || {
        Box::new(Realtime::with_flavour(
            recognition.clone(),
            Flavour::OpenAi(Deltas::default()),
        )) as Box<dyn Codec>
    });
    Ok(Setup {
        codecs,
        warnings,
        lacks_vad: true,
    })
}

/// Whose realtime protocol it is.
#[derive(Debug)]
pub(super) enum Flavour {
    Qwen,
    OpenAi(Deltas),
}

/// What is known of the items that were committed.
#[derive(Debug, Default)]
pub(super) struct Deltas {
    texts: BTreeMap<ItemKey, String>,
    /// Commits without an answer.
    pub unanswered: usize,
    pub finishing: bool,
}

impl Deltas {
    /// Adds to an item's text; returns all of it.
    pub fn push(&mut self, item: ItemKey, delta: &str) -> String {
        if self.texts.len() >= MOST_TEXTS && !self.texts.contains_key(&item) {
            self.texts.pop_first();
        }
        let text = self.texts.entry(item).or_default();
        if text.len() + delta.len() <= LONGEST_TEXT {
            text.push_str(delta);
        }
        text.clone()
    }

    /// The item has its final text, or will have none.
    pub fn answered(&mut self, item: ItemKey) {
        self.texts.remove(&item);
        self.unanswered = self.unanswered.saturating_sub(1);
    }

    /// All is over: nothing says so but the last answer.
    pub fn is_finished(&self) -> bool {
        self.finishing && self.unanswered == 0
    }
}

pub(super) fn limits() -> Limits {
    Limits {
        max_audio_bytes: MAX_AUDIO_BYTES,
        max_speed: SPEED,
        max_utterance_ms: Some(MAX_UTTERANCE_MS),
        keep_alive: None,
    }
}

/// The `session` of `session.update`.
pub(super) fn settings(recognition: &Recognition) -> Value {
    // A server of one's own has one model, and the service's is none it could have.
    let is_theirs = !recognition.model.starts_with("qwen3-asr-flash");
    let mut transcription = json!({ "model": is_theirs.then_some(&recognition.model) });
    if let Some(language) = &recognition.language {
        transcription["language"] = json!(language);
    }
    json!({
        "type": "transcription",
        "audio": { "input": {
            "format": { "type": "audio/pcm", "rate": recognition.rate },
            "transcription": transcription,
            "turn_detection": null,
        }},
    })
}

/// Another server than such a one greets like this.
pub(super) fn check(session: &Value) -> Result<(), Failure> {
    if session.is_object() {
        return Ok(());
    }
    Err(Failure::new(
        Kind::Settings,
        "The server does not speak OpenAI's realtime protocol.",
        "Set protocol=vllm if it is vLLM.",
    ))
}

/// Whether the connection goes on after such an error: it says something of a single message.
pub(super) fn is_bearable(failure: &Failure) -> bool {
    matches!(failure.kind, Kind::Settings | Kind::Lost)
        && failure.code.as_deref() != Some("inference_failed")
}

#[cfg(test)]
#[path = "openai_tests.rs"]
mod tests;
