//! A machine that runs programs of threads, streams and ranks, and records what it did.
//!
//! Tests change a program and run it again: what comes out is the truth that predictions from the first recording are
//! held against. Programs also make traces with known faults. All times in ns. The engine's own oracle has a machine that
//! also knows what caused what, which critical paths are held against; this one can be changed and asked to run again.
#![allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::collections::BTreeMap;
use std::sync::Arc;

use gapless_trace::{
    ArgValue, Args, ArgsError, ArgsLoc, ArgsSource, BuildOptions, CollectiveArgs, DeviceInfo, EventKind, RawChunk,
    RawId, Source, Trace, TracePart, TrackKind,
};

/// Latencies of the machine: those that the engine takes where it has no samples.
pub const LAUNCH: i64 = 8_000;
pub const GAP: i64 = 1_000;
pub const EVENT: i64 = 2_000;
pub const RETURN: i64 = 5_000;
pub const CALL: i64 = 2_000;

/// SplitMix64.
#[derive(Clone)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn range(&mut self, from: i64, to: i64) -> i64 {
        from + self.below((to - from) as u64) as i64
    }
}

/// Device work of one launch.
#[derive(Clone, Debug)]
pub struct Kernel {
    pub name: String,
    pub dur: i64,
    pub args: Args,
}

pub fn kernel(name: &str, dur: i64) -> Kernel {
    Kernel { name: name.to_owned(), dur, args: Args::new() }
}

/// What a thread does.
#[derive(Clone, Debug)]
pub enum Op {
    /// Host work.
    Work(i64),
    /// A framework operator around what it does; arguments may hold shapes (`Input Dims`, `Input type`).
    Operator(String, Args, Vec<Op>),
    /// A Python frame.
    Python(String, Vec<Op>),
    /// An annotation of the user (`Optimizer.step#Adam.step`).
    Annotation(String, Vec<Op>),
    /// A kernel: duration of the call, stream.
    Launch(i64, i64, Kernel),
    /// A kernel whose launch waits until it has ended: stream.
    BlockingLaunch(i64, Kernel),
    /// One call that launches many kernels, one after the other.
    Graph(i64, i64, Vec<Kernel>),
    /// A copy: duration of the call, stream, `Memcpy HtoD (Pageable -> Device)` and so on, bytes, duration. Blocks if the
    /// flag says so: the call returns when the copy is done.
    Copy {
        cost: i64,
        stream: i64,
        name: String,
        bytes: u64,
        dur: i64,
        blocks: bool,
    },
    /// A fill.
    Fill(i64, i64, i64),
    /// A collective: duration of the call, stream, its description, this member's transfer.
    Collective {
        cost: i64,
        stream: i64,
        what: Collective,
        transfer: i64,
    },
    /// An event is recorded on a stream: stream, number.
    Record(i64, usize),
    /// A stream waits for an event.
    Wait(i64, usize),
    SyncStream(i64),
    SyncDevice,
    /// A call that blocks until the device is idle and costs this much by itself: `cudaMalloc`, `cudaFree`.
    Blocking(String, i64),
    /// Another thread works: number of the thread, time to it, its program, time back.
    HandOff {
        thread: i64,
        there: i64,
        ops: Vec<Op>,
        back: i64,
    },
    /// `enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__` takes this long.
    Load(i64),
    /// A collection of garbage.
    Gc(i64),
    StepBegin(u64),
    StepEnd(u64),
}

/// A collective over all ranks of a group.
#[derive(Clone, Debug)]
pub struct Collective {
    /// `allreduce`, `all_gather`, `reduce_scatter`, `all_to_all`, …
    pub name: String,
    pub group: String,
    /// Equal on all members, ascending in the group.
    pub sequence: u64,
    pub elements: u64,
    pub dtype: String,
}

pub fn launch(stream: i64, name: &str, dur: i64) -> Op {
    Op::Launch(4_000, stream, kernel(name, dur))
}

/// An operator that works a little on the host and launches one kernel.
pub fn op(name: &str, host: i64, stream: i64, kernel_name: &str, dur: i64) -> Op {
    Op::Operator(name.to_owned(), Args::new(), vec![Op::Work(host), launch(stream, kernel_name, dur), Op::Work(1_000)])
}

