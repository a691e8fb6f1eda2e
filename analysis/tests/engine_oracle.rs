//! The engine against programs whose every time is known.
//!
//! A small machine in this file runs random programs: threads, streams, events, collectives, hand-offs. It knows each
//! time's cause. The engine sees only the recording. Its replay must give every time, its critical path must be the
//! machine's chain of causes, and when durations change, its prediction must be what the machine does then.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::collections::BTreeMap;
use std::sync::Arc;

use gapless_analysis::graph::{EdgeKind, Graph, GraphInput, GraphOptions, NodeId, NodeKind};
use gapless_analysis::path::{Category, slack, step_path, step_windows, whole_path};
use gapless_analysis::replay::{Delta, Edit, Mode, Resources, Scenario, replay, replay_many, simulate};
use gapless_analysis::{ClockAlignment, match_collectives};
use gapless_trace::{
    ArgValue, Args, ArgsError, ArgsLoc, ArgsSource, BuildOptions, CollectiveArgs, EventKind, RawChunk, RawId, Source,
    Trace, TracePart, TrackKind,
};

/// Latencies of the machine, those that the engine takes where it has no samples.
const LAUNCH: i64 = 8_000;
const GAP: i64 = 1_000;
const EVENT: i64 = 2_000;
const RETURN: i64 = 5_000;
const CALL: i64 = 2_000;

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn range(&mut self, from: i64, to: i64) -> i64 {
        from + self.below((to - from) as u64) as i64
    }
}

/// What a thread does. Durations in ns.
#[derive(Clone, Debug)]
enum Op {
    /// Host work before the next call.
    Work(i64),
    /// A launch: duration of the call, stream, duration of the kernel.
    Launch(i64, usize, i64),
    /// A collective: duration of the call, stream, sequence number, this member's transfer.
    Collective(i64, usize, u64, i64),
    /// An event is recorded on a stream: its number.
    Record(usize, usize),
    /// A stream waits for an event.
    Wait(usize, usize),
    SyncStream(usize),
    SyncDevice,
    /// The other thread works: time to it, its program, time back.
    HandOff(i64, Vec<Op>, i64),
    StepBegin(u64),
    StepEnd(u64),
}

#[derive(Clone, Debug)]
struct Program {
    streams: usize,
    /// When each rank begins, and what it does.
    ranks: Vec<(i64, Vec<Op>)>,
}

fn program(rng: &mut Rng) -> Program {
    let (ranks, streams) = (1 + rng.below(3) as usize, 2 + rng.below(3) as usize);
    let steps = 1 + rng.below(3);
    // All ranks run the same collectives in the same order.
    let seed = rng.next();
    let list = (0..ranks)
        .map(|_| {
            let mut shape = Rng(seed);
            let mut own = Rng(rng.next());
            let mut ops = Vec::new();
            let (mut sequence, mut event) = (0, 0);
            for step in 0..steps {
                ops.push(Op::StepBegin(step));
                let pieces = 6 + shape.below(14);
                for _ in 0..pieces {
                    piece(&mut shape, &mut own, &mut ops, streams, ranks, &mut sequence, &mut event, true);
                }
                ops.push(Op::Work(own.range(1_000, 9_000)));
                ops.push(if shape.below(2) == 0 {
                    Op::SyncDevice
                } else {
                    Op::SyncStream(shape.below(streams as u64) as usize)
                });
                ops.push(Op::StepEnd(step));
            }
            ops.push(Op::SyncDevice);
            (own.range(0, 300_000), ops)
        })
        .collect();
    Program { streams, ranks: list }
}

