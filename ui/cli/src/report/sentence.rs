//! The sentence at the top of a report: how long a step is, what fills it, which rank is slowest.

use gapless_analysis::{IdleCause, RankAnalysis, StepSource};
use gapless_trace::Duration;

use super::{plural, totals::Totals};
use crate::commands::analyze::AnalyzeReport;
use crate::text::{clean, count, share};

/// Parts below this share of a step are not worth a word.
const WORTH_SAYING: f64 = 0.005;
/// Ranks whose mean steps differ by less than this take the same time.
const SAME_TIME: f64 = 0.01;
/// A rank that communicates less than the median by this share of a step is worth naming.
const SETS_THE_PACE: f64 = 0.03;

/// The sentence (two or three, when ranks differ).
pub fn summary(report: &AnalyzeReport) -> String {
    if report.events == 0 {
        return "The trace holds no events.".to_owned();
    }
    let device_events: u64 = report.ranks.iter().map(|rank| rank.breakdown.device_events).sum();
    if device_events == 0 {
        return without_device_work(report);
    }
    let totals = Totals::of(report.ranks.iter().flat_map(|rank| &rank.steps).map(|step| &step.partition));
    if totals.duration_ns == 0 {
        return "The steps of this trace take no time.".to_owned();
    }
    let mut text = format!("{}: {}.", subject(report, &totals), composition(&totals));
    if let Some(sentence) = slowest(report) {
        text.push(' ');
        text.push_str(&sentence);
    }
    text
}

fn without_device_work(report: &AnalyzeReport) -> String {
    let ranks = plural(report.ranks.len() as u64, "rank", "ranks");
    format!(
        "No device work is in this trace ({ranks}, {} recorded): it shows the CPU side only.",
        Duration(report.span_ns)
    )
}

fn subject(report: &AnalyzeReport, totals: &Totals) -> String {
    let mean = Duration(totals.mean(totals.duration_ns));
    let steps = report.ranks.iter().map(|rank| rank.steps.len()).max().unwrap_or(0) as u64;
    let ranks = report.ranks.len() as u64;
    let over_ranks = if ranks > 1 { format!(" over {ranks} ranks") } else { String::new() };
    let whole = report.ranks.iter().all(|rank| rank.steps_from == StepSource::WholeRecording);
    if whole {
        format!("The recording of {mean}{over_ranks}, in which no steps are marked, is made of")
    } else if steps == 1 && ranks == 1 {
        format!("The one step of {mean} is made of")
    } else if steps == 1 {
        format!("The one step takes {mean} on average{over_ranks}")
    } else {
        format!("A step takes {mean} (mean of {}{over_ranks})", count(steps))
    }
}

fn composition(totals: &Totals) -> String {
    let worth = |part: &&(&str, i64)| part.1 as f64 >= WORTH_SAYING * totals.duration_ns as f64;
    let mut parts: Vec<_> = totals.parts().iter().filter(worth).copied().collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.1));
    let words: Vec<String> = parts
        .iter()
        .map(|&(name, ns)| {
            let cause = if name == "idle" { main_cause(totals) } else { String::new() };
            format!("{} {name}{cause}", share(ns, totals.duration_ns))
        })
        .collect();
    match words.split_last() {
        None => "nothing that takes time".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

/// ` (mostly host late)` when one cause holds more than half of the idle time.
fn main_cause(totals: &Totals) -> String {
    let largest = IdleCause::ALL.into_iter().zip(totals.idle_by_cause_ns).max_by_key(|cause| cause.1);
    match largest {
        Some((cause, ns)) if cause != IdleCause::Unknown && ns.saturating_mul(2) > totals.idle_ns => {
            format!(" (mostly {})", cause.label())
        }
        _ => String::new(),
    }
}

/// The mean step of a rank.
struct Mean<'a> {
    rank: &'a RankAnalysis,
    step_ns: i64,
    exposed_comm_ns: i64,
}

fn slowest(report: &AnalyzeReport) -> Option<String> {
    let mut means: Vec<Mean> = report
        .ranks
        .iter()
        .filter(|rank| !rank.steps.is_empty())
        .map(|rank| {
            let totals = Totals::of(rank.steps.iter().map(|step| &step.partition));
            let (step_ns, exposed_comm_ns) = (totals.mean(totals.duration_ns), totals.mean(totals.exposed_comm_ns));
            Mean { rank, step_ns, exposed_comm_ns }
        })
        .collect();
    // A whole recording is no step: it is longer than the steps of a rank that marks them.
    let mut sources = means.iter().map(|mean| mean.rank.steps_from == StepSource::WholeRecording);
    let first_source = sources.next()?;
    if means.len() < 2 || sources.any(|source| source != first_source) {
        return None;
    }
    means.sort_by_key(|mean| mean.step_ns);
    let (fastest, slowest) = (means.first()?, means.last()?);
    let excess = slowest.step_ns - fastest.step_ns;
    let name = (label(slowest.rank), label_within(fastest.rank));
    let different = excess as f64 >= SAME_TIME * fastest.step_ns as f64;
    let by_duration = format!(
        "{} is slowest: {} a step, {} more than {}.",
        name.0,
        Duration(slowest.step_ns),
        Duration(excess),
        name.1
    );
    // Ranks that wait for each other take the same time; the one that waits least in communication sets the pace.
    // A rank that does not communicate waits for nobody and keeps nobody waiting.
    means.retain(|mean| mean.rank.breakdown.n_comm > 0);
    means.sort_by_key(|mean| mean.exposed_comm_ns);
    let same_time =
        || Some(if different { by_duration } else { "All ranks take the same time within 1 %.".to_owned() });
    let (Some(pace), Some(median)) = (means.first(), means.get(means.len() / 2)) else { return same_time() };
    let waited = median.exposed_comm_ns - pace.exposed_comm_ns;
    if waited > excess && waited as f64 >= SETS_THE_PACE * pace.step_ns as f64 {
        return Some(format!(
            "{} sets the pace: it spends {} of a step in exposed communication, {} {}, so the others probably wait \
             for it.",
            label(pace.rank),
            share(pace.exposed_comm_ns, pace.step_ns),
            if means.len() > 2 { "the median rank".to_owned() } else { label_within(median.rank) },
            share(median.exposed_comm_ns, median.step_ns)
        ));
    }
    same_time()
}

/// As [`label`], within a sentence.
pub fn label_within(rank: &RankAnalysis) -> String {
    lower_first(&label(rank))
}

/// `Rank 3`, or the file where the rank is not known.
fn label(rank: &RankAnalysis) -> String {
    rank.breakdown.rank.map_or_else(|| clean(&rank.breakdown.file), |number| format!("Rank {number}"))
}

fn lower_first(text: &str) -> String {
    text.strip_prefix("Rank ").map_or_else(|| text.to_owned(), |number| format!("rank {number}"))
}
