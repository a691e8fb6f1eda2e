//! Arrows between events: launches and other flows.
//!
//! Perfetto has no direction of its own: the slice that comes first in time starts a flow and the other ends
//! it, and an end before the start is ignored. Device work that begins before its launch (clocks that
//! disagree) would lose its arrow, so each flow starts at whichever slice is read first. Flow ids are counted
//! up range by range, and the facts of the trace say for each range what its flows are and whether they run
//! backwards.

use gapless_trace::{EventId, StrId, Trace};

use super::encode::file_time;

/// Flows of one sort, with consecutive ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FlowRange {
    /// Category; `None` for launch → device work.
    pub category: Option<StrId>,
    /// Whether the flow's target is read before its source.
    pub reversed: bool,
    /// First id; ids begin at 1.
    pub first: u64,
    /// Number of flows.
    pub count: u64,
}

/// One end of a flow: event, and id × 2 + (1 if the flow ends there).
type FlowEnd = (EventId, u64);

/// All ends of flows, sorted by event.
#[derive(Debug, Default)]
pub(super) struct FlowTable {
    ends: Vec<FlowEnd>,
    ranges: Vec<FlowRange>,
}

impl FlowTable {
    /// The flows of `trace`, whose lanes are written in the order of its rows, all times moved by `shift_ns`.
    pub(super) fn new(trace: &Trace, shift_ns: i64) -> Self {
        // Order of reading: by time in the file, then by place in it. Lanes are written one after the other.
        let key = |id: EventId| {
            let start = trace.event(id).start;
            let row = trace.row_of(id).map(|(_, row)| row);
            let lane = row.map(|row| (row.track, row.lane));
            (file_time(start.nanos(), shift_ns), lane, start, row.map(|row| row.depth), id)
        };
        let launches = trace.launches().pairs().iter().map(|&(from, to)| (None, from, to));
        let others = trace.flows().iter().map(|flow| (Some(flow.category), flow.from, flow.to));
        let mut flows: Vec<(Option<StrId>, bool, EventId, EventId)> = launches
            .chain(others)
            .map(
                |(category, from, to)| {
                    if key(to) < key(from) { (category, true, to, from) } else { (category, false, from, to) }
                },
            )
            .collect();
        flows.sort_unstable();

        let mut table = Self { ends: Vec::with_capacity(flows.len() * 2), ranges: Vec::new() };
        for (index, (category, reversed, begin, end)) in flows.into_iter().enumerate() {
            let id = index as u64 + 1;
            match table.ranges.last_mut() {
                Some(range) if range.category == category && range.reversed == reversed => range.count += 1,
                _ => table.ranges.push(FlowRange { category, reversed, first: id, count: 1 }),
            }
            table.ends.push((begin, id << 1));
            table.ends.push((end, id << 1 | 1));
        }
        table.ends.sort_unstable();
        table
    }

    /// Flows that touch `event`: id and whether it ends there. O(log flows).
    pub(super) fn of(&self, event: EventId) -> impl Iterator<Item = (u64, bool)> + '_ {
        let from = self.ends.partition_point(|end| end.0 < event);
        let rest = self.ends.get(from..).unwrap_or_default();
        rest.iter().take_while(move |end| end.0 == event).map(|end| (end.1 >> 1, end.1 & 1 == 1))
    }

    /// What ids mean.
    pub(super) fn ranges(&self) -> &[FlowRange] {
        &self.ranges
    }

    /// Number of flows.
    pub(super) fn len(&self) -> u64 {
        self.ends.len() as u64 / 2
    }
}
