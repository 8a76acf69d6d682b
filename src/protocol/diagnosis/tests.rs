// SPDX-License-Identifier: MPL-2.0
use std::time::Duration;

use crate::protocol::{Codec, Protocol, Recognition, Refusal, TurnDetection};

use super::*;

/// The failure that a codec of this protocol makes of a refusal.
fn refused(protocol: Protocol, official: bool, refusal: &Refusal<'_>) -> Failure {
    codec(protocol, official).refused(refusal)
}

fn codec(protocol: Protocol, official: bool) -> Box<dyn Codec> {
    let recognition = Recognition {
        model: "fun-asr-realtime".into(),
        model_property: "model",
        language: None,
        context: None,
        vocabulary: Vec::new(),
        vocabulary_id: None,
        translation: None,
        parameters: Vec::new(),
        rate: 16_000,
        coding: Default::default(),
        turn_detection: TurnDetection::ServerVad {
            threshold: Some(0.0),
            silence_ms: 400,
        },
        official,
    };
    let setup = protocol.set_up(recognition).ok().unwrap();
    (setup.codecs)()
}

#[test]
fn the_service_refuses() {
    for (status, body, kind, says) in [
        (
            401,
            r#"{"code":"InvalidApiKey","message":"Invalid API-key provided."}"#,
            Kind::Unauthorized,
            "DASHSCOPE_API_KEY",
        ),
        (
            403,
            r#"{"code":"AllocationQuota.FreeTierOnly","message":"The free tier is used up."}"#,
            Kind::Unauthorized,
            "(HTTP 403: The free tier is used up). Check the key's permissions, the account's quota",
        ),
        (404, "", Kind::NotFound, "url property"),
        (429, "slow down", Kind::Limit, "slow down"),
        (503, "<html>busy</html>", Kind::Unreachable, "later"),
        (
            200,
            "<html>welcome</html>",
            Kind::NotFound,
            "no WebSocket at this address (HTTP 200)",
        ),
        (302, "", Kind::Settings, "redirects"),
        (418, "", Kind::Settings, "url"),
    ] {
        let refusal = Refusal {
            status,
            body,
            has_key: true,
            retry_after: None,
        };
        let failure = refused(Protocol::Realtime, true, &refusal);
        assert_eq!((failure.kind, failure.http_status), (kind, Some(status)));
        let text = failure.to_string();
        assert!(text.contains(says), "{text}");
        assert!(text.contains(&status.to_string()), "{text}");
        assert!(!text.contains("html"), "{text}");
    }
}

