// SPDX-License-Identifier: MPL-2.0

//! Cue layout of a finished utterance.
//!
//! A service gives one text per utterance, of any length, without the times of
//! its words. [`cues`] makes readable captions of it: it breaks the text where
//! a reader would pause, into cues of about equal width, and estimates when
//! each of them is spoken.

pub use super::text::is_blank;
use super::text::normalise;
use super::text::{Break, Gap, gaps};
use super::words::Curve;
use crate::transcript::Word;

/// Shortest cue that is made where there is time for it, in nanoseconds: the
/// resolution of SRT and WebVTT.
const RESOLUTION: u64 = 1_000_000;

/// Time per column of an utterance that has no duration, in nanoseconds.
const TIME_PER_COLUMN: u64 = 1_000_000;

/// Grapheme clusters per cue of a divided text, at most: bounds the search.
const MAX_CLUSTERS: usize = 1024;

// Costs of a cue and of the break after it. A sentence end that leaves cues of
// 30 % and 70 % of the text (an imbalance of 160) is better than a clause end in
// the middle; one that leaves 20 % and 80 % (360) is only better than a break
// between words.
const COST_CUE: u64 = 150;
const COST_CLAUSE: u64 = 250;
const COST_LINE: u64 = 500;
const COST_TIGHT: u64 = 700;
const COST_CLUSTER: u64 = 100_000;
const COST_BLANK: u64 = 1_000_000_000;
/// Cost of a cue that is empty or twice as wide as its share.
const COST_IMBALANCE: u64 = 500;
const MAX_COST_IMBALANCE: u64 = 2000;
/// Cost of a cue that lasts no time at all.
const COST_SHORT: u64 = 2000;

/// Limits of a cue. All times are in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Display columns per cue, of which wide characters take two; 0 = no limit.
    pub max_chars: usize,
    /// A shorter cue is shown for this long, in nanoseconds, if there is time.
    /// At most `max_duration` counts.
    pub min_duration: u64,
    /// A longer cue is divided, or taken away after this time, in nanoseconds;
    /// 0 = no limit.
    pub max_duration: u64,
}

/// A caption and when it is shown, in nanoseconds of stream time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cue {
    /// Normalised text, never blank.
    pub text: String,
    /// When the cue appears, in nanoseconds.
    pub start: u64,
    /// When the cue disappears, in nanoseconds; after `start`.
    pub end: u64,
}

/// Divides the utterance `text`, spoken from `start` to `end` (nanoseconds of
/// stream time), into cues.
///
/// Its display columns are taken to be spoken evenly; see [`timed_cues`].
///
/// The cues hold the whole text. Only punctuation that fits in no cue together
/// with a word is left out. The first cue starts at `start` and the last one
/// ends at `end`, or later if it needs `min_duration`; each one ends where the
/// next one starts, or `max_duration` after its start. Where there is not time
/// for `min_duration` for all, it is shared out.
///
/// If `end` is not after `start`, the utterance is given `min_duration`, or one
/// millisecond per column.
pub fn cues(text: &str, start: u64, end: u64, layout: &Layout) -> Vec<Cue> {
    timed_cues(text, &[], start, end, layout)
}

/// As [`cues`], of an utterance of whose `words` the times are known: each cue
/// begins with its first word, except where that would make one shorter than
/// `min_duration`.
pub fn timed_cues(text: &str, words: &[Word], start: u64, end: u64, layout: &Layout) -> Vec<Cue> {
    let text = normalise(text);
    if is_blank(&text) {
        return Vec::new();
    }
    let curve = Curve::exact(&text, words, start);
    let utterance = Utterance::new(&text, curve.as_ref(), start, end, layout);
    let parts = utterance.parts(&utterance.cue_ends());
    utterance.timed(&parts)
}

/// A place where a cue may end and the next one begin.
#[derive(Debug)]
struct BreakPoint {
    gap: Gap,
    /// When the text before has been spoken, or the text after begins to be.
    time: u64,
}

/// The text of a cue, and when the next one begins.
struct Part<'a> {
    text: &'a str,
    end: u64,
}

