// SPDX-License-Identifier: MPL-2.0

//! The C interface of libopus, as far as it is needed. All unsafe code for Opus is here.
//!
//! It is the reference implementation, and where GStreamer's plugin for Opus is, it is, too. It is
//! looked for when a client first asks for Opus, so that building the service, and using it with
//! PCM, takes no more than Rust.

use std::ffi::{c_int, c_uchar};
use std::ptr::NonNull;
use std::sync::OnceLock;

use libloading::Library;

use super::encode::Coding;
use super::{GRANULE_RATE, Mistake};

/// The library of Linux and of macOS, in the version of its interface since 2012.
const NAMES: [&str; 2] = ["libopus.so.0", "libopus.0.dylib"];

/// The longest packet in milliseconds.
const MAX_PACKET_MS: u32 = 120;

/// The largest packet that the encoder makes, in bytes.
const MAX_PACKET: usize = 1275;

// `opus_defines.h`
const OPUS_APPLICATION_VOIP: c_int = 2048;
const OPUS_SET_BITRATE_REQUEST: c_int = 4002;
const OPUS_SET_DTX_REQUEST: c_int = 4016;
const OPUS_GET_LOOKAHEAD_REQUEST: c_int = 4027;
const OPUS_SET_GAIN_REQUEST: c_int = 4034;

/// `OpusDecoder` and `OpusEncoder`.
#[repr(C)]
struct DecoderState([u8; 0]);
#[repr(C)]
struct EncoderState([u8; 0]);

/// The functions of the library, with the types of `opus.h`.
struct Api {
    opus_packet_get_nb_samples: unsafe extern "C" fn(*const c_uchar, i32, i32) -> c_int,
    opus_decoder_create: unsafe extern "C" fn(i32, c_int, *mut c_int) -> *mut DecoderState,
    opus_decoder_ctl: unsafe extern "C" fn(*mut DecoderState, c_int, ...) -> c_int,
    opus_decode: unsafe extern "C" fn(
        *mut DecoderState,
        *const c_uchar,
        i32,
        *mut i16,
        c_int,
        c_int,
    ) -> c_int,
    opus_decoder_destroy: unsafe extern "C" fn(*mut DecoderState),
    opus_encoder_create: unsafe extern "C" fn(i32, c_int, c_int, *mut c_int) -> *mut EncoderState,
    opus_encoder_ctl: unsafe extern "C" fn(*mut EncoderState, c_int, ...) -> c_int,
    opus_encode:
        unsafe extern "C" fn(*mut EncoderState, *const i16, c_int, *mut c_uchar, i32) -> i32,
    opus_encoder_destroy: unsafe extern "C" fn(*mut EncoderState),
    /// Keeps the code of the functions in memory.
    _library: Library,
}

impl Api {
    /// The library, which stays loaded once it is.
    fn get() -> Result<&'static Self, String> {
        static API: OnceLock<Result<Api, String>> = OnceLock::new();
        let api = API.get_or_init(|| Self::load().map_err(|error| missing(&error)));
        api.as_ref().map_err(Clone::clone)
    }

    fn load() -> Result<Self, libloading::Error> {
        // SAFETY: initialising the library has no preconditions.
        let [library, other] = NAMES.map(|name| unsafe { Library::new(name) });
        let library = library.or_else(|error| other.map_err(|_| error))?;

        /// Looks a function up as the type of the field it is for.
        macro_rules! function {
            ($name:ident) => {
                // SAFETY: the types of the fields are those of the library's header, and the
                // library stays loaded as long as the fields exist.
                *unsafe { library.get(stringify!($name)) }?
            };
        }
        Ok(Self {
            opus_packet_get_nb_samples: function!(opus_packet_get_nb_samples),
            opus_decoder_create: function!(opus_decoder_create),
            opus_decoder_ctl: function!(opus_decoder_ctl),
            opus_decode: function!(opus_decode),
            opus_decoder_destroy: function!(opus_decoder_destroy),
            opus_encoder_create: function!(opus_encoder_create),
            opus_encoder_ctl: function!(opus_encoder_ctl),
            opus_encode: function!(opus_encode),
            opus_encoder_destroy: function!(opus_encoder_destroy),
            _library: library,
        })
    }
}

/// Whether Opus can be decoded. The error is a sentence that says how to get the library.
pub(super) fn available() -> Result<(), String> {
    Api::get().map(drop)
}

/// How many samples at 48 kHz a packet holds.
pub(super) fn samples(packet: &[u8]) -> Result<u64, Mistake> {
    let api = Api::get()?;
    let length = i32::try_from(packet.len()).map_err(|_| invalid())?;
    // SAFETY: the packet is as long as it says, and only read.
    let samples =
        unsafe { (api.opus_packet_get_nb_samples)(packet.as_ptr(), length, GRANULE_RATE as i32) };
    match u64::try_from(samples) {
        Ok(samples) if samples > 0 => Ok(samples),
        _ => Err(invalid()),
    }
}

