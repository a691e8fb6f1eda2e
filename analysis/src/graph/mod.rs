//! The execution graph of all ranks: what waited for what.
//!
//! A *node* is a stretch of time on a thread, a stream or nowhere (the meeting point of a collective). It begins as soon
//! as all its edges allow, and ends its duration later:
//!
//! ```text
//! start(v) = delay(v) + max over edges (u → v) of (start or end of u) + lag
//! end(v)   = start(v) + dur(v)
//! ```
//!
//! A node has one free time only. What ends later than it lasts is therefore two nodes: a blocking call is its own cost
//! and a *return* without duration that waits for the device; a communication kernel is an *arrival* and a *transfer*
//! that begins when all ranks have arrived.
//!
//! `delay` is the residual: the measured start less what the edges explain. With all residuals the replay is the trace
//! itself, to the nanosecond. A residual of at least [`GraphOptions::device_limit_ns`] (device) or
//! [`GraphOptions::host_limit_ns`] (host) is *unexplained time*: it stays in every prediction and in the report.
//!
//! Nodes are numbered so that every edge leads from a lower to a higher number; the order is that of measured starts
//! wherever the edges allow. One pass over the columns is a replay.
//!
//! A node costs 38 bytes, an edge 9.

mod anchors;
mod api;
mod assemble;
mod build;
mod collective;
mod constants;
mod device;
mod handoff;
mod infer;
mod kinds;
mod more;
mod rank;
mod sync;

pub use build::GraphInput;
pub use constants::{ApiLatency, DeviceConstants, RankConstants};
pub use kinds::{EdgeKind, Evidence, NodeKind};
pub use more::FurtherEdge;

use gapless_trace::{EventId, RankId, TrackId};
use serde::Serialize;

/// A node of a [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct NodeId(pub u32);

impl NodeId {
    /// As an index into the columns.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What to build a graph by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphOptions {
    /// From this length in ns on, a delay of device work that no edge explains is kept as unexplained.
    ///
    /// 15 µs: above the jitter of launches on CUDA devices (2–10 µs), below what a missing dependency costs.
    pub device_limit_ns: i64,
    /// The same for returns of blocking calls on the host.
    pub host_limit_ns: i64,
    /// Latencies are learnt from every second step only, so that the others can judge them.
    pub learn_from_odd_steps: bool,
    /// Edges between streams are inferred from times where the recording has no synchronisation rows.
    pub infer_waits: bool,
    /// Two threads hand work over if this share of the pauses of one, in percent, looks like it. Above 100: never.
    pub hand_off_percent: u32,
}

impl Default for GraphOptions {
    fn default() -> Self {
        Self {
            device_limit_ns: 15_000,
            host_limit_ns: 5_000,
            learn_from_odd_steps: false,
            infer_waits: true,
            hand_off_percent: 80,
        }
    }
}

/// Which point of its source an edge leaves from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    /// Its start.
    Start,
    /// Its end.
    End,
}

/// An edge: its target begins no sooner than `lag_ns` after the point of its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Its place in the columns.
    pub index: u32,
    /// Where it leaves from.
    pub from: NodeId,
    /// At which end of `from`.
    pub point: Point,
    /// The least time between, in ns; may be negative where the recording shows an overlap.
    pub lag_ns: i64,
    /// Why it is there.
    pub kind: EdgeKind,
    /// How sure that is.
    pub evidence: Evidence,
}

/// Where a node happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The rank.
    pub rank: RankId,
    /// The thread or stream.
    pub track: TrackId,
    /// Whether it is a stream of a device.
    pub is_device: bool,
}

/// One node, copied out of the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its place in the columns.
    pub id: NodeId,
    /// What it is.
    pub kind: NodeKind,
    /// Its measured start, in ns on the common clock.
    pub start_ns: i64,
    /// Its duration, in ns.
    pub dur_ns: i64,
    /// Measured start less what its edges explain, in ns.
    pub residual_ns: i64,
    /// The event that it is, or the call, mark or kernel that it belongs to.
    pub event: Option<EventId>,
    /// Where it happens; `None` for the meeting point of a collective.
    pub place: Option<Place>,
}

