//! D17: too few micro-batches to fill the pipeline.

use gapless_analysis::CollectiveKind;
use gapless_analysis::graph::NodeKind;
use gapless_analysis::interval::{Interval, IntervalSet};
use gapless_analysis::path::step_windows;
use gapless_trace::RankId;

use super::common::{collective_kind, longest_first, median, transfers_of};
use super::ranks_common::stages;
use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::edits::Guard;
use crate::scene::Scene;
use crate::text::percent;

/// Stages that wait for one another while the pipeline fills and drains.
#[derive(Debug)]
pub(super) struct PipelineBubble;

const CODE: &str = "# Megatron-LM: more micro-batches, or several chunks of layers per stage\n--micro-batch-size 1 --global-batch-size 256 --num-layers-per-virtual-pipeline-stage 2";

impl Detector for PipelineBubble {
    fn id(&self) -> &'static str {
        "pipeline-bubble"
    }

    fn title(&self) -> &'static str {
        "The pipeline has too few micro-batches"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[
            Threshold { name: "idle", default: 0.1, help: "share of the steps in which stages wait, in the mean" },
            Threshold {
                name: "at-least",
                default: 0.7,
                help: "part of (p − 1) ÷ (m + p − 1) that the waiting must reach",
            },
        ]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let study = scene.study();
        let stages = stages(study);
        let p = stages.len();
        if p < 2 {
            return Verdict::nothing();
        }
        let windows: Vec<Interval> =
            step_windows(study.graph()).into_iter().map(|(from, to)| Interval::new(from, to)).collect();
        if windows.is_empty() {
            return Verdict::Abstains(
                "the recording has no steps: where the pipeline fills and drains is not known".to_owned(),
            );
        }
        let Some(m) = micro_batches(scene, &stages) else {
            return Verdict::Abstains(
                "how many micro-batches a step has cannot be told from its sends and receives".to_owned(),
            );
        };
        // Transfers with what they wait for.
        let exchange = |rank: RankId| {
            let nodes = study.nodes_of(NodeKind::Arrival).filter(|&id| study.rank(id) == Some(rank));
            let spans = nodes.filter_map(|id| {
                let event = study.graph().node(id).event?;
                let transfer = study.facts().node_of(event)?;
                let is_exchange = collective_kind(study, transfer) == Some(CollectiveKind::SendReceive);
                is_exchange
                    .then(|| Interval::new(study.graph().node(id).start_ns, study.graph().node(transfer).end_ns()))
            });
            IntervalSet::from_unsorted(spans.collect())
        };
        let (mut idle, mut waiting, mut length) = (0_i64, 0_i64, 0_i64);
        for rank in scene.idle().ranks() {
            let Some(computing) = scene.idle().computing(rank) else { continue };
            let exchange = exchange(rank);
            for &window in &windows {
                let gaps = computing.gaps(window);
                idle += gaps.length();
                waiting += gaps.intersection_length(&exchange);
                length += window.length();
            }
        }
        let share = idle as f64 / length.max(1) as f64;
        let ideal = (p as f64 - 1.0) / (m as f64 + p as f64 - 1.0);
        let due = waiting as f64 / idle.max(1) as f64;
        let is_bubble = share >= threshold(scene, self, "at-least") * ideal && ideal >= threshold(scene, self, "idle");
        if share < threshold(scene, self, "idle") || !is_bubble {
            return Verdict::nothing();
        }
        let nodes = transfers_of(study, &[CollectiveKind::SendReceive]);
        Verdict::one(Finding {
            title: format!("Stages of the pipeline wait for {} of each step", percent(share)),
            paragraph: format!(
                "{p} stages work on {m} micro-batches per step, and while the pipeline fills and drains some have nothing to \
                 do: at best {} of the time, (p − 1) ÷ (m + p − 1). Measured is {}; {} of it lies within sends and receives.",
                percent(ideal),
                percent(share),
                percent(due),
            ),
            fix: "Cut the batch into more micro-batches, interleave several chunks of layers per stage, or use a schedule \
                  without bubble (zero-bubble, DualPipe)."
                .to_owned(),
            code: CODE.to_owned(),
            references: vec![
                "https://docs.pytorch.org/docs/stable/distributed.pipelining.html".to_owned(),
                "https://arxiv.org/abs/2104.04473".to_owned(),
                "https://arxiv.org/abs/2401.10241".to_owned(),
            ],
            confidence: Some(if due > 0.5 { Confidence::High } else { Confidence::Medium }),
            guards: vec![
                Guard { holds: due > 0.5, text: "Most of the idle time lies within sends and receives.".to_owned() },
                Guard { holds: false, text: "Not checked: memory must hold the activations of more micro-batches.".to_owned() },
            ],
            edits: vec![format!("parallel.microbatches(stages={p},now={m})=2x")],
            evidence: scene.events_of(&longest_first(study, nodes.clone())),
            nodes,
            ..Finding::default()
        })
    }
}

/// Micro-batches of a step: exchanges between two neighbours, half of which go forward.
fn micro_batches(scene: &Scene<'_, '_>, stages: &[Vec<RankId>]) -> Option<usize> {
    let study = scene.study();
    let steps = study.graph().steps().len().max(1);
    let mut counts: std::collections::BTreeMap<(RankId, RankId), usize> = std::collections::BTreeMap::new();
    for instance in study.collectives().iter().filter(|instance| instance.kind == CollectiveKind::SendReceive) {
        if let [a, b] = instance.members.as_slice() {
            *counts.entry((a.rank.min(b.rank), a.rank.max(b.rank))).or_default() += 1;
        }
    }
    let pairs: Vec<f64> = counts.values().map(|&count| count as f64 / steps as f64 / 2.0).collect();
    let m = median(pairs).round();
    (m >= 1.0 && counts.len() + 1 >= stages.len()).then_some(m as usize)
}
