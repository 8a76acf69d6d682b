// SPDX-License-Identifier: MPL-2.0
//! Phrases: how a translation is to render certain terms, such as names.
//!
//! The element parses its translation-vocabulary property with [`parse`]; the live translation
//! protocol sends the phrases.

use super::{Failure, Kind};

/// Maximum phrases in a list: more are not advised (documented).
const MAX_PHRASES: usize = 1000;

/// A term and its translation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phrase {
    /// In the language that is spoken.
    pub term: String,
    pub translation: String,
}

/// Reads `term=wanted translation,term=wanted translation,…`.
///
/// # Errors
///
/// If an entry is not of that form, or there are too many.
pub fn parse(list: &str) -> Result<Vec<Phrase>, Failure> {
    let phrases: Vec<Phrase> = list
        .split([',', '，', '\n'])
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .map(phrase)
        .collect::<Result<_, _>>()?;
    if phrases.len() > MAX_PHRASES {
        return Err(bad(format!(
            "The translation vocabulary has {} terms; there may be {MAX_PHRASES}.",
            phrases.len()
        )));
    }
    Ok(phrases)
}

fn phrase(entry: &str) -> Result<Phrase, Failure> {
    let parts = entry.split_once('=').map(|(term, translation)| Phrase {
        term: term.trim().to_owned(),
        translation: translation.trim().to_owned(),
    });
    let is_whole = |phrase: &Phrase| !phrase.term.is_empty() && !phrase.translation.is_empty();
    parts.filter(is_whole).ok_or_else(|| {
        bad(format!(
            "The translation vocabulary's entry '{entry}' is not a term and its translation."
        ))
    })
}

fn bad(what: String) -> Failure {
    let remedy = "Set the translation-vocabulary property to something like \
                  'Model Studio=Model Studio,large model=grand modèle'.";
    Failure::new(Kind::Settings, what, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read() {
        let phrases = parse(" Qwen=Qwen ,cloud = le nuage,\n一=a=b").unwrap();
        let phrases: Vec<_> = phrases
            .iter()
            .map(|phrase| (phrase.term.as_str(), phrase.translation.as_str()))
            .collect();
        assert_eq!(
            phrases,
            [("Qwen", "Qwen"), ("cloud", "le nuage"), ("一", "a=b")]
        );
        assert_eq!(parse("").unwrap(), []);
    }

    #[test]
    fn what_is_no_list_is_refused_and_the_property_named() {
        let many: Vec<_> = (0..=MAX_PHRASES).map(|n| format!("{n}=x")).collect();
        for list in ["a", "a=", "=a", "a=b,c", &many.join(",")] {
            let error = parse(list).unwrap_err();
            assert_eq!(error.kind, Kind::Settings, "{list}");
            assert!(error.remedy.contains("translation-vocabulary"), "{list}");
        }
    }
}
