//! Whose the time of a path is: operator, module, annotation, Python frame, kernel.
//!
//! Time of a thread belongs to what runs on it then, to the nanosecond. Time of a device, and latency on the way to it,
//! belongs to what ran when the work was launched.

use gapless_trace::{EventId, EventKind, RankId, Trace, TrackId, TrackKind};
use rustc_hash::FxHashMap;
use serde::Serialize;

use super::walk::{CriticalPath, Segment};
use crate::graph::{Graph, GraphInput};

/// Time of one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AttributionRow {
    /// The name; empty for time that has none.
    pub name: String,
    /// Its time on the path, in ns.
    pub ns: i64,
    /// Segments of the path that it has time in.
    pub segments: u64,
}

/// A path's time by name, each list longest first and summing to the path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Attribution {
    /// By innermost framework operator; time of a thread in a device call by that call.
    pub operators: Vec<AttributionRow>,
    /// By outermost framework operator.
    pub outer_operators: Vec<AttributionRow>,
    /// By innermost module (`nn.Module: Linear_3`); time of the backward engine by the module of the forward operator.
    pub modules: Vec<AttributionRow>,
    /// By outermost annotation that is no step.
    pub annotations: Vec<AttributionRow>,
    /// By innermost Python frame.
    pub frames: Vec<AttributionRow>,
    /// By kernel, copy or fill; time of threads has no name here.
    pub kernels: Vec<AttributionRow>,
}

/// What runs on a thread, in one sense: from each time on one event, or none.
type Profile = Vec<(i64, Option<EventId>)>;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Sense {
    Operator,
    OuterOperator,
    Module,
    Annotation,
    Frame,
    /// Innermost operator, calls into the device left out: whose device work it is.
    Launcher,
}

const SENSES: [Sense; 5] = [Sense::Operator, Sense::OuterOperator, Sense::Module, Sense::Annotation, Sense::Frame];

impl Sense {
    fn keeps(self, kind: EventKind, name: &str) -> bool {
        match self {
            Self::Operator => kind == EventKind::Operator || kind.is_device_call(),
            Self::OuterOperator | Self::Launcher => kind == EventKind::Operator,
            Self::Module => kind == EventKind::PythonFunction && name.starts_with("nn.Module: "),
            Self::Annotation => kind == EventKind::Annotation,
            Self::Frame => kind == EventKind::PythonFunction,
        }
    }

    const fn is_outermost(self) -> bool {
        matches!(self, Self::OuterOperator | Self::Annotation)
    }
}

/// What of this sense runs on a thread when.
fn profile(trace: &Trace, track: TrackId, sense: Sense, align: &dyn Fn(i64) -> i64) -> Profile {
    let Some(info) = trace.track(track) else { return Profile::new() };
    let events = trace.events();
    let (starts, kinds, names) = (events.starts(), events.kinds(), events.names());
    let mut own: Vec<(i64, i64, u32)> = Vec::new();
    for id in info.event_ids() {
        let i = id.index();
        let (Some(&start), Some(&kind), Some(&name)) = (starts.get(i), kinds.get(i), names.get(i)) else { continue };
        if sense.keeps(kind, trace.text(name)) {
            own.push((align(start), align(events.end_at(i)), id.0));
        }
    }
    own.sort_by_key(|&(start, end, id)| (start, std::cmp::Reverse(end), id));
    let mut profile = Profile::new();
    let mut open: Vec<(i64, u32)> = Vec::new();
    let close_up_to = |open: &mut Vec<(i64, u32)>, profile: &mut Profile, to: i64| {
        while let Some(&(end, _)) = open.last().filter(|last| last.0 <= to) {
            open.pop();
            let shown = if sense.is_outermost() { open.first() } else { open.last() };
            profile.push((end, shown.map(|&(_, id)| EventId(id))));
        }
    };
    for (start, end, id) in own {
        close_up_to(&mut open, &mut profile, start);
        // What outlives the frame around it (an open frame) ends with it.
        let end = open.last().map_or(end, |outer| end.min(outer.0));
        open.push((end, id));
        let shown = if sense.is_outermost() { open.first() } else { open.last() };
        profile.push((start, shown.map(|&(_, id)| EventId(id))));
    }
    close_up_to(&mut open, &mut profile, i64::MAX);
    profile
}

