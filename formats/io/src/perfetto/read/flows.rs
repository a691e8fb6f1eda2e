//! Arrows: flows by id, and joins of GPU work with the events that submit it or wait for it.

use std::convert::Infallible;

use gapless_trace::{EventKind, SourceId, StrId, WarningKind, Warnings};
use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::facts::Facts;
use super::gpu::Join;
use super::pair::{Ends, EventAt};
use super::resolve::{FlowPoint, NO_ID, Resolved};

/// Category of arrows that the file gives none.
const FLOW: &str = "flow";
/// Category of arrows from GPU work to the event that waits for it.
const GPU_WAIT: &str = "gpu_wait";

/// An arrow between events, before chunks are split by rank.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrow {
    pub from: EventAt,
    pub to: EventAt,
    /// Of the strings of the piece where it starts; `None` joins a launch with its device work.
    pub category: Option<StrId>,
}

/// A point of a flow on an event.
#[derive(Clone, Copy)]
struct Point {
    id: u64,
    time: i64,
    event: EventAt,
    terminates: bool,
}

/// The points of flows, to be gone through flow by flow.
struct Points {
    /// Piece and place in it, by id and then in the order of the file.
    order: Vec<(u32, u32)>,
}

impl Points {
    fn new(pieces: &[Resolved]) -> Self {
        let ids = || pieces.iter().flat_map(|piece| piece.flow_points.iter().map(|point| point.id));
        let (least, most, count) = ids().fold((u64::MAX, 0, 0), |(a, b, n), id| (a.min(id), b.max(id), n + 1));
        let places = || {
            (0..).zip(pieces).flat_map(|(number, piece)| {
                (0..).zip(&piece.flow_points).map(move |(place, point)| (point.id, (number, place)))
            })
        };
        // Hashes and addresses.
        if count >= u64::from(u32::MAX) || most.saturating_sub(least) >= 4 * count {
            let mut sorted: Vec<(u64, (u32, u32))> = places().collect();
            sorted.par_sort_unstable();
            return Self { order: sorted.into_iter().map(|(_, place)| place).collect() };
        }
        // Ids that count up, as our own writer's do, have their places.
        let mut ends = vec![0_u32; (most - least) as usize + 1];
        for id in ids() {
            if let Some(end) = ends.get_mut((id - least) as usize) {
                *end += 1;
            }
        }
        let mut sum = 0;
        for end in &mut ends {
            sum += std::mem::replace(end, sum);
        }
        let mut order = vec![(0, 0); count as usize];
        for (id, found) in places() {
            let Some(end) = ends.get_mut((id - least) as usize) else { continue };
            if let Some(place) = order.get_mut(*end as usize) {
                *place = found;
            }
            *end += 1;
        }
        Self { order }
    }

    /// Gives each flow's points in the order of time to `each`, which may change the pieces; and the number of points
    /// without an event.
    fn each_flow<E>(
        &self,
        pieces: &mut [Resolved],
        ends: &Ends<'_>,
        mut each: impl FnMut(&mut [Resolved], &[Point]) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut unbound = 0;
        let mut flow: Vec<Point> = Vec::new();
        for &(piece, place) in &self.order {
            let found = pieces.get(piece as usize).and_then(|piece| piece.flow_points.get(place as usize));
            let Some(&FlowPoint { id, time, record, event, terminates }) = found else { continue };
            if flow.first().is_some_and(|first| first.id != id) {
                flow.sort_by_key(|point| point.time);
                each(pieces, &flow)?;
                flow.clear();
            }
            let event = match event {
                u32::MAX => ends.event(piece, record),
                event => Some((piece, event)),
            };
            match event {
                Some(event) => flow.push(Point { id, time, event, terminates }),
                None => unbound += 1,
            }
        }
        if !flow.is_empty() {
            flow.sort_by_key(|point| point.time);
            each(pieces, &flow)?;
        }
        Ok(unbound)
    }
}

fn kind_of(pieces: &[Resolved], (piece, event): EventAt) -> EventKind {
    let kinds = pieces.get(piece as usize).map(|piece| &piece.chunk.kind);
    kinds.and_then(|kinds| kinds.get(event as usize)).copied().unwrap_or(EventKind::Other)
}

fn correlation(pieces: &[Resolved], (piece, event): EventAt) -> u32 {
    let ids = pieces.get(piece as usize).map(|piece| &piece.chunk.correlation);
    ids.and_then(|ids| ids.get(event as usize)).copied().unwrap_or(NO_ID)
}

