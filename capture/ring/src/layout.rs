//! What lies where in a segment. Both sides are built from these definitions; [`VERSION`] changes with them.

use std::sync::atomic::{AtomicU32, AtomicU64};

/// First eight bytes of a segment, written last by its maker.
pub const MAGIC: u64 = u64::from_le_bytes(*b"gaplessR");
/// Version of the layout.
pub const VERSION: u32 = 1;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 4096;
/// Entries of the directory of rings. A process cannot have more rings at once.
pub const MAX_RINGS: usize = 16_384;
/// Bytes of one entry of the directory.
pub const ENTRY_BYTES: usize = 64;
/// Bytes of the directory.
pub const DIRECTORY_BYTES: usize = MAX_RINGS * ENTRY_BYTES;
/// Where the strings begin.
pub const STRINGS_OFFSET: usize = HEADER_BYTES + DIRECTORY_BYTES;
/// Most bytes of strings in one segment; address space only, pages are reserved as they are needed.
pub const STRINGS_BYTES: usize = 64 << 20;
/// Where the first ring may begin.
pub const RINGS_OFFSET: usize = STRINGS_OFFSET + STRINGS_BYTES;
/// Bytes at the head of a ring that hold its counters.
pub const RING_HEADER_BYTES: usize = 4096;
/// Longest string that is kept, in bytes; longer ones are cut and counted.
pub const MAX_STRING_BYTES: usize = 4096;
/// Most slots that one record may take beside its own.
pub const MAX_EXTRA: usize = 255;
/// How the files of segments end.
pub const FILE_SUFFIX: &str = ".ring";

/// The header of a segment, at offset 0.
#[repr(C)]
pub struct Header {
    /// [`MAGIC`] once everything else is in place.
    pub magic: AtomicU64,
    /// [`VERSION`].
    pub version: AtomicU32,
    /// Process id as the process itself sees it.
    pub pid: AtomicU32,
    /// Process id of the parent at the time of making.
    pub parent_pid: AtomicU32,
    /// [`crate::ClockKind`] of all ticks, as a number.
    pub clock: AtomicU32,
    /// Start time of the process in clock ticks since boot (`/proc/PID/stat`), which tells a reused process id.
    pub start_time: AtomicU64,
    /// What the recorder asks for; see the `CONTROL_` bits.
    pub control: AtomicU32,
    /// Number of entries of the directory ever used.
    pub rings: AtomicU32,
    /// Bytes of strings published.
    pub strings_len: AtomicU64,
    /// First byte of the file that no ring has taken.
    pub file_end: AtomicU64,
    /// Most bytes that the rings of this process may take together.
    pub budget_bytes: AtomicU64,
    /// Records that were dropped because a thread could get no ring at all.
    pub dropped_without_ring: AtomicU64,
    /// Names that could not be kept (strings full, or the table was busy too long).
    pub names_lost: AtomicU64,
    /// Names that were cut to [`MAX_STRING_BYTES`].
    pub names_cut: AtomicU64,
    /// Which sources have called in; see the `SOURCE_` bits.
    pub sources: AtomicU32,
    /// Set to 1 by the process's exit handler.
    pub finished: AtomicU32,
    /// Ticks and clocks when the segment was made: ticks, `CLOCK_MONOTONIC`, `CLOCK_REALTIME`, `CLOCK_BOOTTIME` in ns.
    pub first_anchor: [AtomicU64; 4],
    /// The same, last taken by the process.
    pub last_anchor: [AtomicU64; 4],
    /// String id of the program and its arguments, joined by zero bytes; 0 where it could not be kept.
    pub command: AtomicU32,
    /// String id of the variables that say where the process stands in its job, `NAME=value` joined by line breaks.
    pub variables: AtomicU32,
    /// Increases with each ring, so that the rings of a thread can be put in order.
    pub serial: AtomicU64,
}

/// Variables that say where a process stands in its job.
pub const JOB_VARIABLES: [&str; 18] = [
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "OMPI_COMM_WORLD_RANK",
    "OMPI_COMM_WORLD_SIZE",
    "OMPI_COMM_WORLD_LOCAL_RANK",
    "PMIX_RANK",
    "PMI_RANK",
    "PMI_SIZE",
    "MPI_LOCALRANKID",
    "MV2_COMM_WORLD_RANK",
    "MV2_COMM_WORLD_SIZE",
    "MV2_COMM_WORLD_LOCAL_RANK",
    "SLURM_PROCID",
    "SLURM_NTASKS",
    "SLURM_LOCALID",
    "SLURM_JOB_ID",
    "TORCHELASTIC_RUN_ID",
];

/// Recording is on.
pub const CONTROL_ON: u32 = 1;
/// A full ring overwrites its oldest records instead of dropping new ones.
pub const CONTROL_OVERWRITE: u32 = 2;

