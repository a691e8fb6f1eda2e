//! The text of `gapless roofline`.

use anstyle::Style;
use gapless_roofline::{Bound, Gpu, OperatorGroup, Utilisation};
use gapless_trace::Duration;

use super::{heading, note, plural, warnings_summary, wrap};
use crate::commands::roofline::{RankRoofline, RooflineReport};
use crate::output::styles;
use crate::text::{Align, Table, count, kernel_name, percent, shorten};

/// The report in `columns` columns, with `top` rows a table.
pub fn render(report: &RooflineReport, top: usize, columns: usize) -> String {
    let mut text = String::new();
    for rank in &report.ranks {
        of_rank(&mut text, rank, top, columns, report.ranks.len() > 1);
    }
    warnings_summary(&mut text, &report.warnings, columns);
    text
}

fn of_rank(text: &mut String, rank: &RankRoofline, top: usize, columns: usize, named: bool) {
    if named {
        heading(text, &rank.rank.map_or_else(|| format!("#{}", rank.rank_id), |rank| format!("Rank {rank}")));
    }
    if rank.device_ns == 0 {
        text.push_str("  no device work\n");
        return;
    }
    text.push_str(&wrap(&sentence(rank), columns, 0));
    device(text, rank, columns);
    utilisation(text, &rank.utilisation, columns);
    operators(text, rank, top, columns);
    unknown(text, rank, top, columns);
    impossible(text, rank, columns);
}

/// What is most worth knowing: how much time is above what is attainable, and where.
fn sentence(rank: &RankRoofline) -> String {
    let headroom: f64 = rank.operators.iter().filter_map(|entry| entry.group.headroom_ns).sum();
    let best = rank
        .operators
        .iter()
        .max_by(|a, b| a.group.headroom_ns.unwrap_or(0.0).total_cmp(&b.group.headroom_ns.unwrap_or(0.0)));
    let whole = Duration(rank.device_ns);
    let known = percent(1.0 - rank.unknown_share);
    let Some(best) = best.filter(|best| best.group.headroom_ns.is_some_and(|headroom| headroom > 0.0)) else {
        return format!("Device work of {whole}; FLOPs and bytes are known for {known} of what computes.");
    };
    format!(
        "Device work of {whole}, {} above what good kernels would take ({} of it in {}). FLOPs and bytes are known for \
         {known} of what computes.",
        Duration(headroom as i64),
        percent(best.group.headroom_ns.unwrap_or(0.0) / headroom),
        best.group.name
    )
}

fn device(text: &mut String, rank: &RankRoofline, columns: usize) {
    heading(text, "Device");
    let Some(found) = &rank.device else {
        note(text, rank.no_device.as_deref().unwrap_or("unknown"), columns);
        return;
    };
    let gpu = &found.gpu;
    let rates = gpu.peaks.iter().map(|(precision, fact)| format!("{} {:.0}", precision.label(), fact.value));
    let memory = gpu.memory_gb_per_s.as_ref().map_or_else(String::new, |fact| format!("{:.0} GB/s; ", fact.value));
    note(text, &format!("{}: {memory}dense TFLOP/s {}", gpu.name, rates.collect::<Vec<_>>().join(", ")), columns);
    for what in &found.notes {
        note(text, what, columns);
    }
    doubts(text, gpu, columns);
}

/// Values that were not read anywhere or that sources dispute.
fn doubts(text: &mut String, gpu: &Gpu, columns: usize) {
    let doubtful = gpu.doubtful();
    let names = |unsure: bool| {
        let names = doubtful.iter().filter(|(_, fact)| fact.unsure == unsure).map(|(name, _)| name.as_str());
        names.collect::<Vec<_>>().join(", ")
    };
    let (unsure, recalled) = (names(true), names(false));
    if !unsure.is_empty() {
        note(text, &format!("sources dispute: {unsure}"), columns);
    }
    if !recalled.is_empty() {
        note(text, &format!("not checked against a datasheet: {recalled}"), columns);
    }
    if let Some(what) = &gpu.note {
        note(text, what, columns);
    }
}

fn utilisation(text: &mut String, found: &Utilisation, columns: usize) {
    let (Some(mfu), Some(hfu)) = (found.mfu, found.hfu) else { return };
    heading(text, "Utilisation");
    let window = if found.window_is_steps { "the marked steps" } else { "first to last device work" };
    let parts = found.rates.iter().map(|rate| {
        format!(
            "{:.4} of {:.0} TFLOP/s {}",
            rate.model_flops / 1e12,
            rate.peak_flops_per_s / 1e12,
            rate.precision.label()
        )
    });
    let formula = format!(
        "MFU {} = (TFLOP of the model ÷ dense peak: {}) ÷ {} ({window})",
        percent(mfu),
        parts.collect::<Vec<_>>().join(" + "),
        Duration(found.window_ns)
    );
    note(text, &formula, columns);
    let recompute = if found.recompute_is_known {
        "counts recomputed activations too"
    } else {
        "would count recomputed activations too, but the recording shows none (it takes Python frames)"
    };
    note(text, &format!("HFU {} {recompute}", percent(hfu)), columns);
    if found.unknown_share > 0.0 {
        let share = percent(found.unknown_share);
        note(
            text,
            &format!("{share} of the time of products and attention has unknown FLOPs: both are lower bounds"),
            columns,
        );
    }
}

