//! One test per fact about the format's eras: each is a small file made by hand with a known answer.
#![allow(clippy::unwrap_used)]

use std::io::Write;

use gapless_formats::{OpenError, OpenOptions, open_bytes};
use gapless_trace::{ArgValue, EventId, EventKind, Trace, TrackKind, WarningKind};

fn open(text: &str) -> Trace {
    open_bytes("test.json", text.as_bytes().to_vec(), &OpenOptions::default()).unwrap()
}

fn file(events: &[&str]) -> String {
    format!("{{\"schemaVersion\": 1, \"traceEvents\": [\n{}\n]}}", events.join(",\n"))
}

fn find(trace: &Trace, name: &str) -> EventId {
    let mut ids = (0..trace.events().len() as u32).map(EventId).filter(|&id| trace.name(id) == name);
    let found = ids.next().unwrap();
    assert!(ids.next().is_none(), "{name} is not unique");
    found
}

/// (name, start, duration) of all events, sorted.
fn timeline(trace: &Trace) -> Vec<(String, i64, i64)> {
    let ids = (0..trace.events().len() as u32).map(EventId);
    let mut all: Vec<_> =
        ids.map(|id| (trace.name(id).to_owned(), trace.event(id).start.nanos(), trace.event(id).dur.nanos())).collect();
    all.sort();
    all
}

#[test]
fn integer_microseconds_on_the_unix_clock() {
    let trace = open(&file(&[
        r#"{"ph": "X", "cat": "Operator", "name": "aten::mm", "pid": 9, "tid": "9", "ts": 1610366662254559, "dur": 10, "args": {"Device": 9, "External id": 4}}"#,
        r#"{"ph": "X", "cat": "Runtime", "name": "cudaLaunchKernel", "pid": 9, "tid": "9", "ts": 1610366662254560, "dur": 3, "args": {"cbid": 211, "correlation": 70, "external id": 4}}"#,
        r#"{"ph": "X", "cat": "Kernel", "name": "sgemm", "pid": 0, "tid": "stream 7", "ts": 1610366662254570, "dur": 5, "args": {"stream": 7, "correlation": 70, "external id": 4}}"#,
        r#"{"ph": "s", "id": 70, "pid": 9, "tid": "9", "ts": 1610366662254560, "cat": "async", "name": "launch"}"#,
        r#"{"ph": "f", "id": 70, "pid": 0, "tid": "stream 7", "ts": 1610366662254570, "cat": "async", "name": "launch", "bp": "e"}"#,
    ]));
    assert_eq!(timeline(&trace)[2], ("sgemm".to_owned(), 1_610_366_662_254_570_000, 5_000));
    let (launch, kernel) = (find(&trace, "cudaLaunchKernel"), find(&trace, "sgemm"));
    assert_eq!(trace.launches().pairs(), [(launch, kernel)]);
    assert_eq!(trace.launches().launch_of(kernel), Some(launch));
    assert!(trace.flows().is_empty(), "the launch link stands for the flow");
    assert_eq!(trace.parent(launch), Some(find(&trace, "aten::mm")));
    let (_, track) = trace.track_of(kernel).unwrap();
    assert_eq!((track.kind, track.stream()), (TrackKind::Stream, Some(7)));
    assert_eq!(trace.event(kernel).external, Some(4));
    assert!(trace.warnings().is_empty());
}

#[test]
fn fractional_microseconds_are_exact_beyond_a_double() {
    let trace = open(&file(&[
        r#"{"ph": "X", "cat": "kernel", "name": "k", "pid": 0, "tid": 7, "ts": 1712195495522265.474, "dur": 1.001}"#,
    ]));
    assert_eq!(timeline(&trace), [("k".to_owned(), 1_712_195_495_522_265_474, 1_001)]);
}

#[test]
fn base_time_is_added_and_remembered() {
    let text = r#"{"traceEvents": [{"ph":"X","cat":"cpu_op","name":"a","pid":1,"tid":1,"ts":-1.5,"dur":2}],
        "distributedInfo": {"backend": "nccl", "rank": 3, "world_size": 8}, "host_name": "h", "baseTimeNanoseconds": 1767189312000000000}"#;
    let trace = open(text);
    assert_eq!(timeline(&trace), [("a".to_owned(), 1_767_189_311_999_998_500, 2_000)]);
    let rank = &trace.ranks()[0];
    assert_eq!((rank.number, rank.world_size, rank.base_time_ns), (Some(3), Some(8), Some(1_767_189_312_000_000_000)));
    assert_eq!((rank.backend.as_deref(), rank.host.as_deref()), (Some("nccl"), Some("h")));
}

