//! Collectives over ranks: each with its arrivals, and what their transfers cost by size.

use egui::{
    Align2, Color32, FontId, Pos2, Rect, RichText, Role, ScrollArea, Sense, Stroke, Ui, WidgetInfo, pos2, vec2,
};
use gapless_analysis::{CollectiveCost, TimedCollective};
use gapless_timeline::Theme;
use gapless_timeline::theme::{fade, metrics};
use gapless_trace::{Duration, EventKind, Timestamp};

use crate::engine::Engine;
use crate::engine_rows::INSTANCES;
use crate::format::{bytes, duration_f64, percent, three_figures};
use crate::message::Message;
use crate::state::{Loaded, State};
use crate::table::{TableId, TableView, paint_text};
use crate::view::widgets::fill_bar;

/// Draws the tab.
pub fn collectives_ui(ui: &mut Ui, state: &State, loaded: &Loaded, engine: &Engine, messages: &mut Vec<Message>) {
    let room = ui.available_rect_before_wrap();
    if engine.instances.is_empty() {
        ui.scope_builder(egui::UiBuilder::new().max_rect(room.shrink2(vec2(14.0, 8.0))), |ui| {
            ui.colored_label(state.theme.ui.dim, "No communication in this trace");
        });
        return;
    }
    let split = |share: f32| room.left() + room.width() * share;
    let part = |from: f32, to: f32| Rect::from_min_max(pos2(split(from), room.top()), pos2(split(to), room.bottom()));
    let (table, skew, plot) = (part(0.0, 0.53), part(0.53, 0.77), part(0.77, 1.0));
    ui.scope_builder(egui::UiBuilder::new().max_rect(table.shrink2(vec2(8.0, 0.0))).id_salt("instances"), |ui| {
        ui.set_clip_rect(table.intersect(ui.clip_rect()));
        table_ui(ui, state, loaded, engine, messages);
    });
    for area in [skew, plot] {
        ui.painter().vline(area.left(), area.y_range().shrink(12.0), Stroke::new(1.0, state.theme.ui.hairline));
    }
    ui.scope_builder(egui::UiBuilder::new().max_rect(skew.shrink2(vec2(14.0, 8.0))).id_salt("skew"), |ui| {
        ui.set_clip_rect(skew.intersect(ui.clip_rect()));
        let chosen = loaded.chosen_collective.and_then(|place| engine.collectives.collectives.get(place));
        match chosen {
            Some(timed) => skew_ui(ui, state, loaded, timed, messages),
            None => {
                ui.colored_label(state.theme.ui.dim, "Choose a collective to see who came when");
            }
        }
    });
    ui.scope_builder(egui::UiBuilder::new().max_rect(plot.shrink2(vec2(14.0, 8.0))).id_salt("bandwidth"), |ui| {
        ui.set_clip_rect(plot.intersect(ui.clip_rect()));
        bandwidth_ui(ui, &state.theme, &engine.collectives.costs);
    });
    ui.advance_cursor_after_rect(room);
}

fn table_ui(ui: &mut Ui, state: &State, loaded: &Loaded, engine: &Engine, messages: &mut Vec<Message>) {
    let theme = &state.theme;
    TableView {
        id: TableId::Instances,
        columns: INSTANCES,
        rows: &engine.instances,
        order: loaded.orders.get(TableId::Instances.index()).map_or(&[][..], Vec::as_slice),
        sort: state.sorts.get(TableId::Instances.index()).copied().unwrap_or_default(),
        mark: &|row| {
            let is_chosen = loaded.chosen_collective == Some(row.place);
            Some(if is_chosen { theme.ui.accent } else { theme.kind(EventKind::Collective) })
        },
        click: &|row| Message::ShowCollective(row.place),
        without: if loaded.trace.ranks().len() > 1 { &[] } else { &["arrivals", "last"] },
        empty: "No communication in this trace",
    }
    .show(ui, theme, messages);
}

