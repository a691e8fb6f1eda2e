//! Operators against the limits of their device: FLOP/s by FLOP/byte, both logarithmic, and the list of those with the
//! most time to win.

use egui::{
    Align2, Color32, FontId, Pos2, Rect, RichText, Role, ScrollArea, Sense, Shape, Stroke, StrokeKind, Ui, WidgetInfo,
    pos2, vec2,
};
use gapless_roofline::Bound;
use gapless_timeline::Theme;
use gapless_timeline::theme::{fade, metrics};

use crate::format::{figure, percent};
use crate::message::Message;
use crate::roofline::{OperatorPoint, RooflineView, Roofs, limit, rate_text};
use crate::state::{Loaded, State};
use crate::table::paint_text;

/// Radius of a mark whose operator has all the time, and of the smallest one, in points.
const RADII: (f32, f32) = (26.0, 2.5);
/// The pointer finds marks that are so near, in points.
const NEAR: f32 = 5.0;
const ROW: f32 = 20.0;

/// Draws the tab.
pub fn roofline_ui(ui: &mut Ui, state: &State, loaded: &Loaded, view: &RooflineView, messages: &mut Vec<Message>) {
    let theme = &state.theme;
    let room = ui.available_rect_before_wrap();
    if let Some(reason) = &view.empty {
        ui.scope_builder(egui::UiBuilder::new().max_rect(room.shrink2(vec2(14.0, 8.0))), |ui| {
            ui.add(egui::Label::new(RichText::new(reason).color(theme.ui.dim)).wrap());
        });
        return;
    }
    let split = room.left() + room.width() * 0.6;
    let plot = Rect::from_min_max(room.min, pos2(split, room.bottom()));
    let list = Rect::from_min_max(pos2(split, room.top()), room.max);
    ui.painter().vline(split, room.y_range().shrink(12.0), Stroke::new(1.0, theme.ui.hairline));
    let selected = loaded.selection.as_ref().map(|selection| selection.event);
    let selected = view.operators.iter().position(|point| selected.is_some() && point.longest == selected);
    // The list comes first: what the pointer is on there is ringed on the plot.
    let hovered = ui
        .scope_builder(egui::UiBuilder::new().max_rect(list.shrink2(vec2(14.0, 6.0))).id_salt("roofline list"), |ui| {
            ui.set_clip_rect(list.intersect(ui.clip_rect()));
            list_ui(ui, theme, view, messages)
        })
        .inner;
    ui.scope_builder(egui::UiBuilder::new().max_rect(plot.shrink2(vec2(14.0, 6.0))).id_salt("roofline plot"), |ui| {
        ui.set_clip_rect(plot.intersect(ui.clip_rect()));
        ui.spacing_mut().item_spacing.y = 2.0;
        heading_ui(ui, theme, view);
        plot_ui(ui, theme, view, [hovered, selected], messages);
    });
}

fn color(theme: &Theme, bound: Option<Bound>) -> Color32 {
    match bound {
        Some(Bound::Compute) => theme.data.compute,
        Some(Bound::Memory) => theme.data.copy,
        Some(Bound::Link) => theme.data.communication,
        Some(Bound::Latency) => theme.data.python,
        None => theme.ui.dim,
    }
}

/// A mark: its shape says what its colour says.
fn mark(at: Pos2, radius: f32, bound: Option<Bound>, fill: Color32, line: Stroke) -> Shape {
    let polygon = |corners: [egui::Vec2; 4]| {
        Shape::convex_polygon(corners.map(|corner| at + corner * radius).to_vec(), fill, line)
    };
    match bound {
        Some(Bound::Memory) => polygon([vec2(-0.9, -0.9), vec2(0.9, -0.9), vec2(0.9, 0.9), vec2(-0.9, 0.9)]),
        Some(Bound::Latency | Bound::Link) => {
            polygon([vec2(0.0, -1.2), vec2(1.2, 0.0), vec2(0.0, 1.2), vec2(-1.2, 0.0)])
        }
        Some(Bound::Compute) | None => {
            Shape::Circle(egui::epaint::CircleShape { center: at, radius, fill, stroke: line })
        }
    }
}