impl Node {
    /// Its measured end, in ns.
    #[must_use]
    pub const fn end_ns(&self) -> i64 {
        self.start_ns.saturating_add(self.dur_ns)
    }
}

/// One step over all ranks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphStep {
    /// Its name in the trace.
    pub name: String,
    /// The number in its name, where there is one.
    pub number: Option<u64>,
    /// The earliest mark of any rank, in ns.
    pub mark_start_ns: i64,
    /// The latest end of a mark of any rank, in ns.
    pub mark_end_ns: i64,
    /// Nodes of the marks that begin it.
    pub begins: Vec<NodeId>,
    /// Nodes of which the last to end completes the step: the end marks, and on each stream the last work that was
    /// launched in it.
    pub ends: Vec<NodeId>,
}

/// What building found odd, by kind of edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EdgeReport {
    /// Edges of this kind.
    pub edges: u64,
    /// Those known for certain.
    pub exact: u64,
    /// Those inferred from times and names.
    pub inferred: u64,
    /// Those that the times of the recording contradict by more than 2 µs. Inferred ones were dropped; exact ones stay
    /// with the measured, negative lag.
    pub contradicted: u64,
    /// Those dropped since they closed a circle.
    pub circular: u64,
}

/// The execution graph. Immutable.
///
/// Invariants: all node columns have one length; every edge leads from a lower to a higher number; with every residual
/// as delay a pass gives every measured start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    pub(crate) start: Vec<i64>,
    pub(crate) dur: Vec<i64>,
    pub(crate) residual: Vec<i64>,
    pub(crate) event: Vec<u32>,
    pub(crate) place: Vec<u32>,
    pub(crate) kind: Vec<NodeKind>,
    /// For each node where its edges begin; one more entry than nodes.
    pub(crate) first_edge: Vec<u32>,
    /// Source of each edge; the lowest bit says that it leaves from the end.
    pub(crate) source: Vec<u32>,
    pub(crate) lag: Vec<i32>,
    /// Kind in the low six bits, evidence in the high two.
    pub(crate) label: Vec<u8>,
    pub(crate) places: Vec<Place>,
    pub(crate) steps: Vec<GraphStep>,
    pub(crate) constants: Vec<RankConstants>,
    pub(crate) report: [EdgeReport; EdgeKind::COUNT],
    pub(crate) options: GraphOptions,
    pub(crate) origin: i64,
}

/// No event or place in the columns.
pub(crate) const NONE: u32 = u32::MAX;

