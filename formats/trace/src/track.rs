//! Where things happen: source → rank → process → track → lane → row.

use std::ops::Range;

use crate::{EventId, RawId, StrId};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(pub u32);

        impl $name {
            /// As an index.
            #[must_use]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

id!(/** A file that was read. */ SourceId);
id!(/** A rank of the job: its place in [`Trace::ranks`](crate::Trace::ranks), not its number. */ RankId);
id!(/** A process or device of a rank. */ ProcessId);
id!(/** A track. */ TrackId);
id!(/** One nesting depth of one lane of a track. */ RowId);
id!(/** A counter series. */ CounterId);

/// A file that was read.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// Its path as the user gave it.
    pub path: String,
    /// Its format in words (`Kineto JSON, gzip`).
    pub format: String,
    /// Bytes on disk.
    pub file_bytes: u64,
    /// Bytes of text after decompression.
    pub text_bytes: u64,
    /// Events of whatever phase that were read. An end without a begin and a flow point on no event were read too,
    /// though nothing of them is kept but their count in the warnings.
    pub file_events: u64,
    /// What the file was made from, where it says so (`rank0.json.gz, Kineto JSON`).
    pub origin: Option<String>,
}

/// A device as the file's header describes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceInfo {
    /// Number of the device in its process.
    pub id: u32,
    /// Marketing name; may be empty.
    pub name: String,
    /// Bytes of device memory.
    pub memory_bytes: Option<u64>,
    /// Streaming multiprocessors or compute units.
    pub multiprocessors: Option<u32>,
    /// Compute capability, for devices that have one.
    pub compute_capability: Option<(u32, u32)>,
    /// All properties of the header, as it names them.
    pub properties: crate::Args,
}

/// One rank: one recorded process with its devices.
#[derive(Clone, Debug)]
pub struct Rank {
    /// Its number in the job, where known.
    pub number: Option<u32>,
    /// Ranks in the job, where known.
    pub world_size: Option<u32>,
    /// The file it came from.
    pub source: SourceId,
    /// Further files that were read into this rank: a flight recorder's dump, CPU samples.
    pub companions: Vec<SourceId>,
    /// Host name, where known.
    pub host: Option<String>,
    /// Communication backend (`nccl`, `gloo`), where known.
    pub backend: Option<String>,
    /// What the file's times count from, in ns of Unix time; `None` if the file does not say.
    /// Times in the trace have it added: raw time = time − base − `clock_offset_ns`.
    pub base_time_ns: Option<i64>,
    /// Correction added to this rank's times to bring it onto the common clock.
    pub clock_offset_ns: i64,
    /// Devices of the file's header.
    pub devices: Vec<DeviceInfo>,
    /// Other header fields, as the file has them.
    pub header: crate::Args,
    /// Its processes, as a range of [`Trace::processes`](crate::Trace::processes).
    pub processes: Range<u32>,
    /// Its tracks, as a range of [`Trace::tracks`](crate::Trace::tracks).
    pub tracks: Range<u32>,
    /// Its events, as a range of the columns.
    pub events: Range<u32>,
}

impl Rank {
    /// `Rank 3`, or `Trace` where the number is not known.
    #[must_use]
    pub fn label(&self) -> String {
        self.number.map_or_else(|| "Trace".to_owned(), |number| format!("Rank {number}"))
    }
}

/// What a process entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProcessKind {
    /// An operating-system process.
    Host,
    /// A device, with its number.
    Device(u32),
    /// A heading of the file (`Spans`, `Traces`) that is no process.
    Virtual,
}

/// A process or device of a rank.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its rank.
    pub rank: RankId,
    /// What it is.
    pub kind: ProcessKind,
    /// Its id in the file.
    pub pid: RawId,
    /// Its name in the file; may be empty.
    pub name: StrId,
    /// Its labels in the file (`GPU 0`); may be empty.
    pub labels: StrId,
    /// Its place among the processes, where the file says so.
    pub sort_index: Option<i64>,
}

/// What a track is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrackKind {
    /// A CPU thread.
    Thread,
    /// Points in time on a CPU thread.
    ThreadInstants,
    /// Asynchronous ranges of one category.
    Async,
    /// User ranges projected onto a device stream.
    StreamAnnotations,
    /// Work on a device stream.
    Stream,
    /// Synchronisation marks on a device stream.
    StreamSyncs,
    /// A counter; it has no rows, see [`CounterSeries`].
    Counter,
    /// The profiler's own spans.
    ProfilerSpans,
    /// Sampled call stacks of a thread.
    Samples,
    /// A processor core: which thread runs on it.
    Cpu,
    /// Any other track that the file names.
    Custom,
}