/// The device at the left, what the marks mean at the right.
fn heading_ui(ui: &mut Ui, theme: &Theme, view: &RooflineView) {
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 16.0), Sense::hover());
    let font = FontId::proportional(metrics::BAR_FONT);
    let mut right = rect.right();
    for bound in [Bound::Latency, Bound::Memory, Bound::Compute] {
        if !view.operators.iter().any(|point| point.bound == Some(bound)) {
            continue;
        }
        let galley = ui.painter().layout_no_wrap(limit(bound).to_owned(), font.clone(), theme.ui.dim);
        right -= galley.size().x;
        ui.painter().galley(pos2(right, rect.center().y - galley.size().y / 2.0), galley, theme.ui.dim);
        right -= 9.0;
        let fill = color(theme, Some(bound));
        ui.painter().add(mark(pos2(right, rect.center().y), 4.0, Some(bound), fill, Stroke::NONE));
        right -= 16.0;
    }
    let mut text = view.device.clone();
    if let Some(roofs) = &view.roofs {
        text.push_str(&format!(" · memory {}", rate_text(roofs.bytes_per_s, "B/s")));
    }
    if !view.doubts.is_empty() {
        text.push_str(&format!(" · {} to know", crate::format::counted(view.doubts.len() as u64, "thing", "things")));
    }
    let left = Rect::from_min_max(rect.min, pos2(right, rect.bottom()));
    paint_text(ui, left, false, &text, FontId::proportional(metrics::TRACK_FONT), theme.ui.text);
    let label = [std::slice::from_ref(&view.device), &view.doubts].concat().join(". ");
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, format!("Device: {label}")));
    response.on_hover_ui(|ui| {
        ui.set_max_width(460.0);
        ui.label(&view.device);
        for doubt in &view.doubts {
            ui.colored_label(theme.ui.dim, doubt);
        }
    });
}

/// Where values stand on the plot, which is logarithmic both ways.
#[derive(Clone, Copy)]
struct Scale {
    area: Rect,
    /// Decimal logarithms of the least and the greatest FLOP/byte.
    x: (f64, f64),
    /// The same of FLOP/s.
    y: (f64, f64),
}

impl Scale {
    fn new(area: Rect, points: &[&OperatorPoint], roofs: Option<&Roofs>) -> Self {
        let (mut x, mut y) = (Extent::default(), Extent::default());
        for point in points {
            x.add(point.flops_per_byte);
            y.add(point.flops_per_s);
        }
        if let Some((roofs, (_, highest))) = roofs.and_then(|roofs| Some((roofs, roofs.peaks.last()?))) {
            // Both sides of the highest ridge are seen.
            x.add(highest / roofs.bytes_per_s * 2.0);
            y.add(*highest);
        }
        Self { area, x: x.logarithms(2.0), y: y.logarithms(2.0) }
    }

    fn at(&self, flops_per_byte: f64, flops_per_s: f64) -> Pos2 {
        let share = |value: f64, (from, to): (f64, f64)| ((value.log10() - from) / (to - from)) as f32;
        pos2(
            self.area.left() + self.area.width() * share(flops_per_byte, self.x),
            self.area.bottom() - self.area.height() * share(flops_per_s, self.y),
        )
    }
}

struct Extent(f64, f64);

impl Default for Extent {
    fn default() -> Self {
        Self(f64::INFINITY, 0.0)
    }
}

impl Extent {
    fn add(&mut self, value: f64) {
        self.0 = self.0.min(value);
        self.1 = self.1.max(value);
    }

    /// Decimal logarithms of both ends, each `room` times further out.
    fn logarithms(&self, room: f64) -> (f64, f64) {
        if self.1 <= 0.0 { (0.0, 1.0) } else { ((self.0 / room).log10(), (self.1 * room).log10()) }
    }
}

