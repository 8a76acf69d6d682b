// SPDX-License-Identifier: MPL-2.0
//! Trouble of one translation concerns its pad alone.

use offline_service::End;
use offline_service::faults::Faults;

use super::*;

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
    let (mut rig, _) = super::rig(&server, false, &["tlh"], "");
    rig.play();
    rig.push_all(speech.buffers(&[320], 0));
    let (error, details) = rig.wait_for_error();
    assert!(error.matches(gst::ResourceError::Settings), "{error}");
    assert_eq!(details.get::<&str>("translation").unwrap(), "tlh");
}

#[test]
fn the_next_model_translates_when_the_first_is_gone() {
    const GONE: &str = "qwen3.8-livetranslate-flash-realtime-2026-09-01";
    let served = |options: &mut Options| {
        options.known_models = Some([ASR, TRANSLATOR].map(str::to_owned).to_vec());
    };
    let speech = Speech::usual(16_000);
    let lists = format!("{EXACT} max-speed=50 translation-model=\"{GONE} {TRANSLATOR}\"");
    let check = |server: &Server, rig: &Rig| {
        let [warning] = &rig.warnings[..] else {
            panic!("{:?}", rig.warnings)
        };
        for named in [GONE, "translation-model property", "translation into fr"] {
            assert!(warning.contains(named), "{warning}");
        }
        assert!(
            warning.contains(&format!("'{TRANSLATOR}' is used")),
            "{warning}"
        );
        assert_eq!(models(server), [ASR, TRANSLATOR, GONE]);
    };

    let server = translating(served);
    let (mut rig, pads) = rig(&server, false, &["fr"], &lists);
    rig.run(speech.buffers(&[320], 0));
    check_cues(&speech, &rig.texts(), 0);
    check_cues(&speech, &pads[0].texts(), 0);
    check(&server, &rig);

    let server = translating(served);
    let mut rig = Rig::launch(&format!(
        "appsrc name=src format=time \
         caps=audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved ! \
         qwenasrsink name=asr url={} {lists} translation-languages=fr",
        server.url()
    ));
    rig.run(speech.buffers(&[320], 0));
    assert_eq!(rig.finals().len(), 6, "{:?}", rig.finals());
    check(&server, &rig);
}
