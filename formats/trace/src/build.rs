//! From parts to a trace: strings joined, begins paired, tracks ordered, events sorted, links bound.
//!
//! Cost: one sort per track (linear where the file is in order already), one gather per column; parallel
//! over ranks, tracks and columns. Raw columns are freed before the next rank's are merged.

use std::ops::Range;

use rayon::prelude::*;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::layout::{Names, adopt_counter, adopt_meta, first_process_of_pid, group_counters, lay_out_tracks};
use crate::links::LaunchLinks;
use crate::pair::{ExtraArgs, pair_async, pair_begin_end};
use crate::part::classify;
use crate::sort::{Loc, gather, loc, sort_events};
use crate::{
    ArgsLoc, BuildError, BuildOptions, Collective, CommunicationPatterns, CounterId, CounterSeries, EventId, EventKind,
    EventStack, Events, Flow, Process, Rank, RankId, RawChunk, RawEdge, RawFlow, RawId, RawPlace, Row, Source,
    SourceId, Span, StackTable, StrId, StringTable, Timestamp, Trace, TracePart, Track, TrackKind, WarningKind,
    Warnings,
};

/// A key of a track within a rank.
pub(crate) type TrackKey = (TrackKind, RawId, RawId);

/// A built rank: like a trace of its own, ids from 0.
#[derive(Default)]
pub(crate) struct Built {
    pub processes: Vec<Process>,
    pub tracks: Vec<Track>,
    pub rows: Vec<Row>,
    pub events: Events,
    pub links: Vec<(EventId, EventId)>,
    pub flows: Vec<Flow>,
    pub counters: Vec<CounterSeries>,
    pub collectives: Vec<Collective>,
    pub copy_bytes: Vec<(EventId, u64)>,
    pub extra_args: Vec<(EventId, ArgsLoc)>,
    pub event_stacks: Vec<EventStack>,
    pub warnings: Warnings,
}

pub(crate) fn build(parts: Vec<TracePart>, options: &BuildOptions) -> Result<Trace, BuildError> {
    let total: u64 = parts.iter().flat_map(|part| &part.chunks).map(most_events).sum();
    if total >= u64::from(u32::MAX) {
        return Err(BuildError::TooManyEvents { events: total });
    }
    let mut strings = StringTable::new();
    let mut stacks = StackTable::default();
    let mut parts = parts;
    let maps: Vec<Vec<Vec<StrId>>> = parts
        .iter_mut()
        .map(|part| part.chunks.iter_mut().map(|chunk| adopt_strings(&mut strings, chunk)).collect())
        .collect();
    for (part, maps) in parts.iter_mut().zip(&maps) {
        for (chunk, map) in part.chunks.iter_mut().zip(maps) {
            adopt_stacks(&mut stacks, chunk, map);
        }
    }
    stacks.shrink();
    let kinds = KindOfName::new(&strings, &parts, &maps, &options.communication);
    let shared = Shared { strings: &strings, kinds: &kinds };
    let work: Vec<_> = parts
        .iter_mut()
        .map(|part| RankWork {
            chunks: std::mem::take(&mut part.chunks),
            edges: std::mem::take(&mut part.edges),
            base_ns: part.info.base_time_ns.unwrap_or(0),
            is_restored: part.is_restored,
        })
        .collect();
    let built: Vec<Built> =
        work.into_par_iter().zip(maps).map(|(work, maps)| build_rank(work, maps, &shared)).collect();
    strings.shrink();
    Ok(merge(parts, built, strings, stacks))
}

/// Most events that a chunk can become.
fn most_events(chunk: &RawChunk) -> u64 {
    (chunk.len() + chunk.begin_ends.len() + chunk.asyncs.len()) as u64
}

/// Interns the chunk's strings and frees its table; gives the trace's id of each.
fn adopt_strings(strings: &mut StringTable, chunk: &mut RawChunk) -> Vec<StrId> {
    let own = std::mem::take(&mut chunk.strings);
    own.iter().map(|(_, text)| strings.intern(text)).collect()
}

