// SPDX-License-Identifier: MPL-2.0
//! What comes out of `webrtcbin`.

use super::*;

/// Has two `webrtcbin` find each other: one that offers, and one that answers.
fn connect(offering: &gst::Element, answering: &gst::Element) {
    for (from, to) in [(offering, answering), (answering, offering)] {
        let to = to.downgrade();
        from.connect("on-ice-candidate", false, move |values| {
            let to = to.upgrade()?;
            to.emit_by_name_with_values("add-ice-candidate", &values[1..]);
            None
        });
    }
    let answering = answering.downgrade();
    offering.connect("on-negotiation-needed", false, move |values| {
        let offering = values[0].get::<gst::Element>().unwrap();
        let answering = answering.upgrade()?;
        let nothing = None::<gst::Structure>;
        let described = |reply: &gst::StructureRef, name: &str| -> gst::glib::Value {
            reply.value(name).unwrap().clone().into()
        };
        let (here, there) = (offering.clone(), answering.clone());
        let offered = gst::Promise::with_change_func(move |reply| {
            let offer = described(reply.unwrap().unwrap(), "offer");
            let ignored = || gst::Promise::new().to_value();
            here.emit_by_name_with_values("set-local-description", &[offer.clone(), ignored()]);
            there.emit_by_name_with_values("set-remote-description", &[offer, ignored()]);
            let answerer = there.clone();
            let answered = gst::Promise::with_change_func(move |reply| {
                let answer = described(reply.unwrap().unwrap(), "answer");
                let ignored = || gst::Promise::new().to_value();
                there.emit_by_name_with_values(
                    "set-local-description",
                    &[answer.clone(), ignored()],
                );
                here.emit_by_name_with_values("set-remote-description", &[answer, ignored()]);
            });
            answerer.emit_by_name::<()>("create-answer", &[&nothing, &answered]);
        });
        offering.emit_by_name::<()>("create-offer", &[&None::<gst::Structure>, &offered]);
        None
    });
}

#[test]
fn webrtcbin_needs_no_decoder() {
    let talk = Talk::new(RATE);
    let service = listening(Protocol::Realtime, |_| {});
    let wav = talk.speech.wav();
    let mut rig = Rig::launch(&format!(
        "webrtcbin name=here bundle-policy=max-bundle webrtcbin name=there bundle-policy=max-bundle \
         filesrc location={} ! wavparse ! identity sync=true ! opusenc audio-type=voice \
           ! rtpopuspay pt=96 ! application/x-rtp,media=audio,encoding-name=OPUS,payload=96 ! here. \
         rtpopusdepay name=depay ! qwenasr name=asr {} ! {SINK}",
        wav.0.display(),
        service.properties()
    ));
    let [here, there, depay] =
        ["here", "there", "depay"].map(|name| rig.pipeline.by_name(name).unwrap());
    connect(&here, &there);
    let into = depay.static_pad("sink").unwrap();
    there.connect_pad_added(move |_, pad| {
        pad.link(&into).unwrap();
    });
    rig.play();
    let words: Vec<String> = talk.truth.iter().map(|(words, ..)| words.clone()).collect();
    for words in &words {
        rig.wait_for_final(words);
    }
    rig.stop();
    check_streams(&service);
}
