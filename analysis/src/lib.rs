//! Where the time of each rank and step went, exactly.
//!
//! [`analyze`] reads a [`Trace`] and returns an [`Analysis`], whose JSON form is the documented schema of
//! `gapless analyze --json`. Fields ending in `_ns` are nanoseconds, `_bytes` bytes, `gb_per_s` 10⁹ bytes per second,
//! `share` a fraction from 0 to 1. Times named `start_ns` and `end_ns` are on the trace's clock.
//!
//! # Definitions
//!
//! *Device work* is what [`EventKind::is_device_work`](gapless_trace::EventKind::is_device_work) says: kernels,
//! communication kernels, copies and fills. Synchronisation marks and projected annotations are not work, and work of
//! zero length is counted but takes no time. All times are lengths of unions of half-open intervals in integer
//! nanoseconds, so parts sum to the whole without rounding.
//!
//! A step is a window on the clock of its rank, and device work belongs to the windows in which it runs, not to the
//! step that launched it. Only so do the parts of a step sum to its length.

mod analysis;
mod breakdown;
mod clock;
mod collectives;
mod copies;
pub mod graph;
mod graphs;
mod host;
mod host_parts;
mod idle;
mod ids;
pub mod interval;
mod kernel_class;
mod kernels;
mod launches;
mod match_collectives;
mod names;
mod operators;
mod options;
mod partition;
pub mod path;
mod periodic;
mod queues;
pub mod replay;
mod stats;
mod steps;
mod stragglers;
mod summary;
mod tables;
mod tracelens;
pub mod trust;
mod work;

#[cfg(test)]
mod fixture;

pub use analysis::{Analysis, RankAnalysis, analyze};
pub use breakdown::{DeviceBusy, RankBreakdown, StreamBusy};
pub use clock::{ClockAlignment, ClockComponent, ClockSource, DeviceClock, DeviceWindow, RankClock};
pub use collectives::{CollectiveKind, CollectiveRow};
pub use copies::{CopyDirection, CopyRow};
pub use graphs::GraphRow;
pub use host::{HostTree, OperatorCall};
pub use host_parts::{HostParts, HostThread};
pub use idle::{IdleCause, IdleCauses, IdleGap};
pub use kernel_class::KernelClass;
pub use kernels::{KernelRow, ShortKernels, ShortLimit};
pub use launches::LaunchRow;
pub use match_collectives::{
    BETWEEN_OPERATORS, CollectiveCost, CollectiveInstance, CollectiveReport, CollectiveTiming, CostModel, DelayCost,
    DelayKind, LatenessVerdict, MatchedBy, Member, RankLateness, SIGMAS, SizeCost, TimedCollective, chance_of_t, costs,
    delay_costs, lateness, match_collectives, timings,
};
pub use operators::{OperatorKernel, OperatorRow, WithoutOperator};
pub use options::{AnalysisOptions, Convention};
pub use partition::{Partition, RankWork};
pub use queues::QueueRow;
pub use stats::Stats;
pub use steps::{StepBreakdown, StepSource};
pub use stragglers::{Blame, Contribution, Score, StepTimes, Stragglers, WorkerScore, stragglers};
pub use summary::{MeanPartition, StepSummary};
pub use tables::Tables;
pub use tracelens::{TraceLensKernel, TraceLensReport, TraceLensTime};
pub use work::WorkClass;

#[cfg(doc)]
use gapless_trace::Trace;
