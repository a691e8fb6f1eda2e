//! D3: the host reads a value back from the device, and the device runs dry.

use std::collections::BTreeMap;

use super::common::{each, names_around, per_step, share};
use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::edits::Guard;
use crate::idle::Wait;
use crate::scene::Scene;
use crate::study::Study;
use crate::text::{ms, percent};

/// `item()`, `cpu()`, `nonzero()` and other copies to the host that the thread waits for.
#[derive(Debug)]
pub(super) struct ReadBack;

/// Operators that wait since their result, or its shape, is a value on the host.
const OPERATORS: [&str; 10] = [
    "aten::item",
    "aten::_local_scalar_dense",
    "aten::is_nonzero",
    "aten::nonzero",
    "aten::masked_select",
    "aten::equal",
    "aten::allclose",
    "aten::unique_consecutive",
    "aten::_unique2",
    "aten::bincount",
];

/// Operators by whose result the host may branch: they can seldom simply go.
const SHAPES: [&str; 6] = [
    "aten::nonzero",
    "aten::masked_select",
    "aten::unique_consecutive",
    "aten::_unique2",
    "aten::bincount",
    "aten::equal",
];

const CODE: &str = "loss_sum += loss.detach()          # stays on the device\nif step % 100 == 0:\n    print(loss_sum.item() / 100)   # one wait in 100 steps";

/// What a wait reads back: the outermost operator that says so, or a copy to the host.
pub(super) fn reads_back(study: &Study<'_>, wait: &Wait) -> Option<&'static str> {
    let found = names_around(study, wait.node)
        .filter_map(|name| OPERATORS.into_iter().find(|operator| *operator == name))
        .last();
    if found.is_some() {
        return found;
    }
    let graph = study.graph();
    let copies = |id| graph.node(id).kind.is_device() && study.name(id).contains("DtoH");
    let awaited = graph.edges_to(wait.node).any(|edge| copies(edge.from));
    awaited.then_some("")
}

impl Detector for ReadBack {
    fn id(&self) -> &'static str {
        "read-back"
    }

    fn title(&self) -> &'static str {
        "The host reads values back from the device"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[Threshold {
            name: "share",
            default: 0.005,
            help: "share of the step in which the device has nothing to do after such waits",
        }]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let study = scene.study();
        let each = each(scene);
        let mut by_name: BTreeMap<&'static str, Vec<Wait>> = BTreeMap::new();
        for wait in scene.idle().waits() {
            if let Some(name) = reads_back(study, wait) {
                by_name.entry(name).or_default().push(*wait);
            }
        }
        let ranks = scene.idle().ranks().len().max(1);
        let mut findings = Vec::new();
        for (name, waits) in by_name {
            let stall = scene.idle().stall_ns(&waits) / ranks as i64;
            if share(scene, stall) < threshold(scene, self, "share")
                || !waits.iter().any(|wait| scene.is_on_path(wait.node))
            {
                continue;
            }
            let mut gaps: Vec<usize> = waits.iter().filter_map(|wait| wait.gap).collect();
            gaps.sort_unstable();
            gaps.dedup();
            let count = gaps.len() as f64 / ranks as f64 / study.step_count() as f64;
            let what = if name.is_empty() { "a copy to the host" } else { name };
            let shape = SHAPES.contains(&name);
            let once = count <= 1.5;
            // With fewer steps one cannot be told from the others.
            let keeps = !shape && study.graph().steps().len() >= 3;
            let selector = if name.is_empty() { "kernel~DtoH".to_owned() } else { format!("op={name}") };
            // What is only logged can be logged every tenth step.
            let edit =
                if keeps { format!("remove-sync({selector},keep=0.1)") } else { format!("remove-sync({selector})") };
            let nodes: Vec<_> = waits.iter().map(|wait| wait.node).collect();
            let mut slowest = waits.clone();
            slowest.sort_by_key(|wait| std::cmp::Reverse(wait.waited_ns));
            findings.push(Finding {
                title: format!("Reading back with {what} leaves the device idle for {} of {each}", ms(per_step(scene, stall))),
                paragraph: format!(
                    "{:.1} times in {each} the thread waits in {what} until the device has done all work before it. When the \
                     value arrives the queue is empty, and until the next launch takes effect the device does nothing: {} of {each} ({}). The wait itself costs nothing while the device works; what counts is that the host can \
                     not run ahead of it.",
                    count,
                    ms(per_step(scene, stall)),
                    percent(share(scene, stall)),
                ),
                fix: if shape {
                    "Avoid shapes that depend on data: use torch.where or masks of a fixed size, so that the host need not \
                     know the result."
                        .to_owned()
                } else {
                    "Keep the value on the device and read it seldom: sum losses there and log every N steps; decide on the \
                     device where a decision depends on it."
                        .to_owned()
                },
                code: if shape { "loss = (per_token * mask).sum() / mask.sum()   # instead of per_token[mask].mean()".to_owned() } else { CODE.to_owned() },
                references: vec![
                    "https://docs.pytorch.org/tutorials/recipes/recipes/tuning_guide.html#avoid-unnecessary-cpu-gpu-synchronization"
                        .to_owned(),
                ],
                confidence: Some(if shape || once { Confidence::Medium } else { Confidence::High }),
                guards: vec![
                    Guard { holds: true, text: "The device is idle when the host goes on, and the wait lies on the critical path.".to_owned() },
                    Guard {
                        holds: !once,
                        text: if once {
                            "It happens once per step: a log of the loss at the end of a step counts for one step in ten only.".to_owned()
                        } else {
                            "It happens more than once per step.".to_owned()
                        },
                    },
                ],
                edits: vec![edit],
                evidence: slowest.iter().map(|wait| wait.call).take(super::EVIDENCE).collect(),
                nodes,
                ..Finding::default()
            });
        }
        Verdict::Findings(findings)
    }
}