impl Graph {
    /// Number of nodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.start.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start.is_empty()
    }

    /// Number of edges.
    #[must_use]
    pub fn edge_count(&self) -> usize {
        self.source.len()
    }

    /// All nodes in order.
    pub fn node_ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + ExactSizeIterator + use<> {
        (0..self.start.len() as u32).map(NodeId)
    }

    /// One node. An id out of range gives an empty host node.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Node {
        let i = id.index();
        let time = |column: &[i64]| column.get(i).copied().unwrap_or_default();
        Node {
            id,
            kind: self.kind.get(i).copied().unwrap_or(NodeKind::Host),
            start_ns: time(&self.start),
            dur_ns: time(&self.dur),
            residual_ns: time(&self.residual),
            event: self.event.get(i).copied().filter(|&event| event != NONE).map(EventId),
            place: self.place.get(i).and_then(|&place| self.places.get(place as usize)).copied(),
        }
    }

    /// The edges that lead to a node.
    pub fn edges_to(&self, id: NodeId) -> impl ExactSizeIterator<Item = Edge> + '_ {
        let at = |i: usize| self.first_edge.get(i).copied().unwrap_or_default() as usize;
        (at(id.index())..at(id.index() + 1)).map(|index| self.edge(index as u32))
    }

    /// One edge by its place in the columns.
    #[must_use]
    pub fn edge(&self, index: u32) -> Edge {
        let i = index as usize;
        let source = self.source.get(i).copied().unwrap_or_default();
        let label = self.label.get(i).copied().unwrap_or_default();
        Edge {
            index,
            from: NodeId(source >> 1),
            point: if source & 1 == 1 { Point::End } else { Point::Start },
            lag_ns: i64::from(self.lag.get(i).copied().unwrap_or_default()),
            kind: EdgeKind::of_label(label),
            evidence: Evidence::of_label(label),
        }
    }

    /// Measured time of the point that an edge leaves from, in ns.
    #[must_use]
    pub fn source_time_ns(&self, edge: &Edge) -> i64 {
        let node = self.node(edge.from);
        if edge.point == Point::End { node.end_ns() } else { node.start_ns }
    }

    /// The delay of a node that no edge explains and that is too long for noise, in ns; 0 if there is none.
    #[must_use]
    pub fn unexplained_ns(&self, id: NodeId) -> i64 {
        let i = id.index();
        let residual = self.residual.get(i).copied().unwrap_or_default();
        let kind = self.kind.get(i).copied().unwrap_or(NodeKind::Host);
        let has_edges = self.first_edge.get(i) != self.first_edge.get(i + 1);
        if has_edges && residual >= self.limit(kind) { residual } else { 0 }
    }

    /// From which length on a residual of this kind of node is unexplained.
    pub(crate) const fn limit(&self, kind: NodeKind) -> i64 {
        if kind.is_device() { self.options.device_limit_ns } else { self.options.host_limit_ns }
    }

    /// Steps, by time; empty if the trace has none.
    #[must_use]
    pub fn steps(&self) -> &[GraphStep] {
        &self.steps
    }

    /// Threads and streams with nodes.
    #[must_use]
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Latencies of each rank, in the order of the trace's ranks.
    #[must_use]
    pub fn constants(&self) -> &[RankConstants] {
        &self.constants
    }

    /// What building found, by kind of edge.
    pub fn reports(&self) -> impl Iterator<Item = (EdgeKind, EdgeReport)> + '_ {
        EdgeKind::ALL.into_iter().zip(self.report)
    }

    /// The least measured start, in ns; sources wait from here on.
    #[must_use]
    pub const fn origin_ns(&self) -> i64 {
        self.origin
    }

    /// The greatest measured end, in ns.
    #[must_use]
    pub fn end_ns(&self) -> i64 {
        self.start.iter().zip(&self.dur).map(|(start, dur)| start.saturating_add(*dur)).max().unwrap_or(self.origin)
    }

    /// The options it was built by.
    #[must_use]
    pub const fn options(&self) -> &GraphOptions {
        &self.options
    }

    /// Bytes of the columns.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let nodes = self.start.capacity() + self.dur.capacity() + self.residual.capacity();
        let words = self.event.capacity() + self.place.capacity() + self.first_edge.capacity();
        nodes * 8
            + words * 4
            + self.kind.capacity()
            + (self.source.capacity() + self.lag.capacity()) * 4
            + self.label.capacity()
    }
}

/// Columns of a graph that is built by hand: for tests of the replay against another solver.
#[derive(Clone, Debug, Default)]
pub struct GraphBuilder {
    graph: assemble::Raw,
}

impl GraphBuilder {
    /// An empty graph.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node that was measured to start at `start_ns`, on a place of its own kind. Gives its handle.
    pub fn node(&mut self, kind: NodeKind, start_ns: i64, dur_ns: i64, place: Option<u32>) -> u32 {
        self.graph.node(assemble::RawNode {
            start: start_ns,
            dur: dur_ns,
            event: NONE,
            place: place.unwrap_or(NONE),
            kind,
        })
    }

    /// Adds an edge between two handles.
    pub fn edge(&mut self, from: (u32, Point), to: u32, lag_ns: i64, kind: EdgeKind, evidence: Evidence) {
        self.graph.edge(from.0, from.1, to, lag_ns, kind, evidence);
    }

    /// Adds a place and gives its number.
    pub fn place(&mut self, place: Place) -> u32 {
        self.graph.places.push(place);
        self.graph.places.len() as u32 - 1
    }

    /// The graph, and for each handle its node.
    #[must_use]
    pub fn build(self, options: GraphOptions) -> (Graph, Vec<NodeId>) {
        assemble::assemble(self.graph, options)
    }
}
