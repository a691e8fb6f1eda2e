//! CUDA: the tool's side of the driver's injection interface (`CUDA_INJECTION64_PATH`), over CUPTI's activity records.
//!
//! The driver calls [`InitializeInjection`] when it is initialised. From then on CUPTI fills buffers that it gets from
//! `buffers`, and a thread of this image (`worker`) asks for them ten times a second, turns their records into records
//! of the ring (`decode`) and writes them into a ring of its own, waiting for the reader where that is full.
//!
//! - Times: CUPTI takes them from the segment's own clock where it can; else its clock is compared with ours again and
//!   again, and how far they may differ is told (`clock`).
//! - A kernel is joined with its call by the correlation id, and the call with the operator around it by thread and
//!   time, both on the same clock. Ids that others push are passed on; none are pushed here.
//! - No function of CUPTI is called while a lock of ours is held: its callbacks come while it holds locks of its own.
//! - `cuptiFinalize` is never called: it is known to take jobs down. When recording stops, kinds are switched off.
//! - What cannot be recorded is said in one line, and the rest goes on.

mod buffers;
mod clock;
mod decode;
mod worker;

use std::ffi::c_int;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use cupti_sys::{Cupti, CuptiResult, Kind};
use gapless_ring::layout::SOURCE_CUPTI;
use gapless_ring::writer;

use crate::device::{self, fact};
use crate::pin::pin;

pub use crate::device::Out;
pub use decode::Decoder;

static CUPTI: OnceLock<Cupti> = OnceLock::new();
static IS_STARTED: AtomicBool = AtomicBool::new(false);
/// The process whose worker runs: a forked child has none.
static OWNER: AtomicU32 = AtomicU32::new(0);

/// Kinds that are switched on, those first that describe what others name.
const KINDS: [Kind; 15] = [
    Kind::Device,
    Kind::Context,
    Kind::Stream,
    Kind::Kernel,
    Kind::Memcpy,
    Kind::MemcpyPeer,
    Kind::Memset,
    Kind::Runtime,
    Kind::Driver,
    Kind::Synchronization,
    Kind::CudaEvent,
    Kind::Overhead,
    Kind::ExternalCorrelation,
    Kind::Memory,
    Kind::MemoryPool,
];
/// Kinds that few versions and devices have: nothing is said where they are refused.
const KINDS_IF_THERE: [Kind; 1] = [Kind::Jit];

/// Called by the CUDA driver when it is initialised. Returns 1: keep this image loaded.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub extern "C" fn InitializeInjection() -> c_int {
    pin();
    // A panic must not cross into the driver.
    let _ = std::panic::catch_unwind(start);
    1
}

fn start() {
    if !writer::is_recorded() || std::env::var_os("GAPLESS_CUDA").is_some_and(|value| value == "off") {
        return;
    }
    if IS_STARTED.swap(true, Ordering::AcqRel) {
        return;
    }
    let cupti = match Cupti::load() {
        Ok(cupti) => CUPTI.get_or_init(|| cupti),
        Err(error) => return tell(&format!("GPU work is not recorded: {error}")),
    };
    fact("cuda.cupti_version", &cupti.version().to_string());
    fact("cuda.cupti", &cupti.path().display().to_string());
    if let Some(driver) = cupti_sys::driver_version() {
        fact("cuda.driver_version", &format!("{}.{}", driver / 1000, driver % 1000 / 10));
        // Ordinary releases are numbered 18 to 28 up to CUDA 12.9, then by the release itself.
        let major = if cupti.version() >= 100_000 { cupti.version() / 10_000 } else { 12 };
        if driver / 1000 < major {
            tell(&format!(
                "GPU work may not be recorded: CUPTI is of CUDA {major}, the driver of CUDA {}; install a newer driver",
                driver / 1000
            ));
        }
    }
    let subscriber = match cupti.subscribe() {
        Ok(subscriber) => subscriber,
        Err((result, holder)) => {
            let holder = holder.map_or(String::new(), |holder| format!(" (it calls itself \"{holder}\")"));
            return tell(&format!("GPU work is not recorded: {result}{holder}"));
        }
    };
    if let Some(result) = cupti.use_system_thread_ids().filter(|result| !result.is_success()) {
        tell(&format!("calls of CUDA are not joined with threads: {result}"));
    }
    let own_clock = cupti.register_timestamp(clock::now);
    // SAFETY: both are functions of this image, which is pinned; what they give is mapped memory.
    let result = unsafe { cupti.register_callbacks(buffers::requested, buffers::completed) };
    if !result.is_success() {
        cupti.unsubscribe(subscriber);
        return tell(&format!("GPU work is not recorded: {result}"));
    }
    // SAFETY: takes nothing and cannot fail.
    OWNER.store(unsafe { libc::getpid() } as u32, Ordering::Release);
    writer::note_source(SOURCE_CUPTI);
    let has_own_clock = own_clock.is_some_and(CuptiResult::is_success);
    if !worker::start(cupti, has_own_clock) {
        cupti.unsubscribe(subscriber);
        OWNER.store(0, Ordering::Release);
        return tell("GPU work is not recorded: the system gives no further thread");
    }
    // SAFETY: a plain function of this image, which is pinned.
    unsafe { libc::atexit(at_exit) };
    if writer::is_active() {
        worker::turn(true);
    }
}

/// Recording of this process was switched from within: what is on the device begins or ends to count at once.
pub(crate) fn recording_changed(on: bool) {
    if is_owner() {
        worker::turn(on);
    }
}

/// Whether this process has a worker, and is not a child that was forked since.
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

/// Switches all kinds on; says once which are refused.
fn enable_all(cupti: &Cupti) {
    static SAID: AtomicBool = AtomicBool::new(false);
    let mut refused: Vec<(CuptiResult, Vec<&'static str>)> = Vec::new();
    for kind in KINDS.into_iter().chain(KINDS_IF_THERE) {
        let result = cupti.enable(kind);
        if !result.is_success() && !KINDS_IF_THERE.contains(&kind) {
            match refused.iter_mut().find(|entry| entry.0 == result) {
                Some(entry) => entry.1.push(words(kind)),
                None => refused.push((result, vec![words(kind)])),
            }
        }
    }
    for (domain, callback) in decode::NOISE {
        // Where this cannot be said, the records are left out when they come.
        let _ = cupti.enable_api(domain, callback, false);
    }
    if !SAID.swap(true, Ordering::Relaxed) {
        for (result, kinds) in refused {
            tell(&format!("of the GPU, {} are not recorded: {result}", kinds.join(", ")));
        }
    }
}

fn disable_all(cupti: &Cupti) {
    for kind in KINDS.into_iter().chain(KINDS_IF_THERE) {
        let _ = cupti.disable(kind);
    }
}

fn words(kind: Kind) -> &'static str {
    match kind {
        Kind::Device => "properties of devices",
        Kind::Context => "contexts",
        Kind::Stream => "streams",
        Kind::Kernel => "kernels",
        Kind::Memcpy => "copies",
        Kind::MemcpyPeer => "copies between devices",
        Kind::Memset => "fills",
        Kind::Runtime => "calls of the runtime",
        Kind::Driver => "calls of the driver",
        Kind::Synchronization => "waits",
        Kind::CudaEvent => "events",
        Kind::Overhead => "overheads",
        Kind::ExternalCorrelation => "ids of other tools",
        Kind::Memory => "allocations",
        Kind::MemoryPool => "memory pools",
        Kind::GraphTrace => "graphs",
        Kind::Jit => "translations of code",
    }
}

/// One line for the user, and the same in the recording.
fn tell(text: &str) {
    device::tell("cuda.notice", text);
}
