// SPDX-License-Identifier: MPL-2.0
//! The rolling line of [`Mode::Interim`](super::Mode::Interim): the newest words of an utterance
//! while it is being spoken.
//!
//! Words that have been shown stay where they are. When a line is full, the words that do not fit
//! begin a new one, and that line keeps its first word, whatever becomes of the later words. No
//! word is skipped: lines that became full with words not shown before are shown as well. So only
//! what is really going to be shown may be asked for.

use super::layout::MAX_CUE_BYTES;
use super::text::{Boundary, Break, boundaries, is_blank, normalise, same_bytes};
use crate::timeline::Timestamp;
use crate::transcript::Transcript;

/// The lines of one utterance.
#[derive(Debug, Default)]
pub(super) struct RollingLines {
    /// Display columns per line; `None` is no limit.
    max_chars: Option<usize>,
    /// The utterance as it was shown, normalised.
    text: String,
    /// Where its lines end, except for the current one, in bytes.
    breaks: Vec<usize>,
    /// End of the audio that the shown text is of.
    audio_end: Timestamp,
}

impl RollingLines {
    /// `max_chars` is the width of a line in display columns, of which wide characters take two;
    /// `None` is no limit.
    pub fn new(max_chars: Option<usize>) -> Self {
        Self {
            max_chars,
            ..Self::default()
        }
    }

    /// End of the audio that the shown text is of.
    pub fn audio_end(&self) -> Timestamp {
        self.audio_end
    }

    /// Whether more has been shown than this hypothesis knows: the utterance is being heard again
    /// over a new connection, from its start.
    pub fn is_ahead_of(&self, transcript: &Transcript) -> bool {
        transcript.span.end < self.audio_end
            && normalise(&whole(transcript)).len() < self.text.len()
    }

    /// Whether the text of the utterance, now that it has become `transcript`, has words at its end
    /// that have not been shown.
    pub fn has_unseen(&self, transcript: &Transcript) -> bool {
        let text = normalise(&whole(transcript));
        !is_seen(&text, same_bytes(&self.text, &text), text.len())
    }

    /// What is to be shown now that the utterance has become `transcript`, one after the other:
    /// first lines that have become full since the previous call with words not shown before, then
    /// the current line. Nothing if there is nothing to read.
    pub fn show(&mut self, transcript: &Transcript) -> Vec<String> {
        self.audio_end = transcript.span.end;
        self.lines(&whole(transcript))
    }

    fn lines(&mut self, text: &str) -> Vec<String> {
        let text = normalise(text);
        if is_blank(&text) {
            return Vec::new();
        }
        let boundaries = boundaries(&text);
        let seen = self.keep_breaks(&text, &boundaries);
        let kept = self.breaks.len();
        self.add_breaks(&text, &boundaries, seen);
        // A full line that has not changed need not be shown again.
        let unseen = match self.breaks.get(kept) {
            Some(&end) if is_seen(&text, seen, end) => kept + 1,
            _ => kept,
        };
        let current = match self.breaks.last() {
            // The words of the current line were taken back.
            Some(&end) if end == text.len() => self.breaks.len() - 1,
            _ => self.breaks.len(),
        };
        let line = |n: usize| {
            let start = n.checked_sub(1).and_then(|n| self.breaks.get(n));
            let end = self.breaks.get(n).copied().unwrap_or(text.len());
            let line = text.get(start.copied().unwrap_or_default()..end);
            line.unwrap_or_default().trim().to_owned()
        };
        let lines = (unseen.min(current)..=current).map(line);
        let lines = lines.filter(|line| !is_blank(line)).collect();
        self.text = text;
        lines
    }

    /// Forgets the breaks that the new text does not bear out. Returns up to where it is the same
    /// as the previous one, in bytes.
    fn keep_breaks(&mut self, text: &str, boundaries: &[Boundary]) -> usize {
        let seen = same_bytes(&self.text, text);
        let stays = |end: &&usize| {
            **end < seen
                || **end == seen
                    && boundary_at(boundaries, **end).is_some_and(Boundary::is_between_words)
        };
        let kept = self.breaks.iter().take_while(stays).count();
        let Some(&shown) = self.breaks.get(kept..).and_then(<[usize]>::last) else {
            return seen;
        };
        self.breaks.truncate(kept);
        // Earlier words have changed, but what is being read should still not jump.
        let line = self.text.get(shown..).unwrap_or_default().trim_start();
        match find_line(line, shown, text, boundaries) {
            Some(boundary) => {
                self.breaks.push(boundary.end);
                let rest = text.get(boundary.start..).unwrap_or_default();
                boundary.start + same_bytes(line, rest)
            }
            None => seen,
        }
    }

