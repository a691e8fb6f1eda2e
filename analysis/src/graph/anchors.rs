//! Threads cut at what matters for order: calls into the device runtime, marks, hand-offs.

use gapless_trace::{EventKind, StrId, Trace, Track, TrackId};

use super::api::{Api, Apis};
use super::assemble::{Raw, RawNode};
use super::{EdgeKind, Evidence, NONE, NodeKind, Point};

/// A call into the device runtime that no other one holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub start: i64,
    pub end: i64,
    pub event: u32,
    /// Place in the threads of the rank.
    pub thread: u32,
    pub name: StrId,
    pub api: Api,
    /// Whether device work is linked to it.
    pub launches: bool,
    /// Whether an event that it records or waits for has a node.
    pub has_marker: bool,
    /// Whether the thread waits in it for the device, and what the call costs then by itself.
    pub blocks: Option<i64>,
    /// Its node; `NONE` for calls that matter for nothing.
    pub node: u32,
    /// The node where it returns, if it may block.
    pub back: u32,
}

impl Call {
    /// Whether it is a node of its own.
    fn is_anchor(&self) -> bool {
        match self.api {
            Api::Other | Api::Launch | Api::Fill => self.launches,
            Api::RecordEvent | Api::WaitEvent => self.has_marker,
            Api::Copy | Api::Memory => self.launches || self.blocks.is_some(),
            Api::StreamSync | Api::DeviceSync | Api::EventSync => true,
        }
    }
}

/// What happens at a point of a thread beside calls, in the order of what happens at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PointKind {
    /// A stretch of another kind ends.
    RegionEnd,
    /// A step ends: its place in the marks.
    StepEnd(u32),
    /// The thread takes work from another: place of the hand-off.
    Taken(u32),
    /// The thread goes on after a hand-off.
    Resumed(u32),
    /// A member of a collective on the host has arrived: place of the member.
    Arrived(u32),
    /// The collective is done for a member.
    Transferred(u32),
    /// The work of a hand-off is done.
    Done(u32),
    /// A step begins.
    StepBegin(u32),
    /// A stretch of another kind begins.
    RegionBegin(NodeKind),
    /// The thread hands work over and waits.
    Released(u32),
    /// From here to the next point the thread only waits. Last of all that happens at a time.
    Idle,
}

/// One thread of a rank.
#[derive(Clone, Debug)]
pub(crate) struct Thread {
    pub track: TrackId,
    /// Place of its own in the raw graph.
    pub place: u32,
    /// Its calls, as a range of the rank's.
    pub calls: std::ops::Range<usize>,
    /// When innermost operators and calls run: sorted, may touch, do not overlap.
    pub busy: Vec<(i64, i64)>,
    /// Whether most of its operators are the backward engine's.
    pub is_backward: bool,
    pub points: Vec<(i64, PointKind)>,
}

/// Nodes that points became.
#[derive(Clone, Debug, Default)]
pub(crate) struct PointNodes {
    pub nodes: Vec<(PointKind, u32)>,
}

/// Which stretches are not plain host work, by name.
#[derive(Clone, Debug)]
pub(crate) struct Regions {
    data_loader: Vec<StrId>,
    gc: Vec<StrId>,
    backward: Vec<StrId>,
}

impl Regions {
    pub fn new(trace: &Trace) -> Self {
        let mut this = Self { data_loader: Vec::new(), gc: Vec::new(), backward: Vec::new() };
        for (id, text) in trace.strings().iter() {
            if text.starts_with("enumerate(DataLoader)") {
                this.data_loader.push(id);
            } else if text == "gc" || text.contains("gc.collect") || text.contains("<built-in function collect>") {
                this.gc.push(id);
            } else if is_backward(text) {
                this.backward.push(id);
            }
        }
        this
    }

    fn region(&self, name: StrId) -> Option<NodeKind> {
        if self.data_loader.binary_search(&name).is_ok() {
            Some(NodeKind::DataLoader)
        } else if self.gc.binary_search(&name).is_ok() {
            Some(NodeKind::Gc)
        } else {
            None
        }
    }

