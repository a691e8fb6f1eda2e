//! `gapless record` with a real PyTorch. Its install is large, so these tests run where `tests/python/setup-torch.sh` was
//! run before (`./check-torch` does both), and say so elsewhere.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, missing_docs)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::Scratch;
use gapless_formats::{OpenOptions, Silent};
use gapless_trace::{EventKind, Trace, TrackKind};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Programs of the Python that has PyTorch; `None` after a line that says that the test is skipped.
fn torch() -> Option<PathBuf> {
    let venv = std::env::var_os("GAPLESS_TORCH_VENV").map_or_else(|| root().join("target/torch-venv"), PathBuf::from);
    let programs = venv.join("bin");
    if programs.join("torchrun").is_file() {
        return Some(programs);
    }
    eprintln!("skipped: there is no PyTorch in {}; tests/python/setup-torch.sh installs one", venv.display());
    None
}

fn job(name: &str) -> String {
    root().join("tests/python/jobs").join(name).to_string_lossy().into_owned()
}

fn record(scratch: &Scratch, args: &[&str]) -> (i32, String, String) {
    let inject = std::env::current_exe().unwrap().parent().unwrap().join("libgapless_inject.so");
    let mut command = scratch.command(&[&["record"], args].concat());
    command.env("GAPLESS_INJECT", inject).env("OMP_NUM_THREADS", "1");
    for name in ["RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_PROCID"] {
        command.env_remove(name);
    }
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn analyze(scratch: &Scratch, folder: &str) -> Value {
    let output = scratch.command(&["analyze", "--json", folder]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn open(paths: &[PathBuf]) -> Trace {
    gapless_formats::open(paths, &OpenOptions::default(), &Silent).unwrap()
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect();
    files.sort();
    files
}

/// Median of a part of the steps of each rank, in ms; the first step, which warms up, left out.
fn median_ms(report: &Value, part: &str) -> Vec<f64> {
    let ranks = report["ranks"].as_array().unwrap();
    ranks
        .iter()
        .map(|rank| {
            let steps = rank["steps"].as_array().unwrap();
            let mut values: Vec<f64> =
                steps.iter().skip(1).map(|step| step["host"][part].as_f64().unwrap() / 1e6).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        })
        .collect()
}

#[test]
fn two_ranks_show_the_planted_slow_rank_and_the_planted_slow_loader() {
    let Some(programs) = torch() else { return };
    let scratch = Scratch::new();
    let torchrun = programs.join("torchrun").to_string_lossy().into_owned();
    let script = job("ddp.py");
    let run = |folder: &str, planted: &[&str]| {
        let base = ["-q", "--preload", "-o", folder, "--", &torchrun, "--standalone", "--nproc-per-node", "2", &script];
        let (code, stdout, stderr) =
            record(&scratch, &[&base[..], &["--steps", "14", "--workers", "1"], planted].concat());
        assert_eq!(code, 0, "{stderr}");
        let mut lines: Vec<String> = stdout.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    // 60 ms of computing more on rank 1, then 15 ms for each of the four samples of rank 0.
    let first = run("slow-rank", &["--slow-rank", "1", "--slow-seconds", "0.06"]);
    let second = run("slow-loader", &["--slow-loader-rank", "0", "--loader-seconds", "0.015"]);
    assert_eq!(first, second, "the weights do not depend on speed");
    // Nothing in the job changes by being recorded.
    let alone = Command::new(&torchrun)
        .args(["--standalone", "--nproc-per-node", "2", &script, "--steps", "14", "--workers", "1"])
        .env("OMP_NUM_THREADS", "1")
        .output()
        .unwrap();
    let mut alone: Vec<String> = String::from_utf8_lossy(&alone.stdout).lines().map(str::to_owned).collect();
    alone.sort();
    assert_eq!(first, alone);

    let report = analyze(&scratch, "slow-rank");
    assert_eq!(report["ranks"].as_array().unwrap().len(), 2);
    for rank in report["ranks"].as_array().unwrap() {
        assert!((14..=15).contains(&rank["steps"].as_array().unwrap().len()), "steps of {}", rank["rank"]);
    }
    let operators = median_ms(&report, "operators_ns");
    let waiting = [median_ms(&report, "communication_wait_ns"), median_ms(&report, "communication_ns")];
    assert!(operators[1] > operators[0] + 20.0, "operators {operators:?} ms");
    let waits: Vec<f64> = (0..2).map(|rank| waiting[0][rank] + waiting[1][rank]).collect();
    assert!(waits[0] > waits[1] + 20.0, "waiting {waits:?} ms");

    let report = analyze(&scratch, "slow-loader");
    let loading = median_ms(&report, "data_loading_ns");
    assert!(loading[0] > loading[1] + 20.0, "loading {loading:?} ms");

    // Each collective has the same number on both ranks, in the same order.
    let trace = open(&files(&scratch.path().join("slow-rank"), ".pftrace"));
    let mut sequences: BTreeMap<u32, Vec<(String, i64)>> = BTreeMap::new();
    for track in trace.tracks() {
        let rank = trace.rank(track.rank).unwrap().number.unwrap();
        for id in track.event_ids() {
            if trace.name(id) == "collective" {
                let args = trace.args(id).unwrap();
                let get = |name: &str| args.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
                let name = get("name").map(|value| value.to_string()).unwrap_or_default();
                let seq = get("seq").and_then(|value| value.as_i64()).unwrap();
                sequences.entry(rank).or_default().push((name, seq));
            }
        }
    }
    assert!(sequences[&0].len() >= 14, "{} collectives", sequences[&0].len());
    assert_eq!(sequences[&0], sequences[&1]);
}

/// Names of operators of a thread in order of time, each with how many operators are around it.
fn operators(trace: &Trace, tid_of: &str, window: (i64, i64)) -> Vec<(String, usize)> {
    let mut found: Vec<(i64, i64, String)> = Vec::new();
    for (rank, _) in trace.rank_ids() {
        for (track_id, track) in trace.tracks_of(rank) {
            if track.kind != TrackKind::Thread || !trace.track_label(track_id).contains(tid_of) {
                continue;
            }
            for id in track.event_ids() {
                let event = trace.event(id);
                let is_inside = event.start.nanos() >= window.0 && event.end().nanos() <= window.1;
                if event.kind == EventKind::Operator && is_inside {
                    found.push((event.start.nanos(), event.end().nanos(), trace.name(id).to_owned()));
                }
            }
        }
    }
    found.sort_by_key(|event| (event.0, -event.1));
    let mut open: Vec<i64> = Vec::new();
    found
        .into_iter()
        .map(|(start, end, name)| {
            open.retain(|&until| until > start);
            let depth = open.len();
            open.push(end);
            (name, depth)
        })
        .collect()
}

#[test]
fn operators_equal_those_of_torchs_own_profiler_in_the_same_run() {
    let Some(programs) = torch() else { return };
    let scratch = Scratch::new();
    let python = programs.join("python").to_string_lossy().into_owned();
    let script = job("train.py");
    let args =
        ["-q", "-o", "run", "--detail-steps", "100:103", "--", &python, &script, "--steps", "1500", "--workers", "1"];
    let (code, _, stderr) = record(&scratch, &args);
    assert_eq!(code, 0, "{stderr}");
    let folder = scratch.path().join("run");
    let windows = files(&folder, ".json")
        .into_iter()
        .filter(|path| path.to_string_lossy().contains("detail"))
        .collect::<Vec<_>>();
    assert_eq!(windows.len(), 1, "{stderr}");
    let theirs = open(&windows);
    let all = operators(&theirs, "", (i64::MIN, i64::MAX));
    assert!(all.len() > 1000, "{} operators in the window", all.len());

    // Recorded alone: the same names in the same nesting, where the window is.
    let main = files(&folder, ".pftrace").into_iter().next().unwrap();
    let ours = open(&[main]);
    let ours_all = operators(&ours, "MainThread", (i64::MIN, i64::MAX));
    let position = ours_all.windows(all.len()).position(|stretch| stretch == all.as_slice());
    assert!(
        position.is_some(),
        "the {} operators of the window are no stretch of the {} recorded",
        all.len(),
        ours_all.len()
    );

    // Together: each once, with shapes from the window.
    let mut both = files(&folder, ".pftrace");
    both.extend(windows);
    let both = open(&both);
    let joined = operators(&both, "MainThread", (i64::MIN, i64::MAX));
    assert_eq!(joined.len(), ours_all.len());
    let mut with_shapes = 0;
    for track in both.tracks() {
        for id in track.event_ids() {
            if both.event(id).kind == EventKind::Operator
                && both.args(id).unwrap().iter().any(|(key, _)| key == "Input Dims")
            {
                with_shapes += 1;
            }
        }
    }
    assert!(with_shapes > all.len() / 2, "{with_shapes} of {} operators have shapes", all.len());
}

#[test]
fn a_job_gets_the_detail_window_that_it_asks_for() {
    let Some(programs) = torch() else { return };
    let scratch = Scratch::new();
    let python = programs.join("python").to_string_lossy().into_owned();
    let script = job("train.py");
    let args = ["-q", "-o", "run", "--", &python, &script, "--steps", "1500", "--workers", "1", "--ask-at", "20"];
    let (code, _, stderr) = record(&scratch, &args);
    assert_eq!(code, 0, "{stderr}");
    let folder = scratch.path().join("run");
    let manifest: Value = serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let windows: Vec<PathBuf> =
        files(&folder, ".json").into_iter().filter(|path| path.to_string_lossy().contains("detail")).collect();
    assert_eq!(windows.len(), 1, "{stderr} {}", manifest["notices"]);
    let window = open(&windows);
    // A step of the transformer has about 2,000.
    let count = operators(&window, "", (i64::MIN, i64::MAX)).len();
    assert!((4_000..10_000).contains(&count), "{count} operators in the window");
}

#[test]
fn a_job_that_profiles_itself_is_left_alone() {
    let Some(programs) = torch() else { return };
    let scratch = Scratch::new();
    let python = programs.join("python").to_string_lossy().into_owned();
    let (code, _, stderr) =
        record(&scratch, &["-q", "-o", "run", "--", &python, &job("profiled.py"), "--out", "own.json"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(!stderr.contains("already enabled"), "{stderr}");
    let own = open(&files(scratch.path(), "own.json"));
    assert!(!operators(&own, "", (i64::MIN, i64::MAX)).is_empty());
}
