//! What waits for what in a step of a pipeline-parallel job, as the first replica's first step shows it.
//!
//! The order of computation on a stage, the pairing of sends and receives with computation, and what comes behind the last
//! backward pass follow the schedules of Megatron-LM (one forward, one backward; interleaved chunks), as the study of
//! Lin et al. models them ("Understanding Stragglers in Large Model Training Using What-if Analysis", 2025, section 3).

use rustc_hash::{FxHashMap, FxHashSet};

use super::table::{Job, Op, OpType, text};

/// Ends and begins of one thing may lie apart by this much between clocks, in ns.
const CLOCKS_NS: f64 = 50_000.0;

/// One thing that a replay does next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// An operator begins: what it waits for has ended.
    Begin(usize),
    /// A computation ends.
    End(usize),
    /// All members of a group have begun: they end.
    Meet(usize),
}

/// The dependencies of a step.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    /// Of each operator those that it waits for.
    pub before: Vec<Vec<usize>>,
    /// Operators that end together.
    pub groups: Vec<Vec<usize>>,
    /// The group of each operator.
    pub group_of: Vec<Option<usize>>,
    /// Whether all replicas take part in a group.
    pub is_shared: Vec<bool>,
    /// An order in which all can be replayed.
    pub order: Vec<Event>,
}

struct Builder<'a> {
    job: &'a Job,
    find: FxHashMap<(usize, OpType, i64), usize>,
    before: Vec<Vec<usize>>,
    groups: Vec<Vec<usize>>,
}

impl Schedule {
    /// The schedule of a job, or why it is none that is known.
    pub fn new(job: &Job) -> Result<Self, String> {
        let mut builder =
            Builder { job, find: job.by_key(), before: vec![Vec::new(); job.ops.len()], groups: Vec::new() };
        builder.transfers()?;
        for stage in 0..job.stages {
            builder.stage(stage);
        }
        builder.shared();
        let Builder { before, groups, .. } = builder;
        let mut group_of = vec![None; job.ops.len()];
        for (number, group) in groups.iter().enumerate() {
            for &op in group {
                if let Some(of) = group_of.get_mut(op) {
                    *of = Some(number);
                }
            }
        }
        let over_replicas = |op: &usize| {
            job.ops.get(*op).is_some_and(|op| {
                use OpType as T;
                matches!(op.kind, T::ParamsAllGather | T::GradsReduceScatter | T::SeparateGradsAllReduce | T::ClipGrads)
            })
        };
        let is_shared = groups.iter().map(|group| group.iter().any(over_replicas)).collect();
        let order = order(job, &before, &groups, &group_of)?;
        Ok(Self { before, groups, group_of, is_shared, order })
    }
}

