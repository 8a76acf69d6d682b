// SPDX-License-Identifier: MPL-2.0
//! Closed captions: into the video, and back out of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cea608_types::{Cea608, Cea608State};
use cea708_types::{CCDataParser, Service, tables::Code};
use offline_service::ScriptRecogniser;

use super::*;

const TEXT: &str =
    "The captions of a live programme have to be right, and they have to come in time.";

/// What was read out of closed captions.
#[derive(Debug, Default)]
pub struct ReadBack {
    /// Of CEA-608 channel 1.
    pub cea608: String,
    /// Of CEA-708 service 1.
    pub cea708: String,
    /// Of CEA-608 channel 3 and CEA-708 service 2, which are for another language.
    pub other: [String; 2],
}

/// The fields of a frame for CEA-608, as `cc_data` names them: for channels 1 and 2, and for 3 and 4.
const FIELDS: [u8; 2] = [0, 1];

impl ReadBack {
    /// From the closed captions of each frame, `cc_data`.
    pub fn new(frames: &[(u64, Vec<u8>)]) -> Self {
        ReadBack {
            cea608: first_channel(frames, FIELDS[0]),
            cea708: service(frames, 1),
            other: [first_channel(frames, FIELDS[1]), service(frames, 2)],
        }
    }

    /// From a pipeline that gives such captions and ends.
    pub fn from(source: &str) -> Self {
        let pipeline =
            gst::parse::launch(&format!("{source} ! fakesink name=captions async=false"))
                .unwrap()
                .downcast::<gst::Pipeline>()
                .unwrap();
        let captions = pipeline.by_name("captions").unwrap();
        let frames = collect(&captions.static_pad("sink").unwrap());
        pipeline.set_state(gst::State::Playing).unwrap();
        let message = pipeline.bus().unwrap().timed_pop_filtered(
            gst::ClockTime::from_seconds(LONG.as_secs()),
            &[gst::MessageType::Eos, gst::MessageType::Error],
        );
        pipeline.set_state(gst::State::Null).unwrap();
        let message = message.expect("the end of the captions");
        assert_eq!(message.type_(), gst::MessageType::Eos, "{message:?}");
        Self::new(&frames.lock().unwrap())
    }
}

/// The buffers that come to a pad, and their timestamps in milliseconds.
pub type Collected = Arc<Mutex<Vec<(u64, Vec<u8>)>>>;

/// Collects what comes to a pad.
pub fn collect(pad: &gst::Pad) -> Collected {
    let all = Collected::default();
    let list = all.clone();
    let keep = move |buffer: &gst::BufferRef| {
        let data = buffer.map_readable().unwrap().to_vec();
        list.lock().unwrap().push((ms(buffer.pts().unwrap()), data));
    };
    pad.add_probe(
        gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST,
        move |_, info| {
            match &info.data {
                Some(gst::PadProbeData::Buffer(buffer)) => keep(buffer),
                Some(gst::PadProbeData::BufferList(list)) => list.iter().for_each(&keep),
                _ => {}
            }
            gst::PadProbeReturn::Ok
        },
    );
    all
}

/// The text of the first CEA-608 channel of a field in `cc_data`; commands are spaces.
fn first_channel(frames: &[(u64, Vec<u8>)], field: u8) -> String {
    let triples = frames.iter().flat_map(|(_, data)| data.chunks(3));
    // Valid, and of this field.
    let pairs = triples.filter(|triple| triple[0] & 0x07 == 0x04 | field);
    cea_608(pairs.map(|triple| [triple[1], triple[2]]))
}

/// The text of the byte pairs of CEA-608; commands are spaces.
pub fn cea_608(pairs: impl Iterator<Item = [u8; 2]>) -> String {
    let mut decoder = Cea608State::default();
    let mut text = String::new();
    for pair in pairs {
        match decoder.decode(pair).unwrap() {
            Some(Cea608::Text(chars)) => {
                text.extend([chars.char1, chars.char2].into_iter().flatten());
            }
            Some(_) => text.push(' '),
            None => {}
        }
    }
    text
}

