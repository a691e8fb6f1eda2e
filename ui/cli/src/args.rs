//! The command line: every command, option and help text.

mod advice;
#[cfg(target_os = "linux")]
mod capture;
mod diff;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use gapless_trace::Duration;

pub use advice::*;
#[cfg(target_os = "linux")]
pub use capture::*;
pub use diff::DiffArgs;

/// Exit codes, as `--help` prints them.
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  something went wrong while working (out of disk, a file changed under us)
  2  wrong usage, or an input that cannot be read";

const EXAMPLES: &str = "\
Examples:
  gapless open rank0.pt.trace.json.gz       see one trace
  gapless open run42/                       see all ranks of a run on one timeline
  gapless analyze run42/                    where the time of each rank and step went
  gapless advise run42/ --plan 6            what to change first, and what it would bring
  gapless convert run42/ -o run42.pftrace   for ui.perfetto.dev
  gapless record -- python train.py         record a job";

/// What fits into the first help.
const SHORT_EXAMPLES: &str = "\
Examples:
  gapless open run42/        gapless analyze run42/        gapless record -- python train.py";

/// The first help a user sees names commands; options are told by each command.
const TEMPLATE: &str = "\
{about-with-newline}
{usage-heading} gapless COMMAND …
       gapless PATH…            the same as gapless open PATH…

Commands:
{subcommands}

PATH: trace files, folders (a file per rank), quoted patterns. `gapless COMMAND --help` says more.{after-help}";

const OPEN_EXAMPLES: &str = "\
Examples:
  gapless open rank0.pt.trace.json.gz
  gapless open run42/
  gapless open 'run42/rank*.json.gz'
  gapless open run42/ --screenshot step.png --size 1920x1080 --theme light
  gapless open run42/ --screenshot part.png --range 0.2ms..0.9ms --rank 3";

const ANALYZE_EXAMPLES: &str = "\
Examples:
  gapless analyze run42/
  gapless analyze run42/ --rank 3 --step 12
  gapless analyze run42/ --section kernels --top 50
  gapless analyze run42/ --json | jq '.ranks[] | {rank, exposed_comm_ns}'
  gapless analyze rank0.json.gz --communication-patterns ours.toml

