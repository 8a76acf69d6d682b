// SPDX-License-Identifier: MPL-2.0
//! Where to connect and with which credentials.
//!
//! An [`Endpoint`] has been checked: it names a host, its credentials may be sent there, and its
//! headers are valid in an HTTP request. It neither connects nor reads a file: `net` does both at
//! each connection attempt. The element makes one for each session.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use url::{Host, Position, Url};

use super::key::{KeyFault, KeySource, Secret};
use super::{Failure, Kind, Protocol, checks};

/// Shorter texts are placeholders or ordinary words rather than secrets.
const MIN_SECRET: usize = 8;

/// Where the service runs; keys are valid in one region only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Region {
    #[default]
    Singapore,
    Beijing,
}

impl Region {
    fn legacy_host(self) -> &'static str {
        match self {
            Region::Singapore => "dashscope-intl.aliyuncs.com",
            Region::Beijing => "dashscope.aliyuncs.com",
        }
    }

    fn workspace_domain(self) -> &'static str {
        match self {
            Region::Singapore => "ap-southeast-1.maas.aliyuncs.com",
            Region::Beijing => "cn-beijing.maas.aliyuncs.com",
        }
    }
}

/// The user's settings of where to connect.
#[derive(Clone, Default)]
pub struct EndpointSettings {
    /// The complete endpoint; overrides region and workspace.
    pub url: Option<String>,
    pub region: Region,
    /// Workspace id; selects the workspace's own host, or is told to the host of the URL.
    pub workspace: Option<String>,
    pub model: String,
    pub key: Option<KeySource>,
    /// Time limit for reading a key file; `None` for no limit. Has to be shorter than that of the
    /// attempt, so that the error can name the file.
    pub key_timeout: Option<Duration>,
    /// Further headers of the upgrade, by name. One called Authorization replaces the key.
    pub headers: Vec<(String, Secret)>,
    /// Allow credentials to be sent unencrypted to another machine.
    pub allow_insecure: bool,
}

/// A checked address with its credentials.
#[derive(Clone)]
pub struct Endpoint {
    url: Url,
    model: String,
    start_interval: Option<Duration>,
    workspace: Option<String>,
    key: Option<KeySource>,
    key_timeout: Option<Duration>,
    headers: Vec<(String, Secret)>,
}

impl Endpoint {
    /// Checks the settings. Reads no file.
    ///
    /// # Errors
    ///
    /// [`Kind::Settings`] if they cannot work or credentials would be sent unencrypted,
    /// [`Kind::Unauthorized`] if there is no key, or a text that is not a key.
    pub fn new(settings: EndpointSettings, protocol: Protocol) -> Result<Self, Failure> {
        let url = address(&settings, protocol)?;
        let workspace = untold_workspace(&settings, &url)?;
        let EndpointSettings {
            model,
            key,
            key_timeout,
            headers,
            allow_insecure,
            ..
        } = settings;
        for (name, value) in &headers {
            check_header(name, value)?;
        }
        let authorized = headers.iter().any(|(name, _)| is_authorization(name));
        let key = key.filter(|_| !authorized);
        if let Some(KeySource::Given(key)) = &key
            && let Some(fault) = KeyFault::find(key.reveal())
        {
            let what = format!("The API key {}.", fault.what());
            return Err(Failure::new(Kind::Unauthorized, what, fault.remedy()));
        }
        if key.is_none() && !authorized && is_official(&url) {
            return Err(Failure::new(
                Kind::Unauthorized,
                "No API key is set.",
                "Set the api-key or api-key-file property, or DASHSCOPE_API_KEY in the \
                 environment; for a service that needs no key set the url property.",
            ));
        }
        let credentials = match (&key, headers.is_empty()) {
            (Some(_), _) => Some("API key"),
            // Any of the headers may be secret.
            (None, false) => Some("value of the headers property"),
            (None, true) => None,
        };
        if let Some(credentials) = credentials
            && url.scheme() == "ws"
            && !is_loopback(&url)
            && !allow_insecure
        {
            return Err(Failure::new(
                Kind::Settings,
                format!("The {credentials} would travel unencrypted."),
                "Use a wss:// URL, or set allow-insecure=true if that network can be trusted.",
            ));
        }
        let start_interval = protocol.profile().start_interval;
        Ok(Endpoint {
            start_interval: is_official(&url).then(|| start_interval(model.trim())),
            url,
            model: model.trim().to_owned(),
            workspace,
            key,
            key_timeout,
            headers,
        })
    }

    /// The address to connect to.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Whether this is a host of the service itself, with the service's limits.
    pub fn is_official(&self) -> bool {
        is_official(&self.url)
    }

    /// The time to leave between two starts of sessions of an account; `None` for servers that are
    /// not the service's own, which say themselves when they have no room.
    pub fn start_interval(&self) -> Option<Duration> {
        self.start_interval
    }

