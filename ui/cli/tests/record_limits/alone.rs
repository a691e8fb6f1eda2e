//! Jobs without a recorder: the library is there by its variables alone, and `GAPLESS_RECORDING` names the folder.

use super::apart::tree;
use super::*;

/// Runs a job of the C program by itself, with its rings in the folder `run`.
fn by_itself(scratch: &Scratch, job: &[&str]) -> Command {
    let mut command = alone(scratch, "", job);
    command.env("GAPLESS_RECORDING", scratch.path().join("run"));
    command
}

#[track_caller]
fn nothing_lost(scratch: &Scratch) {
    let manifest = manifest(scratch, "run");
    assert_eq!((&manifest["finished"], lost(&manifest)), (&Value::from(true), 0), "{manifest:#}");
    assert_eq!(manifest["notices"], Value::Array(Vec::new()));
    assert!(!scratch.path().join("run/.rings").exists());
    let info = info(scratch, "run");
    assert_eq!(info["warnings"], Value::Array(Vec::new()));
}

#[test]
fn more_than_a_ring_holds_is_written_out_by_the_job_itself() {
    let Some(job) = limits_job() else { return };
    let scratch = Scratch::new();
    let job = [job, "loops", "300000"];
    let began = Instant::now();
    let plain = alone(&scratch, "", &job).output().unwrap();
    let with = by_itself(&scratch, &job).output().unwrap();
    assert_eq!(said(&plain, &with), [""; 0]);
    let elapsed = began.elapsed();
    let rings = scratch.path().join("run/.rings");
    let spilled: u64 = std::fs::read_dir(&rings)
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.path().extension().is_some_and(|ending| ending == "spill"))
        .map(|entry| entry.metadata().unwrap().len())
        .sum();
    assert!(spilled > 10_000_000, "{spilled} bytes");
    assert_eq!(std::fs::metadata(scratch.path().join("run")).unwrap().permissions().mode() & 0o777, 0o700);
    let info = info(&scratch, "run");
    assert_eq!(events(&info, "annotation"), 300_000);
    let span_ns = info["span_ns"].as_f64().unwrap();
    // The job sleeps a millisecond after each thousand.
    assert!((0.3e9..elapsed.as_nanos() as f64).contains(&span_ns), "{span_ns}");
    nothing_lost(&scratch);
}

#[test]
fn threads_and_children_record_themselves_too() {
    let Some(job) = limits_job() else { return };
    for (what, count, ranges, processes, mib) in [
        ("threads-in-turn", 2_000, 2_000, 1, "128"),
        // Too little for all of them, one after the other: rings are written out and used again.
        ("threads-in-turn", 600, 600, 1, "4"),
        ("threads-at-once", 500, 500, 1, "128"),
        ("forks", 3, 5, 4, "128"),
    ] {
        let scratch = Scratch::new();
        let count = count.to_string();
        let job = [job, what, &count];
        let plain = alone(&scratch, "", &job).output().unwrap();
        let with = by_itself(&scratch, &job).env("GAPLESS_RING_MIB", mib).output().unwrap();
        assert_eq!(said(&plain, &with), [""; 0], "{what}");
        assert_eq!(events(&info(&scratch, "run"), "annotation"), ranges, "{what}");
        assert_eq!(manifest(&scratch, "run")["processes"].as_array().unwrap().len(), processes, "{what}");
        nothing_lost(&scratch);
    }
}

#[test]
fn a_disk_that_is_slow_to_give_room_costs_time_and_no_events() {
    let Some(job) = limits_job() else { return };
    let scratch = Scratch::new();
    // As on a disk that is busy with others: each piece of a file takes longer than threads spin for.
    let source = scratch.path().join("slow.c");
    std::fs::write(
        &source,
        "#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <sys/types.h>\n#include <unistd.h>\n\
         int posix_fallocate(int file, off_t from, off_t bytes) {\n\
         int (*real)(int, off_t, off_t) = (int (*)(int, off_t, off_t))dlsym(RTLD_NEXT, \"posix_fallocate\");\n\
         usleep(8000);\nreturn real(file, from, bytes);\n}\n",
    )
    .unwrap();
    let slow = scratch.path().join("slow.so");
    let compiled =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&slow).arg(&source).arg("-ldl").status().unwrap();
    assert!(compiled.success());
    let output = by_itself(&scratch, &[job, "threads-at-once", "100"]).env("LD_PRELOAD", &slow).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    assert_eq!(events(&info(&scratch, "run"), "annotation"), 100);
    nothing_lost(&scratch);
}

#[test]
fn what_a_job_had_told_when_it_was_killed_is_in_its_trace() {
    let Some(job) = limits_job() else { return };
    let scratch = Scratch::new();
    let mut child = by_itself(&scratch, &[job, "loops", "100000000"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // Somewhere between two writes of the ring, which holds 4,096 ranges.
    lines.by_ref().take(70).last().unwrap().unwrap();
    // While it runs there is nothing to be seen yet, and it is not disturbed.
    let output = scratch.command(&["info", "--json", "run"]).output().unwrap();
    assert!(!text(&output.stderr).contains("panicked"), "{}", text(&output.stderr));
    assert_eq!(manifest(&scratch, "run")["finished"], Value::from(false));
    let notices = manifest(&scratch, "run")["notices"].to_string();
    assert!(notices.contains("still run"), "{notices}");
    lines.by_ref().take(30).last().unwrap().unwrap();
    child.kill().unwrap();
    let told: u64 = lines.map_while(Result::ok).last().map_or(100_000, |line| line.parse().unwrap());
    child.wait().unwrap();
    let found = events(&info(&scratch, "run"), "annotation");
    assert!((told..=told + 1_000).contains(&found), "{told} told, {found} found");
    nothing_lost(&scratch);
}

#[test]
fn a_folder_that_holds_a_recording_is_left_alone() {
    let Some(job) = limits_job() else { return };
    let scratch = Scratch::new();
    let job = [job, "loops", "1000"];
    let plain = alone(&scratch, "", &job).output().unwrap();
    by_itself(&scratch, &job).output().unwrap();
    let found = || events(&info(&scratch, "run"), "annotation");
    assert_eq!(found(), 1_000);
    let before = tree(&scratch.path().join("run"));
    let again = by_itself(&scratch, &job).output().unwrap();
    let said = said(&plain, &again);
    assert!(said.len() == 1 && said[0].contains("holds a recording"), "{said:#?}");
    assert_eq!((found(), tree(&scratch.path().join("run"))), (1_000, before));
    // Where nothing can be written, the job goes on.
    let mut nowhere = alone(&scratch, "", &job);
    nowhere.env("GAPLESS_RECORDING", "/proc/nowhere");
    let nowhere = nowhere.output().unwrap();
    assert_eq!((nowhere.status.code(), text(&nowhere.stderr).lines().count()), (Some(0), 1));
}
