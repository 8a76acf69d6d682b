// SPDX-License-Identifier: MPL-2.0
use super::super::curve::MIN_WORD_DURATION;
use super::super::text::normalise;
use super::super::tokens::tokens;
use super::*;

const MS: u64 = 1_000_000;

/// A transcript; times are in nanoseconds.
fn said(utterance: Utterance, text: &str, stash: &str, start: u64, end: u64) -> Transcript {
    Transcript {
        utterance,
        text: text.into(),
        stash: stash.into(),
        start,
        end,
        ..Transcript::default()
    }
}

/// Times in milliseconds, words as text, start and end.
#[derive(Default)]
struct Tester {
    stable: Stable,
    out: Vec<Cue>,
}

impl Tester {
    fn interim(&mut self, item: u64, text: &str, stash: &str, start: u64, heard: u64) -> String {
        self.stable.interim(
            &said(item, text, stash, start * MS, heard * MS),
            0,
            &mut self.out,
        );
        self.taken()
    }

    fn finalise(&mut self, item: u64, text: &str, start: u64, end: u64) -> String {
        self.stable.finalise(
            &said(item, text, "", start * MS, end * MS),
            0,
            &mut self.out,
        );
        self.taken()
    }

    fn due(&mut self, position: u64) -> String {
        self.stable.due(position * MS, 0, &mut self.out);
        self.taken()
    }

    fn held(&self) -> Option<u64> {
        self.stable.held().map(|held| held / MS)
    }

    fn taken(&mut self) -> String {
        let text = |word: Cue| format!("{} {}-{}", word.text, word.start / MS, word.end / MS);
        let words: Vec<_> = self.out.drain(..).map(text).collect();
        words.join(" | ")
    }
}

#[test]
fn an_utterance_from_begin_to_end() {
    let mut t = Tester::default();
    assert_eq!(t.held(), None);
    assert_eq!(t.interim(1, "", "", 1000, 1100), "");
    assert_eq!(t.held(), Some(1000));
    assert_eq!(t.interim(1, "", "今天", 1000, 1700), "");
    assert_eq!(t.interim(1, "", "今天天气真", 1000, 2300), "");
    assert_eq!(t.interim(1, "今天", "天气真不错", 1000, 2700), "");
    assert_eq!(t.held(), Some(1000));
    assert_eq!(
        t.interim(1, "今天天气真不错，", "", 1000, 3300),
        "今天天气真不错， 1000-3000"
    );
    assert_eq!(t.held(), Some(3000), "no text is known for after this");
    assert_eq!(t.interim(1, "今天天气真不错，", "", 1000, 3800), "");
    assert_eq!(t.held(), Some(3500));
    assert_eq!(t.interim(1, "今天天气真不错，", "阳光", 1000, 4300), "");
    assert_eq!(
        t.interim(1, "今天天气真不错，", "阳光明媚。", 1000, 4800),
        ""
    );
    assert_eq!(t.held(), Some(3500));
    assert_eq!(
        t.finalise(1, "今天天气真不错，阳光明媚。", 1000, 4700),
        "阳光明媚。 3500-4700"
    );
    assert_eq!(t.held(), None);
}

#[test]
fn words_are_shown_when_they_are_due() {
    let mut t = Tester::default();
    t.interim(1, "", "one two", 1000, 2000);
    t.interim(1, "", "one two three four", 1000, 2100);
    assert_eq!(t.due(999), "");
    assert_eq!(t.due(1000), "one 1000-1300");
    assert_eq!(t.due(1399), "");
    assert_eq!(t.held(), Some(1400));
    assert_eq!(t.due(1750), "two 1400-1700 | three 1709-1754");
    assert_eq!(t.due(9000), "", "the last word may still grow");
    t.interim(1, "", "one two three four", 1000, 2100);
    assert_eq!(t.due(1763), "");
    assert_eq!(t.due(1764), "four 1763-1803");
    assert_eq!(t.interim(1, "", "one two three fourteen", 1000, 2400), "");
    assert_eq!(
        t.finalise(1, "One, two, three, fourteen, ok.", 1000, 2200),
        "ok. 2160-2200"
    );
}