#[test]
fn one_launch_may_have_many_kernels() {
    let mut events = vec![r#"{"ph":"X","cat":"cuda_runtime","name":"cudaGraphLaunch","pid":5,"tid":5,"ts":0,"dur":9,"args":{"External id": 1, "correlation": 42}}"#.to_owned()];
    for i in 0..5 {
        // Kernels of a graph overlap on one stream.
        let at = 10 + i * 2;
        events.push(format!(r#"{{"ph":"X","cat":"kernel","name":"k{i}","pid":0,"tid":7,"ts":{at},"dur":3,"args":{{"correlation": 42}}}}"#));
    }
    let trace = open(&file(&events.iter().map(String::as_str).collect::<Vec<_>>()));
    let launch = find(&trace, "cudaGraphLaunch");
    assert_eq!(trace.launches().device_work_of(launch).len(), 5);
    let (_, track) = trace.track_of(find(&trace, "k0")).unwrap();
    assert_eq!((track.lanes, track.events.len()), (2, 5), "overlapping kernels lie on lanes, none is lost");
}

#[test]
fn amd_uses_stream_zero_and_generic_rccl_kernels() {
    let trace = open(&file(&[
        r#"{"ph":"X","cat":"kernel","name":"ncclDevKernel_Generic_4(ncclDevKernelArgsStorage<4096ul>)","pid":2,"tid":0,"ts":1,"dur":3,"args":{"External id": 1, "stream": 0, "correlation": 1, "Collective name": "allreduce", "In msg nelems": 2873320, "Out msg nelems": 2873320, "Group size": 8, "dtype": "BFloat16", "Process Group Name": "0", "Process Group Description": "default_pg"}}"#,
        r#"{"ph":"X","cat":"kernel","name":"my_transport","pid":2,"tid":0,"ts":5,"dur":3,"args":{"Collective name": "send"}}"#,
        r#"{"ph":"X","cat":"kernel","name":"Cijk_Ailk","pid":2,"tid":0,"ts":9,"dur":3,"args":{"stream": 0}}"#,
    ]));
    let rccl = (0..3).map(EventId).find(|&id| trace.name(id).starts_with("nccl")).unwrap();
    assert_eq!(trace.event(rccl).kind, EventKind::Collective);
    let entry = trace.collective(rccl).unwrap();
    assert_eq!(
        (trace.text(entry.name), trace.text(entry.dtype), trace.text(entry.group)),
        ("allreduce", "BFloat16", "0")
    );
    assert_eq!((entry.in_elems, entry.group_size, entry.seq), (Some(2_873_320), Some(8), None));
    assert_eq!(trace.event(find(&trace, "my_transport")).kind, EventKind::PointToPoint);
    assert_eq!(trace.event(find(&trace, "Cijk_Ailk")).kind, EventKind::Kernel);
    let (_, track) = trace.track_of(rccl).unwrap();
    assert_eq!(track.stream(), Some(0));
}

#[test]
fn sync_rows_and_projected_annotations_are_not_work() {
    let trace = open(&file(&[
        r#"{"ph":"X","cat":"cuda_sync","name":"Context Sync","pid":0,"tid":4294967295,"ts":1,"dur":30,"args":{"stream": 4294967295, "correlation": 3}}"#,
        r#"{"ph":"X","cat":"cuda_sync","name":"Stream Wait Event","pid":0,"tid":7,"ts":1,"dur":30,"args":{"stream": 7}}"#,
        r#"{"ph":"X","cat":"gpu_user_annotation","name":"ProfilerStep#1","pid":0,"tid":7,"ts":1.999,"dur":5}"#,
        r#"{"ph":"X","cat":"kernel","name":"k","pid":0,"tid":7,"ts":2,"dur":3,"args":{"correlation": 4294967295}}"#,
        r#"{"ph":"X","cat":"user_annotation","name":"ProfilerStep#1","pid":4,"tid":4,"ts":0,"dur":50}"#,
    ]));
    let kind = |name: &str| trace.event(find(&trace, name)).kind;
    assert_eq!(
        (kind("Context Sync"), kind("Stream Wait Event"), kind("k")),
        (EventKind::DeviceSync, EventKind::DeviceSync, EventKind::Kernel)
    );
    let kinds: Vec<_> =
        (0..5).map(EventId).filter(|&id| trace.name(id) == "ProfilerStep#1").map(|id| trace.event(id).kind).collect();
    assert!(kinds.contains(&EventKind::Step) && kinds.contains(&EventKind::DeviceAnnotation));
    let (_, track) = trace.track_of(find(&trace, "k")).unwrap();
    assert_eq!((track.kind, track.events.len()), (TrackKind::Stream, 1));
}

#[test]
fn memory_instants_become_points_and_counters() {
    let trace = open(&file(&[
        r#"{"ph":"i","cat":"cpu_instant_event","s":"t","name":"[memory]","pid":7,"tid":8,"ts":10,"args":{"Device Type": 1, "Device Id": 1, "Addr": 139926520725504, "Bytes": 5242880, "Total Allocated": 5435638784, "Total Reserved": 12782141440}}"#,
        r#"{"ph":"i","cat":"cpu_instant_event","s":"t","name":"[memory]","pid":7,"tid":8,"ts":12,"args":{"Device Type": 0, "Device Id": -1, "Bytes": -64, "Total Allocated": 128, "Total Reserved": 0}}"#,
        r#"{"ph":"C","name":"loss","pid":7,"ts":11,"args":{"loss": 0.25}}"#,
        r#"{"ph":"C","name":"queue","pid":7,"ts":11,"args":{"in": 1, "out": "2", "bad": null}}"#,
    ]));
    assert_eq!(trace.events().kinds(), [EventKind::MemoryInstant; 2]);
    let mut names: Vec<_> =
        trace.counters().iter().map(|series| (trace.text(series.name).to_owned(), series.values.clone())).collect();
    names.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [
        ("CPU memory allocated", 128.0),
        ("GPU 1 memory allocated", 5_435_638_784.0),
        ("GPU 1 memory reserved", 12_782_141_440.0),
        ("loss", 0.25),
        ("queue · in", 1.0),
        ("queue · out", 2.0),
    ];
    assert_eq!(names, expected.map(|(name, value)| (name.to_owned(), vec![value])));
    assert_eq!(trace.warnings().count(WarningKind::CounterNotNumeric), 1);
}

#[test]
fn ids_too_wide_stay_in_the_arguments() {
    let trace = open(
        r#"{"schemaVersion": 1, "traceEvents": [{"ph": "X", "cat": "kernel", "name": "ncclKernel_AllReduce", "pid": 0, "tid": 0, "ts": 100, "dur": 50},
        {"ph": "X", "cat": "cpu_op", "name": "record_param_comms", "pid": 0, "tid": 1, "ts": 200, "dur": 100, "args": {"Comms Id": 10159970886766084423, "External id": 10159970886766084423}}]}"#,
    );
    assert_eq!(trace.event(find(&trace, "ncclKernel_AllReduce")).kind, EventKind::Collective);
    let args = trace.args(find(&trace, "record_param_comms")).unwrap();
    assert_eq!(args[0], ("Comms Id".to_owned(), ArgValue::UInt(10_159_970_886_766_084_423)));
    assert_eq!(trace.warnings().count(WarningKind::WideId), 1);
    // Process 0 and device 0 share an id and stay apart.
    assert_eq!(trace.processes().len(), 2);
}

#[test]
fn begins_and_ends_pair_by_thread_and_unfinished_ones_last() {
    let trace = open(&file(&[
        r#"{"ph":"B","name":"outer","pid":1,"tid":1,"ts":0,"args":{"a":1}}"#,
        r#"{"ph":"B","name":"inner","pid":1,"tid":1,"ts":2}"#,
        r#"{"ph":"E","pid":1,"tid":1,"ts":5,"args":{"b":2}}"#,
        r#"{"ph":"B","name":"open","pid":1,"tid":1,"ts":6}"#,
        r#"{"ph":"E","pid":1,"tid":2,"ts":6}"#,
        r#"{"ph":"X","name":"last","pid":1,"tid":2,"ts":9,"dur":1}"#,
        r#"{"ph":"E","pid":1,"tid":1,"ts":8}"#,
        r#"{"ph":"E","pid":1,"tid":1,"ts":9,"args":{"c":3}}"#,
        r#"{"ph":"B","name":"never","pid":1,"tid":1,"ts":9}"#,
    ]));
    let expected = [("inner", 2, 3), ("last", 9, 1), ("never", 9, 1), ("open", 6, 2), ("outer", 0, 9)];
    assert_eq!(timeline(&trace), expected.map(|(name, start, dur)| (name.to_owned(), start * 1_000, dur * 1_000)));
    assert_eq!(trace.warnings().count(WarningKind::EndWithoutBegin), 1);
    assert_eq!(trace.warnings().count(WarningKind::BeginWithoutEnd), 1);
    let args: Vec<String> = trace.args(find(&trace, "outer")).unwrap().into_iter().map(|entry| entry.0).collect();
    assert_eq!(args, ["a", "c"], "begin and end both give arguments");
    assert_eq!(trace.args(find(&trace, "inner")).unwrap().len(), 1);
}

#[test]
fn asynchronous_ranges_pair_by_category_and_id() {
    let trace = open(&file(&[
        r#"{"ph":"b","cat":"req","id":"0x1","name":"r","pid":1,"tid":1,"ts":0}"#,
        r#"{"ph":"b","cat":"req","id":"0x2","name":"r","pid":1,"tid":1,"ts":1}"#,
        r#"{"ph":"n","cat":"req","id":"0x1","name":"point","pid":1,"tid":1,"ts":2}"#,
        r#"{"ph":"e","cat":"req","id":"0x1","name":"r","pid":1,"tid":2,"ts":4}"#,
        r#"{"ph":"e","cat":"req","id2":{"local":"0x2"},"name":"r","pid":1,"tid":1,"ts":6}"#,
    ]));
    let expected = [("point", 2, 0), ("r", 0, 4), ("r", 1, 5)];
    assert_eq!(timeline(&trace), expected.map(|(name, start, dur)| (name.to_owned(), start * 1_000, dur * 1_000)));
    assert!(trace.tracks().iter().all(|track| track.kind == TrackKind::Async && track.lanes == 2));
}

#[test]
fn flows_bind_to_the_innermost_event_and_orphans_are_counted() {
    let trace = open(&file(&[
        r#"{"ph":"X","cat":"cpu_op","name":"forward","pid":1,"tid":1,"ts":0,"dur":10}"#,
        r#"{"ph":"X","cat":"cpu_op","name":"inner","pid":1,"tid":1,"ts":2,"dur":3}"#,
        r#"{"ph":"X","cat":"cpu_op","name":"backward","pid":1,"tid":2,"ts":20,"dur":10}"#,
        r#"{"ph":"s","id":1,"pid":1,"tid":1,"ts":2,"cat":"fwdbwd","name":"fwdbwd"}"#,
        r#"{"ph":"f","id":1,"pid":1,"tid":2,"ts":20,"cat":"fwdbwd","name":"fwdbwd","bp":"e"}"#,
        r#"{"ph":"f","id":2,"pid":1,"tid":2,"ts":20,"cat":"fwdbwd","name":"fwdbwd","bp":"e"}"#,
        r#"{"ph":"s","id":3,"pid":1,"tid":1,"ts":2,"cat":"fwdbwd","name":"fwdbwd"}"#,
        r#"{"ph":"s","id":4,"pid":1,"tid":9,"ts":2,"cat":"fwdbwd","name":"fwdbwd"}"#,
        r#"{"ph":"f","id":4,"pid":1,"tid":2,"ts":20,"cat":"fwdbwd","name":"fwdbwd"}"#,
        r#"{"ph":"f","id":5,"pid":1,"tid":2,"ts":20,"cat":"ac2g","name":"ac2g","bp":"e"}"#,
    ]));
    let flow = trace.flows()[0];
    assert_eq!((trace.flows().len(), trace.name(flow.from), trace.name(flow.to)), (1, "inner", "backward"));
    let count = |kind| trace.warnings().count(kind);
    assert_eq!(count(WarningKind::FlowWithoutStart), 2);
    assert_eq!(count(WarningKind::FlowWithoutEnd), 1);
    assert_eq!(count(WarningKind::FlowUnbound), 1);
    assert_eq!(trace.flows_of(flow.to).count(), 1);
}

#[test]
fn names_of_threads_processes_and_devices_are_read() {
    let trace = open(
        r#"{"deviceProperties": [{"id": 0, "name": "NVIDIA A100", "totalGlobalMem": 42297524224, "computeMajor": 8, "computeMinor": 0, "numSms": 108}],
      "traceEvents": [
        {"name": "process_name", "ph": "M", "pid": 9, "args": {"name": "python"}},
        {"name": "process_labels", "ph": "M", "pid": 0, "args": {"labels": "GPU 0"}},
        {"name": "process_sort_index", "ph": "M", "pid": 9, "args": {"sort_index": 5}},
        {"name": "thread_name", "ph": "M", "pid": 0, "tid": 7, "args": {"name": "stream 7 "}},
        {"ph": "X", "cat": "kernel", "name": "k", "pid": 0, "tid": 7, "ts": 1, "dur": 1},
        {"ph": "X", "cat": "cpu_op", "name": "o", "pid": 9, "tid": 9, "ts": 1, "dur": 1},
        {"ph": "X", "cat": "Trace", "name": "PyTorch Profiler (0)", "pid": "Spans", "tid": "PyTorch Profiler", "ts": 0, "dur": 9},
        {"ph": "i", "s": "g", "name": "Iteration Start: PyTorch Profiler", "pid": "Traces", "tid": "Trace PyTorch Profiler", "ts": 0}
      ]}"#,
    );
    let (track, _) = trace.track_of(find(&trace, "k")).unwrap();
    assert_eq!(trace.track_label(track), "stream 7");
    let names: Vec<_> =
        trace.processes().iter().map(|process| (trace.text(process.name), trace.text(process.labels))).collect();
    assert_eq!(names, [("python", ""), ("", "GPU 0"), ("", ""), ("", "")]);
    let device = &trace.ranks()[0].devices[0];
    assert_eq!(
        (device.name.as_str(), device.multiprocessors, device.compute_capability),
        ("NVIDIA A100", Some(108), Some((8, 0)))
    );
    assert_eq!(trace.ranks()[0].number, None);
}

