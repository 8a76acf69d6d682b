// SPDX-License-Identifier: MPL-2.0
//! Sentences for users, which may quote the server.
//!
//! Words of the server cannot be trusted: they may have any length and contain any characters, and
//! services quote the API key that they reject. So a [`Statement`] keeps them apart from our own
//! words until it is shown. The owner of a connection's key masks it with [`Statement::without`]
//! before a quote is truncated: truncation would leave the start of a key, which no search finds.
//! Our own words are never searched, as a placeholder for a key may be one of them.
//!
//! Failures, warnings and the reasons of states are statements; [`diagnosis`](super::diagnosis)
//! makes most of them.

use std::fmt;

/// Maximum characters of a quote shown.
const MAX_SHOWN: usize = 300;

/// Maximum characters of a quote kept for masking secrets: enough to leave [`MAX_SHOWN`]
/// afterwards.
const MAX_KEPT: usize = 4096;

/// Maximum characters of words of our own, into which settings may go.
const MAX_OWN: usize = 1000;

/// Shorter secrets are not searched for: they are placeholders, and part of many words.
const MIN_SECRET: usize = 8;

/// Replaces a secret.
const MASK: &str = "***";

/// Words of the server, on one line and without terminal control characters.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Quote {
    text: String,
    /// The original was longer than [`MAX_KEPT`].
    is_cut: bool,
}

impl Quote {
    pub fn new(words: &str) -> Self {
        let mut rest = words.chars();
        Self {
            text: cleaned(rest.by_ref().take(MAX_KEPT)),
            is_cut: rest.next().is_some(),
        }
    }

    /// Whether there is nothing to show.
    pub fn is_blank(&self) -> bool {
        self.trimmed().is_empty()
    }

    /// Masks every occurrence of the secret.
    pub fn without(mut self, secret: &str) -> Self {
        if secret.chars().count() < MIN_SECRET {
            return self;
        }
        if self.text.contains(secret) {
            self.text = self.text.replace(secret, MASK);
        }
        if self.is_cut {
            let beginnings = secret.char_indices().rev().map(|(at, _)| &secret[..at]);
            let kept = beginnings
                .filter_map(|beginning| self.text.strip_suffix(beginning))
                .map(str::len)
                .next();
            self.text.truncate(kept.unwrap_or(self.text.len()));
        }
        self
    }

    /// The quote without its full stop, for use in mid-sentence.
    fn trimmed(&self) -> &str {
        self.text.trim().trim_end_matches('.').trim_end()
    }
}

impl From<&str> for Quote {
    fn from(words: &str) -> Self {
        Self::new(words)
    }
}

impl fmt::Display for Quote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.trimmed();
        match text.char_indices().nth(MAX_SHOWN) {
            Some((end, _)) => write!(f, "{}…", &text[..end]),
            None => f.write_str(text),
        }
    }
}

impl fmt::Debug for Quote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

#[derive(Clone, PartialEq, Eq)]
enum Part {
    Own(String),
    Quoted(Quote),
}

/// One or more sentences, or part of one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Statement(Vec<Part>);

impl Statement {
    /// Appends words of the server.
    pub fn quoting(mut self, words: impl Into<Quote>) -> Self {
        self.0.push(Part::Quoted(words.into()));
        self
    }

    /// Appends words of the server between two texts of our own, or nothing if the quote is blank.
    pub fn quoting_within(self, before: &str, words: impl Into<Quote>, after: &str) -> Self {
        let words = words.into();
        if words.is_blank() {
            return self;
        }
        self.then(before).quoting(words).then(after)
    }

    /// Appends words of our own.
    pub fn then(mut self, words: &str) -> Self {
        if !words.is_empty() {
            self.0.push(Part::Own(cleaned(words.chars().take(MAX_OWN))));
        }
        self
    }

    /// Appends another statement.
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Whether our own words are the same, whatever is quoted.
    pub fn is_like(&self, other: &Self) -> bool {
        fn own(statement: &Statement) -> impl Iterator<Item = &Part> {
            let parts = statement.0.iter();
            parts.filter(|part| matches!(part, Part::Own(_)))
        }
        own(self).eq(own(other))
    }

