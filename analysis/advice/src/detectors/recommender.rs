//! D31 to D33: gradients, exchanges and shards of embeddings.

use std::collections::BTreeMap;

use gapless_analysis::CollectiveKind;
use gapless_analysis::graph::{NodeId, NodeKind};
use gapless_trace::EventId;

use super::share::{counted, longest_first, path_per_step, path_share, share, time_per_step};
use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::edits::Guard;
use crate::scene::Scene;
use crate::shapes::Shapes;
use crate::text::{ms, percent};
use gapless_analysis::KernelClass;

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

/// Exchanges of embeddings that nothing hides.
#[derive(Debug)]
pub(super) struct EmbeddingExchange;

impl Detector for EmbeddingExchange {
    fn id(&self) -> &'static str {
        "embedding-exchange"
    }

    fn title(&self) -> &'static str {
        "Exchanges of embeddings hold up the step"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[Threshold {
            name: "share",
            default: 0.05,
            help: "share of the step that all-to-alls move data on the critical path",
        }]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let study = scene.study();
        let has_tables = study.nodes_of(NodeKind::Kernel).any(|id| study.facts().class(id) == KernelClass::Embedding);
        let kind = |id: NodeId| {
            study.facts().instance(id).and_then(|place| study.collectives().get(place)).map(|instance| instance.kind)
        };
        let transfers: Vec<NodeId> =
            study.nodes_of(NodeKind::Transfer).filter(|&id| kind(id) == Some(CollectiveKind::AllToAll)).collect();
        if !has_tables || transfers.is_empty() {
            return Verdict::nothing();
        }
        // Waiting for late ranks goes to those ranks on the critical path; the estimate of one rank is kept apart too.
        let of_step = path_share(scene, &transfers);
        if of_step < threshold(scene, self, "share") {
            return Verdict::nothing();
        }
        let steps = study.graph().steps().len();
        Verdict::one(Finding {
            title: format!("Exchanges of embeddings take {} of each step", percent(of_step)),
            paragraph: format!(
                "{} all-to-alls in each step exchange indices and pooled rows of embedding tables between ranks, and for {} \
                 of the step ({}) everything waits for the data to move. Waiting for late ranks is not counted.",
                transfers.len() / study.step_count() / study.trace().ranks().len().max(1),
                ms(path_per_step(scene, &transfers)),
                percent(of_step),
            ),
            fix: "Exchange the next batch's indices while this one computes, send less (FP16, BF16 or INT8 between ranks), \
                  and let the planner place tables so that less crosses hosts."
                .to_owned(),
            code: "pipeline = TrainPipelineSparseDist(model, optimizer, device)\npipeline.progress(dataloader_iter)\n\
                   qcomms = get_qcomm_codecs_registry(QCommsConfig(CommType.FP16, CommType.BF16))"
                .to_owned(),
            references: vec![
                "https://pytorch.org/torchrec/".to_owned(),
                "https://arxiv.org/abs/2310.02784".to_owned(),
            ],
            confidence: Some(Confidence::Medium),
            guards: vec![Guard { holds: steps >= 3, text: "A pipeline over steps needs three of them in the recording.".to_owned() }],
            edits: if steps >= 3 { vec!["pipeline-embeddings".to_owned()] } else { vec!["scale(comm=all-to-all)=0.5x".to_owned()] },
            evidence: scene.events_of(&longest_first(scene, &transfers)),
            nodes: transfers,
            ..Finding::default()
        })
    }
}

/// Ranks that always have more of the tables, the bytes or the experts.
#[derive(Debug)]
pub(super) struct ShardImbalance;

/// What is sharded, the selector of it, and what to do.
const SHARDED: [(&str, &str, &str); 2] = [
    (
        "Lookups in embedding tables",
        "class=embedding",
        "Let the planner place tables by measured cost, cut large tables by columns or rows, replicate small hot ones.",
    ),
    (
        "Expert layers",
        "kernel~(?i)(grouped_?gemm|group_?gemm|grouped_mm|moe_?gemm|fused_moe)",
        "Raise the weight of the balancing loss, replicate the experts that get most tokens, or cap what an expert takes.",
    ),
];

