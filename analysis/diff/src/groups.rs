//! What differs between aligned nodes, by cause and name, as edits of both graphs.

use std::collections::BTreeMap;

use gapless_analysis::KernelClass;
use gapless_analysis::graph::{Edge, EdgeKind, Node, NodeId, NodeKind};
use gapless_trace::EventId;
use rustc_hash::FxHashMap;

use crate::align::Alignment;
use crate::cause::Cause;
use crate::host::{Host, has_frames};
use crate::label::{Names, short_kernel};
use crate::side::{NONE, Side};

/// A change of one column of a graph's scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    /// Adds to the duration of a node, in ns.
    Dur(u32, i64),
    /// Adds to the delay of a node, in ns.
    Delay(u32, i64),
    /// Sets the lag of an edge, in ns; `None` drops it.
    Lag(u32, Option<i64>),
}

/// A pair that differs, or a piece that one side does not have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub base: Option<EventId>,
    pub new: Option<EventId>,
    pub base_ns: i64,
    pub new_ns: i64,
}

impl Sample {
    fn change(&self) -> i64 {
        self.new_ns.saturating_sub(self.base_ns).saturating_abs()
    }
}

/// Samples kept for each group.
const SAMPLES: usize = 3;

/// Which side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Base = 0,
    New = 1,
}

/// All that differs for one reason under one name.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub cause: Cause,
    /// Class of kernels, or operator.
    pub class: u32,
    pub name: u32,
    /// Edits that give each side the values of the other.
    pub edits: [Vec<Edit>; 2],
    /// Its time in each step of each side, in ns.
    pub sums: [Vec<i64>; 2],
    /// How many pieces each side has.
    pub counts: [u64; 2],
    /// Its time by rank of the base, in ns over all steps: base, new.
    pub by_rank: BTreeMap<u32, [i64; 2]>,
    /// The pairs that differ most, of typical steps.
    pub samples: Vec<Sample>,
}

impl Group {
    /// How much its edits move, in ns: what it may matter.
    pub fn weight(&self) -> i64 {
        let size = |edit: &Edit| match *edit {
            Edit::Dur(_, ns) | Edit::Delay(_, ns) => ns.saturating_abs(),
            Edit::Lag(..) => 0,
        };
        self.edits.iter().flatten().map(size).fold(0, i64::saturating_add)
    }

    /// Adds another group to this one.
    pub fn absorb(&mut self, other: Self) {
        for (own, more) in self.edits.iter_mut().zip(other.edits) {
            own.extend(more);
        }
        for (own, more) in self.sums.iter_mut().zip(other.sums) {
            for (sum, more) in own.iter_mut().zip(more) {
                *sum = sum.saturating_add(more);
            }
        }
        for (own, more) in self.counts.iter_mut().zip(other.counts) {
            *own += more;
        }
        for (rank, more) in other.by_rank {
            let own = self.by_rank.entry(rank).or_default();
            for (sum, more) in own.iter_mut().zip(more) {
                *sum = sum.saturating_add(more);
            }
        }
        for sample in other.samples {
            self.sample(sample);
        }
    }

    fn sample(&mut self, sample: Sample) {
        if sample.change() == 0 {
            return;
        }
        self.samples.push(sample);
        self.samples.sort_by_key(|sample| std::cmp::Reverse(sample.change()));
        self.samples.truncate(SAMPLES);
    }
}

pub(crate) type Key = (Cause, u32, u32);

/// How far the two recordings are one program.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Coverage {
    /// Device time of the base, and of that with a counterpart, in ns.
    pub base: (i64, i64),
    /// The same of the new recording.
    pub new: (i64, i64),
    /// Edges of aligned nodes that the other side does not have.
    pub odd_edges: u64,
}

/// Finds the groups of both sides.
pub(crate) struct Finder<'a, 'r> {
    sides: [&'a Side<'r>; 2],
    alignment: &'a Alignment,
    typical: [Vec<bool>; 2],
    hosts: [Host<'r>; 2],
    pub names: Names,
    pub groups: BTreeMap<Key, Group>,
    pub coverage: Coverage,
    operators: [FxHashMap<u32, u32>; 2],
}

impl<'a, 'r> Finder<'a, 'r> {
    /// `typical`: the steps of each side of which samples are taken.
    pub fn new(base: &'a Side<'r>, new: &'a Side<'r>, alignment: &'a Alignment, typical: [&[usize]; 2]) -> Self {
        let with_frames = has_frames(base.trace()) && has_frames(new.trace());
        let flags = |side: &Side<'_>, typical: &[usize]| -> Vec<bool> {
            (0..side.step_count).map(|step| typical.contains(&step)).collect()
        };
        let host = |side: &Side<'r>| Host::new(side.recording.trace, &side.recording.clocks, with_frames);
        Self {
            sides: [base, new],
            alignment,
            typical: [flags(base, typical[0]), flags(new, typical[1])],
            hosts: [host(base), host(new)],
            names: Names::default(),
            groups: BTreeMap::new(),
            coverage: Coverage::default(),
            operators: Default::default(),
        }
    }

