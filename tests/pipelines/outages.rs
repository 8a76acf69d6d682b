// SPDX-License-Identifier: MPL-2.0
//! Whatever happens to a connection: every word once, in order, at its time, and one warning.

use super::common::*;
use gst::prelude::*;
use offline_service::faults::{CloseFault, ErrorFault, Items};
use offline_service::{Faults, RawFrame};

/// Long enough for a busy machine.
const PATIENT: &str = "max-speed=50 response-timeout=5000 connect-timeout=5000";

/// For a service that has stopped answering.
const IMPATIENT: &str = "max-speed=50 response-timeout=700 connect-timeout=700";

fn stalls(faults: &Faults) -> bool {
    faults.stall_handshake
        || faults.stall_created
        || faults.stall_updated
        || faults.stall_after_ms.is_some()
}

/// The faults of a first connection that must not cost a word, by name.
fn faults() -> Vec<(&'static str, Faults)> {
    let first = |faults: Faults| Faults {
        only_first: true,
        ..faults
    };
    let close = |after_ms, code| {
        let close = CloseFault {
            after_ms,
            code,
            reason: "Internal server error".into(),
        };
        first(Faults {
            close: Some(close),
            ..Faults::default()
        })
    };
    let mut faults = vec![
        (
            "no answer to the request",
            first(Faults {
                stall_handshake: true,
                ..Faults::default()
            }),
        ),
        (
            "HTTP 503",
            first(Faults {
                http_status: Some((503, String::new())),
                ..Faults::default()
            }),
        ),
        (
            "nothing after the upgrade",
            first(Faults {
                stall_created: true,
                ..Faults::default()
            }),
        ),
        (
            "no answer to the settings",
            first(Faults {
                stall_updated: true,
                ..Faults::default()
            }),
        ),
        (
            "an error event",
            first(Faults {
                error: Some(ErrorFault {
                    after_ms: 3400,
                    code: "internal_error".into(),
                    message: "boom".into(),
                    close: None,
                }),
                ..Faults::default()
            }),
        ),
        (
            "bytes that are no frame",
            first(Faults {
                inject: vec![(3400, RawFrame::Bytes(vec![0xff; 64]))],
                ..Faults::default()
            }),
        ),
        (
            "closed instead of finished",
            first(Faults {
                close_on_finish: Some(1011),
                ..Faults::default()
            }),
        ),
        (
            "a final missing at the end",
            first(Faults {
                never_complete: Items::nth(2),
                close_on_finish: Some(1011),
                ..Faults::default()
            }),
        ),
    ];
    // In the first utterance, between two, and in the last one.
    for after_ms in [1200, 2700, 3400, 5000, 8000] {
        faults.push((
            "reset",
            first(Faults {
                reset_after_ms: Some(after_ms),
                ..Faults::default()
            }),
        ));
        faults.push((
            "deaf and dumb",
            first(Faults {
                stall_after_ms: Some(after_ms),
                ..Faults::default()
            }),
        ));
    }
    for code in [1000, 1007, 1009, 1011] {
        faults.push(("close", close(3400, code)));
    }
    faults
}

#[test]
fn no_word_is_lost_or_doubled() {
    let speech = Speech::usual(16_000);
    for (policy, live) in [("error", false), ("continue", true)] {
        for (name, faults) in faults() {
            let server = server(|options| options.faults = faults.clone());
            let stalls = stalls(&faults);
            let timeouts = if stalls { IMPATIENT } else { PATIENT };
            let properties = format!("{timeouts} failure-policy={policy}");
            let mut rig = Rig::launch(&format!(
                "appsrc name=src is-live={live} format=time caps=audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved \
                 ! qwenasr name=asr url={} {properties} ! fakesink name=out sync=false async=false",
                server.url()
            ));
            rig.run(speech.buffers(&[320], 0));
            let texts = rig.texts();
            check_cues(&speech, &texts, 0);
            assert_eq!(
                numbers(&rig.finals().join(" ")),
                speech.numbers(),
                "{name} {policy}"
            );
            // On a busy machine an impatient client may lose a healthy service too.
            let stats = rig.element.property::<gst::Structure>("stats");
            let outages = stats.get::<u64>("outages").unwrap();
            let warnings = rig.warnings.len() as u64;
            assert!(
                warnings == outages || (outages == 0 && warnings <= 1),
                "{name} {policy}: {:?}",
                rig.warnings
            );
            let reconnected = server.connections() > 1;
            assert_eq!(outages > 0, reconnected, "{name} {policy}");
            assert!(
                outages <= 1 || stalls,
                "{name} {policy}: {:?}",
                rig.warnings
            );
        }
    }
}

