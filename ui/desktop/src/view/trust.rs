//! The pill that says whether the model of the trace can bear predictions, and the panel with its checks.

use egui::{
    Color32, FontId, Popup, PopupCloseBehavior, Rect, RichText, Role, ScrollArea, Sense, Stroke, Ui, WidgetInfo, pos2,
    vec2,
};
use gapless_analysis::trust::{Grade, Trust};
use gapless_timeline::Theme;
use gapless_timeline::theme::{fade, metrics};
use gapless_trace::Duration;

use crate::format::{percent, thousands};
use crate::message::Message;
use crate::state::{Loaded, State};
use crate::table::paint_text;

const WIDTH: f32 = 620.0;
const GRADE: f32 = 52.0;

/// The colour of a grade.
#[must_use]
pub const fn color_of(theme: &Theme, grade: Grade) -> Color32 {
    match grade {
        Grade::Green => theme.ui.good,
        Grade::Amber => theme.ui.warning,
        Grade::Red => theme.ui.error,
    }
}

/// Draws the pill, and below it the panel while it is open.
pub fn trust_ui(ui: &mut Ui, state: &State, loaded: &Loaded, messages: &mut Vec<Message>) {
    let Some(engine) = &loaded.engine else {
        if loaded.report.is_some() {
            ui.add(egui::Spinner::new().size(12.0)).on_hover_text("Building the execution graph");
        }
        return;
    };
    let trust = &engine.trust;
    let pill = pill_ui(ui, state, trust);
    if pill.clicked() {
        messages.push(Message::ShowTrust(!state.shows_trust));
    }
    if !state.shows_trust {
        return;
    }
    let popup = Popup::from_response(&pill).open(true).close_behavior(PopupCloseBehavior::IgnoreClicks).width(WIDTH);
    let shown = popup.show(|ui| panel_ui(ui, state, trust));
    let was_left = shown.is_some_and(|shown| shown.response.clicked_elsewhere()) && pill.clicked_elsewhere();
    if was_left || ui.input(|input| input.key_pressed(egui::Key::Escape)) {
        messages.push(Message::ShowTrust(false));
    }
}

fn pill_ui(ui: &mut Ui, state: &State, trust: &Trust) -> egui::Response {
    let theme = &state.theme;
    let color = color_of(theme, trust.grade);
    let whole = trust.measured_ns.max(1) as f64;
    let error = percent((trust.model_ns as f64 / whole - 1.0).abs());
    let figures = [
        format!("model error {error}"),
        format!("placement {}", Duration(trust.placement_median_ns)),
        format!("explained {}", percent(trust.explained)),
    ];
    // On a narrow window the grade must do.
    let room = ui.available_width();
    let parts = if trust.device_work == 0 || room < 640.0 {
        0
    } else if room < 900.0 {
        1
    } else {
        figures.len()
    };
    let mut text = format!("Trust {}", trust.grade.label());
    for figure in figures.iter().take(parts) {
        text.push_str(" · ");
        text.push_str(figure);
    }
    let font = FontId::proportional(metrics::TRACK_FONT);
    let galley = ui.painter().layout_no_wrap(text, font, color);
    let (rect, response) = ui.allocate_exact_size(vec2(galley.size().x + 32.0, 24.0), Sense::click());
    let fill = if response.hovered() || state.shows_trust { 0.24 } else { 0.13 };
    ui.painter().rect_filled(rect, 12.0, fade(color, fill));
    ui.painter().rect_stroke(rect, 12.0, Stroke::new(1.0, fade(color, 0.6)), egui::StrokeKind::Inside);
    ui.painter().circle_filled(pos2(rect.left() + 13.0, rect.center().y), 4.0, color);
    ui.painter().galley(pos2(rect.left() + 22.0, rect.center().y - galley.size().y / 2.0), galley, color);
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("Trust: {}", trust.grade.label())));
    response.on_hover_text("How far the model is from the recording; click for all checks")
}

