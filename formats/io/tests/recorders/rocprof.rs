//! JSON of rocprofv3.

use gapless_formats::{OpenOptions, open_bytes};
use gapless_trace::{ArgValue, EventKind, RawId, TrackKind, WarningKind};

use super::{arg, find, ids, read, refusal, timeline, track, warnings};

/// Time of the host since boot, in ns.
const T: i64 = 5_000_000_000_000;

const STRINGS: &str = r#""strings": {
    "callback_records": [{"kind": "NONE", "operations": []}],
    "buffer_records": [
        {"kind": "NONE", "operations": []},
        {"kind": "HSA_CORE_API", "operations": ["hsa_init", "hsa_signal_store_screlease"]},
        {"kind": "HIP_RUNTIME_API_EXT", "operations": ["", "hipLaunchKernel", "hipMemcpyAsync", "hipMalloc"]},
        {"kind": "MARKER_CORE_API", "operations": ["roctxMarkA", "roctxRangePushA", "roctxRangePop", "roctxRangeStartA", "roctxRangeStop"]},
        {"kind": "MEMORY_COPY", "operations": ["MEMORY_COPY_NONE", "MEMORY_COPY_HOST_TO_HOST", "MEMORY_COPY_HOST_TO_DEVICE"]},
        {"kind": "KERNEL_DISPATCH", "operations": ["KERNEL_DISPATCH_NONE", "KERNEL_DISPATCH_ENQUEUE", "KERNEL_DISPATCH_COMPLETE"]},
        {"kind": "RCCL_API", "operations": ["ncclAllReduce"]},
        {"kind": "MEMORY_ALLOCATION", "operations": ["MEMORY_ALLOCATION_NONE", "MEMORY_ALLOCATION_ALLOCATE"]}],
    "marker_api": [{"key": 1, "value": "step 1"}, {"key": 2, "value": "a mark"}, {"key": 3, "value": "upload"}],
    "correlation_id": {"external": [{"key": 55, "value": "renamed by the user"}]},
    "counters": {"dimension_ids": []}}"#;

const KERNELS: &str = r#""kernel_symbols": [
    {"size": 0, "kernel_id": 0, "kernel_name": "", "formatted_kernel_name": "", "demangled_kernel_name": ""},
    {"size": 8, "kernel_id": 1, "kernel_name": "_Z4gemmPf.kd", "formatted_kernel_name": "gemm(float*)", "demangled_kernel_name": "gemm(float*)"},
    {"size": 8, "kernel_id": 2, "kernel_name": "ncclDevKernel_Generic.kd", "formatted_kernel_name": "", "demangled_kernel_name": ""}]"#;

const AGENTS: &str = r#""agents": [
    {"size": 288, "id": {"handle": 100}, "type": 1, "name": "AMD EPYC", "product_name": "AMD EPYC", "node_id": 0, "logical_node_id": 0, "logical_node_type_id": 0, "mem_banks": []},
    {"size": 288, "id": {"handle": 101}, "type": 2, "name": "gfx942", "product_name": "AMD Instinct MI300X", "cu_count": 304, "node_id": 1, "logical_node_id": 1, "logical_node_type_id": 0, "mem_banks": [{"size_in_bytes": 206141652992}]},
    {"size": 288, "id": {"handle": 102}, "type": 2, "name": "gfx942", "product_name": "", "cu_count": 304, "node_id": 2, "logical_node_id": 2, "logical_node_type_id": 1, "mem_banks": []}]"#;

/// A call; `extra` holds further fields.
fn record(kind: u32, operation: u32, correlation: u64, times: [i64; 2], extra: &str) -> String {
    format!(
        r#"{{"size": 72, "kind": {kind}, "operation": {operation}, "correlation_id": {{"internal": {correlation}, "external": 0, "ancestor": 0}}, "start_timestamp": {}, "end_timestamp": {}, "thread_id": 4243{extra}}}"#,
        T + times[0],
        T + times[1]
    )
}

fn kernel(agent: u64, kernel: u64, dispatch: u64, correlation: u64, times: [i64; 2], extra: &str) -> String {
    let info = format!(
        r#", "dispatch_info": {{"size": 80, "agent_id": {{"handle": {agent}}}, "queue_id": {{"handle": 3}}, "kernel_id": {kernel}, "dispatch_id": {dispatch}, "private_segment_size": 0, "group_segment_size": 0, "workgroup_size": {{"x": 256, "y": 1, "z": 1}}, "grid_size": {{"x": 1024, "y": 1, "z": 1}}}}{extra}"#
    );
    record(5, 2, correlation, times, &info)
}

