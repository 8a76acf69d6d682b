// SPDX-License-Identifier: MPL-2.0
//! One microphone, several languages: each on a pad of its own, with a session of its own, and what
//! happens to one of them is nothing to the others.

mod live;
mod pads;
mod requests;
mod sink;
mod texts;
mod trouble;

use std::sync::{Arc, Mutex};

use offline_service::{Options, Server};

use super::common::*;
use gst::prelude::*;

const ASR: &str = "qwen3-asr-flash-realtime";
const TRANSLATOR: &str = "qwen3.8-livetranslate-flash-realtime";

/// Where the audio is pushed.
const SOURCE: &str = "appsrc name=src format=time \
                      caps=audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved";

/// The detection of speech is that of the other models then.
const EXACT: &str = "vad-threshold=0.5";

/// A service for transcripts and translations.
fn translating(change: impl FnOnce(&mut Options)) -> Server {
    server(|options| {
        options.protocols = vec![Protocol::Realtime, Protocol::LiveTranslate];
        change(options);
    })
}

/// A pipeline with pads for these languages, each with a sink `out` and the name of its pad.
fn rig(server: &Server, live: bool, languages: &[&str], properties: &str) -> (Rig, Vec<Watched>) {
    let source = format!("{SOURCE} is-live={live}");
    rig_of(&source, server, languages, properties)
}

/// Likewise, with this source.
fn rig_of(
    source: &str,
    server: &Server,
    languages: &[&str],
    properties: &str,
) -> (Rig, Vec<Watched>) {
    let set: String = languages
        .iter()
        .enumerate()
        .map(|(n, language)| format!(" translate_src_{n}::language-code={language}"))
        .collect();
    let sinks: String = (0..languages.len())
        .map(|n| format!(" asr.translate_src_{n} ! fakesink name=out{n} sync=false async=false"))
        .collect();
    let rig = Rig::launch(&format!(
        "{source} ! qwenasr name=asr url={} {properties}{set} asr.src ! fakesink name=out sync=false \
         async=false {sinks}",
        server.url()
    ));
    let watched = (0..languages.len())
        .map(|n| {
            let sink = rig.pipeline.by_name(&format!("out{n}")).unwrap();
            Watched::new(&sink.static_pad("sink").unwrap())
        })
        .collect();
    (rig, watched)
}

/// What comes into a pad.
struct Watched(Arc<Mutex<Vec<Left>>>);

impl Watched {
    fn new(pad: &gst::Pad) -> Self {
        let left = Arc::default();
        watch(pad, &left);
        Self(left)
    }

    fn texts(&self) -> Vec<(String, u64, u64)> {
        texts_of(&self.0.lock().unwrap())
    }

    fn events(&self) -> Vec<String> {
        let left = self.0.lock().unwrap();
        let events = left.iter().filter_map(|left| match left {
            Left::Event(name) => Some(name.clone()),
            _ => None,
        });
        events.collect()
    }

    /// The end of what is covered without a hole, from the beginning on.
    fn covered(&self) -> u64 {
        let left = self.0.lock().unwrap();
        left.iter().fold(0, |until, left| match left {
            Left::Text { start, end, .. } | Left::Gap { start, end } => {
                assert!(*start <= until + 1, "a hole before {left:?}");
                until.max(*end)
            }
            Left::Event(_) => until,
        })
    }
}

/// All words are of this language.
fn check_language(language: &str, texts: &[(String, u64, u64)]) {
    for (text, ..) in texts {
        let is_of_it = |word: &str| {
            word.strip_prefix(language)
                .is_some_and(|number| number.parse::<u32>().is_ok())
        };
        assert!(
            text.split_whitespace().all(is_of_it),
            "{text:?} in {language}"
        );
    }
}

fn heard(texts: &[(String, u64, u64)]) -> Vec<u32> {
    texts.iter().flat_map(|(text, ..)| numbers(text)).collect()
}

/// The models of the connections so far.
fn models(server: &Server) -> Vec<String> {
    let sessions = server.sessions();
    let models = sessions.iter().filter_map(|session| {
        session
            .query
            .split_once("model=")
            .map(|(_, model)| model.into())
    });
    let mut models: Vec<String> = models.collect();
    models.sort();
    models
}
