//! What readers of CPU samples share: samples on the tracks of their threads, and which thread ran on which core.

use gapless_trace::{
    ArgsLoc, EventKind, Frame, RawChunk, RawEventStack, RawId, RawMeta, SourceId, StackId, StrId, TrackKind,
    WarningKind,
};
use rustc_hash::FxHashMap;

use crate::error::Refused;
use crate::limits::Limits;

/// Absent correlation or external id.
const NO_ID: u32 = u32::MAX;

/// A sample.
pub(crate) struct Sample {
    /// Its thread's process; [`RawId::None`] where the file does not say.
    pub pid: RawId,
    /// Its thread.
    pub tid: RawId,
    /// Time in ns.
    pub time: i64,
    /// Name of the event that was sampled.
    pub category: StrId,
    /// The call stack.
    pub stack: Option<StackId>,
    /// How much it stands for.
    pub weight: u64,
    /// Its arguments.
    pub args: ArgsLoc,
}

/// A chunk of CPU samples under construction.
#[derive(Default)]
pub(crate) struct SampleChunk {
    /// The chunk. Names, frames and stacks are interned right here.
    pub chunk: RawChunk,
    tracks: FxHashMap<(TrackKind, RawId, RawId), u32>,
    /// Last known name of each thread.
    threads: FxHashMap<(RawId, RawId), StrId>,
    /// What runs on each core.
    running: FxHashMap<i64, Run>,
    last_ns: i64,
    cpu: StrId,
    sched: StrId,
}

/// A thread that runs on a core.
#[derive(Clone, Copy)]
struct Run {
    since: i64,
    name: StrId,
    args: ArgsLoc,
    offset: u64,
}

impl SampleChunk {
    /// An empty chunk.
    pub fn new() -> Self {
        let mut chunk = Self { last_ns: i64::MIN, ..Self::default() };
        chunk.cpu = chunk.chunk.strings.intern("CPU");
        chunk.sched = chunk.chunk.strings.intern("sched");
        chunk
    }

