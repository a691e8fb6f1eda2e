//! AMD: the tool's side of rocprofiler-sdk, by which HIP's kernels, copies and calls and RCCL's calls are recorded.
//!
//! rocprofiler-sdk finds [`rocprofiler_configure`] in this image, where `ROCP_TOOL_LIBRARIES` names it or where the image is
//! in the process already, and calls it when the first ROCm runtime starts. From then on it fills buffers of its own and
//! hands them over on a thread of its own (`decode` turns their records into records of that thread's ring). A thread of
//! this image (`worker`) follows the recorder's switch, and asks for what buffers hold ten times a second.
//!
//! - Times are rocprofiler's (`CLOCK_BOOTTIME`), compared with ours again and again; how far they may differ is told.
//! - A kernel is joined with its call by the correlation id, and the call with the operator around it by thread and time.
//! - Nothing of ROCm is loaded or called unless ROCm loads this image's function: where it is not used, nothing happens.
//! - A process must not end because of us: `guard`.
//! - What cannot be recorded is said in one line, and the rest goes on.
//!
//! **This never ran on hardware of AMD's**: it was tested against a stub of rocprofiler-sdk (`tests/gpu/stub`) only.

mod agents;
mod decode;
mod guard;
mod worker;

use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use gapless_ring::layout::SOURCE_ROCPROFILER;
use gapless_ring::writer;
use rocprofiler_sys::{Category, Configured, Context, Kind, Rocprofiler, Status};

use crate::device::windows::Windows;
use crate::device::{self, Ring, fact};
use crate::pin::pin;
use agents::Devices;
use decode::Decoder;

static ROCPROFILER: OnceLock<Rocprofiler> = OnceLock::new();
static CONFIGURED: OnceLock<Configured> = OnceLock::new();
static IS_STARTED: AtomicBool = AtomicBool::new(false);
/// What `rocprofiler_configure` was told.
static VERSION: AtomicU32 = AtomicU32::new(0);
/// The process in which this was set up: a forked child has no worker, and no threads of rocprofiler.
static OWNER: AtomicU32 = AtomicU32::new(0);
static WINDOWS: Windows = Windows::new();
/// Buffers come one after the other. While it is held, of rocprofiler only names and the time are asked for, which take no
/// lock there.
static DECODER: Mutex<Option<Decoder>> = Mutex::new(None);

/// Bytes of each of rocprofiler's two buffers, and how full one is before it is handed over without being asked for.
const BUFFER_BYTES: usize = 8 << 20;
const WATERMARK_BYTES: usize = 2 << 20;

/// `rocprofiler_client_id_t` from ROCm 7.0 on; before, it began with the name.
#[repr(C)]
pub struct ClientId {
    first: usize,
    second: usize,
}

/// `rocprofiler_tool_configure_result_t`
#[repr(C)]
pub struct ConfigureResult {
    bytes: usize,
    initialize: extern "C" fn(*const c_void, *mut c_void) -> c_int,
    finalize: extern "C" fn(*mut c_void),
    data: *mut c_void,
}

// SAFETY: it is only read, and its pointer is null.
unsafe impl Sync for ConfigureResult {}

static RESULT: ConfigureResult =
    ConfigureResult { bytes: size_of::<ConfigureResult>(), initialize, finalize, data: std::ptr::null_mut() };

/// Called by rocprofiler-sdk when the first ROCm runtime of the process starts. Gives what it is to call, or null where
/// nothing is to be recorded.
///
/// # Safety
/// `client` is null or rocprofiler's own structure for this tool.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rocprofiler_configure(
    version: u32,
    _runtime_version: *const c_char,
    _priority: u32,
    client: *mut ClientId,
) -> *const ConfigureResult {
    pin();
    let is_wanted = std::panic::catch_unwind(|| {
        let is_off = std::env::var_os("GAPLESS_HIP").is_some_and(|value| value == "off");
        !is_off && writer::is_recorded() && !IS_STARTED.swap(true, Ordering::AcqRel)
    });
    if !is_wanted.unwrap_or(false) {
        return std::ptr::null();
    }
    VERSION.store(version, Ordering::Release);
    if !client.is_null() {
        let name = c"gapless".as_ptr() as usize;
        // SAFETY: by this function's own contract; both forms have two words. A form that begins with its size says so, the
        // older one begins with a null pointer.
        unsafe {
            match (*client).first {
                0 => (*client).first = name,
                16..=64 => (*client).second = name,
                _ => {}
            }
        }
    }
    &raw const RESULT
}

/// Called by rocprofiler-sdk: contexts and services can be made only now. Returns 0, or −1 for "forget this tool".
extern "C" fn initialize(_finalize: *const c_void, _data: *mut c_void) -> c_int {
    match std::panic::catch_unwind(set_up) {
        Ok(Ok(())) => 0,
        Ok(Err(reason)) => {
            tell(&format!("AMD GPU work is not recorded: {reason}"));
            -1
        }
        Err(_) => -1,
    }
}

/// Called by rocprofiler-sdk at the end of the process, when all work is done.
extern "C" fn finalize(_data: *mut c_void) {
    let _ = std::panic::catch_unwind(|| {
        if is_owner() {
            if worker::finish() {
                // What ran until now has come since.
                flush();
                say_counts();
            }
            writer::finish();
        }
    });
}

