// SPDX-License-Identifier: MPL-2.0
//! One typed error for each failure, which names the remedy and no secret.

mod keys;

use std::io::{BufRead, BufReader, Write};

use super::common::*;
use gst::prelude::*;
use offline_service::faults::{CloseFault, ErrorFault};
use offline_service::{Faults, Server};

const SECRET: &str = "sk-6f1e5ec3e7";

/// The value of a header.
const TOKEN: &str = "tk-8c21f0aa94";

/// Runs into the failure and returns it. There must be one error of the element, not more.
fn failure(url: &str, properties: &str) -> (gst::glib::Error, gst::Structure) {
    let mut rig = Rig::new(16_000, url, &format!("max-retries=0 {properties}"));
    rig.play();
    // Without an end, so that a failure is one however late the service is.
    rig.push_all(Speech::new(16_000).say(0..30).buffers(&[320], 0));
    let failure = rig.wait_for_error();
    let bus = rig.pipeline.bus().unwrap();
    while let Some(message) =
        bus.timed_pop_filtered(gst::ClockTime::ZERO, &[gst::MessageType::Error])
    {
        assert_ne!(
            message.src(),
            Some(rig.element.upcast_ref()),
            "a second one: {message:?}"
        );
    }
    let (error, details) = &failure;
    for text in [error.to_string(), details.to_string()] {
        assert!(!text.contains(SECRET), "{text}");
    }
    failure
}

fn check(url: &str, properties: &str, code: gst::ResourceError, says: &str) -> gst::Structure {
    let (error, details) = failure(url, properties);
    assert_eq!(
        error.kind::<gst::ResourceError>(),
        Some(code),
        "{properties}: {error}"
    );
    assert!(
        error.message().contains(says),
        "{properties}: '{error}' should say '{says}'"
    );
    details
}

fn with(change: impl FnOnce(&mut offline_service::Options)) -> Server {
    server(change)
}

/// A web server that has this for everybody.
fn web_server(answer: &'static str) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let head = BufReader::new(client.try_clone().unwrap()).lines();
            let _ = head.map_while(Result::ok).find(String::is_empty);
            let _ = client.write_all(answer.as_bytes());
        }
    });
    url
}

/// Three protocols are spoken at the same path.
#[test]
fn a_server_of_another_protocol_is_recognised_by_its_first_answer() {
    let omni = "turn-detection=server-vad";
    let (vllm, openai) = ("protocol=vllm", "protocol=realtime");
    for (spoken, meant, says) in [
        (
            Protocol::OpenAi,
            omni,
            "speaks OpenAI's realtime protocol, not sglang-omni's",
        ),
        (
            Protocol::Vllm,
            omni,
            "speaks vLLM's realtime protocol, not sglang-omni's",
        ),
        (
            Protocol::SglangOmni,
            vllm,
            "speaks sglang-omni's realtime protocol, not vLLM's",
        ),
        (
            Protocol::OpenAi,
            vllm,
            "speaks OpenAI's realtime protocol, not vLLM's",
        ),
        (
            Protocol::Vllm,
            openai,
            "speaks vLLM's realtime protocol, not OpenAI's",
        ),
    ] {
        let server = with(|options| options.protocols = vec![spoken]);
        // All but one are told by their settings, whatever the query.
        let url = server.url_for(Protocol::SglangOmni);
        let url = match meant {
            "protocol=realtime" => server.url_for(spoken),
            _ => url,
        };
        let properties = format!("model=m max-retries=-1 {meant}");
        check(&url, &properties, gst::ResourceError::Settings, says);
        assert_eq!(server.connections(), 1, "{says}");
    }
}

#[test]
fn a_full_server_and_a_model_that_is_not_served_are_told_apart() {
    let server = with(|options| {
        options.protocols = vec![Protocol::SglangOmni];
        options.known_models = Some(vec!["m".into()]);
        options.max_connections = 0;
    });
    let url = server.url_for(Protocol::SglangOmni);
    let details = check(&url, "model=m", gst::ResourceError::OpenReadWrite, "full");
    assert_eq!(details.get::<u32>("http-status").unwrap(), 503);
    let server = with(|options| {
        options.protocols = vec![Protocol::SglangOmni];
        options.known_models = Some(vec!["m".into()]);
    });
    let url = server.url_for(Protocol::SglangOmni);
    let details = check(&url, "model=x", gst::ResourceError::NotFound, "model 'x'");
    assert_eq!(details.get::<u32>("http-status").unwrap(), 403);
}

#[test]
fn a_web_page_is_not_tried_for_ever() {
    let url = web_server("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage");
    let code = gst::ResourceError::NotFound;
    let details = check(&url, "max-retries=-1", code, "no WebSocket at this address");
    assert_eq!(details.get::<u32>("http-status").unwrap(), 200);
}

