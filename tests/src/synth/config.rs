//! What to generate.

/// Which job is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Data-parallel training: gradient buckets are all-reduced while the backward pass still runs.
    DataParallel,
    /// Pipeline of one stage a rank, one-forward-one-backward schedule with send and receive.
    Pipeline,
    /// A recommendation model: all-to-all of indices, of looked-up embeddings and of their gradients, and a dense
    /// all-reduce.
    Recommendation,
}

/// How times are written. The three ages of Kineto, and the format of 2021.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// 2021: whole µs of Unix time, categories `Operator`, `Runtime`, `Kernel`, `"tid": "stream 7"`, flows `async`.
    Legacy,
    /// 2021–2023: whole µs of Unix time.
    IntegerMicros,
    /// 2024: µs with three digits of Unix time.
    FractionalMicros,
    /// Since 2024: µs with three digits since `baseTimeNanoseconds`.
    Relative,
}

impl Era {
    /// What written times count from, in ns of Unix time.
    #[must_use]
    pub const fn base_ns(self) -> i64 {
        match self {
            Self::Relative => 1_759_300_074_000_000_000,
            _ => 0,
        }
    }

    /// Whether times are whole microseconds.
    #[must_use]
    pub const fn is_integer(self) -> bool {
        matches!(self, Self::Legacy | Self::IntegerMicros)
    }

    /// The grain of time in ns: every time of the simulation is a multiple of it, so that nothing is rounded on the
    /// way to the file.
    #[must_use]
    pub const fn quantum_ns(self) -> i64 {
        if self.is_integer() { 1_000 } else { 1 }
    }
}

/// Whose devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// CUDA names; compute on stream 7.
    Nvidia,
    /// HIP names; compute on stream 0; every collective is `ncclDevKernel_Generic`.
    Amd,
}

impl Vendor {
    /// The streams: compute, communication, copy.
    #[must_use]
    pub const fn streams(self) -> [i64; 3] {
        match self {
            Self::Nvidia => [7, 20, 24],
            Self::Amd => [0, 3, 1],
        }
    }
}

/// How the text is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// As Kineto writes it.
    Kineto,
    /// One field a line, as `json.dump(…, indent=2)` writes it.
    Pretty,
    /// No white space.
    Compact,
    /// As Kineto writes it, with CRLF.
    Crlf,
}

/// What is slow on a slow rank.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowRank {
    /// Which rank.
    pub rank: u32,
    /// Durations are multiplied by this.
    pub factor: f64,
    /// Whether its kernels are slow; else its host is.
    pub device: bool,
}

/// A difference to the usual job: what a comparison of two recordings must find.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// Kernels whose names contain this take so many times as long.
    KernelTime {
        /// Part of their names.
        name: &'static str,
        /// Times as long.
        factor: f64,
    },
    /// The host takes so many ns longer in each operator of this name.
    HostTime {
        /// Its name.
        operator: &'static str,
        /// How much longer, in ns.
        extra_ns: i64,
    },
    /// Each activation of the forward pass is followed by one more operator, `aten::gelu`, of so many ns.
    MoreOperators {
        /// Duration of its kernel, in ns.
        kernel_ns: i64,
    },
    /// Collectives take so many times as long once all have arrived.
    TransferTime {
        /// Times as long.
        factor: f64,
    },
}

