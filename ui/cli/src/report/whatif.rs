//! The text of `gapless whatif`.

use gapless_advice::text::{ms, percent};
use gapless_advice::{Band, WhatIf};

use super::{heading, note, plural, warnings_summary, wrap};
use crate::commands::whatif::{EditInfo, WhatIfReport};
use crate::output::styles;
use crate::text::{Align, Table};

/// The report in `columns` columns.
pub fn render(report: &WhatIfReport, columns: usize) -> String {
    let what = &report.what_if;
    let mut text = String::new();
    text.push_str(&wrap(&sentence(what, report.steps), columns, 0));
    heading(&mut text, "Edits");
    for applied in &what.edits {
        let strong = styles::STRONG;
        text.push_str(&format!("  {strong}{}{strong:#}\n", applied.edit));
        let summary = format!(
            "{}: {} changed; {}",
            applied.title,
            plural(applied.nodes as u64, "piece of work", "pieces of work"),
            applied.basis.label()
        );
        text.push_str("    ");
        text.push_str(&wrap(&summary, columns, 4));
        if let Some(error) = applied.class_error {
            let known = format!(
                "Predictions of this kind were off by at most {} on {} real pairs; the range covers that.",
                percent(error.share),
                error.pairs
            );
            text.push_str("    ");
            text.push_str(&wrap(&known, columns, 4));
        }
        for guard in &applied.guards {
            let (mark, style) = if guard.holds { ("holds", styles::DIM) } else { ("check", styles::WARN) };
            text.push_str(&format!("    {style}{mark}{style:#}  {}", wrap(&guard.text, columns, 11)));
        }
        for assumption in &applied.assumptions {
            text.push_str(&format!("    taken  {}", wrap(assumption, columns, 11)));
        }
    }
    if what.scatter_ns > 0.0 {
        text.push('\n');
        let chance = format!(
            "Steps of this recording vary so that the mean of another one may be {} off by chance, either way.",
            ms(what.scatter_ns)
        );
        note(&mut text, &chance, columns);
    }
    interactions(&mut text, report, columns);
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

/// "A step takes 121 ms instead of 152 ms (114 to 129 ms): 20 % less."
fn sentence(what: &WhatIf, steps: u64) -> String {
    let (base, band) = (what.base.mean_step_ns, what.mean_step_ns);
    let subject = if steps == 0 { "The recording" } else { "A step" };
    let change = 1.0 - band.mid / base;
    let direction = if change >= 0.0 { "less" } else { "more" };
    let samples = if (what.samples - 1.0).abs() > 1e-9 {
        let per_sample = 1.0 - band.mid / base / what.samples;
        format!(
            " It processes {} times the samples: {} {} for each.",
            what.samples,
            percent(per_sample.abs()),
            if per_sample >= 0.0 { "less time" } else { "more time" }
        )
    } else {
        String::new()
    };
    format!(
        "{subject} would take {} instead of {} ({}): {} {direction}.{samples}",
        ms(band.mid),
        ms(base),
        range(band),
        percent(change.abs())
    )
}

/// `114 to 129 ms`.
pub fn range(band: Band) -> String {
    format!("{} to {}", ms(band.low), ms(band.high))
}

fn interactions(text: &mut String, report: &WhatIfReport, columns: usize) {
    let Some(interactions) = &report.interactions else { return };
    let edits = &report.what_if.edits;
    let name = |place: usize| edits.get(place).map_or("", |edit| edit.edit.as_str()).to_owned();
    let mut table =
        Table::new([("Edit", Align::Name), ("Alone", Align::Right), ("On top of the others", Align::Right)]);
    let figure = |gain: &Option<f64>| gain.map_or_else(|| "–".to_owned(), ms);
    for (place, (alone, last)) in interactions.alone_ns.iter().zip(&interactions.last_ns).enumerate() {
        table.row([name(place), figure(alone), figure(last)]);
    }
    heading(text, &format!("Gains on the mean step, {} together", ms(interactions.joint_ns)));
    text.push_str(&table.render(columns));
    if interactions.pairs.is_empty() {
        return;
    }
    let mut table = Table::new([("Both", Align::Name), ("Together", Align::Right), ("More than alone", Align::Right)]);
    for pair in &interactions.pairs {
        let both = format!("{} + {}", name(pair.pair.0), name(pair.pair.1));
        table.row([both, ms(pair.joint_ns), ms(pair.interplay_ns)]);
    }
    heading(text, "Pairs");
    text.push_str(&table.render(columns));
}

/// All kinds of edits.
pub fn list(edits: &[EditInfo], columns: usize) -> String {
    let mut text = wrap(
        "Edits are written NAME, NAME=VALUE or NAME(ARGUMENT,…)=VALUE. Arguments are parameters and terms that select \
         work: class=gemm, kernel~REGEX, op=aten::mm, comm=all_reduce, group=NAME, rank=3, step=5, stream=7, kind=host.",
        columns,
        0,
    );
    for edit in edits {
        let strong = styles::STRONG;
        text.push_str(&format!("\n{strong}{}{strong:#}\n  ", edit.id));
        text.push_str(&wrap(&format!("{} ({}).", edit.title, edit.basis.label()), columns, 2));
        if !edit.parts.is_empty() {
            let parts: Vec<String> = edit.parts.iter().map(|part| format!("{}.{part}", edit.id)).collect();
            text.push_str(&format!("    also   {}", wrap(&parts.join(", "), columns, 11)));
        }
        if let Some(value) = edit.value {
            text.push_str(&format!("    =      {}", wrap(value, columns, 11)));
        }
        for parameter in edit.parameters {
            text.push_str(&format!("    {}\n           {}", parameter.name, wrap(parameter.help, columns, 11)));
        }
    }
    text
}
