//! D26: conversions between layouts.

use super::share::{counted, longest_first, nodes_of_pattern, path_share, time_per_step};
use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::edits::Guard;
use crate::patterns::Pattern;
use crate::scene::Scene;
use crate::text::{ms, percent};

/// Conversions between NCHW and NHWC.
#[derive(Debug)]
pub(super) struct LayoutConversions;

impl Detector for LayoutConversions {
    fn id(&self) -> &'static str {
        "layout-conversions"
    }

    fn title(&self) -> &'static str {
        "Images are converted between layouts"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[Threshold {
            name: "share",
            default: 0.03,
            help: "share of the step that conversions take on the critical path",
        }]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let nodes = nodes_of_pattern(scene, Pattern::Layout);
        let of_step = path_share(scene, &nodes);
        if nodes.is_empty() || of_step < threshold(scene, self, "share") {
            return Verdict::nothing();
        }
        Verdict::one(Finding {
            title: format!("Conversions between layouts take {} of each step", percent(of_step)),
            paragraph: format!(
                "{} in each step only turn images from one layout into another (NCHW and NHWC): convolutions on Tensor Cores \
                 want the channels last, the tensors have them first or change on the way. That is {} of each step, {} of \
                 the critical path, for nothing computed.",
                counted(nodes.len() / scene.study().step_count(), "kernel"),
                ms(time_per_step(scene, &nodes)),
                percent(of_step),
            ),
            fix: "Keep channels last from end to end: convert model and input once; remove .contiguous() and permutations \
                  on the way."
                .to_owned(),
            code: "model = model.to(memory_format=torch.channels_last)\nx = x.to(memory_format=torch.channels_last)".to_owned(),
            references: vec![
                "https://pytorch.org/tutorials/intermediate/memory_format_tutorial.html".to_owned(),
            ],
            confidence: Some(Confidence::High),
            guards: vec![Guard {
                holds: true,
                text: "They are conversions by name, or copies of images that only move the channels.".to_owned(),
            }],
            edits: vec!["remove(pattern=layout)".to_owned()],
            evidence: scene.events_of(&longest_first(scene, &nodes)),
            nodes,
            ..Finding::default()
        })
    }
}
