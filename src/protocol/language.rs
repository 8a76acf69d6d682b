// SPDX-License-Identifier: MPL-2.0
//! Language hints: BCP 47 in, the service's codes out.
//!
//! A wrong hint is worse than none: the service then silently translates, and `auto` is accepted
//! at first and fails at the first utterance. So whatever is not surely right is refused here.

/// Codes that the service documents for this protocol.
const SUPPORTED: [&str; 27] = [
    "zh", "yue", "en", "ja", "de", "ko", "ru", "fr", "pt", "ar", "it", "es", "hi", "id", "th",
    "tr", "uk", "vi", "cs", "da", "fil", "fi", "is", "ms", "no", "pl", "sv",
];

/// The tag names no language that the service knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsupportedLanguage(pub String);

impl std::fmt::Display for UnsupportedLanguage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "The language '{}' is not among those that the service supports: {}.",
            self.0,
            SUPPORTED.join(", ")
        )
    }
}

/// Reduces a BCP 47 tag to the service's code: `en-US` -> `en`, `zh-Hant-HK` -> `zh`,
/// `nb-NO` -> `no`. `None` means that the language is to be detected: for an absent tag, `""`,
/// `auto` and `und`.
pub fn normalise(tag: Option<&str>) -> Result<Option<String>, UnsupportedLanguage> {
    let tag = tag.unwrap_or_default().trim();
    let lower = tag.to_ascii_lowercase();
    let mut subtags = lower.split(['-', '_']);
    let primary = subtags.next().unwrap_or_default();
    let code = match primary {
        "" if tag.is_empty() => return Ok(None),
        "auto" | "und" => return Ok(None),
        // Cantonese may be written as an extended subtag of Chinese.
        "zh" if subtags.next() == Some("yue") => "yue",
        "cmn" => "zh",
        "nb" | "nn" => "no",
        "tl" => "fil",
        "in" => "id",
        primary => primary,
    };
    SUPPORTED
        .contains(&code)
        .then(|| Some(code.to_owned()))
        .ok_or_else(|| UnsupportedLanguage(tag.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_reduced_to_the_services_codes() {
        for (tag, code) in [
            ("en", "en"),
            ("en-US", "en"),
            ("EN_us", "en"),
            (" zh-Hant-HK ", "zh"),
            ("zh-yue-HK", "yue"),
            ("yue", "yue"),
            ("cmn-Hans", "zh"),
            ("nb-NO", "no"),
            ("tl", "fil"),
            ("pt-BR", "pt"),
        ] {
            assert_eq!(normalise(Some(tag)), Ok(Some(code.to_owned())), "{tag}");
        }
    }

    #[test]
    fn absent_and_undetermined_tags_mean_detection() {
        assert_eq!(normalise(None), Ok(None));
        for tag in ["", "  ", "auto", "AUTO", "und"] {
            assert_eq!(normalise(Some(tag)), Ok(None), "{tag:?}");
        }
    }

    #[test]
    fn what_the_service_does_not_know_is_refused_by_name() {
        for tag in ["tlh", "xx-US", "english", "-", "en1"] {
            let error = normalise(Some(tag)).unwrap_err();
            assert!(error.to_string().contains(&format!("'{tag}'")), "{error}");
        }
    }
}