/// Adopts the chunk's call stacks and frees its table.
fn adopt_stacks(stacks: &mut StackTable, chunk: &mut RawChunk, map: &[StrId]) {
    let own = std::mem::take(&mut chunk.stacks);
    if own.is_empty() {
        chunk.event_stacks.clear();
        return;
    }
    let ids = stacks.adopt(&own, |id| remap(map, id));
    chunk.event_stacks.retain_mut(|entry| match ids.get(entry.stack.0 as usize) {
        Some(&id) => {
            entry.stack = id;
            true
        }
        None => false,
    });
}

/// What all ranks share while they are built.
struct Shared<'a> {
    strings: &'a StringTable,
    kinds: &'a KindOfName,
}

/// What one rank is built of.
struct RankWork {
    chunks: Vec<RawChunk>,
    edges: Vec<RawEdge>,
    base_ns: i64,
    is_restored: bool,
}

/// Kinds that a name decides, by string id: `None` where the name changes nothing.
pub(crate) struct KindOfName(Vec<Option<EventKind>>);

impl KindOfName {
    fn new(
        strings: &StringTable,
        parts: &[TracePart],
        maps: &[Vec<Vec<StrId>>],
        patterns: &CommunicationPatterns,
    ) -> Self {
        let mut of_kernel = vec![false; strings.len()];
        for (part, maps) in parts.iter().zip(maps) {
            for (chunk, map) in part.chunks.iter().zip(maps) {
                let begun = chunk.begin_ends.iter().map(|event| (&event.name, &event.kind));
                for (name, kind) in chunk.name.iter().zip(&chunk.kind).chain(begun) {
                    if *kind == EventKind::Kernel
                        && let Some(flag) = map.get(name.index()).and_then(|id| of_kernel.get_mut(id.index()))
                    {
                        *flag = true;
                    }
                }
            }
        }
        let decide = |(index, &is_kernel): (usize, &bool)| {
            let name = strings.get(StrId(index as u32));
            (is_kernel && classify(EventKind::Kernel, name, patterns) != EventKind::Kernel)
                .then(|| classify(EventKind::Kernel, name, patterns))
        };
        Self(of_kernel.par_iter().enumerate().map(decide).collect())
    }

    pub fn refine(&self, kind: EventKind, name: StrId) -> EventKind {
        if kind == EventKind::Kernel { self.0.get(name.index()).copied().flatten().unwrap_or(kind) } else { kind }
    }
}

pub(crate) fn remap(map: &[StrId], id: StrId) -> StrId {
    map.get(id.index()).copied().unwrap_or_default()
}

pub(crate) fn remap_raw(map: &[StrId], id: RawId) -> RawId {
    match id {
        RawId::Text(text) => RawId::Text(remap(map, text)),
        other => other,
    }
}