    fn is_backward(&self, name: StrId) -> bool {
        self.backward.binary_search(&name).is_ok()
    }
}

/// Whether an operator is a function of the backward engine.
fn is_backward(name: &str) -> bool {
    let base = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    name.starts_with("autograd::engine") || name.starts_with("torch::autograd::") || base.ends_with("Backward")
}

/// Reads one thread: its outermost calls, what keeps it busy, its regions.
pub(crate) fn read_thread(
    trace: &Trace,
    (id, track): (TrackId, &Track),
    apis: &Apis,
    regions: &Regions,
    align: &dyn Fn(i64) -> i64,
    calls: &mut Vec<Call>,
    mut on_call: impl FnMut(u32, usize),
) -> Thread {
    let events = trace.events();
    let (starts, kinds, names) = (events.starts(), events.kinds(), events.names());
    let mut own: Vec<(i64, i64, u32)> = Vec::new();
    let mut points: Vec<(i64, PointKind)> = Vec::new();
    let (mut operators, mut backward) = (0_u32, 0_u32);
    for event in track.event_ids() {
        let i = event.index();
        let (Some(&start), Some(&kind), Some(&name)) = (starts.get(i), kinds.get(i), names.get(i)) else { continue };
        let matters = kind == EventKind::Operator || kind.is_device_call();
        if kind == EventKind::Operator {
            operators += 1;
            backward += u32::from(regions.is_backward(name));
        }
        let may_be_region = matches!(kind, EventKind::Operator | EventKind::Annotation | EventKind::PythonFunction);
        if may_be_region && let Some(region) = regions.region(name) {
            points.push((align(start), PointKind::RegionBegin(region)));
            points.push((align(events.end_at(i)), PointKind::RegionEnd));
        }
        if matters {
            own.push((start, events.end_at(i), event.0));
        }
    }
    own.sort_by_key(|&(start, end, id)| (start, std::cmp::Reverse(end), id));
    let first = calls.len();
    let mut busy: Vec<(i64, i64)> = Vec::new();
    for (place, &(start, end, event)) in own.iter().enumerate() {
        let (aligned_start, aligned_end) = (align(start), align(end));
        // The next one begins inside: this one only holds others.
        let is_leaf = own.get(place + 1).is_none_or(|next| next.0 >= end);
        if is_leaf {
            match busy.last_mut() {
                Some(last) if last.1 >= aligned_start => last.1 = last.1.max(aligned_end),
                _ => busy.push((aligned_start, aligned_end)),
            }
        }
        let i = event as usize;
        let (Some(kind), Some(&name)) = (kinds.get(i), names.get(i)) else { continue };
        if !kind.is_device_call() {
            continue;
        }
        let outer = calls.len().checked_sub(1).filter(|&outer| outer >= first);
        if let Some(outer) = outer
            && calls.get(outer).is_some_and(|call| aligned_start < call.end)
        {
            // A driver call in a runtime call, or one that a rounding error pushes into its neighbour: only what lies
            // inside is part of it.
            if calls.get(outer).is_some_and(|call| aligned_end <= call.end) {
                on_call(event, outer);
                continue;
            }
        }
        // Calls of one thread follow one another.
        let begin = outer.and_then(|outer| calls.get(outer)).map_or(aligned_start, |call| aligned_start.max(call.end));
        on_call(event, calls.len());
        calls.push(Call {
            start: begin,
            end: aligned_end.max(begin),
            event,
            thread: 0,
            name,
            api: apis.of(name),
            launches: false,
            has_marker: false,
            blocks: None,
            node: NONE,
            back: NONE,
        });
    }
    // Each of its functions runs a handful of operators.
    let is_backward = backward > 0 && backward.saturating_mul(10) >= operators;
    Thread { track: id, place: NONE, calls: first..calls.len(), busy, is_backward, points }
}

