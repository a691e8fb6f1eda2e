//! Waits that only one of two recordings shows.
//!
//! Where nothing tells what a stream waited for, it is inferred from times, and only where waiting took long enough to be
//! seen. A transfer that is short hides that somebody depends on it; in the other recording it is long, and shows. What
//! is known from one side holds for the program, so it is added to the graph of the other.

use gapless_analysis::graph::{Evidence, FurtherEdge, NodeId, Point};
use gapless_trace::StrId;
use rustc_hash::FxHashMap;

use crate::align::Alignment;
use crate::side::{NONE, Recording, Side};

/// Up to here measured times may be later than an edge allows.
const TOLERANCE_NS: i64 = 2_000;
/// Of the pairs of one kind this share, in percent, must be in order on the other side too.
const CONSISTENT_PERCENT: usize = 90;

/// Edges of `to` that `from` shows. `map`: for each node of `from` its counterpart.
fn shown(from: &Side<'_>, to: &Side<'_>, map: &[u32]) -> Vec<FurtherEdge> {
    let (graph, other) = (&from.recording.graph, &to.recording.graph);
    let counterpart = |id: NodeId| map.get(id.index()).copied().filter(|&other| other != NONE).map(NodeId);
    let name = |id: NodeId| graph.node(id).event.map_or(StrId::EMPTY, |event| from.trace().event(event).name);
    let mut by_kind: FxHashMap<(StrId, StrId), (usize, Vec<FurtherEdge>)> = FxHashMap::default();
    for id in graph.node_ids() {
        let Some(target) = counterpart(id) else { continue };
        for edge in graph.edges_to(id).filter(|edge| edge.evidence == Evidence::Inferred) {
            let Some(source) = counterpart(edge.from) else { continue };
            if graph.node(edge.from).kind.is_virtual() || other.edges_to(target).any(|known| known.from == source) {
                continue;
            }
            let begun = other.node(source);
            let point = if edge.point == Point::End { begun.end_ns() } else { begun.start_ns };
            let is_in_order =
                point.saturating_add(edge.lag_ns) <= other.node(target).start_ns.saturating_add(TOLERANCE_NS);
            let entry = by_kind.entry((name(edge.from), name(id))).or_default();
            entry.0 += 1;
            if is_in_order {
                let (point, lag_ns, kind) = (edge.point, edge.lag_ns, edge.kind);
                entry.1.push(FurtherEdge { from: source, point, to: target, lag_ns, kind });
            }
        }
    }
    let consistent = by_kind.into_values().filter(|(all, found)| found.len() * 100 >= all * CONSISTENT_PERCENT);
    let mut edges: Vec<FurtherEdge> = consistent.flat_map(|(_, found)| found).collect();
    edges.sort_by_key(|edge| (edge.to, edge.from));
    edges
}

/// Both recordings with what the other shows. `None` where that is nothing.
pub(crate) fn shared<'t>(
    base: (&Recording<'t>, &Side<'_>),
    new: (&Recording<'t>, &Side<'_>),
    aligned: &Alignment,
) -> (Option<Recording<'t>>, Option<Recording<'t>>) {
    let of_base = shown(new.1, base.1, &aligned.of_new);
    let of_new = shown(base.1, new.1, &aligned.of_base);
    let more = |recording: &Recording<'t>, edges: &[FurtherEdge]| {
        (!edges.is_empty()).then(|| recording.with_graph(recording.graph.with_edges(edges)))
    };
    (more(base.0, &of_base), more(new.0, &of_new))
}
