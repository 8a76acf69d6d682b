// SPDX-License-Identifier: MPL-2.0
//! The tokens of a text: the smallest parts of it that are shown alone. Words, or in scripts
//! without spaces between them a grapheme cluster or a few.
//!
//! Tokens are what successive hypotheses are compared and aligned by (see [`super::agreement`]):
//! two are the same word if their keys are equal, whatever their case and punctuation.

use unicode_linebreak::{BreakClass, break_property};

use super::text::{Break, boundaries, is_blank, is_unspaced};

/// Kinds of script, in the order in which they decide for a token of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Script {
    /// Digits, pictographs and the like, which go with the text around them.
    Neutral,
    /// No spaces between words, and no way to tell where they end: Thai, Lao, Khmer, Burmese.
    Complex,
    /// No spaces between words: ideographs and kana.
    Ideographic,
    /// Spaces between words.
    Spaced,
}

/// The smallest part of a text that is shown alone: a word, or in scripts without spaces a grapheme
/// cluster or a few. It is never blank.
#[derive(Clone, Debug)]
pub(super) struct Token {
    /// Where it starts, in bytes.
    pub start: usize,
    /// Where it ends, in bytes, without white space.
    pub end: usize,
    /// Where it starts, in display columns.
    pub from: usize,
    /// Where it ends, in display columns.
    pub to: usize,
    /// What makes it the same word: its letters and digits only, in lower case.
    pub key: String,
    pub script: Script,
    /// Whether it continues the unspaced run that the token before is in, so that both are shown as
    /// one.
    pub joins: bool,
}

impl Token {
    fn extend(&mut self, more: Self) {
        self.end = more.end;
        self.to = more.to;
        self.key.push_str(&more.key);
        self.script = self.script.max(more.script);
    }

    /// Whether it is part of a run of text without spaces between the words.
    pub fn in_run(&self) -> bool {
        matches!(self.script, Script::Ideographic | Script::Complex)
    }
}

/// The tokens of the normalised `text`. Only white space is between them; blank text belongs to the
/// token before it, or at the start to the one after it. A blank text has no tokens.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let boundaries = boundaries(text);
    let mut tokens: Vec<Token> = Vec::new();
    let mut before = "";
    for (boundary, next) in boundaries.iter().zip(boundaries.iter().skip(1)) {
        // Starts and ends of boundaries are between characters, in order.
        let cluster = text.get(boundary.start..next.end).unwrap_or_default();
        let spaced = text
            .get(boundary.end..boundary.start)
            .is_some_and(|space| space.contains(' '));
        let new = spaced || divides(before, boundary.kind, cluster);
        before = cluster;
        let mut token = Token {
            start: boundary.start,
            end: next.end,
            from: boundary.column,
            to: next.end_column,
            key: key(cluster),
            script: script(cluster),
            joins: false,
        };
        if new {
            attach_blank(&mut tokens);
        }
        match tokens.last_mut() {
            Some(last) if !new || last.key.is_empty() => last.extend(token),
            last => {
                token.joins = !spaced
                    && boundary.kind > Break::Clause
                    && token.script < Script::Spaced
                    && last.is_some_and(|last| last.script < Script::Spaced);
                tokens.push(token);
            }
        }
    }
    attach_blank(&mut tokens);
    tokens.retain(|token| !token.key.is_empty());
    tokens
}

/// Makes the latest token, if it is blank, part of the one before.
fn attach_blank(tokens: &mut Vec<Token>) {
    if tokens.len() > 1
        && let Some(blank) = tokens.pop_if(|last| last.key.is_empty())
        && let Some(last) = tokens.last_mut()
    {
        last.extend(blank);
    }
}

