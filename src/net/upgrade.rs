// SPDX-License-Identifier: MPL-2.0
//! The upgrade of a connection to a WebSocket (RFC 6455 §4); the concluding step of `connect`.
//!
//! Done here rather than by the WebSocket library, which logs the request including the key, takes
//! as the body of a refusal only what arrived in the same packet as its head, and refuses
//! `Connection: keep-alive, Upgrade`. Redirects are never followed: the key would go along.

use std::fmt::Write;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use url::Position;

use super::error::{ConnectError, unreachable};
use super::response::{Head, HeadError, ask};
use crate::protocol::{Endpoint, Failure, Kind, Secret};

pub(super) const USER_AGENT: &str = concat!("gst-plugin-qwenasr/", env!("CARGO_PKG_VERSION"));

/// Upper bound of a message. Results take kilobytes; anything far larger is not a result.
const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// The WebSocket layer zeroes the whole buffer at each attempt to read, of which there is one per
/// frame sent. Larger messages are read in pieces.
const READ_BUFFER_BYTES: usize = 4 << 10;

/// Upper bound of what the WebSocket layer holds back while the network takes nothing: our largest
/// frame and more. Beyond that only a peer's endless pings are left unanswered.
const MAX_UNSENT_BYTES: usize = 1 << 20;

/// Upgrades the connection with this key. Bytes that follow the response belong to the WebSocket.
///
/// # Errors
///
/// [`ConnectError::Refused`] for a refusing status; a failure for a response that no WebSocket
/// server sends.
pub(super) async fn upgrade<S>(
    mut stream: S,
    endpoint: &Endpoint,
    key: Option<&Secret>,
) -> Result<WebSocketStream<S>, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let nonce = generate_key();
    let answered = ask(&mut stream, &request(endpoint, key, &nonce)).await;
    let mut head = answered.map_err(|error| no_answer(endpoint, error))?;
    match head.status {
        101 => {}
        // Their bodies are web pages, and say nothing about the request.
        status @ 100..300 => return Err(no_websocket(status).into()),
        status => {
            let body = head.read_body(&mut stream).await;
            return Err(ConnectError::Refused {
                status,
                body,
                retry_after: head.retry_after(),
            });
        }
    }
    check(&head, &nonce).map_err(|why| disagreement(endpoint, why))?;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_write_buffer_size(MAX_UNSENT_BYTES)
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    let (rest, role) = (head.rest, Role::Client);
    Ok(WebSocketStream::from_partially_read(stream, rest, role, Some(config)).await)
}

/// Tells the service of the workspace, on hosts that have none in their name.
const WORKSPACE: &str = "X-DashScope-WorkSpace";

/// The request. Its headers are spelled as in the standard, for servers that are case-sensitive.
fn request(endpoint: &Endpoint, key: Option<&Secret>, nonce: &str) -> String {
    let target = &endpoint.url()[Position::BeforePath..Position::AfterQuery];
    let mut request = format!(
        "GET {target} HTTP/1.1\r\n\
         Host: {}\r\n\
         Connection: Upgrade\r\n\
         Upgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {nonce}\r\n",
        endpoint.authority()
    );
    let is_given = |name: &str| {
        let mut headers = endpoint.headers().iter();
        headers.any(|(other, _)| other.eq_ignore_ascii_case(name))
    };
    let mut header = |name: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = write!(request, "{name}: {value}\r\n");
    };
    if !is_given("User-Agent") {
        header("User-Agent", USER_AGENT);
    }
    if let Some(key) = key {
        header("Authorization", &format!("Bearer {}", key.reveal()));
    }
    if let Some(workspace) = endpoint.workspace()
        && !is_given(WORKSPACE)
    {
        header(WORKSPACE, workspace);
    }
    for (name, value) in endpoint.headers() {
        header(name, value.reveal());
    }
    request.push_str("\r\n");
    request
}

/// Checks that the server accepted the upgrade (RFC 6455 §4.1). Extensions that were not requested
/// are tolerated: some servers name them without using them.
fn check(head: &Head, nonce: &str) -> Result<(), &'static str> {
    let has = |name, value: &str| {
        let mut list = head.list(name);
        list.any(|element| element.eq_ignore_ascii_case(value))
    };
    if !has("upgrade", "websocket") {
        Err("its answer does not upgrade to WebSocket")
    } else if !has("connection", "upgrade") {
        Err("its answer does not upgrade the connection")
    } else if head.list("sec-websocket-accept").next() != Some(&derive_accept_key(nonce.as_bytes()))
    {
        Err("its answer is not one to this request")
    } else if head.list("sec-websocket-protocol").next().is_some() {
        Err("its answer names a subprotocol that was not asked for")
    } else {
        Ok(())
    }
}

fn no_websocket(status: u16) -> Failure {
    Failure::new(
        Kind::NotFound,
        format!("There is no WebSocket at this address (HTTP {status})."),
        "Check host and path in the url property: a web page or another service answers there.",
    )
    .with_http_status(status)
}

fn no_answer(endpoint: &Endpoint, error: HeadError) -> Failure {
    let server = endpoint.authority();
    match error {
        HeadError::Tls => Failure::new(
            Kind::Settings,
            format!("{server} speaks TLS at this port."),
            "Let the url property begin with wss:// instead of ws://, or name another port.",
        ),
        error @ (HeadError::Io(_) | HeadError::Closed) => unreachable(format!(
            "The connection to {server} broke during the handshake: {error}."
        )),
        error @ (HeadError::TooLong | HeadError::NotHttp(_)) => disagreement(endpoint, error),
    }
}

fn disagreement(endpoint: &Endpoint, why: impl std::fmt::Display) -> Failure {
    unreachable(format!(
        "{} did not agree to speak WebSocket: {why}.",
        endpoint.authority()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{EndpointSettings, KeySource, Protocol};

    #[test]
    fn the_workspace_is_a_header_where_the_host_does_not_name_it() {
        for (url, headers, expected) in [
            (Some("wss://maas.qwencloudapi.com"), &[][..], Some("ws-1")),
            (None, &[], None),
            (
                Some("wss://maas.qwencloudapi.com"),
                &[("x-dashscope-workspace", "ws-2")],
                Some("ws-2"),
            ),
        ] {
            let secret = |text| Secret::new(text).unwrap();
            let headers = headers.iter();
            let settings = EndpointSettings {
                url: url.map(str::to_owned),
                model: "m".into(),
                workspace: Some("ws-1".into()),
                key: Some(KeySource::Given(secret("sk-12345678"))),
                headers: headers
                    .map(|(name, value): &(&str, &str)| ((*name).to_owned(), secret(value)))
                    .collect(),
                ..EndpointSettings::default()
            };
            let endpoint = Endpoint::new(settings, Protocol::Realtime).unwrap();
            let request = request(&endpoint, None, "nonce");
            let mut told = request.lines().filter_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case(WORKSPACE).then_some(value)
            });
            assert_eq!((told.next(), told.next()), (expected, None), "{url:?}");
        }
    }
}
