//! Where rows become events: one chunk for each process that the rows name.

use std::sync::atomic::{AtomicU64, Ordering};

use gapless_trace::{
    ArgsLoc, EventKind, Frame, RawChunk, RawEventStack, RawId, SourceId, StackId, StrId, TrackKind, WarningKind,
};
use rustc_hash::FxHashMap;

use super::chains::Chains;
use super::counters::Metrics;
use super::payload::Schemas;
use super::scan::Row;
use super::strings::Strings;
use crate::limits::Limits;

/// No id.
pub(crate) const NO_ID: u32 = u32::MAX;

/// What the walks of all tables look things up in.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// The strings of the file.
    pub strings: Strings,
    /// Layouts of NVTX payloads.
    pub schemas: Schemas,
    /// Call chains, by [`ChainTable`].
    pub chains: [Chains; 3],
    /// Metrics of devices.
    pub metrics: Metrics,
    /// Names of threads, by global thread id.
    pub threads: FxHashMap<i64, String>,
    /// Events so far.
    pub events: AtomicU64,
    /// What the file may cost.
    pub limits: Limits,
}

/// The tables of call chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ChainTable {
    /// Of samples.
    Samples,
    /// Of CUDA calls.
    Cuda,
    /// Of calls of the OS library.
    Os,
}

impl ChainTable {
    /// The tables' names, in declaration order.
    pub const NAMES: [&str; 3] = ["SAMPLING_CALLCHAINS", "CUDA_CALLCHAINS", "OSRT_CALLCHAINS"];
}

impl Shared {
    /// The chains of one table.
    pub fn chains(&self, table: ChainTable) -> &Chains {
        &self.chains[table as usize]
    }
}

/// The process part of a global id: what is left when the thread is taken off.
pub(crate) const fn process_of(global: i64) -> i64 {
    global & !0xFF_FFFF
}

/// The process number in a global id.
pub(crate) const fn pid_of(global: i64) -> i64 {
    (global >> 24) & 0xFF_FFFF
}

/// The thread number in a global id.
pub(crate) const fn tid_of(global: i64) -> i64 {
    global & 0xFF_FFFF
}

/// Whom events belong to. It decides which rank they are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Owner {
    /// A process, by its global id.
    Process(i64),
    /// A device, by the number of the system.
    Device(i64),
    /// Nobody in particular.
    System,
}

/// A range that might be a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepCandidate {
    /// Its place in the chunk.
    pub event: u32,
    /// The words before the number.
    pub words: StrId,
    /// The number.
    pub number: u64,
    /// The thread, as a global id.
    pub thread: i64,
}

/// Events of one owner.
#[derive(Debug)]
pub(crate) struct Found {
    /// Whose they are.
    pub owner: Owner,
    /// The events.
    pub chunk: RawChunk,
    /// Devices with work.
    pub devices: Vec<i64>,
    /// Ranges that might be steps.
    pub steps: Vec<StepCandidate>,
    /// Categories that stand for an NVTX domain whose name may come later: (domain, category).
    pub domains: Vec<(i64, StrId)>,
    names: FxHashMap<i64, StrId>,
    calls: FxHashMap<i64, (StrId, EventKind)>,
    made: FxHashMap<(i64, i64, i64), StrId>,
    tracks: FxHashMap<(TrackKind, i64, i64), u32>,
    last_track: Option<((TrackKind, i64, i64), u32)>,
    last_fixed: Option<(&'static str, StrId)>,
    stacks: FxHashMap<(ChainTable, i64), Option<StackId>>,
    /// Name and number of the table that is walked.
    table: (String, u32),
}

/// Names that an NVTX row gives to something else.
#[derive(Debug, Default)]
pub(crate) struct Definitions {
    /// (process, domain, name).
    pub domains: Vec<(i64, i64, String)>,
    /// (process, domain, category, name).
    pub categories: Vec<(i64, i64, i64, String)>,
    /// (thread, name).
    pub threads: Vec<(i64, String)>,
    /// (communicator, ranks).
    pub communicators: Vec<(u64, u32)>,
}

impl Definitions {
    /// Adds all of `other`.
    pub fn merge(&mut self, other: Self) {
        self.domains.extend(other.domains);
        self.categories.extend(other.categories);
        self.threads.extend(other.threads);
        self.communicators.extend(other.communicators);
    }
}

/// Owners that one walk keeps apart. The rows of further ones go to nobody in particular.
const MOST_OWNERS: usize = 1024;

/// Devices that one walk knows a process to use.
const MOST_DEVICES: usize = 64;

/// Takes the events of one walk.
pub(crate) struct Sink<'a> {
    /// Where things are looked up.
    pub shared: &'a Shared,
    /// What NVTX rows name.
    pub definitions: Definitions,
    table: (&'a str, u32),
    found: Vec<Found>,
    last: usize,
    by_owner: FxHashMap<Owner, usize>,
    uncounted: u64,
}

impl<'a> Sink<'a> {
    /// A sink for rows of the table of this name and number.
    pub fn new(shared: &'a Shared, name: &'a str, number: u32) -> Self {
        Self {
            shared,
            definitions: Definitions::default(),
            table: (name, number),
            found: Vec::new(),
            last: 0,
            by_owner: FxHashMap::default(),
            uncounted: 0,
        }
    }

