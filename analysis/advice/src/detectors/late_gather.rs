//! D11: parameters are gathered only when their layer needs them.

use gapless_analysis::CollectiveKind;
use gapless_analysis::graph::{EdgeKind, NodeId, NodeKind};
use gapless_analysis::interval::Interval;

use super::common::{each, longest_first, per_step, share, transfers_of};
use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::edits::Guard;
use crate::idle::binding;
use crate::scene::Scene;
use crate::text::{ms, percent};

/// All-gathers on the critical path that the host launched late, or that wait for kernels before them.
#[derive(Debug)]
pub(super) struct LateGather;

const CODE: &str = "FSDP(model, forward_prefetch=True, backward_prefetch=BackwardPrefetch.BACKWARD_PRE,\n     limit_all_gathers=True)\n# FSDP2: layer.set_modules_to_forward_prefetch([next_layer])";

impl Detector for LateGather {
    fn id(&self) -> &'static str {
        "late-gather"
    }

    fn title(&self) -> &'static str {
        "Parameters are gathered only when they are needed"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[
            Threshold {
                name: "share",
                default: 0.03,
                help: "share of the step that transfers of all-gathers take on the critical path",
            },
            Threshold { name: "late", default: 0.5, help: "share of them that began as soon as they were launched" },
        ]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let study = scene.study();
        let each = each(scene);
        let graph = study.graph();
        let gathers = transfers_of(study, &[CollectiveKind::AllGather]);
        let exposed: Vec<NodeId> = gathers
            .iter()
            .copied()
            .filter(|&id| {
                let node = graph.node(id);
                let own = Interval::new(node.start_ns, node.end_ns());
                let computing = node.place.and_then(|place| scene.idle().computing(place.rank));
                scene.path_ns(id) > 0
                    && computing.is_some_and(|computing| 2 * computing.clip(own).length() < own.length())
            })
            .collect();
        // Behind another collective the link is the limit, not the launch.
        let late: Vec<NodeId> = exposed.iter().copied().filter(|&id| is_late(scene, id)).collect();
        let lost: i64 = late.iter().map(|&id| scene.path_ns(id)).sum();
        let is_rule = late.len() as f64 >= threshold(scene, self, "late") * exposed.len() as f64;
        if late.len() < 2 || !is_rule || share(scene, lost) < threshold(scene, self, "share") {
            return Verdict::nothing();
        }
        Verdict::one(Finding {
            title: format!("All-gathers that begin too late hold up {each} for {}", ms(per_step(scene, lost))),
            paragraph: format!(
                "{} of {} all-gathers run while nothing computes, and the kernels behind them need their data: {} of {each} ({}). They begin as soon as they are launched, so the link is free before: launched one layer earlier \
                 they would run beside the kernels of the layer before.",
                late.len(),
                gathers.len(),
                ms(per_step(scene, lost)),
                percent(share(scene, lost)),
            ),
            fix: "Prefetch the parameters of the next unit, in the forward and in the backward pass; if memory does not allow \
                  it, shard within a host only (HSDP)."
                .to_owned(),
            code: CODE.to_owned(),
            references: vec![
                "https://docs.pytorch.org/docs/stable/fsdp.html".to_owned(),
                "https://docs.pytorch.org/docs/stable/distributed.fsdp.fully_shard.html".to_owned(),
            ],
            confidence: Some(Confidence::Medium),
            guards: vec![
                Guard { holds: true, text: "They do not queue behind other communication.".to_owned() },
                Guard {
                    holds: false,
                    text: "Not checked: memory must hold the parameters of one more unit.".to_owned(),
                },
            ],
            edits: vec!["overlap-comm.prefetch".to_owned()],
            evidence: scene.events_of(&longest_first(study, late.clone())),
            nodes: late,
            ..Finding::default()
        })
    }
}

/// Whether a gather began when it was launched, or when the kernels before it were done, not when the link was free.
fn is_late(scene: &Scene<'_, '_>, transfer: NodeId) -> bool {
    let study = scene.study();
    let graph = study.graph();
    let event = graph.node(transfer).event;
    let mut at = transfer;
    for _ in 0..3 {
        if graph.node(at).kind == NodeKind::Arrival {
            break;
        }
        let before = graph.edges_to(at).map(|edge| edge.from).find(|&from| graph.node(from).event == event);
        let Some(before) = before else { break };
        at = before;
    }
    // Through marks of events to what was waited for.
    for _ in 0..4 {
        let Some(edge) = binding(study, at) else { return false };
        match graph.node(edge.from).kind {
            NodeKind::Kernel => return true,
            NodeKind::Record | NodeKind::Wait => at = edge.from,
            _ => return edge.kind == EdgeKind::Launch,
        }
    }
    false
}
