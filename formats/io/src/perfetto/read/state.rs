//! State of packet sequences: what was interned, defaults, clocks. Told in the order of the file, between walking
//! pieces and resolving them.
//!
//! Within a generation (from one clearing to the next) an id means one thing, so a look-up needs no place in the
//! file, only the generation. The tables hold places of messages, not strings: they are small, and arguments that
//! are read later find them here too.

use gapless_trace::ArgsLoc;
use rustc_hash::FxHashMap;

use super::clocks::{ClockKey, Clocks};
use super::record::{Change, SequenceAt, Slot, Walked, flag};
use super::store::Store;
use crate::protobuf::Fields;

/// Messages by id.
#[derive(Debug, Default)]
struct Table {
    /// By id; [`ArgsLoc::NONE`] where there is none.
    dense: Vec<ArgsLoc>,
    /// Ids far above the number of entries.
    sparse: FxHashMap<u64, ArgsLoc>,
    len: usize,
}

impl Table {
    /// The first message of an id holds: within a generation, ids must not be given again.
    fn insert(&mut self, iid: u64, message: ArgsLoc) {
        let is_near = iid < 64 + 4 * self.len as u64;
        if !is_near {
            let len = &mut self.len;
            self.sparse.entry(iid).or_insert_with(|| {
                *len += 1;
                message
            });
            return;
        }
        let index = iid as usize;
        if index >= self.dense.len() {
            self.dense.resize(index + 1, ArgsLoc::NONE);
        }
        let known_elsewhere = !self.sparse.is_empty() && self.sparse.contains_key(&iid);
        if let Some(place) = self.dense.get_mut(index).filter(|place| place.is_empty() && !known_elsewhere) {
            *place = message;
            self.len += 1;
        }
    }

    fn get(&self, iid: u64) -> Option<ArgsLoc> {
        let dense = usize::try_from(iid).ok().and_then(|index| self.dense.get(index)).copied();
        dense.filter(|message| !message.is_empty()).or_else(|| self.sparse.get(&iid).copied())
    }
}

/// What a sequence interned between two clearings.
#[derive(Debug)]
struct Generation {
    /// Place in the file of the packet that began it.
    from: Place,
    tables: Vec<(Slot, Table)>,
}

/// A place in the order of the file: piece (upper half) and offset of the packet in it.
pub(super) type Place = u64;

/// The place of the packet at `at` in the piece with this number.
pub(super) fn place(piece: u32, at: u32) -> Place {
    u64::from(piece) << 32 | u64::from(at)
}

/// Defaults of a sequence.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Defaults {
    /// Clock of timestamps.
    pub clock: Option<u32>,
    /// Track of track events.
    pub track: Option<u64>,
    /// Tracks of further counter values.
    pub extra_counters: Vec<u64>,
    /// Tracks of further counter values that are doubles.
    pub extra_doubles: Vec<u64>,
    /// How much a sample stands for.
    pub sample_period: Option<u64>,
}

impl Defaults {
    fn read(message: &[u8]) -> Self {
        let mut defaults = Self::default();
        for field in Fields::new(message) {
            match field.number {
                58 => defaults.clock = field.uint().map(|id| id as u32),
                11 => defaults.read_track_event(field.bytes().unwrap_or_default()),
                12 => {
                    let timebase = Fields::new(field.bytes().unwrap_or_default()).find(|field| field.number == 1);
                    let timebase = Fields::new(timebase.and_then(|field| field.bytes()).unwrap_or_default());
                    defaults.sample_period =
                        timebase.filter(|field| field.number == 1).last().and_then(|field| field.uint());
                }
                _ => {}
            }
        }
        defaults
    }

    fn read_track_event(&mut self, message: &[u8]) {
        for field in Fields::new(message) {
            match field.number {
                11 => self.track = field.uint(),
                31 => field.each_varint(|uuid| self.extra_counters.push(uuid)),
                45 => field.each_varint(|uuid| self.extra_doubles.push(uuid)),
                _ => {}
            }
        }
    }
}

/// The older description of a sequence's thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SequenceThread {
    pub pid: i64,
    pub tid: i64,
}

