//! What takes the most time, by name: kernels, or operators where there is no device.

use egui::{CursorIcon, FontId, Rect, Role, Sense, Ui, WidgetInfo, pos2, vec2};
use gapless_analysis::{Tables, WorkClass};
use gapless_timeline::Theme;
use gapless_timeline::theme::{metrics, mix};
use gapless_trace::{Duration, EventKind, Rank};

use crate::BottomTab;
use crate::format::percent;
use crate::message::Message;
use crate::state::{Loaded, State};
use crate::table::paint_text;
use crate::tables::kernel_name;
use crate::view::widgets::{link, title};

const ROW: f32 = 22.0;
const NUMBER: f32 = 64.0;

/// A line of the list.
struct Entry<'a> {
    name: &'a str,
    short: String,
    kind: EventKind,
    time_ns: i64,
    /// Part of the sum over all names, 0 to 1.
    share: f64,
}

/// The `most` kernels of the rank of the tables with the most time, the largest first; operators by their own time on
/// the host if there is no device work.
fn entries<'a>(tables: &'a Tables, has_device: bool, most: usize) -> Vec<Entry<'a>> {
    if has_device {
        let kind_of = |class| match class {
            WorkClass::Compute => EventKind::Kernel,
            WorkClass::Communication => EventKind::Collective,
            WorkClass::Copy => EventKind::Memcpy,
            WorkClass::Other => EventKind::Other,
        };
        let mut rows: Vec<_> = tables.kernels.iter().collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.stats.sum_ns));
        let entry = |row: &'a gapless_analysis::KernelRow| Entry {
            name: &row.name,
            short: kernel_name(&row.name),
            kind: kind_of(row.class),
            time_ns: row.stats.sum_ns,
            share: row.share,
        };
        return rows.into_iter().take(most).map(entry).collect();
    }
    let sum: i64 = tables.operators.iter().map(|row| row.host_self_ns).sum();
    let mut rows: Vec<_> = tables.operators.iter().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.host_self_ns));
    let entry = |row: &'a gapless_analysis::OperatorRow| Entry {
        name: &row.name,
        short: row.name.clone(),
        kind: EventKind::Operator,
        time_ns: row.host_self_ns,
        share: row.host_self_ns as f64 / sum.max(1) as f64,
    };
    rows.into_iter().take(most).map(entry).collect()
}

/// Shortens beginnings that names share, for what tells them apart would be cut off at their ends.
fn tell_apart(entries: &mut [Entry<'_>]) {
    /// Shorter beginnings leave enough room for the rest.
    const LONG: usize = 18;
    const KEPT: usize = 8;
    /// Shorter names are seen whole.
    const FITS: usize = 26;
    let names: Vec<Vec<char>> = entries.iter().map(|entry| entry.short.chars().collect()).collect();
    for (place, entry) in entries.iter_mut().enumerate() {
        let Some(own) = names.get(place) else { continue };
        let shared = |other: &Vec<char>| own.iter().zip(other).take_while(|(a, b)| a == b).count();
        let others = names.iter().enumerate().filter(|(other, _)| *other != place);
        let common = others.map(|(_, other)| shared(other)).max().unwrap_or_default().min(own.len());
        // The rest begins with a whole word.
        let is_word = |at: &usize| own.get(*at).is_some_and(|c| c.is_alphanumeric());
        let begin = (1..=common).rev().find(|at| is_word(at) && !is_word(&(at - 1))).unwrap_or(common);
        if own.len() > FITS && begin >= LONG && begin < own.len() {
            let kept = own.iter().take(KEPT);
            entry.short = kept.chain(std::iter::once(&'…')).chain(own.iter().skip(begin)).collect();
        }
    }
}

/// Draws the section: at most `most` lines. Says so where there is nothing to list.
pub fn largest_ui(ui: &mut Ui, state: &State, loaded: &Loaded, most: usize, messages: &mut Vec<Message>) {
    let colors = &state.theme.ui;
    let rank = loaded.report.as_ref().and_then(|report| report.analysis.ranks.get(loaded.table_rank.index()));
    let Some(rank) = rank else { return };
    let has_device = loaded.has_device_work();
    let (heading, tab) = if has_device {
        ("Largest kernels", BottomTab::Kernels)
    } else {
        ("Operators on the host", BottomTab::Operators)
    };
    ui.horizontal(|ui| {
        title(ui, &state.theme, heading);
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            let ranks = loaded.trace.ranks().len();
            let of = loaded.trace.rank(loaded.table_rank).filter(|_| ranks > 1).map(Rank::label);
            let text = of.map_or_else(|| "whole recording".to_owned(), |rank| format!("{rank}, whole recording"));
            ui.add(egui::Label::new(egui::RichText::new(text).color(colors.dim)).truncate());
        });
    });
    let mut entries = entries(&rank.tables, has_device, most);
    tell_apart(&mut entries);
    if entries.is_empty() {
        ui.colored_label(colors.dim, "The file names no operators; look at the ranges on the timeline");
        return;
    }
    ui.scope(|ui| {
        ui.spacing_mut().item_spacing.y = 0.0;
        for entry in &entries {
            entry_ui(ui, &state.theme, loaded, entry, messages);
        }
    });
    let count = if has_device { rank.tables.kernels.len() } else { rank.tables.operators.len() };
    if count > entries.len() {
        let text = format!("All {}", crate::format::counted(count as u64, "name", "names"));
        if link(ui, &text, metrics::TRACK_FONT, colors.text, &text).clicked() {
            messages.push(Message::ShowTab(tab));
        }
    }
}

