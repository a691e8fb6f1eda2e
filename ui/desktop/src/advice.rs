//! What to do about the time, with what it would bring. The panel shows a plain list of cards; who fills it does not
//! matter to it.
//!
//! The cards of this file come from the engine alone: causes that can be taken away in part, each by a replay. Gains are
//! replays of a quarter, half and all of a cause gone; they are never subtracted from one another or summed.

use gapless_analysis::graph::{EdgeKind, Graph, NodeKind};
use gapless_analysis::path::Category;
use gapless_analysis::replay::{Mode, Scenario, Times, replay, replay_many};
use gapless_trace::{Duration, EventId, Span, Trace};

use crate::engine::Engine;
use crate::state::Piece;

/// What something brings, per step (of the whole recording, if it has no steps), in ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GainBand {
    /// If little of it works out.
    pub low_ns: i64,
    /// What to expect.
    pub mid_ns: i64,
    /// At most.
    pub high_ns: i64,
}

/// One piece of advice.
#[derive(Clone, Debug, PartialEq)]
pub struct AdviceCard {
    /// Names it, stable over runs.
    pub id: String,
    /// What is the matter, in a few words.
    pub title: String,
    /// Its kind in one word.
    pub tag: &'static str,
    /// What it brings.
    pub gain: GainBand,
    /// What, where, why we think so, what to do.
    pub paragraph: String,
    /// The events that show it, ascending.
    pub evidence: Vec<EventId>,
    /// Where it happens, on the clocks of the ranks.
    pub pieces: Vec<Piece>,
    /// A short example of the fix.
    pub example: Option<String>,
    /// What was assumed.
    pub assumptions: Vec<String>,
}

/// How much of a cause is taken away for the three figures of a band.
const SHARES: [f64; 3] = [0.25, MID_SHARE, 1.0];
/// How much of a cause is taken away to tell what to expect.
pub const MID_SHARE: f64 = 0.5;
/// A card must bring at least this part of a step at most.
const LEAST_SHARE: f64 = 0.005;
/// Events and stretches that a card shows at most, the longest first.
const EVIDENCE: usize = 2_000;

/// Something that can be taken away in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Ranks come later to their collectives than the median.
    LateRanks,
    /// Threads work between calls.
    Host,
    /// Threads launch device work.
    Launches,
    /// The next batch is fetched while everybody waits.
    DataLoading,
    /// Collectives move data.
    Transfers,
    /// Devices copy and fill.
    Copies,
    /// Kernels compute.
    Kernels,
    /// The interpreter collects garbage.
    Collection,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::LateRanks,
        Self::Host,
        Self::Launches,
        Self::DataLoading,
        Self::Transfers,
        Self::Copies,
        Self::Kernels,
        Self::Collection,
    ];

    /// Names its card.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::LateRanks => "late-ranks",
            Self::Host => "host",
            Self::Launches => "launches",
            Self::DataLoading => "data-loading",
            Self::Transfers => "transfers",
            Self::Copies => "copies",
            Self::Kernels => "kernels",
            Self::Collection => "collection",
        }
    }

    const fn tag(self) -> &'static str {
        match self {
            Self::LateRanks => "straggler",
            Self::Host | Self::Collection => "host",
            Self::Launches => "launch",
            Self::DataLoading => "input",
            Self::Transfers => "network",
            Self::Copies => "copies",
            Self::Kernels => "kernels",
        }
    }

    /// Whether time of this category on a critical path is its evidence.
    const fn holds(self, category: Category) -> bool {
        match self {
            Self::LateRanks => false,
            Self::Host => matches!(category, Category::Host | Category::BlockingCall),
            Self::Launches => matches!(category, Category::LaunchCall),
            Self::DataLoading => matches!(category, Category::DataLoading),
            Self::Transfers => matches!(category, Category::Communication),
            Self::Copies => matches!(category, Category::Copy | Category::Fill),
            Self::Kernels => matches!(category, Category::Compute),
            Self::Collection => matches!(category, Category::Gc),
        }
    }

    const fn is_of(self, kind: NodeKind) -> bool {
        match self {
            Self::LateRanks => false,
            Self::Host => matches!(kind, NodeKind::Host | NodeKind::Call),
            Self::Launches => matches!(kind, NodeKind::Launch),
            Self::DataLoading => matches!(kind, NodeKind::DataLoader),
            Self::Transfers => matches!(kind, NodeKind::Transfer),
            Self::Copies => matches!(kind, NodeKind::Copy | NodeKind::Fill),
            Self::Kernels => matches!(kind, NodeKind::Kernel),
            Self::Collection => matches!(kind, NodeKind::Gc),
        }
    }

    /// Takes `share` (from 0 to 1) of the cause out of a scenario. Causes have no node in common, so any set of them can be
    /// taken out of one scenario.
    pub fn take_out(self, engine: &Engine, scenario: &mut Scenario<'_>, share: f64) {
        if self == Self::LateRanks {
            arrive_earlier(engine, scenario, share);
            return;
        }
        let left = 1.0 - share;
        scenario.change_durations(|node| self.is_of(node.kind).then(|| (node.dur_ns as f64 * left).round() as i64));
    }
}

