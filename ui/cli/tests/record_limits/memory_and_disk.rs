//! Disk, shared memory, address space, file sizes and descriptors that run out, and folders that are not the user's.

use super::*;

#[test]
fn a_disk_with_little_room_ends_the_recording_with_one_line() {
    let Some(python) = python() else { return };
    if !can_mount() {
        return;
    }
    let scratch = Scratch::new();
    scratch.write("steps.py", STEPS);
    let _disk = Disk::new(&scratch, "2m");
    let said = same(&scratch, "", &["-o", "disk/run"], &[python, "steps.py", "200"]);
    let problems = problems(&said);
    assert!(problems.len() == 1 && problems[0].contains("disk"), "{said:#?}");
    no_rings_left(&manifest(&scratch, "disk/run"));
}

#[test]
fn where_the_folder_cannot_be_written_to_the_job_runs_unrecorded_and_one_line_says_so() {
    let Some(python) = python() else { return };
    if !can_mount() {
        return;
    }
    let scratch = Scratch::new();
    scratch.write("steps.py", STEPS);
    let disk = Disk::new(&scratch, "64k");
    // Not a byte is left.
    let _ = std::fs::write(disk.0.join("filler"), vec![0u8; 1 << 20]);
    let said = same(&scratch, "", &["-o", "disk/run"], &[python, "steps.py", "3"]);
    assert!(said.len() == 1 && said[0].contains("not recorded"), "{said:#?}");
    std::fs::remove_file(disk.0.join("filler")).unwrap();
    assert!(Command::new("mount").args(["-o", "remount,ro"]).arg(&disk.0).status().unwrap().success());
    let said = same(&scratch, "", &["-o", "disk/ro"], &[python, "steps.py", "3"]);
    assert!(said.len() == 1 && said[0].contains("not recorded"), "{said:#?}");
}

#[test]
fn where_the_folder_is_not_ours_the_job_runs_unrecorded() {
    let Some(job) = limits_job() else { return };
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let reaches = |path: &Path| {
        Command::new(nobody[0])
            .args(&nobody[1..])
            .args(["test", "-x"])
            .arg(path)
            .status()
            .is_ok_and(|status| status.success())
    };
    if !reaches(Path::new(env!("CARGO_BIN_EXE_gapless"))) || !reaches(Path::new(job)) {
        eprintln!("skipped: another user does not reach the program");
        return;
    }
    let as_nobody = "exec 3>&-";
    let job = [job, "loops", "2000"];
    let with = |command: Command| {
        let mut all = Command::new(nobody[0]);
        all.args(&nobody[1..]).arg(command.get_program()).args(command.get_args()).current_dir(scratch.path());
        all.env("GAPLESS_INJECT", inject());
        all.output().unwrap()
    };
    let alone = with(alone(&scratch, as_nobody, &job));
    let with = with(recorded(&scratch, as_nobody, &["-o", "run"], &job));
    let said = said(&alone, &with);
    assert!(said.len() == 1 && said[0].contains("not recorded") && said[0].contains("ermission"), "{said:#?}");
}

#[test]
fn a_limit_of_file_sizes_neither_ends_the_job_nor_the_recorder() {
    let (Some(python), Some(job)) = (python(), limits_job()) else { return };
    let scratch = Scratch::new();
    scratch.write("steps.py", STEPS);
    // 512 KiB: no segment fits.
    let said = same(&scratch, "ulimit -f 1024", &["-o", "a"], &[python, "steps.py", "50"]);
    assert!(problems(&said).len() <= 1, "{said:#?}");
    // The limit comes while the trace grows.
    if Command::new("prlimit").arg("--version").output().is_err() {
        eprintln!("skipped: there is no prlimit");
        return;
    }
    let mut child = recorded(&scratch, "", &["-o", "b"], &[job, "loops", "400000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    let pid = child.id().to_string();
    assert!(Command::new("prlimit").args(["--pid", &pid, "--fsize=1000000"]).status().unwrap().success());
    let last = lines.map(Result::unwrap).last();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), last.as_deref()), (Some(0), Some("400000")), "{}", text(&output.stderr));
    let said: Vec<String> = text(&output.stderr).lines().map(str::to_owned).collect();
    assert_eq!(problems(&said).iter().filter(|line| line.contains("disk")).count(), 1, "{said:#?}");
    // What is there is whole.
    let info = info(&scratch, "b");
    let warnings = info["warnings"].as_array().unwrap();
    assert!(warnings.iter().all(|warning| warning["severity"] != "lost"), "{info:#}");
}

