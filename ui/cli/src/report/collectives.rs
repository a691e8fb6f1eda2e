//! The text of `gapless collectives`.

use gapless_analysis::{CollectiveReport, CollectiveTiming, LatenessVerdict, RankLateness, TimedCollective};
use gapless_trace::{Duration, RankId};

use super::{heading, note, plural, warnings_summary, wrap};
use crate::commands::collectives::CollectivesReport;
use crate::output::styles;
use crate::text::{Align, Table, count, decimal_bytes, percent, rate};

/// Rows of the table of single collectives where nobody says how many.
const TOP: usize = 10;

/// The report in `columns` columns.
pub fn render(report: &CollectivesReport, top: Option<usize>, columns: usize) -> String {
    let mut text = wrap(&report.summary, columns, 0);
    if !report.found.collectives.is_empty() {
        costs(&mut text, &report.found, columns);
        lateness(&mut text, &report.found, columns);
        longest(&mut text, report, top.unwrap_or(TOP), columns);
    }
    warnings_summary(&mut text, &report.warnings, columns);
    text
}

/// What matters, in words.
pub fn summary(found: &CollectiveReport) -> String {
    if found.collectives.is_empty() {
        return "No communication in this trace".to_owned();
    }
    let total = plural(found.collectives.len() as u64, "collective", "collectives");
    let matched = found.collectives.iter().filter(|collective| collective.instance.members.len() > 1).count();
    if matched == 0 {
        let ranks = if found.clocks.ranks.len() > 1 { ", none of which two ranks share" } else { " of one rank" };
        return format!(
            "{total}{ranks}: what is transfer and what is wait is an estimate from the shortest call alike"
        );
    }
    let ranks = plural(found.clocks.ranks.len() as u64, "rank", "ranks");
    let mut sentences = vec![format!("{total} over {ranks}, {} seen by more than one", count(matched as u64))];
    if found.collectives.iter().all(|collective| collective.instance.enqueued_only) {
        sentences
            .push("The recording tells when hosts handed them to their devices, not when they ran there".to_owned());
        return sentences.join(". ");
    }
    let late: Vec<&RankLateness> = found.late().collect();
    for rank in &late {
        sentences.push(format!(
            "{} comes last to {} of its collectives and costs about {} a step: the others wait {} for it alone",
            rank_name(found, rank.rank),
            percent(rank.last as f64 / rank.collectives.max(1) as f64),
            Duration(rank.cost_per_step_ns),
            Duration(rank.caused_wait_ns)
        ));
    }
    if late.is_empty() {
        let too_few = found.lateness.iter().all(|rank| rank.verdict == LatenessVerdict::TooFew);
        sentences.push(
            if too_few {
                "The recording is too short to call any rank late: that takes three steps with collectives that are not \
                 the first or last of their group"
            } else {
                "No rank is late by more than three standard deviations and a hundredth of a step"
            }
            .to_owned(),
        );
    }
    sentences.join(". ")
}

fn rank_name(found: &CollectiveReport, rank: RankId) -> String {
    let number = found.clocks.ranks.get(rank.index()).and_then(|clock| clock.number);
    number.map_or_else(|| format!("Trace #{}", rank.0), |number| format!("Rank {number}"))
}

fn costs(text: &mut String, found: &CollectiveReport, columns: usize) {
    let mut table = Table::new([
        ("Group", Align::Name),
        ("Collective", Align::Left),
        ("Ranks", Align::Right),
        ("Size", Align::Right),
        ("Count", Align::Right),
        ("Transfer", Align::Right),
        ("p95", Align::Right),
        ("Algorithm", Align::Right),
        ("Bus", Align::Right),
    ]);
    let mut models: Vec<String> = Vec::new();
    for cost in &found.costs {
        for size in &cost.sizes {
            let speed = |gb_per_s: Option<f64>| gb_per_s.map(|gb| rate(gb * 1e9)).unwrap_or_default();
            table.row([
                cost.group.clone(),
                cost.kind.label().to_owned(),
                cost.ranks.map(|ranks| count(u64::from(ranks))).unwrap_or_default(),
                size.bytes.map(decimal_bytes).unwrap_or_default(),
                count(size.transfer.count),
                match cost.enqueued_only {
                    true => String::new(),
                    false => {
                        format!(
                            "{}{}",
                            if cost.is_estimated { "~" } else { "" },
                            Duration(size.transfer.median_ns as i64)
                        )
                    }
                },
                if cost.enqueued_only { String::new() } else { Duration(size.transfer.p95_ns as i64).to_string() },
                speed(size.algorithm_gb_per_s),
                speed(size.bus_gb_per_s),
            ]);
        }
        if let Some(model) = cost.model {
            models.push(format!(
                "{} in {}: {} + bytes at {} of bus bandwidth, off by {} on the mean and {} at most over {} sizes",
                cost.kind.label(),
                cost.group,
                Duration(model.alpha_ns.round() as i64),
                rate(model.bus_gb_per_s * 1e9),
                percent(model.mean_error_share),
                percent(model.max_error_share),
                model.sizes
            ));
        }
    }
    heading(text, "Transfers");
    text.push_str(&table.without_empty_columns().render(columns));
    if found.costs.iter().any(|cost| cost.is_estimated) {
        note(
            text,
            "~ is an estimate: one rank alone shows the call, and the shortest call alike stands for all",
            columns,
        );
    }
    if found.costs.iter().any(|cost| cost.enqueued_only) {
        note(
            text,
            "Without a transfer: the recording tells when hosts handed these to their devices, not when they ran. Kernels of the \
             GPU do, or `gapless record --nccl channels`",
            columns,
        );
    }
    if !models.is_empty() {
        heading(text, "Cost models");
        for model in models {
            note(text, &model, columns);
        }
    }
}

