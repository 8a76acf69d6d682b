// SPDX-License-Identifier: MPL-2.0
//! Where to connect and with which credentials.

use std::fmt;
use std::net::IpAddr;

use url::{Host, Url};

use super::{Failure, Kind, Protocol};

/// A text that must not be seen: its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// `None` for a blank text.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Secret(text.to_owned()))
    }

    /// The text itself, for the wire.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

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

/// What the user said about where to connect.
#[derive(Debug, Clone, Default)]
pub struct EndpointSettings {
    /// Whole endpoint; overrides region and workspace.
    pub url: Option<String>,
    pub region: Region,
    /// Workspace id: its own host is used then.
    pub workspace: Option<String>,
    pub model: String,
    pub key: Option<Secret>,
    /// Let the key travel unencrypted to a host that is not this machine.
    pub allow_insecure: bool,
}

/// A checked address with its credentials.
#[derive(Debug, Clone)]
pub struct Endpoint {
    url: Url,
    key: Option<Secret>,
}

impl Endpoint {
    /// Checks what the user said.
    pub fn new(settings: EndpointSettings, protocol: Protocol) -> Result<Self, Failure> {
        let profile = protocol.profile();
        let EndpointSettings {
            url,
            region,
            workspace,
            model,
            key,
            allow_insecure,
        } = settings;
        if model.trim().is_empty() {
            return Err(Failure::new(
                Kind::Settings,
                "No model is set.",
                "Set the model property, for instance to qwen3-asr-flash-realtime.",
            ));
        }
        let mut url = match url.as_deref().map(str::trim).filter(|url| !url.is_empty()) {
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
            None if region == Region::Singapore && (profile.beijing_only)(model.trim()) => {
                return Err(Failure::new(
                    Kind::Settings,
                    format!("The model '{}' is served in Beijing only.", model.trim()),
                    "Set region=beijing, and an API key of that region.",
                ));
            }
            None => official(region, workspace.as_deref())?,
        };
        if matches!(url.path(), "" | "/") {
            url.set_path(profile.path);
        }
        if key.is_none() && is_official(&url) {
            return Err(Failure::new(
                Kind::Unauthorized,
                "No API key is set.",
                "Set the api-key or api-key-file property, or DASHSCOPE_API_KEY in the \
                 environment; for a service that needs no key set the url property.",
            ));
        }
        if key.is_some() && url.scheme() == "ws" && !is_loopback(&url) && !allow_insecure {
            return Err(Failure::new(
                Kind::Settings,
                "The API key would travel unencrypted.",
                "Use a wss:// URL, or set allow-insecure=true if that network can be trusted.",
            ));
        }
        if profile.model_in_query && !url.query_pairs().any(|(name, _)| name == "model") {
            url.query_pairs_mut().append_pair("model", &model);
        }
        Ok(Endpoint { url, key })
    }

    /// The address to connect to.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Whether this is a host of the service itself, with its limits.
    pub fn is_official(&self) -> bool {
        is_official(&self.url)
    }

    /// Whether this is this machine itself.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.url)
    }

    pub fn key(&self) -> Option<&Secret> {
        self.key.as_ref()
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
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Failure::new(
            Kind::Settings,
            "The URL holds a user name or password.",
            "Leave them out of the url property and set api-key instead.",
        ));
    }
    Ok(url)
}

fn official(region: Region, workspace: Option<&str>) -> Result<Url, Failure> {
    let host = match workspace
        .map(str::trim)
        .filter(|workspace| !workspace.is_empty())
    {
        None => region.legacy_host().to_owned(),
        Some(workspace) => {
            let valid = workspace.len() <= 63
                && workspace
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-');
            if !valid {
                return Err(Failure::new(
                    Kind::Settings,
                    "The workspace id is not valid.",
                    "Set the workspace property to the id that the console shows: at most 63 \
                     letters, digits and hyphens.",
                ));
            }
            format!("{workspace}.{}", region.workspace_domain())
        }
    };
    parse(&format!("wss://{host}"))
}

/// The public service takes nobody without a key; other servers may.
fn is_official(url: &Url) -> bool {
    url.host_str()
        .is_some_and(|host| host == "aliyuncs.com" || host.ends_with(".aliyuncs.com"))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => is_localhost(name),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).to_canonical().is_loopback(),
        None => false,
    }
}