    /// Interns text of the file; bytes that are not UTF-8 show as � and are counted at `offset`.
    pub fn text(&mut self, bytes: &[u8], offset: u64) -> StrId {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.chunk.strings.intern(text),
            Err(_) => {
                self.warn(WarningKind::InvalidUtf8, offset, "");
                self.chunk.strings.intern(&String::from_utf8_lossy(bytes))
            }
        }
    }

    /// Counts a warning.
    pub fn warn(&mut self, kind: WarningKind, offset: u64, detail: &str) {
        self.chunk.warnings.add(kind, SourceId(0), Some(offset), detail);
    }

    /// Remembers a thread's name; the last one counts.
    pub fn name_thread(&mut self, pid: RawId, tid: RawId, name: StrId) {
        if name != StrId::EMPTY {
            self.threads.insert((pid, tid), name);
        }
    }

    /// The name of a thread, as far as it is known.
    pub fn thread_name(&self, pid: RawId, tid: RawId) -> Option<StrId> {
        self.threads.get(&(pid, tid)).copied()
    }

    fn track(&mut self, kind: TrackKind, pid: RawId, tid: RawId) -> u32 {
        let tracks = &mut self.chunk.tracks;
        *self.tracks.entry((kind, pid, tid)).or_insert_with(|| {
            tracks.push((kind, pid, tid));
            tracks.len() as u32 - 1
        })
    }

    /// Adds a sample; its name is that of its innermost function, or of its event where it has no stack.
    pub fn sample(&mut self, sample: &Sample) {
        let track = self.track(TrackKind::Samples, sample.pid, sample.tid);
        // What stands for more than itself counts in sums, so that it has a frame, if only an unknown one.
        let stack = sample.stack.or_else(|| {
            let name = (sample.weight > 1).then(|| self.chunk.strings.intern("[unknown]"))?;
            self.chunk.stacks.push_all([Frame { name, ..Frame::default() }])
        });
        let innermost = stack.and_then(|stack| self.chunk.stacks.innermost(stack));
        let name = innermost.map_or(sample.category, |(_, frame)| frame.name);
        let event = self.chunk.len() as u32;
        self.last_ns = self.last_ns.max(sample.time);
        self.chunk.push(sample.time, 0, name, sample.category, EventKind::Sample, track, NO_ID, NO_ID, sample.args);
        if let Some(stack) = stack {
            self.chunk.event_stacks.push(RawEventStack { event, stack, weight: sample.weight });
        }
    }

    /// A thread begins to run on `core`; what ran there ends.
    pub fn switch_in(&mut self, core: i64, time: i64, name: StrId, args: ArgsLoc, offset: u64) {
        self.end_run(core, time, ArgsLoc::NONE);
        self.running.insert(core, Run { since: time, name, args, offset });
        self.last_ns = self.last_ns.max(time);
    }

    /// The thread on `core` stops. `is_idle` says that it was the idle thread, which is not drawn; any other that was
    /// not seen to begin is counted: it ran since before the recording.
    pub fn switch_out(&mut self, core: i64, time: i64, args: ArgsLoc, is_idle: bool, offset: u64) {
        self.last_ns = self.last_ns.max(time);
        if !self.end_run(core, time, args) && !is_idle {
            self.warn(WarningKind::EndWithoutBegin, offset, "a thread stops that was not seen to begin");
        }
    }

    /// Ends what runs on `core`; says whether anything did.
    fn end_run(&mut self, core: i64, time: i64, args: ArgsLoc) -> bool {
        let Some(run) = self.running.remove(&core) else { return false };
        let track = self.track(TrackKind::Cpu, RawId::Text(self.cpu), RawId::Int(core));
        let event = self.chunk.len() as u32;
        let dur = time.saturating_sub(run.since).max(0);
        self.chunk.push(run.since, dur, run.name, self.sched, EventKind::Scheduled, track, NO_ID, NO_ID, run.args);
        if !args.is_empty() {
            self.chunk.more_args.push((event, args));
        }
        true
    }

    /// Ends what still runs with the last event, names threads and processes, and gives the chunk.
    pub fn finish(mut self) -> RawChunk {
        let mut open: Vec<(i64, Run)> = self.running.iter().map(|(&core, &run)| (core, run)).collect();
        open.sort_unstable_by_key(|entry| entry.0);
        for (core, run) in open {
            self.warn(WarningKind::BeginWithoutEnd, run.offset, "");
            self.end_run(core, self.last_ns.max(run.since), ArgsLoc::NONE);
        }
        let mut names: Vec<((RawId, RawId), StrId)> = self.threads.into_iter().collect();
        names.sort_unstable();
        let used: rustc_hash::FxHashSet<(RawId, RawId)> =
            self.chunk.tracks.iter().map(|&(_, pid, tid)| (pid, tid)).collect();
        if used.iter().any(|&(pid, _)| pid == RawId::None) {
            let name = self.chunk.strings.intern("threads of any process");
            self.chunk.metas.push(RawMeta::ProcessName(RawId::None, name));
        }
        for ((pid, tid), name) in names {
            // A process is called what its main thread is called.
            if pid == tid && pid != RawId::None {
                self.chunk.metas.push(RawMeta::ProcessName(pid, name));
            }
            if used.contains(&(pid, tid)) {
                self.chunk.metas.push(RawMeta::ThreadName(pid, tid, name));
            }
        }
        self.chunk
    }

    /// Refuses what has more events than `limits` allow.
    pub fn check(&self, limits: &Limits) -> Result<(), Refused> {
        if self.chunk.file_events <= limits.events {
            return Ok(());
        }
        Err(Refused::Limit {
            what: "the number of its events".to_owned(),
            limit: limits.events.to_string(),
            flag: format!("events={}", limits.events.saturating_mul(4)),
        })
    }
}
