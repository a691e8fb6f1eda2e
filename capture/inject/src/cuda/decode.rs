//! From records of CUPTI to records of the ring.

use cupti_sys::layout::{
    context, cuda_event, device, driver, external_correlation, graph_trace, jit, kernel, memcpy, memcpy_peer, memory,
    memory_pool, memset, overhead, runtime, stream, synchronization,
};
use cupti_sys::{Cupti, DOMAIN_DRIVER, DOMAIN_RUNTIME, Field, Kind, Record as Activity};
use gapless_ring::device::{DeviceKind, Head, Launch, Moved};
use gapless_ring::layout::{Kind as RecordKind, Record};

use super::clock::Clock;
use crate::device::{ByAddress, Out};

/// Calls that programs make all the time and that say nothing, by domain and callback id: `cudaGetDevice`,
/// `cuCtxGetCurrent`, `cuDevicePrimaryCtxGetState`, `cuKernelGetAttribute`.
pub(super) const NOISE: [(u32, u32); 4] =
    [(DOMAIN_RUNTIME, 17), (DOMAIN_DRIVER, 304), (DOMAIN_DRIVER, 392), (DOMAIN_DRIVER, 686)];

/// Records that came, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Passed on.
    pub kept: u64,
    /// Outside the windows in which recording was on, or noise.
    pub left_out: u64,
    /// Of kinds that were not asked for.
    pub unknown: u64,
}

/// Turns records of CUPTI into records of the ring.
#[derive(Debug)]
pub struct Decoder {
    clock: Clock,
    /// Names of kernels by address: CUPTI keeps each name at one place. The text is kept to see that it is still that.
    kernels: ByAddress<(u32, Box<[u8]>)>,
    /// Names of calls by domain and callback id.
    calls: ByAddress<u32>,
    /// What became of the records.
    pub counts: Counts,
}

impl Decoder {
    /// A decoder for what comes after now. `has_own_clock`: CUPTI was given our clock and took it.
    pub fn new(has_own_clock: bool) -> Decoder {
        Decoder {
            clock: Clock::new(has_own_clock),
            kernels: ByAddress::default(),
            calls: ByAddress::default(),
            counts: Counts::default(),
        }
    }

    /// A decoder of times that are ticks already.
    pub fn of_ticks() -> Decoder {
        Decoder { clock: Clock::Own, ..Decoder::new(true) }
    }

    /// Decides by the first time in a buffer how times are to be read.
    ///
    /// # Safety
    /// As for [`Decoder::buffer`].
    pub unsafe fn settle(&mut self, cupti: &Cupti, buffer: *mut u8, valid_bytes: usize) {
        if matches!(self.clock, Clock::Unknown(..)) {
            let mut first = 0;
            // SAFETY: by this function's own contract.
            unsafe {
                cupti.each_record(buffer, valid_bytes, |_, known| {
                    if let Some((kind, record)) = known
                        && first == 0
                    {
                        first = start_field(kind).map_or(0, |field| record.u64(field));
                    }
                });
            }
            if first != 0 {
                self.clock.settle(first, cupti);
            }
        } else {
            self.clock.keep_up(cupti);
        }
    }

    /// Passes on the records of a completed buffer whose begin, in ticks, `is_wanted`.
    ///
    /// # Safety
    /// The buffer is one that CUPTI completed, with this many valid bytes.
    pub unsafe fn buffer(
        &mut self,
        cupti: &Cupti,
        buffer: *mut u8,
        valid_bytes: usize,
        is_wanted: &dyn Fn(u64) -> bool,
        out: &mut impl Out,
    ) {
        // SAFETY: by this function's own contract.
        unsafe {
            cupti.each_record(buffer, valid_bytes, |_, known| match known {
                Some((kind, record)) => self.record(cupti, kind, record, is_wanted, out),
                None => self.counts.unknown += 1,
            });
        }
    }

