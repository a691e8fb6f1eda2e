//! From records to events: names, categories, times and tracks. Pieces are resolved in parallel, with the state of
//! their sequences as it is told where each piece begins.
//!
//! An event is pushed where its slice begins; its end sets the duration. What is still open at the end of a piece,
//! and ends without a begin in it, are joined afterwards (`pair`).

use std::ops::Range;

use gapless_trace::{ArgsLoc, EventKind, RawChunk, RawId, SourceId, StrId, TrackKind, WarningKind};
use perfetto_proto::field::packet;
use rustc_hash::FxHashMap;

use super::args::{Scope, unknown_id};
use super::clocks::{ClockKey, FARTHEST_NS, MONOTONIC, Stretch};
use super::facts::Facts;
use super::gpu::GpuFound;
use super::record::{Change, Record, Slot, Walked, What, flag};
use super::sched::SchedFound;
use super::state::Sequences;
use super::store::Store;
use super::walk::Piece;
use super::wanted::{KeyCache, Wanted};
use crate::kineto::{kind_of_category, refine};
use crate::protobuf::Fields;

/// Absent correlation or external id.
pub(super) const NO_ID: u32 = u32::MAX;
/// Duration of a slice that is still open.
pub(super) const OPEN: i64 = i64::MIN;
/// End record of an event that has no end of its own.
pub(super) const NO_END: u32 = u32::MAX;

/// What all pieces are resolved with.
#[derive(Clone, Copy)]
pub(super) struct Shared<'a> {
    pub sequences: &'a Sequences,
    pub store: &'a Store,
    pub facts: Option<&'a Facts>,
    pub nesting: usize,
}

/// Where events go in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Home {
    /// The track that its descriptor says.
    Lane,
    /// A track of the trace that Gapless wrote.
    Restored { rank: u32, track: u32 },
    /// A thread.
    Thread { pid: i64, tid: i64 },
    /// A queue of a device.
    Queue { device: i64, queue: RawId },
}

/// A track of the model, as far as a piece knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Out {
    /// Place of the Perfetto track in [`Resolved::lanes`]; `u32::MAX` for none.
    pub lane: u32,
    pub home: Home,
    pub kind: TrackKind,
    /// Category of asynchronous events.
    pub text: StrId,
}

/// An end whose begin lies before the piece.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoneEnd {
    pub time: i64,
    pub record: u32,
    /// The begin of a state ends the one before, if there is one.
    pub is_soft: bool,
}

/// A Perfetto track in a piece.
#[derive(Debug)]
pub(super) struct LanePiece {
    pub uuid: u64,
    /// Where its events go, as far as the track alone says it.
    pub home: Home,
    /// Times of its first and last begin or end.
    pub first: i64,
    pub last: i64,
    /// Whether times never go back.
    pub is_ordered: bool,
    /// Whether it holds states.
    pub has_states: bool,
    /// Events that are open, outermost first.
    pub open: Vec<u32>,
    pub lone_ends: Vec<LoneEnd>,
    /// Begins and instants on it.
    pub events: u64,
    /// Counter values on it.
    pub values: u64,
}

/// A value of a counter.
#[derive(Clone, Copy, Debug)]
pub(super) struct CounterValue {
    pub lane: u32,
    pub time: i64,
    pub value: f64,
    /// Whether the time is the model's own, not shifted.
    pub is_exact: bool,
}

/// A value of a counter that has no track: the name says which.
#[derive(Clone, Copy, Debug)]
pub(super) struct NamedValue {
    pub out: u32,
    pub name: StrId,
    pub unit: StrId,
    pub time: i64,
    pub value: f64,
}

/// A point of a flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct FlowPoint {
    pub id: u64,
    pub time: i64,
    pub record: u32,
    /// The event; `u32::MAX` for the one that ends with the record.
    pub event: u32,
    pub terminates: bool,
}

