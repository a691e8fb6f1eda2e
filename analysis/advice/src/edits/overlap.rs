//! Collectives that begin earlier, in parts, or together.

use std::collections::BTreeMap;

use gapless_analysis::CollectiveKind;
use gapless_analysis::graph::{NodeId, NodeKind, Point};
use gapless_analysis::replay::{At, Draft};
use gapless_trace::RankId;

use super::common::{arrival_of, is_backward, launch_edge, stream_edge, transfers};
use super::{Basis, Effect, Guard, Outlook, Parameter, Refusal, Transformation};
use crate::collective_cost::Alpha;
use crate::spec::Edit;
use crate::study::Study;

/// Gradients are reduced in buckets while the backward pass goes on: `overlap-comm`, `overlap-comm(buckets=8)`; parameters
/// are gathered one unit ahead: `overlap-comm.prefetch`.
#[derive(Debug)]
pub(super) struct OverlapComm;

/// From an event on one stream to the start on another, in ns: what the graph takes without samples.
const EVENT_NS: i64 = 2_000;
/// By how much kernels that share the device with communication slow down, and communication itself (design, §3(d)2).
const SLOWER: (f64, f64, f64) = (1.0, 1.05, 1.2);

impl Transformation for OverlapComm {
    fn id(&self) -> &'static str {
        "overlap-comm"
    }

    fn title(&self) -> &'static str {
        "Communication runs beside the kernels that do not need it"
    }

    fn parts(&self) -> &'static [&'static str] {
        &["prefetch"]
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[
            Parameter { name: "buckets", help: "parts into which each reduction is split (8)" },
            Parameter { name: "alpha-us", help: "latency of each part, in µs (fitted from the recording, else 20)" },
            Parameter { name: "slower", help: "factor on kernels beside communication (1.0 to 1.2, 1.05 expected)" },
            Parameter {
                name: "unlimited",
                help: "1: gathers that are launched ahead wait for no memory of earlier units (prefetch only)",
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
        if edit.part() == Some("prefetch") {
            prefetch(edit, study, draft)
        } else {
            buckets(edit, study, draft, outlook)
        }
    }
}

/// A rank and a step.
type RankStep = (RankId, Option<usize>);

/// Transfers by collective: with one rank each is alone.
fn instances(edit: &Edit, study: &Study<'_>, kinds: &[CollectiveKind]) -> BTreeMap<usize, Vec<NodeId>> {
    let mut found: BTreeMap<usize, Vec<NodeId>> = BTreeMap::new();
    for id in transfers(study) {
        let Some(place) = study.facts().instance(id) else { continue };
        let kind = study.collectives().get(place).map(|instance| instance.kind);
        let fits = edit.selector().is_empty() || edit.selector().fits(study, id);
        if fits && kind.is_some_and(|kind| kinds.contains(&kind)) {
            found.entry(place).or_default().push(id);
        }
    }
    found
}

fn buckets(edit: &Edit, study: &Study<'_>, draft: &mut Draft<'_>, outlook: Outlook) -> Result<Effect, Refusal> {
    let graph = study.graph();
    let n = edit.number_or("buckets", 8.0).clamp(1.0, 1000.0) as usize;
    let slower = edit.number("slower").ok().flatten().unwrap_or_else(|| outlook.pick(SLOWER.0, SLOWER.1, SLOWER.2));
    let told = edit.number("alpha-us").ok().flatten().map(|us| us * 1e3);
    let alpha = Alpha::new(study);
    let chosen = instances(edit, study, &[CollectiveKind::AllReduce, CollectiveKind::ReduceScatter]);
    if chosen.is_empty() {
        return Err(Refusal::new("the recording has no all-reduce or reduce-scatter"));
    }
    // Backward kernels of each rank and step, by start.
    let mut backward: BTreeMap<RankStep, Vec<NodeId>> = BTreeMap::new();
    for id in study.nodes_of(NodeKind::Kernel).filter(|&id| is_backward(study, id)) {
        if let Some(place) = graph.node(id).place {
            backward.entry((place.rank, study.facts().step(id))).or_default().push(id);
        }
    }
    for kernels in backward.values_mut() {
        kernels.sort_by_key(|&id| (graph.node(id).start_ns, id));
    }
    if backward.is_empty() {
        return Err(Refusal::new("the recording does not show which kernels the backward pass launched"));
    }
    let mut touched = Vec::new();
    let (mut without, mut done) = (0_usize, 0_usize);
    // Kernels before the previous reduction of the rank belong to that one.
    let mut used: BTreeMap<RankStep, i64> = BTreeMap::new();
    for (place, members) in chosen {
        let mut plans: Vec<(NodeId, NodeId, Vec<NodeId>)> = Vec::new();
        for &transfer in &members {
            let (Some(arrival), Some(at)) = (arrival_of(study, transfer), graph.node(transfer).place) else { continue };
            let key = (at.rank, study.facts().step(transfer));
            let until = graph.node(arrival).start_ns;
            let from = used.get(&key).copied().unwrap_or(i64::MIN);
            let own = backward.get(&key).map_or(&[][..], Vec::as_slice);
            let kernels: Vec<NodeId> = own
                .iter()
                .copied()
                .filter(|&id| {
                    let node = graph.node(id);
                    node.start_ns >= from && node.end_ns() <= until
                })
                .collect();
            used.insert(key, until);
            plans.push((arrival, transfer, kernels));
        }
        if plans.iter().any(|(_, _, kernels)| kernels.len() < 2) || plans.is_empty() {
            without += 1;
            continue;
        }
        done += 1;
        let instance = study.collectives().get(place);
        let fitted = told.or_else(|| instance.and_then(|instance| alpha.fitted_ns(instance))).unwrap_or(20_000.0);
        let mut before: Vec<Option<At>> = vec![None; plans.len()];
        for bucket in 0..n.saturating_sub(1) {
            let meeting = draft.add(0);
            let mut parts = Vec::with_capacity(plans.len());
            for ((_, transfer, kernels), last) in plans.iter().zip(&before) {
                let tau = graph.node(*transfer).dur_ns as f64;
                let alpha_ns = fitted.min(tau);
                let dur = (alpha_ns + (tau - alpha_ns) / n as f64) * slower;
                let producer = kernels.len() * (bucket + 1) / n;
                if let Some(&producer) = kernels.get(producer.saturating_sub(1)) {
                    draft.link(producer, Point::End, meeting, EVENT_NS);
                }
                let part = draft.add(dur.round() as i64);
                draft.link(meeting, Point::Start, part, 0);
                if let Some(last) = last {
                    draft.link(*last, Point::End, meeting, 0);
                }
                parts.push(Some(part));
            }
            before = parts;
        }
        for ((_, transfer, kernels), last) in plans.iter().zip(before) {
            let tau = draft.duration_ns(*transfer) as f64;
            let alpha_ns = fitted.min(tau);
            draft.set_duration(*transfer, (alpha_ns + (tau - alpha_ns) / n as f64).round() as i64);
            if let Some(last) = last {
                draft.link(last, Point::End, *transfer, 0);
            }
            // The share of the kernels beside which communication runs slows down.
            let sum: i64 = kernels.iter().map(|&id| draft.duration_ns(id)).sum();
            let beside = (tau * (n.saturating_sub(1)) as f64 / n as f64 / sum.max(1) as f64).min(1.0);
            for &id in kernels {
                draft.scale_duration(id, 1.0 + (slower - 1.0) * beside);
            }
            touched.push(*transfer);
        }
    }
    if done == 0 {
        return Err(Refusal::new("no reduction follows backward kernels of its own step"));
    }
    Ok(Effect {
        touched,
        guards: vec![Guard {
            holds: without == 0,
            text: format!(
                "{done} reductions follow backward kernels whose gradients they may carry; {without} do not and stay."
            ),
        }],
        assumptions: vec![
            format!(
                "Each of {n} buckets is complete with its share of the backward kernels, and costs α and its share of the bytes."
            ),
            "Kernels beside communication take 0 to 20 % longer (5 % expected).".to_owned(),
        ],
        ..Effect::default()
    })
}

/// Each all-gather is launched when the one before it is, once the compute before that one is done.
fn prefetch(edit: &Edit, study: &Study<'_>, draft: &mut Draft<'_>) -> Result<Effect, Refusal> {
    let unlimited = edit.number_or("unlimited", 0.0) > 0.0;
    let graph = study.graph();
    let chosen = instances(edit, study, &[CollectiveKind::AllGather, CollectiveKind::Broadcast]);
    let mut by_rank: BTreeMap<RankStep, Vec<(NodeId, NodeId)>> = BTreeMap::new();
    for &transfer in chosen.values().flatten() {
        if let (Some(arrival), Some(place)) = (arrival_of(study, transfer), graph.node(transfer).place) {
            by_rank.entry((place.rank, study.facts().step(transfer))).or_default().push((arrival, transfer));
        }
    }
    let mut kernels: BTreeMap<RankId, Vec<NodeId>> = BTreeMap::new();
    for id in study.nodes_of(NodeKind::Kernel) {
        if let Some(place) = graph.node(id).place {
            kernels.entry(place.rank).or_default().push(id);
        }
    }
    let launched_at = |id: NodeId| study.facts().launch(id).map_or(i64::MAX, |launch| graph.node(launch).start_ns);
    for list in kernels.values_mut() {
        list.sort_by_key(|&id| (launched_at(id), id));
    }
    let mut touched = Vec::new();
    for ((rank, _), mut gathers) in by_rank {
        gathers.sort_by_key(|&(arrival, _)| (launched_at(arrival), arrival));
        for pair in gathers.windows(2) {
            let [(earlier, _), (arrival, transfer)] = *pair else { continue };
            let (Some(edge), Some(launch)) = (launch_edge(study, draft, arrival), study.facts().launch(earlier)) else {
                continue;
            };
            draft.set_lag(edge.index, None);
            draft.link(launch, Point::Start, arrival, edge.lag_ns);
            // The memory of the unit before the previous one must be free.
            let own = kernels.get(&rank).map_or(&[][..], Vec::as_slice);
            let before = own.partition_point(|&id| launched_at(id) < graph.node(launch).start_ns);
            if !unlimited && let Some(&gate) = before.checked_sub(1).and_then(|place| own.get(place)) {
                draft.link(gate, Point::End, arrival, EVENT_NS);
            }
            // In the stream of the kernels it would still wait its turn.
            let edge = stream_edge(study, draft, arrival);
            let behind_compute = edge.is_some_and(|edge| graph.node(edge.from).kind == NodeKind::Kernel);
            if behind_compute && let Some(edge) = edge {
                draft.set_lag(edge.index, None);
            }
            touched.push(transfer);
        }
    }
    if touched.is_empty() {
        return Err(Refusal::new("no step has two all-gathers or more"));
    }
    Ok(Effect {
        touched,
        assumptions: vec![
            "Memory holds the parameters of one more unit.".to_owned(),
            "A gather needs nothing that the device computes after the gather before it was launched.".to_owned(),
        ],
        ..Effect::default()
    })
}

/// Collectives of one kind that follow one another in a stream become one: `merge-collectives(comm=all_reduce)`.
#[derive(Debug)]
pub(super) struct MergeCollectives;

impl Transformation for MergeCollectives {
    fn id(&self) -> &'static str {
        "merge-collectives"
    }

    fn title(&self) -> &'static str {
        "Small collectives that follow one another become one"
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[
            Parameter {
                name: "alpha-us",
                help: "latency α that each of them costs, in µs (fitted from the recording, else the shortest of its kind)",
            },
            Parameter { name: "most", help: "collectives that become one at most (all that follow one another)" },
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
        let alpha = Alpha::new(study);
        let told = edit.number("alpha-us").ok().flatten().map(|us| us * 1e3);
        let most = edit.number_or("most", f64::INFINITY);
        let wanted = |id: NodeId| edit.selector().is_empty() || edit.selector().fits(study, id);
        // The shortest of a kind stands for its latency.
        let mut shortest: BTreeMap<(u32, CollectiveKind), i64> = BTreeMap::new();
        let key = |id: NodeId| {
            let instance = study.facts().instance(id).and_then(|place| study.collectives().get(place))?;
            Some((instance.communicator, instance.kind))
        };
        for id in transfers(study) {
            if let Some(key) = key(id) {
                let least = shortest.entry(key).or_insert(i64::MAX);
                *least = (*least).min(graph.node(id).dur_ns);
            }
        }
        let mut touched = Vec::new();
        for stream in study.facts().streams() {
            let mut run: Vec<NodeId> = Vec::new();
            let mut finish = |run: &mut Vec<NodeId>, draft: &mut Draft<'_>| {
                if run.len() >= 2 {
                    for &id in run.iter().skip(1) {
                        let tau = draft.duration_ns(id) as f64;
                        let instance = study.facts().instance(id).and_then(|place| study.collectives().get(place));
                        let least = key(id).and_then(|key| shortest.get(&key)).copied().unwrap_or(0) as f64;
                        let alpha_ns = told
                            .or_else(|| instance.and_then(|instance| alpha.fitted_ns(instance)))
                            .unwrap_or_else(|| outlook.pick(least, 0.8 * least, 0.5 * least));
                        draft.set_duration(id, (tau - alpha_ns).max(0.0).round() as i64);
                        // Its launch goes; those who wait for it wait for the merged one, which is not later.
                        if let Some(launch) = study.facts().launch(id) {
                            draft.set_duration(launch, 0);
                        }
                    }
                    touched.extend_from_slice(run);
                }
                run.clear();
            };
            for &id in study.facts().stream(stream) {
                match graph.node(id).kind {
                    NodeKind::Arrival | NodeKind::EstimatedWait => {}
                    NodeKind::Transfer if wanted(id) => {
                        let fits = run.last().is_none_or(|&last| {
                            key(last) == key(id)
                                && study.facts().step(last) == study.facts().step(id)
                                && (run.len() as f64) < most
                        });
                        if !fits {
                            finish(&mut run, draft);
                        }
                        run.push(id);
                    }
                    _ => finish(&mut run, draft),
                }
            }
            finish(&mut run, draft);
        }
        if touched.is_empty() {
            return Err(Refusal::new("no two collectives of one kind and group follow one another on a stream"));
        }
        Ok(Effect {
            touched,
            assumptions: vec!["Nothing needs the first results before the last data are there.".to_owned()],
            ..Effect::default()
        })
    }
}
