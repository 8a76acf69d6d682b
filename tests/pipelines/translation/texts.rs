// SPDX-License-Identifier: MPL-2.0
//! What is on the pads, and in the messages and counters beside them.

use std::time::Duration;

use super::*;

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
            // At fifty times the pace of speech, rolling lines are late on a busy machine.
            let is_late = |text: &String| results == "interim" && text.contains("too late");
            assert!(rig.warnings.iter().all(is_late), "{:?}", rig.warnings);
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
