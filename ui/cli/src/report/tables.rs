//! The tables of one rank: kernels, operators, copies, collectives, launches, graphs.

use gapless_analysis::{Stats, Tables, WorkClass};
use gapless_trace::Duration;

use super::{heading, note};
use crate::args::Section;
use crate::output::styles;
use crate::text::{Align, Table, count, decimal_bytes, kernel_name, percent, rate};

/// The sections that are tables of one rank, in the order of the report.
pub const SECTIONS: [Section; 6] =
    [Section::Kernels, Section::Operators, Section::Copies, Section::Collectives, Section::Launches, Section::Graphs];

/// Appends a section; one that has nothing to say only if it was `asked` for.
pub fn render(text: &mut String, section: Section, tables: &Tables, asked: bool, top: usize, columns: usize) {
    match section {
        Section::Kernels => kernels(text, tables, asked, top, columns),
        Section::Operators => operators(text, tables, asked, top, columns),
        Section::Copies => copies(text, tables, asked, top, columns),
        Section::Collectives => collectives(text, tables, asked, top, columns),
        Section::Launches => launches(text, tables, asked, top, columns),
        Section::Graphs => graphs(text, tables, asked, top, columns),
        Section::Summary
        | Section::Path
        | Section::Stragglers
        | Section::Clocks
        | Section::Trust
        | Section::Advice
        | Section::Steps
        | Section::Idle
        | Section::Warnings => {}
    }
}

/// Appends a table under its title, with a word about the rows that are not shown.
fn section(text: &mut String, title: &str, table: Table, rows: usize, asked: bool, top: usize, columns: usize) {
    if rows == 0 {
        if asked {
            heading(text, title);
            text.push_str("  none in this trace\n");
        }
        return;
    }
    let title = if rows > top { format!("{title} ({top} of {})", count(rows as u64)) } else { title.to_owned() };
    heading(text, &title);
    text.push_str(&table.without_empty_columns().render(columns));
}

fn nanos(ns: i64) -> String {
    Duration(ns).to_string()
}

fn nanos_f64(ns: f64) -> String {
    nanos(ns.round() as i64)
}

/// Below this many columns, names are worth more than every figure.
pub const NARROW: usize = 100;

const STATS: [(&str, Align); 5] = [
    ("Count", Align::Right),
    ("Total", Align::Right),
    ("Median", Align::Right),
    ("p95", Align::Right),
    ("Max", Align::Right),
];

fn stats_cells(stats: &Stats, columns: usize) -> [String; 5] {
    [
        count(stats.count),
        nanos(stats.sum_ns),
        nanos_f64(stats.median_ns),
        wide(columns, nanos_f64(stats.p95_ns)),
        nanos(stats.max_ns),
    ]
}

/// The cell, or nothing in a narrow terminal: a column without cells is not printed.
fn wide(columns: usize, cell: String) -> String {
    if columns < NARROW { String::new() } else { cell }
}

/// The fill that the bars have for this class.
fn sign(class: WorkClass) -> String {
    let (fill, style) = match class {
        WorkClass::Compute => ('█', styles::COMPUTE),
        WorkClass::Communication => ('▓', styles::COMMUNICATION),
        WorkClass::Copy => ('▒', styles::COPY),
        WorkClass::Other => ('░', styles::OTHER),
    };
    format!("{style}{fill}{style:#}")
}

fn kernels(text: &mut String, tables: &Tables, asked: bool, top: usize, columns: usize) {
    let titles = [("", Align::Drawing), ("Name", Align::Name), ("Share", Align::Right)].into_iter().chain(STATS);
    let mut table = Table::new(titles);
    for row in tables.kernels.iter().take(top) {
        let cells = [sign(row.class), kernel_name(&row.name), percent(row.share)];
        table.row(cells.into_iter().chain(stats_cells(&row.stats, columns)));
    }
    let rows = tables.kernels.len();
    section(text, "Device work by name", table, rows, asked, top, columns);
    let short = &tables.short_kernels;
    let below = short.limits.iter().find(|limit| limit.below_ns == 10_000 && limit.count > 0);
    if let Some(limit) = below {
        let what = format!(
            "{} of {} kernels are shorter than {}; together {} of {}",
            count(limit.count),
            count(short.kernels),
            Duration(limit.below_ns),
            Duration(limit.sum_ns),
            Duration(short.sum_ns)
        );
        note(text, &what, columns);
    }
}