    /// Breaks what is too long for a line.
    fn add_breaks(&mut self, text: &str, boundaries: &[Boundary], seen: usize) {
        let Some((end, before)) = boundaries.split_last() else {
            return;
        };
        let max_chars = self.max_chars.unwrap_or(usize::MAX);
        let line_end = self.breaks.last().copied().unwrap_or_default();
        let mut from = before.partition_point(|boundary| boundary.end < line_end);
        while let Some(open) = before.get(from) {
            let fits = |boundary: &Boundary| {
                boundary.end_column.saturating_sub(open.column) <= max_chars
                    && boundary.end.saturating_sub(open.start) <= MAX_CUE_BYTES
            };
            if fits(end) {
                return;
            }
            let mut later = before.iter().enumerate().skip(from + 1);
            let fitting: Vec<_> = later
                .clone()
                .take_while(|(_, boundary)| fits(boundary))
                .collect();
            let words = || {
                fitting
                    .iter()
                    .filter(|(_, boundary)| boundary.is_between_words())
            };
            // Preferably after what has been shown: words added to a full line would not be read.
            let best = words()
                .rfind(|(_, boundary)| is_seen(text, seen, boundary.end))
                .or_else(|| words().next_back())
                .or_else(|| {
                    fitting
                        .iter()
                        .rfind(|(_, boundary)| boundary.kind == Break::Tight)
                })
                .or(fitting.last())
                .copied()
                .or_else(|| later.next());
            let Some((to, boundary)) = best else { return };
            self.breaks.push(boundary.end);
            from = to;
        }
    }
}

impl Boundary {
    fn is_between_words(&self) -> bool {
        self.kind <= Break::Line
    }
}

/// Whether everything up to `end` that can be read has been shown, `seen` being how far the text
/// has not changed.
fn is_seen(text: &str, seen: usize, end: usize) -> bool {
    seen > 0 && text.get(seen..end).is_none_or(is_blank)
}

/// Where in the new `text` the `line` begins that began behind byte `shown`, going by all of its
/// words but the newest, which may have changed.
fn find_line<'a>(
    line: &str,
    shown: usize,
    text: &str,
    new: &'a [Boundary],
) -> Option<&'a Boundary> {
    let old = boundaries(line);
    let head = old
        .get(1..old.len().checked_sub(1)?)?
        .iter()
        .rfind(|boundary| boundary.is_between_words())
        .and_then(|boundary| line.get(..boundary.end))?;
    // The same words may be there more than once.
    new.iter()
        .filter(|boundary| {
            boundary.is_between_words() && boundary.end.abs_diff(shown) <= head.len()
        })
        .filter(|boundary| {
            boundary.end > 0
                && text
                    .get(boundary.start..)
                    .is_some_and(|t| t.starts_with(head))
        })
        .min_by_key(|boundary| boundary.end.abs_diff(shown))
}

fn boundary_at(boundaries: &[Boundary], end: usize) -> Option<&Boundary> {
    let at = boundaries.partition_point(|boundary| boundary.end < end);
    // The start of the text has the same end as a boundary after nothing.
    boundaries.get(at).filter(|boundary| boundary.end == end)
}

/// The transcript's confirmed and tentative text.
fn whole(transcript: &Transcript) -> String {
    [transcript.text.as_str(), &transcript.stash].concat()
}

#[cfg(test)]
mod tests {
    use super::super::text::width;
    use super::*;

    /// What is shown at each change, lines of one change with a slash between.
    fn shown(max_chars: usize, texts: &[&str]) -> Vec<String> {
        let mut rolling = RollingLines::new(Some(max_chars).filter(|max| *max > 0));
        let lines = |text: &&str| rolling.lines(text).join(" / ");
        texts.iter().map(lines).collect()
    }

