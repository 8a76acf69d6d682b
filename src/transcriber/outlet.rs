// SPDX-License-Identifier: MPL-2.0
//! What waits to leave the src pad, in order.
//!
//! Events from upstream and the text of sessions come from different threads, and text comes long
//! after the events that followed its audio. Each session has a lane; the line moves on when the
//! lane is closed. So EOS and new segments never overtake text.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::captions::{Layout, Rolling, is_blank, timed_cues};
use crate::element::{Results, TextOutput};
use crate::session::Transcript;
use crate::timeline::Word;

/// Pieces of text that may wait before the session is told to send no more audio.
const CONGESTION: usize = 64;

/// Pieces of text that may wait before results that newer ones replace are passed over.
const BEHIND: usize = CONGESTION / 2;

/// One thing to push. Times are stream times in nanoseconds.
#[derive(Debug)]
pub(super) enum Item {
    Event(gst::Event),
    /// The audio begins here.
    Begin(u64),
    Text {
        text: String,
        start: u64,
        end: u64,
    },
    /// What is to be shown of the utterance that goes on, or nothing any more. The last line stays
    /// until the next one comes.
    Interim {
        lines: Vec<String>,
        start: u64,
        end: u64,
        /// The utterance is over.
        last: bool,
    },
    /// What is known of an utterance that goes on; `heard` is the time of the newest audio.
    Hypothesis {
        item: u64,
        text: String,
        stash: String,
        words: Vec<Word>,
        start: u64,
        heard: u64,
    },
    /// All that will be known of an utterance.
    Final {
        item: u64,
        text: String,
        words: Vec<Word>,
        start: u64,
        end: u64,
    },
    /// What is open comes again under other names.
    Cut,
    /// Nothing will come before this time.
    Advance(u64),
}

impl Item {
    /// Whether this says nothing that `next` does not say better.
    fn is_replaced_by(&self, next: &Item) -> bool {
        match (self, next) {
            (Item::Interim { last, .. }, Item::Interim { .. }) => !last,
            (Item::Hypothesis { item, .. }, Item::Hypothesis { item: next, .. }) => item == next,
            _ => false,
        }
    }
}

#[derive(Debug)]
enum Entry {
    Item(Item),
    Lane {
        id: u64,
        items: VecDeque<Item>,
        closed: bool,
    },
}

/// How the task waits for something to push. Waking it costs more than what it does then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sleep {
    Awake,
    /// It looks again soon enough for what is not urgent.
    Light,
    Deep,
}

#[derive(Debug)]
struct State {
    line: VecDeque<Entry>,
    next_lane: u64,
    flushing: bool,
    /// The task has taken something that may not have left yet.
    pushing: bool,
    sleep: Sleep,
    flow: Result<(), gst::FlowError>,
}

/// The line in front of the src pad.
#[derive(Debug)]
pub(super) struct Outlet {
    state: Mutex<State>,
    changed: Condvar,
}

impl Default for Outlet {
    fn default() -> Self {
        let state = State {
            line: VecDeque::new(),
            next_lane: 0,
            flushing: true,
            pushing: false,
            sleep: Sleep::Awake,
            flow: Ok(()),
        };
        Outlet {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }
}

/// What [`Outlet::next`] found.
#[derive(Debug)]
pub(super) enum Next {
    Item(Item),
    TimedOut,
    Flushing,
}

impl Outlet {
    /// Nothing leaves any more, whoever waits is freed.
    pub fn flush(&self) {
        let mut state = self.lock();
        state.flushing = true;
        self.wake(state);
    }

    /// Forgets everything and opens up.
    pub fn reset(&self) {
        let mut state = self.lock();
        state.line.clear();
        state.flushing = false;
        state.pushing = false;
        state.flow = Ok(());
    }

    /// What downstream last said to a push.
    pub fn flow(&self) -> Result<(), gst::FlowError> {
        self.lock().flow
    }

    pub fn set_flow(&self, error: gst::FlowError) {
        self.lock().flow = Err(error);
    }

    /// An event, to leave after everything before it.
    pub fn event(&self, event: gst::Event) {
        let mut state = self.lock();
        state.line.push_back(Entry::Item(Item::Event(event)));
        self.wake(state);
    }

    /// Whether everything has left.
    pub fn is_idle(&self) -> bool {
        let state = self.lock();
        state.line.is_empty() && !state.pushing
    }

    fn open_lane(&self, first: Item) -> u64 {
        let mut state = self.lock();
        let id = state.next_lane;
        state.next_lane += 1;
        let items = VecDeque::from([first]);
        state.line.push_back(Entry::Lane {
            id,
            items,
            closed: false,
        });
        self.wake(state);
        id
    }

