//! The steps of a rank: windows of its host time, each split exactly.
//!
//! Steps come from the profiler's own marks (`ProfilerStep#12`); else from the outermost annotation of a thread that
//! repeats, with the same name or one that differs by numbers, and covers at least half of the time from its first
//! start to its last end; else from the work that the host launches again and again ([`crate::periodic`]); else the whole
//! recording is one step.
//!
//! A step is a window on the clock of its rank: device work counts in the step in which it runs, though an earlier step
//! may have launched it. Every nanosecond of the window then has one place, and what is not in any step is reported too.

use gapless_trace::{EventId, EventKind, RankId, Span, Timestamp, Trace, Track, TrackKind};
use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::host_parts::{HostParts, HostThread};
use crate::interval::Interval;
use crate::partition::{Partition, RankWork};
use crate::periodic;
use crate::work::{DeviceWork, Work};

/// Where the steps of a rank come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepSource {
    /// The profiler's marks.
    ProfilerStep,
    /// A repeated annotation.
    Annotation,
    /// What the host launches repeats, at least three times exactly.
    Periodic,
    /// There are none: the whole recording is one step.
    WholeRecording,
}

/// A step of one rank and its exact split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepBreakdown {
    /// Its name in the trace.
    pub name: String,
    /// Its place among the steps of the rank, from 0.
    pub index: u32,
    /// The number at the end of its name (12 of `ProfilerStep#12`), where there is one.
    pub number: Option<u64>,
    /// The mark or annotation; `None` for the whole recording.
    #[serde(serialize_with = "crate::ids::maybe_event")]
    pub event: Option<EventId>,
    /// Its beginning, in ns.
    pub start_ns: i64,
    /// Its end, in ns.
    pub end_ns: i64,
    /// Device work that begins in it.
    pub device_events: u64,
    /// Device work whose launch begins in it, wherever it runs.
    pub launched_events: u64,
    /// Summed durations of that work.
    pub launched_sum_ns: i64,
    /// End of the last of it. After `end_ns` where the device runs behind the host; `None` if there is none.
    pub launched_end_ns: Option<i64>,
    /// The split of `[start_ns, end_ns)`.
    #[serde(flatten)]
    pub partition: Partition,
    /// What the main thread did, where the rank has no device work to say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<HostParts>,
}

impl StepBreakdown {
    /// `[start_ns, end_ns)`.
    #[must_use]
    pub const fn span(&self) -> Span {
        Span { start: Timestamp(self.start_ns), end: Timestamp(self.end_ns) }
    }

    fn new(name: String, index: usize, event: Option<EventId>, window: Interval, work: &RankWork) -> Self {
        let span = Span::new(Timestamp(window.start), Timestamp(window.end));
        let begun = |at: i64| work.device.work.partition_point(|piece| piece.start < at) as u64;
        Self {
            number: number_of(&name),
            name,
            index: index as u32,
            event,
            start_ns: window.start,
            end_ns: window.end,
            device_events: begun(window.end).saturating_sub(begun(window.start)),
            launched_events: 0,
            launched_sum_ns: 0,
            launched_end_ns: None,
            partition: work.partition(span),
            host: None,
        }
    }

    fn add_launched(&mut self, work: &Work) {
        self.launched_events += 1;
        self.launched_sum_ns = self.launched_sum_ns.saturating_add(work.duration());
        self.launched_end_ns = self.launched_end_ns.max(Some(work.end));
    }
}

/// A candidate for a step.
#[derive(Clone, Copy, Debug)]
struct Mark {
    start: i64,
    end: i64,
    event: EventId,
}

impl Mark {
    fn duration(&self) -> i64 {
        self.end.saturating_sub(self.start)
    }
}

/// The steps of `rank`, by time; at least one if the rank has any event.
pub(crate) fn steps(trace: &Trace, rank: RankId, work: &RankWork) -> (StepSource, Vec<StepBreakdown>) {
    let (source, marks) = match profiler_steps(trace, rank) {
        marks if !marks.is_empty() => (StepSource::ProfilerStep, marks),
        _ => match annotations(trace, rank) {
            marks if !marks.is_empty() => (StepSource::Annotation, marks),
            _ => return unmarked(trace, rank, work),
        },
    };
    let of_mark = |(index, mark): (usize, &Mark)| {
        let window = Interval::new(mark.start, mark.end);
        StepBreakdown::new(trace.name(mark.event).to_owned(), index, Some(mark.event), window, work)
    };
    let mut steps: Vec<StepBreakdown> = marks.iter().enumerate().map(of_mark).collect();
    note_launched(trace, work, &mut steps);
    (source, steps)
}

