//! Which ranks come late to collectives, and whether that is more than chance.
//!
//! The lateness of a rank in a collective is its arrival minus the median arrival of the other members. Collectives of
//! one step are not independent, so they are averaged by step, and the mean over steps is held against its own scatter
//! (Student's t, corrected for the number of ranks) and against the error of the clocks. Edges of the recording do not
//! count, nor do exchanges between two ranks, of which one always waits for the other by design.

use gapless_trace::{RankId, Trace};
use serde::Serialize;

use super::timing::{CollectiveTiming, SIGMAS, waits_for_all};
use super::{CollectiveInstance, Member};
use crate::clock::ClockAlignment;
use crate::collectives::CollectiveKind;

/// What is said about a rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LatenessVerdict {
    /// It is late: by more than three standard deviations, and by enough to matter.
    Late,
    /// It is not.
    NotLate,
    /// The recording is too short to tell: fewer than three steps with collectives that are no edges.
    TooFew,
}

/// How a rank comes to its collectives.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RankLateness {
    /// The rank.
    #[serde(rename = "rank_id", serialize_with = "crate::ids::rank")]
    pub rank: RankId,
    /// Its number in the job, where known.
    #[serde(rename = "rank")]
    pub number: Option<u32>,
    /// Collectives that count: of two or more ranks, no edges, no exchanges.
    pub collectives: u64,
    /// In how many of them it came last.
    pub last: u64,
    /// In how many of them it came last by more than three standard deviations of the clocks.
    pub delayer: u64,
    /// Steps that these collectives lie in, or stretches of time where there are no steps.
    pub steps: u64,
    /// Mean over steps of its mean lateness, in ns.
    pub lateness_ns: f64,
    /// Standard deviation of that mean, clocks included, in ns.
    pub error_ns: f64,
    /// Median over steps of its greatest lateness, in ns: about what a step would gain without it.
    pub cost_per_step_ns: i64,
    /// Time that others waited for it alone, summed over them, in ns.
    pub caused_wait_ns: i64,
    /// What follows.
    pub verdict: LatenessVerdict,
}

/// The least share of a step that a lateness must cost to be worth a name.
const LEAST_SHARE: f64 = 0.01;

/// The least share of its collectives to which a rank must come last: a rank that is late by less than the others vary
/// hardly ever holds anybody up. Three ranks may share the blame.
const LEAST_LAST: f64 = 1.0 / 3.0;

/// Steps that are needed.
const LEAST_STEPS: usize = 3;

/// One-sided probability of three standard deviations.
const CHANCE: f64 = 0.001_35;

/// The lateness of all ranks of `trace`. `timings` are those of `instances`. `step_starts` are beginnings of steps on the
/// common clock, ascending; without any, stretches of time stand in for steps.
#[must_use]
pub fn lateness(
    trace: &Trace,
    instances: &[CollectiveInstance],
    timings: &[CollectiveTiming],
    clocks: &ClockAlignment,
    step_starts: &[i64],
) -> Vec<RankLateness> {
    let counts = |instance: &CollectiveInstance| {
        let kind = instance.kind;
        !instance.edge
            && !instance.enqueued_only
            && instance.members.len() > 1
            && waits_for_all(kind)
            && kind != CollectiveKind::SendReceive
    };
    let used: Vec<(&CollectiveInstance, &CollectiveTiming)> =
        instances.iter().zip(timings).filter(|(instance, _)| counts(instance)).collect();
    let blocks = Blocks::new(&used, step_starts);
    let mut ranks: Vec<Gathered> = trace.rank_ids().map(|_| Gathered::default()).collect();
    for &(instance, timing) in &used {
        let block = blocks.of(timing.last_arrival_ns);
        for (member, late_ns) in instance.members.iter().zip(late_by(&instance.members)) {
            if let Some(rank) = ranks.get_mut(member.rank.index()) {
                rank.add(block, late_ns, timing, member.rank, instance.members.len());
            }
        }
    }
    let compared = ranks.iter().filter(|rank| rank.collectives > 0).count();
    trace
        .rank_ids()
        .zip(ranks)
        .map(|((id, rank), gathered)| gathered.judge(id, rank.number, clocks, &blocks, compared))
        .collect()
}

