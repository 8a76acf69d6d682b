// SPDX-License-Identifier: MPL-2.0
//! The text track of a pad: what was put on it so far, and where the next piece goes.
//!
//! Used by the modes of the captioner. Invariant: pieces of text and gaps follow each other without
//! overlap, hole or step back, and each has a duration. Overlays, encoders and muxers rely on that.
//! Only where text has no deadline, late text keeps its time, but never overlaps earlier text.

use std::time::Duration;

use super::layout::Cue;
use crate::timeline::{Span, Timestamp};

/// The shortest duration there is.
const INSTANT: Duration = Duration::from_nanos(1);

/// One thing to put on the pad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Text {
        text: String,
        start: Timestamp,
        duration: Duration,
        /// When it should have started: earlier than `start` if it came too late. `None` if it
        /// continues the piece before, which has the same text.
        intended: Option<Timestamp>,
    },
    /// Nothing is shown.
    Gap {
        start: Timestamp,
        duration: Duration,
    },
    /// The text that follows is in this language, a code such as `en`.
    Language(String),
    /// The text that follows is said by another speaker, given the service's number.
    Speaker(u32),
    /// The text of an utterance is complete.
    UtteranceEnd,
}

/// Where the track has got to.
#[derive(Debug, Default)]
pub(super) struct Track {
    /// `None` until the start of the audio is known.
    position: Option<Timestamp>,
    /// End of the latest text.
    text_end: Timestamp,
    held: Option<Held>,
    keeps_late_text: bool,
}

/// The line that stays on screen until another one takes its place.
#[derive(Debug)]
struct Held {
    text: String,
    /// When it is taken away if none does.
    until: Timestamp,
}

impl Track {
    /// The track starts here, unless it has started already.
    pub fn begin(&mut self, time: Timestamp) {
        self.position.get_or_insert(time);
    }

    /// Everything before this is on the track; `None` if that has not started.
    pub fn position(&self) -> Option<Timestamp> {
        self.position
    }

    /// Whether cues that are late keep their time instead of being moved to where the track is.
    pub fn keep_late_text(&mut self, keep: bool) {
        self.keeps_late_text = keep;
    }

    /// Where text that should start at `time` would start.
    pub fn next_start(&self, time: Timestamp) -> Timestamp {
        self.position.map_or(time, |position| position.max(time))
    }

    /// Shows a cue from its start to its end, or for `min_showing` if that is longer.
    ///
    /// A cue that cannot start in time starts as soon as the track allows. Delays must not add up
    /// from cue to cue, so it still ends when it would have, unless that leaves it less time than
    /// it took to say, or less than `min_showing` if that is shorter.
    pub fn text(&mut self, cue: Cue, min_showing: Duration, out: &mut Vec<Piece>) {
        let Cue { text, span } = cue;
        let Span { start, end } = span;
        self.advance(start, out);
        self.held = None;
        let shown_from = if self.keeps_late_text {
            self.text_end.max(start)
        } else {
            self.next_start(start)
        };
        let length = span.length().min(min_showing).max(INSTANT);
        let end = end.max(start + min_showing).max(shown_from + length);
        self.push(text, shown_from, end, Some(start), out);
    }

    /// Shows lines one after the other from `start`, or where the track has got to, until `end`,
    /// for equal times. The one at the end stays on screen until something else is shown, or until
    /// it has been there for `max_showing`.
    ///
    /// There must be time for them: `end` is after [`Self::next_start`] of `start`.
    pub fn lines(
        &mut self,
        lines: Vec<String>,
        start: Timestamp,
        end: Timestamp,
        max_showing: Duration,
        out: &mut Vec<Piece>,
    ) {
        let Some(current) = lines.last() else {
            return;
        };
        self.advance(start, out);
        let first_start = self.next_start(start);
        let count = u32::try_from(lines.len()).unwrap_or(u32::MAX);
        let share = (end.since(first_start) / count).max(INSTANT); // there is a line
        if self.held.as_ref().is_none_or(|held| held.text != *current) {
            self.held = Some(Held {
                text: current.clone(),
                until: first_start + max_showing,
            });
        }
        let ends = (1..count).map(|n| first_start + share.saturating_mul(n));
        for (text, end) in lines.into_iter().zip(ends.chain([end])) {
            let start = self.next_start(first_start);
            self.push(text, start, end, Some(start), out);
        }
    }

