//! Handles of events and communicators: numbers, never addresses.
//!
//! NCCL gives a handle back whenever it likes: as the parent of a proxy operation long after the collective was
//! stopped, as the parent of each launch of a captured graph, twice where its event mask changed in between, and in
//! another process where PXN lets a neighbour's proxy send for this rank. So nothing stands behind a handle that could
//! be gone. It says what kind of event it is and which process it is of; what belongs together is found by number, by
//! whoever reads the recording.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use gapless_ring::names;

/// Set in every handle, so that it is never null and never an id of another source of ranges.
const OURS: u64 = 1 << 63;
const TAG_SHIFT: u32 = 48;
const TAG_MASK: u64 = 0x7fff;
const KIND_SHIFT: u32 = 44;
const CAPTURED: u64 = 1 << 43;
const NUMBER_MASK: u64 = CAPTURED - 1;

static NEXT: AtomicU64 = AtomicU64::new(1);
/// What all handles of this process have in common; 0 is not yet made.
static TAG: AtomicU64 = AtomicU64::new(0);

/// Tells handles of this process from those of others, also of one with the same id in another namespace, and of a
/// child that inherited them: `generation` counts forks.
fn tag(generation: u32) -> u64 {
    let mut base = TAG.load(Ordering::Relaxed);
    if base == 0 {
        let here = std::ptr::from_ref(&TAG) as u64;
        let started = std::fs::read("/proc/self/stat").unwrap_or_default();
        let made = names::hash(&started) ^ names::hash(&here.to_le_bytes()) ^ u64::from(std::process::id());
        // Two threads may come here at once; all must use the one that was first.
        base = TAG
            .compare_exchange(0, made | 1, Ordering::Relaxed, Ordering::Relaxed)
            .map_or_else(|now| now, |_| made | 1);
    }
    (base ^ (base >> 31)).wrapping_add(u64::from(generation).wrapping_mul(0x51ed)) & TAG_MASK
}

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle(u64);

impl Handle {
    /// For a new event whose type is bit `kind` of NCCL's mask.
    pub fn new(generation: u32, kind: u32, is_captured: bool) -> Handle {
        let number = NEXT.fetch_add(1, Ordering::Relaxed) & NUMBER_MASK;
        let captured = if is_captured { CAPTURED } else { 0 };
        Handle(OURS | tag(generation) << TAG_SHIFT | u64::from(kind & 15) << KIND_SHIFT | captured | number)
    }

    /// The event that NCCL means; `None` for none, and for one of another process.
    pub fn of_raw(raw: u64, generation: u32) -> Option<Handle> {
        let is_own = raw & OURS != 0 && raw >> TAG_SHIFT & TAG_MASK == tag(generation);
        is_own.then_some(Handle(raw))
    }

    pub fn raw(self) -> u64 {
        self.0
    }

    /// Bit of its type in NCCL's mask.
    pub fn kind(self) -> u32 {
        (self.0 >> KIND_SHIFT) as u32 & 15
    }

    /// Whether it is of a call inside the capture of a graph.
    pub fn is_captured(self) -> bool {
        self.0 & CAPTURED != 0
    }

    /// Number of the event within the process, from 1.
    pub fn number(self) -> u64 {
        self.0 & NUMBER_MASK
    }
}

/// A communicator's place in the table, as the context that NCCL hands back.
pub(super) fn context(index: u32, generation: u32) -> u64 {
    OURS | tag(generation) << TAG_SHIFT | u64::from(index)
}

/// The place that a context means; `None` for one of another process, which PXN may show.
pub(super) fn index_of(context: u64, generation: u32) -> Option<u32> {
    Handle::of_raw(context, generation).map(|handle| handle.0 as u32)
}

/// Calls inside one another on a thread: a collective, its launch.
const DEEPEST: usize = 8;

thread_local! {
    /// Ranges of the calling thread that are open, outermost first; 0 is none.
    static OPEN: Cell<[u64; DEEPEST]> = const { Cell::new([0; DEEPEST]) };
}

/// Notes that a range of the calling thread begins. Whether there was room.
pub(super) fn enter(handle: Handle) -> bool {
    let mut open = OPEN.get();
    // What a parent had open before a fork ends there.
    if open.first().is_some_and(|first| *first != 0 && (first ^ handle.raw()) >> TAG_SHIFT & TAG_MASK != 0) {
        open = [0; DEEPEST];
    }
    match open.iter_mut().find(|place| **place == 0) {
        Some(place) => {
            *place = handle.raw();
            OPEN.set(open);
            true
        }
        None => false,
    }
}

/// Notes that a range ends: how many ranges of the calling thread end with it. 0 where it is not open: NCCL stops a call
/// once more where its mask changed since.
pub(super) fn leave_raw(raw: u64) -> usize {
    let mut open = OPEN.get();
    if raw == 0 {
        return 0;
    }
    let Some(at) = open.iter().position(|place| *place == raw) else { return 0 };
    let mut ended = 0;
    for place in open.iter_mut().skip(at).filter(|place| **place != 0) {
        *place = 0;
        ended += 1;
    }
    OPEN.set(open);
    ended
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn handles_say_what_they_are_and_whose() {
        let handle = Handle::new(3, 9, true);
        assert_eq!(Handle::of_raw(handle.raw(), 3), Some(handle));
        assert_eq!((handle.kind(), handle.is_captured()), (9, true));
        assert!(Handle::new(3, 9, false).number() > handle.number());
        // A forked child, another process, nothing.
        assert_eq!(Handle::of_raw(handle.raw(), 4), None);
        assert_eq!(Handle::of_raw(handle.raw() ^ 1 << 50, 3), None);
        assert_eq!(Handle::of_raw(0, 3), None);
        assert_eq!(Handle::of_raw(0x7f00_1234_5678, 3), None);
        assert_eq!(index_of(context(17, 3), 3), Some(17));
        assert_eq!(index_of(context(17, 3), 5), None);
    }

    #[test]
    fn a_stop_ends_what_is_open_inside_and_only_once() {
        OPEN.set([0; DEEPEST]);
        let all: Vec<Handle> = (0..3).map(|kind| Handle::new(1, kind, false)).collect();
        assert!(all.iter().all(|&handle| enter(handle)));
        assert_eq!(leave_raw(all[1].raw()), 2);
        assert_eq!(leave_raw(all[2].raw()), 0);
        assert_eq!((leave_raw(all[0].raw()), leave_raw(all[0].raw())), (1, 0));
        assert!((0..DEEPEST).all(|_| enter(Handle::new(1, 0, false))));
        assert!(!enter(Handle::new(1, 0, false)));
        // In a child that was forked inside a call.
        assert!(enter(Handle::new(2, 0, false)));
        OPEN.set([0; DEEPEST]);
    }
}
