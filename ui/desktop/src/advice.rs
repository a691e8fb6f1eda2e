//! What to do about the time, with what it would bring. The panel shows a plain list of cards; who fills it does not
//! matter to it.
//!
//! Findings come from the detectors of `gapless-advice`, with the gains that its what-if engine gives them. Below them
//! stand causes that are taken away in part: a quarter, half and all of each gone, which says what a step is sensitive to.
//! All gains are replays; they are never subtracted from one another or summed.

use std::collections::BTreeMap;

use gapless_advice::{Advised, Scene, Study, advise, figures};
use gapless_analysis::graph::{EdgeKind, NodeKind};
use gapless_analysis::path::Category;
use gapless_analysis::replay::Draft;
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

/// Where a card stands, from top to bottom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// Something to do.
    Finding,
    /// What a step would gain if part of a cause were gone, whatever the means.
    Sensitivity,
    /// Something to know.
    Info,
}

/// A change of the execution graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Part of a cause is gone.
    Cause(Cause),
    /// An edit of the what-if engine, as its scenario files have it.
    Edit(String),
}

impl AdviceCard {
    /// What to expect, in ns; 0 where there is no figure.
    #[must_use]
    pub fn mid_ns(&self) -> i64 {
        self.gain.as_ref().map_or(0, |gain| gain.mid_ns)
    }
}

/// One piece of advice.
#[derive(Clone, Debug, PartialEq)]
pub struct AdviceCard {
    /// Names it, stable over runs.
    pub id: String,
    /// What is the matter, in a few words.
    pub title: String,
    /// Its kind in one word.
    pub tag: String,
    /// Where it stands.
    pub section: Section,
    /// What it brings, or why there is no figure.
    pub gain: Result<GainBand, String>,
    /// What is changed to simulate it.
    pub changes: Vec<Change>,
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
pub const SHARES: [f64; 3] = [0.25, MID_SHARE, 1.0];
/// How much of a cause is taken away to tell what to expect.
const MID_SHARE: f64 = 0.5;
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

    /// Takes `share` (from 0 to 1) of the cause out of a draft, of what earlier changes left of it.
    pub fn take_out(self, engine: &Engine, draft: &mut Draft<'_>, share: f64) {
        if self == Self::LateRanks {
            arrive_earlier(engine, draft, share);
            return;
        }
        let left = 1.0 - share;
        draft.change_durations(|node, dur_ns| self.is_of(node.kind).then(|| (dur_ns as f64 * left).round() as i64));
    }
}

/// Members that come after the median of their collective come earlier by `share` of that. Not so in the first and last
/// collective of a group: who comes late there may only have begun to record late.
fn arrive_earlier(engine: &Engine, draft: &mut Draft<'_>, share: f64) {
    let graph = draft.graph();
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
                let lag = draft.lag_ns(edge.index).map(|lag| lag.saturating_sub(earlier));
                draft.set_lag(edge.index, lag);
            }
        }
    }
}

/// The cards, findings first, each section by its expected gain.
#[must_use]
pub fn cards(study: &Study<'_>, engine: &Engine) -> Vec<AdviceCard> {
    if study.graph().is_empty() {
        return Vec::new();
    }
    let mut cards = findings(study);
    if study.trust().allows_what_if {
        cards.extend(Cause::ALL.into_iter().filter_map(|cause| of_cause(study, engine, cause)));
    }
    cards.sort_by_key(|card| (card.section, std::cmp::Reverse(card.mid_ns())));
    cards
}

/// What the detectors find.
fn findings(study: &Study<'_>) -> Vec<AdviceCard> {
    let trace = study.trace();
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let advice = advise(&Scene::new(study));
    let card = |advised: Advised| {
        let finding = advised.finding;
        let nth = seen.entry(finding.detector.clone()).or_insert(0);
        *nth += 1;
        let id = if *nth == 1 { finding.detector.clone() } else { format!("{}-{nth}", finding.detector) };
        let gain = match (&advised.gain, advised.no_gain) {
            (Some(gain), _) => Ok(GainBand {
                low_ns: gain.gain_ns.low.round() as i64,
                mid_ns: gain.gain_ns.mid.round() as i64,
                high_ns: gain.gain_ns.high.round() as i64,
            }),
            (None, reason) => Err(reason.unwrap_or_else(|| "nothing that can be simulated changes it".to_owned())),
        };
        let mut assumptions: Vec<String> = advised
            .gain
            .iter()
            .flat_map(|gain| &gain.edits)
            .flat_map(|edit| edit.assumptions.iter().cloned().chain([format!("Edit: {}", edit.edit)]))
            .collect();
        assumptions.extend(advised.gain.iter().map(|gain| format!("Rests on {}", gain.basis.label())));
        let piece = |&event: &EventId| Some(Piece { rank: trace.rank_of(event)?, span: trace.event(event).span() });
        let pieces = finding.evidence.iter().filter_map(piece).collect();
        let mut evidence = finding.evidence;
        evidence.sort_unstable();
        evidence.dedup();
        AdviceCard {
            id,
            title: finding.title,
            tag: finding.detector,
            section: if finding.is_info { Section::Info } else { Section::Finding },
            changes: if gain.is_ok() { finding.edits.into_iter().map(Change::Edit).collect() } else { Vec::new() },
            gain,
            paragraph: format!("{} {}", finding.paragraph, finding.fix).trim().to_owned(),
            evidence,
            pieces,
            example: Some(finding.code).filter(|code| !code.is_empty()),
            assumptions,
        }
    };
    advice.findings.into_iter().map(card).collect()
}

/// What part of a cause would bring; `None` if even all of it brings next to nothing.
fn of_cause(study: &Study<'_>, engine: &Engine, cause: Cause) -> Option<AdviceCard> {
    let base = study.base().mean_step_ns;
    let mut gains = SHARES.iter().map(|&share| {
        let mut draft = Draft::new(study.graph());
        cause.take_out(engine, &mut draft, share);
        Some((base - figures(&draft).ok()?.mean_step_ns).max(0.0).round() as i64)
    });
    let mut next = || gains.next().flatten();
    let gain = GainBand { low_ns: next()?, mid_ns: next()?, high_ns: next()? };
    (gain.high_ns as f64 >= LEAST_SHARE * base).then(|| card(study.trace(), engine, cause, gain, base.round() as i64))
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
        tag: cause.tag().to_owned(),
        section: Section::Sensitivity,
        gain: Ok(gain),
        changes: vec![Change::Cause(cause)],
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
