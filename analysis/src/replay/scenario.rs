//! What differs from the recording.

use std::borrow::Cow;

use serde::Serialize;

use crate::graph::{Edge, Graph, Node, NodeId};

/// What becomes of the residuals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// All are kept.
    Identity,
    /// Only unexplained delays are kept.
    #[default]
    Model,
    /// All are dropped.
    Ideal,
}

/// Lag of an edge that does not hold.
pub(crate) const DROPPED: i32 = i32::MIN;

/// Durations, delays and lags for one replay. Columns that do not differ from the graph's are borrowed.
#[derive(Clone, Debug)]
pub struct Scenario<'g> {
    graph: &'g Graph,
    mode: Mode,
    pub(crate) dur: Cow<'g, [i64]>,
    pub(crate) delay: Cow<'g, [i64]>,
    pub(crate) lag: Cow<'g, [i32]>,
}

impl<'g> Scenario<'g> {
    /// The recording itself in this mode. O(nodes), but for identity O(1).
    #[must_use]
    pub fn new(graph: &'g Graph, mode: Mode) -> Self {
        let delay = match mode {
            Mode::Identity => Cow::Borrowed(graph.residual.as_slice()),
            Mode::Model | Mode::Ideal => {
                let column = graph.residual.iter().zip(&graph.kind).zip(graph.first_edge.windows(2));
                let kept = column.map(|((&residual, &kind), edges)| {
                    // What depends on nothing begins when it begun.
                    let is_source = matches!(edges, [from, to] if from == to);
                    let keep = is_source || (mode == Mode::Model && residual >= graph.limit(kind));
                    if keep { residual } else { 0 }
                });
                Cow::Owned(kept.collect())
            }
        };
        Self { graph, mode, dur: Cow::Borrowed(&graph.dur), delay, lag: Cow::Borrowed(&graph.lag) }
    }

    /// Its graph.
    #[must_use]
    pub const fn graph(&self) -> &'g Graph {
        self.graph
    }

    /// Its mode.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Duration of a node, in ns.
    #[must_use]
    pub fn duration_ns(&self, node: NodeId) -> i64 {
        self.dur.get(node.index()).copied().unwrap_or_default()
    }

    /// Delay of a node, in ns.
    #[must_use]
    pub fn delay_ns(&self, node: NodeId) -> i64 {
        self.delay.get(node.index()).copied().unwrap_or_default()
    }

    /// Lag of an edge by its place in the columns, in ns; `None` if it was dropped.
    #[must_use]
    pub fn lag_ns(&self, edge: u32) -> Option<i64> {
        self.lag.get(edge as usize).copied().filter(|&lag| lag != DROPPED).map(i64::from)
    }

    /// Gives a node another duration, in ns; below zero counts as zero.
    pub fn set_duration(&mut self, node: NodeId, dur_ns: i64) {
        if let Some(dur) = self.dur.to_mut().get_mut(node.index()) {
            *dur = dur_ns.max(0);
        }
    }

    /// Gives a node another delay, in ns.
    pub fn set_delay(&mut self, node: NodeId, delay_ns: i64) {
        if let Some(delay) = self.delay.to_mut().get_mut(node.index()) {
            *delay = delay_ns;
        }
    }

    /// Gives an edge another lag, in ns, within ±2.1 s; `None` drops it.
    ///
    /// A node that loses all its edges begins at the origin of the graph plus its delay.
    pub fn set_lag(&mut self, edge: u32, lag_ns: Option<i64>) {
        if let Some(lag) = self.lag.to_mut().get_mut(edge as usize) {
            *lag = lag_ns.map_or(DROPPED, |lag| lag.clamp(i64::from(DROPPED + 1), i64::from(i32::MAX)) as i32);
        }
    }

    /// Gives every node for which `dur` says so another duration, in ns.
    pub fn change_durations(&mut self, mut dur: impl FnMut(&Node) -> Option<i64>) {
        for id in self.graph.node_ids() {
            if let Some(changed) = dur(&self.graph.node(id)) {
                self.set_duration(id, changed);
            }
        }
    }

    /// Drops every edge for which `drop` says so: given are the edge and the node that it leads to.
    pub fn drop_edges(&mut self, mut drop: impl FnMut(&Edge, NodeId) -> bool) {
        for id in self.graph.node_ids() {
            for edge in self.graph.edges_to(id) {
                if drop(&edge, id) {
                    self.set_lag(edge.index, None);
                }
            }
        }
    }

    /// Sets the lag of every edge for which `lag` says so, in ns.
    pub fn change_lags(&mut self, mut lag: impl FnMut(&Edge) -> Option<i64>) {
        for index in 0..self.graph.edge_count() as u32 {
            if let Some(changed) = lag(&self.graph.edge(index)) {
                self.set_lag(index, Some(changed));
            }
        }
    }
}
