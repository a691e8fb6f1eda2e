//! Backwards along binding predecessors.

use gapless_trace::RankId;

use super::category::{Category, PathPartition};
use crate::graph::{Edge, Evidence, Graph, NodeId, Point};

/// A stretch of a critical path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its start, in ns on the common clock.
    pub start_ns: i64,
    /// Its end, in ns.
    pub end_ns: i64,
    /// What kind of time it is.
    pub category: Category,
    /// The node whose time it is, or to which the latency leads.
    pub node: NodeId,
    /// The edge along which it passes; `None` for the time of the node itself.
    pub edge: Option<u32>,
    /// The rank; `None` where it is between ranks.
    pub rank: Option<RankId>,
}

impl Segment {
    /// Its length, in ns.
    #[must_use]
    pub const fn duration_ns(&self) -> i64 {
        self.end_ns.saturating_sub(self.start_ns)
    }
}

/// A critical path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CriticalPath {
    /// Start of its window, in ns on the common clock.
    pub start_ns: i64,
    /// Its end, in ns.
    pub end_ns: i64,
    /// The node that ends it; `None` if the graph is empty.
    pub last: Option<NodeId>,
    /// Its segments by time; each begins where the one before ends.
    pub segments: Vec<Segment>,
    /// Its time by category.
    pub partition: PathPartition,
    /// Nodes that it passes, ascending; also those without time on it.
    pub nodes: Vec<NodeId>,
}

impl CriticalPath {
    /// Its length, in ns.
    #[must_use]
    pub const fn duration_ns(&self) -> i64 {
        self.end_ns.saturating_sub(self.start_ns)
    }

    /// Time by rank, by rank; time between ranks is the rank's to which it leads.
    #[must_use]
    pub fn by_rank(&self) -> Vec<(Option<RankId>, i64)> {
        let mut times = std::collections::BTreeMap::new();
        for segment in &self.segments {
            *times.entry(segment.rank).or_insert(0) += segment.duration_ns();
        }
        times.into_iter().collect()
    }

    /// How often it goes from one rank to another.
    #[must_use]
    pub fn rank_changes(&self) -> usize {
        let ranks: Vec<_> = self.segments.iter().filter_map(|segment| segment.rank).collect();
        ranks.windows(2).filter(|pair| pair.first() != pair.last()).count()
    }
}

/// The edge that was the last to be satisfied. Of several: device before host, exact before inferred, the node's own
/// thread or stream before others.
pub(super) fn binding(graph: &Graph, node: NodeId) -> Option<Edge> {
    let own = graph.place.get(node.index());
    graph.edges_to(node).max_by_key(|edge| {
        let at = graph.source_time_ns(edge).saturating_add(edge.lag_ns);
        let source = edge.from.index();
        let is_device = graph.kind.get(source).is_some_and(|kind| kind.is_device());
        let is_own = graph.place.get(source) == own;
        (at, is_device, edge.evidence == Evidence::Exact, is_own, edge.from)
    })
}

/// The critical path to the last of `ends`, back to `from_ns`.
#[must_use]
pub fn critical_path(graph: &Graph, ends: &[NodeId], from_ns: i64) -> CriticalPath {
    let last = ends.iter().copied().max_by_key(|&id| (graph.node(id).end_ns(), id));
    let end_ns = last.map_or(from_ns, |last| graph.node(last).end_ns());
    let mut path = CriticalPath {
        start_ns: from_ns.min(end_ns),
        end_ns,
        last,
        segments: Vec::new(),
        partition: PathPartition::default(),
        nodes: Vec::new(),
    };
    let mut walk = Walk { from: path.start_ns, at: end_ns, path: &mut path };
    let mut next = last.map(|last| (last, Point::End));
    while let Some((id, point)) = next.filter(|_| walk.at > walk.from) {
        let node = graph.node(id);
        let rank = node.place.map(|place| place.rank);
        walk.path.nodes.push(id);
        if point == Point::End {
            walk.back_to(node.start_ns, Category::of_node(node.kind), id, None, rank);
        }
        if walk.at <= walk.from {
            break;
        }
        let Some(edge) = binding(graph, id) else {
            walk.back_to(walk.from, Category::Outside, id, None, rank);
            break;
        };
        let source = graph.source_time_ns(&edge);
        let unexplained = graph.unexplained_ns(id);
        if unexplained > 0 {
            // The delay comes last: first the edge, then nothing for a while.
            let since = node.start_ns.saturating_sub(unexplained).max(source);
            walk.back_to(since, Category::Unexplained, id, Some(edge.index), rank);
        }
        let mut category = Category::of_edge(edge.kind);
        if edge.kind == crate::graph::EdgeKind::ThreadOrder && node.kind == crate::graph::NodeKind::Return {
            category = Category::BlockingCall;
        }
        walk.back_to(source, category, id, Some(edge.index), rank);
        next = Some((edge.from, edge.point));
    }
    path.segments.reverse();
    path.nodes.sort_unstable();
    path
}

struct Walk<'a> {
    from: i64,
    at: i64,
    path: &'a mut CriticalPath,
}

impl Walk<'_> {
    /// Everything from `to` up to where the walk is belongs to `category`.
    fn back_to(&mut self, to: i64, category: Category, node: NodeId, edge: Option<u32>, rank: Option<RankId>) {
        let to = to.max(self.from);
        if to >= self.at {
            return;
        }
        let segment = Segment { start_ns: to, end_ns: self.at, category, node, edge, rank };
        self.path.partition.add(category, segment.duration_ns());
        self.path.segments.push(segment);
        self.at = to;
    }
}
