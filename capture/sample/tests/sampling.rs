//! Real programs under the sampler: stacks, switches, lives of processes, and what is left where less is permitted.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use gapless_sample::on_cpu::{ThreadInterval, ThreadState, ThreadStates};
use gapless_sample::{KernelFrames, NoticeKind, ProcessChange, Sample, SampleEvent, SampleOptions, Sampler, StackKind};
use support::*;

fn native(frequency_hz: u32) -> SampleOptions {
    SampleOptions { frequency_hz, python: false, ..SampleOptions::default() }
}

fn intervals(events: &[SampleEvent]) -> (Vec<ThreadInterval>, u64) {
    let mut states = ThreadStates::new();
    let mut out = Vec::new();
    for event in events {
        states.event(event, &mut |interval| out.push(interval));
    }
    (out, states.gaps())
}

fn running_s(intervals: &[ThreadInterval], pid: u32) -> f64 {
    let running = intervals.iter().filter(|i| i.pid == pid && matches!(i.state, ThreadState::Running { .. }));
    running.map(|interval| (interval.end_ns - interval.start_ns) as f64 * 1e-9).sum()
}

const CHAIN: [&str; 4] = ["hot_function", "middle_function", "outer_function", "main"];

/// Share of the samples inside the hot function that show the whole chain to `main`.
fn whole_chains(samples: &[&Sample]) -> f64 {
    let hot: Vec<Vec<&str>> =
        samples.iter().map(|sample| names(sample)).filter(|names| names.contains(&"hot_function")).collect();
    assert!(hot.len() * 10 >= samples.len() * 9, "{} of {} samples are hot", hot.len(), samples.len());
    if let Some(broken) = hot.iter().find(|names| !holds(names, &CHAIN)) {
        eprintln!("a chain that is not whole: {broken:?}");
    }
    hot.iter().filter(|names| holds(names, &CHAIN)).count() as f64 / hot.len() as f64
}

#[test]
fn frame_pointers_give_the_whole_chain() {
    let folder = open_folder();
    let Some(program) = compile(folder.path(), "chain.c", FRAME_POINTERS) else { return };
    let outcome = sampled(&program, &["1.0"], native(199));
    if !outcome.has_perf("frame_pointers_give_the_whole_chain") {
        return;
    }
    let samples: Vec<&Sample> = outcome.samples(StackKind::Native).filter(|s| s.pid == outcome.pid).collect();
    let whole = whole_chains(&samples);
    // A sample in the first or last instructions of a function has no frame of its own yet.
    assert!(whole > 0.98, "{whole}");
    let cpu_s: f64 = outcome.stdout.trim().parse().unwrap();
    // One sample each 1/199 s of running time; some of it is the shell's before, and the kernel's where not permitted.
    let expected = cpu_s * 199.0;
    eprintln!("{} samples of {expected:.1} expected, {whole} whole", samples.len());
    assert!((samples.len() as f64 - expected).abs() < 0.05 * expected + 3.0, "{} of {expected}", samples.len());
    assert_eq!(outcome.lost(), 0);
    let hot = samples.iter().flat_map(|s| &s.stack).find(|frame| &*frame.name == "hot_function").unwrap();
    assert_eq!(&*hot.module, "chain");
    assert!(hot.file.as_ref().unwrap().ends_with("chain.c"), "{hot:?}");
    let source = std::fs::read_to_string(programs().join("chain.c")).unwrap();
    let line = source.lines().nth(hot.line.unwrap() as usize - 1).unwrap();
    assert!(line.contains("sink"), "{line}");
    assert!(samples.windows(2).all(|pair| pair[0].monotonic_ns <= pair[1].monotonic_ns));
}

