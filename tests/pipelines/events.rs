// SPDX-License-Identifier: MPL-2.0
//! Events from upstream keep their place among the text, and wait for no more than that.

use super::common::*;
use gst::prelude::*;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Sends events into the stream, each right before the audio of this time in milliseconds.
fn send(rig: &Rig, events: impl IntoIterator<Item = (u64, gst::Event)>) {
    let events: VecDeque<_> = events.into_iter().collect();
    let events = Mutex::new(events);
    let pad = rig.element.static_pad("sink").unwrap().peer().unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let Some(gst::PadProbeData::Buffer(buffer)) = &info.data else {
            unreachable!()
        };
        let now = ms(buffer.pts().unwrap());
        let next = || events.lock().unwrap().pop_front_if(|(at, _)| *at <= now);
        while let Some((_, event)) = next() {
            assert!(pad.push_event(event));
        }
        gst::PadProbeReturn::Ok
    });
}

fn custom(name: &str) -> gst::Event {
    gst::event::CustomDownstream::new(gst::Structure::new_empty(name))
}

fn title(title: &str) -> gst::Event {
    let mut tags = gst::TagList::new();
    tags.make_mut()
        .add::<gst::tags::Title>(&title, gst::TagMergeMode::Append);
    gst::event::Tag::new(tags)
}

/// The tags that have arrived at the sink, in order.
fn tags(rig: &Rig) -> Arc<Mutex<Vec<gst::TagList>>> {
    let tags = Arc::<Mutex<Vec<_>>>::default();
    let pad = rig
        .pipeline
        .by_name("out")
        .unwrap()
        .static_pad("sink")
        .unwrap();
    let arrived = tags.clone();
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if let Some(gst::PadProbeData::Event(event)) = &info.data
            && let gst::EventView::Tag(tag) = event.view()
        {
            arrived.lock().unwrap().push(tag.tag_owned());
        }
        gst::PadProbeReturn::Ok
    });
    tags
}

/// What left, in words: the number of each word and the names of the events of these.
fn order(rig: &Rig, names: &[&str]) -> Vec<String> {
    let words = |left: Left| match left {
        Left::Text { text, .. } => numbers(&text).iter().map(u32::to_string).collect(),
        Left::Event(name) if names.contains(&name.as_str()) => vec![name],
        _ => Vec::new(),
    };
    rig.left().into_iter().flat_map(words).collect()
}

fn words(range: std::ops::Range<u32>) -> impl Iterator<Item = String> {
    range.map(|n| n.to_string())
}

#[test]
fn events_leave_after_the_text_of_the_audio_before_them() {
    for results in ["final", "stable", "interim"] {
        let service = service(Protocol::Realtime, |_| {});
        let speech = Speech::new(16_000)
            .say(0..10)
            .silence(1500)
            .say(10..20)
            .silence(1500)
            .say(20..30);
        let properties = format!("results={results} max-speed=20");
        let mut rig = Rig::with(&service, 16_000, &properties);
        let events = [
            (500, "early"),
            (1800, "first-pause"),
            (4900, "second-pause"),
        ];
        send(&rig, events.map(|(time, name)| (time, custom(name))));
        rig.run(speech.buffers(&[320], 0));
        let mut left = order(&rig, &events.map(|(_, name)| name));
        let mut seen = Vec::new();
        left.retain(|what| {
            !seen.contains(what) && {
                seen.push(what.clone());
                true
            }
        });
        let expected: Vec<String> = words(0..10)
            .chain(["early".into(), "first-pause".into()])
            .chain(words(10..20))
            .chain(["second-pause".into()])
            .chain(words(20..30))
            .collect();
        assert_eq!(left, expected, "{results}");
    }
}

#[test]
fn live_events_wait_no_longer_than_text_does() {
    for mute in [false, true] {
        let service = service(Protocol::Realtime, |options| {
            options.faults.stall_created = mute;
        });
        let mut rig = Rig::launch(&format!(
            "appsrc name=src is-live=true format=time \
             caps=audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved ! clocksync \
             ! qwenasr name=asr {} latency=500 \
             finish-timeout=500 failure-policy=continue ! fakesink name=out sync=false async=false",
            service.properties()
        ));
        let came = [(300, "a"), (700, "b"), (1000, "c"), (1300, "d")];
        send(
            &rig,
            came.map(|(time, name)| match name {
                "b" => (time, title("Weather")),
                _ => (time, custom(name)),
            }),
        );
        let left = Arc::<Mutex<Vec<_>>>::default();
        let (arrived, pipeline) = (left.clone(), rig.pipeline.downgrade());
        let pad = rig
            .pipeline
            .by_name("out")
            .unwrap()
            .static_pad("sink")
            .unwrap();
        pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
            if let Some(gst::PadProbeData::Event(event)) = &info.data
                && let gst::EventView::Tag(_) | gst::EventView::CustomDownstream(_) = event.view()
                && !event
                    .structure()
                    .unwrap()
                    .name()
                    .starts_with("rstranscribe")
            {
                let now = pipeline.upgrade().unwrap().current_running_time().unwrap();
                arrived.lock().unwrap().push(ms(now));
            }
            gst::PadProbeReturn::Ok
        });
        rig.play();
        rig.push_all(Speech::new(16_000).say(0..30).buffers(&[320], 0));
        rig.push_eos();
        rig.wait_for_eos();
        let left = left.lock().unwrap().clone();
        // The service tells the language in the end.
        assert_eq!(left.len(), came.len() + usize::from(!mute), "{left:?}");
        for ((came, name), left) in came.iter().zip(left) {
            let after = left - came;
            assert!(
                (400..1300).contains(&after),
                "{name} left {after} ms after it came"
            );
        }
    }
}

