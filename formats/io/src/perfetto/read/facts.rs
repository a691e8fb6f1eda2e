//! Traces that Gapless wrote: what an instant per rank says, so that the same trace comes back. The table stands with
//! the writer.
//!
//! The file may have been edited since. What does not fit is found (a track that is not listed, another number of
//! events, a flow without its other end), and then the file is read like any other.

use gapless_trace::{
    ArgValue, Args, CollectiveArgs, DeviceInfo, EventKind, RawChunk, RawId, RawMeta, Source, StringTable, TraceInfo,
    TrackKind, WarningKind, Warnings,
};
use rustc_hash::FxHashMap;

use super::args::{Scope, annotation};
use super::resolve::Home;

/// Newest version of the table that is known.
const NEWEST: i64 = 2;

/// An id as the facts have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FactId {
    None,
    Int(i64),
    Text(String),
}

impl FactId {
    fn of(value: Option<&ArgValue>) -> Self {
        match value {
            Some(ArgValue::Text(text)) => Self::Text(text.clone()),
            Some(value) => value.as_i64().map_or(Self::None, Self::Int),
            None => Self::None,
        }
    }

    /// As the model has it, with strings of `strings`.
    pub fn raw(&self, strings: &mut StringTable) -> RawId {
        match self {
            Self::None => RawId::None,
            Self::Int(value) => RawId::Int(*value),
            Self::Text(text) => RawId::Text(strings.intern(text)),
        }
    }
}

/// A process of a rank.
#[derive(Clone, Debug)]
pub(super) struct FactProcess {
    pub pid: FactId,
    name: Option<String>,
    labels: Option<String>,
    sort_index: Option<i64>,
}

/// A track of a rank.
#[derive(Clone, Debug)]
pub(super) struct FactTrack {
    pub kind: TrackKind,
    pub process: u32,
    pub tid: FactId,
    name: Option<String>,
    sort_index: Option<i64>,
}

/// A Perfetto track that the facts list.
#[derive(Clone, Debug)]
pub(super) struct FactLane {
    pub rank: u32,
    pub track: u32,
    /// Name and unit of a counter, and the process it hangs under.
    pub counter: Option<(String, String, u32)>,
    /// Begins, instants and values written on it.
    events: Option<u64>,
}

/// Flows with consecutive ids.
#[derive(Clone, Debug)]
pub(super) struct FactFlows {
    first: u64,
    count: u64,
    /// `None` for launches.
    pub category: Option<String>,
    pub is_reversed: bool,
}

/// A rank.
#[derive(Debug, Default)]
pub(super) struct FactRank {
    pub info: TraceInfo,
    pub origin: Option<String>,
    pub companions: Vec<Source>,
    pub processes: Vec<FactProcess>,
    pub tracks: FxHashMap<u32, FactTrack>,
    pub warnings: Warnings,
    pub companion_warnings: Vec<Warnings>,
}

/// What the file says about the trace that it was written from.
#[derive(Debug, Default)]
pub(super) struct Facts {
    version: i64,
    shift_ns: i64,
    pub ranks: Vec<FactRank>,
    lanes: FxHashMap<u64, FactLane>,
    kinds: FxHashMap<Vec<u8>, EventKind>,
    flows: Vec<FactFlows>,
    /// Why they cannot be used.
    pub problem: Option<&'static str>,
}

fn get<'a>(args: &'a Args, name: &str) -> Option<&'a ArgValue> {
    args.iter().find(|entry| entry.0 == name).map(|entry| &entry.1)
}

fn dict(value: Option<&ArgValue>) -> Option<&Args> {
    match value {
        Some(ArgValue::Dict(entries)) => Some(entries),
        _ => None,
    }
}

fn list<'a>(args: &'a Args, name: &str) -> impl Iterator<Item = &'a Args> + use<'a> {
    let items = match get(args, name) {
        Some(ArgValue::List(items)) => items.as_slice(),
        _ => &[],
    };
    items.iter().filter_map(|item| dict(Some(item)))
}

