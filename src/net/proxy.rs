// SPDX-License-Identifier: MPL-2.0
//! Proxies named by the environment: HTTP, HTTPS and SOCKS5. Called by `connect`.
//!
//! A connection goes through the configured proxy or fails. An unusable value is never ignored: the
//! key would take a route that its owner has ruled out. Errors name the variable and never show
//! user name or password. Connections within this machine use no proxy.

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::StatusCode;
use ipnet::IpNet;
use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::dial::{self, dial};
use super::response::ask;
use super::socks::{self, SocksError, Target};
use super::stream::Stream;
use super::tls::{self, Peer};
use super::upgrade::USER_AGENT;
use crate::protocol::{Endpoint, Failure, Kind};

const DEFAULT_SOCKS_PORT: u16 = 1080;

/// How to talk to a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
    Socks5 {
        /// The proxy resolves the host's name.
        looks_up: bool,
    },
}

/// A proxy to connect through.
pub(super) struct Proxy {
    scheme: Scheme,
    host: String,
    port: u16,
    credentials: Option<(String, String)>,
    /// The environment variable that names it.
    variable: &'static str,
}

/// Host and port, without the credentials.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&authority(&self.host, self.port))
    }
}

/// Looks up an environment variable.
type Variable<'a> = &'a dyn Fn(&str) -> Option<OsString>;

impl Proxy {
    /// The proxy named by the environment for this endpoint.
    ///
    /// # Errors
    ///
    /// [`Kind::Settings`] if it cannot be used.
    pub fn of(endpoint: &Endpoint, variable: Variable<'_>) -> Result<Option<Self>, Failure> {
        // In a CGI program HTTP_PROXY may come from the request.
        if endpoint.is_loopback() || variable("REQUEST_METHOD").is_some() {
            return Ok(None);
        }
        let url = endpoint.url();
        let own = match url.scheme() {
            "wss" => ["HTTPS_PROXY", "https_proxy"],
            _ => ["HTTP_PROXY", "http_proxy"],
        };
        let is_blank = |value: &OsString| value.to_str().is_some_and(|text| text.trim().is_empty());
        let named = [own, ["ALL_PROXY", "all_proxy"]]
            .into_iter()
            .filter_map(|names| set(variable, names))
            .find(|(_, value)| !is_blank(value));
        let Some((name, value)) = named else {
            return Ok(None);
        };
        let exceptions = set(variable, ["NO_PROXY", "no_proxy"]);
        let exceptions = exceptions.map(|(_, value)| value.to_string_lossy().into_owned());
        if is_exempt(url, &exceptions.unwrap_or_default()) {
            return Ok(None);
        }
        let parsed = match value.to_str() {
            Some(value) => Self::parse(value.trim(), name),
            None => Err("it is not text"),
        };
        parsed.map(Some).map_err(|why| {
            Failure::new(
                Kind::Settings,
                format!("The proxy in {name} cannot be used: {why}."),
                format!(
                    "Set {name} to something like http://host:port or socks5h://host:port, or \
                     unset it."
                ),
            )
        })
    }

