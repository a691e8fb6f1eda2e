//! `gapless record` when somebody is killed: `kill_record [--gapless PATH] [--times 100] [--seed 1]`.
//!
//! A job of two ranks (processes with a number each) records ranges and tells through a pipe how many it has made; it
//! says so after each. At a moment that the seed chooses, the job, the recorder, or one rank gets SIGKILL. Then:
//!
//! - what a process had told before it died is in its trace, and at most the one range more that it could not tell any
//!   more;
//! - whoever was not killed ends as it does without: the other rank makes all its ranges and they are all in the trace,
//!   the recorder ends as its job did;
//! - the recording opens without a warning that something is lost;
//! - after the last opening no ring is left.
//!
//! Prints a table; ends with 1 where a check failed, after a line for each.
#![allow(clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(not(target_os = "linux"), allow(dead_code, unused_imports))]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use serde_json::Value;

#[derive(Parser)]
struct Args {
    /// The program; without it the one beside this.
    #[arg(long)]
    gapless: Option<PathBuf>,
    /// Kills of each kind.
    #[arg(long, default_value_t = 100)]
    times: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only these.
    #[arg(long)]
    kind: Vec<Kind>,
    /// Leaves the folders of kills that failed.
    #[arg(long)]
    keep: bool,
    /// One rank of the job: what this program runs as below the recorder.
    #[arg(long, hide = true)]
    rank: Option<u32>,
    /// The job that starts two ranks.
    #[arg(long, hide = true)]
    launcher: bool,
    #[arg(long, hide = true, default_value_t = RANGES)]
    ranges: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// The only process of a job.
    Job,
    /// The recorder, while a job of two ranks runs.
    Recorder,
    /// One of the two ranks of a job.
    Rank,
}

impl Kind {
    fn is_of_two_ranks(self) -> bool {
        self != Kind::Job
    }
}

