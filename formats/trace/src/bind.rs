//! Binding: launches to device work by correlation id, flow points to the events they lie on.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::build::{Built, TrackKey};
use crate::events::NO_ID;
use crate::{EventId, EventKind, Flow, RawFlow, RawId, SourceId, TrackKind, WarningKind};
use rayon::prelude::*;

/// Joins device calls and device work of equal correlation id.
///
/// Several calls may share an id (a driver call inside a runtime call, or an id that is used again): the last one
/// begun before the work launches it, as a whole with the call that holds it.
pub(crate) fn bind_links(built: &mut Built) {
    let events = &built.events;
    let with_id = |wanted: fn(EventKind) -> bool| -> Vec<(u32, i64, i64, u32)> {
        let mut found: Vec<_> = events
            .correlation
            .par_iter()
            .zip(&events.kind)
            .enumerate()
            .filter(|(_, (id, kind))| **id != NO_ID && wanted(**kind))
            .map(|(index, (&id, _))| {
                let time = |column: &[i64]| column.get(index).copied().unwrap_or_default();
                (id, time(&events.start), -time(&events.dur), index as u32)
            })
            .collect();
        found.par_sort_unstable();
        found
    };
    // Work whose launch the file names exactly has it already.
    let linked: FxHashSet<u32> = built.links.iter().map(|link| link.1.0).collect();
    let calls = with_id(EventKind::is_device_call);
    let works = with_id(|kind| kind.is_device_work() || kind == EventKind::DeviceSync);
    // For each call the outermost one of its id that holds it: that one launches.
    let mut outermost: Vec<u32> = Vec::with_capacity(calls.len());
    for (place, call) in calls.iter().enumerate() {
        let end = |call: &(u32, i64, i64, u32)| call.1.saturating_sub(call.2);
        let holder = outermost.last().copied().filter(|&holder| {
            calls.get(holder as usize).is_some_and(|held| held.0 == call.0 && end(held) >= end(call))
        });
        outermost.push(holder.unwrap_or(place as u32));
    }
    let (mut orphans, mut early) = (0u64, 0u64);
    let mut first = 0;
    for &(id, start, _, device) in works.iter().filter(|work| !linked.contains(&work.3)) {
        while calls.get(first).is_some_and(|call| call.0 < id) {
            first += 1;
        }
        // Ids may be used again later in a recording: the last call begun before the work is its launch.
        let of_id = calls.get(first..).unwrap_or_default();
        let begun = of_id.partition_point(|call| (call.0, call.1) <= (id, start));
        let place = first + begun.saturating_sub(1);
        let call = calls.get(place).filter(|call| call.0 == id).and_then(|_| outermost.get(place));
        let is_work = events.kind.get(device as usize).is_some_and(|kind| kind.is_device_work());
        match call.and_then(|&place| calls.get(place as usize)) {
            Some(&(_, call_start, _, call)) => {
                built.links.push((EventId(call), EventId(device)));
                early += u64::from(start < call_start && is_work);
            }
            None => orphans += u64::from(is_work),
        }
    }
    let unnumbered = events.kind.iter().zip(&events.correlation).enumerate().filter(|(index, (kind, id))| {
        kind.is_device_work() && **id == NO_ID && (linked.is_empty() || !linked.contains(&(*index as u32)))
    });
    orphans += unnumbered.count() as u64;
    built.warnings.add_many(WarningKind::DeviceWorkWithoutLaunch, SourceId(0), orphans, None, "");
    built.warnings.add_many(WarningKind::DeviceWorkBeforeLaunch, SourceId(0), early, None, "");
}

