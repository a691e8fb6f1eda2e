//! What several transformations need to know of a node's place in its stream and of who follows it.

use gapless_analysis::graph::{Edge, EdgeKind, NodeId, NodeKind};
use gapless_analysis::replay::Draft;
use gapless_trace::TrackId;

use crate::study::Study;

/// The edge by which a node follows the one before it in its stream, if it still holds.
pub(super) fn stream_edge(study: &Study<'_>, draft: &Draft<'_>, node: NodeId) -> Option<Edge> {
    study
        .graph()
        .edges_to(node)
        .filter(|edge| matches!(edge.kind, EdgeKind::StreamOrder | EdgeKind::GraphOrder))
        .filter(|edge| draft.lag_ns(edge.index).is_some())
        .max_by_key(|edge| study.graph().source_time_ns(edge).saturating_add(edge.lag_ns))
}

/// The edge from the launch of a node, if it still holds.
pub(super) fn launch_edge(study: &Study<'_>, draft: &Draft<'_>, node: NodeId) -> Option<Edge> {
    let mut edges = study.graph().edges_to(node);
    edges.find(|edge| edge.kind == EdgeKind::Launch && draft.lag_ns(edge.index).is_some())
}

/// For each node whether anything but the next of its stream waits for it: an event, a return, another stream.
pub(super) fn has_other_followers(study: &Study<'_>) -> Vec<bool> {
    let graph = study.graph();
    let mut found = vec![false; graph.len()];
    for id in graph.node_ids() {
        for edge in graph.edges_to(id) {
            let in_order = matches!(edge.kind, EdgeKind::StreamOrder | EdgeKind::GraphOrder);
            if !in_order && let Some(slot) = found.get_mut(edge.from.index()) {
                *slot = true;
            }
        }
    }
    found
}

/// The track of a node.
pub(super) fn track(study: &Study<'_>, node: NodeId) -> Option<TrackId> {
    study.graph().node(node).place.map(|place| place.track)
}

/// Whether device work was launched by the backward pass: by an operator of the engine, or inside of one.
pub(super) fn is_backward(study: &Study<'_>, node: NodeId) -> bool {
    let Some(operator) = study.facts().operator(node) else { return false };
    let says = |name: &str| {
        name.starts_with("autograd::engine")
            || name.ends_with("Backward")
            || name.contains("Backward0")
            || name.contains("backward")
    };
    says(study.trace().name(operator)) || study.around(operator).any(says)
}

/// Whether device work was launched by the optimizer: its class, or an annotation around its operator.
pub(crate) fn is_optimizer(study: &Study<'_>, node: NodeId) -> bool {
    if study.facts().class(node) == gapless_analysis::KernelClass::Optimizer {
        return true;
    }
    let launch = study.facts().launch(node).and_then(|launch| study.graph().node(launch).event);
    launch.is_some_and(|call| {
        study.around(call).any(|name| name.starts_with("Optimizer.step#") || name.contains("optimizer.step"))
    })
}

/// Takes a node out of its stream's order: what follows it there follows what came before it.
///
/// `next` is the next node of the stream, if there is one. Gives the edge by which the node followed.
pub(super) fn unhook(study: &Study<'_>, draft: &mut Draft<'_>, node: NodeId, next: Option<NodeId>) -> Option<Edge> {
    let before = stream_edge(study, draft, node);
    if let Some(edge) = before {
        draft.set_lag(edge.index, None);
    }
    if let Some(next) = next {
        let follows: Vec<Edge> = study
            .graph()
            .edges_to(next)
            .filter(|edge| edge.from == node && matches!(edge.kind, EdgeKind::StreamOrder | EdgeKind::GraphOrder))
            .collect();
        for edge in follows {
            if let (Some(lag), Some(before)) = (draft.lag_ns(edge.index), before) {
                draft.link(before.from, before.point, next, lag.max(0));
            }
            draft.set_lag(edge.index, None);
        }
    }
    before
}

/// Others that waited for a moved node (returns, events, markers) waited for all before it in its stream; now that is said.
///
/// `moved`: each moved node with the one that it followed in its old stream, sorted by node.
pub(super) fn keep_followers(study: &Study<'_>, draft: &mut Draft<'_>, moved: &[(NodeId, NodeId)]) {
    let graph = study.graph();
    let before = |mut id: NodeId| {
        while let Ok(place) = moved.binary_search_by_key(&id, |entry| entry.0) {
            match moved.get(place) {
                Some(&(_, earlier)) => id = earlier,
                None => break,
            }
        }
        id
    };
    for id in graph.node_ids() {
        for edge in graph.edges_to(id) {
            let waits = matches!(edge.kind, EdgeKind::SyncReturn | EdgeKind::EventWait | EdgeKind::QueueFull)
                || (edge.kind == EdgeKind::StreamOrder && graph.node(id).kind.is_virtual());
            if waits
                && moved.binary_search_by_key(&edge.from, |entry| entry.0).is_ok()
                && let Some(lag) = draft.lag_ns(edge.index)
            {
                draft.link(before(edge.from), edge.point, id, lag);
            }
        }
    }
}

/// Arrivals with their transfers, by stream, in order. A transfer of one rank's estimate counts too.
pub(super) fn transfers(study: &Study<'_>) -> Vec<NodeId> {
    study.nodes_of(NodeKind::Transfer).collect()
}

/// The node where the collective of a transfer arrives.
pub(super) fn arrival_of(study: &Study<'_>, transfer: NodeId) -> Option<NodeId> {
    let graph = study.graph();
    let event = graph.node(transfer).event;
    let mut at = transfer;
    // A transfer follows its arrival directly, or after an estimated wait.
    for _ in 0..2 {
        let before = graph
            .edges_to(at)
            .map(|edge| edge.from)
            .find(|&from| graph.node(from).event == event && graph.node(from).place.is_some());
        at = before?;
        if graph.node(at).kind == NodeKind::Arrival {
            return Some(at);
        }
    }
    None
}
