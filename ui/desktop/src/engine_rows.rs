//! Rows of the tables that show what the engine found: stretches of critical paths, collectives, ranks that come late.

use gapless_analysis::path::{Category, CategoryShare};
use gapless_analysis::{LatenessVerdict, RankLateness, StepSummary, TimedCollective};
use gapless_trace::{Duration, EventId, RankId, Timestamp, Trace};

use crate::engine::{Engine, PathRow};
use crate::format::{bytes, duration_f64, thousands};
use crate::state::Window;
use crate::table::{Column, Key};
use crate::tables::{NARROW, TIME, number, text};

/// Stretches that are listed, the longest of the window.
pub const MOST_SEGMENTS: usize = 5_000;

/// A stretch of a critical path.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentRow {
    /// Its place in [`Engine::rows`].
    pub place: usize,
    /// What it is the time of.
    pub name: String,
    /// What kind of time it is.
    pub category: Category,
    /// Its rank.
    pub rank: String,
    /// Since the start of the trace.
    pub begins: Duration,
    /// Its length.
    pub duration: Duration,
}

/// The critical path of a window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PathView {
    /// Its length.
    pub total: Duration,
    /// Its time by category, longest first.
    pub categories: Vec<CategoryShare>,
    /// Its time by rank, longest first.
    pub ranks: Vec<(RankId, Duration)>,
    /// Its stretches by place in [`Engine::rows`].
    pub rows: std::ops::Range<usize>,
    /// The longest of them.
    pub segments: Vec<SegmentRow>,
}

impl PathView {
    /// The path in `window`. Linear in its stretches.
    #[must_use]
    pub fn new(trace: &Trace, engine: &Engine, window: Window, steps: &[StepSummary]) -> Self {
        let rows = engine.rows_of(window, steps);
        let cut = |row: &PathRow| match window {
            Window::Range(range) => row.span.intersect(range).duration(),
            Window::Whole | Window::Step(_) => row.span.duration(),
        };
        let mut categories = [0_i64; Category::COUNT];
        let mut ranks = vec![0_i64; trace.ranks().len()];
        let found = engine.rows.get(rows.clone()).unwrap_or_default();
        for row in found {
            let time = cut(row).0;
            if let Some(sum) = categories.get_mut(row.category as usize) {
                *sum += time;
            }
            if let Some(sum) = row.rank.and_then(|rank| ranks.get_mut(rank.index())) {
                *sum += time;
            }
        }
        let total: i64 = categories.iter().sum();
        let share = |ns: i64| ns as f64 / total.max(1) as f64;
        let mut categories: Vec<CategoryShare> = Category::ALL
            .into_iter()
            .zip(categories)
            .filter(|&(_, ns)| ns > 0)
            .map(|(category, ns)| CategoryShare { category, ns, share: share(ns) })
            .collect();
        categories.sort_by_key(|row| std::cmp::Reverse(row.ns));
        let mut ranks: Vec<(RankId, Duration)> =
            (0..).map(RankId).zip(ranks).filter(|&(_, ns)| ns > 0).map(|(rank, ns)| (rank, Duration(ns))).collect();
        ranks.sort_by_key(|&(_, time)| std::cmp::Reverse(time));
        let mut places: Vec<usize> = rows.clone().collect();
        let length = |place: &usize| engine.rows.get(*place).map_or(Duration::ZERO, |row| row.span.duration());
        if places.len() > MOST_SEGMENTS {
            places.select_nth_unstable_by_key(MOST_SEGMENTS, |place| std::cmp::Reverse(length(place)));
            places.truncate(MOST_SEGMENTS);
        }
        let origin = trace.span().map_or(Timestamp(0), |span| span.start);
        let segments = places.into_iter().filter_map(|place| {
            let row = engine.rows.get(place)?;
            Some(SegmentRow {
                place,
                name: segment_name(trace, engine, row),
                category: row.category,
                rank: row.rank.and_then(|rank| trace.rank(rank)).map(gapless_trace::Rank::label).unwrap_or_default(),
                begins: row.span.start - origin,
                duration: cut(row),
            })
        });
        Self { total: Duration(total), categories, ranks, segments: segments.collect(), rows }
    }
}

/// `latency before sgemm`, `All2All`, `between calls`.
fn segment_name(trace: &Trace, engine: &Engine, row: &PathRow) -> String {
    let name = row.event.map(|event| gapless_timeline::display_name(trace.name(event)).into_owned());
    match name {
        Some(name) if row.is_before => format!("before {name}"),
        Some(name) => name,
        None if !row.is_before => row
            .track
            .and_then(|track| innermost(trace, engine.recorded_at(row.rank?, middle(row)), track))
            .unwrap_or_else(|| row.track.map_or_else(String::new, |track| format!("on {}", trace.track_label(track)))),
        None => {
            row.track.map_or_else(|| "between ranks".to_owned(), |track| format!("on {}", trace.track_label(track)))
        }
    }
}