    /// Goes over all nodes of both sides.
    pub fn find(&mut self) {
        for which in [Which::Base, Which::New] {
            let side = self.side(which);
            for id in side.recording.graph.node_ids() {
                if side.node(id.0).kind == NodeKind::Meeting {
                    self.meeting(which, id);
                    continue;
                }
                let Some(step) = side.step(id.0) else { continue };
                match self.counterpart(which, id.0) {
                    Some(other) => self.pair(which, step, id.0, other),
                    None => self.single(which, step, id.0),
                }
            }
        }
    }

    fn side(&self, which: Which) -> &'a Side<'r> {
        let [base, new] = self.sides;
        if which == Which::Base { base } else { new }
    }

    fn counterpart(&self, which: Which, node: u32) -> Option<u32> {
        let list = if which == Which::Base { &self.alignment.of_base } else { &self.alignment.of_new };
        list.get(node as usize).copied().filter(|&other| other != NONE)
    }

    fn group(&mut self, key: Key) -> &mut Group {
        let [base, new] = self.sides;
        self.groups.entry(key).or_insert_with(|| Group {
            cause: key.0,
            class: key.1,
            name: key.2,
            edits: Default::default(),
            sums: [vec![0; base.step_count], vec![0; new.step_count]],
            counts: [0; 2],
            by_rank: BTreeMap::new(),
            samples: Vec::new(),
        })
    }

    /// Adds a piece of `ns` to a group, and the edit that gives it the value of the other side.
    fn add(&mut self, key: Key, which: Which, step: usize, node: &Node, ns: i64, edit: Option<Edit>) {
        let rank = self.rank_of(which, node);
        let group = self.group(key);
        group.edits[which as usize].extend(edit);
        if let Some(sum) = group.sums[which as usize].get_mut(step) {
            *sum = sum.saturating_add(ns);
        }
        // Calls of new and gone work are counted by what they launch.
        let is_piece = !group.cause.is_structural() || node.kind.is_device_start() || node.kind == NodeKind::Call;
        group.counts[which as usize] += u64::from(is_piece);
        if let Some(rank) = rank {
            let own = &mut group.by_rank.entry(rank).or_default()[which as usize];
            *own = own.saturating_add(ns);
        }
    }

    /// The rank of the base that a node is of, or is paired with.
    fn rank_of(&self, which: Which, node: &Node) -> Option<u32> {
        let rank = node.place?.rank.0;
        match which {
            Which::Base => Some(rank),
            Which::New => self.alignment.ranks.iter().find(|pair| pair.1 == rank).map(|pair| pair.0),
        }
    }

    fn is_typical(&self, which: Which, step: usize) -> bool {
        self.typical[which as usize].get(step).copied().unwrap_or(false)
    }

    /// Name of the innermost operator that a node belongs to; 0 if there is none.
    fn operator(&mut self, which: Which, node: u32) -> Option<u32> {
        let side = self.side(which);
        let owner = side.launcher(node).unwrap_or(node);
        if let Some(&known) = self.operators[which as usize].get(&owner) {
            return Some(known).filter(|&name| name != NONE);
        }
        let event = side.operator_of(owner);
        let name = event.map(|event| self.names.of(side.trace().name(event)));
        self.operators[which as usize].insert(owner, name.unwrap_or(NONE));
        name
    }

    /// Name of the kernel, copy or call that a node is.
    fn event_name(&self, which: Which, node: &Node) -> String {
        let side = self.side(which);
        let Some(event) = node.event else { return String::new() };
        let name = side.trace().name(event);
        if node.kind.is_device() { short_kernel(name) } else { name.to_owned() }
    }

    /// `aten::mm · volta_sgemm`.
    fn work_name(&mut self, which: Which, node: &Node) -> String {
        let kernel = self.event_name(which, node);
        match self.operator(which, node.id.0) {
            Some(operator) => format!("{} · {kernel}", self.names.text(operator)),
            None => kernel,
        }
    }