    /// The workspace, if the service's host has to be told of it by a header.
    pub fn workspace(&self) -> Option<&str> {
        self.workspace.as_deref()
    }

    /// The model that is asked for.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Whether the host is this machine.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.url)
    }

    pub fn key(&self) -> Option<&KeySource> {
        self.key.as_ref()
    }

    pub fn key_timeout(&self) -> Option<Duration> {
        self.key_timeout
    }

    /// Further headers of the upgrade.
    pub fn headers(&self) -> &[(String, Secret)] {
        &self.headers
    }

    /// The secrets that may be in use, to be masked in quotes of the server. For a key file they
    /// are the keys read so far. Short texts are left out: masking `key` or `true` in a sentence
    /// protects nothing and makes it unreadable.
    pub fn secrets(&self) -> Vec<Secret> {
        let keys = match &self.key {
            None => Vec::new(),
            Some(KeySource::Given(key)) => vec![key.clone()],
            Some(KeySource::File(file)) => file.keys(),
        };
        // Of "Bearer sk-…", the server may quote the key alone.
        let values = self.headers.iter().map(|(_, value)| value.reveal());
        let words = values.flat_map(str::split_ascii_whitespace);
        keys.into_iter()
            .chain(words.filter_map(Secret::new))
            .filter(|secret| secret.reveal().len() >= MIN_SECRET)
            .collect()
    }

    /// Host and port, safe to show: a query may hold credentials.
    pub fn authority(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        match self.url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("url", &redacted(self.url.as_str()))
            .field("key", &self.key)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

/// The URL as it may be shown: user name, password, fragment and the values of the query, which may
/// be credentials, are replaced by `***`, except for the model's name. Accepts any text; one that
/// is not a URL and might contain a secret is replaced as a whole.
pub fn redacted(url: &str) -> String {
    const HIDDEN: &str = "***";
    let Ok(parsed) = Url::parse(url) else {
        let is_harmless = !url.contains(['@', '?', '#', '=']);
        return if is_harmless { url } else { HIDDEN }.to_owned();
    };
    let has_user = !parsed.username().is_empty() || parsed.password().is_some();
    let user = if has_user { "***@" } else { "" };
    let mut shown = format!(
        "{}{user}{}",
        &parsed[..Position::BeforeUsername],
        &parsed[Position::BeforeHost..Position::AfterPath]
    );
    let mut separator = '?';
    for pair in parsed
        .query()
        .into_iter()
        .flat_map(|query| query.split('&'))
    {
        shown.push(separator);
        separator = '&';
        match pair.split_once('=') {
            Some(("model", _)) => shown.push_str(pair),
            Some((name, _)) => shown.extend([name, "=", HIDDEN]),
            None => shown.push_str(HIDDEN),
        }
    }
    if parsed.fragment().is_some() {
        shown.extend(["#", HIDDEN]);
    }
    shown
}

/// The address of the models that translate, beside a model at this address: the same host, without
/// the other model's path and name. A path that is none of the protocols' own is kept, as it is that
/// of a gateway. Any text is accepted; [`Endpoint::new`] reports one that is not a URL.
pub fn beside(url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url.trim()) else {
        return url.to_owned();
    };
    if Protocol::has_path(parsed.path()) {
        parsed.set_path("");
    }
    let others: Vec<(String, String)> = parsed
        .query_pairs()
        .filter(|(name, _)| name != "model" && name != "intent")
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    parsed.set_query(None);
    if !others.is_empty() {
        parsed.query_pairs_mut().extend_pairs(others);
    }
    parsed.into()
}

/// Whether the address itself says which model is asked for. Any text is accepted.
pub fn names_model(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| url.query_pairs().any(|(name, _)| name == "model"))
}

/// The address to connect to, including the model if the protocol has it in the query.
fn address(settings: &EndpointSettings, protocol: Protocol) -> Result<Url, Failure> {
    let profile = protocol.profile();
    let model = settings.model.trim();
    if model.is_empty() {
        return Err(Failure::new(
            Kind::Settings,
            "No model is set.",
            "Set the model property, for instance to qwen3-asr-flash-realtime.",
        ));
    }
    let url = settings.url.as_deref().map(str::trim);
    let mut url = match url.filter(|url| !url.is_empty()) {
        Some(url) => parse(url)?,
        None if profile.self_hosted => {
            return Err(Failure::new(
                Kind::Settings,
                format!("The service does not speak the {} protocol.", profile.nick),
                format!(
                    "Set the url property to your server, such as ws://127.0.0.1:8000{}.",
                    profile.path
                ),
            ));
        }
        None if settings.region == Region::Singapore && (profile.beijing_only)(model) => {
            return Err(Failure::new(
                Kind::Settings,
                format!("The model '{model}' is served in Beijing only."),
                "Set region=beijing, and an API key of that region.",
            ));
        }
        None => official(settings)?,
    };
    if matches!(url.path(), "" | "/") {
        url.set_path(profile.path);
    }
    let tells_model =
        profile.model_in_query && (!profile.self_hosted || checks::is_own_model(model));
    if tells_model && !names_model(url.as_str()) {
        url.query_pairs_mut().append_pair("model", model);
    }
    Ok(url)
}

