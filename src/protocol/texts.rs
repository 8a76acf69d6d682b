// SPDX-License-Identifier: MPL-2.0
//! Reads texts and names from the wire: bounded, and without control characters.
//!
//! Invariant: no text of an utterance that a codec reports is longer than [`MAX_TEXT`] or holds
//! control characters, and no name is longer than [`MAX_NAME`]. All codecs read texts and names
//! here, tolerating missing members and wrong types.

use serde_json::Value;

use super::json::text_of;

/// Maximum text of an utterance in bytes: an hour of speech. Models loop, and servers misbehave.
pub(super) const MAX_TEXT: usize = 65_536;

/// Maximum characters of an id or another name.
const MAX_NAME: usize = 256;

/// A text member; empty if absent.
pub(super) fn said(value: &Value, name: &str) -> String {
    let mut text = String::new();
    append(&mut text, text_of(value, name).unwrap_or_default());
    text
}

/// Appends to the text of an utterance, up to [`MAX_TEXT`].
pub(super) fn append(text: &mut String, more: &str) {
    let room = MAX_TEXT.saturating_sub(text.len());
    text.extend(readable(&more[..more.floor_char_boundary(room)]));
}

/// A member that names something, such as an id or a language.
pub(super) fn name_of(value: &Value, name: &str) -> Option<String> {
    text_of(value, name).map(|name| readable(name).take(MAX_NAME).collect())
}

/// Whether the text contains a word: for noise, services report a lone full stop.
pub(super) fn has_words(text: &str) -> bool {
    text.contains(char::is_alphanumeric)
}

/// Replaces control characters with spaces, and removes embeddings, overrides and isolates of the
/// bidirectional algorithm. The marks that right-to-left texts use are kept.
fn readable(text: &str) -> impl Iterator<Item = char> {
    text.chars()
        .filter(|c| !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
        .map(|c| if c.is_control() { ' ' } else { c })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn control_characters_are_no_text() {
        for (text, read) in [
            ("before\0after", "before after"),
            ("\u{1b}[2Jowned\u{7}", " [2Jowned "),
            ("one\ntwo\u{85}three", "one two three"),
            ("gpj\u{202e}fdp\u{2066}", "gpjfdp"),
            ("שלום\u{200f}! می\u{200c}شود", "שלום\u{200f}! می\u{200c}شود"),
        ] {
            let value = json!({ "text": text });
            assert_eq!(said(&value, "text"), read, "{text:?}");
            assert_eq!(name_of(&value, "text").as_deref(), Some(read), "{text:?}");
        }
        assert_eq!(said(&json!({ "text": 7 }), "text"), "");
        assert_eq!(name_of(&json!({ "text": "" }), "text"), None);
    }

    #[test]
    fn texts_and_names_are_bounded() {
        let value = json!({ "text": "é".repeat(MAX_TEXT) });
        assert_eq!(said(&value, "text").len(), MAX_TEXT);
        assert_eq!(
            name_of(&value, "text").map(|name| name.len()),
            Some(2 * MAX_NAME)
        );
        let mut text = "x".repeat(MAX_TEXT - 1);
        append(&mut text, "é");
        append(&mut text, "yz");
        assert!(text.len() == MAX_TEXT && text.ends_with("xy"));
    }

    #[test]
    fn punctuation_is_no_word() {
        for (text, expected) in [
            ("", false),
            (" \u{3000}", false),
            ("。", false),
            ("…!?", false),
            ("7", true),
            ("嗯。", true),
            ("ครับ", true),
        ] {
            assert_eq!(has_words(text), expected, "{text}");
        }
    }
}