fn plot_ui(ui: &mut Ui, theme: &Theme, view: &RooflineView, ringed: [Option<usize>; 2], messages: &mut Vec<Message>) {
    let (area, response) = ui.allocate_exact_size(ui.available_size(), Sense::click());
    let placed: Vec<(usize, &OperatorPoint)> =
        view.operators.iter().enumerate().filter(|(_, point)| point.is_on_plot()).collect();
    let name = format!("Achieved FLOP/s against FLOP/byte, {} operators", placed.len());
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &name));
    let painter = ui.painter_at(area);
    let font = FontId::proportional(metrics::BAR_FONT);
    if placed.is_empty() {
        let text = "No operator with known costs computes anything; all of them only move data";
        painter.text(area.center(), Align2::CENTER_CENTER, text, font, theme.ui.dim);
        return;
    }
    let plot = Rect::from_min_max(area.min + vec2(80.0, 2.0), area.max - vec2(8.0, 30.0));
    let points: Vec<&OperatorPoint> = placed.iter().map(|&(_, point)| point).collect();
    // Above the highest roof there is room for its name.
    let scale = Scale::new(Rect::from_min_max(plot.min + vec2(0.0, 10.0), plot.max), &points, view.roofs.as_ref());
    grid(&painter, theme, &scale);
    let inside = painter.with_clip_rect(plot.expand(4.0).intersect(area));
    if let Some(roofs) = &view.roofs {
        paint_roofs(&inside, theme, &scale, roofs);
    }
    let radius = |point: &OperatorPoint| (RADII.0 * point.share.sqrt() as f32).max(RADII.1);
    let at = |point: &OperatorPoint| scale.at(point.flops_per_byte, point.flops_per_s);
    // Large marks lie below small ones.
    let mut order = placed.clone();
    order.sort_by(|a, b| b.1.share.total_cmp(&a.1.share));
    for &(_, point) in &order {
        let fill = color(theme, point.bound);
        let line = if point.is_impossible { theme.ui.warning } else { fill };
        inside.add(mark(at(point), radius(point), point.bound, fade(fill, 0.55), Stroke::new(1.0, line)));
    }
    let nearest = response.hover_pos().and_then(|pointer| {
        let reached = order.iter().filter(|(_, point)| at(point).distance(pointer) <= radius(point) + NEAR);
        let distance = |point: &OperatorPoint| at(point).distance(pointer) / radius(point);
        reached.min_by(|a, b| distance(a.1).total_cmp(&distance(b.1))).copied()
    });
    let ringed = ringed.into_iter().flatten().chain(nearest.map(|(place, _)| place));
    for point in ringed.filter_map(|place| view.operators.get(place)).filter(|point| point.is_on_plot()) {
        inside.add(mark(
            at(point),
            radius(point) + 2.0,
            point.bound,
            Color32::TRANSPARENT,
            Stroke::new(1.5, theme.ui.text),
        ));
    }
    if let Some((_, point)) = nearest {
        let response = response.on_hover_cursor(egui::CursorIcon::PointingHand);
        let was_clicked = response.clicked();
        response.on_hover_ui_at_pointer(|ui| point_ui(ui, theme, point));
        if let Some(event) = point.longest.filter(|_| was_clicked) {
            messages.push(Message::Select(event));
        }
    }
}

/// Lines at powers of ten, with their values and what the axes are.
fn grid(painter: &egui::Painter, theme: &Theme, scale: &Scale) {
    let (plot, font) = (scale.area, FontId::proportional(metrics::BAR_FONT));
    let line = Stroke::new(1.0, theme.ui.hairline);
    let powers = |(from, to): (f64, f64), room: f32, least: f32| {
        let all = (from.ceil() as i32)..=(to.floor() as i32);
        let stride = ((all.clone().count() as f32 * least / room.max(1.0)).ceil() as usize).max(1);
        all.step_by(stride).map(|power| 10_f64.powi(power))
    };
    for rate in powers(scale.y, plot.height(), 18.0) {
        let y = scale.at(1.0, rate).y;
        painter.hline(plot.x_range(), y, line);
        let text = rate_text(rate, "FLOP/s").replace(".00", "").replace(".0", "");
        painter.text(pos2(plot.left() - 6.0, y), Align2::RIGHT_CENTER, text, font.clone(), theme.ui.dim);
    }
    for intensity in powers(scale.x, plot.width(), 48.0) {
        let x = scale.at(intensity, 1.0).x;
        painter.vline(x, plot.y_range(), line);
        let text = if intensity < 1.0 { intensity.to_string() } else { format!("{intensity:.0}") };
        painter.text(pos2(x, plot.bottom() + 3.0), Align2::CENTER_TOP, text, font.clone(), theme.ui.dim);
    }
    let place = pos2(plot.center().x, plot.bottom() + 16.0);
    painter.text(place, Align2::CENTER_TOP, "FLOP/byte", font, theme.ui.faint);
}

/// The slope of the memory up to the highest peak, and each peak from there on.
fn paint_roofs(painter: &egui::Painter, theme: &Theme, scale: &Scale, roofs: &Roofs) {
    let line = Stroke::new(1.5, theme.ui.dim);
    let font = FontId::proportional(metrics::BAR_FONT);
    let (from, to) = (10_f64.powf(scale.x.0), 10_f64.powf(scale.x.1));
    let ridge = |peak: f64| (peak / roofs.bytes_per_s).min(to);
    let end = roofs.peaks.last().map_or(to, |&(_, peak)| ridge(peak));
    let slope = [scale.at(from, from * roofs.bytes_per_s), scale.at(end, end * roofs.bytes_per_s)];
    painter.line_segment(slope, line);
    for &(name, peak) in &roofs.peaks {
        let ends = [scale.at(ridge(peak), peak), scale.at(to, peak)];
        painter.line_segment(ends, line);
        let text = format!("{name} {}", rate_text(peak, "FLOP/s"));
        painter.text(ends[1] - vec2(2.0, 1.0), Align2::RIGHT_BOTTOM, text, font.clone(), theme.ui.dim);
    }
}