The pattern file is TOML: patterns = [\"^my_ring_\", \"fused_allreduce\"]. Each is a
case-insensitive regular expression on kernel names, beside the built-in ones.";

const COLLECTIVES_EXAMPLES: &str = "\
Examples:
  gapless collectives run42/
  gapless collectives run42/ --top 50
  gapless collectives run42/ --json | jq '.lateness[] | select(.verdict == \"late\")'";

const STRAGGLERS_EXAMPLES: &str = "\
Examples:
  gapless stragglers run42/
  gapless stragglers trace-AR.parquet
  gapless stragglers run42/ --json | jq '.trace.delay_costs[0]'";

const PATH_EXAMPLES: &str = "\
Examples:
  gapless path run42/
  gapless path rank0.json.gz --step 12 --top 20
  gapless path run42/ --json | jq '.paths[] | {name, categories}'";

const TRUST_EXAMPLES: &str = "\
Examples:
  gapless trust rank0.json.gz
  gapless trust run42/ --json | jq '{grade, checks}'";

const ROOFLINE_EXAMPLES: &str = "\
Examples:
  gapless roofline rank0.json.gz
  gapless roofline rank0.json.gz --gpu 'H100 PCIe' --top 30
  gapless roofline run42/ --rank 3 --json | jq '.ranks[] | .utilisation'";

const CLOCKS_EXAMPLES: &str = "\
Examples:
  gapless clocks run42/
  gapless clocks run42/ --json | jq '.ranks[] | {rank, offset_ns, error_ns}'";

const CONVERT_EXAMPLES: &str = "\
Examples:
  gapless convert rank0.pt.trace.json.gz -o rank0.pftrace
  gapless convert run42/ -o run42.pftrace.gz
  gapless convert run42/ -o small.pftrace --no-args
  gapless convert run42/ -o path.pftrace --engine
  gapless convert run42/ -o run42.parquet --columns stream,grid
  gapless convert rank0.json.gz -o step.speedscope.json --range 0.2ms..0.9ms

Perfetto files open at https://ui.perfetto.dev and lose nothing: Gapless reads the same trace
back from them. Profiles hold the stacks of a time range, for flame graphs.";

const INFO_EXAMPLES: &str = "\
Examples:
  gapless info rank0.pt.trace.json.gz
  gapless info run42/ --memory
  gapless info run42/ --json | jq '.warnings'";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  gapless completions bash > ~/.local/share/bash-completion/completions/gapless
  gapless completions zsh > ~/.zfunc/_gapless
  gapless completions fish > ~/.config/fish/completions/gapless.fish";

/// Profiler and trace visualizer for ML training and serving.
#[derive(Debug, Parser)]
#[command(
    name = "gapless",
    version,
    max_term_width = 100,
    help_template = TEMPLATE,
    args_conflicts_with_subcommands = true,
    after_help = SHORT_EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}")
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub open: OpenArgs,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show traces on a timeline
    #[command(after_help = OPEN_EXAMPLES)]
    Open(OpenArgs),
    /// Report where the time of each rank and step went
    #[command(visible_alias = "analyse", after_help = ANALYZE_EXAMPLES)]
    Analyze(AnalyzeArgs),
    /// Say what to change, what it would bring, and how sure that is
    #[command(after_help = advice::ADVISE_EXAMPLES)]
    Advise(AdviseArgs),
    /// Simulate changes: other durations, orders, links, devices
    #[command(name = "whatif", alias = "what-if", after_help = advice::WHATIF_EXAMPLES)]
    WhatIf(WhatIfArgs),
    /// Step time as a function of the machine: which rate helps most, and until when
    #[command(alias = "co-design", after_help = advice::CODESIGN_EXAMPLES)]
    Codesign(CodesignArgs),
    /// Match collectives over ranks: who waited for whom, transfer times, bandwidth
    #[command(after_help = COLLECTIVES_EXAMPLES)]
    Collectives(CollectivesArgs),
    /// Find the ranks that hold the others up: what they cost, from both sides, and why they are late
    #[command(after_help = STRAGGLERS_EXAMPLES)]
    Stragglers(StragglersArgs),
    /// Align the clocks of ranks by their collectives, with error bars
    #[command(after_help = CLOCKS_EXAMPLES)]
    Clocks(ClocksArgs),
    /// Walk the chain of events that decided how long each step took
    #[command(visible_alias = "critical-path", after_help = PATH_EXAMPLES)]
    Path(PathArgs),
    /// Say how far the engine's model is from the recording, and how far to trust it
    #[command(after_help = TRUST_EXAMPLES)]
    Trust(TrustArgs),
    /// Compare operators with what their device could do: bounds, headroom, MFU
    #[command(after_help = ROOFLINE_EXAMPLES)]
    Roofline(RooflineArgs),
    /// Compare two recordings: slower or faster, and what made the difference
    #[command(after_help = diff::DIFF_EXAMPLES)]
    Diff(DiffArgs),
    /// Write traces in another format: Perfetto, Parquet, Chrome JSON, profiles
    #[command(after_help = CONVERT_EXAMPLES)]
    Convert(ConvertArgs),
    /// Say what is in the files: ranks, devices, clocks, tracks, warnings
    #[command(after_help = INFO_EXAMPLES)]
    Info(InfoArgs),
    /// Run a job unchanged and record its timelines
    #[cfg(target_os = "linux")]
    #[command(after_help = capture::RECORD_EXAMPLES)]
    Record(RecordArgs),
    /// Record stacks and scheduling of a job that runs already, from outside
    #[cfg(all(target_os = "linux", feature = "sampling"))]
    #[command(after_help = capture::ATTACH_EXAMPLES)]
    Attach(AttachArgs),
    /// Steer recordings that run: start, stop, dump, mark, detail windows
    #[cfg(target_os = "linux")]
    #[command(after_help = capture::CTL_EXAMPLES)]
    Ctl(CtlArgs),
    /// Say what can be recorded on this machine, and what blocks the rest
    #[cfg(target_os = "linux")]
    #[command(after_help = capture::DOCTOR_EXAMPLES)]
    Doctor(DoctorArgs),
    /// Print a completion script for a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(CompletionsArgs),
}

