// SPDX-License-Identifier: MPL-2.0
//! Where a text goes on after what was shown of an earlier version of it.
//!
//! What was shown cannot be retracted, so when a text differs from it, the place has to be found
//! from which on nothing has been shown yet. The earlier version, the words shown and those still
//! pending, is aligned with the new text by its characters. Pending words that are found again in
//! the new text are to follow, however different the words shown are. Used by `agreement`.
//!
//! Words are compared by their keys, see [`super::tokens`].

// Costs of the alignment, per character. Audio that was heard in the meantime adds text at the end,
// so that costs least: a word in two versions is better than none. Where new text could be
// on either side of the place, it is after it.
const COST_DELETED: u32 = 4;
const COST_REPLACED: u32 = 4;
const COST_INSERTED_BEFORE: u32 = 4;
const COST_INSERTED_AFTER: u32 = 3;
const COST_APPENDED: u32 = 1;

/// Upper bound of the words shown, and of those pending, that are aligned; bounds the search.
const MAX_ALIGNED: usize = 100;

/// The number of words of `text` that correspond to what was `shown`. In the earlier version the
/// words `pending` followed.
pub(super) fn align(shown: &[String], pending: &[&str], text: &[&str]) -> usize {
    let (mut same, mut start) = common_words(shown, text);
    if same == shown.len() {
        return start;
    }
    // Far from the end of what was shown, words are taken to correspond one by one.
    let excess = shown.len().saturating_sub(same.saturating_add(MAX_ALIGNED));
    same = same.saturating_add(excess);
    start = start.saturating_add(excess).min(text.len());
    let shown = shown.get(same..).unwrap_or_default();
    let pending = pending.get(..MAX_ALIGNED).unwrap_or(pending);
    let text = text.get(start..).unwrap_or_default();
    let reach = shown.len().saturating_add(pending.len());
    let text = text.get(..reach.saturating_mul(2) + 8).unwrap_or(text);
    start.saturating_add(best_end(shown, pending, text))
}

/// The longest common text of `left` and `right` that ends with a word in both, wherever the words
/// before end: how many of each.
fn common_words(left: &[String], right: &[&str]) -> (usize, usize) {
    let mut lefts = left.iter().map(String::as_str).enumerate();
    let mut rights = right.iter().copied().enumerate();
    let mut common = (0, 0);
    let (mut counts, mut rest) = ((0, 0), ("", ""));
    loop {
        if rest.0.is_empty() && rest.1.is_empty() {
            common = counts;
        }
        if rest.0.is_empty() {
            let Some((index, key)) = lefts.next() else {
                return common;
            };
            (counts.0, rest.0) = (index + 1, key); // of a list in memory
        }
        if rest.1.is_empty() {
            let Some((index, key)) = rights.next() else {
                return common;
            };
            (counts.1, rest.1) = (index + 1, key); // of a list in memory
        }
        if let Some(more) = rest.0.strip_prefix(rest.1) {
            rest = (more, "");
        } else if let Some(more) = rest.1.strip_prefix(rest.0) {
            rest = ("", more);
        } else {
            return common;
        }
    }
}

/// Where to divide `text` so that the part before corresponds best to all of `shown`, and the part
/// after to all of `pending`: how many words are before. Of equally good places the latest, so that
/// no word is shown twice.
fn best_end(shown: &[String], pending: &[&str], text: &[&str]) -> usize {
    let torn = shown.last().map_or("", String::as_str);
    let characters = characters(text.iter().copied());
    let before = costs_before(
        &self::characters(shown.iter().map(String::as_str)),
        &characters,
    );
    let after = costs_after(&self::characters(pending.iter().copied()), &characters);
    let mut best = (u32::MAX, 0);
    let words = text.iter().copied().map(Some);
    let mut end = 0;
    for (count, word) in std::iter::once(None).chain(words).enumerate() {
        let start = end;
        end += word.map_or(0, |word| 1 + word.chars().count());
        let completed = word.and_then(|word| cost_completed(torn, word, start, &before));
        let cost = before.get(end).copied().into_iter().chain(completed).min();
        let sum = cost
            .zip(after.get(end))
            .map(|(cost, rest)| cost.saturating_add(*rest));
        if let Some(sum) = sum.filter(|sum| *sum <= best.0) {
            best = (sum, count);
        }
    }
    best.1
}

