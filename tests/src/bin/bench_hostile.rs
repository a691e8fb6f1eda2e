//! What files cost that are made to fill memory, time or disk. Each is opened in a process of its own. Prints a
//! Markdown table.
#![allow(clippy::print_stdout)]

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::Parser;
use gapless_formats::Limits;
use gapless_tests::bench;
use gapless_tests::hostile::{Outcome, open_once, write_all};

/// Measures what hostile files cost. Build it with --release.
#[derive(Parser)]
#[command(name = "bench_hostile", after_help = "Examples:\n  bench_hostile\n  bench_hostile --runs 7")]
struct Cli {
    /// Runs for each file; the median by CPU time counts.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Opens one file in this process.
    #[arg(long, hide = true)]
    only: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if let Some(file) = cli.only {
        println!("{}", serde_json::to_string(&open_once(&[file], Limits::default()))?);
        return Ok(());
    }
    bench::note_profile();
    let folder = tempfile::tempdir()?;
    println!("| file | seconds | CPU seconds | peak MB | outcome |");
    println!("|---|--:|--:|--:|---|");
    for (what, path) in write_all(folder.path())? {
        let arguments = [OsStr::new("--only"), path.as_os_str()];
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let run: Outcome = bench::median_of_runs(what, &arguments, threads, cli.runs, |run: &Outcome| run.cpu_seconds)?;
        let peak_mb = run.peak_bytes as f64 / 1e6;
        let outcome = outcome(&run, &path.to_string_lossy());
        println!("| {what} | {:.3} | {:.3} | {peak_mb:.0} | {outcome} |", run.seconds, run.cpu_seconds);
    }
    Ok(())
}

/// The outcome in a few words, without the place of the file.
fn outcome(run: &Outcome, path: &str) -> String {
    let text = match (&run.error, run.events) {
        (Some(error), _) => format!("error: {error}"),
        (None, events) => format!("{} events; {}", events.unwrap_or(0), run.warnings.join("; ")),
    };
    let text = text.replace(path, "FILE").replace('|', "/");
    match text.char_indices().nth(110) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