/// Members that come after the median of their collective come earlier by `share` of that. Not so in the first and last
/// collective of a group: who comes late there may only have begun to record late.
fn arrive_earlier(engine: &Engine, scenario: &mut Scenario<'_>, share: f64) {
    let graph = scenario.graph();
    for meeting in graph.node_ids().filter(|&id| graph.node(id).kind == NodeKind::Meeting) {
        let arrivals = graph.edges_to(meeting).filter(|edge| edge.kind == EdgeKind::Arrive);
        let mut times: Vec<i64> = arrivals.map(|edge| graph.source_time_ns(&edge)).collect();
        times.sort_unstable();
        // The lower of two middles: of two ranks, the later one is late.
        let Some(&median) = times.get(times.len().saturating_sub(1) / 2) else { continue };
        for edge in graph.edges_to(meeting).filter(|edge| edge.kind == EdgeKind::Arrive) {
            if graph.node(edge.from).event.is_some_and(|event| engine.is_edge(event)) {
                continue;
            }
            let late = graph.source_time_ns(&edge).saturating_sub(median).max(0);
            if late > 0 {
                let earlier = (late as f64 * share).round() as i64;
                scenario.set_lag(edge.index, Some(edge.lag_ns.saturating_sub(earlier)));
            }
        }
    }
}

/// A window of each step in a replay, from completion to completion; one window if there are no steps. In ns.
#[must_use]
pub fn windows(graph: &Graph, scenario: &Scenario<'_>, times: &Times) -> Vec<(i64, i64)> {
    if graph.steps().is_empty() {
        return vec![(graph.origin_ns(), times.end_ns)];
    }
    let mut from = i64::MIN;
    let window = |step: &gapless_analysis::graph::GraphStep| {
        let ends = step.ends.iter().map(|&id| times.start_ns(id).saturating_add(scenario.duration_ns(id)));
        let to = ends.max().unwrap_or(from);
        let begun = step.begins.iter().map(|&id| times.start_ns(id)).min().unwrap_or(step.mark_start_ns);
        let window = (from.max(begun).min(to), to);
        from = from.max(to);
        window
    };
    graph.steps().iter().map(window).collect()
}

/// The mean length of the windows, in ns.
#[must_use]
pub fn mean_length(windows: &[(i64, i64)]) -> i64 {
    let sum: i128 = windows.iter().map(|&(from, to)| i128::from(to.saturating_sub(from))).sum();
    let count = windows.len().max(1) as i128;
    i64::try_from(sum / count).unwrap_or(i64::MAX)
}

