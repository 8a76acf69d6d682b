// SPDX-License-Identifier: MPL-2.0
//! Finds the utterances in the audio (client VAD): which audio is sent, and where an utterance
//! ends.
//!
//! Audio goes in in buffers of any length, [`Step`]s come out; they do not depend on how the audio
//! was divided into buffers. Positions are in samples since the first one. Used by the session
//! only.

use std::collections::VecDeque;
use std::time::Duration;

use super::vad::{Detector, FRAME_MS, FrameClass, VoiceDetector};
use crate::audio::pcm;
use crate::timeline::{Position, Samples, Span, Timeline, Timestamp, known};

/// Settings of client VAD.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClientVad {
    /// Detection threshold in [-1, 1]; a lower one is more sensitive.
    pub threshold: f64,
    /// Silence that ends an utterance, in milliseconds, in [200, 6000].
    pub silence_ms: u32,
}

/// Onset: sound in 3 of the last 7 frames starts an utterance (rejects clicks); voice in 5 of 7
/// makes it speech (rejects flicker of the detector).
const ONSET_FRAMES: usize = 3;
const VOICE_ONSET_FRAMES: usize = 5;
const ONSET_WINDOW: usize = 7;

/// Pre-roll: audio sent from before the start of an utterance, so that its first sound is complete:
/// 304 ms.
const PRE_ROLL_FRAMES: u64 = 19;

/// Hang-over: audio sent from after its end, so that its final sound fades out: 256 ms.
const HANG_OVER_FRAMES: u64 = 16;

/// Voice needed before its absence, rather than silence, may end the utterance: 160 ms.
const VOICE_FRAMES: u64 = 10;

/// Sounds this close before or after voice may be part of the speech: 512 ms.
const ATTACHED_FRAMES: u64 = 32;

/// In the final ten seconds before the length limit, an utterance is split at the first place as
/// quiet as the quietest of the preceding five seconds; the tolerance grows to 12 dB meanwhile.
const SPLIT_WINDOW: Duration = Duration::from_secs(10);
const SPLIT_MEMORY_FRAMES: usize = 312;
const SPLIT_TOLERANCE: f32 = 12.0;

/// A place to split is three frames long, and 6 dB below the average.
const SPLIT_FRAMES: usize = 3;
const SPLIT_DEPTH: f32 = 6.0;

/// An action for the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// An utterance started at this time.
    Began { time: Timestamp },
    /// Send this audio; its first sample has this time.
    Audio { time: Timestamp, audio: Vec<u8> },
    /// Commit the utterance; the speech is between these timestamps.
    Ended { speech: Span },
}

/// The current utterance.
#[derive(Debug)]
struct Utterance {
    start: Position,
    /// Whether it contains voice, rather than other sounds only.
    voiced: bool,
    /// Ends of the latest voice and of the latest sound.
    voice_until: Position,
    sound_until: Position,
    /// Number of frames with any sound, of those up to the latest voice, and of those with voice.
    sounds: u64,
    sounds_before: u64,
    voices: u64,
}

impl Utterance {
    fn note(&mut self, class: FrameClass, now: Position) {
        if class.anything() {
            self.sound_until = now;
            self.sounds += 1;
        }
        if class.voice {
            self.voice_until = now;
            self.voices += 1;
            self.sounds_before = self.sounds;
        }
    }

    /// Whether sounds without voice may be taken for noise: not if there was hardly any voice, or
    /// if the detector heard no voice in most of the speech either.
    fn knows_voice(&self) -> bool {
        self.voices >= VOICE_FRAMES && self.voices * 2 >= self.sounds_before
    }
}

