// SPDX-License-Identifier: MPL-2.0
//! A list of models: when the service does not have one, the next is used, and no word is lost by
//! that.

use super::common::*;
use super::streams::Streams;

/// A model that the service has, and two of the same protocol that it has no more.
fn models(protocol: Protocol) -> [String; 3] {
    let name = match protocol {
        Protocol::Realtime => "qwen3-asr-flash-realtime",
        Protocol::LiveTranslate => "qwen3.8-livetranslate-flash-realtime",
        Protocol::Inference => "fun-asr-realtime",
        Protocol::Vllm | Protocol::OpenAi | Protocol::SglangOmni => "mine",
    };
    [name, &format!("{name}-a"), &format!("{name}-b")].map(str::to_owned)
}

/// A service that has this model only.
fn having(protocol: Protocol, model: &str) -> Service {
    service(protocol, |options| {
        options.known_models = Some(vec![model.to_owned()]);
    })
}

pub fn the_next_one_is_used_and_no_word_is_lost(protocol: Protocol) {
    let [model, gone, other] = models(protocol);
    let server = having(protocol, &model);
    let speech = Speech::usual(16_000);
    let list = format!(" {gone}  {model} {other}");
    let mut streams = Streams::new(&server, &format!("model=\"{list}\""));
    streams.begin("a");
    streams.push(speech.buffers(&[320], 0));
    // A session of its own.
    streams.begin("b");
    streams.push(speech.buffers(&[320], 0));
    streams.end();
    let texts = streams.rig.texts();
    let (first, second) = texts.split_at(texts.len() / 2);
    server.check_cues(&speech, first, 0);
    server.check_cues(&speech, second, 0);
    let warnings = &streams.rig.warnings;
    let of_models = warnings.iter().filter(|text| text.contains("model prop"));
    let [warning] = of_models.collect::<Vec<_>>()[..] else {
        panic!("{warnings:?}");
    };
    for named in [
        &format!("'{gone}'"),
        &format!("'{model}'"),
        "model property",
    ] {
        assert!(warning.contains(named), "{warning}");
    }
    assert_eq!(server.connections(), 1 + 2 * server.connections_for(3));
    assert_eq!(streams.rig.stat("outages"), 0);
}

pub fn with_none_left_it_is_an_error(protocol: Protocol) {
    let [model, gone, other] = models(protocol);
    let server = having(protocol, &model);
    let mut rig = Rig::with(&server, 16_000, &format!("model=\"{gone} {other}\""));
    rig.play();
    rig.push_all(Speech::usual(16_000).buffers(&[320], 0));
    let (error, details) = rig.wait_for_error();
    assert!(error.matches(gst::ResourceError::NotFound), "{error}");
    assert!(error.message().contains(&format!("'{other}'")), "{error}");
    assert_eq!(details.get::<&str>("kind").unwrap(), "not-found");
    assert!(rig.warnings.iter().any(|text| text.contains(&gone)));
}

#[test]
fn all_of_a_list_are_checked_before_connecting() {
    let server = service(Protocol::Realtime, |_| {});
    let [realtime, inference] = ["qwen3-asr-flash-realtime", "fun-asr-realtime"];
    let host = format!("ws://127.0.0.1:{}", server.port());
    let named = format!("{}?model={realtime}", server.url());
    for (url, models, says) in [
        (
            host.as_str(),
            format!("{realtime} {inference}"),
            "Name only models of one protocol",
        ),
        (
            &host,
            format!("{inference} fun-asr-flash-8k-realtime"),
            "rate=8000",
        ),
        (&named, format!("{realtime} {realtime}-b"), "url property"),
    ] {
        let mut rig = Rig::new(16_000, url, &format!("model=\"{models}\""));
        rig.play();
        rig.push_all(Speech::usual(16_000).buffers(&[320], 0));
        let (error, details) = rig.wait_for_error();
        assert_eq!(details.get::<&str>("kind").unwrap(), "settings", "{models}");
        assert!(error.message().contains(says), "{error}");
    }
    assert_eq!(server.connections(), 0);
}

#[test]
fn what_one_of_a_list_cannot_be_told_is_a_warning() {
    let server = having(Protocol::Inference, "fun-asr-realtime");
    let list = "model=\"fun-asr-realtime paraformer-realtime-v2\" context=Names";
    let mut rig = Rig::with(&server, 16_000, list);
    rig.run(Speech::usual(16_000).buffers(&[320], 0));
    let about: Vec<_> = rig
        .warnings
        .iter()
        .filter(|text| text.contains("takes no context"))
        .collect();
    assert!(
        about.iter().any(|text| text.contains("paraformer")),
        "{about:?}"
    );
}
