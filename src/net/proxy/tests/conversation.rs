// SPDX-License-Identifier: MPL-2.0
//! What is said to proxies, and what comes of their answers.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::super::super::scripted::{HEAD, Line, Scripted, say};
use super::*;

/// Anything that takes this long hangs.
const LONG: Duration = Duration::from_secs(60);

/// Connects to `asr.invalid` through a proxy with this script, and reads what comes through it.
/// `before_host` precedes the host in the proxy's address.
async fn through(before_host: &str, script: &[Line]) -> (Result<String, Failure>, Vec<u8>) {
    let server = Scripted::start(script).await;
    let value = format!("{before_host}{}", server.address);
    let proxy = proxy("ws://asr.invalid", &[("http_proxy", &value)])
        .unwrap()
        .unwrap();
    let connected = timeout(LONG, async {
        let mut stream = proxy.connect("asr.invalid", 80).await?;
        stream.write_all(b"hello").await.unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await.unwrap();
        Ok(heard)
    });
    let result = connected.await.expect("it hangs");
    (result, server.heard())
}

#[tokio::test]
async fn http_proxies_are_asked_by_the_book() {
    let script = [
        HEAD,
        say("HTTP/1.1 200 Whatever\r\nA: b\r\n\r\n"),
        Line::Until("hello"),
        say("you"),
    ];
    let agent = format!("User-Agent: {USER_AGENT}\r\n");
    for (before_host, authorization) in [
        ("", ""),
        // me:hunter2#secret
        (
            "http://me:hunter2#secret@",
            "Proxy-Authorization: Basic bWU6aHVudGVyMiNzZWNyZXQ=\r\n",
        ),
    ] {
        let (result, heard) = through(before_host, &script).await;
        assert_eq!(result.unwrap(), "you");
        assert_eq!(
            String::from_utf8(heard).unwrap(),
            format!(
                "CONNECT asr.invalid:80 HTTP/1.1\r\nHost: asr.invalid:80\r\n{agent}{authorization}\r\nhello"
            )
        );
    }
}

#[tokio::test]
async fn socks_proxies_are_asked_by_the_book() {
    let hear = Line::Bytes;
    let (no_auth, password, accepted) = (b"\x05\x00", b"\x05\x02", b"\x01\x00");
    let connected = b"\x05\x00\x00\x01\x7f\0\0\x01\0\x50";
    let asked = b"\x05\x01\x00\x03\x0basr.invalid\x00\x50";
    let (result, heard) = through(
        "socks5h://",
        &[
            hear(3),
            say(no_auth),
            hear(18),
            say(connected),
            hear(5),
            say("you"),
        ],
    )
    .await;
    assert_eq!(result.unwrap(), "you");
    assert_eq!(heard, [b"\x05\x01\x00", &asked[..], b"hello"].concat());

    let named = b"\x05\x00\x00\x03\x04name\0\x50you";
    let (result, heard) = through(
        "socks5h://me:p@ss@",
        &[
            hear(4),
            say(password),
            hear(9),
            say(accepted),
            hear(18),
            say(named),
            hear(5),
        ],
    )
    .await;
    assert_eq!(result.unwrap(), "you");
    let credentials = b"\x01\x02me\x04p@ss";
    assert_eq!(
        heard,
        [b"\x05\x02\x00\x02", &credentials[..], asked, b"hello"].concat()
    );
}

#[tokio::test]
async fn a_socks_proxy_is_told_addresses_unless_it_is_to_look_them_up() {
    let connected = b"\x05\x00\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x50";
    let script = [
        Line::Bytes(3),
        say(b"\x05\x00"),
        Line::Bytes(4),
        say(connected),
        Line::Mute,
    ];
    for (host, told) in [
        (
            "192.0.2.1",
            &b"\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50"[..],
        ),
        (
            "::1",
            b"\x05\x01\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x50",
        ),
        // As if it had been resolved.
        (
            "a.localhost",
            b"\x05\x01\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x50",
        ),
    ] {
        let server = Scripted::start(&script[..]).await;
        let value = format!("socks5://{}", server.address);
        let proxy = proxy("ws://asr.invalid", &[("http_proxy", &value)])
            .unwrap()
            .unwrap();
        drop(
            timeout(LONG, proxy.connect(host, 80))
                .await
                .unwrap()
                .unwrap(),
        );
        let heard = server.until(3 + told.len()).await;
        assert_eq!(heard, [b"\x05\x01\x00", told].concat(), "{host}");
    }
    let proxy = proxy(
        "ws://asr.invalid",
        &[("http_proxy", "socks5://127.0.0.1:1")],
    );
    let target = proxy.unwrap().unwrap();
    let failure = target.target("asr.invalid", 80, false).await.unwrap_err();
    assert_eq!(failure.kind, Kind::UnknownHost);
    assert!(failure.remedy.contains("socks5h://"), "{failure}");
}