fn build_rank(work: RankWork, mut maps: Vec<Vec<StrId>>, shared: &Shared<'_>) -> Built {
    let RankWork { mut chunks, edges, base_ns, is_restored } = work;
    let mut built = Built::default();
    let mut names = Names::default();
    let mut keys: Vec<TrackKey> = Vec::new();
    let mut key_index: FxHashMap<TrackKey, u32> = FxHashMap::default();
    let mut key_of = |key: TrackKey, keys: &mut Vec<TrackKey>| -> u32 {
        *key_index.entry(key).or_insert_with(|| {
            keys.push(key);
            keys.len() as u32 - 1
        })
    };

    // Everything but the columns moves to the rank's own ids.
    let mut begin_ends = Vec::new();
    let mut asyncs = Vec::new();
    let mut flows: Vec<Vec<RawFlow>> = Vec::new();
    let mut counters = Vec::new();
    let mut last_ns = i64::MIN;
    let mut track_maps: Vec<Vec<u32>> = Vec::with_capacity(chunks.len());
    for (chunk, map) in chunks.iter_mut().zip(&maps) {
        let tracks: Vec<u32> = chunk
            .tracks
            .iter()
            .map(|&(kind, pid, tid)| key_of((kind, remap_raw(map, pid), remap_raw(map, tid)), &mut keys))
            .collect();
        let track = |place: u32| tracks.get(place as usize).copied().unwrap_or_default();
        begin_ends.extend(std::mem::take(&mut chunk.begin_ends).into_iter().map(|mut event| {
            event.track = track(event.track);
            (event.name, event.category) = (remap(map, event.name), remap(map, event.category));
            last_ns = last_ns.max(event.time);
            event
        }));
        asyncs.extend(std::mem::take(&mut chunk.asyncs).into_iter().map(|mut event| {
            event.track = track(event.track);
            (event.name, event.category) = (remap(map, event.name), remap(map, event.category));
            event.id = remap_raw(map, event.id);
            last_ns = last_ns.max(event.time);
            event
        }));
        flows.push(std::mem::take(&mut chunk.flows));
        counters.extend(std::mem::take(&mut chunk.counters).into_iter().map(|mut sample| {
            sample.pid = remap_raw(map, sample.pid);
            (sample.name, sample.unit) = (remap(map, sample.name), remap(map, sample.unit));
            sample
        }));
        for meta in std::mem::take(&mut chunk.metas) {
            adopt_meta(meta, map, &mut names);
        }
        let ends = chunk.start.iter().zip(&chunk.dur).map(|(start, dur)| start.saturating_add(*dur));
        last_ns = last_ns.max(ends.max().unwrap_or(i64::MIN));
        built.warnings.merge(std::mem::take(&mut chunk.warnings));
        track_maps.push(tracks);
    }

    // Paired events form one more chunk, whose strings and tracks are final already.
    let mut paired = RawChunk::default();
    let mut extra = ExtraArgs::new();
    pair_begin_end(begin_ends, last_ns, &mut paired, &mut extra, &mut built.warnings);
    pair_async(asyncs, last_ns, &mut paired, &mut extra, &mut built.warnings);
    let paired_chunk = chunks.len();
    if !paired.is_empty() {
        chunks.push(paired);
        maps.push(Vec::new());
        track_maps.push(Vec::new());
    }
    let resolve = |chunk: usize, map: &[StrId], id: StrId| if chunk == paired_chunk { id } else { remap(map, id) };

    // Flow points name places too; a place where nothing lies is no track.
    let mut used = vec![false; keys.len()];
    let raw_tracks = chunks.iter().zip(&track_maps).flat_map(|(chunk, map)| {
        let mut used_here = vec![false; chunk.tracks.len()];
        for &place in &chunk.track {
            if let Some(flag) = used_here.get_mut(place as usize) {
                *flag = true;
            }
        }
        map.iter().zip(used_here).filter(|(_, used)| *used).map(|(&key, _)| key).collect::<Vec<u32>>()
    });
    let paired_tracks = chunks.get(paired_chunk).map(|chunk| chunk.track.clone()).unwrap_or_default();
    for key in raw_tracks.chain(paired_tracks) {
        if let Some(flag) = used.get_mut(key as usize) {
            *flag = true;
        }
    }
    let key_to_track = lay_out_tracks(&keys, &used, &counters, &names, shared.strings, &mut built);
    let track_of = |chunk: usize, place: u32| -> u32 {
        let key = if chunk == paired_chunk {
            place
        } else {
            track_maps.get(chunk).and_then(|map| map.get(place as usize)).copied().unwrap_or_default()
        };
        key_to_track.get(key as usize).copied().unwrap_or_default()
    };

    let order = sort_events(&chunks, &track_of, base_ns, &mut built);
    gather(&chunks, &maps, &order, shared.kinds, paired_chunk, &mut built);
    side_tables(&chunks, &maps, &order, &extra, &edges, paired_chunk, &resolve, &mut built);
    drop(chunks);

    let process_of_pid = first_process_of_pid(&built.processes);
    for series in group_counters(counters, base_ns, shared.strings) {
        adopt_counter(series, &process_of_pid, &mut built);
    }
    if is_restored {
        return built;
    }
    crate::bind::bind_links(&mut built);
    let adopt = |chunk: usize, flow: &RawFlow| {
        let map = maps.get(chunk).map_or(&[][..], Vec::as_slice);
        let track = track_maps.get(chunk).and_then(|tracks| tracks.get(flow.track as usize)).copied();
        RawFlow {
            id: remap_raw(map, flow.id),
            time: flow.time.saturating_add(base_ns),
            track: track.unwrap_or_default(),
            category: remap(map, flow.category),
            name: remap(map, flow.name),
            ..*flow
        }
    };
    crate::bind::bind_flows(&flows, &adopt, &keys, &mut built);
    crate::bind::note_suspicious_times(&mut built);
    built
}

/// A bit per raw event: most are in no side table, and a bit says so faster than a search.
struct WantedBits {
    first_of_chunk: Vec<usize>,
    bits: Vec<u64>,
}

