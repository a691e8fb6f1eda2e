//! Why no device of a rank worked.
//!
//! An idle gap is a longest stretch in which nothing runs on any device of the rank. What ends it, the *next work*,
//! tells the cause:
//!
//! - **host late**: the call that launched the next work began at or after the gap's beginning, so until then the
//!   device had nothing to do. The time from the call to the start of the work is part of it.
//! - **other stream**: the next work was launched before the gap began, the last work to end ran on another stream, and
//!   the gap is short: the device passed an event from stream to stream.
//! - **kernel gap**: as before, but the last work to end ran on the same stream: the device's own pause between two
//!   pieces of work in a queue.
//! - **nothing queued**: no work comes after the gap in the recording.
//! - **unknown**: the launch of the next work is not in the recording, or it was launched in time and the gap is longer
//!   than [`AnalysisOptions::short_gap_ns`](crate::AnalysisOptions::short_gap_ns).
//!
//! HTA splits idle time in a similar way, but per stream and from the end of the previous row (`get_idle_time_breakdown`);
//! here a gap counts only while the whole rank is idle, so that the causes sum to the idle time.

use gapless_trace::{EventId, Trace};
use serde::Serialize;

use crate::interval::{Interval, IntervalSet};
use crate::work::{DeviceWork, Work};

/// Why a device was idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IdleCause {
    /// The host launched the next work only after the gap had begun.
    HostLate,
    /// The next work was queued and followed work of another stream.
    OtherStream,
    /// The next work was queued and followed work of its own stream.
    KernelGap,
    /// No work follows.
    NothingQueued,
    /// The recording does not tell.
    Unknown,
}

impl IdleCause {
    /// All causes, in declaration order.
    pub const ALL: [Self; 5] = [Self::HostLate, Self::OtherStream, Self::KernelGap, Self::NothingQueued, Self::Unknown];

    /// A short name for people, in lower case.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::HostLate => "host late",
            Self::OtherStream => "waiting for another stream",
            Self::KernelGap => "gap between kernels",
            Self::NothingQueued => "nothing queued",
            Self::Unknown => "unknown",
        }
    }
}

/// Idle time in ns by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IdleCauses {
    /// See [`IdleCause::HostLate`].
    pub host_late_ns: i64,
    /// See [`IdleCause::OtherStream`].
    pub other_stream_ns: i64,
    /// See [`IdleCause::KernelGap`].
    pub kernel_gap_ns: i64,
    /// See [`IdleCause::NothingQueued`].
    pub nothing_queued_ns: i64,
    /// See [`IdleCause::Unknown`].
    pub unknown_ns: i64,
}

impl IdleCauses {
    /// The time of one cause in ns.
    #[must_use]
    pub const fn of(&self, cause: IdleCause) -> i64 {
        match cause {
            IdleCause::HostLate => self.host_late_ns,
            IdleCause::OtherStream => self.other_stream_ns,
            IdleCause::KernelGap => self.kernel_gap_ns,
            IdleCause::NothingQueued => self.nothing_queued_ns,
            IdleCause::Unknown => self.unknown_ns,
        }
    }

    /// All causes together in ns.
    #[must_use]
    pub fn total_ns(&self) -> i64 {
        IdleCause::ALL.iter().map(|&cause| self.of(cause)).fold(0, i64::saturating_add)
    }

    pub(crate) fn add(&mut self, cause: IdleCause, ns: i64) {
        let place = match cause {
            IdleCause::HostLate => &mut self.host_late_ns,
            IdleCause::OtherStream => &mut self.other_stream_ns,
            IdleCause::KernelGap => &mut self.kernel_gap_ns,
            IdleCause::NothingQueued => &mut self.nothing_queued_ns,
            IdleCause::Unknown => &mut self.unknown_ns,
        };
        *place = place.saturating_add(ns);
    }
}

/// A stretch in which no device of the rank works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct IdleGap {
    /// Its beginning, in ns.
    pub start_ns: i64,
    /// Its end, in ns.
    pub end_ns: i64,
    /// Its length.
    pub duration_ns: i64,
    /// Why.
    pub cause: IdleCause,
    /// The work that ends it.
    #[serde(serialize_with = "crate::ids::maybe_event")]
    pub next_event: Option<EventId>,
    /// The call that launched that work.
    #[serde(serialize_with = "crate::ids::maybe_event")]
    pub launch_event: Option<EventId>,
}

