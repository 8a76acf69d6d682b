// SPDX-License-Identifier: MPL-2.0
//! Captions for what RTSP, RTMP and web servers send, through lossy codecs.

mod hls;

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::common::*;
use super::talk::{self, Talk};
use gst::prelude::*;
use offline_service::Server;

/// How far from the truth the times of captions may be: AAC delays the sound and smears its edges.
const TOLERANCE_MS: u64 = 200;

fn tone_server() -> Server {
    server(talk::recognise_tones)
}

/// A program that ends with the test, however that ends.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The command of docs/ingest.md that has this in it, as the pipeline it makes.
fn recipe(part: &str) -> String {
    include_str!("../../docs/ingest.md")
        .split("```")
        .filter_map(|block| block.strip_prefix("sh\n"))
        .find(|block| block.contains(part))
        .expect("a command")
        .replace("gst-launch-1.0 -e", "")
        .replace("gst-launch-1.0", "")
        .replace("\\\n", "")
}

/// `text` with something else in it, which has to be there.
fn swap(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "'{from}' in {text}");
    text.replace(from, to)
}

/// An RTSP server for what a pipeline makes, and its address.
fn rtsp_server(pipeline: &str) -> (Program, String) {
    let mut program = Command::new("/usr/bin/python3")
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/pipelines/rtsp_server.py"
        ))
        .arg(pipeline)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("/usr/bin/python3 runs");
    let mut url = String::new();
    BufReader::new(program.stdout.take().unwrap())
        .read_line(&mut url)
        .unwrap();
    assert!(url.starts_with("rtsp:"), "the RTSP server runs");
    (Program(program), url.trim().to_owned())
}

/// Captions what an RTSP server sends that encodes so, with a pipeline from `RTSP` that has a
/// `qwenasr` and ends with a sink.
fn rtsp(rate: u32, encoder: &str, pipeline: &str) {
    let service = tone_server();
    let talk = Talk::new(rate);
    let wav = talk.speech.wav();
    let (_program, url) = rtsp_server(&format!(
        "filesrc location={} ! wavparse ! audioconvert ! {encoder}",
        wav.0.display()
    ));
    let ours = format!("qwenasr name=asr url={}", service.url());
    let pipeline = swap(&swap(pipeline, "RTSP", &url), "qwenasr", &ours);
    let mut rig = Rig::launch(&pipeline);
    // The server's time begins when the client connects.
    let begin = Arc::new(Mutex::new(None));
    let heard = begin.clone();
    let sink = rig.element.static_pad("sink").unwrap();
    sink.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let segment = pad.sticky_event::<gst::event::Segment>(0).unwrap();
        let pts = info.buffer().and_then(|buffer| buffer.pts());
        let segment = segment.segment().downcast_ref::<gst::ClockTime>();
        *heard.lock().unwrap() = segment.unwrap().to_running_time(pts).map(ms);
        gst::PadProbeReturn::Remove
    });
    rig.play();
    rig.wait_for_eos();
    rig.stop();
    let begin = begin.lock().unwrap().expect("audio");
    talk.check(TOLERANCE_MS, &rig.texts(), begin);
    assert_eq!(rig.stat("late-texts"), 0);
}

/// A receiver of RTSP with this decoder.
fn receiver(decoder: &str) -> String {
    format!(
        "rtspsrc location=RTSP protocols=tcp latency=200 ! {decoder} ! qwenasr \
         ! fakesink name=out sync=false async=false"
    )
}

#[test]
fn rtsp_with_telephone_audio() {
    // 8 kHz as it is.
    let recipe = recipe("mulawdec");
    let recipe = swap(&recipe, "rtsp://gateway/call", "RTSP protocols=tcp");
    let sink = "fakesink name=out sync=false async=false";
    rtsp(
        8000,
        "mulawenc ! rtppcmupay name=pay0 pt=0",
        &swap(&recipe, "srtenc ! filesink location=call.srt", sink),
    );
}

#[test]
fn rtsp_with_aac() {
    rtsp(
        48_000,
        "voaacenc ! aacparse ! rtpmp4gpay name=pay0 pt=96",
        &receiver("rtpmp4gdepay ! aacparse ! faad ! audioconvert ! audioresample"),
    );
}

#[test]
fn rtsp_with_whatever_there_is() {
    rtsp(
        16_000,
        "voaacenc ! rtpmp4apay name=pay0 pt=96",
        &receiver("decodebin ! audioconvert ! audioresample"),
    );
}

