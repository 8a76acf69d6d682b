// SPDX-License-Identifier: MPL-2.0
//! Numbered audio in, words and their times out.

use std::path::PathBuf;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use gst::prelude::*;
pub use offline_service::Protocol;
use offline_service::{Faults, Options, Server, SessionRecord, blocks};

/// Nothing here takes long; what takes this long hangs.
pub const LONG: Duration = Duration::from_secs(30);

/// The exit code of a test program of which one test hangs.
pub const HUNG: i32 = 124;

pub fn init() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        gst::init().unwrap();
        gstqwenasr::plugin_register_static().unwrap();
    });
}

/// A service that does not mind how fast the audio comes.
pub fn server(change: impl FnOnce(&mut Options)) -> Server {
    init();
    let mut options = Options {
        rate_limit: false,
        ..Options::default()
    };
    change(&mut options);
    Server::start(options)
}

/// The service in one of its protocols.
pub struct Service {
    server: Server,
    pub protocol: Protocol,
}

impl std::ops::Deref for Service {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Service {
    /// What tells the element to use it.
    pub fn properties(&self) -> String {
        self.properties_at(&format!("127.0.0.1:{}", self.port()))
    }

    /// The same for another way to get there.
    pub fn properties_at(&self, address: &str) -> String {
        let own = format!("127.0.0.1:{}", self.port());
        let url = self.url_for(self.protocol).replacen(&own, address, 1);
        let others = match self.protocol {
            Protocol::Realtime => "",
            // With settings of its own, the detection of speech is that of the other models.
            Protocol::LiveTranslate => {
                "model=qwen3.8-livetranslate-flash-realtime vad-threshold=0.5"
            }
            Protocol::Inference => "model=fun-asr-realtime",
            Protocol::Vllm => "model=qwen3-asr turn-detection=client-vad",
            Protocol::OpenAi => "model=qwen3-asr turn-detection=client-vad protocol=realtime",
            Protocol::SglangOmni => "model=qwen3-asr",
        };
        format!("url={url} {others}")
    }

    /// The connections that so many utterances of one session take, if all goes well.
    pub fn connections_for(&self, utterances: usize) -> usize {
        match self.protocol {
            Protocol::Vllm => utterances,
            _ => 1,
        }
    }

    /// Bytes of audio that came, over all connections.
    pub fn audio_bytes(&self) -> usize {
        let sessions = self.sessions();
        sessions.iter().map(SessionRecord::audio_bytes).sum()
    }

    /// Every word once and in order, every cue where its words were said: to the sample, where
    /// the service says when that was, and some milliseconds for how it looks at the audio.
    pub fn check_cues(&self, speech: &Speech, cues: &[(String, u64, u64)], offset_ms: u64) {
        let tolerance = match self.protocol {
            Protocol::Inference => 20,
            _ => 100,
        };
        check_cues_within(tolerance, speech, cues, offset_ms);
    }
}

/// The faults of the first connections that make something happen at a moment, in milliseconds, of
/// the audio that is sent: `faults` says what, for a moment of one connection. With a connection
/// for each utterance, `utterances` are the lengths of the first ones, with what is sent around
/// them.
pub fn faults_at(
    protocol: Protocol,
    mut moment: u64,
    utterances: &[u64],
    faults: impl FnOnce(u64) -> Faults,
) -> Vec<Faults> {
    let mut first = Vec::new();
    if protocol == Protocol::Vllm {
        for length in utterances {
            if moment < *length {
                break;
            }
            moment -= length;
            first.push(Faults::default());
        }
    }
    first.push(faults(moment));
    first
}

/// A service that speaks this protocol, and does not mind how fast the audio comes.
pub fn service(protocol: Protocol, change: impl FnOnce(&mut Options)) -> Service {
    let server = server(|options| {
        options.protocols = vec![protocol];
        change(options);
    });
    Service { server, protocol }
}

pub fn ms(time: gst::ClockTime) -> u64 {
    time.mseconds()
}

/// Numbered audio with known words at known times.
#[derive(Clone)]
pub struct Speech {
    pub rate: u32,
    pub samples: Vec<i16>,
    /// Number, begin and end in milliseconds of each block.
    pub truth: Vec<(u32, u64, u64)>,
}

impl Speech {
    pub fn new(rate: u32) -> Self {
        Speech {
            rate,
            samples: Vec::new(),
            truth: Vec::new(),
        }
    }

