//! D12: collectives wait for one rank.

use gapless_analysis::graph::NodeId;

use super::common::{longest_first, rank_number, share};
use super::ranks_common::{is_late, late_ranks, stages};
use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::edits::Guard;
use crate::scene::Scene;
use crate::text::{ms, percent};

/// Waits that are longer than transfers, and one rank that is last.
#[derive(Debug)]
pub(super) struct LateRank;

impl Detector for LateRank {
    fn id(&self) -> &'static str {
        "late-rank"
    }

    fn title(&self) -> &'static str {
        "Collectives wait for one rank"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[
            Threshold { name: "last", default: 0.7, help: "share of the collectives to which the rank comes last" },
            Threshold { name: "ratio", default: 1.0, help: "mean wait over mean transfer" },
            Threshold {
                name: "instances",
                default: 5.0,
                help: "collectives that are needed, first and last of a group left out",
            },
        ]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let study = scene.study();
        if study.trace().ranks().len() < 2 {
            return if study.collectives().is_empty() {
                Verdict::nothing()
            } else {
                Verdict::Abstains("one rank was recorded: who is late is not known".to_owned())
            };
        }
        if !stages(study).is_empty() {
            // Ranks of a pipeline wait for one another by design.
            return Verdict::nothing();
        }
        let pairs = study.collectives().iter().zip(study.timings());
        let counted: Vec<_> = pairs.filter(|(instance, _)| instance.members.len() > 1 && !instance.edge).collect();
        if (counted.len() as f64) < threshold(scene, self, "instances") {
            return Verdict::Abstains(format!(
                "{} collectives count, the first and last of each group left out: too few to name a rank",
                counted.len()
            ));
        }
        if counted.iter().all(|(_, timing)| !timing.margin_error_ns.is_finite()) {
            return Verdict::Abstains("the clocks of the ranks cannot be aligned".to_owned());
        }
        let transfer: i64 = counted.iter().map(|(_, timing)| timing.transfer_ns).sum();
        let spread: i64 = counted.iter().map(|(_, timing)| timing.arrival_spread_ns).sum();
        if (spread as f64) < threshold(scene, self, "ratio") * transfer as f64 {
            return Verdict::nothing();
        }
        let mut findings = Vec::new();
        for rank in late_ranks(study).iter().filter(|rank| is_late(rank)) {
            let last = rank.delayer as f64 / rank.collectives.max(1) as f64;
            if last < threshold(scene, self, "last") {
                continue;
            }
            let number = rank_number(study, rank.rank);
            let nodes: Vec<NodeId> = study
                .graph()
                .node_ids()
                .filter(|&id| study.rank(id) == Some(rank.rank) && scene.path_ns(id) > 0)
                .collect();
            let waits: Vec<NodeId> = counted
                .iter()
                .filter(|(_, timing)| timing.delayer == Some(rank.rank))
                .filter_map(|(instance, _)| instance.members.iter().find(|member| member.rank == rank.rank))
                .filter_map(|member| study.facts().node_of(member.event))
                .collect();
            let on_path: i64 = nodes.iter().map(|&id| scene.path_ns(id)).sum();
            findings.push(Finding {
                title: format!("All ranks wait for rank {number}, about {} per step", ms(rank.cost_per_step_ns as f64)),
                paragraph: format!(
                    "Rank {number} comes last to {} of its {} collectives by more than the clocks can be wrong ({}), on average \
                     {} later than the others. The others wait there {:.0} times as long as moving the data takes: a faster \
                     network would bring nothing. {} of the critical path is on this rank.",
                    rank.delayer,
                    rank.collectives,
                    percent(last),
                    ms(rank.lateness_ns),
                    spread as f64 / transfer.max(1) as f64,
                    percent(share(scene, on_path)),
                ),
                fix: "Find out why this rank is slower (device clocks and temperature, its processor and neighbours, its share \
                      of the data); the network is not the cause."
                    .to_owned(),
                code: format!(
                    "nvidia-smi -q -d CLOCK,PERFORMANCE,ECC   # on the host of rank {number}\nnumactl --show; taskset -p $PID"
                ),
                references: vec![
                    "https://arxiv.org/abs/2505.05713".to_owned(),
                    "https://docs.nvidia.com/deploy/nvidia-smi/index.html".to_owned(),
                ],
                rank_id: Some(rank.rank.0),
                confidence: Some(if rank.steps >= 3 { Confidence::High } else { Confidence::Low }),
                guards: vec![
                    Guard {
                        holds: true,
                        text: format!(
                            "Lateness is {} with a standard deviation of {}; the first and last collective of each group do not count.",
                            ms(rank.lateness_ns),
                            ms(rank.error_ns)
                        ),
                    },
                    Guard { holds: rank.steps >= 3, text: format!("It was seen in {} steps.", rank.steps) },
                ],
                edits: vec![format!("no-stragglers(rank={number})")],
                evidence: scene.events_of(&longest_first(study, waits)),
                nodes,
                ..Finding::default()
            });
        }
        Verdict::Findings(findings)
    }
}
