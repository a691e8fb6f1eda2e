//! Two clocks side by side: the tightest of many readings, and times between two of them.

use std::time::Duration;

/// Readings of which the tightest counts.
const TRIES: usize = 100;
/// Least time between the first two readings.
pub(crate) const FIRST_SPAN: Duration = Duration::from_millis(100);
/// After this a further reading is due, in ns of the other clock.
const SPAN_NS: u64 = 1_000_000_000;

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Ticks of the segment, in the middle.
    pub ticks: u64,
    /// The other clock's time in ns.
    pub other_ns: u64,
    /// Ticks that reading took: the true moment lies within.
    pub width: u64,
}

impl Reading {
    /// Reads both clocks: the tightest of many tries. `None` where the other does not tell its time.
    pub fn take(mut other: impl FnMut() -> Option<u64>, mut ticks: impl FnMut() -> u64) -> Option<Reading> {
        let mut best: Option<Reading> = None;
        for _ in 0..TRIES {
            let before = ticks();
            let other_ns = other()?;
            let width = ticks().saturating_sub(before);
            if best.is_none_or(|best| width < best.width) {
                best = Some(Reading { ticks: before + width / 2, other_ns, width });
            }
        }
        best
    }
}

/// A clock that was read beside the segment's at two moments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compared {
    from: Reading,
    to: Reading,
}

impl Compared {
    /// Between and around two readings.
    pub fn new(from: Reading, to: Reading) -> Compared {
        Compared { from, to }
    }

    /// How far times may be off, in ticks: half the width on either side, and what the rate of the first span may be off
    /// until the next reading.
    pub fn error_ticks(&self) -> u64 {
        let span = self.to.other_ns.saturating_sub(self.from.other_ns).max(1);
        self.to.width / 2 + (self.from.width + self.to.width) * SPAN_NS / (2 * span)
    }

    /// Whether the clocks are to be read again, at this time of the other clock.
    pub fn is_due(&self, other_ns: u64) -> bool {
        other_ns.saturating_sub(self.to.other_ns) >= SPAN_NS
    }

    /// Takes a further reading.
    pub fn advance(&mut self, next: Reading) {
        *self = Compared { from: self.to, to: next };
    }

    /// Ticks of a time; 0, which stands for no time, stays 0.
    #[inline(always)]
    pub fn ticks(&self, time_ns: u64) -> u64 {
        if time_ns == 0 {
            return 0;
        }
        let span = i128::from(self.to.other_ns) - i128::from(self.from.other_ns);
        let span_ticks = i128::from(self.to.ticks) - i128::from(self.from.ticks);
        let offset = i128::from(time_ns) - i128::from(self.from.other_ns);
        (i128::from(self.from.ticks) + offset * span_ticks / span.max(1)).max(1) as u64
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn the_tightest_reading_counts_and_times_between_are_interpolated() {
        // Our clock counts 2.5 ticks in a nanosecond; reading the other takes 40 to 200 ticks.
        let state = std::cell::Cell::new((1_000_000u64, 0u64));
        let ticks = || state.get().0;
        let other = || {
            let (at, count) = state.get();
            let takes = if count == 57 { 40 } else { 200 };
            state.set((at + takes, count + 1));
            // In the middle of the call.
            Some((at + takes / 2) * 2 / 5 + 77)
        };
        let one = Reading::take(other, ticks).unwrap();
        assert_eq!(one.width, 40);
        state.set((251_000_000, 0));
        let two = Reading::take(other, ticks).unwrap();
        for expected in [900_000, 1_000_000, 100_000_000, 251_000_000, 500_000_000u64] {
            let found = Compared::new(one, two).ticks(expected * 2 / 5 + 77);
            assert!(found.abs_diff(expected) <= 40, "{found} for {expected}");
        }
        assert_eq!(Compared::new(one, two).ticks(0), 0);
    }
}
