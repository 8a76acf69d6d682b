// SPDX-License-Identifier: MPL-2.0

use super::*;
use crate::protocol::KeyFile;

fn settings(url: Option<&str>, key: Option<&str>) -> EndpointSettings {
    EndpointSettings {
        url: url.map(str::to_owned),
        model: "m".into(),
        key: key.and_then(Secret::new).map(KeySource::Given),
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
fn a_workspace_is_told_where_the_host_does_not_name_it() {
    for (url, expected) in [
        (None, None),
        (Some("wss://WS-1.cn-beijing.maas.aliyuncs.com"), None),
        (
            Some("wss://ws-10.cn-beijing.maas.aliyuncs.com"),
            Some("ws-1"),
        ),
        (Some("wss://dashscope.aliyuncs.com"), Some("ws-1")),
        (Some("wss://maas.qwencloudapi.com"), Some("ws-1")),
        (Some("wss://maas.qianwenaiapi.com"), Some("ws-1")),
        (Some("wss://example.org"), None),
        (Some("wss://notqwencloudapi.com"), None),
    ] {
        let settings = EndpointSettings {
            workspace: Some(" ws-1".into()),
            ..settings(url, Some("sk-12345678"))
        };
        let endpoint = Endpoint::new(settings, Protocol::Realtime).unwrap();
        assert_eq!(endpoint.workspace(), expected, "{url:?}");
    }
}

#[test]
fn sessions_start_at_the_pace_of_the_account() {
    for (url, model, milliseconds) in [
        (None, "qwen3-asr-flash-realtime", Some(55)),
        (None, "qwen-audio-3.1-asr-flash-streaming", Some(110)),
        (None, "qwen-audio-3.1-asr-flash-message", Some(55)),
        (None, "fun-asr-realtime", Some(55)),
        (None, "qwen3.8-livetranslate-flash-realtime", Some(6600)),
        (
            Some("wss://maas.qwencloudapi.com"),
            "fun-asr-realtime",
            Some(55),
        ),
        (
            Some("wss://trial.ap-southeast-1.maas.aliyuncs.com"),
            "m",
            Some(55),
        ),
        (Some("ws://127.0.0.1:8000"), "Qwen/Qwen3-ASR-1.7B", None),
    ] {
        let settings = EndpointSettings {
            model: model.into(),
            ..settings(url, Some("sk-12345678"))
        };
        let protocol = Protocol::choose(None, url, model).unwrap();
        let endpoint = Endpoint::new(settings, protocol);
        let interval = endpoint.unwrap().start_interval();
        assert_eq!(interval, milliseconds.map(Duration::from_millis), "{model}");
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
            Some("ws://127.0.0.1:0"),
            None,
            Kind::Settings,
            "url property",
        ),
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
fn a_key_file_is_bound_by_the_same_rules_and_not_read_for_that() {
    let file = |url: Option<&str>| EndpointSettings {
        key: Some(KeySource::File(KeyFile::new("/nonexistent"))),
        ..settings(url, None)
    };
    let refused = Endpoint::new(file(Some("ws://example.org/")), Protocol::Realtime).unwrap_err();
    assert_eq!(refused.kind, Kind::Settings);
    assert!(refused.remedy.contains("allow-insecure"), "{refused}");
    for url in [None, Some("wss://example.org/"), Some("ws://localhost./")] {
        assert!(
            Endpoint::new(file(url), Protocol::Realtime).is_ok(),
            "{url:?}"
        );
    }
}

#[test]
fn a_key_that_cannot_be_one_is_refused_and_not_shown() {
    for (key, remedy) in [
        ("Bearer sk-secret", "only the key itself"),
        ("'sk-secret'", "quotes"),
        ("DASHSCOPE_API_KEY=sk-secret", "equals sign"),
        ("sk-secret\r\nX-Evil: 1", "DASHSCOPE_API_KEY"),
    ] {
        let failure = Endpoint::new(settings(None, Some(key)), Protocol::Realtime).unwrap_err();
        assert_eq!(failure.kind, Kind::Unauthorized, "{key}");
        assert!(failure.remedy.contains(remedy), "{failure}");
        assert!(!failure.to_string().contains("sk-secret"), "{failure}");
    }
}

fn with_headers(url: &str, headers: &[(&str, &str)]) -> EndpointSettings {
    let headers = headers.iter();
    EndpointSettings {
        headers: headers
            .map(|(name, value)| ((*name).to_owned(), Secret::new(value).unwrap()))
            .collect(),
        ..settings(Some(url), None)
    }
}

#[test]
fn headers_may_not_take_the_connection_apart() {
    for (name, value, good) in [
        ("X-Tenant", "a, b", true),
        ("Authorization", "Basic dXNlcjpwYXNz", true),
        ("User-Agent", "mine", true),
        ("Host", "elsewhere", false),
        ("UPGRADE", "h2c", false),
        ("connection", "close", false),
        ("Sec-WebSocket-Protocol", "chat", false),
        ("Content-Length", "5", false),
        ("Transfer-Encoding", "chunked", false),
        ("X-Evil", "a\r\nHost: b", false),
        ("X-Evil", "a\0b", false),
        ("X Evil", "sk-secret", false),
        ("X-Evil: a\r\nHost", "sk-secret", false),
        ("", "sk-secret", false),
    ] {
        let endpoint = Endpoint::new(
            with_headers("wss://example.org", &[(name, value)]),
            Protocol::Realtime,
        );
        match endpoint {
            Ok(_) => assert!(good, "{name:?}"),
            Err(failure) => {
                assert!(
                    !good && failure.kind == Kind::Settings,
                    "{name:?}: {failure}"
                );
                assert!(failure.to_string().contains("header"), "{failure}");
                assert!(!failure.to_string().contains("sk-secret"), "{failure}");
            }
        }
    }
}

#[test]
fn headers_are_credentials() {
    let tenant = [("X-Tenant", "a")];
    let refused = Endpoint::new(
        with_headers("ws://example.org", &tenant),
        Protocol::Realtime,
    );
    assert!(refused.unwrap_err().remedy.contains("allow-insecure"));
    let own = with_headers("ws://127.0.0.1", &tenant);
    assert!(Endpoint::new(own, Protocol::Realtime).is_ok());
    let allowed = EndpointSettings {
        allow_insecure: true,
        ..with_headers("ws://example.org", &tenant)
    };
    assert!(Endpoint::new(allowed, Protocol::Realtime).is_ok());

    // One of them is the key, where there is another authorization.
    let authorized = EndpointSettings {
        key: Secret::new("sk-12345678").map(KeySource::Given),
        ..with_headers(
            "wss://dashscope.aliyuncs.com",
            &[("authorization", "Bearer sk-87654321")],
        )
    };
    let endpoint = Endpoint::new(authorized, Protocol::Realtime).unwrap();
    assert!(endpoint.key().is_none());
    assert_eq!(endpoint.secrets(), [Secret::new("sk-87654321").unwrap()]);
}

#[test]
fn what_is_too_short_to_be_secret_is_no_secret() {
    for (key, secret) in [("key", false), ("sk-1", false), ("sk-12345", true)] {
        let endpoint = Endpoint::new(settings(None, Some(key)), Protocol::Realtime).unwrap();
        assert_eq!(endpoint.secrets().len(), usize::from(secret), "{key}");
    }
}

#[test]
fn a_url_is_shown_without_what_may_be_secret_in_it() {
    for (url, shown) in [
        ("wss://host", "wss://host/"),
        ("wss://host:8443/path", "wss://host:8443/path"),
        (
            "wss://host/path?model=x&token=s3cret",
            "wss://host/path?model=x&token=***",
        ),
        (
            "wss://host/?s3cret&a=&a=s3cret#s3cret",
            "wss://host/?***&a=***&a=***#***",
        ),
        ("wss://host/?%6dodel=s3cret", "wss://host/?%6dodel=***"),
        ("wss://me:s3cret@host/x", "wss://***@host/x"),
        ("wss://s3cret@[::1]:1/x", "wss://***@[::1]:1/x"),
        ("no url", "no url"),
        ("wss//me:s3cret@host", "***"),
        ("//host?token=s3cret", "***"),
    ] {
        assert_eq!(redacted(url), shown);
    }
    let url = Some("ws://127.0.0.1/?token=s3cret");
    let endpoint = Endpoint::new(settings(url, Some("sk-secret")), Protocol::Realtime).unwrap();
    let shown = format!("{endpoint:?}");
    assert!(shown.contains("token=***"));
    assert!(
        !shown.contains("s3cret") && !shown.contains("sk-secret"),
        "{shown}"
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

#[test]
fn translation_models_are_beside_the_others() {
    for (url, expected) in [
        ("wss://h/api-ws/v1/inference/", "wss://h/"),
        ("ws://h:8000", "ws://h:8000/"),
        (
            "ws://h/api-ws/v1/realtime?model=a&x=1&user=b%20c",
            "ws://h/?x=1&user=b+c",
        ),
        (
            "ws://h:8000/v1/realtime?intent=transcription",
            "ws://h:8000/",
        ),
        ("wss://gateway/speech?model=a", "wss://gateway/speech"),
        ("not a url", "not a url"),
    ] {
        assert_eq!(beside(url), expected, "{url}");
    }
    let settings = EndpointSettings {
        model: "qwen3.8-livetranslate-flash-realtime".into(),
        ..settings(Some(&beside("ws://127.0.0.1:1/api-ws/v1/inference")), None)
    };
    let endpoint = Endpoint::new(settings, Protocol::LiveTranslate).unwrap();
    let expected = "ws://127.0.0.1:1/api-ws/v1/realtime?model=qwen3.8-livetranslate-flash-realtime";
    assert_eq!(endpoint.url().as_str(), expected);
}
