// SPDX-License-Identifier: MPL-2.0
//! From an endpoint to an open WebSocket: key, proxy, TCP, TLS, upgrade.
//!
//! Called by the driver for each attempt. An attempt depends only on the endpoint and the
//! environment, and leaves nothing behind but the key that was read and the address that worked. It
//! has no time limit of its own: the driver drops the future when the session gives up.

use tokio_tungstenite::WebSocketStream;

use super::dial::{self, DialError, dial};
use super::error::unreachable;
use super::key;
use super::proxy::Proxy;
use super::remark::{Remark, Remarks};
use super::stream::Stream;
use super::throttle::Queue;
use super::tls::{self, Peer};
use super::upgrade::upgrade;
use crate::protocol::{Endpoint, Failure, Kind, redacted};

pub(super) use super::error::ConnectError;

pub(super) type Socket = WebSocketStream<Stream>;

/// Opens the connection.
pub(super) async fn connect(
    endpoint: Endpoint,
    remarks: Remarks,
    queue: Queue,
) -> Result<Socket, ConnectError> {
    let proxy = Proxy::of(&endpoint, &|name| std::env::var_os(name))?;
    connect_through(proxy, endpoint, &remarks, &queue).await
}

async fn connect_through(
    proxy: Option<Proxy>,
    endpoint: Endpoint,
    remarks: &Remarks,
    queue: &Queue,
) -> Result<Socket, ConnectError> {
    let (host, port) = (host(&endpoint), port(&endpoint));
    // Before connecting, since these can fail on their own.
    let key = key::obtain(&endpoint, remarks).await?;
    let tls = match endpoint.url().scheme() {
        "wss" => Some(tls::config().await?),
        _ => None,
    };
    remarks(Remark::Connecting {
        url: redacted(endpoint.url().as_str()),
        proxy: proxy.as_ref().map(Proxy::to_string),
    });
    queue.wait_to_call(&endpoint).await;
    let (mut stream, address): (Stream, _) = match proxy {
        Some(proxy) => {
            // The address of a proxy reveals nothing about the host's.
            (proxy.connect(host, port).await?, None)
        }
        None => {
            let dialled = dial(host, port).await;
            let stream = dialled.map_err(|error| dial_failure(host, port, &error))?;
            dial::prepare(&stream);
            let address = stream.peer_addr().ok();
            (Box::new(stream), address)
        }
    };
    // Only now: an attempt that finds no network takes nobody's turn.
    queue.wait_to_start(&endpoint, key.as_ref()).await;
    if let Some(config) = tls {
        let peer = Peer {
            host,
            name: &endpoint.authority(),
            setting: "the url property",
        };
        stream = Box::new(tls::handshake(config, stream, peer).await?);
    }
    let socket = upgrade(stream, &endpoint, key.as_ref()).await?;
    if let Some(address) = address {
        dial::remember(host, port, address);
    }
    Ok(socket)
}

/// The host in the form sockets expect: an IPv6 address without brackets.
fn host(endpoint: &Endpoint) -> &str {
    let host = endpoint.url().host_str().unwrap_or_default();
    host.trim_matches(['[', ']'])
}

fn port(endpoint: &Endpoint) -> u16 {
    // The url crate knows the default ports of ws and wss.
    endpoint.url().port_or_known_default().unwrap_or(443)
}

fn dial_failure(host: &str, port: u16, error: &DialError) -> Failure {
    let failure = match error {
        DialError::Lookup(_) => Failure::new(
            Kind::UnknownHost,
            format!("The host '{host}' was not found: {error}."),
            "Check the url, region and workspace properties and the name service.",
        ),
        DialError::Connect(_) => unreachable(format!("No connection to {host}:{port}: {error}.")),
    };
    error.mark(failure)
}

#[cfg(test)]
mod tests;
