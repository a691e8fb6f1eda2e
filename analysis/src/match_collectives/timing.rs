//! Arrival, transfer and wait of a collective, and who was late.
//!
//! With arrivals a_r and ends e_r on the common clock: A = max a_r, transfer τ = median (e_r − A), wait w_r = A − a_r. Of
//! a rooted collective members need not wait for one another, so only its transfer is told. Whoever came last is the
//! delayer only if the second last came earlier by more than three standard deviations of the clocks.

use gapless_trace::RankId;
use serde::Serialize;

use super::CollectiveInstance;
use crate::clock::ClockAlignment;
use crate::collectives::CollectiveKind;

/// How sure a lateness must be, in standard deviations.
pub const SIGMAS: f64 = 3.0;

/// One collective in time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CollectiveTiming {
    /// A: when the last member arrived, on the common clock, in ns.
    pub last_arrival_ns: i64,
    /// From the first to the last arrival, in ns.
    pub arrival_spread_ns: i64,
    /// From the first to the last end, in ns.
    pub end_spread_ns: i64,
    /// τ: from the last arrival to the median end, in ns; not negative.
    pub transfer_ns: i64,
    /// Whether `transfer_ns` is an estimate: only one rank shows the call, and the shortest like it stands for the
    /// transfer.
    pub is_estimated: bool,
    /// Waits w_r of the members in their order, in ns.
    pub waits_ns: Vec<i64>,
    /// Their sum, in ns.
    pub wait_sum_ns: i64,
    /// The rank that arrived last; `None` for a single member.
    #[serde(rename = "last_rank_id", serialize_with = "crate::ids::maybe_rank")]
    pub last: Option<RankId>,
    /// By how much it came after the one before it, in ns.
    pub margin_ns: i64,
    /// Standard deviation of that margin by the clocks, in ns.
    pub margin_error_ns: f64,
    /// The last rank, if its margin is more than three standard deviations.
    #[serde(rename = "delayer_rank_id", serialize_with = "crate::ids::maybe_rank")]
    pub delayer: Option<RankId>,
}

/// Whether members of a collective of this kind wait for all others.
pub(crate) const fn waits_for_all(kind: CollectiveKind) -> bool {
    matches!(
        kind,
        CollectiveKind::AllReduce
            | CollectiveKind::AllGather
            | CollectiveKind::ReduceScatter
            | CollectiveKind::AllToAll
            | CollectiveKind::Barrier
            | CollectiveKind::SendReceive
    )
}

/// The timing of each of `instances`, in their order.
#[must_use]
pub fn timings(instances: &[CollectiveInstance], clocks: &ClockAlignment) -> Vec<CollectiveTiming> {
    let shortest = shortest(instances);
    instances
        .iter()
        .map(|instance| match instance.members.as_slice() {
            _ if instance.enqueued_only => handed_over(instance),
            [only] => {
                let dur = (only.end - only.start).nanos();
                let least = shortest.get(&like(instance)).copied().unwrap_or(dur);
                estimated(only.start.nanos(), dur, least)
            }
            _ => timing(instance, clocks),
        })
        .collect()
}

/// What makes calls alike: communicator, kind, bytes.
type Like = (u32, CollectiveKind, Option<u64>);

const fn like(instance: &CollectiveInstance) -> Like {
    (instance.communicator, instance.kind, instance.bytes)
}

/// The shortest duration of calls alike: the one that waited least.
fn shortest(instances: &[CollectiveInstance]) -> std::collections::BTreeMap<Like, i64> {
    let mut shortest = std::collections::BTreeMap::new();
    for instance in instances {
        for member in &instance.members {
            let dur = (member.end - member.start).nanos();
            let least = shortest.entry(like(instance)).or_insert(dur);
            *least = dur.min(*least);
        }
    }
    shortest
}

/// Of one member nothing is known about the others; the shortest call alike is taken to have waited for nobody.
fn estimated(start_ns: i64, dur_ns: i64, least_ns: i64) -> CollectiveTiming {
    let transfer_ns = least_ns.clamp(0, dur_ns.max(0));
    let wait_ns = dur_ns.saturating_sub(transfer_ns);
    CollectiveTiming {
        last_arrival_ns: start_ns.saturating_add(wait_ns),
        arrival_spread_ns: 0,
        end_spread_ns: 0,
        transfer_ns,
        is_estimated: true,
        waits_ns: vec![wait_ns],
        wait_sum_ns: wait_ns,
        last: None,
        margin_ns: 0,
        margin_error_ns: 0.0,
        delayer: None,
    }
}

/// Of a hand-over to devices nothing follows about the transfer.
fn handed_over(instance: &CollectiveInstance) -> CollectiveTiming {
    let last = instance.members.iter().map(|member| member.start.nanos()).max().unwrap_or_default();
    let first = instance.members.iter().map(|member| member.start.nanos()).min().unwrap_or_default();
    CollectiveTiming {
        arrival_spread_ns: last.saturating_sub(first),
        waits_ns: vec![0; instance.members.len()],
        is_estimated: false,
        ..estimated(last, 0, 0)
    }
}

fn timing(instance: &CollectiveInstance, clocks: &ClockAlignment) -> CollectiveTiming {
    let members = &instance.members;
    let mut arrivals: Vec<(i64, RankId)> = members.iter().map(|member| (member.start.nanos(), member.rank)).collect();
    arrivals.sort_unstable();
    let mut ends: Vec<i64> = members.iter().map(|member| member.end.nanos()).collect();
    ends.sort_unstable();
    let first = arrivals.first().map_or(0, |arrival| arrival.0);
    let (last_ns, last) = arrivals.last().map_or((0, None), |&(at, rank)| (at, Some(rank)));
    let middle = |values: &[i64]| {
        let at = |place: usize| values.get(place).copied().unwrap_or_default();
        at(values.len().saturating_sub(1) / 2).midpoint(at(values.len() / 2))
    };
    // A CPU may send and go on before anybody receives.
    let waits = waits_for_all(instance.kind) && (instance.on_device || instance.kind != CollectiveKind::SendReceive);
    let waits_ns: Vec<i64> =
        members.iter().map(|member| if waits { last_ns.saturating_sub(member.start.nanos()) } else { 0 }).collect();
    let before = arrivals.len().checked_sub(2).and_then(|place| arrivals.get(place)).copied();
    let margin_ns = before.map_or(0, |(at, _)| last_ns.saturating_sub(at));
    let margin_error_ns = before
        .zip(last)
        .map_or(f64::INFINITY, |((_, before), last)| clocks.error_between_ns(before, last).unwrap_or(f64::INFINITY));
    CollectiveTiming {
        last_arrival_ns: last_ns,
        arrival_spread_ns: last_ns.saturating_sub(first),
        end_spread_ns: ends.last().zip(ends.first()).map_or(0, |(last, first)| last.saturating_sub(*first)),
        transfer_ns: middle(&ends).saturating_sub(last_ns).max(0),
        is_estimated: false,
        wait_sum_ns: waits_ns.iter().copied().fold(0, i64::saturating_add),
        waits_ns,
        last,
        margin_ns,
        margin_error_ns,
        delayer: last.filter(|_| waits && margin_ns as f64 > SIGMAS * margin_error_ns),
    }
}
