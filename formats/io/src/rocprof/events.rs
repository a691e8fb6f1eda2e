//! Records into events.

use std::ops::Range;

use gapless_trace::{ArgsLoc, EventKind, RawChunk, RawId, RawMeta, SourceId, TrackKind, WarningKind};
use rayon::prelude::*;
use rustc_hash::FxHashMap;
use serde::Deserialize;

use super::document::{List, Process, Records};
use super::names::Names;
use crate::Progress;
use crate::error::Refused;
use crate::execution_trace::graph::Tracks;
use crate::json::FARTHEST_NS;

/// Absent correlation or external id.
const NO_ID: u32 = u32::MAX;

/// Records of one chunk.
const PER_CHUNK: usize = 1 << 16;

#[derive(Clone, Copy, Deserialize)]
struct Handle {
    handle: u64,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct Correlation {
    internal: u64,
}

#[derive(Clone, Copy, Deserialize)]
struct DispatchInfo {
    agent_id: Handle,
    queue_id: Handle,
    kernel_id: u64,
    #[serde(default)]
    dispatch_id: u64,
}

/// A record of any list; which fields it has depends on the list.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct Record {
    kind: u64,
    operation: u64,
    thread_id: u64,
    correlation_id: Correlation,
    start_timestamp: Option<u64>,
    end_timestamp: Option<u64>,
    dispatch_info: Option<DispatchInfo>,
    stream_id: Option<Handle>,
    kernel_rename_val: Option<u64>,
    src_agent_id: Option<Handle>,
    dst_agent_id: Option<Handle>,
    agent_id: Option<Handle>,
    bytes: Option<u64>,
}

/// A kernel with counters.
#[derive(Deserialize)]
struct CounterRecord {
    dispatch_data: Record,
    #[serde(default)]
    thread_id: u64,
}

/// Events of a process.
pub(super) struct Emitted {
    pub chunks: Vec<RawChunk>,
    /// Largest correlation id used.
    pub last_correlation: u32,
}

/// Reads all records of `process`. Correlation ids are counted on from `correlation_base`.
pub(super) fn emit(
    bytes: &[u8],
    process: &Process,
    names: &Names,
    pid: i64,
    correlation_base: u32,
    progress: &dyn Progress,
) -> Result<Emitted, Refused> {
    let has_kernels = process.lists.iter().any(|list| list.records == Records::Kernels && !list.places.is_empty());
    let pieces: Vec<(&List, &[Range<usize>])> =
        process.lists.iter().flat_map(|list| list.places.chunks(PER_CHUNK).map(move |places| (list, places))).collect();
    let is_late = |list: &List| list.records == Records::Counters && has_kernels;
    let read = |&(list, places): &(&List, &[Range<usize>])| {
        let mut maker = Maker::new(names, pid, correlation_base);
        for (count, place) in places.iter().enumerate() {
            if count.is_multiple_of(4_096) {
                progress.done(place.start as u64);
                if progress.is_cancelled() {
                    return None;
                }
            }
            maker.record(list, bytes.get(place.clone()).unwrap_or_default(), place.start);
        }
        Some(maker)
    };
    let now: Vec<_> = pieces.iter().filter(|piece| !is_late(piece.0)).collect();
    let made: Option<Vec<Maker<'_>>> = now.into_par_iter().map(read).collect();
    let made = made.ok_or(Refused::Cancelled)?;
    let last_correlation = made.iter().map(|maker| maker.last_correlation).max().unwrap_or(0).max(correlation_base);
    let mut dispatches: FxHashMap<u64, (u32, u32)> = FxHashMap::default();
    let mut chunks = Vec::with_capacity(made.len() + 1);
    for maker in made {
        let place = chunks.len() as u32;
        dispatches.extend(maker.dispatches.iter().map(|&(dispatch, event)| (dispatch, (place, event))));
        chunks.push(maker.chunk);
    }
    // Counters of kernels that were traced as well are further arguments of these.
    for (_, places) in pieces.iter().filter(|piece| is_late(piece.0)) {
        for place in *places {
            add_counters(bytes.get(place.clone()).unwrap_or_default(), place.start, &dispatches, &mut chunks);
        }
    }
    Ok(Emitted { chunks, last_correlation })
}