    /// Parses the address of a proxy. The error does not quote it.
    fn parse(value: &str, variable: &'static str) -> Result<Self, &'static str> {
        let (name, rest) = value.split_once("://").unwrap_or(("http", value));
        let scheme = match name.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "socks5" => Scheme::Socks5 { looks_up: false },
            "socks5h" => Scheme::Socks5 { looks_up: true },
            _ => return Err("it is not one of http, https, socks5 and socks5h"),
        };
        // Passwords may contain characters that would end the authority, and users do not encode
        // them.
        let (user, address) = match rest.rsplit_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, rest),
        };
        let address = address.split(['/', '?', '#']).next().unwrap_or_default();
        let url = Url::parse(&format!("{name}://{address}"));
        let url = url.map_err(|_| "it is not a valid address")?;
        let host = url.host_str().unwrap_or_default();
        if host.is_empty() {
            return Err("it names no host");
        }
        let credentials = user.map(|user| {
            let (user, password) = user.split_once(':').unwrap_or((user, ""));
            let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
            (decoded(user), decoded(password))
        });
        Ok(Proxy {
            scheme,
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port_or_known_default().unwrap_or(DEFAULT_SOCKS_PORT),
            credentials,
            variable,
        })
    }

    /// Connects to the host, a name or an address without brackets, through the proxy.
    pub async fn connect(&self, host: &str, port: u16) -> Result<Stream, Failure> {
        let stream = dial(&self.host, self.port).await.map_err(|error| {
            let what = format!("cannot be reached: {error}");
            error.mark(self.failure(Kind::Unreachable, &what))
        })?;
        dial::prepare(&stream);
        let stream: Stream = match self.scheme {
            Scheme::Https => {
                let peer = Peer {
                    host: &self.host,
                    name: &format!("the proxy {self}"),
                    setting: self.variable,
                };
                Box::new(tls::handshake(tls::config().await?, stream, peer).await?)
            }
            Scheme::Http | Scheme::Socks5 { .. } => Box::new(stream),
        };
        self.tunnel(stream, host, port).await
    }

    /// Has the proxy at the other end of the stream connect to the host.
    pub async fn tunnel(&self, stream: Stream, host: &str, port: u16) -> Result<Stream, Failure> {
        match self.scheme {
            Scheme::Http | Scheme::Https => self.through_http(stream, host, port).await,
            Scheme::Socks5 { looks_up } => {
                let target = self.target(host, port, looks_up).await?;
                self.through_socks(stream, host, port, target).await
            }
        }
    }

    /// The CONNECT method (RFC 9110 §9.3.6).
    async fn through_http(
        &self,
        mut stream: Stream,
        host: &str,
        port: u16,
    ) -> Result<Stream, Failure> {
        let authorization = self.credentials.as_ref().map(|(user, password)| {
            let credentials = BASE64_STANDARD.encode(format!("{user}:{password}"));
            format!("Proxy-Authorization: Basic {credentials}\r\n")
        });
        let server = authority(host, port);
        let request = format!(
            "CONNECT {server} HTTP/1.1\r\n\
             Host: {server}\r\n\
             User-Agent: {USER_AGENT}\r\n\
             {}\r\n",
            authorization.unwrap_or_default()
        );
        let head = ask(&mut stream, &request).await.map_err(|error| {
            self.failure(Kind::Unreachable, &format!("does not answer: {error}"))
        })?;
        match head.status {
            200..300 if head.rest.is_empty() => Ok(stream),
            200..300 => Err(self.failure(
                Kind::Unreachable,
                "sent data before the connection was used",
            )),
            407 => Err(self.unauthorized().with_http_status(407)),
            status => {
                let may_pass = matches!(status, 408 | 425 | 429 | 500..);
                let kind = if may_pass {
                    Kind::Unreachable
                } else {
                    Kind::Settings
                };
                // The standard reason phrase: the proxy's own might quote the password.
                let known = StatusCode::from_u16(status).ok();
                let reason = known.and_then(|status| status.canonical_reason());
                let answer = format!("answered {status} {}", reason.unwrap_or_default());
                let what = format!("{} when asked for {server}", answer.trim_end());
                Err(self.failure(kind, &what).with_http_status(status))
            }
        }
    }

    async fn through_socks(
        &self,
        mut stream: Stream,
        host: &str,
        port: u16,
        target: Target<'_>,
    ) -> Result<Stream, Failure> {
        let credentials = self.credentials.as_ref();
        let credentials = credentials.map(|(user, password)| (user.as_str(), password.as_str()));
        match socks::tunnel(&mut stream, target, port, credentials).await {
            Ok(()) => Ok(stream),
            Err(SocksError::Unauthorized) => Err(self.unauthorized()),
            Err(error) => {
                let kind = match error {
                    SocksError::TooLong | SocksError::Refused(socks::NOT_ALLOWED) => Kind::Settings,
                    _ => Kind::Unreachable,
                };
                let what = format!("does not connect to {}: {error}", authority(host, port));
                Err(self.failure(kind, &what))
            }
        }
    }

    /// The host for a SOCKS proxy: its name, or its address as resolved here.
    async fn target<'a>(
        &self,
        host: &'a str,
        port: u16,
        looks_up: bool,
    ) -> Result<Target<'a>, Failure> {
        if let Ok(address) = host.parse() {
            return Ok(Target::Address(address));
        }
        if looks_up {
            return Ok(Target::Name(host));
        }
        let found = dial::resolve(host, port).await;
        let why = match found.map(|addresses| addresses.first().copied()) {
            Ok(Some(address)) => return Ok(Target::Address(address.ip())),
            Ok(None) => String::new(),
            Err(error) => format!(": {error}"),
        };
        let failure = Failure::new(
            Kind::UnknownHost,
            format!("The host '{host}' was not found{why}."),
            format!(
                "Check the name service, or have the proxy look it up, with socks5h:// in {}.",
                self.variable
            ),
        );
        Err(failure.unanswered())
    }

    fn unauthorized(&self) -> Failure {
        let what = match self.credentials {
            None => "wants a user name and a password",
            Some(_) => "does not accept the user name and the password",
        };
        let variable = self.variable;
        Failure::new(
            Kind::Unauthorized,
            format!("The proxy {self} {what}."),
            format!("Put the right ones into {variable}, as in http://user:password@host:port."),
        )
    }

    /// The sentence begins with the proxy's name.
    fn failure(&self, kind: Kind, what: &str) -> Failure {
        Failure::new(
            kind,
            format!("The proxy {self} {what}."),
            format!(
                "Check the proxy and {} in the environment, or name the host in NO_PROXY.",
                self.variable
            ),
        )
    }
}

