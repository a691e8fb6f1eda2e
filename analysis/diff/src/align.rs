//! Which node of one recording is which of the other.
//!
//! Steps are paired by the rank of their length, so that typical ones meet typical ones and odd ones odd ones. Ranks are
//! paired by their numbers, threads by what they call. Within a pair of steps the calls of a thread are aligned by their
//! signatures (the path of operators to them, the call, what it launched, shapes), first those that agree in all, then,
//! between these, those that agree in less. Work follows the call that launched it.

use std::collections::BTreeMap;

use gapless_analysis::graph::NodeKind;
use gapless_trace::{RankId, TrackId};
use rustc_hash::FxHashMap;

use crate::label::short_kernel;
use crate::lcs::common;
use crate::side::{Element, Level, NONE, Side, hash};

/// A thread or stream: its rank and track.
type Line = (u32, TrackId);
/// Pairs of them.
type Keys = Vec<(Line, Line)>;
/// What a line does, and how often.
type Bag = (Line, FxHashMap<u64, u32>);
/// Pairs of places.
type Places = Vec<(usize, usize)>;

/// Counterparts of the nodes of both sides.
pub(crate) struct Alignment {
    /// For each node of the base its counterpart in the step that its own is paired with; [`NONE`] if it has none.
    pub of_base: Vec<u32>,
    /// The same for the new recording.
    pub of_new: Vec<u32>,
    /// For each step of the base the step of the new recording that it is paired with.
    pub steps: Vec<usize>,
    /// Ranks that are paired.
    pub ranks: Vec<(u32, u32)>,
    /// Whether the sequences of any two steps differ.
    pub sequences_differ: bool,
}

impl Alignment {
    pub fn new(base: &Side<'_>, new: &Side<'_>, lengths: (&[i64], &[i64])) -> Self {
        let to_new = paired(lengths.0, lengths.1);
        let to_base = paired(lengths.1, lengths.0);
        let ranks = pair_ranks(base, new);
        let threads: Vec<_> = ranks.iter().flat_map(|&pair| pair_threads(base, new, pair)).collect();
        let streams: Vec<_> = ranks.iter().flat_map(|&pair| pair_streams(base, new, pair)).collect();
        let mut this = Self {
            of_base: vec![NONE; base.step_of.len()],
            of_new: vec![NONE; new.step_of.len()],
            steps: to_new.clone(),
            ranks,
            sequences_differ: false,
        };
        // A pair of steps is aligned once, for both directions.
        let mut pairs: BTreeMap<(usize, usize), (bool, bool)> = BTreeMap::new();
        for (i, &j) in to_new.iter().enumerate() {
            pairs.entry((i, j)).or_default().0 = true;
        }
        for (j, &i) in to_base.iter().enumerate() {
            pairs.entry((i, j)).or_default().1 = true;
        }
        for ((i, j), (forth, back)) in pairs {
            let found = this.align_steps((base, new), (i, j), &threads, &streams);
            for (from, to) in found {
                let put = |list: &mut Vec<u32>, at: u32, value: u32| {
                    if let Some(slot) = list.get_mut(at as usize) {
                        *slot = value;
                    }
                };
                if forth {
                    put(&mut this.of_base, from, to);
                }
                if back {
                    put(&mut this.of_new, to, from);
                }
            }
        }
        this
    }

    fn align_steps(
        &mut self,
        (base, new): (&Side<'_>, &Side<'_>),
        (i, j): (usize, usize),
        threads: &[(Line, Line)],
        streams: &[(Line, Line)],
    ) -> Vec<(u32, u32)> {
        let mut found: Vec<(u32, u32)> = Vec::new();
        for (of_base, of_new) in threads {
            let (Some(a), Some(b)) = (
                base.threads.get(of_base).and_then(|steps| steps.get(i)),
                new.threads.get(of_new).and_then(|steps| steps.get(j)),
            ) else {
                continue;
            };
            let (pairs, same) = align_elements(a, b);
            self.sequences_differ |= !same;
            for (x, y) in pairs {
                let (Some(x), Some(y)) = (a.get(x), b.get(y)) else { continue };
                found.push((x.node, y.node));
                if x.host != NONE && y.host != NONE {
                    found.push((x.host, y.host));
                }
                let works = (base.works.get(&x.node), new.works.get(&y.node));
                if let (Some(own), Some(other)) = works {
                    align_works((base, own), (new, other), &mut found);
                }
            }
        }
        for (of_base, of_new) in streams {
            let (Some(a), Some(b)) = (
                base.loose.get(of_base).and_then(|steps| steps.get(i)),
                new.loose.get(of_new).and_then(|steps| steps.get(j)),
            ) else {
                continue;
            };
            align_works((base, a), (new, b), &mut found);
        }
        found
    }
}

