//! The thread that follows the recorder's switch and asks rocprofiler for what its buffers hold.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use gapless_ring::writer;
use rocprofiler_sys::{Configured, Rocprofiler};

use super::{CONFIGURED, ROCPROFILER, WINDOWS};
use crate::device;

/// How often the worker looks whether it is wanted.
const LOOK: Duration = Duration::from_millis(20);
/// How often buffers are asked for.
const FLUSH: Duration = Duration::from_millis(100);
/// So long after recording was switched off, work that was launched before may still come in.
const LINGER: Duration = Duration::from_secs(2);
/// How long the end of the process waits for the worker.
const FAREWELL: Duration = Duration::from_secs(5);

static HANDLE: OnceLock<Thread> = OnceLock::new();
/// Whether the context is started.
static IS_ENABLED: AtomicBool = AtomicBool::new(false);
static IS_ENDING: AtomicBool = AtomicBool::new(false);
static HAS_ENDED: AtomicBool = AtomicBool::new(false);
static HAS_SAID: AtomicBool = AtomicBool::new(false);

/// Starts the worker, which tells these facts first. False where the system gives no thread.
pub(super) fn start(
    rocprofiler: &'static Rocprofiler,
    configured: Configured,
    facts: Vec<(&'static str, String)>,
) -> bool {
    let started = device::spawn("gapless-rocm", move || {
        let done = std::panic::catch_unwind(|| {
            for (key, value) in &facts {
                device::fact(key, value);
            }
            run(rocprofiler, &configured);
        });
        if done.is_err() {
            super::tell("AMD GPU work may be missing from here on: the recording of it failed");
        }
        HAS_ENDED.store(true, Ordering::Release);
    });
    started.is_some_and(|handle| {
        let _ = HANDLE.set(handle);
        true
    })
}

/// Recording begins or ends now. May be called from any thread of the job, outside rocprofiler's callbacks.
pub(super) fn turn(on: bool) {
    WINDOWS.turn(on, writer::ticks());
    if on {
        // What is launched from now on counts, so this does not wait for the worker. Off can wait, as times decide.
        if !IS_ENABLED.swap(true, Ordering::AcqRel) {
            enable();
        }
    } else if let Some(handle) = HANDLE.get() {
        handle.unpark();
    }
}

fn enable() {
    let (Some(rocprofiler), Some(configured)) = (ROCPROFILER.get(), CONFIGURED.get()) else { return };
    let status = rocprofiler.start(configured.context);
    if !status.is_success() && !HAS_SAID.swap(true, Ordering::Relaxed) {
        super::tell(&format!("AMD GPU work is not recorded: {status}"));
    }
}

/// Takes what rocprofiler holds, and waits for it, but not for ever: whoever ends the process may do so inside ROCm. The
/// worker calls nothing of rocprofiler's afterwards, which is about to take its threads down. False where it did not come
/// back, so that rocprofiler had better not be asked again.
pub(super) fn finish() -> bool {
    if IS_ENDING.swap(true, Ordering::AcqRel) {
        return HAS_ENDED.load(Ordering::Acquire);
    }
    if let Some(handle) = HANDLE.get() {
        handle.unpark();
    }
    let until = Instant::now() + FAREWELL;
    while !HAS_ENDED.load(Ordering::Acquire) && Instant::now() < until {
        thread::sleep(Duration::from_millis(1));
    }
    if !HAS_ENDED.load(Ordering::Acquire) && !HAS_SAID.swap(true, Ordering::Relaxed) {
        super::tell("what rocprofiler still held at the end of the process is not recorded: it did not hand it over");
    }
    HAS_ENDED.load(Ordering::Acquire)
}

fn run(rocprofiler: &Rocprofiler, configured: &Configured) {
    let mut flushed = Instant::now();
    let mut off_since: Option<Instant> = None;
    loop {
        if !IS_ENDING.load(Ordering::Acquire) {
            thread::park_timeout(LOOK);
        }
        if IS_ENDING.load(Ordering::Acquire) {
            rocprofiler.flush(configured);
            super::say_counts();
            return;
        }
        let on = writer::is_active();
        if on != WINDOWS.is_open() {
            turn(on);
        }
        if on {
            off_since = None;
        } else if IS_ENABLED.swap(false, Ordering::AcqRel) {
            // What was launched before is still told: contexts are those of the launch.
            rocprofiler.stop(configured.context);
            off_since = Some(Instant::now());
            // Somebody may have switched on between the two.
            if IS_ENABLED.load(Ordering::Acquire) {
                enable();
            }
        }
        let may_hold = on || off_since.is_some_and(|since| since.elapsed() < LINGER);
        if writer::is_flush_asked() {
            rocprofiler.flush(configured);
            writer::flush_done();
            flushed = Instant::now();
        } else if may_hold && flushed.elapsed() >= FLUSH {
            rocprofiler.flush(configured);
            flushed = Instant::now();
        }
    }
}