/// Ranges of a rank: about a third of a second of them.
const RANGES: u64 = 3_000;

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end.max(1)
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("capture is for Linux");
    ExitCode::FAILURE
}

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    let args = Args::parse();
    let result = match args.rank {
        Some(rank) => rank_job(rank, args.ranges).map(|()| true),
        None if args.launcher => launcher(args.ranges).map(|()| true),
        None => attack(&args),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A rank: a range, then a line that says so. Its writer is the one that the library inside jobs is built on.
#[cfg(target_os = "linux")]
fn rank_job(rank: u32, ranges: u64) -> Result<()> {
    use gapless_ring::layout::{Class, Kind, Record};
    use gapless_ring::writer;
    let mut out = std::io::stdout();
    for done in 1..=ranges {
        let _ = writer::with(|thread| {
            let name = thread.name(b"a range");
            thread.push(Record { kind: Kind::Push as u8, class: Class::Annotation as u8, name, ..Record::default() });
            thread.pop();
        });
        // One write each, so that lines of two ranks do not mix.
        out.write_all(format!("{rank} {} {done}\n", std::process::id()).as_bytes())?;
        if done % 8 == 0 {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
    writer::finish();
    Ok(())
}

/// Starts two ranks and waits for both; a dead one is no reason to end the other.
fn launcher(ranges: u64) -> Result<()> {
    let this = std::env::current_exe()?;
    let start = |rank: u32| {
        let mut command = Command::new(&this);
        command.args(["--rank", &rank.to_string(), "--ranges", &ranges.to_string()]);
        command.env("RANK", rank.to_string()).env("WORLD_SIZE", "2").spawn()
    };
    for mut rank in [start(0)?, start(1)?] {
        rank.wait()?;
    }
    Ok(())
}

/// What a job has told of its processes: by process id, its rank and how many ranges.
type Told = BTreeMap<u32, (u32, u64)>;

/// What was found after one kill.
struct Outcome {
    /// Ranges that were told before it; all of them are in the trace.
    told_before: u64,
    /// Ranges in the trace beyond what was told: the one that could not be told any more.
    untold: u64,
    recovered: bool,
}

fn attack(args: &Args) -> Result<bool> {
    let this = std::env::current_exe()?;
    let beside = |name: &str| this.parent().map(|folder| folder.join(name)).unwrap_or_default();
    let gapless = args.gapless.clone().unwrap_or_else(|| beside("gapless")).canonicalize();
    let gapless = gapless.context("there is no gapless beside this program: build it, or name it with --gapless")?;
    let kinds = if args.kind.is_empty() { vec![Kind::Job, Kind::Recorder, Kind::Rank] } else { args.kind.clone() };
    println!("seed {}, {} kills of each kind, {RANGES} ranges a rank", args.seed, args.times);
    println!(
        "| killed | kills | before the first range | ranges told before | of them in the trace | ranges that could not be told | taken up afterwards | failures |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|");
    let mut failures = 0;
    for kind in kinds {
        let (mut early, mut told, mut untold, mut recovered, mut failed) = (0u64, 0u64, 0u64, 0u64, 0u64);
        for time in 0..args.times {
            let mut random = Random((args.seed << 32 | time << 8 | kind as u64) + 1);
            random.next();
            match kill_once(kind, &gapless, &this, args.keep, &mut random) {
                Ok(one) => {
                    early += u64::from(one.told_before == 0);
                    told += one.told_before;
                    untold += one.untold;
                    recovered += u64::from(one.recovered);
                }
                Err(error) => {
                    failed += 1;
                    eprintln!("{kind:?} {time}: {error:#}");
                }
            }
        }
        println!("| {kind:?} | {} | {early} | {told} | {told} | {untold} | {recovered} | {failed} |", args.times);
        failures += failed;
    }
    Ok(failures == 0)
}

fn kill_once(kind: Kind, gapless: &Path, this: &Path, keep: bool, random: &mut Random) -> Result<Outcome> {
    let scratch = tempfile::tempdir()?;
    let outcome = kill_in(kind, gapless, this, scratch.path(), random);
    if keep && outcome.is_err() {
        let folder = scratch.keep();
        return outcome.with_context(|| folder.display().to_string());
    }
    outcome
}

fn kill_in(kind: Kind, gapless: &Path, this: &Path, scratch: &Path, random: &mut Random) -> Result<Outcome> {
    let folder = scratch.join("run");
    let mut command = Command::new(gapless);
    command.args(["record", "-q", "--no-python", "-o"]).arg(&folder).arg("--").arg(this);
    if kind.is_of_two_ranks() {
        command.arg("--launcher");
    } else {
        command.args(["--rank", "0"]);
    }
    command.env_remove("RANK").env_remove("WORLD_SIZE").stdout(Stdio::piped());
    let mut recorder = command.spawn()?;
    let outcome = (|| {
        let lines = BufReader::new(recorder.stdout.take().context("no pipe")?).lines();
        // A moment: after so many lines, and so many microseconds more; now and then before the first line.
        let all = if kind.is_of_two_ranks() { 2 * RANGES } else { RANGES };
        let after = if random.below(10) == 0 { 0 } else { random.below(all * 9 / 10) };
        let pause = Duration::from_micros(random.below(if after == 0 { 60_000 } else { 3_000 }));
        follow(kind, &mut recorder, lines, after, pause, random)
    })();
    let Killed { told_before, process: killed, told } = match outcome {
        Ok(outcome) => outcome,
        // Whatever happened, nothing of it runs on.
        Err(error) => {
            let _ = recorder.kill();
            let _ = recorder.wait();
            return Err(error);
        }
    };
    let status = recorder.wait()?;
    use std::os::unix::process::ExitStatusExt as _;
    match kind {
        // On a busy machine it may have come to its end before.
        Kind::Recorder => ensure!(status.signal() == Some(9) || status.success(), "the recorder ended with {status}"),
        Kind::Job if killed.is_some() => ensure!(status.signal() == Some(9), "the recorder ended with {status}"),
        Kind::Job | Kind::Rank => ensure!(status.success(), "the recorder ended with {status}"),
    }
    for (&pid, &(rank, count)) in &told {
        ensure!(killed == Some(pid) || count == RANGES, "rank {rank}, which was not killed, made {count} ranges");
    }
    if kind == Kind::Recorder && told.is_empty() {
        // It died before it had started the job.
        ensure!(told_before == 0, "lines of nobody");
    } else if kind.is_of_two_ranks() {
        ensure!(told.len() + usize::from(killed.is_some_and(|pid| !told.contains_key(&pid))) == 2, "a rank is missing");
    }
    wait_for_end(told.keys().copied())?;
    if !folder.join("manifest.json").exists() {
        ensure!(told.is_empty(), "there is no manifest");
        no_rings_of(recorder.id())?;
        return Ok(Outcome { told_before, untold: 0, recovered: false });
    }
    // The first opening takes up what the recorder left.
    let is_left = !manifest(&folder)?["finished"].as_bool().unwrap_or(false);
    // A recorder that was killed at its very end has told that it is done.
    ensure!(!is_left || kind == Kind::Recorder, "the manifest is not finished");
    let mut found = opened(gapless, &folder)?;
    ensure!(opened(gapless, &folder)? == found, "another opening found something else");
    let manifest = manifest(&folder)?;
    ensure!(manifest["finished"] == Value::Bool(true), "the manifest is still not finished");
    let rings = manifest["recorder"]["rings"].as_str().unwrap_or_default();
    ensure!(!rings.is_empty() && !Path::new(rings).exists(), "the rings stayed behind in {rings}");
    no_rings_of(recorder.id())?;
    let mut untold = 0;
    for (pid, (rank, count)) in &told {
        let in_trace = found.remove(pid).unwrap_or(0);
        let most = count + u64::from(killed == Some(*pid));
        ensure!((*count..=most).contains(&in_trace), "rank {rank} told of {count} ranges, {in_trace} are in its trace");
        untold += in_trace - count;
    }
    for (pid, count) in found {
        ensure!(count <= u64::from(killed.is_some()), "process {pid} told of nothing and has {count} ranges");
        untold += count;
    }
    Ok(Outcome { told_before, untold, recovered: is_left })
}

/// No folder of rings may be left of a recorder, wherever a manifest says that they are.
fn no_rings_of(recorder: u32) -> Result<()> {
    let part = format!("-{recorder}-");
    for entry in std::fs::read_dir("/dev/shm").into_iter().flatten().map_while(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        ensure!(!(name.starts_with("gapless-") && name.contains(&part)), "rings stayed behind in {name}");
    }
    Ok(())
}

/// What the job's lines said so far.
#[derive(Default)]
struct Tally {
    told: Told,
    lines: u64,
}

impl Tally {
    fn add(&mut self, line: &str) -> Result<()> {
        let mut words = line.split(' ').map(str::parse::<u64>);
        let (Some(Ok(rank)), Some(Ok(pid)), Some(Ok(count))) = (words.next(), words.next(), words.next()) else {
            bail!("a line of the job that was not expected: {line}");
        };
        let (_, last) = self.told.entry(pid as u32).or_insert((rank as u32, 0));
        ensure!(count == *last + 1, "a line of the job is missing before {line}");
        *last = count;
        self.lines += 1;
        Ok(())
    }
}

/// One kill.
struct Killed {
    /// Ranges that were told before it.
    told_before: u64,
    /// The process of the job that was killed before its end.
    process: Option<u32>,
    /// What all had told in the end.
    told: Told,
}

/// Reads the job's lines, kills when it is time, and reads on to the end.
fn follow(
    kind: Kind,
    recorder: &mut Child,
    lines: impl Iterator<Item = std::io::Result<String>> + Send + 'static,
    after: u64,
    pause: Duration,
    random: &mut Random,
) -> Result<Killed> {
    // On a thread of its own, so that a kill can come at a moment at which nothing is told.
    let (sender, lines_in) = std::sync::mpsc::channel();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let mut tally = Tally::default();
    for _ in 0..after {
        tally.add(&lines_in.recv_timeout(Duration::from_secs(60)).context("the job tells nothing")?)?;
    }
    let until = Instant::now() + pause;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        match lines_in.recv_timeout(left) {
            Ok(line) => tally.add(&line)?,
            Err(_) => break,
        }
    }
    std::thread::sleep(until.saturating_duration_since(Instant::now()));
    let id = recorder.id();
    let process = match kind {
        Kind::Recorder => {
            recorder.kill()?;
            None
        }
        // Below the recorder is the job, below the launcher are the ranks.
        Kind::Job => kill_one(&|| children(id), recorder, random)?,
        Kind::Rank => kill_one(&|| children(id).into_iter().flat_map(children).collect(), recorder, random)?,
    };
    for line in lines_in.try_iter() {
        tally.add(&line)?;
    }
    let told_before = tally.lines;
    loop {
        match lines_in.recv_timeout(Duration::from_secs(60)) {
            Ok(line) => tally.add(&line)?,
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => bail!("the job hangs"),
        }
    }
    // One that had told everything may have ended before it was killed.
    let process = process.filter(|pid| tally.told.get(pid).is_none_or(|&(_, count)| count < RANGES));
    Ok(Killed { told_before, process, told: tally.told })
}

/// Kills one of the processes, once there is one; `None` where the job has ended before.
fn kill_one(find: &dyn Fn() -> Vec<u32>, recorder: &mut Child, random: &mut Random) -> Result<Option<u32>> {
    while recorder.try_wait()?.is_none() {
        let found = find();
        if let Some(&pid) = found.get(random.below(found.len() as u64) as usize)
            && Command::new("kill").args(["-KILL", &pid.to_string()]).stderr(Stdio::null()).status()?.success()
        {
            return Ok(Some(pid));
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(None)
}

/// Children of a process, as the kernel lists them.
fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// The pipe ends a moment before the processes do.
fn wait_for_end(processes: impl Iterator<Item = u32>) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(20);
    for pid in processes {
        while std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|text| !text.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
        {
            ensure!(Instant::now() < until, "process {pid} does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

fn manifest(folder: &Path) -> Result<Value> {
    Ok(serde_json::from_slice(&std::fs::read(folder.join("manifest.json"))?)?)
}

/// Opens the recording as a user does, and counts the ranges of each process in its own trace. Nothing may be lost.
fn opened(gapless: &Path, folder: &Path) -> Result<BTreeMap<u32, u64>> {
    let mut counts = BTreeMap::new();
    let info = |path: &Path| -> Result<Option<Value>> {
        let output = Command::new(gapless).args(["info", "--json"]).arg(path).output()?;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        // A recording whose job made nothing before it died has nothing to show.
        if error.contains("no trace file found") {
            return Ok(None);
        }
        ensure!(output.status.success(), "gapless info: {error}");
        Ok(Some(serde_json::from_slice(&output.stdout)?))
    };
    let Some(all) = info(folder)? else { return Ok(counts) };
    for warning in all["warnings"].as_array().map_or(&[][..], Vec::as_slice) {
        ensure!(warning["severity"] != "lost", "{warning}");
    }
    let mut sum = 0;
    for process in manifest(folder)?["processes"].as_array().map_or(&[][..], Vec::as_slice) {
        let (pid, trace) = (process["pid"].as_u64().unwrap_or(0), process["trace"].as_str().unwrap_or_default());
        let one = info(&folder.join(trace))?;
        let count = one.map_or(0, |one| one["events_by_kind"]["annotation"].as_u64().unwrap_or(0));
        sum += count;
        counts.insert(pid as u32, count);
    }
    let together = all["events_by_kind"]["annotation"].as_u64().unwrap_or(0);
    ensure!(together == sum, "the folder has {together} ranges, its traces have {sum}");
    Ok(counts)
}
