// SPDX-License-Identifier: MPL-2.0

//! The C interface of libmoonshine, as far as it is needed. All unsafe code for Moonshine is here.
//!
//! The types are those of `moonshine-c-api.h`, version 2, and of the Python bindings that come
//! with the library. A [`Model`] is shared by all sessions, which a
//! [`PriorityMutex`](super::priority_mutex::PriorityMutex) serialises.

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::{env, fs, ptr};

use libloading::Library;

use crate::resample::MODEL_RATE;

/// The version of the interface that the types below describe, and which the library has to
/// have. MAJOR · 10000 + MINOR · 100 + PATCH.
const VERSION: i32 = 20_000;

/// `MOONSHINE_MODEL_ARCH_TINY`.
const TINY: u32 = 0;

/// The library works on whole blocks of this many samples, and drops a remainder.
const HOP: usize = 512;

/// The caller knows where speech is: the library's own voice detection is off, so that it takes
/// all audio for one utterance. Nor does it have to give the audio back.
const OPTIONS: [(&CStr, &CStr); 3] = [
    (c"vad_threshold", c"0"),
    (c"vad_max_segment_duration", c"120"),
    (c"return_audio_data", c"false"),
];

/// The environment variable that keeps onnxruntime from using a pool of threads.
const SINGLE_THREAD: &str = "MOONSHINE_ORT_SINGLE_THREAD";

/// `moonshine_option_t`.
#[repr(C)]
struct LoadOption {
    name: *const c_char,
    value: *const c_char,
}

/// `transcript_line_t`.
#[repr(C)]
struct Line {
    text: *const c_char,
    audio_data: *const f32,
    audio_data_count: usize,
    start_time: f32,
    duration: f32,
    id: u64,
    is_complete: i8,
    is_updated: i8,
    is_new: i8,
    has_text_changed: i8,
    have_speakers_changed: i8,
    speaker_spans: *const c_void,
    speaker_span_count: u64,
    last_transcription_latency_ms: u32,
    words: *const c_void,
    word_count: u64,
}

/// `transcript_t`.
#[repr(C)]
struct Transcript {
    lines: *const Line,
    line_count: u64,
}

// What the library was compiled with, on all machines it is there for.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Line>() == 88 && size_of::<Transcript>() == 16);

type GetVersion = unsafe extern "C" fn() -> i32;
type Load = unsafe extern "C" fn(*const c_char, u32, *const LoadOption, u64, i32) -> i32;
type Transcribe = unsafe extern "C" fn(i32, *mut f32, u64, i32, u32, *mut *const Transcript) -> i32;

/// A loaded model. Like the library it stays until the process ends, as onnxruntime does not
/// expect to be unloaded.
pub(super) struct Model {
    transcribe: Transcribe,
    handle: i32,
}

impl Model {
    /// Loads the library, and with it the model in a directory. The error is a clause.
    pub fn load(library: &Path, model: &Path) -> Result<Self, String> {
        decode_on_one_thread();
        // SAFETY: initialising the library, and onnxruntime with it, has no preconditions.
        let library = unsafe { Library::new(library) }.map_err(|error| error.to_string())?;
        let missing = |error: libloading::Error| error.to_string();
        // SAFETY: these are the functions' types in the header of the version that is checked
        // before any other of them is called; that one's has been the same in all versions.
        let (version, load, transcribe) = unsafe {
            let version = library.get::<GetVersion>(c"moonshine_get_version");
            let load = library.get::<Load>(c"moonshine_load_transcriber_from_files");
            let transcribe = library.get::<Transcribe>(c"moonshine_transcribe_without_streaming");
            (
                *version.map_err(missing)?,
                *load.map_err(missing)?,
                *transcribe.map_err(missing)?,
            )
        };
        // The functions stay valid.
        std::mem::forget(library);
        // SAFETY: it takes and changes nothing.
        let version = unsafe { version() };
        if version != VERSION {
            return Err(format!(
                "the library has version {version} instead of {VERSION}"
            ));
        }
        let path = CString::new(model.as_os_str().as_encoded_bytes())
            .map_err(|error| error.to_string())?;
        let options = OPTIONS.map(|(name, value)| LoadOption {
            name: name.as_ptr(),
            value: value.as_ptr(),
        });
        let count = options.len() as u64;
        // SAFETY: the strings and options outlive the call, which copies them, and the count is
        // that of the options.
        let handle = unsafe { load(path.as_ptr(), TINY, options.as_ptr(), count, VERSION) };
        if handle < 0 {
            return Err(format!(
                "the library cannot load the model in {}",
                model.display()
            ));
        }
        Ok(Self { transcribe, handle })
    }

    /// The text of an utterance of [`MODEL_RATE`] samples per second between -1 and 1, or `None`
    /// if the library reports an error.
    pub fn transcribe(&mut self, mut audio: Vec<f32>) -> Option<String> {
        audio.resize(audio.len().next_multiple_of(HOP), 0.0);
        let mut transcript = ptr::null();
        // SAFETY: the model is never unloaded, the length is that of the samples, which the
        // library copies. It sets the pointer to a transcript unless it returns an error.
        let error = unsafe {
            (self.transcribe)(
                self.handle,
                audio.as_mut_ptr(),
                audio.len() as u64,
                MODEL_RATE as i32,
                0,
                &mut transcript,
            )
        };
        if error != 0 || transcript.is_null() {
            return None;
        }
        // SAFETY: transcripts, their lines and texts, which may be null, are valid until the
        // model is used again, which the exclusive reference to it prevents.
        let lines: Vec<String> = unsafe {
            let Transcript { lines, line_count } = transcript.read();
            (0..line_count as usize)
                .map(|index| (*lines.add(index)).text)
                .filter(|text| !text.is_null())
                .map(|text| CStr::from_ptr(text).to_string_lossy().into_owned())
                .collect()
        };
        Some(lines.join(" "))
    }
}

/// Makes onnxruntime work on the calling thread only. By default it uses a pool of threads, which
/// for such a small model takes twice the processor time, most of it waiting. An environment
/// variable is the only way to say so, and setting one is sound only while there is no other
/// thread; later, the variable has to be in the environment already.
fn decode_on_one_thread() {
    let alone = fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1);
    if alone && env::var_os(SINGLE_THREAD).is_none() {
        // SAFETY: no other thread can read the environment, because there is none, as was just
        // seen, and nobody else who could start one.
        unsafe { env::set_var(SINGLE_THREAD, "1") };
    }
}