impl Detector for ShardImbalance {
    fn id(&self) -> &'static str {
        "shard-imbalance"
    }

    fn title(&self) -> &'static str {
        "Shards are unequal"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[
            Threshold { name: "spread", default: 0.15, help: "standard deviation over ranks ÷ mean" },
            Threshold { name: "same-rank", default: 0.7, help: "share of the steps in which the same rank has most" },
            Threshold {
                name: "share",
                default: 0.01,
                help: "share of the step by which the fullest rank exceeds the mean",
            },
        ]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let study = scene.study();
        let selected: Vec<(usize, Vec<NodeId>)> = SHARDED
            .iter()
            .enumerate()
            .filter_map(|(place, (_, selector, _))| {
                let nodes = crate::select::Selector::parse(selector.split('\n')).ok()?.nodes(study);
                (!nodes.is_empty()).then_some((place, nodes))
            })
            .collect();
        let exchanges =
            study.collectives().iter().any(|of| of.kind == CollectiveKind::AllToAll && of.members.len() > 1);
        if selected.is_empty() && !exchanges {
            return Verdict::nothing();
        }
        if study.trace().ranks().len() < 2 {
            return Verdict::Abstains("One rank was recorded: shards of the others are unknown.".to_owned());
        }
        if study.graph().steps().len() < 3 {
            return Verdict::Abstains(
                "Fewer than three steps were recorded: what is always uneven cannot be told from chance.".to_owned(),
            );
        }
        let mut found = Vec::new();
        for (place, nodes) in selected {
            let Some(&(what, selector, fix)) = SHARDED.get(place) else { continue };
            let mut times: BTreeMap<usize, BTreeMap<u32, f64>> = BTreeMap::new();
            for &id in &nodes {
                if let (Some(step), Some(rank)) = (study.facts().step(id), study.rank(id)) {
                    *times.entry(step).or_default().entry(rank.0).or_default() += study.graph().node(id).dur_ns as f64;
                }
            }
            let Some(uneven) = self.uneven(scene, &times) else { continue };
            if share(scene, uneven.excess) < threshold(scene, self, "share") {
                continue;
            }
            let own: Vec<NodeId> =
                nodes.iter().copied().filter(|&id| study.rank(id).is_some_and(|rank| rank.0 == uneven.rank)).collect();
            found.push(finding(scene, &uneven, what, fix, &own, format!("balance({selector})"), ms(uneven.excess)));
        }
        found.extend(self.exchanges(scene));
        Verdict::Findings(found)
    }
}

/// A rank that has more than the others.
struct Uneven {
    rank: u32,
    /// Standard deviation over mean.
    spread: f64,
    /// Share of steps in which it has most.
    same: f64,
    /// By how much it exceeds the mean in a step.
    excess: f64,
    /// The mean over ranks in a step.
    mean: f64,
}

impl ShardImbalance {
    fn uneven(&self, scene: &Scene<'_, '_>, by_step: &BTreeMap<usize, BTreeMap<u32, f64>>) -> Option<Uneven> {
        let ranks = scene.study().trace().ranks().len() as f64;
        let mut wins: BTreeMap<u32, usize> = BTreeMap::new();
        let mut sums: BTreeMap<u32, f64> = BTreeMap::new();
        for values in by_step.values() {
            if let Some((&rank, _)) = values.iter().max_by(|a, b| a.1.total_cmp(b.1)) {
                *wins.entry(rank).or_default() += 1;
            }
            for (&rank, &value) in values {
                *sums.entry(rank).or_default() += value / by_step.len() as f64;
            }
        }
        let (&rank, &won) = wins.iter().max_by_key(|(_, won)| **won)?;
        let mean = sums.values().sum::<f64>() / ranks;
        let known: f64 = sums.values().map(|value| (value - mean).powi(2)).sum();
        // Ranks without any have nothing of it.
        let spread = ((known + (ranks - sums.len() as f64) * mean * mean) / ranks).sqrt() / mean;
        let same = won as f64 / by_step.len().max(1) as f64;
        let excess = sums.get(&rank).copied().unwrap_or_default() - mean;
        let is_uneven = spread > threshold(scene, self, "spread") && same >= threshold(scene, self, "same-rank");
        (is_uneven && excess > 0.0).then_some(Uneven { rank, spread, same, excess, mean })
    }