/// Whether a token ends between the clusters `before` and `after`, with no space there and a break
/// of this kind.
fn divides(before: &str, kind: Break, after: &str) -> bool {
    let (Some(last), Some(next)) = (before.chars().next(), after.chars().next()) else {
        return true;
    };
    if kind <= Break::Clause {
        return true;
    }
    if kind < Break::Cluster && (is_unspaced(last) || is_unspaced(next)) {
        return true;
    }
    // UAX #14 has no rules for breaks within these scripts, so keep together what is surely one
    // syllable.
    (is_complex(last) || is_complex(next))
        && last.is_alphanumeric()
        && next.is_alphanumeric()
        // Vowels written before their consonants, and signs written after them.
        && !matches!(last, '\u{e40}'..='\u{e44}' | '\u{ec0}'..='\u{ec4}')
        && !matches!(next, '\u{e2f}' | '\u{e30}' | '\u{e32}' | '\u{e45}' | '\u{e46}')
        && !matches!(next, '\u{eaf}' | '\u{eb0}' | '\u{eb2}' | '\u{ebd}' | '\u{ec6}')
        && !matches!(next, '\u{102b}' | '\u{102c}' | '\u{1038}')
        // Subjoined consonants of Khmer and Burmese, final ones of Burmese.
        && !before.ends_with(['\u{17d2}', '\u{1039}'])
        && !after.contains('\u{103a}')
}

fn is_complex(c: char) -> bool {
    break_property(u32::from(c)) == BreakClass::ComplexContext
}

fn script(cluster: &str) -> Script {
    let of = |c: char| match c {
        _ if is_complex(c) => Script::Complex,
        _ if is_unspaced(c) => Script::Ideographic,
        _ if c.is_alphabetic() => Script::Spaced,
        _ => Script::Neutral,
    };
    cluster.chars().map(of).max().unwrap_or(Script::Neutral)
}

/// What a viewer reads of `text`, in lower case and with full-width forms as plain ones.
pub(super) fn key(text: &str) -> String {
    let plain = |c: char| match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        _ => c,
    };
    text.chars()
        .map(plain)
        .filter(|c| !is_blank(c.encode_utf8(&mut [0; 4])))
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of `text`, with `|` between tokens shown as one.
    fn divided(text: &str) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        for token in tokens(text) {
            let part = &text[token.start..token.end];
            match words.last_mut() {
                Some(word) if token.joins => *word += &format!("|{part}"),
                _ => words.push(part.into()),
            }
        }
        words
    }

    #[test]
    fn divides_text() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            ("。", &[]),
            ("— !", &[]),
            ("Hello, world.", &["Hello,", "world."]),
            ("so — yes", &["so —", "yes"]),
            ("— so", &["— so"]),
            ("hello ,world", &["hello", ",world"]),
            ("well-known 3.14 don't", &["well-known", "3.14", "don't"]),
            ("10\u{a0}000 €", &["10\u{a0}000 €"]),
            ("안녕 하세요", &["안녕", "하세요"]),
            ("نعم، أنا هنا", &["نعم،", "أنا", "هنا"]),
            ("今天，天气", &["今|天，", "天|气"]),
            ("用GStreamer做", &["用", "GStreamer", "做"]),
            ("在2024年", &["在|2024|年"]),
            ("他说：“好。”然后", &["他|说：", "“好。”", "然|后"]),
            ("カード、きょう", &["カー|ド、", "きょ|う"]),
            ("ที่นี่ เกม", &["ที่|นี่", "เก|ม"]),
            ("ไทยGo", &["ไท|ย", "Go"]),
            ("ຂອບໃຈ", &["ຂ|ອ|ບ|ໃຈ"]),
            ("ខ្មែរ", &["ខ្មែ|រ"]),
            ("မြန်မာ", &["မြန်|မာ"]),
            ("မန္တလေး", &["မ|န္တ|လေး"]),
            (
                "👍 👨\u{200d}👩\u{200d}👧",
                &["👍", "👨\u{200d}👩\u{200d}👧"],
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(divided(text), *expected, "{text:?}");
        }
    }

    #[test]
    fn keys_are_what_is_read() {
        for (text, expected) in [
            ("Hello,", "hello"),
            ("ＡＢＣ１！", "abc1"),
            ("“好。”", "好"),
            ("…", ""),
        ] {
            assert_eq!(key(text), expected);
        }
    }
}