/// Finds the utterances of one session.
pub(super) struct Segmenter<H = VoiceDetector> {
    detector: H,
    timeline: Timeline,
    /// Samples per frame.
    frame: Samples,
    /// Silence that ends an utterance.
    silence: Samples,
    /// Longest utterance.
    limit: Samples,
    utterance: Option<Utterance>,
    /// Audio that may still have to be sent, up to the end of the input.
    held: VecDeque<u8>,
    /// Position of its first sample.
    held_from: Position,
    /// End of the frames classified so far.
    classified_until: Position,
    /// The latest frames: the start of each, and its class.
    recent: VecDeque<(Position, FrameClass)>,
    /// The ends of frames, and the highest level in the [`SPLIT_FRAMES`] up to each.
    levels: VecDeque<(Position, f32)>,
    /// Samples sent since the latest commit.
    sent: Samples,
    /// Position up to which what was sent is contiguous in position and time.
    sent_until: Option<Position>,
    /// Position of the latest small jump of the timestamps, which lies in the audio held back or
    /// before it.
    seam: Option<Position>,
    samples: Vec<i16>,
    steps: VecDeque<Step>,
}

impl Segmenter {
    /// `limit_ms` is the maximum length of an utterance in the protocol.
    pub fn new(settings: ClientVad, rate: u32, limit_ms: u64) -> Self {
        let ear = VoiceDetector::new(settings.threshold);
        Segmenter::with(ear, settings.silence_ms, rate, limit_ms)
    }
}

impl<H: Detector> Segmenter<H> {
    fn with(detector: H, silence_ms: u32, rate: u32, limit_ms: u64) -> Self {
        let samples = |ms| Samples::within(Duration::from_millis(ms), rate);
        Segmenter {
            detector,
            timeline: Timeline::new(rate),
            frame: samples(FRAME_MS).max(Samples(1)),
            silence: samples(silence_ms.into()),
            limit: samples(limit_ms),
            utterance: None,
            held: VecDeque::new(),
            held_from: Position::default(),
            classified_until: Position::default(),
            recent: VecDeque::new(),
            levels: VecDeque::new(),
            sent: Samples(0),
            sent_until: None,
            seam: None,
            samples: Vec::new(),
            steps: VecDeque::new(),
        }
    }

    /// Takes whole samples, the first of which has this timestamp.
    pub fn feed(&mut self, time: Timestamp, audio: &[u8]) {
        if let Some(expected) = self.timeline.end_time(self.end()) {
            let sample = Samples(1).duration(self.timeline.rate()) + Duration::from_nanos(1);
            if time.abs_diff(expected) > sample {
                self.jump(time.abs_diff(expected));
            }
        }
        self.timeline.append(time, pcm::samples(audio.len()));
        self.held.extend(audio);
        while self.classified_until + self.frame <= self.end() {
            self.listen();
        }
        let oldest = self
            .utterance
            .as_ref()
            .map_or(self.held_from, |utterance| utterance.start);
        self.timeline.forget_before(oldest.min(self.held_from));
    }

    /// The audio from this timestamp on is `by` nanoseconds later.
    pub fn move_since(&mut self, since: Timestamp, by: i64) {
        self.timeline.move_since(since, by);
    }

    /// No more audio will arrive, or not for a long time.
    pub fn finish(&mut self) {
        self.send_rest();
        self.end_utterance();
    }

    pub fn next_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// Silence was sent for another reason; it counts towards the next utterance.
    pub fn pad(&mut self, samples: Samples) {
        self.sent += samples;
    }

    /// Whether no utterance is in progress, or left to be sent.
    pub fn is_silent(&self) -> bool {
        self.utterance.is_none() && self.steps.is_empty()
    }

    /// Discards the count of what was sent so far.
    pub fn forget_padding(&mut self) {
        self.sent = Samples(0);
    }

    /// Time up to which nothing more will be sent; `None` in an utterance.
    pub fn silent_until(&self) -> Option<Timestamp> {
        match self.utterance {
            Some(_) => None,
            None if self.held.is_empty() => self.timeline.end_time(self.held_from),
            None => self.timeline.start_time(self.held_from),
        }
    }

    /// Position at the end of the input.
    fn end(&self) -> Position {
        self.timeline.clock()
    }

    /// The input is not contiguous: its timestamps jump ahead or back by this distance.
    fn jump(&mut self, distance: Duration) {
        if distance < self.silence.duration(self.timeline.rate()) {
            // The audio itself goes on. What is held back may be the beginning of a word.
            self.seam = Some(self.end());
            return;
        }
        self.send_rest();
        self.end_utterance();
        self.drop_until(self.end());
        self.sent_until = None;
        self.classified_until = self.end();
        self.recent.clear();
    }

