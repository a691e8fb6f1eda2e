//! `gapless record` with real jobs: what they print and return, what is recorded, and what happens when either side is
//! killed.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, missing_docs)]

mod common;

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::Scratch;
use serde_json::Value;

/// The library that runs inside jobs, as it was built with these tests.
fn inject() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let path = tests.parent().unwrap().join("libgapless_inject.so");
    assert!(path.is_file(), "{} was not built", path.display());
    path
}

fn command(scratch: &Scratch, args: &[&str]) -> Command {
    let mut command = scratch.command(args);
    command.env("GAPLESS_INJECT", inject());
    for name in ["RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_PROCID", "GAPLESS_RINGS", "GAPLESS_PYTHON"] {
        command.env_remove(name);
    }
    command
}

fn manifest(scratch: &Scratch, folder: &str) -> Value {
    serde_json::from_slice(&std::fs::read(scratch.path().join(folder).join("manifest.json")).unwrap()).unwrap()
}

fn info(scratch: &Scratch, folder: &str) -> Value {
    let output = scratch.command(&["info", "--json", folder]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn events(info: &Value, kind: &str) -> u64 {
    info["events_by_kind"][kind].as_u64().unwrap_or(0)
}

/// Python, for jobs that use the hook; tests that need it say so where there is none.
fn has_python() -> bool {
    let found = Command::new("python3").args(["-c", "import sys; sys.exit(sys.version_info < (3, 8))"]).status();
    let has = found.is_ok_and(|status| status.success());
    if !has {
        eprintln!("skipped: there is no python3 of version 3.8 or later");
    }
    has
}

/// Steps with two nested ranges each; prints a line after each hundred.
const LOOP: &str = "
import gapless, sys, time
steps, pause = int(sys.argv[1]), float(sys.argv[2])
for i in range(steps):
    gapless.step()
    with gapless.range('outer'):
        with gapless.range('inner'):
            pass
    time.sleep(pause)
    if i % 100 == 99:
        print(i + 1, flush=True)
print('done', flush=True)
";

const FAMILY: &str = "
import gapless, gc, multiprocessing, sys, threading

def in_thread():
    with gapless.range('in a thread'):
        sum(range(1000))

def in_child():
    with gapless.range('in a child'):
        sum(range(1000))

if __name__ == '__main__':
    gc.disable()
    for i in range(5):
        gapless.step()
        with gapless.range('compute'):
            sum(range(1000))
        thread = threading.Thread(target=in_thread, name=f'thread {i}')
        thread.start()
        thread.join()
    context = multiprocessing.get_context('fork')
    children = [context.Process(target=in_child) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    print('out')
    print('err', file=sys.stderr)
    sys.exit(7)
";

#[test]
fn a_job_runs_as_it_would_alone_and_all_its_processes_and_threads_are_recorded() {
    if !has_python() {
        return;
    }
    let scratch = Scratch::new();
    scratch.write("family.py", FAMILY);
    let output = command(&scratch, &["record", "-q", "-o", "run", "--", "python3", "family.py"]).output().unwrap();
    assert_eq!(
        (output.status.code(), output.stdout.as_slice(), output.stderr.as_slice()),
        (Some(7), &b"out\n"[..], &b"err\n"[..])
    );
    let manifest = manifest(&scratch, "run");
    assert_eq!((&manifest["finished"], &manifest["exit"]), (&Value::from(true), &Value::from(7)));
    assert_eq!(manifest["processes"].as_array().unwrap().len(), 4, "{manifest:#}");
    let rings = manifest["recorder"]["rings"].as_str().unwrap();
    assert!(!PathBuf::from(rings).exists(), "the rings stayed behind");
    let info = info(&scratch, "run");
    // 5 × compute, 5 × in a thread, 3 × in a child.
    assert_eq!((events(&info, "annotation"), events(&info, "step")), (13, 5), "{info:#}");
    assert_eq!((&info["lost"], info["ranks"].as_array().unwrap().len()), (&Value::from(0), 1));
    for entry in std::fs::read_dir(scratch.path().join("run")).unwrap() {
        let meta = entry.unwrap().metadata().unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(std::fs::metadata(scratch.path().join("run")).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn ranks_come_from_the_environment_and_the_launcher_joins_the_lowest() {
    if !has_python() {
        return;
    }
    let scratch = Scratch::new();
    scratch.write(
        "launcher.py",
        "
import gapless, os, subprocess, sys
with gapless.range('launch'):
    ranks = [subprocess.Popen([sys.executable, 'rank.py'], env=dict(os.environ, RANK=str(r), WORLD_SIZE='2')) for r in range(2)]
for rank in ranks:
    rank.wait()
",
    );
    scratch.write("rank.py", "import gapless\nfor i in range(3):\n    gapless.step()\n");
    let status = command(&scratch, &["record", "-q", "-o", "run", "--", "python3", "launcher.py"]).status().unwrap();
    assert!(status.success());
    let info = info(&scratch, "run");
    let ranks: Vec<_> = info["ranks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rank| (rank["rank"].clone(), rank["world_size"].clone()))
        .collect();
    assert_eq!(ranks, [(Value::from(0), Value::from(2)), (Value::from(1), Value::from(2))]);
    assert_eq!((events(&info, "step"), info["sources"].as_array().unwrap().len()), (6, 3), "{info:#}");
}

#[test]
fn exit_codes_and_signals_are_those_of_the_job() {
    let scratch = Scratch::new();
    let run = |folder: &str, script: &str| {
        command(&scratch, &["record", "-q", "-o", folder, "--", "sh", "-c", script]).status().unwrap()
    };
    assert_eq!(run("a", "exit 41").code(), Some(41));
    assert_eq!(run("b", "kill -TERM $$").signal(), Some(libc_sigterm()));
    assert_eq!(manifest(&scratch, "b")["exit"], Value::from(-libc_sigterm()));
    // A signal that gapless gets goes to the job, which decides.
    let mut child = command(
        &scratch,
        &["record", "-q", "-o", "c", "--", "sh", "-c", "trap 'exit 5' TERM; echo up; while :; do sleep 0.05; done"],
    )
    .stdout(Stdio::piped())
    .spawn()
    .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    send(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(5));
    let output = command(&scratch, &["record", "-o", "d", "--", "no-such-program"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.starts_with("error: cannot start no-such-program") && stderr.lines().count() == 1, "{stderr}");
    assert!(!scratch.path().join("d").exists(), "an empty recording stayed behind");
}

fn libc_sigterm() -> i32 {
    15
}

fn send(child: &Child, signal: &str) {
    assert!(Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn folders_that_cannot_be_used_are_refused_before_the_job_starts() {
    let scratch = Scratch::new();
    scratch.write("full/x", "x");
    scratch.write("file", "x");
    std::os::unix::fs::symlink(scratch.path().join("elsewhere"), scratch.path().join("link")).unwrap();
    for (folder, reason) in [("full", "not empty"), ("file", "it is a file"), ("link", "it is a link")] {
        let output = command(&scratch, &["record", "-o", folder, "--", "touch", "started"]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(reason) && stderr.lines().count() == 1, "{stderr}");
        assert!(!scratch.path().join("started").exists());
    }
    assert!(!scratch.path().join("elsewhere").exists());
}

#[test]
fn a_recorder_that_is_killed_at_any_moment_loses_nothing_and_the_job_goes_on() {
    if !has_python() {
        return;
    }
    let scratch = Scratch::new();
    scratch.write("loop.py", LOOP);
    for round in 0..5u64 {
        let folder = format!("run{round}");
        let mut child =
            command(&scratch, &["record", "-q", "-o", &folder, "--", "python3", "loop.py", "1500", "0.0002"])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // At another place of the job each time, and another one within the recorder's cycle.
        for _ in 0..=round * 2 {
            lines.next().unwrap().unwrap();
        }
        std::thread::sleep(Duration::from_micros(700 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        // The job is orphaned, not ended.
        let last = lines.map(Result::unwrap).last();
        assert_eq!(last.as_deref(), Some("done"));
        // Each opening adds what has come since; the last one finds that the job has ended.
        let mut found = info(&scratch, &folder);
        for _ in 0..100 {
            if manifest(&scratch, &folder)["finished"] == true {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
            found = info(&scratch, &folder);
        }
        let info = found;
        assert_eq!((events(&info, "annotation"), events(&info, "step")), (3000, 1500), "round {round}: {info:#}");
        assert_eq!(info["warnings"], Value::Array(Vec::new()), "round {round}");
        let manifest = manifest(&scratch, &folder);
        assert_eq!(manifest["finished"], Value::from(true));
        assert!(!PathBuf::from(manifest["recorder"]["rings"].as_str().unwrap()).exists());
    }
}

#[test]
fn what_a_killed_job_had_written_is_in_the_trace() {
    if !has_python() {
        return;
    }
    let scratch = Scratch::new();
    // The last line that came through the pipe says what had been written before.
    scratch
        .write("loop.py", LOOP.replace("% 100 == 99", "% 1 == 0").replace("i + 1", "i + 1, __import__('os').getpid()"));
    for round in 0..5u64 {
        let folder = format!("run{round}");
        let mut child =
            command(&scratch, &["record", "-q", "-o", &folder, "--", "python3", "loop.py", "100000", "0.0001"])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut last = String::new();
        for _ in 0..200 + 137 * round {
            last = lines.next().unwrap().unwrap();
        }
        let pid = last.split(' ').next_back().unwrap().to_owned();
        assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
        let steps: u64 = lines.map_while(Result::ok).last().unwrap_or(last).split(' ').next().unwrap().parse().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9), "the recorder ends as the job ended");
        let info = info(&scratch, &folder);
        let (ranges, found) = (events(&info, "annotation"), events(&info, "step"));
        // It may have begun one more step than it could still print.
        assert!((steps..=steps + 1).contains(&found), "round {round}: {found} steps of {steps}");
        assert!((2 * steps..=2 * steps + 2).contains(&ranges), "round {round}: {ranges} ranges of {steps} steps");
    }
}

#[test]
fn a_disk_budget_ends_the_recording_and_not_the_job() {
    if !has_python() {
        return;
    }
    let scratch = Scratch::new();
    scratch.write("loop.py", LOOP);
    let output = command(
        &scratch,
        &["record", "-o", "run", "--disk-budget", "20kB", "--", "python3", "loop.py", "2000", "0.0001"],
    )
    .output()
    .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).ends_with("done\n"), "{stderr}");
    assert_eq!(stderr.matches("disk budget is full").count(), 1, "{stderr}");
    let size: u64 = std::fs::read_dir(scratch.path().join("run"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(".pftrace"))
        .map(|entry| entry.metadata().unwrap().len())
        .sum();
    assert!(size <= 20_000 + 2_000, "{size} bytes");
    let found = events(&info(&scratch, "run"), "step");
    assert!(found > 0 && found < 2000, "{found} steps");
}

#[test]
fn a_window_by_time_and_a_flight_recorder() {
    if !has_python() {
        return;
    }
    let scratch = Scratch::new();
    scratch.write("loop.py", LOOP);
    let status = command(
        &scratch,
        &[
            "record",
            "-q",
            "-o",
            "window",
            "--delay",
            "1500ms",
            "--duration",
            "500ms",
            "--",
            "python3",
            "loop.py",
            "4000",
            "0.001",
        ],
    )
    .status()
    .unwrap();
    assert!(status.success());
    let window = info(&scratch, "window");
    let span_ms = window["span_ns"].as_f64().unwrap() / 1e6;
    assert!((50.0..1000.0).contains(&span_ms), "{span_ms} ms");

    let mut child = command(
        &scratch,
        &["record", "-q", "-o", "flight", "--flight-recorder", "1s", "--", "python3", "loop.py", "4000", "0.001"],
    )
    .stdout(Stdio::piped())
    .spawn()
    .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..30 {
        lines.next().unwrap().unwrap();
    }
    send(&child, "USR2");
    lines.for_each(drop);
    assert!(child.wait().unwrap().success());
    let dumps: Vec<_> = std::fs::read_dir(scratch.path().join("flight"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("dump"))
        .collect();
    assert_eq!(dumps.len(), 1, "{dumps:?}");
    let dump = info(&scratch, &format!("flight/{}", dumps[0]));
    let span_ms = dump["span_ns"].as_f64().unwrap() / 1e6;
    // The last second, and at most the piece that it begins in.
    assert!((900.0..2_600.0).contains(&span_ms), "{span_ms} ms");
    assert!(events(&dump, "step") < 3000 && events(&dump, "step") > 300, "{dump:#}");
    assert_eq!(dump["warnings"].as_array().unwrap().iter().filter(|warning| warning["severity"] == "lost").count(), 0);
}

#[cfg(feature = "sampling")]
#[test]
fn stacks_and_cores_are_sampled_from_outside() {
    if !has_python() {
        return;
    }
    let scratch = Scratch::new();
    scratch.write(
        "burn.py",
        "
import time
def hot(until):
    while time.perf_counter() < until:
        sum(i * i for i in range(1000))
def train():
    hot(time.perf_counter() + 1.0)
train()
",
    );
    let output =
        command(&scratch, &["record", "-o", "run", "--sample", "99", "--", "python3", "burn.py"]).output().unwrap();
    assert!(output.status.success());
    let stderr = String::from_utf8_lossy(&output.stderr);
    let info = info(&scratch, "run");
    let (samples, running) = (events(&info, "sample"), events(&info, "scheduled"));
    if samples == 0 || running == 0 {
        assert!(stderr.contains("note:"), "nothing was sampled and nothing says why: {stderr}");
        eprintln!("skipped: {stderr}");
        return;
    }
    // At 99 Hz over one second of work, on a machine that does other things too.
    assert!((15..=160).contains(&samples), "{samples} samples");
    let report = scratch.gapless(&["convert", "run", "-o", "run.speedscope.json", "-q"]);
    assert_eq!(report.code, 0, "{report:#?}");
    let profile = std::fs::read_to_string(scratch.path().join("run.speedscope.json")).unwrap();
    assert!(profile.contains("hot") && profile.contains("train"), "the functions are not in the profile");
}

#[test]
fn a_window_of_steps_is_exact() {
    if !has_python() {
        return;
    }
    let scratch = Scratch::new();
    scratch.write("loop.py", LOOP);
    let status = command(
        &scratch,
        &["record", "-q", "-o", "run", "--steps", "100:130", "--", "python3", "loop.py", "400", "0.001"],
    )
    .status()
    .unwrap();
    assert!(status.success());
    let info = info(&scratch, "run");
    assert_eq!(events(&info, "step"), 30, "{info:#}");
    // The recorder, which sees a step a moment after it began, may open the window one step early.
    assert!((60..=64).contains(&events(&info, "annotation")), "{info:#}");
}

#[test]
fn a_process_that_runs_one_program_after_the_other_is_recorded_in_each() {
    if !has_python() {
        return;
    }
    let scratch = Scratch::new();
    scratch.write("second.py", "import gapless\nwith gapless.range('second'):\n    pass\n");
    scratch.write(
        "first.py",
        "import gapless, os, sys\nwith gapless.range('first'):\n    os.execv(sys.executable, [sys.executable, 'second.py'])\n",
    );
    let status =
        command(&scratch, &["record", "-q", "-o", "run", "--", "sh", "-c", "exec python3 first.py"]).status().unwrap();
    assert!(status.success());
    let info = info(&scratch, "run");
    assert_eq!((events(&info, "annotation"), info["sources"].as_array().unwrap().len()), (2, 2), "{info:#}");
}
