//! Lengths of steps in a replay.

use gapless_analysis::graph::Graph;
use gapless_analysis::replay::{Circle, Draft, DraftTimes};
use serde::Serialize;

/// How long the steps of one replay take.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Mean length of a step, from completion to completion, in ns; the whole recording if it has no steps.
    pub mean_step_ns: f64,
    /// Median length of a step, in ns.
    pub median_step_ns: f64,
    /// Length of the whole, in ns.
    pub total_ns: i64,
    /// Length of each step, in ns.
    pub steps_ns: Vec<i64>,
}

/// Replays a draft and measures its steps.
///
/// A step ends when its marks have passed and all work launched in it has ended; it begins when the one before ended, or
/// at its own mark if that is later.
///
/// # Errors
/// When the draft has a circle.
pub fn figures(draft: &Draft<'_>) -> Result<Figures, Circle> {
    Ok(of_times(draft, &draft.replay()?))
}

/// Measures the steps of a replay that was made already.
#[must_use]
pub fn of_times(draft: &Draft<'_>, times: &DraftTimes) -> Figures {
    let graph: &Graph = draft.graph();
    let end = |id| times.times.start_ns(id).saturating_add(draft.duration_ns(id));
    let mut steps_ns = Vec::with_capacity(graph.steps().len().max(1));
    let mut before = i64::MIN;
    for step in graph.steps() {
        // Where no thread has a mark, a step begins when the one before is complete.
        let unmarked = if before == i64::MIN { step.mark_start_ns } else { before };
        let begun = step.begins.iter().map(|&id| times.times.start_ns(id)).min().unwrap_or(unmarked);
        let ended = step.ends.iter().map(|&id| end(id)).max().unwrap_or(begun);
        steps_ns.push(ended.saturating_sub(before.max(begun).min(ended)));
        before = before.max(ended);
    }
    let total_ns = times.times.end_ns.saturating_sub(graph.origin_ns());
    if steps_ns.is_empty() {
        steps_ns.push(total_ns);
    }
    let mut sorted = steps_ns.clone();
    sorted.sort_unstable();
    let at = |place: usize| sorted.get(place).copied().unwrap_or_default() as f64;
    let middle = sorted.len() / 2;
    let median_step_ns = if sorted.len() % 2 == 1 { at(middle) } else { (at(middle - 1) + at(middle)) / 2.0 };
    let sum: f64 = steps_ns.iter().map(|&ns| ns as f64).sum();
    Figures { mean_step_ns: sum / steps_ns.len() as f64, median_step_ns, total_ns, steps_ns }
}
