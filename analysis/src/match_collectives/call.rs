//! The communication calls of each rank, in the order in which they ran, with all that the trace says about them.
//!
//! Three places may show a call, and the first that a rank has is taken, since a trace may hold the same call in all
//! of them: its kernel on a device stream, its range on a thread of a CPU backend (`gloo:all_reduce`, `MPI_Allreduce`),
//! its entry in a log (flight recorder, NCCL inspector). A rank with kernels may use a CPU backend beside them, of which
//! `host_call.rs` tells.

use gapless_trace::{ArgValue, Args, Collective, EventId, EventKind, RankId, StrId, Trace, Track, TrackId, TrackKind};
use rayon::prelude::*;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::collectives::{CollectiveKind, args_around, element_bytes};
use crate::host::HostTree;
use crate::match_collectives::host_call::host_calls;
use crate::match_collectives::nccl::{Launched, Plugin};

/// Names with which ranges of CPU backends begin.
const HOST_RANGES: [&str; 4] = ["gloo:", "mpi:", "ucc:", "MPI_"];

/// Names of the ranges in which a host launches communication kernels.
const LAUNCH_RANGES: [&str; 3] = ["nccl:", "rccl:", "xccl:"];

/// What shows a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Place {
    /// A kernel on a device stream.
    Device,
    /// A range on a thread.
    Host,
    /// An entry of a log.
    Log,
    /// A range in which a host hands it to the device; when it ran is not known.
    Enqueued,
}

/// Which communicator a call belongs to, in words that all of its ranks share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GroupKey {
    pub place: Place,
    /// Name or id; for a group that the trace does not name, the stream or backend that stands in for it.
    pub name: String,
    /// Ranks of the group as the trace lists them; groups without ranks in common may have the same name.
    pub ranks: String,
    /// Whether the trace names the group.
    pub is_named: bool,
}

/// One call of one rank.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub rank: RankId,
    pub event: EventId,
    /// On the clock of its rank.
    pub start_ns: i64,
    pub end_ns: i64,
    pub kind: CollectiveKind,
    /// Name in the arguments or of the range; else of the kernel.
    pub name: StrId,
    /// Place in [`Calls::groups`].
    pub group: u32,
    pub group_size: Option<u32>,
    pub seq: Option<u64>,
    pub in_elems: Option<u64>,
    pub out_elems: Option<u64>,
    pub element_bytes: Option<u64>,
    /// Bytes that the trace states outright.
    pub bytes_told: Option<u64>,
    /// Ranks that a point-to-point call sends from and to.
    pub peers: Option<(u32, u32)>,
    /// When the host asked for it, where the trace says so.
    pub enqueued_ns: Option<i64>,
    /// Whether `seq` counts calls of this kind only.
    pub is_seq_of_kind: bool,
}

/// The calls of all ranks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls {
    pub groups: Vec<GroupKey>,
    /// By rank, then start.
    pub calls: Vec<Call>,
}

impl Calls {
    pub fn new(trace: &Trace) -> Self {
        let names = RangeNames::new(trace);
        let ids: Vec<RankId> = trace.rank_ids().map(|(id, _)| id).collect();
        let found: Vec<Vec<(GroupKey, Call)>> =
            ids.into_par_iter().map(|rank| calls_of_rank(trace, rank, &names)).collect();
        let mut places: FxHashMap<GroupKey, u32> = FxHashMap::default();
        let mut this = Self::default();
        for (key, mut call) in found.into_iter().flatten() {
            call.group = match places.get(&key) {
                Some(&place) => place,
                None => {
                    let place = this.groups.len() as u32;
                    this.groups.push(key.clone());
                    places.insert(key, place);
                    place
                }
            };
            this.calls.push(call);
        }
        this
    }
}

/// Ids of the names that ranges of communication have.
#[derive(Debug, Default)]
struct RangeNames {
    host: FxHashSet<StrId>,
    launch: FxHashSet<StrId>,
}

impl RangeNames {
    fn new(trace: &Trace) -> Self {
        let mut this = Self::default();
        for (id, text) in trace.strings().iter() {
            if HOST_RANGES.iter().any(|prefix| text.starts_with(prefix)) {
                this.host.insert(id);
            }
            if LAUNCH_RANGES.iter().any(|prefix| text.starts_with(prefix)) {
                this.launch.insert(id);
            }
        }
        this
    }
}

fn calls_of_rank(trace: &Trace, rank: RankId, names: &RangeNames) -> Vec<(GroupKey, Call)> {
    let mut calls = device_calls(trace, rank, names);
    calls.extend(host_calls(trace, rank, &names.host));
    if calls.is_empty() {
        calls = log_calls(trace, rank);
    }
    calls.sort_by_key(|(_, call)| (call.start_ns, call.end_ns, call.event));
    calls
}