#[test]
fn odd_durations_and_times_are_repaired_or_lost_countably() {
    let trace = open(&file(&[
        r#"{"ph":"X","name":"negative","pid":1,"tid":1,"ts":1,"dur":-3}"#,
        r#"{"ph":"X","name":"nan","pid":1,"tid":1,"ts":1,"dur":NaN}"#,
        r#"{"ph":"X","name":"none","pid":1,"tid":1,"ts":1}"#,
        r#"{"ph":"X","name":"huge","pid":1,"tid":1,"ts":1,"dur":1e300}"#,
        r#"{"ph":"X","name":"no time","pid":1,"tid":1,"dur":1}"#,
        r#"{"ph":"X","name":"nan time","pid":1,"tid":1,"ts":NaN,"dur":1}"#,
        r#"{"ph":"X","name":"far","pid":1,"tid":1,"ts":1e30,"dur":1}"#,
        r#"{"ph":"X","name":"twice","name":"once","pid":1,"tid":1,"ts":1,"dur":1}"#,
        r#"{"name":"no phase","pid":1,"tid":1,"ts":1,"dur":1}"#,
        r#"{"ph":"v","name":"dump","pid":1,"tid":1,"ts":1}"#,
        r#"17"#,
        r#"{"ph":"X","name":"whole","pid":1,"tid":1,"ts":1,"dur":1,}"#,
    ]));
    let names: Vec<_> = timeline(&trace).into_iter().map(|entry| entry.0).collect();
    assert_eq!(names, ["huge", "nan", "negative", "none", "once", "whole"]);
    let check = |kind, count| assert_eq!(trace.warnings().count(kind), count, "{kind:?}");
    check(WarningKind::NegativeDuration, 1);
    check(WarningKind::NotANumber, 1);
    check(WarningKind::NoDuration, 1);
    check(WarningKind::DurationOutOfRange, 1);
    check(WarningKind::NoTimestamp, 2);
    check(WarningKind::TimeOutOfRange, 1);
    check(WarningKind::DuplicateKey, 1);
    check(WarningKind::NoPhase, 1);
    check(WarningKind::UnknownPhase, 1);
    check(WarningKind::EventNotObject, 1);
    check(WarningKind::TrailingComma, 1);
    assert_eq!(trace.sources()[0].file_events, 6);
}