#[tokio::test]
async fn what_a_proxy_refuses_is_told_with_its_status_and_without_the_password() {
    use Kind::*;
    let quoting = "HTTP/1.1 502 No hunter2 here\r\n\r\nhunter2";
    let hear = Line::Bytes;
    let anonymous = |reply: &'static [u8]| vec![hear(4), say(b"\x05\x00"), hear(18), say(reply)];
    let http = |answer: &str| ("http://", vec![HEAD, say(answer)]);
    for ((scheme, script), kind, says) in [
        (
            http("HTTP/1.1 407 Auth\r\n\r\n"),
            Unauthorized,
            "does not accept the user name",
        ),
        (http(quoting), Unreachable, "answered 502 Bad Gateway"),
        (
            http("HTTP/1.1 403 No\r\n\r\n"),
            Settings,
            "answered 403 Forbidden",
        ),
        (
            http("HTTP/1.1 302 Go\r\nLocation: http://x/\r\n\r\n"),
            Settings,
            "answered 302 Found",
        ),
        (
            http("HTTP/1.1 999 Odd\r\n\r\n"),
            Unreachable,
            "answered 999",
        ),
        (
            http("HTTP/1.1 200 OK\r\n\r\nhunter2"),
            Unreachable,
            "sent data before",
        ),
        (http("SSH-2.0-x\r\n"), Unreachable, "not HTTP"),
        (http(""), Unreachable, "closed without an answer"),
        (
            ("socks5h://", vec![hear(4), say(b"\x05\xff")]),
            Unauthorized,
            "does not accept the user name",
        ),
        (
            (
                "socks5h://",
                vec![hear(4), say(b"\x05\x02"), hear(12), say(b"\x01\x01")],
            ),
            Unauthorized,
            "does not accept the user name",
        ),
        (
            ("socks5h://", anonymous(b"\x05\x05\0\x01\0\0\0\0\0\0")),
            Unreachable,
            "the host refuses",
        ),
        (
            ("socks5h://", anonymous(b"\x05\x02\0\x01\0\0\0\0\0\0")),
            Settings,
            "rules",
        ),
        (
            ("socks5h://", anonymous(b"\x04\x00\0\x01")),
            Unreachable,
            "does not speak SOCKS5",
        ),
        (
            ("socks5h://", vec![hear(4), say("HTTP/1.1 400 Bad\r\n\r\n")]),
            Unreachable,
            "does not speak SOCKS5",
        ),
        (
            ("socks5h://", vec![hear(4)]),
            Unreachable,
            "does not connect to asr.invalid:80",
        ),
    ] {
        let (result, _) = through(&format!("{scheme}me:hunter2@"), &script).await;
        let failure = result.expect_err(says);
        assert_eq!(failure.kind, kind, "{failure}");
        let text = failure.to_string();
        assert!(
            text.contains(says) && text.contains("http_proxy"),
            "{says}: {text}"
        );
        assert!(text.contains("127.0.0.1:"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
    let (result, _) = through("", &[HEAD, say("HTTP/1.1 407 Auth\r\n\r\n")]).await;
    let failure = result.unwrap_err();
    assert!(
        failure
            .what
            .to_string()
            .contains("wants a user name and a password"),
        "{failure}"
    );
    assert_eq!(failure.http_status, Some(407));
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named_with_the_cause() {
    let value = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://me:hunter2@{}", listener.local_addr().unwrap())
    };
    for (value, unanswered, says) in [
        (
            value.as_str(),
            false,
            "cannot be reached: Connection refused",
        ),
        (
            "http://me:hunter2@proxy.invalid:1",
            true,
            "proxy.invalid:1 cannot be reached: ",
        ),
    ] {
        let proxy = proxy("wss://example.org", &[("https_proxy", value)])
            .unwrap()
            .unwrap();
        let connected = timeout(LONG, proxy.connect("example.org", 443)).await;
        let Err(failure) = connected.unwrap() else {
            panic!("{value}");
        };
        assert_eq!(
            (failure.kind, failure.unanswered),
            (Kind::Unreachable, unanswered)
        );
        let text = failure.to_string();
        assert!(
            text.contains(says) && text.contains("https_proxy"),
            "{text}"
        );
        assert!(!text.contains("hunter2"), "{text}");
    }
}
