//! Joining slices across pieces: ends with begins that lie in an earlier piece, and tracks whose events do not come
//! in the order of time.

use gapless_trace::{SourceId, WarningKind, Warnings};
use rustc_hash::{FxHashMap, FxHashSet};

use super::resolve::{NO_END, OPEN, Resolved};

/// An event: piece and place in it.
pub(super) type EventAt = (u32, u32);

/// Ends that were joined with an event of another piece, or anew: by piece and record.
pub(super) type Joined = FxHashMap<(u32, u32), EventAt>;

/// A begin or an end of a track whose times go back.
struct Edge {
    time: i64,
    piece: u32,
    record: u32,
    /// The event that begins; none for an end.
    begins: Option<u32>,
}

/// Joins all slices of `pieces`; gives where ends went that were not joined within their piece.
pub(super) fn join(pieces: &mut [Resolved], warnings: &mut Warnings) -> Joined {
    let mut by_uuid: FxHashMap<u64, Vec<EventAt>> = FxHashMap::default();
    let mut order: Vec<u64> = Vec::new();
    for (piece, resolved) in pieces.iter().enumerate() {
        for (lane, found) in resolved.lanes.iter().enumerate().filter(|(_, lane)| lane.first <= lane.last) {
            let places = by_uuid.entry(found.uuid).or_insert_with(|| {
                order.push(found.uuid);
                Vec::new()
            });
            places.push((piece as u32, lane as u32));
        }
    }
    let last_ns = last_time(pieces);
    let mut joined = Joined::default();
    let mut unordered: FxHashSet<EventAt> = FxHashSet::default();
    let mut unordered_tracks: Vec<u64> = Vec::new();
    let mut open_at_end = 0u64;
    for uuid in order {
        let Some(places) = by_uuid.get(&uuid) else { continue };
        if !is_ordered(pieces, places) {
            unordered.extend(places);
            unordered_tracks.push(uuid);
            continue;
        }
        let mut stack: Vec<EventAt> = Vec::new();
        let mut has_states = false;
        for &(piece, lane) in places {
            let Some(found) = pieces.get_mut(piece as usize).and_then(|found| found.lanes.get_mut(lane as usize))
            else {
                continue;
            };
            has_states |= found.has_states;
            let (ends, open) = (std::mem::take(&mut found.lone_ends), std::mem::take(&mut found.open));
            for end in ends {
                match stack.pop() {
                    Some(event) => {
                        set_end(pieces, event, end.time);
                        joined.insert((piece, end.record), event);
                    }
                    None if end.is_soft => {}
                    None => warnings.add(WarningKind::EndWithoutBegin, SourceId(0), None, ""),
                }
            }
            stack.extend(open.into_iter().map(|event| (piece, event)));
        }
        for event in stack {
            open_at_end += u64::from(!has_states);
            set_end(pieces, event, last_ns);
        }
    }
    if !unordered.is_empty() {
        let edges = edges_of(pieces, &unordered);
        for uuid in unordered_tracks {
            let Some(edges) = edges.get(&uuid) else { continue };
            let has_states = by_uuid.get(&uuid).is_some_and(|places| {
                places.iter().any(|&(piece, lane)| {
                    pieces
                        .get(piece as usize)
                        .and_then(|found| found.lanes.get(lane as usize))
                        .is_some_and(|lane| lane.has_states)
                })
            });
            open_at_end += pair_again(pieces, edges, has_states, last_ns, &mut joined, warnings);
        }
    }
    warnings.add_many(WarningKind::BeginWithoutEnd, SourceId(0), open_at_end, None, "");
    joined
}

/// Whether times never go back along the track.
fn is_ordered(pieces: &[Resolved], places: &[EventAt]) -> bool {
    let mut last = i64::MIN;
    places.iter().all(|&(piece, lane)| {
        let found = pieces.get(piece as usize).and_then(|found| found.lanes.get(lane as usize));
        found.is_none_or(|lane| {
            let follows = lane.is_ordered && lane.first >= last;
            last = lane.last;
            follows
        })
    })
}

/// The last time of any event.
fn last_time(pieces: &[Resolved]) -> i64 {
    let of_piece = |piece: &Resolved| {
        let lanes = piece.lanes.iter().map(|lane| lane.last).max().unwrap_or(i64::MIN);
        let ends = piece.chunk.start.iter().zip(&piece.chunk.dur);
        ends.map(|(start, dur)| start.saturating_add((*dur).max(0))).max().unwrap_or(i64::MIN).max(lanes)
    };
    pieces.iter().map(of_piece).max().unwrap_or(0)
}

