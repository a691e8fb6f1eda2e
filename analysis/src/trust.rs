//! How far the model of the engine is from the recording, and whether predictions are worth making.
//!
//! A replay of the recording itself checks the engine on every trace:
//!
//! - **identity**: with all residuals the replay gives every measured time exactly; anything else is a bug.
//! - **model**: without noise, how far each step's length is off. At most 1 % is good, above 3 % what-ifs are refused.
//! - **placement**: how far device work moves in the model replay: median at most 0.1 % and 95th percentile at most 1 % of
//!   the whole. A right total with wrong placement proves nothing.
//! - **explained**: the share of the critical paths that is not unexplained: at least 95 %.
//! - **cross-step**: the model's error on even steps with latencies learnt from odd ones.
//! - **inferred edges**: the share of each kind whose latency lies within 20 µs of the median of those between the same
//!   threads or streams: at least 90 %.

use std::collections::BTreeMap;

use gapless_trace::Trace;
use serde::Serialize;

use crate::graph::{EdgeKind, EdgeReport, Evidence, Graph, GraphInput, GraphOptions, NodeId, RankConstants};
use crate::path::{self, Category, critical_path};
use crate::replay::{Mode, Scenario, Times, replay};

/// How good something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// As it should be.
    Green,
    /// Usable with care.
    Amber,
    /// Not to be relied on.
    Red,
}

impl Grade {
    /// A word for people.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Green => "good",
            Self::Amber => "fair",
            Self::Red => "poor",
        }
    }

    /// Green up to `good`, amber up to `fair`.
    fn up_to(value: f64, good: f64, fair: f64) -> Self {
        if value <= good {
            Self::Green
        } else if value <= fair {
            Self::Amber
        } else {
            Self::Red
        }
    }
}

/// What was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// The replay with all residuals is the recording.
    Identity,
    /// The length of the recording in the model.
    Whole,
    /// The length of the steps in the model.
    Steps,
    /// The median shift of device work in the model.
    PlacementMedian,
    /// The 95th percentile of that shift.
    PlacementP95,
    /// The share of the critical paths that is explained.
    Explained,
    /// The length of even steps with latencies of odd ones.
    CrossStep,
    /// How alike inferred edges of one kind are.
    InferredEdges,
    /// Order that the recording contradicts.
    Contradictions,
    /// The recording has device work.
    DeviceWork,
}

/// The outcome of one check.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckResult {
    /// What was checked.
    pub check: Check,
    /// How good it is.
    pub grade: Grade,
    /// The value: a share, or nanoseconds for [`Check::Identity`].
    pub value: f64,
    /// One sentence.
    pub text: String,
}

/// One step in the recording and in the model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepTrust {
    /// Its name.
    pub name: String,
    /// Its number, where it has one.
    pub number: Option<u64>,
    /// Its measured length, from completion to completion, in ns.
    pub measured_ns: i64,
    /// Its length in the model replay, in ns.
    pub model_ns: i64,
    /// `model_ns / measured_ns − 1`.
    pub error: f64,
    /// The share of its critical path that is explained.
    pub explained: f64,
}

/// How alike the inferred edges of one kind are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct InferredClass {
    /// The kind.
    pub kind: EdgeKind,
    /// Inferred edges that decided when their target began.
    pub instances: u64,
    /// Their median latency, in ns.
    pub median_ns: i64,
    /// The share of them within 20 µs of the median of those between the same threads or streams.
    pub within_20us: f64,
}

/// Edges of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct EdgeCount {
    /// The kind.
    pub kind: EdgeKind,
    /// What building found.
    #[serde(flatten)]
    pub report: EdgeReport,
}

/// How far the model is from the recording.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trust {
    /// The worst of all checks.
    pub grade: Grade,
    /// Whether predictions are made.
    pub allows_what_if: bool,
    /// All checks, worst first.
    pub checks: Vec<CheckResult>,
    /// Nodes of the graph.
    pub nodes: u64,
    /// Edges of the graph.
    pub edges: u64,
    /// Measured length of the recording, in ns.
    pub measured_ns: i64,
    /// Its length in the model replay, in ns.
    pub model_ns: i64,
    /// The greatest difference of the identity replay, in ns.
    pub identity_error_ns: i64,
    /// Pieces of device work.
    pub device_work: u64,
    /// Median shift of device work in the model replay, in ns.
    pub placement_median_ns: i64,
    /// 95th percentile of that shift, in ns.
    pub placement_p95_ns: i64,
    /// Explained share of the critical paths of all steps, or of the recording.
    pub explained: f64,
    /// Sum of all unexplained delays, on the path or not, in ns.
    pub unexplained_ns: i64,
    /// Their number.
    pub unexplained_count: u64,
    /// Each step.
    pub steps: Vec<StepTrust>,
    /// Median error of even steps with latencies of odd steps; `None` with fewer than four steps.
    pub cross_step_error: Option<f64>,
    /// Edges by kind.
    pub edge_kinds: Vec<EdgeCount>,
    /// Kinds with inferred edges.
    pub inferred: Vec<InferredClass>,
    /// Latencies of each rank.
    pub constants: Vec<RankConstants>,
}

