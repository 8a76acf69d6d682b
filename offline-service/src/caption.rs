// SPDX-License-Identifier: MPL-2.0

//! From the words of a plain recogniser to captions the way the service writes them.

use crate::recogniser::Hypothesis;
use crate::words;

/// How sure a [`Stabiliser`] has to be.
#[derive(Clone, Copy, Debug)]
pub struct Caution {
    /// How many words at the end of a hypothesis are never confirmed: what follows them may
    /// still change what they are.
    pub words: usize,
    /// How many milliseconds of an item have to be heard before any of it is confirmed: at
    /// first, there may not be enough context to be sure of anything.
    pub ms: u64,
}

/// Splits the successive hypotheses of an item into a part that does not change any more and
/// one that may.
#[derive(Debug)]
pub struct Stabiliser {
    caution: Caution,
    confirmed: Vec<String>,
    previous: Vec<String>,
}

impl Stabiliser {
    pub fn new(caution: Caution) -> Self {
        Self {
            caution,
            confirmed: Vec::new(),
            previous: Vec::new(),
        }
    }

    /// Takes the hypothesis for the first `ms` milliseconds of the item. Words are confirmed
    /// when two in a row agree on them.
    pub fn update(&mut self, words: Vec<String>, ms: u64) -> Hypothesis {
        let mut tentative = self.unconfirmed(&words);
        let agreed = tentative
            .iter()
            .zip(self.unconfirmed(&self.previous))
            .take_while(|(a, b)| a == b)
            .count();
        let stable = agreed.min(tentative.len().saturating_sub(self.caution.words));
        if ms >= self.caution.ms {
            let (stable, rest) = tentative.split_at(stable);
            let stable = stable.to_vec();
            tentative = rest;
            self.confirmed.extend(stable);
        }
        let mut text = sentence(&self.confirmed);
        let stash = if text.is_empty() {
            sentence(tentative)
        } else {
            tentative.join(" ")
        };
        if !text.is_empty() {
            text.push(' ');
        }
        self.previous = words;
        Hypothesis { text, stash }
    }

    /// What follows on the confirmed words in a hypothesis, which may contradict them.
    fn unconfirmed<'a>(&self, words: &'a [String]) -> &'a [String] {
        &words[words::likeness(words, &self.confirmed)..]
    }
}

/// The final transcript made of `words`: a sentence with a full stop.
pub fn transcript(words: &[String]) -> String {
    let mut text = sentence(words);
    if !text.is_empty() {
        text.push('.');
    }
    text
}

/// The words of a hypothesis, without markers of sentences, noises and pronunciations.
pub fn words_of(hypothesis: &str) -> Vec<String> {
    hypothesis
        .split_ascii_whitespace()
        .filter(|word| !word.starts_with(['<', '[', '+']))
        .map(|word| word.split('(').next().unwrap_or_default())
        .filter(|word| !word.is_empty())
        .map(|word| match word {
            "i" => "I".to_owned(),
            _ if word.starts_with("i'") => word.replacen('i', "I", 1),
            _ => word.to_owned(),
        })
        .collect()
}

/// The words with spaces between them and a capital letter at the beginning.
fn sentence(words: &[String]) -> String {
    let text = words.join(" ");
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAUTION: Caution = Caution { words: 3, ms: 3000 };

    fn split(stabiliser: &mut Stabiliser, hypothesis: &str) -> (String, String) {
        let Hypothesis { text, stash } = stabiliser.update(words_of(hypothesis), CAUTION.ms);
        (text, stash)
    }

    #[test]
    fn confirmed_words_stay() {
        let mut stabiliser = Stabiliser::new(CAUTION);
        for (hypothesis, text, stash) in [
            ("", "", ""),
            ("he was", "", "He was"),
            ("he was not an ill", "He was ", "not an ill"),
            ("he was not a nil disposed", "He was not ", "a nil disposed"),
            ("she was", "He was not ", ""),
            (
                "she was not a nil disposed young",
                "He was not ",
                "a nil disposed young",
            ),
            (
                "he was not an ill disposed young man",
                "He was not ",
                "an ill disposed young man",
            ),
            (
                "he was not an ill disposed young man and",
                "He was not an ill disposed ",
                "young man and",
            ),
        ] {
            let split = split(&mut stabiliser, hypothesis);
            assert_eq!(split, (text.to_owned(), stash.to_owned()), "{hypothesis}");
        }
    }

    #[test]
    fn nothing_is_confirmed_early() {
        let mut stabiliser = Stabiliser::new(CAUTION);
        for (ms, text) in [(2000, ""), (2500, ""), (3000, "One ")] {
            let hypothesis = stabiliser.update(words_of("one two three four"), ms);
            assert_eq!(hypothesis.text, text);
        }
    }

    #[test]
    fn clean_words() {
        let words = words_of("<s> [NOISE] and(2) i said i'm <sil> in ++uh++ </s>");
        assert_eq!(words, ["and", "I", "said", "I'm", "in"]);
        assert_eq!(transcript(&words), "And I said I'm in.");
        assert_eq!(transcript(&[]), "");
    }
}
