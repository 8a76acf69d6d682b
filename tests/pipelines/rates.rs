// SPDX-License-Identifier: MPL-2.0
//! Sample rates: upstream makes what the protocol takes, and what it insists on is taken or refused
//! with the remedy.

use super::common::*;
use gst::prelude::*;

const PROTOCOLS: [Protocol; 6] = [
    Protocol::Realtime,
    Protocol::LiveTranslate,
    Protocol::Inference,
    Protocol::Vllm,
    Protocol::OpenAi,
    Protocol::SglangOmni,
];

/// Half a second of audio of this format, through these elements into `qwenasr` or `qwenasrsink`.
fn rig(server: &Service, format: &str, through: &str, is_sink: bool) -> Rig {
    let (name, rest) = match is_sink {
        true => ("qwenasrsink", ""),
        false => ("qwenasr", "! fakesink"),
    };
    Rig::launch(&format!(
        "audiotestsrc num-buffers=20 ! audio/x-raw,{format} {through} \
         ! {name} name=asr max-speed=100 {} {rest}",
        server.properties()
    ))
}

#[test]
fn upstream_makes_what_the_protocol_takes() {
    for protocol in PROTOCOLS {
        let server = service(protocol, |_| {});
        for rate in [8000, 16_000, 22_050, 24_000, 44_100, 48_000] {
            let expected = match (protocol, rate) {
                (Protocol::Realtime | Protocol::Inference, 8000) => 8000,
                (Protocol::OpenAi, 24_000) => 24_000,
                _ => 16_000,
            };
            for is_sink in [false, true] {
                let format = format!("rate={rate},channels=2");
                let through = "! audioconvert ! audioresample";
                let mut rig = rig(&server, &format, through, is_sink);
                rig.play();
                rig.wait_for_eos();
                let caps = rig.element.static_pad("sink").unwrap().current_caps();
                let caps = caps.unwrap();
                let made = caps.structure(0).unwrap().get::<i32>("rate");
                assert_eq!(made, Ok(expected), "{protocol:?} of {rate}: {caps}");
            }
        }
    }
}

#[test]
fn what_upstream_insists_on_is_refused_with_the_remedy() {
    for protocol in PROTOCOLS {
        let server = service(protocol, |_| {});
        for is_sink in [false, true] {
            let format = "rate=24000,channels=1,format=S16LE";
            let mut rig = rig(&server, format, "", is_sink);
            rig.play();
            if protocol == Protocol::OpenAi {
                rig.wait_for_eos();
                continue;
            }
            let (error, details) = rig.wait_for_error();
            let remedy = "audioresample ! audio/x-raw,rate=16000";
            assert!(error.message().contains(remedy), "{error}");
            assert_eq!(details.get::<&str>("kind").unwrap(), "settings");
            assert_eq!(server.connections(), 0, "{protocol:?}");
        }
    }
}
