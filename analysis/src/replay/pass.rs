//! The longest-path pass: one sweep over the columns, one or several scenarios at once.

use super::scenario::{DROPPED, Scenario};
use crate::graph::{Graph, NodeId};

/// Times of one replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Start of each node, in ns.
    pub start: Vec<i64>,
    /// The latest end of all nodes, in ns.
    pub end_ns: i64,
}

impl Times {
    /// Start of a node, in ns.
    #[must_use]
    pub fn start_ns(&self, node: NodeId) -> i64 {
        self.start.get(node.index()).copied().unwrap_or_default()
    }
}

/// Replays one scenario. O(nodes + edges).
#[must_use]
pub fn replay(scenario: &Scenario<'_>) -> Times {
    let graph = scenario.graph();
    let mut start: Vec<i64> = Vec::with_capacity(graph.len());
    let mut end_ns = graph.origin_ns();
    let mut edges = graph.source.iter().zip(scenario.lag.iter());
    let mut first = graph.first_edge.iter();
    let mut from = first.next().copied().unwrap_or_default();
    for ((&to, &delay), &dur) in first.zip(scenario.delay.iter()).zip(scenario.dur.iter()) {
        let mut ready = i64::MIN;
        for _ in from..to {
            let Some((&source, &lag)) = edges.next() else { break };
            let u = (source >> 1) as usize;
            // Sources come before their targets, so these are set.
            let begun = start.get(u).copied().unwrap_or(i64::MIN);
            let lasted = scenario.dur.get(u).copied().unwrap_or_default() & -i64::from(source & 1);
            let at = begun.saturating_add(lasted).saturating_add(i64::from(lag));
            ready = ready.max(if lag == DROPPED { i64::MIN } else { at });
        }
        from = to;
        let ready = if ready == i64::MIN { graph.origin_ns() } else { ready };
        let begins = ready.saturating_add(delay);
        end_ns = end_ns.max(begins.saturating_add(dur));
        start.push(begins);
    }
    Times { start, end_ns }
}

/// Scenarios in one sweep.
const LANES: usize = 8;

/// Replays several scenarios of one graph; eight share a sweep, which reads each edge once for all of them.
///
/// Scenarios of another graph than the first one's give no times.
#[must_use]
pub fn replay_many(scenarios: &[Scenario<'_>]) -> Vec<Times> {
    let Some(graph) = scenarios.first().map(Scenario::graph) else { return Vec::new() };
    let mut all = Vec::with_capacity(scenarios.len());
    for group in scenarios.chunks(LANES) {
        if group.len() <= 2 {
            all.extend(group.iter().map(replay));
        } else {
            all.extend(sweep(graph, group));
        }
    }
    all
}

fn sweep(graph: &Graph, group: &[Scenario<'_>]) -> Vec<Times> {
    let nodes = graph.len();
    let origin = graph.origin_ns();
    let mut start: Vec<[i64; LANES]> = vec![[0; LANES]; nodes];
    // Ends beside starts: an edge reads one line of memory, whichever point it leaves from.
    let mut end: Vec<[i64; LANES]> = vec![[0; LANES]; nodes];
    let mut last = [origin; LANES];
    let shares_lags = group.iter().all(|scenario| std::ptr::eq(scenario.lag.as_ref(), graph.lag.as_slice()));
    for v in 0..nodes {
        let at = |i: usize| graph.first_edge.get(i).copied().unwrap_or_default() as usize;
        let mut ready = [i64::MIN; LANES];
        for e in at(v)..at(v + 1) {
            let (Some(&source), Some(&own_lag)) = (graph.source.get(e), graph.lag.get(e)) else { continue };
            let column = if source & 1 == 1 { &end } else { &start };
            let Some(point) = column.get((source >> 1) as usize) else { continue };
            if shares_lags {
                for (ready, point) in ready.iter_mut().zip(point) {
                    *ready = (*ready).max(point.saturating_add(i64::from(own_lag)));
                }
            } else {
                for ((ready, point), scenario) in ready.iter_mut().zip(point).zip(group) {
                    let lag = scenario.lag.get(e).copied().unwrap_or(DROPPED);
                    if lag != DROPPED {
                        *ready = (*ready).max(point.saturating_add(i64::from(lag)));
                    }
                }
            }
        }
        let (Some(begins), Some(ends)) = (start.get_mut(v), end.get_mut(v)) else { break };
        let lanes = begins.iter_mut().zip(ends).zip(&mut last).zip(ready).zip(group);
        for ((((begins, ends), last), ready), scenario) in lanes {
            let ready = if ready == i64::MIN { origin } else { ready };
            *begins = ready.saturating_add(scenario.delay.get(v).copied().unwrap_or_default());
            *ends = begins.saturating_add(scenario.dur.get(v).copied().unwrap_or_default());
            *last = (*last).max(*ends);
        }
    }
    let of_lane = |lane: usize| Times {
        start: start.iter().map(|lanes| lanes.get(lane).copied().unwrap_or_default()).collect(),
        end_ns: last.get(lane).copied().unwrap_or(origin),
    };
    group
        .iter()
        .enumerate()
        .map(|(lane, scenario)| if std::ptr::eq(scenario.graph(), graph) { of_lane(lane) } else { Times::default() })
        .collect()
}