/// For each of `own` the place in `other` of the length of the same rank (as a share of the count).
fn paired(own: &[i64], other: &[i64]) -> Vec<usize> {
    let sorted = |lengths: &[i64]| {
        let mut order: Vec<usize> = (0..lengths.len()).collect();
        order.sort_by_key(|&place| (lengths.get(place).copied(), place));
        order
    };
    let (order, others) = (sorted(own), sorted(other));
    let mut paired = vec![0; own.len()];
    for (rank, &place) in order.iter().enumerate() {
        // The middle of this rank's share of all ranks.
        let at = (2 * rank + 1) * others.len() / (2 * order.len()).max(1);
        if let (Some(slot), Some(&other)) = (paired.get_mut(place), others.get(at)) {
            *slot = other;
        }
    }
    paired
}

/// Ranks of one number; where the numbers have nothing in common, ranks of one place.
fn pair_ranks(base: &Side<'_>, new: &Side<'_>) -> Vec<(u32, u32)> {
    let numbers = |side: &Side<'_>| -> Vec<(RankId, Option<u32>)> {
        side.trace().rank_ids().map(|(id, rank)| (id, rank.number)).collect()
    };
    let (own, others) = (numbers(base), numbers(new));
    let same = |number: Option<u32>| others.iter().find(|other| number.is_some() && other.1 == number);
    let by_number: Vec<(u32, u32)> = own.iter().filter_map(|&(id, number)| Some((id.0, same(number)?.0.0))).collect();
    if by_number.is_empty() { own.iter().zip(&others).map(|(a, b)| (a.0.0, b.0.0)).collect() } else { by_number }
}

/// Pairs of what has most in common, greedily.
fn pair_alike(own: &[Bag], others: &[Bag]) -> Keys {
    let mut scores: Vec<(u64, usize, usize)> = Vec::new();
    for (i, (_, a)) in own.iter().enumerate() {
        for (j, (_, b)) in others.iter().enumerate() {
            let in_common: u64 = a.iter().map(|(key, count)| u64::from(*count.min(b.get(key).unwrap_or(&0)))).sum();
            scores.push((in_common, i, j));
        }
    }
    scores.sort_by_key(|&(score, i, j)| (std::cmp::Reverse(score), i.abs_diff(j), i));
    let (mut used, mut used_others) = (vec![false; own.len()], vec![false; others.len()]);
    let mut pairs = Keys::new();
    for (score, i, j) in scores {
        let (Some(is_used), Some(is_other_used)) = (used.get_mut(i), used_others.get_mut(j)) else { continue };
        if score == 0 || *is_used || *is_other_used {
            continue;
        }
        (*is_used, *is_other_used) = (true, true);
        if let (Some(a), Some(b)) = (own.get(i), others.get(j)) {
            pairs.push((a.0, b.0));
        }
    }
    pairs
}

fn pair_threads(base: &Side<'_>, new: &Side<'_>, (rank, other): (u32, u32)) -> Keys {
    let bags = |side: &Side<'_>, rank: u32| -> Vec<_> {
        let own = side.threads.range((rank, TrackId(0))..=(rank, TrackId(u32::MAX)));
        let bag = |steps: &Vec<Vec<Element>>| {
            let mut bag: FxHashMap<u64, u32> = FxHashMap::default();
            for element in steps.iter().flatten() {
                // Counted in steps, so that recordings of different lengths compare.
                *bag.entry(element.signatures.get(Level::Operator as usize).copied().unwrap_or(0)).or_default() += 1;
            }
            bag
        };
        own.map(|(&key, steps)| (key, bag(steps))).collect()
    };
    pair_alike(&bags(base, rank), &bags(new, other))
}

fn pair_streams(base: &Side<'_>, new: &Side<'_>, (rank, other): (u32, u32)) -> Keys {
    let bags = |side: &Side<'_>, rank: u32| -> Vec<_> {
        let own = side.loose.range((rank, TrackId(0))..=(rank, TrackId(u32::MAX)));
        let bag = |steps: &Vec<Vec<u32>>| {
            let mut bag: FxHashMap<u64, u32> = FxHashMap::default();
            for &node in steps.iter().flatten() {
                *bag.entry(side.node(node).kind as u64).or_default() += 1;
                *bag.entry(work_signature(side, node)).or_default() += 1;
            }
            bag
        };
        own.map(|(&key, steps)| (key, bag(steps))).collect()
    };
    pair_alike(&bags(base, rank), &bags(new, other))
}

/// Pairs of places, and whether the sequences are the same.
fn align_elements(a: &[Element], b: &[Element]) -> (Places, bool) {
    let same_at = |level: Level| {
        let of = |element: &Element| element.signatures.get(level as usize).copied();
        a.len() == b.len() && a.iter().zip(b).all(|(x, y)| of(x) == of(y))
    };
    if same_at(Level::Path) {
        return ((0..a.len()).map(|place| (place, place)).collect(), true);
    }
    // Which levels to begin with is decided by the outcome: most pairs, then the least change of device time. Neither
    // kernels' names (another device) nor shapes (another batch) need be of use.
    let ladders: [&[Level]; 3] = [
        &[Level::Shapes, Level::Kernels, Level::Path, Level::Operator],
        &[Level::Kernels, Level::Path, Level::Operator],
        &[Level::Path, Level::Operator],
    ];
    let mut best: Option<(usize, i64, Places)> = None;
    for ladder in ladders {
        let mut pairs = Vec::new();
        climb(ladder, (a, b), (0, 0), &mut pairs);
        let change = |&(i, j): &(usize, usize)| {
            let work = |element: Option<&Element>| element.map_or(0, |element| element.work_ns);
            work(a.get(i)).saturating_sub(work(b.get(j))).saturating_abs()
        };
        let changes = pairs.iter().map(change).fold(0_i64, i64::saturating_add);
        let is_better = best
            .as_ref()
            .is_none_or(|(count, least, _)| pairs.len() > *count || (pairs.len() == *count && changes < *least));
        if is_better {
            best = Some((pairs.len(), changes, pairs));
        }
    }
    (best.map(|best| best.2).unwrap_or_default(), false)
}

