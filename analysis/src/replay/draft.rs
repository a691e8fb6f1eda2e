//! A scenario with work that the recording does not have: nodes and edges beside the graph's.

use std::collections::VecDeque;

use super::pass::{Times, replay};
use super::scenario::{DROPPED, Mode, Scenario};
use crate::graph::{Edge, EdgeKind, Graph, Node, NodeId, Point};

/// A node of a [`Draft`]: of the graph, or added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum At {
    /// A node of the graph.
    Recorded(NodeId),
    /// An added node, by its place.
    Added(u32),
}

impl From<NodeId> for At {
    fn from(id: NodeId) -> Self {
        Self::Recorded(id)
    }
}

#[derive(Clone, Copy, Debug)]
struct AddedEdge {
    from: At,
    point: Point,
    to: At,
    lag: i64,
}

/// Times of a draft.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DraftTimes {
    /// Times of the graph's nodes; their `end_ns` covers added nodes too.
    pub times: Times,
    /// Start of each added node, in ns.
    pub added: Vec<i64>,
}

/// A circle: something would have to wait for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{waiting} pieces of work would wait for one another: this change contradicts the order of the recording")]
pub struct Circle {
    /// How many nodes could not begin.
    pub waiting: usize,
}

/// A [`Scenario`] to which nodes and edges can be added.
///
/// Edits that keep the structure cost one sweep ([`replay`]); with additions the order is found anew (Kahn's algorithm),
/// O(nodes + edges) too but slower.
#[derive(Clone, Debug)]
pub struct Draft<'g> {
    scenario: Scenario<'g>,
    added: Vec<i64>,
    edges: Vec<AddedEdge>,
}

impl<'g> Draft<'g> {
    /// The recording itself in the mode of predictions.
    #[must_use]
    pub fn new(graph: &'g Graph) -> Self {
        Self::of(Scenario::new(graph, Mode::Model))
    }

    /// A scenario without additions.
    #[must_use]
    pub const fn of(scenario: Scenario<'g>) -> Self {
        Self { scenario, added: Vec::new(), edges: Vec::new() }
    }

