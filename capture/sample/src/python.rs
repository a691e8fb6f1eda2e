//! Python stacks, read out of the memory of running interpreters without stopping them (py-spy).

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use py_spy::config::LockingStrategy;
use py_spy::{Config, PythonSpy};
use rustc_hash::FxHashSet;
use rustix::time::ClockId;

use crate::event::{Frame, Notice, NoticeKind, Sample, SampleEvent, StackKind};
use crate::procfs;
use crate::queue::Outlet;
use crate::sampler::{Hint, Shared, clock_ns};
use crate::symbols::Strings;

/// How often a process that runs no Python yet is looked at again: at first soon, then ever less.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LONGEST_LOOK: Duration = Duration::from_secs(2);
/// Attempts to attach to an interpreter, over about ten seconds, before it is given up: while it starts, attaching
/// fails.
const MOST_ATTEMPTS: u32 = 12;
/// Samples in a row that may fail before the process is attached to anew.
const MOST_FAILURES: u32 = 50;
/// Processes are searched for so often where the kernel does not tell of new ones.
const SEARCH: Duration = Duration::from_millis(250);
/// And so often where it does, for those whose record was lost.
const SEARCH_TOLD: Duration = Duration::from_secs(2);
/// Notices of processes that could not be attached to, for reasons that are their own.
const MOST_NOTICES: usize = 5;

/// What the Python thread is to do.
pub(crate) struct PythonOptions {
    pub(crate) frequency_hz: u32,
    /// The part of one core that reading stacks may take.
    pub(crate) budget: f64,
    /// Whether hints tell of new processes.
    pub(crate) told: bool,
}

/// How often to sample so that all processes together stay within the budget. Pure.
#[derive(Debug)]
pub(crate) struct Pace {
    wanted: Duration,
    budget: f64,
    /// The slow-down that was last told of.
    told: f64,
}

impl Pace {
    pub(crate) fn new(frequency_hz: u32, budget: f64) -> Self {
        let wanted = Duration::from_secs(1) / frequency_hz.max(1);
        Self { wanted, budget: if budget > 0.0 { budget } else { 1.0 }, told: 1.0 }
    }

    /// The interval between samples of one process, given what one sample of every process costs together. A line where
    /// it is much longer than what was last told of.
    pub(crate) fn interval(&mut self, cost_of_all: Duration) -> (Duration, Option<String>) {
        let share = cost_of_all.as_secs_f64() / self.wanted.as_secs_f64();
        let factor = (share / self.budget).clamp(1.0, 10_000.0);
        let interval = self.wanted.mul_f64(factor);
        let line = (factor >= self.told * 1.5).then(|| {
            self.told = factor;
            format!(
                "Python stacks are read {:.1} times a second instead of {:.0}: reading those of all processes takes \
                 {:.1} ms, and more often would use more than {:.0} % of a core",
                1.0 / interval.as_secs_f64(),
                1.0 / self.wanted.as_secs_f64(),
                cost_of_all.as_secs_f64() * 1e3,
                self.budget * 100.0
            )
        });
        (interval, line)
    }
}

enum State {
    /// Not known to run Python: look again then.
    Candidate {
        look: Instant,
        pause: Duration,
        attempts: u32,
    },
    Attached(Box<Attached>),
    /// Given up.
    Hopeless,
}

struct Attached {
    spy: PythonSpy,
    module: Arc<str>,
    due: Instant,
    /// What one sample costs, smoothed.
    cost: Duration,
    failures: u32,
}

struct Watch<'a> {
    shared: &'a Shared,
    outlet: Outlet<SampleEvent>,
    processes: BTreeMap<u32, State>,
    strings: Strings,
    config: Config,
    pace: Pace,
    told: FxHashSet<&'static str>,
    told_of_processes: usize,
}

/// Samples until the sampler stops.
pub(crate) fn run(shared: &Shared, hints: &Receiver<Hint>, outlet: Outlet<SampleEvent>, options: &PythonOptions) {
    let config = Config {
        blocking: LockingStrategy::NonBlocking,
        native: false,
        // Reading names walks a dictionary of the interpreter, each time.
        collect_thread_names: false,
        ..Config::default()
    };
    let mut watch = Watch {
        shared,
        outlet,
        processes: BTreeMap::new(),
        strings: Strings::default(),
        config,
        pace: Pace::new(options.frequency_hz, options.budget),
        told: FxHashSet::default(),
        told_of_processes: 0,
    };
    let search_pause = if options.told { SEARCH_TOLD } else { SEARCH };
    let mut next_search = Instant::now();
    while !shared.stop.load(Ordering::Acquire) {
        for hint in hints.try_iter() {
            watch.hint(hint);
        }
        let now = Instant::now();
        if now >= next_search {
            watch.search();
            next_search = now + search_pause;
        }
        let next = watch.round(now).min(next_search);
        // New processes are to be noticed soon, whatever else there is to do.
        let pause = next.saturating_duration_since(Instant::now()).min(FIRST_LOOK);
        if !pause.is_zero() {
            std::thread::park_timeout(pause);
        }
    }
    watch.outlet.tell_dropped();
}

