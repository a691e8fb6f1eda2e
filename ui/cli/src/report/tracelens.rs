//! The tables that TraceLens would print. Their columns are its columns, so they are taken as they come.

use gapless_analysis::TraceLensReport;
use serde::Serialize;
use serde_json::Value;

use super::heading;
use super::tables::NARROW;
use crate::text::{Align, Table, count};

/// From this many columns on, all columns of kernel_summary.csv fit; JSON always has them.
const WIDE: usize = 140;

/// Appends both tables.
pub fn render(text: &mut String, report: &TraceLensReport, top: usize, columns: usize) {
    heading(text, "As TraceLens counts: gpu_timeline.csv");
    text.push_str(&table_of(&report.timeline, report.timeline.len(), &[]).render(columns));
    let kernels = &report.kernels;
    let shown =
        if kernels.len() > top { format!(" ({top} of {})", count(kernels.len() as u64)) } else { String::new() };
    heading(text, &format!("As TraceLens counts: kernel_summary.csv{shown}"));
    let left_out: &[&str] = match columns {
        WIDE.. => &[],
        NARROW.. => &["stream", "min_us", "max_us", "percent_of_kernels"],
        _ => &["stream", "min_us", "max_us", "percent_of_kernels", "mean_us"],
    };
    text.push_str(&table_of(kernels, top, left_out).without_empty_columns().render(columns));
}

fn table_of(rows: &[impl Serialize], top: usize, left_out: &[&str]) -> Table {
    let rows: Vec<Value> = rows.iter().take(top).filter_map(|row| serde_json::to_value(row).ok()).collect();
    let Some(Value::Object(first)) = rows.first() else { return Table::default() };
    let titles: Vec<(String, Align)> = first
        .iter()
        .filter(|(name, _)| !left_out.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), if value.is_number() { Align::Right } else { Align::Name }))
        .collect();
    let mut table = Table::new(titles.iter().map(|(title, align)| (title.as_str(), *align)));
    for row in &rows {
        table.row(titles.iter().map(|(title, _)| cell(row.get(title).unwrap_or(&Value::Null))));
    }
    table
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match (number.as_u64(), number.as_f64()) {
            (Some(whole), _) => count(whole),
            // Adding zero turns −0 into 0.
            (None, Some(number)) => format!("{:.3}", number + 0.0),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}