    /// Its graph.
    #[must_use]
    pub const fn graph(&self) -> &'g Graph {
        self.scenario.graph()
    }

    /// Its scenario, additions aside.
    #[must_use]
    pub const fn scenario(&self) -> &Scenario<'g> {
        &self.scenario
    }

    /// Number of added nodes.
    #[must_use]
    pub fn added_len(&self) -> usize {
        self.added.len()
    }

    /// Duration of a node, in ns.
    #[must_use]
    pub fn duration_ns(&self, at: impl Into<At>) -> i64 {
        match at.into() {
            At::Recorded(node) => self.scenario.duration_ns(node),
            At::Added(place) => self.added.get(place as usize).copied().unwrap_or_default(),
        }
    }

    /// Gives a node another duration, in ns; below zero counts as zero.
    pub fn set_duration(&mut self, at: impl Into<At>, dur_ns: i64) {
        match at.into() {
            At::Recorded(node) => self.scenario.set_duration(node, dur_ns),
            At::Added(place) => {
                if let Some(dur) = self.added.get_mut(place as usize) {
                    *dur = dur_ns.max(0);
                }
            }
        }
    }

    /// Multiplies the duration that a node has now, rounded to the nearest ns.
    pub fn scale_duration(&mut self, at: impl Into<At>, by: f64) {
        let at = at.into();
        let dur = self.duration_ns(at) as f64 * by;
        self.set_duration(at, dur.round() as i64);
    }

    /// Sets the delay of a node of the graph, in ns.
    pub fn set_delay(&mut self, node: NodeId, delay_ns: i64) {
        self.scenario.set_delay(node, delay_ns);
    }

    /// Lag of an edge by its place, in ns; `None` if it was dropped.
    #[must_use]
    pub fn lag_ns(&self, edge: u32) -> Option<i64> {
        self.scenario.lag_ns(edge)
    }

    /// Gives an edge of the graph another lag, in ns; `None` drops it.
    pub fn set_lag(&mut self, edge: u32, lag_ns: Option<i64>) {
        self.scenario.set_lag(edge, lag_ns);
    }

    /// Adds a node that lasts `dur_ns`.
    pub fn add(&mut self, dur_ns: i64) -> At {
        self.added.push(dur_ns.max(0));
        At::Added(self.added.len() as u32 - 1)
    }

    /// Adds an edge: `to` begins no sooner than `lag_ns` after the point of `from`.
    pub fn link(&mut self, from: impl Into<At>, point: Point, to: impl Into<At>, lag_ns: i64) {
        self.edges.push(AddedEdge { from: from.into(), point, to: to.into(), lag: lag_ns });
    }

    /// Takes a piece of device work away: it lasts no time, nothing is launched for it, and what follows it in its stream
    /// waits one gap after what came before it, not two.
    ///
    /// Edges by which others wait for it (events, returns of calls) stay and follow what came before it.
    pub fn bypass(&mut self, node: NodeId) {
        let graph = self.graph();
        self.scenario.set_duration(node, 0);
        self.scenario.set_delay(node, 0);
        let in_stream = |edge: &Edge| matches!(edge.kind, EdgeKind::StreamOrder | EdgeKind::GraphOrder);
        let follows = graph.edges_to(node).any(|edge| in_stream(&edge) && self.lag_ns(edge.index).is_some());
        for edge in graph.edges_to(node) {
            if in_stream(&edge) {
                if self.lag_ns(edge.index).is_some_and(|lag| lag > 0) {
                    self.scenario.set_lag(edge.index, Some(0));
                }
            } else if edge.kind == EdgeKind::Launch && follows {
                self.scenario.set_lag(edge.index, None);
            }
        }
    }

    /// Gives every node for which `dur` says so another duration, in ns: given are the node and its duration now.
    pub fn change_durations(&mut self, mut dur: impl FnMut(&Node, i64) -> Option<i64>) -> usize {
        let mut changed = 0;
        for id in self.graph().node_ids() {
            let now = self.scenario.duration_ns(id);
            if let Some(new) = dur(&self.graph().node(id), now).filter(|&new| new != now) {
                self.scenario.set_duration(id, new);
                changed += 1;
            }
        }
        changed
    }

    /// Replays it.
    ///
    /// # Errors
    /// When the added edges close a circle.
    pub fn replay(&self) -> Result<DraftTimes, Circle> {
        if self.added.is_empty() && self.edges.is_empty() {
            return Ok(DraftTimes { times: replay(&self.scenario), added: Vec::new() });
        }
        self.replay_anew()
    }

    /// Targets of the graph's edges that hold, by source: where those of each node begin, and all of them.
    fn successors(&self) -> (Vec<u32>, Vec<u32>) {
        let graph = self.graph();
        let holds = |edge: usize| self.scenario.lag.get(edge).is_some_and(|&lag| lag != DROPPED);
        let mut first = vec![0_u32; graph.len() + 1];
        for (edge, source) in graph.source.iter().enumerate() {
            if holds(edge)
                && let Some(count) = first.get_mut((source >> 1) as usize + 1)
            {
                *count += 1;
            }
        }
        let mut sum = 0;
        for count in &mut first {
            sum += *count;
            *count = sum;
        }
        let mut next = first.clone();
        let mut targets = vec![0_u32; sum as usize];
        for (target, edges) in graph.first_edge.windows(2).enumerate() {
            let [from, to] = *edges else { continue };
            for edge in (from as usize..to as usize).filter(|&edge| holds(edge)) {
                let source = graph.source.get(edge).map_or(0, |source| (source >> 1) as usize);
                let Some(at) = next.get_mut(source) else { continue };
                if let Some(slot) = targets.get_mut(*at as usize) {
                    *slot = target as u32;
                }
                *at += 1;
            }
        }
        (first, targets)
    }

    /// Kahn's algorithm over the graph's edges and the added ones.
    fn replay_anew(&self) -> Result<DraftTimes, Circle> {
        let graph = self.graph();
        let recorded = graph.len();
        let all = recorded + self.added.len();
        let place = |at: At| match at {
            At::Recorded(node) => node.index(),
            At::Added(place) => recorded + place as usize,
        };
        let (first, targets) = self.successors();
        // Added edges by source.
        let mut own: Vec<(u32, u32)> = Vec::with_capacity(self.edges.len());
        let mut missing = vec![0_u32; all];
        for (number, edge) in self.edges.iter().enumerate() {
            let (from, to) = (place(edge.from), place(edge.to));
            if from < all
                && let Some(count) = missing.get_mut(to)
            {
                *count += 1;
                own.push((from as u32, number as u32));
            }
        }
        own.sort_unstable();
        for &target in &targets {
            if let Some(count) = missing.get_mut(target as usize) {
                *count += 1;
            }
        }
        let mut ready = vec![i64::MIN; all];
        let mut start = vec![graph.origin_ns(); all];
        let mut queue: VecDeque<u32> =
            missing.iter().enumerate().filter(|(_, count)| **count == 0).map(|(node, _)| node as u32).collect();
        let mut done = 0;
        let mut end_ns = graph.origin_ns();
        while let Some(node) = queue.pop_front() {
            done += 1;
            let at = node as usize;
            // Edges of the graph are looked at from their targets, where their lags lie.
            let mut from_edges = ready.get(at).copied().unwrap_or(i64::MIN);
            if at < recorded {
                for edge in graph.edges_to(NodeId(node)) {
                    let lag = self.scenario.lag.get(edge.index as usize).copied().unwrap_or(DROPPED);
                    if lag == DROPPED {
                        continue;
                    }
                    let mut time = start.get(edge.from.index()).copied().unwrap_or_default();
                    if edge.point == Point::End {
                        time = time.saturating_add(self.scenario.duration_ns(edge.from));
                    }
                    from_edges = from_edges.max(time.saturating_add(i64::from(lag)));
                }
            }
            let delay = if at < recorded { self.scenario.delay_ns(NodeId(node)) } else { 0 };
            let begins = if from_edges == i64::MIN { graph.origin_ns() } else { from_edges }.saturating_add(delay);
            let dur = if at < recorded {
                self.scenario.duration_ns(NodeId(node))
            } else {
                self.added.get(at - recorded).copied().unwrap_or_default()
            };
            if let Some(slot) = start.get_mut(at) {
                *slot = begins;
            }
            end_ns = end_ns.max(begins.saturating_add(dur));
            let release = |target: usize, missing: &mut [u32], queue: &mut VecDeque<u32>| {
                if let Some(count) = missing.get_mut(target) {
                    *count = count.saturating_sub(1);
                    if *count == 0 {
                        queue.push_back(target as u32);
                    }
                }
            };
            if at < recorded {
                let range = |i: usize| first.get(i).copied().unwrap_or_default() as usize;
                for &target in targets.get(range(at)..range(at + 1)).unwrap_or_default() {
                    release(target as usize, &mut missing, &mut queue);
                }
            }
            let first = own.partition_point(|&(from, _)| from < node);
            for &(_, number) in own.iter().skip(first).take_while(|&&(from, _)| from == node) {
                let Some(edge) = self.edges.get(number as usize) else { continue };
                let to = place(edge.to);
                let from = if edge.point == Point::End { begins.saturating_add(dur) } else { begins };
                if let Some(ready) = ready.get_mut(to) {
                    *ready = (*ready).max(from.saturating_add(edge.lag));
                }
                release(to, &mut missing, &mut queue);
            }
        }
        if done < all {
            return Err(Circle { waiting: all - done });
        }
        let added = start.split_off(recorded);
        Ok(DraftTimes { times: Times { start, end_ns }, added })
    }
}
