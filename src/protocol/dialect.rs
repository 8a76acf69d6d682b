// SPDX-License-Identifier: MPL-2.0
//! Identifies which of the protocols at `/v1/realtime` a server speaks. They share that path and
//! many event names; a server's greeting, or an event that only one of them has, tells them apart.
//!
//! The codecs of these protocols check here before they blame the settings.

use serde_json::Value;

use super::json::text_of;
use super::{Failure, Kind, Statement};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Vllm,
    /// OpenAI's for transcription, as implemented by sglang.
    OpenAi,
    /// sglang-omni's for transcription.
    SglangOmni,
    /// sglang-omni's for conversations, its default without an intent in the query.
    SglangOmniChat,
    Unknown,
}

impl Dialect {
    /// The dialect that a `session.created` indicates.
    fn of_greeting(created: &Value) -> Self {
        let session = &created["session"];
        if !session.is_object() {
            return if text_of(created, "id").is_some() {
                Self::Vllm
            } else {
                Self::Unknown
            };
        }
        if text_of(session, "intent") == Some("transcription") {
            Self::SglangOmni
        } else if session["capabilities"].is_object() || session["sglang"].is_object() {
            Self::SglangOmniChat
        } else if text_of(session, "type") == Some("transcription") {
            Self::OpenAi
        } else {
            Self::Unknown
        }
    }

    /// The dialect of a greeting; unknown if the greeting does not say.
    ///
    /// # Errors
    ///
    /// If it cannot be the expected one.
    pub fn check(created: &Value, expected: Self) -> Result<Self, Failure> {
        let has_session = created["session"].is_object();
        match Self::of_greeting(created) {
            dialect if dialect == expected => Ok(dialect),
            Self::Unknown if has_session == (expected != Self::Vllm) => Ok(Self::Unknown),
            dialect => Err(dialect.instead_of(expected)),
        }
    }

    /// The failure implied by an event that the expected protocol does not have: `None` unless
    /// another protocol has it and the greeting left the dialect open.
    pub fn contradicted_by(self, kind: &str, expected: Self) -> Option<Failure> {
        if self != Self::Unknown {
            return None;
        }
        let dialect = match kind {
            "transcription.delta" | "transcription.done" => Self::Vllm,
            "transcription.segment" | "transcription.completed" => Self::SglangOmni,
            kind if kind.starts_with("conversation.item.") => Self::OpenAi,
            _ => return None,
        };
        (dialect != expected).then(|| dialect.instead_of(expected))
    }

    /// The failure for a server that speaks this dialect instead of the expected one.
    fn instead_of(self, expected: Self) -> Failure {
        let what = match self {
            Self::Unknown => format!("The server does not speak {}.", expected.name()),
            dialect => format!(
                "The server speaks {}, not {}.",
                dialect.name(),
                expected.name()
            ),
        };
        Failure::new(Kind::Settings, what, self.remedy())
    }

    /// The failure for a server that refuses the settings of the expected protocol.
    pub fn refuses(self, expected: Self, failure: Failure) -> Failure {
        let what = Statement::from(format!(
            "The server refused the settings, so it probably does not speak {}. ",
            expected.name()
        ));
        Failure {
            kind: Kind::Settings,
            what: what.and(failure.what),
            remedy: self.remedy().to_owned(),
            ..failure
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Vllm => "vLLM's realtime protocol",
            Self::OpenAi => "OpenAI's realtime protocol",
            Self::SglangOmni => "sglang-omni's realtime protocol",
            Self::SglangOmniChat => "sglang-omni's protocol for conversations",
            Self::Unknown => "a protocol that is not known",
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::Vllm => "Set protocol=vllm.",
            Self::OpenAi => "Set protocol=realtime, and take an intent out of the url's query.",
            Self::SglangOmni | Self::SglangOmniChat => {
                "Add ?intent=transcription to the url, and set protocol=auto."
            }
            Self::Unknown => {
                "Check what the server speaks, and the url and protocol properties; sglang, \
                 sglang-omni and vLLM are known at this path."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn greetings_tell() {
        use Dialect::*;
        for (created, dialect) in [
            (json!({"id": "sess-6f", "created": 1763640000}), Vllm),
            (json!({"event_id": "e"}), Unknown),
            (json!({"session": null}), Unknown),
            (json!({"session": {"id": "s", "model": "m"}}), Unknown),
            (
                json!({"session": {"type": "transcription", "object": "realtime.transcription_session"}}),
                OpenAi,
            ),
            (
                json!({"session": {"object": "realtime.session", "model": "m", "intent": "transcription"}}),
                SglangOmni,
            ),
            (
                json!({"session": {"object": "realtime.session", "capabilities": {}}}),
                SglangOmniChat,
            ),
            (
                json!({"session": {"type": "realtime", "sglang": {"granted": null}}}),
                SglangOmniChat,
            ),
        ] {
            assert_eq!(Dialect::of_greeting(&created), dialect, "{created}");
        }
    }
}
