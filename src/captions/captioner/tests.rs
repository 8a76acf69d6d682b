// SPDX-License-Identifier: MPL-2.0
//! Whole captioners as scripts: transcripts in, pieces out, in words. Times are in milliseconds.

mod interim;
mod loops;

use super::*;
use crate::timeline::Span;
use crate::transcript::Word;

/// A timestamp in milliseconds.
const AT: fn(u64) -> Timestamp = Timestamp::from_millis;

/// A captioner, and what it has given out since that was last asked for.
struct Script {
    captioner: Captioner,
    out: Vec<Piece>,
}

impl Script {
    /// Of lines of at most 20 columns, from the start.
    fn new(mode: Mode) -> Self {
        Self::with(mode, 20, 1000, 7000)
    }

    fn with(mode: Mode, max_chars: usize, min_ms: u64, max_ms: u64) -> Self {
        let layout = Layout {
            max_chars: Some(max_chars),
            max_lines: 1,
            min_duration: Duration::from_millis(min_ms),
            max_duration: Some(Duration::from_millis(max_ms)),
        };
        let mut captioner = Captioner::new(mode, layout);
        captioner.begin(AT(0));
        Self {
            captioner,
            out: Vec::new(),
        }
    }

    fn interim(&mut self, utterance: u64, text: &str, start: u64, end: u64) -> String {
        let transcript = transcript(utterance, "", text, start, end);
        self.captioner.interim(&transcript, &mut self.out);
        self.taken()
    }

    fn finalise(&mut self, utterance: u64, text: &str, start: u64, end: u64) -> String {
        let transcript = transcript(utterance, text, "", start, end);
        self.captioner.finalise(&transcript, &mut self.out);
        self.taken()
    }

    fn watermark(&mut self, time: u64) -> String {
        self.captioner.watermark(AT(time), &mut self.out);
        self.taken()
    }

    fn due(&mut self, time: u64) -> String {
        self.captioner.due(AT(time), &mut self.out);
        self.taken()
    }

    fn end(&mut self) -> String {
        self.captioner.end(&mut self.out);
        self.taken()
    }

    fn taken(&mut self) -> String {
        let pieces: Vec<_> = self.out.drain(..).map(in_words).collect();
        pieces.join(" | ")
    }
}

/// A gap as `- 0-300`, a text as `text 300-900`, with `~` before if it goes on and `(of 200)`
/// behind if it comes late, a language as `[en]`, the end of an utterance as a full stop.
fn in_words(piece: Piece) -> String {
    let span = |start: Timestamp, duration: Duration| {
        format!("{}-{}", start.millis(), (start + duration).millis())
    };
    match piece {
        Piece::Text {
            text,
            start,
            duration,
            intended,
        } => {
            let span = span(start, duration);
            match intended {
                None => format!("~{text} {span}"),
                Some(intended) if intended < start => {
                    format!("{text} {span} (of {})", intended.millis())
                }
                Some(_) => format!("{text} {span}"),
            }
        }
        Piece::Gap { start, duration } => format!("- {}", span(start, duration)),
        Piece::Language(language) => format!("[{language}]"),
        Piece::Speaker(speaker) => format!("speaker {speaker}"),
        Piece::UtteranceEnd => ".".into(),
    }
}

fn transcript(utterance: u64, text: &str, stash: &str, start: u64, end: u64) -> Transcript {
    Transcript {
        utterance,
        text: text.into(),
        stash: stash.into(),
        span: Span::from_millis(start, end),
        ..Transcript::default()
    }
}

#[test]
fn final_cues_are_where_they_were_said() {
    let mut s = Script::new(Mode::Final);
    assert_eq!(s.interim(1, "Good", 500, 900), "");
    assert_eq!(s.watermark(500), "- 0-500");
    assert_eq!(
        s.finalise(1, "Good evening. Here is the news.", 500, 3500),
        "Good evening. 500-1758 | Here is the news. 1758-3500 | ."
    );
    assert_eq!(s.watermark(4000), "- 3500-4000");
    assert_eq!(s.finalise(2, " … ", 4000, 4500), "", "a cough");
    assert_eq!(
        s.finalise(3, "Well.", 4200, 4600),
        "- 4000-4200 | Well. 4200-5200 | ."
    );
    assert_eq!(s.watermark(5000), "");
    assert_eq!(s.end(), "");
}

