//! The text of `gapless path`.

use gapless_analysis::path::{AttributionRow, StepPath};
use gapless_trace::Duration;

use super::{heading, note, plural, warnings_summary, wrap};
use crate::commands::path::CriticalPathReport;
use crate::text::{Align, Table, count, kernel_name, percent, share};

/// Rows of a table unless `--top` says otherwise.
const ROWS: usize = 10;
/// Steps with a row of their own unless `--top` says otherwise.
const STEPS: usize = 20;

/// The report in `columns` columns.
pub fn render(report: &CriticalPathReport, rows: Option<usize>, columns: usize) -> String {
    let top = rows.unwrap_or(ROWS);
    let mut text = wrap(&headline(report), columns, 0);
    categories(&mut text, report, columns);
    steps(&mut text, report, rows.unwrap_or(STEPS), columns);
    let attribution = &report.report.attribution;
    let tables = [
        ("Critical path by operator or call", &attribution.operators),
        ("Critical path by module", &attribution.modules),
        ("Critical path by annotation", &attribution.annotations),
        ("Critical path by kernel or copy", &attribution.kernels),
    ];
    for (title, rows) in tables {
        attributed(&mut text, title, rows, top, columns);
    }
    near(&mut text, report, top, columns);
    bounds(&mut text, report, columns);
    warnings_summary(&mut text, &report.warnings, columns);
    text
}

fn total(report: &CriticalPathReport) -> i64 {
    report.report.paths.iter().map(|path| path.duration_ns).sum()
}

fn headline(report: &CriticalPathReport) -> String {
    let paths = &report.report.paths;
    let Some(first) = report.report.categories.first() else {
        return "Nothing in this trace takes time".to_owned();
    };
    let whole = total(report);
    let of = if let [only] = paths.as_slice() {
        format!("{} took {}", only.name, Duration(only.duration_ns))
    } else {
        format!("{} took {}", plural(paths.len() as u64, "step", "steps"), Duration(whole))
    };
    let rest =
        report.report.categories.get(1).map_or_else(String::new, |second| {
            format!(", then {} ({})", second.category.label(), percent(second.share))
        });
    format!("{of}; what decided it is most of all {} ({}){rest}", first.category.label(), percent(first.share))
}

fn categories(text: &mut String, report: &CriticalPathReport, columns: usize) {
    let mut table = Table::new([("", Align::Left), ("Time", Align::Right), ("Share", Align::Right)]);
    for row in &report.report.categories {
        table.row([row.category.label().to_owned(), Duration(row.ns).to_string(), percent(row.share)]);
    }
    heading(text, "What the critical path is made of");
    text.push_str(&table.render(columns));
    note(
        text,
        "Sums to the steps exactly. A step goes from the completion of the one before, or its own mark if that is later, \
         to its own: its marks have passed and all work that was launched in it has ended",
        columns,
    );
}

fn rank_name(report: &CriticalPathReport, rank: Option<u32>) -> String {
    let Some(rank) = rank else { return "between".to_owned() };
    let number = report.ranks.get(rank as usize).copied().flatten();
    number.map_or_else(|| format!("#{rank}"), |number| number.to_string())
}

fn steps(text: &mut String, report: &CriticalPathReport, top: usize, columns: usize) {
    let paths = &report.report.paths;
    let mut table = Table::new([
        ("Step", Align::Name),
        ("Length", Align::Right),
        ("Between marks", Align::Right),
        ("Most of it", Align::Left),
        ("Share", Align::Right),
        ("Then", Align::Left),
        ("Share", Align::Right),
        ("Rank", Align::Right),
        ("Share", Align::Right),
        ("Changes of rank", Align::Right),
    ]);
    let several_ranks = report.ranks.len() > 1;
    for path in paths.iter().take(top) {
        let category = |place: usize| {
            let row = path.categories.get(place);
            row.map_or_else(Default::default, |row| (row.category.label().to_owned(), percent(row.share)))
        };
        let (first, second) = (category(0), category(1));
        let rank = path.ranks.iter().max_by_key(|rank| rank.ns).filter(|_| several_ranks);
        table.row([
            path.name.clone(),
            Duration(path.duration_ns).to_string(),
            Duration(path.marked_ns).to_string(),
            first.0,
            first.1,
            second.0,
            second.1,
            rank.map_or_else(String::new, |rank| rank_name(report, rank.rank_id)),
            rank.map_or_else(String::new, |rank| share(rank.ns, path.duration_ns)),
            if several_ranks { count(path.rank_changes) } else { String::new() },
        ]);
    }
    let title = if paths.len() > top { format!("Steps ({top} of {})", paths.len()) } else { "Steps".to_owned() };
    heading(text, &title);
    text.push_str(&table.without_empty_columns().render(columns));
}

