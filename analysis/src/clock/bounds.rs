//! Intervals that surely hold the differences between clocks: nobody ends a collective before the last has begun.
//!
//! With local times s and e: `max (s_r − e_q) ≤ θ_r − θ_q ≤ min (e_r − s_q)` over their collectives. Chains of such
//! differences bound ranks that share none; shortest paths find the tightest (Bellman–Ford). A cycle of negative length
//! says that no clocks explain what is recorded.

use super::joint::Joint;

/// No limit.
const FREE: i64 = i64::MAX / 4;

/// More ranks than this are bounded by collectives with the reference alone: the table grows with their square.
const MOST_CHAINED: usize = 1_024;

/// Limits in ns on the clocks of the ranks of one component, relative to its reference.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    count: usize,
    /// `upper[r * count + q]`: greatest `x_r − x_q` by collectives that both share.
    upper: Vec<i64>,
}

impl Bounds {
    /// `local` maps a rank to its place among `count`, and `corrected` a rank's time to that of the estimate, so that the
    /// limits are on what is still to be added to it.
    pub fn new(
        joints: &[&Joint],
        count: usize,
        reference: usize,
        local: impl Fn(u32) -> Option<usize>,
        corrected: impl Fn(usize, i64) -> i64,
    ) -> Self {
        let mut this = Self { count, upper: vec![FREE; count.saturating_mul(count)] };
        let mut seen: Vec<(usize, i64, i64, bool)> = Vec::new();
        for joint in joints {
            seen.clear();
            seen.extend(joint.seen.iter().filter_map(|seen| {
                let place = local(seen.rank)?;
                Some((place, corrected(place, seen.start_ns), corrected(place, seen.end_ns), seen.gates))
            }));
            for &(r, _, end, _) in &seen {
                for &(q, start, _, gates) in &seen {
                    let skip = r == q || !gates || (count > MOST_CHAINED && r != reference && q != reference);
                    if let Some(limit) = this.upper.get_mut(r * count + q).filter(|_| !skip) {
                        *limit = (*limit).min(end.saturating_sub(start));
                    }
                }
            }
        }
        this
    }

    /// Greatest `x_r − x_q` by collectives that both share.
    pub fn upper(&self, r: usize, q: usize) -> Option<i64> {
        self.upper.get(r * self.count + q).copied().filter(|&limit| limit < FREE)
    }

    /// Least and greatest `x` of each rank when the reference has 0, `None` where one side is free; `Err` if no `x` at
    /// all satisfies the limits. O(n³) at worst, O(n²) where ranks share collectives with the reference.
    pub fn relative_to(&self, reference: usize) -> Result<Vec<Option<(i64, i64)>>, Contradiction> {
        let most = self.shortest(reference, |from, to| self.upper(to, from))?;
        let least = self.shortest(reference, |from, to| self.upper(from, to))?;
        let interval =
            |(&most, &least): (&i64, &i64)| (most < FREE && least < FREE).then_some((least.saturating_neg(), most));
        Ok(most.iter().zip(&least).map(interval).collect())
    }

    fn shortest(&self, from: usize, weight: impl Fn(usize, usize) -> Option<i64>) -> Result<Vec<i64>, Contradiction> {
        let mut distance = vec![FREE; self.count];
        if let Some(start) = distance.get_mut(from) {
            *start = 0;
        }
        for _ in 0..=self.count {
            let mut changed = false;
            for u in 0..self.count {
                let Some(&at) = distance.get(u).filter(|&&at| at < FREE) else { continue };
                for (v, known) in distance.iter_mut().enumerate() {
                    if let Some(weight) = weight(u, v).filter(|_| u != v)
                        && at.saturating_add(weight) < *known
                    {
                        *known = at.saturating_add(weight);
                        changed = true;
                    }
                }
            }
            if !changed {
                return Ok(distance);
            }
        }
        Err(Contradiction)
    }
}

/// No clocks explain what is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contradiction;

/// By how much a collective contradicts the estimate: last start minus first end, in ns; positive breaks causality.
pub(crate) fn violation_ns(
    joint: &Joint,
    local: impl Fn(u32) -> Option<usize>,
    corrected: impl Fn(usize, i64) -> i64,
) -> i64 {
    let gates = joint.seen.iter().filter(|seen| seen.gates);
    let last = gates.filter_map(|seen| Some((corrected(local(seen.rank)?, seen.start_ns), seen.rank))).max();
    let Some((start, rank)) = last else { return i64::MIN };
    let others = joint.seen.iter().filter(|seen| seen.rank != rank);
    let first_end = others.filter_map(|seen| Some(corrected(local(seen.rank)?, seen.end_ns))).min();
    first_end.map_or(i64::MIN, |end| start.saturating_sub(end))
}

#[cfg(test)]
mod tests {
    use super::super::joint::Seen;
    use super::*;

    fn joint(times: &[(u32, i64, i64)]) -> Joint {
        let seen = |&(rank, start_ns, end_ns): &(u32, i64, i64)| Seen { rank, start_ns, end_ns, gates: true };
        Joint { class: 0, seen: times.iter().map(seen).collect() }
    }

    fn bounds(joints: &[Joint], count: usize) -> Result<Vec<Option<(i64, i64)>>, Contradiction> {
        let joints: Vec<&Joint> = joints.iter().collect();
        Bounds::new(&joints, count, 0, |rank| Some(rank as usize), |_, at| at).relative_to(0)
    }

    #[test]
    fn whoever_is_last_sets_the_limit() {
        // On the true clock rank 0 waits 10–30 for rank 1, which comes at 25; rank 1's clock is 1,000 ahead.
        let one = joint(&[(0, 10, 30), (1, 1_025, 1_030)]);
        assert_eq!(bounds(std::slice::from_ref(&one), 2), Ok(vec![Some((0, 0)), Some((995, 1_020))]));
        // Then rank 0 is last.
        let two = joint(&[(0, 50, 56), (1, 1_040, 1_055)]);
        assert_eq!(bounds(&[one, two], 2), Ok(vec![Some((0, 0)), Some((995, 1_005))]));
    }

    #[test]
    fn chains_bound_ranks_that_share_nothing() {
        let joints = [joint(&[(0, 0, 10), (1, 105, 110)]), joint(&[(1, 120, 140), (2, 337, 340)])];
        assert_eq!(bounds(&joints, 3), Ok(vec![Some((0, 0)), Some((95, 110)), Some((95 + 197, 110 + 220))]));
        assert_eq!(bounds(&joints[..1], 3).map(|found| found[2]), Ok(None));
    }

    #[test]
    fn what_no_clocks_explain_is_a_contradiction() {
        let joints = [joint(&[(0, 0, 10), (1, 0, 10)]), joint(&[(0, 100, 110), (1, 150, 160)])];
        assert_eq!(bounds(&joints, 2), Err(Contradiction));
    }
}
