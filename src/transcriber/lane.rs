// SPDX-License-Identifier: MPL-2.0
//! A session's way to the src pad: makes of its transcripts what is to be pushed.

use std::sync::Arc;

use super::outlet::{BEHIND, CONGESTION, Item, Outlet};
use crate::captions::{Layout, Rolling, is_blank, timed_cues};
use crate::element::{Results, TextOutput};
use crate::transcript::Transcript;

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
        let lines = self.rolling.lines(transcript.utterance, &text);
        // All of it may have been taken back.
        if lines.is_empty() && !(last && is_blank(&text)) {
            return None;
        }
        self.shown = Some(transcript.utterance);
        Some(Item::Interim {
            lines,
            start: transcript.start,
            end: transcript.end,
            last,
        })
    }

    /// The cues of a finished utterance.
    fn cues(&mut self, transcript: &Transcript) -> Vec<Item> {
        if self.shown == Some(transcript.utterance) {
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
                item: transcript.utterance,
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
                item: transcript.utterance,
                text: transcript.text.clone(),
                words: transcript.words.clone(),
                start: transcript.start,
                end: transcript.end,
            }],
            _ if blank && self.shown != Some(transcript.utterance) => return,
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
