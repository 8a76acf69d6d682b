// SPDX-License-Identifier: MPL-2.0

//! The words of a text and when each of them was said.

/// Begin and end in milliseconds.
pub type Span = (u64, u64);

/// A word with its times. The words of a text, with their punctuation, make up the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    pub text: String,
    /// What follows the word, if more than spaces do.
    pub punctuation: String,
    pub span: Span,
}

/// The words of `text`, which was said within `whole`.
///
/// `spans` are the times of its words between spaces. Unless there are as many of them as
/// words, the words share `whole` by their lengths.
pub fn timed(text: &str, spans: &[Span], whole: Span) -> Vec<Word> {
    let words = split(text);
    let spread = spread(&words, whole);
    let known = spans.len() == words.len();
    let spans = if known { spans } else { &spread };
    words
        .into_iter()
        .zip(spans)
        .map(|((text, punctuation), &(begin, end))| Word {
            text: text.to_owned(),
            punctuation: punctuation.to_owned(),
            span: (begin.clamp(whole.0, whole.1), end.clamp(whole.0, whole.1)),
        })
        .collect()
}

/// The words of a text, each with what follows it. Scripts without spaces have a word for each
/// character.
fn split(text: &str) -> Vec<(&str, &str)> {
    let mut starts = Vec::new();
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        let spaced = before.is_whitespace() && !c.is_whitespace();
        let unspaced = c.is_alphanumeric() && (is_unspaced(before) || is_unspaced(c));
        if at == 0 || spaced || unspaced {
            starts.push(at);
        }
        before = c;
    }
    let ends = starts.iter().copied().skip(1).chain([text.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(&start, end)| {
            let piece = &text[start..end];
            let word = piece.trim_end_matches(|c: char| !c.is_alphanumeric());
            match piece[word.len()..].trim() {
                "" => (piece, ""),
                _ => piece.split_at(word.len()),
            }
        })
        .collect()
}

/// Whether a character belongs to a script without spaces: Han, kana, or their punctuation.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{2e80}'..='\u{9fff}' | '\u{ff00}'..='\u{ffef}' | '\u{20000}'..='\u{3ffff}')
}

fn spread(words: &[(&str, &str)], (begin, end): Span) -> Vec<Span> {
    let length = |word: &(&str, &str)| word.0.chars().count() as u64;
    let total = words.iter().map(length).sum::<u64>().max(1);
    let at = |count: u64| begin + end.saturating_sub(begin) * count / total;
    let mut count = 0;
    words
        .iter()
        .map(|word| {
            let from = count;
            count += length(word);
            (at(from), at(count))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Vec<(&str, &str)> {
        let parts = split(text);
        let whole: String = parts.iter().flat_map(|(a, b)| [*a, *b]).collect();
        assert_eq!(whole, text);
        parts
    }

    #[test]
    fn words_and_what_follows_them() {
        assert_eq!(parts(""), []);
        assert_eq!(
            parts("Hello world, it's 3.5 m."),
            [
                ("Hello ", ""),
                ("world", ", "),
                ("it's ", ""),
                ("3.5 ", ""),
                ("m", ".")
            ]
        );
        assert_eq!(
            parts("今天，OK吗？"),
            [("今", ""), ("天", "，"), ("OK", ""), ("吗", "？")]
        );
        assert_eq!(parts("。"), [("", "。")]);
    }

    #[test]
    fn times_that_are_known_and_such_that_are_not() {
        let spans = |text: &str, spans: &[Span]| -> Vec<Span> {
            timed(text, spans, (100, 600))
                .iter()
                .map(|word| word.span)
                .collect()
        };
        assert_eq!(
            spans("a b", &[(90, 150), (160, 700)]),
            [(100, 150), (160, 600)]
        );
        assert_eq!(
            spans("今天好", &[(100, 600)]),
            [(100, 266), (266, 433), (433, 600)]
        );
        assert_eq!(spans("", &[]), []);
    }
}
