//! `gapless record` of a job on a STUB of HIP, RCCL and rocprofiler-sdk (`tests/gpu/stub`): what the stub played is in one
//! trace, and the analyses join operators, launches, device work and collectives as they do for CUDA. This proves our side
//! only; no device is part of it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::Scratch;
use gapless_formats::{OpenOptions, Silent};
use gapless_trace::{ArgValue, EventId, EventKind};
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
    for (file, output, args) in [
        ("librocprofiler-register.c", "librocprofiler-register.so.0", vec!["-shared", "-fPIC"]),
        ("librocprofiler-sdk.c", "librocprofiler-sdk.so.1", vec!["-shared", "-fPIC"]),
        (
            "libamdhip64.c",
            "libamdhip64.so.7",
            vec!["-shared", "-fPIC", &link, &path, "-l:librocprofiler-register.so.0"],
        ),
        ("rocp_tool.c", "other.so", vec!["-shared", "-fPIC"]),
        ("hipjob.c", "hipjob", vec![&link, &path, "-l:libamdhip64.so.7"]),
    ] {
        let name = format!("-Wl,-soname,{output}");
        let made = Command::new("gcc")
            .args(["-O1", "-pthread", "-o"])
            .arg(scratch.path().join(output))
            .arg(source.join(file))
            .args(args)
            .args(output.contains(".so.").then_some(&name))
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

/// Records a job; the SDK is found where `LD_LIBRARY_PATH` says.
fn record(scratch: &Scratch, options: &[&str], variables: &[(&str, &str)], job: &[&str]) -> (Value, String) {
    let words = [&["record", "--no-python", "-o", "out"], options, &["--", "./hipjob"], job].concat();
    let mut command = scratch.command(&words);
    command.env("GAPLESS_INJECT", inject()).env("LD_LIBRARY_PATH", scratch.path());
    for name in ["RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_PROCID", "GAPLESS_RINGS", "ROCP_TOOL_LIBRARIES"] {
        command.env_remove(name);
    }
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    (serde_json::from_slice(&std::fs::read(scratch.path().join("out/manifest.json")).unwrap()).unwrap(), text)
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
fn operators_hip_launches_kernels_and_rccl_are_one_trace() {
    const STEPS: u64 = 12;
    let scratch = Scratch::new();
    if !build(&scratch) {
        return;
    }
    let (manifest, _) = record(&scratch, &[], &[], &["train", &STEPS.to_string()]);
    let process = &manifest["processes"][0];
    assert_eq!(process["lost"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum::<u64>(), 0);
    assert!(process["sources"].as_array().unwrap().contains(&Value::from("rocprofiler")), "{process}");
    // A step: a copy and three kernels; three launches, the collective around one, a copy, two waits, two of memory.
    assert_eq!(process["devices"]["work"], STEPS * 4);
    assert_eq!(process["devices"]["calls"], STEPS * 9);

    let analysis = json(&scratch, &["analyze", "--json", "out"]);
    assert_eq!(analysis["lost"], 0, "{}", analysis["warnings"]);
    let rank = &analysis["ranks"][0];
    let addmm = row(&rank["operators"], "name", "aten::addmm");
    assert_eq!((&addmm["calls"], &addmm["device_events"]), (&Value::from(STEPS), &Value::from(STEPS)));
    assert_eq!(addmm["kernels"][0]["name"], "void cutlass::Kernel<gemm>(float*, int)");
    // Times of the device are those that the stub played: 400 µs a matrix product, within a hundredth.
    let gemm = addmm["device_total_ns"].as_u64().unwrap();
    assert!(gemm.abs_diff(STEPS * 400_000) < STEPS * 4_000, "{gemm} ns");
    let to = row(&rank["operators"], "name", "aten::to");
    assert_eq!(to["kernels"][0]["name"], "Memcpy HtoD (Unknown -> Device)");
    assert_eq!(row(&rank["copies"], "name", "Memcpy HtoD (Unknown -> Device)")["bytes"], STEPS * (8 << 20));
    for name in ["hipModuleLaunchKernel", "hipLaunchKernel", "hipExtLaunchKernel", "hipMemcpyAsync"] {
        let launch = row(&rank["launches"], "name", name);
        assert_eq!((&launch["calls"], &launch["device_events"]), (&Value::from(STEPS), &Value::from(STEPS)), "{name}");
        assert_eq!(launch["work_before_call"], 0, "{launch}");
    }
    // RCCL's kernels are known by their names, as NCCL's are.
    assert_eq!(rank["collectives"].as_array().unwrap().len(), 1);
    // Nothing that was launched is without its launch.
    let trust = json(&scratch, &["trust", "--json", "out"]);
    assert_eq!(row(&trust["edge_kinds"], "kind", "launch")["inferred"], 0);
    assert_eq!(trust["identity_error_ns"], 0);

    let info = json(&scratch, &["info", "--json", "out"]).to_string();
    for text in ["Stub AMD Instinct (no device)", "GPU 0 memory, allocated", "CLOCK_BOOTTIME"] {
        assert!(info.contains(text), "{text} in {info}");
    }
    let is_trace = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "pftrace");
    let files = std::fs::read_dir(scratch.path().join("out")).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = files.filter(is_trace).collect();
    let trace = gapless_formats::open(&files, &OpenOptions::default(), &Silent).unwrap();
    let devices = &trace.ranks()[0].devices;
    assert_eq!(devices.iter().map(|device| device.id).collect::<Vec<_>>(), [0, 1]);
    for (key, value) in [("vendor", "AMD"), ("architecture", "gfx942"), ("threads_per_warp", "64")] {
        let pair = (key.to_owned(), ArgValue::Text(value.to_owned()));
        assert!(devices[0].properties.contains(&pair), "{key} in {:?}", devices[0].properties);
    }
    // A kernel of RCCL lies in HIP's launch, that in RCCL's call, that in the operator.
    let kernel = trace.events().kinds().iter().position(|kind| *kind == EventKind::Collective).unwrap();
    let launch = trace.launches().launch_of(EventId(kernel as u32)).unwrap();
    let around: Vec<&str> = trace.ancestors(launch).map(|event| trace.name(event)).collect();
    assert_eq!(trace.name(launch), "hipExtLaunchKernel");
    assert_eq!(around, ["ncclAllReduce", "c10d::allreduce_", "ProfilerStep#0"]);
}

#[test]
fn the_users_tool_stays_beside_ours_and_no_cuda_leaves_both_vendors_alone() {
    let scratch = Scratch::new();
    if !build(&scratch) {
        return;
    }
    let other = scratch.path().join("other.so");
    let tools = [("ROCP_TOOL_LIBRARIES", other.to_str().unwrap())];
    let (manifest, text) = record(&scratch, &[], &tools, &["launches", "50"]);
    assert!(text.contains("another tool: 50 kernels"), "{text}");
    assert_eq!(manifest["processes"][0]["devices"]["work"], 50);

    std::fs::remove_dir_all(scratch.path().join("out")).unwrap();
    let (manifest, text) = record(&scratch, &["--no-cuda"], &tools, &["launches", "50"]);
    assert!(text.contains("another tool: 50 kernels"), "{text}");
    let works: u64 = manifest["processes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|process| process["devices"]["work"].as_u64().unwrap_or(0))
        .sum();
    assert_eq!(works, 0);
}
