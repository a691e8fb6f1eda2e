//! D30: the backward pass computes activations again.

use gapless_analysis::graph::NodeId;

use super::share::{counted, longest_first, path_share, time_per_step};
use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::edits::{Guard, recomputed};
use crate::scene::Scene;
use crate::text::{ms, percent};

/// Activation checkpointing.
#[derive(Debug)]
pub(super) struct Recompute;

impl Detector for Recompute {
    fn id(&self) -> &'static str {
        "recompute"
    }

    fn title(&self) -> &'static str {
        "Activations are computed twice"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[
            Threshold { name: "share", default: 0.03, help: "share of the step that it takes on the critical path" },
            Threshold { name: "full", default: 0.9, help: "share of device memory in use above which it is needed" },
        ]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let study = scene.study();
        let nodes: Vec<NodeId> = recomputed(study);
        let of_step = path_share(scene, &nodes);
        if nodes.is_empty() || of_step < threshold(scene, self, "share") {
            return Verdict::nothing();
        }
        let used = memory_share(scene);
        if used.is_some_and(|used| used > threshold(scene, self, "full")) {
            return Verdict::nothing();
        }
        let memory = used.map_or_else(
            || "The recording does not show how much memory is in use.".to_owned(),
            |used| format!("At most {} of the device's memory is in use.", percent(used)),
        );
        Verdict::one(Finding {
            title: format!("Activation checkpointing computes {} of each step twice", percent(of_step)),
            paragraph: format!(
                "{} in each step belong to forward operators that the backward pass runs again: {} of the step, {} of the \
                 critical path. That is the price of not keeping activations. {memory}",
                counted(nodes.len() / study.step_count(), "kernel"),
                ms(time_per_step(scene, &nodes)),
                percent(of_step),
            ),
            fix:
                "Checkpoint only what is large and cheap (selective checkpointing), or none if memory allows; shard or \
                  offload instead."
                    .to_owned(),
            code: "context_fn = functools.partial(create_selective_checkpoint_contexts, policy_fn)\n\
                   checkpoint(block, x, use_reentrant=False, context_fn=context_fn)"
                .to_owned(),
            references: vec!["https://pytorch.org/docs/stable/checkpoint.html".to_owned()],
            confidence: Some(Confidence::High),
            guards: vec![Guard { holds: used.is_some(), text: memory.clone() }],
            edits: vec!["no-recompute".to_owned()],
            evidence: scene.events_of(&longest_first(scene, &nodes)),
            nodes,
            ..Finding::default()
        })
    }
}

/// The greatest share of a device's memory that was allocated, by the recording's memory events; `None` without any.
fn memory_share(scene: &Scene<'_, '_>) -> Option<f64> {
    let trace = scene.study().trace();
    let capacity = trace.ranks().iter().filter_map(|rank| rank.devices.first()?.memory_bytes).min()?;
    let most = trace
        .counters()
        .iter()
        .filter(|series| {
            let name = trace.text(series.name).to_ascii_lowercase();
            // Host memory has counters too.
            name.contains("gpu") && name.contains("memory")
        })
        .flat_map(|series| series.values.iter().copied())
        .fold(0.0, f64::max);
    (most > 0.0 && capacity > 0).then(|| most / capacity as f64).filter(|share| *share <= 1.0)
}