/// What a piece became.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// Events; `track` is a place in `outs`.
    pub chunk: RawChunk,
    pub outs: Vec<Out>,
    pub lanes: Vec<LanePiece>,
    /// Of each event, the record that began it.
    pub begins: Vec<u32>,
    /// Of each event, the record that ended it in this piece; [`NO_END`] for none.
    pub ends: Vec<u32>,
    /// (end record, arguments).
    pub end_args: Vec<(u32, ArgsLoc)>,
    /// (event, start, duration) where the annotations say them exactly.
    pub exact: Vec<(u32, Option<i64>, Option<i64>)>,
    /// Events of those whose start was set.
    pub exact_starts: Vec<u32>,
    pub flow_points: Vec<FlowPoint>,
    pub counters: Vec<CounterValue>,
    pub named: Vec<NamedValue>,
    pub gpu: GpuFound,
    pub sched: SchedFound,
}

/// What a category means.
#[derive(Clone, Copy)]
pub(super) struct Category {
    pub id: StrId,
    pub kind: EventKind,
}

/// A sequence in a piece.
#[derive(Default)]
struct Local {
    sequence: u32,
    generation: u32,
    defaults: u32,
    thread: u32,
    is_valid: bool,
    /// Whether times without a clock of their own are on the trace's.
    is_primary: bool,
    /// By id: string + 1, or 0 if not looked up yet.
    names: Vec<u32>,
    /// By id: place in the categories + 1.
    categories: Vec<u32>,
    /// What annotation names mean.
    keys: KeyCache,
}

/// Largest id that the caches of a piece hold.
const CACHED_IDS: usize = 1 << 16;

/// Tracks that are found without hashing.
const RECENT: usize = 64;

/// Resolves one piece.
pub(super) struct Resolver<'a> {
    pub shared: Shared<'a>,
    pub piece: Piece<'a>,
    pub out: Resolved,
    locals: Vec<Local>,
    pub categories: Vec<Category>,
    /// Places of categories by text.
    category_places: FxHashMap<StrId, u32>,
    lane_places: FxHashMap<u64, u32>,
    /// Tracks that were met last: (id, place), `u32::MAX` for none.
    recent_lanes: [(u64, u32); RECENT],
    out_places: FxHashMap<Out, u32>,
    /// Last out of each lane: (kind, place).
    last_outs: Vec<(TrackKind, u32)>,
    /// What names say: (looked at, step, wait).
    name_kinds: FxHashMap<(StrId, EventKind), EventKind>,
    pub stacks: FxHashMap<(u32, u32, u64), Option<gapless_trace::StackId>>,
    /// What the record in `looked` holds.
    pub wanted: Wanted<'a>,
    looked: u32,
    /// Where the details of the current record lie in the piece.
    details: Range<u32>,
    /// Stretch of the clock that was used last.
    last_stretch: Option<(ClockKey, Stretch)>,
    /// The open slices of each lane are in [`LanePiece::open`].
    pub record: u32,
}

/// Resolves the records of `walked`, which were walked from `piece`.
pub(super) fn resolve(shared: Shared<'_>, piece: Piece<'_>, walked: &mut Walked) -> Resolved {
    let mut resolver = Resolver::new(shared, piece, walked);
    resolver.run(walked);
    resolver.finish(walked)
}

impl<'a> Resolver<'a> {
    fn new(shared: Shared<'a>, piece: Piece<'a>, walked: &Walked) -> Self {
        let locals = walked
            .starts
            .iter()
            .map(|start| Local {
                sequence: start.sequence,
                generation: start.generation,
                defaults: start.defaults,
                thread: start.thread,
                is_valid: start.is_valid,
                is_primary: shared
                    .sequences
                    .clocks
                    .is_primary(shared.sequences.defaults(start.sequence, start.defaults).and_then(|d| d.clock)),
                ..Local::default()
            })
            .collect();
        let mut out = Resolved::default();
        let expected = walked.records.len() / 2 + 1;
        out.chunk.reserve(expected);
        out.begins.reserve(expected);
        out.ends.reserve(expected);
        Self {
            shared,
            piece,
            out,
            locals,
            categories: vec![Category { id: StrId::EMPTY, kind: EventKind::Other }],
            category_places: FxHashMap::default(),
            lane_places: FxHashMap::default(),
            recent_lanes: [(0, u32::MAX); RECENT],
            out_places: FxHashMap::default(),
            last_outs: Vec::new(),
            name_kinds: FxHashMap::default(),
            stacks: FxHashMap::default(),
            wanted: Wanted::default(),
            looked: u32::MAX,
            details: 0..0,
            last_stretch: None,
            record: 0,
        }
    }

