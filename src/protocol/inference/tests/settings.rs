// SPDX-License-Identifier: MPL-2.0
//! Settings that a model does not take.

use super::*;

#[test]
fn what_a_model_cannot_do_is_refused_or_warned_about() {
    let set_up = |recognition: Recognition| Protocol::Inference.set_up(recognition);
    let refused = |recognition: Recognition| match set_up(recognition) {
        Ok(_) => panic!("accepted"),
        Err(failure) => {
            assert_eq!(failure.kind, Kind::Settings);
            failure.to_string()
        }
    };
    let manual = Recognition {
        turn_detection: TurnDetection::Manual,
        ..recognition("fun-asr-realtime")
    };
    assert!(refused(manual).contains("turn-detection=server-vad"));
    assert!(refused(recognition("fun-asr-flash-8k-realtime")).contains("rate=8000"));
    let wrong_rate = Recognition {
        rate: 8_000,
        ..recognition("qwen-audio-3.1-asr-flash-message")
    };
    assert!(refused(wrong_rate).contains("rate=16000"));
    let language = Recognition {
        language: Some("el".into()),
        ..recognition("paraformer-realtime-v2")
    };
    assert!(refused(language).contains("language-code"));

    let much = |model: &str| Recognition {
        language: Some("en-GB".into()),
        context: Some("x".repeat(401)),
        vocabulary: vec![HotWord {
            text: "a".into(),
            weight: 1,
        }],
        turn_detection: TurnDetection::ServerVad {
            threshold: Some(0.5),
            silence_ms: 400,
        },
        ..recognition(model)
    };
    for (model, named) in [
        (
            "qwen-audio-3.1-asr-flash-message",
            &["language-code", "context"][..],
        ),
        ("qwen-audio-3.1-asr-flash-streaming", &["context"]),
        ("fun-asr-realtime", &["vocabulary", "context"]),
        (
            "paraformer-realtime-v2",
            &["context", "vocabulary", "vad-threshold"],
        ),
    ] {
        let warnings = set_up(much(model)).ok().unwrap().warnings;
        assert_eq!(warnings.len(), named.len(), "{model} {warnings:?}");
        for (warning, name) in warnings.iter().zip(named) {
            assert!(warning.contains(name), "{model}: {warning}");
        }
    }
}