#[test]
fn commits_survive_an_outage() {
    let faults = Faults {
        only_first: true,
        reset_after_ms: Some(2500),
        ..Faults::default()
    };
    let server = server(|options| options.faults = faults);
    let speech = Speech::new(16_000).say(0..60);
    let mut rig = Rig::new(
        16_000,
        &server.url(),
        &format!("{PATIENT} turn-detection=manual"),
    );
    rig.run(speech.buffers(&[320], 0));
    assert_eq!(numbers(&rig.finals().join(" ")), speech.numbers());
    assert_eq!(server.connections(), 2);
}

#[test]
fn an_operator_is_told_what_goes_on() {
    let faults = Faults {
        only_first: true,
        reset_after_ms: Some(3400),
        ..Faults::default()
    };
    let server = server(|options| options.faults = faults);
    let mut rig = Rig::new(16_000, &server.url(), PATIENT);
    rig.run(Speech::usual(16_000).buffers(&[320], 0));
    let states: Vec<(String, bool)> = rig
        .messages
        .iter()
        .filter(|s| s.name() == "qwenasr/connection")
        .map(|s| {
            (
                s.get("state").unwrap(),
                !s.get::<String>("reason").unwrap().is_empty(),
            )
        })
        .collect();
    let states: Vec<(&str, bool)> = states
        .iter()
        .map(|(state, why)| (state.as_str(), *why))
        .collect();
    assert_eq!(
        states,
        [
            ("connecting", false),
            ("connected", false),
            ("reconnecting", true),
            ("connected", false),
            ("finishing", false),
            ("idle", false),
        ]
    );
    let stats = rig.element.property::<gst::Structure>("stats");
    assert_eq!(stats.get::<u64>("reconnects").unwrap(), 1);
}

#[test]
fn continue_runs_on_without_captions_whatever_the_cause() {
    let server = server(|options| options.api_key = Some("right".into()));
    for properties in [
        "api-key=wrong",
        "model=\"\"",
        "language-code=tlh",
        "url=nonsense",
    ] {
        let speech = Speech::usual(16_000);
        let mut rig = Rig::new(
            16_000,
            &server.url(),
            &format!("failure-policy=continue finish-timeout=200 max-queue-time=1000 {properties}"),
        );
        rig.run(speech.buffers(&[320], 0));
        assert!(rig.texts().is_empty());
        assert_eq!(
            rig.left().last(),
            Some(&Left::Event("eos".into())),
            "{properties}"
        );
        assert!(
            !rig.warnings.is_empty() && rig.warnings.len() <= 2,
            "{properties}: {:?}",
            rig.warnings
        );
    }
}

#[test]
fn an_error_is_final_once_the_retries_are_used_up() {
    let server = server(|options| {
        options.faults = Faults {
            http_status: Some((503, String::new())),
            ..Faults::default()
        };
    });
    let mut rig = Rig::new(16_000, &server.url(), "max-retries=2");
    rig.play();
    rig.push_all(Speech::usual(16_000).buffers(&[320], 0));
    let (error, details) = rig.wait_for_error();
    assert!(error.matches(gst::ResourceError::OpenReadWrite), "{error}");
    assert_eq!(details.get::<u32>("http-status").unwrap(), 503);
    assert_eq!(server.connections(), 3);
    assert_eq!(rig.warnings.len(), 1, "{:?}", rig.warnings);
    assert!(
        rig.warnings[0].ends_with("Trying again."),
        "{:?}",
        rig.warnings
    );
}

#[test]
fn stopping_is_quick_between_two_attempts() {
    let server = server(|options| {
        options.faults = Faults {
            http_status: Some((429, String::new())),
            ..Faults::default()
        };
    });
    let mut rig = Rig::new(16_000, &server.url(), "");
    rig.play();
    rig.push_all(Speech::usual(16_000).buffers(&[320], 0));
    rig.wait_for_state("reconnecting");
    let start = std::time::Instant::now();
    rig.stop();
    assert!(
        start.elapsed() < std::time::Duration::from_millis(200),
        "{:?}",
        start.elapsed()
    );
}
