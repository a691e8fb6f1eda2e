//! Jobs of several ranks made directly as parts of a trace: many in little time, with clocks that are off.
//!
//! Every rank computes, comes to a collective, and goes on when it is over; all collectives of a step lie behind one
//! another. A collective ends on all its members at `last arrival + α + F · S ÷ B`, give or take a skew.

use gapless_trace::{
    Args, ArgsError, ArgsLoc, ArgsSource, BuildOptions, CollectiveArgs, EventKind, RawChunk, RawId, Source, Trace,
    TracePart, TrackKind,
};
use std::sync::Arc;

use crate::synth::Rng;

/// A process group and what it does in every step.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its name in the trace; without one the trace names none.
    pub name: Option<String>,
    /// Its ranks.
    pub ranks: Vec<u32>,
    /// Bytes of its all-reduces in a step, in order.
    pub sizes: Vec<u64>,
}

/// What shows the collectives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// NCCL kernels.
    Kernels,
    /// Ranges on threads of gloo, and points in time on the thread that asks for them, which name group, sequence number
    /// and bytes: what our own recordings have.
    Gloo,
    /// Ranges of MPI calls with arguments.
    Mpi,
}

/// What to make. Equal values make equal jobs.
#[derive(Clone, Debug)]
pub struct Job {
    /// Seed of all draws.
    pub seed: u64,
    /// Number of ranks.
    pub ranks: u32,
    /// Number of steps.
    pub steps: u32,
    /// Groups, in the order in which each step calls them.
    pub groups: Vec<Group>,
    /// Time of computation before each collective, in ns.
    pub compute_ns: i64,
    /// Computation varies by up to this share.
    pub jitter: f64,
    /// A rank and the share by which its computation takes longer.
    pub slow: Option<(u32, f64)>,
    /// α in ns.
    pub alpha_ns: f64,
    /// B in 10⁹ bytes per second.
    pub gb_per_s: f64,
    /// Ends differ by up to this much to either side, in ns.
    pub skew_ns: f64,
    /// Offset in ns and drift of each rank's clock; ranks beyond the end are right.
    pub clocks: Vec<(i64, f64)>,
    /// Offset in ns and drift of each device's clock against its host's.
    pub devices: Vec<(i64, f64)>,
    /// Host of each rank; ranks beyond the end do not tell.
    pub hosts: Vec<String>,
    /// Calls at the beginning that each rank's recording missed.
    pub missed: Vec<usize>,
    /// Whether the trace has sequence numbers.
    pub with_sequence: bool,
    /// All times are multiples of this, in ns.
    pub grain_ns: i64,
    /// What shows the collectives.
    pub shown: Shown,
}

/// When the first step begins.
pub const BEGIN_NS: i64 = 1_759_300_075_000_000_000;

impl Job {
    /// A job of one group of all ranks, with right clocks and equal ranks.
    #[must_use]
    pub fn new(seed: u64, ranks: u32, steps: u32) -> Self {
        let everybody = Group {
            name: Some("0".to_owned()),
            ranks: (0..ranks).collect(),
            sizes: vec![26_214_400, 26_214_400, 4_096],
        };
        Self {
            seed,
            ranks,
            steps,
            groups: vec![everybody],
            compute_ns: 3_000_000,
            jitter: 0.03,
            slow: None,
            alpha_ns: 22_000.0,
            gb_per_s: 180.0,
            skew_ns: 2_000.0,
            clocks: Vec::new(),
            devices: Vec::new(),
            hosts: Vec::new(),
            missed: Vec::new(),
            with_sequence: true,
            grain_ns: 1,
            shown: Shown::Kernels,
        }
    }

    /// What the clock of `rank` shows at `at`; t₀ is the beginning of the job.
    #[must_use]
    pub fn local(&self, rank: u32, at: i64) -> i64 {
        let (offset, drift) = self.clocks.get(rank as usize).copied().unwrap_or_default();
        at + offset + ((at - BEGIN_NS) as f64 * drift).round() as i64
    }

    fn on_device(&self, rank: u32, at: i64) -> i64 {
        let (offset, drift) = self.devices.get(rank as usize).copied().unwrap_or_default();
        self.local(rank, at) + offset + ((at - BEGIN_NS) as f64 * drift).round() as i64
    }

