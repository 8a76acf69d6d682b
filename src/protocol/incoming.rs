// SPDX-License-Identifier: MPL-2.0
//! Extracts the JSON of a frame: the first step of `decode` in every codec.
//!
//! An unreadable frame costs a warning and nothing else. Invalid JSON that servers are known to
//! send costs a character, not the text around it.

use serde_json::Value;

use super::{Event, Incoming};

/// An event sent by the server.
#[derive(Debug)]
pub(super) struct Message {
    /// Its name.
    pub kind: String,
    /// The whole event without its name.
    pub body: Value,
}

/// Reads a frame of a protocol whose events have their name in the member `type`.
pub(super) fn message(frame: Incoming<'_>, events: &mut Vec<Event>) -> Option<Message> {
    let mut body = json(frame, events)?;
    match body.get_mut("type").map(Value::take) {
        Some(Value::String(kind)) if !kind.is_empty() => Some(Message { kind, body }),
        _ => {
            events.push(Event::Warning("ignored an event without a type".into()));
            None
        }
    }
}

/// Reads a frame as JSON, the only format in which these servers answer.
pub(super) fn json(frame: Incoming<'_>, events: &mut Vec<Event>) -> Option<Value> {
    let Incoming::Text(text) = frame else {
        events.push(Event::Warning("ignored a binary frame".into()));
        return None;
    };
    match parse(text) {
        Ok(value) => Some(value),
        Err(error) => {
            let what = format!("ignored a frame that is not JSON: {error}");
            events.push(Event::Warning(what.into()));
            None
        }
    }
}

/// The event for a name unknown to the codec.
pub(super) fn unknown(kind: &str) -> Event {
    Event::Unknown { name: kind.into() }
}

fn parse(text: &str) -> serde_json::Result<Value> {
    let text = text.trim_start_matches('\u{feff}');
    serde_json::from_str(text).or_else(|error| match repaired(text) {
        repaired if repaired == text => Err(error),
        repaired => serde_json::from_str(&repaired),
    })
}

/// Repairs invalid JSON: U+FFFD for an unpaired surrogate, from a service that cuts an emoji in
/// two; null for numbers such as Python's NaN; spaces for control characters in strings.
fn repaired(text: &str) -> String {
    let mut repaired = String::with_capacity(text.len());
    let mut rest = text;
    let mut in_string = false;
    while let Some(c) = rest.chars().next() {
        let (taken, kept) = match c {
            '\\' if in_string => escape(rest),
            c if in_string && c.is_ascii_control() => (1, " "),
            'N' | 'I' | '-' if !in_string => number(rest),
            c => {
                in_string ^= c == '"';
                (c.len_utf8(), &rest[..c.len_utf8()])
            }
        };
        repaired.push_str(kept);
        rest = &rest[taken..];
    }
    repaired
}

/// The length of the escape at the start of the text, and its replacement.
fn escape(text: &str) -> (usize, &str) {
    const ESCAPE: usize = r"\u0000".len();
    match (code_unit(text), text.get(ESCAPE..).and_then(code_unit)) {
        (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => (2 * ESCAPE, &text[..2 * ESCAPE]),
        (Some(0xd800..=0xdfff), _) => (ESCAPE, "\u{fffd}"),
        // The backslash and what it escapes.
        _ => {
            let length = text.chars().take(2).map(char::len_utf8).sum();
            (length, &text[..length])
        }
    }
}

/// The UTF-16 code unit escaped at the start of the text.
fn code_unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix(r"\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok()
}

/// The length of the non-JSON number at the start of the text, and its replacement.
fn number(text: &str) -> (usize, &str) {
    let unwritable = ["NaN", "Infinity", "-Infinity"];
    match unwritable.iter().find(|name| text.starts_with(**name)) {
        Some(name) => (name.len(), "null"),
        None => (1, &text[..1]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_json_forbids_costs_a_character() {
        for (text, value) in [
            (
                r#"{"t":"hello \ud83d world"}"#,
                json!({"t": "hello \u{fffd} world"}),
            ),
            (r#"["\ude00\ud83d"]"#, json!(["\u{fffd}\u{fffd}"])),
            (r#"["\ud83d\ud83d\ude00"]"#, json!(["\u{fffd}😀"])),
            (
                r#"["\ud83d\u0041 \\ud83d \"\ud83d"]"#,
                json!(["\u{fffd}A \\ud83d \"\u{fffd}"]),
            ),
            (
                r#"["é\ud83d",-1,"NaN -Infinity"]"#,
                json!(["é\u{fffd}", -1, "NaN -Infinity"]),
            ),
            (
                r#"{"a":NaN,"b":[-Infinity,Infinity],"c":"x"}"#,
                json!({"a": null, "b": [null, null], "c": "x"}),
            ),
            ("\u{feff}{\"a\":1}", json!({"a": 1})),
            ("[\"one\ntwo\"]", json!(["one two"])),
            ("[\n1\n]", json!([1])),
        ] {
            assert_eq!(parse(text).unwrap(), value, "{text}");
        }
    }

    #[test]
    fn what_is_not_json_stays_so() {
        for text in [
            "",
            "\u{feff}",
            "{",
            r#"["\ud8"#,
            r#"["\"#,
            r#"["\é"]"#,
            "N",
            "[I]",
            "[1]\n[2]",
            "[-]",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
