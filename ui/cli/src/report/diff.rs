//! The text and the Markdown of `gapless diff`: a verdict, a waterfall from the base's typical step to the new one's, and
//! what is worth knowing beside.

use std::fmt::Write as _;

use anstyle::Style;
use gapless_diff::{Cause, Detail, Row, Sureness, VerdictKind};
use gapless_trace::Duration;

use super::{heading, note, wrap};
use crate::commands::diff::DiffReport;
use crate::output::styles;
use crate::text::{Align, Table, percent, shorten};

/// Bars of the waterfall.
const BARS: usize = 10;
/// Parts below this share of the step go together.
const SMALL: f64 = 0.002;
/// Where all is noise, a part must be this large to be shown, and surely more than noise.
const STANDS_OUT: f64 = 0.005;
/// Changes without effect and collectives that are listed.
const LISTED: usize = 5;
/// Columns of the bars.
const BAR_COLUMNS: usize = 36;
/// Pieces that are listed below the waterfall.
const PIECES: usize = 8;

/// The report in `columns` columns.
pub fn render(report: &DiffReport, top: Option<usize>, columns: usize) -> String {
    let diff = &report.diff;
    let (style, words) = verdict(report);
    let mut text = format!("{style}{words}{style:#}");
    let mut rest = sentence(report);
    let _ = write!(rest, " {}", diff.verdict.text);
    text = wrap(&format!("{}: {rest}", strip(&text)), columns, 0).replacen(&words, &text, 1);
    if let Some(limit) = report.fail_above {
        let judged = if report.is_regression { "Regression: above" } else { "No regression above" };
        let style = if report.is_regression { styles::BAD } else { Style::new() };
        let _ = writeln!(text, "{style}{judged} the limit of {}{style:#}", percent(limit));
    }
    waterfall(&mut text, report, top.unwrap_or(BARS), columns);
    hidden(&mut text, report, columns);
    collectives(&mut text, report, columns);
    if !diff.notes.is_empty() {
        heading(&mut text, "Notes");
        for what in &diff.notes {
            note(&mut text, what, columns);
        }
    }
    text
}

