// SPDX-License-Identifier: MPL-2.0
//! Where the rolling lines of translations belong.
//!
//! A translation comes seconds after what it translates. Its words are to be shown where that was
//! said, as long as there is time for it, rather than where the audio had got to by then: otherwise
//! the first ones would stand for seconds, and those that come after the end of the utterance would
//! flash by. Used by the captioner's interim mode.

use std::collections::BTreeMap;

use super::curve::Curve;
use super::pace::Pace;
use super::text::{boundaries, normalise};
use crate::transcript::{Transcript, Utterance};

/// Upper bound of the utterances that are open at the same time.
const MAX_OPEN: usize = 16;

/// How the translations of a session come.
#[derive(Debug, Default)]
pub(super) struct Translations {
    pace: Pace,
    /// How the texts of open utterances grew.
    open: BTreeMap<Utterance, Curve>,
}

impl Translations {
    /// A hypothesis of a translation, which ends with what was said of its words instead of the
    /// audio sent. `None` for what is no translation.
    pub fn place(&mut self, transcript: &Transcript) -> Option<Transcript> {
        if !transcript.is_translation {
            return None;
        }
        let mut placed = transcript.clone();
        let span = &mut placed.span;
        if self.open.len() >= MAX_OPEN && !self.open.contains_key(&transcript.utterance) {
            self.open.pop_first();
        }
        let new = || Curve::new(span.start);
        let curve = self.open.entry(transcript.utterance).or_insert_with(new);
        let audio_end = transcript.audio_end.max(span.end);
        curve.observe(columns(transcript), audio_end);
        self.pace.expect(true);
        let spoken = audio_end - self.pace.delay();
        span.end = spoken.min(span.end).max(span.start);
        Some(placed)
    }

    /// Takes in a final text.
    pub fn learn(&mut self, transcript: &Transcript) {
        if let Some(curve) = self.open.remove(&transcript.utterance)
            && !transcript.is_guessed
        {
            let columns = columns(transcript);
            self.pace.learn(curve.grown(), columns, transcript.span);
        }
    }
}

/// Display columns of all that is known of the text.
fn columns(transcript: &Transcript) -> usize {
    let text = [transcript.text.as_str(), &transcript.stash].concat();
    let boundaries = boundaries(&normalise(&text));
    boundaries.last().map_or(0, |boundary| boundary.end_column)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::{Span, Timestamp};

    fn translation(utterance: Utterance, text: &str, span: (u64, u64), sent: u64) -> Transcript {
        Transcript {
            utterance,
            text: text.to_owned(),
            span: Span::from_millis(span.0, span.1),
            audio_end: Timestamp::from_millis(sent),
            is_translation: true,
            ..Transcript::default()
        }
    }

    #[test]
    fn lines_end_with_what_was_said_of_their_words() {
        let mut translations = Translations::default();
        let mut end = |transcript: Transcript| {
            let placed = translations.place(&transcript)?;
            Some(placed.span.end.millis())
        };
        // Two seconds are assumed, and nothing is before the start or after the end.
        assert_eq!(end(translation(0, "un", (1000, 2500), 2500)), Some(1000));
        assert_eq!(end(translation(0, "un d", (1000, 3000), 4000)), Some(2000));
        assert_eq!(end(translation(0, "un de", (1000, 3000), 9000)), Some(3000));
        let spoken = Transcript {
            is_translation: false,
            ..translation(1, "one", (1000, 2500), 2500)
        };
        assert_eq!(end(spoken), None);
    }

    #[test]
    fn the_delay_is_learnt_from_finals() {
        let mut translations = Translations::default();
        // A tenth of a second for each column, which comes 3 s later.
        for columns in 1..10 {
            let sent = 4000 + 100 * columns;
            let text = "x".repeat(columns as usize);
            translations.place(&translation(0, &text, (1000, 2000), sent));
        }
        translations.learn(&translation(0, "xxxxxxxxxx", (1000, 2000), 5000));
        let placed = translations.place(&translation(1, "x", (5000, 8500), 8500));
        assert_eq!(placed.unwrap().span.end.millis(), 5500);
        for utterance in 2..100 {
            translations.place(&translation(utterance, "x", (5000, 8500), 8500));
        }
        assert!(translations.open.len() <= MAX_OPEN);
    }
}
