// SPDX-License-Identifier: MPL-2.0
//! The path of the audio from a sink pad into sessions.
//!
//! Driven by the streaming thread: it places buffers with the input's lock held, and pushes the
//! result without it, since pushing may block for room. Other threads only call
//! [`interrupt`](Input::interrupt) and [`stop`](Input::stop), or read state.

use std::sync::Arc;
use std::time::Duration;

use gst::prelude::*;

use super::CAT;
use super::assignment::{Key, MAIN};
use super::enums::TurnDetection;
use super::feeding::{Feeding, Takers};
use super::format;
use super::properties::Settings;
use super::uplink::{Draining, Uplink};
use crate::audio::{Coding, Format, opus, pcm};
use crate::continuity::{Continuity, Placement, Plan};
use crate::protocol::Failure;
use crate::timeline::{Samples, Timestamp};

/// Maximum number of sessions of earlier streams that may be draining at once in a live pipeline,
/// each over a connection of its own. finish-timeout limits how long each may take.
const MAX_DRAINING: usize = 64;

/// Largest gap between two streams that still counts as a continuation: an input selector that
/// switches leaves one.
const MAX_SWITCH: Duration = Duration::from_secs(1);

/// Audio that goes together, from its first buffer on: that of one session, or of several, which
/// get the same.
#[derive(Debug)]
struct Run {
    uplinks: Arc<[Arc<Uplink>]>,
    coding: Coding,
    continuity: Continuity,
    /// Samples that the first packet has before the beginning of the stream, until it is sent.
    clipped: Samples,
    /// The latest packet had no speech in it: what is missing after it was not sent (DTX).
    after_silence: bool,
    /// The first byte of a sample that upstream split between two buffers.
    odd_byte: Option<u8>,
    /// Buffers held back until their place on the timeline is known.
    held: Vec<gst::Buffer>,
    /// Another stream has started since the latest buffer.
    another_stream: bool,
}

/// The input's state: the running session and the draining ones.
#[derive(Debug)]
pub struct Input {
    format: Format,
    segment: gst::FormattedSegment<gst::ClockTime>,
    run: Option<Run>,
    /// Sessions that get no more audio but have text left to report, oldest first.
    draining: Vec<Arc<Uplink>>,
    /// Capacity of the queues of those and the running one.
    capacity: Duration,
    /// Future pushes must not block either.
    interrupted: bool,
}

impl Default for Input {
    fn default() -> Self {
        Self {
            format: Format::pcm(16_000),
            segment: gst::FormattedSegment::new(),
            run: None,
            draining: Vec::new(),
            capacity: Duration::ZERO,
            interrupted: false,
        }
    }
}

/// Where a buffer was placed.
pub enum Placed {
    /// There is no session: the buffer comes back.
    Nowhere(gst::Buffer),
    /// The buffer is held back.
    Held,
    Fed(Feeding),
    /// The buffers start another session. `back` is how far timestamps went back in mid-segment, if
    /// they did.
    Restart {
        buffers: Vec<gst::Buffer>,
        back: Option<Duration>,
    },
}

impl Input {
    pub fn segment(&self) -> &gst::FormattedSegment<gst::ClockTime> {
        &self.segment
    }

    /// The part of the buffer that lies within the segment, and its running time if it has one.
    ///
    /// # Errors
    ///
    /// If its audio cannot be taken, other than the caps have it.
    pub fn clip(
        &self,
        buffer: gst::Buffer,
    ) -> Result<Option<(gst::Buffer, Option<gst::ClockTime>)>, Failure> {
        let clipped = format::clip(buffer, &self.segment, self.format)?;
        Ok(clipped.map(|buffer| {
            let running_time = self.running_time(&buffer);
            (buffer, running_time)
        }))
    }

    /// The running time at which a buffer starts.
    pub fn running_time(&self, buffer: &gst::BufferRef) -> Option<gst::ClockTime> {
        self.segment.to_running_time(buffer.pts()?)
    }

