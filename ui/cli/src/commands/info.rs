//! `gapless info`: what is in the files.

use std::collections::BTreeMap;

use gapless_trace::{ArgValue, Args, EventKind, MemoryReport, ProcessKind, Rank, Trace, Warning};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Opened, SCHEMA_VERSION};
use crate::args::InfoArgs;
use crate::{output, report};

/// What `gapless info` prints, as JSON or as text. `docs/json-schema.md` documents every field.
#[derive(Debug, Serialize)]
pub struct InfoReport {
    pub schema_version: u32,
    pub command: &'static str,
    pub read_seconds: f64,
    pub events: u64,
    pub file_events: u64,
    pub start_ns: Option<i64>,
    pub span_ns: i64,
    pub sources: Vec<SourceInfo>,
    pub ranks: Vec<RankInfo>,
    pub tracks: Vec<TrackInfo>,
    pub events_by_kind: BTreeMap<&'static str, u64>,
    pub launch_links: u64,
    pub flows: u64,
    pub counters: Vec<CounterInfo>,
    pub warnings: Vec<WarningInfo>,
    pub lost: u64,
    pub memory: MemoryInfo,
}

#[derive(Debug, Serialize)]
pub struct SourceInfo {
    pub file: String,
    pub format: String,
    pub origin: Option<String>,
    pub file_bytes: u64,
    pub text_bytes: u64,
    pub file_events: u64,
}

#[derive(Debug, Serialize)]
pub struct RankInfo {
    pub rank: Option<u32>,
    pub world_size: Option<u32>,
    pub file: String,
    pub host: Option<String>,
    pub backend: Option<String>,
    pub base_time_ns: Option<i64>,
    pub clock_offset_ns: i64,
    pub devices: Vec<DeviceInfo>,
    pub used_devices: Vec<u32>,
    pub processes: u64,
    pub tracks: u64,
    pub events: u64,
    pub start_ns: Option<i64>,
    pub span_ns: i64,
    pub header: Map<String, Value>,
}

#[derive(Debug, Serialize)]
pub struct DeviceInfo {
    pub id: u32,
    pub name: String,
    pub memory_bytes: Option<u64>,
    pub multiprocessors: Option<u32>,
    pub compute_capability: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct TrackInfo {
    pub rank: Option<u32>,
    pub process: String,
    pub kind: &'static str,
    pub name: String,
    pub lanes: u32,
    pub events: u64,
}

#[derive(Debug, Serialize)]
pub struct CounterInfo {
    pub name: String,
    pub unit: String,
    pub samples: u64,
}

#[derive(Debug, Serialize)]
pub struct WarningInfo {
    pub kind: &'static str,
    pub severity: &'static str,
    pub file: String,
    pub count: u64,
    pub text: &'static str,
    pub detail: String,
    pub offsets: Vec<u64>,
}

/// Heap bytes by part; mapped files are not counted.
#[derive(Debug, Serialize)]
pub struct MemoryInfo {
    /// Events of every phase in the files: what `bytes_per_event` divides by.
    pub file_events: u64,
    pub bytes_per_event: f64,
    pub total_bytes: u64,
    pub event_columns_bytes: u64,
    pub links_bytes: u64,
    pub side_tables_bytes: u64,
    pub counters_bytes: u64,
    pub strings_bytes: u64,
    pub tracks_bytes: u64,
    pub source_text_bytes: u64,
}

pub fn run(args: &InfoArgs) -> anyhow::Result<()> {
    let opened = super::read_trace(&args.paths, &args.read)?;
    let info = InfoReport::of(&opened);
    if args.json {
        output::print_json(&info)
    } else {
        output::print(&report::info::render(&info, args, output::width()))
    }
}

impl InfoReport {
    fn of(opened: &Opened) -> Self {
        let trace = &opened.trace;
        let mut events_by_kind = BTreeMap::new();
        for kind in trace.events().kinds() {
            *events_by_kind.entry(kind.id()).or_insert(0) += 1;
        }
        Self {
            schema_version: SCHEMA_VERSION,
            command: "info",
            read_seconds: opened.read_time.as_secs_f64(),
            events: trace.events().len() as u64,
            file_events: trace.sources().iter().map(|source| source.file_events).sum(),
            start_ns: trace.span().map(|span| span.start.nanos()),
            span_ns: trace.span().map_or(0, |span| span.duration().nanos()),
            sources: sources(trace),
            ranks: trace.ranks().iter().map(|rank| RankInfo::of(trace, rank)).collect(),
            tracks: tracks(trace),
            events_by_kind,
            launch_links: trace.launches().len() as u64,
            flows: trace.flows().len() as u64,
            counters: counters(trace),
            warnings: warnings(trace),
            lost: trace.warnings().lost(),
            memory: MemoryInfo::of(&trace.memory()),
        }
    }
}

/// Each file once: one that holds several ranks is a source of each of them.
fn sources(trace: &Trace) -> Vec<SourceInfo> {
    let mut files: Vec<SourceInfo> = Vec::new();
    for source in trace.sources() {
        match files.iter_mut().find(|file| file.file == source.path) {
            Some(file) => file.file_events += source.file_events,
            None => files.push(SourceInfo {
                file: source.path.clone(),
                format: source.format.clone(),
                origin: source.origin.clone(),
                file_bytes: source.file_bytes,
                text_bytes: source.text_bytes,
                file_events: source.file_events,
            }),
        }
    }
    files
}

impl RankInfo {
    fn of(trace: &Trace, rank: &Rank) -> Self {
        let processes =
            trace.processes().get(rank.processes.start as usize..rank.processes.end as usize).unwrap_or_default();
        let mut used_devices: Vec<u32> = processes
            .iter()
            .filter_map(|process| if let ProcessKind::Device(id) = process.kind { Some(id) } else { None })
            .collect();
        used_devices.sort_unstable();
        used_devices.dedup();
        let range = rank.events.start as usize..rank.events.end as usize;
        let start = trace.events().starts().get(range.clone()).and_then(|starts| starts.iter().min().copied());
        let end = range.map(|index| trace.events().end_at(index)).max();
        Self {
            rank: rank.number,
            world_size: rank.world_size,
            file: trace.source(rank.source).map(|source| source.path.clone()).unwrap_or_default(),
            host: rank.host.clone(),
            backend: rank.backend.clone(),
            base_time_ns: rank.base_time_ns,
            clock_offset_ns: rank.clock_offset_ns,
            devices: rank.devices.iter().map(DeviceInfo::of).collect(),
            used_devices,
            processes: processes.len() as u64,
            tracks: u64::from(rank.tracks.end - rank.tracks.start),
            events: u64::from(rank.events.end - rank.events.start),
            start_ns: start,
            span_ns: start.zip(end).map_or(0, |(start, end)| end.saturating_sub(start)),
            header: json_of_args(&rank.header),
        }
    }
}

impl DeviceInfo {
    fn of(device: &gapless_trace::DeviceInfo) -> Self {
        Self {
            id: device.id,
            name: device.name.clone(),
            memory_bytes: device.memory_bytes,
            multiprocessors: device.multiprocessors,
            compute_capability: device.compute_capability.map(|(major, minor)| format!("{major}.{minor}")),
        }
    }
}

fn tracks(trace: &Trace) -> Vec<TrackInfo> {
    let of = |(id, track): (_, &gapless_trace::Track)| {
        let process = trace.process(track.process);
        let process_name = process.map(|process| {
            let name = trace.text(process.name).trim().to_owned();
            let labels = trace.text(process.labels).trim().to_owned();
            let pid = trace.raw_id_text(process.pid);
            [name, labels, pid].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" · ")
        });
        TrackInfo {
            rank: trace.rank(track.rank).and_then(|rank| rank.number),
            process: process_name.unwrap_or_default(),
            kind: track.kind.id(),
            name: trace.track_label(id),
            lanes: track.lanes,
            events: u64::from(track.events.end - track.events.start),
        }
    };
    trace.track_ids().map(of).collect()
}

