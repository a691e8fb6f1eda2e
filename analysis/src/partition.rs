//! The exact split of a window of time of one rank.

use gapless_trace::{RankId, Span, Trace};
use serde::Serialize;

use crate::AnalysisOptions;
use crate::idle::{self, IdleCause, IdleCauses, IdleGap};
use crate::interval::{Interval, IntervalSet, MeasuredSet};
use crate::work::{DeviceWork, Work, WorkClass};

/// A window of time of one rank, split without overlap or rest.
///
/// `compute_ns + exposed_comm_ns + exposed_copy_ns + other_device_ns + idle_ns = duration_ns`, to the nanosecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// Length of the window.
    pub duration_ns: i64,
    /// Some kernel computes.
    pub compute_ns: i64,
    /// Some kernel communicates and none computes.
    pub exposed_comm_ns: i64,
    /// Something is copied or filled, and no kernel runs.
    pub exposed_copy_ns: i64,
    /// Something else occupies a device stream, and there is no kernel, copy or fill.
    pub other_device_ns: i64,
    /// Nothing runs on any device of the rank.
    pub idle_ns: i64,
    /// Some kernel communicates while another computes. Part of `compute_ns`.
    pub hidden_comm_ns: i64,
    /// Something is copied or filled while a kernel runs. Part of `compute_ns` and `exposed_comm_ns`.
    pub hidden_copy_ns: i64,
    /// `idle_ns` by cause; sums to it exactly.
    pub idle_by_cause: IdleCauses,
}

impl Partition {
    /// The sum of the parts, which is `duration_ns`.
    #[must_use]
    pub fn sum_ns(&self) -> i64 {
        let parts = [self.compute_ns, self.exposed_comm_ns, self.exposed_copy_ns, self.other_device_ns, self.idle_ns];
        parts.into_iter().fold(0, i64::saturating_add)
    }

    /// Takes a part of the window away.
    pub(crate) fn subtract(&mut self, part: &Self) {
        let fields = [
            (&mut self.duration_ns, part.duration_ns),
            (&mut self.compute_ns, part.compute_ns),
            (&mut self.exposed_comm_ns, part.exposed_comm_ns),
            (&mut self.exposed_copy_ns, part.exposed_copy_ns),
            (&mut self.other_device_ns, part.other_device_ns),
            (&mut self.idle_ns, part.idle_ns),
            (&mut self.hidden_comm_ns, part.hidden_comm_ns),
            (&mut self.hidden_copy_ns, part.hidden_copy_ns),
        ];
        for (field, part) in fields {
            *field = field.saturating_sub(part);
        }
        for cause in IdleCause::ALL {
            self.idle_by_cause.add(cause, -part.idle_by_cause.of(cause));
        }
    }
}

/// The device work of one rank, measured so that any window is split in O(log n).
#[derive(Clone, Debug)]
pub struct RankWork {
    pub(crate) device: DeviceWork,
    pub(crate) compute: MeasuredSet,
    pub(crate) comm: MeasuredSet,
    pub(crate) copy: MeasuredSet,
    pub(crate) busy: MeasuredSet,
    exposed_comm: MeasuredSet,
    exposed_copy: MeasuredSet,
    other: MeasuredSet,
    hidden_comm: MeasuredSet,
    hidden_copy: MeasuredSet,
    idle: [MeasuredSet; 5],
    gaps: Vec<IdleGap>,
    leading: IdleCause,
    /// From the first work to the last; `None` if there is none.
    hull: Option<Interval>,
}

impl RankWork {
    /// Collects and measures the device work of `rank`. O(n log n) in its device events.
    #[must_use]
    pub fn new(trace: &Trace, rank: RankId, options: &AnalysisOptions) -> Self {
        let device = DeviceWork::new(trace, rank);
        let class = |class: WorkClass| device.union(|work| work.class == class);
        let compute = class(WorkClass::Compute);
        let comm = class(WorkClass::Communication);
        let copy = class(WorkClass::Copy);
        let kernels = compute.union(&comm);
        let busy = kernels.union(&copy);
        let other = device.other.subtract(&busy);
        let occupied = busy.union(&other);
        let gaps = idle::gaps(trace, &device, &occupied, options.short_gap_ns);
        let idle = IdleCause::ALL.map(|cause| {
            let of_cause = gaps.iter().filter(|gap| gap.cause == cause);
            IntervalSet::from_sorted(of_cause.map(IdleGap::interval)).into()
        });
        Self {
            exposed_comm: comm.subtract(&compute).into(),
            exposed_copy: copy.subtract(&kernels).into(),
            hidden_comm: comm.intersection(&compute).into(),
            hidden_copy: copy.intersection(&kernels).into(),
            other: other.into(),
            compute: compute.into(),
            comm: comm.into(),
            copy: copy.into(),
            busy: busy.into(),
            idle,
            gaps,
            leading: idle::leading_cause(&device),
            hull: occupied.hull(),
            device,
        }
    }

