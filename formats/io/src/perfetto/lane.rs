//! The rows of a lane, merged into begins and ends in nesting order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use gapless_trace::{EventId, Row, Trace};

/// What is written next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// A slice begins.
    Begin(EventId),
    /// The slice that began last ends.
    End(EventId),
    /// A point in time.
    Instant(EventId),
}

/// Whether an event is written as an instant: it is one and takes no time.
pub(super) fn is_instant(trace: &Trace, id: EventId) -> bool {
    let is_point = trace.events().kinds().get(id.index()).is_some_and(|kind| kind.is_instant());
    is_point && trace.events().durs().get(id.index()) == Some(&0)
}

/// Walks the rows of one lane in the order of start, then depth, then column. Times of what it gives never go
/// back, because an event lies within the last one begun above it. O(log depth) per event.
pub(super) struct LaneOps<'t> {
    trace: &'t Trace,
    rows: &'t [Row],
    /// Next event of each row: start, place in `rows`, event.
    next: BinaryHeap<Reverse<(i64, usize, u32)>>,
    open: Vec<EventId>,
}

impl<'t> LaneOps<'t> {
    /// `rows` are consecutive depths of one lane.
    pub(super) fn new(trace: &'t Trace, rows: &'t [Row]) -> Self {
        let mut ops = Self { trace, rows, next: BinaryHeap::with_capacity(rows.len()), open: Vec::new() };
        for (depth, row) in rows.iter().enumerate() {
            ops.queue(depth, row.events.start);
        }
        ops
    }

    fn queue(&mut self, depth: usize, event: u32) {
        let in_row = self.rows.get(depth).is_some_and(|row| row.events.contains(&event));
        if let Some(&start) = self.trace.events().starts().get(event as usize).filter(|_| in_row) {
            self.next.push(Reverse((start, depth, event)));
        }
    }
}

impl Iterator for LaneOps<'_> {
    type Item = Op;

    fn next(&mut self) -> Option<Op> {
        let depth = self.next.peek().map_or(0, |Reverse((_, depth, _))| *depth);
        if self.open.len() > depth {
            return self.open.pop().map(Op::End);
        }
        let Reverse((_, depth, event)) = self.next.pop()?;
        self.queue(depth, event + 1);
        let id = EventId(event);
        if is_instant(self.trace, id) {
            return Some(Op::Instant(id));
        }
        self.open.push(id);
        Some(Op::Begin(id))
    }
}