#[test]
fn the_code_of_a_refusal_is_kept() {
    for (body, code) in [
        (r#"{"code":"InvalidApiKey"}"#, Some("InvalidApiKey")),
        (
            r#"{"error":{"code":"unavailable","message":"full"}}"#,
            Some("unavailable"),
        ),
        (r#"{"error":"Unauthorized"}"#, None),
        (r#"{"detail":"Forbidden"}"#, None),
        ("[]", None),
    ] {
        let refusal = Refusal {
            status: 403,
            body,
            has_key: true,
            retry_after: None,
        };
        let failure = refused(Protocol::Realtime, true, &refusal);
        assert_eq!(failure.code, code.map(Quote::new), "{body}");
    }
}

#[test]
fn a_server_of_ones_own_or_a_gateway_refuses() {
    let gateway = "The server, or a gateway before it,";
    for (status, has_key, body, says) in [
        (
            403,
            true,
            r#"{"detail":"Forbidden"}"#,
            format!(
                "{gateway} refused the connection (HTTP 403: Forbidden). Check the url property"
            ),
        ),
        (
            403,
            false,
            r#"{"detail":"Forbidden"}"#,
            "if it wants a key, set api-key: no key is set.".into(),
        ),
        (
            401,
            true,
            r#"{"error":"Unauthorized"}"#,
            format!("{gateway} did not accept the API key (HTTP 401: Unauthorized)."),
        ),
        (
            401,
            false,
            "",
            format!("{gateway} asks for an API key, and no key is set (HTTP 401). Set the api-key"),
        ),
        (
            422,
            false,
            r#"{"detail":[{"type":"missing","loc":["query","model"],"msg":"Field required"}]}"#,
            "(HTTP 422: Field required)".into(),
        ),
        (502, true, "<html>", "(HTTP 502). Try again later".into()),
    ] {
        for protocol in [
            Protocol::Realtime,
            Protocol::Inference,
            Protocol::Vllm,
            Protocol::OpenAi,
        ] {
            let refusal = Refusal {
                status,
                body,
                has_key,
                retry_after: None,
            };
            let text = refused(protocol, false, &refusal).to_string();
            assert!(text.contains(&says), "{protocol:?} {text}");
            for alien in ["account", "workspace", "region", "detail"] {
                assert!(!text.contains(alien), "{protocol:?} {text}");
            }
        }
    }
}

#[test]
fn a_path_that_is_not_there_is_told_the_one_of_the_protocol() {
    for (protocol, path) in [
        (Protocol::Realtime, "/api-ws/v1/realtime"),
        (Protocol::Inference, "/api-ws/v1/inference"),
        (Protocol::Vllm, "/v1/realtime"),
        (Protocol::OpenAi, "/v1/realtime"),
    ] {
        let refusal = Refusal {
            status: 404,
            body: r#"{"detail":"Not Found"}"#,
            has_key: false,
            retry_after: None,
        };
        let text = refused(protocol, false, &refusal).to_string();
        assert!(text.contains("(HTTP 404: Not Found)"), "{text}");
        assert!(text.ends_with(&format!("usually {path}.")), "{text}");
    }
}

#[test]
fn a_fleet_without_room_invites_to_call_again() {
    let second = Some(Duration::from_secs(1));
    for (status, official, kind, invitation) in [
        (422, false, Kind::NoModel, Invitation::Soon),
        (429, false, Kind::Limit, Invitation::Soon),
        (503, false, Kind::Unreachable, Invitation::Soon),
        (403, false, Kind::Unauthorized, Invitation::None),
        (400, false, Kind::Settings, Invitation::None),
        (422, true, Kind::Settings, Invitation::None),
        (429, true, Kind::Limit, Invitation::None),
        (503, true, Kind::Unreachable, Invitation::None),
    ] {
        let refusal = Refusal {
            status,
            body: "",
            has_key: true,
            retry_after: second,
        };
        let failure = refused(Protocol::Realtime, official, &refusal);
        assert_eq!(
            (failure.kind, failure.invitation),
            (kind, invitation),
            "{status}"
        );
        assert_eq!(failure.retry_after, second);
    }
}

#[test]
fn a_server_says_with_its_close_code_whether_another_one_takes_over() {
    for (code, invitation) in [
        (Some(1012), Invitation::AtOnce),
        (Some(1013), Invitation::Soon),
        (Some(1011), Invitation::None),
        (None, Invitation::None),
    ] {
        for protocol in [
            Protocol::Realtime,
            Protocol::Inference,
            Protocol::Vllm,
            Protocol::OpenAi,
            Protocol::SglangOmni,
        ] {
            let failure = codec(protocol, false).closed(code, "service restart");
            assert_eq!(failure.invitation, invitation, "{protocol:?} {code:?}");
        }
    }
}

#[test]
fn who_ended_a_connection_is_told_apart() {
    let codec = codec(Protocol::Realtime, true);
    for (code, reason, says) in [
        (
            Some(1001),
            "bye",
            "The service closed the connection with code 1001: bye.",
        ),
        (
            None,
            "",
            "The service closed the connection without a word.",
        ),
        (
            None,
            "Masked frame from server",
            "The connection broke: Masked frame from server.",
        ),
    ] {
        assert_eq!(codec.closed(code, reason).what.to_string(), says);
    }
}

#[test]
fn a_model_that_is_not_there_is_told_from_other_refusals() {
    let codec = codec(Protocol::Vllm, false);
    let openai =
        r#"{"error":{"code":"model_not_found","message":"The model `m` does not exist."}}"#;
    for (status, body, kind) in [
        (404, openai, Kind::NoModel),
        (
            400,
            r#"{"detail":"The model 'm' does not exist"}"#,
            Kind::NoModel,
        ),
        (404, r#"{"detail":"Not Found"}"#, Kind::NotFound),
        (
            400,
            r#"{"detail":"The model is overloaded"}"#,
            Kind::Settings,
        ),
    ] {
        let failure = codec.refused(&Refusal {
            status,
            body,
            has_key: false,
            retry_after: None,
        });
        assert_eq!(
            (failure.kind, failure.http_status),
            (kind, Some(status)),
            "{body}"
        );
    }
    let closed = |code, reason| codec.closed(Some(code), reason).kind;
    assert_eq!(closed(1008, "Model not found"), Kind::NoModel);
    assert_eq!(closed(1008, "idle"), Kind::Lost);
    assert_eq!(closed(1000, "model not found"), Kind::Lost);
}
