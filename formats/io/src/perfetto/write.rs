//! The writer: header, tracks, facts, then batches of events encoded in parallel.

use std::io::Write;
use std::path::Path;

use gapless_trace::Trace;
use perfetto_proto::{BuiltinClock, Clock, ClockSnapshot, Message, SequenceFlags, TracePacket, trace_packet};

use rayon::prelude::*;

use super::derived::{self, DerivedTrack};
use super::encode::{Batch, Context, Counts, Encoder, Run};
use super::facts::{Facts, KindOfCategory};
use super::flows::FlowTable;
use super::lane::LaneOps;
use super::layout::{CounterTrack, LaneTrack, Layout, rows_of};
use super::own::SideTables;
use super::{FACTS_CATEGORY, FACTS_EVENT};
use crate::Progress;
use crate::output::{ExportError, compressed, is_gzip_name, write_whole};

/// Batches that are encoded at a time, each by its own sequence. Fixed, so that the file does not depend on the
/// number of cores; more would repeat the names more often.
const ENCODERS: usize = 8;
/// Begins, ends, instants and counter values in a batch.
const BATCH_LEN: usize = 4096;
/// Sequence of the header and the tracks; those of the encoders follow.
const HEADER_SEQUENCE: u32 = 1;

/// How to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    /// Whether to write the arguments of events. They take most of the bytes and of the time.
    pub arguments: bool,
    /// Whether to compress with gzip. [`write_file`] does so too where the file's name ends in `.gz`.
    pub gzip: bool,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { arguments: true, gzip: false }
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteSummary {
    /// Slices (begin and end).
    pub slices: u64,
    /// Instants, the facts of ranks not counted.
    pub instants: u64,
    /// Values of counters.
    pub counter_values: u64,
    /// Arrows.
    pub flows: u64,
    /// Tracks, groups included.
    pub tracks: u64,
    /// Bytes before compression.
    pub bytes: u64,
    /// Nanoseconds added to every time, because Perfetto has no negative times; 0 for most traces.
    pub shift_ns: i64,
    /// Whether negative times were cut to 0, because there is no room to shift them all.
    pub times_cut: bool,
    /// Events whose arguments could not be read any more.
    pub unreadable_args: u64,
}

/// Writes `trace` to `path`, which appears whole or not at all.
///
/// # Errors
/// When the file cannot be written, or the user gave up.
pub fn write_file(
    trace: &Trace,
    path: &Path,
    options: &WriteOptions,
    progress: &dyn Progress,
) -> Result<WriteSummary, ExportError> {
    write_file_with(trace, &[], path, options, progress)
}

/// The same with tracks of what an analysis found, which reading the file back leaves out.
///
/// # Errors
/// When the file cannot be written, or the user gave up.
pub fn write_file_with(
    trace: &Trace,
    derived: &[DerivedTrack],
    path: &Path,
    options: &WriteOptions,
    progress: &dyn Progress,
) -> Result<WriteSummary, ExportError> {
    let gzip = options.gzip || is_gzip_name(path);
    write_whole(path, gzip, |out| write_plain(trace, derived, out, options, progress))
}

/// Writes `trace` as a Perfetto trace, as a stream: memory is bounded by some batches, whatever the trace's size,
/// beside 16 bytes per end of a flow.
///
/// # Errors
/// When `out` cannot be written, or the user gave up.
pub fn write(
    trace: &Trace,
    out: impl Write + Send,
    options: &WriteOptions,
    progress: &dyn Progress,
) -> Result<WriteSummary, ExportError> {
    compressed(out, options.gzip, |out| write_plain(trace, &[], out, options, progress))
}

