// SPDX-License-Identifier: MPL-2.0
//! One microphone, several languages: each on a pad of its own, with a session of its own, and what
//! happens to one of them is nothing to the others.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use offline_service::faults::Faults;
use offline_service::{End, Options, Server};

use super::common::*;
use gst::prelude::*;

const ASR: &str = "qwen3-asr-flash-realtime";
const TRANSLATOR: &str = "qwen3.8-livetranslate-flash-realtime";

/// The detection of speech is that of the other models then.
const EXACT: &str = "vad-threshold=0.5";

/// A service for transcripts and translations.
fn translating(change: impl FnOnce(&mut Options)) -> Server {
    server(|options| {
        options.protocols = vec![Protocol::Realtime, Protocol::LiveTranslate];
        change(options);
    })
}

/// A pipeline with pads for these languages, each with a sink `out` and the name of its pad.
fn rig(server: &Server, live: bool, languages: &[&str], properties: &str) -> (Rig, Vec<Watched>) {
    let set: String = languages
        .iter()
        .enumerate()
        .map(|(n, language)| format!(" translate_src_{n}::language-code={language}"))
        .collect();
    let sinks: String = (0..languages.len())
        .map(|n| format!(" asr.translate_src_{n} ! fakesink name=out{n} sync=false async=false"))
        .collect();
    let rig = Rig::launch(&format!(
        "appsrc name=src is-live={live} format=time \
         caps=audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved ! \
         qwenasr name=asr url={} {properties}{set} asr.src ! fakesink name=out sync=false \
         async=false {sinks}",
        server.url()
    ));
    let watched = (0..languages.len())
        .map(|n| {
            let sink = rig.pipeline.by_name(&format!("out{n}")).unwrap();
            Watched::new(&sink.static_pad("sink").unwrap())
        })
        .collect();
    (rig, watched)
}

/// What comes into a pad.
struct Watched(Arc<Mutex<Vec<Left>>>);

impl Watched {
    fn new(pad: &gst::Pad) -> Self {
        let left = Arc::default();
        watch(pad, &left);
        Self(left)
    }

    fn texts(&self) -> Vec<(String, u64, u64)> {
        texts_of(&self.0.lock().unwrap())
    }

    fn events(&self) -> Vec<String> {
        let left = self.0.lock().unwrap();
        let events = left.iter().filter_map(|left| match left {
            Left::Event(name) => Some(name.clone()),
            _ => None,
        });
        events.collect()
    }

    /// The end of what is covered without a hole, from the beginning on.
    fn covered(&self) -> u64 {
        let left = self.0.lock().unwrap();
        left.iter().fold(0, |until, left| match left {
            Left::Text { start, end, .. } | Left::Gap { start, end } => {
                assert!(*start <= until + 1, "a hole before {left:?}");
                until.max(*end)
            }
            Left::Event(_) => until,
        })
    }
}

/// All words are of this language.
fn check_language(language: &str, texts: &[(String, u64, u64)]) {
    for (text, ..) in texts {
        let is_of_it = |word: &str| {
            word.strip_prefix(language)
                .is_some_and(|number| number.parse::<u32>().is_ok())
        };
        assert!(
            text.split_whitespace().all(is_of_it),
            "{text:?} in {language}"
        );
    }
}

fn heard(texts: &[(String, u64, u64)]) -> Vec<u32> {
    texts.iter().flat_map(|(text, ..)| numbers(text)).collect()
}

/// The models of the connections so far.
fn models(server: &Server) -> Vec<String> {
    let sessions = server.sessions();
    let models = sessions.iter().filter_map(|session| {
        session
            .query
            .split_once("model=")
            .map(|(_, model)| model.into())
    });
    let mut models: Vec<String> = models.collect();
    models.sort();
    models
}