#[test]
fn tags_of_the_audio_stay_behind_and_the_language_is_that_of_the_text() {
    let service = service(Protocol::Realtime, |_| {});
    let mut rig = Rig::with(&service, 16_000, "max-speed=20");
    let tags = tags(&rig);
    let of_audio = |title: Option<&str>| {
        let mut tags = gst::TagList::new();
        let list = tags.make_mut();
        let mode = gst::TagMergeMode::Append;
        list.add::<gst::tags::AudioCodec>(&"MP3", mode);
        list.add::<gst::tags::Bitrate>(&128_000, mode);
        if let Some(title) = title {
            list.add::<gst::tags::Title>(&title, mode);
            list.add::<gst::tags::LanguageCode>(&"de", mode);
        }
        gst::event::Tag::new(tags)
    };
    send(
        &rig,
        [
            (100, of_audio(None)),
            (200, of_audio(Some("News"))),
            (1600, of_audio(Some("Weather"))),
        ],
    );
    let speech = Speech::new(16_000)
        .silence(500)
        .say(0..5)
        .silence(1200)
        .say(5..10);
    rig.run(speech.buffers(&[320], 0));
    let tags = tags.lock().unwrap();
    let titles = tags.iter().map(|tags| {
        assert!(tags.get::<gst::tags::AudioCodec>().is_none(), "{tags:?}");
        assert!(tags.get::<gst::tags::Bitrate>().is_none(), "{tags:?}");
        let language = tags.get::<gst::tags::LanguageCode>().unwrap();
        let title = tags.get::<gst::tags::Title>().unwrap();
        (language.get().to_owned(), title.get().to_owned())
    });
    let titles: Vec<_> = titles.collect();
    let expected = [("de", "News"), ("en", "News"), ("en", "Weather")];
    assert_eq!(
        titles,
        expected.map(|(language, title)| (language.into(), title.into()))
    );
}

#[test]
fn a_segment_that_comes_again_changes_nothing() {
    let service = service(Protocol::Realtime, |_| {});
    let speech = Speech::usual(16_000);
    let mut rig = Rig::with(&service, 16_000, "max-speed=100");
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    // As input-selector does when it is switched.
    send(
        &rig,
        [
            (2700, gst::event::StreamStart::new("other")),
            (2700, gst::event::Segment::new(&segment)),
        ],
    );
    rig.run(speech.buffers(&[320], 0));
    service.check_cues(&speech, &rig.texts(), 0);
    assert_eq!(service.connections(), 1);
    let left = order(&rig, &["stream-start", "segment", "eos"]);
    let mut expected: Vec<String> = ["stream-start", "segment"].map(str::to_owned).into();
    expected.extend(words(0..20));
    expected.extend(["stream-start", "segment"].map(str::to_owned));
    expected.extend(words(20..67));
    expected.push("eos".into());
    assert_eq!(left, expected);
}

#[test]
fn a_segment_that_is_done_is_done_with_all_its_text() {
    let service = service(Protocol::Realtime, |_| {});
    let speech = Speech::new(16_000)
        .say(0..8)
        .silence(600)
        .say(8..16)
        .silence(3000);
    let wav = speech.wav();
    let mut rig = Rig::launch(&format!(
        "filesrc location={} ! wavparse ! qwenasr name=asr {} max-speed=20 ! fakesink name=out sync=false",
        wav.0.display(),
        service.properties()
    ));
    rig.pipeline.set_state(gst::State::Paused).unwrap();
    rig.wait_for("preroll", |message| {
        (message.type_() == gst::MessageType::AsyncDone).then_some(())
    });
    let seek = |flags| {
        rig.pipeline
            .seek(
                1.0,
                gst::SeekFlags::SEGMENT | flags,
                gst::SeekType::Set,
                gst::ClockTime::ZERO,
                gst::SeekType::Set,
                gst::ClockTime::from_mseconds(2400),
            )
            .unwrap();
    };
    let wait = |count: usize| {
        let begun = std::time::Instant::now();
        let done = || {
            let left = order(&rig, &["segment-done"]);
            left.iter().filter(|what| *what == "segment-done").count()
        };
        while done() < count {
            assert!(begun.elapsed() < LONG, "{:?}", rig.left());
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    seek(gst::SeekFlags::FLUSH);
    rig.play();
    wait(1);
    seek(gst::SeekFlags::empty());
    wait(2);
    let once: Vec<String> = words(0..16).chain(["segment-done".into()]).collect();
    let left = order(&rig, &["segment-done", "flush-stop"]);
    let flushed = left.iter().position(|what| what == "flush-stop").unwrap();
    assert_eq!(left[flushed + 1..], [once.clone(), once].concat());
}
