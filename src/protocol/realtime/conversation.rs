// SPDX-License-Identifier: MPL-2.0
//! The common part of Qwen's realtime protocols and OpenAI's: client events with ids, base64 audio,
//! and a conversation whose items are the utterances, each with the events of its transcription.
//!
//! Decoding tolerates what was observed on the wire: fields missing, of another type, and events
//! doubled, late or out of order. Invariant: an item ends once, by its final text or its failure;
//! later events for it are dropped. Each codec owns one [`Conversation`].

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use crate::protocol::diagnosis::error_text;
use crate::protocol::items::{Items, Unnamed};
use crate::protocol::json::count_of;
use crate::protocol::texts::{self, has_words, name_of, said};
use crate::protocol::{Event, Failure, Frame, ItemKey, ItemText, Statement, Usage, encoding};

/// Maximum items whose confirmed text is kept: services have one or two open.
const MAX_CONFIRMED: usize = 64;

/// Prefix of the names of an item's transcription events.
pub(super) const TRANSCRIPTION: &str = "conversation.item.input_audio_transcription.";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Waiting for `session.created`.
    Opened,
    /// Settings sent, waiting for `session.updated`.
    Configuring,
    Running,
    /// Failed or finished.
    Over,
}

/// The outcome of handling an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// The event is not one that the protocols share.
    Unknown,
    /// Handled.
    Done,
    /// The interim result of an open item, for the codec to decode.
    Interim(ItemKey),
    /// Handled, and an item has ended.
    End,
}

/// One connection's conversation.
#[derive(Debug)]
pub(super) struct Conversation {
    pub phase: Phase,
    session_id: Option<String>,
    items: Items,
    pub confirmed: Confirmed,
    /// Number of client events so far, from which their ids are made.
    sent: u64,
    /// The id of the latest one. Kept, since an allocation for each frame adds up.
    id: String,
    /// Suffix of the name of interim results, in which the protocols differ.
    interim: &'static str,
}

impl Conversation {
    pub fn new(interim: &'static str) -> Self {
        Self {
            interim,
            phase: Phase::Opened,
            session_id: None,
            items: Items::default(),
            confirmed: Confirmed::default(),
            sent: 0,
            id: String::new(),
        }
    }

    /// The client event that carries audio.
    pub fn append(&mut self, audio: &[u8]) -> Frame {
        let id = self.event_id();
        encoding::audio_event(Some(id), audio)
    }

