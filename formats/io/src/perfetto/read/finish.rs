//! From resolved pieces to parts of the model: tracks named, counters and arrows put in place, ranks told apart.

use std::sync::Arc;

use gapless_trace::{
    ArgsLoc, ArgsSource, EventKind, RawChunk, RawCounter, RawEdge, RawId, RawMeta, RawPlace, SourceId, StrId,
    TracePart, TrackKind, WarningKind, Warnings,
};
use rustc_hash::{FxHashMap, FxHashSet};

use super::facts::Facts;
use super::flows::{self, Arrow};
use super::gpu::{GpuValue, kind_of_stage};
use super::pair::{self, Ends};
use super::resolve::{Home, Resolved};
use super::store::Store;
use super::tracks::{Place, Tracks, key_of_place, process_id, rank_in};
use crate::protobuf::Fields;

/// A track of the model: what, process, thread.
type Key = (TrackKind, RawId, RawId);

/// Everything of a file, before it becomes parts.
pub(super) struct Whole {
    pub pieces: Vec<Resolved>,
    pub tracks: Tracks,
    /// Unix time minus trace time.
    pub unix_delta_ns: Option<i64>,
    pub warnings: Warnings,
}

/// Chunks and arrows of a rank.
#[derive(Default)]
pub(super) struct RankParts {
    pub chunks: Vec<RawChunk>,
    pub edges: Vec<RawEdge>,
}

