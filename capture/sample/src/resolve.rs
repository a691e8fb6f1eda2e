//! From records to events: processes and their modules are followed, addresses become frames.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::event::{Frame, Notice, NoticeKind, ProcessChange, ProcessEvent, Sample, SampleEvent, StackKind, Switch};
use crate::modules::{ANONYMOUS, AddressSpace, Modules};
use crate::procfs;
use crate::queue::{Inlet, Outlet, Queued};
use crate::record::{Body, Record, UserStack};
use crate::symbols::Symbols;
use crate::unwind::Unwinding;

/// A process that existed before it was attached to.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) pid: u32,
    pub(crate) monotonic_ns: u64,
    /// Thread and name.
    pub(crate) threads: Vec<(u32, String)>,
    pub(crate) mappings: Vec<procfs::Mapping>,
}

/// What the resolver gets.
#[derive(Debug)]
pub(crate) enum Work {
    Record(Record),
    Known(Known),
    Lost(u64),
}

impl Work {
    pub(crate) fn time_ns(&self) -> u64 {
        match self {
            Work::Record(record) => record.origin.time_ns,
            Work::Known(known) => known.monotonic_ns,
            Work::Lost(_) => 0,
        }
    }
}

impl Queued for Work {
    fn droppable_bytes(&self) -> Option<usize> {
        match self {
            Work::Record(Record { body: Body::Sample { chain, stack }, .. }) => {
                Some(size_of::<Self>() + chain.len() * 8 + stack.as_ref().map_or(0, |stack| stack.bytes.len()))
            }
            Work::Record(Record { body: Body::Switch { .. }, .. }) => Some(size_of::<Self>()),
            // Without these, addresses of later samples would have wrong names.
            Work::Record(_) | Work::Known(_) | Work::Lost(_) => None,
        }
    }

    fn lost(count: u64) -> Self {
        Work::Lost(count)
    }
}

impl Queued for SampleEvent {
    fn droppable_bytes(&self) -> Option<usize> {
        match self {
            SampleEvent::Sample(sample) => Some(size_of::<Self>() + sample.stack.len() * size_of::<Frame>()),
            SampleEvent::Switch(_) => Some(size_of::<Self>()),
            SampleEvent::Process(_) | SampleEvent::Lost(_) | SampleEvent::Notice(_) => None,
        }
    }

    fn lost(count: u64) -> Self {
        SampleEvent::Lost(count)
    }
}

/// Markers in call chains (`PERF_CONTEXT_*`); all values from `CONTEXT_MAX` up are markers.
const CONTEXT_KERNEL: u64 = -128_i64 as u64;
const CONTEXT_USER: u64 = -512_i64 as u64;
const CONTEXT_MAX: u64 = -4095_i64 as u64;

/// The resolver.
pub(crate) struct Resolver {
    modules: Modules,
    symbols: Symbols,
    unwinding: Unwinding,
    spaces: FxHashMap<u32, AddressSpace>,
    threads: FxHashMap<u32, FxHashSet<u32>>,
    source_lines: bool,
    told_of_panic: bool,
}

/// Works until the queue of work ends.
pub(crate) fn run(inlet: &Inlet<Work>, mut outlet: Outlet<SampleEvent>, source_lines: bool) {
    let mut resolver = Resolver::new(source_lines);
    while let Some(work) = inlet.wait() {
        let mut listening = true;
        resolver.work(work, &mut |event| listening = outlet.send(event) && listening);
        if !listening {
            return;
        }
    }
    outlet.tell_dropped();
}

impl Resolver {
    pub(crate) fn new(source_lines: bool) -> Self {
        Self {
            modules: Modules::new(),
            symbols: Symbols::new(source_lines),
            unwinding: Unwinding::new(),
            spaces: FxHashMap::default(),
            threads: FxHashMap::default(),
            source_lines,
            told_of_panic: false,
        }
    }

    fn work(&mut self, work: Work, emit: &mut dyn FnMut(SampleEvent)) {
        match work {
            Work::Record(record) => self.record(record, emit),
            Work::Known(known) => self.known(known, emit),
            Work::Lost(count) => emit(SampleEvent::Lost(count)),
        }
    }

