// SPDX-License-Identifier: MPL-2.0
//! Frames as no service should send them.

use std::time::Duration;

use super::tests::{CHUNK, Script};
use super::*;
use crate::protocol::{Protocol, Recognition, TurnDetection};
use crate::session::{ClientVad, RetryPolicy};

/// Frames of a connection, those that make it ready first.
const REALTIME: &[&str] = &[
    r#"{"type":"session.created","session":{"id":"s","model":"m","turn_detection":{"threshold":0.2}}}"#,
    r#"{"type":"session.updated","session":{"id":"s","model":"m"}}"#,
    r#"{"type":"input_audio_buffer.speech_started","audio_start_ms":64,"item_id":"a"}"#,
    r#"{"type":"conversation.item.input_audio_transcription.text","item_id":"a","text":"今天","stash":"天气"}"#,
    r#"{"type":"input_audio_buffer.speech_stopped","audio_end_ms":728,"item_id":"a"}"#,
    r#"{"type":"input_audio_buffer.committed","item_id":"a","previous_item_id":null}"#,
    r#"{"type":"conversation.item.created","item":{"id":"a"}}"#,
    r#"{"type":"conversation.item.input_audio_transcription.completed","item_id":"a","transcript":"今天天气","usage":{"duration":1}}"#,
    r#"{"type":"conversation.item.input_audio_transcription.failed","item_id":"b","error":{"code":"x"}}"#,
    r#"{"type":"error","error":{"code":"x","message":"y"}}"#,
    r#"{"type":"session.finished"}"#,
];

const INFERENCE: &[&str] = &[
    r#"{"header":{"event":"task-started","attributes":{}},"payload":{}}"#,
    r#"{"header":{"event":"result-generated"},"payload":{"output":{"sentence":{"begin_time":64,"end_time":null,"text":"","sentence_begin":true,"sentence_end":false,"sentence_id":1,"words":[]}}}}"#,
    r#"{"header":{"event":"result-generated"},"payload":{"output":{"sentence":{"begin_time":64,"end_time":null,"text":"今天","sentence_end":false,"sentence_id":1,"words":[{"begin_time":64,"end_time":300,"text":"今天"}]}}}}"#,
    r#"{"header":{"event":"result-generated"},"payload":{"output":{"sentence":{"begin_time":64,"end_time":728,"text":"今天天气","sentence_end":true,"sentence_id":1,"words":[{"begin_time":64,"end_time":300,"text":"今天"},{"begin_time":300,"end_time":728,"text":"天气"}]}},"usage":{"duration":1,"total_tokens":9}}}"#,
    r#"{"header":{"event":"result-generated"},"payload":{"output":{"sentence":{"sentence_id":0,"heartbeat":true}}}}"#,
    r#"{"header":{"event":"task-failed","error_code":"SERVER_ERROR","error_message":"x"}}"#,
    r#"{"header":{"event":"task-finished"},"payload":{"usage":null}}"#,
];

const VLLM: &[&str] = &[
    r#"{"type":"session.created","id":"sess-1","created":1763640000}"#,
    r#"{"type":"transcription.delta","delta":"language English<asr_text>so "}"#,
    r#"{"type":"transcription.delta","delta":"much lang"}"#,
    r#"{"type":"transcription.done","text":"language English<asr_text>so much","usage":{"total_tokens":95}}"#,
    r#"{"type":"error","error":"Invalid audio data","code":"invalid_audio"}"#,
    r#"{"type":"error","error":"x","code":"processing_error"}"#,
];

const OPENAI: &[&str] = &[
    r#"{"type":"session.created","session":{"type":"transcription","id":"s"}}"#,
    r#"{"type":"session.updated","session":{"type":"transcription","id":"s"}}"#,
    r#"{"type":"conversation.item.input_audio_transcription.delta","item_id":"a","delta":"今天"}"#,
    r#"{"type":"input_audio_buffer.committed","item_id":"a","previous_item_id":null}"#,
    r#"{"type":"conversation.item.input_audio_transcription.completed","item_id":"a","transcript":"今天天气","usage":{"type":"duration","seconds":1}}"#,
    r#"{"type":"conversation.item.input_audio_transcription.failed","item_id":"a","error":{"code":"x"}}"#,
    r#"{"type":"error","error":{"type":"invalid_request_error","code":"invalid_payload","message":"y"}}"#,
];

/// What the real codecs make of mangled frames, and the session of that.
#[test]
fn mangled_frames_break_nothing() {
    mangle(Protocol::Realtime, REALTIME, 2);
    mangle(Protocol::Inference, INFERENCE, 1);
    mangle(Protocol::Vllm, VLLM, 1);
    mangle(Protocol::OpenAi, OPENAI, 2);
}

/// The connection is ready after the first `ready` of the frames.
fn mangle(protocol: Protocol, frames: &[&str], ready: usize) {
    for seed in 0..1000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut s = Script::new(false);
        let manual = random.bool() && protocol == Protocol::Realtime;
        let setup = protocol.set_up(Recognition {
            model: "m".into(),
            language: None,
            context: None,
            vocabulary: Vec::new(),
            vocabulary_id: None,
            rate: 16_000,
            turn_detection: if manual {
                TurnDetection::Manual
            } else {
                TurnDetection::ServerVad {
                    threshold: 0.0,
                    silence_ms: 400,
                }
            },
        });
        let config = Config {
            retry: RetryPolicy {
                keep_going: true,
                max_retries: None,
            },
            client_vad: random.bool().then_some(ClientVad {
                threshold: 0.0,
                silence_ms: 200,
            }),
            ..s.session.config.clone()
        };
        s.session = Session::new(config, setup.ok().unwrap().codecs, Duration::ZERO);
        s.session.handle_connected(s.now);
        for frame in &frames[..ready] {
            s.session.handle_frame(Incoming::Text(frame), s.now);
        }
        for _ in 0..60 {
            let mut frame = frames[random.usize(..frames.len())].as_bytes().to_vec();
            for _ in 0..random.usize(..4) {
                if frame.is_empty() {
                    break;
                }
                let at = random.usize(..frame.len());
                match random.u8(..4) {
                    0 => frame[at] = random.u8(32..127),
                    1 => drop(frame.remove(at)),
                    2 => frame.insert(at, random.u8(b'0'..=b'9')),
                    _ => frame.truncate(at.max(1)),
                }
            }
            let text = String::from_utf8_lossy(&frame);
            s.session.handle_frame(Incoming::Text(&text), s.now);
            match random.u8(..6) {
                0 => {
                    let audio = [random.u8(..64); CHUNK.len()];
                    s.session.handle_audio(random.u64(..), &audio, s.now);
                }
                1 => s.session.handle_commit(),
                2 => s.session.handle_finish(s.now),
                3 => {
                    s.now += Duration::from_millis(random.u64(..40_000));
                    s.session.handle_timeout(s.now);
                }
                4 => s.session.handle_connected(s.now),
                _ => drop(s.session.replay(s.now)),
            }
            while let Some(output) = s.session.poll_output() {
                if let Output::Notice(Notice::Final(t) | Notice::Interim(t)) = output {
                    assert!(t.start <= t.end, "seed {seed}: {t:?}");
                }
            }
        }
    }
}
