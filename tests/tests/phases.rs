//! Every phase of the trace-event format, each with the answer that the format's description gives it.

use gapless_tests::check;
use gapless_tests::open::open_bytes;
use gapless_trace::{EventKind, RawId, Trace, TrackKind, WarningKind};

fn open(events: &[&str]) -> Trace {
    let text = format!("{{\"traceEvents\": [\n{}\n]}}", events.join(",\n"));
    let trace = open_bytes("trace.json", text.into_bytes()).expect("opens");
    check::invariants(&trace).expect("invariants");
    trace
}

/// (name, start, duration) of the events on tracks of a kind, in order of time.
fn on(trace: &Trace, kind: TrackKind) -> Vec<(String, i64, i64)> {
    let tracks = trace.tracks().iter().filter(|track| track.kind == kind);
    let mut found: Vec<_> = tracks
        .flat_map(|track| track.event_ids())
        .map(|id| (trace.name(id).to_owned(), trace.event(id).start.nanos(), trace.event(id).dur.nanos()))
        .collect();
    found.sort_by_key(|entry| (entry.1, -entry.2));
    found
}

fn named(name: &str, start: i64, dur: i64) -> (String, i64, i64) {
    (name.to_owned(), start, dur)
}

#[test]
fn begins_and_ends_pair_by_thread_from_the_inside() {
    let trace = open(&[
        r#"{"ph": "B", "name": "outer", "pid": 1, "tid": 2, "ts": 10.5, "args": {"a": 1}}"#,
        r#"{"ph": "B", "name": "other thread", "pid": 1, "tid": 3, "ts": 10.75}"#,
        r#"{"ph": "B", "name": "inner", "pid": 1, "tid": 2, "ts": 11}"#,
        r#"{"ph": "E", "pid": 1, "tid": 2, "ts": 12.25}"#,
        r#"{"ph": "E", "pid": 1, "tid": 2, "ts": 20, "args": {"b": 2}}"#,
        r#"{"ph": "E", "pid": 1, "tid": 3, "ts": 30}"#,
    ]);
    let expected =
        [named("outer", 10_500, 9_500), named("other thread", 10_750, 19_250), named("inner", 11_000, 1_250)];
    assert_eq!(on(&trace, TrackKind::Thread), expected);
    let outer = (0..3).map(gapless_trace::EventId).find(|&id| trace.name(id) == "outer").expect("is there");
    let keys: Vec<String> = trace.args(outer).expect("readable").into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["a", "b"], "an end may add arguments");
    let inner = trace.children(outer).next().expect("a child");
    assert_eq!(trace.name(gapless_trace::EventId(inner as u32)), "inner");
    assert!(trace.warnings().is_empty(), "{:?}", trace.warnings().sorted());
}

#[test]
fn a_begin_without_end_lasts_and_an_end_without_begin_is_counted() {
    let trace = open(&[
        r#"{"ph": "E", "pid": 1, "tid": 2, "ts": 1}"#,
        r#"{"ph": "B", "name": "open", "pid": 1, "tid": 2, "ts": 5}"#,
        r#"{"ph": "X", "name": "inside", "pid": 1, "tid": 2, "ts": 6, "dur": 44}"#,
    ]);
    assert_eq!(on(&trace, TrackKind::Thread), [named("open", 5_000, 45_000), named("inside", 6_000, 44_000)]);
    assert_eq!(trace.warnings().count(WarningKind::EndWithoutBegin), 1);
    assert_eq!(trace.warnings().count(WarningKind::BeginWithoutEnd), 1);
    assert_eq!(trace.warnings().lost(), 1);
}

#[test]
fn asynchronous_ranges_pair_by_category_and_id() {
    let trace = open(&[
        r#"{"ph": "b", "name": "get", "cat": "net", "id": "0x1f", "pid": 1, "tid": 2, "ts": 5}"#,
        r#"{"ph": "b", "name": "get", "cat": "net", "id": "0x20", "pid": 1, "tid": 2, "ts": 5.5}"#,
        r#"{"ph": "n", "name": "byte", "cat": "net", "id": "0x1f", "pid": 1, "tid": 3, "ts": 6}"#,
        r#"{"ph": "b", "name": "read", "cat": "net", "id": "0x1f", "pid": 1, "tid": 2, "ts": 6.5}"#,
        r#"{"ph": "e", "name": "read", "cat": "net", "id": "0x1f", "pid": 1, "tid": 2, "ts": 7}"#,
        r#"{"ph": "e", "name": "get", "cat": "net", "id": "0x20", "pid": 1, "tid": 2, "ts": 8}"#,
        r#"{"ph": "e", "name": "get", "cat": "net", "id": "0x1f", "pid": 1, "tid": 9, "ts": 9}"#,
    ]);
    let expected =
        [named("get", 5_000, 4_000), named("get", 5_500, 2_500), named("byte", 6_000, 0), named("read", 6_500, 500)];
    assert_eq!(on(&trace, TrackKind::Async), expected);
    assert!(trace.warnings().is_empty(), "{:?}", trace.warnings().sorted());
}

