//! Batches come from worker processes.

use gapless_analysis::graph::NodeKind;
use gapless_analysis::replay::Draft;

use super::{Basis, ClassError, Effect, Guard, Outlook, Parameter, Refusal, Transformation};
use crate::spec::Edit;
use crate::study::Study;

/// Fetching a batch takes the time of a hand-over: `prefetch-input`, `prefetch-input(workers=4)`.
#[derive(Debug)]
pub(super) struct PrefetchInput;

/// What taking a batch from a worker costs: 0.1 to 1.4 ms in recordings with workers (design, §2.3).
const HAND_OVER_NS: (f64, f64, f64) = (0.1e6, 1.4e6, 1.4e6);
/// By how much other host work slows beside busy workers (design, §2.3).
const CONTENTION: (f64, f64, f64) = (1.00, 1.05, 1.10);
/// The greatest error of this class on the four pairs of the design's §2.3.
const CLASS_ERROR: ClassError = ClassError { share: 0.064, pairs: 4 };

impl Transformation for PrefetchInput {
    fn id(&self) -> &'static str {
        "prefetch-input"
    }

    fn title(&self) -> &'static str {
        "Batches are loaded by worker processes, ahead of time"
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[
            Parameter {
                name: "workers",
                help: "worker processes: the loader cannot deliver faster than its time divided by them (enough without)",
            },
            Parameter {
                name: "contention",
                help: "factor on other host time while workers run (1.00 to 1.10, 1.05 expected)",
            },
            Parameter { name: "hand-over-ms", help: "time to take a batch from a worker, in ms (0.1 to 1.4)" },
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
        let hand_over = edit
            .number("hand-over-ms")
            .ok()
            .flatten()
            .map_or_else(|| outlook.pick(HAND_OVER_NS.0, HAND_OVER_NS.1, HAND_OVER_NS.2), |ms| ms * 1e6);
        let contention = edit
            .number("contention")
            .ok()
            .flatten()
            .unwrap_or_else(|| outlook.pick(CONTENTION.0, CONTENTION.1, CONTENTION.2));
        let graph = study.graph();
        let wanted = |id| edit.selector().is_empty() || edit.selector().fits_host(study, id);
        let loads: Vec<_> = study.nodes_of(NodeKind::DataLoader).filter(|&id| wanted(id)).collect();
        let fetched: f64 = loads.iter().map(|&id| graph.node(id).dur_ns as f64).sum();
        if loads.is_empty() || fetched <= 0.0 {
            return Err(Refusal::new("the recording shows no fetching of batches (enumerate(DataLoader)#….__next__)"));
        }
        let shrinks = loads.iter().any(|&id| graph.node(id).dur_ns as f64 > hand_over);
        let mut touched = Vec::new();
        for id in graph.node_ids() {
            let node = graph.node(id);
            let now = draft.duration_ns(id);
            let then = match node.kind {
                NodeKind::DataLoader if wanted(id) => now.min(hand_over.round() as i64),
                // Calls that wait are short; what grows is what the processor does.
                kind if kind.is_host_work() => (now as f64 * contention).round() as i64,
                _ => continue,
            };
            if node.kind == NodeKind::DataLoader {
                touched.push(id);
            }
            draft.set_duration(id, then);
        }
        let mut guards =
            vec![Guard { holds: shrinks, text: "Fetching takes longer than the hand-over from a worker.".to_owned() }];
        if let Some(workers) = edit.number("workers").ok().flatten().filter(|&workers| workers >= 1.0) {
            // Each step still cannot be shorter than the loader's period.
            let period = fetched / loads.len() as f64 * contention / workers;
            let mut last: std::collections::BTreeMap<gapless_trace::TrackId, gapless_analysis::graph::NodeId> =
                std::collections::BTreeMap::new();
            for &id in &loads {
                let Some(place) = graph.node(id).place else { continue };
                if let Some(&before) = last.get(&place.track) {
                    draft.link(before, gapless_analysis::graph::Point::Start, id, period.round() as i64);
                }
                last.insert(place.track, id);
            }
            guards.push(Guard {
                holds: true,
                text: format!("{workers} workers deliver a batch every {:.1} ms.", period / 1e6),
            });
        }
        Ok(Effect {
            touched,
            guards,
            assumptions: vec![
                format!(
                    "Taking a batch from a worker costs {:.1} to {:.1} ms; other host work takes {:.0} to {:.0} % longer beside workers.",
                    HAND_OVER_NS.0 / 1e6,
                    HAND_OVER_NS.2 / 1e6,
                    (CONTENTION.0 - 1.0) * 100.0,
                    (CONTENTION.2 - 1.0) * 100.0
                ),
                "There are processors free for the workers.".to_owned(),
            ],
            class_error: Some(CLASS_ERROR),
            ..Effect::default()
        })
    }
}
