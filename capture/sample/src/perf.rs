//! `perf_event_open`: one ring per processor, events that children inherit.
//!
//! The rings belong to events that measure nothing; what is measured is redirected to them
//! (`PERF_EVENT_IOC_SET_OUTPUT`), so the locked memory does not grow with the number of threads attached to.
//!
//! A thread that exists already gets events of its own, because attaching to a process means attaching to each of its
//! threads. A thread that is born while this goes on may then be measured twice, by inheritance and by attachment:
//! records tell from which attachment they stem, and each thread is believed to one of them only.

// There is no safe interface to the system call, its mapped rings and its ioctls.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use rustc_hash::FxHashMap;

use crate::procfs;
use crate::record::{Body, Layout, Parsed, Record, parse};

/// `struct perf_event_attr` up to its fifth version (112 bytes), which every kernel since 4.9 takes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Attr {
    kind: u32,
    size: u32,
    config: u64,
    sample_freq: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup: u32,
    breakpoint_type: u32,
    config1: u64,
    config2: u64,
    branch_sample_type: u64,
    sample_regs_user: u64,
    sample_stack_user: u32,
    clockid: i32,
    sample_regs_intr: u64,
    aux_watermark: u32,
    sample_max_stack: u16,
    reserved: u16,
}

const TYPE_SOFTWARE: u32 = 1;
const SW_TASK_CLOCK: u64 = 1;
const SW_DUMMY: u64 = 9;

const SAMPLE_TID: u64 = 1 << 1;
const SAMPLE_TIME: u64 = 1 << 2;
const SAMPLE_CALLCHAIN: u64 = 1 << 5;
const SAMPLE_CPU: u64 = 1 << 7;
const SAMPLE_REGS_USER: u64 = 1 << 12;
const SAMPLE_STACK_USER: u64 = 1 << 13;
const SAMPLE_IDENTIFIER: u64 = 1 << 16;

const DISABLED: u64 = 1;
const INHERIT: u64 = 1 << 1;
const EXCLUDE_KERNEL: u64 = 1 << 5;
const EXCLUDE_HV: u64 = 1 << 6;
const MMAP: u64 = 1 << 8;
const COMM: u64 = 1 << 9;
const FREQ: u64 = 1 << 10;
const TASK: u64 = 1 << 13;
const SAMPLE_ID_ALL: u64 = 1 << 18;
const EXCLUDE_CALLCHAIN_KERNEL: u64 = 1 << 21;
const MMAP2: u64 = 1 << 23;
const COMM_EXEC: u64 = 1 << 24;
const USE_CLOCKID: u64 = 1 << 25;
const CONTEXT_SWITCH: u64 = 1 << 26;

const FLAG_FD_CLOEXEC: libc::c_ulong = 1 << 3;

const IOC_ENABLE: libc::c_ulong = 0x2400;
const IOC_DISABLE: libc::c_ulong = 0x2401;
const IOC_SET_OUTPUT: libc::c_ulong = 0x2405;
const IOC_ID: libc::c_ulong = 0x8008_2407;

/// Offsets in the first page of a ring (`struct perf_event_mmap_page`).
const DATA_HEAD: usize = 1024;
const DATA_TAIL: usize = 1032;

/// Ring sizes to try, in pages. The first is what the kernel grants every user (`perf_event_mlock_kb`, 516 KiB).
const RING_PAGES: [usize; 5] = [128, 64, 32, 16, 8];

/// User registers that unwinding needs, ascending by bit: frame pointer, stack pointer, instruction pointer.
#[cfg(target_arch = "x86_64")]
const UNWIND_REGISTERS: u64 = 1 << 6 | 1 << 7 | 1 << 8;
#[cfg(not(target_arch = "x86_64"))]
const UNWIND_REGISTERS: u64 = 0;

/// What to measure.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measure {
    /// Stacks per second of running time of each thread; 0 for none.
    pub(crate) frequency_hz: u32,
    pub(crate) context_switches: bool,
    pub(crate) kernel: bool,
    /// Bytes of each stack to copy; 0 for none.
    pub(crate) stack_bytes: u32,
}

