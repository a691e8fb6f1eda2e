//! The part of the graph that one rank makes: its threads, its streams, and what waits for what between them.

use std::collections::BTreeMap;

use gapless_trace::{EventId, EventKind, RankId, Trace, TrackKind};
use rustc_hash::FxHashMap;

use super::anchors::{self, Call, PointKind, Regions, Thread};
use super::api::Apis;
use super::assemble::{Raw, RawNode};
use super::collective::{Joined, Shortest};
use super::constants::{Lookup, RankConstants};
use super::device::{self, Before, Stream, Work};
use super::handoff::{self, HandOff};
use super::sync::{self, Item, Waits};
use super::{EdgeKind, Evidence, GraphOptions, NONE, NodeKind, Place, Point, infer};

/// A mark of a step on a thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepMark {
    /// Place of the step among those of all ranks.
    pub step: u32,
    pub start: i64,
    pub end: i64,
    /// Its thread; `None` where it is no mark of a thread.
    pub event: Option<EventId>,
}

/// What all ranks share.
pub(crate) struct Shared<'a> {
    pub trace: &'a Trace,
    pub apis: &'a Apis,
    pub regions: &'a Regions,
    pub options: &'a GraphOptions,
    /// For each event that takes part in a collective of several members, sorted: (event, instance).
    pub members: &'a [(EventId, u32)],
    pub clock: &'a (dyn Fn(RankId, i64, bool) -> i64 + Sync),
}

/// The part of one rank.
#[derive(Debug)]
pub(crate) struct RankGraph {
    pub raw: Raw,
    pub constants: RankConstants,
    /// (instance, member) of collectives with several members.
    pub joined: Vec<(u32, Joined)>,
    /// Handles of what begins each step: (step, node).
    pub begins: Vec<(u32, u32)>,
    /// Handles of what completes each step: (step, node).
    pub ends: Vec<(u32, u32)>,
}

pub(super) struct Builder<'a> {
    pub shared: &'a Shared<'a>,
    pub raw: Raw,
    pub calls: Vec<Call>,
    pub threads: Vec<Thread>,
    pub streams: Vec<Stream>,
    pub work: Vec<Work>,
    pub before: Vec<Before>,
    pub lookup: Lookup,
    pub waits: Waits,
    hand_offs: Vec<HandOff>,
    joined: Vec<(u32, Joined)>,
    begins: Vec<(u32, u32)>,
    ends: Vec<(u32, u32)>,
    /// Windows of the steps, by time.
    pub steps: Vec<(i64, i64)>,
}

/// Builds the part of one rank.
pub(crate) fn build(shared: &Shared<'_>, rank: RankId, steps: &[StepMark]) -> RankGraph {
    let mut this = Builder {
        shared,
        raw: Raw::default(),
        calls: Vec::new(),
        threads: Vec::new(),
        streams: Vec::new(),
        work: Vec::new(),
        before: Vec::new(),
        lookup: Lookup::default(),
        waits: Waits::default(),
        hand_offs: Vec::new(),
        joined: Vec::new(),
        begins: Vec::new(),
        ends: Vec::new(),
        steps: steps.iter().map(|mark| (mark.start, mark.end)).collect(),
    };
    this.steps.sort_unstable();
    let call_of_event = this.read_threads(rank);
    let rows = this.read_streams(rank, &call_of_event);
    this.before = this.streams.iter().flat_map(|stream| device::predecessors(this.own(stream))).collect();
    let learn = this.learnable();
    this.lookup = Lookup::new(&this.streams, &this.work, &this.before, &this.calls, shared.options, &learn);
    this.waits = sync::resolve(
        shared.trace,
        &this.streams,
        &this.work,
        &mut this.calls,
        &rows,
        shared.options,
        &mut this.lookup,
    );
    this.mark_steps(steps);
    this.mark_collectives(rank);
    let linked = this.linked_threads(rank);
    this.hand_offs = handoff::find(&mut this.threads, &linked, shared.options.hand_off_percent);
    this.build_threads();
    this.build_streams();
    this.block_calls();
    if shared.options.infer_waits {
        infer::waits(&mut this);
    }
    this.end_steps(steps);
    let constants = this.lookup.report(shared.trace, rank);
    RankGraph { raw: this.raw, constants, joined: this.joined, begins: this.begins, ends: this.ends }
}