/// Arrivals of the members: hatched while they wait, solid while data moves.
fn skew_ui(ui: &mut Ui, state: &State, loaded: &Loaded, timed: &TimedCollective, messages: &mut Vec<Message>) {
    const ROW: f32 = 18.0;
    const LABEL: f32 = 52.0;
    const NUMBER: f32 = 66.0;
    let theme = &state.theme;
    let (instance, timing) = (&timed.instance, &timed.timing);
    let what = format!("{} in {}", instance.kind.label(), instance.group);
    ui.add(egui::Label::new(RichText::new(what).color(theme.ui.text)).truncate());
    let size = instance.bytes.map_or_else(String::new, |size| format!("{}, ", bytes(size)));
    let moved = if timing.is_estimated { "about " } else { "" };
    let text = format!(
        "{size}arrivals within {}, transfer {moved}{}",
        Duration(timing.arrival_spread_ns),
        Duration(timing.transfer_ns)
    );
    ui.add(egui::Label::new(RichText::new(text).size(metrics::BAR_FONT).color(theme.ui.dim)).truncate());
    let span = instance.span();
    let whole = span.duration().0.max(1) as f32;
    ui.spacing_mut().item_spacing.y = 0.0;
    ScrollArea::vertical().id_salt("arrivals").auto_shrink([false, false]).show_rows(
        ui,
        ROW,
        instance.members.len(),
        |ui, range| {
            for place in range {
                let Some(member) = instance.members.get(place) else { continue };
                let wait = timing.waits_ns.get(place).copied().unwrap_or_default();
                let label = loaded.trace.rank(member.rank).map(gapless_trace::Rank::label).unwrap_or_default();
                let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::click());
                if response.hovered() || response.has_focus() {
                    ui.painter().rect_filled(rect, 3.0, theme.ui.hover);
                }
                let font = FontId::proportional(metrics::BAR_FONT);
                let is_last = timing.last == Some(member.rank);
                let color = if is_last { theme.ui.warning } else { theme.ui.dim };
                let name = Rect::from_min_max(rect.min, pos2(rect.left() + LABEL, rect.bottom()));
                paint_text(ui, name, false, &label, font.clone(), color);
                let bar = Rect::from_min_max(
                    pos2(rect.left() + LABEL, rect.top() + 3.0),
                    pos2(rect.right() - NUMBER, rect.bottom() - 3.0),
                );
                let x = |at: Timestamp| bar.left() + bar.width() * (at - span.start).0 as f32 / whole;
                let begins = member.start + Duration(wait);
                let piece = |from: f32, to: f32| {
                    Rect::from_min_max(pos2(from, bar.top()), pos2(to.max(from + 1.0), bar.bottom()))
                };
                if wait > 0 {
                    fill_bar(ui, theme, piece(x(member.start), x(begins)), theme.ui.waiting, true);
                }
                ui.painter().rect_filled(piece(x(begins), x(member.end)), 0.0, theme.kind(EventKind::Collective));
                let number = Rect::from_min_max(pos2(rect.right() - NUMBER, rect.top()), rect.max);
                let text = if is_last { "last".to_owned() } else { Duration(wait).to_string() };
                paint_text(ui, number, true, &text, font, color);
                let name = format!("{label} waits {} for the last", Duration(wait));
                response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &name));
                if response.on_hover_text(format!("{name}; click to select its event")).clicked() {
                    messages.push(Message::Select(member.event));
                }
            }
        },
    );
}

