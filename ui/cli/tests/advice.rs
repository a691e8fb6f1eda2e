//! Advice, what-ifs and co-design on the command line.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use common::Scratch;
use serde_json::json;

/// Six steps of one rank that load for 8 ms, run ten kernels of 1 ms, and wait for the device. Times in µs.
fn stalled_job() -> String {
    let mut events = Vec::new();
    let mut now = 0;
    let mut correlation = 1;
    let mut push = |cat: &str, name: &str, tid: i64, ts: i64, dur: i64, args: serde_json::Value| {
        let pid = if cat == "kernel" { 0 } else { 100 };
        events.push(
            json!({"ph": "X", "cat": cat, "name": name, "pid": pid, "tid": tid, "ts": ts, "dur": dur, "args": args}),
        );
    };
    let mut free = 0;
    for step in 0..6 {
        let begun = now;
        push("cpu_op", "enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__", 100, now, 8_000, json!({}));
        now += 8_010;
        for _ in 0..10 {
            push("cpu_op", "aten::mm", 100, now, 40, json!({}));
            push("cuda_runtime", "cudaLaunchKernel", 100, now + 10, 10, json!({"correlation": correlation}));
            let start = (now + 18).max(free + 1);
            let args = json!({"correlation": correlation, "stream": 7, "device": 0});
            push("kernel", "ampere_sgemm_128x64_tn", 7, start, 1_000, args);
            free = start + 1_000;
            correlation += 1;
            now += 50;
        }
        let back = free + 5;
        push("cuda_runtime", "cudaDeviceSynchronize", 100, now, back - now, json!({"correlation": correlation}));
        correlation += 1;
        now = back + 10;
        push("user_annotation", &format!("ProfilerStep#{step}"), 100, begun, now - begun, json!({}));
    }
    json!({"traceEvents": events, "distributedInfo": {"rank": 0, "world_size": 1}}).to_string()
}

fn job() -> Scratch {
    let scratch = Scratch::new();
    scratch.write("job.json", stalled_job());
    scratch
}

#[test]
fn advice_names_the_stall_and_what_ending_it_brings() {
    let scratch = job();
    // Ending the wait for the device would hide the loading too: two ways out of one stall.
    let report = scratch.gapless(&["advise", "--json", "job.json"]).ok().json();
    assert_eq!((&report["schema_version"], &report["command"]), (&json!(1), &json!("advise")));
    let findings = report["findings"].as_array().unwrap();
    let place = findings.iter().position(|finding| finding["detector"] == "input-stall").unwrap();
    assert_eq!(findings[place]["is_info"], false);
    let gain = findings[place]["gain"]["gain_ns"]["mid"].as_f64().unwrap() / 1e6;
    // 8 ms less the hand-over of 1.4 ms, and 5 % on the little that the host does else.
    assert!((gain - 6.6).abs() < 0.1, "{gain}");
    assert!(report["places"][place]["name"].as_str().unwrap().contains("DataLoader"));
    let text = scratch.gapless(&["advise", "job.json", "--plan", "1"]).ok();
    for part in ["Loading data holds up each step", "num_workers", "Where", "Plan for 1 points of effort"] {
        assert!(text.stdout.contains(part), "{part:?} is not in {}", text.stdout);
    }
}

#[test]
fn analyze_ends_with_the_same_advice() {
    let scratch = job();
    let advise = scratch.gapless(&["advise", "--json", "job.json"]).ok().json();
    let analyze = scratch.gapless(&["analyze", "--json", "job.json"]).ok().json();
    assert_eq!(analyze["advice"]["findings"], advise["findings"]);
    let text = scratch.gapless(&["analyze", "job.json"]).ok();
    assert!(text.stdout.contains("What to do, by what it would bring"), "{}", text.stdout);
    let part = scratch.gapless(&["analyze", "job.json", "--section", "kernels"]).ok();
    assert!(!part.stdout.contains("What to do"));
    // Of one rank or step there is no advice.
    assert!(scratch.gapless(&["analyze", "--json", "job.json", "--step", "2"]).ok().json()["advice"].is_null());
}

