//! ITT: the collector's side of Intel's annotation interface (`INTEL_LIBITTNOTIFY64`).
//!
//! Each copy of ITT in a process (PyTorch and oneDNN have one, many libraries do) calls [`__itt_api_init`] once, with a
//! list of its entry points. Those that are recorded here are filled, all others are set to do nothing.
//!
//! | call | record |
//! |---|---|
//! | task begin, end | `Push`, `Pop` with the domain; `payload` is made from the task's id, 0 where it has none |
//! | task, region begin and end by id; frames; events | `Start`, `End` with a number made from the id |
//! | marker, legacy mark | `Mark` |
//! | counters | `Counter` with the sum or the value set |
//! | metadata without an id | `Attr` or `Blob` about the innermost open range of the domain |
//! | metadata with an id | `Mark` "metadata" with the id's number in `payload`, the value as its fact |
//! | thread name | `ThreadName` |
//! | pause, resume | `Mark`: what is recorded is up to who asked for the recording, not to a library of the job |
//!
//! - Calls that carry times of their own (`*_ex`) are recorded at the time of the call; `__itt_frame_submit_v3` becomes
//!   a mark with its two times, which are ticks of this recording ([`__itt_get_timestamp`] gives them).
//! - The same string gives the same handle in all copies. A handle that a copy made before its initialisation works
//!   too, but is another one: such handles belong to the copy, which may free them.
//! - Parents and relations of tasks, tracks, heaps, locks and stack stitching are not recorded.
//!
//! Layouts are those of `ittnotify_config.h`, version 3.
//!
//! [`__itt_get_timestamp`]: https://intel.github.io/ittapi

mod counters;
mod handles;
mod metadata;
mod tasks;

use std::ffi::{CStr, c_char, c_int, c_long, c_ulong, c_void};

use gapless_ring::ClockKind;
use gapless_ring::layout::SOURCE_ITT;
use gapless_ring::writer;

use crate::pin::pin;

/// `__itt_id`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Id {
    d1: u64,
    d2: u64,
    d3: u64,
}

impl Id {
    /// The id, unless it is `__itt_null`.
    #[inline(always)]
    fn given(self) -> Option<Id> {
        (self.d1 | self.d2 | self.d3 != 0).then_some(self)
    }
}

/// `___itt_api_info`.
#[repr(C)]
struct ApiInfo {
    name: *const c_char,
    function: *mut *const c_void,
    init: *const c_void,
    /// What the entry point is without a collector.
    null: *const c_void,
    group: c_int,
}

/// The head of `___itt_global`, which all versions share.
#[repr(C)]
pub struct Global {
    magic: [u8; 8],
    version_major: c_ulong,
    version_minor: c_ulong,
    version_build: c_ulong,
    api_initialized: c_long,
    mutex_initialized: c_long,
    atomic_counter: c_long,
    mutex: libc::pthread_mutex_t,
    lib: *mut c_void,
    error_handler: *mut c_void,
    dll_path: *mut *const c_char,
    api_list: *mut ApiInfo,
}

const MAGIC: [u8; 8] = [0xED, 0xAB, 0xAB, 0xEC, 0x0D, 0xEE, 0xDA, 0x30];
/// Entry points that a list may have; the longest known has fewer than 200.
const MAX_ENTRIES: usize = 4096;

/// Called by each copy of ITT in the process before its first event.
///
/// # Safety
/// To be called by ITT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __itt_api_init(global: *mut Global, _groups: c_int) {
    pin();
    // SAFETY: ITT gives its own structure, which tells itself by its first bytes, with a list that ends with null.
    unsafe {
        if global.is_null() || (*global).magic != MAGIC || (*global).api_list.is_null() {
            return;
        }
        let list = (*global).api_list;
        for index in 0..MAX_ENTRIES {
            let entry = &*list.add(index);
            if entry.name.is_null() {
                break;
            }
            if entry.function.is_null() {
                continue;
            }
            let name = CStr::from_ptr(entry.name).to_bytes();
            *entry.function = name.strip_prefix(b"__itt_").and_then(function).unwrap_or(entry.null);
        }
    }
    writer::note_source(SOURCE_ITT);
}

/// Called by a copy of ITT that is shut down; what it knows stays good.
///
/// # Safety
/// To be called by ITT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __itt_api_fini(_global: *mut Global) {}

unsafe extern "C" fn api_version() -> *const c_char {
    c"Gapless".as_ptr()
}

unsafe extern "C" fn get_timestamp() -> u64 {
    match writer::ticks() {
        // Nothing is recorded, but who asks may want to wait or measure.
        0 => ClockKind::Monotonic.ticks(),
        ticks => ticks,
    }
}

/// The function for an entry point, by its name without the prefix.
fn function(name: &[u8]) -> Option<*const c_void> {
    Some(match name {
        b"api_version" => api_version as *const c_void,
        b"get_timestamp" => get_timestamp as *const c_void,
        _ => handles::function(name)
            .or_else(|| tasks::function(name))
            .or_else(|| counters::function(name))
            .or_else(|| metadata::function(name))?,
    })
}
