//! Which operator of a window is which of a recording, on one thread: by order, not by time.
//!
//! Two tools that watch one thread are called one after the other at each begin and end. The thread may lose its core in
//! between, so their times of one operator differ by anything from 50 ns to a scheduler's slice; but what they saw is the
//! same sequence of names, but for ends cut off and for what one of them lost. So:
//!
//! 1. Stretches of [`GRAM`] operators of the window are looked for in the recording. Where such a stretch occurs several
//!    times (steps repeat), the rhythm decides: of the right one, nearly all begins differ by the same amount. The median
//!    of these amounts is the difference of the clocks.
//! 2. With that known, stretches found again without doubt are anchors: pairs for certain.
//! 3. What lies between two anchors is paired in order. Where both sides hold the same names, one to one; else by dynamic
//!    programming for the pairs that are most and nearest in time ([`worth`]).
//!
//! Time: O(n log n) plus at most [`MOST_CELLS`] cells between two anchors. Memory: 16 bytes per operator of the recording
//! in the window's time, and a byte per cell.

use std::cmp::Ordering;

use gapless_trace::RawPlace;

/// Operators of a stretch that is looked for.
const GRAM: usize = 32;
/// An anchor is tried at each such place.
const ANCHOR_EVERY: usize = 64;
/// Stretches by which the difference of the clocks of a thread is judged.
const MOST_VOTES: usize = 256;
/// Occurrences of a stretch that are compared, the nearest in time.
const MOST_OCCURRENCES: usize = 64;
/// Differences of the clocks beyond this are none between clocks of one machine.
pub(super) const FARTHEST_MOVE_NS: i64 = 50_000_000;
/// Begins of one operator lie no further apart than this, even where a container's share of the processor ran out
/// between the two readings (its period is 100 ms).
pub(super) const FARTHEST_NS: i64 = 100_000_000;
/// An anchor's median lies no further from the difference of the clocks: where one of the tools lost an operator of a
/// stretch, the same stretch of the step before must not take its place.
const ANCHOR_WITHIN_NS: i64 = 20_000;
/// What a pair is worth in the sum that is made largest: so many ns nearer in time weigh as much as one more pair.
const WORTH_NS: i64 = 200_000;
/// Cells of a table of dynamic programming, one byte each.
const MOST_CELLS: usize = 4_000_000;

/// An operator of a thread, as one of the two tools saw it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// Begin in ns, of both tools from the same base.
    pub start: i64,
    /// End in ns.
    pub end: i64,
    /// Number of its name, the same of both tools.
    pub name: u32,
    /// How many operators are around it.
    pub depth: u16,
    /// Whether it is an operator, not just something of an operator's name.
    pub is_operator: bool,
    /// Where it stands.
    pub place: RawPlace,
}

/// Puts the operators of a thread in the order of their begins, outer ones first, and finds their depths.
pub(super) fn in_order(seen: &mut [Seen]) {
    seen.sort_unstable_by_key(|seen| (seen.start, std::cmp::Reverse(seen.end), seen.place));
    let mut open: Vec<i64> = Vec::new();
    for seen in seen {
        while open.last().is_some_and(|&end| end <= seen.start) {
            open.pop();
        }
        seen.depth = u16::try_from(open.len()).unwrap_or(u16::MAX);
        open.push(seen.end);
    }
}

/// A stretch of the window that occurs in the recording.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    window: usize,
    recording: usize,
    /// Median of the recording's begins less the window's.
    difference: i64,
}

/// The operators of one thread of both sides, ready to be asked.
pub(super) struct Thread<'a> {
    pub(super) window: &'a [Seen],
    pub(super) recording: &'a [Seen],
    /// Hash and place of each stretch of the recording, sorted.
    stretches: Vec<(u64, u32)>,
}

impl<'a> Thread<'a> {
    /// Both sides [in order](in_order).
    pub(super) fn new(window: &'a [Seen], recording: &'a [Seen]) -> Self {
        let mut stretches: Vec<(u64, u32)> = hashes(recording).into_iter().zip(0..).collect();
        stretches.sort_unstable();
        Self { window, recording, stretches }
    }

