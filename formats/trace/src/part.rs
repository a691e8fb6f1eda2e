//! What a reader hands over: one [`TracePart`] per file, in chunks that were parsed in parallel.

use crate::{
    ArgsLoc, ArgsSource, CommunicationPatterns, DeviceInfo, EventKind, NoArgs, Source, StackId, StackTable, StrId,
    StringTable, TrackKind, Warnings,
};
use std::sync::Arc;

/// A process, thread or stream id as files write them: a number or a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RawId {
    /// No id was given.
    None,
    /// A number.
    Int(i64),
    /// A text of the table that goes with it.
    Text(StrId),
}

/// Collective arguments found while scanning an event. Strings are of the chunk's table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CollectiveArgs {
    /// Place of the event in the chunk.
    pub event: u32,
    /// Collective name.
    pub name: StrId,
    /// Element type.
    pub dtype: StrId,
    /// Process-group name or id.
    pub group: StrId,
    /// Process-group description.
    pub group_desc: StrId,
    /// Elements in.
    pub in_elems: Option<u64>,
    /// Elements out.
    pub out_elems: Option<u64>,
    /// Ranks in the group.
    pub group_size: Option<u32>,
    /// Sequence number.
    pub seq: Option<u64>,
}

/// A begin (`B`) or end (`E`) that still has to be paired.
#[derive(Clone, Copy, Debug)]
pub struct RawBeginEnd {
    /// Whether it begins.
    pub begins: bool,
    /// Place in `tracks`.
    pub track: u32,
    /// Time in ns.
    pub time: i64,
    /// Name.
    pub name: StrId,
    /// Category.
    pub category: StrId,
    /// Kind.
    pub kind: EventKind,
    /// Arguments.
    pub args: ArgsLoc,
    /// Where the event stands in the source.
    pub offset: u64,
}

/// What an asynchronous event does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsyncPhase {
    /// Begins (`b`, `S`).
    Begin,
    /// A point within (`n`, `T`, `p`).
    Instant,
    /// Ends (`e`, `F`).
    End,
}

/// An asynchronous event that still has to be paired by category and id.
#[derive(Clone, Copy, Debug)]
pub struct RawAsync {
    /// What it does.
    pub phase: AsyncPhase,
    /// Place in `tracks` (an async track).
    pub track: u32,
    /// Its id.
    pub id: RawId,
    /// Time in ns.
    pub time: i64,
    /// Name.
    pub name: StrId,
    /// Category.
    pub category: StrId,
    /// Arguments.
    pub args: ArgsLoc,
    /// Where the event stands in the source.
    pub offset: u64,
}

/// A flow point (`s`, `t`, `f`) that still has to be bound to the event it lies on.
#[derive(Clone, Copy, Debug)]
pub struct RawFlow {
    /// Its id.
    pub id: RawId,
    /// Time in ns.
    pub time: i64,
    /// Place in `tracks`: any track of the process and thread it lies on.
    pub track: u32,
    /// Category.
    pub category: StrId,
    /// Name.
    pub name: StrId,
    /// `b's'`, `b't'` or `b'f'`.
    pub phase: u8,
    /// Whether it joins a launch with device work and its id is the correlation id: such flows are
    /// represented by launch links.
    pub is_launch: bool,
    /// Where it stands in the source.
    pub offset: u64,
}

/// A counter sample.
#[derive(Clone, Copy, Debug)]
pub struct RawCounter {
    /// Process it belongs to.
    pub pid: RawId,
    /// Name of the series.
    pub name: StrId,
    /// Unit of the series; empty if not known.
    pub unit: StrId,
    /// Time in ns.
    pub time: i64,
    /// Value from here on.
    pub value: f64,
}

/// A name or order that the file gives a process or thread.
#[derive(Clone, Copy, Debug)]
pub enum RawMeta {
    /// Name of a process.
    ProcessName(RawId, StrId),
    /// Labels of a process.
    ProcessLabels(RawId, StrId),
    /// Place of a process.
    ProcessSort(RawId, i64),
    /// Name of a thread.
    ThreadName(RawId, RawId, StrId),
    /// Place of a thread.
    ThreadSort(RawId, RawId, i64),
}

/// Events of a stretch of the source, as columns. Ids of strings and tracks are local to the chunk.
#[derive(Debug, Default)]
pub struct RawChunk {
    /// Strings of the chunk.
    pub strings: StringTable,
    /// Tracks of the chunk: what, process id, thread id.
    pub tracks: Vec<(TrackKind, RawId, RawId)>,
    /// Start in ns, the base not added.
    pub start: Vec<i64>,
    /// Duration in ns.
    pub dur: Vec<i64>,
    /// Names.
    pub name: Vec<StrId>,
    /// Categories.
    pub category: Vec<StrId>,
    /// Kinds.
    pub kind: Vec<EventKind>,
    /// Places in `tracks`.
    pub track: Vec<u32>,
    /// Correlation ids; `u32::MAX` for none.
    pub correlation: Vec<u32>,
    /// External ids; `u32::MAX` for none.
    pub external: Vec<u32>,
    /// Arguments.
    pub args: Vec<ArgsLoc>,
    /// Collective arguments, by event.
    pub collectives: Vec<CollectiveArgs>,
    /// (event, bytes) of copies and fills.
    pub copy_bytes: Vec<(u32, u64)>,
    /// Begins and ends, in the order of the file.
    pub begin_ends: Vec<RawBeginEnd>,
    /// Asynchronous events, in the order of the file.
    pub asyncs: Vec<RawAsync>,
    /// Flow points, in the order of the file.
    pub flows: Vec<RawFlow>,
    /// Counter samples.
    pub counters: Vec<RawCounter>,
    /// Names and orders.
    pub metas: Vec<RawMeta>,
    /// (event, arguments) beside those in `args`.
    pub more_args: Vec<(u32, ArgsLoc)>,
    /// Call stacks; strings are of the chunk's table.
    pub stacks: StackTable,
    /// Which events carry a call stack.
    pub event_stacks: Vec<RawEventStack>,
    /// What was odd or lost.
    pub warnings: Warnings,
    /// Events of any phase that were read.
    pub file_events: u64,
}

