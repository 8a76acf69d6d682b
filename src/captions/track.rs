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
    /// The text before goes on.
    Again {
        text: String,
        start: u64,
        duration: u64,
    },
    /// Nothing is to be shown.
    Gap { start: u64, duration: u64 },
}

/// Where the track has got to.
#[derive(Debug, Default)]
pub struct Track {
    /// `None` until it is known where the audio begins.
    position: Option<u64>,
    held: Option<Held>,
}

/// The line that is shown until another one takes its place.
#[derive(Debug)]
struct Held {
    text: String,
    /// If none does.
    until: u64,
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

    /// Shows text from `start` to `end`. What is too early for the track comes as soon as the track
    /// allows, for at least `shortest` or as long as it was meant to be, whichever is less.
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
        self.held = None;
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

    /// Shows lines of text one after the other from where the track has got to until `end`, each
    /// for `shortest` at least. The last one stays on afterwards, while there is no other, until it
    /// has been there for `longest`; 0 is no limit. No lines at all take it away.
    pub fn interim(
        &mut self,
        lines: Vec<String>,
        start: u64,
        end: u64,
        shortest: u64,
        longest: u64,
        out: &mut Vec<Piece>,
    ) {
        let Some(last) = lines.last() else {
            self.held = None;
            return;
        };
        self.advance(start, out);
        let start = start.max(self.position.unwrap_or(start));
        let count = lines.len() as u64;
        let end = end.max(start.saturating_add(shortest.saturating_mul(count)));
        if self.held.as_ref().is_none_or(|held| held.text != *last) {
            let longest = Some(longest).filter(|longest| *longest > 0);
            self.held = Some(Held {
                text: last.clone(),
                until: start.saturating_add(longest.unwrap_or(u64::MAX)),
            });
        }
        // Nothing new can be shown for a time that is on the track already.
        let share = (end - start) / count;
        if share == 0 {
            return;
        }
        let starts = (0..count).map(|n| start + share * n);
        let ends = (1..count).map(|n| start + share * n).chain([end]);
        for ((text, start), end) in lines.into_iter().zip(starts).zip(ends) {
            out.push(Piece::Text {
                text,
                start,
                duration: end - start,
                meant: start,
            });
        }
        self.position = Some(end);
    }

    /// Nothing new is to be shown before `time` that is not on the track already.
    pub fn advance(&mut self, time: u64, out: &mut Vec<Piece>) {
        let mut position = *self.position.get_or_insert(time);
        if let Some(held) = &self.held
            && held.until.min(time) > position
        {
            let end = held.until.min(time);
            out.push(Piece::Again {
                text: held.text.clone(),
                start: position,
                duration: end - position,
            });
            position = end;
        }
        if time > position {
            self.held = None;
            out.push(Piece::Gap {
                start: position,
                duration: time - position,
            });
            position = time;
        }
        self.position = Some(position);
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

    fn again(start: u64, end: u64) -> Piece {
        Piece::Again {
            text: "x".into(),
            start,
            duration: end - start,
        }
    }

    #[test]
    fn interim_text_fills_the_time_that_passed() {
        let (mut track, mut out) = track();
        for end in [150, 150, 180] {
            track.interim(vec!["x".into()], 120, end, 0, 0, &mut out);
        }
        assert_eq!(out, [gap(100, 120), text(120, 150), text(150, 180)]);
    }

    #[test]
    fn the_last_line_stays_until_there_is_another() {
        let (mut track, mut out) = track();
        track.interim(vec!["x".into()], 120, 150, 0, 1000, &mut out);
        out.clear();
        track.advance(200, &mut out);
        track.advance(300, &mut out);
        track.interim(vec!["x".into()], 120, 310, 20, 1000, &mut out);
        track.interim(vec!["x".into()], 400, 410, 0, 1000, &mut out);
        let lines = [
            again(150, 200),
            again(200, 300),
            text(300, 320),
            again(320, 400),
            text(400, 410),
        ];
        assert_eq!(out, lines);
        out.clear();
        track.advance(1500, &mut out);
        track.advance(1600, &mut out);
        assert_eq!(
            out,
            [again(410, 1120), gap(1120, 1500), gap(1500, 1600)],
            "not for longer than a line may be shown"
        );
    }

    #[test]
    fn what_comes_too_late_to_be_shown_is_shown_next() {
        let (mut track, mut out) = track();
        track.interim(vec!["y".into()], 100, 150, 0, 0, &mut out);
        track.interim(vec!["x".into()], 100, 150, 0, 0, &mut out);
        out.clear();
        track.advance(200, &mut out);
        assert_eq!(out, [again(150, 200)]);
    }

    #[test]
    fn a_line_that_was_taken_back_or_is_over_does_not_stay() {
        let (mut track, mut out) = track();
        track.interim(vec!["x".into()], 100, 150, 0, 0, &mut out);
        track.interim(Vec::new(), 100, 150, 0, 0, &mut out);
        track.advance(200, &mut out);
        track.interim(vec!["x".into()], 200, 210, 0, 0, &mut out);
        track.text("x".into(), 250, 300, 0, &mut out);
        track.advance(400, &mut out);
        let expected = [
            text(100, 150),
            gap(150, 200),
            text(200, 210),
            again(210, 250),
            text(250, 300),
            gap(300, 400),
        ];
        assert_eq!(out, expected);
    }

    #[test]
    fn several_lines_share_the_time() {
        let (mut track, mut out) = track();
        track.interim(vec!["x".into(); 3], 100, 110, 0, 0, &mut out);
        track.interim(vec!["x".into(); 2], 100, 120, 20, 0, &mut out);
        let times = [(100, 103), (103, 106), (106, 110), (110, 130), (130, 150)];
        assert_eq!(out, times.map(|(start, end)| text(start, end)));
    }

    #[test]
    fn no_text_is_without_duration() {
        let (mut track, mut out) = track();
        track.text("x".into(), 100, 100, 0, &mut out);
        track.text("x".into(), u64::MAX, 5, 10, &mut out);
        assert!(matches!(out[0], Piece::Text { duration: 1, .. }));
    }
}
