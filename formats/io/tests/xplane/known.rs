//! Hand-made files with known answers: GPU, TPU, steps, launches, arrows, counters, hosts.

use std::io::Write;

use gapless_formats::{OpenError, OpenOptions, Silent, expand, open, open_bytes};
use gapless_trace::{ArgValue, EventId, EventKind, ProcessKind, RawId, Severity, Trace, TrackKind, WarningKind};
use prost::Message;

use crate::proto::{
    Data, Stat, XEvent, XEventMetadata, XLine, XPlane, XSpace, add, event_type, plane, stat, text_stat,
};

const START: i64 = 1_700_000_000_000_000_000;

fn read(planes: Vec<XPlane>) -> Trace {
    let space = XSpace { planes, hostnames: vec!["host".to_owned()], ..XSpace::default() };
    open_bytes("host.xplane.pb", space.encode_to_vec(), &OpenOptions::default()).unwrap()
}

/// The plane that says when the recording began.
fn environment(start: i64) -> XPlane {
    let mut found = plane("Task Environment");
    let value = stat(&mut found, "profile_start_time", Stat::Uint64(start as u64));
    found.stats.push(value);
    found
}

fn find(trace: &Trace, name: &str) -> EventId {
    let mut found = (0..trace.events().len() as u32).map(EventId).filter(|&id| trace.name(id) == name);
    let first = found.next().unwrap_or_else(|| unreachable!("no event {name}"));
    assert_eq!(found.next(), None, "several events {name}");
    first
}

fn arg(trace: &Trace, id: EventId, name: &str) -> Option<String> {
    trace.args(id).unwrap().into_iter().find(|entry| entry.0 == name).map(|entry| entry.1.to_string())
}

/// Kind of the event, kind and id of its track.
fn place(trace: &Trace, name: &str) -> (EventKind, TrackKind, String) {
    let id = find(trace, name);
    let (_, track) = trace.track_of(id).unwrap();
    (trace.event(id).kind, track.kind, trace.raw_id_text(track.tid))
}

fn gpu() -> Vec<XPlane> {
    let mut host = plane("/host:CPU");
    let pid = stat(&mut host, "process_id", Stat::Int64(4_711));
    host.stats.push(pid);
    let thread = (77, "python");
    let step = vec![stat(&mut host, "_r", Stat::Int64(1)), stat(&mut host, "step_num", Stat::Int64(5))];
    add(&mut host, thread, "train", (0, 100_000_000), step);
    add(&mut host, thread, "$train.py:3 step", (1_000_000, 90_000_000), vec![]);
    for (name, offset, id) in
        [("cuLaunchKernel", 10_000_000, 1), ("cudaMemcpyAsync", 20_000_000, 2), ("odd call", 30_000_000, 3)]
    {
        let ids = vec![stat(&mut host, "correlation_id", Stat::Uint64(id))];
        add(&mut host, thread, name, (offset, 2_500_999), ids);
    }
    add(&mut host, thread, "PjitFunction(f)", (40_000_000, 1_000_000), vec![]);
    add(&mut host, thread, "my range", (50_000_000, 1_000_000), vec![]);
    let ops = vec![text_stat(&mut host, "hlo_op", "fusion.1")];
    add(&mut host, thread, "dot", (60_000_000, 1_000_000), ops);
    add(&mut host, thread, "fusion.1", (62_000_000, 1_000_000), vec![]);
    add(&mut host, thread, "ThreadpoolListener::Record", (70_000_000, 0), vec![]);
    add(&mut host, thread, "MemoryAllocation", (71_000_000, 0), vec![]);

    let mut device = plane("/device:GPU:2");
    for (name, value) in
        [("core_count", 132), ("compute_cap_major", 9), ("compute_cap_minor", 0), ("memory_size", 1 << 36)]
    {
        let value = stat(&mut device, name, Stat::Uint64(value));
        device.stats.push(value);
    }
    let name = stat(&mut device, "gpu_device_name", Stat::Str("H100".to_owned()));
    device.stats.push(name);
    let stream = (14, "Stream #14(Kernel,MemcpyH2D)");
    let ids = vec![stat(&mut device, "correlation_id", Stat::Uint64(1))];
    add(&mut device, stream, "gemm", (30_000_000, 5_000_000), ids);
    let copy = vec![
        stat(&mut device, "correlation_id", Stat::Uint64(2)),
        text_stat(&mut device, "memcpy_details", "kind_src:host kind_dst:device size:4096 dest:0 async:1"),
    ];
    add(&mut device, stream, "MemcpyH2D", (40_000_000, 1_000_000), copy);
    let fill = vec![text_stat(&mut device, "Memset_details", "kind:device num_bytes:128 async:1")];
    add(&mut device, stream, "zero", (42_000_000, 1_000_000), fill);
    add(
        &mut device,
        (15, "Stream #15(Kernel)"),
        "ncclDevKernel_AllReduce_Sum_f32_RING_LL",
        (50_000_000, 9_000_000),
        vec![],
    );
    add(&mut device, (1_000, "Steps"), "step 5", (30_000_000, 30_000_000), vec![]);
    add(&mut device, (1_001, "XLA Modules"), "jit_f(12)", (30_000_000, 20_000_000), vec![]);
    add(&mut device, (1_002, "XLA Ops"), "dot.3", (30_000_000, 5_000_000), vec![]);
    add(&mut device, (1_003, "CUPTI overhead"), "buffer flush", (31_000_000, 5_000_000), vec![]);
    for (offset, watts) in [(0, 300.0), (5_000_000, 310.5)] {
        let value = vec![stat(&mut device, "power_mw", Stat::Double(watts))];
        add(&mut device, (1_004, "_counters_"), "power_mw", (offset, 0), value);
    }
    vec![host, device, environment(START)]
}