fn set_end(pieces: &mut [Resolved], (piece, event): EventAt, time: i64) {
    let Some(chunk) = pieces.get_mut(piece as usize).map(|piece| &mut piece.chunk) else { return };
    if let (Some(start), Some(dur)) = (chunk.start.get(event as usize), chunk.dur.get_mut(event as usize)) {
        *dur = time.saturating_sub(*start).max(0);
    }
}

/// All begins and ends of the tracks `unordered`, by track, in the order of time; equal times in that of the file.
fn edges_of(pieces: &mut [Resolved], unordered: &FxHashSet<EventAt>) -> FxHashMap<u64, Vec<Edge>> {
    let mut edges: FxHashMap<u64, Vec<Edge>> = FxHashMap::default();
    for (number, piece) in pieces.iter_mut().enumerate() {
        let number = number as u32;
        let is_wanted: Vec<Option<u64>> = piece
            .outs
            .iter()
            .map(|out| {
                let lane = piece.lanes.get(out.lane as usize)?;
                unordered.contains(&(number, out.lane)).then_some(lane.uuid)
            })
            .collect();
        for (lane, found) in piece.lanes.iter_mut().enumerate() {
            if unordered.contains(&(number, lane as u32)) {
                let list = edges.entry(found.uuid).or_default();
                let ends = found.lone_ends.drain(..);
                list.extend(ends.map(|end| Edge { time: end.time, piece: number, record: end.record, begins: None }));
                found.open.clear();
            }
        }
        if is_wanted.iter().all(Option::is_none) {
            continue;
        }
        for event in 0..piece.chunk.len() {
            let track = piece.chunk.track.get(event).copied().unwrap_or(u32::MAX);
            let Some(Some(uuid)) = is_wanted.get(track as usize) else { continue };
            let (Some(&time), Some(dur), Some(&begin), Some(end)) = (
                piece.chunk.start.get(event),
                piece.chunk.dur.get_mut(event),
                piece.begins.get(event),
                piece.ends.get_mut(event),
            ) else {
                continue;
            };
            if *dur != OPEN && *end == NO_END {
                continue;
            }
            let list = edges.entry(*uuid).or_default();
            list.push(Edge { time, piece: number, record: begin, begins: Some(event as u32) });
            if *end != NO_END {
                let until = time.saturating_add(*dur);
                list.push(Edge { time: until, piece: number, record: *end, begins: None });
            }
            (*dur, *end) = (OPEN, NO_END);
        }
    }
    for list in edges.values_mut() {
        // A state ends the one before with the record that begins it.
        list.sort_by_key(|edge| (edge.time, edge.piece, edge.record, edge.begins.is_some()));
    }
    edges
}

/// Pairs `edges`; gives how many slices have no end.
fn pair_again(
    pieces: &mut [Resolved],
    edges: &[Edge],
    has_states: bool,
    last_ns: i64,
    joined: &mut Joined,
    warnings: &mut Warnings,
) -> u64 {
    let mut stack: Vec<EventAt> = Vec::new();
    for edge in edges {
        match edge.begins {
            Some(event) => {
                // In the order of time, a state ends what was open though the file had it later.
                if has_states {
                    for open in stack.drain(..) {
                        set_end(pieces, open, edge.time);
                    }
                }
                stack.push((edge.piece, event));
            }
            None => match stack.pop() {
                Some(event) => {
                    set_end(pieces, event, edge.time);
                    joined.insert((edge.piece, edge.record), event);
                }
                None if has_states => {}
                None => warnings.add(WarningKind::EndWithoutBegin, SourceId(0), None, ""),
            },
        }
    }
    let open = if has_states { 0 } else { stack.len() as u64 };
    for event in stack {
        set_end(pieces, event, last_ns);
    }
    open
}

/// Finds the event that a record ended.
pub(super) struct Ends<'a> {
    joined: &'a Joined,
    /// By piece: event by record.
    of: FxHashMap<u32, FxHashMap<u32, u32>>,
}

impl<'a> Ends<'a> {
    /// Looks into the pieces in which ends carry more than a time.
    pub fn new(pieces: &[Resolved], joined: &'a Joined) -> Self {
        let carries = |piece: &Resolved| {
            !piece.end_args.is_empty() || piece.flow_points.iter().any(|point| point.event == u32::MAX)
        };
        let of = pieces.iter().enumerate().filter(|(_, piece)| carries(piece)).map(|(number, piece)| {
            let ends = piece.ends.iter().enumerate().filter(|(_, end)| **end != NO_END);
            (number as u32, ends.map(|(event, &end)| (end, event as u32)).collect())
        });
        Self { joined, of: of.collect() }
    }

    /// The event that `record` of `piece` ended.
    pub fn event(&self, piece: u32, record: u32) -> Option<EventAt> {
        let within = self.of.get(&piece).and_then(|of| of.get(&record)).map(|&event| (piece, event));
        self.joined.get(&(piece, record)).copied().or(within)
    }
}
