//! Waits between streams where the recording has no synchronisation rows.
//!
//! Work that begins late for no reason, just after work on another stream ended, probably waited for it. One such case
//! is chance; it counts when the same pair of kernels and streams shows it in at least 80 % of the steps, or when a call
//! made the stream wait for some event between the two launches.

use std::collections::BTreeMap;

use gapless_trace::StrId;

use super::rank::Builder;
use super::{EdgeKind, Evidence, NONE, Point};

/// What waited ends this long before the work begins, at most.
const WINDOW_NS: i64 = 40_000;
/// And this long after, by rounding.
const ROUNDING_NS: i64 = 1_000;
/// In this share of the steps a pair must recur.
const RECURRING_PERCENT: usize = 80;
/// A pair seen in fewer steps proves nothing by recurring.
const MIN_STEPS: usize = 3;

/// Kernel that waits, kernel that it waits for, and their streams.
type Key = (StrId, StrId, u32, u32);

#[derive(Clone, Copy, Debug)]
struct Case {
    work: usize,
    source: usize,
    lag: i64,
    /// A call made the stream wait for an event just before.
    has_call: bool,
}

pub(super) fn waits(builder: &mut Builder<'_>) {
    let work = &builder.work;
    let limit = builder.shared.options.device_limit_ns;
    let mut by_end: Vec<u32> = (0..work.len() as u32).collect();
    by_end.sort_unstable_by_key(|&place| work.get(place as usize).map(|work| (work.end, work.event)));
    let mut cases: BTreeMap<Key, Vec<Case>> = BTreeMap::new();
    for stream in &builder.streams {
        for place in stream.work.clone() {
            let (Some(piece), Some(before)) = (work.get(place), builder.before.get(place)) else { continue };
            let Some(call) = builder.calls.get(piece.call as usize) else { continue };
            let last = before.ended.and_then(|last| work.get(stream.work.start + last));
            if last.is_some_and(|last| last.call == piece.call) || before.beside.is_some() {
                continue;
            }
            let launched = call.start.saturating_add(builder.lookup.launch(place, piece, call.name));
            let gap = builder.lookup.gap(place, piece, false);
            let freed = last.map_or(i64::MIN, |last| last.end.saturating_add(gap));
            if piece.start.saturating_sub(launched.max(freed)) < limit {
                continue;
            }
            let at = |place: u32| work.get(place as usize);
            let to = piece.start.saturating_add(ROUNDING_NS);
            let count = by_end.partition_point(|&place| at(place).is_some_and(|work| work.end <= to));
            let ended = by_end.get(..count).unwrap_or_default().iter().rev();
            let mut ended =
                ended.take_while(|&&place| at(place).is_some_and(|work| work.end >= piece.start - WINDOW_NS));
            let fits = |place: u32| {
                at(place).is_some_and(|work| {
                    work.stream != piece.stream && work.start < piece.start && work.submitted <= call.start
                })
            };
            let Some(&source) = ended.find(|&&place| fits(place)) else { continue };
            let Some(cause) = at(source) else { continue };
            let since = last.map_or(i64::MIN, |last| last.submitted);
            let unknown = &builder.waits.unknown;
            let next = unknown.partition_point(|wait| *wait <= (call.thread, since));
            let has_call = unknown.get(next).is_some_and(|wait| wait.0 == call.thread && wait.1 < call.start);
            let case = Case {
                work: place,
                source: source as usize,
                lag: piece.start.saturating_sub(cause.end).max(0),
                has_call,
            };
            cases.entry((piece.name, cause.name, piece.stream, cause.stream)).or_default().push(case);
        }
    }
    let steps: Vec<(i64, i64)> = builder.steps.clone();
    let mut edges: Vec<(u32, u32, i64)> = Vec::new();
    for of_key in cases.values() {
        let step_of = |case: &Case| {
            let at = work.get(case.work)?.submitted;
            let place = steps.partition_point(|step| step.0 <= at).checked_sub(1)?;
            steps.get(place).filter(|step| at < step.1).map(|_| place)
        };
        let mut seen: Vec<usize> = of_key.iter().filter_map(step_of).collect();
        seen.sort_unstable();
        seen.dedup();
        let recurs = seen.len() >= MIN_STEPS && seen.len() * 100 >= steps.len() * RECURRING_PERCENT;
        let mut lags: Vec<i64> = of_key.iter().map(|case| case.lag).collect();
        lags.sort_unstable();
        let Some(&median) = lags.get(lags.len() / 2) else { continue };
        for case in of_key.iter().filter(|case| recurs || case.has_call) {
            let (Some(source), Some(target)) = (work.get(case.source), work.get(case.work)) else { continue };
            if source.last != NONE && target.node != NONE {
                edges.push((source.last, target.node, median));
            }
        }
    }
    for (source, target, lag) in edges {
        builder.raw.edge(source, Point::End, target, lag, EdgeKind::EventWait, Evidence::Inferred);
    }
}
