// SPDX-License-Identifier: MPL-2.0

//! The service behind all protocols: finds out who speaks when, and has it recognised.

use std::collections::VecDeque;
use std::time::Duration;

use crate::dialect::{Act, Final, Partial};
use crate::recogniser::{Factory, Recogniser};
use crate::server::Options;
use crate::vad::{FRAME_MS, Vad, VadOptions, Voice, samples};
use crate::words::{self, Span, Word};

/// Audio between two reports of silence, in milliseconds.
const SILENCE_REPORT_MS: u64 = 1000;

/// Detection of speech, as the client wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    /// Sensitivity, -1 to 1, where -1 takes the softest audio for speech.
    pub threshold: f64,
    /// Milliseconds of silence that end an item.
    pub silence_ms: u32,
}

/// What a client wants of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    /// Samples per second.
    pub rate: u32,
    /// Without, the client says where items end.
    pub detection: Option<Detection>,
    /// The language to report instead of the one that is heard.
    pub language: Option<String>,
    /// Why nothing can be recognised, although the client's settings were accepted.
    pub obstacle: Option<String>,
    /// Audio between two interim results, if the protocol has an opinion.
    pub partial_interval: Option<Duration>,
    /// The longest item where the service finds them, if the protocol has an opinion.
    pub max_item: Option<Duration>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            rate: 16000,
            detection: None,
            language: None,
            obstacle: None,
            partial_interval: None,
            max_item: None,
        }
    }
}

/// Takes the acts of a [`Core`] one by one, as they come up.
pub type Sink<'a> = &'a mut dyn FnMut(Act);

/// The item that is being spoken.
struct Item {
    number: usize,
    /// Positions in samples at which it began, and at which its audio begins.
    begin: u64,
    origin: u64,
    /// Audio clock in milliseconds at which it is partially reported next.
    partial_ms: u64,
    /// Whether a commit of the client ended it before the speaker did.
    done: bool,
}

/// The core of one connection.
pub struct Core {
    vad_options: VadOptions,
    partial_interval: Duration,
    max_item: Option<Duration>,
    setup: Setup,
    factory: Factory,
    recogniser: Option<Box<dyn Recogniser>>,
    vad: Option<Vad>,
    /// Audio that does not fill a frame yet.
    rest: Vec<i16>,
    /// The end of the audio without speech, for the recogniser.
    before: VecDeque<i16>,
    /// Audio of the stream processed, in samples.
    clock: u64,
    /// Audio of the streams before, in milliseconds.
    earlier_ms: u64,
    /// Position up to which somebody spoke most recently, in milliseconds.
    spoken_ms: u64,
    /// Items begun, in all streams and in those before this one.
    items: usize,
    earlier_items: usize,
    item: Option<Item>,
    failed: bool,
    ended: bool,
}

impl Core {
    /// A core that does as `options` say.
    pub fn new(options: &Options) -> Self {
        Self {
            vad_options: options.vad,
            partial_interval: options.partial_interval,
            max_item: options.max_item,
            setup: Setup::default(),
            factory: options.recogniser.clone(),
            recogniser: None,
            vad: None,
            rest: Vec::new(),
            before: VecDeque::new(),
            clock: 0,
            earlier_ms: 0,
            spoken_ms: 0,
            items: 0,
            earlier_items: 0,
            item: None,
            failed: false,
            ended: false,
        }
    }

    /// Whether the session has ended; the client is not heard any more then.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Begins a stream.
    pub fn start(&mut self, setup: Setup) {
        self.earlier_ms += self.ms(self.clock);
        self.earlier_items = self.items;
        self.setup = setup;
        self.vad = None;
        self.rest.clear();
        self.before.clear();
        self.clock = 0;
        self.spoken_ms = 0;
        self.item = None;
        self.failed = false;
    }

    /// Passes on an act of the protocol's own.
    pub fn tell(&mut self, act: Act, out: Sink) {
        self.ended |= matches!(act, Act::Close { .. });
        out(act);
    }

    /// Takes samples of the stream.
    pub fn audio(&mut self, more: &[i16], out: Sink) {
        let mut pcm = std::mem::take(&mut self.rest);
        pcm.extend_from_slice(more);
        let frames = pcm.chunks_exact(samples(FRAME_MS, self.setup.rate) as usize);
        self.rest = frames.remainder().to_vec();
        for frame in frames {
            self.frame(frame, out);
        }
    }

    /// Forgets the item that is being spoken.
    pub fn clear(&mut self) {
        self.rest.clear();
        self.item = None;
    }