/// Binds flow points, given by chunk; `adopt` moves one to the rank's own ids and clock. Launch flows that a launch
/// link represents, most of all, are dropped where they are; the others become [`Flow`]s.
pub(crate) fn bind_flows(
    chunks: &[Vec<RawFlow>],
    adopt: &(dyn Fn(usize, &RawFlow) -> RawFlow + Sync),
    keys: &[TrackKey],
    built: &mut Built,
) {
    if chunks.iter().all(Vec::is_empty) {
        return;
    }
    let linked = ids_of(built.links.iter().filter_map(|link| {
        let id = built.events.correlation.get(link.1.index()).copied()?;
        (id != NO_ID).then_some(i64::from(id))
    }));
    let int = |flow: &RawFlow| match flow.id {
        RawId::Int(id) => Some(id),
        _ => None,
    };
    let started = ids_of(chunks.iter().flatten().filter(|flow| flow.is_launch && flow.phase == b's').filter_map(int));
    let of_chunk = |(chunk, flows): (usize, &Vec<RawFlow>)| {
        let mut without_start = (0u64, None);
        let rest = flows.iter().filter(|flow| {
            let Some(id) = int(flow).filter(|_| flow.is_launch) else { return true };
            if linked.contains(id) {
                return false;
            }
            let has_no_start = flow.phase == b'f' && !started.contains(id);
            if has_no_start {
                without_start = (without_start.0 + 1, without_start.1.or(Some(flow.offset)));
            }
            !has_no_start
        });
        let rest: Vec<RawFlow> = rest.map(|flow| adopt(chunk, flow)).collect();
        (rest, without_start)
    };
    let sifted: Vec<_> = chunks.par_iter().enumerate().map(of_chunk).collect();
    let without_start = sifted.iter().fold((0, None), |sum, (_, more)| (sum.0 + more.0, sum.1.or(more.1)));
    let mut rest: Vec<RawFlow> = sifted.into_iter().flat_map(|entry| entry.0).collect();
    built.warnings.add_many(WarningKind::FlowWithoutStart, SourceId(0), without_start.0, without_start.1, "");

    // Points of one flow in the order of time; a start comes before an end at the same time.
    let step = |phase: u8| match phase {
        b's' => 0u8,
        b't' => 1,
        _ => 2,
    };
    rest.par_sort_by_key(|flow| (flow.category, flow.name, flow.id, flow.time, step(flow.phase)));
    let siblings = tracks_by_key(keys, built);
    let mut bound = events_under(built, &siblings, &rest).into_iter();
    for points in rest.chunk_by(|a, b| (a.category, a.name, a.id) == (b.category, b.name, b.id)) {
        let mut last: Option<EventId> = None;
        let mut open = false;
        for point in points {
            let event = bound.next().flatten();
            if point.phase == b's' {
                if open {
                    built.warnings.add(WarningKind::FlowWithoutEnd, SourceId(0), Some(point.offset), "");
                }
                (open, last) = (true, None);
            } else if !open {
                built.warnings.add(WarningKind::FlowWithoutStart, SourceId(0), Some(point.offset), "");
                continue;
            }
            let Some(event) = event else {
                built.warnings.add(WarningKind::FlowUnbound, SourceId(0), Some(point.offset), "");
                open = point.phase != b'f' && open;
                continue;
            };
            if let Some(from) = last {
                built.flows.push(Flow { from, to: event, category: point.category });
            }
            last = Some(event);
            open = point.phase != b'f';
        }
        if open && let Some(point) = points.last() {
            built.warnings.add(WarningKind::FlowWithoutEnd, SourceId(0), Some(point.offset), "");
        }
    }
}

/// A set of ids: bits where they are small, hashes where they are not.
struct IdSet {
    bits: Vec<u64>,
    wide: FxHashMap<i64, ()>,
}

/// Ids up to this are kept as bits (32 MiB at most).
const MOST_BITS: i64 = 1 << 28;

fn ids_of(ids: impl Iterator<Item = i64>) -> IdSet {
    let mut set = IdSet { bits: Vec::new(), wide: FxHashMap::default() };
    for id in ids {
        if (0..MOST_BITS).contains(&id) {
            let word = (id / 64) as usize;
            if set.bits.len() <= word {
                set.bits.resize(word + 1, 0);
            }
            if let Some(bits) = set.bits.get_mut(word) {
                *bits |= 1 << (id % 64);
            }
        } else {
            set.wide.insert(id, ());
        }
    }
    set
}

impl IdSet {
    fn contains(&self, id: i64) -> bool {
        if (0..MOST_BITS).contains(&id) {
            self.bits.get((id / 64) as usize).is_some_and(|word| word >> (id % 64) & 1 == 1)
        } else {
            self.wide.contains_key(&id)
        }
    }
}

/// The tracks at the process and thread of each key.
fn tracks_by_key(keys: &[TrackKey], built: &Built) -> Vec<Vec<u32>> {
    let mut by_place: FxHashMap<(RawId, RawId), Vec<u32>> = FxHashMap::default();
    for (index, track) in built.tracks.iter().enumerate() {
        let can_hold = matches!(
            track.kind,
            TrackKind::Thread | TrackKind::Stream | TrackKind::StreamSyncs | TrackKind::ProfilerSpans
        );
        if can_hold && let Some(process) = built.processes.get(track.process.index()) {
            by_place.entry((process.pid, track.tid)).or_default().push(index as u32);
        }
    }
    keys.iter().map(|key| by_place.get(&(key.1, key.2)).cloned().unwrap_or_default()).collect()
}

/// Rows of a place above which its points are not searched for one by one: a damaged file may nest as deep as it has events.
const MANY_ROWS: usize = 128;