fn middle(row: &PathRow) -> Timestamp {
    row.span.start + Duration(row.span.duration().0 / 2)
}

/// The name of the innermost event of a thread at a time of its rank. O(rows × log events).
fn innermost(trace: &Trace, at: Timestamp, track: gapless_trace::TrackId) -> Option<String> {
    let rows = trace.rows_of(trace.track(track)?);
    let covers = |row: &gapless_trace::Row| {
        let event = trace.last_begun(row, at)?;
        trace.event(event).span().contains(at).then_some(event)
    };
    let events = rows.iter().filter_map(covers);
    let inner = events.min_by_key(|&event| trace.event(event).dur)?;
    Some(format!("in {}", gapless_timeline::display_name(trace.name(inner))))
}

/// One collective.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceRow {
    /// Its place in the report.
    pub place: usize,
    /// What it does and in which group.
    pub name: String,
    /// Its size.
    pub bytes: Option<u64>,
    /// Since the start of the trace.
    pub begins: Duration,
    /// From the first arrival to the last.
    pub spread: Duration,
    /// How long it moves data.
    pub transfer: Duration,
    /// Whether that is an estimate.
    pub is_estimated: bool,
    /// What all members wait together.
    pub waits: Duration,
    /// Who came last.
    pub last: String,
}

/// The rows of all collectives of several ranks, and of those of one rank alone.
#[must_use]
pub fn instances(trace: &Trace, collectives: &[TimedCollective]) -> Vec<InstanceRow> {
    let origin = trace.span().map_or(Timestamp(0), |span| span.start);
    let row = |(place, timed): (usize, &TimedCollective)| {
        let (instance, timing) = (&timed.instance, &timed.timing);
        let sequence = instance.sequence.map(|number| format!(" · #{number}")).unwrap_or_default();
        let label = |rank: RankId| trace.rank(rank).map(gapless_trace::Rank::label).unwrap_or_default();
        let last = match (timing.last, timing.delayer) {
            (Some(rank), Some(_)) => format!("{} by {}", label(rank), Duration(timing.margin_ns)),
            (Some(_), None) => "nobody for sure".to_owned(),
            (None, _) => String::new(),
        };
        InstanceRow {
            place,
            name: format!("{} · {}{sequence}", instance.kind.label(), instance.group),
            bytes: instance.bytes,
            begins: instance.span().start - origin,
            spread: Duration(timing.arrival_spread_ns),
            transfer: Duration(timing.transfer_ns),
            is_estimated: timing.is_estimated,
            waits: Duration(timing.wait_sum_ns),
            last: if instance.edge && !last.is_empty() { format!("{last}, edge") } else { last },
        }
    };
    collectives.iter().enumerate().map(row).collect()
}

/// How a rank comes to its collectives.
#[derive(Clone, Debug, PartialEq)]
pub struct LatenessRow {
    /// Its name.
    pub label: String,
    /// What was measured.
    pub lateness: RankLateness,
}

/// The rows of all ranks with collectives that count.
#[must_use]
pub fn lateness(trace: &Trace, ranks: &[RankLateness]) -> Vec<LatenessRow> {
    let row = |lateness: &RankLateness| LatenessRow {
        label: trace.rank(lateness.rank).map(gapless_trace::Rank::label).unwrap_or_default(),
        lateness: lateness.clone(),
    };
    ranks.iter().filter(|rank| rank.collectives > 0).map(row).collect()
}

/// The waits that a rank caused alone: the members that waited, with how long.
#[must_use]
pub fn caused_by(engine: &Engine, rank: RankId) -> Vec<(RankId, EventId, Duration)> {
    let delayed = engine
        .collectives
        .collectives
        .iter()
        .filter(|timed| timed.timing.delayer == Some(rank) && !timed.instance.edge);
    delayed
        .flat_map(|timed| {
            let members = timed.instance.members.iter().zip(&timed.timing.waits_ns);
            members.map(|(member, &wait)| (member.rank, member.event, Duration(wait)))
        })
        .filter(|&(_, _, wait)| wait > Duration::ZERO)
        .collect()
}

