//! What the writing side knows of its process: the segment, its rings and names, made on the first event and anew after
//! a fork. The threads' side is [`crate::writer`].

use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use crate::clock::ClockKind;
use crate::layout::*;
use crate::names::{self, Names};
use crate::{alone, sys, writer};

/// Variable that names the folder of the segments.
pub const RINGS_VARIABLE: &str = "GAPLESS_RINGS";
/// Variable with the most bytes that the rings of a process may take, in MiB.
pub const BUDGET_VARIABLE: &str = "GAPLESS_RING_MIB";
/// Bytes of rings a process may take where the variable is not set.
pub const DEFAULT_BUDGET_BYTES: u64 = 128 << 20;

/// Tries at the process's lock before a thread sleeps for it.
const LOCK_TRIES: u32 = 20_000;
/// Longest wait for the process's lock or for its segment. Under the lock room is made in files: memory gives it at once,
/// disks and machines with more threads than cores take longer.
const LONGEST_WAIT_NS: u64 = 2_000_000_000;
/// Sleep between two rounds of tries.
const SLEEP_NS: libc::c_long = 200_000;

/// What this process knows of itself. Made once a process, never freed: other threads may be reading it.
pub(crate) struct Process {
    pub(crate) header: NonNull<Header>,
    path: CString,
    pub(crate) clock: ClockKind,
    pub(crate) generation: u32,
    /// Thread that holds the lock; 0 for none.
    holder: AtomicU32,
    /// Whether a wait for the lock was in vain: its holder is gone, and nobody else waits long.
    is_stuck: AtomicBool,
    /// Guarded by `holder`.
    names: std::cell::UnsafeCell<Names>,
}

static PROCESS: AtomicPtr<Process> = AtomicPtr::new(null_mut());
/// 0: not yet tried, 1: trying, 2: there is a segment, 3: this process is not recorded.
static STATE: AtomicU32 = AtomicU32::new(0);
/// Thread that makes the segment, while `STATE` is 1.
static MAKER: AtomicU32 = AtomicU32::new(0);
/// Counts forks, so that numbers of the parent's strings are not used by the child. Starts at 1.
static GENERATION: AtomicU32 = AtomicU32::new(1);
/// Not a `Once`: a child that was forked while another thread ran it would wait for ever.
static HOOKED: AtomicBool = AtomicBool::new(false);
/// Events that came while the segment was made and could not wait for it.
static LOST_EARLY: AtomicU64 = AtomicU64::new(0);

pub(crate) fn process() -> Option<&'static Process> {
    match STATE.load(Ordering::Acquire) {
        // SAFETY: state 2 is set after the pointer; the process is never freed.
        2 => unsafe { PROCESS.load(Ordering::Acquire).as_ref() },
        0 => make_process(),
        1 => wait_for_process(),
        _ => None,
    }
}

/// Another thread makes the segment, which takes a fraction of a millisecond, or longer where a disk is busy: this one
/// waits, for all threads of a pool may have their first events now.
#[cold]
#[inline(never)]
fn wait_for_process() -> Option<&'static Process> {
    // A signal handler that interrupted the maker would wait for itself.
    if MAKER.load(Ordering::Relaxed) != sys::thread_id() {
        let until_ns = sys::clock_ns(libc::CLOCK_MONOTONIC) + LONGEST_WAIT_NS;
        loop {
            for tries in 0..LOCK_TRIES {
                match STATE.load(Ordering::Acquire) {
                    1 => pause(tries),
                    // SAFETY: as in `process`.
                    2 => return unsafe { PROCESS.load(Ordering::Acquire).as_ref() },
                    _ => return None,
                }
            }
            if sys::clock_ns(libc::CLOCK_MONOTONIC) >= until_ns {
                break;
            }
            sys::sleep_ns(SLEEP_NS);
        }
    }
    LOST_EARLY.fetch_add(1, Ordering::Relaxed);
    None
}

fn pause(tries: u32) {
    if tries % 64 == 63 {
        std::thread::yield_now();
    } else {
        std::hint::spin_loop();
    }
}

