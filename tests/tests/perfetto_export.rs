//! Perfetto exports, read back by a reader that shares no code with the writer: `python/perfetto_readback.py` on the
//! message classes of the PyPI package `perfetto`. Every slice, instant, counter value and flow must come back
//! with its track, time, name, nesting, category, kind, ids and arguments.
//!
//! Python with venv and a package index is needed once (`python/setup.sh`); without it these tests say that they
//! were skipped.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use gapless_formats::perfetto::{self, WriteOptions, WriteSummary};
use gapless_formats::{OpenOptions, Silent, open};
use gapless_tests::oracle::json_traces_in;
use gapless_trace::{
    ArgValue, EventId, Process, ProcessId, ProcessKind, Rank, RawId, Trace, Track, TrackId, TrackKind,
};

/// The interpreter that has the packages, made at the first call; `None` where it cannot be made.
fn python() -> Option<PathBuf> {
    let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/setup.sh");
    let output = Command::new("sh").arg(setup).output().ok()?;
    if !output.status.success() {
        eprintln!("skipped: no Python with the perfetto package: {}", String::from_utf8_lossy(&output.stderr));
        return None;
    }
    Some(PathBuf::from(String::from_utf8(output.stdout).unwrap().trim()))
}

fn run(python: &Path, script: &str, args: &[&Path]) -> serde_json::Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(script);
    let output = Command::new(python).arg(script).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The folder `traces` of the collection of real traces, if it is there.
fn traces() -> Option<PathBuf> {
    let root = std::env::var_os("GAPLESS_TRACES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let folder = root.join("traces");
    if !folder.is_dir() {
        eprintln!("skipped: no real traces at {}", folder.display());
    }
    folder.is_dir().then_some(folder)
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r")
}

/// The text that `perfetto_readback.py` makes of a value.
fn canonical(value: &ArgValue) -> String {
    match value {
        ArgValue::Null => "null".to_owned(),
        ArgValue::Bool(value) => value.to_string(),
        ArgValue::Int(value) => value.to_string(),
        ArgValue::UInt(value) => value.to_string(),
        ArgValue::Double(value) => format!("{:016x}", value.to_bits()),
        ArgValue::Text(text) => format!("\"{}\"", escape(text)),
        ArgValue::List(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        ArgValue::Dict(entries) => {
            let entry = |(key, value): &(String, ArgValue)| format!("{}:{}", escape(key), canonical(value));
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(","))
        }
    }
}

/// Where tracks must be found, told from the model alone: names from the process down.
struct Paths<'t> {
    trace: &'t Trace,
    /// Path of each process's tracks.
    processes: BTreeMap<ProcessId, String>,
}

impl<'t> Paths<'t> {
    fn new(trace: &'t Trace) -> Self {
        let mut processes = BTreeMap::new();
        for (rank_id, rank) in trace.rank_ids() {
            let of_rank = rank.processes.clone().map(ProcessId);
            let has_tracks = |id: ProcessId| trace.tracks_of(rank_id).any(|(_, track)| track.process == id);
            let mut home = None;
            for id in of_rank.clone().filter(|&id| has_tracks(id)) {
                let process = trace.process(id).unwrap();
                if process.kind == ProcessKind::Host {
                    let path = Self::host(trace, rank, process);
                    home.get_or_insert_with(|| path.clone());
                    processes.insert(id, path);
                }
            }
            let home = home.unwrap_or_else(|| rank.label());
            for id in of_rank {
                let process = trace.process(id).unwrap();
                if process.kind != ProcessKind::Host {
                    processes.insert(id, format!("{home} / {}", Self::group(trace, rank, process)));
                }
            }
        }
        Self { trace, processes }
    }

    fn host(trace: &Trace, rank: &Rank, process: &Process) -> String {
        let name = Some(trace.text(process.name).trim()).filter(|name| !name.is_empty()).unwrap_or("process");
        let rank = rank.number.map(|number| format!("Rank {number} · ")).unwrap_or_default();
        match process.pid {
            RawId::None => format!("{rank}{name}"),
            pid => format!("{rank}{name} (pid {})", trace.raw_id_text(pid)),
        }
    }

