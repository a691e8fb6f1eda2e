//! D33: shards of tables or experts that are unequal over ranks.

use std::collections::BTreeMap;

use gapless_analysis::CollectiveKind;
use gapless_analysis::graph::{NodeId, NodeKind};

use super::share::{longest_first, path_share, share};
use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::edits::Guard;
use crate::scene::Scene;
use crate::text::{ms, percent};

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
