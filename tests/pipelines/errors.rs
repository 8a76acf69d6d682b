// SPDX-License-Identifier: MPL-2.0
//! One typed error for each failure, which names the remedy and no secret.

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

#[test]
fn the_key_is_wrong_or_missing() {
    let server = with(|options| {
        options.api_key = Some("right".into());
        options.forbidden_key = Some(format!("{SECRET}-forbidden"));
    });
    let url = server.url();
    use gst::ResourceError::NotAuthorized;
    let details = check(
        &url,
        &format!("api-key={SECRET}"),
        NotAuthorized,
        "DASHSCOPE_API_KEY",
    );
    assert_eq!(details.get::<u32>("http-status").unwrap(), 401);
    assert_eq!(details.get::<String>("code").unwrap(), "InvalidApiKey");
    assert!(!details.get::<bool>("retryable").unwrap());
    check(&url, "", NotAuthorized, "API key");
    let details = check(
        &url,
        &format!("api-key={SECRET}-forbidden"),
        NotAuthorized,
        "permission",
    );
    assert_eq!(details.get::<u32>("http-status").unwrap(), 403);
    check("null", "url=\"\"", NotAuthorized, "DASHSCOPE_API_KEY");
    check(
        &url,
        "api-key-file=/nonexistent",
        NotAuthorized,
        "api-key-file",
    );
    let connections = server.connections();
    let file = TempFile::new("key");
    std::fs::write(&file.0, "right\n").unwrap();
    let mut rig = Rig::new(
        16_000,
        &url,
        &format!("max-speed=100 api-key-file={}", file.0.display()),
    );
    rig.run(Speech::usual(16_000).buffers(&[320], 0));
    assert_eq!(server.connections(), connections + 1);
}

#[test]
fn a_new_key_in_the_file_counts_from_the_next_connection_on() {
    let server = with(|_| {});
    let file = TempFile::new("key");
    let keys = ["sk-aaaaaaaa", "sk-bbbbbbbb"];
    std::fs::write(&file.0, keys[0]).unwrap();
    let properties = format!("max-speed=100 api-key-file={}", file.0.display());
    let mut rig = Rig::new(16_000, &server.url(), &properties);
    rig.play();
    let mut buffers = Speech::usual(16_000).buffers(&[320], 0).into_iter();
    rig.push_all(buffers.by_ref().take(100));
    rig.wait_for_state("connected");
    std::fs::write(&file.0, keys[1]).unwrap();
    server.kill_connections();
    rig.wait_for_state("reconnecting");
    // And one that cannot be used does not replace one that was.
    rig.wait_for_state("connected");
    std::fs::write(&file.0, "").unwrap();
    server.kill_connections();
    rig.wait_for_state("connected");
    rig.push_all(buffers);
    rig.push_eos();
    rig.wait_for_eos();
    assert_eq!(rig.heard(), Speech::usual(16_000).numbers());
    let sessions = server.sessions();
    let used: Vec<_> = sessions
        .iter()
        .map(|session| session.header("authorization"))
        .collect();
    let bearer = |key: &str| format!("Bearer {key}");
    let expected = [keys[0], keys[1], keys[1]].map(bearer);
    assert_eq!(used, expected.each_ref().map(|key| Some(key.as_str())));
}

