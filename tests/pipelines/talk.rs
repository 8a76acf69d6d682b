// SPDX-License-Identifier: MPL-2.0
//! Utterances that lossy codecs leave recognisable.

use offline_service::{Options, ToneRecogniser, VadOptions, blocks, tones};

use super::common::{Speech, reading_end};

/// Makes a service recognise such utterances.
pub fn recognise_tones(options: &mut Options) {
    options.recogniser = ToneRecogniser::factory();
    options.vad = VadOptions::CODED;
}

/// Utterances of tones.
pub struct Talk {
    pub speech: Speech,
    /// Words, begin and end in milliseconds of each utterance.
    pub truth: Vec<(String, u64, u64)>,
}

impl Talk {
    pub fn new(rate: u32) -> Self {
        let mut speech = Speech::new(rate).silence(1200);
        let mut truth = Vec::new();
        for numbers in [0..6, 20..26, 41..48] {
            let begin = speech.length_ms();
            for n in numbers.clone() {
                speech.samples.extend(tones::tone(n, rate));
            }
            truth.push((blocks::words(numbers), begin, speech.length_ms()));
            speech = speech.silence(1200);
        }
        Talk { speech, truth }
    }

    /// Whether somebody speaks at this time, in milliseconds.
    pub fn speaks(&self, at: u64) -> bool {
        let mut utterances = self.truth.iter();
        utterances.any(|(_, begin, end)| (*begin..*end).contains(&at))
    }

    /// What the captions should be, to this many milliseconds, given when the audio began.
    pub fn check(&self, tolerance_ms: u64, cues: &[(String, u64, u64)], offset: u64) {
        let texts = |cues: &[(String, u64, u64)]| -> Vec<String> {
            cues.iter().map(|(text, ..)| text.clone()).collect()
        };
        assert_eq!(texts(cues), texts(&self.truth));
        for ((text, start, end), (_, begins, ends)) in cues.iter().zip(&self.truth) {
            let (begins, ends) = (begins + offset, ends + offset);
            // These words are said much faster than they are read.
            let shown_until = ends.max(reading_end(text, *start));
            let is_right = start.abs_diff(begins) <= tolerance_ms
                && *end + tolerance_ms >= ends
                && *end <= shown_until + tolerance_ms;
            assert!(
                is_right,
                "'{text}' at {start}..{end}, said at {begins}..{ends}"
            );
        }
    }
}
