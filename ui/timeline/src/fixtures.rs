//! Traces for the tests of this crate, made by hand through the parts that readers fill.

use gapless_trace::{
    ArgsLoc, BuildOptions, EventKind, Frame, RawChunk, RawCounter, RawEventStack, RawId, RawMeta, Source, Trace,
    TraceInfo, TracePart, TrackKind,
};

/// A point in Unix time, so that all tests run far from zero.
pub const BASE: i64 = 1_767_225_600_000_000_000;
const NONE: u32 = u32::MAX;

fn source() -> Source {
    Source { path: "made".into(), format: "made".into(), ..Source::default() }
}

fn part(rank: u32, chunk: RawChunk) -> TracePart {
    let info = TraceInfo { rank: Some(rank), base_time_ns: Some(BASE), ..TraceInfo::default() };
    TracePart { info, chunks: vec![chunk], ..TracePart::new(source()) }
}

/// Deterministic pseudo-random numbers (xorshift64*).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    /// Evenly spread in the logarithm.
    pub fn log_uniform(&mut self, low: f64, high: f64) -> i64 {
        let share = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        (low.ln() + share * (high.ln() - low.ln())).exp() as i64
    }
}

/// `events` kernels on `streams` streams, with gaps between them and idle times now and then.
pub fn kernels(streams: u32, events: usize, seed: u64) -> Trace {
    let mut chunk = RawChunk::default();
    let mut random = Random(seed | 1);
    let names: Vec<_> = (0..200).map(|i| chunk.strings.intern(&format!("kernel_{i}<float>"))).collect();
    let category = chunk.strings.intern("kernel");
    for stream in 0..streams {
        let track = chunk.track(TrackKind::Stream, RawId::Int(0), RawId::Int(i64::from(stream) + 7));
        let mut time = 0;
        for index in 0..events / streams as usize {
            time += match index % 2000 {
                1999 => 500_000,
                _ if random.below(5) < 4 => random.log_uniform(200.0, 2_000.0),
                _ => random.log_uniform(2_000.0, 50_000.0),
            };
            let dur = random.log_uniform(2_000.0, 200_000.0);
            let name = names[random.below(200) as usize];
            chunk.push(time, dur, name, category, EventKind::Kernel, track, NONE, NONE, ArgsLoc::default());
            time += dur;
        }
    }
    Trace::from_parts(vec![part(0, chunk)], &BuildOptions::default()).unwrap()
}

/// A small training run: per rank and step a main thread with operators and launches, an autograd thread, a compute
/// stream, a communication stream, a copy stream and a memory counter. A step takes 1 ms.
pub fn training(ranks: u32, steps: i64) -> Trace {
    let parts = (0..ranks).map(|rank| part(rank, training_chunk(rank, steps))).collect();
    Trace::from_parts(parts, &BuildOptions::default()).unwrap()
}