#[test]
fn each_word_comes_once_on_each_pad() {
    let speech = Speech::usual(16_000);
    for live in [false, true] {
        for results in ["final", "stable", "interim"] {
            let server =
                translating(|options| options.partial_interval = Duration::from_millis(100));
            let properties = format!("{EXACT} results={results} max-speed=50 latency=60000");
            let (mut rig, pads) = rig(&server, live, &["fr", "de"], &properties);
            rig.run(speech.buffers(&[320], 0));
            let all = [
                ("w", rig.texts()),
                ("fr", pads[0].texts()),
                ("de", pads[1].texts()),
            ];
            for (language, texts) in &all {
                check_language(language, texts);
                match results {
                    "final" => check_cues(&speech, texts, 0),
                    "stable" => assert_eq!(heard(texts), speech.numbers(), "{language}"),
                    _ => {
                        let missing = |n: &u32| !heard(texts).contains(n);
                        let missing: Vec<_> =
                            speech.numbers().into_iter().filter(missing).collect();
                        assert!(missing.is_empty(), "{language}: {missing:?}");
                    }
                }
            }
            for pad in &pads {
                let events = pad.events();
                assert_eq!(
                    events[..3],
                    ["stream-start", "caps", "segment"],
                    "{events:?}"
                );
                assert_eq!(events.last().map(String::as_str), Some("eos"));
                assert!(
                    pad.covered() >= speech.length_ms() - 300,
                    "{}",
                    pad.covered()
                );
            }
            assert!(rig.warnings.is_empty(), "{:?}", rig.warnings);
            assert_eq!(models(&server), [ASR, TRANSLATOR, TRANSLATOR]);
        }
    }
}

#[test]
fn messages_tell_the_language_and_counters_the_cost() {
    let server = translating(|_| {});
    let (mut rig, _) = rig(
        &server,
        false,
        &["fr", "de"],
        &format!("{EXACT} max-speed=50"),
    );
    let speech = Speech::usual(16_000);
    rig.run(speech.buffers(&[320], 0));
    for (translation, language, prefix) in [("", "en", "w"), ("fr", "fr", "fr"), ("de", "de", "de")]
    {
        let finals = rig.messages.iter().filter(|said| {
            said.name() == "qwenasr/transcript"
                && said.get::<bool>("final").unwrap()
                && said.get::<&str>("translation").unwrap() == translation
        });
        let texts: Vec<_> = finals
            .map(|said| {
                assert_eq!(said.get::<&str>("language").unwrap(), language);
                (said.get::<String>("text").unwrap(), 0, 0)
            })
            .collect();
        assert_eq!(heard(&texts), speech.numbers());
        check_language(prefix, &texts);
    }
    let started = rig
        .messages
        .iter()
        .filter(|s| s.name() == "qwenasr/speech-started");
    assert_eq!(started.count(), 3, "once for each utterance");
    let of_pad = |name: &str, field: &str| {
        let pad = rig.element.static_pad(name).unwrap();
        let stats = pad.property::<gst::Structure>("stats");
        stats.get::<u64>(field).unwrap()
    };
    let translated = of_pad("translate_src_0", "tokens-billed");
    assert!(translated > 60, "{translated}");
    assert_eq!(of_pad("translate_src_1", "sessions"), 1);
    assert_eq!(rig.stat("sessions"), 3);
    assert_eq!(rig.stat("finals"), 9);
    assert!(rig.stat("tokens-billed") >= 2 * translated);
}

#[test]
fn a_translation_model_alone_is_one_session() {
    let speech = Speech::usual(16_000);
    for (languages, sessions) in [(&[][..], 1), (&["fr"][..], 1), (&["fr", "de"][..], 2)] {
        let server = translating(|_| {});
        let properties = format!("model={TRANSLATOR} {EXACT} max-speed=50");
        let (mut rig, pads) = rig(&server, false, languages, &properties);
        rig.run(speech.buffers(&[320], 0));
        check_cues(&speech, &rig.texts(), 0);
        for (language, pad) in languages.iter().zip(&pads) {
            check_language(language, &pad.texts());
            check_cues(&speech, &pad.texts(), 0);
        }
        assert_eq!(models(&server), vec![TRANSLATOR; sessions]);
    }
}

#[test]
fn earlier_models_translate_as_well() {
    let speech = Speech::usual(16_000);
    let server = translating(|options| options.partial_interval = Duration::from_millis(100));
    let model = "qwen3.5-livetranslate-flash-realtime";
    let properties = format!("translation-model={model} results=stable max-speed=50");
    let (mut rig, pads) = rig(&server, false, &["fr"], &properties);
    rig.run(speech.buffers(&[320], 0));
    assert_eq!(heard(&pads[0].texts()), speech.numbers());
    assert_eq!(models(&server), [ASR, model]);
}

