//! D9: the interpreter collects garbage in the middle of a step.

use gapless_analysis::graph::{NodeId, NodeKind};

use super::common::{each, longest_first, per_step, share};
use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::edits::Guard;
use crate::scene::Scene;
use crate::text::{ms, percent};

/// Collections of garbage on the critical path.
#[derive(Debug)]
pub(super) struct GcPause;

const CODE: &str = "gc.collect(); gc.freeze(); gc.disable()   # before the loop\n...\nif step % 500 == 0:\n    gc.collect()                          # on all ranks in the same step";

impl Detector for GcPause {
    fn id(&self) -> &'static str {
        "gc-pause"
    }

    fn title(&self) -> &'static str {
        "Collection of garbage stops the step"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[
            Threshold { name: "share", default: 0.005, help: "share of the steps on the critical path" },
            Threshold {
                name: "times",
                default: 2.0,
                help: "collections on the critical path; one alone may be chance",
            },
        ]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let study = scene.study();
        let each = each(scene);
        let all: Vec<NodeId> = study.nodes_of(NodeKind::Gc).collect();
        let nodes: Vec<NodeId> = all.iter().copied().filter(|&id| scene.path_ns(id) > 0).collect();
        let lost: i64 = nodes.iter().map(|&id| scene.path_ns(id)).sum();
        if (nodes.len() as f64) < threshold(scene, self, "times")
            || share(scene, lost) < threshold(scene, self, "share")
        {
            return Verdict::nothing();
        }
        let ranks: std::collections::BTreeSet<_> = nodes.iter().filter_map(|&id| study.rank(id)).collect();
        let many = study.trace().ranks().len() > 1;
        let over_ranks = if many {
            format!(
                " They come on {} of {} ranks at times of their own, and the others wait for each at the next collective.",
                ranks.len(),
                study.trace().ranks().len()
            )
        } else {
            String::new()
        };
        Verdict::one(Finding {
            title: format!("Garbage collection takes {} of {each}", ms(per_step(scene, lost))),
            paragraph: format!(
                "{} of {} collections of garbage lie on the critical path and take {} of the steps there ({} per step).\
                 {over_ranks} The collector runs whenever enough objects were made, in the thread that launches the work, and \
                 looks through all objects of the process.",
                nodes.len(),
                all.len(),
                percent(share(scene, lost)),
                ms(per_step(scene, lost)),
            ),
            fix: "Freeze what lives as long as the job, switch automatic collection off, and collect by hand every few hundred \
                  steps, on all ranks in the same one."
                .to_owned(),
            code: CODE.to_owned(),
            references: vec![
                "https://docs.python.org/3/library/gc.html#gc.freeze".to_owned(),
                "https://arxiv.org/abs/2505.05713".to_owned(),
            ],
            confidence: Some(Confidence::High),
            guards: vec![Guard { holds: true, text: "More than one collection lies on the critical path.".to_owned() }],
            edits: vec!["no-gc".to_owned()],
            evidence: scene.events_of(&longest_first(study, nodes.clone())),
            nodes,
            ..Finding::default()
        })
    }
}
