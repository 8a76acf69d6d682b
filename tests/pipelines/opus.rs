// SPDX-License-Identifier: MPL-2.0
//! Opus goes to the service as it comes.

mod webrtc;

use super::common::*;
use super::talk::{Talk, recognise_tones};
use gst::prelude::*;
use offline_service::faults::CloseFault;
use offline_service::{Faults, Options};

/// How far the times of captions may be off.
const TOLERANCE_MS: u64 = 100;

const RATE: u32 = 16_000;

const TAKE_IT: [Protocol; 2] = [Protocol::Realtime, Protocol::Inference];

const SINK: &str = "fakesink name=out sync=false async=false";

fn listening(protocol: Protocol, change: impl FnOnce(&mut Options)) -> Service {
    service(protocol, |options| {
        recognise_tones(options);
        change(options);
    })
}

/// Plays a pipeline in which `TALK` is the source of the talk, and `ASR` the element.
fn play(service: &Service, talk: &Talk, pipeline: &str) -> Rig {
    let wav = talk.speech.wav();
    let source = format!("filesrc location={} ! wavparse", wav.0.display());
    let asr = format!("qwenasr name=asr max-speed=50 {}", service.properties());
    let pipeline = pipeline.replace("TALK", &source).replace("ASR", &asr);
    let mut rig = Rig::launch(&pipeline);
    rig.play();
    rig.wait_for_eos();
    rig.stop();
    rig
}

/// All that was sent was Opus from its beginning on, over each connection.
fn check_streams(service: &Service) {
    for session in service.sessions() {
        let [stream] = &session.streams[..] else {
            panic!("{:?}", session.streams)
        };
        assert_eq!((stream.format.as_str(), stream.rate), ("opus", RATE));
        assert_eq!(stream.contents.header_pages, 2);
        assert_eq!(stream.contents.begin, Some(0));
    }
}

/// The talk as packets, with the caps of the encoder.
fn packets(talk: &Talk, encoder: &str) -> (gst::Caps, Vec<gst::Buffer>) {
    init();
    let wav = talk.speech.wav();
    let pipeline = gst::parse::launch(&format!(
        "filesrc location={} ! wavparse ! opusenc bitrate=24000 {encoder} \
         ! appsink name=out sync=false",
        wav.0.display()
    ));
    let pipeline = pipeline.unwrap().downcast::<gst::Pipeline>().unwrap();
    let sink = pipeline.by_name("out").unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let (mut caps, mut buffers) = (None, Vec::new());
    while let Some(sample) = sink.emit_by_name::<Option<gst::Sample>>("pull-sample", &[]) {
        caps = caps.or(sample.caps_owned());
        buffers.push(sample.buffer_owned().unwrap());
    }
    pipeline.set_state(gst::State::Null).unwrap();
    (caps.unwrap(), buffers)
}

/// `appsrc ! qwenasr` for packets.
fn rig(service: &Service, caps: &gst::Caps, properties: &str) -> Rig {
    let rig = Rig::launch(&format!(
        "appsrc name=src format=time ! qwenasr name=asr max-speed=50 {} {properties} ! {SINK}",
        service.properties()
    ));
    rig.pipeline
        .by_name("src")
        .unwrap()
        .set_property("caps", caps);
    rig
}

fn pts(buffer: &gst::Buffer) -> u64 {
    ms(buffer.pts().unwrap())
}

#[test]
fn what_is_typed_works() {
    let talk = Talk::new(RATE);
    for protocol in TAKE_IT {
        for chain in [
            "opusenc",
            "opusenc bitrate=24000 audio-type=voice",
            "opusenc ! rtpopuspay ! rtpopusdepay",
            "opusenc frame-size=60 ! oggmux ! oggdemux",
            "opusenc ! oggmux ! oggdemux ! opusparse",
            "opusenc ! matroskamux ! matroskademux",
        ] {
            let service = listening(protocol, |_| {});
            let rig = play(&service, &talk, &format!("TALK ! {chain} ! ASR ! {SINK}"));
            talk.check(TOLERANCE_MS, &rig.texts(), 0);
            check_streams(&service);
            assert_eq!(rig.warnings, [""; 0], "{chain}");
        }
    }
}

