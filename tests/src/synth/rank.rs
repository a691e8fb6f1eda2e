//! One rank: host threads that run operators and launch work, and what its trace file gets of it.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::config::{Change, Config, Era, Vendor};
use super::device::{CollectiveKey, CollectiveSpec, Collectives, Device, Pending, Stream, WorkId};
use super::json::{Ev, Id, KinetoWriter, Val};
use super::rng::Rng;
use super::truth::{Class, Piece, RankTruth, StepTruth, stretches, time_in};

/// A host thread of a rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thread {
    Main = 0,
    Autograd = 1,
}

/// What to launch.
#[derive(Clone, Debug)]
pub(super) struct Launch<'a> {
    pub name: &'a str,
    pub class: Class,
    pub stream: Stream,
    pub dur: i64,
    pub after: [Option<WorkId>; 2],
    pub bytes: u64,
    pub collective: Option<CollectiveSpec>,
}

/// A step that is under way or whose device work is not yet all known.
#[derive(Clone, Debug)]
struct OpenStep {
    name: String,
    first: WorkId,
    last: WorkId,
}

pub(super) struct RankSim<'c, W> {
    pub config: &'c Config,
    pub rank: u32,
    pub rng: Rng,
    pub device: Device,
    now: [i64; 2],
    /// Open operators: external ids, innermost last.
    external: Vec<u64>,
    /// Open Python frames, innermost last.
    frames: Vec<u64>,
    next_id: u64,
    next_flow: u64,
    next_frame: u64,
    sequence: BTreeMap<u32, u64>,
    allocated: i64,
    offset: i64,
    writer: KinetoWriter<W>,
    truth: RankTruth,
    pieces: Vec<Piece>,
    open_steps: Vec<OpenStep>,
    begun: i64,
    /// The first error of the sink; everything after it is skipped.
    failed: Option<io::Error>,
}

/// Start of every simulation: a moment after the newest base.
const EPOCH_NS: i64 = 1_759_300_075_000_000_000;

impl<'c, W: Write> RankSim<'c, W> {
    pub fn new(config: &'c Config, rank: u32, sink: W) -> io::Result<Self> {
        let offset = config.clock_offset(rank);
        let quantum = config.era.quantum_ns();
        let mut rng = Rng::derived(config.seed, &[u64::from(rank)]);
        // Ranks do not begin together.
        let begun = EPOCH_NS + rng.below(400_000) as i64 / quantum * quantum;
        Ok(Self {
            config,
            rank,
            rng,
            device: Device::default(),
            now: [begun; 2],
            external: Vec::new(),
            frames: Vec::new(),
            next_id: 1_000,
            next_flow: 1,
            next_frame: 1,
            sequence: BTreeMap::new(),
            allocated: 2_000_000_000,
            offset,
            writer: KinetoWriter::begin(sink, config, rank, begun + offset)?,
            truth: RankTruth { rank, ..RankTruth::default() },
            pieces: Vec::new(),
            open_steps: Vec::new(),
            begun,
            failed: None,
        })
    }

    // ---- time -------------------------------------------------------------------------------------------------

    fn quantise(&self, nanos: f64) -> i64 {
        let quantum = self.config.era.quantum_ns();
        (nanos as i64 / quantum * quantum).max(quantum)
    }

    fn jittered(&mut self, nanos: i64) -> f64 {
        nanos as f64 * (1.0 + self.config.jitter * (2.0 * self.rng.unit() - 1.0))
    }

    fn slow(&self, device: bool) -> f64 {
        self.config.slow.filter(|slow| slow.rank == self.rank && slow.device == device).map_or(1.0, |slow| slow.factor)
    }

    /// Duration of device work of about `nanos`.
    pub fn device_ns(&mut self, nanos: i64) -> i64 {
        let jittered = self.jittered(nanos) * self.slow(true);
        self.quantise(jittered)
    }

    /// Lets about `nanos` pass on a thread, at least one grain.
    pub fn tick(&mut self, thread: Thread, nanos: i64) -> i64 {
        let jittered = self.jittered(nanos) * self.slow(false);
        let passed = self.quantise(jittered);
        self.now[thread as usize] += passed;
        self.now[thread as usize]
    }

