//! One of the two recordings, cut into steps and sequences that can be aligned.

use std::collections::BTreeMap;
use std::hash::{Hash as _, Hasher as _};

use gapless_analysis::graph::{EdgeKind, Graph, GraphInput, GraphOptions, Node, NodeId, NodeKind};
use gapless_analysis::replay::{Scenario, Times};
use gapless_analysis::{ClockAlignment, CollectiveInstance, match_collectives};
use gapless_trace::{EventId, EventKind, RankId, Trace, TrackId};
use rustc_hash::{FxHashMap, FxHasher};

use crate::label::{call_family, short_kernel, without_numbers};

/// A trace with the graph of what waited for what: what a comparison reads.
#[derive(Debug)]
pub struct Recording<'t> {
    /// The trace.
    pub trace: &'t Trace,
    /// Its ranks on one clock.
    pub clocks: ClockAlignment,
    /// Its collectives over ranks.
    pub collectives: Vec<CollectiveInstance>,
    /// Its execution graph.
    pub graph: Graph,
}

impl<'t> Recording<'t> {
    /// Aligns clocks, matches collectives and builds the graph of `trace`.
    #[must_use]
    pub fn new(trace: &'t Trace) -> Self {
        let clocks = ClockAlignment::new(trace);
        let collectives = match_collectives(trace, &clocks);
        let input = GraphInput { clocks: &clocks, collectives: &collectives };
        let graph = Graph::new(trace, &input, &GraphOptions::default());
        Self { trace, clocks, collectives, graph }
    }

    fn with_hand_offs(&self, percent: u32) -> Self {
        let input = GraphInput { clocks: &self.clocks, collectives: &self.collectives };
        let options = GraphOptions { hand_off_percent: percent, ..self.graph.options().clone() };
        self.with_graph(Graph::new(self.trace, &input, &options))
    }

    /// The same with another graph of the same trace.
    pub(crate) fn with_graph(&self, graph: Graph) -> Self {
        Self { trace: self.trace, clocks: self.clocks.clone(), collectives: self.collectives.clone(), graph }
    }

    fn has_hand_offs(&self) -> bool {
        self.graph.node_ids().any(|id| self.graph.node(id).kind == NodeKind::HandOff)
    }

    /// Length of each step in ns, from the completion of the one before, or its own mark if that is later, to its own
    /// completion. A recording without steps is one step.
    #[must_use]
    pub fn step_lengths(&self) -> Vec<i64> {
        let start = |id: NodeId| self.graph.node(id).start_ns;
        lengths(&self.graph, start, |id| self.graph.node(id).dur_ns, self.graph.end_ns())
    }

    /// Name and number of each step.
    pub(crate) fn step_names(&self) -> Vec<(String, Option<u64>)> {
        let names: Vec<_> = self.graph.steps().iter().map(|step| (step.name.clone(), step.number)).collect();
        if names.is_empty() { vec![("Whole recording".to_owned(), None)] } else { names }
    }
}

/// With the other recording as evidence fewer pauses need look like hand-offs.
const LOOSE_PERCENT: u32 = 30;
const NEVER: u32 = 101;

/// What to compare instead of the two recordings where threads hand work over in the graph of only one of them: a thread
/// that waits would else be compared with one that works. `None` leaves a side as it is.
pub(crate) fn alike<'t>(base: &Recording<'t>, new: &Recording<'t>) -> (Option<Recording<'t>>, Option<Recording<'t>>) {
    let loose =
        |recording: &Recording<'t>| Some(recording.with_hand_offs(LOOSE_PERCENT)).filter(Recording::has_hand_offs);
    let (one, other) = match (base.has_hand_offs(), new.has_hand_offs()) {
        (true, false) => (None, loose(new)),
        (false, true) => (loose(base), None),
        _ => return (None, None),
    };
    if one.is_none() && other.is_none() {
        return (Some(base.with_hand_offs(NEVER)), Some(new.with_hand_offs(NEVER)));
    }
    (one, other)
}

/// Length of each step in a replay, in ns.
pub(crate) fn replayed_lengths(scenario: &Scenario<'_>, times: &Times) -> Vec<i64> {
    lengths(scenario.graph(), |id| times.start_ns(id), |id| scenario.duration_ns(id), times.end_ns)
}

