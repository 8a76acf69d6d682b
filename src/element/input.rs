// SPDX-License-Identifier: MPL-2.0
//! The way of the audio from a sink pad into a session.

use std::sync::{Arc, Mutex};

use gst::prelude::*;

use super::completion::{Completion, Ending};
use super::properties::TurnDetection;
use super::report::{Report, Stats, TextOutput, post_audio_lost};
use super::settings::Settings;
use super::{CAT, lock};
use crate::net::{self, AudioQueue, Full, Link, PushError};
use crate::protocol::Failure;
use crate::timeline::Continuity;

/// Bytes in a frame of S16LE mono.
const SAMPLE: usize = 2;

/// Sessions of earlier segments that may still be waiting for their last words in a live pipeline.
const MOST_DRAINING: usize = 4;

/// A session that takes audio, seen from the sink pad.
struct Run {
    queue: Arc<AudioQueue>,
    completion: Arc<Completion>,
    continuity: Continuity,
    /// Half a sample, where upstream cut one in two.
    odd_byte: Option<u8>,
    full: Full,
    /// Stops the session when dropped.
    _link: Link,
}

/// What came in and where it goes. Belongs to the streaming thread; other threads only
/// [`interrupt`](Input::interrupt) and [`stop`](Input::stop) it.
pub struct Input {
    rate: u32,
    segment: gst::FormattedSegment<gst::ClockTime>,
    run: Option<Run>,
    /// Sessions that get no more audio and are still to report their last words.
    draining: Vec<Run>,
    /// Also who comes now must not wait.
    interrupted: bool,
}

impl Default for Input {
    fn default() -> Self {
        Input {
            rate: 16_000,
            segment: gst::FormattedSegment::new(),
            run: None,
            draining: Vec::new(),
            interrupted: false,
        }
    }
}

/// Audio that is ready for the queue; pushing it may block, so no lock may be held then.
struct Feed {
    queue: Arc<AudioQueue>,
    completion: Arc<Completion>,
    full: Full,
    segment: gst::FormattedSegment<gst::ClockTime>,
    /// Stream time and samples of the silence that comes first.
    silence: Option<(u64, u64)>,
    jump: Option<u64>,
    odd_byte: Option<u8>,
}

/// Sessions that get no more audio.
pub struct Draining(Vec<Arc<Completion>>);

impl Draining {
    /// Waits until they have ended. The input's lock must not be held.
    pub fn wait(&self) -> Result<(), Refused> {
        self.0
            .iter()
            .try_for_each(|completion| match completion.wait() {
                Some(_) => Ok(()),
                None => Err(Refused::Interrupted),
            })
    }
}

/// Why the streaming thread cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// [`Input::interrupt`] was called: try again once that is over.
    Interrupted,
    /// The session takes no more.
    Over(gst::FlowError),
}

impl From<Refused> for gst::FlowError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Interrupted => gst::FlowError::Flushing,
            Refused::Over(error) => error,
        }
    }
}

/// Where the audio of one buffer or gap got to: can be taken up again after an interruption.
pub struct Feeding {
    feed: Feed,
    odd: bool,
}

impl Input {
    pub fn segment(&self) -> &gst::FormattedSegment<gst::ClockTime> {
        &self.segment
    }

    /// The part of the buffer that lies in the segment.
    pub fn clip(&self, buffer: gst::Buffer) -> Option<gst::Buffer> {
        gst_audio::audio_buffer_clip(buffer, self.segment.upcast_ref(), self.rate, SAMPLE as u32)
    }

    /// Whether the next audio needs a session to be started first.
    pub fn needs_run(&self) -> bool {
        self.run.is_none()
    }

    /// The sample rate of what follows; a session has one rate only.
    pub fn set_rate(&mut self, rate: u32) {
        if rate != self.rate {
            self.end_run();
            self.rate = rate;
        }
    }

    /// The segment of what follows; a session has one segment only.
    pub fn set_segment(&mut self, segment: &gst::Segment) {
        let time = match segment.downcast_ref::<gst::ClockTime>() {
            Some(time) => time.clone(),
            // Raw bytes without timestamps are counted from 0.
            None => gst::FormattedSegment::new(),
        };
        let mut last = self.segment.clone();
        last.set_position(time.position());
        if last != time {
            self.end_run();
        }
        self.segment = time;
    }

