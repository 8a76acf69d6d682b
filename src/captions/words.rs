// SPDX-License-Identifier: MPL-2.0

//! What the words of a growing text are, and when each of them was spoken.
//!
//! Either the service gives the times of words, or what is known is how much of
//! the text was there when so much of the audio had been sent. Both make a
//! [`Curve`], on which times are interpolated.

use unicode_linebreak::{BreakClass, break_property};

use super::text::{Break, gaps, is_blank, is_unspaced};
use crate::transcript::Word;

/// How long after a word is spoken it appears in a hypothesis, in nanoseconds
/// of audio sent.
pub const SERVICE_DELAY: u64 = 300_000_000;

/// Shortest time for which a word is shown, in nanoseconds.
pub const SHORTEST: u64 = 40_000_000;

/// Points of a curve, at most.
const MAX_POINTS: usize = 256;

/// Kinds of writing, ordered by which one decides for mixed segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Script {
    /// Digits, pictographs and the like, which go with what is around them.
    Neutral,
    /// No spaces between words, and no way to tell where they end: Thai, Lao,
    /// Khmer, Burmese.
    Complex,
    /// No spaces between words: ideographs and kana.
    Ideographic,
    /// Spaces between words.
    Spaced,
}

/// The smallest part of a text that is shown alone: a word, or in scripts
/// without spaces a grapheme cluster or a few. It is never blank.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    /// Where it starts, in bytes.
    pub start: usize,
    /// Where it ends, in bytes, without white space.
    pub end: usize,
    /// Where it starts, in display columns.
    pub from: usize,
    /// Where it ends, in display columns.
    pub to: usize,
    /// Its letters and digits only, in lower case: what makes it the same word.
    pub key: String,
    pub script: Script,
    /// Whether it goes on with the run of text that the segment before is in,
    /// so that both are shown as one.
    pub joins: bool,
}

impl Segment {
    fn extend(&mut self, more: Self) {
        self.end = more.end;
        self.to = more.to;
        self.key.push_str(&more.key);
        self.script = self.script.max(more.script);
    }

    /// Whether it is part of a run of text without spaces between the words.
    pub fn in_run(&self) -> bool {
        matches!(self.script, Script::Ideographic | Script::Complex)
    }
}

/// Divides `text`, which is normalised. Nothing but white space is between the
/// segments; what is blank belongs to the segment before it, or after it at the
/// start. A blank text has none.
pub(super) fn segments(text: &str) -> Vec<Segment> {
    let gaps = gaps(text);
    let mut segments: Vec<Segment> = Vec::new();
    let mut before = "";
    for (gap, next) in gaps.iter().zip(gaps.iter().skip(1)) {
        // Starts and ends of gaps are between characters, in order.
        let cluster = text.get(gap.start..next.end).unwrap_or_default();
        let spaced = text
            .get(gap.end..gap.start)
            .is_some_and(|space| space.contains(' '));
        let new = spaced || divides(before, gap.kind, cluster);
        before = cluster;
        let mut segment = Segment {
            start: gap.start,
            end: next.end,
            from: gap.column,
            to: next.end_column,
            key: key(cluster),
            script: script(cluster),
            joins: false,
        };
        if new {
            attach_blank(&mut segments);
        }
        match segments.last_mut() {
            Some(last) if !new || last.key.is_empty() => last.extend(segment),
            last => {
                segment.joins = !spaced
                    && gap.kind > Break::Clause
                    && segment.script < Script::Spaced
                    && last.is_some_and(|last| last.script < Script::Spaced);
                segments.push(segment);
            }
        }
    }
    attach_blank(&mut segments);
    segments.retain(|segment| !segment.key.is_empty());
    segments
}

/// Makes the last segment, if it is blank, part of the one before.
fn attach_blank(segments: &mut Vec<Segment>) {
    if segments.len() > 1
        && let Some(blank) = segments.pop_if(|last| last.key.is_empty())
        && let Some(last) = segments.last_mut()
    {
        last.extend(blank);
    }
}

