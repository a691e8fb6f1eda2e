//! Each step over all ranks: how long it took, and which rank was the slowest.

use gapless_trace::RankId;
use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::analysis::RankAnalysis;
use crate::partition::Partition;
use crate::steps::StepBreakdown;

/// A step over all ranks that recorded it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepSummary {
    /// Its name.
    pub name: String,
    /// Its place in the list, from 0.
    pub index: u32,
    /// The number at the end of its name, where there is one.
    pub number: Option<u64>,
    /// How many ranks recorded it.
    pub ranks: u32,
    /// Its length on the slowest rank: the ranks wait for each other, so this is how long the step took.
    pub duration_ns: i64,
    /// Its length on the fastest rank.
    pub fastest_ns: i64,
    /// Number of the slowest rank, where known.
    pub slowest_rank: Option<u32>,
    /// Place of the slowest rank in the list of ranks.
    #[serde(serialize_with = "crate::ids::rank")]
    pub slowest_rank_id: RankId,
    /// Place of the step in the list of the slowest rank.
    pub slowest_step_index: u32,
    /// Its beginning on the slowest rank, in ns.
    pub start_ns: i64,
    /// Its end on the slowest rank, in ns.
    pub end_ns: i64,
    /// The split, averaged over the ranks.
    pub mean: MeanPartition,
}

/// A [`Partition`] averaged over ranks, in ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct MeanPartition {
    /// Mean of [`Partition::duration_ns`].
    pub duration_ns: f64,
    /// Mean of [`Partition::compute_ns`].
    pub compute_ns: f64,
    /// Mean of [`Partition::exposed_comm_ns`].
    pub exposed_comm_ns: f64,
    /// Mean of [`Partition::exposed_copy_ns`].
    pub exposed_copy_ns: f64,
    /// Mean of [`Partition::other_device_ns`].
    pub other_device_ns: f64,
    /// Mean of [`Partition::idle_ns`].
    pub idle_ns: f64,
    /// Mean of [`Partition::hidden_comm_ns`].
    pub hidden_comm_ns: f64,
    /// Mean of [`Partition::hidden_copy_ns`].
    pub hidden_copy_ns: f64,
}

impl MeanPartition {
    fn of<'a>(parts: impl Iterator<Item = &'a Partition> + Clone) -> Self {
        let count = parts.clone().count().max(1) as f64;
        let mean = |of: fn(&Partition) -> i64| parts.clone().map(|part| of(part) as f64).sum::<f64>() / count;
        Self {
            duration_ns: mean(|part| part.duration_ns),
            compute_ns: mean(|part| part.compute_ns),
            exposed_comm_ns: mean(|part| part.exposed_comm_ns),
            exposed_copy_ns: mean(|part| part.exposed_copy_ns),
            other_device_ns: mean(|part| part.other_device_ns),
            idle_ns: mean(|part| part.idle_ns),
            hidden_comm_ns: mean(|part| part.hidden_comm_ns),
            hidden_copy_ns: mean(|part| part.hidden_copy_ns),
        }
    }
}

/// Joins the steps of all ranks: those with one name are one step, the k-th of equal names with the k-th.
pub(crate) fn summaries(ranks: &[RankAnalysis]) -> Vec<StepSummary> {
    let mut places: FxHashMap<(&str, u32), usize> = FxHashMap::default();
    let mut groups: Vec<Vec<(&RankAnalysis, &StepBreakdown)>> = Vec::new();
    for rank in ranks {
        let mut seen: FxHashMap<&str, u32> = FxHashMap::default();
        for step in &rank.steps {
            let nth = seen.entry(&step.name).and_modify(|count| *count += 1).or_insert(0);
            let place = *places.entry((&step.name, *nth)).or_insert_with(|| {
                groups.push(Vec::new());
                groups.len() - 1
            });
            if let Some(group) = groups.get_mut(place) {
                group.push((rank, step));
            }
        }
    }
    let mut summaries: Vec<StepSummary> = groups.iter().filter_map(|group| summary(group)).collect();
    // Ranks may begin to record at different steps; numbers put these in order, clocks need not agree.
    summaries.sort_by_key(|step| step.number);
    for (index, step) in summaries.iter_mut().enumerate() {
        step.index = index as u32;
    }
    summaries
}

