// SPDX-License-Identifier: MPL-2.0
//! What the text of an utterance is made of: display columns, readable characters, and the
//! [`Boundary`]s where one cue or line may end and the next begin.
//!
//! Line breaking follows UAX #14, grapheme clusters UAX #29; what is added here is which of the
//! possible breaks a reader would choose.

use std::time::Duration;

use unicode_linebreak::{BreakClass, break_property, linebreaks};
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// Words whose full stop does not end a sentence.
const TITLES: &[&str] = &[
    "Mr", "Mrs", "Ms", "Dr", "Prof", "St", "Jr", "Sr", "Gen", "Col", "Capt", "Lt", "Sgt", "Rev",
    "Hon", "Sen", "Rep", "vs",
];

/// Upper bound of the characters in a grapheme cluster: one and thirty marks, as in the stream-safe
/// text format of UAX #15. More are made up, and take a renderer for ever.
const MAX_CLUSTER: usize = 31;

/// Width of `text` in display columns: wide characters count 2, combining ones 0.
///
/// Counted per grapheme cluster, so that the widths of the cues of a text add up to the width of
/// that text.
#[cfg(test)]
pub fn width(text: &str) -> usize {
    text.graphemes(true).map(UnicodeWidthStr::width).sum()
}

/// Whether `text` has nothing a viewer could read: it is empty, white space, or only punctuation
/// and symbols. Emoji and musical notes can be read.
pub fn is_blank(text: &str) -> bool {
    !text.chars().any(is_readable)
}

/// How long it takes to read `text`: 20 characters a second, or 9 of those that are wide, as the
/// guidelines for subtitles have it.
pub fn reading_time(text: &str) -> Duration {
    let time = |cluster: &str| match cluster.width() {
        0 | 1 => Duration::from_millis(1000 / 20),
        _ => Duration::from_millis(1000 / 9),
    };
    text.graphemes(true).map(time).sum()
}

/// `text` as it is shown: every run of white space is one space (a no-break space, if the run had
/// no other kind), none at the edges, and no control characters. Joiners and bidirectional marks
/// stay, but of what is drawn in one place no more than [`MAX_CLUSTER`] characters.
pub fn normalise(text: &str) -> String {
    let mut normal = String::with_capacity(text.len());
    let mut space = None;
    for c in text.chars() {
        if c.is_whitespace() {
            space = match (space, matches!(c, '\u{a0}' | '\u{202f}')) {
                (None, true) => Some(c),
                (Some(first), true) => Some(first),
                (_, false) => Some(' '),
            };
        } else if !c.is_control() {
            if let Some(space) = space.take()
                && !normal.is_empty()
            {
                normal.push(space);
            }
            normal.push(c);
        }
    }
    bound_clusters(normal)
}

/// Cuts clusters that are too long.
fn bound_clusters(text: String) -> String {
    // No character is shorter than a byte.
    let is_long =
        |cluster: &str| cluster.len() > MAX_CLUSTER && cluster.chars().nth(MAX_CLUSTER).is_some();
    if text.is_ascii() || !text.graphemes(true).any(is_long) {
        return text;
    }
    let mut bounded = String::new();
    for cluster in text.graphemes(true) {
        let end = cluster.char_indices().nth(MAX_CLUSTER);
        match end.and_then(|(end, _)| cluster.get(..end)) {
            // A joiner at the end would make one cluster of this and the next.
            Some(cut) => bounded.push_str(cut.trim_end_matches('\u{200d}')),
            None => bounded.push_str(cluster),
        }
    }
    bounded
}

/// How good a place is to end a cue, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Break {
    /// After a sentence.
    Sentence,
    /// After a clause, or at a space of a script that has none between words.
    Clause,
    /// Between words, or next to an ideograph.
    Line,
    /// A line break without a space, such as after a hyphen or between the syllables of a Korean
    /// word.
    Tight,
    /// Within a word, between grapheme clusters.
    Cluster,
}

/// A place between two grapheme clusters of a text, together with the white space there; also the
/// start and the end of the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Boundary {
    /// End of the text before, in bytes.
    pub end: usize,
    /// End of the text before, in columns.
    pub end_column: usize,
    /// Start of the text after, in bytes.
    pub start: usize,
    /// Start of the text after, in columns.
    pub column: usize,
    /// How good a break here is.
    pub kind: Break,
    /// Number of readable clusters before.
    pub readable: usize,
    /// Number of boundaries up to here, this one included, other than [`Break::Cluster`].
    pub opportunities: usize,
}

