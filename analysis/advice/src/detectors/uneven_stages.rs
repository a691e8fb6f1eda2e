//! D16: one stage of a pipeline has more to compute than the others.

use gapless_analysis::graph::{NodeId, NodeKind};
use gapless_trace::RankId;

use super::common::{longest_first, median, rank_number};
use super::ranks_common::{RankSteps, compute_ns, stages};
use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::edits::Guard;
use crate::scene::Scene;
use crate::text::{ms, percent};

/// Compute time by stage of a pipeline.
#[derive(Debug)]
pub(super) struct UnevenStages;

const CODE: &str = "# Megatron-LM: fewer layers where the embedding and the loss are\n--decoder-first-pipeline-num-layers 7 --decoder-last-pipeline-num-layers 5";

impl Detector for UnevenStages {
    fn id(&self) -> &'static str {
        "uneven-stages"
    }

    fn title(&self) -> &'static str {
        "One stage of the pipeline has more work"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[
            Threshold { name: "slower", default: 0.05, help: "by which share it computes longer than the others" },
            Threshold { name: "steps", default: 0.8, help: "share of the steps in which that must be so" },
        ]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let study = scene.study();
        let stages = stages(study);
        if stages.len() < 2 {
            return Verdict::nothing();
        }
        let times = RankSteps::new(scene, |id| compute_ns(study, id));
        if times.steps.len() < 2 {
            return Verdict::Abstains("two steps in which all stages compute are needed".to_owned());
        }
        // Mean over the ranks of a stage.
        let of_stage = |sums: &Vec<f64>, stage: &Vec<RankId>| {
            let places = stage.iter().filter_map(|rank| times.ranks.binary_search(rank).ok());
            let values: Vec<f64> = places.filter_map(|place| sums.get(place)).copied().collect();
            values.iter().sum::<f64>() / values.len().max(1) as f64
        };
        let by_stage: Vec<Vec<f64>> =
            times.steps.iter().map(|sums| stages.iter().map(|stage| of_stage(sums, stage)).collect()).collect();
        let steps = RankSteps { ranks: (0..stages.len() as u32).map(RankId).collect(), steps: by_stage };
        let mut findings = Vec::new();
        for (place, stage) in stages.iter().enumerate() {
            let ratios = steps.ratios(place);
            let slow = ratios.iter().filter(|&&ratio| ratio >= 1.0 + threshold(scene, self, "slower")).count();
            let is_slowest = steps.slowest().iter().filter(|&&slowest| slowest == place).count();
            let needed = threshold(scene, self, "steps") * ratios.len() as f64;
            if (slow as f64) < needed || (is_slowest as f64) < needed {
                continue;
            }
            let by = median(ratios.clone()) - 1.0;
            let own = median(steps.steps.iter().filter_map(|sums| sums.get(place)).copied().collect());
            let ranks: Vec<String> = stage.iter().map(|&rank| rank_number(study, rank).to_string()).collect();
            let nodes: Vec<NodeId> = study
                .nodes_of(NodeKind::Kernel)
                .filter(|&id| study.rank(id).is_some_and(|rank| stage.contains(&rank)))
                .collect();
            let last = place + 1 == stages.len();
            findings.push(Finding {
                title: format!("Stage {place} of the pipeline computes {} longer than the others", percent(by)),
                paragraph: format!(
                    "The ranks send to and receive from one another, so they form a pipeline of {} stages. Stage {place} (rank \
                     {}) computes {} per step, {} more than the stages do in the middle, in {slow} of {} steps. All others \
                     wait for it in every micro-batch.{}",
                    stages.len(),
                    ranks.join(", "),
                    ms(own),
                    percent(by),
                    ratios.len(),
                    if last { " The last stage often has the projection to the vocabulary and the loss on top of its layers." } else { "" },
                ),
                fix: "Give this stage fewer layers, split the embedding or the loss off it, or interleave smaller stages."
                    .to_owned(),
                code: CODE.to_owned(),
                references: vec![
                    "https://docs.nvidia.com/megatron-core/developer-guide/latest/index.html".to_owned(),
                    "https://arxiv.org/abs/2505.05713".to_owned(),
                ],
                rank_id: (stage.len() == 1).then(|| stage.first().map_or(0, |rank| rank.0)),
                confidence: Some(Confidence::High),
                guards: vec![Guard { holds: true, text: "It is the slowest stage in nearly all steps.".to_owned() }],
                edits: vec!["balance-stages".to_owned()],
                evidence: scene.events_of(&longest_first(study, nodes.clone())),
                nodes,
                ..Finding::default()
            });
        }
        Verdict::Findings(findings)
    }
}
