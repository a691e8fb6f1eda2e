//! Calls of CPU backends: ranges on threads (`gloo:all_reduce`, `MPI_Allreduce`) and what else the trace says about them.
//!
//! Which collective of which group a range is may stand in its own arguments (MPI), in a point in time inside it, or in a
//! point in time on the thread that asked for it, which comes before: backends take what is asked for in order, and a
//! thread of a backend works for one group.

use gapless_trace::{Args, EventId, RankId, RawId, StrId, Trace, TrackId, TrackKind};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::collectives::{CollectiveKind, element_bytes};
use crate::match_collectives::call::{
    Call, GroupKey, Place, add_range, argument, arguments, call_of, ranges, unsigned,
};

/// Name of the points in time with which recordings of our own tell what a thread asks for.
const ASKED: &str = "collective";

/// Ranges of CPU backends on the threads of a rank, `names` of ranges given.
pub(super) fn host_calls(trace: &Trace, rank: RankId, names: &FxHashSet<StrId>) -> Vec<(GroupKey, Call)> {
    if names.is_empty() {
        return Vec::new();
    }
    let mut found: Vec<(TrackId, GroupKey, Call)> = Vec::new();
    for (track, list) in ranges(trace, rank, names) {
        let mut free_from = i64::MIN;
        for (start, end, event) in list {
            // Ranges inside a range are how a call is made of others, not calls of their own.
            if start < free_from {
                continue;
            }
            free_from = end;
            found.extend(range_call(trace, rank, event).map(|(key, call)| (track, key, call)));
        }
    }
    found.sort_by_key(|(_, _, call)| (call.start_ns, call.event));
    add_notes(trace, rank, names, &mut found);
    found.into_iter().map(|(_, key, call)| (key, call)).collect()
}

/// The call of one range; `None` if it is none of several ranks (`MPI_Init`) or only begins one (`MPI_Iallreduce`).
fn range_call(trace: &Trace, rank: RankId, event: EventId) -> Option<(GroupKey, Call)> {
    let name = trace.text(trace.event(event).name);
    if name.starts_with("MPI_I") {
        return None;
    }
    let backend = name.split([':', '_']).next().unwrap_or_default().to_ascii_lowercase();
    let args = trace.collective(event);
    let mut call = call_of(trace, rank, event, args);
    add_range(trace, &mut call, event);
    if call.kind == CollectiveKind::Other {
        return None;
    }
    let mut key = GroupKey { place: Place::Host, name: backend, ranks: String::new(), is_named: false };
    let own = arguments(trace, event);
    add_note(&mut key, &mut call, &own);
    if let Some(args) = args.filter(|args| args.group != StrId::EMPTY) {
        key.name = trace.text(args.group).to_owned();
        key.is_named = true;
    }
    if call.kind == CollectiveKind::SendReceive {
        let number = |name: &str| argument(&own, name)?.as_i64().and_then(|rank| u32::try_from(rank).ok());
        let (me, peer) = (number("Rank"), number("peer"));
        let is_send = CollectiveKind::is_send(name);
        call.peers = me.zip(peer).map(|(me, peer)| if is_send { (me, peer) } else { (peer, me) });
    }
    Some((key, call))
}

/// What a point in time says about a call.
struct Note {
    at_ns: i64,
    /// Process and thread.
    thread: (u32, RawId),
    args: Args,
}

/// Points in time of communication on the threads of a rank that have a sequence number, by time.
fn notes(trace: &Trace, rank: RankId, names: &FxHashSet<StrId>) -> Vec<Note> {
    let mut found = Vec::new();
    let columns = trace.events().names();
    for (_, track) in trace.tracks_of(rank).filter(|(_, track)| track.kind == TrackKind::ThreadInstants) {
        for event in track.event_ids() {
            let Some(&name) = columns.get(event.index()) else { continue };
            if !names.contains(&name) && trace.text(name) != ASKED {
                continue;
            }
            let args = arguments(trace, event);
            if unsigned(&args, "seq").is_some() {
                let at_ns = trace.event(event).start.nanos();
                found.push(Note { at_ns, thread: (track.process.0, track.tid), args });
            }
        }
    }
    found.sort_by_key(|note| note.at_ns);
    found
}

