//! Calls that launch device work: what they cost, and how long the work then waits.

use gapless_trace::{EventId, StrId, Trace};
use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::stats::Stats;
use crate::tables::by_time_then_name;
use crate::work::DeviceWork;

/// All launching calls of one name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LaunchRow {
    /// Name of the call.
    pub name: String,
    /// Calls that launched something.
    pub calls: u64,
    /// Device work that they launched.
    pub device_events: u64,
    /// Durations of the calls on the host.
    pub call: Stats,
    /// From the start of the call to the start of its first work on the device: launch latency and time in the queue.
    pub delay: Stats,
    /// From the end of the call to the start of its first work; negative if the work began before the call returned.
    pub after_call: Stats,
    /// Calls that took longer than all the work they launched.
    pub longer_than_work: u64,
    /// Calls whose work begins before the call does, which no machine does: the clocks of host and device disagree.
    pub work_before_call: u64,
    /// The call with the longest delay, the first of equals.
    #[serde(serialize_with = "crate::ids::event")]
    pub longest_delay_event: EventId,
}

#[derive(Default)]
struct Group {
    name: StrId,
    device_events: u64,
    call: Vec<i64>,
    delay: Vec<i64>,
    after_call: Vec<i64>,
    longer_than_work: u64,
    work_before_call: u64,
    longest_delay: Option<(i64, EventId)>,
}

/// First start, work and count of the device work of one call.
struct Launched {
    launch: EventId,
    first_start: i64,
    sum: i64,
    count: u64,
}

/// The launching calls with what they launched, by call.
fn launched(device: &DeviceWork) -> Vec<Launched> {
    let mut pairs: Vec<(EventId, i64, i64)> =
        device.work.iter().filter_map(|work| Some((work.launch()?, work.start, work.duration()))).collect();
    pairs.sort_unstable();
    let mut calls: Vec<Launched> = Vec::with_capacity(pairs.len());
    for (launch, start, duration) in pairs {
        match calls.last_mut() {
            Some(last) if last.launch == launch => {
                last.sum = last.sum.saturating_add(duration);
                last.count += 1;
            }
            _ => calls.push(Launched { launch, first_start: start, sum: duration, count: 1 }),
        }
    }
    calls
}

pub(crate) fn rows(trace: &Trace, device: &DeviceWork) -> Vec<LaunchRow> {
    let mut places: FxHashMap<StrId, usize> = FxHashMap::default();
    let mut groups: Vec<Group> = Vec::new();
    for work in launched(device) {
        let call = trace.event(work.launch);
        let place = *places.entry(call.name).or_insert_with(|| {
            groups.push(Group { name: call.name, ..Group::default() });
            groups.len() - 1
        });
        let Some(group) = groups.get_mut(place) else { continue };
        let delay = work.first_start.saturating_sub(call.start.nanos());
        group.device_events += work.count;
        group.call.push(call.dur.nanos());
        group.delay.push(delay);
        group.after_call.push(work.first_start.saturating_sub(call.end().nanos()));
        group.longer_than_work += u64::from(call.dur.nanos() > work.sum);
        group.work_before_call += u64::from(delay < 0);
        if group.longest_delay.is_none_or(|(longest, _)| delay > longest) {
            group.longest_delay = Some((delay, work.launch));
        }
    }
    let row = |mut group: Group| {
        Some(LaunchRow {
            name: trace.text(group.name).to_owned(),
            calls: group.call.len() as u64,
            device_events: group.device_events,
            call: Stats::of(&mut group.call),
            delay: Stats::of(&mut group.delay),
            after_call: Stats::of(&mut group.after_call),
            longer_than_work: group.longer_than_work,
            work_before_call: group.work_before_call,
            longest_delay_event: group.longest_delay?.1,
        })
    };
    let mut rows: Vec<_> = groups.into_iter().filter_map(row).collect();
    rows.sort_by(|a, b| by_time_then_name((a.call.sum_ns, &a.name), (b.call.sum_ns, &b.name)));
    rows
}