    fn known(&mut self, known: Known, emit: &mut dyn FnMut(SampleEvent)) {
        let Known { pid, monotonic_ns, threads, mappings } = known;
        let space = self.spaces.entry(pid).or_default();
        for mapping in &mappings {
            space.map(pid, mapping, &mut self.modules);
        }
        for (tid, name) in threads {
            self.threads.entry(pid).or_default().insert(tid);
            let change = ProcessChange::ThreadName { name: self.symbols.intern(&name) };
            emit(SampleEvent::Process(ProcessEvent { pid, tid, monotonic_ns, change }));
        }
    }

    fn record(&mut self, record: Record, emit: &mut dyn FnMut(SampleEvent)) {
        let Record { origin, body } = record;
        let monotonic_ns = origin.time_ns;
        let process = |emit: &mut dyn FnMut(SampleEvent), pid, tid, change| {
            emit(SampleEvent::Process(ProcessEvent { pid, tid, monotonic_ns, change }));
        };
        match body {
            Body::Sample { chain, stack } => {
                let found = catch_unwind(AssertUnwindSafe(|| self.stack(origin.pid, &chain, stack.as_ref())));
                let stack = found.unwrap_or_else(|_| {
                    // Symbols and tables of damaged files go through the code of others. Whatever state a panic left
                    // there is thrown away.
                    self.symbols = Symbols::new(self.source_lines);
                    self.unwinding = Unwinding::new();
                    if !std::mem::replace(&mut self.told_of_panic, true) {
                        let text = "some native stacks have no names: a file of symbols or unwind tables is damaged";
                        emit(SampleEvent::Notice(Notice::new(NoticeKind::NoNames, text)));
                    }
                    vec![unknown(&mut self.symbols)]
                });
                emit(SampleEvent::Sample(Sample {
                    pid: origin.pid,
                    tid: origin.tid,
                    monotonic_ns,
                    cpu: Some(origin.cpu),
                    stack,
                    kind: StackKind::Native,
                    running: true,
                }));
            }
            Body::Switch { is_out, preempted } => emit(SampleEvent::Switch(Switch {
                pid: origin.pid,
                tid: origin.tid,
                cpu: origin.cpu,
                monotonic_ns,
                is_out,
                preempted,
            })),
            Body::Map { pid, address, len, file_offset, path } => {
                let mapping = procfs::Mapping { address, len, file_offset, path };
                self.spaces.entry(pid).or_default().map(pid, &mapping, &mut self.modules);
            }
            Body::Comm { pid, tid, name, is_exec } => {
                let name = self.symbols.intern(&name);
                if is_exec {
                    self.spaces.entry(pid).or_default().clear();
                    process(emit, pid, tid, ProcessChange::Exec { name });
                } else {
                    process(emit, pid, tid, ProcessChange::ThreadName { name });
                }
            }
            Body::Fork { pid, parent_pid, tid } => {
                if pid != parent_pid {
                    let space = self.spaces.get(&parent_pid).cloned().unwrap_or_default();
                    self.spaces.insert(pid, space);
                    self.unwinding.forget(pid);
                    self.threads.remove(&pid);
                    process(emit, pid, tid, ProcessChange::Fork { parent_pid });
                }
                self.threads.entry(pid).or_default().insert(tid);
                process(emit, pid, tid, ProcessChange::ThreadStart);
            }
            Body::Exit { pid, tid } => {
                process(emit, pid, tid, ProcessChange::ThreadExit);
                let last = self.threads.get_mut(&pid).is_none_or(|threads| {
                    threads.remove(&tid);
                    threads.is_empty()
                });
                if last {
                    process(emit, pid, tid, ProcessChange::Exit);
                    self.spaces.remove(&pid);
                    self.threads.remove(&pid);
                    self.unwinding.forget(pid);
                }
            }
            Body::Lost(count) => emit(SampleEvent::Lost(count)),
        }
    }

