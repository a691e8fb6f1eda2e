//! What NCCL's profiler plugin says of collectives and messages, and the kernels that do them.
//!
//! NCCL tells, on the host, when it hands an operation to the device, and with it group, number, algorithm, elements. It
//! launches a kernel and right after it, on the same thread, tells what is in it; so an operation belongs to the
//! communication kernel that its thread launched last. What a captured graph launches is told by a thread of CUDA and
//! belongs to no launch.
//!
//! Where channels were recorded, the device's own times of each are known, in the device's clock. The smallest
//! difference to the time at which NCCL saw a channel begin stands for the difference of the clocks, which is right but
//! for the shortest delay with which NCCL looks.

use gapless_trace::{ArgValue, Args, EventId, RankId, StrId, Trace, TrackKind};
use rustc_hash::FxHashMap;

use super::call::{Call, GroupKey, Place, argument, arguments, call_of, unsigned};
use crate::collectives::CollectiveKind;

/// Name of the ranges of channels in our own recordings.
const CHANNEL: &str = "NCCL channel";

/// What marks an operation of NCCL's plugin.
const ID: &str = "nccl_id";

/// Process and thread, as ids within the trace.
type ThreadKey = (u32, i64);

/// A communication kernel and its launch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Launched {
    pub launch: EventId,
    pub kernel: EventId,
}

/// An operation that was handed to the device.
#[derive(Debug)]
struct Handed {
    call: Call,
    key: GroupKey,
    /// Who handed it over; not known of captured ones.
    thread: Option<ThreadKey>,
    is_captured: bool,
    kernel: Option<EventId>,
}

/// All of a rank, by time.
#[derive(Debug, Default)]
pub(super) struct Plugin {
    handed: Vec<Handed>,
    /// Places in `handed`, by kernel.
    of_kernel: FxHashMap<EventId, Vec<usize>>,
}

/// Ranges of a rank that are not on their thread, or calls on one, by the number that NCCL's plugin gave them.
fn numbered(args: &Args) -> Option<u64> {
    unsigned(args, ID)
}

impl Plugin {
    /// What a rank has; `kernels` are its communication kernels.
    pub fn of_rank(trace: &Trace, rank: RankId, kernels: &[Launched]) -> Self {
        let mut this = Self::default();
        let Some(info) = trace.rank(rank) else { return this };
        let all = trace.collectives();
        let from = all.partition_point(|args| args.event.0 < info.events.start);
        let of_rank = all.get(from..).unwrap_or_default().iter().take_while(|args| args.event.0 < info.events.end);
        let mut numbers: FxHashMap<(u32, u64), usize> = FxHashMap::default();
        let mut parents: Vec<Option<(u32, u64)>> = Vec::new();
        for entry in of_rank {
            let Some((_, track)) = trace.track_of(entry.event).filter(|(_, track)| track.kind == TrackKind::Custom)
            else {
                continue;
            };
            let args = arguments(trace, entry.event);
            let Some(number) = numbered(&args) else { continue };
            let process = track.process.0;
            let mut call = call_of(trace, rank, entry.event, Some(entry));
            call.name = entry.name;
            call.enqueued_ns = Some(call.start_ns);
            // NCCL counts each function of a communicator by itself.
            call.is_seq_of_kind = true;
            if call.kind == CollectiveKind::SendReceive {
                call.peers = peers(trace.text(entry.name), &args);
            }
            let key = GroupKey {
                place: Place::Enqueued,
                name: trace.text(entry.group).to_owned(),
                ranks: String::new(),
                is_named: entry.group != StrId::EMPTY,
            };
            let thread = argument(&args, "thread").and_then(ArgValue::as_i64).map(|thread| (process, thread));
            let is_captured = unsigned(&args, "graph_captured") == Some(1);
            parents.push(unsigned(&args, "nccl_parent").map(|parent| (process, parent)));
            numbers.insert((process, number), this.handed.len());
            this.handed.push(Handed { call, key, thread, is_captured, kernel: None });
        }
        if this.handed.is_empty() {
            return this;
        }
        this.add_calls(trace, rank, &parents);
        this.add_device_times(trace, rank, &numbers);
        this.join(trace, kernels);
        this
    }

    /// When the job asked: the beginnings of the calls (`ncclAllReduce`), where they were recorded.
    fn add_calls(&mut self, trace: &Trace, rank: RankId, parents: &[Option<(u32, u64)>]) {
        let mut begins: FxHashMap<(u32, u64), i64> = FxHashMap::default();
        for (_, track) in trace.tracks_of(rank).filter(|(_, track)| track.kind == TrackKind::Thread) {
            for event in track.event_ids().filter(|&event| is_call(trace.name(event))) {
                if let Some(number) = numbered(&arguments(trace, event)) {
                    begins.insert((track.process.0, number), trace.event(event).start.nanos());
                }
            }
        }
        for (handed, parent) in self.handed.iter_mut().zip(parents).filter(|(handed, _)| !handed.is_captured) {
            if let Some(&begin) = parent.as_ref().and_then(|parent| begins.get(parent)) {
                handed.call.start_ns = handed.call.start_ns.min(begin);
                handed.call.enqueued_ns = Some(handed.call.start_ns);
            }
        }
    }