    #[inline(always)]
    fn record(
        &mut self,
        cupti: &Cupti,
        kind: Kind,
        record: Activity<'_>,
        is_wanted: &dyn Fn(u64) -> bool,
        out: &mut impl Out,
    ) {
        let start = start_field(kind).map_or(0, |field| self.clock.ticks(record.u64(field)));
        // Records without a time belong to one that has one, or describe something.
        if start != 0 && !is_wanted(start) {
            self.counts.left_out += 1;
            return;
        }
        self.counts.kept += 1;
        let of = |device: DeviceKind| Record {
            kind: RecordKind::Device as u8,
            class: device as u8,
            payload: start,
            ..Record::default()
        };
        let end = |field: Field| self.clock.ticks(record.u64(field));
        match kind {
            Kind::Kernel => {
                let head = Head {
                    end: end(kernel::END),
                    id: record.u64(kernel::GRAPH_NODE),
                    correlation: record.u32(kernel::CORRELATION),
                    device: record.u32(kernel::DEVICE),
                    context: record.u32(kernel::CONTEXT),
                    stream: record.u32(kernel::STREAM),
                };
                let launch = launch(record, end(kernel::SUBMITTED));
                let name = self.kernel_name(record, out);
                out.put(Record { name, ..of(DeviceKind::Kernel) }, &launch.slots(head));
            }
            Kind::Memcpy => {
                let head = Head {
                    end: end(memcpy::END),
                    id: record.u64(memcpy::GRAPH_NODE),
                    correlation: record.u32(memcpy::CORRELATION),
                    device: record.u32(memcpy::DEVICE),
                    context: record.u32(memcpy::CONTEXT),
                    stream: record.u32(memcpy::STREAM),
                };
                let moved = Moved {
                    bytes: record.u64(memcpy::BYTES),
                    direction: record.u8(memcpy::COPY_KIND),
                    from: record.u8(memcpy::SRC_KIND),
                    to: record.u8(memcpy::DST_KIND),
                    flags: record.u8(memcpy::FLAGS),
                    graph: record.u32(memcpy::GRAPH),
                    from_device: head.device,
                    to_device: head.device,
                    channel: record.u32(memcpy::CHANNEL),
                    channel_type: record.u32(memcpy::CHANNEL_TYPE),
                };
                let domain = u32::try_from(record.u64(memcpy::COPY_COUNT)).unwrap_or(u32::MAX);
                out.put(Record { domain, ..of(DeviceKind::Copy) }, &moved.slots(head));
            }
            Kind::MemcpyPeer => {
                let head = Head {
                    end: end(memcpy_peer::END),
                    id: record.u64(memcpy_peer::GRAPH_NODE),
                    correlation: record.u32(memcpy_peer::CORRELATION),
                    device: record.u32(memcpy_peer::DEVICE),
                    context: record.u32(memcpy_peer::CONTEXT),
                    stream: record.u32(memcpy_peer::STREAM),
                };
                let moved = Moved {
                    bytes: record.u64(memcpy_peer::BYTES),
                    direction: record.u8(memcpy_peer::COPY_KIND),
                    from: record.u8(memcpy_peer::SRC_KIND),
                    to: record.u8(memcpy_peer::DST_KIND),
                    flags: record.u8(memcpy_peer::FLAGS),
                    graph: record.u32(memcpy_peer::GRAPH),
                    from_device: record.u32(memcpy_peer::SRC_DEVICE),
                    to_device: record.u32(memcpy_peer::DST_DEVICE),
                    channel: record.u32(memcpy_peer::CHANNEL),
                    channel_type: record.u32(memcpy_peer::CHANNEL_TYPE),
                };
                out.put(of(DeviceKind::Copy), &moved.slots(head));
            }
            Kind::Memset => {
                let head = Head {
                    end: end(memset::END),
                    id: record.u64(memset::GRAPH_NODE),
                    correlation: record.u32(memset::CORRELATION),
                    device: record.u32(memset::DEVICE),
                    context: record.u32(memset::CONTEXT),
                    stream: record.u32(memset::STREAM),
                };
                let moved = Moved {
                    bytes: record.u64(memset::BYTES),
                    to: record.u16(memset::MEMORY_KIND) as u8,
                    flags: record.u16(memset::FLAGS) as u8,
                    graph: record.u32(memset::GRAPH),
                    from_device: head.device,
                    to_device: head.device,
                    channel: record.u32(memset::CHANNEL),
                    channel_type: record.u32(memset::CHANNEL_TYPE),
                    ..Moved::default()
                };
                out.put(Record { domain: record.u32(memset::VALUE), ..of(DeviceKind::Fill) }, &moved.slots(head));
            }
            // Both have the same form.
            Kind::Runtime | Kind::Driver => {
                let domain = if kind == Kind::Driver { DOMAIN_DRIVER } else { DOMAIN_RUNTIME };
                let callback = record.u32(runtime::CALLBACK);
                if NOISE.contains(&(domain, callback)) {
                    self.counts.kept -= 1;
                    self.counts.left_out += 1;
                    return;
                }
                let head = Head {
                    end: end(runtime::END),
                    id: 0,
                    correlation: record.u32(runtime::CORRELATION),
                    device: record.u32(runtime::THREAD),
                    context: record.u32(runtime::PROCESS),
                    stream: u32::MAX,
                };
                let category = record.u32(runtime::RETURN_VALUE);
                let name = self.call_name(cupti, domain, callback, out);
                out.put(Record { name, domain, category, ..of(DeviceKind::Call) }, &head.slots());
            }
            Kind::Synchronization => {
                let head = Head {
                    end: end(synchronization::END),
                    id: record.u64(synchronization::SYNC_ID),
                    correlation: record.u32(synchronization::CORRELATION),
                    device: record.u32(synchronization::EVENT),
                    context: record.u32(synchronization::CONTEXT),
                    stream: record.u32(synchronization::STREAM),
                };
                let (domain, category) = (record.u32(synchronization::TYPE), record.u32(synchronization::RETURN_VALUE));
                out.put(Record { domain, category, ..of(DeviceKind::Sync) }, &head.slots());
            }
            Kind::CudaEvent => {
                let head = Head {
                    end: end(cuda_event::DEVICE_TIMESTAMP),
                    id: record.u64(cuda_event::SYNC_ID),
                    correlation: record.u32(cuda_event::CORRELATION),
                    device: record.u32(cuda_event::DEVICE),
                    context: record.u32(cuda_event::CONTEXT),
                    stream: record.u32(cuda_event::STREAM),
                };
                out.put(Record { domain: record.u32(cuda_event::EVENT), ..of(DeviceKind::Event) }, &head.slots());
            }
            Kind::Memory => {
                let head = Head {
                    end: record.u64(memory::BYTES),
                    id: record.u64(memory::ADDRESS),
                    correlation: record.u32(memory::CORRELATION),
                    device: record.u32(memory::DEVICE),
                    context: record.u32(memory::CONTEXT),
                    stream: record.u32(memory::STREAM),
                };
                let (domain, category) = (record.u32(memory::OPERATION), record.u32(memory::MEMORY_KIND));
                out.put(Record { domain, category, ..of(DeviceKind::Memory) }, &head.slots());
            }
            Kind::MemoryPool => {
                let head = Head {
                    end: record.u64(memory_pool::SIZE),
                    id: record.u64(memory_pool::USED),
                    correlation: record.u32(memory_pool::CORRELATION),
                    device: record.u32(memory_pool::DEVICE),
                    context: 0,
                    stream: u32::MAX,
                };
                let (domain, category) = (record.u32(memory_pool::OPERATION), record.u32(memory_pool::POOL_TYPE));
                out.put(Record { domain, category, ..of(DeviceKind::Pool) }, &head.slots());
            }
            Kind::Device => {
                // SAFETY: a device's name lives as long as its record.
                let name = unsafe { record.text(device::NAME) }.map(|name| name.to_string_lossy().into_owned());
                out.fact("cuda.device", &device_text(record, name.as_deref().unwrap_or("")));
            }
            Kind::Context => {
                let head = Head {
                    end: 0,
                    id: u64::from(record.u8(context::IS_GREEN)),
                    correlation: 0,
                    device: record.u32(context::DEVICE),
                    context: record.u32(context::ID),
                    stream: u32::from(record.u16(context::NULL_STREAM)),
                };
                let (domain, category) = (u32::from(record.u16(context::API)), record.u32(context::PARENT));
                out.put(Record { domain, category, ..of(DeviceKind::Context) }, &head.slots());
            }
            Kind::Stream => {
                let head = Head {
                    end: 0,
                    id: 0,
                    correlation: record.u32(stream::CORRELATION),
                    device: u32::MAX,
                    context: record.u32(stream::CONTEXT),
                    stream: record.u32(stream::ID),
                };
                let (domain, category) = (record.u32(stream::PRIORITY), record.u32(stream::FLAG));
                out.put(Record { domain, category, ..of(DeviceKind::Stream) }, &head.slots());
            }
            Kind::Overhead => {
                let object = record.u32(overhead::OBJECT_KIND);
                // Of a process or thread: process id, then thread id.
                let is_thread = matches!(object, 1 | 2);
                let part = |index| if is_thread { record.word(overhead::OBJECT_ID, index) } else { 0 };
                let head = Head {
                    end: end(overhead::END),
                    id: 0,
                    correlation: record.u32(overhead::CORRELATION),
                    device: part(1),
                    context: part(0),
                    stream: u32::MAX,
                };
                let domain = record.u32(overhead::OVERHEAD_KIND);
                out.put(Record { domain, category: object, ..of(DeviceKind::Overhead) }, &head.slots());
            }
            Kind::ExternalCorrelation => {
                let record = Record {
                    payload: record.u64(external_correlation::EXTERNAL_ID),
                    domain: record.u32(external_correlation::EXTERNAL_KIND),
                    category: record.u32(external_correlation::CORRELATION),
                    ..of(DeviceKind::External)
                };
                out.put(record, &[]);
            }
            Kind::GraphTrace => {
                let head = Head {
                    end: end(graph_trace::END),
                    id: 0,
                    correlation: record.u32(graph_trace::CORRELATION),
                    device: record.u32(graph_trace::DEVICE),
                    context: record.u32(graph_trace::CONTEXT),
                    stream: record.u32(graph_trace::STREAM),
                };
                out.put(Record { domain: record.u32(graph_trace::GRAPH), ..of(DeviceKind::Graph) }, &head.slots());
            }
            Kind::Jit => {
                let head = Head {
                    end: end(jit::END),
                    id: record.u64(jit::CACHE_BYTES),
                    correlation: record.u32(jit::CORRELATION),
                    device: record.u32(jit::DEVICE),
                    context: record.u32(jit::THREAD),
                    stream: record.u32(jit::PROCESS),
                };
                let (domain, category) = (record.u32(jit::ENTRY), record.u32(jit::OPERATION));
                out.put(Record { domain, category, ..of(DeviceKind::Jit) }, &head.slots());
            }
        }
    }

