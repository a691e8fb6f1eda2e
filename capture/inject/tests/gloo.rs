//! gloo as the preloaded image sees it, inside a real PyTorch.
//!
//! `GAPLESS_TORCH_VENV` names an environment with PyTorch, else `target/torch-venv`, which
//! `tests/python/setup-torch.sh` makes. Where there is none, one line says so.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use gapless_ring::layout::{Class, SOURCE_GLOO};

const RANKS: usize = 2;

fn python() -> Option<PathBuf> {
    let venv = std::env::var_os("GAPLESS_TORCH_VENV")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/torch-venv"), PathBuf::from);
    let python = venv.join("bin/python");
    let found = Command::new(&python).args(["-c", "import torch"]).output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("skipped: no PyTorch in {}; tests/python/setup-torch.sh makes it", venv.display());
    }
    found.then_some(python)
}

/// Both ranks' output.
fn run(python: &Path, folder: &Path, rings: Option<&Path>, breaks: bool) -> Vec<Output> {
    let ranks: Vec<_> = (0..RANKS)
        .map(|rank| {
            let mut command = Command::new(python);
            command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gloo.py"));
            command.env("RANK", rank.to_string()).env("LOG", folder.join("log")).env("STORE", folder.join("store"));
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            if breaks {
                command.env("BREAK", "1");
            }
            if let Some(rings) = rings {
                command.env("GAPLESS_RINGS", rings).env("LD_PRELOAD", support::image());
            }
            command.spawn().unwrap()
        })
        .collect();
    let outputs = ranks.into_iter().map(|rank| rank.wait_with_output().unwrap()).collect();
    std::fs::remove_file(folder.join("store")).ok();
    outputs
}

fn texts(outputs: &[Output]) -> Vec<String> {
    for output in outputs {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    outputs.iter().map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).collect()
}

#[test]
fn every_collective_is_a_range_on_the_thread_that_runs_it() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let rings = folder.path().join("rings");
    std::fs::create_dir(&rings).unwrap();
    let plain = texts(&run(&python, folder.path(), None, false));
    assert_eq!(plain, texts(&run(&python, folder.path(), Some(&rings), false)));
    let processes = support::read(&rings);
    assert_eq!(processes.len(), RANKS);
    for process in &processes {
        assert_eq!((process.lost, process.sources), (0, SOURCE_GLOO));
        // The main thread's id is the process's, which tells the log that belongs to it.
        let log = (0..RANKS)
            .map(|rank| std::fs::read_to_string(folder.path().join(format!("log.{rank}"))).unwrap())
            .find(|log| log.contains(&format!("main-thread {}\n", process.pid)))
            .unwrap();
        let mut found: BTreeMap<&str, usize> = BTreeMap::new();
        for call in &process.calls {
            *found.entry(&call.name).or_default() += 1;
            assert_eq!(call.class, Class::Communication as u8);
            assert!(call.end_ticks > call.begin_ticks);
            assert_ne!(call.tid, process.pid, "gloo works on threads of its own");
        }
        for line in log.lines().filter(|line| line.starts_with("gloo:")) {
            let (name, count) = line.split_once(' ').unwrap();
            assert_eq!(found.remove(name), Some(count.parse().unwrap()), "{name}");
        }
        // The first, the last, and those of setting up.
        assert!(found.remove("gloo:barrier").is_some_and(|barriers| barriers >= 2));
        assert!(found.is_empty(), "{found:?}");
    }
}

#[test]
fn what_gloo_throws_passes_through() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let rings = folder.path().join("rings");
    std::fs::create_dir(&rings).unwrap();
    let plain = texts(&run(&python, folder.path(), None, true));
    assert_eq!(plain.first().map(String::as_str), Some("the peer is gone\n"));
    assert_eq!(plain, texts(&run(&python, folder.path(), Some(&rings), true)));
    // Reading checks that each range has its end, the one that was thrown through too.
    let calls: Vec<_> = support::read(&rings).into_iter().flat_map(|process| process.calls).collect();
    assert!(calls.iter().any(|call| call.name == "gloo:allreduce"));
}
