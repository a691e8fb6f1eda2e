//! What can be opened, and what is said about what cannot.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use common::{Scratch, cpu_trace, gpu_trace, run_of_four};
use serde_json::{Value, json};

fn ranks(info: &Value) -> Vec<Value> {
    info["ranks"].as_array().unwrap().iter().map(|rank| rank["rank"].clone()).collect()
}

#[test]
fn what_cannot_be_read_is_one_clear_error() {
    let scratch = Scratch::new();
    scratch.write("empty.json", "");
    scratch.write("notes.txt", "this is not a trace\n");
    scratch.write("binary.json", [0x7f, b'E', b'L', b'F', 0, 1, 2, 3]);
    scratch.write("object.json", "{\"a\": 1}");
    scratch.write("folder/readme.md", "nothing here");
    for command in ["info", "analyze"] {
        scratch.gapless(&[command, "missing.json"]).refused("missing.json");
        scratch.gapless(&[command, "empty.json"]).refused("empty.json");
        scratch.gapless(&[command, "notes.txt"]).refused("notes.txt");
        scratch.gapless(&[command, "binary.json"]).refused("binary.json");
        scratch.gapless(&[command, "object.json"]).refused("object.json");
        scratch.gapless(&[command, "folder"]).refused("folder");
        scratch.gapless(&[command, "none*.json"]).refused("none*.json");
    }
    scratch.gapless(&["convert", "missing.json", "-o", "out.pftrace"]).refused("missing.json");
    scratch.gapless(&["convert", "notes.txt", "-o", "out.pftrace"]).refused("notes.txt");
    assert!(!scratch.names().contains(&"out.pftrace".to_owned()));
}

#[test]
fn a_folder_a_pattern_and_a_list_are_one_trace() {
    let scratch = Scratch::new();
    run_of_four(&scratch);
    for args in [
        &["info", "--json", "run42"][..],
        &["info", "--json", "run42/rank*.json.gz"],
        &["info", "--json", "run42/rank2.json.gz", "run42/rank0.json.gz", "run42/rank3.json.gz", "run42/rank1.json.gz"],
    ] {
        let info = scratch.gapless(args).ok().json();
        assert_eq!(ranks(&info), [json!(0), json!(1), json!(2), json!(3)], "{args:?}");
        assert_eq!(info["events"], json!(4 * 16));
        assert_eq!(info["sources"].as_array().unwrap().len(), 4);
    }
}

#[test]
fn unclear_ranks_are_asked_for() {
    let scratch = Scratch::new();
    scratch.write("one.json", gpu_trace(0, 2));
    scratch.write("two.json", gpu_trace(0, 2));
    let ran = scratch.gapless(&["info", "one.json", "two.json"]).refused("rank");
    assert!(ran.stderr.contains("--ranks 0,1"), "{ran:#?}");
    let info = scratch.gapless(&["info", "--json", "--ranks", "0,1", "one.json", "two.json"]).ok().json();
    assert_eq!(ranks(&info), [json!(0), json!(1)]);
    let one = scratch.gapless(&["info", "--json", "one.json", "--ranks", "7"]).ok().json();
    assert_eq!(ranks(&one), [json!(7)]);
}

#[test]
fn info_says_what_is_in_the_file() {
    let scratch = Scratch::new();
    scratch.write("t.json", gpu_trace(3, 8));
    let info = scratch.gapless(&["info", "--json", "t.json"]).ok().json();
    assert_eq!(info["schema_version"], json!(1));
    assert_eq!(info["span_ns"], json!(2_000_000));
    assert_eq!(info["start_ns"], json!(1_700_000_000_000_000_000_i64));
    let kinds = json!({"annotation": 0, "operator": 2, "step": 2, "runtime_call": 6, "kernel": 2, "collective": 2, "memcpy": 2});
    for (kind, count) in kinds.as_object().unwrap() {
        let found = info["events_by_kind"].get(kind).cloned().unwrap_or(json!(0));
        assert_eq!(&found, count, "{kind} in {info:#}");
    }
    assert_eq!(info["launch_links"], json!(6));
    let rank = &info["ranks"][0];
    assert_eq!((&rank["rank"], &rank["world_size"], &rank["backend"]), (&json!(3), &json!(8), &json!("nccl")));
    assert_eq!(rank["base_time_ns"], json!(1_700_000_000_000_000_000_i64));
    let device = &rank["devices"][0];
    assert_eq!((&device["name"], &device["compute_capability"]), (&json!("Test GPU"), &json!("9.0")));
    assert!(info["memory"]["bytes_per_event"].as_f64().unwrap() > 0.0);

    let text = scratch.gapless(&["info", "t.json", "--memory", "--tracks"]).ok();
    for part in ["Test GPU", "8.00 GiB", "2023-11-14 22:13:20", "nccl", "2.00 ms", "event columns", "stream 13"] {
        assert!(text.stdout.contains(part), "{part:?} is not in {text:#?}");
    }
}

#[test]
fn a_truncated_file_is_read_as_far_as_it_goes() {
    let scratch = Scratch::new();
    let whole = gpu_trace(0, 1);
    let cut = whole.rfind("\"gpu_memcpy\"").unwrap();
    scratch.write("cut.json", &whole[..cut]);
    let info = scratch.gapless(&["info", "--json", "cut.json"]).ok().json();
    assert_eq!(info["events"], json!(15));
    let warnings = info["warnings"].as_array().unwrap();
    let truncated = warnings.iter().find(|warning| warning["kind"] == "truncated").expect("it says so");
    assert_eq!((&truncated["severity"], &truncated["count"]), (&json!("lost"), &json!(1)));
    assert!(!truncated["offsets"].as_array().unwrap().is_empty());
    scratch.gapless(&["info", "cut.json"]).ok().says("lost");
    scratch.gapless(&["analyze", "cut.json"]).ok().says("lost");
}

#[test]
fn a_trace_without_a_rank_is_fine_alone() {
    let scratch = Scratch::new();
    scratch.write("t.json", cpu_trace());
    let info = scratch.gapless(&["info", "--json", "t.json"]).ok().json();
    assert_eq!(ranks(&info), [Value::Null]);
    assert_eq!(info["events"], json!(3));
}

#[test]
fn names_from_files_cannot_write_to_the_terminal() {
    let scratch = Scratch::new();
    scratch.write("t.json", gpu_trace(0, 1).replace("sgemm_64x64", "evil\\u001b]0;title\\u0007\\u001b[31mred"));
    for command in ["analyze", "info"] {
        let ran = scratch.gapless(&[command, "t.json"]).ok();
        assert!(!ran.stdout.contains(['\u{1b}', '\u{7}']), "{ran:#?}");
    }
    let ran = scratch.gapless(&["info", "no\u{1b}[31msuch.json"]);
    assert!(!ran.stderr.contains('\u{1b}'), "{ran:#?}");
}

#[test]
fn the_sample_opens() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/sample");
    let scratch = Scratch::new();
    let info = scratch.gapless(&["info", "--json", sample]).ok().json();
    assert!(ranks(&info).len() >= 2, "{info:#}");
    assert_eq!(info["lost"], json!(0));
    scratch.gapless(&["analyze", sample]).ok().says("A step takes");
}

/// The page on opening traces lists every reason with the words of the program.
#[test]
fn every_warning_is_documented() {
    let page = include_str!("../../../docs/opening-traces.md");
    for kind in gapless_trace::WarningKind::ALL {
        let row = format!("| `{}` | {} | {} |", kind.id(), kind.severity().id(), kind.text());
        assert!(page.contains(&row), "docs/opening-traces.md does not have the row {row}");
    }
}
