//! A discrete-event replay, for edits that change an order: work on another stream, engines that are shared.
//!
//! The static pass takes the order of every stream from the recording. Here a stream takes work in the order in which
//! it is submitted in the simulated time, and an engine serves whoever is ready first. Everything else follows the
//! edges of the graph. Without edits both replays agree wherever the recorded order of a stream is that of its launches.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::pass::Times;
use super::scenario::Scenario;
use crate::graph::{EdgeKind, Graph, NodeId, Point};

/// In which order a resource takes work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discipline {
    /// In the order of submission; the head of the queue holds back all behind it. A stream.
    InOrder,
    /// Whoever is ready first, higher priority before. A copy engine, a link.
    ByReady {
        /// How many at the same time.
        capacity: u32,
    },
}

/// Something that nodes share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource {
    /// In which order it takes work.
    pub discipline: Discipline,
    /// Pause between two pieces of work, in ns, where the graph has no edge between the two that says better.
    pub gap_ns: i64,
}

/// Which nodes share what.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    list: Vec<Resource>,
    /// Of each node the queue that it is submitted to.
    queue: Vec<u32>,
    /// Of each node the engine that it needs.
    engine: Vec<u32>,
    priority: Vec<i32>,
}

const NONE: u32 = u32::MAX;

impl Resources {
    /// Each stream of the graph is a queue, in the order of [`Graph::places`]; there are no engines.
    #[must_use]
    pub fn streams(graph: &Graph) -> Self {
        let gap = |place: &crate::graph::Place| {
            let constants = graph.constants().iter().find(|constants| constants.rank == place.rank);
            constants.and_then(|constants| constants.devices.first()).map_or(1_000, |device| device.gap_ns)
        };
        let list = graph.places().iter().map(|place| Resource { discipline: Discipline::InOrder, gap_ns: gap(place) });
        let queue = graph.place.iter().zip(&graph.kind).map(|(&place, kind)| {
            let is_device = graph.places().get(place as usize).is_some_and(|place| place.is_device);
            // The rest of a communication kernel follows its arrival.
            if is_device && kind.is_device_start() { place } else { NONE }
        });
        Self {
            list: list.collect(),
            queue: queue.collect(),
            engine: vec![NONE; graph.len()],
            priority: vec![0; graph.len()],
        }
    }

    /// Adds a resource and gives its number.
    pub fn add(&mut self, resource: Resource) -> u32 {
        self.list.push(resource);
        self.list.len() as u32 - 1
    }

    /// Submits a node to another queue; `None` to none.
    pub fn set_queue(&mut self, node: NodeId, queue: Option<u32>) {
        if let Some(slot) = self.queue.get_mut(node.index()) {
            *slot = queue.unwrap_or(NONE);
        }
    }

    /// Lets a node need an engine.
    pub fn set_engine(&mut self, node: NodeId, engine: Option<u32>, priority: i32) {
        if let Some(slot) = self.engine.get_mut(node.index()) {
            *slot = engine.unwrap_or(NONE);
        }
        if let Some(slot) = self.priority.get_mut(node.index()) {
            *slot = priority;
        }
    }

    /// The queue of a node.
    #[must_use]
    pub fn queue_of(&self, node: NodeId) -> Option<u32> {
        self.queue.get(node.index()).copied().filter(|&queue| queue != NONE)
    }

    fn of(&self, column: &[u32], node: usize) -> Option<(usize, Resource)> {
        let place = column.get(node).copied().filter(|&place| place != NONE)? as usize;
        Some((place, *self.list.get(place)?))
    }
}

/// The simulated program waits for itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{waiting} nodes wait for each other and never begin; the first is node {}", first.0)]
pub struct Deadlock {
    /// How many nodes never begin.
    pub waiting: usize,
    /// The first of them.
    pub first: NodeId,
}

/// Work that waits for an engine.
type Waiting = (Reverse<i32>, i64, u32);

struct Simulation<'a> {
    scenario: &'a Scenario<'a>,
    resources: &'a Resources,
    start: Vec<i64>,
    ready: Vec<i64>,
    /// How much each node still waits for.
    open: Vec<u32>,
    /// (time, node): the node may begin.
    events: BinaryHeap<Reverse<(i64, u32)>>,
    /// Of each queue the last submitted.
    tail: Vec<u32>,
    /// Of each node who follows it in its queue.
    behind: Vec<Vec<u32>>,
    begun: Vec<bool>,
    busy: Vec<u32>,
    waiting: Vec<BinaryHeap<Reverse<Waiting>>>,
    out: Outgoing,
    end_ns: i64,
}

