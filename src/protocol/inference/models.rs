// SPDX-License-Identifier: MPL-2.0
//! A table of what each model of the inference protocol accepts: the service documents a set of
//! parameters for each of them. The codec calls [`find`] once, at set-up.

use std::time::Duration;

use crate::protocol::START_INTERVAL;

/// The parameters that a model accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Model {
    /// Prefix of its name.
    name: &'static str,
    /// Sample rates that it accepts, best first, in Hz.
    pub rates: &'static [u32],
    pub languages: &'static [&'static str],
    /// Maximum number of languages that it can be told to expect.
    pub max_hints: usize,
    /// By default, ends a sentence by meaning rather than by silence; can be told not to.
    pub semantic_punctuation: bool,
    /// Can be told to keep sentences short.
    pub multi_threshold: bool,
    pub noise_threshold: bool,
    pub context: bool,
    /// Accepts hot words with the request; all models accept a list stored by the service.
    pub vocabulary: bool,
    /// Sends interim results only on request.
    pub asks_for_interim: bool,
    /// Available in Beijing only (documented).
    pub beijing_only: bool,
    /// See [`Profile::start_interval`](crate::protocol::Profile::start_interval).
    pub start_interval: Duration,
    /// What else a user may set.
    pub parameters: &'static [&'static str],
}

const THIRTY: &[&str] = &[
    "zh", "en", "ja", "ko", "vi", "th", "id", "ms", "tl", "hi", "ar", "fr", "de", "es", "pt", "ru",
    "it", "nl", "sv", "da", "fi", "no", "el", "pl", "cs", "hu", "ro", "bg", "hr", "sk",
];

const CHINESE: &[&str] = &["zh"];

/// The newest models, for continuous transcription.
const STREAMING: Model = Model {
    name: "qwen-audio-",
    rates: &[16_000, 8_000],
    languages: THIRTY,
    max_hints: 4,
    semantic_punctuation: true,
    multi_threshold: true,
    noise_threshold: true,
    context: true,
    vocabulary: true,
    asks_for_interim: false,
    beijing_only: false,
    start_interval: START_INTERVAL,
    parameters: &["semantic_punctuation_enabled", "special_word_filter"],
};

const FUN: Model = Model {
    name: "fun-asr-realtime",
    vocabulary: false,
    max_hints: 1,
    ..STREAMING
};

const PARAFORMER: Model = Model {
    name: "paraformer-realtime",
    languages: &["zh", "en", "ja", "yue", "ko", "de", "fr", "ru"],
    noise_threshold: false,
    context: false,
    beijing_only: true,
    max_hints: 4,
    parameters: &[
        "disfluency_removal_enabled",
        "inverse_text_normalization_enabled",
        "punctuation_prediction_enabled",
        "semantic_punctuation_enabled",
    ],
    ..FUN
};

/// The longest matching prefix applies.
const MODELS: &[Model] = &[
    Model {
        name: "qwen-audio-3.1-asr-flash-streaming",
        rates: &[16_000],
        // 600 a minute (documented).
        start_interval: Duration::from_millis(110),
        parameters: &[
            "keep_dialect",
            "semantic_punctuation_enabled",
            "special_word_filter",
            "vad_model",
        ],
        ..STREAMING
    },
    Model {
        name: "qwen-audio-3.1-asr-flash-message",
        rates: &[16_000],
        max_hints: 0,
        parameters: &["disfluency_removal_enabled", "keep_dialect", "vad_model"],
        semantic_punctuation: false,
        multi_threshold: false,
        asks_for_interim: true,
        ..STREAMING
    },
    STREAMING,
    FUN,
    // The dated snapshot supports fewer languages and ignores the context.
    Model {
        name: "fun-asr-realtime-2026-02-28",
        languages: &["zh", "en", "ja"],
        context: false,
        beijing_only: true,
        ..FUN
    },
    Model {
        name: "fun-asr-flash-8k-realtime",
        rates: &[8_000],
        languages: CHINESE,
        context: false,
        beijing_only: true,
        ..FUN
    },
    PARAFORMER,
    Model {
        name: "paraformer-realtime-8k",
        rates: &[8_000],
        languages: CHINESE,
        ..PARAFORMER
    },
];

/// An unknown model gets only the parameters that all models accept.
const UNKNOWN: Model = Model {
    semantic_punctuation: false,
    multi_threshold: false,
    noise_threshold: false,
    ..STREAMING
};

pub(super) fn find(name: &str) -> Model {
    let fitting = MODELS.iter().filter(|model| name.starts_with(model.name));
    fitting
        .max_by_key(|model| model.name.len())
        .copied()
        .unwrap_or(UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_counts() {
        const BOTH: &[u32] = &[16_000, 8_000];
        const HIGH: &[u32] = &[16_000];
        const LOW: &[u32] = &[8_000];
        for (name, rates, context, vocabulary) in [
            ("qwen-audio-3.1-asr-flash-streaming", HIGH, true, true),
            ("qwen-audio-3.1-asr-flash-message", HIGH, true, true),
            ("qwen-audio-3.0-asr-flash-streaming", BOTH, true, true),
            ("fun-asr-realtime", BOTH, true, false),
            ("fun-asr-realtime-2026-02-28", BOTH, false, false),
            ("fun-asr-flash-8k-realtime", LOW, false, false),
            ("paraformer-realtime-v2", BOTH, false, false),
            ("paraformer-realtime-8k-v2", LOW, false, false),
            ("of-my-own", BOTH, true, true),
        ] {
            let model = find(name);
            let found = (model.rates, model.context, model.vocabulary);
            assert_eq!(found, (rates, context, vocabulary), "{name}");
        }
    }
}
