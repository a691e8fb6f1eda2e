//! From parts to a trace: strings joined, begins paired, tracks ordered, events sorted, links bound.
//!
//! Cost: one sort per track (linear where the file is in order already), one gather per column; parallel
//! over ranks, tracks and columns. Raw columns are freed before the next rank's are merged.

use std::ops::Range;

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use crate::events::NO_ID;
use crate::lanes::{Place, place};
use crate::links::LaunchLinks;
use crate::pair::{ExtraArgs, pair_async, pair_begin_end};
use crate::part::classify;
use crate::{
    ArgsLoc, BuildError, BuildOptions, Collective, CommunicationPatterns, CounterId, CounterSeries, EventId, EventKind,
    Events, Flow, Process, ProcessId, ProcessKind, Rank, RankId, RawChunk, RawCounter, RawId, RawMeta, Row, SourceId,
    Span, StrId, StringTable, Timestamp, Trace, TracePart, Track, TrackId, TrackKind, WarningKind, Warnings,
};

/// What a process, thread or stream is called in the file.
#[derive(Default)]
struct Names {
    process_name: FxHashMap<RawId, StrId>,
    process_labels: FxHashMap<RawId, StrId>,
    process_sort: FxHashMap<RawId, i64>,
    thread_name: FxHashMap<(RawId, RawId), StrId>,
    thread_sort: FxHashMap<(RawId, RawId), i64>,
}

/// A key of a track within a rank.
type TrackKey = (TrackKind, RawId, RawId);

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
    pub warnings: Warnings,
}

