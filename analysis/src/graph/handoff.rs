//! One thread waits while another works: the forward thread for the backward engine.
//!
//! Only with direct evidence: the other thread runs the operators of the backward engine (`autograd::engine::…`,
//! `…Backward`), or arrows from forward to backward lead to it, and at least 80 % of the pauses of the first thread in
//! which the other works look like a hand-off. Guessed hand-offs make a replay worse, not better.

use super::anchors::{PointKind, Thread};

/// A pause of one thread in which another did its work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HandOff {
    /// When the waiting thread stopped.
    pub released: i64,
    /// When the working thread began.
    pub taken: i64,
    /// When it was done.
    pub done: i64,
    /// When the waiting thread went on.
    pub resumed: i64,
}

/// Shorter pauses are not hand-offs.
const MIN_PAUSE_NS: i64 = 50_000;
/// The waiting thread goes on this soon after the work is done.
const MAX_RETURN_NS: i64 = 200_000;
/// Where most go on that soon, a slow one is a hand-off all the same.
const SLOW_RETURN_NS: i64 = 1_000_000;

/// The hand-offs from `waiting` to `working`, if so many percent of the pauses look like it. `marks`: points of the
/// waiting thread that must not fall into a pause.
fn between(waiting: &[(i64, i64)], working: &[(i64, i64)], marks: &[i64], percent: u32) -> Vec<HandOff> {
    let mut found = Vec::new();
    let (mut candidates, mut prompt) = (0_usize, 0_usize);
    for pair in waiting.windows(2) {
        let [before, after] = pair else { continue };
        let (released, resumed) = (before.1, after.0);
        if resumed - released < MIN_PAUSE_NS {
            continue;
        }
        let from = working.partition_point(|busy| busy.1 <= released);
        let to = working.partition_point(|busy| busy.0 < resumed);
        let burst = working.get(from..to).unwrap_or_default();
        let (Some(first), Some(last)) = (burst.first(), burst.last()) else { continue };
        candidates += 1;
        let inside = first.0 >= released && last.1 <= resumed;
        let is_marked = marks.get(marks.partition_point(|&mark| mark <= released)).is_some_and(|&mark| mark < resumed);
        if inside && resumed - last.1 <= SLOW_RETURN_NS && !is_marked {
            prompt += usize::from(resumed - last.1 <= MAX_RETURN_NS);
            found.push(HandOff { released, taken: first.0, done: last.1, resumed });
        }
    }
    if prompt == 0 || prompt * 100 < candidates * percent as usize { Vec::new() } else { found }
}

/// Finds the hand-offs between the threads of a rank and notes them as points. `linked`: pairs of threads with arrows
/// from forward to backward; `percent`: this share of the pauses must look like hand-offs.
pub(crate) fn find(threads: &mut [Thread], linked: &[(usize, usize)], percent: u32) -> Vec<HandOff> {
    let mut all: Vec<HandOff> = Vec::new();
    for working in 0..threads.len() {
        let mut best: (usize, Vec<HandOff>) = (0, Vec::new());
        let Some(to) = threads.get(working) else { break };
        for (waiting, from) in threads.iter().enumerate() {
            let has_evidence = to.is_backward && !from.is_backward || linked.contains(&(waiting, working));
            if waiting == working || !has_evidence {
                continue;
            }
            let is_mark = |kind: &PointKind| matches!(kind, PointKind::StepBegin(_) | PointKind::StepEnd(_));
            let mut marks: Vec<i64> = from.points.iter().filter(|(_, kind)| is_mark(kind)).map(|(at, _)| *at).collect();
            marks.sort_unstable();
            let found = between(&from.busy, &to.busy, &marks, percent);
            if found.len() > best.1.len() {
                best = (waiting, found);
            }
        }
        let (waiting, found) = best;
        for hand_off in found {
            let place = all.len() as u32;
            if let Some(thread) = threads.get_mut(waiting) {
                thread.points.push((hand_off.released, PointKind::Released(place)));
                thread.points.push((hand_off.resumed, PointKind::Resumed(place)));
            }
            if let Some(thread) = threads.get_mut(working) {
                let before = thread.busy.partition_point(|busy| busy.1 <= hand_off.taken);
                if let Some(last) = before.checked_sub(1).and_then(|last| thread.busy.get(last)) {
                    let idle = last.1;
                    thread.points.push((idle, PointKind::Idle));
                }
                thread.points.push((hand_off.taken, PointKind::Taken(place)));
                thread.points.push((hand_off.done, PointKind::Done(place)));
            }
            all.push(hand_off);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: i64 = 1_000;

    #[test]
    fn a_pause_with_the_work_inside_is_a_hand_off() {
        let waiting = [(0, 100 * US), (400 * US, 500 * US)];
        let working = [(130 * US, 200 * US), (210 * US, 380 * US)];
        let found = between(&waiting, &working, &[], 80);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].released, found[0].taken), (100 * US, 130 * US));
        assert_eq!((found[0].done, found[0].resumed), (380 * US, 400 * US));
        // A mark in the pause: the thread did something.
        assert!(between(&waiting, &working, &[300 * US], 80).is_empty());
        // The work begins before the pause: it is not what the pause is for.
        assert!(between(&waiting, &[(90 * US, 380 * US)], &[], 80).is_empty());
        // It ends long before the thread goes on.
        assert!(between(&[(0, 100 * US), (900 * US, 950 * US)], &working, &[], 80).is_empty());
    }
}
