//! Where the time of each rank went, as bars with numbers that lead to the time they count.

use egui::{CursorIcon, FontId, Rect, RichText, Role, ScrollArea, Sense, Stroke, Ui, WidgetInfo, pos2, vec2};
use gapless_analysis::{HostParts, Partition, StepBreakdown};
use gapless_timeline::theme::{metrics, mix};
use gapless_trace::Duration;

use crate::format::{duration_f64, exact, percent};
use crate::message::Message;
use crate::part::{HostPart, Part};
use crate::state::{Loaded, RankRow, State, Window, WindowView};
use crate::view::largest;
use crate::view::summary::bar_font;
use crate::view::widgets::{fact, fill_bar, link};

const ROW: f32 = 24.0;
const BAR: f32 = 18.0;
const LABEL: f32 = 84.0;
const TOTAL: f32 = 76.0;
const FACTS: f32 = 264.0;
/// Below this width a segment has no number in it.
const MIN_NUMBER: f32 = 52.0;

/// Draws the tab.
pub fn breakdown_ui(ui: &mut Ui, state: &State, loaded: &Loaded, view: &WindowView, messages: &mut Vec<Message>) {
    let room = ui.available_rect_before_wrap();
    if !loaded.has_device_work() && view.rows.iter().all(|row| row.host.is_none()) {
        ui.scope_builder(egui::UiBuilder::new().max_rect(room.shrink2(vec2(14.0, 8.0))), |ui| {
            ui.colored_label(
                state.theme.ui.dim,
                "No device work and no thread to break down; this is what the host did instead",
            );
            ui.add_space(metrics::SPACE);
            ScrollArea::vertical().auto_shrink([false, false]).show(ui, |ui| {
                largest::largest_ui(ui, state, loaded, 20, messages);
            });
        });
        return;
    }
    // On a narrow window the bars need the room; the facts are in the panel on the right too.
    let facts_width = if room.width() > 900.0 { FACTS } else { 0.0 };
    let chart = Rect::from_min_max(room.min, pos2(room.right() - facts_width, room.bottom()));
    ui.scope_builder(egui::UiBuilder::new().max_rect(chart.shrink2(vec2(14.0, 8.0))), |ui| {
        chart_ui(ui, state, loaded, view, messages);
    });
    if facts_width > 0.0 {
        let facts = Rect::from_min_max(pos2(chart.right(), room.top()), room.max);
        ui.painter().vline(facts.left(), facts.y_range().shrink(12.0), Stroke::new(1.0, state.theme.ui.hairline));
        ui.scope_builder(egui::UiBuilder::new().max_rect(facts.shrink2(vec2(18.0, 8.0))), |ui| {
            // However many there are, the panel keeps its height.
            ScrollArea::vertical().id_salt("facts").auto_shrink([false, false]).show(ui, |ui| {
                facts_ui(ui, state, loaded, view);
            });
        });
    }
    ui.advance_cursor_after_rect(room);
}

/// A line with a bar.
struct Line<'a> {
    label: &'a str,
    /// What the label does, and says that it does.
    label_message: Message,
    label_name: String,
    partition: &'a Partition,
    host: Option<&'a HostParts>,
    /// How much of the exposed communication waits for late ranks.
    waiting: Duration,
    /// What the bar consists of.
    parts: &'static [Part],
    /// What a click on a part does.
    part_message: &'a dyn Fn(Part) -> Message,
    /// Tells lines apart.
    id: (u32, usize),
    is_faint: bool,
}

fn chart_ui(ui: &mut Ui, state: &State, loaded: &Loaded, view: &WindowView, messages: &mut Vec<Message>) {
    legend_ui(ui, state, loaded, view);
    ui.add_space(metrics::SPACE);
    // One rank alone is best compared with itself: its steps stand in the place of ranks.
    let analysis = loaded.report.as_ref().map(|report| &report.analysis);
    let alone = analysis.and_then(|analysis| analysis.ranks.first()).filter(|_| loaded.trace.ranks().len() == 1);
    let steps = alone.map(|rank| rank.steps.as_slice()).filter(|steps| steps.len() > 1).unwrap_or_default();
    let rows = match loaded.window {
        Window::Step(_) if !steps.is_empty() => &[],
        _ => view.rows.as_slice(),
    };
    let of_rows = rows.iter().map(|row| row.partition.duration_ns).max().unwrap_or_default().max(1);
    let of_steps = steps.iter().map(|step| step.partition.duration_ns).max().unwrap_or_default().max(1);
    ui.spacing_mut().item_spacing.y = 0.0;
    let area = ScrollArea::vertical().id_salt("breakdown rows").auto_shrink([false, false]);
    area.show_rows(ui, ROW, rows.len() + steps.len(), |ui, range| {
        for place in range {
            if let Some(row) = rows.get(place) {
                rank_ui(ui, state, loaded, row, of_rows, messages);
            } else if let Some(step) = steps.get(place - rows.len()) {
                step_ui(ui, state, loaded, (place - rows.len(), step), of_steps, messages);
            }
        }
    });
}