/// Adds an arrow; launches are told by what the events are, and left out where their ids join them already.
fn add(pieces: &mut [Resolved], from: EventAt, to: EventAt, category: &str, arrows: &mut Vec<Arrow>) {
    let is_launch = kind_of(pieces, from).is_device_call() && kind_of(pieces, to).is_device_work();
    let ids = (correlation(pieces, from), correlation(pieces, to));
    if from == to || (is_launch && ids.0 == ids.1 && ids.0 != NO_ID) {
        return;
    }
    let category = match is_launch {
        true => None,
        false => pieces.get_mut(from.0 as usize).map(|piece| piece.chunk.strings.intern(category)),
    };
    arrows.push(Arrow { from, to, category });
}

/// The arrows of a trace of any writer. The first slice with an id starts a flow, later ones continue it until one
/// terminates it.
pub(super) fn arrows(pieces: &mut [Resolved], ends: &Ends<'_>, warnings: &mut Warnings) -> Vec<Arrow> {
    let mut arrows = Vec::new();
    let (mut without_start, mut without_end) = (0, 0);
    let Ok(unbound) = Points::new(pieces).each_flow(pieces, ends, |pieces, points| {
        let mut last: Option<EventAt> = None;
        let mut length = 0;
        for point in points {
            match last {
                Some(from) => {
                    length += 1;
                    add(pieces, from, point.event, FLOW, &mut arrows);
                }
                None if point.terminates => without_start += 1,
                None => length = 0,
            }
            last = (!point.terminates).then_some(point.event);
        }
        without_end += u64::from(last.is_some() && length == 0);
        Ok::<(), Infallible>(())
    });
    warnings.add_many(WarningKind::FlowUnbound, SourceId(0), unbound, None, "");
    warnings.add_many(WarningKind::FlowWithoutStart, SourceId(0), without_start, None, "");
    warnings.add_many(WarningKind::FlowWithoutEnd, SourceId(0), without_end, None, "");
    gpu_arrows(pieces, warnings, &mut arrows);
    arrows
}

/// Joins work of GPU queues with events by its id.
fn gpu_arrows(pieces: &mut [Resolved], warnings: &mut Warnings, arrows: &mut Vec<Arrow>) {
    if pieces.iter().all(|piece| piece.gpu.joins.is_empty()) {
        return;
    }
    let mut work: FxHashMap<u64, EventAt> = FxHashMap::default();
    for (number, piece) in pieces.iter().enumerate() {
        work.extend(piece.gpu.ids.iter().map(|&(id, event)| (id, (number as u32, event))));
    }
    let mut unbound = 0;
    for number in 0..pieces.len() {
        let joins = pieces.get_mut(number).map(|piece| std::mem::take(&mut piece.gpu.joins)).unwrap_or_default();
        for (event, id, how) in joins {
            let event = (number as u32, event);
            let Some(&found) = work.get(&id) else {
                unbound += 1;
                continue;
            };
            match how {
                // Whatever submits device work launches it.
                Join::Submits => arrows.push(Arrow { from: event, to: found, category: None }),
                Join::WaitsFor => add(pieces, found, event, GPU_WAIT, arrows),
            }
        }
    }
    warnings.add_many(WarningKind::FlowUnbound, SourceId(0), unbound, None, "work of a GPU that is not in the file");
}

/// The arrows of a trace that Gapless wrote; `Err` where they are not those that it wrote.
pub(super) fn restored(pieces: &mut [Resolved], ends: &Ends<'_>, facts: &Facts) -> Result<Vec<Arrow>, String> {
    let points = Points::new(pieces);
    let mut arrows = Vec::with_capacity(points.order.len() / 2);
    points.each_flow(pieces, ends, |pieces, points| {
        let [a, b] = points else { return Err("a flow does not have two ends".to_owned()) };
        let (first, other) = match (a.terminates, b.terminates) {
            (false, true) => (a, b),
            (true, false) => (b, a),
            _ => return Err("a flow does not have a start and an end".to_owned()),
        };
        let range = facts.flow(a.id).ok_or("a flow is not listed")?;
        let (from, to) = if range.is_reversed { (other, first) } else { (first, other) };
        let strings = pieces.get_mut(from.event.0 as usize).map(|piece| &mut piece.chunk.strings);
        let category = range.category.as_ref().zip(strings).map(|(category, strings)| strings.intern(category));
        arrows.push(Arrow { from: from.event, to: to.event, category });
        Ok(())
    })?;
    match arrows.len() as u64 == facts.flow_count() {
        true => Ok(arrows),
        false => Err("flows are missing".to_owned()),
    }
}
