//! A trace with everything that advice rests on, computed once.

use std::sync::OnceLock;

use gapless_analysis::graph::{Graph, GraphInput, GraphOptions, NodeId, NodeKind};
use gapless_analysis::trust::{Trust, trust};
use gapless_analysis::{ClockAlignment, CollectiveInstance, CollectiveTiming, match_collectives, timings};
use gapless_roofline::{HardwareTable, Roofline};
use gapless_trace::{EventId, RankId, Span, Timestamp, Trace, TrackId};

use crate::facts::Facts;
use crate::figures::{Figures, figures};
use crate::patterns::Pattern;
use gapless_analysis::replay::Draft;
use rayon::prelude::*;
use rustc_hash::FxHashSet;

/// A trace, its graph, and what its nodes are.
#[derive(Debug)]
pub struct Study<'t> {
    trace: &'t Trace,
    clocks: ClockAlignment,
    collectives: Vec<CollectiveInstance>,
    timings: Vec<CollectiveTiming>,
    graph: Graph,
    trust: Trust,
    facts: Facts,
    base: Figures,
    hardware: HardwareTable,
    rooflines: OnceLock<Vec<Roofline>>,
    patterns: [OnceLock<FxHashSet<NodeId>>; Pattern::COUNT],
}

impl<'t> Study<'t> {
    /// Aligns clocks, matches collectives, builds the graph and checks how far it is to be trusted.
    #[must_use]
    pub fn new(trace: &'t Trace) -> Self {
        Self::with_hardware(trace, HardwareTable::builtin())
    }

    /// The same with a hardware table of the user's.
    #[must_use]
    pub fn with_hardware(trace: &'t Trace, hardware: HardwareTable) -> Self {
        let clocks = ClockAlignment::new(trace);
        let collectives = match_collectives(trace, &clocks);
        let input = GraphInput { clocks: &clocks, collectives: &collectives };
        let graph = Graph::new(trace, &input, &GraphOptions::default());
        let trust = trust(trace, &graph, &input);
        let facts = Facts::new(trace, &graph, &collectives);
        let timings = timings(&collectives, &clocks);
        // The recording itself has no additions, so no circle.
        let base = figures(&Draft::new(&graph)).unwrap_or_default();
        Self {
            trace,
            clocks,
            collectives,
            timings,
            graph,
            trust,
            facts,
            base,
            hardware,
            rooflines: OnceLock::new(),
            patterns: Default::default(),
        }
    }

