// SPDX-License-Identifier: MPL-2.0

//! A recogniser that says what it was told to, whatever it hears.

use std::sync::Arc;

use crate::recogniser::{Factory, Hypothesis, Recogniser};

/// One interim result of a [`ScriptItem`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScriptPartial {
    /// Milliseconds of the item's audio from which on this is the hypothesis.
    pub after_ms: u64,
    /// What is heard then.
    pub hypothesis: Hypothesis,
}

/// What is said about one item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScriptItem {
    /// The interim results, by ascending time.
    pub partials: Vec<ScriptPartial>,
    /// The final transcript.
    pub transcript: String,
}

impl ScriptItem {
    /// An item that ends as `transcript`, without interim results.
    pub fn new(transcript: impl Into<String>) -> Self {
        Self {
            partials: Vec::new(),
            transcript: transcript.into(),
        }
    }

    /// Adds an interim result that holds from `after_ms` milliseconds of the item on.
    pub fn partial(
        mut self,
        after_ms: u64,
        text: impl Into<String>,
        stash: impl Into<String>,
    ) -> Self {
        self.partials.push(ScriptPartial {
            after_ms,
            hypothesis: Hypothesis {
                text: text.into(),
                stash: stash.into(),
            },
        });
        self
    }
}

/// Plays a list of items in order, from its beginning in each session. Items beyond the list
/// have no text.
#[derive(Debug)]
pub struct ScriptRecogniser {
    items: Arc<[ScriptItem]>,
    language: &'static str,
    current: Option<usize>,
    rate: u32,
    samples: u64,
}

impl ScriptRecogniser {
    /// A recogniser that plays `items` and reports `language`.
    pub fn new(items: impl Into<Arc<[ScriptItem]>>, language: &'static str) -> Self {
        Self {
            items: items.into(),
            language,
            current: None,
            rate: 0,
            samples: 0,
        }
    }

    /// Gives every session a recogniser that plays `items` and reports `language`.
    pub fn factory(items: Vec<ScriptItem>, language: &'static str) -> Factory {
        let items: Arc<[ScriptItem]> = items.into();
        Arc::new(move || Ok(Box::new(Self::new(items.clone(), language))))
    }

    fn item(&self) -> Option<&ScriptItem> {
        self.items.get(self.current?)
    }
}

impl Recogniser for ScriptRecogniser {
    fn start(&mut self, rate: u32) {
        self.current = Some(self.current.map_or(0, |current| current + 1));
        self.rate = rate;
        self.samples = 0;
    }

    fn feed(&mut self, pcm: &[i16]) {
        self.samples += pcm.len() as u64;
    }

    fn hypothesis(&mut self) -> Option<Hypothesis> {
        let ms = self.samples * 1000 / u64::from(self.rate.max(1));
        let hypothesis = self
            .item()
            .and_then(|item| item.partials.iter().rfind(|partial| partial.after_ms <= ms))
            .map(|partial| partial.hypothesis.clone());
        Some(hypothesis.unwrap_or_default())
    }

    fn finish(&mut self) -> String {
        self.item()
            .map(|item| item.transcript.clone())
            .unwrap_or_default()
    }

    fn language(&self) -> &str {
        self.language
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plays_the_items_in_order() {
        let items = vec![
            ScriptItem::new("今天。")
                .partial(500, "", "今")
                .partial(1000, "今", "天"),
            ScriptItem::new("second"),
        ];
        let mut recogniser = ScriptRecogniser::factory(items, "zh")().unwrap();
        assert_eq!(recogniser.language(), "zh");
        recogniser.start(8000);
        recogniser.feed(&[0; 3999]);
        assert!(recogniser.hypothesis().unwrap().is_empty());
        recogniser.feed(&[0; 1]);
        assert_eq!(recogniser.hypothesis().unwrap().stash, "今");
        recogniser.feed(&[0; 4000]);
        assert_eq!(recogniser.hypothesis().unwrap().text, "今");
        assert_eq!(recogniser.finish(), "今天。");
        recogniser.start(16000);
        assert_eq!(recogniser.finish(), "second");
        recogniser.start(16000);
        assert_eq!(recogniser.finish(), "");
    }
}
