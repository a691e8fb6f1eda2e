//! Replays of ticked advice: all of it in one scenario, never a sum of single gains.

use std::sync::Arc;

use gapless_analysis::graph::NodeKind;
use gapless_analysis::replay::{Mode, Scenario, replay};
use gapless_timeline::SimulatedTrack;
use gapless_trace::{Duration, RankId, Span, Timestamp, Trace};

use crate::advice::{Cause, MID_SHARE, mean_length, windows};
use crate::engine::Engine;

/// What a replay gives.
#[derive(Debug)]
pub struct Simulation {
    /// The cards that were ticked.
    pub ids: Vec<String>,
    /// The mean length of a step in the model of the recording.
    pub model: Duration,
    /// The mean length of a step in the replay.
    pub simulated: Duration,
    /// The track for the timeline.
    pub track: Arc<SimulatedTrack>,
}

impl Simulation {
    /// Replays the cards `ids` of the engine's advice, each as its middle figure has it. O(nodes + edges).
    #[must_use]
    pub fn new(trace: &Trace, engine: &Engine, ids: Vec<String>) -> Self {
        let graph = &engine.graph;
        let identity = Scenario::new(graph, Mode::Identity);
        let measured = windows(graph, &identity, &replay(&identity));
        let mut scenario = Scenario::new(graph, Mode::Model);
        let model = windows(graph, &scenario, &replay(&scenario));
        for cause in Cause::ALL.into_iter().filter(|cause| ids.iter().any(|id| id == cause.id())) {
            cause.take_out(engine, &mut scenario, MID_SHARE);
        }
        let times = replay(&scenario);
        let simulated = windows(graph, &scenario, &times);
        // Each step begins where it was measured to begin, so that it stands beside the measured one.
        let offset = |at: i64| {
            let place = simulated.partition_point(|window| window.0 <= at).saturating_sub(1);
            let pair = measured.get(place).zip(simulated.get(place));
            pair.map_or(0, |(measured, simulated)| measured.0.saturating_sub(simulated.0))
        };
        let mut busy: Vec<Vec<Span>> = vec![Vec::new(); trace.ranks().len()];
        for id in graph.node_ids() {
            let node = graph.node(id);
            let is_work = matches!(node.kind, NodeKind::Kernel | NodeKind::Copy | NodeKind::Fill | NodeKind::Transfer);
            let length = scenario.duration_ns(id);
            let (Some(place), Some(event)) = (node.place, node.event) else { continue };
            if !is_work || length <= 0 {
                continue;
            }
            let by = trace.event(event).start - engine.clocks().span_of(trace, event).start;
            let at = times.start_ns(id);
            let start = Timestamp(at.saturating_add(offset(at))) + by;
            if let Some(busy) = busy.get_mut(place.rank.index()) {
                busy.push(Span::new(start, start + Duration(length)));
            }
        }
        let lengths = |windows: &[(i64, i64)]| -> Vec<i64> {
            windows.iter().map(|&(from, to)| to.saturating_sub(from)).collect()
        };
        let texts = lengths(&simulated)
            .iter()
            .zip(lengths(&model))
            .map(|(&simulated, model)| format!("{}  {}", Duration(simulated), signed(Duration(simulated - model))))
            .collect();
        let common: Vec<Timestamp> = measured
            .iter()
            .zip(lengths(&simulated))
            .map(|(&(from, _), length)| Timestamp(from.saturating_add(length)))
            .collect();
        let of_rank = |rank: RankId| common.iter().map(|&at| engine.recorded_at(rank, at)).collect();
        let ends = trace.rank_ids().map(|(rank, _)| of_rank(rank)).collect();
        let label = "simulated".to_owned();
        Self {
            ids,
            model: Duration(mean_length(&model)),
            simulated: Duration(mean_length(&simulated)),
            track: Arc::new(SimulatedTrack::new(label, busy, ends, texts)),
        }
    }

    /// What a step gets longer by: below zero if it gets shorter.
    #[must_use]
    pub fn difference(&self) -> Duration {
        self.simulated - self.model
    }
}

/// A duration with its sign: `−1.90 ms`, `+12.0 µs`.
#[must_use]
pub fn signed(duration: Duration) -> String {
    if duration > Duration::ZERO { format!("+{duration}") } else { duration.to_string() }
}
