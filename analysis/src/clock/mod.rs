//! One clock for all ranks: what each rank's clock is off by, and how sure that is.
//!
//! A rank's recorded time is `t + θ + δ · (t − t₀)` of the common time t. The ends of a collective coincide on its
//! members up to its own skew, which gives θ and δ robustly; that nobody ends before the last begins gives an interval
//! that surely holds θ.

use gapless_trace::{EventId, RankId, Span, Timestamp, Trace};
use serde::Serialize;

/// What is known about the clock of one rank.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RankClock {
    /// The rank.
    #[serde(rename = "rank_id", serialize_with = "crate::ids::rank")]
    pub rank: RankId,
    /// Its number in the job, where known.
    #[serde(rename = "rank")]
    pub number: Option<u32>,
    /// Place of its component in [`ClockAlignment::components`].
    pub component: u32,
    /// θ: what its clock shows at t₀ minus the common time, in ns. Zero for the reference of a component.
    pub offset_ns: i64,
    /// δ: by which share its clock runs fast; zero where the recording is too short or the drift is not significant.
    pub drift: f64,
}

/// Ranks whose clocks are aligned with one another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClockComponent {
    /// The rank whose clock is the common one.
    #[serde(serialize_with = "crate::ids::rank")]
    pub reference: RankId,
}

/// The clocks of all ranks of a trace.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClockAlignment {
    /// t₀, on the common clock.
    pub epoch_ns: i64,
    /// By rank, in the order of [`Trace::ranks`].
    pub ranks: Vec<RankClock>,
    /// Ranks that share collectives, directly or through others; clocks of different components are not aligned.
    pub components: Vec<ClockComponent>,
}

impl ClockAlignment {
    /// No correction at all: every rank's clock is taken for the common one.
    #[must_use]
    pub fn identity(trace: &Trace) -> Self {
        let clock = |(id, rank): (RankId, &gapless_trace::Rank)| RankClock {
            rank: id,
            number: rank.number,
            component: 0,
            offset_ns: 0,
            drift: 0.0,
        };
        let ranks: Vec<RankClock> = trace.rank_ids().map(clock).collect();
        let components = ranks.first().map(|first| ClockComponent { reference: first.rank });
        Self {
            epoch_ns: trace.span().map_or(0, |span| span.start.nanos()),
            ranks,
            components: components.into_iter().collect(),
        }
    }

    /// A time of `rank` on the common clock.
    #[must_use]
    pub fn to_common(&self, rank: RankId, at: Timestamp) -> Timestamp {
        let Some(clock) = self.ranks.get(rank.index()) else { return at };
        let shifted = at.nanos().saturating_sub(clock.offset_ns);
        // With τ = t − t₀: shifted − t₀ = τ (1 + δ).
        let since = shifted.saturating_sub(self.epoch_ns) as f64;
        let fast = since * (clock.drift / (1.0 + clock.drift));
        Timestamp(shifted.saturating_sub(fast.round() as i64))
    }

    /// Where an event lies on the common clock.
    #[must_use]
    pub fn span_of(&self, trace: &Trace, event: EventId) -> Span {
        let Some((_, track)) = trace.track_of(event) else { return Span::default() };
        self.span_of_call(track.rank, trace.event(event).span(), track.kind.is_device())
    }

    pub(crate) fn span_of_call(&self, rank: RankId, span: Span, _on_device: bool) -> Span {
        Span::new(self.to_common(rank, span.start), self.to_common(rank, span.end))
    }
}