    /// Ends the item that is being spoken.
    pub fn commit(&mut self, out: Sink) {
        if self.setup.detection.is_none() {
            self.flush(out);
        }
        match self.item.take() {
            Some(mut item) if !item.done => {
                out(Act::Committed { item: item.number });
                self.complete_item(&item, self.clock, out);
                // The detection of speech does not learn of the commit: it commits the item
                // once more when the speaker pauses, and what is said until then is lost.
                if self.setup.detection.is_some() {
                    item.done = true;
                    self.item = Some(item);
                }
            }
            item => {
                self.item = item;
                out(Act::NothingToCommit);
            }
        }
    }

    /// Ends the stream.
    pub fn finish(&mut self, out: Sink) {
        self.flush(out);
        match self.vad.as_ref().and_then(Vad::spoken_until) {
            Some(at) => self.stop_speech(at, out),
            None => self.end_item(self.clock, out),
        }
        if !self.ended {
            out(Act::Finished {
                items: self.items - self.earlier_items,
                audio: self.ms(self.clock),
            });
        }
    }

    /// Processes what does not fill a frame, because nothing is to follow it.
    fn flush(&mut self, out: Sink) {
        let rest = std::mem::take(&mut self.rest);
        if !rest.is_empty() {
            self.frame(&rest, out);
        }
    }

    fn frame(&mut self, pcm: &[i16], out: Sink) {
        if self.ended {
            return;
        }
        self.clock += pcm.len() as u64;
        match &self.setup.detection {
            Some(detection) => {
                let vad = self.vad.get_or_insert_with(|| {
                    Vad::new(
                        self.vad_options,
                        self.setup.rate,
                        detection.threshold,
                        detection.silence_ms,
                    )
                });
                match vad.frame(pcm) {
                    Voice::Silent => {
                        self.remember(pcm);
                        self.report_silence(out);
                    }
                    Voice::Started { at } => {
                        self.remember(pcm);
                        self.start_speech(at, out);
                    }
                    Voice::Speaking => {
                        self.feed(pcm, out);
                        self.cut_speech(out);
                    }
                    Voice::Stopped { at } => {
                        self.feed(pcm, out);
                        self.stop_speech(at, out);
                    }
                }
            }
            None => {
                if self.item.is_none() {
                    let at = self.clock - pcm.len() as u64;
                    self.start_item(at, at, out);
                }
                self.feed(pcm, out);
            }
        }
        out(Act::Clock(self.earlier_ms + self.ms(self.clock)));
    }

    /// Keeps audio without speech: the beginning of speech is only known in retrospect.
    fn remember(&mut self, pcm: &[i16]) {
        let vad = &self.vad_options;
        let kept = samples(vad.pre_roll_ms + vad.onset_window_ms, self.setup.rate) as usize;
        self.before.extend(pcm);
        self.before.drain(..self.before.len().saturating_sub(kept));
    }

    fn start_speech(&mut self, at: u64, out: Sink) {
        let pre_roll = samples(self.vad_options.pre_roll_ms, self.setup.rate);
        let wanted = (self.clock - at + pre_roll) as usize;
        let unwanted = self.before.len().saturating_sub(wanted);
        let mut pcm = std::mem::take(&mut self.before);
        pcm.drain(..unwanted);
        let item = self.start_item(at, self.clock - pcm.len() as u64, out);
        if !self.ended {
            let at = self.ms(at);
            out(Act::SpeechStarted { item, at });
            self.feed(pcm.make_contiguous(), out);
        }
    }

    fn stop_speech(&mut self, at: u64, out: Sink) {
        if let Some(item) = &self.item {
            let item = item.number;
            self.spoken_ms = self.ms(at);
            out(Act::SpeechStopped {
                item,
                at: self.spoken_ms,
            });
            self.end_item(at, out);
        }
    }

    fn cut_speech(&mut self, out: Sink) {
        let now = self.ms(self.clock);
        let limit = self.setup.max_item.or(self.max_item);
        let limit = limit.map(|limit| limit.as_millis() as u64);
        if let Some(limit) = limit
            && self
                .item
                .as_ref()
                .is_some_and(|item| now - self.ms(item.begin) >= limit)
        {
            self.stop_speech(self.clock, out);
            self.start_speech(self.clock, out);
        }
    }

    /// Reports from time to time that nobody speaks.
    fn report_silence(&mut self, out: Sink) {
        let silence = self.ms(self.clock) - self.spoken_ms;
        if silence > 0 && silence.is_multiple_of(SILENCE_REPORT_MS) {
            out(Act::Silence(silence));
        }
    }