    /// Differences of the clocks (recording less window) as single stretches show them without doubt.
    pub(super) fn votes(&self) -> Vec<i64> {
        let hashes = hashes(self.window);
        let every = (hashes.len() / MOST_VOTES).max(1);
        let tried = hashes.iter().enumerate().step_by(every);
        tried.filter_map(|(at, &hash)| Some(self.find(at, hash, 0, FARTHEST_MOVE_NS)?.difference)).collect()
    }

    /// The differences from each operator of the window to the nearest of its name: a weak sign, for what has no stretch.
    pub(super) fn weak_votes(&self) -> Vec<i64> {
        let mut by_name: Vec<(u32, i64)> = self.recording.iter().map(|seen| (seen.name, seen.start)).collect();
        by_name.sort_unstable();
        let nearest = |seen: &Seen| {
            let after = by_name.partition_point(|&entry| entry < (seen.name, seen.start));
            let near = [after.checked_sub(1).and_then(|before| by_name.get(before)), by_name.get(after)];
            let of_name = near.into_iter().flatten().filter(|entry| entry.0 == seen.name);
            of_name.map(|entry| entry.1.saturating_sub(seen.start)).min_by_key(|difference| difference.saturating_abs())
        };
        self.window.iter().filter_map(nearest).collect()
    }

    /// Pairs of places (window, recording), ascending on both sides, where the recording's clock is about `offset` ahead.
    pub(super) fn pairs(&self, offset: i64) -> Vec<(usize, usize)> {
        let mut pairs = Vec::new();
        let mut from = (0, 0);
        let anchors = self.anchors(offset);
        let mut local = anchors.first().map_or(offset, |anchor| anchor.difference);
        for anchor in &anchors {
            self.between(from, (anchor.window, anchor.recording), local, &mut pairs);
            pairs.extend((0..GRAM).map(|more| (anchor.window + more, anchor.recording + more)));
            from = (anchor.window + GRAM, anchor.recording + GRAM);
            local = anchor.difference;
        }
        self.between(from, (self.window.len(), self.recording.len()), local, &mut pairs);
        pairs
    }

    /// Anchors, ascending and apart on both sides.
    fn anchors(&self, offset: i64) -> Vec<Stretch> {
        let hashes = hashes(self.window);
        let tried = hashes.iter().enumerate().step_by(ANCHOR_EVERY);
        let found: Vec<Stretch> =
            tried.filter_map(|(at, &hash)| self.find(at, hash, offset, ANCHOR_WITHIN_NS)).collect();
        let places: Vec<i64> = found.iter().map(|stretch| stretch.recording as i64).collect();
        let mut free = 0;
        let ascending = increasing(&places).into_iter().filter_map(|place| found.get(place).copied());
        ascending
            .filter(|stretch| {
                let is_apart = stretch.recording >= free;
                if is_apart {
                    free = stretch.recording + GRAM;
                }
                is_apart
            })
            .collect()
    }

    /// Where the stretch of the window at `at` is in the recording, if there is no doubt of it.
    fn find(&self, at: usize, hash: u64, offset: i64, within: i64) -> Option<Stretch> {
        let window = self.window.get(at..at + GRAM)?;
        let expected = window.first()?.start.saturating_add(offset);
        // Anything may be late by a slice of the scheduler; the median of a stretch is not.
        let reach = within.saturating_add(FARTHEST_NS);
        let place_of = |time: i64| {
            let at = self.recording.partition_point(|seen| seen.start < time);
            u32::try_from(at).unwrap_or(u32::MAX)
        };
        let rank_of = |place: u32| self.stretches.partition_point(|&entry| entry < (hash, place));
        let first = rank_of(place_of(expected.saturating_sub(reach)));
        let last = rank_of(place_of(expected.saturating_add(reach)));
        let nearest = rank_of(place_of(expected));
        let first = first.max(nearest.saturating_sub(MOST_OCCURRENCES / 2));
        let last = last.min(nearest.saturating_add(MOST_OCCURRENCES / 2));
        let mut best: Option<(i64, Stretch)> = None;
        let mut second = i64::MAX;
        for &(_, place) in self.stretches.get(first..last).unwrap_or_default() {
            let place = place as usize;
            let Some((difference, spread)) =
                self.recording.get(place..place + GRAM).and_then(|recording| rhythm(window, recording))
            else {
                continue;
            };
            if difference.saturating_sub(offset).saturating_abs() > within {
                continue;
            }
            match best {
                Some((least, _)) if least <= spread => second = second.min(spread),
                _ => {
                    second = best.map_or(i64::MAX, |(least, _)| least);
                    best = Some((spread, Stretch { window: at, recording: place, difference }));
                }
            }
        }
        best.filter(|&(least, _)| least < second / 2).map(|(_, stretch)| stretch)
    }