fn set_up() -> Result<(), String> {
    let rocprofiler = Rocprofiler::find(VERSION.load(Ordering::Acquire)).map_err(|missing| missing.to_string())?;
    let rocprofiler = ROCPROFILER.get_or_init(|| rocprofiler);
    let version = rocprofiler.version();
    let devices = Devices::ask(rocprofiler);
    // Told by the worker: what a thread of the image says of the process is taken for the whole process.
    let mut facts = vec![
        ("hip.rocprofiler_version", format!("{}.{}.{}", version / 10_000, version / 100 % 100, version % 100)),
        ("hip.rocprofiler", rocprofiler.path().display().to_string()),
    ];
    facts.extend(devices.texts.iter().map(|text| ("hip.device", text.clone())));
    if let Ok(mut decoder) = DECODER.lock() {
        *decoder = Some(Decoder::new(rocprofiler, devices));
    }
    let mut contexts: Vec<Context> = Vec::new();
    match rocprofiler.configure_symbols(decode::symbol) {
        Ok(symbols) => contexts.push(symbols.context),
        Err(status) => tell(&format!("AMD kernels have numbers instead of names: {status}")),
    }
    // SAFETY: a function of this image, which is pinned.
    let configured = unsafe { rocprofiler.configure(BUFFER_BYTES, WATERMARK_BYTES, on_records, decode::is_noise) };
    let (configured, refused) = configured.map_err(|status| status.to_string())?;
    let configured = *CONFIGURED.get_or_init(|| configured);
    say_refused(rocprofiler, &refused);
    for context in contexts {
        let status = rocprofiler.start(context);
        if !status.is_success() {
            tell(&format!("AMD kernels have numbers instead of names: {status}"));
        }
    }
    // SAFETY: takes nothing and cannot fail.
    OWNER.store(unsafe { libc::getpid() } as u32, Ordering::Release);
    writer::note_source(SOURCE_ROCPROFILER);
    if !worker::start(rocprofiler, configured, facts) {
        OWNER.store(0, Ordering::Release);
        return Err("the system gives no further thread".to_owned());
    }
    // SAFETY: a plain function of this image, which is pinned. It was registered after rocprofiler's own, so it runs before.
    unsafe { libc::atexit(at_exit) };
    if writer::is_active() {
        worker::turn(true);
    }
    Ok(())
}

/// Says which kinds are refused, by reason; nothing of those that this version does not have.
fn say_refused(rocprofiler: &Rocprofiler, refused: &[(Kind, Status)]) {
    let mut by_status: Vec<(Status, Vec<&str>)> = Vec::new();
    for (kind, status) in refused.iter().filter(|(_, status)| !status.is_absent()) {
        match by_status.iter_mut().find(|entry| entry.0 == *status) {
            Some(entry) => entry.1.push(words(*kind)),
            None => by_status.push((*status, vec![words(*kind)])),
        }
    }
    for (status, kinds) in by_status {
        tell(&format!("of the AMD GPU, {} are not recorded: {status}", kinds.join(", ")));
    }
    if !rocprofiler.kinds().any(|kind| kind == Kind::Kernel) {
        tell("of the AMD GPU, kernels are not recorded: this rocprofiler-sdk does not know them by name");
    }
}

fn words(kind: Kind) -> &'static str {
    match kind {
        Kind::Kernel => "kernels",
        Kind::Copy => "copies",
        Kind::Hip => "calls of HIP",
        Kind::Rccl => "calls of RCCL",
        Kind::Scratch => "scratch memory",
        Kind::Allocation => "allocations",
    }
}

/// A buffer is handed over, on a thread of rocprofiler's.
unsafe extern "C" fn on_records(
    _context: Context,
    _buffer: u64,
    headers: *const *const Category,
    count: usize,
    _data: *mut c_void,
    dropped: u64,
) {
    if !is_owner() || (headers.is_null() && count > 0) {
        return;
    }
    let _ = std::panic::catch_unwind(|| {
        let (Some(rocprofiler), Ok(mut decoder)) = (ROCPROFILER.get(), DECODER.lock()) else { return };
        let Some(decoder) = decoder.as_mut() else { return };
        decoder.settle(rocprofiler);
        let windows = WINDOWS.all();
        writer::with_even_if_off(|thread| {
            let mut has_given_up = decoder.has_given_up;
            let mut ring = Ring { thread, patience: PATIENCE, has_given_up: &mut has_given_up };
            // SAFETY: rocprofiler gives so many headers, each with a record that lives during this call.
            unsafe { decoder.buffer(rocprofiler, headers, count, dropped, &windows, &mut ring) };
            decoder.has_given_up = has_given_up;
        });
    });
}

/// How long a reader that does not read is waited for. Threads of the job wait behind this one once both of rocprofiler's
/// buffers are full, so it is short.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(200);

/// Recording of this process was switched from within: what is on the device begins or ends to count at once.
pub(crate) fn recording_changed(on: bool) {
    if is_owner() {
        worker::turn(on);
    }
}

fn flush() -> Status {
    match (ROCPROFILER.get(), CONFIGURED.get()) {
        (Some(rocprofiler), Some(configured)) => rocprofiler.flush(configured),
        _ => Status::SUCCESS,
    }
}

fn say_counts() {
    let counts = DECODER.lock().ok().and_then(|decoder| decoder.as_ref().map(|decoder| decoder.counts));
    let Some(counts) = counts else { return };
    fact("hip.records", &counts.kept.to_string());
    if counts.unknown > 0 {
        fact("hip.records_of_other_kinds", &counts.unknown.to_string());
    }
    if counts.damaged > 0 {
        fact("hip.records_damaged", &counts.damaged.to_string());
    }
}

/// Whether this process was set up, and is not a child that was forked since.
fn is_owner() -> bool {
    let owner = OWNER.load(Ordering::Acquire);
    // SAFETY: takes nothing and cannot fail.
    owner != 0 && owner == unsafe { libc::getpid() } as u32
}

extern "C" fn at_exit() {
    if is_owner() {
        worker::finish();
    }
}

/// One line for the user, and the same in the recording.
fn tell(text: &str) {
    device::tell("hip.notice", text);
}