    fn group(trace: &Trace, rank: &Rank, process: &Process) -> String {
        let (name, labels) = (trace.text(process.name).trim(), trace.text(process.labels).trim());
        let ProcessKind::Device(number) = process.kind else {
            return if name.is_empty() { trace.raw_id_text(process.pid) } else { name.to_owned() };
        };
        let base = if labels.is_empty() { format!("GPU {number}") } else { labels.to_owned() };
        let device = rank.devices.iter().find(|device| device.id == number && !device.name.is_empty());
        device.map_or(base.clone(), |device| format!("{base} · {}", device.name))
    }

    fn of(&self, id: TrackId, track: &Track, lane: u32) -> String {
        let mut path = self.processes[&track.process].clone();
        let label = self.trace.track_label(id);
        let is_host = self.trace.process(track.process).unwrap().kind == ProcessKind::Host;
        let is_thread = matches!(track.kind, TrackKind::Thread | TrackKind::ThreadInstants | TrackKind::Samples);
        if is_host && is_thread {
            path = format!(
                "{path} / {}",
                label.strip_suffix(" · instants").or_else(|| label.strip_suffix(" · samples")).unwrap_or(&label)
            );
            if track.kind == TrackKind::Thread && lane == 0 {
                return path;
            }
        }
        if lane == 0 { format!("{path} / {label}") } else { format!("{path} / {label} (lane {})", lane + 1) }
    }
}

/// One line per slice, instant, counter value and flow of the model, in the form of `perfetto_readback.py`.
fn expected_lines(trace: &Trace, shift_ns: i64) -> Vec<String> {
    let paths = Paths::new(trace);
    let mut lines = Vec::new();
    let mut path_of = vec![String::new(); trace.events().len()];
    for row in trace.rows() {
        let path = escape(&paths.of(row.track, trace.track(row.track).unwrap(), row.lane));
        for index in row.indices() {
            path_of[index].clone_from(&path);
            let event = trace.event(EventId(index as u32));
            let what = if event.kind.is_instant() && event.dur.nanos() == 0 { "instant" } else { "slice" };
            let id = |id: Option<u32>| id.map(|id| id.to_string()).unwrap_or_default();
            lines.push(format!(
                "{what}\t{path}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
                row.depth,
                event.start.nanos() + shift_ns,
                event.dur.nanos(),
                escape(trace.text(event.name)),
                escape(trace.text(event.category)),
                event.kind.id(),
                id(event.correlation),
                id(event.external),
                canonical(&ArgValue::Dict(trace.args(event.id).unwrap())),
            ));
        }
    }
    for series in trace.counters() {
        let track = trace.track(series.track).unwrap();
        let name = trace.text(series.name);
        let path = escape(&format!("{} / {name}", paths.processes[&track.process]));
        let unit = escape(trace.text(series.unit));
        for (time, value) in series.times.iter().zip(&series.values) {
            lines.push(format!("counter\t{path}\t{}\t{:016x}\t{unit}", time + shift_ns, value.to_bits()));
        }
    }
    let launches = trace.launches().pairs().iter().map(|&(from, to)| ("launch", from, to));
    let others = trace.flows().iter().map(|flow| (trace.text(flow.category), flow.from, flow.to));
    for (category, from, to) in launches.chain(others) {
        let end = |id: EventId| {
            let start = trace.event(id).start.nanos() + shift_ns;
            format!("{}\t{start}\t{}", path_of[id.index()], escape(trace.name(id)))
        };
        lines.push(format!("flow\t{}\t{}\t{}", escape(category), end(from), end(to)));
    }
    lines.sort_unstable();
    lines
}

