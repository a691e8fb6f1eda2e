//! The text of `gapless analyze`: the sentence, steps, idle time, then tables.

use gapless_analysis::{HostParts, IdleCause, MeanPartition, Partition, RankAnalysis};
use gapless_trace::Duration;

use super::advise;
use super::sentence::label_within;
use super::totals::Totals;
use super::{clocks, heading, path, stragglers, tables, tracelens, trust, warnings_summary, wrap};
use crate::args::{AnalyzeArgs, Section};
use crate::commands::analyze::AnalyzeReport;
use crate::output::styles;
use crate::text::{Align, Part, Table, bar, count, kernel_name, share};

/// Rows per table unless `--top` says otherwise.
const DEFAULT_TOP: usize = 10;
/// Steps of one rank are all listed up to this many; beyond it, the longest `--top`.
const FEW_STEPS: usize = 20;

/// The report in `columns` columns.
pub fn render(report: &AnalyzeReport, args: &AnalyzeArgs, columns: usize) -> String {
    let top = args.top.unwrap_or(DEFAULT_TOP);
    let wanted = |section: Section| {
        if args.section.is_empty() {
            // Tables are over the whole recording: beside one step they would mislead.
            args.step.is_none()
                || matches!(section, Section::Summary | Section::Steps | Section::Idle | Section::Warnings)
        } else {
            args.section.contains(&section)
        }
    };
    let mut text = String::new();
    if wanted(Section::Summary) {
        text.push_str(&wrap(&report.summary, columns, 0));
    }
    let has_device_work = report.ranks.iter().any(|rank| rank.breakdown.device_events > 0);
    if has_device_work {
        if wanted(Section::Steps) {
            steps(&mut text, report, top, columns);
        }
        if wanted(Section::Idle) {
            idle(&mut text, report, top, columns);
        }
    } else if wanted(Section::Steps) {
        host_steps(&mut text, report, top, columns);
    }
    if let Some(rank) = shown_rank(report) {
        if report.ranks.len() > 1 && report.events > 0 && tables::SECTIONS.iter().any(|&section| wanted(section)) {
            let (dim, rank) = (styles::DIM, label_within(rank));
            text.push_str(&format!("\n{dim}The tables below are of {rank}; --rank R shows another.{dim:#}\n"));
        }
        for section in tables::SECTIONS.into_iter().filter(|&section| wanted(section)) {
            tables::render(&mut text, section, &rank.tables, args.section.contains(&section), top, columns);
        }
        if let Some(tracelens) = &rank.tracelens {
            tracelens::render(&mut text, tracelens, top, columns);
        }
    }
    let engine = &report.engine;
    let mut more = |part: Option<String>| {
        if let Some(part) = part {
            text.push('\n');
            text.push_str(&part);
        }
    };
    more(engine.path.as_ref().map(|path| path::render(path, args.top, columns)));
    more(engine.stragglers.as_ref().map(|stragglers| stragglers::render(stragglers, args.top, columns)));
    more(engine.clocks.as_ref().map(|clocks| clocks::render(clocks, columns)));
    more(engine.trust.as_ref().map(|trust| trust::render(trust, columns)));
    if let Some(advice) = report.advice.as_ref().filter(|_| wanted(Section::Advice)) {
        advise::section(&mut text, &advice.advice, &advice.places, columns);
    }
    if wanted(Section::Warnings) {
        warnings_summary(&mut text, &report.warnings, columns);
    }
    text.trim_start_matches('\n').to_owned()
}

/// The rank whose tables are printed: the one with the longest mean step.
fn shown_rank(report: &AnalyzeReport) -> Option<&RankAnalysis> {
    let mean = |rank: &RankAnalysis| {
        let totals = Totals::of(rank.steps.iter().map(|step| &step.partition));
        totals.mean(totals.duration_ns)
    };
    // `max_by_key` takes the last of equals; the first is the more natural choice.
    report.ranks.iter().rev().max_by_key(|rank| mean(rank))
}