#[test]
fn the_old_asynchronous_phases_are_read_too() {
    let trace = open(&[
        r#"{"ph": "S", "name": "job", "cat": "old", "id": 4, "pid": 1, "tid": 2, "ts": 1}"#,
        r#"{"ph": "T", "name": "job", "cat": "old", "id": 4, "pid": 1, "tid": 2, "ts": 2}"#,
        r#"{"ph": "F", "name": "job", "cat": "old", "id": 4, "pid": 1, "tid": 2, "ts": 3}"#,
    ]);
    assert_eq!(on(&trace, TrackKind::Async).first(), Some(&named("job", 1_000, 2_000)));
    assert_eq!(trace.warnings().lost(), 0);
}

#[test]
fn instants_of_both_spellings() {
    let trace = open(&[
        r#"{"ph": "i", "name": "new", "pid": 1, "tid": 2, "ts": 7.001, "s": "t"}"#,
        r#"{"ph": "I", "name": "old", "pid": 1, "tid": 2, "ts": 8, "s": "g"}"#,
    ]);
    assert_eq!(on(&trace, TrackKind::ThreadInstants), [named("new", 7_001, 0), named("old", 8_000, 0)]);
    assert!((0..2).all(|id| trace.event(gapless_trace::EventId(id)).kind.is_instant()));
}

#[test]
fn a_counter_has_a_series_for_each_number() {
    let trace = open(&[
        r#"{"ph": "C", "name": "memory", "pid": 1, "ts": 9, "args": {"used": 30, "free": -2.5}}"#,
        r#"{"ph": "C", "name": "memory", "pid": 1, "ts": 7, "args": {"used": 17, "free": 2.5}}"#,
        r#"{"ph": "C", "name": "memory", "pid": 1, "ts": 8, "args": {"used": "none"}}"#,
    ]);
    let mut series: Vec<_> = trace
        .counters()
        .iter()
        .map(|series| (trace.text(series.name).to_owned(), series.times.clone(), series.values.clone()))
        .collect();
    series.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(series.len(), 2, "{series:?}");
    assert!(series[0].0.contains("free") && series[1].0.contains("used"), "{series:?}");
    assert_eq!((&series[0].1[..], &series[0].2[..]), (&[7_000, 9_000][..], &[2.5, -2.5][..]));
    assert_eq!((&series[1].1[..], &series[1].2[..]), (&[7_000, 9_000][..], &[17.0, 30.0][..]));
    assert_eq!(trace.warnings().count(WarningKind::CounterNotNumeric), 1);
}

