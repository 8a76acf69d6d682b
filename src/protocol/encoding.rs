// SPDX-License-Identifier: MPL-2.0
//! Base64 for audio in JSON, with the SIMD instructions of the processor: without them, encoding
//! was a third of the work of sending audio.

use base64::Engine as _;

use super::Frame;

#[cfg(any(
    target_arch = "x86_64",
    all(target_arch = "aarch64", target_feature = "neon")
))]
mod engine {
    use std::sync::LazyLock;

    use base64::engine::Simd;
    use base64::engine::general_purpose::PAD;

    /// Falls back automatically on older processors.
    pub(super) static ENGINE: LazyLock<Simd> = LazyLock::new(|| Simd::standard(PAD));
}

#[cfg(not(any(
    target_arch = "x86_64",
    all(target_arch = "aarch64", target_feature = "neon")
)))]
mod engine {
    pub(super) use base64::engine::general_purpose::STANDARD as ENGINE;
}

/// The client event that carries audio, in all protocols with audio in JSON. Its buffer is of its
/// final size, so the socket takes it over as it is.
pub(super) fn audio_event(event_id: Option<&str>, audio: &[u8]) -> Frame {
    let [key, id, comma] = event_id.map_or([""; 3], |id| [r#""event_id":""#, id, r#"","#]);
    let kind = r#""type":"input_audio_buffer.append","audio":""#;
    let (head, end) = (["{", key, id, comma, kind], r#""}"#);
    let length = head.map(str::len).iter().sum::<usize>() + length(audio.len()) + end.len();
    let mut text = Vec::with_capacity(length);
    head.iter()
        .for_each(|part| text.extend_from_slice(part.as_bytes()));
    append(audio, &mut text);
    text.extend_from_slice(end.as_bytes());
    Frame::Text(String::from_utf8(text).expect("base64 is ASCII, and the rest is text"))
}

/// The number of base64 characters for a number of bytes.
fn length(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

/// Appends the bytes in base64, with padding.
fn append(bytes: &[u8], text: &mut Vec<u8>) {
    let start = text.len();
    text.resize(start + length(bytes.len()), 0);
    let written = engine::ENGINE.encode_slice(bytes, &mut text[start..]);
    debug_assert_eq!(written.ok(), Some(text.len() - start));
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;

    #[test]
    fn is_the_same_at_every_length() {
        let bytes: Vec<u8> = (0..500u32).map(|n| (n * 37 % 256) as u8).collect();
        for end in 0..bytes.len() {
            let mut text = b"before ".to_vec();
            append(&bytes[..end], &mut text);
            let expected = STANDARD.encode(&bytes[..end]);
            assert_eq!(text.strip_prefix(b"before "), Some(expected.as_bytes()));
            assert_eq!(length(end), expected.len());
        }
    }
}