fn piece(
    shape: &mut Rng,
    own: &mut Rng,
    ops: &mut Vec<Op>,
    streams: usize,
    ranks: usize,
    sequence: &mut u64,
    event: &mut usize,
    may_hand_off: bool,
) {
    let stream = shape.below(streams as u64) as usize;
    ops.push(Op::Work(own.range(1_000, 30_000)));
    let call = |own: &mut Rng| own.range(3_000, 9_000);
    match shape.below(if may_hand_off { 12 } else { 8 }) {
        0..6 => {
            let (cost, dur) = (call(own), own.range(2_000, 120_000));
            ops.push(Op::Launch(cost, stream, dur));
        }
        6 if ranks > 1 => {
            let cost = call(own);
            ops.push(Op::Collective(cost, 0, *sequence, own.range(5_000, 80_000)));
            *sequence += 1;
        }
        7 => {
            let other = (stream + 1) % streams;
            ops.push(Op::Record(stream, *event));
            ops.push(Op::Work(own.range(500, 3_000)));
            ops.push(Op::Wait(other, *event));
            *event += 1;
            ops.push(Op::Work(own.range(500, 3_000)));
            let (cost, dur) = (call(own), own.range(2_000, 60_000));
            ops.push(Op::Launch(cost, other, dur));
        }
        8 => ops.push(Op::SyncStream(stream)),
        9 => ops.push(Op::SyncDevice),
        10 => {
            // The waiting thread launches before and after, so that the pause can be seen.
            let (cost, dur) = (call(own), own.range(2_000, 60_000));
            ops.push(Op::Launch(cost, stream, dur));
            let mut inner = Vec::new();
            for _ in 0..4 + shape.below(4) {
                let stream = shape.below(streams as u64) as usize;
                let (cost, dur) = (call(own), own.range(2_000, 90_000));
                inner.push(Op::Launch(cost, stream, dur));
                inner.push(Op::Work(own.range(10_000, 30_000)));
            }
            let (cost, dur) = (call(own), own.range(2_000, 60_000));
            inner.push(Op::Launch(cost, stream, dur));
            ops.push(Op::HandOff(own.range(5_000, 20_000), inner, own.range(5_000, 20_000)));
            let (cost, dur) = (call(own), own.range(2_000, 60_000));
            ops.push(Op::Launch(cost, stream, dur));
        }
        _ => {
            let (cost, dur) = (call(own), own.range(2_000, 9_000));
            ops.push(Op::Launch(cost, stream, dur));
        }
    }
}

/// A time and what it came from.
#[derive(Clone, Copy, Debug)]
struct Cause {
    at: i64,
    before: Option<usize>,
    category: Category,
}

/// What happened, by name: start and end.
type Spans = BTreeMap<String, (i64, i64)>;

/// A recorded event.
struct Recorded {
    track: (TrackKind, i64, i64),
    kind: EventKind,
    name: String,
    span: (i64, i64),
    correlation: u32,
    args: Args,
    sequence: Option<u64>,
}

#[derive(Default)]
struct Run {
    causes: Vec<Cause>,
    events: Vec<Vec<Recorded>>,
    spans: Spans,
    last: Option<usize>,
    /// Arrivals by sequence and rank, and causes that stand for the last arrival of a collective.
    arrivals: BTreeMap<(u64, usize), usize>,
    late: Vec<(usize, u64)>,
}

impl Run {
    fn cause(&mut self, before: Option<usize>, by: i64, category: Category) -> usize {
        let at = before.map_or(0, |before: usize| self.causes[before].at) + by;
        self.causes.push(Cause { at, before, category });
        self.causes.len() - 1
    }

    fn at(&self, cause: usize) -> i64 {
        self.causes[cause].at
    }

    fn latest(&self, causes: &[usize]) -> usize {
        *causes.iter().max_by_key(|&&cause| self.at(cause)).unwrap()
    }

    fn end(&mut self, cause: usize) {
        if self.last.is_none_or(|last| self.at(last) < self.at(cause)) {
            self.last = Some(cause);
        }
    }
}

#[derive(Clone, Default)]
struct StreamState {
    /// End of the last work.
    free: Option<usize>,
    /// Marker after it, and whether one of them waits.
    marker: Option<(usize, bool)>,
}

struct Machine<'p> {
    program: &'p Program,
    /// Arrivals of each collective by sequence and rank, as far as they are known: the times of the last round.
    arrivals: BTreeMap<(u64, usize), i64>,
}

