// SPDX-License-Identifier: MPL-2.0
//! What holds for whatever a recogniser says and whenever it says that.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::curve::MIN_WORD_DURATION;
use super::*;
use crate::property_testing::check;
use crate::timeline::Span;

/// A timestamp in milliseconds.
const AT: fn(u64) -> Timestamp = Timestamp::from_millis;

/// An utterance, and how its text grew.
#[derive(Debug, Clone)]
struct Said {
    words: usize,
    /// How long each word takes, and the pause before the first one, in milliseconds.
    word: u64,
    pause: u64,
    hypotheses: Vec<Hypothesis>,
    /// Heard again from the start after this many hypotheses.
    interrupted_after: Option<usize>,
    /// The final text comes only after the next utterance has begun.
    late: bool,
}

#[derive(Debug, Clone)]
struct Hypothesis {
    /// Words of which the hypothesis consists more than the one before.
    more: usize,
    /// Words at the end that are wrong.
    wrong: usize,
    /// Words at the start that the service is sure of.
    certain: usize,
    /// Whether the latest word is complete.
    whole: bool,
}

fn said() -> impl Strategy<Value = Said> {
    let hypothesis = (0..4_usize, 0..3_usize, 0..12_usize, any::<bool>()).prop_map(
        |(more, wrong, certain, whole)| Hypothesis {
            more,
            wrong,
            certain,
            whole,
        },
    );
    let interrupted = prop_oneof![3 => Just(None), 1 => (1..5_usize).prop_map(Some)];
    (
        1..14_usize,
        30..400_u64,
        0..2000_u64,
        vec(hypothesis, 0..10),
        interrupted,
        any::<bool>(),
    )
        .prop_map(
            |(words, word, pause, hypotheses, interrupted_after, late)| Said {
                words,
                word,
                pause,
                hypotheses,
                interrupted_after,
                late,
            },
        )
}

/// What happens to a captioner besides transcripts.
#[derive(Debug, Clone)]
struct Setting {
    max_chars: Option<usize>,
    min_ms: u64,
    /// How far the deadline is behind the audio in milliseconds, if there is one.
    deadline: Option<u64>,
}

fn setting() -> impl Strategy<Value = Setting> {
    let max_chars = select(vec![None, Some(10), Some(20), Some(42)]);
    let deadline = prop_oneof![Just(None), (0..3000_u64).prop_map(Some)];
    (max_chars, select(vec![0, 1000, 3000]), deadline).prop_map(|(max_chars, min_ms, deadline)| {
        Setting {
            max_chars,
            min_ms,
            deadline,
        }
    })
}

/// The word at this place of an utterance, or what a recogniser takes it for.
fn word(utterance: u64, place: usize, is_right: bool) -> String {
    let letter = if is_right { 'a' } else { 'x' };
    format!("{utterance}{letter}{place}z")
}

/// Plays utterances to a captioner.
struct Player {
    captioner: Captioner,
    setting: Setting,
    out: Vec<Piece>,
    final_late: Option<Transcript>,
}

impl Player {
    fn new(mode: Mode, setting: &Setting) -> Self {
        let layout = Layout {
            max_chars: setting.max_chars,
            max_lines: 1,
            min_duration: Duration::from_millis(setting.min_ms),
            max_duration: Some(Duration::from_secs(7)),
        };
        let mut captioner = Captioner::new(mode, layout);
        captioner.begin(AT(0));
        Self {
            captioner,
            setting: setting.clone(),
            out: Vec::new(),
            final_late: None,
        }
    }

    fn play(mode: Mode, setting: &Setting, utterances: &[Said]) -> Vec<Piece> {
        let mut player = Self::new(mode, setting);
        let mut time = 0;
        for (utterance, said) in utterances.iter().enumerate() {
            let start = time + said.pause;
            player.say(utterance as u64, said, start);
            time = start + said.words as u64 * said.word;
        }
        player.deliver_late_final();
        player.captioner.watermark(AT(time + 1000), &mut player.out);
        player.captioner.end(&mut player.out);
        player.out
    }

    fn say(&mut self, utterance: u64, said: &Said, start: u64) {
        let end = start + said.words as u64 * said.word;
        let interrupted_after = said.interrupted_after.unwrap_or_default();
        let heard = said.hypotheses.iter().take(interrupted_after);
        self.hear(utterance, said, start, heard);
        self.hear(utterance, said, start, said.hypotheses.iter());
        self.deliver_late_final();
        let words = (0..said.words).map(|place| word(utterance, place, true));
        let transcript = Transcript {
            utterance,
            text: words.collect::<Vec<_>>().join(" "),
            span: Span::from_millis(start, end),
            ..Transcript::default()
        };
        if said.late {
            self.final_late = Some(transcript);
        } else {
            self.captioner.finalise(&transcript, &mut self.out);
            self.captioner.watermark(AT(end), &mut self.out);
        }
    }

