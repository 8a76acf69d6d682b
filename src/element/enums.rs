// SPDX-License-Identifier: MPL-2.0
//! The GObject enumerations of the properties, with conversions to and from our own types.

use crate::captions::Mode;
use crate::{protocol, session};
use gst::glib;
use gst::prelude::*;

/// Marks the enumerations as API of the plugin, so that generated documentation has their values.
pub fn mark_as_api() {
    for api in [
        Region::static_type(),
        Protocol::static_type(),
        TurnDetection::static_type(),
        Results::static_type(),
        FailurePolicy::static_type(),
        ConnectionState::static_type(),
    ] {
        api.mark_as_plugin_api(gst::PluginAPIFlags::empty());
    }
}

/// Where the service runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstQwenAsrRegion")]
#[repr(i32)]
pub enum Region {
    #[default]
    #[enum_value(name = "International, Singapore", nick = "singapore")]
    Singapore,
    #[enum_value(name = "China mainland, Beijing", nick = "beijing")]
    Beijing,
}

/// The protocol to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstQwenAsrProtocol")]
#[repr(i32)]
pub enum Protocol {
    #[default]
    #[enum_value(name = "What the model and the URL's path call for", nick = "auto")]
    Auto,
    #[enum_value(
        name = "Sessions, as qwen3-asr-flash-realtime has them",
        nick = "realtime"
    )]
    Realtime,
    #[enum_value(
        name = "Tasks, as qwen-audio-…-asr, fun-asr and paraformer have them",
        nick = "inference"
    )]
    Inference,
    #[enum_value(
        name = "vLLM's own, for self-hosted models (experimental)",
        nick = "vllm"
    )]
    Vllm,
}

impl Protocol {
    /// The protocol requested; `None` to choose one by URL and model.
    pub fn asked(self) -> Option<protocol::Protocol> {
        match self {
            Protocol::Auto => None,
            Protocol::Realtime => Some(protocol::Protocol::Realtime),
            Protocol::Inference => Some(protocol::Protocol::Inference),
            Protocol::Vllm => Some(protocol::Protocol::Vllm),
        }
    }
}

/// Who decides where an utterance ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstQwenAsrTurnDetection")]
#[repr(i32)]
pub enum TurnDetection {
    #[default]
    #[enum_value(name = "The service's voice activity detection", nick = "server-vad")]
    ServerVad,
    #[enum_value(
        name = "The application, with the commit signal or event",
        nick = "manual"
    )]
    Manual,
    #[enum_value(
        name = "The element's own voice activity detection",
        nick = "client-vad"
    )]
    ClientVad,
}

/// Which text the src pad carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstQwenAsrResults")]
#[repr(i32)]
pub enum Results {
    #[default]
    #[enum_value(name = "Readable cues of finished utterances", nick = "final")]
    Final,
    #[enum_value(
        name = "The current line at every change, then the final cue",
        nick = "interim"
    )]
    Interim,
    #[enum_value(name = "Each word once it will not change any more", nick = "stable")]
    Stable,
}

impl From<Results> for Mode {
    fn from(results: Results) -> Self {
        match results {
            Results::Final => Self::Final,
            Results::Interim => Self::Interim,
            Results::Stable => Self::Stable,
        }
    }
}

/// What to do when the service cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstQwenAsrFailurePolicy")]
#[repr(i32)]
pub enum FailurePolicy {
    #[default]
    #[enum_value(
        name = "Retry what may pass, up to max-retries; else an error",
        nick = "error"
    )]
    Error,
    #[enum_value(
        name = "Warn, run on without captions, and keep trying whatever it is",
        nick = "continue"
    )]
    Continue,
}

/// The state of the connection to the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstQwenAsrConnectionState")]
#[repr(i32)]
pub enum ConnectionState {
    #[default]
    #[enum_value(name = "No audio came yet, or the session has ended", nick = "idle")]
    Idle,
    #[enum_value(name = "The connection is being made", nick = "connecting")]
    Connecting,
    #[enum_value(name = "Audio flows", nick = "connected")]
    Connected,
    #[enum_value(
        name = "The connection is down and will be tried again",
        nick = "reconnecting"
    )]
    Reconnecting,
    #[enum_value(name = "The last results are awaited", nick = "finishing")]
    Finishing,
    #[enum_value(name = "The session has failed", nick = "failed")]
    Failed,
}

impl ConnectionState {
    /// The name used in messages: the nick of the value.
    pub fn nick(self) -> String {
        let value = self.to_value();
        let named = glib::EnumValue::from_value(&value);
        named.map_or_else(String::new, |(_, value)| value.nick().to_owned())
    }
}

impl From<session::State> for ConnectionState {
    fn from(state: session::State) -> Self {
        match state {
            session::State::Idle => ConnectionState::Idle,
            session::State::Connecting => ConnectionState::Connecting,
            session::State::Connected => ConnectionState::Connected,
            session::State::Reconnecting => ConnectionState::Reconnecting,
            session::State::Finishing => ConnectionState::Finishing,
            session::State::Failed => ConnectionState::Failed,
        }
    }
}
