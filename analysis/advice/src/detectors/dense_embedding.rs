//! D31: dense gradients of embedding tables.

use std::collections::BTreeMap;

use gapless_analysis::graph::{NodeId, NodeKind};
use gapless_trace::EventId;

use super::share::{counted, longest_first, path_share, time_per_step};
use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::edits::Guard;
use crate::scene::Scene;
use crate::shapes::Shapes;
use crate::text::{ms, percent};

/// Operators whose gradient is as large as the table.
const DENSE_BACKWARD: [&str; 2] = ["aten::embedding_dense_backward", "aten::_embedding_bag_dense_backward"];

/// A gradient that is written for every row of a table of which few rows were read.
#[derive(Debug)]
pub(super) struct DenseEmbedding;

impl Detector for DenseEmbedding {
    fn id(&self) -> &'static str {
        "dense-embedding-gradient"
    }

    fn title(&self) -> &'static str {
        "Embedding tables get dense gradients"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[
            Threshold { name: "rows", default: 8.0, help: "rows of the table for each row that was read" },
            Threshold {
                name: "share",
                default: 0.01,
                help: "share of the step that the gradients take on the critical path",
            },
        ]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let study = scene.study();
        let trace = study.trace();
        let mut by_operator: BTreeMap<EventId, Vec<NodeId>> = BTreeMap::new();
        for id in study.graph().node_ids() {
            if !matches!(study.graph().node(id).kind, NodeKind::Kernel | NodeKind::Fill) {
                continue;
            }
            let Some(operator) = study.facts().operator(id) else { continue };
            let chain = std::iter::once(operator).chain(trace.ancestors(operator).take(3));
            if let Some(backward) = chain.into_iter().find(|&event| DENSE_BACKWARD.contains(&trace.name(event))) {
                by_operator.entry(backward).or_default().push(id);
            }
        }
        if by_operator.is_empty() {
            return Verdict::nothing();
        }
        let mut nodes = Vec::new();
        let mut largest = (0_u64, 0_u64);
        let mut unknown = 0_usize;
        for (&operator, own) in &by_operator {
            let Some((rows, read)) = Shapes::of(trace, operator).and_then(|shapes| rows(trace.name(operator), &shapes))
            else {
                unknown += 1;
                continue;
            };
            if rows as f64 > threshold(scene, self, "rows") * read as f64 {
                largest = largest.max((rows, read));
                nodes.extend_from_slice(own);
            }
        }
        if unknown == by_operator.len() {
            return Verdict::Abstains(
                "Gradients of embeddings have no dimensions in the recording: profile with record_shapes=True."
                    .to_owned(),
            );
        }
        let of_step = path_share(scene, &nodes);
        if nodes.is_empty() || of_step < threshold(scene, self, "share") {
            return Verdict::nothing();
        }
        // The zeros are a fill by the runtime or a kernel, by version.
        let is_fill = |id: NodeId| study.graph().node(id).kind == NodeKind::Fill;
        let is_zero_kernel = |id: NodeId| study.name(id).contains("FillFunctor");
        let mut edits = Vec::new();
        if nodes.iter().any(|&id| is_fill(id)) {
            edits.push("remove(op~embedding(_bag)?_dense_backward,kind=fill)".to_owned());
        }
        if nodes.iter().any(|&id| is_zero_kernel(id)) {
            edits.push("remove(op~embedding(_bag)?_dense_backward,kernel~FillFunctor)".to_owned());
        }
        Verdict::one(Finding {
            title: format!("Gradients of embeddings are written for {} rows", gapless_trace::thousands(largest.0)),
            paragraph: format!(
                "The backward pass of {} writes a gradient for every row of its table, zeros for nearly all: the largest has \
                 {} rows, of which the batch read at most {}. That takes {} of each step ({} of the critical path), and the \
                 optimizer and the reduction over ranks go through all rows again.",
                counted(by_operator.len(), "embedding call"),
                gapless_trace::thousands(largest.0),
                gapless_trace::thousands(largest.1),
                ms(time_per_step(scene, &nodes)),
                percent(of_step),
            ),
            fix: "Use sparse gradients with an optimizer that takes them, or FBGEMM's table-batched embeddings, which update \
                  the rows that were read within the backward pass."
                .to_owned(),
            code: "nn.EmbeddingBag(rows, dim, sparse=True); torch.optim.SparseAdam(...)\n\
                   # or torchrec.EmbeddingBagCollection + apply_optimizer_in_backward(RowWiseAdagrad, ...)"
                .to_owned(),
            references: vec![
                "https://pytorch.org/docs/stable/generated/torch.nn.Embedding.html".to_owned(),
                "https://pytorch.org/torchrec/high-level-arch.html".to_owned(),
            ],
            confidence: Some(Confidence::High),
            guards: vec![Guard {
                holds: true,
                text: "The table has many times as many rows as the batch read; the gain is that of the zeros alone.".to_owned(),
            }],
            edits,
            evidence: scene.events_of(&longest_first(scene, &nodes)),
            nodes,
            ..Finding::default()
        })
    }
}

/// Rows of the table and, at most, rows read: the number of rows is a value, that of indices a dimension.
fn rows(operator: &str, shapes: &Shapes) -> Option<(u64, u64)> {
    // embedding_dense_backward(grad, indices, num_weights, …); _embedding_bag_dense_backward(grad, indices, offset2bag,
    // bag_size, maximum_indices, num_weights, …).
    let place = if operator == DENSE_BACKWARD[0] { 2 } else { 5 };
    let rows = shapes.values.get(place)?.parse().ok()?;
    Some((rows, shapes.elements(1).max(1)))
}