fn parts_of(partition: &Partition) -> [Part; 5] {
    [
        Part { amount: partition.compute_ns, fill: '█', style: styles::COMPUTE },
        Part { amount: partition.exposed_comm_ns, fill: '▓', style: styles::COMMUNICATION },
        Part { amount: partition.exposed_copy_ns, fill: '▒', style: styles::COPY },
        Part { amount: partition.other_device_ns, fill: '░', style: styles::OTHER },
        Part { amount: partition.idle_ns, fill: '·', style: styles::DIM },
    ]
}

fn legend() -> String {
    let names = ["compute", "exposed communication", "exposed copies", "other", "idle"];
    let entries = parts_of(&Partition::default()).into_iter().zip(names).map(|(part, name)| {
        let style = part.style;
        format!("{style}{}{style:#} {name}", part.fill)
    });
    format!("  {}\n", entries.collect::<Vec<_>>().join("  "))
}

const PARTS: [(&str, Align); 7] = [
    ("Lasts", Align::Right),
    ("", Align::Drawing),
    ("Compute", Align::Right),
    ("Comm.", Align::Right),
    ("Copies", Align::Right),
    ("Other", Align::Right),
    ("Idle", Align::Right),
];

fn partition_cells(partition: &Partition, longest: i64, bar_columns: usize) -> [String; 7] {
    let whole = partition.duration_ns;
    let blank_if_none = |ns: i64| if ns == 0 { "–".to_owned() } else { share(ns, whole) };
    [
        Duration(whole).to_string(),
        bar(&parts_of(partition), longest, bar_columns),
        share(partition.compute_ns, whole),
        blank_if_none(partition.exposed_comm_ns),
        blank_if_none(partition.exposed_copy_ns),
        blank_if_none(partition.other_device_ns),
        share(partition.idle_ns, whole),
    ]
}

/// What is left for bars beside the numbers.
fn bar_columns(columns: usize) -> usize {
    columns.saturating_sub(72).clamp(8, 40)
}

fn steps(text: &mut String, report: &AnalyzeReport, top: usize, columns: usize) {
    if report.ranks.iter().all(|rank| rank.steps.is_empty()) {
        return;
    }
    if let [rank] = report.ranks.as_slice() {
        heading(text, "Steps");
        text.push_str(&legend());
        steps_of_rank(text, rank, top, columns);
        return;
    }
    heading(text, "Ranks (mean over steps)");
    text.push_str(&legend());
    let means: Vec<(String, usize, Partition)> = report
        .ranks
        .iter()
        .map(|rank| {
            let totals = Totals::of(rank.steps.iter().map(|step| &step.partition));
            (short_label_of(rank), rank.steps.len(), totals.mean_partition())
        })
        .collect();
    let longest = means.iter().map(|mean| mean.2.duration_ns).max().unwrap_or(0);
    let mut table = Table::new([("Rank", Align::Name), ("Steps", Align::Right)].into_iter().chain(PARTS));
    for (rank, steps, mean) in &means {
        let cells = partition_cells(mean, longest, bar_columns(columns));
        table.row([rank.clone(), count(*steps as u64)].into_iter().chain(cells));
    }
    text.push_str(&table.without_empty_columns().render(columns));
    let all = report.ranks.iter().flat_map(|rank| &rank.steps).map(|step| &step.partition);
    hidden_communication(text, &Totals::of(all));
    steps_over_ranks(text, report, top, columns);
}

