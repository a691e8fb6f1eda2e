//! The critical path: the chain of nodes and latencies that decided when a step, or the recording, was complete.
//!
//! The path is walked backwards from the last node to end, always to the predecessor whose edge was the last to be
//! satisfied. Its segments touch one another, so they sum to the length of the window to the nanosecond. It crosses
//! ranks where a collective waited: time in which a rank waits for another never counts as communication, it counts as
//! what the late rank did.

mod attribute;
mod category;
mod near;
mod report;
mod slack;
mod walk;

pub use attribute::{Attribution, AttributionRow, attribute};
pub use category::{Category, CategoryShare, PathPartition};
pub use near::{NearCritical, near_critical};
pub use report::{PathReport, PathSegment, RankTime, StepPath};
pub use slack::{Slack, slack};
pub use walk::{CriticalPath, Segment, critical_path};

use crate::graph::{Graph, GraphStep};

/// When a step is complete: its marks have passed and all work that was launched in it has ended, in ns.
#[must_use]
pub fn completed_ns(graph: &Graph, step: &GraphStep) -> i64 {
    let ends = step.ends.iter().map(|&node| graph.node(node).end_ns());
    ends.max().unwrap_or(step.mark_end_ns)
}

/// The window of each step, in ns: from the completion of the step before, or its own mark if that is later, to its own
/// completion. Windows do not overlap.
#[must_use]
pub fn step_windows(graph: &Graph) -> Vec<(i64, i64)> {
    let mut from = i64::MIN;
    let window = |step: &GraphStep| {
        let to = completed_ns(graph, step);
        let window = (from.max(step.mark_start_ns).min(to), to);
        from = from.max(to);
        window
    };
    graph.steps().iter().map(window).collect()
}

/// The critical path of one step, by its place in [`Graph::steps`].
#[must_use]
pub fn step_path(graph: &Graph, step: usize) -> Option<CriticalPath> {
    let window = step_windows(graph).get(step).copied()?;
    Some(critical_path(graph, &graph.steps().get(step)?.ends, window.0))
}

/// The critical path of the whole recording.
#[must_use]
pub fn whole_path(graph: &Graph) -> CriticalPath {
    let last = graph.node_ids().max_by_key(|&id| (graph.node(id).end_ns(), id));
    critical_path(graph, &last.into_iter().collect::<Vec<_>>(), graph.origin_ns())
}