/// Ends, arguments of ends and exact times, for every kind of trace. Gives the arrows that `make` makes.
fn settle<T>(
    pieces: &mut [Resolved],
    warnings: &mut Warnings,
    make: impl FnOnce(&mut [Resolved], &Ends<'_>, &mut Warnings) -> T,
) -> T {
    let joined = pair::join(pieces, warnings);
    let ends = Ends::new(pieces, &joined);
    for number in 0..pieces.len() {
        let end_args = pieces.get_mut(number).map(|piece| std::mem::take(&mut piece.end_args)).unwrap_or_default();
        for (record, args) in end_args {
            let Some((piece, event)) = ends.event(number as u32, record) else { continue };
            let Some(chunk) = pieces.get_mut(piece as usize).map(|piece| &mut piece.chunk) else { continue };
            match chunk.args.get_mut(event as usize) {
                Some(own) if own.is_empty() => *own = args,
                Some(_) => chunk.more_args.push((event, args)),
                None => {}
            }
        }
    }
    let made = make(pieces, &ends, warnings);
    for piece in pieces {
        (piece.begins, piece.ends, piece.flow_points) = (Vec::new(), Vec::new(), Vec::new());
        for (event, start, dur) in std::mem::take(&mut piece.exact) {
            let event = event as usize;
            if let (Some(start), Some(place)) = (start, piece.chunk.start.get_mut(event)) {
                *place = start;
                piece.exact_starts.push(event as u32);
            }
            if let (Some(dur), Some(place)) = (dur, piece.chunk.dur.get_mut(event)) {
                *place = dur.max(0);
            }
        }
    }
    made
}

/// The part or parts of a trace of any writer.
pub(super) fn generic(
    mut whole: Whole,
    store: &Store,
    new_part: impl Fn() -> TracePart,
) -> (Vec<TracePart>, Arc<dyn ArgsSource>) {
    let arrows = settle(&mut whole.pieces, &mut whole.warnings, flows::arrows);
    let ranks = Ranks::of(&whole.tracks);
    name_numbered_stages(&mut whole, store);
    let mut sorted = Sorted::new(ranks.numbers.len().max(1));
    let mut counters = Counters::default();
    let gpu_values: Vec<GpuValue> =
        whole.pieces.iter_mut().flat_map(|piece| std::mem::take(&mut piece.gpu.values)).collect();
    let descriptors: Vec<ArgsLoc> =
        whole.pieces.iter_mut().flat_map(|piece| std::mem::take(&mut piece.gpu.descriptors)).collect();
    let (mut cores, arena) = super::cores::chunk(&mut whole.pieces, &whole.tracks, store.end());
    let devices: FxHashSet<i64> = whole
        .pieces
        .iter()
        .flat_map(|piece| &piece.outs)
        .filter_map(|out| match out.home {
            Home::Queue { device, .. } => Some(device),
            _ => None,
        })
        .collect();
    for piece in std::mem::take(&mut whole.pieces) {
        let Resolved { mut chunk, outs, lanes, counters: values, named, .. } = piece;
        let places: Vec<Place> = lanes
            .iter()
            .map(|lane| {
                // Track 0 is the one of events that name none.
                if lane.events > 0 && lane.uuid != 0 && !whole.tracks.is_known(lane.uuid) {
                    let detail = format!("track {}", lane.uuid);
                    whole.warnings.add_many(WarningKind::UndeclaredTrack, SourceId(0), lane.events, None, &detail);
                }
                whole.tracks.place(lane.uuid)
            })
            .collect();
        let mut keys: Vec<Key> = Vec::with_capacity(outs.len());
        let mut ranks_of_outs: Vec<u32> = Vec::with_capacity(outs.len());
        for out in &outs {
            let place = match out.home {
                Home::Thread { pid, tid } => {
                    // A sample may name its thread alone.
                    let pid = if pid == 0 { whole.tracks.process_of(tid) } else { pid };
                    Some(Place::Thread { pid, tid })
                }
                _ => places.get(out.lane as usize).cloned(),
            };
            ranks_of_outs.push(ranks.of_place(place.as_ref()));
            let key = match (out.home, place) {
                (Home::Queue { device, queue }, _) => (out.kind, RawId::Int(device), queue),
                (_, Some(place)) => {
                    let (kind, pid, tid) = key_of_place(&place, out.kind, &mut chunk.strings);
                    let uuid = lanes.get(out.lane as usize).map_or(0, |lane| lane.uuid);
                    if kind == TrackKind::Custom {
                        let order = whole.tracks.order(uuid);
                        chunk.metas.extend(order.map(|order| RawMeta::ThreadSort(pid, tid, order)));
                    }
                    if out.kind == TrackKind::Async { (kind, pid, RawId::Text(out.text)) } else { (kind, pid, tid) }
                }
                (_, None) => (out.kind, RawId::None, RawId::None),
            };
            keys.push(key);
        }
        let mut samples: Vec<(u32, RawCounter)> = Vec::with_capacity(values.len() + named.len());
        for value in named {
            let pid = keys.get(value.out as usize).map_or(RawId::None, |key| key.1);
            let rank = ranks_of_outs.get(value.out as usize).copied().unwrap_or(0);
            let sample = RawCounter { pid, name: value.name, unit: value.unit, time: value.time, value: value.value };
            samples.push((rank, sample));
        }
        let mut series: FxHashMap<u32, Option<(u32, RawId, StrId, StrId)>> = FxHashMap::default();
        for value in values {
            let uuid = lanes.get(value.lane as usize).map_or(0, |lane| lane.uuid);
            let of = *series.entry(value.lane).or_insert_with(|| {
                whole.tracks.counter(uuid)?;
                let (pid, name, unit) = whole.tracks.counter_series(uuid);
                let rank = ranks.of_pid(pid);
                let name = chunk.strings.intern(&name);
                let unit = chunk.strings.intern(&unit);
                Some((rank, process_id(pid, &mut chunk.strings), name, unit))
            });
            let Some((rank, pid, name, unit)) = of else {
                whole.warnings.add(WarningKind::UndeclaredCounter, SourceId(0), None, &format!("track {uuid}"));
                continue;
            };
            let Some(facts) = whole.tracks.counter(uuid) else { continue };
            let value_here = counters.value(uuid, value.value, facts.is_incremental, facts.multiplier);
            samples.push((rank, RawCounter { pid, name, unit, time: value.time, value: value_here }));
        }
        chunk.tracks = keys;
        sorted.add(chunk, &ranks_of_outs, samples);
    }
    sorted.finish_arrows(&arrows, &mut whole.warnings);
    let mut parts = Vec::new();
    for (index, mut of_rank) in sorted.ranks.into_iter().enumerate() {
        let mut names = RawChunk::default();
        whole.tracks.add_metas(&mut names, |pid| ranks.of_pid(Some(pid)) == index as u32);
        if index == 0 {
            let values = GpuCounters { values: &gpu_values, descriptors: &descriptors, devices: &devices };
            values.add(store, &mut names, &mut whole.warnings);
        }
        of_rank.chunks.push(names);
        let mut part = new_part();
        of_rank.chunks.extend(cores.take());
        part.info.rank = ranks.numbers.get(index).copied();
        part.info.base_time_ns = whole.unix_delta_ns;
        part.info.devices = whole.tracks.devices.clone();
        part.info.header = whole.tracks.header.clone();
        (part.chunks, part.edges) = (of_rank.chunks, of_rank.edges);
        parts.push(part);
    }
    if let Some(first) = parts.first_mut() {
        first.warnings.merge(whole.warnings);
    }
    (parts, arena)
}

/// The parts of a trace that Gapless wrote; `Err` where it was changed since.
pub(super) fn restored(
    mut whole: Whole,
    facts: &Facts,
    new_part: impl Fn() -> TracePart,
) -> Result<Vec<TracePart>, String> {
    if let Some(problem) = facts.problem {
        return Err(problem.to_owned());
    }
    let mut counts: FxHashMap<u64, u64> = FxHashMap::default();
    for lane in whole.pieces.iter().flat_map(|piece| &piece.lanes) {
        *counts.entry(lane.uuid).or_default() += lane.events + lane.values;
    }
    facts.check_counts(&counts)?;
    let mut found = Warnings::default();
    let arrows = settle(&mut whole.pieces, &mut found, |pieces, ends, _| flows::restored(pieces, ends, facts))?;
    if found.count(WarningKind::EndWithoutBegin) + found.count(WarningKind::BeginWithoutEnd) > 0 {
        return Err("begins and ends do not fit".to_owned());
    }
    let shift_ns = facts.shift_ns();
    let bases: Vec<i64> = facts.ranks.iter().map(|rank| rank.info.base_time_ns.unwrap_or(0)).collect();
    let mut sorted = Sorted::new(facts.ranks.len());
    for piece in std::mem::take(&mut whole.pieces) {
        let Resolved { mut chunk, outs, lanes, counters: values, exact_starts, .. } = piece;
        let mut keys = Vec::with_capacity(outs.len());
        let mut ranks_of_outs = Vec::with_capacity(outs.len());
        for out in &outs {
            let Home::Restored { rank, track } = out.home else { return Err("a track is not listed".to_owned()) };
            let of_rank = facts.ranks.get(rank as usize).ok_or("a rank is not listed")?;
            keys.push(of_rank.key(track, &mut chunk.strings).ok_or("the process of a track is not listed")?);
            ranks_of_outs.push(rank);
        }
        chunk.tracks = keys;
        let mut exact = exact_starts.into_iter().peekable();
        for (event, (start, track)) in chunk.start.iter_mut().zip(&chunk.track).enumerate() {
            let rank = ranks_of_outs.get(*track as usize).copied().unwrap_or(0) as usize;
            let base = bases.get(rank).copied().unwrap_or(0);
            // Exact starts are not shifted.
            let is_exact = exact.next_if(|&exact| exact as usize <= event).is_some();
            *start = start.saturating_sub(if is_exact { 0 } else { shift_ns }).saturating_sub(base);
        }
        let mut samples = Vec::with_capacity(values.len());
        for value in values {
            let uuid = lanes.get(value.lane as usize).map_or(0, |lane| lane.uuid);
            let lane = facts.lane(uuid).ok_or("a counter is not listed")?;
            let (name, unit, process) =
                lane.counter.as_ref().ok_or("a track with values is not listed as a counter")?;
            let of_rank = facts.ranks.get(lane.rank as usize).ok_or("a rank is not listed")?;
            let pid = of_rank.pid(*process, &mut chunk.strings).ok_or("the process of a counter is not listed")?;
            let time = value.time.saturating_sub(if value.is_exact { 0 } else { shift_ns });
            let time = time.saturating_sub(bases.get(lane.rank as usize).copied().unwrap_or(0));
            let (name, unit) = (chunk.strings.intern(name), chunk.strings.intern(unit));
            samples.push((lane.rank, RawCounter { pid, name, unit, time, value: value.value }));
        }
        sorted.add(chunk, &ranks_of_outs, samples);
    }
    sorted.finish_arrows(&arrows, &mut found);
    if found.count(WarningKind::FlowUnbound) > 0 {
        return Err("a flow goes from one rank to another".to_owned());
    }
    let mut parts = Vec::new();
    for (mut of_rank, rank) in sorted.ranks.into_iter().zip(&facts.ranks) {
        let mut names = RawChunk::default();
        rank.add_metas(&mut names);
        of_rank.chunks.push(names);
        let mut part = new_part();
        part.info = rank.info.clone();
        part.is_restored = true;
        part.source.origin = rank.origin.clone();
        part.companions = rank.companions.clone();
        part.companion_warnings = rank.companion_warnings.clone();
        part.warnings = rank.warnings.clone();
        (part.chunks, part.edges) = (of_rank.chunks, of_rank.edges);
        parts.push(part);
    }
    if let Some(first) = parts.first_mut() {
        first.warnings.merge(whole.warnings);
    }
    Ok(parts)
}

/// Which rank a process is.
struct Ranks {
    /// Numbers of the ranks, ascending; empty where none is known.
    numbers: Vec<u32>,
    of: FxHashMap<i64, u32>,
}

impl Ranks {
    fn of(tracks: &Tracks) -> Self {
        let mut found: Vec<(i64, u32)> = tracks
            .process_texts()
            .filter_map(|(pid, name, labels)| {
                let rank = name.and_then(rank_in).or_else(|| labels.iter().find_map(|label| rank_in(label)))?;
                Some((pid, rank))
            })
            .collect();
        found.sort_unstable();
        let mut numbers: Vec<u32> = found.iter().map(|entry| entry.1).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let place = |rank: u32| numbers.binary_search(&rank).unwrap_or(0) as u32;
        let of = found.iter().map(|&(pid, rank)| (pid, place(rank))).collect();
        Self { numbers, of }
    }

    fn of_pid(&self, pid: Option<i64>) -> u32 {
        pid.and_then(|pid| self.of.get(&pid)).copied().unwrap_or(0)
    }

    fn of_place(&self, place: Option<&Place>) -> u32 {
        match place {
            Some(Place::Thread { pid, .. }) => self.of_pid(Some(*pid)),
            Some(Place::Custom { pid, .. }) => self.of_pid(*pid),
            None => 0,
        }
    }
}

/// Values of counters that are differences, summed up in the order of the file.
#[derive(Default)]
struct Counters {
    sums: FxHashMap<u64, f64>,
}

impl Counters {
    fn value(&mut self, uuid: u64, value: f64, is_incremental: bool, multiplier: i64) -> f64 {
        let value = if is_incremental {
            let sum = self.sums.entry(uuid).or_default();
            *sum += value;
            *sum
        } else {
            value
        };
        if multiplier == 1 { value } else { value * multiplier as f64 }
    }
}

/// Where the events of a piece went.
enum Went {
    /// All to one chunk.
    Whole { rank: u32, chunk: u32 },
    /// Each to (rank, chunk, place).
    Split(Vec<(u32, u32, u32)>),
}

/// Chunks by rank.
struct Sorted {
    ranks: Vec<RankParts>,
    went: Vec<Went>,
}

impl Sorted {
    fn new(ranks: usize) -> Self {
        Self { ranks: (0..ranks).map(|_| RankParts::default()).collect(), went: Vec::new() }
    }

    /// Adds the next piece's chunk, whose tracks belong to `ranks_of_tracks`.
    fn add(&mut self, mut chunk: RawChunk, ranks_of_tracks: &[u32], samples: Vec<(u32, RawCounter)>) {
        let mut used: Vec<u32> = ranks_of_tracks.iter().copied().chain(samples.iter().map(|sample| sample.0)).collect();
        used.sort_unstable();
        used.dedup();
        if let [] | [_] = used.as_slice() {
            let rank = used.first().copied().unwrap_or(0);
            chunk.counters.extend(samples.into_iter().map(|sample| sample.1));
            let Some(target) = self.ranks.get_mut(rank as usize) else { return };
            self.went.push(Went::Whole { rank, chunk: target.chunks.len() as u32 });
            target.chunks.push(chunk);
            return;
        }
        let mut split: FxHashMap<u32, RawChunk> = FxHashMap::default();
        let warnings = std::mem::take(&mut chunk.warnings);
        for &rank in &used {
            split.insert(
                rank,
                RawChunk {
                    strings: chunk.strings.clone(),
                    stacks: chunk.stacks.clone(),
                    tracks: chunk.tracks.clone(),
                    ..RawChunk::default()
                },
            );
        }
        if let Some(first) = used.first().and_then(|rank| split.get_mut(rank)) {
            first.warnings = warnings;
            first.file_events = chunk.file_events;
            first.metas = std::mem::take(&mut chunk.metas);
        }
        let rank_of = |track: u32| ranks_of_tracks.get(track as usize).copied().unwrap_or(0);
        let chunk_of = |rank: u32| self.ranks.get(rank as usize).map_or(0, |rank| rank.chunks.len() as u32);
        let mut places = Vec::with_capacity(chunk.len());
        for event in 0..chunk.len() {
            let rank = chunk.track.get(event).map_or(0, |&track| rank_of(track));
            let Some(target) = split.get_mut(&rank) else { continue };
            places.push((rank, chunk_of(rank), target.len() as u32));
            target.push(
                chunk.start.get(event).copied().unwrap_or_default(),
                chunk.dur.get(event).copied().unwrap_or_default(),
                chunk.name.get(event).copied().unwrap_or_default(),
                chunk.category.get(event).copied().unwrap_or_default(),
                chunk.kind.get(event).copied().unwrap_or(EventKind::Other),
                chunk.track.get(event).copied().unwrap_or_default(),
                chunk.correlation.get(event).copied().unwrap_or(u32::MAX),
                chunk.external.get(event).copied().unwrap_or(u32::MAX),
                chunk.args.get(event).copied().unwrap_or_default(),
            );
        }
        let place = |event: u32| places.get(event as usize).copied();
        for mut entry in std::mem::take(&mut chunk.collectives) {
            let Some((rank, _, event)) = place(entry.event) else { continue };
            entry.event = event;
            split.entry(rank).or_default().collectives.push(entry);
        }
        for (event, bytes) in std::mem::take(&mut chunk.copy_bytes) {
            let Some((rank, _, event)) = place(event) else { continue };
            split.entry(rank).or_default().copy_bytes.push((event, bytes));
        }
        for (event, args) in std::mem::take(&mut chunk.more_args) {
            let Some((rank, _, event)) = place(event) else { continue };
            split.entry(rank).or_default().more_args.push((event, args));
        }
        for mut entry in std::mem::take(&mut chunk.event_stacks) {
            let Some((rank, _, event)) = place(entry.event) else { continue };
            entry.event = event;
            split.entry(rank).or_default().event_stacks.push(entry);
        }
        for event in std::mem::take(&mut chunk.asyncs) {
            split.entry(rank_of(event.track)).or_default().asyncs.push(event);
        }
        for flow in std::mem::take(&mut chunk.flows) {
            split.entry(rank_of(flow.track)).or_default().flows.push(flow);
        }
        for (rank, sample) in samples {
            split.entry(rank).or_default().counters.push(sample);
        }
        self.went.push(Went::Split(places));
        for rank in used {
            if let (Some(chunk), Some(target)) = (split.remove(&rank), self.ranks.get_mut(rank as usize)) {
                target.chunks.push(chunk);
            }
        }
    }

    fn place(&self, (piece, event): (u32, u32)) -> Option<(u32, RawPlace)> {
        match self.went.get(piece as usize)? {
            Went::Whole { rank, chunk } => Some((*rank, RawPlace { chunk: *chunk, event })),
            Went::Split(places) => {
                let &(rank, chunk, event) = places.get(event as usize)?;
                Some((rank, RawPlace { chunk, event }))
            }
        }
    }

    /// Puts the arrows to the chunks' final places. An arrow from one rank to another has no place in the model.
    fn finish_arrows(&mut self, arrows: &[Arrow], warnings: &mut Warnings) {
        let mut between = 0;
        for arrow in arrows {
            let (Some((rank, from)), Some((other, to))) = (self.place(arrow.from), self.place(arrow.to)) else {
                continue;
            };
            if rank != other {
                between += 1;
                continue;
            }
            if let Some(rank) = self.ranks.get_mut(rank as usize) {
                rank.edges.push(RawEdge { from, to, category: arrow.category });
            }
        }
        warnings.add_many(WarningKind::FlowUnbound, SourceId(0), between, None, "an arrow from one rank to another");
    }
}

/// Gives work of queues its name and kind where the older numbers say them.
fn name_numbered_stages(whole: &mut Whole, store: &Store) {
    let mut stages: Vec<String> = Vec::new();
    let mut queues: Vec<String> = Vec::new();
    for loc in whole.pieces.iter().flat_map(|piece| &piece.gpu.specifications) {
        for field in Fields::new(store.bytes(*loc).unwrap_or_default()) {
            let list = match field.number {
                2 => &mut queues,
                3 => &mut stages,
                _ => continue,
            };
            let name = Fields::new(field.bytes().unwrap_or_default()).find(|field| field.number == 1);
            let name = name.and_then(|field| field.bytes()).unwrap_or_default();
            list.push(String::from_utf8_lossy(name).into_owned());
        }
    }
    for piece in &mut whole.pieces {
        for (event, _, stage) in std::mem::take(&mut piece.gpu.numbered) {
            let Some(stage) = usize::try_from(stage).ok().and_then(|stage| stages.get(stage)) else { continue };
            let event = event as usize;
            let id = piece.chunk.strings.intern(stage);
            if let Some(name) = piece.chunk.name.get_mut(event).filter(|name| **name == StrId::EMPTY) {
                *name = id;
            }
            if let Some(kind) = piece.chunk.kind.get_mut(event) {
                *kind = kind_of_stage(stage, "");
            }
        }
    }
}

/// Values of GPU counters, to be named by their descriptors.
struct GpuCounters<'a> {
    values: &'a [GpuValue],
    descriptors: &'a [ArgsLoc],
    /// Devices that have queues with work.
    devices: &'a FxHashSet<i64>,
}

