// SPDX-License-Identifier: MPL-2.0
//! What cues are made of texts, and that any text with any limits makes valid ones.

mod random;

use super::super::text::width;
use unicode_segmentation::UnicodeSegmentation;

use super::*;

const SECOND: u64 = 1_000_000_000;

/// A timestamp; these tests count in nanoseconds.
const AT: fn(u64) -> Timestamp = Timestamp::from_nanos;

#[test]
fn cues_begin_with_their_first_word_where_its_time_is_known() {
    let word = |text: &str, start: u64, end: u64| Word {
        text: text.into(),
        span: Span::from_millis(start * 100, end * 100),
    };
    // Slow at first, then fast: evenly spoken the second cue would begin in the middle.
    let words = [
        word("Slowly", 10, 30),
        word("spoken", 30, 55),
        word("Then", 70, 72),
        word("fast", 72, 75),
    ];
    let layout = Layout {
        max_chars: Some(15),
        ..Layout::default()
    };
    let text = "Slowly spoken. Then fast.";
    let cues = cues(text, &words, Span::from_millis(1000, 7500), &layout);
    let cues: Vec<_> = cues
        .iter()
        .map(|cue| (cue.text.as_str(), cue.span.start, cue.span.end))
        .collect();
    let [first, second, end] = [1000, 7000, 7500].map(Timestamp::from_millis);
    assert_eq!(
        cues,
        [
            ("Slowly spoken.", first, second),
            ("Then fast.", second, end)
        ]
    );
}

fn span(start: u64, end: u64) -> Span {
    Span::new(AT(start), AT(end))
}

/// None for 0.
fn limit(limit: usize) -> Option<usize> {
    Some(limit).filter(|limit| *limit > 0)
}

fn layout(max_chars: usize, min_seconds: u64, max_seconds: u64) -> Layout {
    Layout {
        max_chars: limit(max_chars),
        max_lines: 1,
        min_duration: Duration::from_secs(min_seconds),
        max_duration: limit(max_seconds as usize).map(|max| Duration::from_secs(max as u64)),
    }
}

/// Texts of the cues of `text`, spoken in ten seconds.
fn texts(text: &str, max_chars: usize) -> Vec<String> {
    cues(text, &[], span(0, 10 * SECOND), &layout(max_chars, 0, 0))
        .into_iter()
        .map(|cue| cue.text)
        .collect()
}

/// Starts and ends of `cues`, in milliseconds.
fn times(cues: &[Cue]) -> Vec<(u64, u64)> {
    cues.iter()
        .map(|cue| (cue.span.start.millis(), cue.span.end.millis()))
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
            &["We met Dr. Smith", "in the U.S. at 3.14 pm"],
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
fn wide_cues_have_lines_of_about_equal_width() {
    let texts = |text: &str, max_lines: usize| -> Vec<String> {
        let layout = Layout {
            max_lines,
            ..layout(84, 0, 0)
        };
        let cues = cues(text, &[], span(0, 10 * SECOND), &layout);
        cues.into_iter().map(|cue| cue.text).collect()
    };
    let cases: &[(&str, &[&str])] = &[
        ("One line, that is enough.", &["One line, that is enough."]),
        (
            "The whole village had been told about the letter before it came.",
            &["The whole village had been told\nabout the letter before it came."],
        ),
        // Not after an article, rather before a preposition.
        (
            "They walked for hours on end through a forest that had no paths at all.",
            &["They walked for hours on end\nthrough a forest that had no paths at all."],
        ),
        (
            "Nobody knew where he had gone, and nobody asked him when he came back.",
            &["Nobody knew where he had gone,\nand nobody asked him when he came back."],
        ),
        // Of 83 columns, but no two lines of 42: two cues.
        (
            "Internationalisation, institutionalisation, telecommunications, misunderstandings a",
            &[
                "Internationalisation,\ninstitutionalisation,",
                "telecommunications, misunderstandings a",
            ],
        ),
        (
            "我们今天下午要去公园里散步然后再回家一起吃晚饭看电视。",
            &["我们今天下午要去公园里散步\n然后再回家一起吃晚饭看电视。"],
        ),
        (
            "東京大学の研究者たちは新しい種類の魚を太平洋で発見しました。",
            &["東京大学の研究者たちは新しい\n種類の魚を太平洋で発見しました。"],
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(texts(text, 2), *expected, "{text}");
        assert!(texts(text, 1).iter().all(|text| !text.contains('\n')));
    }
    let text = "the quick brown fox jumps over the lazy dog and ".repeat(9);
    for text in texts(&text, 4) {
        assert!(text.lines().all(|line| width(line) <= 21), "{text:?}");
        assert_eq!(text.lines().count(), 4, "{text:?}");
    }
}

#[test]
fn cues_are_shown_long_enough_to_be_read_where_there_is_time() {
    let word = |text: &str, start: u64, end: u64| Word {
        text: text.into(),
        span: Span::from_millis(start, end),
    };
    // Forty characters in a second, then a few in three.
    let words = [word("It", 0, 500), word("Then", 1000, 2000)];
    let text = "It was said much faster than one reads. Then he slept.";
    let cues = cues(text, &words, Span::from_millis(0, 4000), &layout(45, 1, 7));
    assert_eq!(times(&cues), [(0, 1_950), (1_950, 4_000)]);
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
        &[],
        span(SECOND, 22 * SECOND),
        &layout(12, 0, 0),
    );
    assert_eq!(times(&cues), [(1_000, 11_000), (11_000, 22_000)]);
}

#[test]
fn durations() {
    type Case<'a> = (&'a str, u64, Layout, &'a [(u64, u64)]);
    let cases: &[Case] = &[
        ("Yes.", 3, layout(20, 1, 10), &[(0, 3_000)]),
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
            &[(0, 500), (500, 1_000)],
        ),
        // The limits contradict each other.
        ("Yes.", 30, layout(20, 9, 3), &[(0, 3_000)]),
        // No duration.
        ("Yes.", 0, layout(20, 2, 3), &[(0, 2_000)]),
        ("Yes.", 0, layout(20, 0, 3), &[(0, 4)]),
    ];
    for (text, end, layout, expected) in cases {
        let cues = cues(text, &[], span(0, end * SECOND), layout);
        assert_eq!(times(&cues), *expected, "{text:?} {layout:?}");
    }
}