/// Whether a segment ends between the clusters `before` and `after`, with no
/// space there and a break of this kind.
fn divides(before: &str, kind: Break, after: &str) -> bool {
    let (Some(last), Some(next)) = (before.chars().next(), after.chars().next()) else {
        return true;
    };
    if kind <= Break::Clause {
        return true;
    }
    if kind < Break::Cluster && (is_unspaced(last) || is_unspaced(next)) {
        return true;
    }
    // There are no rules for breaks next to these scripts, so what is one
    // syllable for sure is kept together.
    (is_complex(last) || is_complex(next))
        && last.is_alphanumeric()
        && next.is_alphanumeric()
        // Vowels written before their consonants, and signs written after them.
        && !matches!(last, '\u{e40}'..='\u{e44}' | '\u{ec0}'..='\u{ec4}')
        && !matches!(next, '\u{e2f}' | '\u{e30}' | '\u{e32}' | '\u{e45}' | '\u{e46}')
        && !matches!(next, '\u{eaf}' | '\u{eb0}' | '\u{eb2}' | '\u{ebd}' | '\u{ec6}')
        && !matches!(next, '\u{102b}' | '\u{102c}' | '\u{1038}')
        // Subjoined consonants of Khmer and Burmese, final ones of Burmese.
        && !before.ends_with(['\u{17d2}', '\u{1039}'])
        && !after.contains('\u{103a}')
}

fn is_complex(c: char) -> bool {
    break_property(u32::from(c)) == BreakClass::ComplexContext
}

fn script(cluster: &str) -> Script {
    let of = |c: char| match c {
        _ if is_complex(c) => Script::Complex,
        _ if is_unspaced(c) => Script::Ideographic,
        _ if c.is_alphabetic() => Script::Spaced,
        _ => Script::Neutral,
    };
    cluster.chars().map(of).max().unwrap_or(Script::Neutral)
}

/// What of `text` a viewer reads, in lower case and with full-width forms as
/// plain ones.
fn key(text: &str) -> String {
    let plain = |c: char| match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        _ => c,
    };
    text.chars()
        .map(plain)
        .filter(|c| !is_blank(c.encode_utf8(&mut [0; 4])))
        .flat_map(char::to_lowercase)
        .collect()
}

/// How the text of an utterance grew: display columns, and when they had been
/// spoken, in nanoseconds of stream time; both non-decreasing.
#[derive(Debug)]
pub(super) struct Curve {
    /// No column at the start of the utterance, and what was seen.
    points: Vec<(usize, u64)>,
    /// Columns of the final text.
    last_column: Option<usize>,
}

impl Curve {
    pub fn new(start: u64) -> Self {
        Self {
            points: vec![(0, start)],
            last_column: None,
        }
    }

    /// The curve of `text`, which is normalised, of whose words the service
    /// gave the times. `None` if they are not those of the text.
    ///
    /// Punctuation belongs to the word before it.
    pub fn exact(text: &str, words: &[Word], start: u64) -> Option<Self> {
        let gaps = gaps(text);
        let mut curve = Self::new(start);
        let mut before: Option<&Word> = None;
        let mut rest = 0;
        for word in words {
            let spoken = word.text.trim();
            let found = text.get(rest..).and_then(|text| text.find(spoken));
            let Some(at) = found.filter(|_| !spoken.is_empty()).map(|at| rest + at) else {
                continue;
            };
            let Ok(gap) = gaps.binary_search_by_key(&at, |gap| gap.start) else {
                continue;
            };
            let gap = gaps.get(gap)?;
            if let Some(before) = before.replace(word) {
                curve.point(gap.end_column, before.end);
            }
            curve.point(gap.column, word.start);
            rest = at + spoken.len();
            if let Ok(end) = gaps.binary_search_by_key(&rest, |gap| gap.end) {
                curve.point(gaps.get(end)?.end_column, word.end);
            }
        }
        let columns = gaps.last().map_or(0, |gap| gap.end_column);
        curve.point(columns, before?.end);
        Some(curve)
    }

    /// Adds a point, no earlier than the last one.
    fn point(&mut self, column: usize, time: u64) {
        let last = self.points.last().map_or(0, |point| point.1);
        self.points.push((column, time.max(last)));
    }

