//! Which thread ran on which core when: the kernel's switches of all pieces as events.

use std::sync::Arc;

use gapless_trace::{ArgValue, Args, ArgsLoc, ArgsSource, EventKind, RawChunk, RawId, StrId, TrackKind};
use rustc_hash::FxHashMap;

use super::resolve::{NO_ID, Resolved};
use super::sched::{Switch, Waking};
use super::tracks::Tracks;
use crate::args_arena::ArgsArena;

/// Heading of the cores.
const CPU: &str = "CPU";

/// The events of all cores, and their arguments, whose offsets count from `base`.
pub(super) fn chunk(pieces: &mut [Resolved], tracks: &Tracks, base: u64) -> (Option<RawChunk>, Arc<dyn ArgsSource>) {
    let mut chunk = RawChunk::default();
    let mut switches: Vec<Switch> = Vec::new();
    let mut wakings: Vec<Waking> = Vec::new();
    for piece in pieces.iter_mut() {
        for mut switch in std::mem::take(&mut piece.sched.switches) {
            switch.name = chunk.strings.intern(piece.chunk.strings.get(switch.name));
            switches.push(switch);
        }
        wakings.append(&mut piece.sched.wakings);
    }
    let mut arena = ArgsArena::default();
    if switches.is_empty() {
        return (None, arena.finish());
    }
    let ends = pieces.iter().flat_map(|piece| piece.chunk.start.iter().zip(&piece.chunk.dur));
    let last_event = ends.map(|(start, dur)| start.saturating_add((*dur).max(0))).max().unwrap_or(i64::MIN);
    let last_ns = switches.iter().map(|switch| switch.time).max().unwrap_or(0).max(last_event);
    switches.sort_by_key(|switch| (switch.core, switch.time));
    // Of each thread, the times it was woken, ascending.
    let mut woken: FxHashMap<i64, Vec<(i64, Option<i64>)>> = FxHashMap::default();
    wakings.sort_by_key(|waking| waking.time);
    for waking in wakings {
        woken.entry(waking.thread).or_default().push((waking.time, waking.waker));
    }
    let cpu = RawId::Text(chunk.strings.intern(CPU));
    for of_core in switches.chunk_by(|a, b| a.core == b.core) {
        let Some(core) = of_core.first().map(|switch| switch.core) else { continue };
        let track = chunk.track(TrackKind::Cpu, cpu, RawId::Int(i64::from(core)));
        let mut stopped_before = i64::MIN;
        for (index, switch) in of_core.iter().enumerate() {
            let next = of_core.get(index + 1);
            let end = next.map_or(last_ns, |next| next.time);
            // Thread 0 is the core doing nothing.
            if switch.next == 0 {
                continue;
            }
            let pid = tracks.process_of(switch.next);
            let mut name = switch.name;
            if name == StrId::EMPTY {
                let known = tracks.thread_name(pid, switch.next);
                name = chunk.strings.intern(&known.map_or_else(|| format!("thread {}", switch.next), str::to_owned));
            }
            let mut args: Args = vec![
                ("tid".to_owned(), ArgValue::Int(switch.next)),
                ("pid".to_owned(), ArgValue::Int(pid)),
                ("priority".to_owned(), ArgValue::Int(switch.priority)),
            ];
            if let Some(state) = next.and_then(|next| next.previous_state) {
                args.push(("end state".to_owned(), ArgValue::Text(state_name(state))));
            }
            let times = woken.get(&switch.next).map(Vec::as_slice).unwrap_or_default();
            let before = times.partition_point(|waking| waking.0 <= switch.time);
            // The waking that let it run lies behind its last run on this core.
            if let Some(&(time, waker)) =
                before.checked_sub(1).and_then(|at| times.get(at)).filter(|waking| waking.0 >= stopped_before)
            {
                args.push(("wake-up latency (ns)".to_owned(), ArgValue::Int(switch.time.saturating_sub(time))));
                args.extend(waker.map(|waker| ("woken by tid".to_owned(), ArgValue::Int(waker))));
            }
            stopped_before = end;
            let loc = arena.push(&args);
            let loc = ArgsLoc::new(base.saturating_add(loc.offset()), loc.len()).unwrap_or_default();
            let dur = end.saturating_sub(switch.time);
            chunk.push(switch.time, dur, name, StrId::EMPTY, EventKind::Scheduled, track, NO_ID, NO_ID, loc);
        }
    }
    (Some(chunk), arena.finish())
}

/// The state in which a thread stopped running, as Linux writes it.
fn state_name(state: i64) -> String {
    let names = [
        (1, "sleeping"),
        (2, "uninterruptible sleep"),
        (4, "stopped"),
        (8, "traced"),
        (16, "dead"),
        (32, "zombie"),
        (64, "parked"),
        (128, "idle"),
    ];
    // The bits above say that it was preempted while it could run.
    if state & 0xFF == 0 {
        return if state == 0 { "running".to_owned() } else { "preempted".to_owned() };
    }
    let found: Vec<&str> = names.iter().filter(|(bit, _)| state & bit != 0).map(|(_, name)| *name).collect();
    found.join(", ")
}