    /// Bytes that each rank puts into all-to-alls.
    fn exchanges(&self, scene: &Scene<'_, '_>) -> Option<Finding> {
        let study = scene.study();
        let mut bytes: BTreeMap<usize, BTreeMap<u32, f64>> = BTreeMap::new();
        for id in study.nodes_of(NodeKind::Transfer) {
            let instance = study.facts().instance(id).and_then(|place| study.collectives().get(place));
            let (Some(step), Some(rank), Some(event)) =
                (study.facts().step(id), study.rank(id), study.graph().node(id).event)
            else {
                continue;
            };
            if instance.is_some_and(|of| of.kind == CollectiveKind::AllToAll)
                && let Some(elements) = study.trace().collective(event).and_then(|of| of.in_elems.max(of.out_elems))
            {
                *bytes.entry(step).or_default().entry(rank.0).or_default() += elements as f64;
            }
        }
        let uneven = self.uneven(scene, &bytes)?;
        let nodes: Vec<NodeId> = study
            .nodes_of(NodeKind::Transfer)
            .filter(|&id| {
                let instance = study.facts().instance(id).and_then(|place| study.collectives().get(place));
                instance.is_some_and(|of| of.kind == CollectiveKind::AllToAll)
            })
            .collect();
        if path_share(scene, &nodes) < threshold(scene, self, "share") {
            return None;
        }
        // The fullest rank decides how long the exchange takes.
        let by = uneven.mean / (uneven.mean + uneven.excess);
        let fix = "Place tables or experts so that every rank sends and receives about as much.";
        let more = format!("{} more elements", gapless_trace::thousands(uneven.excess as u64));
        let edit = format!("scale(comm=all-to-all)={by:.3}x");
        Some(finding(scene, &uneven, "Exchanges between ranks", fix, &nodes, edit, more))
    }
}

fn finding(
    scene: &Scene<'_, '_>,
    uneven: &Uneven,
    what: &str,
    fix: &str,
    nodes: &[NodeId],
    edit: String,
    more: String,
) -> Finding {
    let rank = scene.study().trace().ranks().get(uneven.rank as usize);
    let number = rank.and_then(|rank| rank.number).unwrap_or(uneven.rank);
    let over = uneven.excess / uneven.mean;
    Finding {
        title: format!("{what} are uneven: rank {number} has {} more than the mean", percent(over)),
        paragraph: format!(
            "{what} differ between ranks by {} (standard deviation over mean), and rank {number} has most in {} of the steps: \
             {more} than the mean of all ranks in each step. The others wait for it in the next collective.",
            percent(uneven.spread),
            percent(uneven.same),
        ),
        fix: fix.to_owned(),
        code: "planner = EmbeddingShardingPlanner(topology=Topology(world_size, \"cuda\"), \n    \
               performance_models=..., constraints={\"table\": ParameterConstraints(sharding_types=[\"column_wise\"])})"
            .to_owned(),
        references: vec!["https://pytorch.org/torchrec/planner-api-reference.html".to_owned()],
        rank_id: Some(uneven.rank),
        confidence: Some(Confidence::High),
        guards: vec![Guard { holds: true, text: "The same rank has most, step after step.".to_owned() }],
        edits: vec![edit],
        evidence: scene.events_of(&longest_first(scene, nodes)),
        nodes: nodes.to_vec(),
        ..Finding::default()
    }
}