/// The cards that the engine gives, the greatest expected gain first. None where the model is not to be trusted.
#[must_use]
pub fn advise(trace: &Trace, engine: &Engine) -> Vec<AdviceCard> {
    if !engine.trust.allows_what_if || engine.graph.is_empty() {
        return Vec::new();
    }
    let graph = &engine.graph;
    let model = Scenario::new(graph, Mode::Model);
    let base = mean_length(&windows(graph, &model, &replay(&model)));
    let mut cards: Vec<AdviceCard> = Vec::new();
    for cause in Cause::ALL {
        let scenarios: Vec<Scenario<'_>> = SHARES
            .iter()
            .map(|&share| {
                let mut scenario = model.clone();
                cause.take_out(engine, &mut scenario, share);
                scenario
            })
            .collect();
        let times = replay_many(&scenarios);
        let mut gains = scenarios
            .iter()
            .zip(&times)
            .map(|(scenario, times)| base.saturating_sub(mean_length(&windows(graph, scenario, times))).max(0));
        let mut next = || gains.next().unwrap_or_default();
        let gain = GainBand { low_ns: next(), mid_ns: next(), high_ns: next() };
        if gain.high_ns as f64 >= LEAST_SHARE * base as f64 {
            cards.push(card(trace, engine, cause, gain, base));
        }
    }
    cards.sort_by_key(|card| (std::cmp::Reverse(card.gain.mid_ns), std::cmp::Reverse(card.gain.high_ns)));
    cards
}

fn card(trace: &Trace, engine: &Engine, cause: Cause, gain: GainBand, base: i64) -> AdviceCard {
    let (pieces, evidence, on_path) = match cause {
        Cause::LateRanks => late_pieces(trace, engine),
        _ => path_pieces(trace, engine, cause),
    };
    let steps = engine.steps.len().max(1) as i64;
    let per_step = Duration(on_path / steps);
    let share = crate::format::percent(on_path as f64 / steps as f64 / base.max(1) as f64);
    let (title, paragraph, example) = text(trace, engine, cause, per_step, &share);
    AdviceCard {
        id: cause.id().to_owned(),
        title,
        tag: cause.tag(),
        gain,
        paragraph,
        evidence,
        pieces,
        example: example.map(str::to_owned),
        assumptions: vec![
            "The band is a quarter, half and all of the cause gone, each replayed on the execution graph".to_owned(),
            "Nothing else changes: kernels, transfers and the order of work stay as recorded".to_owned(),
        ],
    }
}

/// The longest stretches of a cause on the paths, with their events, and the length of all of them in ns.
fn path_pieces(trace: &Trace, engine: &Engine, cause: Cause) -> (Vec<Piece>, Vec<EventId>, i64) {
    let mut rows: Vec<_> = engine.rows.iter().filter(|row| cause.holds(row.category)).collect();
    let total = rows.iter().map(|row| row.span.duration().0).fold(0, i64::saturating_add);
    rows.sort_by_key(|row| (std::cmp::Reverse(row.span.duration()), row.span.start));
    rows.truncate(EVIDENCE);
    let piece = |row: &&crate::engine::PathRow| Some(Piece { rank: row.rank?, span: engine.recorded(trace, row) });
    let pieces = rows.iter().filter_map(piece).collect();
    let mut events: Vec<EventId> = rows.iter().filter(|row| !row.is_before).filter_map(|row| row.event).collect();
    events.sort_unstable();
    events.dedup();
    (pieces, events, total)
}

/// The waits of the collectives that were held up longest, and how long the last member came after the median, in ns.
fn late_pieces(trace: &Trace, engine: &Engine) -> (Vec<Piece>, Vec<EventId>, i64) {
    let (mut pieces, mut events, mut total) = (Vec::new(), Vec::new(), 0_i64);
    let mut timed: Vec<_> = engine
        .collectives
        .collectives
        .iter()
        .filter(|timed| timed.timing.last.is_some() && !timed.instance.edge)
        .collect();
    timed.sort_by_key(|timed| std::cmp::Reverse(timed.timing.wait_sum_ns));
    for timed in timed {
        let mut waits = timed.timing.waits_ns.clone();
        waits.sort_unstable();
        total = total.saturating_add(waits.get(waits.len() / 2).copied().unwrap_or_default());
        if pieces.len() >= EVIDENCE {
            continue;
        }
        for (member, &wait) in timed.instance.members.iter().zip(&timed.timing.waits_ns) {
            let start = trace.event(member.event).start;
            if wait > 0 {
                pieces.push(Piece { rank: member.rank, span: Span::new(start, start + Duration(wait)) });
            }
            events.push(member.event);
        }
    }
    events.sort_unstable();
    (pieces, events, total)
}