fn strip(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

fn verdict(report: &DiffReport) -> (Style, String) {
    let style = match report.diff.verdict.verdict {
        VerdictKind::Slower => styles::BAD,
        VerdictKind::Faster => styles::COPY.bold(),
        VerdictKind::NoChange => styles::STRONG,
        VerdictKind::CannotTell => styles::WARN,
    };
    let label = report.diff.verdict.verdict.label();
    let mut letters = label.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    (style, first + letters.as_str())
}

fn signed(ns: i64) -> String {
    if ns > 0 { format!("+{}", Duration(ns)) } else { Duration(ns).to_string() }
}

fn signed_percent(share: f64) -> String {
    let text = format!("{:+.1} %", share * 100.0).replace('-', "−");
    if text == "+0.0 %" || text == "−0.0 %" { "±0.0 %".to_owned() } else { text }
}

/// `a typical step takes 117 ms instead of 76.8 ms, +40.1 ms (+52.3 %).`
fn sentence(report: &DiffReport) -> String {
    let diff = &report.diff;
    let (base, new) = (Duration(diff.base.typical_ns), Duration(diff.new.typical_ns));
    if diff.delta_ns == 0 {
        return format!("a typical step takes {base} in both.");
    }
    format!(
        "a typical step takes {new} instead of {base}, {} ({}).",
        signed(diff.delta_ns),
        signed_percent(diff.verdict.change)
    )
}

/// Which rows get a bar, and the sum of the others.
fn chosen(report: &DiffReport, top: usize) -> (Vec<&Row>, i64) {
    let whole = report.diff.base.typical_ns.max(1) as f64;
    let is_noise = report.diff.verdict.verdict == VerdictKind::NoChange;
    let least = (whole * if is_noise { STANDS_OUT } else { SMALL }) as i64;
    let is_shown = |row: &&Row| {
        row.part_ns != 0
            && row.part_ns.saturating_abs() >= least
            && (!is_noise || row.sureness == Sureness::BeyondNoise)
    };
    let shown: Vec<&Row> = report.diff.rows.iter().filter(is_shown).take(top).collect();
    let sum = shown.iter().map(|row| row.part_ns).fold(0, i64::saturating_add);
    (shown, report.diff.delta_ns.saturating_sub(sum))
}

fn waterfall(text: &mut String, report: &DiffReport, top: usize, columns: usize) {
    let diff = &report.diff;
    if diff.rows.iter().all(|row| row.part_ns == 0) {
        return;
    }
    let (shown, rest) = chosen(report, top);
    heading(text, "What makes the difference");
    if shown.is_empty() {
        text.push_str("  No part stands out of the noise\n");
        return;
    }
    let mut levels = vec![diff.base.typical_ns];
    for part in shown.iter().map(|row| row.part_ns).chain([rest]) {
        levels.push(levels.last().copied().unwrap_or_default().saturating_add(part));
    }
    let scale = Scale::new(&levels);
    let mut table = Table::new([("", Align::Left), ("", Align::Right), ("", Align::Right), ("", Align::Drawing)]);
    let whole = |ns: i64| scale.bar(scale.low, ns, '█', Style::new());
    table.row([
        "Base".to_owned(),
        Duration(diff.base.typical_ns).to_string(),
        String::new(),
        whole(diff.base.typical_ns),
    ]);
    let share = |part: i64| signed_percent(part as f64 / diff.base.typical_ns.max(1) as f64);
    let mut at = diff.base.typical_ns;
    for row in &shown {
        let to = at.saturating_add(row.part_ns);
        let (fill, style) = if row.part_ns > 0 { ('▓', styles::BAD) } else { ('░', styles::COPY) };
        let unsure = if row.sureness == Sureness::WithinNoise && has_time(row) { " (may be noise)" } else { "" };
        table.row([
            format!("{}{unsure}", row.label()),
            signed(row.part_ns),
            share(row.part_ns),
            scale.bar(at, to, fill, style),
        ]);
        at = to;
    }
    if rest != 0 {
        let (fill, style) = if rest > 0 { ('▓', styles::DIM) } else { ('░', styles::DIM) };
        let bar = scale.bar(at, at.saturating_add(rest), fill, style);
        table.row(["Everything else".to_owned(), signed(rest), share(rest), bar]);
    }
    table.row([
        "New".to_owned(),
        Duration(diff.new.typical_ns).to_string(),
        signed_percent(diff.verdict.change),
        whole(diff.new.typical_ns),
    ]);
    // The first line would be titles, of which there are none.
    text.push_str(table.render(columns).split_once('\n').map_or("", |(_, rows)| rows));
    if scale.low > 0 {
        note(text, &format!("Bars begin at {}.", Duration(scale.low)), columns);
    }
    largest(text, &shown, columns);
}

/// The largest pieces of the rows that have a bar.
fn largest(text: &mut String, shown: &[&Row], columns: usize) {
    let mut pieces: Vec<(&Row, &Detail)> =
        shown.iter().flat_map(|row| row.details.iter().map(move |detail| (*row, detail))).collect();
    pieces.retain(|(_, detail)| detail.part_ns != 0 && !detail.name.is_empty() && detail.name != "others");
    pieces.sort_by_key(|(_, detail)| std::cmp::Reverse(detail.part_ns.saturating_abs()));
    let mut table = Table::new([
        ("Step", Align::Right),
        ("Of", Align::Left),
        ("", Align::Name),
        ("Its own time", Align::Right),
        ("Pieces", Align::Right),
        ("Rank", Align::Right),
    ]);
    for (row, detail) in pieces.into_iter().take(PIECES) {
        let (before, after) = (pieces_of(detail.base_count), pieces_of(detail.new_count));
        table.row([
            signed(detail.part_ns),
            if row.class.is_empty() { row.cause.label().to_owned() } else { row.class.clone() },
            detail.name.clone(),
            change(detail.base_ns, detail.new_ns),
            if before == after { before } else { format!("{before} → {after}") },
            detail.rank.map_or_else(String::new, |rank| rank.to_string()),
        ]);
    }
    if !table.is_empty() {
        heading(text, "The largest of it, in a typical step");
        text.push_str(&table.without_empty_columns().render(columns));
    }
}

fn pieces_of(count: f64) -> String {
    if count < 9.95 { format!("{count:.1}").replace(".0", "") } else { crate::text::count(count.round() as u64) }
}

/// Whether a row has time of its own that noise can be judged by.
const fn has_time(row: &Row) -> bool {
    !matches!(row.cause, Cause::Overlap)
}

/// From lengths to columns.
struct Scale {
    low: i64,
    high: i64,
}

impl Scale {
    /// Begins at nothing, unless the changes would be too small to be seen.
    fn new(levels: &[i64]) -> Self {
        let least = levels.iter().copied().min().unwrap_or_default();
        let high = levels.iter().copied().max().unwrap_or_default();
        let spread = high.saturating_sub(least);
        let is_small = spread.saturating_mul(4) < high;
        let low = if is_small { least.saturating_sub(spread / 2).max(0) } else { 0 };
        Self { low, high }
    }

    fn column(&self, at: i64) -> usize {
        let width = self.high.saturating_sub(self.low).max(1) as f64;
        let share = at.saturating_sub(self.low) as f64 / width;
        (share * BAR_COLUMNS as f64).round().clamp(0.0, BAR_COLUMNS as f64) as usize
    }

    fn bar(&self, from: i64, to: i64, fill: char, style: Style) -> String {
        let (a, b) = (self.column(from.min(to)), self.column(from.max(to)));
        // Something is never nothing.
        let b = if from == to { b } else { b.max(a + 1) };
        let a = a.min(BAR_COLUMNS - 1);
        let length = b.min(BAR_COLUMNS).saturating_sub(a);
        format!("{}{style}{}{style:#}", " ".repeat(a), fill.to_string().repeat(length))
    }
}

/// What a row consists of, in a few words.
fn details(row: &Row) -> String {
    let large = |detail: &&Detail| detail.part_ns.saturating_abs().saturating_mul(10) >= row.part_ns.saturating_abs();
    let shown: Vec<String> = row
        .details
        .iter()
        .filter(large)
        .filter(|detail| !detail.name.is_empty())
        .take(2)
        .map(|detail| of(row, detail))
        .collect();
    shown.join("; ")
}

/// `aten::mm · volta_sgemm 84.2 → 110 ms (×1.31)`.
fn of(row: &Row, detail: &Detail) -> String {
    let name = shorten(&detail.name, 60);
    let rank = detail.rank.map_or_else(String::new, |rank| format!(", on rank {rank}"));
    let (count, ns) = match row.cause {
        Cause::NewWork => (detail.new_count, detail.new_ns),
        Cause::GoneWork => (detail.base_count, detail.base_ns),
        _ => return format!("{name} {}{rank}", change(detail.base_ns, detail.new_ns)),
    };
    format!("{name}, {} in {}{rank}", pieces_of(count), Duration(ns))
}

/// `84.2 → 110 ms (×1.31)`.
fn change(base_ns: i64, new_ns: i64) -> String {
    let (base, new) = (Duration(base_ns).to_string(), Duration(new_ns).to_string());
    // One unit for both.
    let short = match (base.rsplit_once(' '), new.rsplit_once(' ')) {
        (Some((value, unit)), Some((_, other))) if unit == other => format!("{value} → {new}"),
        _ => format!("{base} → {new}"),
    };
    let ratio = new_ns as f64 / base_ns.max(1) as f64;
    if base_ns > 0 && (0.1..10.0).contains(&ratio) { format!("{short} (×{ratio:.2})") } else { short }
}

/// Things that changed and that the step does not feel.
fn hidden(text: &mut String, report: &DiffReport, columns: usize) {
    let whole = report.diff.base.typical_ns.max(1) as f64;
    let is_hidden = |row: &&Row| {
        let moved = row.new_ns.saturating_sub(row.base_ns).saturating_abs() as f64;
        row.sureness == Sureness::BeyondNoise
            && moved > 0.01 * whole
            && (row.part_ns.saturating_abs() as f64) < 0.1 * moved
            && !matches!(row.cause, Cause::LaunchLatency | Cause::KernelGaps | Cause::StreamLatency)
    };
    let rows: Vec<&Row> = report.diff.rows.iter().filter(is_hidden).take(LISTED).collect();
    if rows.is_empty() {
        return;
    }
    heading(text, "Changed, but hidden behind other work");
    for row in rows {
        let what = format!("{} {}: {}", row.label(), change(row.base_ns, row.new_ns), details(row));
        note(text, what.trim_end_matches(": "), columns);
    }
}

fn collectives(text: &mut String, report: &DiffReport, columns: usize) {
    let mut table = Table::new([("Collective", Align::Name), ("Waiting", Align::Right), ("Transfer", Align::Right)]);
    let mut rows: Vec<_> = report
        .diff
        .collectives
        .iter()
        .filter(|row| {
            !report.diff.rows.is_empty()
                && row.base_wait_ns.max(row.new_wait_ns).max(row.base_transfer_ns).max(row.new_transfer_ns) > 0
        })
        .collect();
    rows.sort_by_key(|row| {
        let moved = |a: i64, b: i64| a.saturating_sub(b).saturating_abs() / 2;
        std::cmp::Reverse(moved(row.base_wait_ns, row.new_wait_ns) + moved(row.base_transfer_ns, row.new_transfer_ns))
    });
    for row in rows.into_iter().take(LISTED) {
        table.row([
            row.name.clone(),
            change(row.base_wait_ns, row.new_wait_ns),
            change(row.base_transfer_ns, row.new_transfer_ns),
        ]);
    }
    if table.is_empty() {
        return;
    }
    let ranks = if report.diff.base.ranks.max(report.diff.new.ranks) > 1 { ", summed over ranks" } else { "" };
    heading(text, &format!("Collectives of a typical step{ranks}"));
    text.push_str(&table.render(columns));
}

/// The report for a pull request.
pub fn markdown(report: &DiffReport, top: Option<usize>) -> String {
    let diff = &report.diff;
    let (_, words) = verdict(report);
    let sign = match diff.verdict.verdict {
        VerdictKind::Slower => "🔴",
        VerdictKind::Faster => "🟢",
        VerdictKind::NoChange => "⚪",
        VerdictKind::CannotTell => "🟡",
    };
    let mut text = format!("### {sign} {words}: {} per step\n\n", signed_percent(diff.verdict.change));
    let mut said = sentence(report);
    if let Some(first) = said.get(..1).map(str::to_uppercase) {
        said.replace_range(..1, &first);
    }
    let _ = writeln!(text, "{said} {}", diff.verdict.text);
    if let Some(limit) = report.fail_above {
        let judged = if report.is_regression { "**Regression**: above" } else { "No regression above" };
        let _ = writeln!(text, "{judged} the limit of {}.", percent(limit));
    }
    let (shown, rest) = chosen(report, top.unwrap_or(BARS));
    if !shown.is_empty() {
        text.push_str("\n| | Step | Share | Most of it |\n|---|--:|--:|---|\n");
        let share = |part: i64| signed_percent(part as f64 / diff.base.typical_ns.max(1) as f64);
        let _ =
            writeln!(text, "| **Base** `{}` | **{}** | | |", cell(&report.base_name), Duration(diff.base.typical_ns));
        for row in &shown {
            let unsure = if row.sureness == Sureness::WithinNoise && has_time(row) { " *(may be noise)*" } else { "" };
            let _ = writeln!(
                text,
                "| {}{unsure} | {} | {} | {} |",
                cell(&row.label()),
                signed(row.part_ns),
                share(row.part_ns),
                cell(&details(row))
            );
        }
        if rest != 0 {
            let _ = writeln!(text, "| Everything else | {} | {} | |", signed(rest), share(rest));
        }
        let _ = writeln!(
            text,
            "| **New** `{}` | **{}** | **{}** | |",
            cell(&report.new_name),
            Duration(diff.new.typical_ns),
            signed_percent(diff.verdict.change)
        );
    }
    for what in &diff.notes {
        let _ = write!(text, "\n> {}\n", cell(what));
    }
    text
}

/// Names come from files and must not break the table.
fn cell(text: &str) -> String {
    crate::text::clean(text).replace('|', "\\|").replace('<', "&lt;").replace('*', "\\*").replace('`', "'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_follow_one_another() {
        let scale = Scale::new(&[100, 130, 120]);
        assert_eq!(scale.low, 85);
        let plain = |from, to, fill| strip(&scale.bar(from, to, fill, Style::new()));
        assert_eq!(plain(100, 130, '▓').chars().count(), BAR_COLUMNS);
        assert_eq!(plain(130, 120, '░').chars().filter(|&c| c == ' ').count(), scale.column(120));
        // A part too small for a column is seen all the same.
        assert_eq!(plain(100, 101, '▓').trim().chars().count(), 1);
        assert_eq!(Scale::new(&[100, 300]).low, 0);
    }

    #[test]
    fn changes_are_written_with_one_unit() {
        assert_eq!(change(84_200_000, 110_000_000), "84.2 → 110 ms (×1.31)");
        assert_eq!(change(0, 2_000), "0 ns → 2.00 µs");
        assert_eq!(signed(-2_000), "−2.00 µs");
        assert_eq!(signed_percent(-0.167), "−16.7 %");
        assert_eq!(signed_percent(0.00001), "±0.0 %");
    }

    #[test]
    fn names_do_not_break_the_table() {
        assert_eq!(cell("a|b<int>\n"), "a\\|b&lt;int>\u{fffd}");
    }
}
