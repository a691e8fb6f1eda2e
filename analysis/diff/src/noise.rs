//! Whether a difference is more than noise.
//!
//! The shift between two lists of step lengths is estimated by the median of all pairwise differences, with the interval
//! of Hodges and Lehmann (1963) from the exact distribution of Mann and Whitney's U: it supposes nothing about the shape
//! of the noise, and a few odd steps do not move it. Where there are too few steps for that test at 99 %, Welch's t with
//! the least degrees of freedom (n − 1 of the shorter list) takes its place, which only very clear differences pass. One
//! step on a side says nothing about noise.
//!
//! Neighbouring steps of one run may be alike for reasons of their own (a clock that drifts, a cache that fills): where
//! they are, the interval is widened by √((1 + ρ) ÷ (1 − ρ)) with the lag-1 correlation ρ.

use serde::Serialize;

/// What can be said about the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictKind {
    /// The new steps are longer, by more than noise and more than the least effect.
    Slower,
    /// The new steps are shorter.
    Faster,
    /// Any difference is too small to matter.
    NoChange,
    /// There are too few steps, or they vary too much.
    CannotTell,
}

impl VerdictKind {
    /// Words for people.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Slower => "slower",
            Self::Faster => "faster",
            Self::NoChange => "no change",
            Self::CannotTell => "cannot tell",
        }
    }
}

/// What can be said about the steps, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// What can be said.
    pub verdict: VerdictKind,
    /// Length of the typical new step ÷ that of the base − 1.
    pub change: f64,
    /// Where the change lies with 99 % confidence, if the steps allow to say.
    pub interval: Option<(f64, f64)>,
    /// One sentence.
    pub text: String,
}

/// 99 %, two-sided.
const Z: f64 = 2.576;
/// Student's t for 99 %, two-sided, with 1, 2, … degrees of freedom.
const T: [f64; 8] = [63.657, 9.925, 5.841, 4.604, 4.032, 3.707, 3.499, 3.355];
/// Steps from which on a correlation of neighbours is estimated at all.
const CORRELATION_STEPS: usize = 8;
/// Up to this size of lists the distribution of U is exact; above, the normal one is as good.
const EXACT: usize = 24;

/// Where the shift from `base` to `new` lies with 99 % confidence; `None` if nothing can be said.
#[must_use]
pub(crate) fn shift(base: &[i64], new: &[i64]) -> Option<(f64, f64)> {
    let (n, m) = (base.len(), new.len());
    if n < 2 || m < 2 {
        return None;
    }
    let pairs = n.saturating_mul(m);
    let middle = pairs as f64 / 2.0;
    let spread = (pairs as f64 * (n + m + 1) as f64 / 12.0).sqrt();
    let deviation = if n <= EXACT && m <= EXACT { critical(n, m).map(|k| middle - k as f64) } else { Some(Z * spread) };
    let wider = correlation(base).max(correlation(new));
    let wider = ((1.0 + wider) / (1.0 - wider)).sqrt();
    // The k-th least and the k-th greatest of all differences.
    let k = deviation.map(|deviation| (middle - deviation * wider).floor() as i64 + 1).filter(|&k| k >= 1);
    match k {
        Some(k) => Some(ordered(base, new, k as usize)),
        None if n.min(m) <= T.len() => {
            welch(base, new).map(|(middle, half)| (middle - half * wider, middle + half * wider))
        }
        None => None,
    }
}

/// The `k`-th least and greatest pairwise difference.
fn ordered(base: &[i64], new: &[i64], k: usize) -> (f64, f64) {
    let mut differences: Vec<i64> =
        new.iter().flat_map(|&to| base.iter().map(move |&from| to.saturating_sub(from))).collect();
    differences.sort_unstable();
    let at = |place: usize| differences.get(place).copied().unwrap_or_default() as f64;
    let k = k.min(differences.len().div_ceil(2));
    (at(k - 1), at(differences.len() - k))
}

/// The greatest u for which P(U ≤ u) ≤ 0.5 % for lists of these lengths; `None` if there is none.
fn critical(n: usize, m: usize) -> Option<usize> {
    // Number of arrangements with each value of U, by the recursion of Mann and Whitney (1947).
    let most = n * m;
    let mut counts = vec![vec![0.0_f64; most + 1]; m + 1];
    for row in &mut counts {
        if let Some(first) = row.first_mut() {
            *first = 1.0;
        }
    }
    for _ in 0..n {
        let before = counts.clone();
        for j in 1..=m {
            let row: Vec<f64> = (0..=most)
                .map(|u| {
                    let at =
                        |list: Option<&Vec<f64>>, u: usize| list.and_then(|list| list.get(u)).copied().unwrap_or(0.0);
                    let taken = u.checked_sub(j).map_or(0.0, |rest| at(before.get(j), rest));
                    taken + at(counts.get(j - 1), u)
                })
                .collect();
            if let Some(slot) = counts.get_mut(j) {
                *slot = row;
            }
        }
    }
    let row = counts.last()?;
    let total: f64 = row.iter().sum();
    let mut sum = 0.0;
    let mut found = None;
    for (u, count) in row.iter().enumerate() {
        sum += count;
        if sum / total > 0.005 {
            break;
        }
        found = Some(u);
    }
    found
}

