//! Memory that CUPTI writes records into: given on its request, taken back full, used again.
//!
//! The callbacks come on any thread, while CUPTI holds locks of its own. So nothing here waits: free buffers lie in
//! places that are taken by one exchange, and completed ones form a list that the worker takes as a whole.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use super::{CUPTI, is_owner, worker};

/// Bytes of a buffer. CUPTI's documentation advises 1 to 10 MB; newer versions use one for each thread.
pub(super) const BUFFER_BYTES: usize = 2 << 20;
/// Buffers that are made, 128 MiB together. Beyond that records are dropped, and CUPTI counts them.
const MOST_BUFFERS: usize = 64;
/// Older versions of CUPTI do not bear to be given no buffer (12.8 and older, by what PyTorch's profiler does).
const MAY_DECLINE: u32 = 27;

static FREE: [AtomicPtr<u8>; MOST_BUFFERS] = [const { AtomicPtr::new(null_mut()) }; MOST_BUFFERS];
static MADE: AtomicUsize = AtomicUsize::new(0);
static COMPLETED: AtomicPtr<Node> = AtomicPtr::new(null_mut());

/// A buffer that came back.
#[derive(Debug)]
pub(super) struct Completed {
    /// The buffer.
    pub buffer: *mut u8,
    /// Bytes that hold records.
    pub valid_bytes: usize,
    /// Records that were dropped since the last buffer.
    pub dropped: usize,
}

struct Node {
    next: *mut Node,
    completed: Completed,
}

/// CUPTI needs a buffer.
pub(super) unsafe extern "C" fn requested(buffer: *mut *mut u8, bytes: *mut usize, most_records: *mut usize) {
    let may_decline = CUPTI.get().is_none_or(|cupti| cupti.version() >= MAY_DECLINE);
    // Nobody would take a child's buffers.
    let given = if may_decline && !is_owner() { null_mut() } else { take(may_decline) };
    // SAFETY: CUPTI gives three places to write to.
    unsafe {
        *buffer = given;
        *bytes = if given.is_null() { 0 } else { BUFFER_BYTES };
        *most_records = 0;
    }
}

fn take(may_decline: bool) -> *mut u8 {
    for place in &FREE {
        let buffer = place.swap(null_mut(), Ordering::AcqRel);
        if !buffer.is_null() {
            return buffer;
        }
    }
    if MADE.fetch_add(1, Ordering::Relaxed) >= MOST_BUFFERS && may_decline {
        MADE.fetch_sub(1, Ordering::Relaxed);
        return null_mut();
    }
    // SAFETY: fresh private memory; pages are zero and aligned.
    let memory = unsafe {
        libc::mmap(
            null_mut(),
            BUFFER_BYTES,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if memory == libc::MAP_FAILED {
        MADE.fetch_sub(1, Ordering::Relaxed);
        return null_mut();
    }
    memory.cast()
}

/// CUPTI gives a buffer back.
pub(super) unsafe extern "C" fn completed(
    context: *mut c_void,
    stream: u32,
    buffer: *mut u8,
    _bytes: usize,
    valid_bytes: usize,
) {
    // No lock of ours is held here, so CUPTI may be asked. SAFETY: the context is the one of this buffer.
    let dropped = CUPTI.get().map_or(0, |cupti| unsafe { cupti.dropped(context, stream) });
    if buffer.is_null() {
        return;
    }
    let completed = Completed { buffer, valid_bytes: valid_bytes.min(BUFFER_BYTES), dropped };
    let node = Box::into_raw(Box::new(Node { next: null_mut(), completed }));
    let mut first = COMPLETED.load(Ordering::Relaxed);
    loop {
        // SAFETY: the node is this function's own until it is in the list.
        unsafe { (*node).next = first };
        match COMPLETED.compare_exchange_weak(first, node, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => break,
            Err(now) => first = now,
        }
    }
    worker::wake();
}

/// Takes all buffers that came back, in the order in which they did.
pub(super) fn take_completed() -> Vec<Completed> {
    let mut node = COMPLETED.swap(null_mut(), Ordering::AcqRel);
    let mut all = Vec::new();
    while !node.is_null() {
        // SAFETY: nodes in the list are boxes, and whoever takes the list has them alone.
        let Node { next, completed } = *unsafe { Box::from_raw(node) };
        all.push(completed);
        node = next;
    }
    all.reverse();
    all
}

/// Whether buffers have come back.
pub(super) fn has_completed() -> bool {
    !COMPLETED.load(Ordering::Acquire).is_null()
}

/// Lets a buffer be used again.
pub(super) fn give_back(buffer: *mut u8) {
    for place in &FREE {
        if place.compare_exchange(null_mut(), buffer, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            return;
        }
    }
    // Made beyond the limit for an old version.
    // SAFETY: the buffer was mapped with this length and nobody has it any more.
    unsafe { libc::munmap(buffer.cast(), BUFFER_BYTES) };
    MADE.fetch_sub(1, Ordering::Relaxed);
}
