//! Collectives over ranks and their clocks: JSON, text, options.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use common::{Scratch, cpu_trace, run_of_four};
use serde_json::json;

#[test]
fn collectives_of_four_ranks_are_matched() {
    let scratch = Scratch::new();
    run_of_four(&scratch);
    let report = scratch.gapless(&["collectives", "--json", "run42"]).ok().json();
    assert_eq!((&report["schema_version"], &report["command"]), (&json!(1), &json!("collectives")));
    let collectives = report["collectives"].as_array().unwrap();
    assert!(!collectives.is_empty());
    for collective in collectives {
        assert_eq!(collective["members"].as_array().unwrap().len(), 4, "{collective:#}");
        for name in ["group", "kind", "transfer_ns", "waits_ns", "wait_sum_ns", "edge", "matched_by", "is_estimated"] {
            assert!(!collective[name].is_null(), "no {name} in {collective:#}");
        }
    }
    assert_eq!(report["lateness"].as_array().unwrap().len(), 4);
    assert_eq!(report["clocks"]["ranks"].as_array().unwrap().len(), 4);
    let text = scratch.gapless(&["collectives", "run42"]).ok();
    for part in ["over 4 ranks", "Transfers", "Arrivals", "Longest waits"] {
        assert!(text.stdout.contains(part), "{part:?} is not in {}", text.stdout);
    }
}

#[test]
fn clocks_of_four_ranks_are_aligned() {
    let scratch = Scratch::new();
    run_of_four(&scratch);
    let report = scratch.gapless(&["clocks", "--json", "run42"]).ok().json();
    assert_eq!(report["command"], "clocks");
    assert_eq!(report["components"].as_array().unwrap().len(), 1);
    assert_eq!(report["ranks"][0]["source"], "reference");
    for name in ["offset_ns", "error_ns", "drift", "bounds_ns", "collectives", "component", "device"] {
        assert!(!report["ranks"][1][name].is_null(), "no {name} in {:#}", report["ranks"][1]);
    }
    scratch.gapless(&["clocks", "run42"]).ok().says("4 of 4 ranks are aligned").says("Clocks of ranks");
}

#[test]
fn a_trace_without_communication_says_so() {
    let scratch = Scratch::new();
    scratch.write("t.json", cpu_trace());
    scratch.gapless(&["collectives", "t.json"]).ok().says("No communication in this trace");
    scratch.gapless(&["clocks", "t.json"]).ok().says("there is no other clock to compare with");
    scratch.gapless(&["collectives", "nothing.json"]).refused("nothing.json");
    scratch.gapless(&["clocks", "nothing.json"]).refused("nothing.json");
}
