//! Longest common subsequences of signatures.
//!
//! Short sequences are solved exactly by dynamic programming. Long ones are cut at signatures that occur once in both
//! (the idea of patience sorting), and where there are none the k-th occurrence of each signature is paired with the k-th
//! of the other side and the longest increasing run of such pairs is kept: O(n log n), and never a wrong order.

use rustc_hash::FxHashMap;

/// Cells of a table of dynamic programming: 16 MB.
const MOST_CELLS: usize = 4_000_000;
/// How often a long sequence is cut at unique signatures.
const MOST_CUTS: usize = 8;

/// Pairs of places with equal signatures, ascending on both sides.
pub(crate) fn common(a: &[u64], b: &[u64]) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    solve(a, b, (0, 0), 0, &mut pairs);
    pairs
}

fn solve(a: &[u64], b: &[u64], at: (usize, usize), cuts: usize, pairs: &mut Vec<(usize, usize)>) {
    let head = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    pairs.extend((0..head).map(|place| (at.0 + place, at.1 + place)));
    let (a, b) = (a.get(head..).unwrap_or_default(), b.get(head..).unwrap_or_default());
    let at = (at.0 + head, at.1 + head);
    let tail = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
    let (rest_a, rest_b) = (a.len() - tail, b.len() - tail);
    let (middle_a, middle_b) = (a.get(..rest_a).unwrap_or_default(), b.get(..rest_b).unwrap_or_default());
    if !middle_a.is_empty() && !middle_b.is_empty() {
        if middle_a.len().saturating_mul(middle_b.len()) <= MOST_CELLS {
            exact(middle_a, middle_b, at, pairs);
        } else {
            cut(middle_a, middle_b, at, cuts, pairs);
        }
    }
    pairs.extend((0..tail).map(|place| (at.0 + rest_a + place, at.1 + rest_b + place)));
}

/// Dynamic programming from the end, so that walking forward matches as early as possible.
fn exact(a: &[u64], b: &[u64], at: (usize, usize), pairs: &mut Vec<(usize, usize)>) {
    let width = b.len() + 1;
    let mut longest = vec![0_u32; (a.len() + 1) * width];
    let cell = |longest: &[u32], i: usize, j: usize| longest.get(i * width + j).copied().unwrap_or_default();
    for (i, x) in a.iter().enumerate().rev() {
        for (j, y) in b.iter().enumerate().rev() {
            let value = if x == y {
                cell(&longest, i + 1, j + 1) + 1
            } else {
                cell(&longest, i + 1, j).max(cell(&longest, i, j + 1))
            };
            if let Some(slot) = longest.get_mut(i * width + j) {
                *slot = value;
            }
        }
    }
    let (mut i, mut j) = (0, 0);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        if x == y {
            pairs.push((at.0 + i, at.1 + j));
            i += 1;
            j += 1;
        } else if cell(&longest, i + 1, j) >= cell(&longest, i, j + 1) {
            i += 1;
        } else {
            j += 1;
        }
    }
}

fn cut(a: &[u64], b: &[u64], at: (usize, usize), cuts: usize, pairs: &mut Vec<(usize, usize)>) {
    let (of_a, of_b) = (occurrences(a), occurrences(b));
    let unique = a.iter().enumerate().filter_map(|(i, signature)| {
        let (own, other) = (of_a.get(signature)?, of_b.get(signature)?);
        (own.len() == 1).then_some(())?;
        Some((i, *other.first().filter(|_| other.len() == 1)?))
    });
    let anchors = increasing(&unique.collect::<Vec<_>>());
    if anchors.is_empty() || cuts >= MOST_CUTS {
        let mut seen: FxHashMap<u64, usize> = FxHashMap::default();
        let by_turn = a.iter().enumerate().filter_map(|(i, signature)| {
            let turn = seen.entry(*signature).or_default();
            let other = of_b.get(signature)?.get(*turn).copied();
            *turn += 1;
            Some((i, other?))
        });
        let kept = increasing(&by_turn.collect::<Vec<_>>());
        pairs.extend(kept.into_iter().map(|(i, j)| (at.0 + i, at.1 + j)));
        return;
    }
    let mut from = (0, 0);
    for (i, j) in anchors {
        let (part_a, part_b) = (a.get(from.0..i).unwrap_or_default(), b.get(from.1..j).unwrap_or_default());
        solve(part_a, part_b, (at.0 + from.0, at.1 + from.1), cuts + 1, pairs);
        pairs.push((at.0 + i, at.1 + j));
        from = (i + 1, j + 1);
    }
    let (part_a, part_b) = (a.get(from.0..).unwrap_or_default(), b.get(from.1..).unwrap_or_default());
    solve(part_a, part_b, (at.0 + from.0, at.1 + from.1), cuts + 1, pairs);
}