    /// The events of `owner`.
    #[inline]
    pub fn of(&mut self, owner: Owner) -> &mut Found {
        self.uncounted += 1;
        if self.found.get(self.last).is_none_or(|found| found.owner != owner) {
            self.turn_to(owner);
        }
        // `turn_to` leaves a place that is there.
        &mut self.found[self.last]
    }

    fn turn_to(&mut self, owner: Owner) {
        let owner =
            if self.found.len() >= MOST_OWNERS && !self.by_owner.contains_key(&owner) { Owner::System } else { owner };
        let found = &mut self.found;
        let table = self.table;
        self.last = *self.by_owner.entry(owner).or_insert_with(|| {
            found.push(Found::new(owner, table));
            found.len() - 1
        });
    }

    /// Name of the table that is walked.
    pub fn table_name(&self) -> &'a str {
        self.table.0
    }

    /// Whether more events came than the limit allows; to be asked now and then.
    pub fn is_over_limit(&mut self) -> bool {
        let all = self.shared.events.fetch_add(self.uncounted, Ordering::Relaxed) + self.uncounted;
        self.uncounted = 0;
        all > self.shared.limits.events
    }

    /// What was found.
    pub fn finish(mut self) -> (Vec<Found>, Definitions) {
        self.found.iter_mut().for_each(Found::forget);
        (self.found, self.definitions)
    }
}

impl Found {
    /// No events of `owner` yet, from the table of this name and number.
    pub fn new(owner: Owner, (name, number): (&str, u32)) -> Self {
        Self {
            owner,
            chunk: RawChunk::default(),
            devices: Vec::new(),
            steps: Vec::new(),
            domains: Vec::new(),
            names: FxHashMap::default(),
            calls: FxHashMap::default(),
            made: FxHashMap::default(),
            tracks: FxHashMap::default(),
            last_track: None,
            last_fixed: None,
            stacks: FxHashMap::default(),
            table: (name.to_owned(), number),
        }
    }

    /// Where the arguments of a row are.
    #[inline]
    pub fn args(&self, row: &Row<'_, '_>) -> ArgsLoc {
        self.args_at(row.id)
    }

    /// Where the arguments of the row with this number are.
    pub fn args_at(&self, row: i64) -> ArgsLoc {
        u64::try_from(row).ok().and_then(|id| ArgsLoc::new(id, self.table.1 as usize)).unwrap_or_default()
    }

    /// Counts something odd about a row.
    pub fn warn(&mut self, kind: WarningKind, row: &Row<'_, '_>, what: &str) {
        // Formatting costs; only the first of a kind shows its text.
        let detail = if self.chunk.warnings.count(kind) == 0 {
            format!("row {} of {}{}{what}", row.id, self.table.0, if what.is_empty() { "" } else { ": " })
        } else {
            String::new()
        };
        self.chunk.warnings.add(kind, SourceId(0), None, &detail);
    }

    /// The time in column `index`; counted where there is none.
    pub fn time(&mut self, row: &Row<'_, '_>, index: usize) -> Option<i64> {
        self.chunk.file_events += 1;
        let time = row.int(index);
        if time.is_none() {
            self.warn(WarningKind::NoTimestamp, row, "");
        }
        time
    }

    /// Start and duration from two columns. A row without a start is counted and dropped.
    #[inline]
    pub fn span(&mut self, row: &Row<'_, '_>, start: usize, end: usize) -> Option<(i64, i64)> {
        let start = self.time(row, start)?;
        let Some(end) = row.int(end) else {
            self.warn(WarningKind::NoDuration, row, "");
            return Some((start, 0));
        };
        match end.checked_sub(start) {
            Some(dur) if dur >= 0 => Some((start, dur)),
            Some(_) => {
                self.warn(WarningKind::NegativeDuration, row, "");
                Some((start, 0))
            }
            None if end > start => {
                self.warn(WarningKind::DurationOutOfRange, row, "");
                Some((start, i64::MAX))
            }
            None => {
                self.warn(WarningKind::NegativeDuration, row, "");
                Some((start, 0))
            }
        }
    }

    /// A correlation id from a column.
    #[inline]
    pub fn correlation(&mut self, row: &Row<'_, '_>, index: usize) -> u32 {
        match row.int(index) {
            // Nothing that CUPTI numbers has number 0.
            None | Some(0) => NO_ID,
            Some(id) => match u32::try_from(id) {
                Ok(id) if id != NO_ID => id,
                _ => {
                    self.warn(WarningKind::WideId, row, "correlationId");
                    NO_ID
                }
            },
        }
    }

