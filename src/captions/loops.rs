// SPDX-License-Identifier: MPL-2.0
//! Recognisers that got into a loop: they repeat words endlessly that were spoken once.

use super::tokens::{Token, tokens};

/// What is repeated more often than this is a loop; people do say "no" eight times.
const MAX_REPEATS: usize = 10;

/// How often what is repeated stays.
const KEPT_REPEATS: usize = 3;

/// Longest phrase that is looked for, in words.
const MAX_WORDS: usize = 8;

/// The same in scripts without spaces between words, in tokens.
const MAX_IDEOGRAPHS: usize = 16;

/// A text without its loops.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shortened {
    pub text: String,
    /// How often the same words were repeated; the most, if there were several loops.
    pub repeats: usize,
}

/// The normalised `text` with each loop cut down to three times. `None` if there is none.
pub(super) fn shorten(text: &str) -> Option<Shortened> {
    let tokens = tokens(text);
    let mut shortened: Option<Shortened> = None;
    let (mut at, mut copied) = (0, 0);
    while at < tokens.len() {
        let Some((length, repeats)) = loop_at(&tokens, at) else {
            at += 1;
            continue;
        };
        let start_of = |index: usize| tokens.get(index).map_or(text.len(), |token| token.start);
        let kept_until = start_of(at + length * KEPT_REPEATS);
        let shortened = shortened.get_or_insert_with(|| Shortened {
            text: String::new(),
            repeats: 0,
        });
        shortened.text += text.get(copied..kept_until).unwrap_or_default();
        shortened.repeats = shortened.repeats.max(repeats);
        at += length * repeats;
        copied = start_of(at);
    }
    if let Some(Shortened { text: short, .. }) = &mut shortened {
        *short += text.get(copied..).unwrap_or_default();
        short.truncate(short.trim_end().len());
    }
    shortened
}

/// The loop that begins with the token at this index: how many tokens are repeated, and how often.
fn loop_at(tokens: &[Token], at: usize) -> Option<(usize, usize)> {
    let rest = tokens.get(at..)?;
    (1..=MAX_IDEOGRAPHS).find_map(|length| {
        let pairs = rest.iter().zip(rest.get(length..)?);
        let same = pairs.take_while(|(a, b)| a.key == b.key).count();
        let repeats = 1 + same / length;
        let phrase = rest.get(..length)?;
        let fits = length <= MAX_WORDS || phrase.iter().all(Token::in_run);
        (repeats > MAX_REPEATS && fits).then_some((length, repeats))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(text: &str) -> String {
        shorten(text).map_or_else(|| text.to_owned(), |shortened| shortened.text)
    }

    #[test]
    fn loops_are_cut_and_nothing_else() {
        let times = |count: usize, text: &str| text.repeat(count).trim_end().to_owned();
        let eight = "one two three four five six seven eight ";
        let nine = "one two three four five six seven eight nine ";
        let chinese = "今天天气真的很好我们去公园散步吧";
        for (text, expected) in [
            (String::new(), String::new()),
            ("no, no, no.".into(), "no, no, no.".into()),
            (times(8, "no "), times(8, "no ")),
            (times(10, "no "), times(10, "no ")),
            (times(11, "no "), times(3, "no ")),
            (times(400, "but "), times(3, "but ")),
            (times(130, "I mean it "), times(3, "I mean it ")),
            (times(100, "Thank you. "), times(3, "Thank you. ")),
            (times(11, eight), times(3, eight)),
            (times(11, nine), times(11, nine)),
            (times(119, "像"), times(3, "像")),
            (times(20, chinese), times(3, chinese)),
            // Whatever case and marks are, and with something around them.
            (
                format!("So. {} End.", times(9, "no No, ")),
                "So. no No, no End.".into(),
            ),
            (
                format!("我{}。你好", times(20, chinese)),
                format!("我{}你好", times(3, chinese)),
            ),
            (
                format!("{} well {}", times(20, "so "), times(11, "no ")),
                format!("{} well {}", times(3, "so "), times(3, "no ")),
            ),
        ] {
            assert_eq!(short(&text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_cut_is_counted() {
        assert_eq!(shorten(&"but ".repeat(400)).unwrap().repeats, 400);
        assert_eq!(shorten("but but"), None);
    }

    #[test]
    fn effort_is_bounded() {
        let words = ["a", "b", "c", "d", "e", "f", "g"].map(|word| format!("{word} ").repeat(10));
        let text = words.concat().repeat(100);
        shorten(&text);
        shorten(&"x ".repeat(30_000));
    }
}