    /// Changes a lane, if it has not been flushed away.
    fn with_lane(&self, id: u64, change: impl FnOnce(&mut VecDeque<Item>, &mut bool)) {
        let state = self.change_lane(id, change);
        self.wake(state);
    }

    fn change_lane(
        &self,
        id: u64,
        change: impl FnOnce(&mut VecDeque<Item>, &mut bool),
    ) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        let lane = state.line.iter_mut().find_map(|entry| match entry {
            Entry::Lane {
                id: this,
                items,
                closed,
            } if *this == id => Some((items, closed)),
            _ => None,
        });
        if let Some((items, closed)) = lane {
            change(items, closed);
        }
        state
    }

    /// Nothing will come into a lane before this time. That can wait until the task looks again,
    /// if it does so at all.
    fn advance_lane(&self, id: u64, time: u64) {
        let state = self.change_lane(id, |lane, _| {
            if let Some(Item::Advance(last)) = lane.back_mut() {
                *last = time;
            } else {
                lane.push_back(Item::Advance(time));
            }
        });
        if state.sleep == Sleep::Deep {
            self.wake(state);
        }
    }

    /// Wakes the task, the only one that ever waits here.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let sleep = std::mem::replace(&mut state.sleep, Sleep::Awake);
        drop(state);
        if sleep != Sleep::Awake {
            self.changed.notify_one();
        }
    }

    fn lane_length(&self, id: u64) -> usize {
        let state = self.lock();
        state
            .line
            .iter()
            .find_map(|entry| match entry {
                Entry::Lane {
                    id: this, items, ..
                } if *this == id => Some(items.len()),
                _ => None,
            })
            .unwrap_or_default()
    }

    /// The next thing to push; waits for it, up to the timeout if there is one, and then also for
    /// what only says that time has passed. The flag says that a lane has just become short enough
    /// for more audio.
    pub fn next(&self, timeout: Option<Duration>) -> (Next, bool) {
        let mut state = self.lock();
        state.pushing = false;
        let mut timed_out = false;
        loop {
            if state.flushing {
                return (Next::Flushing, false);
            }
            if let Some((item, relieved)) = state.pop() {
                state.pushing = true;
                return (Next::Item(item), relieved);
            }
            if timed_out {
                return (Next::TimedOut, false);
            }
            state = match timeout {
                None => {
                    state.sleep = Sleep::Deep;
                    self.changed
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner)
                }
                Some(timeout) => {
                    state.sleep = Sleep::Light;
                    let (state, result) = self
                        .changed
                        .wait_timeout(state, timeout)
                        .unwrap_or_else(PoisonError::into_inner);
                    timed_out = result.timed_out();
                    state
                }
            };
            state.sleep = Sleep::Awake;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is complete before anything that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn pop(&mut self) -> Option<(Item, bool)> {
        loop {
            match self.line.front_mut()? {
                Entry::Lane { items, closed, .. } => {
                    let length = items.len();
                    if let Some(item) = items.pop_front() {
                        return Some((item, length == CONGESTION));
                    }
                    if !*closed {
                        return None;
                    }
                    self.line.pop_front();
                }
                Entry::Item(_) => match self.line.pop_front() {
                    Some(Entry::Item(item)) => return Some((item, false)),
                    _ => return None,
                },
            }
        }
    }
}

/// A session's way into the line: makes cues of its transcripts.
#[derive(Debug)]
pub(super) struct Lane {
    outlet: Arc<Outlet>,
    id: u64,
    results: Results,
    layout: Layout,
    language: Option<String>,
    rolling: Rolling,
    /// The utterance of which interim text has been shown.
    shown: Option<u64>,
}

impl Lane {
    /// `begin` is the time of the session's first audio.
    pub fn new(outlet: &Arc<Outlet>, begin: u64, results: Results, layout: Layout) -> Self {
        Lane {
            outlet: outlet.clone(),
            id: outlet.open_lane(Item::Begin(begin)),
            results,
            layout,
            language: None,
            rolling: Rolling::new(layout.max_chars),
            shown: None,
        }
    }

    fn put(&self, items: impl IntoIterator<Item = Item>) {
        self.outlet.with_lane(self.id, |lane, _| lane.extend(items));
    }

    /// The newest text of an utterance, as far as it fits.
    fn rolling_lines(&mut self, transcript: &Transcript, last: bool) -> Option<Item> {
        let text = format!("{}{}", transcript.text, transcript.stash);
        let lines = self.rolling.lines(transcript.item, &text);
        // All of it may have been taken back.
        if lines.is_empty() && !(last && is_blank(&text)) {
            return None;
        }
        self.shown = Some(transcript.item);
        Some(Item::Interim {
            lines,
            start: transcript.start,
            end: transcript.end,
            last,
        })
    }