    /// The place of a track of numbers.
    #[inline]
    pub fn track(&mut self, kind: TrackKind, pid: i64, tid: i64) -> u32 {
        let key = (kind, pid, tid);
        if let Some((last, place)) = self.last_track
            && last == key
        {
            return place;
        }
        let tracks = &mut self.chunk.tracks;
        let place = *self.tracks.entry(key).or_insert_with(|| {
            tracks.push((kind, RawId::Int(pid), RawId::Int(tid)));
            tracks.len() as u32 - 1
        });
        self.last_track = Some((key, place));
        place
    }

    /// The track of this kind of a thread, given by its global id.
    #[inline]
    pub fn thread(&mut self, kind: TrackKind, global: i64) -> u32 {
        self.track(kind, pid_of(global), tid_of(global))
    }

    /// The string with this number of the file, in the chunk's table.
    #[inline]
    pub fn string(&mut self, shared: &Shared, number: i64, row: &Row<'_, '_>) -> StrId {
        if let Some(&id) = self.names.get(&number) {
            return id;
        }
        let id = match shared.strings.get(number) {
            Some(text) => self.chunk.strings.intern(text),
            None => {
                self.warn(WarningKind::UnknownId, row, "a string");
                self.chunk.strings.intern(&format!("string {number}"))
            }
        };
        self.names.insert(number, id);
        id
    }

    /// What `make` makes of the string with this number, made once.
    pub fn call(
        &mut self,
        shared: &Shared,
        number: i64,
        row: &Row<'_, '_>,
        make: impl FnOnce(&str) -> (String, EventKind),
    ) -> (StrId, EventKind) {
        if let Some(&known) = self.calls.get(&number) {
            return known;
        }
        let (text, kind) = match shared.strings.get(number) {
            Some(text) => make(text),
            None => {
                self.warn(WarningKind::UnknownId, row, "a string");
                make(&format!("string {number}"))
            }
        };
        let made = (self.chunk.strings.intern(&text), kind);
        self.calls.insert(number, made);
        made
    }

    /// The text that `make` makes for these numbers, made once.
    pub fn made(&mut self, key: (i64, i64, i64), make: impl FnOnce() -> String) -> StrId {
        if let Some(&id) = self.made.get(&key) {
            return id;
        }
        let id = self.chunk.strings.intern(&make());
        self.made.insert(key, id);
        id
    }

    /// A text that this program writes often.
    #[inline]
    pub fn fixed(&mut self, text: &'static str) -> StrId {
        match self.last_fixed {
            Some((last, id)) if last == text => id,
            _ => {
                let id = self.chunk.strings.intern(text);
                self.last_fixed = Some((text, id));
                id
            }
        }
    }

    /// A text that this program writes now and then.
    pub fn fixed_text(&mut self, text: &str) -> StrId {
        self.chunk.strings.intern(text)
    }

    /// The track of asynchronous ranges of a category in a process.
    pub fn async_track(&mut self, pid: i64, category: StrId) -> u32 {
        let tracks = &mut self.chunk.tracks;
        *self.tracks.entry((TrackKind::Async, pid, i64::from(category.0))).or_insert_with(|| {
            tracks.push((TrackKind::Async, RawId::Int(pid), RawId::Text(category)));
            tracks.len() as u32 - 1
        })
    }

    /// The category of an NVTX domain; a stand-in until all names of domains are known.
    pub fn domain(&mut self, domain: i64) -> StrId {
        if let Some(&(_, id)) = self.domains.iter().find(|entry| entry.0 == domain) {
            return id;
        }
        let id = self.chunk.strings.intern(&format!("nvtx domain {domain}"));
        self.domains.push((domain, id));
        id
    }

    /// Puts the call stack with number `chain` of `table` on the last event.
    pub fn stack(&mut self, shared: &Shared, table: ChainTable, chain: i64, weight: u64) {
        let key = (table, chain);
        let stack = match self.stacks.get(&key) {
            Some(&stack) => stack,
            None => {
                let strings = &mut self.chunk.strings;
                let mut text =
                    |number: i64| shared.strings.get(number).map_or(StrId::EMPTY, |text| strings.intern(text));
                let frames: Vec<Frame> = shared
                    .chains(table)
                    .outermost_first(chain)
                    .map(|(symbol, module)| Frame { name: text(symbol), module: text(module), ..Frame::default() })
                    .collect();
                let stack = self.chunk.stacks.push_all(frames);
                self.stacks.insert(key, stack);
                stack
            }
        };
        if let (Some(stack), Some(event)) = (stack, self.chunk.len().checked_sub(1)) {
            self.chunk.event_stacks.push(RawEventStack { event: event as u32, stack, weight });
        }
    }

    /// Gives back what only a walk needs.
    fn forget(&mut self) {
        (self.names, self.calls, self.made) = Default::default();
        (self.tracks, self.stacks) = Default::default();
    }

    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.chunk.is_empty() && self.chunk.counters.is_empty() && self.chunk.begin_ends.is_empty()
    }

    /// Notes that device `device` did work.
    #[inline]
    pub fn works(&mut self, device: i64) {
        if !self.devices.contains(&device) && self.devices.len() < MOST_DEVICES {
            self.devices.push(device);
        }
    }
}