    /// The trace and what really happened.
    ///
    /// # Panics
    /// If the parts cannot be built.
    #[must_use]
    pub fn make(&self) -> (Trace, Vec<Happened>) {
        let mut makers: Vec<Maker> = (0..self.ranks).map(|rank| Maker::new(self, rank)).collect();
        let mut happened: Vec<Happened> = Vec::new();
        let mut noise = Rng::derived(self.seed, &[1]);
        let mut sequences = vec![0_u64; self.groups.len()];
        for _ in 0..self.steps {
            for (place, group) in self.groups.iter().enumerate() {
                for &bytes in &group.sizes {
                    let arrivals: Vec<i64> =
                        group.ranks.iter().map(|&rank| makers[rank as usize].compute(self)).collect();
                    let factor = 2.0 * (group.ranks.len() as f64 - 1.0) / group.ranks.len() as f64;
                    let transfer = self.alpha_ns + factor * bytes as f64 / self.gb_per_s;
                    let end = arrivals.iter().max().copied().unwrap_or_default() + transfer as i64;
                    let mut ends = Vec::new();
                    for (&rank, &start) in group.ranks.iter().zip(&arrivals) {
                        let own = end + ((noise.unit() * 2.0 - 1.0) * self.skew_ns) as i64;
                        makers[rank as usize].collective(self, group, (start, own), bytes, sequences[place]);
                        ends.push(own);
                    }
                    happened.push(Happened {
                        group: place,
                        sequence: sequences[place],
                        ranks: group.ranks.clone(),
                        arrivals,
                        ends,
                        transfer_ns: transfer as i64,
                    });
                    sequences[place] += 1;
                }
            }
        }
        let parts = makers.into_iter().map(|maker| maker.finish(self)).collect();
        let trace = Trace::from_parts(parts, &BuildOptions::default()).expect("a small trace builds");
        (trace, happened)
    }
}

/// A collective as it was, on the true clock.
#[derive(Clone, Debug)]
pub struct Happened {
    /// Place of its group.
    pub group: usize,
    /// Its number in the group.
    pub sequence: u64,
    /// Its ranks.
    pub ranks: Vec<u32>,
    /// When each of them came, in ns.
    pub arrivals: Vec<i64>,
    /// When each of them was done, in ns.
    pub ends: Vec<i64>,
    /// Time from the last arrival to the end without skew, in ns.
    pub transfer_ns: i64,
}

/// Arguments kept in a list: a location's offset is a place in it.
#[derive(Debug)]
struct Listed(Vec<Args>);

impl ArgsSource for Listed {
    fn args(&self, loc: ArgsLoc) -> Result<Args, ArgsError> {
        Ok(self.0.get(loc.offset() as usize).cloned().unwrap_or_default())
    }
}

/// One rank under way.
struct Maker {
    rank: u32,
    rng: Rng,
    chunk: RawChunk,
    args: Vec<Args>,
    /// The true time.
    now: i64,
    correlation: u32,
    calls: usize,
}

/// No correlation id.
const NO_ID: u32 = u32::MAX;

impl Maker {
    fn new(job: &Job, rank: u32) -> Self {
        let mut rng = Rng::derived(job.seed, &[2, u64::from(rank)]);
        // Recordings do not begin together.
        let now = BEGIN_NS + rng.below(400_000) as i64;
        Self { rank, rng, chunk: RawChunk::default(), args: Vec::new(), now, correlation: 0, calls: 0 }
    }

    fn push(
        &mut self,
        at: (TrackKind, i64, i64),
        kind: EventKind,
        name: &str,
        time: (i64, i64),
        id: u32,
        args: ArgsLoc,
    ) {
        let track = self.chunk.track(at.0, RawId::Int(at.1), RawId::Int(at.2));
        let name = self.chunk.strings.intern(name);
        let category = self.chunk.strings.intern(kind.id());
        self.chunk.push(time.0, time.1 - time.0, name, category, kind, track, id, NO_ID, args);
    }

    fn rounded(job: &Job, at: i64) -> i64 {
        (at + job.grain_ns / 2).div_euclid(job.grain_ns) * job.grain_ns
    }

    /// Work of a device and its launch a few µs before.
    fn launched(&mut self, job: &Job, stream: i64, kind: EventKind, name: &str, time: (i64, i64)) {
        self.correlation += 1;
        let id = self.correlation;
        let launch = time.0 - 6_000 - self.rng.below(1_500) as i64;
        let host = |at: i64| Self::rounded(job, job.local(self.rank, at));
        let call = (host(launch), host(launch + 3_000));
        let device = |at: i64| Self::rounded(job, job.on_device(self.rank, at));
        let work = (device(time.0), device(time.1));
        let pid = 1_000 + i64::from(self.rank);
        self.push((TrackKind::Thread, pid, pid), EventKind::RuntimeCall, "cudaLaunchKernel", call, id, ArgsLoc::NONE);
        self.push((TrackKind::Stream, 0, stream), kind, name, work, id, ArgsLoc::NONE);
    }

