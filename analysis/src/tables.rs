//! The tables of one rank, and what making them has in common.

use std::cmp::Ordering;
use std::hash::Hash;

use gapless_trace::{EventId, RankId, Trace};
use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::host::HostTree;
use crate::names::Names;
use crate::partition::RankWork;
use crate::stats::Stats;
use crate::{
    CollectiveRow, CopyRow, GraphRow, KernelRow, LaunchRow, OperatorRow, QueueRow, ShortKernels, WithoutOperator,
    collectives, copies, graphs, kernels, launches, operators, queues,
};

/// The tables of one rank over its whole recording, each by time, then by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Tables {
    /// Device work by name.
    pub kernels: Vec<KernelRow>,
    /// How much of it is short.
    pub short_kernels: ShortKernels,
    /// Operators by name.
    pub operators: Vec<OperatorRow>,
    /// Device work that no operator can be named for.
    pub without_operator: WithoutOperator,
    /// Copies and fills by direction and name.
    pub copies: Vec<CopyRow>,
    /// Communication kernels by collective, kernel and group.
    pub collectives: Vec<CollectiveRow>,
    /// Calls that launched device work, by name.
    pub launches: Vec<LaunchRow>,
    /// Launched and not yet started work, by stream in the order of display.
    pub queues: Vec<QueueRow>,
    /// Graphs, by call and content.
    pub graphs: Vec<GraphRow>,
}

impl Tables {
    pub(crate) fn new(trace: &Trace, rank: RankId, work: &RankWork, host: &HostTree, names: &Names) -> Self {
        let device = &work.device;
        // Pairs of about equal length, so that one rank alone uses two cores.
        let ((kernels, queues), ((operators, without_operator), launches)) = rayon::join(
            || (kernels::rows(trace, device), queues::rows(trace, device)),
            || (operators::rows(trace, device, host), launches::rows(trace, device)),
        );
        Self {
            kernels,
            short_kernels: kernels::short(device),
            operators,
            without_operator,
            copies: copies::rows(trace, device),
            collectives: collectives::rows(trace, device, host),
            launches,
            queues,
            graphs: graphs::rows(trace, rank, device, names),
        }
    }
}

/// Durations by key, in the order in which keys first appear.
#[derive(Clone, Debug)]
pub(crate) struct Groups<K> {
    places: FxHashMap<K, usize>,
    groups: Vec<(K, Vec<i64>)>,
}

impl<K> Default for Groups<K> {
    fn default() -> Self {
        Self { places: FxHashMap::default(), groups: Vec::new() }
    }
}

impl<K: Copy + Eq + Hash> Groups<K> {
    /// Adds a duration in ns; gives the place of its group.
    pub fn add(&mut self, key: K, duration: i64) -> usize {
        let place = *self.places.entry(key).or_insert_with(|| {
            self.groups.push((key, Vec::new()));
            self.groups.len() - 1
        });
        if let Some((_, durations)) = self.groups.get_mut(place) {
            durations.push(duration);
        }
        place
    }

    pub fn into_stats(self) -> impl Iterator<Item = (K, Stats)> {
        self.groups.into_iter().map(|(key, mut durations)| (key, Stats::of(&mut durations)))
    }
}

/// The longest event of a group, the first of equals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Longest {
    pub event: EventId,
    pub start: i64,
    duration: i64,
}

impl Longest {
    /// Notes an event of the group at `place`; places grow by one.
    pub fn note(all: &mut Vec<Self>, place: usize, event: EventId, start: i64, duration: i64) {
        match all.get_mut(place) {
            Some(longest) if (duration, longest.start, longest.event) > (longest.duration, start, event) => {
                *longest = Self { event, start, duration };
            }
            Some(_) => {}
            None => all.push(Self { event, start, duration }),
        }
    }
}

/// More time first, then by name.
pub(crate) fn by_time_then_name(a: (i64, &str), b: (i64, &str)) -> Ordering {
    b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1))
}

