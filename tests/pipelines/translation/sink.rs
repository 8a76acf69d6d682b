// SPDX-License-Identifier: MPL-2.0
//! `qwenasrsink` translates as well, into messages alone.

use super::*;

#[test]
fn the_sink_tells_all_languages() {
    let speech = Speech::usual(16_000);
    for (model, sessions) in [(ASR, 3), (TRANSLATOR, 2)] {
        let server = translating(|_| {});
        let mut rig = Rig::launch(&format!(
            "{SOURCE} ! qwenasrsink name=asr url={} model={model} {EXACT} max-speed=50 \
             translation-languages=\"fr, de\"",
            server.url()
        ));
        rig.run(speech.buffers(&[320], 0));
        for language in ["", "fr", "de"] {
            let finals = rig.messages.iter().filter(|said| {
                said.name() == "qwenasr/transcript"
                    && said.get::<bool>("final").unwrap()
                    && said.get::<&str>("translation").unwrap() == language
            });
            let texts: Vec<_> = finals
                .map(|said| (said.get::<String>("text").unwrap(), 0, 0))
                .collect();
            assert_eq!(heard(&texts), speech.numbers(), "{language}");
        }
        assert_eq!(models(&server).len(), sessions);
    }
}
