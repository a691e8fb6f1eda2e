//! The writing side, inside the job: one segment a process, one ring a thread.
//!
//! The hot path ([`Thread::push`], [`Thread::pop`]) reads the clock, writes one slot and publishes it. All else is in
//! cold functions: making the segment, taking a ring, growing it, learning a name.
//!
//! Invariant: a range whose begin is in the ring gets its end in too. A begin is only written where room for the ends
//! of all open ranges is left; when a begin is dropped, what lies inside it is dropped and counted with it.

use std::cell::Cell;
use std::ffi::CStr;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU32, Ordering, fence};

use crate::alone;
use crate::clock::ClockKind;
use crate::facts::Facts;
use crate::layout::*;
use crate::names::{self, Registered};
use crate::process::{self, Process, process, store_anchor};
pub use crate::process::{BUDGET_VARIABLE, DEFAULT_BUDGET_BYTES, RINGS_VARIABLE};
use crate::sys;

/// Slots of a thread's first ring while the process has few threads, and when it has many.
const FIRST_SLOTS: u64 = 2048;
const FIRST_SLOTS_OF_MANY: u64 = 256;
const MANY_RINGS: u32 = 256;
/// Slots of a thread's ring where it overwrites: it never grows, it holds what a dump will show.
const FIRST_SLOTS_OVERWRITING: u64 = 1 << 15;
/// Slots of a thread's ring where its own thread writes it out: it never grows either, and the thread stops for as long as
/// the write takes.
const FIRST_SLOTS_ALONE: u64 = 1 << 13;
const MANY_RINGS_ALONE: u32 = 64;
/// A full ring is followed by one this much larger, up to [`MAX_SLOTS`].
const GROWTH: u64 = 4;
const MAX_SLOTS: u64 = 1 << 19;
/// Names that a thread remembers by hash.
const CACHE_PLACES: usize = 512;
/// Domains whose depth a thread knows at a time.
const DOMAINS: usize = 8;
/// Records that are dropped without another try at more memory once there was none.
const REFUSED: u32 = 1024;

static EXIT_KEY: AtomicU32 = AtomicU32::new(u32::MAX);

thread_local! {
    /// The calling thread's writer; null before its first event, [`NONE`] where it can have none.
    static THREAD: Cell<*mut Thread> = const { Cell::new(null_mut()) };
}

/// Stands for "this thread gets no ring".
const NONE: *mut Thread = std::ptr::dangling_mut();

#[derive(Clone, Copy)]
#[repr(C)]
struct Cached {
    hash: u64,
    id: u64,
}

/// The writer of one thread, in memory of its own.
pub struct Thread {
    slots: *mut Record,
    ring: *mut RingHeader,
    /// Slots of the ring; a power of two.
    capacity: u64,
    head: u64,
    /// The reader's position when it was last looked at.
    tail: u64,
    /// Ranges of this thread whose begin is in a ring and whose end is not.
    open: u64,
    /// Ranges whose begin was dropped and that are still open.
    lost: u64,
    control: *const AtomicU32,
    process: *const Process,
    clock: ClockKind,
    generation: u32,
    entry: *const Entry,
    mapped: usize,
    thread_serial: u64,
    /// Records to drop before the next try at a larger ring.
    refused: u32,
    /// Ids given by [`Thread::new_id`].
    ids: u64,
    /// Open ranges by domain, recorded or lost.
    depths: [(u32, u32); DOMAINS],
    cache: [Cached; CACHE_PLACES],
}

/// Whether this process is being recorded now. Makes the segment on the first call.
pub fn is_active() -> bool {
    process().is_some_and(|process| {
        // SAFETY: the header stays mapped as long as the process lives.
        unsafe { process.header.as_ref() }.control.load(Ordering::Relaxed) & CONTROL_ON != 0
    })
}

/// Whether this process has a segment, whether or not recording is on. Makes it on the first call.
pub fn is_recorded() -> bool {
    process().is_some()
}

/// The time now in the segment's ticks, or 0 where nothing is recorded.
pub fn ticks() -> u64 {
    process().map_or(0, |process| process.clock.ticks())
}

/// Notes that a source has called in (`SOURCE_` bits).
pub fn note_source(bit: u32) {
    if let Some(process) = process() {
        // SAFETY: as in `is_active`.
        unsafe { process.header.as_ref() }.sources.fetch_or(bit, Ordering::Relaxed);
    }
}

