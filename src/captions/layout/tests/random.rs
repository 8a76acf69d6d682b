// SPDX-License-Identifier: MPL-2.0
//! Any text within any limits.

use super::*;

/// Linear congruential generator.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        let factor = 6_364_136_223_846_793_005;
        self.0 = self.0.wrapping_mul(factor).wrapping_add(1);
        (self.0 >> 33) % limit
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    fn text(&mut self, atoms: &[&str]) -> String {
        let len = self.of(&[1, 3, 20, 80, 300]);
        (0..len).map(|_| self.of(atoms)).collect()
    }
}

const ATOMS: &[&str] = &[
    "word",
    "a",
    " ",
    " ",
    " ",
    " the ",
    "well-known ",
    "3.14",
    "Mr. ",
    "U.S. ",
    "end. ",
    "ok, ",
    "what?! ",
    "…",
    "“",
    "”",
    "(",
    ") ",
    "\n",
    "\0",
    "\u{a0}",
    "\u{3000}",
    "今天",
    "字",
    "，",
    "。",
    "！”",
    "「",
    "」",
    "きょう",
    "カード",
    "、",
    "สวัสดี",
    "ที่",
    "ำ",
    "مرحبا",
    " كيف؟ ",
    "لا",
    "، ",
    "\u{200f}",
    "\u{200b}",
    "\u{200d}",
    "👨\u{200d}👩\u{200d}👧",
    "🇨🇳",
    "👍🏽",
    "e\u{301}",
    " \u{301}",
    "क्षि",
    "है। ",
    "한국어 ",
    " — ",
    "–",
    "- ",
    "😀",
    "♪",
];
const READABLE: &[&str] = &[
    "word ",
    "a",
    "averyveryveryverylongword",
    "今天",
    "字",
    "きょう",
    "カード",
    "สวัสดี",
    "ที่",
    "مرحبا ",
    "👨\u{200d}👩\u{200d}👧",
    "e\u{301}",
    "한국어 ",
    "ok, ",
    "end. ",
    "字。",
];

fn check_texts(cues: &[Cue], normal: &str, layout: &Layout, whole: bool) {
    let mut rest = normal;
    for cue in cues {
        assert!(
            cue.text.lines().count() <= layout.max_lines.max(1),
            "{cue:?}"
        );
        for line in cue.text.split('\n') {
            assert!(!is_blank(line), "{cue:?}");
            // A space may carry the combining mark that follows.
            assert_eq!(normalise(line), line.trim_start());
            let narrow = width(line) <= layout.line_columns();
            assert!(narrow || line.graphemes(true).count() == 1, "{cue:?}");
            // In order; only what is blank is left out between.
            let at = rest.find(line).unwrap();
            assert!(is_blank(&rest[..at]), "{:?} before {cue:?}", &rest[..at]);
            rest = &rest[at + line.len()..];
        }
    }
    assert!(is_blank(rest), "{rest:?}");
    let divided = cues.iter().flat_map(|cue| clusters(&cue.text));
    if whole {
        assert!(divided.eq(clusters(normal)), "{cues:?}");
    } else {
        // No cluster is divided, so all those with a letter are there.
        let readable = |cluster: &&str| !is_blank(cluster);
        let expected = clusters(normal).into_iter().filter(readable);
        assert!(divided.filter(readable).eq(expected), "{cues:?}");
    }
}

#[test]
fn any_text_with_any_limits() {
    let mut random = Random(1);
    for round in 0..3000 {
        let whole = round % 2 == 0;
        let text = random.text(if whole { READABLE } else { ATOMS });
        let normal = normalise(&text);
        let start = random.of(&[0, SECOND, 1 << 40]);
        let duration = random.of(&[0, 1, 7, SECOND / 3, 4 * SECOND, 17 * SECOND, 99 * SECOND]);
        let end = start + duration;
        let layout = Layout {
            max_chars: limit(random.of(&[0, 1, 2, 3, 7, 20, 42, 84, usize::MAX])),
            max_lines: random.of(&[0, 1, 1, 2, 3, 100]),
            min_duration: Duration::from_nanos(random.of(&[0, 1, SECOND, 2 * SECOND, u64::MAX])),
            max_duration: random
                .of(&[
                    None,
                    Some(1),
                    Some(SECOND),
                    Some(6 * SECOND),
                    Some(u64::MAX),
                ])
                .map(Duration::from_nanos),
        };
        let cues = cues(&text, &[], span(start, end), &layout);
        assert_eq!(cues.is_empty(), is_blank(&text), "{text:?}");
        // A full stop needs a column next to the letter.
        let roomy = layout.line_columns() >= 4;
        check_texts(&cues, &normal, &layout, whole && roomy);
        check_times(&cues, start, end, &layout);
    }
}

#[test]
fn effort_is_bounded() {
    for atom in ["a", "a ", "字", "\u{200b}", "。", "ก"] {
        let text = atom.repeat(5000) + "a";
        for layout in [layout(84, 1, 10), layout(0, 1, 10), layout(4999, 0, 0)] {
            let end = 7200 * SECOND;
            let cues = cues(&text, &[], span(0, end), &layout);
            check_times(&cues, 0, end, &layout);
        }
    }
}
