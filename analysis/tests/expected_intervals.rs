//! Equality, to the nanosecond, with the exact interval arithmetic of `expected/intervals`.
//!
//! Real traces are not part of the repository: `GAPLESS_TRACES` names their folder (`../shared` beside the workspace if
//! it is not set). Where the folder is missing the tests say so and pass.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gapless_analysis::{Analysis, AnalysisOptions, RankBreakdown, analyze};
use gapless_formats::{OpenOptions, Silent, open};
use gapless_trace::{EventKind, RankId, Trace};
use serde_json::Value;

/// Files of `expected/intervals` whose traces lie elsewhere than in `hta/NAME.json.gz`.
const ELSEWHERE: &[(&str, &[&str])] = &[
    ("h100-owlv2", &["tracelens/h100/owlv2"]),
    ("h100-qwen1.5-0.5b", &["tracelens/h100/qwen1.5-0.5b"]),
    ("resnet-act-checkpoint-ddp-rank0of8", &["tracelens/mi300/resnet-act-checkpoint-ddp-rank0of8"]),
    ("vllm-eager-rank0of8", &["tracelens/b200/vllm-eager-rank0of8"]),
    ("sampled-128", &["hta/sampled-128-rank0", "hta/sampled-128-rank1"]),
];

/// A file whose content is not a list of breakdowns.
const COLLECTIVES: &str = "dlrm-8xV100-collectives";

fn shared() -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let folder = std::env::var_os("GAPLESS_TRACES").map_or_else(default, PathBuf::from);
    if folder.join("expected/intervals").is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no real traces at {}; set GAPLESS_TRACES", folder.display());
    None
}

fn load(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn traces_of(folder: &Path, name: &str) -> Vec<PathBuf> {
    let at = |name: &str| folder.join("traces").join(format!("{name}.json.gz"));
    if name == "dlrm-8xV100" {
        return (0..8).map(|rank| at(&format!("dlrm-8xV100/worker{rank}.pt.trace"))).collect();
    }
    let elsewhere = ELSEWHERE.iter().find(|entry| entry.0 == name);
    elsewhere.map_or_else(|| vec![at(&format!("hta/{name}"))], |entry| entry.1.iter().map(|name| at(name)).collect())
}

fn analyzed(paths: &[PathBuf]) -> (Trace, Analysis) {
    let trace = open(paths, &OpenOptions::default(), &Silent).unwrap();
    let analysis = analyze(&trace, &AnalysisOptions::default());
    (trace, analysis)
}

fn check(trace: &Trace, found: &RankBreakdown, expected: &Value, what: &str) {
    let base = trace.rank(found.rank_id).unwrap().base_time_ns.unwrap_or(0);
    let numbers = [
        ("gpu_events", found.device_events as i64),
        ("streams", found.streams.len() as i64),
        ("first_ns", found.first_ns.unwrap() - base),
        ("span_ns", found.span_ns),
        ("busy_ns", found.busy_ns),
        ("idle_ns", found.idle_ns),
        ("compute_union_ns", found.compute_union_ns),
        ("comm_union_ns", found.comm_union_ns),
        ("comm_sum_ns", found.comm_sum_ns),
        ("mem_union_ns", found.mem_union_ns),
        ("n_comm", found.n_comm as i64),
        ("n_compute", found.n_compute as i64),
        ("n_mem", found.n_mem as i64),
        ("overlap_comm_compute_ns", found.overlap_comm_compute_ns),
        ("exposed_comm_ns", found.exposed_comm_ns),
    ];
    for (field, found) in numbers {
        assert_eq!(Some(found), expected[field].as_i64(), "{field} of {what}");
    }
    let devices: Vec<String> = found.devices.iter().map(|device| device.device.unwrap().to_string()).collect();
    assert_eq!(serde_json::to_value(devices).unwrap(), expected["devices"], "devices of {what}");
    let stream =
        |busy: &gapless_analysis::StreamBusy| (format!("{}/{}", busy.device.unwrap(), busy.stream), busy.busy_ns);
    let streams: BTreeMap<String, i64> = found.streams.iter().map(stream).collect();
    let expected: BTreeMap<String, i64> = serde_json::from_value(expected["per_stream_busy_ns"].clone()).unwrap();
    assert_eq!(streams, expected, "streams of {what}");
}

#[test]
fn every_breakdown_is_exact() {
    let Some(folder) = shared() else { return };
    let mut files: Vec<_> =
        std::fs::read_dir(folder.join("expected/intervals")).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    let mut ranks = 0;
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap();
        if name == COLLECTIVES {
            continue;
        }
        let expected = load(&file);
        let expected = expected.as_array().unwrap();
        let (trace, analysis) = analyzed(&traces_of(&folder, name));
        assert_eq!(analysis.ranks.len(), expected.len(), "ranks of {name}");
        for (rank, expected) in analysis.ranks.iter().zip(expected) {
            let what = format!("{name}, {}", rank.breakdown.file);
            check(&trace, &rank.breakdown, expected, &what);
            ranks += 1;
            for step in rank.steps.iter().chain([&rank.whole]) {
                let partition = &step.partition;
                assert_eq!(partition.duration_ns, step.end_ns - step.start_ns, "{} of {what}", step.name);
                assert_eq!(partition.sum_ns(), partition.duration_ns, "parts of {} of {what}", step.name);
                assert_eq!(partition.idle_by_cause.total_ns(), partition.idle_ns, "idle in {} of {what}", step.name);
            }
            let all = &rank.whole.partition;
            assert_eq!(all.compute_ns, rank.breakdown.compute_union_ns, "{what}");
            assert_eq!(all.hidden_comm_ns, rank.breakdown.overlap_comm_compute_ns, "{what}");
            assert_eq!(all.exposed_comm_ns, rank.breakdown.exposed_comm_ns, "{what}");
            assert_eq!(all.exposed_copy_ns + all.hidden_copy_ns, rank.breakdown.mem_union_ns, "{what}");
        }
    }
    assert_eq!(ranks, 21, "every rank of every file was compared");
}