/// The one connection that is cut in the midst of a turn is that of a translation: the second to
/// be made.
#[test]
fn a_lost_translation_loses_nothing_and_leaves_the_others_alone() {
    let speech = Speech::usual(16_000);
    for live in [false, true] {
        let server = translating(|options| {
            options.first_faults = vec![
                Faults::default(),
                Faults {
                    reset_after_ms: Some(3700),
                    ..Faults::default()
                },
                Faults::default(),
            ];
        });
        let properties = format!("{EXACT} max-speed=50 latency=60000");
        let (mut rig, pads) = rig(&server, live, &["fr", "de"], &properties);
        rig.run(speech.buffers(&[320], 0));
        check_cues(&speech, &rig.texts(), 0);
        for pad in &pads {
            check_cues(&speech, &pad.texts(), 0);
        }
        assert_eq!(server.connections(), 4, "one of them again");
        assert_eq!(rig.stat("outages"), 1);
        assert_eq!(rig.warnings.len(), 1, "{:?}", rig.warnings);
        let outages = |n: u32| {
            let pad = rig
                .element
                .static_pad(&format!("translate_src_{n}"))
                .unwrap();
            pad.property::<gst::Structure>("stats")
                .get::<u64>("outages")
                .unwrap()
        };
        let is_reset = |session: &offline_service::SessionRecord| session.end == Some(End::Reset);
        match server.sessions().iter().find(|session| is_reset(session)) {
            Some(session) if session.query.contains(TRANSLATOR) => {
                assert_eq!(outages(0) + outages(1), 1);
            }
            lost => assert!(lost.is_some(), "a connection was reset"),
        }
    }
}

/// A translation that cannot be had: the others go on, and its pad has gaps.
#[test]
fn a_language_that_is_missing_or_unknown_concerns_its_pad_alone() {
    let speech = Speech::usual(16_000);
    let server = translating(|_| {});
    let properties = format!("{EXACT} max-speed=50 failure-policy=continue latency=60000");
    let (mut rig, pads) = rig(&server, true, &["fr", "tlh", "\"\""], &properties);
    rig.run(speech.buffers(&[320], 0));
    check_cues(&speech, &rig.texts(), 0);
    check_cues(&speech, &pads[0].texts(), 0);
    for pad in &pads[1..] {
        assert_eq!(pad.texts(), []);
        assert!(
            pad.covered() >= speech.length_ms() - 300,
            "{}",
            pad.covered()
        );
        assert_eq!(pad.events().last().map(String::as_str), Some("eos"));
    }
    let warned = rig.warnings.join(" ");
    assert!(
        warned.contains("'tlh'") && warned.contains("language-code"),
        "{warned}"
    );
    let server = translating(|_| {});
    let (mut rig, _) = super::translation::rig(&server, false, &["tlh"], "");
    rig.play();
    rig.push_all(speech.buffers(&[320], 0));
    let (error, details) = rig.wait_for_error();
    assert!(error.matches(gst::ResourceError::Settings), "{error}");
    assert_eq!(details.get::<&str>("translation").unwrap(), "tlh");
}

#[test]
fn a_language_can_be_changed_while_it_runs() {
    let server = translating(|_| {});
    let (mut rig, pads) = rig(
        &server,
        true,
        &["fr"],
        &format!("{EXACT} max-speed=50 latency=60000"),
    );
    let speech = Speech::usual(16_000);
    let (first, second) = (
        speech.buffers(&[320], 0),
        speech.buffers(&[320], speech.length_ms()),
    );
    rig.play();
    rig.push_all(first);
    for _ in 0..6 {
        rig.wait_for("a final", |message| {
            let said = message.structure()?;
            (said.name() == "qwenasr/transcript" && said.get("final").unwrap()).then_some(())
        });
    }
    let pad = rig.element.static_pad("translate_src_0").unwrap();
    pad.set_property("language-code", "es-MX");
    let silence = Speech::new(16_000).silence(1500);
    rig.push_all(silence.buffers(&[320], speech.length_ms()));
    let rotated = server.wait_for(
        |sessions| {
            sessions
                .iter()
                .any(|s| s.received.iter().any(|e| is_update(e, "es")))
        },
        LONG,
    );
    assert!(rotated, "another connection is asked for Spanish");
    let offset = gst::ClockTime::from_mseconds(silence.length_ms());
    for mut buffer in second {
        let pts = buffer.pts().unwrap() + offset;
        buffer.get_mut().unwrap().set_pts(pts);
        rig.push(buffer);
    }
    rig.push_eos();
    rig.wait_for_eos();
    rig.stop();
    let texts = pads[0].texts();
    assert_eq!(heard(&texts), [speech.numbers(), speech.numbers()].concat());
    check_language("es", &texts[texts.len() - 1..]);
    assert_eq!(rig.stat("outages"), 0);
}

