//! Count, sum and quantiles of a list of durations.

use serde::Serialize;

/// Count, sum and quantiles of durations in ns. All zero if there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub sum_ns: i64,
    /// The shortest.
    pub min_ns: i64,
    /// The median, interpolated between the two middle values of an even count.
    pub median_ns: f64,
    /// `sum_ns / count`.
    pub mean_ns: f64,
    /// The 95th percentile, linear between neighbours (type 7 of Hyndman and Fan 1996, NumPy's default).
    pub p95_ns: f64,
    /// The longest.
    pub max_ns: i64,
}

impl Stats {
    /// Of `durations` in ns, which are put into ascending order.
    #[must_use]
    pub fn of(durations: &mut [i64]) -> Self {
        durations.sort_unstable();
        let (Some(&min_ns), Some(&max_ns)) = (durations.first(), durations.last()) else { return Self::default() };
        let sum_ns = durations.iter().copied().fold(0, i64::saturating_add);
        Self {
            count: durations.len() as u64,
            sum_ns,
            min_ns,
            median_ns: quantile(durations, 10),
            mean_ns: sum_ns as f64 / durations.len() as f64,
            p95_ns: quantile(durations, 19),
            max_ns,
        }
    }
}

/// The quantile `q = twentieths / 20` of ascending `values`, linear between neighbours: with h = (n − 1)q, the value at
/// ⌊h⌋ plus the fraction of h times the distance to the next (type 7 of Hyndman and Fan 1996).
///
/// Twentieths, since 0.95 has no exact binary fraction and a rounded one would show as noise in whole nanoseconds.
fn quantile(values: &[i64], twentieths: usize) -> f64 {
    let place = values.len().saturating_sub(1) * twentieths;
    let at = |index: usize| values.get(index).copied().unwrap_or_default() as f64;
    let (below, above) = (at(place / 20), at(place.div_ceil(20)));
    below + (above - below) * (place % 20) as f64 / 20.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_numpys() {
        let stats = Stats::of(&mut [40, 10, 20, 30]);
        assert_eq!((stats.count, stats.sum_ns, stats.min_ns, stats.max_ns), (4, 100, 10, 40));
        assert_eq!(stats.mean_ns, 25.0);
        assert_eq!(stats.median_ns, 25.0);
        // numpy.percentile([10, 20, 30, 40], 95) is 38.5.
        assert_eq!(stats.p95_ns, 38.5);
        assert_eq!(Stats::of(&mut []), Stats::default());
        assert_eq!(Stats::of(&mut [7]).median_ns, 7.0);
        assert_eq!(Stats::of(&mut [7]).p95_ns, 7.0);
    }
}
