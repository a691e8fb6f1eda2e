//! Fuzzes the readers, the builder and the analysis on stable Rust: changed files of every format, invariants, bounds
//! of time and memory, saved crashers.
//!
//! Children do the work, each in a process of its own, so that an abort, a stack overflow or an endless loop is found
//! too: inputs depend on format, seed and number only, and a child writes down the number that it is at.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeSet;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use gapless_tests::fuzz::{Maker, TARGETS, Target, input};
use gapless_tests::measure;

/// Fuzzes the readers.
#[derive(Parser)]
#[command(
    name = "fuzz_reader",
    after_help = "Examples:\n  fuzz_reader --format perfetto --cpu-minutes 20\n  fuzz_reader --format all --cpu-minutes 1 \
                  --jobs 2\n  fuzz_reader --format nsys --seed 7 --reproduce 123456"
)]
struct Cli {
    /// Which format, or all, one after the other.
    #[arg(long, default_value = "all")]
    format: String,
    /// How long, in minutes of CPU time per format.
    #[arg(long, default_value_t = 1.0)]
    cpu_minutes: f64,
    /// Seed of all inputs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Processes at once.
    #[arg(long, default_value_t = 1)]
    jobs: u64,
    /// Folder that gets the inputs that fail.
    #[arg(long, default_value = "target/fuzz-findings")]
    out: PathBuf,
    /// Makes inputs from small real traces too (GAPLESS_TRACES).
    #[arg(long)]
    real: bool,
    /// Runs one input only, and saves it.
    #[arg(long)]
    reproduce: Option<u64>,
    /// Runs as a child: numbers job, job + jobs, ….
    #[arg(long, hide = true)]
    job: Option<u64>,
    /// Number that the child begins after.
    #[arg(long, hide = true, default_value_t = 0)]
    after: u64,
}

/// CPU seconds after which a child that is still at the same input is ended; a busy machine makes nothing hang.
const HANG: f64 = 60.0;
/// The same of a clock, for what waits for something that never comes.
const STUCK: Duration = Duration::from_secs(1_800);
/// CPU seconds that one input may take, and more for each megabyte of it.
const SLOW: (f64, f64) = (3.0, 2.0);
/// Memory that one input may take on top of what was there, and times its size.
const GREEDY: (u64, u64) = (256 << 20, 100);

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    std::fs::create_dir_all(&cli.out).with_context(|| format!("cannot make {}", cli.out.display()))?;
    if cli.format != "all" {
        return run(&cli, target(&cli.format)?);
    }
    let mut failed = Vec::new();
    for target in TARGETS {
        if let Err(error) = run(&cli, target) {
            eprintln!("{}: {error}", target.format);
            failed.push(target.format);
        }
    }
    if !failed.is_empty() {
        bail!("findings in {}", failed.join(", "));
    }
    Ok(())
}

fn target(format: &str) -> anyhow::Result<&'static Target> {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.format).collect();
    Target::find(format).with_context(|| format!("there is no format {format:?}, only {}", names.join(", ")))
}

fn run(cli: &Cli, target: &'static Target) -> anyhow::Result<()> {
    match (cli.reproduce, cli.job) {
        (Some(number), _) => reproduce(cli, target, number),
        (None, Some(job)) => work(cli, target, job),
        (None, None) => supervise(cli, target),
    }
}

fn reproduce(cli: &Cli, target: &'static Target, number: u64) -> anyhow::Result<()> {
    let bytes = input(&*target.maker(cli.real)?, cli.seed, number);
    let path = save(cli, target, number, &bytes, "")?;
    println!("input {number} is {} bytes: {}", bytes.len(), path.display());
    let (result, cost) = measured(target, bytes, true);
    println!("{:.2} CPU seconds, {} MB on top", cost.cpu_seconds, cost.bytes / 1_000_000);
    match result {
        Ok(events) => println!("fine: {events:?} events"),
        Err(why) => bail!("{why}"),
    }
    Ok(())
}

