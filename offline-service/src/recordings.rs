// SPDX-License-Identifier: MPL-2.0

//! Sentences read aloud, and how many words of them were understood.
//!
//! The recordings are LibriVox's of Jane Austen's *Sense and Sensibility*, from Debian's package
//! `pocketsphinx-testdata`. For the tests of the recognisers, and for `bin/measure`.

use std::fs;

use crate::words;

/// Where Debian's package puts them.
const DIRECTORY: &str = "/usr/share/pocketsphinx/test/data/librivox";

/// Bytes before the samples of a file.
const HEADER: usize = 44;

/// Somebody who reads a sentence.
#[derive(Clone, Debug)]
pub struct Recording {
    /// At 16 kHz, in one channel.
    pub pcm: Vec<i16>,
    /// What is read, in small letters.
    pub words: Vec<String>,
}

/// All recordings, 25 s with 71 words. The error is a sentence that says how to get them.
pub fn all() -> Result<Vec<Recording>, String> {
    let read = |path: String| {
        fs::read(&path).map_err(|error| {
            format!("cannot read {path}: {error}. On Debian: apt install pocketsphinx-testdata")
        })
    };
    let transcription = read(format!("{DIRECTORY}/transcription"))?;
    String::from_utf8_lossy(&transcription)
        .lines()
        // <s> words </s> (name)
        .filter_map(|line| line.strip_suffix(')')?.split_once(" </s> ("))
        .map(|(spoken, name)| {
            let file = read(format!("{DIRECTORY}/{name}.wav"))?;
            let samples = file.get(HEADER..).unwrap_or_default().chunks_exact(2);
            Ok(Recording {
                pcm: samples.map(|s| i16::from_le_bytes([s[0], s[1]])).collect(),
                words: spoken_words(spoken.trim_start_matches("<s> ")),
            })
        })
        .collect()
}

/// The words of a text as they are spoken: in small letters, without punctuation.
pub fn spoken_words(text: &str) -> Vec<String> {
    text.to_lowercase()
        .split(|c: char| !c.is_alphanumeric() && c != '\'')
        .filter(|word| !word.is_empty())
        .map(|word| if word == "mr" { "mister" } else { word })
        .map(str::to_owned)
        .collect()
}

/// How many words have to be inserted, removed or replaced to get from one text to the other.
pub fn errors(expected: &[String], heard: &[String]) -> usize {
    words::costs(heard, expected)[heard.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_errors() {
        let expected = spoken_words("Mr. Dashwood's cold-hearted son");
        assert_eq!(expected, ["mister", "dashwood's", "cold", "hearted", "son"]);
        for (heard, count) in [
            ("mister dashwood's cold hearted son", 0),
            ("mister dashwood's cold son", 1),
            ("the mister dash wood's cold hearted sun", 4),
            ("", 5),
        ] {
            assert_eq!(errors(&expected, &spoken_words(heard)), count, "{heard}");
        }
        assert_eq!(errors(&[], &expected), 5);
    }
}
