//! The parts that the time of a step falls into, with their names and colours.

use egui::Color32;
use gapless_analysis::interval::{Interval, IntervalSet};
use gapless_analysis::{HostParts, HostThread, IdleCause, Partition, RankWork};
use gapless_timeline::Theme;
use gapless_timeline::theme::mix;
use gapless_trace::{Duration, EventKind, Span};

/// A part of what the main thread did, in the order of [`HostParts::parts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPart {
    /// Python collects garbage.
    Collection,
    /// It waits for its input.
    DataLoading,
    /// It is in a communication call.
    Communication,
    /// The optimizer's step.
    Optimizer,
    /// The backward pass.
    Backward,
    /// Other operators.
    Operators,
    /// It does nothing that is named while another thread communicates.
    CommunicationWait,
    /// Ranges that somebody named.
    Annotated,
    /// The rest.
    Other,
}

/// A part of a [`Partition`] or of [`HostParts`]; all of them together are its whole duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Some kernel computes.
    Compute,
    /// Some kernel communicates and none computes.
    ExposedCommunication,
    /// Nothing computes, and the kernels that communicate wait for ranks that have not come yet.
    WaitingForRanks,
    /// Something is copied and no kernel runs.
    ExposedCopy,
    /// Something else occupies a device stream.
    OtherDevice,
    /// Nothing runs on any device of the rank.
    Idle(IdleCause),
    /// What the main thread does, in recordings without a device.
    Host(HostPart),
}

impl Part {
    /// All parts of a rank with a device, in the order of bars.
    pub const ALL: [Self; 10] = [
        Self::Compute,
        Self::ExposedCommunication,
        Self::WaitingForRanks,
        Self::ExposedCopy,
        Self::OtherDevice,
        Self::Idle(IdleCause::HostLate),
        Self::Idle(IdleCause::OtherStream),
        Self::Idle(IdleCause::KernelGap),
        Self::Idle(IdleCause::Unknown),
        Self::Idle(IdleCause::NothingQueued),
    ];

    /// All parts of a rank without a device, in the order of bars: input first, then what a step is for, then waiting.
    pub const HOST: [Self; 9] = [
        Self::Host(HostPart::DataLoading),
        Self::Host(HostPart::Operators),
        Self::Host(HostPart::Backward),
        Self::Host(HostPart::Optimizer),
        Self::Host(HostPart::Communication),
        Self::Host(HostPart::CommunicationWait),
        Self::Host(HostPart::Collection),
        Self::Host(HostPart::Annotated),
        Self::Host(HostPart::Other),
    ];

