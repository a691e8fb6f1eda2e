//! What several detectors measure: shares of the steps, and order by time.

use gapless_analysis::graph::NodeId;

use crate::patterns::Pattern;
use crate::scene::Scene;

/// Time of nodes on the critical paths, for each step on average, in ns.
pub(super) fn path_per_step(scene: &Scene<'_, '_>, nodes: &[NodeId]) -> f64 {
    nodes.iter().map(|&id| scene.path_ns(id)).sum::<i64>() as f64 / scene.study().step_count() as f64
}

/// The share of the steps that nodes take on the critical paths.
pub(super) fn path_share(scene: &Scene<'_, '_>, nodes: &[NodeId]) -> f64 {
    share(scene, path_per_step(scene, nodes))
}

/// Summed durations of nodes, for each step on average, in ns.
pub(super) fn time_per_step(scene: &Scene<'_, '_>, nodes: &[NodeId]) -> f64 {
    let graph = scene.study().graph();
    nodes.iter().map(|&id| graph.node(id).dur_ns).sum::<i64>() as f64 / scene.study().step_count() as f64
}

/// A time as a share of the mean step.
pub(super) fn share(scene: &Scene<'_, '_>, per_step_ns: f64) -> f64 {
    per_step_ns / scene.study().base().mean_step_ns.max(1.0)
}

/// Nodes by their time on the critical paths, then by duration, longest first.
pub(super) fn longest_first(scene: &Scene<'_, '_>, nodes: &[NodeId]) -> Vec<NodeId> {
    let mut nodes = nodes.to_vec();
    let graph = scene.study().graph();
    nodes.sort_by_key(|&id| (std::cmp::Reverse((scene.path_ns(id), graph.node(id).dur_ns)), id));
    nodes
}

/// The middle of values; `None` without any.
pub(super) fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// What a count is in a sentence: `1 kernel`, `3 kernels`.
pub(super) fn counted(count: usize, word: &str) -> String {
    format!("{} {word}{}", gapless_trace::thousands(count as u64), if count == 1 { "" } else { "s" })
}

/// A regular expression that fits this name alone and may stand in an edit, whose arguments end at commas.
pub(super) fn exactly(name: &str) -> String {
    format!("^{}$", regex::escape(name).replace(',', "\\x2c"))
}

/// Nodes of a pattern, in order.
pub(super) fn nodes_of_pattern(scene: &Scene<'_, '_>, pattern: Pattern) -> Vec<NodeId> {
    let mut nodes: Vec<NodeId> = scene.study().nodes_with(pattern).iter().copied().collect();
    nodes.sort_unstable();
    nodes
}