fn steps_over_ranks(text: &mut String, report: &AnalyzeReport, top: usize, columns: usize) {
    if report.steps.len() < 2 {
        return;
    }
    heading(text, "Steps (mean over ranks)");
    let rows: Vec<(&str, Partition, String)> = report
        .steps
        .iter()
        .map(|step| {
            let one = step.slowest_rank.map_or_else(|| "?".to_owned(), |rank| rank.to_string());
            let equal = step.ranks > 1 && step.fastest_ns == step.duration_ns;
            let number = if equal { "all".to_owned() } else { one };
            let slowest =
                if columns < tables::NARROW { number } else { format!("{number}: {}", Duration(step.duration_ns)) };
            (step.name.as_str(), rounded(&step.mean), slowest)
        })
        .collect();
    let longest = rows.iter().map(|row| row.1.duration_ns).max().unwrap_or(0);
    let shown = longest_or_all(&rows, |row| row.1.duration_ns, top);
    let titles = [("Step", Align::Name)].into_iter().chain(PARTS).chain([("Slowest", Align::Right)]);
    let mut table = Table::new(titles);
    for (name, mean, slowest) in &shown {
        let cells = partition_cells(mean, longest, bar_columns(columns.saturating_sub(12)));
        table.row([(*name).to_owned()].into_iter().chain(cells).chain([slowest.clone()]));
    }
    text.push_str(&table.without_empty_columns().render(columns));
    say_how_many(text, shown.len(), rows.len());
}

/// A mean to whole nanoseconds, for display.
fn rounded(mean: &MeanPartition) -> Partition {
    Partition {
        duration_ns: mean.duration_ns.round() as i64,
        compute_ns: mean.compute_ns.round() as i64,
        exposed_comm_ns: mean.exposed_comm_ns.round() as i64,
        exposed_copy_ns: mean.exposed_copy_ns.round() as i64,
        other_device_ns: mean.other_device_ns.round() as i64,
        idle_ns: mean.idle_ns.round() as i64,
        ..Partition::default()
    }
}

fn steps_of_rank(text: &mut String, rank: &RankAnalysis, top: usize, columns: usize) {
    let longest = rank.steps.iter().map(|step| step.partition.duration_ns).max().unwrap_or(0);
    let shown = longest_or_all(&rank.steps, |step| step.partition.duration_ns, top);
    let mut table = Table::new([("Step", Align::Name)].into_iter().chain(PARTS));
    for step in &shown {
        let cells = partition_cells(&step.partition, longest, bar_columns(columns));
        table.row([step.name.clone()].into_iter().chain(cells));
    }
    let totals = Totals::of(rank.steps.iter().map(|step| &step.partition));
    if totals.count > 1 {
        let cells = partition_cells(&totals.mean_partition(), longest, bar_columns(columns));
        table.styled_row(styles::STRONG, ["Mean".to_owned()].into_iter().chain(cells));
    }
    text.push_str(&table.without_empty_columns().render(columns));
    say_how_many(text, shown.len(), rank.steps.len());
    hidden_communication(text, &totals);
}

fn hidden_communication(text: &mut String, totals: &Totals) {
    let all = totals.hidden_comm_ns.saturating_add(totals.exposed_comm_ns);
    if all > 0 {
        text.push_str(&format!(
            "  {} of the communication time is hidden under compute ({} of {})\n",
            share(totals.hidden_comm_ns, all),
            Duration(totals.hidden_comm_ns),
            Duration(all)
        ));
    }
}

