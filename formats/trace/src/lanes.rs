//! Lanes and depths: overlapping events of one track are laid side by side, nested ones below one another.
//!
//! Cost: O(n · lanes) for up to [`NESTING_LANES`] lanes, O(n log n) beyond, so that a trace made to hurt
//! (thousands of ranges that overlap without nesting) stays cheap.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Lanes in which events nest; events that fit none of them go to flat lanes.
const NESTING_LANES: usize = 64;
/// Deepest nesting in a lane. Viewers limit the depth too (Perfetto: 512).
const MAX_DEPTH: usize = 500;

/// A place in a track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub lane: u32,
    pub depth: u32,
}

/// Places each of `events` (start, end), which come sorted by start, longest first among equal starts.
///
/// Guarantees: within a lane and depth, events do not overlap and come in order; an event at depth `d > 0`
/// lies within the last event before it at depth `d − 1` of its lane. An event that ends where another
/// begins is its neighbour, not its parent. Places depend on the times alone, and of several events that begin and
/// end together the first has the lowest lane or depth: what knows their order there knows all places.
pub(crate) fn place(events: impl Iterator<Item = (i64, i64)>) -> Vec<Place> {
    let mut lanes: Vec<Vec<i64>> = Vec::new();
    // Flat lanes: those in use by when they end, the others by number.
    let mut flat: BinaryHeap<Reverse<(i64, u32)>> = BinaryHeap::new();
    let mut free: BinaryHeap<Reverse<u32>> = BinaryHeap::new();
    let mut flat_lanes = 0u32;
    events
        .map(|(start, end)| {
            for (index, stack) in lanes.iter_mut().enumerate() {
                while stack.last().is_some_and(|&top| top <= start) {
                    stack.pop();
                }
                if stack.len() < MAX_DEPTH && stack.last().is_none_or(|&top| top >= end) {
                    stack.push(end);
                    return Place { lane: index as u32, depth: stack.len() as u32 - 1 };
                }
            }
            if lanes.len() < NESTING_LANES {
                lanes.push(vec![end]);
                return Place { lane: lanes.len() as u32 - 1, depth: 0 };
            }
            while let Some(&Reverse((until, lane))) = flat.peek()
                && until <= start
            {
                flat.pop();
                free.push(Reverse(lane));
            }
            let lane = free.pop().map_or_else(
                || {
                    flat_lanes += 1;
                    NESTING_LANES as u32 + flat_lanes - 1
                },
                |Reverse(lane)| lane,
            );
            flat.push(Reverse((end, lane)));
            Place { lane, depth: 0 }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(events: &[(i64, i64)], places: &[(u32, u32)]) {
        let got: Vec<_> = place(events.iter().copied()).into_iter().map(|p| (p.lane, p.depth)).collect();
        assert_eq!(got, places);
    }

    #[test]
    fn nested_events_go_down_overlapping_ones_aside() {
        check(&[(0, 10), (1, 4), (4, 9), (5, 6)], &[(0, 0), (0, 1), (0, 1), (0, 2)]);
        check(&[(0, 10), (5, 15), (10, 20)], &[(0, 0), (1, 0), (0, 0)]);
        check(&[(0, 10), (10, 20)], &[(0, 0), (0, 0)]);
    }

    #[test]
    fn zero_length_events_stay_in_order() {
        check(&[(0, 10), (0, 0), (0, 0), (10, 10)], &[(0, 0), (0, 1), (0, 1), (0, 0)]);
        check(&[(5, 5), (5, 5)], &[(0, 0), (0, 0)]);
    }

    #[test]
    fn events_with_equal_times_go_to_ascending_places() {
        // Two flat lanes come free in the other order than their numbers, while all nesting lanes are taken again.
        let first = (0..64).map(|i| (i, 10_000 + i)).chain([(70, 20_010), (71, 20_005)]);
        let again = (0..64).map(|i| (10_100 + i, 30_000 + i));
        let ties = [(20_100, 40_000), (20_100, 40_000), (20_100, 40_000)];
        let events: Vec<(i64, i64)> = first.chain(again).chain(ties).collect();
        let places = place(events.iter().copied());
        let lanes: Vec<u32> = places.iter().skip(130).map(|place| place.lane).collect();
        assert_eq!(lanes, [64, 65, 66]);
    }

    #[test]
    fn many_overlaps_and_deep_nesting_stay_disjoint_per_place() {
        let stairs: Vec<(i64, i64)> =
            (0..2_000).map(|i| (i, i + 5_000)).chain((7_000..7_100).map(|i| (i, i + 1))).collect();
        let deep: Vec<(i64, i64)> = (0..2_000).map(|i| (i, 10_000 - i)).collect();
        for events in [stairs, deep] {
            let places = place(events.iter().copied());
            let mut last_end = std::collections::HashMap::new();
            for (&(start, end), place) in events.iter().zip(&places) {
                let before = last_end.insert((place.lane, place.depth), end);
                assert!(before.is_none_or(|before| before <= start), "overlap at {place:?}");
            }
        }
    }
}
