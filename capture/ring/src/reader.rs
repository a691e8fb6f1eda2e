//! The reading side: the recorder, or whoever finds segments that a killed recorder left.
//!
//! Nothing that is mapped is trusted. The worst that a job can do by writing nonsense into its segment is to have
//! nonsense recorded.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::{Anchor, ClockKind};
use crate::layout::*;
use crate::{alone, sys};

/// One thread of a process: a thread id that is used again by a later thread is another instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThreadInstance {
    /// Order of the thread's first ring within the segment.
    pub serial: u64,
    /// Thread id of the kernel, as the process sees it.
    pub tid: u32,
}

/// What one thread wrote since the last call.
pub struct Batch<'a> {
    /// Whose records they are.
    pub thread: ThreadInstance,
    /// The thread's name when its ring was opened.
    pub name: &'a str,
    /// Slots in order of writing: records, each followed by its extra slots.
    pub slots: &'a [Record],
    /// Records that a full ring dropped, or that were overwritten before they were read, since the last call.
    pub lost: u64,
}

/// What became of one call of [`SegmentReader::drain`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Slots handed over.
    pub slots: u64,
    /// Records lost.
    pub lost: u64,
    /// The fullest ring, in thousandths of its slots, when it was looked at.
    pub fullest_permille: u32,
}

/// A segment that cannot be read.
#[derive(Debug)]
pub enum SegmentError {
    /// The file cannot be opened or mapped.
    Io(PathBuf, io::Error),
    /// Its maker has not finished making it, or died while making it.
    Unfinished(PathBuf),
    /// Another version of Gapless made it.
    Version(PathBuf, u32),
    /// It is no segment.
    Content(PathBuf, &'static str),
}

impl std::fmt::Display for SegmentError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SegmentError::Io(path, error) => write!(out, "cannot read the ring file: {error}: {}", path.display()),
            SegmentError::Unfinished(path) => write!(out, "the ring file is not complete yet: {}", path.display()),
            SegmentError::Version(path, version) => write!(
                out,
                "the ring file has layout {version}, this Gapless reads {VERSION}; use the same version on both sides: {}",
                path.display()
            ),
            SegmentError::Content(path, reason) => write!(out, "not a ring file ({reason}): {}", path.display()),
        }
    }
}

impl std::error::Error for SegmentError {}

struct Ring {
    serial: u64,
    base: NonNull<u8>,
    mapped: usize,
    slots: u64,
    /// Where this reader is.
    position: u64,
    /// Whether the thread had closed the ring before this reader read it to its end.
    is_done: bool,
    /// Drops already reported.
    dropped: u64,
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: mapped by this reader and used by nobody after this.
        unsafe { sys::unmap(self.base, self.mapped) };
    }
}

impl Ring {
    fn header(&self) -> &RingHeader {
        // SAFETY: the mapping begins with the ring's header and lives as long as `self`.
        unsafe { self.base.cast::<RingHeader>().as_ref() }
    }
}

/// Header, directory and strings of a segment, mapped.
struct Mapping(NonNull<u8>);

// SAFETY: shared memory that any thread may read; all that is written through it is atomic.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `SegmentReader::open` and used by nobody after this.
        unsafe { sys::unmap(self.0, RINGS_OFFSET) };
    }
}

impl Mapping {
    fn header(&self) -> &Header {
        // SAFETY: the mapping begins with the header and lives as long as `self`.
        unsafe { self.0.cast::<Header>().as_ref() }
    }
}

/// The strings of a segment, for whoever needs them while the reader hands over records.
#[derive(Clone)]
pub struct SegmentStrings(Arc<Mapping>);

impl SegmentStrings {
    /// The string with this number; `None` for 0 and for numbers that no string has.
    pub fn get(&self, id: u32) -> Option<String> {
        let published = self.0.header().strings_len.load(Ordering::Acquire).min(STRINGS_BYTES as u64);
        let at = u64::from(id) * 8;
        if id == 0 || at + 4 > published {
            return None;
        }
        // SAFETY: `at + 4` lies in the mapped area of strings; the writer does not change what is published, and a
        // hostile one can only give other bytes.
        let bytes = unsafe {
            let start = self.0.0.add(STRINGS_OFFSET + at as usize);
            let len = start.cast::<u32>().read_volatile() as u64;
            if len > MAX_STRING_BYTES as u64 || at + 4 + len > published {
                return None;
            }
            std::slice::from_raw_parts(start.add(4).as_ptr(), len as usize)
        };
        Some(String::from_utf8_lossy(bytes).into_owned())
    }
}