fn int(args: &Args, name: &str) -> Option<i64> {
    match get(args, name)? {
        ArgValue::Text(_) => None,
        value => value.as_i64(),
    }
}

fn unsigned(args: &Args, name: &str) -> Option<u64> {
    match get(args, name)? {
        ArgValue::Int(value) => u64::try_from(*value).ok(),
        ArgValue::UInt(value) => Some(*value),
        _ => None,
    }
}

fn narrow(args: &Args, name: &str) -> Option<u32> {
    unsigned(args, name).and_then(|value| u32::try_from(value).ok())
}

fn text(args: &Args, name: &str) -> Option<String> {
    match get(args, name)? {
        ArgValue::Text(text) => Some(text.clone()),
        _ => None,
    }
}

impl Facts {
    /// Adds the facts of a rank, in the order of the file.
    pub fn add(&mut self, args: &Args) {
        let rank = self.ranks.len() as u32;
        self.version = int(args, "gapless.version").unwrap_or(0);
        if !(1..=NEWEST).contains(&self.version) {
            self.problem = Some("they are of a newer version of Gapless");
            return;
        }
        let shift_ns = int(args, "gapless.shift_ns").unwrap_or(0);
        if rank > 0 && shift_ns != self.shift_ns {
            self.problem = Some("ranks were shifted differently: several files were joined");
        }
        self.shift_ns = shift_ns;
        let mut added =
            FactRank { info: info(args), origin: origin(dict(get(args, "gapless.source"))), ..FactRank::default() };
        added.companions = list(args, "gapless.companions").map(source).collect();
        added.companion_warnings = vec![Warnings::default(); added.companions.len()];
        for entry in list(args, "gapless.processes") {
            added.processes.push(FactProcess {
                pid: FactId::of(get(entry, "pid")),
                name: text(entry, "name"),
                labels: text(entry, "labels"),
                sort_index: int(entry, "sort_index"),
            });
        }
        for entry in list(args, "gapless.tracks") {
            self.track(rank, entry, &mut added);
        }
        for entry in list(args, "gapless.warnings") {
            warning(entry, &mut added);
        }
        self.ranks.push(added);
        if rank > 0 {
            return;
        }
        // The same in all ranks.
        for entry in list(args, "gapless.kinds") {
            let kind = text(entry, "kind").and_then(|kind| EventKind::from_id(&kind));
            self.kinds.extend(text(entry, "category").map(String::into_bytes).zip(kind));
        }
        for entry in list(args, "gapless.flows") {
            let (Some(first), Some(count)) = (unsigned(entry, "first"), unsigned(entry, "count")) else { continue };
            let category = text(entry, "category");
            let is_reversed = get(entry, "reversed") == Some(&ArgValue::Bool(true));
            self.flows.push(FactFlows { first, count, category, is_reversed });
        }
        self.flows.sort_by_key(|range| range.first);
    }

    fn track(&mut self, rank: u32, entry: &Args, added: &mut FactRank) {
        let kind = text(entry, "kind").and_then(|kind| TrackKind::from_id(&kind));
        let (Some(uuid), Some(track), Some(process), Some(kind)) =
            (unsigned(entry, "uuid"), narrow(entry, "track"), narrow(entry, "process"), kind)
        else {
            self.problem = Some("a track is incomplete");
            return;
        };
        let counter = (kind == TrackKind::Counter)
            .then(|| (text(entry, "counter").unwrap_or_default(), text(entry, "unit").unwrap_or_default(), process));
        let lane = FactLane { rank, track, counter, events: unsigned(entry, "events") };
        if self.lanes.insert(uuid, lane).is_some() {
            self.problem = Some("two ranks list the same track: several files were joined");
        }
        added.tracks.entry(track).or_insert_with(|| FactTrack {
            kind,
            process,
            tid: FactId::of(get(entry, "tid")),
            name: text(entry, "name"),
            sort_index: int(entry, "sort_index"),
        });
    }

    /// What was added to every time of the file.
    pub fn shift_ns(&self) -> i64 {
        self.shift_ns
    }

