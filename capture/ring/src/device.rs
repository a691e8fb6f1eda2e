//! What records of devices say beyond their 32 bytes.
//!
//! A record of kind [`Kind::Device`](crate::Kind::Device) is told after the fact, by a thread of the image, in any order.
//! Its times are ticks of the segment's clock like all others; `ticks` of the slot itself is when it was told.
//!
//! | [`DeviceKind`] | name | domain | category | slots |
//! |---|---|---|---|---|
//! | `Kernel` | mangled name | | | [`Head`], [`Launch`] |
//! | `Copy` | | copies of a batch | | [`Head`], [`Moved`] |
//! | `Fill` | | the value | | [`Head`], [`Moved`] |
//! | `Call` | name | 1 driver, 2 runtime, 3 RCCL | return value | [`Head`] (`device`: thread, `context`: process) |
//! | `Sync` | | CUPTI's type | return value | [`Head`] (`id`: recording, `device`: event) |
//! | `Event` | | event | | [`Head`] (`end`: time on the device, `id`: recording) |
//! | `Memory` | | 1 allocated, 2 given back | kind of memory | [`Head`] (`end`: bytes, `id`: address) |
//! | `Pool` | | 1 made, 2 gone, 3 trimmed | type | [`Head`] (`end`: bytes, `id`: bytes in use, `context`: 0) |
//! | `Context` | | API | parent | [`Head`] (`stream`: of the default stream) |
//! | `Stream` | | priority | flag | [`Head`] |
//! | `Overhead` | | CUPTI's kind, or [`SCRATCH`] and more | kind of object | [`Head`] (`device`: thread, `context`: process) |
//! | `External` | | kind of id | correlation | none; `payload` is the id |
//! | `Graph` | | graph | | [`Head`] |
//! | `Jit` | | entry | operation | [`Head`] (`id`: bytes in the cache, `context`: thread, `stream`: process) |
//! | `Dropped` | | | | none; `payload` counts |

use crate::layout::Record;

/// What a device record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DeviceKind {
    /// A kernel ran.
    Kernel = 1,
    /// Bytes were copied.
    Copy = 2,
    /// Memory was filled.
    Fill = 3,
    /// A function of the runtime or driver was called.
    Call = 4,
    /// A thread or stream waited.
    Sync = 5,
    /// A stream recorded an event.
    Event = 6,
    /// Memory was allocated or given back.
    Memory = 7,
    /// A pool of memory changed.
    Pool = 8,
    /// There is a context.
    Context = 9,
    /// There is a stream.
    Stream = 10,
    /// Time that profiling or loading code took.
    Overhead = 11,
    /// A call belongs to an id that somebody pushed.
    External = 12,
    /// A graph ran, seen as a whole.
    Graph = 13,
    /// Code was translated for the device.
    Jit = 14,
    /// Records were dropped before they came to us.
    Dropped = 15,
}

impl DeviceKind {
    /// The kind with this number.
    pub fn from_number(number: u8) -> Option<DeviceKind> {
        Some(match number {
            1 => DeviceKind::Kernel,
            2 => DeviceKind::Copy,
            3 => DeviceKind::Fill,
            4 => DeviceKind::Call,
            5 => DeviceKind::Sync,
            6 => DeviceKind::Event,
            7 => DeviceKind::Memory,
            8 => DeviceKind::Pool,
            9 => DeviceKind::Context,
            10 => DeviceKind::Stream,
            11 => DeviceKind::Overhead,
            12 => DeviceKind::External,
            13 => DeviceKind::Graph,
            14 => DeviceKind::Jit,
            15 => DeviceKind::Dropped,
            _ => return None,
        })
    }
}

/// The first slot of every device record that has any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(32))]
pub struct Head {
    /// End in ticks; 0 where it was not over yet.
    pub end: u64,
    /// Node of the graph that it belongs to, 0 for none; see the table for other kinds.
    pub id: u64,
    /// Joins work with the call that launched it.
    pub correlation: u32,
    /// Device.
    pub device: u32,
    /// Context.
    pub context: u32,
    /// Stream; `u32::MAX` is none.
    pub stream: u32,
}

/// How a kernel was launched, in three slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(32))]
pub struct Launch {
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Shared memory of a block that the kernel declares, in bytes.
    pub static_shared_bytes: u32,
    /// Shared memory of a block that the launch asks for, in bytes.
    pub dynamic_shared_bytes: u32,
    /// Registers of a thread.
    pub registers: u16,
    /// How it was launched (`CUpti_ActivityLaunchType`).
    pub launch_type: u8,
    /// Whether the device launched it.
    pub is_device_launched: u8,
    /// The graph that it belongs to; 0 for none.
    pub graph: u32,
    /// Blocks of a cluster in x, y, z; zeros where there are no clusters.
    pub cluster: [u32; 3],
    /// Local memory of a thread in bytes.
    pub local_bytes: u32,
    /// Shared memory that the device set aside, in bytes.
    pub shared_executed_bytes: u32,
    /// Priority of the launch.
    pub priority: i32,
    /// Hardware channel.
    pub channel: u32,
    /// Its type (`CUpti_ChannelType`).
    pub channel_type: u32,
    /// Clusters that can run at once.
    pub max_active_clusters: u32,
    /// The graph that the executed one was made from; 0 for none.
    pub source_graph: u32,
    /// The node there.
    pub source_node: u64,
    /// When the launch was submitted, in ticks; 0 where that was not asked for.
    pub submitted: u64,
}

