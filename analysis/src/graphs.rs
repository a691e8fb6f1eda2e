//! CUDA and HIP graphs: calls that launch many pieces of work at once.

use std::hash::{Hash, Hasher};

use gapless_trace::{EventId, RankId, StrId, Trace};
use rustc_hash::{FxHashMap, FxHasher};
use serde::Serialize;

use crate::names::Names;
use crate::stats::Stats;
use crate::tables::by_time_then_name;
use crate::work::{DeviceWork, Work};

/// All launches of one graph: of one call name and the same work.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GraphRow {
    /// Name of the call (`cudaGraphLaunch`).
    pub name: String,
    /// How often this graph was launched.
    pub launches: u64,
    /// Device work of each launch; 0 if the recording links none to the call.
    pub device_events_per_launch: u64,
    /// Device work of all launches.
    pub device_events: u64,
    /// Durations of the calls on the host.
    pub call: Stats,
    /// From the first start to the last end of the device work of each launch.
    pub extent: Stats,
    /// Summed durations of the device work of all launches.
    pub device_sum_ns: i64,
    /// The first launch.
    #[serde(serialize_with = "crate::ids::event")]
    pub first_event: EventId,
    /// Name of the first work of a launch; empty if there is none.
    pub first_kernel: String,
}

#[derive(Default)]
struct Group {
    call_name: StrId,
    first: Option<EventId>,
    first_kernel: StrId,
    per_launch: u64,
    call: Vec<i64>,
    extent: Vec<i64>,
    sum: i64,
}

pub(crate) fn rows(trace: &Trace, rank: RankId, device: &DeviceWork, names: &Names) -> Vec<GraphRow> {
    // Work by launch, each in order of start.
    let mut by_launch: Vec<(EventId, &Work)> =
        device.work.iter().filter_map(|work| Some((work.launch()?, work))).collect();
    by_launch.sort_by_key(|entry| entry.0);
    let mut launches: Vec<(EventId, &[(EventId, &Work)])> = by_launch
        .chunk_by(|a, b| a.0 == b.0)
        .filter_map(|work| Some((work.first()?.0, work)))
        .filter(|(launch, work)| work.len() > 1 || names.is_graph_launch(trace.event(*launch).name))
        .collect();
    let with_work: Vec<EventId> = launches.iter().map(|launch| launch.0).collect();
    let without = graph_calls(trace, rank, names).filter(|call| with_work.binary_search(call).is_err());
    launches.extend(without.map(|call| (call, &[][..])));
    launches.sort_by_key(|&(launch, _)| (trace.event(launch).start, launch));

    let mut places: FxHashMap<(StrId, u64), usize> = FxHashMap::default();
    let mut groups: Vec<Group> = Vec::new();
    for (launch, work) in launches {
        let call = trace.event(launch);
        let name_of = |work: &Work| trace.event(work.event).name;
        let mut content = FxHasher::default();
        // Branches of a graph run side by side and take turns differently in each launch, so order does not count.
        let mut contained: Vec<StrId> = work.iter().map(|(_, piece)| name_of(piece)).collect();
        contained.sort_unstable();
        contained.hash(&mut content);
        let place = *places.entry((call.name, content.finish())).or_insert_with(|| {
            groups.push(Group {
                call_name: call.name,
                first: Some(launch),
                first_kernel: work.first().map(|(_, work)| name_of(work)).unwrap_or_default(),
                per_launch: work.len() as u64,
                ..Group::default()
            });
            groups.len() - 1
        });
        let Some(group) = groups.get_mut(place) else { continue };
        group.call.push(call.dur.nanos());
        group.sum = work.iter().map(|(_, work)| work.duration()).fold(group.sum, i64::saturating_add);
        let start = work.iter().map(|(_, work)| work.start).min();
        let end = work.iter().map(|(_, work)| work.end).max();
        if let (Some(start), Some(end)) = (start, end) {
            group.extent.push(end.saturating_sub(start));
        }
    }
    let row = |mut group: Group| {
        let launches = group.call.len() as u64;
        Some(GraphRow {
            name: trace.text(group.call_name).to_owned(),
            launches,
            device_events_per_launch: group.per_launch,
            device_events: launches * group.per_launch,
            call: Stats::of(&mut group.call),
            extent: Stats::of(&mut group.extent),
            device_sum_ns: group.sum,
            first_event: group.first?,
            first_kernel: trace.text(group.first_kernel).to_owned(),
        })
    };
    let mut rows: Vec<_> = groups.into_iter().filter_map(row).collect();
    rows.sort_by(|a, b| {
        by_time_then_name((a.device_sum_ns, &a.name), (b.device_sum_ns, &b.name))
            .then(a.first_event.cmp(&b.first_event))
    });
    rows
}

/// All calls of the rank that launch a graph, linked to work or not.
fn graph_calls<'a>(trace: &'a Trace, rank: RankId, names: &'a Names) -> impl Iterator<Item = EventId> + 'a {
    let range = trace.rank(rank).map_or(0..0, |rank| rank.events.clone());
    range.map(EventId).filter(move |id| {
        let kind = trace.events().kinds().get(id.index()).copied();
        let name = trace.events().names().get(id.index());
        kind.is_some_and(|kind| kind.is_device_call()) && name.is_some_and(|&name| names.is_graph_launch(name))
    })
}
