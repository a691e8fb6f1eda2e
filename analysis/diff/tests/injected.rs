//! Comparisons of synthetic jobs whose differences are known: named, sized, and nothing found where there is nothing.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, missing_docs)]

use gapless_diff::{Cause, Diff, DiffOptions, Recording, Row, Sureness, VerdictKind, diff};
use gapless_formats::{OpenOptions, Silent};
use gapless_tests::synth::{Change, Config, SlowRank, Workload, write_files};
use gapless_trace::Trace;

fn trace(config: &Config) -> Trace {
    let folder = tempfile::tempdir().unwrap();
    let (files, _) = write_files(config, folder.path(), false).unwrap();
    gapless_formats::open(&files, &OpenOptions::default(), &Silent).unwrap()
}

fn compare(base: &Config, new: &Config) -> Diff {
    let (base, new) = (trace(base), trace(new));
    let found = diff(&Recording::new(&base), &Recording::new(&new), &DiffOptions::default());
    assert_eq!(found.rows.iter().map(|row| row.part_ns).sum::<i64>(), found.delta_ns, "parts sum to the whole");
    for row in &found.rows {
        assert!(row.details.iter().map(|detail| detail.part_ns).sum::<i64>() == row.part_ns || row.details.is_empty());
    }
    assert_eq!(found.delta_ns, found.new.typical_ns - found.base.typical_ns);
    found
}

fn job(seed: u64) -> Config {
    Config { seed, layers: 6, memory: false, python: false, ..Config::new(Workload::DataParallel, 1, 8) }
}

fn without_noise(config: &Config) -> Config {
    Config { jitter: 0.0, ..config.clone() }
}

/// Compares two runs that differ in noise and by a change. The row of the change must come first and be as large as the
/// change of the step without any noise, within 10 % and what steps vary by.
fn check(base: &Config, new: &Config, cause: Cause, name: &str) -> (Diff, Row) {
    let truth = compare(&without_noise(base), &without_noise(new)).delta_ns;
    let found = compare(base, new);
    let slower = truth > 0;
    let verdict = if slower { VerdictKind::Slower } else { VerdictKind::Faster };
    assert_eq!(found.verdict.verdict, verdict, "{:?}", found.verdict);
    let row = found.rows.first().unwrap().clone();
    assert_eq!(row.cause, cause, "{:#?}", found.rows);
    assert_eq!(row.sureness, Sureness::BeyondNoise);
    assert!(row.details.first().unwrap().name.contains(name), "{name} is not first in {:#?}", row.details);
    let noise = found.base.typical_ns as f64 * 0.004;
    let off = (row.part_ns - truth).abs() as f64;
    println!("{cause:?} {name}: true {truth} ns, found {} ns of {} ns", row.part_ns, found.delta_ns);
    assert!(off <= 0.1 * truth.abs() as f64 + noise, "{} instead of {truth}: {:#?}", row.part_ns, found.rows);
    (found, row)
}

fn changed(seed: u64, change: Change) -> Config {
    Config { changes: vec![change], ..job(seed) }
}

#[test]
fn slower_kernels_are_named_and_sized() {
    let (_, row) =
        check(&job(1), &changed(2, Change::KernelTime { name: "gemm", factor: 1.3 }), Cause::SlowerKernels, "gemm");
    assert_eq!(row.class, "matrix product");
    let ratio = row.new_ns as f64 / row.base_ns as f64;
    assert!((ratio - 1.3).abs() < 0.01, "{ratio}");
    let (_, row) =
        check(&changed(3, Change::KernelTime { name: "gemm", factor: 1.3 }), &job(4), Cause::FasterKernels, "gemm");
    assert!(row.part_ns < 0);
}

#[test]
fn new_and_gone_operators_are_named_and_sized() {
    let more = |seed| changed(seed, Change::MoreOperators { kernel_ns: 40_000 });
    let (found, row) = check(&job(1), &more(2), Cause::NewWork, "aten::gelu");
    assert!((row.details[0].new_count - 6.0).abs() < 1e-9 && row.details[0].base_count == 0.0, "{:?}", row.details);
    assert!(row.details[0].evidence.iter().all(|pair| pair.base_event.is_none() && pair.new_event.is_some()));
    assert!(found.alignment.sequences_differ);
    // But for the two kernels at the very beginning whose launch lies before the recording.
    assert!(found.alignment.base_share.unwrap() > 0.99, "{:?}", found.alignment);
    check(&more(3), &job(4), Cause::GoneWork, "aten::gelu");
}

#[test]
fn a_slower_host_is_named_and_sized() {
    let slow = changed(2, Change::HostTime { operator: "aten::addmm", extra_ns: 150_000 });
    check(&job(1), &slow, Cause::HostTime, "aten::addmm");
}