/// A normalised text and the limits of its cues.
struct Utterance<'a> {
    text: &'a str,
    /// Start and end of the text and all places in between.
    points: Vec<BreakPoint>,
    start: u64,
    end: u64,
    max_columns: usize,
    min_duration: u64,
    max_duration: u64,
}

impl<'a> Utterance<'a> {
    fn new(text: &'a str, curve: Option<&Curve>, start: u64, end: u64, layout: &Layout) -> Self {
        let max_columns = Some(layout.max_chars).filter(|columns| *columns > 0);
        let max_duration = Some(layout.max_duration).filter(|duration| *duration > 0);
        let max_duration = max_duration.unwrap_or(u64::MAX);
        let min_duration = layout.min_duration.min(max_duration);
        let gaps = gaps(text);
        let columns = gaps.last().map_or(0, |gap| gap.end_column);
        let end = if end > start {
            end
        } else if min_duration > 0 {
            start.saturating_add(min_duration)
        } else {
            start.saturating_add(TIME_PER_COLUMN.saturating_mul(columns as u64))
        };
        let evenly = |column: usize| scaled(end - start, column as u64, columns as u64);
        let timed = |gap: Gap| BreakPoint {
            time: match (gap.end, curve) {
                (0, _) => start,
                (_, Some(curve)) => curve.time_after(gap.column).clamp(start, end),
                (_, None) => start.saturating_add(evenly(gap.end_column)),
            },
            gap,
        };
        Self {
            text,
            points: gaps.into_iter().map(timed).collect(),
            start,
            end,
            max_columns: max_columns.unwrap_or(usize::MAX),
            min_duration,
            max_duration,
        }
    }

    /// The least number of cues that the limits may allow.
    fn least_cues(&self, columns: usize) -> usize {
        let duration = self.end.saturating_sub(self.start);
        let by_time = duration.div_ceil(self.max_duration);
        columns
            .div_ceil(self.max_columns)
            .max(usize::try_from(by_time).unwrap_or(usize::MAX))
    }

    /// Indices of the points where the cues end, such that the sum of the costs
    /// of all cues and of the breaks between them is least.
    fn cue_ends(&self) -> Vec<usize> {
        let last = self.points.len().saturating_sub(1);
        let columns = self.points.last().map_or(0, |point| point.gap.end_column);
        let count = self.least_cues(columns);
        if count <= 1 {
            return vec![last];
        }
        let share = (columns / count).max(1);
        // For each point the least cost of the text before it, and the point
        // where the last cue of that text begins.
        let mut best = vec![(0, 0)];
        for (index, close) in self.points.iter().enumerate().skip(1) {
            let (cost, from) = self.best_cue(index, close, share, &best);
            let after = if index == last { 0 } else { break_cost(close) };
            best.push((cost.saturating_add(after), from));
        }
        let begin_of = |end: &usize| best.get(*end).map(|(_, from)| *from);
        let mut ends: Vec<_> =
            std::iter::successors(Some(last), |end| begin_of(end).filter(|from| *from > 0))
                .collect();
        ends.reverse();
        ends
    }

    /// The cue that ends at `close`, the point at `index`, with the least cost
    /// of itself and the text before: that cost, and the point where it begins.
    fn best_cue(
        &self,
        index: usize,
        close: &BreakPoint,
        share: usize,
        best: &[(u64, usize)],
    ) -> (u64, usize) {
        let mut least = (u64::MAX, index.saturating_sub(1));
        for from in (index.saturating_sub(MAX_CLUSTERS)..index).rev() {
            let (Some(open), Some((before, _))) = (self.points.get(from), best.get(from)) else {
                break;
            };
            // What cannot be divided is a cue even if it is over the limits;
            // and what is over the limits only grows towards the start.
            if index - from > 1 && !self.fits(open, close) {
                break;
            }
            let cost = before.saturating_add(self.cue_cost(open, close, share));
            if cost < least.0 {
                least = (cost, from);
            }
        }
        least
    }

