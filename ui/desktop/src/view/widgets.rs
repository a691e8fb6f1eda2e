//! Small pieces that several panels use.

use egui::{
    Align2, Button, Color32, CursorIcon, FontId, Frame, Margin, Rect, Response, Role, Sense, Stroke, Ui, WidgetInfo,
    pos2, vec2,
};
use gapless_timeline::Theme;
use gapless_timeline::paint_hatched;
use gapless_timeline::theme::metrics;

use crate::table::paint_text;

/// A button without a frame until the pointer is on it.
pub fn quiet_button(ui: &mut Ui, theme: &Theme, text: &str, name: &str) -> Response {
    let button = Button::new(egui::RichText::new(text).color(theme.ui.dim)).frame_when_inactive(false);
    ui.add(button).on_hover_text(name).accessible_name(name)
}

/// A button that opens a list below it.
pub fn dropdown_button(ui: &mut Ui, theme: &Theme, text: &str, name: &str) -> Response {
    // The spaces keep room for the triangle, which no font is asked for.
    let response = ui.add(Button::new(format!("{text}     ")));
    triangle(ui, pos2(response.rect.right() - 12.0, response.rect.center().y), theme.ui.dim, true);
    response.accessible_name(name)
}

/// A small triangle that points down or up.
pub fn triangle(ui: &Ui, center: egui::Pos2, color: Color32, points_down: bool) {
    let tip = if points_down { 2.5 } else { -2.5 };
    let points = [vec2(-4.0, -tip), vec2(4.0, -tip), vec2(0.0, tip)].map(|offset| center + offset);
    ui.painter().add(egui::Shape::convex_polygon(points.to_vec(), color, Stroke::NONE));
}

/// The button that changes between dark and light: a disc, half of it filled.
pub fn theme_button(ui: &mut Ui, theme: &Theme, name: &str) -> Response {
    let (rect, response) = ui.allocate_exact_size(vec2(26.0, 24.0), Sense::click());
    let color = if response.hovered() || response.has_focus() { theme.ui.text } else { theme.ui.dim };
    let (center, radius) = (rect.center(), 6.0);
    ui.painter().circle_stroke(center, radius, Stroke::new(1.5, color));
    let half = (0..=16).map(|step| {
        let angle = std::f32::consts::PI * step as f32 / 16.0;
        center + radius * vec2(angle.sin(), -angle.cos())
    });
    ui.painter().add(egui::Shape::convex_polygon(half.collect(), color, Stroke::NONE));
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, name));
    response.on_hover_text(name)
}

/// A number or name that leads to its events: underlined while the pointer is on it.
pub fn link(ui: &mut Ui, text: &str, size: f32, color: Color32, name: &str) -> Response {
    let galley = ui.painter().layout_no_wrap(text.to_owned(), FontId::proportional(size), color);
    let (rect, response) = ui.allocate_exact_size(galley.size(), Sense::click());
    paint_link(ui, rect.min, galley, color, &response);
    name_link(response, name)
}

/// A link of fixed width with its text at the right, for columns of numbers.
pub fn link_at_right(ui: &mut Ui, width: f32, text: &str, size: f32, color: Color32, name: &str) -> Response {
    let galley = ui.painter().layout_no_wrap(text.to_owned(), FontId::proportional(size), color);
    let (rect, response) = ui.allocate_exact_size(vec2(width, galley.size().y), Sense::click());
    let place = Align2::RIGHT_CENTER.align_size_within_rect(galley.size(), rect);
    paint_link(ui, place.min, galley, color, &response);
    name_link(response, name)
}

fn paint_link(ui: &Ui, at: egui::Pos2, galley: std::sync::Arc<egui::Galley>, color: Color32, response: &Response) {
    if response.hovered() || response.has_focus() {
        let rect = Rect::from_min_size(at, galley.size());
        ui.painter().hline(rect.x_range(), rect.bottom() - 0.5, Stroke::new(1.0, color));
    }
    ui.painter().galley(at, galley, color);
}

fn name_link(response: Response, name: &str) -> Response {
    response.widget_info(|| WidgetInfo::labeled(Role::Link, true, name));
    response.on_hover_cursor(CursorIcon::PointingHand)
}

/// A title of a section.
pub fn title(ui: &mut Ui, theme: &Theme, text: &str) {
    ui.label(egui::RichText::new(text).size(metrics::TITLE_FONT).color(theme.ui.text));
}

/// A section with some room around it.
pub fn section<R>(ui: &mut Ui, add: impl FnOnce(&mut Ui) -> R) -> R {
    Frame::new().inner_margin(Margin::symmetric(14, 10)).show(ui, add).inner
}

/// A hairline over the whole width.
pub fn hairline(ui: &mut Ui, theme: &Theme) {
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 1.0), Sense::hover());
    ui.painter().hline(rect.x_range(), rect.center().y, Stroke::new(1.0, theme.ui.hairline));
}

/// A square of a colour, hatched if it stands for waiting.
pub fn swatch(ui: &mut Ui, theme: &Theme, color: Color32, is_waiting: bool) {
    let (rect, _) = ui.allocate_exact_size(vec2(10.0, 14.0), Sense::hover());
    let square = Rect::from_center_size(rect.center(), vec2(10.0, 10.0));
    fill_bar(ui, theme, square, color, is_waiting);
}

/// One stretch of a bar.
pub fn fill_bar(ui: &Ui, theme: &Theme, rect: Rect, color: Color32, is_waiting: bool) {
    if is_waiting {
        paint_hatched(ui.painter(), rect, color, theme);
    } else {
        ui.painter().rect_filled(rect, 0.0, color);
    }
}

/// A label and a value in one row, the value at the right.
pub fn fact(ui: &mut Ui, theme: &Theme, label: &str, value: &str) {
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 20.0), Sense::hover());
    let font = FontId::proportional(metrics::TRACK_FONT);
    let value_width =
        ui.painter().layout_no_wrap(value.to_owned(), font.clone(), theme.ui.text).size().x.min(rect.width() * 0.7);
    let split = rect.right() - value_width - 8.0;
    paint_text(ui, Rect::from_min_max(rect.min, pos2(split, rect.bottom())), false, label, font.clone(), theme.ui.dim);
    let right = Rect::from_min_max(pos2(split + 8.0, rect.top()), rect.max);
    paint_text(ui, right, true, value, font, theme.ui.text);
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, format!("{label}: {value}")));
}