    fn run(&mut self, walked: &Walked) {
        let mut changes = walked.changes.iter().peekable();
        let mut clocks = walked.clocks.iter();
        let mut details = walked.details.iter();
        for (index, record) in walked.records.iter().enumerate() {
            self.record = index as u32;
            while let Some(change) = changes.next_if(|change| change.before as usize <= index) {
                self.change(change.sequence, change.change);
            }
            if record.flags & flag::DETAILS != 0 {
                self.details = details.next().cloned().unwrap_or_default();
            }
            let clock = record.has(flag::CLOCK).then(|| clocks.next().map(|entry| entry.1)).flatten();
            let Some(local) = self.locals.get(record.sequence as usize) else { continue };
            if record.has(flag::NEEDS_STATE) && !local.is_valid {
                self.warn(WarningKind::StateLost, record, "");
                continue;
            }
            if record.what == What::Time {
                continue;
            }
            // Events of the kernel have times of their own.
            if record.what == What::Ftrace {
                self.ftrace(record);
                continue;
            }
            let is_plain = local.is_primary && record.flags & (flag::TIME | flag::CLOCK) == flag::TIME;
            let time = if is_plain && record.time <= FARTHEST_NS as u64 {
                record.time as i64
            } else {
                match self.time(record, clock) {
                    Some(time) => time,
                    None => continue,
                }
            };
            match record.what {
                What::GpuStage => self.gpu_stage(record, time),
                What::GpuCounters => self.gpu_counters(record, time),
                What::PerfSample | What::StackSample => self.sample(record, time),
                What::Ftrace | What::Time => {}
                _ => self.track_event(record, time),
            }
        }
    }

    fn finish(mut self, walked: &mut Walked) -> Resolved {
        self.out.chunk.warnings.merge(std::mem::take(&mut walked.warnings));
        self.out.chunk.file_events = walked.records.iter().filter(|record| record.what != What::Time).count() as u64;
        self.out
    }

    pub fn warn(&mut self, kind: WarningKind, record: &Record, detail: &str) {
        let offset = self.piece.base + u64::from(record.at);
        self.out.chunk.warnings.add(kind, SourceId(0), Some(offset), detail);
    }

    fn change(&mut self, sequence: u32, change: Change) {
        let Some(local) = self.locals.get_mut(sequence as usize) else { return };
        match change {
            Change::Cleared { generation } => {
                local.generation = generation;
                local.is_valid = true;
                local.defaults = 0;
                local.names.clear();
                local.categories.clear();
                local.keys.clear();
            }
            Change::Lost => local.is_valid = false,
            Change::Defaults { place, .. } => local.defaults = place,
            Change::Thread { place, .. } => local.thread = place,
            Change::Clocks { .. } | Change::Interned { .. } => {}
        }
        let sequences = self.shared.sequences;
        let clock = sequences.defaults(local.sequence, local.defaults).and_then(|defaults| defaults.clock);
        local.is_primary = sequences.clocks.is_primary(clock);
    }

