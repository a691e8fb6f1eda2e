//! D28: the optimizer updates each parameter by itself.

use gapless_analysis::graph::{NodeId, NodeKind};

use super::common::{longest_first, median, per_step};
use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::edits::{Guard, is_optimizer};
use crate::scene::Scene;
use crate::text::ms;

/// Hundreds of short kernels within `Optimizer.step`.
#[derive(Debug)]
pub(super) struct UnfusedOptimizer;

const CODE: &str = "optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)   # or foreach=True";

/// Whether a kernel or operator works on many tensors at once.
fn works_on_many(name: &str) -> bool {
    ["multi_tensor", "_foreach_", "_fused_", "fused_adam", "FusedAdam", "FusedOptimizer", "triton_"]
        .into_iter()
        .any(|word| name.contains(word))
}

impl Detector for UnfusedOptimizer {
    fn id(&self) -> &'static str {
        "unfused-optimizer"
    }

    fn title(&self) -> &'static str {
        "The optimizer updates each parameter by itself"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[
            Threshold { name: "kernels", default: 100.0, help: "kernels of the optimizer per step and rank" },
            Threshold { name: "median-us", default: 20.0, help: "median duration below which they are small, in µs" },
        ]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let study = scene.study();
        let nodes: Vec<NodeId> = study
            .nodes_of(NodeKind::Kernel)
            .filter(|&id| is_optimizer(study, id))
            .filter(|&id| !works_on_many(study.name(id)) && !works_on_many(study.operator_name(id)))
            .collect();
        let ranks = scene.idle().ranks().len().max(1);
        // Steps that update: with accumulated gradients not all do.
        let mut updates: Vec<_> = nodes.iter().filter_map(|&id| study.facts().step(id)).collect();
        updates.sort_unstable();
        updates.dedup();
        let count = nodes.len() as f64 / ranks as f64 / updates.len().max(1) as f64;
        let typical = median(nodes.iter().map(|&id| study.graph().node(id).dur_ns as f64).collect());
        if count < threshold(scene, self, "kernels") || typical >= threshold(scene, self, "median-us") * 1e3 {
            return Verdict::nothing();
        }
        let sum: i64 = nodes.iter().map(|&id| study.graph().node(id).dur_ns).sum();
        Verdict::one(Finding {
            title: format!("The optimizer launches {count:.0} small kernels per step"),
            paragraph: format!(
                "{count:.0} kernels of each step belong to the optimizer, half of them shorter than {}, {} in all: each \
                 parameter is updated by several kernels of its own, and each needs a launch. A fused optimizer reads and \
                 writes all parameters and states in a few.",
                ms(typical),
                ms(per_step(scene, sum / ranks as i64)),
            ),
            fix: "Use the fused or the foreach implementation of the optimizer.".to_owned(),
            code: CODE.to_owned(),
            references: vec![
                "https://docs.pytorch.org/docs/stable/optim.html".to_owned(),
                "https://docs.pytorch.org/tutorials/recipes/recipes/tuning_guide.html".to_owned(),
            ],
            confidence: Some(Confidence::High),
            guards: vec![Guard {
                holds: true,
                text: "Kernels that work on many tensors at once (multi_tensor_apply, fused) are not counted."
                    .to_owned(),
            }],
            edits: vec!["fuse-optimizer".to_owned()],
            evidence: scene.events_of(&longest_first(study, nodes.clone())),
            nodes,
            ..Finding::default()
        })
    }
}
