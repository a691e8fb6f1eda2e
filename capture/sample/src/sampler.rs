//! The sampler: its threads, and what they need to know of each other.
//!
//! ```text
//! kernel rings ──> reader ──records──> resolver ──events──┐
//!                    └──new processes──> Python ──events──┴──> poll
//! ```
//!
//! The reader empties the rings and looks at nothing; names are found by the resolver; Python stacks have a pace of
//! their own.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
#[cfg(feature = "python")]
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::event::{Notice, NoticeKind, SampleEvent};
use crate::perf::Perf;
use crate::permission;
use crate::procfs;
#[cfg(feature = "python")]
use crate::python::{self, PythonOptions};
use crate::queue::{Inlet, Outlet, queue};
use crate::record::Body;
use crate::resolve::{self, Known, Work};

/// Whether time inside the kernel is sampled, and frames of it are part of stacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KernelFrames {
    /// Where it is permitted.
    #[default]
    Auto,
    /// As `Auto`; a notice says so where it is not permitted.
    On,
    /// Never.
    Off,
}

/// What to sample.
#[derive(Clone, Debug)]
pub struct SampleOptions {
    /// Processes to begin with; all their descendants are sampled too, those that exist and those to come.
    pub root_pids: Vec<u32>,
    /// Stacks per second: native ones of running time of each thread, Python ones of each process.
    pub frequency_hz: u32,
    /// Native stacks.
    pub native: bool,
    /// Python stacks.
    pub python: bool,
    /// When each thread got a processor and gave it up.
    pub context_switches: bool,
    /// Frames of the kernel.
    pub kernel: KernelFrames,
    /// Bytes of each stack to copy, to unwind code without frame pointers by its unwind tables; `None` follows frame
    /// pointers only. 8192 shows most stacks whole, at 8 KB more per sample to copy. At most 32 KiB, x86-64 only.
    pub unwind_stack_bytes: Option<u32>,
    /// Read debug information, where programs have it, for files, lines and inlined functions.
    pub source_lines: bool,
    /// The part of one core that reading Python stacks may take, of all processes together. Beyond, they are read less
    /// often.
    pub python_budget: f64,
}

impl Default for SampleOptions {
    fn default() -> Self {
        Self {
            root_pids: Vec::new(),
            frequency_hz: 99,
            native: true,
            python: true,
            context_switches: true,
            kernel: KernelFrames::Auto,
            unwind_stack_bytes: None,
            source_lines: true,
            python_budget: 0.25,
        }
    }
}

/// Tells the Python thread of processes.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "python"), expect(dead_code, reason = "nobody asks which process it is"))]
pub(crate) enum Hint {
    /// It is new, or runs a new program.
    Changed(u32),
    /// It ended.
    Gone(u32),
}

/// What the sampler's threads share.
pub(crate) struct Shared {
    pub(crate) stop: AtomicBool,
    pub(crate) roots: Mutex<Vec<u32>>,
    perf: Mutex<Option<Perf>>,
    known: Mutex<Vec<Known>>,
}

/// How often the rings are emptied. A ring of 512 KiB then holds half a million switches a second.
const DRAIN_PAUSE: Duration = Duration::from_millis(20);
/// A record becomes readable a moment after its time was taken. Records younger than this wait for the next round, so
/// that rings of different processors can be put in one order.
const SETTLE_NS: u64 = 2_000_000;
/// Bytes of records that wait for their names.
const WORK_BYTES: usize = 32 << 20;
/// Bytes of events that wait for [`Sampler::poll`].
const EVENT_BYTES: usize = 32 << 20;

/// A running sampler. Dropping it stops it; [`Sampler::finish`] also hands over what is still under way.
pub struct Sampler {
    shared: Arc<Shared>,
    events: Inlet<SampleEvent>,
    threads: Vec<JoinHandle<()>>,
}