/// All boundaries of `text`, one before each grapheme cluster that is not white space and one at
/// the end.
pub(super) fn boundaries(text: &str) -> Vec<Boundary> {
    let mut boundaries = Vec::new();
    let mut line_breaks = linebreaks(text).map(|(at, _)| at).peekable();
    let mut before = Before::default();
    let mut here = Boundary {
        end: 0,
        end_column: 0,
        start: 0,
        column: 0,
        kind: Break::Sentence,
        readable: 0,
        opportunities: 0,
    };
    for (start, cluster) in text.grapheme_indices(true) {
        let columns = cluster.width();
        let first = cluster.chars().next().filter(|c| !c.is_whitespace());
        // A space that carries a combining mark is seen.
        let Some(base) = first.or_else(|| cluster.chars().find(|c| !c.is_whitespace())) else {
            here.column = here.column.saturating_add(columns);
            continue;
        };
        while line_breaks.next_if(|at| *at < start).is_some() {}
        let opportunity = line_breaks.peek() == Some(&start);
        here.start = start;
        let spaced = here.start > here.end;
        here.kind = before.break_kind(opportunity, spaced, base);
        boundaries.push(here);

        before.push(text, start, spaced, base);
        here.end = start.saturating_add(cluster.len());
        here.column = here.column.saturating_add(columns);
        here.end_column = here.column;
        here.readable += usize::from(cluster.chars().any(is_readable));
    }
    here.start = text.len();
    here.kind = Break::Sentence;
    boundaries.push(here);
    keep_blanks_attached(&mut boundaries);
    boundaries
}

/// Allows a break next to a lone dash and the like only as a last resort, so that it stays with the
/// word before it, or after it at the start of the text. Then counts the opportunities that remain.
fn keep_blanks_attached(boundaries: &mut [Boundary]) {
    let mut next_readable = None;
    for boundary in boundaries.iter_mut().rev() {
        if boundary.kind != Break::Cluster {
            let blank_follows = next_readable == Some(boundary.readable);
            next_readable = Some(boundary.readable);
            if blank_follows || boundary.readable == 0 {
                boundary.kind = Break::Cluster;
            }
        }
    }
    if let Some(first) = boundaries.first_mut() {
        first.kind = Break::Sentence;
    }
    let mut opportunities = 0;
    for boundary in boundaries {
        opportunities += usize::from(boundary.kind != Break::Cluster);
        boundary.opportunities = opportunities;
    }
}

/// What must follow a punctuation mark for it to end something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Follow {
    Anything,
    SpaceOrIdeograph,
    Space,
}

/// The text before a boundary, as far as it matters for the break there.
#[derive(Debug, Default)]
struct Before {
    /// Base character of the latest cluster.
    base: Option<char>,
    /// The mark that ended a sentence or clause, closing quotes skipped.
    mark: Option<(Break, Follow)>,
    /// Where the word that is not over yet began, in bytes.
    word: Option<usize>,
}

impl Before {
    /// Takes in the cluster at byte `start` with the base character `c`.
    fn push(&mut self, text: &str, start: usize, spaced: bool, c: char) {
        let word = self.word.filter(|_| !spaced);
        self.mark = match mark(c) {
            Some(_) if c == '.' && is_abbreviated(text, word, start) => None,
            Some(mark) => Some(mark),
            None if is_bidi_mark(c) || is_closing(c) && !spaced => self.mark,
            None => None,
        };
        self.word = match word {
            Some(word) if c.is_alphanumeric() || matches!(c, '\'' | '’') => Some(word),
            _ => c.is_alphanumeric().then_some(start),
        };
        self.base = Some(c);
    }

    /// How good a break before `next` is; `opportunity` is what UAX #14 says.
    fn break_kind(&self, opportunity: bool, spaced: bool, next: char) -> Break {
        let mark = self.mark.filter(|(_, follow)| match follow {
            Follow::Anything => true,
            Follow::SpaceOrIdeograph => spaced || is_unspaced(next),
            Follow::Space => spaced,
        });
        match mark {
            Some((kind, _)) if opportunity => return kind,
            // UAX #14 cannot tell opening from closing curly quotes and never breaks next to them,
            // which in Chinese glues sentences together.
            Some((kind, Follow::Anything)) if may_begin_cue(next) => return kind,
            _ => {}
        }
        let unspaced_before = self.base.is_some_and(is_unspaced);
        match (opportunity, spaced, unspaced_before, is_unspaced(next)) {
            (false, ..) => Break::Cluster,
            (true, true, true, true) => Break::Clause,
            (true, true, ..) | (true, _, true, _) | (true, _, _, true) => Break::Line,
            _ => Break::Tight,
        }
    }
}

