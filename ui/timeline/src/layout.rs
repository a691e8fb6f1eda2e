//! The tree of tracks: rank → steps, threads, streams, counters; and the rows each is drawn in.
//!
//! Built once per trace; what is folded and where it lies on screen is in `folds.rs`.

use std::cmp::Reverse;

use gapless_trace::{
    CounterId, EventId, EventKind, ProcessKind, RankId, RowId, Timestamp, Trace, Track, TrackId, TrackKind,
};
use rayon::prelude::*;
use rustc_hash::FxHashSet;

use crate::communication::{self, CommunicationGroup};
use crate::flame::{FOLDED_ROWS, Flame};
use crate::on_cpu;

/// Rows of annotations that are gathered below the steps; deeper ones are seen on their thread.
const ANNOTATION_ROWS: usize = 1;

/// A list of events kept by [`TimelineLayout`]: its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListId(pub u32);

/// Sampled stacks of a thread kept by [`TimelineLayout`]: their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlameId(pub u32);

/// What a row draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowSource {
    /// A row of the trace.
    Row(RowId),
    /// Some events of a row of the trace.
    List(ListId),
    /// A counter.
    Counter(CounterId),
    /// Frames of sampled stacks at a depth.
    Flame(FlameId, u16),
}

/// A row of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackRow {
    /// What it draws.
    pub source: RowSource,
    /// Its nesting depth, for its shade.
    pub depth: u16,
    /// What is left of it where the steps of its rank stay on top, so that nothing is said twice.
    pub below_steps: BelowSteps,
}

/// What is left of a row below steps that stay on top.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BelowSteps {
    /// All of it: it holds nothing that the steps show.
    #[default]
    All,
    /// Nothing: the steps show all of it.
    Nothing,
    /// Its other events.
    Rest(ListId),
}

/// What a track is about; also its place among its siblings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrackGroup {
    /// Steps and annotations, gathered from the threads.
    Steps,
    /// The thread that runs the steps.
    MainThread,
    /// Other threads.
    Thread,
    /// Python frames of a thread, apart from its operators and calls.
    Python,
    /// Sampled stacks of a thread.
    Samples,
    /// Asynchronous ranges.
    Async,
    /// Work on a device stream, and ranges projected onto it.
    Stream,
    /// A stream that only copies and fills.
    Copies,
    /// A counter.
    Counter,
    /// Marks that are not work: synchronisation, points in time, the profiler's own spans.
    Marks,
}

/// A track as it is drawn.
#[derive(Clone, Debug)]
pub struct TrackNode {
    /// Its track; `None` for gathered steps and annotations.
    pub track: Option<TrackId>,
    /// What it is about.
    pub group: TrackGroup,
    /// Its header.
    pub label: String,
    /// More about it, for the tooltip of its header.
    pub detail: String,
    /// Its rows, outermost first, lane by lane.
    pub rows: Vec<TrackRow>,
    /// The rows that are shown while it is folded.
    pub folded: std::ops::Range<usize>,
    /// When its thread ran on a processor, where that was recorded.
    pub on_cpu: Option<RowSource>,
    /// Whether it is drawn only when everything is.
    pub hidden: bool,
}

/// A rank as it is drawn.
#[derive(Clone, Debug)]
pub struct RankNode {
    /// Its rank.
    pub rank: RankId,
    /// Its header.
    pub label: String,
    /// Its tracks, in order.
    pub tracks: Vec<TrackNode>,
    /// Rows with device work, for the upper line of the folded rank; the outermost rows of the main thread where there
    /// is no device.
    pub device: Vec<RowSource>,
    /// Communication kernels, for the lower line of the folded rank.
    pub communication: Vec<RowSource>,
}

/// The tree of tracks of a trace.
#[derive(Clone, Debug, Default)]
pub struct TimelineLayout {
    pub(crate) ranks: Vec<RankNode>,
    communication: Vec<CommunicationGroup>,
    lists: Vec<Vec<EventId>>,
    flames: Vec<Flame>,
    steps: Vec<EventId>,
}