    /// Whether bytes of copies are to be taken from arguments: the first version did not write them.
    pub fn derives_bytes(&self) -> bool {
        self.version < 2
    }

    /// The kind that events of a category have unless they say otherwise.
    pub fn kind_of_category(&self, category: &[u8]) -> EventKind {
        self.kinds.get(category).copied().unwrap_or(EventKind::Other)
    }

    /// Where events of a Perfetto track go; [`Home::Lane`] for one that is not listed.
    pub fn home(&self, uuid: u64) -> Home {
        match self.lanes.get(&uuid) {
            Some(lane) => Home::Restored { rank: lane.rank, track: lane.track },
            None => Home::Lane,
        }
    }

    /// The Perfetto track with this id.
    pub fn lane(&self, uuid: u64) -> Option<&FactLane> {
        self.lanes.get(&uuid)
    }

    /// What a flow is.
    pub fn flow(&self, id: u64) -> Option<&FactFlows> {
        let after = self.flows.partition_point(|range| range.first <= id);
        let range = self.flows.get(after.checked_sub(1)?)?;
        (id - range.first < range.count).then_some(range)
    }

    /// Number of flows.
    pub fn flow_count(&self) -> u64 {
        self.flows.iter().fold(0, |sum, range| sum.saturating_add(range.count))
    }

    /// Whether `counts` (events by Perfetto track) are those that were written.
    pub fn check_counts(&self, counts: &FxHashMap<u64, u64>) -> Result<(), String> {
        if let Some(uuid) = counts.keys().find(|uuid| !self.lanes.contains_key(uuid)) {
            return Err(format!("there are events on track {uuid}, which is not listed"));
        }
        for (uuid, lane) in &self.lanes {
            let found = counts.get(uuid).copied().unwrap_or(0);
            if let Some(written) = lane.events.filter(|&written| written != found) {
                return Err(format!("track {uuid} has {found} events where {written} were written"));
            }
        }
        Ok(())
    }
}

impl FactRank {
    /// The key of a track, with strings of `strings`.
    pub fn key(&self, track: u32, strings: &mut StringTable) -> Option<(TrackKind, RawId, RawId)> {
        let track = self.tracks.get(&track)?;
        let pid = self.pid(track.process, strings)?;
        Some((track.kind, pid, track.tid.raw(strings)))
    }

    /// The id of a process, with strings of `strings`.
    pub fn pid(&self, process: u32, strings: &mut StringTable) -> Option<RawId> {
        self.processes.get(process as usize).map(|process| process.pid.raw(strings))
    }

    /// Names and orders as metadata of `chunk`.
    pub fn add_metas(&self, chunk: &mut RawChunk) {
        for process in &self.processes {
            let pid = process.pid.raw(&mut chunk.strings);
            if let Some(name) = &process.name {
                let name = chunk.strings.intern(name);
                chunk.metas.push(RawMeta::ProcessName(pid, name));
            }
            if let Some(labels) = &process.labels {
                let labels = chunk.strings.intern(labels);
                chunk.metas.push(RawMeta::ProcessLabels(pid, labels));
            }
            chunk.metas.extend(process.sort_index.map(|index| RawMeta::ProcessSort(pid, index)));
        }
        let mut tracks: Vec<_> = self.tracks.iter().collect();
        tracks.sort_unstable_by_key(|entry| entry.0);
        for (_, track) in tracks.into_iter().filter(|(_, track)| track.kind != TrackKind::Counter) {
            let Some(pid) = self.pid(track.process, &mut chunk.strings) else { continue };
            let tid = track.tid.raw(&mut chunk.strings);
            if let Some(name) = &track.name {
                let name = chunk.strings.intern(name);
                chunk.metas.push(RawMeta::ThreadName(pid, tid, name));
            }
            chunk.metas.extend(track.sort_index.map(|index| RawMeta::ThreadSort(pid, tid, index)));
        }
    }
}