    #[inline(always)]
    fn kernel_name(&mut self, record: Activity<'_>, out: &mut impl Out) -> u32 {
        let address = record.u64(kernel::NAME);
        // SAFETY: names of kernels live as long as the process.
        let Some(text) = (unsafe { record.text(kernel::NAME) }) else { return 0 };
        let bytes = text.to_bytes();
        match self.kernels.get(&address) {
            Some((id, known)) if **known == *bytes => *id,
            _ => {
                let id = out.name(bytes);
                self.kernels.insert(address, (id, bytes.into()));
                id
            }
        }
    }

    #[inline(always)]
    fn call_name(&mut self, cupti: &Cupti, domain: u32, callback: u32, out: &mut impl Out) -> u32 {
        let key = u64::from(domain) << 32 | u64::from(callback);
        if let Some(id) = self.calls.get(&key) {
            return *id;
        }
        let id = match cupti.callback_name(domain, callback) {
            Some(name) => out.name(without_version(name.to_bytes())),
            None => out.name(format!("{} {callback}", if domain == DOMAIN_DRIVER { "cu" } else { "cuda" }).as_bytes()),
        };
        self.calls.insert(key, id);
        id
    }
}

/// Where a record of this kind says when it began; none where it does not.
#[inline(always)]
fn start_field(kind: Kind) -> Option<Field> {
    Some(match kind {
        Kind::Kernel => kernel::START,
        Kind::Memcpy => memcpy::START,
        Kind::MemcpyPeer => memcpy_peer::START,
        Kind::Memset => memset::START,
        Kind::Runtime => runtime::START,
        Kind::Driver => driver::START,
        Kind::Synchronization => synchronization::START,
        Kind::Memory => memory::TIMESTAMP,
        Kind::MemoryPool => memory_pool::TIMESTAMP,
        Kind::Overhead => overhead::START,
        Kind::GraphTrace => graph_trace::START,
        Kind::Jit => jit::START,
        Kind::Device | Kind::Context | Kind::Stream | Kind::CudaEvent | Kind::ExternalCorrelation => return None,
    })
}

