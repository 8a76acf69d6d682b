// SPDX-License-Identifier: MPL-2.0
//! Which of the audio's tags are the text's, too.
//!
//! Tags that describe the audio stay behind. The language that the container names goes on only
//! until the service has told the language of the text, which may be another one. A TAG event
//! stands for all tags of its scope, as pads keep only the latest of each: so tags of one's own are
//! added to those that were there.

use gst::prelude::*;
use gst::tags::{LanguageCode, LanguageName};

/// What of the tags that GStreamer does not count among those of encoded data describes the audio.
const AUDIO_TAGS: &[&str] = &[
    "beats-per-minute",
    "channel-mode",
    "has-crc",
    "midi-base-note",
    "musical-key",
    "replaygain-album-gain",
    "replaygain-album-peak",
    "replaygain-reference-level",
    "replaygain-track-gain",
    "replaygain-track-peak",
];

/// What of the audio's tags is true of the text. `None` if nothing is.
pub(super) fn of_text(tags: &gst::TagListRef) -> Option<gst::TagList> {
    let mut tags = tags.to_owned();
    let of_audio: Vec<_> = (0..tags.n_tags())
        .filter_map(|index| tags.nth_tag_name(index))
        .filter(|name| is_of_audio(name))
        .map(|name| name.to_owned())
        .collect();
    for name in of_audio {
        tags.make_mut().remove_generic(&*name);
    }
    (tags.n_tags() > 0).then_some(tags)
}

fn is_of_audio(name: &str) -> bool {
    // Codec, bitrate, encoder, container and the like, also where an application registered them.
    gst::tag_get_flag(name) == gst::TagFlag::Encoded || AUDIO_TAGS.contains(&name)
}

/// The tags as they are true of text in this language. `None` if nothing is left of them.
pub(super) fn in_language(tags: &gst::TagListRef, language: &str) -> Option<gst::TagList> {
    let mut tags = tags.to_owned();
    let scope = tags.scope();
    {
        let tags = tags.make_mut();
        tags.remove::<LanguageName>();
        tags.remove::<LanguageCode>();
        if scope == gst::TagScope::Stream {
            tags.add::<LanguageCode>(&language, gst::TagMergeMode::Replace);
        }
    }
    (tags.n_tags() > 0).then_some(tags)
}

/// The stream's tags that were pushed on a pad last.
pub(super) fn pushed(pad: &gst::Pad) -> gst::TagList {
    // One event of each scope.
    let pushed = (0..2).filter_map(|index| pad.sticky_event::<gst::event::Tag>(index));
    let mut tags = pushed.map(|event| event.tag_owned());
    tags.find(|tags| tags.scope() == gst::TagScope::Stream)
        .unwrap_or_default()
}

/// One TAG event instead of two that follow each other, if they are of the same scope.
pub(super) fn merged(older: &gst::Event, newer: &gst::Event) -> Option<gst::Event> {
    let (gst::EventView::Tag(older), gst::EventView::Tag(newer)) = (older.view(), newer.view())
    else {
        return None;
    };
    if older.tag().scope() != newer.tag().scope() {
        return None;
    }
    let tags = older.tag().merge(newer.tag(), gst::TagMergeMode::Replace);
    let event = gst::event::Tag::builder(tags).seqnum(newer.seqnum());
    Some(event.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(scope: gst::TagScope, all: &[(&str, &str)]) -> gst::TagList {
        gst::init().unwrap();
        let mut tags = gst::TagList::new();
        let list = tags.make_mut();
        list.set_scope(scope);
        for (name, value) in all {
            let mode = gst::TagMergeMode::Append;
            list.add_generic(*name, *value, mode).unwrap();
        }
        tags
    }

    fn stream(all: &[(&str, &str)]) -> gst::TagList {
        tags(gst::TagScope::Stream, all)
    }

    #[test]
    fn tags_of_the_audio_stay_behind() {
        let mut all = stream(&[
            ("audio-codec", "MP3"),
            ("title", "News"),
            ("encoder", "LAME"),
            ("language-code", "en"),
        ]);
        let list = all.make_mut();
        list.add::<gst::tags::Bitrate>(&128_000, gst::TagMergeMode::Append);
        list.add::<gst::tags::TrackGain>(&-3.0, gst::TagMergeMode::Append);
        let kept = stream(&[("title", "News"), ("language-code", "en")]);
        assert_eq!(of_text(&all), Some(kept));
        assert_eq!(of_text(&stream(&[("audio-codec", "MP3")])), None);
    }

    #[test]
    fn the_language_of_the_text_is_what_the_service_says() {
        let all = [
            ("title", "News"),
            ("language-code", "en"),
            ("language-name", "English"),
        ];
        let expected = stream(&[("title", "News"), ("language-code", "de")]);
        assert_eq!(in_language(&stream(&all), "de"), Some(expected));
        assert_eq!(
            in_language(&stream(&[]), "de"),
            Some(stream(&[("language-code", "de")]))
        );
        let global = |all: &[_]| tags(gst::TagScope::Global, all);
        let expected = global(&[("title", "News")]);
        assert_eq!(in_language(&global(&all), "de"), Some(expected));
        assert_eq!(in_language(&global(&all[1..]), "de"), None);
    }

    #[test]
    fn tags_of_one_scope_are_put_together() {
        let event = |tags: gst::TagList| gst::event::Tag::new(tags);
        let older = event(stream(&[("title", "News"), ("artist", "She")]));
        let newer = event(stream(&[("title", "Weather")]));
        let both = merged(&older, &newer).unwrap();
        let gst::EventView::Tag(both) = both.view() else {
            panic!("{both:?}");
        };
        let expected = stream(&[("title", "Weather"), ("artist", "She")]);
        assert_eq!(both.tag_owned(), expected);
        let global = event(tags(gst::TagScope::Global, &[("title", "Weather")]));
        assert!(merged(&older, &global).is_none());
        assert!(merged(&older, &gst::event::Eos::new()).is_none());
    }
}