#[test]
fn unescaped_quotes_lose_no_event() {
    let trace = open(&file(&[
        r#"{"ph":"X","name":"say "hi", friend","pid":1,"tid":1,"ts":1,"dur":1}"#,
        r#"{"ph":"X","cat":"cpu_op","name":"a","pid":1,"tid":1,"ts":3,"dur":1,"args":{"Call stack": "f("x")"}}"#,
        r#"{"ph":"X","cat":"cpu_op","name":"b","pid":1,"tid":1,"ts":5,"dur":1,"args":{"k": 1}}"#,
    ]));
    let names: Vec<_> = timeline(&trace).into_iter().map(|entry| entry.0).collect();
    assert_eq!(names, ["a", "b", "say \"hi\", friend"]);
    assert_eq!(trace.warnings().count(WarningKind::UnescapedQuote), 2);
}

#[test]
fn quotes_far_apart_swallow_nothing_between_them() {
    let event = |i: usize, extra: &str| {
        format!(
            r#"{{"ph":"X","cat":"cpu_op","name":"e{i:02}","pid":1,"tid":1,"ts":{i},"dur":1,"args":{{"External id":{i}{extra}}}}}"#
        )
    };
    let events: Vec<String> = (0..12).map(|i| event(i, if i == 1 || i == 10 { r#","x":"a"b""# } else { "" })).collect();
    let trace = open(&file(&events.iter().map(String::as_str).collect::<Vec<_>>()));
    assert_eq!(trace.events().len(), 12);
    assert_eq!(trace.warnings().count(WarningKind::UnescapedQuote), 2);
    assert_eq!(trace.event(find(&trace, "e10")).external, Some(10), "what was read before the damage counts");
}

#[test]
fn damage_in_the_last_event_leaves_the_fields_behind_the_list() {
    let tail = r#"],"baseTimeNanoseconds":1000000,"distributedInfo":{"rank":3}}"#;
    let head = r#"{"traceEvents":[{"ph":"X","name":"a","pid":1,"tid":1,"ts":1,"dur":1},"#;
    for (last, kept) in [
        (r#"{"ph":"X","name":"b","pid":1,"tid":1,"ts":5,"dur":1,"args":{"k":"x"y"}}"#, 2),
        (r#"{"ph":"X","name":"b","pid":1,"tid":1,"ts":oops oops,"dur":1,"args":{"k":1}}"#, 1),
        (r#"{"ph":"X","name":"b","pid":1,"tid":1,"ts":5,"dur":1}}"#, 2),
    ] {
        let trace = open(&format!("{head}{last}{tail}"));
        assert_eq!(trace.events().len(), kept, "{last}");
        assert_eq!((trace.ranks()[0].number, trace.ranks()[0].base_time_ns), (Some(3), Some(1_000_000)), "{last}");
        assert_eq!(trace.warnings().count(WarningKind::Truncated), 0, "{last}");
        assert!(!trace.warnings().is_empty(), "{last}");
    }
}

#[test]
fn a_name_that_does_not_end_takes_no_other_event_with_it() {
    let trace = open(&file(&[
        r#"{"ph":"X","name":"a","pid":1,"tid":1,"ts":1,"dur":1}"#,
        r#"{"ph":"X","name":"b, "pid":1,"tid":1,"ts":3,"dur":1"#,
        r#"{"ph":"X","name":"c","pid":1,"tid":1,"ts":5,"dur":1}"#,
        r#"{"ph":"X","name":"foo(a="x", "y")","pid":1,"tid":1,"ts":7,"dur":1}"#,
    ]));
    let names: Vec<_> = timeline(&trace).into_iter().map(|entry| entry.0).collect();
    assert_eq!(names, ["a", "c", "foo(a=\"x\", \"y\")"]);
    assert_eq!(trace.warnings().lost(), 1);
}

#[test]
fn an_id_used_again_launches_from_the_nearest_call() {
    let call = |name: &str, ts: i64, cat: &str| {
        format!(
            r#"{{"ph":"X","cat":"{cat}","name":"{name}","pid":1,"tid":1,"ts":{ts},"dur":4,"args":{{"correlation":5}}}}"#
        )
    };
    let kernel = |name: &str, ts: i64| {
        format!(
            r#"{{"ph":"X","cat":"kernel","name":"{name}","pid":0,"tid":7,"ts":{ts},"dur":4,"args":{{"correlation":5}}}}"#
        )
    };
    let events = [
        call("first", 0, "cuda_runtime"),
        kernel("k1", 10),
        call("outer", 1000, "cuda_runtime"),
        call("inner", 1000, "cuda_driver").replace("\"dur\":4", "\"dur\":2"),
        kernel("k2", 1010),
    ];
    let trace = open(&file(&events.iter().map(String::as_str).collect::<Vec<_>>()));
    let launch = |kernel: &str| trace.launches().launch_of(find(&trace, kernel)).map(|id| trace.name(id));
    assert_eq!((launch("k1"), launch("k2")), (Some("first"), Some("outer")));
}

#[test]
fn a_cut_inside_a_list_of_objects_is_one_loss() {
    let text = r#"{"traceEvents":[{"ph":"X","name":"a","pid":1,"tid":1,"ts":1,"dur":1},
        {"ph":"X","name":"b","pid":1,"tid":1,"ts":2,"dur":1,"args":{"list":[{"ph":"X","ts":1},{"ph":"X","ts":2},{"ph""#;
    let trace = open(text);
    assert_eq!(trace.events().len(), 1);
    assert_eq!((trace.warnings().count(WarningKind::Truncated), trace.warnings().lost()), (1, 1));
}

#[test]
fn what_is_no_trace_gives_one_clear_error() {
    let check = |text: &[u8], part: &str| {
        let error = open_bytes("x.json", text.to_vec(), &OpenOptions::default()).unwrap_err();
        assert!(matches!(error, OpenError::Format { .. }), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    };
    check(b"", "empty");
    check(b"  \n", "empty");
    check(b"hello", "none of the formats");
    check(b"{\"a\": 1}", "no list");
    check(b"{\"a\": ", "breaks off");
    check(b"[1, 2]", "without any trace event");
    check(&[0x1F, 0x8B, 8, 0, 1, 2], "x.json is not a trace");
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// A text of several blocks; some events hold lists of objects that look like events, so that cuts go wrong.
fn large(events: usize, fakes: bool) -> String {
    let mut text = String::from("{\"traceEvents\": [");
    let padding = "x".repeat(200);
    for i in 0..events {
        let fake = match i % 9_000 {
            _ if !fakes => String::new(),
            // Longer than the stretch in which a cut is looked for, so that cuts fall between two fakes.
            4_500 => {
                format!(r#","list":[{}{{"ph":"X","ts":2}}]"#, r#"{"ph":"X","name":"fake","ts":1},"#.repeat(150_000))
            }
            place if place % 3 == 0 => r#","list":[{"ph":"X","ts":1},{"ph":"X","ts":2}]"#.to_owned(),
            _ => String::new(),
        };
        if i > 0 {
            text.push(',');
        }
        text.push_str(&format!(
            "{{\"ph\":\"X\",\"cat\":\"cpu_op\",\"name\":\"op{}\",\"pid\":1,\"tid\":1,\"ts\":{},\"dur\":1,\"args\":{{\"pad\":\"{padding}\",\"i\":{i}{fake}}}}}",
            i % 7,
            i * 2
        ));
    }
    text.push_str("], \"distributedInfo\": {\"rank\": 5}}");
    text
}

#[test]
fn gzip_gives_what_plain_gives_even_where_cuts_go_wrong() {
    for fakes in [false, true] {
        let text = large(60_000, fakes);
        let plain = open(&text);
        let packed = open_bytes("x", gzip(text.as_bytes()), &OpenOptions::default()).unwrap();
        assert_eq!(timeline(&packed), timeline(&plain));
        assert_eq!(packed.ranks()[0].number, Some(5));
        assert!(packed.warnings().is_empty());
        for id in [0, 1, 29_999, 59_999].map(EventId) {
            let place = packed.args(id).unwrap().iter().find(|entry| entry.0 == "i").and_then(|entry| entry.1.as_i64());
            assert_eq!(place, Some(i64::from(id.0)));
        }
    }
}

#[test]
fn damaged_gzip_keeps_what_came_before() {
    let text = large(60_000, false);
    let whole = gzip(text.as_bytes());
    let cut = whole[..whole.len() / 2].to_vec();
    let trace = open_bytes("x", cut, &OpenOptions::default()).unwrap();
    assert!(trace.events().len() > 1_000 && trace.events().len() < 60_000);
    assert_eq!(trace.warnings().count(WarningKind::GzipDamaged), 1);
    // Two members, one after the other, are one text.
    let (a, b) = text.as_bytes().split_at(text.len() / 3);
    let members = [gzip(a), gzip(b)].concat();
    assert_eq!(open_bytes("x", members, &OpenOptions::default()).unwrap().events().len(), 60_000);
}