/// Exports `trace`, reads it back, and compares line by line. Gives the lines and what was written.
fn check(python: &Path, trace: &Trace, name: &str, file_name: &str) -> (Vec<String>, WriteSummary) {
    let folder = tempfile::tempdir().unwrap();
    let (file, events) = (folder.path().join(file_name), folder.path().join("events.tsv"));
    let summary = perfetto::write_file(trace, &file, &WriteOptions::default(), &Silent).unwrap();
    let read = run(python, "perfetto_readback.py", &[&file, Path::new("--events"), &events]);
    assert_eq!(read["errors"], serde_json::json!([]), "{name}: what Perfetto's importer would drop");
    for (key, count) in [
        ("slices", summary.slices),
        ("instants", summary.instants),
        ("counter_values", summary.counter_values),
        ("flows", summary.flows),
        ("bytes", summary.bytes),
    ] {
        assert_eq!(read[key], count, "{name}: {key}");
    }
    assert_eq!(summary.unreadable_args, 0, "{name}");
    assert_eq!(read["facts"].as_array().unwrap().len(), trace.ranks().len(), "{name}");
    for (facts, rank) in read["facts"].as_array().unwrap().iter().zip(trace.ranks()) {
        assert_eq!(facts["gapless.rank"]["number"].as_u64(), rank.number.map(u64::from), "{name}");
        assert_eq!(facts["gapless.rank"]["base_time_ns"].as_i64(), rank.base_time_ns, "{name}");
        assert_eq!(facts["gapless.rank"]["clock_offset_ns"].as_i64(), Some(rank.clock_offset_ns), "{name}");
        let source = trace.source(rank.source).unwrap();
        assert_eq!(facts["gapless.source"]["path"], source.path, "{name}");
    }

    let expected = expected_lines(trace, summary.shift_ns);
    let mut found: Vec<String> = std::fs::read_to_string(&events).unwrap().lines().map(str::to_owned).collect();
    found.sort_unstable();
    if let Some((model, file)) = expected.iter().zip(&found).find(|(model, file)| model != file) {
        panic!("{name}: in the model\n{model}\nin the file\n{file}");
    }
    assert_eq!(found.len(), expected.len(), "{name}");
    (found, summary)
}

/// Compares the slices of the file with the complete events that Python's JSON parser finds in the source.
fn check_counts(python: &Path, source: &Path, lines: &[String]) -> bool {
    let counts = run(python, "chrome_counts.py", &[source]);
    let phase = |phase: &str| counts["phases"][phase].as_u64().unwrap_or(0);
    let is_paired: u64 = ["B", "E", "b", "e", "n", "S", "T", "p", "F"].into_iter().map(phase).sum();
    if counts["damaged"].is_string() || counts["plain"] != true || is_paired > 0 {
        return false;
    }
    let fields = |what: &'static str| {
        lines.iter().map(|line| line.split('\t')).filter(move |line| line.clone().next() == Some(what))
    };
    let mut names: BTreeMap<&str, u64> = BTreeMap::new();
    for mut line in fields("slice") {
        *names.entry(line.nth(5).unwrap()).or_default() += 1;
    }
    let of_json = counts["names"].as_object().unwrap().iter();
    let expected: BTreeMap<String, u64> =
        of_json.map(|(name, count)| (escape(name), count.as_u64().unwrap())).collect();
    let names: BTreeMap<String, u64> = names.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
    assert_eq!(names, expected, "{}: complete events by name", source.display());
    assert_eq!(fields("slice").count() as u64, phase("X"), "{}", source.display());
    assert_eq!(fields("instant").count() as u64, phase("i") + phase("I") + phase("R"), "{}", source.display());
    true
}

/// Every trace of Chrome's or Kineto's JSON form in a folder of the collection, one by one.
fn check_folder(folder: &str) {
    let (Some(traces), Some(python)) = (traces(), python()) else { return };
    let files = json_traces_in(&traces.join(folder)).unwrap();
    assert!(!files.is_empty(), "no traces in {folder}");
    for file in files {
        let trace = open(std::slice::from_ref(&file), &OpenOptions::default(), &Silent).unwrap();
        let name = file.display().to_string();
        let (lines, summary) = check(&python, &trace, &name, "out.pftrace");
        let counted = check_counts(&python, &file, &lines);
        let events = summary.slices + summary.instants;
        eprintln!(
            "{name}: {events} events, {} flows, {:.1} bytes an event{}",
            summary.flows,
            summary.bytes as f64 / events.max(1) as f64,
            if counted { ", as many as the JSON has" } else { "" }
        );
    }
}

