//! `gapless convert`: a trace in another format. The output appears whole or not at all.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use gapless_formats::chrome_json::{self, Lanes};
use gapless_formats::profile::{self, ProfileFormat, ProfileOptions, Selection};
use gapless_formats::{parquet, perfetto};
use gapless_trace::{Span, Trace};
use serde::Serialize;

use super::SCHEMA_VERSION;
use crate::args::{ConvertArgs, OutputFormat};
use crate::failure::BadInput;
use crate::output;
use crate::progress::{Bar, Unit};
use crate::text::{bytes, count};

/// What `gapless convert --json` prints. What a format does not have is null.
#[derive(Debug, Default, Serialize)]
struct ConvertReport {
    schema_version: u32,
    command: &'static str,
    output: String,
    format: &'static str,
    compressed: bool,
    with_args: bool,
    output_bytes: u64,
    uncompressed_bytes: Option<u64>,
    files: u64,
    events: u64,
    ranks: u64,
    slices: Option<u64>,
    instants: Option<u64>,
    counter_values: Option<u64>,
    flows: Option<u64>,
    tracks: Option<u64>,
    shift_ns: Option<i64>,
    times_cut: bool,
    unreadable_args: u64,
    lost: u64,
    read_seconds: f64,
    write_seconds: f64,
}

/// What is written, as the options and the name of the output say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Target {
    format: OutputFormat,
    gzip: bool,
}

pub fn run(args: &ConvertArgs) -> anyhow::Result<()> {
    // All that can be refused is refused before the long work.
    let target = target(args)?;
    refuse_unfit_options(args, target)?;
    refuse_unwritable(&args.output, target)?;
    let files = super::expand(&args.paths)?;
    super::refuse_input_as_output(&files, &args.output)?;
    let opened = super::read_files(&files, &super::open_options(&args.read)?, &args.read)?;

    let begun = Instant::now();
    let mut report = ConvertReport {
        schema_version: SCHEMA_VERSION,
        command: "convert",
        output: args.output.display().to_string(),
        format: target.format.id(),
        compressed: target.gzip,
        with_args: !args.no_args,
        files: 1,
        events: opened.trace.events().len() as u64,
        ranks: opened.trace.ranks().len() as u64,
        lost: opened.trace.warnings().lost(),
        read_seconds: opened.read_time.as_secs_f64(),
        ..ConvertReport::default()
    };
    let bar = Bar::new(args.read.quiet, Unit::Events);
    write(&opened.trace, args, target, &bar, &mut report)?;
    drop(bar);
    report.write_seconds = begun.elapsed().as_secs_f64();
    if report.output_bytes == 0 {
        report.output_bytes = fs::metadata(&args.output)?.len();
    }
    if args.json {
        return output::print_json(&report);
    }
    if args.read.quiet { Ok(()) } else { output::print(&summary(&report, target)) }
}

fn write(
    trace: &Trace,
    args: &ConvertArgs,
    target: Target,
    bar: &Bar,
    report: &mut ConvertReport,
) -> anyhow::Result<()> {
    match target.format {
        OutputFormat::Pftrace => {
            let options = perfetto::WriteOptions { arguments: !args.no_args, gzip: target.gzip };
            let derived = if args.engine { super::engine_tracks::engine_tracks(trace) } else { Vec::new() };
            let written = perfetto::write_file_with(trace, &derived, &args.output, &options, bar)?;
            report.uncompressed_bytes = Some(written.bytes);
            report.slices = Some(written.slices);
            report.instants = Some(written.instants);
            report.counter_values = Some(written.counter_values);
            report.flows = Some(written.flows);
            report.tracks = Some(written.tracks);
            report.shift_ns = Some(written.shift_ns);
            report.times_cut = written.times_cut;
            report.unreadable_args = written.unreadable_args;
        }
        OutputFormat::Parquet => {
            let options = parquet::WriteOptions { arguments: args.args_column, argument_columns: args.columns.clone() };
            let written = parquet::write_folder(trace, &args.output, &options, bar)?;
            report.with_args = args.args_column;
            report.output_bytes = written.bytes;
            report.files = written.files;
            report.unreadable_args = written.unreadable_args;
        }
        OutputFormat::Json => {
            let options =
                chrome_json::WriteOptions { arguments: !args.no_args, gzip: target.gzip, lanes: Lanes::Together };
            let written = chrome_json::write_file(trace, &args.output, &options, bar)?;
            report.uncompressed_bytes = Some(written.bytes);
            report.counter_values = Some(written.counter_values);
            report.flows = Some(written.flows);
            report.unreadable_args = written.unreadable_args;
        }
        OutputFormat::Firefox | OutputFormat::Speedscope => {
            let selection = selection(trace, args)?;
            let format = match target.format {
                OutputFormat::Firefox => ProfileFormat::Firefox,
                _ => ProfileFormat::Speedscope,
            };
            let options = ProfileOptions { format, gzip: target.gzip };
            let written = profile::write_file(trace, &selection, &args.output, &options, bar)?;
            report.events = written.events;
            report.tracks = Some(written.threads);
            report.with_args = false;
        }
    }
    Ok(())
}

