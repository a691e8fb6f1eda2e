//! Detail windows: a Kineto trace of some steps of a process that a recording holds. Both saw the same operators; the
//! window adds shapes, stacks and arrows to them.
//!
//! An operator of the window is the operator of the recording that stands at the same place in the order of its thread
//! ([`align`]). The recording's event stays and gets the arguments; what only the window has (Python functions, device
//! work, marks of the profiler) joins beside it: on threads of the recording at the time at which the recording would have
//! seen it ([`warp`]), elsewhere moved by the median difference of the clocks.

mod align;
mod warp;

use std::collections::BTreeMap;

use gapless_trace::{ArgsLoc, EventKind, RawChunk, RawId, RawPlace, SourceId, TracePart, TrackKind, WarningKind};
use rustc_hash::{FxHashMap, FxHashSet};

use align::{FARTHEST_MOVE_NS, FARTHEST_NS, Seen};
use warp::Warp;

/// Fewer differences than this say nothing about the clocks, where each is a weak sign.
const LEAST_WEAK: usize = 8;
/// Differences that say without doubt how the clocks differ, where there are so many.
const LEAST_SURE: usize = 3;

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

/// What one side saw, by thread, in order.
type SeenBy = BTreeMap<Thread, Vec<Seen>>;

/// Takes out of `window` what `recording` has too, and moves the rest onto the clock of the recording. What only one of
/// the two has is counted in the warnings of the window.
pub(crate) fn take_common(window: &mut TracePart, recording: &TracePart) -> Vec<SameEvent> {
    // Arrows that name events by place would have to be renumbered; Kineto names them by time.
    if !window.edges.is_empty() {
        return Vec::new();
    }
    let own_base = recording.info.base_time_ns.unwrap_or(0);
    let base = window.info.base_time_ns.unwrap_or(0);
    let shift = base.saturating_sub(own_base);
    let (of_window, names) = seen_by_window(window, shift);
    let (of_recording, unnamed) = seen_by_recording(recording, &of_window, &names);
    let threads: Vec<(Thread, align::Thread<'_>)> = of_window
        .iter()
        .filter_map(|(thread, seen)| Some((*thread, align::Thread::new(seen, of_recording.get(thread)?))))
        .collect();
    let rough = clock_difference(&threads);
    let joined: Vec<Joined> = threads.iter().map(|(thread, sides)| Joined::new(*thread, sides, rough)).collect();
    let offset = median(joined.iter().flat_map(Joined::differences).collect()).unwrap_or(rough);

    let paired: usize = joined.iter().map(|joined| joined.pairs.len()).sum();
    let operators = of_window.values().flatten().filter(|seen| seen.is_operator).count();
    let paired_operators = joined.iter().flat_map(|joined| &joined.pairs).filter(|pair| pair.0.is_operator).count();
    let only_window = operators - paired_operators;
    let only_recording: usize = joined
        .iter()
        .map(|joined| {
            joined.left_over + joined.begun_within(unnamed.get(&joined.thread).map_or(&[][..], Vec::as_slice))
        })
        .sum();

    let mut same = Vec::with_capacity(paired);
    let mut keeps: Vec<Vec<bool>> = window.chunks.iter().map(|chunk| vec![true; chunk.len()]).collect();
    for (in_window, in_recording) in joined.iter().flat_map(|joined| &joined.pairs) {
        let place = in_window.place;
        let Some(chunk) = window.chunks.get(place.chunk as usize) else { continue };
        let event = place.event as usize;
        if let Some(keep) = keeps.get_mut(place.chunk as usize).and_then(|keeps| keeps.get_mut(event)) {
            *keep = false;
        }
        let get = |column: &[u32]| column.get(event).copied().unwrap_or(u32::MAX);
        same.push(SameEvent {
            place: in_recording.place,
            args: chunk.args.get(event).copied().unwrap_or(ArgsLoc::NONE),
            ids: (get(&chunk.correlation), get(&chunk.external)),
        });
    }
    let warps: FxHashMap<Thread, Warp> =
        joined.iter().map(|joined| (joined.thread, Warp::new(joined.knots(), offset))).collect();
    for (chunk, keep) in window.chunks.iter_mut().zip(&keeps) {
        retain(chunk, keep);
        warp_chunk(chunk, &warps, shift, offset);
    }
    window.info.base_time_ns = Some(base.saturating_add(offset));
    let detail = format!("{only_window} only in the window, {only_recording} only in the recording");
    let alone = (only_window + only_recording) as u64;
    window.warnings.add_many(WarningKind::WindowUnmatched, SourceId(0), alone, None, &detail);
    same
}

/// What the window saw that a recording may have seen too, from the recording's base, and the numbers of its names.
fn seen_by_window(window: &TracePart, shift: i64) -> (SeenBy, FxHashMap<&str, u32>) {
    let mut names: FxHashMap<&str, u32> = FxHashMap::default();
    let mut seen_by = SeenBy::new();
    for (number, chunk) in (0u32..).zip(&window.chunks) {
        for event in 0..chunk.len() {
            let Some(kind @ (EventKind::Operator | EventKind::Annotation)) = chunk.kind.get(event) else { continue };
            let (Some(thread), Some((start, end, name))) = (thread_of(chunk, event), facts(chunk, event)) else {
                continue;
            };
            let next = names.len() as u32;
            let name = *names.entry(name).or_insert(next);
            let (start, end) = (start.saturating_add(shift), end.saturating_add(shift));
            let place = RawPlace { chunk: number, event: event as u32 };
            let is_operator = *kind == EventKind::Operator;
            seen_by.entry(thread).or_default().push(Seen { start, end, name, depth: 0, is_operator, place });
        }
    }
    seen_by.values_mut().for_each(|seen| align::in_order(seen));
    (seen_by, names)
}

/// What the recording saw of the names of the window at the time of the window, and the begins of operators of other
/// names.
fn seen_by_recording(
    recording: &TracePart,
    of_window: &SeenBy,
    names: &FxHashMap<&str, u32>,
) -> (SeenBy, FxHashMap<Thread, Vec<i64>>) {
    let around = FARTHEST_MOVE_NS + FARTHEST_NS;
    let spans: FxHashMap<Thread, (i64, i64)> = of_window
        .iter()
        .filter_map(|(thread, seen)| {
            let (first, last) = (seen.first()?.start, seen.last()?.start);
            Some((*thread, (first.saturating_sub(around), last.saturating_add(around))))
        })
        .collect();
    let mut seen_by = SeenBy::new();
    let mut unnamed: FxHashMap<Thread, Vec<i64>> = FxHashMap::default();
    for (number, chunk) in (0u32..).zip(&recording.chunks) {
        for event in 0..chunk.len() {
            let Some(thread) = thread_of(chunk, event) else { continue };
            let Some(&(first, last)) = spans.get(&thread) else { continue };
            let Some((start, end, name)) = facts(chunk, event) else { continue };
            if start < first || start > last {
                continue;
            }
            let is_operator = chunk.kind.get(event) == Some(&EventKind::Operator);
            match names.get(name) {
                Some(&name) => {
                    let place = RawPlace { chunk: number, event: event as u32 };
                    seen_by.entry(thread).or_default().push(Seen { start, end, name, depth: 0, is_operator, place });
                }
                None if is_operator => unnamed.entry(thread).or_default().push(start),
                None => {}
            }
        }
    }
    seen_by.values_mut().for_each(|seen| align::in_order(seen));
    (seen_by, unnamed)
}

/// Begin, end and name of an event.
fn facts(chunk: &RawChunk, event: usize) -> Option<(i64, i64, &str)> {
    let start = *chunk.start.get(event)?;
    let end = start.saturating_add(chunk.dur.get(event).copied().unwrap_or(0).max(0));
    Some((start, end, chunk.strings.get(*chunk.name.get(event)?)))
}

/// How far the recording's clock is ahead of the window's, before operators are paired.
fn clock_difference(threads: &[(Thread, align::Thread<'_>)]) -> i64 {
    let sure: Vec<i64> = threads.iter().flat_map(|(_, sides)| sides.votes()).collect();
    if sure.len() >= LEAST_SURE {
        return median(sure).unwrap_or(0);
    }
    let weak: Vec<i64> = threads.iter().flat_map(|(_, sides)| sides.weak_votes()).collect();
    if weak.len() < LEAST_WEAK {
        return 0;
    }
    median(weak).filter(|difference| difference.saturating_abs() <= FARTHEST_MOVE_NS).unwrap_or(0)
}

fn median(mut values: Vec<i64>) -> Option<i64> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

/// The pairs of a thread: the same operator in the window and in the recording.
struct Joined {
    thread: Thread,
    pairs: Vec<(Seen, Seen)>,
    /// Operators of the recording between its first and its last pair that have none.
    left_over: usize,
}

impl Joined {
    fn new(thread: Thread, sides: &align::Thread<'_>, offset: i64) -> Self {
        let pairs = sides.pairs(offset);
        let range = pairs.first().zip(pairs.last()).map(|(first, last)| first.1..=last.1);
        let between = range.and_then(|range| sides.recording.get(range)).unwrap_or_default();
        let seen = |&(window, recording): &(usize, usize)| {
            Some((*sides.window.get(window)?, *sides.recording.get(recording)?))
        };
        let pairs: Vec<(Seen, Seen)> = pairs.iter().filter_map(seen).collect();
        let paired = pairs.iter().filter(|pair| pair.1.is_operator).count();
        let left_over = between.iter().filter(|seen| seen.is_operator).count().saturating_sub(paired);
        Self { thread, pairs, left_over }
    }

    /// The recording's begins less the window's.
    fn differences(&self) -> impl Iterator<Item = i64> {
        self.pairs.iter().map(|(window, recording)| recording.start.saturating_sub(window.start))
    }

    /// How many of `starts` lie between the first and the last pair.
    fn begun_within(&self, starts: &[i64]) -> usize {
        let Some((first, last)) = self.pairs.first().zip(self.pairs.last()) else { return 0 };
        starts.iter().filter(|&&start| first.1.start <= start && start <= last.1.start).count()
    }

    /// Times at which both sides saw the same.
    fn knots(&self) -> Vec<(i64, i64)> {
        let knots = |(window, recording): &(Seen, Seen)| [(window.start, recording.start), (window.end, recording.end)];
        self.pairs.iter().flat_map(knots).collect()
    }
}

/// Moves what lies on threads that both saw to where the recording would have seen it, given that all of the window is
/// moved by `shift` and `offset` afterwards.
fn warp_chunk(chunk: &mut RawChunk, warps: &FxHashMap<Thread, Warp>, shift: i64, offset: i64) {
    let of_track: Vec<Option<&Warp>> = chunk
        .tracks
        .iter()
        .map(|track| match track {
            (TrackKind::Thread, RawId::Int(pid), RawId::Int(tid)) => warps.get(&(*pid, *tid)),
            _ => None,
        })
        .collect();
    let warp_of = |track: u32| of_track.get(track as usize).copied().flatten();
    let later = shift.saturating_add(offset);
    for ((start, dur), &track) in chunk.start.iter_mut().zip(&mut chunk.dur).zip(&chunk.track) {
        let Some(warp) = warp_of(track) else { continue };
        let from = start.saturating_add(shift);
        let begin = warp.begin(from);
        if *dur > 0 {
            *dur = warp.end(from.saturating_add(*dur)).saturating_sub(begin);
        }
        *start = begin.saturating_sub(later);
    }
    let point = |time: &mut i64, track: u32| {
        if let Some(warp) = warp_of(track) {
            *time = warp.end(time.saturating_add(shift)).saturating_sub(later);
        }
    };
    chunk.begin_ends.iter_mut().for_each(|event| point(&mut event.time, event.track));
    // At equal times an arrow belongs to the innermost event, which is the last to begin.
    chunk.flows.iter_mut().for_each(|flow| point(&mut flow.time, flow.track));
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

    /// A loop on a machine with too much to do: the thread loses its core between the readings of the two tools in one of
    /// eight, for longer than a step lasts. By time alone operators are joined with those of other steps.
    #[test]
    fn on_a_busy_machine_each_operator_stays_itself_and_functions_stay_around_their_operators() {
        const START: i64 = 1_700_000_000_000_000_000;
        let mut recorded: Vec<(i64, i64, &str, EventKind)> = Vec::new();
        let mut seen: Vec<(i64, i64, &str, EventKind)> = Vec::new();
        let (mut now, mut random) = (START, 1_u64);
        let mut read = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let pause = if (random >> 40).is_multiple_of(8) { 900_000 } else { 0 };
            let times = (now + 2_000, now + 2_100 + pause - START - 5_000);
            now += 2_400 + pause;
            times
        };
        // Of each function the operators inside it, by their places in the recording.
        let mut inside: Vec<(usize, usize)> = Vec::new();
        for step in 0..200 {
            let is_seen = (60..140).contains(&step);
            let function = read().1;
            let first = recorded.len();
            for name in ["aten::mm", "aten::add", "aten::add", "aten::add", "aten::mul"] {
                let (begin, end) = (read(), read());
                recorded.push((begin.0, end.0 - begin.0, name, EventKind::Operator));
                if is_seen {
                    seen.push((begin.1, end.1 - begin.1, name, EventKind::Operator));
                }
            }
            if is_seen {
                seen.push((function, read().1 - function, "train.py(3): step", EventKind::PythonFunction));
                inside.push((first, recorded.len()));
            }
        }
        let lasting = |base: i64, events: &[(i64, i64, &str, EventKind)]| {
            let starts: Vec<_> = events.iter().map(|event| (event.0, event.2, event.3)).collect();
            let mut part = part(base, &starts);
            part.chunks[0].dur = events.iter().map(|event| event.1).collect();
            // Where an operator of the window stands says which it is.
            part.chunks[0].args = (0..events.len()).filter_map(|at| ArgsLoc::new(at as u64, 1)).collect();
            part
        };
        let recording = lasting(0, &recorded);
        let mut window = lasting(START, &seen);
        let of_window = window.chunks[0].args.clone();
        let operators: Vec<usize> =
            (0..seen.len()).filter(|&at| seen.get(at).is_some_and(|event| event.3 == EventKind::Operator)).collect();
        let mut same = take_common(&mut window, &recording);
        same.sort_by_key(|same| same.place.event);
        let places: Vec<usize> = same.iter().map(|same| same.place.event as usize).collect();
        assert_eq!(places, (60 * 5..140 * 5).collect::<Vec<usize>>(), "each once");
        let args: Vec<ArgsLoc> = same.iter().map(|same| same.args).collect();
        assert_eq!(args, operators.iter().map(|&at| of_window[at]).collect::<Vec<_>>(), "with what belongs to it");
        assert!(window.warnings.is_empty(), "none is alone");
        let base = window.info.base_time_ns.unwrap_or(0);
        let functions: Vec<(i64, i64)> = window.chunks[0]
            .start
            .iter()
            .zip(&window.chunks[0].dur)
            .map(|(start, dur)| (base + start, base + start + dur))
            .collect();
        assert_eq!(functions.len(), inside.len());
        for ((from, to), (first, last)) in functions.into_iter().zip(inside) {
            assert!(from <= recorded[first].0 && to >= recorded[last - 1].0 + recorded[last - 1].1);
            assert!(first == 0 || from >= recorded[first - 1].0 + recorded[first - 1].1, "not into the step before");
            assert!(recorded.get(last).is_none_or(|next| to <= next.0), "not into the step after");
        }
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
