//! From records of rocprofiler to records of the ring.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Instant;

use gapless_ring::device::{DeviceKind, Head, Launch, Moved, SCRATCH};
use gapless_ring::layout::{Kind as RecordKind, Record};
use gapless_ring::writer;
use rocprofiler_sys::layout::{WITH_ANCESTOR, symbol};
use rocprofiler_sys::layout::{
    allocation, call, copy, kernel, old_allocation, old_call, old_scratch, oldest_scratch, scratch,
};
use rocprofiler_sys::{Category, Field, Kind, Record as Activity, Rocprofiler};

use super::agents::Devices;
use crate::device::clock::{Compared, FIRST_SPAN, Reading};
use crate::device::windows::holds;
use crate::device::{ByAddress, Out, Ring, fact};

/// Calls that programs make all the time and that say nothing.
const NOISE: [&str; 9] = [
    "hipGetDevice",
    "hipGetLastError",
    "hipExtGetLastError",
    "hipPeekAtLastError",
    "hipGetErrorName",
    "hipGetErrorString",
    "hipCtxGetCurrent",
    "hipDevicePrimaryCtxGetState",
    "hipGetStreamDeviceId",
];

/// CUPTI's numbers for directions and kinds of memory, which the records of the ring have.
const HOST_TO_DEVICE: u8 = 1;
const DEVICE_TO_HOST: u8 = 2;
const WITHIN_DEVICE: u8 = 8;
const HOST_TO_HOST: u8 = 9;
const PEER_TO_PEER: u8 = 10;
const PINNED: u8 = 2;
const ON_DEVICE: u8 = 3;
/// The runtime's calls, and RCCL's.
const DOMAIN_RUNTIME: u32 = 2;
const DOMAIN_RCCL: u32 = 3;
/// Allocations that are remembered until they are given back.
const MOST_ALLOCATIONS: usize = 1 << 18;

/// Whether a call is left out.
pub(super) fn is_noise(kind: Kind, name: &str) -> bool {
    kind == Kind::Hip && NOISE.contains(&name)
}

/// A kernel of a code object that was loaded.
#[derive(Clone, Debug)]
struct Symbol {
    /// Mangled, without what ROCm adds.
    name: Vec<u8>,
    registers: u32,
    group_bytes: u32,
    /// Number of the name in the segment, where it was needed already.
    id: Option<u32>,
}

/// Kernels by their ids. Held for a moment: code objects are loaded on threads of the job.
static SYMBOLS: Mutex<Option<HashMap<u64, Symbol>>> = Mutex::new(None);

/// A kernel's symbol is there.
pub(super) fn symbol(record: Activity<'_>) {
    // SAFETY: by the header, the text lives as long as the code object, and this call comes when it is loaded.
    let name = unsafe { record.text(symbol::NAME) }.map(|name| name.to_bytes()).unwrap_or_default();
    // The descriptor's name is the function's with an ending.
    let name = name.strip_suffix(b".kd").unwrap_or(name).to_vec();
    let symbol = Symbol {
        name,
        registers: record.u32(symbol::VGPRS).saturating_add(record.u32(symbol::ACCUMULATORS)),
        group_bytes: record.u32(symbol::GROUP_BYTES),
        id: None,
    };
    if let Ok(mut symbols) = SYMBOLS.lock() {
        symbols.get_or_insert_default().insert(record.u64(symbol::KERNEL), symbol);
    }
}

/// Records that came, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Passed on.
    pub kept: u64,
    /// Outside the windows in which recording was on.
    pub left_out: u64,
    /// Of kinds that were not asked for.
    pub unknown: u64,
    /// Without a record, or too short to be one.
    pub damaged: u64,
}

/// How times are turned into ticks.
#[derive(Debug)]
enum Clock {
    /// Read once, when it was set up.
    Read(Option<(Reading, Instant)>),
    Compared(Compared),
}

/// An allocation that was not given back yet.
#[derive(Clone, Copy, Debug)]
struct Allocated {
    device: u32,
    kind: u8,
    bytes: u64,
}

/// Turns records of rocprofiler into records of the ring.
#[derive(Debug)]
pub(super) struct Decoder {
    version: u32,
    clock: Clock,
    devices: Devices,
    /// Names of calls by kind and operation.
    calls: ByAddress<u32>,
    /// Numbers of queues by their handles, from 1.
    queues: ByAddress<u32>,
    allocations: ByAddress<Allocated>,
    /// What rocprofiler said to have dropped so far.
    dropped: u64,
    /// Whether the reader was waited for in vain.
    pub has_given_up: bool,
    /// What became of the records.
    pub counts: Counts,
}

