//! The commands, and what those that read traces share.

pub mod advise;
pub mod analyze;
pub mod clocks;
pub mod codesign;
pub mod collectives;
pub mod completions;
pub mod convert;
#[cfg(target_os = "linux")]
pub mod ctl;
pub mod diff;
#[cfg(target_os = "linux")]
pub mod doctor;
mod engine_tracks;
pub mod info;
pub mod open;
pub mod path;
#[cfg(target_os = "linux")]
pub mod record;
#[cfg(all(target_os = "linux", feature = "desktop"))]
mod recording;
pub mod roofline;
pub mod stragglers;
pub mod trust;
pub mod whatif;

#[cfg(target_os = "linux")]
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use gapless_formats::{Limits, OpenOptions};
use gapless_trace::{BuildOptions, CommunicationPatterns, Trace};
use serde::Deserialize;

use crate::args::ReadArgs;
use crate::failure::BadInput;
use crate::progress::{Bar, Unit};

/// Version of every JSON object that the commands print. It rises when a field changes meaning or goes.
pub const SCHEMA_VERSION: u32 = 1;

/// The built-in table of hardware, with the values of the user's file before it.
pub fn hardware_table(path: Option<&Path>) -> anyhow::Result<gapless_roofline::HardwareTable> {
    let table = gapless_roofline::HardwareTable::builtin();
    let Some(path) = path else { return Ok(table) };
    let text = std::fs::read_to_string(path)
        .map_err(|error| BadInput::new(format!("cannot read {}: {error}", path.display())))?;
    let bad = |error: gapless_roofline::HardwareError| BadInput::new(format!("{}: {error}", path.display()));
    table.with(&text).map_err(|error| bad(error).into())
}

/// A trace that was read for a command.
pub struct Opened {
    pub trace: Trace,
    pub read_time: Duration,
}

/// The files that `paths` name. A recording whose recorder was killed is finished first.
pub fn expand(paths: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    #[cfg(target_os = "linux")]
    for path in paths {
        finish_recording(Path::new(path))?;
    }
    gapless_formats::expand(paths).map_err(|error| BadInput::from(error).into())
}

/// Adds to a recording what its recorder had not written when it was killed, or makes one of what a job recorded itself.
#[cfg(target_os = "linux")]
fn finish_recording(folder: &Path) -> anyhow::Result<()> {
    use gapless_record::recover;

    use crate::output::styles;

    let Some(state @ (recover::State::Abandoned | recover::State::ByItself)) = recover::state(folder) else {
        return Ok(());
    };
    // A folder that cannot be written to can still be shown as it is.
    let (warn, mut stderr) = (styles::WARN, anstream::stderr().lock());
    let _ = match recover::recover(folder) {
        Ok(_) if state == recover::State::ByItself => Ok(()),
        Ok(events) => writeln!(
            stderr,
            "{warn}note:{warn:#} the recorder of {} was killed; {} events that it had not written were added",
            folder.display(),
            gapless_trace::thousands(events)
        ),
        Err(error) => writeln!(stderr, "{warn}note:{warn:#} {error}; it is shown as far as it was written"),
    };
    Ok(())
}

/// How to open, as the options say.
pub fn open_options(read: &ReadArgs) -> anyhow::Result<OpenOptions> {
    let communication = match &read.communication_patterns {
        Some(file) => read_patterns(file)?,
        None => CommunicationPatterns::default(),
    };
    let mut limits = Limits::default();
    for limit in &read.limits {
        limits.set(limit).map_err(|reason| BadInput::new(reason).hint(Limits::HELP))?;
    }
    Ok(OpenOptions { ranks: read.ranks.clone(), build: BuildOptions { communication }, limits })
}

/// Opens what `paths` name, with a progress bar.
pub fn read_trace(paths: &[String], read: &ReadArgs) -> anyhow::Result<Opened> {
    // A wrong pattern file is found before a long search and a longer read.
    let options = open_options(read)?;
    read_files(&expand(paths)?, &options, read)
}

/// Opens `files` with a progress bar.
pub fn read_files(files: &[PathBuf], options: &OpenOptions, read: &ReadArgs) -> anyhow::Result<Opened> {
    let bar = Bar::new(read.quiet, Unit::Bytes);
    let begun = Instant::now();
    let trace = gapless_formats::open(files, options, &bar).map_err(BadInput::from)?;
    Ok(Opened { trace, read_time: begun.elapsed() })
}

/// Uses as many threads as the options say. Call once, before any work.
pub fn set_threads(read: &ReadArgs) -> anyhow::Result<()> {
    let Some(threads) = read.threads else { return Ok(()) };
    rayon::ThreadPoolBuilder::new().num_threads(usize::from(threads)).build_global().context("cannot start threads")
}

/// A file of communication-kernel names.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PatternFile {
    patterns: Vec<String>,
}

fn read_patterns(file: &Path) -> anyhow::Result<CommunicationPatterns> {
    let wrong = |reason: String| BadInput::new(format!("cannot use {}: {reason}", file.display()));
    let shape = "the file holds one line such as: patterns = [\"^my_ring_\", \"fused_allreduce\"]";
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let parsed: PatternFile = toml::from_str(&text).map_err(|error| wrong(error.message().to_owned()).hint(shape))?;
    let patterns = CommunicationPatterns::with(&parsed.patterns);
    Ok(patterns.map_err(|error| {
        // The parser's text is a drawing over several lines; its last line is the reason.
        let reason = error.reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        wrong(format!("{:?} is not a regular expression ({reason})", error.pattern))
            .hint("escape characters that are meant as they stand, such as \\( and \\[")
    })?)
}

/// Refuses an output that is one of the inputs, by whatever name.
pub fn refuse_input_as_output(inputs: &[PathBuf], output: &Path) -> anyhow::Result<()> {
    if inputs.iter().any(|input| is_same_file(input, output)) {
        return Err(BadInput::new(format!("{} is an input and is not overwritten", output.display()))
            .hint("choose another name for the output")
            .into());
    }
    Ok(())
}

#[cfg(unix)]
fn is_same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let identity = |path: &Path| std::fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    identity(a).is_some_and(|a| identity(b) == Some(a))
}

#[cfg(not(unix))]
fn is_same_file(a: &Path, b: &Path) -> bool {
    let canonical = |path: &Path| path.canonicalize().ok();
    canonical(a).is_some_and(|a| canonical(b) == Some(a))
}