fn mean(values: &[i64]) -> f64 {
    values.iter().map(|&value| value as f64).sum::<f64>() / values.len().max(1) as f64
}

fn variance(values: &[i64]) -> f64 {
    let middle = mean(values);
    let squares: f64 = values.iter().map(|&value| (value as f64 - middle).powi(2)).sum();
    squares / values.len().saturating_sub(1).max(1) as f64
}

/// Difference of the means and half the width of its interval.
fn welch(base: &[i64], new: &[i64]) -> Option<(f64, f64)> {
    let freedom = base.len().min(new.len()).checked_sub(2)?;
    let t = T.get(freedom)?;
    let error = (variance(base) / base.len() as f64 + variance(new) / new.len() as f64).sqrt();
    Some((mean(new) - mean(base), t * error))
}

/// Lag-1 correlation, from 0 to 0.8.
fn correlation(values: &[i64]) -> f64 {
    if values.len() < CORRELATION_STEPS {
        return 0.0;
    }
    let middle = mean(values);
    let off = |&value: &i64| value as f64 - middle;
    let squares: f64 = values.iter().map(|value| off(value).powi(2)).sum();
    let products: f64 = values.iter().zip(values.iter().skip(1)).map(|(a, b)| off(a) * off(b)).sum();
    if squares > 0.0 { (products / squares).clamp(0.0, 0.8) } else { 0.0 }
}

/// How many steps at the beginning do not count: the first has no step before it, so it begins at its own mark and not
/// where the device is done with the one before. Where there are few, it has to do.
#[must_use]
pub(crate) const fn uncounted(steps: usize) -> usize {
    if steps < 3 { 0 } else { 1 }
}

/// The lengths that count.
#[must_use]
pub(crate) fn counted(lengths: &[i64]) -> &[i64] {
    lengths.get(uncounted(lengths.len())..).unwrap_or_default()
}

/// Places of the typical ones among `lengths`: of those that count the middle half by length.
#[must_use]
pub(crate) fn typical(lengths: &[i64]) -> Vec<usize> {
    let mut order: Vec<usize> = (uncounted(lengths.len())..lengths.len()).collect();
    order.sort_by_key(|&place| (lengths.get(place).copied(), place));
    let cut = if order.len() < 3 { 0 } else { (order.len() / 4).max(1) };
    let mut middle = order.get(cut..order.len().saturating_sub(cut)).unwrap_or_default().to_vec();
    if middle.is_empty() {
        middle = order.get(order.len() / 2).copied().into_iter().collect();
    }
    middle.sort_unstable();
    middle
}

/// Mean length of the typical steps in ns: the interquartile mean, which odd steps do not move.
#[must_use]
pub fn typical_ns(lengths: &[i64]) -> i64 {
    let places = typical(lengths);
    let sum: i128 = places.iter().filter_map(|&place| lengths.get(place)).map(|&length| i128::from(length)).sum();
    let count = places.len().max(1) as i128;
    i64::try_from((sum + count / 2).div_euclid(count)).unwrap_or(i64::MAX)
}

