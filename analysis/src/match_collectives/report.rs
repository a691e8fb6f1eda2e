//! Everything about the collectives of a trace in one value.

use gapless_trace::{RankId, Trace};
use rayon::prelude::*;
use serde::Serialize;

use super::call::Calls;
use super::lateness::{LatenessVerdict, RankLateness, lateness};
use super::matching::matched;
use super::{CollectiveCost, CollectiveInstance, CollectiveTiming, costs, instances, timings};
use crate::clock::ClockAlignment;
use crate::steps;

/// One collective with its times.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TimedCollective {
    /// What it is, and who took part.
    #[serde(flatten)]
    pub instance: CollectiveInstance,
    /// When who came, and how long it took.
    #[serde(flatten)]
    pub timing: CollectiveTiming,
}

/// The collectives of a trace over its ranks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CollectiveReport {
    /// The clocks that its times rest on.
    pub clocks: ClockAlignment,
    /// Each collective, in the order of their ends.
    pub collectives: Vec<TimedCollective>,
    /// Costs by communicator and kind.
    pub costs: Vec<CollectiveCost>,
    /// How each rank comes to its collectives.
    pub lateness: Vec<RankLateness>,
}

impl CollectiveReport {
    /// Aligns clocks, matches calls, and times them.
    #[must_use]
    pub fn new(trace: &Trace) -> Self {
        let calls = Calls::new(trace);
        let matched = matched(&calls);
        let clocks = ClockAlignment::of_matched(trace, &calls, &matched);
        let instances = instances(trace, &calls, &matched, &clocks);
        let timings = timings(&instances, &clocks);
        let costs = costs(&instances, &timings);
        let lateness = lateness(trace, &instances, &timings, &clocks, &step_starts(trace, &clocks));
        let timed = instances.into_iter().zip(timings);
        let collectives = timed.map(|(instance, timing)| TimedCollective { instance, timing }).collect();
        Self { clocks, collectives, costs, lateness }
    }

    /// Ranks that are late for more than chance.
    pub fn late(&self) -> impl Iterator<Item = &RankLateness> {
        self.lateness.iter().filter(|rank| rank.verdict == LatenessVerdict::Late)
    }
}

/// Beginnings of the steps of the first rank that has any, on the common clock.
fn step_starts(trace: &Trace, clocks: &ClockAlignment) -> Vec<i64> {
    let ids: Vec<RankId> = trace.rank_ids().map(|(id, _)| id).collect();
    let found: Vec<Vec<gapless_trace::Timestamp>> = ids.par_iter().map(|&rank| steps::starts(trace, rank)).collect();
    let first = ids.iter().zip(found).find(|(_, starts)| !starts.is_empty());
    first.map_or_else(Vec::new, |(&rank, starts)| {
        starts.into_iter().map(|start| clocks.to_common(rank, start).nanos()).collect()
    })
}

#[cfg(test)]
mod tests {
    use gapless_trace::EventKind;
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::{Fixture, NO_ID};

    fn time() -> impl Strategy<Value = i64> {
        prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(0), any::<i64>(), -1_000..1_000_i64, 0..10_000_000_000_i64]
    }

    proptest! {
        /// Damaged files have absurd times; several ranks of them must not make sums overflow.
        #[test]
        fn absurd_times_on_several_ranks_do_no_harm(
            ranks in proptest::collection::vec(
                proptest::collection::vec((0..6_usize, 0..2_i64, time(), time(), any::<bool>()), 0..20), 2..4)
        ) {
            let fixtures = (0..).zip(ranks).map(|(rank, events)| {
                let mut fixture = Fixture::of_rank(rank);
                for (index, (what, place, start, end, has_args)) in events.into_iter().enumerate() {
                    let time = (start.min(end), start.max(end));
                    let name = ["ncclDevKernel_AllReduce", "ncclDevKernel_SendRecv", "gloo:all_reduce", "MPI_Send"];
                    let name = name.get(what % 4).copied().unwrap_or_default();
                    if what < 4 && name.starts_with("nccl") {
                        let event = fixture.device((0, place), EventKind::Collective, name, time, index as u32);
                        if has_args {
                            fixture.collective(event, "allreduce", "Float", (u64::MAX / 2, 4), 2);
                        }
                    } else if what < 4 {
                        fixture.host(place, EventKind::Annotation, name, time, NO_ID);
                    } else {
                        fixture.host(place, EventKind::RuntimeCall, "cudaLaunchKernel", time, index as u32);
                    }
                }
                fixture
            });
            let trace = Fixture::traces(fixtures.collect());
            let first = CollectiveReport::new(&trace);
            let again = CollectiveReport::new(&trace);
            prop_assert_eq!(format!("{first:?}"), format!("{again:?}"));
        }
    }
}
