//! From what readers found to one part per rank: ranks settled, companions joined to the trace of their rank.

use std::collections::BTreeMap;
use std::sync::Arc;

use gapless_trace::{Args, ArgsError, ArgsLoc, ArgsSource, EventKind, RawChunk, SourceId, TracePart, WarningKind};
use rayon::prelude::*;
use rustc_hash::FxHashMap;

use crate::OpenError;
use crate::companion_names::KnownThreads;
use crate::detail::{self, SameEvent};
use crate::ranks::settle_ranks;
use crate::readers::{Join, ReadPart, Role};

/// One part per rank, ordered by rank.
///
/// # Errors
/// When ranks are unclear, or `given` does not fit them.
pub(crate) fn merge(read: Vec<ReadPart>, given: Option<&[u32]>) -> Result<Vec<TracePart>, OpenError> {
    let read = join_windows(join_processes(read));
    let (mains, companions): (Vec<ReadPart>, Vec<ReadPart>) =
        read.into_iter().partition(|part| part.role == Role::Main);
    if mains.is_empty() {
        // Files that would add to a trace are traces of their own where there is none; several of a rank still join.
        let mut by_rank: BTreeMap<Option<u32>, TracePart> = BTreeMap::new();
        let mut parts = Vec::new();
        let (supplements, companions): (Vec<ReadPart>, Vec<ReadPart>) =
            companions.into_iter().partition(|part| part.role == Role::Supplement);
        for ReadPart { part, role, joins } in companions.into_iter().chain(supplements) {
            match part.info.rank {
                Some(rank) => match by_rank.get_mut(&Some(rank)) {
                    Some(main) => join(main, part, role, &joins),
                    None => {
                        by_rank.insert(Some(rank), part);
                    }
                },
                None => parts.push(part),
            }
        }
        parts.extend(by_rank.into_values());
        return settle_ranks(parts, given);
    }
    let mut mains = settle_ranks(mains.into_iter().map(|read| read.part).collect(), given)?;
    for ReadPart { part, role, joins } in companions {
        let only = mains.len() == 1;
        let main = match part.info.rank {
            // A rank that only one of the two names is no contradiction where there is one trace.
            Some(rank) => {
                mains.iter_mut().find(|main| main.info.rank == Some(rank) || (only && main.info.rank.is_none()))
            }
            None if only => mains.first_mut(),
            None => None,
        };
        let Some(main) = main else {
            let path = &part.source.path;
            let reason = match part.info.rank {
                Some(rank) => format!("{path} is of rank {rank}, of which there is no trace"),
                None => format!("neither the content nor the name of {path} says its rank"),
            };
            return Err(OpenError::Companion { reason });
        };
        join(main, part, role, &joins);
    }
    Ok(mains)
}

/// Joins the processes of recordings: those of one rank become one trace, the first of them leads. A process without a
/// rank in a job that has ranks (the launcher of the others) goes to the lowest.
fn join_processes(read: Vec<ReadPart>) -> Vec<ReadPart> {
    let (mut processes, mut others): (Vec<ReadPart>, Vec<ReadPart>) =
        read.into_iter().partition(|part| matches!(part.role, Role::Process { .. }));
    let start = |part: &ReadPart| match part.role {
        Role::Process { start_unix_ns } => start_unix_ns,
        _ => 0,
    };
    let lowest = processes.iter().filter_map(|part| part.part.info.rank).min();
    // Ranks first, then the launcher, so that a process with a rank leads.
    processes.sort_by_key(|part| (part.part.info.rank.is_none(), start(part)));
    let mut others_of: BTreeMap<Option<u32>, usize> = BTreeMap::new();
    for process in &processes {
        *others_of.entry(process.part.info.rank.or(lowest)).or_default() += 1;
    }
    let mut mains: Vec<TracePart> = Vec::new();
    for process in processes {
        let rank = process.part.info.rank.or(lowest);
        match mains.iter_mut().find(|main| main.info.rank == rank) {
            Some(main) => join(main, process.part, Role::Companion, &[]),
            None => {
                let mut main = process.part;
                // Room for the processes of the rank that follow.
                let files = others_of.get(&rank).copied().unwrap_or(0);
                main.args = Arc::new(JoinedArgs { sources: vec![main.args], own_bits: own_bits_for(files) });
                mains.push(main);
            }
        }
    }
    others.extend(mains.into_iter().map(ReadPart::from));
    others
}