#[cold]
#[inline(never)]
fn make_process() -> Option<&'static Process> {
    // Before anything else: a child that is forked while its parent is at it must know that it is one.
    let is_wanted = [RINGS_VARIABLE, alone::RECORDING_VARIABLE].iter().any(|name| std::env::var_os(name).is_some());
    if is_wanted && !HOOKED.swap(true, Ordering::Relaxed) {
        writer::install_hooks();
    }
    if STATE.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Acquire).is_err() {
        return wait_for_process();
    }
    MAKER.store(sys::thread_id(), Ordering::Relaxed);
    match Process::make() {
        Some(process) => {
            PROCESS.store(Box::into_raw(Box::new(process)), Ordering::Release);
            STATE.store(2, Ordering::Release);
            // SAFETY: just stored.
            let process = unsafe { PROCESS.load(Ordering::Acquire).as_ref() };
            if let Some(process) = process {
                // SAFETY: as in `is_active`.
                let header = unsafe { process.header.as_ref() };
                header.dropped_without_ring.fetch_add(LOST_EARLY.swap(0, Ordering::Relaxed), Ordering::Relaxed);
            }
            process
        }
        None => {
            STATE.store(3, Ordering::Release);
            None
        }
    }
}

pub(crate) fn store_anchor(target: &[AtomicU64; 4], clock: ClockKind) {
    let anchor = clock.anchor();
    let values = [anchor.ticks, anchor.monotonic_ns, anchor.realtime_ns, anchor.boottime_ns];
    for (place, value) in target.iter().zip(values) {
        place.store(value, Ordering::Relaxed);
    }
}

/// A forked child is recorded where its parent is, even if the parent has cleared its environment.
fn parents_folder() -> Option<std::ffi::OsString> {
    // SAFETY: what this points to is never freed; before the first fork it is null.
    let parent = unsafe { PROCESS.load(Ordering::Acquire).as_ref() }?;
    let path = parent.path.to_bytes();
    let end = path.iter().rposition(|&byte| byte == b'/')?;
    path.get(..end).map(|folder| std::ffi::OsString::from_vec(folder.to_vec()))
}

/// Start time of this process in clock ticks since boot: field 22 of `/proc/self/stat`.
fn start_time() -> u64 {
    let Ok(text) = std::fs::read("/proc/self/stat") else { return 0 };
    // The second field may hold spaces and brackets; the last bracket ends it.
    let Some(end) = text.iter().rposition(|&byte| byte == b')') else { return 0 };
    let rest = text.get(end + 1..).unwrap_or_default();
    let field = rest.split(|&byte| byte == b' ').filter(|field| !field.is_empty()).nth(19);
    field.and_then(|field| std::str::from_utf8(field).ok()).and_then(|field| field.parse().ok()).unwrap_or(0)
}

impl Process {
    fn make() -> Option<Process> {
        let folder = std::env::var_os(RINGS_VARIABLE).filter(|folder| !folder.is_empty());
        let folder = folder.or_else(parents_folder).or_else(alone::rings_folder)?;
        let budget_bytes = std::env::var(BUDGET_VARIABLE)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
            .map_or(DEFAULT_BUDGET_BYTES, |mib| mib << 20);
        let clock = ClockKind::best();
        // SAFETY: takes nothing and cannot fail.
        let (pid, parent) = unsafe { (libc::getpid() as u32, libc::getppid() as u32) };
        let mut path = folder.into_vec();
        // The boot clock tells the programs apart that one process runs one after the other by exec.
        path.extend(format!("/{pid}-{:x}{FILE_SUFFIX}", sys::clock_ns(libc::CLOCK_BOOTTIME)).into_bytes());
        let path = CString::new(path).ok()?;
        let file = sys::open(&path, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL).ok()?;
        let made = (|| {
            sys::set_len(&file, RINGS_OFFSET as u64)?;
            sys::reserve(&file, 0, (HEADER_BYTES + DIRECTORY_STEP) as u64)?;
            sys::map(&file, 0, RINGS_OFFSET)
        })();
        let Ok(base) = made else {
            // SAFETY: the path is the one just made. An empty segment would only puzzle the recorder.
            unsafe { libc::unlink(path.as_ptr()) };
            return None;
        };
        let header: NonNull<Header> = base.cast();
        {
            // SAFETY: the header was just mapped and is zero, which is valid for atomics.
            let header = unsafe { header.as_ref() };
            header.version.store(VERSION, Ordering::Relaxed);
            header.pid.store(pid, Ordering::Relaxed);
            header.parent_pid.store(parent, Ordering::Relaxed);
            header.clock.store(clock.number(), Ordering::Relaxed);
            header.start_time.store(start_time(), Ordering::Relaxed);
            header.file_end.store(RINGS_OFFSET as u64, Ordering::Relaxed);
            header.budget_bytes.store(budget_bytes, Ordering::Relaxed);
            let control = initial_control();
            header.control.store(control, Ordering::Relaxed);
            store_anchor(&header.first_anchor, clock);
            store_anchor(&header.last_anchor, clock);
        }
        let process = Process {
            header,
            path,
            clock,
            generation: GENERATION.load(Ordering::Relaxed),
            holder: AtomicU32::new(0),
            is_stuck: AtomicBool::new(false),
            names: std::cell::UnsafeCell::new(Names::new().ok()?),
        };
        // SAFETY: as above. What the process is stands here and not only in /proc: it may be gone in a moment.
        let header = unsafe { header.as_ref() };
        let command = std::fs::read("/proc/self/cmdline").unwrap_or_default();
        header.command.store(process.name_id(&command, names::hash(&command)), Ordering::Relaxed);
        let variables: Vec<String> = JOB_VARIABLES
            .iter()
            .filter_map(|name| std::env::var(name).ok().map(|value| format!("{name}={value}")))
            .collect();
        let variables = variables.join("\n");
        header
            .variables
            .store(process.name_id(variables.as_bytes(), names::hash(variables.as_bytes())), Ordering::Relaxed);
        header.magic.store(MAGIC, Ordering::Release);
        Some(process)
    }