/// 10⁹ bytes per second: bytes per nanosecond.
pub(crate) fn gb_per_s(bytes: u64, ns: i64) -> Option<f64> {
    (ns > 0).then(|| bytes as f64 / ns as f64)
}

#[cfg(test)]
mod tests {
    use gapless_trace::EventKind;

    use super::*;
    use crate::fixture::{Fixture, NO_ID, find};
    use crate::{AnalysisOptions, CollectiveKind, CopyDirection, WorkClass, analyze};

    fn tables(trace: &Trace) -> Tables {
        let analysis = analyze(trace, &AnalysisOptions::default());
        analysis.ranks.into_iter().next().expect("one rank").tables
    }

    #[test]
    fn kernels_are_grouped_by_name_and_class_and_sorted_by_time() {
        let mut fixture = Fixture::new();
        for (start, length) in [(0, 10), (100, 30), (200, 20)] {
            fixture.kernel("gemm", (start, start + length));
        }
        fixture.device((0, 9), EventKind::Kernel, "relu", (300, 400), NO_ID);
        fixture.device((0, 9), EventKind::Memset, "Memset (Device)", (500, 540), NO_ID);
        fixture.kernel("gemm", (600, 600));
        let trace = fixture.trace();
        let found = tables(&trace);
        let rows: Vec<_> =
            found.kernels.iter().map(|row| (row.name.as_str(), row.class, row.stats.count, row.stats.sum_ns)).collect();
        assert_eq!(
            rows,
            [
                ("relu", WorkClass::Compute, 1, 100),
                ("gemm", WorkClass::Compute, 4, 60),
                ("Memset (Device)", WorkClass::Copy, 1, 40),
            ]
        );
        let gemm = &found.kernels[1];
        assert_eq!((gemm.stats.min_ns, gemm.stats.max_ns, gemm.stats.median_ns), (0, 30, 15.0));
        assert_eq!(gemm.share, 0.3);
        assert_eq!((gemm.longest_start_ns, trace.event(gemm.longest_event).dur.nanos()), (100, 30));
        assert_eq!((found.short_kernels.kernels, found.short_kernels.sum_ns), (5, 160));
    }

    #[test]
    fn short_kernels_are_counted_below_each_limit() {
        let mut fixture = Fixture::new();
        fixture.kernel("a", (0, 999));
        fixture.kernel("b", (2_000, 3_000));
        fixture.kernel("c", (5_000, 17_000));
        let found = tables(&fixture.trace()).short_kernels;
        let limits: Vec<_> = found.limits.iter().map(|limit| (limit.below_ns, limit.count, limit.sum_ns)).collect();
        assert_eq!(
            limits,
            [
                (1_000, 1, 999),
                (2_000, 2, 1_999),
                (5_000, 2, 1_999),
                (10_000, 2, 1_999),
                (20_000, 3, 13_999),
                (50_000, 3, 13_999),
                (100_000, 3, 13_999)
            ]
        );
    }