    /// The time of a packet on the trace's clock, or nothing after the loss was counted.
    #[cold]
    fn time(&mut self, record: &Record, clock: Option<u32>) -> Option<i64> {
        let local = self.locals.get(record.sequence as usize)?;
        let clocks = &self.shared.sequences.clocks;
        let found = if record.has(flag::MONOTONIC) {
            let ns = record.time as i64;
            // Without a snapshot, older times are taken as they are.
            Some(clocks.to_trace(ClockKey::new(MONOTONIC, 0), ns).unwrap_or(ns))
        } else if !record.has(flag::TIME) {
            self.warn(WarningKind::NoTimestamp, record, "");
            return None;
        } else {
            let defaults = self.shared.sequences.defaults(local.sequence, local.defaults);
            let id = clock.or_else(|| defaults.and_then(|defaults| defaults.clock));
            match id.filter(|&id| !clocks.is_primary(Some(id))) {
                None => i64::try_from(record.time).ok(),
                Some(id) => {
                    let key = ClockKey::new(id, local.sequence);
                    let ns = match record.has(flag::NANOSECONDS) {
                        true => Some(record.time as i64),
                        false => clocks.nanoseconds(key, record.time),
                    };
                    let known =
                        |ns: i64| self.last_stretch.filter(|(of, at)| *of == key && at.from <= ns && ns < at.to);
                    match ns.map(|ns| (ns, known(ns).map(|known| known.1).or_else(|| clocks.stretch(key, ns)))) {
                        Some((ns, Some(stretch))) => {
                            self.last_stretch = Some((key, stretch));
                            Some(ns.saturating_add(stretch.delta))
                        }
                        Some((_, None)) => {
                            self.warn(WarningKind::NoClock, record, &format!("clock {id}"));
                            return None;
                        }
                        None => None,
                    }
                }
            }
        };
        // A trace that Gapless wrote has the times that it was given.
        let is_far = |time: &i64| !(-FARTHEST_NS..=FARTHEST_NS).contains(time) && self.shared.facts.is_none();
        let found = found.filter(|time| !is_far(time));
        if found.is_none() {
            self.warn(WarningKind::TimeOutOfRange, record, "");
        }
        found
    }