/// Joins detail windows to the recordings that they are a stretch of.
fn join_windows(mut read: Vec<ReadPart>) -> Vec<ReadPart> {
    let is_recording = |part: &ReadPart| part.part.info.header.iter().any(|entry| entry.0 == "gapless.recording");
    if !read.iter().any(is_recording) {
        return read;
    }
    let (mut recordings, others): (Vec<ReadPart>, Vec<ReadPart>) = read.drain(..).partition(is_recording);
    let mut rest = Vec::new();
    for mut other in others {
        let home = recordings.iter_mut().find(|recording| {
            other.role == Role::Main && !other.part.is_restored && detail::is_window_of(&other.part, &recording.part)
        });
        match home {
            Some(recording) => {
                let same = detail::take_common(&mut other.part, &recording.part);
                // The window's own number of ranks and its host say nothing new.
                other.part.info.header.clear();
                join_same(&mut recording.part, other.part, &same);
            }
            None => rest.push(other),
        }
    }
    recordings.extend(rest);
    recordings
}

/// Joins a window, and gives events of `main` that it saw too what it knows of them.
fn join_same(main: &mut TracePart, window: TracePart, same: &[SameEvent]) {
    let number = main.companions.len() + 1;
    join(main, window, Role::Companion, &[]);
    let own_bits = own_bits_of(main);
    let Some(place) = Place::new(number, own_bits).filter(|_| main.companions.len() >= number) else { return };
    for same in same {
        let Some(chunk) = main.chunks.get_mut(same.place.chunk as usize) else { continue };
        let event = same.place.event as usize;
        for (column, id) in [(&mut chunk.correlation, same.ids.0), (&mut chunk.external, same.ids.1)] {
            if let Some(own) = column.get_mut(event).filter(|own| **own == u32::MAX) {
                *own = id;
            }
        }
        let Some(args) = place.of(same.args).filter(|_| !same.args.is_empty()) else { continue };
        match chunk.args.get_mut(event) {
            Some(own) if own.is_empty() => *own = args,
            _ => chunk.more_args.push((same.place.event, args)),
        }
    }
}

