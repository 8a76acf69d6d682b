// SPDX-License-Identifier: MPL-2.0
//! Finds the utterances in the audio: which of it is sent, and where an utterance ends.
//!
//! Audio comes in as the source gives it, [`Step`]s come out. They do not depend on the lengths of
//! the pieces in which it came. Positions are in samples since the first one; times are stream
//! times.

use std::collections::VecDeque;
use std::ops::Range;

use super::vad::{Detector, FRAME_MS, FrameClass, VoiceDetector};
use crate::timeline::{Timeline, duration_of, samples_in};

/// How the element finds utterances itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClientVad {
    /// Sensitivity in [-1, 1]; lower hears more.
    pub threshold: f64,
    /// Silence that ends an utterance, in milliseconds, in [200, 6000].
    pub silence_ms: u32,
}

/// Speech begins with so many frames with something in them, of so many in a row: clicks do not.
/// That it is a voice takes more of them: the detector may flicker.
const ONSET_FRAMES: usize = 3;
const VOICE_ONSET_FRAMES: usize = 5;
const ONSET_WINDOW: usize = 7;

/// Audio sent from before the begin of an utterance, so that its first sound is whole: 304 ms.
const PRE_ROLL_FRAMES: u64 = 19;

/// Audio sent from after its end, so that its last sound fades: 256 ms.
const HANG_OVER_FRAMES: u64 = 16;

/// A voice that was heard for less than this is not missed in what follows: 160 ms.
const VOICE_FRAMES: u64 = 10;

/// Sounds this long before a voice, or after it, may be a part of what was said: 512 ms.
const ATTACHED_FRAMES: u64 = 32;

/// In the last of the time that an utterance may take, it is cut at the first place that is as
/// quiet as the quietest one of the five seconds before, or nearly so: by up to 12 dB at last.
const CUT_WINDOW_MS: u64 = 10_000;
const CUT_MEMORY_FRAMES: usize = 312;
const CUT_TOLERANCE: f32 = 12.0;

/// A place to cut is so many frames long, and so many decibels below what is usual.
const CUT_FRAMES: usize = 3;
const CUT_DEPTH: f32 = 6.0;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// An utterance begins, at this time.
    Began { time: u64 },
    /// Audio is to be sent; its first sample has this time.
    Audio { time: u64, audio: Vec<u8> },
    /// The utterance is to be committed; between these times something was heard.
    Ended { speech: Range<u64> },
}

/// The utterance that is going on.
#[derive(Debug)]
struct Utterance {
    start: u64,
    /// Whether there is a voice in it, or other sounds only.
    voiced: bool,
    /// Ends of the last voice, and of anything that was heard.
    voice_until: u64,
    sound_until: u64,
    /// Frames in which anything was heard, how many of them up to the last voice, and how many
    /// with a voice.
    sounds: u64,
    sounds_before: u64,
    voices: u64,
}

impl Utterance {
    fn hear(&mut self, heard: FrameClass, now: u64) {
        if heard.anything() {
            self.sound_until = now;
            self.sounds += 1;
        }
        if heard.voice {
            self.voice_until = now;
            self.voices += 1;
            self.sounds_before = self.sounds;
        }
    }

    /// Whether sounds without a voice are none of the speech: not if there was hardly any voice,
    /// or if the detector took most of the speech for mere sounds as well.
    fn knows_voice(&self) -> bool {
        self.voices >= VOICE_FRAMES && self.voices * 2 >= self.sounds_before
    }
}

