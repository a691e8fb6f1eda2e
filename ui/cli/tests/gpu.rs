//! `gapless record` of a job on a STUB of CUDA and CUPTI (`tests/gpu/stub`): what the stub played is in one trace, and the
//! analyses join operators, launches, device work and waits. This proves our side only; no device is part of it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::Scratch;
use gapless_formats::{OpenOptions, Silent};
use gapless_trace::{EventId, EventKind};
use serde_json::Value;

/// The library that runs inside jobs, as it was built with these tests.
fn inject() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let path = tests.parent().unwrap().join("libgapless_inject.so");
    assert!(path.is_file(), "{} was not built", path.display());
    path
}

/// Builds the stub and the job into the scratch folder. False, with a line, where there is no compiler.
fn build(scratch: &Scratch) -> bool {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/gpu/stub");
    let here = scratch.path().display().to_string();
    let (link, path) = (format!("-L{here}"), format!("-Wl,-rpath,{here}"));
    for (args, file, output) in [
        (vec!["-fPIC", "-shared", "-Wl,-soname,libcuda.so.1"], "libcuda.c", "libcuda.so.1"),
        (vec!["-fPIC", "-shared", "-Wl,-soname,libcupti.so.13"], "libcupti.c", "libcupti.so.13"),
        (vec![&link, &path, "-l:libcuda.so.1"], "job.c", "job"),
    ] {
        let made = Command::new("gcc")
            .args(["-O1", "-pthread", "-o"])
            .arg(scratch.path().join(output))
            .arg(source.join(file))
            .args(args)
            .arg("-ldl")
            .output();
        let Ok(made) = made else {
            eprintln!("skipped: there is no gcc");
            return false;
        };
        assert!(made.status.success(), "{file}: {}", String::from_utf8_lossy(&made.stderr));
    }
    true
}

fn command(scratch: &Scratch, args: &[&str]) -> Command {
    let mut command = scratch.command(args);
    command.env("GAPLESS_INJECT", inject()).env("GAPLESS_CUPTI", scratch.path().join("libcupti.so.13"));
    for name in ["RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_PROCID", "GAPLESS_RINGS", "CUDA_INJECTION64_PATH"] {
        command.env_remove(name);
    }
    command
}

fn record(scratch: &Scratch, options: &[&str], job: &[&str]) -> Value {
    let words = [&["record", "--no-python", "-o", "out"], options, &["--", "./job"], job].concat();
    let output = command(scratch, &words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&std::fs::read(scratch.path().join("out/manifest.json")).unwrap()).unwrap()
}

fn json(scratch: &Scratch, words: &[&str]) -> Value {
    let output = scratch.command(words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn row<'a>(table: &'a Value, key: &str, name: &str) -> &'a Value {
    let rows = table.as_array().unwrap();
    rows.iter().find(|row| row[key] == name).unwrap_or_else(|| panic!("no {name} in {table}"))
}