pub(super) fn call_of(trace: &Trace, rank: RankId, event: EventId, args: Option<&Collective>) -> Call {
    let at = trace.event(event);
    let told = args.map(|args| CollectiveKind::of(trace.text(args.name))).filter(|&kind| kind != CollectiveKind::Other);
    Call {
        rank,
        event,
        start_ns: at.start.nanos(),
        end_ns: at.end().nanos(),
        kind: told.unwrap_or_else(|| CollectiveKind::of(trace.text(at.name))),
        name: args.map(|args| args.name).filter(|&name| name != StrId::EMPTY).unwrap_or(at.name),
        group: 0,
        group_size: args.and_then(|args| args.group_size),
        seq: args.and_then(|args| args.seq),
        in_elems: args.and_then(|args| args.in_elems),
        out_elems: args.and_then(|args| args.out_elems),
        element_bytes: args.and_then(|args| element_bytes(trace.text(args.dtype))),
        bytes_told: None,
        peers: None,
        enqueued_ns: None,
        is_seq_of_kind: false,
    }
}

// ---- kernels --------------------------------------------------------------------------------------------------------

/// A range of a thread: start, end, event.
pub(super) type Range = (i64, i64, EventId);

/// The ranges of the given names on each thread of a rank, by start.
pub(super) fn ranges(trace: &Trace, rank: RankId, names: &FxHashSet<StrId>) -> FxHashMap<TrackId, Vec<Range>> {
    let mut found: FxHashMap<TrackId, Vec<Range>> = FxHashMap::default();
    if names.is_empty() {
        return found;
    }
    let columns = trace.events().names();
    for (track_id, track) in trace.tracks_of(rank).filter(|(_, track)| track.kind == TrackKind::Thread) {
        let of_name = track.event_ids().filter(|id| columns.get(id.index()).is_some_and(|name| names.contains(name)));
        let mut list: Vec<Range> = of_name
            .map(|id| {
                let event = trace.event(id);
                (event.start.nanos(), event.end().nanos(), id)
            })
            .collect();
        if !list.is_empty() {
            list.sort_unstable();
            found.insert(track_id, list);
        }
    }
    found
}

/// The range that runs at `at`, the one begun last.
fn range_around(ranges: &[Range], at: i64) -> Option<EventId> {
    let begun = ranges.partition_point(|range| range.0 <= at);
    // Ranges of one thread nest no deeper than a call that is made of others.
    ranges.get(..begun)?.iter().rev().take(4).find(|range| range.1 > at).map(|range| range.2)
}

/// Communication kernels. What the kernel's own arguments do not say, an operator or a range around its launch may.
fn device_calls(trace: &Trace, rank: RankId, names: &RangeNames) -> Vec<(GroupKey, Call)> {
    let kinds = trace.events().kinds();
    let is_call = |id: &EventId| kinds.get(id.index()).is_some_and(|kind| kind.is_communication());
    let streams: Vec<&Track> =
        trace.tracks_of(rank).map(|(_, track)| track).filter(|track| track.kind == TrackKind::Stream).collect();
    let mut found = Vec::new();
    let all = streams.iter().flat_map(|track| track.event_ids().filter(is_call));
    let launched = |kernel| Some(Launched { launch: trace.launches().launch_of(kernel)?, kernel });
    let plugin = Plugin::of_rank(trace, rank, &all.filter_map(launched).collect::<Vec<_>>());
    // What costs a pass over all events of the rank is made when the first kernel asks for it.
    let mut host: Option<HostTree> = None;
    let mut launch_ranges: Option<FxHashMap<TrackId, Vec<Range>>> = None;
    let mut group_ranks: FxHashMap<StrId, String> = FxHashMap::default();
    for track in streams {
        for event in track.event_ids().filter(is_call) {
            let mut args = trace.collective(event);
            let launch = if args.is_none() { trace.launches().launch_of(event) } else { None };
            if let Some(launch) = launch.filter(|_| !trace.collectives().is_empty()) {
                args = args_around(trace, host.get_or_insert_with(|| HostTree::new(trace, rank)), launch);
            }
            let mut call = call_of(trace, rank, event, args);
            if let Some(launch) = launch {
                let ranges = launch_ranges.get_or_insert_with(|| ranges(trace, rank, &names.launch));
                let on_thread = trace.track_of(launch).and_then(|(track, _)| ranges.get(&track));
                let at = trace.event(launch).start.nanos();
                if let Some(range) = on_thread.and_then(|ranges| range_around(ranges, at)) {
                    add_range(trace, &mut call, range);
                }
            }
            let told = if args.is_none() { plugin.describe(event, &mut call) } else { None };
            let source = args.map_or(event, |args| args.event);
            let group = args.map(|args| args.group).unwrap_or_default();
            if call.kind == CollectiveKind::SendReceive && args.is_some() {
                call.peers = peers(&arguments(trace, source));
            }
            let key = if let Some(told) = told {
                told
            } else if group == StrId::EMPTY {
                GroupKey {
                    place: Place::Device,
                    name: format!("stream {}", trace.raw_id_text(track.tid)),
                    ranks: String::new(),
                    is_named: false,
                }
            } else {
                let ranks = group_ranks.entry(group).or_insert_with(|| ranks_of_group(&arguments(trace, source)));
                let name = trace.text(group).to_owned();
                GroupKey { place: Place::Device, name, ranks: ranks.clone(), is_named: true }
            };
            found.push((key, call));
        }
    }
    let has_kernels = !found.is_empty();
    found.extend(plugin.alone(has_kernels));
    found
}

