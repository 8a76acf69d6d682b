// SPDX-License-Identifier: MPL-2.0
//! From a frame to the JSON in it: how every codec begins to decode.
//!
//! What cannot be read costs a warning and nothing else, whatever it is.

use serde_json::Value;

use super::{Event, Incoming, Statement};

/// An event of the other side.
#[derive(Debug)]
pub(super) struct Message {
    /// Its name.
    pub kind: String,
    /// All of it, but for the name.
    pub body: Value,
}

/// Reads a frame of a protocol whose events are named by a member `type`.
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

/// Reads a frame as JSON; all these protocols answer in nothing else.
pub(super) fn json(frame: Incoming<'_>, events: &mut Vec<Event>) -> Option<Value> {
    let text = match frame {
        Incoming::Text(text) => text,
        Incoming::Binary(_) => {
            events.push(Event::Warning("ignored a binary frame".into()));
            return None;
        }
    };
    match serde_json::from_str(text) {
        Ok(value) => Some(value),
        Err(error) => {
            let what = format!("ignored a frame that is not JSON: {error}");
            events.push(Event::Warning(what.into()));
            None
        }
    }
}

/// The warning about an event that no codec knows.
pub(super) fn unknown(kind: &str) -> Event {
    let what = Statement::from("ignored an unknown event '")
        .quoting(kind)
        .then("'");
    Event::Warning(what)
}