/// What lies in buffers of device libraries is to be handed over now; the process takes the bit away when that is done.
pub const CONTROL_FLUSH: u32 = 4;

/// NVTX was initialised.
pub const SOURCE_NVTX: u32 = 1;
/// ITT was initialised.
pub const SOURCE_ITT: u32 = 2;
/// The Python hook is there.
pub const SOURCE_PYTHON: u32 = 4;
/// MPI calls are seen.
pub const SOURCE_MPI: u32 = 8;
/// gloo calls are seen.
pub const SOURCE_GLOO: u32 = 16;
/// CUPTI records are seen.
pub const SOURCE_CUPTI: u32 = 32;
/// NCCL's profiler plugin was loaded.
pub const SOURCE_NCCL: u32 = 64;
/// rocprofiler-sdk's records are seen.
pub const SOURCE_ROCPROFILER: u32 = 128;

/// One entry of the directory of rings.
#[repr(C)]
pub struct Entry {
    /// [`RING_FREE`], [`RING_LIVE`] or [`RING_CLOSED`].
    pub state: AtomicU32,
    /// Thread id of the kernel.
    pub tid: AtomicU32,
    /// Where the ring begins in the file.
    pub offset: AtomicU64,
    /// Slots of the ring, a power of two.
    pub slots: AtomicU64,
    /// Order of opening within the segment, from 1.
    pub serial: AtomicU64,
    /// Serial of the thread's first ring: rings with the same value hold one thread, in order of `serial`.
    pub thread_serial: AtomicU64,
    /// The thread's name from the kernel, zero padded.
    pub name: [AtomicU64; 2],
    /// Keeps the entry at its size.
    pub reserved: AtomicU64,
}

/// Nobody uses the ring; a thread may take it.
pub const RING_FREE: u32 = 0;
/// A thread writes it.
pub const RING_LIVE: u32 = 1;
/// Its thread has ended or moved to a larger ring; the recorder frees it once it has read it all.
pub const RING_CLOSED: u32 = 2;

/// Counters at the head of a ring: writer's and reader's on cache lines of their own.
#[repr(C)]
pub struct RingHeader {
    /// Slots ever written.
    pub head: AtomicU64,
    /// Records dropped because the ring was full.
    pub dropped: AtomicU64,
    reserved: [AtomicU64; 6],
    /// Slots read by the recorder; the writer may reuse what lies before.
    pub tail: AtomicU64,
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A range of this thread begins; ranges of a thread nest.
    Push = 1,
    /// A range of this thread ends: the innermost with the same `domain`, as ranges of different domains need not nest
    /// in one another; where there is none, the innermost of all.
    Pop = 2,
    /// A range with an id of its own begins; `payload` is the id. It may end on another thread.
    Start = 3,
    /// The range with the id in `payload` ends.
    End = 4,
    /// Something happened.
    Mark = 5,
    /// A counter has a value: `payload` holds the bits of an `f64`.
    Counter = 6,
    /// The name of the thread with the id in `payload`; 0 is the thread that says it.
    ThreadName = 7,
    /// Step `payload` (an `i64`) of this thread begins and ends the one before; a negative number only ends it.
    Step = 8,
    /// A fact about the record before it on this thread: `name` is the key, `class` an [`AttrType`], `payload` the value.
    /// Facts about one record follow one another. With `category` set to [`ABOUT_OPEN_RANGE`] it is about the innermost
    /// open range of `domain` instead.
    Attr = 9,
    /// Bytes that belong to the record before it, or to an open range as for [`Kind::Attr`]: `name` is the key,
    /// `payload` their number; they lie in the extra slots.
    Blob = 10,
    /// A fact of the process: `name` is the key, the value lies in the extra slots.
    Info = 11,
    /// A communication call begins on this thread and ends with the next `Pop`; a [`Comm`] lies in the extra slots.
    CommPush = 12,
    /// A call that was started earlier is complete; `payload` is the number of its request.
    CommDone = 13,
    /// What a device did, or a call that made it do so, told later than it was: `class` is a
    /// [`DeviceKind`](crate::device::DeviceKind), `payload` when it began in ticks; what more is known lies in the extra
    /// slots.
    Device = 14,
    /// A communication that may end on another thread begins: as [`Kind::Start`], with a [`Comm`] in the extra slots.
    CommStart = 16,
}

impl Kind {
    /// The kind with this number.
    pub fn from_number(number: u8) -> Option<Kind> {
        Some(match number {
            1 => Kind::Push,
            2 => Kind::Pop,
            3 => Kind::Start,
            4 => Kind::End,
            5 => Kind::Mark,
            6 => Kind::Counter,
            7 => Kind::ThreadName,
            8 => Kind::Step,
            9 => Kind::Attr,
            10 => Kind::Blob,
            11 => Kind::Info,
            12 => Kind::CommPush,
            13 => Kind::CommDone,
            14 => Kind::Device,
            16 => Kind::CommStart,
            _ => return None,
        })
    }
}