    /// Takes away the line that would stay on screen.
    pub fn clear(&mut self) {
        self.held = None;
    }

    /// Nothing more is to be shown before `time`.
    pub fn advance(&mut self, time: Timestamp, out: &mut Vec<Piece>) {
        let mut position = *self.position.get_or_insert(time);
        if let Some(held) = &self.held
            && held.until.min(time) > position
        {
            let (text, end) = (held.text.clone(), held.until.min(time));
            self.push(text, position, end, None, out);
            position = end;
        }
        if time > position {
            self.held = None;
            self.position = Some(time);
            out.push(Piece::Gap {
                start: position,
                duration: time.since(position),
            });
        }
    }

    fn push(
        &mut self,
        text: String,
        start: Timestamp,
        end: Timestamp,
        intended: Option<Timestamp>,
        out: &mut Vec<Piece>,
    ) {
        // At the very end of the range of timestamps there may be no time left.
        let duration = end.since(start).max(INSTANT);
        self.text_end = start + duration;
        self.position = self.position.max(Some(self.text_end));
        out.push(Piece::Text {
            text,
            start,
            duration,
            intended,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A timestamp; these tests count in nanoseconds.
    const AT: fn(u64) -> Timestamp = Timestamp::from_nanos;
    const NS: fn(u64) -> Duration = Duration::from_nanos;

    fn piece(start: u64, end: u64, intended: Option<u64>) -> Piece {
        Piece::Text {
            text: "x".into(),
            start: AT(start),
            duration: NS(end - start),
            intended: intended.map(AT),
        }
    }

    fn text(start: u64, end: u64) -> Piece {
        piece(start, end, Some(start))
    }

    fn again(start: u64, end: u64) -> Piece {
        piece(start, end, None)
    }

    fn gap(start: u64, end: u64) -> Piece {
        Piece::Gap {
            start: AT(start),
            duration: NS(end - start),
        }
    }

    fn track() -> (Track, Vec<Piece>) {
        let mut track = Track::default();
        track.begin(AT(100));
        track.begin(AT(7));
        (track, Vec::new())
    }

    fn cue(start: u64, end: u64) -> Cue {
        Cue {
            text: "x".into(),
            span: Span::new(AT(start), AT(end)),
        }
    }

    fn lines<const COUNT: usize>(lines: [&str; COUNT]) -> Vec<String> {
        lines.map(str::to_owned).into()
    }

    #[test]
    fn text_and_gaps_cover_the_time() {
        let (mut track, mut out) = track();
        track.text(cue(150, 200), NS(10), &mut out);
        track.text(cue(200, 230), NS(10), &mut out);
        track.advance(AT(300), &mut out);
        track.advance(AT(250), &mut out);
        assert_eq!(
            out,
            [gap(100, 150), text(150, 200), text(200, 230), gap(230, 300)]
        );
    }

    #[test]
    fn late_text_is_shown_late_and_still_long_enough() {
        let (mut track, mut out) = track();
        track.advance(AT(500), &mut out);
        out.clear();
        track.text(cue(100, 450), NS(30), &mut out);
        track.text(cue(450, 460), NS(30), &mut out);
        assert_eq!(
            out,
            [piece(500, 530, Some(100)), piece(530, 540, Some(450))],
            "the short one stays short"
        );
    }

    #[test]
    fn lag_does_not_add_up() {
        let (mut track, mut out) = track();
        track.text(cue(100, 200), NS(30), &mut out);
        for n in 0..100 {
            track.text(cue(110 + 10 * n, 120 + 10 * n), NS(30), &mut out);
        }
        let Some(Piece::Text { start, .. }) = out.last() else {
            panic!()
        };
        assert_eq!(*start, AT(110 + 990 + 90));
    }

    #[test]
    fn the_showing_time_gives_way_to_the_next_cue() {
        let (mut track, mut out) = track();
        for n in 0..40 {
            track.text(cue(100 + 80 * n, 130 + 80 * n), NS(100), &mut out);
        }
        let expected = (1..40).map(|n| piece(120 + 80 * n, 200 + 80 * n, Some(100 + 80 * n)));
        assert_eq!(out[0], text(100, 200));
        assert_eq!(out[1..], expected.collect::<Vec<_>>());
    }

    #[test]
    fn late_text_can_keep_its_time() {
        let (mut track, mut out) = track();
        track.text(cue(100, 200), NS(0), &mut out);
        track.advance(AT(1000), &mut out);
        out.clear();
        track.keep_late_text(true);
        track.text(cue(150, 300), NS(0), &mut out);
        track.text(cue(500, 600), NS(0), &mut out);
        track.advance(AT(1100), &mut out);
        assert_eq!(
            out,
            [piece(200, 300, Some(150)), text(500, 600), gap(1000, 1100)],
            "but texts do not overlap"
        );
    }

    #[test]
    fn lines_fill_the_time_that_passed() {
        let (mut track, mut out) = track();
        track.lines(lines(["x"]), AT(120), AT(150), NS(1000), &mut out);
        track.lines(lines(["x"]), AT(120), AT(180), NS(1000), &mut out);
        assert_eq!(out, [gap(100, 120), text(120, 150), text(150, 180)]);
    }

    #[test]
    fn the_current_line_stays_until_there_is_another() {
        let (mut track, mut out) = track();
        track.lines(lines(["x"]), AT(120), AT(150), NS(1000), &mut out);
        out.clear();
        track.advance(AT(200), &mut out);
        track.advance(AT(300), &mut out);
        track.lines(lines(["x"]), AT(120), AT(320), NS(1000), &mut out);
        track.lines(lines(["x"]), AT(400), AT(410), NS(1000), &mut out);
        let shown = [
            again(150, 200),
            again(200, 300),
            text(300, 320),
            again(320, 400),
            text(400, 410),
        ];
        assert_eq!(out, shown);
        out.clear();
        track.advance(AT(1500), &mut out);
        track.advance(AT(1600), &mut out);
        assert_eq!(
            out,
            [again(410, 1120), gap(1120, 1500), gap(1500, 1600)],
            "not for longer than a line may be shown"
        );
    }

    #[test]
    fn a_line_that_is_taken_away_or_followed_by_a_cue_does_not_stay() {
        let (mut track, mut out) = track();
        track.lines(lines(["x"]), AT(100), AT(150), NS(1000), &mut out);
        track.clear();
        track.advance(AT(200), &mut out);
        track.lines(lines(["x"]), AT(200), AT(210), NS(1000), &mut out);
        track.text(cue(250, 300), NS(0), &mut out);
        track.advance(AT(400), &mut out);
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
        track.lines(lines(["x", "x", "x"]), AT(100), AT(110), NS(1000), &mut out);
        track.lines(lines(["x", "x"]), AT(100), AT(150), NS(1000), &mut out);
        let times = [(100, 103), (103, 106), (106, 110), (110, 130), (130, 150)];
        assert_eq!(out, times.map(|(start, end)| text(start, end)));
    }

    #[test]
    fn no_text_is_without_duration() {
        let (mut track, mut out) = track();
        track.text(cue(100, 100), NS(0), &mut out);
        track.lines(lines(["x", "x"]), AT(100), AT(101), NS(0), &mut out);
        track.text(cue(u64::MAX, 5), NS(10), &mut out);
        for piece in out {
            let (Piece::Text { duration, .. } | Piece::Gap { duration, .. }) = piece else {
                panic!("{piece:?}");
            };
            assert!(!duration.is_zero());
        }
    }
}