fn add_counters(text: &[u8], at: usize, dispatches: &FxHashMap<u64, (u32, u32)>, chunks: &mut [RawChunk]) {
    let record = serde_json::from_slice::<CounterRecord>(text).ok();
    let dispatch = record.and_then(|record| record.dispatch_data.dispatch_info).map(|info| info.dispatch_id);
    let place = dispatch.and_then(|dispatch| dispatches.get(&dispatch)).copied();
    let found = place.and_then(|(chunk, event)| Some((chunks.get_mut(chunk as usize)?, event)));
    match (found, ArgsLoc::new(at as u64, text.len())) {
        (Some((chunk, event)), Some(loc)) => chunk.more_args.push((event, loc)),
        _ => {
            if let Some(chunk) = chunks.first_mut() {
                chunk.warnings.add(
                    WarningKind::UnknownPacket,
                    SourceId(0),
                    Some(at as u64),
                    "counters without a kernel",
                );
            }
        }
    }
}

/// Events of some records.
struct Maker<'a> {
    chunk: RawChunk,
    tracks: Tracks,
    names: &'a Names,
    pid: RawId,
    correlation_base: u32,
    last_correlation: u32,
    /// (dispatch, its event).
    dispatches: Vec<(u64, u32)>,
}

impl<'a> Maker<'a> {
    fn new(names: &'a Names, pid: i64, correlation_base: u32) -> Self {
        Self {
            chunk: RawChunk::default(),
            tracks: Tracks::default(),
            names,
            pid: RawId::Int(pid),
            correlation_base,
            last_correlation: correlation_base,
            dispatches: Vec::new(),
        }
    }

    fn lose(&mut self, kind: WarningKind, at: usize, detail: &str) {
        self.chunk.warnings.add(kind, SourceId(0), Some(at as u64), detail);
    }

    fn record(&mut self, list: &List, text: &[u8], at: usize) {
        let record = match list.records {
            Records::Counters => serde_json::from_slice::<CounterRecord>(text)
                .map(|record| Record { thread_id: record.thread_id, ..record.dispatch_data }),
            _ => serde_json::from_slice::<Record>(text),
        };
        let record = match record {
            Ok(record) => record,
            Err(_) if text.first() != Some(&b'{') => return self.lose(WarningKind::EventNotObject, at, list.name),
            Err(error) => return self.lose(WarningKind::MalformedEvent, at, &format!("{}: {error}", list.name)),
        };
        let (Some(start), Some(end)) = (record.start_timestamp, record.end_timestamp) else {
            return self.lose(WarningKind::NoTimestamp, at, list.name);
        };
        let in_range = |time: u64| i64::try_from(time).ok().filter(|&time| time <= FARTHEST_NS);
        let (Some(start), Some(end)) = (in_range(start), in_range(end)) else {
            return self.lose(WarningKind::TimeOutOfRange, at, list.name);
        };
        if start == 0 {
            return self.lose(WarningKind::NoTimestamp, at, list.name);
        }
        if end < start {
            self.lose(WarningKind::NegativeDuration, at, list.name);
        }
        let args = ArgsLoc::new(at as u64, text.len()).unwrap_or_else(|| {
            self.lose(WarningKind::ArgsTooLong, at, "");
            ArgsLoc::NONE
        });
        let dur = (end - start).max(0);
        let event = self.chunk.len() as u32;
        let (name, kind, track) = match list.records {
            Records::Kernels | Records::Counters => {
                let Some(info) = record.dispatch_info else {
                    return self.lose(WarningKind::MalformedEvent, at, "a dispatch without dispatch_info");
                };
                self.dispatches.push((info.dispatch_id, event));
                (self.kernel(&record, info, at), EventKind::Kernel, self.dispatch_track(&record, info))
            }
            Records::Copies => {
                let name = self.operation(&record, at);
                if let Some(bytes) = record.bytes {
                    self.chunk.copy_bytes.push((event, bytes));
                }
                (name, EventKind::Memcpy, self.copy_track(&record))
            }
            Records::Calls => (self.operation(&record, at), EventKind::RuntimeCall, self.thread(&record)),
            Records::Rccl => (self.operation(&record, at), EventKind::Annotation, self.thread(&record)),
            Records::Markers => self.marker(&record, at),
            Records::Allocations => (self.operation(&record, at), EventKind::Other, self.custom("memory allocations")),
            Records::Scratch => (self.operation(&record, at), EventKind::Other, self.custom("scratch memory")),
        };
        let correlation = match list.records {
            Records::Markers | Records::Rccl | Records::Allocations | Records::Scratch => NO_ID,
            _ => self.correlation(record.correlation_id.internal, at),
        };
        let name = self.chunk.strings.intern(&name);
        let category = self.chunk.strings.intern(list.name);
        self.chunk.push(start, dur, name, category, kind, track, correlation, NO_ID, args);
        self.chunk.file_events += 1;
    }

