// SPDX-License-Identifier: MPL-2.0
//! GStreamer plugin for live captions with Alibaba's Qwen-ASR-Realtime service.

pub mod captions;
pub mod net;
pub mod protocol;
pub mod session;
pub mod timeline;