#[test]
fn the_sink_takes_it_too() {
    let talk = Talk::new(RATE);
    let service = listening(Protocol::Realtime, |_| {});
    let wav = talk.speech.wav();
    let mut rig = Rig::launch(&format!(
        "filesrc location={} ! wavparse ! opusenc ! qwenasrsink name=asr max-speed=50 {}",
        wav.0.display(),
        service.properties()
    ));
    rig.play();
    rig.wait_for_eos();
    let words: Vec<String> = talk.truth.iter().map(|(words, ..)| words.clone()).collect();
    assert_eq!(rig.finals(), words);
    check_streams(&service);
}

#[test]
fn a_broken_connection_costs_nothing() {
    let talk = Talk::new(RATE);
    for (protocol, encoder) in [
        (Protocol::Realtime, ""),
        (Protocol::Realtime, "frame-size=60"),
        (Protocol::Inference, "dtx=true"),
    ] {
        let (caps, packets) = packets(&talk, encoder);
        // In the second utterance, and between the second and the third.
        for after_ms in [4200, 5300] {
            let service = listening(protocol, |options| {
                options.faults = Faults {
                    only_first: true,
                    reset_after_ms: Some(after_ms),
                    ..Faults::default()
                };
            });
            let mut rig = rig(&service, &caps, "");
            rig.run(packets.iter().cloned());
            talk.check(TOLERANCE_MS, &rig.texts(), 0);
            check_streams(&service);
            assert_eq!(service.connections(), 2);
            assert_eq!(rig.stat("audio-lost"), 0);
        }
    }
}

#[test]
fn a_server_that_is_drained_is_no_outage() {
    let talk = Talk::new(RATE);
    let (caps, packets) = packets(&talk, "");
    let service = listening(Protocol::Realtime, |options| {
        options.faults = Faults {
            only_first: true,
            close: Some(CloseFault {
                after_ms: 4200,
                code: 1012,
                reason: "service restart".into(),
            }),
            ..Faults::default()
        };
    });
    let mut rig = rig(&service, &caps, "");
    rig.run(packets);
    talk.check(TOLERANCE_MS, &rig.texts(), 0);
    assert_eq!(rig.warnings, [""; 0]);
}

#[test]
fn faults_of_a_server_cost_no_word() {
    let talk = Talk::new(RATE);
    let (caps, packets) = packets(&talk, "");
    let closed = |code: u16| Faults {
        close: Some(CloseFault {
            after_ms: 4200,
            code,
            reason: "".into(),
        }),
        ..Faults::default()
    };
    let faults = [
        closed(1011),
        closed(1013),
        Faults {
            stall_after_ms: Some(4200),
            ..Faults::default()
        },
        Faults {
            stall_updated: true,
            ..Faults::default()
        },
        Faults {
            http_status: Some((503, "no room".into())),
            ..Faults::default()
        },
        Faults {
            completed_lag_ms: 1500,
            ..Faults::default()
        },
        Faults {
            close_on_finish: Some(1000),
            ..Faults::default()
        },
        Faults {
            fragment: true,
            extra_fields: true,
            ..Faults::default()
        },
    ];
    for protocol in TAKE_IT {
        for fault in &faults {
            let service = listening(protocol, |options| {
                options.faults = Faults {
                    only_first: true,
                    ..fault.clone()
                };
            });
            let mut rig = rig(
                &service,
                &caps,
                "response-timeout=1000 connect-timeout=1000",
            );
            rig.run(packets.iter().cloned());
            let texts: Vec<String> = rig.texts().into_iter().map(|(text, ..)| text).collect();
            let words: Vec<&str> = talk.truth.iter().map(|(words, ..)| &words[..]).collect();
            assert_eq!(texts, words, "{protocol:?} {fault:?}");
            assert_eq!(rig.stat("audio-lost"), 0);
        }
    }
}