fn attributed(text: &mut String, title: &str, rows: &[AttributionRow], top: usize, columns: usize) {
    let whole: i64 = rows.iter().map(|row| row.ns).sum();
    let named: Vec<&AttributionRow> = rows.iter().filter(|row| !row.name.is_empty()).collect();
    if named.is_empty() {
        return;
    }
    let mut table = Table::new([("Name", Align::Name), ("Time", Align::Right), ("Share", Align::Right)]);
    for row in named.iter().take(top) {
        table.row([kernel_name(&row.name), Duration(row.ns).to_string(), share(row.ns, whole)]);
    }
    let without = rows.iter().find(|row| row.name.is_empty());
    if let Some(row) = without.filter(|row| row.ns > 0) {
        table.row(["(none)".to_owned(), Duration(row.ns).to_string(), share(row.ns, whole)]);
    }
    let shown = named.len().min(top);
    let title = if named.len() > shown {
        format!("{title} ({shown} of {})", count(named.len() as u64))
    } else {
        title.to_owned()
    };
    heading(text, &title);
    text.push_str(&table.render(columns));
}

fn near(text: &mut String, report: &CriticalPathReport, top: usize, columns: usize) {
    let mut table = Table::new([
        ("Step", Align::Name),
        ("Slack", Align::Right),
        ("Length", Align::Right),
        ("Busy", Align::Right),
        ("Mostly", Align::Left),
    ]);
    let mut chains: Vec<(&StepPath, &gapless_analysis::path::NearCritical)> =
        report.report.paths.iter().flat_map(|path| path.near.iter().map(move |near| (path, near))).collect();
    chains.sort_by_key(|(path, near)| (std::cmp::Reverse(near.busy_ns), path.index));
    for (path, near) in chains.iter().take(top.min(ROWS)) {
        table.row([
            path.name.clone(),
            Duration(near.slack_ns).to_string(),
            Duration(near.end_ns.saturating_sub(near.start_ns)).to_string(),
            Duration(near.busy_ns).to_string(),
            near.category.label().to_owned(),
        ]);
    }
    if table.is_empty() {
        return;
    }
    heading(text, "Nearly critical");
    text.push_str(&table.render(columns));
    note(
        text,
        "Chains that take over when the path gets shorter by more than their slack (at most 1 % of the step)",
        columns,
    );
}

fn bounds(text: &mut String, report: &CriticalPathReport, columns: usize) {
    heading(text, "Bounds, each by replay");
    let Some(bounds) = &report.report.bounds else {
        let refusal = report.report.refusal.clone().unwrap_or_default();
        note(text, &format!("Not given, since the model is too far from this recording. {refusal}"), columns);
        return;
    };
    let mut table = Table::new([("Without", Align::Left), ("Recording", Align::Right), ("Shorter by", Align::Right)]);
    table.row(["as it is (model)".to_owned(), Duration(bounds.model_ns).to_string(), String::new()]);
    for &(bound, ns) in &bounds.bounds {
        let gain = bounds.model_ns.saturating_sub(ns);
        table.row([bound.label().to_owned(), Duration(ns).to_string(), share(gain.max(0), bounds.model_ns)]);
    }
    text.push_str(&table.render(columns));
    note(
        text,
        "No sum: two causes may hide the same time. How far the model is to be trusted is what `gapless trust` says",
        columns,
    );
}
