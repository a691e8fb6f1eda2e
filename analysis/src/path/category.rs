//! Kinds of time on a critical path.

use serde::Serialize;

use crate::graph::{EdgeKind, NodeKind};

/// A kind of time on a critical path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// A kernel computes.
    Compute,
    /// A collective moves data; all its ranks are there.
    Communication,
    /// A communication kernel waits for ranks that are not in the recording; estimated.
    RankWait,
    /// A device copies.
    Copy,
    /// A device fills memory.
    Fill,
    /// A thread works between calls: operators, Python, anything.
    Host,
    /// A call that launches work.
    LaunchCall,
    /// A blocking call's own cost.
    BlockingCall,
    /// The next batch is fetched.
    DataLoading,
    /// The interpreter collects garbage.
    Gc,
    /// From a launch to the start of its work.
    LaunchLatency,
    /// Between two pieces of work on one stream.
    KernelGap,
    /// From work on one stream to work on another that waited for it.
    EventLatency,
    /// From the end of work to the return of the call that waited for it.
    SyncReturn,
    /// From one thread to another.
    HandOff,
    /// A delay that nothing in the recording explains.
    Unexplained,
    /// Before the first thing that the recording has of what comes next on the path.
    Outside,
}

impl Category {
    /// Number of categories.
    pub const COUNT: usize = 17;

    /// All categories, in declaration order.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Compute,
        Self::Communication,
        Self::RankWait,
        Self::Copy,
        Self::Fill,
        Self::Host,
        Self::LaunchCall,
        Self::BlockingCall,
        Self::DataLoading,
        Self::Gc,
        Self::LaunchLatency,
        Self::KernelGap,
        Self::EventLatency,
        Self::SyncReturn,
        Self::HandOff,
        Self::Unexplained,
        Self::Outside,
    ];

    /// A short name for people, in lower case.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Compute => "compute kernels",
            Self::Communication => "communication",
            Self::RankWait => "waiting for other ranks (estimated)",
            Self::Copy => "copies",
            Self::Fill => "fills",
            Self::Host => "host work",
            Self::LaunchCall => "launch calls",
            Self::BlockingCall => "blocking calls",
            Self::DataLoading => "data loading",
            Self::Gc => "garbage collection",
            Self::LaunchLatency => "launch latency",
            Self::KernelGap => "gaps between kernels",
            Self::EventLatency => "latency between streams",
            Self::SyncReturn => "return of blocking calls",
            Self::HandOff => "hand-off between threads",
            Self::Unexplained => "unexplained",
            Self::Outside => "before the recording shows a cause",
        }
    }

    /// Of the time of a node.
    #[must_use]
    pub const fn of_node(kind: NodeKind) -> Self {
        match kind {
            NodeKind::Kernel | NodeKind::Record | NodeKind::Wait => Self::Compute,
            NodeKind::Transfer | NodeKind::Arrival | NodeKind::Meeting => Self::Communication,
            NodeKind::EstimatedWait => Self::RankWait,
            NodeKind::Copy => Self::Copy,
            NodeKind::Fill => Self::Fill,
            NodeKind::Host | NodeKind::Mark | NodeKind::Return => Self::Host,
            NodeKind::DataLoader => Self::DataLoading,
            NodeKind::Gc => Self::Gc,
            NodeKind::Launch => Self::LaunchCall,
            NodeKind::Call => Self::BlockingCall,
            NodeKind::HandOff => Self::HandOff,
        }
    }

    /// Of the time that passes along an edge.
    #[must_use]
    pub const fn of_edge(kind: EdgeKind) -> Self {
        match kind {
            EdgeKind::ThreadOrder => Self::Host,
            EdgeKind::Launch => Self::LaunchLatency,
            EdgeKind::StreamOrder | EdgeKind::GraphOrder => Self::KernelGap,
            EdgeKind::EventWait => Self::EventLatency,
            EdgeKind::SyncReturn | EdgeKind::QueueFull => Self::SyncReturn,
            EdgeKind::HandOff => Self::HandOff,
            EdgeKind::Arrive | EdgeKind::Transfer => Self::Communication,
        }
    }
}

/// Time of one category.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CategoryShare {
    /// The category.
    pub category: Category,
    /// Its time, in ns.
    pub ns: i64,
    /// Its share of the path.
    pub share: f64,
}

/// A path's time by category; sums to the path exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathPartition([i64; Category::COUNT]);

impl PathPartition {
    pub(crate) fn add(&mut self, category: Category, ns: i64) {
        if let Some(slot) = self.0.get_mut(category as usize) {
            *slot = slot.saturating_add(ns);
        }
    }

    /// Time of a category, in ns.
    #[must_use]
    pub fn of(&self, category: Category) -> i64 {
        self.0.get(category as usize).copied().unwrap_or_default()
    }

    /// The sum, in ns.
    #[must_use]
    pub fn total_ns(&self) -> i64 {
        self.0.iter().copied().fold(0, i64::saturating_add)
    }

    /// All categories with time, longest first.
    #[must_use]
    pub fn shares(&self) -> Vec<CategoryShare> {
        let total = self.total_ns().max(1) as f64;
        let mut shares: Vec<CategoryShare> = Category::ALL
            .into_iter()
            .map(|category| (category, self.of(category)))
            .filter(|&(_, ns)| ns > 0)
            .map(|(category, ns)| CategoryShare { category, ns, share: ns as f64 / total })
            .collect();
        shares.sort_by_key(|share| (std::cmp::Reverse(share.ns), share.category));
        shares
    }
}