#[test]
fn a_gpu_has_streams_launches_copies_counters_and_what_was_made_from_them() {
    let trace = read(gpu());
    let stream =
        |name, kind, number: &str| assert_eq!(place(&trace, name), (kind, TrackKind::Stream, number.to_owned()));
    stream("gemm", EventKind::Kernel, "14");
    stream("MemcpyH2D", EventKind::Memcpy, "14");
    stream("zero", EventKind::Memset, "14");
    stream("ncclDevKernel_AllReduce_Sum_f32_RING_LL", EventKind::Collective, "15");
    let beside = |name, kind, line: &str| {
        assert_eq!(place(&trace, name), (kind, TrackKind::StreamAnnotations, line.to_owned()));
    };
    beside("step 5", EventKind::Step, "Steps");
    beside("jit_f(12)", EventKind::DeviceAnnotation, "XLA Modules");
    beside("dot.3", EventKind::DeviceAnnotation, "XLA Ops");
    beside("buffer flush", EventKind::Overhead, "CUPTI overhead");

    let launched = |name| trace.launches().launch_of(find(&trace, name)).map(|id| trace.name(id).to_owned());
    assert_eq!(launched("gemm").as_deref(), Some("cuLaunchKernel"));
    assert_eq!(launched("MemcpyH2D").as_deref(), Some("cudaMemcpyAsync"));
    assert_eq!(trace.launches().len(), 2);
    assert_eq!(trace.copy_bytes(find(&trace, "MemcpyH2D")), Some(4_096));
    assert_eq!(trace.copy_bytes(find(&trace, "zero")), Some(128));

    let counter = &trace.counters()[0];
    assert_eq!((trace.text(counter.name), counter.values.as_slice()), ("power_mw", [300.0, 310.5].as_slice()));
    assert_eq!(counter.times, [START + 1_000, START + 6_000]);

    let rank = &trace.ranks()[0];
    let device = &rank.devices[0];
    assert_eq!((device.id, device.name.as_str(), device.memory_bytes), (2, "H100", Some(1 << 36)));
    assert_eq!((device.multiprocessors, device.compute_capability), (Some(132), Some((9, 0))));
    let processes: Vec<_> = trace.processes().iter().map(|p| (p.kind, p.pid, trace.text(p.name))).collect();
    let expected =
        [(ProcessKind::Host, RawId::Int(4_711), "/host:CPU"), (ProcessKind::Device(2), RawId::Int(2), "/device:GPU:2")];
    assert_eq!(processes, expected);
}

