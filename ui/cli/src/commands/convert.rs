//! `gapless convert`: a trace in another format. The output appears whole or not at all.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use gapless_formats::perfetto::{WriteOptions, WriteSummary, write_file};
use gapless_trace::Trace;
use serde::Serialize;

use super::SCHEMA_VERSION;
use crate::args::ConvertArgs;
use crate::failure::BadInput;
use crate::output;
use crate::progress::{Bar, Unit};
use crate::text::{bytes, count};

/// What `gapless convert --json` prints.
#[derive(Debug, Serialize)]
struct ConvertReport {
    schema_version: u32,
    command: &'static str,
    output: String,
    format: &'static str,
    compressed: bool,
    with_args: bool,
    output_bytes: u64,
    uncompressed_bytes: u64,
    events: u64,
    ranks: u64,
    slices: u64,
    instants: u64,
    counter_values: u64,
    flows: u64,
    tracks: u64,
    shift_ns: i64,
    times_cut: bool,
    unreadable_args: u64,
    lost: u64,
    read_seconds: f64,
    write_seconds: f64,
}

pub fn run(args: &ConvertArgs) -> anyhow::Result<()> {
    // All that can be refused is refused before the long work.
    let compressed = is_compressed(&args.output)?;
    refuse_unwritable(&args.output)?;
    let files = super::expand(&args.paths)?;
    super::refuse_input_as_output(&files, &args.output)?;
    let opened = super::read_files(&files, &super::open_options(&args.read)?, &args.read)?;

    let begun = Instant::now();
    let bar = Bar::new(args.read.quiet, Unit::Events);
    let options = WriteOptions { arguments: !args.no_args, gzip: compressed };
    let written = write_file(&opened.trace, &args.output, &options, &bar)?;
    drop(bar);
    let mut report = ConvertReport::new(&opened.trace, &written, args);
    report.compressed = compressed;
    report.output_bytes = fs::metadata(&args.output)?.len();
    report.read_seconds = opened.read_time.as_secs_f64();
    report.write_seconds = begun.elapsed().as_secs_f64();
    if args.json {
        return output::print_json(&report);
    }
    if args.read.quiet { Ok(()) } else { output::print(&summary(&report)) }
}

impl ConvertReport {
    fn new(trace: &Trace, written: &WriteSummary, args: &ConvertArgs) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            command: "convert",
            output: args.output.display().to_string(),
            format: "pftrace",
            compressed: false,
            with_args: !args.no_args,
            output_bytes: 0,
            uncompressed_bytes: written.bytes,
            events: trace.events().len() as u64,
            ranks: trace.ranks().len() as u64,
            slices: written.slices,
            instants: written.instants,
            counter_values: written.counter_values,
            flows: written.flows,
            tracks: written.tracks,
            shift_ns: written.shift_ns,
            times_cut: written.times_cut,
            unreadable_args: written.unreadable_args,
            lost: trace.warnings().lost(),
            read_seconds: 0.0,
            write_seconds: 0.0,
        }
    }
}

fn summary(report: &ConvertReport) -> String {
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
    text.push_str("Open it at https://ui.perfetto.dev\n");
    text
}

fn folder_of(path: &Path) -> PathBuf {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.map_or_else(|| PathBuf::from("."), Path::to_owned)
}

fn is_compressed(output: &Path) -> anyhow::Result<bool> {
    let name = output.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    if name.ends_with(".pftrace.gz") {
        Ok(true)
    } else if name.ends_with(".pftrace") {
        Ok(false)
    } else {
        Err(BadInput::new(format!("cannot tell the format of {} from its ending", output.display()))
            .hint("name it *.pftrace or *.pftrace.gz")
            .into())
    }
}

/// Refuses what the rename at the end would destroy or could not reach.
fn refuse_unwritable(output: &Path) -> anyhow::Result<()> {
    let folder = folder_of(output);
    if !folder.is_dir() {
        return Err(BadInput::new(format!("the folder {} does not exist", folder.display()))
            .hint("create it first; gapless writes nothing but the output file")
            .into());
    }
    match fs::symlink_metadata(output) {
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