/// Bus bandwidth against size, both logarithmic: a dot for each size, a line for each fitted model.
fn bandwidth_ui(ui: &mut Ui, theme: &Theme, costs: &[CollectiveCost]) {
    ui.label(RichText::new("Bus bandwidth by size").color(theme.ui.text));
    let points: Vec<(usize, f64, f64)> = costs
        .iter()
        .enumerate()
        .flat_map(|(group, cost)| {
            cost.sizes.iter().filter_map(move |size| Some((group, size.bytes? as f64, size.bus_gb_per_s?)))
        })
        .filter(|&(_, size, rate)| size > 0.0 && rate > 0.0)
        .collect();
    if points.is_empty() {
        let text = "The trace does not tell sizes, or not how many ranks its groups have";
        ui.add(egui::Label::new(RichText::new(text).size(metrics::TRACK_FONT).color(theme.ui.dim)).wrap());
        return;
    }
    let colors = [
        theme.kind(EventKind::Collective),
        theme.kind(EventKind::Kernel),
        theme.kind(EventKind::Memcpy),
        theme.kind(EventKind::Operator),
    ];
    let color = |group: usize| colors.get(group % colors.len()).copied().unwrap_or(theme.ui.text);
    let models: Vec<(usize, &CollectiveCost)> =
        costs.iter().enumerate().filter(|(group, _)| points.iter().any(|point| point.0 == *group)).collect();
    let legend = 15.0 * models.len().min(4) as f32;
    let height = (ui.available_height() - legend - 6.0).max(60.0);
    let (area, response) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::hover());
    let plot = Rect::from_min_max(area.min + vec2(56.0, 4.0), area.max - vec2(6.0, 16.0));
    let extent = |values: &dyn Fn(&(usize, f64, f64)) -> f64| {
        let least = points.iter().map(values).fold(f64::INFINITY, f64::min);
        let most = points.iter().map(values).fold(0.0, f64::max);
        ((least / 1.6).log10(), (most * 1.6).log10())
    };
    let (x_range, y_range) = (extent(&|point| point.1), extent(&|point| point.2));
    let share = |value: f64, (from, to): (f64, f64)| ((value.log10() - from) / (to - from).max(1e-9)) as f32;
    let at = |size: f64, rate: f64| -> Pos2 {
        pos2(plot.left() + plot.width() * share(size, x_range), plot.bottom() - plot.height() * share(rate, y_range))
    };
    let painter = ui.painter_at(area);
    let font = FontId::proportional(metrics::BAR_FONT);
    for power in (y_range.0.ceil() as i32)..=(y_range.1.floor() as i32) {
        let rate = 10_f64.powi(power);
        let y = at(1.0, rate).y;
        painter.hline(plot.x_range(), y, Stroke::new(1.0, theme.ui.hairline));
        painter.text(pos2(plot.left() - 6.0, y), Align2::RIGHT_CENTER, rate_text(rate), font.clone(), theme.ui.dim);
    }
    let powers = (x_range.0.ceil() as i32)..=(x_range.1.floor() as i32);
    let stride = ((powers.clone().count() as f32 * 52.0 / plot.width().max(1.0)).ceil() as usize).max(1);
    for power in powers.step_by(stride) {
        let size = 10_f64.powi(power);
        let x = at(size, 1.0).x;
        painter.vline(x, plot.y_range(), Stroke::new(1.0, theme.ui.hairline));
        painter.text(pos2(x, plot.bottom() + 3.0), Align2::CENTER_TOP, bytes(size as u64), font.clone(), theme.ui.dim);
    }
    for &(group, cost) in &models {
        if let (Some(model), Some(factor)) = (cost.model, cost.ranks.map(|ranks| cost.kind.bus_factor(ranks))) {
            let of_group = || points.iter().filter(|point| point.0 == group).map(|point| point.1);
            let (least, most) =
                (of_group().fold(f64::INFINITY, f64::min).log10(), of_group().fold(0.0, f64::max).log10());
            let line: Vec<Pos2> = (0..=40)
                .map(|step| {
                    let size = 10_f64.powf(least + (most - least) * f64::from(step) / 40.0);
                    at(size, factor * size / model.transfer_ns(size as u64, factor).max(1.0))
                })
                .collect();
            painter.line(line, Stroke::new(1.5, fade(color(group), 0.7)));
        }
    }
    for &(group, size, rate) in &points {
        painter.circle_filled(at(size, rate), 3.5, color(group));
    }
    let name = format!("Bus bandwidth against size, {} points", points.len());
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &name));
    response.on_hover_text("Each dot is the median transfer of one size; lines are the fitted α + bytes ÷ bandwidth");
    for &(group, cost) in models.iter().take(4) {
        legend_ui(ui, theme, color(group), cost);
    }
}

fn legend_ui(ui: &mut Ui, theme: &Theme, color: Color32, cost: &CollectiveCost) {
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 14.0), Sense::hover());
    ui.painter().circle_filled(pos2(rect.left() + 5.0, rect.center().y), 3.5, color);
    let text = match cost.model {
        Some(model) => format!(
            "{}: α {} + {} GB/s, off {}",
            cost.kind.label(),
            duration_f64(model.alpha_ns),
            three_figures(model.bus_gb_per_s),
            percent(model.mean_error_share)
        ),
        None => format!("{}: too few sizes for a model", cost.kind.label()),
    };
    let cell = Rect::from_min_max(pos2(rect.left() + 14.0, rect.top()), rect.max);
    paint_text(ui, cell, false, &text, FontId::proportional(metrics::BAR_FONT), theme.ui.dim);
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, &text));
    response.on_hover_text(format!("{} in {}", cost.kind.label(), cost.group));
}

fn rate_text(gb_per_s: f64) -> String {
    if gb_per_s >= 1.0 { format!("{gb_per_s:.0} GB/s") } else { format!("{:.0} MB/s", gb_per_s * 1e3) }
}
