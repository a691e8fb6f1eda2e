//! Faster or slower threads and launches; no collection of garbage.

use gapless_analysis::graph::{EdgeKind, NodeId, NodeKind};
use gapless_analysis::replay::Draft;
use gapless_trace::EventId;
use rustc_hash::FxHashSet;

use super::{Basis, Effect, Outlook, Parameter, Refusal, Transformation};
use crate::spec::{Edit, SpecError};
use crate::study::Study;

/// Speed of the host: `host=1.5x`, `host(least=1.2,most=2)=1.5x`, `host.launch-latency=2x`.
#[derive(Debug)]
pub(super) struct Host;

impl Transformation for Host {
    fn id(&self) -> &'static str {
        "host"
    }

    fn title(&self) -> &'static str {
        "Threads run faster, or launches reach the device sooner"
    }

    fn parts(&self) -> &'static [&'static str] {
        &["launch-latency"]
    }

    fn value(&self) -> Option<&'static str> {
        Some("speed as a factor: 2x halves the time")
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[
            Parameter { name: "least", help: "speed at worst, as a factor (the value)" },
            Parameter { name: "most", help: "speed at best, as a factor (the value)" },
        ]
    }

    fn basis(&self) -> Basis {
        Basis::Replay
    }

    fn check(&self, edit: &Edit) -> Result<(), SpecError> {
        let value = edit.factor()?;
        for (name, fits) in [("least", f64::le as fn(&f64, &f64) -> bool), ("most", f64::ge)] {
            if let Some(speed) = edit.number(name)?.filter(|speed| *speed <= 0.0 || !fits(speed, &value)) {
                return Err(SpecError::BadValue {
                    parameter: name.to_owned(),
                    value: speed.to_string(),
                    expected: "a speed above zero, at worst no higher and at best no lower than the expected one"
                        .to_owned(),
                });
            }
        }
        Ok(())
    }

    fn apply(
        &self,
        edit: &Edit,
        study: &Study<'_>,
        draft: &mut Draft<'_>,
        outlook: Outlook,
    ) -> Result<Effect, Refusal> {
        let speed = edit
            .factor()
            .ok()
            .filter(|&speed| speed > 0.0)
            .ok_or_else(|| Refusal::new("a speed of zero never ends"))?;
        let speed = outlook.pick(edit.number_or("most", speed), speed, edit.number_or("least", speed));
        let graph = study.graph();
        let mut touched = Vec::new();
        if edit.part() == Some("launch-latency") {
            for id in graph.node_ids() {
                for edge in graph.edges_to(id) {
                    if edge.kind == EdgeKind::Launch
                        && let Some(lag) = draft.lag_ns(edge.index)
                    {
                        draft.set_lag(edge.index, Some((lag as f64 / speed).round() as i64));
                        touched.push(id);
                    }
                }
            }
        } else {
            for id in graph.node_ids() {
                let kind = graph.node(id).kind;
                let fits = kind.is_host_work() && (edit.selector().is_empty() || edit.selector().fits_host(study, id));
                if fits {
                    draft.scale_duration(id, 1.0 / speed);
                    touched.push(id);
                }
            }
        }
        if touched.is_empty() {
            return Err(super::scale::nothing(edit));
        }
        Ok(Effect { touched, ..Effect::default() })
    }
}

/// No collection of garbage in a step, no calls that allocate or free device memory: `no-gc`, `no-gc.allocator`.
#[derive(Debug)]
pub(super) struct NoGc;

/// Calls that take or give back memory, and wait for the device to do so.
const ALLOCATOR_CALLS: [&str; 10] = [
    "cudaMalloc",
    "cudaFree",
    "cudaHostAlloc",
    "cudaFreeHost",
    "cudaMallocHost",
    "hipMalloc",
    "hipFree",
    "hipHostMalloc",
    "hipHostFree",
    "cudaMallocManaged",
];

impl Transformation for NoGc {
    fn id(&self) -> &'static str {
        "no-gc"
    }

    fn title(&self) -> &'static str {
        "No garbage collection, or no allocation of device memory, within steps"
    }

    fn parts(&self) -> &'static [&'static str] {
        &["allocator"]
    }

    fn basis(&self) -> Basis {
        Basis::Replay
    }

    fn apply(&self, edit: &Edit, study: &Study<'_>, draft: &mut Draft<'_>, _: Outlook) -> Result<Effect, Refusal> {
        let graph = study.graph();
        let mut touched = Vec::new();
        let allocator = edit.part() == Some("allocator");
        for id in graph.node_ids() {
            let node = graph.node(id);
            let hit = if allocator {
                matches!(node.kind, NodeKind::Call | NodeKind::Return) && ALLOCATOR_CALLS.contains(&study.name(id))
            } else {
                node.kind == NodeKind::Gc
            };
            if !hit || (!edit.selector().is_empty() && !edit.selector().fits_host(study, id)) {
                continue;
            }
            draft.set_duration(id, 0);
            if node.kind == NodeKind::Return {
                for edge in graph.edges_to(id).filter(|edge| edge.kind == EdgeKind::SyncReturn) {
                    draft.set_lag(edge.index, None);
                }
                draft.set_delay(id, 0);
            }
            touched.push(id);
        }
        if allocator {
            short_calls(edit, study, draft, &mut touched);
        }
        if touched.is_empty() {
            let what = if allocator { "calls that allocate or free device memory" } else { "collections of garbage" };
            return Err(Refusal::new(format!("the recording has no {what}")));
        }
        let assumption = if allocator {
            "The caching allocator serves what these calls did."
        } else {
            "Garbage is collected between steps of no interest, or seldom."
        };
        Ok(Effect { touched, assumptions: vec![assumption.to_owned()], ..Effect::default() })
    }
}

/// Calls that wait for nothing have no node: their time is part of the thread's work around them, and goes there.
fn short_calls(edit: &Edit, study: &Study<'_>, draft: &mut Draft<'_>, touched: &mut Vec<NodeId>) {
    let (trace, graph) = (study.trace(), study.graph());
    let calls: FxHashSet<EventId> = graph
        .node_ids()
        .map(|id| graph.node(id))
        .filter(|node| node.kind == NodeKind::Call)
        .filter_map(|node| node.event)
        .collect();
    for thread in study.facts().threads() {
        let Some(track) = trace.track(thread) else { continue };
        for event in track.event_ids() {
            let is_call = trace.event(event).kind.is_device_call() && ALLOCATOR_CALLS.contains(&trace.name(event));
            if !is_call || calls.contains(&event) {
                continue;
            }
            let around: Vec<(NodeId, i64)> = study.host_nodes_in(thread, study.host_span(event)).collect();
            for (id, overlap) in around {
                let fits = edit.selector().is_empty() || edit.selector().fits_host(study, id);
                if graph.node(id).kind == NodeKind::Host && fits {
                    draft.set_duration(id, draft.duration_ns(id).saturating_sub(overlap));
                    touched.push(id);
                }
            }
        }
    }
}