    pub fn now(&self, thread: Thread) -> i64 {
        self.now[thread as usize]
    }

    /// A thread goes on no sooner than `at`.
    pub fn wait_until(&mut self, thread: Thread, at: i64) {
        let now = &mut self.now[thread as usize];
        *now = at.max(*now);
    }

    // ---- what the file gets -----------------------------------------------------------------------------------

    fn write(&mut self, ev: &Ev<'_>) {
        if self.failed.is_some() {
            return;
        }
        let recorded = Ev { ts: ev.ts + self.offset, ..*ev };
        if let Err(error) = self.writer.event(&recorded) {
            self.failed = Some(error);
        }
    }

    fn tid(&self, thread: Thread) -> i64 {
        match thread {
            Thread::Main => self.config.main_tid(self.rank),
            Thread::Autograd => self.config.autograd_tid(self.rank),
        }
    }

    fn category(&self, name: &'static str) -> &'static str {
        if self.config.era != Era::Legacy {
            return name;
        }
        match name {
            "cpu_op" => "Operator",
            "cuda_runtime" => "Runtime",
            "kernel" => "Kernel",
            "gpu_memcpy" => "Memcpy",
            "gpu_memset" => "Memset",
            "ac2g" => "async",
            other => other,
        }
    }

    fn external_key(&self) -> &'static str {
        if self.config.era == Era::Legacy { "external id" } else { "External id" }
    }

