// SPDX-License-Identifier: MPL-2.0
//! Which proxy the environment asks for.

mod conversation;

use super::*;
use crate::protocol::{EndpointSettings, Protocol, Secret};

/// The proxy for a URL in the given environment.
fn proxy(url: &str, environment: &[(&str, &str)]) -> Result<Option<Proxy>, Failure> {
    let settings = EndpointSettings {
        url: Some(url.into()),
        model: "m".into(),
        ..EndpointSettings::default()
    };
    let endpoint = Endpoint::new(settings, Protocol::Realtime).unwrap();
    Proxy::of(&endpoint, &|name| {
        let mut variables = environment.iter();
        let found = variables.find(|(variable, _)| *variable == name)?;
        Some(found.1.into())
    })
}

#[test]
fn the_variables_are_looked_at_in_this_order() {
    let (wss, ws) = ("wss://example.org", "ws://example.org");
    for (url, environment, expected) in [
        (wss, &[][..], None),
        (wss, &[("HTTP_PROXY", "a:1")], None),
        (ws, &[("HTTPS_PROXY", "a:1")], None),
        (
            wss,
            &[("https_proxy", "a:1"), ("ALL_PROXY", "b:1")],
            Some("a:1"),
        ),
        (
            wss,
            &[("https_proxy", "a:1"), ("HTTPS_PROXY", "b:1")],
            Some("b:1"),
        ),
        (
            ws,
            &[("http_proxy", "a:1"), ("ALL_PROXY", "b:1")],
            Some("a:1"),
        ),
        (wss, &[("all_proxy", "a:1")], Some("a:1")),
        (
            wss,
            &[("all_proxy", "a:1"), ("ALL_PROXY", "b:1")],
            Some("b:1"),
        ),
        // An empty variable hides its other spelling, and ALL_PROXY applies.
        (wss, &[("https_proxy", "a:1"), ("HTTPS_PROXY", "")], None),
        (
            wss,
            &[("HTTPS_PROXY", " "), ("ALL_PROXY", "b:1")],
            Some("b:1"),
        ),
        (
            ws,
            &[("HTTP_PROXY", "a:1"), ("REQUEST_METHOD", "GET")],
            None,
        ),
    ] {
        let proxy = proxy(url, environment)
            .unwrap()
            .map(|proxy| proxy.to_string());
        assert_eq!(proxy.as_deref(), expected, "{url} {environment:?}");
    }
}

#[test]
fn addresses_are_read_with_all_that_people_put_into_passwords() {
    use Scheme::*;
    let (local, remote) = (Socks5 { looks_up: false }, Socks5 { looks_up: true });
    for (value, scheme, shown, credentials) in [
        ("http://proxy:3128", Http, "proxy:3128", None),
        ("proxy:3128", Http, "proxy:3128", None),
        (" http://proxy:3128/ ", Http, "proxy:3128", None),
        ("HTTP://PROXY", Http, "proxy:80", None),
        ("https://proxy", Https, "proxy:443", None),
        ("socks5://proxy", local, "proxy:1080", None),
        ("socks5h://proxy:80", remote, "proxy:80", None),
        ("http://[::1]:3128", Http, "[::1]:3128", None),
        ("socks5://[::1]", local, "[::1]:1080", None),
        ("http://192.0.2.1", Http, "192.0.2.1:80", None),
        ("http://me:pw@proxy:1", Http, "proxy:1", Some(("me", "pw"))),
        ("me:pw@proxy:1", Http, "proxy:1", Some(("me", "pw"))),
        ("http://me@proxy:1", Http, "proxy:1", Some(("me", ""))),
        (
            "http://me:p%40s%2fs@proxy:1",
            Http,
            "proxy:1",
            Some(("me", "p@s/s")),
        ),
        (
            "http://me:p@s:s@proxy:1",
            Http,
            "proxy:1",
            Some(("me", "p@s:s")),
        ),
        (
            "http://me:hunter2#secret@proxy:1",
            Http,
            "proxy:1",
            Some(("me", "hunter2#secret")),
        ),
        (
            "http://me:hunter2/secret@proxy:1",
            Http,
            "proxy:1",
            Some(("me", "hunter2/secret")),
        ),
        (
            "http://me:hunter2?secret@proxy:1",
            Http,
            "proxy:1",
            Some(("me", "hunter2?secret")),
        ),
        (
            "socks5://me:100%@proxy:1",
            local,
            "proxy:1",
            Some(("me", "100%")),
        ),
    ] {
        let proxy = proxy("wss://example.org", &[("https_proxy", value)]);
        let proxy = proxy
            .unwrap_or_else(|failure| panic!("{value}: {failure}"))
            .unwrap();
        assert_eq!(proxy.scheme, scheme, "{value}");
        assert_eq!(proxy.to_string(), shown, "{value}");
        let expected = credentials.map(|(user, password)| (user.to_owned(), password.to_owned()));
        assert_eq!(proxy.credentials, expected, "{value}");
    }
}