    /// Frames of a call chain, innermost first.
    fn stack(&mut self, pid: u32, chain: &[u64], copied: Option<&UserStack>) -> Vec<Frame> {
        let mut frames = Vec::with_capacity(chain.len());
        let mut user = Vec::new();
        let (mut in_kernel, mut is_return) = (false, false);
        for address in chain {
            if *address >= CONTEXT_MAX {
                in_kernel = *address == CONTEXT_KERNEL;
                is_return = false;
                if !in_kernel && *address != CONTEXT_USER {
                    // Frames of a guest machine are nobody's here.
                    break;
                }
                continue;
            }
            if in_kernel {
                // A return address may lie behind the function's end: the call is what belongs to the frame.
                let address = if is_return { address.wrapping_sub(1) } else { *address };
                frames.extend_from_slice(&self.symbols.kernel(address));
            } else {
                user.push(*address);
            }
            is_return = true;
        }
        let Self { spaces, modules, symbols, unwinding, .. } = self;
        let space = spaces.entry(pid).or_insert_with(|| {
            // Its begin was lost: see what lies in it now.
            let mut space = AddressSpace::default();
            for mapping in procfs::mappings(pid) {
                space.map(pid, &mapping, modules);
            }
            space
        });
        if let Some(copied) = copied {
            let unwound = unwinding.unwind(pid, space, modules, copied);
            if unwound.len() > user.len() {
                user = unwound;
            }
        }
        for (index, address) in user.into_iter().enumerate() {
            let address = if index > 0 { address.wrapping_sub(1) } else { address };
            match space.find(address) {
                Some(region) => {
                    let offset = (address - region.start).wrapping_add(region.file_offset);
                    let offset = if region.module == ANONYMOUS { 0 } else { offset };
                    frames.extend_from_slice(&symbols.user(modules, region.module, offset));
                }
                None if index == 0 => frames.push(unknown(symbols)),
                // Code without frame pointers leaves other values in the register: no code lies there, and what such a
                // value leads to is no caller.
                None => break,
            }
        }
        frames
    }
}

fn unknown(symbols: &mut Symbols) -> Frame {
    let name: Arc<str> = symbols.intern("[unknown]");
    Frame { name: name.clone(), module: name, file: None, line: None, is_python: false, is_kernel: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Origin;

    fn record(pid: u32, tid: u32, body: Body) -> Work {
        Work::Record(Record { origin: Origin { pid, tid, time_ns: 5, cpu: 0, event_id: 1 }, body })
    }

    fn map(pid: u32, path: &str) -> Body {
        Body::Map { pid, address: 0x1000, len: 0x1000, file_offset: 0, path: path.into() }
    }

    fn names(resolver: &mut Resolver, pid: u32) -> Vec<String> {
        let chain = vec![CONTEXT_USER, 0x1010, 0x1020, 0x99_0000, 0x1030];
        let mut names = Vec::new();
        resolver.work(record(pid, pid, Body::Sample { chain, stack: None }), &mut |event| {
            if let SampleEvent::Sample(sample) = event {
                names = sample.stack.iter().map(|frame| frame.name.to_string()).collect();
            }
        });
        names
    }

    #[test]
    fn children_have_the_modules_of_their_parent_until_they_exec() {
        let mut resolver = Resolver::new(true);
        let (parent, child) = (u32::MAX - 2, u32::MAX - 1);
        let mut events = Vec::new();
        let mut feed =
            |resolver: &mut Resolver, pid, body| resolver.work(record(pid, pid, body), &mut |e| events.push(e));
        feed(&mut resolver, parent, map(parent, "/nowhere/one.so"));
        feed(&mut resolver, parent, Body::Fork { pid: child, parent_pid: parent, tid: child });
        // A return address belongs to the call before it, and nothing follows an address without code.
        assert_eq!(names(&mut resolver, child), ["one.so+0x10", "one.so+0x1f"]);
        feed(&mut resolver, child, Body::Comm { pid: child, tid: child, name: "two".into(), is_exec: true });
        assert_eq!(names(&mut resolver, child), ["[unknown]"]);
        feed(&mut resolver, child, map(child, "/nowhere/two"));
        assert_eq!(names(&mut resolver, child), ["two+0x10", "two+0x1f"]);
        assert_eq!(names(&mut resolver, parent), ["one.so+0x10", "one.so+0x1f"]);
        feed(&mut resolver, child, Body::Exit { pid: child, tid: child });
        let changes: Vec<ProcessChange> = events
            .into_iter()
            .filter_map(|event| match event {
                SampleEvent::Process(process) => Some(process.change),
                _ => None,
            })
            .collect();
        assert_eq!(
            changes,
            [
                ProcessChange::Fork { parent_pid: parent },
                ProcessChange::ThreadStart,
                ProcessChange::Exec { name: "two".into() },
                ProcessChange::ThreadExit,
                ProcessChange::Exit,
            ]
        );
    }
}
