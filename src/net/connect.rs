// SPDX-License-Identifier: MPL-2.0
//! From an endpoint to an open WebSocket: proxy, TCP, TLS, upgrade.

use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::http::{self, Uri};
use tower_service::Service;

use super::dial::{self, DialError, dial};
use super::error::unreachable;
use super::stream::Stream;
use super::throttle::Throttle;
use super::tls::{self, Peer};
use super::upgrade::upgrade;
use crate::protocol::{Endpoint, Failure, Kind};

pub(super) use super::error::ConnectError;

pub(super) type Socket = WebSocketStream<Stream>;

/// Spaces out the upgrades of all sessions in the process, as after an outage of the network. The
/// service takes 20 new connections a second of an account for a model, and refuses more.
static THROTTLE: Throttle = Throttle::every(Duration::from_millis(55));

/// Opens the connection. Takes as long as the network takes: the caller gives up on it.
pub(super) async fn connect(endpoint: Endpoint) -> Result<Socket, ConnectError> {
    // Before connecting: this can fail without it.
    let tls = match endpoint.url().scheme() {
        "wss" => Some(tls::config().await?),
        _ => None,
    };
    let (stream, address) = match proxy_for(&endpoint)? {
        // A proxy's address says nothing about the host.
        Some((proxy, destination)) => (through_proxy(&proxy, destination).await?, None),
        None => {
            let (host, port) = (host(&endpoint), port(&endpoint));
            let dialled = dial(host, port).await;
            let stream = dialled.map_err(|error| dial_failure(host, port, &error))?;
            let address = stream.peer_addr().ok();
            (stream, address)
        }
    };
    dial::prepare(&stream);
    if endpoint.is_official() {
        THROTTLE.wait().await;
    }
    let stream: Stream = match tls {
        Some(config) => {
            let peer = Peer {
                host: host(&endpoint),
                name: &endpoint.authority(),
                setting: "the url property",
            };
            Box::new(tls::handshake(config, stream, peer).await?)
        }
        None => Box::new(stream),
    };
    let socket = upgrade(stream, &endpoint, endpoint.key()).await?;
    if let Some(address) = address {
        dial::remember(host(&endpoint), port(&endpoint), address);
    }
    Ok(socket)
}

/// The host as sockets take it: an IPv6 address without brackets.
fn host(endpoint: &Endpoint) -> &str {
    let host = endpoint.url().host_str().unwrap_or_default();
    host.trim_matches(['[', ']'])
}

fn port(endpoint: &Endpoint) -> u16 {
    // The url crate knows the default ports of ws and wss.
    endpoint.url().port_or_known_default().unwrap_or(443)
}

/// The proxy that the environment names for this endpoint.
fn proxy_for(endpoint: &Endpoint) -> Result<Option<(Intercept, Uri)>, Failure> {
    let url = endpoint.url();
    // Proxy settings name the scheme of what they carry as HTTP has it.
    let scheme = if url.scheme() == "wss" {
        "https"
    } else {
        "http"
    };
    let host = url.host_str().unwrap_or_default();
    let destination: Uri = format!("{scheme}://{host}:{}/", port(endpoint))
        .parse()
        .map_err(|error: http::uri::InvalidUri| {
            unreachable(format!("The host cannot be used: {error}."))
        })?;
    let proxy = Matcher::from_env().intercept(&destination);
    Ok(proxy.map(|proxy| (proxy, destination)))
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

async fn through_proxy(proxy: &Intercept, destination: Uri) -> Result<TcpStream, Failure> {
    // Without user name and password, which may stand in the proxy's address.
    let name = proxy
        .uri()
        .authority()
        .map_or("", |a| a.as_str())
        .rsplit('@')
        .next()
        .unwrap_or_default();
    if proxy.uri().scheme_str() != Some("http") {
        return Err(Failure::new(
            Kind::Settings,
            format!("The proxy {name} is of a kind that is not supported."),
            "Set HTTPS_PROXY to an address that begins with http://, or NO_PROXY for this host.",
        ));
    }
    let mut tunnel = Tunnel::new(proxy.uri().clone(), HttpConnector::new());
    if let Some(auth) = proxy.basic_auth() {
        tunnel = tunnel.with_auth(auth.clone());
    }
    let stream = tunnel.call(destination).await.map_err(|error| {
        Failure::new(
            Kind::Unreachable,
            format!("No connection through the proxy {name}: {error}."),
            "Check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY in the environment.",
        )
    })?;
    Ok(stream.into_inner())
}

#[cfg(test)]
mod tests;
