//! Replays of ticked advice: all of it in one draft, never a sum of single gains.

use std::sync::Arc;

use gapless_advice::{Basis, Edit, Effect, Figures, Outlook, Study, of_times, step_band};
use gapless_analysis::graph::{Graph, GraphStep, NodeKind};
use gapless_analysis::replay::{Draft, Mode, Scenario, Times, replay};
use gapless_timeline::SimulatedTrack;
use gapless_trace::{Duration, RankId, Span, Timestamp};

use crate::advice::{AdviceCard, Change, SHARES};
use crate::engine::Engine;
use crate::speeds::Speeds;

/// What is to be replayed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The cards that are ticked, by id.
    pub ids: Vec<String>,
    /// How fast the machine is.
    pub speeds: Speeds,
}

impl Asked {
    /// Whether nothing differs from the recording.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.ids.is_empty() && self.speeds.are_recorded()
    }
}

/// What a replay gives.
#[derive(Debug)]
pub struct Simulation {
    /// What was asked for.
    pub asked: Asked,
    /// The replay, or why there is none: changes may contradict one another.
    pub outcome: Result<Replayed, String>,
}

/// The replay of a set of cards.
#[derive(Debug)]
pub struct Replayed {
    /// The mean length of a step in the model of the recording.
    pub model: Duration,
    /// The mean length of a step in the replay.
    pub simulated: Duration,
    /// The same if more works out than expected, and with what such predictions are known to be off.
    pub low: Duration,
    /// The same if less works out.
    pub high: Duration,
    /// The track for the timeline.
    pub track: Arc<SimulatedTrack>,
}

impl Replayed {
    /// What a step gets longer by: below zero if it gets shorter.
    #[must_use]
    pub fn difference(&self) -> Duration {
        self.simulated - self.model
    }
}

impl Simulation {
    /// Replays those of `cards` that are asked for, at best, as expected and at worst, each time all together, on a machine of the speeds asked
    /// for. O(nodes + edges).
    #[must_use]
    pub fn new(study: &Study<'_>, engine: &Engine, cards: &[AdviceCard], asked: Asked) -> Self {
        let chosen = cards.iter().filter(|card| asked.ids.contains(&card.id));
        // The machine comes last: what a card makes anew runs on it too.
        let speeds: Vec<Change> = asked.speeds.edits().into_iter().map(Change::Edit).collect();
        let changes: Vec<&Change> = chosen.flat_map(|card| &card.changes).chain(&speeds).collect();
        let outcome = replayed(study, engine, &changes);
        Self { asked, outcome }
    }
}

fn replayed(study: &Study<'_>, engine: &Engine, changes: &[&Change]) -> Result<Replayed, String> {
    let (expected, draft, times, basis, effects) = replay_of(study, engine, changes, Outlook::Expected)?;
    let of = |outlook| replay_of(study, engine, changes, outlook).map(|replay| replay.0);
    let (best, worst) = (of(Outlook::Best)?, of(Outlook::Worst)?);
    let band = step_band(study, |figures| figures.mean_step_ns, [&best, &expected, &worst], basis, &effects);
    let track = track(study, engine, &draft, &times, &expected);
    let whole = |ns: f64| Duration(ns.round() as i64);
    Ok(Replayed {
        model: whole(study.base().mean_step_ns),
        simulated: whole(expected.mean_step_ns),
        low: whole(band.low),
        high: whole(band.high),
        track: Arc::new(track),
    })
}

/// One replay of the changes: its figures, what it is made of, and what its prediction rests on.
type Replay<'s> = (Figures, Draft<'s>, Times, Basis, Vec<Effect>);

