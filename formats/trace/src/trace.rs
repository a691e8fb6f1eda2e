//! The trace: immutable, shared, and everything one can ask it.

use std::sync::Arc;

use crate::{
    Args, ArgsError, ArgsLoc, ArgsSource, Collective, CommunicationPatterns, CounterSeries, Event, EventId, EventStack,
    Events, Flow, LaunchLinks, MemoryReport, Process, ProcessId, Rank, RankId, Row, RowId, Source, SourceId, Span,
    StackTable, StrId, StringTable, Timestamp, TracePart, Track, TrackId, TrackKind, Warnings,
};

/// How parts become a trace.
#[derive(Clone, Debug, Default)]
pub struct BuildOptions {
    /// Which kernels communicate.
    pub communication: CommunicationPatterns,
}

/// Why parts cannot become a trace.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BuildError {
    /// More events than 32-bit ids can name.
    #[error("{events} events are too many for one trace; open fewer files at once (the limit is 4,294,967,294)")]
    TooManyEvents {
        /// How many there are.
        events: u64,
    },
}

/// One recording of one or many ranks. Immutable; share it as `Arc<Trace>`.
#[derive(Debug)]
pub struct Trace {
    pub(crate) strings: StringTable,
    pub(crate) sources: Vec<Source>,
    pub(crate) ranks: Vec<Rank>,
    pub(crate) processes: Vec<Process>,
    pub(crate) tracks: Vec<Track>,
    pub(crate) rows: Vec<Row>,
    pub(crate) events: Events,
    pub(crate) launches: LaunchLinks,
    pub(crate) flows: Vec<Flow>,
    pub(crate) flows_by_end: Vec<u32>,
    pub(crate) counters: Vec<CounterSeries>,
    pub(crate) collectives: Vec<Collective>,
    pub(crate) copy_bytes: Vec<(EventId, u64)>,
    pub(crate) extra_args: Vec<(EventId, ArgsLoc)>,
    pub(crate) stacks: StackTable,
    pub(crate) event_stacks: Vec<EventStack>,
    /// Of each rank.
    pub(crate) args: Vec<Arc<dyn ArgsSource>>,
    pub(crate) warnings: Warnings,
    pub(crate) span: Option<Span>,
}

impl Trace {
    /// Builds a trace of `parts`, one rank each, in the order given.
    ///
    /// # Errors
    /// When there are more events than ids.
    pub fn from_parts(parts: Vec<TracePart>, options: &BuildOptions) -> Result<Self, BuildError> {
        crate::build::build(parts, options)
    }

    /// The columns.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// One event.
    #[must_use]
    pub fn event(&self, id: EventId) -> Event {
        self.events.get(id)
    }

    /// Text of an interned string.
    #[must_use]
    pub fn text(&self, id: StrId) -> &str {
        self.strings.get(id)
    }

    /// Name of an event.
    #[must_use]
    pub fn name(&self, id: EventId) -> &str {
        self.text(self.event(id).name)
    }

    /// All strings.
    #[must_use]
    pub fn strings(&self) -> &StringTable {
        &self.strings
    }

    /// Files that were read.
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Ranks, by number.
    #[must_use]
    pub fn ranks(&self) -> &[Rank] {
        &self.ranks
    }

    /// All ranks with their ids.
    pub fn rank_ids(&self) -> impl Iterator<Item = (RankId, &Rank)> {
        self.ranks.iter().enumerate().map(|(index, rank)| (RankId(index as u32), rank))
    }

    /// Processes and devices, by rank.
    #[must_use]
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// Tracks in the order of display: rank, process, track.
    #[must_use]
    pub fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// All tracks with their ids.
    pub fn track_ids(&self) -> impl Iterator<Item = (TrackId, &Track)> {
        self.tracks.iter().enumerate().map(|(index, track)| (TrackId(index as u32), track))
    }