/// Columns of stretches.
pub const SEGMENTS: &[Column<SegmentRow>] = &[
    text("stretch", 0.0, "", |row: &SegmentRow| row.name.clone(), |row| Key::Text(&row.name)),
    text("kind", 150.0, "", |row: &SegmentRow| row.category.label().to_owned(), |row| Key::Text(row.category.label())),
    text("rank", NARROW, "", |row: &SegmentRow| row.rank.clone(), |row| Key::Text(&row.rank)),
    number(
        "begins",
        TIME,
        "since the start of the trace",
        |row: &SegmentRow| row.begins.to_string(),
        |row| Key::whole(row.begins.0),
    ),
    number(
        "lasts",
        TIME,
        "how much of the path it is",
        |row: &SegmentRow| row.duration.to_string(),
        |row| Key::whole(row.duration.0),
    ),
];

/// Columns of collectives.
pub const INSTANCES: &[Column<InstanceRow>] = &[
    text("collective", 0.0, "", |row: &InstanceRow| row.name.clone(), |row| Key::Text(&row.name)),
    number("size", 64.0, "what an all-gather puts out and every other takes in", size, |row| {
        Key::maybe(row.bytes.map(|value| value as f64))
    }),
    number(
        "begins",
        72.0,
        "since the start of the trace",
        |row: &InstanceRow| row.begins.to_string(),
        |row| Key::whole(row.begins.0),
    ),
    number(
        "arrivals",
        72.0,
        "from the first arrival to the last",
        |row: &InstanceRow| row.spread.to_string(),
        |row| Key::whole(row.spread.0),
    ),
    number("transfer", 72.0, "from the last arrival to the end; ~ is an estimate", transfer, |row| {
        Key::whole(row.transfer.0)
    }),
    number(
        "all wait",
        72.0,
        "waits of all members, summed",
        |row: &InstanceRow| row.waits.to_string(),
        |row| Key::whole(row.waits.0),
    ),
    text(
        "last",
        128.0,
        "who came last, and by how much",
        |row: &InstanceRow| row.last.clone(),
        |row| Key::Text(&row.last),
    ),
];

fn size(row: &InstanceRow) -> String {
    row.bytes.map_or_else(|| "–".to_owned(), bytes)
}

fn transfer(row: &InstanceRow) -> String {
    format!("{}{}", if row.is_estimated { "~" } else { "" }, row.transfer)
}

/// Columns of ranks.
pub const LATENESS: &[Column<LatenessRow>] = &[
    text("rank", 90.0, "", |row: &LatenessRow| row.label.clone(), |row| Key::Text(&row.label)),
    text("verdict", 110.0, "late: by more than three standard deviations, and by enough to matter", verdict, |row| {
        Key::Text(verdict_word(row.lateness.verdict))
    }),
    number("late by", TIME, "mean over steps, against the median of the others", late_by, |row| {
        Key::Number(row.lateness.lateness_ns)
    }),
    number("±", TIME, "standard deviation of that mean, clocks included", error, |row| {
        Key::Number(row.lateness.error_ns)
    }),
    number("costs a step", 96.0, "about what a step would gain without it", cost, |row| {
        Key::whole(row.lateness.cost_per_step_ns)
    }),
    number("last", NARROW, "in how many collectives it came last", last, |row| Key::Number(row.lateness.last as f64)),
    number("surely last", 92.0, "by more than the clocks may be off", delayer, |row| {
        Key::Number(row.lateness.delayer as f64)
    }),
    number("others wait", 96.0, "for it alone, summed", caused, |row| Key::whole(row.lateness.caused_wait_ns)),
];

const fn verdict_word(verdict: LatenessVerdict) -> &'static str {
    match verdict {
        LatenessVerdict::Late => "late",
        LatenessVerdict::NotLate => "not late",
        LatenessVerdict::TooFew => "too few steps",
    }
}

fn verdict(row: &LatenessRow) -> String {
    verdict_word(row.lateness.verdict).to_owned()
}

fn late_by(row: &LatenessRow) -> String {
    duration_f64(row.lateness.lateness_ns).to_string()
}

fn error(row: &LatenessRow) -> String {
    duration_f64(row.lateness.error_ns).to_string()
}

fn cost(row: &LatenessRow) -> String {
    Duration(row.lateness.cost_per_step_ns.max(0)).to_string()
}

fn last(row: &LatenessRow) -> String {
    format!("{} of {}", thousands(row.lateness.last), thousands(row.lateness.collectives))
}

fn delayer(row: &LatenessRow) -> String {
    thousands(row.lateness.delayer)
}

fn caused(row: &LatenessRow) -> String {
    Duration(row.lateness.caused_wait_ns).to_string()
}
