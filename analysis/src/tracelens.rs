//! The numbers that TraceLens would print, by its rules, so that the two tools can be compared line by line.
//!
//! Where its rules differ from ours (see [`RankBreakdown`](crate::RankBreakdown)):
//!
//! - The timeline leaves out device work that no arrow of the file joins with its launch. Launches are joined here by
//!   correlation id; of these, ROCm's tracer draws no arrow for `hipMemsetAsync`, so that work is left out too. Graph
//!   launches need no arrow.
//! - A kernel or fill communicates if its name holds `nccl`. Everything else computes, fills included; only copies do not.
//! - Times are floating-point microseconds from the file's base, and an end is the rounded sum of start and duration.
//!   This is repeated here, since short times differ from the exact ones by more than 10⁻⁶.
//! - The summary of kernels includes those without a launch, with no operator.
//! - Where frames of `torch.utils.checkpoint` recompute activations, a second timeline holds their work alone.
//!
//! The column *Parent op category*, a table of operator names, is not reproduced.

use gapless_trace::{EventId, EventKind, RankId, StrId, Trace, TrackKind};
use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::host::HostTree;
use crate::interval::{Interval, IntervalSet};
use crate::names::Names;
use crate::work::{DeviceWork, Work};

/// One row of `gpu_timeline.csv`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TraceLensTime {
    /// Column `type` (`computation_time`).
    #[serde(rename = "type")]
    pub name: &'static str,
    /// Column `time ms`.
    pub time_ms: f64,
    /// Column `percent`: of the total time.
    pub percent: f64,
}

/// One row of `kernel_summary.csv`: kernels of one name that one operator launched on one stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TraceLensKernel {
    /// Column `Parent cpu_op`: the innermost operator around the launch; `None` if there is none.
    pub parent_operator: Option<String>,
    /// Column `Kernel name`.
    pub name: String,
    /// Column `Kernel stream`.
    pub stream: Option<i64>,
    /// Column `Kernel duration (µs)_sum`.
    pub sum_us: f64,
    /// Column `Kernel duration (µs)_count`.
    pub count: u64,
    /// Column `Kernel duration (µs)_mean`.
    pub mean_us: f64,
    /// Column `Kernel duration (µs)_min`.
    pub min_us: f64,
    /// Column `Kernel duration (µs)_max`.
    pub max_us: f64,
    /// Column `Percent of kernels time (%)`.
    pub percent_of_kernels: f64,
    /// Column `Percent of total time (%)`: of the total of the timeline.
    pub percent_of_total: f64,
}

/// The tables that TraceLens would print for one rank.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TraceLensReport {
    /// `gpu_timeline.csv` over all linked device work; empty if there is none.
    pub timeline: Vec<TraceLensTime>,
    /// The rows with `is_recompute` = `False`; empty if nothing is recomputed.
    pub timeline_without_recompute: Vec<TraceLensTime>,
    /// The rows with `is_recompute` = `True`; empty if nothing is recomputed.
    pub timeline_of_recompute: Vec<TraceLensTime>,
    /// `kernel_summary.csv`, by time.
    pub kernels: Vec<TraceLensKernel>,
}

impl TraceLensReport {
    pub(crate) fn new(trace: &Trace, rank: RankId, device: &DeviceWork, host: &HostTree, names: &Names) -> Self {
        let linked: Vec<&Work> = device.work.iter().filter(|work| has_arrow(trace, work)).collect();
        let recompute = recompute_frames(trace, rank, names);
        let recomputed = |work: &Work| is_recomputed(trace, work, &recompute);
        let split = linked.iter().any(|work| recomputed(work));
        let part = |wanted: bool| -> Vec<TraceLensTime> {
            let part: Vec<&Work> = linked.iter().copied().filter(|work| recomputed(work) == wanted).collect();
            if split { timeline(trace, rank, &part) } else { Vec::new() }
        };
        let timeline = timeline(trace, rank, &linked);
        let total_ms = timeline.iter().find(|row| row.name == "total_time").map_or(0.0, |row| row.time_ms);
        Self {
            kernels: kernels(trace, device, host, total_ms * 1e3),
            timeline_without_recompute: part(false),
            timeline_of_recompute: part(true),
            timeline,
        }
    }
}

fn has_arrow(trace: &Trace, work: &Work) -> bool {
    work.launch().is_some_and(|launch| trace.name(launch) != "hipMemsetAsync")
}

/// When frames of activation checkpointing recompute a forward pass, by thread in order of tracks.
fn recompute_frames(trace: &Trace, rank: RankId, names: &Names) -> Vec<(u32, IntervalSet)> {
    if !names.has_recomputing_frames() {
        return Vec::new();
    }
    let threads = trace.tracks_of(rank).filter(|(_, track)| track.kind == TrackKind::Thread);
    let frames = threads.map(|(id, track)| {
        let name_of = |event: &EventId| trace.events().names().get(event.index()).copied();
        let named = |event: &EventId| name_of(event).is_some_and(|name| names.is_recomputing_frame(name));
        let spans = track.event_ids().filter(named).map(|event| trace.event(event).span());
        (id.0, spans.map(|span| Interval::new(span.start.nanos(), span.end.nanos())).collect())
    });
    frames.filter(|(_, frames): &(u32, IntervalSet)| !frames.is_empty()).collect()
}