/// Reads one segment.
pub struct SegmentReader {
    path: PathBuf,
    file: std::os::fd::OwnedFd,
    base: Arc<Mapping>,
    clock: ClockKind,
    /// Rings by place in the directory.
    rings: Vec<Option<Ring>>,
    scratch: Vec<Record>,
    /// Positions that another reader reached, by serial.
    resume_at: std::collections::BTreeMap<u64, u64>,
}

// SAFETY: the mappings are shared memory that any thread may read.
unsafe impl Send for Ring {}

/// Slots of a spill file that are handed over at once.
const SPILLED_SLOTS: usize = 1 << 15;

/// The next slot of a file; `None` where there is no whole one.
fn read_slot(file: &mut impl io::Read) -> io::Result<Option<Record>> {
    let mut slot = Record::default();
    // SAFETY: the record is plain numbers, of which any bytes are valid, and is written to by nobody else.
    let bytes = unsafe { std::slice::from_raw_parts_mut((&raw mut slot).cast::<u8>(), size_of::<Record>()) };
    match file.read_exact(bytes) {
        Ok(()) => Ok(Some(slot)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

impl SegmentReader {
    /// Opens a segment.
    ///
    /// # Errors
    /// The file cannot be read, is not complete, or is no segment of this version.
    pub fn open(path: &Path) -> Result<SegmentReader, SegmentError> {
        let owned = || path.to_path_buf();
        let name = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| SegmentError::Content(owned(), "its path has a zero byte"))?;
        let io_error = |error| SegmentError::Io(owned(), error);
        let file = sys::open(&name, libc::O_RDWR).map_err(io_error)?;
        if sys::file_len(&file).map_err(io_error)? < RINGS_OFFSET as u64 {
            return Err(SegmentError::Unfinished(owned()));
        }
        let base = Arc::new(Mapping(sys::map(&file, 0, RINGS_OFFSET).map_err(io_error)?));
        let mut reader = SegmentReader {
            path: owned(),
            file,
            base,
            clock: ClockKind::Monotonic,
            rings: Vec::new(),
            scratch: Vec::new(),
            resume_at: Default::default(),
        };
        let header = reader.header();
        match header.magic.load(Ordering::Acquire) {
            MAGIC => {}
            0 => return Err(SegmentError::Unfinished(owned())),
            _ => return Err(SegmentError::Content(owned(), "wrong magic number")),
        }
        let version = header.version.load(Ordering::Relaxed);
        if version != VERSION {
            return Err(SegmentError::Version(owned(), version));
        }
        let clock = ClockKind::from_number(header.clock.load(Ordering::Relaxed));
        reader.clock = clock.ok_or_else(|| SegmentError::Content(owned(), "unknown clock"))?;
        Ok(reader)
    }

    /// The header, for its plain numbers.
    pub fn header(&self) -> &Header {
        self.base.header()
    }

    /// Where the segment lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The clock of all ticks.
    pub fn clock(&self) -> ClockKind {
        self.clock
    }

    /// Process id as the process itself sees it.
    pub fn pid(&self) -> u32 {
        self.header().pid.load(Ordering::Relaxed)
    }

    /// When the segment was made, and the last reading that the process took.
    pub fn anchors(&self) -> (Anchor, Anchor) {
        let header = self.header();
        (load_anchor(&header.first_anchor), load_anchor(&header.last_anchor))
    }

    /// Asks the process to record, or not. Returns whether it was asked to before.
    pub fn set_recording(&self, on: bool) -> bool {
        let control = &self.header().control;
        let before = if on {
            control.fetch_or(CONTROL_ON, Ordering::Relaxed)
        } else {
            control.fetch_and(!CONTROL_ON, Ordering::Relaxed)
        };
        before & CONTROL_ON != 0
    }

    /// Asks the process to put into its rings what device libraries still hold.
    pub fn ask_for_flush(&self) {
        self.header().control.fetch_or(CONTROL_FLUSH, Ordering::Relaxed);
    }

    /// Whether the process has not yet done so.
    pub fn is_flushing(&self) -> bool {
        self.header().control.load(Ordering::Acquire) & CONTROL_FLUSH != 0
    }

    /// The string with this number; `None` for 0 and for numbers that no string has.
    pub fn string(&self, id: u32) -> Option<String> {
        SegmentStrings(Arc::clone(&self.base)).get(id)
    }

    /// The strings, to be asked while records are handed over.
    pub fn strings(&self) -> SegmentStrings {
        SegmentStrings(Arc::clone(&self.base))
    }

    /// Hands over what was written since the last call, thread by thread in the order in which their rings were opened.
    /// The room is given back to the threads by [`commit`](Self::commit), once what was handed over is safe.
    ///
    /// A record and its extra slots are never torn apart.
    pub fn drain(&mut self, sink: &mut dyn FnMut(Batch<'_>)) -> Drained {
        let mut done = Drained::default();
        let used = (self.header().rings.load(Ordering::Acquire) as usize).min(MAX_RINGS);
        if self.rings.len() < used {
            self.rings.resize_with(used, || None);
        }
        // The directory is read first: a ring that is opened later is read later, so that rings of one thread come in
        // order even when it moves to another ring now.
        let mut waiting: Vec<(u64, usize, u32)> = (0..used)
            .filter_map(|index| {
                let entry = self.entry(index);
                let state = entry.state.load(Ordering::Acquire);
                (state == RING_LIVE || state == RING_CLOSED)
                    .then(|| (entry.serial.load(Ordering::Relaxed), index, state))
            })
            .collect();
        waiting.sort_unstable();
        let mut scratch = std::mem::take(&mut self.scratch);
        for (serial, index, state) in waiting {
            self.drain_ring(index, serial, state, &mut scratch, sink, &mut done);
        }
        self.scratch = scratch;
        done
    }

    fn entry(&self, index: usize) -> &Entry {
        debug_assert!(index < MAX_RINGS);
        // SAFETY: the directory follows the header, and `index` is below its length.
        unsafe { &*self.base.0.add(HEADER_BYTES).cast::<Entry>().add(index).as_ptr() }
    }

    fn drain_ring(
        &mut self,
        index: usize,
        serial: u64,
        state: u32,
        scratch: &mut Vec<Record>,
        sink: &mut dyn FnMut(Batch<'_>),
        done: &mut Drained,
    ) {
        let known = self.rings.get(index).and_then(|ring| ring.as_ref()).is_some_and(|ring| ring.serial == serial);
        if !known {
            let opened = self.map_ring(index, serial);
            if let Some(place) = self.rings.get_mut(index) {
                *place = opened;
            }
        }
        let overwriting = self.header().control.load(Ordering::Relaxed) & CONTROL_OVERWRITE != 0;
        let Some(ring) = self.rings.get_mut(index).and_then(|ring| ring.as_mut()) else { return };
        let head = ring.header().head.load(Ordering::Acquire);
        let mut lost = 0;
        let mut cut = false;
        if head < ring.position {
            // Not possible for an honest writer.
            ring.position = head;
        }
        if head - ring.position > ring.slots {
            lost = head - ring.position - ring.slots;
            ring.position = head - ring.slots;
            cut = true;
        }
        let filled = (head - ring.position) * 1000 / ring.slots.max(1);
        done.fullest_permille = done.fullest_permille.max(filled as u32);
        scratch.clear();
        copy_slots(ring, ring.position, head, scratch);
        if overwriting {
            // What the writer may have reached while we copied is not to be trusted.
            let now = ring.header().head.load(Ordering::Acquire);
            let safe_from = now.saturating_add(1 + MAX_EXTRA as u64).saturating_sub(ring.slots);
            if safe_from > ring.position {
                let torn = (safe_from - ring.position).min(scratch.len() as u64);
                scratch.drain(..torn as usize);
                lost = lost.saturating_add(torn);
                cut = true;
            }
        }
        if cut {
            // The first slots may be the rest of a record whose head is gone.
            let first = first_record(scratch);
            lost = lost.saturating_add(first as u64);
            scratch.drain(..first);
        }
        ring.position = head;
        // In overwriting mode a closed ring stays, so that a later dump still shows its thread.
        ring.is_done = state == RING_CLOSED && !overwriting;
        let dropped = ring.header().dropped.load(Ordering::Relaxed);
        lost = lost.saturating_add(dropped.saturating_sub(ring.dropped));
        ring.dropped = dropped;
        let entry = self.entry(index);
        if !scratch.is_empty() || lost > 0 {
            let name = thread_name(&entry.name);
            let thread = ThreadInstance {
                serial: entry.thread_serial.load(Ordering::Relaxed),
                tid: entry.tid.load(Ordering::Relaxed),
            };
            done.slots += scratch.len() as u64;
            done.lost = done.lost.saturating_add(lost);
            sink(Batch { thread, name: &name, slots: scratch, lost });
        }
    }

    /// Tells the threads that what was handed over needs no more room, and frees rings whose thread has ended.
    pub fn commit(&mut self) {
        let overwriting = self.header().control.load(Ordering::Relaxed) & CONTROL_OVERWRITE != 0;
        for index in 0..self.rings.len() {
            let Some(ring) = self.rings.get(index).and_then(|ring| ring.as_ref()) else { continue };
            if !overwriting {
                ring.header().tail.store(ring.position, Ordering::Release);
            }
            if ring.is_done {
                self.entry(index).state.store(RING_FREE, Ordering::Release);
                if let Some(place) = self.rings.get_mut(index) {
                    *place = None;
                }
            }
        }
    }

    /// How far each ring that is in use is read: serial and position.
    pub fn positions(&self) -> Vec<(u64, u64)> {
        self.rings.iter().flatten().map(|ring| (ring.serial, ring.position)).collect()
    }

    /// Goes on where another reader was when it said these [`positions`](Self::positions).
    pub fn resume(&mut self, positions: &[(u64, u64)]) {
        self.resume_at = positions.iter().copied().collect();
    }

    /// Hands over what threads wrote out by themselves ([`crate::alone`]), ring by ring in the order in which they were
    /// opened; [`drain`](Self::drain) gives what came after. To be called once, when the process has ended.
    ///
    /// # Errors
    /// A file cannot be read. What is no spill file is passed over.
    pub fn spilled(&self, sink: &mut dyn FnMut(Batch<'_>)) -> io::Result<()> {
        use std::io::Read as _;
        let used = (self.header().rings.load(Ordering::Acquire) as usize).min(MAX_RINGS);
        for path in alone::spill_files(&self.path)? {
            let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
            let mut file =
                io::BufReader::with_capacity(1 << 20, std::fs::File::from(sys::open(&path, libc::O_RDONLY)?));
            let mut header = [0; alone::SPILL_HEADER_BYTES];
            if file.read_exact(&mut header).is_err() {
                continue;
            }
            let Some(header) = alone::SpillHeader::from_bytes(&header) else { continue };
            // Of a write that was cut off nothing counts beyond the ring's tail; a ring that was given back is written whole.
            let index = (0..used).find(|&index| {
                let entry = self.entry(index);
                entry.serial.load(Ordering::Relaxed) == header.serial
                    && entry.state.load(Ordering::Acquire) != RING_FREE
            });
            let mut left = match index {
                Some(index) => {
                    self.map_ring(index, header.serial).map_or(0, |ring| ring.header().tail.load(Ordering::Acquire))
                }
                None => u64::MAX,
            };
            let thread = ThreadInstance { serial: header.thread_serial, tid: header.tid };
            let end = header.name.iter().position(|&byte| byte == 0).unwrap_or(header.name.len());
            let name = String::from_utf8_lossy(header.name.get(..end).unwrap_or_default()).into_owned();
            let mut slots = Vec::new();
            loop {
                let mut extra = 0;
                // A record and its extra slots are handed over together.
                while left > 0 && (slots.len() < SPILLED_SLOTS || extra > 0) {
                    let Some(slot) = read_slot(&mut file)? else {
                        left = 0;
                        break;
                    };
                    left -= 1;
                    extra = if extra > 0 { extra - 1 } else { usize::from(slot.extra) };
                    slots.push(slot);
                }
                if slots.is_empty() {
                    break;
                }
                sink(Batch { thread, name: &name, slots: &slots, lost: 0 });
                slots.clear();
            }
        }
        Ok(())
    }

    fn map_ring(&self, index: usize, serial: u64) -> Option<Ring> {
        let entry = self.entry(index);
        let (offset, slots) = (entry.offset.load(Ordering::Relaxed), entry.slots.load(Ordering::Relaxed));
        if !slots.is_power_of_two() || slots > 1 << 24 || !offset.is_multiple_of(sys::PAGE_BYTES as u64) {
            return None;
        }
        let mapped = RING_HEADER_BYTES + slots as usize * size_of::<Record>();
        // Reading beyond the end of a file is a SIGBUS.
        let end = offset.checked_add(mapped as u64)?;
        if offset < RINGS_OFFSET as u64 || end > sys::file_len(&self.file).ok()? {
            return None;
        }
        let base = sys::map(&self.file, offset, mapped).ok()?;
        let mut ring = Ring { serial, base, mapped, slots, position: 0, is_done: false, dropped: 0 };
        // What lies before the tail was given back by a reader before this one; what it had read beyond, it says itself.
        let tail = ring.header().tail.load(Ordering::Acquire);
        let head = ring.header().head.load(Ordering::Acquire);
        ring.position = tail.max(self.resume_at.get(&serial).copied().unwrap_or(0)).min(head);
        Some(ring)
    }
}

fn copy_slots(ring: &Ring, from: u64, to: u64, into: &mut Vec<Record>) {
    into.reserve((to - from) as usize);
    // SAFETY: the slots follow the header within the mapping; indices are masked. The writer may write a slot while it
    // is copied only in overwriting mode, and then the copy is thrown away.
    unsafe {
        let slots = ring.base.add(RING_HEADER_BYTES).cast::<Record>();
        let mut at = from;
        while at < to {
            let index = at & (ring.slots - 1);
            let run = (ring.slots - index).min(to - at) as usize;
            let source = slots.add(index as usize).as_ptr();
            let len = into.len();
            std::ptr::copy_nonoverlapping(source, into.as_mut_ptr().add(len), run);
            into.set_len(len + run);
            at += run as u64;
        }
    }
}

/// Index of the first slot from which on records follow one another to the end.
fn first_record(slots: &[Record]) -> usize {
    let plausible = |slot: &Record| slot.flags == RECORD_MARK && Kind::from_number(slot.kind).is_some();
    (0..slots.len())
        .find(|&start| {
            let mut at = start;
            let mut last = 0;
            // A handful in a row with ascending times is no accident.
            for _ in 0..8 {
                match slots.get(at) {
                    None => return at == slots.len(),
                    Some(slot) if plausible(slot) && slot.ticks >= last => {
                        last = slot.ticks;
                        at += 1 + slot.extra as usize;
                    }
                    Some(_) => return false,
                }
            }
            true
        })
        .unwrap_or(slots.len())
}

fn thread_name(words: &[AtomicU64; 2]) -> String {
    let mut bytes = [0u8; 16];
    for (target, word) in bytes.chunks_exact_mut(8).zip(words) {
        target.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
    }
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

fn load_anchor(source: &[AtomicU64; 4]) -> Anchor {
    let [ticks, monotonic_ns, realtime_ns, boottime_ns] =
        [0, 1, 2, 3].map(|index| source.get(index).map_or(0, |value: &AtomicU64| value.load(Ordering::Relaxed)));
    Anchor { ticks, monotonic_ns, realtime_ns, boottime_ns }
}

/// The bytes of `len` in the extra slots of a record.
pub fn extra_bytes(extra: &[Record], len: u64) -> &[u8] {
    let available = size_of_val(extra);
    let len = usize::try_from(len).unwrap_or(available).min(available);
    // SAFETY: records are plain bytes without padding (8 + 4 + 4 + 4 + 4 + 8), and `len` stays within them.
    unsafe { std::slice::from_raw_parts(extra.as_ptr().cast::<u8>(), len) }
}

/// The communication facts in the extra slots of a record, where they are complete.
pub fn extra_comm(extra: &[Record]) -> Option<Comm> {
    if extra.len() < COMM_SLOTS {
        return None;
    }
    // SAFETY: the slots hold at least the bytes of a `Comm`, for which any bytes are valid.
    Some(unsafe { extra.as_ptr().cast::<Comm>().read_unaligned() })
}

/// The slots that carry communication facts.
pub fn comm_slots(comm: &Comm) -> [Record; COMM_SLOTS] {
    // SAFETY: both are plain bytes of the same size.
    unsafe { std::mem::transmute_copy(comm) }
}
