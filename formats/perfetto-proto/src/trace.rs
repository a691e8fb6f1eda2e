//! The trace, its packets, clocks and defaults.

use crate::{
    FtraceEventBundle, GpuCounterEvent, GpuInfo, GpuRenderStageEvent, InternedData, PerfSample, PerfSampleDefaults,
    ProcessDescriptor, StackSample, ThreadDescriptor, TrackDescriptor, TrackEvent,
};

/// A whole trace file.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Trace {
    /// Its packets, in the order of the file; not necessarily in the order of time.
    #[prost(message, repeated, tag = "1")]
    pub packet: Vec<TracePacket>,
}

/// One packet: a timestamp, the sequence it belongs to, and one piece of data.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TracePacket {
    /// Time in units of the packet's clock (nanoseconds for the built-in clocks).
    #[prost(uint64, optional, tag = "8")]
    pub timestamp: Option<u64>,
    /// Clock of `timestamp`; else the sequence's default, else the trace clock.
    #[prost(uint32, optional, tag = "58")]
    pub timestamp_clock_id: Option<u32>,
    /// The sequence whose interned strings and defaults apply. Never 0.
    #[prost(uint32, optional, tag = "10")]
    pub trusted_packet_sequence_id: Option<u32>,
    /// Process that wrote the packet.
    #[prost(int32, optional, tag = "79")]
    pub trusted_pid: Option<i32>,
    /// Strings that this and later packets of the sequence name by id.
    #[prost(message, optional, tag = "12")]
    pub interned_data: Option<InternedData>,
    /// Bits of [`SequenceFlags`].
    #[prost(uint32, optional, tag = "13")]
    pub sequence_flags: Option<u32>,
    /// Older form of [`SequenceFlags::IncrementalStateCleared`].
    #[prost(bool, optional, tag = "41")]
    pub incremental_state_cleared: Option<bool>,
    /// Whether packets before this one were lost.
    #[prost(uint32, optional, tag = "42")]
    pub previous_packet_dropped: Option<u32>,
    /// Whether no packet of the sequence comes before.
    #[prost(bool, optional, tag = "87")]
    pub first_packet_on_sequence: Option<bool>,
    /// Defaults for later packets of the sequence.
    #[prost(message, optional, tag = "59")]
    pub trace_packet_defaults: Option<TracePacketDefaults>,
    /// Machine the packet comes from; none for the one that recorded.
    #[prost(uint32, optional, tag = "98")]
    pub machine_id: Option<u32>,
    /// The data.
    #[prost(oneof = "trace_packet::Data", tags = "1, 2, 6, 11, 36, 43, 44, 50, 52, 53, 60, 66, 128, 133, 135")]
    pub data: Option<trace_packet::Data>,
}

/// Data of a [`TracePacket`].
pub mod trace_packet {
    use super::{
        ClockSnapshot, FtraceEventBundle, GpuCounterEvent, GpuInfo, GpuRenderStageEvent, PerfSample, ProcessDescriptor,
        ProcessTree, StackSample, ThreadDescriptor, TrackDescriptor, TrackEvent,
    };

    /// What a packet carries.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Data {
        /// Events of the kernel on one core.
        #[prost(message, tag = "1")]
        FtraceEvents(FtraceEventBundle),
        /// Processes and threads of the system.
        #[prost(message, tag = "2")]
        ProcessTree(ProcessTree),
        /// Readings of several clocks at one moment.
        #[prost(message, tag = "6")]
        ClockSnapshot(ClockSnapshot),
        /// A slice edge, instant or counter value.
        #[prost(message, boxed, tag = "11")]
        TrackEvent(Box<TrackEvent>),
        /// A fixed pattern at which a reader may find packet bounds again.
        #[prost(bytes = "vec", tag = "36")]
        SynchronizationMarker(Vec<u8>),
        /// Older description of the sequence's process.
        #[prost(message, tag = "43")]
        ProcessDescriptor(ProcessDescriptor),
        /// Older description of the sequence's thread.
        #[prost(message, tag = "44")]
        ThreadDescriptor(ThreadDescriptor),
        /// A zlib-compressed [`Trace`](super::Trace).
        #[prost(bytes = "vec", tag = "50")]
        CompressedPackets(Vec<u8>),
        /// Values of GPU counters.
        #[prost(message, tag = "52")]
        GpuCounterEvent(GpuCounterEvent),
        /// A piece of work of a GPU queue.
        #[prost(message, boxed, tag = "53")]
        GpuRenderStageEvent(Box<GpuRenderStageEvent>),
        /// A track.
        #[prost(message, boxed, tag = "60")]
        TrackDescriptor(Box<TrackDescriptor>),
        /// A sample of a call stack.
        #[prost(message, tag = "66")]
        PerfSample(PerfSample),
        /// Names of the GPUs.
        #[prost(message, tag = "128")]
        GpuInfo(GpuInfo),
        /// A zstd-compressed [`Trace`](super::Trace).
        #[prost(bytes = "vec", tag = "133")]
        ZstdCompressedPackets(Vec<u8>),
        /// A sample of a call stack, newer form.
        #[prost(message, tag = "135")]
        StackSample(StackSample),
    }
}

