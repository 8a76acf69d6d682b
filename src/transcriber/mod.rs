// SPDX-License-Identifier: MPL-2.0
//! The element `qwenasr`.

mod downstream;
mod events;
mod imp;
mod lane;
mod output_queue;
mod sessions;
mod src_pad;
mod tags;
mod text_pads;
mod timing;
mod translate_pad;

use gst::glib;
use gst::prelude::*;

glib::wrapper! {
    /// Audio in, timed text out: a [`gst_base::BaseTransform`] whose text leaves from a task of its
    /// own, since it comes later than the audio and also when no audio comes.
    pub struct QwenAsr(ObjectSubclass<imp::QwenAsr>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object,
        @implements gst::ChildProxy;
}

pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    // So that generated documentation has its properties.
    translate_pad::TranslatePad::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    gst::Element::register(
        Some(plugin),
        "qwenasr",
        gst::Rank::NONE,
        QwenAsr::static_type(),
    )
}
