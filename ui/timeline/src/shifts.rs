//! By how much the clocks of ranks are shifted on screen, so that what happened at one moment stands at one place.

use std::sync::Arc;

use gapless_trace::{Duration, RankId, Span, Timestamp};

/// What each rank's clock shows more than the clock of the view. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Shifts(Arc<[i64]>);

impl Shifts {
    /// One shift for each rank, in the order of the trace, in ns.
    #[must_use]
    pub fn new(of_ranks: Vec<i64>) -> Self {
        Self(of_ranks.into())
    }

    /// The shift of a rank; zero for ranks that have none.
    #[must_use]
    pub fn of(&self, rank: RankId) -> Duration {
        Duration(self.0.get(rank.index()).copied().unwrap_or_default())
    }

    /// Where a time of `rank` stands in the view.
    #[must_use]
    pub fn shown(&self, rank: RankId, span: Span) -> Span {
        let by = self.of(rank);
        Span::new(span.start - by, span.end - by)
    }

    /// The time of `rank` that stands at a place of the view.
    #[must_use]
    pub fn recorded(&self, rank: RankId, span: Span) -> Span {
        let by = self.of(rank);
        Span::new(span.start + by, span.end + by)
    }

    /// The time of `rank` that stands at a moment of the view.
    #[must_use]
    pub fn recorded_at(&self, rank: RankId, at: Timestamp) -> Timestamp {
        at + self.of(rank)
    }

    /// The greatest shift in either direction, in ns.
    #[must_use]
    pub fn largest_ns(&self) -> i64 {
        self.0.iter().map(|shift| shift.saturating_abs()).max().unwrap_or_default()
    }

    /// Whether both are the same table.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
