//! Converting: the output appears whole or not at all, and nothing else is touched.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use std::fs;
use std::io::Read as _;

use common::{Scratch, gpu_trace, run_of_four};
use serde_json::json;

#[test]
fn it_writes_the_output_and_nothing_else() {
    let scratch = Scratch::new();
    scratch.write("t.json", gpu_trace(0, 1));
    scratch.gapless(&["convert", "t.json", "-o", "out.pftrace"]).ok().says("16 events").says("ui.perfetto.dev");
    scratch.gapless(&["convert", "t.json", "-o", "out.pftrace.gz", "-q"]).ok();
    assert_eq!(scratch.names(), ["out.pftrace", "out.pftrace.gz", "t.json"]);

    let plain = fs::read(scratch.path().join("out.pftrace")).unwrap();
    let mut inflated = Vec::new();
    let packed = fs::read(scratch.path().join("out.pftrace.gz")).unwrap();
    flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut inflated).unwrap();
    assert_eq!(plain, inflated);
    // A trace is packets, field 1 of type bytes; names are in it.
    assert_eq!(plain.first(), Some(&0x0a));
    assert!(plain.windows(11).any(|window| window == b"sgemm_64x64"));
}

#[test]
fn leaving_out_arguments_makes_it_smaller_and_json_says_how_much() {
    let scratch = Scratch::new();
    run_of_four(&scratch);
    let with = scratch.gapless(&["convert", "run42", "-o", "with.pftrace", "--json"]).ok().json();
    let without = scratch.gapless(&["convert", "run42", "-o", "without.pftrace", "--json", "--no-args"]).ok().json();
    assert_eq!((&with["events"], &with["ranks"], &with["with_args"]), (&json!(64), &json!(4), &json!(true)));
    let size = |name: &str| fs::metadata(scratch.path().join(name)).unwrap().len();
    assert_eq!(with["output_bytes"], json!(size("with.pftrace")));
    assert_eq!(without["output_bytes"], json!(size("without.pftrace")));
    assert!(size("without.pftrace") < size("with.pftrace"));
}

#[test]
fn an_input_is_never_overwritten() {
    let scratch = Scratch::new();
    // Formats are told by content, so an input may have the output's ending.
    scratch.write("t.pftrace", gpu_trace(0, 1));
    fs::hard_link(scratch.path().join("t.pftrace"), scratch.path().join("same.pftrace")).unwrap();
    scratch.gapless(&["convert", "t.pftrace", "-o", "t.pftrace"]).refused("is an input");
    scratch.gapless(&["convert", "t.pftrace", "-o", "./t.pftrace"]).refused("is an input");
    scratch.gapless(&["convert", "t.pftrace", "-o", "same.pftrace"]).refused("is an input");
    assert_eq!(fs::read_to_string(scratch.path().join("t.pftrace")).unwrap(), gpu_trace(0, 1));
    assert_eq!(scratch.names(), ["same.pftrace", "t.pftrace"]);
}

#[test]
fn an_earlier_output_is_replaced_whole() {
    let scratch = Scratch::new();
    scratch.write("t.json", gpu_trace(0, 1));
    scratch.write("out.pftrace", vec![0; 1 << 20]);
    scratch.gapless(&["convert", "t.json", "-o", "out.pftrace"]).ok();
    assert!(fs::metadata(scratch.path().join("out.pftrace")).unwrap().len() < 1 << 20);
}

#[test]
fn outputs_that_make_no_sense_are_refused_before_the_work() {
    let scratch = Scratch::new();
    scratch.write("t.json", gpu_trace(0, 1));
    fs::create_dir(scratch.path().join("folder.pftrace")).unwrap();
    scratch.gapless(&["convert", "t.json", "-o", "out.csv"]).refused("format of out.csv");
    scratch.gapless(&["convert", "t.json", "-o", "out.parquet.gz"]).refused("compressed by itself");
    scratch.gapless(&["convert", "t.json", "-o", "o.pftrace", "--columns", "x"]).refused("--columns is for Parquet");
    scratch.gapless(&["convert", "t.json", "-o", "o.json", "--range", "1ms..2ms"]).refused("--range is for profiles");
    scratch.gapless(&["convert", "t.json", "-o", "o.firefox.json", "--rank", "7"]).refused("no rank 7");
    scratch.gapless(&["convert", "t.json", "-o", "out"]).refused("format of out");
    scratch.gapless(&["convert", "t.json", "-o", "nowhere/out.pftrace"]).refused("folder nowhere");
    scratch.gapless(&["convert", "t.json", "-o", "folder.pftrace"]).refused("is a folder");
    assert_eq!(scratch.names(), ["folder.pftrace", "t.json"]);
}