    /// Whether the text from `open` to `close` may be one cue. A word is not
    /// divided because it lasts too long.
    fn fits(&self, open: &BreakPoint, close: &BreakPoint) -> bool {
        // The count at `close` includes `close` itself, unless it is within a word.
        let counted = usize::from(close.gap.kind != Break::Cluster);
        let inner = close.gap.opportunities > open.gap.opportunities + counted;
        columns_between(open, close) <= self.max_columns
            && (!inner || close.time.saturating_sub(open.time) <= self.max_duration)
    }

    /// Cost of showing the text from `open` to `close` as one cue.
    fn cue_cost(&self, open: &BreakPoint, close: &BreakPoint, share: usize) -> u64 {
        if open.gap.readable == close.gap.readable {
            return COST_BLANK;
        }
        let off = columns_between(open, close).abs_diff(share) as u64;
        let share = share as u64;
        let imbalance = scaled(scaled(COST_IMBALANCE, off, share), off, share);
        let duration = close.time.saturating_sub(open.time);
        let short = match self.min_duration.saturating_sub(duration) {
            0 => 0,
            missing => scaled(COST_SHORT, missing, self.min_duration),
        };
        COST_CUE + imbalance.min(MAX_COST_IMBALANCE) + short
    }

    /// The texts between the points `ends`. The time of one that is blank goes
    /// to the one before, or after if it is the first.
    fn parts(&self, ends: &[usize]) -> Vec<Part<'a>> {
        let mut parts: Vec<Part<'a>> = Vec::with_capacity(ends.len());
        let mut open = self.points.first();
        for close in ends.iter().filter_map(|end| self.points.get(*end)) {
            let start = open.map_or(0, |open| open.gap.start);
            open = Some(close);
            // Starts and ends of gaps are between characters, in order.
            let text = self.text.get(start..close.gap.end).unwrap_or_default();
            let end = close.time;
            match parts.last_mut() {
                _ if !is_blank(text) => parts.push(Part { text, end }),
                Some(before) => before.end = end,
                None => {}
            }
        }
        parts
    }

    /// The cues of `parts`, with times that keep to the limits.
    fn timed(&self, parts: &[Part]) -> Vec<Cue> {
        let count = parts.len() as u64;
        // At the very end of time there is only room before.
        let start = self.start.min(u64::MAX - count);
        let end = self.end.max(start + count); // cannot overflow, see above
        let share = (end - start) / count.max(1); // `end` is not before `start`
        let least = self.min_duration.max(RESOLUTION).min(share);
        let mut ends: Vec<_> = parts.iter().map(|part| part.end).collect();
        lengthen(&mut ends, start, end, least);

        let mut cues = Vec::with_capacity(parts.len());
        let mut begin = start;
        for (part, next) in parts.iter().zip(&ends) {
            cues.push(Cue {
                text: part.text.to_owned(),
                start: begin,
                end: begin.saturating_add(self.max_duration).min(*next),
            });
            begin = *next;
        }
        if let Some(last) = cues.last_mut() {
            last.end = last.end.max(last.start.saturating_add(self.min_duration));
        }
        cues
    }
}

/// Moves `ends`, where cues that touch each other end, by as little as makes
/// every cue between `start` and `end` last at least `least`, for which there
/// must be time. The last cue ends at `end`.
fn lengthen(ends: &mut [u64], start: u64, end: u64, least: u64) {
    if let Some(last) = ends.last_mut() {
        *last = end;
    }
    let mut begin = start;
    for cue_end in ends.iter_mut() {
        *cue_end = begin.saturating_add(least).max(*cue_end);
        begin = *cue_end;
    }
    let mut latest = end;
    for cue_end in ends.iter_mut().rev() {
        *cue_end = latest.min(*cue_end);
        latest = cue_end.saturating_sub(least);
    }
}

fn break_cost(point: &BreakPoint) -> u64 {
    match point.gap.kind {
        Break::Sentence => 0,
        Break::Clause => COST_CLAUSE,
        Break::Line => COST_LINE,
        Break::Tight => COST_TIGHT,
        Break::Cluster => COST_CLUSTER,
    }
}

