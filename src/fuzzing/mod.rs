// SPDX-License-Identifier: MPL-2.0
//! Runs the inputs of the fuzz targets in `fuzz/`: whatever the network sends, nothing panics, and
//! the guarantees of codecs and sessions hold.
//!
//! An input is a script with one step per line; the first line is the set-up, see [`set_up`] and
//! [`answers`]. The first letter of a line is the action, the rest its argument. Steps that make no sense are
//! skipped, so that every input is a script. The seeds are in `fuzz/seeds`.

mod answers;
mod captions;
mod decode;
mod session;

use std::borrow::Cow;

pub use answers::answers;
pub use decode::decode;
pub use session::session;

use crate::audio::{Coding, Format};
use crate::protocol::{
    Protocol, Recognition, Setup, Target, TurnDetection, parse_hot_words, parse_phrases,
};

/// The steps of an input: the letter, and its argument.
fn steps(input: &str) -> impl Iterator<Item = (u8, &str)> {
    input.lines().filter_map(|line| {
        let letter = line.chars().next().filter(char::is_ascii)?;
        Some((letter as u8, line.get(1..)?))
    })
}

fn text_of(input: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(input)
}

/// The number at the start of an argument, limited to `most`.
fn number(text: &str, most: u64) -> u64 {
    let digits = text.bytes().take_while(u8::is_ascii_digit).take(18);
    let number = digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    number.min(most)
}

/// The words of the set-up: a protocol (`realtime`, `inference`, `vllm`, `openai`, `sglang-omni`,
/// `livetranslate`) and, optionally, `3.5`, `manual`, `8000`, `context`, `language`, `vocabulary`, `threshold`, `official`.
/// The remaining words are for sessions.
fn set_up(words: &str) -> Option<Setup> {
    let has = |word: &str| words.split(' ').any(|other| other == word);
    let (protocol, model) = if has("inference") {
        let model = if has("8000") {
            "fun-asr-flash-8k-realtime"
        } else {
            "qwen-audio-3.1-asr-flash-streaming"
        };
        (Protocol::Inference, model)
    } else if has("vllm") {
        (Protocol::Vllm, "m")
    } else if has("openai") {
        (Protocol::OpenAi, "m")
    } else if has("livetranslate") {
        let model = if has("3.5") {
            "qwen3.5-livetranslate-flash-realtime"
        } else {
            "qwen3.8-livetranslate-flash-realtime"
        };
        (Protocol::LiveTranslate, model)
    } else if has("sglang-omni") {
        (Protocol::SglangOmni, "m")
    } else {
        (Protocol::Realtime, "m")
    };
    let turn_detection = if has("manual") || has("client-vad") {
        TurnDetection::Manual
    } else {
        TurnDetection::ServerVad {
            threshold: has("threshold").then_some(0.5),
            silence_ms: 400,
        }
    };
    let vocabulary = if has("vocabulary") { "Qwen=5" } else { "" };
    let recognition = Recognition {
        parameters: Vec::new(),
        model: model.into(),
        model_property: "model",
        language: has("language").then(|| "en-US".into()),
        context: has("context").then(|| CONTEXT.into()),
        vocabulary: parse_hot_words(vocabulary).ok()?,
        vocabulary_id: None,
        translation: Some(Target {
            language: "fr".into(),
            phrases: parse_phrases("cloud=nuage").ok()?,
        }),
        rate: format(words).rate,
        coding: format(words).coding,
        turn_detection,
        official: has("official"),
    };
    // Not all combinations are valid.
    protocol.set_up(recognition).ok()
}

const CONTEXT: &str = "Names and \"terms\"";

fn format(words: &str) -> Format {
    let has = |word: &str| words.split(' ').any(|other| other == word);
    Format {
        coding: if has("opus") {
            Coding::Opus
        } else {
            Coding::Pcm
        },
        rate: if has("8000") { 8000 } else { 16_000 },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    /// The seeds of a target, and inputs that once made it fail.
    fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
        let mut paths: Vec<_> = fs::read_dir(path.join(target))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        let seed = |path: PathBuf| {
            let input = fs::read(&path).unwrap();
            (path, input)
        };
        paths.into_iter().map(seed).collect()
    }

    /// Frames that no service should send: seeds with bytes changed, removed and added, and lines
    /// moved, by a random generator with a fixed seed.
    fn mangled(seed: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
        let (first, rest) = seed.split_at(seed.iter().position(|b| *b == b'\n').unwrap());
        let mut lines: Vec<Vec<u8>> = rest.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
        for _ in 0..random.usize(..8) {
            let (from, to) = (random.usize(..lines.len()), random.usize(..lines.len()));
            match random.u8(..3) {
                0 => lines.swap(from, to),
                1 => lines.insert(to, lines[from].clone()),
                _ => lines[from] = lines[to].clone(),
            }
        }
        for _ in 0..random.usize(..12) {
            let line = random.usize(..lines.len());
            let line = &mut lines[line];
            if line.is_empty() {
                continue;
            }
            let at = random.usize(..line.len());
            match random.u8(..4) {
                0 => line[at] = random.u8(32..127),
                1 => drop(line.remove(at)),
                2 => line.insert(at, random.u8(b'0'..=b'9')),
                _ => line.truncate(at.max(1)),
            }
        }
        [first.to_vec()]
            .into_iter()
            .chain(lines)
            .fold(Vec::new(), |mut all, line| {
                all.extend(line);
                all.push(b'\n');
                all
            })
    }

    fn run(target: &str, run: fn(&[u8]), times: u64) {
        for (path, seed) in seeds(target) {
            run(&seed);
            for n in 0..times {
                let input = mangled(&seed, &mut fastrand::Rng::with_seed(n));
                let result = std::panic::catch_unwind(|| run(&input));
                assert!(
                    result.is_ok(),
                    "{} mangled by {n}:\n{}",
                    path.display(),
                    String::from_utf8_lossy(&input)
                );
            }
        }
    }

    #[test]
    fn mangled_answers_are_understood_or_refused() {
        run("answers", answers, 300);
    }

    #[test]
    fn mangled_frames_are_decoded() {
        run("decode", decode, 500);
    }

    #[test]
    fn mangled_sessions_end_well() {
        run("session", session, 300);
    }
}