impl Decoder {
    /// A decoder for what this rocprofiler tells. The first reading of the clocks is taken now, so that the second, which
    /// comes with the first records, is far enough from it.
    pub fn new(rocprofiler: &Rocprofiler, devices: Devices) -> Decoder {
        let first = Reading::take(|| rocprofiler.timestamp(), writer::ticks);
        Decoder {
            version: rocprofiler.version(),
            clock: Clock::Read(first.map(|first| (first, Instant::now()))),
            devices,
            calls: ByAddress::default(),
            queues: ByAddress::default(),
            allocations: ByAddress::default(),
            dropped: 0,
            has_given_up: false,
            counts: Counts::default(),
        }
    }

    /// Reads the clocks beside each other, as often as that is due.
    pub fn settle(&mut self, rocprofiler: &Rocprofiler) {
        let read = || Reading::take(|| rocprofiler.timestamp(), writer::ticks);
        match &mut self.clock {
            Clock::Read(first) => {
                let one = first.take().or_else(|| read().map(|one| (one, Instant::now())));
                let Some((one, at)) = one else { return };
                std::thread::sleep(FIRST_SPAN.saturating_sub(at.elapsed()));
                let Some(two) = read() else { return };
                let compared = Compared::new(one, two);
                fact("hip.clock", "rocprofiler's (CLOCK_BOOTTIME), compared with the recording's once a second");
                fact("hip.clock_error_ticks", &compared.error_ticks().to_string());
                self.clock = Clock::Compared(compared);
            }
            Clock::Compared(compared) => {
                if rocprofiler.timestamp().is_some_and(|time| compared.is_due(time))
                    && let Some(next) = read()
                {
                    compared.advance(next);
                }
            }
        }
    }

    #[inline(always)]
    fn ticks(&self, time_ns: u64) -> u64 {
        match &self.clock {
            Clock::Compared(compared) => compared.ticks(time_ns),
            Clock::Read(_) => 0,
        }
    }

    /// Passes on the records of a buffer that began in one of the windows. `dropped`: records that rocprofiler dropped since
    /// the buffer was made.
    ///
    /// # Safety
    /// There are so many headers, and each is null or has a record that begins with its size, or null.
    pub unsafe fn buffer(
        &mut self,
        rocprofiler: &Rocprofiler,
        headers: *const *const Category,
        count: usize,
        dropped: u64,
        windows: &[(u64, u64)],
        ring: &mut Ring<'_>,
    ) {
        // Counted on by rocprofiler; a version that counts anew is understood, too.
        ring.dropped(if dropped >= self.dropped { dropped - self.dropped } else { dropped });
        self.dropped = dropped;
        for index in 0..count {
            // SAFETY: by this function's own contract.
            let header = unsafe { (*headers.add(index)).as_ref() };
            let Some(header) = header else {
                self.counts.damaged += 1;
                continue;
            };
            let kind = (header.category == Category::TRACING).then(|| rocprofiler.kind(header.kind)).flatten();
            let Some(kind) = kind else {
                self.counts.unknown += 1;
                continue;
            };
            // SAFETY: by this function's own contract.
            match unsafe { Activity::at(header.payload) } {
                Some(record) => self.record(rocprofiler, kind, record, windows, ring),
                None => self.counts.damaged += 1,
            }
        }
    }

