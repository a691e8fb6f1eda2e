//! An estimate with its uncertainty.

use serde::Serialize;

/// An estimate, most often in ns, with the range in which the truth is expected. `low ≤ mid ≤ high`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Band {
    /// Hardly less than this.
    pub low: f64,
    /// The estimate itself.
    pub mid: f64,
    /// Hardly more than this.
    pub high: f64,
}

impl Band {
    /// No uncertainty.
    #[must_use]
    pub const fn exact(value: f64) -> Self {
        Self { low: value, mid: value, high: value }
    }

    /// From the estimates for the best, the expected and the worst case, which may stand in any order.
    #[must_use]
    pub fn of(best: f64, expected: f64, worst: f64) -> Self {
        Self { low: best.min(expected).min(worst), mid: expected, high: best.max(expected).max(worst) }
    }

    /// The sum of two estimates that err alike: bounds add up.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { low: self.low + other.low, mid: self.mid + other.mid, high: self.high + other.high }
    }

    /// Whether `value` lies in the range.
    #[must_use]
    pub fn contains(self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

impl std::iter::Sum for Band {
    fn sum<I: Iterator<Item = Self>>(bands: I) -> Self {
        bands.fold(Self::default(), Self::plus)
    }
}