/// Whether `text` ends with a mark that ends a sentence or a clause, closing quotes aside, so that
/// no more letters can follow in the same word. The dots of "3." and "U." do not count: "3.14" or
/// "U.S." may come of them.
pub(super) fn ends_clause(text: &str) -> bool {
    let text = text.trim_end_matches(|c| is_closing(c) || is_bidi_mark(c));
    let mut chars = text.chars().rev();
    match chars.next().map(|c| (c, mark(c))) {
        Some((_, Some((_, Follow::Anything)))) => true,
        Some(('.', Some(_))) => chars.by_ref().take(2).filter(|c| c.is_alphabetic()).count() == 2,
        Some((_, Some(_))) => chars.next().is_some_and(char::is_alphabetic),
        _ => false,
    }
}

/// Whether a full stop after the word from byte `word` to `end` belongs to an abbreviation.
fn is_abbreviated(text: &str, word: Option<usize>, end: usize) -> bool {
    let word = word
        .and_then(|start| text.get(start..end))
        .unwrap_or_default();
    let mut chars = word.chars();
    let single_letter = chars.next().is_some_and(char::is_alphabetic) && chars.next().is_none();
    single_letter || TITLES.contains(&word)
}

/// What the punctuation mark `c` ends.
fn mark(c: char) -> Option<(Break, Follow)> {
    Some(match c {
        '.' => (Break::Sentence, Follow::Space),
        '!' | '?' => (Break::Sentence, Follow::SpaceOrIdeograph),
        '…' | '。' | '！' | '？' | '．' | '｡' | '؟' | '۔' | '।' | '॥' | '။' | '។' | '።' | '։'
        | '‼' | '⁇' | '⁈' | '⁉' => (Break::Sentence, Follow::Anything),
        ',' | ';' | ':' | '–' => (Break::Clause, Follow::SpaceOrIdeograph),
        '，' | '、' | '；' | '：' | '､' | '،' | '؛' | '၊' | '፣' | '—' => {
            (Break::Clause, Follow::Anything)
        }
        _ => return None,
    })
}

/// Quotes and brackets that belong to the sentence that ends before them.
fn is_closing(c: char) -> bool {
    "\"'”’»›)]}）］｝】〕〗』」》〉｣".contains(c)
}

fn is_bidi_mark(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a viewer reads something in `c`: a letter, a digit, a pictograph.
fn is_readable(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '\u{2600}'..='\u{27bf}' | '\u{1f000}'..='\u{1faff}')
}

/// Whether `c` is of a script that puts no spaces between words, so that a space means a pause:
/// ideographs, kana, Thai, Lao, Khmer, Burmese.
pub(super) fn is_unspaced(c: char) -> bool {
    match break_property(u32::from(c)) {
        BreakClass::ComplexContext | BreakClass::ConditionalJapaneseStarter => true,
        BreakClass::Ideographic => c.is_alphabetic(),
        _ => false,
    }
}

/// Whether a cue may begin with `c` right after the end of a clause.
fn may_begin_cue(c: char) -> bool {
    use BreakClass::{
        Alphabetic, HangulLvSyllable, HangulLvtSyllable, HebrewLetter, Ideographic, Numeric,
        OpenPunctuation,
    };
    matches!(c, '“' | '‘')
        || matches!(
            break_property(u32::from(c)),
            Alphabetic
                | HangulLvSyllable
                | HangulLvtSyllable
                | HebrewLetter
                | Ideographic
                | Numeric
                | OpenPunctuation
        )
}