#[test]
fn collectives_of_eight_ranks_match_by_order() {
    let Some(folder) = shared() else { return };
    let expected = load(&folder.join(format!("expected/intervals/{COLLECTIVES}.json")));
    let (trace, analysis) = analyzed(&traces_of(&folder, "dlrm-8xV100"));
    let mut by_rank: Vec<Vec<(i64, i64, String, i64)>> = Vec::new();
    for rank in &analysis.ranks {
        let mut found = communication(&trace, rank.breakdown.rank_id);
        found.sort();
        by_rank.push(found);
    }
    let expected = expected["collectives"].as_array().unwrap();
    assert!(by_rank.iter().all(|found| found.len() == expected.len()));
    for (index, collective) in expected.iter().enumerate() {
        let starts: Vec<i64> = by_rank.iter().map(|found| found[index].0).collect();
        let latest = starts.iter().copied().max().unwrap();
        let mut ends = Vec::new();
        for (rank, found) in by_rank.iter().enumerate() {
            let (start, end, name, stream) = &found[index];
            let of = |field: &str| collective[field][rank.to_string()].as_i64();
            // The list gives names without their parameters.
            assert_eq!(name.split('(').next(), collective["name"].as_str());
            assert_eq!(Some(*stream), of("stream"));
            assert_eq!(Some(*start), of("start_us").map(|us| us * 1_000));
            assert_eq!(Some(*end), of("end_us").map(|us| us * 1_000));
            assert_eq!(Some(end - start), of("dur_us").map(|us| us * 1_000));
            assert_eq!(Some(latest - start), of("wait_us").map(|us| us * 1_000));
            ends.push(*end);
        }
        let spread = |times: &[i64]| times.iter().max().unwrap() - times.iter().min().unwrap();
        let of = |field: &str| collective[field].as_i64();
        assert_eq!(Some(spread(&starts)), of("start_spread_us").map(|us| us * 1_000));
        assert_eq!(Some(spread(&ends)), of("end_spread_us").map(|us| us * 1_000));
        assert_eq!(starts.iter().position(|&start| start == latest).map(|rank| rank as i64), of("last_arriver"));
        let shortest = starts.iter().zip(&ends).map(|(start, end)| end - start).min().unwrap();
        assert_eq!(Some(shortest), of("min_dur_us").map(|us| us * 1_000));
    }
}

/// Start, end, name and stream of the communication kernels of a rank.
fn communication(trace: &Trace, rank: RankId) -> Vec<(i64, i64, String, i64)> {
    let tracks = trace.tracks_of(rank).filter(|(_, track)| track.kind == gapless_trace::TrackKind::Stream);
    let of_track = tracks.flat_map(|(_, track)| track.event_ids().map(|id| (trace.event(id), track.stream().unwrap())));
    let comm = of_track.filter(|(event, _)| matches!(event.kind, EventKind::Collective | EventKind::PointToPoint));
    comm.map(|(event, stream)| (event.start.nanos(), event.end().nanos(), trace.text(event.name).to_owned(), stream))
        .collect()
}