impl Machine<'_> {
    /// Runs the program until the arrivals of collectives stay as they are.
    fn run(program: &Program) -> Run {
        let mut machine = Machine { program, arrivals: BTreeMap::new() };
        loop {
            let mut run = Run::default();
            let mut found = BTreeMap::new();
            let starts: Vec<usize> =
                program.ranks.iter().map(|(offset, _)| run.cause(None, *offset, Category::Outside)).collect();
            for (rank, &start) in starts.iter().enumerate() {
                machine.rank(rank, start, &mut run, &mut found);
            }
            if found == machine.arrivals {
                // Who was late is known once all ranks have run.
                for (cause, sequence) in std::mem::take(&mut run.late) {
                    let members = run.arrivals.range((sequence, 0)..(sequence + 1, 0));
                    let last = members.map(|(_, &arrival)| arrival).max_by_key(|&arrival| run.at(arrival));
                    run.causes[cause].before = last;
                }
                return run;
            }
            machine.arrivals = found;
        }
    }

    fn rank(&self, rank: usize, start: usize, run: &mut Run, found: &mut BTreeMap<(u64, usize), i64>) {
        let mut state = Rank {
            machine: self,
            rank,
            streams: vec![StreamState::default(); self.program.streams],
            events: BTreeMap::new(),
            calls: 0,
            recorded: Vec::new(),
            steps: BTreeMap::new(),
            found,
        };
        let ops = &self.program.ranks[rank].1;
        let end = state.thread(1, start, ops, run);
        run.end(end);
        for stream in state.streams.clone() {
            if let Some(free) = stream.free {
                run.end(free);
            }
        }
        run.events.push(state.recorded);
    }
}

struct Rank<'m, 'p> {
    machine: &'m Machine<'p>,
    rank: usize,
    streams: Vec<StreamState>,
    /// When an event was recorded, by which call, on which stream.
    events: BTreeMap<usize, (usize, u32, usize)>,
    calls: u32,
    recorded: Vec<Recorded>,
    steps: BTreeMap<u64, i64>,
    found: &'m mut BTreeMap<(u64, usize), i64>,
}

impl Rank<'_, '_> {
    fn name(&self, what: &str) -> String {
        format!("{what} {} of rank {}", self.calls, self.rank)
    }

    fn call(&mut self, tid: i64, api: &str, span: (i64, i64)) {
        let correlation = self.calls;
        self.record((TrackKind::Thread, 4711, tid), EventKind::RuntimeCall, api.to_owned(), span, correlation);
        if tid == 2 {
            let name = "autograd::engine::evaluate_function: MmBackward0".to_owned();
            self.record((TrackKind::Thread, 4711, tid), EventKind::Operator, name, span, u32::MAX);
        }
    }

    fn record(
        &mut self,
        track: (TrackKind, i64, i64),
        kind: EventKind,
        name: String,
        span: (i64, i64),
        correlation: u32,
    ) {
        self.recorded.push(Recorded { track, kind, name, span, correlation, args: Args::new(), sequence: None });
    }

