//! NCCL, through its profiler plugin interface: `NCCL_PROFILER_PLUGIN` names this image.
//!
//! One image serves all versions of the interface, NCCL 2.23 to 2.32: `layout.rs` says where the fields of each lie,
//! `events.rs` makes records of them, `handle.rs` and `communicators.rs` hold what NCCL hands back.
//!
//! What is recorded:
//! - On the calling thread, as ranges: `ncclAllReduce` and the like, `ncclSend`, `ncclRecv`, and the launch of each kernel
//!   (NCCL 2.28 and later).
//! - On a track per communicator: each collective, send or receive with what NCCL chose for it, from the moment it is
//!   handed to the device until that is done. This is *not* the time of the transfer, which NCCL does not tell: CUPTI's
//!   kernels do, or the two kinds below. `Seq` is NCCL's number, which counts per function; captured collectives have
//!   none, because NCCL does not count them.
//! - On tracks of the process: groups of calls. If asked for by `GAPLESS_NCCL`, operations of the proxy (`proxy`), their
//!   steps (`steps`), what the network plugin tells (`network`), and the times of each channel on the device (`channels`,
//!   `phases`), in the device's own clock, with the time at which NCCL saw them as the range.
//! - `nccl_id` is the number of an event within its process, `nccl_parent` that of what caused it, `nccl_launch` that of
//!   the launch of its kernel.
//!
//! NCCL closes the plugin with the last communicator, so the image is pinned. Everything returns success: NCCL would
//! stop the job otherwise.

use std::ffi::{c_char, c_int, c_void};

use gapless_ring::layout::{Kind, Record, SOURCE_NCCL};
use gapless_ring::writer;

use crate::pin::pin;

mod communicators;
mod events;
mod handle;
pub mod layout;
mod options;

use communicators::Identity;
use layout::{Descriptor, LAYOUTS, Layout};

/// `ncclSuccess`.
const SUCCESS: c_int = 0;

/// NCCL's function for its own log; not used.
type Logger = *const c_void;

/// `ncclProfiler_v1_t` to `ncclProfiler_v3_t`.
#[repr(C)]
pub struct ProfilerV1 {
    name: *const c_char,
    init: unsafe extern "C" fn(*mut *mut c_void, *mut c_int) -> c_int,
    common: Common,
}

/// `ncclProfiler_v4_t`.
#[repr(C)]
pub struct ProfilerV4 {
    name: *const c_char,
    init: unsafe extern "C" fn(*mut *mut c_void, *mut c_int, *const c_char, u64, c_int, c_int, c_int, Logger) -> c_int,
    common: Common,
}

/// `ncclProfiler_v5_t` to `ncclProfiler_v7_t`.
#[repr(C)]
pub struct ProfilerV5 {
    name: *const c_char,
    init: unsafe extern "C" fn(*mut *mut c_void, u64, *mut c_int, *const c_char, c_int, c_int, c_int, Logger) -> c_int,
    common: Common,
}

/// What all versions have behind `init`.
#[repr(C)]
struct Common {
    start_event: unsafe extern "C" fn(*mut c_void, *mut *mut c_void, *const c_void) -> c_int,
    stop_event: unsafe extern "C" fn(*mut c_void) -> c_int,
    record_event_state: unsafe extern "C" fn(*mut c_void, c_int, *const c_void) -> c_int,
    finalize: unsafe extern "C" fn(*mut c_void) -> c_int,
}

const _: () = assert!(size_of::<ProfilerV1>() == 48 && size_of::<ProfilerV4>() == 48 && size_of::<ProfilerV5>() == 48);

// SAFETY: constants that nobody writes.
unsafe impl Sync for ProfilerV1 {}
// SAFETY: as above.
unsafe impl Sync for ProfilerV4 {}
// SAFETY: as above.
unsafe impl Sync for ProfilerV5 {}

const NAME: *const c_char = c"gapless".as_ptr();

/// A communicator begins. Gives NCCL a context for it and the events that are wanted.
///
/// # Safety
/// `context` and `mask` are null or NCCL's places for them.
unsafe fn init(context: *mut *mut c_void, mask: *mut c_int, version: usize, identity: Option<Identity>) -> c_int {
    pin();
    if context.is_null() || mask.is_null() {
        return SUCCESS;
    }
    writer::note_source(SOURCE_NCCL);
    let given = writer::with_even_if_off(|thread| {
        let index = communicators::reserve()?;
        let generation = thread.generation();
        let name = thread.name(b"nccl:plugin");
        let value = format!("version {} of the profiler interface", version);
        thread.put_bytes(Record { kind: Kind::Info as u8, name, ..Record::default() }, value.as_bytes());
        if let Some(identity) = identity
            && let Some(known) = communicators::learn(index, || identity)
        {
            known.tell(thread);
        }
        Some(handle::context(index, generation))
    });
    let (given, wanted) = match given.flatten() {
        Some(given) => (given, options::mask(version)),
        // Not recorded: NCCL is to call nothing more.
        None => (0, 0),
    };
    // SAFETY: NCCL's places, by this function's own contract.
    unsafe {
        context.write(given as usize as *mut c_void);
        mask.write(wanted);
    }
    SUCCESS
}

