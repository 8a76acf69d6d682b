// SPDX-License-Identifier: MPL-2.0
//! Whether anything downstream of a pad waits for its text.
//!
//! What comes too late has to be moved where it is shown in sync or put together with other
//! streams: an overlay or a muxer would drop it, or stumble. A file, in contrast, is read later,
//! and has true times if nothing is moved. Which of the two there is can be seen from the elements.

use gst::prelude::*;

/// Elements one after the other that are looked at, at most.
const MAX_DEPTH: u32 = 64;

/// Whether an element downstream of this src pad has other inputs, or a sink there is in sync.
pub(super) fn waits_for(src: &gst::Pad) -> bool {
    waits_within(src, MAX_DEPTH)
}

fn waits_within(src: &gst::Pad, depth: u32) -> bool {
    let Some(sink) = src.peer() else {
        return false;
    };
    let Some(depth) = depth.checked_sub(1) else {
        return true;
    };
    // The border of a bin, which is looked into or out of.
    if let Some(ghost) = sink.downcast_ref::<gst::ProxyPad>() {
        let inner = ghost.internal();
        return inner.is_some_and(|inner| waits_within(inner.upcast_ref(), depth));
    }
    let Some(element) = sink.parent_element() else {
        return true;
    };
    if element.num_sink_pads() > 1 {
        return true;
    }
    let outputs = element.src_pads();
    if outputs.is_empty() {
        return is_in_sync(&element);
    }
    outputs.iter().any(|src| waits_within(src, depth))
}

/// Of a sink. What does not say is taken to be.
fn is_in_sync(sink: &gst::Element) -> bool {
    let has_sync = sink
        .find_property("sync")
        .is_some_and(|property| property.value_type() == bool::static_type());
    !has_sync || sink.property::<bool>("sync")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_text_and_what_does_not() {
        gst::init().unwrap();
        for (downstream, expected) in [
            ("fakesink", false),
            ("fakesink sync=true", true),
            ("appsink", true),
            ("appsink sync=false", false),
            ("queue ! filesink location=/dev/null", false),
            ("srtenc ! queue ! filesink location=/dev/null", false),
            ("tee name=t ! queue ! fakesink t. ! queue ! fakesink", false),
            (
                "tee name=t ! queue ! fakesink t. ! fakesink sync=true",
                true,
            ),
            ("funnel name=f ! fakesink fakesrc ! f.", true),
            ("o.text_sink textoverlay name=o ! fakesink", true),
        ] {
            let pipeline = format!("identity name=text ! {downstream}");
            let pipeline = gst::parse::launch(&pipeline).unwrap();
            let pipeline = pipeline.downcast::<gst::Bin>().unwrap();
            let text = pipeline.by_name("text").unwrap();
            let src = text.static_pad("src").unwrap();
            assert_eq!(waits_for(&src), expected, "{downstream}");
        }
        let text = gst::ElementFactory::make("identity").build().unwrap();
        assert!(
            !waits_for(&text.static_pad("src").unwrap()),
            "nothing at all"
        );
    }

    #[test]
    fn bins_are_looked_into() {
        gst::init().unwrap();
        for (sync, expected) in [(false, false), (true, true)] {
            let bin =
                |description: &str| gst::parse::bin_from_description(description, true).unwrap();
            let source = bin("identity name=text ! queue");
            let sink = bin(&format!("identity ! fakesink sync={sync}"));
            let pipeline = gst::Pipeline::new();
            pipeline.add_many([&source, &sink]).unwrap();
            source.link(&sink).unwrap();
            let text = source.by_name("text").unwrap();
            assert_eq!(waits_for(&text.static_pad("src").unwrap()), expected);
        }
    }
}
