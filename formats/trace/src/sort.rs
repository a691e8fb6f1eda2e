//! Sorting: events by track, row and start, and every column after them.

use std::ops::Range;

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use crate::build::{Built, KindOfName, remap};
use crate::events::NO_ID;
use crate::lanes::{Place, place};
use crate::{EventKind, RawChunk, Row, StrId, TrackId};

/// Where a raw event lies: chunk (high half) and place in it (low half).
pub(crate) type Loc = u64;

pub(crate) fn loc(chunk: usize, place: usize) -> Loc {
    ((chunk as u64) << 32) | place as u64
}

/// Sorts events by track, row and start; fills the time columns and rows; gives where each event lies.
pub(crate) fn sort_events(
    chunks: &[RawChunk],
    track_of: &(dyn Fn(usize, u32) -> u32 + Sync),
    base_ns: i64,
    built: &mut Built,
) -> Vec<Loc> {
    let tracks = built.tracks.len();
    let mut counts = vec![0usize; tracks];
    let maps: Vec<Vec<u32>> = chunks
        .iter()
        .enumerate()
        .map(|(index, chunk)| {
            let most = chunk.track.iter().copied().max().map_or(0, |most| most as usize + 1);
            (0..most as u32).map(|place| track_of(index, place)).collect()
        })
        .collect();
    for (chunk, map) in chunks.iter().zip(&maps) {
        for place in &chunk.track {
            let track = map.get(*place as usize).copied().unwrap_or_default();
            if let Some(count) = counts.get_mut(track as usize) {
                *count += 1;
            }
        }
    }
    let mut next = Vec::with_capacity(tracks);
    let mut total = 0usize;
    for &count in &counts {
        next.push(total);
        total += count;
    }
    let ranges: Vec<Range<usize>> = next.iter().zip(&counts).map(|(&from, &count)| from..from + count).collect();
    let mut order: Vec<Loc> = vec![0; total];
    for (index, (chunk, map)) in chunks.iter().zip(&maps).enumerate() {
        for (place, of_chunk) in chunk.track.iter().enumerate() {
            let track = map.get(*of_chunk as usize).copied().unwrap_or_default() as usize;
            if let Some(slot) = next.get_mut(track) {
                if let Some(target) = order.get_mut(*slot) {
                    *target = loc(index, place);
                }
                *slot += 1;
            }
        }
    }

    let mut start = vec![0i64; total];
    let mut dur = vec![0i64; total];
    // Each track works on its own stretch of the columns.
    let mut work = Vec::with_capacity(tracks);
    let (mut order_rest, mut start_rest, mut dur_rest) =
        (order.as_mut_slice(), start.as_mut_slice(), dur.as_mut_slice());
    for &count in &counts {
        let (order_here, rest) = order_rest.split_at_mut(count);
        order_rest = rest;
        let (start_here, rest) = start_rest.split_at_mut(count);
        start_rest = rest;
        let (dur_here, rest) = dur_rest.split_at_mut(count);
        dur_rest = rest;
        work.push((order_here, start_here, dur_here));
    }
    let rows: Vec<Vec<(Place, usize)>> =
        work.into_par_iter().map(|(order, start, dur)| sort_track(chunks, order, start, dur, base_ns)).collect();

    for ((index, track), (rows, range)) in built.tracks.iter_mut().enumerate().zip(rows.iter().zip(&ranges)) {
        let first_row = built.rows.len() as u32;
        let mut from = range.start as u32;
        for (place, count) in rows {
            let to = from + *count as u32;
            built.rows.push(Row {
                track: TrackId(index as u32),
                lane: place.lane,
                depth: place.depth as u16,
                events: from..to,
            });
            from = to;
        }
        track.rows = first_row..built.rows.len() as u32;
        track.events = range.start as u32..range.end as u32;
        track.lanes = rows.iter().map(|(place, _)| place.lane + 1).max().unwrap_or(0);
    }
    built.events.start = start;
    built.events.dur = dur;
    order
}

