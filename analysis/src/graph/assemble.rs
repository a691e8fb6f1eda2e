//! From loose nodes and edges to columns in an order in which every edge leads forward.

use rayon::prelude::*;

use super::kinds::label_of;
use super::{EdgeKind, EdgeReport, Evidence, Graph, GraphOptions, NodeId, NodeKind, Place, Point};

#[derive(Clone, Copy, Debug)]
pub(crate) struct RawNode {
    pub start: i64,
    pub dur: i64,
    pub event: u32,
    pub place: u32,
    pub kind: NodeKind,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct RawEdge {
    /// Handle of the source; the lowest bit says that it leaves from the end.
    pub source: u32,
    pub to: u32,
    pub lag: i32,
    pub label: u8,
}

/// Nodes and edges in any order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Raw {
    pub nodes: Vec<RawNode>,
    pub edges: Vec<RawEdge>,
    pub places: Vec<Place>,
}

impl Raw {
    pub fn node(&mut self, node: RawNode) -> u32 {
        self.nodes.push(RawNode { dur: node.dur.max(0), ..node });
        self.nodes.len() as u32 - 1
    }

    pub fn edge(&mut self, from: u32, point: Point, to: u32, lag: i64, kind: EdgeKind, evidence: Evidence) {
        let source = (from << 1) | u32::from(point == Point::End);
        // A lag beyond ±2.1 s is left to the residual, which has 64 bits. The least value marks dropped edges.
        let lag = lag.clamp(i64::from(i32::MIN + 1), i64::from(i32::MAX)) as i32;
        self.edges.push(RawEdge { source, to, lag, label: label_of(kind, evidence) });
    }

    /// Appends another set, its handles and places moved behind this one's. Gives by how much the handles moved.
    pub fn append(&mut self, other: Self) -> u32 {
        let (by, places) = (self.nodes.len() as u32, self.places.len() as u32);
        let moved = |place: u32| if place == super::NONE { place } else { place + places };
        self.nodes.extend(other.nodes.into_iter().map(|node| RawNode { place: moved(node.place), ..node }));
        let edges = other.edges.into_iter();
        self.edges.extend(edges.map(|edge| RawEdge { source: edge.source + 2 * by, to: edge.to + by, ..edge }));
        self.places.extend(other.places);
        by
    }

    fn point_time(&self, source: u32) -> Option<i64> {
        let node = self.nodes.get((source >> 1) as usize)?;
        Some(if source & 1 == 1 { node.start.saturating_add(node.dur) } else { node.start })
    }
}

/// By how much times may contradict an edge before it counts as contradicted: two ticks of an old trace's clock.
const TOLERANCE_NS: i64 = 2_000;

/// Edges by target: for each node where its edges begin, and their places in `edges`.
struct ByTarget {
    first: Vec<u32>,
    edges: Vec<u32>,
}