#[test]
fn few_descriptors_are_enough_for_many_processes() {
    let Some(python) = python() else { return };
    let scratch = Scratch::new();
    scratch.write(
        "many.py",
        "
import subprocess, sys
for i in range(40):
    subprocess.run([sys.executable, '-c', 'import gapless\\nwith gapless.range(\"child\"): pass' if len(sys.argv) > 1 else 'pass'], check=False, stderr=subprocess.DEVNULL)
print('done')
",
    );
    let said = same(&scratch, "ulimit -n 48", &["-o", "run"], &[python, "many.py", "x"]);
    assert_eq!(problems(&said), [""; 0], "{said:#?}");
    let manifest = manifest(&scratch, "run");
    assert_eq!(manifest["processes"].as_array().unwrap().len(), 41);
    assert_eq!(events(&info(&scratch, "run"), "annotation"), 40);
}

#[test]
fn rings_of_processes_that_ended_do_not_stay_in_shared_memory() {
    let Some(python) = python() else { return };
    let scratch = Scratch::new();
    scratch.write(
        "many.py",
        "
import os, subprocess, sys
for i in range(20):
    subprocess.run([sys.executable, '-c', 'pass'])
rings = os.environ.get('GAPLESS_RINGS')
import time
time.sleep(0.3)
print(len([name for name in os.listdir(rings) if name.endswith('.ring')]))
",
    );
    let output = recorded(&scratch, "", &["-o", "run"], &[python, "many.py"]).output().unwrap();
    let left: u64 = text(&output.stdout).trim().parse().unwrap();
    assert!(left <= 2, "{left} ring files; {}", text(&output.stderr));
    assert_eq!(manifest(&scratch, "run")["processes"].as_array().unwrap().len(), 21);
}

#[test]
fn a_limit_of_memory_leaves_the_job_as_it_is() {
    let (Some(python), Some(job)) = (python(), limits_job()) else { return };
    let scratch = Scratch::new();
    scratch.write("steps.py", STEPS);
    // The limit is the job's alone: under it the recorder itself, with the desktop in it, may not even load.
    // Too little for a segment, then enough for it and not for its growth.
    for (folder, limit) in [("a", 60_000), ("b", 200_000)] {
        let limited = format!("ulimit -v {limit}; exec {python} steps.py 20");
        let said = same(&scratch, "", &["-o", folder], &["sh", "-c", &limited]);
        assert!(problems(&said).len() <= 1, "{said:#?}");
    }
    let limited = format!("ulimit -v 80000; exec {job} loops 100000");
    let said = same(&scratch, "", &["-o", "c"], &["sh", "-c", &limited]);
    assert!(problems(&said).len() <= 1, "{said:#?}");
}

#[test]
fn a_full_or_missing_shared_memory_moves_the_rings_or_costs_events_and_nothing_else() {
    let (Some(python), Some(job)) = (python(), limits_job()) else { return };
    if !can_mount() {
        return;
    }
    let scratch = Scratch::new();
    scratch.write("steps.py", STEPS);
    let mounts = [
        ("little", "mount -t tmpfs -o size=1m none /dev/shm"),
        ("read-only", "mount -t tmpfs -o size=1g,ro none /dev/shm"),
        ("none", "umount -l /dev/shm 2>/dev/null; mount -t tmpfs -o ro none /dev/shm"),
    ];
    for (folder, mount) in mounts {
        let job: Vec<&str> = vec!["unshare", "-m", "sh", "-c"];
        let inner = format!("{mount}\nexec \"$@\"");
        let mut alone = job.clone();
        alone.extend([inner.as_str(), "sh", python, "steps.py", "50"]);
        let mut with = job.clone();
        let gapless = env!("CARGO_BIN_EXE_gapless");
        with.extend([inner.as_str(), "sh", gapless, "record", "-o", folder, "--", python, "steps.py", "50"]);
        let run = |words: &[&str]| {
            shell(&scratch, "", &words.iter().map(OsString::from).collect::<Vec<_>>()).output().unwrap()
        };
        let said = said(&run(&alone), &run(&with));
        assert_eq!(problems(&said), [""; 0], "{folder}: {said:#?}");
        assert_eq!(events(&info(&scratch, folder), "step"), 50, "{folder}");
        no_rings_left(&manifest(&scratch, folder));
    }
    // It has room at the start; then the job itself fills it, and no thread gets a ring any more.
    let inner = "mount -t tmpfs -o size=600m none /dev/shm\nexec \"$@\"";
    let fills = format!("head -c 700M /dev/zero >/dev/shm/filler 2>/dev/null; exec {job} threads-at-once 300");
    let words = [
        "unshare",
        "-m",
        "sh",
        "-c",
        inner,
        "sh",
        env!("CARGO_BIN_EXE_gapless"),
        "record",
        "-o",
        "filled",
        "--",
        "sh",
        "-c",
        &fills,
    ];
    let output = shell(&scratch, "", &words.map(OsString::from)).output().unwrap();
    assert_eq!(
        (output.status.code(), text(&output.stdout).as_str()),
        (Some(0), "300 threads\n"),
        "{}",
        text(&output.stderr)
    );
    let said: Vec<String> = text(&output.stderr).lines().map(str::to_owned).collect();
    assert!(problems(&said).len() <= 1, "{said:#?}");
}
