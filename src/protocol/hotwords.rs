// SPDX-License-Identifier: MPL-2.0
//! Hot words: names and terms that the recogniser should prefer.
//!
//! The service silently drops an invalid list, so the list is checked here, before connecting,
//! against the limits that the service documents. The element parses its vocabulary property with
//! [`parse`]; the inference protocol sends the words.

use super::{Failure, Kind};

/// Maximum words in a list (documented).
const MAX_WORDS: usize = 2000;

/// Maximum words of weight [`SUPER_WEIGHT`] in a list (documented).
const MAX_SUPER_WORDS: usize = 50;

/// Weights are 1 to 5, or this for words that must be recognised whenever they are spoken.
const SUPER_WEIGHT: u8 = 50;

/// Weight of a word given without one: the documentation recommends starting with it.
const DEFAULT_WEIGHT: u8 = 4;

/// Maximum characters of a word that is not all ASCII, and words of a phrase that is (documented).
const MAX_CHARACTERS: usize = 15;
const MAX_TOKENS: usize = 7;

/// A word and its weight, 1 to 5 or 50.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HotWord {
    pub text: String,
    pub weight: u8,
}

/// Reads `word=weight,word=weight,…`; a word without a weight gets [`DEFAULT_WEIGHT`].
///
/// # Errors
///
/// If the service would drop the list.
pub fn parse(list: &str) -> Result<Vec<HotWord>, Failure> {
    let words: Vec<HotWord> = list
        .split([',', '，', '\n'])
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .map(hot_word)
        .collect::<Result<_, _>>()?;
    let supers = words
        .iter()
        .filter(|word| word.weight == SUPER_WEIGHT)
        .count();
    if words.len() > MAX_WORDS || supers > MAX_SUPER_WORDS {
        return Err(bad(format!(
            "The vocabulary has {} words, {supers} of them with the weight {SUPER_WEIGHT}; there may \
             be {MAX_WORDS}, {MAX_SUPER_WORDS} of them with that weight.",
            words.len()
        )));
    }
    Ok(words)
}

fn hot_word(entry: &str) -> Result<HotWord, Failure> {
    // JSON, or a list with other separators: it would be taken for one long word.
    if entry.contains(['{', '}', '[', ']', '"', ';']) {
        return Err(bad(format!(
            "The vocabulary's entry '{entry}' is not a word."
        )));
    }
    let (text, weight) = match entry.rsplit_once('=') {
        Some((text, weight)) => (text.trim(), weight.trim().parse().ok()),
        None => (entry, Some(DEFAULT_WEIGHT)),
    };
    let Some(weight) = weight.filter(|weight| (1..=5).contains(weight) || *weight == SUPER_WEIGHT)
    else {
        return Err(bad(format!(
            "The vocabulary's entry '{entry}' has no weight from 1 to 5 or {SUPER_WEIGHT}."
        )));
    };
    let fits = if text.is_ascii() {
        (1..=MAX_TOKENS).contains(&text.split_whitespace().count())
    } else {
        text.chars().count() <= MAX_CHARACTERS
    };
    if !fits {
        return Err(bad(format!(
            "The vocabulary's entry '{entry}' is empty or too long: {MAX_TOKENS} words may be in \
             it, or {MAX_CHARACTERS} characters if they are not all ASCII."
        )));
    }
    Ok(HotWord {
        text: text.to_owned(),
        weight,
    })
}

fn bad(what: String) -> Failure {
    let remedy = "Set the vocabulary property to something like 'Lingxi=4,Bailian=5'.";
    Failure::new(Kind::Settings, what, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read() {
        let words = parse(" 张三=5, Qwen ,Model Studio = 50,\n").unwrap();
        let words: Vec<_> = words.iter().map(|w| (w.text.as_str(), w.weight)).collect();
        assert_eq!(words, [("张三", 5), ("Qwen", 4), ("Model Studio", 50)]);
        assert_eq!(parse("").unwrap(), []);
    }

    #[test]
    fn what_the_service_would_drop_silently_is_refused() {
        for list in [
            "a=0",
            "a=6",
            "a=51",
            "a=x",
            "a=",
            "=3",
            "{\"a\":4}",
            "a;b",
            "one two three four five six seven eight=1",
            "一二三四五六七八九十一二三四五六=1",
        ] {
            let error = parse(list).unwrap_err();
            assert_eq!(error.kind, Kind::Settings, "{list}");
            assert!(error.remedy.contains("vocabulary"), "{list}");
        }
        let many = |weight: &str, count: usize| {
            let words: Vec<_> = (0..count).map(|n| format!("w{n}={weight}")).collect();
            parse(&words.join(","))
        };
        assert!(many("1", 2000).is_ok() && many("1", 2001).is_err());
        assert!(many("50", 50).is_ok() && many("50", 51).is_err());
    }
}