/// Gives each note to the call that it is about. `calls` are in the order of their starts.
fn add_notes(trace: &Trace, rank: RankId, names: &FxHashSet<StrId>, calls: &mut [(TrackId, GroupKey, Call)]) {
    let mut taken = vec![false; calls.len()];
    let mut groups: FxHashMap<TrackId, String> = FxHashMap::default();
    // Where to look next for a call of a kind: those before are taken.
    let mut first_free: FxHashMap<CollectiveKind, usize> = FxHashMap::default();
    for note in notes(trace, rank, names) {
        let text = |name: &str| argument(&note.args, name).map(ToString::to_string);
        let group = text("group").unwrap_or_default();
        let kind = text("name").map(|name| CollectiveKind::of(&name));
        let backend = text("backend");
        let is_about = |track: TrackId, key: &GroupKey, call: &Call| {
            let on_thread = trace.track(track).is_some_and(|track| (track.process.0, track.tid) == note.thread);
            let is_inside = on_thread && call.start_ns <= note.at_ns && note.at_ns <= call.end_ns;
            let is_after = call.start_ns >= note.at_ns && groups.get(&track).is_none_or(|known| *known == group);
            let of_backend = key.is_named || backend.as_ref().is_none_or(|backend| backend.contains(&key.name));
            (is_inside || (is_after && !on_thread)) && of_backend && kind.is_none_or(|kind| kind == call.kind)
        };
        let from = kind.map_or(0, |kind| first_free.get(&kind).copied().unwrap_or(0));
        let free = |place: usize| taken.get(place) == Some(&false);
        let place = (from..calls.len()).find(|&place| {
            free(place) && calls.get(place).is_some_and(|(track, key, call)| is_about(*track, key, call))
        });
        let Some((place, (track, key, call))) = place.and_then(|place| Some((place, calls.get_mut(place)?))) else {
            continue;
        };
        add_note(key, call, &note.args);
        groups.insert(*track, group);
        if let Some(taken) = taken.get_mut(place) {
            *taken = true;
        }
        if let Some(kind) = kind {
            let is_free = |&place: &usize| {
                taken.get(place) == Some(&false) && calls.get(place).is_some_and(|(_, _, call)| call.kind == kind)
            };
            // What lies before and is not taken began before any note that is still to come.
            let next = (from..calls.len()).find(is_free).unwrap_or(calls.len());
            first_free.insert(kind, next);
        }
    }
}

/// Adds what arguments say, under the names of our own recordings.
fn add_note(key: &mut GroupKey, call: &mut Call, args: &Args) {
    let text = |name: &str| argument(args, name).map(ToString::to_string);
    if let Some(group) = text("group") {
        key.name = group;
        key.is_named = true;
    } else if let Some(members) = text("members") {
        // A hash that is equal on all members; the number of a communicator is each process's own.
        key.name = format!("communicator {members}");
        key.is_named = true;
    }
    call.seq = unsigned(args, "seq").or_else(|| unsigned(args, "Seq")).or(call.seq);
    let size = unsigned(args, "group_size").or_else(|| unsigned(args, "Group size"));
    call.group_size = size.and_then(|size| u32::try_from(size).ok()).or(call.group_size);
    call.in_elems = unsigned(args, "in_elements").or(call.in_elems);
    call.out_elems = unsigned(args, "out_elements").or(call.out_elems);
    call.element_bytes = text("dtype").and_then(|dtype| element_bytes(&dtype)).or(call.element_bytes);
    if let Some(bytes) = unsigned(args, "bytes") {
        // What a rank gives to a gather is its own part.
        let is_part = matches!(call.kind, CollectiveKind::AllGather | CollectiveKind::Gather);
        let parts = if is_part { call.group_size.map(u64::from) } else { Some(1) };
        call.bytes_told = parts.and_then(|parts| bytes.checked_mul(parts)).or(call.bytes_told);
    }
}