#[test]
fn a_hole_does_not_shift_what_follows() {
    let talk = Talk::new(RATE);
    let (caps, packets) = packets(&talk, "");
    // 300 ms of the third pause are missing.
    let is_there = |packet: &&gst::Buffer| !(5000..5300).contains(&pts(packet));
    let there: Vec<gst::Buffer> = packets.iter().filter(is_there).cloned().collect();
    assert_eq!(packets.len() - there.len(), 15);
    for protocol in TAKE_IT {
        let service = listening(protocol, |_| {});
        let mut rig = rig(&service, &caps, "");
        rig.run(there.iter().cloned());
        talk.check(TOLERANCE_MS, &rig.texts(), 0);
        check_streams(&service);
    }
}

#[test]
fn silence_that_was_not_sent_is_silence() {
    let talk = Talk::new(RATE);
    let (caps, packets) = packets(&talk, "dtx=true");
    let is_dtx = |packet: &gst::Buffer| packet.size() <= 2;
    assert!(packets.iter().filter(|packet| is_dtx(packet)).count() > 50);
    // As it is, and as RTP has it: such packets do not come at all.
    let without: Vec<gst::Buffer> = packets.iter().filter(|p| !is_dtx(p)).cloned().collect();
    for packets in [packets, without] {
        let service = listening(Protocol::Realtime, |_| {});
        let mut rig = rig(&service, &caps, "");
        rig.run(packets);
        talk.check(TOLERANCE_MS, &rig.texts(), 0);
        check_streams(&service);
    }
}

#[test]
fn packets_may_change_their_length() {
    let talk = Talk::new(RATE);
    let (caps, short) = packets(&talk, "");
    let (_, long) = packets(&talk, "frame-size=60");
    // Both have packets that begin there.
    let border = 6 * 200 + 1200 + 240;
    let border = long.iter().map(pts).find(|at| *at >= border).unwrap();
    let first = short.iter().filter(|packet| pts(packet) < border);
    let then = long.iter().filter(|packet| pts(packet) >= border);
    let service = listening(Protocol::Realtime, |_| {});
    let mut rig = rig(&service, &caps, "");
    rig.run(first.chain(then).cloned());
    talk.check(TOLERANCE_MS, &rig.texts(), 0);
    let lengths = &service.sessions()[0].streams[0].contents.packets;
    assert!(lengths.contains(&std::time::Duration::from_millis(20)));
    assert!(lengths.contains(&std::time::Duration::from_millis(60)));
}

#[test]
fn the_application_may_end_utterances() {
    let talk = Talk::new(RATE);
    let (caps, packets) = packets(&talk, "");
    let service = listening(Protocol::Realtime, |_| {});
    let mut rig = rig(&service, &caps, "turn-detection=manual");
    rig.play();
    let source = rig.pipeline.by_name("src").unwrap();
    let mut ends = talk.truth.iter().map(|(_, _, end)| end + 300).peekable();
    for packet in packets {
        if ends.next_if(|end| pts(&packet) >= *end).is_some() {
            let commit = gst::Structure::new_empty("qwenasr/commit");
            source.send_event(gst::event::CustomDownstream::new(commit));
        }
        rig.push(packet);
    }
    rig.push_eos();
    rig.wait_for_eos();
    let words: Vec<String> = talk.truth.iter().map(|(words, ..)| words.clone()).collect();
    let mut finals = rig.finals();
    assert_eq!(finals.pop().as_deref(), Some(""), "the silence at the end");
    assert_eq!(finals, words);
}

#[test]
fn garbage_among_the_packets_is_a_hole() {
    let talk = Talk::new(RATE);
    let (caps, mut packets) = packets(&talk, "");
    for (packet, garbage) in packets[195..]
        .iter_mut()
        .zip([&[][..], &[0xfb], &[0xfb, 0]])
    {
        let mut other = gst::Buffer::from_slice(garbage.to_vec());
        other.get_mut().unwrap().set_pts(packet.pts());
        *packet = other;
    }
    let service = listening(Protocol::Realtime, |_| {});
    let mut rig = rig(&service, &caps, "");
    rig.run(packets);
    talk.check(TOLERANCE_MS, &rig.texts(), 0);
    check_streams(&service);
}