    fn hear<'a>(
        &mut self,
        utterance: u64,
        said: &Said,
        start: u64,
        hypotheses: impl Iterator<Item = &'a Hypothesis>,
    ) {
        let mut known = 0;
        for hypothesis in hypotheses {
            known = (known + hypothesis.more).min(said.words);
            let mut words: Vec<_> = (0..known)
                .map(|place| word(utterance, place, place + hypothesis.wrong < known))
                .collect();
            if let Some(latest) = words.last_mut()
                && !hypothesis.whole
            {
                latest.pop();
            }
            let certain = hypothesis
                .certain
                .min(known.saturating_sub(hypothesis.wrong + 1));
            let stash = words.split_off(certain).join(" ");
            let text: String = words.iter().map(|word| format!("{word} ")).collect();
            let audio_end = start + known as u64 * said.word + 300;
            let transcript = Transcript {
                utterance,
                text,
                stash,
                span: Span::from_millis(start, audio_end),
                ..Transcript::default()
            };
            self.captioner.interim(&transcript, &mut self.out);
            if let Some(behind) = self.setting.deadline {
                let due = AT(audio_end.saturating_sub(behind));
                self.captioner.due(due, &mut self.out);
            }
        }
    }

    fn deliver_late_final(&mut self) {
        if let Some(transcript) = self.final_late.take() {
            self.captioner.finalise(&transcript, &mut self.out);
        }
    }
}

const MODES: [Mode; 3] = [Mode::Final, Mode::Stable, Mode::Interim];

fn texts(pieces: &[Piece]) -> impl Iterator<Item = &str> {
    pieces.iter().filter_map(|piece| match piece {
        Piece::Text { text, .. } => Some(text.as_str()),
        _ => None,
    })
}

#[test]
fn pieces_follow_each_other_and_none_is_blank_or_without_duration() {
    check(
        1000,
        (setting(), vec(said(), 1..6)),
        |(setting, utterances)| {
            for mode in MODES {
                let mut end = AT(0);
                for piece in Player::play(mode, &setting, &utterances) {
                    let (start, duration) = match &piece {
                        Piece::Text {
                            text,
                            start,
                            duration,
                            ..
                        } => {
                            assert!(!is_blank(text), "{mode:?}: {piece:?}");
                            (*start, *duration)
                        }
                        Piece::Gap { start, duration } => (*start, *duration),
                        Piece::Language(_) | Piece::Speaker(_) | Piece::UtteranceEnd => continue,
                    };
                    assert_eq!(start, end, "{mode:?}: {piece:?}");
                    assert!(!duration.is_zero(), "{mode:?}: {piece:?}");
                    end = start + duration;
                }
            }
        },
    );
}

#[test]
fn every_word_is_shown_or_another_one_stands_in_its_place() {
    check(
        1000,
        (setting(), vec(said(), 1..6)),
        |(setting, utterances)| {
            for mode in MODES {
                let pieces = Player::play(mode, &setting, &utterances);
                let shown: Vec<&str> = texts(&pieces).flat_map(|text| text.split(' ')).collect();
                for (utterance, said) in utterances.iter().enumerate() {
                    for place in 0..said.words {
                        let right = word(utterance as u64, place, true);
                        let wrong = word(utterance as u64, place, false);
                        // A word that is due may be shown before its end is known.
                        let torn = [&right, &wrong].map(|word| word.trim_end_matches('z'));
                        let stands: &[&str] = match mode {
                            Mode::Final => &[&right],
                            Mode::Interim => &[&right, &wrong],
                            Mode::Stable => &[&right, &wrong, torn[0], torn[1]],
                        };
                        assert!(
                            stands.iter().any(|word| shown.contains(word)),
                            "{mode:?} lacks {right}: {pieces:#?}"
                        );
                    }
                }
            }
        },
    );
}

#[test]
fn words_that_stay_are_shown_once() {
    check(
        1000,
        (setting(), vec(said(), 1..6)),
        |(setting, utterances)| {
            for mode in [Mode::Final, Mode::Stable] {
                let pieces = Player::play(mode, &setting, &utterances);
                let mut shown: Vec<&str> =
                    texts(&pieces).flat_map(|text| text.split(' ')).collect();
                let count = shown.len();
                shown.sort_unstable();
                shown.dedup();
                assert_eq!(shown.len(), count, "{mode:?}: {pieces:#?}");
            }
        },
    );
}

#[test]
fn without_deadlines_text_is_late_by_no_more_than_the_shortest_showing() {
    check(
        1000,
        (setting(), vec(said(), 1..12)),
        |(setting, utterances)| {
            let setting = Setting {
                deadline: None,
                ..setting
            };
            for (mode, shortest) in [
                (Mode::Final, Duration::from_millis(setting.min_ms)),
                (Mode::Stable, MIN_WORD_DURATION),
            ] {
                for piece in Player::play(mode, &setting, &utterances) {
                    if let Piece::Text {
                        start,
                        intended: Some(intended),
                        ..
                    } = piece
                    {
                        assert!(
                            start.since(intended) <= shortest,
                            "{mode:?}: {intended:?} at {start:?}"
                        );
                    }
                }
            }
        },
    );
}