impl Trust {
    /// Why predictions are refused; `None` if they are made.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        let reasons: Vec<&str> =
            self.checks.iter().filter(|check| check.grade == Grade::Red).map(|check| check.text.as_str()).collect();
        (!self.allows_what_if).then(|| reasons.join(" "))
    }
}

/// Steps needed to learn from some and judge by others.
const CROSS_STEPS: usize = 4;

/// Checks the model of `graph` against its own recording. `input` and `trace` are what it was built from; they are
/// needed to build it again with latencies of every second step.
#[must_use]
pub fn trust(trace: &Trace, graph: &Graph, input: &GraphInput<'_>) -> Trust {
    let identity = replay(&Scenario::new(graph, Mode::Identity));
    let model = replay(&Scenario::new(graph, Mode::Model));
    let differs = graph.node_ids().map(|id| identity.start_ns(id).abs_diff(graph.node(id).start_ns));
    let identity_error_ns = differs.max().unwrap_or(0).min(i64::MAX as u64) as i64;
    let mut shifts: Vec<i64> = graph
        .node_ids()
        .filter(|&id| graph.node(id).kind.is_device_start())
        .map(|id| model.start_ns(id).saturating_sub(graph.node(id).start_ns).saturating_abs())
        .collect();
    shifts.sort_unstable();
    let quantile = |percent: usize| shifts.get(shifts.len().saturating_sub(1) * percent / 100).copied().unwrap_or(0);
    let unexplained = graph.node_ids().map(|id| graph.unexplained_ns(id)).filter(|&ns| ns > 0);
    let (unexplained_ns, unexplained_count) =
        unexplained.fold((0_i64, 0), |(sum, count), ns| (sum.saturating_add(ns), count + 1));
    let (steps, explained) = steps(graph, &model);
    let length = |end: i64| end.saturating_sub(graph.origin_ns());
    let mut this = Trust {
        grade: Grade::Green,
        allows_what_if: true,
        checks: Vec::new(),
        nodes: graph.len() as u64,
        edges: graph.edge_count() as u64,
        measured_ns: length(graph.end_ns()),
        model_ns: length(model.end_ns),
        identity_error_ns,
        device_work: shifts.len() as u64,
        placement_median_ns: quantile(50),
        placement_p95_ns: quantile(95),
        explained,
        unexplained_ns,
        unexplained_count,
        steps,
        cross_step_error: cross_step(trace, graph, input),
        edge_kinds: graph
            .reports()
            .filter(|(_, report)| report.edges + report.contradicted + report.circular > 0)
            .map(|(kind, report)| EdgeCount { kind, report })
            .collect(),
        inferred: inferred(graph),
        constants: graph.constants().to_vec(),
    };
    this.judge();
    this
}

/// Length of each step in a replay: from completion to completion, or from its own mark if that is later.
fn step_lengths(graph: &Graph, start: impl Fn(NodeId) -> i64) -> Vec<i64> {
    let mut from = i64::MIN;
    let mut lengths = Vec::with_capacity(graph.steps().len());
    for step in graph.steps() {
        let end = |&id: &NodeId| start(id).saturating_add(graph.node(id).dur_ns);
        let to = step.ends.iter().map(end).max().unwrap_or(from);
        let begun = step.begins.iter().map(|&id| start(id)).min().unwrap_or(step.mark_start_ns);
        lengths.push(to.saturating_sub(from.max(begun).min(to)));
        from = from.max(to);
    }
    lengths
}

fn relative(model: i64, measured: i64) -> f64 {
    if measured == 0 { 0.0 } else { model as f64 / measured as f64 - 1.0 }
}

