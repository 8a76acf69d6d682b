// SPDX-License-Identifier: MPL-2.0
//! What goes out is read by another part of the crate that wrote it, and by the rules of RFC 7845.

use std::io::Cursor;

use ogg::PacketReader;
use serde_json::Value;

use super::*;
use crate::audio::opus::framed;
use crate::audio::opus::tests::{packet, with_samples};
use crate::protocol::{Codec, Command, Event, Frame, Protocol, Setup, TurnDetection};
use crate::timeline::Samples;

fn recognition(model: &str) -> Recognition {
    Recognition {
        model: model.into(),
        model_property: "model",
        language: None,
        context: None,
        vocabulary: Vec::new(),
        vocabulary_id: None,
        parameters: Vec::new(),
        rate: 16_000,
        coding: Coding::Opus,
        turn_detection: TurnDetection::ServerVad {
            threshold: None,
            silence_ms: 400,
        },
        translation: None,
        official: true,
    }
}

fn stream() -> OggOpus {
    OggOpus::wanted(&recognition("")).unwrap()
}

/// The packets in these pages, each with its granule position and whether a page ends with it.
fn read(pages: &[Vec<u8>]) -> Vec<(Vec<u8>, u64, bool)> {
    let mut reader = PacketReader::new(Cursor::new(pages.concat()));
    let mut packets = Vec::new();
    while let Some(packet) = reader.read_packet().unwrap() {
        let (granule, ends) = (packet.absgp_page(), packet.last_in_page());
        packets.push((packet.data, granule, ends));
    }
    packets
}

fn head(pages: &[Vec<u8>]) -> (u16, u32) {
    let (head, tags) = (&read(pages)[0].0, &read(pages)[1].0);
    assert!(head.starts_with(b"OpusHead\x01\x01") && head.len() == 19 && head[18] == 0);
    assert!(tags.starts_with(b"OpusTags") && tags.ends_with(b"gst-plugin-qwenasr\0\0\0\0"));
    let skip = u16::from_le_bytes([head[10], head[11]]);
    let rate = u32::from_le_bytes([head[12], head[13], head[14], head[15]]);
    (skip, rate)
}

#[test]
fn the_headers_come_first_and_each_piece_of_audio_is_a_page() {
    let mut stream = stream();
    let packets = [packet(20, 40), packet(60, 700), packet(20, 30)];
    let audio = |packets: &[Vec<u8>]| {
        let framed: Vec<Vec<u8>> = packets.iter().map(|p| with_samples(p)).collect();
        framed.concat()
    };
    let mut pages = stream.pages(&audio(&packets[..2]));
    assert_eq!(pages.len(), 3, "two of headers, one of audio");
    pages.extend(stream.pages(&audio(&packets[2..])));
    assert_eq!(head(&pages), (0, 16_000));
    let expected = [(0, 3840, false), (1, 3840, true), (2, 4800, true)];
    let expected = expected.map(|(n, granule, ends)| (packets[n].clone(), granule, ends));
    assert_eq!(read(&pages)[2..], expected);
    assert!(stream.pages(&[]).is_empty());
}

#[test]
fn the_lookahead_of_the_first_packet_is_skipped_and_counts() {
    let first = framed(&packet(20, 40), Samples(312)).unwrap();
    let mut pages = stream().pages(&first);
    assert_eq!(head(&pages), (312, 16_000));
    assert_eq!(read(&pages)[2].1, 960);
    // The stream of a later connection begins in its midst.
    pages = stream().pages(&with_samples(&packet(20, 40)));
    assert_eq!(head(&pages), (0, 16_000));
}

#[test]
fn more_packets_than_a_page_holds_take_several() {
    let audio = with_samples(&packet(20, 700)).repeat(300);
    let pages = stream().pages(&audio);
    let packets = read(&pages);
    assert_eq!(packets.len(), 302);
    assert!(packets.windows(2).all(|pair| pair[0].1 <= pair[1].1));
    assert_eq!(packets[301].1, 300 * 960);
}

fn set_up(protocol: Protocol, model: &str) -> Result<Setup, String> {
    let refused = |failure: crate::protocol::Failure| failure.to_string();
    protocol.set_up(recognition(model)).map_err(refused)
}

/// The frames of two pieces of audio over a new connection.
fn sent(codec: &mut dyn Codec) -> Vec<Frame> {
    let (mut events, mut frames) = (Vec::<Event>::new(), Vec::new());
    let audio = with_samples(&packet(20, 40));
    codec.command(Command::Audio(&audio), &mut events, &mut frames);
    codec.command(Command::Audio(&audio), &mut events, &mut frames);
    frames
}

#[test]
fn the_realtime_protocol_takes_a_page_in_each_append() {
    let setup = set_up(Protocol::Realtime, "qwen3-asr-flash-realtime").unwrap();
    for _ in 0..2 {
        let mut codec = (setup.codecs)();
        let pages: Vec<Vec<u8>> = sent(&mut *codec)
            .iter()
            .map(|frame| {
                let Frame::Text(text) = frame else { panic!() };
                let event: Value = serde_json::from_str(text).unwrap();
                assert_eq!(event["type"], "input_audio_buffer.append");
                let audio = event["audio"].as_str().unwrap();
                base64::Engine::decode(&base64::prelude::BASE64_STANDARD, audio).unwrap()
            })
            .collect();
        assert!(pages.len() == 4 && pages.iter().all(|page| page.starts_with(b"OggS")));
        assert_eq!(read(&pages).len(), 4, "headers for each connection");
    }
}

#[test]
fn the_inference_protocol_takes_pages_as_they_are() {
    let setup = set_up(Protocol::Inference, "fun-asr-realtime").unwrap();
    let mut codec = (setup.codecs)();
    let mut task = Vec::new();
    codec.open(&mut task);
    let Frame::Text(task) = &task[0] else {
        panic!()
    };
    let task: Value = serde_json::from_str(task).unwrap();
    assert_eq!(task["payload"]["parameters"]["format"], "opus");
    assert_eq!(task["payload"]["parameters"]["sample_rate"], 16_000);
    let pages: Vec<Vec<u8>> = sent(&mut *codec)
        .into_iter()
        .map(|frame| match frame {
            Frame::Binary(page) => page,
            Frame::Text(text) => panic!("{text}"),
        })
        .collect();
    assert_eq!((pages.len(), read(&pages).len()), (4, 4));
}

#[test]
fn a_model_gets_the_rate_it_wants() {
    let setup = set_up(Protocol::Inference, "fun-asr-flash-8k-realtime").unwrap();
    let mut task = Vec::new();
    (setup.codecs)().open(&mut task);
    let Frame::Text(task) = &task[0] else {
        panic!()
    };
    assert!(task.contains(r#""sample_rate":8000"#), "{task}");
}

#[test]
fn who_takes_no_opus_says_what_to_do() {
    for (protocol, model) in [
        (Protocol::Vllm, "qwen3-asr"),
        (
            Protocol::LiveTranslate,
            "qwen3.8-livetranslate-flash-realtime",
        ),
        (Protocol::OpenAi, "qwen3-asr"),
        (Protocol::SglangOmni, "qwen3-asr"),
    ] {
        let why = set_up(protocol, model).err().unwrap();
        assert!(
            why.contains("opusdec ! audioconvert ! audioresample"),
            "{why}"
        );
    }
}