    /// The text is final and ends with the last point.
    pub fn close(&mut self) {
        self.last_column = self.points.last().map(|point| point.0);
    }

    /// `columns` of text were there when the newest audio sent was of the time
    /// `heard`.
    ///
    /// If the text got shorter, what was seen before counts as part of it.
    pub fn seen(&mut self, columns: usize, heard: u64) {
        if columns == 0 {
            return;
        }
        let last = self.points.last().map_or(0, |point| point.1);
        let time = heard.saturating_sub(SERVICE_DELAY).max(last);
        for point in &mut self.points {
            point.0 = point.0.min(columns);
        }
        // Of a pause only the begin and the end count.
        if let [.., before, last] = self.points.as_mut_slice()
            && (before.0, last.0) == (columns, columns)
        {
            last.1 = time;
            return;
        }
        self.points.push((columns, time));
        if self.points.len() > MAX_POINTS {
            self.thin();
        }
    }

    /// Removes the point between the two others that are closest in time.
    fn thin(&mut self) {
        let around = |points: &[(usize, u64)]| match points {
            [before, _, after] => after.1.saturating_sub(before.1),
            _ => u64::MAX,
        };
        let spans = self.points.windows(3).map(around).enumerate();
        if let Some((before, _)) = spans.min_by_key(|(_, span)| *span) {
            self.points.remove(before + 1); // the middle of the window
        }
    }

    /// The final text has so many `columns`, and its last word ends at `end`.
    pub fn finish(&mut self, columns: usize, end: u64) {
        let end = end.max(self.start());
        self.points
            .retain(|point| point.0 <= columns && point.1 <= end);
        self.points.push((columns, end));
        self.last_column = Some(columns);
    }

    /// Times of the words in the ranges of columns `spans`, none of them before
    /// `floor`, none shorter than [`SHORTEST`], none overlapping.
    ///
    /// Where there is no time for that they take some of the time after, and of
    /// the time before if that would exceed the end of the utterance. If even
    /// that is too short, they do exceed it.
    pub fn times(&self, spans: &[(usize, usize)], floor: u64) -> Vec<(u64, u64)> {
        let mut times = Vec::with_capacity(spans.len());
        let floor = floor.max(self.start());
        let mut least = floor;
        let last = self.points.last().map_or(floor, |point| point.1);
        for &(from, to) in spans {
            let start = self.time_after(from).max(least);
            let end = match self.last_column {
                Some(column) if to >= column => last,
                _ => self.time_before(to),
            };
            let end = end.max(start.saturating_add(SHORTEST));
            times.push((start, end));
            least = end;
        }
        let needed = SHORTEST.saturating_mul(spans.len() as u64);
        let mut latest = match self.last_column {
            Some(_) => last.max(floor.saturating_add(needed)),
            None => u64::MAX,
        };
        for (start, end) in times.iter_mut().rev() {
            *end = latest.min(*end);
            // At the very end of time there may be none left.
            *start = end.saturating_sub(SHORTEST).max(floor).min(*start);
            latest = *start;
        }
        times
    }

    /// When the text after `column` begins to be spoken: after a pause, if
    /// there is one.
    pub fn time_after(&self, column: usize) -> u64 {
        let next = self.points.partition_point(|point| point.0 <= column);
        self.interpolate(next, column)
    }

    /// When the text before `column` has been spoken: before a pause, if there
    /// is one.
    fn time_before(&self, column: usize) -> u64 {
        let next = self.points.partition_point(|point| point.0 < column);
        self.interpolate(next, column)
    }

    /// The time of `column` before the point with the index `next`.
    fn interpolate(&self, next: usize, column: usize) -> u64 {
        let before = next.checked_sub(1).and_then(|index| self.points.get(index));
        match (before, self.points.get(next)) {
            (Some(before), Some(next)) => {
                let part = column.saturating_sub(before.0) as u128;
                let whole = next.0.saturating_sub(before.0).max(1) as u128;
                let time = u128::from(next.1.saturating_sub(before.1)) * part / whole;
                before
                    .1
                    .saturating_add(u64::try_from(time).unwrap_or(u64::MAX))
            }
            (Some(point), None) | (None, Some(point)) => point.1,
            (None, None) => 0,
        }
    }

