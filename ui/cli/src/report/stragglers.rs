//! The text of `gapless stragglers`.

use gapless_advice::{Fault, Whose};
use gapless_analysis::{Blame, Contribution, DelayKind, LatenessVerdict, Score, Stragglers};
use gapless_trace::Duration;

use super::{heading, note, plural, warnings_summary, wrap};
use crate::commands::stragglers::{StragglersReport, TraceStragglers};
use crate::output::styles;
use crate::text::{Align, Table, percent};

/// Rows of a table where nobody says how many.
const TOP: usize = 10;
/// A rank explains the difference if at least this share of it goes with it and comes back with it.
const EXPLAINS: f64 = 0.5;

/// The report in `columns` columns.
pub fn render(report: &StragglersReport, top: Option<usize>, columns: usize) -> String {
    let mut text = wrap(&report.summary, columns, 0);
    let top = top.unwrap_or(TOP);
    if let Some(table) = &report.table {
        of_table(&mut text, table, top, columns);
    }
    if let Some(trace) = &report.trace {
        of_trace(&mut text, trace, top, columns);
    }
    warnings_summary(&mut text, &report.warnings, columns);
    text
}

fn ns(value: f64) -> Duration {
    Duration(value.round() as i64)
}

/// What matters, in words.
pub fn summary(report: &StragglersReport) -> String {
    match (&report.table, &report.trace) {
        (Some(table), _) => table_summary(table),
        (None, Some(trace)) => trace_summary(trace),
        (None, None) => String::new(),
    }
}

fn table_summary(table: &Stragglers) -> String {
    let longer = format!(
        "Steps take {} and would take {} if all workers were alike: {:.2} times as long",
        ns(table.mean.no_delay_ns),
        ns(table.mean.ideal_ns),
        table.slowdown
    );
    let why = match &table.culprit {
        Blame::Nobody => return format!("No straggler. {longer}"),
        Blame::Workers(ranks) => format!(
            "{} {} it: {} of it goes without, {} comes back with nothing but {}",
            if let [one] = ranks.as_slice() { format!("Rank {one}") } else { format!("Ranks {}", numbers(ranks)) },
            if ranks.len() == 1 { "explains" } else { "explain" },
            percent(table.worst_workers.removed_share),
            percent(table.worst_workers.added_share),
            if ranks.len() == 1 { "that rank" } else { "those ranks" },
        ),
        Blame::Stage(stage) => {
            format!("Stage {stage} of the pipeline explains it, from both sides: its work takes longer")
        }
        Blame::Replica(replica) => format!("Replica {replica} explains it, from both sides"),
        Blame::Operator(name) => format!("{name} explains it, on all workers: its times vary"),
        Blame::CannotTell => "No worker, stage, replica or kind of operator explains it from both sides".to_owned(),
    };
    format!("{longer}. {why}")
}

fn numbers(ranks: &[u32]) -> String {
    let texts: Vec<String> = ranks.iter().map(u32::to_string).collect();
    texts.join(", ")
}

fn trace_summary(trace: &TraceStragglers) -> String {
    let mut sentences = Vec::new();
    if let Some(ideal) = trace.ideal_step_ns {
        sentences.push(format!(
            "If all ranks took the median of all for the same work, a step of {} would take {} ({} less)",
            ns(trace.step_ns),
            ns(ideal),
            percent((1.0 - ideal / trace.step_ns).max(0.0))
        ));
    }
    if let Some(reason) = &trace.refusal {
        sentences.push(format!("No replays: {reason}"));
    }
    if let Some(rank) = trace.ranks.first().filter(|rank| rank.removed_share.min(rank.added_share) >= EXPLAINS) {
        sentences.push(format!("Rank {} explains that from both sides", rank.rank));
    }
    for culprit in &trace.culprits {
        let whose = match &culprit.whose {
            Whose::Rank(rank) => format!("Rank {rank}"),
            Whose::Group(group) => format!("Group {group}"),
        };
        sentences.push(format!(
            "{whose} {}: {} a step more than others, of which a step would gain {}",
            fault(culprit.fault),
            ns(culprit.excess_ns),
            ns(culprit.gain_ns)
        ));
    }
    let late = || trace.lateness.iter().filter(|rank| rank.verdict == LatenessVerdict::Late);
    for rank in late() {
        let cost = Duration(rank.cost_per_step_ns.max(0));
        let number = rank.number.unwrap_or(rank.rank.0);
        sentences.push(format!("Rank {number} comes last to its collectives and costs about {cost} a step"));
    }
    if late().next().is_none() && trace.culprits.is_empty() {
        let too_few = trace.lateness.iter().all(|rank| rank.verdict == LatenessVerdict::TooFew);
        sentences.push(
            if too_few {
                "The recording is too short to call any rank late by its arrivals: that takes three steps with collectives \
                 that are not the first or last of their group"
            } else {
                "By arrivals at collectives alone no rank is late by more than three standard deviations and a hundredth of a \
                 step"
            }
            .to_owned(),
        );
    }
    sentences.join(". ")
}

/// What a rank or a group does, in words.
const fn fault(fault: Fault) -> &'static str {
    match fault {
        Fault::SlowDevice => "has a slower device (the same kernels take longer)",
        Fault::LongInput => "takes in more (a longer sequence or a larger share of the batch)",
        Fault::MoreWork => "runs more kernels",
        Fault::SlowHost => "has a slower host (as many calls take longer)",
        Fault::SlowLoader => "waits longer for its data loader",
        Fault::Gc => "pauses to collect garbage",
        Fault::SlowLink => "moves its bytes more slowly",
    }
}