    /// Whether the next audio needs a session to be started first.
    pub fn needs_run(&self) -> bool {
        self.run.is_none()
    }

    /// Sets the format of the audio that follows; a session has only one.
    pub fn set_format(&mut self, format: Format) {
        if format != self.format {
            self.end_run();
            self.format = format;
        }
    }

    /// Sets the segment of the audio that follows; a session has only one.
    pub fn set_segment(&mut self, segment: &gst::Segment) {
        let time = match segment.downcast_ref::<gst::ClockTime>() {
            Some(time) => time.clone(),
            // A BYTES segment has no timestamps: time is counted from 0.
            None => gst::FormattedSegment::new(),
        };
        let mut before = self.segment.clone();
        before.set_position(time.position());
        if before != time {
            self.end_run();
        }
        self.segment = time;
    }

    /// Another stream starts, possibly with the same segment. It gets a session of its own, unless
    /// its audio continues where the previous stream's ended.
    pub fn begin_stream(&mut self) {
        if let Some(run) = &mut self.run {
            run.another_stream = true;
        }
    }

    /// Ends the audio of the running session, which then drains in the background. Call
    /// [`Self::flush`] first.
    pub fn end_run(&mut self) {
        self.draining
            .retain(|uplink| uplink.completion.get().is_none());
        if let Some(run) = self.run.take() {
            for uplink in run.uplinks.iter() {
                uplink.queue.finish();
                self.draining.push(uplink.clone());
            }
        }
        let mut kept: Duration = self.draining.iter().map(|u| u.queue.level()).sum();
        let mut count = self.draining.len();
        for uplink in &self.draining {
            if kept <= self.capacity && count <= MAX_DRAINING {
                break;
            }
            kept = kept.saturating_sub(uplink.queue.level());
            count -= 1;
            // It reports what is lost, and ends.
            uplink.queue.give_up();
        }
    }

    /// The sessions that still have text to report.
    pub fn draining(&self) -> Draining {
        Draining(self.draining.clone())
    }

    pub fn format(&self) -> Format {
        self.format
    }

    /// Sends the audio to these sessions from now on, none of them if the settings allowed none.
    pub fn begin_run(&mut self, uplinks: Vec<Arc<Uplink>>, live: bool, settings: &Settings) {
        uplinks.iter().for_each(|uplink| self.welcome(uplink));
        let capacity = Duration::from_millis(settings.max_queue_time.into());
        self.capacity = capacity * u32::try_from(uplinks.len().max(1)).unwrap_or(u32::MAX);
        let pause = uplinks.first().map(|first| first.pause);
        self.run = Some(Run {
            uplinks: uplinks.into(),
            coding: self.format.coding,
            continuity: Continuity::new(self.format, pause.unwrap_or_default(), live),
            clipped: Samples(0),
            after_silence: false,
            odd_byte: None,
            held: Vec::new(),
            another_stream: false,
        });
    }

    /// Sends the audio to this session, too, from the next buffer on.
    pub fn join(&mut self, uplink: Arc<Uplink>) {
        self.welcome(&uplink);
        // If the run was ended meanwhile, the session is dropped, and stops.
        if let Some(run) = &mut self.run {
            run.uplinks = run.uplinks.iter().cloned().chain([uplink]).collect();
        }
    }

    fn welcome(&self, uplink: &Uplink) {
        if self.interrupted {
            uplink.queue.interrupt();
            uplink.completion.interrupt();
        }
    }

    /// Stops the sessions of this key, which report nothing more, and lets go of whoever waits for
    /// them.
    pub fn release(&mut self, key: Key) {
        for uplink in self.uplinks().filter(|uplink| uplink.key == key) {
            uplink.release();
        }
        self.draining.retain(|uplink| uplink.key != key);
        if let Some(run) = &mut self.run {
            let kept = run.uplinks.iter().filter(|uplink| uplink.key != key);
            run.uplinks = kept.cloned().collect();
        }
    }

