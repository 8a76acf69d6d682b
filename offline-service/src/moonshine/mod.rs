// SPDX-License-Identifier: MPL-2.0

//! Moonshine as the recogniser: English with capitals and punctuation, on the machine itself.
//!
//! Moonshine AI's library, with its onnxruntime, and the smallest of its models (both under the
//! MIT licence) come from a Python package, which `.ci/setup.sh` fetches. Like PocketSphinx they
//! are looked for when the service starts, so that building it takes no more than Rust.
//!
//! The model is loaded once per process and shared by all sessions: final results come first,
//! interim ones when there is time. A transcription takes 35 ms of processor time per second of
//! audio.

mod library;
mod priority_mutex;
mod utterance;
mod voice_activity;

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::recogniser::{Factory, Hypothesis, Recogniser};
use crate::words::Span;
use library::Model;
use priority_mutex::PriorityMutex;
use utterance::{Transcribe, Utterance};

/// What `.ci/setup.sh` fetches, below a directory for caches.
const FILES: &str = "gst-plugin-qwenasr/moonshine-voice-0.0.73";

/// The library and the model, in there.
const LIBRARY: &str = "moonshine_voice/libmoonshine.so";
const MODEL: &str = "moonshine_voice/assets/tiny-en";

/// The models that are loaded, by their directories.
static MODELS: Mutex<BTreeMap<PathBuf, Arc<PriorityMutex<Model>>>> = Mutex::new(BTreeMap::new());

/// Where `.ci/setup.sh` puts Moonshine's files: in `$XDG_CACHE_HOME`, or in `~/.cache`.
pub fn default_directory() -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME").filter(|cache| !cache.is_empty());
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default());
    let cache = cache.map_or_else(|| home().join(".cache"), PathBuf::from);
    cache.join(FILES)
}

/// Loads Moonshine from a directory, unless the process has done so already.
///
/// This should be called before the process starts threads: it takes half the processor time then.
pub fn factory(directory: &Path) -> Result<Factory, String> {
    let mut models = MODELS.lock().unwrap_or_else(PoisonError::into_inner);
    let model = match models.get(directory) {
        Some(model) => model.clone(),
        None => {
            let model = Arc::new(PriorityMutex::new(load(directory)?));
            models.insert(directory.to_owned(), model.clone());
            model
        }
    };
    Ok(Arc::new(move || {
        Ok(Box::new(MoonshineRecogniser {
            model: model.clone(),
            item: None,
        }))
    }))
}

fn load(directory: &Path) -> Result<Model, String> {
    let library = directory.join(LIBRARY);
    let model = directory.join(MODEL);
    for path in [&library, &model] {
        if !path.exists() {
            return Err(missing(&format!("{} does not exist", path.display())));
        }
    }
    Model::load(&library, &model).map_err(|error| missing(&error))
}

fn missing(what: &str) -> String {
    format!(
        "Moonshine cannot be used: {what}. To fetch it: bash .ci/setup.sh fetch_moonshine, in the \
         directory of the sources"
    )
}

impl Transcribe for Model {
    fn transcribe(&mut self, audio: Vec<f32>) -> Option<String> {
        Self::transcribe(self, audio)
    }
}

/// The recogniser of one session.
struct MoonshineRecogniser {
    model: Arc<PriorityMutex<Model>>,
    item: Option<Utterance<Model>>,
}

impl Recogniser for MoonshineRecogniser {
    fn start(&mut self, rate: u32) {
        self.item = Some(Utterance::new(self.model.clone(), rate));
    }

    fn feed(&mut self, pcm: &[i16]) {
        if let Some(item) = &mut self.item {
            item.feed(pcm);
        }
    }

    fn hypothesis(&mut self) -> Option<Hypothesis> {
        match &mut self.item {
            Some(item) => item.hypothesis(),
            None => Some(Hypothesis::default()),
        }
    }

    fn finish(&mut self) -> String {
        self.item
            .as_mut()
            .map(Utterance::finish)
            .unwrap_or_default()
    }

    fn spans(&mut self) -> Vec<Span> {
        self.item.as_ref().map(Utterance::spans).unwrap_or_default()
    }
}
