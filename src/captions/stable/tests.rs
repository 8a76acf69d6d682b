// SPDX-License-Identifier: MPL-2.0

//! Words of utterances as scripts: hypotheses in, words out. Times are in milliseconds.

mod random;

use super::super::curve::MIN_WORD_DURATION;
use super::super::text::normalise;
use super::super::tokens::tokens;
use super::*;
use crate::timeline::Span;

/// A timestamp in milliseconds.
const AT: fn(u64) -> Timestamp = Timestamp::from_millis;

fn said(utterance: Utterance, text: &str, stash: &str, start: u64, end: u64) -> Transcript {
    Transcript {
        utterance,
        text: text.into(),
        stash: stash.into(),
        span: Span::from_millis(start, end),
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
        self.stable
            .interim(&said(item, text, stash, start, heard), AT(0), &mut self.out);
        self.taken()
    }

    fn finalise(&mut self, item: u64, text: &str, start: u64, end: u64) -> String {
        self.stable
            .finalise(&said(item, text, "", start, end), AT(0), &mut self.out);
        self.taken()
    }

    fn due(&mut self, position: u64) -> String {
        self.stable.due(AT(position), AT(0), &mut self.out);
        self.taken()
    }

    fn held(&self) -> Option<u64> {
        self.stable.held().map(|held| held.millis())
    }

    fn taken(&mut self) -> String {
        let text = |word: Cue| {
            format!(
                "{} {}-{}",
                word.text,
                word.span.start.millis(),
                word.span.end.millis()
            )
        };
        let words: Vec<_> = self.out.drain(..).map(text).collect();
        words.join(" | ")
    }
}

#[test]
fn an_utterance_from_start_to_end() {
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
        "One 0-375 | two. 500-1000 | Three. 1000-1172 | Four. 1218-2000"
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
    let most = u64::MAX / 1_000_000;
    let numbers = [0, 1, 1000, most / 2, most - 1, most];
    let (mut out, mut item) = (Vec::new(), 0);
    for start in numbers {
        for heard in numbers {
            for end in numbers {
                item += 1;
                t.stable
                    .interim(&said(item, "a b", " c d e", start, heard), AT(0), &mut out);
                t.stable.due(AT(heard), AT(0), &mut out);
                t.stable.finalise(
                    &said(item, "a b c 你好，d", "", start, end),
                    AT(0),
                    &mut out,
                );
                t.stable.held();
            }
        }
    }
    let ordered = |pair: &[Cue]| pair[0].span.end <= pair[1].span.start;
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
    t.stable.end(AT(0), &mut t.out);
    assert_eq!(t.taken(), "one 1000-1300 | two 1400-1700 | three 3000-3500");
    assert_eq!(t.held(), None);
}
