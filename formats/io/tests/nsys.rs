//! Nsight Systems exports made by hand, with all the rare tables, and answers that are known.
#![allow(clippy::unwrap_used, clippy::panic)]

mod nsys_fixture;

use gapless_formats::{OpenOptions, Silent, open, open_bytes};
use gapless_trace::{ArgValue, EventId, EventKind, RawId, Trace, TrackKind, WarningKind};
use nsys_fixture::{Fixture, PID_A, PID_B, full, full_in, tid};

fn events(trace: &Trace) -> impl Iterator<Item = EventId> {
    (0..trace.events().len() as u32).map(EventId)
}

/// The only event of this name.
fn one(trace: &Trace, name: &str) -> EventId {
    let found: Vec<EventId> = events(trace).filter(|&id| trace.name(id) == name).collect();
    assert_eq!(found.len(), 1, "{name}: {found:?}");
    found[0]
}

fn of_kind(trace: &Trace, kind: EventKind) -> Vec<EventId> {
    events(trace).filter(|&id| trace.event(id).kind == kind).collect()
}

/// (start, duration) without the base.
fn times(trace: &Trace, id: EventId) -> (i64, i64) {
    let base = trace.ranks()[trace.rank_of(id).unwrap().index()].base_time_ns.unwrap_or(0);
    let event = trace.event(id);
    (event.start.0 - base, event.dur.0)
}

fn arg(trace: &Trace, id: EventId, name: &str) -> Option<ArgValue> {
    trace.args(id).unwrap().into_iter().find(|entry| entry.0 == name).map(|entry| entry.1)
}

fn text(text: &str) -> Option<ArgValue> {
    Some(ArgValue::Text(text.to_owned()))
}

fn kind_of_track(trace: &Trace, id: EventId) -> TrackKind {
    trace.track_of(id).unwrap().1.kind
}

#[test]
fn two_processes_with_gpus_are_two_ranks() {
    let trace = full().trace();
    let ranks: Vec<(Option<u32>, Option<i64>)> =
        trace.ranks().iter().map(|rank| (rank.number, rank.base_time_ns)).collect();
    // Process B has the lower device.
    assert_eq!(ranks, [(Some(0), Some(1_700_000_000_000_000_000)), (Some(1), Some(1_700_000_000_000_000_000))]);
    assert_eq!(trace.warnings().count(WarningKind::RankAssumed), 2);
    let rank_of = |name: &str| trace.rank_of(one(&trace, name)).unwrap().index();
    assert_eq!(rank_of("vectorAdd<float>(float*)"), 1);
    assert_eq!(rank_of("ncclDevKernel_AllReduce"), 0);
    // A process without device work goes to the first.
    assert_eq!(rank_of("helper range"), 0);
    assert_eq!(trace.ranks()[0].host.as_deref(), Some("node7"));
    let devices: Vec<_> = trace.ranks().iter().flat_map(|rank| &rank.devices).collect();
    let described: Vec<_> = devices.iter().map(|info| (info.id, info.name.as_str(), info.memory_bytes)).collect();
    assert_eq!(described, [(0, "H100 A", Some(80 << 30)), (1, "H100 B", Some(80 << 30))]);
    assert_eq!(devices[0].compute_capability, Some((9, 0)));
    assert_eq!(devices[0].multiprocessors, Some(132));
}