#[test]
fn unwind_tables_give_the_whole_chain_without_frame_pointers() {
    let folder = open_folder();
    let Some(program) = compile(folder.path(), "chain.c", NO_FRAME_POINTERS) else { return };
    let plain = sampled(&program, &["0.4"], native(199));
    let unwound = sampled(&program, &["0.6"], SampleOptions { unwind_stack_bytes: Some(8192), ..native(199) });
    if !plain.has_perf("unwind_tables_give_the_whole_chain_without_frame_pointers") {
        return;
    }
    if let Some(notice) = unwound.notices.iter().find(|notice| notice.kind == NoticeKind::NoUnwinding) {
        eprintln!("skipped: {notice}");
        return;
    }
    let of = |outcome: &Outcome| {
        whole_chains(&outcome.samples(StackKind::Native).filter(|s| s.pid == outcome.pid).collect::<Vec<_>>())
    };
    let (plain_share, unwound_share) = (of(&plain), of(&unwound));
    eprintln!("whole chains: {plain_share} by frame pointers, {unwound_share} by tables");
    // Without frame pointers the chain is broken, else this test would show nothing.
    assert!(plain_share < 0.1 && unwound_share > 0.98, "{plain_share} {unwound_share}");
    // The C library has no frame pointers either: the way to the very first function leads through it.
    let deepest = unwound.samples(StackKind::Native).max_by_key(|sample| sample.stack.len()).unwrap();
    assert!(names(deepest).contains(&"_start"), "{:?}", names(deepest));
}

#[test]
fn a_process_that_runs_already_is_not_counted_twice() {
    let folder = open_folder();
    let Some(program) = compile(folder.path(), "chain.c", FRAME_POINTERS) else { return };
    let mut child = Command::new(&program).args(["1.0", "3"]).stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let (mut sampler, notices) = Sampler::start(SampleOptions { root_pids: vec![child.id()], ..native(199) });
    let mut events = Vec::new();
    while child.try_wait().unwrap().is_none() {
        sampler.poll(&mut |event| events.push(event));
        std::thread::sleep(Duration::from_millis(10));
    }
    sampler.finish(&mut |event| events.push(event));
    let outcome = Outcome { pid: child.id(), events, notices, stdout: String::new() };
    if !outcome.has_perf("a_process_that_runs_already_is_not_counted_twice") {
        return;
    }
    let samples: Vec<&Sample> = outcome.samples(StackKind::Native).collect();
    assert!(whole_chains(&samples.iter().copied().filter(|s| s.tid == s.pid).collect::<Vec<_>>()) > 0.98);
    let mut per_thread: BTreeMap<u32, usize> = BTreeMap::new();
    for sample in &samples {
        *per_thread.entry(sample.tid).or_default() += 1;
    }
    assert_eq!(per_thread.len(), 4, "{per_thread:?}");
    let (intervals, gaps) = intervals(&outcome.events);
    assert_eq!((gaps, outcome.lost()), (0, 0));
    for (tid, count) in per_thread {
        let own: Vec<ThreadInterval> = intervals.iter().copied().filter(|interval| interval.tid == tid).collect();
        let expected = running_s(&own, outcome.pid) * 199.0;
        // The part before the first switch is sampled, and in no interval.
        assert!(count as f64 > expected * 0.9 - 3.0 && (count as f64) < expected * 1.3 + 8.0, "{count} of {expected}");
    }
}

