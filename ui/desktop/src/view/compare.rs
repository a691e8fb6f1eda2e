//! What made steps longer or shorter than those of another recording, as a waterfall whose bars lead to events of both.

use egui::{
    Button, CursorIcon, FontId, Layout, ProgressBar, Rect, RichText, Role, ScrollArea, Sense, Stroke, Ui, UiBuilder,
    WidgetInfo, pos2, vec2,
};
use gapless_diff::{Detail, Diff, Evidence, Row, Sureness};
use gapless_timeline::Theme;
use gapless_timeline::theme::{fade, metrics};
use gapless_trace::Duration;

use crate::command::{Command, info};
use crate::compare::{Comparison, headline, lengths, signed_percent, steps_text, times, waterfall};
use crate::format::{exact, percent};
use crate::message::Message;
use crate::simulate::signed;
use crate::state::State;
use crate::table::paint_text;
use crate::view::top_bar::shortcut_text;
use crate::view::widgets::{fact, fill_bar, triangle};

const ROW: f32 = 24.0;
const DETAIL: f32 = 20.0;
const BAR: f32 = 14.0;
const TIME: f32 = 84.0;
const SHARE: f32 = 66.0;
const FACTS: f32 = 300.0;
/// Details of a bar that are listed.
const MOST_DETAILS: usize = 40;

/// Draws the tab.
pub fn compare_ui(ui: &mut Ui, state: &State, messages: &mut Vec<Message>) {
    let room = ui.available_rect_before_wrap();
    let inside = |ui: &mut Ui, rect: Rect, add: &mut dyn FnMut(&mut Ui)| {
        ui.scope_builder(UiBuilder::new().max_rect(rect.shrink2(vec2(14.0, 6.0))), add);
    };
    match &state.comparison {
        None => inside(ui, room, &mut |ui| none_ui(ui, state, messages)),
        Some(comparison) => match &comparison.found {
            None => inside(ui, room, &mut |ui| waiting_ui(ui, state, comparison, messages)),
            Some(found) => {
                let facts = if room.width() > 900.0 { FACTS } else { 0.0 };
                let split = room.right() - facts;
                let chart = Rect::from_min_max(room.min, pos2(split, room.bottom()));
                inside(ui, chart, &mut |ui| chart_ui(ui, state, comparison, found, messages));
                if facts > 0.0 {
                    let facts = Rect::from_min_max(pos2(split, room.top()), room.max);
                    let line = Stroke::new(1.0, state.theme.ui.hairline);
                    ui.painter().vline(facts.left(), facts.y_range().shrink(12.0), line);
                    inside(ui, facts, &mut |ui| facts_ui(ui, &state.theme, found));
                }
            }
        },
    }
    ui.advance_cursor_after_rect(room);
}

/// How to begin.
fn none_ui(ui: &mut Ui, state: &State, messages: &mut Vec<Message>) {
    let text = "Choose an earlier recording of this job: Gapless says whether steps became slower or faster, beyond \
                their noise, and splits the change over its causes";
    ui.add(egui::Label::new(RichText::new(text).color(state.theme.ui.dim)).wrap());
    ui.add_space(4.0);
    ui.horizontal_wrapped(|ui| {
        for command in [Command::CompareFiles, Command::CompareFolder, Command::ComparePath] {
            let Some(info) = info(command) else { continue };
            let button = Button::new(info.title).shortcut_text(shortcut_text(ui, info));
            if ui.add(button).accessible_name(info.title).clicked() {
                messages.push(Message::Run(command));
            }
        }
    });
    ui.add_space(4.0);
    ui.colored_label(state.theme.ui.faint, "From a shell: gapless open NEW --compare BASE");
}

fn waiting_ui(ui: &mut Ui, state: &State, comparison: &Comparison, messages: &mut Vec<Message>) {
    let colors = &state.theme.ui;
    if comparison.is_stale {
        ui.colored_label(colors.dim, "The recording has grown since it was compared");
        if let Some(info) = info(Command::CompareAgain)
            && ui.button(info.title).clicked()
        {
            messages.push(Message::Run(Command::CompareAgain));
        }
        return;
    }
    ui.horizontal(|ui| {
        ui.add(egui::Spinner::new().size(14.0));
        ui.colored_label(colors.dim, comparison.status());
    });
    let (done, total) = comparison.progress.bytes();
    if comparison.base.is_none() && total > 0 {
        let share = (done as f64 / total as f64).min(1.0) as f32;
        ui.add(ProgressBar::new(share).desired_width(280.0).desired_height(6.0).fill(colors.accent));
    }
    if ui.button("Cancel").clicked() {
        messages.push(Message::Run(Command::EndComparison));
    }
}