/// The part of the trace whose stacks are asked for.
fn selection(trace: &Trace, args: &ConvertArgs) -> anyhow::Result<Selection> {
    let mut selection = match args.rank {
        None => Selection::default(),
        Some(number) => {
            let found = trace.rank_ids().find(|(id, rank)| rank.number.unwrap_or(id.0) == number);
            let (id, _) = found.ok_or_else(|| {
                BadInput::new(format!("there is no rank {number}")).hint("`gapless info` lists the ranks")
            })?;
            Selection::of_ranks(trace, &[id])
        }
    };
    if let (Some(range), Some(whole)) = (args.range, trace.span()) {
        let start = whole.start + range.start.unwrap_or_default();
        let end = range.end.map_or(whole.end, |end| whole.start + end);
        selection.span = Some(Span::new(start, end.min(whole.end).max(start)));
    }
    Ok(selection)
}

fn summary(report: &ConvertReport, target: Target) -> String {
    let ranks = if report.ranks == 1 { String::new() } else { format!(" of {} ranks", report.ranks) };
    let mut text =
        format!("Wrote {}: {} events{ranks}, {}\n", report.output, count(report.events), bytes(report.output_bytes));
    if report.lost > 0 {
        text.push_str(&format!("{} things in the input could not be read; see `gapless info`\n", count(report.lost)));
    }
    if report.unreadable_args > 0 {
        text.push_str(&format!("The arguments of {} events could not be read\n", count(report.unreadable_args)));
    }
    if report.times_cut {
        text.push_str("Times at the far end do not fit the format and were cut\n");
    }
    text.push_str(&match target.format {
        OutputFormat::Pftrace => "Open it at https://ui.perfetto.dev\n".to_owned(),
        OutputFormat::Parquet => {
            format!("Query it: SELECT name, sum(dur_ns) FROM '{}/events/*/*.parquet' GROUP BY name\n", report.output)
        }
        OutputFormat::Json => "Open it with any tool that reads Kineto or Chrome JSON\n".to_owned(),
        OutputFormat::Firefox => "Open it at https://profiler.firefox.com\n".to_owned(),
        OutputFormat::Speedscope => "Open it at https://www.speedscope.app\n".to_owned(),
    });
    text
}

/// Endings and the formats that they stand for; the first that fits counts.
const ENDINGS: &[(&str, OutputFormat)] = &[
    (".speedscope.json", OutputFormat::Speedscope),
    (".firefox.json", OutputFormat::Firefox),
    (".pftrace", OutputFormat::Pftrace),
    (".perfetto-trace", OutputFormat::Pftrace),
    (".parquet", OutputFormat::Parquet),
    (".json", OutputFormat::Json),
];

fn target(args: &ConvertArgs) -> anyhow::Result<Target> {
    let name = args.output.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let (stem, gzip) = name.strip_suffix(".gz").map_or((name.as_str(), false), |stem| (stem, true));
    let of_name = ENDINGS.iter().find(|(ending, _)| stem.ends_with(ending)).map(|&(_, format)| format);
    let Some(format) = args.format.or(of_name) else {
        return Err(BadInput::new(format!("cannot tell the format of {} from its ending", args.output.display()))
            .hint(
                "name it *.pftrace, *.parquet (a folder), *.json, *.firefox.json or *.speedscope.json, with .gz behind \
                 it to compress (not Parquet), or say --format",
            )
            .into());
    };
    if gzip && format == OutputFormat::Parquet {
        return Err(BadInput::new("Parquet is compressed by itself, inside").hint("leave out the .gz").into());
    }
    Ok(Target { format, gzip })
}

/// Refuses options that the format has no use for, rather than ignoring them.
fn refuse_unfit_options(args: &ConvertArgs, target: Target) -> anyhow::Result<()> {
    let is_profile = matches!(target.format, OutputFormat::Firefox | OutputFormat::Speedscope);
    let unfit = [
        (args.engine && target.format != OutputFormat::Pftrace, "--engine", "Perfetto traces (pftrace)"),
        (args.args_column && target.format != OutputFormat::Parquet, "--args-column", "Parquet"),
        (!args.columns.is_empty() && target.format != OutputFormat::Parquet, "--columns", "Parquet"),
        (args.range.is_some() && !is_profile, "--range", "profiles (firefox, speedscope)"),
        (args.rank.is_some() && !is_profile, "--rank", "profiles (firefox, speedscope)"),
    ];
    match unfit.iter().find(|entry| entry.0) {
        Some((_, option, formats)) => Err(BadInput::new(format!(
            "{option} is for {formats}, and {} is {}",
            args.output.display(),
            target.format.id()
        ))
        .into()),
        None => Ok(()),
    }
}

fn folder_of(path: &Path) -> PathBuf {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// Refuses what the rename at the end would destroy or could not reach.
fn refuse_unwritable(output: &Path, target: Target) -> anyhow::Result<()> {
    let folder = folder_of(output);
    if !folder.is_dir() {
        return Err(BadInput::new(format!("the folder {} does not exist", folder.display()))
            .hint("create it first; gapless writes nothing but the output")
            .into());
    }
    let found = fs::symlink_metadata(output);
    if target.format == OutputFormat::Parquet {
        return match found {
            Ok(found) if found.is_dir() && is_empty(output) => Ok(()),
            Ok(_) => Err(BadInput::new(format!("{} is there already", output.display()))
                .hint("give the name of a new folder, or remove the old one")
                .into()),
            Err(_) => Ok(()),
        };
    }
    match found {
        Ok(found) if found.is_dir() => {
            Err(BadInput::new(format!("{} is a folder", output.display())).hint("give the name of a file").into())
        }
        Ok(found) if !found.is_file() => {
            Err(BadInput::new(format!("{} is not a regular file and is not replaced", output.display()))
                .hint("give the name of a new file")
                .into())
        }
        _ => Ok(()),
    }
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}
