//! D5: the host cannot launch as fast as the device works.

use gapless_analysis::graph::{EdgeKind, NodeId, NodeKind};

use super::common::{each, first_possible, median, per_step, share};
use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::edits::Guard;
use crate::idle::{GapCause, binding};
use crate::scene::Scene;
use crate::text::{ms, percent};

/// Kernels that begin as soon as they are launched, with the device idle before each.
#[derive(Debug)]
pub(super) struct LaunchBound;

const CODE: &str = "model = torch.compile(model, mode=\"reduce-overhead\")   # fuses, and captures CUDA graphs\n# or: torch.cuda.make_graphed_callables(model, (sample,))";

/// What stands for fewer launches where no graph can be shown to be possible. Fused and compiled models spend a fifth to a
/// half less on the host; a prior, not a measurement.
const FASTER_HOST: &str = "host(least=1.2,most=2)=1.5x";

impl Detector for LaunchBound {
    fn id(&self) -> &'static str {
        "launch-bound"
    }

    fn title(&self) -> &'static str {
        "The device waits for launches"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[
            Threshold {
                name: "bound",
                default: 0.3,
                help: "share of the kernels that begin as soon as they are launched",
            },
            Threshold {
                name: "idle",
                default: 0.15,
                help: "share of the step in which the device is idle between such launches",
            },
        ]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let study = scene.study();
        let each = each(scene);
        let graph = study.graph();
        let kernels: Vec<NodeId> = study.nodes_of(NodeKind::Kernel).collect();
        if kernels.is_empty() {
            return Verdict::nothing();
        }
        if !kernels.iter().any(|&id| study.facts().launch(id).is_some()) {
            return Verdict::Abstains("the recording has no launches of its kernels".to_owned());
        }
        let bound =
            kernels.iter().filter(|&&id| binding(study, id).is_some_and(|edge| edge.kind == EdgeKind::Launch)).count()
                as f64
                / kernels.len() as f64;
        let gaps: Vec<_> = scene.idle().gaps().iter().filter(|gap| gap.cause == GapCause::Dispatch).collect();
        let ranks = scene.idle().ranks().len().max(1) as i64;
        let idle = gaps.iter().map(|gap| gap.duration_ns()).sum::<i64>() / ranks;
        if bound < threshold(scene, self, "bound") || share(scene, idle) < threshold(scene, self, "idle") {
            return Verdict::nothing();
        }
        let typical = median(kernels.iter().map(|&id| graph.node(id).dur_ns as f64).collect());
        let mut longest = gaps.clone();
        longest.sort_by_key(|gap| std::cmp::Reverse(gap.duration_ns()));
        let edits = first_possible(scene, &["cuda-graph", FASTER_HOST]);
        let mut guards = vec![Guard {
            holds: true,
            text: "Gaps behind waits, data loading, garbage collection and long stretches of other host work are not counted."
                .to_owned(),
        }];
        if edits.first().is_some_and(|edit| edit != "cuda-graph") {
            guards.push(Guard {
                holds: false,
                text: "The recording does not show work that repeats over three steps, as a graph needs: simulated is a host \
                       1.5 times as fast (1.2 to 2 times)."
                    .to_owned(),
            });
        }
        Verdict::one(Finding {
            title: format!("The device waits {} of {each} for launches", ms(per_step(scene, idle))),
            paragraph: format!(
                "{} of the kernels begin as soon as they are launched: nothing is queued before them. Between them the device \
                 is idle for {} of {each} ({}), since operators and launches take longer on the host than their kernels \
                 (typically {}) take on the device.",
                percent(bound),
                ms(per_step(scene, idle)),
                percent(share(scene, idle)),
                ms(typical),
            ),
            fix: "Launch less: capture what repeats as a CUDA graph, compile the model so that operators are fused, or give \
                  each kernel more to do with a larger batch."
                .to_owned(),
            code: CODE.to_owned(),
            references: vec![
                "https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs".to_owned(),
                "https://docs.pytorch.org/docs/stable/generated/torch.compile.html".to_owned(),
            ],
            confidence: Some(Confidence::High),
            guards,
            edits,
            evidence: scene.events_of(&longest.iter().map(|gap| gap.next).collect::<Vec<_>>()),
            nodes: gaps.iter().map(|gap| gap.next).collect(),
            ..Finding::default()
        })
    }
}