#[test]
fn a_slower_loader_is_named_and_sized() {
    let slow = Config { data_wait_ns: 1_450_000, ..job(2) };
    check(&job(1), &slow, Cause::DataLoading, "next batch");
    check(&slow, &job(1), Cause::DataLoading, "next batch");
}

#[test]
fn a_slower_link_is_named_and_sized() {
    let ranks = |config: Config| Config { ranks: 2, ..config };
    let slow = ranks(changed(2, Change::TransferTime { factor: 3.0 }));
    let (found, _) = check(&ranks(job(1)), &slow, Cause::Transfer, "allreduce");
    let collective = &found.collectives[0];
    assert_eq!(collective.name, "allreduce");
    let ratio = collective.new_transfer_ns as f64 / collective.base_transfer_ns as f64;
    assert!((ratio - 3.0).abs() < 0.1, "{collective:?}");
}

#[test]
fn a_slow_rank_is_named() {
    let ranks = |config: Config| Config { ranks: 3, ..config };
    let slow = Config { slow: Some(SlowRank { rank: 2, factor: 1.4, device: true }), ..ranks(job(2)) };
    let found = compare(&ranks(job(1)), &slow);
    assert_eq!(found.verdict.verdict, VerdictKind::Slower);
    let row = &found.rows[0];
    assert_eq!((row.cause, row.class.as_str()), (Cause::SlowerKernels, "matrix product"), "{:#?}", found.rows);
    assert_eq!(row.details[0].rank, Some(2), "{:#?}", row.details);
    // The others wait for it.
    let collective = &found.collectives[0];
    assert!(collective.new_wait_ns > 2 * collective.base_wait_ns, "{collective:?}");
}

#[test]
fn several_changes_at_once_are_all_named() {
    let new = Config {
        data_wait_ns: 950_000,
        changes: vec![Change::KernelTime { name: "gemm", factor: 1.2 }, Change::MoreOperators { kernel_ns: 60_000 }],
        ..job(2)
    };
    let found = compare(&job(1), &new);
    let causes: Vec<Cause> = found.rows.iter().take(3).map(|row| row.cause).collect();
    for cause in [Cause::DataLoading, Cause::SlowerKernels, Cause::NewWork] {
        assert!(causes.contains(&cause), "{cause:?} is not in {causes:?}");
    }
    let rest: i64 = found.rows.iter().skip(3).map(|row| row.part_ns.abs()).sum();
    assert!(rest * 10 < found.delta_ns, "{:#?}", found.rows);
}

#[test]
fn a_recording_against_itself_is_empty() {
    for workload in [Workload::DataParallel, Workload::Pipeline, Workload::Recommendation] {
        let config = Config::new(workload, 2, 4);
        let found = compare(&config, &config);
        assert_eq!((found.delta_ns, found.rows.len()), (0, 0), "{:#?}", found.rows);
        assert_eq!(found.verdict.verdict, VerdictKind::NoChange);
        assert_eq!(found.base, found.new);
    }
}

#[test]
fn two_noisy_runs_of_one_program_are_no_change() {
    let (mut alarms, mut abstained) = (0, 0);
    for seed in 0..100 {
        let found = compare(&job(2 * seed), &job(2 * seed + 1));
        match found.verdict.verdict {
            VerdictKind::Slower | VerdictKind::Faster => alarms += 1,
            VerdictKind::CannotTell => abstained += 1,
            VerdictKind::NoChange => {}
        }
        // The same program, whatever the noise.
        assert_eq!(found.base.signature, found.new.signature);
    }
    println!("{alarms} false alarms and {abstained} without verdict of 100");
    assert_eq!((alarms, abstained), (0, 0));
}

#[test]
fn very_noisy_runs_raise_no_alarm() {
    let mut alarms = 0;
    for seed in 0..40 {
        let noisy = |seed| Config { jitter: 0.8, ..job(seed) };
        let found = compare(&noisy(2 * seed), &noisy(2 * seed + 1));
        alarms += u32::from(matches!(found.verdict.verdict, VerdictKind::Slower | VerdictKind::Faster));
    }
    println!("{alarms} false alarms of 40");
    assert!(alarms <= 1, "{alarms} false alarms of 40");
}

#[test]
fn other_jobs_add_up_too() {
    // Nothing in common but some operators: the parts still sum (checked by `compare`).
    let found = compare(&Config::new(Workload::DataParallel, 2, 4), &Config::new(Workload::Recommendation, 3, 5));
    assert!(found.notes.iter().any(|note| note.contains("ranks")), "{:?}", found.notes);
    let graphs = Config { graphs: true, ..job(5) };
    let found = compare(&job(4), &graphs);
    assert!(found.rows.iter().any(|row| row.cause == Cause::NewWork), "{:#?}", found.rows);
}