/// Sorts one track by row and start; gives its rows with their lengths.
fn sort_track(
    chunks: &[RawChunk],
    order: &mut [Loc],
    start: &mut [i64],
    dur: &mut [i64],
    base_ns: i64,
) -> Vec<(Place, usize)> {
    let time_of = |at: Loc| -> (i64, i64) {
        let chunk = chunks.get((at >> 32) as usize);
        let place = (at & u64::from(u32::MAX)) as usize;
        let column = |get: fn(&RawChunk) -> &Vec<i64>| {
            chunk.and_then(|chunk| get(chunk).get(place)).copied().unwrap_or_default()
        };
        (column(|chunk| &chunk.start), column(|chunk| &chunk.dur))
    };
    let mut keyed: Vec<(i64, i64, Loc)> = order
        .iter()
        .map(|&at| {
            let (start, dur) = time_of(at);
            (start.saturating_add(base_ns), -dur, at)
        })
        .collect();
    if !keyed.is_sorted() {
        // Stable, because traces come in long sorted runs, which a merge sort uses.
        keyed.sort();
    }
    let places = place(keyed.iter().map(|&(start, minus_dur, _)| (start, start.saturating_sub(minus_dur))));
    let mut rows: Vec<(Place, usize)> = Vec::new();
    let single = places.iter().all(|place| *place == Place::default());
    if single {
        if !keyed.is_empty() {
            rows.push((Place::default(), keyed.len()));
        }
        for (index, &(at_ns, minus_dur, at)) in keyed.iter().enumerate() {
            put(order, start, dur, index, at, at_ns, -minus_dur);
        }
        return rows;
    }
    let mut row_index: FxHashMap<(u32, u32), u32> = FxHashMap::default();
    let mut row_of: Vec<u32> = Vec::with_capacity(places.len());
    for place in &places {
        let row = *row_index.entry((place.lane, place.depth)).or_insert_with(|| {
            rows.push((*place, 0));
            rows.len() as u32 - 1
        });
        row_of.push(row);
        if let Some(row) = rows.get_mut(row as usize) {
            row.1 += 1;
        }
    }
    let mut sorted: Vec<u32> = (0..rows.len() as u32).collect();
    sorted.sort_by_key(|&row| rows.get(row as usize).map(|row| row.0));
    let mut next = vec![0usize; rows.len()];
    let mut from = 0;
    for &row in &sorted {
        if let (Some(slot), Some(row)) = (next.get_mut(row as usize), rows.get(row as usize)) {
            *slot = from;
            from += row.1;
        }
    }
    for (&(at_ns, minus_dur, at), &row) in keyed.iter().zip(&row_of) {
        if let Some(slot) = next.get_mut(row as usize) {
            put(order, start, dur, *slot, at, at_ns, -minus_dur);
            *slot += 1;
        }
    }
    sorted.iter().filter_map(|&row| rows.get(row as usize).copied()).collect()
}

fn put(order: &mut [Loc], start: &mut [i64], dur: &mut [i64], index: usize, at: Loc, start_ns: i64, dur_ns: i64) {
    if let (Some(order), Some(start), Some(dur)) = (order.get_mut(index), start.get_mut(index), dur.get_mut(index)) {
        (*order, *start, *dur) = (at, start_ns, dur_ns);
    }
}

/// Fills the other columns in the order found.
pub(crate) fn gather(
    chunks: &[RawChunk],
    maps: &[Vec<StrId>],
    order: &[Loc],
    kinds: &KindOfName,
    paired_chunk: usize,
    built: &mut Built,
) {
    let split = |at: Loc| ((at >> 32) as usize, (at & u64::from(u32::MAX)) as usize);
    let strings = |column: fn(&RawChunk) -> &Vec<StrId>| -> Vec<StrId> {
        order
            .par_iter()
            .map(|&at| {
                let (chunk, place) = split(at);
                let id = chunks.get(chunk).and_then(|chunk| column(chunk).get(place)).copied().unwrap_or_default();
                if chunk == paired_chunk { id } else { maps.get(chunk).map_or(id, |map| remap(map, id)) }
            })
            .collect()
    };
    let numbers = |column: fn(&RawChunk) -> &Vec<u32>| -> Vec<u32> {
        order
            .par_iter()
            .map(|&at| {
                let (chunk, place) = split(at);
                chunks.get(chunk).and_then(|chunk| column(chunk).get(place)).copied().unwrap_or(NO_ID)
            })
            .collect()
    };
    let events = &mut built.events;
    events.name = strings(|chunk| &chunk.name);
    events.category = strings(|chunk| &chunk.category);
    events.correlation = numbers(|chunk| &chunk.correlation);
    events.external = numbers(|chunk| &chunk.external);
    events.args = order
        .par_iter()
        .map(|&at| {
            let (chunk, place) = split(at);
            chunks.get(chunk).and_then(|chunk| chunk.args.get(place)).copied().unwrap_or_default()
        })
        .collect();
    events.kind = order
        .par_iter()
        .zip(&events.name)
        .map(|(&at, &name)| {
            let (chunk, place) = split(at);
            let kind = chunks.get(chunk).and_then(|chunk| chunk.kind.get(place)).copied().unwrap_or(EventKind::Other);
            kinds.refine(kind, name)
        })
        .collect();
}
