//! D20: the gradients of every micro-batch are reduced.

use std::collections::BTreeMap;

use gapless_analysis::CollectiveKind;
use gapless_analysis::graph::{NodeId, NodeKind};
use gapless_trace::EventKind;

use super::share::{longest_first, path_per_step};
use super::{Confidence, Detector, Finding, Verdict};
use crate::edits::Guard;
use crate::scene::Scene;
use crate::text::ms;
use gapless_analysis::KernelClass;

/// Reductions of each step in order, with their bytes.
type ByStep = BTreeMap<usize, Vec<(NodeId, Option<u64>)>>;

/// The same sequence of reductions several times before the optimizer runs once.
#[derive(Debug)]
pub(super) struct RepeatedGradients;

impl Detector for RepeatedGradients {
    fn id(&self) -> &'static str {
        "repeated-gradients"
    }

    fn title(&self) -> &'static str {
        "Gradients are reduced in every micro-batch"
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let study = scene.study();
        let graph = study.graph();
        if graph.steps().is_empty() {
            return if study.collectives().is_empty() {
                Verdict::nothing()
            } else {
                Verdict::Abstains("The recording has no steps to count reductions in.".to_owned())
            };
        }
        let forwards = forwards(scene);
        // Calls of each step, rank, group and kind by their bytes, in order.
        let mut calls: BTreeMap<(u32, CollectiveKind, u32), ByStep> = BTreeMap::new();
        for id in study.nodes_of(NodeKind::Transfer) {
            let Some(of) = study.facts().instance(id).and_then(|place| study.collectives().get(place)) else {
                continue;
            };
            let (Some(rank), Some(step)) = (study.rank(id), study.facts().step(id)) else { continue };
            if matches!(of.kind, CollectiveKind::AllReduce | CollectiveKind::ReduceScatter) && of.bytes.is_some() {
                let key = (of.communicator, of.kind, rank.0);
                calls.entry(key).or_default().entry(step).or_default().push((id, of.bytes));
            }
        }
        let mut found: BTreeMap<(u32, CollectiveKind), (usize, Vec<NodeId>)> = BTreeMap::new();
        for ((communicator, kind, rank), steps) in calls {
            // Each full step must say the same.
            let times: Option<Vec<usize>> = steps
                .iter()
                .map(|(&step, calls)| {
                    let told = forwards.get(&(rank, step)).copied();
                    repetitions(scene, calls, told)
                })
                .collect();
            let Some(times) = times else { continue };
            let Some(&first) = times.first().filter(|&&first| first >= 2) else { continue };
            if times.iter().all(|&other| other == first) {
                let entry = found.entry((communicator, kind)).or_default();
                entry.0 = first;
                for calls in steps.values() {
                    entry.1.extend(calls.iter().take(calls.len() - calls.len() / first).map(|call| call.0));
                }
            }
        }
        let findings = found.into_iter().filter_map(|((communicator, kind), (times, nodes))| {
            let instance = study.collectives().iter().find(|of| of.communicator == communicator)?;
            let name = kind.label();
            Some(Finding {
                title: format!("Each step reduces the same gradients {times} times"),
                paragraph: format!(
                    "Before the optimizer runs once, each step sends the same sequence of {name} messages {times} times in \
                     group {}: once for every micro-batch. Gradients add up, so only the sum at the end has to be sent; \
                     the other {} rounds take {} of the critical path of a step.",
                    instance.group,
                    times - 1,
                    ms(path_per_step(scene, &nodes)),
                ),
                fix: "Suppress the reduction in all micro-batches but the last one.".to_owned(),
                code: "for i, batch in enumerate(micro_batches):\n    last = i == len(micro_batches) - 1\n    \
                       with contextlib.nullcontext() if last else model.no_sync():\n        \
                       (loss(model(batch)) / len(micro_batches)).backward()\noptimizer.step()"
                    .to_owned(),
                references: vec![
                    "https://pytorch.org/docs/stable/generated/torch.nn.parallel.DistributedDataParallel.html#torch.nn.parallel.DistributedDataParallel.no_sync".to_owned(),
                ],
                confidence: Some(Confidence::Medium),
                guards: vec![
                    Guard { holds: true, text: "The optimizer runs only after the last of them.".to_owned() },
                    Guard {
                        holds: kind == CollectiveKind::AllReduce,
                        text: "Sharded gradients (reduce-scatter) need memory for the full gradients meanwhile.".to_owned(),
                    },
                ],
                edits: vec![format!("no-sync(micro-batches={times},comm={name},group={})", instance.group)],
                evidence: scene.events_of(&longest_first(scene, &nodes)),
                nodes,
                ..Finding::default()
            })
        });
        Verdict::Findings(findings.collect())
    }
}

