// SPDX-License-Identifier: MPL-2.0
//! Whatever the service sends, captions go on.

use super::common::*;
use offline_service::faults::Items;
use offline_service::{Faults, RawFrame};
use std::time::Duration;

/// All words come through, and nothing worse than a warning.
fn survives(protocol: Protocol, faults: Faults) -> Rig {
    let server = service(protocol, |options| options.faults = faults.clone());
    let speech = Speech::usual(16_000);
    let mut rig = Rig::with(&server, 16_000, "max-speed=50");
    rig.run(speech.buffers(&[320], 0));
    let heard = rig.heard();
    assert_eq!(heard, speech.numbers(), "{faults:?}");
    assert_eq!(server.connections(), server.connections_for(3));
    rig
}

pub fn garbage_unknown_and_enormous_frames(protocol: Protocol) {
    let mut texts = vec![
        "",
        "{",
        "[1,2",
        "null",
        "\u{0}",
        "\"text\"",
        "{\"type\":7}",
        "{\"type\":\"response.audio.delta\"}",
        "{\"type\":\"conversation.item.input_audio_transcription.completed\"",
        "{\"type\":\"input_audio_buffer.speech_stopped\"}",
    ];
    // Some protocols mean something by these.
    if !matches!(protocol, Protocol::OpenAi | Protocol::LiveTranslate) {
        texts.extend([
            "{\"type\":\"conversation.item.input_audio_transcription.delta\",\"delta\":\"x\"}",
            "{\"type\":\"session.updated\",\"session\":null}",
        ]);
    }
    let mut inject: Vec<_> = texts
        .iter()
        .map(|text| (700, RawFrame::Text((*text).into())))
        .collect();
    inject.push((900, RawFrame::Binary(vec![0xff; 1000])));
    inject.push((
        1000,
        RawFrame::Text(format!(
            "{{\"type\":\"x\",\"y\":\"{}\"}}",
            "z".repeat(1 << 20)
        )),
    ));
    inject.push((1100, RawFrame::Text("[".repeat(1 << 20))));
    inject.push((1200, RawFrame::Ping(b"are you there".to_vec())));
    let rig = survives(
        protocol,
        Faults {
            inject,
            ..Faults::default()
        },
    );
    assert!(
        rig.warnings.is_empty(),
        "for the log only: {:?}",
        rig.warnings
    );
}

#[test]
fn frames_without_end_cost_a_connection_and_no_memory() {
    let speech = Speech::usual(16_000);
    for frame in [
        RawFrame::Text("x".repeat(5 << 20)),
        RawFrame::Binary(vec![0; 5 << 20]),
        RawFrame::Fragments(vec!["x".repeat(2 << 20); 3]),
        // Announces 9 exabytes.
        RawFrame::Bytes([&[0x81, 127, 0x7f][..], &[0xff; 7]].concat()),
    ] {
        let server = server(|options| {
            options.first_faults = vec![Faults {
                inject: vec![(3400, frame)],
                ..Faults::default()
            }];
        });
        let mut rig = Rig::new(16_000, &server.url(), "max-speed=50");
        rig.run(speech.buffers(&[320], 0));
        assert_eq!(rig.heard(), speech.numbers());
        assert_eq!(rig.stat("outages"), 1, "{:?}", rig.warnings);
        assert_eq!(server.connections(), 2);
    }
}

#[test]
fn frames_before_the_session_is_set_up() {
    let inject = vec![
        (0, RawFrame::Text("{".into())),
        (
            0,
            RawFrame::Text("{\"type\":\"input_audio_buffer.committed\",\"item_id\":\"x\"}".into()),
        ),
    ];
    survives(
        Protocol::Realtime,
        Faults {
            inject,
            ..Faults::default()
        },
    );
}

pub fn additional_parts(protocol: Protocol) {
    for faults in [
        Faults {
            extra_fields: true,
            ..Faults::default()
        },
        Faults {
            fragment: true,
            ..Faults::default()
        },
        Faults {
            ready_delay: Some(Duration::from_millis(100)),
            ..Faults::default()
        },
    ] {
        survives(protocol, faults);
    }
}

pub fn missing_doubled_and_foreign_parts(protocol: Protocol) {
    for faults in [
        Faults {
            omit_item_id: true,
            ..Faults::default()
        },
        Faults {
            omit_event_id: true,
            ..Faults::default()
        },
        Faults {
            omit_optional: true,
            ..Faults::default()
        },
        Faults {
            foreign_results: true,
            ..Faults::default()
        },
        Faults {
            drop_speech_started: Items::All,
            ..Faults::default()
        },
        Faults {
            drop_speech_stopped: Items::All,
            ..Faults::default()
        },
        Faults {
            duplicate_committed: Items::All,
            ..Faults::default()
        },
        Faults {
            duplicate_completed: Items::All,
            ..Faults::default()
        },
        Faults {
            swap_finals: Some(0),
            ..Faults::default()
        },
        Faults {
            completed_lag_ms: 1500,
            ..Faults::default()
        },
        Faults {
            keep_open: true,
            ..Faults::default()
        },
    ] {
        survives(protocol, faults);
    }
}

#[test]
fn finals_that_never_come_or_fail_leave_the_interim_text() {
    for (faults, warnings) in [
        (
            Faults {
                never_complete: Items::nth(1),
                ..Faults::default()
            },
            1,
        ),
        (
            Faults {
                failed: Items::nth(1),
                ..Faults::default()
            },
            1,
        ),
    ] {
        let server = server(|options| options.faults = faults.clone());
        let speech = Speech::usual(16_000);
        let mut rig = Rig::new(16_000, &server.url(), "max-speed=50");
        rig.run(speech.buffers(&[320], 0));
        let mut heard = rig.heard();
        // Without its final the middle one may be reported after the last one.
        heard.sort_unstable();
        heard.dedup();
        assert!(
            heard.len() >= speech.numbers().len() - 5,
            "{faults:?}: {heard:?}"
        );
        assert_eq!(
            rig.warnings.len(),
            warnings,
            "{faults:?}: {:?}",
            rig.warnings
        );
    }
}

#[test]
fn a_blank_final_stands_for_the_confirmed_text() {
    for faults in [
        Faults {
            empty_final: Items::nth(1),
            ..Faults::default()
        },
        Faults {
            full_stop_final: Items::nth(1),
            ..Faults::default()
        },
    ] {
        let server = server(|options| options.faults = faults.clone());
        let speech = Speech::usual(16_000);
        let mut rig = Rig::new(16_000, &server.url(), "max-speed=50");
        rig.run(speech.buffers(&[320], 0));
        let heard = rig.heard();
        // The words at the end were never confirmed.
        assert!(heard.contains(&28), "{faults:?}: {heard:?}");
        let others: Vec<u32> = heard
            .into_iter()
            .filter(|n| !(29..32).contains(n))
            .collect();
        let expected: Vec<u32> = (0..29).chain(32..67).collect();
        assert_eq!(others, expected, "{faults:?}");
        let finals = rig.finals();
        assert_eq!(finals.len(), 3);
        assert!(
            finals[1].starts_with("w0020 ") && !finals[1].ends_with("w0031"),
            "{finals:?}"
        );
    }
}