fn counters(trace: &Trace) -> Vec<CounterInfo> {
    let counters = trace.counters().iter().map(|series| CounterInfo {
        name: trace.text(series.name).to_owned(),
        unit: trace.text(series.unit).to_owned(),
        samples: series.times.len() as u64,
    });
    counters.collect()
}

/// The warnings of a trace, worst first.
pub fn warnings(trace: &Trace) -> Vec<WarningInfo> {
    let of = |warning: &Warning| WarningInfo {
        kind: warning.kind.id(),
        severity: warning.kind.severity().id(),
        file: trace.source(warning.source).map(|source| source.path.clone()).unwrap_or_default(),
        count: warning.count,
        text: warning.kind.text(),
        detail: warning.detail.clone(),
        offsets: warning.offsets.clone(),
    };
    trace.warnings().sorted().into_iter().map(of).collect()
}

impl MemoryInfo {
    fn of(memory: &MemoryReport) -> Self {
        Self {
            file_events: memory.file_events,
            bytes_per_event: memory.bytes_per_event(),
            total_bytes: memory.total() as u64,
            event_columns_bytes: memory.event_columns as u64,
            links_bytes: memory.links as u64,
            side_tables_bytes: memory.side_tables as u64,
            counters_bytes: memory.counters as u64,
            strings_bytes: memory.strings as u64,
            tracks_bytes: memory.tracks as u64,
            source_text_bytes: memory.source_text as u64,
        }
    }
}

/// The label for people of the kind with this stable name.
pub fn kind_label(id: &str) -> &'static str {
    EventKind::ALL.iter().find(|kind| kind.id() == id).map_or("other", |kind| kind.label())
}

fn json_of_args(args: &Args) -> Map<String, Value> {
    args.iter().map(|(name, value)| (name.clone(), json_of(value))).collect()
}

fn json_of(value: &ArgValue) -> Value {
    match value {
        ArgValue::Null => Value::Null,
        ArgValue::Bool(value) => Value::Bool(*value),
        ArgValue::Int(value) => Value::from(*value),
        ArgValue::UInt(value) => Value::from(*value),
        ArgValue::Double(value) => Value::from(*value),
        ArgValue::Text(text) => Value::String(text.clone()),
        ArgValue::List(values) => Value::Array(values.iter().map(json_of).collect()),
        ArgValue::Dict(args) => Value::Object(json_of_args(args)),
    }
}
