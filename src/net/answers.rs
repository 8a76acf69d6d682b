// SPDX-License-Identifier: MPL-2.0
//! Connection attempts with a peer in memory: what the network may say before there is a WebSocket.
//! Used by the fuzz target `answers` and, for its placeholder, by the scripted server of the tests.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::error::ConnectError;
use super::proxy::Proxy;
use super::stream::Stream;
use super::upgrade::upgrade;
use crate::protocol::{Endpoint, Failure, KeySource};

/// What became of a connection attempt.
#[derive(Debug)]
pub enum Outcome {
    /// What came over the connection, up to its end or the first error.
    Open(Vec<u8>),
    /// The server refused the upgrade.
    Refused {
        status: u16,
        body: String,
        retry_after: Option<Duration>,
    },
    Failed(Failure),
}

/// A peer that answers whatever it is asked, and closes the connection.
#[derive(Debug, Clone)]
pub struct Answer {
    /// `{accept}` in its head is replaced by the answer to the key of the upgrade.
    pub bytes: Vec<u8>,
    /// The sizes of its packets, used in turn.
    pub packets: Vec<usize>,
}

impl Answer {
    /// Asks this server for a WebSocket. Also returns how many bytes of its answer were read.
    pub fn to_upgrade(&self, endpoint: &Endpoint) -> (Outcome, usize) {
        let key = match endpoint.key() {
            Some(KeySource::Given(key)) => Some(key),
            _ => None,
        };
        self.read_by(async |stream| match upgrade(stream, endpoint, key).await {
            Ok(mut socket) => {
                let mut all = Vec::new();
                while let Some(Ok(message)) = socket.next().await {
                    all.extend(message.into_data());
                }
                Outcome::Open(all)
            }
            Err(ConnectError::Refused {
                status,
                body,
                retry_after,
            }) => Outcome::Refused {
                status,
                body,
                retry_after,
            },
            Err(ConnectError::Failed(failure)) => Outcome::Failed(failure),
        })
    }

    /// Asks the proxy that this value of HTTP_PROXY stands for, and that answers so, for a
    /// connection to the host. Also returns how many bytes of its answer were read; `None` where no
    /// proxy would be asked.
    ///
    /// # Errors
    ///
    /// If the value cannot be used.
    pub fn to_proxied(
        &self,
        endpoint: &Endpoint,
        value: &str,
        host: &str,
    ) -> Result<Option<(Outcome, usize)>, Failure> {
        let variable = |name: &str| (name == "HTTP_PROXY").then(|| value.into());
        let Some(proxy) = Proxy::of(endpoint, &variable)? else {
            return Ok(None);
        };
        Ok(Some(self.read_by(
            async |stream| match proxy.tunnel(stream, host, 80).await {
                Ok(mut stream) => {
                    let mut all = Vec::new();
                    let end = stream.read_to_end(&mut all).await;
                    end.expect("the peer only closes");
                    Outcome::Open(all)
                }
                Err(failure) => Outcome::Failed(failure),
            },
        )))
    }

    fn read_by(&self, ask: impl AsyncFnOnce(Stream) -> Outcome) -> (Outcome, usize) {
        let read = Arc::<AtomicUsize>::default();
        let peer = Peer {
            answer: self.clone(),
            heard: Vec::new(),
            turn: 0,
            read: read.clone(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime without I/O needs nothing of the system");
        let outcome = runtime.block_on(ask(Box::new(peer)));
        (outcome, read.load(Ordering::Relaxed))
    }
}

#[derive(Debug)]
struct Peer {
    answer: Answer,
    heard: Vec<u8>,
    turn: usize,
    read: Arc<AtomicUsize>,
}

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.turn == 0 {
            self.answer.bytes = with_accept(std::mem::take(&mut self.answer.bytes), &self.heard);
        }
        let packets = &self.answer.packets;
        let size = match packets.len() {
            0 => usize::MAX,
            count => packets[self.turn % count].max(1),
        };
        let at = self.read.load(Ordering::Relaxed);
        let rest = &self.answer.bytes[at..];
        let packet = &rest[..rest.len().min(size).min(buffer.remaining())];
        buffer.put_slice(packet);
        self.read.fetch_add(packet.len(), Ordering::Relaxed);
        self.turn += 1;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Peer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.turn == 0 {
            self.heard.extend(bytes);
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Replaces `{accept}` in a head by the answer to the key of the upgrade that was heard.
pub(super) fn with_accept(bytes: Vec<u8>, heard: &[u8]) -> Vec<u8> {
    const PLACE: &[u8] = b"{accept}";
    let place = bytes.windows(PLACE.len()).position(|text| text == PLACE);
    let is_head = |at: &usize| {
        let lines = bytes[..*at].split(|byte| *byte == b'\n');
        !lines.skip(1).any(|line| line == b"" || line == b"\r")
    };
    let Some((at, nonce)) = place.filter(is_head).zip(nonce(heard)) else {
        return bytes;
    };
    let accept = derive_accept_key(nonce.as_bytes());
    let (before, after) = (&bytes[..at], &bytes[at + PLACE.len()..]);
    [before, accept.as_bytes(), after].concat()
}

/// The `Sec-WebSocket-Key` of the upgrade that was heard.
pub(super) fn nonce(heard: &[u8]) -> Option<String> {
    let heard = String::from_utf8_lossy(heard);
    let (_, key) = heard.split_once("Sec-WebSocket-Key: ")?;
    Some(key.split("\r\n").next()?.to_owned())
}
