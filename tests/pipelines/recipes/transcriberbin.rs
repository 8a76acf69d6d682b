// SPDX-License-Identifier: MPL-2.0
//! Dropped into `transcriberbin` of gst-plugins-rs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use offline_service::{Options, ScriptRecogniser, Server};

use super::closed_captions::{Collected, ReadBack, captions_of, collect, profile_of, words};
use super::*;

const TEXT: &str = "Good evening and welcome to the news.";

/// A service that hears this text, whatever is said.
fn news(change: impl FnOnce(&mut Options)) -> Server {
    peers::load();
    server(|options| {
        let items = vec![spoken(TEXT, 2000); 20];
        options.recogniser = ScriptRecogniser::factory(items, "en");
        options.partial_interval = Duration::from_millis(300);
        change(options);
    })
}

/// So many times an utterance of two seconds and a pause.
fn speech(times: usize) -> Speech {
    (0..times).fold(Speech::new(16_000).silence(500), |speech, _| {
        speech.say(0..20).silence(1500)
    })
}

fn recipe(server: &Server, frames: u32) -> Recipe {
    Recipe::new("transcriberbin")
        .with_speech()
        .with_frames(frames)
        .with("latency=4000", "latency=2000")
        .with_service(&server.url())
}

/// The bin in a pipeline, with its captions and the number of frames that came out.
struct Bin {
    rig: Rig,
    bin: gst::Element,
    captions: Collected,
    frames: Arc<AtomicU32>,
}

impl Bin {
    fn new(server: &Server, frames: u32) -> Self {
        let rig = recipe(server, frames)
            .with(
                "x264enc tune=zerolatency ! h264parse ! mux.",
                "ccextractor name=extractor ! queue ! fakesink name=video \
                 extractor.caption ! fakesink name=captions async=false",
            )
            .with(
                "audioconvert ! lamemp3enc ! mpegaudioparse ! mux.",
                "fakesink",
            )
            .with("mpegtsmux name=mux ! filesink location=captioned.ts", "")
            .rig();
        let sink = |name| {
            let sink = rig.pipeline.by_name(name).unwrap();
            sink.static_pad("sink").unwrap()
        };
        let captions = collect(&sink("captions"));
        let frames = Arc::new(AtomicU32::new(0));
        let count = frames.clone();
        sink("video").add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            count.fetch_add(1, Ordering::Relaxed);
            gst::PadProbeReturn::Ok
        });
        Bin {
            bin: rig.pipeline.by_name("bin").unwrap(),
            rig,
            captions,
            frames,
        }
    }

    fn captions(&self) -> ReadBack {
        ReadBack::new(&self.captions.lock().unwrap())
    }

    /// How often the text is in the CEA-708 captions: when it is switched on again, the bin forgets
    /// about CEA-608.
    fn times(&self) -> usize {
        let text = words(TEXT).join(" ");
        words(&self.captions().cea708)
            .join(" ")
            .matches(&text)
            .count()
    }

    /// Waits until something is so; what comes on the bus meanwhile must be no error.
    fn wait_until(&mut self, what: &str, so: impl Fn(&Self) -> bool) {
        let begun = std::time::Instant::now();
        let bus = self.rig.pipeline.bus().unwrap();
        while !so(self) {
            assert!(begun.elapsed() < LONG, "{what}: {:?}", self.captions());
            if let Some(message) = bus.timed_pop(gst::ClockTime::from_mseconds(20)) {
                assert_ne!(message.type_(), gst::MessageType::Error, "{message:?}");
            }
        }
    }

    /// Switches it off or on from the thread that brings the audio: from any other, the bin may see
    /// its pad idle and busy both.
    fn pass_through(&self, passthrough: bool) {
        let bin = self.bin.clone();
        let audio = bin.static_pad("sink_audio").unwrap().peer().unwrap();
        audio.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            bin.set_property("passthrough", passthrough);
            gst::PadProbeReturn::Remove
        });
    }

    /// Waits for another second of video.
    fn wait_for_frames(&mut self) {
        let before = self.frames.load(Ordering::Relaxed);
        self.wait_until("video", |bin| {
            bin.frames.load(Ordering::Relaxed) >= before + 30
        });
    }
}

