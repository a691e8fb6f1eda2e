//! Activation checkpointing, off or on.

use std::collections::BTreeMap;

use gapless_analysis::graph::{NodeId, NodeKind, Point};
use gapless_analysis::replay::Draft;

use super::common::{is_backward, is_optimizer, stream_edge, track};
use super::scale::remove_with_share;
use super::{Basis, Effect, Guard, Outlook, Parameter, Refusal, Transformation};
use crate::spec::Edit;
use crate::study::Study;

/// Forward work that is not done again in the backward pass: `no-recompute`.
#[derive(Debug)]
pub(super) struct NoRecompute;

impl Transformation for NoRecompute {
    fn id(&self) -> &'static str {
        "no-recompute"
    }

    fn title(&self) -> &'static str {
        "Activations are kept, not computed again"
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
        let touched: Vec<NodeId> = recomputed(study)
            .into_iter()
            .filter(|&id| edit.selector().is_empty() || edit.selector().fits(study, id))
            .collect();
        if touched.is_empty() {
            return Err(Refusal::new(
                "the backward pass computes nothing again (no CheckpointFunctionBackward, no recompute_fn)",
            ));
        }
        for &id in &touched {
            remove_with_share(study, draft, id, outlook.pick(1.0, 0.9, 0.5));
        }
        Ok(Effect {
            touched,
            guards: vec![Guard {
                holds: true,
                text: "The recording does not say whether memory suffices: check its peak.".to_owned(),
            }],
            assumptions: vec!["There is memory for the activations.".to_owned()],
            ..Effect::default()
        })
    }
}

/// Device work of forward operators that the backward pass runs again.
///
/// Reentrant checkpointing runs them directly inside `CheckpointFunctionBackward`, the other kind inside a Python frame
/// `recompute_fn` or `unpack_hook` of `checkpoint.py`.
#[must_use]
pub fn recomputed(study: &Study<'_>) -> Vec<NodeId> {
    let mut found = Vec::new();
    for id in study.graph().node_ids() {
        let kind = study.graph().node(id).kind;
        if !matches!(kind, NodeKind::Kernel | NodeKind::Copy | NodeKind::Fill) {
            continue;
        }
        let Some(operator) = study.facts().operator(id) else { continue };
        let mut is_recomputed = false;
        for name in std::iter::once(study.trace().name(operator)).chain(study.around(operator)) {
            if name.contains("CheckpointFunctionBackward")
                || name.contains("checkpoint.py") && name.contains("recompute_fn")
            {
                is_recomputed = true;
                break;
            }
            // A function of the engine in between: this is the backward pass proper.
            if name.starts_with("autograd::engine::evaluate_function")
                || name.ends_with("Backward")
                || name.ends_with("Backward0")
            {
                break;
            }
        }
        if is_recomputed {
            found.push(id);
        }
    }
    found
}

/// The forward pass is computed again before the backward pass: `checkpoint`, `checkpoint(share=0.5)`.
#[derive(Debug)]
pub(super) struct Checkpoint;

impl Transformation for Checkpoint {
    fn id(&self) -> &'static str {
        "checkpoint"
    }

    fn title(&self) -> &'static str {
        "Activations are computed again, to save memory"
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[Parameter { name: "share", help: "share of the forward pass that is computed again (1)" }]
    }

    fn basis(&self) -> Basis {
        Basis::ReplayAndModel
    }

    fn apply(
        &self,
        edit: &Edit,
        study: &Study<'_>,
        draft: &mut Draft<'_>,
        outlook: Outlook,
    ) -> Result<Effect, Refusal> {
        let graph = study.graph();
        let share = edit.number_or("share", 1.0).clamp(0.0, 1.0);
        // By stream and step: forward time, and the first kernel of the backward pass.
        let mut forward: BTreeMap<(gapless_trace::TrackId, Option<usize>), (i64, Option<NodeId>)> = BTreeMap::new();
        let mut kernels: Vec<NodeId> = study.nodes_of(NodeKind::Kernel).collect();
        kernels.sort_by_key(|&id| (graph.node(id).start_ns, id));
        for id in kernels {
            let Some(track) = track(study, id) else { continue };
            let entry = forward.entry((track, study.facts().step(id))).or_default();
            if is_backward(study, id) {
                entry.1 = entry.1.or(Some(id));
            } else if entry.1.is_none() && !is_optimizer(study, id) {
                entry.0 += draft.duration_ns(id);
            }
        }
        let mut touched = Vec::new();
        for (sum, first) in forward.into_values() {
            let Some(first) = first.filter(|_| sum > 0) else { continue };
            // One piece before the first backward kernel: where exactly it runs does not matter on one stream.
            let again = draft.add((sum as f64 * share * outlook.pick(0.9, 1.0, 1.1)).round() as i64);
            if let Some(edge) = stream_edge(study, draft, first) {
                draft.link(edge.from, edge.point, again, edge.lag_ns.max(0));
            }
            draft.link(again, Point::End, first, 0);
            touched.push(first);
        }
        if touched.is_empty() {
            return Err(Refusal::new("no backward pass follows a forward pass on a stream"));
        }
        Ok(Effect {
            touched,
            assumptions: vec![
                "Its launches are early enough to hide: the device is busy with the backward pass.".to_owned(),
            ],
            ..Effect::default()
        })
    }
}
