//! D13: one rank computes the same, slower.

use gapless_analysis::graph::NodeId;
use gapless_trace::RankId;

use super::common::{elements, longest_first, median, rank_number};
use super::ranks_common::{RankSteps, are_replicas, by_name, compute_ns, late_ranks};
use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::edits::Guard;
use crate::scene::Scene;
use crate::text::percent;

/// One rank whose kernels all take longer than those of the others.
#[derive(Debug)]
pub(super) struct SlowDevice;

/// Fewer steps do not show what is lasting.
const LEAST_STEPS: usize = 3;

impl Detector for SlowDevice {
    fn id(&self) -> &'static str {
        "slow-device"
    }

    fn title(&self) -> &'static str {
        "One rank computes slower than the others"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[
            Threshold { name: "slower", default: 0.05, help: "by which share its kernels take longer" },
            Threshold { name: "steps", default: 0.8, help: "share of the steps in which that must be so" },
            Threshold {
                name: "kernels",
                default: 0.8,
                help: "share of the compute time, by kernel, for which that must be so",
            },
        ]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let study = scene.study();
        if scene.idle().ranks().len() < 2 {
            return Verdict::Abstains("there is one rank: nothing to compare it with".to_owned());
        }
        if !are_replicas(scene) {
            return Verdict::Abstains("the ranks run different kernels: they cannot be compared one by one".to_owned());
        }
        let times = RankSteps::new(scene, |id| compute_ns(study, id));
        if times.steps.len() < LEAST_STEPS {
            return Verdict::Abstains(format!(
                "{} steps with kernels on all ranks: at least {LEAST_STEPS} are needed to tell a lasting difference",
                times.steps.len()
            ));
        }
        let slower = 1.0 + threshold(scene, self, "slower");
        let names = by_name(scene);
        let late = late_ranks(study);
        let mut findings = Vec::new();
        for (place, &rank) in times.ranks.iter().enumerate() {
            let ratios = times.ratios(place);
            let slow = ratios.iter().filter(|&&ratio| ratio >= slower).count();
            if (slow as f64) < threshold(scene, self, "steps") * ratios.len() as f64 {
                continue;
            }
            let (mut slow_ns, mut all_ns, mut worst) = (0.0, 0.0, Vec::new());
            for (name, of_ranks) in &names {
                let own = of_ranks.get(&rank).map_or(0.0, |entry| entry.0);
                let others = of_ranks.iter().filter(|(other, _)| **other != rank).map(|(_, entry)| entry.0).collect();
                let middle = median(others);
                all_ns += own;
                if own >= slower * middle && middle > 0.0 {
                    slow_ns += own;
                    worst.push((own - middle, *name));
                }
            }
            if slow_ns < threshold(scene, self, "kernels") * all_ns || !same_shapes(scene, rank) {
                continue;
            }
            let number = rank_number(study, rank);
            let by = median(ratios.clone()) - 1.0;
            let nodes: Vec<NodeId> = study
                .nodes_of(gapless_analysis::graph::NodeKind::Kernel)
                .filter(|&id| study.rank(id) == Some(rank))
                .collect();
            let is_late = late.iter().any(|other| other.rank == rank && other.delayer > 0);
            findings.push(Finding {
                title: format!("Rank {number} computes {} slower than the others", percent(by)),
                paragraph: format!(
                    "The same kernels take {} longer on rank {number} than on the others, in {slow} of {} steps; kernels with \
                     {} of its compute time are slower, so it is the device and not one kind of work. {}",
                    percent(by),
                    ratios.len(),
                    percent(slow_ns / all_ns.max(1.0)),
                    if is_late { "At collectives the others wait for it." } else { "No collective shows that others wait for it." },
                ),
                fix: "Check clocks, temperature, power limit, memory errors and other users of this device; replace or cordon \
                      it if that does not help."
                    .to_owned(),
                code: "nvidia-smi --query-gpu=clocks.sm,clocks_throttle_reasons.active,temperature.gpu,ecc.errors.uncorrected.volatile.total --format=csv".to_owned(),
                references: vec![
                    "https://docs.nvidia.com/deploy/nvidia-smi/index.html".to_owned(),
                    "https://arxiv.org/abs/2505.05713".to_owned(),
                ],
                rank_id: Some(rank.0),
                confidence: Some(if is_late { Confidence::High } else { Confidence::Medium }),
                guards: vec![
                    Guard { holds: true, text: "All ranks run the same kernels equally often, and recorded shapes agree.".to_owned() },
                    Guard { holds: is_late, text: "The rank comes last to collectives.".to_owned() },
                ],
                edits: vec![format!("no-stragglers.compute(rank={number})")],
                evidence: scene.events_of(&longest_first(study, nodes.clone())),
                nodes,
                ..Finding::default()
            });
        }
        Verdict::Findings(findings)
    }
}

/// Whether a rank's operators have as many input elements as those of the others, within 2 %; true without shapes.
pub(super) fn same_shapes(scene: &Scene<'_, '_>, rank: RankId) -> bool {
    let study = scene.study();
    let mut sums: std::collections::BTreeMap<RankId, f64> = std::collections::BTreeMap::new();
    for id in study.nodes_of(gapless_analysis::graph::NodeKind::Kernel) {
        let size = study.facts().operator(id).and_then(|operator| elements(study, operator));
        if let (Some(size), Some(of)) = (size, study.rank(id)) {
            *sums.entry(of).or_default() += size;
        }
    }
    let own = sums.get(&rank).copied().unwrap_or_default();
    let others: Vec<f64> = sums.iter().filter(|(other, _)| **other != rank).map(|(_, sum)| *sum).collect();
    others.is_empty() || (own / median(others).max(1.0) - 1.0).abs() <= 0.02
}