/// What a copy or fill moved, in one slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(32))]
pub struct Moved {
    /// Bytes.
    pub bytes: u64,
    /// Direction (`CUpti_ActivityMemcpyKind`); 0 for a fill.
    pub direction: u8,
    /// Kind of memory it comes from (`CUpti_ActivityMemoryKind`).
    pub from: u8,
    /// Kind of memory it goes to.
    pub to: u8,
    /// 1: asynchronous.
    pub flags: u8,
    /// The graph that it belongs to; 0 for none.
    pub graph: u32,
    /// Device it comes from.
    pub from_device: u32,
    /// Device it goes to.
    pub to_device: u32,
    /// Hardware channel.
    pub channel: u32,
    /// Its type (`CUpti_ChannelType`).
    pub channel_type: u32,
}

/// Plain data of whole slots, all of whose bytes mean something.
trait Slots: Copy + Default {}
impl Slots for Head {}
impl Slots for Launch {}
impl Slots for Moved {}

const _: () = assert!(size_of::<Head>() == 32 && size_of::<Launch>() == 96 && size_of::<Moved>() == 32);

/// Overheads from this number on are what AMD's runtime does with scratch memory: 1 allocates, 2 gives back, 3 takes back
/// while others run.
pub const SCRATCH: u32 = 0x5c00_0000;

/// Slots of a kernel.
pub const KERNEL_SLOTS: usize = 4;
/// Slots of a copy or fill.
pub const MOVED_SLOTS: usize = 2;

fn slots_of<T: Slots, const N: usize>(value: T) -> [Record; N] {
    const { assert!(size_of::<T>() == N * size_of::<Record>()) };
    let mut slots = [Record::default(); N];
    // SAFETY: both are as long (asserted above), and any bytes are a valid record.
    unsafe {
        std::ptr::copy_nonoverlapping((&raw const value).cast::<u8>(), slots.as_mut_ptr().cast(), size_of::<T>())
    };
    slots
}

fn value_of<T: Slots>(slots: &[Record]) -> Option<T> {
    if size_of_val(slots) < size_of::<T>() {
        return None;
    }
    let mut value = T::default();
    // SAFETY: the slots are at least as long, and any bytes are a valid value of these structures of whole numbers.
    unsafe { std::ptr::copy_nonoverlapping(slots.as_ptr().cast::<u8>(), (&raw mut value).cast(), size_of::<T>()) };
    Some(value)
}

impl Head {
    /// As a slot.
    #[inline(always)]
    pub fn slots(self) -> [Record; 1] {
        slots_of(self)
    }

    /// From the extra slots of a record.
    #[inline(always)]
    pub fn of(extra: &[Record]) -> Option<Head> {
        value_of(extra)
    }
}

impl Launch {
    /// As the slots of a kernel, behind its head.
    #[inline(always)]
    pub fn slots(self, head: Head) -> [Record; KERNEL_SLOTS] {
        let [first] = head.slots();
        let [a, b, c] = slots_of::<Launch, 3>(self);
        [first, a, b, c]
    }

    /// From the extra slots of a kernel.
    #[inline(always)]
    pub fn of(extra: &[Record]) -> Option<Launch> {
        value_of(extra.get(1..)?)
    }
}

impl Moved {
    /// As the slots of a copy or fill, behind its head.
    #[inline(always)]
    pub fn slots(self, head: Head) -> [Record; MOVED_SLOTS] {
        let ([first], [second]) = (head.slots(), slots_of::<Moved, 1>(self));
        [first, second]
    }

    /// From the extra slots of a copy or fill.
    #[inline(always)]
    pub fn of(extra: &[Record]) -> Option<Moved> {
        value_of(extra.get(1..)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_come_back_as_they_went() {
        let head = Head { end: 7, id: u64::MAX, correlation: 1, device: 2, context: 3, stream: u32::MAX };
        let launch = Launch { grid: [1, 2, 3], registers: 255, source_node: 9, submitted: 11, ..Launch::default() };
        let moved = Moved { bytes: 1 << 40, direction: 8, to_device: 5, ..Moved::default() };
        let kernel = launch.slots(head);
        assert_eq!((Head::of(&kernel), Launch::of(&kernel)), (Some(head), Some(launch)));
        let copy = moved.slots(head);
        assert_eq!((Head::of(&copy), Moved::of(&copy)), (Some(head), Some(moved)));
        assert_eq!((Head::of(&[]), Moved::of(&head.slots()), Launch::of(&copy)), (None, None, None));
    }

    #[test]
    fn numbers_come_back_as_kinds() {
        for number in 0..=255u8 {
            assert!(DeviceKind::from_number(number).is_none_or(|kind| kind as u8 == number));
        }
    }
}