/// A packet sequence.
#[derive(Debug, Default)]
struct Sequence {
    generations: Vec<Generation>,
    defaults: Vec<Defaults>,
    threads: Vec<SequenceThread>,
    now: SequenceAt,
    /// Last time of the older delta form, in ns.
    delta_ns: Option<i64>,
}

/// State of all sequences.
#[derive(Debug, Default)]
pub(super) struct Sequences {
    by_id: FxHashMap<u32, u32>,
    all: Vec<Sequence>,
    pub clocks: Clocks,
}

impl Sequences {
    fn sequence(&mut self, id: u32) -> u32 {
        let all = &mut self.all;
        *self.by_id.entry(id).or_insert_with(|| {
            let sequence = all.len() as u32;
            all.push(Sequence {
                now: SequenceAt { sequence, ..SequenceAt::default() },
                generations: vec![Generation { from: 0, tables: Vec::new() }],
                ..Sequence::default()
            });
            sequence
        })
    }

    /// Tells the state what the piece with number `piece` changes, and the piece what the state is where it begins.
    /// Times that count from packet to packet are summed up.
    pub fn advance(&mut self, walked: &mut Walked, piece: u32, store: &Store) {
        let ids: Vec<u32> = walked.sequences.iter().map(|&id| self.sequence(id)).collect();
        walked.starts = ids.iter().filter_map(|&id| self.all.get(id as usize)).map(|sequence| sequence.now).collect();
        let mut summed = 0;
        let mut clock_names = 0;
        for index in 0..walked.changes.len() {
            let Some(change) = walked.changes.get(index).copied() else { break };
            if self.clocks.has_incremental() || walked.has_deltas {
                self.sum_up(walked, summed..change.before as usize, &mut clock_names, &ids);
            }
            summed = change.before as usize;
            let Some(&id) = ids.get(change.sequence as usize) else { continue };
            let told = self.change(id, change.change, place(piece, change.at), walked, store);
            if let Some(slot) = walked.changes.get_mut(index) {
                slot.change = told;
            }
        }
        if self.clocks.has_incremental() || walked.has_deltas {
            self.sum_up(walked, summed..walked.records.len(), &mut clock_names, &ids);
        }
    }

    fn change(&mut self, id: u32, change: Change, at: Place, walked: &Walked, store: &Store) -> Change {
        let Some(sequence) = self.all.get_mut(id as usize) else { return change };
        match change {
            Change::Cleared { .. } => {
                // A generation that holds nothing is as good as a new one.
                if sequence.generations.last().is_none_or(|last| !last.tables.is_empty()) {
                    sequence.generations.push(Generation { from: at, tables: Vec::new() });
                }
                sequence.now.generation = sequence.generations.len() as u32 - 1;
                sequence.now.is_valid = true;
                sequence.now.defaults = 0;
                Change::Cleared { generation: sequence.now.generation }
            }
            Change::Lost => {
                sequence.now.is_valid = false;
                change
            }
            Change::Interned { from, to } => {
                let Some(generation) = sequence.generations.last_mut() else { return change };
                for entry in walked.interned.get(from as usize..to as usize).unwrap_or_default() {
                    let known = generation.tables.iter().position(|(slot, _)| *slot == entry.slot);
                    let table = known.unwrap_or_else(|| {
                        generation.tables.push((entry.slot, Table::default()));
                        generation.tables.len() - 1
                    });
                    if let Some((_, table)) = generation.tables.get_mut(table) {
                        table.insert(entry.iid, entry.message);
                    }
                }
                change
            }
            Change::Defaults { message, .. } => {
                let defaults = Defaults::read(store.bytes(message).unwrap_or_default());
                if sequence.defaults.last() != Some(&defaults) {
                    sequence.defaults.push(defaults);
                }
                sequence.now.defaults = sequence.defaults.len() as u32;
                Change::Defaults { message, place: sequence.now.defaults }
            }
            Change::Clocks { message } => {
                self.clocks.snapshot(store.bytes(message).unwrap_or_default(), id);
                change
            }
            Change::Thread { message, .. } => {
                let mut thread = SequenceThread::default();
                for field in Fields::new(store.bytes(message).unwrap_or_default()) {
                    match (field.number, field.int()) {
                        (1, Some(pid)) => thread.pid = pid,
                        (2, Some(tid)) => thread.tid = tid,
                        (6, Some(us)) => sequence.delta_ns = us.checked_mul(1_000),
                        _ => {}
                    }
                }
                if sequence.threads.last() != Some(&thread) {
                    sequence.threads.push(thread);
                }
                sequence.now.thread = sequence.threads.len() as u32;
                Change::Thread { message, place: sequence.now.thread }
            }
        }
    }