fn operators(text: &mut String, tables: &Tables, asked: bool, top: usize, columns: usize) {
    let with_device = tables.operators.iter().any(|row| row.device_total_ns > 0);
    let mut table = Table::new([
        ("Operator", Align::Name),
        ("Calls", Align::Right),
        ("Host total", Align::Right),
        ("Host self", Align::Right),
        ("Device total", Align::Right),
        ("Device self", Align::Right),
        ("Share", Align::Right),
        ("Main kernel", Align::Name),
    ]);
    for row in tables.operators.iter().take(top) {
        let main_kernel = row.kernels.first().filter(|_| columns >= 120);
        let device = |cell: String| if with_device { cell } else { String::new() };
        let host_self = nanos(row.host_self_ns);
        table.row([
            row.name.clone(),
            count(row.calls),
            nanos(row.host_total_ns),
            if with_device { wide(columns, host_self) } else { host_self },
            device(nanos(row.device_total_ns)),
            device(nanos(row.device_self_ns)),
            device(percent(row.share)),
            main_kernel.map(|kernel| kernel_name(&kernel.name)).unwrap_or_default(),
        ]);
    }
    let title = if with_device { "Operators by the device time they caused" } else { "Operators by host time" };
    section(text, title, table, tables.operators.len(), asked, top, columns);
    let without = &tables.without_operator;
    let beside = [
        (without.no_operator_ns, "launched outside any operator"),
        (without.no_launch_ns, "whose launch is not in the recording"),
    ];
    let beside: Vec<String> =
        beside.iter().filter(|part| part.0 > 0).map(|(ns, what)| format!("{} {what}", Duration(*ns))).collect();
    if !beside.is_empty() {
        note(text, &format!("beside these: device work of {}", beside.join(", ")), columns);
    }
}

fn copies(text: &mut String, tables: &Tables, asked: bool, top: usize, columns: usize) {
    let titles = [("Copy", Align::Name), ("Direction", Align::Left)].into_iter().chain(STATS);
    let mut table = Table::new(titles.chain([("Bytes", Align::Right), ("Bandwidth", Align::Right)]));
    for row in tables.copies.iter().take(top) {
        let cells = [row.name.clone(), wide(columns, row.direction.label().to_owned())];
        let bytes = moved(row.bytes, row.bytes_known, row.stats.count);
        let bandwidth = row.gb_per_s.map(|gb| rate(gb * 1e9)).unwrap_or_default();
        table.row(cells.into_iter().chain(stats_cells(&row.stats, columns)).chain([bytes, bandwidth]));
    }
    section(text, "Copies and fills", table, tables.copies.len(), asked, top, columns);
}

fn collectives(text: &mut String, tables: &Tables, asked: bool, top: usize, columns: usize) {
    // Where groups are named, the collective says most of what the kernel's name does.
    let roomy = columns >= 120;
    let mut table = Table::new([
        ("Collective", Align::Left),
        ("Kernel", Align::Name),
        (if roomy { "Group" } else { "Group or kernel" }, Align::Name),
        ("Ranks", Align::Right),
        ("Type", Align::Left),
        ("Count", Align::Right),
        ("Total", Align::Right),
        ("Median", Align::Right),
        ("Max", Align::Right),
        ("Bytes", Align::Right),
        ("Bus rate", Align::Right),
    ]);
    for row in tables.collectives.iter().take(top) {
        let group = if row.group_description.is_empty() { &row.group } else { &row.group_description };
        let kernel = kernel_name(&row.kernel);
        table.row([
            row.collective.label().to_owned(),
            if roomy { kernel.clone() } else { String::new() },
            if group.is_empty() && !roomy { kernel } else { group.clone() },
            wide(columns, row.group_size.map(|size| size.to_string()).unwrap_or_default()),
            if roomy { row.dtype.clone() } else { String::new() },
            count(row.stats.count),
            nanos(row.stats.sum_ns),
            wide(columns, nanos_f64(row.stats.median_ns)),
            nanos(row.stats.max_ns),
            moved(row.bytes, row.bytes_known, row.stats.count),
            row.bus_gb_per_s.map(|gb| rate(gb * 1e9)).unwrap_or_default(),
        ]);
    }
    section(text, "Collectives", table, tables.collectives.len(), asked, top, columns);
    if tables.collectives.iter().any(|row| row.bus_gb_per_s.is_some()) {
        note(text, "(the times hold a rank's waiting for others, so bus rates are lower bounds)", columns);
    }
}

