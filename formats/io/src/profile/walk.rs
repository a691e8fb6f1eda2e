//! The threads of a selection, and what runs on them when.

use gapless_trace::{EventId, ProcessKind, Row, Span, Timestamp, Trace, Track, TrackId, TrackKind};

use rustc_hash::FxHashSet;

use super::Selection;

/// A thread of the profile: a lane of a track.
pub(super) struct Thread<'t> {
    pub track: &'t Track,
    /// `Rank 0 · python (pid 4711)`, `Rank 0 · GPU 0`
    pub process: String,
    /// `thread 4711`, `stream 7 (lane 2)`
    pub name: String,
    /// Rows of the lane, outermost first.
    rows: &'t [Row],
}

/// What happens next on a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// An event begins.
    Begin(EventId),
    /// The event that began last ends.
    End(EventId),
}

/// The time that is written: that of the selection, or of the trace.
pub(super) fn span_of(trace: &Trace, selection: &Selection) -> Span {
    let whole = trace.span().unwrap_or(Span { start: Timestamp(0), end: Timestamp(0) });
    selection.span.map_or(whole, |span| Span {
        start: span.start.max(whole.start),
        end: span.end.min(whole.end).max(span.start.max(whole.start)),
    })
}

/// The threads of the selection that have anything in it, in the order of display.
pub(super) fn threads<'t>(trace: &'t Trace, selection: &Selection) -> Vec<Thread<'t>> {
    let span = span_of(trace, selection);
    let tracks: Option<FxHashSet<TrackId>> = selection.tracks.as_ref().map(|tracks| tracks.iter().copied().collect());
    let mut threads = Vec::new();
    for (id, track) in trace.track_ids() {
        let is_wanted = tracks.as_ref().is_none_or(|tracks| tracks.contains(&id));
        if !is_wanted || !has_stacks(track.kind) {
            continue;
        }
        let rows = trace.rows_of(track);
        // Samples are points: none lies within another.
        let is_sampled = track.kind == TrackKind::Samples;
        for (lane, rows) in rows.chunk_by(|a, b| is_sampled || a.lane == b.lane).enumerate() {
            if !rows.iter().any(|row| !in_span(trace, row, span).is_empty()) {
                continue;
            }
            let name = trace.track_label(id);
            let name = if lane == 0 { name } else { format!("{name} (lane {})", lane + 1) };
            threads.push(Thread { track, process: process_name(trace, track), name, rows });
        }
    }
    threads
}

/// Whether a track has events that form stacks. Marks, counters and ranges that no thread owns form none.
fn has_stacks(kind: TrackKind) -> bool {
    match kind {
        TrackKind::Thread
        | TrackKind::Stream
        | TrackKind::StreamAnnotations
        | TrackKind::Samples
        | TrackKind::Cpu
        | TrackKind::Custom => true,
        TrackKind::ThreadInstants
        | TrackKind::Async
        | TrackKind::StreamSyncs
        | TrackKind::Counter
        | TrackKind::ProfilerSpans => false,
    }
}

fn process_name(trace: &Trace, track: &Track) -> String {
    let rank = trace.rank(track.rank).map(gapless_trace::Rank::label).unwrap_or_default();
    let Some(process) = trace.process(track.process) else { return rank };
    let name = trace.text(process.name).trim();
    let pid = trace.raw_id_text(process.pid);
    match process.kind {
        ProcessKind::Device(number) => format!("{rank} · GPU {number}"),
        ProcessKind::Host if name.is_empty() => format!("{rank} · process {pid}"),
        ProcessKind::Host => format!("{rank} · {name} (pid {pid})"),
        ProcessKind::Virtual if name.is_empty() => format!("{rank} · {pid}"),
        ProcessKind::Virtual => format!("{rank} · {name}"),
    }
}

/// Events of the row that touch the span, as a range of the columns; points at its beginning are in it.
fn in_span(trace: &Trace, row: &Row, span: Span) -> std::ops::Range<usize> {
    let closed = Span { start: span.start, end: Timestamp(span.end.nanos().saturating_add(1)) };
    trace.events_in(row, closed)
}

/// An event's time cut to the span.
pub(super) fn cut(trace: &Trace, id: EventId, span: Span) -> (i64, i64) {
    let event = trace.event(id);
    let inside = |time: Timestamp| time.nanos().clamp(span.start.nanos(), span.end.nanos().max(span.start.nanos()));
    (inside(event.start), inside(event.end()))
}

impl Thread<'_> {
    /// Whether its events are samples with stacks of their own.
    pub fn is_sampled(&self) -> bool {
        self.track.kind == TrackKind::Samples
    }

    /// Its samples in the span, in the order of time.
    pub fn samples(&self, trace: &Trace, span: Span) -> Vec<EventId> {
        let mut ids: Vec<EventId> =
            self.rows.iter().flat_map(|row| in_span(trace, row, span)).map(|index| EventId(index as u32)).collect();
        ids.sort_by_key(|&id| (trace.event(id).start, id));
        ids
    }

    /// Begins and ends of its events in the span, with the time of each from the span's start in ns; times never go
    /// back.
    pub fn steps(&self, trace: &Trace, span: Span) -> Vec<(i64, Step)> {
        let mut events: Vec<(i64, usize, EventId, i64)> = Vec::new();
        for (depth, row) in self.rows.iter().enumerate() {
            events.extend(in_span(trace, row, span).map(|index| {
                let id = EventId(index as u32);
                let (start, end) = cut(trace, id, span);
                (start, depth, id, end)
            }));
        }
        // Stable: events of a row stay in order, and those that hold others come before them.
        events.sort_by_key(|event| (event.0, event.1));
        let mut steps = Vec::with_capacity(events.len() * 2);
        let mut open: Vec<(usize, EventId, i64)> = Vec::new();
        let mut now = 0;
        let mut push = |time: i64, step: Step| {
            now = time.saturating_sub(span.start.nanos()).max(now);
            steps.push((now, step));
        };
        for (start, depth, id, end) in events {
            while let Some((_, last, last_end)) = open.pop_if(|last| last.0 >= depth) {
                push(last_end, Step::End(last));
            }
            push(start, Step::Begin(id));
            open.push((depth, id, end));
        }
        while let Some((_, last, end)) = open.pop() {
            push(end, Step::End(last));
        }
        steps
    }
}