/// Gives each step what the main thread did in it, where no device work says it.
pub(crate) fn note_host<'a>(
    trace: &Trace,
    rank: RankId,
    work: &RankWork,
    steps: impl IntoIterator<Item = &'a mut StepBreakdown>,
) {
    if !work.device.work.is_empty() {
        return;
    }
    let Some(thread) = HostThread::new(trace, rank) else { return };
    for step in steps {
        step.host = Some(thread.parts(Interval::new(step.start_ns, step.end_ns)));
    }
}

/// When the steps of `rank` begin, from marks or periods; empty without either.
pub(crate) fn starts(trace: &Trace, rank: RankId) -> Vec<Timestamp> {
    let mut marks = profiler_steps(trace, rank);
    if marks.is_empty() {
        marks = annotations(trace, rank);
    }
    if !marks.is_empty() {
        return marks.iter().map(|mark| Timestamp(mark.start)).collect();
    }
    let periods = periodic::periods(trace, rank, &DeviceWork::new(trace, rank));
    let windows = periods.map(|periods| periods.windows).unwrap_or_default();
    windows.iter().map(|window| Timestamp(window.start)).collect()
}

/// The steps of a rank without marks.
fn unmarked(trace: &Trace, rank: RankId, work: &RankWork) -> (StepSource, Vec<StepBreakdown>) {
    let Some(periods) = periodic::periods(trace, rank, &work.device) else {
        return (StepSource::WholeRecording, vec![whole(trace, rank, work)]);
    };
    let of_window = |(index, &window): (usize, &Interval)| {
        StepBreakdown::new(format!("Period {}", index + 1), index, None, window, work)
    };
    let mut steps: Vec<StepBreakdown> = periods.windows.iter().enumerate().map(of_window).collect();
    note_launched(trace, work, &mut steps);
    (StepSource::Periodic, steps)
}

/// A step of one rank without its split.
#[derive(Clone, Debug)]
pub(crate) struct StepWindow {
    pub name: String,
    pub number: Option<u64>,
    pub event: Option<EventId>,
    pub start: i64,
    pub end: i64,
}

/// The windows of the steps of `rank`, by time; empty if the recording has no steps.
pub(crate) fn windows(trace: &Trace, rank: RankId) -> Vec<StepWindow> {
    let mut marks = profiler_steps(trace, rank);
    if marks.is_empty() {
        marks = annotations(trace, rank);
    }
    if marks.is_empty() {
        let periods = periodic::periods(trace, rank, &DeviceWork::new(trace, rank));
        let windows = periods.map(|periods| periods.windows).unwrap_or_default();
        let window = |(index, window): (usize, &Interval)| {
            let name = format!("Period {}", index + 1);
            StepWindow { name, number: None, event: None, start: window.start, end: window.end }
        };
        return windows.iter().enumerate().map(window).collect();
    }
    let window = |mark: Mark| {
        let name = trace.name(mark.event).to_owned();
        StepWindow { number: number_of(&name), name, event: Some(mark.event), start: mark.start, end: mark.end }
    };
    marks.into_iter().map(window).collect()
}

/// Gives each step, in order of time, the work that was launched in it.
fn note_launched(trace: &Trace, work: &RankWork, steps: &mut [StepBreakdown]) {
    let starts = trace.events().starts();
    for piece in &work.device.work {
        let Some(&at) = piece.launch().and_then(|launch| starts.get(launch.index())) else { continue };
        let begun = steps.partition_point(|step| step.start_ns <= at);
        let step = begun.checked_sub(1).and_then(|index| steps.get_mut(index));
        if let Some(step) = step.filter(|step| at < step.end_ns) {
            step.add_launched(piece);
        }
    }
}