impl Builder<'_> {
    fn own(&self, stream: &Stream) -> &[Work] {
        self.work.get(stream.work.clone()).unwrap_or_default()
    }

    /// Which launches may teach latencies, by time.
    fn learnable(&self) -> impl Fn(i64) -> bool + use<> {
        let odd_only = self.shared.options.learn_from_odd_steps && self.steps.len() > 1;
        let steps = if odd_only { self.steps.clone() } else { Vec::new() };
        move |at| {
            let step = steps.partition_point(|step| step.0 <= at).checked_sub(1);
            !odd_only || step.is_some_and(|step| step % 2 == 0)
        }
    }

    /// Reads all threads; gives for each event of the rank the call that it is or lies in.
    fn read_threads(&mut self, rank: RankId) -> Vec<u32> {
        let shared = self.shared;
        let events = shared.trace.rank(rank).map_or(0..0, |rank| rank.events.clone());
        let mut call_of_event = vec![NONE; events.len()];
        let align = |at: i64| (shared.clock)(rank, at, false);
        for (id, track) in shared.trace.tracks_of(rank).filter(|(_, track)| track.kind == TrackKind::Thread) {
            let first = self.calls.len();
            let on_call = |event: u32, call: usize| {
                if let Some(slot) = call_of_event.get_mut((event - events.start) as usize) {
                    *slot = call as u32;
                }
            };
            let mut thread = anchors::read_thread(
                shared.trace,
                (id, track),
                shared.apis,
                shared.regions,
                &align,
                &mut self.calls,
                on_call,
            );
            let place = self.threads.len() as u32;
            for call in self.calls.get_mut(first..).unwrap_or_default() {
                call.thread = place;
            }
            thread.place = self.raw.places.len() as u32;
            self.raw.places.push(Place { rank, track: id, is_device: false });
            self.threads.push(thread);
        }
        call_of_event
    }

    /// Reads all streams; gives the synchronisation rows by call.
    fn read_streams(&mut self, rank: RankId, call_of_event: &[u32]) -> Vec<(usize, EventId)> {
        let shared = self.shared;
        let trace = shared.trace;
        let events = trace.rank(rank).map_or(0..0, |rank| rank.events.clone());
        let kinds = trace.events().kinds();
        let pairs = trace.launches().pairs();
        let begin = pairs.partition_point(|pair| pair.0.0 < events.start);
        let own = pairs.get(begin..).unwrap_or_default().iter().take_while(|pair| pair.0.0 < events.end);
        let mut launched_by = vec![NONE; events.len()];
        let mut rows: Vec<(usize, EventId)> = Vec::new();
        let is_work = |id: EventId| kinds.get(id.index()).is_some_and(|kind| kind.is_device_work());
        for &(launch, work) in own {
            let call = call_of_event.get((launch.0 - events.start) as usize).copied().unwrap_or(NONE);
            if call == NONE {
                continue;
            }
            if is_work(work) {
                let slot = work.0.checked_sub(events.start).and_then(|place| launched_by.get_mut(place as usize));
                // Of several calls with one correlation id the first is the launch.
                if let Some(slot) = slot.filter(|slot| **slot == NONE) {
                    *slot = call;
                    if let Some(call) = self.calls.get_mut(call as usize) {
                        call.launches = true;
                    }
                }
            } else if kinds.get(work.index()) == Some(&EventKind::DeviceSync) {
                rows.push((call as usize, work));
            }
        }
        rows.sort_unstable();
        let align = |at: i64| (shared.clock)(rank, at, true);
        let call_of = |event: u32| launched_by.get((event - events.start) as usize).copied().unwrap_or(NONE);
        for (id, track) in trace.tracks_of(rank).filter(|(_, track)| track.kind == TrackKind::Stream) {
            let stream = self.streams.len() as u32;
            let found = device::read_stream(trace, track, &align, &self.calls, call_of, stream, &mut self.work);
            if let Some(mut stream) = found {
                stream.place = self.raw.places.len() as u32;
                self.raw.places.push(Place { rank, track: id, is_device: true });
                self.streams.push(stream);
            }
        }
        rows
    }

    fn thread_of(&self, event: EventId) -> Option<usize> {
        let (track, _) = self.shared.trace.track_of(event)?;
        self.threads.iter().position(|thread| thread.track == track)
    }

    fn mark_steps(&mut self, steps: &[StepMark]) {
        for mark in steps {
            let Some(place) = mark.event.and_then(|event| self.thread_of(event)) else { continue };
            if let Some(thread) = self.threads.get_mut(place) {
                thread.points.push((mark.start, PointKind::StepBegin(mark.step)));
                thread.points.push((mark.end, PointKind::StepEnd(mark.step)));
            }
        }
    }

    /// Members of collectives that are host events: threads wait there.
    fn mark_collectives(&mut self, rank: RankId) {
        let trace = self.shared.trace;
        let Some(events) = trace.rank(rank).map(|rank| rank.events.clone()) else { return };
        let first = self.shared.members.partition_point(|member| member.0.0 < events.start);
        let own = self.shared.members.get(first..).unwrap_or_default().iter();
        for &(event, _) in own.take_while(|member| member.0.0 < events.end) {
            let info = trace.event(event);
            if info.kind.is_device_work() {
                continue;
            }
            let Some(place) = self.thread_of(event) else { continue };
            let clock = |at: i64| (self.shared.clock)(rank, at, false);
            let span = (clock(info.start.nanos()), clock(info.end().nanos()));
            if let Some(thread) = self.threads.get_mut(place) {
                thread.points.push((span.0, PointKind::Arrived(event.0)));
                thread.points.push((span.1, PointKind::Transferred(event.0)));
            }
        }
    }

    /// Pairs of threads with arrows from forward to backward.
    fn linked_threads(&self, rank: RankId) -> Vec<(usize, usize)> {
        let trace = self.shared.trace;
        let Some(events) = trace.rank(rank).map(|rank| rank.events.clone()) else { return Vec::new() };
        let flows = trace.flows();
        let first = flows.partition_point(|flow| flow.from.0 < events.start);
        let own = flows.get(first..).unwrap_or_default().iter().take_while(|flow| flow.from.0 < events.end);
        let mut linked: BTreeMap<(usize, usize), u32> = BTreeMap::new();
        for flow in own.filter(|flow| trace.text(flow.category).contains("fwdbwd")) {
            if let (Some(from), Some(to)) = (self.thread_of(flow.from), self.thread_of(flow.to))
                && from != to
            {
                *linked.entry((from, to)).or_default() += 1;
            }
        }
        linked.into_keys().collect()
    }

    fn build_threads(&mut self) {
        // Without device work, threads are all there is.
        let is_wanted = self.work.is_empty();
        let mut nodes: FxHashMap<PointKindKey, u32> = FxHashMap::default();
        for thread in &mut self.threads {
            let found =
                anchors::build_thread(&mut self.raw, thread, &mut self.calls, is_wanted && !thread.busy.is_empty());
            for (kind, node) in found.nodes {
                match kind {
                    PointKind::StepBegin(step) => self.begins.push((step, node)),
                    PointKind::StepEnd(step) => self.ends.push((step, node)),
                    _ => {}
                }
                nodes.insert(key(kind), node);
            }
        }
        for (place, hand_off) in self.hand_offs.iter().enumerate() {
            let place = place as u32;
            let at = |kind: PointKind| nodes.get(&key(kind)).copied();
            let ends = [
                PointKind::Released(place),
                PointKind::Taken(place),
                PointKind::Done(place),
                PointKind::Resumed(place),
            ];
            let [Some(released), Some(taken), Some(done), Some(resumed)] = ends.map(at) else { continue };
            let (kind, evidence) = (EdgeKind::HandOff, Evidence::Inferred);
            self.raw.edge(released, Point::End, taken, hand_off.taken - hand_off.released, kind, evidence);
            self.raw.edge(done, Point::End, resumed, hand_off.resumed - hand_off.done, kind, evidence);
        }
        for &(event, instance) in self.shared.members {
            let at = |kind: PointKind| nodes.get(&key(kind)).copied();
            let (Some(arrival), Some(after)) = (at(PointKind::Arrived(event.0)), at(PointKind::Transferred(event.0)))
            else {
                continue;
            };
            let time = |node: u32| self.raw.nodes.get(node as usize).map_or(0, |node| node.start);
            let (start, end) = (time(arrival), time(after));
            let place = self.raw.nodes.get(arrival as usize).map_or(NONE, |node| node.place);
            let dur = end.saturating_sub(start);
            let transfer = self.raw.node(RawNode { start, dur, event: event.0, place, kind: NodeKind::Transfer });
            self.raw.edge(transfer, Point::End, after, 0, EdgeKind::Transfer, Evidence::Exact);
            self.joined.push((instance, Joined { arrival, transfer, start, end }));
        }
    }

    /// Nodes and edges of all streams, markers included.
    fn build_streams(&mut self) {
        let trace = self.shared.trace;
        let shortest = Shortest::new(trace, &self.work);
        let mut markers_of: Vec<Vec<usize>> = vec![Vec::new(); self.streams.len()];
        for (place, marker) in self.waits.markers.iter().enumerate() {
            if let Some(list) = markers_of.get_mut(marker.stream as usize) {
                list.push(place);
            }
        }
        // Markers come first, since work on one stream follows recordings on another; their times follow from edges.
        for marker in &mut self.waits.markers {
            let place = self.streams.get(marker.stream as usize).map_or(NONE, |stream| stream.place);
            let event = self.calls.get(marker.call).map_or(NONE, |call| call.event);
            marker.node = self.raw.node(RawNode { start: marker.submitted, dur: 0, event, place, kind: marker.kind() });
        }
        for stream in 0..self.streams.len() {
            let Some(range) = self.streams.get(stream).map(|stream| stream.work.clone()) else { break };
            let empty = Vec::new();
            let mut markers = markers_of.get(stream).unwrap_or(&empty).iter().copied().peekable();
            // The last marker since the last work, and whether any since then waits.
            let mut last_marker: Option<u32> = None;
            let mut waits = false;
            for (position, place) in range.clone().enumerate() {
                while let Some(marker) =
                    markers.next_if(|&m| self.waits.markers.get(m).is_some_and(|marker| marker.position <= position))
                {
                    last_marker = self.place_marker(marker, last_marker, &range);
                    waits |= self.waits.markers.get(marker).is_some_and(|marker| marker.source.is_some());
                }
                self.place_work(place, &range, &shortest);
                if let Some(marker) = last_marker.take()
                    && let Some(work) = self.work.get(place)
                    && std::mem::take(&mut waits)
                {
                    // What the stream waited for holds back the next work, and through it all that follows.
                    self.raw.edge(marker, Point::End, work.node, 0, EdgeKind::EventWait, Evidence::Exact);
                }
            }
            for marker in markers {
                last_marker = self.place_marker(marker, last_marker, &range);
            }
        }
        self.link_markers();
    }

    /// A marker follows what was submitted to its stream before it.
    fn place_marker(&mut self, place: usize, last: Option<u32>, range: &std::ops::Range<usize>) -> Option<u32> {
        let marker = *self.waits.markers.get(place)?;
        if let Some(last) = last {
            self.raw.edge(last, Point::End, marker.node, 0, EdgeKind::StreamOrder, Evidence::Exact);
        }
        if let Some(call) = self.calls.get(marker.call).filter(|call| call.node != NONE) {
            self.raw.edge(call.node, Point::Start, marker.node, 0, EdgeKind::Launch, Evidence::Exact);
        }
        let before = range.start + marker.position;
        let own = self.work.get(range.start..before).unwrap_or_default();
        // Of branches that run side by side the last to end counts.
        let last = own.iter().rev().take(64).max_by_key(|work| (work.end, work.event));
        if let Some(node) = last.map(|work| work.last).filter(|&node| node != NONE) {
            self.raw.edge(node, Point::End, marker.node, 0, EdgeKind::StreamOrder, Evidence::Exact);
        }
        Some(marker.node)
    }

    /// Waits follow recordings by the latency that the recording shows.
    fn link_markers(&mut self) {
        // When each marker was passed, as far as measured times tell.
        let mut times: Vec<i64> = Vec::with_capacity(self.waits.markers.len());
        let mut last_of_stream: FxHashMap<u32, i64> = FxHashMap::default();
        let mut samples: Vec<i64> = Vec::new();
        for marker in &self.waits.markers {
            let Some(stream) = self.streams.get(marker.stream as usize) else { continue };
            let own = self.own(stream);
            let ended = own.get(..marker.position).unwrap_or_default().iter().rev().take(64).map(|work| work.end).max();
            let earlier = last_of_stream.get(&marker.stream).copied();
            let recorded = marker.source.and_then(|source| times.get(source)).copied();
            let without = marker.submitted.max(ended.unwrap_or(i64::MIN)).max(earlier.unwrap_or(i64::MIN));
            let passed = recorded.map(|recorded| recorded.saturating_add(self.lookup.event_ns));
            let time = without.max(passed.unwrap_or(i64::MIN));
            if let (Some(recorded), Some(next)) = (recorded, own.get(marker.position))
                && recorded > without
            {
                let launched = next.submitted.saturating_add(self.lookup.device(marker.stream).launch_ns);
                let latency = next.start.saturating_sub(recorded);
                if launched < recorded && (-2_000..20_000).contains(&latency) {
                    samples.push(latency);
                }
            }
            last_of_stream.insert(marker.stream, time);
            times.push(time);
        }
        self.lookup.learn_events(&mut samples);
        for marker in &self.waits.markers {
            let source = marker.source.and_then(|source| self.waits.markers.get(source));
            if let Some(source) = source {
                let lag = self.lookup.event_ns;
                self.raw.edge(source.node, Point::End, marker.node, lag, EdgeKind::EventWait, Evidence::Exact);
            }
        }
    }

    fn place_work(&mut self, place: usize, range: &std::ops::Range<usize>, shortest: &Shortest) {
        let Some(&work) = self.work.get(place) else { return };
        let stream_place = self.streams.get(work.stream as usize).map_or(NONE, |stream| stream.place);
        let node = |kind: NodeKind, start: i64, end: i64| RawNode {
            start,
            dur: end.saturating_sub(start),
            event: work.event,
            place: stream_place,
            kind,
        };
        let (first, last) = if work.kind == NodeKind::Transfer {
            let arrival = self.raw.node(node(NodeKind::Arrival, work.start, work.start));
            let instance = self.shared.members.binary_search_by_key(&EventId(work.event), |member| member.0).ok();
            let instance = instance.and_then(|place| self.shared.members.get(place)).map(|member| member.1);
            if let Some(instance) = instance {
                // When it begins to move data is known when all ranks are there.
                let transfer = self.raw.node(node(NodeKind::Transfer, work.start, work.end));
                self.joined.push((instance, Joined { arrival, transfer, start: work.start, end: work.end }));
                (arrival, transfer)
            } else {
                let wait = shortest.wait_of(self.shared.trace, &work);
                let until = work.start.saturating_add(wait);
                let mut last = arrival;
                if wait > 0 {
                    last = self.raw.node(node(NodeKind::EstimatedWait, work.start, until));
                    self.raw.edge(arrival, Point::End, last, 0, EdgeKind::Transfer, Evidence::Assumed);
                }
                let transfer = self.raw.node(node(NodeKind::Transfer, until, work.end));
                self.raw.edge(last, Point::End, transfer, 0, EdgeKind::Transfer, Evidence::Assumed);
                (arrival, transfer)
            }
        } else {
            let own = self.raw.node(node(work.kind, work.start, work.end));
            (own, own)
        };
        if let Some(work) = self.work.get_mut(place) {
            work.node = first;
            work.last = last;
        }
        self.order_work(place, range);
    }

    /// Launch and stream order of a piece of work that has nodes.
    fn order_work(&mut self, place: usize, range: &std::ops::Range<usize>) {
        let Some(&work) = self.work.get(place) else { return };
        if let Some(call) = self.calls.get(work.call as usize).filter(|call| call.node != NONE) {
            let latency = self.lookup.launch(place, &work, call.name);
            self.raw.edge(call.node, Point::Start, work.node, latency, EdgeKind::Launch, Evidence::Exact);
        }
        let before = self.before.get(place).copied().unwrap_or_default();
        let at = |offset: Option<usize>| offset.and_then(|offset| self.work.get(range.start + offset)).copied();
        if let Some(last) = at(before.ended).filter(|last| last.last != NONE) {
            let same_launch = work.call != NONE && last.call == work.call;
            let kind = if same_launch { EdgeKind::GraphOrder } else { EdgeKind::StreamOrder };
            let gap = self.lookup.gap(place, &work, same_launch);
            // The recording shows the overlap of this very pair.
            let between = work.start.saturating_sub(last.end);
            self.raw.edge(
                last.last,
                Point::End,
                work.node,
                if between < 0 { between } else { gap },
                kind,
                Evidence::Exact,
            );
        }
        if let Some(beside) = at(before.beside).filter(|beside| beside.node != NONE) {
            self.raw.edge(beside.node, Point::Start, work.node, 0, EdgeKind::StreamOrder, Evidence::Exact);
        }
    }

    /// Calls that wait return after what they wait for.
    fn block_calls(&mut self) {
        for blocking in &self.waits.blocking {
            let Some(call) = self.calls.get(blocking.call).filter(|call| call.back != NONE) else { continue };
            for target in &blocking.targets {
                let (node, end) = match *target {
                    Item::Work(place) => self.work.get(place).map_or((NONE, 0), |work| (work.last, work.end)),
                    Item::Marker(place) => {
                        self.waits.markers.get(place).map_or((NONE, 0), |marker| (marker.node, marker.submitted))
                    }
                };
                if node == NONE {
                    continue;
                }
                let usual = self.lookup.return_ns(call.name);
                // A call that had nothing to wait for any more may have returned sooner after the end of the work.
                let lag = if end <= call.start { usual.min(call.end.saturating_sub(end)) } else { usual };
                self.raw.edge(node, Point::End, call.back, lag, EdgeKind::SyncReturn, blocking.evidence);
            }
        }
    }

    /// A step is complete when, on every stream, the last work that was launched in it has ended.
    fn end_steps(&mut self, steps: &[StepMark]) {
        for mark in steps {
            for stream in &self.streams {
                let own = self.work.get(stream.work.clone()).unwrap_or_default();
                let from = own.partition_point(|work| work.submitted < mark.start);
                let to = own.partition_point(|work| work.submitted < mark.end);
                let launched = own.get(from..to).unwrap_or_default().iter().filter(|work| work.call != NONE);
                if let Some(last) = launched.max_by_key(|work| (work.end, work.event)) {
                    self.ends.push((mark.step, last.last));
                }
            }
        }
    }
}

type PointKindKey = (u8, u32);

fn key(kind: PointKind) -> PointKindKey {
    match kind {
        PointKind::Idle => (0, 0),
        PointKind::RegionEnd => (1, 0),
        PointKind::StepEnd(place) => (2, place),
        PointKind::Taken(place) => (3, place),
        PointKind::Resumed(place) => (4, place),
        PointKind::Arrived(place) => (5, place),
        PointKind::Transferred(place) => (6, place),
        PointKind::Done(place) => (7, place),
        PointKind::StepBegin(place) => (8, place),
        PointKind::RegionBegin(_) => (9, 0),
        PointKind::Released(place) => (10, place),
    }
}