#[test]
fn a_key_file_that_gives_no_key_is_named() {
    let server = with(|_| {});
    let fifo = TempFile::new("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo.0).status();
    assert!(made.unwrap().success());
    let fifo = fifo.0.to_str().unwrap();
    for (file, says) in [
        (fifo, "gave no key"),
        ("/dev/zero", "neither a file nor a pipe"),
    ] {
        let properties = format!("connect-timeout=200 api-key-file={file}");
        let code = gst::ResourceError::NotAuthorized;
        let details = check(&server.url(), &properties, code, says);
        assert!(!details.get::<bool>("retryable").unwrap());
        check(&server.url(), &properties, code, file);
    }
    assert_eq!(server.connections(), 0);
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

#[test]
fn a_web_page_is_not_tried_for_ever() {
    let url = web_server("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage");
    let code = gst::ResourceError::NotFound;
    let details = check(&url, "max-retries=-1", code, "no WebSocket at this address");
    assert_eq!(details.get::<u32>("http-status").unwrap(), 200);
}

#[test]
fn a_key_is_not_shown_by_halves() {
    let key = format!("{SECRET}{SECRET}{SECRET}");
    // The text is cut in the middle of it.
    let body = format!("{}{key}", "x".repeat(285));
    let answer = format!(
        "HTTP/1.1 401 No\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let url = web_server(answer.leak());
    let code = gst::ResourceError::NotAuthorized;
    let (error, details) = failure(&url, &format!("api-key={key}"));
    assert_eq!(error.kind::<gst::ResourceError>(), Some(code));
    for text in [error.to_string(), details.to_string()] {
        assert!(!text.contains(&SECRET[..5]), "{text}");
    }
}

#[test]
fn the_server_quotes_the_key_and_we_do_not() {
    let server = with(|options| {
        let body = format!(r#"{{"code":"InvalidApiKey","message":"Incorrect key {SECRET}"}}"#);
        options.faults = Faults {
            http_status: Some((401, body)),
            ..Faults::default()
        };
    });
    for credential in [
        format!("api-key={SECRET}"),
        format!("headers=\"headers,X-Token=(string){SECRET}\""),
        format!("headers=\"headers,Authorization=(string)\\\"Bearer {SECRET}\\\"\""),
    ] {
        let code = gst::ResourceError::NotAuthorized;
        check(&server.url(), &credential, code, "***");
    }
}

#[test]
fn nor_do_warnings_of_outages_and_their_messages() {
    let words = format!("Incorrect key {SECRET}");
    let body = format!(r#"{{"code":"InvalidApiKey","message":"{words}"}}"#);
    for faults in [
        Faults {
            http_status: Some((401, body)),
            ..Faults::default()
        },
        error("InvalidApiKey", &words),
        close(1011, &words),
    ] {
        let server = with(|options| options.faults = faults.clone());
        let mut rig = Rig::new(
            16_000,
            &server.url(),
            &format!("api-key={SECRET} failure-policy=continue finish-timeout=200 max-speed=100"),
        );
        rig.run(Speech::new(16_000).say(0..30).buffers(&[320], 0));
        let said = format!("{:?} {:?}", rig.warnings, rig.messages);
        assert!(said.contains("Incorrect key ***"), "{faults:?}: {said}");
        assert!(!said.contains(SECRET), "{faults:?}");
    }
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
        (429, gst::ResourceError::NoSpaceLeft, "Wait"),
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
    ] {
        check(&bare, properties, Settings, says);
    }
    let key = format!("url=\"\" api-key={SECRET}");
    for (properties, says) in [
        ("protocol=vllm", "url property"),
        ("protocol=inference", "protocol=auto"),
        ("model=paraformer-realtime-v2", "region=beijing"),
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

#[test]
fn credentials_are_not_to_be_seen() {
    let dir = std::env::temp_dir().join(format!("qwenasr-dots-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let server = with(|options| options.api_key = Some(SECRET.into()));
    let wav = Speech::usual(16_000).wav();
    // Through the application's own setting: a command line cannot keep a secret.
    const CHILD: &str = "QWENASR_TEST_SECRET";
    if let Ok(arguments) = std::env::var(CHILD) {
        let (url, wav) = arguments.split_once(' ').unwrap();
        let mut rig = Rig::launch(&format!(
            "filesrc location={wav} ! wavparse ! qwenasr name=asr max-speed=100 url={url} ! fakesink name=out sync=false"
        ));
        rig.element.set_property("api-key", SECRET);
        rig.element.set_property("context", "private-context");
        let headers = gst::Structure::builder("headers").field("X-Token", TOKEN);
        rig.element.set_property("headers", headers.build());
        for name in ["api-key", "headers"] {
            let property = rig.element.find_property(name).unwrap();
            assert!(!property.flags().contains(gst::glib::ParamFlags::READABLE));
        }
        let verbose = rig.pipeline.add_property_deep_notify_watch(None, true);
        rig.play();
        rig.wait_for_eos();
        rig.pipeline.remove_property_notify_watch(verbose);
        println!(
            "{:?} {:?}",
            rig.messages,
            rig.pipeline
                .debug_to_dot_data(gst::DebugGraphDetails::all())
        );
        return;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "errors::credentials_are_not_to_be_seen",
            "--nocapture",
        ])
        .env(CHILD, format!("{} {}", server.url(), wav.0.display()))
        .env("GST_DEBUG", "*:9")
        .env("GST_DEBUG_DUMP_DOT_DIR", &dir)
        .env("GST_DEBUG_NO_COLOR", "1")
        .output()
        .unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("qwenasr/transcript") && text.contains("digraph"),
        "something was seen"
    );
    assert!(!text.contains(SECRET) && !text.contains(TOKEN));
    // What is said and what it is about is for TRACE only.
    let quiet: Vec<_> = text
        .lines()
        .filter(|line| line.contains(" qwenasr ") && !line.contains("TRACE"))
        .filter(|line| line.contains("w0005") || line.contains("private-context"))
        .collect();
    assert!(quiet.is_empty(), "{quiet:#?}");
    for file in std::fs::read_dir(&dir).unwrap() {
        let dot = std::fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(!dot.contains(SECRET) && !dot.contains(TOKEN));
    }
    let _ = std::fs::remove_dir_all(&dir);
    let session = &server.sessions()[0];
    let key = format!("Bearer {SECRET}");
    assert_eq!(session.header("authorization"), Some(&*key));
    assert_eq!(session.header("x-token"), Some(TOKEN));
}