#[test]
fn a_cue_is_held_until_it_has_been_read_but_not_beyond_the_next() {
    // Of 19 characters, for which 950 ms are enough.
    let quick = "Quick as a flash, I";
    let script = || Script::with(Mode::Final, 20, 500, 7000);
    let mut s = script();
    assert_eq!(s.finalise(1, quick, 0, 600), "");
    assert_eq!(
        s.finalise(2, "Next.", 800, 1600),
        "Quick as a flash, I 0-800 | . | Next. 800-1600 | ."
    );
    for (free_until, expected) in [
        (600, "Quick as a flash, I 0-600 | ."),
        (900, "Quick as a flash, I 0-900 | ."),
        (1200, "Quick as a flash, I 0-950 | . | - 950-1200"),
    ] {
        let mut s = script();
        s.finalise(1, quick, 0, 600);
        assert_eq!(s.watermark(free_until), expected);
    }
    let mut s = script();
    s.finalise(1, quick, 1000, 1600);
    assert_eq!(s.due(699), "- 0-699");
    assert_eq!(s.due(700), "- 699-1000 | Quick as a flash, I 1000-1600 | .");
    // With deadlines there is time to wait for the next one.
    for (wait, expected) in [(900, ""), (950, "Quick as a flash, I 1000-1950 | .")] {
        let mut s = script();
        s.due(500);
        s.finalise(1, quick, 1000, 1600);
        s.watermark(1000);
        assert_eq!(s.watermark(1000 + wait), expected);
    }
    let mut s = script();
    s.finalise(1, quick, 0, 600);
    assert_eq!(s.end(), "Quick as a flash, I 0-950 | .");
}

#[test]
fn final_cues_have_the_times_of_their_words() {
    let mut s = Script::new(Mode::Final);
    let word = |text: &str, start: u64, end: u64| Word {
        text: text.into(),
        span: Span::from_millis(start, end),
    };
    let mut said = transcript(1, "Good evening. Here is the news.", "", 500, 3500);
    said.words = vec![
        word("Good evening.", 500, 2000),
        word("Here is the news.", 2300, 3500),
    ];
    s.captioner.finalise(&said, &mut s.out);
    assert_eq!(
        s.taken(),
        "- 0-500 | Good evening. 500-2300 | Here is the news. 2300-3500 | ."
    );
}

#[test]
fn a_language_is_announced_when_it_changes() {
    let mut s = Script::new(Mode::Final);
    let mut say = |language: Option<&str>, text: &str, start: u64| {
        let mut said = transcript(start, text, "", start, start + 1000);
        said.language = language.map(str::to_owned);
        s.captioner.finalise(&said, &mut s.out);
        s.taken()
    };
    assert_eq!(say(Some("en"), "", 0), "", "there is no text");
    assert_eq!(say(Some("en"), "One.", 0), "[en] | One. 0-1000 | .");
    assert_eq!(say(Some("en"), "Two.", 1000), "Two. 1000-2000 | .");
    assert_eq!(say(None, "Three.", 2000), "Three. 2000-3000 | .");
    assert_eq!(
        say(Some("fr"), "Quatre.", 3000),
        "[fr] | Quatre. 3000-4000 | ."
    );
}

#[test]
fn another_speaker_is_announced_before_the_text() {
    let mut s = Script::new(Mode::Final);
    let mut say = |utterance, speaker| {
        let start = 1000 * utterance;
        let said = Transcript {
            speaker,
            ..transcript(utterance, "Yes.", "", start, start + 1000)
        };
        s.captioner.finalise(&said, &mut s.out);
        s.taken()
    };
    assert_eq!(say(0, Some(3)), "speaker 3 | Yes. 0-1000 | .");
    assert_eq!(say(1, Some(3)), "Yes. 1000-2000 | .");
    assert_eq!(say(2, None), "Yes. 2000-3000 | .");
    assert_eq!(say(3, Some(0)), "speaker 0 | Yes. 3000-4000 | .");
}