#[test]
fn device_work_has_names_streams_bytes_and_launches() {
    let trace = full().trace();
    let kernel = one(&trace, "vectorAdd<float>(float*)");
    assert_eq!(times(&trace, kernel), (2_000, 500));
    let (_, track) = trace.track_of(kernel).unwrap();
    assert_eq!((track.kind, track.tid), (TrackKind::Stream, RawId::Int(7)));
    assert_eq!(trace.text(track.name), "stream 7 (null stream)");
    assert_eq!(arg(&trace, kernel, "gridX"), Some(ArgValue::Int(32)));
    assert_eq!(arg(&trace, kernel, "launchType"), text("Regular"));
    assert_eq!(arg(&trace, kernel, "mangledName"), text("_Z9vectorAddPf"));
    assert_eq!(trace.event(one(&trace, "ncclDevKernel_AllReduce")).kind, EventKind::Collective);

    let copy = one(&trace, "Memcpy HtoD (Pinned -> Device)");
    assert_eq!((trace.event(copy).kind, trace.copy_bytes(copy)), (EventKind::Memcpy, Some(4096)));
    let fill = one(&trace, "Memset (Device)");
    assert_eq!((trace.event(fill).kind, trace.copy_bytes(fill)), (EventKind::Memset, Some(64)));
    let graph = one(&trace, "CUDA graph 5");
    assert_eq!((trace.event(graph).kind, times(&trace, graph)), (EventKind::Kernel, (4_000, 900)));
    let sync = one(&trace, "Stream Sync");
    assert_eq!((trace.event(sync).kind, kind_of_track(&trace, sync)), (EventKind::DeviceSync, TrackKind::StreamSyncs));
    let recorded = one(&trace, "CUDA event");
    assert_eq!((trace.event(recorded).kind, times(&trace, recorded)), (EventKind::Instant, (2_600, 0)));

    let launches: Vec<(&str, &str)> =
        trace.launches().pairs().iter().map(|&(from, to)| (trace.name(from), trace.name(to))).collect();
    // The same number in the other process and in the helper joins nothing here.
    let mut expected = vec![
        ("cudaLaunchKernel", "vectorAdd<float>(float*)"),
        ("cuLaunchKernelEx", "ncclDevKernel_AllReduce"),
        ("cudaMemcpyAsync", "Memcpy HtoD (Pinned -> Device)"),
        ("cudaGraphLaunch", "CUDA graph 5"),
        ("cudaStreamSynchronize", "Stream Sync"),
    ];
    expected.sort_unstable();
    let mut launches = launches;
    launches.sort_unstable();
    assert_eq!(launches, expected);
    let call = one(&trace, "cudaLaunchKernel");
    assert_eq!(trace.event(call).kind, EventKind::RuntimeCall);
    assert_eq!(arg(&trace, call, "nameId"), text("cudaLaunchKernel_v7000"));
    assert_eq!(trace.event(one(&trace, "cuLaunchKernelEx")).kind, EventKind::DriverCall);
    let overhead = one(&trace, "Command Buffer Full");
    assert_eq!(trace.event(overhead).kind, EventKind::Overhead);
    assert_eq!(arg(&trace, overhead, "overheadType"), text("Command buffer full (CUDA)"));
}

#[test]
fn nvtx_ranges_marks_domains_and_categories_are_read() {
    let trace = full().trace();
    let range = one(&trace, "forward");
    assert_eq!((trace.event(range).kind, kind_of_track(&trace, range)), (EventKind::Annotation, TrackKind::Thread));
    assert_eq!(trace.text(trace.event(range).category), "nvtx");
    assert_eq!(arg(&trace, range, "category"), text("compute"));
    assert_eq!(arg(&trace, range, "color"), text("0xff00ff00"));
    assert_eq!(arg(&trace, range, "int64Value"), Some(ArgValue::Int(-3)));
    let registered = one(&trace, "registered text");
    assert_eq!(trace.text(trace.event(registered).category), "my.domain");
    let free = one(&trace, "transfer");
    assert_eq!((trace.event(free).kind, kind_of_track(&trace, free)), (EventKind::Async, TrackKind::Async));
    let mark = one(&trace, "checkpoint");
    assert_eq!((trace.event(mark).kind, kind_of_track(&trace, mark)), (EventKind::Instant, TrackKind::ThreadInstants));
    let operator = one(&trace, "aten::mul");
    assert_eq!(trace.event(operator).kind, EventKind::Operator);
    assert_eq!(arg(&trace, operator, "text"), text("aten::mul, seq = 12, op_id = 99"));
    let open = one(&trace, "never ended");
    assert_eq!(times(&trace, open).0, 9_000);
    assert_eq!(trace.warnings().count(WarningKind::BeginWithoutEnd), 1);
    // NVTX names the thread; the system's name gives way.
    let (_, track) = trace.track_of(range).unwrap();
    assert_eq!(trace.text(track.name), "main loop");
    let steps: Vec<&str> = of_kind(&trace, EventKind::Step).iter().map(|&id| trace.name(id)).collect();
    assert_eq!(steps, ["iteration 1", "iteration 2"]);
    // An import of a kind that has no place is counted.
    assert_eq!(trace.warnings().count(WarningKind::MetadataUnused), 2, "{:?}", trace.warnings());
}