#[test]
fn half_asleep_is_half_off_the_processor() {
    let folder = open_folder();
    let Some(program) = compile(folder.path(), "half.c", FRAME_POINTERS) else { return };
    let outcome = sampled(&program, &["25"], native(99));
    if !outcome.has_perf("half_asleep_is_half_off_the_processor") {
        return;
    }
    let cpu_s: f64 = outcome.stdout.trim().parse().unwrap();
    let (mut all, gaps) = intervals(&outcome.events);
    assert_eq!((gaps, outcome.lost()), (0, 0));
    let exec_ns = outcome
        .events
        .iter()
        .rev()
        .find_map(|event| match event {
            SampleEvent::Process(p) if p.pid == outcome.pid && matches!(p.change, ProcessChange::Exec { .. }) => {
                Some(p.monotonic_ns)
            }
            _ => None,
        })
        .unwrap();
    all.retain(|interval| interval.pid == outcome.pid && interval.end_ns > exec_ns);
    for interval in &mut all {
        interval.start_ns = interval.start_ns.max(exec_ns);
    }
    // From the program's start to its end without a hole.
    assert!(all.windows(2).all(|pair| pair[0].end_ns == pair[1].start_ns));
    let running = running_s(&all, outcome.pid);
    // The program's own clock began before its first instruction and ended before its last: 2 % and 10 ms.
    assert!((running - cpu_s).abs() < 0.02 * cpu_s + 0.010, "{running} by switches, {cpu_s} by its own clock");
    let off = |wanted: bool| -> Vec<f64> {
        all.iter()
            .filter(|i| i.state == ThreadState::Off { preempted: wanted })
            .map(|i| (i.end_ns - i.start_ns) as f64 * 1e-9)
            .collect()
    };
    let asleep = off(false);
    let naps = asleep.iter().filter(|seconds| **seconds >= 0.020).count();
    assert!((25..=26).contains(&naps), "{asleep:?}");
    let (asleep, preempted): (f64, f64) = (asleep.iter().sum(), off(true).iter().sum());
    eprintln!("{running} s running, {cpu_s} s by its own clock, {asleep} s asleep, {preempted} s preempted");
    // Half of the time that other programs left to it. A nap is never shorter than it was meant; on a busy machine it
    // takes longer until the thread has a processor again, so the tolerance is one-sided: from 35 % to 51 %.
    let share = running / (running + asleep);
    assert!((0.35..0.51).contains(&share), "{share} running of what was not preempted");
}

#[test]
fn lives_of_processes_are_told() {
    let folder = open_folder();
    let script = folder.path().join("job.sh");
    std::fs::write(&script, "/bin/true\n( exec sleep 0.1 ) & wait\n").unwrap();
    let outcome = sampled(Path::new("/bin/sh"), &[script.to_str().unwrap()], native(99));
    if !outcome.has_perf("lives_of_processes_are_told") {
        return;
    }
    let mut lives: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for event in &outcome.events {
        if let SampleEvent::Process(process) = event {
            let word = match &process.change {
                ProcessChange::Fork { parent_pid } => {
                    format!("fork of {}", if *parent_pid == outcome.pid { "root" } else { "?" })
                }
                ProcessChange::Exec { name } => format!("exec {name}"),
                ProcessChange::ThreadStart => "start".into(),
                ProcessChange::ThreadName { name } => format!("name {name}"),
                ProcessChange::ThreadExit => "end".into(),
                ProcessChange::Exit => "exit".into(),
            };
            lives.entry(process.pid).or_default().push(word);
        }
    }
    assert_eq!(lives.remove(&outcome.pid).unwrap(), ["name sh", "exec sh", "end", "exit"]);
    let children: Vec<Vec<String>> = lives.into_values().collect();
    assert_eq!(
        children,
        [["fork of root", "start", "exec true", "end", "exit"], ["fork of root", "start", "exec sleep", "end", "exit"]]
    );
}

#[test]
fn frames_of_the_kernel_only_where_wanted() {
    let program = Path::new("/bin/dd");
    let arguments = ["if=/dev/zero", "of=/dev/null", "bs=1M", "count=20000", "status=none"];
    let with = sampled(program, &arguments, SampleOptions { kernel: KernelFrames::On, ..native(199) });
    let without = sampled(program, &arguments, SampleOptions { kernel: KernelFrames::Off, ..native(199) });
    if !with.has_perf("frames_of_the_kernel_only_where_wanted") {
        return;
    }
    let in_kernel = |outcome: &Outcome| {
        outcome.samples(StackKind::Native).filter(|s| s.stack.iter().any(|frame| frame.is_kernel)).count()
    };
    assert_eq!(in_kernel(&without), 0);
    if let Some(notice) = with.notices.iter().find(|notice| notice.kind == NoticeKind::UserOnly) {
        assert_eq!(in_kernel(&with), 0);
        eprintln!("frames_of_the_kernel_only_where_wanted is skipped in half: {notice}");
        return;
    }
    let all = with.samples(StackKind::Native).count();
    // Nearly all time of this program is spent in the kernel.
    assert!(all > 20 && in_kernel(&with) * 2 > all, "{} of {all}", in_kernel(&with));
    if !with.notices.iter().any(|notice| notice.kind == NoticeKind::KernelNames) {
        let named = with.samples(StackKind::Native).any(|s| names(s).iter().any(|name| name.contains("read")));
        assert!(named, "no frame of the kernel has a name");
    }
}

