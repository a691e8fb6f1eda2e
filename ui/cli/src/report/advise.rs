//! The text of `gapless advise`, and of the advice at the end of `gapless analyze`.

use gapless_advice::text::{ms, percent};
use gapless_advice::{Advice, Advised, Plan};
use gapless_trace::Duration;

use super::whatif::range;
use super::{heading, note, warnings_summary, wrap};
use crate::commands::advise::{AdviseReport, Place};
use crate::output::styles;
use crate::text::{Align, Table, kernel_name};

/// Findings in full without `--top`.
pub const TOP: usize = 5;
/// Findings in full at the end of `gapless analyze`.
const IN_ANALYZE: usize = 3;
/// Columns of the bar of a gain.
const BAR: usize = 24;

/// The report in `columns` columns.
pub fn render(report: &AdviseReport, top: Option<usize>, columns: usize) -> String {
    let mut text = String::new();
    text.push_str(&wrap(&sentence(&report.advice), columns, 0));
    findings(&mut text, &report.advice, &report.places, top.unwrap_or(TOP), columns);
    if let Some(plan) = &report.plan {
        plan_section(&mut text, plan, columns);
    }
    warnings_summary(&mut text, &report.warnings, columns);
    text
}

/// "Do this first: …".
fn sentence(advice: &Advice) -> String {
    if let Some(refusal) = &advice.refusal {
        return format!("What fixes would bring cannot be told from this recording: {refusal}");
    }
    let first = advice.findings.iter().find(|advised| !advised.finding.is_info);
    match first.and_then(|first| first.gain.as_ref().map(|gain| (first, gain))) {
        Some((first, gain)) => format!(
            "{}: a step of {} could take {} ({}), {} less.",
            first.finding.title,
            ms(advice.mean_step_ns),
            ms(gain.mean_step_ns.mid),
            range(gain.mean_step_ns),
            percent(gain.gain_ns.mid / advice.mean_step_ns),
        ),
        None => format!(
            "Nothing was found whose fix would bring more than {} of a step of {}.",
            percent(advice.noise_ns / advice.mean_step_ns),
            ms(advice.mean_step_ns)
        ),
    }
}

/// The advice at the end of `gapless analyze`: the first findings in full.
pub fn section(text: &mut String, advice: &Advice, places: &[Option<Place>], columns: usize) {
    if let Some(refusal) = &advice.refusal {
        heading(text, "What to do");
        note(text, &format!("What fixes would bring cannot be told from this recording: {refusal}"), columns);
    }
    findings(text, advice, places, IN_ANALYZE, columns);
}

/// Ranked findings: the first `top` in full, all others in a line.
pub fn findings(text: &mut String, advice: &Advice, places: &[Option<Place>], top: usize, columns: usize) {
    let ranked: Vec<(usize, &Advised)> =
        advice.findings.iter().enumerate().filter(|(_, advised)| !advised.finding.is_info).collect();
    if !ranked.is_empty() {
        heading(text, "What to do, by what it would bring");
    }
    let largest = ranked.iter().map(|(_, advised)| gain_high(advised)).fold(0.0, f64::max);
    for (number, (place, advised)) in ranked.iter().enumerate() {
        if number == top {
            text.push_str(&format!("\n  {} more; --top {} shows them\n", ranked.len() - top, ranked.len()));
            break;
        }
        finding(text, number + 1, advised, places.get(*place).and_then(Option::as_ref), advice, largest, columns);
    }
    let infos: Vec<&Advised> = advice.findings.iter().filter(|advised| advised.finding.is_info).collect();
    if !infos.is_empty() {
        heading(text, "Seen, but of little consequence");
        for advised in infos {
            note(text, &format!("{}.", advised.finding.title), columns);
        }
    }
    if !advice.abstained.is_empty() {
        heading(text, "Not told by this recording");
        for abstention in &advice.abstained {
            note(text, &format!("{}: {}", abstention.detector, abstention.reason), columns);
        }
    }
}

fn gain_high(advised: &Advised) -> f64 {
    advised.gain.as_ref().map_or(0.0, |gain| gain.gain_ns.high.max(gain.gain_ns.mid))
}