/// Edges by source, with their targets.
struct Outgoing {
    first: Vec<u32>,
    /// (edge, target)
    edges: Vec<(u32, u32)>,
}

impl Outgoing {
    fn new(graph: &Graph) -> Self {
        let mut edges: Vec<(u32, u32, u32)> = Vec::with_capacity(graph.edge_count());
        for id in graph.node_ids() {
            edges.extend(graph.edges_to(id).map(|edge| (edge.from.0, edge.index, id.0)));
        }
        edges.sort_unstable();
        let mut first = Vec::with_capacity(graph.len() + 1);
        for node in 0..=graph.len() as u32 {
            first.push(edges.partition_point(|edge| edge.0 < node) as u32);
        }
        Self { first, edges: edges.into_iter().map(|(_, edge, target)| (edge, target)).collect() }
    }

    fn of(&self, node: usize) -> std::ops::Range<usize> {
        let at = |i: usize| self.first.get(i).copied().unwrap_or_default() as usize;
        at(node)..at(node + 1)
    }
}

/// Replays `scenario` with queues and engines. O((nodes + edges) log nodes).
///
/// # Errors
/// When nodes wait for each other: the edit is impossible.
pub fn simulate(scenario: &Scenario<'_>, resources: &Resources) -> Result<Times, Deadlock> {
    let graph = scenario.graph();
    let nodes = graph.len();
    let mut this = Simulation {
        scenario,
        resources,
        start: vec![0; nodes],
        ready: vec![i64::MIN; nodes],
        open: vec![0; nodes],
        events: BinaryHeap::new(),
        tail: vec![NONE; resources.list.len()],
        behind: vec![Vec::new(); nodes],
        begun: vec![false; nodes],
        busy: vec![0; resources.list.len()],
        waiting: (0..resources.list.len()).map(|_| BinaryHeap::new()).collect(),
        out: Outgoing::new(graph),
        end_ns: graph.origin_ns(),
    };
    for id in graph.node_ids() {
        let edges = graph.edges_to(id).filter(|edge| this.holds(edge.index, edge.kind, edge.point, edge.from, id));
        let mut open = edges.count() as u32;
        // Submission is one more thing to wait for.
        if resources.of(&resources.queue, id.index()).is_some() {
            open += 1;
        }
        if let Some(slot) = this.open.get_mut(id.index()) {
            *slot = open;
        }
    }
    for id in graph.node_ids() {
        if this.resources.of(&resources.queue, id.index()).is_some() && this.submitter(id).is_none() {
            this.submit(id.index());
        } else if this.open.get(id.index()) == Some(&0) {
            this.push(id.index());
        }
    }
    while let Some(Reverse((at, node))) = this.events.pop() {
        this.may_begin(at, node as usize);
    }
    let stuck = || this.begun.iter().enumerate().filter(|(_, begun)| !**begun).map(|(node, _)| NodeId(node as u32));
    match stuck().next() {
        Some(first) => Err(Deadlock { waiting: stuck().count(), first }),
        None => Ok(Times { start: this.start, end_ns: this.end_ns }),
    }
}