/// What a range or mark is, in the words of the trace model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Class {
    /// A range that the user's code names.
    Annotation = 0,
    /// A framework's operator.
    Operator = 1,
    /// A node of the backward graph.
    AutogradNode = 2,
    /// An optimizer's step.
    Optimizer = 3,
    /// Waiting for input data.
    DataLoading = 4,
    /// Python's garbage collection.
    GarbageCollection = 5,
    /// A Python function.
    PythonFunction = 6,
    /// A training step.
    Step = 7,
    /// A communication call.
    Communication = 8,
    /// A call of a device's runtime.
    RuntimeCall = 9,
    /// A call of a device's driver.
    DriverCall = 10,
    /// Time that recording or loading code takes.
    Overhead = 11,
}

impl Class {
    /// The class with this number; an annotation for numbers of newer writers.
    pub fn from_number(number: u8) -> Class {
        match number {
            1 => Class::Operator,
            2 => Class::AutogradNode,
            3 => Class::Optimizer,
            4 => Class::DataLoading,
            5 => Class::GarbageCollection,
            6 => Class::PythonFunction,
            7 => Class::Step,
            8 => Class::Communication,
            9 => Class::RuntimeCall,
            10 => Class::DriverCall,
            11 => Class::Overhead,
            _ => Class::Annotation,
        }
    }
}

/// How the `payload` of an [`Kind::Attr`] is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum AttrType {
    /// `u64`.
    Unsigned = 0,
    /// `i64`.
    Signed = 1,
    /// `f64`.
    Float = 2,
    /// Id of a string of the segment.
    String = 3,
    /// Colour as ARGB in the low 32 bits.
    Color = 4,
}

impl AttrType {
    /// The type with this number.
    pub fn from_number(number: u8) -> Option<AttrType> {
        Some(match number {
            0 => AttrType::Unsigned,
            1 => AttrType::Signed,
            2 => AttrType::Float,
            3 => AttrType::String,
            4 => AttrType::Color,
            _ => return None,
        })
    }
}

/// One slot of a ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(32))]
pub struct Record {
    /// When, in ticks of the segment's clock.
    pub ticks: u64,
    /// A [`Kind`].
    pub kind: u8,
    /// A [`Class`], or an [`AttrType`] for [`Kind::Attr`].
    pub class: u8,
    /// Slots after this one that belong to it.
    pub extra: u8,
    /// [`RECORD_MARK`]: tells a record from the bytes of an extra slot where a reader must find its way.
    pub flags: u8,
    /// String id; 0 is no name.
    pub name: u32,
    /// String id of the domain (NVTX, ITT); 0 is none.
    pub domain: u32,
    /// String id of the category within the domain; 0 is none.
    pub category: u32,
    /// Depends on the kind.
    pub payload: u64,
}

/// In the category of an [`Kind::Attr`] or [`Kind::Blob`] that is about the innermost open range of its domain.
pub const ABOUT_OPEN_RANGE: u32 = u32::MAX;

/// In the flags of every record.
pub const RECORD_MARK: u8 = 0xA5;

/// What is known of a communication call, in the two slots after a [`Kind::CommPush`] or [`Kind::CommStart`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(32))]
pub struct Comm {
    /// Number of the communicator within the process; handles are used again, numbers are not. 0 is unknown.
    pub communicator: u64,
    /// Bytes that this rank sends (or, of a receive, receives).
    pub bytes: u64,
    /// Number of the request that a call begins or waits for, else 0.
    pub request: u64,
    /// Number of this call among the collectives of its communicator, from 0; `u64::MAX` for point-to-point.
    pub sequence: u64,
    /// Rank in the communicator.
    pub rank: i32,
    /// Ranks of the communicator.
    pub size: i32,
    /// Peer of a point-to-point call or root of a rooted collective; -1 is none, -2 any sender.
    pub peer: i32,
    /// Message tag; -1 is none.
    pub tag: i32,
    /// Elements.
    pub count: u64,
    /// String id of the data type's name.
    pub dtype: u32,
    /// Hash of the communicator's members in order, equal on all of them; another for each communicator of the same
    /// members.
    pub members: u32,
}

/// Slots that a [`Comm`] takes.
pub const COMM_SLOTS: usize = size_of::<Comm>() / size_of::<Record>();

const _: () = assert!(size_of::<Record>() == 32 && size_of::<Comm>() == 64);
const _: () = assert!(size_of::<Entry>() == ENTRY_BYTES && size_of::<Header>() <= HEADER_BYTES);
const _: () = assert!(size_of::<RingHeader>() <= RING_HEADER_BYTES);
