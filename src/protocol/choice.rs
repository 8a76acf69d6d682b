// SPDX-License-Identifier: MPL-2.0
//! Chooses the protocol: by the protocol property, else by the URL's path, else by the model.
//!
//! The element chooses before it connects. Contradictory settings are refused here, since servers
//! answer a wrong protocol with silence or with an unrelated error.

use url::Url;

use super::{
    Failure, Kind, Profile, Recognition, Setup, TurnDetection, checks, inference, realtime,
    sglang_omni, vllm,
};
use crate::audio::Coding;

/// A protocol for talking to a recogniser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `/api-ws/v1/realtime` of qwen3-asr-flash-realtime.
    Realtime,
    /// The same path of the models that translate, qwen3.8-livetranslate-….
    LiveTranslate,
    /// `/api-ws/v1/inference`, tasks with binary audio: qwen-audio-…, fun-asr-…, paraformer-….
    Inference,
    /// `/v1/realtime` of vLLM.
    Vllm,
    /// OpenAI's realtime protocol, `/v1/realtime` of sglang.
    OpenAi,
    /// `/v1/realtime?intent=transcription` of sglang-omni.
    SglangOmni,
}

impl Protocol {
    /// The first one that matches an address is chosen, unless the user asks for another.
    const ALL: [Self; 6] = [
        Self::Realtime,
        Self::LiveTranslate,
        Self::Inference,
        Self::SglangOmni,
        Self::Vllm,
        Self::OpenAi,
    ];

