// SPDX-License-Identifier: MPL-2.0
//! Frames that are no events, and what the service says of errors.

use super::*;

#[test]
fn garbage_costs_a_warning_at_most() {
    let mut codec = running();
    for garbage in [
        "",
        "{",
        "[]",
        "null",
        "7",
        "\"x\"",
        "{}",
        r#"{"type":7}"#,
        r#"{"type":"response.audio.delta"}"#,
        r#"{"type":"conversation.item.input_audio_transcription.delta"}"#,
        "{\"type\":\"\\ud800\"}",
    ] {
        assert!(
            matches!(
                decode(&mut codec, garbage)[..],
                [Event::Warning(_) | Event::Unknown { .. }]
            ),
            "{garbage}"
        );
    }
    let deep = "[".repeat(100_000);
    assert!(matches!(decode(&mut codec, &deep)[..], [Event::Warning(_)]));
    let (mut events, mut out) = (Vec::new(), Vec::new());
    codec.decode(Incoming::Binary(&[0, 255]), &mut events, &mut out);
    assert!(matches!(events[..], [Event::Warning(_)]));
    let completed = transcription(
        "completed",
        json!({"item_id":"a","transcript":"still here"}),
    );
    assert_eq!(texts(&decode(&mut codec, &completed)).len(), 1);
}

#[test]
fn another_model_than_the_asked_one_is_a_failure() {
    for (asked, answering, fine) in [
        ("qwen3-asr-flash-realtime", "qwen3-asr-flash-realtime", true),
        (
            "qwen3-asr-flash-realtime",
            "qwen3-asr-flash-realtime-2025-10-27",
            true,
        ),
        (
            "qwen3-asr-flash-realtime-2025-10-27",
            "qwen3-asr-flash-realtime",
            true,
        ),
        (
            "qwen3-asr-flash-realtime",
            "qwen3-asr-flash-realtime-turbo-x",
            false,
        ),
        (
            "qwen3-asr-flash-realtime",
            "qwen-omni-turbo-realtime",
            false,
        ),
        ("qwen3-asr-flash-realtime", "", true),
    ] {
        for place in ["model", "transcription"] {
            let mut session = json!({});
            if place == "model" {
                session["model"] = json!(answering);
            } else {
                session["input_audio_transcription"] = json!({"model": answering});
            }
            let mut codec = Qwen::new(Recognition {
                model: asked.into(),
                ..recognition()
            });
            let event = json!({"type": "session.created", "session": session}).to_string();
            match &decode(&mut codec, &event)[..] {
                [] => assert!(fine, "{asked} {answering} {place}"),
                [Event::Failed(failure)] => {
                    assert!(
                        !fine && failure.kind == Kind::NoModel,
                        "{asked} {answering} {place}"
                    );
                    assert!(failure.remedy.contains("model property"));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn what_the_service_says_is_quoted_on_one_short_line() {
    let long = "x\n\u{202e}".repeat(500_000);
    for event in [
        json!({"type": "session.created", "session": {"model": long}}),
        json!({"type": "error", "error": {"message": long, "code": long}}),
        json!({"type": "error", "error": {"message": format!("model not found {long}")}}),
        json!({"type": long}),
        json!({"type": "conversation.item.input_audio_transcription.failed", "error": long}),
    ] {
        let events = decode(&mut running(), &event.to_string());
        let said = match &events[..] {
            [Event::Failed(failure)] => failure.to_string(),
            [Event::Warning(what) | Event::ItemFailed { message: what, .. }] => what.to_string(),
            [Event::Unknown { name }] => name.to_string(),
            other => panic!("{other:?}"),
        };
        assert!(said.chars().count() < 500, "{said}");
        assert!(
            !said.contains(|c: char| c.is_control() || c == '\u{202e}'),
            "{said:?}"
        );
    }
}

#[test]
fn errors_are_told_apart() {
    for (error, kind) in [
        (
            json!({"type":"invalid_request_error","code":"invalid_value","message":"Invalid value: 'pcm16'.","param":"session.input_audio_format"}),
            Kind::Settings,
        ),
        (
            json!({"code":"COMMON_ERROR","message":"<400> InternalError.Algo.InvalidParameter: language"}),
            Kind::Settings,
        ),
        (
            json!({"message":"connections too much max_connections 100"}),
            Kind::Limit,
        ),
        (
            json!({"code":"Throttling.RateQuota","message":"Requests rate limit exceeded"}),
            Kind::Limit,
        ),
        (
            json!({"message":"Access denied, please make sure your account is in good standing."}),
            Kind::Unauthorized,
        ),
        (json!({"code":"InvalidApiKey"}), Kind::Unauthorized),
        (
            json!({"code":"model_not_found","message":"no"}),
            Kind::NoModel,
        ),
        (json!("just words"), Kind::Lost),
        (json!(null), Kind::Lost),
        (
            json!({"type":"server_error","code":"internal_error"}),
            Kind::Lost,
        ),
    ] {
        let mut codec = running();
        let events = decode(
            &mut codec,
            &json!({"type": "error", "error": error}).to_string(),
        );
        let [Event::Failed(failure)] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(failure.kind, kind, "{error}");
        assert!(!failure.remedy.is_empty());
        assert_eq!(decode(&mut codec, CREATED), [], "nothing after the end");
    }
}

#[test]
fn a_rejected_language_names_its_property() {
    let mut codec = running();
    let error = json!({"type":"error","error":{"type":"invalid_request_error","param":"session.input_audio_transcription.language"}});
    let events = decode(&mut codec, &error.to_string());
    let [Event::Failed(failure)] = &events[..] else {
        panic!("{events:?}")
    };
    assert!(failure.remedy.contains("language-code"), "{failure}");
}

#[test]
fn closes_are_told_apart() {
    let opened = Qwen::new(recognition());
    let running = running();
    for (codec, code, reason, kind) in [
        (&running, Some(1000), "", Kind::Lost),
        (&running, Some(1007), "Model not found (x)!", Kind::NoModel),
        (
            &running,
            Some(1007),
            "Access denied, please make sure your account is in good standing.",
            Kind::Unauthorized,
        ),
        (&running, Some(1007), "too fast", Kind::Lost),
        (&running, Some(1009), "", Kind::Lost),
        (&running, Some(1011), "Internal server error", Kind::Lost),
        (&running, None, "", Kind::Lost),
        (&opened, Some(1011), "", Kind::NoModel),
    ] {
        let failure = codec.closed(code, reason);
        assert_eq!((failure.kind, failure.close_code), (kind, code), "{reason}");
    }
}