/// Adds `companion` to `main`: its events, its warnings, and `joins` to the events of `main` that they are for.
fn join(main: &mut TracePart, mut companion: TracePart, role: Role, joins: &[Join]) {
    if role == Role::Supplement {
        drop_events(&mut companion);
    }
    let number = main.companions.len() + 1;
    // Offsets of the main trace keep the lower bits to themselves.
    let own_bits = own_bits_of(main);
    let fits = main.source.text_bytes >> own_bits == 0;
    let Some(place) = Place::new(number, own_bits).filter(|_| fits) else {
        let detail = companion.source.path.clone();
        main.warnings.add(WarningKind::CompanionLeftOut, SourceId(0), None, &detail);
        return;
    };
    let mut lost_args = 0;
    let mut moved = |loc: ArgsLoc| {
        if loc.is_empty() {
            return loc;
        }
        place.of(loc).unwrap_or_else(|| {
            lost_args += 1;
            ArgsLoc::NONE
        })
    };
    if !joins.is_empty() {
        let by_id: FxHashMap<i64, ArgsLoc> = joins
            .iter()
            .map(|join| (join.record_function, moved(join.args)))
            .filter(|(_, loc)| !loc.is_empty())
            .collect();
        let args = &main.args;
        let found = main.chunks.par_iter_mut().map(|chunk| add_joins(chunk, args.as_ref(), &by_id)).sum::<usize>();
        let missed = joins.len().saturating_sub(found) as u64;
        companion.warnings.add_many(WarningKind::JoinMissed, SourceId(0), missed, None, "");
    }
    // Without a base, times are Unix time or count from the start of a machine or a tool.
    let first_ns = companion.chunks.iter().flat_map(|chunk| &chunk.start).min();
    let is_unix_time = first_ns.is_none_or(|&first| first >= EARLIEST_UNIX_NS);
    if !is_unix_time && companion.info.base_time_ns.is_none() && main.info.base_time_ns.is_some() {
        companion.warnings.add(WarningKind::MixedClocks, SourceId(0), None, "the further file does not name its base");
    }
    // Times of a part count from its base; the companion's are moved to the main one's.
    let shift = match (companion.info.base_time_ns, main.info.base_time_ns) {
        (None, None) => 0,
        (own, base) => own.unwrap_or(0).saturating_sub(base.unwrap_or(0)),
    };
    let first_chunk = main.chunks.len() as u32;
    let known = KnownThreads::new(&main.chunks);
    for mut chunk in std::mem::take(&mut companion.chunks) {
        shift_chunk(&mut chunk, shift);
        known.apply(&mut chunk);
        chunk.args.iter_mut().for_each(|loc| *loc = moved(*loc));
        chunk.more_args.iter_mut().for_each(|entry| entry.1 = moved(entry.1));
        chunk.begin_ends.iter_mut().for_each(|event| event.args = moved(event.args));
        chunk.asyncs.iter_mut().for_each(|event| event.args = moved(event.args));
        companion.warnings.merge(std::mem::take(&mut chunk.warnings));
        main.chunks.push(chunk);
    }
    companion.warnings.add_many(WarningKind::ArgsTooLong, SourceId(0), lost_args, None, "");
    main.edges.extend(companion.edges.iter().map(|edge| {
        let mut edge = *edge;
        edge.from.chunk += first_chunk;
        edge.to.chunk += first_chunk;
        edge
    }));
    main.args = JoinedArgs::with(&main.args, companion.args, own_bits);
    let info = &mut main.info;
    info.rank = info.rank.or(companion.info.rank);
    info.world_size = info.world_size.or(companion.info.world_size);
    info.host = info.host.take().or(companion.info.host);
    info.backend = info.backend.take().or(companion.info.backend);
    if info.devices.is_empty() {
        info.devices = companion.info.devices;
    }
    info.header.extend(companion.info.header);
    main.companions.push(companion.source);
    main.companion_warnings.push(companion.warnings);
    // A companion that had its own: they keep their order.
    main.companions.append(&mut companion.companions);
    main.companion_warnings.append(&mut companion.companion_warnings);
}

/// Leaves of a supplement what it says about the events of others; what was odd in it stays counted.
fn drop_events(part: &mut TracePart) {
    part.edges.clear();
    let mut warnings = std::mem::take(&mut part.warnings);
    for chunk in std::mem::take(&mut part.chunks) {
        warnings.merge(chunk.warnings);
    }
    // Nothing of it is shown in time.
    for warning in warnings.sorted().into_iter().filter(|warning| warning.kind != WarningKind::NoTimes) {
        let first = warning.offsets.first().copied();
        part.warnings.add_many(warning.kind, warning.source, warning.count, first, &warning.detail);
    }
}

/// Gives events of the chunk the arguments of the record function that they are; gives how many.
fn add_joins(chunk: &mut RawChunk, source: &dyn ArgsSource, by_id: &FxHashMap<i64, ArgsLoc>) -> usize {
    let mut found = 0;
    for (event, (kind, &loc)) in chunk.kind.iter().zip(&chunk.args).enumerate() {
        if loc.is_empty() || !matches!(kind, EventKind::Operator | EventKind::Annotation | EventKind::Step) {
            continue;
        }
        let Ok(args) = source.args(loc) else { continue };
        let id = args.iter().find(|(name, _)| name == "Record function id").and_then(|(_, value)| value.as_i64());
        // Id 0 stands for "none" in Kineto.
        if let Some(more) = id.filter(|&id| id != 0).and_then(|id| by_id.get(&id)) {
            chunk.more_args.push((event as u32, *more));
            found += 1;
        }
    }
    found
}

