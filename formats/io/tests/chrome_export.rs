//! Chrome JSON: what is written reads back as it was, from every real trace and from hand-made ones.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use gapless_formats::chrome_json::{Lanes, WriteOptions, write, write_file, write_folder};
use gapless_formats::{OpenOptions, Progress, Silent, open, open_bytes};
use gapless_trace::{EventId, Trace, TrackKind};

/// All of an event that must come back.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
struct Row {
    track: (TrackKind, String, String, String),
    name: String,
    category: String,
    kind: &'static str,
    start: i64,
    dur: i64,
    correlation: Option<u32>,
    external: Option<u32>,
    args: String,
}

fn rows(trace: &Trace) -> Vec<Row> {
    let row = |id: EventId| {
        let event = trace.event(id);
        let (_, track) = trace.track_of(id).unwrap();
        let pid = trace.raw_id_text(trace.process(track.process).unwrap().pid);
        // Device work always says where it ran, as tools expect: what its place says is not compared twice.
        let mut args = trace.args(id).unwrap();
        let places = [("device", pid.clone()), ("stream", trace.raw_id_text(track.tid))];
        args.retain(|arg| !places.iter().any(|place| place.0 == arg.0 && place.1 == arg.1.to_string()));
        Row {
            track: (track.kind, pid, trace.raw_id_text(track.tid), trace.text(track.name).to_owned()),
            name: trace.name(id).to_owned(),
            category: trace.text(event.category).to_owned(),
            kind: event.kind.id(),
            start: event.start.nanos(),
            dur: event.dur.nanos(),
            correlation: event.correlation,
            external: event.external,
            args: format!("{args:?}"),
        }
    };
    let mut rows: Vec<Row> = (0..trace.events().len() as u32).map(|id| row(EventId(id))).collect();
    rows.sort_by(|a, b| a.partial_cmp(b).unwrap());
    rows
}

type Series = (String, String, Vec<i64>, Vec<f64>);

fn counters(trace: &Trace) -> Vec<Series> {
    let mut all: Vec<Series> = trace
        .counters()
        .iter()
        .map(|series| {
            let track = trace.track(series.track).unwrap();
            let pid = trace.raw_id_text(trace.process(track.process).unwrap().pid);
            (pid, trace.text(series.name).to_owned(), series.times.clone(), series.values.clone())
        })
        .collect();
    all.sort_by(|a, b| a.partial_cmp(b).unwrap());
    all
}

/// Launches and other arrows, by the names and starts of their ends.
fn arrows(trace: &Trace) -> [Vec<(String, i64, String, i64)>; 2] {
    let end = |id: EventId| (trace.name(id).to_owned(), trace.event(id).start.nanos());
    let arrow = |from: EventId, to: EventId| {
        let (from, to) = (end(from), end(to));
        (from.0, from.1, to.0, to.1)
    };
    let mut launches: Vec<_> = trace.launches().pairs().iter().map(|pair| arrow(pair.0, pair.1)).collect();
    let mut flows: Vec<_> = trace.flows().iter().map(|flow| arrow(flow.from, flow.to)).collect();
    launches.sort();
    flows.sort();
    [launches, flows]
}

fn written(trace: &Trace, options: &WriteOptions) -> Vec<u8> {
    let mut out = Vec::new();
    write(trace, &mut out, options, &Silent).unwrap();
    out
}

fn open_text(text: &str) -> Trace {
    open_bytes("test.json", text.as_bytes().to_vec(), &OpenOptions::default()).unwrap()
}

fn assert_same(before: &Trace, after: &Trace, what: &str) {
    let (before_rows, after_rows) = (rows(before), rows(after));
    let differs = before_rows.iter().zip(&after_rows).find(|(before, after)| before != after);
    assert_eq!((differs, before_rows.len()), (None, after_rows.len()), "{what}");
    assert_eq!(counters(before), counters(after), "{what}");
    let (before_arrows, after_arrows) = (arrows(before), arrows(after));
    assert_eq!(before_arrows[0], after_arrows[0], "{what}: launches");
    let flows: HashSet<_> = before_arrows[1].iter().collect();
    let same = after_arrows[1].iter().filter(|flow| flows.contains(flow)).count();
    let (before, after) = (before_arrows[1].len(), after_arrows[1].len());
    assert!(same * 1000 >= before * 999, "{what}: flows, {before} before, {after} after, {same} the same");
}

