// SPDX-License-Identifier: MPL-2.0
//! The src pads of an element: that of what is said, and those of its translations, which are
//! requested and released at any time.
//!
//! A pad that is requested while the element runs begins with what the others have got so far; the
//! streaming thread sees to that with the next buffer or event, as nobody else knows what came
//! before what. Until then there is nothing else for it, neither events nor sessions.
//!
//! Locks: `translations`, for moments, and never while pushing, querying or posting; those of the
//! pads' queues may be taken inside. `segment`, with nothing inside. `ended` likewise, and the others
//! may be taken inside.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use gst::prelude::*;

use super::src_pad::SrcPad;
use crate::element::{Key, MAIN, lock};
use crate::timeline::Timestamp;

/// The src pads.
#[derive(Default)]
pub(super) struct TextPads {
    src: OnceLock<Arc<SrcPad>>,
    translations: Mutex<Vec<Arc<SrcPad>>>,
    /// Some of them may not have begun.
    has_new: AtomicBool,
    /// See [`Self::ended`].
    ended: Mutex<bool>,
    /// Some of them may want sessions.
    has_wishes: AtomicBool,
    /// The latest SEGMENT event that they got.
    segment: Mutex<Option<gst::Event>>,
    /// The translation that the src pad's session serves, too, or [`MAIN`] for none.
    companion: AtomicU32,
    /// Keys given out; that of the src pad is [`MAIN`].
    keys: AtomicU32,
}

impl TextPads {
    /// The pad of what is said.
    pub fn src(&self, new: impl FnOnce() -> SrcPad) -> &Arc<SrcPad> {
        self.src.get_or_init(|| Arc::new(new()))
    }

    /// A key for another translation.
    pub fn next_key(&self) -> Key {
        // After four billion requests they are given out again.
        self.keys
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_add(1)
            .max(MAIN + 1)
    }

    pub fn add(&self, pad: Arc<SrcPad>) {
        lock(&self.translations).push(pad);
    }

    /// A pad that was added is one of the element's now, and may begin.
    pub fn announce_pads(&self) {
        self.has_new.store(true, Ordering::Release);
    }

    pub fn remove(&self, pad: &gst::Pad) -> Option<Arc<SrcPad>> {
        let mut translations = lock(&self.translations);
        let at = translations.iter().position(|other| other.pad() == pad)?;
        Some(translations.remove(at))
    }

    /// The pads of translations that have begun, in the order of their requests.
    pub fn translations(&self) -> Vec<Arc<SrcPad>> {
        self.translations_that(SrcPad::has_begun)
    }

    /// Those that have not, and are the element's already.
    pub fn new_translations(&self) -> Vec<Arc<SrcPad>> {
        self.translations_that(|pad| !pad.has_begun() && pad.pad().parent().is_some())
    }

    fn translations_that(&self, wanted: impl Fn(&SrcPad) -> bool) -> Vec<Arc<SrcPad>> {
        let translations = lock(&self.translations);
        let translations = translations.iter().filter(|pad| wanted(pad));
        translations.cloned().collect()
    }

    pub fn translation(&self, key: Key) -> Option<Arc<SrcPad>> {
        let translations = lock(&self.translations);
        translations.iter().find(|pad| pad.key() == key).cloned()
    }

    /// All pads that are there.
    pub fn all(&self) -> Vec<Arc<SrcPad>> {
        let src = self.src.get().into_iter().cloned();
        src.chain(self.translations_that(|_| true)).collect()
    }

    /// Those that have begun.
    pub fn begun(&self) -> Vec<Arc<SrcPad>> {
        let mut pads = self.all();
        pads.retain(|pad| pad.has_begun());
        pads
    }

    /// Puts an event into their queues, see [`SrcPad::enqueue`].
    pub fn enqueue(&self, time: Option<Timestamp>, event: &gst::Event) {
        for pad in self.begun() {
            pad.enqueue(time, event.clone());
        }
    }

    /// The same for a SEGMENT event, with which pads begin that are requested later.
    pub fn enqueue_segment(&self, time: Option<Timestamp>, event: &gst::Event) {
        *lock(&self.segment) = Some(event.clone());
        self.enqueue(time, event);
    }

    /// The latest one.
    pub fn segment(&self) -> Option<gst::Event> {
        lock(&self.segment).clone()
    }

    /// Whether a pad may have come since the previous [`Self::take_news`].
    pub fn has_news(&self) -> bool {
        self.has_new.load(Ordering::Acquire)
    }

    /// Whether a pad has come since the previous call.
    pub fn take_news(&self) -> bool {
        self.has_new.swap(false, Ordering::AcqRel)
    }

    /// Whether EOS is in their queues: no event follows with which others could begin. That does not
    /// change as long as this is held, for as long as pads begin.
    pub fn ended(&self) -> MutexGuard<'_, bool> {
        lock(&self.ended)
    }

    pub fn set_ended(&self, ended: bool) {
        *lock(&self.ended) = ended;
    }

    /// Some pad may want a session.
    pub fn announce_sessions(&self) {
        self.has_wishes.store(true, Ordering::Release);
    }

    /// Whether some pad may want a session, since the previous call.
    pub fn take_wishes(&self) -> bool {
        self.has_wishes.load(Ordering::Acquire) && self.has_wishes.swap(false, Ordering::AcqRel)
    }

    /// The src pad's session serves this translation, too.
    pub fn set_companion(&self, key: Option<Key>) {
        self.companion.store(key.unwrap_or(MAIN), Ordering::Relaxed);
    }

    pub fn is_companion(&self, key: Key) -> bool {
        key != MAIN && self.companion.load(Ordering::Relaxed) == key
    }

    /// Audio has come, with this timestamp: see [`SrcPad::pass`]. Returns what downstream says, all in
    /// all: what is wrong with one pad is wrong, and a pad whose stream has ended, or which is being
    /// taken away, does not concern the others.
    pub fn pass(&self, time: Option<Timestamp>) -> Result<(), gst::FlowError> {
        let src = self.src.get().map_or(Ok(()), |src| src.pass(time));
        let translations = lock(&self.translations);
        let mut all_ended = src == Err(gst::FlowError::Eos);
        for pad in translations.iter() {
            match pad.pass(time) {
                Err(error @ (gst::FlowError::Error | gst::FlowError::NotNegotiated)) => {
                    return Err(error);
                }
                flow => all_ended &= flow == Err(gst::FlowError::Eos),
            }
        }
        match src {
            Err(gst::FlowError::Eos) if !all_ended => Ok(()),
            src => src,
        }
    }
}