    /// Pairs what lies between two anchors.
    fn between(&self, from: (usize, usize), to: (usize, usize), offset: i64, pairs: &mut Vec<(usize, usize)>) {
        let window = self.window.get(from.0..to.0).unwrap_or_default();
        let recording = self.recording.get(from.1..to.1).unwrap_or_default();
        let is_same = window.len() == recording.len() && window.iter().zip(recording).all(|(a, b)| a.name == b.name);
        if is_same {
            let worths = || window.iter().zip(recording).map(|(a, b)| worth(a, b, offset));
            // Any other way has a pair less: where these are worth nearly all that they can be, none is better.
            let lost = worths().map(|worth| WORTH_NS - worth.unwrap_or_default()).fold(0, i64::saturating_add);
            if lost <= WORTH_NS && worths().all(|worth| worth.is_some()) {
                pairs.extend((0..window.len()).map(|more| (from.0 + more, from.1 + more)));
                return;
            }
        }
        best_pairs(window, recording, offset, from, pairs);
    }
}

/// Median of the differences of the begins of two stretches of the same names, and how far the nearest three quarters of
/// them lie from it on average: the rest may have lost their core between the two tools.
fn rhythm(window: &[Seen], recording: &[Seen]) -> Option<(i64, i64)> {
    if !window.iter().zip(recording).all(|(a, b)| a.name == b.name) {
        return None;
    }
    let mut differences: Vec<i64> =
        window.iter().zip(recording).map(|(a, b)| b.start.saturating_sub(a.start)).collect();
    differences.sort_unstable();
    let median = differences.get(differences.len() / 2).copied()?;
    differences.iter_mut().for_each(|difference| *difference = difference.saturating_sub(median).saturating_abs());
    differences.sort_unstable();
    let nearest = differences.get(..differences.len() * 3 / 4)?;
    let sum = nearest.iter().fold(0_i64, |sum, &difference| sum.saturating_add(difference));
    Some((median, sum / (nearest.len() as i64).max(1)))
}

/// Hashes of the names of each stretch of [`GRAM`]; equal names give equal hashes, the reverse is looked at.
fn hashes(of: &[Seen]) -> Vec<u64> {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let letter = |seen: &Seen| (u64::from(seen.name) + 1).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let leaving = (0..GRAM).fold(1_u64, |power, _| power.wrapping_mul(FACTOR));
    let mut hash = 0_u64;
    let mut hashes = Vec::with_capacity(of.len().saturating_sub(GRAM - 1));
    for (place, seen) in of.iter().enumerate() {
        hash = hash.wrapping_mul(FACTOR).wrapping_add(letter(seen));
        if let Some(gone) = place.checked_sub(GRAM).and_then(|gone| of.get(gone)) {
            hash = hash.wrapping_sub(letter(gone).wrapping_mul(leaving));
        }
        if place + 1 >= GRAM {
            hashes.push(hash);
        }
    }
    hashes
}

/// What it is worth that both are the same operator; `None` where they cannot be.
///
/// A thread seldom loses its core at both ends of an operator, so the nearer end counts. However late, a pair is worth
/// something: order decides, time and nesting only between two orders.
fn worth(window: &Seen, recording: &Seen, offset: i64) -> Option<i64> {
    let apart = |window: i64, recording: i64| recording.saturating_sub(window).saturating_sub(offset).saturating_abs();
    let begins = apart(window.start, recording.start);
    if window.name != recording.name || begins > FARTHEST_NS {
        return None;
    }
    let near = (WORTH_NS - begins.min(apart(window.end, recording.end)).min(WORTH_NS)).max(WORTH_NS / 8);
    // What is around an operator of the window may have begun before the window, so more around it in the recording says
    // little; less around it would be an operator that the recording lost.
    Some(match window.depth.cmp(&recording.depth) {
        Ordering::Equal => near,
        Ordering::Less => near - WORTH_NS / 256,
        Ordering::Greater => near - WORTH_NS / 16,
    })
}