    #[test]
    fn device_time_goes_to_the_innermost_operator_and_all_around_it() {
        let mut fixture = Fixture::new();
        // linear [0..100) > addmm [10..90) > launch; linear launches a second kernel itself; a third has no operator.
        fixture.host(1, EventKind::Operator, "aten::linear", (0, 100), NO_ID);
        fixture.host(1, EventKind::PythonFunction, "frame", (5, 95), NO_ID);
        fixture.host(1, EventKind::Operator, "aten::addmm", (10, 70), NO_ID);
        fixture.launched(7, (20, 30), (200, 260), 1);
        fixture.launched(7, (80, 85), (300, 325), 2);
        fixture.launched(7, (110, 115), (400, 405), 3);
        fixture.kernel("orphan", (500, 507));
        // Recursion: the inner call must not count twice in the totals of its name.
        fixture.host(2, EventKind::Operator, "aten::to", (0, 50), NO_ID);
        fixture.host(2, EventKind::Operator, "aten::to", (10, 40), NO_ID);
        fixture.host(2, EventKind::RuntimeCall, "cudaMemcpyAsync", (20, 30), 4);
        fixture.device((0, 7), EventKind::Memcpy, "Memcpy HtoD", (600, 690), 4);
        let found = tables(&fixture.trace());
        let row = |name: &str| found.operators.iter().find(|row| row.name == name).expect("the operator").clone();
        let (linear, addmm, to) = (row("aten::linear"), row("aten::addmm"), row("aten::to"));
        assert_eq!((linear.calls, linear.host_total_ns, linear.host_self_ns), (1, 100, 40));
        assert_eq!((linear.device_total_ns, linear.device_self_ns, linear.device_events), (85, 25, 1));
        assert_eq!((addmm.host_total_ns, addmm.host_self_ns), (60, 60));
        assert_eq!((addmm.device_total_ns, addmm.device_self_ns), (60, 60));
        assert_eq!((to.calls, to.host_total_ns, to.host_self_ns), (2, 50, 50));
        assert_eq!((to.device_total_ns, to.device_self_ns, to.device_events), (90, 90, 1));
        assert_eq!(to.kernels, [crate::OperatorKernel { name: "Memcpy HtoD".to_owned(), count: 1, sum_ns: 90 }]);
        let without = found.without_operator;
        assert_eq!((without.no_launch_events, without.no_launch_ns), (1, 7));
        assert_eq!((without.no_operator_events, without.no_operator_ns), (1, 5));
        let attributed: i64 = found.operators.iter().map(|row| row.device_self_ns).sum();
        let all: i64 = found.kernels.iter().map(|row| row.stats.sum_ns).sum();
        assert_eq!(attributed + without.no_launch_ns + without.no_operator_ns, all);
        let order: Vec<_> = found.operators.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(order, ["aten::to", "aten::addmm", "aten::linear"]);
    }

    #[test]
    fn a_call_on_another_lane_keeps_its_operator() {
        let mut fixture = Fixture::new();
        fixture.host(1, EventKind::Operator, "aten::mm", (10, 100), NO_ID);
        // Left open: it crosses the end of the operator and pushes what follows to another lane.
        fixture.host(1, EventKind::PythonFunction, "left open", (15, 900), NO_ID);
        fixture.launched(7, (20, 30), (200, 260), 1);
        let found = tables(&fixture.trace());
        assert_eq!(found.operators[0].device_self_ns, 60);
    }

