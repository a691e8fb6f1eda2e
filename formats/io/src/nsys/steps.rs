//! Which NVTX ranges are the steps of training or inference: only where the file leaves no doubt.

use gapless_trace::{EventKind, RawChunk};
use rustc_hash::FxHashMap;

use super::sink::Found;

/// Words before the number of a step, in lower case.
const WORDS: [&str; 12] = [
    "profilerstep",
    "step",
    "iteration",
    "iter",
    "train step",
    "train_step",
    "training step",
    "training_step",
    "train iteration",
    "global step",
    "global_step",
    "decode step",
];

/// The words and the number of a text like `iteration 12` or `ProfilerStep#5`.
pub(crate) fn parse(text: &str) -> Option<(String, u64)> {
    let plain = text.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let number = text.get(plain.len()..)?.parse().ok()?;
    let words = plain.trim_end_matches([' ', '#', ':', '=', '_', '-']).to_ascii_lowercase();
    WORDS.contains(&words.as_str()).then_some((words, number))
}

/// Makes the ranges of one process that are steps into steps.
///
/// Ranges count as steps where all of one wording lie on one thread, number at least two, follow one another without
/// overlap, and their numbers rise; and where only one wording does so (`ProfilerStep` before all others).
pub(crate) fn mark(found: &mut [&mut Found]) {
    /// (start, end, number, place in `found`, event).
    type Range = (i64, i64, u64, usize, u32);
    let mut groups: FxHashMap<(String, i64), Vec<Range>> = FxHashMap::default();
    for (place, found) in found.iter().enumerate() {
        for step in &found.steps {
            let Some((start, end)) = span(&found.chunk, step.event) else { continue };
            let words = found.chunk.strings.get(step.words).to_owned();
            groups.entry((words, step.thread)).or_default().push((start, end, step.number, place, step.event));
        }
    }
    let fits = |ranges: &mut Vec<Range>| {
        ranges.sort_unstable();
        ranges.len() >= 2 && ranges.is_sorted_by(|a, b| a.1 <= b.0 && a.2 < b.2)
    };
    let mut fitting: Vec<((String, i64), Vec<Range>)> =
        groups.into_iter().filter_map(|(key, mut ranges)| fits(&mut ranges).then_some((key, ranges))).collect();
    if fitting.iter().any(|(key, _)| key.0 == "profilerstep") {
        fitting.retain(|(key, _)| key.0 == "profilerstep");
    }
    if let [(_, ranges)] = fitting.as_slice() {
        for &(.., place, event) in ranges {
            let kinds = found.get_mut(place).map(|found| &mut found.chunk.kind);
            if let Some(kind) = kinds.and_then(|kinds| kinds.get_mut(event as usize)) {
                *kind = EventKind::Step;
            }
        }
    }
}

fn span(chunk: &RawChunk, event: u32) -> Option<(i64, i64)> {
    let start = *chunk.start.get(event as usize)?;
    Some((start, start.saturating_add(*chunk.dur.get(event as usize)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_for_steps_with_a_number_count() {
        let check = |text: &str, step: Option<(&str, u64)>| {
            assert_eq!(parse(text), step.map(|(words, number)| (words.to_owned(), number)), "{text}");
        };
        check("ProfilerStep#5", Some(("profilerstep", 5)));
        check("iteration 12", Some(("iteration", 12)));
        check("Iteration: 12", Some(("iteration", 12)));
        check("step_3", Some(("step", 3)));
        check("step", None);
        check("layer 3", None);
        check("my step 3", None);
        check("3", None);
    }
}