    /// Splits `window`, which may reach beyond the recording. O(log n).
    #[must_use]
    pub fn partition(&self, window: Span) -> Partition {
        let window = Interval::new(window.start.nanos(), window.end.nanos().max(window.start.nanos()));
        let mut idle_by_cause = IdleCauses::default();
        for (cause, set) in IdleCause::ALL.into_iter().zip(&self.idle) {
            idle_by_cause.add(cause, set.length_in(window));
        }
        // The gaps before the first work and after the last have no end of their own.
        match self.hull {
            Some(hull) => {
                idle_by_cause.add(self.leading, Interval::new(window.start, window.end.min(hull.start)).length());
                let after = Interval::new(window.start.max(hull.end), window.end);
                idle_by_cause.add(IdleCause::NothingQueued, after.length());
            }
            None => idle_by_cause.add(IdleCause::NothingQueued, window.length()),
        }
        Partition {
            duration_ns: window.length(),
            compute_ns: self.compute.length_in(window),
            exposed_comm_ns: self.exposed_comm.length_in(window),
            exposed_copy_ns: self.exposed_copy.length_in(window),
            other_device_ns: self.other.length_in(window),
            idle_ns: idle_by_cause.total_ns(),
            hidden_comm_ns: self.hidden_comm.length_in(window),
            hidden_copy_ns: self.hidden_copy.length_in(window),
            idle_by_cause,
        }
    }

    /// The gaps between device work, by time.
    #[must_use]
    pub fn idle_gaps(&self) -> &[IdleGap] {
        &self.gaps
    }

    /// The `count` longest gaps of `window`, longest first, earlier first among equals. Gaps between device work are
    /// whole; the ones before the first and after the last work reach to the edges of the window.
    #[must_use]
    pub fn largest_idle(&self, window: Span, count: usize) -> Vec<IdleGap> {
        let (from, to) = (window.start.nanos(), window.end.nanos());
        let mut gaps: Vec<IdleGap> =
            self.gaps.iter().filter(|gap| gap.start_ns < to && gap.end_ns > from).copied().collect();
        gaps.extend(self.edges(from, to));
        gaps.sort_by_key(|gap| (std::cmp::Reverse(gap.duration_ns), gap.start_ns));
        gaps.truncate(count);
        gaps
    }

    /// The gaps of a window before the first and after the last work.
    fn edges(&self, from: i64, to: i64) -> impl Iterator<Item = IdleGap> {
        let (begin, end) = self.hull.map_or((to, to), |hull| (hull.start, hull.end));
        let first = self.device.work.iter().find(|work| work.duration() > 0 && work.start == begin);
        let gap = |start_ns: i64, end_ns: i64, cause, next: Option<&Work>| IdleGap {
            start_ns,
            end_ns,
            duration_ns: Interval::new(start_ns, end_ns).length(),
            cause,
            next_event: next.map(|next| next.event),
            launch_event: next.and_then(Work::launch),
        };
        let before = gap(from, begin.min(to), self.leading, first);
        let after = gap(end.max(from), to, IdleCause::NothingQueued, None);
        [before, after].into_iter().filter(|gap| gap.start_ns < gap.end_ns)
    }

    /// When a kernel computes.
    #[must_use]
    pub const fn compute(&self) -> &IntervalSet {
        self.compute.set()
    }

    /// When a kernel communicates.
    #[must_use]
    pub const fn communication(&self) -> &IntervalSet {
        self.comm.set()
    }

    /// When a kernel communicates and none computes.
    #[must_use]
    pub const fn exposed_communication(&self) -> &IntervalSet {
        self.exposed_comm.set()
    }

    /// When something is copied or filled.
    #[must_use]
    pub const fn copies(&self) -> &IntervalSet {
        self.copy.set()
    }

    /// When a kernel, copy or fill runs.
    #[must_use]
    pub const fn busy(&self) -> &IntervalSet {
        self.busy.set()
    }
}