#[test]
fn operators_launches_kernels_and_waits_are_one_trace_whose_graph_is_exact() {
    const STEPS: u64 = 12;
    let scratch = Scratch::new();
    if !build(&scratch) {
        return;
    }
    let manifest = record(&scratch, &[], &["train", &STEPS.to_string()]);
    let process = &manifest["processes"][0];
    assert_eq!(process["lost"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum::<u64>(), 0);
    // A step: a copy, three kernels, eight of a graph, a fill, three waits; and one wait at the end.
    assert_eq!(process["devices"]["work"], STEPS * (1 + 3 + 8 + 1 + 3) + 1);
    assert_eq!(process["devices"]["calls"], STEPS * 13 + 2);

    let analysis = json(&scratch, &["analyze", "--json", "out"]);
    assert_eq!(analysis["lost"], 0, "{}", analysis["warnings"]);
    let rank = &analysis["ranks"][0];
    let addmm = row(&rank["operators"], "name", "aten::addmm");
    assert_eq!((&addmm["calls"], &addmm["device_events"]), (&Value::from(STEPS), &Value::from(STEPS)));
    assert_eq!(addmm["kernels"][0]["name"], "void cutlass::Kernel<gemm>(float*, int)");
    let to = row(&rank["operators"], "name", "aten::to");
    assert_eq!(to["kernels"][0]["name"], "Memcpy HtoD (Pinned -> Device)");
    let copies = row(&rank["copies"], "name", "Memcpy HtoD (Pinned -> Device)");
    assert_eq!(copies["bytes"], STEPS * (8 << 20));
    let graph = row(&rank["launches"], "name", "cudaGraphLaunch");
    assert_eq!((&graph["calls"], &graph["device_events"]), (&Value::from(STEPS), &Value::from(STEPS * 8)));
    for launch in rank["launches"].as_array().unwrap() {
        assert_eq!(launch["work_before_call"], 0, "{launch}");
    }
    assert_eq!(rank["collectives"].as_array().unwrap().len(), 1, "NCCL's kernels are known by their names");
    // Times of the device are those that the stub played: 400 µs a matrix product, within a thousandth.
    let gemm = addmm["device_total_ns"].as_u64().unwrap();
    assert!(gemm.abs_diff(STEPS * 400_000) < STEPS * 400, "{gemm} ns");

    // Each wait names what it waits for, so that nothing needs to be guessed about waits.
    let trust = json(&scratch, &["trust", "--json", "out"]);
    let kinds = &trust["edge_kinds"];
    let edges = |kind: &str, what: &str| row(kinds, "kind", kind)[what].as_u64().unwrap();
    assert_eq!(edges("event_wait", "exact"), 2 * STEPS, "an event recorded, and a stream that waits for it");
    assert!(edges("sync_return", "exact") >= 2 * STEPS);
    assert_eq!(edges("sync_return", "inferred") + edges("launch", "inferred"), 0);
    assert_eq!(trust["identity_error_ns"], 0);

    let info = json(&scratch, &["info", "--json", "out"]).to_string();
    assert!(info.contains("Stub GPU (no device)") && info.contains("GPU 0 memory, allocated"), "{info}");
}

/// No ids are pushed into CUPTI: a launch says its thread and its times, and the operators of that thread are in the
/// recording, on the same clock. So every piece of work has its launch, and every launch the operator and range around it.
#[test]
fn work_hangs_under_its_launch_and_that_under_its_operator_without_pushed_ids() {
    const STEPS: usize = 20;
    let scratch = Scratch::new();
    if !build(&scratch) {
        return;
    }
    record(&scratch, &[], &["train", &STEPS.to_string()]);
    let is_trace = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "pftrace");
    let files = std::fs::read_dir(scratch.path().join("out")).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = files.filter(is_trace).collect();
    let trace = gapless_formats::open(&files, &OpenOptions::default(), &Silent).unwrap();
    let kinds = trace.events().kinds();
    let mut found: BTreeMap<(String, String), usize> = BTreeMap::new();
    for (index, kind) in kinds.iter().enumerate() {
        if !matches!(kind, EventKind::Kernel | EventKind::Collective | EventKind::Memcpy | EventKind::Memset) {
            continue;
        }
        let work = EventId(index as u32);
        let launch = trace.launches().launch_of(work).unwrap_or_else(|| panic!("{} has no launch", trace.name(work)));
        let around: Vec<&str> = trace.ancestors(launch).map(|event| trace.name(event)).collect();
        // The innermost first; the last is the step.
        let step = around.last().unwrap_or_else(|| panic!("{} stands alone", trace.name(launch)));
        assert!(step.starts_with("ProfilerStep#"), "{around:?}");
        let chain = around[..around.len() - 1].join(" < ");
        *found.entry((trace.name(launch).to_owned(), chain)).or_default() += 1;
        let (work, launch) = (trace.events().get(work), trace.events().get(launch));
        assert!(launch.start <= work.start);
    }
    let expected = [
        (("cudaGraphLaunch", "graph"), 8 * STEPS),
        (("cudaLaunchKernel", "aten::add"), STEPS),
        (("cudaLaunchKernel", "aten::addmm < aten::linear"), STEPS),
        (("cudaLaunchKernel", "nccl:all_reduce"), STEPS),
        (("cudaMemcpyAsync", "aten::to"), STEPS),
        (("cudaMemsetAsync", ""), STEPS),
    ];
    let expected = expected.map(|((launch, chain), count)| ((launch.to_owned(), chain.to_owned()), count));
    assert_eq!(found, BTreeMap::from(expected));
}

#[test]
fn a_dump_holds_what_cupti_had_not_handed_over() {
    let scratch = Scratch::new();
    if !build(&scratch) {
        return;
    }
    let mut child = command(
        &scratch,
        &["record", "--no-python", "--flight-recorder", "30s", "-o", "out", "--", "./job", "long", "1500"],
    )
    .spawn()
    .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(900));
    let kill = Command::new("kill").args(["-USR2", &child.id().to_string()]).status().unwrap();
    assert!(kill.success() && child.wait().unwrap().success());
    let dump = std::fs::read_dir(scratch.path().join("out"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().contains("dump1"))
        .expect("a dump");
    let analysis = json(&scratch, &["analyze", "--json", dump.to_str().unwrap()]);
    assert_eq!(analysis["lost"], 0, "{}", analysis["warnings"]);
    let rank = &analysis["ranks"][0];
    let launches = row(&rank["launches"], "name", "cudaLaunchKernel");
    let (calls, work) = (launches["calls"].as_u64().unwrap(), launches["device_events"].as_u64().unwrap());
    assert!(calls > 100 && calls.abs_diff(work) <= 1, "{calls} calls, {work} kernels");
}

#[test]
fn a_killed_recorder_leaves_rings_from_which_the_rest_is_added() {
    let scratch = Scratch::new();
    if !build(&scratch) {
        return;
    }
    let mut child =
        command(&scratch, &["record", "--no-python", "-o", "out", "--", "./job", "long", "1200"]).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(600));
    child.kill().unwrap();
    child.wait().unwrap();
    // The job goes on by itself; its end hands over what CUPTI holds.
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    let analysis = json(&scratch, &["analyze", "--json", "out"]);
    let launches = row(&analysis["ranks"][0]["launches"], "name", "cudaLaunchKernel");
    assert_eq!((&launches["calls"], &launches["device_events"]), (&Value::from(1200), &Value::from(1200)));
}