    /// The trace.
    #[must_use]
    pub const fn trace(&self) -> &'t Trace {
        self.trace
    }

    /// One clock for all ranks.
    #[must_use]
    pub const fn clocks(&self) -> &ClockAlignment {
        &self.clocks
    }

    /// Collectives over the ranks.
    #[must_use]
    pub fn collectives(&self) -> &[CollectiveInstance] {
        &self.collectives
    }

    /// Their timing, in the same order.
    #[must_use]
    pub fn timings(&self) -> &[CollectiveTiming] {
        &self.timings
    }

    /// The execution graph.
    #[must_use]
    pub const fn graph(&self) -> &Graph {
        &self.graph
    }

    /// How far the graph is to be trusted.
    #[must_use]
    pub const fn trust(&self) -> &Trust {
        &self.trust
    }

    /// What the nodes are.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Figures of the recording in the model.
    #[must_use]
    pub const fn base(&self) -> &Figures {
        &self.base
    }

    fn step_lengths_ns(&self) -> Vec<i64> {
        self.trust.steps.iter().map(|step| step.measured_ns).collect()
    }

    /// How far a step is from another one, most often: the median absolute deviation of the recorded lengths, in ns. What a
    /// single step must exceed; the mean of many is surer, see [`Study::scatter_ns`]. 0 with fewer than three steps.
    #[must_use]
    pub fn noise_ns(&self) -> f64 {
        let lengths = self.step_lengths_ns();
        if lengths.len() < 3 { 0.0 } else { median_deviation(&lengths) }
    }

    /// How far the mean steps of two recordings of one program may be apart by chance, in ns: t · s · √(2 ÷ n), with s the
    /// deviation of the recorded steps and t the two-sided 95 % quantile of Student's distribution. 0 with fewer than
    /// three steps, of which nothing can be told.
    #[must_use]
    pub fn scatter_ns(&self) -> f64 {
        let lengths = self.step_lengths_ns();
        let n = lengths.len();
        if n < 3 {
            return 0.0;
        }
        let deviation = if n >= 8 {
            // A profiler that begins or ends within a step must not make all steps look uncertain.
            1.4826 * median_deviation(&lengths)
        } else {
            let mean = lengths.iter().sum::<i64>() as f64 / n as f64;
            (lengths.iter().map(|&length| (length as f64 - mean).powi(2)).sum::<f64>() / (n - 1) as f64).sqrt()
        };
        // Student's t for 2 to 10 degrees of freedom (Abramowitz and Stegun, table 26.10), the normal quantile beyond.
        const T: [f64; 9] = [4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];
        let t = T.get(n - 3).copied().unwrap_or(2.0);
        t * deviation * (2.0 / n as f64).sqrt()
    }

    /// Rates of devices.
    #[must_use]
    pub const fn hardware(&self) -> &HardwareTable {
        &self.hardware
    }

    /// Costs of a rank's operators; computed for all ranks when first asked for.
    pub fn roofline(&self, rank: RankId) -> Option<&Roofline> {
        let all = self.rooflines.get_or_init(|| {
            let ranks: Vec<RankId> = self.trace.rank_ids().map(|(rank, _)| rank).collect();
            ranks.into_par_iter().map(|rank| Roofline::new(self.trace, rank, &self.hardware)).collect()
        });
        all.get(rank.index())
    }

    /// Number of steps, at least 1: a recording without steps counts as one.
    #[must_use]
    pub fn step_count(&self) -> usize {
        self.graph.steps().len().max(1)
    }

    /// Name of a node's event; empty if it has none.
    #[must_use]
    pub fn name(&self, node: NodeId) -> &'t str {
        self.graph.node(node).event.map_or("", |event| self.trace.name(event))
    }

    /// Name of the operator that launched a node or encloses it; empty if there is none.
    #[must_use]
    pub fn operator_name(&self, node: NodeId) -> &'t str {
        self.facts.operator(node).map_or("", |event| self.trace.name(event))
    }

    /// Names of all operators and other ranges around an event, innermost first, itself left out.
    pub fn around(&self, event: EventId) -> impl Iterator<Item = &'t str> + '_ {
        let trace = self.trace;
        trace.ancestors(event).map(move |outer| trace.name(outer))
    }

    /// The rank of a node.
    #[must_use]
    pub fn rank(&self, node: NodeId) -> Option<RankId> {
        self.graph.node(node).place.map(|place| place.rank)
    }

    /// An event of a thread on the common clock.
    #[must_use]
    pub fn host_span(&self, event: EventId) -> Span {
        let own = self.trace.event(event).span();
        self.trace.rank_of(event).map_or(own, |rank| self.clocks.span_on(rank, own, false))
    }

    /// Nodes of a thread with time within `span` (common clock), each with how much of it, in ns.
    pub fn host_nodes_in(&self, thread: TrackId, span: Span) -> impl Iterator<Item = (NodeId, i64)> + '_ {
        let (start, end) = (span.start.nanos(), span.end.nanos());
        let nodes = self.facts.thread(thread);
        // Nodes of a thread do not overlap, so ends ascend too.
        let first = nodes.partition_point(|&id| self.graph.node(id).end_ns() <= start);
        nodes.iter().skip(first).map_while(move |&id| {
            let node = self.graph.node(id);
            (node.start_ns < end).then(|| (id, node.end_ns().min(end).saturating_sub(node.start_ns.max(start)).max(0)))
        })
    }

    /// The innermost event of a node's thread that runs in the node's middle, for nodes without an event of their own.
    #[must_use]
    pub fn event_in(&self, node: NodeId) -> Option<EventId> {
        let node = self.graph.node(node);
        let place = node.place.filter(|place| !place.is_device)?;
        let track = self.trace.track(place.track)?;
        let middle = Timestamp(node.start_ns.midpoint(node.end_ns()));
        // The common clock, turned back to the rank's own.
        let off = self.clocks.to_common(place.rank, middle).nanos().saturating_sub(middle.nanos());
        let own = Timestamp(middle.nanos().saturating_sub(off));
        self.trace.rows_of(track).iter().rev().find_map(|row| self.trace.event_at(row, own))
    }

    /// Nodes of a kind, in order.
    pub fn nodes_of(&self, kind: NodeKind) -> impl Iterator<Item = NodeId> + '_ {
        self.graph.node_ids().filter(move |&id| self.graph.node(id).kind == kind)
    }

    /// All nodes of a pattern, found when first asked for.
    pub fn nodes_with(&self, pattern: Pattern) -> &FxHashSet<NodeId> {
        static NONE: OnceLock<FxHashSet<NodeId>> = OnceLock::new();
        self.patterns
            .get(pattern as usize)
            .map_or_else(|| NONE.get_or_init(FxHashSet::default), |found| found.get_or_init(|| pattern.find(self)))
    }

    /// The measured span of a node, on the common clock.
    #[must_use]
    pub fn span(&self, node: NodeId) -> Span {
        let node = self.graph.node(node);
        Span { start: Timestamp(node.start_ns), end: Timestamp(node.end_ns()) }
    }
}

/// Median absolute deviation from the median; 0 of nothing.
fn median_deviation(values: &[i64]) -> f64 {
    let median = |mut values: Vec<i64>| {
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    let middle = median(values.to_vec());
    median(values.iter().map(|value| value.abs_diff(middle) as i64).collect()) as f64
}
