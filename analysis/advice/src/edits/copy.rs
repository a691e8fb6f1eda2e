//! Copies from pinned memory, beside the compute stream.

use gapless_analysis::graph::{EdgeKind, NodeId, NodeKind, Point};
use gapless_analysis::replay::Draft;

use super::common::{keep_followers, stream_edge, track};
use super::{Basis, Effect, Guard, Outlook, Parameter, Refusal, Transformation};
use crate::spec::Edit;
use crate::study::Study;

/// Copies to the device from pinned memory on a stream of their own: `async-copy`, `async-copy(gb-per-s=25)`.
#[derive(Debug)]
pub(super) struct AsyncCopy;

/// Effective bandwidth of pinned copies without one in the recording, in bytes per ns: PCIe 5, 4 and 3.
const PINNED: (f64, f64, f64) = (50.0, 25.0, 12.0);

impl Transformation for AsyncCopy {
    fn id(&self) -> &'static str {
        "async-copy"
    }

    fn title(&self) -> &'static str {
        "Copies to the device come from pinned memory and run beside the kernels"
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[Parameter {
            name: "gb-per-s",
            help: "bandwidth of pinned copies, in 10⁹ bytes per second (without: the best of the recording, else 12 to 50)",
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
        let wanted = |id: NodeId| {
            let name = study.name(id);
            let to_device = name.contains("HtoD") || name.contains("HostToDevice") || name.contains("Host -> Device");
            if edit.selector().is_empty() { to_device && !is_pinned(name) } else { edit.selector().fits(study, id) }
        };
        let measured = study
            .nodes_of(NodeKind::Copy)
            .filter(|&id| study.name(id).contains("HtoD") && is_pinned(study.name(id)))
            .filter_map(|id| {
                let bytes = graph.node(id).event.and_then(|event| study.trace().copy_bytes(event))?;
                (bytes >= 1 << 20).then(|| bytes as f64 / graph.node(id).dur_ns.max(1) as f64)
            })
            .fold(0.0, f64::max);
        let told = edit.number("gb-per-s").ok().flatten();
        let speed = told.unwrap_or(if measured > 0.0 { measured } else { outlook.pick(PINNED.0, PINNED.1, PINNED.2) });
        let mut touched = Vec::new();
        let mut unknown_bytes = 0_usize;
        let mut followed: Vec<(NodeId, NodeId)> = Vec::new();
        for stream in study.facts().streams() {
            let nodes = study.facts().stream(stream);
            let mut last_copy: Option<NodeId> = None;
            let mut place = 0;
            while let Some(&first) = nodes.get(place) {
                if graph.node(first).kind != NodeKind::Copy || !wanted(first) {
                    place += 1;
                    continue;
                }
                // Copies that follow one another move together.
                let mut end = place;
                while nodes.get(end).is_some_and(|&id| graph.node(id).kind == NodeKind::Copy && wanted(id)) {
                    end += 1;
                }
                let run = nodes.get(place..end).unwrap_or_default();
                let (Some(&first), Some(&last)) = (run.first(), run.last()) else { break };
                let before = stream_edge(study, draft, first);
                if let Some(before) = before {
                    draft.set_lag(before.index, None);
                    followed.extend(run.iter().map(|&id| (id, before.from)));
                    // What comes next still follows what came before, and the copy, whose data it needs.
                    if let Some(&next) = nodes.get(end)
                        && let Some(after) = stream_edge(study, draft, next).filter(|edge| edge.from == last)
                    {
                        draft.link(before.from, before.point, next, after.lag_ns.max(0));
                    }
                }
                if let Some(copy) = last_copy {
                    draft.link(copy, Point::End, first, 0);
                }
                last_copy = Some(last);
                for &id in run {
                    let node = graph.node(id);
                    match node.event.and_then(|event| study.trace().copy_bytes(event)) {
                        Some(bytes) => {
                            let dur = (bytes as f64 / speed).round() as i64;
                            draft.set_duration(id, draft.duration_ns(id).min(dur.max(1_000)));
                        }
                        None => unknown_bytes += 1,
                    }
                    touched.push(id);
                }
                place = end;
            }
        }
        if touched.is_empty() {
            return Err(Refusal::new("the recording has no copies to the device from pageable memory"));
        }
        // The calls return at once.
        for id in graph.node_ids().filter(|&id| graph.node(id).kind == NodeKind::Return) {
            let waits: Vec<_> = graph
                .edges_to(id)
                .filter(|edge| edge.kind == EdgeKind::SyncReturn && touched.binary_search(&edge.from).is_ok())
                .filter(|edge| {
                    study
                        .facts()
                        .launch(edge.from)
                        .is_some_and(|launch| graph.node(launch).event == graph.node(id).event)
                })
                .collect();
            if waits.is_empty() {
                continue;
            }
            draft.set_delay(id, 0);
            for edge in waits {
                draft.set_lag(edge.index, None);
            }
        }
        followed.sort_unstable();
        keep_followers(study, draft, &followed);
        let streams =
            touched.iter().filter_map(|&id| track(study, id)).collect::<std::collections::BTreeSet<_>>().len();
        Ok(Effect {
            guards: vec![Guard {
                holds: unknown_bytes == 0,
                text: format!(
                    "Bytes are known of all but {unknown_bytes} of {} copies on {streams} streams.",
                    touched.len()
                ),
            }],
            touched,
            assumptions: vec![
                format!("Pinned copies reach {speed:.0} GB/s; the next work of the stream needs their data."),
                "The batch lies in pinned memory when its copy is issued (pin_memory=True).".to_owned(),
            ],
            ..Effect::default()
        })
    }
}

fn is_pinned(name: &str) -> bool {
    name.contains("Pinned")
}