/// Where lengths of steps lie from left to right.
struct Scale {
    bars: Rect,
    from_ns: f64,
    to_ns: f64,
}

impl Scale {
    fn x(&self, ns: i64) -> f32 {
        let share = (ns as f64 - self.from_ns) / (self.to_ns - self.from_ns).max(1.0);
        self.bars.left() + self.bars.width() * share as f32
    }

    /// Whether the scale begins above zero, so that the bars of whole steps are cut.
    fn is_cut(&self) -> bool {
        self.from_ns > 0.0
    }
}

/// The cells of a line.
struct Cells {
    label: Rect,
    bars: Rect,
    time: Rect,
    share: Rect,
}

impl Cells {
    fn new(rect: Rect) -> Self {
        let cut = |from: f32, to: f32| Rect::from_min_max(pos2(from, rect.top()), pos2(to, rect.bottom()));
        let share = rect.right() - SHARE;
        let time = share - TIME;
        let label = rect.left() + (rect.width() * 0.32).clamp(120.0, 340.0);
        Self {
            label: cut(rect.left(), label),
            bars: cut(label + 8.0, time - 4.0),
            time: cut(time, share),
            share: cut(share, rect.right()),
        }
    }
}

fn chart_ui(ui: &mut Ui, state: &State, comparison: &Comparison, found: &Diff, messages: &mut Vec<Message>) {
    let theme = &state.theme;
    ui.spacing_mut().item_spacing.y = 1.0;
    ui.horizontal(|ui| {
        ui.label(RichText::new(headline(found)).color(theme.ui.text));
        ui.label(RichText::new(lengths(found)).color(theme.ui.dim));
    });
    let verdict = RichText::new(&found.verdict.text).size(metrics::TRACK_FONT).color(theme.ui.dim);
    ui.add(egui::Label::new(verdict).truncate());
    ui.add_space(3.0);
    let bars = waterfall(found);
    let ends = || bars.iter().flat_map(|bar| [bar.from_ns, bar.to_ns]);
    let all = || ends().chain([found.base.typical_ns, found.new.typical_ns]);
    let (least, most) = (all().min().unwrap_or_default() as f64, all().max().unwrap_or(1) as f64);
    let margin = (most - least).max(most * 0.02) * 0.25;
    // Where bars are long enough to be seen on the whole scale, it begins at zero.
    let from_ns = if least < most * 0.5 { 0.0 } else { (least - margin).max(0.0) };
    ui.spacing_mut().item_spacing.y = 0.0;
    ScrollArea::vertical().id_salt("waterfall").auto_shrink([false, false]).show(ui, |ui| {
        let width = ui.available_width() - 10.0;
        let cells = Cells::new(Rect::from_min_size(ui.next_widget_position(), vec2(width, ROW)));
        let scale = Scale { bars: cells.bars, from_ns, to_ns: most + margin * 0.2 };
        whole_ui(ui, theme, &scale, width, "Base", found.base.typical_ns);
        for bar in &bars {
            let Some(row) = found.rows.get(bar.row) else { continue };
            let piece = Some((bar.from_ns, bar.to_ns));
            row_ui(ui, theme, comparison, (bar.row, row), piece, &scale, width, messages);
        }
        whole_ui(ui, theme, &scale, width, "New", found.new.typical_ns);
        let hidden: Vec<_> = found.rows.iter().enumerate().filter(|(_, row)| row.part_ns == 0).collect();
        if !hidden.is_empty() {
            ui.add_space(4.0);
            let text = RichText::new("Changed without an effect on the step").size(metrics::BAR_FONT);
            ui.colored_label(theme.ui.faint, text);
            for (place, row) in hidden {
                row_ui(ui, theme, comparison, (place, row), None, &scale, width, messages);
            }
        }
    });
}

/// The bar of a whole step.
fn whole_ui(ui: &mut Ui, theme: &Theme, scale: &Scale, width: f32, label: &str, ns: i64) {
    let (rect, response) = ui.allocate_exact_size(vec2(width, ROW), Sense::hover());
    let cells = Cells::new(rect);
    let font = FontId::proportional(metrics::TRACK_FONT);
    paint_text(ui, cells.label, false, label, font.clone(), theme.ui.text);
    let bar = Rect::from_x_y_ranges(
        scale.bars.left()..=scale.x(ns),
        rect.center().y - BAR / 2.0..=rect.center().y + BAR / 2.0,
    );
    ui.painter().rect_filled(bar, 0.0, fade(theme.data.annotation, 0.7));
    if scale.is_cut() {
        // A step that is not drawn from zero says so.
        let stroke = Stroke::new(2.0, theme.ui.panel);
        for offset in [10.0, 15.0] {
            let x = bar.left() + offset;
            ui.painter().line_segment([pos2(x - 3.0, bar.bottom() + 1.0), pos2(x + 3.0, bar.top() - 1.0)], stroke);
        }
    }
    paint_text(ui, cells.time, true, &Duration(ns).to_string(), font, theme.ui.text);
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, format!("{label}: {} typical step", Duration(ns))));
}