#[test]
fn runs_are_not_shown_by_character() {
    let mut t = Tester::default();
    t.interim(1, "", "今天天气", 0, 1100);
    assert_eq!(t.due(0), "今天天 0-600");
    t.interim(1, "", "今天天气真不错", 0, 1700);
    assert_eq!(t.due(550), "");
    assert_eq!(t.due(600), "气真不 600-1200");
}

#[test]
fn utterances_keep_their_order() {
    let mut t = Tester::default();
    t.interim(1, "", "one two", 0, 1300);
    assert_eq!(t.interim(2, "three. ", "four", 900, 1700), "");
    assert_eq!(t.finalise(2, "Three. Four.", 900, 2000), "");
    assert_eq!(t.interim(2, "more", "", 900, 2300), "", "it is final");
    assert_eq!(t.held(), Some(0));
    assert_eq!(
        t.finalise(1, "One two.", 0, 1000),
        "One 0-428 | two. 571-1000 | Three. 1000-1172 | Four. 1218-2000"
    );
    assert_eq!(t.held(), None);
}

#[test]
fn later_utterances_are_shown_when_they_are_due() {
    let mut t = Tester::default();
    t.interim(1, "", "one", 0, 1300);
    t.interim(3, "", "", 3000, 3000);
    t.interim(2, "two, ", "three", 2000, 3300);
    assert_eq!(t.due(2200), "two, 2000-2400");
    assert_eq!(t.finalise(2, "Two, three.", 2000, 3100), "");
    assert_eq!(t.due(3000), "three. 2500-3100");
    assert_eq!(t.held(), Some(3100), "that is where all the others go");
    assert_eq!(t.finalise(1, "One.", 0, 1000), "One. 3100-3140");
    assert_eq!(t.finalise(3, "", 3000, 3100), "");
    assert_eq!(t.held(), None);
}

#[test]
fn utterances_without_text_show_nothing() {
    let mut t = Tester::default();
    t.interim(1, "", "。", 0, 1000);
    assert_eq!(t.due(5000), "");
    assert_eq!(t.held(), Some(0));
    assert_eq!(t.finalise(1, "。", 0, 1000), "");
    assert_eq!(t.finalise(2, "…?", 2000, 1000), "");
    assert_eq!(t.held(), None);
}

#[test]
fn open_utterances_are_bounded() {
    let mut t = Tester::default();
    for n in 0..MAX_OPEN as u64 {
        assert_eq!(t.interim(n, "", "hm", n * 1000, n * 1000), "");
    }
    assert_eq!(t.interim(1000, "", "hm", 100_000, 100_000), "hm 0-40");
    assert_eq!(t.finalise(0, "hm what", 0, 1000), "", "it was given up");
    assert_eq!(t.interim(0, "hm what ", "", 0, 1000), "");
    assert_eq!(
        t.finalise(1, "hm what", 1000, 1900),
        "hm 1000-1040 | what 1180-1900"
    );
    assert_eq!(t.stable.open.len(), MAX_OPEN - 1);
}

#[test]
fn any_numbers_are_taken() {
    let mut t = Tester::default();
    let numbers = [0, 1, MS, u64::MAX / 2, u64::MAX - 1, u64::MAX];
    let (mut out, mut item) = (Vec::new(), 0);
    for start in numbers {
        for heard in numbers {
            for end in numbers {
                item += 1;
                t.stable
                    .interim(&said(item, "a b", " c d e", start, heard), 0, &mut out);
                t.stable.due(heard, 0, &mut out);
                t.stable
                    .finalise(&said(item, "a b c 你好，d", "", start, end), 0, &mut out);
                t.stable.held();
            }
        }
    }
    let ordered = |pair: &[Cue]| pair[0].end <= pair[1].start;
    assert!(out.windows(2).all(ordered));
}

#[test]
fn what_is_heard_again_from_its_start_goes_on_where_it_was() {
    let said = ["one", "two", "three", "four", "five", "six", "seven"];
    let so_far = |count: usize| said[..count].join(" ");
    for known in 1..7 {
        for interrupted in 0..3 {
            let mut t = Tester::default();
            let mut shown = Vec::new();
            // Over each connection from the start, which is not known to the millisecond.
            for again in 0..=interrupted {
                let until = if again == interrupted { 7 } else { known };
                for count in 1..=until {
                    let audio_end = 1300 + 400 * count as u64;
                    let start = 1000 + 200 * again;
                    shown.push(t.interim(1, "", &so_far(count), start, audio_end));
                    shown.push(t.due(audio_end - 700));
                }
            }
            shown.push(t.finalise(1, &so_far(7), 1200, 4000));
            shown.retain(|words| !words.is_empty());
            let words: Vec<_> = shown.iter().flat_map(|words| words.split(" | ")).collect();
            let texts = words.iter().map(|word| word.split(' ').next().unwrap());
            assert_eq!(texts.collect::<Vec<_>>(), said, "{words:?}");
        }
    }
}