fn real_traces() -> Vec<PathBuf> {
    let root = std::env::var_os("GAPLESS_TRACES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let mut folders = vec![root.join("traces")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(".json.gz") || path.to_string_lossy().ends_with(".json") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_real_trace_reads_back_as_it_was() {
    let paths = real_traces();
    if paths.is_empty() {
        eprintln!("skipped: no real traces; set GAPLESS_TRACES to the folder that holds traces/");
    }
    for path in paths {
        let what = path.display().to_string();
        let Ok(before) = open(&[path], &OpenOptions::default(), &Silent) else { continue };
        let bytes = written(&before, &WriteOptions::default());
        let after = open_bytes("rank0.json", bytes, &OpenOptions::default()).unwrap();
        assert_same(&before, &after, &what);
        let (old, new) = (&before.ranks()[0], &after.ranks()[0]);
        assert_eq!((old.base_time_ns, old.world_size, &old.backend), (new.base_time_ns, new.world_size, &new.backend));
        assert_eq!(old.devices, new.devices, "{what}");
        assert_eq!(after.warnings().lost(), 0, "{what}: {:?}", after.warnings().sorted());
    }
}

/// All that the writer treats in its own way.
const HAND_MADE: &str = r#"{"schemaVersion": 1, "distributedInfo": {"backend": "nccl", "rank": 3, "world_size": 8},
"deviceProperties": [{"id": 0, "name": "A \"GPU\"", "totalGlobalMem": 85899345920, "numSms": 108}],
"extra": {"list": [1, 2.5, null]}, "baseTimeNanoseconds": 1000000000,
"traceEvents": [
{"ph": "M", "name": "process_name", "pid": 9, "tid": 0, "args": {"name": "py\tthon"}},
{"ph": "M", "name": "process_labels", "pid": 0, "tid": 0, "args": {"labels": "GPU 0"}},
{"ph": "M", "name": "process_sort_index", "pid": 9, "tid": 0, "args": {"sort_index": 5}},
{"ph": "M", "name": "thread_name", "pid": 9, "tid": 9, "args": {"name": "thread 9 (main)"}},
{"ph": "M", "name": "thread_sort_index", "pid": 0, "tid": 7, "args": {"sort_index": 2}},
{"ph": "X", "cat": "user_annotation", "name": "ProfilerStep#1", "pid": 9, "tid": 9, "ts": -1.500, "dur": 1000},
{"ph": "X", "cat": "cpu_op", "name": "a \"quoted\" \\ name \u0001", "pid": 9, "tid": 9, "ts": 10.001, "dur": 90, "args": {"External id": 4, "Input Dims": [[1, 2], []], "scale": 1.0, "big": 18446744073709551615}},
{"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 9, "tid": 9, "ts": 10.001, "dur": 3, "args": {"correlation": 70, "External id": 4}},
{"ph": "X", "cat": "kernel", "name": "sgemm", "pid": 0, "tid": 7, "ts": 20, "dur": 50, "args": {"device": 0, "stream": 7, "correlation": 70}},
{"ph": "X", "cat": "kernel", "name": "overlaps", "pid": 0, "tid": 7, "ts": 40, "dur": 50, "args": {"device": 0, "stream": 7, "correlation": 70}},
{"ph": "X", "cat": "kernel", "name": "ncclDevKernel_AllReduce", "pid": 0, "tid": 7, "ts": 100, "dur": 5, "args": {"device": 0, "stream": 7, "Collective name": "allreduce", "In msg nelems": 12, "dtype": "Float"}},
{"ph": "X", "cat": "gpu_memcpy", "name": "Memcpy DtoH", "pid": 0, "tid": 7, "ts": 200, "dur": 5, "args": {"device": 0, "stream": 7, "bytes": 4096}},
{"ph": "X", "cat": "cuda_sync", "name": "Stream Sync", "pid": 0, "tid": 7, "ts": 210, "dur": 5},
{"ph": "X", "cat": "gpu_user_annotation", "name": "step", "pid": 0, "tid": 7, "ts": 19, "dur": 300},
{"ph": "X", "cat": "Trace", "name": "PyTorch Profiler (0)", "pid": "Spans", "tid": "PyTorch Profiler", "ts": 0, "dur": 400},
{"ph": "i", "cat": "cpu_instant_event", "s": "t", "name": "[memory]", "pid": 9, "tid": 9, "ts": 30, "args": {"Total Allocated": 1024, "Device Type": 0, "Device Id": -1}},
{"ph": "i", "s": "t", "name": "mark", "pid": 9, "tid": 9, "ts": 31},
{"ph": "X", "cat": "cpu_instant_event", "name": "long point", "pid": 9, "tid": 9, "ts": 32, "dur": 1, "args": {"External id": 5}},
{"ph": "B", "cat": "kernel", "name": "old range", "pid": 9, "tid": 10, "ts": 50},
{"ph": "E", "pid": 9, "tid": 10, "ts": 60, "args": {"x": "NaN"}},
{"ph": "b", "cat": "net", "name": "request", "id": 1, "pid": 9, "ts": 1, "args": {"a": 1}},
{"ph": "b", "cat": "net", "name": "request", "id": 2, "pid": 9, "ts": 2},
{"ph": "n", "cat": "net", "name": "point", "id": 1, "pid": 9, "ts": 3},
{"ph": "e", "cat": "net", "name": "request", "id": 1, "pid": 9, "ts": 4, "args": {"b": 2}},
{"ph": "e", "cat": "net", "name": "request", "id": 2, "pid": 9, "ts": 5},
{"ph": "C", "name": "load", "pid": 9, "ts": 1, "args": {"value": 0.25}},
{"ph": "C", "name": "load", "pid": 9, "ts": 2, "args": {"value": -3}},
{"ph": "C", "name": "two", "pid": 9, "ts": 2, "args": {"a": 1, "b": 1e300}},
{"ph": "s", "id": 1, "cat": "fwdbwd", "name": "fwdbwd", "pid": 9, "tid": 9, "ts": 50},
{"ph": "f", "id": 1, "cat": "fwdbwd", "name": "fwdbwd", "pid": 9, "tid": 10, "ts": 55, "bp": "e"}
]}"#;

#[test]
fn all_that_is_hand_made_reads_back() {
    let before = open_text(HAND_MADE);
    assert_eq!(before.warnings().lost(), 0);
    assert_eq!((before.launches().len(), before.flows().len(), before.counters().len()), (2, 1, 4));
    let bytes = written(&before, &WriteOptions::default());
    let text = String::from_utf8(bytes).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
    let after = open_text(&text);
    // The one thing that changes: a range of begin and end in a device's category is a plain range.
    let before = open_text(&HAND_MADE.replace(r#""cat": "kernel", "name": "old range""#, r#""name": "old range""#));
    assert_same(&before, &after, "hand-made");
    let processes = |trace: &Trace| -> Vec<String> {
        trace.processes().iter().map(|process| format!("{:?} {:?}", process.kind, process.sort_index)).collect()
    };
    assert_eq!(processes(&before), processes(&after));
    assert_eq!(after.ranks()[0].number, Some(3));
    assert_eq!(after.ranks()[0].base_time_ns, Some(1_000_000_000));
    assert_eq!(
        after.ranks()[0].header.iter().find(|entry| entry.0 == "extra"),
        before.ranks()[0].header.iter().find(|entry| entry.0 == "extra")
    );
    // Once more comes to the same text.
    assert_eq!(String::from_utf8(written(&after, &WriteOptions::default())).unwrap().len(), text.len());
}

#[test]
fn the_file_is_what_old_tools_expect() {
    let text = String::from_utf8(written(&open_text(HAND_MADE), &WriteOptions::default())).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let events = json["traceEvents"].as_array().unwrap();
    let of = |phase: &str| events.iter().filter(|event| event["ph"] == phase).count();
    assert_eq!([of("X"), of("i"), of("b"), of("e"), of("n"), of("C"), of("s"), of("f")], [12, 2, 2, 2, 1, 4, 2, 3]);
    let kernel = events.iter().find(|event| event["name"] == "sgemm").unwrap();
    assert_eq!((kernel["ts"].to_string(), kernel["dur"].to_string()), ("20.0".to_owned(), "50.0".to_owned()));
    assert!(text.contains("\"ts\": -1.500"), "times have three digits");
    assert_eq!(
        (kernel["pid"].as_i64(), kernel["tid"].as_i64(), kernel["cat"].as_str()),
        (Some(0), Some(7), Some("kernel"))
    );
    let launch = events.iter().find(|event| event["ph"] == "s" && event["cat"] == "ac2g").unwrap();
    assert_eq!((launch["id"].as_i64(), launch["tid"].as_i64()), (Some(70), Some(9)));
    assert_eq!((json["schemaVersion"].as_i64(), json["displayTimeUnit"].as_str()), (Some(1), Some("ms")));
    assert_eq!(json["distributedInfo"]["rank"].as_i64(), Some(3));
    assert_eq!(json["deviceProperties"][0]["name"].as_str(), Some("A \"GPU\""));
}

#[test]
fn lanes_apart_leave_no_overlap_on_a_thread() {
    let options = WriteOptions { lanes: Lanes::Apart, ..WriteOptions::default() };
    let after = open_bytes("x.json", written(&open_text(HAND_MADE), &options), &OpenOptions::default()).unwrap();
    assert!(after.tracks().iter().all(|track| track.kind == TrackKind::Async || track.lanes <= 1));
    let names: Vec<String> = after.tracks().iter().map(|track| after.raw_id_text(track.tid)).collect();
    assert!(names.iter().any(|name| name == "7 (lane 2)"), "{names:?}");
}

#[test]
fn without_arguments_the_links_stay() {
    let options = WriteOptions { arguments: false, ..WriteOptions::default() };
    let before = open_text(HAND_MADE);
    let after = open_bytes("x.json", written(&before, &options), &OpenOptions::default()).unwrap();
    assert_eq!(arrows(&before), arrows(&after));
    assert_eq!(after.collectives().len(), 1);
    let copied = (0..after.events().len() as u32).filter_map(|id| after.copy_bytes(EventId(id))).collect::<Vec<_>>();
    assert_eq!(copied, [4096]);
    assert_eq!(counters(&before), counters(&after), "what allocator events said is written as counters");
}

#[test]
fn several_ranks_share_a_file_or_have_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for rank in 0..2 {
        let path = folder.path().join(format!("in{rank}.json"));
        std::fs::write(&path, HAND_MADE.replace("\"rank\": 3", &format!("\"rank\": {rank}"))).unwrap();
        paths.push(path);
    }
    let before = open(&paths, &OpenOptions::default(), &Silent).unwrap();
    let out = folder.path().join("out");
    let files = write_folder(&before, &out, &WriteOptions { gzip: true, ..WriteOptions::default() }, &Silent).unwrap();
    let names: Vec<_> = files.iter().map(|file| file.0.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(names, ["rank0.json.gz", "rank1.json.gz"]);
    let paths: Vec<PathBuf> = files.into_iter().map(|file| file.0).collect();
    let after = open(&paths, &OpenOptions::default(), &Silent).unwrap();
    assert_eq!(rows(&before).len(), rows(&after).len());
    assert_eq!(arrows(&before), arrows(&after));
    assert_eq!(after.ranks().iter().map(|rank| rank.number).collect::<Vec<_>>(), [Some(0), Some(1)]);

    let one = folder.path().join("all.json");
    let summary = write_file(&before, &one, &WriteOptions::default(), &Silent).unwrap();
    assert_eq!(summary.events, before.events().len() as u64);
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&one).unwrap()).unwrap();
    let events = json["traceEvents"].as_array().unwrap();
    let mut kernels: Vec<_> =
        events.iter().filter(|event| event["name"] == "sgemm").map(|event| event["pid"].as_i64()).collect();
    kernels.dedup();
    assert_eq!(kernels.len(), 2, "each rank has processes of its own");
    let mut starts: Vec<_> =
        events.iter().filter(|event| event["ph"] == "s").map(|event| event["id"].to_string()).collect();
    starts.sort();
    starts.dedup();
    assert_eq!(starts.len(), 4, "no two ranks share an arrow");
}

struct Impatient;

impl Progress for Impatient {
    fn stage(&self, _what: &str, _total_bytes: u64) {}
    fn done(&self, _bytes: u64) {}
    fn is_cancelled(&self) -> bool {
        true
    }
}

#[test]
fn a_cancelled_or_failed_export_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.json.gz");
    let trace = open_text(HAND_MADE);
    assert!(write_file(&trace, &path, &WriteOptions::default(), &Impatient).is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let missing = folder.path().join("no/such/folder/out.json");
    let error = write_file(&trace, &missing, &WriteOptions::default(), &Silent).unwrap_err();
    assert!(error.to_string().contains("out.json"), "{error}");
    write_file(&trace, &path, &WriteOptions::default(), &Silent).unwrap();
    assert_eq!(std::fs::read(&path).unwrap().get(..2).unwrap(), [0x1F, 0x8B]);
    assert_eq!(rows(&open(&[path], &OpenOptions::default(), &Silent).unwrap()).len(), rows(&trace).len());
}
