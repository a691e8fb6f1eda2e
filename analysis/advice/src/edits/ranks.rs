//! Ranks that are as fast as the others.

use std::collections::BTreeMap;

use gapless_analysis::graph::{NodeId, NodeKind};
use gapless_analysis::replay::Draft;
use gapless_trace::{RankId, StrId};

use super::{Basis, Effect, Guard, Outlook, Refusal, Transformation};
use crate::spec::Edit;
use crate::study::Study;

/// Slow ranks take the time of the others: `no-stragglers`, `no-stragglers.compute(rank=3)`; work that is dealt unevenly
/// is dealt evenly: `no-stragglers.even`.
#[derive(Debug)]
pub(super) struct NoStragglers;

impl Transformation for NoStragglers {
    fn id(&self) -> &'static str {
        "no-stragglers"
    }

    fn title(&self) -> &'static str {
        "Slow ranks do the same work in the time of the others"
    }

    fn parts(&self) -> &'static [&'static str] {
        &["compute", "host", "even"]
    }

    fn basis(&self) -> Basis {
        Basis::Replay
    }

    fn apply(
        &self,
        edit: &Edit,
        study: &Study<'_>,
        draft: &mut Draft<'_>,
        outlook: Outlook,
    ) -> Result<Effect, Refusal> {
        if study.trace().ranks().len() < 2 {
            return Err(Refusal::new("the recording has one rank: there is nothing to compare it with"));
        }
        let mut touched = Vec::new();
        let mut alike = true;
        if edit.part() != Some("host") {
            alike = compute(edit, study, draft, outlook, &mut touched);
        }
        if !matches!(edit.part(), Some("compute" | "even")) {
            host(edit, study, draft, outlook, &mut touched);
        }
        if touched.is_empty() {
            return Err(super::scale::nothing(edit));
        }
        let guards = vec![Guard {
            holds: alike,
            text: if alike {
                "All ranks run the same kernels in the same order in each step.".to_owned()
            } else {
                "Ranks run different kernels: compared are those of one name, by their means.".to_owned()
            },
        }];
        Ok(Effect {
            touched,
            guards,
            assumptions: vec![if edit.part() == Some("even") {
                "Each piece of work takes the mean over all ranks; at worst half of what a rank has above it stays."
                    .to_owned()
            } else {
                "Each piece of work takes the median of all ranks, or their mean at worst.".to_owned()
            }],
            ..Effect::default()
        })
    }
}

fn rank_of(study: &Study<'_>, id: NodeId) -> Option<RankId> {
    study.graph().node(id).place.map(|place| place.rank)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The mean, or at worst half way to it for who has more.
fn even(own: f64, mean: f64, outlook: Outlook) -> f64 {
    if own > mean { mean + (own - mean) * outlook.pick(0.0, 0.0, 0.5) } else { mean }
}

/// The middle of values, or their mean at worst.
fn centre(values: &mut [f64], outlook: Outlook) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = |place: usize| values.get(place).copied().unwrap_or_default();
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    let median = f64::midpoint(at(values.len().saturating_sub(1) / 2), at(values.len() / 2));
    outlook.pick(median.min(mean), median, mean.max(median))
}

/// Gives kernels the centre over the ranks; says whether all ranks run the same ones.
fn compute(edit: &Edit, study: &Study<'_>, draft: &mut Draft<'_>, outlook: Outlook, touched: &mut Vec<NodeId>) -> bool {
    let graph = study.graph();
    let names = study.trace().events().names();
    let name =
        |id: NodeId| graph.node(id).event.and_then(|event| names.get(event.index())).copied().unwrap_or(StrId::EMPTY);
    let mut by_step: BTreeMap<Option<usize>, BTreeMap<RankId, Vec<NodeId>>> = BTreeMap::new();
    for id in graph.node_ids() {
        if matches!(graph.node(id).kind, NodeKind::Kernel | NodeKind::Copy | NodeKind::Fill)
            && let Some(rank) = rank_of(study, id)
        {
            by_step.entry(study.facts().step(id)).or_default().entry(rank).or_default().push(id);
        }
    }
    let chosen = |id: NodeId| edit.selector().is_empty() || edit.selector().fits(study, id);
    let is_even = edit.part() == Some("even");
    let mut all_alike = true;
    for ranks in by_step.values_mut() {
        for nodes in ranks.values_mut() {
            nodes.sort_by_key(|&id| (graph.node(id).start_ns, id));
        }
        let mut signatures = ranks.values().map(|nodes| nodes.iter().map(|&id| name(id)).collect::<Vec<_>>());
        let first = signatures.next();
        let alike =
            ranks.len() == study.trace().ranks().len() && signatures.all(|other| Some(&other) == first.as_ref());
        let lists: Vec<&Vec<NodeId>> = ranks.values().collect();
        if alike {
            for place in 0..lists.first().map_or(0, |list| list.len()) {
                let same: Vec<NodeId> = lists.iter().filter_map(|list| list.get(place)).copied().collect();
                let mut durations: Vec<f64> = same.iter().map(|&id| draft.duration_ns(id) as f64).collect();
                let middle = if is_even { mean(&durations) } else { centre(&mut durations, outlook) };
                for id in same.into_iter().filter(|&id| chosen(id)) {
                    let own = draft.duration_ns(id) as f64;
                    let new = if is_even { even(own, middle, outlook) } else { middle }.round() as i64;
                    draft.set_duration(id, new);
                    touched.push(id);
                }
            }
            continue;
        }
        all_alike = false;
        let mut means: BTreeMap<StrId, BTreeMap<RankId, (f64, f64)>> = BTreeMap::new();
        for (&rank, nodes) in ranks.iter() {
            for &id in nodes {
                let entry = means.entry(name(id)).or_default().entry(rank).or_default();
                *entry = (entry.0 + draft.duration_ns(id) as f64, entry.1 + 1.0);
            }
        }
        for (&rank, nodes) in ranks.iter() {
            for &id in nodes.iter().filter(|&&id| chosen(id)) {
                let Some(of_ranks) = means.get(&name(id)).filter(|of_ranks| of_ranks.len() > 1) else { continue };
                let mut centres: Vec<f64> = of_ranks.values().map(|(sum, count)| sum / count).collect();
                let own = of_ranks.get(&rank).map_or(0.0, |(sum, count)| sum / count);
                if own > 0.0 {
                    let by =
                        if is_even { even(own, mean(&centres), outlook) } else { centre(&mut centres, outlook) } / own;
                    draft.scale_duration(id, by);
                    touched.push(id);
                }
            }
        }
    }
    all_alike
}

