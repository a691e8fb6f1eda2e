//! What ran on devices: kernels, copies, fills, graphs, and the marks of synchronisation.

use gapless_trace::{EventKind, StrId, TrackKind, WarningKind};

use super::scan::Row;
use super::sink::{Found, NO_ID, Owner, Sink, process_of};

/// Columns that [`kernel`] reads.
pub(crate) const KERNEL: &[&str] =
    &["start", "end", "deviceId", "streamId", "correlationId", "globalPid", "demangledName", "shortName|name"];

/// Columns that [`copy`] reads.
pub(crate) const COPY: &[&str] =
    &["start", "end", "deviceId", "streamId", "correlationId", "globalPid", "bytes", "copyKind", "srcKind", "dstKind"];

/// Columns that [`fill`] reads.
pub(crate) const FILL: &[&str] =
    &["start", "end", "deviceId", "streamId", "correlationId", "globalPid", "bytes", "memKind"];

/// Columns that [`graph`] reads.
pub(crate) const GRAPH: &[&str] = &["start", "end", "deviceId", "streamId", "correlationId", "globalPid", "graphId"];

/// Columns that [`sync`] reads.
pub(crate) const SYNC: &[&str] = &["start", "end", "deviceId", "streamId", "correlationId", "globalPid", "syncType"];

/// Columns that [`cuda_event`] reads.
pub(crate) const CUDA_EVENT: &[&str] = &["timestamp", "deviceId", "streamId", "correlationId", "globalPid"];

/// Whose a row with this `globalPid` is.
fn owner(row: &Row<'_, '_>, index: usize) -> Owner {
    row.int(index).map_or(Owner::System, |global| Owner::Process(process_of(global)))
}

/// Takes a kernel.
pub(crate) fn kernel(sink: &mut Sink<'_>, row: &Row<'_, '_>) {
    let shared = sink.shared;
    let found = sink.of(owner(row, 5));
    let Some((start, dur)) = found.span(row, 0, 1) else { return };
    let device = row.int(2).unwrap_or(0);
    let name = match row.int(6).or_else(|| row.int(7)) {
        Some(number) => found.string(shared, number, row),
        None => found.chunk.strings.intern("kernel without a name"),
    };
    let category = found.fixed("kernel");
    let track = found.track(TrackKind::Stream, device, row.int(3).unwrap_or(0));
    let correlation = found.correlation(row, 4);
    let args = found.args(row);
    found.works(device);
    found.chunk.push(start, dur, name, category, EventKind::Kernel, track, correlation, NO_ID, args);
}

/// What CUPTI's copy kinds are called, by number.
const COPY_KINDS: [&str; 14] = [
    "Unknown",
    "HtoD",
    "DtoH",
    "HtoA",
    "AtoH",
    "AtoA",
    "AtoD",
    "DtoA",
    "DtoD",
    "HtoH",
    "PtoP",
    "HtoD (unified memory)",
    "DtoH (unified memory)",
    "DtoD (unified memory)",
];

/// What the kinds of memory are called, by number.
const MEMORY_KINDS: [&str; 7] = ["Pageable", "Pinned", "Device", "Array", "Managed", "Device Static", "Managed Static"];

fn word<'a>(words: &[&'a str], number: Option<i64>) -> Option<&'a str> {
    usize::try_from(number?).ok().and_then(|index| words.get(index)).copied()
}

/// A kind of memory in words.
pub(crate) fn memory_kind(number: Option<i64>) -> Option<&'static str> {
    word(&MEMORY_KINDS, number)
}

/// Takes a copy.
pub(crate) fn copy(sink: &mut Sink<'_>, row: &Row<'_, '_>) {
    let found = sink.of(owner(row, 5));
    let Some((start, dur)) = found.span(row, 0, 1) else { return };
    let kinds = [7, 8, 9].map(|index| row.int(index));
    let name = found.made(kinds.map(|kind| kind.unwrap_or(-1)).into(), || {
        let what = word(&COPY_KINDS, kinds[0]).unwrap_or("Unknown");
        match (memory_kind(kinds[1]), memory_kind(kinds[2])) {
            (Some(from), Some(to)) => format!("Memcpy {what} ({from} -> {to})"),
            _ => format!("Memcpy {what}"),
        }
    });
    note_bytes(found, row);
    push_work(found, row, (start, dur), name, "gpu_memcpy", EventKind::Memcpy);
}

