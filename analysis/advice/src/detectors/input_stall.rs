//! D1: the step waits for its batch.

use gapless_analysis::graph::NodeKind;

use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::edits::Guard;
use crate::scene::Scene;
use crate::text::{ms, percent};

/// Fetching of batches on the critical path.
#[derive(Debug)]
pub(super) struct InputStall;

const CODE: &str = "DataLoader(dataset, batch_size=..., num_workers=4, persistent_workers=True,\n           prefetch_factor=2, pin_memory=True)";

impl Detector for InputStall {
    fn id(&self) -> &'static str {
        "input-stall"
    }

    fn title(&self) -> &'static str {
        "The step waits for its batch"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[Threshold {
            name: "share",
            default: 0.05,
            help: "share of the step that fetching takes on the critical path",
        }]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let study = scene.study();
        let graph = study.graph();
        // The first step fills what later ones profit from.
        let skip_first = study.graph().steps().len() >= 3;
        let loads: Vec<_> = study
            .nodes_of(NodeKind::DataLoader)
            .filter(|&id| !skip_first || study.facts().step(id) != Some(0))
            .collect();
        if loads.is_empty() {
            return Verdict::nothing();
        }
        let steps = (study.step_count() - usize::from(skip_first)).max(1) as f64;
        let on_path: i64 = loads.iter().map(|&id| scene.path_ns(id)).sum();
        let all: i64 = loads.iter().map(|&id| graph.node(id).dur_ns).sum();
        let (per_step, step) = (on_path as f64 / steps, study.base().mean_step_ns);
        let share = per_step / step;
        if share < threshold(scene, self, "share") {
            return Verdict::nothing();
        }
        let mut slowest = loads.clone();
        slowest.sort_by_key(|&id| std::cmp::Reverse(graph.node(id).dur_ns));
        Verdict::one(Finding {
            title: format!("Loading data holds up each step for {}", ms(per_step)),
            paragraph: format!(
                "The training thread fetches each batch itself: {} of {} ({}) pass in the data loader while nothing else \
                 can go on. {} of its time lies on the critical path, so the device has nothing to do meanwhile.",
                ms(per_step),
                ms(step),
                percent(share),
                percent(on_path as f64 / all.max(1) as f64),
            ),
            fix: "Load batches in worker processes, ahead of time; if the workers cannot keep up, decode faster or on the \
                  device."
                .to_owned(),
            code: CODE.to_owned(),
            references: vec![
                "https://pytorch.org/tutorials/recipes/recipes/tuning_guide.html#enable-async-data-loading-and-augmentation"
                    .to_owned(),
            ],
            confidence: Some(Confidence::High),
            guards: vec![Guard { holds: true, text: "Fetching lies on the critical path of the steps.".to_owned() }],
            edits: vec!["prefetch-input".to_owned()],
            evidence: scene.events_of(&slowest),
            nodes: loads,
            ..Finding::default()
        })
    }
}