/// A cause, and its details while it is open.
#[expect(clippy::too_many_arguments, reason = "a line of the waterfall needs its scale, its state and its bar")]
fn row_ui(
    ui: &mut Ui,
    theme: &Theme,
    comparison: &Comparison,
    (place, row): (usize, &Row),
    piece: Option<(i64, i64)>,
    scale: &Scale,
    width: f32,
    messages: &mut Vec<Message>,
) {
    let is_open = comparison.opened == Some(place);
    let (rect, response) = ui.allocate_exact_size(vec2(width, ROW), Sense::click());
    if is_open || response.hovered() || response.has_focus() {
        ui.painter().rect_filled(rect, 3.0, theme.ui.hover);
    }
    let cells = Cells::new(rect);
    let font = FontId::proportional(metrics::TRACK_FONT);
    let is_noise = row.sureness == Sureness::WithinNoise;
    let text = if is_noise || piece.is_none() { theme.ui.dim } else { theme.ui.text };
    triangle(ui, pos2(cells.label.left() + 5.0, rect.center().y), theme.ui.faint, !is_open);
    let label = Rect::from_min_max(pos2(cells.label.left() + 16.0, rect.top()), cells.label.max);
    paint_text(ui, label, false, &row.label(), font.clone(), text);
    if let Some((from, to)) = piece {
        let (left, right) = (scale.x(from.min(to)), scale.x(from.max(to)));
        let bar = Rect::from_x_y_ranges(
            left..=right.max(left + 1.0),
            rect.center().y - BAR / 2.0..=rect.center().y + BAR / 2.0,
        );
        // Hatched where the time of what changed varies as much from step to step.
        fill_bar(ui, theme, bar, if to > from { theme.ui.warning } else { theme.ui.good }, is_noise);
        let stroke = Stroke::new(1.0, theme.ui.faint);
        ui.painter().vline(scale.x(to), rect.center().y..=rect.bottom() + ROW / 2.0, stroke);
    }
    let part = if piece.is_some() { signed(Duration(row.part_ns)) } else { "0".to_owned() };
    paint_text(ui, cells.time, true, &part, font.clone(), text);
    paint_text(ui, cells.share, true, &signed_percent(row.share), font, theme.ui.dim);
    let doubt = match row.sureness {
        Sureness::BeyondNoise => "",
        Sureness::WithinNoise => ", within noise",
        Sureness::Unknown => ", noise unknown",
    };
    response
        .widget_info(|| WidgetInfo::selected(Role::Button, true, is_open, format!("{}: {part}{doubt}", row.label())));
    let response = response.on_hover_cursor(CursorIcon::PointingHand).on_hover_ui(|ui| {
        ui.label(format!("{}{doubt}", row.label()));
        ui.colored_label(theme.ui.dim, format!("{} of the base's typical step", percent(row.share.abs())));
        ui.colored_label(theme.ui.dim, exact(Duration(row.part_ns)));
        let text = format!("Its time over all ranks: {} → {}", Duration(row.base_ns), Duration(row.new_ns));
        ui.colored_label(theme.ui.dim, text);
    });
    if response.clicked() {
        messages.push(Message::OpenChange(place));
    }
    if !is_open {
        return;
    }
    for (number, detail) in row.details.iter().enumerate().take(MOST_DETAILS) {
        detail_ui(ui, theme, comparison, (place, number), detail, width, messages);
    }
    if row.details.len() > MOST_DETAILS {
        let more = format!("{} more with less effect: gapless diff --top", row.details.len() - MOST_DETAILS);
        ui.label(RichText::new(more).size(metrics::BAR_FONT).color(theme.ui.faint));
    }
}