#[inline(always)]
fn launch(record: Activity<'_>, submitted: u64) -> Launch {
    Launch {
        grid: [record.u32(kernel::GRID_X), record.u32(kernel::GRID_Y), record.u32(kernel::GRID_Z)],
        block: [record.u32(kernel::BLOCK_X), record.u32(kernel::BLOCK_Y), record.u32(kernel::BLOCK_Z)],
        static_shared_bytes: record.u32(kernel::STATIC_SHARED),
        dynamic_shared_bytes: record.u32(kernel::DYNAMIC_SHARED),
        registers: record.u16(kernel::REGISTERS),
        launch_type: record.u8(kernel::LAUNCH_TYPE),
        is_device_launched: record.u8(kernel::IS_DEVICE_LAUNCHED),
        graph: record.u32(kernel::GRAPH),
        cluster: [record.u32(kernel::CLUSTER_X), record.u32(kernel::CLUSTER_Y), record.u32(kernel::CLUSTER_Z)],
        local_bytes: record.u32(kernel::LOCAL_PER_THREAD),
        shared_executed_bytes: record.u32(kernel::SHARED_EXECUTED),
        priority: record.u32(kernel::PRIORITY) as i32,
        channel: record.u32(kernel::CHANNEL),
        channel_type: record.u32(kernel::CHANNEL_TYPE),
        max_active_clusters: record.u32(kernel::MAX_ACTIVE_CLUSTERS),
        source_graph: record.u32(kernel::SOURCE_GRAPH),
        source_node: record.u64(kernel::SOURCE_GRAPH_NODE),
        submitted,
    }
}