fn lengths(graph: &Graph, start: impl Fn(NodeId) -> i64, dur: impl Fn(NodeId) -> i64, end: i64) -> Vec<i64> {
    if graph.steps().is_empty() {
        return vec![end.saturating_sub(graph.origin_ns())];
    }
    let mut from = i64::MIN;
    let length = |step: &gapless_analysis::graph::GraphStep| {
        let to = step.ends.iter().map(|&id| start(id).saturating_add(dur(id))).max().unwrap_or(from);
        let begun = step.begins.iter().map(|&id| start(id)).min().unwrap_or(step.mark_start_ns);
        let length = to.saturating_sub(from.max(begun).min(to));
        from = from.max(to);
        length
    };
    graph.steps().iter().map(length).collect()
}

/// No node, no step.
pub(crate) const NONE: u32 = u32::MAX;

/// What a thread does at one point: a call, a return, a mark, a region; with the time of the thread before it.
#[derive(Clone, Debug)]
pub(crate) struct Element {
    pub node: u32,
    /// Time of the thread between calls that comes before it; [`NONE`] if there is none.
    pub host: u32,
    /// Operators around it, the call, and the kernels that it launched; see [`Level`].
    pub signatures: [u64; Level::COUNT],
    /// Summed durations of what it launched, in ns.
    pub work_ns: i64,
}

/// How much of an element must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// Path of operators, call, names of kernels, shapes.
    Shapes = 0,
    /// Path of operators, call, names of kernels.
    Kernels = 1,
    /// Path of operators, call.
    Path = 2,
    /// Innermost operator, call.
    Operator = 3,
}

impl Level {
    pub const COUNT: usize = 4;
}

/// A sequence to align: elements of a thread, or work without a launch.
pub(crate) type Steps<T> = Vec<Vec<T>>;

/// One side, ready to be aligned.
pub(crate) struct Side<'r> {
    pub recording: &'r Recording<'r>,
    pub step_count: usize,
    /// Step of each node; [`NONE`] outside of all.
    pub step_of: Vec<u32>,
    /// For work of a device the node of its launch; [`NONE`] for other nodes.
    pub launcher: Vec<u32>,
    /// For each node of a thread between calls the node after it.
    pub next: FxHashMap<u32, u32>,
    /// The other way round.
    pub before: FxHashMap<u32, u32>,
    /// Elements of each thread, by step.
    pub threads: BTreeMap<(u32, TrackId), Steps<Element>>,
    /// Work without a launch of each stream, by step.
    pub loose: BTreeMap<(u32, TrackId), Steps<u32>>,
    /// Work by the node of its launch, in the order of the graph.
    pub works: FxHashMap<u32, Vec<u32>>,
}

impl<'r> Side<'r> {
    pub fn new(recording: &'r Recording<'r>, with_shapes: bool) -> Self {
        let graph = &recording.graph;
        let mut this = Self {
            recording,
            step_count: graph.steps().len().max(1),
            step_of: vec![NONE; graph.len()],
            launcher: vec![NONE; graph.len()],
            next: FxHashMap::default(),
            before: FxHashMap::default(),
            threads: BTreeMap::new(),
            loose: BTreeMap::new(),
            works: FxHashMap::default(),
        };
        this.find_launchers();
        this.find_elements(with_shapes);
        this
    }

    pub fn node(&self, id: u32) -> Node {
        self.recording.graph.node(NodeId(id))
    }

