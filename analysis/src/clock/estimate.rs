//! Offsets and drifts from the ends of collectives, which coincide up to the skew of their class.
//!
//! The end of collective i on rank r is `t_i + θ_r + δ_r (t_i − t₀) + ε`. All θ and δ are found together by iteratively
//! reweighted least squares with Huber's weights (Huber, "Robust estimation of a location parameter", 1964) and one
//! scale for each class of collectives. With the t_i eliminated what remains is a graph Laplacian over ranks, solved by
//! conjugate gradients, so that ranks that share nothing are tied through others.

use super::joint::Joint;

/// The clock of one rank relative to the reference.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Clock {
    pub offset_ns: i64,
    /// What whole nanoseconds leave of the offset.
    pub rest_ns: f64,
    pub drift: f64,
}

impl Clock {
    /// A local time on the common clock.
    pub fn corrected(&self, at: i64, epoch: i64) -> i64 {
        let shifted = at.saturating_sub(self.offset_ns);
        let since = shifted.saturating_sub(epoch) as f64 - self.rest_ns;
        let fast = since * (self.drift / (1.0 + self.drift)) + self.rest_ns;
        shifted.saturating_sub(fast.round() as i64)
    }
}

/// Clocks of the ranks of one component.
#[derive(Clone, Debug)]
pub(crate) struct Estimate {
    pub clocks: Vec<Clock>,
    pub epoch_ns: i64,
    /// Of each rank the standard deviation of its offset, in ns.
    pub errors_ns: Vec<f64>,
}

/// Collectives that a rank needs for a drift, and the time in ns that they must span.
const DRIFT_NEEDS: (usize, i64) = (8, 2_000_000_000);

/// Huber's constant: 95 % efficiency with normal errors.
const HUBER: f64 = 1.345;

/// From a median absolute deviation to the standard deviation of a normal distribution.
const MAD_TO_SIGMA: f64 = 1.4826;

/// An end, as deviation from the current model.
struct Point {
    rank: usize,
    deviation: f64,
    weight: f64,
}

struct Row {
    class: u32,
    /// Time since t₀ ÷ half the span: −1 to 1.
    at: f64,
    points: Vec<Point>,
}

/// Estimates the clocks of `count` ranks, which `local` numbers, relative to `reference`. `joints` must tie all of them.
pub(crate) fn estimate(
    joints: &[&Joint],
    count: usize,
    reference: usize,
    grain_ns: i64,
    local: impl Fn(u32) -> Option<usize>,
) -> Estimate {
    let ends: Vec<(u32, Vec<(usize, i64)>)> = joints
        .iter()
        .map(|joint| {
            let seen = joint.seen.iter().filter_map(|seen| Some((local(seen.rank)?, seen.end_ns)));
            (joint.class, seen.collect())
        })
        .filter(|(_, seen): &(u32, Vec<_>)| seen.len() > 1)
        .collect();
    let (offsets, depths) = chained(&ends, count, reference);
    // Whole nanoseconds first: what is left is small enough for floating point.
    let middle = |seen: &[(usize, i64)]| {
        let mut times: Vec<i64> = seen.iter().map(|&(rank, end)| end.saturating_sub(at(&offsets, rank))).collect();
        median(&mut times)
    };
    let middles: Vec<i64> = ends.iter().map(|(_, seen)| middle(seen)).collect();
    let (first, last) = (middles.iter().min().copied().unwrap_or(0), middles.iter().max().copied().unwrap_or(0));
    let epoch_ns = first.midpoint(last);
    let half_span = (last.saturating_sub(first) as f64 / 2.0).max(1.0);
    let mut counts = vec![(0_usize, i64::MAX, i64::MIN); count];
    let mut rows: Vec<Row> = Vec::with_capacity(ends.len());
    for ((class, seen), &middle) in ends.iter().zip(&middles) {
        for &(rank, _) in seen {
            if let Some(entry) = counts.get_mut(rank) {
                *entry = (entry.0 + 1, entry.1.min(middle), entry.2.max(middle));
            }
        }
        let point = |&(rank, end): &(usize, i64)| {
            let deviation = end.saturating_sub(at(&offsets, rank)).saturating_sub(middle) as f64;
            Point { rank, deviation, weight: 1.0 }
        };
        let since = middle.saturating_sub(epoch_ns) as f64 / half_span;
        rows.push(Row { class: *class, at: since, points: seen.iter().map(point).collect() });
    }
    let may_drift = |&(count, first, last): &(usize, i64, i64)| {
        count >= DRIFT_NEEDS.0 && last.saturating_sub(first) >= DRIFT_NEEDS.1
    };
    let mut drifting: Vec<bool> = counts.iter().map(may_drift).collect();
    // The reference must be known over the whole time too, or its drift would be given to all others.
    if drifting.get(reference) != Some(&true) {
        drifting.fill(false);
    }
    let mut solution = solve_robustly(&mut rows, count, reference, &drifting, grain_ns);
    let mut errors = Errors::new(&rows, &solution, count);
    if drifting.contains(&true) {
        // A drift within its error is none: the shorter model is the better one.
        for (rank, drifting) in drifting.iter_mut().enumerate().filter(|(rank, _)| *rank != reference) {
            let drift = at_f(&solution.drifts, rank).abs();
            *drifting &= drift > 3.0 * errors.drift(rank);
        }
        solution = solve_robustly(&mut rows, count, reference, &drifting, grain_ns);
        errors = Errors::new(&rows, &solution, count);
    }
    let clock = |rank: usize| {
        let offset = at_f(&solution.offsets, rank);
        let whole = offset.round();
        Clock {
            offset_ns: at(&offsets, rank).saturating_add(whole as i64),
            rest_ns: offset - whole,
            drift: at_f(&solution.drifts, rank) / half_span,
        }
    };
    let error = |rank: usize| if rank == reference { 0.0 } else { errors.offset(rank, depths.get(rank).copied()) };
    Estimate { clocks: (0..count).map(clock).collect(), epoch_ns, errors_ns: (0..count).map(error).collect() }
}