fn launches(text: &mut String, tables: &Tables, asked: bool, top: usize, columns: usize) {
    let mut table = Table::new([
        ("Call", Align::Name),
        ("Calls", Align::Right),
        ("Work", Align::Right),
        ("Median call", Align::Right),
        ("Median delay", Align::Right),
        ("p95", Align::Right),
        ("Max", Align::Right),
        ("Call > work", Align::Right),
    ]);
    for row in tables.launches.iter().take(top) {
        table.row([
            row.name.clone(),
            count(row.calls),
            count(row.device_events),
            nanos_f64(row.call.median_ns),
            nanos_f64(row.delay.median_ns),
            nanos_f64(row.delay.p95_ns),
            nanos(row.delay.max_ns),
            wide(columns, count(row.longer_than_work)),
        ]);
    }
    let rows = tables.launches.len();
    section(text, "Launches (delay: from the call's start to the work's start)", table, rows, asked, top, columns);
    let before: u64 = tables.launches.iter().map(|row| row.work_before_call).sum();
    if before > 0 {
        let what = format!("{} start before their call: host and device clocks disagree", count(before));
        note(text, &what, columns);
    }
    queues(text, tables, top, columns);
}

fn queues(text: &mut String, tables: &Tables, top: usize, columns: usize) {
    let mut table = Table::new([
        ("Stream", Align::Left),
        ("Device", Align::Right),
        ("Work", Align::Right),
        ("Mean", Align::Right),
        ("Median", Align::Right),
        ("p95", Align::Right),
        ("Max", Align::Right),
        ("Empty", Align::Right),
        ("Full", Align::Right),
    ]);
    for row in tables.queues.iter().take(top) {
        let share = |ns: i64| if ns == 0 { String::new() } else { percent(ns as f64 / row.observed_ns.max(1) as f64) };
        table.row([
            row.stream.clone(),
            row.device.map(|device| device.to_string()).unwrap_or_default(),
            count(row.device_events),
            mean_length(row.mean_length),
            count(u64::from(row.median_length)),
            count(u64::from(row.p95_length)),
            count(u64::from(row.max_length)),
            share(row.empty_ns),
            share(row.full_ns),
        ]);
    }
    let rows = tables.queues.len();
    section(text, "Launched work that waits in its stream (weighted by time)", table, rows, false, top, columns);
}

/// One decimal; something small but not nothing is `<0.1`.
fn mean_length(length: f64) -> String {
    if length > 0.0 && length < 0.1 { "<0.1".to_owned() } else { format!("{length:.1}") }
}

/// Bytes of `known` of `all` events: where some are not known, the sum is a lower bound.
fn moved(sum: Option<u64>, known: u64, all: u64) -> String {
    let at_least = if known < all { "≥" } else { "" };
    sum.map(|sum| format!("{at_least}{}", decimal_bytes(sum))).unwrap_or_default()
}

fn graphs(text: &mut String, tables: &Tables, asked: bool, top: usize, columns: usize) {
    let mut table = Table::new([
        ("Call", Align::Name),
        ("First work", Align::Name),
        ("Launches", Align::Right),
        ("Work each", Align::Right),
        ("Median call", Align::Right),
        ("Median extent", Align::Right),
        ("Device time", Align::Right),
    ]);
    for row in tables.graphs.iter().take(top) {
        table.row([
            row.name.clone(),
            kernel_name(&row.first_kernel),
            count(row.launches),
            count(row.device_events_per_launch),
            wide(columns, nanos_f64(row.call.median_ns)),
            wide(columns, nanos_f64(row.extent.median_ns)),
            nanos(row.device_sum_ns),
        ]);
    }
    let only_graphs = tables.graphs.iter().all(|row| row.name.contains("GraphLaunch"));
    let title =
        if only_graphs { "CUDA and HIP graphs" } else { "Graphs and other calls that launch several pieces of work" };
    section(text, title, table, tables.graphs.len(), asked, top, columns);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_queue_is_not_an_empty_one() {
        assert_eq!([0.0, 0.04, 0.1, 14.44].map(mean_length), ["0.0", "<0.1", "0.1", "14.4"]);
    }
}