    /// When channels on the device began and ended with an operation.
    fn add_device_times(&mut self, trace: &Trace, rank: RankId, numbers: &FxHashMap<(u32, u64), usize>) {
        let mut channels: Vec<(usize, i64, i64)> = Vec::new();
        let mut offset_ns: Option<i64> = None;
        for (_, track) in trace.tracks_of(rank).filter(|(_, track)| track.kind == TrackKind::Custom) {
            for event in track.event_ids().filter(|&event| trace.name(event) == CHANNEL) {
                let args = arguments(trace, event);
                let time = |name: &str| argument(&args, name).and_then(ArgValue::as_i64).filter(|&time| time > 0);
                let (Some(start), Some(end)) = (time("device_start_ns"), time("device_end_ns")) else { continue };
                let seen_ns = trace.event(event).start.nanos();
                let delay = seen_ns.saturating_sub(start);
                offset_ns = Some(offset_ns.map_or(delay, |least| least.min(delay)));
                let parent = unsigned(&args, "nccl_parent").map(|parent| (track.process.0, parent));
                if let Some(&place) = parent.and_then(|parent| numbers.get(&parent)) {
                    channels.push((place, start, end));
                }
            }
        }
        let Some(offset_ns) = offset_ns else { return };
        let mut spans: FxHashMap<usize, (i64, i64)> = FxHashMap::default();
        for (place, start, end) in channels {
            let span = spans.entry(place).or_insert((start, end));
            *span = (span.0.min(start), span.1.max(end));
        }
        for (place, (start, end)) in spans {
            let Some(handed) = self.handed.get_mut(place) else { continue };
            handed.call.start_ns = start.saturating_add(offset_ns);
            handed.call.end_ns = end.max(start).saturating_add(offset_ns);
            handed.key.place = Place::Device;
        }
    }

    /// Finds the kernel of each operation.
    fn join(&mut self, trace: &Trace, kernels: &[Launched]) {
        let mut launches: FxHashMap<ThreadKey, Vec<(i64, EventId)>> = FxHashMap::default();
        for launched in kernels {
            let Some((_, track)) = trace.track_of(launched.launch) else { continue };
            if let gapless_trace::RawId::Int(tid) = track.tid {
                let at = trace.event(launched.launch).start.nanos();
                launches.entry((track.process.0, tid)).or_default().push((at, launched.kernel));
            }
        }
        for list in launches.values_mut() {
            list.sort_unstable();
        }
        for (place, handed) in self.handed.iter_mut().enumerate() {
            let Some(list) = handed.thread.and_then(|thread| launches.get(&thread)) else { continue };
            let at = trace.event(handed.call.event).start.nanos();
            let before = list.partition_point(|launch| launch.0 <= at);
            let Some(&(_, kernel)) = before.checked_sub(1).and_then(|last| list.get(last)) else { continue };
            // Of a launch that was not recorded the one before is another operation's.
            let does = CollectiveKind::of(trace.name(kernel));
            if does == handed.call.kind || does == CollectiveKind::Other {
                handed.kernel = Some(kernel);
                self.of_kernel.entry(kernel).or_default().push(place);
            }
        }
    }

    /// Fills in what NCCL says of a kernel: the group of its call, if it says any.
    pub fn describe(&self, kernel: EventId, call: &mut Call) -> Option<GroupKey> {
        let places = self.of_kernel.get(&kernel)?;
        let inside = || places.iter().filter_map(|&place| self.handed.get(place));
        let first = inside().next()?;
        let told = &first.call;
        call.enqueued_ns = inside().filter_map(|handed| handed.call.enqueued_ns).min();
        if call.kind == CollectiveKind::Other || told.kind != CollectiveKind::SendReceive {
            (call.kind, call.name) = (told.kind, told.name);
        }
        call.seq = told.seq;
        call.is_seq_of_kind = true;
        call.group_size = told.group_size.or(call.group_size);
        call.element_bytes = told.element_bytes.or(call.element_bytes);
        let sum = |elements: fn(&Call) -> Option<u64>| {
            inside().map(|handed| elements(&handed.call)).try_fold(0_u64, |sum, count| sum.checked_add(count?))
        };
        // One kernel may do several operations that were asked for together.
        if inside().all(|handed| handed.call.kind == told.kind && handed.call.element_bytes == told.element_bytes) {
            call.in_elems = sum(|call| call.in_elems).or(call.in_elems);
            call.out_elems = sum(|call| call.out_elems).or(call.out_elems);
        }
        if places.len() == 1 {
            call.peers = told.peers;
        }
        first.key.is_named.then(|| GroupKey { place: Place::Device, ..first.key.clone() })
    }

    /// Operations without a kernel in the trace, as calls. Those of graphs are left out where kernels were recorded: they
    /// are among these.
    pub fn alone(self, has_kernels: bool) -> impl Iterator<Item = (GroupKey, Call)> {
        let is_alone = move |handed: &Handed| handed.kernel.is_none() && !(has_kernels && handed.is_captured);
        self.handed.into_iter().filter(is_alone).map(|handed| (handed.key, handed.call))
    }
}

/// Whether a range of this name is a call of NCCL in our own recordings.
fn is_call(name: &str) -> bool {
    name.strip_prefix("nccl").is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_uppercase()))
}

/// Who sends to whom in a message.
fn peers(function: &str, args: &Args) -> Option<(u32, u32)> {
    let rank = |name: &str| unsigned(args, name).and_then(|rank| u32::try_from(rank).ok());
    let (me, peer) = (rank("Rank")?, rank("peer")?);
    Some(if CollectiveKind::is_send(function) { (me, peer) } else { (peer, me) })
}

#[cfg(test)]
#[path = "nccl_tests.rs"]
mod tests;
