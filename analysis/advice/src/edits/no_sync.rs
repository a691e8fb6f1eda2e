//! Gradients are reduced once for all micro-batches of a step.

use std::collections::BTreeMap;

use gapless_analysis::graph::{EdgeKind, NodeId, NodeKind};
use gapless_analysis::replay::Draft;
use rustc_hash::FxHashSet;

use super::{Basis, Effect, Outlook, Parameter, Refusal, Transformation};
use crate::spec::Edit;
use crate::study::Study;

/// Of the collectives of a step only those of the last micro-batch stay: `no-sync(micro-batches=4,comm=all_reduce)`.
#[derive(Debug)]
pub(super) struct NoSync;

impl Transformation for NoSync {
    fn id(&self) -> &'static str {
        "no-sync"
    }

    fn title(&self) -> &'static str {
        "Gradients are reduced in the last micro-batch only"
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[Parameter { name: "micro-batches", help: "how often each step reduces the same gradients (needed)" }]
    }

    fn basis(&self) -> Basis {
        Basis::Replay
    }

    fn apply(
        &self,
        edit: &Edit,
        study: &Study<'_>,
        draft: &mut Draft<'_>,
        outlook: Outlook,
    ) -> Result<Effect, Refusal> {
        let times = edit.number_or("micro-batches", 0.0);
        if !(2.0..1e6).contains(&times) {
            return Err(Refusal::new("say how many micro-batches a step has: no-sync(micro-batches=4)"));
        }
        let times = times.round() as usize;
        let graph = study.graph();
        let facts = study.facts();
        let mut by_call: BTreeMap<(Option<usize>, u32, u32, gapless_analysis::CollectiveKind), Vec<NodeId>> =
            BTreeMap::new();
        for id in study.nodes_of(NodeKind::Transfer) {
            let Some(instance) = facts.instance(id).and_then(|place| study.collectives().get(place)) else { continue };
            let Some(rank) = study.rank(id) else { continue };
            if edit.selector().is_empty() || edit.selector().fits(study, id) {
                by_call.entry((facts.step(id), rank.0, instance.communicator, instance.kind)).or_default().push(id);
            }
        }
        let mut touched = Vec::new();
        let mut events = FxHashSet::default();
        for calls in by_call.values().filter(|calls| calls.len() % times == 0) {
            for &id in calls.iter().take(calls.len() - calls.len() / times) {
                leave(study, draft, id, outlook);
                events.extend(graph.node(id).event);
                touched.push(id);
            }
        }
        for id in graph.node_ids() {
            let node = graph.node(id);
            if !node.event.is_some_and(|event| events.contains(&event)) {
                continue;
            }
            match node.kind {
                NodeKind::EstimatedWait => draft.set_duration(id, 0),
                NodeKind::Arrival => draft.bypass(id),
                _ => {}
            }
        }
        if touched.is_empty() {
            return Err(Refusal::new(format!("no step has {times} times the same collectives")));
        }
        let assumptions = vec!["Gradients add up in place between micro-batches.".to_owned()];
        Ok(Effect { touched, assumptions, ..Effect::default() })
    }
}

/// Takes a rank's part in a collective away: it waits for nobody and moves nothing.
fn leave(study: &Study<'_>, draft: &mut Draft<'_>, transfer: NodeId, outlook: Outlook) {
    let graph = study.graph();
    for edge in graph.edges_to(transfer) {
        if edge.kind == EdgeKind::Transfer && graph.node(edge.from).kind == NodeKind::Meeting {
            draft.set_lag(edge.index, None);
        }
    }
    super::scale::remove_work(study, draft, transfer, outlook);
}