fn is_recomputed(trace: &Trace, work: &Work, frames: &[(u32, IntervalSet)]) -> bool {
    let launched = || {
        let launch = work.launch()?;
        let thread = trace.track_of(launch)?.0;
        let (_, frames) = frames.iter().find(|(track, _)| *track == thread.0)?;
        let span = trace.event(launch).span();
        let (start, end) = (span.start.nanos(), span.end.nanos());
        let at = frames.intervals().partition_point(|frame| frame.start <= start).checked_sub(1)?;
        Some(frames.intervals().get(at)?.end >= end)
    };
    !frames.is_empty() && launched().unwrap_or(false)
}

/// Disjoint floating-point intervals in µs, ascending.
type Spans = Vec<(f64, f64)>;

/// Adds an interval whose start is no earlier than those before.
fn push(spans: &mut Spans, (start, end): (f64, f64)) {
    match spans.last_mut() {
        Some(last) if start <= last.1 => last.1 = last.1.max(end),
        _ => spans.push((start, end)),
    }
}

fn length(spans: &Spans) -> f64 {
    // Not `sum()`: the empty sum of floats is −0.
    spans.iter().fold(0.0, |sum, (start, end)| sum + (end - start))
}

/// What is in `spans` and not in `holes`. O(n + m).
fn without(spans: &Spans, holes: &Spans) -> Spans {
    let mut rest = Spans::new();
    let mut holes = holes.iter().copied().peekable();
    for &(mut start, end) in spans {
        while let Some((from, until)) = holes.peek().copied().filter(|hole| hole.0 < end) {
            if from > start {
                rest.push((start, from));
            }
            start = start.max(until);
            if until > end {
                break;
            }
            holes.next();
        }
        if start < end {
            rest.push((start, end));
        }
    }
    rest
}

fn timeline(trace: &Trace, rank: RankId, work: &[&Work]) -> Vec<TraceLensTime> {
    let Some(rank) = trace.rank(rank).filter(|_| !work.is_empty()) else { return Vec::new() };
    let base = rank.base_time_ns.unwrap_or_default().saturating_add(rank.clock_offset_ns);
    let (mut all, mut compute, mut comm, mut copy) = (Spans::new(), Spans::new(), Spans::new(), Spans::new());
    for work in work {
        let start = work.start.saturating_sub(base) as f64 / 1e3;
        let span = (start, start + work.duration() as f64 / 1e3);
        let event = trace.event(work.event);
        push(&mut all, span);
        if event.kind == EventKind::Memcpy {
            push(&mut copy, span);
        } else if trace.text(event.name).contains("nccl") {
            push(&mut comm, span);
        } else {
            push(&mut compute, span);
        }
    }
    let total = match (all.first(), all.last()) {
        (Some(first), Some(last)) => last.1 - first.0,
        _ => 0.0,
    };
    let busy = length(&all);
    let rows = [
        ("computation_time", length(&compute)),
        ("exposed_comm_time", length(&without(&comm, &compute))),
        ("exposed_memcpy_time", length(&without(&without(&copy, &compute), &comm))),
        ("busy_time", busy),
        ("idle_time", total - busy),
        ("total_time", total),
        ("total_comm_time", length(&comm)),
        ("total_memcpy_time", length(&copy)),
    ];
    rows.map(|(name, us)| TraceLensTime { name, time_ms: us / 1e3, percent: percent(us, total) }).into()
}

fn percent(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole * 100.0 } else { 0.0 }
}

/// Durations of the kernels of one operator, name and stream, in ns.
#[derive(Default)]
struct Group {
    count: u64,
    sum: i64,
    min: i64,
    max: i64,
}