impl TimelineLayout {
    /// The tree of `trace`. Looks at every event's kind once.
    #[must_use]
    pub fn new(trace: &Trace) -> Self {
        let mut layout = Self::default();
        for (id, rank) in trace.rank_ids() {
            let mut builder =
                RankBuilder { trace, lists: &mut layout.lists, flames: &mut layout.flames, steps: Vec::new() };
            let node = builder.build(id, rank.label());
            if layout.steps.is_empty() {
                layout.steps = builder.steps;
            }
            layout.ranks.push(node);
        }
        layout.communication = communication::gather(trace, &mut layout.lists);
        let has_kernels: Vec<bool> = layout.ranks.iter().map(|rank| !rank.communication.is_empty()).collect();
        for line in layout.communication.iter().flat_map(|group| &group.ranks) {
            let place = line.rank.index();
            // Where no device communicates, the host's communication fills the lower line of the folded rank.
            if let (Some(rank), Some(false)) = (layout.ranks.get_mut(place), has_kernels.get(place)) {
                rank.communication.extend(line.lines.iter().copied());
            }
        }
        layout
    }

    /// Ranks in order.
    #[must_use]
    pub fn ranks(&self) -> &[RankNode] {
        &self.ranks
    }

    /// Sampled stacks of all threads, by [`FlameId`].
    #[must_use]
    pub fn flames(&self) -> &[Flame] {
        &self.flames
    }

    /// Communication of all ranks by process group.
    #[must_use]
    pub fn communication(&self) -> &[CommunicationGroup] {
        &self.communication
    }

    /// The events of a list, by start.
    #[must_use]
    pub fn list(&self, id: ListId) -> &[EventId] {
        self.lists.get(id.0 as usize).map_or(&[], Vec::as_slice)
    }

    /// Number of lists.
    #[must_use]
    pub fn lists(&self) -> usize {
        self.lists.len()
    }

    /// The steps of the first rank that has any, ascending: boundaries drawn over all tracks.
    #[must_use]
    pub fn steps(&self) -> &[EventId] {
        &self.steps
    }

    /// Where an event is drawn: the place of its rank, of its track in the rank, and of its row in the track.
    /// O(tracks of the rank + log events).
    #[must_use]
    pub fn find(&self, trace: &Trace, event: EventId) -> Option<(usize, usize, usize)> {
        let (row, placed) = trace.row_of(event)?;
        let rank = trace.track(placed.track)?.rank.index();
        let nodes = self.ranks.get(rank)?.tracks.iter().zip(0..).filter(|(node, _)| node.track == Some(placed.track));
        for (node, track) in nodes {
            let inner = node.rows.iter().position(|entry| match entry.source {
                RowSource::Row(own) => own == row,
                RowSource::List(list) => self.position(trace, list, event).is_some(),
                RowSource::Counter(_) => false,
                RowSource::Flame(..) => true,
            });
            if let Some(inner) = inner {
                return Some((rank, track, inner));
            }
        }
        None
    }

    /// The place of an event in a list. O(log events), and linear in events that start at once.
    pub(crate) fn position(&self, trace: &Trace, list: ListId, event: EventId) -> Option<usize> {
        let ids = self.list(list);
        let start = trace.event(event).start;
        let first = ids.partition_point(|&id| trace.event(id).start < start);
        let same_start = ids.get(first..)?.iter().take_while(|&&id| trace.event(id).start == start);
        same_start.zip(first..).find(|(id, _)| **id == event).map(|(_, place)| place)
    }

    /// Whether a row of the trace is drawn as it is; of other rows, lists are.
    pub(crate) fn drawn_rows(&self, trace: &Trace) -> Vec<bool> {
        let mut drawn = vec![false; trace.rows().len()];
        let tracks = self.ranks.iter().flat_map(|rank| &rank.tracks).flat_map(|node| &node.rows).map(|row| row.source);
        let summaries = self.ranks.iter().flat_map(|rank| rank.device.iter().chain(&rank.communication)).copied();
        for source in tracks.chain(summaries) {
            if let RowSource::Row(row) = source
                && let Some(entry) = drawn.get_mut(row.index())
            {
                *entry = true;
            }
        }
        drawn
    }
}

