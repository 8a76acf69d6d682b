// SPDX-License-Identifier: MPL-2.0
//! Words of hypotheses that grow and change at random.

use super::*;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

#[test]
fn word_times_are_about_right() {
    let mut random = Random(7);
    for _ in 0..10 {
        let words: Vec<String> = (0..60)
            .map(|n| format!("{n}{}", "x".repeat(random.below(8))))
            .collect();
        let (mut stable, mut out) = (Stable::default(), Vec::new());
        for heard in (300..6300).step_by(300) {
            // What was spoken up to 300 ms ago is known.
            let known = words[..(heard - 300) / 100].join(" ");
            let (text, stash) = known.split_at(known.len().saturating_sub(10));
            stable.interim(&said(1, text, stash, 0, heard as u64), AT(0), &mut out);
        }
        assert!(out.len() > 50);
        stable.finalise(&said(1, &words.join(" "), "", 0, 6000), AT(0), &mut out);
        assert_eq!(out.len(), 60);
        let mut errors: Vec<_> = (0..60)
            .map(|n| out[n].span.start.millis().abs_diff(n as u64 * 100))
            .collect();
        errors.sort();
        assert!(errors[30] <= 150 && errors[57] <= 400, "{errors:?}");
    }
}

const PARTS: &[&str] = &[
    "one ",
    "two ",
    "the ",
    "Urdu ",
    "well-known ",
    "3.14 ",
    "so, ",
    "No. ",
    "U.S. ",
    "— ",
    "今天",
    "天气",
    "，",
    "不错。",
    "“好”",
    "カード",
    "です。",
    "ไทย",
    "ที่นี่ ",
    "เกม",
    "نعم، ",
    "أنا ",
    "안녕 ",
    "cafe\u{301} ",
    "👨\u{200d}👩\u{200d}👧",
    "10\u{a0}000 ",
    " ",
    "! ",
    "GStreamer",
];

fn text(random: &mut Random, parts: usize) -> String {
    (0..random.below(parts))
        .map(|_| random.pick(PARTS))
        .collect()
}

/// What `text` is but for white space.
fn dense(text: &str) -> String {
    text.split_whitespace().collect()
}

fn joined(words: &[Cue]) -> String {
    words.iter().map(|word| word.text.as_str()).collect()
}

fn keys(text: &str) -> Vec<String> {
    tokens(&normalise(text))
        .into_iter()
        .map(|token| token.key)
        .collect()
}

fn check_times(words: &[Cue]) {
    assert!(
        words
            .iter()
            .all(|word| word.span.length() >= MIN_WORD_DURATION)
    );
    assert!(
        words
            .windows(2)
            .all(|pair| pair[0].span.end <= pair[1].span.start),
        "{words:?}"
    );
}

/// Lets the text `spoken` grow, with a stash that may be wrong, and a deadline that may be near:
/// the words shown.
fn grow(
    random: &mut Random,
    spoken: &str,
    wrong: bool,
    item: u64,
    stable: &mut Stable,
) -> Vec<Cue> {
    let mut out = Vec::new();
    let ends: Vec<usize> = spoken.char_indices().map(|(at, _)| at).collect();
    let (mut confirmed, mut known, mut heard) = (0, 0, 1000);
    let near = random.below(3) == 0;
    while known + 1 < ends.len() {
        heard += 50 + random.below(600) as u64;
        known = (known + random.below(8)).min(ends.len() - 1);
        if random.below(3) == 0 {
            confirmed += random.below(known - confirmed + 1);
        }
        let (text, stash) = (
            &spoken[..ends[confirmed]],
            &spoken[ends[confirmed]..ends[known]],
        );
        let stash = match random.below(4) {
            0 if wrong => self::text(random, 4),
            1 if wrong => stash.to_uppercase(),
            _ => stash.to_owned(),
        };
        stable.interim(&said(item, text, &stash, 1000, heard), AT(0), &mut out);
        if near {
            stable.due(
                AT(heard.saturating_sub(random.below(1000) as u64)),
                AT(0),
                &mut out,
            );
        }
    }
    out
}

/// Checks that what was shown `before` and `after` the final text goes together.
fn check_rest(before: &[Cue], after: &[Cue], last: &str) {
    let last = normalise(last);
    let (shown, rest) = (joined(before), joined(after));
    let all = tokens(&last);
    let rests: Vec<String> = (0..=all.len())
        .map(|at| {
            all.get(at)
                .map_or(String::new(), |token| dense(&last[token.start..]))
        })
        .collect();
    let place = rests.iter().position(|other| *other == dense(&rest));
    let place = place.unwrap_or_else(|| panic!("torn: {shown:?} + {rest:?} for {last:?}"));

    let shown: String = before.iter().flat_map(|word| keys(&word.text)).collect();
    let keys: Vec<String> = all.into_iter().map(|token| token.key).collect();
    let ends = (0..=keys.len()).find(|end| keys[..*end].concat() == shown);
    if let Some(end) = ends {
        assert_eq!(
            place, end,
            "lost or twice: {shown:?} + {rest:?} for {last:?}"
        );
    }
}

