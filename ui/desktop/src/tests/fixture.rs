//! A training run made by hand, with every number known.
//!
//! Four ranks, three steps of 10, 10 and 12 ms. In each step the host launches ten kernels of 400 µs that run 20 µs
//! apart from 1 ms on, then an all-reduce that ends at 9.2 ms on every rank but starts later the higher the rank: rank 0
//! waits longest inside it, rank 3 least. An input copy of 300 µs comes first, an optimizer kernel of 200 µs last.

use std::sync::Arc;

use gapless_trace::{
    ArgsLoc, BuildOptions, EventKind, Frame, RawChunk, RawEventStack, RawId, Severity, Source, SourceId, Trace,
    TraceInfo, TracePart, TrackKind, WarningKind,
};

pub const RANKS: u32 = 4;
const BASE: i64 = 1_767_225_600_000_000_000;
const NONE: u32 = u32::MAX;
const US: i64 = 1_000;
const STEPS_US: [i64; 3] = [10_000, 10_000, 12_000];

/// The trace.
pub fn trace() -> Arc<Trace> {
    assert_eq!(WarningKind::MissingEnd.severity(), Severity::Note);
    let mut parts: Vec<_> = (0..RANKS).map(part).collect();
    parts[0].warnings.add(WarningKind::MissingEnd, SourceId(0), Some(4_711), "");
    parts[2].warnings.add(WarningKind::NoTimestamp, SourceId(2), Some(99), "");
    Arc::new(Trace::from_parts(parts, &BuildOptions::default()).unwrap())
}

/// The same with one rank's clock ahead by `ahead_us`.
pub fn skewed_trace(rank: u32, ahead_us: i64) -> Arc<Trace> {
    let ahead = |of: u32| if of == rank { ahead_us } else { 0 };
    let parts = (0..RANKS).map(|of| part_at(of, ahead(of))).collect();
    Arc::new(Trace::from_parts(parts, &BuildOptions::default()).unwrap())
}

fn part(rank: u32) -> TracePart {
    part_at(rank, 0)
}

fn part_at(rank: u32, ahead_us: i64) -> TracePart {
    let source =
        Source { path: format!("/traces/run/rank{rank}.json"), format: "made by hand".to_owned(), ..Source::default() };
    let info = TraceInfo {
        rank: Some(rank),
        world_size: Some(RANKS),
        base_time_ns: Some(BASE + ahead_us * US),
        ..TraceInfo::default()
    };
    TracePart { info, chunks: vec![chunk(i64::from(rank))], ..TracePart::new(source) }
}

struct Writer {
    chunk: RawChunk,
    next_correlation: u32,
}

impl Writer {
    fn push(&mut self, track: u32, kind: EventKind, name: &str, start_us: i64, dur_us: i64, correlation: u32) {
        let name = self.chunk.strings.intern(name);
        let category = self.chunk.strings.intern(kind.id());
        self.chunk.push(start_us * US, dur_us * US, name, category, kind, track, correlation, NONE, ArgsLoc::default());
    }

    /// An operator with a launch inside, and the device work that it launches.
    fn launched(&mut self, host: u32, stream: u32, kind: EventKind, op: &str, name: &str, at: (i64, i64, i64)) {
        let (call_us, start_us, dur_us) = at;
        let correlation = self.next_correlation;
        self.next_correlation += 1;
        let call = if kind == EventKind::Memcpy { "cudaMemcpyAsync" } else { "cudaLaunchKernel" };
        self.push(host, EventKind::Operator, op, call_us - 10, 60, NONE);
        self.push(host, EventKind::RuntimeCall, call, call_us, 20, correlation);
        self.push(stream, kind, name, start_us, dur_us, correlation);
    }
}

