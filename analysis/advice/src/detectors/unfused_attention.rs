//! D25: attention as products, masks and a softmax of their own.

use gapless_analysis::graph::NodeId;

use super::share::{counted, longest_first, path_share, time_per_step};
use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::edits::Guard;
use crate::patterns::chains;
use crate::scene::Scene;
use crate::text::{ms, percent};

/// Chains of product, softmax, product.
#[derive(Debug)]
pub(super) struct UnfusedAttention;

impl Detector for UnfusedAttention {
    fn id(&self) -> &'static str {
        "unfused-attention"
    }

    fn title(&self) -> &'static str {
        "Attention is not fused"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[Threshold {
            name: "share",
            default: 0.03,
            help: "share of the step that masks, softmax and dropout take on the critical path",
        }]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let chains = chains(scene.study());
        let glue: Vec<NodeId> = chains.iter().flat_map(|chain| chain.glue.iter().copied()).collect();
        let of_step = path_share(scene, &glue);
        if chains.is_empty() || of_step < threshold(scene, self, "share") {
            return Verdict::nothing();
        }
        let backward = chains.iter().filter(|chain| chain.is_backward).count();
        Verdict::one(Finding {
            title: format!("Scores of attention are written out and read back: {} of each step", percent(of_step)),
            paragraph: format!(
                "{} ({backward} of them in the backward pass) run as batched product, scale, mask, softmax, dropout, batched \
                 product: each kernel writes the whole matrix of scores to memory and the next one reads it. What lies \
                 between the products takes {} of each step, {} of the critical path. A fused kernel keeps the scores on \
                 the chip.",
                counted(chains.len(), "attention call"),
                ms(time_per_step(scene, &glue)),
                percent(of_step),
            ),
            fix:
                "Call scaled_dot_product_attention, which takes a fused kernel where head size, mask and device allow."
                    .to_owned(),
            code: "y = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=p)\n\
                   # transformers: AutoModel.from_pretrained(..., attn_implementation=\"sdpa\")"
                .to_owned(),
            references: vec![
                "https://pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html"
                    .to_owned(),
                "https://arxiv.org/abs/2307.08691".to_owned(),
            ],
            confidence: Some(Confidence::High),
            guards: vec![Guard {
                holds: false,
                text:
                    "Fused kernels support most head sizes up to 256 and masks that are not needed as an output; the \
                       recording does not show whether the scores are used elsewhere."
                        .to_owned(),
            }],
            edits: vec!["fuse-attention".to_owned()],
            evidence: scene.events_of(&longest_first(scene, &glue)),
            nodes: glue,
            ..Finding::default()
        })
    }
}