fn occurrences(of: &[u64]) -> FxHashMap<u64, Vec<usize>> {
    let mut places: FxHashMap<u64, Vec<usize>> = FxHashMap::default();
    for (place, signature) in of.iter().enumerate() {
        places.entry(*signature).or_default().push(place);
    }
    places
}

/// The longest run of pairs, ascending in the first, that also ascends in the second.
fn increasing(pairs: &[(usize, usize)]) -> Vec<(usize, usize)> {
    // Of each length the pair that ends the run with the least second place, and the pair before each.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(pairs.len());
    let second = |place: usize| pairs.get(place).map_or(0, |pair| pair.1);
    for (place, pair) in pairs.iter().enumerate() {
        let length = ends.partition_point(|&end| second(end) < pair.1);
        before.push(length.checked_sub(1).and_then(|last| ends.get(last)).copied());
        match ends.get_mut(length) {
            Some(end) => *end = place,
            None => ends.push(place),
        }
    }
    let mut run = Vec::with_capacity(ends.len());
    let mut at = ends.last().copied();
    while let Some(place) = at {
        run.extend(pairs.get(place).copied());
        at = before.get(place).copied().flatten();
    }
    run.reverse();
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(seed: u64, count: usize, alphabet: u64) -> Vec<u64> {
        let mut state = seed;
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % alphabet
        };
        (0..count).map(next).collect()
    }

    fn check(a: &[u64], b: &[u64], pairs: &[(usize, usize)]) {
        assert!(pairs.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 < two[1].1), "{pairs:?}");
        assert!(pairs.iter().all(|&(i, j)| a[i] == b[j]));
    }

    /// Length of the longest common subsequence, by the definition.
    fn longest(a: &[u64], b: &[u64]) -> usize {
        let mut row = vec![0; b.len() + 1];
        for x in a {
            let mut diagonal = 0;
            for (j, y) in b.iter().enumerate() {
                let above = row[j + 1];
                row[j + 1] = if x == y { diagonal + 1 } else { above.max(row[j]) };
                diagonal = above;
            }
        }
        row[b.len()]
    }

    #[test]
    fn short_sequences_are_solved_exactly() {
        for seed in 0..200 {
            let (a, b) = (numbers(seed, 30, 5), numbers(seed + 1_000, 25, 5));
            let pairs = common(&a, &b);
            check(&a, &b, &pairs);
            assert_eq!(pairs.len(), longest(&a, &b));
        }
        assert!(common(&[], &[1]).is_empty());
    }

    #[test]
    fn long_sequences_keep_nearly_everything() {
        // 9,000 of few kinds, with unique marks between, of which 300 are taken out of one side.
        let mut a: Vec<u64> = Vec::new();
        for (place, kind) in numbers(7, 9_000, 6).into_iter().enumerate() {
            a.push(kind);
            if place % 40 == 0 {
                a.push(1_000 + place as u64);
            }
        }
        let b: Vec<u64> = a.iter().enumerate().filter(|(place, _)| place % 30 != 3).map(|(_, &kind)| kind).collect();
        let pairs = common(&a, &b);
        check(&a, &b, &pairs);
        assert!(pairs.len() * 100 >= b.len() * 98, "{} of {}", pairs.len(), b.len());
        // No unique signatures at all.
        let (a, b) = (numbers(1, 5_000, 4), numbers(2, 5_000, 4));
        check(&a, &b, &common(&a, &b));
    }
}