#[test]
fn what_is_not_there_is_said() {
    let (sampler, notices) = Sampler::start(SampleOptions { root_pids: vec![u32::MAX - 1], ..native(99) });
    if notices.iter().any(|notice| notice.kind == NoticeKind::NoPerf) {
        eprintln!("what_is_not_there_is_said is skipped: {}", notices[0]);
        return;
    }
    assert!(notices.iter().any(|n| n.text.ends_with("is not sampled: it does not exist")), "{notices:?}");
    sampler.finish(&mut |event| assert!(!matches!(event, SampleEvent::Sample(_))));
}

/// The tests above once more as a user without rights, where we have rights to give up.
#[test]
fn without_rights() {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if !is_root {
        eprintln!("without_rights is skipped: it is for root, the other tests run without rights already");
        return;
    }
    let mut foreign = Command::new("python3").args(["-c", "import time; time.sleep(60)"]).spawn().unwrap();
    let foreign_pid = foreign.id().to_string();
    let run = |filter: &[&str]| {
        let own = std::env::current_exe().unwrap();
        Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--"])
            .arg(own)
            .args(filter)
            .args(["--exact", "--nocapture", "--include-ignored"])
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env_remove("TMPDIR")
            .env("GAPLESS_TEST_FOREIGN", &foreign_pid)
            .current_dir("/")
            .output()
    };
    let ran = run(&[
        "frame_pointers_give_the_whole_chain",
        "unwind_tables_give_the_whole_chain_without_frame_pointers",
        "a_process_that_runs_already_is_not_counted_twice",
        "half_asleep_is_half_off_the_processor",
        "lives_of_processes_are_told",
        "frames_of_the_kernel_only_where_wanted",
        "python::python_stacks_of_threads_and_children",
        "processes_of_others_are_refused",
    ]);
    foreign.kill().unwrap();
    foreign.wait().unwrap();
    let output = match ran {
        Ok(output) => output,
        Err(error) => {
            eprintln!("without_rights is skipped: no setpriv here ({error})");
            return;
        }
    };
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if stderr.contains("Permission denied") && stdout.is_empty() {
        eprintln!("without_rights is skipped: other users cannot run this test's program ({})", stderr.trim());
        return;
    }
    eprintln!("{stdout}{stderr}");
    assert!(output.status.success());
    assert!(stdout.contains("8 passed"), "{stdout}");
}

/// For users without rights; root may look at everybody.
#[test]
#[ignore = "run by without_rights"]
fn processes_of_others_are_refused() {
    let foreign = std::env::var("GAPLESS_TEST_FOREIGN").unwrap().parse().unwrap();
    let options = SampleOptions { root_pids: vec![foreign], ..SampleOptions::default() };
    let (mut sampler, notices) = Sampler::start(options);
    let perf = notices.iter().find(|n| matches!(n.kind, NoticeKind::Process | NoticeKind::NoPerf)).unwrap();
    assert!(perf.text.contains("Permission denied") || perf.text.contains("not permitted"), "{perf}");
    let refused =
        |event: &SampleEvent| matches!(event, SampleEvent::Notice(notice) if notice.kind == NoticeKind::NoPython);
    let mut events = Vec::new();
    let begin = std::time::Instant::now();
    // It may not yet be the interpreter, but what starts it.
    while cfg!(feature = "python") && begin.elapsed() < Duration::from_secs(30) && !events.iter().any(refused) {
        std::thread::sleep(Duration::from_millis(50));
        sampler.poll(&mut |event| events.push(event));
    }
    sampler.finish(&mut |event| events.push(event));
    assert!(!events.iter().any(|event| matches!(event, SampleEvent::Sample(_))));
    let told = events.iter().filter(|event| refused(event)).count();
    assert_eq!(told, usize::from(cfg!(feature = "python")), "{events:?}");
}

