//! What the engine's nodes are in the words of the job: operator, class, step, rank, launch.

use gapless_analysis::graph::{EdgeKind, Graph, NodeId, NodeKind};
use gapless_analysis::{CollectiveInstance, HostTree};
use gapless_trace::{EventId, RankId, StrId, Trace};
use rayon::prelude::*;
use rustc_hash::FxHashMap;

use gapless_analysis::KernelClass;

/// None in a column.
const NONE: u32 = u32::MAX;

/// Columns beside the nodes of a graph.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    operator: Vec<u32>,
    launch: Vec<u32>,
    step: Vec<u32>,
    class: Vec<KernelClass>,
    instance: Vec<u32>,
    /// Nodes with time on each thread, by place in the graph's places, by start.
    of_thread: FxHashMap<gapless_trace::TrackId, Vec<NodeId>>,
    /// Device work of each stream in order.
    of_stream: FxHashMap<gapless_trace::TrackId, Vec<NodeId>>,
    /// Node of each event with device work of its own.
    of_event: FxHashMap<EventId, NodeId>,
}

impl Facts {
    /// Looks up every node. O(nodes + edges), operators of the ranks in parallel.
    #[must_use]
    pub fn new(trace: &Trace, graph: &Graph, collectives: &[CollectiveInstance]) -> Self {
        let ranks: Vec<RankId> = trace.rank_ids().map(|(rank, _)| rank).collect();
        let trees: Vec<HostTree> = ranks.into_par_iter().map(|rank| HostTree::new(trace, rank)).collect();
        let instance_of: FxHashMap<EventId, u32> = collectives
            .iter()
            .enumerate()
            .flat_map(|(place, instance)| instance.members.iter().map(move |member| (member.event, place as u32)))
            .collect();
        let mut this = Self {
            operator: vec![NONE; graph.len()],
            launch: vec![NONE; graph.len()],
            step: vec![NONE; graph.len()],
            class: vec![KernelClass::Other; graph.len()],
            instance: vec![NONE; graph.len()],
            ..Self::default()
        };
        let steps: Vec<(i64, i64)> = graph.steps().iter().map(|step| (step.mark_start_ns, step.mark_end_ns)).collect();
        // Marks of one rank do not overlap, those of several may by a little: the last one begun counts.
        let step_at = |time: i64| {
            let begun = steps.partition_point(|step| step.0 <= time);
            begun.checked_sub(1).map_or(NONE, |step| step as u32)
        };
        let mut classes: FxHashMap<(StrId, StrId), KernelClass> = FxHashMap::default();
        for id in graph.node_ids() {
            let node = graph.node(id);
            let i = id.index();
            let rank = node.place.map(|place| place.rank);
            let tree = rank.and_then(|rank| trees.get(rank.index()));
            let mut call = node.event.filter(|_| node.kind.is_host_work() || node.kind == NodeKind::Return);
            let mut time = node.start_ns;
            if node.kind.is_device() {
                for edge in graph.edges_to(id) {
                    if edge.kind == EdgeKind::Launch {
                        set(&mut this.launch, i, edge.from.0);
                        let launch = graph.node(edge.from);
                        time = launch.start_ns;
                        call = launch.event;
                    } else if matches!(node.kind, NodeKind::Transfer | NodeKind::EstimatedWait)
                        && edge.from.index() < i
                        && let Some(&launch) = this.launch.get(edge.from.index())
                        && launch != NONE
                        && graph.node(edge.from).event == node.event
                    {
                        // A transfer was launched with its arrival.
                        set(&mut this.launch, i, launch);
                        let launch = graph.node(NodeId(launch));
                        time = launch.start_ns;
                        call = launch.event;
                    }
                }
                if call.is_none() {
                    call = node.event.and_then(|event| trace.launches().launch_of(event));
                    time = call.map_or(time, |call| trace.event(call).start.nanos());
                }
            }
            set(&mut this.step, i, step_at(time));
            let operator = call.and_then(|call| tree.and_then(|tree| tree.operator_around(call)));
            if let Some(operator) = operator {
                set(&mut this.operator, i, operator.0);
            }
            let class = match node.kind {
                NodeKind::Arrival | NodeKind::Meeting | NodeKind::EstimatedWait | NodeKind::Transfer => {
                    KernelClass::Communication
                }
                NodeKind::Copy => KernelClass::Copy,
                NodeKind::Fill => KernelClass::Fill,
                NodeKind::Kernel => {
                    let names = trace.events().names();
                    let name = |event: Option<EventId>| {
                        event.and_then(|event| names.get(event.index())).copied().unwrap_or(StrId::EMPTY)
                    };
                    let key = (name(node.event), name(operator));
                    *classes.entry(key).or_insert_with(|| KernelClass::of_kernel(trace.text(key.0), trace.text(key.1)))
                }
                _ => KernelClass::Other,
            };
            if let Some(slot) = this.class.get_mut(i) {
                *slot = class;
            }
            if let Some(event) = node.event {
                if class == KernelClass::Communication
                    && let Some(&place) = instance_of.get(&event)
                {
                    set(&mut this.instance, i, place);
                }
                if matches!(node.kind, NodeKind::Kernel | NodeKind::Copy | NodeKind::Fill | NodeKind::Transfer) {
                    this.of_event.insert(event, id);
                }
            }
            if let Some(place) = node.place {
                if place.is_device && !node.kind.is_virtual() {
                    this.of_stream.entry(place.track).or_default().push(id);
                } else if node.kind.is_host_work() {
                    this.of_thread.entry(place.track).or_default().push(id);
                }
            }
        }
        for list in this.of_thread.values_mut().chain(this.of_stream.values_mut()) {
            list.sort_by_key(|&id| (graph.node(id).start_ns, id));
        }
        this
    }