/// Length of what both texts begin with, in bytes.
pub(super) fn same_bytes(a: &str, b: &str) -> usize {
    let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b);
    same.map(|(c, _)| c.len_utf8()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths() {
        for (text, columns) in [
            ("", 0),
            ("caption", 7),
            ("字幕", 4),
            ("ｶﾅ", 2),
            ("กำลัง", 4),
            ("e\u{301}", 1),
            ("👨\u{200d}👩\u{200d}👧", 2),
            ("🇨🇳🇩🇪", 4),
            ("a\u{200b}\u{200f}b", 2),
        ] {
            assert_eq!(width(text), columns, "{text:?}");
        }
    }

    #[test]
    fn blanks() {
        for text in [
            "",
            " \n\u{3000}",
            "。",
            "…",
            "?!",
            "— “”",
            "$ +",
            "\0\u{200b}\u{feff}",
        ] {
            assert!(is_blank(text), "{text:?}");
        }
        for text in ["a", "1", "。啊。", "ไ", "نعم", "👍", "♪", "- 네"] {
            assert!(!is_blank(text), "{text:?}");
        }
    }

    #[test]
    fn normalised() {
        for (text, normal) in [
            ("", ""),
            (" \t\r\n", ""),
            ("  a \n\n b\u{2028}c ", "a b c"),
            ("\u{3000}你好\u{3000}世界\u{3000}", "你好 世界"),
            ("a\0b\u{7f}c\u{9b}", "abc"),
            ("a \0 b", "a b"),
            ("10\u{a0}000 €", "10\u{a0}000 €"),
            ("a\u{a0} b", "a b"),
            ("می\u{200c}شود \u{200f}", "می\u{200c}شود \u{200f}"),
            ("👩\u{200d}💻", "👩\u{200d}💻"),
        ] {
            assert_eq!(normalise(text), normal, "{text:?}");
            assert_eq!(normalise(normal), normal, "{text:?}");
        }
    }

    #[test]
    fn clusters_are_bounded() {
        let marks = "\u{301}";
        for count in [0, 1, 30, 31, 5000] {
            let text = format!("a{}b", marks.repeat(count));
            let expected = format!("a{}b", marks.repeat(count.min(30)));
            assert_eq!(normalise(&text), expected, "{count}");
        }
        let family = "👩\u{200d}".repeat(1000) + "👧";
        let bounded = normalise(&(family.clone() + &family));
        let lengths: Vec<_> = bounded.graphemes(true).map(|g| g.chars().count()).collect();
        assert_eq!(lengths, [31, 31], "families of sixteen");
        let bounded = normalise(&(family + "🎉"));
        assert_eq!(bounded, normalise(&bounded));
    }

    #[test]
    fn break_kinds() {
        use Break::{Clause, Cluster, Line, Sentence, Tight};
        // The kind of the break before the first `|`.
        for (text, kind) in [
            ("It works. |Next", Sentence),
            ("He said \"go.\" |Next", Sentence),
            ("(It works!) |Next", Sentence),
            ("I don't. |Next", Sentence),
            ("Wait... |Next", Sentence),
            ("In 2024. |Next", Sentence),
            ("Mr. |Smith", Line),
            ("the U.S. |army", Line),
            ("3.|14", Cluster),
            ("example.|com", Cluster),
            ("what?|x=1", Tight),
            ("Well, |yes", Clause),
            ("so — |yes", Clause),
            ("so |— yes", Cluster),
            ("1990–|1995", Tight),
            ("1,|000", Cluster),
            ("one |two", Line),
            ("well-|known", Tight),
            ("wo|rd", Cluster),
            ("10\u{a0}|000", Cluster),
            ("你好。|再见", Sentence),
            ("他说：“好。”|然后", Sentence),
            ("他说：|“好。”", Clause),
            ("好|。", Cluster),
            ("是OK?|然后", Sentence),
            ("今天，|我们", Clause),
            ("今天 |我们", Clause),
            ("我|们", Line),
            ("用 |Go", Line),
            ("用|Go", Line),
            ("「はい。」|と", Sentence),
            ("き|ょう", Cluster),
            ("カ|ード", Cluster),
            ("สวัสดี |ครับ", Clause),
            ("สวัส|ดี", Cluster),
            ("안녕 |하세요", Line),
            ("안|녕", Tight),
            ("كيف حالك؟ |أنا", Sentence),
            ("كيف؟\u{200f} |أنا", Sentence),
            ("نعم، |أنا", Clause),
            ("क्या है। |हाँ", Sentence),
        ] {
            let at = text.find('|').unwrap();
            let text = text.replace('|', "");
            let boundaries = boundaries(&text);
            let boundary = boundaries
                .iter()
                .find(|boundary| boundary.start == at)
                .unwrap();
            assert_eq!(boundary.kind, kind, "{text:?} at {at}");
        }
    }
}