fn lists() -> Vec<(&'static str, Vec<String>)> {
    let agents = r#", "dst_agent_id": {"handle": 102}, "src_agent_id": {"handle": 100}, "bytes": 4096, "stream_id": {"handle": 2}"#;
    vec![
        (
            "kernel_dispatch",
            vec![
                kernel(101, 1, 1, 10, [1_000, 1_500], r#", "stream_id": {"handle": 7}, "kernel_rename_val": 0"#),
                kernel(102, 2, 2, 12, [2_000, 2_600], r#", "stream_id": {"handle": 8}, "kernel_rename_val": 0"#),
                kernel(101, 1, 3, 10, [1_400, 1_900], r#", "stream_id": {"handle": 7}, "kernel_rename_val": 55"#),
            ],
        ),
        (
            "hip_api",
            vec![
                record(
                    2,
                    1,
                    10,
                    [100, 300],
                    r#", "args": [{"type": "dim3", "name": "numBlocks", "value": "{4,1,1}"}], "retval": {"uint64_t_retval": 0}"#,
                ),
                record(2, 1, 12, [400, 500], ""),
                record(2, 2, 13, [600, 700], ""),
            ],
        ),
        ("hsa_api", vec![record(1, 1, 11, [150, 160], "")]),
        (
            "marker_api",
            vec![record(3, 1, 1, [50, 900], ""), record(3, 0, 2, [60, 60], ""), record(3, 3, 3, [550, 5_000], "")],
        ),
        ("rccl_api", vec![record(6, 0, 14, [390, 520], "")]),
        ("memory_copy", vec![record(4, 2, 13, [3_000, 3_250], agents)]),
        (
            "memory_allocation",
            vec![record(
                7,
                1,
                15,
                [10, 20],
                r#", "agent_id": {"handle": 101}, "address": "0x00007f00", "allocation_size": 65536"#,
            )],
        ),
        ("scratch_memory", vec![]),
        ("pc_sample_host_trap", vec!["{\"hw_id\": 1}".to_owned(), "{\"hw_id\": 2}".to_owned()]),
    ]
}

fn process(pid: u32, lists: &[(&str, Vec<String>)]) -> String {
    let lists: Vec<_> = lists.iter().map(|(name, records)| format!("\"{name}\": [{}]", records.join(",\n"))).collect();
    format!(
        "{{\"metadata\": {{\"node\": {{\"id\": 1, \"hostname\": \"mi300-7\"}}, \"pid\": {pid}, \"init_time\": {T}, \"fini_time\": {}, \"command\": [\"./a.out\"]}},\n{AGENTS},\n\"counters\": [],\n{STRINGS},\n\"code_objects\": [],\n{KERNELS},\n\"host_functions\": [],\n\"summary\": [],\n\"callback_records\": {{\"counter_collection\": []}},\n\"buffer_records\": {{{}}}}}",
        T + 9_999,
        lists.join(",\n")
    )
}

pub fn one_process() -> String {
    format!("{{\n\"rocprofiler-sdk-tool\": [\n{}\n]\n}}", process(4_242, &lists()))
}

#[test]
fn records_become_a_timeline_with_devices_streams_threads_and_launches() {
    let trace = read("4242_results.json", one_process());
    let at = |offset: i64| T + offset;
    assert_eq!(
        timeline(&trace),
        [
            ("MEMORY_ALLOCATION_ALLOCATE", at(10), 10),
            ("step 1", at(50), 850),
            ("a mark", at(60), 0),
            ("hipLaunchKernel", at(100), 200),
            ("hsa_signal_store_screlease", at(150), 10),
            ("ncclAllReduce", at(390), 130),
            ("hipLaunchKernel", at(400), 100),
            ("upload", at(550), 4_450),
            ("hipMemcpyAsync", at(600), 100),
            ("gemm(float*)", at(1_000), 500),
            ("renamed by the user", at(1_400), 500),
            ("ncclDevKernel_Generic.kd", at(2_000), 600),
            ("MEMORY_COPY_HOST_TO_DEVICE", at(3_000), 250),
        ]
    );
    let kind = |name: &str| trace.event(find(&trace, name)).kind;
    let expected = [
        ("gemm(float*)", EventKind::Kernel),
        ("ncclDevKernel_Generic.kd", EventKind::Collective),
        ("MEMORY_COPY_HOST_TO_DEVICE", EventKind::Memcpy),
        ("hsa_signal_store_screlease", EventKind::RuntimeCall),
        ("ncclAllReduce", EventKind::Annotation),
        ("step 1", EventKind::Annotation),
        ("a mark", EventKind::Instant),
        ("upload", EventKind::Async),
    ];
    for (name, expected) in expected {
        assert_eq!(kind(name), expected, "{name}");
    }
    let place = |name: &str| {
        let (_, track) = trace.track_of(find(&trace, name)).unwrap();
        (track.kind, trace.process(track.process).unwrap().pid, track.tid)
    };
    let (device, thread) = (TrackKind::Stream, TrackKind::Thread);
    assert_eq!(place("gemm(float*)"), (device, RawId::Int(0), RawId::Int(7)));
    assert_eq!(place("ncclDevKernel_Generic.kd"), (device, RawId::Int(1), RawId::Int(8)));
    assert_eq!(place("MEMORY_COPY_HOST_TO_DEVICE"), (device, RawId::Int(1), RawId::Int(2)));
    assert_eq!(place("hipMemcpyAsync"), (thread, RawId::Int(4_242), RawId::Int(4_243)));
    assert_eq!(track(&trace, find(&trace, "MEMORY_ALLOCATION_ALLOCATE")), "memory allocations");
    // One launch has two kernels.
    let launch =
        |name: &str| trace.launches().launch_of(find(&trace, name)).map(|id| trace.event(id).start.nanos() - T);
    assert_eq!((launch("gemm(float*)"), launch("renamed by the user")), (Some(100), Some(100)));
    assert_eq!((launch("ncclDevKernel_Generic.kd"), launch("MEMORY_COPY_HOST_TO_DEVICE")), (Some(400), Some(600)));
    assert_eq!(trace.copy_bytes(find(&trace, "MEMORY_COPY_HOST_TO_DEVICE")), Some(4_096));
    assert_eq!(
        trace.parent(find(&trace, "hsa_signal_store_screlease")).map(|id| trace.name(id)),
        Some("hipLaunchKernel")
    );
    let args = trace.args(find(&trace, "gemm(float*)")).unwrap();
    let ArgValue::Dict(info) = arg(&args, "dispatch_info") else { panic!() };
    assert_eq!(arg(info, "grid_size").to_string(), "{x: 1024, y: 1, z: 1}");
    let rank = &trace.ranks()[0];
    assert_eq!((rank.host.as_deref(), rank.devices.len()), (Some("mi300-7"), 2));
    let gpu = &rank.devices[0];
    assert_eq!(
        (gpu.name.as_str(), gpu.memory_bytes, gpu.multiprocessors),
        ("AMD Instinct MI300X", Some(206_141_652_992), Some(304))
    );
    assert_eq!(rank.devices[1].name, "gfx942");
    assert_eq!(warnings(&trace), [(WarningKind::UnknownPacket, 2)]);
}

#[test]
fn older_files_have_another_name_for_kernels_and_queues_only() {
    let call = record(2, 1, 10, [100, 300], "");
    let lists = [("kernel_dispatches", vec![kernel(101, 1, 1, 10, [1_000, 1_500], "")]), ("hip_api", vec![call])];
    let text = format!("{{\"rocprofiler-sdk-tool\": {}}}", process(1, &lists));
    let trace = read("results.json", text);
    let (_, track) = trace.track_of(find(&trace, "gemm(float*)")).unwrap();
    assert_eq!((track.stream(), trace.launches().len()), (Some(3), 1));
    assert_eq!(warnings(&trace), vec![]);
}

#[test]
fn processes_of_one_file_keep_their_calls_apart() {
    let lists = [
        ("kernel_dispatch", vec![kernel(101, 1, 1, 10, [1_000, 1_500], "")]),
        ("hip_api", vec![record(2, 1, 10, [100, 300], "")]),
    ];
    let text = format!("{{\"rocprofiler-sdk-tool\": [{},{}]}}", process(1, &lists), process(2, &lists));
    let trace = read("results.json", text);
    assert_eq!((trace.events().len(), trace.launches().len(), trace.ranks().len()), (4, 2, 1));
    let launches: std::collections::BTreeSet<_> = trace.launches().pairs().iter().map(|pair| pair.0).collect();
    assert_eq!(launches.len(), 2, "each kernel has the launch of its own process");
}

#[test]
fn counters_belong_to_the_kernel_that_they_were_taken_of() {
    let counters = |dispatch: u64| {
        format!(
            r#"{{"thread_id": 4243, "dispatch_data": {}, "records": [{{"counter_id": {{"handle": 9}}, "value": 12.5}}]}}"#,
            kernel(101, 1, dispatch, 10, [1_000, 1_500], "")
        )
    };
    let with = |lists: &[(&str, Vec<String>)], collected: &[String]| {
        let text = process(1, lists)
            .replace("\"counter_collection\": []", &format!("\"counter_collection\": [{}]", collected.join(",")));
        read("results.json", format!("{{\"rocprofiler-sdk-tool\": [{text}]}}"))
    };
    let traced = [("kernel_dispatch", vec![kernel(101, 1, 1, 10, [1_000, 1_500], "")])];
    let trace = with(&traced, &[counters(1), counters(99)]);
    let args = trace.args(find(&trace, "gemm(float*)")).unwrap();
    assert!(arg(&args, "records").to_string().contains("12.5"));
    assert_eq!(trace.warnings().count(WarningKind::UnknownPacket), 1, "a dispatch that was not traced");
    // Where kernels were not traced, those with counters are the kernels.
    let trace = with(&[], &[counters(1)]);
    assert_eq!(timeline(&trace), [("gemm(float*)", T + 1_000, 500)]);
}

#[test]
fn wrong_records_are_counted_and_the_others_kept() {
    let good = record(2, 1, 1, [100, 300], "");
    let check = |bad: &str, kind: WarningKind, kept: usize| {
        let lists = [("hip_api", vec![good.clone(), bad.to_owned(), good.clone()])];
        let trace = read("results.json", format!("{{\"rocprofiler-sdk-tool\": [{}]}}", process(1, &lists)));
        assert_eq!((trace.events().len(), trace.warnings().count(kind)), (kept, 1), "{bad}: {:?}", warnings(&trace));
    };
    let start = format!("\"start_timestamp\": {}", T + 100);
    check("17", WarningKind::EventNotObject, 2);
    check("{}", WarningKind::NoTimestamp, 2);
    check(&good.replace(&start, "\"start_timestamp\": \"soon\""), WarningKind::MalformedEvent, 2);
    check(&good.replace(&start, "\"start_timestamp\": -5"), WarningKind::MalformedEvent, 2);
    check(&good.replace(&start, "\"start_timestamp\": 99999999999999999999"), WarningKind::MalformedEvent, 2);
    check(&good.replace(&start, "\"start_timestamp\": 18446744073709551615"), WarningKind::TimeOutOfRange, 2);
    check(&good.replace(&start, "\"start_timestamp\": 0"), WarningKind::NoTimestamp, 2);
    check(&record(2, 1, 1, [300, 100], ""), WarningKind::NegativeDuration, 3);
    check(&record(2, 77, 1, [100, 300], ""), WarningKind::UnknownId, 3);
    check(&record(77, 1, 1, [100, 300], ""), WarningKind::UnknownId, 3);
    check(&record(2, 1, 1 << 40, [100, 300], ""), WarningKind::WideId, 3);
    check(&good.replace("\"kind\": 2", "\"kind\": \"a \"b\" c\""), WarningKind::MalformedEvent, 2);
    check(
        &record(2, 1, 1, [100, 300], &format!(", \"x\": {}{}", "[".repeat(10_000), "]".repeat(10_000))),
        WarningKind::TooDeep,
        2,
    );
    let lists = [("kernel_dispatch", vec![kernel(101, 50, 1, 10, [1, 2], ""), record(5, 2, 10, [1, 2], "")])];
    let trace = read("results.json", format!("{{\"rocprofiler-sdk-tool\": [{}]}}", process(1, &lists)));
    assert_eq!(timeline(&trace), [("kernel 50", T + 1, 1)]);
    assert_eq!(trace.warnings().count(WarningKind::MalformedEvent), 1);
}

#[test]
fn a_file_that_is_cut_keeps_its_whole_records() {
    let text = one_process();
    let whole = read("results.json", text.clone());
    let records = text.find("\"buffer_records\": {\"kernel").unwrap();
    let mut last = 0;
    for cut in (30..text.len()).step_by(17) {
        let trace = read("results.json", &text.as_bytes()[..cut]);
        let found = trace.events().len();
        assert!(found >= last && (found == 0 || cut > records), "{cut}");
        let cuts = [WarningKind::Truncated, WarningKind::MissingEnd].map(|kind| trace.warnings().count(kind));
        assert_eq!(cuts[0] + cuts[1], 1, "{cut}: {:?}", warnings(&trace));
        last = found;
    }
    assert_eq!(last, ids(&whole).count());
}

#[test]
fn limits_are_named() {
    let mut options = OpenOptions::default();
    options.limits.events = 3;
    let refused = open_bytes("r.json", one_process().into_bytes(), &options).unwrap_err().to_string();
    assert!(refused.contains("--limit events="), "{refused}");
    assert!(refusal("r.json", "[{\"rocprofiler-sdk-tool\": 1}]").contains("not a trace"));
}