/// Columns of a cue from `open` to `close`, without the white space around it.
fn columns_between(open: &BreakPoint, close: &BreakPoint) -> usize {
    close.gap.end_column.saturating_sub(open.gap.column)
}

/// `value * part / whole`, at most `u64::MAX`; `whole` is not 0.
fn scaled(value: u64, part: u64, whole: u64) -> u64 {
    let scaled = u128::from(value) * u128::from(part) / u128::from(whole.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::text::width;
    use unicode_segmentation::UnicodeSegmentation;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn cues_begin_with_their_first_word_where_its_time_is_known() {
        let word = |text: &str, start: u64, end: u64| Word {
            text: text.into(),
            start: start * SECOND / 10,
            end: end * SECOND / 10,
        };
        // Slow at first, then fast: evenly spoken the second cue would begin in the middle.
        let words = [
            word("Slowly", 10, 30),
            word("spoken", 30, 55),
            word("Then", 70, 72),
            word("fast", 72, 75),
        ];
        let layout = Layout {
            max_chars: 15,
            ..Layout::default()
        };
        let text = "Slowly spoken. Then fast.";
        let cues = timed_cues(text, &words, SECOND, 75 * SECOND / 10, &layout);
        let cues: Vec<_> = cues
            .iter()
            .map(|cue| (cue.text.as_str(), cue.start, cue.end))
            .collect();
        let (first, second, end) = (SECOND, 7 * SECOND, 75 * SECOND / 10);
        assert_eq!(
            cues,
            [
                ("Slowly spoken.", first, second),
                ("Then fast.", second, end)
            ]
        );
    }

    fn layout(max_chars: usize, min_seconds: u64, max_seconds: u64) -> Layout {
        Layout {
            max_chars,
            min_duration: min_seconds * SECOND,
            max_duration: max_seconds * SECOND,
        }
    }

    /// Texts of the cues of `text`, spoken in ten seconds.
    fn texts(text: &str, max_chars: usize) -> Vec<String> {
        cues(text, 0, 10 * SECOND, &layout(max_chars, 0, 0))
            .into_iter()
            .map(|cue| cue.text)
            .collect()
    }

    /// Starts and ends of `cues`, in milliseconds.
    fn times(cues: &[Cue]) -> Vec<(u64, u64)> {
        cues.iter()
            .map(|cue| (cue.start / 1_000_000, cue.end / 1_000_000))
            .collect()
    }

    fn clusters(text: &str) -> Vec<&str> {
        let visible = |cluster: &&str| !cluster.trim().is_empty();
        text.graphemes(true).filter(visible).collect()
    }

    #[test]
    fn divides_text() {
        let cases: &[(&str, usize, &[&str])] = &[
            ("", 20, &[]),
            (" \n\0", 20, &[]),
            ("。", 20, &[]),
            ("Hi.", 20, &["Hi."]),
            (" One.  Two.\nThree. ", 20, &["One. Two. Three."]),
            ("One two three.", 0, &["One two three."]),
            ("One two three.", usize::MAX, &["One two three."]),
            // Sentences, then clauses, then words.
            (
                "It works on my machine. Ship it today then.",
                30,
                &["It works on my machine.", "Ship it today then."],
            ),
            (
                "When it rains, the match will be moved",
                30,
                &["When it rains,", "the match will be moved"],
            ),
            (
                "We met Dr. Smith in the U.S. at 3.14 pm",
                25,
                &["We met Dr. Smith in", "the U.S. at 3.14 pm"],
            ),
            (
                "He said \"never again!\" Then he did it again.",
                30,
                &["He said \"never again!\"", "Then he did it again."],
            ),
            // No short word alone in the last cue.
            (
                "these words are all of one length okay",
                35,
                &["these words are all", "of one length okay"],
            ),
            // Words longer than a cue.
            ("Donaudampfschiff", 6, &["Donaud", "ampfs", "chiff"]),
            ("a Donaudampfschiff on", 12, &["a Donaudamp", "fschiff on"]),
            ("abc", 1, &["a", "b", "c"]),
            // A dash belongs to the word before it.
            ("well — that was it", 6, &["well —", "that", "was it"]),
            // Chinese.
            (
                "今天天气很好。我们去公园散步吧。",
                20,
                &["今天天气很好。", "我们去公园散步吧。"],
            ),
            (
                "他说：“今天不去。”然后他就走了，没有回来。",
                20,
                &["他说：“今天不去。”", "然后他就走了，", "没有回来。"],
            ),
            (
                "今天我们用GStreamer做字幕，it works。",
                30,
                &["今天我们用GStreamer做字幕，", "it works。"],
            ),
            ("你好世界", 1, &["你", "好", "世", "界"]),
            ("你好世界", 3, &["你", "好", "世", "界"]),
            ("你好世界", 5, &["你好", "世界"]),
            ("你好。", 1, &["你", "好"]),
            // Japanese.
            (
                "「はい、そうです。」と彼は言いました。",
                24,
                &["「はい、そうです。」", "と彼は言いました。"],
            ),
            ("シャツをきょう", 8, &["シャツを", "きょう"]),
            // Thai.
            ("สวัสดีครับ วันนี้อากาศดีมาก", 16, &["สวัสดีครับ", "วันนี้อากาศดีมาก"]),
            // Arabic.
            (
                "مرحبا، كيف حالك اليوم؟ أنا بخير، شكرا لك.",
                30,
                &["مرحبا، كيف حالك اليوم؟", "أنا بخير، شكرا لك."],
            ),
            // Korean.
            (
                "안녕하세요 여러분 반갑습니다",
                18,
                &["안녕하세요 여러분", "반갑습니다"],
            ),
            // Emoji.
            (
                "👩\u{200d}💻👨\u{200d}👩\u{200d}👧🇨🇳🇩🇪👍🏽",
                4,
                &["👩\u{200d}💻👨\u{200d}👩\u{200d}👧", "🇨🇳🇩🇪", "👍🏽"],
            ),
            ("👍🏽👍🏽", 1, &["👍🏽", "👍🏽"]),
        ];
        for (text, max_chars, expected) in cases {
            assert_eq!(texts(text, *max_chars), *expected, "{text:?}");
        }
    }

    #[test]
    fn keeps_sentences_apart() {
        let sentence = "This sentence of many words is just sixty columns in length.";
        assert_eq!(width(sentence), 60);
        for count in [2, 3, 7] {
            let text = vec![sentence; count].join(" ");
            assert_eq!(texts(&text, 84), vec![sentence; count]);
        }
    }

    #[test]
    fn no_cue_starts_with_closing_punctuation() {
        let sentence = "ちょっと待って、「カード」をきょう持ってきてください。";
        for max_chars in 8..40 {
            for text in texts(&sentence.repeat(5), max_chars) {
                let first = text.chars().next().unwrap();
                assert!(!"。、」ょっー".contains(first), "{max_chars}: {text:?}");
            }
        }
    }

    #[test]
    fn long_finals() {
        let words = "the quick brown fox jumps over the lazy dog and ".repeat(9);
        let clauses = "我们今天讨论字幕的排版，它应该容易阅读，".repeat(20);
        let thai = "ภาษาไทยเขียนติดกันไม่มีเว้นวรรคระหว่างคำ".repeat(10);
        for (text, max_chars, count) in [(words, 84, 6), (clauses, 42, 20), (thai, 84, 4)] {
            let texts = texts(&text, max_chars);
            assert!(texts.len() >= count, "{} of {texts:?}", texts.len());
            let widths: Vec<_> = texts.iter().map(|text| width(text)).collect();
            let (min, max) = (widths.iter().min(), widths.iter().max());
            assert!(max.unwrap() <= &max_chars, "{widths:?}");
            assert!(min.unwrap() * 2 > *max.unwrap(), "{widths:?}");
        }
    }

    #[test]
    fn times_follow_columns() {
        let cues = cues(
            "aaaa bbbb. cccc dddd.",
            SECOND,
            22 * SECOND,
            &layout(12, 0, 0),
        );
        assert_eq!(times(&cues), [(1_000, 11_000), (11_000, 22_000)]);
    }

    #[test]
    fn durations() {
        type Case<'a> = (&'a str, u64, Layout, &'a [(u64, u64)]);
        let cases: &[Case] = &[
            ("Yes.", 3, layout(20, 1, 10), &[(0, 3_000)]),
            // The last cue stays longer.
            ("Yes.", 3, layout(20, 5, 10), &[(0, 5_000)]),
            // A word cannot be divided.
            ("Yes.", 30, layout(20, 1, 10), &[(0, 10_000)]),
            // A sentence can, even if it is short.
            (
                "aaaa bbbb. cccc dddd.",
                20,
                layout(0, 1, 15),
                &[(0, 9_523), (9_523, 20_000)],
            ),
            // Not enough time: it is shared out.
            (
                "aaaa bbbb. cccc dddd.",
                1,
                layout(10, 2, 10),
                &[(0, 500), (500, 2_500)],
            ),
            // The limits contradict each other.
            ("Yes.", 30, layout(20, 9, 3), &[(0, 3_000)]),
            // No duration.
            ("Yes.", 0, layout(20, 2, 3), &[(0, 2_000)]),
            ("Yes.", 0, layout(20, 0, 3), &[(0, 4)]),
        ];
        for (text, end, layout, expected) in cases {
            let cues = cues(text, 0, end * SECOND, layout);
            assert_eq!(times(&cues), *expected, "{text:?} {layout:?}");
        }
    }

    #[test]
    fn end_of_time() {
        for (start, end) in [
            (u64::MAX, u64::MAX),
            (u64::MAX, 0),
            (u64::MAX - 1, u64::MAX),
        ] {
            let cues = cues("one two three", start, end, &layout(5, 1, 1));
            assert_eq!(cues.len(), 3);
            check_times(&cues, start, end, &layout(5, 1, 1));
        }
    }

    /// Linear congruential generator.
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: u64) -> u64 {
            let factor = 6_364_136_223_846_793_005;
            self.0 = self.0.wrapping_mul(factor).wrapping_add(1);
            (self.0 >> 33) % limit
        }

        fn of<T: Copy>(&mut self, choices: &[T]) -> T {
            choices[self.below(choices.len() as u64) as usize]
        }

        fn text(&mut self, atoms: &[&str]) -> String {
            let len = self.of(&[1, 3, 20, 80, 300]);
            (0..len).map(|_| self.of(atoms)).collect()
        }
    }

    const ATOMS: &[&str] = &[
        "word",
        "a",
        " ",
        " ",
        " ",
        " the ",
        "well-known ",
        "3.14",
        "Mr. ",
        "U.S. ",
        "end. ",
        "ok, ",
        "what?! ",
        "…",
        "“",
        "”",
        "(",
        ") ",
        "\n",
        "\0",
        "\u{a0}",
        "\u{3000}",
        "今天",
        "字",
        "，",
        "。",
        "！”",
        "「",
        "」",
        "きょう",
        "カード",
        "、",
        "สวัสดี",
        "ที่",
        "ำ",
        "مرحبا",
        " كيف؟ ",
        "لا",
        "، ",
        "\u{200f}",
        "\u{200b}",
        "\u{200d}",
        "👨\u{200d}👩\u{200d}👧",
        "🇨🇳",
        "👍🏽",
        "e\u{301}",
        " \u{301}",
        "क्षि",
        "है। ",
        "한국어 ",
        " — ",
        "–",
        "- ",
        "😀",
        "♪",
    ];
    const READABLE: &[&str] = &[
        "word ",
        "a",
        "averyveryveryverylongword",
        "今天",
        "字",
        "きょう",
        "カード",
        "สวัสดี",
        "ที่",
        "مرحبا ",
        "👨\u{200d}👩\u{200d}👧",
        "e\u{301}",
        "한국어 ",
        "ok, ",
        "end. ",
        "字。",
    ];

    fn check_times(cues: &[Cue], start: u64, end: u64, layout: &Layout) {
        let (Some(first), Some(last)) = (cues.first(), cues.last()) else {
            return;
        };
        let max = Some(layout.max_duration).filter(|max| *max > 0);
        let max = max.unwrap_or(u64::MAX);
        let min = layout.min_duration.min(max);
        assert!(first.start == start || start > u64::MAX - SECOND);
        for cue in cues {
            assert!(cue.start < cue.end, "{cue:?}");
            assert!(cue.end - cue.start <= max, "{cue:?}");
        }
        for pair in cues.windows(2) {
            let (cue, next) = (&pair[0], &pair[1]);
            assert!(cue.end <= next.start, "{cue:?} {next:?}");
            assert!(
                cue.end == next.start || cue.end - cue.start == max,
                "{cue:?} {next:?}"
            );
        }
        let longest = last.end == end || last.end - last.start == max.min(last.end - last.start);
        assert!(longest, "{last:?}");
        if end > start && last.end > end {
            let long = last.end - last.start == min || last.end == u64::MAX;
            let room = long || end - start < cues.len() as u64;
            assert!(room, "{last:?}");
        }
        if end > start && (end - start) / cues.len() as u64 >= min {
            for cue in cues {
                assert!(cue.end - cue.start >= min, "{cue:?} {layout:?}");
            }
        }
    }

    fn check_texts(cues: &[Cue], normal: &str, max_chars: usize, whole: bool) {
        let mut rest = normal;
        for cue in cues {
            assert!(!is_blank(&cue.text), "{cue:?}");
            // A space may carry the combining mark that follows.
            assert_eq!(normalise(&cue.text), cue.text.trim_start());
            let narrow = max_chars == 0 || width(&cue.text) <= max_chars;
            assert!(narrow || cue.text.graphemes(true).count() == 1, "{cue:?}");
            // In order; only what is blank is left out between.
            let at = rest.find(&cue.text).unwrap();
            assert!(is_blank(&rest[..at]), "{:?} before {cue:?}", &rest[..at]);
            rest = &rest[at + cue.text.len()..];
        }
        assert!(is_blank(rest), "{rest:?}");
        let divided = cues.iter().flat_map(|cue| clusters(&cue.text));
        if whole {
            assert!(divided.eq(clusters(normal)), "{cues:?}");
        } else {
            // No cluster is divided, so all those with a letter are there.
            let readable = |cluster: &&str| !is_blank(cluster);
            let expected = clusters(normal).into_iter().filter(readable);
            assert!(divided.filter(readable).eq(expected), "{cues:?}");
        }
    }

    #[test]
    fn any_text_with_any_limits() {
        let mut random = Random(1);
        for round in 0..3000 {
            let whole = round % 2 == 0;
            let text = random.text(if whole { READABLE } else { ATOMS });
            let normal = normalise(&text);
            let start = random.of(&[0, SECOND, 1 << 40]);
            let duration = random.of(&[0, 1, 7, SECOND / 3, 4 * SECOND, 17 * SECOND, 99 * SECOND]);
            let end = start + duration;
            let layout = Layout {
                max_chars: random.of(&[0, 1, 2, 3, 7, 20, 42, 84, usize::MAX]),
                min_duration: random.of(&[0, 1, SECOND, 2 * SECOND, u64::MAX]),
                max_duration: random.of(&[0, 1, SECOND, 6 * SECOND, u64::MAX]),
            };
            let cues = cues(&text, start, end, &layout);
            assert_eq!(cues.is_empty(), is_blank(&text), "{text:?}");
            // A full stop needs a column next to the letter.
            let roomy = layout.max_chars == 0 || layout.max_chars >= 4;
            check_texts(&cues, &normal, layout.max_chars, whole && roomy);
            check_times(&cues, start, end, &layout);
        }
    }

    #[test]
    fn effort_is_bounded() {
        for atom in ["a", "a ", "字", "\u{200b}", "。", "ก"] {
            let text = atom.repeat(5000) + "a";
            for layout in [layout(84, 1, 10), layout(0, 1, 10), layout(4999, 0, 0)] {
                let end = 7200 * SECOND;
                let cues = cues(&text, 0, end, &layout);
                check_times(&cues, 0, end, &layout);
            }
        }
    }
}
