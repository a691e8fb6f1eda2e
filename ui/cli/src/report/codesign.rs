//! The text of `gapless codesign`.

use gapless_advice::Curve;
use gapless_advice::text::{ms, percent};

use super::whatif::range;
use super::{heading, note, warnings_summary, wrap};
use crate::commands::codesign::CodesignReport;
use crate::output::styles;
use crate::text::{Align, Table};

/// Rows of a plot.
const ROWS: usize = 9;
/// Columns of a plot.
const COLUMNS: usize = 56;
/// Plots in the terminal: of the axes that help most.
const PLOTS: usize = 2;

/// The report in `columns` columns.
pub fn render(report: &CodesignReport, columns: usize) -> String {
    let base = report.mean_step_ns;
    let mut text = String::new();
    text.push_str(&wrap(&sentence(report), columns, 0));
    heading(&mut text, "A factor of two");
    let mut table = Table::new([
        ("More of", Align::Name),
        ("Step then", Align::Right),
        ("Less", Align::Right),
        ("Endless", Align::Right),
        ("Share of the step that follows it", Align::Right),
        ("Next bottleneck at", Align::Left),
    ]);
    for curve in &report.axes {
        let later: Vec<String> =
            curve.breaks.iter().filter(|&&rate| rate > 1.02).take(3).map(|rate| format!("{rate:.2}x")).collect();
        table.row([
            curve.axis.title().to_owned(),
            ms(curve.doubled_ns),
            percent(1.0 - curve.doubled_ns / base),
            ms(curve.endless_ns),
            percent(curve.elasticity.max(0.0) + 0.0),
            later.join(", "),
        ]);
    }
    text.push_str(&table.without_empty_columns().render(columns));
    for curve in report.axes.iter().take(PLOTS).filter(|curve| curve.doubled_ns < base * 0.99) {
        heading(&mut text, &format!("Step against {}", curve.axis.title()));
        plot(&mut text, curve);
    }
    if !report.gpus.is_empty() {
        gpus(&mut text, report, columns);
    }
    if !report.parallel.is_empty() {
        heading(&mut text, "Estimates from a model, not from a replay of what was recorded");
        let mut table = Table::new([
            ("Change", Align::Name),
            ("Step then", Align::Right),
            ("From … to", Align::Left),
            ("Time per sample", Align::Right),
        ]);
        for estimate in &report.parallel {
            let name = estimate.edits.first().map_or("", |edit| edit.edit.as_str()).to_owned();
            let per_sample = estimate.mean_step_ns.mid / base / estimate.samples - 1.0;
            table.row([
                name,
                ms(estimate.mean_step_ns.mid),
                range(estimate.mean_step_ns),
                format!("{:+.1} %", per_sample * 100.0),
            ]);
        }
        text.push_str(&table.render(columns));
        note(&mut text, "`gapless whatif` with these edits tells what was taken for granted.", columns);
    }
    if report.grade != gapless_analysis::trust::Grade::Green {
        text.push('\n');
        note(
            &mut text,
            &format!("The model of this recording is {}: see `gapless trust`.", report.grade.label()),
            columns,
        );
    }
    warnings_summary(&mut text, &report.warnings, columns);
    text
}

fn gpus(text: &mut String, report: &CodesignReport, columns: usize) {
    heading(text, "Other GPUs");
    let mut table = Table::new([
        ("GPU", Align::Name),
        ("Step then", Align::Right),
        ("From … to", Align::Left),
        ("Change", Align::Right),
    ]);
    for estimate in &report.gpus {
        let edit = estimate.edits.first().map_or("", |edit| edit.edit.as_str());
        table.row([
            edit.rsplit('=').next().unwrap_or_default().to_owned(),
            ms(estimate.mean_step_ns.mid),
            range(estimate.mean_step_ns),
            format!("{:+.1} %", (estimate.mean_step_ns.mid / report.mean_step_ns - 1.0) * 100.0),
        ]);
    }
    text.push_str(&table.render(columns));
    for applied in report.gpus.iter().flat_map(|estimate| &estimate.edits) {
        for said in applied.guards.iter().map(|guard| &guard.text).chain(&applied.assumptions) {
            note(text, said, columns);
        }
    }
}

fn sentence(report: &CodesignReport) -> String {
    let base = report.mean_step_ns;
    match report.axes.first().filter(|curve| curve.doubled_ns < base * 0.995) {
        Some(best) => format!(
            "Of everything, twice the {} helps most: a step of {} would take {}, {} less.",
            best.axis.title(),
            ms(base),
            ms(best.doubled_ns),
            percent(1.0 - best.doubled_ns / base)
        ),
        None => format!("No single rate shortens a step of {} by as much as half a percent when doubled.", ms(base)),
    }
}

/// A curve in characters: step over rate, the recorded rate marked.
fn plot(text: &mut String, curve: &Curve) {
    let (Some(first), Some(last)) = (curve.points.first(), curve.points.last()) else { return };
    let (low, high) = curve.points.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), point| {
        (low.min(point.mean_step_ns), high.max(point.mean_step_ns))
    });
    let height = (high - low).max(1.0);
    let at = |rate: f64| -> f64 {
        // Between two points the step is linear in 1 ÷ rate.
        let s = 1.0 / rate;
        curve
            .points
            .windows(2)
            .find_map(|pair| {
                let [a, b] = *pair else { return None };
                let (sa, sb) = (1.0 / a.rate, 1.0 / b.rate);
                ((sb - 1e-12)..=(sa + 1e-12))
                    .contains(&s)
                    .then(|| b.mean_step_ns + (a.mean_step_ns - b.mean_step_ns) * (s - sb) / (sa - sb).max(1e-12))
            })
            .unwrap_or(last.mean_step_ns)
    };
    // Equal factors are equally wide.
    let rate_of = |column: usize| first.rate * (last.rate / first.rate).powf(column as f64 / (COLUMNS - 1) as f64);
    let recorded = ((1.0 / first.rate).ln() / (last.rate / first.rate).ln() * (COLUMNS - 1) as f64).round();
    let levels: Vec<usize> = (0..COLUMNS)
        .map(|column| ((at(rate_of(column)) - low) / height * (ROWS - 1) as f64).round() as usize)
        .collect();
    let dim = styles::DIM;
    for row in (0..ROWS).rev() {
        let label = match row {
            row if row == ROWS - 1 => ms(high),
            0 => ms(low),
            _ => String::new(),
        };
        text.push_str(&format!("  {dim}{label:>9}{dim:#} │"));
        for (column, &level) in levels.iter().enumerate() {
            let is_recorded = (column as f64 - recorded).abs() < 0.5;
            text.push(match (level == row, is_recorded) {
                (true, true) => '◆',
                (true, false) => '●',
                (false, true) => '┊',
                (false, false) => ' ',
            });
        }
        while text.ends_with(' ') {
            text.pop();
        }
        text.push('\n');
    }
    text.push_str(&format!("  {:>9} └{}\n", "", "─".repeat(COLUMNS)));
    let axis = format!("{}x … {}x   ◆ as recorded", trim(first.rate), trim(last.rate));
    text.push_str(&format!("  {:>9}  {dim}{axis}{dim:#}\n", ""));
}

fn trim(rate: f64) -> String {
    let text = format!("{rate:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
