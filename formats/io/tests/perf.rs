//! Recordings made here and now, read by us and by perf itself. Where perf is not installed or not permitted, the
//! tests say that they were skipped.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use gapless_formats::{OpenOptions, Silent, open};
use gapless_trace::{EventId, EventKind, Trace, TrackKind};

/// Some work in several processes and threads.
const WORK: &str = "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; (sort </etc/services | sort -r >/dev/null); true";

/// Records [`WORK`] into `folder`; `None` where that is not possible here.
fn record(folder: &Path, options: &[&str]) -> Option<std::path::PathBuf> {
    let path = folder.join("perf.data");
    let run =
        Command::new("perf").arg("record").args(options).arg("-o").arg(&path).args(["--", "sh", "-c", WORK]).output();
    let is_done = run.as_ref().is_ok_and(|run| run.status.success()) && path.exists();
    if !is_done {
        let why = run.map_or_else(|error| error.to_string(), |run| String::from_utf8_lossy(&run.stderr).into_owned());
        eprintln!("skipped: perf record {options:?}: {why}");
        return None;
    }
    Some(path)
}

/// What perf prints for a file.
fn script(path: &Path, options: &[&str]) -> String {
    let run = Command::new("perf").arg("script").args(options).arg("-i").arg(path).output().unwrap();
    String::from_utf8_lossy(&run.stdout).into_owned()
}

fn open_one(path: &Path) -> Trace {
    open(&[path.to_owned()], &OpenOptions::default(), &Silent).unwrap()
}

fn ids(trace: &Trace, kind: EventKind) -> Vec<EventId> {
    (0..trace.events().len() as u32).map(EventId).filter(|&id| trace.event(id).kind == kind).collect()
}

/// (event, process, thread, time in ns, weight, modules of the stack) of each sample.
type Row = (String, String, String, i64, u64, Vec<String>);

fn rows_of(trace: &Trace) -> Vec<Row> {
    let base = trace.ranks()[0].base_time_ns.unwrap_or(0);
    let row = |id: EventId| {
        let event = trace.event(id);
        let (_, track) = trace.track_of(id).unwrap();
        let pid = trace.process(track.process).unwrap().pid;
        let stack = trace.stack_of(id);
        let modules = stack.iter().flat_map(|stack| trace.stacks().frames_of(stack.stack));
        let modules = modules.map(|frame| trace.text(frame.module).to_owned()).collect();
        (
            trace.text(event.category).to_owned(),
            trace.raw_id_text(pid),
            trace.raw_id_text(track.tid),
            event.start.nanos() - base,
            stack.map_or(1, |stack| stack.weight),
            modules,
        )
    };
    let mut rows: Vec<Row> = ids(trace, EventKind::Sample).into_iter().map(row).collect();
    rows.sort();
    rows
}

/// The same from the text, by means of its own: split at blank lines and at spaces.
fn rows_of_script(text: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for block in text.split("\n\n").filter(|block| !block.trim().is_empty()) {
        let mut lines = block.lines().filter(|line| !line.is_empty());
        let head = lines.next().unwrap();
        let words: Vec<&str> = head.split_whitespace().collect();
        let time_at = words.iter().position(|word| word.ends_with(':') && word.contains('.')).unwrap();
        let thread = words[..time_at].iter().rev().find(|word| word.contains('/')).unwrap();
        let (pid, tid) = thread.split_once('/').unwrap();
        let time = words[time_at].trim_end_matches(':').replace('.', "").parse().unwrap();
        let module = |line: &str| {
            let line = line.strip_suffix(')').unwrap();
            let (line, end) = line.strip_suffix(" (deleted)").map_or((line, ""), |line| (line, " (deleted)"));
            format!("{}{end}", &line[line.rfind(" (").unwrap() + 2..])
        };
        let mut modules: Vec<String> = lines.map(module).collect();
        // What stands for something has a frame, if only an unknown one.
        modules.extend(modules.is_empty().then(String::new));
        rows.push((
            words[time_at + 2].strip_suffix(':').unwrap().to_owned(),
            pid.to_owned(),
            tid.to_owned(),
            time,
            words[time_at + 1].parse().unwrap(),
            modules,
        ));
    }
    rows.sort();
    rows
}

