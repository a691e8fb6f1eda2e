//! Everything about the critical paths of a trace in one value.

use gapless_trace::{EventId, RankId, Trace};
use serde::Serialize;

use super::{
    Attribution, Category, CategoryShare, CriticalPath, NearCritical, PathPartition, attribute, critical_path,
    near_critical, slack, step_windows, whole_path,
};
use crate::graph::{Graph, GraphInput};
use crate::replay::{Bounds, bounds};
use crate::trust::{Grade, Trust, trust};

/// A stretch of a path, with names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PathSegment {
    /// Its start, in ns on the common clock.
    pub start_ns: i64,
    /// Its length, in ns.
    pub duration_ns: i64,
    /// What kind of time it is.
    pub category: Category,
    /// The rank, as a place in the trace; `None` between ranks.
    pub rank_id: Option<u32>,
    /// Kernel, call or mark whose time it is or to which the latency leads.
    #[serde(serialize_with = "crate::ids::maybe_event")]
    pub event: Option<EventId>,
    /// Its name; empty for time of a thread between calls.
    pub name: String,
}

/// Time of one rank on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RankTime {
    /// The rank, as a place in the trace; `None` between ranks.
    pub rank_id: Option<u32>,
    /// Its time, in ns.
    pub ns: i64,
}

/// The critical path of one step, or of the whole recording.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepPath {
    /// Name of the step.
    pub name: String,
    /// Its number, where it has one.
    pub number: Option<u64>,
    /// Its place among the steps of the trace, from 0.
    pub index: u32,
    /// From the completion of the step before, or the step's own mark if that is later; in ns on the common clock.
    pub start_ns: i64,
    /// Completion: the marks have passed and all work that was launched has ended.
    pub end_ns: i64,
    /// Length of the path, in ns.
    pub duration_ns: i64,
    /// Between the marks on the host, in ns.
    pub marked_ns: i64,
    /// Time by category, longest first; sums to `duration_ns`.
    pub categories: Vec<CategoryShare>,
    /// Time by rank.
    pub ranks: Vec<RankTime>,
    /// How often the path goes from one rank to another.
    pub rank_changes: u64,
    /// Chains that are nearly critical.
    pub near: Vec<NearCritical>,
    /// The path itself, by time; each segment begins where the one before ends.
    pub segments: Vec<PathSegment>,
}

/// Critical paths and what they rest on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PathReport {
    /// How far the model is to be trusted.
    pub grade: Grade,
    /// Why bounds are not given; `None` if they are.
    pub refusal: Option<String>,
    /// The path of each step, or of the whole recording if it has no steps.
    pub paths: Vec<StepPath>,
    /// Time of all of `paths` by category, longest first.
    pub categories: Vec<CategoryShare>,
    /// Whose the time of all of `paths` is.
    pub attribution: Attribution,
    /// What the recording would take if one cause were gone; `None` if the model is not to be trusted.
    pub bounds: Option<Bounds>,
}

/// Chains with at most this share of a path's length as slack are nearly critical.
const NEAR_SHARE: f64 = 0.01;
/// How many of them are listed.
const NEAR_COUNT: usize = 5;

impl PathReport {
    /// Walks the paths of the steps that `wanted` chooses by number and place; of the whole recording if there are no
    /// steps.
    #[must_use]
    pub fn new(
        trace: &Trace,
        graph: &Graph,
        input: &GraphInput<'_>,
        wanted: impl Fn(Option<u64>, usize) -> bool,
    ) -> Self {
        let trust = trust(trace, graph, input);
        let mut paths: Vec<(StepPath, CriticalPath)> = Vec::new();
        for (index, (step, window)) in graph.steps().iter().zip(step_windows(graph)).enumerate() {
            if wanted(step.number, index) {
                let path = critical_path(graph, &step.ends, window.0);
                let marked_ns = step.mark_end_ns.saturating_sub(step.mark_start_ns);
                paths.push((StepPath::new(trace, graph, &path, &step.name, (step.number, index), marked_ns), path));
            }
        }
        if graph.steps().is_empty() && !graph.is_empty() {
            let path = whole_path(graph);
            let row = StepPath::new(trace, graph, &path, "Whole recording", (None, 0), path.duration_ns());
            paths.push((row, path));
        }
        Self::of(trace, graph, input, &trust, paths)
    }

    fn of(
        trace: &Trace,
        graph: &Graph,
        input: &GraphInput<'_>,
        trust: &Trust,
        paths: Vec<(StepPath, CriticalPath)>,
    ) -> Self {
        let mut partition = PathPartition::default();
        let mut all =
            CriticalPath { start_ns: 0, end_ns: 0, last: None, segments: Vec::new(), partition, nodes: Vec::new() };
        let mut rows = Vec::with_capacity(paths.len());
        for (row, path) in paths {
            for category in Category::ALL {
                partition.add(category, path.partition.of(category));
            }
            all.segments.extend(path.segments);
            rows.push(row);
        }
        let refusal = trust.refusal();
        Self {
            grade: trust.grade,
            bounds: refusal.is_none().then(|| bounds(graph)),
            refusal,
            categories: partition.shares(),
            attribution: attribute(trace, graph, &all, input),
            paths: rows,
        }
    }
}

impl StepPath {
    fn new(
        trace: &Trace,
        graph: &Graph,
        path: &CriticalPath,
        name: &str,
        (number, index): (Option<u64>, usize),
        marked_ns: i64,
    ) -> Self {
        let limit = (path.duration_ns() as f64 * NEAR_SHARE) as i64;
        let near = path.last.map(|last| slack(graph, last, path.start_ns));
        let near = near.map(|slack| near_critical(graph, path, &slack, limit, NEAR_COUNT)).unwrap_or_default();
        let id = |rank: RankId| rank.0;
        let segment = |segment: &super::Segment| {
            let event = graph.node(segment.node).event;
            PathSegment {
                start_ns: segment.start_ns,
                duration_ns: segment.duration_ns(),
                category: segment.category,
                rank_id: segment.rank.map(id),
                event,
                name: event.map_or_else(String::new, |event| trace.name(event).to_owned()),
            }
        };
        Self {
            name: name.to_owned(),
            number,
            index: index as u32,
            start_ns: path.start_ns,
            end_ns: path.end_ns,
            duration_ns: path.duration_ns(),
            marked_ns,
            categories: path.partition.shares(),
            ranks: path.by_rank().into_iter().map(|(rank, ns)| RankTime { rank_id: rank.map(id), ns }).collect(),
            rank_changes: path.rank_changes() as u64,
            near,
            segments: path.segments.iter().map(segment).collect(),
        }
    }
}
