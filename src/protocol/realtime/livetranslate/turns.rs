// SPDX-License-Identifier: MPL-2.0
//! Puts the transcript of each item together with its translation, which the service sends as a
//! response with ids of its own.
//!
//! Invariant: an item is reported as final once, when transcript and translation are complete;
//! what comes for it afterwards is dropped. The codec owns one [`Turns`] for a connection.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

use crate::protocol::diagnosis::error_text;
use crate::protocol::json::{count_of, text_of};
use crate::protocol::texts::{self, MAX_TEXT, has_words, name_of, said};
use crate::protocol::{Event, ItemKey, ItemText, Quote, Statement, Usage};
use crate::transcript::Translation;

use super::super::conversation::Conversation;

/// Maximum items whose texts are kept: services have one or two open.
const MAX_TURNS: usize = 64;

/// Maximum ids of responses and translations that are remembered.
const MAX_IDS: usize = 256;

/// A text that is being received: the transcript of an item, or its translation.
#[derive(Debug, Default)]
pub(super) struct Part {
    text: String,
    stash: String,
    /// Nothing more comes.
    is_complete: bool,
    /// Why there is none.
    trouble: Option<Quote>,
}

impl Part {
    /// More text, which will not be taken back.
    pub fn append(&mut self, event: &Value) {
        if !self.is_complete {
            let delta = text_of(event, "delta").unwrap_or_default();
            texts::append(&mut self.text, delta);
        }
    }

    /// All of the text so far.
    pub fn replace(&mut self, event: &Value) {
        if !self.is_complete {
            self.text = said(event, "text");
            self.stash = said(event, "stash");
            let room = MAX_TEXT - self.text.len();
            self.stash.truncate(self.stash.floor_char_boundary(room));
        }
    }

    /// All of the text. A blank one does not retract what was promised not to change.
    pub fn complete(&mut self, event: &Value, name: &str) {
        let text = said(event, name);
        if !self.is_complete && (has_words(&text) || !has_words(&self.text)) {
            self.text = text;
        }
        self.end();
    }

    /// No more text comes.
    fn end(&mut self) {
        self.stash.clear();
        self.is_complete = true;
    }

    /// The service could not make it.
    pub fn fail(&mut self, event: &Value) {
        let (code, message) = error_text(&event["error"]);
        let message = if message.is_blank() {
            code.unwrap_or_default()
        } else {
            message
        };
        self.trouble.get_or_insert(message);
        self.end();
    }
}

/// An item and its translation.
#[derive(Debug, Default)]
pub(super) struct Turn {
    item_id: String,
    language: Option<String>,
    speaker: Option<u32>,
    pub source: Part,
    translation: Part,
    /// A response is known to be its translation.
    has_response: bool,
}

/// The open items of a connection.
#[derive(Debug)]
pub(super) struct Turns {
    /// The language that is translated into.
    target: String,
    open: BTreeMap<ItemKey, Turn>,
    /// Ids of responses and of the items in them, and what they translate.
    ids: VecDeque<(String, ItemKey)>,
    /// Responses that are over, whose usage is counted.
    over: VecDeque<String>,
    billed: Usage,
}

impl Turns {
    pub fn new(target: &str) -> Self {
        Self {
            target: target.to_owned(),
            open: BTreeMap::new(),
            ids: VecDeque::new(),
            over: VecDeque::new(),
            billed: Usage::default(),
        }
    }

    /// The turn of an open item, added if new.
    pub fn of(&mut self, item: ItemKey) -> &mut Turn {
        if self.open.len() >= MAX_TURNS && !self.open.contains_key(&item) {
            self.open.pop_first();
        }
        self.open.entry(item).or_default()
    }

    /// An item has begun.
    pub fn begin(&mut self, item: ItemKey, item_id: &str, speaker: Option<u32>) {
        let turn = self.of(item);
        if !item_id.is_empty() {
            turn.item_id = item_id.to_owned();
        }
        turn.speaker = speaker.or(turn.speaker);
    }

    /// What an event of its transcript says of the item otherwise.
    pub fn note(&mut self, item: ItemKey, event: &Value) {
        let turn = self.of(item);
        turn.language = name_of(event, "language").or(turn.language.take());
        if let Some(id) = name_of(event, "item_id") {
            turn.item_id = id;
        }
    }

    /// The item of a translation was created behind the item that it translates.
    pub fn translation_created(&mut self, event: &Value, conversation: &Conversation) {
        let source = text_of(event, "previous_item_id").and_then(|id| conversation.find(id));
        if let (Some(item), Some(id)) = (source, name_of(&event["item"], "id")) {
            self.of(item).has_response = true;
            self.remember(id, item);
        }
    }

    /// Handles an event of a response, given the end of its name.
    pub fn response(
        &mut self,
        kind: &str,
        event: &Value,
        conversation: &mut Conversation,
        events: &mut Vec<Event>,
    ) {
        if kind == "done" {
            return self.response_done(event, conversation, events);
        }
        if kind == "output_item.added" {
            let ids = [name_of(&event["item"], "id"), name_of(event, "response_id")];
            self.item_of(ids);
            return;
        }
        // Text alone, or what belongs to speech.
        let kind = kind
            .strip_prefix("text.")
            .or_else(|| kind.strip_prefix("audio_transcript."));
        // The others announce what is known anyway.
        let Some(kind @ ("delta" | "text" | "done")) = kind else {
            return;
        };
        let ids = [name_of(event, "item_id"), name_of(event, "response_id")];
        let item = self.item_of(ids.clone()).unwrap_or_else(|| {
            let item = conversation.add_unnamed();
            self.of(item);
            self.assign(ids, item);
            item
        });
        let Some(turn) = self.open.get_mut(&item) else {
            return;
        };
        match kind {
            "delta" => turn.translation.append(event),
            "text" => turn.translation.replace(event),
            _ if event.get("text").is_some() => turn.translation.complete(event, "text"),
            _ => turn.translation.complete(event, "transcript"),
        }
        self.report(item, conversation, events);
    }

