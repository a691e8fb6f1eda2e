//! Times of a window as the recording would have read them.
//!
//! What only the window has lies between the operators that both have: a Python function around some and inside of others,
//! an arrow at the begin of one. Moved by the difference of the clocks alone it would cross operators of the recording by
//! the microseconds between the two tools' readings. So the begins and ends of the operators that both saw are knots, and
//! times between two knots are moved in proportion: what nested in the window nests in the recording.

use super::align::increasing;

/// The times of one thread.
#[derive(Debug)]
pub(super) struct Warp {
    /// (time in the window, time in the recording), ascending in both.
    knots: Vec<(i64, i64)>,
    /// Difference of the clocks beyond the knots.
    offset: i64,
}

impl Warp {
    /// From the begins and ends of what both saw, in any order; `offset` is the recording's clock less the window's.
    pub(super) fn new(mut knots: Vec<(i64, i64)>, offset: i64) -> Self {
        knots.sort_unstable();
        let recorded: Vec<i64> = knots.iter().map(|knot| knot.1).collect();
        let knots = increasing(&recorded).into_iter().filter_map(|place| knots.get(place).copied()).collect();
        Self { knots, offset }
    }

    /// Where a begin at `time` lies: before all that begins at the same time, which it may hold.
    pub(super) fn begin(&self, time: i64) -> i64 {
        let after = self.knots.partition_point(|knot| knot.0 < time);
        match self.knots.get(after) {
            Some(knot) if knot.0 == time => knot.1,
            _ => self.amid(after, time),
        }
    }

    /// Where an end or a point at `time` lies: after all of the same time.
    pub(super) fn end(&self, time: i64) -> i64 {
        let after = self.knots.partition_point(|knot| knot.0 <= time);
        match after.checked_sub(1).and_then(|last| self.knots.get(last)) {
            Some(knot) if knot.0 == time => knot.1,
            _ => self.amid(after, time),
        }
    }

    /// Between the knots before and at `after`.
    fn amid(&self, after: usize, time: i64) -> i64 {
        let moved = time.saturating_add(self.offset);
        let left = after.checked_sub(1).and_then(|left| self.knots.get(left));
        match (left, self.knots.get(after)) {
            (Some(left), Some(right)) => {
                let [own, whole, room] =
                    [(time, left.0), (right.0, left.0), (right.1, left.1)].map(|(a, b)| i128::from(a) - i128::from(b));
                let share = (own * room / whole.max(1)).clamp(0, room.max(0));
                left.1.saturating_add(i64::try_from(share).unwrap_or(i64::MAX))
            }
            (Some(left), None) => moved.max(left.1),
            (None, Some(right)) => moved.min(right.1),
            (None, None) => moved,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_between_the_same_readings_stays_between_them() {
        // An operator at 100 to 200 of the window is at 1,050 to 1,400 of the recording: it lost its core inside.
        let warp = Warp::new(vec![(200, 1_400), (100, 1_050), (260, 1_010), (300, 1_450)], 1_000);
        assert_eq!((warp.begin(100), warp.end(100), warp.begin(150), warp.end(150)), (1_050, 1_050, 1_225, 1_225));
        // A reading that goes back is no knot.
        assert_eq!(warp.knots.len(), 3);
        // Beyond the knots: by the difference of the clocks, but not across a knot.
        assert_eq!((warp.begin(40), warp.begin(90)), (1_040, 1_050));
        assert_eq!((warp.end(301), warp.end(500)), (1_450, 1_500));
    }

    #[test]
    fn a_begin_lies_before_and_an_end_after_all_of_the_same_time() {
        let warp = Warp::new(vec![(100, 1_000), (100, 1_003), (200, 1_100), (200, 1_105)], 0);
        assert_eq!((warp.begin(100), warp.end(100)), (1_000, 1_003));
        assert_eq!((warp.begin(200), warp.end(200)), (1_100, 1_105));
    }

    proptest::proptest! {
        #[test]
        fn order_is_kept(
            knots in proptest::collection::vec((0_i64..10_000, 0_i64..10_000), 0..60),
            mut times in proptest::collection::vec(-100_i64..10_100, 2..60),
            offset in -500_i64..500,
        ) {
            let warp = Warp::new(knots, offset);
            times.sort_unstable();
            for two in times.windows(2) {
                proptest::prop_assert!(warp.begin(two[0]) <= warp.begin(two[1]));
                proptest::prop_assert!(warp.end(two[0]) <= warp.end(two[1]));
                proptest::prop_assert!(warp.begin(two[0]) <= warp.end(two[0]));
            }
        }
    }
}
