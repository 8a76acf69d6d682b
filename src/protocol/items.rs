// SPDX-License-Identifier: MPL-2.0
//! Resolves which item an event is about, even if the service omits its id.
//!
//! Used for each event by the codecs whose services have ids. Invariant: keys are dense and in the
//! order of first mention, and an item that has ended is never resolved again.

use std::collections::VecDeque;

use super::ItemKey;

/// Maximum items remembered. Services have one or two open; an item still open after this many
/// others was lost by the service.
const MAX_ITEMS: usize = 256;

#[derive(Debug)]
struct Item {
    key: ItemKey,
    /// `None` until the service gives one.
    id: Option<String>,
    ended: bool,
}

/// The items of a connection, oldest first.
#[derive(Debug, Default)]
pub(super) struct Items {
    items: VecDeque<Item>,
    next: ItemKey,
}

/// Which item an event without an id means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unnamed {
    /// The item being spoken: for events during speech.
    Newest,
    /// The item that has waited longest: for events that end an item.
    Oldest,
}

impl Items {
    /// The item that the event is about, added if new. `None` if it has ended: such an event is
    /// late or a duplicate.
    pub fn resolve(&mut self, id: Option<&str>, unnamed: Unnamed) -> Option<ItemKey> {
        if let Some(id) = id {
            if let Some(item) = self
                .items
                .iter()
                .find(|item| item.id.as_deref() == Some(id))
            {
                return (!item.ended).then_some(item.key);
            }
            // An open item without an id can only be this one, given its id late.
            if let Some(item) = self
                .items
                .iter_mut()
                .find(|item| item.id.is_none() && !item.ended)
            {
                item.id = Some(id.to_owned());
                return Some(item.key);
            }
        } else if let Some(key) = self.open(unnamed) {
            return Some(key);
        }
        Some(self.add(id.map(str::to_owned)))
    }

    /// The open item that an event without an id means.
    pub fn open(&self, unnamed: Unnamed) -> Option<ItemKey> {
        let mut open = self.items.iter().filter(|item| !item.ended);
        match unnamed {
            Unnamed::Oldest => open.next(),
            Unnamed::Newest => open.next_back(),
        }
        .map(|item| item.key)
    }

    /// The open item of this id.
    pub fn find(&self, id: &str) -> Option<ItemKey> {
        let mut open = self.items.iter().filter(|item| !item.ended);
        let found = open.find(|item| item.id.as_deref() == Some(id));
        found.map(|item| item.key)
    }

    /// Ends the item: no more events are expected for it.
    pub fn end(&mut self, key: ItemKey) {
        if let Some(item) = self.items.iter_mut().find(|item| item.key == key) {
            item.ended = true;
        }
    }

    /// Adds an item without an id.
    pub fn add_unnamed(&mut self) -> ItemKey {
        self.add(None)
    }

    fn add(&mut self, id: Option<String>) -> ItemKey {
        if self.items.len() == MAX_ITEMS {
            self.items.pop_front();
        }
        let key = self.next;
        self.next += 1;
        self.items.push_back(Item {
            key,
            id,
            ended: false,
        });
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_without_an_id_means_the_open_item() {
        let mut items = Items::default();
        assert_eq!(items.resolve(Some("a"), Unnamed::Newest), Some(0));
        assert_eq!(items.resolve(Some("b"), Unnamed::Newest), Some(1));
        assert_eq!(items.resolve(None, Unnamed::Oldest), Some(0));
        assert_eq!(items.resolve(None, Unnamed::Newest), Some(1));
        items.end(0);
        assert_eq!(items.resolve(None, Unnamed::Oldest), Some(1));
        assert_eq!(items.resolve(Some("a"), Unnamed::Newest), None, "ended");
        items.end(1);
        assert_eq!(
            items.resolve(None, Unnamed::Oldest),
            Some(2),
            "none open: a new one"
        );
        assert_eq!(
            items.resolve(Some("c"), Unnamed::Newest),
            Some(2),
            "named late"
        );
    }

    #[test]
    fn memory_is_bounded() {
        let mut items = Items::default();
        for n in 0..10_000 {
            items.resolve(Some(&n.to_string()), Unnamed::Newest);
        }
        assert_eq!(items.items.len(), MAX_ITEMS);
    }
}