fn write_plain(
    trace: &Trace,
    derived: &[DerivedTrack],
    out: &mut (dyn Write + Send),
    options: &WriteOptions,
    progress: &dyn Progress,
) -> Result<WriteSummary, ExportError> {
    progress.stage("Writing Perfetto trace", trace.events().len() as u64);
    let first_ns = trace.span().map_or(0, |span| span.start.nanos());
    let last_ns = trace.span().map_or(0, |span| span.end.nanos());
    // The far end stays as it is: what is cut is then the event whose time went wrong, not all the others.
    let (wanted_ns, room_ns) = (first_ns.min(0).saturating_neg(), i64::MAX - last_ns.max(0));
    let shift_ns = wanted_ns.min(room_ns);
    let layout = Layout::new(trace);
    let flows = FlowTable::new(trace, shift_ns);
    let kinds = KindOfCategory::new(trace);
    let sides = SideTables::new(trace);
    let context =
        Context { trace, flows: &flows, kinds: &kinds, sides: &sides, shift_ns, arguments: options.arguments };
    let mut summary = WriteSummary {
        flows: flows.len(),
        tracks: layout.descriptors.len() as u64 - 1,
        shift_ns,
        times_cut: shift_ns < wanted_ns,
        ..WriteSummary::default()
    };

    let start = context.time(first_ns);
    summary.bytes += write_header(trace, &layout, start, first_ns, out)?;

    let mut encoders: Vec<Encoder> =
        (0..ENCODERS as u64).map(|i| Encoder::new(i + 1 + u64::from(HEADER_SEQUENCE))).collect();
    let facts = Facts { trace, layout: &layout, flows: &flows, kinds: &kinds, shift_ns };
    if let Some(encoder) = encoders.first_mut() {
        for &(rank, uuid) in &layout.rank_uuids {
            encoder.facts(start, uuid, FACTS_EVENT, FACTS_CATEGORY, &facts.of_rank(rank));
            summary.bytes += encoder.out.len() as u64;
            out.write_all(encoder.out.as_bytes())?;
            encoder.out.clear();
        }
    }

    let mut work = Work::new(trace, &layout);
    let mut batches: Vec<Batch> = (0..ENCODERS).map(|_| Batch::default()).collect();
    // What the last round encoded, written while the next one is encoded.
    let mut ready: Vec<Vec<u8>> = Vec::new();
    loop {
        if progress.is_cancelled() {
            return Err(ExportError::Cancelled);
        }
        for batch in &mut batches {
            work.fill(batch);
        }
        let (written, ()) = rayon::join(
            || ready.iter().try_for_each(|bytes| out.write_all(bytes)),
            || {
                let pairs = encoders.par_iter_mut().zip(&batches);
                pairs.filter(|(_, batch)| batch.len > 0).for_each(|(encoder, batch)| encoder.encode(&context, batch));
            },
        );
        written?;
        if batches.iter().all(|batch| batch.len == 0) {
            break;
        }
        ready.resize_with(ENCODERS, Vec::new);
        for (encoder, bytes) in encoders.iter_mut().zip(&mut ready) {
            summary.bytes += encoder.out.len() as u64;
            encoder.out.swap(bytes);
        }
        let counts = total(&encoders);
        progress.done(counts.slices + counts.instants);
    }
    summary.bytes += derived::write(derived, &layout, (shift_ns, start), out)?;
    let counts = total(&encoders);
    Ok(WriteSummary {
        slices: counts.slices,
        instants: counts.instants,
        counter_values: counts.counter_values,
        unreadable_args: counts.unreadable_args,
        ..summary
    })
}

fn total(encoders: &[Encoder]) -> Counts {
    encoders.iter().fold(Counts::default(), |sum, encoder| Counts {
        slices: sum.slices + encoder.counts.slices,
        instants: sum.instants + encoder.counts.instants,
        counter_values: sum.counter_values + encoder.counts.counter_values,
        unreadable_args: sum.unreadable_args + encoder.counts.unreadable_args,
    })
}

