//! Replays of a job with other durations: all steps and replicas at once.

use super::schedule::{Event, Schedule};
use super::table::Job;

/// Transfers that are negative by more than this come from clocks; they count as none. In ns.
const CLOCKS_NS: f64 = 10_000_000.0;

/// A job with what it takes to replay it.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub job: Job,
    pub schedule: Schedule,
    /// As recorded, of each operator and lane, in ns: how long it computes, or moves data once all have come.
    pub work: Vec<f64>,
    /// As usual, in ns: the mean over all workers and steps of what computes, the median of what communicates.
    pub ideal: Vec<f64>,
}

/// Times of a replay, in ns from the beginning of each step.
pub(super) struct Times {
    pub start: Vec<f64>,
    pub end: Vec<f64>,
    /// Of each step the last end of an optimizer.
    pub completion: Vec<f64>,
}

impl Model {
    pub fn new(job: Job) -> Result<Self, String> {
        let schedule = Schedule::new(&job)?;
        let lanes = job.lanes();
        let mut model = Self { work: vec![0.0; job.start.len()], ideal: Vec::new(), schedule, job };
        for op in 0..model.job.ops.len() {
            for lane in 0..lanes {
                let at = op * lanes + lane;
                let start = value(&model.job.start, at);
                let meets = match model.schedule.group_of.get(op).copied().flatten() {
                    None => start,
                    Some(group) => model.last_begin(&model.job.start, group, lane),
                };
                let work = value(&model.job.end, at) - meets;
                let is_group = model.schedule.group_of.get(op).copied().flatten().is_some();
                set(&mut model.work, at, if is_group && work <= -CLOCKS_NS { 0.0 } else { work });
            }
        }
        model.ideal = model.usual();
        Ok(model)
    }

    /// The last end of what an operator waits for; the beginning of the step if it waits for nothing.
    fn last_end(&self, end: &[f64], op: usize, lane: usize) -> f64 {
        let before = self.schedule.before.get(op).map_or(&[][..], Vec::as_slice);
        let lanes = self.job.lanes();
        before.iter().map(|&first| value(end, first * lanes + lane)).reduce(f64::max).unwrap_or(0.0)
    }

    /// When the last member of a group begins: of the replica of the lane, or of all.
    fn last_begin(&self, start: &[f64], group: usize, lane: usize) -> f64 {
        let (lanes, replicas) = (self.job.lanes(), self.job.replicas);
        let members = self.schedule.groups.get(group).map_or(&[][..], Vec::as_slice);
        let of_lane = |lane: usize| members.iter().map(move |&op| value(start, op * lanes + lane));
        if self.schedule.is_shared.get(group) == Some(&true) {
            let first = lane - lane % replicas;
            (first..first + replicas).flat_map(of_lane).fold(f64::NEG_INFINITY, f64::max)
        } else {
            of_lane(lane).fold(f64::NEG_INFINITY, f64::max)
        }
    }

    /// The usual durations, by kind of operator.
    fn usual(&self) -> Vec<f64> {
        let lanes = self.job.lanes();
        let mut ideal = self.work.clone();
        let mut kinds: Vec<_> = self.job.ops.iter().map(|op| op.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        for kind in kinds {
            let places = || self.job.ops.iter().enumerate().filter(|(_, op)| op.kind == kind).map(|(place, _)| place);
            let mut values: Vec<f64> = places()
                .flat_map(|op| self.work.get(op * lanes..(op + 1) * lanes).unwrap_or_default())
                .copied()
                .collect();
            let usual = if kind.is_communication() { median(&mut values) } else { mean(&values) };
            for op in places() {
                if let Some(of_op) = ideal.get_mut(op * lanes..(op + 1) * lanes) {
                    of_op.fill(usual);
                }
            }
        }
        ideal
    }

    /// Replays with `work` in place of the recorded durations, and no delays. O(operators × lanes).
    pub fn replay(&self, work: &[f64]) -> Times {
        let lanes = self.job.lanes();
        let mut start = vec![0.0; self.work.len()];
        let mut end = vec![0.0; self.work.len()];
        let mut completion = vec![f64::NEG_INFINITY; self.job.steps.len()];
        for &event in &self.schedule.order {
            match event {
                Event::Begin(op) => {
                    for lane in 0..lanes {
                        let at = self.last_end(&end, op, lane);
                        set(&mut start, op * lanes + lane, at);
                    }
                }
                Event::End(op) => {
                    for at in op * lanes..(op + 1) * lanes {
                        set(&mut end, at, value(&start, at) + value(work, at));
                    }
                    if self.job.ops.get(op).is_some_and(|op| op.kind == super::table::OpType::Optimizer) {
                        for lane in 0..lanes {
                            if let Some(last) = completion.get_mut(lane / self.job.replicas.max(1)) {
                                *last = last.max(value(&end, op * lanes + lane));
                            }
                        }
                    }
                }
                Event::Meet(group) => {
                    let members = self.schedule.groups.get(group).map_or(&[][..], Vec::as_slice);
                    for lane in 0..lanes {
                        let meets = self.last_begin(&start, group, lane);
                        for &op in members {
                            let at = op * lanes + lane;
                            set(&mut end, at, meets + value(work, at));
                        }
                    }
                }
            }
        }
        Times { start, end, completion }
    }

    /// `base` with the durations of `other` for the operators and lanes that `takes` names.
    pub fn mixed(&self, base: &[f64], other: &[f64], takes: impl Fn(usize, usize) -> bool) -> Vec<f64> {
        let lanes = self.job.lanes().max(1);
        let pick =
            |(at, (base, other)): (usize, (&f64, &f64))| if takes(at / lanes, at % lanes) { *other } else { *base };
        base.iter().zip(other).enumerate().map(pick).collect()
    }
}

fn value(values: &[f64], at: usize) -> f64 {
    values.get(at).copied().unwrap_or_default()
}

fn set(values: &mut [f64], at: usize, to: f64) {
    if let Some(value) = values.get_mut(at) {
        *value = to;
    }
}

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The middle, or the mean of the two middle ones.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = |place: usize| values.get(place).copied().unwrap_or_default();
    f64::midpoint(at(values.len().saturating_sub(1) / 2), at(values.len() / 2))
}