#[test]
fn a_thread_shows_steps_python_calls_operators_ranges_and_instants() {
    let trace = read(gpu());
    let check = |name, kind| assert_eq!(place(&trace, name), (kind, TrackKind::Thread, "77".to_owned()), "{name}");
    check("train", EventKind::Step);
    check("$train.py:3 step", EventKind::PythonFunction);
    check("cuLaunchKernel", EventKind::DriverCall);
    check("cudaMemcpyAsync", EventKind::RuntimeCall);
    check("odd call", EventKind::RuntimeCall);
    check("PjitFunction(f)", EventKind::Operator);
    check("my range", EventKind::Annotation);
    check("dot", EventKind::Operator);
    check("fusion.1", EventKind::Operator);
    let check =
        |name, kind| assert_eq!(place(&trace, name), (kind, TrackKind::ThreadInstants, "77".to_owned()), "{name}");
    check("ThreadpoolListener::Record", EventKind::Instant);
    check("MemoryAllocation", EventKind::MemoryInstant);

    let launch = trace.event(find(&trace, "cuLaunchKernel"));
    assert_eq!((launch.start.nanos(), launch.dur.nanos()), (START + 11_000, 2_500));
    assert_eq!(arg(&trace, find(&trace, "train"), "step_num").as_deref(), Some("5"));
    assert_eq!(arg(&trace, find(&trace, "dot"), "hlo_op").as_deref(), Some("fusion.1"));
    assert_eq!(trace.ranks()[0].base_time_ns, Some(START));
    assert!(trace.warnings().sorted().iter().all(|warning| warning.kind.severity() == Severity::Note));
}