    pub fn trace(&self) -> &'r Trace {
        self.recording.trace
    }

    pub fn step(&self, node: u32) -> Option<usize> {
        self.step_of.get(node as usize).copied().filter(|&step| step != NONE).map(|step| step as usize)
    }

    pub fn launcher(&self, node: u32) -> Option<u32> {
        self.launcher.get(node as usize).copied().filter(|&launcher| launcher != NONE)
    }

    /// Work belongs to the call that launched it; parts of a communication kernel to its arrival's.
    fn find_launchers(&mut self) {
        let graph = &self.recording.graph;
        for id in graph.node_ids() {
            let node = graph.node(id);
            if !node.kind.is_device() || node.kind == NodeKind::Meeting {
                continue;
            }
            let by_launch = graph.edges_to(id).find(|edge| edge.kind == EdgeKind::Launch).map(|edge| edge.from.0);
            let by_arrival = || {
                let mut edges = graph.edges_to(id);
                let from =
                    edges.find(|edge| edge.kind == EdgeKind::Transfer && graph.node(edge.from).event == node.event);
                from.and_then(|edge| self.launcher.get(edge.from.index()).copied())
            };
            let launcher = by_launch.or_else(by_arrival).unwrap_or(NONE);
            if let Some(slot) = self.launcher.get_mut(id.index()) {
                *slot = launcher;
            }
            if launcher != NONE {
                self.works.entry(launcher).or_default().push(id.0);
            }
        }
    }

    fn find_elements(&mut self, with_shapes: bool) {
        let graph = &self.recording.graph;
        let windows = Windows::new(graph);
        let marks = marks(graph);
        let mut pending: FxHashMap<TrackId, u32> = FxHashMap::default();
        let mut signer = Signer { trace: self.recording.trace, paths: FxHashMap::default(), with_shapes };
        for id in graph.node_ids() {
            let node = graph.node(id);
            let Some(place) = node.place else { continue };
            if place.is_device {
                let launcher = self.launcher.get(id.index()).copied().unwrap_or(NONE);
                // Launches come before their work, so their step is known.
                let step = match self.step_of.get(launcher as usize) {
                    Some(&step) => step,
                    None => windows.step_at(place.rank, node.start_ns),
                };
                self.put(id.0, step);
                if launcher == NONE && step != NONE {
                    let steps = self.step_count;
                    let own = self.loose.entry((place.rank.0, place.track)).or_insert_with(|| vec![Vec::new(); steps]);
                    if let Some(list) = own.get_mut(step as usize) {
                        list.push(id.0);
                    }
                }
                continue;
            }
            if node.kind == NodeKind::Host {
                pending.insert(place.track, id.0);
                continue;
            }
            let mark = marks.get(&id).copied();
            let step = mark.map_or_else(|| windows.step_at(place.rank, node.start_ns), |mark| mark.0);
            let host = pending.remove(&place.track).unwrap_or(NONE);
            self.put(id.0, step);
            if host != NONE {
                self.put(host, step);
                self.next.insert(host, id.0);
                self.before.insert(id.0, host);
            }
            if step == NONE {
                continue;
            }
            let works = self.works.get(&id.0).map(Vec::as_slice).unwrap_or_default();
            let element = Element {
                node: id.0,
                host,
                signatures: match mark {
                    Some((_, is_end)) => [joined(&[node.kind as u64, 1 + u64::from(is_end)]); Level::COUNT],
                    None => signer.sign(graph, &node, works),
                },
                work_ns: works.iter().map(|&work| graph.node(NodeId(work)).dur_ns).fold(0, i64::saturating_add),
            };
            let steps = self.step_count;
            let own = self.threads.entry((place.rank.0, place.track)).or_insert_with(|| vec![Vec::new(); steps]);
            if let Some(list) = own.get_mut(step as usize) {
                list.push(element);
            }
        }
        // Without steps a thread's last stretch has nothing after it and still counts.
        if graph.steps().is_empty() {
            for (track, host) in pending {
                self.put(host, 0);
                let rank = graph.node(NodeId(host)).place.map_or(0, |place| place.rank.0);
                let own = self.threads.entry((rank, track)).or_insert_with(|| vec![Vec::new()]);
                if let Some(list) = own.first_mut() {
                    // The stretch is its own element: there is no call to stand for it.
                    let signatures = [1; Level::COUNT];
                    list.push(Element { node: host, host: NONE, signatures, work_ns: 0 });
                }
            }
        }
    }

    fn put(&mut self, node: u32, step: u32) {
        if let Some(slot) = self.step_of.get_mut(node as usize) {
            *slot = step;
        }
    }

    /// The innermost operator around the call that a node is, follows or was launched by; and the call.
    pub fn operator_of(&self, node: u32) -> Option<EventId> {
        let node = self.launcher(node).or_else(|| self.next.get(&node).copied()).unwrap_or(node);
        let event = self.node(node).event?;
        let trace = self.trace();
        let kinds = trace.events().kinds();
        let is_operator = |id: &EventId| kinds.get(id.index()) == Some(&EventKind::Operator);
        std::iter::once(event).chain(trace.ancestors(event)).find(is_operator)
    }
}

/// The step that each mark begins or ends, and whether it ends it. One step often ends where the next begins, so times
/// do not tell.
fn marks(graph: &Graph) -> FxHashMap<NodeId, (u32, bool)> {
    let is_mark = |id: &NodeId| graph.node(*id).kind == NodeKind::Mark;
    let mut marks = FxHashMap::default();
    for (step, place) in graph.steps().iter().zip(0..) {
        marks.extend(step.ends.iter().copied().filter(is_mark).map(|id| (id, (place, true))));
        marks.extend(step.begins.iter().copied().filter(is_mark).map(|id| (id, (place, false))));
    }
    marks
}

