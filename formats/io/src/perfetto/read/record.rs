//! What the walker makes of packets: compact records, and the changes of sequence state between them.

use std::ops::Range;

use gapless_trace::{ArgsLoc, Warnings};

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum What {
    /// A slice begins.
    Begin,
    /// The slice that began last on the track ends.
    End,
    /// A point in time.
    Instant,
    /// A value of a counter.
    Counter,
    /// A state begins and the one before on the track ends.
    State,
    /// A track event of the older form, or of no type that is known.
    Legacy,
    /// Work of a GPU queue.
    GpuStage,
    /// Values of GPU counters.
    GpuCounters,
    /// A call-stack sample.
    PerfSample,
    /// A call-stack sample of the newer form.
    StackSample,
    /// Events of the kernel on one core.
    Ftrace,
    /// Nothing that is shown, but its time counts on an incremental clock.
    Time,
}

/// Bits of [`Record::flags`].
pub(super) mod flag {
    /// The packet has a timestamp.
    pub const TIME: u16 = 1;
    /// The packet needs the state of its sequence.
    pub const NEEDS_STATE: u16 = 1 << 1;
    /// The packet names its clock; see [`Walked::clocks`](super::Walked::clocks).
    pub const CLOCK: u16 = 1 << 2;
    /// The event names its track.
    pub const TRACK: u16 = 1 << 3;
    /// The event has arguments that can be shown.
    pub const ARGS: u16 = 1 << 4;
    /// The event holds more than the record: walk its message again.
    pub const MORE: u16 = 1 << 5;
    /// `time` is in ns of the packet's clock: increments are summed up, units applied.
    pub const NANOSECONDS: u16 = 1 << 6;
    /// `time` is the older delta, in microseconds since the event before.
    pub const DELTA: u16 = 1 << 7;
    /// `time` is the older absolute form, in ns of the monotonic clock.
    pub const MONOTONIC: u16 = 1 << 8;
    /// The event is a point of flows.
    pub const FLOWS: u16 = 1 << 9;
    /// The event has an entry in [`Walked::details`](super::Walked::details).
    pub const DETAILS: u16 = ARGS | FLOWS;
}

/// A packet that is an event, or a part of one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    /// Timestamp as the packet has it.
    pub time: u64,
    /// Its track.
    pub track: u64,
    /// Interned name; of a counter, the lower half of the value's bits.
    pub name: u32,
    /// Interned category; of a counter, the upper half of the value's bits.
    pub category: u32,
    /// First byte of the packet's content in the piece.
    pub at: u32,
    /// Bytes of the content; `u32::MAX` for that and more.
    pub len: u32,
    /// Place of its sequence in [`Walked::sequences`].
    pub sequence: u32,
    /// What it is.
    pub what: What,
    /// Bits of [`flag`].
    pub flags: u16,
}

impl Record {
    /// Value of a counter.
    pub fn value(&self) -> f64 {
        f64::from_bits(u64::from(self.category) << 32 | u64::from(self.name))
    }

    /// Whether all of `bits` are set.
    pub fn has(&self, bits: u16) -> bool {
        self.flags & bits == bits
    }
}

/// A change of a sequence's state.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    /// What was interned is forgotten. The walker writes 0; the number of the generation follows in order.
    Cleared { generation: u32 },
    /// Packets were lost: what was interned may be wrong.
    Lost,
    /// These entries of [`Walked::interned`] are added.
    Interned { from: u32, to: u32 },
    /// Defaults; `place` follows in order.
    Defaults { message: ArgsLoc, place: u32 },
    /// Readings of clocks.
    Clocks { message: ArgsLoc },
    /// The older description of the sequence's thread; `place` follows in order.
    Thread { message: ArgsLoc, place: u32 },
}

/// A change and when it happens.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChangeAt {
    /// It happens before this record.
    pub before: u32,
    /// Place of its sequence in [`Walked::sequences`].
    pub sequence: u32,
    /// First byte of its packet's content in the piece.
    pub at: u32,
    /// What happens.
    pub change: Change,
}