fn at(values: &[i64], place: usize) -> i64 {
    values.get(place).copied().unwrap_or_default()
}

fn at_f(values: &[f64], place: usize) -> f64 {
    values.get(place).copied().unwrap_or_default()
}

/// The lower of two middle values, so that it is one of them.
fn median(values: &mut [i64]) -> i64 {
    let middle = values.len().saturating_sub(1) / 2;
    if values.is_empty() { 0 } else { *values.select_nth_unstable(middle).1 }
}

fn median_f(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    if values.is_empty() { 0.0 } else { *values.select_nth_unstable_by(middle, f64::total_cmp).1 }
}

/// First offsets: medians of differences of ends along chains from the reference; and how long the chain is.
fn chained(ends: &[(u32, Vec<(usize, i64)>)], count: usize, reference: usize) -> (Vec<i64>, Vec<u32>) {
    let mut offsets = vec![0; count];
    let mut depths = vec![u32::MAX; count];
    if let Some(depth) = depths.get_mut(reference) {
        *depth = 0;
    }
    for depth in 1..=count as u32 {
        let mut differences: Vec<Vec<i64>> = vec![Vec::new(); count];
        for (_, seen) in ends {
            let is_known = |rank: usize| depths.get(rank).is_some_and(|&at| at < depth);
            let Some(&(known, end)) = seen.iter().find(|&&(rank, _)| is_known(rank)) else { continue };
            let common = end.saturating_sub(at(&offsets, known));
            for &(rank, end) in seen.iter().filter(|&&(rank, _)| !is_known(rank)) {
                if let Some(list) = differences.get_mut(rank) {
                    list.push(end.saturating_sub(common));
                }
            }
        }
        let mut found = false;
        for (rank, mut list) in differences.into_iter().enumerate().filter(|(_, list)| !list.is_empty()) {
            if let (Some(offset), Some(known)) = (offsets.get_mut(rank), depths.get_mut(rank)) {
                (*offset, *known, found) = (median(&mut list), depth, true);
            }
        }
        if !found {
            break;
        }
    }
    (offsets, depths)
}

/// Deviations of clocks from the first offsets.
struct Solution {
    offsets: Vec<f64>,
    /// At one end of half the span, in ns.
    drifts: Vec<f64>,
    /// Scale of each class's deviations, in ns.
    scales: Vec<(u32, f64)>,
}

impl Solution {
    fn value(&self, rank: usize, at: f64) -> f64 {
        at_f(&self.offsets, rank) + at_f(&self.drifts, rank) * at
    }

    fn scale(&self, class: u32) -> f64 {
        self.scales.iter().find(|entry| entry.0 == class).map_or(1.0, |entry| entry.1)
    }