    #[test]
    fn what_is_shown() {
        type Case<'a> = (&'a str, usize, &'a [(&'a str, &'a str)]);
        let cases: &[Case] = &[
            (
                "a full line stays, the next begins with what does not fit",
                12,
                &[
                    ("one", "one"),
                    ("one two", "one two"),
                    ("one two thr", "one two thr"),
                    ("one two three", "three"),
                    ("one two three four", "three four"),
                    ("one two three four five", "five"),
                ],
            ),
            (
                "the break stays when the word gets shorter again",
                12,
                &[
                    ("one two", "one two"),
                    ("one two thirteen", "thirteen"),
                    ("one two ten", "ten"),
                    ("one two", "one two"),
                    ("one two ten", "ten"),
                ],
            ),
            (
                "but not within a word",
                12,
                &[
                    ("one two", "one two"),
                    ("one two thirteen", "thirteen"),
                    ("one two", "one two"),
                    ("one twofold", "one twofold"),
                ],
            ),
            (
                "words that are added are never skipped",
                12,
                &[
                    ("one two", "one two"),
                    ("one two three four five six", "three four / five six"),
                    ("one two three four five six seven", "seven"),
                ],
            ),
            (
                "a burst at the beginning is shown in full",
                12,
                &[("one two three four five", "one two / three four / five")],
            ),
            (
                "a mark is no reason to move a word that has been read",
                13,
                &[
                    ("good morning", "good morning"),
                    ("good morning, ladies", "ladies"),
                ],
            ),
            (
                "earlier words change",
                12,
                &[
                    ("too many cooks", "too many / cooks"),
                    ("too many cooks sp", "cooks sp"),
                    ("Two, many cooks spoil", "cooks spoil"),
                    ("Two, many cooks spoil it", "it"),
                ],
            ),
            (
                "everything changes",
                12,
                &[
                    ("one two", "one two"),
                    ("one two three", "three"),
                    ("completely different", "completely / different"),
                ],
            ),
            (
                "a word longer than a line",
                8,
                &[
                    ("so inter", "so inter"),
                    ("so internation", "internat / ion"),
                    ("so internationalisation", "ionalisa / tion"),
                ],
            ),
            (
                "Chinese, in columns",
                12,
                &[
                    ("今天天气", "今天天气"),
                    ("今天天气很好", "今天天气很好"),
                    ("今天天气很好，", "好，"),
                    ("今天天气很好，我们去", "好，我们去"),
                    ("今天天气很好，我们去公园。", "公园。"),
                ],
            ),
            (
                "mixed scripts",
                12,
                &[
                    ("我们用GStr", "我们用GStr"),
                    ("我们用GStreamer", "GStreamer"),
                    ("我们用GStreamer做字幕", "做字幕"),
                    ("我们用 GStreamer 做字幕。", "做字幕。"),
                ],
            ),
            (
                "no limit",
                0,
                &[("one two three four five", "one two three four five")],
            ),
            ("nothing to read", 12, &[("", ""), (" …", ""), ("a", "a")]),
            (
                "a cluster wider than a line",
                1,
                &[("字幕", "字 / 幕"), ("字幕。", "")],
            ),
        ];
        for (what, max_chars, changes) in cases {
            let (texts, expected): (Vec<_>, Vec<_>) = changes.iter().copied().unzip();
            assert_eq!(shown(*max_chars, &texts), expected, "{what}");
        }
    }

    #[test]
    fn whatever_the_steps_every_word_is_seen_in_full() {
        let words = [
            "Good",
            "evening,",
            "here",
            "it is:",
            "今",
            "天",
            "很",
            "好，",
            "去",
            "公",
            "园。",
            "U.S.",
            "3.14",
            "unknown",
            "สวัสดี",
            "كيف",
            "حالك؟",
            "안녕하세요",
            "at last.",
        ];
        let text = words
            .join(" ")
            .replace("今 天 很 好， 去 公", "今天很好，去公");
        let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        for max_chars in 10..60 {
            for step in 1..20 {
                let mut rolling = RollingLines::new(Some(max_chars));
                let mut seen = Vec::new();
                for end in ends.iter().copied().step_by(step).chain([text.len()]) {
                    seen.extend(rolling.lines(&text[..end]));
                }
                for line in &seen {
                    assert!(width(line) <= max_chars, "{line:?} in {max_chars}");
                }
                for word in words.iter().flat_map(|word| word.split(' ')) {
                    // What ends a full line may come too late to be seen.
                    let word = word.trim_end_matches(['.', ',', '，', '。', '؟', ':']);
                    let found = seen.iter().any(|line| line.contains(word));
                    assert!(found, "{word} in {max_chars}, by {step}: {seen:#?}");
                }
            }
        }
    }
}