fn entry_ui(ui: &mut Ui, theme: &Theme, loaded: &Loaded, entry: &Entry<'_>, messages: &mut Vec<Message>) {
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::click());
    let color = theme.kind(entry.kind);
    // The share as a bar behind the name: long names and numbers keep their places.
    let split = rect.right() - 2.0 * NUMBER + 8.0;
    let width = (split - rect.left()) * entry.share.clamp(0.0, 1.0) as f32;
    let bar = Rect::from_min_size(rect.min, vec2(width, ROW)).shrink2(vec2(0.0, 1.0));
    let ground = if response.hovered() { theme.ui.hover } else { theme.ui.panel };
    ui.painter().rect_filled(rect.shrink2(vec2(0.0, 1.0)), 0.0, ground);
    ui.painter().rect_filled(bar, 0.0, mix(color, ground, 0.72));
    ui.painter().rect_filled(Rect::from_min_size(bar.min, vec2(2.0, bar.height())), 0.0, color);
    let font = FontId::proportional(metrics::TRACK_FONT);
    let left = Rect::from_min_max(pos2(rect.left() + 8.0, rect.top()), pos2(split - 4.0, rect.bottom()));
    paint_text(ui, left, false, &entry.short, font.clone(), theme.ui.text);
    let time = Duration(entry.time_ns).to_string();
    let middle = Rect::from_min_max(pos2(split, rect.top()), pos2(rect.right() - NUMBER + 8.0, rect.bottom()));
    paint_text(ui, middle, true, &time, font.clone(), theme.ui.text);
    let right = Rect::from_min_max(pos2(middle.right(), rect.top()), rect.max);
    paint_text(ui, right, true, &percent(entry.share), font, theme.ui.dim);
    response.widget_info(|| WidgetInfo::labeled(Role::Link, true, format!("{}: {time}", entry.short)));
    let response = response.on_hover_cursor(CursorIcon::PointingHand).on_hover_ui(|ui| {
        ui.set_max_width(520.0);
        ui.label(entry.name);
        ui.colored_label(theme.ui.dim, "Click to light up its events");
    });
    if response.clicked() {
        messages.push(Message::ShowName(Some(loaded.table_rank), entry.name.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_one_beginning_show_their_ends() {
        let names = [
            "vectorized_elementwise_kernel<4, add<float>>",
            "vectorized_elementwise_kernel<4, relu>",
            "volta_sgemm_128x64_nn",
            "volta_sgemm_128x64_nt",
        ];
        let entry = |name: &'static str| Entry {
            name,
            short: name.to_owned(),
            kind: EventKind::Kernel,
            time_ns: 1,
            share: 0.1,
        };
        let mut entries = names.map(entry);
        tell_apart(&mut entries);
        assert_eq!(
            entries.map(|entry| entry.short),
            ["vectoriz…add<float>>", "vectoriz…relu>", "volta_sgemm_128x64_nn", "volta_sgemm_128x64_nt"]
        );
    }
}