/// # Safety
/// `name` is null or a NUL-terminated string.
unsafe fn identity(name: *const c_char, hash: u64, nodes: c_int, size: c_int, rank: c_int) -> Identity {
    let name = if name.is_null() {
        Vec::new()
    } else {
        // SAFETY: by this function's own contract.
        unsafe { std::ffi::CStr::from_ptr(name) }.to_bytes().to_vec()
    };
    Identity { hash, rank, size, nodes, name }
}

/// # Safety
/// As the interface says: `handle` is NCCL's place for a handle, `descriptor` an event of the version `layout`.
unsafe fn start(
    context: *mut c_void,
    handle: *mut *mut c_void,
    descriptor: *const c_void,
    layout: &'static Layout,
) -> c_int {
    if handle.is_null() || descriptor.is_null() {
        return SUCCESS;
    }
    // SAFETY: by this function's own contract.
    let descriptor = unsafe { Descriptor::new(descriptor.cast(), layout) };
    let made = events::start(context as u64, &descriptor);
    // SAFETY: as above.
    unsafe { handle.write(made as usize as *mut c_void) };
    SUCCESS
}

unsafe extern "C" fn stop(handle: *mut c_void) -> c_int {
    events::stop(handle as u64);
    SUCCESS
}

/// Arguments of states have 16 bytes in versions 1 to 3 and 8 since; what is read are the first 8.
unsafe extern "C" fn record_state(handle: *mut c_void, state: c_int, arguments: *const c_void) -> c_int {
    let value = if arguments.is_null() {
        0
    } else {
        // SAFETY: NCCL's union of arguments has at least 8 bytes in every version, all of them set.
        unsafe { arguments.cast::<u64>().read_unaligned() }
    };
    events::state(handle as u64, state, value);
    SUCCESS
}

unsafe extern "C" fn finalize(context: *mut c_void) -> c_int {
    events::finalize(context as u64);
    SUCCESS
}

unsafe extern "C" fn event<const VERSION: usize>(
    context: *mut c_void,
    handle: *mut *mut c_void,
    descriptor: *const c_void,
) -> c_int {
    // SAFETY: NCCL passes a descriptor of the version whose symbol it took.
    unsafe { start(context, handle, descriptor, &LAYOUTS[VERSION - 1]) }
}

unsafe extern "C" fn begin_v1<const VERSION: usize>(context: *mut *mut c_void, mask: *mut c_int) -> c_int {
    // SAFETY: NCCL's own arguments are passed on.
    unsafe { init(context, mask, VERSION, None) }
}

unsafe extern "C" fn begin_v4<const VERSION: usize>(
    context: *mut *mut c_void,
    mask: *mut c_int,
    name: *const c_char,
    hash: u64,
    nodes: c_int,
    size: c_int,
    rank: c_int,
    _log: Logger,
) -> c_int {
    // SAFETY: NCCL's own arguments are passed on.
    unsafe { init(context, mask, VERSION, Some(identity(name, hash, nodes, size, rank))) }
}

unsafe extern "C" fn begin_v5<const VERSION: usize>(
    context: *mut *mut c_void,
    hash: u64,
    mask: *mut c_int,
    name: *const c_char,
    nodes: c_int,
    size: c_int,
    rank: c_int,
    _log: Logger,
) -> c_int {
    // SAFETY: NCCL's own arguments are passed on.
    unsafe { init(context, mask, VERSION, Some(identity(name, hash, nodes, size, rank))) }
}

macro_rules! profiler {
    ($($symbol:ident $type:ident $version:literal $begin:ident)*) => {$(
        /// What NCCL looks for when it has opened the image.
        // SAFETY: the symbol is a plugin's by NCCL's interface, and has the layout of its version.
        #[unsafe(no_mangle)]
        #[allow(non_upper_case_globals, reason = "NCCL's name")]
        pub static $symbol: $type = $type {
            name: NAME,
            init: $begin::<$version>,
            common: Common {
                start_event: event::<$version>,
                stop_event: stop,
                record_event_state: record_state,
                finalize,
            },
        };
    )*};
}

profiler! {
    ncclProfiler_v1 ProfilerV1 1 begin_v1
    ncclProfiler_v2 ProfilerV1 2 begin_v1
    ncclProfiler_v3 ProfilerV1 3 begin_v1
    ncclProfiler_v4 ProfilerV4 4 begin_v4
    ncclProfiler_v5 ProfilerV5 5 begin_v5
    ncclProfiler_v6 ProfilerV5 6 begin_v5
    ncclProfiler_v7 ProfilerV5 7 begin_v5
}