    fn record(
        &mut self,
        rocprofiler: &Rocprofiler,
        kind: Kind,
        record: Activity<'_>,
        windows: &[(u64, u64)],
        out: &mut impl Out,
    ) {
        let is_new = self.version >= WITH_ANCESTOR;
        let (start, end) = match kind {
            Kind::Kernel => (kernel::START, kernel::END),
            Kind::Copy => (copy::START, copy::END),
            // Calls are told apart by their length, too: that cannot be mistaken.
            Kind::Hip | Kind::Rccl if self.is_long(record) => (call::START, call::END),
            Kind::Hip | Kind::Rccl => (old_call::START, old_call::END),
            Kind::Scratch if is_new => (scratch::START, scratch::END),
            Kind::Scratch if self.version >= old_scratch::ALL.since => (old_scratch::START, old_scratch::END),
            Kind::Scratch => (oldest_scratch::START, oldest_scratch::END),
            Kind::Allocation if is_new => (allocation::START, allocation::END),
            Kind::Allocation => (old_allocation::START, old_allocation::END),
        };
        if !record.has(end) {
            self.counts.damaged += 1;
            return;
        }
        let (start, end) = (self.ticks(record.u64(start)), self.ticks(record.u64(end)));
        if start != 0 && !holds(windows, start) {
            self.counts.left_out += 1;
            // What is given back later must be known.
            if kind == Kind::Allocation {
                self.remember(record, is_new);
            }
            return;
        }
        self.counts.kept += 1;
        let times = Times { start, end };
        match kind {
            Kind::Kernel => self.kernel(record, times, out),
            Kind::Copy => self.copy(record, times, out),
            Kind::Hip | Kind::Rccl => self.call(rocprofiler, kind, record, times, out),
            Kind::Scratch => {
                let thread = if is_new {
                    scratch::THREAD
                } else if self.version >= old_scratch::ALL.since {
                    old_scratch::THREAD
                } else {
                    oldest_scratch::THREAD
                };
                let head = Head { end, device: record.u64(thread) as u32, stream: u32::MAX, ..Head::default() };
                let domain = SCRATCH + (record.operation().clamp(0, 255) as u32);
                out.put(Record { domain, ..times.of(DeviceKind::Overhead) }, &head.slots());
            }
            Kind::Allocation => {
                let is_release = matches!(record.operation(), 3 | 4);
                let field = if is_new { allocation::ADDRESS } else { old_allocation::ADDRESS };
                let address = record.u64(field);
                let of =
                    if is_release { self.allocations.remove(&address) } else { Some(self.remember(record, is_new)) };
                // Memory from before the recording says neither its size nor its device.
                let Some(of) = of else { return };
                let head = Head { end: of.bytes, id: address, device: of.device, stream: u32::MAX, ..Head::default() };
                let domain = if is_release { 2 } else { 1 };
                let category = u32::from(of.kind);
                out.put(Record { domain, category, ..times.of(DeviceKind::Memory) }, &head.slots());
            }
        }
    }

    /// Whether a call says the call around it.
    #[inline(always)]
    fn is_long(&self, record: Activity<'_>) -> bool {
        self.version >= WITH_ANCESTOR && record.len() >= usize::from(call::ALL.bytes)
    }

    fn remember(&mut self, record: Activity<'_>, is_new: bool) -> Allocated {
        let [agent, address, bytes] = if is_new {
            [allocation::AGENT, allocation::ADDRESS, allocation::BYTES]
        } else {
            [old_allocation::AGENT, old_allocation::ADDRESS, old_allocation::BYTES]
        };
        let gpu = self.devices.gpu(record.u64(agent));
        let of = Allocated {
            device: gpu.unwrap_or(0),
            kind: if gpu.is_some() { ON_DEVICE } else { PINNED },
            bytes: record.u64(bytes),
        };
        if !matches!(record.operation(), 3 | 4) && self.allocations.len() < MOST_ALLOCATIONS {
            self.allocations.insert(record.u64(address), of);
        }
        of
    }

    fn kernel(&mut self, record: Activity<'_>, times: Times, out: &mut impl Out) {
        let stream = self.queue(record.u64(kernel::QUEUE));
        let head = Head {
            end: times.end,
            id: 0,
            correlation: record.u64(kernel::CORRELATION) as u32,
            device: self.devices.gpu(record.u64(kernel::AGENT)).unwrap_or(0),
            context: 0,
            stream,
        };
        let id = record.u64(kernel::KERNEL);
        let (name, registers, static_bytes) = kernel_symbol(id, out);
        let (workgroup, grid) = (record.sizes(kernel::WORKGROUP), record.sizes(kernel::GRID));
        let group_bytes = record.u32(kernel::GROUP_BYTES);
        // HIP counts blocks, HSA work items.
        let blocks = |axis: usize| {
            let (items, block) = (grid.get(axis).copied().unwrap_or(0), workgroup.get(axis).copied().unwrap_or(0));
            items.div_ceil(block.max(1))
        };
        let launch = Launch {
            grid: [blocks(0), blocks(1), blocks(2)],
            block: workgroup,
            static_shared_bytes: static_bytes.min(group_bytes),
            dynamic_shared_bytes: group_bytes.saturating_sub(static_bytes),
            registers: u16::try_from(registers).unwrap_or(u16::MAX),
            local_bytes: record.u32(kernel::PRIVATE_BYTES),
            ..Launch::default()
        };
        out.put(Record { name, ..times.of(DeviceKind::Kernel) }, &launch.slots(head));
    }

