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

/// TAGs of a live stream that has a hundred thousand of them: each may leave with others that came
/// at the same time, but in time, and in order.
#[cfg(target_os = "linux")]
#[test]
fn a_flood_of_tags_leaves_in_time_and_nothing_stays_behind() {
    const COUNT: u32 = 100_000;
    const LATENCY: u64 = 500;
    // In a process of its own: other tests' memory is none of its business.
    const CHILD: &str = "QWENASR_TEST_TAGS";
    if std::env::var_os(CHILD).is_none() {
        let name = "events::a_flood_of_tags_leaves_in_time_and_nothing_stays_behind";
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, "1")
            .finish();
        let says = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (says(&output.stdout), says(&output.stderr));
        return assert!(output.status.success(), "{out}{err}");
    }
    let service = service(Protocol::Realtime, |_| {});
    let mut rig = Rig::launch(&format!(
        "appsrc name=src is-live=true format=time \
         caps=audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved ! clocksync \
         ! qwenasr name=asr {} latency={LATENCY} ! fakesink name=out sync=false async=false",
        service.properties()
    ));
    let numbered = |n: u32| {
        let mut tags = gst::TagList::new();
        let mode = gst::TagMergeMode::Append;
        tags.make_mut().add::<gst::tags::TrackNumber>(&n, mode);
        gst::event::Tag::new(tags)
    };
    let memory = || {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    };
    // They come in two of six seconds. When each came, and the memory before and after.
    let came = Arc::<Mutex<Vec<u64>>>::default();
    let memories = Arc::<Mutex<Vec<usize>>>::default();
    let (coming, measured, pipeline) = (came.clone(), memories.clone(), rig.pipeline.downgrade());
    let pad = rig.element.static_pad("sink").unwrap().peer().unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let Some(gst::PadProbeData::Buffer(buffer)) = &info.data else {
            unreachable!()
        };
        let time = ms(buffer.pts().unwrap());
        let mut came = coming.lock().unwrap();
        if [900, 5900].contains(&time) {
            measured.lock().unwrap().push(memory());
        }
        while came.len() < COUNT as usize
            && 1000 + came.len() as u64 * 2000 / u64::from(COUNT) <= time
        {
            let now = pipeline.upgrade().unwrap().current_running_time().unwrap();
            let number = came.len() as u32;
            came.push(ms(now));
            assert!(pad.push_event(numbered(number)));
        }
        gst::PadProbeReturn::Ok
    });
    // Number and time of each that left.
    let left = Arc::<Mutex<Vec<(u32, u64)>>>::default();
    let (arrived, pipeline) = (left.clone(), rig.pipeline.downgrade());
    let sink = rig.pipeline.by_name("out").unwrap();
    let pad = sink.static_pad("sink").unwrap();
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if let Some(gst::PadProbeData::Event(event)) = &info.data
            && let gst::EventView::Tag(tag) = event.view()
            && let Some(number) = tag.tag().get::<gst::tags::TrackNumber>()
        {
            let now = pipeline.upgrade().unwrap().current_running_time().unwrap();
            arrived.lock().unwrap().push((number.get(), ms(now)));
        }
        gst::PadProbeReturn::Ok
    });
    rig.play();
    rig.push_all(Speech::new(16_000).say(0..60).buffers(&[320], 0));
    rig.push_eos();
    rig.wait_for_eos();
    let memories = memories.lock().unwrap();
    let [before, after] = memories[..] else {
        panic!("{memories:?}")
    };
    assert!(
        after < before + (8 << 20),
        "{before} and then {after} bytes"
    );
    let mut left = left.lock().unwrap();
    // The language of a final comes with the tags again.
    left.dedup_by_key(|(number, _)| *number);
    let numbers = left.iter().map(|(number, _)| *number);
    assert!(numbers.clone().is_sorted(), "in order");
    assert_eq!(numbers.clone().next_back(), Some(COUNT - 1));
    assert!(left.len() > 20, "they leave as they come: {}", left.len());
    let came = came.lock().unwrap();
    for (number, at) in left.iter() {
        let came = came[*number as usize];
        assert!(*at <= came + LATENCY + 1500, "{number} at {at}, not {came}");
    }
}