#[cfg(test)]
mod tests {
    use gapless_trace::{EventKind, Timestamp};
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::{Fixture, NO_ID};

    fn span(start: i64, end: i64) -> Span {
        Span::new(Timestamp(start), Timestamp(end))
    }

    fn work_of(fixture: Fixture) -> RankWork {
        RankWork::new(&fixture.trace(), RankId(0), &AnalysisOptions::default())
    }

    #[test]
    fn a_window_splits_by_what_runs() {
        let mut fixture = Fixture::new();
        fixture.kernel("gemm", (100, 200));
        fixture.device((0, 20), EventKind::Kernel, "ncclDevKernel_AllGather_RING_LL", (150, 350), NO_ID);
        fixture.device((0, 21), EventKind::Memcpy, "Memcpy DtoH (Device -> Pinned)", (180, 400), NO_ID);
        let found = work_of(fixture).partition(span(0, 500));
        assert_eq!(found.duration_ns, 500);
        assert_eq!((found.compute_ns, found.exposed_comm_ns, found.exposed_copy_ns), (100, 150, 50));
        assert_eq!((found.hidden_comm_ns, found.hidden_copy_ns), (50, 170));
        assert_eq!((found.other_device_ns, found.idle_ns), (0, 200));
        assert_eq!(found.sum_ns(), found.duration_ns);
    }

    #[test]
    fn an_empty_or_reversed_window_holds_nothing() {
        let mut fixture = Fixture::new();
        fixture.kernel("gemm", (100, 200));
        let work = work_of(fixture);
        assert_eq!(work.partition(span(150, 150)), Partition::default());
        assert_eq!(work.partition(Span { start: Timestamp(180), end: Timestamp(120) }), Partition::default());
    }

    #[test]
    fn without_device_work_all_is_idle() {
        let mut fixture = Fixture::new();
        fixture.host(1, EventKind::Operator, "aten::mm", (0, 100), NO_ID);
        let found = work_of(fixture).partition(span(0, 100));
        assert_eq!((found.idle_ns, found.idle_by_cause.nothing_queued_ns), (100, 100));
    }

    const KINDS: [EventKind; 5] =
        [EventKind::Kernel, EventKind::Collective, EventKind::Memcpy, EventKind::Memset, EventKind::Other];

    proptest! {
        /// Against one label per nanosecond, for random work on random streams and any window.
        #[test]
        fn any_window_sums_to_its_length(
            work in proptest::collection::vec((0..4_i64, 0..KINDS.len(), 0..300_i64, 0..40_i64, -30..10_i64), 0..40),
            window in (-50..400_i64, 0..400_i64),
        ) {
            let mut fixture = Fixture::new();
            for (index, &(stream, kind, start, length, ahead)) in work.iter().enumerate() {
                let id = index as u32;
                fixture.host(1, EventKind::RuntimeCall, "cudaLaunchKernel", (start + ahead, start + ahead + 2), id);
                fixture.device((0, stream), KINDS[kind], "work", (start, start + length), id);
            }
            let (from, to) = (window.0, window.0 + window.1);
            let found = work_of(fixture).partition(span(from, to));
            let mut expected = Partition { duration_ns: to - from, ..Partition::default() };
            for at in from..to {
                let runs = |wanted: &[EventKind]| {
                    work.iter().any(|&(_, kind, start, length, _)| {
                        wanted.contains(&KINDS[kind]) && start <= at && at < start + length
                    })
                };
                let compute = runs(&[EventKind::Kernel]);
                let comm = runs(&[EventKind::Collective]);
                let copy = runs(&[EventKind::Memcpy, EventKind::Memset]);
                let other = runs(&[EventKind::Other]);
                expected.compute_ns += i64::from(compute);
                expected.exposed_comm_ns += i64::from(comm && !compute);
                expected.exposed_copy_ns += i64::from(copy && !comm && !compute);
                expected.other_device_ns += i64::from(other && !copy && !comm && !compute);
                expected.idle_ns += i64::from(!other && !copy && !comm && !compute);
                expected.hidden_comm_ns += i64::from(comm && compute);
                expected.hidden_copy_ns += i64::from(copy && (comm || compute));
            }
            prop_assert_eq!(found.idle_by_cause.total_ns(), found.idle_ns);
            prop_assert_eq!(found.sum_ns(), found.duration_ns);
            expected.idle_by_cause = found.idle_by_cause;
            prop_assert_eq!(found, expected);
        }
    }
}