    /// No more audio comes for the running session: it reports its last words in its own time.
    pub fn end_run(&mut self) {
        self.draining.retain(|run| run.completion.get().is_none());
        if let Some(run) = self.run.take() {
            run.queue.finish();
            self.draining.push(run);
        }
        if self.draining.len() > MOST_DRAINING {
            self.draining.remove(0);
        }
    }

    /// What is still to report its last words.
    pub fn draining(&self) -> Draining {
        let completions = self.draining.iter().map(|run| run.completion.clone());
        Draining(completions.collect())
    }

    /// Starts a session for the audio that follows. Returns what of the settings has no effect.
    pub fn start_run(
        &mut self,
        element: &gst::Element,
        settings: &Settings,
        stats: &Stats,
        live: bool,
        mut text: impl TextOutput,
    ) -> Result<Vec<String>, Failure> {
        let rate = self.rate;
        let endpoint = settings.endpoint()?;
        let setup = settings.setup(rate)?;
        let config = settings.session(rate, &setup);
        let queue = Arc::new(AudioQueue::new(
            rate,
            settings.queue_bytes(rate),
            config.chunk_bytes,
        ));
        let waker = queue.clone();
        text.set_waker(Box::new(move || waker.wake()));
        let completion = Arc::new(Completion::default());
        gst::debug!(
            CAT,
            obj = element,
            "new session with {}",
            endpoint.authority()
        );
        let report = Report::new(
            element,
            &self.segment,
            rate,
            stats.clone(),
            completion.clone(),
            text,
        );
        let link = net::spawn(endpoint, config, setup.codecs, queue.clone(), report)?;
        if self.interrupted {
            queue.interrupt();
            completion.interrupt();
        }
        self.run = Some(Run {
            queue,
            completion,
            continuity: Continuity::new(rate, settings.pause()),
            odd_byte: None,
            full: if live { Full::DropOldest } else { Full::Wait },
            _link: link,
        });
        Ok(setup.warnings)
    }

    /// Places a buffer on the timeline. `None` if there is no session.
    pub fn feed_buffer(&mut self, buffer: &gst::BufferRef) -> Option<Feeding> {
        let default = self
            .segment
            .position()
            .or(self.segment.start())
            .unwrap_or_default();
        let run = self.run.as_mut()?;
        let odd_byte = run.odd_byte.take();
        let bytes = buffer.size() + usize::from(odd_byte.is_some());
        let plan = run.continuity.audio(
            buffer.pts().map(gst::ClockTime::nseconds),
            default.nseconds(),
            (bytes / SAMPLE) as u64,
        );
        let jump = plan.jumped.then_some(plan.time);
        // Half a sample has nothing to do with what comes after a jump.
        let odd_byte = odd_byte.filter(|_| jump.is_none());
        let odd = !(buffer.size() + usize::from(odd_byte.is_some())).is_multiple_of(SAMPLE);
        Some(Feeding {
            feed: run.feed(&self.segment, plan.silence, jump, odd_byte),
            odd,
        })
    }

    /// Places a gap on the timeline, as silence. `None` if nothing is to be sent for it.
    pub fn feed_gap(&mut self, start: gst::ClockTime, end: gst::ClockTime) -> Option<Feeding> {
        let (start, end) = self.segment.clip(start, end)?;
        let run = self.run.as_mut()?;
        let first = run.continuity.expected().is_none();
        let silence = run.continuity.gap(start?.nseconds(), end?.nseconds())?;
        let jump = first.then_some(silence.0);
        Some(Feeding {
            feed: run.feed(&self.segment, Some(silence), jump, None),
            odd: false,
        })
    }

    /// Half a sample that is to be put before the next buffer.
    fn keep_odd_byte(&mut self, byte: u8) {
        if let Some(run) = &mut self.run {
            run.odd_byte = Some(byte);
        }
    }

    /// Timestamp of the audio that comes next, while a session takes audio.
    pub fn position(&self) -> Option<u64> {
        self.run.as_ref()?.continuity.expected()
    }

    /// Ends the utterance here, if that is for us to say.
    pub fn commit(&self, element: &gst::Element, settings: &Settings) {
        if settings.turn_detection != TurnDetection::Manual {
            gst::warning!(CAT, obj = element, "a commit needs turn-detection=manual");
        } else if let Some(run) = &self.run {
            run.queue.commit();
        }
    }