impl Builder<'_> {
    fn op(&self, place: usize) -> Option<&Op> {
        self.job.ops.get(place)
    }

    fn begin(&self, place: usize) -> f64 {
        self.job.start.get(place * self.job.lanes()).copied().unwrap_or_default()
    }

    fn end(&self, place: usize) -> f64 {
        self.job.end.get(place * self.job.lanes()).copied().unwrap_or_default()
    }

    fn find(&self, stage: usize, kind: OpType, number: i64) -> Option<usize> {
        self.find.get(&(stage, kind, number)).copied()
    }

    /// Operators of a stage in the order in which they began.
    fn of_stage(&self, stage: usize, fits: impl Fn(OpType) -> bool) -> Vec<usize> {
        let ops = self.job.ops.iter().enumerate();
        let mut found: Vec<usize> =
            ops.filter(|(_, op)| op.stage == stage && fits(op.kind)).map(|(at, _)| at).collect();
        found.sort_by(|&a, &b| {
            let name = |place: usize| self.op(place).map(|op| (op.number, op.kind.label()));
            self.begin(a).total_cmp(&self.begin(b)).then_with(|| name(a).cmp(&name(b)))
        });
        found
    }

    fn wait(&mut self, op: usize, before: usize) {
        if let Some(list) = self.before.get_mut(op) {
            list.push(before);
        }
    }

    /// One behind the other.
    fn chain(&mut self, ops: &[usize]) {
        for two in ops.windows(2) {
            if let [first, second] = *two {
                self.wait(second, first);
            }
        }
    }

    /// Sends and receives: with the computation that they belong to, with their other ends, and one behind the other.
    fn transfers(&mut self) -> Result<(), String> {
        use OpType as T;
        let mut paired: FxHashSet<usize> = FxHashSet::default();
        let mut pairs: Vec<(usize, usize)> = Vec::new();
        // Of each kind and stage those that move something, in order.
        let mut valid: FxHashMap<(usize, OpType), Vec<usize>> = FxHashMap::default();
        for stage in 0..self.job.stages {
            for kind in [T::ForwardSend, T::ForwardRecv, T::BackwardSend, T::BackwardRecv] {
                let of_kind = self.matched(stage, kind)?;
                let all = self.of_stage(stage, |other| other == kind);
                for (op, compute) in &of_kind {
                    let Some(compute) = *compute else { continue };
                    self.beside(*op, kind, compute, stage);
                    let chunk = self.op(compute).map_or(0, |op| op.whole_chunk);
                    if !self.is_at_an_end(kind, chunk) {
                        valid.entry((stage, kind)).or_default().push(*op);
                    }
                }
                self.chain(&all);
            }
        }
        for (&(stage, kind), ops) in &valid {
            let (peer_kind, up) = match kind {
                T::ForwardSend => (T::ForwardRecv, true),
                T::BackwardSend => (T::BackwardRecv, false),
                _ => continue,
            };
            let stages = self.job.stages;
            let peer_stage = if up { (stage + 1) % stages } else { (stage + stages - 1) % stages };
            let peers = valid.get(&(peer_stage, peer_kind)).map_or(&[][..], Vec::as_slice);
            if peers.len() != ops.len() {
                return Err(format!(
                    "stage {stage} sends {} times ({}) and stage {peer_stage} receives {} times",
                    ops.len(),
                    kind.label(),
                    peers.len()
                ));
            }
            pairs.extend(ops.iter().copied().zip(peers.iter().copied()));
        }
        pairs.sort_unstable();
        for (send, receive) in pairs {
            paired.extend([send, receive]);
            self.groups.push(vec![send, receive]);
        }
        for (place, op) in self.job.ops.iter().enumerate() {
            if op.kind.is_p2p() && !paired.contains(&place) {
                self.groups.push(vec![place]);
            }
        }
        Ok(())
    }

    /// Transfers of a kind on a stage with the computation that each belongs to; `None` for those that the profiler noted at
    /// the ends of a step and that move nothing.
    fn matched(&self, stage: usize, kind: OpType) -> Result<Vec<(usize, Option<usize>)>, String> {
        use OpType as T;
        let is_send = matches!(kind, T::ForwardSend | T::BackwardSend);
        let compute =
            if matches!(kind, T::ForwardSend | T::ForwardRecv) { T::ForwardCompute } else { T::BackwardCompute };
        let transfers = self.of_stage(stage, |other| other == kind);
        let computes = self.of_stage(stage, |other| other == compute);
        let last_begin = computes.iter().map(|&op| self.begin(op)).fold(f64::NEG_INFINITY, f64::max);
        let first_end = computes.iter().map(|&op| self.end(op)).fold(f64::INFINITY, f64::min);
        let moves = |op: usize| {
            if is_send { self.end(op) >= first_end - CLOCKS_NS } else { self.begin(op) <= last_begin + CLOCKS_NS }
        };
        let count = transfers.iter().filter(|&&op| moves(op)).count();
        let mut next = 0;
        if count != computes.len() && count != 0 {
            if stage != 0 && stage + 1 != self.job.stages || count + 1 != computes.len() {
                return Err(format!(
                    "stage {stage} has {} of {} and {count} of {}",
                    computes.len(),
                    compute.label(),
                    kind.label()
                ));
            }
            // Where the first receive of an interleaved schedule is missing, it moved nothing.
            next = i64::from(!is_send);
        }
        let mut found = Vec::with_capacity(transfers.len());
        for op in transfers {
            let of = if moves(op) {
                let of = self.find(stage, compute, next);
                next += 1;
                Some(of.ok_or_else(|| format!("stage {stage} has no {} {}", compute.label(), next - 1))?)
            } else {
                None
            };
            found.push((op, of));
        }
        Ok(found)
    }

    /// Whether a transfer would leave the model: the first chunk receives nothing forward, the last sends nothing.
    fn is_at_an_end(&self, kind: OpType, chunk: i64) -> bool {
        let chunks = self.job.ops.iter().map(|op| op.chunk).max().unwrap_or(0) + 1;
        let all = chunks * self.job.stages as i64;
        let peer = match kind {
            OpType::ForwardSend | OpType::BackwardRecv => chunk + 1,
            _ => chunk - 1,
        };
        !(0..all).contains(&peer)
    }

    /// A send follows its computation; a receive lies between the computation before and its own.
    fn beside(&mut self, transfer: usize, kind: OpType, compute: usize, stage: usize) {
        if matches!(kind, OpType::ForwardSend | OpType::BackwardSend) {
            self.wait(transfer, compute);
            return;
        }
        self.wait(compute, transfer);
        let Some((compute_kind, number)) = self.op(compute).map(|op| (op.kind, op.number)) else { return };
        if let Some(last) = self.find(stage, compute_kind, number - 1) {
            self.wait(transfer, last);
        }
    }

    /// Computation, communication between replicas, and what follows the last backward pass, of one stage.
    fn stage(&mut self, stage: usize) {
        use OpType as T;
        let computes = self.of_stage(stage, OpType::is_compute);
        self.chain(&computes);
        let kind_of = |builder: &Self, place: usize| builder.op(place).map(|op| op.kind);
        // The first backward transfers wait for the last but one forward pass before the first backward one.
        let first_backward = computes.iter().position(|&op| kind_of(self, op) == Some(T::BackwardCompute));
        if let Some(&before) = first_backward.and_then(|at| computes.get(at.checked_sub(2)?)) {
            for kind in [T::BackwardRecv, T::BackwardSend] {
                if let Some(first) = self.find(stage, kind, 0) {
                    self.wait(first, before);
                }
            }
        }
        let scatters = self.of_stage(stage, |kind| kind == T::GradsReduceScatter);
        let overlaps = self.job.ops.iter().any(|op| op.kind == T::SeparateGradsAllReduce);
        if self.job.reduces {
            let over_replicas = self.of_stage(stage, |kind| matches!(kind, T::ParamsAllGather | T::GradsReduceScatter));
            self.chain(&over_replicas);
            self.gathers(stage, &computes);
            if overlaps {
                self.scatters_behind_their_chunks(&scatters, &computes);
            }
        }
        let last = computes.iter().copied().max_by(|&a, &b| self.end(a).total_cmp(&self.end(b)));
        let gc = self.find(stage, T::Gc, 0);
        if let (Some(gc), Some(last)) = (gc, last) {
            self.wait(gc, last);
        }
        let one = |builder: &Self, kind: OpType| builder.find(stage, kind, 0);
        let mut chain: Vec<usize> = gc.or(last).into_iter().collect();
        chain.extend(one(self, T::LayernormGradsAllReduce));
        chain.extend(one(self, T::EmbeddingGradsAllReduce));
        let mut numbered: Vec<(i64, usize)> =
            scatters.iter().filter_map(|&op| Some((self.op(op)?.number, op))).collect();
        numbered.sort_unstable();
        if self.job.reduces && overlaps {
            // The last one goes before what follows the backward pass.
            if let (Some(&(_, last)), Some(&first)) = (numbered.last(), chain.get(1)) {
                self.wait(first, last);
            }
            chain.extend(one(self, T::SeparateGradsAllReduce));
        } else if self.job.reduces {
            chain.extend(numbered.into_iter().map(|(_, op)| op));
        }
        chain.extend(one(self, T::ClipGrads));
        chain.extend(one(self, T::Optimizer));
        self.chain(&chain);
    }

    /// The first forward pass of a chunk of the model waits for its parameters: for the last gather of the chunk.
    fn gathers(&mut self, stage: usize, computes: &[usize]) {
        let mut gathers: Vec<(i64, usize)> = self
            .of_stage(stage, |kind| kind == OpType::ParamsAllGather)
            .into_iter()
            .filter_map(|op| Some((self.op(op)?.number, op)))
            .collect();
        gathers.sort_unstable();
        let mut done = FxHashSet::default();
        for (_, gather) in gathers.into_iter().rev() {
            let Some(chunk) = self.op(gather).map(|op| op.chunk).filter(|&chunk| done.insert(chunk)) else { continue };
            let is_of_chunk = |op: &Op| op.kind == OpType::ForwardCompute && op.chunk == chunk;
            // Sorted by begin.
            let first = computes.iter().copied().find(|&op| self.op(op).is_some_and(is_of_chunk));
            if let Some(first) = first {
                self.wait(first, gather);
            }
        }
    }

    /// The first reduction of a chunk waits for the last backward pass of it.
    fn scatters_behind_their_chunks(&mut self, scatters: &[usize], computes: &[usize]) {
        let mut numbered: Vec<(i64, usize)> =
            scatters.iter().filter_map(|&op| Some((self.op(op)?.number, op))).collect();
        numbered.sort_unstable();
        let mut done = FxHashSet::default();
        for (_, scatter) in numbered {
            let Some(chunk) = self.op(scatter).map(|op| op.chunk).filter(|&chunk| done.insert(chunk)) else { continue };
            let is_of_chunk = |op: &Op| op.kind == OpType::BackwardCompute && op.chunk == chunk;
            let of_chunk = computes.iter().copied().filter(|&op| self.op(op).is_some_and(is_of_chunk));
            let last = of_chunk.max_by(|&a, &b| self.end(a).total_cmp(&self.end(b)));
            if let Some(last) = last {
                self.wait(scatter, last);
            }
        }
    }

    /// Groups beyond a stage: embeddings are shared by the first and the last, gradients are clipped by all together.
    fn shared(&mut self) {
        use OpType as T;
        let all = |builder: &Self, kind: OpType| -> Vec<usize> {
            builder.job.ops.iter().enumerate().filter(|(_, op)| op.kind == kind).map(|(at, _)| at).collect()
        };
        if self.job.reduces {
            for kind in [T::ParamsAllGather, T::GradsReduceScatter, T::SeparateGradsAllReduce] {
                let ops = all(self, kind);
                self.groups.extend(ops.into_iter().map(|op| vec![op]));
            }
        }
        for kind in [T::EmbeddingGradsAllReduce, T::ClipGrads] {
            let group = all(self, kind);
            if !group.is_empty() {
                self.groups.push(group);
            }
        }
    }
}