/// Heading of the options that only say what a picture shows.
const PICTURE: &str = "With --screenshot";

/// What every command that reads traces has in common.
#[derive(Clone, Debug, Default, Args)]
pub struct ReadArgs {
    /// Rank of each file, in the order given, where the files do not say it
    #[arg(long, value_name = "N,N,…", value_delimiter = ',', help_heading = "Reading")]
    pub ranks: Option<Vec<u32>>,
    /// TOML file with `patterns = ["regex", …]`: more names of communication kernels
    #[arg(long, value_name = "FILE", help_heading = "Reading", hide_short_help = true)]
    pub communication_patterns: Option<PathBuf>,
    /// Raise a limit on what a file may cost: inflated=32GiB, ratio=1000, depth, entries, string, nesting, events
    #[arg(long = "limit", value_name = "NAME=VALUE", help_heading = "Reading", hide_short_help = true)]
    pub limits: Vec<String>,
    /// Threads to work with [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), help_heading = "Reading")]
    pub threads: Option<u16>,
    /// No progress bars and no notes, only results and errors
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,
    /// When to use colours
    #[arg(long, value_enum, default_value_t = Color::Auto, value_name = "WHEN", help_heading = "Output")]
    pub color: Color,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Clone, Debug, Default, Args)]
pub struct OpenArgs {
    /// Trace files, folders or quoted patterns
    #[arg(value_name = "PATH")]
    pub paths: Vec<String>,
    /// Write a picture to this PNG file instead of opening a window; works without a display
    #[arg(long, value_name = "FILE.png")]
    pub screenshot: Option<PathBuf>,
    /// Colour theme [default: dark]
    #[arg(long, value_enum, value_name = "THEME")]
    pub theme: Option<Theme>,
    /// Graphics interface of the window [default: wgpu, and glow where that fails]
    #[arg(long, value_enum, value_name = "NAME")]
    pub renderer: Option<Renderer>,
    /// Size of the picture in points [default: 1600x1000]
    #[arg(long, value_name = "WxH", value_parser = parse_size, requires = "screenshot", help_heading = PICTURE)]
    pub size: Option<[u32; 2]>,
    /// Pixels per point: 2 gives a picture of twice the size and sharpness
    #[arg(long, value_name = "N", value_parser = parse_scale, requires = "screenshot", help_heading = PICTURE)]
    pub scale: Option<f32>,
    /// Time range to show, counted from the start of the trace: 120ms..160ms, 1.5s..
    #[arg(long, value_name = "A..B", value_parser = parse_range, requires = "screenshot", help_heading = PICTURE)]
    pub range: Option<TimeRange>,
    /// Step to show, by number or name
    #[arg(long, value_name = "S", requires = "screenshot", conflicts_with = "range", help_heading = PICTURE)]
    pub step: Option<String>,
    /// Event to select, by name
    #[arg(long, value_name = "NAME", requires = "screenshot", help_heading = PICTURE)]
    pub select: Option<String>,
    /// Rank to unfold
    #[arg(long, value_name = "R", requires = "screenshot", help_heading = PICTURE)]
    pub rank: Option<u32>,
    /// Panel to show below the timeline
    #[arg(long, value_enum, value_name = "NAME", requires = "screenshot", help_heading = PICTURE)]
    pub panel: Option<Panel>,
    /// Advice to simulate, by its id (`late-ranks`, `host`, …), or a speed (`link=2x`, `gpu=2x`, `host=2x`); repeatable
    #[arg(long, value_name = "ID", requires = "screenshot", help_heading = PICTURE)]
    pub simulate: Vec<String>,
    /// Compare with an earlier recording of the job: both timelines, and what made steps longer or shorter
    #[arg(long, value_name = "BASE", requires = "paths")]
    pub compare: Option<String>,
    /// Cause whose details are shown, by its label or a part of it
    #[arg(long, value_name = "CAUSE", requires_all = ["screenshot", "compare"], help_heading = PICTURE)]
    pub change: Option<String>,
    #[command(flatten)]
    pub read: ReadArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Theme {
    Dark,
    Light,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Renderer {
    Auto,
    Wgpu,
    Glow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Panel {
    Selection,
    Breakdown,
    Path,
    Collectives,
    Stragglers,
    Roofline,
    Compare,
    Kernels,
    Operators,
    Transfers,
    Warnings,
    /// The checks of the model, over the timeline
    Trust,
}

/// A stretch of time counted from the start of the trace; an open end reaches the end of the trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeRange {
    pub start: Option<Duration>,
    pub end: Option<Duration>,
}

#[derive(Clone, Debug, Args)]
pub struct AnalyzeArgs {
    /// Trace files, folders or quoted patterns
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<String>,
    /// Print only these parts of the report; can be given several times
    #[arg(long, value_enum, value_name = "NAME", value_delimiter = ',')]
    pub section: Vec<Section>,
    /// Whose definitions to follow in the kernel table and the totals over the recording
    #[arg(long, value_enum, default_value_t = Convention::Gapless, value_name = "NAME")]
    pub convention: Convention,
    /// Rows per table [default: 10, and all with --json]
    #[arg(long, value_name = "N")]
    pub top: Option<usize>,
    /// Only this rank
    #[arg(long, value_name = "R")]
    pub rank: Option<u32>,
    /// Only this step, by its number in the trace (ProfilerStep#12 is 12)
    #[arg(long, value_name = "S")]
    pub step: Option<u64>,
    /// Print one JSON object (docs/json-schema.md) instead of text
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    #[command(flatten)]
    pub read: ReadArgs,
}

/// A part of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Section {
    /// The sentence at the top
    Summary,
    /// What each step of each rank is made of
    Steps,
    /// Why the device had nothing to do
    Idle,
    /// Kernels by total time
    Kernels,
    /// Framework operators by the device time they caused
    Operators,
    /// Copies and fills with bandwidth
    Copies,
    /// Collectives with bytes
    Collectives,
    /// Launch delay and queue length
    Launches,
    /// CUDA and HIP graphs
    Graphs,
    /// What decided how long steps took; only where asked for, as the next three
    Path,
    /// Ranks that hold the others up
    Stragglers,
    /// How the clocks of ranks lie to one another
    Clocks,
    /// How far the model is from the recording
    Trust,
    /// What to change, and what it would bring
    Advice,
    /// What was odd or lost on import
    Warnings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Convention {
    /// Exact partition; synchronisation rows are not work
    Gapless,
    /// As TraceLens counts, to compare with its reports
    Tracelens,
}

#[derive(Clone, Debug, Args)]
pub struct CollectivesArgs {
    /// Trace files, folders or quoted patterns
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<String>,
    /// Rows of the table of the longest waits [default: 10]
    #[arg(long, value_name = "N", conflicts_with = "json")]
    pub top: Option<usize>,
    /// Print one JSON object (docs/json-schema.md) instead of text
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    #[command(flatten)]
    pub read: ReadArgs,
}

#[derive(Clone, Debug, Args)]
pub struct PathArgs {
    /// Trace files, folders or quoted patterns
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<String>,
    /// Only this step, by its number in the trace (ProfilerStep#12 is 12)
    #[arg(long, value_name = "S")]
    pub step: Option<u64>,
    /// Rows per table [default: 10, and all with --json]
    #[arg(long, value_name = "N")]
    pub top: Option<usize>,
    /// Print one JSON object (docs/json-schema.md) instead of text
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    #[command(flatten)]
    pub read: ReadArgs,
}

#[derive(Clone, Debug, Args)]
pub struct StragglersArgs {
    /// Trace files, folders or quoted patterns; or a table of operators
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<String>,
    /// Rows per table [default: 10, and all with --json]
    #[arg(long, value_name = "N")]
    pub top: Option<usize>,
    /// Print one JSON object (docs/json-schema.md) instead of text
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    #[command(flatten)]
    pub read: ReadArgs,
}

#[derive(Clone, Debug, Args)]
pub struct TrustArgs {
    /// Trace files, folders or quoted patterns
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<String>,
    /// Print one JSON object (docs/json-schema.md) instead of text
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    #[command(flatten)]
    pub read: ReadArgs,
}

#[derive(Clone, Debug, Args)]
pub struct RooflineArgs {
    /// Trace files, folders or quoted patterns
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<String>,
    /// Device to compare with [default: the one that the trace names]
    #[arg(long, value_name = "NAME")]
    pub gpu: Option<String>,
    /// TOML file with devices of your own (docs/roofline.md); its values win
    #[arg(long, value_name = "FILE")]
    pub hardware: Option<PathBuf>,
    /// Only this rank
    #[arg(long, value_name = "R")]
    pub rank: Option<u32>,
    /// Rows per table [default: 10, and all with --json]
    #[arg(long, value_name = "N")]
    pub top: Option<usize>,
    /// Print one JSON object (docs/json-schema.md) instead of text
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    #[command(flatten)]
    pub read: ReadArgs,
}

#[derive(Clone, Debug, Args)]
pub struct ClocksArgs {
    /// Trace files, folders or quoted patterns
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<String>,
    /// Print one JSON object (docs/json-schema.md) instead of text
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    #[command(flatten)]
    pub read: ReadArgs,
}

#[derive(Clone, Debug, Args)]
pub struct ConvertArgs {
    /// Trace files, folders or quoted patterns
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<String>,
    /// What to write; its ending says the format: .pftrace, .parquet (a folder), .json, .firefox.json,
    /// .speedscope.json; with .gz behind it (not Parquet) it is compressed
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// The format, where the ending does not say it
    #[arg(long, value_enum, value_name = "NAME")]
    pub format: Option<OutputFormat>,
    /// Leave out the arguments of events: a smaller file
    #[arg(long)]
    pub no_args: bool,
    /// Perfetto: add tracks of the critical path and of waits for late ranks; reading the file back leaves them out
    #[arg(long)]
    pub engine: bool,
    /// Parquet: write all arguments too, as JSON text in the column `args`
    #[arg(long, conflicts_with = "no_args")]
    pub args_column: bool,
    /// Parquet: arguments that get a column of their own
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub columns: Vec<String>,
    /// Profiles: only this time, counted from the start of the trace: 120ms..160ms, 1.5s..
    #[arg(long, value_name = "A..B", value_parser = parse_range)]
    pub range: Option<TimeRange>,
    /// Profiles: only this rank
    #[arg(long, value_name = "R")]
    pub rank: Option<u32>,
    /// Print one JSON object (docs/json-schema.md) about what was written
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    #[command(flatten)]
    pub read: ReadArgs,
}

/// A format that `gapless convert` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Perfetto protobuf: everything, without loss
    Pftrace,
    /// A folder of Parquet tables for SQL engines and data frames
    Parquet,
    /// Kineto/Chrome JSON for older tools
    Json,
    /// Firefox profile: stacks as flame graphs
    Firefox,
    /// speedscope profile: stacks as flame graphs
    Speedscope,
}

impl OutputFormat {
    /// Stable name for machines.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Pftrace => "pftrace",
            Self::Parquet => "parquet",
            Self::Json => "json",
            Self::Firefox => "firefox",
            Self::Speedscope => "speedscope",
        }
    }
}

