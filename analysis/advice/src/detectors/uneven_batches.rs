//! D15: ranks get batches of different size, another one the largest in each step.

use gapless_analysis::graph::{NodeId, NodeKind};

use super::common::{elements, has_shapes, median, rank_number};
use super::ranks_common::{RankSteps, compute_ns, stages};
use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::edits::Guard;
use crate::scene::Scene;
use crate::text::percent;

/// Compute time that varies over ranks and steps as the shapes do.
#[derive(Debug)]
pub(super) struct UnevenBatches;

const CODE: &str = "order = sorted(range(len(lengths)), key=lambda i: lengths[i])\n# deal batches so that each rank gets about the same number of tokens, or pack to a fixed length";

impl Detector for UnevenBatches {
    fn id(&self) -> &'static str {
        "uneven-batches"
    }

    fn title(&self) -> &'static str {
        "Ranks get unequal shares of each batch"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[
            Threshold {
                name: "excess",
                default: 0.05,
                help: "by which share the slowest rank computes longer than the mean, in the median step",
            },
            Threshold { name: "same", default: 0.6, help: "share of the steps in which one rank may be the slowest" },
            Threshold {
                name: "correlation",
                default: 0.7,
                help: "correlation of compute time with the elements that operators take in",
            },
        ]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let study = scene.study();
        if scene.idle().ranks().len() < 2 {
            return Verdict::Abstains("there is one rank: nothing to compare it with".to_owned());
        }
        let times = RankSteps::new(scene, |id| compute_ns(study, id));
        if times.steps.len() < 3 || !stages(study).is_empty() {
            return Verdict::Abstains("three steps of ranks that do the same are needed".to_owned());
        }
        let excess = |sums: &Vec<f64>| {
            let mean = sums.iter().sum::<f64>() / sums.len().max(1) as f64;
            sums.iter().copied().fold(0.0, f64::max) / mean.max(1.0) - 1.0
        };
        let typical = median(times.steps.iter().map(excess).collect());
        if typical < threshold(scene, self, "excess") {
            return Verdict::nothing();
        }
        let slowest = times.slowest();
        let most = (0..times.ranks.len())
            .map(|rank| slowest.iter().filter(|&&other| other == rank).count())
            .max()
            .unwrap_or_default();
        if most as f64 > threshold(scene, self, "same") * slowest.len() as f64 {
            return Verdict::nothing();
        }
        if !has_shapes(study) {
            return Verdict::Abstains(
                "compute time varies from rank to rank and step to step, but shapes were not recorded (record_shapes=True)"
                    .to_owned(),
            );
        }
        let size = |id: NodeId| {
            let kernel = study.graph().node(id).kind == NodeKind::Kernel;
            kernel.then(|| study.facts().operator(id).and_then(|operator| elements(study, operator))).flatten()
        };
        let sizes = RankSteps::new(scene, size);
        let pairs: Vec<(f64, f64)> =
            sizes.steps.iter().flatten().copied().zip(times.steps.iter().flatten().copied()).collect();
        let r = correlation(&pairs);
        if r < threshold(scene, self, "correlation") || sizes.steps.len() != times.steps.len() {
            return Verdict::nothing();
        }
        let nodes: Vec<NodeId> = study.nodes_of(NodeKind::Kernel).filter(|&id| scene.path_ns(id) > 0).collect();
        let named: Vec<String> = slowest
            .iter()
            .take(5)
            .filter_map(|&place| times.ranks.get(place))
            .map(|&rank| rank_number(study, rank).to_string())
            .collect();
        Verdict::one(Finding {
            title: format!("The slowest rank computes {} longer than the mean, another one in each step", percent(typical)),
            paragraph: format!(
                "In each step the rank with the most work computes {} longer than the ranks do on average, and the others \
                 wait for it. It is not always the same one (ranks {} in the first steps), and compute time follows the \
                 elements that operators take in (correlation {r:.2}), so it is the data and not a device.",
                percent(typical),
                named.join(", "),
            ),
            fix: "Give ranks batches of equal work: pack sequences to equal length, deal them by length, or limit batches by \
                  tokens (for attention by the square of the length) instead of samples."
                .to_owned(),
            code: CODE.to_owned(),
            references: vec!["https://arxiv.org/abs/2505.05713".to_owned(), "https://arxiv.org/abs/2107.02027".to_owned()],
            confidence: Some(Confidence::High),
            guards: vec![
                Guard { holds: true, text: "The slowest rank changes from step to step.".to_owned() },
                Guard { holds: true, text: "Recorded shapes differ as the times do.".to_owned() },
            ],
            edits: vec!["no-stragglers.even".to_owned()],
            evidence: scene.events_of(&super::common::longest_first(study, nodes.clone())),
            nodes,
            ..Finding::default()
        })
    }
}

/// Pearson's correlation; 0 where one of the two does not vary.
fn correlation(pairs: &[(f64, f64)]) -> f64 {
    let n = pairs.len().max(1) as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(|pair| pair.0), mean(|pair| pair.1));
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for pair in pairs {
        xy += (pair.0 - x) * (pair.1 - y);
        xx += (pair.0 - x).powi(2);
        yy += (pair.1 - y).powi(2);
    }
    if xx > 0.0 && yy > 0.0 { xy / (xx * yy).sqrt() } else { 0.0 }
}
