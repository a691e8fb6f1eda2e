//! Small kernels become one.

use gapless_analysis::graph::{EdgeKind, NodeId, NodeKind};
use gapless_analysis::replay::Draft;

use super::common::{has_other_followers, is_optimizer, stream_edge};
use super::scale::{nothing, remove_with_share};
use super::{Basis, Effect, Outlook, Parameter, Refusal, Transformation};
use crate::spec::Edit;
use crate::study::Study;
use gapless_analysis::KernelClass;

/// Runs of selected kernels of one stream become one each: `fuse`, `fuse(class=norm, min=2)`.
#[derive(Debug)]
pub(super) struct Fuse;

impl Transformation for Fuse {
    fn id(&self) -> &'static str {
        "fuse"
    }

    fn title(&self) -> &'static str {
        "Kernels that follow one another become one"
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[
            Parameter { name: "min", help: "kernels that a run has at least (3)" },
            Parameter {
                name: "keep",
                help: "what the fused kernel takes, as a share of the sum (without: from the longest of them to the sum)",
            },
        ]
    }

    fn basis(&self) -> Basis {
        Basis::ReplayAndModel
    }

    fn apply(
        &self,
        edit: &Edit,
        study: &Study<'_>,
        draft: &mut Draft<'_>,
        outlook: Outlook,
    ) -> Result<Effect, Refusal> {
        let graph = study.graph();
        let min = edit.number_or("min", 3.0).max(2.0) as usize;
        let keep = edit.number("keep").ok().flatten();
        let wanted = |id: NodeId| {
            graph.node(id).kind == NodeKind::Kernel
                && if edit.selector().is_empty() {
                    matches!(study.facts().class(id), KernelClass::Elementwise) && !is_optimizer(study, id)
                } else {
                    edit.selector().fits(study, id)
                }
        };
        let followed = has_other_followers(study);
        let mut touched = Vec::new();
        let mut runs = 0_usize;
        for stream in study.facts().streams() {
            let nodes = study.facts().stream(stream);
            let mut run: Vec<NodeId> = Vec::new();
            for (place, &id) in nodes.iter().enumerate() {
                let continues = run.last().is_some_and(|&last| {
                    let free = !followed.get(last.index()).copied().unwrap_or(true);
                    let alone = graph.edges_to(id).all(|edge| match edge.kind {
                        EdgeKind::StreamOrder => edge.from == last,
                        EdgeKind::Launch => true,
                        _ => false,
                    });
                    free && alone
                        && study.facts().step(last) == study.facts().step(id)
                        && stream_edge(study, draft, id).is_some_and(|edge| edge.from == last)
                });
                let fits = wanted(id);
                if !(fits && (run.is_empty() || continues)) {
                    if run.len() >= min {
                        runs += 1;
                        fuse(study, draft, &run, keep, outlook, &mut touched);
                    }
                    run.clear();
                }
                if fits {
                    run.push(id);
                }
                if place + 1 == nodes.len() && run.len() >= min {
                    runs += 1;
                    fuse(study, draft, &run, keep, outlook, &mut touched);
                }
            }
        }
        if touched.is_empty() {
            return Err(if edit.selector().is_empty() {
                Refusal::new(format!("no {min} elementwise kernels follow one another on a stream"))
            } else {
                nothing(edit)
            });
        }
        Ok(Effect {
            touched,
            assumptions: vec![
                format!(
                    "{runs} runs: a fused kernel takes from the longest of its parts to their sum; what lies between is \
                         expected to save half of the intermediate reads and writes."
                ),
                "Of the host time of the operators that go, none to all goes too (70 % expected).".to_owned(),
            ],
            ..Effect::default()
        })
    }
}

fn fuse(
    study: &Study<'_>,
    draft: &mut Draft<'_>,
    run: &[NodeId],
    keep: Option<f64>,
    outlook: Outlook,
    touched: &mut Vec<NodeId>,
) {
    let Some((&first, others)) = run.split_first() else { return };
    let durations: Vec<f64> = run.iter().map(|&id| draft.duration_ns(id) as f64).collect();
    let sum: f64 = durations.iter().sum();
    let longest = durations.iter().copied().fold(0.0, f64::max);
    let m = run.len() as f64;
    // Half of what is read and written is intermediate, and goes for all but one (design, §3(d)3).
    let expected = sum * (1.0 - 0.5 * (m - 1.0) / m);
    let new = keep.map_or_else(|| outlook.pick(longest, expected.max(longest), sum), |keep| sum * keep);
    draft.set_duration(first, new.round() as i64);
    for &id in others {
        remove_with_share(study, draft, id, outlook.pick(1.0, 0.7, 0.0));
    }
    touched.extend_from_slice(run);
}

/// The optimizer's kernels of a step become a few: `fuse-optimizer`.
#[derive(Debug)]
pub(super) struct FuseOptimizer;

impl Transformation for FuseOptimizer {
    fn id(&self) -> &'static str {
        "fuse-optimizer"
    }

    fn title(&self) -> &'static str {
        "The optimizer updates all parameters with one kernel"
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[Parameter {
            name: "keep",
            help: "what the fused kernel takes, as a share of the sum (without: 0.3 to 1, 0.6 expected)",
        }]
    }

    fn basis(&self) -> Basis {
        Basis::ReplayAndModel
    }

    fn apply(
        &self,
        edit: &Edit,
        study: &Study<'_>,
        draft: &mut Draft<'_>,
        outlook: Outlook,
    ) -> Result<Effect, Refusal> {
        let graph = study.graph();
        let keep = edit.number("keep").ok().flatten().unwrap_or_else(|| outlook.pick(0.3, 0.6, 1.0));
        // By rank and step, in the order of the device.
        let mut groups: std::collections::BTreeMap<(u32, Option<usize>), Vec<NodeId>> =
            std::collections::BTreeMap::new();
        for id in study.nodes_of(NodeKind::Kernel) {
            if is_optimizer(study, id) && (edit.selector().is_empty() || edit.selector().fits(study, id)) {
                let rank = graph.node(id).place.map_or(0, |place| place.rank.0);
                groups.entry((rank, study.facts().step(id))).or_default().push(id);
            }
        }
        let mut touched = Vec::new();
        for group in groups.values().filter(|group| group.len() >= 3) {
            let Some((&last, others)) = group.split_last() else { continue };
            let sum: i64 = group.iter().map(|&id| draft.duration_ns(id)).sum();
            // The last one waits for whatever any of them waits for.
            draft.set_duration(last, (sum as f64 * keep).round() as i64);
            for &id in others {
                remove_with_share(study, draft, id, outlook.pick(1.0, 0.8, 0.3));
            }
            touched.extend_from_slice(group);
        }
        if touched.is_empty() {
            return Err(Refusal::new("no step has three kernels or more of an optimizer"));
        }
        Ok(Effect {
            touched,
            assumptions: vec![
                "One kernel reads and writes each parameter and state once: 30 to 100 % of the time of all (60 % expected)."
                    .to_owned(),
                "30 to 100 % of the optimizer's host time goes (80 % expected).".to_owned(),
            ],
            ..Effect::default()
        })
    }
}