/// Arguments of an operator: dimensions, types and values of its inputs.
pub fn inputs(dims: &[&[i64]], types: &[&str], values: &[&str]) -> Args {
    let texts = |texts: &[&str]| ArgValue::List(texts.iter().map(|text| ArgValue::Text((*text).to_owned())).collect());
    let numbers = |numbers: &[i64]| ArgValue::List(numbers.iter().map(|&number| ArgValue::Int(number)).collect());
    vec![
        ("Input Dims".to_owned(), ArgValue::List(dims.iter().map(|dims| numbers(dims)).collect())),
        ("Input type".to_owned(), texts(types)),
        ("Concrete Inputs".to_owned(), texts(values)),
    ]
}

/// An operator with inputs that launches one kernel.
pub fn op_with(name: &str, args: Args, stream: i64, kernel_name: &str, dur: i64) -> Op {
    Op::Operator(name.to_owned(), args, vec![Op::Work(5_000), launch(stream, kernel_name, dur), Op::Work(1_000)])
}

pub fn all_reduce(stream: i64, sequence: u64, elements: u64, transfer: i64) -> Op {
    let what = Collective {
        name: "allreduce".to_owned(),
        group: "0".to_owned(),
        sequence,
        elements,
        dtype: "Float".to_owned(),
    };
    Op::Collective { cost: 5_000, stream, what, transfer }
}

/// All ranks of a job.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// When each rank begins, and what its first thread does.
    pub ranks: Vec<(i64, Vec<Op>)>,
    /// Name of the device; `NVIDIA A100-SXM4-80GB` for example.
    pub device: String,
    /// Hosts of the ranks; empty for one host.
    pub hosts: Vec<String>,
    /// From a launch to its work, in ns; [`LAUNCH`] if not given.
    pub launch_latency: Option<i64>,
}

impl Program {
    pub fn one(ops: Vec<Op>) -> Self {
        Self { ranks: vec![(0, ops)], ..Self::default() }
    }

    pub fn of(ranks: Vec<Vec<Op>>) -> Self {
        Self { ranks: ranks.into_iter().map(|ops| (0, ops)).collect(), ..Self::default() }
    }

    /// Applies a change to every operation of every thread, outermost first.
    pub fn change(&mut self, mut f: impl FnMut(usize, &mut Op)) {
        fn walk(rank: usize, ops: &mut [Op], f: &mut dyn FnMut(usize, &mut Op)) {
            for op in ops {
                f(rank, op);
                match op {
                    Op::Operator(_, _, ops) | Op::Python(_, ops) | Op::Annotation(_, ops) | Op::HandOff { ops, .. } => {
                        walk(rank, ops, f);
                    }
                    _ => {}
                }
            }
        }
        for (rank, (_, ops)) in self.ranks.iter_mut().enumerate() {
            walk(rank, ops, &mut f);
        }
    }
}

struct Recorded {
    track: (TrackKind, i64, i64),
    kind: EventKind,
    name: String,
    span: (i64, i64),
    correlation: u32,
    args: Args,
    collective: Option<Collective>,
}

/// What happened.
pub struct Run {
    events: Vec<Vec<Recorded>>,
    hosts: Vec<String>,
    device: String,
    /// Begin and completion of each step over all ranks: marks passed and launched work done.
    pub steps: Vec<(i64, i64)>,
    /// End of everything, and the earliest begin.
    pub end: i64,
    pub begin: i64,
}

impl Run {
    /// Mean length of a step, from completion to completion or from its own mark if that is later.
    pub fn mean_step(&self) -> f64 {
        let mut before = i64::MIN;
        let mut sum = 0;
        for &(begun, ended) in &self.steps {
            sum += ended - before.max(begun).min(ended);
            before = before.max(ended);
        }
        if self.steps.is_empty() { (self.end - self.begin) as f64 } else { sum as f64 / self.steps.len() as f64 }
    }
}

type Key = (String, u64);

#[derive(Clone, Default)]
struct Stream {
    free: Option<i64>,
    marker: Option<(i64, bool)>,
}

struct Rank<'m> {
    rank: usize,
    launch_latency: i64,
    arrivals: &'m BTreeMap<(Key, usize), i64>,
    found: BTreeMap<(Key, usize), i64>,
    streams: BTreeMap<i64, Stream>,
    events: BTreeMap<usize, (i64, u32, i64)>,
    calls: u32,
    recorded: Vec<Recorded>,
    step: Option<(u64, i64)>,
    /// Begin, end of marks and of work launched in it, by number.
    steps: BTreeMap<u64, (i64, i64)>,
    end: i64,
}