/// When the steps of each rank begin, and when its last one ends.
struct Windows {
    by_rank: FxHashMap<RankId, Vec<i64>>,
    all: Vec<i64>,
    end: i64,
    without_steps: bool,
}

impl Windows {
    fn new(graph: &Graph) -> Self {
        let steps = graph.steps();
        let all: Vec<i64> = steps.iter().map(|step| step.mark_start_ns).collect();
        let mut by_rank: FxHashMap<RankId, Vec<i64>> = FxHashMap::default();
        for (place, step) in steps.iter().enumerate() {
            for &mark in &step.begins {
                let node = graph.node(mark);
                let Some(rank) = node.place.map(|place| place.rank) else { continue };
                let own = by_rank.entry(rank).or_insert_with(|| all.clone());
                if let Some(slot) = own.get_mut(place) {
                    *slot = node.start_ns;
                }
            }
        }
        let end = steps.iter().map(|step| step.mark_end_ns).max().unwrap_or(i64::MAX);
        Self { by_rank, all, end, without_steps: steps.is_empty() }
    }

    fn step_at(&self, rank: RankId, at: i64) -> u32 {
        if self.without_steps {
            return 0;
        }
        // The mark that ends the last step is part of it.
        if at > self.end {
            return NONE;
        }
        let begins = self.by_rank.get(&rank).unwrap_or(&self.all);
        begins.partition_point(|&begin| begin <= at).checked_sub(1).map_or(NONE, |step| step as u32)
    }
}

/// Signs elements by what is around and behind them.
struct Signer<'t> {
    trace: &'t Trace,
    /// Hash of the path of operators to an event, of the innermost of them, and of its shapes.
    paths: FxHashMap<EventId, (u64, u64, u64)>,
    with_shapes: bool,
}

pub(crate) fn hash(parts: &[&str]) -> u64 {
    let mut hasher = FxHasher::default();
    parts.hash(&mut hasher);
    hasher.finish()
}

fn joined(parts: &[u64]) -> u64 {
    let mut hasher = FxHasher::default();
    parts.hash(&mut hasher);
    hasher.finish()
}

impl Signer<'_> {
    fn sign(&mut self, graph: &Graph, node: &Node, works: &[u32]) -> [u64; Level::COUNT] {
        let kind = node.kind as u64;
        let Some(event) = node.event else { return [joined(&[kind]); Level::COUNT] };
        let call = hash(&[call_family(self.trace.name(event))]);
        let (path, innermost, shapes) = self.path(event);
        let mut kernels = FxHasher::default();
        for &work in works {
            let work = graph.node(NodeId(work));
            if let Some(event) = work.event.filter(|_| work.kind.is_device_start()) {
                short_kernel(self.trace.name(event)).hash(&mut kernels);
            }
        }
        let kernels = kernels.finish();
        [
            joined(&[kind, path, call, kernels, shapes]),
            joined(&[kind, path, call, kernels]),
            joined(&[kind, path, call]),
            joined(&[kind, innermost, call]),
        ]
    }

    fn path(&mut self, call: EventId) -> (u64, u64, u64) {
        let Some(parent) = self.trace.parent(call) else { return (0, 0, 0) };
        if let Some(&known) = self.paths.get(&parent) {
            return known;
        }
        let kinds = self.trace.events().kinds();
        let is_operator = |id: &EventId| kinds.get(id.index()) == Some(&EventKind::Operator);
        let operators: Vec<EventId> =
            std::iter::once(parent).chain(self.trace.ancestors(parent)).filter(is_operator).collect();
        let mut path = FxHasher::default();
        for &operator in &operators {
            without_numbers(self.trace.name(operator)).hash(&mut path);
        }
        let first = operators.first();
        let innermost = first.map_or(0, |&operator| hash(&[self.trace.name(operator)]));
        let shapes = first.filter(|_| self.with_shapes).and_then(|&operator| shapes(self.trace, operator));
        let found = (path.finish(), innermost, shapes.map_or(0, |shapes| hash(&[&shapes])));
        self.paths.insert(parent, found);
        found
    }
}

/// Shapes of an operator's inputs as the file has them.
pub(crate) fn shapes(trace: &Trace, operator: EventId) -> Option<String> {
    if !trace.has_args(operator) {
        return None;
    }
    let args = trace.args(operator).ok()?;
    args.iter().find(|(key, _)| key == "Input Dims" || key == "Input dims").map(|(_, value)| value.to_string())
}
