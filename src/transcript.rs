// SPDX-License-Identifier: MPL-2.0
//! An utterance as everything above the protocols sees it: its number, its text so far, and the
//! times of its words. Created by sessions; used by captions and messages. No logic.

/// The number of an utterance within a session, counting from 0, in the order in which the session
/// first saw them. It is kept when the utterance is recognised again over a new connection.
pub type Utterance = u64;

/// An utterance so far, or all of it. Times are timestamps in nanoseconds.
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
    /// Its start, in nanoseconds.
    pub start: u64,
    /// Its end, in nanoseconds; in an interim transcript the end of the audio sent so far.
    pub end: u64,
    /// The words that make up `text` and `stash`, if the service gives their times.
    pub words: Vec<Word>,
}

/// A word and its times: timestamps in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The word, with its punctuation if that is to be shown.
    pub text: String,
    pub start: u64,
    pub end: u64,
}
