//! Profiles of a selection's stacks, for tools that show flame graphs: the Firefox Profiler and speedscope.
//!
//! A track of samples gives its sampled stacks. Any other track of ranges gives the nesting of its events: the stack at
//! a time is what runs then, from the outermost event to the innermost, and each stack weighs what its innermost event
//! takes itself. A lane of a track is a thread of its own, since the events of a lane nest.

mod firefox;
mod speedscope;
mod walk;

use std::io::Write;
use std::path::Path;

use gapless_trace::{RankId, Span, Trace, TrackId};

use crate::Progress;
use crate::output::{ExportError, compressed, is_gzip_name, write_whole};

/// What part of a trace to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only what lies in this time; events that reach beyond it are cut. `None` takes all.
    pub span: Option<Span>,
    /// Only these tracks. `None` takes all that have stacks: threads, streams, samples, cores.
    pub tracks: Option<Vec<TrackId>>,
}

impl Selection {
    /// All that has stacks, of `ranks` only.
    #[must_use]
    pub fn of_ranks(trace: &Trace, ranks: &[RankId]) -> Self {
        let tracks = ranks.iter().flat_map(|&rank| trace.tracks_of(rank).map(|(id, _)| id)).collect();
        Self { span: None, tracks: Some(tracks) }
    }
}

/// The tool that a profile is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProfileFormat {
    /// The Firefox Profiler.
    Firefox,
    /// speedscope's own JSON.
    Speedscope,
}

/// How to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProfileOptions {
    /// For which tool.
    pub format: ProfileFormat,
    /// Whether to compress with gzip. Files whose name ends in `.gz` are compressed too.
    pub gzip: bool,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProfileSummary {
    /// Threads: tracks by lane.
    pub threads: u64,
    /// Events that have a stack, cut to the selection.
    pub events: u64,
    /// Marks of annotations and steps; Firefox only.
    pub markers: u64,
}

/// Writes the stacks of `selection` to `path`, which appears whole or not at all.
///
/// # Errors
/// When the file cannot be written, nothing in the selection has a stack, or the user gave up.
pub fn write_file(
    trace: &Trace,
    selection: &Selection,
    path: &Path,
    options: &ProfileOptions,
    progress: &dyn Progress,
) -> Result<ProfileSummary, ExportError> {
    let write = |out: &mut (dyn Write + Send)| write_plain(trace, selection, out, options.format, progress);
    write_whole(path, options.gzip || is_gzip_name(path), write)
}

/// Writes the stacks of `selection`.
///
/// # Errors
/// As [`write_file`].
pub fn write(
    trace: &Trace,
    selection: &Selection,
    out: impl Write + Send,
    options: &ProfileOptions,
    progress: &dyn Progress,
) -> Result<ProfileSummary, ExportError> {
    compressed(out, options.gzip, |out| write_plain(trace, selection, out, options.format, progress))
}

fn write_plain(
    trace: &Trace,
    selection: &Selection,
    out: &mut (dyn Write + Send),
    format: ProfileFormat,
    progress: &dyn Progress,
) -> Result<ProfileSummary, ExportError> {
    let threads = walk::threads(trace, selection);
    if threads.is_empty() {
        return Err(ExportError::Nothing("no event of the selection has a stack".to_owned()));
    }
    let events = threads.iter().map(|thread| u64::from(thread.track.events.end - thread.track.events.start)).sum();
    let span = walk::span_of(trace, selection);
    match format {
        ProfileFormat::Firefox => {
            progress.stage("Writing Firefox profile", events);
            firefox::write(trace, span, &threads, out, progress)
        }
        ProfileFormat::Speedscope => {
            progress.stage("Writing speedscope profile", events);
            speedscope::write(trace, span, &threads, out, progress)
        }
    }
}