    /// Runs `ops` on a thread from `now` on; gives when it is done.
    fn thread(&mut self, tid: i64, mut now: usize, ops: &[Op], run: &mut Run) -> usize {
        for op in ops {
            self.calls += 1;
            let begun = run.at(now);
            match op {
                Op::Work(dur) => now = run.cause(Some(now), *dur, Category::Host),
                Op::Launch(cost, stream, dur) => {
                    let begins = self.begins(now, *stream, run);
                    let ends = run.cause(Some(begins), *dur, Category::Compute);
                    self.finish(*stream, ends);
                    let (name, span) = (self.name("kernel"), (run.at(begins), run.at(ends)));
                    run.spans.insert(name.clone(), span);
                    self.record((TrackKind::Stream, 0, *stream as i64), EventKind::Kernel, name, span, self.calls);
                    now = run.cause(Some(now), *cost, Category::LaunchCall);
                    self.call(tid, "cudaLaunchKernel", (begun, run.at(now)));
                }
                Op::Collective(cost, stream, sequence, transfer) => {
                    let begins = self.begins(now, *stream, run);
                    self.found.insert((*sequence, self.rank), run.at(begins));
                    let arrivals = self.machine.arrivals.range((*sequence, 0)..(*sequence + 1, 0));
                    let known = arrivals.map(|(_, at)| *at).max().unwrap_or(i64::MIN);
                    run.arrivals.insert((*sequence, self.rank), begins);
                    let meets = if known > run.at(begins) {
                        run.causes.push(Cause { at: known, before: None, category: Category::RankWait });
                        run.late.push((run.causes.len() - 1, *sequence));
                        run.causes.len() - 1
                    } else {
                        begins
                    };
                    let ends = run.cause(Some(meets), *transfer, Category::Communication);
                    self.finish(*stream, ends);
                    let span = (run.at(begins), run.at(ends));
                    run.spans.insert(self.name("collective"), span);
                    let name = "ncclDevKernel_AllReduce_Sum_f32_RING_LL".to_owned();
                    self.record((TrackKind::Stream, 0, *stream as i64), EventKind::Collective, name, span, self.calls);
                    self.recorded.last_mut().unwrap().sequence = Some(*sequence);
                    now = run.cause(Some(now), *cost, Category::LaunchCall);
                    self.call(tid, "cudaLaunchKernelExC", (begun, run.at(now)));
                }
                Op::Record(stream, event) => {
                    let marker = self.marker(now, *stream, None, run);
                    self.events.insert(*event, (marker, self.calls, *stream));
                    self.call(tid, "cudaEventRecord", (begun, begun + 1));
                    now = run.cause(Some(now), 1, Category::BlockingCall);
                }
                Op::Wait(stream, event) => {
                    let (recorded, record, source) = self.events[event];
                    self.marker(now, *stream, Some(recorded), run);
                    self.call(tid, "cudaStreamWaitEvent", (begun, begun + 1));
                    let span = (begun, begun + 1);
                    let track = (TrackKind::StreamSyncs, 0, *stream as i64);
                    self.record(track, EventKind::DeviceSync, "Stream Wait Event".to_owned(), span, self.calls);
                    self.recorded.last_mut().unwrap().args = vec![
                        ("wait_on_stream".to_owned(), ArgValue::Int(source as i64)),
                        ("wait_on_cuda_event_record_corr_id".to_owned(), ArgValue::Int(i64::from(record))),
                    ];
                    now = run.cause(Some(now), 1, Category::BlockingCall);
                }
                Op::SyncStream(stream) => {
                    let waits = self.tail(*stream);
                    now = self.wait(tid, now, &waits, "cudaStreamSynchronize", ("Stream Sync", *stream as i64), run);
                }
                Op::SyncDevice => {
                    let waits: Vec<usize> = (0..self.streams.len()).flat_map(|stream| self.tail(stream)).collect();
                    now = self.wait(tid, now, &waits, "cudaDeviceSynchronize", ("Context Sync", -1), run);
                }
                Op::HandOff(there, inner, back) => {
                    let begins = run.cause(Some(now), *there, Category::HandOff);
                    let done = self.thread(2, begins, inner, run);
                    now = run.cause(Some(done), *back, Category::HandOff);
                }
                Op::StepBegin(step) => {
                    self.steps.insert(*step, begun);
                }
                Op::StepEnd(step) => {
                    let span = (self.steps[step], begun);
                    self.record(
                        (TrackKind::Thread, 4711, 1),
                        EventKind::Step,
                        format!("ProfilerStep#{step}"),
                        span,
                        u32::MAX,
                    );
                }
            }
        }
        now
    }

    /// When work that is launched at `now` begins.
    fn begins(&mut self, now: usize, stream: usize, run: &mut Run) -> usize {
        let mut candidates = vec![run.cause(Some(now), LAUNCH, Category::LaunchLatency)];
        let state = self.streams[stream].clone();
        if let Some(free) = state.free {
            candidates.push(run.cause(Some(free), GAP, Category::KernelGap));
        }
        if let Some((marker, true)) = state.marker {
            candidates.push(marker);
        }
        run.latest(&candidates)
    }

    fn finish(&mut self, stream: usize, ends: usize) {
        self.streams[stream] = StreamState { free: Some(ends), marker: None };
    }

    fn marker(&mut self, now: usize, stream: usize, recorded: Option<usize>, run: &mut Run) -> usize {
        let mut candidates = vec![now];
        let state = self.streams[stream].clone();
        candidates.extend(state.free);
        candidates.extend(state.marker.map(|marker| marker.0));
        if let Some(recorded) = recorded {
            candidates.push(run.cause(Some(recorded), EVENT, Category::EventLatency));
        }
        let marker = run.latest(&candidates);
        let waits = recorded.is_some() || state.marker.is_some_and(|marker| marker.1);
        self.streams[stream].marker = Some((marker, waits));
        marker
    }

    fn tail(&self, stream: usize) -> Vec<usize> {
        let state = &self.streams[stream];
        state.marker.map(|marker| marker.0).or(state.free).into_iter().collect()
    }

