// SPDX-License-Identifier: MPL-2.0

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::super::answers::nonce;
use super::super::scripted::{HEAD, Line, Scripted, WELCOME, say};
use super::*;
use crate::protocol::{EndpointSettings, KeyFile, KeySource, Protocol, Secret};

const KEY: &str = "sk-6f1e5ec3e7";

/// Anything that takes this long hangs.
const LONG: Duration = Duration::from_secs(60);

fn settings(server: &Scripted) -> EndpointSettings {
    EndpointSettings {
        url: Some(format!("ws://{}/asr?token=t0p#x", server.address)),
        model: "m".into(),
        key: Secret::new(KEY).map(KeySource::Given),
        ..EndpointSettings::default()
    }
}

fn quiet() -> Remarks {
    Arc::new(|_| {})
}

async fn open(settings: EndpointSettings) -> Result<Socket, ConnectError> {
    let endpoint = Endpoint::new(settings, Protocol::Realtime).unwrap();
    let opened = timeout(
        LONG,
        connect_through(None, endpoint, &quiet(), &Queue::default()),
    )
    .await;
    opened.expect("it hangs")
}

/// The result of connecting to a server with this script.
async fn failure(script: impl Into<Vec<Line>>) -> ConnectError {
    let server = Scripted::start(script).await;
    open(settings(&server)).await.unwrap_err()
}

#[tokio::test]
async fn the_request_is_what_it_should_be_to_the_byte() {
    let server = Scripted::start([HEAD, say(WELCOME), Line::Mute]).await;
    let headers = [("X-Tenant", "a b"), ("user-agent", "mine/1.0")];
    let headers = headers.map(|(name, value)| (name.to_owned(), Secret::new(value).unwrap()));
    for (headers, own) in [
        (
            &headers[..0],
            format!(
                "User-Agent: {}\r\nAuthorization: Bearer {KEY}\r\n",
                super::super::upgrade::USER_AGENT
            ),
        ),
        (
            &headers,
            format!("Authorization: Bearer {KEY}\r\nX-Tenant: a b\r\nuser-agent: mine/1.0\r\n"),
        ),
    ] {
        let before = server.heard().len();
        let settings = EndpointSettings {
            headers: headers.to_vec(),
            ..settings(&server)
        };
        open(settings).await.unwrap();
        let heard = server.heard_text()[before..].to_owned();
        let nonce = nonce(heard.as_bytes()).unwrap();
        assert_eq!(nonce.len(), 24);
        let address = server.address;
        assert_eq!(
            heard,
            format!(
                "GET /asr?token=t0p&model=m HTTP/1.1\r\n\
                 Host: {address}\r\n\
                 Connection: Upgrade\r\n\
                 Upgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: {nonce}\r\n\
                 {own}\r\n"
            )
        );
    }
}

#[tokio::test]
async fn an_authorization_of_the_users_replaces_ours() {
    let server = Scripted::start([HEAD, say(WELCOME), Line::Mute]).await;
    let basic = Secret::new("Basic dXNlcjpwYXNz").unwrap();
    let settings = EndpointSettings {
        headers: vec![("authorization".into(), basic)],
        ..settings(&server)
    };
    open(settings).await.unwrap();
    let heard = server.heard_text();
    assert!(heard.contains("authorization: Basic dXNlcjpwYXNz\r\n"));
    assert!(!heard.contains("Bearer") && !heard.contains(KEY));
}

#[tokio::test]
async fn what_comes_with_the_head_belongs_to_the_websocket() {
    for welcome in [
        WELCOME.to_owned(),
        WELCOME.replace("Connection: Upgrade", "connection: keep-alive, upgrade"),
        WELCOME.replace(
            "Connection: Upgrade",
            "Connection: x\r\nConnection: Upgrade",
        ),
        WELCOME.replace("websocket", "WebSocket"),
        WELCOME.replace(
            "\r\n\r\n",
            "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
        ),
    ] {
        // In one packet: a head, a text and the beginning of another one.
        let first = [welcome.as_bytes(), b"\x81\x02hi\x81\x05he"].concat();
        let script = [HEAD, say(first), say("llo"), Line::Mute];
        let server = Scripted::start(script).await;
        let mut socket = open(settings(&server)).await.unwrap_or_else(|error| {
            panic!("{welcome:?}: {error:?}");
        });
        for text in ["hi", "hello"] {
            let message = timeout(LONG, socket.next())
                .await
                .unwrap()
                .unwrap()
                .unwrap();
            assert_eq!(message, Message::text(text), "{welcome:?}");
        }
    }
}

