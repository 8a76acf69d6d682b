// SPDX-License-Identifier: MPL-2.0

//! The events the service sends.

use serde_json::{Value, json};

/// Makes identifiers that look like the service's: a prefix and 21 letters or digits. They
/// are different in each session, and the same in each run.
#[derive(Debug)]
pub(crate) struct Ids(u64);

impl Ids {
    /// The identifiers of the session `number`.
    pub(crate) fn new(number: u64) -> Self {
        Self(number << 32)
    }

    /// The next identifier.
    pub(crate) fn next(&mut self, prefix: &str) -> String {
        const ALPHABET: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        self.0 += 1;
        let mut id = format!("{prefix}_");
        for part in 0..3 {
            let mut digits = mix(self.0.wrapping_mul(3).wrapping_add(part));
            for _ in 0..7 {
                id.push(char::from(
                    ALPHABET[(digits % ALPHABET.len() as u64) as usize],
                ));
                digits /= ALPHABET.len() as u64;
            }
        }
        id
    }
}

/// The finalizer of SplitMix64, a bijection that scatters neighbouring numbers.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

pub(crate) fn session_created(session: Value) -> Value {
    json!({"type": "session.created", "session": session})
}

pub(crate) fn session_updated(session: Value) -> Value {
    json!({"type": "session.updated", "session": session})
}

pub(crate) fn speech_started(item: &str, start_ms: u64) -> Value {
    json!({
        "type": "input_audio_buffer.speech_started",
        "audio_start_ms": start_ms,
        "item_id": item,
    })
}

pub(crate) fn speech_stopped(item: &str, end_ms: u64) -> Value {
    json!({
        "type": "input_audio_buffer.speech_stopped",
        "audio_end_ms": end_ms,
        "item_id": item,
    })
}

pub(crate) fn committed(item: &str, previous: Option<&str>) -> Value {
    json!({
        "type": "input_audio_buffer.committed",
        "previous_item_id": previous,
        "item_id": item,
    })
}

pub(crate) fn item_created(item: &str, previous: Option<&str>) -> Value {
    json!({
        "type": "conversation.item.created",
        "previous_item_id": previous,
        "item": {
            "id": item,
            "object": "realtime.item",
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [{"type": "input_audio", "transcript": null}],
        },
    })
}

pub(crate) fn partial(item: &str, language: &str, text: &str, stash: &str) -> Value {
    json!({
        "type": "conversation.item.input_audio_transcription.text",
        "item_id": item,
        "content_index": 0,
        "language": language,
        "emotion": "neutral",
        "text": text,
        "stash": stash,
    })
}

/// `seconds` is the audio of the whole session so far. Without a transcript there is no
/// language or emotion either.
pub(crate) fn completed(item: &str, language: &str, transcript: &str, seconds: u64) -> Value {
    let (language, emotion) = match transcript {
        "" => ("", ""),
        _ => (language, "neutral"),
    };
    let output_tokens = transcript.chars().count().div_ceil(4) as u64;
    json!({
        "type": "conversation.item.input_audio_transcription.completed",
        "item_id": item,
        "content_index": 0,
        "language": language,
        "emotion": emotion,
        "transcript": transcript,
        "usage": {"duration": seconds, "total_tokens": seconds * 25 + output_tokens},
    })
}

pub(crate) fn failed(item: &str) -> Value {
    json!({
        "type": "conversation.item.input_audio_transcription.failed",
        "item_id": item,
        "content_index": 0,
        "error": {
            "code": "audio_unintelligible",
            "message": "The audio could not be transcribed.",
            "param": null,
        },
    })
}

pub(crate) fn session_finished() -> Value {
    json!({"type": "session.finished"})
}

/// What a client did wrong; `event_id` names its event.
pub(crate) fn invalid_request(
    code: &str,
    message: &str,
    param: Option<&str>,
    event_id: Option<&str>,
) -> Value {
    json!({
        "type": "error",
        "error": {
            "type": "invalid_request_error",
            "code": code,
            "message": message,
            "param": param,
            "event_id": event_id,
        },
    })
}

/// A failure of recognition, which the service reports with these fields only.
pub(crate) fn inference_error(message: &str) -> Value {
    json!({"type": "error", "error": {"code": "COMMON_ERROR", "message": message}})
}

/// The refusal of a session because there are too many; only its message is known.
pub(crate) fn capacity_error(limit: usize) -> Value {
    let message = format!("connections too much max_connections {limit}");
    json!({"type": "error", "error": {"message": message}})
}

/// A failure of the service itself.
pub(crate) fn server_error(code: &str, message: &str) -> Value {
    json!({"type": "error", "error": {"type": "server_error", "code": code, "message": message}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_differ() {
        let mut seen = std::collections::HashSet::new();
        for session in 0..50 {
            let mut ids = Ids::new(session);
            for _ in 0..200 {
                let id = ids.next("item");
                assert_eq!(id.len(), "item_".len() + 21);
                assert!(seen.insert(id));
            }
        }
    }
}