#[test]
fn a_tpu_works_on_one_line_and_notes_the_rest() {
    let mut tpu = plane("/device:TPU:1");
    let kind = stat(&mut tpu, "device_type_string", Stat::Str("TPU v5e".to_owned()));
    tpu.stats.push(kind);
    let category = |tpu: &mut XPlane, name: &str, display: &str, text: &str| {
        let id = event_type(tpu, name);
        let stats = vec![text_stat(tpu, "hlo_category", text), stat(tpu, "flops", Stat::Uint64(1 << 40))];
        let entry = tpu.event_metadata.get_mut(&id).unwrap();
        (entry.display_name, entry.stats) = (display.to_owned(), stats);
    };
    let ops = (3, "XLA Ops");
    let gather = "%all-gather-start.2 = (f32[8]{0}, f32[64]{0}) all-gather-start(f32[8]{0} %x)";
    add(&mut tpu, ops, "%fusion.1 = f32[8]{0} fusion(f32[8]{0} %x)", (0, 5_000_000), vec![]);
    category(&mut tpu, "%fusion.1 = f32[8]{0} fusion(f32[8]{0} %x)", "fusion.1", "convolution fusion");
    add(&mut tpu, ops, gather, (5_000_000, 1_000_000), vec![]);
    add(&mut tpu, ops, "%while.3 = () while()", (6_000_000, 9_000_000), vec![]);
    category(&mut tpu, "%while.3 = () while()", "while.3", "while");
    add(&mut tpu, ops, "%recv-done.4 = f32[] recv-done()", (7_000_000, 1_000_000), vec![]);
    let own = vec![text_stat(&mut tpu, "hlo_category", "all-reduce fusion")];
    add(&mut tpu, ops, "fusion.9", (8_000_000, 1_000_000), own);
    add(&mut tpu, (1, "Steps"), "7", (0, 20_000_000), vec![]);
    add(&mut tpu, (2, "XLA Modules"), "jit_step(1)", (0, 20_000_000), vec![]);
    add(&mut tpu, (4, "Async XLA Ops"), "all-gather.2", (5_000_000, 9_000_000), vec![]);
    let mut sparse = plane("/device:TPU:1 SparseCore 0");
    add(&mut sparse, (3, "Sparse Core Ops"), "gather.1", (0, 1_000_000), vec![]);
    add(&mut sparse, (1, "Sparse Core Steps"), "sparse 7", (0, 1_000_000), vec![]);
    let mut chip = plane("#Chip0#");
    add(&mut chip, (5, "DMA"), "transfer", (0, 1_000_000), vec![]);
    let trace = read(vec![tpu, sparse, chip]);

    let work = |name, kind, tid: &str| assert_eq!(place(&trace, name), (kind, TrackKind::Stream, tid.to_owned()));
    work("fusion.1", EventKind::Kernel, "3");
    work(gather, EventKind::Collective, "3");
    work("%recv-done.4 = f32[] recv-done()", EventKind::PointToPoint, "3");
    work("fusion.9", EventKind::Collective, "3");
    work("gather.1", EventKind::Kernel, "SparseCore 0 / Sparse Core Ops");
    let beside = |name, kind, line: &str| {
        assert_eq!(place(&trace, name), (kind, TrackKind::StreamAnnotations, line.to_owned()));
    };
    beside("while.3", EventKind::DeviceAnnotation, "3");
    beside("7", EventKind::Step, "Steps");
    beside("sparse 7", EventKind::Step, "SparseCore 0 / Sparse Core Steps");
    beside("jit_step(1)", EventKind::DeviceAnnotation, "XLA Modules");
    beside("all-gather.2", EventKind::DeviceAnnotation, "Async XLA Ops");
    assert_eq!(place(&trace, "transfer"), (EventKind::Other, TrackKind::Custom, "#Chip0# / DMA".to_owned()));

    let fusion = find(&trace, "fusion.1");
    let args: Vec<_> = trace.args(fusion).unwrap();
    let expected = [
        ("long_name".to_owned(), ArgValue::Text("%fusion.1 = f32[8]{0} fusion(f32[8]{0} %x)".to_owned())),
        ("hlo_category".to_owned(), ArgValue::Text("convolution fusion".to_owned())),
        ("flops".to_owned(), ArgValue::Int(1 << 40)),
    ];
    assert_eq!(args, expected);
    assert_eq!(trace.text(trace.event(fusion).category), "convolution fusion");
    assert_eq!(trace.ranks()[0].devices[0].name, "TPU v5e");
    // Nothing says when the recording began.
    assert_eq!(trace.ranks()[0].base_time_ns, None);
}

#[test]
fn work_that_is_handed_on_becomes_arrows() {
    let mut host = plane("/host:CPU");
    let numbers = |host: &mut XPlane, context: &str, number: &str, id: u64| {
        vec![stat(host, context, Stat::Int64(15)), stat(host, number, Stat::Uint64(id))]
    };
    let out = numbers(&mut host, "_pt", "_p", 8);
    add(&mut host, (1, "a"), "producer", (0, 1_000_000), out);
    let taken = numbers(&mut host, "_ct", "_c", 8);
    add(&mut host, (2, "b"), "consumer", (2_000_000, 1_000_000), taken);
    let flow =
        |host: &mut XPlane, direction: u64| vec![stat(host, "flow", Stat::Uint64(5 << 58 | 99 << 2 | direction))];
    let out = flow(&mut host, 2);
    add(&mut host, (1, "a"), "flow out", (5_000_000, 1_000_000), out);
    let taken = flow(&mut host, 1);
    add(&mut host, (2, "b"), "flow in", (7_000_000, 1_000_000), taken);
    let loose = numbers(&mut host, "_pt", "_p", 9);
    add(&mut host, (1, "a"), "loose", (9_000_000, 1_000_000), loose);
    let trace = read(vec![host]);
    let arrow = |flow: &gapless_trace::Flow| (trace.name(flow.from), trace.name(flow.to), trace.text(flow.category));
    let mut arrows: Vec<_> = trace.flows().iter().map(arrow).collect();
    arrows.sort_unstable();
    assert_eq!(arrows, [("flow out", "flow in", "PJRT"), ("producer", "consumer", "thread pool")]);
    assert_eq!(trace.warnings().count(WarningKind::FlowWithoutEnd), 1);
}