    /// Name of a pair of kernels. Where the two sides run different ones, the operator is what they have in common.
    fn pair_name(&mut self, base: &Node, new: &Node) -> String {
        let (kernel, other) = (self.event_name(Which::Base, base), self.event_name(Which::New, new));
        match self.operator(Which::Base, base.id.0) {
            _ if kernel == other => self.work_name(Which::Base, base),
            Some(operator) => format!("{} · another kernel", self.names.text(operator)),
            None => format!("{kernel} → {other}"),
        }
    }

    /// Name of a collective with its elements, where the file says them.
    fn collective_name(&self, which: Which, node: &Node) -> (String, String) {
        let kernel = self.event_name(which, node);
        let trace = self.side(which).trace();
        let Some(args) = node.event.and_then(|event| trace.collective(event)) else { return (kernel.clone(), kernel) };
        let kind = trace.text(args.name).to_owned();
        let dtype = trace.text(args.dtype);
        let name = match args.in_elems {
            Some(elements) => format!("{kind} of {} {dtype}", gapless_trace::thousands(elements)),
            None => kind.clone(),
        };
        (kind, name)
    }

    /// What the duration of a pair counts as; `None` for nodes without duration, and for time of threads.
    fn key_of(&mut self, base: &Node, new: &Node) -> Option<Key> {
        let plain = |cause: Cause, names: &mut Names, name: &str| {
            let id = names.of(name);
            Some((cause, names.of(""), id))
        };
        match base.kind {
            NodeKind::Kernel => {
                let name = self.pair_name(base, new);
                let kernel = base.event.map_or("", |event| self.side(Which::Base).trace().name(event));
                let operator = self.operator(Which::Base, base.id.0);
                let operator = operator.map_or("", |operator| self.names.text(operator));
                let class = KernelClass::of_kernel(kernel, operator).title();
                // Slower or faster is decided when all of the group is known.
                Some((Cause::SlowerKernels, self.names.of(class), self.names.of(&name)))
            }
            NodeKind::Copy | NodeKind::Fill => {
                let name = self.pair_name(base, new);
                plain(Cause::Copies, &mut self.names, &name)
            }
            NodeKind::Transfer | NodeKind::EstimatedWait => {
                let cause = if base.kind == NodeKind::Transfer { Cause::Transfer } else { Cause::RankWait };
                let (_, name) = self.collective_name(Which::Base, base);
                plain(cause, &mut self.names, &name)
            }
            NodeKind::Launch | NodeKind::Call => {
                let cause = if base.kind == NodeKind::Launch { Cause::LaunchCalls } else { Cause::BlockingCalls };
                let name = self.event_name(Which::Base, base);
                plain(cause, &mut self.names, &name)
            }
            NodeKind::DataLoader => plain(Cause::DataLoading, &mut self.names, "next batch"),
            NodeKind::Gc => plain(Cause::Gc, &mut self.names, "collection"),
            _ => None,
        }
    }

    fn pair(&mut self, which: Which, step: usize, own_id: u32, other_id: u32) {
        let opposite = if which == Which::Base { Which::New } else { Which::Base };
        let own = self.side(which).node(own_id);
        let other = self.side(opposite).node(other_id);
        let (base, new) = if which == Which::Base { (own, other) } else { (other, own) };
        if own.kind.is_device() {
            let covered = if which == Which::Base { &mut self.coverage.base } else { &mut self.coverage.new };
            covered.0 = covered.0.saturating_add(own.dur_ns);
            covered.1 = covered.1.saturating_add(own.dur_ns);
        }
        if own.kind == NodeKind::Host {
            self.host_pair(which, step, &own, Some(&other));
        } else if let Some(key) = self.key_of(&base, &new) {
            let change = other.dur_ns.saturating_sub(own.dur_ns);
            let edit = (change != 0).then_some(Edit::Dur(own_id, change));
            self.add(key, which, step, &own, own.dur_ns, edit);
            if which == Which::Base && self.is_typical(which, step) {
                let sample = Sample { base: base.event, new: new.event, base_ns: base.dur_ns, new_ns: new.dur_ns };
                self.group(key).sample(sample);
            }
        }
        self.missing_stretch(which, &own, other_id);
        self.latencies(which, step, &own, &other);
    }

    /// Time of the other side's thread before a call that this side makes at once: a delay, having no node of its own.
    fn missing_stretch(&mut self, which: Which, own: &Node, other_id: u32) {
        let opposite = if which == Which::Base { Which::New } else { Which::Base };
        if self.side(which).before.contains_key(&own.id.0) {
            return;
        }
        let other_side = self.side(opposite);
        let Some(&stretch) = other_side.before.get(&other_id) else { return };
        let stretch = other_side.node(stretch);
        let mut names = std::mem::take(&mut self.names);
        let shares = self.hosts[opposite as usize].shares(&stretch, &mut names);
        let empty = names.of("");
        self.names = names;
        for share in shares {
            let group = self.group((Cause::HostTime, empty, share.name));
            group.edits[which as usize].push(Edit::Delay(own.id.0, share.ns));
        }
    }

