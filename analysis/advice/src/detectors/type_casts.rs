//! D27: conversions between types.

use std::collections::BTreeMap;

use super::share::{longest_first, nodes_of_pattern, path_share, time_per_step};
use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::edits::Guard;
use crate::patterns::Pattern;
use crate::scene::Scene;
use crate::text::{ms, percent};

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
        let nodes = nodes_of_pattern(scene, Pattern::Casts);
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
