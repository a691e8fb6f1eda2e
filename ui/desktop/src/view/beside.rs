//! The timeline, or two of them one above the other: the recording that the trace is compared with above, on one scale.

use egui::{FontId, Frame, Panel, Rect, Sense, Ui, UiBuilder, vec2};
use gapless_timeline::TimelineState;
use gapless_timeline::theme::metrics;
use gapless_trace::Duration;

use crate::command::Command;
use crate::message::Message;
use crate::state::{Loaded, State, Window};
use crate::table::paint_text;
use crate::view::timeline_ui;
use crate::view::widgets::{hairline, quiet_button};

/// Height of the line that says whose timeline it is.
const STRIP: f32 = 24.0;
/// What each timeline keeps at least.
const LEAST_HEIGHT: f32 = 110.0;

/// Draws what there is. Returns whether the timeline of the trace on the screen changed its selection or range.
pub fn timelines_ui(
    ui: &mut Ui,
    state: &State,
    loaded: &Loaded,
    timeline: &mut TimelineState,
    base_timeline: Option<&mut TimelineState>,
    messages: &mut Vec<Message>,
) -> bool {
    let comparison = state.comparison.as_ref().and_then(|comparison| Some((comparison, comparison.base.as_ref()?)));
    let (Some((comparison, base)), Some(base_timeline)) = (comparison, base_timeline) else {
        return timeline_ui(ui, state, loaded, timeline, true);
    };
    let height = ui.available_height();
    let most = (height - LEAST_HEIGHT).max(LEAST_HEIGHT);
    let mut upper = Rect::NOTHING;
    let panel = Panel::top("base").default_size(height * 0.45).size_range(LEAST_HEIGHT..=most);
    panel.frame(Frame::new()).show(ui, |ui| {
        upper = ui.available_rect_before_wrap();
        ui.allocate_rect(upper, Sense::hover());
    });
    let is_above = ui.ctx().pointer_hover_pos().is_some_and(|pointer| upper.contains(pointer));
    strip_ui(ui, state, "New", loaded, |_| {});
    let changed = timeline_ui(ui, state, loaded, timeline, !is_above);

    // Drawn last, so that it shows what the one below shows in this frame.
    if !base_timeline.is_moving() {
        base_timeline.follow(timeline, comparison.by);
    }
    base_timeline.options.header_width = timeline.options.header_width;
    let before = base_timeline.view;
    ui.scope_builder(UiBuilder::new().max_rect(upper).id_salt("base timeline"), |ui| {
        ui.set_clip_rect(upper.intersect(ui.clip_rect()));
        strip_ui(ui, state, "Base", base, |ui| {
            if quiet_button(ui, &state.theme, "×", "End the comparison").clicked() {
                messages.push(Message::Run(Command::EndComparison));
            }
        });
        timeline_ui(ui, state, base, base_timeline, is_above);
    });
    if base_timeline.view != before || base_timeline.is_moving() {
        timeline.follow(base_timeline, Duration(-comparison.by.0));
        ui.ctx().request_repaint();
    }
    changed
}

/// Whose timeline it is, and the step that stands beside that of the other.
fn strip_ui(ui: &mut Ui, state: &State, side: &str, loaded: &Loaded, add: impl FnOnce(&mut Ui)) {
    let theme = &state.theme;
    ui.spacing_mut().item_spacing.y = 0.0;
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), STRIP), Sense::hover());
    ui.painter().rect_filled(rect, 0.0, theme.ui.panel);
    let step = loaded.view.as_ref().filter(|_| !matches!(loaded.window, Window::Range(_))).map(|view| {
        let longest = view.rows.iter().map(|row| row.partition.duration_ns).max().unwrap_or_default();
        format!(" · {} {}", view.title, Duration(longest))
    });
    let text = format!("{side} · {}{}", loaded.title(), step.unwrap_or_default());
    let room = rect.shrink2(vec2(14.0, 0.0));
    paint_text(ui, room, false, &text, FontId::proportional(metrics::TRACK_FONT), theme.ui.text);
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, &text));
    let right = UiBuilder::new().max_rect(room).layout(egui::Layout::right_to_left(egui::Align::Center));
    ui.scope_builder(right, add);
    ui.advance_cursor_after_rect(rect);
    hairline(ui, theme);
}