/// How often a step repeats its sequence of reductions.
///
/// Where DDP marks its forward passes they must be as many. Else the sequence needs two sizes at least (tensor-parallel
/// layers repeat one size for every layer), and no optimizer kernel may run before its end.
fn repetitions(scene: &Scene<'_, '_>, calls: &[(NodeId, Option<u64>)], told: Option<usize>) -> Option<usize> {
    let sizes: Vec<Option<u64>> = calls.iter().map(|call| call.1).collect();
    let is_periodic = |period: usize| {
        sizes.len().is_multiple_of(period) && sizes.iter().zip(sizes.iter().skip(period)).all(|(one, next)| one == next)
    };
    if let Some(told) = told {
        let fits =
            told >= 2 && sizes.len() >= told && sizes.len().is_multiple_of(told) && is_periodic(sizes.len() / told);
        return fits.then_some(told);
    }
    let period = (1..=sizes.len() / 2).find(|&period| is_periodic(period))?;
    if period < 2 {
        return None;
    }
    let times = sizes.len() / period;
    // An optimizer between two of them, and it is no accumulation.
    let study = scene.study();
    let last = calls.get(calls.len() - period).map(|call| study.graph().node(call.0).start_ns)?;
    let first = calls.first().map(|call| study.graph().node(call.0).start_ns)?;
    let rank = study.rank(calls.first()?.0);
    let between: Vec<NodeId> = study
        .nodes_of(NodeKind::Kernel)
        .filter(|&id| study.rank(id) == rank && (first..last).contains(&study.graph().node(id).start_ns))
        .collect();
    if between.iter().any(|&id| study.facts().class(id) == KernelClass::Optimizer) {
        return None;
    }
    // A backward pass lies between one round and the next, else it is a list of tensors that is sent in a row.
    let start = |place: usize| calls.get(place).map_or(0, |call| study.graph().node(call.0).start_ns);
    let computes = |from: i64, to: i64| between.iter().any(|&id| (from..to).contains(&study.graph().node(id).start_ns));
    let rounds = (1..times).all(|round| computes(start(round * period - 1), start(round * period)));
    rounds.then_some(times)
}

/// Forward passes of DDP in each step of a rank, where they are marked.
fn forwards(scene: &Scene<'_, '_>) -> BTreeMap<(u32, usize), usize> {
    let study = scene.study();
    let trace = study.trace();
    let steps = study.graph().steps();
    let mut found = BTreeMap::new();
    let names = ["DistributedDataParallel.forward", "FullyShardedDataParallel.forward"];
    let ids: Vec<_> = names.iter().filter_map(|name| trace.strings().find(name)).collect();
    if ids.is_empty() {
        return found;
    }
    for (place, name) in trace.events().names().iter().enumerate().filter(|(_, name)| ids.contains(name)) {
        let _ = name;
        let event = gapless_trace::EventId(place as u32);
        let of = trace.event(event);
        if !matches!(of.kind, EventKind::Operator | EventKind::Annotation | EventKind::PythonFunction) {
            continue;
        }
        let start = study.host_span(event).start.nanos();
        let step = steps.iter().position(|step| (step.mark_start_ns..step.mark_end_ns).contains(&start));
        if let (Some(rank), Some(step)) = (trace.rank_of(event), step) {
            *found.entry((rank.0, step)).or_default() += 1;
        }
    }
    found
}