    fn start(&self) -> u64 {
        self.points.first().map_or(0, |point| point.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn curve(start: u64, seen: &[(usize, u64)]) -> Curve {
        let mut curve = Curve::new(start * MS);
        for (columns, heard) in seen {
            curve.seen(*columns, heard * MS);
        }
        curve
    }

    fn times(curve: &Curve, spans: &[(usize, usize)], floor: u64) -> Vec<(u64, u64)> {
        let times = curve.times(spans, floor * MS);
        times.iter().map(|(s, e)| (s / MS, e / MS)).collect()
    }

    /// The words of `text`, with `|` between segments shown as one.
    fn divided(text: &str) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        for segment in segments(text) {
            let part = &text[segment.start..segment.end];
            match words.last_mut() {
                Some(word) if segment.joins => *word += &format!("|{part}"),
                _ => words.push(part.into()),
            }
        }
        words
    }

    #[test]
    fn divides_text() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            ("。", &[]),
            ("— !", &[]),
            ("Hello, world.", &["Hello,", "world."]),
            ("so — yes", &["so —", "yes"]),
            ("— so", &["— so"]),
            ("hello ,world", &["hello", ",world"]),
            ("well-known 3.14 don't", &["well-known", "3.14", "don't"]),
            ("10\u{a0}000 €", &["10\u{a0}000 €"]),
            ("안녕 하세요", &["안녕", "하세요"]),
            ("نعم، أنا هنا", &["نعم،", "أنا", "هنا"]),
            ("今天，天气", &["今|天，", "天|气"]),
            ("用GStreamer做", &["用", "GStreamer", "做"]),
            ("在2024年", &["在|2024|年"]),
            ("他说：“好。”然后", &["他|说：", "“好。”", "然|后"]),
            ("カード、きょう", &["カー|ド、", "きょ|う"]),
            ("ที่นี่ เกม", &["ที่|นี่", "เก|ม"]),
            ("ไทยGo", &["ไท|ย", "Go"]),
            ("ຂອບໃຈ", &["ຂ|ອ|ບ|ໃຈ"]),
            ("ខ្មែរ", &["ខ្មែ|រ"]),
            ("မြန်မာ", &["မြန်|မာ"]),
            ("မန္တလေး", &["မ|န္တ|လေး"]),
            (
                "👍 👨\u{200d}👩\u{200d}👧",
                &["👍", "👨\u{200d}👩\u{200d}👧"],
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(divided(text), *expected, "{text:?}");
        }
    }

    #[test]
    fn keys_are_what_is_read() {
        for (text, expected) in [
            ("Hello,", "hello"),
            ("ＡＢＣ１！", "abc1"),
            ("“好。”", "好"),
            ("…", ""),
        ] {
            assert_eq!(key(text), expected);
        }
    }

    #[test]
    fn columns_are_interpolated() {
        let curve = curve(1000, &[(10, 2300), (20, 2800)]);
        assert_eq!(
            times(&curve, &[(0, 4), (5, 10), (11, 20)], 0),
            [(1000, 1400), (1500, 2000), (2050, 2500)]
        );
        assert_eq!(times(&curve, &[(0, 4)], 1390), [(1390, 1430)]);
    }

    fn spoken(words: &[(&str, u64, u64)]) -> Vec<Word> {
        let word = |(text, start, end): &(&str, u64, u64)| Word {
            text: (*text).to_owned(),
            start: start * MS,
            end: end * MS,
        };
        words.iter().map(word).collect()
    }

