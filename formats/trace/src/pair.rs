//! Begins with their ends: `B`/`E` by thread, asynchronous ones by category and id.

use rustc_hash::FxHashMap;

use crate::events::NO_ID;
use crate::{
    ArgsLoc, AsyncPhase, EventKind, RawAsync, RawBeginEnd, RawChunk, RawId, SourceId, StrId, WarningKind, Warnings,
};

/// Ends' arguments that go with an event that has its own: (place in the chunk, arguments).
pub(crate) type ExtraArgs = Vec<(u32, ArgsLoc)>;

/// Pairs `events` (tracks of the part, strings of the trace) into `out`; unmatched begins end at `last_ns`.
pub(crate) fn pair_begin_end(
    mut events: Vec<RawBeginEnd>,
    last_ns: i64,
    out: &mut RawChunk,
    extra: &mut ExtraArgs,
    warnings: &mut Warnings,
) {
    // Stable: the order of the file decides among equal times.
    events.sort_by_key(|event| (event.track, event.time));
    for of_track in events.chunk_by(|a, b| a.track == b.track) {
        let mut open: Vec<RawBeginEnd> = Vec::new();
        for event in of_track {
            if event.begins {
                open.push(*event);
            } else if let Some(begin) = open.pop() {
                push(out, &begin, event.time);
                match (begin.args.is_empty(), event.args.is_empty()) {
                    (_, true) => {}
                    (true, false) => replace_last_args(out, event.args),
                    (false, false) => extra.push((out.len() as u32 - 1, event.args)),
                }
            } else {
                warnings.add(WarningKind::EndWithoutBegin, SourceId(0), Some(event.offset), "");
            }
        }
        for begin in open {
            warnings.add(WarningKind::BeginWithoutEnd, SourceId(0), Some(begin.offset), "");
            push(out, &begin, last_ns.max(begin.time));
        }
    }
}

fn push(out: &mut RawChunk, begin: &RawBeginEnd, end: i64) {
    let dur = end.saturating_sub(begin.time);
    out.push(begin.time, dur, begin.name, begin.category, begin.kind, begin.track, NO_ID, NO_ID, begin.args);
}

fn replace_last_args(out: &mut RawChunk, args: ArgsLoc) {
    if let Some(last) = out.args.last_mut() {
        *last = args;
    }
}

/// Pairs asynchronous `events` by track, category and id into `out`; they nest per id.
pub(crate) fn pair_async(
    mut events: Vec<RawAsync>,
    last_ns: i64,
    out: &mut RawChunk,
    extra: &mut ExtraArgs,
    warnings: &mut Warnings,
) {
    events.sort_by_key(|event| event.time);
    let mut open: FxHashMap<(u32, StrId, RawId), Vec<RawAsync>> = FxHashMap::default();
    let emit = |out: &mut RawChunk, begin: &RawAsync, end: i64, kind| {
        let dur = end.saturating_sub(begin.time);
        out.push(begin.time, dur, begin.name, begin.category, kind, begin.track, NO_ID, NO_ID, begin.args);
    };
    for event in events {
        let key = (event.track, event.category, event.id);
        match event.phase {
            AsyncPhase::Begin => open.entry(key).or_default().push(event),
            AsyncPhase::Instant => emit(out, &event, event.time, EventKind::Instant),
            AsyncPhase::End => {
                let stack = open.get_mut(&key);
                // An end names its begin where several of one id are open.
                let begin = stack.and_then(|stack| {
                    let same = stack.iter().rposition(|begin| begin.name == event.name);
                    same.map(|place| stack.remove(place)).or_else(|| stack.pop())
                });
                if let Some(begin) = begin {
                    emit(out, &begin, event.time, EventKind::Async);
                    match (begin.args.is_empty(), event.args.is_empty()) {
                        (_, true) => {}
                        (true, false) => replace_last_args(out, event.args),
                        (false, false) => extra.push((out.len() as u32 - 1, event.args)),
                    }
                } else {
                    warnings.add(WarningKind::EndWithoutBegin, SourceId(0), Some(event.offset), "");
                }
            }
        }
    }
    let mut rest: Vec<RawAsync> = open.into_values().flatten().collect();
    rest.sort_by_key(|begin| begin.offset);
    for begin in rest {
        warnings.add(WarningKind::BeginWithoutEnd, SourceId(0), Some(begin.offset), "");
        emit(out, &begin, last_ns.max(begin.time), EventKind::Async);
    }
}
