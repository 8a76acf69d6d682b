// SPDX-License-Identifier: MPL-2.0
//! Credentials: secret texts, and the source of the API key.
//!
//! A key given as text is checked by [`Endpoint::new`](super::Endpoint::new). A key file is read by
//! `net` at each connection attempt, so that the key can be replaced while the element runs;
//! [`KeyFile`] only names the file and remembers the keys that were read from it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// How many keys a [`KeyFile`] remembers. A retiring connection still uses the previous one, and
/// the service may quote it.
const MAX_REMEMBERED: usize = 4;

/// A text that must not be shown: its `Debug` is opaque.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// `None` for a blank text.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Secret(text.into()))
    }

    /// The text itself, for the wire.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where the API key comes from.
#[derive(Debug, Clone)]
pub enum KeySource {
    Given(Secret),
    File(KeyFile),
}

/// A file that holds the API key. Clones share what they remember: a pipe can be read only once,
/// and what one session of an element has read serves them all.
#[derive(Clone)]
pub struct KeyFile(Arc<Inner>);

struct Inner {
    path: String,
    /// The keys read, latest at the end.
    keys: Mutex<Vec<Secret>>,
}

impl KeyFile {
    pub fn new(path: impl Into<String>) -> Self {
        KeyFile(Arc::new(Inner {
            path: path.into(),
            keys: Mutex::default(),
        }))
    }

    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// The key read most recently.
    pub fn latest(&self) -> Option<Secret> {
        self.keys().last().cloned()
    }

    /// Remembers a key that was read.
    pub fn remember(&self, key: Secret) {
        let mut keys = self.0.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|other| *other != key);
        if keys.len() == MAX_REMEMBERED {
            keys.remove(0);
        }
        keys.push(key);
    }

    /// All keys that may be in use, latest at the end.
    pub(super) fn keys(&self) -> Vec<Secret> {
        let keys = self.0.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.clone()
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyFile").field(&self.path()).finish()
    }
}

/// Why a text is not an API key. Reveals nothing of the text itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFault {
    Quoted,
    Assignment,
    Scheme,
    Characters,
}

impl KeyFault {
    /// Checks a text without white space around it. Recognises keys copied with their surroundings,
    /// from shell scripts and headers, so that the error can name the remedy; the service would
    /// only answer 401.
    pub fn find(text: &str) -> Option<Self> {
        let quote = |c| matches!(c, '"' | '\'' | '`' | '“' | '”' | '‘' | '’');
        let is_visible = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
        let mut words = text.split_ascii_whitespace();
        if is_assignment(text) {
            Some(KeyFault::Assignment)
        } else if text.starts_with(quote) || text.ends_with(quote) {
            Some(KeyFault::Quoted)
        } else if words.any(|word| word.eq_ignore_ascii_case("bearer")) {
            Some(KeyFault::Scheme)
        } else {
            (!is_visible(text)).then_some(KeyFault::Characters)
        }
    }

    /// What is wrong, as the predicate of a sentence about the key.
    pub fn what(self) -> &'static str {
        match self {
            KeyFault::Quoted => "is in quotes",
            KeyFault::Assignment => "is written as NAME=value",
            KeyFault::Scheme => "begins with the word Bearer",
            KeyFault::Characters => "holds characters that no key has",
        }
    }

    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            KeyFault::Quoted => "Leave the quotes out.",
            KeyFault::Assignment => "Leave the name and the equals sign out.",
            KeyFault::Scheme => "Leave that out: only the key itself belongs there.",
            KeyFault::Characters => {
                "Check api-key, api-key-file or DASHSCOPE_API_KEY for stray characters: a key is \
                 one word of plain ASCII."
            }
        }
    }
}

/// Whether this is a line of a shell script or an `.env` file. Keys themselves may contain equals
/// signs.
fn is_assignment(text: &str) -> bool {
    let text = text.strip_prefix("export ").unwrap_or(text).trim_start();
    let Some((name, value)) = text.split_once('=') else {
        return false;
    };
    let (name, value) = (name.trim_end(), value.trim_start());
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let name_of_key = || {
        let name = name.to_ascii_lowercase();
        name.ends_with("key") || name.ends_with("token")
    };
    let is_key = || value.trim_start_matches(['"', '\'']).starts_with("sk-");
    !name.is_empty()
        && name.bytes().all(is_name)
        // Otherwise this is the padding of Base64.
        && !value.trim_matches('=').is_empty()
        && (name_of_key() || is_key())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_nothing_of_itself() {
        let secret = Secret::new(" sk-secret\n").unwrap();
        assert_eq!(secret.reveal(), "sk-secret");
        let file = KeyFile::new("/run/key");
        file.remember(secret.clone());
        let shown = format!("{secret:?} {:?}", KeySource::File(file));
        assert!(!shown.contains("sk-secret") && shown.contains("/run/key"));
        assert_eq!(Secret::new("  "), None);
    }

    #[test]
    fn a_file_remembers_few_keys_and_the_latest_is_the_one_to_use() {
        let file = KeyFile::new("/run/key");
        assert_eq!(file.latest(), None);
        let clone = file.clone();
        for n in (0..20).chain([17]) {
            clone.remember(Secret::new(&format!("sk-{n}")).unwrap());
        }
        assert_eq!(file.latest(), Secret::new("sk-17"));
        assert_eq!(file.keys().len(), MAX_REMEMBERED);
    }

    #[test]
    fn keys_that_are_written_in_other_ways_are_recognised() {
        for (text, fault) in [
            ("sk-6f1e5ec3e7", None),
            ("key", None),
            ("QUJDREVGRw==", None),
            ("a=b", None),
            ("ws-a/b+c.d:e~f", None),
            ("\"sk-1\"", Some(KeyFault::Quoted)),
            ("'sk-1'", Some(KeyFault::Quoted)),
            ("“sk-1”", Some(KeyFault::Quoted)),
            ("DASHSCOPE_API_KEY=sk-1", Some(KeyFault::Assignment)),
            ("export OPENAI_API_KEY=\"x\"", Some(KeyFault::Assignment)),
            ("token = abc", Some(KeyFault::Assignment)),
            ("k=sk-1", Some(KeyFault::Assignment)),
            ("Bearer sk-1", Some(KeyFault::Scheme)),
            ("Authorization: bearer sk-1", Some(KeyFault::Scheme)),
            ("sk-1 sk-2", Some(KeyFault::Characters)),
            ("sk-1\nsk-2", Some(KeyFault::Characters)),
            ("sk-1\u{200b}", Some(KeyFault::Characters)),
            ("sk-\0", Some(KeyFault::Characters)),
            ("sk-é", Some(KeyFault::Characters)),
        ] {
            assert_eq!(KeyFault::find(text), fault, "{text:?}");
        }
    }
}