#[test]
fn times_are_those_of_the_hearing_that_words_come_from() {
    let mut t = Tester::default();
    // The service is slow, then the connection breaks.
    t.interim(1, "", "one two", 1000, 2900);
    let shown = [("one", 1700), ("one two", 2100), ("one two three", 2500)]
        .map(|(text, audio_end)| t.interim(1, "", text, 1000, audio_end));
    assert_eq!(shown.concat(), "one 1000-1400");
    assert_eq!(
        t.finalise(1, "one two three", 1000, 2600),
        "two 1500-1800 | three 1866-2600"
    );
}

#[test]
fn a_transcript_ends_earlier_once_the_speech_has_ended() {
    let mut t = Tester::default();
    t.interim(1, "", "one", 1000, 1700);
    t.interim(1, "", "one two", 1000, 2100);
    // The silence after it has been sent as well, and does not count any more.
    t.interim(1, "", "one two", 1000, 2400);
    t.interim(1, "", "one two three", 1000, 2300);
    assert_eq!(
        t.finalise(1, "one two three", 1000, 2300),
        "two 1500-1800 | three 2100-2300"
    );
}

#[test]
fn at_the_end_what_is_known_is_shown() {
    let mut t = Tester::default();
    t.interim(1, "", "one two", 1000, 2000);
    t.finalise(2, "three", 3000, 3500);
    t.stable.end(0, &mut t.out);
    assert_eq!(t.taken(), "one 1000-1300 | two 1400-1700 | three 3000-3500");
    assert_eq!(t.held(), None);
}

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
            stable.interim(&said(1, text, stash, 0, heard as u64 * MS), 0, &mut out);
        }
        assert!(out.len() > 50);
        stable.finalise(&said(1, &words.join(" "), "", 0, 6000 * MS), 0, &mut out);
        assert_eq!(out.len(), 60);
        let mut errors: Vec<_> = (0..60)
            .map(|n| out[n].start.abs_diff(n as u64 * 100 * MS) / MS)
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
            .all(|word| word.end - word.start >= MIN_WORD_DURATION)
    );
    assert!(
        words.windows(2).all(|pair| pair[0].end <= pair[1].start),
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
        stable.interim(
            &said(item, text, &stash, 1000 * MS, heard * MS),
            0,
            &mut out,
        );
        if near {
            stable.due(
                heard.saturating_sub(random.below(1000) as u64) * MS,
                0,
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
        stable.finalise(&said(1, &spoken, "", 1000 * MS, 20_000 * MS), 0, &mut words);
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
        stable.finalise(&said(item, &last, "", 1000 * MS, 9000 * MS), 0, &mut after);
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
                stable.interim(&said(1, text, stash, 0, heard * MS), 0, &mut words);
            }
            assert!(!words.is_empty());
            stable.finalise(&said(1, text, "", 0, heard * MS), 0, &mut words);
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
            let start = item as u64 * 1000 * MS;
            known[item] += random.below(4);
            let text = &texts[item];
            if known[item] >= text.len() {
                finals.swap_remove(at);
                let end = start + heard * MS;
                stable.finalise(
                    &said(item as u64, &text.join(" "), "", start, end),
                    0,
                    &mut out,
                );
            } else {
                let (text, stash) = (
                    text[..known[item] / 2].join(" "),
                    text[..known[item]].join(" "),
                );
                let stash = &stash[text.len()..];
                stable.interim(
                    &said(item as u64, &text, stash, start, heard * MS),
                    0,
                    &mut out,
                );
            }
            if random.below(3) == 0 {
                let held = stable.held();
                let before = out.len();
                stable.due(heard / 2 * MS, 0, &mut out);
                let first = out.get(before).map(|word| word.start);
                assert!(first.is_none_or(|first| first <= heard / 2 * MS));
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