impl TrackKind {
    /// All kinds, in declaration order.
    pub const ALL: [Self; 11] = [
        Self::Thread,
        Self::ThreadInstants,
        Self::Async,
        Self::StreamAnnotations,
        Self::Stream,
        Self::StreamSyncs,
        Self::Counter,
        Self::ProfilerSpans,
        Self::Samples,
        Self::Cpu,
        Self::Custom,
    ];

    /// The kind with this [`id`](Self::id).
    #[must_use]
    pub fn from_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.id() == id)
    }

    /// Whether the track shows a device.
    #[must_use]
    pub const fn is_device(self) -> bool {
        matches!(self, Self::Stream | Self::StreamSyncs | Self::StreamAnnotations)
    }

    /// A stable name.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Thread => "thread",
            Self::ThreadInstants => "thread_instants",
            Self::Async => "async",
            Self::StreamAnnotations => "stream_annotations",
            Self::Stream => "stream",
            Self::StreamSyncs => "stream_syncs",
            Self::Counter => "counter",
            Self::ProfilerSpans => "profiler_spans",
            Self::Samples => "samples",
            Self::Cpu => "cpu",
            Self::Custom => "custom",
        }
    }
}

/// The name that a track's file or place gives it.
pub type TrackName = StrId;

/// A track: a place where things happen.
#[derive(Clone, Debug)]
pub struct Track {
    /// Its rank.
    pub rank: RankId,
    /// Its process or device.
    pub process: ProcessId,
    /// What it is.
    pub kind: TrackKind,
    /// Thread or stream id in the file.
    pub tid: RawId,
    /// Its name in the file (`thread 4711 (python)`, `stream 7`); may be empty.
    pub name: TrackName,
    /// Its place among its siblings, where the file says so.
    pub sort_index: Option<i64>,
    /// Rows, as a range of [`Trace::rows`](crate::Trace::rows): lane by lane, outermost depth first.
    pub rows: Range<u32>,
    /// Events, as a range of the columns.
    pub events: Range<u32>,
    /// Number of lanes.
    pub lanes: u32,
    /// The series of a counter track.
    pub counter: Option<CounterId>,
}

impl Track {
    /// Number of the stream, for streams: the digits of its id.
    #[must_use]
    pub fn stream(&self) -> Option<i64> {
        match self.tid {
            RawId::Int(id) if self.kind.is_device() => Some(id),
            _ => None,
        }
    }

    /// Ids of its events.
    pub fn event_ids(&self) -> impl DoubleEndedIterator<Item = EventId> + ExactSizeIterator + use<> {
        (self.events.start..self.events.end).map(EventId)
    }
}

/// One nesting depth of one lane of a track: events that follow one another without overlap.
///
/// Invariant: starts ascend and ends ascend over `events`.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its track.
    pub track: TrackId,
    /// Its lane in the track, from 0.
    pub lane: u32,
    /// Its depth in the lane, from 0.
    pub depth: u16,
    /// Its events, as a range of the columns.
    pub events: Range<u32>,
}

impl Row {
    /// Its events as indices.
    #[must_use]
    pub fn indices(&self) -> Range<usize> {
        self.events.start as usize..self.events.end as usize
    }
}

/// A quantity over time: each value holds until the next.
#[derive(Clone, Debug)]
pub struct CounterSeries {
    /// Its track.
    pub track: TrackId,
    /// Its name (`GPU 0 memory allocated`).
    pub name: StrId,
    /// Its unit where known (`bytes`); may be empty.
    pub unit: StrId,
    /// Times in ns, ascending.
    pub times: Vec<i64>,
    /// Values, one per time.
    pub values: Vec<f64>,
}

impl CounterSeries {
    /// The value at `at_ns`: the last one set at or before it.
    #[must_use]
    pub fn value_at(&self, at_ns: i64) -> Option<f64> {
        let after = self.times.partition_point(|&time| time <= at_ns);
        after.checked_sub(1).and_then(|index| self.values.get(index)).copied()
    }
}

/// What Kineto says about a collective, on the kernel or on the operator that issued it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collective {
    /// The event that carries the arguments.
    pub event: EventId,
    /// `allreduce`, `all_to_allv`, `_allgather_base`, … as the file has it.
    pub name: StrId,
    /// Element type as the file has it (`Float`, `BFloat16`); may be empty.
    pub dtype: StrId,
    /// Process group: its name, or its id; may be empty.
    pub group: StrId,
    /// Description of the process group (`default_pg`); may be empty.
    pub group_desc: StrId,
    /// Elements in, where known.
    pub in_elems: Option<u64>,
    /// Elements out, where known.
    pub out_elems: Option<u64>,
    /// Ranks in the group, where known.
    pub group_size: Option<u32>,
    /// Sequence number in the group, where known.
    pub seq: Option<u64>,
}