    fn host_slice(&mut self, thread: Thread, cat: &'static str, name: &str, start: i64, args: &[(&str, Val<'_>)]) {
        let tid = self.tid(thread);
        let dur = self.now(thread) - start;
        self.write(&Ev {
            ph: 'X',
            cat: self.category(cat),
            name,
            pid: Id::Int(self.config.pid_of(self.rank)),
            tid: Id::Int(tid),
            ts: start,
            dur: Some(dur),
            id: None,
            args,
        });
        self.truth.slices += 1;
        *self.truth.host_slices.entry(tid).or_default() += 1;
    }

    fn flow(&mut self, ph: char, cat: &'static str, id: u64, pid: i64, tid: Id<'_>, at: i64) {
        let name = match self.category(cat) {
            "async" => "async_cpu_to_gpu",
            other => other,
        };
        self.write(&Ev {
            ph,
            cat: self.category(cat),
            name,
            pid: Id::Int(pid),
            tid,
            ts: at,
            dur: None,
            id: Some(id),
            args: &[],
        });
    }

    fn host_flow(&mut self, ph: char, cat: &'static str, id: u64, thread: Thread, at: i64) {
        let (pid, tid) = (self.config.pid_of(self.rank), self.tid(thread));
        self.flow(ph, cat, id, pid, Id::Int(tid), at);
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    // ---- host -------------------------------------------------------------------------------------------------

    /// Runs `body` inside an operator.
    pub fn op<R>(&mut self, thread: Thread, name: &str, body: impl FnOnce(&mut Self) -> R) -> R {
        self.range(thread, "cpu_op", name, body)
    }

    /// Runs `body` inside a range of category `cat`.
    pub fn range<R>(&mut self, thread: Thread, cat: &'static str, name: &str, body: impl FnOnce(&mut Self) -> R) -> R {
        let external = self.new_id();
        let start = self.tick(thread, 1_200);
        self.external.push(external);
        self.tick(thread, 900);
        let result = body(self);
        for change in &self.config.changes {
            if let Change::HostTime { operator, extra_ns } = *change
                && operator == name
            {
                self.tick(thread, extra_ns);
            }
        }
        self.tick(thread, 700);
        self.external.pop();
        let index = self.next_id as i64;
        let key = self.external_key();
        if cat == "cpu_op" && name.starts_with("aten::") {
            let width = 256 << (external % 5);
            let dims = format!("[[{}, {width}], [{width}, {width}], []]", 32 << (external % 3));
            let args = [
                (key, Val::Int(external as i64)),
                ("Record function id", Val::Int(0)),
                ("Input Dims", Val::Raw(&dims)),
                ("Input type", Val::Raw("[\"c10::BFloat16\", \"c10::BFloat16\", \"Scalar\"]")),
                ("Ev Idx", Val::Int(index)),
            ];
            self.host_slice(thread, cat, name, start, &args);
        } else {
            self.host_slice(thread, cat, name, start, &[(key, Val::Int(external as i64)), ("Ev Idx", Val::Int(index))]);
        }
        result
    }

    /// Runs `body` inside a Python frame.
    pub fn frame<R>(&mut self, name: &str, body: impl FnOnce(&mut Self) -> R) -> R {
        if !self.config.python {
            return body(self);
        }
        let id = self.next_frame;
        self.next_frame += 1;
        let parent = self.frames.last().copied().unwrap_or_default();
        let start = self.tick(Thread::Main, 400);
        self.frames.push(id);
        self.tick(Thread::Main, 300);
        let result = body(self);
        self.tick(Thread::Main, 300);
        self.frames.pop();
        let args = [
            ("Python parent id", Val::Int(parent as i64)),
            ("Python id", Val::Int(id as i64)),
            ("Ev Idx", Val::Int(id as i64)),
        ];
        self.host_slice(Thread::Main, "python_function", name, start, &args);
        result
    }

    /// The start of an arrow from the operator that runs now to its backward operator; `op_start` lies in it.
    pub fn forward_point(&mut self, thread: Thread) -> u64 {
        let id = self.next_flow;
        self.next_flow += 1;
        let at = self.now(thread);
        self.host_flow('s', "fwdbwd", id, thread, at);
        id
    }

    /// The end of the arrow `id`.
    pub fn backward_point(&mut self, thread: Thread, id: u64) {
        let at = self.now(thread);
        self.host_flow('f', "fwdbwd", id, thread, at);
        self.truth.flows += 1;
    }

    fn api(&self, name: &'static str) -> &'static str {
        if self.config.vendor == Vendor::Nvidia {
            return name;
        }
        match name {
            "cudaLaunchKernel" => "hipLaunchKernel",
            "cudaLaunchKernelExC" => "hipExtLaunchKernel",
            "cudaMemcpyAsync" => "hipMemcpyWithStream",
            "cudaMemsetAsync" => "hipMemsetAsync",
            "cudaStreamSynchronize" => "hipStreamSynchronize",
            "cudaStreamWaitEvent" => "hipStreamWaitEvent",
            "cudaEventRecord" => "hipEventRecord",
            "cudaGraphLaunch" => "hipGraphLaunch",
            other => other,
        }
    }

    fn runtime_slice(&mut self, thread: Thread, api: &'static str, start: i64, correlation: u64) {
        let external = self.external.last().copied().unwrap_or_default();
        let key = self.external_key();
        let cbid = if self.config.vendor == Vendor::Amd { "cid" } else { "cbid" };
        let args =
            [(key, Val::Int(external as i64)), (cbid, Val::Int(211)), ("correlation", Val::Int(correlation as i64))];
        self.host_slice(thread, "cuda_runtime", self.api(api), start, &args);
    }

    /// A runtime call that puts no work on the device.
    pub fn call(&mut self, thread: Thread, api: &'static str, nanos: i64) {
        let start = self.tick(thread, 300);
        self.tick(thread, nanos);
        let correlation = self.new_id();
        self.runtime_slice(thread, api, start, correlation);
        if self.config.orphan_flow_ends {
            self.host_flow('f', "ac2g", correlation, thread, start);
            self.truth.orphan_flow_ends += 1;
        }
    }

    /// Blocks a thread until `done` on the device has ended; its time must be known.
    pub fn synchronize(&mut self, thread: Thread, done: Option<WorkId>) {
        let start = self.tick(thread, 300);
        self.tick(thread, 1_500);
        if let Some(&end) = done.and_then(|id| self.device.ends.get(id)) {
            let back = self.quantise(4_000.0);
            self.wait_until(thread, end + back);
        }
        let correlation = self.new_id();
        self.runtime_slice(thread, "cudaStreamSynchronize", start, correlation);
    }

    /// Records an event on `from` and makes `to` wait for it: gives what later work on `to` must wait for.
    pub fn stream_wait(&mut self, thread: Thread, from: Stream) -> Option<WorkId> {
        let last = self.device.last[from as usize];
        self.call(thread, "cudaEventRecord", 700);
        self.call(thread, "cudaStreamWaitEvent", 900);
        last
    }

    /// Launches one piece of device work.
    pub fn launch(&mut self, thread: Thread, what: Launch<'_>) -> WorkId {
        let start = self.tick(thread, 500);
        let api = match (what.class, &what.collective) {
            (Class::Copy, _) => "cudaMemcpyAsync",
            (Class::Fill, _) => "cudaMemsetAsync",
            (_, Some(_)) => "cudaLaunchKernelExC",
            _ => "cudaLaunchKernel",
        };
        self.tick(thread, 4_000);
        let correlation = self.new_id();
        self.runtime_slice(thread, api, start, correlation);
        self.host_flow('s', "ac2g", correlation, thread, start);
        self.enqueue(start, what, correlation, 0, true)
    }

    /// Launches a graph: one call, many kernels, every third of which begins before its predecessor ends.
    pub fn launch_graph(&mut self, thread: Thread, kernels: &[(&str, i64)], after: Option<WorkId>) {
        let start = self.tick(thread, 500);
        self.tick(thread, 9_000);
        let correlation = self.new_id();
        self.runtime_slice(thread, "cudaGraphLaunch", start, correlation);
        self.host_flow('s', "ac2g", correlation, thread, start);
        for (index, &(name, nanos)) in kernels.iter().enumerate() {
            let dur = self.device_ns(nanos);
            let overlap = if index % 3 == 2 { self.quantise(2_500.0) } else { 0 };
            let what = Launch {
                name,
                class: Class::Compute,
                stream: Stream::Compute,
                dur,
                after: [if index == 0 { after } else { None }, None],
                bytes: 0,
                collective: None,
            };
            self.enqueue(start, what, correlation, overlap, true);
        }
    }

    fn enqueue(&mut self, start: i64, what: Launch<'_>, correlation: u64, overlap: i64, launched: bool) -> WorkId {
        let latency = self.jittered(6_000);
        let ready = start + self.quantise(latency);
        self.device.launch(Pending {
            name: what.name.to_owned(),
            class: what.class,
            stream: what.stream,
            ready,
            after: what.after,
            dur: what.dur,
            overlap,
            bytes: what.bytes,
            collective: what.collective,
            correlation,
            external: self.external.last().copied().unwrap_or_default(),
            launched,
        })
    }

    /// A kernel on the compute stream.
    pub fn kernel(&mut self, thread: Thread, name: &str, nanos: i64, after: Option<WorkId>) -> WorkId {
        let factor = |change: &Change| match *change {
            Change::KernelTime { name: part, factor } if name.contains(part) => factor,
            _ => 1.0,
        };
        let factor: f64 = self.config.changes.iter().map(factor).product();
        let dur = self.device_ns((nanos as f64 * factor) as i64);
        let (class, stream) = (Class::Compute, Stream::Compute);
        self.launch(thread, Launch { name, class, stream, dur, after: [after, None], bytes: 0, collective: None })
    }

    /// Kernels that were launched before the recording began.
    pub fn unlaunched(&mut self, kernels: u32) {
        for _ in 0..kernels {
            let dur = self.device_ns(30_000);
            let correlation = self.new_id();
            let what = Launch {
                name: "void at::native::(anonymous namespace)::warmup_kernel<float>(float*, int)",
                class: Class::Compute,
                stream: Stream::Compute,
                dur,
                after: [None; 2],
                bytes: 0,
                collective: None,
            };
            let start = self.now(Thread::Main);
            self.enqueue(start, what, correlation, 0, false);
        }
    }

    /// The next collective of a group: all members ask in the same order.
    pub fn next_collective(&mut self, group: u32) -> CollectiveKey {
        let next = self.sequence.entry(group).or_default();
        let key = (group, *next);
        *next += 1;
        key
    }

    /// An allocation or release of device memory, and the counter of it.
    pub fn allocate(&mut self, thread: Thread, bytes: i64) {
        if !self.config.memory {
            return;
        }
        self.allocated += bytes;
        let at = self.tick(thread, 100);
        let address = 139_926_520_725_504 + (self.next_id as i64) * 512;
        let args = [
            ("Device Type", Val::Int(1)),
            ("Device Id", Val::Int(self.config.device_of(self.rank))),
            ("Addr", Val::Int(address)),
            ("Bytes", Val::Int(bytes)),
            ("Total Allocated", Val::Int(self.allocated)),
            ("Total Reserved", Val::Int(12_782_141_440)),
        ];
        self.write(&Ev {
            ph: 'i',
            cat: "cpu_instant_event",
            name: "[memory]",
            pid: Id::Int(self.config.pid_of(self.rank)),
            tid: Id::Int(self.tid(thread)),
            ts: at,
            dur: None,
            id: None,
            args: &args,
        });
        self.truth.instants += 1;
    }

    /// A sample of the counter of allocated bytes.
    pub fn count_memory(&mut self) {
        if !self.config.memory {
            return;
        }
        let (at, allocated) = (self.now(Thread::Main), self.allocated);
        let device = self.config.device_of(self.rank);
        self.write(&Ev {
            ph: 'C',
            cat: "",
            name: "Device memory",
            pid: Id::Int(device),
            tid: Id::Int(0),
            ts: at,
            dur: None,
            id: None,
            args: &[("allocated", Val::Int(allocated))],
        });
        self.truth.counters += 1;
    }

    // ---- device -----------------------------------------------------------------------------------------------

    /// Works off the queue as far as the collectives allow. Says whether anything went on.
    pub fn advance(&mut self, collectives: &mut Collectives) -> bool {
        let mut moved = false;
        while let Some(start) = self.device.start_of_head() {
            let Some(head) = self.device.queue.front() else { break };
            let end = match &head.collective {
                None => start + head.dur,
                Some(spec) => {
                    moved |= collectives.arrive(spec, self.rank, start);
                    let Some(end) = collectives.take_end(spec.key) else { break };
                    end
                }
            };
            if let Some(work) = self.device.finish_head(start, end) {
                self.finished(&work, start, end);
            }
            moved = true;
        }
        moved
    }

    fn finished(&mut self, work: &Pending, start: i64, end: i64) {
        let streams = self.config.vendor.streams();
        let stream = streams[work.stream as usize];
        let device = self.config.device_of(self.rank);
        let legacy = self.config.era == Era::Legacy;
        let tid = if legacy { Id::Stream(stream) } else { Id::Int(stream) };
        let key = self.external_key();
        let members = work.collective.as_ref().map(|spec| format!("{:?}", spec.members)).unwrap_or_default();
        let group = work.collective.as_ref().map(|spec| spec.key.0.to_string()).unwrap_or_default();
        let bandwidth = format!("{:?}", work.bytes as f64 / (end - start).max(1) as f64);
        let mut args: Vec<(&str, Val<'_>)> = vec![(key, Val::Int(work.external as i64))];
        let kernel = !matches!(work.class, Class::Copy | Class::Fill);
        if kernel {
            args.push(("queued", Val::Int(0)));
        }
        args.push(("device", Val::Int(device)));
        if self.config.vendor == Vendor::Nvidia {
            args.push(("context", Val::Int(1)));
        }
        args.push(("stream", Val::Int(stream)));
        args.push(("correlation", Val::Int(work.correlation as i64)));
        if kernel {
            args.push(("registers per thread", Val::Int(96)));
            args.push(("shared memory", Val::Int(49_152)));
            args.push(("blocks per SM", Val::Raw("0.969697")));
            args.push(("warps per SM", Val::Raw("7.757576")));
            args.push(("grid", Val::Raw("[128, 1, 1]")));
            args.push(("block", Val::Raw("[256, 1, 1]")));
            args.push(("est. achieved occupancy %", Val::Int(12)));
        } else {
            args.push(("bytes", Val::Int(work.bytes as i64)));
            args.push(("memory bandwidth (GB/s)", Val::Raw(&bandwidth)));
        }
        if let Some(spec) = &work.collective {
            let width: u64 = if spec.dtype == "Long" { 8 } else { 4 };
            let elements = Val::Int((spec.bytes / width) as i64);
            args.push(("Collective name", Val::Str(spec.name)));
            args.push(("In msg nelems", elements));
            args.push(("Out msg nelems", elements));
            args.push(("Group size", Val::Int(spec.members.len() as i64)));
            args.push(("dtype", Val::Str(spec.dtype)));
            args.push(("In split size", Val::Str("[]")));
            args.push(("Out split size", Val::Str("[]")));
            args.push(("Process Group Name", Val::Str(&group)));
            args.push((
                "Process Group Description",
                Val::Str(if spec.key.0 == 0 { "default_pg" } else { "undefined" }),
            ));
            args.push(("Process Group Ranks", Val::Str(&members)));
            args.push(("Seq", Val::Int(spec.key.1 as i64)));
        }
        let cat = match work.class {
            Class::Copy => "gpu_memcpy",
            Class::Fill => "gpu_memset",
            _ => "kernel",
        };
        let slice = Ev {
            ph: 'X',
            cat: self.category(cat),
            name: &work.name,
            pid: Id::Int(device),
            tid,
            ts: start,
            dur: Some(end - start),
            id: None,
            args: &args,
        };
        self.write(&slice);
        if work.launched {
            self.flow('f', "ac2g", work.correlation, device, tid, start);
            self.truth.launch_links += 1;
        } else {
            self.truth.unlaunched += 1;
        }
        if let Some(spec) = &work.collective {
            let name = format!("nccl:{}", spec.name);
            self.device_annotation(&name, stream, start, end, work.external);
        }
        let recorded = (start + self.offset, end + self.offset, work.class, stream);
        self.pieces.push(recorded);
        self.truth.slices += 1;
        self.truth.device_events += 1;
        let entry = self.truth.work.entry(work.name.clone()).or_default();
        let dur = end - start;
        entry.min_ns = if entry.count == 0 { dur } else { entry.min_ns.min(dur) };
        entry.max_ns = entry.max_ns.max(dur);
        entry.count += 1;
        entry.sum_ns += dur;
        entry.bytes += work.bytes;
    }

    /// A user range on a stream: Kineto lets it begin and end one grain outside of the work it spans.
    fn device_annotation(&mut self, name: &str, stream: i64, start: i64, end: i64, external: u64) {
        if self.config.era == Era::Legacy {
            return;
        }
        let quantum = self.config.era.quantum_ns();
        let key = self.external_key();
        self.write(&Ev {
            ph: 'X',
            cat: "gpu_user_annotation",
            name,
            pid: Id::Int(self.config.device_of(self.rank)),
            tid: Id::Int(stream),
            ts: start - quantum,
            dur: Some(end - start + 2 * quantum),
            id: None,
            args: &[(key, Val::Int(external as i64))],
        });
        self.truth.slices += 1;
        self.truth.device_annotations += 1;
    }

    // ---- steps ------------------------------------------------------------------------------------------------

    /// Begins a step and gives its start.
    pub fn begin_step(&mut self) -> (i64, WorkId) {
        (self.tick(Thread::Main, 2_000), self.device.ends.len() + self.device.queue.len())
    }

    /// Ends the step that began at `begun`.
    pub fn end_step(&mut self, number: u32, begun: (i64, WorkId)) {
        self.tick(Thread::Main, 1_000);
        let name = format!("ProfilerStep#{number}");
        let external = self.new_id();
        let key = self.external_key();
        self.host_slice(Thread::Main, "user_annotation", &name, begun.0, &[(key, Val::Int(external as i64))]);
        let (start, end) = (begun.0 + self.offset, self.now(Thread::Main) + self.offset);
        self.truth.steps.push(StepTruth {
            name: name.clone(),
            start_ns: start,
            end_ns: end,
            time: super::truth::TimeByClasses::default(),
        });
        let last = self.device.ends.len() + self.device.queue.len();
        if last > begun.1 {
            self.open_steps.push(OpenStep { name, first: begun.1, last: last - 1 });
        }
    }

    /// Writes the device ranges of steps whose work is all known.
    pub fn close_steps(&mut self) {
        let compute = self.config.vendor.streams()[0];
        let known = self.device.ends.len();
        let (done, open): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.open_steps).into_iter().partition(|step| step.last < known);
        self.open_steps = open;
        for step in done {
            let bounds = |times: &[i64]| times[step.first..=step.last].to_vec();
            let start = bounds(&self.device.starts).into_iter().min().unwrap_or_default();
            let end = bounds(&self.device.ends).into_iter().max().unwrap_or_default();
            self.device_annotation(&step.name, compute, start, end, 0);
        }
    }

    /// One of the profiler's own marks, on a heading that is no process.
    fn mark(&mut self, ph: char, name: &str, [pid, tid]: [&str; 2], ts: i64, dur: Option<i64>) {
        let (pid, tid) = (Id::Str(pid), Id::Str(tid));
        let slice = ph == 'X';
        let op_count = [("Op count", Val::Int(0))];
        let args: &[(&str, Val<'_>)] = if slice { &op_count } else { &[] };
        let cat = if slice { "Trace" } else { "" };
        self.write(&Ev { ph, cat, name, pid, tid, ts, dur, id: None, args });
        self.truth.slices += u64::from(slice);
        self.truth.instants += u64::from(!slice);
    }

    /// Ends the file and computes the answers.
    pub fn finish(mut self) -> io::Result<(W, RankTruth)> {
        self.close_steps();
        let device_end = self.device.ends.iter().copied().max().unwrap_or(self.begun);
        let quantum = self.config.era.quantum_ns();
        let stop = self.now(Thread::Main).max(self.now(Thread::Autograd)).max(device_end) + 50 * quantum;
        if self.config.open_frames && self.config.python {
            // The profiler gives a frame that is still open its own end.
            let (start, dur) = (self.begun + 7 * quantum, stop - self.begun - 7 * quantum);
            let tid = self.tid(Thread::Main);
            self.write(&Ev {
                ph: 'X',
                cat: "python_function",
                name: "<built-in method run_backward of torch._C._EngineBase object at 0x7f00c0ffee00>",
                pid: Id::Int(self.config.pid_of(self.rank)),
                tid: Id::Int(tid),
                ts: start,
                dur: Some(dur),
                id: None,
                args: &[("Python id", Val::Int(0))],
            });
            self.truth.slices += 1;
            *self.truth.host_slices.entry(tid).or_default() += 1;
        }
        self.mark('X', "PyTorch Profiler (0)", ["Spans", "PyTorch Profiler"], self.begun, Some(stop - self.begun));
        self.mark('i', "Iteration Start: PyTorch Profiler", ["Traces", "Trace PyTorch Profiler"], self.begun, None);
        self.mark('i', "Record Window End", ["", ""], stop, None);
        if let Some(error) = self.failed {
            return Err(error);
        }
        let mut truth = self.truth;
        let (sink, events) = self.writer.end()?;
        truth.events = events;
        truth.first_ns = self.pieces.iter().map(|piece| piece.0).min().unwrap_or_default();
        truth.last_ns = self.pieces.iter().map(|piece| piece.1).max().unwrap_or_default();
        let all = stretches(&self.pieces);
        truth.time = time_in(&all, truth.first_ns, truth.last_ns);
        for step in &mut truth.steps {
            step.time = time_in(&all, step.start_ns, step.end_ns);
        }
        for stream in self.config.vendor.streams() {
            let own: Vec<Piece> = self.pieces.iter().copied().filter(|piece| piece.3 == stream).collect();
            let busy: i64 = stretches(&own).iter().filter(|stretch| stretch.2 != 0).map(|s| s.1 - s.0).sum();
            if !own.is_empty() {
                truth.streams.insert(stream, (own.len() as u64, busy));
            }
        }
        Ok((sink, truth))
    }
}
