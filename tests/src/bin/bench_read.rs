//! How fast binary formats are read, each beside the nearest peer: Perfetto protobuf beside prost, Nsight Systems
//! SQLite beside SQLite alone.
//!
//! Each loader runs in a process of its own, on a file that the page cache holds. Prints a Markdown table.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::ffi::OsStr;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::{Parser, ValueEnum};
use gapless_formats::{OpenOptions, Progress, Silent, open, perfetto};
use gapless_tests::{bench, measure, packets};
use perfetto_proto::{Message as _, TracePacket};
use serde::{Deserialize, Serialize};

/// Measures how fast binary formats are read. Build it with --release.
#[derive(Parser)]
#[command(name = "bench_read", after_help = "Examples:\n  bench_read\n  bench_read --megabytes 200 --runs 5")]
struct Cli {
    /// Size of the JSON text that the Perfetto files are made of, in MB (10⁶ bytes).
    #[arg(long, default_value_t = 500)]
    megabytes: u64,
    /// Packets of the Perfetto file that other writers would have made.
    #[arg(long, default_value_t = 2_000_000)]
    packets: u64,
    /// Rows of the kernel table of the SQLite file.
    #[arg(long, default_value_t = 3_000_000)]
    rows: u64,
    /// Folder of the files that are made.
    #[arg(long, default_value = "target/bench-data")]
    folder: PathBuf,
    /// Runs of each loader; the median by CPU time counts.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Measures one loader in this process.
    #[arg(long, hide = true, requires = "file")]
    only: Option<Loader>,
    /// The file to measure.
    #[arg(long, hide = true)]
    file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq)]
