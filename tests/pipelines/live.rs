// SPDX-License-Identifier: MPL-2.0
//! Live pipelines never wait for the network.

use super::common::*;
use gst::prelude::*;
use offline_service::Faults;

/// A service that accepts connections and does nothing else.
fn mute() -> Faults {
    Faults {
        stall_created: true,
        ..Faults::default()
    }
}

fn live_rig(url: &str, properties: &str) -> Rig {
    Rig::launch(&format!(
        "appsrc name=src is-live=true format=time caps=audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved \
         ! qwenasr name=asr url={url} {properties} ! fakesink name=out sync=false async=false"
    ))
}

fn latency(pad: &gst::Pad) -> (bool, u64) {
    let mut query = gst::query::Latency::new();
    assert!(pad.query(&mut query));
    let (live, min, _) = query.result();
    (live, ms(min))
}

#[test]
fn the_latency_is_known_without_caps_clock_or_network() {
    let server = server(|_| {});
    for (live, expected) in [(true, 2500), (false, 0)] {
        let source = gst::ElementFactory::make("fakesrc")
            .property("is-live", live)
            .build()
            .unwrap();
        let asr = gst::ElementFactory::make("qwenasr")
            .property("url", server.url())
            .property("latency", 2500u32)
            .build()
            .unwrap();
        source.link(&asr).unwrap();
        asr.set_state(gst::State::Paused).unwrap();
        assert_eq!(latency(&asr.static_pad("src").unwrap()), (live, expected));
        source.unlink(&asr);
        asr.set_state(gst::State::Null).unwrap();
    }
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_changed_latency_is_announced() {
    let server = server(|_| {});
    let mut rig = live_rig(&server.url(), "");
    rig.play();
    let asr = rig.element.clone();
    rig.element.set_property("latency", 1000u32);
    rig.wait_for("LATENCY", |message| {
        (message.type_() == gst::MessageType::Latency && message.src() == Some(asr.upcast_ref()))
            .then_some(())
    });
    assert_eq!(latency(&asr.static_pad("src").unwrap()), (true, 1000));
}

#[test]
fn gaps_go_on_while_the_service_is_mute() {
    let server = server(|options| options.faults = mute());
    let mut rig = live_rig(&server.url(), "latency=100");
    rig.play();
    rig.push_all(Speech::new(16_000).say(0..100).buffers(&[320], 0));
    rig.wait_for_state("connecting");
    let gaps = |rig: &Rig| -> Vec<(u64, u64)> {
        rig.left()
            .iter()
            .filter_map(|left| match left {
                Left::Gap { start, end } => Some((*start, *end)),
                _ => None,
            })
            .collect()
    };
    while gaps(&rig).last().is_none_or(|(_, end)| *end < 1000) {
        std::thread::yield_now();
    }
    let now = ms(rig.pipeline.current_running_time().unwrap());
    let gaps = gaps(&rig);
    assert_eq!(gaps[0].0, 0);
    assert!(
        gaps.windows(2).all(|pair| pair[0].1 == pair[1].0),
        "without holes: {gaps:?}"
    );
    let mut lengths: Vec<u64> = gaps.iter().map(|(start, end)| end - start).collect();
    lengths.sort_unstable();
    assert!(lengths[lengths.len() / 2] <= 210, "often enough: {gaps:?}");
    assert!(
        gaps.last().unwrap().1 + 100 <= now,
        "never before text could come: {gaps:?} at {now}"
    );
}

#[test]
fn a_crowd_gets_all_its_words_and_can_be_left() {
    let server = server(|options| options.rate_limit = false);
    let speech = Speech::new(16_000).say(0..10).silence(700);
    let mut rigs: Vec<Rig> = (0..40)
        .map(|_| live_rig(&server.url(), "max-speed=20"))
        .collect();
    for rig in &rigs {
        rig.play();
        rig.push_all(speech.buffers(&[320], 0));
    }
    // Some go while they connect.
    rigs.truncate(30);
    for mut rig in rigs {
        rig.push_eos();
        rig.wait_for_eos();
        check_cues(&speech, &rig.texts(), 0);
        assert!(rig.warnings.is_empty(), "{:?}", rig.warnings);
    }
}

#[test]
fn what_a_live_queue_cannot_hold_is_dropped_and_reported() {
    let server = server(|options| options.faults = mute());
    let mut rig = live_rig(&server.url(), "max-queue-time=500 finish-timeout=100");
    rig.play();
    rig.push_all(Speech::new(16_000).say(0..100).buffers(&[320], 0));
    let lost = rig.wait_for_message("qwenasr/audio-lost");
    assert_eq!(
        lost.get::<gst::ClockTime>("running-time").unwrap(),
        gst::ClockTime::ZERO
    );
    assert!(!lost.get::<String>("reason").unwrap().is_empty());
    // All of it goes in although none goes out, and what is left is the newest.
    let expected = gst::ClockTime::from_mseconds(9_500).nseconds();
    loop {
        let stats = rig.element.property::<gst::Structure>("stats");
        if stats.get::<u64>("audio-lost").unwrap() == expected {
            assert_eq!(stats.get::<u64>("queue-level").unwrap(), 500_000_000);
            break;
        }
        std::thread::yield_now();
    }
    // Not a message for each buffer: what is not reported yet comes as a sum with the end.
    rig.push_eos();
    let rest = rig.wait_for_message("qwenasr/audio-lost");
    let duration = |message: &gst::Structure| message.get::<u64>("duration").unwrap();
    assert_eq!(duration(&lost) + duration(&rest), expected);
    assert_eq!(rest.get::<u64>("running-time").unwrap(), duration(&lost));
}

#[test]
fn an_unlinked_src_pad_is_no_error() {
    let server = server(|_| {});
    let speech = Speech::usual(16_000);
    let wav = speech.wav();
    let mut rig = Rig::launch(&format!(
        "filesrc location={} ! wavparse ! qwenasr name=asr url={} max-speed=100",
        wav.0.display(),
        server.url()
    ));
    rig.play();
    rig.wait_for_state("idle");
    assert_eq!(numbers(&rig.finals().join(" ")), speech.numbers());
    assert!(rig.warnings.is_empty());
}

#[test]
fn text_is_burnt_into_live_video_in_sync() {
    let server = server(|_| {});
    // Words all the time, one utterance after the other.
    let mut speech = Speech::new(16_000);
    for n in 0..5 {
        speech = speech.silence(500).say(n * 10..(n + 1) * 10);
    }
    let mut rig = Rig::launch(&format!(
        "appsrc name=src is-live=true format=time caps=audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved \
           ! qwenasr name=asr url={} max-speed=20 latency=1000 ! textoverlay.text_sink \
         videotestsrc is-live=true num-buffers=60 ! video/x-raw,framerate=30/1,width=320,height=240 \
           ! queue max-size-time=0 max-size-bytes=0 max-size-buffers=0 \
           ! textoverlay name=textoverlay wait-text=true ! fakesink name=video sync=false",
        server.url()
    ));
    rig.play();
    rig.push_all(speech.buffers(&[320], 0));
    rig.push_eos();
    rig.wait_for_eos();
    assert_eq!(numbers(&rig.finals().join(" ")), speech.numbers());
    // The overlay would rather have markup.
    let caps = rig.element.static_pad("src").unwrap().current_caps();
    let plain = gst::Caps::builder("text/x-raw").field("format", "utf8");
    assert_eq!(caps, Some(plain.build()));
}

#[test]
fn a_timeline_that_began_later_than_the_pipeline_is_no_delay() {
    let server = server(|_| {});
    let speech = Speech::new(16_000).say(0..10).silence(700);
    let mut rig = Rig::launch(&format!(
        "appsrc name=src format=time caps=audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved \
         ! clocksync sync-to-first=true ! qwenasr name=asr url={} \
         ! fakesink name=out sync=false async=false",
        server.url()
    ));
    // As if the pipeline had been there for a minute when its source began to send.
    let clock = gst::SystemClock::obtain();
    rig.pipeline.use_clock(Some(&clock));
    rig.pipeline.set_start_time(gst::ClockTime::NONE);
    let minute = gst::ClockTime::from_seconds(60);
    rig.pipeline
        .set_base_time(clock.time().saturating_sub(minute));
    rig.play();
    rig.push_all(speech.buffers(&[320], 0));
    rig.push_eos();
    rig.wait_for_eos();
    check_cues(&speech, &rig.texts(), 0);
    assert!(rig.warnings.is_empty(), "{:?}", rig.warnings);
    let delay = rig.element.property::<u32>("max-observed-delay");
    assert!((1300..30_000).contains(&delay), "{delay}");
}

#[test]
fn text_that_comes_too_late_is_measured_and_said_so() {
    let server = server(|_| {});
    let speech = Speech::new(16_000).say(0..10).silence(700);
    for (latency, late) in [(0, true), (10_000, false)] {
        let mut rig = live_rig(&server.url(), &format!("max-speed=1 latency={latency}"));
        // Nobody waits for text otherwise.
        let sink = rig.pipeline.by_name("out").unwrap();
        sink.set_property("sync", true);
        rig.play();
        rig.push_all(speech.buffers(&[320], 0));
        rig.push_eos();
        rig.wait_for_eos();
        assert_eq!(rig.heard(), speech.numbers());
        // The utterance is a second long, and the pause that ends it 400 ms.
        let delay = rig.element.property::<u32>("max-observed-delay");
        assert!(delay >= 1300, "{delay}");
        let warnings = rig
            .warnings
            .iter()
            .filter(|text| text.contains("Text came"));
        assert_eq!(warnings.count(), usize::from(late), "{:?}", rig.warnings);
        assert_eq!(rig.stat("late-texts"), u64::from(late));
    }
}