    /// A response is over, whatever became of it.
    fn response_done(
        &mut self,
        event: &Value,
        conversation: &mut Conversation,
        events: &mut Vec<Event>,
    ) {
        let response = &event["response"];
        let id = name_of(response, "id").or_else(|| name_of(event, "response_id"));
        if let Some(id) = &id {
            if self.over.contains(id) {
                return;
            }
            if self.over.len() == MAX_IDS {
                self.over.pop_front();
            }
            self.over.push_back(id.clone());
        }
        self.bill(response, events);
        let item = self.item_of([name_of(&response["output"][0], "id"), id]);
        let Some(item) = item else { return };
        let Some(turn) = self.open.get_mut(&item) else {
            return;
        };
        if let Some(status @ ("failed" | "cancelled" | "incomplete")) = text_of(response, "status")
        {
            let (_, message) = error_text(&response["status_details"]["error"]);
            let what = format!("the translation of an utterance is {status}");
            let what = Statement::from(what).quoting_within(": ", message, "");
            events.push(Event::Warning(what));
        }
        turn.translation.end();
        self.report(item, conversation, events);
    }

    /// Adds up what responses cost: each tells its own share (observed).
    fn bill(&mut self, response: &Value, events: &mut Vec<Event>) {
        let usage = &response["usage"];
        let [input, output] = ["input_tokens", "output_tokens"].map(|name| count_of(usage, name));
        let parts = input.or(output).map(|_| {
            let [input, output] = [input, output].map(Option::unwrap_or_default);
            input.saturating_add(output)
        });
        if let Some(tokens) = parts.or_else(|| count_of(usage, "total_tokens")) {
            let more = Usage {
                seconds: 0.0,
                tokens,
            };
            self.billed = self.billed + more;
            events.push(Event::Billed(self.billed));
        }
    }

    /// The item that a response translates, given its ids. An unknown response is that of the first
    /// item without one.
    fn item_of(&mut self, ids: [Option<String>; 2]) -> Option<ItemKey> {
        let known = ids.iter().flatten().find_map(|id| {
            let known = self.ids.iter().find(|(other, _)| other == id);
            known.map(|(_, item)| *item)
        });
        let is_named = ids.iter().any(Option::is_some);
        let is_free =
            |turn: &Turn| !(is_named && turn.has_response || turn.translation.is_complete);
        let mut open = self.open.iter();
        let item = known.or_else(|| open.find(|(_, turn)| is_free(turn)).map(|(item, _)| *item))?;
        self.assign(ids, item);
        Some(item)
    }

    /// The response of these ids translates the item.
    fn assign(&mut self, ids: [Option<String>; 2], item: ItemKey) {
        for id in ids.into_iter().flatten() {
            if let Some(turn) = self.open.get_mut(&item) {
                turn.has_response = true;
            }
            self.remember(id, item);
        }
    }

    #[cfg(test)]
    pub fn sizes(&self) -> [usize; 3] {
        [self.open.len(), self.ids.len(), self.over.len()]
    }

    fn remember(&mut self, id: String, item: ItemKey) {
        if let Some((_, known)) = self.ids.iter_mut().find(|(other, _)| *other == id) {
            *known = item;
            return;
        }
        if self.ids.len() == MAX_IDS {
            self.ids.pop_front();
        }
        self.ids.push_back((id, item));
    }

    /// Reports what is known of an open item, which may be all of it.
    pub fn report(
        &mut self,
        item: ItemKey,
        conversation: &mut Conversation,
        events: &mut Vec<Event>,
    ) {
        let Some(turn) = self.open.get(&item) else {
            return;
        };
        let text = turn.text(&self.target);
        let is_complete = turn.source.is_complete && turn.translation.is_complete;
        let trouble = turn.source.trouble.clone().filter(|_| is_complete);
        if is_complete && trouble.is_none() {
            events.push(Event::Final { item, text });
        } else if turn.has_text() {
            events.push(Event::Interim { item, text });
        } else {
            events.push(Event::ItemSeen { item });
        }
        if let Some(trouble) = trouble {
            // The session keeps what was received.
            let message = Statement::default().quoting(trouble);
            events.push(Event::ItemFailed { item, message });
        }
        if is_complete {
            conversation.end(item);
            self.open.remove(&item);
        }
    }
}

impl Turn {
    fn has_text(&self) -> bool {
        let parts = [&self.source, &self.translation];
        let mut texts = parts.iter().flat_map(|part| [&part.text, &part.stash]);
        texts.any(|text| !text.is_empty())
    }

    fn text(&self, target: &str) -> ItemText {
        ItemText {
            item_id: self.item_id.clone(),
            text: self.source.text.clone(),
            stash: self.source.stash.clone(),
            language: self.language.clone(),
            speaker: self.speaker,
            translation: Some(Box::new(Translation {
                language: target.to_owned(),
                text: self.translation.text.clone(),
                stash: self.translation.stash.clone(),
            })),
            ..ItemText::default()
        }
    }
}