    /// Computes and says when it is done.
    fn compute(&mut self, job: &Job) -> i64 {
        let slow = job.slow.filter(|slow| slow.0 == self.rank).map_or(0.0, |slow| slow.1);
        let noise = (self.rng.unit() * 2.0 - 1.0) * job.jitter;
        let dur = (job.compute_ns as f64 * (1.0 + slow) * (1.0 + noise)) as i64;
        let start = self.now + 12_000;
        if job.shown == Shown::Kernels {
            self.launched(job, 7, EventKind::Kernel, "gemm", (start, start + dur));
        }
        self.now = start + dur + 10_000;
        self.now
    }

    fn collective(&mut self, job: &Job, group: &Group, time: (i64, i64), bytes: u64, sequence: u64) {
        self.now = time.1;
        self.calls += 1;
        if self.calls <= job.missed.get(self.rank as usize).copied().unwrap_or(0) {
            return;
        }
        match job.shown {
            Shown::Kernels => {}
            Shown::Gloo => return self.gloo(job, group, time, bytes, sequence),
            Shown::Mpi => return self.mpi(job, group, time, bytes, sequence),
        }
        self.launched(job, 20, EventKind::Collective, "ncclDevKernel_AllReduce_Sum_f32_RING_LL(x)", time);
        let event = self.chunk.len() as u32 - 1;
        let mut intern = |text: &str| self.chunk.strings.intern(text);
        let args = CollectiveArgs {
            event,
            name: intern("allreduce"),
            dtype: intern("Float"),
            group: intern(group.name.as_deref().unwrap_or_default()),
            group_desc: intern(""),
            in_elems: Some(bytes / 4),
            out_elems: Some(bytes / 4),
            group_size: group.name.as_ref().map(|_| group.ranks.len() as u32),
            seq: Some(sequence).filter(|_| job.with_sequence),
        };
        self.chunk.collectives.push(args);
    }

    /// Arguments kept for an event.
    fn args(&mut self, args: Args) -> ArgsLoc {
        self.args.push(args);
        ArgsLoc::new(self.args.len() as u64 - 1, 1).unwrap_or_default()
    }

    fn gloo(&mut self, job: &Job, group: &Group, time: (i64, i64), bytes: u64, sequence: u64) {
        use gapless_trace::ArgValue::{Int, Text};
        let local = |at: i64| Self::rounded(job, job.local(self.rank, at));
        let (start, end, asked) = (local(time.0), local(time.1), local(time.0 - 40_000));
        let pid = 1_000 + i64::from(self.rank);
        // Two threads take turns.
        let tid = 70 + (self.calls % 2) as i64;
        let range = (TrackKind::Thread, pid, tid);
        self.push(range, EventKind::Annotation, "gloo:all_reduce", (start, end), NO_ID, ArgsLoc::NONE);
        if job.with_sequence {
            let loc = self.args(vec![
                ("name".to_owned(), Text("allreduce".to_owned())),
                ("group".to_owned(), Text(group.name.clone().unwrap_or_default())),
                ("group_size".to_owned(), Int(group.ranks.len() as i64)),
                ("backend".to_owned(), Text("gloo".to_owned())),
                ("seq".to_owned(), Int(sequence as i64)),
                ("bytes".to_owned(), Int(bytes as i64)),
            ]);
            let note = (TrackKind::ThreadInstants, pid, pid);
            self.push(note, EventKind::Instant, "collective", (asked, asked), NO_ID, loc);
        }
    }

    fn mpi(&mut self, job: &Job, group: &Group, time: (i64, i64), bytes: u64, sequence: u64) {
        use gapless_trace::ArgValue::{Int, Text};
        let local = |at: i64| Self::rounded(job, job.local(self.rank, at));
        let (start, end) = (local(time.0), local(time.1));
        let pid = 1_000 + i64::from(self.rank);
        let loc = self.args(vec![
            ("bytes".to_owned(), Int(bytes as i64)),
            // The number of a communicator is each process's own.
            ("communicator".to_owned(), Int(i64::from(self.rank) + 1)),
            ("members".to_owned(), Text("1a2b3c4d".to_owned())),
            ("Group size".to_owned(), Int(group.ranks.len() as i64)),
            ("Seq".to_owned(), Int(sequence as i64)),
        ]);
        let main = (TrackKind::Thread, pid, pid);
        self.push(main, EventKind::Annotation, "MPI_Allreduce", (start, end), NO_ID, loc);
        // Begins a request and returns: no collective that could be timed.
        self.push(main, EventKind::Annotation, "MPI_Ibarrier", (end + 100, end + 200), NO_ID, ArgsLoc::NONE);
    }

    fn finish(self, job: &Job) -> TracePart {
        let path = format!("rank{}.json", self.rank);
        let mut part = TracePart::new(Source { path, format: "made up".to_owned(), ..Source::default() });
        part.info.rank = Some(self.rank);
        part.info.host = job.hosts.get(self.rank as usize).cloned();
        part.chunks.push(self.chunk);
        part.args = Arc::new(Listed(self.args));
        part
    }
}