#[test]
fn time_goes_on_without_text() {
    for mode in [Mode::Final, Mode::Stable, Mode::Interim] {
        let mut s = Script::new(mode);
        assert_eq!(s.due(100), "", "a small step");
        assert_eq!(s.due(250), "- 0-250");
        assert_eq!(s.watermark(300), "- 250-300");
        assert_eq!(s.due(499), "");
        assert_eq!(s.due(500), "- 300-500");
        assert_eq!(s.watermark(400), "");
    }
}

#[test]
fn a_late_cue_is_shown_at_once() {
    let mut s = Script::new(Mode::Final);
    assert_eq!(s.due(5000), "- 0-5000");
    assert_eq!(
        s.finalise(1, "Good evening. Here is the news.", 500, 3500),
        "Good evening. 5000-6000 (of 500) | Here is the news. 6000-7000 (of 1758) | ."
    );
    assert_eq!(
        s.finalise(2, "So.", 7100, 7500),
        "- 7000-7100 | So. 7100-8100 | ."
    );
}

#[test]
fn the_next_session_goes_on_where_the_one_before_ended() {
    let mut s = Script::new(Mode::Final);
    assert_eq!(s.finalise(0, "One.", 0, 2000), "One. 0-2000 | .");
    s.captioner.begin(AT(3000));
    assert_eq!(
        s.finalise(0, "Two.", 3000, 4000),
        "- 2000-3000 | Two. 3000-4000 | ."
    );
}

/// When the cues begin, and when they should have.
fn beginnings(s: &mut Script, mode: Mode, count: u64, period: u64, length: u64) -> Vec<u64> {
    let mut late = Vec::new();
    for n in 0..count {
        let start = n * period;
        let text = format!("Word{n}");
        if mode == Mode::Interim {
            let transcript = transcript(n, "", &text, start, start + length);
            s.captioner.interim(&transcript, &mut s.out);
        }
        let transcript = transcript(n, &text, "", start, start + length);
        s.captioner.finalise(&transcript, &mut s.out);
        let begin = s.out.drain(..).find_map(|piece| match piece {
            Piece::Text {
                text: shown, start, ..
            } if shown == text => Some(start.millis()),
            _ => None,
        });
        late.push(begin.unwrap() - start);
    }
    late
}

#[test]
fn short_utterances_do_not_push_the_next_ones_later_and_later() {
    for mode in [Mode::Final, Mode::Interim] {
        for (period, length) in [(800, 300), (900, 500), (350, 300), (300, 300), (1200, 100)] {
            let late = beginnings(&mut Script::new(mode), mode, 40, period, length);
            let most = late.iter().max().unwrap();
            assert!(*most <= 1000, "{mode:?}, {length} of {period} ms: {late:?}");
        }
    }
}

#[test]
fn stable_words_come_as_soon_as_they_are_certain_or_due() {
    let mut s = Script::new(Mode::Stable);
    assert_eq!(s.interim(1, "", 500, 600), "");
    assert_eq!(s.watermark(900), "- 0-500", "not beyond the utterance");
    assert_eq!(s.interim(1, "one two", 500, 1500), "");
    assert_eq!(s.due(200), "one 500-800", "it will be before the next call");
    assert_eq!(s.interim(1, "one two three", 500, 1900), "");
    assert_eq!(
        s.interim(1, "one two three", 500, 2300),
        "- 800-900 | two 900-1200"
    );
    assert_eq!(
        s.finalise(1, "One, two, three, four.", 500, 2300),
        "- 1200-1400 | three, 1400-2100 | - 2100-2133 | four. 2133-2300 | ."
    );
    assert_eq!(s.watermark(2500), "- 2300-2500");
}