/// What it costs if the latest word shown was `torn` and is completed by `word`, which starts at
/// `start`; `None` if it is not. The rest of the word was heard later.
fn cost_completed(torn: &str, word: &str, start: usize, before: &[u32]) -> Option<u32> {
    let rest = word.strip_prefix(torn).filter(|_| !torn.is_empty())?;
    let cost = before.get(start + 1 + torn.chars().count())?;
    Some(cost.saturating_add(COST_APPENDED.saturating_mul(count(rest.chars()))))
}

/// For each beginning of `text` the cost of aligning all of `shown` with it.
fn costs_before(shown: &[char], text: &[char]) -> Vec<u32> {
    let mut row = steps(text.len(), COST_INSERTED_BEFORE);
    for c in shown {
        row = next_row(&row, *c, text.iter(), COST_INSERTED_BEFORE);
    }
    row
}

/// For each beginning of `text` the cost of aligning all of `pending` with what is after it.
fn costs_after(pending: &[char], text: &[char]) -> Vec<u32> {
    // From the end: what is appended, then what corresponds to the pending text.
    let mut row = steps(text.len(), COST_APPENDED);
    for c in pending.iter().rev() {
        row = next_row(&row, *c, text.iter().rev(), COST_INSERTED_AFTER);
    }
    row.reverse();
    row
}

/// The costs of up to `count` characters of the same kind, from none on.
fn steps(count: usize, cost: u32) -> Vec<u32> {
    let costs = std::iter::successors(Some(0_u32), |sum| Some(sum.saturating_add(cost)));
    costs.take(count.saturating_add(1)).collect()
}

/// The costs with the character `c` in addition, given those without it.
fn next_row<'a>(
    row: &[u32],
    c: char,
    text: impl Iterator<Item = &'a char>,
    inserted: u32,
) -> Vec<u32> {
    let mut next = Vec::with_capacity(row.len());
    let mut latest = row
        .first()
        .map_or(0, |cost| cost.saturating_add(COST_DELETED));
    next.push(latest);
    for (other, pair) in text.zip(row.windows(2)) {
        let &[diagonal, above] = pair else { continue };
        let replaced = if c == *other { 0 } else { COST_REPLACED };
        latest = diagonal
            .saturating_add(replaced)
            .min(above.saturating_add(COST_DELETED))
            .min(latest.saturating_add(inserted));
        next.push(latest);
    }
    next
}

/// The characters of words, each after a space, so that words are aligned with words where possible.
fn characters<'a>(words: impl Iterator<Item = &'a str>) -> Vec<char> {
    words
        .flat_map(|word| std::iter::once(' ').chain(word.chars()))
        .collect()
}

fn count(characters: impl Iterator<Item = char>) -> u32 {
    u32::try_from(characters.count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What of `text` is to follow on `shown`, after which there was `pending`.
    fn rest(shown: &str, pending: &str, text: &str) -> String {
        let words = |text: &'static str| text.split(' ').filter(|word| !word.is_empty());
        let leak = |text: &str| -> &'static str { String::leak(text.to_owned()) };
        let shown: Vec<_> = words(leak(shown)).map(str::to_owned).collect();
        let [pending, text] = [pending, text].map(|text| words(leak(text)).collect::<Vec<_>>());
        text[align(&shown, &pending, &text)..].join(" ")
    }

    #[test]
    fn what_was_pending_follows() {
        for (shown, pending, text, expected) in [
            (
                "that was the epoch of the",
                "incredulule",
                "that was the epoch of incredulity",
                "incredulity",
            ),
            (
                "it was the age of four",
                "lishness it was",
                "it was the age of foolishness it was",
                "foolishness it was",
            ),
            (
                "the epoch of the",
                "",
                "the epoch of incredulity",
                "incredulity",
            ),
            (
                "we saw him",
                "going home",
                "we saw going home",
                "going home",
            ),
            ("we saw", "him go", "we all saw them go", "them go"),
            // Words that come twice.
            ("very", "good", "very very good", "very good"),
            ("verry", "very", "very", ""),
            ("no yes", "no", "know yes no", "no"),
            ("he", "four", "she two three four", "two three four"),
            // A word in its place, however wrong.
            ("he said the", "night", "he said a night", "night"),
            ("wreck a nice", "beach", "recognise speech", "speech"),
        ] {
            assert_eq!(
                rest(shown, pending, text),
                expected,
                "{shown:?} + {pending:?}"
            );
        }
    }

    #[test]
    fn effort_is_bounded() {
        let words = |from: usize, to: usize| {
            let words = (from..to).map(|n| format!("{n}word"));
            words.collect::<Vec<_>>().join(" ")
        };
        let rest = rest(&words(1, 20_000), &words(20_000, 40_000), &words(0, 40_000));
        assert!(rest.ends_with("39999word"));
    }
}