#[test]
fn what_cannot_be_says_what_to_do() {
    let talk = Talk::new(RATE);
    let (caps, packets) = packets(&talk, "");
    let decode = "opusdec ! audioconvert ! audioresample";
    let refused = |protocol: Protocol, properties: &str| {
        let service = listening(protocol, |_| {});
        let mut rig = rig(&service, &caps, properties);
        rig.play();
        rig.push_all(packets[..10].iter().cloned());
        let (error, _) = rig.wait_for_error();
        assert_eq!(service.connections(), 0, "{protocol:?}");
        error.to_string()
    };
    for protocol in [
        Protocol::LiveTranslate,
        Protocol::Vllm,
        Protocol::OpenAi,
        Protocol::SglangOmni,
    ] {
        assert!(refused(protocol, "").contains(decode), "{protocol:?}");
    }
    let client_vad = refused(Protocol::Realtime, "turn-detection=client-vad");
    assert!(client_vad.contains("client-vad") && client_vad.contains(decode));
}

#[test]
fn an_encoder_is_asked_for_one_channel() {
    let talk = Talk::new(RATE);
    let service = listening(Protocol::Realtime, |_| {});
    let chain = "audioconvert ! audio/x-raw,channels=2 ! audioconvert ! opusenc";
    let rig = play(&service, &talk, &format!("TALK ! {chain} ! ASR ! {SINK}"));
    talk.check(TOLERANCE_MS, &rig.texts(), 0);
}

#[test]
fn what_comes_from_a_browser_says_two_channels_and_has_one() {
    let talk = Talk::new(RATE);
    // As webrtcbin makes it of what browsers offer: nothing about the sender's channels.
    let rtp = "opusenc audio-type=voice ! rtpopuspay ! capssetter replace=true \
               caps=application/x-rtp,media=audio,clock-rate=48000,encoding-name=OPUS,\
               encoding-params=(string)2,payload=96,minptime=(string)10,useinbandfec=(string)1";
    let service = listening(Protocol::Realtime, |_| {});
    let rig = play(
        &service,
        &talk,
        &format!("TALK ! {rtp} ! rtpopusdepay ! ASR ! {SINK}"),
    );
    talk.check(TOLERANCE_MS, &rig.texts(), 0);
}

#[test]
fn more_than_one_channel_says_what_to_do() {
    let server = server(|_| {});
    let url = server.url();
    // Two are seen in the packets, more in the caps.
    for channels in ["channels=2", "channels=6,channel-mask=(bitmask)0x3f"] {
        let file = TempFile::new("ogg");
        let location = file.0.display();
        let mut write = Rig::launch(&format!(
            "audiotestsrc num-buffers=9 ! audio/x-raw,rate=48000,{channels} ! opusenc ! oggmux \
             ! filesink name=asr location={location}"
        ));
        write.play();
        write.wait_for_eos();
        write.stop();
        for element in ["qwenasr", "qwenasrsink"] {
            let mut rig = Rig::launch(&format!(
                "filesrc location={location} ! oggdemux ! opusparse ! {element} name=asr url={url}"
            ));
            let _ = rig.pipeline.set_state(gst::State::Playing);
            let (error, details) = rig.wait_for_error();
            let text = error.to_string();
            assert!(
                text.contains("opusdec ! audioconvert ! audioresample"),
                "{text}"
            );
            assert_eq!(details.get::<&str>("kind").unwrap(), "settings");
        }
    }
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_source_that_stalls_in_mid_utterance_gets_its_text() {
    let talk = Talk::new(RATE);
    for encoder in ["", "frame-size=60"] {
        let (caps, packets) = packets(&talk, encoder);
        let service = listening(Protocol::Realtime, |_| {});
        let mut rig = Rig::launch(&format!(
            "appsrc name=src format=time is-live=true ! qwenasr name=asr max-speed=50 {} ! {SINK}",
            service.properties()
        ));
        let source = rig.pipeline.by_name("src").unwrap();
        source.set_property("caps", &caps);
        rig.play();
        // After four of six words of the first utterance.
        let said = 1200 + 4 * 200;
        rig.push_all(packets.iter().filter(|p| pts(p) < said).cloned());
        rig.wait_for_final("w0000 w0001 w0002 w0003");
        assert_eq!(rig.stat("queue-level"), 0);
        rig.stop();
        check_streams(&service);
    }
}