/// The key is masked before they are cut and shown.
#[tokio::test]
async fn refusals_are_quoted_whole() {
    let quota = r#"{"code":"AllocationQuota.FreeTierOnly","message":"No quota."}"#;
    let long = "x".repeat(40_000);
    let quoted = format!("{}{KEY}", "y".repeat(290));
    let length = |body: &str| format!("Content-Length: {}\r\n\r\n{body}", body.len());
    let chunks = |body: &str| {
        let (a, b) = body.split_at(body.len() / 2);
        let (x, y) = (a.len(), b.len());
        format!("Transfer-Encoding: chunked\r\n\r\n{x:x}\r\n{a}\r\n{y:X}\r\n{b}\r\n0\r\n\r\n")
    };
    for (status, rest, expected) in [
        (403, length(quota), quota),
        (429, chunks(quota), quota),
        (503, format!("\r\n{quota}"), quota),
        (503, length(&long), &long),
        (401, length(&quoted), &quoted),
        (
            302,
            format!("Location: wss://example.org/\r\n{}", length("")),
            "",
        ),
        (999, length("what"), "what"),
    ] {
        let answer = format!("HTTP/1.1 {status} No\r\n{rest}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        for script in [
            vec![HEAD, say(answer.as_str())],
            vec![HEAD, say(head), say("\r\n\r\n"), say(body)],
        ] {
            match failure(script).await {
                ConnectError::Refused {
                    status: was, body, ..
                } => {
                    assert_eq!((was, body.as_str()), (status, expected), "{answer:?}");
                }
                error => panic!("{answer:?}: {error:?}"),
            }
        }
    }
}

#[tokio::test]
async fn what_is_no_websocket_is_told_in_words() {
    let page = "Content-Length: 4\r\n\r\npage";
    let accept = "{accept}";
    for (answer, kind, says) in [
        (
            format!("HTTP/1.1 200 OK\r\n{page}"),
            Kind::NotFound,
            "no WebSocket at this address (HTTP 200)",
        ),
        (
            "HTTP/1.1 204 No Content\r\n\r\n".into(),
            Kind::NotFound,
            "HTTP 204",
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\n".into(),
            Kind::NotFound,
            "HTTP 100",
        ),
        (
            "HTTP/1.1 103 Early Hints\r\n\r\n".into(),
            Kind::NotFound,
            "HTTP 103",
        ),
        (
            WELCOME.replace(accept, "AAAA"),
            Kind::Unreachable,
            "not one to this request",
        ),
        (
            WELCOME.replace("Upgrade: websocket\r\n", ""),
            Kind::Unreachable,
            "does not upgrade to WebSocket",
        ),
        (
            WELCOME.replace("websocket", "h2c"),
            Kind::Unreachable,
            "does not upgrade to WebSocket",
        ),
        (
            WELCOME.replace("Connection: Upgrade", "Connection: close"),
            Kind::Unreachable,
            "does not upgrade the connection",
        ),
        (
            WELCOME.replace("\r\n\r\n", "\r\nSec-WebSocket-Protocol: chat\r\n\r\n"),
            Kind::Unreachable,
            "subprotocol",
        ),
        (WELCOME.replace("1.1", "1.0"), Kind::Unreachable, "version"),
        (
            "SSH-2.0-OpenSSH_9.2\r\n".into(),
            Kind::Unreachable,
            "not HTTP",
        ),
        (
            "\u{15}\u{3}\u{1}\0\u{2}".into(),
            Kind::Settings,
            "speaks TLS at this port",
        ),
        (
            String::new(),
            Kind::Unreachable,
            "broke during the handshake",
        ),
        (
            "HTTP/1.1 1".into(),
            Kind::Unreachable,
            "broke during the handshake",
        ),
        (
            format!("HTTP/1.1 101 X\r\n{}", "A: b\r\n".repeat(20_000)),
            Kind::Unreachable,
            "KiB",
        ),
    ] {
        let begin: String = answer.chars().take(60).collect();
        match failure([HEAD, say(answer)]).await {
            ConnectError::Failed(failure) => {
                assert_eq!(failure.kind, kind, "{begin:?}: {failure}");
                assert!(
                    failure.what.to_string().contains(says),
                    "{begin:?}: {failure}"
                );
                assert!(failure.what.to_string().len() < 200, "{failure}");
            }
            error => panic!("{begin:?}: {error:?}"),
        }
    }
}

