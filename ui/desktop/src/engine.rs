//! What the engine finds: collectives over ranks, critical paths, how far the model is to be trusted. Worked out once per
//! trace beside the frames; panels and the timeline only read it.

use std::ops::Range;
use std::sync::Arc;

use gapless_advice::Study;
use gapless_analysis::graph::{Graph, NodeId, NodeKind};
use gapless_analysis::interval::{Interval, IntervalSet};
use gapless_analysis::path::{Category, CriticalPath, Segment, critical_path, step_windows, whole_path};
use gapless_analysis::replay::{Bounds, bounds};
use gapless_analysis::trust::Trust;
use gapless_analysis::{ClockAlignment, CollectiveReport, DelayCost, LatenessVerdict, StepSummary, delay_costs};
use gapless_timeline::{CollectiveWaits, PathKind, PathLayer, PathPiece};
use gapless_trace::{Duration, EventId, RankId, RowId, Span, Timestamp, Trace, TrackId};

use crate::engine_rows::{self, InstanceRow, LatenessRow};
use crate::state::Window;

/// A stretch of a critical path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathRow {
    /// When, on the common clock.
    pub span: Span,
    /// What kind of time it is.
    pub category: Category,
    /// The rank; `None` between ranks.
    pub rank: Option<RankId>,
    /// Its thread or stream; of a latency, that to which it leads.
    pub track: Option<TrackId>,
    /// The event whose time it is or to which it leads; `None` for time of a thread between calls.
    pub event: Option<EventId>,
    /// The node whose time it is or to which it leads.
    pub node: NodeId,
    /// Whether it is a latency or a delay before the node, not its own time.
    pub is_before: bool,
    /// Whether the node is of a device.
    pub is_device: bool,
}

/// The path of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct PathStep {
    /// The step's name.
    pub name: String,
    /// Its number, where it has one.
    pub number: Option<u64>,
    /// Its window on the common clock.
    pub span: Span,
    /// Its stretches, by place in [`Engine::rows`].
    pub rows: Range<usize>,
}

/// An event, its instance and its place among the members.
pub type MemberPlace = (EventId, u32, u32);

/// Everything that the engine says of a trace.
#[derive(Debug)]
pub struct Engine {
    /// Clocks, collectives, their costs, and who is late.
    pub collectives: CollectiveReport,
    /// Whether the recording has steps.
    pub has_steps: bool,
    /// How far its model is from the recording.
    pub trust: Trust,
    /// What the recording would take without one cause; `None` if the model is not to be trusted.
    pub bounds: Option<Bounds>,
    /// Paths of the steps, or of the whole recording if it has none.
    pub steps: Vec<PathStep>,
    /// Their stretches by time; those of one step touch one another.
    pub rows: Vec<PathRow>,
    /// The paths as the timeline draws them.
    pub layer: Arc<PathLayer>,
    /// How long each collective waits for others.
    pub waits: Arc<CollectiveWaits>,
    /// When the collectives of each rank wait for others, on the clock of the rank; waits that one rank alone can only
    /// estimate do not count.
    pub waiting: Vec<IntervalSet>,
    /// The instance and the member that an event is, ascending by event.
    pub members: Vec<MemberPlace>,
    /// The rows of the table of collectives.
    pub instances: Vec<InstanceRow>,
    /// The rows of the table of ranks.
    pub lateness: Vec<LatenessRow>,
    /// What late ranks did for longer than others, by what others waited because of it.
    pub delay_costs: Vec<DelayCost>,
}

impl Engine {
    /// What the engine finds in the recording of `study`.
    #[must_use]
    pub fn new(study: &Study<'_>) -> Self {
        let (trace, graph) = (study.trace(), study.graph());
        let collectives = CollectiveReport::new(trace);
        let trust = study.trust().clone();
        let bounds = trust.refusal().is_none().then(|| bounds(graph));
        let (steps, rows) = paths(graph);
        let layer = Arc::new(layer(trace, graph, &collectives.clocks, &rows));
        let (waits, members) = members(&collectives);
        let mut this = Self {
            collectives,
            has_steps: !graph.steps().is_empty(),
            trust,
            bounds,
            steps,
            rows,
            layer,
            waiting: waiting(trace, &waits),
            waits: waits.into(),
            members,
            instances: Vec::new(),
            lateness: Vec::new(),
            delay_costs: Vec::new(),
        };
        this.instances = engine_rows::instances(trace, &this.collectives.collectives);
        this.lateness = engine_rows::lateness(trace, &this.collectives.lateness);
        this.delay_costs = delay_costs(trace, &this.collectives.collectives);
        this
    }