/// `bf16 [16, 5185, 64] [64]` as `bf16 16×5185×64 64`.
fn compact(shapes: &str) -> String {
    shapes.replace(", ", "×").replace(['[', ']'], "")
}

fn figure(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(String::new, |value| format!("{value:.digits$}"))
}

fn operators(text: &mut String, rank: &RankRoofline, top: usize, columns: usize) {
    let mut known: Vec<&OperatorGroup> =
        rank.operators.iter().map(|entry| &entry.group).filter(|group| group.cost.is_some()).collect();
    // By what can be gained; without a device by time.
    known.sort_by(|a, b| b.headroom_ns.unwrap_or(0.0).total_cmp(&a.headroom_ns.unwrap_or(0.0)));
    if known.is_empty() {
        return;
    }
    let mut table = Table::new([
        ("Operator", Align::Name),
        ("Calls", Align::Right),
        ("Time", Align::Right),
        ("Attainable", Align::Right),
        ("Headroom", Align::Right),
        ("Bound", Align::Left),
        ("Of peak", Align::Right),
        ("TFLOP/s", Align::Right),
        ("GB/s", Align::Right),
    ]);
    let nanoseconds = |value: Option<f64>| value.map_or_else(String::new, |ns| Duration(ns.round() as i64).to_string());
    for group in known.iter().take(top) {
        let style = if group.is_impossible { styles::WARN } else { Style::new() };
        let again = if group.is_recompute { "recomputed " } else { "" };
        let name = format!("{again}{} {}", group.name.trim_start_matches("aten::"), compact(&group.shapes));
        table.styled_row(
            style,
            [
                name,
                count(group.calls),
                Duration(group.device_ns).to_string(),
                nanoseconds(group.attainable_ns),
                nanoseconds(group.headroom_ns),
                group.bound.map_or("", Bound::label).to_owned(),
                group.efficiency.map_or_else(String::new, percent),
                figure(group.tflops_per_s.filter(|rate| *rate > 0.0), 2),
                figure(group.gb_per_s.filter(|rate| *rate > 0.0), 0),
            ],
        );
    }
    let shown = known.len().min(top);
    heading(text, &format!("Operators by headroom ({shown} of {})", known.len()));
    text.push_str(&table.without_empty_columns().render(columns));
}

/// By what is missing, since that is what one can mend.
fn unknown(text: &mut String, rank: &RankRoofline, top: usize, columns: usize) {
    let mut reasons: Vec<(&str, i64, Vec<&str>)> = Vec::new();
    for group in rank.operators.iter().map(|entry| &entry.group) {
        let Some(reason) = group.unknown.as_deref() else { continue };
        match reasons.iter_mut().find(|(known, ..)| *known == reason) {
            Some((_, sum, names)) => {
                *sum = sum.saturating_add(group.device_ns);
                names.push(&group.name);
            }
            None => reasons.push((reason, group.device_ns, vec![&group.name])),
        }
    }
    if reasons.is_empty() {
        return;
    }
    reasons.sort_by_key(|(reason, sum, _)| (std::cmp::Reverse(*sum), *reason));
    heading(text, "Without FLOPs and bytes");
    for (reason, sum, mut names) in reasons.into_iter().take(top) {
        // Names come by time; the first few say enough.
        let mut seen = Vec::new();
        names.retain(|name| {
            !seen.contains(name) && {
                seen.push(*name);
                true
            }
        });
        let more = names.len().saturating_sub(3);
        let shown = names.iter().take(3).map(|name| kernel_name(name)).map(|name| shorten(&name, 40));
        let mut shown = shown.collect::<Vec<_>>().join(", ");
        if more > 0 {
            shown.push_str(&format!(" and {more} more"));
        }
        let time = Duration(sum).to_string();
        text.push_str(&format!("  {time:>8}  {}", wrap(&format!("{reason}: {shown}"), columns, 12)));
    }
}

fn impossible(text: &mut String, rank: &RankRoofline, columns: usize) {
    let number = rank.operators.iter().filter(|entry| entry.group.is_impossible).count() as u64;
    if number == 0 {
        return;
    }
    let what = format!(
        "{} took less time than the peaks allow: the inputs stayed in caches, a shape or the device is wrong, or zeros \
         were skipped. They are marked, not left out.",
        plural(number, "operator", "operators")
    );
    text.push('\n');
    note(text, &what, columns);
}