/// Finds the utterances of one session.
pub(super) struct Segmenter<H = VoiceDetector> {
    detector: H,
    timeline: Timeline,
    /// Samples in a frame.
    frame: u64,
    /// Silence that ends an utterance.
    silence: u64,
    /// Longest utterance.
    limit: u64,
    turn: Option<Utterance>,
    /// Audio that may still have to be sent, up to the end of what came.
    held: VecDeque<u8>,
    /// Position of its first sample.
    held_from: u64,
    /// Up to where frames were listened to.
    heard: u64,
    /// The last frames: where each begins, and what was heard.
    recent: VecDeque<(u64, FrameClass)>,
    /// Where frames end, and the highest level of [`CUT_FRAMES`] up to there.
    levels: VecDeque<(u64, f32)>,
    /// Samples sent since the last commit.
    sent: u64,
    /// Position and time go on without a break from what was sent up to here.
    sent_until: Option<u64>,
    samples: Vec<i16>,
    steps: VecDeque<Step>,
}

impl Segmenter {
    /// `limit_ms` is the longest utterance that the protocol bears.
    pub fn new(settings: ClientVad, rate: u32, limit_ms: u64) -> Self {
        let ear = VoiceDetector::new(settings.threshold);
        Segmenter::with(ear, settings.silence_ms, rate, limit_ms)
    }
}

impl<H: Detector> Segmenter<H> {
    fn with(detector: H, silence_ms: u32, rate: u32, limit_ms: u64) -> Self {
        let samples = |ms: u64| samples_in(ms * 1_000_000, rate);
        Segmenter {
            detector,
            timeline: Timeline::new(rate),
            frame: samples(FRAME_MS).max(1),
            silence: samples(silence_ms.into()),
            limit: samples(limit_ms),
            turn: None,
            held: VecDeque::new(),
            held_from: 0,
            heard: 0,
            recent: VecDeque::new(),
            levels: VecDeque::new(),
            sent: 0,
            sent_until: None,
            samples: Vec::new(),
            steps: VecDeque::new(),
        }
    }

    /// Takes whole samples, the first of which has this time.
    pub fn feed(&mut self, time: u64, audio: &[u8]) {
        if let Some(expected) = self.timeline.end_time(self.end()) {
            let sample = duration_of(1, self.timeline.rate()) + 1;
            if time.abs_diff(expected) > sample {
                self.jump(time.abs_diff(expected));
            }
        }
        self.timeline.append(time, audio.len() as u64 / 2);
        self.held.extend(audio);
        while self.heard + self.frame <= self.end() {
            self.listen();
        }
        let oldest = self.turn.as_ref().map_or(u64::MAX, |turn| turn.start);
        self.timeline.forget_before(oldest.min(self.held_from));
    }

    /// The audio from this timestamp on is `by` nanoseconds later.
    pub fn move_since(&mut self, since: u64, by: i64) {
        self.timeline.move_since(since, by);
    }

    /// No more audio will come, or not for long.
    pub fn finish(&mut self) {
        self.send_rest();
        self.end_turn();
    }

    pub fn next_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// Silence was sent for another reason; it counts for the next utterance.
    pub fn pad(&mut self, samples: u64) {
        self.sent += samples;
    }

    /// Whether no utterance is going on, or left to be sent.
    pub fn is_silent(&self) -> bool {
        self.turn.is_none() && self.steps.is_empty()
    }

    /// What was sent so far does not count any more.
    pub fn forget_padding(&mut self) {
        self.sent = 0;
    }

    /// Time up to which nothing will be sent any more; `None` in an utterance.
    pub fn silent_until(&self) -> Option<u64> {
        match self.turn {
            Some(_) => None,
            None if self.held.is_empty() => self.timeline.end_time(self.held_from),
            None => self.timeline.start_time(self.held_from),
        }
    }

    /// Position at the end of what came.
    fn end(&self) -> u64 {
        self.timeline.clock()
    }

    /// What was held back does not go on: timestamps are this many nanoseconds ahead of it, or
    /// behind.
    fn jump(&mut self, distance: u64) {
        self.send_rest();
        let pause = duration_of(self.silence, self.timeline.rate());
        if distance >= pause {
            self.end_turn();
        }
        self.drop_until(self.end());
        self.sent_until = None;
        self.heard = self.end();
        self.recent.clear();
    }

