//! D14: the processor of one rank is slower.

use gapless_analysis::graph::NodeId;

use super::common::{longest_first, median, rank_number};
use super::ranks_common::{RankSteps, compute_ns, host_ns, is_late, late_ranks, stages};
use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::edits::Guard;
use crate::scene::Scene;
use crate::text::percent;

/// One rank whose threads take longer for the same, and for which others wait.
#[derive(Debug)]
pub(super) struct SlowHost;

impl Detector for SlowHost {
    fn id(&self) -> &'static str {
        "slow-host"
    }

    fn title(&self) -> &'static str {
        "The processor of one rank is slower"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[
            Threshold { name: "slower", default: 0.05, help: "by which share its threads take longer" },
            Threshold { name: "steps", default: 0.8, help: "share of the steps in which that must be so" },
            Threshold { name: "events", default: 0.1, help: "by which share its host events may differ in number" },
        ]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let study = scene.study();
        if scene.idle().ranks().len() < 2 {
            return Verdict::Abstains("there is one rank: nothing to compare it with".to_owned());
        }
        if !stages(study).is_empty() {
            return Verdict::Abstains("stages of a pipeline do different work".to_owned());
        }
        let host = RankSteps::new(scene, |id| host_ns(study, id));
        let compute = RankSteps::new(scene, |id| compute_ns(study, id));
        if host.steps.len() < 3 {
            return Verdict::Abstains(format!("{} steps on all ranks: at least 3 are needed", host.steps.len()));
        }
        let calls = RankSteps::new(scene, |id| host_ns(study, id).map(|_| 1.0));
        let slower = threshold(scene, self, "slower");
        let mut findings = Vec::new();
        let late = late_ranks(study);
        for (place, &rank) in host.ranks.iter().enumerate() {
            let ratios = host.ratios(place);
            let slow = ratios.iter().filter(|&&ratio| ratio >= 1.0 + slower).count();
            let is_slow = slow as f64 >= threshold(scene, self, "steps") * ratios.len() as f64;
            // What computes slower is the matter of another detector.
            let computes_alike = median(compute.ratios(place)) < 1.0 + slower;
            let delays = late.iter().any(|other| other.rank == rank && is_late(other));
            // A profiler that records more on one rank slows its host.
            let records_alike = (median(calls.ratios(place)) - 1.0).abs() <= threshold(scene, self, "events");
            if !is_slow || !computes_alike || !delays || !records_alike {
                continue;
            }
            let number = rank_number(study, rank);
            let by = median(ratios.clone()) - 1.0;
            let nodes: Vec<NodeId> = study
                .graph()
                .node_ids()
                .filter(|&id| study.rank(id) == Some(rank) && host_ns(study, id).is_some() && scene.path_ns(id) > 0)
                .collect();
            findings.push(Finding {
                title: format!("The processor of rank {number} takes {} longer than those of the others", percent(by)),
                paragraph: format!(
                    "In {slow} of {} steps the threads of rank {number} take longer for the same operators ({} in the \
                     middle), while its kernels run as fast as elsewhere; it comes last to the collectives, and all others \
                     wait.",
                    ratios.len(),
                    percent(by),
                ),
                fix: "Look for other processes on its host, a limit of its container, wrong pinning to cores or memory of the \
                      other socket, or a low clock."
                    .to_owned(),
                code: "numactl --cpunodebind=$NODE --membind=$NODE python train.py\ncat /sys/fs/cgroup/cpu.stat   # nr_throttled"
                    .to_owned(),
                references: vec![
                    "https://docs.pytorch.org/tutorials/recipes/recipes/tuning_guide.html#utilize-non-uniform-memory-access-numa-controls"
                        .to_owned(),
                ],
                rank_id: Some(rank.0),
                confidence: Some(Confidence::High),
                guards: vec![
                    Guard { holds: true, text: "Kernels of the rank are as fast as those of the others.".to_owned() },
                    Guard { holds: true, text: "As much was recorded on its threads as on those of the others.".to_owned() },
                ],
                edits: vec![format!("no-stragglers.host(rank={number})")],
                evidence: scene.events_of(&longest_first(study, nodes.clone())),
                nodes,
                ..Finding::default()
            });
        }
        Verdict::Findings(findings)
    }
}