#[test]
fn hta_traces_come_back() {
    check_folder("hta");
}

#[test]
fn resnet_traces_come_back() {
    check_folder("kineto-resnet50");
}

#[test]
fn gloo_traces_come_back() {
    check_folder("pytorch-cpu-gloo");
}

#[test]
fn dlrm_traces_come_back() {
    check_folder("dlrm-8xV100");
}

#[test]
fn jax_trace_comes_back() {
    check_folder("jax-cpu");
}

#[test]
fn tracelens_traces_come_back() {
    for folder in ["tracelens", "tracelens/b200", "tracelens/h100", "tracelens/inference", "tracelens/mi300"] {
        check_folder(folder);
    }
}

#[test]
fn eight_ranks_in_one_file_come_back() {
    let (Some(traces), Some(python)) = (traces(), python()) else { return };
    let files: Vec<PathBuf> =
        (0..8).map(|rank| traces.join(format!("dlrm-8xV100/worker{rank}.pt.trace.json.gz"))).collect();
    let trace = open(&files, &OpenOptions::default(), &Silent).unwrap();
    assert_eq!(trace.ranks().len(), 8);
    check(&python, &trace, "eight ranks", "out.pftrace.gz");
}

/// Two ranks with equal ids, and what the writer treats in its own way: slices that overlap, touch, take no
/// time, or share both ends; instants, counters, an asynchronous range, a launch of two kernels, a kernel
/// before its launch, a flow, arguments of every type.
fn hand_made(rank: u32) -> String {
    format!(
        r#"{{"schemaVersion": 1, "distributedInfo": {{"backend": "nccl", "rank": {rank}, "world_size": 2}},
"deviceProperties": [{{"id": 0, "name": "Test GPU", "totalGlobalMem": 1024, "numSms": 4}}],
"baseTimeNanoseconds": 1700000000000000000,
"traceEvents": [
{{"ph": "X", "cat": "cpu_op", "name": "outer", "pid": 1234, "tid": 1234, "ts": 100.000, "dur": 900.000,
  "args": {{"External id": 1, "Input Dims": [[2, -3], []], "Concrete Inputs": ["", "False"], "scale": 0.1,
           "big": 18446744073709551615, "none": null, "yes": true, "nested": {{"a": {{"b": [1.5]}}, "empty": {{}}}},
           "text": "tab\t \"quoted\" Ω"}}}},
{{"ph": "X", "cat": "cpu_op", "name": "same ends", "pid": 1234, "tid": 1234, "ts": 100.000, "dur": 900.000}},
{{"ph": "X", "cat": "cuda_runtime", "name": "cudaGraphLaunch", "pid": 1234, "tid": 1234, "ts": 150.5, "dur": 10.25,
  "args": {{"correlation": 7}}}},
{{"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 1234, "tid": 1234, "ts": 300, "dur": 10,
  "args": {{"correlation": 8}}}},
{{"ph": "X", "cat": "cpu_op", "name": "no time", "pid": 1234, "tid": 1234, "ts": 310.000, "dur": 0}},
{{"ph": "X", "cat": "cpu_op", "name": "no time", "pid": 1234, "tid": 1234, "ts": 310.000, "dur": 0}},
{{"ph": "X", "cat": "cpu_op", "name": "touches", "pid": 1234, "tid": 1234, "ts": 1000.000, "dur": 50.001}},
{{"ph": "X", "cat": "python_function", "name": "left open", "pid": 1234, "tid": 1234, "ts": 990.000, "dur": 500}},
{{"ph": "X", "cat": "cpu_op", "name": "other thread", "pid": 1234, "tid": 99, "ts": 2005.001, "dur": 1.002}},
{{"ph": "X", "cat": "kernel", "name": "gemm", "pid": 0, "tid": 7, "ts": 170, "dur": 100,
  "args": {{"correlation": 7, "stream": 7, "device": 0, "grid": [1, 2, 3]}}}},
{{"ph": "X", "cat": "kernel", "name": "reduce", "pid": 0, "tid": 7, "ts": 250, "dur": 100, "args": {{"correlation": 7}}}},
{{"ph": "X", "cat": "kernel", "name": "early", "pid": 0, "tid": 7, "ts": 299, "dur": 100, "args": {{"correlation": 8}}}},
{{"ph": "i", "cat": "cpu_instant_event", "name": "[memory]", "pid": 1234, "tid": 1234, "ts": 500, "s": "t",
  "args": {{"Bytes": -512, "Device Id": 0}}}},
{{"ph": "C", "name": "queue", "pid": 1234, "tid": 0, "ts": 1, "args": {{"length": 3}}}},
{{"ph": "C", "name": "queue", "pid": 1234, "tid": 0, "ts": 2, "args": {{"length": 2.5}}}},
{{"ph": "b", "cat": "io", "name": "read", "id": 1, "pid": 1234, "tid": 1234, "ts": 10}},
{{"ph": "b", "cat": "io", "name": "read", "id": 2, "pid": 1234, "tid": 1234, "ts": 15}},
{{"ph": "e", "cat": "io", "name": "read", "id": 1, "pid": 1234, "tid": 1234, "ts": 20}},
{{"ph": "e", "cat": "io", "name": "read", "id": 2, "pid": 1234, "tid": 1234, "ts": 25}},
{{"ph": "s", "cat": "fwdbwd", "name": "fwdbwd", "id": 1, "pid": 1234, "tid": 1234, "ts": 100}},
{{"ph": "f", "cat": "fwdbwd", "name": "fwdbwd", "id": 1, "pid": 1234, "tid": 99, "ts": 2005.001, "bp": "e"}},
{{"ph": "M", "name": "process_name", "pid": 1234, "tid": 0, "ts": 0, "args": {{"name": "python"}}}},
{{"ph": "M", "name": "process_labels", "pid": 0, "tid": 0, "ts": 0, "args": {{"labels": "GPU 0"}}}},
{{"ph": "M", "name": "thread_name", "pid": 0, "tid": 7, "ts": 0, "args": {{"name": "stream 7"}}}}
]}}"#
    )
}