impl IdleGap {
    pub(crate) fn interval(&self) -> Interval {
        Interval::new(self.start_ns, self.end_ns)
    }
}

/// The gaps between the intervals of `busy`, by time, with their causes. O(n).
pub(crate) fn gaps(trace: &Trace, device: &DeviceWork, busy: &IntervalSet, short_gap_ns: i64) -> Vec<IdleGap> {
    let mut gaps = Vec::with_capacity(busy.intervals().len().saturating_sub(1));
    // End of the last work of each stream that began before the gap.
    let mut ends = vec![i64::MIN; device.streams.len()];
    let mut work = device.work.iter().filter(|work| work.duration() > 0).peekable();
    let pairs = busy.intervals().iter().zip(busy.intervals().iter().skip(1));
    for (start_ns, end_ns) in pairs.map(|(before, after)| (before.end, after.start)) {
        while let Some(done) = work.next_if(|work| work.start < end_ns) {
            if let Some(end) = ends.get_mut(done.stream as usize) {
                *end = done.end.max(*end);
            }
        }
        let next = work.clone().take_while(|work| work.start == end_ns);
        let next = next.min_by_key(|work| first_launched(trace, work)).copied();
        let follows_own_stream = next.is_some_and(|next| ends.get(next.stream as usize) == Some(&start_ns));
        gaps.push(IdleGap {
            start_ns,
            end_ns,
            duration_ns: Interval::new(start_ns, end_ns).length(),
            cause: cause(trace, next.as_ref(), start_ns, end_ns, follows_own_stream, short_gap_ns),
            next_event: next.map(|next| next.event),
            launch_event: next.and_then(|next| next.launch()),
        });
    }
    gaps
}

/// Of several pieces of work that end a gap at once, the one that was launched first says why; without a launch, last.
fn first_launched(trace: &Trace, work: &Work) -> (bool, i64, EventId) {
    let launch = work.launch().map(|launch| trace.event(launch).start.nanos());
    (launch.is_none(), launch.unwrap_or_default(), work.event)
}

fn cause(
    trace: &Trace,
    next: Option<&Work>,
    start: i64,
    end: i64,
    follows_own_stream: bool,
    short_gap_ns: i64,
) -> IdleCause {
    let Some(launch) = next.and_then(Work::launch) else { return IdleCause::Unknown };
    if trace.event(launch).start.nanos() >= start {
        IdleCause::HostLate
    } else if Interval::new(start, end).length() > short_gap_ns {
        IdleCause::Unknown
    } else if follows_own_stream {
        IdleCause::KernelGap
    } else {
        IdleCause::OtherStream
    }
}

/// The cause of the time before the first work: the host was late if its launch is known.
pub(crate) fn leading_cause(device: &DeviceWork) -> IdleCause {
    let mut working = device.work.iter().filter(|work| work.duration() > 0);
    match working.next().map(|first| first.launch().is_some()) {
        Some(true) => IdleCause::HostLate,
        Some(false) => IdleCause::Unknown,
        None => IdleCause::NothingQueued,
    }
}

#[cfg(test)]
mod tests {
    use gapless_trace::{EventKind, RankId, Span, Timestamp};

    use super::*;
    use crate::fixture::{Fixture, find};
    use crate::{AnalysisOptions, RankWork};

    fn gaps_of(fixture: Fixture) -> Vec<(i64, i64, IdleCause)> {
        let trace = fixture.trace();
        let work = RankWork::new(&trace, RankId(0), &AnalysisOptions::default());
        work.idle_gaps().iter().map(|gap| (gap.start_ns, gap.end_ns, gap.cause)).collect()
    }

    #[test]
    fn a_launch_in_the_gap_means_a_late_host() {
        let mut fixture = Fixture::new();
        fixture.launched(7, (0, 5), (10, 100), 1);
        fixture.launched(7, (150, 155), (170, 200), 2);
        // Launched in the very moment in which the gap begins.
        fixture.launched(7, (200, 205), (210, 300), 3);
        assert_eq!(gaps_of(fixture), [(100, 170, IdleCause::HostLate), (200, 210, IdleCause::HostLate)]);
    }

