//! Critical paths and the trust in the model behind them: JSON, text, options.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use common::{Scratch, cpu_trace, run_of_four};
use serde_json::json;

#[test]
fn paths_sum_to_their_steps() {
    let scratch = Scratch::new();
    run_of_four(&scratch);
    let report = scratch.gapless(&["path", "--json", "run42"]).ok().json();
    assert_eq!((&report["schema_version"], &report["command"]), (&json!(1), &json!("path")));
    let paths = report["paths"].as_array().unwrap();
    assert!(!paths.is_empty());
    let sum = |rows: &serde_json::Value, field: &str| -> i64 {
        rows.as_array().unwrap().iter().map(|row| row[field].as_i64().unwrap()).sum()
    };
    let mut whole = 0;
    for path in paths {
        let length = path["duration_ns"].as_i64().unwrap();
        assert_eq!(sum(&path["categories"], "ns"), length, "{}", path["name"]);
        assert_eq!(sum(&path["segments"], "duration_ns"), length, "{}", path["name"]);
        assert_eq!(sum(&path["ranks"], "ns"), length, "{}", path["name"]);
        whole += length;
    }
    assert_eq!(sum(&report["categories"], "ns"), whole);
    for list in ["operators", "outer_operators", "modules", "annotations", "frames", "kernels"] {
        assert_eq!(sum(&report["attribution"][list], "ns"), whole, "{list}");
    }
    let text = scratch.gapless(&["critical-path", "run42"]).ok();
    for part in ["What the critical path is made of", "Steps", "Bounds"] {
        assert!(text.stdout.contains(part), "{part:?} is not in {}", text.stdout);
    }
}

#[test]
fn one_step_can_be_asked_for() {
    let scratch = Scratch::new();
    run_of_four(&scratch);
    let all = scratch.gapless(&["path", "--json", "run42"]).ok().json();
    let Some(number) = all["paths"][0]["number"].as_u64() else { return };
    let one = scratch.gapless(&["path", "--json", "run42", "--step", &number.to_string()]).ok().json();
    assert_eq!(one["paths"].as_array().unwrap().len(), 1);
    assert_eq!(one["paths"][0], all["paths"][0]);
    scratch.gapless(&["path", "run42", "--step", "987654"]).refused("there is no step 987654");
}

#[test]
fn the_model_is_graded() {
    let scratch = Scratch::new();
    run_of_four(&scratch);
    let report = scratch.gapless(&["trust", "--json", "run42"]).ok().json();
    assert_eq!((&report["schema_version"], &report["command"]), (&json!(1), &json!("trust")));
    assert_eq!(report["identity_error_ns"], 0);
    let checks = report["checks"].as_array().unwrap();
    assert!(checks.iter().any(|check| check["check"] == "identity" && check["grade"] == "green"));
    assert_eq!(report["allows_what_if"], report["grade"] != "red");
    assert_eq!(report["clocks"]["ranks"].as_array().unwrap().len(), 4);
    scratch.gapless(&["trust", "run42"]).ok().says("The model of this recording is").says("Checks");
}

#[test]
fn a_trace_of_threads_alone_has_a_path_too() {
    let scratch = Scratch::new();
    scratch.write("t.json", cpu_trace());
    let report = scratch.gapless(&["path", "--json", "t.json"]).ok().json();
    assert_eq!(report["categories"][0]["category"], "host", "{:#}", report["categories"]);
    scratch.gapless(&["trust", "t.json"]).ok().says("no device work");
    scratch.gapless(&["path", "nothing.json"]).refused("nothing.json");
    scratch.gapless(&["trust", "nothing.json"]).refused("nothing.json");
}

/// The sample's third rank has a device that is 35 % slower.
#[test]
fn the_slow_rank_of_the_sample_is_named_from_both_sides_and_with_the_reason() {
    let scratch = Scratch::new();
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/sample");
    let report = scratch.gapless(&["stragglers", "--json", sample]).ok().json();
    assert_eq!((&report["schema_version"], &report["command"]), (&json!(1), &json!("stragglers")));
    let trace = &report["trace"];
    let first = &trace["ranks"][0];
    assert_eq!(first["rank"], 2, "{trace:#}");
    for share in ["removed_share", "added_share"] {
        assert!((0.9..1.1).contains(&first[share].as_f64().unwrap()), "{first}");
    }
    assert!(trace["ideal_step_ns"].as_f64().unwrap() < trace["step_ns"].as_f64().unwrap() * 0.95);
    let cost = &trace["delay_costs"][0];
    assert_eq!((&cost["rank_id"], &cost["kind"]), (&json!(2), &json!("device")), "{cost}");
    scratch
        .gapless(&["stragglers", sample])
        .ok()
        .says("Rank 2 explains that from both sides")
        .says("What made ranks late");
}

#[test]
fn one_rank_alone_has_no_stragglers() {
    let scratch = Scratch::new();
    scratch.write("t.json", cpu_trace());
    scratch.gapless(&["stragglers", "t.json"]).refused("the recording has one rank");
}

/// What the engine's commands print stands in the report where it is asked for, and nowhere else.
#[test]
fn analyze_has_the_sections_of_the_engine() {
    let scratch = Scratch::new();
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/sample");
    let sections = "path,stragglers,clocks,trust";
    let report = scratch.gapless(&["analyze", "--json", "--section", sections, sample]).ok().json();
    for command in ["path", "stragglers", "clocks", "trust"] {
        let alone = scratch.gapless(&[command, "--json", sample]).ok().json();
        let mut inside = report[command].clone();
        for (key, value) in alone.as_object().unwrap() {
            if key.ends_with("_seconds") {
                inside[key] = value.clone();
            }
        }
        inside["warnings"] = alone["warnings"].clone();
        assert_eq!(inside, alone, "{command}");
    }
    let text = scratch.gapless(&["analyze", "--section", sections, sample]).ok();
    for part in ["What the critical path is made of", "What made ranks late", "Checks"] {
        assert!(text.stdout.contains(part), "{part:?} is not in {}", text.stdout);
    }
    let without = scratch.gapless(&["analyze", "--json", sample]).ok().json();
    assert!(without.get("path").is_none());
}