impl Measure {
    fn attr(self) -> Attr {
        let sampling = self.frequency_hz > 0;
        let mut flags = INHERIT | EXCLUDE_HV | MMAP | MMAP2 | COMM | COMM_EXEC | TASK | SAMPLE_ID_ALL | USE_CLOCKID;
        let mut sample_type = SAMPLE_IDENTIFIER | SAMPLE_TID | SAMPLE_TIME | SAMPLE_CPU | SAMPLE_CALLCHAIN;
        if self.context_switches {
            flags |= CONTEXT_SWITCH;
        }
        if !(self.kernel && sampling) {
            flags |= EXCLUDE_KERNEL | EXCLUDE_CALLCHAIN_KERNEL;
        }
        if sampling {
            flags |= FREQ;
        }
        let copies = self.copies_stacks();
        if copies {
            sample_type |= SAMPLE_REGS_USER | SAMPLE_STACK_USER;
        }
        Attr {
            kind: TYPE_SOFTWARE,
            size: size_of::<Attr>() as u32,
            config: if sampling { SW_TASK_CLOCK } else { SW_DUMMY },
            sample_freq: u64::from(self.frequency_hz),
            sample_type,
            flags: flags | DISABLED,
            clockid: libc::CLOCK_MONOTONIC,
            sample_regs_user: if copies { UNWIND_REGISTERS } else { 0 },
            sample_stack_user: if copies { self.stack_bytes } else { 0 },
            ..Attr::default()
        }
    }

    fn copies_stacks(self) -> bool {
        self.frequency_hz > 0 && self.stack_bytes > 0 && UNWIND_REGISTERS != 0
    }

    pub(crate) fn layout(self) -> Layout {
        Layout { registers: if self.copies_stacks() { UNWIND_REGISTERS.count_ones() as usize } else { 0 } }
    }
}