/// Aligns at the first level, and what lies between at the next.
fn climb(ladder: &[Level], (a, b): (&[Element], &[Element]), at: (usize, usize), pairs: &mut Places) {
    let Some((level, rest)) = ladder.split_first() else { return };
    let signatures = |elements: &[Element]| -> Vec<u64> {
        elements.iter().map(|element| element.signatures.get(*level as usize).copied().unwrap_or(0)).collect()
    };
    let mut from = (0, 0);
    let found = common(&signatures(a), &signatures(b));
    for (i, j) in found.into_iter().chain([(a.len(), b.len())]) {
        let (part_a, part_b) = (a.get(from.0..i).unwrap_or_default(), b.get(from.1..j).unwrap_or_default());
        if !part_a.is_empty() && !part_b.is_empty() {
            climb(rest, (part_a, part_b), (at.0 + from.0, at.1 + from.1), pairs);
        }
        if i < a.len() {
            pairs.push((at.0 + i, at.1 + j));
        }
        from = (i + 1, j + 1);
    }
}

fn work_signature(side: &Side<'_>, node: u32) -> u64 {
    let info = side.node(node);
    let name = info.event.map_or_else(String::new, |event| short_kernel(side.trace().name(event)));
    hash(&[&name]) ^ (info.kind as u64)
}

/// Aligns work of one launch, or work without one: by name, and what lies between by what it is.
fn align_works((base, own): (&Side<'_>, &[u32]), (new, others): (&Side<'_>, &[u32]), found: &mut Vec<(u32, u32)>) {
    let kind = |side: &Side<'_>, node: u32| -> NodeKind { side.node(node).kind };
    let same_kinds = own.len() == others.len() && own.iter().zip(others).all(|(&a, &b)| kind(base, a) == kind(new, b));
    if same_kinds && own.len() <= 3 {
        found.extend(own.iter().copied().zip(others.iter().copied()));
        return;
    }
    let names =
        |side: &Side<'_>, nodes: &[u32]| -> Vec<u64> { nodes.iter().map(|&node| work_signature(side, node)).collect() };
    let kinds =
        |side: &Side<'_>, nodes: &[u32]| -> Vec<u64> { nodes.iter().map(|&node| kind(side, node) as u64).collect() };
    let mut from = (0, 0);
    let by_name = common(&names(base, own), &names(new, others));
    for (i, j) in by_name.into_iter().chain([(own.len(), others.len())]) {
        let (a, b) = (own.get(from.0..i).unwrap_or_default(), others.get(from.1..j).unwrap_or_default());
        for (x, y) in common(&kinds(base, a), &kinds(new, b)) {
            found.extend(a.get(x).copied().zip(b.get(y).copied()));
        }
        found.extend(own.get(i).copied().zip(others.get(j).copied()));
        from = (i + 1, j + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_meet_those_of_their_rank() {
        assert_eq!(paired(&[10, 30, 20], &[200, 100, 300]), [1, 2, 0]);
        assert_eq!(paired(&[10, 20, 30, 40], &[2, 1]), [1, 1, 0, 0]);
        assert_eq!(paired(&[2, 1], &[10, 20, 30, 40]), [3, 1]);
        assert_eq!(paired(&[5], &[7]), [0]);
    }

    fn elements(of: &[(u64, u64, i64)]) -> Vec<Element> {
        let element = |(node, &(path, kernel, work_ns)): (usize, &(u64, u64, i64))| Element {
            node: node as u32,
            host: NONE,
            signatures: [kernel, kernel, path, path],
            work_ns,
        };
        of.iter().enumerate().map(element).collect()
    }

    #[test]
    fn names_of_kernels_tell_apart_what_operators_do_not() {
        // One more product among products of one operator.
        let base = elements(&[(1, 11, 5), (1, 12, 50), (1, 13, 9)]);
        let new = elements(&[(1, 11, 5), (1, 99, 7), (1, 12, 50), (1, 13, 9)]);
        assert_eq!(align_elements(&base, &new), (vec![(0, 0), (1, 2), (2, 3)], false));
        // Other kernels for the same operators: another device.
        let new = elements(&[(1, 31, 4), (1, 32, 40), (1, 33, 8)]);
        assert_eq!(align_elements(&base, &new).0, [(0, 0), (1, 1), (2, 2)]);
    }
}
