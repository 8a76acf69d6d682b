// SPDX-License-Identifier: MPL-2.0

//! Voice activity detection by the energy of frames of 10 ms, on the audio clock.

/// Length of a frame in milliseconds.
pub const FRAME_MS: u32 = 10;

/// By how many decibels a client's `threshold` of 1 raises the level that counts as speech.
const THRESHOLD_DB: f64 = 10.0;

/// By how many decibels speech may become softer than what it took to begin.
const HYSTERESIS_DB: f64 = 3.0;

/// What counts as speech.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Level {
    /// Frames whose RMS is above this level, in decibels relative to full scale.
    Fixed(f64),
    /// Frames this many decibels above the noise floor, which is followed as it changes.
    AboveNoise(f64),
}

/// How speech is detected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VadOptions {
    /// What counts as speech, for a client's `threshold` of 0.
    pub level: Level,
    /// Milliseconds of loud audio within [`onset_window_ms`](Self::onset_window_ms) that begin
    /// an item.
    pub onset_ms: u32,
    /// Milliseconds in which [`onset_ms`](Self::onset_ms) have to be found.
    pub onset_window_ms: u32,
    /// Milliseconds before the detected beginning that the recogniser is given as well.
    pub pre_roll_ms: u32,
}

impl VadOptions {
    /// For synthetic audio: silence is (nearly) digital silence, anything else is speech, and
    /// both offsets of an item are exact to a frame of 10 ms.
    pub const EXACT: Self = Self {
        level: Level::Fixed(-70.0),
        onset_ms: FRAME_MS,
        onset_window_ms: FRAME_MS,
        pre_roll_ms: 0,
    };

    /// For synthetic audio that went through a lossy codec: its silence is not quite silent, and
    /// sounds begin somewhat before their time.
    pub const CODED: Self = Self {
        level: Level::Fixed(-40.0),
        ..Self::EXACT
    };

    /// For recordings, which have a noise floor, clicks and soft beginnings of words.
    pub const RECORDING: Self = Self {
        level: Level::AboveNoise(12.0),
        onset_ms: 50,
        onset_window_ms: 100,
        pre_roll_ms: 250,
    };
}

/// What a frame did. Positions are in samples from the start of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// No speech, or not enough of it yet.
    Silent,
    /// Speech has begun, at `at`, with the frames up to now.
    Started { at: u64 },
    /// Speech goes on, or the pause is not long enough yet.
    Speaking,
    /// Speech has ended, at `at`; the pause since then is as long as was asked for.
    Stopped { at: u64 },
}

/// The detector of a session.
#[derive(Debug)]
pub struct Vad {
    options: VadOptions,
    rate: u32,
    shift_db: f64,
    silence: u64,
    floor_db: f64,
    position: u64,
    /// Begin, length and loudness of the frames in the onset window, while silent.
    onset: std::collections::VecDeque<(u64, u64, bool)>,
    /// End of the latest loud frame, while speaking.
    spoken_until: Option<u64>,
}

impl Vad {
    /// `threshold` and `silence_ms` are the client's, `rate` is in samples per second.
    pub fn new(options: VadOptions, rate: u32, threshold: f64, silence_ms: u32) -> Self {
        Self {
            options,
            rate,
            shift_db: threshold * THRESHOLD_DB,
            silence: samples(silence_ms, rate),
            floor_db: NoiseFloor::INITIAL_DB,
            position: 0,
            onset: Default::default(),
            spoken_until: None,
        }
    }

    /// End of the latest loud frame, if speech is going on.
    pub fn spoken_until(&self) -> Option<u64> {
        self.spoken_until
    }

    /// Takes the next frame, of [`FRAME_MS`] or, at the end of the audio, less.
    pub fn frame(&mut self, pcm: &[i16]) -> Voice {
        let begin = self.position;
        self.position += pcm.len() as u64;
        let loud = self.is_loud(pcm);
        match self.spoken_until {
            Some(_) if loud => {
                self.spoken_until = Some(self.position);
                Voice::Speaking
            }
            Some(until) if self.position - until >= self.silence => {
                self.spoken_until = None;
                Voice::Stopped { at: until }
            }
            Some(_) => Voice::Speaking,
            None => self.onset(begin, pcm.len() as u64, loud),
        }
    }

    fn onset(&mut self, begin: u64, length: u64, loud: bool) -> Voice {
        self.onset.push_back((begin, length, loud));
        let window = samples(self.options.onset_window_ms, self.rate);
        while self
            .onset
            .front()
            .is_some_and(|(begin, _, loud)| !loud || self.position - begin > window)
        {
            self.onset.pop_front();
        }
        let heard: u64 = self
            .onset
            .iter()
            .filter(|(_, _, loud)| *loud)
            .map(|(_, length, _)| length)
            .sum();
        match self.onset.front() {
            Some(&(at, _, _)) if heard >= samples(self.options.onset_ms, self.rate) => {
                self.onset.clear();
                self.spoken_until = Some(self.position);
                Voice::Started { at }
            }
            _ => Voice::Silent,
        }
    }

