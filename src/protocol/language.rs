// SPDX-License-Identifier: MPL-2.0
//! Language hints: BCP 47 in, the service's codes out.
//!
//! A wrong hint is worse than no hint: the service then silently translates (observed), and `auto`
//! is accepted and fails the first utterance (observed). So each protocol's `set_up` calls
//! [`hint`], which refuses every tag that is not certainly supported.

use super::{Failure, Kind, Statement};

/// The languages of the open Qwen3-ASR models: the names that the models use, and codes.
const QWEN3_ASR: [(&str, &str); 30] = [
    ("Chinese", "zh"),
    ("Cantonese", "yue"),
    ("English", "en"),
    ("Arabic", "ar"),
    ("German", "de"),
    ("French", "fr"),
    ("Spanish", "es"),
    ("Portuguese", "pt"),
    ("Indonesian", "id"),
    ("Italian", "it"),
    ("Korean", "ko"),
    ("Russian", "ru"),
    ("Thai", "th"),
    ("Vietnamese", "vi"),
    ("Japanese", "ja"),
    ("Turkish", "tr"),
    ("Hindi", "hi"),
    ("Malay", "ms"),
    ("Dutch", "nl"),
    ("Swedish", "sv"),
    ("Danish", "da"),
    ("Finnish", "fi"),
    ("Polish", "pl"),
    ("Czech", "cs"),
    ("Filipino", "fil"),
    ("Persian", "fa"),
    ("Greek", "el"),
    ("Romanian", "ro"),
    ("Hungarian", "hu"),
    ("Macedonian", "mk"),
];

/// The codes of these languages.
pub(super) const QWEN3_ASR_CODES: [&str; 30] = {
    let mut codes = [""; 30];
    let mut at = 0;
    while at < codes.len() {
        codes[at] = QWEN3_ASR[at].1;
        at += 1;
    }
    codes
};

/// The code of a language, given the name that an open Qwen3-ASR model uses.
pub(super) fn code_of(name: &str) -> Option<&'static str> {
    let mut languages = QWEN3_ASR.iter();
    languages
        .find(|(known, _)| *known == name)
        .map(|(_, code)| *code)
}

/// Reduces a BCP 47 tag to one of the `supported` codes: `en-US` -> `en`, `zh-Hant-HK` -> `zh`,
/// `nb-NO` -> `no`. `None` means that the language is to be detected: for an absent tag, `""`,
/// `auto` and `und`.
///
/// # Errors
///
/// If the language is not supported.
pub(super) fn hint(tag: Option<&str>, supported: &[&str]) -> Result<Option<String>, Failure> {
    let tag = tag.unwrap_or_default().trim();
    let lower = tag.to_ascii_lowercase();
    let mut subtags = lower.split(['-', '_']);
    let primary = subtags.next().unwrap_or_default();
    let codes: &[&str] = match primary {
        "" if tag.is_empty() => return Ok(None),
        "auto" | "und" => return Ok(None),
        // Cantonese may be written as an extended subtag of Chinese.
        "zh" if subtags.next() == Some("yue") => &["yue"],
        "cmn" => &["zh"],
        "nb" | "nn" | "no" => &["no", "nb"],
        "tl" | "fil" => &["fil", "tl"],
        "in" => &["id"],
        primary => &[primary],
    };
    let code = codes.iter().find(|code| supported.contains(code));
    match code {
        Some(code) => Ok(Some((*code).to_owned())),
        None => Err(Failure::new(
            Kind::Settings,
            Statement::from("The language '")
                .quoting(tag)
                .then(&format!(
                    "' is not among those that the service supports: {}.",
                    supported.join(", ")
                )),
            "Set language-code to one of these, or leave it empty to have the language detected.",
        )),
    }
}

/// The same for several tags, separated by commas. Detection of any of them means detection of all.
pub(super) fn hints(tags: Option<&str>, supported: &[&str]) -> Result<Vec<String>, Failure> {
    let tags = tags.unwrap_or_default().split(',');
    let codes: Result<Option<Vec<_>>, _> = tags.map(|tag| hint(Some(tag), supported)).collect();
    let mut hints = Vec::new();
    for code in codes?.unwrap_or_default() {
        if !hints.contains(&code) {
            hints.push(code);
        }
    }
    Ok(hints)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUPPORTED: &[&str] = &["zh", "yue", "en", "no", "fil", "pt"];

    fn normalise(tag: Option<&str>) -> Result<Option<String>, Failure> {
        hint(tag, SUPPORTED)
    }

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
        assert_eq!(hint(Some("fil-PH"), &["tl"]), Ok(Some("tl".to_owned())));
        assert_eq!(hint(Some("no"), &["nb"]), Ok(Some("nb".to_owned())));
    }

    #[test]
    fn several_tags_are_separated_by_commas() {
        for (tags, expected) in [
            (None, &[][..]),
            (Some(""), &[]),
            (Some("zh"), &["zh"]),
            (Some("zh, en-US,zh-Hant"), &["zh", "en"]),
            (Some("zh,auto"), &[]),
        ] {
            assert_eq!(hints(tags, SUPPORTED).unwrap(), expected, "{tags:?}");
        }
        assert!(hints(Some("zh,tlh"), SUPPORTED).is_err());
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