    /// A client event without further members.
    pub fn bare(&mut self, kind: &str) -> Frame {
        let id = self.event_id();
        Frame::Text(format!(r#"{{"event_id":"{id}","type":"{kind}"}}"#))
    }

    fn event_id(&mut self) -> &str {
        self.sent += 1;
        self.id.clear();
        // A string takes everything.
        let _ = write!(self.id, "event_{}", self.sent);
        &self.id
    }

    pub fn fail(&mut self, failure: Failure, events: &mut Vec<Event>) {
        self.phase = Phase::Over;
        events.push(Event::Failed(failure));
    }

    pub fn finish(&mut self, events: &mut Vec<Event>) {
        self.phase = Phase::Over;
        events.push(Event::Finished);
    }

    /// Handles `session.created`, answered with the settings, and `session.updated`. Each may be
    /// repeated: a second `session.update` would make the service close the connection.
    pub fn session_event(
        &mut self,
        kind: &str,
        session: &Value,
        settings: impl FnOnce() -> Value,
        events: &mut Vec<Event>,
        out: &mut Vec<Frame>,
    ) {
        self.session_id = name_of(session, "id").or(self.session_id.take());
        match (kind, self.phase) {
            ("session.created", Phase::Opened) => {
                self.phase = Phase::Configuring;
                let update = json!({
                    "event_id": self.event_id(),
                    "type": "session.update",
                    "session": settings(),
                });
                out.push(Frame::Text(update.to_string()));
            }
            ("session.updated", Phase::Configuring) => {
                self.phase = Phase::Running;
                events.push(Event::Ready {
                    session_id: self.session_id.clone(),
                });
            }
            _ => {}
        }
    }

    /// Handles the events about items.
    pub fn item_event(&mut self, kind: &str, event: &Value, events: &mut Vec<Event>) -> Told {
        match kind.strip_prefix(TRANSCRIPTION) {
            Some("completed") => return self.completed(event, events),
            Some("failed") => return self.failed(event, events),
            Some(rest) if rest == self.interim => {
                let item = self.resolve(event, Unnamed::Newest);
                return item.map_or(Told::Done, Told::Interim);
            }
            _ => {}
        }
        match kind {
            "input_audio_buffer.speech_started" => self.speech_started(event, events),
            "input_audio_buffer.speech_stopped" => self.speech_stopped(event, events),
            "input_audio_buffer.committed" | "conversation.item.created" => {
                self.announced(event, events);
            }
            // Acknowledgements.
            kind if kind.starts_with("input_audio_buffer.") => {}
            _ => return Told::Unknown,
        }
        Told::Done
    }

    fn speech_started(&mut self, event: &Value, events: &mut Vec<Event>) {
        let id = id_of(event);
        let item = match id.as_deref() {
            Some(id) => self.items.resolve(Some(id), Unnamed::Newest),
            // Speech that starts without an id is always a new item.
            None => Some(self.items.add_unnamed()),
        };
        events.extend(item.map(|item| Event::SpeechStarted {
            item,
            item_id: id.unwrap_or_default(),
            at_ms: count_of(event, "audio_start_ms"),
        }));
    }

    fn speech_stopped(&mut self, event: &Value, events: &mut Vec<Event>) {
        let id = id_of(event);
        // Some servers report silence this way, without any item.
        if id.is_none() && self.items.open(Unnamed::Newest).is_none() {
            return;
        }
        let item = self.items.resolve(id.as_deref(), Unnamed::Newest);
        events.extend(item.map(|item| Event::SpeechStopped {
            item,
            item_id: id.unwrap_or_default(),
            at_ms: count_of(event, "audio_end_ms"),
        }));
    }

    /// The item exists. Without an id the event adds nothing to the item's other events.
    fn announced(&mut self, event: &Value, events: &mut Vec<Event>) {
        let Some(id) = id_of(event) else { return };
        let item = self.items.resolve(Some(&id), Unnamed::Oldest);
        events.extend(item.map(|item| Event::ItemSeen { item }));
    }

    fn completed(&mut self, event: &Value, events: &mut Vec<Event>) -> Told {
        let seconds = event["usage"]["duration"].as_f64();
        events.extend(seconds.map(|seconds| Event::Billed(Usage { seconds, tokens: 0 })));
        if event.get("transcript").is_none() {
            let what = "ignored a final result without a transcript";
            events.push(Event::Warning(what.into()));
            return Told::Done;
        }
        let Some(item) = self.resolve(event, Unnamed::Oldest) else {
            return Told::Done;
        };
        let mut text = item_text(event, "transcript");
        // A blank final does not retract text that the service promised not to change.
        let confirmed = self.confirmed.take(item);
        if !has_words(&text.text) && has_words(&confirmed) {
            text.text = confirmed;
        }
        events.push(Event::Final { item, text });
        self.ended(item)
    }

    fn failed(&mut self, event: &Value, events: &mut Vec<Event>) -> Told {
        let Some(item) = self.resolve(event, Unnamed::Oldest) else {
            return Told::Done;
        };
        self.confirmed.take(item);
        let (code, message) = error_text(&event["error"]);
        let message = if message.is_blank() {
            code.unwrap_or_default()
        } else {
            message
        };
        let message = Statement::default().quoting(message);
        events.push(Event::ItemFailed { item, message });
        self.ended(item)
    }

    /// The open item of this id.
    pub fn find(&self, id: &str) -> Option<ItemKey> {
        self.items.find(id)
    }

    /// Adds an item of which nothing is known yet.
    pub fn add_unnamed(&mut self) -> ItemKey {
        self.items.add_unnamed()
    }

    /// The item that an event is about, unless that has ended.
    pub fn resolve(&mut self, event: &Value, unnamed: Unnamed) -> Option<ItemKey> {
        self.items.resolve(id_of(event).as_deref(), unnamed)
    }

    /// The item has ended.
    pub fn end(&mut self, item: ItemKey) {
        self.items.end(item);
    }

    fn ended(&mut self, item: ItemKey) -> Told {
        self.items.end(item);
        Told::End
    }
}

/// The confirmed texts of open items, which will not be retracted.
#[derive(Debug, Default)]
pub(super) struct Confirmed(BTreeMap<ItemKey, String>);

impl Confirmed {
    /// The item's text, to append to or replace.
    fn of(&mut self, item: ItemKey) -> &mut String {
        if self.0.len() >= MAX_CONFIRMED && !self.0.contains_key(&item) {
            self.0.pop_first();
        }
        self.0.entry(item).or_default()
    }

    pub fn replace(&mut self, item: ItemKey, text: &str) {
        let confirmed = self.of(item);
        confirmed.clear();
        confirmed.push_str(text);
    }

    /// Appends to the item's text, and returns all of it.
    pub fn append(&mut self, item: ItemKey, delta: &str) -> String {
        let confirmed = self.of(item);
        texts::append(confirmed, delta);
        confirmed.clone()
    }

    /// Removes and returns the text of an item that has ended.
    fn take(&mut self, item: ItemKey) -> String {
        self.0.remove(&item).unwrap_or_default()
    }
}

/// The text in the given member, with the other data of the event's item.
pub(super) fn item_text(event: &Value, name: &str) -> ItemText {
    ItemText {
        item_id: id_of(event).unwrap_or_default(),
        text: said(event, name),
        language: name_of(event, "language"),
        emotion: name_of(event, "emotion"),
        ..ItemText::default()
    }
}

/// The item's id, which `conversation.item.created` has in another place.
fn id_of(event: &Value) -> Option<String> {
    name_of(event, "item_id").or_else(|| name_of(&event["item"], "id"))
}