/// Scales the host time of each step and rank to the centre over the ranks.
fn host(edit: &Edit, study: &Study<'_>, draft: &mut Draft<'_>, outlook: Outlook, touched: &mut Vec<NodeId>) {
    let graph = study.graph();
    let mut by_step: BTreeMap<Option<usize>, BTreeMap<RankId, Vec<NodeId>>> = BTreeMap::new();
    for id in graph.node_ids().filter(|&id| graph.node(id).kind.is_host_work()) {
        if let Some(rank) = rank_of(study, id) {
            by_step.entry(study.facts().step(id)).or_default().entry(rank).or_default().push(id);
        }
    }
    for ranks in by_step.values().filter(|ranks| ranks.len() > 1) {
        let sum =
            |draft: &Draft<'_>, nodes: &[NodeId]| nodes.iter().map(|&id| draft.duration_ns(id) as f64).sum::<f64>();
        let mut sums: Vec<f64> = ranks.values().map(|nodes| sum(draft, nodes)).collect();
        let middle = centre(&mut sums, outlook);
        for nodes in ranks.values() {
            let own = sum(draft, nodes);
            if own <= 0.0 {
                continue;
            }
            for &id in nodes.iter().filter(|&&id| edit.selector().is_empty() || edit.selector().fits_host(study, id)) {
                draft.scale_duration(id, middle / own);
                touched.push(id);
            }
        }
    }
}

/// All ranks get an equal share of the compute work: `balance-stages`.
#[derive(Debug)]
pub(super) struct BalanceStages;

impl Transformation for BalanceStages {
    fn id(&self) -> &'static str {
        "balance-stages"
    }

    fn title(&self) -> &'static str {
        "Compute work is spread evenly over the ranks"
    }

    fn basis(&self) -> Basis {
        Basis::ReplayAndModel
    }

    fn apply(&self, _: &Edit, study: &Study<'_>, draft: &mut Draft<'_>, outlook: Outlook) -> Result<Effect, Refusal> {
        let mut by_rank: BTreeMap<RankId, Vec<NodeId>> = BTreeMap::new();
        for id in study.nodes_of(NodeKind::Kernel) {
            if let Some(rank) = rank_of(study, id) {
                by_rank.entry(rank).or_default().push(id);
            }
        }
        if by_rank.len() < 2 {
            return Err(Refusal::new("the recording has one rank with kernels: there is nothing to balance"));
        }
        let sums: Vec<f64> =
            by_rank.values().map(|nodes| nodes.iter().map(|&id| draft.duration_ns(id) as f64).sum()).collect();
        let mean = sums.iter().sum::<f64>() / sums.len() as f64;
        let mut touched = Vec::new();
        for (nodes, sum) in by_rank.values().zip(&sums).filter(|(_, sum)| **sum > 0.0) {
            // Layers cannot be cut: at worst half of the imbalance stays.
            let new = mean + (sum - mean) * outlook.pick(0.0, 0.1, 0.5);
            for &id in nodes {
                draft.scale_duration(id, new / sum);
            }
            touched.extend_from_slice(nodes);
        }
        Ok(Effect {
            touched,
            assumptions: vec!["Layers move so that 0 to 50 % of the imbalance stays (10 % expected).".to_owned()],
            ..Effect::default()
        })
    }
}
