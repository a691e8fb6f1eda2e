//! One entry for everything.

use gapless_trace::{RankId, Trace};
use rayon::prelude::*;
use serde::Serialize;

use crate::breakdown::RankBreakdown;
use crate::host::HostTree;
use crate::idle::IdleGap;
use crate::names::Names;
use crate::options::{AnalysisOptions, Convention};
use crate::partition::{Partition, RankWork};
use crate::steps::{self, StepBreakdown, StepSource};
use crate::summary::{self, StepSummary};
use crate::tables::Tables;
use crate::tracelens::TraceLensReport;

/// Where the time went.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Analysis {
    /// Version of the JSON schema: grows when a field changes its meaning or goes.
    pub schema: u32,
    /// Whose definitions are reported.
    pub convention: Convention,
    /// Each rank, in the order of [`Trace::ranks`].
    pub ranks: Vec<RankAnalysis>,
    /// Each step over all ranks.
    pub steps: Vec<StepSummary>,
}

/// Where the time of one rank went.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RankAnalysis {
    /// Its device work over the whole recording.
    #[serde(flatten)]
    pub breakdown: RankBreakdown,
    /// The whole recording, host time included, as one step.
    pub whole: StepBreakdown,
    /// Where the steps come from.
    pub steps_from: StepSource,
    /// Its steps, by time.
    pub steps: Vec<StepBreakdown>,
    /// The part of `whole` that lies in no step.
    pub outside_steps: Partition,
    /// The longest gaps without device work, longest first.
    pub largest_idle: Vec<IdleGap>,
    /// Its tables.
    #[serde(flatten)]
    pub tables: Tables,
    /// What TraceLens would print; only with [`Convention::TraceLens`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracelens: Option<TraceLensReport>,
}

/// Analyses all ranks of `trace`, in parallel.
#[must_use]
pub fn analyze(trace: &Trace, options: &AnalysisOptions) -> Analysis {
    let names = Names::new(trace);
    let ids: Vec<RankId> = trace.rank_ids().map(|(id, _)| id).collect();
    let ranks: Vec<RankAnalysis> = ids.into_par_iter().map(|rank| analyze_rank(trace, rank, options, &names)).collect();
    Analysis { schema: 1, convention: options.convention, steps: summary::summaries(&ranks), ranks }
}

fn analyze_rank(trace: &Trace, rank: RankId, options: &AnalysisOptions, names: &Names) -> RankAnalysis {
    let work = RankWork::new(trace, rank, options);
    let (steps_from, mut steps) = steps::steps(trace, rank, &work);
    let mut whole = steps::whole(trace, rank, &work);
    steps::note_host(trace, rank, &work, steps.iter_mut().chain([&mut whole]));
    let mut outside_steps = whole.partition;
    for step in &steps {
        outside_steps.subtract(&step.partition);
    }
    let host = HostTree::new(trace, rank);
    let largest_idle = work.largest_idle(whole.span(), options.largest_idle);
    RankAnalysis {
        breakdown: RankBreakdown::new(trace, rank, &work),
        whole,
        steps_from,
        steps,
        outside_steps,
        largest_idle,
        tables: Tables::new(trace, rank, &work, &host, names),
        tracelens: match options.convention {
            Convention::Exact => None,
            Convention::TraceLens => Some(TraceLensReport::new(trace, rank, &work.device, &host, names)),
        },
    }
}

#[cfg(test)]
mod tests {
    use gapless_trace::EventKind;
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::Fixture;

    fn time() -> impl Strategy<Value = i64> {
        prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(0), any::<i64>(), -1_000..1_000_i64]
    }

    proptest! {
        /// Damaged files have absurd times, many threads and any kind anywhere.
        #[test]
        fn absurd_times_do_no_harm(
            events in proptest::collection::vec((0..EventKind::ALL.len(), 0..3_i64, time(), time(), 0..6_u32), 0..30)
        ) {
            let mut fixture = Fixture::new();
            for (index, (kind, place, start, end, id)) in events.into_iter().enumerate() {
                let kind = EventKind::ALL[kind];
                let time = (start.min(end), start.max(end));
                let name = ["a", "ProfilerStep#1", "cudaGraphLaunch", "step 3"][index % 4];
                if kind.is_device_work() {
                    fixture.device((place, 7), kind, name, time, id);
                } else {
                    fixture.host(place, kind, name, time, id);
                }
            }
            let options = AnalysisOptions { convention: Convention::TraceLens, ..AnalysisOptions::default() };
            let trace = fixture.trace();
            let first = analyze(&trace, &options);
            prop_assert_eq!(first, analyze(&trace, &options));
        }
    }
}
