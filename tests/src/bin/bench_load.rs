//! How fast traces load, and in how much memory: Gapless beside serde_json, the inflater alone, and HTA.
//!
//! Each loader runs in a process of its own, on a file that the page cache holds. Prints a Markdown table.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use clap::{Parser, ValueEnum};
use gapless_tests::bench;
use gapless_tests::measure::{self, PeakMemory};
use gapless_tests::oracle::decimal_micros_to_ns;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Measures how fast traces load. Build it with --release.
#[derive(Parser)]
#[command(
    name = "bench_load",
    after_help = "Examples:\n  bench_load\n  bench_load --megabytes 200 --hta .venv/bin/python\n  bench_load --file trace.json"
)]
struct Cli {
    /// Size of the file that is made, in MB (10⁶ bytes).
    #[arg(long, default_value_t = 1_000)]
    megabytes: u64,
    /// Trace that is repeated; else one of the real traces, else a synthetic one.
    #[arg(long)]
    base: Option<PathBuf>,
    /// Measures this file as it is, plain JSON.
    #[arg(long)]
    file: Option<PathBuf>,
    /// Folder of the files that are made.
    #[arg(long, default_value = "target/bench-data")]
    folder: PathBuf,
    /// Runs of each loader; the median counts.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// A Python that has HolisticTraceAnalysis; it gets a file of a tenth of the size.
    #[arg(long)]
    hta: Option<PathBuf>,
    /// Measures one loader in this process.
    #[arg(long, hide = true, requires = "file")]
    only: Option<Loader>,
}

#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq)]
enum Loader {
    Gapless,
    Inflate,
    Serde,
}

/// What one run of a loader took.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Run {
    wall_s: f64,
    cpu_s: f64,
    /// Peak of memory beside mapped files, in bytes.
    anonymous: u64,
    /// Peak of all resident memory, mapped file included, in bytes.
    resident: u64,
    events: u64,
    text_bytes: u64,
}

/// A line of the table.
struct Line {
    name: String,
    run: Run,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if let (Some(loader), Some(file)) = (cli.only, &cli.file) {
        println!("{}", serde_json::to_string(&measure_here(loader, file)?)?);
        return Ok(());
    }
    bench::note_profile();
    std::fs::create_dir_all(&cli.folder)?;
    let plain = match &cli.file {
        Some(file) => file.clone(),
        None => bench::repeated_json(&cli.folder, cli.base.as_deref(), cli.megabytes)?,
    };
    let packed = pack(&plain, &cli.folder)?;
    let mut lines = Vec::new();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    for count in [1, 2].into_iter().filter(|&count| count <= threads) {
        lines.push(line(&cli, &format!("gapless, plain, {count} thread(s)"), Loader::Gapless, &plain, count)?);
    }
    lines.push(line(&cli, "serde_json, typed, exact times, 1 thread", Loader::Serde, &plain, 1)?);
    for count in [1, 2].into_iter().filter(|&count| count <= threads) {
        lines.push(line(&cli, &format!("gapless, gzip, {count} thread(s)"), Loader::Gapless, &packed, count)?);
    }
    lines.push(line(&cli, "inflate alone (flate2, zlib-rs), 1 thread", Loader::Inflate, &packed, 1)?);
    if let Some(python) = &cli.hta {
        let small = bench::repeated_json(&cli.folder, cli.base.as_deref(), (cli.megabytes / 10).max(1))?;
        let packed = pack(&small, &cli.folder)?;
        let run = hta(python, &packed, &small)?;
        lines.push(Line { name: format!("HTA from PyPI, gzip, on {} MB of text", run.text_bytes / 1_000_000), run });
    }
    print_table(&lines, &plain)?;
    Ok(())
}

// ---- data -------------------------------------------------------------------------------------------------------

fn pack(plain: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let name = plain.file_name().context("the file has no name")?.to_string_lossy().into_owned();
    let path = folder.join(name + ".gz");
    if !path.exists() {
        bench::whole_or_none(&path, |partial| {
            let file = BufWriter::new(File::create(partial)?);
            let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::new(6));
            std::io::copy(&mut File::open(plain)?, &mut encoder)?;
            encoder.finish()?.flush()?;
            Ok(())
        })?;
    }
    Ok(path)
}

