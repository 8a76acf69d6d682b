// SPDX-License-Identifier: MPL-2.0

//! A toy that passes for a translation: word by word, so that a test can tell which word a
//! translated one was.
//!
//! A numbered word keeps its number: `w0012` is `fr0012` in French. Of the words of a language it
//! knows some dozens, for three languages; all others stay as they are.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::words::letters;

/// English words with their French, German and Spanish ones.
const WORDS: &[(&str, [&str; 3])] = &[
    ("a", ["un", "ein", "un"]),
    ("after", ["après", "nach", "después"]),
    ("all", ["tout", "alle", "todo"]),
    ("and", ["et", "und", "y"]),
    ("are", ["sont", "sind", "son"]),
    ("as", ["comme", "wie", "como"]),
    ("at", ["à", "an", "en"]),
    ("be", ["être", "sein", "ser"]),
    ("but", ["mais", "aber", "pero"]),
    ("by", ["par", "von", "por"]),
    ("can", ["peut", "kann", "puede"]),
    ("day", ["jour", "Tag", "día"]),
    ("for", ["pour", "für", "para"]),
    ("from", ["de", "aus", "de"]),
    ("good", ["bon", "gut", "bueno"]),
    ("had", ["avait", "hatte", "había"]),
    ("have", ["ont", "haben", "han"]),
    ("he", ["il", "er", "él"]),
    ("hello", ["bonjour", "hallo", "hola"]),
    ("house", ["maison", "Haus", "casa"]),
    ("i", ["je", "ich", "yo"]),
    ("in", ["dans", "in", "en"]),
    ("is", ["est", "ist", "es"]),
    ("it", ["cela", "es", "eso"]),
    ("man", ["homme", "Mann", "hombre"]),
    ("morning", ["matin", "Morgen", "mañana"]),
    ("no", ["non", "nein", "no"]),
    ("not", ["pas", "nicht", "no"]),
    ("of", ["de", "von", "de"]),
    ("on", ["sur", "auf", "sobre"]),
    ("one", ["un", "eins", "uno"]),
    ("or", ["ou", "oder", "o"]),
    ("people", ["gens", "Leute", "gente"]),
    ("she", ["elle", "sie", "ella"]),
    ("that", ["que", "dass", "que"]),
    ("the", ["le", "die", "el"]),
    ("they", ["ils", "sie", "ellos"]),
    ("this", ["ceci", "dies", "esto"]),
    ("time", ["temps", "Zeit", "tiempo"]),
    ("to", ["à", "zu", "a"]),
    ("two", ["deux", "zwei", "dos"]),
    ("was", ["était", "war", "era"]),
    ("we", ["nous", "wir", "nosotros"]),
    ("were", ["étaient", "waren", "eran"]),
    ("what", ["quoi", "was", "qué"]),
    ("with", ["avec", "mit", "con"]),
    ("world", ["monde", "Welt", "mundo"]),
    ("yes", ["oui", "ja", "sí"]),
    ("you", ["vous", "Sie", "usted"]),
];

/// The languages of [`WORDS`].
const LANGUAGES: [&str; 3] = ["fr", "de", "es"];

/// How the client wants certain terms to be translated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Phrases(BTreeMap<String, String>);

impl Phrases {
    /// The members of an object; only terms of one word have an effect.
    pub fn new(phrases: &Value) -> Self {
        let members = phrases.as_object().into_iter().flatten();
        let phrase = |(term, wanted): (&String, &Value)| {
            Some((term.to_lowercase(), wanted.as_str()?.to_owned()))
        };
        Self(members.filter_map(phrase).collect())
    }

    /// The text in another language, given its code. Spaces stay as they are, and the beginning of
    /// a text is translated to the beginning of its translation.
    pub fn translate(&self, text: &str, target: &str) -> String {
        let mut translation = String::new();
        for piece in text.split_inclusive(char::is_whitespace) {
            let word = piece.trim_end();
            let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
            match self.word(bare, target) {
                Some(translated) => translation.push_str(&piece.replacen(bare, &translated, 1)),
                None => translation.push_str(piece),
            }
        }
        translation
    }

    fn word(&self, word: &str, target: &str) -> Option<String> {
        if word.is_empty() {
            return None;
        }
        let lower: String = letters(word).collect();
        if let Some(wanted) = self.0.get(&lower) {
            return Some(wanted.clone());
        }
        if let Some(number) = word.strip_prefix('w')
            && !number.is_empty()
            && number.bytes().all(|digit| digit.is_ascii_digit())
        {
            return Some(format!("{target}{number}"));
        }
        let language = LANGUAGES.iter().position(|language| *language == target)?;
        let found = WORDS.iter().find(|(english, _)| *english == lower);
        let (_, translations) = found?;
        let translated = translations[language];
        let is_capital = word.starts_with(char::is_uppercase) && lower != "i";
        Some(if is_capital {
            capitalised(translated)
        } else {
            translated.to_owned()
        })
    }
}

fn capitalised(word: &str) -> String {
    let mut rest = word.chars();
    let first = rest.next().into_iter().flat_map(char::to_uppercase);
    first.chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_kept_and_some_words_are_known() {
        let phrases = Phrases::new(&serde_json::json!({"Cloud": "nuage", "x": 1}));
        for (text, target, expected) in [
            ("w0001 w0012 ", "fr", "fr0001 fr0012 "),
            ("w0001", "zh", "zh0001"),
            ("Hello, world!", "fr", "Bonjour, monde!"),
            ("And I was, the Cloud.", "de", "Und ich war, die nuage."),
            ("w wide", "es", "w wide"),
            ("Hello", "ja", "Hello"),
            ("", "fr", ""),
            ("。", "fr", "。"),
        ] {
            assert_eq!(phrases.translate(text, target), expected);
        }
    }
}