#[cfg(unix)]
#[test]
fn devices_are_not_replaced() {
    let scratch = Scratch::new();
    scratch.write("t.json", gpu_trace(0, 1));
    let socket = std::os::unix::net::UnixListener::bind(scratch.path().join("s.pftrace")).unwrap();
    scratch.gapless(&["convert", "t.json", "-o", "s.pftrace"]).refused("not a regular file");
    drop(socket);
}

/// A failure while writing (the disk is full) leaves no half file behind.
#[cfg(target_os = "linux")]
#[test]
fn a_failed_write_leaves_nothing() {
    let scratch = Scratch::new();
    run_of_four(&scratch);
    // The shell's limit on file sizes (in 512-byte blocks) stands in for a full disk; XFSZ would end the process.
    let script =
        format!("trap '' XFSZ; ulimit -f 1; exec {} convert run42 -o out.pftrace", env!("CARGO_BIN_EXE_gapless"));
    let output = std::process::Command::new("sh").arg("-c").arg(script).current_dir(scratch.path()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with("error: cannot write out.pftrace"), "{stderr}");
    assert_eq!(scratch.names(), ["run42"]);
}

#[test]
fn every_format_is_written_and_those_that_can_be_read_are_read_back() {
    let scratch = Scratch::new();
    run_of_four(&scratch);
    let events = |file: &str| {
        let info = scratch.gapless(&["info", "--json", file]).ok().json();
        (info["events"].clone(), info["launch_links"].clone(), info["ranks"].as_array().unwrap().len())
    };
    let expected = events("run42");
    for name in ["a.pftrace", "b.pftrace.gz"] {
        scratch.gapless(&["convert", "run42", "-o", name]).ok();
        assert_eq!(events(name), expected, "{name}");
    }
    for name in ["d.firefox.json", "e.speedscope.json.gz", "f.json"] {
        scratch.gapless(&["convert", "run42", "-o", name]).ok();
        assert!(fs::metadata(scratch.path().join(name)).unwrap().len() > 0, "{name}");
    }
    let report = scratch.gapless(&["convert", "run42", "-o", "g.parquet", "--json"]).ok().json();
    assert_eq!((&report["format"], &report["events"], &report["ranks"]), (&json!("parquet"), &expected.0, &json!(4)));
    assert!(scratch.path().join("g.parquet/gapless.json").is_file());
    scratch.gapless(&["convert", "run42", "-o", "g.parquet"]).refused("is there already");
    let named = scratch.gapless(&["convert", "run42", "-o", "h.bin", "--format", "speedscope", "--json"]).ok().json();
    assert_eq!(named["format"], json!("speedscope"));
}

/// Tracks of the engine are in the file for viewers, and are no part of the trace that is read back from it.
#[test]
fn tracks_of_the_engine_are_for_viewers_only() {
    let scratch = Scratch::new();
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/sample");
    scratch.gapless(&["convert", sample, "-o", "plain.pftrace"]).ok();
    scratch.gapless(&["convert", sample, "-o", "engine.pftrace", "--engine"]).ok();
    let size = |name: &str| fs::metadata(scratch.path().join(name)).unwrap().len();
    assert!(size("engine.pftrace") > size("plain.pftrace"));
    let read = fs::read(scratch.path().join("engine.pftrace")).unwrap();
    let holds = |text: &str| read.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    assert!(holds("Critical path") && holds("Waiting for late ranks") && holds("waits for Rank 2 in all-reduce"));
    // The same trace comes back, with all its tracks, events and arguments.
    let again = |name: &str| {
        scratch.gapless(&["convert", &format!("{name}.pftrace"), "-o", &format!("{name}.parquet")]).ok();
        let tables = ["events", "args", "tracks", "links"];
        let mut found = Vec::new();
        for entry in walk(&scratch.path().join(format!("{name}.parquet"))) {
            if tables.iter().any(|table| entry.to_string_lossy().contains(table)) {
                found.push(fs::read(entry).unwrap());
            }
        }
        found
    };
    let (plain, engine) = (again("plain"), again("engine"));
    assert!(!plain.is_empty());
    assert_eq!(plain, engine);
    scratch.gapless(&["convert", sample, "-o", "x.parquet", "--engine"]).refused("--engine is for Perfetto traces");
}

/// All files below a folder, in order.
fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}