/// The innermost event at the place and time of each point; see [`event_under`].
fn events_under(built: &Built, siblings: &[Vec<u32>], points: &[RawFlow]) -> Vec<Option<EventId>> {
    let tracks = |place: usize| siblings.get(place).into_iter().flatten();
    let rows = |track: &u32| built.tracks.get(*track as usize).map_or(0, |track| track.rows.len());
    let has_many: Vec<bool> =
        (0..siblings.len()).map(|place| tracks(place).map(rows).sum::<usize>() > MANY_ROWS).collect();
    let is_many = |point: &RawFlow| has_many.get(point.track as usize) == Some(&true);
    let mut found: Vec<Option<EventId>> = points
        .par_iter()
        .map(|point| if is_many(point) { None } else { event_under(built, siblings, point) })
        .collect();
    let mut by_place: BTreeMap<u32, Vec<(i64, usize)>> = BTreeMap::new();
    for (number, point) in points.iter().enumerate().filter(|(_, point)| is_many(point)) {
        by_place.entry(point.track).or_default().push((point.time, number));
    }
    let by_place: Vec<(u32, Vec<(i64, usize)>)> = by_place.into_iter().collect();
    let of_places: Vec<Vec<(usize, Option<EventId>)>> =
        by_place.into_par_iter().map(|(place, points)| sweep(built, siblings, place, points)).collect();
    for (number, event) in of_places.into_iter().flatten() {
        if let Some(found) = found.get_mut(number) {
            *found = event;
        }
    }
    found
}

/// [`event_under`] for all points (time, number) of one place. O((events + points) × log).
fn sweep(
    built: &Built,
    siblings: &[Vec<u32>],
    place: u32,
    mut points: Vec<(i64, usize)>,
) -> Vec<(usize, Option<EventId>)> {
    let tracks =
        siblings.get(place as usize).into_iter().flatten().filter_map(|&index| built.tracks.get(index as usize));
    let rows = tracks.filter_map(|track| built.rows.get(track.rows.start as usize..track.rows.end as usize)).flatten();
    // Of two that begin together the deeper one, else the first one; so the latest to begin lies on top of the heap.
    let mut events: Vec<(i64, u16, Reverse<usize>, usize)> = Vec::new();
    for row in rows {
        for event in row.indices() {
            let Some(&start) = built.events.start.get(event) else { continue };
            events.push((start, row.depth, Reverse(events.len()), event));
        }
    }
    events.sort_unstable();
    points.sort_unstable();
    let mut events = events.into_iter().peekable();
    let mut begun = BinaryHeap::new();
    let mut found = Vec::with_capacity(points.len());
    for (time, number) in points {
        while let Some(event) = events.next_if(|event| event.0 <= time) {
            begun.push(event);
        }
        // Points ascend: what has ended before this one is over for all that follow.
        while begun.peek().is_some_and(|event| built.events.end_at(event.3) < time) {
            begun.pop();
        }
        found.push((number, begun.peek().map(|event| EventId(event.3 as u32))));
    }
    found
}

/// The innermost event at the point's place and time; one that begins there wins over one that began before.
fn event_under(built: &Built, siblings: &[Vec<u32>], point: &RawFlow) -> Option<EventId> {
    let mut best: Option<(i64, u16, EventId)> = None;
    for &index in siblings.get(point.track as usize)? {
        let track = built.tracks.get(index as usize)?;
        let rows = built.rows.get(track.rows.start as usize..track.rows.end as usize)?;
        let mut left_out = None;
        for row in rows {
            if left_out == Some(row.lane) {
                continue;
            }
            let range = row.indices();
            let starts = built.events.start.get(range.clone())?;
            let begun = starts.partition_point(|&start| start <= point.time).checked_sub(1);
            let event = begun.map(|offset| range.start + offset);
            let Some(event) = event.filter(|&event| built.events.end_at(event) >= point.time) else {
                // What no event of this row covers, none below it does.
                left_out = Some(row.lane);
                continue;
            };
            let start = built.events.start.get(event).copied()?;
            if best.is_none_or(|(s, d, _)| (start, row.depth) > (s, d)) {
                best = Some((start, row.depth, EventId(event as u32)));
            }
        }
    }
    best.map(|(_, _, event)| event)
}

/// How many times the middle 98 % an event may lie outside of it before it is called suspicious.
const FAR: i64 = 1_000;

/// Counts events that lie or last far outside the rest: a clock went wrong while recording.
pub(crate) fn note_suspicious_times(built: &mut Built) {
    let starts = &built.events.start;
    let stride = (starts.len() / 4_096).max(1);
    let mut sample: Vec<i64> = starts.iter().copied().step_by(stride).collect();
    if sample.len() < 16 {
        return;
    }
    sample.sort_unstable();
    let at = |percent: usize| sample.get(sample.len() * percent / 100).copied().unwrap_or_default();
    let (low, high) = (at(1), at(99));
    let far = high.saturating_sub(low).max(1_000_000_000).saturating_mul(FAR);
    let (earliest, latest) = (low.saturating_sub(far), high.saturating_add(far));
    let outside = (0..starts.len()).into_par_iter().filter(|&index| {
        starts.get(index).is_some_and(|&start| start < earliest) || built.events.end_at(index) > latest
    });
    let found: Vec<usize> = outside.collect();
    if let Some(&first) = found.first() {
        let offset = built.events.args.get(first).filter(|args| !args.is_empty()).map(|args| args.offset());
        built.warnings.add_many(WarningKind::SuspiciousTime, SourceId(0), found.len() as u64, offset, "");
    }
}