fn training_chunk(rank: u32, steps: i64) -> RawChunk {
    let mut chunk = RawChunk::default();
    let host = RawId::Int(100);
    let device = RawId::Int(0);
    let main = chunk.track(TrackKind::Thread, host, RawId::Int(1));
    let autograd = chunk.track(TrackKind::Thread, host, RawId::Int(2));
    let instants = chunk.track(TrackKind::ThreadInstants, host, RawId::Int(1));
    let compute = chunk.track(TrackKind::Stream, device, RawId::Int(7));
    let copies = chunk.track(TrackKind::Stream, device, RawId::Int(20));
    let nccl = chunk.track(TrackKind::Stream, device, RawId::Int(24));
    let syncs = chunk.track(TrackKind::StreamSyncs, device, RawId::Int(7));
    let text = |chunk: &mut RawChunk, name: &str| chunk.strings.intern(name);
    let thread_name = text(&mut chunk, "thread 1 (python)");
    chunk.metas.push(RawMeta::ThreadName(host, RawId::Int(1), thread_name));
    let thread_name = text(&mut chunk, "thread 2 (pt_autograd_0)");
    chunk.metas.push(RawMeta::ThreadName(host, RawId::Int(2), thread_name));
    let gpu = text(&mut chunk, "GPU 0");
    chunk.metas.push(RawMeta::ProcessLabels(device, gpu));
    let mut correlation = 1;
    let add = |chunk: &mut RawChunk, track, kind, name: &str, start, dur, correlation| {
        let name = chunk.strings.intern(name);
        let category = chunk.strings.intern(match kind {
            EventKind::Operator => "cpu_op",
            EventKind::RuntimeCall => "cuda_runtime",
            _ => "kernel",
        });
        chunk.push(start, dur, name, category, kind, track, correlation, NONE, ArgsLoc::default());
    };
    let late = i64::from(rank) * 3_000;
    for step in 0..steps {
        let t = step * 1_000_000 + late;
        add(&mut chunk, main, EventKind::Step, &format!("ProfilerStep#{step}"), t, 990_000, NONE);
        add(&mut chunk, main, EventKind::Annotation, "forward", t + 10_000, 300_000, NONE);
        for (index, op) in ["aten::linear", "aten::addmm", "aten::relu", "aten::cat"].iter().enumerate() {
            let start = t + 20_000 + index as i64 * 60_000;
            add(&mut chunk, main, EventKind::Operator, op, start, 50_000, NONE);
            add(&mut chunk, main, EventKind::RuntimeCall, "cudaLaunchKernel", start + 5_000, 8_000, correlation);
            let kernel = format!("void at::native::kernel_{index}<float>(int)");
            add(&mut chunk, compute, EventKind::Kernel, &kernel, start + 40_000, 55_000, correlation);
            correlation += 1;
        }
        add(&mut chunk, main, EventKind::Instant, "mark", t + 5_000, 0, NONE);
        add(&mut chunk, instants, EventKind::MemoryInstant, "[memory]", t + 6_000, 0, NONE);
        add(&mut chunk, autograd, EventKind::Operator, "AddmmBackward0", t + 320_000, 200_000, NONE);
        add(&mut chunk, autograd, EventKind::RuntimeCall, "cudaLaunchKernel", t + 330_000, 8_000, correlation);
        let all_reduce = "ncclDevKernel_AllReduce_Sum_f32_RING_LL";
        add(&mut chunk, nccl, EventKind::Collective, all_reduce, t + 600_000 - late, 200_000, correlation);
        correlation += 1;
        add(&mut chunk, copies, EventKind::Memcpy, "Memcpy HtoD", t + 15_000, 4_000, NONE);
        add(&mut chunk, syncs, EventKind::DeviceSync, "Stream Sync", t + 800_000, 1_000, NONE);
        let (name, unit) = (text(&mut chunk, "memory allocated"), text(&mut chunk, "bytes"));
        for sample in 0..4 {
            let value = (1 + sample % 3) as f64 * 1e9;
            chunk.counters.push(RawCounter { pid: host, name, unit, time: t + sample * 250_000, value });
        }
    }
    chunk
}

/// Two ranks on the CPU: collectives of gloo on two threads of their own, issued by the main thread, and one of MPI.
pub fn host_communication() -> Trace {
    let rank_part = |rank: u32| {
        let mut chunk = RawChunk::default();
        let threads = [1, 2, 3].map(|tid| chunk.track(TrackKind::Thread, RawId::Int(100), RawId::Int(tid)));
        let mut add = |thread: usize, kind, name: &str, category: &str, start, dur| {
            let (name, category) = (chunk.strings.intern(name), chunk.strings.intern(category));
            chunk.push(start, dur, name, category, kind, threads[thread], NONE, NONE, ArgsLoc::default());
        };
        let late = i64::from(rank) * 10_000;
        for (thread, start) in [(1, 100_000), (2, 120_000)] {
            add(0, EventKind::Operator, "c10d::allreduce_", "collective_comm", start - 5_000 + late, 4_000);
            add(thread, EventKind::Other, "gloo:all_reduce", "collective_comm", start + late, 50_000 - late);
        }
        add(1, EventKind::Other, "gloo:broadcast", "collective_comm", 300_000, 20_000);
        add(0, EventKind::Annotation, "MPI_Allreduce", "communication", 400_000 + late, 50_000 - late);
        part(rank, chunk)
    };
    Trace::from_parts(vec![rank_part(0), rank_part(1)], &BuildOptions::default()).unwrap()
}

