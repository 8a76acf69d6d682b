// SPDX-License-Identifier: MPL-2.0
//! GStreamer plugin for live captions with Alibaba's Qwen-ASR-Realtime service.

use gst::glib;

mod audio;
mod captions;
mod continuity;
mod element;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod net;
#[cfg(test)]
mod property_testing;
mod protocol;
mod session;
mod sink;
mod timeline;
mod transcriber;
mod transcript;

fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    transcriber::register(plugin)?;
    sink::register(plugin)
}

gst::plugin_define!(
    qwenasr,
    env!("CARGO_PKG_DESCRIPTION"),
    plugin_init,
    concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
    "MPL",
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_REPOSITORY"),
    env!("BUILD_REL_DATE")
);