    /// Sends what belongs to the utterance of what is held back.
    fn send_rest(&mut self) {
        if let Some(turn) = &self.turn {
            let hang_over = turn.sound_until + HANG_OVER_FRAMES * self.frame;
            self.send_until(self.end().min(hang_over));
            self.heard = self.heard.max(self.held_from);
        }
    }

    fn listen(&mut self) {
        let begin = self.heard;
        self.heard += self.frame;
        let first = (begin - self.held_from) as usize * 2;
        let mut bytes = self.held.range(first..first + self.frame as usize * 2);
        self.samples.clear();
        while let (Some(low), Some(high)) = (bytes.next(), bytes.next()) {
            self.samples.push(i16::from_le_bytes([*low, *high]));
        }
        let heard = self.detector.hear(&self.samples);
        if self.recent.len() == ONSET_WINDOW {
            self.recent.pop_front();
        }
        self.recent.push_back((begin, heard));
        self.note_level();
        match self.turn.take() {
            None => self.wait_for_speech(),
            Some(turn) => self.go_on(turn, heard),
        }
        self.cut_in_time();
    }

    fn note_level(&mut self) {
        let last = self.recent.iter().rev().take(CUT_FRAMES);
        let level = last.map(|(_, heard)| heard.level).fold(f32::MIN, f32::max);
        if self.levels.len() == CUT_MEMORY_FRAMES {
            self.levels.pop_front();
        }
        self.levels.push_back((self.heard, level));
    }

    /// Where something begins that is in so many of the last frames.
    fn onset(&self, frames: usize, is_it: impl Fn(&FrameClass) -> bool) -> Option<u64> {
        let mut begins = self.recent.iter().filter(|(_, heard)| is_it(heard));
        let first = begins.next()?.0;
        (begins.count() + 1 >= frames).then_some(first)
    }

    fn voice_onset(&self) -> Option<u64> {
        self.onset(VOICE_ONSET_FRAMES, |heard| heard.voice)
    }

    /// Where to keep the audio from: all that comes before the begin of an utterance which is
    /// only known in retrospect.
    fn keep_from(&self) -> u64 {
        let frames = PRE_ROLL_FRAMES + ONSET_WINDOW as u64;
        self.heard.saturating_sub(frames * self.frame)
    }

    fn wait_for_speech(&mut self) {
        let Some(start) = self.onset(ONSET_FRAMES, |heard| heard.anything()) else {
            return self.drop_until(self.keep_from());
        };
        let voiced = self.voice_onset().is_some();
        self.begin_turn(start, voiced);
    }

    fn begin_turn(&mut self, start: u64, voiced: bool) {
        self.drop_until(start.saturating_sub(PRE_ROLL_FRAMES * self.frame));
        let time = self.timeline.start_time(start).unwrap_or_default();
        self.steps.push_back(Step::Began { time });
        self.turn = Some(Utterance {
            start,
            voiced,
            voice_until: self.heard,
            sound_until: self.heard,
            sounds: 0,
            sounds_before: 0,
            voices: 0,
        });
        if voiced {
            self.send_until(self.heard);
        }
    }

    fn go_on(&mut self, mut turn: Utterance, heard: FrameClass) {
        let now = self.heard;
        turn.hear(heard, now);
        let voice = self.voice_onset();
        let attached = ATTACHED_FRAMES * self.frame;
        if let Some(start) =
            voice.filter(|start| !turn.voiced && start.saturating_sub(turn.start) > attached)
        {
            return self.part_from(turn, start);
        }
        turn.voiced |= voice.is_some();
        let hang_over = turn.sound_until + HANG_OVER_FRAMES * self.frame;
        let over = now - turn.sound_until >= self.silence;
        // The last of mere sounds is held back: a voice may follow, and they are not its begin.
        let ready = if turn.voiced || over {
            now
        } else {
            self.keep_from()
        };
        self.send_until(ready.min(hang_over));
        // Of a long pause only its end is of use.
        self.drop_until(self.keep_from());
        let voice_over = turn.knows_voice() && now - turn.voice_until >= self.silence + attached;
        if voice_over && !over {
            turn.sound_until = turn.voice_until;
        }
        self.turn = Some(turn);
        if over || voice_over {
            self.end_turn();
        }
    }