#[test]
fn a_hand_made_trace_comes_back() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<PathBuf> = (0..2)
        .map(|rank| {
            let path = folder.path().join(format!("rank{rank}.json"));
            std::fs::write(&path, hand_made(rank)).unwrap();
            path
        })
        .collect();
    let trace = open(&files, &OpenOptions::default(), &Silent).unwrap();
    let (lines, summary) = check(&python, &trace, "hand-made", "out.pftrace");
    // By hand, for each of the two ranks: 12 complete events and 2 asynchronous ones; 3 launches, 1 other flow.
    assert_eq!((summary.slices, summary.instants, summary.counter_values, summary.flows), (28, 2, 4, 8));
    let has = |parts: &[&str]| lines.iter().any(|line| parts.iter().all(|part| line.contains(part)));
    assert!(has(&[
        "slice\tRank 0 · python (pid 1234) / ",
        "\t0\t1700000000000100000\t900000\touter\tcpu_op\toperator"
    ]));
    assert!(has(&["slice\tRank 1 · ", "\t1\t1700000000000100000\t900000\tsame ends\tcpu_op\toperator"]));
    assert!(has(&["slice\tRank 1 · ", "GPU 0 · Test GPU / stream 7 (lane 2)\t0\t", "\treduce\tkernel\tkernel\t7\t"]));
    assert!(has(&["flow\tlaunch\tRank 0 ·", "\tcudaLaunchKernel\t", "\tearly"]));
    assert!(has(&["flow\tfwdbwd\tRank 1 ·", "\tother thread"]));
    assert_eq!(lines.iter().filter(|line| line.contains("\tno time\t")).count(), 4);
}

#[test]
fn messages_agree_with_perfettos_own() {
    let Some(python) = python() else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(python)
        .arg(root.join("python/check_perfetto_schema.py"))
        .arg(root.join("../formats/perfetto-proto/src"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
}
