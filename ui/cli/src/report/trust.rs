//! The text of `gapless trust`.

use anstyle::Style;
use gapless_analysis::trust::Grade;
use gapless_trace::Duration;

use super::{heading, note, plural, warnings_summary, wrap};
use crate::commands::trust::TrustReport;
use crate::output::styles;
use crate::text::{Align, Table, count, percent};

/// Steps with a row of their own.
const STEPS: usize = 20;

/// The report in `columns` columns.
pub fn render(report: &TrustReport, columns: usize) -> String {
    let trust = &report.trust;
    let predictions = if trust.allows_what_if { "predictions are made" } else { "predictions are refused" };
    let mut text = wrap(
        &format!(
            "The model of this recording is {}: {predictions}. {} with {}",
            trust.grade.label(),
            plural(trust.nodes, "node", "nodes"),
            plural(trust.edges, "edge", "edges")
        ),
        columns,
        0,
    );
    heading(&mut text, "Checks");
    for check in &trust.checks {
        let style = style(check.grade);
        text.push_str(&format!("  {style}{:<5}{style:#}  {}", check.grade.label(), wrap(&check.text, columns, 9)));
    }
    steps(&mut text, report, columns);
    edges(&mut text, report, columns);
    constants(&mut text, report, columns);
    if trust.unexplained_count > 0 {
        let what = format!(
            "{} of {} have no explanation in the recording and stay in every prediction",
            plural(trust.unexplained_count, "delay", "delays"),
            Duration(trust.unexplained_ns)
        );
        text.push('\n');
        note(&mut text, &what, columns);
    }
    warnings_summary(&mut text, &report.warnings, columns);
    text
}

const fn style(grade: Grade) -> Style {
    match grade {
        Grade::Green => Style::new(),
        Grade::Amber => styles::WARN,
        Grade::Red => styles::BAD,
    }
}

fn steps(text: &mut String, report: &TrustReport, columns: usize) {
    let steps = &report.trust.steps;
    if steps.is_empty() {
        return;
    }
    let mut table = Table::new([
        ("Step", Align::Name),
        ("Measured", Align::Right),
        ("Model", Align::Right),
        ("Off by", Align::Right),
        ("Path explained", Align::Right),
    ]);
    for step in steps.iter().take(STEPS) {
        table.row([
            step.name.clone(),
            Duration(step.measured_ns).to_string(),
            Duration(step.model_ns).to_string(),
            format!("{:+.2} %", step.error * 100.0),
            percent(step.explained),
        ]);
    }
    let shown = steps.len().min(STEPS);
    heading(
        text,
        &if steps.len() > shown { format!("Steps ({shown} of {})", steps.len()) } else { "Steps".to_owned() },
    );
    text.push_str(&table.render(columns));
}

fn edges(text: &mut String, report: &TrustReport, columns: usize) {
    let mut table = Table::new([
        ("Order by", Align::Left),
        ("Edges", Align::Right),
        ("Exact", Align::Right),
        ("Inferred", Align::Right),
        ("Contradicted", Align::Right),
        ("Median latency", Align::Right),
        ("Within 20 µs", Align::Right),
    ]);
    for row in &report.trust.edge_kinds {
        let class = report.trust.inferred.iter().find(|class| class.kind == row.kind);
        let nonzero = |value: u64| if value > 0 { count(value) } else { String::new() };
        table.row([
            row.kind.label().to_owned(),
            count(row.report.edges),
            nonzero(row.report.exact),
            nonzero(row.report.inferred),
            nonzero(row.report.contradicted + row.report.circular),
            class.map_or_else(String::new, |class| Duration(class.median_ns).to_string()),
            class.map_or_else(String::new, |class| percent(class.within_20us)),
        ]);
    }
    heading(text, "What waits for what");
    text.push_str(&table.without_empty_columns().render(columns));
}

fn constants(text: &mut String, report: &TrustReport, columns: usize) {
    let mut table = Table::new([
        ("Rank", Align::Right),
        ("Device", Align::Right),
        ("Launch", Align::Right),
        ("Samples", Align::Right),
        ("Gap", Align::Right),
        ("Samples", Align::Right),
        ("Gap in graphs", Align::Right),
        ("Return", Align::Right),
        ("Stream to stream", Align::Right),
    ]);
    for rank in &report.trust.constants {
        let number = report.clocks.ranks.get(rank.rank.index()).and_then(|clock| clock.number);
        for (place, device) in rank.devices.iter().enumerate() {
            table.row([
                number.map_or_else(|| format!("#{}", rank.rank.0), |number| number.to_string()),
                if rank.devices.len() > 1 { place.to_string() } else { String::new() },
                Duration(device.launch_ns).to_string(),
                count(device.launch_samples),
                Duration(device.gap_ns).to_string(),
                count(device.gap_samples),
                Duration(device.graph_gap_ns).to_string(),
                Duration(rank.return_ns).to_string(),
                Duration(rank.event_ns).to_string(),
            ]);
        }
    }
    if table.is_empty() {
        return;
    }
    heading(text, "Latencies of this machine, learnt from the recording");
    text.push_str(&table.without_empty_columns().render(columns));
}
