//! Lossless round trips: what is exported to a Perfetto file and read again is the same trace.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

use gapless_formats::perfetto::{WriteOptions, write};
use gapless_formats::{OpenOptions, Silent, open};
use gapless_tests::arbitrary::{Plan, plan};
use gapless_tests::oracle;
use gapless_tests::restore::restore;
use gapless_tests::same::same_trace;
use gapless_trace::Trace;
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

#[test]
fn arbitrary_traces_come_back_by_a_plain_reading() {
    for_traces(1, 2_000, 0..12, check_plain);
}

#[test]
fn larger_traces_come_back_by_a_plain_reading() {
    for_traces(2, 12, 2_000..4_000, check_plain);
}

/// Real traces of Chrome's or Kineto's JSON form.
fn json_traces() -> Vec<std::path::PathBuf> {
    let Some(folder) = oracle::real_traces() else { return Vec::new() };
    oracle::files_below(&folder.join("traces"), &[".json.gz", ".json"]).unwrap()
}

#[test]
fn real_traces_come_back_by_a_plain_reading() {
    json_traces().par_iter().for_each(|path| {
        let trace = open(std::slice::from_ref(path), &OpenOptions::default(), &Silent).unwrap();
        let bytes = written(&trace);
        let events = trace.events().len().max(1);
        eprintln!("{}: {events} events, {:.2} bytes an event", path.display(), bytes.len() as f64 / events as f64);
        check_plain(&trace).unwrap_or_else(|reason| panic!("{}: {reason}", path.display()));
    });
}