    /// Its name.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::ExposedCommunication => "exposed communication",
            Self::WaitingForRanks => "waiting for late ranks",
            Self::ExposedCopy => "exposed copy",
            Self::OtherDevice => "other device work",
            Self::Idle(IdleCause::HostLate) => "idle: host late",
            Self::Idle(IdleCause::OtherStream) => "idle: waiting for a stream",
            Self::Idle(IdleCause::KernelGap) => "idle: gap between kernels",
            Self::Idle(IdleCause::NothingQueued) => "idle: nothing queued",
            Self::Idle(IdleCause::Unknown) => "idle: unexplained",
            Self::Host(HostPart::Collection) => "garbage collection",
            Self::Host(HostPart::DataLoading) => "data loading",
            Self::Host(HostPart::Communication) => "communication calls",
            Self::Host(HostPart::Optimizer) => "optimizer",
            Self::Host(HostPart::Backward) => "backward",
            Self::Host(HostPart::Operators) => "operators",
            Self::Host(HostPart::CommunicationWait) => "waiting for communication",
            Self::Host(HostPart::Annotated) => "named ranges",
            Self::Host(HostPart::Other) => "Python and other",
        }
    }

    /// What it means, for tooltips.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Compute => "at least one kernel computes",
            Self::ExposedCommunication => {
                "a communication kernel runs and nothing computes; what is known to be waiting for late ranks counts apart"
            }
            Self::WaitingForRanks => "nothing computes, and a collective waits for ranks that have not come yet",
            Self::ExposedCopy => "something is copied or filled and no kernel runs",
            Self::OtherDevice => "something else occupies a device stream",
            Self::Idle(IdleCause::HostLate) => {
                "no device works, and the host launched the next work only after the gap began"
            }
            Self::Idle(IdleCause::OtherStream) => "no device works; the next work was queued behind another stream",
            Self::Idle(IdleCause::KernelGap) => "the device's own pause between two queued kernels",
            Self::Idle(IdleCause::NothingQueued) => "no device works and no work follows",
            Self::Idle(IdleCause::Unknown) => "no device works, and the recording does not tell why",
            Self::Host(HostPart::Collection) => "Python collects garbage on the main thread",
            Self::Host(HostPart::DataLoading) => "the main thread waits for its input",
            Self::Host(HostPart::Communication) => "the main thread is in a communication call",
            Self::Host(HostPart::Optimizer) => "the optimizer's step",
            Self::Host(HostPart::Backward) => "the backward pass",
            Self::Host(HostPart::Operators) => "other operators on the main thread",
            Self::Host(HostPart::CommunicationWait) => {
                "nothing named runs on the main thread while another thread of the process communicates"
            }
            Self::Host(HostPart::Annotated) => "a range that the code or a library names, and nothing else in it",
            Self::Host(HostPart::Other) => "Python, and whatever nothing names",
        }
    }

    /// How long it lasts in a window with this split; 0 for parts of the host where that was not measured.
    /// `waiting` is the part of the exposed communication that waits for late ranks.
    #[must_use]
    pub fn duration(self, partition: &Partition, host: Option<&HostParts>, waiting: Duration) -> Duration {
        Duration(match self {
            Self::Compute => partition.compute_ns,
            Self::ExposedCommunication => partition.exposed_comm_ns - waiting.0,
            Self::WaitingForRanks => waiting.0,
            Self::ExposedCopy => partition.exposed_copy_ns,
            Self::OtherDevice => partition.other_device_ns,
            Self::Idle(cause) => partition.idle_by_cause.of(cause),
            Self::Host(part) => host.and_then(|host| host.parts().get(part as usize).map(|part| part.1)).unwrap_or(0),
        })
    }

    /// Its colour in bars and legends.
    #[must_use]
    pub fn color(self, theme: &Theme) -> Color32 {
        match self {
            Self::Compute => theme.data.compute,
            Self::ExposedCommunication => theme.data.communication,
            Self::WaitingForRanks => theme.ui.waiting,
            Self::ExposedCopy => theme.data.copy,
            Self::OtherDevice => theme.data.annotation,
            Self::Idle(IdleCause::HostLate) => theme.data.idle_host,
            Self::Idle(IdleCause::OtherStream) => theme.ui.waiting,
            Self::Idle(IdleCause::KernelGap) => mix(theme.data.idle_host, theme.ui.background, 0.5),
            Self::Idle(IdleCause::Unknown) => mix(theme.data.idle_other, theme.ui.waiting, 0.5),
            Self::Idle(IdleCause::NothingQueued) => theme.data.idle_other,
            Self::Host(HostPart::Collection) => theme.data.overhead,
            Self::Host(HostPart::DataLoading) => theme.data.copy,
            Self::Host(HostPart::Communication) => theme.data.communication,
            Self::Host(HostPart::Optimizer) => mix(theme.data.operator, theme.ui.background, 0.55),
            Self::Host(HostPart::Backward) => mix(theme.data.operator, theme.ui.background, 0.3),
            Self::Host(HostPart::Operators) => theme.data.operator,
            Self::Host(HostPart::CommunicationWait) => theme.ui.waiting,
            Self::Host(HostPart::Annotated) => theme.data.annotation,
            Self::Host(HostPart::Other) => theme.data.idle_other,
        }
    }

    /// Whether device work of this kind makes up the part; nothing does for idle time.
    #[must_use]
    pub const fn holds(self, kind: EventKind) -> bool {
        match self {
            Self::Compute => matches!(kind, EventKind::Kernel),
            Self::ExposedCommunication | Self::WaitingForRanks => kind.is_communication(),
            Self::ExposedCopy => kind.is_copy(),
            Self::OtherDevice => !kind.is_device_work(),
            Self::Idle(_) | Self::Host(_) => false,
        }
    }

    /// Whether it is waiting, which is hatched wherever it is drawn.
    #[must_use]
    pub const fn is_waiting(self) -> bool {
        matches!(
            self,
            Self::WaitingForRanks | Self::Idle(IdleCause::OtherStream) | Self::Host(HostPart::CommunicationWait)
        )
    }

    /// Where it lies in `window` on the clock of the trace. `waits` are the times in which the rank's collectives wait for
    /// late ranks, where that is known. O(pieces in the window).
    #[must_use]
    pub fn spans(
        self,
        work: &RankWork,
        host: Option<&HostThread>,
        waits: Option<&IntervalSet>,
        window: Span,
    ) -> Vec<Span> {
        let window = Interval::new(window.start.0, window.end.0);
        let set = match self {
            Self::Compute => work.compute().clip(window),
            Self::ExposedCommunication => {
                let exposed = work.exposed_communication().clip(window);
                waits.map_or(exposed.clone(), |waits| exposed.subtract(&waits.clip(window)))
            }
            Self::WaitingForRanks => waits.map_or_else(IntervalSet::new, |waits| exposed_waits(work, waits, window)),
            Self::ExposedCopy => {
                let kernels = work.compute().clip(window).union(&work.communication().clip(window));
                work.copies().clip(window).subtract(&kernels)
            }
            Self::OtherDevice => {
                let known = work.busy().clip(window);
                let idle = IntervalSet::from_sorted(idle_gaps(work, window, None));
                let all = IntervalSet::from_sorted([window]);
                // Before the first and after the last work there is no gap of its own; both are idle.
                let hull = known.union(&idle).hull();
                hull.map_or_else(IntervalSet::new, |hull| all.clip(hull).subtract(&known).subtract(&idle))
            }
            Self::Idle(cause) => idle_set(work, window, cause),
            Self::Host(part) => host.map_or_else(IntervalSet::new, |host| host.intervals(part as usize, window)),
        };
        let span = |interval: &Interval| Span {
            start: gapless_trace::Timestamp(interval.start),
            end: gapless_trace::Timestamp(interval.end),
        };
        set.intervals().iter().map(span).collect()
    }
}

