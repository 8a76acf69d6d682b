// SPDX-License-Identifier: MPL-2.0

//! The words of a text, when each of them was said, and which of them were told already.

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

/// The words at the times at which somebody spoke, by their lengths. A word does not last over
/// a pause that its neighbour can have instead.
pub fn voiced(words: &[String], voice: &[Span]) -> Vec<Span> {
    let lengths: Vec<u64> = words.iter().map(|w| w.chars().count() as u64 + 1).collect();
    let total = lengths.iter().sum::<u64>().max(1);
    let spoken: u64 = voice.iter().map(|(begin, end)| end - begin).sum();
    let mut before = 0;
    lengths
        .into_iter()
        .map(|length| {
            let begin = before * spoken / total;
            before += length;
            (
                moment(voice, begin, false),
                moment(voice, before * spoken / total, true),
            )
        })
        .collect()
}

/// The moment at which this much was spoken, in milliseconds: at the end of a pause, or at its
/// start.
fn moment(voice: &[Span], mut spoken: u64, ends: bool) -> u64 {
    for &(begin, end) in voice {
        let length = end - begin;
        if spoken < length || (ends && spoken == length) {
            return begin + spoken;
        }
        spoken -= length;
    }
    voice.last().map_or(0, |&(_, end)| end)
}

/// What follows in `text` on what was told of it. If that turned out to be wrong, it is what
/// follows on the words that are most like those.
pub fn beyond<'a>(text: &'a str, told: &str) -> &'a str {
    if let Some(rest) = text.strip_prefix(told) {
        return rest;
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let told: Vec<&str> = told.split_whitespace().collect();
    match words.get(likeness(&words, &told)) {
        // Both are of the same text.
        Some(next) => &text[next.as_ptr() as usize - text.as_ptr() as usize..],
        None => "",
    }
}

/// How many of the first `words` are most like `told`: those that take the fewest insertions,
/// removals and replacements, and more rather than fewer of them.
pub fn likeness(words: &[impl AsRef<str>], told: &[impl AsRef<str>]) -> usize {
    let costs = costs(words, told).into_iter().enumerate().rev();
    costs
        .min_by_key(|(_, cost)| *cost)
        .map_or(0, |(words, _)| words)
}

/// How many insertions, removals and replacements it takes to get from `told` to the first so
/// many `words`, for each number of them.
pub fn costs(words: &[impl AsRef<str>], told: &[impl AsRef<str>]) -> Vec<usize> {
    let mut row: Vec<usize> = (0..=words.len()).collect();
    for (i, told) in told.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, word) in words.iter().enumerate() {
            let differs = !is_same(word.as_ref(), told.as_ref());
            let best = (diagonal + usize::from(differs)).min(row[j].min(row[j + 1]) + 1);
            diagonal = std::mem::replace(&mut row[j + 1], best);
        }
    }
    row
}

/// Whether two words differ in nothing but capitals and punctuation.
pub fn is_same(a: &str, b: &str) -> bool {
    a == b || letters(a).eq(letters(b))
}

/// The letters and digits of a word, without capitals.
pub fn letters(word: &str) -> impl Iterator<Item = char> {
    let letters = word.chars().filter(|c| c.is_alphanumeric());
    letters.flat_map(char::to_lowercase)
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

    #[test]
    fn words_are_said_while_somebody_speaks() {
        let words = ["abc", "d", "ef", "gh"].map(str::to_owned);
        // Of 12 letters and spaces, six are spoken before the pause.
        let voice = [(100, 220), (500, 620)];
        let spans = [(100, 180), (180, 220), (500, 560), (560, 620)];
        assert_eq!(voiced(&words, &voice), spans);
        assert_eq!(voiced(&words[..1], &voice), [(100, 620)]);
        assert_eq!(voiced(&words[..1], &[]), [(0, 0)]);
        assert_eq!(voiced(&[], &voice), []);
    }

    #[test]
    fn what_was_not_told_yet() {
        for (text, told, rest) in [
            ("one two", "", "one two"),
            ("one two", "one ", "two"),
            ("今天好", "今天", "好"),
            ("One, two three.", "one two ", "three."),
            ("One two three four.", "one too ", "three four."),
            ("One more three four.", "one three ", "four."),
            ("Two three four.", "one two ", "three four."),
            ("One.", "one two ", ""),
            ("", "one ", ""),
            ("。", "one two ", ""),
        ] {
            assert_eq!(beyond(text, told), rest, "{text:?} after {told:?}");
        }
    }
}
