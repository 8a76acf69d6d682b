// SPDX-License-Identifier: MPL-2.0

//! What turns the audio of one item into text.

use std::sync::Arc;

use crate::words::Span;

/// An interim result, in the two parts the service reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hypothesis {
    /// The confirmed prefix of the item. Within one item it only ever grows.
    pub text: String,
    /// The tentative rest, to be shown right behind `text`; replaced by each hypothesis.
    pub stash: String,
}

impl Hypothesis {
    /// Whether there is nothing to show yet.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.stash.is_empty()
    }
}

/// A speech recogniser for one session, used for one item (utterance) after the other.
///
/// The calls for an item are one [`start`](Self::start), then any number of
/// [`feed`](Self::feed) and [`hypothesis`](Self::hypothesis), then one
/// [`finish`](Self::finish), which is omitted when the session ends early. They come from a
/// thread that may block.
pub trait Recogniser: Send {
    /// Begins an item. `rate` is the number of samples per second of what is fed.
    fn start(&mut self, rate: u32);

    /// Takes the next samples of the item.
    fn feed(&mut self, pcm: &[i16]);

    /// The interim result for what was fed so far. `None` if there is no time for it now;
    /// it is asked for again after the next audio then.
    fn hypothesis(&mut self) -> Option<Hypothesis>;

    /// Ends the item and returns its final transcript, empty if there was no speech in it.
    fn finish(&mut self) -> String;

    /// Begin and end of each word of the latest hypothesis or final transcript, in milliseconds
    /// of the item's audio. Nothing if they are not known; the service estimates them then.
    fn spans(&mut self) -> Vec<Span> {
        Vec::new()
    }

    /// The language reported when the client left the choice to the service.
    fn language(&self) -> &str {
        "en"
    }
}

/// Makes the recogniser of a session; called when its first item begins. The error is a
/// sentence for the operator of the service.
pub type Factory = Arc<dyn Fn() -> Result<Box<dyn Recogniser>, String> + Send + Sync>;