/// Whether the recorder asks for what device libraries still hold.
pub fn is_flush_asked() -> bool {
    process::is_made()
        && process().is_some_and(|process| {
            // SAFETY: as in `is_active`.
            unsafe { process.header.as_ref() }.control.load(Ordering::Relaxed) & CONTROL_FLUSH != 0
        })
}

/// Says that what was asked for is in the rings.
pub fn flush_done() {
    if let Some(process) = process() {
        // SAFETY: as in `is_active`. Whoever sees the bit gone sees the records.
        unsafe { process.header.as_ref() }.control.fetch_and(!CONTROL_FLUSH, Ordering::Release);
    }
}

/// Switches recording of this process.
pub fn set_recording(on: bool) {
    if let Some(process) = process() {
        // SAFETY: as in `is_active`.
        let control = &unsafe { process.header.as_ref() }.control;
        if on {
            control.fetch_or(CONTROL_ON, Ordering::Relaxed);
        } else {
            control.fetch_and(!CONTROL_ON, Ordering::Relaxed);
        }
    }
}

/// To be called when the process ends in order: takes a last reading of the clocks.
pub fn finish() {
    if !process::is_made() {
        return;
    }
    if let Some(process) = process() {
        // SAFETY: as in `is_active`.
        let header = unsafe { process.header.as_ref() };
        store_anchor(&header.last_anchor, process.clock);
        header.finished.store(1, Ordering::Release);
    }
}

/// Runs `act` with the calling thread's writer, or not at all where nothing is recorded.
#[inline(always)]
pub fn with<R>(act: impl FnOnce(&mut Thread) -> R) -> Option<R> {
    let mut thread = THREAD.get();
    if (thread as usize) <= NONE as usize {
        thread = first_event(thread)?.as_ptr();
    }
    // SAFETY: a pointer above NONE is this thread's own writer, made by `first_event` and alive until the thread ends;
    // nobody else has it. `act` cannot come here again with the same writer, as no code of the job runs inside it.
    let thread = unsafe { &mut *thread };
    // SAFETY: the control word lies in the segment's header.
    if unsafe { &*thread.control }.load(Ordering::Relaxed) & CONTROL_ON == 0 {
        // Ranges that were open when recording stopped would swallow the first ends after it starts again.
        if thread.open != 0 || thread.lost != 0 {
            thread.forget_open();
        }
        return None;
    }
    Some(act(thread))
}

/// As [`with`], also while recording is switched off: for the rare records by which the recorder knows the job, steps and
/// facts.
pub fn with_even_if_off<R>(act: impl FnOnce(&mut Thread) -> R) -> Option<R> {
    let mut thread = THREAD.get();
    if (thread as usize) <= NONE as usize {
        thread = make_thread(thread, process()?)?.as_ptr();
    }
    // SAFETY: as in `with`.
    Some(act(unsafe { &mut *thread }))
}

#[cold]
#[inline(never)]
fn first_event(thread: *mut Thread) -> Option<NonNull<Thread>> {
    let process = process()?;
    // SAFETY: as in `is_active`.
    let header = unsafe { process.header.as_ref() };
    if header.control.load(Ordering::Relaxed) & CONTROL_ON == 0 {
        return None;
    }
    make_thread(thread, process)
}

