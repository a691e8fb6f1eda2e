//! Sets of time as sorted, disjoint, non-empty, non-touching intervals of nanoseconds.
//!
//! All set operations merge two sorted lists in one pass, so they are linear in the number of intervals.

use serde::Serialize;

/// A half-open interval `[start, end)` of nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Interval {
    /// First nanosecond, in ns.
    pub start: i64,
    /// First nanosecond after the interval, in ns.
    pub end: i64,
}

impl Interval {
    /// `[start, end)`; an `end` before `start` gives an empty interval.
    #[must_use]
    pub const fn new(start: i64, end: i64) -> Self {
        Self { start, end }
    }

    /// Its length in ns; zero if it is empty.
    #[must_use]
    pub fn length(self) -> i64 {
        self.end.saturating_sub(self.start).max(0)
    }
}

/// A set of nanoseconds.
///
/// Invariant: intervals are not empty, ascend, and do not overlap or touch, so equal sets compare equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntervalSet {
    intervals: Vec<Interval>,
}

impl IntervalSet {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self { intervals: Vec::new() }
    }

    /// The union of intervals in any order, which may overlap, touch or be empty. O(n log n).
    #[must_use]
    pub fn from_unsorted(mut intervals: Vec<Interval>) -> Self {
        intervals.sort_unstable();
        Self::from_sorted(intervals)
    }

    /// The union of intervals whose starts ascend; they may overlap, touch or be empty. O(n).
    #[must_use]
    pub fn from_sorted(intervals: impl IntoIterator<Item = Interval>) -> Self {
        let mut set = Self::new();
        for interval in intervals {
            set.push(interval);
        }
        set
    }

    /// Adds an interval that starts no earlier than any interval added before. O(1).
    ///
    /// An earlier start is joined to the last interval, which keeps the invariant but not the gap between.
    #[inline]
    pub fn push(&mut self, interval: Interval) {
        if interval.end <= interval.start {
            return;
        }
        match self.intervals.last_mut() {
            Some(last) if interval.start <= last.end => {
                debug_assert!(interval.start >= last.start, "intervals must be pushed by start");
                last.end = last.end.max(interval.end);
            }
            _ => self.intervals.push(interval),
        }
    }

    /// The intervals, ascending.
    #[must_use]
    pub fn intervals(&self) -> &[Interval] {
        &self.intervals
    }

    /// Whether the set holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }

    /// Summed length in ns.
    #[must_use]
    pub fn length(&self) -> i64 {
        self.intervals.iter().map(|interval| interval.length()).fold(0, i64::saturating_add)
    }

    /// From the first nanosecond to the last; `None` if the set is empty.
    #[must_use]
    pub fn hull(&self) -> Option<Interval> {
        Some(Interval::new(self.intervals.first()?.start, self.intervals.last()?.end))
    }

    /// What is in either set. O(n + m).
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut left = self.intervals.iter().copied().peekable();
        let mut right = other.intervals.iter().copied().peekable();
        let mut set = Self { intervals: Vec::with_capacity(self.intervals.len().max(other.intervals.len())) };
        loop {
            let next = match (left.peek(), right.peek()) {
                (Some(a), Some(b)) if a.start <= b.start => left.next(),
                (Some(_), None) => left.next(),
                (_, Some(_)) => right.next(),
                (None, None) => return set,
            };
            if let Some(interval) = next {
                set.push(interval);
            }
        }
    }

    /// What is in both sets. O(n + m).
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut set = Self::new();
        self.for_each_common(other, |common| set.intervals.push(common));
        set
    }

    /// Length in ns of what is in both sets, without building it. O(n + m).
    #[must_use]
    pub fn intersection_length(&self, other: &Self) -> i64 {
        let mut length = 0_i64;
        self.for_each_common(other, |common| length = length.saturating_add(common.length()));
        length
    }

    /// Calls `found` with each common interval, ascending.
    ///
    /// Two common intervals never touch: that would need two touching intervals within one of the sets.
    fn for_each_common(&self, other: &Self, mut found: impl FnMut(Interval)) {
        let mut left = self.intervals.iter().peekable();
        let mut right = other.intervals.iter().peekable();
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            let common = Interval::new(a.start.max(b.start), a.end.min(b.end));
            if common.start < common.end {
                found(common);
            }
            if a.end <= b.end {
                left.next();
            } else {
                right.next();
            }
        }
    }

    /// What is in this set and not in the other. O(n + m).
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        let mut set = Self::new();
        let mut holes = other.intervals.iter().peekable();
        for interval in &self.intervals {
            let mut start = interval.start;
            while let Some(hole) = holes.peek() {
                if hole.start >= interval.end {
                    break;
                }
                if hole.start > start {
                    set.intervals.push(Interval::new(start, hole.start));
                }
                start = start.max(hole.end);
                if hole.end > interval.end {
                    // The hole reaches into the next interval, so it stays.
                    break;
                }
                holes.next();
            }
            if start < interval.end {
                set.intervals.push(Interval::new(start, interval.end));
            }
        }
        set
    }

    /// The part of the set in `[start, end)`. O(log n + size of the part).
    #[must_use]
    pub fn clip(&self, window: Interval) -> Self {
        let from = self.intervals.partition_point(|interval| interval.end <= window.start);
        let rest = self.intervals.get(from..).unwrap_or_default();
        let count = rest.partition_point(|interval| interval.start < window.end);
        let cut = |interval: &Interval| Interval::new(interval.start.max(window.start), interval.end.min(window.end));
        let part = rest.get(..count).unwrap_or_default().iter().map(cut);
        Self { intervals: part.filter(|interval| interval.start < interval.end).collect() }
    }

    /// What lies in `[start, end)` and not in the set. O(log n + size of the part).
    #[must_use]
    pub fn gaps(&self, window: Interval) -> Self {
        Self::from_sorted([window]).subtract(&self.clip(window))
    }
}

