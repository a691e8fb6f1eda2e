//! Steps found in the sequence of kernels against those that the profiler marked, on real traces with their marks taken
//! away (`GAPLESS_TRACES`, as in `expected_intervals.rs`).
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::io::Read as _;
use std::path::{Path, PathBuf};

use gapless_analysis::{Analysis, AnalysisOptions, StepSource, analyze};
use gapless_formats::{OpenOptions, open_bytes};

fn shared() -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let folder = std::env::var_os("GAPLESS_TRACES").map_or_else(default, PathBuf::from);
    if folder.join("traces").is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no real traces at {}; set GAPLESS_TRACES", folder.display());
    None
}

fn text(folder: &Path, name: &str) -> Vec<u8> {
    let file = std::fs::File::open(folder.join(format!("traces/{name}.json.gz"))).unwrap();
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(file).read_to_end(&mut text).unwrap();
    text
}

fn analyzed(text: Vec<u8>) -> Analysis {
    analyze(&open_bytes("trace.json", text, &OpenOptions::default()).unwrap(), &AnalysisOptions::default())
}

/// The text with marks renamed to something that is no mark, and annotations made Python frames, which are no steps.
fn without_marks(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let text = text.replace("ProfilerStep", "ProfilerSpan").replace("\"user_annotation\"", "\"python_function\"");
    text.replace("\"cat\": \"Operator\", \"name\": \"ProfilerSpan", "\"cat\": \"Python\", \"name\": \"ProfilerSpan")
        .into_bytes()
}

/// How many marked steps a trace has, and the length of a period of the unmarked one against the median marked step.
fn check(folder: &Path, name: &str) -> Result<(), String> {
    let text = text(folder, name);
    let marked = analyzed(text.clone());
    let unmarked = analyzed(without_marks(&text));
    let (marked, unmarked) = (&marked.ranks[0], &unmarked.ranks[0]);
    assert_eq!(marked.steps_from, StepSource::ProfilerStep);
    let count = |steps: &[gapless_analysis::StepBreakdown]| {
        let mut launched: Vec<u64> = steps.iter().map(|step| step.launched_events).collect();
        launched.sort_unstable();
        (steps.len(), launched[launched.len() / 2])
    };
    let (steps, per_step) = count(&marked.steps);
    let (periods, per_period) = count(&unmarked.steps);
    eprintln!("{name}: {steps} steps of {per_step} launches; {:?} {periods} of {per_period}", unmarked.steps_from);
    // The first and the last step may be cut off by the recording.
    let is_right = per_step == per_period && periods <= steps + 1 && periods + 1 >= steps;
    if unmarked.steps_from != StepSource::Periodic || !is_right {
        return Err(format!(
            "{name}: {steps} steps of {per_step}, {:?} {periods} of {per_period}",
            unmarked.steps_from
        ));
    }
    // Each step that lies between the first and the last period holds the beginning of exactly one.
    let starts: Vec<i64> = unmarked.steps.iter().map(|period| period.start_ns).collect();
    let between =
        marked.steps.iter().filter(|step| step.start_ns > starts[0] && step.end_ns < starts[starts.len() - 1]);
    for step in between {
        let held = starts.iter().filter(|&&start| step.start_ns <= start && start < step.end_ns).count();
        if held != 1 {
            return Err(format!("{name}: {} holds {held} beginnings of periods", step.name));
        }
    }
    Ok(())
}

#[test]
fn steps_are_found_without_their_marks() {
    let Some(folder) = shared() else { return };
    let names = [
        "kineto-resnet50/pairA-before-workers0",
        "kineto-resnet50/pairA-after-workers4",
        "kineto-resnet50/pairB-before-workers0",
        "kineto-resnet50/pairB-after-workers4",
        "hta/diff-control-a100",
        "hta/diff-test-v100-cudagraphs",
        "hta/ddp-v100-fractional-us",
        "hta/ddp-v100-rank1of2-memory-216k",
        "hta/ddp-a100-rank0of2-nccl-args",
        "hta/cpu-only-rank34of300",
    ];
    let wrong: Vec<String> = names.iter().filter_map(|name| check(&folder, name).err()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn steps_that_do_not_repeat_are_not_made_up() {
    let Some(folder) = shared() else { return };
    // Its three steps have 1,678, 1,080 and 895 launches: the recording lost some.
    let text = text(&folder, "tracelens/mi300/resnet-act-checkpoint-ddp-rank0of8");
    assert_eq!(analyzed(text.clone()).ranks[0].steps.len(), 3);
    let unmarked = analyzed(without_marks(&text));
    assert_eq!(unmarked.ranks[0].steps_from, StepSource::WholeRecording);
}