    /// The tracks of one rank.
    pub fn tracks_of(&self, rank: RankId) -> impl Iterator<Item = (TrackId, &Track)> {
        let range = self.ranks.get(rank.index()).map_or(0..0, |rank| rank.tracks.clone());
        range.filter_map(|index| Some((TrackId(index), self.tracks.get(index as usize)?)))
    }

    /// Rows of all tracks, in the order of the columns.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The rows of one track.
    pub fn rows_of(&self, track: &Track) -> &[Row] {
        self.rows.get(track.rows.start as usize..track.rows.end as usize).unwrap_or_default()
    }

    /// The rank with this id.
    #[must_use]
    pub fn rank(&self, id: RankId) -> Option<&Rank> {
        self.ranks.get(id.index())
    }

    /// The process with this id.
    #[must_use]
    pub fn process(&self, id: ProcessId) -> Option<&Process> {
        self.processes.get(id.index())
    }

    /// The track with this id.
    #[must_use]
    pub fn track(&self, id: TrackId) -> Option<&Track> {
        self.tracks.get(id.index())
    }

    /// The source with this id.
    #[must_use]
    pub fn source(&self, id: SourceId) -> Option<&Source> {
        self.sources.get(id.index())
    }

    /// The row of an event. O(log rows).
    #[must_use]
    pub fn row_of(&self, event: EventId) -> Option<(RowId, &Row)> {
        let index = self.rows.partition_point(|row| row.events.end <= event.0);
        let row = self.rows.get(index)?;
        row.events.contains(&event.0).then_some((RowId(index as u32), row))
    }

    /// The track of an event. O(log rows).
    #[must_use]
    pub fn track_of(&self, event: EventId) -> Option<(TrackId, &Track)> {
        let id = self.row_of(event)?.1.track;
        Some((id, self.track(id)?))
    }

    /// The rank of an event. O(log rows).
    #[must_use]
    pub fn rank_of(&self, event: EventId) -> Option<RankId> {
        Some(self.track_of(event)?.1.rank)
    }

    /// The last event of `row` that begins at or before `at`, whether or not it still runs then. O(log events).
    #[must_use]
    pub fn last_begun(&self, row: &Row, at: Timestamp) -> Option<EventId> {
        let range = row.indices();
        let starts = self.events.start.get(range.clone())?;
        let begun = starts.partition_point(|&start| start <= at.0);
        begun.checked_sub(1).map(|offset| EventId((range.start + offset) as u32))
    }

    /// The event of `row` that covers `at` (`start ≤ at < end`). O(log events).
    #[must_use]
    pub fn event_at(&self, row: &Row, at: Timestamp) -> Option<EventId> {
        let id = self.last_begun(row, at)?;
        self.event(id).span().contains(at).then_some(id)
    }

    /// The events of `row` that touch `span`, as a range of the columns. O(log events).
    #[must_use]
    pub fn events_in(&self, row: &Row, span: Span) -> std::ops::Range<usize> {
        let range = row.indices();
        let (mut low, mut high) = (range.start, range.end);
        // First whose end lies after the span's start; ends ascend.
        while low < high {
            let middle = low.midpoint(high);
            if self.events.end_at(middle) > span.start.0 || self.events.start.get(middle) >= Some(&span.start.0) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        let rest = self.events.start.get(low..range.end).unwrap_or_default();
        low..low + rest.partition_point(|&start| start < span.end.0)
    }

    /// The event that encloses `event` on its lane. O(log events).
    #[must_use]
    pub fn parent(&self, event: EventId) -> Option<EventId> {
        let (row_id, row) = self.row_of(event)?;
        if row.depth == 0 {
            return None;
        }
        let above = self.rows.get(row_id.index().checked_sub(1)?)?;
        self.last_begun(above, self.event(event).start)
    }

    /// The events that enclose `event` on its lane, innermost first.
    pub fn ancestors(&self, event: EventId) -> impl Iterator<Item = EventId> + '_ {
        std::iter::successors(self.parent(event), |&id| self.parent(id))
    }