fn open(attr: &Attr, tid: u32, cpu: i32) -> io::Result<OwnedFd> {
    let tid = libc::pid_t::try_from(tid).map_err(|_| io::Error::from_raw_os_error(libc::ESRCH))?;
    // SAFETY: the kernel reads `size` bytes of the attribute, which is as long as its struct, and writes none of it
    // that we rely on.
    let fd =
        unsafe { libc::syscall(libc::SYS_perf_event_open, std::ptr::from_ref(attr), tid, cpu, -1, FLAG_FD_CLOEXEC) };
    let fd = i32::try_from(fd).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call gave a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether this could be measured of a thread of our own. Measures nothing.
pub(crate) fn try_open(measure: Measure) -> io::Result<()> {
    open(&measure.attr(), 0, -1).map(|_| ())
}

fn ioctl(fd: &OwnedFd, request: libc::c_ulong, argument: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the requests of this file take a plain number, or for IOC_ID the address of eight writable bytes that
    // `event_id` keeps alive over the call.
    let rc = unsafe { libc::ioctl(fd.as_raw_fd(), request, argument) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn event_id(fd: &OwnedFd) -> io::Result<u64> {
    let mut id = 0u64;
    ioctl(fd, IOC_ID, std::ptr::from_mut(&mut id) as libc::c_ulong)?;
    Ok(id)
}

/// The mapped ring of one processor.
struct Ring {
    cpu: u32,
    fd: OwnedFd,
    base: NonNull<u8>,
    page_bytes: usize,
    data_bytes: usize,
}

// SAFETY: the mapping belongs to the ring alone, and all access to it goes through `&mut self`.
unsafe impl Send for Ring {}

impl Ring {
    fn new(cpu: u32) -> io::Result<Self> {
        // No more is asked of this event than a place for others to write to.
        let attr = Measure::default().attr();
        let attr = Attr { flags: attr.flags & !INHERIT, ..attr };
        let fd = open(&attr, 0, i32::try_from(cpu).unwrap_or(i32::MAX))?;
        let page_bytes = rustix::param::page_size();
        let mut error = io::Error::from_raw_os_error(libc::EINVAL);
        for pages in RING_PAGES {
            let data_bytes = pages * page_bytes;
            // SAFETY: a new mapping at an address of the kernel's choice; it is unmapped when the ring is dropped.
            let base = unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    data_bytes + page_bytes,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_SHARED,
                    fd.as_raw_fd(),
                    0,
                )
            };
            if base == libc::MAP_FAILED {
                error = io::Error::last_os_error();
                continue;
            }
            let Some(base) = NonNull::new(base.cast::<u8>()) else { continue };
            return Ok(Self { cpu, fd, base, page_bytes, data_bytes });
        }
        Err(error)
    }

    /// Appends what the kernel wrote since the last call to `out` and gives the room back.
    fn take(&mut self, out: &mut Vec<u8>) {
        // SAFETY: both counters lie in the first page of the mapping, aligned to eight bytes; the kernel writes one and
        // reads the other with the orderings that `perf_event_mmap_page` documents.
        let (head, tail) = unsafe {
            (
                AtomicU64::from_ptr(self.base.add(DATA_HEAD).cast::<u64>().as_ptr()),
                AtomicU64::from_ptr(self.base.add(DATA_TAIL).cast::<u64>().as_ptr()),
            )
        };
        let written = head.load(Ordering::Acquire);
        let read = tail.load(Ordering::Relaxed);
        let len = usize::try_from(written.wrapping_sub(read)).unwrap_or(usize::MAX).min(self.data_bytes);
        let start = (read as usize) & (self.data_bytes - 1);
        let first = len.min(self.data_bytes - start);
        out.reserve(len);
        // SAFETY: the data area begins one page into the mapping and is `data_bytes` long, a power of two. Both copies
        // stay within it (`start + first <= data_bytes`, `len - first <= start`), `out` has room for `len` more
        // bytes, and the kernel does not write between tail and head.
        unsafe {
            let data = self.base.add(self.page_bytes).as_ptr();
            let end = out.as_mut_ptr().add(out.len());
            std::ptr::copy_nonoverlapping(data.add(start), end, first);
            std::ptr::copy_nonoverlapping(data, end.add(first), len - first);
            out.set_len(out.len() + len);
        }
        tail.store(written, Ordering::Release);
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping that `new` made, and nothing points into it any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.data_bytes + self.page_bytes) };
    }
}

/// From which attachment the records of a thread are taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Attachment(u32),
    /// The thread ended; what else comes of it is the same told twice.
    Ended,
}

/// Rings, and the events that write to them.
pub(crate) struct Perf {
    attr: Attr,
    layout: Layout,
    rings: Vec<Ring>,
    events: Vec<OwnedFd>,
    /// The attached thread, by event.
    attachments: FxHashMap<u64, u32>,
    owners: FxHashMap<u32, Owner>,
    scratch: Vec<u8>,
    parsed: Parsed,
}

impl Perf {
    /// Makes the rings; nothing is measured yet.
    ///
    /// # Errors
    /// What the kernel says where not one ring could be made.
    pub(crate) fn new(measure: Measure) -> io::Result<Self> {
        let mut rings = Vec::new();
        for cpu in procfs::online_cpus() {
            match Ring::new(cpu) {
                Ok(ring) => rings.push(ring),
                // The processor went offline in between.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self {
            attr: measure.attr(),
            layout: measure.layout(),
            rings,
            events: Vec::new(),
            attachments: FxHashMap::default(),
            owners: FxHashMap::default(),
            scratch: Vec::new(),
            parsed: Parsed::default(),
        })
    }

    /// Begins to measure a thread and all it will give birth to.
    ///
    /// # Errors
    /// What the kernel says; the thread is then not measured at all.
    pub(crate) fn attach(&mut self, tid: u32) -> io::Result<()> {
        let mut opened = Vec::with_capacity(self.rings.len());
        for ring in &self.rings {
            let fd = match open(&self.attr, tid, i32::try_from(ring.cpu).unwrap_or(i32::MAX)) {
                Ok(fd) => fd,
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => continue,
                Err(error) => return Err(error),
            };
            let ring_fd = libc::c_ulong::try_from(ring.fd.as_raw_fd()).unwrap_or_default();
            ioctl(&fd, IOC_SET_OUTPUT, ring_fd)?;
            opened.push((event_id(&fd)?, fd));
        }
        for (id, fd) in opened {
            ioctl(&fd, IOC_ENABLE, 0)?;
            self.attachments.insert(id, tid);
            self.events.push(fd);
        }
        Ok(())
    }