/// What to generate. Equal configurations give equal bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The job.
    pub workload: Workload,
    /// Number of ranks; pipeline stages for a pipeline.
    pub ranks: u32,
    /// Number of steps.
    pub steps: u32,
    /// Layers of the model (per stage for a pipeline).
    pub layers: u32,
    /// Micro-batches of a pipeline step.
    pub micro_batches: u32,
    /// How long the host waits for a batch, in ns.
    pub data_wait_ns: i64,
    /// Seed of all random draws.
    pub seed: u64,
    /// Durations vary by up to this share, 0 to 1.
    pub jitter: f64,
    /// Differences to the usual job.
    pub changes: Vec<Change>,
    /// One slow rank, if wanted.
    pub slow: Option<SlowRank>,
    /// Error of each rank's clock in ns; ranks beyond the end have none. Rounded to the grain of the era.
    pub clock_offsets_ns: Vec<i64>,
    /// The optimizer runs as a CUDA or HIP graph: one launch, many kernels, some of which overlap.
    pub graphs: bool,
    /// Writes Python frames.
    pub python: bool,
    /// Writes `[memory]` instants and counters.
    pub memory: bool,
    /// A Python frame stays open until the profiler stops, so that it outlives the frames around it.
    pub open_frames: bool,
    /// Runtime calls without device work still end a flow that never began, as Kineto writes it.
    pub orphan_flow_ends: bool,
    /// Kernels at the beginning whose launch lies before the recording.
    pub unlaunched: u32,
    /// How times are written.
    pub era: Era,
    /// Whose devices.
    pub vendor: Vendor,
    /// How the text is laid out.
    pub layout: Layout,
}

impl Config {
    /// A usual job of this kind: CUDA, times since a base, some jitter, nothing broken.
    #[must_use]
    pub const fn new(workload: Workload, ranks: u32, steps: u32) -> Self {
        Self {
            workload,
            ranks,
            steps,
            layers: 8,
            micro_batches: 4,
            data_wait_ns: 450_000,
            seed: 1,
            jitter: 0.05,
            changes: Vec::new(),
            slow: None,
            clock_offsets_ns: Vec::new(),
            graphs: false,
            python: true,
            memory: true,
            open_frames: false,
            orphan_flow_ends: true,
            unlaunched: 2,
            era: Era::Relative,
            vendor: Vendor::Nvidia,
            layout: Layout::Kineto,
        }
    }

    /// The sample of the first run: four data-parallel ranks, three steps, the third rank's device 35 % slower.
    #[must_use]
    pub fn sample() -> Self {
        Self {
            slow: Some(SlowRank { rank: 2, factor: 1.35, device: true }),
            layers: 12,
            data_wait_ns: 900_000,
            seed: 20_260_101,
            ..Self::new(Workload::DataParallel, 4, 3)
        }
    }

    /// Changes layers and steps so that all ranks together have about `events` events.
    ///
    /// # Errors
    /// Never, but for a sink of memory that fails.
    pub fn sized(mut self, events: u64) -> std::io::Result<Self> {
        loop {
            let count = |steps: u32| {
                let probe = Self { steps, ..self.clone() };
                let sinks = (0..probe.ranks).map(|_| std::io::sink()).collect();
                super::write_traces(&probe, sinks).map(|(_, truth)| truth.events())
            };
            let (one, two) = (count(1)?, count(2)?);
            let (fixed, per_step) = ((2 * one).saturating_sub(two), two.saturating_sub(one).max(1));
            if self.layers > 1 && one > events {
                self.layers /= 2;
                continue;
            }
            let steps = events.saturating_sub(fixed).div_ceil(per_step).max(1);
            self.steps = u32::try_from(steps).unwrap_or(u32::MAX);
            return Ok(self);
        }
    }

    /// Process id of a rank.
    #[must_use]
    pub fn pid_of(&self, rank: u32) -> i64 {
        40_000 + 100 * i64::from(rank)
    }

    /// Device number of a rank: eight to a host.
    #[must_use]
    pub fn device_of(&self, rank: u32) -> i64 {
        i64::from(rank % 8)
    }

    /// Id of the thread that runs the Python program.
    #[must_use]
    pub fn main_tid(&self, rank: u32) -> i64 {
        self.pid_of(rank)
    }

    /// Id of the thread that runs the backward pass.
    #[must_use]
    pub fn autograd_tid(&self, rank: u32) -> i64 {
        self.pid_of(rank) + 37
    }

    /// Error of a rank's clock in ns, on the grain of the era.
    #[must_use]
    pub fn clock_offset(&self, rank: u32) -> i64 {
        let quantum = self.era.quantum_ns();
        self.clock_offsets_ns.get(rank as usize).map_or(0, |offset| offset / quantum * quantum)
    }
}