    fn wait(&mut self, tid: i64, now: usize, waits: &[usize], api: &str, row: (&str, i64), run: &mut Run) -> usize {
        let begun = run.at(now);
        let mut candidates = vec![run.cause(Some(now), CALL, Category::BlockingCall)];
        for &wait in waits {
            candidates.push(run.cause(Some(wait), RETURN, Category::SyncReturn));
        }
        let back = run.latest(&candidates);
        let span = (begun, run.at(back));
        self.call(tid, api, span);
        let track = (TrackKind::StreamSyncs, 0, row.1);
        self.record(track, EventKind::DeviceSync, row.0.to_owned(), span, self.calls);
        back
    }
}

/// Arguments by place.
#[derive(Debug)]
struct Table(Vec<Args>);

impl ArgsSource for Table {
    fn args(&self, loc: ArgsLoc) -> Result<Args, ArgsError> {
        Ok(self.0.get(loc.offset() as usize).cloned().unwrap_or_default())
    }
}

fn trace_of(run: &Run) -> Trace {
    let mut parts = Vec::new();
    for (rank, events) in run.events.iter().enumerate() {
        let mut chunk = RawChunk::default();
        let mut table = vec![Args::new()];
        for event in events {
            let track = chunk.track(event.track.0, RawId::Int(event.track.1), RawId::Int(event.track.2));
            let name = chunk.strings.intern(&event.name);
            let category = chunk.strings.intern(event.kind.id());
            let loc = if event.args.is_empty() {
                ArgsLoc::NONE
            } else {
                table.push(event.args.clone());
                ArgsLoc::new(table.len() as u64 - 1, 1).unwrap()
            };
            let (start, end) = event.span;
            chunk.push(start, end - start, name, category, event.kind, track, event.correlation, u32::MAX, loc);
            if let Some(sequence) = event.sequence {
                let mut intern = |text: &str| chunk.strings.intern(text);
                let (name, dtype, group) = (intern("allreduce"), intern("Float"), intern("0"));
                chunk.collectives.push(CollectiveArgs {
                    event: chunk.len() as u32 - 1,
                    name,
                    dtype,
                    group,
                    group_desc: group,
                    in_elems: Some(1_024),
                    out_elems: Some(1_024),
                    group_size: Some(run.events.len() as u32),
                    seq: Some(sequence),
                });
            }
        }
        let source = Source { path: format!("rank{rank}"), format: "made by hand".to_owned(), ..Source::default() };
        let mut part = TracePart::new(source);
        part.info.rank = Some(rank as u32);
        part.chunks.push(chunk);
        part.args = Arc::new(Table(table));
        parts.push(part);
    }
    Trace::from_parts(parts, &BuildOptions::default()).unwrap()
}

/// Nodes by the name of their event and by whether they begin or end it.
struct Found {
    starts: BTreeMap<String, NodeId>,
    ends: BTreeMap<String, NodeId>,
}

/// The name under which the machine knows a device event: that of its launch's number.
fn names(trace: &Trace, graph: &Graph) -> Found {
    let mut found = Found { starts: BTreeMap::new(), ends: BTreeMap::new() };
    for id in graph.node_ids() {
        let node = graph.node(id);
        let Some(event) = node.event.filter(|_| node.place.is_some_and(|place| place.is_device)) else { continue };
        let number = trace.event(event).correlation.unwrap();
        let rank = node.place.unwrap().rank.0;
        match node.kind {
            NodeKind::Kernel => {
                let name = trace.name(event).to_owned();
                found.starts.insert(name.clone(), id);
                found.ends.insert(name, id);
            }
            NodeKind::Arrival => {
                found.starts.insert(format!("collective {number} of rank {rank}"), id);
            }
            NodeKind::Transfer => {
                found.ends.insert(format!("collective {number} of rank {rank}"), id);
            }
            _ => {}
        }
    }
    found
}