    /// The lock for names and rings. Its holder may make room on a disk or stand behind other threads, so this waits, up
    /// to [`LONGEST_WAIT_NS`]; a thread that gets no ring now gets none later, and thousands may begin at once.
    fn lock(&self) -> Option<Locked<'_>> {
        let own = sys::thread_id();
        let mut until_ns = 0;
        loop {
            for tries in 0..LOCK_TRIES {
                match self.holder.compare_exchange_weak(0, own, Ordering::Acquire, Ordering::Relaxed) {
                    Ok(_) => {
                        self.is_stuck.store(false, Ordering::Relaxed);
                        return Some(Locked { process: self });
                    }
                    // This is a signal handler, and what it interrupted holds the lock.
                    Err(holder) if holder == own => return None,
                    Err(_) => pause(tries),
                }
            }
            let now_ns = sys::clock_ns(libc::CLOCK_MONOTONIC);
            if until_ns == 0 {
                until_ns = now_ns + LONGEST_WAIT_NS;
            }
            if now_ns >= until_ns || self.is_stuck.load(Ordering::Relaxed) {
                self.is_stuck.store(true, Ordering::Relaxed);
                return None;
            }
            sys::sleep_ns(SLEEP_NS);
        }
    }

    /// Path of the segment.
    pub(crate) fn path(&self) -> &CStr {
        &self.path
    }

    /// Whether rings have taken half of what they may.
    pub(crate) fn is_half_used(&self) -> bool {
        // SAFETY: as in `is_active`.
        let header = unsafe { self.header.as_ref() };
        let used = header.file_end.load(Ordering::Relaxed).saturating_sub(RINGS_OFFSET as u64);
        used > header.budget_bytes.load(Ordering::Relaxed) / 2
    }

    /// Lets another thread take a ring whose slots are all written out.
    pub(crate) fn give_back_ring(&self, entry: &Entry) {
        if let Some(_locked) = self.lock() {
            entry.state.store(RING_FREE, Ordering::Release);
        }
    }

    /// The file, opened anew: a job may close descriptors that it does not know, and their numbers go to others.
    fn file(&self) -> io::Result<std::os::fd::OwnedFd> {
        sys::open(self.path.as_c_str(), libc::O_RDWR)
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn name_id(&self, bytes: &[u8], hash: u64) -> u32 {
        // SAFETY: the segment stays mapped; the strings follow the directory.
        let (header, strings) = unsafe { (self.header.as_ref(), self.header.cast::<u8>().add(STRINGS_OFFSET)) };
        let id = self.lock().and_then(|locked| {
            let reserve = |offset, len| sys::reserve(&self.file()?, offset, len);
            // SAFETY: the lock is held, so this is the only reference to the table.
            let names = unsafe { &mut *locked.process.names.get() };
            names.id(header, strings, bytes, hash, &reserve)
        });
        id.unwrap_or_else(|| {
            header.names_lost.fetch_add(1, Ordering::Relaxed);
            0
        })
    }

    fn entry(&self, index: u32) -> Option<&Entry> {
        if index as usize >= MAX_RINGS {
            return None;
        }
        // SAFETY: the directory follows the header and has MAX_RINGS entries.
        Some(unsafe { &*self.header.cast::<u8>().add(HEADER_BYTES).cast::<Entry>().add(index as usize).as_ptr() })
    }

    /// A ring of this many slots: one that is free, else a new one.
    pub(crate) fn take_ring(&self, slots: u64, thread_serial: u64) -> Option<(&Entry, NonNull<u8>, usize)> {
        let _locked = self.lock()?;
        // SAFETY: as in `is_active`.
        let header = unsafe { self.header.as_ref() };
        let used = header.rings.load(Ordering::Relaxed);
        let mapped = RING_HEADER_BYTES + (slots as usize) * size_of::<Record>();
        let file = self.file().ok()?;
        let free = (0..used).filter_map(|index| self.entry(index)).find(|entry| {
            entry.state.load(Ordering::Acquire) == RING_FREE && entry.slots.load(Ordering::Relaxed) == slots
        });
        let entry = match free {
            Some(entry) => entry,
            None => {
                let entry = self.entry(used)?;
                if (used as usize * ENTRY_BYTES).is_multiple_of(DIRECTORY_STEP) {
                    sys::reserve(&file, (HEADER_BYTES + used as usize * ENTRY_BYTES) as u64, DIRECTORY_STEP as u64)
                        .ok()?;
                }
                let offset = header.file_end.load(Ordering::Relaxed);
                let end = offset + mapped as u64;
                if end - RINGS_OFFSET as u64 > header.budget_bytes.load(Ordering::Relaxed) {
                    return None;
                }
                sys::reserve(&file, offset, mapped as u64).ok()?;
                header.file_end.store(end, Ordering::Relaxed);
                entry.offset.store(offset, Ordering::Relaxed);
                entry.slots.store(slots, Ordering::Relaxed);
                entry
            }
        };
        let base = sys::map(&file, entry.offset.load(Ordering::Relaxed), mapped).ok();
        if let Some(base) = base {
            // SAFETY: the ring was just mapped; its header is atomics.
            let ring = unsafe { base.cast::<RingHeader>().as_ref() };
            ring.head.store(0, Ordering::Relaxed);
            ring.tail.store(0, Ordering::Relaxed);
            ring.dropped.store(0, Ordering::Relaxed);
            let serial = header.serial.fetch_add(1, Ordering::Relaxed) + 1;
            entry.tid.store(sys::thread_id(), Ordering::Relaxed);
            entry.serial.store(serial, Ordering::Relaxed);
            entry.thread_serial.store(if thread_serial == 0 { serial } else { thread_serial }, Ordering::Relaxed);
            let name = sys::thread_name();
            for (place, half) in entry.name.iter().zip(name.chunks_exact(8)) {
                let mut word = [0u8; 8];
                word.copy_from_slice(half);
                place.store(u64::from_le_bytes(word), Ordering::Relaxed);
            }
            entry.state.store(RING_LIVE, Ordering::Release);
        }
        if free.is_none() {
            // Even a ring that could not be mapped has its place in the file now; another thread may take it.
            header.rings.store(used + 1, Ordering::Release);
        }
        // A thread that starts is a good moment for another reading of the clocks.
        store_anchor(&header.last_anchor, self.clock);
        base.map(|base| (entry, base, mapped))
    }
}