/// perf has its own names for what lies in no file.
fn known(module: &str) -> &str {
    if module == "[unknown]" { "" } else { module }
}

#[test]
fn samples_are_those_that_perf_prints() {
    let folder = tempfile::tempdir().unwrap();
    let wanted = ["-F", "comm,pid,tid,time,period,event,ip,sym,dso", "--ns", "--no-inline"];
    for options in [
        &["-g", "-F", "2000"][..],
        &["-g", "-F", "2000", "-e", "cpu-clock,page-faults"],
        &["-g", "-F", "2000", "-a", "-k", "CLOCK_MONOTONIC"],
        &["-g", "-F", "2000", "-z"],
    ] {
        let Some(path) = record(folder.path(), options) else { continue };
        let text = script(&path, &wanted);
        let expected = rows_of_script(&text);
        assert!(expected.len() > 20, "{options:?}: too little was recorded");
        let from_data = open_one(&path);
        assert_eq!(from_data.warnings().lost(), 0, "{options:?}: {:?}", from_data.warnings().sorted());
        let got = rows_of(&from_data);
        assert_eq!(got.len(), expected.len(), "{options:?}");
        let mut frames = (0, 0);
        let mut differing: BTreeMap<String, usize> = BTreeMap::new();
        for (got, expected) in got.iter().zip(&expected) {
            assert_eq!(
                (&got.0, &got.1, &got.2, got.3, got.4),
                (&expected.0, &expected.1, &expected.2, expected.3, expected.4)
            );
            // perf prints no stack at all for a few samples of threads that end.
            frames.1 += got.5.len().abs_diff(expected.5.len());
            for (got, expected) in got.5.iter().zip(&expected.5) {
                if known(got) != known(expected) {
                    *differing.entry(format!("{got} for {expected}")).or_insert(0) += 1;
                }
                frames = (frames.0 + usize::from(known(got) == known(expected)), frames.1 + 1);
            }
        }
        // perf knows some kernel addresses by other names (the vDSO, code made at run time).
        assert!(
            frames.0 * 100 >= frames.1 * 97,
            "{options:?}: {} of {} modules agree: {differing:?}",
            frames.0,
            frames.1
        );

        let file = folder.path().join("perf.txt");
        std::fs::write(&file, &text).unwrap();
        let from_text = open_one(&file);
        let got = rows_of(&from_text);
        let differs = got.iter().zip(&expected).find(|(got, expected)| got != expected);
        assert_eq!((differs, got.len()), (None, expected.len()), "{options:?}");
        assert_eq!(from_text.warnings().lost(), 0, "{options:?}: {:?}", from_text.warnings().sorted());

        // Both say when the clock began; the text to a microsecond.
        std::fs::write(&file, script(&path, &["--header"])).unwrap();
        let bases = [&from_data, &open_one(&file)].map(|trace| trace.ranks()[0].base_time_ns);
        assert_eq!(bases.map(|base| base.is_some()), [options.contains(&"-k"); 2], "{options:?}");
        if let [Some(data), Some(text)] = bases {
            assert!((data - text).abs() <= 1_000, "{data} {text}");
        }
    }
}

/// (core, name, start in ns, duration in ns)
type Run = (String, String, i64, i64);

fn runs(trace: &Trace) -> Vec<Run> {
    let base = trace.ranks()[0].base_time_ns.unwrap_or(0);
    let mut all: Vec<Run> = ids(trace, EventKind::Scheduled)
        .into_iter()
        .map(|id| {
            let (_, track) = trace.track_of(id).unwrap();
            assert_eq!(track.kind, TrackKind::Cpu);
            let event = trace.event(id);
            let name = trace.name(id).to_owned();
            (trace.raw_id_text(track.tid), name, event.start.nanos() - base, event.dur.nanos())
        })
        .collect();
    all.sort();
    all
}

