// SPDX-License-Identifier: MPL-2.0
//! The application says where utterances end.

use super::common::*;
use gst::prelude::*;
use offline_service::SessionRecord;

const MANUAL: &str = "turn-detection=manual max-speed=100";

/// How many utterances the client ended.
fn commits(service: &Service) -> usize {
    let commits = |session: &SessionRecord| {
        let commits = session.received_events("input_audio_buffer.commit");
        commits.filter(|commit| commit["final"] != false).count()
    };
    service.sessions().iter().map(commits).sum()
}

fn sent(rig: &Rig) -> u64 {
    rig.stat("bytes-sent") / 32
}

pub fn the_signal_and_the_event_end_utterances(protocol: Protocol) {
    let server = service(protocol, |_| {});
    let speech = Speech::new(16_000).say(0..36);
    let buffers = speech.buffers(&[1600], 0);
    let mut rig = Rig::with(&server, 16_000, MANUAL);
    rig.play();
    rig.push_all(buffers[..12].to_vec());
    rig.wait_for_state("connected");
    while sent(&rig) < 1200 {
        std::thread::yield_now();
    }
    rig.element.emit_by_name::<()>("commit", &[]);
    rig.wait_for("the first final", |message| {
        message
            .structure()
            .filter(|s| s.has_field("final") && s.get::<bool>("final").unwrap())
            .map(drop)
    });
    rig.push_all(buffers[12..24].to_vec());
    while sent(&rig) < 2400 {
        std::thread::yield_now();
    }
    let structure = gst::Structure::new_empty("qwenasr/commit");
    let sink = rig.element.static_pad("sink").unwrap();
    assert!(sink.send_event(gst::event::CustomDownstream::new(structure)));
    rig.push_all(buffers[24..].to_vec());
    rig.push_eos();
    rig.wait_for_eos();
    let texts = rig.texts();
    assert_eq!(texts.len(), 3, "{texts:?}");
    server.check_cues(&speech, &texts, 0);
    assert!(rig.warnings.is_empty(), "{:?}", rig.warnings);
    let session = &server.sessions()[0];
    let update = session.received_events("session.update").next().unwrap();
    assert!(update["session"]["turn_detection"].is_null());
    assert_eq!(commits(&server), 3);
    assert_eq!(server.connections(), server.connections_for(3));
    assert!(
        !rig.left().contains(&Left::Event("qwenasr/commit".into())),
        "it ends here"
    );
}

pub fn without_commits_the_end_of_the_stream_is_one(protocol: Protocol) {
    let server = service(protocol, |_| {});
    let speech = Speech::new(16_000).say(0..60);
    let mut rig = Rig::with(&server, 16_000, MANUAL);
    rig.run(speech.buffers(&[320], 0));
    assert_eq!(rig.finals().len(), 1);
    server.check_cues(&speech, &rig.texts(), 0);
}

pub fn long_speech_is_committed_before_the_protocols_limit(protocol: Protocol) {
    let server = service(protocol, |_| {});
    let speech = Speech::new(16_000).say(0..1500);
    let mut rig = Rig::with(&server, 16_000, MANUAL);
    rig.run(speech.buffers(&[16_000], 0));
    let heard = rig.heard();
    assert_eq!(heard, speech.numbers());
    let limit = match protocol {
        Protocol::Vllm => 15,
        Protocol::OpenAi => 30,
        Protocol::SglangOmni => 28,
        _ => 60,
    };
    assert_eq!(commits(&server), 150_usize.div_ceil(limit));
}

#[test]
fn commits_are_left_out_where_the_service_segments() {
    let server = server(|_| {});
    let speech = Speech::usual(16_000);
    let mut rig = Rig::new(16_000, &server.url(), "max-speed=100");
    rig.play();
    rig.element.emit_by_name::<()>("commit", &[]);
    rig.push_all(speech.buffers(&[320], 0));
    rig.wait_for_state("connected");
    rig.element.emit_by_name::<()>("commit", &[]);
    rig.push_eos();
    rig.wait_for_eos();
    check_cues(&speech, &rig.texts(), 0);
    assert_eq!(
        server.sessions()[0]
            .received_events("input_audio_buffer.commit")
            .count(),
        0
    );
}