/// Runs a program until the arrivals at collectives stay as they are.
pub fn run(program: &Program) -> Run {
    let mut arrivals = BTreeMap::new();
    loop {
        let mut found = BTreeMap::new();
        let mut events = Vec::new();
        let mut steps: BTreeMap<u64, (i64, i64)> = BTreeMap::new();
        let mut end = 0;
        for (rank, (offset, ops)) in program.ranks.iter().enumerate() {
            let mut state = Rank {
                rank,
                launch_latency: program.launch_latency.unwrap_or(LAUNCH),
                arrivals: &arrivals,
                found: BTreeMap::new(),
                streams: BTreeMap::new(),
                events: BTreeMap::new(),
                calls: 0,
                recorded: Vec::new(),
                step: None,
                steps: BTreeMap::new(),
                end: 0,
            };
            let ended = state.thread(1, *offset, ops);
            end = end.max(ended).max(state.end);
            found.append(&mut state.found);
            for (number, (begun, ended)) in state.steps {
                let entry = steps.entry(number).or_insert((begun, ended));
                *entry = (entry.0.min(begun), entry.1.max(ended));
            }
            events.push(state.recorded);
        }
        if found == arrivals {
            let begin = program.ranks.iter().map(|(offset, _)| *offset).min().unwrap_or(0);
            return Run {
                events,
                hosts: program.hosts.clone(),
                device: program.device.clone(),
                steps: steps.into_values().collect(),
                end,
                begin,
            };
        }
        arrivals = found;
    }
}