/// Steps of a trace without device work: only their lengths can be told.
fn host_steps(text: &mut String, report: &AnalyzeReport, top: usize, columns: usize) {
    if report.ranks.len() > 1 {
        let means: Vec<(&RankAnalysis, HostParts)> =
            report.ranks.iter().map(|rank| (rank, mean_host(rank.steps.iter().filter_map(|step| step.host)))).collect();
        heading(text, "Ranks (mean over steps, main thread)");
        text.push_str(&host_legend());
        let longest = means.iter().map(|(_, mean)| mean.duration_ns).max().unwrap_or(0);
        let mut table = Table::new([("Rank", Align::Name), ("Steps", Align::Right)].into_iter().chain(HOST_PARTS));
        for (rank, mean) in &means {
            let cells = host_cells(mean, longest, bar_columns(columns));
            table.row([short_label_of(rank), count(rank.steps.len() as u64)].into_iter().chain(cells));
        }
        text.push_str(&table.without_empty_columns().render(columns));
    }
    for rank in &report.ranks {
        if rank.steps.len() < 2 {
            continue;
        }
        heading(text, &format!("Steps of {}", label_within(rank)));
        if report.ranks.len() == 1 {
            text.push_str(&host_legend());
        }
        let longest = rank.steps.iter().map(|step| step.partition.duration_ns).max().unwrap_or(0);
        let shown = longest_or_all(&rank.steps, |step| step.partition.duration_ns, top);
        let mut table = Table::new([("Step", Align::Name)].into_iter().chain(HOST_PARTS));
        for step in &shown {
            let parts =
                step.host.unwrap_or(HostParts { duration_ns: step.partition.duration_ns, ..HostParts::default() });
            table.row([step.name.clone()].into_iter().chain(host_cells(&parts, longest, bar_columns(columns))));
        }
        text.push_str(&table.without_empty_columns().render(columns));
        say_how_many(text, shown.len(), rank.steps.len());
    }
}

const HOST_PARTS: [(&str, Align); 11] = [
    ("Lasts", Align::Right),
    ("", Align::Drawing),
    ("Data", Align::Right),
    ("Ops", Align::Right),
    ("Backw.", Align::Right),
    ("Optim.", Align::Right),
    ("Comm.", Align::Right),
    ("Wait", Align::Right),
    ("GC", Align::Right),
    ("Named", Align::Right),
    ("Python", Align::Right),
];

fn host_drawing(parts: &HostParts) -> [Part; 9] {
    [
        Part { amount: parts.data_loading_ns, fill: '▒', style: styles::COPY },
        Part { amount: parts.operators_ns, fill: '█', style: styles::COMPUTE },
        Part { amount: parts.backward_ns, fill: '█', style: styles::COMPUTE },
        Part { amount: parts.optimizer_ns, fill: '█', style: styles::COMPUTE },
        Part { amount: parts.communication_ns, fill: '▓', style: styles::COMMUNICATION },
        Part { amount: parts.communication_wait_ns, fill: '▓', style: styles::COMMUNICATION },
        Part { amount: parts.collection_ns, fill: '░', style: styles::BAD },
        Part { amount: parts.annotated_ns, fill: '░', style: styles::OTHER },
        Part { amount: parts.other_ns, fill: '·', style: styles::DIM },
    ]
}

fn host_legend() -> String {
    let entries = [
        ('▒', styles::COPY, "waiting for data"),
        ('█', styles::COMPUTE, "operators, backward, optimizer"),
        ('▓', styles::COMMUNICATION, "communication and waiting for it"),
        ('░', styles::OTHER, "garbage collection, named ranges"),
        ('·', styles::DIM, "Python and other"),
    ];
    let entries = entries.map(|(fill, style, name)| format!("{style}{fill}{style:#} {name}"));
    format!("  {}\n", entries.join("  "))
}

fn host_cells(parts: &HostParts, longest: i64, bar_columns: usize) -> [String; 11] {
    let whole = parts.duration_ns;
    let cell = |ns: i64| if ns == 0 { "–".to_owned() } else { share(ns, whole) };
    [
        Duration(whole).to_string(),
        bar(&host_drawing(parts), longest, bar_columns.saturating_sub(16).max(8)),
        cell(parts.data_loading_ns),
        cell(parts.operators_ns),
        cell(parts.backward_ns),
        cell(parts.optimizer_ns),
        cell(parts.communication_ns),
        cell(parts.communication_wait_ns),
        cell(parts.collection_ns),
        cell(parts.annotated_ns),
        cell(parts.other_ns),
    ]
}

/// The mean of each part.
fn mean_host(steps: impl Iterator<Item = HostParts>) -> HostParts {
    let (mut sum, mut steps_count) = (HostParts::default(), 0);
    for step in steps {
        sum.add(&step);
        steps_count += 1;
    }
    sum.divided_by(steps_count)
}