/// Clocks and tracks. Gives the bytes written.
fn write_header(
    trace: &Trace,
    layout: &Layout,
    start: u64,
    first_ns: i64,
    out: &mut (dyn Write + Send),
) -> Result<u64, ExportError> {
    let clock = |id: BuiltinClock, reading: u64| Clock {
        clock_id: Some(id as u32),
        timestamp: Some(reading),
        ..Clock::default()
    };
    // Times of the file are those of the primary clock. Where the trace counts from a known Unix time, the
    // snapshot says so, which lets viewers show dates and put files side by side.
    let is_unix_time = trace.ranks().iter().any(|rank| rank.base_time_ns.is_some());
    let unix_time = u64::try_from(first_ns).ok().filter(|_| is_unix_time);
    let mut clocks = vec![clock(BuiltinClock::Boottime, start), clock(BuiltinClock::Monotonic, start)];
    clocks.extend(unix_time.map(|reading| clock(BuiltinClock::Realtime, reading)));
    let snapshot = ClockSnapshot { clocks, primary_trace_clock: Some(BuiltinClock::Boottime as i32) };

    let of_header = |data| TracePacket {
        timestamp: Some(start),
        trusted_packet_sequence_id: Some(HEADER_SEQUENCE),
        data: Some(data),
        ..TracePacket::default()
    };
    let first = TracePacket {
        sequence_flags: Some(SequenceFlags::IncrementalStateCleared as u32),
        first_packet_on_sequence: Some(true),
        ..of_header(trace_packet::Data::ClockSnapshot(snapshot))
    };
    let tracks = layout
        .descriptors
        .iter()
        .map(|descriptor| of_header(trace_packet::Data::TrackDescriptor(Box::new(descriptor.clone()))));
    let mut bytes = 0;
    for packet in std::iter::once(first).chain(tracks) {
        let message = perfetto_proto::Trace { packet: vec![packet] }.encode_to_vec();
        bytes += message.len() as u64;
        out.write_all(&message)?;
    }
    Ok(bytes)
}

/// What is still to be encoded, in the order of the file.
struct Work<'t> {
    trace: &'t Trace,
    lanes: std::slice::Iter<'t, LaneTrack>,
    /// The lane that was begun.
    open: Option<(u64, LaneOps<'t>)>,
    counters: std::slice::Iter<'t, CounterTrack>,
    /// The counter that was begun, and its next value.
    counter: Option<(&'t CounterTrack, usize)>,
}

impl<'t> Work<'t> {
    fn new(trace: &'t Trace, layout: &'t Layout) -> Self {
        Self { trace, lanes: layout.lanes.iter(), open: None, counters: layout.counters.iter(), counter: None }
    }

    /// Takes the next [`BATCH_LEN`] pieces of work, lanes first; fewer only at the end.
    fn fill(&mut self, batch: &mut Batch) {
        batch.clear();
        while batch.len < BATCH_LEN && (self.fill_lane(batch) || self.fill_counter(batch)) {}
    }

    fn fill_lane(&mut self, batch: &mut Batch) -> bool {
        if self.open.is_none() {
            let Some(lane) = self.lanes.next() else { return false };
            self.open = Some((lane.uuid, LaneOps::new(self.trace, rows_of(self.trace, lane))));
        }
        let Some((uuid, ops)) = &mut self.open else { return false };
        let before = batch.ops.len();
        batch.ops.extend(ops.by_ref().take(BATCH_LEN - batch.len));
        let count = batch.ops.len() - before;
        batch.len += count;
        batch.runs.push(Run::Lane { uuid: *uuid, ops: count });
        if batch.len < BATCH_LEN {
            self.open = None;
        }
        true
    }

    fn fill_counter(&mut self, batch: &mut Batch) -> bool {
        let next = self.counter.take().or_else(|| self.counters.next().map(|counter| (counter, 0)));
        let Some((counter, from)) = next else { return false };
        let len = self.trace.counters().get(counter.series.index()).map_or(0, |series| series.times.len());
        let to = len.min(from + (BATCH_LEN - batch.len));
        batch.len += to - from;
        batch.runs.push(Run::Counter { uuid: counter.uuid, series: counter.series, values: from..to });
        self.counter = (to < len).then_some((counter, to));
        true
    }
}
