//! What a job sees and gets of its surroundings: descriptors, signals, limits, input, pipes, a terminal.

use super::*;

#[test]
fn a_job_has_the_descriptors_signals_and_limits_that_it_has_alone() {
    let scratch = Scratch::new();
    // Without the first 9 of 16 digits of the masks: signals 29 and above, of which the C library has some.
    let look = "for fd in /proc/$$/fd/*; do echo ${fd##*/}; done; \
                sed -nE 's/^(Sig(Blk|Ign):.)[0-9a-f]{9}/\\1/p' /proc/self/status; \
                grep -E '^(Umask|Uid|Groups|NoNewPrivs|Seccomp)' /proc/self/status; cat /proc/self/limits; \
                cat /proc/self/oom_score_adj; ulimit -a; pwd";
    for (folder, setup) in [
        ("plain", ""),
        ("nohup", "trap '' HUP"),
        ("ignored", "trap '' PIPE INT TERM; umask 077; ulimit -c 0; ulimit -n 512"),
        ("descriptors", "exec 5</dev/null 7>/dev/null"),
    ] {
        let said = same(&scratch, setup, &["-o", folder], &["sh", "-c", look]);
        assert!(problems(&said).iter().all(|line| line.contains("nothing in the job called")), "{folder}: {said:#?}");
    }
}

#[test]
fn input_comes_through_to_the_last_byte() {
    let scratch = Scratch::new();
    let input: Vec<u8> = (0..3_000_000u32).flat_map(|i| [(i * 7) as u8]).collect();
    let mut child = recorded(&scratch, "", &["-q", "-o", "run"], &["sh", "-c", "cat; exit 6"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let sent = input.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&sent).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!(output.status.code(), Some(6));
    assert!(output.stdout == input, "{} bytes of {}", output.stdout.len(), input.len());
}

#[test]
fn who_reads_no_more_ends_the_job_as_it_would_alone() {
    let scratch = Scratch::new();
    let job = ["sh", "-c", "while echo y; do :; done 2>/dev/null; exit 9"];
    for (folder, stream) in [("out", "| head -1"), ("err", "2>/dev/full | head -1")] {
        let gapless = env!("CARGO_BIN_EXE_gapless");
        // The exit code of the first program of a pipe, without any particular shell.
        let script = format!("{{ \"$@\"; echo $? >code; }} {stream}");
        let run = |words: &[&str]| {
            let mut command = Command::new("sh");
            command
                .arg("-c")
                .arg(&script)
                .arg("sh")
                .args(words)
                .current_dir(scratch.path())
                .env("GAPLESS_INJECT", inject());
            let output = command.output().unwrap();
            (text(&output.stdout), std::fs::read_to_string(scratch.path().join("code")).unwrap())
        };
        let with: Vec<&str> = [gapless, "record", "-o", folder, "--"].into_iter().chain(job).collect();
        assert_eq!(run(&with), run(&job), "{stream}");
    }
}

/// Runs a script of Python that has a terminal in hand; `$GAPLESS` is the program, the rest what it is given.
fn on_a_terminal(scratch: &Scratch, python: &str, script: &str, job: &[&str]) -> (String, Option<i32>) {
    scratch.write("terminal.py", script);
    let output = Command::new("timeout")
        .args(["60", python, "terminal.py"])
        .args(job)
        .current_dir(scratch.path())
        .env("GAPLESS_INJECT", inject())
        .output()
        .unwrap();
    (text(&output.stdout) + &text(&output.stderr), output.status.code())
}

/// Runs what it is given on a terminal of its own below a shell of a kind, waits for `up`, types, and prints what came
/// and how it ended.
const TERMINAL: &str = r"
import os, pty, signal, sys, time
typed, words = sys.argv[1], sys.argv[2:]
pid, terminal = pty.fork()
if pid == 0:
    # As a shell does: a group of its own in the foreground.
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    ready, is_ready = os.pipe()
    job = os.fork()
    if job == 0:
        os.setpgid(0, 0)
        os.read(ready, 1)
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        os.execvp(words[0], words)
    os.setpgid(job, job)
    os.tcsetpgrp(0, job)
    os.write(is_ready, b'x')
    while True:
        _, status = os.waitpid(job, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            break
        print('\njob stopped by', os.WSTOPSIG(status), flush=True)
        time.sleep(0.3)
        os.killpg(job, signal.SIGCONT)
    print('\njob exit', os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status), flush=True)
    os._exit(0)
seen = b''
def read_until(text):
    global seen
    while text not in seen:
        try:
            got = os.read(terminal, 4096)
        except OSError:
            return False
        if not got:
            return False
        seen += got
    return True
assert read_until(b'the job is up'), seen
os.write(terminal, b'\x1a' if typed == 'stop' else b'\x03')
read_until(b'never')
os.waitpid(pid, 0)
lines = seen.decode().replace('\r', '').replace('^C', '').replace('^Z', '').split('\n')
print(''.join(line + '\n' for line in lines if line.startswith(('job ', 'note'))), end='')
";

/// Counts the interrupts that it gets, and ends by itself.
const INTERRUPTED: &str = "
import signal, sys, time
count = 0
def handler(number, frame):
    global count
    count += 1
if sys.argv[1] == 'count':
    signal.signal(signal.SIGINT, handler)
elif sys.argv[1] == 'default':
    signal.signal(signal.SIGINT, signal.SIG_DFL)
print('the job is up', flush=True)
end = time.monotonic() + 1.5
while time.monotonic() < end:
    time.sleep(0.05)
print('job interrupts', count, flush=True)
sys.exit(17)
";

#[test]
fn keys_of_a_terminal_reach_the_job_once() {
    let Some(python) = python() else { return };
    let scratch = Scratch::new();
    scratch.write("job.py", INTERRUPTED);
    let gapless = env!("CARGO_BIN_EXE_gapless");
    for (index, (key, how)) in
        [("interrupt", "count"), ("interrupt", "default"), ("interrupt", "python"), ("stop", "count")]
            .into_iter()
            .enumerate()
    {
        let folder = format!("run{index}");
        let alone = [key, python, "job.py", how];
        let with = [key, gapless, "record", "-o", &folder, "--", python, "job.py", how];
        let (alone, with) =
            (on_a_terminal(&scratch, python, TERMINAL, &alone), on_a_terminal(&scratch, python, TERMINAL, &with));
        assert_eq!(with, alone, "{key} {how}");
        assert!(with.0.contains("job exit ") && with.1 == Some(0), "{with:?}");
        if how == "count" && key == "interrupt" {
            assert!(with.0.contains("job interrupts 1\njob exit 17"), "{with:?}");
        }
        if key == "stop" {
            assert!(with.0.contains("job stopped by 20\njob interrupts 0\njob exit 17"), "{with:?}");
        }
        assert_eq!(manifest(&scratch, &folder)["finished"], Value::from(true));
    }
}