fn of_table(text: &mut String, table: &Stragglers, top: usize, columns: usize) {
    heading(text, "Steps");
    let mut steps = Table::new([("", Align::Left), ("Mean step", Align::Right)]);
    steps.row(["as recorded".to_owned(), ns(table.mean.recorded_ns).to_string()]);
    steps.row(["without delays between operators".to_owned(), ns(table.mean.no_delay_ns).to_string()]);
    steps.row(["with the usual durations of all workers".to_owned(), ns(table.mean.ideal_ns).to_string()]);
    text.push_str(&steps.render(columns));
    note(
        text,
        &format!(
            "{} of {} replicas with {}",
            plural(table.steps.len() as u64, "step", "steps"),
            table.replicas,
            plural(table.stages as u64, "stage", "stages")
        ),
        columns,
    );
    for (title, scores) in
        [("By replica", &table.by_replica), ("By stage", &table.by_stage), ("By operator", &table.by_operator)]
    {
        heading(text, title);
        text.push_str(&scores_table(scores, top).render(columns));
    }
    heading(text, "By worker");
    let mut workers = Table::new([
        ("Rank", Align::Right),
        ("Replica", Align::Right),
        ("Stage", Align::Right),
        ("Slowdown", Align::Right),
    ]);
    for worker in table.by_worker.iter().take(top) {
        let numbers = [worker.rank.to_string(), worker.replica.to_string(), worker.stage.to_string()];
        workers.row(numbers.into_iter().chain([format!("{:.3}", worker.slowdown)]));
    }
    text.push_str(&workers.render(columns));
    heading(text, "From both sides");
    let mut sides = Table::new([
        ("", Align::Left),
        ("Ranks", Align::Name),
        ("Step without", Align::Right),
        ("of it", Align::Right),
        ("Ideal with", Align::Right),
        ("of it", Align::Right),
    ]);
    for (title, part) in [("worst workers", &table.worst_workers), ("last stage", &table.last_stage)] {
        sides.row(side(title, part));
    }
    text.push_str(&sides.render(columns));
    note(
        text,
        "Slowdown: a step in which these alone take what was recorded and all else what is usual, by the ideal one. A \
         straggler takes at least half of the slowdown with it and brings at least half of it back",
        columns,
    );
}

fn side(title: &str, part: &Contribution) -> [String; 6] {
    [
        title.to_owned(),
        numbers(&part.ranks),
        ns(part.removed_ns).to_string(),
        percent(part.removed_share),
        ns(part.added_ns).to_string(),
        percent(part.added_share),
    ]
}

fn scores_table(scores: &[Score], top: usize) -> Table {
    let mut table = Table::new([("", Align::Name), ("Slowdown", Align::Right), ("Worst step", Align::Right)]);
    for score in scores.iter().take(top) {
        let worst = score.slowdown_by_step.iter().copied().fold(0.0, f64::max);
        table.row([score.key.clone(), format!("{:.3}", score.slowdown), format!("{worst:.3}")]);
    }
    table
}

fn of_trace(text: &mut String, trace: &TraceStragglers, top: usize, columns: usize) {
    if !trace.ranks.is_empty() {
        heading(text, "Ranks from both sides");
        let mut table = Table::new([
            ("Rank", Align::Right),
            ("Step without its excess", Align::Right),
            ("of it", Align::Right),
            ("Ideal with it", Align::Right),
            ("of it", Align::Right),
        ]);
        for rank in trace.ranks.iter().take(top) {
            let explains = rank.removed_share.min(rank.added_share) >= EXPLAINS;
            table.styled_row(
                if explains { styles::WARN } else { anstyle::Style::new() },
                [
                    rank.rank.to_string(),
                    ns(rank.removed_ns).to_string(),
                    percent(rank.removed_share),
                    ns(rank.added_ns).to_string(),
                    percent(rank.added_share),
                ],
            );
        }
        text.push_str(&table.render(columns));
    }
    if !trace.delay_costs.is_empty() {
        heading(text, "What made ranks late");
        let mut table = Table::new([
            ("Rank", Align::Right),
            ("On", Align::Left),
            ("Longer than on other ranks", Align::Name),
            ("Others wait", Align::Right),
            ("Handed on", Align::Right),
            ("Collectives", Align::Right),
        ]);
        for cost in trace.delay_costs.iter().take(top) {
            let number = trace.lateness.iter().find(|rank| rank.rank == cost.rank).and_then(|rank| rank.number);
            let handed = if cost.indirect_ns > 0 { Duration(cost.indirect_ns).to_string() } else { "–".to_owned() };
            table.row([
                number.unwrap_or(cost.rank.0).to_string(),
                match cost.kind {
                    DelayKind::Device => "device",
                    DelayKind::Host => "host",
                }
                .to_owned(),
                cost.path.clone(),
                Duration(cost.charged_ns).to_string(),
                handed,
                cost.collectives.to_string(),
            ]);
        }
        text.push_str(&table.without_empty_columns().render(columns));
        note(
            text,
            "Waits of all others together, without the first and last collective of each group; handed on: for which they \
             waited for another rank, which this one had held up",
            columns,
        );
    }
}