#[test]
fn steps_that_leave_a_doubt_stay_ranges() {
    let mut fixture = full();
    // The same words on another thread of the process.
    for (start, name) in [(20_000, "iteration 1"), (21_000, "iteration 2")] {
        let thread = tid(PID_A, 78);
        let values = format!("({start}, {}, 59, '{name}', {thread}, 0)", start + 500);
        fixture
            .run(&format!("insert into NVTX_EVENTS(start, end, eventType, text, globalTid, domainId) values {values}"));
    }
    assert!(of_kind(&fixture.trace(), EventKind::Step).is_empty());
}

#[test]
fn payloads_of_nccl_tell_the_collective() {
    let trace = full().trace();
    let range = one(&trace, "ncclAllReduce");
    assert_eq!(trace.text(trace.event(range).category), "NCCL");
    assert_eq!(arg(&trace, range, "Message size [bytes]"), Some(ArgValue::Int(1 << 20)));
    assert_eq!(arg(&trace, range, "Reduction operation"), text("Sum"));
    let collective = trace.collective(range).unwrap();
    assert_eq!(trace.text(collective.name), "ncclAllReduce");
    assert_eq!((collective.in_elems, collective.out_elems, collective.group_size), (Some(1 << 20), None, Some(2)));
    assert_eq!((trace.text(collective.dtype), trace.text(collective.group)), ("Byte", "0xfedcba9876543210"));
    let grouped = one(&trace, "ncclGroupStart");
    assert!(trace.collective(grouped).is_none());
}

#[test]
fn threads_calls_samples_and_cores_are_read() {
    let trace = full().trace();
    let call = one(&trace, "pthread_cond_wait");
    assert_eq!((trace.event(call).kind, times(&trace, call)), (EventKind::OsCall, (1_000, 3_000)));
    let stack = trace.stack_of(call).unwrap();
    let frames = |stack| trace.stacks().frames_of(stack).map(|frame| trace.text(frame.name)).collect::<Vec<_>>();
    assert_eq!(frames(stack.stack), ["leaf", "main"]);
    let mpi = one(&trace, "MPI_Barrier");
    assert_eq!((trace.event(mpi).kind, trace.text(trace.event(mpi).category)), (EventKind::Other, "mpi"));

    let samples = of_kind(&trace, EventKind::Sample);
    assert_eq!(samples.len(), 2);
    let named: Vec<(&str, TrackKind)> = samples.iter().map(|&id| (trace.name(id), kind_of_track(&trace, id))).collect();
    assert_eq!(named, [("leaf", TrackKind::Samples), ("sample without a call chain", TrackKind::Samples)]);
    let stack = trace.stack_of(samples[0]).unwrap();
    assert_eq!((frames(stack.stack), stack.weight), (vec!["leaf", "middle", "main"], 1234));
    let innermost = trace.stacks().frames_of(stack.stack).next().unwrap();
    assert_eq!(trace.text(innermost.module), "libwork.so");
    assert!(trace.stack_of(samples[1]).is_none());
    assert_eq!(arg(&trace, samples[0], "threadState"), text("Running"));

    let running: Vec<(&str, (i64, i64), RawId)> = of_kind(&trace, EventKind::Scheduled)
        .iter()
        .map(|&id| (trace.name(id), times(&trace, id), trace.track_of(id).unwrap().1.tid))
        .collect();
    assert_eq!(running, [("python 77", (1_000, 500), RawId::Int(3)), ("python 77", (2_000, 100), RawId::Int(3))]);
    assert_eq!(trace.warnings().count(WarningKind::EndWithoutBegin), 1);
}

#[test]
fn counters_have_names_units_and_devices() {
    let trace = full().trace();
    let mut series: Vec<_> = trace
        .counters()
        .iter()
        .map(|series| {
            let process = trace.process(trace.track(series.track).unwrap().process).unwrap();
            (trace.text(series.name), trace.text(series.unit), process.pid, series.values.clone())
        })
        .collect();
    series.sort_by_key(|entry| (entry.0, entry.2));
    let expected = [
        ("DRAM Read [MB/s]", "MB/s", RawId::Int(1), vec![7.5]),
        ("SMs Active [Throughput %]", "%", RawId::Int(0), vec![50.0, 60.0]),
        ("memory allocated (Device)", "bytes", RawId::Int(1), vec![4096.0, 12_288.0, 8_192.0]),
    ];
    assert_eq!(series, expected);
}