fn lateness(text: &mut String, found: &CollectiveReport, columns: usize) {
    let mut table = Table::new([
        ("Rank", Align::Right),
        ("Collectives", Align::Right),
        ("Last", Align::Right),
        ("Surely last", Align::Right),
        ("Late by", Align::Right),
        ("±", Align::Right),
        ("Costs a step", Align::Right),
        ("Others wait", Align::Right),
        ("Verdict", Align::Left),
    ]);
    for rank in found.lateness.iter().filter(|rank| rank.collectives > 0) {
        let style = if rank.verdict == LatenessVerdict::Late { styles::WARN } else { anstyle::Style::new() };
        table.styled_row(
            style,
            [
                rank.number.map_or_else(|| format!("#{}", rank.rank.0), |number| number.to_string()),
                count(rank.collectives),
                count(rank.last),
                count(rank.delayer),
                Duration(rank.lateness_ns.round() as i64).to_string(),
                Duration(rank.error_ns.round() as i64).to_string(),
                Duration(rank.cost_per_step_ns.max(0)).to_string(),
                Duration(rank.caused_wait_ns).to_string(),
                match rank.verdict {
                    LatenessVerdict::Late => "late",
                    LatenessVerdict::NotLate => "not late",
                    LatenessVerdict::TooFew => "too few steps",
                }
                .to_owned(),
            ],
        );
    }
    if table.is_empty() {
        return;
    }
    heading(text, "Arrivals");
    text.push_str(&table.render(columns));
    note(
        text,
        "Against the median of the others, without the first and last collective of each group, which show when recording \
         began and ended",
        columns,
    );
}

fn longest(text: &mut String, report: &CollectivesReport, top: usize, columns: usize) {
    let mut table = Table::new([
        ("Begins", Align::Right),
        ("Group", Align::Name),
        ("Number", Align::Right),
        ("Collective", Align::Left),
        ("Size", Align::Right),
        ("Ranks", Align::Right),
        ("Arrivals within", Align::Right),
        ("Transfer", Align::Right),
        ("All waits", Align::Right),
        ("Last", Align::Left),
    ]);
    let mut sorted: Vec<&TimedCollective> = report.found.collectives.iter().collect();
    sorted.sort_by_key(|entry| (std::cmp::Reverse(entry.timing.wait_sum_ns), entry.timing.last_arrival_ns));
    for entry in sorted.iter().take(top) {
        let (instance, timing) = (&entry.instance, &entry.timing);
        let begins = report.start_ns.map(|start| Duration(instance.span().start.nanos().saturating_sub(start)));
        let members = instance.members.len() as u64;
        let of = instance.expected_size.filter(|&size| u64::from(size) != members);
        table.row([
            begins.map(|since| format!("+{since}")).unwrap_or_default(),
            instance.group.clone(),
            instance.sequence.map(count).unwrap_or_default(),
            instance.kind.label().to_owned(),
            instance.bytes.map(decimal_bytes).unwrap_or_default(),
            of.map_or_else(|| count(members), |size| format!("{members} of {size}")),
            if members > 1 { Duration(timing.arrival_spread_ns).to_string() } else { String::new() },
            match instance.enqueued_only {
                true => String::new(),
                false => format!("{}{}", if timing.is_estimated { "~" } else { "" }, Duration(timing.transfer_ns)),
            },
            if instance.enqueued_only { String::new() } else { Duration(timing.wait_sum_ns).to_string() },
            if instance.enqueued_only { String::new() } else { last(&report.found, timing, instance.edge) },
        ]);
    }
    let is_timed = report.found.collectives.iter().any(|entry| !entry.instance.enqueued_only);
    heading(text, if is_timed { "Longest waits" } else { "Handed over" });
    text.push_str(&table.without_empty_columns().render(columns));
    let hidden = sorted.len().saturating_sub(top);
    if hidden > 0 {
        note(text, &format!("and {} (--top N shows more)", plural(hidden as u64, "other", "others")), columns);
    }
}

/// Who came last, and whether that is sure.
fn last(found: &CollectiveReport, timing: &CollectiveTiming, edge: bool) -> String {
    let Some(rank) = timing.last else { return String::new() };
    let name = rank_name(found, rank);
    let by = Duration(timing.margin_ns);
    match (timing.delayer.is_some(), edge) {
        (true, true) => format!("{name}, by {by}; edge of the recording"),
        (true, false) => format!("{name}, by {by}"),
        (false, _) => "nobody for sure".to_owned(),
    }
}