#[test]
fn the_host_is_unknown_or_silent() {
    init();
    check(
        "ws://no-such-host.invalid/",
        "",
        gst::ResourceError::NotFound,
        "url",
    );
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let url = format!("ws://127.0.0.1:{port}/");
    let details = check(&url, "", gst::ResourceError::OpenReadWrite, "firewall");
    assert!(details.get::<bool>("retryable").unwrap());
    let server = with(|options| {
        options.faults = Faults {
            stall_handshake: true,
            ..Faults::default()
        };
    });
    let timeout = "connect-timeout=100";
    check(
        &server.url(),
        timeout,
        gst::ResourceError::OpenReadWrite,
        "connect-timeout",
    );
    for faults in [
        Faults {
            stall_created: true,
            ..Faults::default()
        },
        Faults {
            stall_updated: true,
            ..Faults::default()
        },
    ] {
        server.set_faults(faults);
        let timeout = "response-timeout=100";
        check(
            &server.url(),
            timeout,
            gst::ResourceError::OpenReadWrite,
            "response-timeout",
        );
    }
}

#[test]
fn the_server_refuses() {
    let server = with(|_| {});
    for (status, code, says) in [
        (404, gst::ResourceError::NotFound, "url property"),
        (429, gst::ResourceError::NoSpaceLeft, "fewer connections"),
        (503, gst::ResourceError::OpenReadWrite, "later"),
        (302, gst::ResourceError::Settings, "url property"),
    ] {
        server.set_faults(Faults {
            http_status: Some((status, String::new())),
            ..Faults::default()
        });
        let details = check(&server.url(), "", code, says);
        assert_eq!(
            details.get::<u32>("http-status").unwrap(),
            u32::from(status)
        );
    }
    let url = server.url().replace("/api-ws/v1/realtime", "/elsewhere");
    server.set_faults(Faults::default());
    check(&url, "", gst::ResourceError::NotFound, "path");
}