impl Simulation<'_> {
    /// Whether an edge of the graph holds here: orders of queues are found anew.
    fn holds(&self, edge: u32, kind: EdgeKind, point: Point, from: NodeId, to: NodeId) -> bool {
        if self.scenario.lag_ns(edge).is_none() {
            return false;
        }
        let is_queued = |node: NodeId| self.resources.of(&self.resources.queue, node.index()).is_some();
        let from = self.owner(from);
        !(kind == EdgeKind::StreamOrder && point == Point::End && is_queued(from) && is_queued(to))
    }

    /// The queued node that a node is part of: the arrival of a transfer.
    fn owner(&self, node: NodeId) -> NodeId {
        let graph = self.scenario.graph();
        let event = graph.node(node).event;
        if graph.node(node).kind.is_device_start() || event.is_none() {
            return node;
        }
        let mut at = node;
        // A communication kernel has at most arrival, wait, meeting and transfer.
        for _ in 0..3 {
            let before =
                graph.edges_to(at).filter(|edge| edge.kind == EdgeKind::Transfer || edge.kind == EdgeKind::Arrive);
            let own = before.map(|edge| edge.from).find(|&from| {
                let from = graph.node(from);
                from.event == event || from.event.is_none()
            });
            match own {
                Some(from) if graph.node(from).event == event && graph.node(from).kind.is_device_start() => {
                    return from;
                }
                Some(from) => at = from,
                None => break,
            }
        }
        node
    }

    /// Who submits a node: the start of the call that launches it, or the work before it if no call is known.
    fn submitter(&self, node: NodeId) -> Option<NodeId> {
        let graph = self.scenario.graph();
        let by = |kind: EdgeKind| graph.edges_to(node).find(|edge| edge.kind == kind).map(|edge| edge.from);
        by(EdgeKind::Launch).or_else(|| by(EdgeKind::StreamOrder).map(|from| self.owner(from)))
    }

    fn push(&mut self, node: usize) {
        let ready = self.ready.get(node).copied().unwrap_or(i64::MIN);
        let ready = if ready == i64::MIN { self.scenario.graph().origin_ns() } else { ready };
        let at = ready.saturating_add(self.scenario.delay_ns(NodeId(node as u32)));
        if let Some(slot) = self.ready.get_mut(node) {
            *slot = at;
        }
        self.events.push(Reverse((at, node as u32)));
    }

    /// One thing less to wait for.
    fn resolve(&mut self, node: usize, at: i64) {
        if let Some(ready) = self.ready.get_mut(node) {
            *ready = (*ready).max(at);
        }
        let Some(open) = self.open.get_mut(node) else { return };
        *open = open.saturating_sub(1);
        if *open == 0 {
            self.push(node);
        }
    }

    /// Appends a node to its queue.
    fn submit(&mut self, node: usize) {
        let Some((queue, _)) = self.resources.of(&self.resources.queue, node) else { return };
        let last = self.tail.get(queue).copied().unwrap_or(NONE);
        if let Some(tail) = self.tail.get_mut(queue) {
            *tail = node as u32;
        }
        if last == NONE || self.is_part_of_launch(node) {
            self.resolve(node, i64::MIN);
        } else if let Some(end) = self.end_of(last as usize) {
            self.follow(last as usize, node, end);
        } else if let Some(behind) = self.behind.get_mut(last as usize) {
            behind.push(node as u32);
        }
    }

    /// Work of a graph launch keeps the order within the graph.
    fn is_part_of_launch(&self, node: usize) -> bool {
        let graph = self.scenario.graph();
        graph.edges_to(NodeId(node as u32)).any(|edge| {
            edge.kind == EdgeKind::GraphOrder || (edge.kind == EdgeKind::StreamOrder && edge.point == Point::Start)
        })
    }

    /// When queued work is done, if it is known: for communication the end of its transfer.
    fn end_of(&self, node: usize) -> Option<i64> {
        let last = self.last_part(node);
        self.begun.get(last).copied().filter(|&begun| begun).map(|_| self.end_at(last))
    }

    fn end_at(&self, node: usize) -> i64 {
        let start = self.start.get(node).copied().unwrap_or_default();
        start.saturating_add(self.scenario.duration_ns(NodeId(node as u32)))
    }

    /// The last node of queued work: the transfer of an arrival.
    fn last_part(&self, node: usize) -> usize {
        let graph = self.scenario.graph();
        let event = graph.event.get(node).copied();
        let mut at = node;
        for _ in 0..3 {
            let next =
                self.out.of(at).filter_map(|place| self.out.edges.get(place)).map(|&(_, target)| target as usize);
            let mut parts = next.filter(|&target| {
                let kind = graph.node(NodeId(target as u32)).kind;
                use crate::graph::NodeKind;
                let same = graph.event.get(target).copied() == event;
                matches!(kind, NodeKind::Meeting)
                    || same && matches!(kind, NodeKind::Transfer | NodeKind::EstimatedWait)
            });
            match parts.next() {
                Some(part) => at = part,
                None => break,
            }
        }
        at
    }

    /// `node` comes after `last` in its queue, which is done at `end`.
    fn follow(&mut self, last: usize, node: usize, end: i64) {
        let graph = self.scenario.graph();
        let (from, last) = (self.last_part(last), last);
        let recorded = graph.edges_to(NodeId(node as u32)).find(|edge| {
            edge.kind == EdgeKind::StreamOrder && (edge.from.index() == from || edge.from.index() == last)
        });
        let lag = recorded.and_then(|edge| self.scenario.lag_ns(edge.index));
        let gap = self.resources.of(&self.resources.queue, node).map_or(0, |(_, resource)| resource.gap_ns);
        self.resolve(node, end.saturating_add(lag.unwrap_or(gap)));
    }

    fn may_begin(&mut self, at: i64, node: usize) {
        if let Some((engine, resource)) = self.resources.of(&self.resources.engine, node) {
            let Discipline::ByReady { capacity } = resource.discipline else { return self.begin(at, node) };
            let busy = self.busy.get(engine).copied().unwrap_or_default();
            if self.begun.get(node) == Some(&true) {
                // The event of its end: the engine is free for the next.
                return self.leave(at, engine, resource);
            }
            if busy >= capacity {
                let priority = self.resources.priority.get(node).copied().unwrap_or_default();
                if let Some(waiting) = self.waiting.get_mut(engine) {
                    waiting.push(Reverse((Reverse(priority), at, node as u32)));
                }
                return;
            }
            self.enter(at, engine, node);
        } else {
            self.begin(at, node);
        }
    }

    fn enter(&mut self, at: i64, engine: usize, node: usize) {
        if let Some(busy) = self.busy.get_mut(engine) {
            *busy += 1;
        }
        self.begin(at, node);
        let end = self.end_at(node);
        self.events.push(Reverse((end, node as u32)));
    }

    fn leave(&mut self, at: i64, engine: usize, resource: Resource) {
        if let Some(busy) = self.busy.get_mut(engine) {
            *busy = busy.saturating_sub(1);
        }
        let next = self.waiting.get_mut(engine).and_then(BinaryHeap::pop);
        if let Some(Reverse((_, _, node))) = next {
            self.enter(at.saturating_add(resource.gap_ns), engine, node as usize);
        }
    }

    fn begin(&mut self, at: i64, node: usize) {
        let id = NodeId(node as u32);
        if let (Some(start), Some(begun)) = (self.start.get_mut(node), self.begun.get_mut(node)) {
            *start = at;
            *begun = true;
        }
        let end = at.saturating_add(self.scenario.duration_ns(id));
        self.end_ns = self.end_ns.max(end);
        let graph = self.scenario.graph();
        for place in self.out.of(node) {
            let Some(&(edge, target)) = self.out.edges.get(place) else { continue };
            let (edge, target_id) = (graph.edge(edge), NodeId(target));
            // Submission comes before the latency of the launch.
            if self.resources.of(&self.resources.queue, target as usize).is_some()
                && self.submitter(target_id) == Some(id)
                && edge.kind == EdgeKind::Launch
            {
                self.submit(target as usize);
            }
            if self.holds(edge.index, edge.kind, edge.point, id, target_id)
                && let Some(lag) = self.scenario.lag_ns(edge.index)
            {
                let from = if edge.point == Point::End { end } else { at };
                self.resolve(target as usize, from.saturating_add(lag));
            }
        }
        self.done(id, end);
    }

    /// Queued work whose end is now known lets the next of its queue, and work without a call behind it, go on.
    fn done(&mut self, id: NodeId, end: i64) {
        let owner = self.owner(id);
        if self.last_part(owner.index()) != id.index() {
            return;
        }
        let behind = self.behind.get_mut(owner.index()).map(std::mem::take).unwrap_or_default();
        for node in behind {
            self.follow(owner.index(), node as usize, end);
        }
        // Work without launch is submitted by the work before it.
        for place in self.out.of(id.index()) {
            let Some(&(edge, target)) = self.out.edges.get(place) else { continue };
            let kind = self.scenario.graph().edge(edge).kind;
            let target_id = NodeId(target);
            if kind == EdgeKind::StreamOrder
                && self.resources.of(&self.resources.queue, target as usize).is_some()
                && self.submitter(target_id) == Some(owner)
            {
                self.submit(target as usize);
            }
        }
    }
}
