//! The arrows of the architecture, held by reading the manifests and sources of the workspace.
#![allow(clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gapless_tests::oracle::files_below;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn manifest(path: &Path) -> toml::Table {
    std::fs::read_to_string(path.join("Cargo.toml")).expect("a manifest").parse().expect("valid TOML")
}

struct Member {
    folder: String,
    /// Names of normal and build dependencies, and of development dependencies.
    uses: Vec<String>,
    tests_with: Vec<String>,
    lints_of_workspace: bool,
}

/// Members of the workspace by crate name.
fn members() -> BTreeMap<String, Member> {
    let workspace = manifest(&root());
    let folders = workspace["workspace"]["members"].as_array().expect("members").clone();
    let names = |table: Option<&toml::Value>| -> Vec<String> {
        table.and_then(toml::Value::as_table).map(|table| table.keys().cloned().collect()).unwrap_or_default()
    };
    let read = |folder: &str| {
        let text = manifest(&root().join(folder));
        let mut member = Member {
            folder: folder.to_owned(),
            uses: [names(text.get("dependencies")), names(text.get("build-dependencies"))].concat(),
            tests_with: names(text.get("dev-dependencies")),
            lints_of_workspace: text.get("lints").and_then(|lints| lints.get("workspace")).is_some(),
        };
        for (_, target) in text.get("target").and_then(toml::Value::as_table).into_iter().flatten() {
            member.uses.extend(names(target.get("dependencies")));
        }
        (text["package"]["name"].as_str().expect("a name").to_owned(), member)
    };
    folders.iter().map(|folder| read(folder.as_str().expect("a path"))).collect()
}

/// Which folders a crate of a folder may use, itself aside.
fn may_use(folder: &str) -> &'static [&'static str] {
    match folder {
        "formats/trace" | "formats/perfetto-proto" => &[],
        folder if folder.starts_with("formats/") => &["formats/"],
        folder if folder.starts_with("capture/") => &["formats/", "capture/"],
        "analysis" => &["formats/"],
        folder if folder.starts_with("analysis/") => &["formats/", "analysis"],
        folder if folder.starts_with("ui/") => &["formats/", "capture/", "analysis", "ui/"],
        "tests" => &["formats/", "capture/", "analysis", "ui/"],
        other => panic!("{other} has no place in the architecture; add it to ARCHITECTURE.md and here"),
    }
}

#[test]
fn every_crate_uses_only_what_lies_below_it() {
    let members = members();
    assert!(members.len() >= 6, "the workspace was not read");
    for (name, member) in &members {
        let allowed = may_use(&member.folder);
        for used in &member.uses {
            let Some(other) = members.get(used) else { continue };
            let fine = allowed.iter().any(|prefix| other.folder.starts_with(prefix));
            assert!(fine, "{name} ({}) must not use {used} ({})", member.folder, other.folder);
        }
        for used in &member.tests_with {
            let Some(other) = members.get(used) else { continue };
            // Tests below may use the generator of traces, which uses no user interface unless in its own tests.
            let fine = used == "gapless-tests" || allowed.iter().any(|prefix| other.folder.starts_with(prefix));
            assert!(fine, "the tests of {name} must not use {used}");
        }
    }
}

#[test]
fn the_model_and_the_analysis_know_no_files_and_no_windows() {
    let members = members();
    for name in ["gapless-trace", "gapless-analysis", "gapless-diff"] {
        let member = &members[name];
        for forbidden in ["memmap2", "flate2", "egui", "eframe", "tempfile", "glob", "gapless-formats"] {
            assert!(!member.uses.iter().any(|used| used == forbidden), "{name} must not use {forbidden}");
        }
        let sources = files_below(&root().join(&member.folder).join("src"), &[".rs"]).expect("sources");
        assert!(!sources.is_empty());
        for path in sources {
            let text = std::fs::read_to_string(&path).expect("readable");
            for forbidden in
                ["std::fs", "std::net", "std::process", "fs::File", "memmap", "egui", "println!", "std::env"]
            {
                assert!(!text.contains(forbidden), "{} mentions {forbidden}", path.display());
            }
        }
    }
    let window = ["eframe", "winit", "rfd"];
    for name in ["gapless-formats", "gapless-timeline", "perfetto-proto"] {
        let member = &members[name];
        assert!(!member.uses.iter().any(|used| window.contains(&used.as_str())), "{name} must not open windows");
    }
}

/// Every Rust source of the workspace.
fn sources() -> Vec<PathBuf> {
    let mut sources = Vec::new();
    for folder in ["formats", "capture", "analysis", "ui", "tests"] {
        let folder = root().join(folder);
        if folder.is_dir() {
            sources.extend(files_below(&folder, &[".rs"]).expect("sources"));
        }
    }
    assert!(sources.len() > 40, "the sources were not found");
    sources
}

#[test]
fn no_source_is_longer_than_800_lines() {
    let long: Vec<String> = sources()
        .iter()
        .map(|path| (path, std::fs::read_to_string(path).expect("readable").lines().count()))
        .filter(|&(_, lines)| lines > 800)
        .map(|(path, lines)| format!("{} has {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn every_source_says_what_it_is_about() {
    let silent: Vec<String> = sources()
        .iter()
        // The tests of a module, in a file of their own, are about what the module is about.
        .filter(|path| !path.ends_with("tests.rs"))
        .filter(|path| !std::fs::read_to_string(path).expect("readable").trim_start().starts_with("//!"))
        .map(|path| path.display().to_string())
        .collect();
    assert!(silent.is_empty(), "no //! at the top of:\n{}", silent.join("\n"));
}

#[test]
fn every_dependency_has_a_reason() {
    let text = std::fs::read_to_string(root().join("Cargo.toml")).expect("readable");
    let lines = text.lines().skip_while(|line| *line != "[workspace.dependencies]").skip(1);
    let mut found = 0;
    for line in lines.take_while(|line| !line.starts_with('[')) {
        if line.contains(" = ") && !line.contains("path = ") {
            found += 1;
            let reason = line.split_once(" # ").map_or("", |(_, reason)| reason.trim());
            assert!(reason.len() > 10, "no reason for: {line}");
        }
    }
    assert!(found > 10, "the dependencies were not found");
}

#[test]
fn every_crate_keeps_the_lints_of_the_workspace() {
    for (name, member) in members() {
        assert!(member.lints_of_workspace, "{name} needs [lints] workspace = true");
    }
}