#[test]
fn what_cannot_be_used_is_an_error_that_shows_nothing_but_the_variable() {
    for value in [
        "ftp://hunter2",
        "httpx://hunter2",
        "quic://hunter2:1",
        "socks://hunter2:1",
        "socks4://hunter2:1",
        "socks4a://hunter2:1",
        "::::hunter2",
        "::::",
        "http://",
        "socks5://",
        "http://me:hunter2@",
        "http://me:hunter2@:80",
        "http://me:hunter2@proxy:port",
        "http://me:hunter2@pro xy:80",
        "http://me:hunter2@proxy:99999",
        "me:hun://ter2@proxy",
    ] {
        let Err(failure) = proxy("wss://example.org", &[("ALL_PROXY", value)]) else {
            panic!("{value}");
        };
        assert_eq!(failure.kind, Kind::Settings, "{value}");
        let text = failure.to_string();
        assert!(text.contains("ALL_PROXY"), "{value}: {text}");
        assert!(
            !text.contains("hunter2") && !text.contains("ter2"),
            "{value}: {text}"
        );
    }
}

#[test]
fn nothing_that_stays_here_goes_through_a_proxy() {
    for (url, through) in [
        ("ws://127.0.0.1:9", false),
        ("ws://127.8.8.8:9", false),
        ("ws://[::1]:9", false),
        ("ws://[::ffff:127.0.0.1]:9", false),
        ("ws://localhost:9", false),
        ("ws://LocalHost.:9", false),
        ("wss://asr.localhost", false),
        // Other spellings of 127.0.0.1.
        ("ws://2130706433", false),
        ("ws://0x7f.1", false),
        ("ws://localhost.example.org", true),
        ("ws://notlocalhost", true),
        ("ws://128.0.0.1", true),
    ] {
        // Not even one that cannot be used.
        for value in ["http://proxy:3128", "::::"] {
            let proxy = proxy(url, &[("ALL_PROXY", value)]);
            assert_eq!(!matches!(proxy, Ok(None)), through, "{url} {value}");
        }
    }
}

#[test]
fn no_proxy_is_understood_in_all_its_forms() {
    for (url, list, exempt) in [
        ("wss://a.example.org", "", false),
        ("wss://a.example.org", "*", true),
        ("wss://192.0.2.1", "*", true),
        ("wss://[2001:db8::1]", "*", true),
        ("wss://a.example.org", "b.example.org, example.org", true),
        ("wss://a.example.org", "b.example.org example.org", true),
        ("wss://a.example.org", "EXAMPLE.ORG.", true),
        ("wss://a.example.org.", "example.org", true),
        ("wss://a.example.org", ".example.org", true),
        ("wss://example.org", ".example.org", true),
        ("wss://a.example.org", "*.example.org", true),
        ("wss://example.org", "*.example.org", false),
        ("wss://example.org", "ple.org", false),
        ("wss://example.org", "a.example.org", false),
        ("wss://example.org", ".", false),
        ("wss://example.org", "example.org:443", true),
        ("wss://example.org", "example.org:80", false),
        ("ws://example.org", "example.org:80", true),
        ("wss://example.org:8443", ".org:8443", true),
        ("wss://192.0.2.1", "192.0.2.1", true),
        ("wss://192.0.2.1", "192.0.2.1:443", true),
        ("wss://192.0.2.1", "192.0.2.1:444", false),
        ("wss://192.0.2.1", "192.0.2.0/24", true),
        ("wss://192.0.3.1", "192.0.2.0/24", false),
        ("wss://192.0.2.1", "0.2.1", false),
        ("wss://[2001:db8::1]", "2001:db8::1", true),
        ("wss://[2001:db8::1]", "[2001:db8::1]", true),
        ("wss://[2001:db8::1]", "[2001:db8::1]:443", true),
        ("wss://[2001:db8::1]", "[2001:db8::1]:1", false),
        ("wss://[2001:db8::1]", "2001:db8::/32", true),
        ("wss://[2001:db9::1]", "2001:db8::/32", false),
        ("wss://[::ffff:192.0.2.1]", "192.0.2.1", true),
    ] {
        let environment = [("ALL_PROXY", "proxy"), ("no_proxy", list)];
        let proxy = proxy(url, &environment).unwrap();
        assert_eq!(proxy.is_none(), exempt, "{url} {list:?}");
    }
}

#[test]
fn a_key_goes_unencrypted_to_a_proxy_only_if_that_is_wanted() {
    // What an endpoint lets pass at all, so that no proxy has to be asked for.
    let settings = |url: &str, allow_insecure| EndpointSettings {
        url: Some(url.into()),
        model: "m".into(),
        key: Secret::new("sk-1").map(crate::protocol::KeySource::Given),
        allow_insecure,
        ..EndpointSettings::default()
    };
    for (url, allow_insecure, through) in [
        ("ws://example.org", false, None),
        ("ws://example.org", true, Some(true)),
        ("wss://example.org", false, Some(true)),
        ("ws://127.0.0.1", false, Some(false)),
    ] {
        let endpoint = Endpoint::new(settings(url, allow_insecure), Protocol::Realtime).ok();
        let asked = endpoint.map(|endpoint| {
            let proxy = Proxy::of(&endpoint, &|name| {
                (name == "ALL_PROXY").then(|| "proxy".into())
            });
            proxy.unwrap().is_some()
        });
        assert_eq!(asked, through, "{url}");
    }
}
