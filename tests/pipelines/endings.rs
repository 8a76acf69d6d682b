// SPDX-License-Identifier: MPL-2.0
//! EOS always arrives, and the text before it.

use std::time::Duration;

use super::common::*;
use offline_service::Faults;

const FAST: &str = "max-speed=100 finish-timeout=1500";

/// The events and texts that left, without gaps.
fn ends_with_text_then_eos(rig: &Rig) -> bool {
    let left: Vec<_> = rig
        .left()
        .into_iter()
        .filter(|l| !matches!(l, Left::Gap { .. }))
        .collect();
    let last_text = left.iter().rposition(|l| matches!(l, Left::Text { .. }));
    let eos: Vec<_> = left
        .iter()
        .enumerate()
        .filter(|(_, l)| **l == Left::Event("eos".into()))
        .map(|(n, _)| n)
        .collect();
    eos == [left.len() - 1] && last_text.is_some()
}

pub fn eos_before_any_audio_makes_no_connection(protocol: Protocol) {
    let server = service(protocol, |_| {});
    let mut rig = Rig::with(&server, 16_000, FAST);
    rig.run([]);
    assert_eq!(rig.left().last(), Some(&Left::Event("eos".into())));
    assert!(rig.messages.is_empty(), "{:?}", rig.messages);
    assert_eq!(server.connections(), 0);
}

pub fn eos_in_mid_word_brings_the_word(protocol: Protocol) {
    let server = service(protocol, |_| {});
    let speech = Speech::new(16_000).silence(300).say(0..15);
    let mut buffers = speech.buffers(&[320], 0);
    // Sixty of the last word's hundred milliseconds.
    buffers.truncate(buffers.len() - 2);
    let mut rig = Rig::with(&server, 16_000, FAST);
    rig.run(buffers);
    let heard = rig.heard();
    assert_eq!(heard, speech.numbers());
    assert!(ends_with_text_then_eos(&rig), "{:?}", rig.left());
    assert!(rig.warnings.is_empty(), "{:?}", rig.warnings);
}

pub fn eos_arrives_when_the_service_does_not_finish(protocol: Protocol) {
    for faults in [
        Faults {
            never_finished: true,
            never_complete: offline_service::Items::All,
            ..Faults::default()
        },
        Faults {
            stall_after_ms: Some(1500),
            ..Faults::default()
        },
    ] {
        let server = service(protocol, |options| options.faults = faults.clone());
        let speech = Speech::new(16_000).say(0..30);
        let mut rig = Rig::with(&server, 16_000, FAST);
        rig.run(speech.buffers(&[320], 0));
        assert_eq!(rig.warnings.len(), 1, "{faults:?}: {:?}", rig.warnings);
        assert!(
            rig.warnings[0].contains("finish-timeout"),
            "{:?}",
            rig.warnings
        );
        assert!(
            ends_with_text_then_eos(&rig),
            "the interim text is kept: {:?}",
            rig.left()
        );
    }
}

pub fn eos_arrives_when_the_service_closes_instead_of_finishing(protocol: Protocol) {
    for code in [1000, 1006, 1011] {
        let faults = Faults {
            close_on_finish: Some(code),
            ..Faults::default()
        };
        let server = service(protocol, |options| options.faults = faults);
        let speech = Speech::new(16_000).say(0..30);
        let mut rig = Rig::with(&server, 16_000, FAST);
        rig.run(speech.buffers(&[320], 0));
        assert!(ends_with_text_then_eos(&rig), "{code}: {:?}", rig.left());
        // One for the outage, and one for the text that stayed unconfirmed.
        assert_eq!(rig.warnings.len(), 2, "{code}: {:?}", rig.warnings);
        assert!(rig.warnings[1].contains("finish-timeout"));
    }
}

pub fn a_finish_that_takes_its_time_is_waited_for(protocol: Protocol) {
    let faults = Faults {
        finished_delay: Some(Duration::from_millis(200)),
        keep_open: true,
        ..Faults::default()
    };
    let server = service(protocol, |options| options.faults = faults);
    let speech = Speech::usual(16_000);
    let mut rig = Rig::with(&server, 16_000, "max-speed=100");
    rig.run(speech.buffers(&[320], 0));
    server.check_cues(&speech, &rig.texts(), 0);
    assert!(rig.warnings.is_empty());
    assert!(
        server.wait_for_connections(|_, open| open == 0, LONG),
        "the client closes"
    );
}

pub fn the_same_element_can_play_again(protocol: Protocol) {
    let server = service(protocol, |_| {});
    let speech = Speech::new(16_000).say(0..12).silence(700);
    let mut rig = Rig::with(&server, 16_000, FAST);
    for round in 1..=3 {
        rig.forget();
        rig.run(speech.buffers(&[320], 0));
        server.check_cues(&speech, &rig.texts(), 0);
        assert_eq!(server.connections(), round);
    }
}