    fn is_loud(&mut self, pcm: &[i16]) -> bool {
        let level = dbfs(pcm);
        let mut limit = match self.options.level {
            Level::Fixed(limit) => limit,
            Level::AboveNoise(margin) => {
                self.floor_db = NoiseFloor::follow(self.floor_db, level);
                (self.floor_db + margin).clamp(NoiseFloor::SOFTEST_DB, NoiseFloor::LOUDEST_DB)
            }
        };
        limit += self.shift_db;
        if self.spoken_until.is_some() {
            limit -= HYSTERESIS_DB;
        }
        level > limit
    }
}

/// How the noise floor is estimated: as a minimum that slowly forgets.
struct NoiseFloor;

impl NoiseFloor {
    const INITIAL_DB: f64 = -60.0;
    /// Limits of what the floor may demand of speech.
    const SOFTEST_DB: f64 = -55.0;
    const LOUDEST_DB: f64 = -30.0;
    /// Rise per frame, 3 dB/s: slower than speech is long, faster than rooms change.
    const RISE_DB: f64 = 0.03;
    /// Share by which the estimate falls to a softer frame.
    const FALL: f64 = 0.2;

    fn follow(floor: f64, level: f64) -> f64 {
        if level < floor {
            floor + (level.max(-90.0) - floor) * Self::FALL
        } else {
            level.min(floor + Self::RISE_DB)
        }
    }
}

/// RMS in decibels relative to full scale; −∞ for digital silence.
fn dbfs(pcm: &[i16]) -> f64 {
    let energy: f64 = pcm.iter().map(|&s| f64::from(s) * f64::from(s)).sum();
    10.0 * (energy / pcm.len().max(1) as f64 / (32768.0 * 32768.0)).log10()
}

/// So many milliseconds in samples.
pub fn samples(ms: u32, rate: u32) -> u64 {
    u64::from(ms) * u64::from(rate) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(vad: &mut Vad, pcm: &[i16]) -> Vec<Voice> {
        pcm.chunks(160)
            .map(|frame| vad.frame(frame))
            .filter(|voice| matches!(voice, Voice::Started { .. } | Voice::Stopped { .. }))
            .collect()
    }

    #[test]
    fn exact_offsets() {
        let mut vad = Vad::new(VadOptions::EXACT, 16000, 0.2, 400);
        let mut pcm = vec![0; 160 * 7];
        pcm.extend([1000; 160 * 20]);
        pcm.extend([0; 160 * 39]);
        pcm.extend([-1000; 160]);
        pcm.extend([0; 160 * 40]);
        assert_eq!(
            run(&mut vad, &pcm),
            [
                Voice::Started { at: 160 * 7 },
                Voice::Stopped { at: 160 * 67 }
            ]
        );
    }

    #[test]
    fn noise_and_clicks_are_no_speech() {
        let mut vad = Vad::new(VadOptions::RECORDING, 16000, 0.0, 400);
        // A floor of -50 dBFS with a click of 20 ms in it, then speech, 24 dB louder.
        let noise = |n: usize, level: i16| -> Vec<i16> {
            (0..n)
                .map(|i| if i % 2 == 0 { level } else { -level })
                .collect()
        };
        assert_eq!(run(&mut vad, &noise(160 * 400, 100)), []);
        assert_eq!(run(&mut vad, &noise(320, 8000)), []);
        assert_eq!(run(&mut vad, &noise(16000, 100)), []);
        let at = vad.position;
        assert_eq!(run(&mut vad, &noise(16000, 1600)), [Voice::Started { at }]);
        let end = vad.position;
        assert_eq!(
            run(&mut vad, &noise(16000, 100)),
            [Voice::Stopped { at: end }]
        );
    }

    #[test]
    fn the_threshold_shifts_the_level() {
        // -35 dBFS against a level of -40 dBFS.
        let options = VadOptions {
            level: Level::Fixed(-40.0),
            ..VadOptions::EXACT
        };
        let pcm = [583; 1600];
        for (threshold, heard) in [
            (-1.0, true),
            (0.0, true),
            (0.4, true),
            (0.6, false),
            (1.0, false),
        ] {
            let mut vad = Vad::new(options, 16000, threshold, 400);
            assert_eq!(!run(&mut vad, &pcm).is_empty(), heard, "{threshold}");
        }
    }
}