/// Judges two lists of step lengths in ns, the first of which do not count if there are three or more. Changes below `least` (a share) do not matter; an interval within ± `equal` is
/// no change.
#[must_use]
pub fn judge(base: &[i64], new: &[i64], least: f64, equal: f64) -> Verdict {
    let whole = typical_ns(base).max(1) as f64;
    let change = (typical_ns(new).saturating_sub(typical_ns(base))) as f64 / whole;
    let (base, new) = (counted(base), counted(new));
    let interval = shift(base, new).map(|(low, high)| (low / whole, high / whole));
    let percent = |share: f64| {
        format!("{:+.1} %", share * 100.0).replace('-', "−").replace("−0.0 %", "0.0 %").replace("+0.0 %", "0.0 %")
    };
    let counts = format!(
        "{} and {}",
        base.len(),
        if new.len() == 1 { "1 step".to_owned() } else { format!("{} steps", new.len()) }
    );
    let make = |verdict, text: String| Verdict { verdict, change, interval, text };
    if base == new && !base.is_empty() {
        return Verdict {
            interval: Some((0.0, 0.0)),
            ..make(VerdictKind::NoChange, "All steps have the same length.".to_owned())
        };
    }
    let Some((low, high)) = interval else {
        let text = if base.len() < 2 || new.len() < 2 {
            format!("From {counts} nothing can be said about noise: record at least 5 steps of each.")
        } else {
            format!("The {counts} vary too much to tell: record more.")
        };
        return make(VerdictKind::CannotTell, text);
    };
    let range = format!("{} to {}", percent(low), percent(high));
    // The change is at least `least`, and surely half of it: what is sure and tiny is a matter of the day.
    if low > least / 2.0 && change >= least {
        make(VerdictKind::Slower, format!("With 99 % confidence {range}, from {counts}."))
    } else if high < -least / 2.0 && change <= -least {
        make(VerdictKind::Faster, format!("With 99 % confidence {range}, from {counts}."))
    } else if low >= -equal && high <= equal {
        make(VerdictKind::NoChange, format!("With 99 % confidence within {range}, from {counts}."))
    } else {
        let text =
            format!("The change lies anywhere within {range} (99 % confidence, {counts}): record more steps of each.");
        make(VerdictKind::CannotTell, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn critical_values_are_those_of_the_tables() {
        // Mann and Whitney's tables for P ≤ 0.005 on one side.
        assert_eq!(critical(5, 5), Some(0));
        assert_eq!(critical(4, 5), None);
        assert_eq!(critical(8, 8), Some(7));
        assert_eq!(critical(10, 10), Some(16));
        assert_eq!(critical(20, 20), Some(105));
    }

    #[test]
    fn the_middle_half_is_typical() {
        assert_eq!(typical(&[7]), [0]);
        assert_eq!(typical(&[7, 9]), [0, 1]);
        assert_eq!(typical(&[9, 7, 8]), [1, 2]);
        assert_eq!(typical(&[9, 9, 7, 8]), [3]);
        assert_eq!(typical(&[77, 4, 3, 2, 1, 100, 0, 50, 5]), [1, 2, 3, 8]);
        assert_eq!(typical_ns(&[0, 100, 102, 5_000, 101]), 102);
    }

    #[test]
    fn verdicts() {
        let kind = |base: &[i64], new: &[i64]| judge(base, new, 0.01, 0.03).verdict;
        let base = [1_000, 1_004, 998, 1_001, 1_003, 999];
        assert_eq!(kind(&base, &base.map(|length| length * 104 / 100)), VerdictKind::Slower);
        assert_eq!(kind(&base, &base.map(|length| length * 96 / 100)), VerdictKind::Faster);
        assert_eq!(kind(&base, &[1_002, 1_000, 997, 1_003, 1_001, 1_002]), VerdictKind::NoChange);
        // Sure, but too small to matter.
        assert_eq!(kind(&base, &base.map(|length| length + 8)), VerdictKind::NoChange);
        // One odd step of ten does not make a regression.
        let longer = [1_002, 1_000, 997, 1_003, 1_001, 1_002, 999, 1_000, 1_001, 998];
        let mut odd = longer;
        odd[4] = 9_001;
        assert_eq!(kind(&longer, &odd), VerdictKind::NoChange);
        assert_eq!(kind(&base, &[1_300, 800, 1_200, 900, 1_100, 1_050]), VerdictKind::CannotTell);
        assert_eq!(kind(&[1_000], &[2_000]), VerdictKind::CannotTell);
        assert_eq!(kind(&[1_000], &[1_000]), VerdictKind::NoChange);
        // Three steps of each: only what is beyond all doubt.
        assert_eq!(kind(&[1_000, 1_001, 1_002], &[1_500, 1_501, 1_499]), VerdictKind::Slower);
        assert_eq!(kind(&[1_000, 1_050, 1_020], &[1_100, 1_150, 1_120]), VerdictKind::CannotTell);
    }

    #[test]
    fn a_drift_widens_the_interval() {
        let drifting: Vec<i64> = (0..10).map(|step| 1_000 + 10 * step).collect();
        let mixed: Vec<i64> = (0..10).map(|step| 1_000 + 10 * (step * 7 % 10)).collect();
        let other: Vec<i64> = (0..10).map(|step| 1_060 + 10 * (step * 3 % 10)).collect();
        let width = |base: &[i64]| shift(base, &other).map(|(low, high)| high - low).unwrap_or(f64::INFINITY);
        assert!(width(&drifting) > width(&mixed));
    }
}