    /// Brings times that count from packet to packet to ns of their clock.
    fn sum_up(&mut self, walked: &mut Walked, range: std::ops::Range<usize>, named: &mut usize, ids: &[u32]) {
        for index in range {
            let Some(record) = walked.records.get_mut(index) else { return };
            let Some(&id) = ids.get(record.sequence as usize) else { continue };
            let Some(sequence) = self.all.get_mut(id as usize) else { continue };
            let own = record.has(flag::CLOCK).then(|| {
                let clock = walked.clocks.get(*named).map(|entry| entry.1);
                *named += 1;
                clock
            });
            if record.has(flag::DELTA) {
                let delta = (record.time as i64).checked_mul(1_000);
                let sum = sequence.delta_ns.zip(delta).and_then(|(last, delta)| last.checked_add(delta));
                // Without a time to count from there is none.
                record.flags &= !flag::DELTA;
                if let Some(sum) = sum {
                    sequence.delta_ns = Some(sum);
                    record.time = sum as u64;
                    record.flags |= flag::MONOTONIC;
                }
                continue;
            }
            if !record.has(flag::TIME) {
                continue;
            }
            let defaults = (sequence.now.defaults as usize).checked_sub(1).and_then(|at| sequence.defaults.get(at));
            let clock = own.flatten().or_else(|| defaults.and_then(|defaults| defaults.clock));
            let Some(clock) = clock.filter(|&clock| !self.clocks.is_primary(Some(clock))) else { continue };
            if let Some(ns) = self.clocks.advance(ClockKey::new(clock, id), record.time) {
                record.time = ns as u64;
                record.flags |= flag::NANOSECONDS;
            }
        }
    }

    /// The defaults that a [`SequenceAt`] or a change names.
    pub fn defaults(&self, sequence: u32, place: u32) -> Option<&Defaults> {
        self.all.get(sequence as usize)?.defaults.get((place as usize).checked_sub(1)?)
    }

    /// The older thread description that a [`SequenceAt`] or a change names.
    pub fn thread(&self, sequence: u32, place: u32) -> Option<SequenceThread> {
        self.all.get(sequence as usize)?.threads.get((place as usize).checked_sub(1)?).copied()
    }

    /// The message that `iid` stands for.
    pub fn interned(&self, sequence: u32, generation: u32, slot: Slot, iid: u64) -> Option<ArgsLoc> {
        let generation = self.all.get(sequence as usize)?.generations.get(generation as usize)?;
        generation.tables.iter().find(|table| table.0 == slot)?.1.get(iid)
    }

    /// The place of the sequence `id`, and its generation at `at`.
    pub fn at(&self, id: u32, at: Place) -> Option<(u32, u32)> {
        let &sequence = self.by_id.get(&id)?;
        let generations = &self.all.get(sequence as usize)?.generations;
        let after = generations.partition_point(|generation| generation.from <= at);
        Some((sequence, after.saturating_sub(1) as u32))
    }

    /// Heap bytes held.
    pub fn heap_bytes(&self) -> usize {
        let of_table = |table: &Table| table.dense.capacity() * 8 + table.sparse.capacity() * 17;
        let of_generation = |generation: &Generation| {
            generation.tables.iter().map(|table| size_of_val(table) + of_table(&table.1)).sum::<usize>()
        };
        self.all.iter().map(|sequence| sequence.generations.iter().map(of_generation).sum::<usize>()).sum()
    }
}

/// The text of an interned entry: field 2 of all tables whose entries are a text.
pub(super) fn entry_text(message: &[u8]) -> &[u8] {
    Fields::new(message).filter(|field| field.number == 2).last().and_then(|field| field.bytes()).unwrap_or_default()
}