    pub fn length_ms(&self) -> u64 {
        self.samples.len() as u64 * 1000 / u64::from(self.rate)
    }

    pub fn silence(mut self, ms: u32) -> Self {
        self.samples.extend(blocks::silence(ms, self.rate));
        self
    }

    pub fn say(mut self, numbers: impl IntoIterator<Item = u32>) -> Self {
        for n in numbers {
            let begin = self.length_ms();
            self.samples.extend(blocks::block(n, self.rate));
            self.truth.push((n, begin, begin + 100));
        }
        self
    }

    /// What is sent of each utterance of [`Self::usual`] where the element finds them.
    pub const USUAL: [u64; 3] = [2550, 1750, 4050];

    /// Three utterances with pauses, 9.6 seconds.
    pub fn usual(rate: u32) -> Self {
        Speech::new(rate)
            .silence(500)
            .say(0..20)
            .silence(800)
            .say(20..32)
            .silence(1000)
            .say(32..67)
            .silence(600)
    }

    pub fn numbers(&self) -> Vec<u32> {
        self.truth.iter().map(|(n, ..)| *n).collect()
    }

    pub fn bytes(&self) -> Vec<u8> {
        blocks::bytes(&self.samples)
    }

    /// As buffers of these lengths in samples, over and over, with timestamps from `offset_ms`.
    pub fn buffers(&self, lengths: &[usize], offset_ms: u64) -> Vec<gst::Buffer> {
        let mut buffers = Vec::new();
        let (mut at, mut lengths) = (0, lengths.iter().cycle());
        while at < self.samples.len() {
            let end = (at + lengths.next().unwrap()).min(self.samples.len());
            let pts = gst::ClockTime::from_mseconds(offset_ms)
                + gst::ClockTime::SECOND
                    .mul_div_floor(at as u64, self.rate.into())
                    .unwrap();
            let mut buffer = gst::Buffer::from_slice(blocks::bytes(&self.samples[at..end]));
            buffer.get_mut().unwrap().set_pts(pts);
            buffers.push(buffer);
            at = end;
        }
        buffers
    }

    /// A WAV file of it, removed when the value is dropped.
    pub fn wav(&self) -> TempFile {
        let data = self.bytes();
        let mut wav = Vec::new();
        wav.extend(b"RIFF");
        wav.extend((36 + data.len() as u32).to_le_bytes());
        wav.extend(b"WAVEfmt ");
        wav.extend(16u32.to_le_bytes());
        wav.extend([1, 0, 1, 0]);
        wav.extend(self.rate.to_le_bytes());
        wav.extend((self.rate * 2).to_le_bytes());
        wav.extend([2, 0, 16, 0]);
        wav.extend(b"data");
        wav.extend((data.len() as u32).to_le_bytes());
        wav.extend(data);
        let file = TempFile::new("wav");
        std::fs::write(&file.0, wav).unwrap();
        file
    }
}

/// A path for a file of this test alone.
pub struct TempFile(pub PathBuf);

impl TempFile {
    pub fn new(extension: &str) -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("qwenasr-{}-{count}.{extension}", std::process::id());
        TempFile(std::env::temp_dir().join(name))
    }