#[test]
fn it_starts_every_time() {
    let start = || {
        let server = news(|_| {});
        let mut bin = Bin::new(&server, 150);
        bin.rig.pipeline.set_state(gst::State::Paused).unwrap();
        let mut latency = gst::query::Latency::new();
        bin.rig.pipeline.query(&mut latency);
        assert_eq!(server.connections(), 0, "none before there is audio");
        bin.rig.play();
        bin.rig.push_all(speech(1).silence(1000).buffers(&[320], 0));
        bin.rig.push_eos();
        bin.rig.wait_for_eos();
        bin.rig.stop();
        let captions = bin.captions();
        assert_eq!(words(&captions.cea608), words(TEXT));
        assert_eq!(words(&captions.cea708), words(TEXT));
        assert_eq!(server.connections(), 1);
        assert_eq!(languages_asked(&server)[0], "en");
    };
    for _ in 0..5 {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(start);
            }
        });
    }
}

#[test]
fn it_writes_what_the_recipe_says() {
    let server = news(|_| {});
    let file = TempFile::new("ts");
    let mut rig = Recipe::new("transcriberbin")
        .with_speech()
        .with_webcam(180)
        .with("latency=4000", "latency=2000")
        .with_service(&server.url())
        .with("captioned.ts", file.0.to_str().unwrap())
        .rig();
    rig.play();
    rig.push_all(speech(1).silence(2000).buffers(&[320], 0));
    rig.push_eos();
    rig.wait_for_eos();
    rig.stop();
    assert_eq!(profile_of(&file), "high");
    let captions = captions_of(&file);
    assert_eq!(words(&captions.cea608), words(TEXT));
    assert_eq!(words(&captions.cea708), words(TEXT));
}

#[test]
fn it_can_be_switched_while_it_runs() {
    let server = news(|_| {});
    let mut bin = Bin::new(&server, 3000);
    bin.rig.play();
    bin.rig.push_all(speech(20).buffers(&[320], 0));
    bin.wait_until("captions", |bin| bin.times() >= 1);
    bin.pass_through(true);
    bin.wait_until("the end of the session", |_| {
        !server.sessions()[0].is_open()
    });
    bin.wait_for_frames();
    let before = bin.times();
    bin.pass_through(false);
    bin.wait_until("captions again", |bin| bin.times() > before);
    // Another language is another session.
    bin.bin.set_property("language-code", "fr-FR");
    let before = bin.times();
    bin.wait_until("captions in French", |bin| bin.times() > before + 1);
    bin.rig.stop();
    assert_eq!(server.connections(), 3);
    assert_eq!(languages_asked(&server), ["en", "en", "fr"]);
}

#[test]
fn an_error_of_the_recogniser_leaves_the_video_alone() {
    let server = news(|options| options.api_key = Some("another".into()));
    let mut bin = Bin::new(&server, 3000);
    bin.rig.play();
    bin.rig.push_all(speech(20).buffers(&[320], 0));
    bin.wait_until("passthrough", |bin| bin.bin.property("passthrough"));
    bin.wait_for_frames();
    assert_eq!(words(&bin.captions().cea608), [""; 0]);
    bin.rig.stop();
}

#[test]
fn it_captions_in_two_languages() {
    // In the words of the offline service.
    let translation = "Bon evening et welcome à le news.";
    let server = news(|_| {});
    let file = TempFile::new("ts");
    let mut rig = Recipe::new("transcriberbin in two languages")
        .with_speech()
        .with_webcam(300)
        .with_service(&server.url())
        // The detection of speech is that of the other models then.
        .with("results=stable", "results=stable vad-threshold=0.5")
        .with("captioned.ts", file.0.to_str().unwrap())
        .rig();
    rig.play();
    rig.push_all(speech(2).silence(2000).buffers(&[320], 0));
    rig.push_eos();
    rig.wait_for_eos();
    rig.stop();
    let captions = captions_of(&file);
    for text in [&captions.cea608, &captions.cea708] {
        assert_eq!(words(text), words(TEXT).repeat(2), "{captions:?}");
    }
    for text in &captions.other {
        assert_eq!(words(text), words(translation).repeat(2), "{captions:?}");
    }
    assert!(rig.warnings.is_empty(), "{:?}", rig.warnings);
    assert_eq!(server.connections(), 2);
}
