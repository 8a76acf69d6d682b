// SPDX-License-Identifier: MPL-2.0

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use super::*;

/// The data received, one packet per read.
struct Packets {
    packets: VecDeque<Vec<u8>>,
    /// The connection stays open after them.
    stays_open: bool,
}

impl AsyncRead for Packets {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.packets.pop_front() {
            Some(mut packet) => {
                let rest = packet.split_off(packet.len().min(buffer.remaining()));
                buffer.put_slice(&packet);
                if !rest.is_empty() {
                    self.packets.push_front(rest);
                }
                Poll::Ready(Ok(()))
            }
            None if self.stays_open => Poll::Pending,
            None => Poll::Ready(Ok(())),
        }
    }
}

fn packets(packets: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Packets {
    Packets {
        packets: packets.into_iter().map(Into::into).collect(),
        stays_open: false,
    }
}

/// Status and body.
async fn read(mut stream: Packets) -> Result<(u16, String), HeadError> {
    let mut head = Head::read(&mut stream).await?;
    Ok((head.status, head.read_body(&mut stream).await))
}

#[tokio::test]
async fn a_response_is_the_same_whatever_packets_it_comes_in() {
    for (raw, expected) in [
        ("HTTP/1.1 403 No\r\nContent-Length: 5\r\n\r\nhello", "hello"),
        (
            "HTTP/1.1 403 No\r\nContent-Length: 5\r\n\r\nhello, and more",
            "hello",
        ),
        (
            "HTTP/1.1 403 No\r\n\r\nuntil it is closed",
            "until it is closed",
        ),
        ("HTTP/1.1 403\n\nbare line feeds", "bare line feeds"),
        (
            "HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n\
             3\r\nhel\r\nC;x=y\r\nlo\r\nagain.\r\n\r\n0\r\n\r\n",
            "hello\r\nagain.\r\n",
        ),
        (
            "HTTP/1.1 403 No\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 1\r\n\r\n\
             5\r\nhello\r\n0\r\nTrailer: x\r\n\r\n",
            "hello",
        ),
        ("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", ""),
        (
            "HTTP/1.1 403 No\r\nContent-Encoding: gzip\r\n\r\n\u{1f}\u{8b}",
            "",
        ),
    ] {
        let expected = (403, expected.to_owned());
        let bytes = raw.as_bytes();
        for at in 0..bytes.len() {
            let (a, b) = bytes.split_at(at);
            let split = packets([a, b].into_iter().filter(|packet| !packet.is_empty()));
            assert_eq!(
                read(split).await.unwrap(),
                expected,
                "{raw:?} split at {at}"
            );
        }
        let single = packets(bytes.chunks(1));
        assert_eq!(
            read(single).await.unwrap(),
            expected,
            "{raw:?} in single bytes"
        );
    }
}

#[tokio::test]
async fn a_body_that_ends_early_is_told_as_far_as_it_came() {
    for raw in [
        "HTTP/1.1 500 No\r\nContent-Length: 1000\r\n\r\nas far",
        "HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nas \r\nff\r\nfar",
        "HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nas far\r\nnot a chunk",
    ] {
        let closed = packets([raw]);
        assert_eq!(read(closed).await.unwrap().1, "as far", "{raw:?}");
    }
    // A body that just stops is not waited for long.
    let stopped = Packets {
        stays_open: true,
        ..packets(["HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\nas far"])
    };
    let read = timeout(MAX_BODY_TIME * 10, read(stopped)).await;
    assert_eq!(read.unwrap().unwrap().1, "as far");
}

#[tokio::test]
async fn nothing_is_read_without_end() {
    let endless = |begin: &str, more: &str| {
        let more = std::iter::repeat_n(more.as_bytes(), (1 << 20) / more.len());
        let mut packets = packets(std::iter::once(begin.as_bytes()).chain(more));
        packets.stays_open = true;
        packets
    };
    for (begin, more) in [
        ("HTTP/1.1 403 No\r\n", "X-Endless: headers\r\n"),
        ("HTTP/1.1 403 No\r\nX-Endless: ", "line"),
        ("HTTP/1.1 403 ", "reason"),
    ] {
        let error = read(endless(begin, more)).await.unwrap_err();
        assert!(matches!(error, HeadError::TooLong), "{begin:?}: {error}");
    }
    let many = format!(
        "HTTP/1.1 403 No\r\n{}\r\n",
        "a:b\r\n".repeat(MAX_HEADERS + 1)
    );
    let error = read(packets([many])).await.unwrap_err();
    assert!(matches!(error, HeadError::TooLong), "{error}");
    for (begin, more) in [
        ("HTTP/1.1 403 No\r\n\r\n", "body"),
        (
            "HTTP/1.1 403 No\r\nContent-Length: 99999999999\r\n\r\n",
            "body",
        ),
        (
            "HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n",
            "4\r\nbody\r\n",
        ),
        (
            "HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n",
            "body",
        ),
    ] {
        let (_, body) = read(endless(begin, more)).await.unwrap();
        assert!(body.starts_with("bodybody"), "{begin:?}");
        assert!(
            body.len() > 100 && body.len() <= MAX_BODY_BYTES,
            "{begin:?}"
        );
    }
}

#[tokio::test]
async fn what_is_no_response_is_known_by_its_beginning() {
    for (bytes, says) in [
        (&b"SSH-2.0-OpenSSH_9.2\r\n"[..], "not HTTP"),
        (b"\0\0\x12\x04\0\0\0\0\0", "not HTTP"),
        (b"HTTP/1.0 101 Old\r\n\r\n", "another version"),
        (b"HTTP/1.1 abc\r\n\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\nno header\r\n\r\n", "malformed"),
        (b"\x15\x03\x01\0\x02\x02\x46", "TLS"),
    ] {
        let stays_open = Packets {
            stays_open: true,
            ..packets([bytes])
        };
        let error = read(stays_open).await.unwrap_err();
        assert!(error.to_string().contains(says), "{bytes:?}: {error}");
    }
    for part in [
        "",
        "\x15",
        "HTTP/1.1 101 Swit",
        "HTTP/1.1 101 X\r\nA: b\r\n",
    ] {
        let error = read(packets([part].into_iter().filter(|part| !part.is_empty()))).await;
        assert!(matches!(error, Err(HeadError::Closed)), "{part:?}");
    }
}

#[tokio::test]
async fn a_wait_is_told_in_seconds_or_not_at_all() {
    for (value, expected) in [
        ("1", Some(1)),
        (" 120 ", Some(120)),
        ("1.5", None),
        ("-1", None),
        ("Fri, 27 Nov 2026 22:00:00 GMT", None),
        ("99999999999999999999", None),
    ] {
        let raw = format!("HTTP/1.1 503 No\r\nRetry-After: {value}\r\n\r\n");
        let head = Head::read(&mut packets([raw])).await.unwrap();
        assert_eq!(
            head.retry_after(),
            expected.map(Duration::from_secs),
            "{value}"
        );
    }
}
