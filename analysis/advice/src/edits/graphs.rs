//! Launches that are recorded once and replayed: CUDA or HIP graphs.

use std::collections::BTreeMap;

use gapless_analysis::graph::{EdgeKind, NodeId, NodeKind};
use gapless_analysis::replay::Draft;
use gapless_trace::{EventId, StrId, TrackId};
use rustc_hash::FxHashSet;

use super::{Basis, Effect, Guard, Outlook, Parameter, Refusal, Transformation};
use crate::spec::Edit;
use crate::study::Study;

/// Stretches of a thread without waits become one graph launch each: `cuda-graph`, `cuda-graph(min-launches=50)`.
#[derive(Debug)]
pub(super) struct CudaGraph;

/// Cost of a graph launch, and of each node in it, in ns: priors of the design (§3(d)4), large graphs observed at 49 to
/// 129 µs.
const LAUNCH_NS: (f64, f64, f64) = (8_000.0, 10_000.0, 20_000.0);
const NODE_NS: (f64, f64, f64) = (10.0, 20.0, 60.0);
/// The largest gap within a graph, in ns.
const GRAPH_GAP_NS: i64 = 1_000;
/// Equal steps that a stretch needs.
const EQUAL_STEPS: usize = 3;

/// A stretch of a thread between waits.
struct Stretch {
    nodes: Vec<NodeId>,
    signature: Vec<StrId>,
    work: Vec<NodeId>,
}

impl Transformation for CudaGraph {
    fn id(&self) -> &'static str {
        "cuda-graph"
    }

    fn title(&self) -> &'static str {
        "Launches between two waits become one graph launch"
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[
            Parameter { name: "min-launches", help: "launches that a stretch has at least (20)" },
            Parameter { name: "launch-us", help: "cost of a graph launch, in µs (8 to 20, 10 expected)" },
            Parameter { name: "node-ns", help: "cost of each node in it, in ns (10 to 60, 20 expected)" },
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
        let min = edit.number_or("min-launches", 20.0).max(1.0) as usize;
        let cost = edit
            .number("launch-us")
            .ok()
            .flatten()
            .map_or_else(|| outlook.pick(LAUNCH_NS.0, LAUNCH_NS.1, LAUNCH_NS.2), |us| us * 1e3);
        let per_node =
            edit.number("node-ns").ok().flatten().unwrap_or_else(|| outlook.pick(NODE_NS.0, NODE_NS.1, NODE_NS.2));
        if study.graph().steps().len() < EQUAL_STEPS {
            return Err(Refusal::new(format!(
                "a graph needs work that repeats: the recording has {} of the {EQUAL_STEPS} steps to compare",
                study.graph().steps().len()
            )));
        }
        let waiting: FxHashSet<EventId> = graph
            .node_ids()
            .filter(|&id| graph.node(id).kind == NodeKind::Return)
            .filter(|&id| graph.edges_to(id).any(|edge| edge.kind == EdgeKind::SyncReturn))
            .filter_map(|id| graph.node(id).event)
            .collect();
        let mut launched: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
        for id in graph.node_ids().filter(|&id| graph.node(id).kind.is_device_start()) {
            if let Some(launch) = study.facts().launch(id) {
                launched.entry(launch).or_default().push(id);
            }
        }
        // By thread and by number in the step: each step's stretches.
        let mut stretches: BTreeMap<(TrackId, usize), Vec<Stretch>> = BTreeMap::new();
        for thread in study.facts().threads() {
            collect(study, thread, &waiting, &launched, &mut stretches);
        }
        let mut touched = Vec::new();
        let mut work = FxHashSet::default();
        let (mut taken, mut changing, mut short) = (0_usize, 0_usize, 0_usize);
        for alike in stretches.values() {
            let longest = alike.iter().map(|stretch| stretch.signature.len()).max().unwrap_or(0);
            if longest < min {
                short += alike.len();
                continue;
            }
            for stretch in alike {
                let equal = alike.iter().filter(|other| other.signature == stretch.signature).count();
                if equal < EQUAL_STEPS {
                    changing += 1;
                    continue;
                }
                taken += 1;
                replace(study, draft, stretch, cost + per_node * stretch.work.len() as f64);
                work.extend(stretch.work.iter().copied());
                touched.extend_from_slice(&stretch.nodes);
            }
        }
        if taken == 0 {
            return Err(Refusal::new(if changing > 0 {
                format!(
                    "no stretch of {min} launches repeats: {changing} differ from step to step (shapes or branches change)"
                )
            } else {
                format!("no stretch between waits has {min} launches or more ({short} are shorter)")
            }));
        }
        // Within a graph the next begins sooner.
        for &id in &work {
            for edge in graph.edges_to(id) {
                if edge.kind == EdgeKind::StreamOrder
                    && work.contains(&edge.from)
                    && let Some(lag) = draft.lag_ns(edge.index).filter(|&lag| lag > GRAPH_GAP_NS)
                {
                    draft.set_lag(edge.index, Some(lag.min(GRAPH_GAP_NS)));
                }
            }
        }
        let mut guards = vec![Guard {
            holds: changing == 0,
            text: format!(
                "{taken} stretches repeat in at least {EQUAL_STEPS} steps, {changing} change from step to step and stay as they are."
            ),
        }];
        if graph.node_ids().any(|id| graph.node(id).kind == NodeKind::Transfer && work.contains(&id)) {
            guards.push(Guard {
                holds: true,
                text: "Collectives are captured too: all ranks must capture alike.".to_owned(),
            });
        }
        Ok(Effect {
            touched,
            guards,
            assumptions: vec![
                "What the host does between these launches is not run again; shapes and addresses stay as they are."
                    .to_owned(),
            ],
            ..Effect::default()
        })
    }
}

