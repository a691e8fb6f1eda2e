//! Paths that are nearly critical: what comes next when the critical path is shortened.

use rustc_hash::FxHashSet;
use serde::Serialize;

use super::category::{Category, PathPartition};
use super::slack::Slack;
use super::walk::{CriticalPath, binding};
use crate::graph::{Graph, NodeId};

/// A chain of nodes beside the critical path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NearCritical {
    /// By how much the step may shrink until this chain decides, in ns.
    pub slack_ns: i64,
    /// Its start, in ns on the common clock.
    pub start_ns: i64,
    /// Its end, in ns.
    pub end_ns: i64,
    /// Its nodes.
    pub nodes: u64,
    /// Time of its nodes, in ns.
    pub busy_ns: i64,
    /// The category that takes most of that time.
    pub category: Category,
    /// Its last node.
    #[serde(skip)]
    pub last: NodeId,
}

/// The chains with least slack, at most `limit_ns`: up to `count`, least slack first. Chains share no node.
#[must_use]
pub fn near_critical(
    graph: &Graph,
    path: &CriticalPath,
    slack: &Slack,
    limit_ns: i64,
    count: usize,
) -> Vec<NearCritical> {
    let mut taken: FxHashSet<NodeId> = path.nodes.iter().copied().collect();
    let mut near: Vec<(i64, std::cmp::Reverse<i64>, NodeId)> = slack
        .nodes()
        .filter(|&(id, slack)| slack <= limit_ns && !taken.contains(&id) && graph.node(id).dur_ns > 0)
        .map(|(id, slack)| (slack, std::cmp::Reverse(graph.node(id).end_ns()), id))
        .collect();
    near.sort_unstable();
    let mut found = Vec::new();
    for (slack_ns, _, last) in near {
        if found.len() >= count {
            break;
        }
        if taken.contains(&last) {
            continue;
        }
        let mut partition = PathPartition::default();
        let (mut nodes, mut busy_ns) = (0, 0);
        let mut start_ns = graph.node(last).start_ns;
        let mut at = Some(last);
        while let Some(id) = at.filter(|id| slack.of(*id).is_some() && taken.insert(*id)) {
            let node = graph.node(id);
            partition.add(Category::of_node(node.kind), node.dur_ns);
            nodes += 1;
            busy_ns += node.dur_ns;
            start_ns = start_ns.min(node.start_ns);
            at = binding(graph, id).map(|edge| edge.from);
        }
        let category = partition.shares().first().map_or(Category::Host, |share| share.category);
        found.push(NearCritical {
            slack_ns,
            start_ns,
            end_ns: graph.node(last).end_ns(),
            nodes,
            busy_ns,
            category,
            last,
        });
    }
    found
}