fn summary(group: &[(&RankAnalysis, &StepBreakdown)]) -> Option<StepSummary> {
    // The first of equally slow ranks, so that the answer does not depend on the order of the search.
    let slower = |a: &(&RankAnalysis, &StepBreakdown), b: &(&RankAnalysis, &StepBreakdown)| {
        a.1.partition.duration_ns.cmp(&b.1.partition.duration_ns)
    };
    let (rank, slowest) = group.iter().rev().copied().max_by(slower)?;
    Some(StepSummary {
        name: slowest.name.clone(),
        index: 0,
        number: slowest.number,
        ranks: group.len() as u32,
        duration_ns: slowest.partition.duration_ns,
        fastest_ns: group.iter().map(|(_, step)| step.partition.duration_ns).min().unwrap_or_default(),
        slowest_rank: rank.breakdown.rank,
        slowest_rank_id: rank.breakdown.rank_id,
        slowest_step_index: slowest.index,
        start_ns: slowest.start_ns,
        end_ns: slowest.end_ns,
        mean: MeanPartition::of(group.iter().map(|(_, step)| &step.partition)),
    })
}

#[cfg(test)]
mod tests {
    use gapless_trace::EventKind;

    use crate::fixture::{Fixture, NO_ID};
    use crate::{AnalysisOptions, analyze};

    fn rank(number: u32, steps: &[(u32, i64, i64)]) -> Fixture {
        let mut fixture = Fixture::of_rank(number);
        for &(step, start, end) in steps {
            fixture.host(1, EventKind::Step, &format!("ProfilerStep#{step}"), (start, end), NO_ID);
            fixture.kernel("gemm", (start, start + 10));
        }
        fixture
    }

    #[test]
    fn a_step_takes_as_long_as_its_slowest_rank() {
        let trace = Fixture::traces(vec![
            rank(0, &[(6, 100, 180), (7, 180, 300)]),
            rank(1, &[(5, 0, 100), (6, 100, 200), (7, 200, 300)]),
            rank(2, &[(6, 100, 200)]),
        ]);
        let found = analyze(&trace, &AnalysisOptions::default()).steps;
        let rows: Vec<_> = found
            .iter()
            .map(|step| {
                (step.index, step.name.as_str(), step.ranks, step.duration_ns, step.fastest_ns, step.slowest_rank)
            })
            .collect();
        assert_eq!(
            rows,
            [
                (0, "ProfilerStep#5", 1, 100, 100, Some(1)),
                (1, "ProfilerStep#6", 3, 100, 80, Some(1)),
                (2, "ProfilerStep#7", 2, 120, 100, Some(0)),
            ]
        );
        assert_eq!(found[1].slowest_step_index, 1);
        assert_eq!(found[2].mean.duration_ns, 110.0);
        assert_eq!((found[2].mean.compute_ns, found[2].mean.idle_ns), (10.0, 100.0));
    }

    #[test]
    fn what_is_in_no_step_is_the_rest_of_the_recording() {
        let mut fixture = rank(0, &[(1, 100, 200), (2, 250, 350)]);
        fixture.kernel("between", (190, 260));
        fixture.kernel("after", (400, 500));
        let analysis = analyze(&fixture.trace(), &AnalysisOptions::default());
        let rank = &analysis.ranks[0];
        assert_eq!((rank.whole.start_ns, rank.whole.end_ns), (100, 500));
        assert_eq!((rank.outside_steps.duration_ns, rank.outside_steps.compute_ns), (200, 150));
        assert_eq!(rank.outside_steps.sum_ns(), 200);
    }

    #[test]
    fn the_json_has_the_documented_fields() {
        let trace = rank(3, &[(1, 100, 200), (2, 250, 350)]).trace();
        let json = serde_json::to_value(analyze(&trace, &AnalysisOptions::default())).expect("it serialises");
        let rank = &json["ranks"][0];
        assert_eq!(rank["rank"], 3);
        assert_eq!(rank["file"], "rank3.json");
        for field in [
            "device_events",
            "span_ns",
            "busy_ns",
            "idle_ns",
            "compute_union_ns",
            "comm_union_ns",
            "mem_union_ns",
            "overlap_comm_compute_ns",
            "exposed_comm_ns",
        ] {
            assert!(rank[field].is_i64(), "{field}");
        }
        let parts = ["compute_ns", "exposed_comm_ns", "exposed_copy_ns", "other_device_ns", "idle_ns"];
        for step in rank["steps"].as_array().expect("steps") {
            let sum: i64 = parts.iter().map(|part| step[part].as_i64().expect("a part")).sum();
            assert_eq!(step["duration_ns"], sum);
        }
        assert_eq!(rank["kernels"][0]["name"], "gemm");
        assert!(rank.get("tracelens").is_none());
    }
}