/// Changes one duration of the program; gives the change in the graph.
fn change(program: &mut Program, rng: &mut Rng, trace: &Trace, graph: &Graph) -> Option<(NodeId, i64)> {
    let rank = rng.below(program.ranks.len() as u64) as usize;
    // Calls are numbered as the machine counts them.
    let mut number = 0;
    let mut list: Vec<(u32, *const Op)> = Vec::new();
    fn walk(ops: &[Op], number: &mut u32, list: &mut Vec<(u32, *const Op)>) {
        for op in ops {
            *number += 1;
            list.push((*number, op));
            if let Op::HandOff(_, inner, _) = op {
                walk(inner, number, list);
            }
        }
    }
    walk(&program.ranks[rank].1, &mut number, &mut list);
    let place = rng.below(list.len() as u64) as usize;
    let wanted = list[place].0;
    let dur = rng.range(0, 150_000);
    fn edit(ops: &mut [Op], number: &mut u32, wanted: u32, dur: i64) -> Option<&'static str> {
        for op in ops {
            *number += 1;
            let here = *number == wanted;
            match op {
                Op::Launch(_, _, own) if here => {
                    *own = dur;
                    return Some("kernel");
                }
                Op::Collective(_, _, _, own) if here => {
                    *own = dur;
                    return Some("collective");
                }
                Op::HandOff(_, inner, _) => {
                    if let Some(found) = edit(inner, number, wanted, dur) {
                        return Some(found);
                    }
                }
                _ => {}
            }
        }
        None
    }
    let what = edit(&mut program.ranks[rank].1, &mut 0, wanted, dur)?;
    let found = names(trace, graph);
    let node = *found.ends.get(&format!("{what} {wanted} of rank {rank}"))?;
    Some((node, dur))
}

struct Case {
    program: Program,
    run: Run,
    trace: Trace,
    graph: Graph,
}

fn case(seed: u64) -> Case {
    let program = program(&mut Rng(seed));
    let run = Machine::run(&program);
    let trace = trace_of(&run);
    let clocks = ClockAlignment::identity(&trace);
    let collectives = match_collectives(&trace, &clocks);
    let input = GraphInput { clocks: &clocks, collectives: &collectives };
    let graph = Graph::new(&trace, &input, &GraphOptions::default());
    Case { program, run, trace, graph }
}

/// Every time of the machine, by name, is the replay's.
fn same(run: &Run, found: &Found, start: impl Fn(NodeId) -> i64, dur: impl Fn(NodeId) -> i64, what: &str) {
    for (name, &(from, to)) in &run.spans {
        let (first, last) = (found.starts[name], found.ends[name]);
        assert_eq!((start(first), start(last) + dur(last)), (from, to), "{name}, {what}");
    }
}

#[test]
fn the_model_knows_the_machine_and_predicts_it() {
    let mut edits = 0;
    for seed in 0..60 {
        let Case { program, run, trace, graph } = case(seed);
        assert!(graph.reports().all(|(_, report)| report.contradicted + report.circular == 0), "seed {seed}");
        let found = names(&trace, &graph);
        let model = replay(&Scenario::new(&graph, Mode::Model));
        for id in graph.node_ids() {
            let node = graph.node(id);
            assert_eq!(
                model.start_ns(id),
                node.start_ns,
                "seed {seed}: {node:?} {:?}",
                graph.edges_to(id).collect::<Vec<_>>()
            );
        }
        same(&run, &found, |id| model.start_ns(id), |id| graph.node(id).dur_ns, "as recorded");
        let mut rng = Rng(seed ^ 0xabcd);
        let mut delta = Delta::new(Scenario::new(&graph, Mode::Model));
        let mut changed = program.clone();
        let mut scenario = Scenario::new(&graph, Mode::Model);
        let mut scenarios = Vec::new();
        let mut ends = Vec::new();
        for _ in 0..12 {
            let Some((node, dur)) = change(&mut changed, &mut rng, &trace, &graph) else { continue };
            edits += 1;
            let truth = Machine::run(&changed);
            scenario.set_duration(node, dur);
            delta.apply(&[Edit::Duration(node, dur)]);
            let predicted = replay(&scenario);
            let what = format!("seed {seed} after an edit");
            same(&truth, &found, |id| predicted.start_ns(id), |id| scenario.duration_ns(id), &what);
            assert_eq!(predicted.end_ns, truth.at(truth.last.unwrap()), "{what}");
            assert_eq!(&predicted, delta.times(), "{what}");
            ends.push(predicted);
            scenarios.push(scenario.clone());
        }
        assert_eq!(replay_many(&scenarios), ends, "seed {seed}");
    }
    assert!(edits >= 200, "only {edits} edits");
}

