//! Which calls of different ranks are one collective.
//!
//! Calls with a sequence number meet by group and number. The others meet rank by rank with a pivot: in order where the
//! lists agree, else at the time shift between the two clocks at which most ends coincide, since a recording may begin
//! later on one rank or miss calls. Ranks whose calls contradict causality with the pivot's (somebody ends before
//! another begins, at whatever difference of clocks) belong to another communicator and get a pivot of their own.

use std::collections::BTreeMap;

use crate::collectives::CollectiveKind;
use crate::match_collectives::call::{Call, Calls, Place};

/// How calls were found to be one collective.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MatchedBy {
    /// Group and sequence number.
    Sequence,
    /// Their order, with names and sizes that agree.
    Order,
    /// Ends that coincide at one difference of the clocks.
    Ends,
    /// Nothing: only one rank shows it.
    Alone,
}

/// Calls that are one collective: places in [`Calls::calls`], by rank.
#[derive(Clone, Debug)]
pub(crate) struct Matched {
    pub group: u32,
    /// Communicator within the group's name: several where the name is not enough to tell them apart.
    pub part: u32,
    pub sequence: Option<u64>,
    pub calls: Vec<usize>,
    pub by: MatchedBy,
}

/// Puts calls together. In order of group, part and time on the first rank.
pub(crate) fn matched(all: &Calls) -> Vec<Matched> {
    let mut by_group: Vec<Vec<usize>> = vec![Vec::new(); all.groups.len()];
    for (place, call) in all.calls.iter().enumerate() {
        if let Some(list) = by_group.get_mut(call.group as usize) {
            list.push(place);
        }
    }
    let mut found = Vec::new();
    for (group, list) in by_group.into_iter().enumerate() {
        match_group(all, group as u32, &list, &mut found);
    }
    found
}

/// What a sequence number counts: collectives of a group, of one kind where each kind has numbers of its own, or
/// exchanges of a pair of ranks.
type Counted = (bool, Option<(u32, u32)>, Option<CollectiveKind>);

fn counted(call: &Call) -> Counted {
    (call.kind == CollectiveKind::SendReceive, call.peers, call.is_seq_of_kind.then_some(call.kind))
}

fn match_group(all: &Calls, group: u32, list: &[usize], found: &mut Vec<Matched>) {
    // One call may take several kernels, which then share its number: the k-th of each rank belong together.
    let mut numbered: BTreeMap<(Counted, u64, u32), Vec<usize>> = BTreeMap::new();
    let mut seen: BTreeMap<(u32, Counted, u64), u32> = BTreeMap::new();
    // Exchanges between known peers are in order for each pair.
    let mut ordered: BTreeMap<Counted, BTreeMap<u32, Vec<usize>>> = BTreeMap::new();
    for &place in list {
        let Some(call) = all.calls.get(place) else { continue };
        match call.seq {
            Some(seq) => {
                let turn = seen.entry((call.rank.0, counted(call), seq)).or_insert(0);
                numbered.entry((counted(call), seq, *turn)).or_default().push(place);
                *turn += 1;
            }
            None => {
                let kind = if call.peers.is_some() { counted(call) } else { (false, None, None) };
                ordered.entry(kind).or_default().entry(call.rank.0).or_default().push(place);
            }
        }
    }
    for ((_, seq, _), calls) in numbered {
        let by = if calls.len() > 1 { MatchedBy::Sequence } else { MatchedBy::Alone };
        found.push(Matched { group, part: 0, sequence: Some(seq), calls, by });
    }
    let mut part = 0;
    let from = found.len();
    for (_, ranks) in ordered {
        match_lists(all, group, ranks.into_values().collect(), &mut part, found);
    }
    // NCCL's name of a communicator is no other's.
    if list.iter().filter_map(|&place| all.calls.get(place)).any(|call| call.is_seq_of_kind) {
        found.iter_mut().skip(from).for_each(|entry| entry.part = 0);
    }
}

