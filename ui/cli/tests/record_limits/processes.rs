//! Threads, forks, chains of programs, daemons, and jobs that take things away from themselves.

use super::*;

#[test]
fn thousands_of_threads_are_all_recorded() {
    let Some(job) = limits_job() else { return };
    let scratch = Scratch::new();
    for (folder, what, count) in [("turn", "threads-in-turn", 10_000), ("once", "threads-at-once", 2_000)] {
        let said = same(&scratch, "", &["-o", folder], &[job, what, &count.to_string()]);
        assert!(problems(&said).len() <= 1, "{said:#?}");
        let found = events(&info(&scratch, folder), "annotation");
        let lost = lost(&manifest(&scratch, folder));
        assert_eq!(found + lost, count, "{folder}: {found} found, {lost} lost");
        assert_eq!(lost, 0, "{folder}");
    }
}

#[test]
fn a_fork_in_the_middle_of_a_range_disturbs_neither_side() {
    let Some(job) = limits_job() else { return };
    let scratch = Scratch::new();
    let said = same(&scratch, "", &["-o", "c"], &[job, "forks", "3"]);
    assert_eq!(problems(&said), [""; 0], "{said:#?}");
    // The parent's two, and one of each child; ends of what the parent began are counted, not made up.
    let info_c = info(&scratch, "c");
    assert_eq!(events(&info_c, "annotation"), 5, "{info_c:#}");
    let manifest_c = manifest(&scratch, "c");
    let orphans: u64 = manifest_c["processes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|process| process["lost"]["ends_without_begin"].as_u64().unwrap())
        .sum();
    assert_eq!(orphans, 6, "{manifest_c:#}");

    let Some(python) = python() else { return };
    scratch.write(
        "fork.py",
        "
import os, sys
try:
    from gapless import range as mark
except ImportError:
    import contextlib
    mark = lambda name: contextlib.nullcontext()
with mark('outer'):
    with mark('inner'):
        child = os.fork()
        with mark('both'):
            pass
    if child == 0:
        sys.exit(9)
    _, status = os.waitpid(child, 0)
print('child', os.WEXITSTATUS(status))
",
    );
    let said = same(&scratch, "", &["-o", "python"], &[python, "fork.py"]);
    assert_eq!(problems(&said), [""; 0], "{said:#?}");
    let info = info(&scratch, "python");
    // outer and inner of the parent, `both` of each.
    assert_eq!(events(&info, "annotation"), 4, "{info:#}");
}

#[test]
fn chains_of_programs_in_one_process_are_recorded_one_by_one() {
    let Some(python) = python() else { return };
    let scratch = Scratch::new();
    scratch.write(
        "chain.py",
        "
import os, sys
try:
    from gapless import range as mark
except ImportError:
    import contextlib
    mark = lambda name: contextlib.nullcontext()
left = int(sys.argv[1])
with mark(f'program {left}'):
    if left:
        os.execv('/bin/sh', ['sh', '-c', 'exec \"$0\" \"$@\"', sys.executable, 'chain.py', str(left - 1)])
print('pid is parent of none', flush=True)
sys.exit(33)
",
    );
    let said = same(&scratch, "", &["-o", "run"], &[python, "chain.py", "6"]);
    assert_eq!(problems(&said), [""; 0], "{said:#?}");
    let info = info(&scratch, "run");
    assert_eq!((events(&info, "annotation"), info["sources"].as_array().unwrap().len()), (7, 7), "{info:#}");
}

#[test]
fn children_that_outlive_the_job_go_on_and_hold_nobody_up() {
    let Some(python) = python() else { return };
    let scratch = Scratch::new();
    scratch.write(
        "daemon.py",
        "
import os, sys, time
up, is_up = os.pipe()
if os.fork():
    os.read(up, 1)
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
null = os.open('/dev/null', os.O_RDWR)
for fd in (0, 1, 2):
    os.dup2(null, fd)
try:
    from gapless import range as mark
except ImportError:
    import contextlib
    mark = lambda name: contextlib.nullcontext()
# Longer than the recorder waits, and its rings are gone by then.
for i in range(40):
    with mark('late'):
        time.sleep(0.05)
    if i == 0:
        # The recorder looks for new processes many times a second.
        os.write(is_up, b'x')
open(sys.argv[1], 'w').write('lived')
",
    );
    let began = Instant::now();
    let said = same(&scratch, "", &["-o", "run"], &[python, "daemon.py", "out"]);
    assert!(began.elapsed() < Duration::from_secs(20));
    let problems = problems(&said);
    assert!(problems.len() == 1 && problems[0].contains("went on after it ended"), "{said:#?}");
    let manifest = manifest(&scratch, "run");
    no_rings_left(&manifest);
    let _ = std::fs::remove_file(scratch.path().join("out"));
    let until = Instant::now() + Duration::from_secs(20);
    while !scratch.path().join("out").exists() {
        assert!(Instant::now() < until, "the daemon did not live on");
        std::thread::sleep(Duration::from_millis(50));
    }
    no_rings_left(&manifest);
}

#[test]
fn a_job_that_closes_all_descriptors_goes_on_and_is_recorded() {
    let Some(job) = limits_job() else { return };
    let scratch = Scratch::new();
    let said = same(&scratch, "", &["-o", "run"], &[job, "closes-all", "20000"]);
    assert!(problems(&said).len() <= 1, "{said:#?}");
    let found = events(&info(&scratch, "run"), "annotation");
    assert_eq!(found + lost(&manifest(&scratch, "run")), 20_002);
}

#[test]
fn a_job_that_clears_its_environment_goes_on_and_is_recorded() {
    let Some(job) = limits_job() else { return };
    let scratch = Scratch::new();
    let said = same(&scratch, "", &["-o", "run"], &[job, "clears-environment"]);
    assert_eq!(problems(&said), [""; 0], "{said:#?}");
    let info_run = info(&scratch, "run");
    assert_eq!(events(&info_run, "annotation"), 4, "{info_run:#}");

    let Some(python) = python() else { return };
    scratch.write(
        "env.py",
        "
import os, subprocess, sys
os.environ.clear()
os.environ['PYTHONPATH'] = '/nowhere'
print(subprocess.run([sys.executable, '-c', 'print(len(__import__(\"os\").environ))'], capture_output=True, text=True))
",
    );
    let said = same(&scratch, "", &["-o", "python"], &[python, "env.py"]);
    assert_eq!(problems(&said), [""; 0], "{said:#?}");
}

/// What a program can see of how it was started must not show the recorder.

#[test]
fn a_job_that_crashes_ends_with_its_own_signal_and_its_open_ranges_are_shown() {
    let Some(job) = limits_job() else { return };
    let scratch = Scratch::new();
    let said = same(&scratch, "ulimit -c 0", &["-o", "run"], &[job, "crashes"]);
    assert_eq!(problems(&said), [""; 0], "{said:#?}");
    let manifest = manifest(&scratch, "run");
    assert_eq!(manifest["exit"], Value::from(-11));
    assert_eq!(events(&info(&scratch, "run"), "annotation"), 2);
}
