//! Delta: after an edit only what it touches is computed again.

use super::pass::{Times, replay};
use super::scenario::Scenario;
use crate::graph::{Graph, NodeId};

/// A change of one node or edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Another duration, in ns.
    Duration(NodeId, i64),
    /// Another delay, in ns.
    Delay(NodeId, i64),
    /// Another lag of an edge into the node, in ns; `None` drops it.
    Lag(NodeId, u32, Option<i64>),
}

/// Edges by source.
#[derive(Clone, Debug)]
struct Successors {
    first: Vec<u32>,
    target: Vec<u32>,
}

impl Successors {
    fn new(graph: &Graph) -> Self {
        let mut first = vec![0_u32; graph.len() + 1];
        for source in &graph.source {
            if let Some(count) = first.get_mut((source >> 1) as usize + 1) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for count in &mut first {
            sum += *count;
            *count = sum;
        }
        let mut next = first.clone();
        let mut target = vec![0_u32; graph.source.len()];
        let mut edges = graph.first_edge.iter().copied();
        let mut from = edges.next().unwrap_or_default();
        for (v, to) in edges.enumerate() {
            for source in graph.source.get(from as usize..to as usize).unwrap_or_default() {
                let Some(at) = next.get_mut((source >> 1) as usize) else { continue };
                if let Some(slot) = target.get_mut(*at as usize) {
                    *slot = v as u32;
                }
                *at += 1;
            }
            from = to;
        }
        Self { first, target }
    }

    fn of(&self, node: usize) -> &[u32] {
        let at = |i: usize| self.first.get(i).copied().unwrap_or_default() as usize;
        self.target.get(at(node)..at(node + 1)).unwrap_or_default()
    }
}

/// A replay that follows edits.
#[derive(Clone, Debug)]
pub struct Delta<'g> {
    scenario: Scenario<'g>,
    times: Times,
    successors: Successors,
    /// One bit a node: has to be computed again.
    dirty: Vec<u64>,
}

impl<'g> Delta<'g> {
    /// Replays `scenario` once and is then ready for edits.
    #[must_use]
    pub fn new(scenario: Scenario<'g>) -> Self {
        let graph = scenario.graph();
        let times = replay(&scenario);
        let successors = Successors::new(graph);
        Self { dirty: vec![0; graph.len().div_ceil(64)], scenario, times, successors }
    }

    /// The times as they are now.
    #[must_use]
    pub const fn times(&self) -> &Times {
        &self.times
    }

    /// The scenario as it is now.
    #[must_use]
    pub const fn scenario(&self) -> &Scenario<'g> {
        &self.scenario
    }

    fn mark(&mut self, node: usize) {
        if let Some(word) = self.dirty.get_mut(node / 64) {
            *word |= 1 << (node % 64);
        }
    }

    /// Applies edits and computes again what they touch, stopping where times are as they were. Gives the number of
    /// nodes computed.
    ///
    /// Costs what lies in the cone of the edits, and a glance at each 64 nodes.
    pub fn apply(&mut self, edits: &[Edit]) -> usize {
        for edit in edits {
            match *edit {
                Edit::Duration(node, dur) => {
                    if self.scenario.duration_ns(node) != dur.max(0) {
                        self.scenario.set_duration(node, dur);
                        for place in 0..self.successors.of(node.index()).len() {
                            if let Some(&target) = self.successors.of(node.index()).get(place) {
                                self.mark(target as usize);
                            }
                        }
                    }
                }
                Edit::Delay(node, delay) => {
                    self.scenario.set_delay(node, delay);
                    self.mark(node.index());
                }
                Edit::Lag(node, edge, lag) => {
                    self.scenario.set_lag(edge, lag);
                    self.mark(node.index());
                }
            }
        }
        let mut computed = 0;
        for word in 0..self.dirty.len() {
            // Targets come later, maybe in the same word.
            while let Some(&bits) = self.dirty.get(word).filter(|bits| **bits != 0) {
                let bit = bits.trailing_zeros() as usize;
                if let Some(bits) = self.dirty.get_mut(word) {
                    *bits &= !(1 << bit);
                }
                let node = word * 64 + bit;
                computed += 1;
                let begins = self.start_of(node);
                let Some(slot) = self.times.start.get_mut(node) else { continue };
                if *slot == begins {
                    continue;
                }
                *slot = begins;
                for place in 0..self.successors.of(node).len() {
                    if let Some(&target) = self.successors.of(node).get(place) {
                        self.mark(target as usize);
                    }
                }
            }
        }
        self.times.end_ns = self.latest_end();
        computed
    }

    fn start_of(&self, node: usize) -> i64 {
        let graph = self.scenario.graph();
        let id = NodeId(node as u32);
        let mut ready = i64::MIN;
        for edge in graph.edges_to(id) {
            let Some(lag) = self.scenario.lag_ns(edge.index) else { continue };
            let mut at = self.times.start_ns(edge.from);
            if edge.point == crate::graph::Point::End {
                at = at.saturating_add(self.scenario.duration_ns(edge.from));
            }
            ready = ready.max(at.saturating_add(lag));
        }
        let ready = if ready == i64::MIN { graph.origin_ns() } else { ready };
        ready.saturating_add(self.scenario.delay_ns(id))
    }

    fn latest_end(&self) -> i64 {
        let ends = self.times.start.iter().zip(self.scenario.dur.iter()).map(|(start, dur)| start.saturating_add(*dur));
        ends.max().unwrap_or(self.scenario.graph().origin_ns())
    }
}