/// Bits of [`TracePacket::sequence_flags`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum SequenceFlags {
    /// No bit.
    Unspecified = 0,
    /// What was interned before on this sequence is forgotten.
    IncrementalStateCleared = 1,
    /// The packet uses interned strings or defaults.
    NeedsIncrementalState = 2,
}

/// Defaults for the packets that follow on a sequence.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TracePacketDefaults {
    /// Clock of timestamps.
    #[prost(uint32, optional, tag = "58")]
    pub timestamp_clock_id: Option<u32>,
    /// For track events.
    #[prost(message, optional, tag = "11")]
    pub track_event_defaults: Option<TrackEventDefaults>,
    /// For call-stack samples.
    #[prost(message, optional, tag = "12")]
    pub perf_sample_defaults: Option<PerfSampleDefaults>,
}

/// Defaults for track events.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TrackEventDefaults {
    /// Track.
    #[prost(uint64, optional, tag = "11")]
    pub track_uuid: Option<u64>,
    /// Tracks of `extra_counter_values`.
    #[prost(uint64, repeated, packed = "false", tag = "31")]
    pub extra_counter_track_uuids: Vec<u64>,
    /// Tracks of `extra_double_counter_values`.
    #[prost(uint64, repeated, packed = "false", tag = "45")]
    pub extra_double_counter_track_uuids: Vec<u64>,
}

/// Readings of several clocks at one moment.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ClockSnapshot {
    /// The readings.
    #[prost(message, repeated, tag = "1")]
    pub clocks: Vec<Clock>,
    /// The clock that all others are brought to.
    #[prost(enumeration = "BuiltinClock", optional, tag = "2")]
    pub primary_trace_clock: Option<i32>,
}

/// Reading of one clock.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Clock {
    /// A [`BuiltinClock`], or 64 to 127 for one of the sequence, or 128 and above for one of the trace.
    #[prost(uint32, optional, tag = "1")]
    pub clock_id: Option<u32>,
    /// The reading.
    #[prost(uint64, optional, tag = "2")]
    pub timestamp: Option<u64>,
    /// Whether timestamps of this clock count from the one before.
    #[prost(bool, optional, tag = "3")]
    pub is_incremental: Option<bool>,
    /// Nanoseconds per unit; 1 if not set.
    #[prost(uint64, optional, tag = "4")]
    pub unit_multiplier_ns: Option<u64>,
}

/// Clocks that have fixed ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum BuiltinClock {
    /// Not said.
    Unknown = 0,
    /// Unix time.
    Realtime = 1,
    /// Unix time, coarse.
    RealtimeCoarse = 2,
    /// Time since some start, slewed by NTP.
    Monotonic = 3,
    /// The same, coarse.
    MonotonicCoarse = 4,
    /// Time since some start, not slewed.
    MonotonicRaw = 5,
    /// Time since boot, sleep included. Perfetto's usual trace clock.
    Boottime = 6,
}

/// Processes and threads of the system.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ProcessTree {
    /// Processes.
    #[prost(message, repeated, tag = "1")]
    pub processes: Vec<Process>,
    /// Threads.
    #[prost(message, repeated, tag = "2")]
    pub threads: Vec<Thread>,
    /// When reading them ended.
    #[prost(uint64, optional, tag = "3")]
    pub collection_end_timestamp: Option<u64>,
}

/// A process of a [`ProcessTree`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Process {
    /// Its id.
    #[prost(int32, optional, tag = "1")]
    pub pid: Option<i32>,
    /// Its parent's id.
    #[prost(int32, optional, tag = "2")]
    pub ppid: Option<i32>,
    /// Its command line, word by word.
    #[prost(string, repeated, tag = "3")]
    pub cmdline: Vec<String>,
}

/// A thread of a [`ProcessTree`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Thread {
    /// Its id.
    #[prost(int32, optional, tag = "1")]
    pub tid: Option<i32>,
    /// Its name.
    #[prost(string, optional, tag = "2")]
    pub name: Option<String>,
    /// Its process.
    #[prost(int32, optional, tag = "3")]
    pub tgid: Option<i32>,
}