fn is_update(event: &offline_service::ClientEvent, language: &str) -> bool {
    match event {
        offline_service::ClientEvent::Event(event) => {
            event["session"]["translation"]["language"] == language
        }
        _ => false,
    }
}

/// A sink for a pad that is requested while the pipeline runs.
fn branch(rig: &Rig, language: &str) -> (gst::Pad, gst::Element, Watched) {
    let pad = rig.element.request_pad_simple("translate_src_%u").unwrap();
    pad.set_property("language-code", language);
    let sink = gst::ElementFactory::make("fakesink")
        .property("sync", false)
        .property("async", false)
        .build()
        .unwrap();
    rig.pipeline.add(&sink).unwrap();
    let peer = sink.static_pad("sink").unwrap();
    let watched = Watched::new(&peer);
    sink.sync_state_with_parent().unwrap();
    pad.link(&peer).unwrap();
    (pad, sink, watched)
}

fn cut(rig: &Rig, pad: &gst::Pad, sink: &gst::Element) {
    rig.element.release_request_pad(pad);
    sink.set_state(gst::State::Null).unwrap();
    rig.pipeline.remove(sink).unwrap();
}

#[test]
fn a_pad_requested_in_mid_stream_has_what_follows() {
    let server = translating(|_| {});
    let (mut rig, _) = rig(
        &server,
        true,
        &[],
        &format!("{EXACT} max-speed=50 latency=60000"),
    );
    let speech = Speech::usual(16_000);
    let buffers = speech.buffers(&[320], 0);
    // In the pause after the first utterance.
    let (before, after) = buffers.split_at(2800 / 20);
    rig.play();
    rig.push_all(before.iter().cloned());
    rig.wait_for_message("qwenasr/speech-stopped");
    let (pad, _sink, watched) = branch(&rig, "fr");
    assert_eq!(pad.name(), "translate_src_0");
    rig.push_all(after.iter().cloned());
    rig.push_eos();
    rig.wait_for_eos();
    rig.stop();
    check_cues(&speech, &rig.texts(), 0);
    let events = watched.events();
    assert_eq!(
        events[..3],
        ["stream-start", "caps", "segment"],
        "{events:?}"
    );
    let rest = Speech {
        truth: speech.truth[20..].to_vec(),
        ..speech
    };
    check_cues(&rest, &watched.texts(), 0);
}

#[test]
fn pads_come_and_go_and_leave_nothing_behind() {
    let server = translating(|options| options.max_connections = 1000);
    let (mut rig, _) = rig(
        &server,
        true,
        &[],
        &format!("{EXACT} max-speed=50 latency=60000"),
    );
    let speech = Speech::new(16_000).silence(200).say(0..250).silence(700);
    let mut buffers = speech.buffers(&[320], 0).into_iter();
    rig.play();
    rig.push_all(buffers.by_ref().take(10));
    rig.wait_for_state("connected");
    let mut gone = Vec::new();
    for n in 0..50 {
        let (pad, sink, _watched) = branch(&rig, ["fr", "de", "es"][n % 3]);
        let child = rig.element.dynamic_cast_ref::<gst::ChildProxy>().unwrap();
        assert_eq!(child.children_count(), 3);
        rig.push_all(buffers.by_ref().take(20));
        if n % 2 == 0 {
            // A session was begun, and perhaps a connection.
            rig.wait_for("a translation's connection", |message| {
                let said = message.structure()?;
                let is_it = said.name() == "qwenasr/connection"
                    && !said.get::<&str>("translation").ok()?.is_empty();
                is_it.then_some(())
            });
        }
        let start = Instant::now();
        cut(&rig, &pad, &sink);
        assert!(
            start.elapsed() < Duration::from_millis(500),
            "{:?}",
            start.elapsed()
        );
        assert!(rig.element.static_pad(&pad.name()).is_none());
        gone.push(pad.downgrade());
    }
    rig.push_all(buffers);
    rig.push_eos();
    rig.wait_for_eos();
    assert_eq!(rig.heard(), speech.numbers());
    rig.stop();
    rig.messages.clear();
    assert!(
        gone.iter().all(|pad| pad.upgrade().is_none()),
        "no pad is kept"
    );
    assert!(
        server.wait_for_connections(|_, open| open == 0, LONG),
        "nor a connection"
    );
    assert!(rig.warnings.is_empty(), "{:?}", rig.warnings);
}