    /// Sends the part of the held-back audio that belongs to the utterance.
    fn send_rest(&mut self) {
        if let Some(utterance) = &self.utterance {
            let hang_over = utterance.sound_until + self.frame * HANG_OVER_FRAMES;
            self.send_until(self.end().min(hang_over));
            self.classified_until = self.classified_until.max(self.held_from);
        }
    }

    fn listen(&mut self) {
        let begin = self.classified_until;
        self.classified_until += self.frame;
        let first = pcm::bytes(begin.since(self.held_from));
        let frame = self.held.range(first..first + pcm::bytes(self.frame));
        self.samples.clear();
        self.samples.extend(pcm::values(frame));
        let class = self.detector.classify(&self.samples);
        if self.recent.len() == ONSET_WINDOW {
            self.recent.pop_front();
        }
        self.recent.push_back((begin, class));
        self.note_level();
        match self.utterance.take() {
            None => self.wait_for_speech(),
            Some(utterance) => self.go_on(utterance, class),
        }
        self.split_in_time();
    }

    fn note_level(&mut self) {
        let latest = self.recent.iter().rev().take(SPLIT_FRAMES);
        let level = latest
            .map(|(_, class)| class.level)
            .fold(f32::MIN, f32::max);
        if self.levels.len() == SPLIT_MEMORY_FRAMES {
            self.levels.pop_front();
        }
        self.levels.push_back((self.classified_until, level));
    }

    /// Start of the first of the recent frames that match, if at least this many do.
    fn onset(&self, frames: usize, is_it: impl Fn(&FrameClass) -> bool) -> Option<Position> {
        let mut begins = self.recent.iter().filter(|(_, class)| is_it(class));
        let first = begins.next()?.0;
        (begins.count() + 1 >= frames).then_some(first)
    }

    fn voice_onset(&self) -> Option<Position> {
        self.onset(VOICE_ONSET_FRAMES, |class| class.voice)
    }

    /// Position from which to keep audio: the start of an utterance is only known in retrospect.
    fn keep_from(&self) -> Position {
        let frames = PRE_ROLL_FRAMES + ONSET_WINDOW as u64;
        self.classified_until - self.frame * frames
    }

    fn wait_for_speech(&mut self) {
        let Some(start) = self.onset(ONSET_FRAMES, |class| class.anything()) else {
            return self.drop_until(self.keep_from());
        };
        let voiced = self.voice_onset().is_some();
        self.begin_utterance(start, voiced);
    }

    fn begin_utterance(&mut self, start: Position, voiced: bool) {
        self.drop_until(start - self.frame * PRE_ROLL_FRAMES);
        let time = known(self.timeline.start_time(start));
        self.steps.push_back(Step::Began { time });
        self.utterance = Some(Utterance {
            start,
            voiced,
            voice_until: self.classified_until,
            sound_until: self.classified_until,
            sounds: 0,
            sounds_before: 0,
            voices: 0,
        });
        if voiced {
            self.send_until(self.classified_until);
        }
    }

    fn go_on(&mut self, mut utterance: Utterance, class: FrameClass) {
        let now = self.classified_until;
        utterance.note(class, now);
        let voice = self.voice_onset();
        let attached = self.frame * ATTACHED_FRAMES;
        if let Some(start) =
            voice.filter(|start| !utterance.voiced && start.since(utterance.start) > attached)
        {
            return self.part_from(utterance, start);
        }
        utterance.voiced |= voice.is_some();
        let hang_over = utterance.sound_until + self.frame * HANG_OVER_FRAMES;
        let over = now.since(utterance.sound_until) >= self.silence;
        // The newest part of sounds without voice is held back: if voice follows, they may not be
        // part of its utterance.
        let ready = if utterance.voiced || over {
            now
        } else {
            self.keep_from()
        };
        self.send_until(ready.min(hang_over));
        // Only the end of a long pause is of use.
        self.drop_until(self.keep_from());
        let voice_over =
            utterance.knows_voice() && now.since(utterance.voice_until) >= self.silence + attached;
        if voice_over && !over {
            utterance.sound_until = utterance.voice_until;
        }
        self.utterance = Some(utterance);
        if over || voice_over {
            self.end_utterance();
        }
    }