pub(crate) fn build(parts: Vec<TracePart>, options: &BuildOptions) -> Result<Trace, BuildError> {
    let total: u64 = parts.iter().flat_map(|part| &part.chunks).map(most_events).sum();
    if total >= u64::from(u32::MAX) {
        return Err(BuildError::TooManyEvents { events: total });
    }
    let mut strings = StringTable::new();
    let mut parts = parts;
    let maps: Vec<Vec<Vec<StrId>>> = parts
        .iter_mut()
        .map(|part| part.chunks.iter_mut().map(|chunk| adopt_strings(&mut strings, chunk)).collect())
        .collect();
    let kinds = KindOfName::new(&strings, &parts, &maps, &options.communication);
    let work: Vec<_> =
        parts.iter_mut().map(|part| (std::mem::take(&mut part.chunks), part.info.base_time_ns)).collect();
    let built: Vec<Built> = work
        .into_par_iter()
        .zip(maps)
        .map(|((chunks, base_ns), maps)| build_rank(chunks, maps, &kinds, base_ns.unwrap_or(0)))
        .collect();
    Ok(merge(parts, built, strings))
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

/// Kinds that a name decides, by string id: `None` where the name changes nothing.
struct KindOfName(Vec<Option<EventKind>>);

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
                for (name, kind) in chunk.name.iter().zip(&chunk.kind) {
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

    fn refine(&self, kind: EventKind, name: StrId) -> EventKind {
        if kind == EventKind::Kernel { self.0.get(name.index()).copied().flatten().unwrap_or(kind) } else { kind }
    }
}

fn remap(map: &[StrId], id: StrId) -> StrId {
    map.get(id.index()).copied().unwrap_or_default()
}

fn remap_raw(map: &[StrId], id: RawId) -> RawId {
    match id {
        RawId::Text(text) => RawId::Text(remap(map, text)),
        other => other,
    }
}

/// Where a raw event lies: chunk (high half) and place in it (low half).
type Loc = u64;

fn loc(chunk: usize, place: usize) -> Loc {
    ((chunk as u64) << 32) | place as u64
}

fn build_rank(mut chunks: Vec<RawChunk>, mut maps: Vec<Vec<StrId>>, kinds: &KindOfName, base_ns: i64) -> Built {
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
    let mut flows = Vec::new();
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
        flows.extend(std::mem::take(&mut chunk.flows).into_iter().map(|mut flow| {
            flow.track = track(flow.track);
            (flow.name, flow.category) = (remap(map, flow.name), remap(map, flow.category));
            flow.id = remap_raw(map, flow.id);
            flow
        }));
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

    let order_of_key = lay_out_tracks(&keys, &counters, &names, &mut built);
    let key_to_track: Vec<u32> = order_of_key;
    let track_of = |chunk: usize, place: u32| -> u32 {
        let key = if chunk == paired_chunk {
            place
        } else {
            track_maps.get(chunk).and_then(|map| map.get(place as usize)).copied().unwrap_or_default()
        };
        key_to_track.get(key as usize).copied().unwrap_or_default()
    };

    let order = sort_events(&chunks, &track_of, base_ns, &mut built);
    gather(&chunks, &maps, &order, kinds, paired_chunk, &mut built);
    side_tables(&chunks, &maps, &order, &extra, paired_chunk, &resolve, &mut built);
    drop(chunks);

    for series in group_counters(counters, base_ns) {
        adopt_counter(series, &mut built);
    }
    for flow in &mut flows {
        flow.time = flow.time.saturating_add(base_ns);
        flow.track = key_to_track.get(flow.track as usize).copied().unwrap_or_default();
    }
    crate::bind::bind_links(&mut built);
    crate::bind::bind_flows(flows, &mut built);
    crate::bind::note_suspicious_times(&mut built);
    built
}

fn adopt_meta(meta: RawMeta, map: &[StrId], names: &mut Names) {
    match meta {
        RawMeta::ProcessName(pid, name) => {
            names.process_name.insert(remap_raw(map, pid), remap(map, name));
        }
        RawMeta::ProcessLabels(pid, labels) => {
            names.process_labels.insert(remap_raw(map, pid), remap(map, labels));
        }
        RawMeta::ProcessSort(pid, index) => {
            names.process_sort.insert(remap_raw(map, pid), index);
        }
        RawMeta::ThreadName(pid, tid, name) => {
            names.thread_name.insert((remap_raw(map, pid), remap_raw(map, tid)), remap(map, name));
        }
        RawMeta::ThreadSort(pid, tid, index) => {
            names.thread_sort.insert((remap_raw(map, pid), remap_raw(map, tid)), index);
        }
    }
}

/// Makes processes and tracks in the order of display; gives the track of each key.
fn lay_out_tracks(keys: &[TrackKey], counters: &[RawCounter], names: &Names, built: &mut Built) -> Vec<u32> {
    let process_kind = |key: &TrackKey| match (key.0, key.1) {
        (kind, RawId::Int(device)) if kind.is_device() => {
            ProcessKind::Device(u32::try_from(device).unwrap_or(u32::MAX))
        }
        (kind, _) if kind.is_device() => ProcessKind::Device(0),
        (_, RawId::Int(_)) => ProcessKind::Host,
        _ => ProcessKind::Virtual,
    };
    let rank_of_kind = |kind: ProcessKind| match kind {
        ProcessKind::Host => 0,
        ProcessKind::Device(_) => 1,
        ProcessKind::Virtual => 2,
    };
    let mut processes: Vec<(ProcessKind, RawId)> = keys.iter().map(|key| (process_kind(key), key.1)).collect();
    for sample in counters {
        let of_pid = |kind: &ProcessKind| *kind != ProcessKind::Virtual;
        if !processes.iter().any(|(kind, pid)| *pid == sample.pid && of_pid(kind)) {
            processes.push((process_kind(&(TrackKind::Counter, sample.pid, RawId::None)), sample.pid));
        }
    }
    let sort_of = |pid: RawId| names.process_sort.get(&pid).copied();
    processes.sort_by_key(|&(kind, pid)| (rank_of_kind(kind), sort_of(pid).unwrap_or(i64::MAX), pid));
    processes.dedup();
    built.processes = processes
        .iter()
        .map(|&(kind, pid)| Process {
            rank: RankId(0),
            kind,
            pid,
            name: names.process_name.get(&pid).copied().unwrap_or_default(),
            labels: names.process_labels.get(&pid).copied().unwrap_or_default(),
            sort_index: sort_of(pid),
        })
        .collect();
    let process_of =
        |key: &TrackKey| processes.iter().position(|entry| *entry == (process_kind(key), key.1)).unwrap_or(0);

    let sort_key = |key: &TrackKey| {
        let own = names.thread_sort.get(&(key.1, key.2)).copied();
        // Kineto orders every thread by its id, which says nothing; only small indices are a choice.
        (process_of(key), own.unwrap_or(i64::MAX), key.2, key.0)
    };
    let mut sorted: Vec<usize> = (0..keys.len()).collect();
    sorted.sort_by_cached_key(|&place| keys.get(place).map(sort_key));
    let mut track_of_key = vec![0u32; keys.len()];
    for (index, &place) in sorted.iter().enumerate() {
        let Some(key) = keys.get(place) else { continue };
        if let Some(track) = track_of_key.get_mut(place) {
            *track = index as u32;
        }
        built.tracks.push(Track {
            rank: RankId(0),
            process: ProcessId(process_of(key) as u32),
            kind: key.0,
            tid: key.2,
            name: names.thread_name.get(&(key.1, key.2)).copied().unwrap_or_default(),
            sort_index: names.thread_sort.get(&(key.1, key.2)).copied(),
            rows: 0..0,
            events: 0..0,
            lanes: 0,
            counter: None,
        });
    }
    track_of_key
}

/// Sorts events by track, row and start; fills the time columns and rows; gives where each event lies.
fn sort_events(
    chunks: &[RawChunk],
    track_of: &(dyn Fn(usize, u32) -> u32 + Sync),
    base_ns: i64,
    built: &mut Built,
) -> Vec<Loc> {
    let tracks = built.tracks.len();
    let mut counts = vec![0usize; tracks];
    let maps: Vec<Vec<u32>> = chunks
        .iter()
        .enumerate()
        .map(|(index, chunk)| {
            let most = chunk.track.iter().copied().max().map_or(0, |most| most as usize + 1);
            (0..most as u32).map(|place| track_of(index, place)).collect()
        })
        .collect();
    for (chunk, map) in chunks.iter().zip(&maps) {
        for place in &chunk.track {
            let track = map.get(*place as usize).copied().unwrap_or_default();
            if let Some(count) = counts.get_mut(track as usize) {
                *count += 1;
            }
        }
    }
    let mut next = Vec::with_capacity(tracks);
    let mut total = 0usize;
    for &count in &counts {
        next.push(total);
        total += count;
    }
    let ranges: Vec<Range<usize>> = next.iter().zip(&counts).map(|(&from, &count)| from..from + count).collect();
    let mut order: Vec<Loc> = vec![0; total];
    for (index, (chunk, map)) in chunks.iter().zip(&maps).enumerate() {
        for (place, of_chunk) in chunk.track.iter().enumerate() {
            let track = map.get(*of_chunk as usize).copied().unwrap_or_default() as usize;
            if let Some(slot) = next.get_mut(track) {
                if let Some(target) = order.get_mut(*slot) {
                    *target = loc(index, place);
                }
                *slot += 1;
            }
        }
    }

    let mut start = vec![0i64; total];
    let mut dur = vec![0i64; total];
    // Each track works on its own stretch of the columns.
    let mut work = Vec::with_capacity(tracks);
    let (mut order_rest, mut start_rest, mut dur_rest) =
        (order.as_mut_slice(), start.as_mut_slice(), dur.as_mut_slice());
    for &count in &counts {
        let (order_here, rest) = order_rest.split_at_mut(count);
        order_rest = rest;
        let (start_here, rest) = start_rest.split_at_mut(count);
        start_rest = rest;
        let (dur_here, rest) = dur_rest.split_at_mut(count);
        dur_rest = rest;
        work.push((order_here, start_here, dur_here));
    }
    let rows: Vec<Vec<(Place, usize)>> =
        work.into_par_iter().map(|(order, start, dur)| sort_track(chunks, order, start, dur, base_ns)).collect();

    for ((index, track), (rows, range)) in built.tracks.iter_mut().enumerate().zip(rows.iter().zip(&ranges)) {
        let first_row = built.rows.len() as u32;
        let mut from = range.start as u32;
        for (place, count) in rows {
            let to = from + *count as u32;
            built.rows.push(Row {
                track: TrackId(index as u32),
                lane: place.lane,
                depth: place.depth as u16,
                events: from..to,
            });
            from = to;
        }
        track.rows = first_row..built.rows.len() as u32;
        track.events = range.start as u32..range.end as u32;
        track.lanes = rows.iter().map(|(place, _)| place.lane + 1).max().unwrap_or(0);
    }
    built.events.start = start;
    built.events.dur = dur;
    order
}

/// Sorts one track by row and start; gives its rows with their lengths.
fn sort_track(
    chunks: &[RawChunk],
    order: &mut [Loc],
    start: &mut [i64],
    dur: &mut [i64],
    base_ns: i64,
) -> Vec<(Place, usize)> {
    let time_of = |at: Loc| -> (i64, i64) {
        let chunk = chunks.get((at >> 32) as usize);
        let place = (at & u64::from(u32::MAX)) as usize;
        let column = |get: fn(&RawChunk) -> &Vec<i64>| {
            chunk.and_then(|chunk| get(chunk).get(place)).copied().unwrap_or_default()
        };
        (column(|chunk| &chunk.start), column(|chunk| &chunk.dur))
    };
    let mut keyed: Vec<(i64, i64, Loc)> = order
        .iter()
        .map(|&at| {
            let (start, dur) = time_of(at);
            (start, -dur, at)
        })
        .collect();
    if !keyed.is_sorted() {
        // Stable, because traces come in long sorted runs, which a merge sort uses.
        keyed.sort();
    }
    let places = place(keyed.iter().map(|&(start, minus_dur, _)| (start, start.saturating_sub(minus_dur))));
    let mut rows: Vec<(Place, usize)> = Vec::new();
    let single = places.iter().all(|place| *place == Place::default());
    if single {
        if !keyed.is_empty() {
            rows.push((Place::default(), keyed.len()));
        }
        for (index, &(at_ns, minus_dur, at)) in keyed.iter().enumerate() {
            put(order, start, dur, index, at, at_ns.saturating_add(base_ns), -minus_dur);
        }
        return rows;
    }
    let mut row_index: FxHashMap<(u32, u32), u32> = FxHashMap::default();
    let mut row_of: Vec<u32> = Vec::with_capacity(places.len());
    for place in &places {
        let row = *row_index.entry((place.lane, place.depth)).or_insert_with(|| {
            rows.push((*place, 0));
            rows.len() as u32 - 1
        });
        row_of.push(row);
        if let Some(row) = rows.get_mut(row as usize) {
            row.1 += 1;
        }
    }
    let mut sorted: Vec<u32> = (0..rows.len() as u32).collect();
    sorted.sort_by_key(|&row| rows.get(row as usize).map(|row| row.0));
    let mut next = vec![0usize; rows.len()];
    let mut from = 0;
    for &row in &sorted {
        if let (Some(slot), Some(row)) = (next.get_mut(row as usize), rows.get(row as usize)) {
            *slot = from;
            from += row.1;
        }
    }
    for (&(at_ns, minus_dur, at), &row) in keyed.iter().zip(&row_of) {
        if let Some(slot) = next.get_mut(row as usize) {
            put(order, start, dur, *slot, at, at_ns.saturating_add(base_ns), -minus_dur);
            *slot += 1;
        }
    }
    sorted.iter().filter_map(|&row| rows.get(row as usize).copied()).collect()
}

fn put(order: &mut [Loc], start: &mut [i64], dur: &mut [i64], index: usize, at: Loc, start_ns: i64, dur_ns: i64) {
    if let (Some(order), Some(start), Some(dur)) = (order.get_mut(index), start.get_mut(index), dur.get_mut(index)) {
        (*order, *start, *dur) = (at, start_ns, dur_ns);
    }
}

/// Fills the other columns in the order found.
fn gather(
    chunks: &[RawChunk],
    maps: &[Vec<StrId>],
    order: &[Loc],
    kinds: &KindOfName,
    paired_chunk: usize,
    built: &mut Built,
) {
    let split = |at: Loc| ((at >> 32) as usize, (at & u64::from(u32::MAX)) as usize);
    let strings = |column: fn(&RawChunk) -> &Vec<StrId>| -> Vec<StrId> {
        order
            .par_iter()
            .map(|&at| {
                let (chunk, place) = split(at);
                let id = chunks.get(chunk).and_then(|chunk| column(chunk).get(place)).copied().unwrap_or_default();
                if chunk == paired_chunk { id } else { maps.get(chunk).map_or(id, |map| remap(map, id)) }
            })
            .collect()
    };
    let numbers = |column: fn(&RawChunk) -> &Vec<u32>| -> Vec<u32> {
        order
            .par_iter()
            .map(|&at| {
                let (chunk, place) = split(at);
                chunks.get(chunk).and_then(|chunk| column(chunk).get(place)).copied().unwrap_or(NO_ID)
            })
            .collect()
    };
    let events = &mut built.events;
    events.name = strings(|chunk| &chunk.name);
    events.category = strings(|chunk| &chunk.category);
    events.correlation = numbers(|chunk| &chunk.correlation);
    events.external = numbers(|chunk| &chunk.external);
    events.args = order
        .par_iter()
        .map(|&at| {
            let (chunk, place) = split(at);
            chunks.get(chunk).and_then(|chunk| chunk.args.get(place)).copied().unwrap_or_default()
        })
        .collect();
    events.kind = order
        .par_iter()
        .zip(&events.name)
        .map(|(&at, &name)| {
            let (chunk, place) = split(at);
            let kind = chunks.get(chunk).and_then(|chunk| chunk.kind.get(place)).copied().unwrap_or(EventKind::Other);
            kinds.refine(kind, name)
        })
        .collect();
}

/// Moves the per-event side tables to the final ids.
fn side_tables(
    chunks: &[RawChunk],
    maps: &[Vec<StrId>],
    order: &[Loc],
    extra: &ExtraArgs,
    paired_chunk: usize,
    resolve: &dyn Fn(usize, &[StrId], StrId) -> StrId,
    built: &mut Built,
) {
    let wanted: usize =
        chunks.iter().map(|chunk| chunk.collectives.len() + chunk.copy_bytes.len()).sum::<usize>() + extra.len();
    if wanted == 0 {
        return;
    }
    // Final id of each raw event that a side table names.
    let mut places: Vec<Loc> = Vec::with_capacity(wanted);
    for (index, chunk) in chunks.iter().enumerate() {
        places.extend(chunk.collectives.iter().map(|entry| loc(index, entry.event as usize)));
        places.extend(chunk.copy_bytes.iter().map(|entry| loc(index, entry.0 as usize)));
    }
    places.extend(extra.iter().map(|entry| loc(paired_chunk, entry.0 as usize)));
    places.sort_unstable();
    places.dedup();
    let mut ids = vec![None; places.len()];
    // One pass over the order; a bit per raw event would cost more than this search costs.
    let found: Vec<(usize, u32)> =
        order.par_iter().enumerate().filter_map(|(id, at)| Some((places.binary_search(at).ok()?, id as u32))).collect();
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
    }
    let extras = extra.iter();
    built
        .extra_args
        .extend(extras.filter_map(|&(event, args)| Some((id_of(loc(paired_chunk, event as usize))?, args))));
    built.collectives.sort_by_key(|entry| entry.event);
    built.copy_bytes.sort_by_key(|entry| entry.0);
    built.extra_args.sort_by_key(|entry| entry.0);
}

