//! Time: integer nanoseconds on the trace's one clock. No floating point on the way in.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

use crate::three_figures;

/// A point in time, in nanoseconds on the trace's clock.
///
/// The clock is Unix time where the file says so (Kineto's `baseTimeNanoseconds` is added on import),
/// else whatever clock the file was written with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Timestamp(pub i64);

/// A length of time in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Duration(pub i64);

/// A half-open time range `[start, end)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// First nanosecond.
    pub start: Timestamp,
    /// First nanosecond after the range.
    pub end: Timestamp,
}

impl Timestamp {
    /// The raw count of nanoseconds.
    #[must_use]
    pub const fn nanos(self) -> i64 {
        self.0
    }
}

impl Duration {
    /// No time.
    pub const ZERO: Self = Self(0);

    /// The raw count of nanoseconds.
    #[must_use]
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// From whole microseconds.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros.saturating_mul(1_000))
    }

    /// From whole milliseconds.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// As seconds, for display and rates only.
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 * 1e-9
    }
}

impl Span {
    /// The range from `start` to `end`; an `end` before `start` gives an empty range at `start`.
    #[must_use]
    pub fn new(start: Timestamp, end: Timestamp) -> Self {
        Self { start, end: end.max(start) }
    }

    /// `end - start`.
    #[must_use]
    pub fn duration(self) -> Duration {
        self.end - self.start
    }

    /// Whether `at` lies in `[start, end)`.
    #[must_use]
    pub fn contains(self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }

    /// Whether nothing lies in the range.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// The common part; empty when the ranges are disjoint.
    #[must_use]
    pub fn intersect(self, other: Self) -> Self {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }

    /// The smallest range that holds both.
    #[must_use]
    pub fn hull(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(rhs.0))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(rhs.0))
    }
}

impl Sub for Timestamp {
    type Output = Duration;
    fn sub(self, rhs: Self) -> Duration {
        Duration(self.0.saturating_sub(rhs.0))
    }
}

impl Add for Duration {
    type Output = Self;
    fn add(self, rhs: Self) -> Self {
        Self(self.0.saturating_add(rhs.0))
    }
}

impl AddAssign for Duration {
    fn add_assign(&mut self, rhs: Self) {
        *self = *self + rhs;
    }
}

impl Sub for Duration {
    type Output = Self;
    fn sub(self, rhs: Self) -> Self {
        Self(self.0.saturating_sub(rhs.0))
    }
}

impl std::iter::Sum for Duration {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

/// Three significant figures and a unit that fits: `212 µs`, `19.8 ms`, `0 ns`.
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        let sign = if self.0 < 0 { "−" } else { "" };
        let (value, unit) = match nanos {
            0..=999 => return f.pad(&format!("{sign}{nanos} ns")),
            1_000..=999_499 => (nanos as f64 / 1e3, "µs"),
            999_500..=999_499_999 => (nanos as f64 / 1e6, "ms"),
            _ => (nanos as f64 / 1e9, "s"),
        };
        f.pad(&format!("{sign}{} {unit}", three_figures(value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_show_three_figures_and_a_unit_that_fits() {
        let check = |nanos: i64, text: &str| assert_eq!(Duration(nanos).to_string(), text);
        check(0, "0 ns");
        check(999, "999 ns");
        check(1_000, "1.00 µs");
        check(212_448, "212 µs");
        check(999_499, "999 µs");
        check(999_500, "1.00 ms");
        check(19_760_000, "19.8 ms");
        check(1_500_000_000, "1.50 s");
        check(-2_000, "−2.00 µs");
        check(99_960, "100 µs");
        check(120_000_000_000, "120 s");
    }

    #[test]
    fn time_arithmetic_saturates_instead_of_wrapping() {
        assert_eq!(Timestamp(i64::MAX) + Duration(1), Timestamp(i64::MAX));
        assert_eq!(Timestamp(i64::MIN) - Duration(1), Timestamp(i64::MIN));
    }
}