/// Notes how many bytes the event moves that is pushed next.
fn note_bytes(found: &mut Found, row: &Row<'_, '_>) {
    if let Some(bytes) = row.int(6).and_then(|bytes| u64::try_from(bytes).ok()) {
        found.chunk.copy_bytes.push((found.chunk.len() as u32, bytes));
    }
}

/// Adds work of a stream; device, stream and correlation are columns 2 to 4 of every such table.
fn push_work(
    found: &mut Found,
    row: &Row<'_, '_>,
    (start, dur): (i64, i64),
    name: StrId,
    category: &'static str,
    kind: EventKind,
) {
    let device = row.int(2).unwrap_or(0);
    let category = found.fixed(category);
    let track = found.track(TrackKind::Stream, device, row.int(3).unwrap_or(0));
    let correlation = found.correlation(row, 4);
    let args = found.args(row);
    found.works(device);
    found.chunk.push(start, dur, name, category, kind, track, correlation, NO_ID, args);
}

/// Takes a fill.
pub(crate) fn fill(sink: &mut Sink<'_>, row: &Row<'_, '_>) {
    let found = sink.of(owner(row, 5));
    let Some((start, dur)) = found.span(row, 0, 1) else { return };
    let kind = row.int(7);
    let name = found.made((kind.unwrap_or(-1), -1, -1), || match memory_kind(kind) {
        Some(memory) => format!("Memset ({memory})"),
        None => "Memset".to_owned(),
    });
    note_bytes(found, row);
    push_work(found, row, (start, dur), name, "gpu_memset", EventKind::Memset);
}

/// Takes the run of a whole CUDA graph. Its kernels are not recorded one by one then, so it stands for their work.
pub(crate) fn graph(sink: &mut Sink<'_>, row: &Row<'_, '_>) {
    let found = sink.of(owner(row, 5));
    let Some((start, dur)) = found.span(row, 0, 1) else { return };
    let id = row.int(6);
    let name = found.made((id.unwrap_or(-1), -1, -1), || match id {
        Some(id) => format!("CUDA graph {id}"),
        None => "CUDA graph".to_owned(),
    });
    push_work(found, row, (start, dur), name, "cuda_graph", EventKind::Kernel);
}

/// What the kinds of synchronisation are called, by number.
const SYNC_KINDS: [&str; 5] = ["Sync", "Event Sync", "Stream Wait Event", "Stream Sync", "Context Sync"];

/// Takes a synchronisation.
pub(crate) fn sync(sink: &mut Sink<'_>, row: &Row<'_, '_>) {
    let found = sink.of(owner(row, 5));
    let Some((start, dur)) = found.span(row, 0, 1) else { return };
    let name = found.chunk.strings.intern(word(&SYNC_KINDS, row.int(6)).unwrap_or("Sync"));
    let category = found.fixed("cuda_sync");
    let track = found.track(TrackKind::StreamSyncs, row.int(2).unwrap_or(0), row.int(3).unwrap_or(0));
    let correlation = found.correlation(row, 4);
    let args = found.args(row);
    found.chunk.push(start, dur, name, category, EventKind::DeviceSync, track, correlation, NO_ID, args);
}

/// Takes the record of a CUDA event. Older files say only which call made it, not when the device came to it.
pub(crate) fn cuda_event(sink: &mut Sink<'_>, row: &Row<'_, '_>) {
    let found = sink.of(owner(row, 4));
    let Some(time) = row.int(0).filter(|&time| time != 0) else {
        found.chunk.file_events += 1;
        found.warn(WarningKind::MetadataUnused, row, "a CUDA event without a time");
        return;
    };
    found.chunk.file_events += 1;
    let name = found.chunk.strings.intern("CUDA event");
    let category = found.fixed("cuda_event");
    let track = found.track(TrackKind::StreamSyncs, row.int(1).unwrap_or(0), row.int(2).unwrap_or(0));
    let correlation = found.correlation(row, 3);
    let args = found.args(row);
    found.chunk.push(time, 0, name, category, EventKind::Instant, track, correlation, NO_ID, args);
}