/// The pairs, in order, whose worth is most, in the cells that are near enough in time.
fn best_pairs(window: &[Seen], recording: &[Seen], offset: i64, at: (usize, usize), pairs: &mut Vec<(usize, usize)>) {
    const UP: u8 = 0;
    const LEFT: u8 = 1;
    const PAIR: u8 = 2;
    // Of each operator of the window the stretch of the recording that may hold it.
    let rows_within = |within: i64| -> Vec<(usize, usize)> {
        let (mut first, mut last) = (0, 0);
        window
            .iter()
            .map(|seen| {
                let expected = seen.start.saturating_add(offset);
                let start = |place: usize| recording.get(place).map(|seen| seen.start);
                while start(first).is_some_and(|start| start < expected.saturating_sub(within)) {
                    first += 1;
                }
                while start(last).is_some_and(|start| start <= expected.saturating_add(within)) {
                    last += 1;
                }
                (first, last.max(first))
            })
            .collect()
    };
    let cells = |rows: &[(usize, usize)]| rows.iter().map(|row| row.1 - row.0 + 1).sum::<usize>();
    let mut within = FARTHEST_NS;
    let mut rows = rows_within(within);
    while cells(&rows) > MOST_CELLS.max(2 * window.len()) && within > 0 {
        within /= 2;
        rows = rows_within(within);
    }
    // A cell (row, column) is the best of the operators before both; it says by which step it came about.
    let mut steps: Vec<u8> = Vec::with_capacity(cells(&rows));
    let mut begins: Vec<usize> = Vec::with_capacity(rows.len());
    let mut above: Vec<i64> = vec![0];
    let mut above_first = rows.first().map_or(0, |row| row.0);
    for (seen, &(first, last)) in window.iter().zip(&rows) {
        begins.push(steps.len());
        // Right of its end a row stays as it is: nothing there can be paired.
        let up = |column: usize| above.get((column - above_first).min(above.len() - 1)).copied().unwrap_or_default();
        let mut best: Vec<i64> = Vec::with_capacity(last - first + 1);
        best.push(up(first));
        steps.push(UP);
        for column in first..last {
            let mut cell = (up(column + 1), UP);
            let left = best.last().copied().unwrap_or_default();
            if left > cell.0 {
                cell = (left, LEFT);
            }
            if let Some(worth) = recording.get(column).and_then(|other| worth(seen, other, offset)) {
                let paired = up(column) + worth;
                if paired > cell.0 {
                    cell = (paired, PAIR);
                }
            }
            best.push(cell.0);
            steps.push(cell.1);
        }
        (above, above_first) = (best, first);
    }
    let begin = pairs.len();
    let mut row = rows.len();
    let mut column = recording.len();
    while let Some((&(first, last), &begin)) = row.checked_sub(1).and_then(|row| rows.get(row).zip(begins.get(row))) {
        column = column.min(last);
        match column.checked_sub(first).and_then(|cell| steps.get(begin + cell)) {
            Some(&LEFT) => column -= 1,
            Some(&PAIR) => {
                (row, column) = (row - 1, column - 1);
                pairs.push((at.0 + row, at.1 + column));
            }
            _ => row -= 1,
        }
    }
    if let Some(new) = pairs.get_mut(begin..) {
        new.reverse();
    }
}

/// Places of a longest run of `values` that never descends.
pub(super) fn increasing(values: &[i64]) -> Vec<usize> {
    // Of each length the place that ends the run with the least value, and the place before each.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(values.len());
    let value_at = |place: usize| values.get(place).copied().unwrap_or_default();
    for (place, &value) in values.iter().enumerate() {
        let length = ends.partition_point(|&end| value_at(end) <= value);
        before.push(length.checked_sub(1).and_then(|last| ends.get(last)).copied());
        match ends.get_mut(length) {
            Some(end) => *end = place,
            None => ends.push(place),
        }
    }
    let mut run = Vec::with_capacity(ends.len());
    let mut at = ends.last().copied();
    while let Some(place) = at {
        run.push(place);
        at = before.get(place).copied().flatten();
    }
    run.reverse();
    run
}

#[cfg(test)]
#[path = "align_tests.rs"]
mod tests;