    /// Masks every occurrence of the secret in the quotes.
    pub fn without(self, secret: &str) -> Self {
        let parts = self.0.into_iter().map(|part| match part {
            Part::Quoted(quote) => Part::Quoted(quote.without(secret)),
            own @ Part::Own(_) => own,
        });
        Self(parts.collect())
    }
}

impl From<&str> for Statement {
    fn from(words: &str) -> Self {
        Self::default().then(words)
    }
}

impl From<String> for Statement {
    fn from(words: String) -> Self {
        words.as_str().into()
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Own(words) => f.write_str(words),
            Part::Quoted(quote) => quote.fmt(f),
        })
    }
}

impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

/// Puts the text on one line, and removes direction marks and terminal control characters.
fn cleaned(text: impl Iterator<Item = char>) -> String {
    text.filter(|c| !is_direction_mark(*c))
        .map(|c| match c {
            '\u{2028}' | '\u{2029}' => ' ',
            c if c.is_control() => ' ',
            c => c,
        })
        .collect()
}

/// Marks, embeddings, overrides and isolates of the bidirectional algorithm.
fn is_direction_mark(c: char) -> bool {
    matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "sk-6f1e5ec3e7b2a4d8";

    #[test]
    fn a_key_is_masked_wherever_the_quote_would_be_cut() {
        for before in (0..=MAX_SHOWN + KEY.len()).chain(MAX_KEPT - KEY.len()..=MAX_KEPT) {
            let words = format!("{}{KEY} and on", "x".repeat(before));
            let shown = Quote::new(&words).without(KEY).to_string();
            for length in 1..=KEY.len() {
                assert!(!shown.contains(&KEY[..length]), "{before}: {shown}");
            }
        }
        // Enough keys for masking them to uncover where the quote was truncated.
        let words = format!("{KEY}{KEY}").repeat(MAX_KEPT);
        let shown = Quote::new(&words).without(KEY).to_string();
        assert!(!shown.contains('s'), "{shown}");
    }

    #[test]
    fn only_real_keys_are_masked_and_only_in_foreign_words() {
        let statement = |word: &str| {
            Statement::from(format!("Check {word}: "))
                .quoting(format!("bad {word}.").as_str())
                .then(".")
        };
        for (key, shown) in [
            (KEY, "Check sk-6f1e5ec3e7b2a4d8: bad ***."),
            ("api-key-file", "Check api-key-file: bad ***."),
            ("key", "Check key: bad key."),
            ("1234567", "Check 1234567: bad 1234567."),
        ] {
            assert_eq!(statement(key).without(key).to_string(), shown);
        }
        assert_eq!(statement("").without("").to_string(), "Check : bad.");
    }

    #[test]
    fn one_line_that_no_terminal_obeys() {
        for (words, shown) in [
            ("a\r\nb\0c\td", "a  b c d"),
            ("\u{1b}]0;owned\u{7}\u{1b}[2J", "]0;owned  [2J"),
            ("a\u{9b}31mb\u{85}c\u{2028}d", "a 31mb c d"),
            ("gpj\u{202e}fdp\u{2066}\u{200f}.", "gpjfdp"),
            ("  ends.\n", "ends"),
        ] {
            assert_eq!(Quote::new(words).to_string(), shown);
            // The user's settings count as our own words.
            let own = Statement::from(words).to_string();
            assert!(!own.contains(|c: char| c.is_control() || is_direction_mark(c)));
        }
    }

    #[test]
    fn statements_are_short_however_long_the_words() {
        let own = Statement::from("é".repeat(1_000_000)).to_string();
        assert_eq!(own.chars().count(), MAX_OWN);
        let quote = Quote::new(&"é".repeat(1_000_000));
        assert_eq!(quote.to_string().chars().count(), MAX_SHOWN + 1);
        assert!(quote.text.len() <= 2 * MAX_KEPT);
    }

    #[test]
    fn what_is_blank_is_not_quoted() {
        let said = |words: &str| {
            let statement = Statement::from("Refused").quoting_within(" (", words, ")");
            statement.then(".").to_string()
        };
        assert_eq!(said("no\n"), "Refused (no).");
        assert_eq!(said(" .\0"), "Refused.");
    }
}
