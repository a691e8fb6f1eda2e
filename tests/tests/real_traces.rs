//! Real traces: everything that a plain reading finds in a file is in the model, with the same times and names.
#![allow(clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use gapless_formats::{OpenOptions, Silent, open};
use gapless_tests::oracle::{self, NaiveTrace};
use gapless_trace::{ArgValue, EventId, EventKind, Severity, Trace, TrackKind, WarningKind};

/// The Kineto and Chrome files among the real traces.
fn kineto_files() -> Vec<std::path::PathBuf> {
    let Some(folder) = oracle::real_traces() else { return Vec::new() };
    let files = oracle::files_below(&folder.join("traces"), &[".json.gz", ".json"]).expect("readable");
    assert!(files.len() > 30, "only {} traces found", files.len());
    files
}

fn open_one(path: &Path) -> Trace {
    open(&[path.to_owned()], &OpenOptions::default(), &Silent)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn for_each(check: impl Fn(&Path, &[u8], &NaiveTrace, &Trace)) {
    for path in kineto_files() {
        let text = oracle::read_inflated(&path).expect("readable");
        let naive = oracle::read(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        check(&path, &text, &naive, &open_one(&path));
    }
}

#[test]
fn every_slice_and_instant_is_there_with_its_exact_time_and_name() {
    for_each(|path, _, naive, trace| {
        let (expected, found) = (naive.slices(), oracle::model_slices(trace));
        if expected != found {
            let left: BTreeSet<_> = expected.iter().collect();
            let right: BTreeSet<_> = found.iter().collect();
            let missing: Vec<_> = left.difference(&right).take(3).collect();
            let extra: Vec<_> = right.difference(&left).take(3).collect();
            panic!(
                "{}: {} expected, {} found; missing {missing:?}; extra {extra:?}",
                path.display(),
                expected.len(),
                found.len()
            );
        }
    });
}

#[test]
fn every_event_of_any_phase_is_counted() {
    for_each(|path, text, naive, trace| {
        let source = &trace.sources()[0];
        let dropped = naive.events.iter().filter(|event| event.ts.is_none() && event.ph != "M").count() as u64;
        assert_eq!(source.file_events + dropped, naive.events.len() as u64, "{}", path.display());
        assert_eq!(source.text_bytes, text.len() as u64, "{}", path.display());
        // The traces are whole: only what has no place on a timeline may be left out, and an object without any field
        // (JAX ends its lists with one) is no loss.
        let empty = naive.events.iter().filter(|event| event.ts.is_none() && event.ph.is_empty()).count() as u64;
        assert_eq!(trace.warnings().count(WarningKind::EmptyEvent), empty, "{}", path.display());
        let lost: Vec<_> =
            trace.warnings().sorted().into_iter().filter(|w| w.kind.severity() == Severity::Lost).cloned().collect();
        let count = lost.iter().map(|warning| warning.count).sum::<u64>();
        assert_eq!(count, dropped - empty, "{}: {lost:?}", path.display());
    });
}

#[test]
fn streams_threads_and_kinds_are_what_the_categories_say() {
    for_each(|path, _, naive, trace| {
        let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
        for event in naive.events.iter().filter(|event| event.ph == "X") {
            let kind = match event.cat.as_str() {
                // MTIA writes its waits beside its work.
                "mtia_ccp_events" if event.name == "event_wait" => "sync",
                "kernel" | "Kernel" | "mtia_ccp_events" => "kernel",
                "gpu_memcpy" | "Memcpy" => "memcpy",
                "gpu_memset" | "Memset" => "memset",
                "cuda_runtime" | "Runtime" | "cuda_driver" | "mtia_runtime" => "call",
                // Steps were operators once.
                "cpu_op" | "Operator" | "user_annotation" if event.name.starts_with("ProfilerStep") => "step",
                "cpu_op" | "Operator" => "operator",
                "python_function" => "python",
                "gpu_user_annotation" => "device annotation",
                "cuda_sync" => "sync",
                _ => continue,
            };
            *expected.entry(kind).or_default() += 1;
        }
        let mut found: BTreeMap<&str, u64> = BTreeMap::new();
        for index in 0..trace.events().len() as u32 {
            let id = EventId(index);
            let kind = match trace.event(id).kind {
                kind if kind.is_kernel() => "kernel",
                EventKind::Memcpy => "memcpy",
                EventKind::Memset => "memset",
                kind if kind.is_device_call() => "call",
                EventKind::Operator => "operator",
                EventKind::Step => "step",
                EventKind::PythonFunction => "python",
                EventKind::DeviceAnnotation => "device annotation",
                EventKind::DeviceSync => "sync",
                _ => continue,
            };
            *found.entry(kind).or_default() += 1;
        }
        assert_eq!(found, expected, "{}", path.display());
        for track in trace.tracks() {
            for id in track.event_ids() {
                let kind = trace.event(id).kind;
                assert!(!kind.is_device_work() || track.kind == TrackKind::Stream, "{}: {kind:?}", path.display());
            }
        }
    });
}

#[test]
fn rows_hold_events_that_follow_one_another() {
    for_each(|path, _, _, trace| {
        gapless_tests::check::invariants(trace).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
    });
}

/// An argument as serde_json would have it.
fn same(value: &ArgValue, json: &serde_json::Value) -> bool {
    use serde_json::Value;
    match (value, json) {
        (ArgValue::Null, Value::Null) => true,
        (ArgValue::Bool(a), Value::Bool(b)) => a == b,
        (ArgValue::Int(a), Value::Number(b)) => b.as_i64() == Some(*a),
        (ArgValue::UInt(a), Value::Number(b)) => b.as_u64() == Some(*a),
        // serde_json rounds to a neighbouring double where a literal is long; ours is exact, so one step may lie between.
        (ArgValue::Double(a), Value::Number(b)) => b.as_f64().is_some_and(|b| a.to_bits().abs_diff(b.to_bits()) <= 1),
        (ArgValue::Text(a), Value::String(b)) => a == b,
        (ArgValue::List(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (ArgValue::Dict(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((key, a), (other, b))| key == other && same(a, b))
        }
        _ => false,
    }
}

#[test]
fn arguments_are_those_of_the_file() {
    for_each(|path, text, naive, trace| {
        let value: serde_json::Value = serde_json::from_slice(text).expect("valid");
        let events = value.get("traceEvents").unwrap_or(&value).as_array().expect("a list");
        // Arguments by what identifies the event; several events may share it.
        let mut by_slice: BTreeMap<(i64, i64, &str), Vec<&serde_json::Value>> = BTreeMap::new();
        for (plain, event) in naive.events.iter().zip(events) {
            if let ("X", Some(ts), Some(args)) = (plain.ph.as_str(), plain.ts, event.get("args")) {
                by_slice.entry((ts, plain.dur.unwrap_or(0).max(0), &plain.name)).or_default().push(args);
            }
        }
        let step = (trace.events().len() / 4_000).max(1);
        for index in (0..trace.events().len() as u32).step_by(step) {
            let event = trace.event(EventId(index));
            let args = trace.args(event.id).expect("readable");
            let name = trace.name(event.id);
            match by_slice.get(&(event.start.nanos(), event.dur.nanos(), name)) {
                Some(candidates) => {
                    let args = ArgValue::Dict(args);
                    assert!(candidates.iter().any(|json| same(&args, json)), "{}: {name}: {args:?}", path.display());
                }
                None => assert!(args.is_empty() || event.kind.is_instant(), "{}: {name}: {args:?}", path.display()),
            }
        }
    });
}

#[test]
fn ranks_of_a_folder_make_one_trace() {
    let Some(folder) = oracle::real_traces() else { return };
    let pattern = folder.join("traces/dlrm-8xV100").to_string_lossy().into_owned();
    let paths = gapless_formats::expand(&[pattern]).expect("finds the ranks");
    assert_eq!(paths.len(), 8);
    let trace = open(&paths, &OpenOptions::default(), &Silent).expect("opens");
    let numbers: Vec<_> = trace.ranks().iter().map(|rank| (rank.number, rank.world_size)).collect();
    assert_eq!(numbers, (0..8).map(|rank| (Some(rank), Some(8))).collect::<Vec<_>>());
    let mut expected = Vec::new();
    for path in &paths {
        let text = oracle::read_inflated(path).expect("readable");
        expected.extend(oracle::read(&text).expect("valid").slices());
    }
    expected.sort_unstable();
    assert!(oracle::model_slices(&trace) == expected);
}