/// Arrival of each member minus the median arrival of the others, in ns. O(n log n).
fn late_by(members: &[Member]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..members.len()).collect();
    let arrival = |place: usize| members.get(place).map_or(0, |member| member.start.nanos());
    order.sort_by_key(|&place| (arrival(place), place));
    let mut late = vec![0.0; members.len()];
    for (position, &place) in order.iter().enumerate() {
        // The others in order are all but the one at this position.
        let other = |index: usize| order.get(index + usize::from(index >= position)).map_or(0, |&at| arrival(at));
        let count = order.len() - 1;
        let median = other(count.saturating_sub(1) / 2).midpoint(other(count / 2));
        if let Some(late) = late.get_mut(place).filter(|_| count > 0) {
            *late = arrival(place).saturating_sub(median) as f64;
        }
    }
    late
}

/// Stretches of time that are taken to be independent.
struct Blocks {
    starts: Vec<i64>,
    /// Median length in ns.
    length_ns: i64,
}

impl Blocks {
    fn new(used: &[(&CollectiveInstance, &CollectiveTiming)], step_starts: &[i64]) -> Self {
        let mut times: Vec<i64> = used.iter().map(|(_, timing)| timing.last_arrival_ns).collect();
        times.sort_unstable();
        let (first, last) = (times.first().copied().unwrap_or(0), times.last().copied().unwrap_or(0));
        let mut starts: Vec<i64> = step_starts.to_vec();
        if starts.is_empty() {
            // No more blocks than there are collectives; few enough that neighbours in different ones are apart.
            let count = (times.len() / 4).clamp(1, 16).max(times.len().min(LEAST_STEPS)) as i64;
            let length = (last.saturating_sub(first) / count).saturating_add(1);
            starts = (1..count).map(|block| first.saturating_add(block.saturating_mul(length))).collect();
        }
        let mut lengths: Vec<i64> =
            starts.windows(2).filter_map(|pair| Some(pair.get(1)?.saturating_sub(*pair.first()?))).collect();
        lengths.sort_unstable();
        let length_ns = lengths.get(lengths.len() / 2).copied().unwrap_or_else(|| last.saturating_sub(first));
        Self { starts, length_ns }
    }

    fn of(&self, at: i64) -> usize {
        self.starts.partition_point(|&start| start <= at)
    }
}

#[derive(Default)]
struct Gathered {
    collectives: u64,
    last: u64,
    delayer: u64,
    caused_wait_ns: i64,
    /// Block, sum, count, greatest; ascending by block.
    blocks: Vec<(usize, f64, u64, f64)>,
}

impl Gathered {
    fn add(&mut self, block: usize, late_ns: f64, timing: &CollectiveTiming, rank: RankId, members: usize) {
        self.collectives += 1;
        self.last += u64::from(timing.last == Some(rank));
        if timing.delayer == Some(rank) {
            self.delayer += 1;
            let others = members.saturating_sub(1) as i64;
            self.caused_wait_ns = self.caused_wait_ns.saturating_add(timing.margin_ns.saturating_mul(others));
        }
        match self.blocks.binary_search_by_key(&block, |entry| entry.0) {
            Ok(place) => {
                if let Some(entry) = self.blocks.get_mut(place) {
                    *entry = (block, entry.1 + late_ns, entry.2 + 1, entry.3.max(late_ns));
                }
            }
            Err(place) => self.blocks.insert(place, (block, late_ns, 1, late_ns)),
        }
    }

    fn judge(
        self,
        rank: RankId,
        number: Option<u32>,
        clocks: &ClockAlignment,
        blocks: &Blocks,
        compared: usize,
    ) -> RankLateness {
        let means: Vec<f64> = self.blocks.iter().map(|&(_, sum, count, _)| sum / count as f64).collect();
        let count = means.len() as f64;
        let mean = if means.is_empty() { 0.0 } else { means.iter().sum::<f64>() / count };
        let squares: f64 = means.iter().map(|value| (value - mean).powi(2)).sum();
        let scatter_ns = if means.len() > 1 { (squares / (count - 1.0) / count).sqrt() } else { f64::INFINITY };
        // The median of the others is known better than any one of them; the reference's own error is in theirs.
        let clock_ns = clocks.ranks.iter().find(|clock| clock.rank == rank).map_or(0.0, |clock| clock.error_ns);
        let others = clocks.ranks.iter().filter(|clock| clock.rank != rank).map(|clock| clock.error_ns);
        let clock_ns = clock_ns.hypot(others.fold(0.0, f64::max));
        let mut greatest: Vec<f64> = self.blocks.iter().map(|block| block.3).collect();
        greatest.sort_by(f64::total_cmp);
        let cost_per_step_ns = greatest.get(greatest.len() / 2).copied().unwrap_or(0.0).round() as i64;
        let verdict = if means.len() < LEAST_STEPS {
            LatenessVerdict::TooFew
        } else {
            let by_chance = chance_of_t(mean / scatter_ns.max(1e-9), count - 1.0) * compared.max(1) as f64;
            let is_last = self.last as f64 >= LEAST_LAST * self.collectives as f64;
            let matters = is_last && cost_per_step_ns as f64 >= LEAST_SHARE * blocks.length_ns as f64;
            let is_sure = by_chance < CHANCE && mean > SIGMAS * clock_ns.hypot(scatter_ns);
            if is_sure && matters { LatenessVerdict::Late } else { LatenessVerdict::NotLate }
        };
        RankLateness {
            rank,
            number,
            collectives: self.collectives,
            last: self.last,
            delayer: self.delayer,
            steps: means.len() as u64,
            lateness_ns: mean,
            error_ns: if scatter_ns.is_finite() { clock_ns.hypot(scatter_ns) } else { clock_ns },
            cost_per_step_ns,
            caused_wait_ns: self.caused_wait_ns,
            verdict,
        }
    }
}