#[test]
fn times_are_rounded_down_at_both_ends_and_count_from_the_start_of_the_recording() {
    let mut host = plane("/host:CPU");
    add(&mut host, (1, "a"), "outer", (1_999, 2_002), vec![]);
    add(&mut host, (1, "a"), "inner", (2_500, 1_400), vec![]);
    add(&mut host, (1, "a"), "before", (-1, 1), vec![]);
    // A line that a later tool added counts from 1970, and so does a whole file of old.
    let absolute = |line: &mut XLine| line.timestamp_ns = START + 5_000;
    add(&mut host, (2, "b"), "absolute", (1_000, 1_000), vec![]);
    absolute(host.lines.last_mut().unwrap());
    let times = |trace: &Trace, name: &str| {
        let event = trace.event(find(trace, name));
        (event.start.nanos() - START, event.dur.nanos())
    };
    let trace = read(vec![host.clone(), environment(START)]);
    assert_eq!(times(&trace, "outer"), (1_001, 3));
    assert_eq!(times(&trace, "inner"), (1_002, 1));
    assert_eq!(times(&trace, "before"), (999, 1));
    assert_eq!(times(&trace, "absolute"), (5_001, 1));
    host.lines.remove(0);
    let trace = read(vec![host]);
    assert_eq!(times(&trace, "absolute"), (5_001, 1));
    assert_eq!(trace.ranks()[0].base_time_ns, Some(0));
}

#[test]
fn facts_of_the_recording_are_in_the_header() {
    let mut facts = plane("/host:metadata");
    let version = stat(&mut facts, "jax_version", Stat::Str("0.12".to_owned()));
    facts.stats.push(version);
    event_type(&mut facts, "jit_step(1)");
    let mut host = plane("/host:CPU");
    add(&mut host, (1, "a"), "x", (0, 1_000), vec![]);
    let id = event_type(&mut host, "sum");
    let sum = XEvent { metadata_id: id, data: Some(Data::NumOccurrences(12)), ..XEvent::default() };
    host.lines[0].events.push(sum);
    let space = XSpace {
        planes: vec![facts, host],
        errors: vec!["buffer was full".to_owned()],
        warnings: vec!["slow".to_owned()],
        hostnames: vec!["a".to_owned(), "b".to_owned()],
    };
    let trace = open_bytes("x", space.encode_to_vec(), &OpenOptions::default()).unwrap();
    let header: Vec<_> = trace.ranks()[0].header.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let expected = [
        "/host:metadata={jax_version: \"0.12\", programs: [\"jit_step(1)\"]}",
        "messages=[\"buffer was full\", \"slow\"]",
        "hostnames=[\"a\", \"b\"]",
    ];
    assert_eq!(header, expected);
    assert_eq!(trace.ranks()[0].host, None);
    assert_eq!(trace.warnings().count(WarningKind::RecorderMessage), 2);
    assert_eq!(trace.warnings().count(WarningKind::SumOfEvents), 1);
    assert_eq!((trace.events().len(), trace.sources()[0].file_events), (1, 2));
}

