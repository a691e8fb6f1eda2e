//! From context switches to intervals: when each thread ran, on which processor, and when it did not.
//!
//! A pure state machine. Per thread there is at most one open interval; a record that contradicts it (two arrivals
//! in a row, a departure from another processor, time that runs backwards) means that records are missing, so the
//! open interval is dropped and counted rather than guessed.

use rustc_hash::FxHashMap;

use crate::event::{ProcessChange, ProcessEvent, SampleEvent, Switch};

/// What a thread did during an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ThreadState {
    /// It had a processor.
    Running {
        /// The processor.
        cpu: u32,
    },
    /// It had none.
    Off {
        /// It could have run: another thread had taken the processor. False where it waited for something; the time
        /// from when that came until the thread got a processor is part of it, because switches do not tell them apart.
        preempted: bool,
    },
}

/// One interval of one thread, `[start_ns, end_ns)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ThreadInterval {
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// Begin, `CLOCK_MONOTONIC` in nanoseconds.
    pub start_ns: u64,
    /// End, `CLOCK_MONOTONIC` in nanoseconds; never before `start_ns`.
    pub end_ns: u64,
    /// What the thread did.
    pub state: ThreadState,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    pid: u32,
    since_ns: u64,
    state: ThreadState,
}

/// The state machine. Feed it what [`crate::Sampler::poll`] delivers, in that order.
#[derive(Debug, Default)]
pub struct ThreadStates {
    open: FxHashMap<u32, Open>,
    gaps: u64,
}

impl ThreadStates {
    /// A machine that knows no thread yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one event; `emit` gets each interval that it ends.
    pub fn event(&mut self, event: &SampleEvent, emit: &mut dyn FnMut(ThreadInterval)) {
        match event {
            SampleEvent::Switch(switch) => self.switch(switch, emit),
            SampleEvent::Process(process) => self.process(process, emit),
            SampleEvent::Lost(_) => self.lost(),
            SampleEvent::Sample(_) | SampleEvent::Notice(_) => {}
        }
    }

    /// Takes a context switch.
    pub fn switch(&mut self, switch: &Switch, emit: &mut dyn FnMut(ThreadInterval)) {
        let open = self.open.get(&switch.tid).copied();
        if let Some(open) = open {
            let fits = match open.state {
                ThreadState::Running { cpu } => switch.is_out && cpu == switch.cpu,
                ThreadState::Off { .. } => !switch.is_out,
            };
            if fits && switch.monotonic_ns >= open.since_ns && open.pid == switch.pid {
                emit(open.until(switch.tid, switch.monotonic_ns));
            } else {
                self.gaps += 1;
            }
        }
        let state = if switch.is_out {
            ThreadState::Off { preempted: switch.preempted }
        } else {
            ThreadState::Running { cpu: switch.cpu }
        };
        self.open.insert(switch.tid, Open { pid: switch.pid, since_ns: switch.monotonic_ns, state });
    }

    /// Takes the begin or end of a thread; other changes say nothing about processors.
    pub fn process(&mut self, event: &ProcessEvent, emit: &mut dyn FnMut(ThreadInterval)) {
        match event.change {
            ProcessChange::ThreadStart => {
                // A new thread could run at once: until it does, others have the processors.
                let state = ThreadState::Off { preempted: true };
                self.open.insert(event.tid, Open { pid: event.pid, since_ns: event.monotonic_ns, state });
            }
            ProcessChange::ThreadExit => {
                if let Some(open) = self.open.remove(&event.tid) {
                    if event.monotonic_ns >= open.since_ns && matches!(open.state, ThreadState::Running { .. }) {
                        emit(open.until(event.tid, event.monotonic_ns));
                    } else {
                        // Only a running thread can end; one of its arrivals is missing.
                        self.gaps += 1;
                    }
                }
            }
            _ => {}
        }
    }

    /// Records are missing: nothing is known of any thread until its next switch.
    pub fn lost(&mut self) {
        self.gaps += self.open.len() as u64;
        self.open.clear();
    }

    /// Ends all open intervals at `monotonic_ns`, ordered by thread.
    pub fn finish(&mut self, monotonic_ns: u64, emit: &mut dyn FnMut(ThreadInterval)) {
        let mut open: Vec<_> = self.open.drain().collect();
        open.sort_unstable_by_key(|(tid, _)| *tid);
        for (tid, open) in open {
            if monotonic_ns >= open.since_ns {
                emit(open.until(tid, monotonic_ns));
            }
        }
    }

    /// Intervals that were dropped because records contradicted them.
    pub fn gaps(&self) -> u64 {
        self.gaps
    }
}

