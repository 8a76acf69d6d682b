// SPDX-License-Identifier: MPL-2.0

//! PocketSphinx as the recogniser: English, 16 kHz, on the machine itself.
//!
//! The libraries are looked for when the service starts, so that building it, and testing
//! with other recognisers, takes no more than Rust.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, PoisonError};

use libloading::Library;

use crate::caption::{self, Caution, Stabiliser};
use crate::recogniser::{Factory, Hypothesis, Recogniser};
use crate::resample::{MODEL_RATE, Resampler};
use crate::words::Span;

/// Where Debian's package `pocketsphinx-en-us` puts its model.
const MODEL: &str = "/usr/share/pocketsphinx/model/en-us";

/// Length of the decoder's frames in milliseconds.
const FRAME_MS: u64 = 10;

/// Decoders that are kept for sessions to come; more than these are freed after use.
const MAX_IDLE: usize = 4;

/// Settings that differ from the library's or the model's defaults. Without the second pass
/// over the whole of an item, final results come as soon as it ends however long it was, and
/// are not worse.
const SETTINGS: &[(&str, &str)] = &[("-logfn", "/dev/null"), ("-fwdflat", "no")];

/// Audio of a session after which it is decoded anew, in milliseconds. Only then does the
/// decoder know the voice and the room well enough, which it adapts to between utterances.
const ADAPTATION_MS: u64 = 3000;

/// The first three seconds of an item, and the end of any hypothesis, are mostly wrong.
const CAUTION: Caution = Caution { words: 3, ms: 3000 };

/// Loads PocketSphinx, and `decoders` decoders so that the first sessions need not wait for
/// theirs.
pub fn factory(decoders: usize) -> Result<Factory, String> {
    let pool = Arc::new(Pool {
        api: Arc::new(Api::load()?),
        idle: Mutex::default(),
    });
    for _ in 0..decoders {
        pool.give_back(Decoder::new(pool.api.clone())?);
    }
    Ok(Arc::new(move || {
        let decoder = pool.take()?;
        Ok(Box::new(SphinxRecogniser {
            decoder: Some(decoder),
            pool: pool.clone(),
            resampler: Resampler::new(MODEL_RATE),
            samples: 0,
            speaking: false,
            first: Some(Vec::new()),
            stabiliser: Stabiliser::new(CAUTION),
        }))
    }))
}

/// Decoders between two sessions.
struct Pool {
    api: Arc<Api>,
    idle: Mutex<Vec<Decoder>>,
}

impl Pool {
    fn take(&self) -> Result<Decoder, String> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        idle.map_or_else(|| Decoder::new(self.api.clone()), Ok)
    }

    fn give_back(&self, decoder: Decoder) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(decoder);
        }
    }
}

/// The recogniser of one session.
struct SphinxRecogniser {
    /// Only absent while this is dropped.
    decoder: Option<Decoder>,
    pool: Arc<Pool>,
    resampler: Resampler,
    /// Samples of the item so far, at the model's rate.
    samples: u64,
    speaking: bool,
    /// The beginning of the session's first item, until the decoder has adapted to it.
    first: Option<Vec<i16>>,
    stabiliser: Stabiliser,
}

impl SphinxRecogniser {
    fn words(&mut self) -> Vec<String> {
        let hypothesis = self.decoder.as_mut().map(Decoder::hypothesis);
        caption::words_of(&hypothesis.unwrap_or_default())
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.speaking)
            && let Some(decoder) = &mut self.decoder
        {
            decoder.end();
            self.first = None;
        }
    }
}

impl Recogniser for SphinxRecogniser {
    fn start(&mut self, rate: u32) {
        self.end();
        self.resampler = Resampler::new(rate);
        self.samples = 0;
        self.stabiliser = Stabiliser::new(CAUTION);
        self.speaking = self.decoder.as_mut().is_some_and(Decoder::start);
    }

    fn feed(&mut self, pcm: &[i16]) {
        let Some(decoder) = self.decoder.as_mut().filter(|_| self.speaking) else {
            return;
        };
        let pcm = self.resampler.feed(pcm);
        decoder.feed(&pcm);
        if let Some(mut first) = self.first.take() {
            first.extend_from_slice(&pcm);
            if (first.len() as u64) < u64::from(MODEL_RATE) * ADAPTATION_MS / 1000 {
                self.first = Some(first);
            } else {
                decoder.end();
                self.speaking = decoder.start();
                decoder.feed(&first);
            }
        }
        self.samples += pcm.len() as u64;
    }

    fn hypothesis(&mut self) -> Option<Hypothesis> {
        let words = self.words();
        let ms = self.samples * 1000 / u64::from(MODEL_RATE);
        Some(self.stabiliser.update(words, ms))
    }

    fn finish(&mut self) -> String {
        self.end();
        caption::transcript(&self.words())
    }