enum Loader {
    /// Path to finished trace.
    Gapless,
    /// `Trace::decode` of the whole file.
    ProstWhole,
    /// `TracePacket::decode` packet by packet, each dropped at once.
    ProstPackets,
    /// Every row's eight columns through SQLite, nothing kept.
    SqliteAlone,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Run {
    wall_s: f64,
    cpu_s: f64,
    /// Of these, until the events were read and their sorting began.
    read_s: f64,
    units: u64,
    bytes: u64,
    resident: u64,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if let (Some(loader), Some(file)) = (cli.only, &cli.file) {
        println!("{}", serde_json::to_string(&measure_here(loader, file)?)?);
        return Ok(());
    }
    bench::note_profile();
    std::fs::create_dir_all(&cli.folder)?;
    let json = bench::repeated_json(&cli.folder, None, cli.megabytes)?;
    let files = [
        ("other writers", make_packets(&cli)?),
        ("Gapless's own, with arguments", make_pftrace(&json, true)?),
        ("Gapless's own, without", make_pftrace(&json, false)?),
    ];
    println!(
        "| loader | file MB | bytes a unit | wall s | CPU s | of these reading | MB/s a core | reading alone | M units/s a core | resident MB |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for (label, file) in files {
        let packets = packets_of(&file)?;
        for (loader, threads, name) in [
            (Loader::Gapless, 1, "gapless, 1 thread"),
            (Loader::Gapless, 2, "gapless, 2 threads"),
            (Loader::ProstPackets, 1, "prost, packet by packet, 1 thread"),
            (Loader::ProstWhole, 1, "prost, whole message, 1 thread"),
        ] {
            line(&cli, &format!("Perfetto, {label}: {name}"), loader, &file, threads, Some(packets))?;
        }
    }
    let file = make_sqlite(&cli)?;
    for (loader, threads, name) in [
        (Loader::Gapless, 1, "gapless, 1 thread"),
        (Loader::Gapless, 2, "gapless, 2 threads"),
        (Loader::SqliteAlone, 1, "SQLite alone, 8 columns, 1 thread"),
    ] {
        line(&cli, &format!("nsys: {name}"), loader, &file, threads, None)?;
    }
    println!("\nUnits are packets of a Perfetto file and rows of a SQLite file. MB are 10⁶ bytes of the file.");
    Ok(())
}

// ---- data -------------------------------------------------------------------------------------------------------

/// Packets as other writers make them.
fn make_packets(cli: &Cli) -> anyhow::Result<PathBuf> {
    let path = cli.folder.join(format!("packets-{}.pftrace", cli.packets));
    if !path.exists() {
        bench::whole_or_none(&path, |partial| {
            packets::write(BufWriter::new(File::create(partial)?), cli.packets)?;
            Ok(())
        })?;
    }
    Ok(path)
}

fn make_pftrace(json: &Path, arguments: bool) -> anyhow::Result<PathBuf> {
    let path = json.with_extension(if arguments { "args.pftrace" } else { "pftrace" });
    if !path.exists() {
        let trace = open(&[json.to_owned()], &OpenOptions::default(), &Silent)?;
        let options = perfetto::WriteOptions { arguments, gzip: false };
        perfetto::write_file(&trace, &path, &options, &Silent)?;
    }
    Ok(path)
}

/// A kernel table as Nsight Systems 2025 writes it, with launches for every kernel.
fn make_sqlite(cli: &Cli) -> anyhow::Result<PathBuf> {
    let path = cli.folder.join(format!("nsys-{}.sqlite", cli.rows));
    if path.exists() {
        return Ok(path);
    }
    bench::whole_or_none(&path, |partial| write_sqlite(partial, cli.rows))?;
    Ok(path)
}

fn write_sqlite(path: &Path, rows: u64) -> anyhow::Result<()> {
    let mut database = rusqlite::Connection::open(path)?;
    database.execute_batch(
        "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;
         CREATE TABLE StringIds (id INTEGER NOT NULL PRIMARY KEY, value TEXT NOT NULL);
         CREATE TABLE PROCESSES (globalPid INTEGER, pid INTEGER, name TEXT);
         CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER NOT NULL, end INTEGER NOT NULL,
           deviceId INTEGER NOT NULL, contextId INTEGER NOT NULL, greenContextId INTEGER, streamId INTEGER NOT NULL,
           correlationId INTEGER, globalPid INTEGER, demangledName INTEGER NOT NULL, shortName INTEGER NOT NULL,
           mangledName INTEGER, launchType INTEGER, cacheConfig INTEGER, registersPerThread INTEGER NOT NULL,
           gridX INTEGER NOT NULL, gridY INTEGER NOT NULL, gridZ INTEGER NOT NULL, blockX INTEGER NOT NULL,
           blockY INTEGER NOT NULL, blockZ INTEGER NOT NULL, staticSharedMemory INTEGER NOT NULL,
           dynamicSharedMemory INTEGER NOT NULL, localMemoryPerThread INTEGER NOT NULL,
           localMemoryTotal INTEGER NOT NULL, gridId INTEGER NOT NULL);",
    )?;
    let transaction = database.transaction()?;
    {
        let mut string = transaction.prepare("INSERT INTO StringIds VALUES (?1, ?2)")?;
        for id in 0..500_i64 {
            string.execute(rusqlite::params![id, format!("void kernel_{id}<float, {}>(float*, int)", id % 7)])?;
        }
        transaction.execute("INSERT INTO PROCESSES VALUES (?1, 4711, 'python')", [4711_i64 << 24])?;
        let mut kernel = transaction.prepare(
            "INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES
             (?1, ?2, 0, 1, NULL, ?3, ?4, ?5, ?6, ?6, NULL, 1, 0, 32, ?7, 1, 1, 256, 1, 1, 0, 0, 0, 0, ?4)",
        )?;
        for row in 0..rows as i64 {
            let start = row * 3_000 + row % 700;
            let length = 1_500 + row % 1_300;
            let (stream, name) = (7 + row % 4, row.wrapping_mul(7_919) % 500);
            kernel.execute([start, start + length, stream, row + 1, 4711 << 24, name, 1 + row % 512])?;
        }
    }
    transaction.commit()?;
    database.close().map_err(|(_, error)| error)?;
    Ok(())
}

// ---- loaders ----------------------------------------------------------------------------------------------------

/// Notes when reading ends and sorting begins.
#[derive(Default)]
struct Stages {
    sorting: Mutex<Option<f64>>,
}

impl Progress for Stages {
    fn stage(&self, what: &str, _total_bytes: u64) {
        if what.starts_with("Sorting")
            && let Ok(mut sorting) = self.sorting.lock()
        {
            *sorting = measure::cpu_seconds();
        }
    }
    fn done(&self, _bytes: u64) {}
}

