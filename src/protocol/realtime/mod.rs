// SPDX-License-Identifier: MPL-2.0
//! The two realtime protocols that transcribe the items of a conversation: Qwen's own and OpenAI's.
//!
//! Each has its own codec, which [`choice`](super::choice) picks by the address; the third that
//! they share is in [`conversation`].

mod conversation;
pub(super) mod openai;
pub(super) mod qwen;

/// Languages that the service documents for these models.
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