    #[test]
    fn known_times_are_kept() {
        for (text, words, expected) in [
            (
                "So, yes. No!",
                &[("So", 100, 300), ("yes", 700, 1000), ("No", 2000, 2500)][..],
                &[(100, 300), (700, 1000), (2000, 2500)][..],
            ),
            (
                "欢迎，阿里云。",
                &[("欢迎", 100, 300), ("阿里云", 700, 1000)],
                &[(100, 200), (200, 300), (700, 800), (800, 900), (900, 1000)],
            ),
            // A word that is not in the text says nothing.
            (
                "one two three",
                &[("one", 100, 300), ("too", 400, 500), ("three", 600, 900)],
                &[(100, 300), (300, 300), (600, 900)],
            ),
            (
                "no no no",
                &[("no", 0, 100), ("no", 200, 300), ("no", 400, 500)],
                &[(0, 100), (200, 300), (400, 500)],
            ),
        ] {
            let mut curve = Curve::exact(text, &spoken(words), 0).unwrap();
            curve.close();
            let spans: Vec<_> = segments(text).iter().map(|s| (s.from, s.to)).collect();
            let times = times(&curve, &spans, 0);
            for (time, expected) in times.iter().zip(expected) {
                assert_eq!(time.0, expected.0, "{text}: {times:?}");
                assert!(time.1.abs_diff(expected.1) <= 40, "{text}: {times:?}");
            }
            assert_eq!(times.len(), expected.len());
        }
    }

    #[test]
    fn times_of_other_words_are_none() {
        assert!(Curve::exact("one", &[], 0).is_none());
        assert!(Curve::exact("one", &spoken(&[("two", 1, 2)]), 0).is_none());
        assert!(Curve::exact("", &spoken(&[("", 1, 2), (" ", 1, 2)]), 0).is_none());
    }

    #[test]
    fn times_that_go_back_do_no_harm() {
        let words = spoken(&[("one", 900, 300), ("two", 100, 200)]);
        let curve = Curve::exact("one two", &words, 500 * MS).unwrap();
        let times = times(&curve, &[(0, 3), (4, 7)], 0);
        assert!(
            times[0].0 <= times[0].1 && times[0].1 <= times[1].0,
            "{times:?}"
        );
    }

    #[test]
    fn a_pause_is_between_words() {
        let curve = curve(0, &[(5, 800), (5, 1300), (5, 2300), (11, 2900)]);
        assert_eq!(
            times(&curve, &[(0, 5), (5, 11)], 0),
            [(0, 500), (2000, 2600)]
        );
        assert_eq!(curve.points.len(), 4);
    }

    #[test]
    fn the_last_word_ends_with_the_utterance() {
        let mut curve = curve(0, &[(5, 800), (11, 1300), (30, 1400)]);
        curve.finish(11, 1700 * MS);
        assert_eq!(
            times(&curve, &[(0, 5), (6, 11)], 0),
            [(0, 500), (583, 1700)]
        );
    }

    #[test]
    fn text_that_got_shorter_was_heard_before() {
        let curve = curve(0, &[(40, 1300), (10, 1600), (20, 2300)]);
        assert_eq!(times(&curve, &[(0, 10), (10, 20)], 0)[1], (1300, 2000));
    }

    #[test]
    fn crowded_words_keep_their_order_and_length() {
        let spans = [(0, 1), (2, 3), (4, 5)];
        let early = curve(1000, &[(5, 1000)]);
        assert_eq!(
            times(&early, &spans, 0),
            [(1000, 1040), (1040, 1080), (1080, 1120)]
        );
        let mut short = curve(1000, &[]);
        short.finish(5, 1130 * MS);
        assert_eq!(
            times(&short, &spans, 0),
            [(1000, 1040), (1050, 1090), (1090, 1130)]
        );
        assert_eq!(
            times(&short, &spans, 2000),
            [(2000, 2040), (2040, 2080), (2080, 2120)]
        );
    }

    #[test]
    fn the_curve_is_bounded_and_takes_any_number() {
        let mut curve = Curve::new(0);
        for n in 0..10_000 {
            curve.seen(n, n as u64 * MS);
        }
        assert!(curve.points.len() <= MAX_POINTS);
        assert_eq!(curve.time_after(5000) / 10 / MS, 470);
        let mut curve = Curve::new(u64::MAX);
        curve.seen(usize::MAX, 0);
        curve.finish(0, 0);
        curve.times(&[(0, usize::MAX), (7, 3)], u64::MAX);
    }
}
