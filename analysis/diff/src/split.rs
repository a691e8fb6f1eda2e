//! The change of the step, split over causes by replays.
//!
//! Both recordings replay exactly when all residuals are kept. Between the two lies a chain of replays in which one cause
//! after the other is given the values of the other side. Only one link changes the graph: with gone work taken out of
//! the base and new work out of the new recording, both stand for the same program, and what is left between them is
//! order and overlap.
//!
//! ```text
//! order 1:  base ─ times, cause by cause ─ gone work out ═ other graph ═ new work in ─ new
//! order 2:  base ─ gone work out ═ other graph ═ new work in ─ times, the last cause first ─ new
//! ```
//!
//! Each part is the mean of its two links. Links telescope, so parts sum to the whole whatever the graphs are; where
//! causes interact, the mean of an order and its reverse gives each of two half of their interaction.

use gapless_analysis::graph::Graph;
use gapless_analysis::replay::{Mode, Scenario, replay};

use crate::groups::{Edit, Group, Which};
use crate::side::replayed_lengths;

/// The split, in units of ns ÷ `unit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Split {
    /// Length of the base's step.
    pub base: i128,
    /// Length of the new step.
    pub new: i128,
    /// Part of each group.
    pub parts: Vec<i128>,
    /// What order and overlap bring.
    pub rest: i128,
    /// Units in a nanosecond.
    pub unit: i128,
}

/// One recording while it is changed group by group.
struct Sweep<'a> {
    scenario: Scenario<'a>,
    which: Which,
    typical: &'a [usize],
    /// The other side's number of typical steps.
    scale: i128,
    length: i128,
}

impl<'a> Sweep<'a> {
    fn new(graph: &'a Graph, which: Which, typical: &'a [usize], other: usize) -> Self {
        let scenario = Scenario::new(graph, Mode::Identity);
        let mut this = Self { scenario, which, typical, scale: 2 * other as i128, length: 0 };
        this.measure();
        this
    }

    fn measure(&mut self) {
        let times = replay(&self.scenario);
        let lengths = replayed_lengths(&self.scenario, &times);
        let sum: i128 =
            self.typical.iter().filter_map(|&step| lengths.get(step)).map(|&length| i128::from(length)).sum();
        self.length = sum * self.scale;
    }

    /// Gives a group the values of the other side. By how much the steps change.
    fn apply(&mut self, group: &Group) -> i128 {
        let Some(edits) = group.edits.get(self.which as usize).filter(|edits| !edits.is_empty()) else { return 0 };
        for edit in edits {
            match *edit {
                Edit::Dur(node, change) => {
                    let id = gapless_analysis::graph::NodeId(node);
                    self.scenario.set_duration(id, self.scenario.duration_ns(id).saturating_add(change));
                }
                Edit::Delay(node, change) => {
                    let id = gapless_analysis::graph::NodeId(node);
                    self.scenario.set_delay(id, self.scenario.delay_ns(id).saturating_add(change));
                }
                Edit::Lag(edge, lag) => self.scenario.set_lag(edge, lag),
            }
        }
        let before = self.length;
        self.measure();
        self.length - before
    }
}

/// Splits the change between the typical steps of two graphs. Groups of new and gone work may stand anywhere among
/// `groups`.
pub(crate) fn split(base: &Graph, new: &Graph, typical: [&[usize]; 2], groups: &[Group]) -> Split {
    let [of_base, of_new] = typical;
    let sweep = |which: Which| match which {
        Which::Base => Sweep::new(base, which, of_base, of_new.len()),
        Which::New => Sweep::new(new, which, of_new, of_base.len()),
    };
    let (times, single): (Vec<usize>, Vec<usize>) =
        (0..groups.len()).partition(|&place| groups.get(place).is_some_and(|group| !group.cause.is_structural()));
    // What is left of each side when everything is applied in this order, and each group's effect.
    let run = |which: Which, order: &[usize]| -> (i128, i128, Vec<i128>) {
        let mut sweep = sweep(which);
        let begun = sweep.length;
        let mut effects = vec![0; groups.len()];
        for &place in order {
            if let (Some(group), Some(slot)) = (groups.get(place), effects.get_mut(place)) {
                *slot = sweep.apply(group);
            }
        }
        (begun, sweep.length, effects)
    };
    let all: Vec<usize> = times.iter().chain(&single).copied().collect();
    let (on_base, on_new) = rayon::join(
        || (run(Which::Base, &all), run(Which::Base, &single)),
        || (run(Which::New, &single), run(Which::New, &all)),
    );
    let ((base_length, base_end_1, base_1), (_, base_end_2, base_2)) = on_base;
    let ((new_length, new_end_1, new_1), (_, new_end_2, new_2)) = on_new;
    let effect = |list: &[i128], place: usize| list.get(place).copied().unwrap_or_default();
    // On the new side values go backwards: what a group takes away there is what it brings.
    let part = |place: usize| {
        let first = effect(&base_1, place) - effect(&new_1, place);
        let second = effect(&base_2, place) - effect(&new_2, place);
        (first + second) / 2
    };
    // Sums over steps of both sides carry a factor of two, so halves stay whole.
    Split {
        base: base_length,
        new: new_length,
        parts: (0..groups.len()).map(part).collect(),
        rest: ((new_end_1 - base_end_1) + (new_end_2 - base_end_2)) / 2,
        unit: 2 * of_base.len() as i128 * of_new.len() as i128,
    }
}

/// Rounds parts to whole nanoseconds that sum to `whole`: to the nearest, and the largest remainders give way.
pub(crate) fn rounded(parts: &[i128], unit: i128, whole: i64) -> Vec<i64> {
    let unit = unit.max(1);
    let mut rounded: Vec<i128> = parts.iter().map(|part| part.div_euclid(unit)).collect();
    let mut missing = i128::from(whole) - rounded.iter().sum::<i128>();
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|&place| (std::cmp::Reverse(parts.get(place).map_or(0, |part| part.rem_euclid(unit))), place));
    // Rounding down leaves less than one for each part, and the rounding of the whole at most one more.
    for place in order.iter().cycle().take(parts.len().saturating_mul(2)) {
        if missing == 0 {
            break;
        }
        if let Some(slot) = rounded.get_mut(*place) {
            *slot += missing.signum();
            missing -= missing.signum();
        }
    }
    rounded.into_iter().map(|part| i64::try_from(part).unwrap_or(if part < 0 { i64::MIN } else { i64::MAX })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounded_parts_sum_to_the_whole() {
        assert_eq!(rounded(&[5, 5, 5], 4, 4), [2, 1, 1]);
        assert_eq!(rounded(&[-5, 9], 4, 1), [-1, 2]);
        assert_eq!(rounded(&[], 4, 0), [0_i64; 0]);
    }
}
