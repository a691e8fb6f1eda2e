//! What annotations cost a C program beside the same program without a tool, and whether a reader keeps up.
//!
//! `cargo bench -p gapless-inject --bench annotations`

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr, missing_docs)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gapless_ring::SegmentReader;
use gapless_ring::layout::Kind;

const BURSTS: usize = 60;
const ROUNDS: usize = 5;

fn main() {
    let (Some(nvtx), Some(itt)) = (common::fetched("nvtx"), common::fetched("itt")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("annotations");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/annotations.c");
    let made = Command::new("gcc")
        .args(["-O2", "-w", "-pthread", "-o"])
        .arg(&program)
        .arg(&source)
        .arg(itt.join("src/ittnotify/ittnotify_static.c"))
        .arg(format!("-I{}", nvtx.display()))
        .arg(format!("-I{}", itt.join("include").display()))
        .arg(format!("-I{}", itt.join("src/ittnotify").display()))
        .arg("-ldl")
        .status();
    assert!(made.is_ok_and(|status| status.success()), "gcc compiles the program");
    cost(&program);
    rate(&program, None);
    rate(&program, Some(Duration::from_secs(2)));
}

fn start(program: &Path, rings: Option<&Path>, args: &[&str]) -> Child {
    let mut command = Command::new(program);
    command.args(args).stdout(Stdio::piped());
    if let Some(rings) = rings {
        command.env("GAPLESS_RINGS", rings);
        command.env("NVTX_INJECTION64_PATH", common::image());
        command.env("INTEL_LIBITTNOTIFY64", common::image());
    }
    command.spawn().unwrap()
}

/// What a reader saw of one process.
#[derive(Default)]
struct Seen {
    begins: u64,
    ends: u64,
    lost: u64,
    drains: u64,
    longest: Duration,
}

/// Drains every 5 ms until the program ends, or only for a time, and once more at the end.
fn watch(child: &mut Child, rings: &Path, only_for: Option<Duration>) -> Seen {
    let mut seen = Seen::default();
    let mut reader: Option<SegmentReader> = None;
    let begun = Instant::now();
    let mut last = begun;
    loop {
        let ended = child.try_wait().unwrap().is_some();
        if reader.is_none() {
            reader = files(rings).first().and_then(|path| SegmentReader::open(path).ok());
        }
        let reads = ended || only_for.is_none_or(|time| begun.elapsed() < time);
        if let Some(reader) = reader.as_mut().filter(|_| reads) {
            let drained = reader.drain(&mut |batch| {
                let mut at = 0;
                while let Some(record) = batch.slots.get(at) {
                    match Kind::from_number(record.kind) {
                        Some(Kind::Push) => seen.begins += 1,
                        Some(Kind::Pop) => seen.ends += 1,
                        _ => {}
                    }
                    at += 1 + record.extra as usize;
                }
            });
            reader.commit();
            seen.lost += drained.lost;
            seen.drains += 1;
            seen.longest = seen.longest.max(last.elapsed());
            last = Instant::now();
        }
        if ended {
            return seen;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn files(rings: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(rings).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn output(child: Child) -> String {
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

/// Nanoseconds a pair by kind, with and without the tool in turns.
fn cost(program: &Path) {
    let mut with: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut without: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut order = Vec::new();
    let mut lost = 0;
    let bursts = BURSTS.to_string();
    for _ in 0..ROUNDS {
        for tool in [false, true] {
            let rings = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
            let mut child = start(program, tool.then_some(rings.path()), &["cost", &bursts]);
            // Read beside the reader, so that the pipe never fills.
            let pipe = child.stdout.take().unwrap();
            let text = std::thread::spawn(move || std::io::read_to_string(pipe).unwrap());
            let seen = watch(&mut child, rings.path(), None);
            lost += seen.lost;
            for line in text.join().unwrap().lines() {
                let (kind, number) = line.split_once('\t').unwrap();
                if !order.iter().any(|known| known == kind) {
                    order.push(kind.to_string());
                }
                let list = if tool { &mut with } else { &mut without };
                list.entry(kind.to_string()).or_default().push(number.parse().unwrap());
            }
        }
    }
    println!("ns a pair (median and least of {} bursts of 4,000; {lost} records lost)", BURSTS * ROUNDS);
    println!("| range | no tool | recorded | added, median | added, least |");
    println!("|---|--:|--:|--:|--:|");
    for kind in order {
        let ((bare, least_bare), (tooled, least_tooled)) = (summary(&without[&kind]), summary(&with[&kind]));
        println!("| {kind} | {bare:.1} | {tooled:.1} | {:.1} | {:.1} |", tooled - bare, least_tooled - least_bare);
    }
}

fn summary(values: &[f64]) -> (f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    (sorted[sorted.len() / 2], sorted[0])
}

/// A million ranges a second for ten seconds.
fn rate(program: &Path, only_for: Option<Duration>) {
    let rings = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let mut child = start(program, Some(rings.path()), &["rate", "1000000", "10"]);
    let seen = watch(&mut child, rings.path(), only_for);
    let text = output(child);
    let (made, seconds) = text.trim().split_once(' ').unwrap();
    // The first task and its end are ITT's.
    let made: u64 = made.parse::<u64>().unwrap() + 1;
    println!(
        "\n{made} ranges in {seconds} s, {}: {} begins and {} ends read, {} lost; {} drains, {:.1} ms between two at most",
        only_for.map_or("read every 5 ms".into(), |time| format!("read for the first {time:?} and at the end")),
        seen.begins,
        seen.ends,
        seen.lost,
        seen.drains,
        seen.longest.as_secs_f64() * 1e3
    );
    assert_eq!(seen.begins + seen.lost, made, "recorded and lost are what was made");
    assert_eq!(seen.begins, seen.ends);
}
