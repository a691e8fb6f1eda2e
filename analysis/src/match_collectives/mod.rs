//! Collectives over ranks: which calls belong together, who came when, what moved the data and how fast.

pub(crate) mod call;
mod cost;
mod delay_cost;
mod host_call;
mod lateness;
pub(crate) mod matching;
mod nccl;
mod report;
mod timing;

use std::collections::BTreeMap;

use gapless_trace::{EventId, RankId, Span, Timestamp, Trace};
use serde::Serialize;

use crate::clock::ClockAlignment;
use crate::collectives::{CollectiveKind, full_elements};
use call::{Calls, Place};
pub use cost::{CollectiveCost, CostModel, SizeCost, costs};
pub use delay_cost::{BETWEEN_OPERATORS, DelayCost, DelayKind, delay_costs};
pub use lateness::{LatenessVerdict, RankLateness, chance_of_t, lateness};
pub use matching::MatchedBy;
use matching::{Matched, matched};
pub use report::{CollectiveReport, TimedCollective};
pub use timing::{CollectiveTiming, SIGMAS, timings};

/// One rank's part in a collective.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Member {
    /// The rank.
    #[serde(serialize_with = "crate::ids::rank")]
    pub rank: RankId,
    /// Its kernel, or its range on a thread of a CPU backend.
    #[serde(serialize_with = "crate::ids::event")]
    pub event: EventId,
    /// When its host asked for it, on the common clock; `None` where the trace does not say.
    #[serde(rename = "enqueued_ns", serialize_with = "crate::ids::maybe_time")]
    pub enqueued: Option<Timestamp>,
    /// When it arrived, on the common clock.
    #[serde(rename = "start_ns", serialize_with = "crate::ids::time")]
    pub start: Timestamp,
    /// When it was done, on the common clock.
    #[serde(rename = "end_ns", serialize_with = "crate::ids::time")]
    pub end: Timestamp,
}

/// One collective over its member ranks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CollectiveInstance {
    /// Its group: the name in the trace; else what stands in for it (`stream 84`, `gloo`), with a number behind it where
    /// that stands for several groups.
    pub group: String,
    /// Place of the communicator among all of the trace: equal for all instances of one group.
    pub communicator: u32,
    /// Its sequence number in the group, where the trace has it.
    pub sequence: Option<u64>,
    /// What it does.
    pub kind: CollectiveKind,
    /// Its name in the trace.
    pub name: String,
    /// Full size S: what an all-gather puts out and every other takes in, the largest of its members; `None` if unknown.
    pub bytes: Option<u64>,
    /// Its members by rank, on the common clock. Ranks that the recording does not have are missing.
    pub members: Vec<Member>,
    /// Ranks in the group, where the trace says so.
    pub expected_size: Option<u32>,
    /// Ranks in the group as far as one can know: what the trace says; else the members, unless the job has more ranks,
    /// some of which may belong to the group and were not recorded.
    pub size: Option<u32>,
    /// First or last of its group in the recording of any member. Who came late there may only have begun to record
    /// late, so such an instance says nothing about stragglers.
    pub edge: bool,
    /// Whether it ran on devices, not on threads of a CPU backend.
    pub on_device: bool,
    /// Whether the recording tells only when hosts handed it to their devices. Then `start` and `end` of its members are
    /// those of the hand-over, and say nothing about transfer or waits.
    pub enqueued_only: bool,
    /// How its members were found.
    pub matched_by: MatchedBy,
}

impl CollectiveInstance {
    /// Whether all ranks of the group are members, as far as the trace tells its size.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.members.len() >= self.expected_size.map_or(2, |size| size as usize)
    }

    /// From the first arrival to the last end.
    #[must_use]
    pub fn span(&self) -> Span {
        let start = self.members.iter().map(|member| member.start).min().unwrap_or_default();
        let end = self.members.iter().map(|member| member.end).max().unwrap_or_default();
        Span::new(start, end)
    }
}

/// All collectives of `trace` over its ranks, on the common clock of `clocks`, in the order of their ends.
///
/// A collective that only one rank shows is an instance with one member.
#[must_use]
pub fn match_collectives(trace: &Trace, clocks: &ClockAlignment) -> Vec<CollectiveInstance> {
    let calls = Calls::new(trace);
    let matched = matched(&calls);
    instances(trace, &calls, &matched, clocks)
}