/// Matches the calls of several ranks that have no sequence numbers.
fn match_lists(all: &Calls, group: u32, mut ranks: Vec<Vec<usize>>, part: &mut u32, found: &mut Vec<Matched>) {
    let is_timed = all.groups.get(group as usize).is_none_or(|key| key.place != Place::Enqueued);
    while !ranks.is_empty() {
        let longest = ranks.iter().enumerate().max_by_key(|(index, list)| (list.len(), std::cmp::Reverse(*index)));
        let Some((index, _)) = longest else { return };
        let pivot = ranks.remove(index);
        let pivot_calls = calls_at(all, &pivot);
        let mut joined: Vec<(Vec<usize>, MatchedBy)> =
            pivot.iter().map(|&place| (vec![place], MatchedBy::Alone)).collect();
        let mut alone = Vec::new();
        let mut others = Vec::new();
        for list in ranks {
            let calls = calls_at(all, &list);
            let Some(pairing) = pair(&pivot_calls, &calls, is_timed) else {
                others.push(list);
                continue;
            };
            let mut taken = vec![false; list.len()];
            for &(at_pivot, at_other) in &pairing.pairs {
                if let (Some(entry), Some(&place)) = (joined.get_mut(at_pivot), list.get(at_other)) {
                    entry.0.push(place);
                    entry.1 = pairing.by;
                }
                if let Some(taken) = taken.get_mut(at_other) {
                    *taken = true;
                }
            }
            alone.extend(list.iter().zip(taken).filter(|&(_, taken)| !taken).map(|(&place, _)| place));
        }
        for (mut calls, by) in joined {
            calls.sort_unstable();
            found.push(Matched { group, part: *part, sequence: None, calls, by });
        }
        for place in alone {
            found.push(Matched { group, part: *part, sequence: None, calls: vec![place], by: MatchedBy::Alone });
        }
        *part += 1;
        ranks = others;
    }
}

fn calls_at<'a>(all: &'a Calls, places: &[usize]) -> Vec<&'a Call> {
    places.iter().filter_map(|&place| all.calls.get(place)).collect()
}

/// Calls of two ranks that belong together.
struct Pairing {
    pairs: Vec<(usize, usize)>,
    by: MatchedBy,
    /// Median distance of the differences of ends from their median, in ns.
    spread_ns: i64,
    /// Largest overlap that is missing: positive if no difference of clocks lets everybody end after all have begun.
    violation_ns: i64,
}

/// Ends of a collective on two hosts may differ by this, in ns, and whoever seems to break causality by less does not.
const END_TOLERANCE_NS: i64 = 50_000;

/// Ends that differ by no more than this from the difference of clocks, in ns, coincide.
const SURE_NS: i64 = 10_000;

/// Windows in ns in which differences of ends are taken to agree: ends on devices, on threads, and on clocks that drift.
const WINDOWS_NS: [i64; 3] = [20_000, 200_000, 2_000_000];

/// Pairs of calls that are tried, at most: the time is linear in it.
const MOST_TRIED: usize = 1_000_000;

/// How two calls agree in what they do. `None` on either side means that the trace does not say.
fn agree(a: &Call, b: &Call) -> bool {
    let exchange = |kind| matches!(kind, CollectiveKind::AllToAll | CollectiveKind::SendReceive);
    let same_kind = a.kind == b.kind || (exchange(a.kind) && exchange(b.kind));
    // What a rank sends in an all-to-all is its own; roots and others differ in gathers and scatters.
    let same_size = !matches!(a.kind, CollectiveKind::AllReduce | CollectiveKind::Broadcast | CollectiveKind::Reduce)
        || a.in_elems.zip(b.in_elems).is_none_or(|(a, b)| a == b);
    same_kind && same_size
}