    /// The innermost operator around the call that launched it, or around the call that it is.
    #[must_use]
    pub fn operator(&self, node: NodeId) -> Option<EventId> {
        self.operator.get(node.index()).copied().filter(|&event| event != NONE).map(EventId)
    }

    /// The node of the call that launched this device work.
    #[must_use]
    pub fn launch(&self, node: NodeId) -> Option<NodeId> {
        self.launch.get(node.index()).copied().filter(|&node| node != NONE).map(NodeId)
    }

    /// The step in which it ran on the host, or in which it was launched: a place in
    /// [`Graph::steps`](gapless_analysis::graph::Graph::steps).
    #[must_use]
    pub fn step(&self, node: NodeId) -> Option<usize> {
        self.step.get(node.index()).copied().filter(|&step| step != NONE).map(|step| step as usize)
    }

    /// What kind of work it is; `Other` for host nodes.
    #[must_use]
    pub fn class(&self, node: NodeId) -> KernelClass {
        self.class.get(node.index()).copied().unwrap_or(KernelClass::Other)
    }

    /// The collective that it is part of: a place in [`Study::collectives`](crate::Study::collectives).
    #[must_use]
    pub fn instance(&self, node: NodeId) -> Option<usize> {
        self.instance.get(node.index()).copied().filter(|&place| place != NONE).map(|place| place as usize)
    }

    /// The node of a kernel, copy, fill or (its transfer) collective.
    #[must_use]
    pub fn node_of(&self, event: EventId) -> Option<NodeId> {
        self.of_event.get(&event).copied()
    }

    /// Nodes with time on a thread, by start.
    #[must_use]
    pub fn thread(&self, track: gapless_trace::TrackId) -> &[NodeId] {
        self.of_thread.get(&track).map_or(&[], Vec::as_slice)
    }

    /// Threads with nodes, in the order of tracks.
    #[must_use]
    pub fn threads(&self) -> Vec<gapless_trace::TrackId> {
        let mut tracks: Vec<_> = self.of_thread.keys().copied().collect();
        tracks.sort_unstable();
        tracks
    }

    /// Device work of a stream, by start; markers of events are left out.
    #[must_use]
    pub fn stream(&self, track: gapless_trace::TrackId) -> &[NodeId] {
        self.of_stream.get(&track).map_or(&[], Vec::as_slice)
    }

    /// Streams with work, in the order of tracks.
    #[must_use]
    pub fn streams(&self) -> Vec<gapless_trace::TrackId> {
        let mut tracks: Vec<_> = self.of_stream.keys().copied().collect();
        tracks.sort_unstable();
        tracks
    }
}

fn set(column: &mut [u32], at: usize, value: u32) {
    if let Some(slot) = column.get_mut(at) {
        *slot = value;
    }
}