    /// The cues of a finished utterance.
    fn cues(&mut self, transcript: &Transcript) -> Vec<Item> {
        if self.shown == Some(transcript.item) {
            // What came before has been read already.
            return self.rolling_lines(transcript, true).into_iter().collect();
        }
        let Transcript {
            text,
            words,
            start,
            end,
            ..
        } = transcript;
        timed_cues(text, words, *start, *end, &self.layout)
            .into_iter()
            .map(|cue| Item::Text {
                text: cue.text,
                start: cue.start,
                end: cue.end,
            })
            .collect()
    }

    /// Says in which language the text is, when that changes.
    fn tag(&mut self, transcript: &Transcript) -> Option<Item> {
        let language = transcript.language.as_ref()?;
        if self.language.as_ref() == Some(language) {
            return None;
        }
        self.language = Some(language.clone());
        let mut tags = gst::TagList::new();
        {
            // Just made, so nobody else holds it.
            let tags = tags.make_mut();
            tags.add::<gst::tags::LanguageCode>(&language.as_str(), gst::TagMergeMode::Replace);
        }
        Some(Item::Event(gst::event::Tag::new(tags)))
    }
}

impl Drop for Lane {
    /// However a session ends, what waits behind it must not wait for ever.
    fn drop(&mut self) {
        self.over();
    }
}

impl TextOutput for Lane {
    fn interim(&mut self, transcript: &Transcript) {
        let item = match self.results {
            Results::Final => None,
            Results::Interim => self.rolling_lines(transcript, false),
            Results::Stable => Some(Item::Hypothesis {
                item: transcript.item,
                text: transcript.text.clone(),
                stash: transcript.stash.clone(),
                words: transcript.words.clone(),
                start: transcript.start,
                heard: transcript.end,
            }),
        };
        let Some(item) = item else { return };
        let tag = self.tag(transcript);
        self.outlet.with_lane(self.id, |lane, _| {
            lane.extend(tag);
            // Where the pad is far behind, or what waits has no times of its own, only the newest
            // matters.
            let behind = lane.len() >= BEHIND || !matches!(item, Item::Interim { .. });
            if behind && lane.back().is_some_and(|last| last.is_replaced_by(&item)) {
                lane.pop_back();
            }
            lane.push_back(item);
        });
    }

    fn last(&mut self, transcript: &Transcript) {
        let blank = is_blank(&transcript.text);
        let text = match self.results {
            // Also without text this ends what was open.
            Results::Stable => vec![Item::Final {
                item: transcript.item,
                text: transcript.text.clone(),
                words: transcript.words.clone(),
                start: transcript.start,
                end: transcript.end,
            }],
            _ if blank && self.shown != Some(transcript.item) => return,
            _ => self.cues(transcript),
        };
        let tag = self.tag(transcript);
        // Understood by textaccumulate, tttocea608 and tttocea708.
        let structure = gst::Structure::new_empty("rstranscribe/final-transcript");
        let end = (!blank).then(|| Item::Event(gst::event::CustomDownstream::new(structure)));
        self.put(tag.into_iter().chain(text).chain(end));
    }

    fn cut(&mut self) {
        if self.results == Results::Stable {
            self.put([Item::Cut]);
        }
    }

    fn settled(&mut self, time: u64) {
        self.outlet.advance_lane(self.id, time);
    }

    fn over(&mut self) {
        self.outlet.with_lane(self.id, |_, closed| *closed = true);
    }

    fn is_congested(&self) -> bool {
        self.outlet.lane_length(self.id) >= CONGESTION
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What takes this long hangs.
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_light_sleeper_is_not_woken_to_hear_that_there_is_nothing() {
        gst::init().unwrap();
        for (timeout, sleep) in [(Some(LONG), Sleep::Light), (None, Sleep::Deep)] {
            let outlet = Arc::<Outlet>::default();
            outlet.reset();
            let mut lane = Lane::new(&outlet, 5, Results::Final, Layout::default());
            let begin = outlet.next(timeout).0;
            assert!(matches!(begin, Next::Item(Item::Begin(5))), "{begin:?}");
            let task = {
                let outlet = outlet.clone();
                std::thread::spawn(move || outlet.next(timeout).0)
            };
            while outlet.lock().sleep != sleep {
                std::thread::yield_now();
            }
            lane.settled(7);
            if sleep == Sleep::Light {
                lane.settled(9);
                assert_eq!(outlet.lock().sleep, sleep);
                outlet.event(gst::event::Eos::new());
            }
            let next = task.join().unwrap();
            let Next::Item(Item::Advance(time)) = next else {
                panic!("{next:?}");
            };
            assert_eq!(time, if sleep == Sleep::Light { 9 } else { 7 });
        }
    }
}