#[test]
fn rtsp_with_a_picture() {
    let service = tone_server();
    let talk = Talk::new(8000);
    let wav = talk.speech.wav();
    let frames = talk.speech.length_ms() / FRAME_MS;
    let (_program, url) = rtsp_server(&format!(
        "filesrc location={} ! wavparse ! mulawenc ! rtppcmupay name=pay0 pt=0 \
         videotestsrc pattern=black num-buffers={frames} \
           ! video/x-raw,format=I420,width={WIDTH},height={HEIGHT},framerate=10/1 \
           ! openh264enc complexity=low gop-size=10 ! rtph264pay name=pay1 pt=97",
        wav.0.display()
    ));
    let recipe = swap(
        &recipe("rtsp://camera"),
        "rtsp://camera/stream",
        &format!("{url} protocols=tcp"),
    );
    let ours = format!("qwenasr name=asr url={}", service.url());
    let recipe = swap(&recipe, "qwenasr", &ours);
    let sink = "video/x-raw,format=I420 ! fakesink name=video sync=false";
    let mut rig = Rig::launch(&swap(&recipe, "autovideosink", sink));
    let seen = watch(&rig.pipeline);
    rig.play();
    rig.wait_for_eos();
    let words: Vec<_> = talk.truth.iter().map(|(words, ..)| words.clone()).collect();
    assert_eq!(rig.finals(), words);
    // The last line stays on through the pauses.
    let seen = seen.lock().unwrap();
    let first = seen.iter().position(|(_, text)| *text);
    let first = first.expect("captions in the picture");
    assert!((8..=20).contains(&first), "{seen:?}");
    assert!(seen[first..].iter().all(|(_, text)| *text), "{seen:?}");
}

#[test]
fn rtp_with_opus() {
    let service = tone_server();
    let talk = Talk::new(16_000);
    // Freed again for the moment until the receiver has it.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    drop(socket);
    let receiver = swap(
        &recipe("rtpopusdepay"),
        "port=5004",
        &format!("port={port}"),
    );
    let ours = format!("qwenasr name=asr url={}", service.url());
    let sink = "fakesink name=out sync=false async=false";
    let receiver = swap(&receiver, "srtenc ! filesink location=call.srt", sink);
    let mut rig = Rig::launch(&swap(&receiver, "qwenasr", &ours));
    rig.play();
    let wav = talk.speech.wav();
    let sender = parse(&format!(
        "filesrc location={} ! wavparse ! identity sync=true ! opusenc dtx=true audio-type=voice \
         ! rtpopuspay ! udpsink host=127.0.0.1 port={port}",
        wav.0.display()
    ));
    sender.set_state(gst::State::Playing).unwrap();
    for (words, ..) in &talk.truth {
        rig.wait_for_final(words);
    }
    sender.set_state(gst::State::Null).unwrap();
    rig.stop();
    assert!(
        service
            .sessions()
            .iter()
            .all(|s| s.streams[0].format == "opus")
    );
}

/// A server for RTMP, in a directory of its own.
struct Nginx {
    port: u16,
    directory: PathBuf,
    _program: Program,
}

impl Nginx {
    fn start() -> Self {
        let directory = TempFile::new("nginx").0.clone();
        std::fs::create_dir_all(&directory).unwrap();
        // Freed again for the moment that the server takes to start.
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let configuration = format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr;
             load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
             events {{ worker_connections 64; }}
             rtmp {{
               access_log off;
               server {{ listen 127.0.0.1:{port}; application live {{ live on; }} }}
             }}"
        );
        let file = directory.join("nginx.conf");
        std::fs::write(&file, configuration).unwrap();
        let mut program = Program(
            Command::new("/usr/sbin/nginx")
                .args(["-e", "stderr", "-p"])
                .arg(&directory)
                .arg("-c")
                .arg(&file)
                .spawn()
                .expect("nginx runs"),
        );
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(program.0.try_wait().unwrap().is_none(), "nginx runs on");
            assert!(begin.elapsed() < LONG, "nginx listens");
            std::thread::yield_now();
        }
        Nginx {
            port,
            directory,
            _program: program,
        }
    }

    fn url(&self, stream: &str) -> String {
        format!("rtmp://127.0.0.1:{}/live/{stream}", self.port)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

const WIDTH: usize = 320;
const HEIGHT: usize = 180;
const FRAME_MS: u64 = 100;

/// Frames whose upper half is white while somebody speaks.
fn frames(talk: &Talk) -> Vec<gst::Buffer> {
    let count = talk.speech.length_ms() / FRAME_MS;
    let frame = |n: u64| {
        let mut picture = vec![16u8; WIDTH * HEIGHT];
        if talk.speaks(n * FRAME_MS) {
            picture[..WIDTH * HEIGHT / 2].fill(235);
        }
        picture.resize(WIDTH * HEIGHT * 3 / 2, 128);
        let mut buffer = gst::Buffer::from_slice(picture);
        let parts = buffer.get_mut().unwrap();
        parts.set_pts(gst::ClockTime::from_mseconds(n * FRAME_MS));
        parts.set_duration(gst::ClockTime::from_mseconds(FRAME_MS));
        buffer
    };
    (0..count).map(frame).collect()
}

/// What is seen in the luma of a frame: whether somebody speaks, and whether there is text.
fn look(luma: &[u8]) -> (bool, bool) {
    let (above, below) = luma.split_at(WIDTH * HEIGHT / 2);
    let mean = above[..WIDTH * HEIGHT / 4].iter().map(|&y| u64::from(y));
    let speaks = mean.sum::<u64>() > (WIDTH * HEIGHT / 4) as u64 * 128;
    (speaks, below.iter().filter(|y| **y > 100).count() >= 20)
}

fn parse(description: &str) -> gst::Pipeline {
    let element = gst::parse::launch(description).unwrap();
    element.downcast::<gst::Pipeline>().unwrap()
}

/// Keeps what the frames of a stream show.
fn watch(pipeline: &gst::Pipeline) -> Arc<Mutex<Vec<(bool, bool)>>> {
    let seen: Arc<Mutex<Vec<(bool, bool)>>> = Arc::default();
    let frames = seen.clone();
    let pad = pipeline.by_name("video").unwrap().static_pad("sink");
    pad.unwrap()
        .add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            let caps = pad.current_caps().unwrap();
            let structure = caps.structure(0).unwrap();
            assert_eq!(structure.get::<i32>("width"), Ok(WIDTH as i32));
            let buffer = info.buffer().unwrap();
            let map = buffer.map_readable().unwrap();
            frames.lock().unwrap().push(look(&map[..WIDTH * HEIGHT]));
            gst::PadProbeReturn::Ok
        });
    seen
}

