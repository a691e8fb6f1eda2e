//! What to compute, and by whose rules.

use serde::Serialize;

/// Whose definitions are reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Convention {
    /// Ours: every device event of the recording counts.
    #[default]
    Exact,
    /// Ours, and beside it the tables that TraceLens would print (see [`TraceLensReport`](crate::TraceLensReport)).
    TraceLens,
}

/// What to compute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnalysisOptions {
    /// Whose definitions are reported.
    pub convention: Convention,
    /// How many of the longest idle gaps are listed for each rank.
    pub largest_idle: usize,
    /// Up to this length in ns, a gap before work that was launched in time counts as a gap between kernels or as the
    /// way of an event between streams. Longer gaps have another reason that the trace does not show.
    ///
    /// 30 µs, the limit that HTA uses (`consecutive_kernel_delay`).
    pub short_gap_ns: i64,
}

impl Default for AnalysisOptions {
    fn default() -> Self {
        Self { convention: Convention::Exact, largest_idle: 20, short_gap_ns: 30_000 }
    }
}