/// Makes the nodes of a thread. `is_wanted`: whether the thread matters even without calls and points.
pub(crate) fn build_thread(raw: &mut Raw, thread: &mut Thread, calls: &mut [Call], is_wanted: bool) -> PointNodes {
    let mut found = PointNodes::default();
    let calls = calls.get_mut(thread.calls.clone()).unwrap_or_default();
    thread.points.sort_by_key(|&(time, kind)| (time, kind));
    let anchored = calls.iter().any(Call::is_anchor);
    if !anchored && thread.points.is_empty() && !is_wanted {
        return found;
    }
    let mut tile = Tile { raw, place: thread.place, last: NONE, cursor: i64::MIN, region: Vec::new(), idle: false };
    // Host time before the first call and after the last is part of the thread.
    let first = thread.busy.first().map(|busy| busy.0);
    let first = first.into_iter().chain(thread.points.first().map(|point| point.0)).min();
    let last = thread.busy.last().map(|busy| busy.1);
    if let Some(first) = first {
        tile.cursor = first;
    }
    let mut points = thread.points.iter().copied().peekable();
    for call in calls.iter_mut().filter(|call| call.is_anchor()) {
        while let Some(point) = points.next_if(|point| point.0 <= call.start) {
            tile.point(point, &mut found);
        }
        tile.call(call);
    }
    for point in points {
        tile.point(point, &mut found);
    }
    if let Some(last) = last {
        tile.advance(last);
    }
    found
}

struct Tile<'a> {
    raw: &'a mut Raw,
    place: u32,
    last: u32,
    /// Up to here the thread has nodes.
    cursor: i64,
    region: Vec<NodeKind>,
    /// The thread only waits until the next point.
    idle: bool,
}

impl Tile<'_> {
    fn push(&mut self, kind: NodeKind, start: i64, end: i64, event: u32) -> u32 {
        let node = self.raw.node(RawNode { start, dur: end.saturating_sub(start), event, place: self.place, kind });
        if self.last != NONE {
            self.raw.edge(self.last, Point::End, node, 0, EdgeKind::ThreadOrder, Evidence::Exact);
        }
        self.last = node;
        self.cursor = end.max(start);
        node
    }

    /// Host work up to `to`.
    fn advance(&mut self, to: i64) {
        if self.cursor == i64::MIN {
            self.cursor = to;
        }
        if to > self.cursor {
            if !self.idle {
                let kind = self.region.last().copied().unwrap_or(NodeKind::Host);
                self.push(kind, self.cursor, to, NONE);
            }
            self.cursor = to;
        }
        self.idle = false;
    }

    fn call(&mut self, call: &mut Call) {
        self.advance(call.start);
        let start = call.start.max(self.cursor);
        let end = call.end.max(start);
        let kind = if call.launches { NodeKind::Launch } else { NodeKind::Call };
        match call.blocks {
            Some(cost) => {
                let own = end.saturating_sub(start).min(cost.max(0));
                call.node = self.push(kind, start, start.saturating_add(own), call.event);
                call.back = self.push(NodeKind::Return, end, end, call.event);
            }
            None => call.node = self.push(kind, start, end, call.event),
        }
    }

    fn point(&mut self, (time, kind): (i64, PointKind), found: &mut PointNodes) {
        let time = time.max(self.cursor);
        match kind {
            PointKind::RegionBegin(region) => {
                self.advance(time);
                self.region.push(region);
            }
            PointKind::RegionEnd => {
                self.advance(time);
                self.region.pop();
            }
            PointKind::Idle => {
                self.advance(time);
                self.idle = true;
            }
            _ => {
                self.advance(time);
                let node = match kind {
                    PointKind::StepBegin(_) | PointKind::StepEnd(_) => NodeKind::Mark,
                    PointKind::Arrived(_) => NodeKind::Arrival,
                    PointKind::Transferred(_) => NodeKind::Return,
                    _ => NodeKind::HandOff,
                };
                let node = self.push(node, time, time, NONE);
                found.nodes.push((kind, node));
                self.idle = matches!(kind, PointKind::Released(_) | PointKind::Arrived(_));
            }
        }
    }
}