/// Two threads and a processor. Thread 2 is sampled every millisecond, 20 times, with a pause of 10 ms after the tenth:
/// `main` calls `load` in the first five, `train` in the others, which calls `mm` each second time. Thread 1 runs for
/// 2 ms, then thread 2 for 3 ms, in turn, five times.
pub fn samples() -> Trace {
    let mut chunk = RawChunk::default();
    let pid = RawId::Int(100);
    let cpu = chunk.strings.intern("CPU");
    let empty = chunk.strings.intern("");
    let names = ["one", "two"].map(|name| chunk.strings.intern(name));
    for (place, name) in names.into_iter().enumerate() {
        let tid = RawId::Int(place as i64 + 1);
        chunk.metas.push(RawMeta::ThreadName(pid, tid, name));
        let track = chunk.track(TrackKind::Thread, pid, tid);
        chunk.push(0, 40_000_000, name, empty, EventKind::Annotation, track, NONE, NONE, ArgsLoc::default());
    }
    let sampled = chunk.track(TrackKind::Samples, pid, RawId::Int(2));
    for sample in 0..20_i64 {
        let time = sample * 1_000_000 + if sample < 10 { 0 } else { 10_000_000 };
        let functions: &[(&str, u32)] = match sample {
            0..5 => &[("main", 1), ("load", 10)],
            // Another line of the same function is the same bar.
            odd if odd % 2 == 1 => &[("main", 2), ("train", 20 + sample as u32), ("mm", 30)],
            _ => &[("main", 2), ("train", 20 + sample as u32)],
        };
        let file = chunk.strings.intern("train.py");
        let frames: Vec<Frame> = functions
            .iter()
            .map(|&(name, line)| Frame { name: chunk.strings.intern(name), file, line, ..Frame::default() })
            .collect();
        let stack = chunk.stacks.push_all(frames).unwrap();
        let event = chunk.len() as u32;
        chunk.push(time, 0, names[1], empty, EventKind::Sample, sampled, NONE, NONE, ArgsLoc::default());
        chunk.event_stacks.push(RawEventStack { event, stack, weight: 1 });
    }
    let core = chunk.track(TrackKind::Cpu, RawId::Text(cpu), RawId::Int(0));
    for turn in 0..5 {
        for (place, (start, dur)) in [(0, 2_000_000), (2_000_000, 3_000_000)].into_iter().enumerate() {
            let start = turn * 5_000_000 + start;
            chunk.push(start, dur, names[place], empty, EventKind::Scheduled, core, NONE, NONE, ArgsLoc::default());
        }
    }
    Trace::from_parts(vec![part(0, chunk)], &BuildOptions::default()).unwrap()
}

/// A thread that is sampled `count` times, every millisecond, and runs for 300 µs of each: `main` calls `outer_a` and
/// `outer_b` in turn, which call `leaf`.
pub fn sampled(count: i64) -> Trace {
    let mut chunk = RawChunk::default();
    let (pid, tid) = (RawId::Int(100), RawId::Int(2));
    let [cpu, empty, name, file] = ["CPU", "", "busy", "job.py"].map(|text| chunk.strings.intern(text));
    chunk.metas.push(RawMeta::ThreadName(pid, tid, name));
    let thread = chunk.track(TrackKind::Thread, pid, tid);
    chunk.push(0, count * 1_000_000, name, empty, EventKind::Annotation, thread, NONE, NONE, ArgsLoc::default());
    let track = chunk.track(TrackKind::Samples, pid, tid);
    let [main, a, b, leaf] = ["main", "outer_a", "outer_b", "leaf"].map(|text| chunk.strings.intern(text));
    let stacks = [a, b].map(|outer| {
        let frames = [main, outer, leaf].map(|name| Frame { name, file, line: 1, ..Frame::default() });
        chunk.stacks.push_all(frames).unwrap()
    });
    let core = chunk.track(TrackKind::Cpu, RawId::Text(cpu), RawId::Int(0));
    for sample in 0..count {
        let event = chunk.len() as u32;
        chunk.push(sample * 1_000_000, 0, leaf, empty, EventKind::Sample, track, NONE, NONE, ArgsLoc::default());
        let stack = stacks[(sample / 3 % 2) as usize];
        chunk.event_stacks.push(RawEventStack { event, stack, weight: 1 });
        let start = sample * 1_000_000;
        chunk.push(start, 300_000, name, empty, EventKind::Scheduled, core, NONE, NONE, ArgsLoc::default());
    }
    Trace::from_parts(vec![part(0, chunk)], &BuildOptions::default()).unwrap()
}