impl Open {
    fn until(self, tid: u32, end_ns: u64) -> ThreadInterval {
        ThreadInterval { pid: self.pid, tid, start_ns: self.since_ns, end_ns, state: self.state }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(tid: u32, cpu: u32, monotonic_ns: u64, is_out: bool, preempted: bool) -> SampleEvent {
        SampleEvent::Switch(Switch { pid: 1, tid, cpu, monotonic_ns, is_out, preempted })
    }

    fn life(tid: u32, monotonic_ns: u64, change: ProcessChange) -> SampleEvent {
        SampleEvent::Process(ProcessEvent { pid: 1, tid, monotonic_ns, change })
    }

    fn run(events: &[SampleEvent], end_ns: u64) -> (Vec<ThreadInterval>, u64) {
        let mut states = ThreadStates::new();
        let mut out = Vec::new();
        for event in events {
            states.event(event, &mut |interval| out.push(interval));
        }
        states.finish(end_ns, &mut |interval| out.push(interval));
        (out, states.gaps())
    }

    fn interval(tid: u32, start_ns: u64, end_ns: u64, state: ThreadState) -> ThreadInterval {
        ThreadInterval { pid: 1, tid, start_ns, end_ns, state }
    }

    #[test]
    fn a_thread_from_start_to_exit() {
        let events = [
            life(5, 10, ProcessChange::ThreadStart),
            at(5, 0, 12, false, false),
            at(5, 0, 20, true, true),
            at(5, 1, 25, false, false),
            at(5, 1, 40, true, false),
            at(5, 1, 90, false, false),
            life(5, 95, ProcessChange::ThreadExit),
        ];
        let expected = [
            interval(5, 10, 12, ThreadState::Off { preempted: true }),
            interval(5, 12, 20, ThreadState::Running { cpu: 0 }),
            interval(5, 20, 25, ThreadState::Off { preempted: true }),
            interval(5, 25, 40, ThreadState::Running { cpu: 1 }),
            interval(5, 40, 90, ThreadState::Off { preempted: false }),
            interval(5, 90, 95, ThreadState::Running { cpu: 1 }),
        ];
        assert_eq!(run(&events, 1000), (expected.to_vec(), 0));
    }

    #[test]
    fn a_thread_met_midway() {
        let events = [at(5, 0, 20, true, false), at(5, 0, 30, false, false)];
        let expected = [
            interval(5, 20, 30, ThreadState::Off { preempted: false }),
            interval(5, 30, 50, ThreadState::Running { cpu: 0 }),
        ];
        assert_eq!(run(&events, 50), (expected.to_vec(), 0));
    }

    #[test]
    fn missing_records_are_gaps_not_guesses() {
        let events = [
            at(5, 0, 10, false, false),
            at(5, 1, 20, false, false), // left processor 0 unseen
            at(5, 0, 30, true, false),  // not where it arrived
            at(5, 0, 25, false, false), // time runs backwards
        ];
        assert_eq!(run(&events, 40), (vec![interval(5, 25, 40, ThreadState::Running { cpu: 0 })], 3));
        let events = [at(5, 0, 10, false, false), SampleEvent::Lost(1), at(5, 0, 20, true, false)];
        assert_eq!(run(&events, 20), (vec![interval(5, 20, 20, ThreadState::Off { preempted: false })], 1));
    }

    proptest! {
        /// Whatever comes, intervals of a thread neither overlap nor run backwards; with nothing missing they are
        /// contiguous and alternate.
        #[test]
        fn intervals_never_overlap(
            steps in proptest::collection::vec((0u32..3, 0u32..2, 0u64..50, any::<bool>(), any::<bool>()), 0..200),
        ) {
            let mut now = 0;
            let events: Vec<_> = steps
                .iter()
                .map(|(tid, cpu, step, is_out, preempted)| {
                    now += step;
                    at(*tid, *cpu, now, *is_out, *preempted)
                })
                .collect();
            let (intervals, gaps) = run(&events, now);
            for tid in 0..3 {
                let own: Vec<_> = intervals.iter().filter(|interval| interval.tid == tid).collect();
                for pair in own.windows(2) {
                    prop_assert!(pair[0].end_ns <= pair[1].start_ns);
                    if gaps == 0 {
                        prop_assert_eq!(pair[0].end_ns, pair[1].start_ns);
                        let running = |i: &ThreadInterval| matches!(i.state, ThreadState::Running { .. });
                        prop_assert!(running(pair[0]) != running(pair[1]));
                    }
                }
                prop_assert!(own.iter().all(|interval| interval.start_ns <= interval.end_ns));
            }
        }
    }
}