/// Probability that Student's t with `freedom` degrees of freedom exceeds `t`: half the regularised incomplete beta
/// function at `freedom ÷ (freedom + t²)` (Abramowitz and Stegun, 26.5.27).
#[must_use]
pub fn chance_of_t(t: f64, freedom: f64) -> f64 {
    let tail = 0.5 * incomplete_beta(freedom / (freedom + t * t), freedom / 2.0, 0.5);
    if t > 0.0 { tail } else { 1.0 - tail }
}

/// The regularised incomplete beta function, by its continued fraction (Press et al., "Numerical Recipes", 6.4).
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    // The fraction converges fast on one side of its middle; the other follows by symmetry.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(1.0 - x, b, a);
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp() / a;
    let tiny = 1e-300;
    let (mut c, mut d) = (1.0, 1.0 / (1.0 - (a + b) * x / (a + 1.0)).max(tiny));
    let mut fraction = d;
    for m in 1..300 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for term in [even, odd] {
            d = 1.0 / (1.0 + term * d);
            c = 1.0 + term / c;
            change = c * d;
            fraction *= change;
        }
        if (change - 1.0).abs() < 1e-14 {
            break;
        }
    }
    front * fraction
}

/// Logarithm of the gamma function for positive `x` (Lanczos 1964, g = 7, nine terms).
fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let sum = (1..).zip(TERMS).fold(0.999_999_999_999_809_9, |sum, (place, term)| sum + term / (x + f64::from(place)));
    let t = x + 7.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_is_against_the_median_of_the_others() {
        let member = |(rank, start): (u32, i64)| Member {
            enqueued: None,
            rank: RankId(rank),
            event: gapless_trace::EventId(rank),
            start: gapless_trace::Timestamp(start),
            end: gapless_trace::Timestamp(1_000),
        };
        let members: Vec<Member> = [(0, 10), (1, 50), (2, 20), (3, 14)].map(member).into();
        // Medians of the others: 20, 14, 14, 20.
        assert_eq!(late_by(&members), [-10.0, 36.0, 6.0, -6.0]);
        assert_eq!(late_by(members.get(..1).unwrap_or_default()), [0.0]);
    }

    #[test]
    fn tails_of_students_t_are_those_of_the_tables() {
        let check = |t: f64, freedom: f64, expected: f64| {
            let found = chance_of_t(t, freedom);
            assert!((found - expected).abs() < 1e-6 * expected.max(1e-3), "t {t}, {freedom}: {found}");
        };
        // Closed forms: one degree of freedom is Cauchy's distribution, two is 1/2 − t / (2 √(2 + t²)).
        check(1.0, 1.0, 0.25);
        check(3.0, 1.0, 0.5 - 3.0_f64.atan() / std::f64::consts::PI);
        for t in [0.5, 2.0, 10.0] {
            check(t, 2.0, 0.5 - t / (2.0 * (2.0 + t * t).sqrt()));
        }
        check(-2.0, 2.0, 0.5 + 2.0 / (2.0 * 6.0_f64.sqrt()));
        check(0.0, 7.0, 0.5);
        // Three standard deviations of a normal distribution; n degrees of freedom differ from it by about 30/n of it.
        assert!((chance_of_t(3.0, 1e7) / 0.001_349_898 - 1.0).abs() < 5e-6);
    }
}