/// An order in which every operator comes behind what it waits for; an error names what waits for itself.
fn order(
    job: &Job,
    before: &[Vec<usize>],
    groups: &[Vec<usize>],
    group_of: &[Option<usize>],
) -> Result<Vec<Event>, String> {
    let mut waits: Vec<usize> = before.iter().map(Vec::len).collect();
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); before.len()];
    for (op, list) in before.iter().enumerate() {
        for &first in list {
            if let Some(after) = after.get_mut(first) {
                after.push(op);
            }
        }
    }
    let mut missing: Vec<usize> = groups.iter().map(Vec::len).collect();
    let mut ready: Vec<usize> = (0..before.len()).filter(|&op| waits.get(op) == Some(&0)).collect();
    let mut order = Vec::new();
    let mut begun = 0;
    let mut has_begun = vec![false; before.len()];
    while let Some(op) = ready.pop() {
        order.push(Event::Begin(op));
        begun += 1;
        if let Some(has_begun) = has_begun.get_mut(op) {
            *has_begun = true;
        }
        let single = [op];
        let ended: &[usize] = match group_of.get(op).copied().flatten() {
            None => {
                order.push(Event::End(op));
                &single
            }
            Some(group) => {
                let Some(left) = missing.get_mut(group) else { continue };
                *left -= 1;
                if *left > 0 {
                    continue;
                }
                order.push(Event::Meet(group));
                groups.get(group).map_or(&[][..], Vec::as_slice)
            }
        };
        for next in ended.iter().filter_map(|&op| after.get(op)).flatten() {
            if let Some(waits) = waits.get_mut(*next) {
                *waits -= 1;
                if *waits == 0 {
                    ready.push(*next);
                }
            }
        }
    }
    if begun == before.len() {
        return Ok(order);
    }
    let stuck = has_begun.iter().position(|begun| !begun).and_then(|place| job.ops.get(place));
    Err(format!("{} waits for itself in this schedule", stuck.map(text).unwrap_or_default()))
}