struct RankBuilder<'a> {
    trace: &'a Trace,
    lists: &'a mut Vec<Vec<EventId>>,
    flames: &'a mut Vec<Flame>,
    steps: Vec<EventId>,
}

/// What a row of device work consists of.
#[derive(Clone, Copy, Default)]
struct Mixture {
    events: usize,
    copies: usize,
    communication: usize,
}

impl RankBuilder<'_> {
    fn build(&mut self, rank: RankId, label: String) -> RankNode {
        let trace = self.trace;
        let main = self.main_thread(rank);
        let mut tracks: Vec<(SortKey, TrackNode)> = Vec::new();
        let mut device = Vec::new();
        let mut communication = Vec::new();
        for (id, track) in trace.tracks_of(rank) {
            let mut copies_only = false;
            if track.kind == TrackKind::Stream {
                let mut whole = Mixture::default();
                for index in track.rows.clone() {
                    let mixture = self.mixture(RowId(index));
                    whole.events += mixture.events;
                    whole.copies += mixture.copies;
                    // What only communicates stands in the lower line, where its waits are told from its transfers.
                    if mixture.communication < mixture.events {
                        device.push(RowSource::Row(RowId(index)));
                    }
                    communication.extend(self.communication(RowId(index), mixture));
                }
                copies_only = whole.events > 0 && whole.copies == whole.events;
            }
            let group = group_of(track.kind, main == Some(id), copies_only);
            let mut node = self.track_node(id, track, group);
            let mut key = self.sort_key(track, group, id);
            if group == TrackGroup::Samples {
                self.add_flame(track, &mut node);
                if let Some((thread, of)) = self.thread_of(rank, track) {
                    let of_group = group_of(of.kind, main == Some(thread), false);
                    key = SortKey { part: Part::Samples, ..self.sort_key(of, of_group, thread) };
                    node.label = format!("{} · samples", self.track_node(thread, of, of_group).label);
                }
            }
            if track.kind == TrackKind::Thread
                && let Some((rows, python)) = self.split_python(track)
            {
                node.rows = rows;
                let label = format!("{} · Python", node.label);
                let detail = format!("Python frames of {}", node.detail);
                let python = TrackNode { group: TrackGroup::Python, label, detail, rows: python, ..node.clone() };
                tracks.push((SortKey { part: Part::Python, ..key }, python));
            }
            tracks.push((key, node));
        }
        if is_crowded(tracks.iter().map(|(_, node)| node)) {
            for (key, node) in &mut tracks {
                let thread = node.track.and_then(|id| trace.track(id)).filter(|track| track.kind == TrackKind::Thread);
                key.late = thread.is_some() && node.track != main;
            }
        }
        tracks.sort_by_key(|entry| entry.0);
        let mut nodes: Vec<TrackNode> = tracks.into_iter().map(|(_, node)| node).collect();
        if device.is_empty() {
            // Without a device, what the main thread does is the best summary.
            let host = nodes.iter().find(|node| node.group == TrackGroup::MainThread);
            let outermost = host.into_iter().flat_map(|node| &node.rows).filter(|row| row.depth == 0);
            device.extend(outermost.map(|row| row.source));
        }
        name_twins_apart(trace, &mut nodes);
        self.add_on_cpu(rank, &mut nodes);
        if let Some(steps) = main.and_then(|main| self.steps_node(main)) {
            self.mark_repeats(&steps, &mut nodes);
            nodes.insert(0, steps);
        }
        RankNode { rank, label, tracks: nodes, device, communication }
    }

    /// Gives a track of samples its strips.
    fn add_flame(&mut self, track: &Track, node: &mut TrackNode) {
        let flame = Flame::new(self.trace, track);
        if flame.rows.is_empty() {
            return;
        }
        let id = FlameId(self.flames.len() as u32);
        let first = flame.first_telling;
        let row = |depth: usize| TrackRow {
            source: RowSource::Flame(id, depth as u16),
            // Shades count from where it becomes interesting.
            depth: depth.saturating_sub(first) as u16,
            below_steps: BelowSteps::All,
        };
        node.rows = (0..flame.rows.len()).map(row).collect();
        node.folded = first..first + FOLDED_ROWS;
        self.flames.push(flame);
    }

    /// The thread whose samples a track holds.
    fn thread_of(&self, rank: RankId, samples: &Track) -> Option<(TrackId, &Track)> {
        let mut threads = self.trace.tracks_of(rank).filter(|(_, track)| track.kind == TrackKind::Thread);
        threads.find(|(_, track)| track.process == samples.process && track.tid == samples.tid)
    }

    /// Gives threads their time on processors: the first node of each.
    fn add_on_cpu(&mut self, rank: RankId, nodes: &mut [TrackNode]) {
        let threads = nodes
            .iter()
            .filter(|node| matches!(node.group, TrackGroup::MainThread | TrackGroup::Thread | TrackGroup::Samples));
        let ids: Vec<TrackId> = threads.filter_map(|node| node.track).collect();
        for (track, runs) in on_cpu::runs(self.trace, rank, &ids) {
            let node = nodes.iter_mut().find(|node| node.track == Some(track) && node.group != TrackGroup::Python);
            if let Some(node) = node {
                self.lists.push(runs);
                node.on_cpu = Some(RowSource::List(ListId(self.lists.len() as u32 - 1)));
            }
        }
    }

    fn kinds(&self, row: RowId) -> &[EventKind] {
        let range = self.trace.rows().get(row.index()).map_or(0..0, gapless_trace::Row::indices);
        self.trace.events().kinds().get(range).unwrap_or_default()
    }

    fn mixture(&self, row: RowId) -> Mixture {
        let kinds = self.kinds(row);
        let count = |matches: fn(EventKind) -> bool| kinds.iter().filter(|&&kind| matches(kind)).count();
        Mixture {
            events: kinds.len(),
            copies: count(EventKind::is_copy),
            communication: count(EventKind::is_communication),
        }
    }

    /// The communication kernels of a row: the row itself where there is nothing else in it.
    fn communication(&mut self, row: RowId, mixture: Mixture) -> Option<RowSource> {
        if mixture.communication == 0 {
            return None;
        }
        if mixture.communication == mixture.events {
            return Some(RowSource::Row(row));
        }
        Some(self.list_of(row, EventKind::is_communication))
    }

    fn list_of(&mut self, row: RowId, matches: fn(EventKind) -> bool) -> RowSource {
        let first = self.trace.rows().get(row.index()).map_or(0, |row| row.events.start);
        let kinds = self.kinds(row).iter().zip(first..);
        let list = kinds.filter(|(kind, _)| matches(**kind)).map(|(_, id)| EventId(id)).collect();
        self.lists.push(list);
        RowSource::List(ListId(self.lists.len() as u32 - 1))
    }

    /// Rows of a thread without Python frames, nested anew, and rows of its Python frames; `None` if it has no such
    /// mixture. Stacks of Python are so deep that between their frames the operators could not be found.
    fn split_python(&mut self, track: &Track) -> Option<(Vec<TrackRow>, Vec<TrackRow>)> {
        let is_python = |kind: &EventKind| *kind == EventKind::PythonFunction;
        let range = track.events.start as usize..track.events.end as usize;
        let kinds = self.trace.events().kinds().get(range)?;
        if kinds.iter().all(is_python) || !kinds.iter().any(is_python) {
            return None;
        }
        let python_rows: Vec<u32> =
            track.rows.clone().filter(|&row| self.kinds(RowId(row)).iter().any(is_python)).collect();
        let python: Vec<TrackRow> = python_rows
            .into_iter()
            .map(|row| self.list_of(RowId(row), |kind| kind == EventKind::PythonFunction))
            .zip(0..)
            .map(|(source, depth)| TrackRow { source, depth, below_steps: BelowSteps::All })
            .collect();
        let others = self.nest_without_python(track);
        Some((others, python))
    }

    /// Rows for all events of a thread but its Python frames, nested by time alone: frames that cut through a step put
    /// the operators in it on another lane, and without the frames they fit into the step again.
    fn nest_without_python(&mut self, track: &Track) -> Vec<TrackRow> {
        #[derive(Default)]
        struct Lane {
            rows: Vec<Vec<EventId>>,
            /// Ends of the events that enclose the present one, outermost first.
            open: Vec<Timestamp>,
        }
        let rows = self.trace.rows_of(track).iter();
        let mut sorted: Vec<_> = rows
            .flat_map(|row| row.events.clone().map(move |id| (EventId(id), row.lane, row.depth)))
            .map(|(id, lane, depth)| (self.trace.event(id), lane, depth))
            .filter(|(event, ..)| event.kind != EventKind::PythonFunction)
            .map(|(event, lane, depth)| (event.start, Reverse(event.end()), lane, depth, event.id))
            .collect();
        sorted.par_sort_unstable();
        let mut lanes: Vec<Lane> = Vec::new();
        for (start, Reverse(end), .., id) in sorted {
            let fits = |lane: &mut Lane| {
                while lane.open.last().is_some_and(|&until| until <= start) {
                    lane.open.pop();
                }
                lane.open.last().is_none_or(|&until| end <= until)
            };
            let place = lanes.iter_mut().position(fits).unwrap_or_else(|| {
                lanes.push(Lane::default());
                lanes.len() - 1
            });
            let Some(lane) = lanes.get_mut(place) else { continue };
            match lane.rows.get_mut(lane.open.len()) {
                Some(row) => row.push(id),
                None => lane.rows.push(vec![id]),
            }
            lane.open.push(end);
        }
        let mut nested = Vec::new();
        for (list, depth) in lanes.into_iter().flat_map(|lane| lane.rows.into_iter().zip(0..)) {
            self.lists.push(list);
            let source = RowSource::List(ListId(self.lists.len() as u32 - 1));
            nested.push(TrackRow { source, depth, below_steps: BelowSteps::All });
        }
        nested
    }

    /// The thread with the most steps, else with the most events.
    fn main_thread(&self, rank: RankId) -> Option<TrackId> {
        let threads = self.trace.tracks_of(rank).filter(|(_, track)| track.kind == TrackKind::Thread);
        let score = |track: &Track| {
            let rows = track.rows.clone().map(RowId);
            let steps: usize =
                rows.map(|row| self.kinds(row).iter().filter(|&&kind| kind == EventKind::Step).count()).sum();
            (steps, track.events.len())
        };
        // The first of equals, so that the order of the file decides.
        let (best, _) = threads.map(|(id, track)| (id, score(track))).reduce(|a, b| if b.1 > a.1 { b } else { a })?;
        Some(best)
    }

    /// The row with most steps: of the main thread, else of a track of their own, as recordings have it.
    fn steps_row(&self, main: TrackId) -> Option<u32> {
        let main = self.trace.track(main)?;
        let own =
            self.trace.tracks_of(main.rank).map(|(_, track)| track).filter(|track| track.kind == TrackKind::Custom);
        let count = |row: u32| self.kinds(RowId(row)).iter().filter(|&&kind| kind == EventKind::Step).count();
        let best = std::iter::once(main)
            .chain(own)
            .flat_map(|track| track.rows.clone())
            .map(|row| (count(row), row))
            .reduce(|a, b| if b.0 > a.0 { b } else { a })?;
        (best.0 > 0).then_some(best.1)
    }

    fn steps_node(&mut self, main: TrackId) -> Option<TrackNode> {
        let rows = self.trace.track(main)?.rows.clone();
        let is_step = |kind| kind == EventKind::Step;
        let is_annotation = |kind| kind == EventKind::Annotation;
        let count = |row: u32, matches: fn(EventKind) -> bool| {
            self.kinds(RowId(row)).iter().filter(|&&kind| matches(kind)).count()
        };
        let steps = self.steps_row(main);
        let annotations: Vec<u32> = rows.filter(|&row| count(row, is_annotation) > 0).take(ANNOTATION_ROWS).collect();
        let mut sources = Vec::new();
        if let Some(row) = steps {
            let source = self.list_of(RowId(row), is_step);
            self.steps = self.lists.last().cloned().unwrap_or_default();
            sources.push(source);
        }
        sources.extend(annotations.into_iter().map(|row| self.list_of(RowId(row), is_annotation)));
        if sources.is_empty() {
            return None;
        }
        let rows = sources
            .into_iter()
            .zip(0..)
            .map(|(source, depth)| TrackRow { source, depth: depth.min(1), below_steps: BelowSteps::All })
            .collect();
        Some(TrackNode {
            track: None,
            group: TrackGroup::Steps,
            label: "Steps and annotations".to_owned(),
            detail: "Steps and named ranges of the main thread".to_owned(),
            rows,
            folded: 0..1,
            on_cpu: None,
            hidden: false,
        })
    }

    /// Finds out what is left of the rows of the main thread without what the steps show.
    fn mark_repeats(&mut self, steps: &TrackNode, nodes: &mut [TrackNode]) {
        let shown: FxHashSet<EventId> = steps.rows.iter().flat_map(|row| self.ids(row.source)).collect();
        let main = nodes.iter_mut().filter(|node| node.group == TrackGroup::MainThread);
        for row in main.flat_map(|node| &mut node.rows) {
            let ids = self.ids(row.source);
            let rest: Vec<EventId> = ids.iter().copied().filter(|id| !shown.contains(id)).collect();
            row.below_steps = if rest.len() == ids.len() {
                BelowSteps::All
            } else if rest.is_empty() {
                BelowSteps::Nothing
            } else {
                self.lists.push(rest);
                BelowSteps::Rest(ListId(self.lists.len() as u32 - 1))
            };
        }
    }

    /// The events of a row.
    fn ids(&self, source: RowSource) -> Vec<EventId> {
        match source {
            RowSource::Row(row) => {
                let events = self.trace.rows().get(row.index()).map_or(0..0, |row| row.events.clone());
                events.map(EventId).collect()
            }
            RowSource::List(ListId(list)) => self.lists.get(list as usize).cloned().unwrap_or_default(),
            RowSource::Counter(_) | RowSource::Flame(..) => Vec::new(),
        }
    }

    fn track_node(&self, id: TrackId, track: &Track, group: TrackGroup) -> TrackNode {
        let trace = self.trace;
        let full = trace.track_label(id);
        let rows: Vec<TrackRow> = match track.counter {
            Some(counter) => {
                vec![TrackRow { source: RowSource::Counter(counter), depth: 0, below_steps: BelowSteps::All }]
            }
            None => {
                let depth = |index: u32| trace.rows().get(index as usize).map_or(0, |row| row.depth);
                track
                    .rows
                    .clone()
                    .map(|row| TrackRow {
                        source: RowSource::Row(RowId(row)),
                        depth: depth(row),
                        below_steps: BelowSteps::All,
                    })
                    .collect()
            }
        };
        let counter_empty =
            |id: CounterId| trace.counters().get(id.index()).is_none_or(|series| series.times.is_empty());
        let empty = track.counter.map_or(track.events.is_empty(), counter_empty);
        let process = trace.process(track.process);
        let process_name = process.map(|process| trace.text(process.name).trim()).unwrap_or_default();
        let device = process.and_then(|process| match process.kind {
            ProcessKind::Device(number) => Some(number),
            ProcessKind::Host | ProcessKind::Virtual => None,
        });
        let label = match (group, device) {
            (TrackGroup::MainThread, _) => "main thread".to_owned(),
            (TrackGroup::Thread, _) => short_thread_name(&full).to_owned(),
            (TrackGroup::Copies, Some(device)) => format!("GPU {device} · {full} copies"),
            (TrackGroup::Copies, None) => format!("{full} copies"),
            (TrackGroup::Stream | TrackGroup::Marks, Some(device)) => format!("GPU {device} · {full}"),
            _ => full.clone(),
        };
        let detail = if process_name.is_empty() { full } else { format!("{full} of {process_name}") };
        TrackNode {
            track: Some(id),
            group,
            label,
            detail,
            rows,
            folded: 0..1,
            on_cpu: None,
            hidden: empty || group == TrackGroup::Marks,
        }
    }

    fn sort_key(&self, track: &Track, group: TrackGroup, id: TrackId) -> SortKey {
        let process = self.trace.process(track.process);
        let device = process.map_or(0, |process| match process.kind {
            ProcessKind::Device(number) => i64::from(number),
            ProcessKind::Host | ProcessKind::Virtual => -1,
        });
        // Streams of a device stand together, copies last; everything else stands by group.
        let is_device = matches!(group, TrackGroup::Stream | TrackGroup::Copies);
        let area = if is_device { TrackGroup::Stream } else { group };
        SortKey {
            late: false,
            area,
            device: if is_device { device } else { 0 },
            copies: group == TrackGroup::Copies,
            stream: if is_device { track.stream().unwrap_or(i64::MAX) } else { 0 },
            work: track.kind == TrackKind::Stream,
            order: id,
            part: Part::Thread,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct SortKey {
    /// After everything else.
    late: bool,
    area: TrackGroup,
    device: i64,
    copies: bool,
    stream: i64,
    work: bool,
    order: TrackId,
    part: Part,
}

/// Nodes of one thread, in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Thread,
    Python,
    Samples,
}

/// Whether a rank has so many threads that its streams would lie below the window.
pub(crate) fn is_crowded<'a>(tracks: impl Iterator<Item = &'a TrackNode> + Clone) -> bool {
    /// With more threads than these, all but the main one stand below the streams and are folded at first.
    const MANY_THREADS: usize = 3;
    let threads = tracks.clone().filter(|node| node.group == TrackGroup::Thread && !node.hidden).count();
    threads > MANY_THREADS && tracks.clone().any(|node| node.group == TrackGroup::Stream)
}