/// Where files run out, one line says how to get more, and nothing else happens.
#[test]
fn too_few_open_files_are_said() {
    if std::env::var_os("GAPLESS_TEST_FEW_FILES").is_none() {
        let limited = Command::new("sh")
            .args(["-c", "ulimit -n 16; exec \"$@\"", "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["too_few_open_files_are_said", "--exact", "--nocapture", "--test-threads=1"])
            .env("GAPLESS_TEST_FEW_FILES", "1")
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&limited.stderr);
        eprintln!("{stderr}");
        assert!(limited.status.success());
        return;
    }
    let threads: Vec<_> = (0..20).map(|_| std::thread::spawn(|| std::thread::sleep(Duration::from_secs(2)))).collect();
    let options = SampleOptions { root_pids: vec![std::process::id()], python: false, ..SampleOptions::default() };
    let (mut sampler, notices) = Sampler::start(options);
    eprintln!("{notices:?}");
    let refused = |n: &&gapless_sample::Notice| matches!(n.kind, NoticeKind::Process | NoticeKind::NoPerf);
    let told: Vec<_> = notices.iter().filter(refused).collect();
    assert!(told.len() == 1 && !told[0].text.is_empty(), "{notices:?}");
    if told[0].text.contains("Too many open files") {
        assert!(told[0].text.contains("ulimit -n"), "{notices:?}");
    }
    sampler.poll(&mut |_| {});
    drop(sampler);
    assert!(threads.into_iter().all(|thread| thread.join().is_ok()));
}

#[cfg(feature = "python")]
mod python {
    use super::*;

    fn check(interpreter: &Path, options: SampleOptions) {
        let script = programs().join("stacks.py");
        let frequency = f64::from(options.frequency_hz);
        let outcome = sampled(interpreter, &[script.to_str().unwrap(), "2.0"], options);
        let stated: Vec<u32> = outcome.stdout.split_whitespace().map(|word| word.parse().unwrap()).collect();
        let [main, thread, waiting, forked, spawned] = stated[..] else { panic!("{}", outcome.stdout) };
        assert_eq!(main, outcome.pid);
        let late: Vec<String> = outcome
            .events
            .iter()
            .filter_map(|e| if let SampleEvent::Notice(notice) = e { Some(notice.text.clone()) } else { None })
            .collect();
        if late.iter().any(|text| text.contains("not permitted")) {
            eprintln!("python_stacks_of_threads_and_children is skipped: {late:?}");
            return;
        }
        // Interpreters before 3.11 do not say which thread of the kernel theirs is: only processes with one are told.
        let modern = outcome.samples(StackKind::Python).any(|s| s.pid == main && s.tid == thread);
        let count = |pid: u32, tid: u32, chain: &[&str]| {
            outcome
                .samples(StackKind::Python)
                .filter(|s| s.pid == pid && s.tid == tid && holds(&names(s), chain))
                .count()
        };
        let mut expected = vec![
            (forked, forked, vec!["spin", "outer_child", "run"]),
            (spawned, spawned, vec!["spin", "outer_child", "run"]),
        ];
        if modern {
            expected.push((main, main, vec!["spin", "inner_main", "outer_main", "<module>"]));
            expected.push((main, thread, vec!["spin", "outer_thread", "run"]));
            expected.push((main, waiting, vec!["wait", "wait", "waiting_thread", "run"]));
        }
        for (pid, tid, chain) in expected {
            let count = count(pid, tid, &chain);
            // Two seconds at the full rate at most. How much less it is on a busy machine is nothing to assert: a tenth
            // shows that it is sampled all along.
            let most = 2.3 * frequency;
            let least = 0.2 * frequency;
            if count == 0 {
                let all: std::collections::BTreeSet<_> =
                    outcome.samples(StackKind::Python).map(|s| (s.pid, s.tid, names(s).join(";"))).collect();
                eprintln!("{stated:?} {all:?}");
            }
            eprintln!("{interpreter:?}: {count} samples of {chain:?}, at most {most}; {late:?}");
            assert!(count as f64 > least && (count as f64) < most * 1.1, "{chain:?} in {count} samples, {late:?}");
        }
        let spin = outcome.samples(StackKind::Python).flat_map(|s| &s.stack).find(|f| &*f.name == "spin").unwrap();
        assert!(spin.is_python && spin.module.starts_with("python3.") && !spin.is_kernel, "{spin:?}");
        assert!(spin.file.as_ref().unwrap().ends_with("stacks.py"));
        let line = spin.line.unwrap();
        assert!((11..=17).contains(&line), "{line}");
        if modern {
            let waits = |running: bool| {
                let of = outcome.samples(StackKind::Python).filter(|s| s.tid == waiting && s.running == running);
                of.count()
            };
            assert!(waits(false) > 20 * waits(true), "{} waiting, {} running", waits(false), waits(true));
        }
    }

    #[test]
    fn python_stacks_of_threads_and_children() {
        let pythons = pythons();
        if pythons.is_empty() {
            eprintln!("python_stacks_of_threads_and_children is skipped: no Python here");
        }
        for interpreter in pythons {
            check(&interpreter, SampleOptions { native: false, python_budget: 1.0, ..SampleOptions::default() });
        }
    }

    /// Without the kernel telling of new processes they are searched for.
    #[test]
    fn python_without_perf_events() {
        let Some(interpreter) = pythons().into_iter().next() else {
            eprintln!("python_without_perf_events is skipped: no Python here");
            return;
        };
        let options =
            SampleOptions { native: false, context_switches: false, python_budget: 1.0, ..SampleOptions::default() };
        check(&interpreter, options);
    }

    /// A budget that cannot hold the wanted rate lowers it, and a line says so.
    #[test]
    fn the_rate_goes_down_to_the_budget() {
        let Some(interpreter) = pythons().into_iter().next() else {
            eprintln!("the_rate_goes_down_to_the_budget is skipped: no Python here");
            return;
        };
        let script = programs().join("stacks.py");
        let options = SampleOptions {
            frequency_hz: 1000,
            native: false,
            context_switches: false,
            python_budget: 0.01,
            ..SampleOptions::default()
        };
        let begin = std::time::Instant::now();
        let outcome = sampled(&interpreter, &[script.to_str().unwrap(), "2.0"], options);
        let wall_s = begin.elapsed().as_secs_f64();
        let lines: Vec<_> = outcome
            .events
            .iter()
            .filter_map(|e| if let SampleEvent::Notice(n) = e { Some((n.kind, n.text.clone())) } else { None })
            .collect();
        assert!(lines.iter().any(|(kind, _)| *kind == NoticeKind::Rate), "{lines:?}");
        assert!(lines.len() < 20, "{lines:?}");
        let mut rounds: Vec<(u32, u64)> = outcome.samples(StackKind::Python).map(|s| (s.pid, s.monotonic_ns)).collect();
        rounds.sort_unstable();
        rounds.dedup();
        // At the full rate there would be a thousand a second of each of the three processes.
        assert!((rounds.len() as f64) < wall_s * 3.0 * 500.0, "{} in {wall_s} s", rounds.len());
    }
}