impl WantedBits {
    fn new(chunks: &[RawChunk], places: &[Loc]) -> Self {
        let mut total = 0;
        let first_of_chunk = chunks
            .iter()
            .map(|chunk| {
                let first = total;
                total += chunk.len();
                first
            })
            .collect();
        let mut wanted = Self { first_of_chunk, bits: vec![0; total / 64 + 1] };
        for &at in places {
            let bit = wanted.bit(at);
            if let Some(word) = wanted.bits.get_mut(bit / 64) {
                *word |= 1 << (bit % 64);
            }
        }
        wanted
    }

    fn bit(&self, at: Loc) -> usize {
        self.first_of_chunk.get((at >> 32) as usize).copied().unwrap_or(0) + (at & u64::from(u32::MAX)) as usize
    }

    fn contains(&self, at: Loc) -> bool {
        let bit = self.bit(at);
        self.bits.get(bit / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }
}

/// Moves the per-event side tables to the final ids.
fn side_tables(
    chunks: &[RawChunk],
    maps: &[Vec<StrId>],
    order: &[Loc],
    extra: &ExtraArgs,
    edges: &[RawEdge],
    paired_chunk: usize,
    resolve: &dyn Fn(usize, &[StrId], StrId) -> StrId,
    built: &mut Built,
) {
    let of_chunk = |chunk: &RawChunk| {
        chunk.collectives.len() + chunk.copy_bytes.len() + chunk.more_args.len() + chunk.event_stacks.len()
    };
    let wanted = chunks.iter().map(of_chunk).sum::<usize>() + extra.len() + 2 * edges.len();
    if wanted == 0 {
        return;
    }
    // Final id of each raw event that a side table names.
    let mut places: Vec<Loc> = Vec::with_capacity(wanted);
    for (index, chunk) in chunks.iter().enumerate() {
        places.extend(chunk.collectives.iter().map(|entry| loc(index, entry.event as usize)));
        places.extend(chunk.copy_bytes.iter().map(|entry| loc(index, entry.0 as usize)));
        places.extend(chunk.more_args.iter().map(|entry| loc(index, entry.0 as usize)));
        places.extend(chunk.event_stacks.iter().map(|entry| loc(index, entry.event as usize)));
    }
    let at_place = |place: RawPlace| loc(place.chunk as usize, place.event as usize);
    // An arrow from or to an event that is not there joins nothing.
    let is_there = |place: RawPlace| {
        (place.chunk as usize) < paired_chunk
            && chunks.get(place.chunk as usize).is_some_and(|chunk| (place.event as usize) < chunk.len())
    };
    let edges: Vec<&RawEdge> = edges.iter().filter(|edge| is_there(edge.from) && is_there(edge.to)).collect();
    places.extend(edges.iter().flat_map(|edge| [at_place(edge.from), at_place(edge.to)]));
    places.extend(extra.iter().map(|entry| loc(paired_chunk, entry.0 as usize)));
    places.sort_unstable();
    places.dedup();
    let mut ids = vec![None; places.len()];
    let wanted_bits = WantedBits::new(chunks, &places);
    let found: Vec<(usize, u32)> = order
        .par_iter()
        .enumerate()
        .filter(|(_, at)| wanted_bits.contains(**at))
        .filter_map(|(id, at)| Some((places.binary_search(at).ok()?, id as u32)))
        .collect();
    for (place, id) in found {
        if let Some(slot) = ids.get_mut(place) {
            *slot = Some(EventId(id));
        }
    }
    let id_of = |at: Loc| places.binary_search(&at).ok().and_then(|place| ids.get(place).copied().flatten());
    for (index, (chunk, map)) in chunks.iter().zip(maps).enumerate() {
        let text = |id: StrId| resolve(index, map, id);
        built.collectives.extend(chunk.collectives.iter().filter_map(|entry| {
            Some(Collective {
                event: id_of(loc(index, entry.event as usize))?,
                name: text(entry.name),
                dtype: text(entry.dtype),
                group: text(entry.group),
                group_desc: text(entry.group_desc),
                in_elems: entry.in_elems,
                out_elems: entry.out_elems,
                group_size: entry.group_size,
                seq: entry.seq,
            })
        }));
        let copies = chunk.copy_bytes.iter();
        built.copy_bytes.extend(copies.filter_map(|&(event, bytes)| Some((id_of(loc(index, event as usize))?, bytes))));
        let more = chunk.more_args.iter();
        built.extra_args.extend(more.filter_map(|&(event, args)| Some((id_of(loc(index, event as usize))?, args))));
        built.event_stacks.extend(chunk.event_stacks.iter().filter_map(|entry| {
            let event = id_of(loc(index, entry.event as usize))?;
            Some(EventStack { event, stack: entry.stack, weight: entry.weight })
        }));
    }
    let is_device_work = |place: RawPlace| {
        let kind = chunks.get(place.chunk as usize).and_then(|chunk| chunk.kind.get(place.event as usize));
        kind.is_some_and(|kind| kind.is_device_work() || *kind == EventKind::DeviceSync)
    };
    let mut launched = FxHashSet::default();
    for edge in edges {
        let (Some(from), Some(to)) = (id_of(at_place(edge.from)), id_of(at_place(edge.to))) else { continue };
        match edge.category {
            None if is_device_work(edge.to) && launched.insert(to) => built.links.push((from, to)),
            // What a damaged file calls a launch may lead to anything, or to work that has one: an arrow.
            None => built.flows.push(Flow { from, to, category: StrId::EMPTY }),
            Some(category) => {
                let chunk = edge.from.chunk as usize;
                let category = resolve(chunk, maps.get(chunk).map_or(&[][..], Vec::as_slice), category);
                built.flows.push(Flow { from, to, category });
            }
        }
    }
    let extras = extra.iter();
    built
        .extra_args
        .extend(extras.filter_map(|&(event, args)| Some((id_of(loc(paired_chunk, event as usize))?, args))));
    built.collectives.sort_by_key(|entry| entry.event);
    built.copy_bytes.sort_by_key(|entry| entry.0);
    built.extra_args.sort_by_key(|entry| entry.0);
    built.event_stacks.sort_by_key(|entry| entry.event);
}

/// Joins built ranks: ids shifted, columns appended (moved where there is one rank only).
fn merge(parts: Vec<TracePart>, built: Vec<Built>, strings: StringTable, stacks: StackTable) -> Trace {
    let mut trace = Trace {
        strings,
        sources: Vec::new(),
        ranks: Vec::new(),
        processes: Vec::new(),
        tracks: Vec::new(),
        rows: Vec::new(),
        events: Events::default(),
        launches: LaunchLinks::default(),
        flows: Vec::new(),
        flows_by_end: Vec::new(),
        counters: Vec::new(),
        collectives: Vec::new(),
        copy_bytes: Vec::new(),
        extra_args: Vec::new(),
        stacks,
        event_stacks: Vec::new(),
        args: Vec::new(),
        warnings: Warnings::default(),
        span: None,
    };
    let mut links = Vec::new();
    let mut companions: Vec<Source> = Vec::new();
    let main_sources = parts.len() as u32;
    // A restored trace has the note already where it applies.
    let is_restored = !parts.is_empty() && parts.iter().all(|part| part.is_restored);
    for (index, (mut part, mut rank)) in parts.into_iter().zip(built).enumerate() {
        let source = SourceId(index as u32);
        let (processes, tracks, rows) =
            (trace.processes.len() as u32, trace.tracks.len() as u32, trace.rows.len() as u32);
        let (events, counters) = (trace.events.len() as u32, trace.counters.len() as u32);
        let shift = |id: EventId| EventId(id.0 + events);
        let shift_range = |range: &Range<u32>, by: u32| range.start + by..range.end + by;
        for process in &mut rank.processes {
            process.rank = RankId(index as u32);
        }
        for track in &mut rank.tracks {
            track.rank = RankId(index as u32);
            track.process.0 += processes;
            track.rows = shift_range(&track.rows, rows);
            track.events = shift_range(&track.events, events);
            track.counter = track.counter.map(|id| CounterId(id.0 + counters));
        }
        for row in &mut rank.rows {
            row.track.0 += tracks;
            row.events = shift_range(&row.events, events);
        }
        for series in &mut rank.counters {
            series.track.0 += tracks;
        }
        links.extend(rank.links.iter().map(|&(launch, device)| (shift(launch), shift(device))));
        trace.flows.extend(rank.flows.iter().map(|flow| Flow { from: shift(flow.from), to: shift(flow.to), ..*flow }));
        trace
            .collectives
            .extend(rank.collectives.iter().map(|entry| Collective { event: shift(entry.event), ..*entry }));
        trace.copy_bytes.extend(rank.copy_bytes.iter().map(|&(id, bytes)| (shift(id), bytes)));
        trace.extra_args.extend(rank.extra_args.iter().map(|&(id, args)| (shift(id), args)));
        trace
            .event_stacks
            .extend(rank.event_stacks.iter().map(|entry| EventStack { event: shift(entry.event), ..*entry }));
        let count = rank.events.len() as u32;
        let first_companion = main_sources + companions.len() as u32;
        companions.append(&mut part.companions);
        trace.ranks.push(Rank {
            number: part.info.rank,
            world_size: part.info.world_size,
            source,
            companions: (first_companion..main_sources + companions.len() as u32).map(SourceId).collect(),
            host: part.info.host.take(),
            backend: part.info.backend.take(),
            base_time_ns: part.info.base_time_ns,
            clock_offset_ns: 0,
            devices: std::mem::take(&mut part.info.devices),
            header: std::mem::take(&mut part.info.header),
            processes: processes..processes + rank.processes.len() as u32,
            tracks: tracks..tracks + rank.tracks.len() as u32,
            events: events..events + count,
        });
        trace.processes.append(&mut rank.processes);
        trace.tracks.append(&mut rank.tracks);
        trace.rows.append(&mut rank.rows);
        trace.counters.append(&mut rank.counters);
        append_events(&mut trace.events, rank.events);
        part.warnings.merge(rank.warnings);
        part.warnings.set_source(source);
        trace.warnings.merge(part.warnings);
        for (companion, mut warnings) in (first_companion..).zip(std::mem::take(&mut part.companion_warnings)) {
            warnings.set_source(SourceId(companion));
            trace.warnings.merge(warnings);
        }
        trace.sources.push(part.source);
        trace.args.push(part.args);
    }
    trace.sources.append(&mut companions);
    if !is_restored {
        note_mixed_clocks(&mut trace);
    }
    trace.flows.sort_unstable();
    trace.flows_by_end = (0..trace.flows.len() as u32).collect();
    let flows = &trace.flows;
    trace.flows_by_end.sort_by_key(|&place| flows.get(place as usize).map(|flow| (flow.to, flow.from)));
    trace.launches = LaunchLinks::new(links);
    trace.flows.shrink_to_fit();
    trace.tracks.shrink_to_fit();
    trace.rows.shrink_to_fit();
    trace.span = whole_span(&trace);
    trace
}

fn append_events(all: &mut Events, mut more: Events) {
    if all.is_empty() {
        *all = more;
        return;
    }
    all.start.append(&mut more.start);
    all.dur.append(&mut more.dur);
    all.name.append(&mut more.name);
    all.category.append(&mut more.category);
    all.kind.append(&mut more.kind);
    all.correlation.append(&mut more.correlation);
    all.external.append(&mut more.external);
    all.args.append(&mut more.args);
}

/// Ranks of one job can be compared in time only if all or none name their base.
fn note_mixed_clocks(trace: &mut Trace) {
    let based = trace.ranks.iter().filter(|rank| rank.base_time_ns.is_some()).count();
    if based > 0 && based < trace.ranks.len() {
        let without = trace.ranks.iter().find(|rank| rank.base_time_ns.is_none()).map(|rank| rank.source);
        trace.warnings.add(WarningKind::MixedClocks, without.unwrap_or_default(), None, "");
    }
}

fn whole_span(trace: &Trace) -> Option<Span> {
    let of_rows = trace.rows.par_iter().filter_map(|row| {
        // Starts and ends ascend within a row.
        let first = trace.events.start.get(row.events.start as usize)?;
        Some((*first, trace.events.end_at((row.events.end as usize).checked_sub(1)?)))
    });
    let hull = |a: (i64, i64), b: (i64, i64)| (a.0.min(b.0), a.1.max(b.1));
    let events = of_rows.reduce_with(hull);
    let counters = trace.counters.iter().filter_map(|series| Some((*series.times.first()?, *series.times.last()?)));
    let all = counters.chain(events).reduce(hull)?;
    Some(Span::new(Timestamp(all.0), Timestamp(all.1)))
}