    /// There were sounds, and now somebody begins to speak: that is another utterance.
    fn part_from(&mut self, mut sounds: Utterance, start: u64) {
        let pre_roll = start.saturating_sub(PRE_ROLL_FRAMES * self.frame);
        self.send_until(pre_roll);
        sounds.sound_until = pre_roll.min(sounds.sound_until);
        self.turn = Some(sounds);
        let recent = std::mem::take(&mut self.recent);
        self.end_turn();
        self.recent = recent;
        self.begin_turn(start, true);
    }

    fn end_turn(&mut self) {
        let Some(turn) = self.turn.take() else {
            return;
        };
        let start = self.timeline.start_time(turn.start).unwrap_or_default();
        let end = self.timeline.end_time(turn.sound_until).unwrap_or_default();
        let speech = start..end.max(start);
        self.steps.push_back(Step::Ended { speech });
        self.sent = 0;
        self.recent.clear();
    }

    /// Ends the utterance before it gets too long, at a quiet place if there is one.
    fn cut_in_time(&mut self) {
        let window = (CUT_WINDOW_MS * u64::from(self.timeline.rate()) / 1000).min(self.limit / 4);
        let begin = self.limit - window;
        if self.sent < begin || self.turn.is_none() {
            return;
        }
        let progress = (self.sent - begin) as f32 / window.max(1) as f32;
        if progress < 1.0 && !self.is_quiet_place(progress * CUT_TOLERANCE) {
            return;
        }
        let here = self.held_from;
        let goes_on = self.turn.as_mut().is_some_and(|turn| {
            let goes_on = turn.sound_until > here;
            turn.sound_until = turn.sound_until.min(here);
            goes_on
        });
        self.end_turn();
        // What was held back is looked at no more.
        if goes_on {
            self.begin_turn(here, false);
        }
    }

    /// Whether what was sent ends in a place as quiet as any of late, but for so many decibels.
    fn is_quiet_place(&self, tolerance: f32) -> bool {
        let until = self
            .levels
            .partition_point(|(end, _)| *end <= self.held_from);
        let mut levels = self.levels.range(..until).rev().map(|(_, level)| *level);
        let Some(last) = levels.next() else {
            return false;
        };
        let (count, sum, lowest) = levels
            .fold((0, 0.0, f32::MAX), |(count, sum, lowest), level| {
                (count + 1, sum + level, lowest.min(level))
            });
        let usual = sum / count.max(1) as f32;
        last <= lowest + tolerance && last <= usual - CUT_DEPTH
    }

    fn send_until(&mut self, position: u64) {
        if position <= self.held_from {
            return;
        }
        let (from, time) = (self.held_from, self.timeline.start_time(self.held_from));
        let bytes = self.bytes_until(position);
        let sent = self.held.drain(..bytes);
        match self.steps.back_mut() {
            Some(Step::Audio { audio, .. }) if self.sent_until == Some(from) => audio.extend(sent),
            _ => self.steps.push_back(Step::Audio {
                time: time.unwrap_or_default(),
                audio: sent.collect(),
            }),
        }
        self.held_from += bytes as u64 / 2;
        self.sent += bytes as u64 / 2;
        self.sent_until = Some(self.held_from);
    }

    fn drop_until(&mut self, position: u64) {
        let bytes = self.bytes_until(position);
        self.held.drain(..bytes);
        self.held_from += bytes as u64 / 2;
    }

    /// Bytes held before this position.
    fn bytes_until(&self, position: u64) -> usize {
        let samples = position.min(self.end()).saturating_sub(self.held_from);
        samples as usize * 2
    }
}

#[cfg(test)]
mod tests;