    /// Time of a thread, by operator. Without a counterpart all of it is too much.
    fn host_pair(&mut self, which: Which, step: usize, own: &Node, other: Option<&Node>) {
        let opposite = if which == Which::Base { Which::New } else { Which::Base };
        let mut names = std::mem::take(&mut self.names);
        let shares = self.hosts[which as usize].shares(own, &mut names);
        let others = other.map(|other| self.hosts[opposite as usize].shares(other, &mut names)).unwrap_or_default();
        let empty = names.of("");
        self.names = names;
        for share in &shares {
            let counterpart = others.iter().find(|other| other.name == share.name);
            let other_ns = counterpart.map_or(0, |other| other.ns);
            let key = (Cause::HostTime, empty, share.name);
            let change = other_ns.saturating_sub(share.ns);
            let edit = (change != 0).then_some(Edit::Dur(own.id.0, change));
            self.add(key, which, step, own, share.ns, edit);
            let is_first_look = which == Which::Base || counterpart.is_none();
            if is_first_look && self.is_typical(which, step) {
                let other_event = counterpart.and_then(|other| other.event);
                let sample = match which {
                    Which::Base => Sample { base: share.event, new: other_event, base_ns: share.ns, new_ns: other_ns },
                    Which::New => Sample { base: other_event, new: share.event, base_ns: other_ns, new_ns: share.ns },
                };
                self.group(key).sample(sample);
            }
        }
        // What only the other side does in this stretch.
        for share in others.iter().filter(|other| shares.iter().all(|share| share.name != other.name)) {
            let group = self.group((Cause::HostTime, empty, share.name));
            group.edits[which as usize].push(Edit::Dur(own.id.0, share.ns));
        }
    }

    /// Delays of aligned nodes and lags of their edges.
    fn latencies(&mut self, which: Which, step: usize, own: &Node, other: &Node) {
        let opposite = if which == Which::Base { Which::New } else { Which::Base };
        let (side, other_side) = (self.side(which), self.side(opposite));
        let edges: Vec<Edge> = side.recording.graph.edges_to(own.id).collect();
        let others: Vec<Edge> = other_side.recording.graph.edges_to(other.id).collect();
        if edges.is_empty() || others.is_empty() {
            return;
        }
        let nameless = self.names.of("");
        for edge in &edges {
            let same = |candidate: &&Edge| candidate.kind == edge.kind && candidate.point == edge.point;
            let source = self.counterpart(which, edge.from.0);
            let exact = others.iter().filter(same).find(|candidate| source == Some(candidate.from.0));
            let alone = || {
                let mut of_kind = others.iter().filter(same);
                let only = of_kind.next();
                let is_alone = of_kind.next().is_none() && edges.iter().filter(same).count() == 1;
                only.filter(|_| is_alone)
            };
            let Some(counterpart) = exact.or_else(alone) else {
                // Sources outside of all steps have no counterpart and say nothing.
                self.coverage.odd_edges += u64::from(side.step(edge.from.0).is_some());
                continue;
            };
            let overlaps = edge.lag_ns < 0 || counterpart.lag_ns < 0;
            let cause = if overlaps { Cause::Overlap } else { Cause::of_edge(edge.kind) };
            let is_moved = edge.lag_ns != counterpart.lag_ns;
            if !is_moved && edge.lag_ns == 0 {
                continue;
            }
            let edit = is_moved.then_some(Edit::Lag(edge.index, Some(counterpart.lag_ns)));
            self.add((cause, nameless, nameless), which, step, own, edge.lag_ns, edit);
        }
        let change = other.residual_ns.saturating_sub(own.residual_ns);
        if change == 0 && own.residual_ns == 0 {
            return;
        }
        let unexplained =
            side.recording.graph.unexplained_ns(own.id).max(other_side.recording.graph.unexplained_ns(other.id));
        let key = if unexplained > 0 {
            let (base_side, base) = if which == Which::Base { (which, own) } else { (opposite, other) };
            let name = self.event_name(base_side, base);
            (Cause::Unexplained, nameless, self.names.of(&name))
        } else {
            let ready = |edge: &&Edge| side.recording.graph.source_time_ns(edge).saturating_add(edge.lag_ns);
            let binding = edges.iter().max_by_key(ready).map_or(EdgeKind::Launch, |edge| edge.kind);
            (Cause::of_edge(binding), nameless, nameless)
        };
        let edit = (change != 0).then_some(Edit::Delay(own.id.0, change));
        self.add(key, which, step, own, own.residual_ns, edit);
        if unexplained > 0 && which == Which::Base && self.is_typical(which, step) {
            let sample =
                Sample { base: own.event, new: other.event, base_ns: own.residual_ns, new_ns: other.residual_ns };
            self.group(key).sample(sample);
        }
    }