/// All rows when they are few, else the `top` longest, in their own order.
fn longest_or_all<T>(rows: &[T], duration_ns: impl Fn(&T) -> i64, top: usize) -> Vec<&T> {
    if rows.len() <= FEW_STEPS.max(top) {
        return rows.iter().collect();
    }
    let mut places: Vec<(i64, usize)> =
        rows.iter().enumerate().map(|(place, row)| (-duration_ns(row), place)).collect();
    places.sort_unstable();
    let mut places: Vec<usize> = places.into_iter().take(top).map(|(_, place)| place).collect();
    places.sort_unstable();
    places.into_iter().filter_map(|place| rows.get(place)).collect()
}

fn say_how_many(text: &mut String, shown: usize, all: usize) {
    if shown < all {
        text.push_str(&format!("  (the {shown} longest of {}; --top N shows more)\n", count(all as u64)));
    }
}

/// The rank's number, for tables whose column says that it is one; else its file.
fn short_label_of(rank: &RankAnalysis) -> String {
    rank.breakdown.rank.map_or_else(|| rank.breakdown.file.clone(), |number| number.to_string())
}

fn idle(text: &mut String, report: &AnalyzeReport, top: usize, columns: usize) {
    let totals: Vec<(String, Totals)> = report
        .ranks
        .iter()
        .map(|rank| (short_label_of(rank), Totals::of(rank.steps.iter().map(|step| &step.partition))))
        .filter(|(_, totals)| totals.idle_ns > 0)
        .collect();
    if totals.is_empty() {
        return;
    }
    let several = report.ranks.iter().any(|rank| rank.steps.len() > 1);
    let what =
        if several { "Idle time of the device by cause (all steps)" } else { "Idle time of the device by cause" };
    heading(text, what);
    let mut titles = vec![("Rank".to_owned(), Align::Name), ("Idle".to_owned(), Align::Right)];
    titles.extend(IdleCause::ALL.iter().map(|cause| (capitalised(short_label(*cause)), Align::Right)));
    let mut table = Table::new(titles.iter().map(|(title, align)| (title.as_str(), *align)));
    for (rank, totals) in &totals {
        let causes = totals.idle_by_cause_ns.map(|ns| {
            match ns {
                0 => "–".to_owned(),
                // Five causes with both figures do not fit.
                _ if columns < 104 => share(ns, totals.idle_ns),
                _ => format!("{} {:>7}", Duration(ns), share(ns, totals.idle_ns)),
            }
        });
        let rank = if report.ranks.len() > 1 { rank.clone() } else { String::new() };
        table.row([rank, Duration(totals.idle_ns).to_string()].into_iter().chain(causes));
    }
    text.push_str(&table.without_empty_columns().render(columns));

    if report.longest_idle.is_empty() {
        return;
    }
    // The list is of the recording, whatever step was asked for.
    heading(text, "Longest idle gaps");
    let mut table = Table::new([
        ("At", Align::Right),
        ("Lasts", Align::Right),
        ("Rank", Align::Right),
        ("Cause", Align::Left),
        ("Next work", Align::Name),
        ("Launched by", Align::Name),
    ]);
    for gap in report.longest_idle.iter().take(top.min(5)) {
        table.row([
            Duration(gap.since_start_ns).to_string(),
            Duration(gap.duration_ns).to_string(),
            gap.rank.map(|rank| rank.to_string()).unwrap_or_default(),
            short_label(gap.cause).to_owned(),
            gap.next.as_deref().map(kernel_name).unwrap_or_default(),
            gap.launch.clone().unwrap_or_default(),
        ]);
    }
    text.push_str(&table.without_empty_columns().render(columns));
}

const fn short_label(cause: IdleCause) -> &'static str {
    match cause {
        IdleCause::OtherStream => "other stream",
        IdleCause::KernelGap => "kernel gap",
        cause => cause.label(),
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