    fn copy(&mut self, record: Activity<'_>, times: Times, out: &mut impl Out) {
        let from = self.devices.gpu(record.u64(copy::FROM_AGENT));
        let to = self.devices.gpu(record.u64(copy::TO_AGENT));
        let direction = match (from, to) {
            // Without agents the operation's number says it, which may move between versions.
            _ if !self.devices.is_known() => [0, HOST_TO_HOST, HOST_TO_DEVICE, DEVICE_TO_HOST, WITHIN_DEVICE]
                .get(usize::try_from(record.operation()).unwrap_or(0))
                .copied()
                .unwrap_or(0),
            (None, None) => HOST_TO_HOST,
            (None, Some(_)) => HOST_TO_DEVICE,
            (Some(_), None) => DEVICE_TO_HOST,
            (Some(from), Some(to)) if from == to => WITHIN_DEVICE,
            (Some(_), Some(_)) => PEER_TO_PEER,
        };
        // A copy belongs to the GPU that it reaches, else to the one that it leaves.
        let device = to.or(from).unwrap_or(0);
        let head = Head {
            end: times.end,
            id: 0,
            correlation: record.u64(copy::CORRELATION) as u32,
            device,
            context: 0,
            // Copies do not say their queue.
            stream: 0,
        };
        let moved = Moved {
            bytes: record.u64(copy::BYTES),
            direction,
            from: if from.is_some() { ON_DEVICE } else { 0 },
            to: if to.is_some() { ON_DEVICE } else { 0 },
            flags: 1,
            from_device: from.unwrap_or(device),
            to_device: to.unwrap_or(device),
            ..Moved::default()
        };
        out.put(times.of(DeviceKind::Copy), &moved.slots(head));
    }

    fn call(&mut self, rocprofiler: &Rocprofiler, kind: Kind, record: Activity<'_>, times: Times, out: &mut impl Out) {
        let (correlation, thread): (Field, Field) = if self.is_long(record) {
            (call::CORRELATION, call::THREAD)
        } else {
            (old_call::CORRELATION, old_call::THREAD)
        };
        // SAFETY: takes nothing and cannot fail.
        let process = unsafe { libc::getpid() } as u32;
        let head = Head {
            end: times.end,
            id: 0,
            correlation: record.u64(correlation) as u32,
            device: record.u64(thread) as u32,
            context: process,
            stream: u32::MAX,
        };
        let name = self.call_name(rocprofiler, kind, record.operation(), out);
        let domain = if kind == Kind::Rccl { DOMAIN_RCCL } else { DOMAIN_RUNTIME };
        out.put(Record { name, domain, ..times.of(DeviceKind::Call) }, &head.slots());
    }

    #[inline(always)]
    fn call_name(&mut self, rocprofiler: &Rocprofiler, kind: Kind, operation: i32, out: &mut impl Out) -> u32 {
        let key = (kind as u64) << 32 | u64::from(operation as u32);
        if let Some(id) = self.calls.get(&key) {
            return *id;
        }
        let id = match rocprofiler.operation_name(kind, operation) {
            Some(name) => out.name(name.to_bytes()),
            None => out.name(format!("{} {operation}", if kind == Kind::Rccl { "rccl" } else { "hip" }).as_bytes()),
        };
        self.calls.insert(key, id);
        id
    }

    #[inline(always)]
    fn queue(&mut self, handle: u64) -> u32 {
        let next = self.queues.len() as u32 + 1;
        *self.queues.entry(handle).or_insert(next)
    }
}

/// When a record began and ended, in ticks.
#[derive(Clone, Copy, Debug)]
struct Times {
    start: u64,
    end: u64,
}

impl Times {
    fn of(self, device: DeviceKind) -> Record {
        Record { kind: RecordKind::Device as u8, class: device as u8, payload: self.start, ..Record::default() }
    }
}

/// Name, registers of a work item and declared bytes of local memory of a kernel.
fn kernel_symbol(id: u64, out: &mut impl Out) -> (u32, u32, u32) {
    let mut symbols = SYMBOLS.lock().ok();
    let known = symbols.as_mut().and_then(|symbols| symbols.as_mut()).and_then(|symbols| symbols.get_mut(&id));
    let Some(symbol) = known else {
        let name = out.name(format!("kernel {id}").as_bytes());
        return (name, 0, 0);
    };
    let name = match symbol.id {
        Some(name) => name,
        None => {
            let name = out.name(&symbol.name);
            symbol.id = Some(name);
            name
        }
    };
    (name, symbol.registers, symbol.group_bytes)
}
