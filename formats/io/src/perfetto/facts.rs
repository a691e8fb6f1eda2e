//! What a reader needs to get the same trace back, as arguments of one instant per rank.
//!
//! | argument | content |
//! |---|---|
//! | `gapless.version` | version of this table; 2 |
//! | `gapless.rank` | `number`, `world_size`, `host`, `backend`, `base_time_ns`, `clock_offset_ns` |
//! | `gapless.shift_ns` | what was added to every time because the format has no negative ones; absent if 0 |
//! | `gapless.source` | `path`, `format`, `file_bytes`, `text_bytes`, `file_events`, `origin` |
//! | `gapless.companions` | list of the same for the further files that were read into the rank |
//! | `gapless.header` | other header fields of the file |
//! | `gapless.devices` | list: `id`, `name`, `memory_bytes`, `multiprocessors`, `compute_capability`, `properties` |
//! | `gapless.processes` | list: `kind`, `device`, `pid`, `name`, `labels`, `sort_index` |
//! | `gapless.tracks` | list, one per Perfetto track: `uuid`, `track` (its number in the rank), `process` (place in the list above), `kind`, `tid`, `name`, `sort_index`, `lane`, `events` (begins and instants, or values), and for counters `counter`, `unit` |
//! | `gapless.kinds` | list of `category`, `kind`: what events of that category are unless they carry `gapless.kind` |
//! | `gapless.flows` | list of `first`, `count`, `category` (absent for launches), `reversed`: what flow ids mean |
//! | `gapless.warnings` | list: `kind`, `count`, `offsets`, `detail`, `source` (absent for the rank's own, from 1 for its companions) |
//!
//! Absent values are left out. What events carry beside their own arguments is listed in `own`. Version 1 had no
//! `origin`, `companions`, `events` and `source` of a warning, and of the events' own only their kind and ids.
//!
//! # Getting the same trace back
//!
//! Events lie in lanes and depths that follow from their times and their order, so that these need not be read: it
//! is enough that events of one track that begin and end together keep the order in which they begin in the file.

use gapless_trace::{
    ArgValue, Args, EventKind, ProcessKind, Rank, RankId, RawId, Source, SourceId, StrId, Trace, Track, TrackId,
};
use rustc_hash::FxHashMap;

use super::flows::FlowTable;
use super::layout::{Layout, rows_of};

/// Version of the table above.
const VERSION: i64 = 2;

/// Kinds that categories stand for: for each category the kind that most of its events have.
#[derive(Debug, Default)]
pub(super) struct KindOfCategory {
    kinds: FxHashMap<StrId, EventKind>,
}

impl KindOfCategory {
    /// Counts the events of `trace`. O(events).
    pub(super) fn new(trace: &Trace) -> Self {
        let mut counts: FxHashMap<(StrId, EventKind), u64> = FxHashMap::default();
        for (&category, &kind) in trace.events().categories().iter().zip(trace.events().kinds()) {
            *counts.entry((category, kind)).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        // The most frequent of each category comes last and stays in the map; ties by kind, so that files are equal.
        counts.sort_unstable_by_key(|&((category, kind), count)| (category, count, kind));
        Self { kinds: counts.into_iter().map(|((category, kind), _)| (category, kind)).collect() }
    }

    /// The kind that `category` stands for.
    pub(super) fn get(&self, category: StrId) -> Option<EventKind> {
        self.kinds.get(&category).copied()
    }

    fn list(&self, trace: &Trace) -> ArgValue {
        let mut kinds: Vec<_> = self.kinds.iter().map(|(&category, kind)| (trace.text(category), kind.id())).collect();
        kinds.sort_unstable();
        ArgValue::List(
            kinds
                .into_iter()
                .map(|(category, kind)| dict([("category", text(category)), ("kind", text(kind))]))
                .collect(),
        )
    }
}

fn text(value: &str) -> ArgValue {
    ArgValue::Text(value.to_owned())
}

/// A whole number.
pub(super) fn uint(value: u64) -> ArgValue {
    i64::try_from(value).map_or(ArgValue::UInt(value), ArgValue::Int)
}

/// A dict without the entries whose value is null.
pub(super) fn dict<const N: usize>(entries: [(&str, ArgValue); N]) -> ArgValue {
    let present = entries.into_iter().filter(|(_, value)| *value != ArgValue::Null);
    ArgValue::Dict(present.map(|(key, value)| (key.to_owned(), value)).collect())
}

/// What `make` makes of a value; null for none.
pub(super) fn optional<T>(value: Option<T>, make: impl FnOnce(T) -> ArgValue) -> ArgValue {
    value.map_or(ArgValue::Null, make)
}

/// A text; null for none.
pub(super) fn not_empty(value: &str) -> ArgValue {
    if value.is_empty() { ArgValue::Null } else { text(value) }
}

fn raw_id(trace: &Trace, id: RawId) -> ArgValue {
    match id {
        RawId::None => ArgValue::Null,
        RawId::Int(value) => ArgValue::Int(value),
        RawId::Text(id) => text(trace.text(id)),
    }
}

fn source(source: &Source) -> ArgValue {
    dict([
        ("path", text(&source.path)),
        ("format", text(&source.format)),
        ("file_bytes", uint(source.file_bytes)),
        ("text_bytes", uint(source.text_bytes)),
        ("file_events", uint(source.file_events)),
        ("origin", optional(source.origin.as_deref(), text)),
    ])
}

/// Facts of all ranks.
pub(super) struct Facts<'t> {
    pub trace: &'t Trace,
    pub layout: &'t Layout,
    pub flows: &'t FlowTable,
    pub kinds: &'t KindOfCategory,
    pub shift_ns: i64,
}