/// A decoder for one stream in one channel.
pub(super) struct Decoder {
    api: &'static Api,
    state: NonNull<DecoderState>,
    rate: u32,
}

// SAFETY: a decoder may be used by any thread, as long as it is by one at a time, which the
// exclusive references of its methods ensure.
unsafe impl Send for Decoder {}

impl Decoder {
    /// A decoder to `rate` samples per second, 8000 or 16000, that amplifies by `gain` / 256 dB.
    pub fn new(rate: u32, gain: i16) -> Result<Self, String> {
        let api = Api::get()?;
        let mut error = 0;
        // SAFETY: the error is written before the call returns.
        let state = unsafe { (api.opus_decoder_create)(rate as i32, 1, &mut error) };
        let Some(state) = NonNull::new(state) else {
            return Err(format!("libopus makes no decoder for {rate} Hz: {error}"));
        };
        // SAFETY: the decoder is valid, and this request takes one integer. It cannot fail with one
        // of 16 bits.
        unsafe { (api.opus_decoder_ctl)(state.as_ptr(), OPUS_SET_GAIN_REQUEST, c_int::from(gain)) };
        Ok(Self { api, state, rate })
    }

    /// Appends the samples of the next packet to `pcm`.
    pub fn decode(&mut self, packet: &[u8], pcm: &mut Vec<i16>) -> Result<(), Mistake> {
        let length = i32::try_from(packet.len()).map_err(|_| invalid())?;
        let before = pcm.len();
        let room = self.rate * MAX_PACKET_MS / 1000;
        pcm.resize(before + room as usize, 0);
        // SAFETY: the decoder is valid, the packet is as long as it says, and there is room for as
        // many samples.
        let samples = unsafe {
            (self.api.opus_decode)(
                self.state.as_ptr(),
                packet.as_ptr(),
                length,
                pcm[before..].as_mut_ptr(),
                room as c_int,
                0,
            )
        };
        let samples = usize::try_from(samples);
        pcm.truncate(before + samples.unwrap_or(0));
        samples.map(drop).map_err(|_| invalid())
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: the decoder is valid, and not used any more.
        unsafe { (self.api.opus_decoder_destroy)(self.state.as_ptr()) };
    }
}

/// An encoder of speech in one channel.
pub(super) struct Encoder {
    api: &'static Api,
    state: NonNull<EncoderState>,
}

impl Encoder {
    /// An encoder of `rate` samples per second.
    pub fn new(rate: u32, coding: &Coding) -> Result<Self, String> {
        let api = Api::get()?;
        let mut error = 0;
        // SAFETY: the error is written before the call returns.
        let state =
            unsafe { (api.opus_encoder_create)(rate as i32, 1, OPUS_APPLICATION_VOIP, &mut error) };
        let state = NonNull::new(state)
            .ok_or_else(|| format!("libopus makes no encoder for {rate} Hz: {error}"))?;
        for (request, value) in [
            (OPUS_SET_BITRATE_REQUEST, coding.bitrate as c_int),
            (OPUS_SET_DTX_REQUEST, coding.dtx.into()),
        ] {
            // SAFETY: the encoder is valid, and these requests take one integer.
            unsafe { (api.opus_encoder_ctl)(state.as_ptr(), request, value) };
        }
        Ok(Self { api, state })
    }

    /// How many samples, at the encoder's rate, what it makes is late.
    pub fn delay(&self) -> u32 {
        let mut samples: c_int = 0;
        // SAFETY: the encoder is valid, and this request takes a pointer to an integer, which is
        // written before the call returns.
        unsafe {
            let out: *mut c_int = &mut samples;
            (self.api.opus_encoder_ctl)(self.state.as_ptr(), OPUS_GET_LOOKAHEAD_REQUEST, out)
        };
        samples.try_into().unwrap_or(0)
    }

    /// The next packet, of all of these samples.
    pub fn encode(&mut self, pcm: &[i16]) -> Result<Vec<u8>, String> {
        let mut packet = vec![0; MAX_PACKET];
        // SAFETY: the encoder is valid, and both lengths are those of the slices.
        let length = unsafe {
            (self.api.opus_encode)(
                self.state.as_ptr(),
                pcm.as_ptr(),
                pcm.len() as c_int,
                packet.as_mut_ptr(),
                MAX_PACKET as i32,
            )
        };
        packet.truncate(
            usize::try_from(length)
                .map_err(|_| format!("libopus makes no packet of {} samples", pcm.len()))?,
        );
        Ok(packet)
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: the encoder is valid, and not used any more.
        unsafe { (self.api.opus_encoder_destroy)(self.state.as_ptr()) };
    }
}

fn invalid() -> Mistake {
    "a packet is not valid Opus".to_owned()
}

fn missing(error: &libloading::Error) -> String {
    format!(
        "The offline service cannot decode opus without libopus: {error}. On Debian and its kin: \
         apt install libopus0"
    )
}