impl Watch<'_> {
    fn hint(&mut self, hint: Hint) {
        match hint {
            Hint::Changed(pid) => {
                self.processes.insert(pid, candidate(Instant::now()));
            }
            Hint::Gone(pid) => {
                self.processes.remove(&pid);
            }
        }
    }

    fn search(&mut self) {
        let roots = self.shared.roots.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let now = Instant::now();
        for pid in procfs::with_descendants(&roots) {
            self.processes.entry(pid).or_insert_with(|| State::Candidate { look: now, pause: FIRST_LOOK, attempts: 0 });
        }
        self.processes.retain(|pid, _| std::path::Path::new(&format!("/proc/{pid}")).exists());
    }

    /// Does what is due, and says when something will be.
    fn round(&mut self, now: Instant) -> Instant {
        let cost_of_all = self
            .processes
            .values()
            .map(|state| if let State::Attached(attached) = state { attached.cost } else { Duration::ZERO })
            .sum();
        let (interval, line) = self.pace.interval(cost_of_all);
        if let Some(line) = line {
            self.outlet.send(SampleEvent::Notice(Notice::new(NoticeKind::Rate, line)));
        }
        let mut next = now + LONGEST_LOOK;
        let mut attached_one = false;
        let pids: Vec<u32> = self.processes.keys().copied().collect();
        for pid in pids {
            let Some(mut state) = self.processes.remove(&pid) else { continue };
            match &mut state {
                State::Candidate { look, .. } if *look <= now && !attached_one => {
                    // Attaching takes milliseconds: one in a round, so that the others keep their pace.
                    let (after, tried) = self.look(pid, state);
                    attached_one = tried;
                    state = after;
                }
                State::Attached(attached) if attached.due <= now => {
                    let kept = self.sample(pid, attached);
                    attached.due = (attached.due + interval).max(Instant::now());
                    if !kept {
                        state = candidate(now);
                    }
                }
                _ => {}
            }
            next = next.min(match &state {
                State::Candidate { look, .. } => *look,
                State::Attached(attached) => attached.due,
                State::Hopeless => next,
            });
            self.processes.insert(pid, state);
        }
        next
    }

    /// Looks whether a process runs Python, and attaches if it does. Also whether attaching was tried.
    fn look(&mut self, pid: u32, state: State) -> (State, bool) {
        let State::Candidate { pause, attempts, .. } = state else { return (state, false) };
        let pause = (pause * 2).min(LONGEST_LOOK);
        let look = Instant::now() + pause;
        if !procfs::mappings(pid).iter().any(|mapping| is_python(&mapping.path)) {
            if procfs::is_closed(pid) && procfs::thread_name(pid, pid).is_some_and(|name| is_python(&name)) {
                self.refused(pid, "Permission denied");
                return (State::Hopeless, false);
            }
            return (State::Candidate { look, pause, attempts }, false);
        }
        let attached = catch_unwind(AssertUnwindSafe(|| PythonSpy::new(i32::try_from(pid)?, &self.config)));
        let reason = match attached {
            Ok(Ok(spy)) => {
                let module = self.strings.intern(&format!("python{}.{}", spy.version.major, spy.version.minor));
                let due = Instant::now();
                let cost = Duration::ZERO;
                return (State::Attached(Box::new(Attached { spy, module, due, cost, failures: 0 })), true);
            }
            Ok(Err(error)) => format!("{error:#}"),
            Err(panic) => panic_text(&*panic),
        };
        let attempts = attempts + 1;
        let hopeless = permission(&reason) || unknown_version(&reason) || attempts >= MOST_ATTEMPTS;
        if !hopeless {
            return (State::Candidate { look, pause, attempts }, true);
        }
        // One that ended meanwhile is no news.
        if !procfs::threads(pid).is_empty() && !procfs::mappings(pid).is_empty() {
            self.refused(pid, &reason);
        }
        (State::Hopeless, true)
    }

    fn refused(&mut self, pid: u32, reason: &str) {
        let text = if permission(reason) {
            if !self.told.insert("permission") {
                return;
            }
            format!(
                "Python stacks of process {pid} are not possible: reading its memory is not permitted ({reason}); it \
                 must run as the same user, and kernel.yama.ptrace_scope be 0, or 1 for processes that Gapless \
                 started; CAP_SYS_PTRACE permits it always"
            )
        } else if unknown_version(reason) {
            if !self.told.insert("version") {
                return;
            }
            format!("Python stacks of process {pid} are not possible: {reason}")
        } else {
            self.told_of_processes += 1;
            if self.told_of_processes > MOST_NOTICES {
                return;
            }
            format!("Python stacks of process {pid} are not possible: {reason}")
        };
        self.outlet.send(SampleEvent::Notice(Notice::new(NoticeKind::NoPython, text)));
    }

    /// Takes the stacks of all threads of a process. False when it is to be attached to anew.
    fn sample(&mut self, pid: u32, attached: &mut Attached) -> bool {
        let (before_ns, cpu_before_ns) = (clock_ns(ClockId::Monotonic), clock_ns(ClockId::ThreadCPUTime));
        let traces = catch_unwind(AssertUnwindSafe(|| attached.spy.get_stack_traces()));
        let (after_ns, cpu_after_ns) = (clock_ns(ClockId::Monotonic), clock_ns(ClockId::ThreadCPUTime));
        let cost = Duration::from_nanos(cpu_after_ns.saturating_sub(cpu_before_ns));
        attached.cost = if attached.cost.is_zero() { cost } else { (attached.cost * 7 + cost) / 8 };
        let traces = match traces {
            Ok(Ok(traces)) => traces,
            // The interpreter moved its memory while it was read, or ended. The next sample will tell.
            Ok(Err(_)) => {
                attached.failures += 1;
                return attached.failures < MOST_FAILURES;
            }
            Err(_) => return false,
        };
        attached.failures = 0;
        let monotonic_ns = before_ns + after_ns.saturating_sub(before_ns) / 2;
        let only_one = traces.len() == 1;
        for trace in traces {
            let tid = match trace.os_thread_id.and_then(|tid| u32::try_from(tid).ok()) {
                Some(tid) => tid,
                // Interpreters before 3.11 do not say which of the kernel's threads theirs is.
                None if only_one => pid,
                None => continue,
            };
            let stack: Vec<Frame> = trace
                .frames
                .iter()
                .map(|frame| Frame {
                    name: self.strings.intern(&frame.name),
                    module: attached.module.clone(),
                    file: Some(self.strings.intern(&frame.filename)),
                    line: u32::try_from(frame.line).ok().filter(|line| *line > 0),
                    is_python: true,
                    is_kernel: false,
                })
                .collect();
            if stack.is_empty() {
                continue;
            }
            let kind = StackKind::Python;
            self.outlet.send(SampleEvent::Sample(Sample {
                pid,
                tid,
                monotonic_ns,
                cpu: None,
                stack,
                kind,
                running: trace.active,
            }));
        }
        true
    }
}

