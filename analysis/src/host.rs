//! Which operator encloses each operator and device call on the threads of a rank.

use gapless_trace::{EventId, EventKind, RankId, StrId, Trace, Track, TrackKind};
use rustc_hash::FxHashMap;

/// No enclosing operator.
const NONE: u32 = u32::MAX;

/// For each operator and device call of one rank the innermost operator around it.
///
/// Operators and calls are nested by time on their thread, whatever lanes they are drawn in: a Python frame that was
/// left open may push a call to another lane than its operator. An event belongs to the operator that runs when it
/// begins, even if it ends a rounding error later.
#[derive(Clone, Debug, Default)]
pub struct HostTree {
    first: u32,
    /// By event of the rank, the place of the innermost operator around it in `operators`.
    outer: Vec<u32>,
    operators: Vec<OperatorCall>,
}

/// One call of an operator.
#[derive(Clone, Copy, Debug)]
pub struct OperatorCall {
    /// The operator.
    pub event: EventId,
    /// Whether an operator of the same name is around it.
    pub recursive: bool,
}

impl HostTree {
    /// One sweep over each thread. O(n log n), about linear since rows come sorted.
    #[must_use]
    pub fn new(trace: &Trace, rank: RankId) -> Self {
        let Some(info) = trace.rank(rank) else { return Self::default() };
        let mut this = Self { first: info.events.start, outer: vec![NONE; info.events.len()], operators: Vec::new() };
        for (_, track) in trace.tracks_of(rank).filter(|(_, track)| track.kind == TrackKind::Thread) {
            this.sweep(trace, track);
        }
        this
    }

    fn sweep(&mut self, trace: &Trace, track: &Track) {
        let (starts, kinds) = (trace.events().starts(), trace.events().kinds());
        let mut nested: Vec<(i64, i64, u32, bool)> = Vec::new();
        for id in track.event_ids() {
            let (Some(&start), Some(&kind)) = (starts.get(id.index()), kinds.get(id.index())) else { continue };
            let is_operator = kind == EventKind::Operator;
            if is_operator || kind.is_device_call() {
                nested.push((start, trace.events().end_at(id.index()), id.0, is_operator));
            }
        }
        // Longer first among equal starts; rows are in order of depth, so the outer of two equals has the lower id.
        nested.sort_by_key(|&(start, end, id, _)| (start, std::cmp::Reverse(end), id));
        let mut open: Vec<(i64, u32)> = Vec::new();
        let names = trace.events().names();
        let name_of = |id: EventId| names.get(id.index()).copied().unwrap_or_default();
        let mut open_of_name: FxHashMap<StrId, u32> = FxHashMap::default();
        for (start, end, id, is_operator) in nested {
            while open.last().is_some_and(|&(until, _)| until <= start) {
                let ended = open.pop().and_then(|(_, operator)| self.operators.get(operator as usize));
                if let Some(count) = ended.and_then(|call| open_of_name.get_mut(&name_of(call.event))) {
                    *count -= 1;
                }
            }
            if let (Some(place), Some(&(_, operator))) = (self.outer.get_mut((id - self.first) as usize), open.last()) {
                *place = operator;
            }
            if is_operator {
                open.push((end, self.operators.len() as u32));
                let event = EventId(id);
                let same = open_of_name.entry(name_of(event)).or_insert(0);
                self.operators.push(OperatorCall { event, recursive: *same > 0 });
                *same += 1;
            }
        }
    }

    /// All operators, each after those around it.
    #[must_use]
    pub fn operators(&self) -> &[OperatorCall] {
        &self.operators
    }

    /// The place in [`Self::operators`] of the innermost operator around `event`, an operator or device call.
    #[must_use]
    pub fn place_around(&self, event: EventId) -> Option<usize> {
        let index = event.0.checked_sub(self.first)?;
        self.outer.get(index as usize).copied().filter(|&outer| outer != NONE).map(|outer| outer as usize)
    }

    /// The innermost operator around `event`, an operator or device call.
    #[must_use]
    pub fn operator_around(&self, event: EventId) -> Option<EventId> {
        Some(self.operators.get(self.place_around(event)?)?.event)
    }

    /// All operators around `event`, innermost first.
    pub fn operators_around(&self, event: EventId) -> impl Iterator<Item = EventId> + '_ {
        std::iter::successors(self.operator_around(event), |&outer| self.operator_around(outer))
    }
}
