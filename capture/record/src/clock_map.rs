//! From ticks of a segment to nanoseconds of Unix time.

use gapless_ring::{Anchor, ClockKind};

/// Turns ticks into Unix time that never runs backwards and never jumps.
///
/// Wall clocks are set and slewed while jobs run. So only the monotonic clock measures, and the wall clock is looked at
/// once, when the recording starts: Unix time is monotonic time plus that one difference. Ranks on one machine share
/// the difference, so their order is exact; between machines the analysis aligns clocks by the collectives.
#[derive(Clone, Debug)]
pub struct ClockMap {
    clock: ClockKind,
    /// Unix time minus monotonic time, in ns, at the start of the recording.
    unix_minus_monotonic_ns: i64,
    /// Readings in ascending order; ticks between two are interpolated.
    anchors: Vec<(u64, u64)>,
}

/// Spans between anchors grow to this: over shorter ones the jitter of a reading shows in the rate.
const LEAST_SPAN_NS: u64 = 1_000_000_000;

impl ClockMap {
    /// A map that starts at `first`, with the wall clock's difference of `start` (the recording's own first reading).
    pub fn new(clock: ClockKind, start: Anchor, first: Anchor) -> ClockMap {
        let unix_minus_monotonic_ns = start.realtime_ns.wrapping_sub(start.monotonic_ns) as i64;
        ClockMap { clock, unix_minus_monotonic_ns, anchors: vec![(first.ticks, first.monotonic_ns)] }
    }

    /// The clock of the ticks.
    pub fn clock(&self) -> ClockKind {
        self.clock
    }

    /// Adds a reading. Times that were converted before it stay as they are.
    pub fn add(&mut self, anchor: Anchor) {
        let Some(&(last_ticks, _)) = self.anchors.last() else { return };
        if anchor.ticks <= last_ticks {
            return;
        }
        let reading = (anchor.ticks, anchor.monotonic_ns);
        // A span that is still short grows; one that is long enough stays, and the next begins.
        let before_last = self.anchors.len().checked_sub(2).and_then(|index| self.anchors.get(index).copied());
        match (before_last, self.anchors.last_mut()) {
            (Some((_, from_ns)), Some(last)) if last.1 < from_ns + LEAST_SPAN_NS => *last = reading,
            _ => self.anchors.push(reading),
        }
        // The newest few suffice: records are converted soon after they are written.
        if self.anchors.len() > 64 {
            self.anchors.remove(0);
        }
    }

    /// Nanoseconds of Unix time.
    pub fn unix_ns(&self, ticks: u64) -> i64 {
        let monotonic_ns = match self.clock {
            ClockKind::Monotonic => ticks as i64,
            ClockKind::Tsc => self.interpolate(ticks),
        };
        monotonic_ns.saturating_add(self.unix_minus_monotonic_ns)
    }

    fn interpolate(&self, ticks: u64) -> i64 {
        let after = self.anchors.partition_point(|&(at, _)| at <= ticks);
        // The span that holds the ticks; beyond the ends, the nearest one goes on.
        let upper = after.clamp(1, self.anchors.len().saturating_sub(1).max(1));
        let (Some(&from), Some(&to)) = (self.anchors.get(upper - 1), self.anchors.get(upper)) else {
            // A single reading: the rate is not known yet, and whoever asks adds a second one first.
            return self.anchors.first().map_or(0, |&(_, ns)| ns as i64);
        };
        let span_ticks = i128::from(to.0) - i128::from(from.0);
        let span_ns = i128::from(to.1) - i128::from(from.1);
        let offset = i128::from(ticks) - i128::from(from.0);
        (i128::from(from.1) + offset * span_ns / span_ticks.max(1)) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchor(ticks: u64, monotonic_ns: u64) -> Anchor {
        Anchor { ticks, monotonic_ns, realtime_ns: monotonic_ns + 5_000, boottime_ns: monotonic_ns }
    }

    #[test]
    fn ticks_are_interpolated_and_extended() {
        let first = anchor(1_000, 10_000_000_000);
        let mut map = ClockMap::new(ClockKind::Tsc, first, first);
        map.add(anchor(1_000 + 2_000_000_000, 11_000_000_000));
        map.add(anchor(1_000 + 4_000_000_000, 12_000_000_000));
        for (ticks, ns) in [(0, 9_999_999_500), (1_000_001_000, 10_500_000_000), (6_000_001_000, 13_000_000_000)] {
            assert_eq!(map.unix_ns(ticks), ns + 5_000, "{ticks} ticks");
        }
    }

    #[test]
    fn a_rate_that_changes_keeps_times_ascending() {
        let first = anchor(0, 0);
        let mut map = ClockMap::new(ClockKind::Tsc, first, first);
        for second in 1..100u64 {
            map.add(anchor(second * 2_000_000_000, second * 1_000_000_000 + second % 3));
            let before = map.unix_ns(second * 2_000_000_000 - 1);
            let after = map.unix_ns(second * 2_000_000_000 + 1);
            assert!(after >= before, "second {second}");
        }
    }

    #[test]
    fn the_monotonic_clock_is_taken_as_it_is() {
        let first = anchor(7, 7);
        assert_eq!(ClockMap::new(ClockKind::Monotonic, first, first).unix_ns(100), 5_100);
    }
}
