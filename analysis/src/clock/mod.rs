//! One clock for all ranks: what each rank's clock is off by, and how sure that is.
//!
//! A rank records the common time t as `t + θ + δ · (t − t₀)`. The ends of a collective coincide on its members up to
//! its own skew, which gives θ and δ robustly ([`estimate`]); that nobody ends before the last begins gives an interval
//! that surely holds θ ([`bounds`]). Before both, each rank's device times are held against its launches
//! ([`DeviceClock`]).

mod align;
mod bounds;
mod device;
mod estimate;
pub(crate) mod joint;

use gapless_trace::{EventId, Rank, RankId, Span, Timestamp, Trace};
use rayon::prelude::*;
use serde::Serialize;

use crate::match_collectives::call::{Calls, Place};
use crate::match_collectives::matching::{Matched, matched};
pub use device::{DeviceClock, DeviceWindow};

/// Where a rank's offset comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockSource {
    /// Its clock is the common one.
    Reference,
    /// It runs on the host of the reference, or of a rank that is aligned, and nothing proves their clocks different.
    SharedHost,
    /// The ends of collectives.
    Collectives,
    /// It shares no collective with any other rank: its clock is not aligned.
    NotAligned,
}

/// What is known about the clock of one rank.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RankClock {
    /// The rank.
    #[serde(rename = "rank_id", serialize_with = "crate::ids::rank")]
    pub rank: RankId,
    /// Its number in the job, where known.
    #[serde(rename = "rank")]
    pub number: Option<u32>,
    /// Its host, where known.
    pub host: Option<String>,
    /// Place of its component in [`ClockAlignment::components`].
    pub component: u32,
    /// Where its offset comes from.
    pub source: ClockSource,
    /// θ: what its clock shows at t₀ minus the common time, in ns. Zero for the reference of a component.
    pub offset_ns: i64,
    /// δ: by which share its clock runs fast; zero where the recording is too short or the drift is not significant.
    pub drift: f64,
    /// Standard deviation of the offset in ns.
    pub error_ns: f64,
    /// What the ends of collectives alone say θ is, in ns; differs from `offset_ns` where the host's clock is shared.
    pub estimate_ns: i64,
    /// Least and greatest θ in ns that causality allows; `None` if it sets no limit.
    pub bounds_ns: Option<(i64, i64)>,
    /// Collectives that the estimate rests on.
    pub collectives: u64,
    /// By how much two estimates from halves of the collectives differ, in ns; `None` with fewer than four.
    pub held_out_ns: Option<f64>,
    /// Its device's clock against its host's.
    pub device: DeviceClock,
}

/// Ranks whose clocks are aligned with one another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClockComponent {
    /// The rank whose clock is the common one.
    #[serde(rename = "reference_rank_id", serialize_with = "crate::ids::rank")]
    pub reference: RankId,
    /// t₀, on the common clock.
    pub epoch_ns: i64,
    /// How many ranks.
    pub ranks: u32,
    /// Collectives that contradict causality with the others, and so are matched wrongly or clocked wrongly.
    pub contradictions: u64,
}

/// The clocks of all ranks of a trace.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClockAlignment {
    /// By rank, in the order of [`Trace::ranks`].
    pub ranks: Vec<RankClock>,
    /// Ranks that share collectives, directly or through others. Clocks of different components are not aligned.
    pub components: Vec<ClockComponent>,
}

impl ClockAlignment {
    /// Aligns the clocks of all ranks by their collectives.
    #[must_use]
    pub fn new(trace: &Trace) -> Self {
        let calls = Calls::new(trace);
        let matched = matched(&calls);
        Self::of_matched(trace, &calls, &matched)
    }