/// A step of the only rank. The first click on another step chooses it.
fn step_ui(
    ui: &mut Ui,
    state: &State,
    loaded: &Loaded,
    (place, step): (usize, &StepBreakdown),
    longest: i64,
    messages: &mut Vec<Message>,
) {
    let window = Window::Step(place);
    let is_chosen = loaded.window == window;
    let choose = |_| Message::ChooseWindow(window);
    let show = |part| Message::ShowPart(None, part);
    let line = Line {
        label: &format!("Step {}", step.number.unwrap_or(place as u64 + 1)),
        label_message: Message::ChooseWindow(window),
        label_name: format!("Choose {}", step.name),
        partition: &step.partition,
        host: step.host.as_ref(),
        // A rank alone cannot tell.
        waiting: Duration::ZERO,
        parts: loaded.parts(),
        part_message: if is_chosen { &show } else { &choose },
        id: (u32::MAX, place),
        is_faint: !is_chosen,
    };
    row_ui(ui, state, &line, longest, messages);
}

fn legend_ui(ui: &mut Ui, state: &State, loaded: &Loaded, view: &WindowView) {
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = 6.0;
        let mut idle_is_said = false;
        for part in loaded.parts().iter().copied().filter(|&part| view.mean_ns(part) > 0.0) {
            // All causes of idle time stand together, so that the word is needed once.
            let text = part.label().strip_prefix("idle: ").filter(|_| idle_is_said).unwrap_or(part.label());
            idle_is_said |= matches!(part, Part::Idle(_));
            // Swatch and label are one piece, so that they go to the next line together.
            let font = FontId::proportional(metrics::TRACK_FONT);
            let label = ui.painter().layout_no_wrap(text.to_owned(), font, state.theme.ui.dim);
            let size = vec2(16.0 + label.size().x + 8.0, label.size().y);
            let (rect, response) = ui.allocate_exact_size(size, Sense::hover());
            let square = Rect::from_min_size(pos2(rect.left(), rect.center().y - 5.0), vec2(10.0, 10.0));
            fill_bar(ui, &state.theme, square, part.color(&state.theme), part.is_waiting());
            ui.painter().galley(pos2(rect.left() + 16.0, rect.top()), label, state.theme.ui.dim);
            response.widget_info(|| WidgetInfo::labeled(Role::Label, true, part.label()));
            response.on_hover_text(part.meaning());
        }
    });
}

fn rank_ui(ui: &mut Ui, state: &State, loaded: &Loaded, row: &RankRow, longest: i64, messages: &mut Vec<Message>) {
    let line = Line {
        label: &row.label,
        label_message: Message::ShowSpan(Some(row.rank), row.span),
        label_name: format!("Go to {} in the timeline", row.label),
        partition: &row.partition,
        host: row.host.as_ref(),
        waiting: row.waiting,
        parts: loaded.parts(),
        part_message: &|part| Message::ShowPart(Some(row.rank), part),
        id: (row.rank.0, 0),
        is_faint: false,
    };
    row_ui(ui, state, &line, longest, messages);
}

