//! Reports for people, made from the same structures as the JSON.

pub mod advise;
pub mod analyze;
pub mod clocks;
pub mod codesign;
pub mod collectives;
pub mod diff;
pub mod info;
pub mod path;
pub mod roofline;
pub mod sentence;
pub mod stragglers;
mod tables;
mod totals;
mod tracelens;
pub mod trust;
pub mod whatif;

use anstyle::Style;

use crate::commands::info::WarningInfo;
use crate::output::styles;
use crate::text::{count, shorten};

/// Files listed for one warning.
const FILES_PER_WARNING: usize = 3;

/// A heading.
pub(crate) fn heading(text: &mut String, title: &str) {
    let strong = styles::STRONG;
    text.push_str(&format!("\n{strong}{title}{strong:#}\n"));
}

/// Units that stay on the line of their number.
const UNITS: [&str; 5] = ["%", "s", "ms", "µs", "ns"];

/// `text` in lines of at most `columns` columns, broken at spaces; lines after the first begin at `indent`, as the first
/// is taken to.
pub(crate) fn wrap(text: &str, columns: usize, indent: usize) -> String {
    let mut wrapped = String::new();
    let mut used = indent;
    let mut words = text.split(' ').peekable();
    while let Some(word) = words.next() {
        let mut word = word.to_owned();
        while let Some(unit) = words.next_if(|next| UNITS.contains(&next.trim_end_matches(['.', ',', ':', ')']))) {
            word.push(' ');
            word.push_str(unit);
        }
        let length = word.chars().count();
        if used > indent && used + 1 + length > columns {
            wrapped.push('\n');
            wrapped.push_str(&" ".repeat(indent));
            used = indent;
        } else if used > indent {
            wrapped.push(' ');
            used += 1;
        }
        wrapped.push_str(&word);
        used += length;
    }
    wrapped.push('\n');
    wrapped
}

/// A sentence below a table.
pub(crate) fn note(text: &mut String, what: &str, columns: usize) {
    text.push_str("  ");
    text.push_str(&wrap(what, columns, 2));
}

/// `1 file`, `8 files`.
pub(crate) fn plural(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// What was odd or lost on import, worst first.
pub(crate) fn warnings_section(text: &mut String, warnings: &[WarningInfo], columns: usize) {
    heading(text, "Warnings");
    if warnings.is_empty() {
        text.push_str("  none\n");
    }
    // The same reason in eight files is one entry.
    for entries in by_kind(warnings) {
        let Some(first) = entries.first() else { continue };
        let style = severity_style(first.severity);
        let times = entries.iter().map(|warning| warning.count).sum();
        let what = wrap(&format!("{} × {}", count(times), first.text), columns, 12);
        text.push_str(&format!("  {style}{:<8}{style:#}  {what}", first.severity));
        for warning in entries.iter().take(FILES_PER_WARNING) {
            let mut place = vec![warning.file.rsplit('/').next().unwrap_or_default().to_owned()];
            if entries.len() > 1 {
                place.push(format!("{} ×", count(warning.count)));
            }
            if !warning.detail.is_empty() {
                place.push(warning.detail.clone());
            }
            if let Some(first) = warning.offsets.first() {
                place.push(format!("first at byte {}", count(*first)));
            }
            let dim = styles::DIM;
            let room = columns.saturating_sub(12);
            text.push_str(&format!("            {dim}{}{dim:#}\n", shorten(&place.join(" · "), room)));
        }
        if entries.len() > FILES_PER_WARNING {
            let more = entries.len() - FILES_PER_WARNING;
            text.push_str(&format!(
                "            and in {} (--json lists all)\n",
                plural(more as u64, "more file", "more files")
            ));
        }
    }
}

/// Warnings of one kind together, in the order in which the kinds come.
fn by_kind(warnings: &[WarningInfo]) -> Vec<Vec<&WarningInfo>> {
    let mut kinds: Vec<Vec<&WarningInfo>> = Vec::new();
    for warning in warnings {
        match kinds.iter_mut().find(|entries| entries.first().is_some_and(|first| first.kind == warning.kind)) {
            Some(entries) => entries.push(warning),
            None => kinds.push(vec![warning]),
        }
    }
    kinds
}

/// Warnings in a few lines, for a report that is about something else.
pub(crate) fn warnings_summary(text: &mut String, warnings: &[WarningInfo], columns: usize) {
    if warnings.is_empty() {
        return;
    }
    heading(text, "Warnings");
    for entries in by_kind(warnings) {
        let Some(first) = entries.first() else { continue };
        let style = severity_style(first.severity);
        let times = entries.iter().map(|warning| warning.count).sum();
        let places = if entries.len() > 1 { format!(", in {} files", entries.len()) } else { String::new() };
        let what = wrap(&format!("{} × {}{places}", count(times), first.text), columns, 12);
        text.push_str(&format!("  {style}{:<8}{style:#}  {what}", first.severity));
    }
    text.push_str("  (`gapless info` says where)\n");
}

fn severity_style(severity: &str) -> Style {
    match severity {
        "lost" => styles::BAD,
        "repaired" => styles::WARN,
        _ => styles::DIM,
    }
}