#[test]
fn the_critical_path_is_the_chain_of_causes() {
    for seed in 0..200 {
        let Case { run, graph, .. } = case(seed);
        let path = whole_path(&graph);
        assert_eq!(path.end_ns, run.at(run.last.unwrap()), "seed {seed}");
        assert_eq!(path.partition.total_ns(), path.end_ns - graph.origin_ns(), "seed {seed}");
        assert_eq!(path.partition.of(Category::Unexplained), 0, "seed {seed}");
        let mut times: BTreeMap<Category, i64> = BTreeMap::new();
        let mut at = run.last;
        while let Some(cause) = at {
            let cause = run.causes[cause];
            let from = cause.before.map_or(graph.origin_ns(), |before| run.at(before)).max(graph.origin_ns());
            *times.entry(cause.category).or_default() += cause.at - from;
            at = cause.before;
        }
        times.retain(|_, time| *time > 0);
        let own: BTreeMap<Category, i64> =
            path.partition.shares().into_iter().map(|share| (share.category, share.ns)).collect();
        assert_eq!(own, times, "seed {seed}");
        // Nodes of the path cannot be later without delaying its end.
        let slack = slack(&graph, path.last.unwrap(), graph.origin_ns());
        assert!(path.nodes.iter().all(|&id| slack.of(id) == Some(0)), "seed {seed}");
        // Those with slack can, by just as much.
        let mut rng = Rng(seed);
        let free: Vec<(NodeId, i64)> =
            slack.nodes().filter(|(id, slack)| *slack > 0 && graph.node(*id).dur_ns > 0).collect();
        for _ in 0..4.min(free.len()) {
            let (id, room) = free[rng.below(free.len() as u64) as usize];
            let mut scenario = Scenario::new(&graph, Mode::Identity);
            scenario.set_delay(id, graph.node(id).residual_ns + room);
            let last = path.last.unwrap();
            assert_eq!(replay(&scenario).start_ns(last), graph.node(last).start_ns, "seed {seed}");
            scenario.set_delay(id, graph.node(id).residual_ns + room + 7);
            assert_eq!(replay(&scenario).start_ns(last), graph.node(last).start_ns + 7, "seed {seed}");
        }
    }
}

#[test]
fn steps_are_partitioned_exactly_and_follow_one_another() {
    for seed in 0..40 {
        let Case { program, graph, .. } = case(seed);
        let steps = program.ranks[0].1.iter().filter(|op| matches!(op, Op::StepEnd(_))).count();
        assert_eq!(graph.steps().len(), steps);
        let windows = step_windows(&graph);
        assert!(windows.windows(2).all(|pair| pair[0].1 <= pair[1].0));
        for (place, &(from, to)) in windows.iter().enumerate() {
            let path = step_path(&graph, place).unwrap();
            assert_eq!((path.start_ns, path.end_ns), (from, to));
            assert_eq!(path.partition.total_ns(), to - from);
            let mut at = from;
            for segment in &path.segments {
                assert_eq!(segment.start_ns, at);
                at = segment.end_ns;
            }
            assert_eq!(at, to);
        }
    }
}

#[test]
fn the_event_simulation_agrees_with_the_pass() {
    for seed in 0..60 {
        let Case { graph, program, trace, .. } = case(seed);
        let scenario = Scenario::new(&graph, Mode::Model);
        let resources = Resources::streams(&graph);
        let simulated = simulate(&scenario, &resources).unwrap();
        assert_eq!(simulated, replay(&scenario), "seed {seed}");
        // Durations do not change the order of launches on a stream unless threads race, and they do not here.
        let (mut changed, mut rng) = (program, Rng(seed));
        let mut scenario = scenario;
        for _ in 0..5 {
            if let Some((node, dur)) = change(&mut changed, &mut rng, &trace, &graph) {
                scenario.set_duration(node, dur);
            }
        }
        assert_eq!(simulate(&scenario, &resources).unwrap(), replay(&scenario), "seed {seed}, edited");
    }
}

#[test]
fn every_kind_of_edge_occurs() {
    let mut seen: BTreeMap<EdgeKind, u64> = BTreeMap::new();
    for seed in 0..60 {
        let Case { graph, .. } = case(seed);
        for (kind, report) in graph.reports() {
            *seen.entry(kind).or_default() += report.edges;
        }
    }
    for kind in [
        EdgeKind::ThreadOrder,
        EdgeKind::Launch,
        EdgeKind::StreamOrder,
        EdgeKind::EventWait,
        EdgeKind::SyncReturn,
        EdgeKind::HandOff,
        EdgeKind::Arrive,
        EdgeKind::Transfer,
    ] {
        assert!(seen[&kind] > 50, "{kind:?}: {}", seen[&kind]);
    }
}