#[test]
fn growing_texts_are_shown_in_full() {
    let mut random = Random(1);
    for _ in 0..1500 {
        let spoken = text(&mut random, 30);
        let mut stable = Stable::default();
        let mut words = grow(&mut random, &spoken, false, 1, &mut stable);
        let early = words.len();
        stable.finalise(&said(1, &spoken, "", 1000, 20_000), AT(0), &mut words);
        check_times(&words);
        check_rest(&words[..early], &words[early..], &spoken);
        assert_eq!(stable.held(), None);
    }
}

#[test]
fn changing_texts_are_neither_torn_nor_shown_twice() {
    let mut random = Random(2);
    let mut stable = Stable::default();
    let mut earlier = 0;
    for item in 0..3000 {
        let spoken = text(&mut random, 30);
        let before = grow(&mut random, &spoken, true, item, &mut stable);
        let last = match random.below(5) {
            0 => text(&mut random, 30),
            1 => spoken.to_uppercase(),
            2 => spoken.replace(['，', '。', ',', '.'], ""),
            3 => spoken.chars().take(random.below(60)).collect(),
            _ => spoken,
        };
        let mut after = Vec::new();
        stable.finalise(&said(item, &last, "", 1000, 9000), AT(0), &mut after);
        check_rest(&before, &after, &last);
        check_times(&[before.as_slice(), after.as_slice()].concat());
        earlier += before.len();
    }
    assert!(earlier > 10_000);
}

#[test]
fn what_agreed_to_the_end_is_the_final_text() {
    let texts = [
        "I speak Urdu and English, well. It isn't 3.14 but so-called U.S. words — yes.",
        "今天天气真不错，阳光明媚。我们去公园散步吧，带上iPhone和2个苹果。",
        "「はい、そうです。」と彼は言いました。カードをもらいます。",
        "สวัสดีครับ วันนี้อากาศดี เราไปที่นี่กัน",
        "مرحبا، كيف حالك؟ أنا بخير، شكرا.",
    ];
    for text in texts {
        let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).skip(1).collect();
        for (step, lag) in [(2, 5), (3, 12), (5, 30), (7, 7)] {
            let (mut stable, mut words) = (Stable::default(), Vec::new());
            let mut heard = 400;
            for known in (0..ends.len()).step_by(step) {
                heard += 400;
                let confirmed = known.checked_sub(lag).map_or(0, |at| ends[at]);
                let (text, stash) = (&text[..confirmed], &text[confirmed..ends[known]]);
                stable.interim(&said(1, text, stash, 0, heard), AT(0), &mut words);
            }
            assert!(!words.is_empty());
            stable.finalise(&said(1, text, "", 0, heard), AT(0), &mut words);
            let thai = text.starts_with('ส');
            let short = |word: &&Cue| word.text.chars().count() == 1 && word.text != "I";
            let short = words.iter().filter(short).count();
            assert!(short <= 1, "{words:?}");
            assert!(!thai || words.len() <= 4, "{words:?}");
            assert_eq!(dense(&joined(&words)), dense(text), "{words:?}");
            check_times(&words);
        }
    }
}

#[test]
fn many_open_utterances_lose_nothing() {
    let mut random = Random(3);
    for _ in 0..300 {
        let count = 1 + random.below(5);
        let (mut stable, mut out) = (Stable::default(), Vec::new());
        let words = |item: usize, random: &mut Random| -> Vec<String> {
            let word = |n: usize| format!("{}{n}.", "abcde".split_at(item).1.split_at(1).0);
            (0..random.below(20)).map(word).collect()
        };
        let texts: Vec<_> = (0..count).map(|item| words(item, &mut random)).collect();
        let mut known = vec![0; count];
        let mut finals: Vec<usize> = (0..count).collect();
        let mut heard = 0;
        while !finals.is_empty() {
            heard += random.below(300) as u64;
            let at = random.below(finals.len());
            let item = finals[at];
            let start = item as u64 * 1000;
            known[item] += random.below(4);
            let text = &texts[item];
            if known[item] >= text.len() {
                finals.swap_remove(at);
                let end = start + heard;
                stable.finalise(
                    &said(item as u64, &text.join(" "), "", start, end),
                    AT(0),
                    &mut out,
                );
            } else {
                let (text, stash) = (
                    text[..known[item] / 2].join(" "),
                    text[..known[item]].join(" "),
                );
                let stash = &stash[text.len()..];
                stable.interim(
                    &said(item as u64, &text, stash, start, heard),
                    AT(0),
                    &mut out,
                );
            }
            if random.below(3) == 0 {
                let held = stable.held();
                let before = out.len();
                stable.due(AT(heard / 2), AT(0), &mut out);
                let first = out.get(before).map(|word| word.span.start);
                assert!(first.is_none_or(|first| first <= AT(heard / 2)));
                assert!(first.is_none() || first >= held);
            }
        }
        assert_eq!(stable.held(), None);
        check_times(&out);
        for (item, text) in texts.iter().enumerate() {
            let name = "abcde".as_bytes()[item];
            // Late words come together.
            let shown = out.iter().flat_map(|word| word.text.split(' '));
            let shown: Vec<_> = shown.filter(|text| text.as_bytes()[0] == name).collect();
            assert_eq!(shown, text.iter().collect::<Vec<_>>());
        }
    }
}