impl Sampler {
    /// Begins to sample. When this returns, the processes are attached to: what they do from now on is seen.
    ///
    /// Never fails: what is not possible on this machine is said by the notices, one line each, and the rest works.
    pub fn start(options: SampleOptions) -> (Self, Vec<Notice>) {
        let (plan, mut notices) = permission::plan(&options);
        let (event_outlet, events) = queue(EVENT_BYTES);
        let perf = plan.measure.and_then(|measure| match Perf::new(measure) {
            Ok(perf) => Some(perf),
            Err(error) => {
                notices.push(permission::no_rings(&error));
                None
            }
        });
        let has_perf = perf.is_some();
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            roots: Mutex::new(Vec::new()),
            perf: Mutex::new(perf),
            known: Mutex::new(Vec::new()),
        });
        let mut sampler = Self { shared, events, threads: Vec::new() };
        let hints =
            if plan.python { sampler.start_python(&options, has_perf, &event_outlet, &mut notices) } else { None };
        if has_perf {
            sampler.start_perf(&options, hints, event_outlet, &mut notices);
        }
        for pid in options.root_pids {
            notices.extend(sampler.add_process(pid));
        }
        (sampler, notices)
    }

    /// What of these options is not possible on this machine, without beginning anything. Says nothing of single
    /// processes.
    pub fn probe(options: &SampleOptions) -> Vec<Notice> {
        let (plan, mut notices) = permission::plan(options);
        if let Some(Err(error)) = plan.measure.map(Perf::new) {
            notices.push(permission::no_rings(&error));
        }
        notices
    }

    /// Samples a further process and all its descendants. Notices say what of it is not possible.
    pub fn add_process(&self, pid: u32) -> Vec<Notice> {
        lock(&self.shared.roots).push(pid);
        let mut perf = lock(&self.shared.perf);
        let Some(perf) = perf.as_mut() else { return Vec::new() };
        let mut notices = Vec::new();
        let mut attached = std::collections::BTreeSet::new();
        // What is born while this goes on is born to a thread that is attached to already, or found by the next pass.
        loop {
            let before = attached.len();
            for process in procfs::with_descendants(&[pid]) {
                if let Err(error) = attach(perf, process, &mut attached, &self.shared) {
                    notices.push(permission::not_attached(process, &error));
                    if too_many_files(&error) {
                        return notices;
                    }
                }
            }
            if attached.len() == before || !notices.is_empty() {
                break;
            }
        }
        if attached.is_empty() && notices.is_empty() {
            notices.push(Notice::new(NoticeKind::Process, format!("process {pid} is not sampled: it does not exist")));
        }
        notices
    }

    /// Hands over all that was found out since the last call. Native stacks, switches and the life of processes come in
    /// order of time, about 20 to 50 ms after they happened; Python stacks come among them in an order of their own.
    pub fn poll(&mut self, take: &mut dyn FnMut(SampleEvent)) {
        while let Some(event) = self.events.take() {
            take(event);
        }
    }

    /// Stops, and hands over all that is left. Waits until the last stack has its names.
    pub fn finish(mut self, take: &mut dyn FnMut(SampleEvent)) {
        self.stop();
        while let Some(event) = self.events.wait() {
            take(event);
        }
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing more to hand over.
            let _ = thread.join();
        }
        let malformed = lock(&self.shared.perf).as_ref().map_or(0, Perf::malformed);
        if malformed > 0 {
            take(SampleEvent::Lost(malformed));
        }
    }

    fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        for thread in &self.threads {
            thread.thread().unpark();
        }
    }

    fn start_perf(
        &mut self,
        options: &SampleOptions,
        hints: Option<Sender<Hint>>,
        events: Outlet<SampleEvent>,
        notices: &mut Vec<Notice>,
    ) {
        let (work_outlet, work_inlet) = queue(WORK_BYTES);
        let shared = self.shared.clone();
        let source_lines = options.source_lines;
        let reader = spawn("gapless-perf", move || read(&shared, work_outlet, hints.as_ref()));
        let resolver = spawn("gapless-names", move || resolve::run(&work_inlet, events, source_lines));
        match (reader, resolver) {
            (Ok(reader), Ok(resolver)) => self.threads.extend([reader, resolver]),
            (Err(error), _) | (_, Err(error)) => {
                *lock(&self.shared.perf) = None;
                notices.push(permission::no_thread(&error));
            }
        }
    }

    #[cfg(feature = "python")]
    fn start_python(
        &mut self,
        options: &SampleOptions,
        told: bool,
        events: &Outlet<SampleEvent>,
        notices: &mut Vec<Notice>,
    ) -> Option<Sender<Hint>> {
        let (hints, hinted) = channel();
        let shared = self.shared.clone();
        let events = events.clone();
        let python = PythonOptions { frequency_hz: options.frequency_hz, budget: options.python_budget, told };
        match spawn("gapless-python", move || python::run(&shared, &hinted, events, &python)) {
            Ok(thread) => {
                self.threads.push(thread);
                Some(hints)
            }
            Err(error) => {
                notices.push(permission::no_thread(&error));
                None
            }
        }
    }

    #[cfg(not(feature = "python"))]
    fn start_python(
        &mut self,
        _options: &SampleOptions,
        _told: bool,
        _events: &Outlet<SampleEvent>,
        _notices: &mut Vec<Notice>,
    ) -> Option<Sender<Hint>> {
        None
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Attaches to all threads of a process that are not in `attached`.
fn attach(
    perf: &mut Perf,
    pid: u32,
    attached: &mut std::collections::BTreeSet<u32>,
    shared: &Shared,
) -> io::Result<()> {
    let mut threads = Vec::new();
    loop {
        let new: Vec<u32> = procfs::threads(pid).into_iter().filter(|tid| !attached.contains(tid)).collect();
        if new.is_empty() {
            break;
        }
        for tid in new {
            match perf.attach(tid) {
                Ok(()) => {}
                // It ended meanwhile.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                Err(error) => return Err(error),
            }
            attached.insert(tid);
            threads.push(tid);
        }
    }
    if !threads.is_empty() {
        let monotonic_ns = clock_ns(ClockId::Monotonic);
        let threads =
            threads.into_iter().filter_map(|tid| procfs::thread_name(pid, tid).map(|name| (tid, name))).collect();
        lock(&shared.known).push(Known { pid, monotonic_ns, threads, mappings: procfs::mappings(pid) });
    }
    Ok(())
}

/// Empties the rings until the sampler stops.
fn read(shared: &Shared, mut outlet: Outlet<Work>, hints: Option<&Sender<Hint>>) {
    let mut records = Vec::new();
    let mut pending: Vec<Work> = Vec::new();
    loop {
        let stopping = shared.stop.load(Ordering::Acquire);
        let now_ns = clock_ns(ClockId::Monotonic);
        if let Some(perf) = lock(&shared.perf).as_mut() {
            if stopping {
                perf.disable();
            }
            perf.drain(&mut records);
        }
        for record in &records {
            if let (Some(hints), Some(hint)) = (hints, hint(&record.body)) {
                // Without a Python thread nobody needs to know.
                let _ = hints.send(hint);
            }
        }
        pending.extend(records.drain(..).map(Work::Record));
        pending.extend(lock(&shared.known).drain(..).map(Work::Known));
        pending.sort_by_key(Work::time_ns);
        let settled = if stopping {
            pending.len()
        } else {
            pending.partition_point(|work| work.time_ns() < now_ns.saturating_sub(SETTLE_NS))
        };
        for work in pending.drain(..settled) {
            if !outlet.send(work) {
                return;
            }
        }
        outlet.tell_dropped();
        if stopping {
            return;
        }
        std::thread::park_timeout(DRAIN_PAUSE);
    }
}

fn hint(body: &Body) -> Option<Hint> {
    match body {
        Body::Fork { pid, parent_pid, .. } if pid != parent_pid => Some(Hint::Changed(*pid)),
        Body::Comm { pid, is_exec: true, .. } => Some(Hint::Changed(*pid)),
        Body::Exit { pid, tid } if pid == tid => Some(Hint::Gone(*pid)),
        _ => None,
    }
}

fn too_many_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work)
}

/// What a panicking thread left behind is whole: each holder changes it in one step.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A clock in nanoseconds.
pub(crate) fn clock_ns(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}