    /// Begins an item at a position in samples, with the audio from `origin` on. Returns its
    /// number.
    fn start_item(&mut self, at: u64, origin: u64, out: Sink) -> usize {
        let number = self.items;
        self.items += 1;
        self.item = Some(Item {
            number,
            begin: at,
            origin,
            partial_ms: self.ms(at) + self.interval_ms(),
            done: false,
        });
        if self.recogniser.is_none() && self.setup.obstacle.is_none() {
            match (self.factory)() {
                Ok(recogniser) => self.recogniser = Some(recogniser),
                Err(message) => {
                    self.ended = true;
                    out(Act::Error {
                        code: "internal_error".to_owned(),
                        message,
                        close: Some((1011, "Internal server error".to_owned())),
                    });
                }
            }
        }
        if let Some(recogniser) = &mut self.recogniser {
            recogniser.start(self.setup.rate);
        }
        number
    }

    /// Gives audio of the item to the recogniser and reports what it makes of it, when it is
    /// time to.
    fn feed(&mut self, pcm: &[i16], out: Sink) {
        let now = self.ms(self.clock);
        let interval = self.interval_ms();
        let Some(item) = self.item.as_mut().filter(|item| !item.done) else {
            return;
        };
        if let Some(recogniser) = &mut self.recogniser {
            recogniser.feed(pcm);
        }
        if now < item.partial_ms {
            return;
        }
        let (number, begin, origin) = (item.number, item.begin, item.origin);
        let Some(recogniser) = self.recogniser() else {
            return self.fail(out);
        };
        let Some(hypothesis) = recogniser.hypothesis() else {
            return;
        };
        if let Some(item) = &mut self.item {
            while item.partial_ms <= now {
                item.partial_ms += interval;
            }
        }
        if !hypothesis.is_empty() {
            let text = format!("{}{}", hypothesis.text, hypothesis.stash);
            let (language, words) = self.details(&text, begin, self.clock, origin);
            out(Act::Partial(Partial {
                item: number,
                language,
                hypothesis,
                begin: self.ms(begin),
                words,
                audio: now,
            }));
        }
    }

    /// Ends the item that is open, if there is one, with what was said until a position.
    fn end_item(&mut self, end: u64, out: Sink) {
        let Some(item) = self.item.take() else {
            return;
        };
        out(Act::Committed { item: item.number });
        if !item.done {
            self.complete_item(&item, end, out);
        }
    }

    fn complete_item(&mut self, item: &Item, end: u64, out: Sink) {
        out(Act::Added { item: item.number });
        let Some(recogniser) = self.recogniser() else {
            return self.fail(out);
        };
        let transcript = recogniser.finish();
        let (language, words) = self.details(&transcript, item.begin, end, item.origin);
        out(Act::Completed(Final {
            item: item.number,
            language,
            transcript,
            begin: self.ms(item.begin),
            end: self.ms(end),
            words,
            audio: self.ms(self.clock),
        }));
    }

    /// The language of a text, and its words, which were said between two positions; `origin`
    /// is the position to which the recogniser's times are relative.
    fn details(&mut self, text: &str, begin: u64, end: u64, origin: u64) -> (String, Vec<Word>) {
        let origin = self.ms(origin);
        let whole = (self.ms(begin), self.ms(end));
        let Some(recogniser) = &mut self.recogniser else {
            return Default::default();
        };
        let spans: Vec<Span> = recogniser
            .spans()
            .into_iter()
            .map(|(begin, end)| (origin + begin, origin + end))
            .collect();
        let language = self.setup.language.as_deref();
        let language = language.unwrap_or(recogniser.language()).to_owned();
        (language, words::timed(text, &spans, whole))
    }

    /// What recognises the stream, unless nothing can.
    fn recogniser(&mut self) -> Option<&mut Box<dyn Recogniser>> {
        let recogniser = self.recogniser.as_mut();
        recogniser.filter(|_| self.setup.obstacle.is_none())
    }

    /// Reports, once, that recognition is not possible. There are no transcripts then.
    fn fail(&mut self, out: Sink) {
        if let Some(message) = &self.setup.obstacle
            && !self.failed
        {
            self.failed = true;
            out(Act::Unrecognisable(message.clone()));
        }
    }

    fn interval_ms(&self) -> u64 {
        let interval = self.setup.partial_interval.unwrap_or(self.partial_interval);
        (interval.as_millis() as u64).max(FRAME_MS.into())
    }

    fn ms(&self, position: u64) -> u64 {
        position * 1000 / u64::from(self.setup.rate)
    }
}
