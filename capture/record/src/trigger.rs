//! When a recording starts, stops and dumps by itself.

use std::time::{Duration, Instant};

/// A window of steps: from step `first` up to and without step `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepWindow {
    /// The first step that is recorded whole.
    pub first: u64,
    /// The first step that is not recorded any more.
    pub end: u64,
}

impl StepWindow {
    /// Whether to record now, when the job has done `steps_done` steps (`None`: it has not stepped yet).
    ///
    /// Recording is on one step early, because the recorder learns of a step some milliseconds after it began.
    pub fn is_open(self, steps_done: Option<u64>) -> bool {
        let coming = steps_done.map_or(0, |done| done + 1);
        coming >= self.first && steps_done.is_none_or(|done| done < self.end)
    }
}

/// Tells steps that are much slower than the others.
#[derive(Clone, Debug)]
pub struct SlowSteps {
    factor: f64,
    /// The last durations, oldest first.
    recent_ns: Vec<i64>,
    last: Option<Instant>,
}

/// Steps that the median is of, and how many are needed before any is called slow: the first ones warm up.
const MEDIAN_OF: usize = 101;
const LEAST_STEPS: usize = 10;
/// After a slow step none is reported for so long: its neighbours are in the same dump.
const QUIET: Duration = Duration::from_secs(30);

impl SlowSteps {
    /// Steps longer than `factor` times the median of the last 101 are slow.
    pub fn new(factor: f64) -> SlowSteps {
        SlowSteps { factor, recent_ns: Vec::new(), last: None }
    }

    /// Adds a step; gives how many times the median it took, if it is slow and none was lately.
    pub fn add(&mut self, duration_ns: i64, now: Instant) -> Option<f64> {
        let mut sorted = self.recent_ns.clone();
        sorted.sort_unstable();
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0);
        if self.recent_ns.len() >= MEDIAN_OF {
            self.recent_ns.remove(0);
        }
        self.recent_ns.push(duration_ns);
        let times = duration_ns as f64 / median.max(1) as f64;
        let is_slow = sorted.len() >= LEAST_STEPS && times > self.factor;
        if !is_slow || self.last.is_some_and(|last| now.duration_since(last) < QUIET) {
            return None;
        }
        self.last = Some(now);
        Some(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_of_steps_opens_one_step_early() {
        let window = StepWindow { first: 3, end: 5 };
        let open: Vec<bool> = [None, Some(0), Some(1), Some(2), Some(3), Some(4), Some(5), Some(6)]
            .into_iter()
            .map(|done| window.is_open(done))
            .collect();
        assert_eq!(open, [false, false, false, true, true, true, false, false]);
        assert!(StepWindow { first: 0, end: 2 }.is_open(None));
    }

    #[test]
    fn a_slow_step_is_told_once() {
        let mut slow = SlowSteps::new(3.0);
        let start = Instant::now();
        for step in 0..20 {
            assert_eq!(slow.add(100 + step % 7, start), None);
        }
        assert!(slow.add(350, start).is_some_and(|times| times > 3.0));
        assert_eq!(slow.add(400, start + Duration::from_secs(1)), None, "a neighbour");
        assert!(slow.add(400, start + Duration::from_secs(31)).is_some());
        // The first steps warm up.
        let mut slow = SlowSteps::new(3.0);
        assert_eq!(slow.add(10, start), None);
        assert_eq!(slow.add(1_000, start), None);
    }
}
