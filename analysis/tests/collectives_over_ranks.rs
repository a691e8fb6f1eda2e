//! Collectives over the ranks of real traces (`GAPLESS_TRACES`, as in `expected_intervals.rs`).
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gapless_analysis::{
    ClockAlignment, CollectiveInstance, CollectiveKind, CollectiveReport, LatenessVerdict, MatchedBy,
    match_collectives, timings,
};
use gapless_formats::{OpenOptions, Silent, open};
use gapless_trace::Trace;
use serde_json::Value;

fn shared() -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let folder = std::env::var_os("GAPLESS_TRACES").map_or_else(default, PathBuf::from);
    if folder.join("traces").is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no real traces at {}; set GAPLESS_TRACES", folder.display());
    None
}

fn opened(folder: &Path, names: &[String]) -> Trace {
    let paths: Vec<PathBuf> = names.iter().map(|name| folder.join("traces").join(name)).collect();
    open(&paths, &OpenOptions::default(), &Silent).unwrap()
}

fn dlrm(folder: &Path) -> Trace {
    let names: Vec<String> = (0..8).map(|rank| format!("dlrm-8xV100/worker{rank}.pt.trace.json.gz")).collect();
    opened(folder, &names)
}

fn over_ranks(found: &[CollectiveInstance]) -> Vec<&CollectiveInstance> {
    found.iter().filter(|instance| instance.members.len() > 1).collect()
}

#[test]
fn the_eight_collectives_of_dlrm_are_matched_to_the_microsecond() {
    let Some(folder) = shared() else { return };
    let trace = dlrm(&folder);
    let found = match_collectives(&trace, &ClockAlignment::identity(&trace));
    let text = std::fs::read(folder.join("expected/intervals/dlrm-8xV100-collectives.json")).unwrap();
    let expected: Value = serde_json::from_slice(&text).unwrap();
    let expected = expected["collectives"].as_array().unwrap();
    assert_eq!(found.len(), expected.len());
    for (instance, expected) in found.iter().zip(expected) {
        let times = |key: &str| {
            let by_rank: BTreeMap<u32, i64> = serde_json::from_value(expected[key].clone()).unwrap();
            by_rank.into_values().map(|us| us * 1_000).collect::<Vec<i64>>()
        };
        let starts: Vec<i64> = instance.members.iter().map(|member| member.start.nanos()).collect();
        let ends: Vec<i64> = instance.members.iter().map(|member| member.end.nanos()).collect();
        assert_eq!((starts, ends), (times("start_us"), times("end_us")));
        assert_eq!(instance.matched_by, MatchedBy::Order);
    }
    let kinds: Vec<CollectiveKind> = found.iter().map(|instance| instance.kind).collect();
    use CollectiveKind::{AllReduce, AllToAll};
    assert_eq!(kinds, [AllToAll, AllToAll, AllToAll, AllToAll, AllReduce, AllToAll, AllReduce, AllReduce]);
    // 394,241 floats, 112 floats, 226,960 floats.
    let bytes: Vec<Option<u64>> =
        found.iter().filter(|instance| instance.kind == AllReduce).map(|instance| instance.bytes).collect();
    assert_eq!(bytes, [Some(1_576_964), Some(448), Some(907_840)]);
    let edges: Vec<bool> = found.iter().map(|instance| instance.edge).collect();
    assert_eq!(edges, [true, false, false, false, false, false, false, true]);
}

#[test]
fn transfers_and_late_ranks_of_dlrm_are_as_expected() {
    let Some(folder) = shared() else { return };
    let trace = dlrm(&folder);
    // As recorded: the eight ranks ran on one host.
    let identity = ClockAlignment::identity(&trace);
    let recorded = timings(&match_collectives(&trace, &identity), &identity);
    let report = CollectiveReport::new(&trace);
    let aligned = report.collectives.iter().map(|found| found.timing.transfer_ns);
    for ((recorded, aligned), expected) in recorded.iter().zip(aligned).zip([10, 8, 7, 7, 86, 10, 20, 69]) {
        let off = |found: i64| (found - expected * 1_000).abs();
        assert!(off(recorded.transfer_ns) <= 3_000, "{} ns instead of {expected} µs", recorded.transfer_ns);
        // Alignment may move each end of it by as much as it is off.
        assert!(off(aligned) <= 5_000, "{aligned} ns instead of {expected} µs");
        assert!(recorded.end_spread_ns <= 7_000);
    }
    let late: Vec<u32> = report.collectives.iter().filter_map(|found| Some(found.timing.delayer?.0)).collect();
    assert_eq!(late, [7, 7, 7, 7, 7, 5, 5, 4]);
    // One step is too little to call anybody a straggler.
    assert!(report.lateness.iter().all(|rank| rank.verdict == LatenessVerdict::TooFew));
}

#[test]
fn ranges_of_gloo_threads_are_collectives() {
    let Some(folder) = shared() else { return };
    let names = [0, 1].map(|rank| format!("pytorch-cpu-gloo/rank{rank}.pt.trace.json.gz"));
    let trace = opened(&folder, &names);
    let found = match_collectives(&trace, &ClockAlignment::identity(&trace));
    assert_eq!(found.len(), 16);
    assert!(found.iter().all(|instance| instance.members.len() == 2 && !instance.on_device));
    let count = |kind| found.iter().filter(|instance| instance.kind == kind).count();
    assert_eq!(count(CollectiveKind::AllReduce), 10);
    assert_eq!(count(CollectiveKind::Broadcast), 4);
    assert_eq!((count(CollectiveKind::AllGather), count(CollectiveKind::Barrier)), (1, 1));
    let largest = found.iter().filter_map(|instance| instance.bytes).max();
    assert_eq!(largest, Some(132_992 * 4));
    for instance in &found {
        let last = instance.members.iter().map(|member| member.start).max().unwrap();
        let first_end = instance.members.iter().map(|member| member.end).min().unwrap();
        // Roots of broadcasts may be done before others begin.
        assert!(instance.kind == CollectiveKind::Broadcast || last <= first_end, "{instance:?}");
    }
}

#[test]
fn calls_that_a_recording_missed_do_not_shift_the_others() {
    let Some(folder) = shared() else { return };
    let names = [0, 1].map(|rank| format!("hta/sampled-128-rank{rank}.json.gz"));
    let trace = opened(&folder, &names);
    let found = match_collectives(&trace, &ClockAlignment::identity(&trace));
    // Of 20 calls in these excerpts, 10 are seen from both ranks; all-gathers of 128 ranks end up to 0.4 ms apart.
    let both = over_ranks(&found);
    assert_eq!((found.len(), both.len()), (15, 5));
    for instance in both {
        let ends: Vec<i64> = instance.members.iter().map(|member| member.end.nanos()).collect();
        assert!((ends[0] - ends[1]).abs() < 400_000, "{instance:?}");
    }
    let by_ends = found.iter().filter(|instance| instance.matched_by == MatchedBy::Ends);
    assert_eq!(by_ends.count(), 3);
}
