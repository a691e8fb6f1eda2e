//! How much later a node could end without delaying the end of a path.

use crate::graph::{Graph, NodeId, Point};

/// Slack of the nodes of a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slack {
    first: u32,
    values: Vec<i64>,
}

impl Slack {
    /// By how much a node may be later, in ns; `None` if the end does not depend on it, or it lies before the window.
    #[must_use]
    pub fn of(&self, node: NodeId) -> Option<i64> {
        let place = node.0.checked_sub(self.first)?;
        self.values.get(place as usize).copied().filter(|&slack| slack != i64::MAX)
    }

    /// Nodes on which the end depends, with their slack in ns, ascending by node.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, i64)> + '_ {
        let all = self.values.iter().enumerate().filter(|(_, slack)| **slack != i64::MAX);
        all.map(|(place, &slack)| (NodeId(self.first + place as u32), slack))
    }
}

/// Slack of all nodes that begin at `from_ns` or later and on which the end of `last` depends: latest start less measured
/// start, all residuals kept. O(nodes and edges of the window).
#[must_use]
pub fn slack(graph: &Graph, last: NodeId, from_ns: i64) -> Slack {
    // Starts are in order but for neighbours that edges put the other way round.
    let mut first = graph.start.partition_point(|&start| start < from_ns);
    while first > 0 && graph.start.get(first - 1).is_some_and(|&start| start >= from_ns) {
        first -= 1;
    }
    let mut latest = vec![i64::MAX; (last.index() + 1).saturating_sub(first)];
    if let Some(slot) = latest.last_mut() {
        *slot = graph.node(last).start_ns;
    }
    for place in (0..latest.len()).rev() {
        let Some(&own) = latest.get(place).filter(|own| **own != i64::MAX) else { continue };
        let id = NodeId((first + place) as u32);
        let ready = own.saturating_sub(graph.node(id).residual_ns);
        for edge in graph.edges_to(id) {
            let Some(source) = edge.from.index().checked_sub(first) else { continue };
            let mut by = ready.saturating_sub(edge.lag_ns);
            if edge.point == Point::End {
                by = by.saturating_sub(graph.node(edge.from).dur_ns);
            }
            if let Some(slot) = latest.get_mut(source) {
                *slot = by.min(*slot);
            }
        }
    }
    for (place, value) in latest.iter_mut().enumerate().filter(|(_, value)| **value != i64::MAX) {
        *value = value.saturating_sub(graph.node(NodeId((first + place) as u32)).start_ns);
    }
    Slack { first: first as u32, values: latest }
}
