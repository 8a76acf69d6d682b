// SPDX-License-Identifier: MPL-2.0
//! Captions a session's transcripts, in all modes, and checks the captioner's guarantees.

use std::time::Duration;

use crate::captions::{Captioner, Layout, Mode, Piece};
use crate::timeline::Timestamp;
use crate::transcript::Transcript;

/// One captioner in each mode.
pub(super) struct Captions(Vec<Watched>);

/// A captioner, and the end of its output so far.
struct Watched {
    captioner: Captioner,
    end: Timestamp,
}

impl Captions {
    /// For a session whose audio starts at 0.
    pub fn new() -> Self {
        let layout = Layout {
            max_chars: Some(84),
            max_lines: 2,
            min_duration: Duration::from_secs(1),
            max_duration: Some(Duration::from_secs(7)),
        };
        let watched = |mode| {
            let mut captioner = Captioner::new(mode, layout);
            captioner.begin(Timestamp::default());
            Watched {
                captioner,
                end: Timestamp::default(),
            }
        };
        Self(
            [Mode::Final, Mode::Stable, Mode::Interim]
                .map(watched)
                .into(),
        )
    }

    pub fn interim(&mut self, transcript: &Transcript) {
        self.each(|captioner, out| captioner.interim(transcript, out));
        self.due(transcript.span.start);
    }

    pub fn finalise(&mut self, transcript: &Transcript) {
        self.each(|captioner, out| captioner.finalise(transcript, out));
        self.due(transcript.span.start);
    }

    pub fn watermark(&mut self, time: Timestamp) {
        self.each(|captioner, out| captioner.watermark(time, out));
    }

    pub fn end(&mut self) {
        self.each(Captioner::end);
    }

    /// The deadline is two seconds behind the speech.
    fn due(&mut self, said: Timestamp) {
        let due = said - Duration::from_secs(2);
        self.each(|captioner, out| captioner.due(due, out));
    }

    fn each(&mut self, act: impl Fn(&mut Captioner, &mut Vec<Piece>)) {
        for watched in &mut self.0 {
            let mut pieces = Vec::new();
            act(&mut watched.captioner, &mut pieces);
            pieces.iter().for_each(|piece| watched.check(piece));
        }
    }
}

impl Watched {
    fn check(&mut self, piece: &Piece) {
        let (start, duration) = match piece {
            Piece::Text {
                text,
                start,
                duration,
                ..
            } => {
                assert!(text.chars().any(|c| !c.is_whitespace()), "{piece:?}");
                (*start, *duration)
            }
            Piece::Gap { start, duration } => (*start, *duration),
            Piece::Language(_) | Piece::Speaker(_) | Piece::UtteranceEnd => return,
        };
        assert_eq!(start, self.end, "{piece:?}");
        assert!(!duration.is_zero(), "{piece:?}");
        self.end = start + duration;
    }
}