#[derive(Clone, Debug, Args)]
pub struct InfoArgs {
    /// Trace files, folders or quoted patterns
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<String>,
    /// Print what the trace costs in memory, by part
    #[arg(long)]
    pub memory: bool,
    /// List every track
    #[arg(long)]
    pub tracks: bool,
    /// Print one JSON object (docs/json-schema.md) instead of text
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    #[command(flatten)]
    pub read: ReadArgs,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

fn parse_size(text: &str) -> Result<[u32; 2], String> {
    let wrong = || "expected WIDTHxHEIGHT in pixels, from 64x64 to 16384x16384, such as 1920x1080".to_owned();
    let (width, height) = text.split_once(['x', 'X', '×']).ok_or_else(wrong)?;
    let side = |side: &str| side.trim().parse::<u32>().ok().filter(|side| (64..=16_384).contains(side));
    Ok([side(width).ok_or_else(wrong)?, side(height).ok_or_else(wrong)?])
}

fn parse_scale(text: &str) -> Result<f32, String> {
    let scale = text.parse::<f32>().ok().filter(|scale| (0.5..=4.0).contains(scale));
    scale.ok_or_else(|| "expected a number from 0.5 to 4".to_owned())
}

fn parse_range(text: &str) -> Result<TimeRange, String> {
    let (start, end) = text.split_once("..").ok_or("expected START..END, such as 120ms..160ms, 1.5s.. or ..2s")?;
    let side = |side: &str| if side.trim().is_empty() { Ok(None) } else { parse_duration(side).map(Some) };
    let range = TimeRange { start: side(start)?, end: side(end)? };
    match (range.start, range.end) {
        (Some(start), Some(end)) if start >= end => Err("the range ends before it starts".to_owned()),
        (None, Some(end)) if end == Duration::ZERO => Err("the range ends before it starts".to_owned()),
        _ => Ok(range),
    }
}

/// Parses `120ms`, `1.5s`, `20us`, `20µs`, `300ns`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let nanos_per_unit = match unit.trim() {
        "ns" => 1.0,
        "us" | "µs" | "μs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "min" => 60e9,
        "" => return Err(format!("{text:?} has no unit; write {text}ms or {text}s")),
        unit => return Err(format!("{unit:?} is not a unit of time; use ns, us, ms, s or min")),
    };
    let value: f64 = number.parse().map_err(|_| format!("{number:?} is not a number"))?;
    let nanos = value * nanos_per_unit;
    // Beyond 2^53 ns (104 days) the product would no longer be exact.
    if nanos > 9e15 { Err(format!("{text} is too long")) } else { Ok(Duration(nanos.round() as i64)) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn ranges_have_units_and_open_ends() {
        let range = |start, end| Ok(TimeRange { start, end });
        assert_eq!(parse_range("120ms..160ms"), range(Some(Duration(120_000_000)), Some(Duration(160_000_000))));
        assert_eq!(parse_range("1.5s.."), range(Some(Duration(1_500_000_000)), None));
        assert_eq!(parse_range("..2us"), range(None, Some(Duration(2_000))));
        assert_eq!(parse_range("0ns..7ns"), range(Some(Duration(0)), Some(Duration(7))));
        assert_eq!(parse_range(".."), range(None, None));
        for wrong in ["", "5ms", "5..6", "6ms..5ms", "5ms..5ms", "1.2.3s..", "5parsecs..", "-1s..", "1e3s..", "..0s"] {
            assert!(parse_range(wrong).is_err(), "{wrong:?} must be refused");
        }
    }

    #[test]
    fn sizes_are_two_sensible_numbers() {
        assert_eq!(parse_size("1920x1080"), Ok([1920, 1080]));
        for wrong in ["", "1920", "0x0", "1920x", "x1080", "-5x10", "1920x1080x3", "999999x10"] {
            assert!(parse_size(wrong).is_err(), "{wrong:?} must be refused");
        }
    }
}