impl Rank<'_> {
    fn record(&mut self, track: (TrackKind, i64, i64), kind: EventKind, name: &str, span: (i64, i64), linked: bool) {
        let correlation = if linked { self.calls } else { u32::MAX };
        let name = name.to_owned();
        self.recorded.push(Recorded { track, kind, name, span, correlation, args: Args::new(), collective: None });
    }

    fn call(&mut self, thread: i64, api: &str, span: (i64, i64)) {
        self.record((TrackKind::Thread, 4711, thread), EventKind::RuntimeCall, api, span, true);
    }

    fn range(&mut self, thread: i64, kind: EventKind, name: &str, args: &Args, now: i64, ops: &[Op]) -> i64 {
        let place = self.recorded.len();
        self.record((TrackKind::Thread, 4711, thread), kind, name, (now, now), false);
        self.recorded[place].args = args.clone();
        let end = self.thread(thread, now, ops);
        self.recorded[place].span.1 = end;
        end
    }

    fn thread(&mut self, thread: i64, mut now: i64, ops: &[Op]) -> i64 {
        for op in ops {
            let begun = now;
            match op {
                Op::Work(dur) => now += dur,
                Op::Operator(name, args, ops) => now = self.range(thread, EventKind::Operator, name, args, now, ops),
                Op::Python(name, ops) => {
                    now = self.range(thread, EventKind::PythonFunction, name, &Args::new(), now, ops);
                }
                Op::Annotation(name, ops) => {
                    now = self.range(thread, EventKind::Annotation, name, &Args::new(), now, ops);
                }
                Op::Launch(cost, stream, kernel) => {
                    self.calls += 1;
                    now += cost;
                    self.call(thread, "cudaLaunchKernel", (begun, now));
                    self.device(begun, *stream, EventKind::Kernel, &kernel.name, kernel.dur, &kernel.args);
                }
                Op::BlockingLaunch(stream, kernel) => {
                    self.calls += 1;
                    now =
                        self.device(begun, *stream, EventKind::Kernel, &kernel.name, kernel.dur, &kernel.args) + RETURN;
                    self.call(thread, "cudaLaunchKernel", (begun, now));
                }
                Op::Graph(cost, stream, kernels) => {
                    self.calls += 1;
                    now += cost;
                    self.call(thread, "cudaGraphLaunch", (begun, now));
                    for kernel in kernels {
                        self.device(begun, *stream, EventKind::Kernel, &kernel.name, kernel.dur, &kernel.args);
                    }
                }
                Op::Copy { cost, stream, name, bytes, dur, blocks } => {
                    self.calls += 1;
                    let args = vec![("bytes".to_owned(), ArgValue::Int(*bytes as i64))];
                    let end = self.device(begun, *stream, EventKind::Memcpy, name, *dur, &args);
                    now += cost;
                    if *blocks {
                        now = now.max(end + RETURN);
                    }
                    self.call(thread, "cudaMemcpyAsync", (begun, now));
                }
                Op::Fill(cost, stream, dur) => {
                    self.calls += 1;
                    now += cost;
                    self.call(thread, "cudaMemsetAsync", (begun, now));
                    self.device(begun, *stream, EventKind::Memset, "Memset (Device)", *dur, &Args::new());
                }
                Op::Collective { cost, stream, what, transfer } => {
                    self.calls += 1;
                    now += cost;
                    self.call(thread, "cudaLaunchKernelExC", (begun, now));
                    let begins = self.begins(begun, *stream);
                    let key = (what.group.clone(), what.sequence);
                    self.found.insert((key.clone(), self.rank), begins);
                    let all = self.arrivals.range((key.clone(), 0)..=(key, usize::MAX));
                    let meets = all.map(|(_, &at)| at).max().unwrap_or(begins).max(begins);
                    let end = meets + transfer;
                    self.finish(*stream, end);
                    let name = format!("ncclDevKernel_{}_f32_RING_LL", what.name);
                    self.record((TrackKind::Stream, 0, *stream), EventKind::Collective, &name, (begins, end), true);
                    self.recorded.last_mut().unwrap().collective = Some(what.clone());
                }
                Op::Record(stream, event) => {
                    self.calls += 1;
                    let marker = self.marker(now, *stream, None);
                    self.events.insert(*event, (marker, self.calls, *stream));
                    now += 1;
                    self.call(thread, "cudaEventRecord", (begun, now));
                }
                Op::Wait(stream, event) => {
                    self.calls += 1;
                    let (recorded, record, source) = self.events[event];
                    self.marker(now, *stream, Some(recorded));
                    now += 1;
                    self.call(thread, "cudaStreamWaitEvent", (begun, now));
                    let track = (TrackKind::StreamSyncs, 0, *stream);
                    self.record(track, EventKind::DeviceSync, "Stream Wait Event", (begun, now), true);
                    self.recorded.last_mut().unwrap().args = vec![
                        ("wait_on_stream".to_owned(), ArgValue::Int(source)),
                        ("wait_on_cuda_event_record_corr_id".to_owned(), ArgValue::Int(i64::from(record))),
                    ];
                }
                Op::SyncStream(stream) => {
                    let waits = self.tail(*stream).into_iter().collect::<Vec<_>>();
                    now = self.wait(thread, now, CALL, &waits, "cudaStreamSynchronize", Some(("Stream Sync", *stream)));
                }
                Op::SyncDevice => {
                    let waits = self.all_tails();
                    now = self.wait(thread, now, CALL, &waits, "cudaDeviceSynchronize", Some(("Context Sync", -1)));
                }
                Op::Blocking(api, cost) => {
                    let waits = self.all_tails();
                    now = self.wait(thread, now, *cost, &waits, api, None);
                }
                Op::HandOff { thread: other, there, ops, back } => {
                    now = self.thread(*other, now + there, ops) + back;
                }
                Op::Load(dur) => {
                    now += dur;
                    let name = "enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__";
                    self.record((TrackKind::Thread, 4711, thread), EventKind::Operator, name, (begun, now), false);
                }
                Op::Gc(dur) => {
                    now += dur;
                    self.record((TrackKind::Thread, 4711, thread), EventKind::Annotation, "gc", (begun, now), false);
                }
                Op::StepBegin(number) => self.step = Some((*number, now)),
                Op::StepEnd(number) => {
                    let (_, begun) = self.step.take().unwrap();
                    let entry = self.steps.entry(*number).or_insert((begun, now));
                    *entry = (entry.0.min(begun), entry.1.max(now));
                    let name = format!("ProfilerStep#{number}");
                    self.record((TrackKind::Thread, 4711, thread), EventKind::Step, &name, (begun, now), false);
                }
            }
        }
        now
    }

    fn device(&mut self, now: i64, stream: i64, kind: EventKind, name: &str, dur: i64, args: &Args) -> i64 {
        let begins = self.begins(now, stream);
        let end = begins + dur;
        self.finish(stream, end);
        self.record((TrackKind::Stream, 0, stream), kind, name, (begins, end), true);
        self.recorded.last_mut().unwrap().args = args.clone();
        end
    }

    fn begins(&mut self, now: i64, stream: i64) -> i64 {
        let state = self.streams.entry(stream).or_default();
        let mut begins = now + self.launch_latency;
        if let Some(free) = state.free {
            begins = begins.max(free + GAP);
        }
        if let Some((marker, true)) = state.marker {
            begins = begins.max(marker);
        }
        begins
    }

    fn finish(&mut self, stream: i64, end: i64) {
        self.streams.insert(stream, Stream { free: Some(end), marker: None });
        self.end = self.end.max(end);
        if let Some((number, begun)) = self.step {
            let entry = self.steps.entry(number).or_insert((begun, end));
            entry.1 = entry.1.max(end);
        }
    }

    fn marker(&mut self, now: i64, stream: i64, recorded: Option<i64>) -> i64 {
        let state = self.streams.entry(stream).or_default();
        let before = [Some(now), state.free, state.marker.map(|marker| marker.0), recorded.map(|at| at + EVENT)];
        let marker = before.into_iter().flatten().max().unwrap();
        let waits = recorded.is_some() || state.marker.is_some_and(|marker| marker.1);
        state.marker = Some((marker, waits));
        marker
    }

    fn tail(&self, stream: i64) -> Option<i64> {
        let state = self.streams.get(&stream)?;
        state.marker.map(|marker| marker.0).or(state.free)
    }

    fn all_tails(&self) -> Vec<i64> {
        self.streams.keys().filter_map(|&stream| self.tail(stream)).collect()
    }

    fn wait(&mut self, thread: i64, now: i64, cost: i64, waits: &[i64], api: &str, row: Option<(&str, i64)>) -> i64 {
        self.calls += 1;
        let back = waits.iter().map(|wait| wait + RETURN).max().unwrap_or(0).max(now + cost);
        self.call(thread, api, (now, back));
        if let Some((name, stream)) = row {
            self.record((TrackKind::StreamSyncs, 0, stream), EventKind::DeviceSync, name, (now, back), true);
        }
        back
    }
}