#[test]
fn a_short_cue_gives_way_to_the_next_one() {
    // Said in 300 ms each, after a slow beginning.
    let seconds = |tenths: [u64; 6]| tenths.map(|n| Timestamp::from_millis(n * 100));
    let mut ends = seconds([100, 103, 106, 109, 112, 200]);
    lengthen(
        &mut ends,
        AT(0),
        AT(20 * SECOND),
        &[Duration::from_secs(1); 6],
    );
    assert_eq!(ends, seconds([100, 110, 116, 119, 122, 200]));
    let mut ends = seconds([100, 140, 190, 193, 196, 200]);
    lengthen(
        &mut ends,
        AT(0),
        AT(20 * SECOND),
        &[Duration::from_secs(1); 6],
    );
    assert_eq!(ends, seconds([100, 140, 180, 183, 190, 200]));
}

#[test]
fn end_of_time() {
    for (start, end) in [
        (u64::MAX, u64::MAX),
        (u64::MAX, 0),
        (u64::MAX - 1, u64::MAX),
    ] {
        let cues = cues("one two three", &[], span(start, end), &layout(5, 1, 1));
        assert_eq!(cues.len(), 3);
        check_times(&cues, start, end, &layout(5, 1, 1));
    }
}

fn check_times(cues: &[Cue], start: u64, end: u64, layout: &Layout) {
    let (Some(first), Some(last)) = (cues.first(), cues.last()) else {
        return;
    };
    let (min, max) = (layout.min_showing(), layout.max_showing());
    assert!(first.span.start == AT(start) || start > u64::MAX - SECOND);
    for cue in cues {
        assert!(!cue.span.length().is_zero(), "{cue:?}");
        assert!(cue.span.length() <= max, "{cue:?}");
    }
    for pair in cues.windows(2) {
        let (cue, next) = (&pair[0], &pair[1]);
        assert!(cue.span.end <= next.span.start, "{cue:?} {next:?}");
        assert!(
            cue.span.end == next.span.start || cue.span.length() == max,
            "{cue:?} {next:?}"
        );
    }
    if end.checked_sub(start) >= Some(cues.len() as u64) {
        let whole =
            last.span.end == AT(end) || last.span.end < AT(end) && last.span.length() == max;
        assert!(whole, "{last:?}");
    }
    if end > start && Duration::from_nanos((end - start) / cues.len() as u64) >= min {
        let columns: usize = cues.iter().map(|cue| width(&cue.text)).sum();
        for cue in cues {
            // Or for as long as it took to say, so that the next one is not late.
            let spoken = (end - start) / (columns + cues.len()) as u64 * width(&cue.text) as u64;
            let spoken = Duration::from_nanos(spoken);
            assert!(cue.span.length() >= min.min(spoken), "{cue:?} {layout:?}");
        }
    }
}
