//! Kernels that take longer while collectives run beside them.

use std::collections::BTreeMap;

use gapless_analysis::graph::{NodeId, NodeKind};
use gapless_analysis::interval::{Interval, IntervalSet, MeasuredSet};
use gapless_trace::{EventId, StrId};
use rustc_hash::FxHashMap;

use crate::shapes::Shapes;
use crate::study::Study;

/// Kernels of one signature.
#[derive(Clone, Debug)]
pub(crate) struct Contended {
    /// Those that ran beside a collective for at least half of their time, with that share.
    pub overlapped: Vec<(NodeId, f64)>,
    /// Median duration beside a collective over median duration alone.
    pub gamma: f64,
    /// What the collectives cost them, summed, in ns.
    pub excess_ns: f64,
}

/// Samples of each kind that a ratio needs (design, §3(d)2).
const LEAST: usize = 5;
/// From this share of its time on a kernel counts as overlapped.
const OVERLAPPED: f64 = 0.5;

/// Kernels of equal name and inputs on one rank, with and without a collective beside them; by rank and name.
pub(crate) fn contended(study: &Study<'_>) -> Vec<Contended> {
    let beside = communication(study);
    let graph = study.graph();
    // Of one name first; shapes are read only for names that occur both ways.
    let mut by_name: BTreeMap<(u32, StrId), Vec<(NodeId, f64)>> = BTreeMap::new();
    for id in study.nodes_of(NodeKind::Kernel) {
        let node = graph.node(id);
        let (Some(place), Some(event)) = (node.place, node.event) else { continue };
        let Some(beside) = beside.get(&place.rank.0).filter(|_| node.dur_ns > 0) else { continue };
        let shared = beside.length_in(Interval::new(node.start_ns, node.end_ns())) as f64 / node.dur_ns as f64;
        by_name.entry((place.rank.0, study.trace().event(event).name)).or_default().push((id, shared));
    }
    let mut found = Vec::new();
    let mut read: FxHashMap<EventId, Vec<Vec<u64>>> = FxHashMap::default();
    for nodes in by_name.into_values() {
        let count = |fits: fn(f64) -> bool| nodes.iter().filter(|node| fits(node.1)).count();
        if count(|share| share >= OVERLAPPED) < LEAST || count(|share| share == 0.0) < LEAST {
            continue;
        }
        let mut by_inputs: BTreeMap<Vec<Vec<u64>>, Vec<(NodeId, f64)>> = BTreeMap::new();
        for (id, share) in nodes {
            let operator = study.facts().operator(id);
            let dims = operator.map(|operator| {
                read.entry(operator)
                    .or_insert_with(|| {
                        Shapes::of(study.trace(), operator).map_or_else(|| grid(study, id), |of| of.dims)
                    })
                    .clone()
            });
            by_inputs.entry(dims.unwrap_or_else(|| grid(study, id))).or_default().push((id, share));
        }
        // Kernels whose amount of work nothing tells may differ for any reason.
        by_inputs.remove(&Vec::new());
        found.extend(by_inputs.into_values().filter_map(|nodes| ratio(study, &nodes)));
    }
    found
}

fn ratio(study: &Study<'_>, nodes: &[(NodeId, f64)]) -> Option<Contended> {
    let dur = |id: NodeId| study.graph().node(id).dur_ns as f64;
    let overlapped: Vec<(NodeId, f64)> = nodes.iter().copied().filter(|node| node.1 >= OVERLAPPED).collect();
    let median = |fits: &dyn Fn(f64) -> bool| {
        let mut times: Vec<f64> = nodes.iter().filter(|node| fits(node.1)).map(|node| dur(node.0)).collect();
        times.sort_by(f64::total_cmp);
        (times.len() >= LEAST).then(|| times.get(times.len() / 2).copied())?
    };
    let beside = median(&|share| share >= OVERLAPPED)?;
    let alone = median(&|share| share == 0.0).filter(|&alone| alone > 0.0)?;
    let gamma = beside / alone;
    let excess_ns = overlapped.iter().map(|&(id, _)| dur(id) * (1.0 - 1.0 / gamma)).sum();
    Some(Contended { overlapped, gamma, excess_ns })
}

/// Dimensions of the kernel's grid, where the recording has them.
fn grid(study: &Study<'_>, id: NodeId) -> Vec<Vec<u64>> {
    let args = study.graph().node(id).event.and_then(|event| study.trace().args(event).ok()).unwrap_or_default();
    let grid = args.iter().find(|(name, _)| name == "grid").map(|(_, value)| value);
    match grid {
        Some(gapless_trace::ArgValue::List(items)) => {
            vec![items.iter().filter_map(|item| item.as_i64().and_then(|n| u64::try_from(n).ok())).collect()]
        }
        _ => Vec::new(),
    }
}

/// When communication kernels were on the devices of each rank, on the common clock: waiting ones hold multiprocessors
/// too.
fn communication(study: &Study<'_>) -> FxHashMap<u32, MeasuredSet> {
    let mut all: FxHashMap<u32, Vec<Interval>> = FxHashMap::default();
    for instance in study.collectives().iter().filter(|instance| instance.on_device) {
        for member in &instance.members {
            let span = Interval::new(member.start.nanos(), member.end.nanos());
            all.entry(member.rank.0).or_default().push(span);
        }
    }
    all.into_iter().map(|(rank, spans)| (rank, MeasuredSet::new(IntervalSet::from_unsorted(spans)))).collect()
}