/// The whole recording of a rank as one step: from the first to the last event on its threads and device streams.
pub(crate) fn whole(trace: &Trace, rank: RankId, work: &RankWork) -> StepBreakdown {
    let mut hull: Option<Interval> = None;
    let tracks = trace.tracks_of(rank).map(|(_, track)| track);
    for row in tracks.filter(|track| shows_work(track)).flat_map(|track| trace.rows_of(track)) {
        let events = row.indices();
        let Some(last) = events.end.checked_sub(1).filter(|&last| last >= events.start) else { continue };
        let start = trace.events().starts().get(events.start).copied().unwrap_or_default();
        let end = trace.events().end_at(last);
        hull =
            Some(hull.map_or(Interval::new(start, end), |old| Interval::new(old.start.min(start), old.end.max(end))));
    }
    let window = hull.unwrap_or(Interval::new(0, 0));
    let mut whole = StepBreakdown::new("Whole recording".to_owned(), 0, None, window, work);
    note_launched(trace, work, std::slice::from_mut(&mut whole));
    whole
}

/// Notes of the profiler and instants are no part of what the program did.
fn shows_work(track: &Track) -> bool {
    matches!(track.kind, TrackKind::Thread | TrackKind::Stream)
}

/// The events of `kind` on a thread that no other one of them encloses, by time.
fn outermost(trace: &Trace, track: &Track, kind: EventKind) -> Vec<Mark> {
    let kinds = trace.events().kinds();
    let of_kind = track.event_ids().filter(|id| kinds.get(id.index()) == Some(&kind));
    let mut marks: Vec<Mark> = of_kind
        .map(|id| {
            let event = trace.event(id);
            Mark { start: event.start.nanos(), end: event.end().nanos(), event: id }
        })
        .collect();
    marks.sort_by_key(|mark| (mark.start, std::cmp::Reverse(mark.end), mark.event));
    apart(marks)
}

/// Drops each mark that begins before an earlier one has ended: steps must not share time.
fn apart(mut marks: Vec<Mark>) -> Vec<Mark> {
    let mut free_from = i64::MIN;
    marks.retain(|mark| {
        let keep = mark.start >= free_from;
        if keep {
            free_from = mark.end;
        }
        keep
    });
    marks
}

fn threads(trace: &Trace, rank: RankId) -> impl Iterator<Item = &Track> {
    trace.tracks_of(rank).map(|(_, track)| track).filter(|track| track.kind == TrackKind::Thread)
}

/// The profiler's marks on the thread that has most of them, or on a track of their own: recordings keep them apart,
/// because a step may end in the middle of a range.
fn profiler_steps(trace: &Trace, rank: RankId) -> Vec<Mark> {
    let mut best = Vec::new();
    let own = trace.tracks_of(rank).map(|(_, track)| track).filter(|track| track.kind == TrackKind::Custom);
    for track in threads(trace, rank).chain(own) {
        let marks = outermost(trace, track, EventKind::Step);
        if marks.len() > best.len() {
            best = marks;
        }
    }
    best
}

/// Annotations that frameworks make for parts of a step.
const PARTS_OF_STEPS: &[&str] = &[
    "Optimizer.",
    "enumerate(DataLoader)",
    "DistributedDataParallel.",
    "FullyShardedDataParallel.",
    "FSDP::",
    "nccl:",
    "gloo:",
    "c10d::",
    "MPI_",
    "gc gen",
    "autograd::",
    "Torch-Compiled Region",
    "CompiledFunction",
    "## Call CompiledFxGraph",
];

/// The repeated annotation that covers most time.
fn annotations(trace: &Trace, rank: RankId) -> Vec<Mark> {
    let mut best: (i64, Vec<Mark>) = (0, Vec::new());
    for track in threads(trace, rank) {
        let mut places: FxHashMap<String, usize> = FxHashMap::default();
        let mut groups: Vec<Vec<Mark>> = Vec::new();
        for mark in outermost(trace, track, EventKind::Annotation) {
            let name = trace.name(mark.event);
            if PARTS_OF_STEPS.iter().any(|part| name.starts_with(part)) {
                continue;
            }
            let place = *places.entry(without_numbers(name)).or_insert_with(|| {
                groups.push(Vec::new());
                groups.len() - 1
            });
            if let Some(group) = groups.get_mut(place) {
                group.push(mark);
            }
        }
        for group in groups {
            let covered: i64 = group.iter().map(Mark::duration).fold(0, i64::saturating_add);
            let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
            let repeats = group.len() >= 2 && covered.saturating_mul(2) >= last.end.saturating_sub(first.start);
            if repeats && covered > best.0 {
                best = (covered, group);
            }
        }
    }
    best.1
}

