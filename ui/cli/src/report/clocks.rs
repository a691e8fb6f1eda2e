//! The text of `gapless clocks`.

use gapless_analysis::{ClockAlignment, ClockSource, RankClock};
use gapless_trace::Duration;

use super::{heading, note, plural, warnings_summary, wrap};
use crate::commands::clocks::ClocksReport;
use crate::text::{Align, Table, count};

/// The report in `columns` columns.
pub fn render(report: &ClocksReport, columns: usize) -> String {
    let mut text = wrap(&headline(&report.clocks), columns, 0);
    ranks(&mut text, &report.clocks, columns);
    devices(&mut text, &report.clocks, columns);
    warnings_summary(&mut text, &report.warnings, columns);
    text
}

fn headline(clocks: &ClockAlignment) -> String {
    let alone = clocks.ranks.iter().filter(|clock| clock.source == ClockSource::NotAligned).count();
    let aligned = clocks.ranks.len() - alone;
    let ranks = plural(clocks.ranks.len() as u64, "rank", "ranks");
    if clocks.ranks.len() < 2 {
        return format!("{ranks}: there is no other clock to compare with");
    }
    if aligned == 0 {
        return format!(
            "{ranks} whose clocks cannot be aligned: no collective is seen by two of them. Times of different ranks are \
             as the files have them"
        );
    }
    let worst = clocks.ranks.iter().map(|clock| clock.error_ns).fold(0.0, f64::max);
    let groups = clocks.components.iter().filter(|component| component.ranks > 1).count();
    let several = if groups > 1 { format!(" in {groups} groups that share no rank") } else { String::new() };
    let rest =
        if alone > 0 { format!("; {} not", plural(alone as u64, "rank is", "ranks are")) } else { String::new() };
    format!("{aligned} of {ranks} are aligned{several} to ± {} or better{rest}", Duration(worst.round() as i64))
}

/// A rank's name in tables.
pub(super) fn name(clock: &RankClock) -> String {
    clock.number.map_or_else(|| format!("#{}", clock.rank.0), |number| number.to_string())
}

fn signed(ns: i64) -> String {
    if ns > 0 { format!("+{}", Duration(ns)) } else { Duration(ns).to_string() }
}

fn ranks(text: &mut String, clocks: &ClockAlignment, columns: usize) {
    let mut table = Table::new([
        ("Rank", Align::Right),
        ("Group", Align::Right),
        ("Host", Align::Name),
        ("Offset from", Align::Left),
        ("Offset", Align::Right),
        ("±", Align::Right),
        ("Drift", Align::Right),
        ("At least", Align::Right),
        ("At most", Align::Right),
        ("Collectives", Align::Right),
        ("Halves differ", Align::Right),
    ]);
    let several = clocks.components.len() > 1;
    for clock in &clocks.ranks {
        let is_aligned = clock.source != ClockSource::NotAligned;
        let shown = |value: String| if is_aligned { value } else { String::new() };
        table.row([
            name(clock),
            if several { (clock.component + 1).to_string() } else { String::new() },
            clock.host.clone().unwrap_or_default(),
            match clock.source {
                ClockSource::Reference => "reference",
                ClockSource::SharedHost => "shared host clock",
                ClockSource::Collectives => "collectives",
                ClockSource::NotAligned => "not aligned",
            }
            .to_owned(),
            shown(signed(clock.offset_ns)),
            shown(Duration(clock.error_ns.round() as i64).to_string()),
            if clock.drift == 0.0 { String::new() } else { format!("{:+.2} ppm", clock.drift * 1e6) },
            clock.bounds_ns.map(|bounds| signed(bounds.0)).unwrap_or_default(),
            clock.bounds_ns.map(|bounds| signed(bounds.1)).unwrap_or_default(),
            shown(count(clock.collectives)),
            clock
                .held_out_ns
                .filter(|_| clock.source != ClockSource::Reference)
                .map(|ns| Duration(ns.round() as i64).to_string())
                .unwrap_or_default(),
        ]);
    }
    heading(text, "Clocks of ranks");
    text.push_str(&table.without_empty_columns().render(columns));
    let contradictions: u64 = clocks.components.iter().map(|component| component.contradictions).sum();
    if contradictions > 0 {
        let what = format!(
            "{} contradict the others (somebody ends before another begins, at any difference of clocks) and were left out",
            plural(contradictions, "collective", "collectives")
        );
        note(text, &what, columns);
    }
    note(
        text,
        "The offset is what a rank's clock shows minus the reference. Causality proves that it lies between 'at least' and \
         'at most'; ± is one standard deviation of the estimate from the ends of collectives",
        columns,
    );
}

fn devices(text: &mut String, clocks: &ClockAlignment, columns: usize) {
    let mut table = Table::new([
        ("Rank", Align::Right),
        ("Shortest delay", Align::Right),
        ("Correction", Align::Right),
        ("Drift", Align::Right),
        ("Seconds seen", Align::Right),
    ]);
    let corrected = clocks.ranks.iter().filter(|clock| clock.device.is_corrected);
    for clock in corrected {
        let windows = &clock.device.windows;
        let delay = windows.iter().map(|window| window.least_delay_ns).min();
        let most = windows.iter().map(|window| window.correction_ns).max_by_key(|ns| ns.saturating_abs());
        table.row([
            name(clock),
            delay.map(signed).unwrap_or_default(),
            most.map(|ns| format!("up to {}", signed(ns))).unwrap_or_default(),
            if clock.device.drift == 0.0 { String::new() } else { format!("{:+.2} ppm", clock.device.drift * 1e6) },
            count(windows.len() as u64),
        ]);
    }
    if table.is_empty() {
        return;
    }
    heading(text, "Clocks of devices that disagree with their host");
    text.push_str(&table.without_empty_columns().render(columns));
    note(text, "A negative delay is work that seems to begin before its launch; it was shifted", columns);
}
