// SPDX-License-Identifier: MPL-2.0
//! A pipeline with the element in it, and what came out of its pads.

use std::process::{Command, Output};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;

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

    /// Waits for the final transcript with this text.
    pub fn wait_for_final(&mut self, text: &str) {
        self.wait_for(text, |message| {
            let said = message.structure()?;
            let is_final = said.get::<bool>("final").unwrap_or_default();
            (is_final && said.get::<&str>("text") == Ok(text)).then_some(())
        });
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

/// For programs that a test runs.
pub trait Finish {
    /// Runs it to its end, which has to come.
    fn finish(&mut self) -> Output;
}

impl Finish for Command {
    fn finish(&mut self) -> Output {
        // It may be built first.
        let output = watched(10 * LONG, "a program that does not end", || self.output());
        output.unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }
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
    // A panic would end all tests.
    let has_segment = |pad: &gst::Pad| pad.sticky_event::<gst::event::Segment>(0).is_some();
    pad.add_probe(
        gst::PadProbeType::BUFFER
            | gst::PadProbeType::EVENT_DOWNSTREAM
            | gst::PadProbeType::EVENT_FLUSH,
        move |pad, info| {
            let entry = match &info.data {
                Some(gst::PadProbeData::Buffer(_)) if !has_segment(pad) => {
                    Left::Event("text without a segment".into())
                }
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
                    gst::EventView::Gap(_) if !has_segment(pad) => {
                        Left::Event("gap without a segment".into())
                    }
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