fn text(
    trace: &Trace,
    engine: &Engine,
    cause: Cause,
    per_step: Duration,
    share: &str,
) -> (String, String, Option<&'static str>) {
    let label = |rank| trace.rank(rank).map(gapless_trace::Rank::label).unwrap_or_default();
    match cause {
        Cause::LateRanks => {
            let last = engine.collectives.lateness.iter().max_by_key(|rank| (rank.delayer, rank.last));
            let last = last.filter(|rank| rank.delayer > 0);
            let title = last.map_or_else(
                || "Ranks come late to their collectives".to_owned(),
                |rank| format!("{} is last at {} of {} collectives", label(rank.rank), rank.last, rank.collectives),
            );
            let who = last.map_or_else(String::new, |rank| {
                format!(" The others wait {} for it alone.", Duration(rank.caused_wait_ns))
            });
            let text = format!(
                "The last rank arrives {per_step} after the median in a step, all collectives together.{who} \
                 Look at what its host does before them: input, contention for CPUs, uneven batches."
            );
            (title, text, Some("# pin each rank to its own cores\nnumactl --cpunodebind=$NODE python train.py"))
        }
        Cause::Host => (
            "The host decides how fast the step is".to_owned(),
            format!(
                "{per_step} of the critical path of a step ({share}) is work of threads between calls: Python, operators, \
                 waiting for locks. Run fewer and larger operators, compile the model, or move work off the main thread."
            ),
            Some("model = torch.compile(model)  # fewer operators, less Python"),
        ),
        Cause::Launches => (
            "Launching kernels holds the step up".to_owned(),
            format!(
                "{per_step} of the critical path of a step ({share}) is spent in calls that launch work. Launch less: fuse \
                 kernels, or replay them as one graph."
            ),
            Some("model = torch.compile(model, mode=\"reduce-overhead\")  # CUDA graphs"),
        ),
        Cause::DataLoading => (
            "The step waits for its input".to_owned(),
            format!(
                "{per_step} of the critical path of a step ({share}) is fetching the next batch. Load it in other processes \
                 and ahead of time."
            ),
            Some("DataLoader(dataset, num_workers=8, prefetch_factor=4, pin_memory=True)"),
        ),
        Cause::Transfers => (
            "Collectives move data in the way of compute".to_owned(),
            format!(
                "{per_step} of the critical path of a step ({share}) is transfer, after all ranks have come. Overlap it with \
                 compute, send less, or use a faster link."
            ),
            Some("DistributedDataParallel(model, bucket_cap_mb=50, gradient_as_bucket_view=True)"),
        ),
        Cause::Copies => (
            "Copies hold the step up".to_owned(),
            format!(
                "{per_step} of the critical path of a step ({share}) is copying and filling. Copy from pinned memory on a \
                 stream of its own, ahead of its use."
            ),
            Some("batch = batch.to(device, non_blocking=True)  # from pinned memory"),
        ),
        Cause::Kernels => (
            "Kernels decide how fast the step is".to_owned(),
            format!(
                "{per_step} of the critical path of a step ({share}) is kernels that compute. Lower precision, fused kernels \
                 or a faster device shorten it."
            ),
            Some("with torch.autocast(\"cuda\", dtype=torch.bfloat16): ..."),
        ),
        Cause::Collection => (
            "Python collects garbage in the middle of a step".to_owned(),
            format!(
                "{per_step} of the critical path of a step ({share}) is garbage collection. Collect between steps, on all \
                 ranks at once."
            ),
            Some("gc.disable()  # and gc.collect() every N steps"),
        ),
    }
}