/// `None` if the calls cannot be those of one communicator. Times say nothing where hosts only hand calls over.
fn pair(a: &[&Call], b: &[&Call], is_timed: bool) -> Option<Pairing> {
    let in_order = (a.len() == b.len() && a.iter().zip(b).all(|(a, b)| agree(a, b)))
        .then(|| pairing(a, b, (0..a.len()).map(|index| (index, index)).collect(), MatchedBy::Order));
    if !is_timed {
        return in_order;
    }
    // Ends that coincide in order leave nothing to look for.
    if in_order.as_ref().is_some_and(|order| order.violation_ns <= END_TOLERANCE_NS && order.spread_ns <= SURE_NS) {
        return in_order;
    }
    let by_ends = (a.len() > 2 && b.len() > 2).then(|| coinciding(a, b)).flatten();
    match (in_order, by_ends) {
        (Some(order), Some(ends)) => {
            let is_better = ends.pairs != order.pairs
                && ends.pairs.len() * 5 >= a.len() * 4
                && ends.spread_ns.saturating_mul(4).saturating_add(1_000) < order.spread_ns;
            let broken = order.violation_ns > END_TOLERANCE_NS;
            Some(if is_better || broken { ends } else { order })
        }
        (Some(order), None) => (order.violation_ns <= END_TOLERANCE_NS || a.len() <= 2).then_some(order),
        (None, ends) => ends,
    }
}

fn pairing(a: &[&Call], b: &[&Call], pairs: Vec<(usize, usize)>, by: MatchedBy) -> Pairing {
    let both = || pairs.iter().filter_map(|&(at_a, at_b)| Some((*a.get(at_a)?, *b.get(at_b)?)));
    let mut ends: Vec<i64> = both().map(|(a, b)| b.end_ns.saturating_sub(a.end_ns)).collect();
    let times: Vec<i64> = both().map(|(a, _)| a.end_ns).collect();
    let slope = slope(&times, &ends);
    // What a clock that drifts adds since the first call.
    let first = times.first().copied().unwrap_or_default();
    let drifted = |at: i64| (at.saturating_sub(first) as f64 * slope).round() as i64;
    for (end, &at) in ends.iter_mut().zip(&times) {
        *end = end.saturating_sub(drifted(at));
    }
    let middle = median(&mut ends);
    let mut away: Vec<i64> = ends.iter().map(|end| end.saturating_sub(middle).saturating_abs()).collect();
    let spread_ns = median(&mut away);
    // The difference of clocks lies between these (`clock::bounds`).
    let least = both().map(|(a, b)| b.start_ns.saturating_sub(a.end_ns).saturating_sub(drifted(a.end_ns))).max();
    let most = both().map(|(a, b)| b.end_ns.saturating_sub(a.start_ns).saturating_sub(drifted(a.end_ns))).min();
    let violation_ns = least.unwrap_or(i64::MIN).saturating_sub(most.unwrap_or(i64::MAX));
    Pairing { pairs, by, spread_ns, violation_ns }
}

/// Clocks of computers drift by less than this.
const MOST_DRIFT: f64 = 500e-6;

/// By how much differences grow with time: between the medians of the first and of the last third.
fn slope(times: &[i64], differences: &[i64]) -> f64 {
    let third = times.len() / 3;
    let middle = |values: &[i64]| median(&mut values.to_vec());
    let of = |range: std::ops::Range<usize>| Some((middle(times.get(range.clone())?), middle(differences.get(range)?)));
    let (Some(early), Some(late)) = (of(0..third), of(times.len() - third..times.len())) else { return 0.0 };
    if third < 2 || late.0 <= early.0 {
        return 0.0;
    }
    let slope = late.1.saturating_sub(early.1) as f64 / late.0.saturating_sub(early.0) as f64;
    slope.clamp(-MOST_DRIFT, MOST_DRIFT)
}

fn median(values: &mut [i64]) -> i64 {
    let middle = values.len() / 2;
    if values.is_empty() { 0 } else { *values.select_nth_unstable(middle).1 }
}