fn finding(
    text: &mut String,
    number: usize,
    advised: &Advised,
    place: Option<&Place>,
    advice: &Advice,
    largest: f64,
    columns: usize,
) {
    let (strong, dim) = (styles::STRONG, styles::DIM);
    let finding = &advised.finding;
    text.push_str(&format!("\n{number:>2}  {strong}{}{strong:#}\n", finding.title));
    if let Some(gain) = &advised.gain {
        let share = gain.gain_ns.mid / advice.mean_step_ns;
        text.push_str(&format!(
            "    {}  −{} ({} to {} less), {} of a step\n",
            bar(gain.gain_ns.low, gain.gain_ns.mid, gain.gain_ns.high, largest),
            ms(gain.gain_ns.mid),
            ms(gain.gain_ns.low.max(0.0)),
            ms(gain.gain_ns.high),
            percent(share)
        ));
    } else if let Some(reason) = &advised.no_gain {
        text.push_str(&format!("    {dim}no figure:{dim:#} {}", wrap(reason, columns, 15)));
    }
    text.push_str("    ");
    text.push_str(&wrap(&finding.paragraph, columns, 4));
    text.push_str(&format!("    {strong}Do{strong:#}     {}", wrap(&finding.fix, columns, 11)));
    for line in finding.code.lines() {
        text.push_str(&format!("           {dim}{line}{dim:#}\n"));
    }
    if let Some(place) = place {
        let rank = place.rank.map_or_else(String::new, |rank| format!("rank {rank}, "));
        let at = format!("{rank}{}, at {}: {}", place.track, Duration(place.since_start_ns), kernel_name(&place.name));
        text.push_str(&format!("    {strong}Where{strong:#}  {}", wrap(&at, columns, 11)));
    }
    for guard in finding.guards.iter().filter(|guard| !guard.holds) {
        text.push_str(&format!("    {strong}Check{strong:#}  {}", wrap(&guard.text, columns, 11)));
    }
    for applied in advised.gain.iter().flat_map(|gain| &gain.edits) {
        for guard in applied.guards.iter().filter(|guard| !guard.holds) {
            text.push_str(&format!("    {strong}Check{strong:#}  {}", wrap(&guard.text, columns, 11)));
        }
        let taken = format!("{} ({}: {})", applied.assumptions.join(" "), applied.edit, applied.basis.label());
        text.push_str(&format!("    {dim}Taken{dim:#}  {}", wrap(taken.trim_start(), columns, 11)));
    }
    if let Some(root) = advice.findings.get(advised.root).filter(|root| root.finding.title != finding.title) {
        text.push_str(&format!(
            "    {dim}Root{dim:#}   {}",
            wrap(&format!("the same time as “{}”: not both gains", root.finding.title), columns, 11)
        ));
    }
}

/// A band: light from the low to the high end, the middle marked.
fn bar(low: f64, mid: f64, high: f64, largest: f64) -> String {
    let at = |value: f64| {
        if largest > 0.0 { ((value.max(0.0) / largest) * (BAR - 1) as f64).round() as usize } else { 0 }
    };
    let (low, mid, high) = (at(low), at(mid), at(high).max(at(mid)));
    (0..BAR)
        .map(|cell| match cell {
            cell if cell == mid => '┃',
            cell if cell < low => '█',
            cell if cell <= high => '░',
            _ => ' ',
        })
        .collect()
}

fn plan_section(text: &mut String, plan: &Plan, columns: usize) {
    heading(text, &format!("Plan for {} points of effort", plan.budget));
    if plan.steps.is_empty() {
        note(text, "Nothing fits into it.", columns);
        return;
    }
    let mut table = Table::new([
        ("Do", Align::Name),
        ("Effort", Align::Right),
        ("Gain on top", Align::Right),
        ("Step then", Align::Right),
    ]);
    for step in &plan.steps {
        table.row([step.title.clone(), step.effort.to_string(), ms(step.gain_ns), ms(step.mean_step_ns)]);
    }
    text.push_str(&table.render(columns));
    note(
        text,
        &format!(
            "Together −{} of {}; {} sets were replayed, no set within the budget can bring more than {}.",
            ms(plan.gain_ns),
            ms(plan.base_ns),
            plan.evaluated,
            ms(plan.bound_ns)
        ),
        columns,
    );
}