#[test]
fn the_header_is_kept_without_the_environment() {
    let trace = full().trace();
    let rank = &trace.ranks()[0];
    let field = |name: &str| rank.header.iter().find(|entry| entry.0 == name).map(|entry| entry.1.clone());
    assert_eq!(field("EXPORT_SCHEMA_VERSION"), text("3.25.0"));
    assert_eq!(field("environment NCCL_DEBUG"), text("INFO"));
    assert!(rank.header.iter().all(|entry| !format!("{entry:?}").contains("SECRET")));
    assert_eq!(trace.warnings().count(WarningKind::RecorderMessage), 1);
}

#[test]
fn a_launched_rank_counts_where_there_is_one_process() {
    let mut fixture = full();
    fixture.run(&format!("delete from CUPTI_ACTIVITY_KIND_KERNEL where globalPid = {}", PID_B << 24));
    fixture.run(
        "insert into META_DATA_CAPTURE values ('PROCESS_0:ENVIRONMENT_VARIABLE', 'RANK=\"5\"'),
                 ('PROCESS_0:ENVIRONMENT_VARIABLE', 'WORLD_SIZE=\"8\"')",
    );
    let trace = fixture.trace();
    assert_eq!(trace.ranks().len(), 1);
    assert_eq!((trace.ranks()[0].number, trace.ranks()[0].world_size), (Some(5), Some(8)));
}

#[test]
fn older_exports_lack_tables_and_columns() {
    let mut fixture = Fixture::new();
    fixture.run(
        "create table EXPORT_META_DATA (name text, value text);
         insert into EXPORT_META_DATA values ('EXPORT_PRODUCT_VERSION', '2020.1');
         create table StringIds (id integer primary key, value text);
         insert into StringIds values (1, 'kern'), (2, 'cudaLaunchKernel_v7000');
         create table CUPTI_ACTIVITY_KIND_KERNEL (start int, end int, deviceId int, streamId int, correlationId int,
           shortName int);
         insert into CUPTI_ACTIVITY_KIND_KERNEL values (100, 150, 0, 7, 1, 1), (200, null, 0, 7, 9, 1),
           (300, 250, 0, 7, 10, 77), (null, 250, 0, 7, 11, 1);
         create table CUPTI_ACTIVITY_KIND_RUNTIME (start int, end int, globalTid int, correlationId int, nameId int);
         insert into CUPTI_ACTIVITY_KIND_RUNTIME values (90, 95, 1677721600, 1, 2);
         create table CUPTI_ACTIVITY_KIND_CUDA_EVENT (deviceId int, streamId int, correlationId int, eventId int);
         insert into CUPTI_ACTIVITY_KIND_CUDA_EVENT values (0, 7, 3, 1);
         create table CUPTI_ACTIVITY_KIND_MEMCPY (start int, end int, bytes int, copyKind int);
         insert into CUPTI_ACTIVITY_KIND_MEMCPY values (400, 410, 8, 2);",
    );
    let trace = fixture.trace();
    assert_eq!((trace.ranks().len(), trace.ranks()[0].number), (1, None));
    assert_eq!(trace.events().len(), 5);
    assert_eq!(times(&trace, one(&trace, "Memcpy DtoH")), (400, 10));
    assert_eq!(times(&trace, one(&trace, "string 77")), (300, 0));
    assert_eq!(trace.launches().len(), 1);
    let count = |kind| trace.warnings().count(kind);
    assert_eq!(count(WarningKind::NoTimestamp), 1);
    assert_eq!(count(WarningKind::NoDuration), 1);
    assert_eq!(count(WarningKind::NegativeDuration), 1);
    assert_eq!(count(WarningKind::UnknownId), 1);
    let header = &trace.ranks()[0].header;
    assert_eq!(header[0], ("EXPORT_PRODUCT_VERSION".to_owned(), ArgValue::Text("2020.1".to_owned())));
    assert_eq!(trace.sources()[0].file_events, 7);
}

