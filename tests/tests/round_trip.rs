//! Lossless round trips: what is exported to a Perfetto file and read again is the same trace.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

use std::cell::RefCell;
use std::collections::BTreeSet;

use gapless_formats::perfetto::{WriteOptions, write};
use gapless_formats::{OpenOptions, Silent, open};
use gapless_tests::arbitrary::{Plan, plan};
use gapless_tests::open::open_bytes;
use gapless_tests::oracle;
use gapless_tests::restore::restore;
use gapless_tests::same::same_trace;
use gapless_tests::synth::{Config as SynthConfig, Workload, texts};
use gapless_trace::{ArgValue, EventId, EventKind, Trace, TrackKind};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use rayon::prelude::*;

fn written(trace: &Trace) -> Vec<u8> {
    let mut bytes = Vec::new();
    let summary = write(trace, &mut bytes, &WriteOptions::default(), &Silent).unwrap();
    assert_eq!(summary.unreadable_args, 0);
    bytes
}

/// Makes `cases` traces and checks each; the same ones at every run.
fn for_traces(seed: u8, cases: u32, events: std::ops::Range<usize>, check: impl Fn(&Trace) -> Result<(), String>) {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let result = runner.run(&plan(events), |plan: Plan| {
        let trace = plan.build().map_err(|error| TestCaseError::fail(error.to_string()))?;
        check(&trace).map_err(TestCaseError::fail)
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

fn check_plain(trace: &Trace) -> Result<(), String> {
    let restored = restore(&written(trace)).map_err(|error| format!("{error:#}"))?;
    same_trace(trace, &restored)
}

fn check(trace: &Trace) -> Result<(), String> {
    let restored = open_bytes("trace.pftrace", written(trace)).map_err(|error| error.to_string())?;
    same_trace(trace, &restored)
}

/// Four tests of 2,500 traces each, so that they run side by side.
macro_rules! arbitrary_traces_come_back {
    ($($name:ident: $seed:literal;)*) => {
        $(
            #[test]
            fn $name() {
                for_traces($seed, 2_500, 0..12, check);
            }
        )*
    };
}

arbitrary_traces_come_back! {
    arbitrary_traces_come_back_1: 11;
    arbitrary_traces_come_back_2: 12;
    arbitrary_traces_come_back_3: 13;
    arbitrary_traces_come_back_4: 14;
}

#[test]
fn larger_traces_come_back() {
    for_traces(15, 12, 2_000..4_000, check);
}

#[test]
fn what_came_back_comes_back_again() {
    for_traces(16, 300, 0..12, |trace| {
        let read = |trace: &Trace| open_bytes("trace.pftrace", written(trace)).map_err(|error| error.to_string());
        let (first, second) = (read(trace)?, read(&read(trace)?)?);
        same_trace(&first, &second)?;
        same_trace(trace, &second)
    });
}

#[test]
fn arbitrary_traces_come_back_by_a_plain_reading() {
    for_traces(1, 1_000, 0..12, check_plain);
}

/// What `trace` holds that an exporter or a reader may get wrong.
fn held(trace: &Trace) -> BTreeSet<String> {
    let mut held = BTreeSet::new();
    let mut note = |is_held: bool, what: &str| {
        if is_held {
            held.insert(what.to_owned());
        }
    };
    note(trace.ranks().len() > 1, "ranks");
    note(trace.ranks().iter().any(|rank| !rank.companions.is_empty()), "companions");
    note(trace.ranks().iter().any(|rank| rank.events.is_empty()), "a rank without events");
    note(trace.span().is_some_and(|span| span.start.nanos() < 0), "negative times");
    note(trace.span().is_some_and(|span| span.duration().nanos() == i64::MAX), "times beyond the range");
    note(trace.tracks().iter().any(|track| track.lanes > 1), "lanes");
    note(trace.rows().iter().any(|row| row.depth > 0), "depths");
    note(!trace.launches().is_empty(), "launches");
    note(trace.flows().iter().any(|flow| flow.from == flow.to), "flows to themselves");
    note(trace.flows().iter().any(|flow| trace.event(flow.to).start < trace.event(flow.from).start), "flows back");
    note(trace.flows().windows(2).any(|flows| flows[0] == flows[1]), "equal flows");
    note(!trace.collectives().is_empty(), "collectives");
    note(!trace.copies().is_empty(), "copies");
    note(trace.event_stacks().iter().any(|entry| entry.weight > 1 << 53), "heavy call stacks");
    let values = || trace.counters().iter().flat_map(|series| &series.values);
    note(values().any(|value| value.is_nan()), "counters that are no numbers");
    note(values().any(|value| *value == 0.0 && value.is_sign_negative()), "counters below nothing");
    note(trace.warnings().sorted().iter().any(|warning| warning.offsets.len() > 1), "places of warnings");
    let keys: Vec<_> =
        trace.tracks().iter().map(|track| (track.rank, track.process, track.tid, track.sort_index)).collect();
    note(keys.windows(2).any(|keys| keys[0] == keys[1]), "tracks of one thread");
    for track in trace.tracks() {
        held.insert(format!("track {}", track.kind.id()));
    }
    for event in 0..trace.events().len() as u32 {
        let event = trace.event(EventId(event));
        held.insert(format!("event {}", event.kind.id()));
        if event.dur.nanos() == 0 && !event.kind.is_instant() {
            held.insert("slices that take no time".to_owned());
        }
        for (name, value) in trace.args(event.id).unwrap_or_default() {
            held.extend(name.starts_with("gapless.").then(|| "arguments with names of our own".to_owned()));
            held.extend((nesting(&value) > 40).then(|| "deep arguments".to_owned()));
            held.insert(format!("argument {:?}", std::mem::discriminant(&value)));
        }
    }
    held
}

fn nesting(value: &ArgValue) -> usize {
    match value {
        ArgValue::List(items) => items.iter().map(nesting).max().unwrap_or(0) + 1,
        ArgValue::Dict(entries) => entries.iter().map(|entry| nesting(&entry.1)).max().unwrap_or(0) + 1,
        _ => 0,
    }
}

#[test]
fn arbitrary_traces_hold_all_that_a_trace_may_hold() {
    let found = RefCell::new(BTreeSet::new());
    for_traces(3, 600, 0..12, |trace| {
        found.borrow_mut().extend(held(trace));
        Ok(())
    });
    let found = found.into_inner();
    let kinds = EventKind::ALL.iter().map(|kind| format!("event {}", kind.id()));
    let tracks = TrackKind::ALL.iter().map(|kind| format!("track {}", kind.id()));
    let missing: Vec<String> = kinds.chain(tracks).filter(|what| !found.contains(what)).collect();
    assert!(missing.is_empty(), "{missing:?} are missing in {found:?}");
    let others = found.iter().filter(|what| !what.starts_with("event ") && !what.starts_with("track ")).count();
    // 18 of the list above, 3 of events and arguments, 8 types of arguments.
    assert_eq!(others, 29, "{found:?}");
}

#[test]
fn larger_traces_come_back_by_a_plain_reading() {
    for_traces(2, 4, 2_000..4_000, check_plain);
}

/// Real traces of every format.
fn real_files() -> Vec<std::path::PathBuf> {
    let Some(folder) = oracle::real_traces() else { return Vec::new() };
    let endings = [".json.gz", ".json", ".sqlite", ".xplane.pb", ".parquet"];
    oracle::files_below(&folder.join("traces"), &endings).unwrap()
}

fn comes_back(what: &str, trace: &Trace) {
    let bytes = written(trace);
    let events = trace.events().len().max(1);
    eprintln!("{what}: {events} events, {:.2} bytes an event", bytes.len() as f64 / events as f64);
    check(trace).unwrap_or_else(|reason| panic!("{what}: {reason}"));
}

#[test]
fn real_traces_come_back() {
    real_files().par_iter().for_each(|path| {
        let trace = open(std::slice::from_ref(path), &OpenOptions::default(), &Silent).unwrap();
        comes_back(&path.display().to_string(), &trace);
    });
}

#[test]
fn real_ranks_of_a_job_come_back_together() {
    let Some(folder) = oracle::real_traces() else { return };
    let paths = gapless_formats::expand(&[folder.join("traces/dlrm-8xV100").to_string_lossy().into_owned()]).unwrap();
    let trace = open(&paths, &OpenOptions::default(), &Silent).unwrap();
    assert_eq!(trace.ranks().len(), 8);
    comes_back("dlrm-8xV100", &trace);
}

#[test]
fn synthetic_jobs_come_back() {
    for workload in [Workload::DataParallel, Workload::Pipeline, Workload::Recommendation] {
        let config = SynthConfig::new(workload, 2, 2).sized(4_000).unwrap();
        for text in texts(&config).unwrap().0 {
            let trace = open_bytes("synthetic.json", text).unwrap();
            comes_back(&format!("{workload:?}"), &trace);
        }
    }
}
