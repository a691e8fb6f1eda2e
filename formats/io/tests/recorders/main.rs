//! What recorders of communication, operators and AMD devices write: files made by hand after the source of their
//! writers, with known answers; damaged and hostile ones with what they must end in.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod chakra;
mod execution_trace;
mod flight_recorder;
mod nccl_inspector;
mod pickle;
mod rocprof;

use gapless_formats::{OpenError, OpenOptions, open, open_bytes};
use gapless_trace::{ArgValue, Args, EventId, Trace, WarningKind};

fn read(name: &str, bytes: impl Into<Vec<u8>>) -> Trace {
    open_bytes(name, bytes.into(), &OpenOptions::default()).unwrap()
}

fn refusal(name: &str, bytes: impl Into<Vec<u8>>) -> String {
    open_bytes(name, bytes.into(), &OpenOptions::default()).unwrap_err().to_string()
}

/// Opens several files together.
fn read_together(files: &[(&str, Vec<u8>)]) -> Result<Trace, OpenError> {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<_> = files
        .iter()
        .map(|(name, bytes)| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        })
        .collect();
    open(&paths, &OpenOptions::default(), &gapless_formats::Silent)
}

fn ids(trace: &Trace) -> impl Iterator<Item = EventId> {
    (0..trace.events().len() as u32).map(EventId)
}

/// The one event of this name.
fn find(trace: &Trace, name: &str) -> EventId {
    let found: Vec<_> = ids(trace).filter(|&id| trace.name(id) == name).collect();
    assert_eq!(found.len(), 1, "{name}");
    found[0]
}

/// (name, start, duration) of all events, sorted by start.
fn timeline(trace: &Trace) -> Vec<(&str, i64, i64)> {
    let of = |id| (trace.name(id), trace.event(id).start.nanos(), trace.event(id).dur.nanos());
    let mut all: Vec<_> = ids(trace).map(of).collect();
    all.sort_by_key(|event| (event.1, -event.2, event.0));
    all
}

/// Name of the track of an event.
fn track(trace: &Trace, id: EventId) -> String {
    trace.track_label(trace.track_of(id).unwrap().0)
}

fn arg<'a>(args: &'a Args, name: &str) -> &'a ArgValue {
    &args.iter().find(|arg| arg.0 == name).unwrap_or_else(|| panic!("no {name} in {args:?}")).1
}

/// Number of warnings of each kind, without those about ranks.
fn warnings(trace: &Trace) -> Vec<(WarningKind, u64)> {
    let all = trace.warnings().sorted();
    let about_ranks = [WarningKind::RankAssumed];
    all.into_iter().map(|one| (one.kind, one.count)).filter(|one| !about_ranks.contains(&one.0)).collect()
}

#[test]
fn each_format_is_told_by_its_content_and_no_json_is_taken_that_is_none() {
    let check = |bytes: Vec<u8>, format: &str| {
        // Neither the name nor what stands before the first brace decides.
        for name in ["a", "x.json", "x.pt.trace.json"] {
            assert_eq!(read(name, bytes.clone()).sources()[0].format, format, "{name}");
        }
    };
    check(flight_recorder::dump().into_bytes(), "PyTorch flight recorder dump");
    check(pickle::dump_protocol_2(), "PyTorch flight recorder dump (pickle)");
    check(execution_trace::two_threads().into_bytes(), "PyTorch execution trace");
    check(nccl_inspector::plain().into_bytes(), "NCCL inspector log");
    check(rocprof::one_process().into_bytes(), "rocprofv3 JSON");
    check(chakra::protobuf(), "Chakra execution trace");
    check(chakra::jsonized().into_bytes(), "Chakra execution trace (JSON)");
    let kineto = r#"{"schema": 1, "nodes": [], "pg_config": {}, "pg_status": {}, "traceEvents":
        [{"ph": "X", "name": "a", "ts": 1, "dur": 1, "pid": 1, "tid": 1}]}"#;
    check(kineto.as_bytes().to_vec(), "Kineto or Chrome JSON");
    for other in [
        r#"{"nodes": [{"id": 1}], "edges": []}"#,
        r#"{"schema": 7, "nodes": [{"a": 1}]}"#,
        r#"{"version": "1", "entries": [{"url": "x"}]}"#,
        r#"{"header": {}, "metadata": {}}"#,
        r#"{"version": "1"}"#,
        r#"{"version": "1"}{"a": 1}"#,
    ] {
        let refused = refusal("x.json", other);
        assert!(refused.contains("traceEvents"), "{other}: {refused}");
    }
}