#[test]
fn flows_bind_to_the_slices_that_enclose_them_and_go_step_by_step() {
    let slice = |name: &str, tid: u32, ts: u32| {
        format!(r#"{{"ph": "X", "name": "{name}", "pid": 1, "tid": {tid}, "ts": {ts}, "dur": 10}}"#)
    };
    let slices = [slice("one", 1, 0), slice("two", 2, 20), slice("three", 3, 40)];
    let flows = [
        r#"{"ph": "s", "name": "f", "cat": "c", "id": 7, "pid": 1, "tid": 1, "ts": 5}"#,
        r#"{"ph": "t", "name": "f", "cat": "c", "id": 7, "pid": 1, "tid": 2, "ts": 25}"#,
        r#"{"ph": "f", "name": "f", "cat": "c", "id": 7, "pid": 1, "tid": 3, "ts": 45, "bp": "e"}"#,
        r#"{"ph": "s", "name": "f", "cat": "other", "id": 7, "pid": 1, "tid": 1, "ts": 6}"#,
        r#"{"ph": "f", "name": "f", "cat": "third", "id": 9, "pid": 1, "tid": 3, "ts": 46, "bp": "e"}"#,
    ];
    let events: Vec<&str> = slices.iter().map(String::as_str).chain(flows).collect();
    let trace = open(&events);
    let arrows: Vec<_> = trace.flows().iter().map(|flow| (trace.name(flow.from), trace.name(flow.to))).collect();
    assert_eq!(arrows, [("one", "two"), ("two", "three")]);
    assert_eq!(trace.warnings().count(WarningKind::FlowWithoutEnd), 1);
    assert_eq!(trace.warnings().count(WarningKind::FlowWithoutStart), 1);
}

#[test]
fn names_of_processes_and_threads() {
    let trace = open(&[
        r#"{"ph": "M", "name": "process_name", "pid": 17, "args": {"name": "trainer"}}"#,
        r#"{"ph": "M", "name": "thread_name", "pid": 17, "tid": "main", "ts": 0, "args": {"name": "the loop"}}"#,
        r#"{"ph": "X", "name": "work", "pid": 17, "tid": "main", "ts": 0, "dur": 1}"#,
    ]);
    assert_eq!(trace.text(trace.processes()[0].name), "trainer");
    let (id, track) = trace.track_ids().find(|(_, track)| !track.events.is_empty()).expect("a track");
    assert_eq!(trace.track_label(id), "the loop");
    assert!(matches!(track.tid, RawId::Text(text) if trace.text(text) == "main"));
}

#[test]
fn synchronisation_rows_are_no_work() {
    let trace = open(&[
        r#"{"ph": "X", "cat": "kernel", "name": "k", "pid": 0, "tid": 7, "ts": 1, "dur": 5, "args": {"device": 0, "stream": 7, "correlation": 3}}"#,
        r#"{"ph": "X", "cat": "cuda_sync", "name": "Stream Sync", "pid": 0, "tid": 7, "ts": 2, "dur": 9, "args": {"stream": 7, "correlation": 4}}"#,
        r#"{"ph": "X", "cat": "cuda_sync", "name": "Context Sync", "pid": 0, "tid": 4294967295, "ts": 2, "dur": 9, "args": {"stream": 4294967295, "correlation": 5}}"#,
        r#"{"ph": "X", "cat": "gpu_user_annotation", "name": "step", "pid": 0, "tid": 7, "ts": 1, "dur": 5, "args": {}}"#,
    ]);
    assert_eq!(on(&trace, TrackKind::Stream), [named("k", 1_000, 5_000)]);
    assert_eq!(on(&trace, TrackKind::StreamSyncs).len(), 2);
    assert_eq!(on(&trace, TrackKind::StreamAnnotations).len(), 1);
    let analysis = gapless_analysis::analyze(&trace, &gapless_analysis::AnalysisOptions::default());
    assert_eq!((analysis.ranks[0].breakdown.busy_ns, analysis.ranks[0].breakdown.span_ns), (5_000, 5_000));
}

#[test]
fn collective_arguments_decide_before_names_do() {
    let kernel = |name: &str, collective: &str| {
        format!(
            r#"{{"ph": "X", "cat": "kernel", "name": "{name}", "pid": 0, "tid": 0, "ts": 1, "dur": 5, "args": {{"device": 0, "stream": 0, "correlation": 3{collective}}}}}"#
        )
    };
    let with = |name: &str, collective: &str| {
        let trace = open(&[&kernel(name, collective)]);
        trace.event(gapless_trace::EventId(0)).kind
    };
    assert_eq!(with("my_own_ring", ""), EventKind::Kernel);
    assert_eq!(with("my_own_ring", r#", "Collective name": "allreduce""#), EventKind::Collective);
    assert_eq!(with("ncclDevKernel_Generic(x)", ""), EventKind::Collective);
    assert_eq!(with("ncclDevKernel_Generic(x)", r#", "Collective name": "send""#), EventKind::PointToPoint);
}

#[test]
fn phases_without_a_place_on_a_timeline_are_counted() {
    let mut events = vec![r#"{"ph": "X", "name": "work", "pid": 1, "tid": 1, "ts": 0, "dur": 1}"#.to_owned()];
    for phase in ["N", "D", "O", "v", "V", "c", "R"] {
        events.push(format!(r#"{{"ph": "{phase}", "name": "x", "id": 1, "pid": 1, "tid": 1, "ts": 0}}"#));
    }
    let trace = open(&events.iter().map(String::as_str).collect::<Vec<_>>());
    let told = trace.warnings().count(WarningKind::UnknownPhase) + trace.events().len() as u64;
    assert_eq!(told, 8, "{:?}", trace.warnings().sorted());
}