fn save(cli: &Cli, target: &Target, number: u64, bytes: &[u8], why: &str) -> anyhow::Result<PathBuf> {
    let path = cli.out.join(format!("{}-seed{}-{number}.bin", target.format, cli.seed));
    std::fs::write(&path, bytes)?;
    if !why.is_empty() {
        std::fs::write(path.with_extension("txt"), why)?;
    }
    Ok(path)
}

/// The place of the last panic, which the hook notes because `catch_unwind` does not say it.
static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// What an input cost.
struct Cost {
    cpu_seconds: f64,
    bytes: u64,
}

/// Checks an input, its time and its memory.
fn measured(target: &Target, bytes: Vec<u8>, twice: bool) -> (Result<Option<usize>, String>, Cost) {
    let length = bytes.len();
    let can_reset = measure::reset_peak();
    let resident = measure::status_bytes("VmRSS").unwrap_or(0);
    let cpu = measure::cpu_seconds().unwrap_or_default();
    let result = match std::panic::catch_unwind(|| target.check(bytes, twice)) {
        Ok(result) => result,
        Err(_) => Err(LAST_PANIC.lock().map(|last| last.clone()).unwrap_or_default()),
    };
    let peak = if can_reset { measure::status_bytes("VmHWM").unwrap_or(0) } else { 0 };
    let cost =
        Cost { cpu_seconds: measure::cpu_seconds().unwrap_or_default() - cpu, bytes: peak.saturating_sub(resident) };
    let most_seconds = SLOW.0 + SLOW.1 * length as f64 / 1e6;
    let most_bytes = GREEDY.0 + GREEDY.1 * length as u64;
    let result = match result {
        Ok(_) if cost.cpu_seconds > most_seconds => Err(format!("takes {:.1} CPU seconds", cost.cpu_seconds)),
        Ok(_) if cost.bytes > most_bytes => Err(format!("takes {} MB", cost.bytes / 1_000_000)),
        result => result,
    };
    (result, cost)
}

fn work(cli: &Cli, target: &'static Target, job: u64) -> anyhow::Result<()> {
    std::panic::set_hook(Box::new(|info| {
        if let Ok(mut last) = LAST_PANIC.lock() {
            *last = info.to_string();
        }
    }));
    let maker: Box<dyn Maker> = target.maker(cli.real)?;
    let mut progress = std::fs::File::create(progress_path(&cli.out, job))?;
    let end = cli.cpu_minutes * 60.0 / cli.jobs as f64;
    let begun = Instant::now();
    let (mut number, mut inputs, mut opened, mut events, mut bytes_in_all) = (cli.after + job, 0_u64, 0_u64, 0_u64, 0);
    let (mut slowest, mut largest) = (0_f64, 0);
    let mut seen = BTreeSet::new();
    while measure::cpu_seconds().unwrap_or(begun.elapsed().as_secs_f64()) < end {
        progress.seek(SeekFrom::Start(0))?;
        progress.write_all(format!("{number:020} {inputs:020}").as_bytes())?;
        let bytes = input(&*maker, cli.seed, number);
        bytes_in_all += bytes.len();
        let (result, cost) = measured(target, bytes.clone(), number % 8 == 0);
        (slowest, largest) = (slowest.max(cost.cpu_seconds), largest.max(cost.bytes));
        match result {
            Ok(found) => {
                opened += u64::from(found.is_some());
                events += found.unwrap_or(0) as u64;
            }
            Err(why) => {
                // One input for each kind of failure is enough: digits differ from one to the next.
                let kind: String = why.chars().filter(|c| !c.is_ascii_digit()).take(160).collect();
                if seen.insert(kind) {
                    let path = save(cli, target, number, &bytes, &why)?;
                    println!("FOUND {} input {number} ({}): {why}", target.format, path.display());
                }
            }
        }
        inputs += 1;
        number += cli.jobs;
    }
    let cpu = measure::cpu_seconds().unwrap_or_default();
    println!(
        "{}: {inputs} inputs ({:.1} MB), {:.0} a CPU second, {opened} opened, {events} events, {cpu:.0} CPU seconds, \
         slowest {slowest:.2} s, most memory {} MB, {} kinds of failure",
        target.format,
        bytes_in_all as f64 / 1e6,
        inputs as f64 / cpu.max(0.01),
        largest / 1_000_000,
        seen.len()
    );
    std::process::exit(i32::from(!seen.is_empty()));
}