/// Host and port as in a URL, with IPv6 in brackets.
fn authority(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// The first of the variables that is set.
fn set(variable: Variable<'_>, names: [&'static str; 2]) -> Option<(&'static str, OsString)> {
    let mut names = names.into_iter();
    names.find_map(|name| Some((name, variable(name)?)))
}

/// Whether NO_PROXY names the host, in any form that curl or Go understands.
fn is_exempt(url: &Url, list: &str) -> bool {
    let Some(host) = url.host() else {
        return false;
    };
    let port = url.port_or_known_default();
    list.split([',', ' ', '\t'])
        .filter(|entry| !entry.is_empty())
        .any(|entry| {
            let (entry, its_port) = split_port(entry);
            (its_port.is_none() || its_port == port) && (entry == "*" || names_host(entry, &host))
        })
}

/// Splits off `:port`. An IPv6 address with a port has brackets.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    let split = entry
        .rsplit_once(':')
        .filter(|(host, _)| !host.contains(':') || host.ends_with(']'))
        .and_then(|(host, port)| Some((host, port.parse().ok()?)));
    match split {
        Some((host, port)) => (host, Some(port)),
        None => (entry, None),
    }
}

fn names_host(entry: &str, host: &Host<&str>) -> bool {
    let address = match host {
        Host::Domain(name) => return names_domain(entry, name),
        Host::Ipv4(ip) => IpAddr::V4(*ip),
        Host::Ipv6(ip) => IpAddr::V6(*ip).to_canonical(),
    };
    let entry = entry.trim_matches(['[', ']']);
    let is_address = entry.parse().is_ok_and(|ip: IpAddr| ip == address);
    is_address || entry.parse().is_ok_and(|net: IpNet| net.contains(&address))
}

/// `domain` and `.domain` match the domain and its subdomains, `*.domain` only these.
fn names_domain(entry: &str, name: &str) -> bool {
    let entry = entry.trim_end_matches('.').to_ascii_lowercase();
    let name = name.trim_end_matches('.');
    let (domain, only_subdomains) = match entry.strip_prefix("*.") {
        Some(domain) => (domain, true),
        None => (entry.strip_prefix('.').unwrap_or(&entry), false),
    };
    match name.strip_suffix(domain) {
        Some("") => !only_subdomains,
        Some(within) => within.ends_with('.') && !domain.is_empty(),
        None => false,
    }
}

#[cfg(test)]
mod tests;
