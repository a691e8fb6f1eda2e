//! What the writer does beside the tables' content, which `tests/tests/parquet_export.rs` checks with other readers.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, Ordering};

use gapless_trace::Trace;

use super::*;
use crate::{OpenOptions, Progress, Silent, open_bytes};

fn trace() -> Trace {
    let text = r#"{"traceEvents": [{"ph": "X", "name": "a/../b", "cat": "cpu_op", "pid": "../..", "tid": 1, "ts": 1, "dur": 2}]}"#;
    open_bytes("trace.json", text.as_bytes().to_vec(), &OpenOptions::default()).unwrap()
}

fn names(folder: &std::path::Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_folder_that_holds_something_is_left_alone() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("out");
    std::fs::create_dir(&folder).unwrap();
    // An empty folder is as good as none.
    write_folder(&trace(), &folder, &WriteOptions::default(), &Silent).unwrap();
    let before = std::fs::read(folder.join("gapless.json")).unwrap();
    let again = write_folder(&trace(), &folder, &WriteOptions::default(), &Silent);
    assert!(matches!(again, Err(WriteError::Exists { .. })));
    assert_eq!(std::fs::read(folder.join("gapless.json")).unwrap(), before);
    let file = scratch.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    assert!(matches!(write_folder(&trace(), &file, &WriteOptions::default(), &Silent), Err(WriteError::Exists { .. })));
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    assert_eq!(names(scratch.path()), ["file", "out"]);
}

#[test]
fn names_of_files_are_ours_whatever_the_trace_says() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("out");
    write_folder(&trace(), &folder, &WriteOptions::default(), &Silent).unwrap();
    assert_eq!(names(scratch.path()), ["out"]);
    assert_eq!(names(&folder.join("events")), ["rank=0"]);
    assert_eq!(names(&folder.join("events/rank=0")), ["events.parquet"]);
    assert_eq!(names(&folder).len(), 9);
}

#[test]
fn who_gives_up_finds_nothing() {
    struct GivesUp(AtomicBool);
    impl Progress for GivesUp {
        fn stage(&self, _what: &str, _total: u64) {
            self.0.store(true, Ordering::Relaxed);
        }
        fn done(&self, _units: u64) {}
        fn is_cancelled(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("out");
    let given_up = write_folder(&trace(), &folder, &WriteOptions::default(), &GivesUp(AtomicBool::new(false)));
    assert!(matches!(given_up, Err(WriteError::Cancelled)));
    assert!(names(scratch.path()).is_empty());
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("missing/out");
    let error = write_folder(&trace(), &folder, &WriteOptions::default(), &Silent).unwrap_err().to_string();
    assert!(error.contains("missing/out"), "{error}");
}