impl Facts<'_> {
    /// The arguments of the instant of rank `id`; the table stands in the module's documentation.
    pub(super) fn of_rank(&self, id: RankId) -> Args {
        let Some(rank) = self.trace.rank(id) else { return Args::new() };
        let header = if rank.header.is_empty() { ArgValue::Null } else { ArgValue::Dict(rank.header.clone()) };
        let entries = [
            ("gapless.version", ArgValue::Int(VERSION)),
            (
                "gapless.rank",
                dict([
                    ("number", optional(rank.number, |value| uint(value.into()))),
                    ("world_size", optional(rank.world_size, |value| uint(value.into()))),
                    ("host", optional(rank.host.as_deref(), text)),
                    ("backend", optional(rank.backend.as_deref(), text)),
                    ("base_time_ns", optional(rank.base_time_ns, ArgValue::Int)),
                    ("clock_offset_ns", ArgValue::Int(rank.clock_offset_ns)),
                ]),
            ),
            ("gapless.shift_ns", if self.shift_ns == 0 { ArgValue::Null } else { ArgValue::Int(self.shift_ns) }),
            ("gapless.source", optional(self.trace.source(rank.source), source)),
            ("gapless.companions", self.companions(rank)),
            ("gapless.header", header),
            ("gapless.devices", self.devices(id)),
            ("gapless.processes", self.processes(id)),
            ("gapless.tracks", self.tracks(id)),
            ("gapless.kinds", self.kinds.list(self.trace)),
            ("gapless.flows", self.flow_ranges()),
            ("gapless.warnings", self.warnings(id)),
        ];
        let is_there = |value: &ArgValue| !matches!(value, ArgValue::Null) && *value != ArgValue::List(Vec::new());
        entries.into_iter().filter(|(_, value)| is_there(value)).map(|(key, value)| (key.to_owned(), value)).collect()
    }

    fn companions(&self, rank: &Rank) -> ArgValue {
        let sources = rank.companions.iter().filter_map(|&id| self.trace.source(id));
        ArgValue::List(sources.map(source).collect())
    }

    fn devices(&self, id: RankId) -> ArgValue {
        let devices = self.trace.rank(id).map(|rank| rank.devices.as_slice()).unwrap_or_default();
        let capability = |(major, minor): (u32, u32)| ArgValue::List(vec![uint(major.into()), uint(minor.into())]);
        let one = |device: &gapless_trace::DeviceInfo| {
            dict([
                ("id", uint(device.id.into())),
                ("name", not_empty(&device.name)),
                ("memory_bytes", optional(device.memory_bytes, uint)),
                ("multiprocessors", optional(device.multiprocessors, |value| uint(value.into()))),
                ("compute_capability", optional(device.compute_capability, capability)),
                ("properties", ArgValue::Dict(device.properties.clone())),
            ])
        };
        ArgValue::List(devices.iter().map(one).collect())
    }

    fn processes(&self, id: RankId) -> ArgValue {
        let range = self.trace.rank(id).map_or(0..0, |rank| rank.processes.start as usize..rank.processes.end as usize);
        let one = |process: &gapless_trace::Process| {
            let (kind, device) = match process.kind {
                ProcessKind::Host => ("host", ArgValue::Null),
                ProcessKind::Device(number) => ("device", uint(number.into())),
                ProcessKind::Virtual => ("virtual", ArgValue::Null),
            };
            dict([
                ("kind", text(kind)),
                ("device", device),
                ("pid", raw_id(self.trace, process.pid)),
                ("name", not_empty(self.trace.text(process.name))),
                ("labels", not_empty(self.trace.text(process.labels))),
                ("sort_index", optional(process.sort_index, ArgValue::Int)),
            ])
        };
        ArgValue::List(self.trace.processes().get(range).unwrap_or_default().iter().map(one).collect())
    }

    fn tracks(&self, id: RankId) -> ArgValue {
        let lanes = self.layout.lanes.iter().map(|lane| {
            let events = rows_of(self.trace, lane).iter().map(|row| row.indices().len()).sum::<usize>();
            (lane.track, lane.uuid, Some(lane.lane), events)
        });
        let counters = self.layout.counters.iter().map(|counter| {
            let series = self.trace.counters().get(counter.series.index());
            (counter.track, counter.uuid, None, series.map_or(0, |series| series.times.len()))
        });
        let of_rank = |&(track, ..): &(TrackId, u64, Option<u32>, usize)| {
            self.trace.track(track).is_some_and(|track| track.rank == id)
        };
        let one = |(track_id, uuid, lane, events)| {
            optional(self.trace.track(track_id), |track: &Track| {
                let (first_track, first_process) =
                    self.trace.rank(id).map_or((0, 0), |rank| (rank.tracks.start, rank.processes.start));
                let series = track.counter.and_then(|counter| self.trace.counters().get(counter.index()));
                dict([
                    ("uuid", uint(uuid)),
                    ("track", uint(track_id.0.saturating_sub(first_track).into())),
                    ("process", uint(track.process.0.saturating_sub(first_process).into())),
                    ("kind", text(track.kind.id())),
                    ("tid", raw_id(self.trace, track.tid)),
                    ("name", not_empty(self.trace.text(track.name))),
                    ("sort_index", optional(track.sort_index, ArgValue::Int)),
                    ("lane", optional(lane, |lane: u32| uint(lane.into()))),
                    ("events", uint(events as u64)),
                    ("counter", optional(series, |series| not_empty(self.trace.text(series.name)))),
                    ("unit", optional(series, |series| not_empty(self.trace.text(series.unit)))),
                ])
            })
        };
        ArgValue::List(lanes.chain(counters).filter(of_rank).map(one).collect())
    }

    fn flow_ranges(&self) -> ArgValue {
        let one = |range: &super::flows::FlowRange| {
            dict([
                ("first", uint(range.first)),
                ("count", uint(range.count)),
                ("category", optional(range.category, |category| text(self.trace.text(category)))),
                ("reversed", if range.reversed { ArgValue::Bool(true) } else { ArgValue::Null }),
            ])
        };
        ArgValue::List(self.flows.ranges().iter().map(one).collect())
    }

    fn warnings(&self, id: RankId) -> ArgValue {
        let Some(rank) = self.trace.rank(id) else { return ArgValue::Null };
        let sources: Vec<SourceId> = std::iter::once(rank.source).chain(rank.companions.iter().copied()).collect();
        let sorted = self.trace.warnings().sorted().into_iter();
        let of_rank = sorted.filter_map(|warning| {
            let source = sources.iter().position(|&source| source == warning.source)?;
            Some((warning, source as u64))
        });
        let one = |(warning, source): (&gapless_trace::Warning, u64)| {
            dict([
                ("kind", text(warning.kind.id())),
                ("count", uint(warning.count)),
                ("offsets", ArgValue::List(warning.offsets.iter().copied().map(uint).collect())),
                ("detail", not_empty(&warning.detail)),
                ("source", if source == 0 { ArgValue::Null } else { uint(source) }),
            ])
        };
        ArgValue::List(of_rank.map(one).collect())
    }
}