fn panel_ui(ui: &mut Ui, state: &State, trust: &Trust) {
    let theme = &state.theme;
    let colors = &theme.ui;
    ui.set_width(WIDTH);
    ui.spacing_mut().item_spacing.y = 3.0;
    ui.add_space(4.0);
    let verdict = match trust.refusal() {
        None => format!("The model of this recording is {}: predictions are made", trust.grade.label()),
        Some(_) => format!("The model of this recording is {}: predictions are refused", trust.grade.label()),
    };
    ui.label(RichText::new(verdict).size(metrics::TITLE_FONT).color(colors.text));
    let size = format!(
        "{} nodes, {} edges. A replay of the recording by its own rules is held against the recording",
        thousands(trust.nodes),
        thousands(trust.edges)
    );
    ui.add(egui::Label::new(RichText::new(size).size(metrics::TRACK_FONT).color(colors.dim)).wrap());
    ui.add_space(4.0);
    let height = (ui.ctx().content_rect().height() - 240.0).max(120.0);
    ScrollArea::vertical().max_height(height).min_scrolled_height(height).auto_shrink([false, true]).show(ui, |ui| {
        for check in &trust.checks {
            ui.horizontal(|ui| {
                let color = color_of(theme, check.grade);
                let (rect, response) = ui.allocate_exact_size(vec2(GRADE, 18.0), Sense::hover());
                ui.painter().circle_filled(pos2(rect.left() + 6.0, rect.center().y), 4.0, color);
                let text = Rect::from_min_max(pos2(rect.left() + 16.0, rect.top()), rect.max);
                let font = FontId::proportional(metrics::TRACK_FONT);
                paint_text(ui, text, false, check.grade.label(), font, color);
                response.widget_info(|| {
                    WidgetInfo::labeled(Role::Label, true, format!("{}: {}", check.grade.label(), check.text))
                });
                ui.add(egui::Label::new(RichText::new(&check.text).size(metrics::TRACK_FONT).color(colors.text)).wrap());
            });
        }
        heading(ui, theme, "Steps");
        table(
            ui,
            theme,
            &["step", "measured", "model", "off by", "path explained"],
            trust.steps.iter().take(12).map(|step| {
                vec![
                    step.name.clone(),
                    Duration(step.measured_ns).to_string(),
                    Duration(step.model_ns).to_string(),
                    format!("{:+.2} %", step.error * 100.0),
                    percent(step.explained),
                ]
            }),
        );
        if trust.steps.len() > 12 {
            ui.label(
                RichText::new(format!("and {} further steps", trust.steps.len() - 12))
                    .size(metrics::BAR_FONT)
                    .color(colors.faint),
            );
        }
        heading(ui, theme, "What waits for what");
        table(
            ui,
            theme,
            &["order by", "edges", "inferred", "contradicted", "alike to 20 µs"],
            trust.edge_kinds.iter().map(|row| {
                let class = trust.inferred.iter().find(|class| class.kind == row.kind);
                let some = |value: u64| if value > 0 { thousands(value) } else { String::new() };
                vec![
                    row.kind.label().to_owned(),
                    thousands(row.report.edges),
                    some(row.report.inferred),
                    some(row.report.contradicted + row.report.circular),
                    class.map_or_else(String::new, |class| percent(class.within_20us)),
                ]
            }),
        );
        if trust.unexplained_count > 0 {
            ui.add_space(6.0);
            let text = format!(
                "{} delays of {} in all have no explanation in the recording; they are hatched on the streams and stay in \
                 every prediction",
                thousands(trust.unexplained_count),
                Duration(trust.unexplained_ns)
            );
            ui.add(egui::Label::new(RichText::new(text).size(metrics::TRACK_FONT).color(colors.dim)).wrap());
        }
    });
    ui.add_space(4.0);
}

fn heading(ui: &mut Ui, theme: &Theme, text: &str) {
    ui.add_space(8.0);
    ui.label(RichText::new(text).color(theme.ui.text));
}

/// A small table: names at the left, numbers at the right.
fn table(ui: &mut Ui, theme: &Theme, titles: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let font = FontId::proportional(metrics::TRACK_FONT);
    let width = ui.available_width();
    let name = width * 0.32;
    let other = (width - name) / titles.len().saturating_sub(1).max(1) as f32;
    let line = |ui: &mut Ui, cells: &[&str], color: Color32| {
        let (rect, _) = ui.allocate_exact_size(vec2(width, 18.0), Sense::hover());
        for (place, cell) in cells.iter().enumerate() {
            let left = if place == 0 { rect.left() } else { rect.left() + name + other * (place as f32 - 1.0) };
            let right = if place == 0 { rect.left() + name } else { left + other };
            let cell_rect = Rect::from_min_max(pos2(left, rect.top()), pos2(right - 8.0, rect.bottom()));
            paint_text(ui, cell_rect, place > 0, cell, font.clone(), color);
        }
    };
    line(ui, titles, theme.ui.faint);
    for row in rows {
        let cells: Vec<&str> = row.iter().map(String::as_str).collect();
        line(ui, &cells, theme.ui.dim);
    }
}