    /// What the model leaves of a point, with the mean of its collective taken away.
    fn residuals<'a>(&'a self, row: &'a Row) -> impl Iterator<Item = (usize, f64)> + 'a {
        let left = |point: &Point| point.deviation - self.value(point.rank, row.at);
        let weights: f64 = row.points.iter().map(|point| point.weight).sum();
        let mean =
            row.points.iter().map(|point| point.weight * left(point)).sum::<f64>() / weights.max(f64::MIN_POSITIVE);
        // A mean of m points takes a share of 1/m of each one's own deviation with it.
        let members = row.points.len() as f64;
        let widen = (members / (members - 1.0).max(1.0)).sqrt();
        row.points.iter().map(move |point| (point.rank, (left(point) - mean) * widen))
    }
}

fn solve_robustly(rows: &mut [Row], count: usize, reference: usize, drifting: &[bool], grain_ns: i64) -> Solution {
    let mut solution = Solution { offsets: vec![0.0; count], drifts: vec![0.0; count], scales: Vec::new() };
    for row in rows.iter_mut() {
        row.points.iter_mut().for_each(|point| point.weight = 1.0);
    }
    let free = |rank: usize| rank != reference;
    let drifts = |rank: usize| rank != reference && drifting.get(rank) == Some(&true);
    for _ in 0..40 {
        let before = solution.offsets.clone();
        conjugate_gradients(rows, &mut solution, &free, &drifts);
        solution.scales = scales(rows, &solution, grain_ns);
        let weights: Vec<Vec<f64>> = rows
            .iter()
            .map(|row| {
                let scale = solution.scale(row.class);
                let huber = |left: f64| (HUBER * scale / left.abs().max(f64::MIN_POSITIVE)).min(1.0);
                solution.residuals(row).map(|(_, left)| huber(left) / (scale * scale)).collect()
            })
            .collect();
        // Weights of one collective in ns⁻² are tiny; only their ratios matter.
        let most = weights.iter().flatten().copied().fold(f64::MIN_POSITIVE, f64::max);
        for (row, weights) in rows.iter_mut().zip(weights) {
            for (point, weight) in row.points.iter_mut().zip(weights) {
                point.weight = weight / most;
            }
        }
        let moved = before.iter().zip(&solution.offsets).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        if moved < 0.5 {
            break;
        }
    }
    solution
}

/// Robust standard deviation of the residuals of each class, no less than what the grain of the times leaves.
fn scales(rows: &[Row], solution: &Solution, grain_ns: i64) -> Vec<(u32, f64)> {
    let mut by_class: Vec<(u32, Vec<f64>)> = Vec::new();
    for row in rows {
        let place = by_class.iter().position(|entry| entry.0 == row.class).unwrap_or_else(|| {
            by_class.push((row.class, Vec::new()));
            by_class.len() - 1
        });
        if let Some(entry) = by_class.get_mut(place) {
            entry.1.extend(solution.residuals(row).map(|(_, left)| left.abs()));
        }
    }
    // Rounding to the grain is spread evenly over it: its standard deviation is the grain ÷ √12.
    let least = (grain_ns as f64 / 12.0_f64.sqrt()).max(1.0);
    by_class.into_iter().map(|(class, mut left)| (class, (MAD_TO_SIGMA * median_f(&mut left)).max(least))).collect()
}