/// An entry of interned data.
#[derive(Clone, Copy, Debug)]
pub(super) struct InternedEntry {
    /// Which table.
    pub slot: Slot,
    /// Its id.
    pub iid: u64,
    /// Its message.
    pub message: ArgsLoc,
}

/// State of a sequence where a piece begins.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SequenceAt {
    /// Its place among all sequences.
    pub sequence: u32,
    /// Generation of its interned data.
    pub generation: u32,
    /// Place of its defaults + 1; 0 for none.
    pub defaults: u32,
    /// Place of its older thread description + 1; 0 for none.
    pub thread: u32,
    /// Whether packets that need its state may use it.
    pub is_valid: bool,
}

/// A message that belongs to no sequence and is read at the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rare {
    /// Field of the packet.
    pub field: u32,
    /// The message.
    pub message: ArgsLoc,
}

/// What the walker found in a piece.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub records: Vec<Record>,
    pub changes: Vec<ChangeAt>,
    pub interned: Vec<InternedEntry>,
    /// (record, clock) of packets that name their clock, in the order of the file.
    pub clocks: Vec<(u32, u32)>,
    /// Of each record with [`flag::ARGS`] or [`flag::FLOWS`], in order: the bytes of the piece from the first such
    /// field of its track event to the end of that.
    pub details: Vec<Range<u32>>,
    /// Ids of the sequences, in the order of their first packets.
    pub sequences: Vec<u32>,
    /// Their state where the piece begins; filled in order.
    pub starts: Vec<SequenceAt>,
    pub rares: Vec<Rare>,
    /// Packets of the instants that say what a trace was that Gapless wrote.
    pub facts: Vec<ArgsLoc>,
    /// Compressed packets, in the order of the file.
    pub compressed: Vec<Compressed>,
    pub warnings: Warnings,
    /// Whether a record has the older delta time.
    pub has_deltas: bool,
}

/// A packet that holds compressed packets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Compressed {
    /// First byte of the frame (the key) in the piece.
    pub frame: usize,
    /// First byte behind the packet.
    pub end: usize,
    /// First compressed byte.
    pub from: usize,
    /// First byte behind the compressed ones.
    pub to: usize,
    /// zstd rather than zlib.
    pub is_zstd: bool,
}

macro_rules! slots {
    ($($(#[$doc:meta])* $name:ident = $number:literal;)*) => {
        /// Tables of interned data that are used.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(super) enum Slot { $($(#[$doc])* $name,)* }

        impl Slot {
            /// The table of a field of `InternedData`.
            #[inline]
            pub fn of_field(number: u32) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
        }
    };
}

slots! {
    /// Categories of events.
    Categories = 1;
    /// Names of events.
    Names = 2;
    /// Names of annotations.
    AnnotationNames = 3;
    /// Lines of the program.
    SourceLocations = 4;
    /// Functions.
    Functions = 5;
    /// Frames.
    Frames = 6;
    /// Call stacks.
    Callstacks = 7;
    /// Parts of paths of mapped files.
    MappingPaths = 17;
    /// Source files.
    SourcePaths = 18;
    /// Mapped files.
    Mappings = 19;
    /// Bodies of log messages.
    LogBodies = 20;
    /// Contexts of GPU work.
    GraphicsContexts = 23;
    /// Queues and stages of GPU work.
    GpuSpecifications = 24;
    /// Text values of annotations.
    StringValues = 29;
    /// Text correlation ids.
    CorrelationIds = 43;
    /// GPU counters.
    GpuCounterDescriptors = 47;
    /// Tasks of samples.
    TaskContexts = 48;
    /// Cores of samples.
    ExecutionContexts = 49;
    /// What samples count by.
    SampleCounters = 50;
    /// Kernels.
    ComputeKernels = 1000;
    /// Names of launch arguments.
    ComputeArgNames = 1001;
}
