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
    // Open begins per id, and per id and name: an end closes the newest of its name, else the newest of its id.
    let mut open: FxHashMap<(u32, StrId, RawId), Vec<usize>> = FxHashMap::default();
    let mut named: FxHashMap<(u32, StrId, RawId, StrId), Vec<usize>> = FxHashMap::default();
    let mut is_open = vec![false; events.len()];
    let emit = |out: &mut RawChunk, begin: &RawAsync, end: i64, kind| {
        let dur = end.saturating_sub(begin.time);
        out.push(begin.time, dur, begin.name, begin.category, kind, begin.track, NO_ID, NO_ID, begin.args);
    };
    for (index, event) in events.iter().enumerate() {
        let key = (event.track, event.category, event.id);
        match event.phase {
            AsyncPhase::Begin => {
                open.entry(key).or_default().push(index);
                named.entry((key.0, key.1, key.2, event.name)).or_default().push(index);
                if let Some(flag) = is_open.get_mut(index) {
                    *flag = true;
                }
            }
            AsyncPhase::Instant => emit(out, event, event.time, EventKind::Instant),
            AsyncPhase::End => {
                let mut newest = |stack: Option<&mut Vec<usize>>| {
                    let stack = stack?;
                    while let Some(place) = stack.pop() {
                        // The other stack may have closed it already.
                        if let Some(flag) = is_open.get_mut(place).filter(|flag| **flag) {
                            *flag = false;
                            return Some(place);
                        }
                    }
                    None
                };
                let place = newest(named.get_mut(&(key.0, key.1, key.2, event.name)));
                let place = place.or_else(|| newest(open.get_mut(&key)));
                if let Some(begin) = place.and_then(|place| events.get(place)) {
                    emit(out, begin, event.time, EventKind::Async);
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
    let mut rest: Vec<&RawAsync> =
        events.iter().zip(&is_open).filter(|(_, open)| **open).map(|(event, _)| event).collect();
    rest.sort_by_key(|begin| begin.offset);
    for begin in rest {
        warnings.add(WarningKind::BeginWithoutEnd, SourceId(0), Some(begin.offset), "");
        emit(out, begin, last_ns.max(begin.time), EventKind::Async);
    }
}