    /// What ids of the record's sequence stand for.
    pub fn scope(&self, record: &Record) -> Scope<'a> {
        let local = self.locals.get(record.sequence as usize);
        Scope {
            sequences: self.shared.sequences,
            store: self.shared.store,
            sequence: local.map_or(u32::MAX, |local| local.sequence),
            generation: local.map_or(0, |local| local.generation),
            nesting: self.shared.nesting,
        }
    }

    /// The content of the record's packet.
    pub fn content(&self, record: &Record) -> &'a [u8] {
        let rest = self.piece.bytes.get(record.at as usize..).unwrap_or_default();
        rest.get(..record.len as usize).unwrap_or(rest)
    }

    /// The track event of the record's packet.
    pub fn event_of(&self, record: &Record) -> &'a [u8] {
        let events = Fields::new(self.content(record)).filter(|field| field.number == packet::TRACK_EVENT);
        events.filter_map(|field| field.bytes()).last().unwrap_or_default()
    }

    /// Takes the details of the current record into `wanted`.
    #[inline]
    pub fn look(&mut self, record: &Record) {
        if self.looked == self.record {
            return;
        }
        self.looked = self.record;
        let scope = self.scope(record);
        let details = self.piece.bytes.get(self.details.start as usize..self.details.end as usize).unwrap_or_default();
        if let Some(local) = self.locals.get_mut(record.sequence as usize) {
            self.wanted.take(&scope, &mut local.keys, details);
        }
    }

    /// Where the record's packet lies.
    pub fn packet_loc(&mut self, record: &Record) -> ArgsLoc {
        let loc = ArgsLoc::new(self.piece.base + u64::from(record.at), record.len as usize);
        if loc.is_none() {
            self.warn(WarningKind::ArgsTooLong, record, "");
        }
        loc.unwrap_or_default()
    }

    pub fn defaults(&self, record: &Record) -> Option<&'a super::state::Defaults> {
        let local = self.locals.get(record.sequence as usize)?;
        self.shared.sequences.defaults(local.sequence, local.defaults)
    }

    /// The thread that the sequence's older description names.
    pub fn sequence_thread(&self, record: &Record) -> Option<Home> {
        let local = self.locals.get(record.sequence as usize)?;
        let thread = self.shared.sequences.thread(local.sequence, local.thread)?;
        Some(Home::Thread { pid: thread.pid, tid: thread.tid })
    }

    pub fn text(&mut self, bytes: &[u8], record: &Record) -> StrId {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.out.chunk.strings.intern(text),
            Err(_) => {
                self.warn(WarningKind::InvalidUtf8, record, "");
                self.out.chunk.strings.intern(&String::from_utf8_lossy(bytes))
            }
        }
    }

    /// The string of an interned id. Id 0 is no id.
    pub fn interned_text(&mut self, slot: Slot, iid: u64, record: &Record) -> StrId {
        match self.scope(record).text(slot, iid) {
            Some(bytes) => self.text(bytes, record),
            None if iid == 0 => StrId::EMPTY,
            None => {
                let text = unknown_id(iid);
                self.warn(WarningKind::UnknownId, record, &text);
                self.out.chunk.strings.intern(&text)
            }
        }
    }

    /// The name that the record's id stands for.
    #[inline(always)]
    pub fn name(&mut self, record: &Record) -> StrId {
        let iid = record.name as usize;
        if iid == 0 {
            return StrId::EMPTY;
        }
        let local = self.locals.get(record.sequence as usize);
        match local.and_then(|local| local.names.get(iid)) {
            Some(&known) if known > 0 => StrId(known - 1),
            _ => self.look_up_name(record, iid),
        }
    }

    #[cold]
    fn look_up_name(&mut self, record: &Record, iid: usize) -> StrId {
        let name = self.interned_text(Slot::Names, iid as u64, record);
        if let Some(local) = self.locals.get_mut(record.sequence as usize)
            && iid < CACHED_IDS
            && self.shared.sequences.interned(local.sequence, local.generation, Slot::Names, iid as u64).is_some()
        {
            if local.names.len() <= iid {
                local.names.resize(iid + 1, 0);
            }
            if let Some(slot) = local.names.get_mut(iid) {
                *slot = name.0 + 1;
            }
        }
        name
    }

    /// The category that the record's id stands for.
    #[inline(always)]
    pub fn category(&mut self, record: &Record) -> Category {
        let iid = record.category as usize;
        if iid == 0 {
            return self.category_at(0);
        }
        let local = self.locals.get(record.sequence as usize);
        match local.and_then(|local| local.categories.get(iid)) {
            Some(&known) if known > 0 => self.category_at(known - 1),
            _ => self.look_up_category(record, iid),
        }
    }

    fn category_at(&self, place: u32) -> Category {
        let none = Category { id: StrId::EMPTY, kind: EventKind::Other };
        let found = self.categories.get(place as usize).copied().unwrap_or(none);
        if place == 0 { Category { kind: self.kind_of("".as_bytes()), ..found } } else { found }
    }

    #[cold]
    fn look_up_category(&mut self, record: &Record, iid: usize) -> Category {
        let text = self.interned_text(Slot::Categories, iid as u64, record);
        let place = self.category_of_text(text);
        if let Some(local) = self.locals.get_mut(record.sequence as usize)
            && iid < CACHED_IDS
        {
            if local.categories.len() <= iid {
                local.categories.resize(iid + 1, 0);
            }
            if let Some(slot) = local.categories.get_mut(iid) {
                *slot = place + 1;
            }
        }
        self.category_at(place)
    }

    fn kind_of(&self, category: &[u8]) -> EventKind {
        match self.shared.facts {
            Some(facts) => facts.kind_of_category(category),
            None => kind_of_category(category),
        }
    }

    /// Place of the category of this text.
    pub fn category_of_text(&mut self, text: StrId) -> u32 {
        if text == StrId::EMPTY {
            return 0;
        }
        if let Some(&place) = self.category_places.get(&text) {
            return place;
        }
        let kind = self.kind_of(self.out.chunk.strings.get(text).as_bytes());
        let place = self.categories.len() as u32;
        self.categories.push(Category { id: text, kind });
        self.category_places.insert(text, place);
        place
    }

    /// The category at a place that [`category_of_text`](Self::category_of_text) gave.
    pub fn known_category(&self, place: u32) -> Category {
        self.category_at(place)
    }

    /// The kind that the name gives an event whose category gives it `kind`.
    #[inline(always)]
    pub fn refined(&mut self, kind: EventKind, name: StrId) -> EventKind {
        if !matches!(kind, EventKind::Operator | EventKind::Annotation | EventKind::Kernel) {
            return kind;
        }
        let strings = &self.out.chunk.strings;
        *self.name_kinds.entry((name, kind)).or_insert_with(|| refine(kind, strings.get(name)))
    }

    /// Place of the Perfetto track `uuid`.
    #[inline(always)]
    pub fn lane(&mut self, uuid: u64) -> u32 {
        // The upper bits of the product depend on all bits of the id.
        let slot = (uuid.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize % RECENT;
        if let Some(&(known, place)) = self.recent_lanes.get(slot)
            && known == uuid
            && place != u32::MAX
        {
            return place;
        }
        let (lanes, last_outs, facts) = (&mut self.out.lanes, &mut self.last_outs, self.shared.facts);
        let place = *self.lane_places.entry(uuid).or_insert_with(|| {
            lanes.push(LanePiece {
                uuid,
                home: facts.map_or(Home::Lane, |facts| facts.home(uuid)),
                first: i64::MAX,
                last: i64::MIN,
                is_ordered: true,
                has_states: false,
                open: Vec::new(),
                lone_ends: Vec::new(),
                events: 0,
                values: 0,
            });
            last_outs.push((TrackKind::Counter, u32::MAX));
            lanes.len() as u32 - 1
        });
        if let Some(recent) = self.recent_lanes.get_mut(slot) {
            *recent = (uuid, place);
        }
        place
    }

    /// Place of a track of the model.
    #[inline(always)]
    pub fn out_of(&mut self, lane: u32, home: Home, kind: TrackKind, text: StrId) -> u32 {
        let is_own = matches!(home, Home::Lane | Home::Restored { .. }) && text == StrId::EMPTY;
        if is_own
            && let Some(&(last, place)) = self.last_outs.get(lane as usize)
            && last == kind
            && place != u32::MAX
        {
            return place;
        }
        let outs = &mut self.out.outs;
        let out = Out { lane, home, kind, text };
        let place = *self.out_places.entry(out).or_insert_with(|| {
            outs.push(out);
            outs.len() as u32 - 1
        });
        if is_own && let Some(slot) = self.last_outs.get_mut(lane as usize) {
            *slot = (kind, place);
        }
        place
    }

    /// Appends an event that the current record begins; gives its place.
    #[inline(always)]
    pub fn push(
        &mut self,
        start: i64,
        dur: i64,
        name: StrId,
        category: StrId,
        kind: EventKind,
        out: u32,
        ids: (u32, u32),
        args: ArgsLoc,
    ) -> u32 {
        let event = self.out.chunk.len() as u32;
        self.out.chunk.push(start, dur, name, category, kind, out, ids.0, ids.1, args);
        self.out.begins.push(self.record);
        self.out.ends.push(NO_END);
        event
    }

    /// Notes a begin or end at `time`.
    #[inline(always)]
    pub fn touch(&mut self, lane: u32, time: i64) {
        if let Some(lane) = self.out.lanes.get_mut(lane as usize) {
            lane.is_ordered &= time >= lane.last;
            lane.last = lane.last.max(time);
            lane.first = lane.first.min(time);
        }
    }

    /// Ends the slice that began last on `lane`.
    #[inline(always)]
    pub fn end(&mut self, lane: u32, time: i64, is_soft: bool) {
        self.touch(lane, time);
        let record = self.record;
        let Some(lane) = self.out.lanes.get_mut(lane as usize) else { return };
        let Some(event) = lane.open.pop() else {
            lane.lone_ends.push(LoneEnd { time, record, is_soft });
            return;
        };
        let index = event as usize;
        if let (Some(start), Some(dur), Some(end)) =
            (self.out.chunk.start.get(index), self.out.chunk.dur.get_mut(index), self.out.ends.get_mut(index))
        {
            *dur = time.saturating_sub(*start);
            *end = record;
        }
    }

    /// Notes that `event` began on `lane` and is open.
    #[inline(always)]
    pub fn open(&mut self, lane: u32, event: u32, time: i64) {
        self.touch(lane, time);
        if let Some(lane) = self.out.lanes.get_mut(lane as usize) {
            lane.open.push(event);
        }
    }
}
