//! D24: kernels that leave multiprocessors without blocks.

use std::collections::BTreeMap;

use gapless_analysis::graph::{NodeId, NodeKind};
use gapless_trace::StrId;

use super::share::{counted, exactly, longest_first, path_share};
use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::edits::Guard;
use crate::occupancy::{Fill, LEAST_NS, has_grids, underfilled};
use crate::scene::Scene;
use crate::text::percent;
use gapless_analysis::KernelClass;

/// Fewer blocks than multiprocessors, or a nearly empty last wave.
#[derive(Debug)]
pub(super) struct LowOccupancy;

impl Detector for LowOccupancy {
    fn id(&self) -> &'static str {
        "low-occupancy"
    }

    fn title(&self) -> &'static str {
        "Kernels leave multiprocessors without work"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[
            Threshold {
                name: "share",
                default: 0.03,
                help: "share of the step that all kernels of one name take on the critical path",
            },
            Threshold { name: "full", default: 0.75, help: "kernels that fill more of the device are left out" },
        ]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let study = scene.study();
        let graph = study.graph();
        if !study.nodes_of(NodeKind::Kernel).any(|id| graph.node(id).dur_ns >= LEAST_NS) {
            return Verdict::nothing();
        }
        if !has_grids(study) {
            return Verdict::Abstains(
                "Kernels have no grid in the recording, or the device does not say how many multiprocessors it has."
                    .to_owned(),
            );
        }
        let full = threshold(scene, self, "full");
        let mut by_name: BTreeMap<StrId, Vec<Fill>> = BTreeMap::new();
        for fill in underfilled(study).into_iter().filter(|fill| fill.efficiency < full) {
            // Parameters in chunks: the optimizer's detector speaks of those.
            if study.facts().class(fill.node) == KernelClass::Optimizer {
                continue;
            }
            if let Some(event) = graph.node(fill.node).event {
                by_name.entry(study.trace().event(event).name).or_default().push(fill);
            }
        }
        let least = threshold(scene, self, "share");
        let mut found = Vec::new();
        for (name, fills) in by_name {
            let nodes: Vec<NodeId> = fills.iter().map(|fill| fill.node).collect();
            let of_step = path_share(scene, &nodes);
            let Some(worst) = fills.iter().max_by_key(|fill| graph.node(fill.node).dur_ns) else { continue };
            if of_step < least {
                continue;
            }
            let text = study.trace().text(name);
            let short: String = text.chars().take(60).collect();
            let what = if worst.is_small() {
                format!("{} blocks for {} multiprocessors", worst.blocks, worst.multiprocessors)
            } else {
                format!("{} blocks where {} run at once, so the last wave is nearly empty", worst.blocks, worst.at_once)
            };
            found.push(Finding {
                title: format!("{short} fills {} of the device", percent(worst.efficiency)),
                paragraph: format!(
                    "{} of {short} launch too few blocks, or a few more than fit at once: the longest has {what}. The rest of \
                     the device idles meanwhile, for {} of the step on the critical path.",
                    counted(nodes.len(), "run"),
                    percent(of_step),
                ),
                fix: "Give it more to do at once: a larger batch, several small ones in one call, split-K or stream-K for \
                      products with a long inner dimension, or run independent kernels on streams of their own."
                    .to_owned(),
                code: "torch._inductor.config.max_autotune = True   # tries split-K and other tiles\n\
                       torch.bmm / torch.nested                     # many small products as one"
                    .to_owned(),
                references: vec![
                    "https://docs.nvidia.com/deeplearning/performance/dl-performance-gpu-background/index.html#understand-perf"
                        .to_owned(),
                    "https://docs.nvidia.com/deeplearning/performance/dl-performance-matrix-multiplication/index.html#wave-quant"
                        .to_owned(),
                ],
                confidence: Some(Confidence::Medium),
                guards: vec![Guard {
                    holds: true,
                    text: "Each takes at least 10 µs, so it is not the latency of a small kernel.".to_owned(),
                }],
                edits: vec![format!("fill-device(kernel~{})", exactly(text))],
                evidence: scene.events_of(&longest_first(scene, &nodes)),
                nodes,
                ..Finding::default()
            });
        }
        Verdict::Findings(found)
    }
}
