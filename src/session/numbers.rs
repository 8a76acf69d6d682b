// SPDX-License-Identifier: MPL-2.0
//! The numbers of utterances: one for each, however many connections find it.
//!
//! An utterance that a lost connection left open is *interrupted*. Its audio is sent again, and the
//! utterance that the next connection finds at its start gets its number. Given out while
//! utterances are collected, and taken back by the [reporter](super::reporter).

use std::time::Duration;

use crate::timeline::{Span, Timestamp};
use crate::transcript::{Transcript, Utterance};

/// Maximum distance between the starts of the same utterance when it is recognised again: services
/// start afresh with the replay, and do not reproduce a start to the millisecond.
pub(super) const BEGIN_TOLERANCE: Duration = Duration::from_millis(500);

/// An utterance that a lost connection left open.
#[derive(Debug)]
pub(super) struct Interrupted {
    /// The longest text received for it.
    pub transcript: Transcript,
    /// A later connection has found it, and will report it.
    is_resumed: bool,
}

impl Interrupted {
    fn is_awaited(&self) -> bool {
        !self.is_resumed
    }

    /// Whether an utterance with this span is the same one, or the rest of it: it covers the start,
    /// or starts later within it, as happens if audio was lost or the service segments it
    /// differently.
    pub fn is_heard_in(&self, span: Span) -> bool {
        let own = self.transcript.span;
        span.contains(own.start + BEGIN_TOLERANCE / 2) || own.contains(span.start)
    }
}

/// Assigns numbers to utterances: new ones, except for those that are recognised again.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    next: Utterance,
    /// In the order of their starts.
    interrupted: Vec<Interrupted>,
}

impl Numbers {
    /// The number of an utterance that a connection has found, given its start.
    pub fn give(&mut self, start: Timestamp) -> Utterance {
        let awaited = self.interrupted.iter_mut().filter(|i| i.is_awaited());
        let distance = |i: &Interrupted| i.transcript.span.start.abs_diff(start);
        let nearest = awaited.min_by_key(|i| distance(i));
        match nearest.filter(|i| distance(i) <= BEGIN_TOLERANCE) {
            Some(interrupted) => {
                interrupted.is_resumed = true;
                interrupted.transcript.utterance
            }
            None => {
                self.next += 1;
                self.next - 1
            }
        }
    }

    pub fn remove(&mut self, number: Utterance) -> Option<Interrupted> {
        let is_it = |i: &Interrupted| i.transcript.utterance == number;
        let at = self.interrupted.iter().position(is_it)?;
        Some(self.interrupted.remove(at))
    }

    /// Keeps the longer text of the utterance. Returns another utterance that it replaces: the same
    /// one, whose start the two connections placed differently.
    pub fn interrupt(&mut self, mut transcript: Transcript) -> Option<Transcript> {
        let most_of = |a: Transcript, b: Transcript| {
            if length(&a) > length(&b) {
                (a, b)
            } else {
                (b, a)
            }
        };
        if let Some(before) = self.remove(transcript.utterance) {
            transcript = most_of(before.transcript, transcript).0;
        }
        let span = transcript.span;
        let overlaps = |i: &Interrupted| i.is_awaited() && i.transcript.span.overlaps(span);
        let same = self.interrupted.iter().position(overlaps);
        let mut replaced = None;
        if let Some(at) = same {
            let other = self.interrupted.remove(at).transcript;
            let (most, less) = most_of(other, transcript);
            (transcript, replaced) = (most, Some(less));
        }
        let starts_before = |i: &Interrupted| i.transcript.span.start <= transcript.span.start;
        let at = self.interrupted.partition_point(starts_before);
        self.interrupted.insert(
            at,
            Interrupted {
                transcript,
                is_resumed: false,
            },
        );
        replaced
    }

    /// Removes the first interrupted utterance not found again, given the span of a reported one,
    /// if it is part of that one or precedes it. The flag is true if it is part of it.
    pub fn next_before(&mut self, span: Span) -> Option<(Transcript, bool)> {
        let at = self.interrupted.iter().position(|i| {
            i.is_awaited() && (i.transcript.span.start <= span.start || i.is_heard_in(span))
        })?;
        let interrupted = self.interrupted.remove(at);
        let is_heard = interrupted.is_heard_in(span);
        Some((interrupted.transcript, is_heard))
    }

    /// All that are left, in the order of their starts.
    pub fn take_interrupted(&mut self) -> Vec<Interrupted> {
        std::mem::take(&mut self.interrupted)
    }
}

/// How much text there is of it, in bytes, with its translation.
pub(super) fn length(transcript: &Transcript) -> usize {
    let translation = transcript.translation.as_ref();
    transcript.text.len() + translation.map_or(0, |translation| translation.text.len())
}
