//! Comparing recordings: verdict, split, exit codes, named baselines, Markdown.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use common::Scratch;
use serde_json::{Value, json};

const THREAD: (i64, i64) = (900, 901);
const STREAM: (i64, i64) = (0, 7);

fn event(cat: &str, name: &str, (pid, tid): (i64, i64), ts: i64, dur: i64, args: &str) -> String {
    format!(
        r#"{{"ph":"X","cat":"{cat}","name":"{name}","pid":{pid},"tid":{tid},"ts":{ts},"dur":{dur},"args":{{{args}}}}}"#
    )
}

/// An operator, its launch at `ts` and its kernel from `begun` on.
fn launched(op: &str, id: i64, ts: i64, kernel: &str, begun: i64, dur: i64) -> [String; 3] {
    let correlation = format!(r#""correlation":{id}"#);
    let on = format!(r#""device":0,"stream":7,{correlation}"#);
    [
        event("cpu_op", op, THREAD, ts, 30, ""),
        event("cuda_runtime", "cudaLaunchKernel", THREAD, ts + 5, 10, &correlation),
        event("kernel", kernel, STREAM, begun, dur, &on),
    ]
}

/// Eight steps of one rank: a product of `kernel_us` and, where wanted, one more kernel, waited for at the end. Steps
/// vary by a few µs.
fn job(kernel_us: i64, more: bool, seed: i64) -> String {
    let mut events: Vec<String> = Vec::new();
    let mut at = 0;
    for step in 0..8_i64 {
        let begun = at;
        let dur = kernel_us + (step * 7 + seed * 3) % 5;
        let mut done = begun + 120 + dur;
        events.extend(launched("aten::mm", step * 10 + 1, begun + 100, "sgemm_64x64", begun + 120, dur));
        if more {
            events.extend(launched("aten::gelu", step * 10 + 2, begun + 140, "gelu_kernel", done + 2, 200));
            done += 202;
        }
        let back = done + 5;
        let correlation = format!(r#""correlation":{}"#, step * 10 + 9);
        let waits = back - begun - 200;
        events.push(event("cuda_runtime", "cudaDeviceSynchronize", THREAD, begun + 200, waits, &correlation));
        at = back + 50;
        events.push(event("user_annotation", &format!("ProfilerStep#{}", 11 + step), THREAD, begun, at - begun, ""));
    }
    format!(
        "{{\"schemaVersion\":1,\"baseTimeNanoseconds\":1700000000000000000,\"traceEvents\":[\n{}\n]}}\n",
        events.join(",\n")
    )
}

fn scratch() -> Scratch {
    let scratch = Scratch::new();
    scratch.write("base.json", job(1_000, false, 1));
    scratch.write("same.json", job(1_000, false, 2));
    scratch.write("slower.json", job(1_300, false, 3));
    scratch.write("more.json", job(1_000, true, 4));
    scratch
}

fn rows(report: &Value) -> Vec<(String, i64)> {
    let row = |row: &Value| (row["cause"].as_str().unwrap().to_owned(), row["part_ns"].as_i64().unwrap());
    report["rows"].as_array().unwrap().iter().map(row).collect()
}

#[test]
fn causes_are_named_and_sum_to_the_change() {
    let scratch = scratch();
    for (file, cause, low, high) in
        [("slower.json", "slower_kernels", 295_000, 305_000), ("more.json", "new_work", 195_000, 210_000)]
    {
        let report = scratch.gapless(&["diff", "--json", "base.json", file]).ok().json();
        assert_eq!((&report["schema_version"], &report["command"]), (&json!(1), &json!("diff")));
        assert_eq!(report["verdict"], "slower");
        let rows = rows(&report);
        assert_eq!(rows.iter().map(|row| row.1).sum::<i64>(), report["delta_ns"].as_i64().unwrap());
        assert_eq!(rows[0].0, cause, "{rows:?}");
        assert!((low..high).contains(&rows[0].1), "{rows:?}");
        assert!(report["rows"][0]["details"][0]["evidence"][0]["new_event"].is_u64());
    }
    let text = scratch.gapless(&["diff", "base.json", "slower.json"]).ok();
    for part in
        ["Slower: a typical step takes", "Slower kernels: matrix product", "aten::mm · sgemm_64x64", "(×1.30)", "▓"]
    {
        assert!(text.stdout.contains(part), "{part:?} is not in {}", text.stdout);
    }
}

#[test]
fn the_exit_code_tells_a_regression() {
    let scratch = scratch();
    let code = |args: &[&str]| scratch.gapless(&[&["diff"], args].concat()).code;
    assert_eq!(code(&["base.json", "slower.json"]), 0, "without a limit nothing fails");
    assert_eq!(code(&["base.json", "slower.json", "--fail-above", "3%"]), 1);
    assert_eq!(code(&["base.json", "slower.json", "--fail-above", "40 %"]), 0);
    assert_eq!(code(&["slower.json", "base.json", "--fail-above", "3%"]), 0, "faster is no regression");
    assert_eq!(code(&["base.json", "same.json", "--fail-above", "0%"]), 0, "noise is no regression");
    assert_eq!(code(&["base.json", "base.json", "--fail-above", "0%"]), 0);
    let failed = scratch.gapless(&["diff", "base.json", "slower.json", "--fail-above", "3%"]);
    assert_eq!(failed.stderr, "");
    assert!(failed.stdout.contains("Regression: above the limit of 3.0 %"), "{failed:#?}");
    let report = scratch.gapless(&["diff", "base.json", "slower.json", "--fail-above", "3%", "--json"]).json();
    assert_eq!((&report["is_regression"], &report["fail_above"]), (&json!(true), &json!(0.03)));
}

#[test]
fn noise_is_no_change_and_a_recording_is_itself() {
    let scratch = scratch();
    scratch.gapless(&["diff", "base.json", "same.json"]).ok().says("No change: a typical step takes");
    let report = scratch.gapless(&["diff", "base.json", "base.json", "--json"]).ok().json();
    assert_eq!(
        (&report["verdict"], &report["delta_ns"], &report["rows"]),
        (&json!("no_change"), &json!(0), &json!([]))
    );
    scratch.gapless(&["diff", "base.json", "base.json"]).ok().says("in both. All steps have the same length.");
}

#[test]
fn recordings_can_be_kept_under_a_name() {
    let scratch = scratch();
    scratch.gapless(&["diff", "--baseline", "main", "slower.json"]).refused("there is no file gapless-baselines.json");
    scratch.gapless(&["diff", "--save-baseline", "main", "base.json"]).ok().says("Saved base.json with 8 steps");
    scratch.gapless(&["diff", "--baseline", "other", "slower.json"]).refused("it has main");
    let report = scratch.gapless(&["diff", "--baseline", "main", "slower.json", "--json"]).ok().json();
    assert_eq!(report["base_name"], "main");
    assert_eq!(rows(&report)[0].0, "slower_kernels");
    // The trace itself may go: the lengths of its steps are still known.
    std::fs::remove_file(scratch.path().join("base.json")).unwrap();
    let alone = scratch.gapless(&["diff", "--baseline", "main", "slower.json", "--fail-above", "3%"]);
    assert_eq!(alone.code, 1, "{alone:#?}");
    assert!(alone.stdout.contains("only lengths of steps are compared"), "{alone:#?}");
    // The new one takes its place.
    scratch.gapless(&["diff", "--baseline", "main", "slower.json", "--save-baseline", "main"]).ok();
    scratch.gapless(&["diff", "--baseline", "main", "slower.json"]).ok().says("in both.");
    assert_eq!(scratch.names(), ["gapless-baselines.json", "more.json", "same.json", "slower.json"]);
    scratch.write("broken.json", "{");
    let args = ["diff", "--baseline", "main", "slower.json", "--baselines", "broken.json"];
    scratch.gapless(&args).refused("broken.json is not a file of named recordings");
}

#[test]
fn a_pull_request_gets_markdown() {
    let scratch = scratch();
    let text = scratch.gapless(&["diff", "base.json", "more.json", "--markdown"]).ok().stdout;
    for part in [
        "### 🔴 Slower: +",
        "| | Step | Share | Most of it |",
        "| New work | +2",
        "aten::gelu · gelu_kernel, 1 in 200 µs",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    let cells = |line: &str| line.replace("\\|", "").matches('|').count();
    let table: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
    assert!(table.iter().all(|line| cells(line) == 5), "{text}");
}

#[test]
fn wrong_calls_are_refused() {
    let scratch = scratch();
    scratch.gapless(&["diff", "base.json"]).refused("two recordings are needed");
    scratch.gapless(&["diff", "base.json", "nothing.json"]).refused("nothing.json");
    scratch.gapless(&["diff", "base.json", "same.json", "--baseline", "main"]).refused("only the new recording");
    let usage = scratch.gapless(&["diff", "base.json", "same.json", "--fail-above", "much"]);
    assert_eq!(usage.code, 2, "{usage:#?}");
    assert!(usage.stderr.contains("expected a percentage"), "{usage:#?}");
}