#[tokio::test]
async fn a_key_file_is_read_at_each_attempt() {
    let server = Scripted::start([HEAD, say(WELCOME), Line::Mute]).await;
    let path = std::env::temp_dir().join(format!("qwenasr-connect-{}", std::process::id()));
    let file = KeyFile::new(path.to_str().unwrap());
    let settings = EndpointSettings {
        key: Some(KeySource::File(file)),
        ..settings(&server)
    };
    let endpoint = Endpoint::new(settings, Protocol::Realtime).unwrap();
    let remarked = Arc::<Mutex<Vec<Remark>>>::default();
    let remarks: Remarks = {
        let remarked = remarked.clone();
        Arc::new(move |remark| remarked.lock().unwrap().push(remark))
    };
    // The last of them says that the key before stays in use.
    for (content, key, expected) in [
        ("sk-aaaaaaaa\n", "sk-aaaaaaaa", &[false][..]),
        ("sk-bbbbbbbb", "sk-bbbbbbbb", &[false]),
        ("", "sk-bbbbbbbb", &[true, false]),
    ] {
        std::fs::write(&path, content).unwrap();
        let before = server.heard().len();
        connect_through(None, endpoint.clone(), &remarks, &Queue::default())
            .await
            .unwrap();
        let kept = std::mem::take(&mut *remarked.lock().unwrap());
        let kept = kept.iter().map(|r| matches!(r, Remark::KeyKept(_)));
        assert_eq!(kept.collect::<Vec<_>>(), expected, "{content:?}");
        let heard = server.heard_text()[before..].to_owned();
        assert!(
            heard.contains(&format!("Authorization: Bearer {key}\r\n")),
            "{content:?}"
        );
    }
    std::fs::remove_file(&path).unwrap();
    let secrets = endpoint.secrets();
    let secrets: Vec<&str> = secrets.iter().map(Secret::reveal).collect();
    assert_eq!(secrets, ["sk-aaaaaaaa", "sk-bbbbbbbb"]);
}

/// Captures the logs of libraries: their amount, and whether they contain the key.
struct Eavesdropper {
    lines: AtomicUsize,
    has_heard_key: AtomicBool,
}

impl log::Log for Eavesdropper {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.lines.fetch_add(1, Ordering::Relaxed);
        if record.args().to_string().contains(KEY) {
            self.has_heard_key.store(true, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}

#[tokio::test]
async fn no_library_logs_the_key() {
    static EAVESDROPPER: Eavesdropper = Eavesdropper {
        lines: AtomicUsize::new(0),
        has_heard_key: AtomicBool::new(false),
    };
    log::set_logger(&EAVESDROPPER).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let welcome = [WELCOME.as_bytes(), b"\x81\x02hi"].concat();
    let server = Scripted::start([HEAD, say(welcome), Line::Mute]).await;
    let mut socket = open(settings(&server)).await.unwrap();
    timeout(LONG, socket.next()).await.unwrap();
    log::set_max_level(log::LevelFilter::Off);
    assert!(server.heard_text().contains(KEY));
    assert!(EAVESDROPPER.lines.load(Ordering::Relaxed) > 0);
    assert!(!EAVESDROPPER.has_heard_key.load(Ordering::Relaxed));
}
