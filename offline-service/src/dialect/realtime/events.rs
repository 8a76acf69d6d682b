// SPDX-License-Identifier: MPL-2.0

//! The events the service sends.

use serde_json::{Value, json};

pub fn session_created(session: Value) -> Value {
    json!({"type": "session.created", "session": session})
}

pub fn session_updated(session: Value) -> Value {
    json!({"type": "session.updated", "session": session})
}

pub fn speech_started(item: &str, start_ms: u64) -> Value {
    json!({
        "type": "input_audio_buffer.speech_started",
        "audio_start_ms": start_ms,
        "item_id": item,
    })
}

pub fn speech_stopped(item: &str, end_ms: u64) -> Value {
    json!({
        "type": "input_audio_buffer.speech_stopped",
        "audio_end_ms": end_ms,
        "item_id": item,
    })
}

pub fn committed(item: &str, previous: Option<&str>) -> Value {
    json!({
        "type": "input_audio_buffer.committed",
        "previous_item_id": previous,
        "item_id": item,
    })
}

pub fn item_created(item: &str, previous: Option<&str>) -> Value {
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

pub fn partial(item: &str, language: &str, text: &str, stash: &str) -> Value {
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
pub fn completed(item: &str, language: &str, transcript: &str, seconds: u64) -> Value {
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

pub fn failed(item: &str) -> Value {
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

pub fn session_finished() -> Value {
    json!({"type": "session.finished"})
}

/// What a client did wrong; `event_id` names its event.
pub fn invalid_request(
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
pub fn inference_error(message: &str) -> Value {
    json!({"type": "error", "error": {"code": "COMMON_ERROR", "message": message}})
}

/// The refusal of a session because there are too many; only its message is known.
pub fn capacity_error(limit: usize) -> Value {
    let message = format!("connections too much max_connections {limit}");
    json!({"type": "error", "error": {"message": message}})
}

/// A failure of the service itself.
pub fn server_error(code: &str, message: &str) -> Value {
    json!({"type": "error", "error": {"type": "server_error", "code": code, "message": message}})
}