#[test]
fn arguments_of_every_type_are_shown() {
    let mut host = plane("/host:CPU");
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    zipped.write_all(b"long text").unwrap();
    let values = [
        ("double", Stat::Double(0.5), "0.5"),
        ("uint", Stat::Uint64(u64::MAX), "18446744073709551615"),
        ("int", Stat::Int64(-3), "-3"),
        ("text", Stat::Str("t".to_owned()), "t"),
        ("bytes", Stat::Bytes(vec![0xFF, 0x01]), "ff01"),
        ("ref", Stat::Ref(1), "double"),
        ("lost ref", Stat::Ref(999), "stat 999"),
        ("zipped", Stat::Gzip(zipped.finish().unwrap()), "long text"),
        ("bad zip", Stat::Gzip(vec![1, 2]), "2 bytes of gzip: corrupt deflate stream"),
    ];
    let mut stats: Vec<_> = values.iter().map(|(name, value, _)| stat(&mut host, name, value.clone())).collect();
    stats.push(crate::proto::XStat { metadata_id: 500, value: None });
    add(&mut host, (1, "a"), "x", (0, 1_000), stats);
    let trace = read(vec![host]);
    let args: Vec<_> = trace.args(EventId(0)).unwrap();
    let text: Vec<_> = args.iter().map(|(name, value)| (name.as_str(), value.to_string())).collect();
    for (name, _, shown) in &values {
        let found = text.iter().find(|entry| entry.0 == *name).unwrap();
        if *name == "bad zip" {
            assert!(found.1.starts_with("2 bytes of gzip: "), "{}", found.1);
        } else {
            assert_eq!(found.1, *shown, "{name}");
        }
    }
    assert_eq!(text.last().unwrap(), &("stat 500", "null".to_owned()));
}

#[test]
fn planes_and_lines_in_pieces_are_one() {
    // Large planes are written in pieces with the same name, large lines in pieces with the same id.
    let mut first = plane("/host:CPU");
    add(&mut first, (1, "a"), "x", (0, 1_000), vec![]);
    let mut second = plane("/host:CPU");
    second.event_metadata.insert(9, XEventMetadata { id: 9, name: "y".to_owned(), ..XEventMetadata::default() });
    let event = XEvent { metadata_id: 9, data: Some(Data::OffsetPs(5_000)), duration_ps: 1_000, stats: vec![] };
    second.lines.push(XLine { id: 1, events: vec![event], timestamp_ns: 1_000, ..XLine::default() });
    let trace = read(vec![first, second]);
    assert_eq!(trace.tracks().len(), 1);
    assert_eq!(trace.events().len(), 2);
    assert_eq!(trace.event(find(&trace, "y")).start.nanos(), 1_005);
}

#[test]
fn a_folder_of_hosts_is_one_trace_with_a_rank_for_each() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("plugins/profile/2026_11_23");
    std::fs::create_dir_all(&run).unwrap();
    for host in ["node-10", "node-9"] {
        let space = XSpace { planes: gpu(), hostnames: vec![host.to_owned()], ..XSpace::default() };
        std::fs::write(run.join(format!("{host}.xplane.pb")), space.encode_to_vec()).unwrap();
        std::fs::write(run.join(format!("{host}.trace.json.gz")), b"{\"traceEvents\": [").unwrap();
    }
    std::fs::write(run.join("perfetto_trace.json"), b"{\"traceEvents\": [").unwrap();
    let paths = expand(&[folder.path().to_string_lossy().into_owned()]).unwrap();
    let names: Vec<_> = paths.iter().map(|path| path.file_name().unwrap().to_string_lossy()).collect();
    assert_eq!(names, ["node-9.xplane.pb", "node-10.xplane.pb"]);
    let trace = open(&paths, &OpenOptions::default(), &Silent).unwrap();
    let ranks: Vec<_> = trace.ranks().iter().map(|rank| (rank.number, rank.host.as_deref())).collect();
    assert_eq!(ranks, [(Some(0), Some("node-9")), (Some(1), Some("node-10"))]);
    assert_eq!(trace.warnings().count(WarningKind::RankAssumed), 2);

    // Two runs of one host are no two ranks.
    let second = folder.path().join("plugins/profile/2026_11_24");
    std::fs::create_dir_all(&second).unwrap();
    std::fs::copy(run.join("node-9.xplane.pb"), second.join("node-9.xplane.pb")).unwrap();
    let paths = expand(&[folder.path().to_string_lossy().into_owned()]).unwrap();
    let error = open(&paths, &OpenOptions::default(), &Silent).unwrap_err();
    assert!(matches!(&error, OpenError::Ranks { reason, .. } if reason.contains("both are of host node-9")), "{error}");
}