/// Sums by name.
#[derive(Default)]
struct Sums {
    by_name: FxHashMap<Option<u32>, (i64, u64)>,
}

impl Sums {
    fn add(&mut self, name: Option<u32>, ns: i64) {
        let entry = self.by_name.entry(name).or_default();
        entry.0 += ns;
        entry.1 += 1;
    }

    fn rows(self, trace: &Trace) -> Vec<AttributionRow> {
        let text =
            |name: Option<u32>| name.map_or_else(String::new, |name| trace.text(gapless_trace::StrId(name)).to_owned());
        let rows = self.by_name.into_iter();
        let mut rows: Vec<_> =
            rows.map(|(name, (ns, segments))| AttributionRow { name: text(name), ns, segments }).collect();
        rows.sort_by(|a, b| b.ns.cmp(&a.ns).then_with(|| a.name.cmp(&b.name)));
        rows
    }
}

struct Attributor<'a> {
    trace: &'a Trace,
    input: GraphInput<'a>,
    profiles: FxHashMap<(TrackId, Sense), Profile>,
}

impl Attributor<'_> {
    fn profile(&mut self, rank: RankId, track: TrackId, sense: Sense) -> &Profile {
        let (trace, input) = (self.trace, self.input);
        self.profiles
            .entry((track, sense))
            .or_insert_with(|| profile(trace, track, sense, &|at| input.time(rank, at, false)))
    }

    fn name(&self, event: Option<EventId>) -> Option<u32> {
        event.map(|event| self.trace.event(event).name.0)
    }

    /// Splits `[from, to)` of a thread.
    fn split(&mut self, rank: RankId, track: TrackId, sense: Sense, (from, to): (i64, i64), sums: &mut Sums) {
        let profile = self.profile(rank, track, sense);
        let first = profile.partition_point(|entry| entry.0 <= from);
        let mut shown = first.checked_sub(1).and_then(|place| profile.get(place)).and_then(|entry| entry.1);
        let mut at = from;
        let mut pieces: Vec<(Option<EventId>, i64)> = Vec::new();
        for &(time, next) in profile.get(first..).unwrap_or_default().iter().take_while(|entry| entry.0 < to) {
            if time > at {
                pieces.push((shown, time - at));
            }
            (at, shown) = (time, next);
        }
        pieces.push((shown, to - at));
        let mut at = from;
        for (event, ns) in pieces {
            if event.is_none() && sense == Sense::Module {
                self.split_backward(rank, track, (at, at + ns), sums);
            } else {
                sums.add(self.name(event), ns);
            }
            at += ns;
        }
    }

    /// Splits time of a thread that runs no module: what the backward engine runs belongs to the module of the forward
    /// operator that the arrow to it comes from.
    fn split_backward(&mut self, rank: RankId, track: TrackId, (from, to): (i64, i64), sums: &mut Sums) {
        let profile = self.profile(rank, track, Sense::Launcher);
        let first = profile.partition_point(|entry| entry.0 <= from);
        let mut cuts: Vec<i64> = vec![from];
        cuts.extend(profile.get(first..).unwrap_or_default().iter().map(|entry| entry.0).take_while(|&at| at < to));
        cuts.push(to);
        for pair in cuts.windows(2) {
            let [from, to] = pair else { continue };
            if to > from {
                let module = self.backward_module(rank, track, *from);
                sums.add(module, to - from);
            }
        }
    }

    /// The module of the forward operator whose backward runs on a thread at a time.
    fn backward_module(&mut self, rank: RankId, track: TrackId, at: i64) -> Option<u32> {
        let operator = self.event_at(rank, track, Sense::Launcher, at)?;
        let trace = self.trace;
        // The engine's function is a few operators further out.
        let around = std::iter::once(operator).chain(trace.ancestors(operator).take(16));
        let mut arrows = around.flat_map(|event| trace.flows_of(event).filter(move |flow| flow.to == event));
        let forward = arrows.find(|flow| trace.text(flow.category).contains("fwdbwd"))?.from;
        let (forward_track, info) = trace.track_of(forward)?;
        let start = self.input.time(info.rank, trace.event(forward).start.nanos(), false);
        self.at(rank, forward_track, Sense::Module, start)
    }

    fn event_at(&mut self, rank: RankId, track: TrackId, sense: Sense, at: i64) -> Option<EventId> {
        let profile = self.profile(rank, track, sense);
        let after = profile.partition_point(|entry| entry.0 <= at);
        after.checked_sub(1).and_then(|place| profile.get(place)).and_then(|entry| entry.1)
    }

    fn at(&mut self, rank: RankId, track: TrackId, sense: Sense, at: i64) -> Option<u32> {
        let event = self.event_at(rank, track, sense, at);
        self.name(event)
    }

    /// What work that was launched at a time belongs to.
    fn launched(&mut self, rank: RankId, track: TrackId, sense: Sense, at: i64) -> Option<u32> {
        let sense = if sense == Sense::Operator { Sense::Launcher } else { sense };
        let name = self.at(rank, track, sense, at);
        if name.is_none() && sense == Sense::Module { self.backward_module(rank, track, at) } else { name }
    }
}

