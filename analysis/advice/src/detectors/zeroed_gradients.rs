//! D29: gradients are filled with zeros, one by one.

use gapless_analysis::graph::{NodeId, NodeKind};

use super::common::{longest_first, names_around, per_step};
use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::edits::Guard;
use crate::scene::Scene;
use crate::text::ms;

/// Many fills within `zero_grad`, or by `zero_` itself.
#[derive(Debug)]
pub(super) struct ZeroedGradients;

const CODE: &str = "optimizer.zero_grad(set_to_none=True)   # the default since PyTorch 2.0";

/// New tensors must be filled; old ones need not be.
const NEW: [&str; 4] = ["aten::zeros", "aten::new_zeros", "aten::zeros_like", "aten::full"];

/// Ranges of the host that say that gradients are zeroed.
fn zeroes_gradients(name: &str) -> bool {
    name.contains("zero_grad")
}

impl Detector for ZeroedGradients {
    fn id(&self) -> &'static str {
        "zeroed-gradients"
    }

    fn title(&self) -> &'static str {
        "Gradients are filled with zeros"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[Threshold { name: "fills", default: 50.0, help: "fills per step and rank" }]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let study = scene.study();
        let fills = |id: &NodeId| {
            let kind = study.graph().node(*id).kind;
            if !matches!(kind, NodeKind::Kernel | NodeKind::Fill) {
                return false;
            }
            let names: Vec<&str> = names_around(study, *id).collect();
            let zeroes = names
                .iter()
                .any(|name| *name == "aten::zero_" || *name == "aten::_foreach_zero_" || *name == "aten::fill_");
            let in_backward = names.iter().any(|name| name.contains("ackward") || name.starts_with("autograd::engine"));
            let named = names.iter().any(|name| zeroes_gradients(name));
            named || (zeroes && !in_backward && !names.iter().any(|name| NEW.contains(name)))
        };
        let nodes: Vec<NodeId> = study.graph().node_ids().filter(fills).collect();
        let ranks = scene.idle().ranks().len().max(1);
        let count = nodes.len() as f64 / ranks as f64 / study.step_count() as f64;
        if count < threshold(scene, self, "fills") {
            return Verdict::nothing();
        }
        let named = nodes.iter().filter(|&&id| names_around(study, id).any(zeroes_gradients)).count();
        let is_named = 2 * named > nodes.len();
        let sum: i64 = nodes.iter().map(|&id| study.graph().node(id).dur_ns).sum();
        Verdict::one(Finding {
            title: format!("{count:.0} fills per step write zeros"),
            paragraph: format!(
                "{count:.0} kernels or fills of each step only write zeros{}, one tensor each: {} of device time, and a launch \
                 for each on the host. Gradients that are set to None are neither written nor read: the backward pass then \
                 stores the first gradient instead of adding to it.",
                if is_named { " within zero_grad" } else { ", mostly called directly as zero_()" },
                ms(per_step(scene, sum / ranks as i64)),
            ),
            fix: "Set gradients to None instead of filling them with zeros.".to_owned(),
            code: CODE.to_owned(),
            references: vec![
                "https://docs.pytorch.org/docs/stable/generated/torch.optim.Optimizer.zero_grad.html".to_owned(),
                "https://docs.pytorch.org/tutorials/recipes/recipes/tuning_guide.html".to_owned(),
            ],
            confidence: Some(if is_named { Confidence::High } else { Confidence::Medium }),
            guards: vec![
                Guard {
                    holds: true,
                    text:
                        "Fills of new tensors (zeros, new_zeros, zeros_like) and of the backward pass are not counted."
                            .to_owned(),
                },
                Guard { holds: is_named, text: "The recording shows zero_grad around them.".to_owned() },
            ],
            edits: vec![if is_named {
                "remove(op~zero_grad)".to_owned()
            } else {
                "remove(op~^aten::(zero_|_foreach_zero_)$)".to_owned()
            }],
            evidence: scene.events_of(&longest_first(study, nodes.clone())),
            nodes,
            ..Finding::default()
        })
    }
}