    /// Another context from here on.
    pub fn set_context(&self, context: Option<String>) {
        if let Some(run) = &self.run {
            run.queue.set_context(context);
        }
    }

    /// Frees the streaming thread from whatever it waits for in here, until [`Self::resume`].
    pub fn interrupt(&mut self) {
        self.interrupted = true;
        for run in self.run.iter().chain(&self.draining) {
            run.queue.interrupt();
            run.completion.interrupt();
        }
    }

    pub fn resume(&mut self) {
        self.interrupted = false;
        for run in self.run.iter().chain(&self.draining) {
            run.queue.resume();
            run.completion.resume();
        }
    }

    /// Forgets all sessions; they stop without reporting anything more.
    pub fn stop(&mut self) {
        self.interrupt();
        self.run = None;
        self.draining.clear();
        self.interrupted = false;
    }

    /// Audio waiting to be sent, in nanoseconds.
    pub fn queue_level(&self) -> u64 {
        let runs = self.run.iter().chain(&self.draining);
        runs.map(|run| run.queue.level()).sum()
    }
}

impl Run {
    fn feed(
        &self,
        segment: &gst::FormattedSegment<gst::ClockTime>,
        silence: Option<(u64, u64)>,
        jump: Option<u64>,
        odd_byte: Option<u8>,
    ) -> Feed {
        Feed {
            queue: self.queue.clone(),
            completion: self.completion.clone(),
            full: self.full,
            segment: segment.clone(),
            silence,
            jump,
            odd_byte,
        }
    }
}

impl Feeding {
    /// Pushes what is left to push of the buffer (nothing for a gap). The input's lock must not
    /// be held: in a pipeline that is not live this waits for room.
    pub fn push(
        &mut self,
        buffer: Option<&gst::BufferRef>,
        input: &Mutex<Input>,
        element: &gst::Element,
        stats: &Stats,
    ) -> Result<(), Refused> {
        let map = buffer
            .map(gst::BufferRef::map_readable)
            .transpose()
            .map_err(|_| {
                gst::element_error!(
                    element,
                    gst::ResourceError::Read,
                    ["A buffer cannot be read."]
                );
                Refused::Over(gst::FlowError::Error)
            })?;
        let audio = map.as_deref().unwrap_or_default();
        if let Some((_, samples)) = self.feed.silence {
            // The silence follows the audio before it, except where nothing does.
            let jump = if audio.is_empty() {
                self.feed.jump
            } else {
                None
            };
            self.feed
                .push(jump, &vec![0; samples as usize * SAMPLE], element, stats)?;
            self.feed.silence = None;
        }
        let (audio, odd) = audio.split_at(audio.len() - usize::from(self.odd));
        match self.feed.odd_byte {
            Some(byte) => {
                let joined = [&[byte], audio].concat();
                self.feed.push(self.feed.jump, &joined, element, stats)?;
            }
            None => self.feed.push(self.feed.jump, audio, element, stats)?,
        }
        if let Some(byte) = odd.first() {
            lock(input).keep_odd_byte(*byte);
        }
        Ok(())
    }
}

impl Feed {
    fn push(
        &self,
        jump: Option<u64>,
        audio: &[u8],
        element: &gst::Element,
        stats: &Stats,
    ) -> Result<(), Refused> {
        if audio.is_empty() {
            return Ok(());
        }
        match self.queue.push(jump, audio, self.full) {
            Ok(None) => Ok(()),
            Ok(Some(lost)) => {
                post_audio_lost(
                    element,
                    stats,
                    lost,
                    "the network is too slow",
                    &self.segment,
                );
                Ok(())
            }
            Err(PushError::Interrupted) => Err(Refused::Interrupted),
            Err(PushError::Closed) => Err(match self.completion.wait() {
                // The ERROR was posted before.
                Some(Ending::Failed) => Refused::Over(gst::FlowError::Error),
                Some(Ending::Drained | Ending::Stopped) => Refused::Over(gst::FlowError::Flushing),
                None => Refused::Interrupted,
            }),
        }
    }
}

/// Whether upstream is live, which decides if audio may wait.
pub fn is_live(sink_pad: &gst::Pad) -> Option<(bool, gst::ClockTime)> {
    let mut query = gst::query::Latency::new();
    sink_pad.peer_query(&mut query).then(|| {
        let (live, min, _) = query.result();
        (live, min)
    })
}
