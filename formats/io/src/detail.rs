//! Detail windows: a Kineto trace of some steps of a process that a recording holds. Both saw the same operators; the
//! window adds shapes, stacks and arrows to them.
//!
//! An operator of the window is the operator of the recording with the same name on the same thread that begins nearest.
//! The recording's event stays and gets the arguments; what only the window has (Python functions, device work, marks of
//! the profiler) joins beside it. The clocks of the two differ by microseconds; the window is moved by the median.

use gapless_trace::{ArgsLoc, EventKind, RawChunk, RawId, RawPlace, TracePart, TrackKind};
use rustc_hash::{FxHashMap, FxHashSet};

/// Two readings of the same begin are no further apart than this.
const FARTHEST_NS: i64 = 200_000;
/// Moves of the window by more than this are none between clocks of one machine.
const FARTHEST_MOVE_NS: i64 = 50_000_000;
/// Fewer matches than this say nothing about the clocks.
const LEAST_MATCHES: usize = 8;

/// Threads of a process, as both sides number them.
type Thread = (i64, i64);

fn thread_of(chunk: &RawChunk, event: usize) -> Option<Thread> {
    match chunk.tracks.get(*chunk.track.get(event)? as usize)? {
        (TrackKind::Thread, RawId::Int(pid), RawId::Int(tid)) => Some((*pid, *tid)),
        _ => None,
    }
}

fn threads(part: &TracePart) -> FxHashSet<Thread> {
    let tracks = part.chunks.iter().flat_map(|chunk| &chunk.tracks);
    tracks
        .filter_map(|track| match track {
            (TrackKind::Thread, RawId::Int(pid), RawId::Int(tid)) => Some((*pid, *tid)),
            _ => None,
        })
        .collect()
}

/// First begin and last end, in ns of Unix time.
fn span_ns(part: &TracePart) -> Option<(i64, i64)> {
    let base = part.info.base_time_ns.unwrap_or(0);
    let events = part.chunks.iter().flat_map(|chunk| chunk.start.iter().zip(&chunk.dur));
    events
        .map(|(&start, &dur)| (base.saturating_add(start), base.saturating_add(start).saturating_add(dur.max(0))))
        .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}

/// Whether `window` is a stretch of what `recording` holds: the same threads at the same time.
pub(crate) fn is_window_of(window: &TracePart, recording: &TracePart) -> bool {
    // A window knows no rank, or the same.
    if window.info.rank.is_some_and(|rank| recording.info.rank.is_some_and(|other| other != rank)) {
        return false;
    }
    let known = threads(recording);
    if !threads(window).iter().any(|thread| known.contains(thread)) {
        return false;
    }
    match (span_ns(window), span_ns(recording)) {
        (Some(window), Some(recording)) => window.0 < recording.1 && recording.0 < window.1,
        _ => false,
    }
}

/// An event of the recording that is also in the window, and the window's arguments of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SameEvent {
    /// In the recording.
    pub place: RawPlace,
    /// In the window's source.
    pub args: ArgsLoc,
    /// Correlation and external id in the window.
    pub ids: (u32, u32),
}

/// Takes out of `window` what `recording` has too, and moves the window by the difference of the clocks.
pub(crate) fn take_common(window: &mut TracePart, recording: &TracePart) -> Vec<SameEvent> {
    // Arrows that name events by place would have to be renumbered; Kineto names them by time.
    if !window.edges.is_empty() {
        return Vec::new();
    }
    let own_base = recording.info.base_time_ns.unwrap_or(0);
    let base = window.info.base_time_ns.unwrap_or(0);
    let shift = base.saturating_sub(own_base);
    let wanted = threads(window);
    let mut by_name: FxHashMap<(Thread, &str), Vec<(i64, RawPlace)>> = FxHashMap::default();
    for (number, chunk) in (0u32..).zip(&recording.chunks) {
        for event in 0..chunk.len() {
            let Some(thread) = thread_of(chunk, event).filter(|thread| wanted.contains(thread)) else { continue };
            let (Some(&start), Some(&name)) = (chunk.start.get(event), chunk.name.get(event)) else { continue };
            let place = RawPlace { chunk: number, event: event as u32 };
            by_name.entry((thread, chunk.strings.get(name))).or_default().push((start, place));
        }
    }
    for places in by_name.values_mut() {
        places.sort_unstable();
    }
    let nearest = |chunk: &RawChunk, event: usize, offset: i64| {
        let kind = chunk.kind.get(event)?;
        if !matches!(kind, EventKind::Operator | EventKind::Annotation) {
            return None;
        }
        let thread = thread_of(chunk, event)?;
        let places = by_name.get(&(thread, chunk.strings.get(*chunk.name.get(event)?)))?;
        let start = chunk.start.get(event)?.saturating_add(shift).saturating_add(offset);
        let after = places.partition_point(|&(at, _)| at < start);
        let candidates = [after.checked_sub(1).and_then(|before| places.get(before)), places.get(after)];
        candidates
            .into_iter()
            .flatten()
            .copied()
            .min_by_key(|&(at, _)| (at - start).abs())
            .map(|(at, place)| (at - start, place))
    };
    // The difference of the clocks first, from all that could be the same.
    let mut differences: Vec<i64> = Vec::new();
    for chunk in &window.chunks {
        differences
            .extend((0..chunk.len()).filter_map(|event| nearest(chunk, event, 0).map(|(difference, _)| difference)));
    }
    differences.sort_unstable();
    let median = differences.get(differences.len() / 2).copied().unwrap_or(0);
    let offset = if differences.len() >= LEAST_MATCHES && median.abs() <= FARTHEST_MOVE_NS { median } else { 0 };
    let mut taken: FxHashSet<(u32, u32)> = FxHashSet::default();
    let mut same = Vec::new();
    let mut keeps: Vec<Vec<bool>> = Vec::new();
    for chunk in &window.chunks {
        let mut keep = vec![true; chunk.len()];
        for (event, keep) in keep.iter_mut().enumerate() {
            let Some((difference, place)) = nearest(chunk, event, offset) else { continue };
            if difference.abs() > FARTHEST_NS || !taken.insert((place.chunk, place.event)) {
                continue;
            }
            *keep = false;
            let get = |column: &[u32]| column.get(event).copied().unwrap_or(u32::MAX);
            same.push(SameEvent {
                place,
                args: chunk.args.get(event).copied().unwrap_or(ArgsLoc::NONE),
                ids: (get(&chunk.correlation), get(&chunk.external)),
            });
        }
        keeps.push(keep);
    }
    for (chunk, keep) in window.chunks.iter_mut().zip(&keeps) {
        retain(chunk, keep);
    }
    window.info.base_time_ns = Some(base.saturating_add(offset));
    same
}