#[test]
fn five_pads_stop_at_once_whatever_the_network_does() {
    for faults in [
        Faults::default(),
        Faults {
            stall_handshake: true,
            ..Faults::default()
        },
        Faults {
            never_finished: true,
            ..Faults::default()
        },
    ] {
        let server = translating(|options| options.faults = faults);
        let languages = ["fr", "de", "es", "it", "ja"];
        let (mut rig, _) = rig(&server, true, &languages, EXACT);
        rig.play();
        rig.push_all(Speech::usual(16_000).buffers(&[320], 0));
        rig.wait_for("a connection", |message| {
            let said = message.structure()?;
            (said.name() == "qwenasr/connection").then_some(())
        });
        let start = Instant::now();
        rig.stop();
        assert!(
            start.elapsed() < Duration::from_millis(200),
            "{:?}",
            start.elapsed()
        );
        // And again.
        rig.play();
        rig.stop();
    }
}

#[test]
fn a_flushing_seek_starts_all_pads_afresh() {
    let server = translating(|_| {});
    let (mut rig, pads) = rig(&server, false, &["fr"], &format!("{EXACT} max-speed=50"));
    let speech = Speech::usual(16_000);
    rig.play();
    rig.push_all(speech.buffers(&[320], 0).into_iter().take(100));
    rig.wait_for_state("connected");
    let sink_pad = rig.element.static_pad("sink").unwrap();
    assert!(sink_pad.send_event(gst::event::FlushStart::new()));
    assert!(sink_pad.send_event(gst::event::FlushStop::new(true)));
    rig.forget();
    pads[0].0.lock().unwrap().clear();
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    assert!(sink_pad.send_event(gst::event::Segment::new(&segment)));
    for buffer in speech.buffers(&[320], 0) {
        sink_pad.chain(buffer).unwrap();
    }
    assert!(sink_pad.send_event(gst::event::Eos::new()));
    rig.wait_for_eos();
    check_cues(&speech, &rig.texts(), 0);
    check_cues(&speech, &pads[0].texts(), 0);
}

#[test]
fn speakers_are_told_apart() {
    let server = translating(|options| options.speakers = 2);
    // Pauses that the detection of speakers takes for the end of a turn.
    let speech = Speech::new(16_000)
        .silence(500)
        .say(0..10)
        .silence(3000)
        .say(10..20)
        .silence(3000)
        .say(20..30)
        .silence(300);
    let (mut rig, pads) = rig(
        &server,
        false,
        &["fr"],
        &format!("model={TRANSLATOR} max-speed=50"),
    );
    rig.run(speech.buffers(&[320], 0));
    check_cues(&speech, &pads[0].texts(), 0);
    for events in [
        pads[0].events(),
        rig.left()
            .iter()
            .filter_map(|left| match left {
                Left::Event(name) => Some(name.clone()),
                _ => None,
            })
            .collect(),
    ] {
        let changes = events
            .iter()
            .filter(|name| *name == "rstranscribe/speaker-change");
        assert_eq!(changes.count(), 3, "{events:?}");
    }
    let speakers = rig.messages.iter().filter(|said| {
        said.name() == "qwenasr/transcript"
            && said.get::<bool>("final").unwrap()
            && said.get::<&str>("translation").unwrap() == "fr"
    });
    let speakers: Vec<i32> = speakers.map(|said| said.get("speaker").unwrap()).collect();
    assert_eq!(speakers, [0, 1, 0]);
}

#[test]
fn the_sink_tells_all_languages() {
    let speech = Speech::usual(16_000);
    for (model, sessions) in [(ASR, 3), (TRANSLATOR, 2)] {
        let server = translating(|_| {});
        let mut rig = Rig::launch(&format!(
            "appsrc name=src format=time \
             caps=audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved ! \
             qwenasrsink name=asr url={} model={model} {EXACT} max-speed=50 \
             translation-languages=\"fr, de\"",
            server.url()
        ));
        rig.run(speech.buffers(&[320], 0));
        for language in ["", "fr", "de"] {
            let finals = rig.messages.iter().filter(|said| {
                said.name() == "qwenasr/transcript"
                    && said.get::<bool>("final").unwrap()
                    && said.get::<&str>("translation").unwrap() == language
            });
            let texts: Vec<_> = finals
                .map(|said| (said.get::<String>("text").unwrap(), 0, 0))
                .collect();
            assert_eq!(heard(&texts), speech.numbers(), "{language}");
        }
        assert_eq!(models(&server).len(), sessions);
    }
}