    /// A node that the other side does not have.
    fn single(&mut self, which: Which, step: usize, id: u32) {
        let side = self.side(which);
        let own = side.node(id);
        if own.kind.is_device() {
            let covered = if which == Which::Base { &mut self.coverage.base } else { &mut self.coverage.new };
            covered.0 = covered.0.saturating_add(own.dur_ns);
        }
        let next = side.next.get(&id).copied();
        if own.kind == NodeKind::Host && next.is_some_and(|next| self.counterpart(which, next).is_some()) {
            // What comes after it is there on both sides: only the stretch before is empty on the other.
            self.host_pair(which, step, &own, None);
            return;
        }
        let key = self.key_of_single(which, &own, next);
        let graph = &side.recording.graph;
        let edges: Vec<Edge> = graph.edges_to(own.id).collect();
        // Of calls that launch, the work is what people know; their own time only shows in what they bring.
        let has_time = own.kind.is_device() || !key.0.is_structural() || own.kind == NodeKind::Call;
        let ns = if has_time { own.dur_ns } else { 0 };
        self.add(key, which, step, &own, ns, (own.dur_ns > 0).then_some(Edit::Dur(id, own.dur_ns.saturating_neg())));
        let group = self.group(key);
        let edits = &mut group.edits[which as usize];
        if !edges.is_empty() && own.residual_ns != 0 {
            edits.push(Edit::Delay(id, own.residual_ns.saturating_neg()));
        }
        for edge in edges {
            let in_order = matches!(edge.kind, EdgeKind::ThreadOrder | EdgeKind::StreamOrder | EdgeKind::GraphOrder);
            // Parts of one communication kernel follow one another too.
            if in_order || (edge.kind == EdgeKind::Transfer && graph.node(edge.from).event == own.event) {
                if edge.lag_ns != 0 {
                    edits.push(Edit::Lag(edge.index, Some(0)));
                }
            } else {
                edits.push(Edit::Lag(edge.index, None));
            }
        }
        if self.is_typical(which, step) && own.dur_ns > 0 && own.event.is_some() {
            let sample = match which {
                Which::Base => Sample { base: own.event, new: None, base_ns: own.dur_ns, new_ns: 0 },
                Which::New => Sample { base: None, new: own.event, base_ns: 0, new_ns: own.dur_ns },
            };
            self.group(key).sample(sample);
        }
    }

    fn key_of_single(&mut self, which: Which, own: &Node, next: Option<u32>) -> Key {
        let nameless = self.names.of("");
        // Time of a thread before a call is part of what the call is part of.
        let side = self.side(which);
        let of = next.map_or(*own, |next| side.node(next));
        if let Some(cause) = Cause::of_single(of.kind) {
            let name = match cause {
                Cause::RankWait => self.collective_name(which, &of).1,
                Cause::DataLoading => "next batch".to_owned(),
                Cause::Gc => "collection".to_owned(),
                _ => String::new(),
            };
            return (cause, nameless, self.names.of(&name));
        }
        let cause = if which == Which::Base { Cause::GoneWork } else { Cause::NewWork };
        // A call is named by the first that it launched, so that both are one thing.
        let works = side.works.get(&of.id.0);
        let first = works.into_iter().flatten().map(|&work| side.node(work)).find(|work| work.kind.is_device_start());
        let name = match first {
            Some(work) => self.work_name(which, &work),
            None => self.work_name(which, &of),
        };
        (cause, nameless, self.names.of(&name))
    }

    /// Members that the other side does not have are not waited for.
    fn meeting(&mut self, which: Which, id: NodeId) {
        let side = self.side(which);
        let edges: Vec<Edge> = side.recording.graph.edges_to(id).collect();
        for edge in edges {
            if side.step(edge.from.0).is_none() || self.counterpart(which, edge.from.0).is_some() {
                continue;
            }
            let member = side.node(edge.from.0);
            let key = self.key_of_single(which, &member, None);
            self.group(key).edits[which as usize].push(Edit::Lag(edge.index, None));
        }
    }
}
