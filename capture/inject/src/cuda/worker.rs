//! The thread that asks CUPTI for buffers and writes what they hold into its ring.

use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread as Handle};
use std::time::{Duration, Instant};

use cupti_sys::{Cupti, FLUSH_FORCED};
use gapless_ring::device::DeviceKind;
use gapless_ring::layout::{Kind, Record};
use gapless_ring::writer::{self, Thread};

use super::buffers;
use super::decode::{Decoder, Out};
use super::{disable_all, enable_all, fact};

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
/// Windows in which recording is on, in ticks; the last may be open. Held for a moment, never while CUPTI is called.
static WINDOWS: Mutex<Vec<(u64, u64)>> = Mutex::new(Vec::new());

/// Starts the worker. False where the system gives no thread.
pub(super) fn start(cupti: &'static Cupti, has_own_clock: bool) -> bool {
    // A new thread has its maker's mask: signals of the job are for the job's threads.
    // SAFETY: both sets are of this function; a zeroed set is one to be filled.
    let before = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        before
    };
    let started = thread::Builder::new().name("gapless-cuda".to_owned()).spawn(move || {
        let done = std::panic::catch_unwind(|| Worker::new(cupti, has_own_clock).run());
        if done.is_err() {
            super::tell("GPU work is not recorded any more: the recording of it failed");
        }
        HAS_ENDED.store(true, Ordering::Release);
    });
    // SAFETY: the set is the one from before.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut()) };
    match started {
        Ok(handle) => {
            let _ = HANDLE.set(handle.thread().clone());
            true
        }
        Err(_) => false,
    }
}

/// There is something to do.
pub(super) fn wake() {
    if let Some(handle) = HANDLE.get() {
        handle.unpark();
    }
}

/// Recording begins or ends now. May be called from any thread of the job, outside CUPTI's callbacks.
pub(super) fn turn(on: bool) {
    let now = writer::ticks();
    {
        let Ok(mut windows) = WINDOWS.lock() else { return };
        let open = windows.last_mut().filter(|last| last.1 == u64::MAX);
        match (open, on) {
            (Some(open), false) => open.1 = now,
            (None, true) => windows.push((now, u64::MAX)),
            _ => {}
        }
    }
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
                    Ring { thread, has_given_up: &mut self.has_given_up }.dropped(dropped);
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
        let is_open = WINDOWS.lock().is_ok_and(|windows| windows.last().is_some_and(|last| last.1 == u64::MAX));
        if on != is_open {
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
            let windows = WINDOWS.lock().map(|windows| windows.clone()).unwrap_or_default();
            let is_wanted = |ticks: u64| {
                windows.iter().rev().find(|window| window.0 <= ticks).is_some_and(|window| ticks < window.1)
            };
            writer::with_even_if_off(|thread| {
                let mut ring = Ring { thread, has_given_up: &mut self.has_given_up };
                ring.dropped(completed.dropped);
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

/// The worker's ring. Unlike threads of the job the worker can wait.
struct Ring<'a> {
    thread: &'a mut Thread,
    has_given_up: &'a mut bool,
}

impl Ring<'_> {
    /// Says that CUPTI dropped records.
    fn dropped(&mut self, count: usize) {
        if count > 0 {
            let (kind, class) = (Kind::Device as u8, DeviceKind::Dropped as u8);
            self.put(Record { kind, class, payload: count as u64, ..Record::default() }, &[]);
        }
    }

    #[cold]
    #[inline(never)]
    fn wait(&mut self, slots: u64) {
        // A reader that did not read for so long is gone; records are counted as dropped until there is room again.
        if *self.has_given_up {
            return;
        }
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
            if self.thread.can_take(slots) {
                return;
            }
        }
        *self.has_given_up = true;
    }
}

impl Out for Ring<'_> {
    fn name(&mut self, bytes: &[u8]) -> u32 {
        self.thread.name(bytes)
    }

    #[inline(always)]
    fn put(&mut self, record: Record, extra: &[Record]) {
        let slots = 1 + extra.len() as u64;
        if !self.thread.can_take(slots) {
            self.wait(slots);
        }
        if self.thread.put(record, extra) {
            *self.has_given_up = false;
        }
    }

    fn fact(&mut self, key: &str, value: &str) {
        let name = self.thread.name(key.as_bytes());
        self.thread.put_bytes(Record { kind: Kind::Info as u8, name, ..Record::default() }, value.as_bytes());
    }
}