    /// Stops measuring. What the rings hold stays readable.
    pub(crate) fn disable(&self) {
        for event in &self.events {
            // An event that cannot be stopped ends with its descriptor.
            let _ = ioctl(event, IOC_DISABLE, 0);
        }
    }

    /// Takes all records out of the rings, each thread's in order, threads told apart from doubles.
    pub(crate) fn drain(&mut self, out: &mut Vec<Record>) {
        let first = out.len();
        for ring in &mut self.rings {
            self.scratch.clear();
            ring.take(&mut self.scratch);
            let parsed = parse(&self.scratch, self.layout, |record| out.push(record));
            self.parsed.skipped += parsed.skipped;
            self.parsed.malformed += parsed.malformed;
            self.parsed.rest_bytes += parsed.rest_bytes;
        }
        if let Some(new) = out.get_mut(first..) {
            new.sort_by_key(|record| record.origin.time_ns);
        }
        let (attachments, owners) = (&self.attachments, &mut self.owners);
        let mut index = 0;
        out.retain(|record| {
            index += 1;
            index <= first || believed(record, attachments, owners)
        });
    }

    /// Records that could not be read, ever. Zero unless the kernel's layout is not the one we know.
    pub(crate) fn malformed(&self) -> u64 {
        self.parsed.malformed + u64::from(self.parsed.rest_bytes > 0)
    }
}

/// Whether a record is of the attachment that its thread is believed to.
fn believed(record: &Record, attachments: &FxHashMap<u64, u32>, owners: &mut FxHashMap<u32, Owner>) -> bool {
    let Some(&attachment) = attachments.get(&record.origin.event_id) else {
        // Losses are told by the ring, not by an attachment.
        return matches!(record.body, Body::Lost(_));
    };
    let owner = *owners.entry(record.origin.tid).or_insert(Owner::Attachment(attachment));
    if matches!(record.body, Body::Lost(_)) {
        return true;
    }
    if owner != Owner::Attachment(attachment) {
        return false;
    }
    match record.body {
        // The number may have been another thread's before.
        Body::Fork { tid, .. } => {
            owners.remove(&tid);
        }
        Body::Exit { tid, .. } => {
            owners.insert(tid, Owner::Ended);
        }
        _ => {}
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Origin;

    #[test]
    fn attribute_has_the_kernels_size() {
        assert_eq!(size_of::<Attr>(), 112);
        assert_eq!(std::mem::offset_of!(Attr, flags), 40);
        assert_eq!(std::mem::offset_of!(Attr, sample_regs_user), 80);
        assert_eq!(std::mem::offset_of!(Attr, clockid), 92);
    }

    #[test]
    fn a_thread_is_believed_to_one_attachment() {
        let attachments = [(1, 10), (2, 20)].into_iter().collect();
        let mut owners = FxHashMap::default();
        let mut ask = |tid, event_id, body| {
            let origin = Origin { pid: 10, tid, event_id, ..Origin::default() };
            believed(&Record { origin, body }, &attachments, &mut owners)
        };
        let switch = || Body::Switch { is_out: true, preempted: false };
        assert!(ask(30, 2, switch()));
        assert!(!ask(30, 1, switch()));
        assert!(ask(30, 2, Body::Exit { pid: 10, tid: 30 }));
        assert!(!ask(30, 1, Body::Exit { pid: 10, tid: 30 }));
        // The number is given to a new thread.
        assert!(ask(10, 1, Body::Fork { pid: 10, parent_pid: 10, tid: 30 }));
        assert!(ask(30, 1, switch()));
        assert!(!ask(30, 3, switch()));
        assert!(ask(0, 3, Body::Lost(5)));
    }
}