#[test]
fn stable_words_wait_for_the_utterance_before_them_but_not_for_ever() {
    let mut s = Script::new(Mode::Stable);
    s.interim(1, "one", 0, 700);
    assert_eq!(s.finalise(2, "two", 1000, 1500), ".");
    assert_eq!(s.watermark(1500), "");
    assert_eq!(
        s.due(700),
        "- 0-1000 | two 1000-1500",
        "so text cannot be held up by a service that forgets"
    );
    assert_eq!(s.finalise(1, "one", 0, 700), "one 1500-1540 | .");
}

#[test]
fn stable_runs_without_spaces_are_divided() {
    let mut s = Script::with(Mode::Stable, 8, 1000, 7000);
    assert_eq!(
        s.finalise(1, "今天天气真不错", 0, 1400),
        "今天天气 0-800 | 真不错 800-1400 | ."
    );
}

#[test]
fn what_is_heard_again_is_not_shown_again() {
    let texts = ["one", "one two", "one two three"];
    for mode in [Mode::Stable, Mode::Interim] {
        let mut s = Script::new(mode);
        let mut shown = Vec::new();
        // Twice, over two connections.
        for count in (1..=3).chain(1..=3) {
            shown.push(s.interim(1, texts[count - 1], 0, 500 + 400 * count as u64));
        }
        shown.push(s.finalise(1, "one two three four", 0, 2000));
        shown.retain(|pieces| !pieces.is_empty());
        let expected: &[&str] = match mode {
            Mode::Stable => &[
                "one 0-600",
                "- 600-700 | two 700-1000 | - 1000-1066 | three 1066-1400 | - 1400-1520 \
                 | four 1520-2000 | .",
            ],
            _ => &[
                "one 0-900",
                "one two 900-1300",
                "one two three 1300-1700",
                "one two three four 1700-2700 | .",
            ],
        };
        assert_eq!(shown, expected);
    }
}

#[test]
fn what_is_known_at_the_end_is_shown_and_the_next_session_begins_anew() {
    for mode in [Mode::Stable, Mode::Interim] {
        let mut s = Script::new(mode);
        s.due(2000);
        for utterance in 0..80 {
            s.interim(utterance, &format!("word{utterance}"), 0, 1000);
        }
        let end = s.end();
        assert!(end.contains("word79"), "{mode:?}: {end}");
        s.captioner.begin(AT(9000));
        let shown = s.interim(0, "one two", 9000, 9900) + &s.interim(0, "one two", 9000, 10_400);
        assert!(shown.contains("one"), "{mode:?}: {shown}");
        let shown = s.finalise(0, "one two three", 9000, 10_500);
        assert!(shown.contains("three"), "{mode:?}: {shown}");
    }
}

fn text_of(piece: Piece) -> Option<String> {
    match piece {
        Piece::Text { text, .. } => Some(text),
        _ => None,
    }
}

#[test]
fn no_cue_is_large() {
    for text in [
        "\u{200b}".repeat(20_000) + "a",
        "a".repeat(20_000),
        "字".repeat(7000),
        "a".to_owned() + &"\u{301}".repeat(20_000),
        "👩\u{200d}".repeat(5000),
        "a\u{301}\u{302}\u{303} ".repeat(3000),
    ] {
        for mode in [Mode::Final, Mode::Stable, Mode::Interim] {
            for max_chars in [None, Some(84)] {
                let layout = Layout {
                    max_chars,
                    ..Layout::default()
                };
                let mut captioner = Captioner::new(mode, layout);
                captioner.begin(AT(0));
                let mut out = Vec::new();
                captioner.interim(&transcript(1, "", &text[..0], 0, 500), &mut out);
                captioner.interim(&transcript(1, "", &text, 0, 1000), &mut out);
                captioner.finalise(&transcript(1, &text, "", 0, 9000), &mut out);
                let largest = out
                    .into_iter()
                    .filter_map(text_of)
                    .map(|text| text.len())
                    .max();
                assert!(largest <= Some(4096), "{mode:?}: {largest:?}");
            }
        }
    }
}