fn candidate(now: Instant) -> State {
    State::Candidate { look: now + FIRST_LOOK, pause: FIRST_LOOK, attempts: 0 }
}

/// Whether a mapped file is an interpreter or its library.
fn is_python(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.starts_with("python") || name.starts_with("libpython")
}

fn permission(reason: &str) -> bool {
    reason.contains("Permission denied") || reason.contains("Operation not permitted")
}

fn unknown_version(reason: &str) -> bool {
    reason.contains("Unsupported version")
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("its interpreter could not be read ({})", text.unwrap_or("no reason given"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_slows_to_the_budget_and_says_so_once() {
        let mut pace = Pace::new(100, 0.25);
        let wanted = Duration::from_millis(10);
        assert_eq!(pace.interval(Duration::from_micros(200)), (wanted, None));
        // A quarter of a core exactly.
        assert_eq!(pace.interval(Duration::from_micros(2500)), (wanted, None));
        // 10 ms for all, a quarter of a core: every 40 ms.
        let (interval, line) = pace.interval(Duration::from_millis(10));
        assert_eq!(interval, Duration::from_millis(40));
        let line = line.expect("slowed");
        assert!(line.starts_with("Python stacks are read 25.0 times a second instead of 100: "), "{line}");
        assert_eq!(pace.interval(Duration::from_millis(11)).1, None);
        assert!(pace.interval(Duration::from_millis(20)).1.is_some());
        // Back as soon as it can be.
        assert_eq!(pace.interval(Duration::from_micros(200)), (wanted, None));
    }

    #[test]
    fn interpreters_by_name() {
        assert!(is_python("/usr/bin/python3.11") && is_python("/lib/libpython3.12.so.1.0"));
        assert!(!is_python("/home/python/bin/node") && !is_python(""));
    }
}