/// Has a source bring all of this, and then the end.
fn push(pipeline: &gst::Pipeline, source: &str, buffers: Vec<gst::Buffer>) {
    let source = pipeline.by_name(source).unwrap();
    for buffer in buffers {
        let _ = source.emit_by_name::<gst::FlowReturn>("push-buffer", &[&buffer]);
    }
    let _ = source.emit_by_name::<gst::FlowReturn>("end-of-stream", &[]);
}

#[test]
fn rtmp_in_and_out_with_captions_burnt_in() {
    let service = tone_server();
    let nginx = Nginx::start();
    let talk = Talk::new(16_000);
    // Those who receive come first and miss nothing.
    let viewer = parse(&format!(
        "rtmp2src location={} ! flvdemux name=demux \
         demux.video ! queue ! h264parse ! openh264dec ! fakesink name=video sync=false \
         demux.audio ! queue ! faad ! audioconvert ! fakesink name=audio sync=false",
        nginx.url("captioned")
    ));
    let seen = watch(&viewer);
    viewer.set_state(gst::State::Playing).unwrap();
    let mut recipe = recipe("rtmp2sink");
    for (from, to) in [
        ("rtmp://server/live/captioned", nginx.url("captioned")),
        ("rtmp://server/live/program", nginx.url("program")),
        // Cues, which are there while somebody speaks.
        (
            "qwenasr results=interim latency=3000",
            format!("qwenasr name=asr url={} latency=4000", service.url()),
        ),
        (
            "x264enc tune=zerolatency speed-preset=veryfast key-int-max=50",
            "openh264enc complexity=low gop-size=20".to_owned(),
        ),
    ] {
        recipe = swap(&recipe, from, &to);
    }
    let mut rig = Rig::launch(&recipe);
    rig.play();
    let publisher = parse(&format!(
        "flvmux name=mux streamable=true ! rtmp2sink location={} \
         appsrc name=audio format=time \
           caps=audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved \
           ! voaacenc ! aacparse ! queue ! mux.audio \
         appsrc name=video format=time \
           caps=video/x-raw,format=I420,width={WIDTH},height={HEIGHT},framerate=10/1 \
           ! openh264enc complexity=low gop-size=20 ! h264parse ! queue ! mux.video",
        nginx.url("program")
    ));
    for (name, buffers) in [
        ("audio", talk.speech.buffers(&[1024], 0)),
        ("video", frames(&talk)),
    ] {
        push(&publisher, name, buffers);
    }
    publisher.set_state(gst::State::Playing).unwrap();
    rig.wait_for_eos();
    let words: Vec<_> = talk.truth.iter().map(|(words, ..)| words.clone()).collect();
    assert_eq!(rig.finals(), words);
    assert!(rig.warnings.is_empty(), "{:?}", rig.warnings);
    let end = viewer.bus().unwrap().timed_pop_filtered(
        gst::ClockTime::from_nseconds(LONG.as_nanos() as u64),
        &[gst::MessageType::Eos, gst::MessageType::Error],
    );
    let end = end.expect("an end").type_();
    for pipeline in [&publisher, &viewer] {
        pipeline.set_state(gst::State::Null).unwrap();
    }
    assert_eq!(end, gst::MessageType::Eos);
    let seen = seen.lock().unwrap();
    assert!(seen.len() + 5 >= frames(&talk).len(), "{}", seen.len());
    // Two frames before and after somebody begins or ends to speak are left out.
    // After that, text only stays until it has been read.
    let mut looked_at = [0, 0];
    for (n, around) in seen.windows(5).enumerate() {
        let ((_, shown), (speaks, text)) = (around[1], around[2]);
        if around.iter().all(|(other, _)| *other == speaks) {
            looked_at[usize::from(speaks)] += 1;
            let is_right = if speaks { text } else { !text || shown };
            assert!(is_right, "in frame {} of {seen:?}", n + 2);
        }
    }
    assert!(looked_at.iter().all(|count| *count >= 20), "{looked_at:?}");
}