    pub(crate) fn of_matched(trace: &Trace, calls: &Calls, matched: &[Matched]) -> Self {
        let mut this = Self::identity(trace);
        let devices: Vec<DeviceClock> =
            this.ranks.par_iter().map(|clock| DeviceClock::of_rank(trace, clock.rank)).collect();
        for (clock, device) in this.ranks.iter_mut().zip(devices) {
            clock.device = device;
        }
        let joints = joint::joints(trace, calls, matched, |rank, at, place| match place {
            Place::Device => this.ranks.get(rank.index()).map_or(at, |clock| clock.device.corrected(at)),
            Place::Host | Place::Log | Place::Enqueued => at,
        });
        this.align(&joints, joint::grain_ns(&joints));
        this
    }

    /// No correction at all: every rank's clock is taken for the common one.
    #[must_use]
    pub fn identity(trace: &Trace) -> Self {
        let clock = |(id, rank): (RankId, &Rank)| RankClock {
            rank: id,
            number: rank.number,
            host: rank.host.clone(),
            component: 0,
            source: ClockSource::NotAligned,
            offset_ns: 0,
            drift: 0.0,
            error_ns: 0.0,
            estimate_ns: 0,
            bounds_ns: None,
            collectives: 0,
            held_out_ns: None,
            device: DeviceClock::default(),
        };
        let ranks: Vec<RankClock> = trace.rank_ids().map(clock).collect();
        let epoch_ns = trace.span().map_or(0, |span| span.start.nanos());
        let count = ranks.len() as u32;
        let component =
            |first: &RankClock| ClockComponent { reference: first.rank, epoch_ns, ranks: count, contradictions: 0 };
        let components = ranks.first().map(component);
        Self { ranks, components: components.into_iter().collect() }
    }

    /// Whether the clocks of two ranks are on one scale.
    #[must_use]
    pub fn are_aligned(&self, a: RankId, b: RankId) -> bool {
        let component = |rank: RankId| self.ranks.get(rank.index()).map(|clock| clock.component);
        component(a).is_some() && component(a) == component(b)
    }

    /// Standard deviation in ns of the time between an event of `a` and one of `b`; zero for one rank, `None` if their
    /// clocks are not aligned.
    #[must_use]
    pub fn error_between_ns(&self, a: RankId, b: RankId) -> Option<f64> {
        if a == b {
            return Some(0.0);
        }
        let error = |rank: RankId| self.ranks.get(rank.index()).map(|clock| clock.error_ns);
        let (a_ns, b_ns) = (error(a)?, error(b)?);
        self.are_aligned(a, b).then(|| a_ns.hypot(b_ns))
    }

    /// A host time of `rank` on the common clock.
    #[must_use]
    pub fn to_common(&self, rank: RankId, at: Timestamp) -> Timestamp {
        let Some(clock) = self.ranks.get(rank.index()) else { return at };
        let epoch = self.components.get(clock.component as usize).map_or(0, |component| component.epoch_ns);
        let shifted = at.nanos().saturating_sub(clock.offset_ns);
        // With τ = t − t₀: shifted − t₀ = τ (1 + δ).
        let since = shifted.saturating_sub(epoch) as f64;
        let fast = since * (clock.drift / (1.0 + clock.drift));
        Timestamp(shifted.saturating_sub(fast.round() as i64))
    }

    /// Where an event lies on the common clock; for work on a device with the correction of the device's clock.
    #[must_use]
    pub fn span_of(&self, trace: &Trace, event: EventId) -> Span {
        let Some((_, track)) = trace.track_of(event) else { return Span::default() };
        self.span_on(track.rank, trace.event(event).span(), track.kind.is_device())
    }

    /// A span of a rank's host or device on the common clock.
    #[must_use]
    pub fn span_on(&self, rank: RankId, span: Span, on_device: bool) -> Span {
        let at = |at: Timestamp| {
            let device = self.ranks.get(rank.index()).filter(|_| on_device);
            self.to_common(rank, device.map_or(at, |clock| Timestamp(clock.device.corrected(at.nanos()))))
        };
        Span::new(at(span.start), at(span.end))
    }
}