fn replay_of<'s>(
    study: &'s Study<'_>,
    engine: &Engine,
    changes: &[&Change],
    outlook: Outlook,
) -> Result<Replay<'s>, String> {
    let mut draft = Draft::new(study.graph());
    let (mut basis, mut effects) = (Basis::Replay, Vec::new());
    // What edits do may depend on the order of work, so they come before causes, which only scale what is left.
    for change in changes {
        match change {
            Change::Edit(text) => {
                let edit = Edit::parse(text).map_err(|error| error.to_string())?;
                let applied = edit.transformation().apply(&edit, study, &mut draft, outlook);
                effects.push(applied.map_err(|refusal| format!("{text}: {}", refusal.0))?);
                basis = basis.max(edit.transformation().basis());
            }
            Change::Cause(_) => effects.push(Effect::default()),
        }
    }
    for change in changes {
        if let Change::Cause(cause) = change {
            let [least, middle, most] = SHARES;
            cause.take_out(engine, &mut draft, outlook.pick(most, middle, least));
        }
    }
    let times = draft.replay().map_err(|circle| circle.to_string())?;
    let figures = of_times(&draft, &times);
    Ok((figures, draft, times.times, basis, effects))
}

/// Where each step of a replay begins: where the one before is complete, or at its own mark if that is later. In ns.
fn beginnings(graph: &Graph, times: &Times, dur_ns: impl Fn(gapless_analysis::graph::NodeId) -> i64) -> Vec<i64> {
    if graph.steps().is_empty() {
        return vec![graph.origin_ns()];
    }
    let mut before = i64::MIN;
    let begins = |step: &GraphStep| {
        let begun = step.begins.iter().map(|&id| times.start_ns(id)).min().unwrap_or(before.max(step.mark_start_ns));
        let ends = step.ends.iter().map(|&id| times.start_ns(id).saturating_add(dur_ns(id)));
        let ended = ends.max().unwrap_or(begun);
        let from = before.max(begun).min(ended);
        before = before.max(ended);
        from
    };
    graph.steps().iter().map(begins).collect()
}

/// The devices at simulated times. Each step begins where it was measured to begin, so that it stands beside it.
fn track(study: &Study<'_>, engine: &Engine, draft: &Draft<'_>, times: &Times, expected: &Figures) -> SimulatedTrack {
    let (trace, graph) = (study.trace(), study.graph());
    let measured = beginnings(graph, &replay(&Scenario::new(graph, Mode::Identity)), |id| graph.node(id).dur_ns);
    let simulated = beginnings(graph, times, |id| draft.duration_ns(id));
    let offset = |at: i64| {
        let place = simulated.partition_point(|&from| from <= at).saturating_sub(1);
        let pair = measured.get(place).zip(simulated.get(place));
        pair.map_or(0, |(measured, simulated)| measured.saturating_sub(*simulated))
    };
    let mut busy: Vec<Vec<Span>> = vec![Vec::new(); trace.ranks().len()];
    for id in graph.node_ids() {
        let node = graph.node(id);
        let is_work = matches!(node.kind, NodeKind::Kernel | NodeKind::Copy | NodeKind::Fill | NodeKind::Transfer);
        let length = draft.duration_ns(id);
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
    let lengths = expected.steps_ns.iter().zip(&study.base().steps_ns);
    let texts =
        lengths.map(|(&ns, &model)| format!("{}  {}", Duration(ns), signed(Duration(ns.saturating_sub(model)))));
    let ends: Vec<Timestamp> =
        measured.iter().zip(&expected.steps_ns).map(|(from, length)| Timestamp(from.saturating_add(*length))).collect();
    let of_rank = |rank: RankId| ends.iter().map(|&at| engine.recorded_at(rank, at)).collect();
    let of_ranks = trace.rank_ids().map(|(rank, _)| of_rank(rank)).collect();
    SimulatedTrack::new("simulated".to_owned(), busy, of_ranks, texts.collect())
}

/// A duration with its sign: `−1.90 ms`, `+12.0 µs`.
#[must_use]
pub fn signed(duration: Duration) -> String {
    if duration > Duration::ZERO { format!("+{duration}") } else { duration.to_string() }
}
