//! Comparisons of real recordings: a recording against itself is empty, pairs read as they should, parts always sum.
//!
//! `GAPLESS_TRACES` names the folder of real traces (`../shared` beside the workspace if it is not set). Where it is
//! missing the tests say so and pass.
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

use std::path::{Path, PathBuf};

use gapless_diff::{Cause, Diff, DiffOptions, Recording, VerdictKind, diff};
use gapless_formats::{OpenOptions, Silent, open};
use gapless_trace::Trace;

fn traces() -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let folder = std::env::var_os("GAPLESS_TRACES").map_or_else(default, PathBuf::from).join("traces");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no real traces at {}; set GAPLESS_TRACES", folder.display());
    None
}

fn read(path: &Path) -> Trace {
    open(&gapless_formats::expand(&[path.display().to_string()]).unwrap(), &OpenOptions::default(), &Silent).unwrap()
}

fn compare(base: &Trace, new: &Trace) -> Diff {
    let found = diff(&Recording::new(base), &Recording::new(new), &DiffOptions::default());
    assert_eq!(found.rows.iter().map(|row| row.part_ns).sum::<i64>(), found.delta_ns);
    found
}

#[test]
fn a_recording_against_itself_is_empty() {
    let Some(folder) = traces() else { return };
    for name in [
        "dlrm-8xV100",
        "kineto-resnet50/pairA-after-workers4.json.gz",
        "hta/diff-test-v100-cudagraphs.json.gz",
        "hta/cpu-only-rank34of300.json.gz",
        "tracelens/mi300/qwen1.5-0.5b.json.gz",
        "nsys/mfu_2gpu_before.sqlite",
        "pytorch-cpu-gloo/rank[01].pt.trace.json.gz",
    ] {
        let trace = read(&folder.join(name));
        let found = compare(&trace, &trace);
        assert_eq!((found.delta_ns, found.rows.len()), (0, 0), "{name}: {:#?}", found.rows);
        assert_eq!(found.verdict.verdict, VerdictKind::NoChange, "{name}");
        assert!(found.alignment.base_share.is_none_or(|share| share == 1.0), "{name}: {:?}", found.alignment);
    }
}

#[test]
fn loading_with_workers_saves_the_time_of_loading() {
    let Some(folder) = traces() else { return };
    for pair in ["pairA", "pairB"] {
        let read = |end: &str| read(&folder.join(format!("kineto-resnet50/{pair}-{end}.json.gz")));
        let found = compare(&read("before-workers0"), &read("after-workers4"));
        assert!(found.delta_ns < -20_000_000, "{pair}: {}", found.delta_ns);
        let first = &found.rows[0];
        // 44 to 45 ms of the base; the rest of the host gets in the way of some of the gain.
        assert_eq!(first.cause, Cause::DataLoading, "{pair}: {:#?}", found.rows);
        assert!((-46_000_000..-33_000_000).contains(&first.part_ns), "{pair}: {}", first.part_ns);
        assert!(first.base_ns > 40_000_000 && first.new_ns < 3_000_000, "{pair}: {first:?}");
        // Nothing is left to what nobody can explain.
        let vague = |row: &&gapless_diff::Row| matches!(row.cause, Cause::Unexplained | Cause::Overlap);
        let left: i64 = found.rows.iter().filter(vague).map(|row| row.part_ns.abs()).sum();
        assert!(left < found.delta_ns.abs() / 5, "{pair}: {left} of {}", found.delta_ns);
    }
}

#[test]
fn another_device_and_another_way_to_run_are_seen() {
    let Some(folder) = traces() else { return };
    let (base, new) = (
        read(&folder.join("hta/diff-control-a100.json.gz")),
        read(&folder.join("hta/diff-test-v100-cudagraphs.json.gz")),
    );
    let found = compare(&base, &new);
    assert_eq!(found.verdict.verdict, VerdictKind::Slower);
    assert!(found.notes.iter().any(|note| note.contains("A100") && note.contains("V100")), "{:?}", found.notes);
    // Compiled graphs, with copies into their inputs, stand for operators that ran one by one.
    assert_eq!(found.rows[0].cause, Cause::NewWork, "{:#?}", found.rows);
    assert!(found.rows[0].details[0].name.starts_with("aten::copy_"), "{:#?}", found.rows[0].details);
    assert!(found.rows.iter().take(3).any(|row| row.cause == Cause::GoneWork));
    // And back again: the same parts with the other sign, but for the names that come from the base.
    let back = compare(&new, &base);
    assert_eq!(back.delta_ns, -found.delta_ns);
    assert_eq!(back.verdict.verdict, VerdictKind::Faster);
}

#[test]
fn devices_of_two_makers_are_aligned_by_operators() {
    let Some(folder) = traces() else { return };
    for model in ["qwen1.5-0.5b", "owlv2", "falconsai-vit", "bert-small"] {
        let read = |device: &str| read(&folder.join(format!("tracelens/{device}/{model}.json.gz")));
        let found = compare(&read("h100"), &read("mi300"));
        let share = found.alignment.base_share.unwrap();
        assert!(share > 0.85, "{model}: only {share} of the device time has a counterpart");
    }
}
