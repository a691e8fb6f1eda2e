//! `gapless record` of a program that plays NCCL to the plugin (`tests/nccl/driver.c`), and what `gapless collectives` makes
//! of it. It proves our side: NCCL itself needs a GPU.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, missing_docs)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::Scratch;
use serde_json::Value;

fn inject() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let path = tests.parent().unwrap().join("libgapless_inject.so");
    assert!(path.is_file(), "{} was not built", path.display());
    path
}

/// Compiles the program; `None`, with a line, where there is no compiler.
fn driver(folder: &Path) -> Option<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/nccl/driver.c");
    let made =
        Command::new("gcc").args(["-O1", "-pthread", "-o"]).arg(folder.join("driver")).arg(source).arg("-ldl").status();
    let Ok(made) = made else {
        eprintln!("skipped: there is no gcc");
        return None;
    };
    assert!(made.success());
    Some(())
}

/// Two ranks, as a launcher starts them.
const RANKS: &str = "
for rank in 0 1; do RANK=$rank WORLD_SIZE=2 ./driver \"$NCCL_PROFILER_PLUGIN\" 7 $rank 2 job & done
wait";

fn record(scratch: &Scratch, words: &[&str]) -> std::process::Output {
    let mut args = vec!["record", "-o", "run"];
    args.extend(words);
    args.extend(["--", "sh", "-c", RANKS]);
    let mut command = scratch.command(&args);
    command.env("GAPLESS_INJECT", inject());
    for name in ["RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_PROCID", "GAPLESS_RINGS", "GAPLESS_NCCL"] {
        command.env_remove(name);
    }
    command.output().unwrap()
}

#[test]
fn collectives_of_two_ranks_are_recorded_and_matched() {
    let scratch = Scratch::new();
    if driver(scratch.path()).is_none() {
        return;
    }
    let output = record(&scratch, &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "mask 1f06\nmask 1f06\n");
    let report = scratch.command(&["collectives", "--json", "run"]).output().unwrap();
    assert!(report.status.success(), "{}", String::from_utf8_lossy(&report.stderr));
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    let all = report["collectives"].as_array().unwrap();
    // Each of five rounds: four collectives, and a message in each direction.
    assert_eq!(all.len(), 5 * 6);
    for (kind, bytes) in [
        // Full sizes: an all-gather puts out two parts, a reduce-scatter takes two in.
        ("all_reduce", 4_194_304),
        ("all_gather", 4_000),
        ("reduce_scatter", 2_000),
        ("broadcast", 64),
    ] {
        let mut found: Vec<&Value> = all.iter().filter(|one| one["kind"] == kind).collect();
        found.sort_by_key(|one| one["sequence"].as_u64());
        assert_eq!(found.len(), 5, "{kind}");
        for (number, one) in (0..).zip(found) {
            assert_eq!(one["sequence"], number);
            assert_eq!(one["group"], "data parallel #1234567890abcdef");
            assert_eq!((&one["bytes"], &one["expected_size"]), (&Value::from(bytes), &Value::from(2)));
            assert_eq!((&one["matched_by"], &one["enqueued_only"]), (&Value::from("sequence"), &Value::from(true)));
            let members = one["members"].as_array().unwrap();
            assert_eq!(members.len(), 2);
            for member in members {
                assert_eq!(member["enqueued_ns"], member["start_ns"]);
                // From the call to the hand-over: it slept twice 20 µs.
                let length = member["end_ns"].as_i64().unwrap() - member["start_ns"].as_i64().unwrap();
                assert!(length >= 40_000, "{member}");
            }
        }
    }
    let messages: Vec<&Value> = all.iter().filter(|one| one["kind"] == "send_receive").collect();
    assert_eq!(messages.len(), 10);
    assert!(messages.iter().all(|one| one["members"].as_array().unwrap().len() == 2 && one["bytes"] == 4_096));
    let text = scratch.command(&["collectives", "run"]).output().unwrap();
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("30 collectives over 2 ranks, 30 seen by more than one"), "{text}");
    assert!(text.contains("when hosts handed"), "{text}");
}

#[test]
fn channels_of_the_device_give_transfers_and_none_leaves_nccl_alone() {
    let scratch = Scratch::new();
    if driver(scratch.path()).is_none() {
        return;
    }
    let refused = record(&scratch, &["--nccl", "chanels"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("\"chanels\""));
    let output = record(&scratch, &["--nccl", "channels,proxy"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "mask 1f4e\nmask 1f4e\n");
    let report = scratch.command(&["collectives", "--json", "run"]).output().unwrap();
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    let all = report["collectives"].as_array().unwrap();
    assert_eq!(all.len(), 30);
    for one in all.iter().filter(|one| one["kind"] != "send_receive") {
        assert_eq!((&one["on_device"], &one["enqueued_only"]), (&Value::from(true), &Value::from(false)), "{one}");
        assert_eq!(one["members"].as_array().unwrap().len(), 2);
        for member in one["members"].as_array().unwrap() {
            let time = |name: &str| member[name].as_i64().unwrap();
            // The hand-over took 40 µs before the device began, which took 300 µs.
            assert!(time("start_ns") - time("enqueued_ns") >= 40_000, "{member}");
            assert!((300_000..100_000_000).contains(&(time("end_ns") - time("start_ns"))), "{member}");
        }
    }
    std::fs::remove_dir_all(scratch.path().join("run")).unwrap();
    let none = record(&scratch, &["--nccl", "none"]);
    // The program found no plugin to play to.
    assert!(!String::from_utf8_lossy(&none.stdout).contains("mask"));
}