/// Samples of one series.
struct Samples {
    pid: RawId,
    name: StrId,
    unit: StrId,
    times: Vec<i64>,
    values: Vec<f64>,
}

fn group_counters(mut samples: Vec<RawCounter>, base_ns: i64) -> Vec<Samples> {
    // Stable: the last of several values at one time is the one that holds.
    samples.sort_by_key(|sample| (sample.pid, sample.name, sample.time));
    let groups = samples.chunk_by(|a, b| a.pid == b.pid && a.name == b.name);
    groups
        .filter_map(|group| {
            let first = group.first()?;
            Some(Samples {
                pid: first.pid,
                name: first.name,
                unit: first.unit,
                times: group.iter().map(|sample| sample.time.saturating_add(base_ns)).collect(),
                values: group.iter().map(|sample| sample.value).collect(),
            })
        })
        .collect()
}

fn adopt_counter(samples: Samples, built: &mut Built) {
    let process = built.processes.iter().position(|process| process.pid == samples.pid).unwrap_or(0);
    let end = built.events.len() as u32;
    let rows = built.rows.len() as u32;
    built.tracks.push(Track {
        rank: RankId(0),
        process: ProcessId(process as u32),
        kind: TrackKind::Counter,
        tid: RawId::None,
        name: samples.name,
        sort_index: None,
        rows: rows..rows,
        events: end..end,
        lanes: 0,
        counter: Some(CounterId(built.counters.len() as u32)),
    });
    built.counters.push(CounterSeries {
        track: TrackId(built.tracks.len() as u32 - 1),
        name: samples.name,
        unit: samples.unit,
        times: samples.times,
        values: samples.values,
    });
}

/// Joins built ranks: ids shifted, columns appended (moved where there is one rank only).
fn merge(parts: Vec<TracePart>, built: Vec<Built>, strings: StringTable) -> Trace {
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
        args: Vec::new(),
        warnings: Warnings::default(),
        span: None,
    };
    let mut links = Vec::new();
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
        let count = rank.events.len() as u32;
        trace.ranks.push(Rank {
            number: part.info.rank,
            world_size: part.info.world_size,
            source,
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
        trace.sources.push(part.source);
        trace.args.push(part.args);
    }
    note_mixed_clocks(&mut trace);
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