fn shift_chunk(chunk: &mut RawChunk, by: i64) {
    if by == 0 {
        return;
    }
    let add = |time: &mut i64| *time = time.saturating_add(by);
    chunk.start.iter_mut().for_each(add);
    chunk.begin_ends.iter_mut().for_each(|event| add(&mut event.time));
    chunk.asyncs.iter_mut().for_each(|event| add(&mut event.time));
    chunk.flows.iter_mut().for_each(|flow| add(&mut flow.time));
    chunk.counters.iter_mut().for_each(|sample| add(&mut sample.time));
}

/// Arguments of several files as one source: the upper bits of an offset say which.
#[derive(Debug)]
struct JoinedArgs {
    sources: Vec<Arc<dyn ArgsSource>>,
    own_bits: u32,
}

/// Times below are no Unix time: this is 1980.
const EARLIEST_UNIX_NS: i64 = 315_532_800_000_000_000;

/// Bits of an offset that are the file's own, where nothing else is known: 15 further files, each up to 64 GiB.
const OWN_BITS: u32 = 36;
/// Windows and other files that may still join a recording.
const MORE_FILES: usize = 16;

/// The same for so many files: a rank of a recording has a trace per process, and may have hundreds of workers.
fn own_bits_for(files: usize) -> u32 {
    let places = (files + MORE_FILES).next_power_of_two();
    (ArgsLoc::MAX_OFFSET.trailing_zeros() - places.trailing_zeros()).min(OWN_BITS)
}

/// The bits that the files of `part` have for themselves.
fn own_bits_of(part: &TracePart) -> u32 {
    part.args.own_bits().unwrap_or(OWN_BITS)
}

/// One of the joined files.
#[derive(Clone, Copy)]
struct Place {
    number: u64,
    own_bits: u32,
}

impl Place {
    fn new(number: usize, own_bits: u32) -> Option<Place> {
        let number = number as u64;
        (number < ArgsLoc::MAX_OFFSET >> own_bits).then_some(Place { number, own_bits })
    }

    fn of(self, loc: ArgsLoc) -> Option<ArgsLoc> {
        if loc.offset() >> self.own_bits != 0 {
            return None;
        }
        ArgsLoc::new(self.number << self.own_bits | loc.offset(), loc.len())
    }
}

impl JoinedArgs {
    /// `first` with `more` behind it.
    fn with(first: &Arc<dyn ArgsSource>, more: Arc<dyn ArgsSource>, own_bits: u32) -> Arc<dyn ArgsSource> {
        let mut sources = first.joined().unwrap_or_else(|| vec![Arc::clone(first)]);
        sources.push(more);
        Arc::new(Self { sources, own_bits })
    }
}

impl ArgsSource for JoinedArgs {
    fn args(&self, loc: ArgsLoc) -> Result<Args, ArgsError> {
        let number = (loc.offset() >> self.own_bits) as usize;
        let own = ArgsLoc::new(loc.offset() & ((1 << self.own_bits) - 1), loc.len()).unwrap_or_default();
        self.sources.get(number).map_or_else(|| Ok(Args::new()), |source| source.args(own))
    }

    fn own_bits(&self) -> Option<u32> {
        Some(self.own_bits)
    }

    fn heap_bytes(&self) -> usize {
        self.sources.iter().map(|source| source.heap_bytes()).sum()
    }

    fn joined(&self) -> Option<Vec<Arc<dyn ArgsSource>>> {
        Some(self.sources.clone())
    }
}
