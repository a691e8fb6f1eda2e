//! Why a step takes longer or shorter.

use gapless_analysis::graph::{EdgeKind, NodeKind};
use serde::Serialize;

/// A kind of reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Calls and work that only the new recording has.
    NewWork,
    /// Calls and work that only the base has.
    GoneWork,
    /// Kernels that both have and that run longer.
    SlowerKernels,
    /// Kernels that both have and that run shorter.
    FasterKernels,
    /// Copies and fills by the device.
    Copies,
    /// Time of threads between calls.
    HostTime,
    /// Calls that launch work.
    LaunchCalls,
    /// What blocking calls cost by themselves.
    BlockingCalls,
    /// Fetching the next batch.
    DataLoading,
    /// The interpreter's garbage collection.
    Gc,
    /// From launches to their work.
    LaunchLatency,
    /// Between pieces of work on one stream.
    KernelGaps,
    /// From work on one stream to work on another.
    StreamLatency,
    /// From the end of work to the return of the call that waited for it.
    SyncReturn,
    /// From one thread to another.
    HandOff,
    /// Collectives move data, all their ranks being there.
    Transfer,
    /// Collectives wait for ranks that are not in the recording (estimated).
    RankWait,
    /// Work overlaps or waits in another way: order, streams, events.
    Overlap,
    /// Delays that nothing in the recordings explains.
    Unexplained,
}

impl Cause {
    /// A short name for people.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NewWork => "New work",
            Self::GoneWork => "Work that is gone",
            Self::SlowerKernels => "Slower kernels",
            Self::FasterKernels => "Faster kernels",
            Self::Copies => "Copies and fills",
            Self::HostTime => "Host time",
            Self::LaunchCalls => "Launch calls",
            Self::BlockingCalls => "Blocking calls",
            Self::DataLoading => "Data loading",
            Self::Gc => "Garbage collection",
            Self::LaunchLatency => "Launch latency",
            Self::KernelGaps => "Gaps between kernels",
            Self::StreamLatency => "Latency between streams",
            Self::SyncReturn => "Return of blocking calls",
            Self::HandOff => "Hand-off between threads",
            Self::Transfer => "Collectives: transfer",
            Self::RankWait => "Collectives: waiting for ranks",
            Self::Overlap => "Order and overlap",
            Self::Unexplained => "Unexplained",
        }
    }

    /// Whether it is work that one side does not have.
    #[must_use]
    pub const fn is_structural(self) -> bool {
        matches!(self, Self::NewWork | Self::GoneWork)
    }

    /// Of the latency of an edge.
    pub(crate) const fn of_edge(kind: EdgeKind) -> Self {
        match kind {
            EdgeKind::Launch => Self::LaunchLatency,
            EdgeKind::StreamOrder | EdgeKind::GraphOrder => Self::KernelGaps,
            EdgeKind::EventWait => Self::StreamLatency,
            EdgeKind::SyncReturn | EdgeKind::QueueFull => Self::SyncReturn,
            EdgeKind::HandOff => Self::HandOff,
            EdgeKind::ThreadOrder => Self::HostTime,
            EdgeKind::Arrive | EdgeKind::Transfer => Self::Transfer,
        }
    }

    /// Of a node that one side does not have, whatever is around it; `None` if it is part of new or gone work.
    pub(crate) const fn of_single(kind: NodeKind) -> Option<Self> {
        match kind {
            NodeKind::DataLoader => Some(Self::DataLoading),
            NodeKind::Gc => Some(Self::Gc),
            NodeKind::EstimatedWait => Some(Self::RankWait),
            NodeKind::Record | NodeKind::Wait => Some(Self::Overlap),
            NodeKind::HandOff => Some(Self::HandOff),
            _ => None,
        }
    }
}