/// Names of counters by id.
type CounterNames = FxHashMap<u64, String>;

fn counter_names(descriptor: &[u8], names: &mut CounterNames) {
    for spec in Fields::new(descriptor).filter(|field| field.number == 1) {
        let (mut id, mut name) = (0, String::new());
        for field in Fields::new(spec.bytes().unwrap_or_default()) {
            match field.number {
                1 => id = field.uint().unwrap_or(0),
                2 => name = String::from_utf8_lossy(field.bytes().unwrap_or_default()).into_owned(),
                _ => {}
            }
        }
        names.insert(id, name);
    }
}

impl GpuCounters<'_> {
    fn add(&self, store: &Store, chunk: &mut RawChunk, warnings: &mut Warnings) {
        let mut own = CounterNames::default();
        for &loc in self.descriptors {
            counter_names(store.bytes(loc).unwrap_or_default(), &mut own);
        }
        let mut interned: FxHashMap<u64, CounterNames> = FxHashMap::default();
        let mut series: FxHashMap<(i64, u64, u64), (RawId, StrId)> = FxHashMap::default();
        for value in self.values {
            let (pid, name) =
                *series.entry((value.gpu, value.descriptor.offset(), value.counter)).or_insert_with(|| {
                    let names = match value.descriptor.is_empty() {
                        true => &own,
                        false => interned.entry(value.descriptor.offset()).or_insert_with(|| {
                            let mut names = CounterNames::default();
                            let entry = store.bytes(value.descriptor).unwrap_or_default();
                            let inner = Fields::new(entry).find(|field| field.number == 2);
                            counter_names(inner.and_then(|field| field.bytes()).unwrap_or_default(), &mut names);
                            names
                        }),
                    };
                    let name = names.get(&value.counter).cloned().unwrap_or_else(|| {
                        let detail = format!("GPU counter {}", value.counter);
                        warnings.add(WarningKind::UnknownId, SourceId(0), None, &detail);
                        format!("counter {}", value.counter)
                    });
                    let label = format!("GPU {}", value.gpu);
                    let name = chunk.strings.intern(&format!("{label} {name}"));
                    // A device without work has no process in the model; its counters get a heading.
                    let pid = match self.devices.contains(&value.gpu) {
                        true => RawId::Int(value.gpu),
                        false => RawId::Text(chunk.strings.intern(&label)),
                    };
                    (pid, name)
                });
            chunk.counters.push(RawCounter { pid, name, unit: StrId::EMPTY, time: value.time, value: value.value });
        }
    }
}
