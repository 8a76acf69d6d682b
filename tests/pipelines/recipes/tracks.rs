// SPDX-License-Identifier: MPL-2.0
//! Captions as a track of a file.

use std::sync::{Arc, Mutex};

use super::*;

/// The text of a file's subtitle track, with its times in milliseconds.
fn track(file: &TempFile, demuxer: &str) -> Vec<(String, u64, u64)> {
    let mut rig = Rig::launch(&format!(
        "filesrc location={} ! {demuxer} name=asr asr.subtitle_0 ! queue \
         ! fakesink name=track async=false",
        file.0.display()
    ));
    let cues = Arc::new(Mutex::new(Vec::new()));
    let list = cues.clone();
    let pad = rig.pipeline.by_name("track").unwrap().static_pad("sink");
    pad.unwrap()
        .add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            let buffer = info.buffer().unwrap();
            let text = String::from_utf8(buffer.map_readable().unwrap().to_vec()).unwrap();
            // In MP4 the segment has what the track begins later than the file.
            let segment = pad.sticky_event::<gst::event::Segment>(0).unwrap();
            let segment = segment.segment().downcast_ref::<gst::ClockTime>();
            let start = ms(segment.unwrap().to_running_time(buffer.pts()).unwrap());
            // Where there is no text, MP4 has samples without any.
            if !text.trim().is_empty() {
                let end = start + ms(buffer.duration().unwrap());
                list.lock().unwrap().push((text, start, end));
            }
            gst::PadProbeReturn::Ok
        });
    rig.play();
    rig.wait_for_eos();
    rig.stop();
    let cues = cues.lock().unwrap();
    cues.clone()
}

#[test]
fn matroska_and_mp4_have_a_track_of_captions() {
    let test = |muxer: &str, demuxer: &str| {
        let server = server(|_| {});
        let file = TempFile::new("media");
        let speech = Speech::new(16_000)
            .silence(500)
            .say(0..20)
            .silence(900)
            .say(20..40)
            .silence(1500);
        let mut rig = Recipe::new("A subtitle track in a file")
            .with_speech()
            .with_webcam(150)
            .with("matroskamux", muxer)
            .with("captioned.mkv", file.0.to_str().unwrap())
            .with_service(&server.url())
            .rig();
        rig.play();
        rig.push_all(speech.buffers(&[320], 0));
        rig.push_eos();
        rig.wait_for_eos();
        rig.stop();
        let cues = track(&file, demuxer);
        // The first of the streams begins at 0 in the file, if not exactly in the pipeline.
        check_cues(&speech, &cues, 0);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| test("matroskamux", "matroskademux"));
        scope.spawn(|| test("mp4mux", "qtdemux"));
    });
}
