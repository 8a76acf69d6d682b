// SPDX-License-Identifier: MPL-2.0

//! The formats of caption files.

use std::path::Path;

/// A format of captions.
#[derive(Clone, Copy)]
pub struct Format {
    pub encoder: &'static str,
    /// The format of the text that the encoder writes as it is.
    pub text: &'static str,
    /// What a file without captions consists of.
    pub empty: &'static str,
}

impl Format {
    pub fn of(path: &Path) -> Result<Self, String> {
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        match extension.to_str() {
            Some("srt") => Ok(Format {
                encoder: "srtenc",
                text: "utf8",
                empty: "",
            }),
            Some("vtt") => Ok(Format {
                encoder: "webvttenc",
                text: "pango-markup",
                empty: "WEBVTT\n\n",
            }),
            _ => Err(format!(
                "{}: the format of the captions is not known: the name has to end in .srt or .vtt.",
                path.display()
            )),
        }
    }
}
