//! Which files of a folder are traces.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use gapless_formats::expand;

const TRACE: &str = r#"{"traceEvents": [{"ph": "X", "name": "a", "ts": 1, "dur": 1, "pid": 1, "tid": 1}]}"#;

fn names(folder: &Path) -> Vec<String> {
    let found = expand(&[folder.to_string_lossy().into_owned()]).unwrap_or_default();
    found.iter().map(|path| path.strip_prefix(folder).unwrap().to_string_lossy().into_owned()).collect()
}

#[test]
fn traces_of_a_folder_come_without_its_strangers_and_without_what_lies_deeper() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("old")).unwrap();
    for name in ["rank10.json", "rank9.json", "old/rank0.json"] {
        fs::write(folder.path().join(name), TRACE).unwrap();
    }
    fs::write(folder.path().join("config.json"), r#"{"lr": 0.1}"#).unwrap();
    fs::write(folder.path().join("notes.txt"), "nothing").unwrap();
    assert_eq!(names(folder.path()), ["rank9.json", "rank10.json"]);
}

#[test]
fn a_folder_of_folders_is_looked_into_level_by_level() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("plugins/profile/2026_11_01");
    fs::create_dir_all(run.join("deeper")).unwrap();
    for name in ["host1.json", "host0.json", "deeper/host2.json"] {
        fs::write(run.join(name), TRACE).unwrap();
    }
    let expected = ["plugins/profile/2026_11_01/host0.json", "plugins/profile/2026_11_01/host1.json"];
    assert_eq!(names(folder.path()), expected);
}

#[cfg(unix)]
#[test]
fn a_link_to_the_folder_itself_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(folder.path(), folder.path().join("again")).unwrap();
    assert!(expand(&[folder.path().to_string_lossy().into_owned()]).is_err());
}
