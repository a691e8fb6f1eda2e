//! `gapless record` where something runs out or goes wrong: each job does and prints what it does alone, and at most one
//! line says what could not be recorded.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, missing_docs)]

#[path = "../common/mod.rs"]
mod common;

mod alone;
mod apart;
mod memory_and_disk;
mod processes;
mod surroundings;

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use common::Scratch;
use serde_json::Value;

/// The library that runs inside jobs, as it was built with these tests.
fn inject() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().join("libgapless_inject.so")
}

/// The interpreter itself: what stands in the path may be a script, which has limits of its own.
fn python() -> Option<&'static str> {
    static PYTHON: OnceLock<Option<String>> = OnceLock::new();
    let found = PYTHON.get_or_init(|| {
        let text = "import sys; sys.exit(1) if sys.version_info < (3, 8) else print(sys.executable, end='')";
        let output = Command::new("python3").args(["-c", text]).output().ok()?;
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    });
    if found.is_none() {
        eprintln!("skipped: there is no python3 of version 3.8 or later");
    }
    found.as_deref()
}

/// The job in C; `None` after a line where there is no compiler.
fn limits_job() -> Option<&'static str> {
    static JOB: OnceLock<Option<(tempfile::TempDir, String)>> = OnceLock::new();
    let job = JOB.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("limits");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/jobs/limits.c");
        let compiled =
            Command::new("cc").arg("-O1").arg("-pthread").arg("-o").arg(&path).arg(source).arg("-ldl").status();
        let path = path.to_str().unwrap().to_owned();
        // Rootless users of the tests must reach it.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        compiled.ok().map(|status| {
            assert!(status.success());
            (folder, path)
        })
    });
    if job.is_none() {
        eprintln!("skipped: there is no C compiler");
    }
    job.as_ref().map(|(_, path)| path.as_str())
}

fn is_root() -> bool {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let is_root =
        text.lines().find_map(|line| line.strip_prefix("Uid:")).is_some_and(|ids| ids.trim().starts_with('0'));
    if !is_root {
        eprintln!("skipped: only root may do this");
    }
    is_root
}

/// Whether the system lets root mount here: many containers do not.
fn can_mount() -> bool {
    let can = is_root()
        && Command::new("unshare")
            .args(["-m", "sh", "-c", "mount -t tmpfs -o size=1m none /mnt"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
    if !can {
        eprintln!("skipped: file systems cannot be mounted here");
    }
    can
}

/// Runs `command` below a shell that says `setup` first.
fn shell(scratch: &Scratch, setup: &str, command: &[OsString]) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{setup}\nexec \"$@\"")).arg("sh").args(command).current_dir(scratch.path());
    shell.env("GAPLESS_INJECT", inject());
    for name in ["RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_PROCID", "GAPLESS_RINGS", "GAPLESS_PYTHON", "NO_COLOR"] {
        shell.env_remove(name);
    }
    shell
}

fn alone(scratch: &Scratch, setup: &str, job: &[&str]) -> Command {
    shell(scratch, setup, &job.iter().map(OsString::from).collect::<Vec<_>>())
}

fn recorded(scratch: &Scratch, setup: &str, options: &[&str], job: &[&str]) -> Command {
    let mut command = vec![OsString::from(env!("CARGO_BIN_EXE_gapless")), "record".into()];
    command.extend(options.iter().chain(&["--"]).chain(job).map(OsString::from));
    shell(scratch, setup, &command)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs the job alone and recorded: it must not show which. Gives what Gapless itself said, line by line.
#[track_caller]
fn same(scratch: &Scratch, setup: &str, options: &[&str], job: &[&str]) -> Vec<String> {
    let alone = alone(scratch, setup, job).output().unwrap();
    let with = recorded(scratch, setup, options, job).output().unwrap();
    said(&alone, &with)
}

#[track_caller]
fn said(alone: &Output, with: &Output) -> Vec<String> {
    let stderr = text(&with.stderr);
    let of_job = text(&alone.stderr);
    assert_eq!(
        (with.status.code(), with.status.signal(), text(&with.stdout)),
        (alone.status.code(), alone.status.signal(), text(&alone.stdout)),
        "{stderr}"
    );
    let ours =
        stderr.strip_prefix(&of_job).unwrap_or_else(|| panic!("not what the job says alone ({of_job:?}): {stderr}"));
    assert!(!ours.contains("panicked"), "{ours}");
    ours.lines().map(str::to_owned).collect()
}

/// The lines that tell of a problem.
fn problems(said: &[String]) -> Vec<&str> {
    let usual = |line: &&str| line.starts_with("gapless: ") || line.trim_start().starts_with("see it:");
    said.iter().map(String::as_str).filter(|line| !usual(line)).collect()
}

#[track_caller]
fn manifest(scratch: &Scratch, folder: &str) -> Value {
    serde_json::from_slice(&std::fs::read(scratch.path().join(folder).join("manifest.json")).unwrap()).unwrap()
}

#[track_caller]
fn info(scratch: &Scratch, folder: &str) -> Value {
    let output = scratch.command(&["info", "--json", folder]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn events(info: &Value, kind: &str) -> u64 {
    info["events_by_kind"][kind].as_u64().unwrap_or(0)
}

fn lost(manifest: &Value) -> u64 {
    let processes = manifest["processes"].as_array().unwrap();
    processes
        .iter()
        .flat_map(|process| ["ring_full", "no_ring", "names"].map(|what| process["lost"][what].as_u64().unwrap()))
        .sum()
}

#[track_caller]
fn no_rings_left(manifest: &Value) {
    let rings = manifest["recorder"]["rings"].as_str().unwrap();
    assert!(!Path::new(rings).exists(), "the rings stayed behind");
}

/// Steps with a range each, which work where the hook does not.
const STEPS: &str = "
import sys, time
try:
    import gapless
except ImportError:
    gapless = None
for i in range(int(sys.argv[1])):
    if gapless:
        gapless.step()
        with gapless.range('work'):
            pass
    time.sleep(0.0005)
print('done', flush=True)
";

/// A small file system that goes with the test.
struct Disk(PathBuf);

impl Disk {
    fn new(scratch: &Scratch, size: &str) -> Disk {
        let path = scratch.path().join("disk");
        std::fs::create_dir(&path).unwrap();
        let option = format!("size={size},mode=0755");
        assert!(
            Command::new("mount").args(["-t", "tmpfs", "-o", &option, "none"]).arg(&path).status().unwrap().success()
        );
        Disk(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