    /// Speech starts after mere sounds: it becomes an utterance of its own.
    fn part_from(&mut self, mut sounds: Utterance, start: Position) {
        let pre_roll = start - self.frame * PRE_ROLL_FRAMES;
        self.send_until(pre_roll);
        sounds.sound_until = pre_roll.min(sounds.sound_until);
        self.utterance = Some(sounds);
        let recent = std::mem::take(&mut self.recent);
        self.end_utterance();
        self.recent = recent;
        self.begin_utterance(start, true);
    }

    fn end_utterance(&mut self) {
        let Some(utterance) = self.utterance.take() else {
            return;
        };
        let start = known(self.timeline.start_time(utterance.start));
        let end = known(self.timeline.end_time(utterance.sound_until));
        let speech = Span::new(start, end.max(start));
        self.steps.push_back(Step::Ended { speech });
        self.sent = Samples(0);
        self.recent.clear();
    }

    /// Ends the utterance before it gets too long, at a quiet place if there is one.
    fn split_in_time(&mut self) {
        let window = Samples::within(SPLIT_WINDOW, self.timeline.rate());
        let window = window.min(Samples(self.limit.0 / 4));
        let begin = self.limit - window;
        if self.sent < begin || self.utterance.is_none() {
            return;
        }
        let progress = (self.sent - begin).0 as f32 / window.0.max(1) as f32;
        if progress < 1.0 && !self.is_quiet_place(progress * SPLIT_TOLERANCE) {
            return;
        }
        let here = self.held_from;
        let goes_on = self.utterance.as_mut().is_some_and(|utterance| {
            let goes_on = utterance.sound_until > here;
            utterance.sound_until = utterance.sound_until.min(here);
            goes_on
        });
        self.end_utterance();
        // The audio held back is not examined again.
        if goes_on {
            self.begin_utterance(here, false);
        }
    }

    /// Whether what was sent ends in a place as quiet as any recent one, within this tolerance in
    /// decibels.
    fn is_quiet_place(&self, tolerance: f32) -> bool {
        let until = self
            .levels
            .partition_point(|(end, _)| *end <= self.held_from);
        let mut levels = self.levels.range(..until).rev().map(|(_, level)| *level);
        let Some(here) = levels.next() else {
            return false;
        };
        let (count, sum, lowest) = levels
            .fold((0, 0.0, f32::MAX), |(count, sum, lowest), level| {
                (count + 1, sum + level, lowest.min(level))
            });
        let usual = sum / count.max(1) as f32;
        here <= lowest + tolerance && here <= usual - SPLIT_DEPTH
    }

    /// Sends what is held back before this position, in pieces that are contiguous in time.
    fn send_until(&mut self, position: Position) {
        if let Some(seam) = self.seam.take_if(|seam| *seam <= position) {
            self.send_piece(seam);
            self.sent_until = None;
        }
        self.send_piece(position);
    }

    fn send_piece(&mut self, position: Position) {
        if position <= self.held_from {
            return;
        }
        let (from, time) = (self.held_from, self.timeline.start_time(self.held_from));
        let bytes = self.bytes_until(position);
        let sent = self.held.drain(..bytes);
        match self.steps.back_mut() {
            Some(Step::Audio { audio, .. }) if self.sent_until == Some(from) => audio.extend(sent),
            _ => self.steps.push_back(Step::Audio {
                time: known(time),
                audio: sent.collect(),
            }),
        }
        self.held_from += pcm::samples(bytes);
        self.sent += pcm::samples(bytes);
        self.sent_until = Some(self.held_from);
    }

    fn drop_until(&mut self, position: Position) {
        let bytes = self.bytes_until(position);
        self.held.drain(..bytes);
        self.held_from += pcm::samples(bytes);
    }

    /// Number of bytes held before this position.
    fn bytes_until(&self, position: Position) -> usize {
        pcm::bytes(position.min(self.end()).since(self.held_from))
    }
}

#[cfg(test)]
mod tests;
