//! Fuzzes the reader, the builder and the analysis on stable Rust: mutated traces, invariants, saved crashers.
//!
//! Children do the work, each in a process of its own, so that an abort, a stack overflow or an endless loop is found
//! too: inputs depend on seed and number only, and a child writes down the number that it is at.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeSet;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use gapless_tests::fuzz::{Corpus, check};
use gapless_tests::measure;

/// Fuzzes the reader.
#[derive(Parser)]
#[command(
    name = "fuzz_reader",
    after_help = "Examples:\n  fuzz_reader --seconds 600 --jobs 2\n  fuzz_reader --seed 7 --reproduce 123456"
)]
struct Cli {
    /// How long, in seconds of wall time.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seed of all inputs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Processes at once.
    #[arg(long, default_value_t = 2)]
    jobs: u64,
    /// Folder that gets the inputs that fail.
    #[arg(long, default_value = "target/fuzz-crashes")]
    crashes: PathBuf,
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

/// Longest time that one input may take.
const HANG: Duration = Duration::from_secs(60);

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    std::fs::create_dir_all(&cli.crashes).with_context(|| format!("cannot make {}", cli.crashes.display()))?;
    match (cli.reproduce, cli.job) {
        (Some(number), _) => reproduce(&cli, number),
        (None, Some(job)) => work(&cli, job),
        (None, None) => supervise(&cli),
    }
}

fn reproduce(cli: &Cli, number: u64) -> anyhow::Result<()> {
    let corpus = Corpus::new()?;
    let input = corpus.input(cli.seed, number);
    let path = save(&cli.crashes, cli.seed, number, &input.bytes, "")?;
    println!("input {number} is {} bytes: {}", input.bytes.len(), path.display());
    match check(input) {
        Ok(events) => println!("fine: {events:?} events"),
        Err(why) => bail!("{why}"),
    }
    Ok(())
}

fn save(folder: &Path, seed: u64, number: u64, bytes: &[u8], why: &str) -> anyhow::Result<PathBuf> {
    let path = folder.join(format!("seed{seed}-{number}.json"));
    std::fs::write(&path, bytes)?;
    if !why.is_empty() {
        std::fs::write(path.with_extension("txt"), why)?;
    }
    Ok(path)
}

/// The place of the last panic, which the hook notes because `catch_unwind` does not say it.
static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

fn work(cli: &Cli, job: u64) -> anyhow::Result<()> {
    std::panic::set_hook(Box::new(|info| {
        if let Ok(mut last) = LAST_PANIC.lock() {
            *last = info.to_string();
        }
    }));
    let corpus = Corpus::new()?;
    let mut progress = std::fs::File::create(progress_path(&cli.crashes, job))?;
    let end = Instant::now() + Duration::from_secs(cli.seconds);
    let (mut number, mut inputs, mut opened, mut events) = (cli.after + job, 0_u64, 0_u64, 0_u64);
    let mut seen = BTreeSet::new();
    while Instant::now() < end {
        progress.seek(SeekFrom::Start(0))?;
        progress.write_all(format!("{number:020} {inputs:020}").as_bytes())?;
        let input = corpus.input(cli.seed, number);
        let bytes = input.bytes.clone();
        let result = std::panic::catch_unwind(|| check(input));
        let why = match result {
            Ok(Ok(found)) => {
                opened += u64::from(found.is_some());
                events += found.unwrap_or(0) as u64;
                String::new()
            }
            Ok(Err(why)) => why,
            Err(_) => LAST_PANIC.lock().map(|last| last.clone()).unwrap_or_default(),
        };
        // One input for each kind of failure is enough: digits differ from one to the next.
        let kind: String = why.chars().filter(|c| !c.is_ascii_digit()).take(160).collect();
        if !why.is_empty() && seen.insert(kind) {
            let path = save(&cli.crashes, cli.seed, number, &bytes, &why)?;
            println!("FOUND input {number} ({}): {why}", path.display());
        }
        inputs += 1;
        number += cli.jobs;
    }
    let cpu = measure::cpu_seconds().unwrap_or_default();
    println!(
        "job {job}: {inputs} inputs, {opened} opened, {events} events, {cpu:.1} CPU seconds, {} kinds of failure",
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
}

fn start(cli: &Cli, job: u64, after: u64, left: u64) -> anyhow::Result<Running> {
    let child = Command::new(std::env::current_exe()?)
        .args(["--job", &job.to_string(), "--jobs", &cli.jobs.to_string()])
        .args(["--seed", &cli.seed.to_string(), "--seconds", &left.to_string(), "--after", &after.to_string()])
        .arg("--crashes")
        .arg(&cli.crashes)
        // One process is one core: the files are small.
        .env("RAYON_NUM_THREADS", "1")
        .spawn()?;
    Ok(Running { job, child, at: None, since: Instant::now() })
}

fn supervise(cli: &Cli) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut running = Vec::new();
    for job in 0..cli.jobs {
        running.push(start(cli, job, 0, cli.seconds)?);
    }
    let mut failures = 0;
    while !running.is_empty() {
        std::thread::sleep(Duration::from_millis(200));
        let mut next = Vec::new();
        for mut run in running {
            let at = read_progress(&cli.crashes, run.job);
            if at != run.at {
                (run.at, run.since) = (at, Instant::now());
            }
            let hangs = run.since.elapsed() > HANG;
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
                died(cli, &run, "took longer than a minute")?;
                continue;
            };
            match status.code() {
                Some(0) => {}
                Some(1) => failures += 1,
                _ => {
                    failures += 1;
                    died(cli, &run, &format!("the process ended with {status}"))?;
                    let left = cli.seconds.saturating_sub(begun.elapsed().as_secs());
                    if left > 0 {
                        let after = run.at.unwrap_or(0) + cli.jobs - run.job;
                        next.push(start(cli, run.job, after, left)?);
                    }
                }
            }
        }
        running = next;
    }
    println!("seed {}: {:.0} s of wall time, {failures} jobs with failures", cli.seed, begun.elapsed().as_secs_f64());
    if failures > 0 {
        bail!("inputs that fail are in {}", cli.crashes.display());
    }
    Ok(())
}

fn died(cli: &Cli, run: &Running, why: &str) -> anyhow::Result<()> {
    let number = run.at.unwrap_or_default();
    let input = Corpus::new()?.input(cli.seed, number);
    let path = save(&cli.crashes, cli.seed, number, &input.bytes, why)?;
    eprintln!("FOUND input {number} ({}): {why}", path.display());
    Ok(())
}
