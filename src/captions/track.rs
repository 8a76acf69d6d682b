// SPDX-License-Identifier: MPL-2.0
//! The text track: what was put on it so far, and where the next piece goes.
//!
//! Pieces of text and gaps follow each other without overlap and without going back, as overlays,
//! encoders and muxers need them. Times are stream times in nanoseconds.

/// One thing to put on the track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Text {
        text: String,
        start: u64,
        duration: u64,
        /// When it was meant to start: earlier, if it came too late.
        meant: u64,
    },
    /// Nothing is to be shown.
    Gap { start: u64, duration: u64 },
}

/// Where the track has got to.
#[derive(Debug, Default)]
pub struct Track {
    /// `None` until it is known where the audio begins.
    position: Option<u64>,
}

impl Track {
    /// The track begins here, unless it has begun already.
    pub fn begin(&mut self, time: u64) {
        self.position.get_or_insert(time);
    }

    /// Everything before this is on the track.
    pub fn position(&self) -> Option<u64> {
        self.position
    }

    /// Shows text from `start` to `end`. What is too early for the track comes as soon as the
    /// track allows, for at least `shortest` or as long as it was meant to be, whichever is less.
    pub fn text(
        &mut self,
        text: String,
        start: u64,
        end: u64,
        shortest: u64,
        out: &mut Vec<Piece>,
    ) {
        let (meant, length) = (start, end.saturating_sub(start).max(1));
        self.advance(start, out);
        let start = start.max(self.position.unwrap_or(start));
        let end = end.max(start.saturating_add(length.min(shortest.max(1))));
        self.position = Some(end);
        out.push(Piece::Text {
            text,
            start,
            duration: end - start,
            meant,
        });
    }

    /// Shows text that will be replaced soon, from where the track has got to.
    pub fn interim(&mut self, text: String, start: u64, end: u64, out: &mut Vec<Piece>) {
        // Nothing new can be shown for a time that is on the track already.
        let start = start.max(self.position.unwrap_or(start));
        if end > start {
            self.text(text, start, end, 0, out);
        }
    }

    /// Nothing is to be shown before `time` that is not on the track already.
    pub fn advance(&mut self, time: u64, out: &mut Vec<Piece>) {
        let position = *self.position.get_or_insert(time);
        if time > position {
            out.push(Piece::Gap {
                start: position,
                duration: time - position,
            });
            self.position = Some(time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(start: u64, end: u64) -> Piece {
        late_text(start, end, start)
    }

    fn late_text(start: u64, end: u64, meant: u64) -> Piece {
        Piece::Text {
            text: "x".into(),
            start,
            duration: end - start,
            meant,
        }
    }

    fn gap(start: u64, end: u64) -> Piece {
        Piece::Gap {
            start,
            duration: end - start,
        }
    }

    fn track() -> (Track, Vec<Piece>) {
        let mut track = Track::default();
        track.begin(100);
        track.begin(7);
        (track, Vec::new())
    }

    #[test]
    fn text_and_gaps_cover_the_time() {
        let (mut track, mut out) = track();
        track.text("x".into(), 150, 200, 10, &mut out);
        track.text("x".into(), 200, 230, 10, &mut out);
        track.advance(300, &mut out);
        track.advance(250, &mut out);
        assert_eq!(
            out,
            [gap(100, 150), text(150, 200), text(200, 230), gap(230, 300)]
        );
    }

    #[test]
    fn late_text_is_shown_late_and_still_long_enough() {
        let (mut track, mut out) = track();
        track.advance(500, &mut out);
        out.clear();
        track.text("x".into(), 100, 450, 30, &mut out);
        track.text("x".into(), 450, 460, 30, &mut out);
        assert_eq!(
            out,
            [late_text(500, 530, 100), late_text(530, 540, 450)],
            "the short one stays short"
        );
    }

    #[test]
    fn lag_does_not_add_up() {
        let (mut track, mut out) = track();
        track.text("x".into(), 100, 200, 30, &mut out);
        for n in 0..100 {
            track.text("x".into(), 110 + 10 * n, 120 + 10 * n, 30, &mut out);
        }
        let Some(Piece::Text { start, .. }) = out.last() else {
            panic!()
        };
        assert_eq!(*start, 110 + 990 + 90);
    }

    #[test]
    fn interim_text_fills_the_time_that_passed() {
        let (mut track, mut out) = track();
        track.interim("x".into(), 120, 150, &mut out);
        track.interim("x".into(), 120, 150, &mut out);
        track.interim("x".into(), 120, 180, &mut out);
        assert_eq!(out, [gap(100, 120), text(120, 150), text(150, 180)]);
    }

    #[test]
    fn no_text_is_without_duration() {
        let (mut track, mut out) = track();
        track.text("x".into(), 100, 100, 0, &mut out);
        track.text("x".into(), u64::MAX, 5, 10, &mut out);
        assert!(matches!(out[0], Piece::Text { duration: 1, .. }));
    }
}