/// Whether the name is this machine's, whatever a name service says (RFC 6761 §6.3).
pub fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: Option<&str>, key: Option<&str>) -> EndpointSettings {
        EndpointSettings {
            url: url.map(str::to_owned),
            model: "m".into(),
            key: key.and_then(Secret::new),
            ..Default::default()
        }
    }

    #[test]
    fn region_and_workspace_pick_the_host() {
        for (region, workspace, expected) in [
            (
                Region::Singapore,
                None,
                "wss://dashscope-intl.aliyuncs.com/api-ws/v1/realtime?model=m",
            ),
            (
                Region::Beijing,
                None,
                "wss://dashscope.aliyuncs.com/api-ws/v1/realtime?model=m",
            ),
            (
                Region::Singapore,
                Some("ws-1"),
                "wss://ws-1.ap-southeast-1.maas.aliyuncs.com/api-ws/v1/realtime?model=m",
            ),
            (
                Region::Beijing,
                Some("ws-1"),
                "wss://ws-1.cn-beijing.maas.aliyuncs.com/api-ws/v1/realtime?model=m",
            ),
        ] {
            let settings = EndpointSettings {
                region,
                workspace: workspace.map(str::to_owned),
                ..settings(None, Some("sk-1"))
            };
            assert_eq!(
                Endpoint::new(settings, Protocol::Realtime)
                    .unwrap()
                    .url()
                    .as_str(),
                expected
            );
        }
    }

    #[test]
    fn the_model_is_added_to_a_url_unless_it_names_one() {
        let endpoint = Endpoint::new(
            settings(Some("ws://127.0.0.1:1/x?model=y"), None),
            Protocol::Realtime,
        );
        assert_eq!(
            endpoint.unwrap().url().as_str(),
            "ws://127.0.0.1:1/x?model=y"
        );
        let endpoint = Endpoint::new(
            settings(Some("ws://127.0.0.1:1/x"), None),
            Protocol::Realtime,
        );
        assert_eq!(
            endpoint.unwrap().url().as_str(),
            "ws://127.0.0.1:1/x?model=m"
        );
    }

    #[test]
    fn wrong_settings_fail_with_a_remedy_and_without_the_secret() {
        for (url, key, kind, remedy) in [
            (Some("http://h/"), None, Kind::Settings, "url property"),
            (Some("ws://"), None, Kind::Settings, "url property"),
            (Some("no url"), None, Kind::Settings, "url property"),
            (
                Some("wss://me:sk-secret@h/"),
                None,
                Kind::Settings,
                "api-key",
            ),
            (
                Some("ws://example.org/"),
                Some("sk-secret"),
                Kind::Settings,
                "allow-insecure",
            ),
            (None, None, Kind::Unauthorized, "DASHSCOPE_API_KEY"),
            (
                Some("wss://dashscope.aliyuncs.com/"),
                None,
                Kind::Unauthorized,
                "api-key",
            ),
        ] {
            let failure = Endpoint::new(settings(url, key), Protocol::Realtime).unwrap_err();
            assert_eq!(failure.kind, kind, "{url:?}");
            assert!(failure.remedy.contains(remedy), "{url:?}: {failure}");
            assert!(!failure.to_string().contains("sk-secret"), "{failure}");
        }
    }

    #[test]
    fn a_key_travels_in_the_clear_only_where_that_is_safe_or_wanted() {
        for url in [
            "ws://localhost/",
            "ws://127.1.2.3:80/",
            "ws://[::1]/",
            "wss://example.org/",
        ] {
            assert!(
                Endpoint::new(settings(Some(url), Some("k")), Protocol::Realtime).is_ok(),
                "{url}"
            );
        }
        let settings = EndpointSettings {
            allow_insecure: true,
            ..settings(Some("ws://example.org/"), Some("k"))
        };
        assert!(Endpoint::new(settings, Protocol::Realtime).is_ok());
    }

    #[test]
    fn a_secret_shows_nothing_of_itself() {
        let endpoint =
            Endpoint::new(settings(None, Some("sk-secret")), Protocol::Realtime).unwrap();
        assert!(!format!("{endpoint:?}").contains("sk-secret"));
        assert_eq!(Secret::new("  "), None);
    }

    #[test]
    fn bad_workspaces_and_models_are_refused() {
        let bad = EndpointSettings {
            workspace: Some("evil.example/".into()),
            ..settings(None, Some("k"))
        };
        assert_eq!(
            Endpoint::new(bad, Protocol::Realtime).unwrap_err().kind,
            Kind::Settings
        );
        let bad = EndpointSettings {
            model: " ".into(),
            ..settings(None, Some("k"))
        };
        assert!(
            Endpoint::new(bad, Protocol::Realtime)
                .unwrap_err()
                .remedy
                .contains("model property")
        );
    }

    #[test]
    fn loopback_has_many_names() {
        for (url, is_loopback) in [
            ("ws://127.0.0.1", true),
            ("ws://127.255.0.1", true),
            ("ws://[::1]", true),
            ("ws://[::ffff:127.0.0.1]", true),
            ("ws://localhost", true),
            ("ws://LOCALHOST.", true),
            ("ws://a.localhost", true),
            ("wss://192.0.2.1", false),
            ("wss://localhost.example.org", false),
            ("wss://xlocalhost", false),
        ] {
            let endpoint = Endpoint::new(settings(Some(url), None), Protocol::Realtime).unwrap();
            assert_eq!(endpoint.is_loopback(), is_loopback, "{url}");
        }
    }
}