/// One stream: `events` kernels of 1 µs every 1.5 µs, then nothing for a thousand times as long, then one more.
pub fn burst(events: i64) -> Trace {
    let mut chunk = RawChunk::default();
    let track = chunk.track(TrackKind::Stream, RawId::Int(0), RawId::Int(7));
    let (name, category) = (chunk.strings.intern("short"), chunk.strings.intern("kernel"));
    let starts = (0..events).map(|index| index * 1_500).chain([events * 1_500_000]);
    for start in starts {
        chunk.push(start, 1_000, name, category, EventKind::Kernel, track, NONE, NONE, ArgsLoc::default());
    }
    Trace::from_parts(vec![part(0, chunk)], &BuildOptions::default()).unwrap()
}

/// A thread whose operators lie at different depths of a deep stack of Python frames.
pub fn python_stack(steps: i64) -> Trace {
    let mut chunk = RawChunk::default();
    let main = chunk.track(TrackKind::Thread, RawId::Int(100), RawId::Int(1));
    let category = chunk.strings.intern("");
    let mut add = |kind, name: &str, start, dur| {
        let name = chunk.strings.intern(name);
        chunk.push(start, dur, name, category, kind, main, NONE, NONE, ArgsLoc::default());
    };
    let length = steps * 100_000;
    for depth in 0..8 {
        add(EventKind::PythonFunction, "run.py(1): wrapper", depth, length - 2 * depth);
    }
    for step in 0..steps {
        let t = step * 100_000 + 1_000;
        add(EventKind::Step, &format!("ProfilerStep#{step}"), t, 90_000);
        add(EventKind::PythonFunction, "model.py(2): forward", t + 1_000, 50_000);
        add(EventKind::PythonFunction, "linear.py(3): forward", t + 2_000, 20_000);
        add(EventKind::Operator, "aten::linear", t + 3_000, 10_000);
        add(EventKind::Operator, "aten::addmm", t + 4_000, 8_000);
        add(EventKind::RuntimeCall, "cudaLaunchKernel", t + 5_000, 1_000);
        add(EventKind::Operator, "aten::relu", t + 60_000, 5_000);
    }
    Trace::from_parts(vec![part(0, chunk)], &BuildOptions::default()).unwrap()
}

/// A Python frame that begins before the only step and ends within it, and an operator of the step below the frame.
pub fn cut_step() -> Trace {
    let mut chunk = RawChunk::default();
    let main = chunk.track(TrackKind::Thread, RawId::Int(100), RawId::Int(1));
    let category = chunk.strings.intern("");
    let mut add = |kind, name: &str, start, dur| {
        let name = chunk.strings.intern(name);
        chunk.push(start, dur, name, category, kind, main, NONE, NONE, ArgsLoc::default());
    };
    add(EventKind::PythonFunction, "run.py(1): main", 0, 60_000);
    add(EventKind::Step, "ProfilerStep#0", 10_000, 90_000);
    add(EventKind::Operator, "aten::linear", 20_000, 10_000);
    Trace::from_parts(vec![part(0, chunk)], &BuildOptions::default()).unwrap()
}
