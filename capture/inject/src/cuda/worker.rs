//! The thread that asks CUPTI for buffers and writes what they hold into its ring.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread as Handle};
use std::time::{Duration, Instant};

use cupti_sys::{Cupti, FLUSH_FORCED};
use gapless_ring::writer;

use super::buffers;
use super::decode::Decoder;
use super::{disable_all, enable_all, fact};
use crate::device::windows::{self, Windows};
use crate::device::{self, Ring};

/// How often the worker looks whether it is wanted.
const LOOK: Duration = Duration::from_millis(20);
/// How often complete buffers are asked for. CUPTI's own period is said not to be reliable.
const FLUSH: Duration = Duration::from_millis(100);
/// After recording was switched off, work that was launched before may still run so long.
const LINGER: Duration = Duration::from_millis(200);
/// How long the worker waits for a reader that does not read.
const PATIENCE: Duration = Duration::from_millis(1_000);
/// How long the end of the process waits for the worker.
const FAREWELL: Duration = Duration::from_secs(5);

static HANDLE: OnceLock<Handle> = OnceLock::new();
/// Whether kinds are switched on.
static IS_ENABLED: AtomicBool = AtomicBool::new(false);
static IS_ENDING: AtomicBool = AtomicBool::new(false);
static HAS_ENDED: AtomicBool = AtomicBool::new(false);
static WINDOWS: Windows = Windows::new();

/// Starts the worker. False where the system gives no thread.
pub(super) fn start(cupti: &'static Cupti, has_own_clock: bool) -> bool {
    let started = device::spawn("gapless-cuda", move || {
        let done = std::panic::catch_unwind(|| Worker::new(cupti, has_own_clock).run());
        if done.is_err() {
            super::tell("GPU work is not recorded any more: the recording of it failed");
        }
        HAS_ENDED.store(true, Ordering::Release);
    });
    started.is_some_and(|handle| {
        let _ = HANDLE.set(handle);
        true
    })
}

/// There is something to do.
pub(super) fn wake() {
    if let Some(handle) = HANDLE.get() {
        handle.unpark();
    }
}

/// Recording begins or ends now. May be called from any thread of the job, outside CUPTI's callbacks.
pub(super) fn turn(on: bool) {
    WINDOWS.turn(on, writer::ticks());
    if on {
        // What is launched from now on counts, so this does not wait for the worker. Off can wait, as times decide.
        if !IS_ENABLED.swap(true, Ordering::AcqRel)
            && let Some(cupti) = super::CUPTI.get()
        {
            enable_all(cupti);
        }
    } else {
        wake();
    }
}

/// Takes what CUPTI still holds, and waits for it, but not for ever: whoever ends the process may do so inside CUPTI.
pub(super) fn finish() {
    IS_ENDING.store(true, Ordering::Release);
    wake();
    let until = Instant::now() + FAREWELL;
    while !HAS_ENDED.load(Ordering::Acquire) && Instant::now() < until {
        thread::sleep(Duration::from_millis(1));
    }
    if !HAS_ENDED.load(Ordering::Acquire) {
        super::tell("what CUPTI still held at the end of the process is not recorded: it did not hand it over");
    }
}

struct Worker {
    cupti: &'static Cupti,
    decoder: Decoder,
    /// When kinds are to be switched off.
    off_at: Option<Instant>,
    has_given_up: bool,
}

impl Worker {
    fn new(cupti: &'static Cupti, has_own_clock: bool) -> Worker {
        Worker { cupti, decoder: Decoder::new(has_own_clock), off_at: None, has_given_up: false }
    }

    fn run(&mut self) {
        let mut flushed = Instant::now();
        loop {
            if !buffers::has_completed() && !IS_ENDING.load(Ordering::Acquire) {
                thread::park_timeout(LOOK);
            }
            if IS_ENDING.load(Ordering::Acquire) {
                self.cupti.flush(FLUSH_FORCED);
                self.drain();
                // What was dropped since the last buffer came has no buffer that could tell it.
                // SAFETY: null stands for all contexts.
                let dropped = unsafe { self.cupti.dropped(std::ptr::null_mut(), 0) };
                writer::with_even_if_off(|thread| {
                    Ring { thread, patience: PATIENCE, has_given_up: &mut self.has_given_up }.dropped(dropped as u64);
                });
                self.say_counts();
                return;
            }
            self.follow(writer::is_active());
            if writer::is_flush_asked() {
                self.cupti.flush(FLUSH_FORCED);
                self.drain();
                writer::flush_done();
            } else if IS_ENABLED.load(Ordering::Acquire) && flushed.elapsed() >= FLUSH {
                self.cupti.flush(0);
                flushed = Instant::now();
            }
            self.drain();
        }
    }

    /// Does what the recorder's switch says.
    fn follow(&mut self, on: bool) {
        if on != WINDOWS.is_open() {
            turn(on);
        }
        if on {
            self.off_at = None;
        } else if IS_ENABLED.load(Ordering::Acquire) {
            let off_at = *self.off_at.get_or_insert_with(|| Instant::now() + LINGER);
            if Instant::now() >= off_at {
                self.off_at = None;
                if IS_ENABLED.swap(false, Ordering::AcqRel) {
                    disable_all(self.cupti);
                }
                self.cupti.flush(FLUSH_FORCED);
                // Somebody may have switched on between the two.
                if IS_ENABLED.load(Ordering::Acquire) {
                    enable_all(self.cupti);
                }
            }
        }
    }

    fn drain(&mut self) {
        for completed in buffers::take_completed() {
            // SAFETY: CUPTI gave the buffer back with this many valid bytes, and it is ours until it is given away.
            unsafe { self.decoder.settle(self.cupti, completed.buffer, completed.valid_bytes) };
            let windows = WINDOWS.all();
            let is_wanted = |ticks: u64| windows::holds(&windows, ticks);
            writer::with_even_if_off(|thread| {
                let mut ring = Ring { thread, patience: PATIENCE, has_given_up: &mut self.has_given_up };
                ring.dropped(completed.dropped as u64);
                // SAFETY: as above.
                unsafe {
                    self.decoder.buffer(self.cupti, completed.buffer, completed.valid_bytes, &is_wanted, &mut ring);
                }
            });
            buffers::give_back(completed.buffer);
        }
    }

    fn say_counts(&self) {
        let counts = self.decoder.counts;
        fact("cuda.records", &counts.kept.to_string());
        if counts.unknown > 0 {
            fact("cuda.records_of_other_kinds", &counts.unknown.to_string());
        }
    }
}