/// The text of a CEA-708 service in `cc_data`; commands are spaces.
fn service(frames: &[(u64, Vec<u8>)], number: u8) -> String {
    let mut parser = CCDataParser::new();
    let mut text = String::new();
    for (_, data) in frames {
        // The header that the parser wants: process_cc_data_flag and cc_count.
        let mut frame = vec![0xc0 | (data.len() / 3) as u8, 0xff];
        frame.extend(data);
        parser.push(&frame).unwrap();
        while let Some(packet) = parser.pop_packet() {
            let service = |service: &&Service| service.number() == number;
            for code in packet
                .services()
                .iter()
                .filter(service)
                .flat_map(Service::codes)
            {
                if *code != Code::NUL {
                    text.push(code.char().unwrap_or(' '));
                }
            }
        }
    }
    text
}

/// The words without the spaces, commands and line ends between them.
pub fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// Captions six seconds of speech.
fn captioned(recipe: &str) -> TempFile {
    peers::load();
    let server = server(|options| {
        options.recogniser = ScriptRecogniser::factory(vec![spoken(TEXT, 5500)], "en");
        options.partial_interval = Duration::from_millis(300);
    });
    let file = TempFile::new("ts");
    let mut rig = Recipe::new(recipe)
        .with_speech()
        .with_webcam(240)
        .with("captioned.ts", file.0.to_str().unwrap())
        .with_service(&server.url())
        .rig();
    rig.play();
    let speech = Speech::new(16_000).silence(500).say(0..55).silence(1500);
    rig.push_all(speech.buffers(&[320], 0));
    rig.push_eos();
    rig.wait_for_eos();
    rig.stop();
    assert_eq!(profile_of(&file), "high");
    file
}

/// Whether the captions in a file are in the picture of the recipe that shows them.
fn are_shown(file: &TempFile, overlay: &str) -> bool {
    let mut rig = Recipe::second("CEA-608")
        .with("captioned.ts", file.0.to_str().unwrap())
        .with("cea608overlay", &format!("{overlay} name=asr"))
        .with(
            "autovideosink",
            "video/x-raw,format=GRAY8 ! fakesink name=screen",
        )
        .rig();
    let screen = rig.pipeline.by_name("screen").unwrap();
    let frames = collect(&screen.static_pad("sink").unwrap());
    rig.play();
    rig.wait_for_eos();
    rig.stop();
    let frames = frames.lock().unwrap();
    let is_white = |frame: &Vec<u8>| frame.iter().any(|y| *y > 128);
    frames.iter().any(|(_, frame)| is_white(frame))
}

/// What H.264 in a file of MPEG-TS takes to decode.
pub fn profile_of(file: &TempFile) -> String {
    let pipeline = gst::parse::launch(&format!(
        "filesrc location={} ! tsdemux ! h264parse ! fakesink name=video",
        file.0.display()
    ));
    let pipeline = pipeline.unwrap().downcast::<gst::Pipeline>().unwrap();
    pipeline.set_state(gst::State::Paused).unwrap();
    let (state, ..) = pipeline.state(gst::ClockTime::from_seconds(LONG.as_secs()));
    assert_eq!(state, Ok(gst::StateChangeSuccess::Success));
    let video = pipeline.by_name("video").unwrap();
    let caps = video.static_pad("sink").unwrap().current_caps().unwrap();
    pipeline.set_state(gst::State::Null).unwrap();
    caps.structure(0).unwrap().get("profile").unwrap()
}

/// The captions in a file of MPEG-TS.
pub fn captions_of(file: &TempFile) -> ReadBack {
    ReadBack::from(&format!(
        "filesrc location={} ! tsdemux ! h264parse ! ccextractor name=extractor \
         ! fakesink async=false extractor.caption",
        file.0.display()
    ))
}

#[test]
fn every_word_is_in_cea_608() {
    let file = captioned("CEA-608");
    let captions = captions_of(&file);
    println!("{captions:?}");
    assert_eq!(words(&captions.cea608), words(TEXT));
    assert!(are_shown(&file, "cea608overlay"));
}

#[test]
fn every_word_is_in_cea_708() {
    let file = captioned("CEA-708");
    let captions = captions_of(&file);
    println!("{captions:?}");
    assert_eq!(words(&captions.cea708), words(TEXT));
    assert!(are_shown(&file, "cea708overlay"));
}
