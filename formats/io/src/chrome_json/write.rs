//! The writer: header, metadata, then batches of events encoded in parallel.

use std::io::Write;
use std::path::{Path, PathBuf};

use gapless_trace::{CounterId, RankId, Trace};
use rayon::prelude::*;
use rustc_hash::FxHashSet;

use super::encode::{Batch, Context, Counts, batches};
use super::event::Categories;
use super::head::{base_ns, derived_counters, header, metadata, tail};
use super::place::Places;
use crate::Progress;
use crate::output::{ExportError, compressed, is_gzip_name, write_whole};

/// Batches that are encoded at a time. Memory is bounded by two rounds of them.
const BATCHES_PER_ROUND: usize = 32;

/// Where events go that overlap others of their track without nesting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lanes {
    /// On the track's own thread or stream, as Kineto writes them. Viewers may drop some.
    #[default]
    Together,
    /// Each further lane on a thread of its own, called `7 (lane 2)`. Viewers show all; tools may not know the stream.
    Apart,
}

/// How to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    /// Whether to write the arguments of events. Without them, only what the model holds beside them is written.
    pub arguments: bool,
    /// Whether to compress with gzip. Files whose name ends in `.gz` are compressed too.
    pub gzip: bool,
    /// Where events go that overlap.
    pub lanes: Lanes,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { arguments: true, gzip: false, lanes: Lanes::Together }
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteSummary {
    /// Events, with ranges of their own counted once.
    pub events: u64,
    /// Values of counters.
    pub counter_values: u64,
    /// Arrows.
    pub flows: u64,
    /// Bytes before compression.
    pub bytes: u64,
    /// Events whose arguments could not be read any more.
    pub unreadable_args: u64,
    /// Values of counters that are no numbers, for which JSON has no place.
    pub values_left_out: u64,
}

/// Writes `trace`, all ranks in one file, to `path`, which appears whole or not at all.
///
/// # Errors
/// When the file cannot be written, or the user gave up.
pub fn write_file(
    trace: &Trace,
    path: &Path,
    options: &WriteOptions,
    progress: &dyn Progress,
) -> Result<WriteSummary, ExportError> {
    let ranks: Vec<RankId> = trace.rank_ids().map(|(id, _)| id).collect();
    progress.stage(&format!("Writing {}", path.display()), trace.events().len() as u64);
    write_whole(path, options.gzip || is_gzip_name(path), |out| write_ranks(trace, &ranks, 0, out, options, progress))
}

/// Writes a file per rank into `folder`, which is made if it is not there: `rank0.json`, or `rank0.json.gz` if
/// `options` say gzip. Each appears whole or not at all. Gives what was written where.
///
/// # Errors
/// When a file cannot be written, or the user gave up.
pub fn write_folder(
    trace: &Trace,
    folder: &Path,
    options: &WriteOptions,
    progress: &dyn Progress,
) -> Result<Vec<(PathBuf, WriteSummary)>, ExportError> {
    let at_folder = |reason| ExportError::File { path: folder.to_owned(), reason };
    std::fs::create_dir_all(folder).map_err(at_folder)?;
    progress.stage(&format!("Writing {}", folder.display()), trace.events().len() as u64);
    let mut written = Vec::new();
    let mut done = 0;
    for (id, rank) in trace.rank_ids() {
        let number = rank.number.unwrap_or(id.0);
        let path = folder.join(format!("rank{number}.json{}", if options.gzip { ".gz" } else { "" }));
        let summary = write_whole(&path, options.gzip, |out| write_ranks(trace, &[id], done, out, options, progress))?;
        done += summary.events;
        written.push((path, summary));
    }
    Ok(written)
}

/// Writes `trace`, all ranks in one file, as a stream: memory is bounded by some batches, whatever the trace's size.
///
/// # Errors
/// When `out` cannot be written, or the user gave up.
pub fn write(
    trace: &Trace,
    out: impl Write + Send,
    options: &WriteOptions,
    progress: &dyn Progress,
) -> Result<WriteSummary, ExportError> {
    let ranks: Vec<RankId> = trace.rank_ids().map(|(id, _)| id).collect();
    progress.stage("Writing Chrome JSON", trace.events().len() as u64);
    compressed(out, options.gzip, |out| write_ranks(trace, &ranks, 0, out, options, progress))
}

fn write_ranks(
    trace: &Trace,
    ranks: &[RankId],
    done: u64,
    out: &mut (dyn Write + Send),
    options: &WriteOptions,
    progress: &dyn Progress,
) -> Result<WriteSummary, ExportError> {
    let base_ns = base_ns(trace, ranks);
    let context = Context {
        trace,
        options: *options,
        ranks: ranks.iter().copied().collect(),
        places: Places::new(trace, ranks, options.lanes),
        categories: Categories::new(trace),
        base_ns: base_ns.unwrap_or(0),
    };
    let skip: FxHashSet<CounterId> = if options.arguments { derived_counters(trace) } else { FxHashSet::default() };
    let mut bytes = 0u64;
    let mut text = Vec::new();
    header(trace, ranks, base_ns, &mut text);
    bytes += text.len() as u64;
    out.write_all(&text)?;

    // The first entry of the list has no comma before it.
    let mut is_first = true;
    let mut emit = |out: &mut (dyn Write + Send), entries: &[u8]| -> Result<(), ExportError> {
        let entries = if is_first { entries.strip_prefix(b",").unwrap_or(entries) } else { entries };
        is_first &= entries.is_empty();
        bytes += entries.len() as u64;
        Ok(out.write_all(entries)?)
    };
    text.clear();
    metadata(&context, &mut text);
    emit(out, &text)?;

    let mut work = batches(&context, &skip);
    let mut total = Counts::default();
    // What the last round encoded, written while the next one is encoded.
    let mut ready: Vec<Vec<u8>> = Vec::new();
    loop {
        if progress.is_cancelled() {
            return Err(ExportError::Cancelled);
        }
        let round: Vec<Batch> = work.by_ref().take(BATCHES_PER_ROUND).collect();
        let (written, encoded) = rayon::join(
            || ready.iter().try_for_each(|entries| emit(out, entries)),
            || round.par_iter().map(|batch| context.encode(batch)).collect::<Vec<_>>(),
        );
        written?;
        if encoded.is_empty() {
            break;
        }
        ready = Vec::with_capacity(encoded.len());
        for (entries, counts) in encoded {
            total.events += counts.events;
            total.counter_values += counts.counter_values;
            total.flows += counts.flows;
            total.unreadable_args += counts.unreadable_args;
            total.values_left_out += counts.values_left_out;
            ready.push(entries);
        }
        progress.done(done + total.events);
    }
    text.clear();
    tail(&mut text);
    out.write_all(&text)?;
    Ok(WriteSummary {
        events: total.events,
        counter_values: total.counter_values,
        flows: total.flows,
        bytes: bytes + text.len() as u64,
        unreadable_args: total.unreadable_args,
        values_left_out: total.values_left_out,
    })
}