    #[test]
    fn a_short_gap_before_queued_work_is_told_by_stream() {
        let mut fixture = Fixture::new();
        fixture.launched(7, (0, 5), (10, 100), 1);
        fixture.launched(7, (6, 9), (102, 200), 2);
        fixture.launched(8, (10, 12), (205, 300), 3);
        let found = gaps_of(fixture);
        assert_eq!(found, [(100, 102, IdleCause::KernelGap), (200, 205, IdleCause::OtherStream)]);
    }

    #[test]
    fn a_long_gap_before_queued_work_is_unexplained() {
        let mut fixture = Fixture::new();
        fixture.launched(7, (0, 5), (10, 100), 1);
        fixture.launched(7, (6, 9), (30_100, 30_200), 2);
        fixture.launched(7, (7, 9), (60_201, 60_300), 3);
        let found = gaps_of(fixture);
        assert_eq!(found, [(100, 30_100, IdleCause::KernelGap), (30_200, 60_201, IdleCause::Unknown)]);
    }

    #[test]
    fn work_without_a_launch_does_not_tell() {
        let mut fixture = Fixture::new();
        fixture.kernel("a", (0, 100));
        fixture.kernel("b", (110, 200));
        assert_eq!(gaps_of(fixture), [(100, 110, IdleCause::Unknown)]);
    }

    #[test]
    fn the_first_launched_of_two_that_end_a_gap_decides() {
        let mut fixture = Fixture::new();
        fixture.launched(7, (0, 5), (10, 100), 1);
        fixture.launched(7, (101, 105), (120, 200), 2);
        fixture.launched(8, (20, 25), (120, 210), 3);
        assert_eq!(gaps_of(fixture), [(100, 120, IdleCause::OtherStream)]);
    }

    #[test]
    fn one_launch_of_many_kernels_explains_each_gap() {
        let mut fixture = Fixture::new();
        fixture.host(1, EventKind::RuntimeCall, "cudaGraphLaunch", (0, 40), 1);
        for (index, name) in ["a", "b", "c"].into_iter().enumerate() {
            let start = 50 + 20 * index as i64;
            fixture.device((0, 7), EventKind::Kernel, name, (start, start + 15), 1);
        }
        assert_eq!(gaps_of(fixture), [(65, 70, IdleCause::KernelGap), (85, 90, IdleCause::KernelGap)]);
    }

    #[test]
    fn time_before_the_first_and_after_the_last_work_has_a_cause() {
        let mut fixture = Fixture::new();
        fixture.launched(7, (20, 25), (40, 100), 1);
        let trace = fixture.trace();
        let work = RankWork::new(&trace, RankId(0), &AnalysisOptions::default());
        let split = |start, end| work.partition(Span::new(Timestamp(start), Timestamp(end))).idle_by_cause;
        assert_eq!(split(0, 130), IdleCauses { host_late_ns: 40, nothing_queued_ns: 30, ..IdleCauses::default() });
        assert_eq!(split(10, 30).host_late_ns, 20);
        assert_eq!(split(110, 120).nothing_queued_ns, 10);
        assert_eq!(split(50, 90), IdleCauses::default());
    }

    #[test]
    fn a_gap_names_its_evidence() {
        let mut fixture = Fixture::new();
        fixture.kernel("before", (0, 10));
        fixture.host(1, EventKind::RuntimeCall, "cudaLaunchKernelExC", (30, 35), 5);
        fixture.device((0, 7), EventKind::Kernel, "after", (50, 60), 5);
        let trace = fixture.trace();
        let work = RankWork::new(&trace, RankId(0), &AnalysisOptions::default());
        let gap = work.largest_idle(Span::new(Timestamp(0), Timestamp(60)), 1)[0];
        assert_eq!(gap.next_event, Some(find(&trace, "after")));
        assert_eq!(gap.launch_event, Some(find(&trace, "cudaLaunchKernelExC")));
        assert_eq!(gap.duration_ns, 40);
        let wide = work.largest_idle(Span::new(Timestamp(-100), Timestamp(90)), 9);
        let found: Vec<_> = wide.iter().map(|gap| (gap.start_ns, gap.end_ns, gap.cause)).collect();
        let expected =
            [(-100, 0, IdleCause::Unknown), (10, 50, IdleCause::HostLate), (60, 90, IdleCause::NothingQueued)];
        assert_eq!(found, expected);
    }
}
