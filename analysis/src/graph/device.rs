//! Streams of a device: what ran in which order, and what launched it.

use gapless_trace::{EventKind, ProcessId, StrId, Trace, Track};

use super::anchors::Call;
use super::{NONE, NodeKind};

/// One piece of device work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub start: i64,
    pub end: i64,
    pub event: u32,
    pub name: StrId,
    pub kind: NodeKind,
    /// The call that launched it: its place in the calls of the rank, or `NONE`.
    pub call: u32,
    /// When it was launched; for work without launch, when it began at the latest.
    pub submitted: i64,
    /// Place in the streams of the rank.
    pub stream: u32,
    /// Where it begins in the raw graph.
    pub node: u32,
    /// Where it ends in the raw graph: itself but for communication.
    pub last: u32,
}

/// A stream of a device with work.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub device: ProcessId,
    pub number: Option<i64>,
    pub place: u32,
    /// Its work in order of start, as a range of the rank's.
    pub work: std::ops::Range<usize>,
}

/// The device node of a kind of event.
const fn node_kind(kind: EventKind) -> Option<NodeKind> {
    match kind {
        EventKind::Kernel => Some(NodeKind::Kernel),
        EventKind::Collective | EventKind::PointToPoint => Some(NodeKind::Transfer),
        EventKind::Memcpy => Some(NodeKind::Copy),
        EventKind::Memset => Some(NodeKind::Fill),
        _ => None,
    }
}

/// Reads one stream; `call_of` gives the call that launched an event.
pub(crate) fn read_stream(
    trace: &Trace,
    track: &Track,
    align: &dyn Fn(i64) -> i64,
    calls: &[Call],
    call_of: impl Fn(u32) -> u32,
    stream: u32,
    work: &mut Vec<Work>,
) -> Option<Stream> {
    let events = trace.events();
    let (starts, kinds, names) = (events.starts(), events.kinds(), events.names());
    let first = work.len();
    for event in track.event_ids() {
        let i = event.index();
        let (Some(&start), Some(&kind), Some(&name)) = (starts.get(i), kinds.get(i), names.get(i)) else { continue };
        let Some(kind) = node_kind(kind) else { continue };
        let call = call_of(event.0);
        let start = align(start);
        let submitted = calls.get(call as usize).map_or(i64::MIN, |call| call.start);
        let end = align(events.end_at(i)).max(start);
        work.push(Work { start, end, event: event.0, name, kind, call, submitted, stream, node: NONE, last: NONE });
    }
    let own = work.get_mut(first..).unwrap_or_default();
    if own.is_empty() {
        return None;
    }
    own.sort_by_key(|work| (work.start, work.end, work.event));
    // Work without launch was submitted after what runs before it, for all we know.
    let mut last = i64::MIN;
    for work in own {
        last = last.max(work.submitted);
        work.submitted = last;
    }
    Some(Stream { device: track.process, number: track.stream(), place: NONE, work: first..work.len() })
}

/// What a piece of work follows on its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Before {
    /// The work that ended before it, or nearly so.
    pub ended: Option<usize>,
    /// The work that still runs beside it: a branch of a graph.
    pub beside: Option<usize>,
}

/// For each piece of work of one stream, in order of start, what it follows. O(n).
///
/// Kernels that overlap their predecessor by less than half of either (programmatic dependent launch) follow it; those
/// that overlap more run beside it.
pub(crate) fn predecessors(own: &[Work]) -> Vec<Before> {
    let mut found = Vec::with_capacity(own.len());
    // The latest end so far, and who has it.
    let mut latest: Option<usize> = None;
    // The latest to end before the current ones that run side by side.
    let mut settled: Option<usize> = None;
    for (place, work) in own.iter().enumerate() {
        let at = |place: Option<usize>| place.and_then(|place| own.get(place));
        let mut before = Before::default();
        match at(latest) {
            None => {}
            Some(last) if last.end <= work.start => before.ended = latest,
            Some(last) => {
                let overlap = last.end.saturating_sub(work.start);
                let shorter = (last.end - last.start).min(work.end - work.start);
                if overlap.saturating_mul(2) <= shorter || overlap <= 1_000 {
                    before.ended = latest;
                } else {
                    before.beside = latest;
                    before.ended = at(settled).filter(|done| done.end <= work.start).and(settled);
                }
            }
        }
        if before.beside.is_none() {
            settled = before.ended;
        }
        if at(latest).is_none_or(|last| last.end <= work.end) {
            latest = Some(place);
        }
        found.push(before);
    }
    found
}

/// For each piece of work the place of the one on its stream that ends last up to it.
pub(crate) fn latest_ends(streams: &[Stream], work: &[Work]) -> Vec<u32> {
    let mut latest = vec![0_u32; work.len()];
    for stream in streams {
        let mut best: Option<(i64, u32)> = None;
        for place in stream.work.clone() {
            if let Some(work) = work.get(place)
                && best.is_none_or(|best| best.0 <= work.end)
            {
                best = Some((work.end, place as u32));
            }
            if let (Some(slot), Some(best)) = (latest.get_mut(place), best) {
                *slot = best.1;
            }
        }
    }
    latest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(start: i64, end: i64) -> Work {
        let (name, kind) = (StrId::EMPTY, NodeKind::Kernel);
        Work { start, end, event: 0, name, kind, call: NONE, submitted: 0, stream: 0, node: NONE, last: NONE }
    }

    #[test]
    fn small_overlaps_follow_and_large_ones_run_beside() {
        // a; b begins 1 µs before a ends; c and d run beside b; e follows the last of them.
        let own =
            [work(0, 20_000), work(19_000, 60_000), work(30_000, 50_000), work(40_000, 90_000), work(91_000, 92_000)];
        let found = predecessors(&own);
        let pairs: Vec<_> = found.iter().map(|before| (before.ended, before.beside)).collect();
        assert_eq!(pairs, [(None, None), (Some(0), None), (Some(0), Some(1)), (Some(1), None), (Some(3), None)]);
    }
}
