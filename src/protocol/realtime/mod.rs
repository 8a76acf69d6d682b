// SPDX-License-Identifier: MPL-2.0
//! The realtime protocols that transcribe the items of a conversation: Qwen's own, its sibling that
//! translates, and OpenAI's.
//!
//! Each has its own codec, which [`choice`](super::choice) picks by the address and the model; what
//! they share is in [`conversation`].

use std::time::Duration;

mod conversation;
pub(super) mod livetranslate;
pub(super) mod openai;
pub(super) mod qwen;

/// With server VAD a burst makes the service miss utterances: slightly faster than real time, so
/// that a live stream catches up with the audio queued while connecting.
const VAD_SPEED: f64 = 1.25;

/// Gateways close connections that carry no text for 60 s.
const KEEP_ALIVE: Duration = Duration::from_secs(50);

/// Languages that the service documents for its ASR models.
const LANGUAGES: &[&str] = &[
    "zh", "yue", "en", "ja", "de", "ko", "ru", "fr", "pt", "ar", "it", "es", "hi", "id", "th",
    "tr", "uk", "vi", "cs", "da", "fil", "fi", "is", "ms", "no", "pl", "sv",
];

/// Maximum frame in bytes: for a larger one the service closes the connection (code 1009,
/// observed).
const MAX_FRAME_BYTES: usize = 262_144;

/// Maximum audio in a frame, in bytes. Base64 turns three bytes into four, and the JSON needs some
/// more.
const MAX_AUDIO_BYTES: usize = 180_000;

const _: () = assert!(MAX_AUDIO_BYTES / 3 * 4 + 256 <= MAX_FRAME_BYTES);