    /// The clocks of the ranks.
    #[must_use]
    pub const fn clocks(&self) -> &ClockAlignment {
        &self.collectives.clocks
    }

    /// A common time on the clock of `rank`.
    #[must_use]
    pub fn recorded_at(&self, rank: RankId, at: Timestamp) -> Timestamp {
        local(self.clocks(), rank, at)
    }

    /// When a stretch of a path is, on the clock of its rank.
    #[must_use]
    pub fn recorded(&self, trace: &Trace, row: &PathRow) -> Span {
        recorded(trace, self.clocks(), row)
    }

    /// The stretches of a window: of a step of the analysis, of all paths, or those that touch a range on the common clock.
    #[must_use]
    pub fn rows_of(&self, window: Window, steps: &[StepSummary]) -> Range<usize> {
        match window {
            Window::Whole => 0..self.rows.len(),
            Window::Step(place) => self.step_of(place, steps).map_or(0..0, |step| step.rows.clone()),
            Window::Range(span) => {
                let from = self.rows.partition_point(|row| row.span.end <= span.start);
                let to = self.rows.partition_point(|row| row.span.start < span.end);
                from..to.max(from)
            }
        }
    }

    /// The path of a step of the analysis: the k-th of equal names is the k-th.
    #[must_use]
    pub fn step_of(&self, place: usize, steps: &[StepSummary]) -> Option<&PathStep> {
        self.steps.get(self.place_of(place, steps)?)
    }

    /// Its place in [`Engine::steps`].
    #[must_use]
    pub fn place_of(&self, place: usize, steps: &[StepSummary]) -> Option<usize> {
        let wanted = steps.get(place)?;
        if wanted.number.is_some() {
            return self.steps.iter().position(|step| step.number == wanted.number);
        }
        let before = steps.iter().take(place).filter(|step| step.name == wanted.name).count();
        let mut same = self.steps.iter().enumerate().filter(|(_, step)| step.name == wanted.name);
        same.nth(before).map(|(place, _)| place).or_else(|| (self.steps.len() == 1 && steps.len() == 1).then_some(0))
    }

    /// The instance that an event belongs to, and its place among the members.
    #[must_use]
    pub fn member_of(&self, event: EventId) -> Option<(usize, usize)> {
        let place = self.members.binary_search_by_key(&event, |member| member.0).ok()?;
        self.members.get(place).map(|member| (member.1 as usize, member.2 as usize))
    }

    /// Whether an event is of the first or last collective of a group.
    #[must_use]
    pub fn is_edge(&self, event: EventId) -> bool {
        let instance = self.member_of(event).and_then(|(place, _)| self.collectives.collectives.get(place));
        instance.is_some_and(|timed| timed.instance.edge)
    }

    /// What stands beside the name of a rank: how often it comes last, and whether it is late for more than chance.
    #[must_use]
    pub fn badge_of(&self, rank: RankId) -> Option<(String, bool)> {
        let lateness = self.collectives.lateness.iter().find(|lateness| lateness.rank == rank)?;
        let is_late = lateness.verdict == LatenessVerdict::Late;
        if lateness.delayer == 0 && !is_late {
            return None;
        }
        let word = if is_late { "late" } else { "last" };
        Some((format!("{word} {} of {}", lateness.last, lateness.collectives), is_late))
    }
}

/// A common time on the clock of `rank`: `to_common` turned around; the drift is so small that one step is exact.
fn local(clocks: &ClockAlignment, rank: RankId, at: Timestamp) -> Timestamp {
    let offset = clocks.ranks.get(rank.index()).map_or(0, |clock| clock.offset_ns);
    let guess = at + Duration(offset);
    guess + (at - clocks.to_common(rank, guess))
}

fn recorded(trace: &Trace, clocks: &ClockAlignment, row: &PathRow) -> Span {
    let Some(rank) = row.rank else { return row.span };
    // Times of devices have a correction of their own, which is that of the event.
    let event = row.event.filter(|_| row.is_device);
    let by = match event {
        Some(event) => trace.event(event).start - clocks.span_of(trace, event).start,
        None => local(clocks, rank, row.span.start) - row.span.start,
    };
    Span::new(row.span.start + by, row.span.end + by)
}