    pub(super) fn profile(self) -> &'static Profile {
        match self {
            Self::Realtime => &realtime::qwen::PROFILE,
            Self::LiveTranslate => &realtime::livetranslate::PROFILE,
            Self::Inference => &inference::PROFILE,
            Self::Vllm => &vllm::PROFILE,
            Self::OpenAi => &realtime::openai::PROFILE,
            Self::SglangOmni => &sglang_omni::PROFILE,
        }
    }

    /// Sample rates of the PCM that the model accepts, best first, in Hz.
    pub fn rates(self, model: &str) -> &'static [u32] {
        (self.profile().rates)(model)
    }

    /// The value of the protocol property that selects it.
    pub fn nick(self) -> &'static str {
        self.profile().nick
    }

    /// Whether it satisfies a request for `asked`: the protocols of one family are told apart by
    /// the address and the model.
    fn is_meant_by(self, asked: Self) -> bool {
        match self {
            Self::OpenAi | Self::SglangOmni | Self::LiveTranslate => {
                asked == Self::Realtime || asked == self
            }
            other => asked == other,
        }
    }

    /// Checks the recognition settings and prepares the codecs.
    ///
    /// # Errors
    ///
    /// If the protocol or the model does not support them; those merely without effect are
    /// warnings.
    pub fn set_up(self, recognition: Recognition) -> Result<Setup, Failure> {
        if self != Self::Inference && !recognition.parameters.is_empty() {
            return Err(Failure::new(
                Kind::Settings,
                format!("The {} protocol takes no further parameters.", self.nick()),
                "Leave the parameters property unset, or set model to one of the inference \
                 protocol.",
            ));
        }
        if recognition.coding == Coding::Opus && !self.profile().takes_opus {
            return Err(checks::not_decoded(&format!(
                "The {} protocol, or this model of it, takes no Opus.",
                self.nick()
            )));
        }
        let wants_vad = recognition.turn_detection != TurnDetection::Manual;
        let mut setup = (self.profile().set_up)(recognition)?;
        if setup.lacks_vad && wants_vad {
            setup.warnings.push(
                "This server does not detect utterances, so the element does: \
                 turn-detection=server-vad works as client-vad."
                    .to_owned(),
            );
        }
        Ok(setup)
    }

    /// The protocol to use: the one requested, else that of the URL's path, else that of the model,
    /// else the realtime one.
    ///
    /// # Errors
    ///
    /// If these contradict each other.
    pub fn choose(asked: Option<Self>, url: Option<&str>, model: &str) -> Result<Self, Failure> {
        let url = url.map(str::trim).filter(|url| !url.is_empty());
        // `Endpoint::new` reports an invalid URL.
        let parsed = url.and_then(|url| Url::parse(url).ok());
        let of_model = Self::of_model(model.trim());
        let of_url = parsed
            .as_ref()
            .and_then(|url| Self::of_url(url, asked, of_model));
        let chosen = match (asked, of_url) {
            (Some(asked), Some(of_url)) if of_url.is_meant_by(asked) => of_url,
            (Some(asked), None) => of_model.filter(|of| of.is_meant_by(asked)).unwrap_or(asked),
            (Some(asked), _) => asked,
            (None, of_url) => of_url.or(of_model).unwrap_or(Self::Realtime),
        };
        if let Some(of_url) = of_url.filter(|of_url| *of_url != chosen) {
            return Err(Failure::new(
                Kind::Settings,
                format!(
                    "The url's path is that of the {} protocol, and the protocol property is {}.",
                    of_url.nick(),
                    chosen.nick()
                ),
                format!(
                    "Set protocol=auto, or the url's path to {}.",
                    chosen.profile().path
                ),
            ));
        }
        // The operator of a server may give a model any name; and an address with its own query
        // belongs to such a server.
        let profile = chosen.profile();
        let is_own_server =
            profile.query.is_some() || asked.is_some() && (parsed.is_some() || profile.self_hosted);
        if let Some(of_model) = of_model.filter(|of| *of != chosen)
            && !is_own_server
        {
            return Err(Failure::new(
                Kind::Settings,
                format!(
                    "The model '{}' speaks the {} protocol, not the {} one.",
                    model.trim(),
                    of_model.nick(),
                    chosen.nick()
                ),
                if asked.is_some() {
                    format!("Set protocol=auto or protocol={}.", of_model.nick())
                } else {
                    format!(
                        "Leave the path out of the url property or make it {}; or say with the \
                         protocol property what the server speaks.",
                        of_model.profile().path
                    )
                },
            ));
        }
        Ok(chosen)
    }

    /// The protocol that matches the address; of several, preferably that of the model, or else the
    /// one requested.
    fn of_url(url: &Url, asked: Option<Self>, of_model: Option<Self>) -> Option<Self> {
        let path = url.path().trim_end_matches('/');
        let says = |(name, value): (&str, &str)| {
            url.query_pairs()
                .any(|(key, said)| key == name && said.eq_ignore_ascii_case(value))
        };
        let fitting = || {
            Self::ALL.into_iter().filter(|protocol| {
                let profile = protocol.profile();
                profile.path == path && profile.query.is_none_or(says)
            })
        };
        let is_meant = |protocol: &Self| asked.is_some_and(|asked| protocol.is_meant_by(asked));
        fitting()
            .find(|protocol| Some(*protocol) == of_model && (asked.is_none() || is_meant(protocol)))
            .or_else(|| fitting().find(is_meant))
            .or_else(|| fitting().next())
    }

    /// Whether the path is any protocol's own.
    pub(super) fn has_path(path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let mut all = Self::ALL.into_iter();
        all.any(|protocol| protocol.profile().path == path)
    }

    fn of_model(model: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| {
            let mut models = protocol.profile().models.iter();
            models.any(|name| model.starts_with(name))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Protocol::*;

    #[test]
    fn model_and_path_tell() {
        for (url, model, expected) in [
            (None, "qwen3-asr-flash-realtime", Realtime),
            (None, "qwen3-asr-flash-realtime-2026-02-10", Realtime),
            (None, "qwen-audio-3.1-asr-flash-streaming", Inference),
            (None, "qwen-audio-3.1-asr-flash-message", Inference),
            (None, "qwen-audio-3.0-asr-flash-streaming", Inference),
            (None, "fun-asr-realtime", Inference),
            (None, "fun-asr-flash-8k-realtime", Inference),
            (None, "paraformer-realtime-v2", Inference),
            (None, "paraformer-realtime-8k-v2", Inference),
            (None, "qwen3.8-livetranslate-flash-realtime", LiveTranslate),
            (None, "qwen3.5-livetranslate-flash-realtime", LiveTranslate),
            (
                Some("wss://h/api-ws/v1/realtime"),
                "qwen3.8-livetranslate-flash-realtime",
                LiveTranslate,
            ),
            (None, "whatever", Realtime),
            (Some("wss://h/api-ws/v1/inference/"), "whatever", Inference),
            (Some("wss://h/api-ws/v1/realtime"), "whatever", Realtime),
            (Some("wss://h"), "fun-asr-realtime", Inference),
            (Some("wss://h/proxy/asr"), "fun-asr-realtime", Inference),
            (Some("not a url"), "fun-asr-realtime", Inference),
            (Some("ws://h:8000/v1/realtime"), "Qwen/Qwen3-ASR-1.7B", Vllm),
            (
                Some("ws://h:8000/v1/realtime?intent=transcription"),
                "Qwen/Qwen3-ASR-1.7B",
                SglangOmni,
            ),
            (
                Some("ws://h:8000/v1/realtime/?model=m&intent=Transcription"),
                "qwen3-asr-flash-realtime",
                SglangOmni,
            ),
            (
                Some("ws://h:8000/v1/realtime?intent=conversation"),
                "whatever",
                Vllm,
            ),
        ] {
            let chosen = Protocol::choose(None, url, model);
            assert_eq!(chosen, Ok(expected), "{url:?} {model}");
        }
    }

    #[test]
    fn who_says_what_to_speak_is_obeyed() {
        let own = Some("ws://127.0.0.1:1/asr");
        assert_eq!(
            Protocol::choose(Some(Inference), own, "qwen3-asr-flash-realtime"),
            Ok(Inference)
        );
        let openai = Some("ws://h:8000/v1/realtime");
        assert_eq!(Protocol::choose(Some(Realtime), openai, "m"), Ok(OpenAi));
        assert_eq!(Protocol::choose(Some(Vllm), openai, "m"), Ok(Vllm));
        let translates = "qwen3.8-livetranslate-flash-realtime";
        for url in [None, own, Some("wss://h/api-ws/v1/realtime")] {
            assert_eq!(
                Protocol::choose(Some(Realtime), url, translates),
                Ok(LiveTranslate)
            );
        }
        let omni = Some("ws://h:8000/v1/realtime?intent=transcription");
        assert_eq!(Protocol::choose(Some(Realtime), omni, "m"), Ok(SglangOmni));
        assert_eq!(Protocol::choose(Some(Vllm), omni, "m"), Ok(Vllm));
    }

    #[test]
    fn what_does_not_fit_together_is_refused_and_the_property_named() {
        for (asked, url, model, named) in [
            (
                None,
                Some("wss://h/api-ws/v1/realtime"),
                "fun-asr-realtime",
                "url",
            ),
            (Some(Realtime), None, "fun-asr-realtime", "protocol="),
            (
                Some(Inference),
                None,
                "qwen3-asr-flash-realtime",
                "protocol=",
            ),
            (
                Some(Realtime),
                Some("wss://h/api-ws/v1/inference"),
                "x",
                "protocol=",
            ),
        ] {
            let error = Protocol::choose(asked, url, model).unwrap_err();
            assert_eq!(error.kind, Kind::Settings);
            assert!(error.remedy.contains(named), "{error}");
        }
    }
}