/// What is known of an operator.
fn point_ui(ui: &mut Ui, theme: &Theme, point: &OperatorPoint) {
    ui.set_max_width(420.0);
    ui.label(RichText::new(&point.name).color(theme.ui.text));
    if !point.shapes.is_empty() {
        ui.colored_label(theme.ui.dim, &point.shapes);
    }
    for line in point.lines() {
        ui.label(line);
    }
    ui.colored_label(theme.ui.dim, "Click to go to its longest call");
}

/// The list of operators; returns which of them the pointer or the keyboard is on.
fn list_ui(ui: &mut Ui, theme: &Theme, view: &RooflineView, messages: &mut Vec<Message>) -> Option<usize> {
    const NUMBER: f32 = 74.0;
    const SHARE: f32 = 62.0;
    ui.spacing_mut().item_spacing.y = 2.0;
    ui.add(egui::Label::new(RichText::new(&view.summary).size(metrics::TRACK_FONT).color(theme.ui.text)).wrap());
    if view.left_out > 0 {
        let text = format!(
            "{} with the least time are left out",
            crate::format::counted(view.left_out as u64, "operator", "operators")
        );
        ui.label(RichText::new(text).size(metrics::BAR_FONT).color(theme.ui.dim));
    }
    let font = FontId::proportional(metrics::TRACK_FONT);
    let small = FontId::proportional(metrics::BAR_FONT);
    let cells = |rect: Rect| {
        let cut = |from: f32, to: f32| Rect::from_min_max(pos2(from, rect.top()), pos2(to, rect.bottom()));
        let (share, number) = (rect.right() - NUMBER - SHARE, rect.right() - NUMBER);
        (cut(rect.left() + 18.0, share - 8.0), cut(share, number), cut(number, rect.right()))
    };
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width() - 10.0, 16.0), Sense::hover());
    let (name, reached, headroom) = cells(rect);
    paint_text(ui, name, false, "operator", small.clone(), theme.ui.faint);
    paint_text(ui, reached, true, "reached", small.clone(), theme.ui.faint);
    paint_text(ui, headroom, true, if view.roofs.is_some() { "headroom" } else { "time" }, small, theme.ui.faint);
    ui.spacing_mut().item_spacing.y = 0.0;
    let mut hovered = None;
    let scroll = ScrollArea::vertical().id_salt("operators of the roofline").auto_shrink([false, false]);
    scroll.show_rows(ui, ROW, view.operators.len(), |ui, range| {
        for place in range {
            let Some(point) = view.operators.get(place) else { continue };
            let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width() - 10.0, ROW), Sense::click());
            if response.hovered() || response.has_focus() {
                ui.painter().rect_filled(rect, 3.0, theme.ui.hover);
                hovered = Some(place);
            }
            if response.has_focus() {
                ui.painter().rect_stroke(rect, 3.0, Stroke::new(1.0, theme.ui.accent), StrokeKind::Inside);
            }
            let fill = color(theme, point.bound);
            ui.painter().add(mark(pos2(rect.left() + 8.0, rect.center().y), 4.0, point.bound, fill, Stroke::NONE));
            let (name, reached, headroom) = cells(rect);
            paint_text(ui, name, false, &format!("{}  {}", point.name, point.shapes), font.clone(), theme.ui.text);
            let share = point.attainable_factor.map_or_else(|| rate(point), |factor| percent(1.0 / factor.max(1e-9)));
            let share_color = if point.is_impossible { theme.ui.warning } else { theme.ui.dim };
            paint_text(ui, reached, true, &share, font.clone(), share_color);
            let time = point.headroom.unwrap_or(point.device);
            paint_text(ui, headroom, true, &time.to_string(), font.clone(), theme.ui.text);
            response.widget_info(|| WidgetInfo::labeled(Role::Button, true, sentence(point)));
            let response = response.on_hover_ui(|ui| point_ui(ui, theme, point));
            if let Some(event) = point.longest.filter(|_| response.clicked()) {
                messages.push(Message::Select(event));
            }
        }
    });
    hovered
}

fn rate(point: &OperatorPoint) -> String {
    if point.is_on_plot() { rate_text(point.flops_per_s, "FLOP/s") } else { rate_text(point.bytes_per_s, "B/s") }
}

/// A row for those who hear it.
fn sentence(point: &OperatorPoint) -> String {
    let intensity =
        if point.is_on_plot() { format!(", {} FLOP/byte", figure(point.flops_per_byte)) } else { String::new() };
    match (point.headroom, point.bound) {
        (Some(headroom), Some(bound)) => format!(
            "{} {}: {headroom} above what good kernels take, {}{intensity}, limited by {}",
            point.name,
            point.shapes,
            point.rates(),
            limit(bound)
        ),
        _ => format!("{} {}: {} on the device, {}{intensity}", point.name, point.shapes, point.device, rate(point)),
    }
}
