// SPDX-License-Identifier: MPL-2.0
//! TLS, with its errors explained. Called by `connect` and `proxy`.
//!
//! Trusts the system's roots, or those that SSL_CERT_FILE and SSL_CERT_DIR name; verification
//! cannot be switched off. Each common certificate error has its own text and remedy. The texts
//! contain nothing that changes between attempts, such as the time: repeated failures would be
//! reported as new ones.

use std::env;
use std::io;
use std::sync::Arc;

use gst::glib;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, Error, InvalidMessage, RootCertStore, crypto::ring,
};

use super::disk;
use super::error::NETWORK_REMEDY;
use crate::protocol::{Failure, Kind};

/// Maximum number of a certificate's names shown in an error, and of characters of each.
const MAX_NAMES: usize = 3;
const MAX_NAME: usize = 100;

/// The other end of the connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer<'a> {
    /// The name, or the address without brackets, that the certificate must be for.
    pub host: &'a str,
    /// Its name in errors.
    pub name: &'a str,
    /// The setting that names it.
    pub setting: &'a str,
}

/// The TLS configuration with the trusted roots, as found when first needed.
pub(super) async fn config() -> Result<Arc<ClientConfig>, Failure> {
    static CONFIG: OnceCell<Arc<ClientConfig>> = OnceCell::const_new();
    let config = CONFIG.get_or_try_init(|| async {
        let turn = disk::turn("certificates").await;
        match turn.run(load).await {
            Ok((_, loaded)) => loaded,
            Err(error) => Err(unusable(format!("TLS cannot be set up: {error}."))),
        }
    });
    config.await.cloned()
}

/// Encrypts the connection and verifies the peer.
pub(super) async fn handshake<S>(
    config: Arc<ClientConfig>,
    stream: S,
    peer: Peer<'_>,
) -> Result<TlsStream<S>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = ServerName::try_from(peer.host.to_owned()).map_err(|_| {
        let what = format!("No certificate can be for a host called {}.", peer.name);
        Failure::new(Kind::Settings, what, format!("Check {}.", peer.setting))
    })?;
    let connected = TlsConnector::from(config).connect(name, stream).await;
    connected.map_err(|error| failure(&error, peer, &trusted()))
}

/// May block for as long as the file system does.
fn load() -> Result<Arc<ClientConfig>, Failure> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let error = found.errors.first();
        let why = error.map(|error| format!(": {error}")).unwrap_or_default();
        return Err(unusable(format!(
            "No trusted root certificate was found{why}."
        )));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(format!("TLS cannot be set up: {error}.")))?;
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config))
}

fn unusable(what: String) -> Failure {
    let remedy = "Install the package ca-certificates, or set SSL_CERT_FILE.";
    Failure::new(Kind::Settings, what, remedy)
}

/// The remedy for an untrusted issuer; names where the trusted ones are stored.
fn trusted() -> String {
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"]
        .into_iter()
        .find_map(|variable| Some((variable, env::var_os(variable)?)));
    match named {
        Some((variable, path)) => format!(
            "What {variable} names, '{}', has to hold the certificate of the authority that issued \
             it.",
            path.display()
        ),
        None => "For a private certificate authority set SSL_CERT_FILE to its certificate.".into(),
    }
}

fn failure(error: &io::Error, peer: Peer<'_>, trusted: &str) -> Failure {
    let name = peer.name;
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    match cause {
        Some(Error::InvalidCertificate(error)) => certificate_failure(error, peer, trusted),
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => Failure::new(
            Kind::Settings,
            format!("{name} speaks no TLS at this port."),
            format!(
                "Name another port in {}, or, if the network can be trusted, the scheme without \
                 TLS (ws:// or http://).",
                peer.setting
            ),
        ),
        Some(error) => Failure::new(
            Kind::Unreachable,
            format!("The TLS connection to {name} failed: {error}."),
            NETWORK_REMEDY,
        ),
        None => Failure::new(
            Kind::Unreachable,
            format!("The connection to {name} broke during the TLS handshake: {error}."),
            format!("{NETWORK_REMEDY} The port may be one without TLS."),
        ),
    }
}

fn certificate_failure(error: &CertificateError, peer: Peer<'_>, trusted: &str) -> Failure {
    use CertificateError::*;
    let Peer { name, setting, .. } = peer;
    let subject = format!("The TLS certificate of {name}");
    let settings = |what: String, remedy: String| Failure::new(Kind::Settings, what, remedy);
    match error {
        Expired | ExpiredContext { .. } => {
            let on = match error {
                ExpiredContext { not_after, .. } => date(*not_after),
                _ => None,
            };
            let on = on.map(|date| format!(" on {date}")).unwrap_or_default();
            settings(
                format!("{subject} expired{on}."),
                "Have it renewed, and check this machine's clock.".into(),
            )
        }
        // Some machines get the time from the network after booting: this may pass.
        NotValidYet => Failure::new(
            Kind::Unreachable,
            format!("{subject} is not valid yet."),
            "Check this machine's clock.",
        ),
        NotValidYetContext { not_before, .. } => {
            let until = date(*not_before).unwrap_or_else(|| "later".into());
            Failure::new(
                Kind::Unreachable,
                format!("{subject} is not valid before {until}."),
                "Check this machine's clock.",
            )
        }
        NotValidForName | NotValidForNameContext { .. } => {
            let names = match error {
                NotValidForNameContext { presented, .. } => names(presented),
                _ => String::new(),
            };
            let whose = match names.as_str() {
                "" => "names no host",
                names => &format!("is for {names}"),
            };
            settings(
                format!("{subject} {whose}, and not for {}.", peer.host),
                format!(
                    "Use a name that the certificate has in {setting}, or put this one into the \
                     certificate, as subjectAltName."
                ),
            )
        }
        // The signature does not verify if an authority was re-created under the same name.
        UnknownIssuer | BadSignature => settings(
            format!("{subject} has an issuer that is not trusted."),
            trusted.into(),
        ),
        // An error of webpki, which rustls does not re-export.
        Other(error) if error.0.to_string() == "CaUsedAsEndEntity" => settings(
            format!("{subject} is that of a certificate authority, which is not for servers."),
            "Make one for the server with basicConstraints=CA:FALSE, and set SSL_CERT_FILE to the \
             certificate that has issued it, or to itself if it has none."
                .into(),
        ),
        error => settings(
            format!("{subject} cannot be used: {error}."),
            format!("Replace it, or check {setting}."),
        ),
    }
}

/// The day, in UTC.
fn date(time: UnixTime) -> Option<String> {
    let seconds = i64::try_from(time.as_secs()).ok()?;
    let time = glib::DateTime::from_unix_utc(seconds).ok()?;
    Some(time.format("%Y-%m-%d").ok()?.into())
}

/// The names in a certificate, which rustls gives only as `DnsName("…")` and `IpAddress(…)`.
fn names(presented: &[String]) -> String {
    let mut names: Vec<String> = presented
        .iter()
        .filter_map(|name| {
            let name = name.strip_suffix(')')?;
            let name = name
                .strip_prefix("DnsName(")
                .or_else(|| name.strip_prefix("IpAddress("))?;
            let is_fit = |c: &char| c.is_ascii_graphic() && *c != '"';
            Some(name.chars().filter(is_fit).take(MAX_NAME).collect())
        })
        .collect();
    if names.len() > MAX_NAMES {
        names.truncate(MAX_NAMES);
        names.push("others".into());
    }
    names.join(", ")
}

#[cfg(test)]
mod tests;