/// A set with the summed lengths of its intervals, so that the length within any window takes two binary searches.
#[derive(Clone, Debug, Default)]
pub struct MeasuredSet {
    set: IntervalSet,
    /// Summed length in ns of the intervals before the one at the same place.
    before: Vec<i64>,
}

impl MeasuredSet {
    /// Sums up the lengths of `set`. O(n).
    #[must_use]
    pub fn new(set: IntervalSet) -> Self {
        let mut sum = 0_i64;
        let mut before = Vec::with_capacity(set.intervals.len());
        for interval in &set.intervals {
            before.push(sum);
            sum = sum.saturating_add(interval.length());
        }
        Self { set, before }
    }

    /// The set.
    #[must_use]
    pub const fn set(&self) -> &IntervalSet {
        &self.set
    }

    /// Summed length in ns. O(1).
    #[must_use]
    pub fn length(&self) -> i64 {
        let last = self.set.intervals.last().map_or(0, |interval| interval.length());
        self.before.last().copied().unwrap_or(0).saturating_add(last)
    }

    /// Length in ns of the part in `[start, end)`. O(log n).
    #[must_use]
    pub fn length_in(&self, window: Interval) -> i64 {
        if window.end <= window.start {
            0
        } else {
            self.length_before(window.end).saturating_sub(self.length_before(window.start))
        }
    }

    /// Length in ns of the part before `at`.
    fn length_before(&self, at: i64) -> i64 {
        let begun = self.set.intervals.partition_point(|interval| interval.start < at);
        let Some(last) = begun.checked_sub(1) else { return 0 };
        let (Some(interval), Some(&before)) = (self.set.intervals.get(last), self.before.get(last)) else { return 0 };
        before.saturating_add(Interval::new(interval.start, interval.end.min(at)).length())
    }
}

impl From<IntervalSet> for MeasuredSet {
    fn from(set: IntervalSet) -> Self {
        Self::new(set)
    }
}

impl FromIterator<Interval> for IntervalSet {
    fn from_iter<T: IntoIterator<Item = Interval>>(iter: T) -> Self {
        Self::from_unsorted(iter.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIZE: usize = 80;

    /// The same set as one boolean per nanosecond.
    fn bitmap(intervals: &[Interval]) -> Vec<bool> {
        let mut bits = vec![false; SIZE];
        for interval in intervals {
            for at in interval.start..interval.end {
                bits[at as usize] = true;
            }
        }
        bits
    }

    fn canonical(set: &IntervalSet) -> bool {
        set.intervals.iter().all(|interval| interval.start < interval.end)
            && set.intervals.windows(2).all(|pair| pair[0].end < pair[1].start)
    }

    fn raw() -> impl Strategy<Value = Vec<Interval>> {
        let interval = (0..SIZE as i64, 0..12_i64)
            .prop_map(|(start, length)| Interval::new(start, (start + length).min(SIZE as i64)));
        proptest::collection::vec(interval, 0..20)
    }

    proptest! {
        #[test]
        fn operations_agree_with_a_bitmap(a in raw(), b in raw(), start in 0..SIZE as i64, length in 0..SIZE as i64) {
            let (left, right) = (IntervalSet::from_unsorted(a.clone()), IntervalSet::from_unsorted(b.clone()));
            let (bits_a, bits_b) = (bitmap(&a), bitmap(&b));
            let window = Interval::new(start, (start + length).min(SIZE as i64));
            let bits_window = bitmap(&[window]);
            let expect = |keep: &dyn Fn(usize) -> bool| (0..SIZE).map(keep).collect::<Vec<_>>();
            let check = |set: &IntervalSet, expected: Vec<bool>, what: &str| {
                prop_assert!(canonical(set), "{what} is not canonical: {set:?}");
                prop_assert_eq!(set.length(), expected.iter().filter(|&&bit| bit).count() as i64, "length of {}", what);
                prop_assert_eq!(bitmap(set.intervals()), expected, "{}", what);
                Ok(())
            };
            check(&left, bits_a.clone(), "from_unsorted")?;
            check(&left.union(&right), expect(&|i| bits_a[i] || bits_b[i]), "union")?;
            let both = left.intersection(&right);
            check(&both, expect(&|i| bits_a[i] && bits_b[i]), "intersection")?;
            prop_assert_eq!(left.intersection_length(&right), both.length());
            check(&left.subtract(&right), expect(&|i| bits_a[i] && !bits_b[i]), "subtract")?;
            check(&left.clip(window), expect(&|i| bits_a[i] && bits_window[i]), "clip")?;
            check(&left.gaps(window), expect(&|i| !bits_a[i] && bits_window[i]), "gaps")?;
            let measured = MeasuredSet::new(left.clone());
            prop_assert_eq!(measured.length(), left.length());
            prop_assert_eq!(measured.length_in(window), left.clip(window).length());
        }
    }

    #[test]
    fn touching_intervals_become_one_and_empty_ones_vanish() {
        let set = IntervalSet::from_unsorted(vec![
            Interval::new(5, 9),
            Interval::new(1, 3),
            Interval::new(3, 5),
            Interval::new(20, 20),
            Interval::new(30, 25),
        ]);
        assert_eq!(set.intervals(), &[Interval::new(1, 9)]);
        assert_eq!(set.hull(), Some(Interval::new(1, 9)));
        assert_eq!(IntervalSet::new().hull(), None);
    }
}