/// `cudaLaunchKernel` of `cudaLaunchKernel_v7000`: the version of the runtime that a function came with is no part of
/// its name, other than in `cuMemcpyHtoDAsync_v2`.
fn without_version(name: &[u8]) -> &[u8] {
    let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    match name.len().checked_sub(digits).and_then(|end| name.get(..end)) {
        Some(stem) if digits >= 4 => stem.strip_suffix(b"_v").unwrap_or(name),
        _ => name,
    }
}

/// A device as lines of `key=value`, for the header of the trace.
fn device_text(record: Activity<'_>, name: &str) -> String {
    let mut text = format!("id={}\nname={name}", record.u32(device::ID));
    let mut add = |key: &str, value: u64| text.push_str(&format!("\n{key}={value}"));
    add("memory_bytes", record.u64(device::MEMORY));
    add("multiprocessors", u64::from(record.u32(device::MULTIPROCESSORS)));
    add("compute_capability_major", u64::from(record.u32(device::MAJOR)));
    add("compute_capability_minor", u64::from(record.u32(device::MINOR)));
    for (key, field) in [
        ("memory_bandwidth_kbytes_per_s", device::BANDWIDTH),
        ("constant_memory_bytes", device::CONSTANT_MEMORY),
        ("l2_cache_bytes", device::L2_CACHE),
        ("threads_per_warp", device::WARP),
        ("core_clock_khz", device::CORE_CLOCK),
        ("copy_engines", device::COPY_ENGINES),
        ("max_warps_per_multiprocessor", device::MAX_WARPS),
        ("max_blocks_per_multiprocessor", device::MAX_BLOCKS),
        ("max_shared_bytes_per_multiprocessor", device::MAX_SHARED),
        ("max_registers_per_multiprocessor", device::MAX_REGISTERS),
        ("max_registers_per_block", device::MAX_REGISTERS_BLOCK),
        ("max_shared_bytes_per_block", device::MAX_SHARED_BLOCK),
        ("max_threads_per_block", device::MAX_THREADS_BLOCK),
        ("ecc", device::ECC),
    ] {
        add(key, if field.bytes == 8 { record.u64(field) } else { u64::from(record.u32(field)) });
    }
    if record.u8(device::IS_MIG) != 0 {
        add("mig_gpu_instance", u64::from(record.u32(device::GPU_INSTANCE)));
        add("mig_compute_instance", u64::from(record.u32(device::COMPUTE_INSTANCE)));
    }
    text.push_str("\nuuid=");
    for byte in record.uuid(device::UUID) {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_the_runtime_are_no_part_of_names() {
        for (name, expected) in [
            ("cudaLaunchKernel_v7000", "cudaLaunchKernel"),
            ("cudaLaunchKernelExC_v11060", "cudaLaunchKernelExC"),
            ("cudaMemcpyAsync_ptsz_v7000", "cudaMemcpyAsync_ptsz"),
            ("cuMemcpyHtoDAsync_v2", "cuMemcpyHtoDAsync_v2"),
            ("cuLaunchKernel", "cuLaunchKernel"),
            ("7000", "7000"),
            ("", ""),
        ] {
            assert_eq!(without_version(name.as_bytes()), expected.as_bytes());
        }
    }
}