fn measure_here(loader: Loader, file: &Path) -> anyhow::Result<Run> {
    bench::warm(file)?;
    // The peers decode from memory; reading the file into it is not counted.
    let is_prost = matches!(loader, Loader::ProstWhole | Loader::ProstPackets);
    let bytes = if is_prost { std::fs::read(file)? } else { Vec::new() };
    let stages = Stages::default();
    let cpu = measure::cpu_seconds().unwrap_or_default();
    let clock = Instant::now();
    let units = match loader {
        Loader::Gapless => {
            let trace = open(&[file.to_owned()], &OpenOptions::default(), &stages)?;
            ensure!(!trace.events().is_empty(), "the trace is empty");
            let events = trace.events().len() as u64;
            std::mem::forget(trace);
            events
        }
        Loader::ProstWhole => {
            let trace = perfetto_proto::Trace::decode(bytes.as_slice())?;
            let packets = trace.packet.len() as u64;
            std::mem::forget(trace);
            packets
        }
        Loader::ProstPackets => {
            let mut count = 0;
            each_packet(&bytes, |packet| {
                std::hint::black_box(TracePacket::decode(packet)?);
                count += 1;
                Ok(())
            })?;
            count
        }
        Loader::SqliteAlone => sqlite_alone(file)?,
    };
    let wall_s = clock.elapsed().as_secs_f64();
    let end = measure::cpu_seconds().unwrap_or_default();
    let sorting = stages.sorting.lock().ok().and_then(|sorting| *sorting).unwrap_or(end);
    let resident = measure::status_bytes("VmHWM").unwrap_or(0);
    Ok(Run { wall_s, cpu_s: end - cpu, read_s: sorting - cpu, units, bytes: file.metadata()?.len(), resident })
}

/// Packets of a file.
fn packets_of(file: &Path) -> anyhow::Result<u64> {
    let bytes = std::fs::read(file)?;
    let mut count = 0;
    each_packet(&bytes, |_| {
        count += 1;
        Ok(())
    })?;
    Ok(count)
}

/// Calls `each` with every packet of a file that is whole.
fn each_packet(mut bytes: &[u8], mut each: impl FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
    while let Some((&key, rest)) = bytes.split_first() {
        ensure!(key == 0x0A, "no packet");
        let (mut length, mut shift, mut at) = (0usize, 0, 0);
        loop {
            let byte = *rest.get(at).context("cut")?;
            length |= usize::from(byte & 0x7F) << shift;
            (shift, at) = (shift + 7, at + 1);
            if byte < 0x80 {
                break;
            }
        }
        each(rest.get(at..at + length).context("cut")?)?;
        bytes = rest.get(at + length..).unwrap_or_default();
    }
    Ok(())
}

fn sqlite_alone(file: &Path) -> anyhow::Result<u64> {
    let database = rusqlite::Connection::open_with_flags(file, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    database.pragma_update(None, "mmap_size", 8_i64 << 30)?;
    let mut rows = database.prepare(
        "SELECT start, end, deviceId, streamId, correlationId, globalPid, demangledName, gridX
         FROM CUPTI_ACTIVITY_KIND_KERNEL",
    )?;
    let mut rows = rows.query([])?;
    let (mut count, mut sum) = (0, 0_i64);
    while let Some(row) = rows.next()? {
        for column in 0..8 {
            sum = sum.wrapping_add(row.get_ref(column)?.as_i64()?);
        }
        count += 1;
    }
    std::hint::black_box(sum);
    Ok(count)
}

/// Measures one loader; `units` where they are not those that the loader counts.
fn line(cli: &Cli, name: &str, loader: Loader, file: &Path, threads: usize, units: Option<u64>) -> anyhow::Result<()> {
    let value = loader.to_possible_value().context("a hidden loader")?;
    let arguments = ["--only", value.get_name(), "--file"].map(OsStr::new);
    let arguments = [&arguments[..], &[file.as_os_str()]].concat();
    let run: Run = bench::median_of_runs(name, &arguments, threads, cli.runs, |run: &Run| run.cpu_s)?;
    let (mb, units) = (run.bytes as f64 / 1e6, units.unwrap_or(run.units) as f64);
    println!(
        "| {name} | {mb:.0} | {:.0} | {:.3} | {:.2} | {:.2} | {:.0} | {:.0} | {:.2} | {:.0} |",
        run.bytes as f64 / units,
        run.wall_s,
        run.cpu_s,
        run.read_s,
        mb / run.cpu_s.max(0.01),
        mb / run.read_s.max(0.01),
        units / 1e6 / run.cpu_s.max(0.01),
        run.resident as f64 / 1e6,
    );
    Ok(())
}