fn detail_ui(
    ui: &mut Ui,
    theme: &Theme,
    comparison: &Comparison,
    (row, number): (usize, usize),
    detail: &Detail,
    width: f32,
    messages: &mut Vec<Message>,
) {
    let (rect, response) = ui.allocate_exact_size(vec2(width, DETAIL), Sense::click());
    let is_chosen = comparison.chosen == Some((row, Some(number)));
    if is_chosen || response.hovered() || response.has_focus() {
        let fill = if is_chosen { theme.ui.accent_fill } else { theme.ui.hover };
        ui.painter().rect_filled(rect, 3.0, fill);
    }
    let cells = Cells::new(rect);
    let font = FontId::proportional(metrics::TRACK_FONT);
    let name = Rect::from_min_max(pos2(cells.label.left() + 30.0, rect.top()), cells.bars.max - vec2(190.0, 0.0));
    let change = Rect::from_min_max(pos2(name.right() + 8.0, rect.top()), cells.bars.max);
    paint_text(ui, name, false, &detail.name, font.clone(), theme.ui.text);
    let text = format!("{} → {}", Duration(detail.base_ns), Duration(detail.new_ns));
    paint_text(ui, change, true, &text, font.clone(), theme.ui.dim);
    paint_text(ui, cells.time, true, &signed(Duration(detail.part_ns)), font, theme.ui.text);
    response.widget_info(|| {
        let part = signed(Duration(detail.part_ns));
        WidgetInfo::selected(Role::Button, true, is_chosen, format!("{}: {part}, {}", detail.name, times(detail)))
    });
    let response = response.on_hover_cursor(CursorIcon::PointingHand).on_hover_ui(|ui| {
        ui.set_max_width(520.0);
        ui.label(&detail.name);
        ui.colored_label(theme.ui.dim, times(detail));
        if let Some(rank) = detail.rank {
            ui.colored_label(theme.ui.dim, format!("Nearly all of it on rank {rank}"));
        }
        for evidence in detail.evidence.iter().take(3) {
            ui.colored_label(theme.ui.dim, evidence_text(evidence));
        }
        if !detail.evidence.is_empty() {
            ui.colored_label(theme.ui.faint, "Click to see it in both recordings");
        }
    });
    if response.clicked() {
        messages.push(Message::ShowChange(row, number));
    }
}

/// A pair of events in words.
fn evidence_text(evidence: &Evidence) -> String {
    let shapes = match (&evidence.base_shapes, &evidence.new_shapes) {
        (Some(base), Some(new)) => format!(" · {base} → {new}"),
        _ => String::new(),
    };
    let (base, new) = (Duration(evidence.base_ns), Duration(evidence.new_ns));
    match (evidence.base_event, evidence.new_event) {
        (Some(_), Some(_)) if evidence.base_name == evidence.new_name => {
            format!("{}: {base} → {new}{shapes}", evidence.new_name)
        }
        (Some(_), Some(_)) => format!("{} {base} → {} {new}{shapes}", evidence.base_name, evidence.new_name),
        (Some(_), None) => format!("gone: {} {base}", evidence.base_name),
        _ => format!("new: {} {new}", evidence.new_name),
    }
}

/// What the comparison rests on, and collectives.
fn facts_ui(ui: &mut Ui, theme: &Theme, found: &Diff) {
    ScrollArea::vertical().id_salt("comparison facts").auto_shrink([false, false]).show(ui, |ui| {
        ui.spacing_mut().item_spacing.y = 0.0;
        fact(ui, theme, "Steps", &steps_text(found));
        if let (Some(base), Some(new)) = (found.alignment.base_share, found.alignment.new_share) {
            let text = format!("{} and {}", percent(base), percent(new));
            fact(ui, theme, "Device time with a counterpart", &text);
        }
        if found.base.devices != found.new.devices {
            let text = format!("{} → {}", found.base.devices.join(", "), found.new.devices.join(", "));
            fact(ui, theme, "Devices", &text);
        }
        for change in &found.collectives {
            ui.add_space(4.0);
            ui.label(RichText::new(&change.name).size(metrics::TRACK_FONT).color(theme.ui.text));
            let times = |base: i64, new: i64| format!("{} → {}", Duration(base), Duration(new));
            fact(ui, theme, "transfer", &times(change.base_transfer_ns, change.new_transfer_ns));
            fact(ui, theme, "waiting", &times(change.base_wait_ns, change.new_wait_ns));
        }
        if !found.notes.is_empty() {
            ui.add_space(6.0);
        }
        for note in &found.notes {
            ui.with_layout(Layout::top_down(egui::Align::Min), |ui| {
                let text = RichText::new(note).size(metrics::TRACK_FONT).color(theme.ui.dim);
                ui.add(egui::Label::new(text).wrap());
            });
            ui.add_space(4.0);
        }
    });
}
