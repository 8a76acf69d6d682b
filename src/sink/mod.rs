// SPDX-License-Identifier: MPL-2.0
//! The element `qwenasrsink`.

mod imp;

use gst::glib;
use gst::prelude::*;

glib::wrapper! {
    /// Audio in, messages out; posts EOS once everything is recognised.
    pub struct QwenAsrSink(ObjectSubclass<imp::QwenAsrSink>)
        @extends gst_base::BaseSink, gst::Element, gst::Object;
}

pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "qwenasrsink",
        gst::Rank::NONE,
        QwenAsrSink::static_type(),
    )
}