fn row_ui(ui: &mut Ui, state: &State, row: &Line<'_>, longest: i64, messages: &mut Vec<Message>) {
    let theme = &state.theme;
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::hover());
    let label = Rect::from_min_size(rect.min, vec2(LABEL, ROW));
    ui.scope_builder(
        egui::UiBuilder::new().max_rect(label).layout(egui::Layout::left_to_right(egui::Align::Center)),
        |ui| {
            let color = if row.is_faint { theme.ui.dim } else { theme.ui.text };
            if link(ui, row.label, metrics::TRACK_FONT, color, &row.label_name).clicked() {
                messages.push(row.label_message.clone());
            }
        },
    );
    let bars = Rect::from_min_max(pos2(label.right(), rect.top()), pos2(rect.right() - TOTAL, rect.bottom()));
    let bars = Rect::from_center_size(bars.center(), vec2(bars.width(), BAR));
    let scale = f64::from(bars.width()) / longest as f64;
    let mut before = 0;
    for (place, &part) in row.parts.iter().enumerate() {
        let time = part.duration(row.partition, row.host, row.waiting);
        let left = bars.left() + (before as f64 * scale) as f32;
        before += time.0;
        let right = bars.left() + (before as f64 * scale) as f32;
        // Part of a pixel cannot be clicked, and would be drawn over its neighbours.
        if right - left < 0.5 {
            continue;
        }
        let piece = Rect::from_min_max(pos2(left, bars.top()), pos2(right, bars.bottom()));
        let response = ui.interact(piece, ui.scope_id().with(("part", row.id, place)), Sense::click());
        let mut color = part.color(theme);
        if response.hovered() {
            color = mix(color, theme.ui.text, 0.25);
        }
        fill_bar(ui, theme, piece, color, part.is_waiting());
        if piece.width() > MIN_NUMBER {
            let on = if part.is_waiting() { theme.ui.text } else { theme.text_on(color) };
            ui.painter().with_clip_rect(piece.intersect(ui.clip_rect())).text(
                pos2(piece.left() + 6.0, piece.center().y),
                egui::Align2::LEFT_CENTER,
                time.to_string(),
                bar_font(),
                on,
            );
        }
        let name = format!("{}: {} {time}", row.label, part.label());
        response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &name));
        let clicked = response.clicked();
        response.on_hover_cursor(CursorIcon::PointingHand).on_hover_ui(|ui| {
            ui.label(&name);
            let share = time.0 as f64 / row.partition.duration_ns.max(1) as f64;
            ui.colored_label(theme.ui.dim, format!("{} · {}", percent(share), exact(time)));
            ui.colored_label(theme.ui.dim, part.meaning());
        });
        if clicked {
            messages.push((row.part_message)(part));
        }
    }
    let total = Duration(row.partition.duration_ns).to_string();
    ui.painter().text(
        pos2(rect.right(), rect.center().y),
        egui::Align2::RIGHT_CENTER,
        total,
        FontId::proportional(metrics::TRACK_FONT),
        theme.ui.dim,
    );
}

fn facts_ui(ui: &mut Ui, state: &State, loaded: &Loaded, view: &WindowView) {
    let theme = &state.theme;
    let ranks = if view.rows.len() == 1 { "" } else { ", all ranks" };
    let title = format!("{}{ranks}", view.title);
    ui.add(egui::Label::new(RichText::new(title).color(theme.ui.text)).truncate());
    ui.spacing_mut().item_spacing.y = 0.0;
    let whole = view.mean(|partition| partition.duration_ns);
    if whole <= 0.0 {
        ui.colored_label(theme.ui.dim, "Nothing in this range");
        return;
    }
    let share = |value: f64| percent(value / whole);
    let idle = view.mean(|partition| partition.idle_ns);
    let exposed = view.mean(|partition| partition.exposed_comm_ns);
    let hidden = view.mean(|partition| partition.hidden_comm_ns);
    fact(ui, theme, if view.rows.len() == 1 { "Duration" } else { "Mean duration" }, &duration_f64(whole).to_string());
    if !loaded.has_device_work() {
        let sum = |parts: &[HostPart]| share(parts.iter().map(|&part| view.mean_ns(Part::Host(part))).sum());
        fact(ui, theme, "Operators and backward", &sum(&[HostPart::Operators, HostPart::Backward]));
        fact(ui, theme, "Optimizer", &sum(&[HostPart::Optimizer]));
        fact(ui, theme, "Waiting for input", &sum(&[HostPart::DataLoading]));
        fact(ui, theme, "Communication and its wait", &sum(&[HostPart::Communication, HostPart::CommunicationWait]));
        fact(ui, theme, "Garbage collection", &sum(&[HostPart::Collection]));
        fact(ui, theme, "Python and named ranges", &sum(&[HostPart::Other, HostPart::Annotated]));
        return;
    }
    fact(ui, theme, "Device busy", &share(whole - idle));
    fact(ui, theme, "Compute", &share(view.mean(|partition| partition.compute_ns)));
    let waiting = view.mean_ns(Part::WaitingForRanks);
    fact(ui, theme, "Exposed communication", &share(exposed - waiting));
    if waiting > 0.0 {
        fact(ui, theme, "Waiting for late ranks", &share(waiting));
    }
    if exposed + hidden > 0.0 {
        fact(ui, theme, "Communication hidden", &percent(hidden / (exposed + hidden)));
    }
    fact(ui, theme, "Exposed copies", &share(view.mean(|partition| partition.exposed_copy_ns)));
    fact(ui, theme, "Idle", &share(idle));
    fact(ui, theme, "Idle: host late", &share(view.mean(|partition| partition.idle_by_cause.host_late_ns)));
}
