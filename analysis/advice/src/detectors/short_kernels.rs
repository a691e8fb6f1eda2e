//! D8: a flood of short kernels, many of which could be one.

use gapless_analysis::graph::{NodeId, NodeKind};

use super::common::{median, short_name};
use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::edits::Guard;
use crate::scene::Scene;
use crate::text::{ms, percent};
use gapless_analysis::KernelClass;

/// Thousands of short kernels per step, with elementwise ones in a row.
#[derive(Debug)]
pub(super) struct ShortKernels;

const CODE: &str = "model = torch.compile(model)   # rows of elementwise operators become one kernel each";

impl Detector for ShortKernels {
    fn id(&self) -> &'static str {
        "short-kernels"
    }

    fn title(&self) -> &'static str {
        "Thousands of short kernels"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[
            Threshold { name: "kernels", default: 1_000.0, help: "kernels per step and rank" },
            Threshold {
                name: "median-us",
                default: 10.0,
                help: "median duration below which kernels are short, in µs",
            },
            Threshold { name: "run", default: 3.0, help: "elementwise kernels in a row that could be one" },
            Threshold { name: "share", default: 0.05, help: "share of all kernels that lie in such rows" },
        ]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let study = scene.study();
        let graph = study.graph();
        let kernels: Vec<NodeId> = study.nodes_of(NodeKind::Kernel).collect();
        let ranks = scene.idle().ranks().len().max(1) as f64;
        let per_step = kernels.len() as f64 / ranks / study.step_count() as f64;
        if per_step < threshold(scene, self, "kernels") {
            return Verdict::nothing();
        }
        if graph.steps().is_empty() {
            return Verdict::Abstains("the recording has no steps: how many kernels one has is not known".to_owned());
        }
        let typical = median(kernels.iter().map(|&id| graph.node(id).dur_ns as f64).collect());
        if typical >= threshold(scene, self, "median-us") * 1e3 {
            return Verdict::nothing();
        }
        let fused = kernels.iter().filter(|&&id| study.facts().class(id) == KernelClass::Fused).count();
        if 2 * fused > kernels.len() {
            return Verdict::nothing();
        }
        let least = threshold(scene, self, "run") as usize;
        let runs = runs(scene, least);
        let nodes: Vec<NodeId> = runs.iter().flatten().copied().collect();
        let in_rows = nodes.len() as f64 / kernels.len() as f64;
        if in_rows < threshold(scene, self, "share") {
            return Verdict::nothing();
        }
        let mut longest = runs.clone();
        longest.sort_by_key(|run| std::cmp::Reverse(run.len()));
        let example: Vec<String> =
            longest.first().map(|run| run.iter().take(3).map(|&id| name_of(scene, id)).collect()).unwrap_or_default();
        let evidence: Vec<NodeId> = longest.iter().flatten().copied().collect();
        Verdict::one(Finding {
            title: format!("{per_step:.0} kernels per step, half of them shorter than {}", ms(typical)),
            paragraph: format!(
                "Each step launches {per_step:.0} kernels with a median of {}. {} of them ({}) are elementwise kernels that \
                 follow one another on a stream in rows of {least} or more, {} rows in all; the longest has {} and begins \
                 with {}. Each kernel reads and writes its whole tensors and needs a launch of its own; one kernel could do a \
                 row.",
                ms(typical),
                nodes.len(),
                percent(in_rows),
                runs.len(),
                longest.first().map_or(0, Vec::len),
                example.join(", "),
            ),
            fix: "Let a compiler fuse rows of elementwise operators, or use fused implementations of norms, activations and \
                  the optimizer."
                .to_owned(),
            code: CODE.to_owned(),
            references: vec![
                "https://docs.pytorch.org/docs/stable/generated/torch.compile.html".to_owned(),
                "https://docs.pytorch.org/tutorials/recipes/recipes/tuning_guide.html#fuse-operations".to_owned(),
            ],
            confidence: Some(Confidence::High),
            guards: vec![
                Guard { holds: true, text: "Rows end where another stream, an event or a wait comes between.".to_owned() },
                Guard { holds: fused == 0, text: format!("{fused} kernels were fused by a compiler already.") },
            ],
            edits: vec![format!("fuse(min={least})")],
            evidence: scene.events_of(&evidence),
            nodes,
            ..Finding::default()
        })
    }
}

fn name_of(scene: &Scene<'_, '_>, id: NodeId) -> String {
    let operator = scene.study().operator_name(id);
    if operator.is_empty() { short_name(scene.study().name(id)) } else { operator.to_owned() }
}

/// Rows of at least `least` elementwise kernels on one stream within one step.
fn runs(scene: &Scene<'_, '_>, least: usize) -> Vec<Vec<NodeId>> {
    let study = scene.study();
    let mut found = Vec::new();
    for stream in study.facts().streams() {
        let mut run: Vec<NodeId> = Vec::new();
        for &id in study.facts().stream(stream) {
            let fits =
                study.graph().node(id).kind == NodeKind::Kernel && study.facts().class(id) == KernelClass::Elementwise;
            let same_step = run.last().is_none_or(|&last| study.facts().step(last) == study.facts().step(id));
            if !fits || !same_step {
                if run.len() >= least.max(2) {
                    found.push(std::mem::take(&mut run));
                }
                run.clear();
            }
            if fits {
                run.push(id);
            }
        }
        if run.len() >= least.max(2) {
            found.push(run);
        }
    }
    found
}
