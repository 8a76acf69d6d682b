// SPDX-License-Identifier: MPL-2.0
//! What of growing and changing texts is shown, and when.

use super::*;

/// A timestamp in milliseconds.
const AT: fn(u64) -> Timestamp = Timestamp::from_millis;

/// Shows what is ready, or also what may be if it is due: words joined by `|`.
fn show(agreement: &mut Agreement, due: bool) -> String {
    let tokens = if due {
        agreement.ready_if_due()
    } else {
        agreement.ready()
    };
    let text =
        |word: &[Token]| agreement.text()[word[0].start..word.last().unwrap().end].to_owned();
    let words: Vec<_> = tokens.chunk_by(|_, next| next.joins).map(text).collect();
    let count = tokens.len();
    agreement.show(count);
    words.join("|")
}

/// A confirmed text, a stash, when in milliseconds, and what is shown then.
type Step = (&'static str, &'static str, u64, &'static str);

fn check(steps: &[Step], last: &str, rest: &str) {
    let mut agreement = Agreement::default();
    for (text, stash, audio_end, expected) in steps {
        agreement.interim(text, stash, AT(*audio_end));
        assert_eq!(
            show(&mut agreement, false),
            *expected,
            "{text:?} + {stash:?}"
        );
    }
    agreement.finalise(last);
    assert_eq!(show(&mut agreement, false), rest, "{last:?}");
    assert!(!agreement.has_pending());
}

#[test]
fn english() {
    check(
        &[
            ("", "I", 500, ""),
            ("", "I speak Ur", 1000, ""),
            ("", "I speak Urdu and", 1500, "I"),
            ("I speak Ur", "du and Eng", 2000, "speak|Urdu"),
            ("I speak Urdu and", " English.", 2500, "and"),
            ("I speak Urdu and English.", "", 3000, "English."),
            ("I speak Urdu and English.", " So", 3500, ""),
        ],
        "I speak Urdu and English. So what?",
        "So|what?",
    );
}

#[test]
fn chinese() {
    check(
        &[
            ("", "今天", 500, ""),
            ("", "今天天气真", 1000, ""),
            ("今天", "天气真不错", 1500, ""),
            ("今天天气真不错，", "", 2000, "今天天气真不错，"),
            ("今天天气真不错，", "阳光", 2500, ""),
            ("今天天气真不错，", "阳光明媚。", 3000, ""),
        ],
        "今天天气真不错，阳光明媚。",
        "阳光明媚。",
    );
    // A long clause is shown in parts.
    check(
        &[
            ("", "我们今天下午要去", 1000, ""),
            ("", "我们今天下午要去公园里", 1500, "我们今天下午"),
            ("我们今天下午要去公", "园里散步，", 2000, ""),
            ("我们今天下午要去公园里散", "步，", 2500, "要去公园里散步，"),
        ],
        "我们今天下午要去公园里散步，再回家。",
        "再回家。",
    );
}

#[test]
fn japanese() {
    check(
        &[
            ("", "「はい、", 1000, ""),
            ("", "「はい、そうです", 1500, "「はい、"),
            ("「はい、そう", "です。」と", 2000, ""),
            ("「はい、そうです。」", "と彼は言", 2500, "そうです。」"),
            (
                "「はい、そうです。」と彼は言い",
                "ました。",
                3000,
                "と彼は言い",
            ),
        ],
        "「はい、そうです。」と彼は言いました。",
        "ました。",
    );
}

#[test]
fn thai() {
    check(
        &[
            ("", "สวัสดี", 1000, ""),
            ("", "สวัสดีครับ", 1500, ""),
            ("สวัสดีคร", "ับ วันนี้", 2000, ""),
            ("สวัสดีครับ วัน", "นี้อากาศดี", 2500, "สวัสดีครับ"),
        ],
        "สวัสดีครับ วันนี้อากาศดี",
        "วันนี้อากาศดี",
    );
}

#[test]
fn arabic() {
    check(
        &[
            ("", "مرح", 1000, ""),
            ("", "مرحبا، كيف", 1500, ""),
            ("", "مرحبا، كيف حالك", 2000, "مرحبا،"),
            ("مرحبا، كيف حالك؟", "", 2500, "كيف|حالك؟"),
        ],
        "مرحبا، كيف حالك؟ أنا بخير.",
        "أنا|بخير.",
    );
}

#[test]
fn mixed_scripts() {
    check(
        &[
            ("", "我们用G", 1000, ""),
            ("", "我们用GStrea", 1500, ""),
            ("我们用GStream", "er做字幕", 2000, "我们用"),
            (
                "我们用GStreamer做字幕，",
                "it works",
                2500,
                "GStreamer|做字幕，",
            ),
        ],
        "我们用GStreamer做字幕，it works。",
        "it|works。",
    );
}

#[test]
fn words_are_not_torn() {
    // Confirmed, but maybe not to the end of a word.
    check(
        &[
            ("Ur", "", 0, ""),
            ("Ur", "", 499, ""),
            ("Urdu", "", 800, ""),
            ("Urdu ", "", 900, "Urdu"),
        ],
        "Urdu is",
        "is",
    );
    check(&[("Ur", "", 0, ""), ("Ur", "", 500, "Ur")], "Urdu is", "is");
    for text in ["3.", "U.", "well-", "don'", "10:", "1,"] {
        check(&[(text, "", 0, ""), (text, "", 300, "")], text, text);
    }
    for text in ["Mr.", "so,", "好，", "why?\"", "ok:", "نعم،"] {
        check(&[(text, "", 0, text)], text, "");
    }
    // A combining mark follows.
    check(
        &[("cafe", "\u{301} au", 0, "")],
        "cafe\u{301} au",
        "cafe\u{301}|au",
    );
    check(
        &[("เราไปที", "่", 0, ""), ("เราไปที", "่นี่ แล้ว", 900, "")],
        "เราไปที่นี่ แล้ว",
        "เราไปที่นี่|แล้ว",
    );
}

#[test]
fn agreement_takes_time_and_two_hypotheses() {
    check(
        &[
            ("", "one two three", 1000, ""),
            ("", "one two three", 1100, ""),
            ("", "one two three", 1199, ""),
            ("", "one two three", 1200, "one|two"),
            ("", "one two three", 9000, ""),
        ],
        "one two three",
        "three",
    );
    check(
        &[
            ("", "a nice beach", 1000, ""),
            ("", "an ice beach", 1500, ""),
            ("", "an ice breach", 1600, ""),
            ("", "an ice beach in", 1700, "an"),
            ("", "an iced tea", 2200, ""),
        ],
        "An iced tea.",
        "iced|tea.",
    );
}

#[test]
fn what_is_due_is_shown_unless_it_may_grow() {
    let mut agreement = Agreement::default();
    agreement.interim("", "so I speak Ur", AT(0));
    assert_eq!(show(&mut agreement, true), "so|I|speak");
    agreement.interim("", "so I speak Urdu", AT(100));
    assert_eq!(show(&mut agreement, true), "");
    agreement.interim("", "so I speak Urdu", AT(100));
    assert_eq!(show(&mut agreement, true), "Urdu");
    agreement.interim("", "so I speak Urdu.", AT(300));
    agreement.interim("", "so I speak Urdu.", AT(600));
    assert_eq!(show(&mut agreement, true), "", "a late mark");
    assert_eq!(agreement.next_column(), 16);
    agreement.give_up();
    assert!(!agreement.has_pending());
}

/// What is shown of `last` after `shown` was.
fn rest(shown: &str, last: &str) -> String {
    let mut agreement = Agreement::default();
    agreement.interim(&format!("{shown} "), "", AT(0));
    assert_eq!(show(&mut agreement, true).replace('|', " "), shown);
    agreement.finalise(last);
    show(&mut agreement, false).replace('|', " ")
}

#[test]
fn a_differing_final_text_is_aligned() {
    for (shown, last, expected) in [
        // Case, punctuation, white space.
        ("hello", "Hello, world.", "world."),
        ("hello", "Hello.", ""),
        ("hello", "Hello , world", "world"),
        ("hello", "Hello — world", "world"),
        ("every day", "Everyday I go.", "I go."),
        ("so everyday", "So every day I go.", "I go."),
        ("ＡＢＣ you see", "abc, you see me", "me"),
        ("今天天气", "今天，天气真好。", "真好。"),
        ("今天 天气", "今天天气，真好。", "真好。"),
        ("نعم أنا", "نعم، أنا هنا", "هنا"),
        // A word in the middle.
        ("we saw the cat", "We saw a cat sit.", "sit."),
        ("we saw the cat", "We saw the big cat sit.", "sit."),
        ("we saw um the cat", "We saw the cat sit.", "sit."),
        ("we every day um run", "We everyday run far.", "far."),
        ("um we everyday run", "We every day run far.", "far."),
        ("今天天汽真", "今天天气真不错", "不错"),
        ("我们用 g streamer", "我们用GStreamer做字幕", "做字幕"),
        // The last word.
        ("I speak Ur", "I speak Urdu well", "well"),
        ("I speak Urdus", "I speak Urdu well", "well"),
        // A word in two versions is better than none.
        ("I speak Ur", "I speak, well, Urdu, yes", "Urdu, yes"),
        ("wreck a nice", "recognise this", "this"),
        // Shorter, longer, something else.
        ("one two three", "One two.", ""),
        ("one two three", "", ""),
        ("one two three", "。", ""),
        ("one", "One two three four.", "two three four."),
        ("one two", "uno due tre", "tre"),
        ("one two", "你好吗", ""),
        // Words that come twice.
        ("very", "very very good", "very good"),
        ("the the", "the the the end", "the end"),
    ] {
        assert_eq!(rest(shown, last), expected, "{shown:?}, then {last:?}");
    }
}

#[test]
fn a_revision_goes_on_after_what_was_shown() {
    check(
        &[
            ("", "one two three four", 0, ""),
            ("", "one two three four", 300, "one|two|three"),
            ("", "one too tree four five", 600, ""),
            ("", "one too tree four five", 900, "four"),
            ("", "", 1000, ""),
            ("One", " to", 1100, ""),
            ("One to", " three, four, five, six", 1500, ""),
        ],
        "One to three, four, five, six.",
        "five,|six.",
    );
}

#[test]
fn a_revision_that_is_taken_back_shows_no_word_twice() {
    // The text ended where the second word had been shown.
    check(
        &[
            ("no no ", "", 0, "no|no"),
            ("", "no", 100, ""),
            ("", "no no no yes", 200, ""),
        ],
        "no no no yes",
        "no|yes",
    );
    // For a while other words stood for those shown.
    check(
        &[
            ("one two three four ", "", 0, "one|two|three|four"),
            ("", "one x y z w", 100, ""),
            ("", "one x y z two three four five", 200, ""),
        ],
        "one x y z two three four five",
        "five",
    );
}

#[test]
fn long_texts_are_aligned_fast() {
    let words = |count: usize, every: usize| -> String {
        let word = |n: usize| format!("{}{n} ", if n.is_multiple_of(every) { "x" } else { "y" });
        (0..count).map(word).collect()
    };
    let shown = words(5000, 7);
    assert_eq!(rest(shown.trim(), &words(5003, 5)), "x5000 y5001 y5002");
    assert_eq!(rest(shown.trim(), "one"), "");
}