    /// The call's number; 0 stands for none.
    fn correlation(&mut self, internal: u64, at: usize) -> u32 {
        if internal == 0 {
            return NO_ID;
        }
        let id = u32::try_from(internal).ok().and_then(|id| id.checked_add(self.correlation_base));
        match id.filter(|&id| id != NO_ID) {
            Some(id) => {
                self.last_correlation = self.last_correlation.max(id);
                id
            }
            None => {
                self.lose(WarningKind::WideId, at, "");
                NO_ID
            }
        }
    }

    fn operation(&mut self, record: &Record, at: usize) -> String {
        if let Some((_, operation)) = self.names.operation(record.kind, record.operation) {
            return operation.to_owned();
        }
        self.lose(WarningKind::UnknownId, at, &format!("kind {}, operation {}", record.kind, record.operation));
        format!("kind {} operation {}", record.kind, record.operation)
    }

    fn kernel(&mut self, record: &Record, info: DispatchInfo, at: usize) -> String {
        if let Some(name) = self.names.kernel(info.kernel_id, record.kernel_rename_val) {
            return name.to_owned();
        }
        self.lose(WarningKind::UnknownId, at, &format!("kernel {}", info.kernel_id));
        format!("kernel {}", info.kernel_id)
    }

    fn thread(&mut self, record: &Record) -> u32 {
        let tid = RawId::Int(record.thread_id as i64);
        self.tracks.get(&mut self.chunk, TrackKind::Thread, self.pid, tid)
    }

    fn custom(&mut self, name: &str) -> u32 {
        let name = self.chunk.strings.intern(name);
        let known = self.chunk.tracks.len();
        let track = self.tracks.get(&mut self.chunk, TrackKind::Custom, self.pid, RawId::Text(name));
        if self.chunk.tracks.len() > known {
            self.chunk.metas.push(RawMeta::ThreadName(self.pid, RawId::Text(name), name));
        }
        track
    }

    /// Work lies on its HIP stream; older files know the queue only.
    fn stream(&mut self, gpu: Option<u32>, stream: Option<Handle>, queue: Option<Handle>) -> u32 {
        let device = RawId::Int(gpu.map_or(0, i64::from));
        let tid = match (stream, queue) {
            (Some(id), _) | (None, Some(id)) => RawId::Int(id.handle as i64),
            (None, None) => RawId::Text(self.chunk.strings.intern("copies")),
        };
        self.tracks.get(&mut self.chunk, TrackKind::Stream, device, tid)
    }

    fn dispatch_track(&mut self, record: &Record, info: DispatchInfo) -> u32 {
        self.stream(self.names.gpu(info.agent_id.handle), record.stream_id, Some(info.queue_id))
    }

    /// A copy belongs to the GPU that it reaches, or else to the one that it leaves.
    fn copy_track(&mut self, record: &Record) -> u32 {
        let gpu = |agent: Option<Handle>| agent.and_then(|agent| self.names.gpu(agent.handle));
        let gpu = gpu(record.dst_agent_id).or_else(|| gpu(record.src_agent_id)).or_else(|| gpu(record.agent_id));
        self.stream(gpu, record.stream_id, None)
    }

    /// A roctx call: a mark, a range of a thread, or a range of the process.
    fn marker(&mut self, record: &Record, at: usize) -> (String, EventKind, u32) {
        let operation = self.operation(record, at);
        let name = self.names.marker(record.correlation_id.internal).map_or_else(|| operation.clone(), str::to_owned);
        if operation.contains("Mark") {
            let tid = RawId::Int(record.thread_id as i64);
            return (
                name,
                EventKind::Instant,
                self.tracks.get(&mut self.chunk, TrackKind::ThreadInstants, self.pid, tid),
            );
        }
        if operation.contains("RangeStart") || operation.contains("ProcessRange") {
            let track = self.tracks.get(&mut self.chunk, TrackKind::Async, self.pid, RawId::None);
            return (name, EventKind::Async, track);
        }
        (name, EventKind::Annotation, self.thread(record))
    }
}