    fn spans(&mut self) -> Vec<Span> {
        let segments = self.decoder.as_mut().map(Decoder::segments);
        segments
            .unwrap_or_default()
            .into_iter()
            .filter(|(word, _)| !caption::words_of(word).is_empty())
            .map(|(_, span)| span)
            .collect()
    }
}

impl Drop for SphinxRecogniser {
    fn drop(&mut self) {
        self.end();
        if let Some(decoder) = self.decoder.take() {
            self.pool.give_back(decoder);
        }
    }
}

type Config = c_void;
type Ps = c_void;
type Segment = c_void;
type ArgDefinition = c_void;

/// The functions of the libraries, with the types of `pocketsphinx.h` and
/// `sphinxbase/cmd_ln.h` and `err.h`. Version 3 is two libraries, version 5 a single one.
struct Api {
    ps_args: unsafe extern "C" fn() -> *const ArgDefinition,
    ps_init: unsafe extern "C" fn(*mut Config) -> *mut Ps,
    ps_free: unsafe extern "C" fn(*mut Ps) -> c_int,
    ps_start_utt: unsafe extern "C" fn(*mut Ps) -> c_int,
    ps_process_raw: unsafe extern "C" fn(*mut Ps, *const i16, usize, c_int, c_int) -> c_int,
    ps_end_utt: unsafe extern "C" fn(*mut Ps) -> c_int,
    ps_get_hyp: unsafe extern "C" fn(*mut Ps, *mut i32) -> *const c_char,
    ps_seg_iter: unsafe extern "C" fn(*mut Ps) -> *mut Segment,
    ps_seg_next: unsafe extern "C" fn(*mut Segment) -> *mut Segment,
    ps_seg_word: unsafe extern "C" fn(*mut Segment) -> *const c_char,
    ps_seg_frames: unsafe extern "C" fn(*mut Segment, *mut c_int, *mut c_int),
    cmd_ln_parse_r: unsafe extern "C" fn(
        *mut Config,
        *const ArgDefinition,
        i32,
        *const *const c_char,
        i32,
    ) -> *mut Config,
    /// `ps_config_free`, or in version 3 `cmd_ln_free_r`.
    config_free: unsafe extern "C" fn(*mut Config) -> c_int,
    /// Whether frames are counted over all utterances of a decoder, as in version 3, or anew in each
    /// of them, as in version 5.
    counts_on: bool,
    /// Keep the code of the functions in memory.
    _libraries: [Library; 2],
}

impl Api {
    fn load() -> Result<Self, String> {
        let open = |name: &str| {
            // SAFETY: initialising these libraries has no preconditions.
            unsafe { Library::new(name) }.map_err(|error| missing(&error.to_string()))
        };
        let (sphinx, base, free) = match open("libpocketsphinx.so.5") {
            // Opened again, it is the same one.
            Ok(all) => (all, open("libpocketsphinx.so.5")?, "ps_config_free"),
            Err(_) => (
                open("libpocketsphinx.so.3")?,
                open("libsphinxbase.so.3")?,
                "cmd_ln_free_r",
            ),
        };

        /// Looks a function up as the type of the field it is for.
        macro_rules! function {
            ($library:ident, $name:ident) => {
                function!($library, as stringify!($name))
            };
            ($library:ident, as $name:expr) => {
                // SAFETY: the types of the fields are those of the libraries' headers, and
                // the libraries stay loaded as long as the fields exist.
                *unsafe { $library.get($name) }.map_err(|error| missing(&error.to_string()))?
            };
        }
        let err_set_callback: unsafe extern "C" fn(*const c_void, *mut c_void) =
            function!(base, err_set_callback);
        // SAFETY: without a function to call, the library does not log; it is not used by
        // any other thread yet.
        unsafe { err_set_callback(ptr::null(), ptr::null_mut()) };
        Ok(Self {
            ps_args: function!(sphinx, ps_args),
            ps_init: function!(sphinx, ps_init),
            ps_free: function!(sphinx, ps_free),
            ps_start_utt: function!(sphinx, ps_start_utt),
            ps_process_raw: function!(sphinx, ps_process_raw),
            ps_end_utt: function!(sphinx, ps_end_utt),
            ps_get_hyp: function!(sphinx, ps_get_hyp),
            ps_seg_iter: function!(sphinx, ps_seg_iter),
            ps_seg_next: function!(sphinx, ps_seg_next),
            ps_seg_word: function!(sphinx, ps_seg_word),
            ps_seg_frames: function!(sphinx, ps_seg_frames),
            cmd_ln_parse_r: function!(base, cmd_ln_parse_r),
            config_free: function!(base, as free),
            counts_on: free == "cmd_ln_free_r",
            _libraries: [sphinx, base],
        })
    }
}

/// A decoder, that is, a model with the state of one stream of audio.
struct Decoder {
    api: Arc<Api>,
    ps: NonNull<Ps>,
    /// Samples so far, and how many of them the library counts as before the utterance.
    fed: u64,
    begin: u64,
}