fn chunk(rank: i64) -> RawChunk {
    let mut chunk = RawChunk::default();
    let host = chunk.track(TrackKind::Thread, RawId::Int(100), RawId::Int(1));
    let compute = chunk.track(TrackKind::Stream, RawId::Int(0), RawId::Int(7));
    let comm = chunk.track(TrackKind::Stream, RawId::Int(0), RawId::Int(20));
    let mut writer = Writer { chunk, next_correlation: 1 };
    let mut begin = 0;
    for (step, length) in STEPS_US.into_iter().enumerate() {
        writer.push(host, EventKind::Step, &format!("ProfilerStep#{}", step + 5), begin, length, NONE);
        let copy = "Memcpy HtoD (Pageable -> Device)";
        writer.launched(host, compute, EventKind::Memcpy, "aten::copy_", copy, (begin + 100, begin + 500, 300));
        for i in 0..10 {
            let name = if i % 2 == 0 { "ampere_sgemm_128x64_nn" } else { "vectorized_elementwise_kernel<4, relu>" };
            let op = if i % 2 == 0 { "aten::linear" } else { "aten::relu" };
            let at = (begin + 200 + 70 * i, begin + 1_000 + 420 * i, 400);
            writer.launched(host, compute, EventKind::Kernel, op, name, at);
        }
        let reduce = "ncclDevKernel_AllReduce_Sum_f32_RING_LL(ncclDevKernelArgsStorage<4096ul>)";
        let start = begin + 5_200 + 1_000 * rank;
        writer.launched(
            host,
            comm,
            EventKind::Collective,
            "c10d::allreduce_",
            reduce,
            (begin + 1_500, start, begin + 9_200 - start),
        );
        let at = (begin + 9_300, begin + 9_350, 200);
        writer.launched(host, compute, EventKind::Kernel, "Optimizer.step#Adam", "multi_tensor_apply_kernel", at);
        begin += length;
    }
    if rank == 0 {
        let mut frame = |name: &str, file: &str, line| Frame {
            name: writer.chunk.strings.intern(name),
            file: writer.chunk.strings.intern(file),
            line,
            ..Frame::default()
        };
        let frames = [frame("main", "/job/train.py", 12), frame("train_step", "/job/train.py", 40)];
        let stack = writer.chunk.stacks.push_all(frames).unwrap();
        writer.chunk.event_stacks.push(RawEventStack { event: 0, stack, weight: 1 });
    }
    writer.chunk
}

/// Two ranks of a job on the CPU, four steps of 10 ms. On each: 2 ms of waiting for data, 3 ms of an operator, 1 ms of
/// the optimizer; rank 1 computes 2 ms longer, and rank 0 waits for it while its gloo thread communicates. One sample of
/// the main thread every 500 µs, and the main thread of rank 0 runs all the time but while it waits.
pub fn host_trace() -> Arc<Trace> {
    let part = |rank: u32| {
        let source = Source { path: format!("/traces/cpu/rank{rank}.json"), ..Source::default() };
        let info =
            TraceInfo { rank: Some(rank), world_size: Some(2), base_time_ns: Some(BASE), ..TraceInfo::default() };
        TracePart { info, chunks: vec![host_chunk(i64::from(rank))], ..TracePart::new(source) }
    };
    Arc::new(Trace::from_parts(vec![part(0), part(1)], &BuildOptions::default()).unwrap())
}

fn host_chunk(rank: i64) -> RawChunk {
    let mut chunk = RawChunk::default();
    let main = chunk.track(TrackKind::Thread, RawId::Int(100), RawId::Int(100));
    let gloo = chunk.track(TrackKind::Thread, RawId::Int(100), RawId::Int(103));
    let mut writer = Writer { chunk, next_correlation: 1 };
    for step in 0..4 {
        let begin = step * 10_000;
        writer.push(main, EventKind::Step, &format!("ProfilerStep#{step}"), begin, 10_000, NONE);
        let loader = "enumerate(DataLoader)#_MultiProcessingDataLoaderIter.__next__";
        writer.push(main, EventKind::Annotation, loader, begin, 2_000, NONE);
        writer.push(main, EventKind::Operator, "aten::linear", begin + 2_000, 3_000 + 2_000 * rank, NONE);
        let start = begin + 5_000 + 2_000 * rank;
        writer.push(gloo, EventKind::Other, "gloo:all_reduce", start, begin + 8_500 - start, NONE);
        writer.push(main, EventKind::Annotation, "Optimizer.step#SGD.step", begin + 8_500, 1_000, NONE);
    }
    writer.chunk
}