fn collect(
    study: &Study<'_>,
    thread: TrackId,
    waiting: &FxHashSet<EventId>,
    launched: &BTreeMap<NodeId, Vec<NodeId>>,
    stretches: &mut BTreeMap<(TrackId, usize), Vec<Stretch>>,
) {
    let graph = study.graph();
    let mut number = 0;
    let mut step = None;
    let mut open: Option<Stretch> = None;
    let mut close = |open: &mut Option<Stretch>, number: &mut usize| {
        if let Some(stretch) = open.take().filter(|stretch| !stretch.work.is_empty()) {
            stretches.entry((thread, *number)).or_default().push(stretch);
            *number += 1;
        }
    };
    for &id in study.facts().thread(thread) {
        let node = graph.node(id);
        let own = study.facts().step(id);
        if own != step {
            close(&mut open, &mut number);
            (step, number) = (own, 0);
        }
        let waits = node.event.is_some_and(|event| waiting.contains(&event));
        if waits || matches!(node.kind, NodeKind::DataLoader | NodeKind::Gc) || own.is_none() {
            close(&mut open, &mut number);
            continue;
        }
        let stretch =
            open.get_or_insert_with(|| Stretch { nodes: Vec::new(), signature: Vec::new(), work: Vec::new() });
        if node.kind == NodeKind::Launch {
            stretch.nodes.push(id);
            for &work in launched.get(&id).map_or(&[][..], Vec::as_slice) {
                let name = graph.node(work).event.and_then(|event| study.trace().events().names().get(event.index()));
                stretch.signature.push(name.copied().unwrap_or(StrId::EMPTY));
                stretch.work.push(work);
            }
        } else if !stretch.nodes.is_empty() {
            // Host time before the first launch is not part of it.
            stretch.nodes.push(id);
        }
    }
    close(&mut open, &mut number);
}

fn replace(study: &Study<'_>, draft: &mut Draft<'_>, stretch: &Stretch, cost: f64) {
    let graph = study.graph();
    // All work is launched at once; then the host goes on after the cost of the call.
    let last = stretch.nodes.iter().rposition(|&id| graph.node(id).kind == NodeKind::Launch).unwrap_or(0);
    for (place, &id) in stretch.nodes.iter().enumerate().take(last + 1) {
        draft.set_duration(id, if place == last { cost.round() as i64 } else { 0 });
    }
}