    #[test]
    fn copies_have_direction_and_bandwidth() {
        let mut fixture = Fixture::new();
        let first = fixture.device((0, 7), EventKind::Memcpy, "Memcpy HtoD (Pageable -> Device)", (0, 100), NO_ID);
        let second = fixture.device((0, 7), EventKind::Memcpy, "Memcpy HtoD (Pageable -> Device)", (200, 300), NO_ID);
        fixture.device((0, 7), EventKind::Memcpy, "CopyDeviceToHost", (400, 450), NO_ID);
        fixture.bytes(first, 1_000);
        fixture.bytes(second, 3_000);
        let found = tables(&fixture.trace()).copies;
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].direction, found[0].bytes, found[0].gb_per_s),
            (CopyDirection::HostToDevice, Some(4_000), Some(20.0))
        );
        assert_eq!((found[1].direction, found[1].bytes, found[1].gb_per_s), (CopyDirection::DeviceToHost, None, None));
    }

    #[test]
    fn bandwidth_of_collectives_follows_nccl_tests() {
        let mut fixture = Fixture::new();
        let reduce = "ncclDevKernel_AllReduce_Sum_f32_RING_LL";
        let gather = "ncclDevKernel_AllGather_RING_LL";
        let event = fixture.device((0, 20), EventKind::Kernel, reduce, (0, 4_000), NO_ID);
        fixture.collective(event, "allreduce", "Float", (1_000, 1_000), 4);
        // An all-gather names its full size in what it puts out; its arguments stand on the operator that issued it.
        let operator = fixture.host(1, EventKind::Operator, "record_param_comms", (5_000, 5_100), NO_ID);
        fixture.collective(operator, "_allgather_base", "BFloat16", (500, 4_000), 8);
        fixture.host(1, EventKind::RuntimeCall, "cudaLaunchKernelExC", (5_010, 5_020), 9);
        fixture.device((0, 20), EventKind::Kernel, gather, (6_000, 7_000), 9);
        let found = tables(&fixture.trace()).collectives;
        let rows: Vec<_> =
            found.iter().map(|row| (row.collective, row.bytes, row.algorithm_gb_per_s, row.bus_gb_per_s)).collect();
        assert_eq!(
            rows,
            [
                (CollectiveKind::AllReduce, Some(4_000), Some(1.0), Some(1.5)),
                (CollectiveKind::AllGather, Some(8_000), Some(8.0), Some(7.0)),
            ]
        );
        assert_eq!((found[1].name.as_str(), found[1].group_size), ("_allgather_base", Some(8)));
    }

    #[test]
    fn a_part_of_a_gather_counts_as_many_times_as_there_are_ranks() {
        let bytes = |name: &str, elems: (u64, u64)| {
            let mut fixture = Fixture::new();
            let event = fixture.device((0, 20), EventKind::Kernel, "ncclDevKernel_SendRecv", (0, 1_000), NO_ID);
            fixture.collective(event, name, "Long", elems, 4);
            tables(&fixture.trace()).collectives[0].bytes
        };
        // The root names all of it, the others their part alone.
        assert_eq!([bytes("gather", (10, 40)), bytes("gather", (10, 0))], [Some(320); 2]);
        assert_eq!([bytes("scatter", (40, 10)), bytes("scatter", (0, 10))], [Some(320); 2]);
        assert_eq!([bytes("_allgather_base", (10, 0)), bytes("_reduce_scatter_base", (0, 10))], [Some(320); 2]);
        assert_eq!([bytes("allreduce", (10, 0)), bytes("broadcast", (0, 10))], [Some(80); 2]);
        assert_eq!([bytes("barrier", (1, 1)), bytes("allreduce", (0, 0))], [None; 2]);
    }

    #[test]
    fn an_operator_left_open_takes_no_more_than_its_share() {
        let mut fixture = Fixture::new();
        fixture.host(1, EventKind::Operator, "outer", (0, 100), NO_ID);
        fixture.host(1, EventKind::Operator, "left open", (60, 1_000), NO_ID);
        let found = tables(&fixture.trace()).operators;
        let outer = found.iter().find(|row| row.name == "outer").expect("the operator");
        assert_eq!((outer.host_total_ns, outer.host_self_ns), (100, 60));
    }

    #[test]
    fn branches_of_a_graph_may_take_turns_differently() {
        let mut fixture = Fixture::new();
        for (id, first, second) in [(1, "a", "b"), (2, "b", "a")] {
            let at = 1_000 * i64::from(id);
            fixture.host(1, EventKind::RuntimeCall, "cudaGraphLaunch", (at, at + 30), id);
            fixture.device((0, 7), EventKind::Kernel, first, (at + 50, at + 90), id);
            fixture.device((0, 8), EventKind::Kernel, second, (at + 55, at + 95), id);
        }
        let found = tables(&fixture.trace()).graphs;
        assert_eq!(found.iter().map(|row| (row.launches, row.device_events)).collect::<Vec<_>>(), [(2, 4)]);
    }

    #[test]
    fn names_tell_what_a_collective_does() {
        let check = |name: &str, kind| assert_eq!(CollectiveKind::of(name), kind, "{name}");
        check("all_to_allv", CollectiveKind::AllToAll);
        check("_reduce_scatter_base", CollectiveKind::ReduceScatter);
        check("allreduce_coalesced", CollectiveKind::AllReduce);
        check("ncclDevKernel_ReduceScatter_Sum_bf16_RING_LL", CollectiveKind::ReduceScatter);
        check("ncclKernel_SendRecv_RING_SIMPLE_Sum_int8_t", CollectiveKind::SendReceive);
        check("ncclDevKernel_Generic(ncclDevComm*, ...)", CollectiveKind::Other);
        check("void vllm::cross_device_reduce_1stage<half, 8>", CollectiveKind::AllReduce);
    }

    #[test]
    fn launches_have_delays_and_queues_have_lengths() {
        let mut fixture = Fixture::new();
        fixture.launched(7, (0, 10), (20, 120), 1);
        fixture.launched(7, (40, 50), (120, 220), 2);
        fixture.launched(7, (60, 70), (220, 225), 3);
        let found = tables(&fixture.trace());
        let row = &found.launches[0];
        assert_eq!((row.name.as_str(), row.calls, row.device_events), ("cudaLaunchKernel", 3, 3));
        assert_eq!((row.delay.min_ns, row.delay.max_ns, row.after_call.min_ns), (20, 160, 10));
        assert_eq!((row.call.sum_ns, row.longer_than_work, row.work_before_call), (30, 1, 0));
        // Length 1 in [0, 20), 0 in [20, 40), 1 in [40, 60), 2 in [60, 120), 1 in [120, 220).
        let queue = &found.queues[0];
        assert_eq!((queue.observed_ns, queue.empty_ns, queue.max_length), (220, 20, 2));
        assert_eq!(queue.mean_length, (20.0 + 20.0 + 120.0 + 100.0) / 220.0);
        assert_eq!((queue.median_length, queue.p95_length, queue.full_ns), (1, 2, 0));
    }

    #[test]
    fn graphs_are_told_apart_by_their_work() {
        let mut fixture = Fixture::new();
        let mut id = 0;
        for (at, names) in [(0, &["a", "b", "c"][..]), (1_000, &["a", "b", "c"]), (2_000, &["a", "d"])] {
            id += 1;
            fixture.host(1, EventKind::RuntimeCall, "cudaGraphLaunch", (at, at + 30), id);
            for (index, name) in names.iter().enumerate() {
                let start = at + 50 + 100 * index as i64;
                fixture.device((0, 7 + index as i64 % 2), EventKind::Kernel, name, (start, start + 80), id);
            }
        }
        fixture.host(1, EventKind::RuntimeCall, "cudaGraphLaunch", (3_000, 3_030), 99);
        fixture.launched(7, (4_000, 4_010), (4_020, 4_100), 100);
        let found = tables(&fixture.trace()).graphs;
        let rows: Vec<_> = found
            .iter()
            .map(|row| {
                (
                    row.launches,
                    row.device_events_per_launch,
                    row.device_sum_ns,
                    row.extent.max_ns,
                    row.first_kernel.as_str(),
                )
            })
            .collect();
        assert_eq!(rows, [(2, 3, 480, 280, "a"), (1, 2, 160, 180, "a"), (1, 0, 0, 0, "")]);
    }

    #[test]
    fn tables_do_not_depend_on_the_order_of_the_file() {
        let build = |reverse: bool| {
            let mut fixture = Fixture::new();
            let mut names = vec!["a", "b", "c", "d"];
            if reverse {
                names.reverse();
            }
            for name in names {
                fixture.device(
                    (0, 7),
                    EventKind::Kernel,
                    name,
                    (i64::from(name.as_bytes()[0]) * 10, i64::from(name.as_bytes()[0]) * 10 + 5),
                    NO_ID,
                );
            }
            fixture.trace()
        };
        let names = |trace: &Trace| tables(trace).kernels.into_iter().map(|row| row.name).collect::<Vec<_>>();
        assert_eq!(names(&build(false)), names(&build(true)));
        assert_eq!(names(&build(false)), ["a", "b", "c", "d"]);
        let trace = build(false);
        assert_eq!(trace.name(find(&trace, "a")), "a");
    }
}
