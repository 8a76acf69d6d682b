// SPDX-License-Identifier: MPL-2.0
//! Whatever happens to a connection: every word once, in order, at its time, and one warning.

use super::common::*;
use gst::prelude::*;
use offline_service::Faults;
use offline_service::faults::{CloseFault, ErrorFault};
use std::time::Duration;

/// Long enough for a busy machine.
const PATIENT: &str = "max-speed=50 response-timeout=5000 connect-timeout=5000";

/// Faults that must not cost a word, and whether they are noticed by what does not come.
fn faults(protocol: Protocol) -> Vec<(Vec<Faults>, bool)> {
    let none = Faults::default;
    let refused = Faults {
        http_status: Some((503, String::new())),
        ..none()
    };
    let mute = Faults {
        stall_created: true,
        ..none()
    };
    let at = |moment, faults: &dyn Fn(u64) -> Faults| {
        faults_at(protocol, moment, &Speech::USUAL, faults)
    };
    let error = |after_ms| Faults {
        error: Some(ErrorFault {
            after_ms,
            code: "internal_error".into(),
            message: "boom".into(),
            close: Some((1011, String::new())),
        }),
        ..none()
    };
    let reset = |after_ms| Faults {
        reset_after_ms: Some(after_ms),
        ..none()
    };
    let close = |after_ms| Faults {
        close: Some(CloseFault {
            after_ms,
            code: 1011,
            reason: "Internal server error".into(),
        }),
        ..none()
    };
    let stall = |after_ms| Faults {
        stall_after_ms: Some(after_ms),
        ..none()
    };
    let mut faults = vec![
        (vec![refused], false),
        (vec![mute], true),
        (at(3400, &error), false),
    ];
    // In the first utterance, between two, and in the last one.
    for moment in [1200, 3400, 8000] {
        faults.extend([
            (at(moment, &reset), false),
            (at(moment, &close), false),
            (at(moment, &stall), true),
        ]);
    }
    faults
}

pub fn no_word_is_lost_or_doubled(protocol: Protocol) {
    let speech = Speech::usual(16_000);
    for (faults, silent) in faults(protocol) {
        let server = service(protocol, |options| options.first_faults = faults.clone());
        let timeout = if silent { 1000 } else { 10_000 };
        let properties = format!("max-speed=50 response-timeout={timeout} connect-timeout=5000");
        let mut rig = Rig::with(&server, 16_000, &properties);
        rig.run(speech.buffers(&[320], 0));
        println!("{faults:?}");
        server.check_cues(&speech, &rig.texts(), 0);
        assert_eq!(numbers(&rig.finals().join(" ")), speech.numbers());
        assert!(server.connections() > server.connections_for(3));
        assert!(!rig.warnings.is_empty());
    }
}

pub fn a_live_pipeline_catches_up(protocol: Protocol) {
    let faults = Faults {
        only_first: true,
        reset_after_ms: Some(1500),
        ready_delay: Some(Duration::from_millis(200)),
        ..Faults::default()
    };
    let server = service(protocol, |options| options.faults = faults);
    let speech = Speech::usual(16_000);
    let mut rig = Rig::live(
        &server,
        "failure-policy=continue max-speed=20 latency=60000",
    );
    rig.run(speech.buffers(&[320], 0));
    server.check_cues(&speech, &rig.texts(), 0);
    let stats = rig.element.property::<gst::Structure>("stats");
    assert_eq!(stats.get::<u64>("reconnects").unwrap(), 1);
    assert_eq!(stats.get::<u64>("audio-lost").unwrap(), 0);
}

pub fn commits_survive_an_outage(protocol: Protocol) {
    let faults = Faults {
        only_first: true,
        reset_after_ms: Some(2500),
        ..Faults::default()
    };
    let server = service(protocol, |options| options.faults = faults);
    let speech = Speech::new(16_000).say(0..60);
    let mut rig = Rig::with(&server, 16_000, &format!("{PATIENT} turn-detection=manual"));
    rig.run(speech.buffers(&[320], 0));
    assert_eq!(numbers(&rig.finals().join(" ")), speech.numbers());
    assert_eq!(server.connections(), 2);
}

pub fn an_operator_is_told_what_goes_on(protocol: Protocol) {
    let reset = |at| Faults {
        reset_after_ms: Some(at),
        ..Faults::default()
    };
    let faults = faults_at(protocol, 3400, &Speech::USUAL, reset);
    let server = service(protocol, |options| options.first_faults = faults);
    let mut rig = Rig::with(&server, 16_000, PATIENT);
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
        rig.warnings[0].ends_with("Trying again, 2 times at most."),
        "{:?}",
        rig.warnings
    );
}

#[test]
fn the_warning_says_for_how_long_it_is_tried() {
    let server = server(|options| options.faults.http_status = Some((503, String::new())));
    for (is_live, properties, expected) in [
        (false, "", "Trying again, for about a minute at most."),
        (true, "", "Trying again until it works."),
        (
            false,
            "failure-policy=continue",
            "Trying again until it works.",
        ),
        (false, "max-retries=1", "Trying once again."),
    ] {
        let mut rig = Rig::new(16_000, &server.url(), properties);
        let src = rig.pipeline.by_name("src").unwrap();
        src.set_property("is-live", is_live);
        rig.play();
        rig.push_all(Speech::usual(16_000).buffers(&[320], 0));
        rig.wait_for_state("reconnecting");
        let warnings = rig.warnings.clone();
        rig.stop();
        assert!(
            warnings[0].ends_with(expected),
            "{properties}: {warnings:?}"
        );
    }
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
    assert!(start.elapsed() < QUICK, "{:?}", start.elapsed());
}