impl ByTarget {
    fn new(raw: &Raw) -> Self {
        let mut first = vec![0_u32; raw.nodes.len() + 1];
        for edge in &raw.edges {
            if let Some(count) = first.get_mut(edge.to as usize + 1) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for count in &mut first {
            sum += *count;
            *count = sum;
        }
        let mut next = first.clone();
        let mut edges = vec![0_u32; raw.edges.len()];
        for (place, edge) in raw.edges.iter().enumerate() {
            if let Some(at) = next.get_mut(edge.to as usize) {
                if let Some(slot) = edges.get_mut(*at as usize) {
                    *slot = place as u32;
                }
                *at += 1;
            }
        }
        Self { first, edges }
    }

    fn of(&self, node: u32) -> &[u32] {
        let at = |i: usize| self.first.get(i).copied().unwrap_or_default() as usize;
        self.edges.get(at(node as usize)..at(node as usize + 1)).unwrap_or_default()
    }
}

/// Builds the columns. Gives the graph and for each handle its node.
pub(crate) fn assemble(mut raw: Raw, options: GraphOptions) -> (Graph, Vec<NodeId>) {
    let mut report = [EdgeReport::default(); EdgeKind::COUNT];
    settle_contradictions(&mut raw, &mut report);
    let by_target = ByTarget::new(&raw);
    let (order, dropped) = order(&raw, &by_target);
    for &place in &dropped {
        if let Some(edge) = raw.edges.get(place as usize)
            && let Some(entry) = report.get_mut(EdgeKind::of_label(edge.label) as usize)
        {
            entry.circular += 1;
        }
    }
    let mut new_id = vec![NodeId(0); order.len()];
    for (place, &old) in order.iter().enumerate() {
        if let Some(slot) = new_id.get_mut(old as usize) {
            *slot = NodeId(place as u32);
        }
    }
    let column = |of: fn(&RawNode) -> i64| -> Vec<i64> {
        order.par_iter().map(|&old| raw.nodes.get(old as usize).map(of).unwrap_or_default()).collect()
    };
    let mut graph = Graph {
        start: column(|node| node.start),
        dur: column(|node| node.dur),
        residual: vec![0; order.len()],
        event: order.par_iter().map(|&old| raw.nodes.get(old as usize).map_or(super::NONE, |n| n.event)).collect(),
        place: order.par_iter().map(|&old| raw.nodes.get(old as usize).map_or(super::NONE, |n| n.place)).collect(),
        kind: order.par_iter().map(|&old| raw.nodes.get(old as usize).map_or(NodeKind::Host, |n| n.kind)).collect(),
        first_edge: Vec::with_capacity(order.len() + 1),
        source: Vec::with_capacity(raw.edges.len()),
        lag: Vec::with_capacity(raw.edges.len()),
        label: Vec::with_capacity(raw.edges.len()),
        places: std::mem::take(&mut raw.places),
        options,
        ..Graph::default()
    };
    for &old in &order {
        graph.first_edge.push(graph.source.len() as u32);
        for &place in by_target.of(old) {
            let Some(edge) = raw.edges.get(place as usize) else { continue };
            if edge.lag == DROPPED || (!dropped.is_empty() && dropped.binary_search(&place).is_ok()) {
                continue;
            }
            let from = new_id.get((edge.source >> 1) as usize).copied().unwrap_or(NodeId(0));
            graph.source.push((from.0 << 1) | (edge.source & 1));
            graph.lag.push(edge.lag);
            graph.label.push(edge.label);
            if let Some(entry) = report.get_mut(EdgeKind::of_label(edge.label) as usize) {
                entry.edges += 1;
                match Evidence::of_label(edge.label) {
                    Evidence::Exact => entry.exact += 1,
                    Evidence::Inferred => entry.inferred += 1,
                    Evidence::Assumed => {}
                }
            }
        }
    }
    graph.first_edge.push(graph.source.len() as u32);
    graph.report = report;
    settle_residuals(&mut graph);
    (graph, new_id)
}

/// Lag of an edge that is no more.
pub(crate) const DROPPED: i32 = i32::MIN;

/// Takes back what the measured times contradict: an inferred edge was wrong; an exact one keeps the measured, negative
/// lag, since it is the clocks that disagree.
fn settle_contradictions(raw: &mut Raw, report: &mut [EdgeReport]) {
    for place in 0..raw.edges.len() {
        let Some(&edge) = raw.edges.get(place) else { break };
        let (Some(from), Some(to)) = (raw.point_time(edge.source), raw.nodes.get(edge.to as usize)) else { continue };
        let source_is_virtual = raw.nodes.get((edge.source >> 1) as usize).is_some_and(|node| node.kind.is_virtual());
        let between = to.start.saturating_sub(from);
        // A negative lag says that the overlap is known.
        let least = i64::from(edge.lag).min(0);
        if between >= least - TOLERANCE_NS || to.kind.is_virtual() || source_is_virtual {
            continue;
        }
        if let Some(entry) = report.get_mut(EdgeKind::of_label(edge.label) as usize) {
            entry.contradicted += 1;
        }
        let lag = match Evidence::of_label(edge.label) {
            Evidence::Exact => between.max(i64::from(i32::MIN + 1)) as i32,
            Evidence::Inferred | Evidence::Assumed => DROPPED,
        };
        if let Some(edge) = raw.edges.get_mut(place) {
            edge.lag = lag;
        }
    }
}

/// The order of measured starts, but each node after the sources of its edges. Also the edges that close a circle.
fn order(raw: &Raw, by_target: &ByTarget) -> (Vec<u32>, Vec<u32>) {
    let mut by_start: Vec<(i64, u32)> =
        raw.nodes.par_iter().enumerate().map(|(handle, node)| (node.start, handle as u32)).collect();
    by_start.par_sort_unstable();
    const NEW: u8 = 0;
    const OPEN: u8 = 1;
    const DONE: u8 = 2;
    let mut state = vec![NEW; raw.nodes.len()];
    let mut order: Vec<u32> = Vec::with_capacity(raw.nodes.len());
    let mut dropped: Vec<u32> = Vec::new();
    // (node, how many of its edges were looked at)
    let mut stack: Vec<(u32, u32)> = Vec::new();
    for &(_, root) in &by_start {
        if state.get(root as usize) != Some(&NEW) {
            continue;
        }
        stack.push((root, 0));
        while let Some((node, seen)) = stack.last_mut() {
            let node = *node;
            if let Some(state) = state.get_mut(node as usize) {
                *state = OPEN;
            }
            let edges = by_target.of(node);
            let mut descend = None;
            while let Some(&place) = edges.get(*seen as usize) {
                *seen += 1;
                let Some(edge) = raw.edges.get(place as usize).filter(|edge| edge.lag != DROPPED) else { continue };
                let from = edge.source >> 1;
                match state.get(from as usize) {
                    Some(&NEW) => {
                        descend = Some(from);
                        break;
                    }
                    Some(&OPEN) => dropped.push(place),
                    _ => {}
                }
            }
            match descend {
                Some(from) => stack.push((from, 0)),
                None => {
                    if let Some(state) = state.get_mut(node as usize) {
                        *state = DONE;
                    }
                    order.push(node);
                    stack.pop();
                }
            }
        }
    }
    dropped.sort_unstable();
    (order, dropped)
}

/// Sets the start of nodes that were not measured, and every residual.
fn settle_residuals(graph: &mut Graph) {
    graph.origin =
        graph.start.iter().zip(&graph.kind).filter(|(_, kind)| !kind.is_virtual()).map(|(s, _)| *s).min().unwrap_or(0);
    for v in 0..graph.start.len() {
        let at = |i: usize| graph.first_edge.get(i).copied().unwrap_or_default() as usize;
        let mut ready = i64::MIN;
        for e in at(v)..at(v + 1) {
            let (Some(&source), Some(&lag)) = (graph.source.get(e), graph.lag.get(e)) else { continue };
            let u = (source >> 1) as usize;
            let mut time = graph.start.get(u).copied().unwrap_or_default();
            if source & 1 == 1 {
                time = time.saturating_add(graph.dur.get(u).copied().unwrap_or_default());
            }
            ready = ready.max(time.saturating_add(i64::from(lag)));
        }
        if ready == i64::MIN {
            ready = graph.origin;
        } else if graph.kind.get(v).is_some_and(|kind| kind.is_virtual())
            && let Some(start) = graph.start.get_mut(v)
        {
            *start = ready;
        }
        let start = graph.start.get(v).copied().unwrap_or_default();
        if let Some(residual) = graph.residual.get_mut(v) {
            *residual = start.saturating_sub(ready);
        }
    }
}