// ---- loaders ----------------------------------------------------------------------------------------------------

fn measure_here(loader: Loader, file: &Path) -> anyhow::Result<Run> {
    bench::warm(file)?;
    // The peer parses from memory; reading the file into it is not its work, so it is not counted.
    let text = if loader == Loader::Serde { std::fs::read(file)? } else { Vec::new() };
    let before = measure::status_bytes("RssAnon").unwrap_or(0);
    let memory = PeakMemory::watch();
    let cpu = measure::cpu_seconds().unwrap_or_default();
    let clock = Instant::now();
    let (events, text_bytes) = match loader {
        Loader::Gapless => with_gapless(file)?,
        Loader::Inflate => (0, inflate(file)?),
        Loader::Serde => (with_serde(&text)?, text.len() as u64),
    };
    let wall_s = clock.elapsed().as_secs_f64();
    let cpu_s = measure::cpu_seconds().unwrap_or_default() - cpu;
    let anonymous = memory.finish().saturating_sub(before);
    Ok(Run { wall_s, cpu_s, anonymous, resident: measure::status_bytes("VmHWM").unwrap_or(0), events, text_bytes })
}

fn with_gapless(file: &Path) -> anyhow::Result<(u64, u64)> {
    let options = gapless_formats::OpenOptions::default();
    let trace = gapless_formats::open(&[file.to_owned()], &options, &gapless_formats::Silent)?;
    let source = trace.sources().first().context("no source")?;
    ensure!(!trace.events().is_empty(), "the trace is empty");
    let result = (source.file_events, source.text_bytes);
    // Freeing the columns is no part of loading them, and the process ends now.
    std::mem::forget(trace);
    Ok(result)
}

fn inflate(file: &Path) -> anyhow::Result<u64> {
    let mut decoder = flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(1 << 18, File::open(file)?));
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        match decoder.read(&mut buffer)? {
            0 => return Ok(bytes),
            count => bytes += count as u64,
        }
    }
}

#[derive(Deserialize)]
struct PeerArgs {
    correlation: Option<u64>,
    #[serde(rename = "External id")]
    external: Option<u64>,
}

#[derive(Deserialize)]
struct PeerEvent<'a> {
    #[serde(borrow)]
    ph: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    name: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    cat: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    pid: Option<&'a RawValue>,
    #[serde(borrow)]
    tid: Option<&'a RawValue>,
    #[serde(borrow)]
    ts: Option<&'a RawValue>,
    #[serde(borrow)]
    dur: Option<&'a RawValue>,
    args: Option<PeerArgs>,
}

#[derive(Deserialize)]
struct PeerTrace<'a> {
    #[serde(rename = "traceEvents", borrow)]
    events: Vec<PeerEvent<'a>>,
}

/// The usual way in Rust: derive, parse, take the times exactly. It interns nothing, sorts nothing, links nothing.
fn with_serde(text: &[u8]) -> anyhow::Result<u64> {
    let trace: PeerTrace<'_> = serde_json::from_slice(text)?;
    let mut sum = 0_i64;
    for event in &trace.events {
        for number in [event.ts, event.dur].into_iter().flatten() {
            sum = sum.wrapping_add(decimal_micros_to_ns(number.get()).unwrap_or(0));
        }
        let args = event.args.as_ref();
        sum ^= args.and_then(|args| args.correlation.or(args.external)).unwrap_or(0) as i64;
        sum ^= event.name.as_ref().map_or(0, |name| name.len() as i64) + event.ph.len() as i64;
        let ids = event.pid.into_iter().chain(event.tid).map(|id| id.get().len()).sum::<usize>();
        sum ^= event.cat.as_ref().map_or(0, |cat| cat.len() as i64) + ids as i64;
    }
    // Used, so that nothing of it is optimised away.
    std::hint::black_box(sum);
    let events = trace.events.len() as u64;
    std::mem::forget(trace);
    Ok(events)
}

const HTA_SCRIPT: &str = r"
import json, os, resource, sys, time
from hta.common.trace_parser import parse_trace_dataframe
from hta.configs.parser_config import ParserConfig
def rss(key):
    return next(int(l.split()[1]) * 1024 for l in open('/proc/self/status') if l.startswith(key))