    /// The events one level below `event`, as a range of the columns. O(log events).
    #[must_use]
    pub fn children(&self, event: EventId) -> std::ops::Range<usize> {
        let Some((row_id, row)) = self.row_of(event) else { return 0..0 };
        let Some(below) =
            self.rows.get(row_id.index() + 1).filter(|below| below.track == row.track && below.lane == row.lane)
        else {
            return 0..0;
        };
        // Everything below that begins before the next event of this row does; zero-length neighbours
        // share a start, so the parent decides.
        let span = self.event(event).span();
        let range = self.events_in(below, span);
        let mut range = if span.is_empty() { range.start..range.start } else { range };
        while range.start < range.end && self.parent(EventId(range.start as u32)) != Some(event) {
            range.start += 1;
        }
        while range.start < range.end && self.parent(EventId(range.end as u32 - 1)) != Some(event) {
            range.end -= 1;
        }
        range
    }

    /// Which call launched which device work.
    #[must_use]
    pub fn launches(&self) -> &LaunchLinks {
        &self.launches
    }

    /// Arrows that are not launches, sorted by where they start.
    #[must_use]
    pub fn flows(&self) -> &[Flow] {
        &self.flows
    }

    /// The flows that start or end at `event`.
    pub fn flows_of(&self, event: EventId) -> impl Iterator<Item = Flow> + '_ {
        let from = self.flows.partition_point(|flow| flow.from < event);
        let starting = self.flows.get(from..).unwrap_or_default().iter().take_while(move |flow| flow.from == event);
        let at = move |place: u32| self.flows.get(place as usize).copied();
        let to = self.flows_by_end.partition_point(|&place| at(place).is_some_and(|flow| flow.to < event));
        let ending = self.flows_by_end.get(to..).unwrap_or_default().iter().filter_map(move |&place| at(place));
        starting.copied().chain(ending.take_while(move |flow| flow.to == event).filter(move |flow| flow.from != event))
    }

    /// Counter series.
    #[must_use]
    pub fn counters(&self) -> &[CounterSeries] {
        &self.counters
    }

    /// Collective arguments, sorted by event.
    #[must_use]
    pub fn collectives(&self) -> &[Collective] {
        &self.collectives
    }

    /// The collective arguments of an event.
    #[must_use]
    pub fn collective(&self, event: EventId) -> Option<&Collective> {
        let index = self.collectives.binary_search_by_key(&event, |entry| entry.event).ok()?;
        self.collectives.get(index)
    }

    /// Bytes that a copy or fill moves, where the file says so.
    #[must_use]
    pub fn copy_bytes(&self, event: EventId) -> Option<u64> {
        let index = self.copy_bytes.binary_search_by_key(&event, |entry| entry.0).ok()?;
        Some(self.copy_bytes.get(index)?.1)
    }

    /// Bytes of all copies and fills whose file says so, sorted by event.
    #[must_use]
    pub fn copies(&self) -> &[(EventId, u64)] {
        &self.copy_bytes
    }

    /// Whether an event has arguments.
    #[must_use]
    pub fn has_args(&self, event: EventId) -> bool {
        self.events.args.get(event.index()).is_some_and(|loc| !loc.is_empty())
            || self.extra_args.binary_search_by_key(&event, |entry| entry.0).is_ok()
    }

    /// The arguments of an event, read from its source and parsed now.
    ///
    /// # Errors
    /// When the source cannot be read any more.
    pub fn args(&self, event: EventId) -> Result<Args, ArgsError> {
        let loc = self.events.args.get(event.index()).copied().unwrap_or_default();
        let Some(source) = self.rank_of(event).and_then(|rank| self.args.get(rank.index())) else {
            return Ok(Args::new());
        };
        let mut args = if loc.is_empty() { Args::new() } else { source.args(loc)? };
        let from = self.extra_args.partition_point(|entry| entry.0 < event);
        let extra = self.extra_args.get(from..).unwrap_or_default().iter().take_while(|entry| entry.0 == event);
        for &(_, loc) in extra {
            args.extend(source.args(loc)?);
        }
        Ok(args)
    }

    /// Call stacks of all ranks.
    #[must_use]
    pub fn stacks(&self) -> &StackTable {
        &self.stacks
    }

    /// Which events carry a call stack, sorted by event.
    #[must_use]
    pub fn event_stacks(&self) -> &[EventStack] {
        &self.event_stacks
    }

    /// The call stack of an event. O(log stacks).
    #[must_use]
    pub fn stack_of(&self, event: EventId) -> Option<EventStack> {
        let index = self.event_stacks.binary_search_by_key(&event, |entry| entry.event).ok()?;
        self.event_stacks.get(index).copied()
    }

    /// What was odd or lost on import.
    #[must_use]
    pub fn warnings(&self) -> &Warnings {
        &self.warnings
    }

    /// From the first start to the last end of all events and counters; `None` if there are none.
    #[must_use]
    pub fn span(&self) -> Option<Span> {
        self.span
    }

    /// Name of a track for people: the file's name, or one made from its kind and id.
    #[must_use]
    pub fn track_label(&self, id: TrackId) -> String {
        let Some(track) = self.track(id) else { return String::new() };
        let own = self.text(track.name).trim();
        let raw = self.raw_id_text(track.tid);
        let base = if own.is_empty() {
            match track.kind {
                TrackKind::Thread | TrackKind::ThreadInstants => format!("thread {raw}"),
                TrackKind::Stream | TrackKind::StreamSyncs | TrackKind::StreamAnnotations => format!("stream {raw}"),
                TrackKind::Samples => format!("thread {raw}"),
                TrackKind::Cpu => format!("core {raw}"),
                TrackKind::Async | TrackKind::Counter | TrackKind::ProfilerSpans | TrackKind::Custom => raw,
            }
        } else {
            own.to_owned()
        };
        match track.kind {
            TrackKind::ThreadInstants => format!("{base} · instants"),
            TrackKind::StreamSyncs => format!("{base} · syncs"),
            TrackKind::StreamAnnotations => format!("{base} · annotations"),
            TrackKind::Samples => format!("{base} · samples"),
            _ => base,
        }
    }

    /// An id of the file as text.
    #[must_use]
    pub fn raw_id_text(&self, id: crate::RawId) -> String {
        match id {
            crate::RawId::None => String::new(),
            crate::RawId::Int(value) => value.to_string(),
            crate::RawId::Text(text) => self.text(text).to_owned(),
        }
    }

    /// What the trace costs in memory.
    #[must_use]
    pub fn memory(&self) -> MemoryReport {
        let per = |count: usize, size: usize| count * size;
        MemoryReport {
            events: self.events.len(),
            file_events: self.sources.iter().map(|source| source.file_events).sum(),
            event_columns: self.events.heap_bytes(),
            links: self.launches.heap_bytes()
                + per(self.flows.capacity(), size_of::<Flow>())
                + per(self.flows_by_end.capacity(), size_of::<u32>()),
            side_tables: per(self.collectives.capacity(), size_of::<Collective>())
                + per(self.copy_bytes.capacity(), size_of::<(EventId, u64)>())
                + per(self.extra_args.capacity(), size_of::<(EventId, ArgsLoc)>())
                + per(self.event_stacks.capacity(), size_of::<EventStack>())
                + self.stacks.heap_bytes(),
            counters: self
                .counters
                .iter()
                .map(|series| per(series.times.capacity() + series.values.capacity(), 8))
                .sum(),
            strings: self.strings.heap_bytes(),
            tracks: per(self.tracks.capacity(), size_of::<Track>()) + per(self.rows.capacity(), size_of::<Row>()),
            source_text: self.args.iter().map(|source| source.heap_bytes()).sum(),
        }
    }
}