/// Attributes the time of `path`. `trace` and `input` are what the graph was built from.
#[must_use]
pub fn attribute(trace: &Trace, graph: &Graph, path: &CriticalPath, input: &GraphInput<'_>) -> Attribution {
    let mut this = Attributor { trace, input: *input, profiles: FxHashMap::default() };
    let mut sums: [Sums; 5] = Default::default();
    let mut kernels = Sums::default();
    for segment in &path.segments {
        let node = graph.node(segment.node);
        let on_device = node.kind.is_device();
        kernels.add(node.event.filter(|_| on_device).map(|event| trace.event(event).name.0), segment.duration_ns());
        let thread = if on_device { launched(trace, graph, segment) } else { on_thread(trace, graph, segment) };
        for (sense, sums) in SENSES.into_iter().zip(&mut sums) {
            match thread {
                Some((rank, track, None)) => {
                    this.split(rank, track, sense, (segment.start_ns, segment.end_ns), sums);
                }
                Some((rank, track, Some(at))) => {
                    let name = this.launched(rank, track, sense, input.time(rank, at, false));
                    sums.add(name, segment.duration_ns());
                }
                None => sums.add(None, segment.duration_ns()),
            }
        }
    }
    let [operators, outer_operators, modules, annotations, frames] = sums.map(|sums| sums.rows(trace));
    Attribution { operators, outer_operators, modules, annotations, frames, kernels: kernels.rows(trace) }
}

type Context = Option<(RankId, TrackId, Option<i64>)>;

/// The thread of a segment of host time.
fn on_thread(trace: &Trace, graph: &Graph, segment: &Segment) -> Context {
    let place = graph.node(segment.node).place?;
    let is_thread = trace.track(place.track).is_some_and(|track| track.kind == TrackKind::Thread);
    is_thread.then_some((place.rank, place.track, None))
}

/// Where and when the work of a segment was launched.
fn launched(trace: &Trace, graph: &Graph, segment: &Segment) -> Context {
    let event = graph.node(segment.node).event?;
    let call = trace.launches().launch_of(event).unwrap_or(event);
    let (track, info) = trace.track_of(call)?;
    (info.kind == TrackKind::Thread).then(|| (info.rank, track, Some(trace.event(call).start.nanos())))
}