fn kernels(trace: &Trace, device: &DeviceWork, host: &HostTree, total_us: f64) -> Vec<TraceLensKernel> {
    let mut places: FxHashMap<(Option<StrId>, StrId, Option<i64>), usize> = FxHashMap::default();
    let mut groups: Vec<Group> = Vec::new();
    let mut keys = Vec::new();
    let streams: Vec<_> = device.streams.iter().map(|stream| trace.track(stream.track)?.stream()).collect();
    let mut kernels_sum = 0_i64;
    for work in &device.work {
        let event = trace.event(work.event);
        if !event.kind.is_kernel() {
            continue;
        }
        let operator = work.launch().and_then(|launch| host.operator_around(launch));
        let operator = operator.map(|operator| trace.event(operator).name);
        let key = (operator, event.name, streams.get(work.stream as usize).copied().flatten());
        let place = *places.entry(key).or_insert_with(|| {
            keys.push(key);
            groups.push(Group { min: i64::MAX, ..Group::default() });
            groups.len() - 1
        });
        let duration = work.duration();
        kernels_sum = kernels_sum.saturating_add(duration);
        if let Some(group) = groups.get_mut(place) {
            group.count += 1;
            group.sum = group.sum.saturating_add(duration);
            group.min = group.min.min(duration);
            group.max = group.max.max(duration);
        }
    }
    let us = |ns: i64| ns as f64 / 1e3;
    let rows = keys.into_iter().zip(groups).map(|((operator, name, stream), group)| TraceLensKernel {
        parent_operator: operator.map(|operator| trace.text(operator).to_owned()),
        name: trace.text(name).to_owned(),
        stream,
        sum_us: us(group.sum),
        count: group.count,
        mean_us: us(group.sum) / group.count as f64,
        min_us: us(group.min),
        max_us: us(group.max),
        percent_of_kernels: percent(us(group.sum), us(kernels_sum)),
        percent_of_total: percent(us(group.sum), total_us),
    });
    let mut rows: Vec<_> = rows.collect();
    let names = |row: &TraceLensKernel| (row.name.clone(), row.parent_operator.clone(), row.stream);
    rows.sort_by(|a, b| b.sum_us.total_cmp(&a.sum_us).then_with(|| names(a).cmp(&names(b))));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Fixture, NO_ID};
    use crate::{AnalysisOptions, Convention, analyze};

    fn report(fixture: Fixture) -> TraceLensReport {
        let options = AnalysisOptions { convention: Convention::TraceLens, ..AnalysisOptions::default() };
        analyze(&fixture.trace(), &options).ranks.remove(0).tracelens.expect("it was asked for")
    }

    fn times(rows: &[TraceLensTime]) -> Vec<(&'static str, f64)> {
        rows.iter().map(|row| (row.name, row.time_ms * 1e6)).collect()
    }

    #[test]
    fn fills_compute_and_work_without_an_arrow_is_left_out() {
        let mut fixture = Fixture::new();
        fixture.launched(7, (0, 1), (1_000, 2_000), 1);
        fixture.kernel("orphan", (3_000, 9_000));
        fixture.host(1, EventKind::RuntimeCall, "cudaMemsetAsync", (10, 11), 2);
        fixture.device((0, 7), EventKind::Memset, "Memset (Device)", (2_000, 2_500), 2);
        fixture.host(1, EventKind::RuntimeCall, "hipMemsetAsync", (12, 13), 3);
        fixture.device((0, 7), EventKind::Memset, "Memset (Device)", (4_000, 4_500), 3);
        fixture.host(1, EventKind::RuntimeCall, "cudaMemcpyAsync", (14, 15), 4);
        fixture.device((0, 9), EventKind::Memcpy, "Memcpy HtoD", (1_500, 5_000), 4);
        fixture.host(1, EventKind::RuntimeCall, "cudaLaunchKernelExC", (16, 17), 5);
        fixture.device((0, 20), EventKind::Kernel, "ncclDevKernel_AllReduce", (2_250, 3_000), 5);
        let found = report(fixture);
        let expected = [
            ("computation_time", 1_500.0),
            ("exposed_comm_time", 500.0),
            ("exposed_memcpy_time", 2_000.0),
            ("busy_time", 4_000.0),
            ("idle_time", 0.0),
            ("total_time", 4_000.0),
            ("total_comm_time", 750.0),
            ("total_memcpy_time", 3_500.0),
        ];
        for (found, expected) in times(&found.timeline).into_iter().zip(expected) {
            assert_eq!(found.0, expected.0);
            assert!((found.1 - expected.1).abs() < 1e-6, "{found:?}");
        }
        // The summary has the kernel without a launch, and no copies or fills.
        let kernels: Vec<_> = found.kernels.iter().map(|row| (row.name.as_str(), row.sum_us)).collect();
        assert_eq!(kernels, [("orphan", 6.0), ("gemm", 1.0), ("ncclDevKernel_AllReduce", 0.75)]);
        assert!(found.timeline_of_recompute.is_empty());
    }

    #[test]
    fn recomputed_activations_have_a_timeline_of_their_own() {
        let mut fixture = Fixture::new();
        let frame = "torch/utils/checkpoint.py(1500): recompute_fn";
        fixture.host(1, EventKind::PythonFunction, frame, (100, 200), NO_ID);
        fixture.launched(7, (10, 20), (1_000, 2_000), 1);
        fixture.launched(7, (110, 120), (2_000, 4_000), 2);
        fixture.launched(7, (195, 205), (4_000, 8_000), 3);
        let found = report(fixture);
        assert_eq!(times(&found.timeline_of_recompute)[0], ("computation_time", 2_000.0));
        assert_eq!(times(&found.timeline_without_recompute)[0], ("computation_time", 5_000.0));
        assert_eq!(times(&found.timeline_without_recompute)[5], ("total_time", 7_000.0));
    }
}
