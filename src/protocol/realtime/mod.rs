// SPDX-License-Identifier: MPL-2.0
//! The two realtime protocols that transcribe the items of a conversation: Qwen's own and OpenAI's.
//!
//! They share a third: see [`conversation`]. Each has a codec of its own, which
//! [`choice`](super::choice) picks by the address.

mod conversation;
pub(super) mod openai;
pub(super) mod qwen;

/// Languages that the service documents for these models.
const LANGUAGES: &[&str] = &[
    "zh", "yue", "en", "ja", "de", "ko", "ru", "fr", "pt", "ar", "it", "es", "hi", "id", "th",
    "tr", "uk", "vi", "cs", "da", "fil", "fi", "is", "ms", "no", "pl", "sv",
];

/// The service closes a connection (code 1009, observed) for a frame of more bytes than this.
const MAX_FRAME_BYTES: usize = 262_144;

/// Audio in a frame. Base64 makes four bytes of three, and some JSON goes around it.
const MAX_AUDIO_BYTES: usize = 180_000;

const _: () = assert!(MAX_AUDIO_BYTES / 3 * 4 + 256 <= MAX_FRAME_BYTES);
