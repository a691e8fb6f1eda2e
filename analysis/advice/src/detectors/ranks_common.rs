//! Times of ranks side by side, by step.

use std::collections::BTreeMap;

use gapless_analysis::graph::{NodeId, NodeKind};
use gapless_analysis::{CollectiveKind, LatenessVerdict, RankLateness, lateness};
use gapless_trace::{RankId, StrId};

use super::common::median;
use crate::scene::Scene;
use crate::study::Study;

/// Sums of each rank in each step, in ns.
pub(super) struct RankSteps {
    /// Ranks, in order.
    pub ranks: Vec<RankId>,
    /// For each step a sum per rank, in the order of `ranks`; steps in which a rank has nothing are left out.
    pub steps: Vec<Vec<f64>>,
}

impl RankSteps {
    /// Sums `value` of the nodes that have one by rank and step.
    pub(super) fn new(scene: &Scene<'_, '_>, value: impl Fn(NodeId) -> Option<f64>) -> Self {
        let study = scene.study();
        let ranks = scene.idle().ranks();
        let mut steps: BTreeMap<Option<usize>, Vec<f64>> = BTreeMap::new();
        for id in study.graph().node_ids() {
            let (Some(value), Some(rank)) = (value(id), study.rank(id)) else { continue };
            let Ok(place) = ranks.binary_search(&rank) else { continue };
            let step = study.facts().step(id);
            if step.is_none() && !study.graph().steps().is_empty() {
                continue;
            }
            if let Some(sum) = steps.entry(step).or_insert_with(|| vec![0.0; ranks.len()]).get_mut(place) {
                *sum += value;
            }
        }
        let steps = steps.into_values().filter(|sums| sums.iter().all(|sum| *sum > 0.0)).collect();
        Self { ranks, steps }
    }

    /// Ratio of a rank to the median of the others, of each step.
    pub(super) fn ratios(&self, rank: usize) -> Vec<f64> {
        let ratio = |sums: &Vec<f64>| {
            let own = sums.get(rank).copied().unwrap_or_default();
            let others: Vec<f64> =
                sums.iter().enumerate().filter(|(place, _)| *place != rank).map(|(_, sum)| *sum).collect();
            own / median(others).max(1.0)
        };
        self.steps.iter().map(ratio).collect()
    }

    /// The rank with the largest sum in each step.
    pub(super) fn slowest(&self) -> Vec<usize> {
        let largest =
            |sums: &Vec<f64>| sums.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(place, _)| place);
        self.steps.iter().map(largest).collect()
    }
}

/// Compute time of a node.
pub(super) fn compute_ns(study: &Study<'_>, id: NodeId) -> Option<f64> {
    let node = study.graph().node(id);
    (node.kind == NodeKind::Kernel).then_some(node.dur_ns as f64)
}

/// Time of a thread apart from waits, data loading and garbage.
pub(super) fn host_ns(study: &Study<'_>, id: NodeId) -> Option<f64> {
    let node = study.graph().node(id);
    matches!(node.kind, NodeKind::Host | NodeKind::Launch).then_some(node.dur_ns as f64)
}

/// How each rank comes to its collectives.
pub(super) fn late_ranks(study: &Study<'_>) -> Vec<RankLateness> {
    let starts: Vec<i64> = study.graph().steps().iter().map(|step| step.mark_start_ns).collect();
    lateness(study.trace(), study.collectives(), study.timings(), study.clocks(), &starts)
}

/// Whether a rank is late to its collectives for certain, or in most of them where the recording is too short to be sure.
pub(super) fn is_late(rank: &RankLateness) -> bool {
    match rank.verdict {
        LatenessVerdict::Late => true,
        LatenessVerdict::NotLate => false,
        LatenessVerdict::TooFew => rank.collectives >= 5 && rank.delayer as f64 >= 0.7 * rank.collectives as f64,
    }
}

/// Compute time of each kernel's name on each rank, with how often it runs.
pub(super) fn by_name(scene: &Scene<'_, '_>) -> BTreeMap<StrId, BTreeMap<RankId, (f64, usize)>> {
    let study = scene.study();
    let names = study.trace().events().names();
    let mut found: BTreeMap<StrId, BTreeMap<RankId, (f64, usize)>> = BTreeMap::new();
    for id in study.nodes_of(NodeKind::Kernel) {
        let node = study.graph().node(id);
        let name = node.event.and_then(|event| names.get(event.index())).copied();
        if let (Some(name), Some(place)) = (name, node.place) {
            let entry = found.entry(name).or_default().entry(place.rank).or_default();
            *entry = (entry.0 + node.dur_ns as f64, entry.1 + 1);
        }
    }
    found
}

/// Whether the ranks run the same kernels equally often, for nine tenths of their time: replicas, not stages.
pub(super) fn are_replicas(scene: &Scene<'_, '_>) -> bool {
    let ranks = scene.idle().ranks().len();
    let (mut same, mut all) = (0.0, 0.0);
    for of_ranks in by_name(scene).values() {
        let time: f64 = of_ranks.values().map(|entry| entry.0).sum();
        let counts: Vec<usize> = of_ranks.values().map(|entry| entry.1).collect();
        all += time;
        if counts.len() == ranks && counts.iter().all(|count| Some(count) == counts.first()) {
            same += time;
        }
    }
    all > 0.0 && same >= 0.9 * all
}

/// Ranks that send to or receive from one another, as a pipeline does; stages are sets of ranks that reduce together.
pub(super) fn stages(study: &Study<'_>) -> Vec<Vec<RankId>> {
    let mut linked = false;
    let mut stage_of: BTreeMap<RankId, RankId> = study.trace().rank_ids().map(|(rank, _)| (rank, rank)).collect();
    for instance in study.collectives().iter().filter(|instance| instance.members.len() > 1) {
        match instance.kind {
            CollectiveKind::SendReceive if instance.members.len() == 2 => linked = true,
            CollectiveKind::AllReduce | CollectiveKind::ReduceScatter | CollectiveKind::AllGather
                if instance.members.len() < stage_of.len() =>
            {
                let ranks: Vec<RankId> = instance.members.iter().map(|member| member.rank).collect();
                let Some(&to) = ranks.iter().filter_map(|rank| stage_of.get(rank)).min() else { continue };
                let from: Vec<RankId> = ranks.iter().filter_map(|rank| stage_of.get(rank)).copied().collect();
                for stage in stage_of.values_mut().filter(|stage| from.contains(stage)) {
                    *stage = to;
                }
            }
            _ => {}
        }
    }
    if !linked {
        return Vec::new();
    }
    let mut stages: BTreeMap<RankId, Vec<RankId>> = BTreeMap::new();
    for (rank, stage) in stage_of {
        stages.entry(stage).or_default().push(rank);
    }
    stages.into_values().collect()
}