/// All arguments of an event; none if they cannot be read any more.
pub(super) fn arguments(trace: &Trace, event: EventId) -> Args {
    trace.args(event).unwrap_or_default()
}

pub(super) fn argument<'a>(args: &'a Args, name: &str) -> Option<&'a ArgValue> {
    args.iter().find(|entry| entry.0 == name).map(|entry| &entry.1)
}

pub(super) fn unsigned(args: &Args, name: &str) -> Option<u64> {
    argument(args, name)?.as_i64().and_then(|value| u64::try_from(value).ok())
}

/// The ranks of a group, as the file lists them.
fn ranks_of_group(args: &Args) -> String {
    argument(args, "Process Group Ranks").map(ToString::to_string).unwrap_or_default()
}

fn peers(args: &Args) -> Option<(u32, u32)> {
    let rank = |name: &str| unsigned(args, name).and_then(|rank| u32::try_from(rank).ok());
    let (from, to) = (rank("Src Rank")?, rank("Dst Rank")?);
    (from != to).then_some((from, to))
}

/// Adds what a range (`nccl:all_to_all`) says about its call: what it does, and the shape and type of its input.
pub(super) fn add_range(trace: &Trace, call: &mut Call, range: EventId) {
    let name = trace.event(range).name;
    let (_, what) = trace.text(name).split_once([':', '_']).unwrap_or_default();
    let kind = CollectiveKind::of(what);
    if kind != CollectiveKind::Other && (call.name == trace.event(call.event).name || call.event == range) {
        // A kernel that sends and receives may be a part of an all-to-all; its range knows.
        call.kind = kind;
        call.name = name;
    }
    if call.element_bytes.is_some() && (call.in_elems.is_some() || call.out_elems.is_some()) {
        return;
    }
    let args = arguments(trace, range);
    if let Some(ArgValue::List(tensors)) = argument(&args, "Input Dims") {
        call.in_elems = elements(tensors).or(call.in_elems);
    }
    if let Some(ArgValue::List(types)) = argument(&args, "Input type") {
        call.element_bytes = types.iter().find_map(|kind| element_bytes(kind.as_str()?)).or(call.element_bytes);
    }
}

/// Elements of all tensors together: products of the innermost lists of `[[2, 3], [4]]`.
fn elements(dims: &[ArgValue]) -> Option<u64> {
    let mut sum: Option<u64> = None;
    for tensor in dims {
        let ArgValue::List(inner) = tensor else { continue };
        let is_shape = !inner.is_empty() && inner.iter().all(|side| side.as_i64().is_some());
        let count = if is_shape {
            let sides = inner.iter().filter_map(|side| u64::try_from(side.as_i64()?).ok());
            Some(sides.fold(1, u64::saturating_mul))
        } else {
            elements(inner)
        };
        sum = count.map_or(sum, |count| Some(sum.unwrap_or(0).saturating_add(count)));
    }
    sum
}

// ---- logs -----------------------------------------------------------------------------------------------------------

/// Entries of logs that have a length. Only for ranks without anything better: a watchdog sees starts and ends late.
fn log_calls(trace: &Trace, rank: RankId) -> Vec<(GroupKey, Call)> {
    let Some(info) = trace.rank(rank) else { return Vec::new() };
    let all = trace.collectives();
    let from = all.partition_point(|args| args.event.0 < info.events.start);
    let of_rank = all.get(from..).unwrap_or_default().iter().take_while(|args| args.event.0 < info.events.end);
    let mut found = Vec::new();
    for args in of_rank {
        let event = trace.event(args.event);
        if event.kind != EventKind::Async || event.dur.nanos() == 0 {
            continue;
        }
        let call = call_of(trace, rank, args.event, Some(args));
        let name = trace.text(args.group).to_owned();
        let is_named = !name.is_empty();
        found.push((GroupKey { place: Place::Log, name, ranks: String::new(), is_named }, call));
    }
    found
}