/// Bytes of the directory that get storage at a time.
const DIRECTORY_STEP: usize = 64 << 10;

/// Whether recording starts at once: `GAPLESS_START=off` waits for the recorder, `GAPLESS_RING_POLICY=overwrite` keeps
/// the newest records of a full ring instead of the oldest.
fn initial_control() -> u32 {
    let mut control = CONTROL_ON;
    if std::env::var_os("GAPLESS_START").is_some_and(|value| value == "off") {
        control = 0;
    }
    // Where there is no recorder, nobody could ask for what a ring holds.
    let may_overwrite = !alone::is_alone();
    if may_overwrite && std::env::var_os("GAPLESS_RING_POLICY").is_some_and(|value| value == "overwrite") {
        control |= CONTROL_OVERWRITE;
    }
    control
}

struct Locked<'a> {
    process: &'a Process,
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.process.holder.store(0, Ordering::Release);
    }
}

/// Whether there is a segment.
pub(crate) fn is_made() -> bool {
    STATE.load(Ordering::Acquire) == 2
}

/// A forked child has its parent's mappings and its parent's numbers: it must start a segment of its own.
pub(crate) fn begin_anew() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    // A process that was not to be recorded has no recorded children either; one in the middle of making tries anew.
    if STATE.load(Ordering::Relaxed) != 3 {
        STATE.store(0, Ordering::Release);
    }
}