/// The times in which nothing computes and a collective waits, in `window`.
#[must_use]
pub fn exposed_waits(work: &RankWork, waits: &IntervalSet, window: Interval) -> IntervalSet {
    work.exposed_communication().clip(window).intersection(&waits.clip(window))
}

/// The idle gaps that touch `window`, cut to it, of one cause or all.
fn idle_gaps(work: &RankWork, window: Interval, cause: Option<IdleCause>) -> impl Iterator<Item = Interval> + '_ {
    let gaps = work.idle_gaps();
    let from = gaps.partition_point(|gap| gap.end_ns <= window.start);
    let touching = gaps.get(from..).unwrap_or_default().iter().take_while(move |gap| gap.start_ns < window.end);
    let chosen = touching.filter(move |gap| cause.is_none_or(|cause| gap.cause == cause));
    chosen.map(move |gap| Interval::new(gap.start_ns.max(window.start), gap.end_ns.min(window.end)))
}

/// The idle time of one cause in `window`, with the stretches before the first and after the last work.
fn idle_set(work: &RankWork, window: Interval, cause: IdleCause) -> IntervalSet {
    let mut pieces: Vec<_> = idle_gaps(work, window, Some(cause)).collect();
    let as_span = |interval: Interval| Span {
        start: gapless_trace::Timestamp(interval.start),
        end: gapless_trace::Timestamp(interval.end),
    };
    let whole = as_span(window);
    // The partition knows the causes of both ends; a stretch counts where it says so for that stretch alone.
    let hull = work.busy().hull();
    let ends = match hull {
        Some(hull) => [
            Interval::new(window.start, window.end.min(hull.start)),
            Interval::new(window.start.max(hull.end), window.end),
        ],
        None => [window, Interval::new(window.end, window.end)],
    };
    for end in ends.into_iter().filter(|end| end.length() > 0) {
        let partition = work.partition(as_span(end).intersect(whole));
        if partition.idle_by_cause.of(cause) == end.length() {
            pieces.push(end);
        }
    }
    IntervalSet::from_unsorted(pieces)
}
