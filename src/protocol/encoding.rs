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

/// The client event that carries audio, in all protocols with audio in JSON. Allocated at its final
/// size.
pub(super) fn audio_event(event_id: Option<&str>, audio: &[u8]) -> Frame {
    let mut text = String::with_capacity(length(audio.len()) + 96);
    text.push('{');
    if let Some(id) = event_id {
        text.extend([r#""event_id":""#, id, r#"","#]);
    }
    text.push_str(r#""type":"input_audio_buffer.append","audio":""#);
    append(audio, &mut text);
    text.push_str(r#""}"#);
    Frame::Text(text)
}

/// The number of base64 characters for a number of bytes.
fn length(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

/// Appends the bytes in base64, with padding.
fn append(bytes: &[u8], text: &mut String) {
    engine::ENGINE.encode_string(bytes, text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;

    #[test]
    fn is_the_same_at_every_length() {
        let bytes: Vec<u8> = (0..500u32).map(|n| (n * 37 % 256) as u8).collect();
        for end in 0..bytes.len() {
            let mut text = String::from("before ");
            append(&bytes[..end], &mut text);
            let expected = STANDARD.encode(&bytes[..end]);
            assert_eq!(text.strip_prefix("before "), Some(expected.as_str()));
            assert_eq!(length(end), expected.len());
        }
    }
}
