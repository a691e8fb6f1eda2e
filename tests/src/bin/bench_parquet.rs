//! How fast a trace becomes Parquet, and how small: Gapless beside pyarrow, which writes the same columns from memory.
//!
//! Each measures its own CPU time; the trace is loaded before. Prints a Markdown table.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use clap::Parser;
use gapless_formats::parquet::{self, WriteOptions, WriteSummary};
use gapless_formats::{OpenOptions, Silent, open};
use gapless_tests::{bench, measure};
use serde::Deserialize;

/// Measures how fast a trace is exported to Parquet. Build it with --release.
#[derive(Parser)]
#[command(
    name = "bench_parquet",
    after_help = "Examples:\n  bench_parquet\n  bench_parquet --file trace.json.gz --python target/python-venv/bin/python"
)]
struct Cli {
    /// Trace to export; else one of the real traces, repeated, else a synthetic one.
    #[arg(long)]
    file: Option<PathBuf>,
    /// Size of the JSON file that is made, in MB (10⁶ bytes).
    #[arg(long, default_value_t = 500)]
    megabytes: u64,
    /// Folder of the files that are made.
    #[arg(long, default_value = "target/bench-data")]
    folder: PathBuf,
    /// Runs; the median by CPU time counts.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// A Python that has pyarrow; tests/python/setup.sh makes one.
    #[arg(long, default_value = "target/python-venv/bin/python")]
    python: PathBuf,
    /// Writes the arguments too, as JSON text.
    #[arg(long)]
    arguments: bool,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Run {
    wall_s: f64,
    cpu_s: f64,
    bytes: u64,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    bench::note_profile();
    std::fs::create_dir_all(&cli.folder)?;
    let file = match &cli.file {
        Some(file) => file.clone(),
        None => bench::repeated_json(&cli.folder, None, cli.megabytes)?,
    };
    let trace = open(std::slice::from_ref(&file), &OpenOptions::default(), &Silent)?;
    let events = trace.events().len() as u64;
    ensure!(events > 0, "the trace is empty");
    println!(
        "File: {}, {:.2} M events. A core's rate is by CPU seconds of all threads.\n",
        file.display(),
        events as f64 / 1e6
    );
    println!("| writer | threads | wall s | CPU s | M events/s a core | bytes an event |");
    println!("|---|---:|---:|---:|---:|---:|");

    let options = WriteOptions { arguments: cli.arguments, argument_columns: Vec::new() };
    let folder = cli.folder.join("parquet");
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut own = None;
    for count in [1, 2].into_iter().filter(|&count| count <= threads) {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(count).build()?;
        let mut runs = Vec::new();
        for _ in 0..cli.runs.max(1) {
            remove(&folder)?;
            let cpu = measure::cpu_seconds().context("no CPU time")?;
            let clock = Instant::now();
            let summary: WriteSummary = pool.install(|| parquet::write_folder(&trace, &folder, &options, &Silent))?;
            let wall_s = clock.elapsed().as_secs_f64();
            let cpu_s = measure::cpu_seconds().context("no CPU time")? - cpu;
            ensure!(summary.events == events, "not every event was written");
            runs.push(Run { wall_s, cpu_s, bytes: summary.event_bytes });
        }
        let run = bench::median(runs, |run| run.cpu_s).context("no run")?;
        line("gapless", count, &run, events);
        own.get_or_insert(run);
    }
    match pyarrow(&cli, &folder) {
        Ok(run) => {
            line("pyarrow, the same columns from memory", 1, &run, events);
            if let Some(own) = own {
                println!("\n- Against pyarrow, by CPU second: {:.2} ×.", run.cpu_s / own.cpu_s.max(0.01));
            }
        }
        Err(error) => eprintln!("no peer: {error:#}"),
    }
    remove(&folder)
}

fn line(name: &str, threads: usize, run: &Run, events: u64) {
    println!(
        "| {name} | {threads} | {:.3} | {:.2} | {:.2} | {:.2} |",
        run.wall_s,
        run.cpu_s,
        events as f64 / 1e6 / run.cpu_s.max(0.01),
        run.bytes as f64 / events as f64
    );
}

/// Removes what an earlier run of this program wrote.
fn remove(folder: &Path) -> anyhow::Result<()> {
    if folder.join("gapless.json").is_file() {
        std::fs::remove_dir_all(folder)?;
    }
    Ok(())
}

/// Reads what we wrote into memory, then writes it as a data frame would be: the same columns, codec and encodings.
const PYARROW: &str = r"
import json, os, sys, time
import pyarrow as pa, pyarrow.parquet as pq
pa.set_cpu_count(1)
source, target, runs = sys.argv[1], sys.argv[2], int(sys.argv[3])
tables = [pq.ParquetFile(os.path.join(folder, name)).read() for folder, _, names in sorted(os.walk(source)) for name in names]
texts = [field.name for field in tables[0].schema if field.type == pa.string()]
# Texts as a data frame holds them: a dictionary in memory.
tables = [pa.table([column.dictionary_encode().unify_dictionaries() if column.type == pa.string() else column
                    for column in table.columns], names=table.column_names) for table in tables]
whole = {field.name: 'DELTA_BINARY_PACKED' for field in tables[0].schema if pa.types.is_integer(field.type)}
results = []
for _ in range(runs):
    wall, cpu = time.perf_counter(), time.process_time()
    for index, table in enumerate(tables):
        pq.write_table(table, target + str(index), compression='zstd', compression_level=1, use_dictionary=texts,
                       column_encoding=whole, row_group_size=1 << 20, store_schema=False)
    results.append(dict(wall_s=time.perf_counter() - wall, cpu_s=time.process_time() - cpu,
                        bytes=sum(os.path.getsize(target + str(index)) for index in range(len(tables)))))
for index in range(len(tables)):
    os.remove(target + str(index))
print(json.dumps(results))
";

fn pyarrow(cli: &Cli, folder: &Path) -> anyhow::Result<Run> {
    let output = Command::new(&cli.python)
        .args(["-c", PYARROW])
        .arg(folder.join("events"))
        .arg(cli.folder.join("pyarrow.parquet."))
        .arg(cli.runs.max(1).to_string())
        .output()
        .with_context(|| format!("{} does not run", cli.python.display()))?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    let runs: Vec<Run> = serde_json::from_slice(&output.stdout)?;
    bench::median(runs, |run| run.cpu_s).context("no run")
}