#[test]
fn threads_run_where_the_tracepoint_says() {
    let folder = tempfile::tempdir().unwrap();
    let Some(path) = record(folder.path(), &["-a", "-e", "sched:sched_switch"]) else { return };
    let text = script(&path, &["--ns"]);
    let file = folder.path().join("sched.txt");
    std::fs::write(&file, &text).unwrap();
    // A second reading of the text: the next switch of a core ends what the last one began.
    let mut open_runs: BTreeMap<String, (String, i64)> = BTreeMap::new();
    let mut expected: Vec<Run> = Vec::new();
    for line in text.lines().filter(|line| line.contains("sched:sched_switch:")) {
        let head = &line[..line.find(": sched:sched_switch").unwrap()];
        let time: i64 = head.rsplit(' ').next().unwrap().replace('.', "").parse().unwrap();
        let core = head.rsplit('[').next().unwrap().split(']').next().unwrap();
        let core = core.parse::<i64>().unwrap().to_string();
        if let Some((name, since)) = open_runs.remove(&core) {
            expected.push((core.clone(), name, since, time - since));
        }
        let next = &line[line.find("next_comm=").unwrap() + 10..];
        let (name, rest) = next.split_once(" next_pid=").unwrap();
        if !rest.starts_with("0 ") {
            open_runs.insert(core, (name.to_owned(), time));
        }
    }
    expected.sort();
    assert!(expected.len() > 5);
    for (path, what) in [(&path, "perf.data"), (&file, "perf script")] {
        let trace = open_one(path);
        let mut got = runs(&trace);
        // What still ran at the end lasts until the last event.
        got.retain(|run| open_runs.get(&run.0).is_none_or(|open| (&open.0, open.1) != (&run.1, run.2)));
        assert_eq!(got, expected, "{what}");
        let first = ids(&trace, EventKind::Scheduled)[0];
        let args = trace.args(first).unwrap();
        assert!(
            args.iter().any(|arg| arg.0 == "next_pid") && args.iter().any(|arg| arg.0 == "prev_state"),
            "{what}: {args:?}"
        );
    }
}

#[test]
fn threads_run_where_records_of_switches_say() {
    let folder = tempfile::tempdir().unwrap();
    let Some(path) = record(folder.path(), &["-a", "--switch-events", "-F", "500"]) else { return };
    let text = script(&path, &["--ns", "--show-switch-events"]);
    let file = folder.path().join("switch.txt");
    std::fs::write(&file, &text).unwrap();
    let (data, script) = (open_one(&path), open_one(&file));
    let mut in_text = runs(&script);
    let mut in_data = runs(&data);
    let ends = text.lines().filter(|line| line.contains("PERF_RECORD_SWITCH") && line.contains(" IN ")).count();
    assert!(in_data.len() > 5 && in_data.len() <= ends);
    // perf knows the names of threads that began before; the records do not hold all of them.
    in_text.iter_mut().chain(&mut in_data).for_each(|run| run.1.clear());
    in_text.sort();
    in_data.sort();
    assert_eq!(in_data, in_text);
}

#[test]
fn a_recording_cut_anywhere_or_with_changed_bytes_opens_or_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let Some(path) = record(folder.path(), &["-g", "-F", "500", "-e", "cpu-clock,page-faults"]) else { return };
    let bytes = std::fs::read(path).unwrap();
    let whole = gapless_formats::open_bytes("whole.data", bytes.clone(), &OpenOptions::default()).unwrap();
    let mut seed = 0x2545_F491_4F6C_DD1Du64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    for round in 0..400 {
        let mut damaged = bytes.clone();
        if round % 2 == 0 {
            damaged.truncate(random(bytes.len()));
        } else {
            for _ in 0..1 + random(8) {
                let at = if random(2) == 0 { random(bytes.len()) } else { random(2048.min(bytes.len())) };
                damaged[at] = random(256) as u8;
            }
        }
        if let Ok(trace) = gapless_formats::open_bytes("damaged.data", damaged, &OpenOptions::default()) {
            assert!(trace.events().len() <= whole.events().len() * 2 + 100);
            for id in ids(&trace, EventKind::Sample).into_iter().take(50) {
                let _ = trace.args(id);
            }
        }
    }
}