#[test]
fn every_table_and_every_column_may_be_missing() {
    let names = full().names();
    assert!(names.len() > 30);
    for (table, columns) in names {
        let mut fixture = full();
        fixture.run(&format!("drop table {table}"));
        fixture.open().unwrap_or_else(|error| panic!("without {table}: {error}"));
        for column in columns {
            let mut fixture = full();
            // Not every column can be dropped: one is the table's key.
            if fixture.try_run(&format!("alter table {table} drop column \"{column}\"")) {
                fixture.open().unwrap_or_else(|error| panic!("without {table}.{column}: {error}"));
            }
        }
    }
}

#[test]
fn values_of_any_type_stand_in_any_column() {
    for (table, columns) in full().names() {
        for column in columns {
            for value in
                ["null", "-1", "9223372036854775807", "-9223372036854775808", "1e300", "0.5", "'text'", "x'00ff'"]
            {
                let mut fixture = full();
                if fixture.try_run(&format!("update {table} set \"{column}\" = {value}")) {
                    let trace = fixture.open().unwrap_or_else(|error| panic!("{table}.{column} = {value}: {error}"));
                    for id in events(&trace) {
                        trace.args(id).unwrap_or_else(|error| panic!("{table}.{column} = {value}: {error}"));
                    }
                }
            }
        }
    }
}

#[test]
fn bytes_in_memory_give_the_same_trace_as_a_file() {
    let mut fixture = full();
    let bytes = fixture.bytes();
    let from_memory = open_bytes("memory.sqlite", bytes, &OpenOptions::default()).unwrap();
    let from_file = fixture.trace();
    let all = |trace: &Trace| {
        events(trace)
            .map(|id| (trace.name(id).to_owned(), times(trace, id), trace.args(id).unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(all(&from_memory), all(&from_file));
}

#[test]
fn a_name_that_a_uri_would_misread_is_a_file_name() {
    let mut fixture = full();
    let bytes = fixture.bytes();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a b?mode=rwc&cache=shared#100% ü.sqlite");
    std::fs::write(&path, bytes).unwrap();
    assert!(!open(std::slice::from_ref(&path), &OpenOptions::default(), &Silent).unwrap().events().is_empty());
    // Nothing is left beside it.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn texts_in_utf16_and_databases_with_a_log_are_read() {
    let expected = full().trace().events().len();
    let mut other = full_in("UTF-16be");
    let trace = other.trace();
    assert_eq!(trace.events().len(), expected);
    assert_eq!(times(&trace, one(&trace, "vectorAdd<float>(float*)")), (2_000, 500));

    let mut logged = full();
    logged.run("pragma journal_mode = wal");
    let bytes = logged.bytes();
    assert_eq!(bytes[18..20], [2, 2]);
    assert_eq!(logged.trace().events().len(), expected);
    assert_eq!(open_bytes("wal.sqlite", bytes, &OpenOptions::default()).unwrap().events().len(), expected);
}

#[test]
fn a_process_with_two_gpus_is_one_rank_with_the_metrics_of_both() {
    let mut fixture = full();
    fixture.run(&format!("delete from CUPTI_ACTIVITY_KIND_KERNEL where globalPid = {}", PID_B << 24));
    let a = PID_A << 24;
    fixture.run(&format!(
        "insert into CUPTI_ACTIVITY_KIND_KERNEL (start, end, deviceId, streamId, correlationId, globalPid, demangledName)
         values (50000, 50010, 0, 7, 500, {a}, 2);
         create table TARGET_INFO_CUDA_DEVICE (gpuId int, cudaId int, pid int);
         insert into TARGET_INFO_CUDA_DEVICE values (1, 0, {PID_A}), (0, 1, {PID_A})"
    ));
    let trace = fixture.trace();
    assert_eq!(trace.ranks().len(), 1);
    // The process numbers the devices the other way round.
    let named: Vec<_> = trace.ranks()[0].devices.iter().map(|info| (info.id, info.name.as_str())).collect();
    assert_eq!(named, [(0, "H100 B"), (1, "H100 A")]);
    let series = trace.counters().iter().find(|series| trace.text(series.unit) == "%").unwrap();
    let process = trace.process(trace.track(series.track).unwrap().process).unwrap();
    assert_eq!(process.pid, RawId::Int(1));
}