/// Minimises the weighted squares over all offsets and drifts that may vary, from the present solution on
/// (Hestenes and Stiefel 1952, preconditioned by the diagonal).
fn conjugate_gradients(
    rows: &[Row],
    solution: &mut Solution,
    free: &impl Fn(usize) -> bool,
    drifts: &impl Fn(usize) -> bool,
) {
    let count = solution.offsets.len();
    let masked = |values: &mut [f64]| {
        for (place, value) in values.iter_mut().enumerate() {
            let keep = if place < count { free(place) } else { drifts(place - count) };
            if !keep {
                *value = 0.0;
            }
        }
    };
    let mut x: Vec<f64> = solution.offsets.iter().chain(&solution.drifts).copied().collect();
    let mut diagonal = vec![0.0; 2 * count];
    let mut b = vec![0.0; 2 * count];
    for row in rows {
        let sum: f64 = row.points.iter().map(|point| point.weight).sum();
        let mean = row.points.iter().map(|point| point.weight * point.deviation).sum::<f64>() / sum;
        for point in &row.points {
            let own = point.weight * (1.0 - point.weight / sum);
            add(&mut diagonal, point.rank, own);
            add(&mut diagonal, count + point.rank, own * row.at * row.at);
            let pull = point.weight * (point.deviation - mean);
            add(&mut b, point.rank, pull);
            add(&mut b, count + point.rank, pull * row.at);
        }
    }
    let precondition = |values: &[f64]| -> Vec<f64> {
        values.iter().zip(&diagonal).map(|(value, &own)| if own > 0.0 { value / own } else { 0.0 }).collect()
    };
    let mut left: Vec<f64> = b.iter().zip(apply(rows, &x, count)).map(|(b, a)| b - a).collect();
    masked(&mut left);
    let mut z = precondition(&left);
    let mut direction = z.clone();
    let mut energy = dot(&left, &z);
    let target = energy.max(dot(&b, &precondition(&b))) * 1e-20;
    for _ in 0..(4 * count + 50) {
        if energy <= target || energy <= 0.0 {
            break;
        }
        let mut image = apply(rows, &direction, count);
        masked(&mut image);
        let curvature = dot(&direction, &image);
        if curvature <= 0.0 {
            break;
        }
        let step = energy / curvature;
        for ((x, left), (direction, image)) in x.iter_mut().zip(&mut left).zip(direction.iter().zip(&image)) {
            *x += step * direction;
            *left -= step * image;
        }
        z = precondition(&left);
        let next = dot(&left, &z);
        let keep = next / energy;
        energy = next;
        for (direction, z) in direction.iter_mut().zip(&z) {
            *direction = z + keep * *direction;
        }
    }
    let (offsets, rest) = x.split_at(count);
    solution.offsets = offsets.to_vec();
    solution.drifts = rest.to_vec();
}

fn add(values: &mut [f64], place: usize, amount: f64) {
    if let Some(value) = values.get_mut(place) {
        *value += amount;
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The Laplacian times `x`: offsets first, then drifts.
fn apply(rows: &[Row], x: &[f64], count: usize) -> Vec<f64> {
    let mut image = vec![0.0; x.len()];
    for row in rows {
        let value = |point: &Point| at_f(x, point.rank) + at_f(x, count + point.rank) * row.at;
        let sum: f64 = row.points.iter().map(|point| point.weight).sum();
        let mean = row.points.iter().map(|point| point.weight * value(point)).sum::<f64>() / sum;
        for point in &row.points {
            let pull = point.weight * (value(point) - mean);
            add(&mut image, point.rank, pull);
            add(&mut image, count + point.rank, pull * row.at);
        }
    }
    image
}

/// What the residuals say about each rank.
struct Errors {
    /// Of each rank: collectives, Σ of squared times, its own scale, the mean scale of its classes.
    ranks: Vec<(f64, f64, f64, f64)>,
}

impl Errors {
    fn new(rows: &[Row], solution: &Solution, count: usize) -> Self {
        let mut left: Vec<Vec<f64>> = vec![Vec::new(); count];
        let mut sums = vec![(0.0, 0.0, 0.0); count];
        for row in rows {
            for (rank, residual) in solution.residuals(row) {
                if let (Some(left), Some(sums)) = (left.get_mut(rank), sums.get_mut(rank)) {
                    left.push(residual.abs());
                    // A class that is known better counts for more.
                    let weight = solution.scale(row.class).powi(-2);
                    *sums = (sums.0 + row.at * row.at, sums.1 + weight, sums.2 + weight * solution.scale(row.class));
                }
            }
        }
        let rank = |(mut left, sums): (Vec<f64>, (f64, f64, f64))| {
            let count = left.len() as f64;
            let skew = if sums.1 > 0.0 { sums.2 / sums.1 } else { 0.0 };
            (count.max(1.0), sums.0, (MAD_TO_SIGMA * median_f(&mut left)).max(skew / 2.0), skew)
        };
        Self { ranks: left.into_iter().zip(sums).map(rank).collect() }
    }

    /// Standard deviation of a rank's offset in ns: what averaging leaves, and half the skew of its collectives, which no
    /// average removes where a rank always ends first or last. Both add up along a chain of ranks.
    fn offset(&self, rank: usize, depth: Option<u32>) -> f64 {
        let Some(&(count, _, own, skew)) = self.ranks.get(rank) else { return f64::INFINITY };
        let depth = depth.filter(|&depth| depth < u32::MAX).map_or(1.0, f64::from).max(1.0);
        own / count.sqrt() * depth.sqrt() + skew * depth
    }

    /// Standard deviation of a rank's drift over half the span, in ns.
    fn drift(&self, rank: usize) -> f64 {
        let Some(&(_, squares, own, _)) = self.ranks.get(rank) else { return f64::INFINITY };
        own / squares.max(f64::MIN_POSITIVE).sqrt()
    }
}
