//! D19: many collectives so small that latency is all they cost.

use std::collections::BTreeMap;

use gapless_analysis::graph::{EdgeKind, NodeId, NodeKind};
use gapless_analysis::{CollectiveKind, costs};

use super::share::{longest_first, path_per_step};
use super::{Detector, Finding, Threshold, Verdict, threshold};
use crate::edits::Guard;
use crate::scene::Scene;
use crate::text::{bytes, ms};

/// Small collectives in a row.
#[derive(Debug)]
pub(super) struct TinyCollectives;

/// Sizes that count as small where the recording has too few for a fit: NCCL's latency is then 60 to 100 % of the time.
const SMALL: f64 = 65_536.0;

impl Detector for TinyCollectives {
    fn id(&self) -> &'static str {
        "tiny-collectives"
    }

    fn title(&self) -> &'static str {
        "Many small collectives pay latency one by one"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[
            Threshold { name: "count", default: 50.0, help: "small collectives of one kind and group in each step" },
            Threshold {
                name: "run",
                default: 4.0,
                help: "collectives in a row whose results nobody waits for between",
            },
        ]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let study = scene.study();
        let graph = study.graph();
        let mut limits: BTreeMap<(u32, CollectiveKind), f64> = BTreeMap::new();
        for row in costs(study.collectives(), study.timings()) {
            let factor = row.ranks.map_or(1.0, |ranks| row.kind.bus_factor(ranks.max(2))).max(0.1);
            // S·F ÷ B < α.
            let fitted = row.model.map(|model| model.alpha_ns * model.bus_gb_per_s / factor);
            limits.insert((row.communicator, row.kind), fitted.unwrap_or(SMALL));
        }
        let consumed = consumed(scene);
        let least_run = threshold(scene, self, "run");
        let mut by_call: BTreeMap<(u32, CollectiveKind, u32), Vec<NodeId>> = BTreeMap::new();
        for stream in study.facts().streams() {
            let mut run: Vec<NodeId> = Vec::new();
            let mut key = None;
            let mut finish = |key: Option<(u32, CollectiveKind, u32)>, run: &mut Vec<NodeId>| {
                if let Some(key) = key
                    && run.len() as f64 >= least_run
                {
                    by_call.entry(key).or_default().append(run);
                }
                run.clear();
            };
            for &id in study.facts().stream(stream) {
                let node = graph.node(id);
                if matches!(node.kind, NodeKind::Arrival | NodeKind::EstimatedWait) {
                    continue;
                }
                let instance = study.facts().instance(id).and_then(|place| study.collectives().get(place));
                let own = instance.zip(study.rank(id)).and_then(|(of, rank)| {
                    let limit = limits.get(&(of.communicator, of.kind)).copied().unwrap_or(SMALL);
                    let mergeable = matches!(
                        of.kind,
                        CollectiveKind::AllReduce | CollectiveKind::AllGather | CollectiveKind::ReduceScatter
                    );
                    let is_small = of.bytes.is_some_and(|count| count as f64 <= limit);
                    (mergeable && is_small && node.kind == NodeKind::Transfer).then_some((
                        of.communicator,
                        of.kind,
                        rank.0,
                    ))
                });
                // Somebody waits for the one before: the two cannot be one.
                let is_needed =
                    run.last().is_some_and(|last| consumed.get(last).is_some_and(|&waits_ns| waits_ns < node.start_ns));
                if own != key || is_needed {
                    finish(key, &mut run);
                }
                key = own;
                if own.is_some() {
                    run.push(id);
                }
            }
            finish(key, &mut run);
        }
        let steps = study.step_count() as f64;
        let mut found: BTreeMap<(u32, CollectiveKind), (usize, Vec<NodeId>)> = BTreeMap::new();
        for ((communicator, kind, _), nodes) in by_call {
            if nodes.len() as f64 / steps < threshold(scene, self, "count") {
                continue;
            }
            let entry = found.entry((communicator, kind)).or_default();
            entry.0 = entry.0.max(nodes.len());
            entry.1.extend(nodes);
        }
        let findings = found.into_iter().filter_map(|((communicator, kind), (count, nodes))| {
            let instance = study.collectives().iter().find(|of| of.communicator == communicator)?;
            let largest = nodes.iter().filter_map(|&id| study.collectives().get(study.facts().instance(id)?)?.bytes).max();
            let name = kind.label();
            Some(Finding {
                title: format!("{:.0} small {name} calls in each step", count as f64 / steps),
                paragraph: format!(
                    "Each step sends {:.0} {name} messages of at most {} in group {}, one after the other, and nobody \
                     waits for the results in between. At this size a call costs its latency whatever it moves; they take \
                     {} of the critical path of a step.",
                    count as f64 / steps,
                    bytes(largest.unwrap_or_default() as f64),
                    instance.group,
                    ms(path_per_step(scene, &nodes)),
                ),
                fix: "Put the tensors into one buffer and send that, or let the coalescing manager do it; with DDP use \
                      larger buckets."
                    .to_owned(),
                code: "flat = torch._utils._flatten_dense_tensors(tensors)\ndist.all_reduce(flat)\n\
                       # or: with dist._coalescing_manager(group, device): ...\n\
                       # DDP(model, bucket_cap_mb=25)"
                    .to_owned(),
                references: vec![
                    "https://pytorch.org/docs/stable/notes/ddp.html#internal-design".to_owned(),
                    "https://github.com/NVIDIA/nccl/blob/master/src/graph/tuning.cc".to_owned(),
                ],
                guards: vec![Guard {
                    holds: true,
                    text: "They are of one group and kind, follow one another on a stream, and nothing waits for the \
                           results in between."
                        .to_owned(),
                }],
                edits: vec![format!("merge-collectives(comm={name},group={})", instance.group)],
                evidence: scene.events_of(&longest_first(scene, &nodes)),
                nodes,
                ..Finding::default()
            })
        });
        Verdict::Findings(findings.collect())
    }
}

/// Transfers that something other than the next collective waits for, with the time at which that begins: the host's
/// return from a wait, or another stream that was told to wait for an event.
fn consumed(scene: &Scene<'_, '_>) -> BTreeMap<NodeId, i64> {
    let graph = scene.study().graph();
    // What an event on a stream was recorded after.
    let mut recorded: BTreeMap<NodeId, NodeId> = BTreeMap::new();
    let mut found: BTreeMap<NodeId, i64> = BTreeMap::new();
    for id in graph.node_ids() {
        let node = graph.node(id);
        for edge in graph.edges_to(id) {
            let from = recorded.get(&edge.from).copied().unwrap_or(edge.from);
            if graph.node(from).kind != NodeKind::Transfer {
                continue;
            }
            match edge.kind {
                EdgeKind::StreamOrder if node.kind == NodeKind::Record => {
                    recorded.insert(id, from);
                }
                EdgeKind::EventWait | EdgeKind::SyncReturn => {
                    let first = found.entry(from).or_insert(i64::MAX);
                    *first = (*first).min(node.start_ns);
                }
                EdgeKind::StreamOrder if matches!(node.kind, NodeKind::Kernel | NodeKind::Copy) => {
                    let first = found.entry(from).or_insert(i64::MAX);
                    *first = (*first).min(node.start_ns);
                }
                _ => {}
            }
        }
    }
    found
}