#[test]
fn a_redirection_is_not_followed_with_the_key() {
    let elsewhere = with(|_| {});
    for status in [301, 302, 303, 307, 308] {
        let server = with(|options| {
            options.faults = Faults {
                http_status: Some((status, String::new())),
                http_headers: vec![("Location".into(), elsewhere.url())],
                ..Faults::default()
            };
        });
        let code = gst::ResourceError::Settings;
        check(&server.url(), "api-key=sk-1", code, "redirects");
        assert_eq!(server.connections(), 1);
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn the_model_is_unknown_or_another_one_answers() {
    let server =
        with(|options| options.known_models = Some(vec!["qwen3-asr-flash-realtime".into()]));
    let details = check(
        &server.url(),
        "model=qwen9",
        gst::ResourceError::NotFound,
        "model property",
    );
    assert_eq!(details.get::<u32>("close-code").unwrap(), 1007);
    server.set_faults(Faults {
        wrong_model_echo: true,
        ..Faults::default()
    });
    let (error, _) = failure(&server.url(), "");
    assert!(error.matches(gst::ResourceError::NotFound), "{error}");
    assert!(
        error.message().contains("'qwen-omni-turbo-realtime'"),
        "{error}"
    );
    assert!(error.message().contains("model property"), "{error}");
    let sent: usize = server
        .sessions()
        .iter()
        .map(|session| session.audio_bytes())
        .sum();
    assert_eq!(sent, 0, "no audio for a model that was not asked for");
}

#[test]
fn settings_that_cannot_work_are_found_before_connecting() {
    let server = with(|_| {});
    let url = server.url();
    use gst::ResourceError::Settings;
    check(&url, "language-code=tlh", Settings, "language-code");
    check(&url, "model=\"\"", Settings, "model property");
    check("http://127.0.0.1/", "", Settings, "url property");
    check("what", "", Settings, "url property");
    check(&url, "model=fun-asr-realtime", Settings, "url property");
    check(&url, "protocol=inference", Settings, "protocol=auto");
    check(&url, "vocabulary=Bailian=7", Settings, "vocabulary");
    for header in ["Host", "Sec-WebSocket-Key", "X/Token"] {
        let headers = format!("headers=\"headers,{header}=(string){SECRET}\"");
        check(&url, &headers, Settings, "headers property");
    }
    let bare = format!("ws://127.0.0.1:{}", server.port());
    for (properties, says) in [
        ("model=fun-asr-flash-8k-realtime", "rate=8000"),
        (
            "model=fun-asr-realtime turn-detection=manual",
            "turn-detection",
        ),
        (
            "model=paraformer-realtime-v2 language-code=el",
            "language-code",
        ),
        (
            "model=fun-asr-realtime language-code=zh,en",
            "language-code",
        ),
        (
            "model=fun-asr-realtime parameters=parameters,keep_dialect=true",
            "special_word_filter",
        ),
        (
            "parameters=parameters,keep_dialect=true",
            "model to one of the inference protocol",
        ),
    ] {
        check(&bare, properties, Settings, says);
    }
    let key = format!("url=\"\" api-key={SECRET}");
    for (properties, says) in [
        ("protocol=vllm", "url property"),
        ("protocol=inference", "protocol=auto"),
        ("model=paraformer-realtime-v2", "region=beijing"),
        ("model=fun-asr-flash-8k-realtime", "region=beijing"),
        ("model=fun-asr-realtime-2026-02-28", "region=beijing"),
    ] {
        check("null", &format!("{key} {properties}"), Settings, says);
    }
    check(
        &format!("wss://me:{SECRET}@localhost/"),
        "",
        Settings,
        "api-key",
    );
    check(
        "ws://192.0.2.1/",
        &format!("api-key={SECRET}"),
        Settings,
        "allow-insecure",
    );
    check(
        "null",
        &format!("url=\"\" workspace=a/b api-key={SECRET}"),
        Settings,
        "workspace",
    );
    assert_eq!(server.connections(), 0);
}

#[test]
fn the_connection_is_lost_on_the_way() {
    let server = with(|_| {});
    let lost = gst::ResourceError::Read;
    for (faults, code, says) in [
        (
            Faults {
                reset_after_ms: Some(1500),
                ..Faults::default()
            },
            lost,
            "start again",
        ),
        (
            close(1011, "Internal server error"),
            lost,
            "1011: Internal server error",
        ),
        (
            close(
                1007,
                "Access denied, please make sure your account is in good standing.",
            ),
            gst::ResourceError::NotAuthorized,
            "good standing",
        ),
        (
            error("COMMON_ERROR", "<400> InvalidParameter"),
            gst::ResourceError::Settings,
            "language-code",
        ),
        (
            error("", "connections too much max_connections 100"),
            gst::ResourceError::NoSpaceLeft,
            "fewer connections",
        ),
    ] {
        server.set_faults(faults.clone());
        // Not so fast that all audio is sent before the failure comes.
        let (failure, _) = failure(&server.url(), "max-speed=10");
        assert_eq!(
            failure.kind::<gst::ResourceError>(),
            Some(code),
            "{faults:?}: {failure}"
        );
        assert!(failure.message().contains(says), "{failure}");
    }
}

fn close(code: u16, reason: &str) -> Faults {
    let close = CloseFault {
        after_ms: 1500,
        code,
        reason: reason.into(),
    };
    Faults {
        close: Some(close),
        ..Faults::default()
    }
}

fn error(code: &str, message: &str) -> Faults {
    let error = ErrorFault {
        after_ms: 1500,
        code: code.into(),
        message: message.into(),
        close: None,
    };
    Faults {
        error: Some(error),
        ..Faults::default()
    }
}

#[test]
fn what_was_heard_before_the_loss_is_not_lost() {
    let server = with(|options| {
        options.faults = Faults {
            reset_after_ms: Some(2000),
            ..Faults::default()
        }
    });
    let mut rig = Rig::new(16_000, &server.url(), "max-speed=50 max-retries=0");
    rig.play();
    rig.push_all(Speech::new(16_000).say(0..30).buffers(&[320], 0));
    rig.push_eos();
    rig.wait_for_error();
    let finals = rig.finals();
    assert_eq!(finals.len(), 1, "{finals:?}");
    let heard = numbers(&finals[0]);
    assert!(
        heard.len() >= 10 && heard.iter().enumerate().all(|(n, word)| n as u32 == *word),
        "{finals:?}"
    );
}

/// The offline service refuses what the model does not have, unlike the real one.
#[test]
fn further_parameters_reach_the_model() {
    let server = service(Protocol::Inference, |_| {});
    let model = "model=qwen-audio-3.1-asr-flash-streaming language-code=zh,en";
    let parameters = "parameters=parameters,keep_dialect=true,vad_model=near_meeting_16k";
    let mut rig = Rig::with(
        &server,
        16_000,
        &format!("max-speed=50 {model} {parameters}"),
    );
    let set: gst::Structure = rig.element.property("parameters");
    assert_eq!(set.get::<bool>("keep_dialect"), Ok(true));
    let speech = Speech::usual(16_000);
    rig.run(speech.buffers(&[320], 0));
    server.check_cues(&speech, &rig.texts(), 0);
    let sessions = server.sessions();
    let task = sessions[0].received_events("run-task").next().unwrap();
    let parameters = &task["payload"]["parameters"];
    assert_eq!(parameters["vad_model"], "near_meeting_16k");
    assert_eq!(parameters["language_hints"].as_array().unwrap().len(), 2);
}