/// A call stack of an event of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawEventStack {
    /// Place of the event in the chunk.
    pub event: u32,
    /// Its innermost frame, in the chunk's table.
    pub stack: StackId,
    /// How much the sample stands for, in the unit of the sampler (periods, ns, counts); 1 where it is not known.
    pub weight: u64,
}

/// A complete event of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RawPlace {
    /// Place of its chunk in the part.
    pub chunk: u32,
    /// Its place in the chunk.
    pub event: u32,
}

/// An arrow between two events that the file names exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawEdge {
    /// Where it starts.
    pub from: RawPlace,
    /// Where it ends.
    pub to: RawPlace,
    /// Its category, of the strings of the chunk where it starts; `None` joins a launch with its device work.
    pub category: Option<StrId>,
}

/// What the header of a file says.
#[derive(Clone, Debug, Default)]
pub struct TraceInfo {
    /// Number of the rank.
    pub rank: Option<u32>,
    /// Ranks in the job.
    pub world_size: Option<u32>,
    /// Host name.
    pub host: Option<String>,
    /// Communication backend.
    pub backend: Option<String>,
    /// What times count from, in ns of Unix time.
    pub base_time_ns: Option<i64>,
    /// Devices.
    pub devices: Vec<DeviceInfo>,
    /// Other fields.
    pub header: crate::Args,
}

/// All that a reader found in one file.
#[derive(Debug)]
pub struct TracePart {
    /// The file.
    pub source: Source,
    /// Its header.
    pub info: TraceInfo,
    /// Its events, in the order of the file.
    pub chunks: Vec<RawChunk>,
    /// Arrows that the file names exactly.
    pub edges: Vec<RawEdge>,
    /// Whether links, flows and warnings are whole as given, so that none are to be found out (a trace that Gapless
    /// wrote).
    pub is_restored: bool,
    /// Further files that were read into this part.
    pub companions: Vec<Source>,
    /// Where arguments are read from.
    pub args: Arc<dyn ArgsSource>,
    /// What was odd or lost beside what the chunks say.
    pub warnings: Warnings,
    /// The same of the further files, one entry each.
    pub companion_warnings: Vec<Warnings>,
}

impl TracePart {
    /// An empty part for `source`.
    #[must_use]
    pub fn new(source: Source) -> Self {
        Self {
            source,
            info: TraceInfo::default(),
            chunks: Vec::new(),
            edges: Vec::new(),
            is_restored: false,
            companions: Vec::new(),
            companion_warnings: Vec::new(),
            args: Arc::new(NoArgs),
            warnings: Warnings::default(),
        }
    }
}

impl RawChunk {
    /// Appends an event. `track` is a place in `tracks`.
    #[inline]
    pub fn push(
        &mut self,
        start: i64,
        dur: i64,
        name: StrId,
        category: StrId,
        kind: EventKind,
        track: u32,
        correlation: u32,
        external: u32,
        args: ArgsLoc,
    ) {
        self.start.push(start);
        self.dur.push(dur);
        self.name.push(name);
        self.category.push(category);
        self.kind.push(kind);
        self.track.push(track);
        self.correlation.push(correlation);
        self.external.push(external);
        self.args.push(args);
    }

    /// Room for `events` more events.
    pub fn reserve(&mut self, events: usize) {
        self.start.reserve(events);
        self.dur.reserve(events);
        self.name.reserve(events);
        self.category.reserve(events);
        self.kind.reserve(events);
        self.track.reserve(events);
        self.correlation.reserve(events);
        self.external.reserve(events);
        self.args.reserve(events);
    }

    /// Number of complete events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.start.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start.is_empty()
    }

    /// The place of a track in `tracks`, added if it is new. Linear in the tracks of the chunk: cache it.
    pub fn track(&mut self, kind: TrackKind, pid: RawId, tid: RawId) -> u32 {
        let key = (kind, pid, tid);
        let found = self.tracks.iter().position(|&old| old == key);
        found.unwrap_or_else(|| {
            self.tracks.push(key);
            self.tracks.len() - 1
        }) as u32
    }
}

/// Marks kernels whose name is a communication kernel's.
pub(crate) fn classify(kind: EventKind, name: &str, patterns: &CommunicationPatterns) -> EventKind {
    if kind == EventKind::Kernel { patterns.classify(name).unwrap_or(kind) } else { kind }
}