before, wall, cpu = rss('RssAnon'), time.perf_counter(), time.process_time()
result = parse_trace_dataframe(sys.argv[1], ParserConfig.get_default_cfg())
frame = result[1] if isinstance(result, tuple) else result
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print('RUN ' + json.dumps(dict(wall_s=time.perf_counter() - wall, cpu_s=time.process_time() - cpu,
    anonymous=max(peak - before, 0), resident=peak, events=len(frame), text_bytes=int(sys.argv[2]))))
";

fn hta(python: &Path, packed: &Path, plain: &Path) -> anyhow::Result<Run> {
    let size = plain.metadata()?.len().to_string();
    let output = Command::new(python).arg("-c").arg(HTA_SCRIPT).arg(packed).arg(size).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().find_map(|line| line.strip_prefix("RUN ")) {
        Some(json) => Ok(serde_json::from_str(json)?),
        None => bail!("HTA failed: {}", String::from_utf8_lossy(&output.stderr)),
    }
}

fn line(cli: &Cli, name: &str, loader: Loader, file: &Path, threads: usize) -> anyhow::Result<Line> {
    let value = loader.to_possible_value().context("a hidden loader")?;
    let arguments = ["--only", value.get_name(), "--file"].map(OsStr::new);
    let arguments = [&arguments[..], &[file.as_os_str()]].concat();
    let run: Run = bench::median_of_runs(name, &arguments, threads, cli.runs, |run: &Run| run.cpu_s)?;
    eprintln!("{name}: {run:?}");
    Ok(Line { name: name.to_owned(), run })
}

// ---- table ------------------------------------------------------------------------------------------------------

fn print_table(lines: &[Line], plain: &Path) -> anyhow::Result<()> {
    let text_bytes = plain.metadata()?.len();
    println!("File: {}, {:.1} MB of text.\n", plain.display(), text_bytes as f64 / 1e6);
    println!(
        "MB are 10⁶ bytes of uncompressed text; a core's rate is by CPU seconds. Memory is the peak beside mapped files; the text of serde_json's peer lies in memory before and is not counted.\n"
    );
    println!("| loader | wall s | CPU s | MB/s | MB/s a core | M events/s | memory MB | memory ÷ text |");
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for Line { name, run } in lines {
        let text = run.text_bytes as f64 / 1e6;
        println!(
            "| {name} | {:.3} | {:.2} | {:.0} | {:.0} | {:.2} | {:.0} | {:.2} |",
            run.wall_s,
            run.cpu_s,
            text / run.wall_s,
            text / run.cpu_s.max(0.01),
            run.events as f64 / 1e6 / run.wall_s,
            run.anonymous as f64 / 1e6,
            run.anonymous as f64 / run.text_bytes as f64,
        );
    }
    let find = |part: &str| lines.iter().find(|line| line.name.contains(part)).map(|line| &line.run);
    let rate = |run: &Run| run.text_bytes as f64 / run.cpu_s.max(0.01);
    println!();
    if let (Some(one), Some(two)) = (find("gapless, plain, 1"), find("gapless, plain, 2")) {
        println!("- Two threads: {:.2} × the speed of one by wall time.", one.wall_s / two.wall_s);
    }
    if let (Some(own), Some(peer)) = (find("gapless, plain, 1"), find("serde_json")) {
        println!("- Against serde_json typed, by CPU second: {:.2} ×.", rate(own) / rate(peer));
    }
    if let (Some(own), Some(peer)) = (find("gapless, gzip, 2"), find("inflate")) {
        println!("- gzip: {:.2} × the wall time of the inflater alone.", own.wall_s / peer.wall_s);
    }
    if let (Some(own), Some(peer)) = (find("gapless, gzip, 2"), find("HTA")) {
        let pace = |run: &Run| run.text_bytes as f64 / run.wall_s;
        println!(
            "- Against HTA on gzip, by wall time per byte (HTA's file is smaller): {:.0} ×; by CPU second: {:.0} ×.",
            pace(own) / pace(peer),
            rate(own) / rate(peer)
        );
    }
    Ok(())
}