    /// Places a buffer on the timeline.
    pub fn place(&mut self, buffer: gst::Buffer) -> Placed {
        let start = self.segment.position().or(self.segment.start());
        match &mut self.run {
            Some(run) => run.place(buffer, start.unwrap_or_default()),
            None => Placed::Nowhere(buffer),
        }
    }

    /// Places the buffers held back, since nothing follows for now.
    pub fn flush(&mut self) -> Placed {
        match &mut self.run {
            Some(run) if !run.held.is_empty() => {
                let expected = run.continuity.expected();
                let placement = run.continuity.flush();
                run.follow(placement, expected, None)
            }
            _ => Placed::Held,
        }
    }

    /// Places a gap on the timeline, as silence. `None` if it needs no audio. Call [`Self::flush`]
    /// first.
    pub fn place_gap(&mut self, start: gst::ClockTime, end: gst::ClockTime) -> Option<Feeding> {
        let (start, end) = self.segment.clip(start, end)?;
        let run = self.run.as_mut()?;
        let first = run.continuity.expected().is_none();
        let silence = run.continuity.gap(timestamp(start?), timestamp(end?))?;
        let plan = Plan {
            moved: None,
            silence: Some(silence),
            jump: first.then_some(silence.time),
        };
        Some(run.feed(plan, Some(silence.time), None))
    }

    /// Timestamp of the next audio expected, while a session takes audio.
    pub fn position(&self) -> Option<Timestamp> {
        self.run.as_ref()?.continuity.expected()
    }

    /// Ends the utterance here, if the client controls utterance boundaries.
    pub fn commit(&self, element: &gst::Element, settings: &Settings) {
        if settings.turn_detection != TurnDetection::Manual {
            gst::warning!(CAT, obj = element, "a commit needs turn-detection=manual");
        } else if let Some(uplink) = self.uplink(MAIN) {
            uplink.queue.commit();
        }
    }

    /// The sessions that get the audio.
    pub fn running(&self) -> Arc<[Arc<Uplink>]> {
        let running = self.run.as_ref().map(|run| run.uplinks.clone());
        running.unwrap_or_default()
    }

    /// The session of this key that gets the audio, if there is one.
    pub fn uplink(&self, key: Key) -> Option<Arc<Uplink>> {
        let mut running = self.run.iter().flat_map(|run| run.uplinks.iter());
        running.find(|uplink| uplink.key == key).cloned()
    }

    fn uplinks(&self) -> impl Iterator<Item = &Arc<Uplink>> {
        let running = self.run.iter().flat_map(|run| run.uplinks.iter());
        running.chain(&self.draining)
    }

    /// Unblocks the streaming thread from any wait in here, until [`Self::resume`].
    pub fn interrupt(&mut self) {
        self.interrupted = true;
        for uplink in self.uplinks() {
            uplink.queue.interrupt();
            uplink.completion.interrupt();
        }
    }

    pub fn resume(&mut self) {
        self.interrupted = false;
        for uplink in self.uplinks() {
            uplink.queue.resume();
            uplink.completion.resume();
        }
    }

    /// Drops all sessions; they stop without reporting anything more.
    pub fn stop(&mut self) {
        self.interrupt();
        self.run = None;
        self.draining.clear();
        self.interrupted = false;
    }

    /// Audio waiting to be sent in the sessions of this key.
    pub fn queue_level(&self, key: Key) -> Duration {
        let uplinks = self.uplinks().filter(|uplink| uplink.key == key);
        uplinks.map(|uplink| uplink.queue.level()).sum()
    }
}