// SAFETY: a decoder may be used by any thread, as long as it is by one at a time, which the
// exclusive references of its methods ensure.
unsafe impl Send for Decoder {}

impl Decoder {
    fn new(api: Arc<Api>) -> Result<Self, String> {
        let mut arguments = vec!["pocketsphinx".to_owned()];
        for (name, file) in [
            ("-hmm", "en-us"),
            ("-lm", "en-us.lm.bin"),
            ("-dict", "cmudict-en-us.dict"),
        ] {
            let path = format!("{MODEL}/{file}");
            // The library would end the process.
            if !Path::new(&path).exists() {
                return Err(missing(&format!("{path} does not exist")));
            }
            arguments.extend([name.to_owned(), path]);
        }
        for (name, value) in SETTINGS {
            arguments.extend([(*name).to_owned(), (*value).to_owned()]);
        }
        let arguments: Vec<CString> = arguments
            .into_iter()
            .map(CString::new)
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())?;
        let pointers: Vec<*const c_char> = arguments.iter().map(|a| a.as_ptr()).collect();
        // SAFETY: the definitions are static, the count is that of the pointers, and the
        // strings outlive the call, which copies them.
        let config = unsafe {
            let definitions = (api.ps_args)();
            let count = pointers.len() as i32;
            (api.cmd_ln_parse_r)(ptr::null_mut(), definitions, count, pointers.as_ptr(), 1)
        };
        if config.is_null() {
            return Err("PocketSphinx does not accept its settings".to_owned());
        }
        // SAFETY: the configuration is valid. The decoder has a reference of its own to it.
        let ps = unsafe {
            let ps = (api.ps_init)(config);
            (api.config_free)(config);
            ps
        };
        let ps = NonNull::new(ps).ok_or("PocketSphinx cannot load its model")?;
        Ok(Self {
            api,
            ps,
            fed: 0,
            begin: 0,
        })
    }

    /// Begins an utterance. Returns whether that was possible.
    fn start(&mut self) -> bool {
        self.begin = if self.api.counts_on { self.fed } else { 0 };
        // SAFETY: the decoder is valid.
        unsafe { (self.api.ps_start_utt)(self.ps.as_ptr()) == 0 }
    }

    fn feed(&mut self, pcm: &[i16]) {
        self.fed += pcm.len() as u64;
        // SAFETY: the decoder is valid, and the length is that of the samples. If it fails,
        // there is just no text.
        unsafe { (self.api.ps_process_raw)(self.ps.as_ptr(), pcm.as_ptr(), pcm.len(), 0, 0) };
    }

    /// Ends an utterance.
    fn end(&mut self) {
        // SAFETY: the decoder is valid. If it fails, there is just no text.
        unsafe { (self.api.ps_end_utt)(self.ps.as_ptr()) };
    }

    /// What was said in the utterance, as far as it is known.
    fn hypothesis(&mut self) -> String {
        let mut score = 0;
        // SAFETY: the decoder is valid. The result is null, or a string that is valid until
        // the next call, and copied before that.
        unsafe {
            let text = (self.api.ps_get_hyp)(self.ps.as_ptr(), &mut score);
            owned(text)
        }
    }

    /// The words of the utterance, with noises and silences, and when each was said.
    fn segments(&mut self) -> Vec<(String, Span)> {
        let mut segments = Vec::new();
        let begin = self.begin * 1000 / u64::from(MODEL_RATE);
        // SAFETY: the decoder is valid. So is the iterator until it is null, when the library
        // has freed it. A word is copied before the iterator moves on.
        unsafe {
            let mut segment = (self.api.ps_seg_iter)(self.ps.as_ptr());
            while !segment.is_null() {
                let (mut first, mut last) = (0, 0);
                (self.api.ps_seg_frames)(segment, &mut first, &mut last);
                let ms = |frame: c_int| {
                    let ms = u64::try_from(frame).unwrap_or(0) * FRAME_MS;
                    ms.saturating_sub(begin)
                };
                let word = owned((self.api.ps_seg_word)(segment));
                segments.push((word, (ms(first), ms(last + 1))));
                segment = (self.api.ps_seg_next)(segment);
            }
        }
        segments
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: the decoder is valid, and not used any more.
        unsafe { (self.api.ps_free)(self.ps.as_ptr()) };
    }
}

/// A copy of a string, which may be null.
///
/// # Safety
///
/// Otherwise it has to be a valid C string.
unsafe fn owned(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: it is not null, and valid as the caller has to ensure.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_string_lossy().into_owned()
}

fn missing(what: &str) -> String {
    format!(
        "PocketSphinx is not installed completely: {what}. On Debian and its kin: \
         apt install pocketsphinx-en-us, and libpocketsphinx5 or libpocketsphinx3"
    )
}