/// Pairs at the difference of clocks at which most ends coincide. `None` if fewer than three do, or if so many would do
/// so by chance.
fn coinciding(a: &[&Call], b: &[&Call]) -> Option<Pairing> {
    let band = (MOST_TRIED / a.len().max(b.len())).max(64);
    let mut differences: Vec<i64> = Vec::new();
    for (at_a, call) in a.iter().enumerate() {
        // Lists of different lengths are compared at the same share of their length.
        let middle = at_a * b.len() / a.len().max(1);
        let from = middle.saturating_sub(band / 2);
        for other in b.iter().skip(from).take(band).filter(|other| agree(call, other)) {
            differences.push(other.end_ns.saturating_sub(call.end_ns));
        }
    }
    differences.sort_unstable();
    let shorter = a.len().min(b.len());
    let mut best: Option<Pairing> = None;
    for window in WINDOWS_NS {
        let Some(shift) = densest(&differences, window) else { continue };
        let found = pairing(a, b, pairs_at(a, b, shift, window), MatchedBy::Ends);
        if best.as_ref().is_none_or(|best| found.pairs.len() > best.pairs.len() + best.pairs.len() / 8) {
            best = Some(found);
        }
        if best.as_ref().is_some_and(|best| best.pairs.len() * 5 >= shorter * 4) {
            break;
        }
    }
    best.filter(|best| best.pairs.len() >= 3 && best.violation_ns <= END_TOLERANCE_NS)
        .filter(|best| best.pairs.len() * 2 >= shorter || chance(&differences, a, b, best) < MOST_CHANCE)
}

/// How likely it may be that ends coincide though the calls have nothing to do with one another.
const MOST_CHANCE: f64 = 1e-3;

/// How likely it is to find as many differences as close together somewhere, were they spread evenly: with N differences
/// of which λ fall into such a window, about N λ^(k−1) / (k−1)! (the first terms of Naus's scan statistic, 1965).
fn chance(differences: &[i64], a: &[&Call], b: &[&Call], found: &Pairing) -> f64 {
    let ends =
        found.pairs.iter().filter_map(|&(at_a, at_b)| Some(b.get(at_b)?.end_ns.saturating_sub(a.get(at_a)?.end_ns)));
    let (least, most) = ends.fold((i64::MAX, i64::MIN), |(least, most), end| (least.min(end), most.max(end)));
    let (Some(&first), Some(&last)) = (differences.first(), differences.last()) else { return 1.0 };
    // Times in whole microseconds coincide within one.
    let window = most.saturating_sub(least).max(1_000) as f64;
    let count = differences.len() as f64;
    let per_window = count * window / (last.saturating_sub(first).max(1) as f64);
    let others = found.pairs.len().saturating_sub(1);
    (1..=others).fold(count, |chance, k| chance * per_window / k as f64)
}

/// The middle of the window of this width with most values, the one nearest to zero of equals.
fn densest(sorted: &[i64], window: i64) -> Option<i64> {
    let mut best: Option<(usize, i64)> = None;
    let mut from = 0;
    for (to, &last) in sorted.iter().enumerate() {
        while sorted.get(from).is_some_and(|&first| last.saturating_sub(first) > window) {
            from += 1;
        }
        let Some(&first) = sorted.get(from) else { continue };
        let (count, middle) = (to - from + 1, first.midpoint(last));
        let better = best
            .is_none_or(|(most, at)| count > most || (count == most && middle.saturating_abs() < at.saturating_abs()));
        if better {
            best = Some((count, middle));
        }
    }
    best.map(|(_, middle)| middle)
}

/// Pairs in order whose ends differ by `shift` up to a window. O(n).
fn pairs_at(a: &[&Call], b: &[&Call], shift: i64, window: i64) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    let mut next = 0;
    for (at_a, call) in a.iter().enumerate() {
        let wanted = call.end_ns.saturating_add(shift);
        let too_early = |other: &&Call| other.end_ns < wanted.saturating_sub(window);
        while b.get(next).is_some_and(too_early) {
            next += 1;
        }
        let near =
            b.iter().enumerate().skip(next).take_while(|(_, other)| other.end_ns <= wanted.saturating_add(window));
        let nearest = near
            .filter(|(_, other)| agree(call, other))
            .min_by_key(|(_, other)| other.end_ns.saturating_sub(wanted).saturating_abs());
        if let Some((at_b, _)) = nearest {
            pairs.push((at_a, at_b));
            next = at_b + 1;
        }
    }
    pairs
}