impl Run {
    fn place(&mut self, buffer: gst::Buffer, start: gst::ClockTime) -> Placed {
        let time = buffer.pts().map(timestamp);
        if std::mem::take(&mut self.another_stream)
            && let (Some(time), Some(expected)) = (time, self.continuity.expected())
            && !(expected..=expected + MAX_SWITCH).contains(&time)
        {
            return self.restart(Some(buffer), None);
        }
        let flagged = buffer.flags().contains(gst::BufferFlags::DISCONT);
        let expected = self.continuity.expected();
        let (samples, discont) = match self.coding {
            Coding::Pcm => {
                let bytes = buffer.size() + usize::from(self.odd_byte.is_some());
                (pcm::samples(bytes), flagged)
            }
            Coding::Opus => {
                let (samples, is_loud) = opus_packet(&buffer);
                if expected.is_none() {
                    let lookahead = format::lookahead(&buffer);
                    self.clipped = lookahead.min(samples - Coding::Opus.step());
                }
                let after_silence = std::mem::replace(&mut self.after_silence, !is_loud);
                (samples - self.clipped, flagged || after_silence)
            }
        };
        let placement = self
            .continuity
            .audio(time, timestamp(start), samples, discont);
        self.follow(placement, expected, Some(buffer))
    }

    /// Does as the placement says; `expected` is where the audio before it ended.
    fn follow(
        &mut self,
        placement: Placement,
        expected: Option<Timestamp>,
        buffer: Option<gst::Buffer>,
    ) -> Placed {
        match placement {
            Placement::Send(plan) => Placed::Fed(self.feed(plan, expected, buffer)),
            Placement::Hold { release } => {
                let feeding = release.then(|| self.feed(Plan::default(), expected, None));
                self.held.extend(buffer);
                feeding.map_or(Placed::Held, Placed::Fed)
            }
            Placement::Restart { back } => self.restart(buffer, Some(back)),
        }
    }

    fn restart(&mut self, buffer: Option<gst::Buffer>, back: Option<Duration>) -> Placed {
        let mut buffers = std::mem::take(&mut self.held);
        buffers.extend(buffer);
        Placed::Restart { buffers, back }
    }

    /// Queues the buffers held back, then the buffer. A split sample at its end is kept for the
    /// next one.
    fn feed(
        &mut self,
        plan: Plan,
        start: Option<Timestamp>,
        buffer: Option<gst::Buffer>,
    ) -> Feeding {
        let held = std::mem::take(&mut self.held);
        // A split sample does not continue across a jump.
        let odd_byte = self.odd_byte.take().filter(|_| plan.jump.is_none());
        let sizes = held.iter().chain(&buffer).map(|buffer| buffer.size());
        let bytes = sizes.sum::<usize>() + usize::from(odd_byte.is_some());
        if self.coding.rest(bytes) > 0 {
            let newest = buffer.as_ref().or(held.last());
            let map = newest.and_then(|buffer| buffer.map_readable().ok());
            self.odd_byte = map.and_then(|map| map.last().copied());
        }
        Feeding {
            takers: Takers {
                uplinks: self.uplinks.clone(),
                served: 0,
                start,
            },
            coding: self.coding,
            moved: plan.moved,
            silence: plan.silence,
            jump: plan.jump,
            odd_byte,
            clipped: std::mem::take(&mut self.clipped),
            held: held.into_iter(),
            buffer,
        }
    }
}

/// Length of the packet in a buffer, and whether there may be speech in it.
fn opus_packet(buffer: &gst::BufferRef) -> (Samples, bool) {
    let map = buffer.map_readable().ok();
    let packet = map.as_deref().unwrap_or_default();
    let samples = opus::length(packet).unwrap_or_default();
    (samples, opus::is_loud(packet))
}

fn timestamp(time: gst::ClockTime) -> Timestamp {
    Timestamp::from_nanos(time.nseconds())
}

/// Whether upstream is live, which decides whether pushing may block, and its minimum latency.
pub fn is_live(sink_pad: &gst::Pad) -> Option<(bool, gst::ClockTime)> {
    let mut query = gst::query::Latency::new();
    sink_pad.peer_query(&mut query).then(|| {
        let (live, min, _) = query.result();
        (live, min)
    })
}