#[test]
fn edits_are_replayed_together() {
    let scratch = job();
    let what_if = |edits: &[&str]| {
        let mut args = vec!["whatif", "--json", "job.json"];
        for edit in edits {
            args.extend(["--edit", edit]);
        }
        scratch.gapless(&args).ok().json()["what_if"]["mean_step_ns"]["mid"].as_f64().unwrap() / 1e6
    };
    let loads = what_if(&["prefetch-input(contention=1)"]);
    let fast = what_if(&["scale(class=gemm)=0.5x"]);
    let both = what_if(&["prefetch-input(contention=1)", "scale(class=gemm)=0.5x"]);
    assert!((loads - (18.07 - 6.6)).abs() < 0.1, "{loads}");
    assert!((fast - (18.07 - 5.0)).abs() < 0.1, "{fast}");
    assert!((both - (18.07 - 11.6)).abs() < 0.1, "{both}");
    scratch.write("both.toml", "name = 'both'\nedits = ['prefetch-input(contention=1)', 'scale(class=gemm)=0.5x']\n");
    let file = scratch.gapless(&["whatif", "--json", "job.json", "--file", "both.toml", "--interactions"]).ok().json();
    assert_eq!(file["name"], "both");
    assert!((file["what_if"]["mean_step_ns"]["mid"].as_f64().unwrap() / 1e6 - both).abs() < 1e-6);
    assert_eq!(file["interactions"]["pairs"].as_array().unwrap().len(), 1);
    let text = scratch.gapless(&["whatif", "job.json", "--edit", "prefetch-input"]).ok();
    assert!(text.stdout.contains("A step would take"), "{}", text.stdout);
}

#[test]
fn what_cannot_be_is_refused_with_the_reason() {
    let scratch = job();
    let refused = |edit: &str, why: &str| {
        scratch.gapless(&["whatif", "job.json", "--edit", edit]).refused(why);
    };
    refused("prefech-input", "did you mean `prefetch-input`");
    refused("link=2x", "the recording has no collectives");
    refused("gpu=XYZ9000", "the hardware table has no XYZ9000");
    refused("scale(class=gemm)=fast", "a factor such as 2x");
    refused("no-recompute", "computes nothing again");
    scratch.gapless(&["whatif", "job.json"]).refused("no edit is given");
    let list = scratch.gapless(&["whatif", "--list"]).ok();
    for edit in ["prefetch-input", "cuda-graph", "link", "no-stragglers", "pipeline-embeddings"] {
        assert!(list.stdout.contains(edit), "{edit} is not in {}", list.stdout);
    }
}

#[test]
fn machines_are_swept() {
    let scratch = job();
    let report = scratch.gapless(&["codesign", "--json", "job.json", "--plot", "plot.svg"]).ok().json();
    let axes = report["axes"].as_array().unwrap();
    assert_eq!(axes.len(), 7);
    // 10 ms of 18 are products: doubled, they take half, but for 2 µs of each.
    let compute = axes.iter().find(|axis| axis["axis"] == "compute").unwrap();
    let doubled = compute["doubled_ns"].as_f64().unwrap() / 1e6;
    assert!((doubled - (18.07 - 4.99)).abs() < 0.1, "{doubled}");
    let share = compute["elasticity"].as_f64().unwrap();
    assert!((share - 10.0 / 18.07).abs() < 0.02, "{share}");
    let svg = std::fs::read_to_string(scratch.path().join("plot.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("compute rate"));
    if cfg!(feature = "png") {
        scratch.gapless(&["codesign", "job.json", "--plot", "plot.png"]).ok();
        let png = std::fs::read(scratch.path().join("plot.png")).unwrap();
        // Signature, then the header with width and height.
        assert_eq!(png.get(..8), Some(&b"\x89PNG\r\n\x1a\n"[..]));
        assert_eq!(png.get(16..24), Some(&[0, 0, 7, 128, 0, 0, 4, 176][..]));
    }
    let some = scratch.gapless(&["codesign", "--json", "job.json", "--sweep", "hbm=1..4x,compute=1..2x"]).ok().json();
    assert_eq!(some["axes"].as_array().unwrap().len(), 2);
    scratch.gapless(&["codesign", "job.json", "--sweep", "speed=1..2x"]).refused("there is no such axis");
    scratch.gapless(&["codesign", "job.json", "--plot", "plot.txt"]).refused("is no name of a plot");
    let text = scratch.gapless(&["codesign", "job.json"]).ok();
    assert!(text.stdout.contains("Step against"), "{}", text.stdout);
}