fn is_authorization(name: &str) -> bool {
    name.eq_ignore_ascii_case("authorization")
}

/// Checks that the header is valid and not one of the upgrade's own.
fn check_header(name: &str, value: &Secret) -> Result<(), Failure> {
    const RESERVED: [&str; 5] = [
        "connection",
        "content-length",
        "host",
        "transfer-encoding",
        "upgrade",
    ];
    let bad = |what: String, remedy| Err(Failure::new(Kind::Settings, what, remedy));
    let Ok(parsed) = HeaderName::from_bytes(name.as_bytes()) else {
        // Not quoted: name and value may have been swapped.
        return bad(
            "The headers property has a name that no header can have.".to_owned(),
            "Use letters, digits and hyphens for the names of headers.",
        );
    };
    let lower = parsed.as_str();
    if RESERVED.contains(&lower) || lower.starts_with("sec-websocket-") {
        return bad(
            format!("The header {name} belongs to the connection itself."),
            "Leave it out of the headers property.",
        );
    }
    if HeaderValue::from_str(value.reveal()).is_err() {
        return bad(
            format!("The value of the header {name} holds characters that no header can have."),
            "Take line breaks and other control characters out of the headers property.",
        );
    }
    Ok(())
}

fn parse(text: &str) -> Result<Url, Failure> {
    const REMEDY: &str = "Set the url property to something like wss://host, or leave it unset.";
    let bad = |what: String| Failure::new(Kind::Settings, what, REMEDY);
    // The text itself is not quoted: it may hold credentials.
    let url = Url::parse(text).map_err(|error| bad(format!("The URL is not valid: {error}.")))?;
    if !matches!(url.scheme(), "ws" | "wss") {
        let what = format!(
            "The URL has the scheme '{}' where ws or wss is needed.",
            url.scheme()
        );
        return Err(bad(what));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(bad("The URL names no host.".into()));
    }
    if url.port() == Some(0) {
        return Err(bad("The URL has the port 0, where no server can be.".into()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Failure::new(
            Kind::Settings,
            "The URL holds a user name or password.",
            "Leave them out of the url property and set api-key instead.",
        ));
    }
    Ok(url)
}

fn official(settings: &EndpointSettings) -> Result<Url, Failure> {
    let host = match workspace(settings)? {
        None => settings.region.legacy_host().to_owned(),
        Some(workspace) => format!("{workspace}.{}", settings.region.workspace_domain()),
    };
    parse(&format!("wss://{host}"))
}

fn workspace(settings: &EndpointSettings) -> Result<Option<&str>, Failure> {
    let Some(workspace) = settings.workspace.as_deref().map(str::trim) else {
        return Ok(None);
    };
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if workspace.len() > 63 || !workspace.bytes().all(is_letter) {
        return Err(Failure::new(
            Kind::Settings,
            "The workspace id is not valid.",
            "Set the workspace property to the id that the console shows: at most 63 letters, \
             digits and hyphens.",
        ));
    }
    Ok(Some(workspace).filter(|workspace| !workspace.is_empty()))
}

/// The workspace, if the URL is one of the service's without that workspace in its host's name.
fn untold_workspace(settings: &EndpointSettings, url: &Url) -> Result<Option<String>, Failure> {
    if !is_official(url) {
        return Ok(None);
    }
    let host = url.host_str().unwrap_or_default();
    let is_told = |workspace: &&str| host.split('.').next() == Some(&workspace.to_lowercase());
    let workspace = workspace(settings)?.filter(|workspace| !is_told(workspace));
    Ok(workspace.map(str::to_owned))
}

/// The domains of the public service: Alibaba Cloud's own, and those of Qwen Cloud, where the
/// workspace is a header instead of a part of the host's name.
const DOMAINS: [&str; 3] = ["aliyuncs.com", "qwencloudapi.com", "qianwenaiapi.com"];

/// Whether this is a host of the public service, which requires a key; other servers may not.
fn is_official(url: &Url) -> bool {
    let is_in = |host: &str, domain| {
        let rest = host.strip_suffix(domain);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    url.host_str()
        .is_some_and(|host| DOMAINS.into_iter().any(|domain| is_in(host, domain)))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => is_localhost(name),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).to_canonical().is_loopback(),
        None => false,
    }
}

/// Whether the name is this machine's, whatever DNS says (RFC 6761 §6.3).
pub fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests;
