//! Writes synthetic multi-rank training traces into a folder.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::{Parser, ValueEnum};
use gapless_tests::synth::{Config, Era, Layout, SlowRank, Vendor, Workload, write_files};

/// Writes synthetic training traces, one Kineto JSON file a rank.
#[derive(Parser)]
#[command(
    name = "gapless-synth",
    after_help = "Examples:\n  gapless-synth sample assets/sample\n  gapless-synth recommendation target/bench-data/rec --ranks 8 --events 1000000\n  gapless-synth pipeline /tmp/pp --ranks 4 --steps 5 --slow-rank 2 --slow-factor 1.5 --no-gzip"
)]
struct Cli {
    /// Which job; `sample` is the trace that the first run opens, without options.
    job: Job,
    /// Folder that gets the files; made if need be.
    folder: PathBuf,
    /// Ranks, or stages of a pipeline.
    #[arg(long, default_value_t = 4)]
    ranks: u32,
    /// Steps.
    #[arg(long, default_value_t = 3)]
    steps: u32,
    /// Layers of the model.
    #[arg(long, default_value_t = 8)]
    layers: u32,
    /// About so many events over all ranks; sets the steps (and the layers, for few events).
    #[arg(long)]
    events: Option<u64>,
    /// Seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Share by which durations vary.
    #[arg(long, default_value_t = 0.05)]
    jitter: f64,
    /// Rank whose device is slow.
    #[arg(long)]
    slow_rank: Option<u32>,
    /// How slow.
    #[arg(long, default_value_t = 1.5)]
    slow_factor: f64,
    /// The slow rank's host is slow, not its device.
    #[arg(long)]
    slow_host: bool,
    /// Errors of the ranks' clocks in ns, by rank.
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true)]
    clock_offsets: Vec<i64>,
    /// The optimizer runs as a device graph.
    #[arg(long)]
    graphs: bool,
    /// How times are written.
    #[arg(long, value_enum, default_value_t = Times::Relative)]
    era: Times,
    /// HIP names and streams.
    #[arg(long)]
    amd: bool,
    /// No white space in the text.
    #[arg(long)]
    compact: bool,
    /// Plain text, not gzip.
    #[arg(long)]
    no_gzip: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Job {
    Sample,
    DataParallel,
    Pipeline,
    Recommendation,
}

#[derive(Clone, Copy, ValueEnum)]
enum Times {
    Legacy,
    Integer,
    Fractional,
    Relative,
}

impl Cli {
    fn config(&self) -> anyhow::Result<Config> {
        let workload = match self.job {
            Job::Sample => return Ok(Config::sample()),
            Job::DataParallel => Workload::DataParallel,
            Job::Pipeline => Workload::Pipeline,
            Job::Recommendation => Workload::Recommendation,
        };
        ensure!(self.ranks > 0, "--ranks must be at least 1");
        ensure!((0.0..=1.0).contains(&self.jitter), "--jitter must lie between 0 and 1");
        let slow = self.slow_rank.map(|rank| SlowRank { rank, factor: self.slow_factor, device: !self.slow_host });
        let config = Config {
            layers: self.layers,
            seed: self.seed,
            jitter: self.jitter,
            slow,
            clock_offsets_ns: self.clock_offsets.clone(),
            graphs: self.graphs,
            era: match self.era {
                Times::Legacy => Era::Legacy,
                Times::Integer => Era::IntegerMicros,
                Times::Fractional => Era::FractionalMicros,
                Times::Relative => Era::Relative,
            },
            vendor: if self.amd { Vendor::Amd } else { Vendor::Nvidia },
            layout: if self.compact { Layout::Compact } else { Layout::Kineto },
            ..Config::new(workload, self.ranks, self.steps)
        };
        Ok(match self.events {
            Some(events) => config.sized(events)?,
            None => config,
        })
    }
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let config = cli.config()?;
    let (paths, truth) = write_files(&config, &cli.folder, !cli.no_gzip)
        .with_context(|| format!("cannot write into {}", cli.folder.display()))?;
    let bytes: u64 = paths.iter().filter_map(|path| path.metadata().ok()).map(|meta| meta.len()).sum();
    println!(
        "{} ranks, {} steps, {} events, {} collectives, {bytes} bytes in {}",
        config.ranks,
        config.steps,
        truth.events(),
        truth.collectives.len(),
        cli.folder.display()
    );
    for rank in &truth.ranks {
        println!(
            "rank {}: {} device events, span {} ns, busy {} ns, compute {} ns, communication {} ns ({} ns exposed)",
            rank.rank,
            rank.device_events,
            rank.span_ns(),
            rank.time.busy_ns(),
            rank.time.union_of(gapless_tests::synth::Class::Compute),
            rank.time.union_of(gapless_tests::synth::Class::Communication),
            rank.time.exposed_comm_ns(),
        );
    }
    Ok(())
}
