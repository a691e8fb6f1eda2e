//! D10: gradients are reduced after the backward pass instead of beside it.

use std::collections::BTreeMap;

use gapless_analysis::CollectiveKind;
use gapless_analysis::graph::{NodeId, NodeKind};
use gapless_analysis::interval::Interval;
use gapless_trace::RankId;

use super::common::{collective_kind, each, longest_first, names_around, per_step, share, transfers_of};
use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::edits::{Guard, is_optimizer};
use crate::scene::Scene;
use crate::study::Study;
use crate::text::{ms, percent};

/// All-reduce and reduce-scatter on the critical path while nothing computes.
#[derive(Debug)]
pub(super) struct ExposedReduction;

const CODE: &str = "model = DistributedDataParallel(model, bucket_cap_mb=25, gradient_as_bucket_view=True,\n                                static_graph=True)";

/// Whether a launch lies in the backward pass or in the optimizer: a reduction there carries gradients.
fn carries_gradients(study: &Study<'_>, id: NodeId) -> Option<bool> {
    let mut any = false;
    for name in names_around(study, id) {
        any = true;
        if name.contains("ackward")
            || name.starts_with("autograd::engine")
            || name.starts_with("Optimizer.")
            || name.contains("DistributedDataParallel.Reducer")
            || name.contains("_flush_grad")
        {
            return Some(true);
        }
    }
    any.then_some(false)
}

impl Detector for ExposedReduction {
    fn id(&self) -> &'static str {
        "exposed-reduction"
    }

    fn title(&self) -> &'static str {
        "Gradients are reduced while nothing computes"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[
            Threshold {
                name: "share",
                default: 0.05,
                help: "share of the step that transfers of reductions take on the critical path",
            },
            Threshold {
                name: "bytes",
                default: 65_536.0,
                help: "bytes below which latency, not overlap, is the matter",
            },
        ]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let study = scene.study();
        let each = each(scene);
        let graph = study.graph();
        let least = threshold(scene, self, "bytes") as u64;
        let size = |id: NodeId| {
            study
                .facts()
                .instance(id)
                .and_then(|place| study.collectives().get(place))
                .and_then(|instance| instance.bytes)
        };
        let all = transfers_of(study, &[CollectiveKind::AllReduce, CollectiveKind::ReduceScatter]);
        let large: Vec<NodeId> = all.into_iter().filter(|&id| size(id).is_none_or(|bytes| bytes >= least)).collect();
        // Nothing but the optimizer comes after it in its step.
        let last = last_compute(scene);
        let ends_step = |id: NodeId| {
            let node = graph.node(id);
            let step = study.facts().step(id);
            let computed = node.place.and_then(|place| last.get(&(place.rank, step)));
            step.is_some() && computed.is_none_or(|&at| at < node.end_ns())
        };
        // Between layers of one pass the next layer needs the result: tensor parallelism and synchronised norms.
        let gradients: Vec<NodeId> =
            large.into_iter().filter(|&id| carries_gradients(study, id).unwrap_or(true) || ends_step(id)).collect();
        let mut nodes: Vec<NodeId> = gradients.into_iter().filter(|&id| scene.path_ns(id) > 0).collect();
        // Where compute goes on beside it, it is overlapped already, though it decides.
        nodes.retain(|&id| {
            let node = graph.node(id);
            let own = Interval::new(node.start_ns, node.end_ns());
            let computing = node.place.and_then(|place| scene.idle().computing(place.rank));
            computing.is_some_and(|computing| !computing.is_empty() && 2 * computing.clip(own).length() < own.length())
        });
        let lost: i64 = nodes.iter().map(|&id| scene.path_ns(id)).sum();
        if nodes.is_empty() || share(scene, lost) < threshold(scene, self, "share") {
            return Verdict::nothing();
        }
        let scatters = nodes.iter().any(|&id| collective_kind(study, id) == Some(CollectiveKind::ReduceScatter));
        let reduces = nodes.iter().any(|&id| collective_kind(study, id) == Some(CollectiveKind::AllReduce));
        let comm = match (reduces, scatters) {
            (true, false) => "(comm=all_reduce)",
            (false, true) => "(comm=reduce_scatter)",
            _ => "",
        };
        let is_named = nodes.iter().all(|&id| carries_gradients(study, id) == Some(true));
        let is_estimated = study.trace().ranks().len() < 2;
        Verdict::one(Finding {
            title: format!("Reducing gradients holds up {each} for {}", ms(per_step(scene, lost))),
            paragraph: format!(
                "{} reductions run while nothing computes and decide when the step is complete: {} of {each} ({}). Counted \
                 is only moving the data, not waiting for other ranks{}. A bucket can be reduced as soon as the backward pass \
                 has its gradients, while it computes those of earlier layers; only the last bucket must be exposed.",
                nodes.len(),
                ms(per_step(scene, lost)),
                percent(share(scene, lost)),
                if is_estimated { " (told apart by the shortest call of the kind, since one rank alone was recorded)" } else { "" },
            ),
            fix: "Let DistributedDataParallel reduce buckets during the backward pass, with buckets small enough that the last \
                  one is short; with FSDP keep backward prefetch on."
                .to_owned(),
            code: CODE.to_owned(),
            references: vec![
                "https://docs.pytorch.org/docs/stable/notes/ddp.html#internal-design".to_owned(),
                "https://docs.pytorch.org/docs/stable/generated/torch.nn.parallel.DistributedDataParallel.html".to_owned(),
            ],
            confidence: Some(if is_named && !is_estimated { Confidence::High } else { Confidence::Medium }),
            guards: vec![
                Guard { holds: true, text: "Waiting for late ranks is not counted.".to_owned() },
                Guard { holds: is_named, text: "The recording shows that the backward pass or the optimizer launched them.".to_owned() },
            ],
            edits: vec![format!("overlap-comm{comm}")],
            evidence: scene.events_of(&longest_first(study, nodes.clone())),
            nodes,
            ..Finding::default()
        })
    }
}

/// When the last kernel that is not the optimizer's began, by rank and step, in ns.
fn last_compute(scene: &Scene<'_, '_>) -> BTreeMap<(RankId, Option<usize>), i64> {
    let study = scene.study();
    let mut last: BTreeMap<(RankId, Option<usize>), i64> = BTreeMap::new();
    for id in study.nodes_of(NodeKind::Kernel) {
        let node = study.graph().node(id);
        let Some(place) = node.place.filter(|_| !is_optimizer(study, id)) else { continue };
        let at = last.entry((place.rank, study.facts().step(id))).or_insert(i64::MIN);
        *at = node.start_ns.max(*at);
    }
    last
}
