// SPDX-License-Identifier: MPL-2.0
//! What an utterance is to everyone above the wire: its number, its text so far, and when its words
//! were spoken. Sessions make transcripts; captions and messages are made of them. No logic.

/// The number of an utterance within a session, from 0 on, in the order in which the session first
/// heard of them. It stays the same when the utterance is heard again over a new connection.
pub type Utterance = u64;

/// An utterance so far, or all of it. Times are timestamps in nanoseconds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Transcript {
    pub utterance: Utterance,
    /// The service's name of it; empty where it has none. Another connection gives another one.
    pub item_id: String,
    /// Counts the session's transcripts that are reported, interim ones included, from 1 on.
    pub seq: u64,
    /// What the service has confirmed (interim), or all of it (final).
    pub text: String,
    /// Tentative continuation of `text`; empty in a final.
    pub stash: String,
    /// As the service detected it, a code such as `en`.
    pub language: Option<String>,
    /// As the service heard it, such as `neutral`.
    pub emotion: Option<String>,
    /// When it begins.
    pub start: u64,
    /// When it has been spoken; in an interim transcript the end of the audio sent so far.
    pub end: u64,
    /// The words that make up `text` and `stash`, where the service tells their times.
    pub words: Vec<Word>,
}

/// A word, and when it was spoken. Times are timestamps in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The word; with its punctuation, where it is to be shown.
    pub text: String,
    pub start: u64,
    pub end: u64,
}