/// The paths of all steps, or of the whole recording.
fn paths(graph: &Graph) -> (Vec<PathStep>, Vec<PathRow>) {
    let (mut steps, mut rows) = (Vec::new(), Vec::new());
    let mut push = |name: &str, number: Option<u64>, path: &CriticalPath| {
        let first = rows.len();
        rows.extend(path.segments.iter().map(|segment| row(graph, segment)));
        let span = Span::new(Timestamp(path.start_ns), Timestamp(path.end_ns));
        steps.push(PathStep { name: name.to_owned(), number, span, rows: first..rows.len() });
    };
    for (step, window) in graph.steps().iter().zip(step_windows(graph)) {
        push(&step.name, step.number, &critical_path(graph, &step.ends, window.0));
    }
    if graph.steps().is_empty() && !graph.is_empty() {
        push("Whole recording", None, &whole_path(graph));
    }
    (steps, rows)
}

fn row(graph: &Graph, segment: &Segment) -> PathRow {
    let node = graph.node(segment.node);
    PathRow {
        span: Span::new(Timestamp(segment.start_ns), Timestamp(segment.end_ns)),
        category: segment.category,
        rank: segment.rank.or(node.place.map(|place| place.rank)),
        track: node.place.map(|place| place.track),
        event: node.event,
        node: segment.node,
        is_before: segment.edge.is_some(),
        is_device: node.kind.is_device(),
    }
}

/// The paths for the timeline, and all unexplained delays of devices.
fn layer(trace: &Trace, graph: &Graph, clocks: &ClockAlignment, rows: &[PathRow]) -> PathLayer {
    let piece = |row: &PathRow| {
        let (rank, track) = (row.rank?, row.track?);
        // What came before the recording is nothing that can be outlined.
        if row.category == Category::Outside {
            return None;
        }
        let is_device = row.is_device;
        let kind = match row.category {
            Category::Unexplained => PathKind::Unexplained,
            _ if row.is_before && (is_device || row.category != Category::Host) => PathKind::Pause,
            _ => PathKind::Work,
        };
        Some(PathPiece {
            rank,
            track,
            row: row.event.filter(|_| is_device).and_then(|event| row_of(trace, event)),
            span: recorded(trace, clocks, row),
            common: row.span.start,
            kind,
        })
    };
    let pieces: Vec<PathPiece> = rows.iter().filter_map(piece).collect();
    let delay = |id: NodeId| {
        let length = graph.unexplained_ns(id);
        let node = graph.node(id);
        let event = node.event.filter(|_| length > 0 && node.kind.is_device() && !is_virtual(node.kind))?;
        let start = trace.event(event).start;
        Some((row_of(trace, event)?, Span::new(start - Duration(length), start)))
    };
    let unexplained: Vec<(RowId, Span)> = graph.node_ids().filter_map(delay).collect();
    PathLayer::new(&pieces, &unexplained)
}

const fn is_virtual(kind: NodeKind) -> bool {
    kind.is_virtual() || matches!(kind, NodeKind::Transfer | NodeKind::EstimatedWait)
}

fn row_of(trace: &Trace, event: EventId) -> Option<RowId> {
    trace.row_of(event).map(|(row, _)| row)
}

/// Waits by rank, as time on its clock.
fn waiting(trace: &Trace, waits: &[(EventId, Duration)]) -> Vec<IntervalSet> {
    let mut of_ranks: Vec<Vec<Interval>> = vec![Vec::new(); trace.ranks().len()];
    for &(event, wait) in waits {
        let start = trace.event(event).start;
        if let Some(of_rank) = trace.rank_of(event).and_then(|rank| of_ranks.get_mut(rank.index())) {
            of_rank.push(Interval::new(start.0, start.0.saturating_add(wait.0)));
        }
    }
    of_ranks.into_iter().map(IntervalSet::from_unsorted).collect()
}

/// Waits by event, and the instance that each event belongs to.
fn members(report: &CollectiveReport) -> (Vec<(EventId, Duration)>, Vec<MemberPlace>) {
    let (mut waits, mut members) = (Vec::new(), Vec::new());
    for (timed, place) in report.collectives.iter().zip(0..) {
        for (member, number) in timed.instance.members.iter().zip(0_u32..) {
            members.push((member.event, place, number));
            let wait = timed.timing.waits_ns.get(number as usize).copied().unwrap_or_default();
            if wait > 0 && !timed.timing.is_estimated {
                waits.push((member.event, Duration(wait)));
            }
        }
    }
    waits.sort_unstable();
    members.sort_unstable();
    (waits, members)
}