/// Keeps the events for which `keep` says so.
fn retain(chunk: &mut RawChunk, keep: &[bool]) {
    fn column<T>(column: &mut Vec<T>, keep: &[bool]) {
        let mut keep = keep.iter();
        column.retain(|_| keep.next().copied().unwrap_or(true));
    }
    column(&mut chunk.start, keep);
    column(&mut chunk.dur, keep);
    column(&mut chunk.name, keep);
    column(&mut chunk.category, keep);
    column(&mut chunk.kind, keep);
    column(&mut chunk.track, keep);
    column(&mut chunk.correlation, keep);
    column(&mut chunk.external, keep);
    column(&mut chunk.args, keep);
    let mut kept = 0;
    let places: Vec<Option<u32>> = keep
        .iter()
        .map(|&keep| {
            kept += u32::from(keep);
            keep.then(|| kept - 1)
        })
        .collect();
    let place = |event: &mut u32| match places.get(*event as usize) {
        Some(Some(new)) => {
            *event = *new;
            true
        }
        _ => false,
    };
    chunk.collectives.retain_mut(|args| place(&mut args.event));
    chunk.copy_bytes.retain_mut(|(event, _)| place(event));
    chunk.more_args.retain_mut(|(event, _)| place(event));
    chunk.event_stacks.retain_mut(|stack| place(&mut stack.event));
}

#[cfg(test)]
mod tests {
    use super::*;
    use gapless_trace::Source;

    fn part(base: i64, events: &[(i64, &str, EventKind)]) -> TracePart {
        let mut part = TracePart::new(Source::default());
        part.info.base_time_ns = Some(base);
        let mut chunk = RawChunk::default();
        let track = chunk.track(TrackKind::Thread, RawId::Int(7), RawId::Int(8));
        for &(start, name, kind) in events {
            let name = chunk.strings.intern(name);
            chunk.push(start, 10, name, name, kind, track, u32::MAX, u32::MAX, ArgsLoc::NONE);
        }
        part.chunks.push(chunk);
        part
    }

    #[test]
    fn what_both_saw_stays_once_and_the_rest_is_moved_onto_the_recordings_clock() {
        let start = 1_700_000_000_000_000_000i64;
        let mut recorded: Vec<(i64, &str, EventKind)> = Vec::new();
        let mut seen: Vec<(i64, &str, EventKind)> = Vec::new();
        for step in 0..50 {
            recorded.push((start + step * 1_000_000, "aten::add", EventKind::Operator));
            recorded.push((start + step * 1_000_000 + 400_000, "aten::mm", EventKind::Operator));
            if (10..30).contains(&step) {
                // Its clock is 7 µs behind, with a jitter of some hundred ns.
                seen.push((step * 1_000_000 - 7_000 + step * 10, "aten::add", EventKind::Operator));
                seen.push((step * 1_000_000 + 393_000 - step * 10, "aten::mm", EventKind::Operator));
                seen.push((step * 1_000_000 + 100_000, "train.py(3): step", EventKind::PythonFunction));
            }
        }
        // One that the recording lost.
        seen.push((12_700_000, "aten::mm", EventKind::Operator));
        let recording = part(0, &recorded);
        let mut window = part(start, &seen);
        assert!(is_window_of(&window, &recording));
        let same = take_common(&mut window, &recording);
        assert_eq!((same.len(), window.chunks[0].len()), (40, 21));
        let moved = window.info.base_time_ns.unwrap_or(0) - start;
        assert!((moved - 7_000).abs() <= 300, "moved by {moved} ns");
        // Each of the recording's events of these steps, once.
        let mut places: Vec<u32> = same.iter().map(|same| same.place.event).collect();
        places.sort_unstable();
        assert_eq!(places, (20..60).collect::<Vec<u32>>());
    }

    #[test]
    fn a_trace_of_another_process_or_time_is_no_window() {
        let start = 1_700_000_000_000_000_000i64;
        let recording = part(0, &[(start, "a", EventKind::Operator), (start + 1_000_000, "a", EventKind::Operator)]);
        assert!(!is_window_of(&part(start + 2_000_000, &[(0, "a", EventKind::Operator)]), &recording));
        let mut other = part(start, &[(0, "a", EventKind::Operator)]);
        other.chunks[0].tracks[0].1 = RawId::Int(9);
        assert!(!is_window_of(&other, &recording));
    }
}