#[derive(Debug)]
struct Table(Vec<Args>);

impl ArgsSource for Table {
    fn args(&self, loc: ArgsLoc) -> Result<Args, ArgsError> {
        Ok(self.0.get(loc.offset() as usize).cloned().unwrap_or_default())
    }
}

/// Ranks that take part in the collectives of a group.
fn members_of(run: &Run, group: &str) -> u32 {
    let takes_part = |events: &&Vec<Recorded>| {
        events.iter().any(|event| event.collective.as_ref().is_some_and(|what| what.group == group))
    };
    run.events.iter().filter(takes_part).count() as u32
}

/// What headers say of a device of this name.
fn device_info(name: &str) -> DeviceInfo {
    let (multiprocessors, compute_capability) = match name {
        name if name.contains("A100") => (Some(108), Some((8, 0))),
        name if name.contains("V100") => (Some(80), Some((7, 0))),
        _ => (None, None),
    };
    DeviceInfo { name: name.to_owned(), multiprocessors, compute_capability, ..DeviceInfo::default() }
}

/// The recording of a run, as a reader would hand it over.
pub fn trace(run: &Run) -> Trace {
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
            if event.kind == EventKind::Memcpy
                && let Some(bytes) = event.args.iter().find(|arg| arg.0 == "bytes").and_then(|arg| arg.1.as_i64())
            {
                chunk.copy_bytes.push((chunk.len() as u32 - 1, bytes as u64));
            }
            if let Some(what) = &event.collective {
                let mut intern = |text: &str| chunk.strings.intern(text);
                let (name, dtype, group) = (intern(&what.name), intern(&what.dtype), intern(&what.group));
                chunk.collectives.push(CollectiveArgs {
                    event: chunk.len() as u32 - 1,
                    name,
                    dtype,
                    group,
                    group_desc: group,
                    in_elems: Some(what.elements),
                    out_elems: Some(what.elements),
                    group_size: Some(members_of(run, &what.group)),
                    seq: Some(what.sequence),
                });
            }
        }
        let source = Source { path: format!("rank{rank}"), format: "made by hand".to_owned(), ..Source::default() };
        let mut part = TracePart::new(source);
        part.info.rank = Some(rank as u32);
        part.info.world_size = Some(run.events.len() as u32);
        part.info.host = run.hosts.get(rank).cloned();
        if !run.device.is_empty() {
            part.info.devices = vec![device_info(&run.device)];
        }
        part.chunks.push(chunk);
        part.args = Arc::new(Table(table));
        parts.push(part);
    }
    Trace::from_parts(parts, &BuildOptions::default()).unwrap()
}
