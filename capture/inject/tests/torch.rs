//! PyTorch's own instrumentation: what it says over ITT and over NVTX about the same program is the same.
//!
//! Needs the PyTorch that `tests/python/setup-torch.sh` makes (`GAPLESS_TORCH_VENV`, else `target/torch-venv`).

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod common;

use std::path::{Path, PathBuf};

use common::{Segment, expect_success, image, read, run_recorded};

const PROGRAM: &str = "
import sys
import torch
from torch._C._profiler import ProfilerConfig, ProfilerState, _ExperimentalConfig
from torch.autograd import _disable_profiler, _enable_profiler
model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))
optimizer = torch.optim.AdamW(model.parameters())
batches = torch.utils.data.DataLoader(torch.ones(6, 8), batch_size=2)
state = getattr(ProfilerState, sys.argv[1])
_enable_profiler(ProfilerConfig(state, True, False, False, False, False, _ExperimentalConfig()), set())
for batch in batches:
    optimizer.zero_grad()
    with torch.autograd.profiler.record_function('my range'):
        loss = model(batch).sum()
    loss.backward()
    optimizer.step()
_disable_profiler()
";

fn python() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let named = std::env::var_os("GAPLESS_TORCH_VENV").map(PathBuf::from);
    let beside = image().ancestors().nth(3).unwrap().join("torch-venv");
    let places = [named, Some(beside), Some(workspace.join("target/torch-venv"))];
    let found = places.into_iter().flatten().map(|place| place.join("bin/python")).find(|python| python.exists());
    if found.is_none() {
        eprintln!("skipped: there is no PyTorch; tests/python/setup-torch.sh makes one");
    }
    found
}

fn record(python: &Path, state: &str) -> Segment {
    let folder = tempfile::tempdir().unwrap();
    expect_success(&run_recorded(folder.path(), python, &["-c", PROGRAM, state]));
    let segment = read(folder.path()).into_iter().next().expect("a recorded process");
    assert_eq!(segment.lost, 0);
    segment
}

/// Begins and ends of all threads, without domains and facts. The backward pass may run on a thread of its own.
fn ranges(segment: &Segment) -> Vec<Vec<String>> {
    let mut threads: Vec<Vec<String>> = segment
        .threads
        .iter()
        .map(|lines| {
            lines
                .iter()
                .filter(|line| line.starts_with("push") || line.starts_with("pop"))
                .map(|line| line.replace(" @PyTorch", ""))
                .collect()
        })
        .collect();
    threads.sort();
    threads
}

#[test]
fn operators_over_itt_and_nvtx_are_the_same() {
    let Some(python) = python() else { return };
    let (itt, nvtx) = (record(&python, "ITT"), record(&python, "NVTX"));
    let all: Vec<String> = ranges(&itt).concat();
    let count = |line: &str| all.iter().filter(|found| found.as_str() == line).count();
    // Three batches through two linear layers.
    assert_eq!(count("push aten::linear Operator"), 6);
    assert_eq!(count("push aten::relu Operator"), 3);
    assert_eq!(count("push AddmmBackward0 AutogradNode"), 6);
    assert_eq!(count("push torch::autograd::AccumulateGrad AutogradNode"), 12);
    assert_eq!(count("push Optimizer.step#AdamW.step Optimizer"), 3);
    assert_eq!(count("push Optimizer.zero_grad#AdamW.zero_grad Optimizer"), 3);
    // One more that finds that there are no more batches.
    assert_eq!(count("push enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__ DataLoading"), 4);
    assert_eq!(count("push my range"), 3);
    let begins = all.iter().filter(|line| line.starts_with("push")).count();
    assert_eq!(begins * 2, all.len(), "each range ends");

    // Over NVTX names carry numbers, which are facts in a recording.
    for (itt, nvtx) in ranges(&itt).iter().zip(&ranges(&nvtx)) {
        for (index, (itt, nvtx)) in itt.iter().zip(nvtx).enumerate() {
            assert_eq!(itt, nvtx, "range {index}");
        }
    }
    assert_eq!(ranges(&itt).len(), ranges(&nvtx).len());
    assert_eq!(ranges(&itt).concat().len(), ranges(&nvtx).concat().len());
    let facts: Vec<&String> = nvtx.threads.iter().flatten().filter(|line| line.starts_with("  ")).collect();
    assert_eq!(facts.iter().filter(|line| line.starts_with("  op_id = ")).count(), begins);
    assert!(facts.iter().any(|line| line.starts_with("  Sequence number = ")));
    assert!(facts.contains(&&"  Input Dims = \"[[2, 8], [8, 8], [8]]\"".to_string()), "{facts:#?}");
}
