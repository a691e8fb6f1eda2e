//! The longest-path pass: one sweep over the columns for each scenario.

use rayon::prelude::*;

use super::scenario::{DROPPED, Scenario};
use crate::graph::NodeId;

/// Times of one replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Start of each node, in ns.
    pub start: Vec<i64>,
    /// The latest end of all nodes, in ns.
    pub end_ns: i64,
}

impl Times {
    /// Start of a node, in ns.
    #[must_use]
    pub fn start_ns(&self, node: NodeId) -> i64 {
        self.start.get(node.index()).copied().unwrap_or_default()
    }
}

/// Replays one scenario. O(nodes + edges).
#[must_use]
pub fn replay(scenario: &Scenario<'_>) -> Times {
    let graph = scenario.graph();
    let mut start: Vec<i64> = Vec::with_capacity(graph.len());
    let mut end_ns = graph.origin_ns();
    let mut edges = graph.source.iter().zip(scenario.lag.iter());
    let mut first = graph.first_edge.iter();
    let mut from = first.next().copied().unwrap_or_default();
    for ((&to, &delay), &dur) in first.zip(scenario.delay.iter()).zip(scenario.dur.iter()) {
        let mut ready = i64::MIN;
        for _ in from..to {
            let Some((&source, &lag)) = edges.next() else { break };
            let u = (source >> 1) as usize;
            // Sources come before their targets, so these are set.
            let begun = start.get(u).copied().unwrap_or(i64::MIN);
            let lasted = scenario.dur.get(u).copied().unwrap_or_default() & -i64::from(source & 1);
            let at = begun.saturating_add(lasted).saturating_add(i64::from(lag));
            ready = ready.max(if lag == DROPPED { i64::MIN } else { at });
        }
        from = to;
        let ready = if ready == i64::MIN { graph.origin_ns() } else { ready };
        let begins = ready.saturating_add(delay);
        end_ns = end_ns.max(begins.saturating_add(dur));
        start.push(begins);
    }
    Times { start, end_ns }
}

/// Replays several scenarios, in parallel.
///
/// Each has a sweep of its own. Four or eight in one sweep, interleaved so that each edge is read once for all, were
/// measured to be 2.6 to 3.6 times slower per scenario: one sweep runs from the caches, eight interleaved ones do not, and
/// 64-bit saturating sums and maxima do not vectorise on the machines that we build for.
#[must_use]
pub fn replay_many(scenarios: &[Scenario<'_>]) -> Vec<Times> {
    scenarios.par_iter().map(replay).collect()
}