pub(crate) fn instances(
    trace: &Trace,
    calls: &Calls,
    matched: &[Matched],
    clocks: &ClockAlignment,
) -> Vec<CollectiveInstance> {
    let parts = parts(calls, matched);
    let world = trace.ranks().iter().filter_map(|rank| rank.world_size).max();
    let mut found: Vec<CollectiveInstance> = Vec::with_capacity(matched.len());
    for entry in matched {
        let own: Vec<&call::Call> = entry.calls.iter().filter_map(|&place| calls.calls.get(place)).collect();
        let (Some(first), Some(key)) = (own.first(), calls.groups.get(entry.group as usize)) else { continue };
        let on_device = key.place == Place::Device;
        let expected_size = own.iter().filter_map(|call| call.group_size).max();
        let members = own.len() as u32;
        // One rank alone may be one of any number.
        let is_whole = world.map_or(members > 1, |world| world <= members);
        let size = expected_size.or_else(|| is_whole.then_some(members));
        let bytes_of = |call: &&call::Call| {
            let elements = full_elements(call.kind, call.in_elems, call.out_elems, size);
            call.bytes_told.or_else(|| elements?.checked_mul(call.element_bytes?))
        };
        // A kernel whose range is not in the trace is a send and receive; a member with a range knows better.
        let named = own.iter().find(|call| call.kind != CollectiveKind::SendReceive).unwrap_or(first);
        let member = |call: &&call::Call| {
            let span =
                clocks.span_on(call.rank, Span::new(Timestamp(call.start_ns), Timestamp(call.end_ns)), on_device);
            // Host's clock, also for what then ran on the device.
            let enqueued = call.enqueued_ns.map(|at| clocks.to_common(call.rank, Timestamp(at)));
            Member { rank: call.rank, event: call.event, enqueued, start: span.start, end: span.end }
        };
        let (communicator, number) = parts.get(&(entry.group, entry.part)).copied().unwrap_or_default();
        found.push(CollectiveInstance {
            group: number.map_or_else(|| key.name.clone(), |number| format!("{} ({number})", key.name)),
            communicator,
            sequence: entry.sequence,
            kind: named.kind,
            name: trace.text(named.name).to_owned(),
            bytes: own.iter().filter_map(bytes_of).max(),
            members: own.iter().map(member).collect(),
            expected_size,
            size,
            edge: false,
            on_device,
            enqueued_only: key.place == Place::Enqueued,
            matched_by: entry.by,
        });
    }
    mark_edges(&mut found);
    found.sort_by_key(|instance| (instance.span().end, instance.communicator, instance.sequence));
    found
}

/// Of each group and part the place of its communicator, and its number where the group has several.
fn parts(calls: &Calls, matched: &[Matched]) -> BTreeMap<(u32, u32), (u32, Option<u32>)> {
    let mut parts: BTreeMap<(u32, u32), (u32, Option<u32>)> = BTreeMap::new();
    for entry in matched {
        parts.entry((entry.group, entry.part)).or_default();
    }
    // Groups without ranks in common may have one name.
    let mut names: BTreeMap<(Place, &str), u32> = BTreeMap::new();
    let name_of = |group: u32| calls.groups.get(group as usize).map(|key| (key.place, key.name.as_str()));
    for name in parts.keys().filter_map(|&(group, _)| name_of(group)) {
        *names.entry(name).or_default() += 1;
    }
    let mut numbers: BTreeMap<(Place, &str), u32> = BTreeMap::new();
    for (place, (&(group, _), entry)) in parts.iter_mut().enumerate() {
        entry.0 = place as u32;
        if let Some(name) = name_of(group).filter(|name| names.get(name).is_some_and(|&count| count > 1)) {
            let number = numbers.entry(name).or_default();
            *number += 1;
            entry.1 = Some(*number);
        }
    }
    parts
}

/// Marks the first and the last instance of each communicator on each rank.
fn mark_edges(instances: &mut [CollectiveInstance]) {
    let mut ends: BTreeMap<(u32, RankId), [(Timestamp, usize); 2]> = BTreeMap::new();
    for (place, instance) in instances.iter().enumerate() {
        for member in &instance.members {
            let at = (member.start, place);
            let entry = ends.entry((instance.communicator, member.rank)).or_insert([at; 2]);
            entry[0] = entry[0].min(at);
            entry[1] = entry[1].max(at);
        }
    }
    for (_, place) in ends.into_values().flatten() {
        if let Some(instance) = instances.get_mut(place) {
            instance.edge = true;
        }
    }
}