fn make_thread(thread: *mut Thread, process: &'static Process) -> Option<NonNull<Thread>> {
    // SAFETY: as in `is_active`.
    let header = unsafe { process.header.as_ref() };
    if thread == NONE {
        header.dropped_without_ring.fetch_add(1, Ordering::Relaxed);
        return None;
    }
    match Thread::make(process) {
        Some(made) => {
            THREAD.set(made.as_ptr());
            let key = EXIT_KEY.load(Ordering::Relaxed);
            if key != u32::MAX {
                // SAFETY: the key was made by `install_hooks`.
                unsafe { libc::pthread_setspecific(key, made.as_ptr().cast()) };
            }
            Some(made)
        }
        None => {
            THREAD.set(NONE);
            header.dropped_without_ring.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

/// What is to be done when the process forks and when a thread ends.
pub(crate) fn install_hooks() {
    // SAFETY: the handlers are plain functions of this image, which its owner pins.
    unsafe {
        let mut key: libc::pthread_key_t = 0;
        if libc::pthread_key_create(&mut key, Some(thread_ends)) == 0 {
            EXIT_KEY.store(key, Ordering::Relaxed);
        }
        libc::pthread_atfork(None, None, Some(after_fork_in_child));
    }
}

unsafe extern "C" fn after_fork_in_child() {
    THREAD.set(null_mut());
    let key = EXIT_KEY.load(Ordering::Relaxed);
    if key != u32::MAX {
        // SAFETY: the key is ours.
        unsafe { libc::pthread_setspecific(key, null_mut()) };
    }
    process::begin_anew();
}

unsafe extern "C" fn thread_ends(value: *mut libc::c_void) {
    let thread: *mut Thread = value.cast();
    if (thread as usize) <= NONE as usize {
        return;
    }
    THREAD.set(null_mut());
    // SAFETY: the value was set by `first_event` of this thread, which now ends.
    unsafe {
        let (process, entry) = (&*(*thread).process, &*(*thread).entry);
        // Without a recorder nobody else frees the ring, and jobs may start any number of threads; a file for each of them
        // is made only where rings get scarce. Losses are counted in the ring, so one that has any stays.
        let is_written = alone::is_alone()
            && process.is_half_used()
            && (*(*thread).ring).dropped.load(Ordering::Relaxed) == 0
            && (*thread).spill();
        (*thread).close();
        if is_written {
            process.give_back_ring(entry);
        }
        if let Some(memory) = NonNull::new(thread.cast::<u8>()) {
            sys::unmap(memory, size_of::<Thread>());
        }
    }
}

impl Thread {
    fn make(process: &'static Process) -> Option<NonNull<Thread>> {
        // SAFETY: as in `is_active`.
        let header = unsafe { process.header.as_ref() };
        let rings = header.rings.load(Ordering::Relaxed);
        let overwriting = header.control.load(Ordering::Relaxed) & CONTROL_OVERWRITE != 0;
        let (first, many) = match (alone::is_alone(), overwriting) {
            (true, _) => (FIRST_SLOTS_ALONE, MANY_RINGS_ALONE),
            (false, true) => (FIRST_SLOTS_OVERWRITING, MANY_RINGS),
            (false, false) => (FIRST_SLOTS, MANY_RINGS),
        };
        let slots = if rings >= many { FIRST_SLOTS_OF_MANY } else { first };
        let (entry, base, mapped) =
            process.take_ring(slots, 0).or_else(|| process.take_ring(FIRST_SLOTS_OF_MANY, 0))?;
        let memory: NonNull<Thread> = sys::map_private(size_of::<Thread>()).ok()?.cast();
        // SAFETY: the memory is large enough, aligned to a page, and nobody else's. The ring's slots follow its header.
        unsafe {
            memory.write(Thread {
                slots: base.add(RING_HEADER_BYTES).cast().as_ptr(),
                ring: base.cast().as_ptr(),
                capacity: entry.slots.load(Ordering::Relaxed),
                head: 0,
                tail: 0,
                open: 0,
                lost: 0,
                control: &header.control,
                process,
                clock: process.clock,
                generation: process.generation,
                entry,
                mapped,
                thread_serial: entry.thread_serial.load(Ordering::Relaxed),
                refused: 0,
                ids: 0,
                depths: [(0, 0); DOMAINS],
                cache: [Cached { hash: 0, id: 0 }; CACHE_PLACES],
            });
        }
        Some(memory)
    }

    /// The number of a name.
    #[inline(always)]
    pub fn name(&mut self, bytes: &[u8]) -> u32 {
        let hash = names::hash(bytes);
        let index = hash as usize & (CACHE_PLACES - 1);
        // The index is masked to the table's size, so the check folds away.
        if let Some(cached) = self.cache.get(index)
            && cached.hash == hash
        {
            return cached.id as u32;
        }
        // SAFETY: processes are never freed.
        let id = unsafe { &*self.process }.name_id(bytes, hash);
        if id != 0
            && let Some(cached) = self.cache.get_mut(index)
        {
            *cached = Cached { hash, id: u64::from(id) };
        }
        id
    }

    /// The number of a C string; 0 for null.
    ///
    /// # Safety
    /// `text` is null or points to a NUL-terminated string.
    #[inline(always)]
    pub unsafe fn c_name(&mut self, text: *const libc::c_char) -> u32 {
        if text.is_null() {
            return 0;
        }
        // SAFETY: by this function's own contract.
        self.name(unsafe { CStr::from_ptr(text) }.to_bytes())
    }

    /// The number of a registered name.
    #[inline(always)]
    pub fn registered(&mut self, name: &Registered) -> u32 {
        let generation = self.generation;
        name.id(generation, |bytes| self.name(bytes))
    }

    /// Ranges of this thread that are open now, recorded or lost.
    #[inline(always)]
    pub fn depth(&self) -> u64 {
        self.open + self.lost
    }

    /// Ticks of the segment's clock, now.
    #[inline(always)]
    pub fn now(&self) -> u64 {
        self.clock.ticks()
    }

    /// Which process this is, counted in forks from 1: what was told to one segment must be told anew to the next.
    #[inline(always)]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// An id for a [`Kind::Start`] that no other thread of the process gives; never 0.
    #[inline(always)]
    pub fn new_id(&mut self) -> u64 {
        self.ids += 1;
        self.thread_serial << 40 | self.ids
    }

    /// A range of this domain begins: how many of the domain's ranges are open around it. `None` where the thread has
    /// open ranges in more domains than are counted.
    #[inline(always)]
    pub fn enter(&mut self, domain: u32) -> Option<u32> {
        for (known, depth) in &mut self.depths {
            if *known == domain {
                *depth += 1;
                return Some(*depth - 1);
            }
        }
        let (known, depth) = self.depths.iter_mut().find(|(_, depth)| *depth == 0)?;
        (*known, *depth) = (domain, 1);
        Some(0)
    }

    /// The domain's innermost range ends: how many are open around it, `None` where none was open.
    #[inline(always)]
    pub fn leave(&mut self, domain: u32) -> Option<u32> {
        let (_, depth) = self.depths.iter_mut().find(|(known, depth)| *known == domain && *depth > 0)?;
        *depth -= 1;
        Some(*depth)
    }

    /// A range begins. `record.ticks` is filled here.
    #[inline(always)]
    pub fn push(&mut self, record: Record) {
        self.push_with(record, &[]);
    }

    /// A range begins, with slots that belong to its record. Whether it got in.
    #[inline(always)]
    pub fn push_with(&mut self, record: Record, extra: &[Record]) -> bool {
        // Room for this begin, its end, and the ends of all that is open.
        let slots = 1 + extra.len() as u64;
        if self.lost > 0 || !self.has_room(slots + 1 + self.open) {
            self.lost += 1;
            self.drop_one();
            return false;
        }
        self.open += 1;
        self.write(record, extra);
        true
    }

    /// A range begins, with facts about it. All get in, or the range alone, or nothing.
    pub fn push_facts(&mut self, record: Record, facts: &mut Facts<'_>) {
        if !self.has_room(2 + facts.slots() + self.open) {
            self.drop_many(facts.records());
            facts.clear();
        }
        if self.lost > 0 || !self.has_room(2 + facts.slots() + self.open) {
            self.lost += 1;
            self.drop_many(1 + facts.records());
            return;
        }
        self.open += 1;
        self.write_group(record, facts);
    }

    /// Anything that is not the begin of a nested range, with facts about it.
    pub fn put_facts(&mut self, record: Record, facts: &mut Facts<'_>) {
        if !self.has_room(1 + facts.slots() + self.open) {
            self.drop_many(facts.records());
            facts.clear();
        }
        if !self.has_room(1 + facts.slots() + self.open) {
            self.drop_one();
            return;
        }
        self.write_group(record, facts);
    }

    /// The innermost range of this domain ends, with facts that are known only now.
    pub fn pop_facts(&mut self, domain: u32, facts: &mut Facts<'_>) {
        let others = self.open.saturating_sub(1);
        if self.lost > 0 || !self.has_room(1 + facts.slots() + others) {
            self.drop_many(facts.records());
            facts.clear();
        }
        if facts.is_empty() || self.open == 0 && !self.has_room(1 + facts.slots()) {
            self.pop_in(domain);
            return;
        }
        self.open = others;
        self.write_group(Record { kind: Kind::Pop as u8, domain, ..Record::default() }, facts);
    }

    /// The innermost range ends.
    #[inline(always)]
    pub fn pop(&mut self) {
        self.pop_in(0);
    }

    /// The innermost range of this domain ends.
    #[inline(always)]
    pub fn pop_in(&mut self, domain: u32) {
        if self.lost > 0 {
            self.lost -= 1;
            return;
        }
        // An end without a begin is from before recording, or from before a fork: it says something, so it goes in,
        // but has no room kept for it.
        if self.open > 0 {
            self.open -= 1;
        } else if !self.has_room(1) {
            self.drop_one();
            return;
        }
        self.write(Record { kind: Kind::Pop as u8, domain, ..Record::default() }, &[]);
    }

    /// Anything that is not the begin or end of a nested range. Whether it got in.
    #[inline(always)]
    pub fn put(&mut self, record: Record, extra: &[Record]) -> bool {
        if !self.has_room(1 + extra.len() as u64 + self.open) {
            self.drop_one();
            return false;
        }
        self.write(record, extra);
        true
    }

    /// A record with bytes that belong to it, at most 255 slots of them (8,160 bytes); the rest is cut. Whether it got
    /// in.
    pub fn put_bytes(&mut self, record: Record, bytes: &[u8]) -> bool {
        let mut slots = [Record::default(); MAX_EXTRA];
        let kept = bytes.get(..MAX_EXTRA * size_of::<Record>()).unwrap_or(bytes);
        // SAFETY: the slots are at least as long as `kept`, and any bytes are a valid record.
        unsafe { std::ptr::copy_nonoverlapping(kept.as_ptr(), slots.as_mut_ptr().cast::<u8>(), kept.len()) };
        let used = kept.len().div_ceil(size_of::<Record>());
        let record = Record { payload: kept.len() as u64, ..record };
        self.put(record, slots.get(..used).unwrap_or_default())
    }

    /// Whether so many slots can be written now, in a larger ring if need be: for a thread that can wait for the reader.
    #[inline(always)]
    pub fn can_take(&mut self, slots: u64) -> bool {
        self.has_room(slots + self.open)
    }

    /// Counts records that were not written.
    pub fn note_dropped(&mut self, records: u64) {
        self.drop_many(records);
    }

    #[inline(always)]
    fn has_room(&mut self, slots: u64) -> bool {
        self.head + slots <= self.tail + self.capacity || self.make_room(slots)
    }

    #[inline(always)]
    fn write(&mut self, record: Record, extra: &[Record]) {
        let mask = self.capacity - 1;
        let record = Record { ticks: self.clock.ticks(), extra: extra.len() as u8, flags: RECORD_MARK, ..record };
        // SAFETY: the masked index lies within the ring, which stays mapped while this writer lives. In overwriting
        // mode the reader may look at a slot that is being written; it throws such slots away.
        unsafe {
            self.slots.add((self.head & mask) as usize).write(record);
            for (index, slot) in extra.iter().enumerate() {
                self.slots.add(((self.head + 1 + index as u64) & mask) as usize).write(*slot);
            }
            self.head += 1 + extra.len() as u64;
            (*self.ring).head.store(self.head, Ordering::Release);
        }
    }

    /// A record and facts about it: published together, so that no fact goes to another record.
    fn write_group(&mut self, record: Record, facts: &Facts<'_>) {
        let mask = self.capacity - 1;
        let ticks = self.clock.ticks();
        let slots = self.slots;
        let mut head = self.head;
        let mut write = |slot: Record| {
            // SAFETY: as in `write`.
            unsafe { slots.add((head & mask) as usize).write(slot) };
            head += 1;
        };
        write(Record { ticks, extra: 0, flags: RECORD_MARK, ..record });
        facts.write(ticks, write);
        self.head = head;
        // SAFETY: the ring stays mapped while this writer lives.
        unsafe { (*self.ring).head.store(self.head, Ordering::Release) };
    }

    /// Room for this many slots where the last look at the reader's position said there is none.
    #[cold]
    #[inline(never)]
    fn make_room(&mut self, slots: u64) -> bool {
        // SAFETY: the ring stays mapped while this writer lives.
        let (control, tail) =
            unsafe { ((*self.control).load(Ordering::Relaxed), (*self.ring).tail.load(Ordering::Acquire)) };
        if control & CONTROL_OVERWRITE != 0 {
            // The oldest records go. What is read and what is lost is the reader's to find out.
            if slots > self.capacity {
                return false;
            }
            // A good piece of them at once, as this is not the fast way.
            let room = (slots + self.capacity / 16).min(self.capacity);
            self.tail = self.tail.max(tail.min(self.head)).max((self.head + room).saturating_sub(self.capacity));
            return true;
        }
        if alone::is_alone() {
            return self.spill() && self.head + slots <= self.tail + self.capacity;
        }
        // A job can only harm itself by writing nonsense here, but not make us run past the ring.
        self.tail = tail.min(self.head);
        if self.head + slots <= self.tail + self.capacity {
            // The reader keeps up only just: a larger ring now costs less than records lost in the next burst.
            if self.head - self.tail < self.capacity / 2 {
                return true;
            }
            self.grow(slots);
            return self.head + slots <= self.tail + self.capacity;
        }
        self.grow(slots)
    }

    /// Writes the ring out, where there is no recorder to do so, and gives its room back. Whether that was done.
    fn spill(&mut self) -> bool {
        // Finding out that there is no room on the disk takes system calls.
        if self.refused > 0 {
            self.refused -= 1;
            return false;
        }
        let mask = self.capacity - 1;
        let (from, until) = ((self.tail & mask) as usize, (self.head & mask) as usize);
        let (first, second) = match (self.head - self.tail, from < until) {
            (0, _) => return true,
            (_, true) => (from..until, 0..0),
            (_, false) => (from..self.capacity as usize, 0..until),
        };
        // SAFETY: entry and process are mapped or never freed; the slots lie in the ring, were written by this thread, and
        // any bytes may be read.
        let written = unsafe {
            let bytes = |slots: std::ops::Range<usize>| {
                std::slice::from_raw_parts(self.slots.add(slots.start).cast::<u8>(), slots.len() * size_of::<Record>())
            };
            let (entry, process) = (&*self.entry, &*self.process);
            let mut name = [0u8; 16];
            for (place, half) in name.chunks_exact_mut(8).zip(&entry.name) {
                place.copy_from_slice(&half.load(Ordering::Relaxed).to_le_bytes());
            }
            let header = alone::SpillHeader {
                serial: entry.serial.load(Ordering::Relaxed),
                thread_serial: self.thread_serial,
                tid: entry.tid.load(Ordering::Relaxed),
                name,
            };
            // Who reads this after the job has ended has no clock of its own to go by.
            store_anchor(&process.header.as_ref().last_anchor, self.clock);
            alone::spill(process.path(), header, self.tail, [bytes(first), bytes(second)])
        };
        if written.is_err() {
            self.refused = REFUSED;
            return false;
        }
        self.tail = self.head;
        // SAFETY: the ring stays mapped while this writer lives.
        unsafe { (*self.ring).tail.store(self.tail, Ordering::Release) };
        true
    }

    /// Goes on in a larger ring. The old one is closed and read to its end before the new one.
    fn grow(&mut self, slots: u64) -> bool {
        let wanted = (self.capacity * GROWTH).max(slots.next_power_of_two());
        if wanted > MAX_SLOTS {
            return false;
        }
        // SAFETY: processes are never freed.
        let process = unsafe { &*self.process };
        // Finding out that there is none takes system calls.
        if self.refused > 0 {
            self.refused -= 1;
            return false;
        }
        let Some((entry, base, mapped)) = process.take_ring(wanted, self.thread_serial) else {
            self.refused = REFUSED;
            return false;
        };
        self.close();
        // SAFETY: the ring was just mapped with these slots behind its header.
        unsafe {
            self.ring = base.cast().as_ptr();
            self.slots = base.add(RING_HEADER_BYTES).cast().as_ptr();
        }
        self.entry = entry;
        self.mapped = mapped;
        self.capacity = entry.slots.load(Ordering::Relaxed);
        self.head = 0;
        self.tail = 0;
        true
    }

    fn close(&mut self) {
        // SAFETY: entry and ring are mapped; the ring is not used after this.
        unsafe {
            fence(Ordering::Release);
            (*self.entry).state.store(RING_CLOSED, Ordering::Release);
            if let Some(ring) = NonNull::new(self.ring.cast::<u8>()) {
                sys::unmap(ring, self.mapped);
            }
        }
    }

    #[cold]
    fn drop_one(&self) {
        self.drop_many(1);
    }

    #[cold]
    fn drop_many(&self, records: u64) {
        // SAFETY: the ring stays mapped while this writer lives.
        unsafe { (*self.ring).dropped.fetch_add(records, Ordering::Relaxed) };
    }

    #[cold]
    fn forget_open(&mut self) {
        // The ends come while recording is off and are not written; the recorder closes these ranges at the stop.
        self.open = 0;
        self.lost = 0;
        self.depths = [(0, 0); DOMAINS];
    }
}
