// SPDX-License-Identifier: MPL-2.0
//! An utterance as everything above the protocols sees it: its number, its text so far, and the
//! times of its words. Created by sessions; used by captions and messages. No logic.

use crate::timeline::{Span, Timestamp};

/// The number of an utterance within a session, counting from 0, in the order in which the session
/// first saw them. It is kept when the utterance is recognised again over a new connection.
pub type Utterance = u64;

/// An utterance so far, or all of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Transcript {
    pub utterance: Utterance,
    /// The service's id for it; empty if it has none. Another connection gives another id.
    pub item_id: String,
    /// Number of this transcript among those that the session reports, including interim ones,
    /// counting from 1.
    pub seq: u64,
    /// The confirmed part of the text (interim), or all of it (final).
    pub text: String,
    /// Tentative continuation of `text`; empty in a final.
    pub stash: String,
    /// The detected language, a code such as `en`.
    pub language: Option<String>,
    /// The detected emotion, such as `neutral`.
    pub emotion: Option<String>,
    /// When it was spoken; an interim transcript ends with the audio sent so far, unless the
    /// utterance is known to have ended before.
    pub span: Span,
    /// End of the audio sent when this text came.
    pub audio_end: Timestamp,
    /// Neither the service nor a commit says when it started, or in a final when it ended: the span
    /// is a guess.
    pub is_guessed: bool,
    /// The words that make up `text` and `stash`, if the service gives their times.
    pub words: Vec<Word>,
    /// The text is a translation of what was said.
    pub is_translation: bool,
    /// Who speaks, as a number of the service's, if it tells speakers apart.
    pub speaker: Option<u32>,
    /// What was said in another language, if the session translates.
    pub translation: Option<Box<Translation>>,
}

/// The translation of an utterance so far, or all of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Translation {
    /// The language translated into, a code such as `fr`.
    pub language: String,
    /// The confirmed part of the text (interim), or all of it (final).
    pub text: String,
    /// Tentative continuation of `text`; empty in a final.
    pub stash: String,
}

/// A word, and when it was spoken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The word, with its punctuation if that is to be shown.
    pub text: String,
    pub span: Span,
}