fn progress_path(folder: &Path, job: u64) -> PathBuf {
    folder.join(format!("progress-{job}"))
}

fn read_progress(folder: &Path, job: u64) -> Option<u64> {
    let text = std::fs::read_to_string(progress_path(folder, job)).ok()?;
    text.split(' ').next()?.parse().ok()
}

struct Running {
    job: u64,
    child: Child,
    at: Option<u64>,
    since: Instant,
    /// CPU seconds that the child had used when it came to this input.
    cpu_before: f64,
}

impl Running {
    fn cpu_seconds(&self) -> f64 {
        measure::cpu_seconds_of(&self.child.id().to_string()).unwrap_or(0.0)
    }
}

fn start(cli: &Cli, target: &Target, job: u64, after: u64, minutes: f64) -> anyhow::Result<Running> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["--format", target.format, "--job", &job.to_string(), "--jobs", &cli.jobs.to_string()])
        .args(["--seed", &cli.seed.to_string(), "--cpu-minutes", &minutes.to_string()])
        .args(["--after", &after.to_string()])
        .arg("--out")
        .arg(&cli.out)
        // One process is one core: the files are small.
        .env("RAYON_NUM_THREADS", "1");
    if cli.real {
        command.arg("--real");
    }
    Ok(Running { job, child: command.spawn()?, at: None, since: Instant::now(), cpu_before: 0.0 })
}

fn supervise(cli: &Cli, target: &'static Target) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut running = Vec::new();
    for job in 0..cli.jobs {
        let _ = std::fs::remove_file(progress_path(&cli.out, job));
        running.push(start(cli, target, job, 0, cli.cpu_minutes)?);
    }
    let mut failures = 0;
    while !running.is_empty() {
        std::thread::sleep(Duration::from_millis(200));
        let mut next = Vec::new();
        for mut run in running {
            let at = read_progress(&cli.out, run.job);
            if at != run.at {
                (run.at, run.since, run.cpu_before) = (at, Instant::now(), run.cpu_seconds());
            }
            let hangs = run.cpu_seconds() - run.cpu_before > HANG || run.since.elapsed() > STUCK;
            if hangs {
                run.child.kill()?;
            }
            let Some(status) = run.child.try_wait()? else {
                if !hangs {
                    next.push(run);
                    continue;
                }
                run.child.wait()?;
                failures += 1;
                died(cli, target, &run, "takes more than a minute of CPU time, or never ends")?;
                continue;
            };
            match status.code() {
                Some(0) => {}
                Some(1) => failures += 1,
                _ => {
                    failures += 1;
                    died(cli, target, &run, &format!("the process ended with {status}"))?;
                    let left = cli.cpu_minutes - begun.elapsed().as_secs_f64() / 60.0;
                    if left > 0.0 && failures < 20 {
                        let after = run.at.unwrap_or(0) + cli.jobs - run.job;
                        next.push(start(cli, target, run.job, after, left)?);
                    }
                }
            }
        }
        running = next;
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("{}, seed {}: {seconds:.0} s of wall time, {failures} jobs with failures", target.format, cli.seed);
    if failures > 0 {
        bail!("inputs that fail are in {}", cli.out.display());
    }
    Ok(())
}

fn died(cli: &Cli, target: &'static Target, run: &Running, why: &str) -> anyhow::Result<()> {
    let number = run.at.unwrap_or_default();
    let bytes = input(&*target.maker(cli.real)?, cli.seed, number);
    let path = save(cli, target, number, &bytes, why)?;
    eprintln!("FOUND {} input {number} ({}): {why}", target.format, path.display());
    Ok(())
}
