//! D26 and D27: conversions between layouts, and between types.

use std::collections::BTreeMap;

use gapless_analysis::graph::NodeId;

use super::share::{counted, longest_first, path_share, time_per_step};
use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::edits::Guard;
use crate::patterns::Pattern;
use crate::scene::Scene;
use crate::text::{ms, percent};

/// Nodes of a pattern, in order.
fn nodes(scene: &Scene<'_, '_>, pattern: Pattern) -> Vec<NodeId> {
    let mut nodes: Vec<NodeId> = scene.study().nodes_with(pattern).iter().copied().collect();
    nodes.sort_unstable();
    nodes
}

/// Conversions between NCHW and NHWC.
#[derive(Debug)]
pub(super) struct LayoutConversions;

impl Detector for LayoutConversions {
    fn id(&self) -> &'static str {
        "layout-conversions"
    }

    fn title(&self) -> &'static str {
        "Images are converted between layouts"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[Threshold {
            name: "share",
            default: 0.03,
            help: "share of the step that conversions take on the critical path",
        }]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let nodes = nodes(scene, Pattern::Layout);
        let of_step = path_share(scene, &nodes);
        if nodes.is_empty() || of_step < threshold(scene, self, "share") {
            return Verdict::nothing();
        }
        Verdict::one(Finding {
            title: format!("Conversions between layouts take {} of each step", percent(of_step)),
            paragraph: format!(
                "{} in each step only turn images from one layout into another (NCHW and NHWC): convolutions on Tensor Cores \
                 want the channels last, the tensors have them first or change on the way. That is {} of each step, {} of \
                 the critical path, for nothing computed.",
                counted(nodes.len() / scene.study().step_count(), "kernel"),
                ms(time_per_step(scene, &nodes)),
                percent(of_step),
            ),
            fix: "Keep channels last from end to end: convert model and input once; remove .contiguous() and permutations \
                  on the way."
                .to_owned(),
            code: "model = model.to(memory_format=torch.channels_last)\nx = x.to(memory_format=torch.channels_last)".to_owned(),
            references: vec![
                "https://pytorch.org/tutorials/intermediate/memory_format_tutorial.html".to_owned(),
            ],
            confidence: Some(Confidence::High),
            guards: vec![Guard {
                holds: true,
                text: "They are conversions by name, or copies of images that only move the channels.".to_owned(),
            }],
            edits: vec!["remove(pattern=layout)".to_owned()],
            evidence: scene.events_of(&longest_first(scene, &nodes)),
            nodes,
            ..Finding::default()
        })
    }
}

/// Conversions between floating-point types.
#[derive(Debug)]
pub(super) struct TypeCasts;

impl Detector for TypeCasts {
    fn id(&self) -> &'static str {
        "type-casts"
    }

    fn title(&self) -> &'static str {
        "Tensors are cast between types over and over"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[
            Threshold { name: "share", default: 0.03, help: "share of the step that casts take on the critical path" },
            Threshold { name: "count", default: 10.0, help: "casts in each step" },
        ]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let study = scene.study();
        let nodes = nodes(scene, Pattern::Casts);
        let of_step = path_share(scene, &nodes);
        let per_step = nodes.len() as f64 / study.step_count() as f64 / study.trace().ranks().len().max(1) as f64;
        if of_step < threshold(scene, self, "share") || per_step < threshold(scene, self, "count") {
            return Verdict::nothing();
        }
        let mut around: BTreeMap<&str, usize> = BTreeMap::new();
        for &id in &nodes {
            let outer = study.facts().operator(id).and_then(|operator| {
                // The module, where there are frames; else the operator or function of the engine.
                let module = study.around(operator).find(|name| name.starts_with("nn.Module: "));
                module.or_else(|| {
                    study.around(operator).find(|name| {
                        !matches!(*name, "aten::to" | "aten::_to_copy" | "aten::copy_")
                            && !name.contains(".py(")
                            && !name.starts_with("<built-in")
                    })
                })
            });
            *around.entry(outer.unwrap_or("the top level")).or_default() += 1;
        }
        let most = around.iter().max_by_key(|(_, count)| **count).map_or("", |(name, _)| *name);
        Verdict::one(Finding {
            title: format!("{per_step:.0} casts between types take {} of each step", percent(of_step)),
            paragraph: format!(
                "{per_step:.0} kernels in each step only turn one floating-point type into another: {} of the step, {} of \
                 the critical path. Most are called in {most}. Under autocast every weight is cast again where its cache \
                 cannot be used, and every operator that wants FP32 casts its input and the next one casts back.",
                ms(time_per_step(scene, &nodes)),
                percent(of_step),
            ),
            fix: "Keep weights in BF16 with an optimizer that holds FP32 copies, leave the autocast cache on, keep FP32 \
                  islands small, or let the compiler fuse casts into their neighbours."
                .to_owned(),
            code: "model = model.to(torch.bfloat16)            # weights once, not in every call\n\
                   torch.autocast(\"cuda\", torch.bfloat16, cache_enabled=True)\nmodel = torch.compile(model)   # fuses casts"
                .to_owned(),
            references: vec!["https://pytorch.org/docs/stable/amp.html".to_owned()],
            confidence: Some(Confidence::Medium),
            guards: vec![Guard {
                holds: true,
                text: "They are many in each step, so it is not one conversion of inputs or weights.".to_owned(),
            }],
            edits: vec!["remove(pattern=casts)".to_owned()],
            evidence: scene.events_of(&longest_first(scene, &nodes)),
            nodes,
            ..Finding::default()
        })
    }
}