/// `name` with each run of digits replaced by one `#`, so that `step 7` and `step 12` are alike.
fn without_numbers(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for letter in name.chars() {
        match letter {
            '0'..='9' if text.ends_with('#') => {}
            '0'..='9' => text.push('#'),
            _ => text.push(letter),
        }
    }
    text
}

/// The number at the end of a name.
fn number_of(name: &str) -> Option<u64> {
    let digits = name.len() - name.trim_end_matches(|letter: char| letter.is_ascii_digit()).len();
    name.get(name.len() - digits..)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AnalysisOptions;
    use crate::fixture::{Fixture, NO_ID};

    fn steps_of(trace: &Trace) -> (StepSource, Vec<StepBreakdown>) {
        let work = RankWork::new(trace, RankId(0), &AnalysisOptions::default());
        steps(trace, RankId(0), &work)
    }

    fn windows(steps: &[StepBreakdown]) -> Vec<(&str, i64, i64)> {
        steps.iter().map(|step| (step.name.as_str(), step.start_ns, step.end_ns)).collect()
    }

    #[test]
    fn profiler_steps_come_first() {
        let mut fixture = Fixture::new();
        fixture.host(1, EventKind::Step, "ProfilerStep#11", (0, 100), NO_ID);
        fixture.host(1, EventKind::Step, "ProfilerStep#12", (100, 250), NO_ID);
        fixture.host(1, EventKind::Annotation, "iteration", (0, 90), NO_ID);
        fixture.host(1, EventKind::Annotation, "iteration", (100, 200), NO_ID);
        // Launched in step 11, and runs on into step 12.
        fixture.launched(7, (50, 55), (80, 130), 1);
        let trace = fixture.trace();
        let (source, steps) = steps_of(&trace);
        assert_eq!(source, StepSource::ProfilerStep);
        assert_eq!(windows(&steps), [("ProfilerStep#11", 0, 100), ("ProfilerStep#12", 100, 250)]);
        assert_eq!(steps.iter().map(|step| step.number).collect::<Vec<_>>(), [Some(11), Some(12)]);
        assert_eq!(steps.iter().map(|step| step.partition.compute_ns).collect::<Vec<_>>(), [20, 30]);
        assert_eq!(steps.iter().map(|step| step.device_events).collect::<Vec<_>>(), [1, 0]);
        let launched: Vec<_> =
            steps.iter().map(|step| (step.launched_events, step.launched_sum_ns, step.launched_end_ns)).collect();
        assert_eq!(launched, [(1, 50, Some(130)), (0, 0, None)]);
    }

    #[test]
    fn a_repeated_annotation_stands_in() {
        let mut fixture = Fixture::new();
        for (number, start) in [(7, 0), (8, 100), (10, 200)] {
            fixture.host(1, EventKind::Annotation, &format!("train_step {number}"), (start, start + 95), NO_ID);
            fixture.host(1, EventKind::Annotation, "forward", (start + 1, start + 94), NO_ID);
            fixture.host(2, EventKind::Annotation, "Optimizer.step#SGD.step", (start, start + 99), NO_ID);
        }
        fixture.host(1, EventKind::Annotation, "once", (300, 1_000), NO_ID);
        let trace = fixture.trace();
        let (source, steps) = steps_of(&trace);
        assert_eq!(source, StepSource::Annotation);
        assert_eq!(windows(&steps), [("train_step 7", 0, 95), ("train_step 8", 100, 195), ("train_step 10", 200, 295)]);
    }

    #[test]
    fn an_annotation_that_covers_little_is_no_step() {
        let mut fixture = Fixture::new();
        fixture.host(1, EventKind::Annotation, "log", (0, 10), NO_ID);
        fixture.host(1, EventKind::Annotation, "log", (500, 510), NO_ID);
        fixture.kernel("gemm", (600, 700));
        let trace = fixture.trace();
        let (source, steps) = steps_of(&trace);
        assert_eq!(source, StepSource::WholeRecording);
        assert_eq!(windows(&steps), [("Whole recording", 0, 700)]);
    }

    #[test]
    fn digits_at_the_end_are_the_number() {
        assert_eq!(number_of("ProfilerStep#12"), Some(12));
        assert_eq!(number_of("step"), None);
        assert_eq!(number_of("99999999999999999999999"), None);
        assert_eq!(without_numbers("step 12 of 300"), "step # of #");
    }
}