    pub fn text(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap_or_default()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What left the src pad, in order. Times in milliseconds of running time.
#[derive(Debug, Clone, PartialEq)]
pub enum Left {
    Text { text: String, start: u64, end: u64 },
    Gap { start: u64, end: u64 },
    Event(String),
}

/// A pipeline with the element in it, and everything that came out.
pub struct Rig {
    pub pipeline: gst::Pipeline,
    pub element: gst::Element,
    left: Arc<Mutex<Vec<Left>>>,
    /// Element messages, in order.
    pub messages: Vec<gst::Structure>,
    pub warnings: Vec<String>,
}

impl Rig {
    /// `appsrc ! qwenasr PROPERTIES ! fakesink`.
    pub fn new(rate: u32, url: &str, properties: &str) -> Self {
        Self::fed(rate, false, &format!("url={url} {properties}"))
    }

    /// Likewise, for any protocol.
    pub fn with(service: &Service, rate: u32, properties: &str) -> Self {
        let service = service.properties();
        Self::fed(rate, false, &format!("{service} {properties}"))
    }

    /// Likewise, live.
    pub fn live(service: &Service, properties: &str) -> Self {
        let service = service.properties();
        Self::fed(16_000, true, &format!("{service} {properties}"))
    }

    fn fed(rate: u32, live: bool, properties: &str) -> Self {
        Self::launch(&format!(
            "appsrc name=src is-live={live} format=time caps=audio/x-raw,format=S16LE,rate={rate},channels=1,layout=interleaved \
             ! qwenasr name=asr {properties} ! fakesink name=out sync=false async=false"
        ))
    }

    /// A pipeline with an element `asr`, and a sink `out` if its text is of interest.
    pub fn launch(description: &str) -> Self {
        init();
        let pipeline = gst::parse::launch(description)
            .unwrap()
            .downcast::<gst::Pipeline>()
            .unwrap();
        let element = pipeline.by_name("asr").unwrap();
        let left = Arc::default();
        if let Some(sink) = pipeline.by_name("out") {
            watch(&sink.static_pad("sink").unwrap(), &left);
        }
        Rig {
            pipeline,
            element,
            left,
            messages: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Adds what goes into this pad to what is said to have come out.
    pub fn watch(&self, pad: &gst::Pad) {
        watch(pad, &self.left);
    }

    pub fn play(&self) {
        self.pipeline.set_state(gst::State::Playing).unwrap();
    }

    pub fn push(&self, buffer: gst::Buffer) {
        let src = self.pipeline.by_name("src").unwrap();
        let _ = src.emit_by_name::<gst::FlowReturn>("push-buffer", &[&buffer]);
    }

    pub fn push_all(&self, buffers: impl IntoIterator<Item = gst::Buffer>) {
        buffers.into_iter().for_each(|buffer| self.push(buffer));
    }

    pub fn push_eos(&self) {
        let src = self.pipeline.by_name("src").unwrap();
        let _ = src.emit_by_name::<gst::FlowReturn>("end-of-stream", &[]);
    }

    /// Waits for a message that `wanted` makes something of; keeps what goes by.
    pub fn wait_for<T>(&mut self, what: &str, wanted: impl Fn(&gst::Message) -> Option<T>) -> T {
        let bus = self.pipeline.bus().unwrap();
        let timeout = gst::ClockTime::from_nseconds(LONG.as_nanos() as u64);
        loop {
            let message = bus
                .timed_pop(timeout)
                .unwrap_or_else(|| panic!("no {what}; got {:?} {:?}", self.messages, self.left()));
            match message.view() {
                gst::MessageView::Element(element) => {
                    self.messages
                        .extend(element.structure().map(|s| s.to_owned()));
                }
                gst::MessageView::Warning(warning) => {
                    self.warnings.push(warning.error().to_string());
                }
                gst::MessageView::Error(error) if what != "error" => panic!("{error:?}"),
                _ => {}
            }
            if let Some(result) = wanted(&message) {
                return result;
            }
        }
    }

    pub fn wait_for_eos(&mut self) {
        self.wait_for("EOS", |message| {
            (message.type_() == gst::MessageType::Eos).then_some(())
        });
    }

    /// The first error: its domain and code, text and details.
    pub fn wait_for_error(&mut self) -> (gst::glib::Error, gst::Structure) {
        let asr = self.element.clone();
        self.wait_for("error", |message| match message.view() {
            gst::MessageView::Error(error) => {
                assert_eq!(
                    message.src(),
                    Some(asr.upcast_ref()),
                    "the element's own error comes first: {error:?}"
                );
                Some((
                    error.error(),
                    error
                        .details()
                        .map(|d| d.to_owned())
                        .unwrap_or_else(|| gst::Structure::new_empty("none")),
                ))
            }
            _ => None,
        })
    }

    /// Waits until an element message of this name comes.
    pub fn wait_for_message(&mut self, name: &str) -> gst::Structure {
        self.wait_for(name, |message| {
            message
                .structure()
                .filter(|s| s.name() == name)
                .map(|s| s.to_owned())
        })
    }

    /// Waits until the connection is in this state.
    pub fn wait_for_state(&mut self, state: &str) {
        self.wait_for(state, |message| {
            let structure = message.structure()?;
            (structure.name() == "qwenasr/connection"
                && structure.get::<String>("state").unwrap() == state)
                .then_some(())
        });
    }

    /// Plays all of it, to the end.
    pub fn run(&mut self, buffers: impl IntoIterator<Item = gst::Buffer>) {
        self.play();
        self.push_all(buffers);
        self.push_eos();
        self.wait_for_eos();
        self.stop();
    }

    pub fn stop(&self) {
        watched(2 * LONG, "set_state(NULL)", || {
            self.pipeline.set_state(gst::State::Null).unwrap();
        });
    }

    pub fn left(&self) -> Vec<Left> {
        self.left.lock().unwrap().clone()
    }

    pub fn forget(&self) {
        self.left.lock().unwrap().clear();
    }

    pub fn texts(&self) -> Vec<(String, u64, u64)> {
        texts_of(&self.left())
    }

    /// The numbers of the words on the pad.
    pub fn heard(&self) -> Vec<u32> {
        let texts = self.texts();
        texts.iter().flat_map(|(text, ..)| numbers(text)).collect()
    }

    /// A counter of the element's statistics.
    pub fn stat(&self, name: &str) -> u64 {
        let stats = self.element.property::<gst::Structure>("stats");
        stats.get(name).unwrap()
    }

    /// The states of the connection among the messages.
    pub fn states(&self) -> Vec<&str> {
        let states = self
            .messages
            .iter()
            .filter(|s| s.name() == "qwenasr/connection");
        states.map(|s| s.get("state").unwrap()).collect()
    }

    /// The finals among the messages.
    pub fn finals(&self) -> Vec<String> {
        self.messages
            .iter()
            .filter(|s| s.name() == "qwenasr/transcript" && s.get::<bool>("final").unwrap())
            .map(|s| s.get::<String>("text").unwrap())
            .collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        watched(2 * LONG, "set_state(NULL)", || {
            let _ = self.pipeline.set_state(gst::State::Null);
        });
    }
}

/// The texts among what left a pad.
pub fn texts_of(left: &[Left]) -> Vec<(String, u64, u64)> {
    let texts = left.iter().filter_map(|left| match left {
        Left::Text { text, start, end } => Some((text.clone(), *start, *end)),
        _ => None,
    });
    texts.collect()
}

/// Does what cannot be interrupted, such as a change of state that waits for an element which
/// hangs. If it takes longer than this, the process ends, and says which test it was: otherwise the
/// whole run would hang, without a word.
pub fn watched<T>(limit: Duration, what: &'static str, act: impl FnOnce() -> T) -> T {
    let test = std::thread::current().name().map(str::to_owned);
    let (done, watch) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        if watch.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            eprintln!("{} hangs in {what}", test.as_deref().unwrap_or("a test"));
            std::process::exit(HUNG);
        }
    });
    let result = act();
    drop(done);
    result
}

/// Adds what goes into this pad.
pub fn watch(pad: &gst::Pad, left: &Arc<Mutex<Vec<Left>>>) {
    let left = left.clone();
    let running = |pad: &gst::Pad, time: Option<gst::ClockTime>| {
        let segment = pad.sticky_event::<gst::event::Segment>(0).unwrap();
        let segment = segment
            .segment()
            .downcast_ref::<gst::ClockTime>()
            .unwrap()
            .clone();
        ms(segment
            .to_running_time(time.expect("a time"))
            .expect("in the segment"))
    };
    pad.add_probe(
        gst::PadProbeType::BUFFER
            | gst::PadProbeType::EVENT_DOWNSTREAM
            | gst::PadProbeType::EVENT_FLUSH,
        move |pad, info| {
            let entry = match &info.data {
                Some(gst::PadProbeData::Buffer(buffer)) => {
                    let end = buffer
                        .pts()
                        .zip(buffer.duration())
                        .map(|(pts, duration)| pts + duration);
                    Left::Text {
                        text: String::from_utf8(buffer.map_readable().unwrap().to_vec()).unwrap(),
                        start: running(pad, buffer.pts()),
                        end: running(pad, end),
                    }
                }
                Some(gst::PadProbeData::Event(event)) => match event.view() {
                    gst::EventView::Gap(gap) => {
                        let (start, duration) = gap.get();
                        Left::Gap {
                            start: running(pad, Some(start)),
                            end: running(pad, Some(start + duration.unwrap())),
                        }
                    }
                    gst::EventView::CustomDownstream(custom) => {
                        Left::Event(custom.structure().unwrap().name().to_string())
                    }
                    _ => Left::Event(event.type_().name().to_string()),
                },
                _ => return gst::PadProbeReturn::Ok,
            };
            left.lock().unwrap().push(entry);
            gst::PadProbeReturn::Ok
        },
    );
}

/// The numbers of the words in a text, whatever the language.
pub fn numbers(text: &str) -> Vec<u32> {
    text.split_whitespace()
        .map(|word| {
            word.trim_start_matches(char::is_alphabetic)
                .parse()
                .unwrap()
        })
        .collect()
}

/// When a cue that is shown from `start` on has been read, at 20 characters a second.
pub fn reading_end(text: &str, start: u64) -> u64 {
    start + 50 * text.chars().count() as u64
}

/// Every word once and in order, every cue where its words were said, to 100 ms.
pub fn check_cues(speech: &Speech, cues: &[(String, u64, u64)], offset_ms: u64) {
    check_cues_within(100, speech, cues, offset_ms);
}

/// Likewise, to this many milliseconds.
fn check_cues_within(tolerance: u64, speech: &Speech, cues: &[(String, u64, u64)], offset_ms: u64) {
    let heard: Vec<u32> = cues.iter().flat_map(|(text, ..)| numbers(text)).collect();
    assert_eq!(heard, speech.numbers(), "every word once, in order");
    let mut last_end = 0;
    for (text, start, end) in cues {
        let words = numbers(text);
        let truth = |n: u32| speech.truth.iter().find(|(m, ..)| *m == n).unwrap();
        let begins = truth(words[0]).1 + offset_ms;
        let ends = truth(*words.last().unwrap()).2 + offset_ms;
        assert!(
            start.abs_diff(begins) <= tolerance,
            "'{text}' starts at {start}, said at {begins}"
        );
        // These words are said much faster than they are read.
        let read = reading_end(text, *start);
        assert!(
            end + tolerance >= ends && *end <= ends.max(read) + tolerance,
            "'{text}' ends at {end}, said until {ends}"
        );
        assert!(
            *start >= last_end,
            "'{text}' at {start} overlaps what ends at {last_end}"
        );
        last_end = *end;
    }
}

/// Cues of an SRT file: text, begin and end in milliseconds.
pub fn srt(text: &str) -> Vec<(String, u64, u64)> {
    let time = |text: &str| {
        let numbers: Vec<u64> = text
            .trim()
            .split([':', ','])
            .map(|n| n.parse().unwrap())
            .collect();
        ((numbers[0] * 60 + numbers[1]) * 60 + numbers[2]) * 1000 + numbers[3]
    };
    text.split("\n\n")
        .filter(|block| !block.trim().is_empty())
        .map(|block| {
            let mut lines = block.trim().lines().skip(1);
            let (start, end) = lines.next().unwrap().split_once("-->").unwrap();
            (lines.collect::<Vec<_>>().join(" "), time(start), time(end))
        })
        .collect()
}
