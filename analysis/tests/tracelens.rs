//! `gpu_timeline.csv` and `kernel_summary.csv` of every report under `expected/tracelens`, row by row, to 10⁻⁶.
//!
//! Not compared: the column `Parent op category`, which comes from that tool's own table of operator names.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gapless_analysis::{AnalysisOptions, Convention, TraceLensKernel, TraceLensReport, TraceLensTime, analyze};
use gapless_formats::{OpenOptions, Silent, open};

fn shared() -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let folder = std::env::var_os("GAPLESS_TRACES").map_or_else(default, PathBuf::from);
    if folder.join("expected/tracelens").is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no real traces at {}; set GAPLESS_TRACES", folder.display());
    None
}

/// Folders of reports: those that hold `gpu_timeline.csv`, as paths below `expected/tracelens`.
fn reports(folder: &Path) -> Vec<String> {
    let root = folder.join("expected/tracelens");
    let mut found = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(folder) = open.pop() {
        if folder.join("gpu_timeline.csv").is_file() {
            found.push(folder.strip_prefix(&root).unwrap().to_str().unwrap().to_owned());
        }
        open.extend(
            std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()),
        );
    }
    found.sort();
    found
}

fn report(folder: &Path, name: &str) -> TraceLensReport {
    let file = match name {
        "mi300/resnet-act-checkpoint" => "mi300/resnet-act-checkpoint-ddp-rank0of8",
        name => name,
    };
    let path = folder.join("traces/tracelens").join(format!("{file}.json.gz"));
    let trace = open(&[path], &OpenOptions::default(), &Silent).unwrap();
    let options = AnalysisOptions { convention: Convention::TraceLens, ..AnalysisOptions::default() };
    analyze(&trace, &options).ranks.remove(0).tracelens.unwrap()
}

/// Rows of a CSV file by column name; quoted fields may hold commas and doubled quotes.
fn rows(path: &Path) -> Vec<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines: Vec<Vec<String>> = vec![vec![String::new()]];
    let mut letters = text.chars().peekable();
    let mut quoted = false;
    while let Some(letter) = letters.next() {
        let field = lines.last_mut().unwrap().last_mut().unwrap();
        match letter {
            '"' if quoted && letters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => lines.last_mut().unwrap().push(String::new()),
            '\r' if !quoted => {}
            '\n' if !quoted => lines.push(vec![String::new()]),
            letter => field.push(letter),
        }
    }
    lines.retain(|fields| fields.len() > 1);
    let header = lines.remove(0);
    lines.into_iter().map(|fields| header.iter().cloned().zip(fields).collect()).collect()
}

fn assert_close(found: f64, expected: &str, what: &str) {
    let expected: f64 = expected.parse().unwrap();
    let off = (found - expected).abs();
    assert!(off <= 1e-6 * expected.abs(), "{what}: found {found}, expected {expected}");
}

fn check_timeline(found: &[TraceLensTime], expected: &[&BTreeMap<String, String>], what: &str) {
    assert_eq!(found.len(), expected.len(), "rows of {what}");
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.name, expected["type"], "{what}");
        assert_close(found.time_ms, &expected["time ms"], &format!("{} of {what}", found.name));
        assert_close(found.percent, &expected["percent"], &format!("percent of {} of {what}", found.name));
    }
}

#[test]
fn every_timeline_is_reproduced() {
    let Some(folder) = shared() else { return };
    let names = reports(&folder);
    assert_eq!(names.len(), 12);
    for name in names {
        let found = report(&folder, &name);
        let expected = rows(&folder.join("expected/tracelens").join(&name).join("gpu_timeline.csv"));
        let recompute = |wanted: &str| -> Vec<_> {
            expected.iter().filter(|row| row.get("is_recompute").is_some_and(|value| value == wanted)).collect()
        };
        if expected.iter().any(|row| row.contains_key("is_recompute")) {
            check_timeline(&found.timeline_without_recompute, &recompute("False"), &name);
            check_timeline(&found.timeline_of_recompute, &recompute("True"), &format!("{name}, recomputed"));
        } else {
            check_timeline(&found.timeline, &expected.iter().collect::<Vec<_>>(), &name);
            assert!(found.timeline_of_recompute.is_empty());
        }
    }
}

/// Operator, kernel and stream: what TraceLens groups by.
fn key(row: &TraceLensKernel) -> (String, String, String) {
    let stream = row.stream.map(|stream| stream.to_string());
    (row.parent_operator.clone().unwrap_or_default(), row.name.clone(), stream.unwrap_or_default())
}

#[test]
fn every_kernel_summary_is_reproduced() {
    let Some(folder) = shared() else { return };
    let mut compared = (0, 0);
    for name in reports(&folder) {
        let path = folder.join("expected/tracelens").join(&name).join("kernel_summary.csv");
        if !path.is_file() {
            continue;
        }
        let expected = rows(&path);
        let kernels = report(&folder, &name).kernels;
        let sorted = kernels.is_sorted_by(|a, b| a.sum_us >= b.sum_us);
        assert!(sorted, "{name} is sorted by time");
        let mut found: BTreeMap<_, TraceLensKernel> = kernels.into_iter().map(|row| (key(&row), row)).collect();
        compared.0 += 1;
        for expected in &expected {
            let of = |column: &str| expected[column].clone();
            let key = (of("Parent cpu_op"), of("Kernel name"), of("Kernel stream"));
            assert!(found.contains_key(&key), "{name} has no row {key:?}");
            let row = found.remove(&key).unwrap();
            let what = format!("{name}, {key:?}");
            assert_eq!(row.count.to_string(), of("Kernel duration (µs)_count"), "{what}");
            let columns = [
                ("Kernel duration (µs)_sum", row.sum_us),
                ("Kernel duration (µs)_mean", row.mean_us),
                ("Kernel duration (µs)_min", row.min_us),
                ("Kernel duration (µs)_max", row.max_us),
                ("Percent of kernels time (%)", row.percent_of_kernels),
                ("Percent of total time (%)", row.percent_of_total),
            ];
            for (column, value) in columns {
                assert_close(value, &of(column), &format!("{column} of {what}"));
            }
            compared.1 += 1;
        }
        assert!(found.is_empty(), "{name} has rows that the report lacks: {found:?}");
    }
    assert_eq!(compared, (9, 268), "every report and every row was compared");
}
