// SPDX-License-Identifier: MPL-2.0
//! Which item an event is about, also when the service leaves its id out.
//!
//! The codecs whose services have ids resolve each event here. Invariant: keys are dense and in the
//! order of first mention, and an item that has ended is never resolved again.

use std::collections::VecDeque;

use super::ItemKey;

/// Items remembered. Services have one or two open; one that is still open after this many others
/// was lost by the service.
const MAX_ITEMS: usize = 256;

#[derive(Debug)]
struct Item {
    key: ItemKey,
    /// `None` until the service names it.
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
    /// The one that is being spoken: for what comes while people speak.
    Newest,
    /// The one that has waited longest: for what ends an item.
    Oldest,
}

impl Items {
    /// The item that the event is about, which is added if it is new. `None` if it has ended: such
    /// an event is late or a duplicate.
    pub fn resolve(&mut self, id: Option<&str>, unnamed: Unnamed) -> Option<ItemKey> {
        if let Some(id) = id {
            if let Some(item) = self
                .items
                .iter()
                .find(|item| item.id.as_deref() == Some(id))
            {
                return (!item.ended).then_some(item.key);
            }
            // An open item that was never named can only be this one, named late.
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

    /// An open item that an event without an id can mean.
    pub fn open(&self, unnamed: Unnamed) -> Option<ItemKey> {
        let mut open = self.items.iter().filter(|item| !item.ended);
        match unnamed {
            Unnamed::Oldest => open.next(),
            Unnamed::Newest => open.next_back(),
        }
        .map(|item| item.key)
    }

    /// Nothing more is expected of the item.
    pub fn end(&mut self, key: ItemKey) {
        if let Some(item) = self.items.iter_mut().find(|item| item.key == key) {
            item.ended = true;
        }
    }

    /// A new item that the service did not name.
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