fn group_of(kind: TrackKind, is_main: bool, copies_only: bool) -> TrackGroup {
    match kind {
        TrackKind::Thread if is_main => TrackGroup::MainThread,
        TrackKind::Thread => TrackGroup::Thread,
        TrackKind::Samples => TrackGroup::Samples,
        TrackKind::Async | TrackKind::Cpu | TrackKind::Custom => TrackGroup::Async,
        TrackKind::Stream if copies_only => TrackGroup::Copies,
        TrackKind::Stream | TrackKind::StreamAnnotations => TrackGroup::Stream,
        TrackKind::Counter => TrackGroup::Counter,
        TrackKind::ThreadInstants | TrackKind::StreamSyncs | TrackKind::ProfilerSpans => TrackGroup::Marks,
    }
}

/// `pt_autograd_0` of Kineto's `thread 4711 (pt_autograd_0)`; other names stay.
fn short_thread_name(full: &str) -> &str {
    let inner = full.strip_suffix(')').and_then(|name| name.split_once(" (")).map(|(_, inner)| inner);
    inner.filter(|inner| full.starts_with("thread ") && !inner.trim().is_empty()).unwrap_or(full)
}

/// Adds the thread id where several threads have one name.
fn name_twins_apart(trace: &Trace, nodes: &mut [TrackNode]) {
    let labels: Vec<String> = nodes.iter().map(|node| node.label.clone()).collect();
    for node in nodes.iter_mut().filter(|node| node.group == TrackGroup::Thread) {
        let twins = labels.iter().filter(|&label| *label == node.label).count();
        if twins > 1
            && let Some(track) = node.track.and_then(|id| trace.track(id))
        {
            node.label = format!("{} · {}", node.label, trace.raw_id_text(track.tid));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn tracks_stand_in_the_order_one_reads_them() {
        let trace = fixtures::training(2, 3);
        let layout = TimelineLayout::new(&trace);
        let labels: Vec<&str> =
            layout.ranks()[0].tracks.iter().filter(|node| !node.hidden).map(|node| node.label.as_str()).collect();
        assert_eq!(
            labels,
            [
                "Steps and annotations",
                "main thread",
                "pt_autograd_0",
                "GPU 0 · stream 7",
                "GPU 0 · stream 24",
                "GPU 0 · stream 20 copies",
                "memory allocated"
            ]
        );
    }

    #[test]
    fn operators_are_nested_without_the_python_frames_between_them() {
        let trace = fixtures::python_stack(3);
        let layout = TimelineLayout::new(&trace);
        let tracks = &layout.ranks()[0].tracks;
        let labels: Vec<&str> = tracks.iter().map(|node| node.label.as_str()).collect();
        assert_eq!(labels, ["Steps and annotations", "main thread", "main thread · Python"]);
        let names = |node: &TrackNode| -> Vec<Vec<&str>> {
            let of = |row: &TrackRow| {
                let RowSource::List(list) = row.source else { unreachable!("a list") };
                let mut names: Vec<&str> = layout.list(list).iter().map(|&id| trace.name(id)).collect();
                names.dedup();
                names
            };
            node.rows.iter().map(of).collect()
        };
        let rows = names(&tracks[1]);
        assert_eq!(rows[0], ["ProfilerStep#0", "ProfilerStep#1", "ProfilerStep#2"]);
        assert_eq!(rows[1].iter().take(2).copied().collect::<Vec<_>>(), ["aten::linear", "aten::relu"]);
        assert_eq!(rows[2], ["aten::addmm"]);
        assert_eq!(rows[3], ["cudaLaunchKernel"]);
        assert_eq!(rows.len(), 4);
        assert_eq!(names(&tracks[2]).len(), 10);
        // Every event is drawn once, on the row that find names.
        for id in (0..trace.events().len() as u32).map(EventId) {
            let (rank, track, inner) = layout.find(&trace, id).unwrap();
            let RowSource::List(list) = layout.ranks()[rank].tracks[track].rows[inner].source else { unreachable!() };
            assert!(layout.list(list).contains(&id));
        }
        // Rows are drawn as sequences: no event of a row overlaps the next.
        for row in tracks.iter().flat_map(|node| &node.rows) {
            let RowSource::List(list) = row.source else { continue };
            assert!(layout.list(list).windows(2).all(|pair| trace.event(pair[0]).end() <= trace.event(pair[1]).start));
        }
    }

    #[test]
    fn a_frame_that_cuts_through_a_step_leaves_operators_in_it() {
        let trace = fixtures::cut_step();
        let layout = TimelineLayout::new(&trace);
        let main = layout.ranks()[0].tracks.iter().find(|node| node.group == TrackGroup::MainThread).unwrap();
        let depth_of = |name: &str| {
            let id = (0..trace.events().len() as u32).map(EventId).find(|&id| trace.name(id) == name).unwrap();
            let (_, _, inner) = layout.find(&trace, id).unwrap();
            inner
        };
        assert_eq!((depth_of("ProfilerStep#0"), depth_of("aten::linear"), main.rows.len()), (0, 1, 2));
    }

    #[test]
    fn a_folded_rank_without_a_device_shows_its_main_thread() {
        let trace = fixtures::cut_step();
        let layout = TimelineLayout::new(&trace);
        let main = layout.ranks()[0].tracks.iter().find(|node| node.group == TrackGroup::MainThread).unwrap();
        assert_eq!(layout.ranks()[0].device, [main.rows[0].source]);
    }

    #[test]
    fn steps_and_communication_are_gathered() {
        let trace = fixtures::training(1, 4);
        let layout = TimelineLayout::new(&trace);
        assert_eq!(layout.steps().len(), 4);
        assert!(layout.steps().iter().all(|&id| trace.event(id).kind == EventKind::Step));
        let rank = &layout.ranks()[0];
        assert_eq!(rank.communication.len(), 1, "all on one stream: {:?}", rank.communication);
        assert_eq!(rank.device.len(), 2, "without the stream that only communicates");
    }

    #[test]
    fn thread_names_lose_what_every_name_has() {
        assert_eq!(short_thread_name("thread 4711 (pt_autograd_0)"), "pt_autograd_0");
        assert_eq!(short_thread_name("thread 4711"), "thread 4711");
        assert_eq!(short_thread_name("loader (2)"), "loader (2)");
        assert_eq!(short_thread_name("thread 1 ( )"), "thread 1 ( )");
    }
}
