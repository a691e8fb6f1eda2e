//! D23: matrix products whose dimensions Tensor Cores do not like.

use std::collections::BTreeMap;

use gapless_analysis::graph::{NodeId, NodeKind};

use super::share::{counted, longest_first, path_share, share};
use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::edits::Guard;
use crate::products::{LEAST_DIM, calls, misaligned};
use crate::scene::Scene;
use crate::text::{ms, percent};
use gapless_analysis::KernelClass;

/// Products off 16 bytes that are slower than aligned ones.
#[derive(Debug)]
pub(super) struct GemmShapes;

impl Detector for GemmShapes {
    fn id(&self) -> &'static str {
        "gemm-shapes"
    }

    fn title(&self) -> &'static str {
        "Dimensions of matrix products are misaligned"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[
            Threshold {
                name: "slower",
                default: 1.25,
                help: "how many times as long as aligned products of this recording a product must take",
            },
            Threshold { name: "share", default: 0.01, help: "share of the step that padding could save" },
        ]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let study = scene.study();
        let has_products = study.nodes_of(NodeKind::Kernel).any(|id| study.facts().class(id) == KernelClass::Gemm);
        if !has_products {
            return Verdict::nothing();
        }
        if calls(study).is_empty() {
            return Verdict::Abstains(
                "No matrix product has dimensions in the recording: profile with record_shapes=True.".to_owned(),
            );
        }
        let slower = threshold(scene, self, "slower");
        let dur = |id: NodeId| study.graph().node(id).dur_ns as f64;
        let off: Vec<_> =
            misaligned(study).into_iter().filter(|of| dur(of.node) > slower * of.padded_ns.max(1.0)).collect();
        let nodes: Vec<NodeId> = off.iter().map(|of| of.node).collect();
        let saved: f64 = off.iter().map(|of| dur(of.node) - of.padded_ns).sum();
        let ranks = study.trace().ranks().len().max(1) as f64;
        let of_step = share(scene, saved / study.step_count() as f64 / ranks);
        // Only what lies on the critical path can be saved.
        let total: f64 = nodes.iter().map(|&id| dur(id)).sum();
        let on_path = path_share(scene, &nodes) * saved / total.max(1.0);
        if nodes.is_empty() || of_step.min(on_path) < threshold(scene, self, "share") {
            return Verdict::nothing();
        }
        let mut shapes: BTreeMap<(u64, u64, u64), f64> = BTreeMap::new();
        for of in &off {
            *shapes.entry((of.product.m, of.product.n, of.product.k)).or_default() += dur(of.node);
        }
        let worst = shapes.iter().max_by(|a, b| a.1.total_cmp(b.1)).map(|(shape, _)| *shape).unwrap_or_default();
        let multiple = off.first().and_then(|of| of.product.alignment()).unwrap_or(8);
        let times = off.iter().map(|of| dur(of.node)).sum::<f64>() / off.iter().map(|of| of.padded_ns).sum::<f64>();
        Verdict::one(Finding {
            title: format!("Misaligned matrix products take {times:.1} times as long as aligned ones"),
            paragraph: format!(
                "{} have a dimension that is no multiple of {multiple} (16 bytes), most of all M×N×K = {}×{}×{}. Rows then \
                 begin off the addresses that Tensor Cores load from, and a slower kernel is taken: {times:.1} times as \
                 long as the recording's aligned products of the same type need for as much work. They take {} of the step \
                 on the critical path; padded they would be {} shorter in each step.",
                counted(off.len(), "product"),
                worst.0,
                worst.1,
                worst.2,
                percent(path_share(scene, &nodes)),
                ms(saved / study.step_count() as f64 / ranks),
            ),
            fix: format!(
                "Pad the vocabulary, hidden sizes and number of classes to multiples of {multiple}, better of 64; drop or \
                 mask what is padded."
            ),
            code: "vocab = (vocab + 63) // 64 * 64\nmodel.resize_token_embeddings(pad_to_multiple_of=64)  # transformers"
                .to_owned(),
            references: vec![
                "https://docs.nvidia.com/deeplearning/performance/dl-performance-matrix-multiplication/index.html#requirements-tc"
                    .to_owned(),
            ],
            confidence: Some(Confidence::Medium),
            guards: vec![Guard {
                holds: true,
                text: format!("All their dimensions are at least {LEAST_DIM}, so padding adds little work."),
            }],
            edits: vec!["pad-shapes".to_owned()],
            evidence: scene.events_of(&longest_first(scene, &nodes)),
            nodes,
            ..Finding::default()
        })
    }
}