fn info(args: &Args) -> TraceInfo {
    let empty = Args::new();
    let rank = dict(get(args, "gapless.rank")).unwrap_or(&empty);
    let devices = list(args, "gapless.devices").map(|device| DeviceInfo {
        id: narrow(device, "id").unwrap_or(0),
        name: text(device, "name").unwrap_or_default(),
        memory_bytes: unsigned(device, "memory_bytes"),
        multiprocessors: narrow(device, "multiprocessors"),
        compute_capability: match get(device, "compute_capability") {
            Some(ArgValue::List(items)) => {
                let part = |index: usize| items.get(index)?.as_i64().and_then(|part| u32::try_from(part).ok());
                part(0).zip(part(1))
            }
            _ => None,
        },
        properties: dict(get(device, "properties")).cloned().unwrap_or_default(),
    });
    TraceInfo {
        rank: narrow(rank, "number"),
        world_size: narrow(rank, "world_size"),
        host: text(rank, "host"),
        backend: text(rank, "backend"),
        base_time_ns: int(rank, "base_time_ns"),
        devices: devices.collect(),
        header: dict(get(args, "gapless.header")).cloned().unwrap_or_default(),
    }
}

/// What a file was made from, in words.
fn origin(source: Option<&Args>) -> Option<String> {
    let source = source?;
    let words = || Some(format!("{}, {}", text(source, "path")?, text(source, "format").unwrap_or_default()));
    text(source, "origin").or_else(words)
}

fn source(entry: &Args) -> Source {
    Source {
        path: text(entry, "path").unwrap_or_default(),
        format: text(entry, "format").unwrap_or_default(),
        file_bytes: unsigned(entry, "file_bytes").unwrap_or(0),
        text_bytes: unsigned(entry, "text_bytes").unwrap_or(0),
        file_events: unsigned(entry, "file_events").unwrap_or(0),
        origin: origin(Some(entry)),
    }
}

fn warning(entry: &Args, rank: &mut FactRank) {
    let id = text(entry, "kind").unwrap_or_default();
    let Some(&kind) = WarningKind::ALL.iter().find(|kind| kind.id() == id) else { return };
    let warnings = match unsigned(entry, "source").unwrap_or(0) {
        0 => Some(&mut rank.warnings),
        number => usize::try_from(number - 1).ok().and_then(|index| rank.companion_warnings.get_mut(index)),
    };
    let Some(warnings) = warnings else { return };
    let offsets: Vec<u64> = match get(entry, "offsets") {
        Some(ArgValue::List(items)) => {
            items.iter().filter_map(|item| item.as_i64().and_then(|offset| u64::try_from(offset).ok())).collect()
        }
        _ => Vec::new(),
    };
    // Sums of counts must fit whatever the file says.
    let count = unsigned(entry, "count").unwrap_or(0).min(1 << 36);
    let detail = text(entry, "detail").unwrap_or_default();
    // Counted once each while there is a place to keep, the rest together.
    let known = (offsets.len() as u64).min(count);
    for &offset in offsets.iter().take(known as usize) {
        warnings.add(kind, gapless_trace::SourceId(0), Some(offset), &detail);
    }
    warnings.add_many(kind, gapless_trace::SourceId(0), count - known, None, &detail);
}

/// The collective of an event, from its annotation.
pub(super) fn collective(scope: &Scope<'_>, message: &[u8], event: u32, strings: &mut StringTable) -> CollectiveArgs {
    let (_, value) = annotation(scope, message, 0);
    let empty = Args::new();
    let entry = dict(Some(&value)).unwrap_or(&empty);
    let mut string = |name: &str| strings.intern(&text(entry, name).unwrap_or_default());
    CollectiveArgs {
        event,
        name: string("name"),
        dtype: string("dtype"),
        group: string("group"),
        group_desc: string("group_desc"),
        in_elems: unsigned(entry, "in_elems"),
        out_elems: unsigned(entry, "out_elems"),
        group_size: narrow(entry, "group_size"),
        seq: unsigned(entry, "seq"),
    }
}