/// Each step, and the explained share of all paths.
fn steps(graph: &Graph, model: &Times) -> (Vec<StepTrust>, f64) {
    let share = |unexplained: i64, length: i64| 1.0 - unexplained as f64 / length.max(1) as f64;
    if graph.steps().is_empty() {
        let path = path::whole_path(graph);
        return (Vec::new(), share(path.partition.of(Category::Unexplained), path.duration_ns()));
    }
    let measured = step_lengths(graph, |id| graph.node(id).start_ns);
    let modelled = step_lengths(graph, |id| model.start_ns(id));
    let windows = path::step_windows(graph);
    let (mut unexplained, mut length) = (0_i64, 0_i64);
    let rows = graph.steps().iter().zip(measured).zip(modelled).zip(windows);
    let rows = rows.map(|(((step, measured_ns), model_ns), window)| {
        let path = critical_path(graph, &step.ends, window.0);
        let own = path.partition.of(Category::Unexplained);
        unexplained = unexplained.saturating_add(own);
        length = length.saturating_add(path.duration_ns());
        StepTrust {
            name: step.name.clone(),
            number: step.number,
            measured_ns,
            model_ns,
            error: relative(model_ns, measured_ns),
            explained: share(own, path.duration_ns()),
        }
    });
    let rows = rows.collect();
    (rows, share(unexplained, length))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn cross_step(trace: &Trace, graph: &Graph, input: &GraphInput<'_>) -> Option<f64> {
    if graph.steps().len() < CROSS_STEPS {
        return None;
    }
    let options = GraphOptions { learn_from_odd_steps: true, ..graph.options().clone() };
    let learnt = Graph::new(trace, input, &options);
    let model = replay(&Scenario::new(&learnt, Mode::Model));
    let measured = step_lengths(&learnt, |id| learnt.node(id).start_ns);
    let modelled = step_lengths(&learnt, |id| model.start_ns(id));
    let pairs = measured.into_iter().zip(modelled).skip(1).step_by(2);
    median(pairs.map(|(measured, modelled)| relative(modelled, measured).abs()).collect())
}

/// Inferred edges that decided a start, by kind; each is compared with the median of those between the same places.
fn inferred(graph: &Graph) -> Vec<InferredClass> {
    let mut lags: BTreeMap<(EdgeKind, u32, u32), Vec<i64>> = BTreeMap::new();
    for id in graph.node_ids() {
        let node = graph.node(id);
        let binding = graph
            .edges_to(id)
            .max_by_key(|edge| graph.source_time_ns(edge).saturating_add(edge.lag_ns))
            .filter(|edge| edge.evidence == Evidence::Inferred);
        if let Some(edge) = binding {
            let place = |id: NodeId| graph.place.get(id.index()).copied().unwrap_or_default();
            let lag = node.start_ns.saturating_sub(graph.source_time_ns(&edge));
            lags.entry((edge.kind, place(edge.from), place(id))).or_default().push(lag);
        }
    }
    let mut classes: Vec<InferredClass> = Vec::new();
    let mut all: BTreeMap<EdgeKind, (Vec<i64>, u64)> = BTreeMap::new();
    for ((kind, ..), mut lags) in lags {
        lags.sort_unstable();
        let middle = lags.get(lags.len() / 2).copied().unwrap_or_default();
        let entry = all.entry(kind).or_default();
        entry.1 += lags.iter().filter(|lag| lag.abs_diff(middle) <= 20_000).count() as u64;
        entry.0.extend(lags);
    }
    for (kind, (mut lags, within)) in all {
        lags.sort_unstable();
        let median_ns = lags.get(lags.len() / 2).copied().unwrap_or_default();
        let within_20us = within as f64 / lags.len().max(1) as f64;
        classes.push(InferredClass { kind, instances: lags.len() as u64, median_ns, within_20us });
    }
    classes
}

impl Trust {
    fn judge(&mut self) {
        let percent = |share: f64| format!("{:.2} %", share * 100.0);
        let mut add = |check: Check, grade: Grade, value: f64, text: String| {
            self.checks.push(CheckResult { check, grade, value, text });
        };
        let identity = self.identity_error_ns;
        let grade = if identity == 0 { Grade::Green } else { Grade::Red };
        add(Check::Identity, grade, identity as f64, format!("The identity replay is off by at most {identity} ns."));
        let whole = relative(self.model_ns, self.measured_ns).abs();
        let text = format!("The model is off by {} over the whole recording.", percent(whole));
        add(Check::Whole, Grade::up_to(whole, 0.01, 0.03), whole, text);
        let errors: Vec<f64> = self.steps.iter().map(|step| step.error.abs()).collect();
        if let Some(typical) = median(errors.clone()) {
            let worst = errors.iter().copied().fold(0.0, f64::max);
            let text = format!(
                "The model is off by {} in the median step and {} in the worst.",
                percent(typical),
                percent(worst)
            );
            // One odd step must not condemn the rest, but it counts.
            let grade = Grade::up_to(typical, 0.01, 0.03).max(Grade::up_to(worst, 0.03, f64::INFINITY));
            add(Check::Steps, grade, typical, text);
        }
        if self.device_work == 0 {
            let text = "The recording has no device work: only threads are modelled.".to_owned();
            add(Check::DeviceWork, Grade::Amber, 0.0, text);
        } else {
            let length = self.measured_ns.max(1) as f64;
            let middle = self.placement_median_ns as f64 / length;
            let text = format!("Device work moves by {} of the recording in the median.", percent(middle));
            add(Check::PlacementMedian, Grade::up_to(middle, 0.001, 0.01), middle, text);
            let far = self.placement_p95_ns as f64 / length;
            let text =
                format!("One in twenty pieces of device work moves by more than {} of the recording.", percent(far));
            add(Check::PlacementP95, Grade::up_to(far, 0.01, 0.05), far, text);
        }
        let explained = self.explained;
        let text = format!("{} of the critical paths is explained.", percent(explained));
        add(Check::Explained, Grade::up_to(1.0 - explained, 0.05, 0.2), explained, text);
        if let Some(error) = self.cross_step_error {
            let text = format!("With latencies of odd steps the model is off by {} in even steps.", percent(error));
            add(Check::CrossStep, Grade::up_to(error, 0.01, 0.03), error, text);
        }
        for class in &self.inferred {
            let text = format!(
                "{} of {} inferred edges ({}) are alike to 20 µs.",
                percent(class.within_20us),
                class.instances,
                class.kind.label()
            );
            let grade = if class.within_20us >= 0.9 { Grade::Green } else { Grade::Amber };
            add(Check::InferredEdges, grade, class.within_20us, text);
        }
        let exact: u64 = self.edge_kinds.iter().map(|kind| kind.report.exact).sum();
        let wrong: u64 = self.edge_kinds.iter().map(|kind| kind.report.contradicted + kind.report.circular).sum();
        if wrong > 0 {
            let share = wrong as f64 / exact.max(1) as f64;
            let text = format!("{wrong} edges contradict the recorded times by more than 2 µs.");
            add(Check::Contradictions, Grade::up_to(share, 0.001, 0.05), share, text);
        }
        self.checks.sort_by_key(|check| (std::cmp::Reverse(check.grade), check.check));
        self.grade = self.checks.iter().map(|check| check.grade).max().unwrap_or(Grade::Green);
        self.allows_what_if = self.grade != Grade::Red;
    }
}

#[cfg(test)]
mod tests {
    use gapless_trace::EventKind;
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::Fixture;
    use crate::replay::bounds;
    use crate::{ClockAlignment, match_collectives};

    fn time() -> impl Strategy<Value = i64> {
        prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(0), any::<i64>(), -1_000..1_000_i64, -1_000_000..1_000_000_i64]
    }

    proptest! {
        /// Damaged files have absurd times, many threads and any kind anywhere. The identity holds all the same.
        #[test]
        fn absurd_times_do_no_harm(
            events in proptest::collection::vec((0..EventKind::ALL.len(), 0..3_i64, time(), time(), 0..6_u32), 0..40)
        ) {
            let mut fixture = Fixture::new();
            for (index, (kind, place, start, end, id)) in events.into_iter().enumerate() {
                let kind = EventKind::ALL[kind];
                let time = (start.min(end), start.max(end));
                let names = [
                    "cudaStreamSynchronize",
                    "ProfilerStep#1",
                    "cudaMemcpyAsync",
                    "AddmmBackward0",
                    "enumerate(DataLoader)#x",
                    "cudaStreamWaitEvent",
                    "cudaDeviceSynchronize",
                ];
                let name = names[index % names.len()];
                if kind.is_device_work() {
                    fixture.device((place, 7), kind, name, time, id);
                } else {
                    fixture.host(place, kind, name, time, id);
                }
            }
            let trace = fixture.trace();
            let clocks = ClockAlignment::new(&trace);
            let collectives = match_collectives(&trace, &clocks);
            let input = GraphInput { clocks: &clocks, collectives: &collectives };
            let graph = Graph::new(&trace, &input, &GraphOptions::default());
            let found = trust(&trace, &graph, &input);
            prop_assert_eq!(found.identity_error_ns, 0);
            prop_assert_eq!(&graph, &Graph::new(&trace, &input, &GraphOptions::default()));
            for step in 0..graph.steps().len() {
                let path = path::step_path(&graph, step).expect("a step of the graph");
                prop_assert_eq!(path.partition.total_ns(), path.duration_ns());
            }
            let path = path::whole_path(&graph);
            prop_assert_eq!(path.partition.total_ns(), path.duration_ns());
            let whose = path::attribute(&trace, &graph, &path, &input);
            for rows in [&whose.operators, &whose.outer_operators, &whose.modules, &whose.annotations, &whose.kernels] {
                prop_assert_eq!(rows.iter().map(|row| row.ns).sum::<i64>(), path.duration_ns());
            }
            let bounds = bounds(&graph);
            prop_assert_eq!(bounds.measured_ns, found.measured_ns);
            prop_assert_eq!(bounds.model_ns, found.model_ns);
        }
    }
}
